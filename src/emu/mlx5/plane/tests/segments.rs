//! Packets that the card cuts into segments.

use super::transmit::{outcome, received, tcp};
use super::*;
use crate::emu::frame::{Parsed, Verdict};

#[test]
fn a_packet_is_cut_into_segments() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let payload: Vec<u8> = (0..2896).map(|n| n as u8).collect();
    let packet = tcp(&payload);
    let rest = bench.packet(&packet, 66, 0xc0, 1448);
    let words = Bench::entry_of(set.sq, 0x0e, 2, &rest);
    assert_eq!((words[7] >> 16, outcome(&mut bench, &mut set, &words)), (66, Some((0, 0, 0))));
    let got = received(&mut bench, &mut set);
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [1514, 1514]);
    assert_eq!([&got[0][66..], &got[1][66..]].concat(), payload);
    assert_eq!((u32_at(&got[0], 38), u32_at(&got[1], 38), got[0][47] & 8, got[1][47] & 8), (7, 7 + 1448, 0, 8));
    for segment in &got {
        assert_eq!(Parsed::of(segment).l4_checksum(segment), Verdict::Good);
    }
    bench.assert_clean();
    // Headers that are not all inline, and no size of segments.
    for (inline, mss) in [(54, 1448), (66, 0)] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        let rest = bench.packet(&packet, inline, 0xc0, mss);
        let words = Bench::entry_of(set.sq, 0x0e, 2, &rest);
        assert_eq!(outcome(&mut bench, &mut set, &words), Some((0xd, 2, 0x68)));
        bench.assert_violated("segmentation");
    }
}

#[test]
fn a_short_tail_of_a_packet_that_is_cut_is_filled_up() {
    for can in [true, false] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        bench.plane.limits.pad_tx = can;
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 9]);
        let builder = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9).tcp(4000, 80, 7, 512).ack(3);
        builder.write(&mut packet, &[5; 101]).unwrap();
        let rest = bench.packet(&packet, 54, 0, 100);
        let words = Bench::entry_of(set.sq, 0x0e, 2, &rest);
        assert_eq!(outcome(&mut bench, &mut set, &words), Some((0, 0, 0)));
        assert_eq!(bench.plane.port.tx.octets(), 154 + if can { 60 } else { 55 });
        let got = received(&mut bench, &mut set);
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), if can { vec![154, 60] } else { vec![154] });
        bench.assert_clean();
    }
}

#[test]
fn headers_of_a_packet_that_is_cut_have_a_limit() {
    for (inline, rule) in [(192, "headers of that length"), (193, "without what it needs")] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        let rest = bench.packet(&tcp(&[5; 400]), inline, 0xc0, 100);
        let words = Bench::entry_of(set.sq, 0x0e, 2, &rest);
        assert_eq!(outcome(&mut bench, &mut set, &words), Some((0xd, 2, 0x68)));
        bench.assert_violated(rule);
    }
}
