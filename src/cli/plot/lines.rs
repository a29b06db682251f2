//! Pictures of figures side by side: a place for each name, a line for each series.

use super::{COLOURS, MOST, SIZE, failed, shorten};
use crate::error::Result;
use plotters::prelude::*;

/// A picture with a line for each of its series.
#[derive(Clone, Debug)]
pub struct Lines {
    /// What is shown.
    pub title: String,
    /// What the places are of.
    pub below: &'static str,
    /// Places from left to right.
    pub names: Vec<String>,
    /// Name and values of each series, one for each place; none where there is no figure.
    pub series: Vec<(String, Vec<Option<f64>>)>,
    /// How values read.
    pub unit: fn(f64) -> String,
}

impl Lines {
    /// As an SVG document; none if there is no figure.
    ///
    /// # Errors
    /// If the crate that draws cannot.
    pub fn svg(&self) -> Result<Option<String>> {
        let values = || self.series.iter().flat_map(|(_, values)| values.iter().flatten().copied());
        let Some(most) = values().filter(|value| value.is_finite()).reduce(f64::max) else { return Ok(None) };
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            area.fill(&WHITE).map_err(failed)?;
            let inner = area.margin(12, 12, 12, 24);
            let titled = inner.titled(&self.title, ("sans-serif", 18)).map_err(failed)?;
            let end = self.names.len() as f64 - 0.5;
            let mut chart = ChartBuilder::on(&titled)
                .x_label_area_size(44)
                .y_label_area_size(92)
                .build_cartesian_2d(-0.5..end, 0.0..(most * 1.1).max(f64::MIN_POSITIVE))
                .map_err(failed)?;
            let font = ("sans-serif", 14);
            let name = |at: &f64| {
                let near = (at - at.round()).abs() < 1e-6 && *at > -0.1;
                near.then(|| self.names.get(at.round() as usize).cloned()).flatten().unwrap_or_default()
            };
            let unit = |value: &f64| (self.unit)(*value);
            let mut mesh = chart.configure_mesh();
            mesh.x_labels(self.names.len() + 2).x_label_formatter(&name).x_desc(self.below);
            mesh.y_labels(8).y_label_formatter(&unit).label_style(font);
            mesh.light_line_style(TRANSPARENT).bold_line_style(BLACK.mix(0.15)).draw().map_err(failed)?;
            for (n, (name, values)) in self.series.iter().enumerate() {
                let colour = COLOURS[n % MOST];
                let points: Vec<(f64, f64)> =
                    values.iter().enumerate().filter_map(|(at, value)| Some((at as f64, (*value)?))).collect();
                let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
                chart
                    .draw_series(line)
                    .map_err(failed)?
                    .label(shorten(name))
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
                chart
                    .draw_series(points.into_iter().map(|point| Circle::new(point, 4, colour.filled())))
                    .map_err(failed)?;
            }
            let legend = &mut chart.configure_series_labels();
            legend.position(SeriesLabelPosition::LowerRight).legend_area_size(18).label_font(font);
            legend.background_style(WHITE.mix(0.8)).draw().map_err(failed)?;
            area.present().map_err(failed)?;
        }
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(series: Vec<(String, Vec<Option<f64>>)>) -> Lines {
        let names = ["64", "<b>", "imix"].map(str::to_owned).to_vec();
        Lines { title: "t & t".into(), below: "frame", names, series, unit: crate::cli::output::pps }
    }

    #[test]
    fn each_figure_is_a_mark_at_its_place_and_what_is_missing_is_none() {
        let series = vec![
            ("measured".to_owned(), vec![Some(1e6), None, Some(3e6)]),
            ("line rate".to_owned(), vec![Some(4e6), Some(4e6), Some(4e6)]),
        ];
        let svg = lines(series).svg().unwrap().unwrap();
        let marks: Vec<[f64; 2]> = svg
            .lines()
            .filter(|line| line.contains("<circle"))
            .map(|line| {
                ["cx=\"", "cy=\""].map(|at| line.split_once(at).unwrap().1.split('"').next().unwrap().parse().unwrap())
            })
            .collect();
        assert_eq!(marks.len(), 5, "{svg}");
        // The first series rises by two parts, the second stays one part above its end.
        assert!(marks[0][0] == marks[2][0] && marks[1][0] == marks[4][0], "{marks:?}");
        let part = (marks[0][1] - marks[1][1]) / 2.0;
        assert!((marks[1][1] - part - marks[4][1]).abs() < 3.0 && part > 50.0, "{marks:?}");
        for words in ["64", "&lt;b&gt;", "imix", "measured", "line rate", "Mpps", "t &amp; t"] {
            assert!(svg.contains(words), "no {words} in {svg}");
        }
    }

    #[test]
    fn without_a_figure_there_is_no_picture() {
        assert_eq!(lines(Vec::new()).svg().unwrap(), None);
        assert_eq!(lines(vec![("a".into(), vec![None; 3])]).svg().unwrap(), None);
    }
}
