//! What `bmnic capture` says in the end: every packet in the file or by its cause.

use super::perf::Part;
use super::times::Summary;
use crate::cli::account::{self, Losses};
use crate::cli::output::{self, Output};
use crate::driver::Stats;
use crate::emu::wire::Note;
use crate::error::Error;
use crate::packet::Filter;
use crate::pcap::write::{Files, Written};
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
    /// Packets that came, or were to come, and are not in the file for another reason.
    pub losses: Losses,
    /// What the wire of an emulated card did.
    pub notes: Vec<Note>,
    /// What became of the rest.
    pub written: Written,
    /// How long it took.
    pub elapsed: Duration,
    /// The card's counters.
    pub stats: Stats,
    /// Where the times in the file come from.
    pub times: Summary,
    /// Packets in the ring that others read, if there was one.
    pub published: Option<u64>,
    /// Parts that dummies stood in for: then it is no capture.
    pub dummies: Vec<Part>,
    /// Threads that captured.
    pub threads: usize,
}

/// Adds what was lost on the way into the file.
pub fn add_written(losses: &mut Losses, written: &Written) {
    losses.add("disk_slow", "the disk was slower than they came (try a larger --buffer, or --snaplen)", written.slow);
    losses.add("disk_failed", "writing failed", written.lost);
}

impl Report {
    /// Packets that are not in the file, but for those that the filter left out.
    pub fn lost(&self) -> u64 {
        self.losses.total()
    }

    /// Packets that came or should have.
    pub fn came(&self) -> u64 {
        self.written.records + self.filtered + self.lost()
    }

    /// Prints the summary, and the likely cause if nothing came.
    pub fn print(&self, output: &Output, path: Option<&Path>, filter: &Filter) -> io::Result<()> {
        print_written(output, &self.written, path, self.elapsed.as_secs_f64(), &self.dummies)?;
        if let Some(packets) = self.published {
            output.result(format_args!("published {} packets", output::grouped(packets)))?;
        }
        print_received(output, self.received, self.filtered)?;
        if self.by_queue.len() > 1 {
            let queues: Vec<_> = self.by_queue.iter().map(|&count| output::grouped(count)).collect();
            output.result(format_args!("          {} by queue", queues.join(", ")))?;
        }
        self.losses.print(output)?;
        if self.stats.rx_missed.is_none() {
            output.result("          not known: what found no buffer, as this device keeps no count of it")?;
        }
        account::print_meant(&self.notes, output)?;
        output.info(format_args!("times     {}", self.times.line()))?;
        if self.threads > 1 {
            output.info(format_args!(
                "order     of each of the {} threads in order of time, of all of them to within 0.1 s",
                self.threads
            ))?;
        }
        self.times.warnings().for_each(|line| output.warn(line));
        if let Some(hint) = self.hint(filter) {
            output.warn(hint);
        }
        Ok(())
    }

    /// Why the file is empty, as far as the counters tell.
    fn hint(&self, filter: &Filter) -> Option<String> {
        if self.written.records > 0 || self.written.error.is_some() {
            return None;
        }
        let bad = self.stats.rx_errors + self.stats.rx_oversize + self.stats.rx_overflow;
        Some(match (self.received, self.stats.rx_missed.unwrap_or(0)) {
            (0, 0) if bad > 0 => "nothing captured: all frames were broken or too long; raise --max-frame".into(),
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

    /// The summary as fields of a document.
    pub fn json(&self, path: Option<&Path>, filter: &Filter) -> Value {
        json!({
            "file": path.filter(|_| !is_dropped(&self.dummies)).map(|path| path.display().to_string()),
            "published": self.published,
            "filter": filter.to_string(),
            "seconds": self.elapsed.as_secs_f64(),
            "dummies": self.dummies.iter().map(|part| part.name()).collect::<Vec<_>>(),
            (if self.dummies.is_empty() { "captured" } else { "managed" }): self.written.records,
            "file_bytes": if is_dropped(&self.dummies) { 0 } else { self.written.bytes },
            "files": files_json(&self.written),
            "threads": self.threads,
            "received": self.received,
            "received_by_queue": self.by_queue,
            "filtered": self.filtered,
            "beyond": self.written.beyond,
            "lost": self.losses.json(),
            "wire": account::notes_json(&self.notes),
            "timestamps": self.times.json(),
            "write_error": self.written.error.as_ref().map(ToString::to_string),
            "port": output::stats(&self.stats),
        })
    }
}

/// What is in the file, if there is one, or was dropped where a dummy stood in for it.
pub fn print_written(
    output: &Output,
    written: &Written,
    path: Option<&Path>,
    seconds: f64,
    dummies: &[Part],
) -> io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let shown = match &written.files {
        _ if path == Path::new("-") => "standard output".into(),
        None => path.display().to_string(),
        Some(Files { begun: 1, last, .. }) => last.display().to_string(),
        Some(Files { begun, first, last, .. }) => {
            format!("{} files, {} to {}", output::grouped(*begun), first.display(), last.display())
        }
    };
    let bytes = output::grouped(written.bytes);
    let (what, whither) = match (dummies.is_empty(), is_dropped(dummies)) {
        (true, _) => ("captured", format!("{bytes} bytes in {shown}")),
        (false, true) => ("managed ", format!("{bytes} bytes dropped")),
        (false, false) => ("managed ", format!("{bytes} bytes in {shown}")),
    };
    let names: Vec<_> = dummies.iter().map(|part| part.name()).collect();
    output.result(format_args!(
        "{what}  {} packets, {whither}, {seconds:.3} s, {}{}",
        output::grouped(written.records),
        output::pps(written.records as f64 / seconds.max(1e-9)),
        if names.is_empty() { String::new() } else { format!(", without {}", names.join(" and ")) },
    ))?;
    if let Some(Files { removed, removed_records, replaced, .. }) = &written.files {
        if *removed > 0 {
            let (packets, files) = (output::grouped(*removed_records), output::grouped(*removed));
            output.result(format_args!(
                "          {packets} of these packets in {files} files that made room for others"
            ))?;
        }
        if *replaced > 0 {
            output.result(format_args!(
                "          {} files that were there were overwritten",
                output::grouped(*replaced)
            ))?;
        }
    }
    if written.beyond > 0 {
        let beyond = output::grouped(written.beyond);
        output.result(format_args!("          {beyond} more packets came after the last file was full"))?;
    }
    Ok(())
}

/// The files of a series as fields of a document, or null.
pub fn files_json(written: &Written) -> Value {
    written.files.as_ref().map_or(Value::Null, |files| {
        json!({
            "begun": files.begun,
            "removed": files.removed,
            "removed_packets": files.removed_records,
            "replaced": files.replaced,
            "first": files.first.display().to_string(),
            "last": files.last.display().to_string(),
        })
    })
}

/// Whether no file was written.
fn is_dropped(dummies: &[Part]) -> bool {
    dummies.iter().any(|part| *part != Part::Card)
}

/// What came, and what the filter left out of it.
pub fn print_received(output: &Output, received: u64, filtered: u64) -> io::Result<()> {
    output.result(format_args!(
        "received  {} packets, {} left out by the filter",
        output::grouped(received),
        output::grouped(filtered)
    ))
}

/// Whether the reader of a pipe, named or not, has what it wanted: what came
/// after that is no loss.
pub fn reader_left(written: &Written) -> bool {
    written.error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error to end with, if writing failed. A reader that went away is none.
pub fn failure(written: &Written, path: Option<&Path>) -> Option<Error> {
    let error = written.error.as_ref().filter(|_| !reader_left(written))?;
    let again = error.raw_os_error().map_or(io::Error::from(error.kind()), io::Error::from_raw_os_error);
    let (path, records, lost) = (path?, written.records, written.lost);
    let (path, within) = match &written.files {
        Some(files) => (files.failed.as_ref().unwrap_or(&files.last).as_path(), "the files"),
        None => (path, "it"),
    };
    let line =
        format!("{records} packets are in {within}, all whole; {lost} more were lost; free space or name another file");
    Some(Error::io(format!("writing {}", path.display()), again).hint(line))
}
