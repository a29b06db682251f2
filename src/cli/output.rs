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
//! Live lines are drawn on a terminal only, so a pipe sees none of them. A
//! command whose standard output is data (`capture -`) sends its text to
//! standard error instead ([`Output::on_stderr`]). So does an error that comes after the
//! result was printed, as a limit that was passed does.
//!
//! Every document begins with [`SCHEMA`] and its command, and has one unit for each
//! quantity: times in nanoseconds (`_ns`), rates in packets and in bits a second (`pps`,
//! `bits_per_second`), sizes in bytes, shares as fractions of 1. `tests/schema` has a
//! schema for the documents of each command.

use super::Global;
use super::units::Scaled;
use crate::driver::{Description, Stats};
use crate::measure::{Clock, Machine};
use crate::sys::{self, Roots};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Map, Value, json};
use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
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

    /// Whether only results are wanted.
    pub fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    /// How often `-v` was given.
    pub fn verbosity(&self) -> u8 {
        self.global.verbose
    }

    /// A line or a table of the result. Nothing with `--json`.
    pub fn result(&self, text: impl Display) -> io::Result<()> {
        if self.is_json() { Ok(()) } else { self.write(text) }
    }

    /// A line about the result: what device, what to do next. Nothing with
    /// `--json` or `--quiet`.
    pub fn info(&self, text: impl Display) -> io::Result<()> {
        if self.is_json() || self.global.quiet { Ok(()) } else { self.write(text) }
    }

    /// A line that only `-v` shows.
    pub fn detail(&self, text: impl Display) -> io::Result<()> {
        if self.global.verbose == 0 { Ok(()) } else { self.info(text) }
    }

    /// A warning, on standard error. Nothing with `--quiet`.
    pub fn warn(&self, text: impl Display) {
        if !self.global.quiet {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(io::stderr(), "bmnic: warning: {text}");
        }
    }

    /// Figures asked for while running (SIGUSR1), on standard error.
    pub fn now(&self, text: impl Display) {
        let _ = writeln!(io::stderr(), "{text}");
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

    /// Lines that change while the command runs.
    pub fn live(&self, lines: usize) -> Live {
        if self.still || self.is_json() || self.global.quiet || !io::stderr().is_terminal() {
            return Live { bars: Vec::new() };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = |_| all.add(ProgressBar::no_length().with_style(style.clone()));
        Live { bars: (0..lines).map(bar).collect() }
    }

    /// A line with the time that has passed and, where the run has an end, a bar of it and what
    /// is left of `total`, and behind it what [`Live::show`] says. It moves by itself, once a
    /// second: more often would disturb what is measured.
    pub fn bar(&self, total: Option<Duration>) -> Live {
        let live = self.live(1);
        if let Some(bar) = live.bars.first() {
            let style =
                ProgressStyle::with_template("{passed}  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            let passed = move |state: &ProgressState, out: &mut dyn fmt::Write| {
                // A line that is drawn again in a second.
                let _ = out.write_str(&passed(state.elapsed(), total));
            };
            bar.set_style(style.with_key("passed", passed));
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        live
    }

    fn write(&self, text: impl Display) -> io::Result<()> {
        if self.stderr {
            writeln!(io::stderr(), "{text}")
        } else {
            let mut out = sys::standard_output()?.lock();
            writeln!(out, "{text}")?;
            // What a watcher reads is there when it is said.
            out.flush()
        }
    }
}

/// Lines that change in place; none at all unless standard error is a terminal.
#[derive(Debug)]
pub struct Live {
    bars: Vec<ProgressBar>,
}

impl Live {
    /// Whether anyone sees them: if not, what would be shown need not be made.
    pub fn is_visible(&self) -> bool {
        !self.bars.is_empty()
    }

    /// Changes line `i`.
    pub fn show(&self, i: usize, text: impl Into<String>) {
        if let Some(bar) = self.bars.get(i) {
            bar.set_message(text.into());
        }
    }
}

impl Drop for Live {
    /// Takes the lines away, so that the summary stands alone.
    fn drop(&mut self) {
        for bar in &self.bars {
            bar.finish_and_clear();
        }
    }
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

/// `[#####---------------] 5 s, 15 s left`, or only the time where there is no end.
fn passed(time: Duration, total: Option<Duration>) -> String {
    const WIDTH: usize = 20;
    let Some(total) = total else { return wait(time) };
    let share = (time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE)).min(1.0);
    let done = (share * WIDTH as f64) as usize;
    let left = wait(total.saturating_sub(time));
    format!("[{}{}] {}, {left} left", "#".repeat(done), "-".repeat(WIDTH - done), wait(time))
}

/// Columns of the terminal, or 80 where there is none.
pub fn columns() -> usize {
    Table::new().width().map_or(80, usize::from)
}

/// A table; columns from `numbers` on are aligned to the right. On a terminal
/// it has a line under its head, in a pipe it is words and spaces.
pub fn table(headers: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    let terminal = io::stdout().is_terminal();
    table.load_style(if terminal { presets::UTF8_HORIZONTAL_ONLY } else { presets::NOTHING });
    if !terminal {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(headers.to_vec());
    if let (false, Some(first)) = (terminal, table.column_mut(0)) {
        first.set_padding((0, 1));
    }
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
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
    fn a_bar_fills_with_time_and_says_what_is_left() {
        let second = Duration::from_secs;
        for (time, total, text) in [
            (0, Some(60), "[--------------------] 0 s, 1 min 0 s left"),
            (15, Some(60), "[#####---------------] 15 s, 45 s left"),
            (61, Some(60), "[####################] 1 min 1 s, 0 s left"),
            (0, Some(0), "[--------------------] 0 s, 0 s left"),
            (90, None, "1 min 30 s"),
        ] {
            assert_eq!(passed(second(time), total.map(second)), text);
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
    fn a_table_in_a_pipe_is_words_and_spaces() {
        let mut table = table(&["port", "packets"], 1);
        table.add_row(["a", "7"]);
        let text = table.trim_fmt();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.ends_with("packets") || line.ends_with('7')), "{text}");
        assert!(text.is_ascii());
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
