//! Pictures of distributions: one drawing, into an SVG file or onto a terminal.
//!
//! ```text
//!   ns |                          ..:'     Values to the left of 90% are nine in ten; each
//!      |              ....:::'''''         step to the right is a tenth of what is left, as
//!      |....:::'''''''                     in HdrHistogram's own plots.
//!      +-----------------------------
//!      0%        90%       99%   99.9%
//! ```
//!
//! The end of a curve rests on fewer samples than a percentile is named by
//! ([`Histogram::BEYOND`]) and is drawn thin.

mod lines;
mod terminal;

pub use lines::Lines;

use crate::error::{Error, Kind, Result};
use crate::measure::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use unicode_width::UnicodeWidthChar;

/// Size of an SVG picture, pixels.
const SIZE: (u32, u32) = (960, 600);
/// Colours of the curves, distinct to those who confuse red and green too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Longest percentile file that is read, bytes: those of whole days have thousands.
const FILE_LIMIT: u64 = 16 << 20;
/// Longest name of a curve, columns: a legend has half of a terminal.
const NAME: usize = 32;
/// Most curves in one picture, so that each has a colour of its own.
pub const MOST: usize = COLOURS.len();

/// One distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    name: String,
    /// Share of the samples that are not above a value, and the value in ns; ascending.
    points: Vec<(f64, f64)>,
    samples: u64,
}

impl Curve {
    /// The curve of a histogram, which has samples.
    pub fn of(name: impl Into<String>, histogram: &Histogram) -> Curve {
        let points = histogram.steps().map(|step| (step.quantile, step.value as f64)).collect();
        Curve { name: name.into(), points, samples: histogram.count() }
    }

    /// That of a percentile file (`--hgrm`), by the name of the file.
    ///
    /// # Errors
    /// If it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Curve> {
        let shown = path.display();
        let failed = |e| Error::io(format!("reading {shown}"), e);
        let mut bytes = Vec::new();
        File::open(path).map_err(failed)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= FILE_LIMIT);
        text.and_then(|text| Curve::parse(&shorten(&name), &text)).ok_or_else(|| {
            let line = format!("{shown} is no percentile distribution; write one with bmnic latency --hgrm FILE");
            Error::new(Kind::Io, line)
        })
    }

    fn parse(name: &str, text: &str) -> Option<Curve> {
        let mut curve = Curve { name: name.into(), points: Vec::new(), samples: 0 };
        // Above the rows is their head, below are remarks.
        let rows = text.lines().map(str::trim).filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        for row in rows {
            let mut fields = row.split_whitespace();
            let (value, quantile) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let before = curve.points.last().copied().unwrap_or((0.0, 0.0));
            let ascends = (before.0..=1.0).contains(&quantile) && (before.1..=u64::MAX as f64).contains(&value);
            curve.points.push(ascends.then_some((quantile, value))?);
            curve.samples = fields.next()?.parse().ok()?;
        }
        (curve.samples > 0).then_some(curve)
    }

    /// Where the last sample stands, in tenths: 3 is 99.9 %.
    fn end(&self) -> f64 {
        (self.samples as f64).log10().max(1.0)
    }

    /// Points of the picture, and how many of them rest on enough samples.
    fn drawn(&self) -> (Vec<(f64, f64)>, usize) {
        let place = |&(quantile, value): &(f64, f64)| (tenths(quantile).min(self.end()), value.max(1.0));
        let sure = |(quantile, _): &&(f64, f64)| self.samples >= Histogram::samples_needed(*quantile);
        (self.points.iter().map(place).collect(), self.points.iter().take_while(sure).count())
    }
}

/// A name as a legend has room for it, of characters that SVG and terminals take as text.
fn shorten(name: &str) -> String {
    let (mut short, mut columns) = (String::new(), 0);
    for letter in name.chars().map(|c| if c.is_control() { '?' } else { c }) {
        columns += letter.width().unwrap_or(0);
        if columns > NAME {
            return short + "...";
        }
        short.push(letter);
    }
    short
}

/// How often what is left was divided by ten: 0 at the least, 1 at 90 %, 2 at 99 %.
fn tenths(quantile: f64) -> f64 {
    -(1.0 - quantile).max(f64::MIN_POSITIVE).log10()
}

/// `99.9%` for 3.
fn percent(tenths: f64) -> String {
    let decimals = (tenths - 2.0).max(0.0) as usize;
    format!("{:.decimals$}%", 100.0 * (1.0 - 10f64.powf(-tenths)))
}

/// `1.5 us`, as short as it is exact to three digits.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", (value * 100.0).round() / 100.0)
}

/// What stands above a picture, and what is in it: one curve to [`MOST`].
#[derive(Clone, Debug)]
pub struct Picture {
    /// What was measured.
    pub title: String,
    /// In the order of the legend.
    pub curves: Vec<Curve>,
}

impl Picture {
    /// As an SVG document.
    ///
    /// # Errors
    /// If the crate that draws cannot.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            area.fill(&WHITE).map_err(failed)?;
            let inner = area.margin(12, 12, 12, 24);
            let titled = inner.titled(&self.title, ("sans-serif", 18)).map_err(failed)?;
            self.draw(&titled, &Scale { font: 14, left: 76, below: 44, spread: 14, legend: 18 })?;
            area.present().map_err(failed)?;
        }
        Ok(text)
    }

    /// As lines of so many columns.
    ///
    /// # Errors
    /// If the crate that draws cannot.
    pub fn text(&self, columns: usize) -> Result<String> {
        let mut screen = terminal::Screen::new(columns.clamp(40, 160), 20);
        {
            let area = screen.backend().into_drawing_area();
            self.draw(&area, &Scale { font: 4, left: 24, below: 12, spread: 3, legend: 6 })?;
            area.present().map_err(failed)?;
        }
        Ok(format!("{}\n{screen}", self.title))
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: &Scale) -> Result<()> {
        let drawn: Vec<_> = self.curves.iter().map(Curve::drawn).collect();
        let values = || drawn.iter().flat_map(|(points, _)| points.iter().map(|(_, value)| *value));
        let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(1.0, f64::max));
        let end = self.curves.iter().map(Curve::end).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .x_label_area_size(scale.below)
            .y_label_area_size(scale.left)
            .build_cartesian_2d(0.0..end, (least * 0.9..most * 1.2).log_scale())
            .map_err(failed)?;
        let font = ("sans-serif", scale.font);
        let mut mesh = chart.configure_mesh();
        mesh.x_labels(end.ceil() as usize + 1)
            .x_label_formatter(&|tenths| percent(*tenths))
            .y_labels(10)
            .y_label_formatter(&|ns| time(*ns))
            .label_style(font)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(scale.grid()));
        if scale.is_fine() {
            mesh.x_desc("share of the packets that took no longer");
        }
        mesh.draw().map_err(failed)?;
        for (n, ((points, sure), curve)) in drawn.into_iter().zip(&self.curves).enumerate() {
            let colour = COLOURS[n % MOST];
            let pen = move |strength: f64, width| ShapeStyle {
                color: colour.mix(strength),
                filled: false,
                stroke_width: width,
            };
            let sure = sure.max(1);
            let thin = LineSeries::new(points[sure - 1..].to_vec(), pen(terminal::FAINT, 1));
            chart.draw_series(thin).map_err(failed)?;
            let thick = LineSeries::new(points[..sure].to_vec(), pen(1.0, 2));
            let spread = scale.spread;
            chart
                .draw_series(thick)
                .map_err(failed)?
                .label(curve.name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + spread, y)], pen(1.0, 2)));
        }
        if self.curves.len() > 1 || scale.is_fine() {
            let legend = &mut chart.configure_series_labels();
            legend.position(SeriesLabelPosition::LowerRight).legend_area_size(scale.legend).label_font(font);
            legend.background_style(WHITE.mix(0.8)).draw().map_err(failed)?;
        }
        Ok(())
    }
}

/// Sizes of one kind of picture, in its own points.
struct Scale {
    font: u32,
    left: u32,
    below: u32,
    spread: i32,
    legend: u32,
}

impl Scale {
    /// Whether there is room for more than what is needed.
    fn is_fine(&self) -> bool {
        self.font > 8
    }

    /// How strong the grid is; on a terminal it would be taken for a curve.
    fn grid(&self) -> f64 {
        if self.is_fine() { 0.15 } else { 0.0 }
    }
}

fn failed(error: impl Display) -> Error {
    Error::new(Kind::Io, format!("the plot could not be drawn: {error}; leave --plot and --svg out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    fn of(samples: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        samples.into_iter().for_each(|sample| histogram.record(sample));
        histogram
    }

    /// Where the text of a label stands in an SVG picture.
    fn place(svg: &str, label: &str) -> (f64, f64) {
        let lines: Vec<&str> = svg.lines().collect();
        let at = lines.iter().position(|line| line.trim() == label).unwrap_or_else(|| panic!("no {label} in {svg}"));
        (number(lines[at - 1], " x=\""), number(lines[at - 1], " y=\""))
    }

    fn number(line: &str, name: &str) -> f64 {
        line.split_once(name).unwrap().1.split('"').next().unwrap().parse().unwrap()
    }

    /// Corners of the first line of a curve's colour, in pixels.
    fn corners(svg: &str, colour: &str) -> Vec<(f64, f64)> {
        let line =
            svg.lines().find(|line| line.contains("polyline") && line.contains(colour) && line.contains("width=\"2\""));
        let points = line.unwrap().split_once("points=\"").unwrap().1.split('"').next().unwrap();
        points
            .split_whitespace()
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_step_of_the_samples_is_one_of_the_picture_at_its_percentile_and_its_value() {
        // Nine in ten take 100 ns, the rest 10 us.
        let steps = of((0..90_000).map(|_| 100).chain((0..10_000).map(|_| 10_000)));
        let svg = Picture { title: "t".into(), curves: vec![Curve::of("one", &steps)] }.svg().unwrap();
        let (ninety, low, high) = (place(&svg, "90%").0, place(&svg, "100 ns").1, place(&svg, "10 us").1);
        let corners = corners(&svg, "#0072B2");
        let near = |a: f64, b: f64| (a - b).abs() <= 8.0;
        let last_low = corners.iter().rfind(|(_, y)| near(*y, low)).unwrap();
        let first_high = corners.iter().find(|(_, y)| near(*y, high)).unwrap();
        assert!(last_low.0 <= ninety + 1.0 && first_high.0 >= ninety - 1.0, "{last_low:?} {first_high:?} {ninety}");
        assert!(first_high.0 - last_low.0 < 40.0, "{corners:?}");
        assert!(corners.iter().all(|(_, y)| near(*y, low) || near(*y, high)), "{corners:?}");
        assert!(svg.trim_end().ends_with("</svg>") && svg.contains("\none\n"), "{svg}");
    }

    #[test]
    fn a_terminal_shows_every_curve_and_label_within_its_columns() {
        let curves = vec![Curve::of("quick", &of(100..2_000)), Curve::of("\u{9045}\u{3044} slow", &of(10_000..90_000))];
        for columns in [40, 80, 160] {
            let text = Picture { title: "t".into(), curves: curves.clone() }.text(columns).unwrap();
            assert!(text.lines().all(|line| line.width() <= columns), "{text}");
            for label in ["90%", "99%", "1 us", "quick", "slow"] {
                assert!(text.contains(label), "no {label} in\n{text}");
            }
        }
    }

    #[test]
    fn a_percentile_file_is_read_back_as_the_curve_it_was_written_from() {
        let histogram = of(1..=1_000);
        let mut text = Vec::new();
        histogram.write_hgrm(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let read = Curve::parse("a", &text).unwrap();
        let written = Curve::of("a", &histogram);
        assert_eq!((read.samples, read.points.len()), (1_000, written.points.len()));
        for (read, written) in read.points.iter().zip(&written.points) {
            assert!((read.0 - written.0).abs() < 1e-9 && read.1 == written.1, "{read:?} {written:?}");
        }
        for spoiled in [
            "",
            "Value",
            "1 2 3",
            "5 0.5 1\n4 0.9 2",
            "5 0.5 1\n6 0.4 2",
            "5 0.5",
            "nan 0.5 1",
            "1e308 0.5 1",
            "5 0.5 0",
        ] {
            assert_eq!(Curve::parse("a", spoiled), None, "{spoiled}");
        }
    }

    #[test]
    fn one_sample_and_the_least_and_greatest_values_can_be_drawn() {
        for samples in [vec![0], vec![u64::MAX], vec![0, u64::MAX], vec![7; 3]] {
            let picture = Picture { title: String::new(), curves: vec![Curve::of("a", &of(samples))] };
            assert!(picture.svg().unwrap().contains("polyline") && picture.text(80).unwrap().lines().count() > 15);
        }
    }

    #[test]
    fn a_name_of_any_characters_is_short_and_of_one_line() {
        assert_eq!(shorten("a\x1b[1m\nb"), "a?[1m?b");
        assert_eq!(shorten(&"n".repeat(NAME)), "n".repeat(NAME));
        assert_eq!(shorten(&"n".repeat(NAME + 1)), "n".repeat(NAME) + "...");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = Curve::read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("no percentile distribution"), "{error}");
    }

    #[test]
    fn shares_and_times_read_well() {
        assert_eq!([0.0, 1.0, 2.0, 3.0, 5.0].map(percent), ["0%", "90%", "99%", "99.9%", "99.999%"]);
        assert_eq!([100.0, 1_500.0, 2e6, 3e9].map(time), ["100 ns", "1.5 us", "2 ms", "3 s"]);
    }
}
