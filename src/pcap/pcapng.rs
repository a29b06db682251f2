//! Blocks of pcapng files (draft-ietf-opsawg-pcapng), as a reader needs them.
//!
//! A block has its length at both ends: where they differ, nothing behind it can
//! be found, and reading stops. Where only the content of a packet's block makes no
//! sense, the packet is left out and the next block is read.

use super::decode::{Account, ETHERNET, Frame, Input, LONGER, LONGEST, Step, Stop, without_fcs, word, words};
use std::io::Read;

/// Longest block that is read (libpcap, `INITIAL_MAX_BLOCKSIZE`).
pub(super) const LONGEST_BLOCK: u32 = 16 << 20;
/// Type and length before, length behind.
pub(super) const FRAMING: u32 = 12;

pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE: u32 = 1;
pub(super) const OBSOLETE_PACKET: u32 = 2;
pub(super) const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;

/// Interfaces that a section can have; the obsolete packet block has 16 bits for them.
const INTERFACES: usize = 1 << 16;

/// Bytes of options that are looked at.
const OPTIONS: usize = 64 * 1024;

type Result<T> = std::result::Result<T, Stop>;

/// A pcapng file.
#[derive(Debug)]
pub(super) struct Pcapng {
    big: bool,
    /// Of this section, by number.
    interfaces: Vec<Interface>,
    /// For blocks and options; kept so that it need not be asked for again.
    scratch: Vec<u8>,
}

/// What a packet's block turned out to be.
enum Found {
    /// An Ethernet frame; `odd` if it has more bytes than there were on the wire.
    Frame {
        frame: Frame,
        odd: bool,
    },
    /// A packet of this link.
    OtherLink(u32),
    Undeclared,
    Malformed,
}

/// How packets of an interface are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// None if its block was too short to say.
    link: Option<u32>,
    snaplen: u32,
    /// Of times: 10^-n seconds, or 2^-n with the highest bit set.
    resolution: u8,
    /// Seconds to add to times.
    offset: i64,
    fcs: usize,
}

impl Pcapng {
    /// Reads the rest of the section header whose type was read.
    pub(super) fn begin<R: Read>(input: &mut Input<R>) -> Result<Self> {
        let mut file = Pcapng { big: false, interfaces: Vec::new(), scratch: Vec::new() };
        let len = input.array()?;
        file.section(input, len)?;
        Ok(file)
    }

    pub(super) fn is_big(&self) -> bool {
        self.big
    }

    /// Reads a section header from behind its first length.
    fn section<R: Read>(&mut self, input: &mut Input<R>, len: [u8; 4]) -> Result<()> {
        self.big = match u32::from_le_bytes(input.array()?) {
            0x1a2b_3c4d => false,
            0x4d3c_2b1a => true,
            other => return Err(Stop::Nonsense(format!("{other:#010x} is no byte order"))),
        };
        let len = length(len, self.big)?;
        // Byte order, version, length of the section.
        let Some(rest) = len.checked_sub(FRAMING + 16) else {
            return Err(Stop::Nonsense(format!("a section header of {len} bytes is too short")));
        };
        let version = word(input.array()?, self.big);
        let major = if self.big { version >> 16 } else { version & 0xffff };
        if major != 1 {
            return Err(Stop::Nonsense(format!("its pcapng version is {major}, and only 1 is known")));
        }
        input.skip(8 + rest as usize)?;
        self.interfaces.clear();
        self.end(input, len)
    }

    /// The length behind a block.
    fn end<R: Read>(&self, input: &mut Input<R>, len: u32) -> Result<()> {
        let behind = word(input.array()?, self.big);
        if behind == len {
            return Ok(());
        }
        Err(Stop::Nonsense(format!("its block is {len} bytes long by its beginning and {behind} by its end")))
    }

    pub(super) fn step<R: Read>(
        &mut self,
        input: &mut Input<R>,
        account: &mut Account,
        bytes: &mut Vec<u8>,
        record: &mut u64,
    ) -> Result<Step> {
        *record = input.at();
        let Some(head) = input.head::<8>()? else { return Ok(Step::End) };
        let [a, b, c, d, len @ ..] = head;
        let kind = word([a, b, c, d], self.big);
        if kind == SECTION {
            self.section(input, len)?;
            return Ok(Step::Passed);
        }
        let len = length(len, self.big)?;
        let body = (len - FRAMING) as usize;
        match kind {
            INTERFACE => self.interface(input, body)?,
            OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                let found = self.packet(input, bytes, kind, body)?;
                // Only then is it sure that the block was one.
                self.end(input, len)?;
                account.packets += 1;
                match found {
                    Found::Frame { frame, odd } => {
                        if odd {
                            account.odd(*record, LONGER);
                        }
                        return Ok(Step::Frame(frame));
                    }
                    Found::OtherLink(link) => account.other_link(link),
                    Found::Undeclared => account.left_out.undeclared += 1,
                    Found::Malformed => account.left_out.malformed += 1,
                }
                return Ok(Step::Passed);
            }
            _ => input.skip(body)?,
        }
        self.end(input, len)?;
        Ok(Step::Passed)
    }

    /// Reads an interface description of `body` bytes.
    fn interface<R: Read>(&mut self, input: &mut Input<R>, body: usize) -> Result<()> {
        if self.interfaces.len() == INTERFACES {
            return Err(Stop::Nonsense(format!("its section has more than {INTERFACES} interfaces")));
        }
        self.scratch.clear();
        input.append(&mut self.scratch, body)?;
        self.interfaces.push(Interface::new(&self.scratch, self.big));
        Ok(())
    }

    /// Reads the `body` bytes of a packet's block.
    fn packet<R: Read>(&mut self, input: &mut Input<R>, bytes: &mut Vec<u8>, kind: u32, body: usize) -> Result<Found> {
        let fields = if kind == SIMPLE_PACKET { 4 } else { 20 };
        let Some(room) = body.checked_sub(fields) else {
            input.skip(body)?;
            return Ok(Found::Malformed);
        };
        let (number, units, captured, wire_len) = if kind == SIMPLE_PACKET {
            let wire_len = word(input.array()?, self.big);
            // Captured is that, or the snap length.
            let snaplen = self.interfaces.first().map_or(0, |interface| interface.snaplen);
            (0, None, if snaplen == 0 { wire_len } else { wire_len.min(snaplen) }, wire_len)
        } else {
            let [first, high, low, captured, wire_len] = words(&input.array::<20>()?, self.big);
            // The obsolete block has a drop counter in the other half.
            let number = match kind {
                ENHANCED_PACKET => first,
                _ if self.big => first >> 16,
                _ => first & 0xffff,
            };
            (number, Some(u64::from(high) << 32 | u64::from(low)), captured, wire_len)
        };
        let (captured, odd) = (captured as usize, captured > wire_len);
        let interface = self.interfaces.get(number as usize).copied();
        let interface = match interface.map(|interface| (interface.link, interface)) {
            _ if captured > room => Err(Found::Malformed),
            Some((Some(ETHERNET), interface)) => Ok(interface),
            Some((Some(link), _)) => Err(Found::OtherLink(link)),
            Some((None, _)) | None => Err(Found::Undeclared),
        };
        let interface = match interface {
            Ok(interface) => interface,
            Err(left_out) => {
                input.skip(room)?;
                return Ok(left_out);
            }
        };
        let (before, kept) = (bytes.len(), captured.min(LONGEST));
        input.append(bytes, kept)?;
        input.skip(captured - kept)?;
        let behind = room - captured;
        let fcs = if kind == SIMPLE_PACKET || behind == 0 {
            input.skip(behind)?;
            None
        } else {
            let padding = (captured.next_multiple_of(4) - captured).min(behind);
            input.skip(padding)?;
            self.scratch.clear();
            let looked_at = (behind - padding).min(OPTIONS);
            input.append(&mut self.scratch, looked_at)?;
            input.skip(behind - padding - looked_at)?;
            // Bits 5 to 8 of the flags are the bytes of FCS that this packet has.
            let flags = options(&self.scratch, self.big).find(|(code, value)| *code == 2 && value.len() == 4);
            flags.map(|(_, value)| words::<1>(value, self.big)[0] >> 5 & 0xf).filter(|fcs| *fcs > 0)
        };
        let (kept_of, wire_len) = without_fcs(captured, wire_len, fcs.map_or(interface.fcs, |fcs| fcs as usize));
        bytes.truncate(before + kept.min(kept_of));
        let time = units.map(|units| interface.time(units));
        Ok(Found::Frame { frame: Frame { time, wire_len }, odd })
    }
}

/// A block's length, if a block can be so long.
fn length(bytes: [u8; 4], big: bool) -> Result<u32> {
    let len = word(bytes, big);
    if (FRAMING..=LONGEST_BLOCK).contains(&len) && len.is_multiple_of(4) {
        return Ok(len);
    }
    Err(Stop::Nonsense(format!("no block is {len} bytes long")))
}

/// The options in `bytes`, as far as they are whole: code and value.
fn options(bytes: &[u8], big: bool) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<4>()?;
        let half = |at: usize| {
            let bytes = [head[at], head[at + 1]];
            if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        let (code, len) = (half(0), usize::from(half(2)));
        let value = behind.get(..len)?;
        rest = behind.get(len.next_multiple_of(4)..).unwrap_or_default();
        // Code 0 ends them.
        (code != 0).then_some((code, value))
    })
}

impl Interface {
    /// From the body of its block.
    fn new(body: &[u8], big: bool) -> Self {
        let mut interface = Interface { link: None, snaplen: 0, resolution: 6, offset: 0, fcs: 0 };
        let Some((head, rest)) = body.split_first_chunk::<8>() else { return interface };
        let [link, snaplen] = words(head, big);
        interface.link = Some(if big { link >> 16 } else { link & 0xffff });
        interface.snaplen = snaplen;
        for (code, value) in options(rest, big) {
            match (code, value) {
                (9, &[resolution]) => interface.resolution = resolution,
                // Meant as bytes; older drafts said bits.
                (13, &[fcs]) => interface.fcs = usize::from(if fcs < 8 { fcs } else { fcs / 8 }),
                (14, value) => {
                    if let Some(&bytes) = value.first_chunk::<8>() {
                        interface.offset = if big { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) };
                    }
                }
                _ => {}
            }
        }
        interface
    }

    /// Nanoseconds since 1970 of a time in its units.
    fn time(&self, units: u64) -> i64 {
        let (units, power) = (u128::from(units), u32::from(self.resolution & 0x7f));
        let ns = if self.resolution & 0x80 != 0 {
            (units * 1_000_000_000).checked_shr(power).unwrap_or(0)
        } else if power <= 9 {
            units * 10_u128.pow(9 - power)
        } else {
            units / 10_u128.checked_pow(power - 9).unwrap_or(u128::MAX)
        };
        // Below 2^94, so it is the same signed.
        let ns = ns as i128 + i128::from(self.offset) * 1_000_000_000;
        ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::samples::{Ng, read};

    #[test]
    fn the_interfaces_of_a_section_are_limited() {
        let mut file = Ng::ethernet();
        for _ in 1..INTERFACES {
            file.interface(1, 0, &[]);
        }
        file.packet(u32::from(u16::MAX), 1, 20, 20, &[1; 20], &[]);
        // Another section counts from the start.
        file.section(&[]);
        for _ in 0..INTERFACES {
            file.interface(1, 0, &[]);
        }
        file.good(2, &[2; 20]);
        let found = read(&file.bytes[..]);
        assert_eq!((found.packets, found.damage), (2, None));
        file.interface(1, 0, &[]);
        file.good(3, &[3; 20]);
        let found = read(&file.bytes[..]);
        let damage = found.damage.unwrap();
        assert_eq!((found.packets, damage.torn), (2, false));
        assert!(damage.why.contains("more than 65536 interfaces"), "{damage}");
    }

    #[test]
    fn resolutions_in_powers_of_ten_and_two_become_nanoseconds() {
        let ns =
            |units, resolution, offset| Interface { link: Some(1), snaplen: 0, resolution, offset, fcs: 0 }.time(units);
        let unless_told = Interface::new(&[1, 0, 0, 0, 0, 0, 0, 0], false);
        assert_eq!(unless_told.time(5), 5_000, "microseconds unless told");
        assert_eq!(ns(5, 9, 0), 5);
        assert_eq!(ns(5_000, 12, 0), 5);
        assert_eq!(ns(3, 0x81, 0), 1_500_000_000);
        assert_eq!(ns(3 << 20, 0x80 | 20, 0), 3_000_000_000);
        assert_eq!(ns(1, 0, 10), 11_000_000_000);
        assert_eq!(ns(1, 6, -1), -999_999_000, "before 1970");
        assert_eq!(ns(1, 127, 0), 0);
        assert_eq!(ns(1, 0xff, 0), 0);
        assert_eq!(ns(u64::MAX, 0x7f, 0), 0);
        assert_eq!(ns(u64::MAX, 0, 0), i64::MAX);
        assert_eq!(ns(0, 0, i64::MIN), i64::MIN);
    }
}
