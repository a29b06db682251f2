//! Reading capture files: pcap in microseconds or nanoseconds, either byte order,
//! and pcapng.
//!
//! A file is read whole, so that a replay neither waits for a disk nor calls the
//! system; what is kept beside it is 24 bytes a packet. A file that was cut short
//! gives the packets that are whole, and says where it broke.

use crate::error::{Error, Kind, Result};
use pcap_file::pcap::{PcapHeader, PcapParser};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{PcapNgParser, RawBlock};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use std::io::Read;
use std::path::Path;

/// The packets of a capture file, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    bytes: Vec<u8>,
    packets: Vec<Place>,
    damage: Option<String>,
    torn_at: Option<u64>,
}

/// Where a packet is in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    len: u32,
    wire_len: u32,
    time: u64,
}

/// A packet of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its length on the wire.
    pub wire_len: usize,
    /// What of it is in the file.
    pub bytes: &'a [u8],
}

impl Recording {
    /// Reads a file, or standard input if `path` is `-`.
    ///
    /// # Errors
    /// If it cannot be read, is not a capture file, or is not of Ethernet.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let reading = |error| Error::io(format!("reading {name}"), error);
        let bytes = if path == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(reading)?;
            bytes
        } else {
            std::fs::read(path).map_err(reading)?
        };
        Self::parse(bytes, &name)
    }

    /// Reads the bytes of a file that is called `name` in errors.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn parse(bytes: Vec<u8>, name: &str) -> Result<Self> {
        let mut recording = Recording { bytes, ..Recording::default() };
        let Some(&magic) = recording.bytes.first_chunk::<4>() else {
            let line =
                format!("{name}: {} bytes are no capture file; record one with `bmnic capture`", recording.bytes.len());
            return Err(Error::new(Kind::Io, line));
        };
        let bytes = std::mem::take(&mut recording.bytes);
        let result = match u32::from_be_bytes(magic) {
            0x0a0d_0d0a => recording.pcapng(&bytes),
            _ => recording.pcap(&bytes),
        };
        recording.bytes = bytes;
        result.map_err(|why| Error::new(Kind::Io, format!("{name}: {why}")))?;
        Ok(recording)
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Packet `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Recording::len`].
    #[inline]
    pub fn packet(&self, i: usize) -> Packet<'_> {
        let place = &self.packets[i];
        Packet {
            time: place.time,
            wire_len: place.wire_len as usize,
            bytes: &self.bytes[place.at..place.at + place.len as usize],
        }
    }

    /// All packets.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Packet<'_>> {
        (0..self.len()).map(|i| self.packet(i))
    }

    /// Where and why the file ends too early, if it does.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Where the record begins that the end of the file cut short, if it did.
    pub fn torn_at(&self) -> Option<u64> {
        self.torn_at
    }

    fn pcap(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| match error {
            PcapError::IncompleteBuffer => "it ends within its header; record it again".to_string(),
            _ => "it is neither pcap nor pcapng; record one with `bmnic capture`".to_string(),
        })?;
        let PcapHeader { datalink, ts_resolution, .. } = parser.header();
        ethernet(datalink)?;
        let unit = if ts_resolution == TsResolution::MicroSecond { 1000 } else { 1 };
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            // Raw: lengths beyond the snap length are odd but harmless.
            let Ok((next, raw)) = parser.next_raw_packet(rest) else {
                self.broken(at, bytes.len());
                return Ok(());
            };
            let time = u64::from(raw.ts_sec) * 1_000_000_000 + u64::from(raw.ts_frac) * unit;
            self.packets.push(Place { at: at + 16, len: raw.incl_len, wire_len: raw.orig_len, time });
            rest = next;
        }
        Ok(())
    }

    fn pcapng(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        let (mut rest, mut parser) = PcapNgParser::new(bytes)
            .map_err(|error| format!("its first section cannot be read ({error}); record it again"))?;
        let mut last_time = 0;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let (next, block) = match parser.next_raw_block(rest) {
                Ok(found) => found,
                Err(PcapError::IncompleteBuffer) => {
                    self.broken(at, bytes.len());
                    return Ok(());
                }
                Err(error) => {
                    self.damage = Some(format!("block at byte {at} makes no sense ({error})"));
                    return Ok(());
                }
            };
            // The section may have changed the byte order.
            let little = parser.section().endianness == Endianness::Little;
            if let Some(found) = block_packet(&block, little, parser.interfaces())? {
                let time = found.time.unwrap_or(last_time);
                last_time = time;
                self.packets.push(Place { at: at + 8 + found.at, len: found.len, wire_len: found.wire_len, time });
            }
            rest = next;
        }
        Ok(())
    }

    fn broken(&mut self, at: usize, len: usize) {
        self.torn_at = Some(at as u64);
        self.damage = Some(format!("record at byte {at} is cut short, the file ends at byte {len}"));
    }
}

/// A packet in a pcapng block; `at` counts from the start of the block's body.
struct Found {
    at: usize,
    len: u32,
    wire_len: u32,
    time: Option<u64>,
}

/// The packet of an enhanced, simple or old packet block.
fn block_packet(
    block: &RawBlock<'_>,
    little: bool,
    interfaces: &[InterfaceDescriptionBlock<'_>],
) -> std::result::Result<Option<Found>, String> {
    let body = &block.body;
    let word = |at: usize| {
        let bytes = *body.get(at..)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let found = match block.type_ {
        // Interface, time, captured, on wire. The old block has a drop counter
        // in the interface's upper half.
        2 | 6 => (|| {
            let interface = match block.type_ {
                6 => word(0)?,
                _ if little => word(0)? & 0xffff,
                _ => word(0)? >> 16,
            };
            let units = u64::from(word(4)?) << 32 | u64::from(word(8)?);
            Some((interface, Found { at: 20, len: word(12)?, wire_len: word(16)?, time: Some(units) }))
        })(),
        // On wire; captured is that or the snap length.
        3 => word(0).map(|wire_len| {
            let snaplen = interfaces.first().map_or(0, |interface| interface.snaplen);
            let len = if snaplen == 0 { wire_len } else { wire_len.min(snaplen) };
            (0, Found { at: 4, len, wire_len, time: None })
        }),
        _ => return Ok(None),
    };
    let Some((interface, mut found)) = found else {
        return Err("a packet block is too short for its fields; record it again".into());
    };
    if body.len() - found.at.min(body.len()) < found.len as usize {
        return Err("a packet is longer than its block; record it again".into());
    }
    let Some(interface) = interfaces.get(interface as usize) else {
        return Err(format!("a packet is from interface {interface}, which was never described; record it again"));
    };
    ethernet(interface.linktype)?;
    found.time = found.time.map(|units| nanoseconds(units, interface));
    Ok(Some(found))
}

/// Time units of an interface as nanoseconds since 1970.
fn nanoseconds(units: u64, interface: &InterfaceDescriptionBlock<'_>) -> u64 {
    let (mut resolution, mut offset) = (6, 0_u64);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(seconds) => offset = *seconds,
            _ => {}
        }
    }
    let units = u128::from(units);
    let power = u32::from(resolution & 0x7f);
    let ns = if resolution & 0x80 != 0 {
        // Powers of two.
        (units * 1_000_000_000).checked_shr(power).unwrap_or(0)
    } else if power <= 9 {
        units * 10_u128.pow(9 - power)
    } else {
        units / 10_u128.checked_pow(power - 9).unwrap_or(u128::MAX)
    };
    (ns as u64).wrapping_add(offset.wrapping_mul(1_000_000_000))
}

fn ethernet(link: DataLink) -> std::result::Result<(), String> {
    match link {
        DataLink::ETHERNET => Ok(()),
        other => {
            Err(format!("it was recorded on a link of type {other:?}, not Ethernet; only Ethernet frames can be sent"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::record::{Format, Record, Totals};
    use proptest::prelude::*;

    fn file(format: Format, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        format.header(&mut bytes, 262_144, "port 0");
        for (time, frame) in frames {
            format.put(&mut bytes, &Record { time: *time, wire_len: frame.len() + 1, parts: &[frame] });
        }
        format.end(&mut bytes, &Totals::default());
        bytes
    }

    fn frames() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
        let times = 0..4_294_967_295_999_999_999_u64;
        prop::collection::vec((times, prop::collection::vec(any::<u8>(), 0..100)), 0..10)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in frames()) {
            for format in [Format::Pcap, Format::Pcapng] {
                let recording = Recording::parse(file(format, &frames), "f").unwrap();
                let read: Vec<_> = recording.packets().map(|p| (p.time, p.bytes.to_vec())).collect();
                prop_assert_eq!(&read, &frames);
                prop_assert!(recording.packets().all(|p| p.wire_len == p.bytes.len() + 1));
                prop_assert_eq!(recording.damage(), None);
            }
        }

        #[test]
        fn a_file_cut_short_keeps_its_whole_packets_and_says_where_it_broke(frames in frames(), cut: prop::sample::Index) {
            for format in [Format::Pcap, Format::Pcapng] {
                let bytes = file(format, &frames);
                let header = file(format, &[]).len() - if format == Format::Pcap { 0 } else { 88 };
                let cut = header + cut.index(bytes.len() - header + 1);
                let recording = Recording::parse(bytes[..cut].to_vec(), "f").unwrap();
                let read: Vec<_> = recording.packets().map(|p| (p.time, p.bytes.to_vec())).collect();
                prop_assert_eq!(&read[..], &frames[..read.len()]);
                let (whole, _) = format.whole(&bytes[header..cut]);
                prop_assert_eq!(recording.damage().is_some(), header + whole < cut);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0_usize..6, at in 0_usize..300) {
            let magics: [&[u8]; 6] = [
                &[0xa1, 0xb2, 0xc3, 0xd4], &[0xd4, 0xc3, 0xb2, 0xa1], &[0x4d, 0x3c, 0xb2, 0xa1],
                &[0x0a, 0x0d, 0x0d, 0x0a], &[], &file(Format::Pcapng, &[(7, vec![1; 60])]),
            ];
            let mut all = magics[magic].to_vec();
            all.extend_from_slice(&bytes);
            let _ = Recording::parse(all, "f");
            // A good file with a few bytes overwritten gets further in.
            let mut bent = file(Format::Pcapng, &[(7, vec![1; 60]), (8, vec![2; 61])]);
            for (to, from) in bent.iter_mut().skip(at).zip(&bytes).take(4) {
                *to = *from;
            }
            let _ = Recording::parse(bent, "f");
        }
    }

    #[test]
    fn microseconds_and_the_other_byte_order_are_read() {
        for (magic, unit) in [(0xa1b2_c3d4_u32, 1000), (0xa1b2_3c4d, 1)] {
            for big in [false, true] {
                let words = [magic, 0, 0, 0, 65_535, 1, 7, 5, 3, 60];
                let mut bytes: Vec<u8> =
                    words.iter().flat_map(|w| if big { w.to_be_bytes() } else { w.to_le_bytes() }).collect();
                bytes[4..8].copy_from_slice(if big { &[0, 2, 0, 4] } else { &[2, 0, 4, 0] });
                bytes.extend_from_slice(b"abc");
                let recording = Recording::parse(bytes, "f").unwrap();
                let packet = recording.packet(0);
                assert_eq!((packet.time, packet.bytes, packet.wire_len), (7_000_000_000 + 5 * unit, &b"abc"[..], 60));
            }
        }
    }

    #[test]
    fn what_is_no_capture_of_ethernet_is_refused_in_one_line() {
        let mut wifi = file(Format::Pcap, &[]);
        wifi[20] = 105;
        for (bytes, part) in [
            (vec![], "0 bytes are no capture file"),
            (b"hello, world, this is text".to_vec(), "neither pcap nor pcapng"),
            (file(Format::Pcap, &[])[..20].to_vec(), "within its header"),
            (wifi, "not Ethernet"),
        ] {
            let error = Recording::parse(bytes, "x.pcap").unwrap_err();
            assert!(error.to_string().starts_with("x.pcap: ") && error.to_string().contains(part), "{error}");
        }
        let error = Recording::open(Path::new("/nonexistent.pcap")).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(Recording::open(Path::new("/")).is_err());
    }

    #[test]
    fn resolutions_in_powers_of_ten_and_two_become_nanoseconds() {
        let ns = |units, options: Vec<InterfaceDescriptionOption<'static>>| {
            let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
            interface.options = options;
            nanoseconds(units, &interface)
        };
        use InterfaceDescriptionOption::{IfTsOffset, IfTsResol};
        assert_eq!(ns(5, vec![]), 5_000, "microseconds unless told");
        assert_eq!(ns(5, vec![IfTsResol(9)]), 5);
        assert_eq!(ns(5_000, vec![IfTsResol(12)]), 5);
        assert_eq!(ns(3, vec![IfTsResol(0x81)]), 1_500_000_000);
        assert_eq!(ns(1, vec![IfTsResol(0), IfTsOffset(10)]), 11_000_000_000);
        assert_eq!(ns(1, vec![IfTsResol(127)]), 0);
        assert_eq!(ns(1, vec![IfTsResol(0xff)]), 0);
    }
}
