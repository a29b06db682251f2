//! Reading capture files, a packet at a time.
//!
//! ```text
//!   Reader ──> Pcap     header | record ...                  -> Frame, bytes
//!         └──> Pcapng   section | interface | block ...      -> Frame, bytes
//! ```
//!
//! It reads what libpcap and the drafts (draft-ietf-opsawg-pcap,
//! draft-ietf-opsawg-pcapng) let a reader read: pcap in microseconds,
//! nanoseconds and with Kuznetzov's longer records, in either byte order, with the
//! two lengths of a record the other way round as before version 2.3; pcapng with
//! enhanced, simple and obsolete packet blocks, any number of sections and
//! interfaces. Names, comments and reserved fields say nothing about a frame and are
//! not looked at. A frame check sequence that a file says it has is taken off.
//!
//! A file is not trusted: no length in it is believed before its bytes are there,
//! and memory is taken for one packet at a time.

mod input;
mod pcap;

pub(super) use input::{Input, Stop, word, words};

use super::packed::Packing;
use super::pcapng::Pcapng;
use crate::error::{Error, Kind, Remedy, Result};
use pcap::{Lengths, Pcap};
use pcap_file::DataLink;
use std::fmt;
use std::io::Read;

/// Link type of Ethernet.
pub const ETHERNET: u32 = 1;
/// Longest packet that a record can have (libpcap, `MAXIMUM_SNAPLEN`).
pub const LONGEST: usize = 262_144;

/// Type of the block that a pcapng file begins with; the same in both byte orders.
const PCAPNG: u32 = 0x0a0d_0d0a;

/// A packet whose bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Nanoseconds since 1970, also before; none where the file keeps no time.
    pub time: Option<i64>,
    /// Its length on the wire without FCS; at least what was read.
    pub wire_len: usize,
}

/// What one record or block of a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An Ethernet packet.
    Frame(Frame),
    /// No packet, or one that was left out.
    Passed,
    /// The end of the file, or where it is damaged.
    End,
}

/// Packets of a file that its reader could not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Of links other than Ethernet.
    pub other_link: u64,
    /// The first of these links, by the number it has in capture files.
    pub link: u32,
    /// Of an interface that the file does not describe.
    pub undeclared: u64,
    /// Longer than their block, or their block too short for its fields.
    pub malformed: u64,
}

impl LeftOut {
    /// These and others together, with the link of the first that have one.
    pub fn and(&self, others: &LeftOut) -> LeftOut {
        LeftOut {
            other_link: self.other_link + others.other_link,
            link: if self.other_link > 0 { self.link } else { others.link },
            undeclared: self.undeclared + others.undeclared,
            malformed: self.malformed + others.malformed,
        }
    }

    /// What was left out and how often, in words that go on "3 packets ...".
    pub fn words(&self) -> Vec<(u64, String)> {
        let all = [
            (self.other_link, format!("were recorded on a link of type {}, not Ethernet", link_name(self.link))),
            (self.undeclared, "name an interface that the file does not describe".to_string()),
            (self.malformed, "do not fit the blocks they are in".to_string()),
        ];
        all.into_iter().filter(|(count, _)| *count > 0).collect()
    }
}

/// Why a file was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the record begins that cannot be read, bytes from the file's start; of a
    /// compressed file, from the start of what it holds.
    pub at: u64,
    /// Whether the file ends before the record does.
    pub torn: bool,
    /// Packets before it, whatever became of them.
    pub packets: u64,
    /// What is wrong, and where.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, s) = (if self.torn { "cut short" } else { "damaged" }, if self.packets == 1 { "" } else { "s" });
        write!(f, "{what} after {} packet{s}: {}", self.packets, self.why)
    }
}

/// Reads a capture file from its start to its end, or to where it is damaged.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    layout: Layout,
    account: Account,
    damage: Option<Damage>,
    over: bool,
}

#[derive(Debug)]
enum Layout {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// What a reader counts on its way.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Packets, those that were left out too.
    pub(super) packets: u64,
    pub(super) left_out: LeftOut,
    /// Where the first record is that reads like a damaged one, and why.
    pub(super) odd: Option<(u64, &'static str)>,
}

impl Account {
    /// A packet of this link is left out.
    pub(super) fn other_link(&mut self, link: u32) {
        if self.left_out.other_link == 0 {
            self.left_out.link = link;
        }
        self.left_out.other_link += 1;
    }

    /// The record at this place reads like a damaged one. The first such is kept,
    /// but one that is only far away in time gives way to any other.
    pub(super) fn odd(&mut self, at: u64, why: &'static str) {
        if self.odd.is_none_or(|(_, before)| before == YEARS_AWAY && why != YEARS_AWAY) {
            self.odd = Some((at, why));
        }
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header of a file that is called `name` in errors.
    ///
    /// # Errors
    /// [`Kind::Io`] if it is no capture file, or cannot be read.
    pub fn new(source: R, name: &str) -> Result<Self> {
        let bad = |why: String| Error::new(Kind::Io, format!("{name}: {why}"));
        let reading = |error| Error::io(format!("reading {name}"), error);
        let mut input = Input::new(source);
        let mut magic = [0; 4];
        let got = input.fill(&mut magic).map_err(reading)?;
        if got < 4 {
            return Err(bad(format!("{got} bytes are no capture file")).with_remedy(Remedy::Record));
        }
        let layout = if u32::from_be_bytes(magic) == PCAPNG {
            let first = Pcapng::begin(&mut input);
            Layout::Pcapng(
                first.map_err(|why| bad(format!("its first section cannot be read ({why}); record it again")))?,
            )
        } else {
            let mut rest = [0; 20];
            if let Some(packing) = Packing::of(magic) {
                return Err(bad(format!(
                    "it is compressed with {packing}, and is to be read as it is; unpack it first"
                )));
            }
            let Some((big, magic)) = Pcap::order(magic) else {
                return Err(bad("it is neither pcap nor pcapng".into()).with_remedy(Remedy::Record));
            };
            if input.fill(&mut rest).map_err(reading)? < rest.len() {
                return Err(bad("it ends within its header; record it again".into()));
            }
            Layout::Pcap(Pcap::new(big, magic, &rest).map_err(bad)?)
        };
        Ok(Reader { input, layout, account: Account::default(), damage: None, over: false })
    }

    /// The link type that all packets of the file have, if its header says so.
    pub fn link(&self) -> Option<u32> {
        match &self.layout {
            Layout::Pcap(pcap) => Some(pcap.link),
            Layout::Pcapng(_) => None,
        }
    }

    /// Whether the file is pcapng.
    pub fn is_pcapng(&self) -> bool {
        matches!(self.layout, Layout::Pcapng(_))
    }

    /// Whether it is pcap with longer records, or with lengths that are or may be the
    /// other way round.
    pub(super) fn is_of_old_layout(&self) -> bool {
        matches!(&self.layout, Layout::Pcap(pcap) if pcap.longer || pcap.lengths != Lengths::Usual)
    }

    /// Whether the words of the file at hand have their highest byte first.
    pub(super) fn is_big_endian(&self) -> bool {
        match &self.layout {
            Layout::Pcap(pcap) => pcap.big,
            Layout::Pcapng(pcapng) => pcapng.is_big(),
        }
    }

    /// Reads the next Ethernet packet and appends its bytes to `bytes`; none at the
    /// end of the file or where it is damaged. Of a packet longer than
    /// [`LONGEST`] only so much is appended.
    pub fn next(&mut self, bytes: &mut Vec<u8>) -> Option<Frame> {
        loop {
            match self.step(bytes) {
                Step::Frame(frame) => return Some(frame),
                Step::Passed => {}
                Step::End => return None,
            }
        }
    }

    /// Reads one record or block, for a caller that must not wait long;
    /// [`Reader::next`] reads on to the next packet.
    pub fn step(&mut self, bytes: &mut Vec<u8>) -> Step {
        if self.over {
            return Step::End;
        }
        let (start, before) = (self.input.at(), bytes.len());
        let mut record = start;
        let found = match &mut self.layout {
            Layout::Pcap(pcap) => pcap.step(&mut self.input, &mut self.account, bytes, &mut record),
            Layout::Pcapng(pcapng) => pcapng.step(&mut self.input, &mut self.account, bytes, &mut record),
        };
        match found {
            Ok(Step::End) => {}
            Ok(step) => return step,
            Err(stop) => {
                bytes.truncate(before);
                let torn = matches!(stop, Stop::Torn);
                let why = if torn {
                    format!("record at byte {record} is cut short, the file ends at byte {}", self.input.at())
                } else {
                    format!("record at byte {record} makes no sense: {stop}")
                };
                self.damage = Some(Damage { at: record, torn, packets: self.account.packets, why });
            }
        }
        self.over = true;
        Step::End
    }

    /// Packets so far, those that were left out too.
    pub fn packets(&self) -> u64 {
        self.account.packets
    }

    /// What was left out so far.
    pub fn left_out(&self) -> &LeftOut {
        &self.account.left_out
    }

    /// Why reading stopped before the end of the file, if it did.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Where the first record is that was read and yet is like none that a program
    /// in order writes, and why: something before it may be damaged.
    pub(super) fn odd(&self) -> Option<(u64, &'static str)> {
        self.account.odd
    }

    /// Seconds of the first and of the last record that was read, in pcap.
    pub(super) fn seconds(&self) -> Option<(u32, u32)> {
        match &self.layout {
            Layout::Pcap(pcap) => pcap.first.zip(pcap.seconds.map(|seconds| seconds as u32)),
            Layout::Pcapng(_) => None,
        }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.input.at()
    }
}

/// What is left of a packet and of its length on the wire without the last `fcs`
/// bytes of the latter.
pub(super) fn without_fcs(captured: usize, wire_len: u32, fcs: usize) -> (usize, usize) {
    let wire = captured.max(wire_len as usize).saturating_sub(fcs);
    (captured.min(wire), wire)
}

/// What is odd about a record.
pub(super) const LONGER: &str = "has more bytes than its packet";
pub(super) const YEARS_AWAY: &str = "was recorded a year or more from the one before";

pub(super) const EMPTY: &str = "is nothing but zeroes, as a loss of power leaves them";

/// Whether two times in seconds are less than a year apart.
pub(super) fn near(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32).unsigned_abs() < 31_536_000
}

/// What a link type is called.
pub fn link_name(link: u32) -> String {
    match DataLink::from(link) {
        DataLink::Unknown(number) => number.to_string(),
        known => format!("{known:?}"),
    }
}
