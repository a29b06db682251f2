//! Records of capture files: nanosecond pcap and pcapng, byte by byte.
//!
//! ```text
//!   pcap     header | record: sec, nsec, captured, on wire | bytes | record ...
//!   pcapng   section | interface | packet block: ..., bytes, padding | ... | statistics
//! ```
//!
//! Both are written little endian for Ethernet (draft-ietf-opsawg-pcap,
//! draft-ietf-opsawg-pcapng). A [`Format`] only appends to a buffer. A writer that
//! was stopped in the middle asks [`whole`](Format::whole) for the last place where
//! the file may end.

use super::decode::ETHERNET;
use super::section::Section;
use std::fmt;
use std::str::FromStr;

/// A capture file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// pcap with nanoseconds.
    #[default]
    Pcap,
    /// pcapng with nanoseconds, the interface's name and drop counters.
    Pcapng,
}

/// Magic number of pcap with nanoseconds.
pub const PCAP_NANOSECONDS: u32 = 0xa1b2_3c4d;
const PCAP_RECORD: usize = 16;
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// Type and length before, length behind.
const BLOCK: usize = 12;
/// Of a packet block: interface, time, captured, on wire.
const PACKET_FIELDS: usize = 20;
/// What a packet block has before the packet.
const PCAPNG_RECORD: usize = 8 + PACKET_FIELDS;

/// A packet to record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Number of the interface that it came by; pcap has no place for it.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its length on the wire, without FCS.
    pub wire_len: usize,
    /// Its bytes, or as many of them as there are, in one piece or several.
    pub parts: &'a [&'a [u8]],
}

/// A packet of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Number of the interface that it came by; the first where the format has no place for it.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its length on the wire, without FCS.
    pub wire_len: usize,
    /// Its bytes, as far as they were kept.
    pub bytes: &'a [u8],
}

/// What a pcapng file says at its end about the packets of an interface, and about those that
/// are not in it (draft-ietf-opsawg-pcapng, §4.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of the interface.
    pub interface: u32,
    /// Nanoseconds since 1970 of the last look at the counters.
    pub time: u64,
    /// Packets that came in.
    pub received: u64,
    /// Packets that the card dropped.
    pub missed: u64,
    /// Packets that the filter let through.
    pub accepted: u64,
    /// Packets dropped behind the card.
    pub dropped: u64,
    /// Packets in the file.
    pub delivered: u64,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Pcap => "pcap",
            Format::Pcapng => "pcapng",
        })
    }
}

impl FromStr for Format {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "pcap" => Ok(Format::Pcap),
            "pcapng" => Ok(Format::Pcapng),
            _ => {
                let line = format!("'{text}' is not a capture format; it is pcap or pcapng");
                Err(crate::Error::new(crate::Kind::Usage, line))
            }
        }
    }
}

impl Format {
    /// What a file begins with: packets are cut to `snaplen`. Of the `section` pcap says nothing.
    pub fn header(self, out: &mut Vec<u8>, snaplen: u32, section: &Section) {
        match self {
            Format::Pcap => {
                words(out, &[PCAP_NANOSECONDS, 2 | 4 << 16, 0, 0, snaplen, ETHERNET]);
            }
            Format::Pcapng => section.put(out, snaplen),
        }
    }

    /// Bytes that a record of `captured` bytes of packet takes.
    #[inline]
    pub fn record_len(self, captured: usize) -> usize {
        match self {
            Format::Pcap => PCAP_RECORD + captured,
            Format::Pcapng => BLOCK + PACKET_FIELDS + captured.next_multiple_of(4),
        }
    }

    /// Appends a record.
    #[inline]
    pub fn put(self, out: &mut Vec<u8>, record: &Record<'_>) {
        self.put_first(out, record, record.parts.iter().map(|part| part.len()).sum());
    }

    /// Appends a record of the first `captured` bytes of a packet, which has as many.
    #[inline]
    pub fn put_first(self, out: &mut Vec<u8>, record: &Record<'_>, captured: usize) {
        let start = out.len();
        out.resize(start + self.record_len(captured), 0);
        self.fill(&mut out[start..], record, captured);
    }

    /// The same into `out`, which is as long as [`record_len`](Self::record_len) says; into one
    /// that is shorter than that nothing of use.
    #[inline]
    pub fn fill(self, out: &mut [u8], record: &Record<'_>, captured: usize) {
        debug_assert_eq!(out.len(), self.record_len(captured));
        let (captured_len, wire_len) = (captured as u32, record.wire_len as u32);
        match self {
            Format::Pcap => {
                let (seconds, nanoseconds) = (record.time / 1_000_000_000, record.time % 1_000_000_000);
                let fields = [seconds as u32, nanoseconds as u32, captured_len, wire_len];
                let Some((head, rest)) = out.split_first_chunk_mut::<PCAP_RECORD>() else { return };
                head.copy_from_slice(fields.map(u32::to_le_bytes).as_flattened());
                first_bytes(rest, record.parts, captured);
            }
            Format::Pcapng => {
                let len = self.record_len(captured) as u32;
                let (high, low) = ((record.time >> 32) as u32, record.time as u32);
                let fields = [PACKET, len, record.interface, high, low, captured_len, wire_len];
                let Some((head, rest)) = out.split_first_chunk_mut::<PCAPNG_RECORD>() else { return };
                head.copy_from_slice(fields.map(u32::to_le_bytes).as_flattened());
                let Some((rest, behind)) = rest.split_last_chunk_mut::<4>() else { return };
                *behind = len.to_le_bytes();
                // The packet overwrites what of it is no padding.
                if let Some(end) = rest.last_chunk_mut::<4>() {
                    *end = [0; 4];
                }
                first_bytes(rest, record.parts, captured);
            }
        }
    }

    /// What a file ends with for each interface: nothing, or a block of counters.
    pub fn end(self, out: &mut Vec<u8>, totals: &Totals) {
        if self == Format::Pcap {
            return;
        }
        block(out, STATISTICS, |out| {
            words(out, &[totals.interface, (totals.time >> 32) as u32, totals.time as u32]);
            let counters = [
                (4, totals.received),
                (5, totals.missed),
                (6, totals.accepted),
                (7, totals.dropped),
                (8, totals.delivered),
            ];
            for (code, count) in counters {
                option(out, code, &count.to_le_bytes());
            }
            option(out, 0, &[]);
        });
    }

    /// What a file ends with for interface `number` that another file follows: nothing, or a block
    /// of the one counter that is known at `time`, packets of it in all files so far.
    pub fn interim(self, out: &mut Vec<u8>, number: u32, time: u64, delivered: u64) {
        if self == Format::Pcap {
            return;
        }
        block(out, STATISTICS, |out| {
            words(out, &[number, (time >> 32) as u32, time as u32]);
            option(out, 8, &delivered.to_le_bytes());
            option(out, 0, &[]);
        });
    }

    /// Length and time of the record that `bytes` begin with, which this format wrote.
    #[inline]
    pub fn next(self, bytes: &[u8]) -> Option<(usize, u64)> {
        let len = self.next_len(bytes).filter(|len| *len <= bytes.len())?;
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u64::from(u32::from_le_bytes(*word)));
        let time = match self {
            Format::Pcap => word(0)? * 1_000_000_000 + word(4)?,
            Format::Pcapng => word(12)? << 32 | word(16)?,
        };
        Some((len, time))
    }

    /// Length of the record that `bytes` begin with, which this format wrote, and the packet in
    /// it, if it is one of a packet.
    pub fn read(self, bytes: &[u8]) -> Option<(usize, Option<Taken<'_>>)> {
        let (len, time) = self.next(bytes)?;
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word));
        let (interface, lengths) = match self {
            Format::Pcap => (Some(0), 8),
            Format::Pcapng => (word(8).filter(|_| word(0) == Some(PACKET)), 20),
        };
        let taken = || {
            let (interface, kept, wire_len) = (interface?, word(lengths)? as usize, word(lengths + 4)? as usize);
            let bytes = bytes[..len].get(lengths + 8..)?.get(..kept)?;
            Some(Taken { interface, time, wire_len, bytes })
        };
        Some((len, taken()))
    }

    /// How many bytes and records of `bytes`, which begins at a record that this
    /// format wrote, are whole.
    pub fn whole(self, bytes: &[u8]) -> (usize, u64) {
        let (mut at, mut records) = (0, 0);
        while let Some(len) = self.next_len(&bytes[at..]).filter(|len| *len <= bytes.len() - at) {
            at += len;
            records += 1;
        }
        (at, records)
    }

    /// The interface of each whole packet of `bytes`, which begins at a record that this format
    /// wrote.
    pub fn interfaces(self, bytes: &[u8]) -> impl Iterator<Item = u32> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (record, behind) = rest.split_at_checked(self.next_len(rest)?)?;
            rest = behind;
            Some(record)
        })
        .filter_map(move |record| match (self, record.as_chunks().0) {
            (Format::Pcap, _) => Some(0),
            (Format::Pcapng, [kind, _, interface, ..]) => {
                (u32::from_le_bytes(*kind) == PACKET).then(|| u32::from_le_bytes(*interface))
            }
            (Format::Pcapng, _) => None,
        })
    }

    /// Length of the record at the start of `bytes`, if its header is there.
    fn next_len(self, bytes: &[u8]) -> Option<usize> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word) as usize);
        match self {
            Format::Pcap => Some(PCAP_RECORD + word(8).filter(|_| bytes.len() >= PCAP_RECORD)?),
            Format::Pcapng => word(4).filter(|len| *len >= BLOCK),
        }
    }
}

/// Puts the first `len` bytes of a packet in several parts at the beginning of `out`.
#[inline]
fn first_bytes(mut out: &mut [u8], parts: &[&[u8]], len: usize) {
    let mut left = len;
    for part in parts {
        let part = &part[..left.min(part.len())];
        let Some((here, rest)) = out.split_at_mut_checked(part.len()) else { return };
        copy(here, part);
        out = rest;
        left -= part.len();
    }
}

/// Copies `bytes` to `out`, which is as long: a short frame as two pieces of a fixed length that
/// overlap, which take two stores each and no call.
#[inline(always)]
fn copy(out: &mut [u8], bytes: &[u8]) {
    const PIECE: usize = 32;
    match (bytes.first_chunk::<PIECE>(), bytes.last_chunk::<PIECE>()) {
        (Some(first), Some(last)) if bytes.len() <= 2 * PIECE => {
            out.first_chunk_mut().into_iter().for_each(|out| *out = *first);
            out.last_chunk_mut().into_iter().for_each(|out| *out = *last);
        }
        _ => out.copy_from_slice(bytes),
    }
}

#[inline(always)]
pub(super) fn words<const N: usize>(out: &mut Vec<u8>, words: &[u32; N]) {
    out.extend_from_slice(words.map(u32::to_le_bytes).as_flattened());
}

/// A pcapng block whose body `body` writes, a multiple of four bytes.
pub(super) fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    words(out, &[kind, 0]);
    body(out);
    let len = (out.len() - start + 4) as u32;
    words(out, &[len]);
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
}

/// A pcapng option, cut to the 65535 bytes it can have.
pub(super) fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_file_cut_anywhere_is_whole_up_to_the_last_record_before_the_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cut: prop::sample::Index,
        ) {
            for format in [Format::Pcap, Format::Pcapng] {
                let mut bytes = Vec::new();
                let mut ends = vec![0];
                for frame in &frames {
                    let (head, tail) = frame.split_at(frame.len() / 2);
                    format.put(&mut bytes, &Record { interface: frame.len() as u32, time: 1, wire_len: frame.len(), parts: &[head, tail] });
                    prop_assert_eq!(bytes.len() - ends[ends.len() - 1], format.record_len(frame.len()));
                    ends.push(bytes.len());
                }
                let cut = cut.index(bytes.len() + 1);
                let (whole, records) = format.whole(&bytes[..cut]);
                let want = ends.iter().rposition(|end| *end <= cut).unwrap();
                prop_assert_eq!((whole, records), (ends[want], want as u64));
                let interfaces: Vec<u32> = format.interfaces(&bytes[..cut]).collect();
                let of = |frame: &Vec<u8>| if format == Format::Pcap { 0 } else { frame.len() as u32 };
                let mut rest = &bytes[..cut];
                for frame in &frames[..want] {
                    let (len, taken) = format.read(rest).unwrap();
                    let taken = taken.unwrap();
                    prop_assert_eq!((taken.bytes, taken.time, taken.wire_len), (&frame[..], 1, frame.len()));
                    rest = &rest[len..];
                }
                prop_assert_eq!(format.read(rest), None);
                prop_assert_eq!(interfaces, frames[..want].iter().map(of).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_format_is_read_by_its_name() {
        assert_eq!("pcapng".parse::<Format>().unwrap(), Format::Pcapng);
        assert_eq!("PCAP".parse::<Format>().unwrap(), Format::Pcap);
        assert_eq!("erf".parse::<Format>().unwrap_err().kind(), crate::Kind::Usage);
    }
}
