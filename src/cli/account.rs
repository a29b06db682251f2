//! Accounts: what came, what became of it, and what was lost, by cause.
//!
//! ```text
//!   wire of an emulated card    dropped by the kernel, refused, impaired   Session::notes
//!   card                        no room, broken, too long                  Nic::stats
//!   command                     left out by a filter, the disk was slow
//!   -------------------------------------------------------------------
//!   came = kept + left out + lost by a named cause, or `unaccounted`
//! ```
//!
//! A command begins to count when its rings take packets and ends when it stops
//! taking them: what a card drops before or after that is no loss.

use super::output::{self, Output};
use super::units;
use crate::driver::Stats;
use crate::emu::wire::{Counters, Fate, Note};
use crate::error::{Error, Kind, Result};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::io;

/// Words for two causes that several commands add.
pub const DEVICE_ERRORS: &str = "the card's words about them made no sense";
pub const UNACCOUNTED: &str = "unaccounted for: the card counts more than came off its rings";

/// Packets that were lost, by cause.
#[derive(Clone, Debug, Default)]
pub struct Losses(Vec<Loss>);

/// One cause.
#[derive(Clone, Debug)]
struct Loss {
    key: &'static str,
    words: Cow<'static, str>,
    packets: u64,
}

impl Losses {
    /// Adds a cause: its name in a document, the words behind a count, and the
    /// count. The same cause at several ports is one.
    pub fn add(&mut self, key: &'static str, words: impl Into<Cow<'static, str>>, packets: u64) {
        match self.0.iter_mut().find(|loss| loss.key == key) {
            Some(loss) => loss.packets += packets,
            None => self.0.push(Loss { key, words: words.into(), packets }),
        }
    }

    /// Adds all causes of others.
    pub fn add_all(&mut self, others: &Losses) {
        others.0.iter().for_each(|loss| self.add(loss.key, loss.words.clone(), loss.packets));
    }

    /// Adds what the counters of a port name, whose rings are as they are (`own_rings`) or
    /// may be asked for.
    pub fn add_port(&mut self, stats: &Stats, own_rings: bool) {
        if let Some(missed) = stats.rx_missed {
            let words = match own_rings {
                true => "missed by the card: its ring was full",
                false => "missed by the card: its ring was full (try a larger --rxd)",
            };
            self.add("missed_by_card", words, missed);
        }
        if stats.rx_overflow > 0 {
            let words = "not taken in by the card: it had no room, or they were too long for --max-frame";
            self.add("overflow", words, stats.rx_overflow);
        }
        let bad = stats.rx_errors + stats.rx_oversize;
        self.add("bad_frames", "broken or too long for --max-frame, dropped by the card", bad);
        self.add("device_errors", DEVICE_ERRORS, stats.anomalies.total());
    }

    /// Adds what wires have lost of the frames that were on their way to a port.
    pub fn add_arriving(&mut self, notes: &[Note]) {
        self.add_notes(notes, Fate::LostIn);
    }

    /// Adds what wires have lost of the frames that a port had sent.
    pub fn add_departing(&mut self, notes: &[Note]) {
        self.add_notes(notes, Fate::LostOut);
    }

    /// Adds what wires took away on purpose, where that is a loss all the same.
    pub fn add_meant(&mut self, notes: &[Note]) {
        self.add_notes(notes, Fate::MeantIn);
        self.add_notes(notes, Fate::MeantOut);
    }

    fn add_notes(&mut self, notes: &[Note], fate: Fate) {
        for note in notes.iter().filter(|note| note.fate == fate) {
            self.add(note.key, note.words.clone(), note.frames);
        }
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|loss| loss.packets).sum()
    }

    /// Prints the sum, and a line for each cause that took any.
    pub fn print(&self, output: &Output) -> io::Result<()> {
        output.result(format_args!("lost      {}", output::grouped(self.total())))?;
        for loss in self.0.iter().filter(|loss| loss.packets > 0) {
            output.result(format_args!("          {} {}", output::grouped(loss.packets), loss.words))?;
        }
        Ok(())
    }

    /// Every cause by its name, and the sum.
    pub fn json(&self) -> Value {
        let mut fields: Map<String, Value> =
            self.0.iter().map(|loss| (loss.key.to_string(), loss.packets.into())).collect();
        fields.insert("total".into(), self.total().into());
        Value::Object(fields)
    }
}

/// Prints what is no loss but is said: what wires did on purpose, what they could
/// not play of a file, and what a card got wrong because it was asked to.
pub fn print_meant(notes: &[Note], output: &Output) -> io::Result<()> {
    for note in notes.iter().filter(|note| note.frames > 0) {
        let way = match note.fate {
            Fate::MeantIn => ", on their way in",
            Fate::MeantOut => ", on their way out",
            Fate::LeftOut => "; left out",
            Fate::Faulted => {
                output.info(format_args!("card      {} {}", output::grouped(note.frames), note.words))?;
                continue;
            }
            Fate::Passed | Fate::LostIn | Fate::LostOut => continue,
        };
        output.info(format_args!("wire      {} {}{way}", output::grouped(note.frames), note.words))?;
    }
    Ok(())
}

/// Prints what wires lost, where the sum of what was lost is known otherwise, and
/// what they did besides.
pub fn print_notes(notes: &[Note], output: &Output) -> io::Result<()> {
    let lost = notes.iter().filter(|note| matches!(note.fate, Fate::LostIn | Fate::LostOut) && note.frames > 0);
    for note in lost {
        output.info(format_args!("wire      {} {}", output::grouped(note.frames), note.words))?;
    }
    print_meant(notes, output)
}

/// What passed on the wire of an emulated card, and what did not.
pub fn wire_json(passed: &Counters, notes: &[Note]) -> Value {
    json!({
        "tx_frames": passed.tx_frames,
        "tx_bytes": passed.tx_bytes,
        "rx_frames": passed.rx_frames,
        "rx_bytes": passed.rx_bytes,
        "drops": passed.drops,
        "unwanted": passed.unwanted,
        "notes": notes_json(notes),
    })
}

/// Everything that wires did or saw, by name.
pub fn notes_json(notes: &[Note]) -> Value {
    let mut fields = Map::new();
    for note in notes {
        let before = fields.get(note.key).and_then(Value::as_u64).unwrap_or(0);
        fields.insert(note.key.to_string(), (before + note.frames).into());
    }
    Value::Object(fields)
}

/// The notes of several wires as those of one: what is alike is added up.
pub fn joined(notes: impl Iterator<Item = Note>) -> Vec<Note> {
    let mut joined: Vec<Note> = Vec::new();
    for note in notes {
        match joined.iter_mut().find(|other| (other.key, other.fate) == (note.key, note.fate)) {
            Some(other) => other.frames += note.frames,
            None => joined.push(note),
        }
    }
    joined
}

/// What was noted since `before`; both of one wire, or [`joined`]. What a card got wrong stays
/// whole: a fault that struck before counting began is why packets are missing after.
pub fn notes_since(now: Vec<Note>, before: &[Note]) -> Vec<Note> {
    let mut notes = now;
    for note in notes.iter_mut().filter(|note| note.fate != Fate::Faulted) {
        let then = before.iter().find(|then| (then.key, then.fate) == (note.key, note.fate));
        note.frames = note.frames.saturating_sub(then.map_or(0, |then| then.frames));
    }
    notes
}

/// How much may be lost.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct LossLimit {
    /// Share of packets that may be lost; more ends with exit code 3
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = units::share)]
    allow_loss: f64,
}

impl LossLimit {
    /// Up to this share.
    pub fn of(allow_loss: f64) -> Self {
        LossLimit { allow_loss }
    }

    /// Whether `lost` of `all` packets are no more than allowed.
    ///
    /// # Errors
    /// [`Kind::Limit`] if they are more.
    pub fn check(&self, lost: u64, all: u64) -> Result<()> {
        let share = lost as f64 / all.max(lost).max(1) as f64;
        if lost == 0 || share <= self.allow_loss {
            return Ok(());
        }
        let (lost, all) = (output::grouped(lost), output::grouped(all));
        let allowed = percent(self.allow_loss);
        Err(Error::new(
            Kind::Limit,
            format!(
                "{lost} of {all} packets were lost ({}), and no more than {allowed} may be; mend the cause, or allow it with --allow-loss",
                percent(share)
            ),
        ))
    }
}

/// How far a rate may stay below what was asked.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ShortfallLimit {
    /// Share by which the rate may stay below --rate; more ends with exit code 3
    ///
    /// Runs of less than 100 ms are not judged: a single pause of the machine
    /// outweighs them.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = units::share)]
    allow_shortfall: f64,
}

/// Shortest run whose rate is judged, seconds.
const JUDGED: f64 = 0.1;

/// Whether a run of so many seconds fails if its rate was not that which was asked for.
pub fn is_judged(seconds: f64) -> bool {
    seconds >= JUDGED
}

impl ShortfallLimit {
    /// Whether `sent` packets a second are near enough to those `asked`, over a
    /// run of so many seconds.
    ///
    /// # Errors
    /// [`Kind::Limit`] if they are not.
    pub fn check(&self, asked: f64, sent: f64, seconds: f64) -> Result<()> {
        let short = 1.0 - sent / asked;
        // Not a number: nothing was asked.
        if !is_judged(seconds) || short.is_nan() || short <= self.allow_shortfall {
            return Ok(());
        }
        Err(Error::new(
            Kind::Limit,
            format!(
                "{} were sent of {} asked, {} short, and no more than {} may be; ask for less, or allow it with --allow-shortfall",
                output::pps(sent),
                output::pps(asked),
                percent(short),
                percent(self.allow_shortfall)
            ),
        ))
    }
}

/// A share as people write it. What is not all is never 100 %.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let text = match percent {
        0.0 => "0".into(),
        p if p > 99.9 && share < 1.0 => "more than 99.9".into(),
        p if p >= 10.0 => format!("{p:.1}"),
        p if p >= 0.1 => format!("{p:.2}"),
        p => return format!("{p:.1e} %"),
    };
    let digits = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{digits} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_within_the_limit_passes_and_one_beyond_it_is_named() {
        let limit = |allow_loss| LossLimit { allow_loss };
        assert!(limit(0.0).check(0, 0).is_ok() && limit(0.0).check(0, 9).is_ok());
        assert!(limit(0.01).check(1, 100).is_ok() && limit(1.0).check(9, 9).is_ok());
        for (allowed, lost, all) in [(0.0, 1, u64::MAX), (0.01, 2, 100), (0.5, 7, 0)] {
            let error = limit(allowed).check(lost, all).unwrap_err();
            assert_eq!(error.kind(), Kind::Limit);
            assert!(error.to_string().contains("--allow-loss"), "{error}");
        }
        let error = limit(0.0).check(1_100_000, 2_000_000).unwrap_err().to_string();
        assert!(error.starts_with("1 100 000 of 2 000 000 packets were lost (55 %)"), "{error}");
    }

    #[test]
    fn a_rate_is_judged_by_its_shortfall_unless_the_run_is_too_short() {
        let limit = ShortfallLimit { allow_shortfall: 0.05 };
        assert!(limit.check(1e6, 0.951e6, 1.0).is_ok() && limit.check(1e6, 2e6, 1.0).is_ok());
        assert!(limit.check(1e6, 0.0, 0.09).is_ok());
        let error = limit.check(14.88e6, 5.8e6, 1.0).unwrap_err();
        assert_eq!(error.kind(), Kind::Limit);
        assert!(error.to_string().starts_with("5.8 Mpps were sent of 14.88 Mpps asked, 61 % short"), "{error}");
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_to_another_limit() {
        for (share, words) in [
            (0.0, "0 %"),
            (1.0, "100 %"),
            (0.125, "12.5 %"),
            (0.55, "55 %"),
            (0.05, "5 %"),
            (0.99722, "99.7 %"),
            (0.99999, "more than 99.9 %"),
            (0.0012, "0.12 %"),
            (1e-7, "1.0e-5 %"),
        ] {
            assert_eq!(percent(share), words);
        }
    }

    #[test]
    fn causes_add_up_over_ports_and_to_a_total() {
        let mut losses = Losses::default();
        let stats = Stats { rx_missed: Some(3), rx_errors: 1, rx_oversize: 1, ..Stats::default() };
        losses.add_port(&stats, false);
        losses.add_port(&stats, false);
        let note = |fate, key, frames| Note::new(fate, key, "words", frames);
        let notes = [note(Fate::LostIn, "kernel_dropped", 5), note(Fate::LostOut, "refused", 7)];
        losses.add_arriving(&notes);
        assert_eq!(losses.total(), 15);
        losses.add_departing(&notes);
        let json = losses.json();
        assert_eq!((&json["missed_by_card"], &json["bad_frames"]), (&6.into(), &4.into()));
        assert_eq!((&json["kernel_dropped"], &json["refused"], &json["total"]), (&5.into(), &7.into(), &22.into()));
    }

    #[test]
    fn a_longer_ring_is_advised_only_where_it_can_be_had() {
        for (own_rings, advised) in [(true, false), (false, true)] {
            let mut losses = Losses::default();
            losses.add_port(&Stats { rx_missed: Some(3), ..Stats::default() }, own_rings);
            assert_eq!(losses.0[0].words.contains("--rxd"), advised);
        }
    }

    #[test]
    fn what_a_wire_did_before_is_taken_off() {
        let note = |key, frames| Note::new(Fate::LostIn, key, "words", frames);
        let notes = notes_since(vec![note("a", 5), note("b", 2)], &[note("a", 4)]);
        assert_eq!(notes.iter().map(|note| note.frames).collect::<Vec<_>>(), [1, 2]);
        // Two ports: 20 more at the first.
        let before = joined([note("a", 100), note("a", 50)].into_iter());
        let now = joined([note("a", 120), note("a", 50)].into_iter());
        assert_eq!(notes_since(now, &before), [note("a", 20)]);
        assert_eq!(notes_json(&[note("a", 1), note("a", 2)])["a"], 3);
        let fault = Note::new(Fate::Faulted, "fault_rx_stuck", "words", 1);
        assert_eq!(notes_since(vec![fault.clone()], std::slice::from_ref(&fault)), [fault]);
    }
}
