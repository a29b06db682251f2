//! What `bmnic capture` says in the end: every packet in the file or by its cause.

use super::card::{self, Narrowing};
use super::perf::Part;
use super::times::Summary;
use crate::cli::account::{self, Losses};
use crate::cli::output::{self, Output};
use crate::driver::Stats;
use crate::emu::wire::Note;
use crate::error::Error;
use crate::net::MacAddr;
use crate::packet::Filter;
use crate::pcap::write::Written;
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
    /// How often the filter was changed meanwhile.
    pub changes: u64,
    /// What the card was told of it.
    pub in_card: InCard,
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

/// What was left to the card of a filter.
#[derive(Debug, Default)]
pub struct InCard {
    /// Destinations of all that it received in the end, unless it was everything.
    pub destinations: Option<Vec<MacAddr>>,
    /// It was not everything all the time: what it left out nobody has counted.
    pub uncounted: bool,
}

impl InCard {
    /// As it is now.
    pub fn of(card: &Narrowing) -> InCard {
        InCard { destinations: card.destinations(), uncounted: card.was_narrowed() }
    }
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
        if self.changes > 0 {
            let now = Some(filter.to_string()).filter(|text| !text.is_empty());
            let now = now.map_or("none, all packets were kept".into(), |text| format!("'{text}'"));
            output
                .result(format_args!("filter    changed {} times, in the end {now}", output::grouped(self.changes)))?;
        }
        self.losses.print(output)?;
        if self.stats.rx_missed.is_none() {
            output.result("          not known: what found no buffer, as this device keeps no count of it")?;
        }
        if self.in_card.uncounted {
            let only = self.in_card.destinations.as_deref().map(|all| format!("; it received {}", card::words(all)));
            let only = only.unwrap_or_default();
            output.result(format_args!(
                "          not known: what the card left out, as it keeps no count of it{only}"
            ))?;
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
            (0, 0) if self.in_card.uncounted => {
                "nothing captured: no packet to the addresses of the filter reached the card; try --no-push-down".into()
            }
            (0, 0) => "nothing captured: no packet reached the card; is the far end sending, and to this port?".into(),
            (0, missed) => {
                format!("nothing captured: the card missed all {missed} packets; is another process on this card?")
            }
            (received, _) if self.filtered == received && self.changes > 0 => {
                format!("nothing captured: the filters left out all {received} packets")
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
            "filter_changes": self.changes,
            "in_card": self.in_card.destinations.as_ref().map(|all| all.iter().map(MacAddr::to_string).collect::<Vec<_>>()),
            "left_out_by_card": (!self.in_card.uncounted).then_some(0),
            "seconds": self.elapsed.as_secs_f64(),
            "dummies": self.dummies.iter().map(|part| part.name()).collect::<Vec<_>>(),
            (if self.dummies.is_empty() { "captured" } else { "managed" }): self.written.records,
            "file_bytes": if is_dropped(&self.dummies) { 0 } else { self.written.bytes },
            "threads": self.threads,
            "received": self.received,
            "received_by_queue": self.by_queue,
            "filtered": self.filtered,
            "lost": self.losses.json(),
            "wire": account::notes_json(&self.notes),
            "timestamps": self.times.json(),
            "write_error": self.written.error.as_ref().map(ToString::to_string),
            "port": output::stats(&self.stats),
        })
    }
}

/// What is shown while a capture runs: packets on their way into the file, a second, missed by
/// the card, and dropped because the disk was behind.
pub fn live_line(taken: u64, rate: f64, missed: u64, dropped: u64) -> String {
    format!(
        "captured {} packets, {}, missed by the card {}, dropped for the disk {}",
        output::grouped(taken),
        output::pps(rate),
        output::grouped(missed),
        output::grouped(dropped)
    )
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
    let shown = if path == Path::new("-") { "standard output".into() } else { path.display().to_string() };
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
    ))
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
    let line =
        format!("{records} packets are in it, all whole; {lost} more were lost; free space or name another file");
    Some(Error::io(format!("writing {}", path.display()), again).hint(line))
}
