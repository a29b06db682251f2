//! What a run leaves besides its table: files, and a picture.

use super::view::View;
use crate::cli::html;
use crate::cli::output::{self, Output};
use crate::cli::plot::{self, Curve, Picture};
use crate::error::{Error, Kind, Result};
use crate::measure::ping::Sample;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Samples that are kept one by one: 320 MB.
const RAW_LIMIT: u64 = 10_000_000;

/// What is to be left.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Write the percentile distribution here, for HdrHistogram's plotter
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Draw the distribution below the table
    ///
    /// Values to the left of 90% are nine in ten, and each step to the right is a tenth of
    /// what is left. What fewer than ten samples lie beyond is drawn faint.
    #[arg(long)]
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
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
}

impl Wanted {
    /// Whether anything is asked for.
    pub fn is_any(&self) -> bool {
        self.hgrm.is_some() || self.raw.is_some() || self.plot || self.svg.is_some() || !self.over.is_empty()
    }

    /// The HTML file, if there is to be one.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn report(&self) -> Result<Option<html::Report>> {
        html::Report::make(self.html.as_deref())
    }

    /// Opens what is to be written and reads what is to be drawn.
    ///
    /// # Errors
    /// If a file cannot be had.
    pub fn open(&self) -> Result<Files<'_>> {
        if !self.over.is_empty() && !self.plot && self.svg.is_none() && self.html.is_none() {
            let line = "--over draws earlier runs into a picture; ask for one with --plot, --svg FILE or --html FILE";
            return Err(Error::new(Kind::Usage, line));
        }
        if self.over.len() >= plot::MOST {
            let line = format!(
                "{} runs in one picture cannot be told apart; name up to {}",
                self.over.len() + 1,
                plot::MOST - 1
            );
            return Err(Error::new(Kind::Usage, line));
        }
        let files = Files {
            over: self.over.iter().map(|path| Curve::read(path)).collect::<Result<_>>()?,
            hgrm: Destination::create(&self.hgrm)?,
            raw: Destination::create(&self.raw)?,
            svg: Destination::create(&self.svg)?,
            html: self.report()?,
            plot: self.plot,
        };
        files.check_apart()?;
        Ok(files)
    }
}

/// All that a run leaves, not yet written.
pub struct Files<'a> {
    hgrm: Option<Destination<'a>>,
    raw: Option<Destination<'a>>,
    svg: Option<Destination<'a>>,
    html: Option<html::Report>,
    plot: bool,
    over: Vec<Curve>,
}

impl Files<'_> {
    /// Refuses one file for two things, of which the second would be written over the first.
    fn check_apart(&self) -> Result<()> {
        let mut seen = Vec::new();
        let files = [&self.hgrm, &self.raw, &self.svg].into_iter().flatten();
        let files = files.map(|file| (file.path, file.file.metadata()));
        let html = self.html.iter().map(|report| (report.path(), report.path().metadata()));
        for (path, data) in files.chain(html) {
            let Ok(data) = data else { continue };
            if data.is_file() && seen.contains(&(data.dev(), data.ino())) {
                let path = path.display();
                let line =
                    format!("{path} is named for two results, and one would write over the other; name two files");
                return Err(Error::new(Kind::Usage, line));
            }
            seen.push((data.dev(), data.ino()));
        }
        Ok(())
    }

    /// How many samples are to be kept one by one.
    ///
    /// # Errors
    /// If they would not fit into memory.
    pub fn samples(&self, rate: f64, count: Option<u64>, duration: Option<Duration>) -> Result<usize> {
        if self.raw.is_some() { raw_samples(rate, count, duration) } else { Ok(0) }
    }

    /// Writes everything, and draws the picture on `output`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(mut self, view: &View<'_>, output: &Output) -> anyhow::Result<()> {
        let histogram = view.chosen();
        if let Some(file) = &mut self.hgrm {
            file.write(|out| histogram.write_hgrm(out))?;
        }
        if let Some(file) = &mut self.raw {
            file.write(|out| write_raw(out, &view.report.raw))?;
        }
        if histogram.is_empty() {
            return Ok(self.html.map_or(Ok(()), |file| file.write(&view.document(), &[]))?);
        }
        if !self.plot && self.svg.is_none() && self.html.is_none() {
            return Ok(());
        }
        let mut curves = vec![Curve::of("this run", histogram)];
        curves.append(&mut self.over);
        let picture = Picture { title: view.title(), curves };
        if let Some(file) = &mut self.svg {
            let svg = picture.svg()?;
            file.write(|out| out.write_all(svg.as_bytes()))?;
        }
        if let Some(file) = self.html {
            file.write(&view.document(), &[picture.svg()?])?;
        }
        if self.plot && !output.is_json() {
            output.result(format_args!("\n{}", picture.text(output::columns())?.trim_end()))?;
        }
        Ok(())
    }
}

/// A file of results, opened before the run.
struct Destination<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Destination<'a> {
    /// The file of this name, if there is to be one.
    fn create(path: &'a Option<PathBuf>) -> Result<Option<Self>> {
        let Some(path) = path.as_deref() else { return Ok(None) };
        // Not truncated yet: a run that fails leaves the results of the last one.
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|e| Error::io(format!("creating {}", path.display()), e))?;
        Ok(Some(Destination { path, file }))
    }

    fn write(&mut self, content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
        let mut out = BufWriter::new(&self.file);
        let regular = self.file.metadata().is_ok_and(|data| data.is_file());
        let emptied = if regular { self.file.set_len(0) } else { Ok(()) };
        emptied
            .and_then(|()| content(&mut out))
            .and_then(|()| out.flush())
            .map_err(|e| Error::io(format!("writing {}; it is not complete", self.path.display()), e))
    }
}

fn write_raw(out: &mut dyn Write, samples: &[Sample]) -> std::io::Result<()> {
    writeln!(out, "sequence,due_ns,service_ns,intended_ns")?;
    for sample in samples {
        writeln!(out, "{},{},{},{}", sample.sequence, sample.due_ns, sample.service_ns, sample.intended_ns)?;
    }
    Ok(())
}

/// How many samples a run will give, to keep them all.
fn raw_samples(rate: f64, count: Option<u64>, duration: Option<Duration>) -> Result<usize> {
    let by_time = duration.map(|time| (rate * time.as_secs_f64()).ceil() as u64 + 1);
    match count.into_iter().chain(by_time).min() {
        Some(samples) if samples <= RAW_LIMIT => Ok(samples as usize),
        Some(samples) => Err(Error::new(
            Kind::Usage,
            format!(
                "--raw would keep {} samples in memory; ask for at most {} (-c, -d, -r)",
                output::grouped(samples),
                output::grouped(RAW_LIMIT)
            ),
        )),
        None => Err(Error::new(Kind::Usage, "--raw keeps all samples in memory; say how many with -c or -d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_samples_are_bounded_before_they_are_taken() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(raw_samples(1e5, None, second).unwrap(), 100_001);
        assert_eq!(raw_samples(1e5, Some(10), second).unwrap(), 10);
        assert_eq!(raw_samples(1e5, None, None).unwrap_err().kind(), Kind::Usage);
        assert_eq!(raw_samples(1e6, Some(u64::MAX), None).unwrap_err().kind(), Kind::Usage);
    }
}
