//! What a run leaves besides its table: files, and a picture.

use super::hlog::{self, Log};
use super::rows::Row;
use super::view::View;
use crate::cli::destination::{Destination, check_apart};
use crate::cli::html;
use crate::cli::output::{self, Output};
use crate::cli::plot::{self, Curve, Picture};
use crate::error::{Error, Kind, Result};
use crate::measure::ping::Sample;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Samples that are kept one by one: 320 MB.
const RAW_LIMIT: u64 = 10_000_000;

/// What is to be left.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Write the percentile distribution here, for HdrHistogram's plotter
    ///
    /// It is of one frame size and load.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Write the samples of each interval here while it runs: HdrHistogram's interval log
    ///
    /// Its tools read it. With several rows each line has the size and the load as its tag.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Length of an interval of --hlog
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = hlog::interval, requires = "hlog")]
    interval: Duration,
    /// Draw the distribution below the table
    ///
    /// Values to the left of 90% are nine in ten, and each step to the right is a tenth of
    /// what is left. What fewer than ten samples lie beyond is drawn faint. Each frame size
    /// and load is a curve, up to six with those of --over.
    #[arg(long, conflicts_with_all = ["json", "json_lines"])]
    plot: bool,
    /// Write the same picture into this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write all of it into this HTML file: tables, the picture, the machine, the command line
    ///
    /// One file that needs no other, no network and no script.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw this earlier run, which --hgrm wrote, with it; up to five of them
    #[arg(long, value_name = "FILE")]
    over: Vec<PathBuf>,
    /// Write every sample here: sequence, due, service and intended time in ns
    ///
    /// With several rows each line begins with its frame size and its load in per cent.
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
}

impl Wanted {
    /// Refuses a picture beside a document.
    ///
    /// # Errors
    /// As [`Output::check_alone`].
    pub fn check(&self, output: &Output) -> Result<()> {
        if self.plot { output.check_alone("--plot") } else { Ok(()) }
    }

    /// Whether anything is asked for.
    pub fn is_any(&self) -> bool {
        self.hgrm.is_some()
            || self.hlog.is_some()
            || self.raw.is_some()
            || self.plot
            || self.svg.is_some()
            || !self.over.is_empty()
    }

    /// The files that are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let all = [&self.hgrm, &self.hlog, &self.svg, &self.html, &self.raw];
        all.into_iter().flatten().map(PathBuf::as_path)
    }

    /// Those of them that come into being after the run.
    pub fn made_later(&self) -> Vec<PathBuf> {
        self.html.iter().cloned().collect()
    }

    /// The HTML file, if there is to be one.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn report(&self) -> Result<Option<html::Report>> {
        html::Report::make(self.html.as_deref())
    }

    /// Opens what is to be written of so many rows and reads what is to be drawn.
    ///
    /// # Errors
    /// If a file cannot be had, or has no place for all of them.
    pub fn open(&self, rows: usize) -> Result<Files<'_>> {
        if self.hgrm.is_some() && rows > 1 {
            let line = "--hgrm is the distribution of one frame size and load; name one of each, or take --hlog or --raw for all of them";
            return Err(Error::new(Kind::Usage, line));
        }
        if !self.over.is_empty() && !self.plot && self.svg.is_none() && self.html.is_none() {
            let line = "--over draws earlier runs into a picture; ask for one with --plot, --svg FILE or --html FILE";
            return Err(Error::new(Kind::Usage, line));
        }
        let picture = self.plot || self.svg.is_some() || self.html.is_some();
        let curves = self.over.len() + rows;
        if picture && curves > plot::MOST {
            let most = plot::MOST;
            let line = format!(
                "{curves} curves in one picture cannot be told apart; ask for up to {most}, earlier runs among them"
            );
            return Err(Error::new(Kind::Usage, line));
        }
        let files = Files {
            over: self.over.iter().map(|path| Curve::read(path)).collect::<Result<_>>()?,
            hgrm: Destination::create(&self.hgrm)?,
            hlog: Destination::create(&self.hlog)?,
            interval: self.interval,
            raw: Destination::create(&self.raw)?,
            svg: Destination::create(&self.svg)?,
            html: self.report()?,
            plot: self.plot,
        };
        let named = [&files.hgrm, &files.hlog, &files.raw, &files.svg];
        let named = named.into_iter().flatten().filter_map(Destination::place);
        let html = files.html.iter().filter_map(html::Report::place);
        check_apart(named.chain(html))?;
        Ok(files)
    }
}

/// All that a run leaves, not yet written.
pub struct Files<'a> {
    hgrm: Option<Destination<'a>>,
    hlog: Option<Destination<'a>>,
    interval: Duration,
    raw: Option<Destination<'a>>,
    svg: Option<Destination<'a>>,
    html: Option<html::Report>,
    plot: bool,
    over: Vec<Curve>,
}

impl<'a> Files<'a> {
    /// The log of intervals, if there is to be one: of the intended time, or the service time.
    pub fn log(&mut self, intended: bool) -> Option<Log<'a>> {
        self.hlog.take().map(|file| Log::new(file, self.interval, intended))
    }

    /// How many samples are to be kept one by one of rows at these rates.
    ///
    /// # Errors
    /// If they would not fit into memory.
    pub fn samples(&self, rates: &[f64], count: Option<u64>, duration: Option<Duration>) -> Result<Vec<usize>> {
        if self.raw.is_some() { raw_samples(rates, count, duration) } else { Ok(vec![0; rates.len()]) }
    }

    /// Writes everything, and draws the picture on `output`.
    ///
    /// # Errors
    /// If a file cannot be written, the first: the others are written all the same.
    pub fn write(mut self, view: &View<'_>, output: &Output) -> anyhow::Result<()> {
        let hgrm = match (&mut self.hgrm, view.rows) {
            (Some(file), [row]) => file.write(|out| view.chosen(row).write_hgrm(out)),
            _ => Ok(()),
        };
        let raw = self.raw.as_mut().map_or(Ok(()), |file| file.write(|out| write_raw(out, view)));
        let drawn = self.draw(view, output);
        // One that cannot be written is no reason to leave out another.
        hgrm.and(raw)?;
        drawn
    }

    /// Draws the picture wherever it is to be.
    fn draw(mut self, view: &View<'_>, output: &Output) -> anyhow::Result<()> {
        let measured = view.rows.iter().filter(|row| !view.chosen(row).is_empty());
        let name = |row: &Row| if view.several { row.case.name() } else { "this run".into() };
        let mut curves: Vec<Curve> = measured.map(|row| Curve::of(name(row), view.chosen(row))).collect();
        if curves.is_empty() {
            return Ok(self.html.map_or(Ok(()), |file| file.write(&view.document(), &[]))?);
        }
        if !self.plot && self.svg.is_none() && self.html.is_none() {
            return Ok(());
        }
        curves.append(&mut self.over);
        let picture = Picture { title: view.title(), curves };
        let svg = match &mut self.svg {
            Some(file) => picture.svg().and_then(|svg| file.write(|out| out.write_all(svg.as_bytes()))),
            None => Ok(()),
        };
        let html = match self.html {
            Some(file) => picture.svg().and_then(|svg| file.write(&view.document(), &[svg])),
            None => Ok(()),
        };
        if self.plot {
            output.verbatim(format_args!("\n{}", picture.text(output.screen().columns().unwrap_or(80))?.trim_end()))?;
        }
        Ok(svg.and(html)?)
    }
}

fn write_raw(out: &mut dyn Write, view: &View<'_>) -> std::io::Result<()> {
    writeln!(out, "{}sequence,due_ns,service_ns,intended_ns", if view.several { "size,load," } else { "" })?;
    for row in view.rows {
        let load = row.case.load.as_ref().map_or(0.0, |load| load.percent);
        let of = if view.several { format!("{},{load},", row.case.size) } else { String::new() };
        for Sample { sequence, due_ns, service_ns, intended_ns } in &row.report.raw {
            writeln!(out, "{of}{sequence},{due_ns},{service_ns},{intended_ns}")?;
        }
    }
    Ok(())
}

/// How many samples the rows will give, to keep them all.
fn raw_samples(rates: &[f64], count: Option<u64>, duration: Option<Duration>) -> Result<Vec<usize>> {
    let of = |rate: &f64| {
        let by_time = duration.map(|time| (rate * time.as_secs_f64()).ceil() as u64 + 1);
        count.into_iter().chain(by_time).min()
    };
    let Some(samples) = rates.iter().map(of).collect::<Option<Vec<u64>>>() else {
        return Err(Error::new(Kind::Usage, "--raw keeps all samples in memory; say how many with -c or -d"));
    };
    match samples.iter().fold(0, |sum: u64, samples| sum.saturating_add(*samples)) {
        ..=RAW_LIMIT => Ok(samples.into_iter().map(|samples| samples as usize).collect()),
        sum => Err(Error::new(
            Kind::Usage,
            format!(
                "--raw would keep {} samples in memory; ask for at most {} (-c, -d, -r)",
                output::grouped(sum),
                output::grouped(RAW_LIMIT)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_samples_are_bounded_before_they_are_taken() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(raw_samples(&[1e5, 10.0], None, second).unwrap(), [100_001, 11]);
        assert_eq!(raw_samples(&[1e5], Some(10), second).unwrap(), [10]);
        for (rates, count) in [(&[1e5][..], None), (&[1e6], Some(u64::MAX)), (&[1e6; 2], Some(6_000_000))] {
            assert_eq!(raw_samples(rates, count, None).unwrap_err().kind(), Kind::Usage, "{rates:?} {count:?}");
        }
    }
}
