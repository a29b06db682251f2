//! Capture files in memory.
//!
//! Who sends packets from memory neither waits for a disk nor calls the system; beside
//! the packets it takes 24 bytes a packet. Packets too short for a header are only
//! counted, because their bytes do not bound their number. A file that was cut short
//! gives the packets that are whole, and says where it broke.

use super::decode::LONGEST;
use super::parts::Parts;
use super::{Damage, LeftOut, SHORTEST};
use crate::error::{Error, Kind, Result};
use crate::sys;
use std::io::Read;
use std::path::Path;

/// The Ethernet packets of a capture file that have a header, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub(super) bytes: Vec<u8>,
    pub(super) packets: Vec<Place>,
    pub(super) untimed: u64,
    pub(super) left_out: Omitted,
    pub(super) damage: Option<Damage>,
}

/// Packets of a file that are not in its recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    /// Those that the reader could not give.
    pub unread: LeftOut,
    /// Shorter than [`SHORTEST`].
    pub short: u64,
}

impl Omitted {
    /// What was left out and how often, as [`LeftOut::words`].
    pub fn words(&self) -> Vec<(u64, String)> {
        let mut all = self.unread.words();
        if self.short > 0 {
            all.push((self.short, format!("are shorter than {SHORTEST} bytes")));
        }
        all
    }
}

/// Where a packet is in `bytes`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) len: u32,
    pub(super) wire_len: u32,
    pub(super) time: i64,
}

impl Place {
    #[inline]
    fn packet<'a>(&self, bytes: &'a [u8]) -> Packet<'a> {
        let bytes = &bytes[self.at..self.at + self.len as usize];
        Packet { time: self.time, wire_len: self.wire_len as usize, bytes }
    }
}

/// A packet of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970; less than zero before.
    pub time: i64,
    /// Its length on the wire, without FCS.
    pub wire_len: usize,
    /// What of it is in the file, at most [`LONGEST`] bytes.
    pub bytes: &'a [u8],
}

impl Recording {
    /// Reads a file, compressed or not, or standard input if `path` is `-`.
    ///
    /// # Errors
    /// If it cannot be read, is not a capture file, or is not of Ethernet.
    pub fn open(path: &Path) -> Result<Self> {
        Self::whole(Parts::open(path)?)
    }

    /// Reads the bytes of a file that is called `name` in errors.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn parse(bytes: Vec<u8>, name: &str) -> Result<Self> {
        Self::whole(Parts::new(&bytes[..], name)?)
    }

    /// An empty one with memory for parts of so many bytes, which is touched when it is filled.
    pub fn with_room(room: usize) -> Self {
        Recording { bytes: Vec::with_capacity(room + LONGEST), ..Recording::default() }
    }

    fn whole(mut parts: Parts<impl Read>) -> Result<Self> {
        // What is compressed may hold any amount.
        let most = sys::memory_available().map_or(usize::MAX, |bytes| usize::try_from(bytes / 2).unwrap_or(usize::MAX));
        let mut recording = Recording::default();
        if parts.next(&mut recording, most)? {
            return Ok(recording);
        }
        let line = format!(
            "{}: its packets take more than {} MB, half of the memory that is free, and all of them are read first; cut it into parts",
            parts.name(),
            most >> 20
        );
        Err(Error::new(Kind::Memory, line))
    }

    /// Keeps the packets to which `time` gives one, with that time.
    pub fn retime(&mut self, mut time: impl FnMut(Packet<'_>) -> Option<i64>) {
        let Recording { bytes, packets, .. } = self;
        packets.retain_mut(|place| {
            let time = time(place.packet(bytes));
            place.time = time.unwrap_or(place.time);
            time.is_some()
        });
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
        self.packets[i].packet(&self.bytes)
    }

    /// All packets.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Packet<'_>> {
        (0..self.len()).map(|i| self.packet(i))
    }

    /// Where and why the file ends too early, if it does.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_ref().map(|damage| &damage.why[..])
    }

    /// Packets of the file that are not in it.
    pub fn left_out(&self) -> &Omitted {
        &self.left_out
    }

    /// How many packets have no time of their own, but that of the one before.
    pub fn untimed(&self) -> u64 {
        self.untimed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::record::{Format, Record, Totals};
    use crate::pcap::section::Section;
    use proptest::prelude::*;

    fn file(format: Format, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        format.header(&mut bytes, 262_144, &Section::of(["port 0"]));
        for (time, frame) in frames {
            format.put(&mut bytes, &Record { interface: 0, time: *time, wire_len: frame.len() + 1, parts: &[frame] });
        }
        format.end(&mut bytes, &Totals::default());
        bytes
    }

    /// Frames at times that a pcap file has room for, less than 68 years apart.
    fn frames() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
        const HALF: u64 = 2_147_483_647_999_999_999;
        let times = prop::collection::vec((0..HALF, prop::collection::vec(any::<u8>(), 0..100)), 0..10);
        (0..=HALF, times)
            .prop_map(|(base, frames)| frames.into_iter().map(|(time, frame)| (base + time, frame)).collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in frames()) {
            for format in [Format::Pcap, Format::Pcapng] {
                let recording = Recording::parse(file(format, &frames), "f").unwrap();
                let read: Vec<_> = recording.packets().map(|p| (p.time as u64, p.bytes.to_vec())).collect();
                let kept: Vec<_> = frames.iter().filter(|(_, frame)| frame.len() >= SHORTEST).cloned().collect();
                prop_assert_eq!(&read, &kept);
                prop_assert_eq!(recording.left_out().short, (frames.len() - kept.len()) as u64);
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
                let read: Vec<_> = recording.packets().map(|p| (p.time as u64, p.bytes.to_vec())).collect();
                let given = read.len() + recording.left_out().short as usize;
                let kept: Vec<_> = frames[..given].iter().filter(|(_, frame)| frame.len() >= SHORTEST).cloned().collect();
                prop_assert_eq!(&read, &kept);
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
                let words = [magic, 0, 0, 0, 65_535, 1, 7, 5, 15, 60];
                let mut bytes: Vec<u8> =
                    words.iter().flat_map(|w| if big { w.to_be_bytes() } else { w.to_le_bytes() }).collect();
                bytes[4..8].copy_from_slice(if big { &[0, 2, 0, 4] } else { &[2, 0, 4, 0] });
                bytes.extend_from_slice(b"abcdefghijklmno");
                let recording = Recording::parse(bytes, "f").unwrap();
                let packet = recording.packet(0);
                assert_eq!(
                    (packet.time, packet.bytes, packet.wire_len),
                    (7_000_000_000 + 5 * unit, &b"abcdefghijklmno"[..], 60)
                );
            }
        }
    }

    #[test]
    fn a_compressed_file_gives_the_same_packets_and_a_torn_one_says_so() {
        use flate2::Compression;
        use flate2::write::GzEncoder;
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        use std::io::Write;
        let frames: Vec<(u64, Vec<u8>)> = (0..50_u8).map(|n| (n.into(), vec![n; 60 + usize::from(n)])).collect();
        for plain in [Format::Pcap, Format::Pcapng].map(|format| file(format, &frames)) {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&plain).unwrap();
            for packed in [encoder.finish().unwrap(), compress_to_vec(&plain[..], CompressionLevel::Fastest)] {
                let recording = Recording::parse(packed.clone(), "f").unwrap();
                assert!(recording.packets().map(|p| p.bytes).eq(frames.iter().map(|(_, frame)| &frame[..])));
                assert_eq!(recording.damage(), None);
                // Wherever it is cut, also between two packets.
                for cut in 4..packed.len() {
                    match Recording::parse(packed[..cut].to_vec(), "f") {
                        Ok(recording) => {
                            assert!(recording.damage().unwrap().contains("is cut short"), "{:?}", recording.damage());
                            let before = recording.packets().zip(&frames);
                            assert!(before.into_iter().all(|(packet, (_, frame))| packet.bytes == frame));
                        }
                        Err(refused) => assert!(!refused.to_string().contains('\n')),
                    }
                }
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
            (vec![0x1f, 0x8b, 8, 0], "0 bytes are no capture file"),
            (vec![0x28, 0xb5, 0x2f, 0xfd, 0xff], "0 bytes are no capture file"),
        ] {
            let error = Recording::parse(bytes, "x.pcap").unwrap_err();
            assert!(error.to_string().starts_with("x.pcap: ") && error.to_string().contains(part), "{error}");
        }
        let error = Recording::open(Path::new("/nonexistent.pcap")).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(Recording::open(Path::new("/")).is_err());
    }

    #[test]
    fn of_packets_too_short_for_a_header_only_the_number_is_kept() {
        use crate::pcap::samples::Ng;
        let mut file = Ng::ethernet();
        for n in 0..1_000 {
            file.good(n, &[1; 13][..n as usize % SHORTEST]);
        }
        let recording = Recording::parse(file.bytes.clone(), "f").unwrap();
        assert_eq!((recording.len(), recording.bytes.len(), recording.packets.capacity()), (0, 0, 0));
        assert_eq!(recording.left_out().words(), [(1_000, "are shorter than 14 bytes".to_string())]);
        file.good(2_000, &[2; SHORTEST]);
        file.interface(105, 0, &[]);
        file.packet(1, 1, 20, 20, &[1; 20], &[]);
        let recording = Recording::parse(file.bytes, "f").unwrap();
        assert_eq!((recording.packet(0).time, recording.packet(0).bytes), (2_000, &[2; SHORTEST][..]));
        let Omitted { unread, short } = *recording.left_out();
        assert_eq!((recording.len(), unread.other_link, short), (1, 1, 1_000));
    }

    #[test]
    fn packets_without_a_time_have_that_of_a_neighbour() {
        use crate::pcap::samples::Ng;
        let mut file = Ng::ethernet();
        file.simple(20, &[1; 20]);
        file.good(1_700_000_000_000_000_000, &[2; 20]);
        file.simple(20, &[3; 20]);
        let recording = Recording::parse(file.bytes, "f").unwrap();
        assert!(recording.packets().all(|packet| packet.time == 1_700_000_000_000_000_000), "no gap of 54 years");
        assert_eq!((recording.len(), recording.untimed()), (3, 2));
    }

    #[test]
    fn a_file_with_nothing_but_other_links_is_refused_and_one_with_some_is_not() {
        use crate::pcap::samples::Ng;
        let mut file = Ng::ethernet();
        file.interface(105, 0, &[]);
        file.packet(1, 1, 20, 20, &[1; 20], &[]);
        let error = Recording::parse(file.bytes.clone(), "f").unwrap_err();
        assert!(error.to_string().contains("type IEEE802_11, not Ethernet"), "{error}");
        file.good(1, &[2; 20]);
        let recording = Recording::parse(file.bytes, "f").unwrap();
        assert_eq!((recording.len(), recording.left_out().unread.other_link), (1, 1));
    }
}
