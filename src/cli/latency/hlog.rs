//! `--hlog`: HdrHistogram's interval log, written while the run goes on.
//!
//! ```text
//!   #[StartTime: 1700000000.000 (seconds since epoch)]
//!   #[BaseTime: 1700000000.000 (seconds since epoch)]
//!   "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
//!   Tag=64B-load50,0.100,1.000,123456.000,HISTFAAA...
//! ```
//!
//! The format is that of Java's `HistogramLogWriter`, version 1.3, with histograms of V2,
//! deflated. Times are seconds after BaseTime; values are nanoseconds.

use crate::cli::destination::Destination;
use crate::error::{Error, Kind, Result};
use crate::measure::ping::{Interval, Intervals, Written};
use crate::measure::{Clock, Ticks};
use std::io::Write;
use std::thread;
use std::time::Duration;

/// Shortest interval: a histogram is written for each.
const SHORTEST: Duration = Duration::from_millis(10);

/// The log of a run.
pub struct Log<'a> {
    file: Destination<'a>,
    every: Duration,
    intended: bool,
    /// When the times of the log begin; set by the first row.
    base: Option<Ticks>,
    /// Why a line could not be written.
    failed: Option<Error>,
}

impl<'a> Log<'a> {
    /// One that goes into `file`, a line for each interval of length `every`.
    pub fn new(file: Destination<'a>, every: Duration, intended: bool) -> Self {
        Log { file, every, intended, base: None, failed: None }
    }

    /// Runs `row`, whose intervals are written meanwhile, each with `tag` if there is one.
    pub fn during<T>(&mut self, clock: &Clock, tag: Option<&str>, row: impl FnOnce(Option<Intervals>) -> T) -> T {
        let (ours, written) = Intervals::new(clock, self.every, self.intended);
        let (mut refused, log) = (None, &mut *self);
        let row = thread::scope(|scope| {
            let writing = thread::Builder::new().spawn_scoped(scope, move || log.write_all(clock, tag, &written));
            refused = writing.err();
            row(refused.is_none().then_some(ours))
        });
        if let Some(error) = refused {
            self.failed.get_or_insert(Error::thread("starting the thread that writes the interval log", error));
        }
        row
    }

    fn write_all(&mut self, clock: &Clock, tag: Option<&str>, written: &Written) {
        while let Some(interval) = written.next() {
            if self.failed.is_none() {
                self.failed = self.line(clock, tag, &interval).err();
            }
            written.give_back(interval.histogram);
        }
    }

    fn line(&mut self, clock: &Clock, tag: Option<&str>, interval: &Interval) -> Result<()> {
        let Interval { histogram, start, end } = interval;
        let base = match self.base {
            Some(base) => base,
            None => {
                let seconds = clock.wall_ns(*start) as f64 / 1e9;
                self.file.write(|out| head(out, seconds))?;
                *self.base.insert(*start)
            }
        };
        let time = |from: Ticks, to: Ticks| Duration::from_nanos(clock.ns(to.saturating_sub(from)));
        self.file.append(|out| histogram.write_interval(out, time(base, *start), time(*start, *end), tag))
    }

    /// Whether all of it was written.
    ///
    /// # Errors
    /// Why not.
    pub fn end(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }
}

fn head(out: &mut dyn Write, seconds: f64) -> std::io::Result<()> {
    writeln!(out, "#[Logged with {}]", crate::cli::output::PROGRAM)?;
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(out, "#[StartTime: {seconds:.3} (seconds since epoch)]")?;
    writeln!(out, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
    writeln!(out, r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#)
}

/// Length of an interval.
pub fn interval(text: &str) -> Result<Duration> {
    let time = crate::cli::units::duration(text)?;
    if time < SHORTEST {
        let line = format!("an interval of '{text}' is a line of the log too often; give --interval at least 10ms");
        return Err(Error::new(Kind::Usage, line));
    }
    Ok(time)
}
