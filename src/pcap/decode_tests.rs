//! What the decoder makes of files that are in order, odd, or hostile.

use super::decode::{LONGEST, Reader};
use super::samples::{Ng, pcap, read, usual};
use proptest::prelude::*;
use std::io::{self, Read};

const FRAME: [u8; 20] = *b"0123456789abcdefghij";

#[test]
fn every_magic_number_is_read_in_both_byte_orders() {
    for (magic, unit, extra) in [(0xa1b2_c3d4, 1000, 0), (0xa1b2_3c4d, 1, 0), (0xa1b2_cd34, 1000, 8)] {
        for big in [false, true] {
            let record = [vec![7; extra], FRAME.to_vec()].concat();
            let file = pcap(big, magic, (2, 4), 1, &[(7, 5, 20, 60, &record), (8, 5, 20, 60, &record)]);
            let found = read(&file[..]);
            assert_eq!(found.bytes(), [&FRAME, &FRAME], "{magic:#x}");
            assert_eq!(found.times(), [Some(7_000_000_000 + 5 * unit), Some(8_000_000_000 + 5 * unit)]);
            assert_eq!((found.frames[0].0.wire_len, found.damage), (60, None));
        }
    }
}

#[test]
fn the_lengths_of_old_versions_are_the_other_way_round() {
    for (version, first, second) in
        [((2, 2), 60, 20), ((543, 0), 60, 20), ((2, 3), 60, 20), ((2, 3), 20, 60), ((2, 4), 20, 60)]
    {
        let found = read(&pcap(false, 0xa1b2_c3d4, version, 1, &[(1, 0, first, second, &FRAME)])[..]);
        assert_eq!((found.bytes(), found.frames[0].0.wire_len), (vec![&FRAME[..]], 60), "{version:?}");
    }
    // More bytes than there were on the wire: they are there all the same.
    let found = read(&usual(&[(1, 0, 20, 8, &FRAME)])[..]);
    assert_eq!((found.bytes(), found.frames[0].0.wire_len), (vec![&FRAME[..]], 20));
    let unknown = pcap(false, 0xa1b2_c3d4, (3, 0), 1, &[]);
    assert!(Reader::new(&unknown[..], "f").unwrap_err().to_string().contains("3.0"));
}

#[test]
fn a_frame_check_sequence_is_taken_off_however_the_file_names_it() {
    // Four bytes in units of two, of a whole packet, and of those that were cut before, in and behind it.
    let link = 1 | 1 << 26 | 2 << 28;
    for (wire_len, want) in [(20, 16), (22, 18), (24, 20), (60, 20)] {
        let found = read(&pcap(false, 0xa1b2_c3d4, (2, 4), link, &[(1, 0, 20, wire_len, &FRAME)])[..]);
        assert_eq!((found.bytes(), found.frames[0].0.wire_len), (vec![&FRAME[..want]], wire_len as usize - 4));
    }
    // The length bits say nothing without the bit that they do.
    let found = read(&pcap(false, 0xa1b2_c3d4, (2, 4), 1 | 2 << 28, &[(1, 0, 20, 20, &FRAME)])[..]);
    assert_eq!(found.bytes(), [&FRAME]);

    for big in [false, true] {
        let mut file = Ng::new(big);
        for fcs in [4, 32, 0] {
            let option = file.option(13, &[fcs]);
            file.interface(1, 0, &option);
        }
        for interface in 0..3 {
            file.packet(interface, 0, 20, 20, &FRAME, &[]);
            // The packet's own flags say two bytes.
            let flags = 2_u32 << 5;
            let flags = if big { flags.to_be_bytes() } else { flags.to_le_bytes() };
            let option = [file.option(1, b"a comment"), file.option(2, &flags)].concat();
            file.packet(interface, 0, 20, 20, &FRAME, &option);
        }
        let lengths: Vec<usize> = read(&file.bytes[..]).bytes().iter().map(|bytes| bytes.len()).collect();
        assert_eq!(lengths, [16, 18, 16, 18, 20, 18]);
    }
}

#[test]
fn time_goes_on_through_1970_2038_and_2106() {
    let times = |seconds: &[u32]| {
        let records: Vec<_> = seconds.iter().map(|&s| (s, 500_000, 20, 20, &FRAME[..])).collect();
        let times = read(&usual(&records)[..]).times();
        times.windows(2).map(|pair| pair[1].unwrap() - pair[0].unwrap()).collect::<Vec<_>>()
    };
    const SECOND: i64 = 1_000_000_000;
    assert_eq!(times(&[-2_i32 as u32, -1_i32 as u32, 1]), [SECOND, 2 * SECOND]);
    assert_eq!(times(&[0x7fff_ffff, 0x8000_0000]), [SECOND]);
    assert_eq!(times(&[5, 4]), [-SECOND], "and back where the file does");

    let mut file = Ng::new(true);
    let options = [file.option(14, &(-10_i64).to_be_bytes()), file.option(9, &[9])].concat();
    file.interface(1, 0, &options);
    file.good(3_000_000_001, &FRAME);
    file.good(u64::MAX, &FRAME);
    assert_eq!(read(&file.bytes[..]).times(), [Some(-6_999_999_999), Some(i64::MAX)]);
}

#[test]
fn nothing_that_does_not_bear_on_a_frame_keeps_it_from_being_read() {
    for big in [false, true] {
        let mut file = Ng { bytes: Vec::new(), big };
        // Text that is not UTF-8, and no end of options.
        let latin = file.option(4, b"caf\xe9");
        file.section(&latin);
        // A time zone of 4 bytes, an option that is longer than its block, twice a resolution.
        let options =
            [file.option(10, &[0; 4]), file.option(2, b"\xff\xfe"), file.option(9, &[6]), file.option(9, &[9])]
                .concat();
        let long = if big { [0, 3, 0xff, 0xff] } else { [3, 0, 0xff, 0xff] };
        file.interface(1, 0, &[&options[..], &long].concat());
        // Names without an end, one of them empty; a custom block; a kind that nobody knows.
        file.block(4, &[0, 1, 0, 4, 1, 2, 3, 4]);
        file.block(0xbad, b"1234 and more");
        file.block(77, &[]);
        let custom = [file.option(2988, b"1234xyz"), vec![0, 0]].concat();
        file.packet(0, 7, 20, 20, &FRAME, &custom);
        file.packet(0, 8, 20, 20, &FRAME, &[1]);
        file.obsolete(0, 3, 9, &FRAME);
        file.simple(20, &FRAME);
        let found = read(&file.bytes[..]);
        assert_eq!((found.damage.as_ref(), found.left_out), (None, Default::default()));
        assert_eq!(found.bytes(), [&FRAME; 4]);
        assert_eq!(found.times(), [Some(7), Some(8), Some(9), None], "the last resolution holds");
    }
}

#[test]
fn a_section_brings_its_own_byte_order_and_interfaces() {
    let mut file = Ng::ethernet();
    file.good(1, &FRAME);
    file.big = true;
    file.section(&[]);
    file.good(2, &FRAME);
    file.interface(1, 8, &[]);
    file.simple(20, &FRAME[..8]);
    file.good(2, &FRAME);
    let found = read(&file.bytes[..]);
    assert_eq!(found.bytes(), [&FRAME[..], &FRAME[..8], &FRAME]);
    assert_eq!(found.times(), [Some(1), None, Some(2_000)]);
    assert_eq!((found.left_out.undeclared, found.damage), (1, None));
}

#[test]
fn a_packet_that_cannot_be_given_is_counted_and_those_around_it_are_read() {
    let mut file = Ng::ethernet();
    file.interface(105, 0, &[]);
    file.interface(1, 0, &[]);
    // A description that is too short to say of what.
    file.block(1, &[1, 0]);
    file.good(1, &FRAME);
    file.packet(0, 2, 24, 24, &FRAME, &[]);
    file.packet(0, 2, u32::MAX, 60, &FRAME, &[]);
    file.block(6, &[0; 16]);
    file.block(3, &[]);
    file.packet(7, 2, 20, 20, &FRAME, &[]);
    file.packet(3, 2, 20, 20, &FRAME, &[]);
    file.packet(1, 2, 20, 20, &FRAME, &[]);
    file.packet(2, 3, 20, 20, &FRAME, &[]);
    let found = read(&file.bytes[..]);
    assert_eq!((found.bytes(), found.packets), (vec![&FRAME[..]; 2], 9));
    let left_out = found.left_out;
    assert_eq!((left_out.malformed, left_out.undeclared, left_out.other_link, left_out.link), (4, 2, 1, 105));
    let words: Vec<String> = left_out.words().into_iter().map(|(count, words)| format!("{count} {words}")).collect();
    assert_eq!(words[0], "1 were recorded on a link of type IEEE802_11, not Ethernet");
    assert_eq!((words.len(), found.damage), (3, None));
    // In pcap the link is that of the file.
    let found = read(&pcap(false, 0xa1b2_c3d4, (2, 4), 113, &[(1, 0, 20, 20, &FRAME)])[..]);
    assert_eq!((found.frames.len(), found.packets, found.left_out.link), (0, 1, 113));
}

#[test]
fn where_reading_stops_is_said_with_what_was_read_before() {
    let says = |file: &[u8]| read(file).damage.unwrap().to_string();
    let mut file = Ng::ethernet();
    file.good(1, &FRAME);
    let good = file.bytes.len();
    file.good(2, &FRAME);
    for (at, value, part) in [
        (4, u32::MAX, "no block is 4294967295 bytes long"),
        (4, 0xffff_fff0, "no block is 4294967280 bytes long"),
        (4, 11, "no block is 11 bytes long"),
        (4, 54, "no block is 54 bytes long"),
        (48, 60, "52 bytes long by its beginning and 60 by its end"),
    ] {
        let mut bent = file.bytes.clone();
        bent[good + at..good + at + 4].copy_from_slice(&value.to_le_bytes());
        let said = says(&bent);
        assert!(said.starts_with(&format!("damaged after 1 packet: record at byte {good} ")), "{said}");
        assert!(said.contains(part), "{said}");
    }
    let torn = &file.bytes[..file.bytes.len() - 1];
    let want =
        format!("cut short after 1 packet: record at byte {good} is cut short, the file ends at byte {}", torn.len());
    assert_eq!(says(torn), want);
    let mut file = usual(&[(1, 0, 20, 20, &FRAME), (1, 0, 20, 20, &FRAME), (1, 0, u32::MAX, 60, &FRAME)]);
    assert!(
        says(&file).starts_with("damaged after 2 packets: record at byte 96 makes no sense: a packet of 4294967295")
    );
    file[96 + 8..96 + 12].copy_from_slice(&(LONGEST as u32).to_le_bytes());
    assert!(says(&file).starts_with("cut short after 2 packets"), "as long as a packet can be");
}

/// Gives a byte at a time, as a pipe may.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(1);
        self.0.read(&mut buffer[..len])
    }
}

/// A file with all sorts of records.
fn varied(ng: bool, big: bool) -> Vec<u8> {
    if !ng {
        return pcap(big, 0xa1b2_c3d4, (2, 4), 1, &[(1, 2, 20, 60, &FRAME), (1, 3, 14, 14, &FRAME[..14])]);
    }
    let mut file = Ng::new(big);
    let options = [file.option(9, &[0x83]), file.option(13, &[4]), file.option(14, &[0; 8])].concat();
    file.interface(1, 18, &options);
    file.packet(0, 7, 20, 60, &FRAME, &options);
    file.simple(18, &FRAME[..18]);
    file.obsolete(0, 1, 9, &FRAME);
    file.bytes
}

proptest! {
    #[test]
    fn bent_bytes_never_bring_it_down_and_come_out_the_same_however_they_come_in(
        ng in any::<bool>(),
        big in any::<bool>(),
        spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        len in any::<prop::sample::Index>(),
    ) {
        let mut bytes = varied(ng, big);
        for (at, byte) in spots {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let len = len.index(bytes.len() + 1);
        for bytes in [&bytes[..], &bytes[..len]] {
            match Reader::new(bytes, "f") {
                Ok(_) => prop_assert_eq!(read(bytes), read(Trickle(bytes))),
                Err(error) => prop_assert!(!error.to_string().contains('\n')),
            }
        }
    }
}
