//! The older format: a header, and records one after the other.

use super::input::{Input, Stop, words};
use super::{Account, EMPTY, ETHERNET, Frame, LONGER, LONGEST, Step, YEARS_AWAY, near, without_fcs};
use crate::pcap::record::PCAP_NANOSECONDS;
use std::io::Read;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = PCAP_NANOSECONDS;
/// Microseconds, and eight bytes more in each record: interface, protocol, kind.
const KUZNETZOV: u32 = 0xa1b2_cd34;

/// A pcap file.
#[derive(Debug)]
pub(super) struct Pcap {
    pub(super) big: bool,
    /// Nanoseconds in a unit of the second half of a time.
    unit: i64,
    /// Whether records have eight bytes more before the packet.
    pub(super) longer: bool,
    pub(super) lengths: Lengths,
    pub(super) link: u32,
    fcs: usize,
    /// Seconds of the first packet, as they are in the file.
    pub(super) first: Option<u32>,
    /// Seconds of the packet before.
    pub(super) seconds: Option<i64>,
}

/// In which order a record has its two lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lengths {
    /// Captured, on the wire.
    Usual,
    /// On the wire, captured.
    Reversed,
    /// Whichever way the captured length is not the longer one.
    Either,
}

impl Pcap {
    /// Byte order and magic number.
    pub(super) fn order(magic: [u8; 4]) -> Option<(bool, u32)> {
        let known = |number: &u32| [MICROSECONDS, NANOSECONDS, KUZNETZOV].contains(number);
        let (big, little) = (u32::from_be_bytes(magic), u32::from_le_bytes(magic));
        Some(little)
            .filter(known)
            .map(|number| (false, number))
            .or(Some(big).filter(known).map(|number| (true, number)))
    }

    /// From what follows the magic number.
    pub(super) fn new(big: bool, magic: u32, rest: &[u8; 20]) -> std::result::Result<Self, String> {
        let [version, _, _, _, link] = words(rest, big);
        let (major, minor) = if big { (version >> 16, version & 0xffff) } else { (version & 0xffff, version >> 16) };
        // As libpcap has it (sf-pcap.c): the lengths changed places at 2.3, and
        // some files of 2.3 have them as before; 543.0 is DG/UX.
        let lengths = match (major, minor) {
            (543, 0) | (2, ..3) => Lengths::Reversed,
            (2, 3) => Lengths::Either,
            (2, _) => Lengths::Usual,
            _ => return Err(format!("its pcap version is {major}.{minor}, and only 2.x is known")),
        };
        // The length of the FCS in units of two bytes, if a bit says that it is given.
        let fcs = if link & 1 << 26 == 0 { 0 } else { 2 * (link >> 28) as usize };
        Ok(Pcap {
            big,
            unit: if magic == NANOSECONDS { 1 } else { 1000 },
            longer: magic == KUZNETZOV,
            lengths,
            link: link & 0xffff,
            fcs,
            first: None,
            seconds: None,
        })
    }

    pub(super) fn step<R: Read>(
        &mut self,
        input: &mut Input<R>,
        account: &mut Account,
        bytes: &mut Vec<u8>,
        record: &mut u64,
    ) -> std::result::Result<Step, Stop> {
        *record = input.at();
        let Some(head) = input.head::<16>()? else { return Ok(Step::End) };
        let [seconds, fraction, mut captured, mut wire_len] = words(&head, self.big);
        if self.lengths == Lengths::Reversed || self.lengths == Lengths::Either && captured > wire_len {
            std::mem::swap(&mut captured, &mut wire_len);
        }
        if captured as usize > LONGEST {
            return Err(Stop::Nonsense(format!("a packet of {captured} bytes is longer than any")));
        }
        if self.longer {
            input.skip(8)?;
        }
        let before = bytes.len();
        if self.link == ETHERNET {
            input.append(bytes, captured as usize)?;
        } else {
            input.skip(captured as usize)?;
        }
        account.packets += 1;
        if head == [0; 16] {
            account.odd(*record, EMPTY);
        } else if captured > wire_len {
            account.odd(*record, LONGER);
        } else if self.seconds.is_some_and(|before| !near(before as u32, seconds)) {
            account.odd(*record, YEARS_AWAY);
        }
        self.first.get_or_insert(seconds);
        let time = self.time(seconds, fraction);
        if self.link != ETHERNET {
            account.other_link(self.link);
            return Ok(Step::Passed);
        }
        let (kept, wire_len) = without_fcs(captured as usize, wire_len, self.fcs);
        bytes.truncate(before + kept);
        Ok(Step::Frame(Frame { time: Some(time), wire_len }))
    }

    /// Nanoseconds since 1970. A file has the lower 32 bits of the seconds: they
    /// are unsigned, and where they pass an end of their range (in 1970 or 2106),
    /// or 2038, time goes on.
    fn time(&mut self, seconds: u32, fraction: u32) -> i64 {
        let seconds = match self.seconds {
            Some(before) => before + i64::from(seconds.wrapping_sub(before as u32) as i32),
            None => i64::from(seconds),
        };
        self.seconds = Some(seconds);
        seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(fraction) * self.unit)
    }
}
