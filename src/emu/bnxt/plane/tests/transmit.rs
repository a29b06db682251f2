//! Packets out: descriptors, offloads, completions.

use super::*;
use crate::emu::frame::{L4, Parsed, Verdict};

#[test]
fn what_is_sent_comes_back_and_both_are_completed() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        for (n, len) in [60, 61, 511, 512, 1023, 1024, 1514].into_iter().enumerate() {
            bench.send(&mut set.tx, &frame(len));
            let sent = bench.read(&mut set.tx_cq);
            assert_eq!(sent, [[(n as u64) << 32, 1]]);
            let [low, high] = bench.read(&mut set.rx_cq)[..] else { panic!("one record") };
            assert_eq!(low, [0x11 | (len as u64) << 16 | (n as u64) << 32, 1]);
            assert_eq!(high, [0, 1]);
            assert_eq!(bench.buffer(set.rx, n as u32, len), frame(len));
        }
        let counters = bench.plane.stat(set.stat.into()).unwrap();
        assert_eq!((counters.tx_packets, counters.rx_packets), ([7, 0, 0], [7, 0, 0]));
        assert_eq!((counters.tx_bytes[0], counters.rx_bytes[0]), (4705, 4705));
        assert_eq!(bench.plane.totals(), counters);
        bench.assert_clean();
    }
}

#[test]
fn a_packet_in_pieces_is_one_and_has_the_opaque_value_of_its_first() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let whole = frame(1000);
    let first = bench.data(0x10 | 4 << 8 | 1 << 13, 77, &whole[..300]);
    let second = bench.data(0, 1, &whole[300..700]);
    let third = bench.data(0x40, 2, &whole[700..]);
    bench.push(&mut set.tx, &[first, [0, 0], second, third]);
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq), [[77 << 32, 1]]);
    assert_eq!(bench.buffer(set.rx, 0, 1000), whole);
    bench.assert_clean();
}

#[test]
fn a_packet_whose_rest_is_still_to_come_waits() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let first = bench.data(2 << 8, 0, &frame(100)[..50]);
    let second = bench.data(0x40, 0, &frame(100)[50..]);
    bench.push(&mut set.tx, &[first]);
    bench.run(20 * MICROSECOND);
    assert!(bench.read(&mut set.tx_cq).is_empty());
    bench.push(&mut set.tx, &[second]);
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
    bench.assert_clean();
}

#[test]
fn a_packet_without_completion_is_covered_by_the_next() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    for n in 0..3 {
        let silent = if n < 2 { 0x80 } else { 0 };
        let descriptor = bench.data(0x140 | silent, n, &frame(60));
        bench.push(&mut set.tx, &[descriptor]);
    }
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq), [[2 << 32, 1]]);
    assert_eq!(bench.read(&mut set.rx_cq).len(), 6);
    bench.assert_clean();
}

#[test]
fn checksums_and_tags_are_put_in() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let mut packet = udp([10, 0, 0, 2], 53, &[3; 101]);
    let good = packet.clone();
    packet[24..26].fill(0x11);
    packet[40..42].fill(0x22);
    let first = bench.data(0x10 | 0x40 | 2 << 8, 5, &packet);
    let meta = 1u64 << 28 | 1 << 16 | 0x6005;
    bench.push(&mut set.tx, &[first, [3, meta << 32]]);
    bench.run(20 * MICROSECOND);
    let mut tagged = good.clone();
    tagged.splice(12..12, [0x81, 0, 0x60, 5]);
    assert_eq!(bench.buffer(set.rx, 0, tagged.len()), tagged);
    assert_eq!((bench.board.used.summed, bench.board.used.tagged), (1, 1));
    bench.assert_clean();
}

/// A TCP packet with so many bytes of payload, behind 54 of headers.
fn tcp(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
    builder.tcp(1, 2, 1000, 512).psh().write(&mut packet, payload).unwrap();
    packet
}

/// A packet to be cut, and its extension.
fn cut(bench: &mut Bench, hint: u64, mss: u64, payload: &[u8]) -> [[u64; 2]; 2] {
    let first = bench.data(0x10 | 0x40 | 2 << 8 | hint << 13, 9, &tcp(payload));
    [first, [0x23 | 27 << 16 | mss << 32, 0]]
}

#[test]
fn a_super_frame_leaves_in_segments() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let payload: Vec<u8> = (0..4000).map(|n| (n * 7 % 251) as u8).collect();
    let packet = cut(&mut bench, 3, 1448, &payload);
    bench.push(&mut set.tx, &packet);
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq), [[9 << 32, 1]]);
    let mut got = Vec::new();
    for (n, len) in [1502, 1502, 1158].into_iter().enumerate() {
        let segment = bench.buffer(set.rx, n as u32, len);
        let parsed = Parsed::of(&segment);
        assert_eq!((parsed.l4, parsed.l4_checksum(&segment)), (Some(L4::Tcp), Verdict::Good));
        assert_eq!(parsed.ip_checksum(&segment), Verdict::Good);
        got.extend_from_slice(&segment[54..]);
    }
    assert_eq!(got, payload);
    assert_eq!(bench.plane.stat(set.stat.into()).unwrap().tx_packets, [3, 0, 0]);
    bench.assert_clean();
}

#[test]
fn what_is_cut_is_hinted_by_the_length_of_a_segment() {
    for (given, lost) in [(2, 0), (1, 1)] {
        let mut bench = Bench::new(Chip::P4, "");
        let mut set = bench.start();
        let packet = cut(&mut bench, given, 1448, &[1; 4096 - 54]);
        bench.push(&mut set.tx, &packet);
        bench.run(20 * MICROSECOND);
        assert_eq!(bench.read(&mut set.tx_cq), [[9 << 32, 1]]);
        let counters = bench.plane.stat(set.stat.into()).unwrap();
        assert_eq!((counters.tx_packets[0], counters.tx_discards), (3 * (1 - lost), lost));
        assert_eq!(bench.violations().len() as u64, lost);
    }
}

#[test]
fn segments_are_neither_too_small_nor_too_many() {
    // Segment's payload, packet's payload, whether it is sent.
    for (mss, len, sent) in [(8, 800, true), (7, 800, false), (1, 2, false), (8, 65_000, true), (8, 65_481, true)] {
        let mut bench = Bench::new(Chip::P5, ",nasty,seed=3");
        let mut set = bench.start();
        let packet = cut(&mut bench, 3, mss, &vec![1; len]);
        bench.push(&mut set.tx, &packet);
        bench.run(1000 * MICROSECOND);
        let expected = if sent { [9 << 32, 1] } else { [0x40 | 9 << 32, 5] };
        assert_eq!(bench.read(&mut set.tx_cq), [expected], "{len} in pieces of {mss}");
        assert_eq!(bench.violations().is_empty(), sent);
    }
}

#[test]
fn p5_does_without_hints() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let descriptor = bench.data(0x8140, 0, &frame(1500));
    bench.push(&mut set.tx, &[descriptor]);
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.plane.stat(set.stat.into()).unwrap().tx_packets, [1, 0, 0]);
    bench.assert_clean();
}

#[test]
fn a_packet_whose_bytes_are_no_memory_is_an_error() {
    for address in [0xdead_0000, u64::MAX, u64::MAX - 63] {
        let mut bench = Bench::new(Chip::P5, "");
        let mut set = bench.start();
        bench.push(&mut set.tx, &[[0x8140 | 100 << 16 | 7 << 32, address]]);
        bench.run(20 * MICROSECOND);
        assert_eq!(bench.read(&mut set.tx_cq), [[0x40 | 7 << 32, 0x41]], "{address:#x}");
        bench.send(&mut set.tx, &frame(60));
        assert_eq!(bench.read(&mut set.tx_cq), [[1 << 32, 1]], "the ring goes on");
    }
}

#[test]
fn a_ring_whose_descriptors_are_gone_is_dead() {
    // Of the packet in the last entry of the first page: all, or the second descriptor.
    for whole in [true, false] {
        let mut bench = Bench::new(Chip::P5, "");
        let mut set = bench.start();
        let (cq, stat, arena) = (set.tx_cq, set.stat, bench.elsewhere());
        let table = bench.take(4096);
        let first = bench.iova(bench.free);
        bench.put(table, &[first, arena.iova(4096)].map(u64::to_le_bytes).concat());
        let address = bench.iova(table);
        set.tx = bench.ring(RingKind::Transmit, 512, |spec| {
            (spec.cq, spec.stat) = (cq.id, stat.into());
            (spec.address, spec.depth, spec.page_size) = (address, 1, 12);
        });
        let small = bench.data(0xc1c0, 5, &frame(60));
        let before = if whole { 256 } else { 255 };
        bench.push(&mut set.tx, &vec![small; before]);
        bench.run(400 * MICROSECOND);
        bench.forget(&arena);
        bench.push(&mut set.tx, &[[0x8200 | 30 << 16 | 9 << 32, small[1]], [0x40 | 30 << 16, small[1]]]);
        bench.run(20 * MICROSECOND);
        let expected = if whole { vec![] } else { vec![[0x40 | 9 << 32, 0x41]] };
        assert_eq!(bench.read(&mut set.tx_cq), expected);
        assert!(bench.plane.tx_ring(set.tx.id).unwrap().dead);
        let counters = bench.plane.stat(stat.into()).unwrap();
        assert_eq!((counters.tx_packets[0], counters.tx_errors), (before as u64, 1));
        bench.assert_violated("outside mapped memory");
    }
}

#[test]
fn a_hint_that_is_too_short_loses_the_frame_without_a_word() {
    for (len, least) in [(511, 0), (512, 1), (1023, 1), (1024, 2), (2047, 2), (2048, 3)] {
        for given in 0..4 {
            let mut bench = Bench::new(Chip::P4, "");
            let mut set = bench.start();
            let descriptor = bench.data(0x8140 | given << 13, 0, &frame(len));
            bench.push(&mut set.tx, &[descriptor]);
            bench.run(20 * MICROSECOND);
            assert_eq!(bench.read(&mut set.tx_cq), [[0, 1]]);
            let lost = bench.plane.stat(set.stat.into()).unwrap().tx_discards;
            assert_eq!(lost, u64::from(given < least), "{len} with hint {given}");
            assert_eq!(bench.violations().len() as u64, lost);
        }
    }
}

#[test]
fn what_cannot_be_sent_is_an_error_and_some_of_it_stops_the_ring() {
    // Descriptor, rule, errors, whether the ring goes on.
    let long = frame(9601);
    for (flags, bytes, rule, errors, goes_on) in [
        (0x140, &[][..], "without length", 0x10, false),
        (0x140 | 3 << 13, &long[..], "longer than 9600", 0x20, false),
        (0x240, &long[..100], "as many as the first says", 4, true),
        (0x141, &long[..100], "of a type that there is not", 4, true),
        (0x140, &long[..13], "shorter than its header", 4, true),
    ] {
        let mut bench = Bench::new(Chip::P5, "");
        let mut set = bench.start();
        let mut descriptor = bench.data(flags, 3, bytes);
        if bytes.is_empty() {
            descriptor[1] = bench.iova(0);
        }
        bench.push(&mut set.tx, &[descriptor, [0, 0]]);
        bench.run(20 * MICROSECOND);
        assert_eq!(bench.poll(&mut set.tx_cq)[0], [0x40 | 3 << 32, errors | 1], "{rule}");
        bench.assert_violated(rule);
        assert_eq!(bench.plane.tx_ring(set.tx.id).unwrap().dead, !goes_on);
    }
}

#[test]
fn a_stamp_comes_by_query_or_in_a_completion() {
    for (flags, chip) in [(8, Chip::P5), (0, Chip::P5), (8, Chip::P4)] {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        bench.plane.free_ring(&mut bench.board, RingKind::Transmit, set.tx.id).unwrap();
        let cq = set.tx_cq;
        set.tx = bench.ring(RingKind::Transmit, RING, |spec| {
            (spec.logical_id, spec.cq, spec.flags) = (cq.slot, cq.id, flags);
        });
        let mut message = frame(80);
        message[12..14].copy_from_slice(&[0x88, 0xf7]);
        message[44..46].copy_from_slice(&[0x12, 0x34]);
        let first = bench.data(0x10 | 0x40 | 2 << 8, 6, &message);
        bench.push(&mut set.tx, &[first, [8, 0]]);
        bench.run(20 * MICROSECOND);
        let entries = bench.read(&mut set.tx_cq);
        assert_eq!(bench.plane.take_tx_stamp(0x1235, 14), None);
        let time = bench.plane.take_tx_stamp(0x1234, 14).unwrap();
        assert_eq!(bench.plane.take_tx_stamp(0x1234, 14), None);
        assert!((1..20_000).contains(&time));
        assert_eq!(entries[0], [6 << 32, 1]);
        if flags == 8 && chip.p5() {
            assert_eq!(entries[1..], [[4 | 6 << 32, time << 32 | 1]]);
        } else {
            assert_eq!(entries.len(), 1);
        }
        bench.assert_clean();
    }
}
