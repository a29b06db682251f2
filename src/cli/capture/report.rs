//! What `bmnic capture` says in the end: every packet in the file or by its cause.

use super::card::{self, Narrowing};
use super::cards::Tally;
use super::perf::Part;
use super::ring;
use crate::cli::account::{self, Losses};
use crate::cli::output::{self, Output};
use crate::driver::Wanted;
use crate::emu::wire::Note;
use crate::error::Error;
use crate::packet::Filter;
use crate::pcap::write::{Files, Held, Written};
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The figures of a run.
pub struct Report {
    /// Those of each card, in the order in which they were named: one at least.
    pub cards: Vec<Tally>,
    /// Packets that came, or were to come, and are not in the file for another reason than the
    /// filter, of all cards.
    pub losses: Losses,
    /// What became of the file.
    pub written: Written,
    /// How long it took.
    pub elapsed: Duration,
    /// Packets in the ring that others read, if there was one.
    pub published: Option<u64>,
    /// How often the filter was changed meanwhile.
    pub changes: u64,
    /// What the card was told of it.
    pub in_card: InCard,
    /// Parts that dummies stood in for: then it is no capture.
    pub dummies: Vec<Part>,
    /// Threads that captured.
    pub threads: usize,
}

/// What was left to the card of a filter.
#[derive(Debug, Default)]
pub struct InCard {
    /// What it received in the end, as far as it left anything out.
    pub wanted: Wanted,
    /// What it left out; none if nobody has counted that.
    pub left_out: Option<u64>,
    /// Who did: the card, or the kernel.
    pub whose: &'static str,
}

impl InCard {
    /// As it is now, of these cards.
    pub fn of(card: &Narrowing, cards: &[Tally]) -> InCard {
        let left_out = if card.was_narrowed() { cards.iter().map(|card| card.left_out).sum() } else { Some(0) };
        InCard { wanted: card.now(), left_out, whose: card.whose() }
    }
}

impl Report {
    /// Of a run of so many threads.
    pub fn new(
        mut cards: Vec<Tally>,
        (written, published): (Written, Option<u64>),
        elapsed: Duration,
        dummies: Vec<Part>,
        threads: usize,
    ) -> Self {
        cards.iter_mut().enumerate().for_each(|(n, card)| card.end(n, &written));
        let mut losses = Losses::default();
        cards.iter().for_each(|card| losses.add_all(&card.losses));
        // Of what a thread that broke off has lost nobody knows whose it was.
        let known: u64 = written.lost_of.iter().sum();
        losses.add("disk_failed", "writing failed", written.lost.saturating_sub(known));
        let (changes, in_card) = (0, InCard { left_out: Some(0), ..InCard::default() });
        Report { cards, losses, written, elapsed, published, changes, in_card, dummies, threads }
    }

    /// Packets that are not in the file, but for those that the filter left out.
    pub fn lost(&self) -> u64 {
        self.losses.total()
    }

    /// Packets that came or should have.
    pub fn came(&self) -> u64 {
        self.written.records + self.sum(|card| card.filtered) + self.lost()
    }

    fn sum(&self, of: impl Fn(&Tally) -> u64) -> u64 {
        self.cards.iter().map(of).sum()
    }

    /// Prints the summary, and the likely cause if nothing came.
    pub fn print(&self, output: &Output, path: Option<&Path>, filter: &Filter) -> io::Result<()> {
        print_written(output, &self.written, path, self.elapsed.as_secs_f64(), &self.dummies)?;
        if let Some(packets) = self.published {
            output.result(format_args!("published {} packets", output::grouped(packets)))?;
        }
        print_received(output, self.sum(|card| card.received), self.sum(|card| card.filtered))?;
        let one = self.cards.len() == 1;
        for card in self.cards.iter().filter(|card| one && card.by_queue.len() > 1) {
            output.result(format_args!("          {} by queue", by_queue(card)))?;
        }
        print_held(output, &self.written)?;
        if self.changes > 0 {
            let now = Some(filter.to_string()).filter(|text| !text.is_empty());
            let now = now.map_or("none, all packets were kept".into(), |text| format!("'{text}'"));
            output
                .result(format_args!("filter    changed {} times, in the end {now}", output::grouped(self.changes)))?;
        }
        self.losses.print(output)?;
        if self.cards.iter().any(|card| card.stats.rx_missed.is_none()) {
            output.result("          not known: what found no buffer, as this device keeps no count of it")?;
        }
        let only = match card::words(&self.in_card.wanted) {
            words if words.is_empty() => words,
            words => format!("; it received {words}"),
        };
        match self.in_card.left_out {
            None => output.result(format_args!(
                "          not known: what {} left out, as it keeps no count of it{only}",
                self.in_card.whose
            ))?,
            Some(0) => {}
            Some(packets) => output.result(format_args!(
                "          {} more were left out by the card, by its count before its filters{only}",
                output::grouped(packets)
            ))?,
        }
        let unfinished = self.sum(|card| card.stats.rx_unfinished);
        if unfinished > 0 {
            output.info(format_args!(
                "kernel    {} packets as it leaves them to hardware: checksums open, or segments joined",
                output::grouped(unfinished)
            ))?;
        }
        for card in self.cards.iter().filter(|_| !one) {
            print_card(card, output)?;
        }
        account::print_meant(&self.notes(), output)?;
        for card in &self.cards {
            let whose = if one { String::new() } else { format!("{}: ", card.device) };
            output.info(format_args!("times     {whose}{}", card.times.line()))?;
        }
        if let Some(order) = self.order() {
            output.info(format_args!("order     {order}"))?;
        }
        self.cards.iter().flat_map(|card| card.times.warnings()).for_each(|line| output.warn(line));
        if let Some(hint) = self.hint(filter) {
            output.warn(hint);
        }
        Ok(())
    }

    /// In which order packets are in the file, where there is a word to say of it.
    fn order(&self) -> Option<String> {
        match (self.threads, self.cards.len()) {
            (1, 1) => None,
            (1, cards) => Some(match self.sum(|card| card.times.late()) {
                0 => format!("of all {cards} cards in order of time"),
                late => format!("of all {cards} cards in order of time, but for {}", output::grouped(late)),
            }),
            (threads, _) => {
                Some(format!("of each of the {threads} threads in order of time, of all of them to within 0.1 s"))
            }
        }
    }

    /// What the wires of all cards did.
    fn notes(&self) -> Vec<Note> {
        account::joined(self.cards.iter().flat_map(|card| card.notes.iter().cloned()))
    }

    /// Why the file is empty, as far as the counters tell.
    fn hint(&self, filter: &Filter) -> Option<String> {
        if self.written.records > 0 || self.written.error.is_some() {
            return None;
        }
        let bad = self.sum(|Tally { stats, .. }| stats.rx_errors + stats.rx_oversize + stats.rx_overflow);
        let missed = self.sum(|card| card.stats.rx_missed.unwrap_or(0));
        Some(match (self.sum(|card| card.received), missed) {
            (0, 0) if bad > 0 => "nothing captured: all frames were broken or too long; raise --max-frame".into(),
            (0, 0) if self.in_card.left_out != Some(0) => format!(
                "nothing captured: no packet passed what of the filter is in {}; try --push-down off",
                self.in_card.whose
            ),
            (0, 0) => "nothing captured: no packet reached the card; is the far end sending, and to this port?".into(),
            (0, missed) => {
                format!("nothing captured: the card missed all {missed} packets; is another process on this card?")
            }
            (received, _) if self.sum(|card| card.filtered) == received && self.changes > 0 => {
                format!("nothing captured: the filters left out all {received} packets")
            }
            (received, _) if self.sum(|card| card.filtered) == received => {
                format!("nothing captured: the filter '{filter}' left out all {received} packets; try without it")
            }
            _ if self.written.lines => "nothing printed: nobody has read the lines".into(),
            _ => "nothing captured: the disk was too slow for any packet".into(),
        })
    }

    /// The summary as fields of a document. The clock and the counters of a card are at the top
    /// only where there is one.
    pub fn json(&self, path: Option<&Path>, filter: &Filter) -> Value {
        let one = if let [card] = &self.cards[..] { Some(card) } else { None };
        json!({
            "file": path.filter(|_| !is_dropped(&self.dummies)).and_then(|path| file_json(path, &self.written)),
            "printed": self.written.lines,
            "published": self.published,
            "filter": filter.to_string(),
            "filter_changes": self.changes,
            "in_card": card::list(&self.in_card.wanted),
            "left_out_by_card": self.in_card.left_out,
            "elapsed_ns": output::ns(self.elapsed),
            "dummies": self.dummies.iter().map(|part| part.name()).collect::<Vec<_>>(),
            (if self.dummies.is_empty() { "captured" } else { "managed" }): self.written.records,
            "file_bytes": if is_dropped(&self.dummies) { 0 } else { self.written.bytes },
            "files": files_json(&self.written),
            "buffer": held_json(&self.written),
            "threads": self.threads,
            "received": self.sum(|card| card.received),
            "received_by_queue": self.cards.iter().flat_map(|card| &card.by_queue).collect::<Vec<_>>(),
            "filtered": self.sum(|card| card.filtered),
            "beyond": self.written.beyond(),
            "lost": self.losses.json(),
            "wire": account::notes_json(&self.notes()),
            "timestamps": one.map(|card| card.times.json()),
            "write_error": self.written.error.as_ref().map(ToString::to_string),
            "port": one.map(|card| output::stats(&card.stats)),
            "by_device": self.cards.iter().map(Tally::json).collect::<Vec<_>>(),
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

/// `3 000, 2 999`: what came off each queue.
fn by_queue(card: &Tally) -> String {
    let queues: Vec<_> = card.by_queue.iter().map(|&count| output::grouped(count)).collect();
    queues.join(", ")
}

/// What became of one card's packets, where there are several.
fn print_card(card: &Tally, output: &Output) -> io::Result<()> {
    let Tally { device, captured, received, filtered, .. } = card;
    let [captured, received, filtered] = [captured, received, filtered].map(|count| output::grouped(*count));
    output.result(format_args!("of {device}: {captured} packets captured"))?;
    let queues = if card.by_queue.len() > 1 { format!(", {} by queue", by_queue(card)) } else { String::new() };
    output.result(format_args!("received  {received} packets, {filtered} left out by the filter{queues}"))?;
    card.losses.print(output)
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
    if written.lines {
        let (packets, rate) =
            (output::grouped(written.records), output::pps(written.records as f64 / seconds.max(1e-9)));
        return output.result(format_args!("printed   {packets} packets, {seconds:.3} s, {rate}"));
    }
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
    if written.beyond() > 0 {
        let beyond = output::grouped(written.beyond());
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

/// The name of what is written, if it is no text.
pub fn file_json(path: &Path, written: &Written) -> Option<String> {
    (!written.lines).then(|| path.display().to_string())
}

/// The ring that packets were held in, if one was asked for.
pub fn print_held(output: &Output, written: &Written) -> io::Result<()> {
    ring::words(&written.held).map_or(Ok(()), |words| output.result(format_args!("ring      {words}")))
}

/// The memory that packets were held in as fields of a document; null where nothing was written.
pub fn held_json(written: &Written) -> Value {
    let Held { bytes, most, page } = written.held;
    if bytes == 0 { Value::Null } else { json!({ "bytes": bytes, "most_used": most, "page": page }) }
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
    let said = || io::Error::new(error.kind(), error.to_string());
    let again = error.raw_os_error().map_or_else(said, io::Error::from_raw_os_error);
    let (path, records, lost) = (path?, written.records, written.lost);
    let (path, within) = match &written.files {
        Some(files) => (files.failed.as_ref().unwrap_or(&files.last).as_path(), "the files"),
        None => (path, "it"),
    };
    let remedy = match error.kind() {
        io::ErrorKind::TimedOut => "have it read on",
        io::ErrorKind::PermissionDenied => {
            "the run kept its rights for the folders that its files were in when it began; --no-sandbox keeps all"
        }
        _ => "free space or name another file",
    };
    let line = format!("{records} packets are in {within}, all whole; {lost} more were lost; {remedy}");
    Some(Error::io(format!("writing {}", path.display()), again).hint(line))
}
