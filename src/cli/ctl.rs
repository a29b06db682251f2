//! `bmnic ctl`: changes a capture that runs, and asks how far it is.
//!
//! One line each way, over the socket of the capture's name: `filter udp port 5`, and a JSON
//! document in one line that says what came of it.

use super::capture::live_line;
use super::output::{self, Output};
use super::{Context, Outcome, exit};
use crate::error::{Error, Kind, Result};
use crate::publish::name::{self, Sort};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::time::Duration;

/// The names of captures that can be told something.
pub const CONTROL: Sort = Sort { noun: "control", does: "captures" };

/// Bytes of the longest line that a capture listens to.
pub const LONGEST: usize = 64 << 10;

/// How long an answer may take: a filter may name hosts that are looked up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `bmnic ctl`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The capture, as `bmnic capture --control NAME` named it
    name: String,
    /// What it is to do
    #[arg(value_name = "WHAT")]
    verb: Verb,
    /// The expression of filter, in the language of tcpdump; none keeps all packets
    #[arg(value_name = "EXPRESSION", allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What a capture can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verb {
    /// Keep other packets from now on; what both filters want is kept throughout
    Filter,
    /// Say how many packets came and what became of them
    Status,
    /// Write what was captured up to now, and say when it is in the file
    Flush,
    /// Go on in another file
    Rotate,
    /// End, as with Ctrl-C
    Stop,
}

impl Verb {
    const ALL: [(Verb, &'static str); 5] = [
        (Verb::Filter, "filter"),
        (Verb::Status, "status"),
        (Verb::Flush, "flush"),
        (Verb::Rotate, "rotate"),
        (Verb::Stop, "stop"),
    ];

    fn word(self) -> &'static str {
        Verb::ALL.iter().find(|(verb, _)| *verb == self).map_or("", |(_, word)| word)
    }

    /// What a line asks for, and the words behind it.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what is nothing of the kind.
    pub fn parse(line: &str) -> Result<(Verb, &str)> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let known = Verb::ALL.iter().find(|(_, known)| *known == word);
        let (verb, _) = known.ok_or_else(|| {
            let words: Vec<_> = Verb::ALL.iter().map(|(_, word)| *word).collect();
            Error::new(Kind::Usage, format!("a capture cannot be told that; it is one of {}", words.join(", ")))
        })?;
        verb.check(rest)?;
        Ok((*verb, rest))
    }

    fn check(self, rest: &str) -> Result<()> {
        if self == Verb::Filter || rest.trim().is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::Usage, format!("'{}' takes no words; leave '{}' out", self.word(), rest.trim())))
    }
}

/// Asks, waits for the answer and prints it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let Args { name, verb, words } = args;
    let output = Output::new(&context.global);
    let rest = words.join(" ").replace(['\n', '\r'], " ");
    verb.check(&rest)?;
    let done = ask(&name, verb, &rest)?;
    print(&output, verb, &done)?;
    let mut result = json!({ "capture": name, "asked": verb.word() });
    if let (Value::Object(all), Value::Object(done)) = (&mut result, done) {
        all.extend(done);
    }
    output.facts(&context.roots, "ctl", result)?;
    Ok(Outcome::Done)
}

/// What came of it.
fn ask(name: &str, verb: Verb, rest: &str) -> Result<Value> {
    let path = name::path(&name::directory(), CONTROL, name)?;
    let none = format!("no capture is named '{name}'; bmnic capture --control {name}");
    let not_ours = "the capture is another user's; only that user and root can tell it anything";
    let (mut peer, _) = name::connect(&path, CONTROL, name, &none, not_ours)?;
    let doing = |e| Error::io(format!("control {name}: asking at {}", path.display()), e);
    let line = format!("{} {rest}", verb.word());
    if line.len() >= LONGEST {
        let line = format!("an expression of {} bytes is too long for a running capture; simplify it", rest.len());
        return Err(Error::new(Kind::Usage, line));
    }
    peer.set_read_timeout(Some(PATIENCE)).map_err(doing)?;
    writeln!(peer, "{}", line.trim_end()).map_err(doing)?;
    peer.shutdown(Shutdown::Write).map_err(doing)?;
    let mut answer = String::new();
    BufReader::new(peer).read_line(&mut answer).map_err(doing)?;
    let odd = || Error::new(Kind::Gone, format!("control {name}: the capture ended before it had answered"));
    let mut answer: Value = serde_json::from_str(&answer).map_err(|_| odd())?;
    match (answer["error"].as_str(), answer["exit"].as_u64()) {
        (Some(error), code) => {
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILURE);
            Err(Error::new(exit::kind(code), error))
        }
        (None, _) if answer["done"].is_object() => Ok(answer["done"].take()),
        (None, _) => Err(odd()),
    }
}

fn print(output: &Output, verb: Verb, done: &Value) -> std::io::Result<()> {
    let count = |field: &str| done[field].as_u64().unwrap_or_default();
    let grouped = |field: &str| output::grouped(count(field));
    let filter = || match done["filter"].as_str() {
        None | Some("") => "none, all packets are kept".to_string(),
        Some(filter) => format!("'{filter}'"),
    };
    let received =
        || format!("received  {} packets, {} left out by the filter", grouped("received"), grouped("filtered"));
    let in_card = || match done["in_card"].as_array() {
        None => Ok(()),
        Some(all) => {
            let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            output.result(format_args!("          in the card: {}; in software: all of it", all.join(", ")))
        }
    };
    match verb {
        Verb::Filter => {
            let (time, waited) = (count("time_ns"), count("waited_ns"));
            let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000);
            output.result(format_args!("filter    {}", filter()))?;
            in_card()?;
            output.result(format_args!(
                "since     {seconds}.{rest:09} s since 1970, {} us after it was asked for; until then:",
                waited.div_ceil(1_000)
            ))?;
            output.result(received())
        }
        Verb::Status => {
            let rate = done["pps"].as_f64().unwrap_or_default();
            output.result(live_line(count("captured"), rate, count("missed"), count("disk_slow")))?;
            output.result(received())?;
            output.result(format_args!("filter    {}, changed {} times", filter(), grouped("filter_changes")))?;
            in_card()
        }
        Verb::Flush => output.result(format_args!("written   {} packets are in the file", grouped("written"))),
        Verb::Rotate => {
            output.result(format_args!("rotated   it goes on in {}", done["file"].as_str().unwrap_or_default()))
        }
        Verb::Stop => output.result("stopped   the capture ends"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_on_the_line_is_what_is_heard() {
        for (verb, word) in Verb::ALL {
            let rest = if verb == Verb::Filter { "udp port 5" } else { "" };
            assert_eq!(Verb::parse(format!("{word} {rest}").trim_end()).unwrap(), (verb, rest));
        }
        assert_eq!(Verb::parse("filter").unwrap(), (Verb::Filter, ""));
        for line in ["", " ", "filters udp", "status now", "stop stop", "\0"] {
            assert_eq!(Verb::parse(line).unwrap_err().kind(), Kind::Usage, "{line:?}");
        }
    }
}
