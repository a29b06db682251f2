//! What `bmnic capture` says in the end: every packet in the file or by its cause.

use crate::cli::output::{self, Output};
use crate::cli::session::Session;
use crate::driver::Stats;
use crate::error::Error;
use crate::packet::Filter;
use crate::packet::write::Written;
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The figures of a run.
pub struct Report {
    /// Packets that came off the rings.
    pub received: u64,
    /// How many off each.
    pub by_queue: Vec<u64>,
    /// Of these, those that the filter left out.
    pub filtered: u64,
    /// Packets that the card had no room or no buffer for.
    pub missed: u64,
    /// Frames that the card found broken or too long.
    pub bad: u64,
    /// Packets dropped because the card's words about them made no sense.
    pub anomalies: u64,
    /// What became of the rest.
    pub written: Written,
    /// How long it took.
    pub elapsed: Duration,
    /// The card's counters.
    pub stats: Stats,
}

impl Report {
    /// Packets that were seen by the card and are not in the file, but for those
    /// that the filter left out.
    fn lost(&self) -> u64 {
        self.missed + self.bad + self.anomalies + self.written.slow + self.written.lost
    }

    /// Prints the summary, and the likely cause if nothing came.
    pub fn print(&self, output: &Output, path: &Path, session: &Session, filter: &Filter) -> io::Result<()> {
        let seconds = self.elapsed.as_secs_f64();
        let shown = if path == Path::new("-") { "standard output".into() } else { path.display().to_string() };
        output.result(format_args!(
            "captured  {} packets, {} bytes in {shown}, {:.3} s, {}",
            output::grouped(self.written.records),
            output::grouped(self.written.bytes),
            seconds,
            output::pps(self.written.records as f64 / seconds.max(1e-9)),
        ))?;
        output.result(format_args!(
            "received  {} packets, {} left out by the filter",
            output::grouped(self.received),
            output::grouped(self.filtered)
        ))?;
        if self.by_queue.len() > 1 {
            let queues: Vec<_> = self.by_queue.iter().map(|&count| output::grouped(count)).collect();
            output.result(format_args!("          {} by queue", queues.join(", ")))?;
        }
        output.result(format_args!("lost      {}", output::grouped(self.lost())))?;
        for (count, cause) in self.causes() {
            if count > 0 {
                output.result(format_args!("          {} {cause}", output::grouped(count)))?;
            }
        }
        for device in &session.devices {
            output.info(format_args!("times     {}", source(device.timestamps)))?;
        }
        if let Some(hint) = self.hint(filter) {
            output.warn(hint);
        }
        Ok(())
    }

    fn causes(&self) -> [(u64, &'static str); 5] {
        [
            (self.missed, "missed by the card: its ring was full (try a larger --rxd)"),
            (self.bad, "broken or too long for --max-frame, dropped by the card"),
            (self.anomalies, "the card's words about them made no sense"),
            (self.written.slow, "the disk was slower than they came (try a larger --buffer, or --snaplen)"),
            (self.written.lost, "writing failed"),
        ]
    }

    /// Why the file is empty, as far as the counters tell.
    fn hint(&self, filter: &Filter) -> Option<String> {
        if self.written.records > 0 || self.written.error.is_some() {
            return None;
        }
        Some(match (self.received, self.missed) {
            (0, 0) if self.bad > 0 => "nothing captured: all frames were broken or too long; raise --max-frame".into(),
            (0, 0) => "nothing captured: no packet reached the card; is the far end sending, and to this port?".into(),
            (0, missed) => {
                format!("nothing captured: the card missed all {missed} packets; is another process on this card?")
            }
            (received, _) if self.filtered == received => {
                format!("nothing captured: the filter '{filter}' left out all {received} packets; try without it")
            }
            _ => "nothing captured: the disk was too slow for any packet".into(),
        })
    }

    /// The error to end with, if writing failed. A reader that went away is none.
    pub fn failure(&self, path: &Path) -> Option<Error> {
        let error = self.written.error.as_ref()?;
        // Of a pipe, named or not: nothing else has readers.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return None;
        }
        let again = error.raw_os_error().map_or(io::Error::from(error.kind()), io::Error::from_raw_os_error);
        let (records, lost) = (self.written.records, self.written.lost);
        let line =
            format!("{records} packets are in it, all whole; {lost} more were lost; free space or name another file");
        Some(Error::io(format!("writing {}", path.display()), again).hint(line))
    }

    /// The summary as fields of a document.
    pub fn json(&self, path: &Path, filter: &Filter) -> Value {
        json!({
            "file": path.display().to_string(),
            "filter": filter.to_string(),
            "seconds": self.elapsed.as_secs_f64(),
            "captured": self.written.records,
            "file_bytes": self.written.bytes,
            "received": self.received,
            "received_by_queue": self.by_queue,
            "filtered": self.filtered,
            "lost": {
                "missed_by_card": self.missed,
                "bad_frames": self.bad,
                "device_errors": self.anomalies,
                "disk_slow": self.written.slow,
                "disk_failed": self.written.lost,
                "total": self.lost(),
            },
            "write_error": self.written.error.as_ref().map(ToString::to_string),
            "port": output::stats(&self.stats),
        })
    }
}

/// Where times come from, in words.
fn source(source: crate::driver::TimestampSource) -> &'static str {
    match source {
        crate::driver::TimestampSource::Hardware => "hw: the card's clock, tied to the time of day by the first packet",
        crate::driver::TimestampSource::Tsc => {
            "tsc: the processor's counter as each batch leaves the ring, as time of day"
        }
    }
}
