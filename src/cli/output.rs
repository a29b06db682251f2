//! Output: text for people, JSON documents for programs.
//!
//! ```text
//!                 standard output                            standard error
//!   text          device line, results, tables               live lines, warnings, errors
//!   --json        one document: of the result or the error   warnings
//!   --json-lines  a line each interval, then the same        warnings
//!   --quiet       results only                               errors
//! ```
//!
//! On a terminal lines and tables are as wide as it is ([`Screen`]), and live lines are drawn
//! ([`Live`]); a pipe sees lines that are whole, and none that change. A command whose standard output is data (`capture -`) sends its text to
//! standard error instead ([`Output::on_stderr`]). So does an error that comes after the
//! result was printed, as a limit that was passed does.
//!
//! Every document begins with [`SCHEMA`] and its command, and has one unit for each
//! quantity: times in nanoseconds (`_ns`), rates in packets and in bits a second (`pps`,
//! `bits_per_second`), sizes in bytes, shares as fractions of 1. `tests/schema` has a
//! schema for the documents of each command.

use super::Global;
use super::color::{Color, Tone};
use super::progress::{Goal, Live, aside};
use super::screen::Screen;
use super::table::Table;
use super::units::Scaled;
use crate::driver::{Description, Stats};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::sys::{self, Roots};
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// This program, as the files that it writes name it.
pub const PROGRAM: &str = concat!("bmnic ", env!("CARGO_PKG_VERSION"));

/// What documents there are, and what their fields mean. It changes if a field goes away
/// or means something else, not if one is added.
pub const SCHEMA: &str = "bmnic/1";

/// Whether standard output has what it is for: the document of the result, or data.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Where a command's words go.
#[derive(Clone, Debug)]
pub struct Output {
    global: Global,
    stderr: bool,
    /// Lines that change would be in the way of others.
    still: bool,
}

impl Output {
    /// As the options of every subcommand say.
    pub fn new(global: &Global) -> Self {
        Output { global: global.clone(), stderr: false, still: false }
    }

    /// The same with text on standard error, because standard output is data.
    #[must_use]
    pub fn on_stderr(mut self) -> Self {
        TAKEN.store(true, Ordering::Relaxed);
        self.stderr = true;
        self
    }

    /// The same without live lines: others are drawn on the terminal meanwhile.
    #[must_use]
    pub fn without_live(mut self) -> Self {
        self.still = true;
        self
    }

    /// Whether the result is to be a JSON document ([`Output::document`]).
    pub fn is_json(&self) -> bool {
        self.global.is_json()
    }

    /// Refuses an `option` that prints in a form of its own beside a document. clap sees the
    /// two only where they stand on one side of the subcommand.
    ///
    /// # Errors
    /// [`Kind::Usage`] if a document was asked for.
    pub fn check_alone(&self, option: &str) -> Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        let line = format!("{option} cannot be used with --json or --json-lines: each is a form of its own; name one");
        Err(Error::new(Kind::Usage, line))
    }

    /// Whether only results are wanted.
    pub fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    /// How often `-v` was given.
    pub fn verbosity(&self) -> u8 {
        self.global.verbose
    }

    /// A line of the result. Nothing with `--json`.
    pub fn result(&self, text: impl Display) -> io::Result<()> {
        if self.is_json() { Ok(()) } else { self.write(self.screen().fold(&text.to_string())) }
    }

    /// A line of the result whose first `letters` have this tone. Nothing with `--json`.
    pub fn verdict(&self, tone: Tone, letters: usize, text: impl Display) -> io::Result<()> {
        if self.is_json() {
            return Ok(());
        }
        let (screen, text) = (self.screen(), text.to_string());
        self.write(tone.paint(&screen.fold(&text), letters, Color::is_on(screen)))
    }

    /// A table of the result. Nothing with `--json`.
    pub fn table(&self, table: &Table) -> io::Result<()> {
        if self.is_json() { Ok(()) } else { self.write(self.screen().table(table)) }
    }

    /// A result that is data, or drawn to fit: as it is. Nothing with `--json`.
    pub fn verbatim(&self, text: impl Display) -> io::Result<()> {
        if self.is_json() { Ok(()) } else { self.write(text) }
    }

    /// A line about the result: what device, what to do next. Nothing with
    /// `--json` or `--quiet`.
    pub fn info(&self, text: impl Display) -> io::Result<()> {
        if self.global.quiet { Ok(()) } else { self.result(text) }
    }

    /// A line that only `-v` shows.
    pub fn detail(&self, text: impl Display) -> io::Result<()> {
        if self.global.verbose == 0 { Ok(()) } else { self.info(text) }
    }

    /// A warning, on standard error. Nothing with `--quiet`.
    pub fn warn(&self, text: impl Display) {
        if !self.global.quiet {
            complain("bmnic: warning:", Tone::Warning, text);
        }
    }

    /// Figures asked for while running (SIGUSR1), on standard error.
    pub fn now(&self, text: impl Display) {
        let text = text.to_string();
        // Nobody is left to tell if standard error is closed.
        let _ = aside(|| writeln!(io::stderr(), "{}", Screen::stderr().fold(&text)));
    }

    /// The JSON document of a run. Nothing without `--json` or `--json-lines`.
    pub fn document(&self, document: &Value) -> io::Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        TAKEN.store(true, Ordering::Relaxed);
        self.write(text_of(document, self.global.json_lines))
    }

    /// What there is to say once an interval, for `--json-lines`: nothing without.
    pub fn interval(&self, command: &str, figures: impl FnOnce() -> Value) -> io::Result<()> {
        if !self.global.json_lines {
            return Ok(());
        }
        let mut line = begun(command);
        append(&mut line, figures());
        self.write(stamped(line, false))
    }

    /// The JSON document of a command that opens no card: as [`document`], with
    /// devices only where `result` has them. Nothing without `--json`.
    pub fn facts(&self, roots: &Roots, command: &str, result: Value) -> io::Result<()> {
        if !self.is_json() {
            return Ok(());
        }
        let mut fields = headed(command, &Machine::record(roots, &Clock::new()));
        append(&mut fields, result);
        self.document(&Value::Object(fields))
    }

    /// Whether nothing may change on the terminal while the command runs.
    fn silent(&self) -> bool {
        self.still || self.is_json() || self.global.quiet
    }

    /// Lines that change while the command runs, unless only results are wanted.
    pub fn live(&self, lines: usize) -> Live {
        if self.silent() { Live::none() } else { Live::lines(lines) }
    }

    /// A line with a bar, likewise ([`Live::bar`]).
    pub fn bar(&self, goal: Goal) -> Live {
        if self.silent() { Live::none() } else { Live::bar(goal) }
    }

    /// What its text is read on.
    pub fn screen(&self) -> Screen {
        if self.stderr { Screen::stderr() } else { Screen::stdout() }
    }

    fn write(&self, text: impl Display) -> io::Result<()> {
        aside(|| {
            if self.stderr {
                return writeln!(io::stderr(), "{text}");
            }
            let mut out = sys::standard_output()?.lock();
            writeln!(out, "{text}")?;
            // What a watcher reads is there when it is said.
            out.flush()
        })
    }
}

/// Says something on standard error, behind what it is.
pub fn complain(what: &str, tone: Tone, text: impl Display) {
    let (screen, text) = (Screen::stderr(), format!("{what} {text}"));
    let text = screen.fold(&text);
    // Nobody is left to tell if standard error is closed.
    let _ = aside(|| writeln!(io::stderr(), "{}", tone.paint(&text, what.len(), Color::is_on(screen))));
}

/// A time that somebody waits for, in its two largest units: `18 h 12 min`.
pub fn wait(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = time.as_secs();
    let parts = UNITS.iter().map(|(unit, name)| {
        let count = left / unit;
        left %= unit;
        (count, name)
    });
    let parts: Vec<String> =
        parts.skip_while(|(count, _)| *count == 0).take(2).map(|(count, name)| format!("{count} {name}")).collect();
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

/// A table; columns from `numbers` on are aligned to the right.
pub fn table(headers: &[&str], numbers: usize) -> Table {
    Table::new(headers, numbers)
}

/// The JSON document of a run: what ran, on which machine, on which devices,
/// and then the fields of `result`.
pub fn document(command: &str, devices: &[Description], machine: &Machine, result: Value) -> Value {
    let mut document = headed(command, machine);
    document.insert("devices".into(), devices.iter().map(device).collect());
    append(&mut document, result);
    Value::Object(document)
}

/// Prints the document of an error; on standard error if standard output is taken.
pub fn error(document: &Value, lines: bool) {
    let text = text_of(document, lines);
    let printed = match sys::standard_output() {
        Ok(out) if !TAKEN.load(Ordering::Relaxed) => writeln!(out.lock(), "{text}"),
        _ => writeln!(io::stderr(), "{document}"),
    };
    // Nobody is left to tell.
    drop(printed);
}

/// A document over many lines, or on the last of those that `--json-lines` prints.
fn text_of(document: &Value, lines: bool) -> String {
    match document {
        Value::Object(fields) if lines => stamped(fields.clone(), true),
        _ => format!("{document:#}"),
    }
}

/// A document of one line, which says when it was made and whether it is the last.
fn stamped(mut line: Map<String, Value>, last: bool) -> String {
    line.insert("at_ns".into(), sys::realtime_ns().into());
    line.insert("final".into(), last.into());
    Value::Object(line).to_string()
}

/// What every document begins with: what its fields mean, and what ran.
pub fn begun(command: &str) -> Map<String, Value> {
    Map::from_iter([("schema".into(), SCHEMA.into()), ("command".into(), command.into())])
}

/// The same, and where it ran.
pub fn headed(command: &str, machine: &Machine) -> Map<String, Value> {
    let mut document = begun(command);
    document.insert("machine".into(), machine.json());
    document
}

/// Adds the fields of `result` to a document.
pub fn append(document: &mut Map<String, Value>, result: Value) {
    match result {
        Value::Object(fields) => document.extend(fields),
        other => {
            document.insert("result".into(), other);
        }
    }
}

/// A time for a JSON document: nanoseconds.
pub fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A device for a JSON document.
pub fn device(device: &Description) -> Value {
    json!({
        "name": device.device,
        "kind": device.kind.to_string(),
        "model": device.model,
        "driver": device.driver,
        "firmware": device.firmware,
        "mac": device.mac.to_string(),
        "timestamps": device.timestamps.to_string(),
        "lacks": device.lacks,
    })
}

/// Counters of a port for a JSON document.
pub fn stats(stats: &Stats) -> Value {
    let odd = &stats.anomalies;
    json!({
        "rx_packets": stats.rx_packets,
        "rx_bytes": stats.rx_bytes,
        "tx_packets": stats.tx_packets,
        "tx_bytes": stats.tx_bytes,
        "rx_missed": stats.rx_missed,
        "rx_overflow": stats.rx_overflow,
        "rx_errors": stats.rx_errors,
        "rx_oversize": stats.rx_oversize,
        "rx_unfinished": stats.rx_unfinished,
        "counted_by": if stats.by_device { "device" } else { "driver" },
        "anomalies": {
            "bad_length": odd.bad_length,
            "bad_index": odd.bad_index,
            "bad_chain": odd.bad_chain,
            "frame_error": odd.frame_error,
            "queue_reset": odd.queue_reset,
            "unmapped": odd.unmapped,
        },
    })
}

/// `14.88 Mpps`.
pub fn pps(rate: f64) -> String {
    unit(rate, "pps")
}

/// `9.999 Gbit/s`.
pub fn bits(rate: f64) -> String {
    unit(rate, "bit/s")
}

/// `1 234 567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `14.88 M` and the unit behind it.
fn unit(value: f64, unit: &str) -> String {
    let text = Scaled(value).to_string();
    match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => format!("{} {}{unit}", &text[..at], &text[at..]),
        None => format!("{text} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_its_two_largest_units() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (65_560, "18 h 12 min"), (86_400 * 400 + 3_599, "400 d 0 h")]
        {
            assert_eq!(wait(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(pps(14_880_952.38), "14.881 Mpps");
        assert_eq!(pps(0.0), "0 pps");
        assert_eq!(bits(10e9), "10 Gbit/s");
        assert_eq!(bits(999_960.0), "1 Mbit/s");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }

    #[test]
    fn a_document_says_what_ran_where_and_keeps_the_order_of_its_fields() {
        let machine = Machine::record(&Roots::from_env(), &Clock::new());
        let document = document("fwd", &[], &machine, json!({ "zebra": 1, "ant": 2 }));
        let keys: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["schema", "command", "machine", "devices", "zebra", "ant"]);
    }

    #[test]
    fn a_line_is_one_and_says_when_it_was_made_and_whether_more_follow() {
        let document = json!({ "schema": SCHEMA, "text": "two\nlines" });
        let Value::Object(fields) = document.clone() else { panic!() };
        for (line, last) in [(stamped(fields, false), false), (text_of(&document, true), true)] {
            let read: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((line.lines().count(), &read["final"], &read["text"]), (1, &last.into(), &document["text"]));
            assert!(read["at_ns"].as_u64() > Some(1_700_000_000_000_000_000), "{line}");
        }
        assert_eq!(serde_json::from_str::<Value>(&text_of(&document, false)).unwrap(), document);
    }
}
