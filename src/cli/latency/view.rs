//! What `bmnic latency` prints: every figure out of the one histogram.

use super::rows::Row;
use super::sweep;
use crate::cli::account;
use crate::cli::output::{self, Output};
use crate::cli::table::Table;
use crate::driver::Description;
use crate::error::{Error, Kind};
use crate::measure::ping::Own;
use crate::measure::{Histogram, Machine, Noise};
use serde_json::{Map, Value, json};

/// What is printed, and what it is made of.
pub struct View<'a> {
    /// What was measured: at least one row.
    pub rows: &'a [Row],
    /// Several were asked for.
    pub several: bool,
    /// Percentiles that were asked for; none for the usual ones.
    pub percentiles: &'a [f64],
    /// Headline and file are of the intended time.
    pub intended: bool,
    /// The figure above all others.
    pub headline: Option<Figure>,
    /// What was measured.
    pub devices: &'a [Description],
    /// Whether any of it is emulated.
    pub emulated: bool,
    /// What the loop itself takes.
    pub own: Own,
    /// What disturbed the run.
    pub noise: &'a Noise,
    /// Where it ran.
    pub machine: &'a Machine,
}

impl View<'_> {
    /// The histogram that was asked for: service time unless `--intended`.
    pub fn chosen<'r>(&self, row: &'r Row) -> &'r Histogram {
        if self.intended { &row.report.intended } else { &row.report.service }
    }

    /// What is printed of a histogram.
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = vec![Figure::Min, Figure::Mean];
        if self.percentiles.is_empty() {
            figures.extend(Histogram::QUANTILES.map(|quantile| Figure::Percentile(quantile.percent)));
        } else {
            figures.extend(self.percentiles.iter().map(|&percent| Figure::Percentile(percent)));
        }
        figures.push(Figure::Max);
        figures
    }

    /// What the figure is the latency of.
    fn scope(&self) -> &'static str {
        if self.emulated {
            "from send() to recv(): the cost of driver and model, not of a wire"
        } else {
            "from send() to recv(): driver, PCIe, card and wire"
        }
    }

    /// What stands above a picture of it.
    pub fn title(&self) -> String {
        let device = self.devices.first().map_or("", |device| &device.device);
        let time = if self.intended { "from when it was due" } else { "from send() to recv()" };
        let sizes = self.rows.iter().map(|row| row.case.size);
        let size = match (sizes.clone().min(), sizes.max()) {
            (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
            (least, _) => least.unwrap_or(0).to_string(),
        };
        let rate = self.rows.first().map_or(0.0, |row| row.rate);
        let same = self.rows.iter().all(|row| row.rate == rate);
        let rate = if same { format!(", {}", output::pps(rate)) } else { String::new() };
        format!("One packet of {size} bytes {time}{rate} on {device}")
    }

    /// Prints everything; returns why the headline could not be named, if so.
    pub fn print(&self, output: &Output) -> anyhow::Result<Option<Error>> {
        let headline = self.headline;
        let value = self.rows.first().and_then(|row| Some((headline?, headline?.of(self.chosen(row)))));
        let refused = match (value, self.rows) {
            (Some((figure, None)), [row, ..]) => Some(figure.refusal(self.chosen(row))),
            _ => None,
        };
        if output.is_json() {
            output.document(&self.document())?;
            return Ok(refused);
        }
        if let Some((figure, Some(ns))) = value {
            if output.is_quiet() {
                output.result(format_args!("{ns} ns"))?;
            } else {
                output.result(format_args!("{}: {} ns", figure.name(), output::grouped(ns)))?;
            }
        }
        if headline.is_none() || !output.is_quiet() {
            self.print_text(output)?;
        }
        Ok(refused)
    }

    fn print_text(&self, output: &Output) -> anyhow::Result<()> {
        output.info(format_args!("measured: {}", self.scope()))?;
        output.info(format_args!("machine: {}", self.machine))?;
        let Own { clock, poll, round } = self.own;
        output.detail(format_args!(
            "own cost: {clock:.1} ns to read the clock, {poll:.1} ns an empty poll, {round:.1} ns a round of the loop; not taken off"
        ))?;
        output.info("")?;
        match self.rows {
            [row] if !self.several => self.print_row(row, output)?,
            _ => {
                sweep::print(self, output)?;
                let notes = account::joined(self.rows.iter().flat_map(|row| row.notes.iter().cloned()));
                account::print_notes(&notes, output)?;
            }
        }
        // The least that rests on enough samples everywhere says it for all.
        let few = self.rows.iter().min_by_key(|row| self.chosen(row).count());
        let unnamed = few.and_then(|row| {
            let unnamed = self.figures().into_iter().rev().find(|figure| figure.of(self.chosen(row)).is_none());
            unnamed.map(|figure| figure.refusal(self.chosen(row)))
        });
        if let Some(line) = unnamed {
            output.info(line)?;
        }
        for warning in self.warnings() {
            output.warn(warning);
        }
        Ok(())
    }

    fn print_row(&self, row: &Row, output: &Output) -> anyhow::Result<()> {
        let report = &row.report;
        output.table(&self.table(row))?;
        output.result("")?;
        output.result(format_args!(
            "{} sent at {}, {} received, {} lost, {} duplicated, {} reordered",
            output::grouped(report.sent),
            output::pps(report.rate()),
            output::grouped(report.received()),
            output::grouped(report.lost),
            output::grouped(report.duplicated),
            output::grouped(report.reordered),
        ))?;
        if let Some(asked) = &row.case.load {
            let load = report.load.unwrap_or_default();
            output.result(format_args!(
                "load of {} %: {:.1} % offered, {} sent at {}, {} received, {} lost, {} duplicated",
                asked.percent,
                row.load_sent(),
                output::grouped(load.sent),
                output::pps(report.load_rate()),
                output::grouped(load.received),
                output::grouped(load.lost()),
                output::grouped(load.duplicated),
            ))?;
        }
        account::print_notes(&row.notes, output)?;
        if report.foreign > 0 {
            output.info(format_args!("{} other frames came in between", output::grouped(report.foreign)))?;
        }
        if report.skipped > 0 {
            output.info(format_args!(
                "{} packets were not sent because the sender was held up; 'intended' counts what they would have waited",
                output::grouped(report.skipped)
            ))?;
        }
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.machine.warnings();
        warnings.extend(self.noise.warnings());
        for row in self.rows {
            let whose = if self.several { format!("{}: ", row.case.name()) } else { String::new() };
            let reached = row.report.rate() / row.rate;
            // Of fewer than that one pause of the machine would be told.
            if row.rate * row.seconds() > 1_000.0 && reached < 0.95 {
                let (percent, judged) = (reached * 100.0, account::is_judged(row.seconds()));
                let short = if judged { "" } else { ", and the run was too short to fail for that" };
                warnings.push(format!(
                    "{whose}only {percent:.1} % of the rate asked for were sent{short}; choose a lower one (-r)"
                ));
            }
            let reached = row.report.load_rate() / row.load_rate;
            if row.load_rate * row.seconds() > 1_000.0 && reached < 0.95 {
                let percent = reached * 100.0;
                warnings.push(format!(
                    "{whose}only {percent:.1} % of the load asked for were sent; choose a lower one, or longer frames (--load-size)"
                ));
            }
        }
        warnings
    }

    fn table(&self, row: &Row) -> Table {
        let Row { report, floor, .. } = row;
        let figures = self.figures();
        let mut headers: Vec<String> = vec!["ns".into()];
        headers.extend(figures.iter().map(|figure| figure.name()));
        headers.push("stdev".into());
        headers.push("samples".into());
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let mut table = output::table(&headers, 1);
        let mut add = |name: String, histogram: &Histogram| {
            let mut cells = vec![name];
            cells.extend(figures.iter().map(|figure| figure.of(histogram).map_or("-".into(), output::grouped)));
            cells.push(output::grouped(histogram.stdev().round() as u64));
            cells.push(output::grouped(histogram.count()));
            table.add_row(cells);
        };
        add("service".into(), &report.service);
        add("intended".into(), &report.intended);
        if let Some(handoff) = &floor.handoff {
            add(format!("floor: {} B between cores", floor.frame), handoff);
        }
        if let Some(line) = &floor.line {
            add("floor: one cache line".into(), line);
        }
        table
    }

    /// All of it as a document.
    pub fn document(&self) -> Value {
        let result = json!({
            "measured": self.scope(),
            "results": self.rows.iter().map(|row| self.row_json(row)).collect::<Vec<_>>(),
            "own_ns": self.own.json(),
            "noise": self.noise.json(),
            "warnings": self.warnings(),
        });
        output::document("latency", self.devices, self.machine, result)
    }

    fn row_json(&self, row: &Row) -> Value {
        let report = &row.report;
        json!({
            "headline": self.headline.map(|figure| json!({
                "name": figure.name(),
                "of": if self.intended { "intended" } else { "service" },
                "ns": figure.of(self.chosen(row)),
            })),
            "frame": row.case.size,
            "asked_pps": row.rate,
            "pps": report.rate(),
            "sent": report.sent,
            "received": report.received(),
            "lost": report.lost,
            "duplicated": report.duplicated,
            "reordered": report.reordered,
            "foreign": report.foreign,
            "load": row.load_json(),
            "wire": account::notes_json(&row.notes),
            "skipped": report.skipped,
            "elapsed_ns": report.elapsed_ns,
            "service_ns": self.histogram_json(&report.service),
            "intended_ns": self.histogram_json(&report.intended),
            "floor": row.floor.json(),
        })
    }

    fn histogram_json(&self, histogram: &Histogram) -> Value {
        let mut fields = Map::new();
        for figure in self.figures() {
            fields.insert(figure.name(), figure.of(histogram).into());
        }
        fields.insert("stdev".into(), histogram.stdev().into());
        fields.insert("count".into(), histogram.count().into());
        Value::Object(fields)
    }
}

/// A figure of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// Least.
    Min,
    /// Mean.
    Mean,
    /// So many per cent are not above it.
    Percentile(f64),
    /// Greatest.
    Max,
}

impl Figure {
    /// As it is printed.
    pub fn name(self) -> String {
        match self {
            Figure::Min => "min".into(),
            Figure::Mean => "mean".into(),
            Figure::Percentile(percent) => format!("p{percent}"),
            Figure::Max => "max".into(),
        }
    }

    /// Nanoseconds; `None` if there are too few samples to name it.
    pub fn of(self, histogram: &Histogram) -> Option<u64> {
        if histogram.is_empty() {
            return None;
        }
        match self {
            Figure::Min => Some(histogram.min()),
            Figure::Mean => Some(histogram.mean().round() as u64),
            Figure::Percentile(percent) => histogram.quantile(percent / 100.0),
            Figure::Max => Some(histogram.max()),
        }
    }

    /// Why it is not named.
    pub fn refusal(self, histogram: &Histogram) -> Error {
        let needed = match self {
            Figure::Percentile(percent) => Histogram::samples_needed(percent / 100.0),
            _ => 1,
        };
        Error::new(
            Kind::Limit,
            format!(
                "{} needs {} samples to mean anything and there are {}; run longer (-d, -c) or faster (-r)",
                self.name(),
                output::grouped(needed),
                output::grouped(histogram.count())
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::Case;
    use super::*;
    use crate::measure::Floor;
    use crate::measure::ping::Report;

    #[test]
    fn a_figure_that_rests_on_too_few_samples_says_how_many_it_needs() {
        let mut histogram = Histogram::new();
        (1..=500).for_each(|ns| histogram.record(ns));
        assert_eq!(Figure::Percentile(50.0).of(&histogram), Some(250));
        assert_eq!(Figure::Percentile(99.9).of(&histogram), None);
        let refusal = Figure::Percentile(99.9).refusal(&histogram).to_string();
        assert!(refusal.starts_with("p99.9 needs 10 000 samples") && refusal.contains("there are 500"));
        assert_eq!(Figure::Mean.of(&Histogram::new()), None);
    }

    fn with_view(samples: u64, check: impl Fn(&View<'_>)) {
        let mut service = Histogram::new();
        (1..=samples).for_each(|ns| service.record(ns));
        let report = Report {
            intended: service.clone(),
            service,
            sent: samples + 2,
            lost: 2,
            elapsed_ns: 1_000_000_000,
            ..Report::default()
        };
        let clock = crate::measure::Clock::new();
        let nowhere = crate::sys::Roots::under(std::path::Path::new("/nonexistent"));
        let none = std::time::Duration::ZERO;
        let floor = Floor { frame: 60, counter_ns: 1.0, copy_ns: 1.0, line: None, handoff: None };
        let case = Case { size: 64, load: None };
        let row = Row { case, rate: 2_000.0, load_rate: 0.0, report, notes: Vec::new(), floor };
        check(&View {
            rows: &[row],
            several: false,
            percentiles: &[],
            intended: false,
            headline: Some(Figure::Percentile(99.0)),
            devices: &[],
            emulated: true,
            own: Own { clock: 1.0, poll: 1.0, round: 2.0 },
            noise: &Noise::begin(&nowhere, &clock, none),
            machine: &Machine::record(&nowhere, &clock),
        });
    }

    #[test]
    fn table_and_document_show_the_same_figures_and_leave_out_the_same() {
        with_view(2_000, |view| {
            let table = view.table(&view.rows[0]).text(None, None);
            let row: Vec<&str> = table.lines().find(|line| line.contains("service")).unwrap().split("  ").collect();
            let cells: Vec<&str> = row.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).collect();
            // min mean p50 p90 p99 p99.9 p99.99 max stdev samples
            assert_eq!(&cells[1..9], ["1", "1 001", "1 000", "1 800", "1 980", "-", "-", "2 000"], "{table}");
            let json = view.histogram_json(&view.rows[0].report.service);
            assert_eq!((&json["p99"], &json["p99.9"], &json["count"]), (&1_980.into(), &Value::Null, &2_000.into()));
        });
    }

    #[test]
    fn a_rate_that_was_not_reached_is_a_warning() {
        with_view(2_000, |view| assert!(!view.warnings().iter().any(|warning| warning.contains("rate asked for"))));
        with_view(1_500, |view| assert!(view.warnings().iter().any(|warning| warning.contains("only 75.1 %"))));
    }
}
