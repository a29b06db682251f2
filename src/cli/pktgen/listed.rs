//! Packets of a list, each with its moment: `--schedule FILE`.
//!
//! ```text
//!   # ns from the start, and what leaves then
//!   0                                  the next frame of those that the options ask for
//!   1000    dst-ip=10.0.0.7 dport=80   such a frame with fields of its own
//!   1500    7                          with --pcap: the seventh packet of that file
//! ```
//!
//! A line is a packet; blank lines, and what follows a #, say nothing. Fields are options by
//! their long names. The list is read, and its frames are made, before the run: fields that
//! several lines say are read once, and again neither when the card's address is known.

use super::frames::Frames;
use super::replay::Timed;
use crate::cli::output;
use crate::error::{Error, Kind, Result};
use crate::measure::probe::wire_bits;
use crate::net::MacAddr;
use crate::packet::build::{Builder, MAX_FRAME};
use crate::pcap::read::Recording;
use std::collections::{HashMap, hash_map};
use std::fmt::Display;
use std::io::Read;
use std::path::Path;

/// A list as it was read.
pub struct List {
    name: String,
    text: String,
    recording: Option<Recording>,
    /// Frames of the fields that lines say.
    said: HashMap<String, Frames>,
}

impl List {
    /// Reads the list at `path`, or from standard input if that is `-`, and the recording whose
    /// packets it names, if it names any.
    ///
    /// # Errors
    /// What reading meets; [`Kind::Usage`] for a recording whose packets have no numbers, as
    /// some of them are left out.
    pub fn open(path: &Path, pcap: Option<&Path>) -> Result<Self> {
        let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
        let mut text = String::new();
        let read = match path == Path::new("-") {
            true => std::io::stdin().read_to_string(&mut text),
            false => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
        };
        read.map_err(|error| Error::io(format!("reading the schedule in {name}"), error))?;
        let recording = pcap.map(Recording::open).transpose()?;
        let left_out = recording.iter().flat_map(|recording| recording.left_out().words());
        if let Some((count, why)) = left_out.into_iter().find(|(count, _)| *count > 0) {
            let line = format!(
                "{count} packets of the recording {why}, so that the numbers of others are not those of the file; leave them out of it"
            );
            return Err(Error::new(Kind::Usage, line));
        }
        Ok(List { name, text, recording, said: HashMap::new() })
    }

    /// Its packets, with frames as `options` ask for them on a card whose address is `mac`.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the number of the line that makes no sense.
    pub fn frames(&mut self, options: &Frames, mac: Option<MacAddr>) -> Result<Listed> {
        let mut listed = Listed::default();
        let mut making =
            Making { options, reader: Frames::reader(), said: &mut self.said, mac, builders: HashMap::new() };
        for (line, number) in self.text.lines().zip(1_u64..) {
            let bad = |why: &dyn Display| Error::new(Kind::Usage, format!("line {number} of {}: {why}", self.name));
            let said = line.split_once('#').map_or(line, |(said, _)| said).trim();
            if said.is_empty() {
                continue;
            }
            let (time, what) = said.split_once(char::is_whitespace).unwrap_or((said, ""));
            let Some(time) = time.parse().ok().filter(|_| time.bytes().all(|byte| byte.is_ascii_digit())) else {
                return Err(bad(&format_args!(
                    "'{time}' is no time; write whole nanoseconds from the start, like 1500"
                )));
            };
            if let Some(before) = listed.entries.last().filter(|before| before.time >= time) {
                let before = before.time;
                return Err(bad(&format_args!(
                    "{time} ns is not later than the {before} ns before it; write packets in the order in which they leave"
                )));
            }
            let frame = match &self.recording {
                Some(recording) => recorded(recording, what.trim(), &mut listed),
                None => making.frame(what.trim(), &mut listed),
            };
            let frame = frame.map_err(|why| bad(&why))?;
            listed.entries.push(Entry { time, frame });
        }
        if listed.entries.is_empty() {
            let line = format!("there is no packet in the schedule in {}; write a line for each, like 1500", self.name);
            return Err(Error::new(Kind::Usage, line));
        }
        Ok(listed)
    }
}

/// Packet `what` of the recording.
fn recorded(recording: &Recording, what: &str, listed: &mut Listed) -> std::result::Result<u32, String> {
    if listed.frames.is_empty() {
        // Each once, however often it is sent.
        recording.packets().for_each(|packet| listed.frames.push(packet.bytes.into()));
    }
    let many = recording.len();
    let number = what.parse::<usize>().ok().filter(|number| (1..=many).contains(number));
    let number = number
        .ok_or_else(|| format!("'{what}' is no packet of the recording; write its number in the file, 1 to {many}"))?;
    let len = listed.frames[number - 1].len();
    if len > MAX_FRAME {
        return Err(format!("packet {number} is {len} bytes long, and a frame has at most {MAX_FRAME}"));
    }
    Ok((number - 1) as u32)
}

/// What makes the frames of lines.
struct Making<'a> {
    options: &'a Frames,
    reader: clap::Command,
    said: &'a mut HashMap<String, Frames>,
    mac: Option<MacAddr>,
    builders: HashMap<&'a str, Builder>,
}

impl<'a> Making<'a> {
    /// The next frame with the fields `what`.
    fn frame(&mut self, what: &'a str, listed: &mut Listed) -> std::result::Result<u32, String> {
        let entry = listed.entries.len() as u64;
        let builder = match self.builders.entry(what) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => {
                let frames = match self.said.entry(what.into()) {
                    hash_map::Entry::Occupied(known) => known.into_mut(),
                    hash_map::Entry::Vacant(place) => place.insert(self.options.with(what, &mut self.reader)?),
                };
                place.insert(frames.builder(self.mac).map_err(|error| error.to_string())?)
            }
        };
        builder.set_sequence(entry);
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 0);
        listed.frames.push(frame.into());
        u32::try_from(listed.frames.len() - 1).map_err(|_| format!("{} lines are too many", output::grouped(entry)))
    }
}

/// A packet and when it leaves, ns from the start.
#[derive(Clone, Copy, Debug)]
struct Entry {
    time: u64,
    frame: u32,
}

/// A list on its way out.
#[derive(Debug, Default)]
pub struct Listed {
    frames: Vec<Box<[u8]>>,
    entries: Vec<Entry>,
    next: usize,
}

impl Listed {
    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them.
    fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &*self.frames[entry.frame as usize])
    }

    /// Bytes of the longest.
    pub fn longest(&self) -> usize {
        self.packets().map(<[u8]>::len).max().unwrap_or(0)
    }

    /// Mean bits of one on the wire.
    pub fn mean_bits(&self) -> f64 {
        self.packets().map(|frame| wire_bits(frame.len())).sum::<f64>() / self.len() as f64
    }

    /// Whether all were sent.
    pub fn is_over(&self) -> bool {
        self.next == self.entries.len()
    }
}

impl Timed for Listed {
    #[inline]
    fn peek(&mut self) -> Option<(&[u8], u64)> {
        let entry = self.entries.get(self.next)?;
        Some((&self.frames[entry.frame as usize], entry.time))
    }

    #[inline]
    fn step(&mut self) {
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        frames: Frames,
    }

    fn list(text: &str, options: &[&str]) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut list = List { name: "list".into(), text: text.into(), recording: None, said: HashMap::new() };
        let words = Words::parse_from([&["x"], options].concat());
        let mut listed = list.frames(&words.frames, None)?;
        let mut all = Vec::new();
        while let Some((frame, time)) = listed.peek() {
            all.push((time, frame.to_vec()));
            listed.step();
        }
        assert!(listed.is_over());
        Ok(all)
    }

    #[test]
    fn a_line_is_a_frame_of_the_options_with_fields_of_its_own() {
        let text = "# first\n\n0\n10 dport=80 size=128 # a long one\n  20\tdport=80 size=128\n18446744073709551615";
        let all = list(text, &["--dport", "7", "--sport", "1-9"]).unwrap();
        let port = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let seen: Vec<_> =
            all.iter().map(|(time, frame)| (*time, frame.len(), port(frame, 34), port(frame, 36))).collect();
        assert_eq!(seen, [(0, 60, 1, 7), (10, 124, 1, 80), (20, 124, 2, 80), (u64::MAX, 60, 2, 7)]);
        for (n, (_, frame)) in all.iter().enumerate() {
            assert_eq!(usize::from(frame[frame.len() - 4]), n, "its number in the list");
        }
    }

    #[test]
    fn what_a_line_says_is_read_once_and_cheaply() {
        use crate::testing::allocations;
        let words = Words::parse_from(["x"]);
        let text: String = (0..200).map(|n| format!("{n} dport={n} size=100\n")).collect();
        let mut list = List { name: "list".into(), text, recording: None, said: HashMap::new() };
        // What reads options is made for all lines together.
        let reader = allocations(|| drop(Frames::reader().try_get_matches_from(["--dport=1"])));
        let mut frames = |mac| allocations(|| drop(list.frames(&words.frames, mac).unwrap())) / 200;
        let (first, second) = (frames(None), frames(Some(MacAddr([2, 0, 0, 0, 0, 7]))));
        // Each line by a reader of its own, and read anew for the card, takes twice that.
        assert!(first < reader, "a line takes {first} requests of memory, and a reader of one line {reader}");
        assert!(second < first / 4, "read a second time: {second} requests for a line and {first} before");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named_by_its_number() {
        for (text, why) in [
            ("", "no packet in the schedule"),
            ("# 0\n \n", "no packet in the schedule"),
            ("0\n\n7\n7", "line 4 of list: 7 ns is not later than the 7 ns"),
            ("5\n4", "line 2 of list: 4 ns is not later"),
            ("0\n1.5", "line 2 of list: '1.5' is no time"),
            ("-1", "line 1 of list: '-1' is no time"),
            ("+1", "line 1 of list: '+1' is no time"),
            ("18446744073709551616", "is no time"),
            ("0 7", "line 1 of list: '7' is no field"),
            ("0 dport=65536", "line 1 of list: "),
            ("0 rate=5", "line 1 of list: "),
            ("0 size=64 dst-ip=2001:2::1", "line 1 of list: frames of 64 bytes"),
        ] {
            let error = list(text, &[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            let line = error.to_string();
            assert!(line.contains(why) && !line.contains('\n'), "{text}: {line}");
        }
    }
}
