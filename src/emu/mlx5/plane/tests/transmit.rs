//! What becomes of entries of send queues.

use super::*;
use crate::emu::frame::{Parsed, Verdict};

/// Sends an entry, and what it came to: opcode, syndrome, vendor's addition.
pub fn outcome(bench: &mut Bench, set: &mut Set, words: &[u32]) -> Option<(u8, u8, u8)> {
    bench.push(&mut set.sq, words);
    bench.run(20 * MICROSECOND);
    let entries = bench.read(&mut set.tx_cq);
    entries.first().map(|entry| (verdict(entry).0, verdict(entry).1, if entry[63] >= 0xd0 { entry[0x36] } else { 0 }))
}

/// What was received, as frames.
pub fn received(bench: &mut Bench, set: &mut Set) -> Vec<Vec<u8>> {
    let entries = bench.read(&mut set.rx_cq);
    let frame = |entry: &Vec<u8>| {
        let at = bench.buffer(set.rq, u16_at(entry, 0x3c));
        bench.bytes(at, u32_at(entry, 0x2c) as usize)
    };
    entries.iter().map(frame).collect()
}

/// A TCP segment with a timestamp option, headers of 66 bytes.
pub fn tcp(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 9]);
    let builder = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9).tcp(4000, 80, 7, 512).psh().ack(3);
    let timestamp = etherparse::TcpOptionElement::Timestamp(1, 2);
    builder.options(&[timestamp]).unwrap().write(&mut frame, payload).unwrap();
    frame
}

#[test]
fn completions_come_where_they_are_asked_for_and_urgent_ones_tell() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    // Armed for urgent ones only.
    bench.put_words(set.tx_cq.record + 4, &[1 << 24]);
    bench.bell(0x20, &[(1_u32 << 24).to_be_bytes(), set.tx_cq.id.to_be_bytes()].concat());
    for (complete, count, events) in [(0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 1, 1)] {
        let rest = bench.packet(&frame(60), 18, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, complete, &rest);
        bench.push(&mut set.sq, &words);
        bench.run(20 * MICROSECOND);
        assert_eq!((bench.read(&mut set.tx_cq).len(), bench.poll(&mut set.eq).len()), (count, events), "{complete}");
    }
    let words = Bench::entry_of(set.sq, 0, 2, &[]);
    assert_eq!(outcome(&mut bench, &mut set, &words), Some((0, 0, 0)));
    assert_eq!(received(&mut bench, &mut set).len(), 4, "an entry that does nothing sends nothing");
    bench.assert_clean();
}

#[test]
fn checksums_are_filled_in_where_that_is_asked_for() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let mut packet = udp([10, 0, 0, 2], 53, &[7; 300]);
    packet[24..26].fill(0x55);
    packet[40..42].fill(0x55);
    for (flags, ip, transport) in [(0, Verdict::Bad, Verdict::Bad), (0xc0, Verdict::Good, Verdict::Good)] {
        let rest = bench.packet(&packet, 18, flags, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        bench.push(&mut set.sq, &words);
        bench.run(20 * MICROSECOND);
        let got = received(&mut bench, &mut set);
        let parsed = Parsed::of(&got[0]);
        assert_eq!((parsed.ip_checksum(&got[0]), parsed.l4_checksum(&got[0])), (ip, transport));
    }
    assert_eq!(bench.board.used.summed, 1);
    bench.assert_clean();
}

#[test]
fn an_entry_may_hold_its_packet_and_go_round_the_end_of_the_ring() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    for n in 0..40_u8 {
        // Inline from the header on: 18 bytes, and 100 in a segment.
        let mut packet = frame(118);
        packet[50] = n;
        let mut rest = bench.packet(&packet[..18], 18, 0, 0);
        rest.push(0x8000_0064);
        rest.extend(packet[18..].as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word)));
        while !rest.len().is_multiple_of(4) {
            rest.push(0);
        }
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        assert_eq!(words.len().div_ceil(16), 3);
        assert_eq!(outcome(&mut bench, &mut set, &words), Some((0, 0, 0)));
        assert_eq!(received(&mut bench, &mut set), [packet]);
        bench.post(&mut set.rq, 1, 2048);
    }
    bench.assert_clean();
}

#[test]
fn what_makes_no_sense_is_an_error_and_stops_the_queue() {
    type Spoil = fn(&mut Vec<u32>);
    let cases: [(Spoil, u8, &str); 8] = [
        (|words| words[1] &= !0x3f, 2, "without segments"),
        (|words| words[1] |= 0x3f, 2, "beyond its doorbell"),
        (|words| words[0] += 0x100, 2, "another position"),
        (|words| words[1] += 0x100, 2, "another queue"),
        (|words| words[0] = 0x0d, 2, "opcode that there is not"),
        (|words| words[12] = 0, 4, "without length"),
        (|words| words[13] ^= 1, 4, "key that does not let"),
        (|words| words[14] = 0x7fff, 4, ""),
    ];
    for (n, (spoil, syndrome, rule)) in cases.into_iter().enumerate() {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        let rest = bench.packet(&frame(60), 18, 0, 0);
        let good = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        let mut words = good.clone();
        spoil(&mut words);
        bench.place(&mut set.sq, &words);
        let bell = [good[0].to_be_bytes(), good[1].to_be_bytes()].concat();
        bench.bell(0x800, &bell);
        bench.run(20 * MICROSECOND);
        let entries = bench.read(&mut set.tx_cq);
        assert_eq!(verdict(&entries[0]), (0xd, syndrome), "{n}");
        bench.assert_violated(rule);
        assert_eq!(bench.state(0x907, set.sq.id), 3, "{n}");
        assert_eq!(received(&mut bench, &mut set).len(), 0);
    }
}

#[test]
fn the_reserved_key_is_for_queues_that_may_use_it() {
    for (reserved, expected) in [(1, (0, 0)), (0, (0xd, 4))] {
        let mut bench = Bench::new("");
        let mut set = bench.start_with(|request| request.with(0x20, 31, 31, reserved), |request| request);
        bench.lkey = RESERVED_LKEY;
        bench.send(&mut set.sq, &frame(60));
        assert_eq!(verdict(&bench.read(&mut set.tx_cq)[0]), expected);
    }
    // Memory that is not there is an error of its own, and on a nasty card one of the
    // whole function.
    for options in ["", ",nasty"] {
        let mut bench = Bench::new(options);
        let mut set = bench.start();
        let mut rest = bench.packet(&frame(60), 18, 0, 0);
        let at = rest.len() - 2;
        rest[at] = 0x7fff;
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        bench.push(&mut set.sq, &words);
        bench.run(200 * MICROSECOND);
        let entry = &bench.read(&mut set.tx_cq)[0];
        assert_eq!((verdict(entry), entry[0x36]), ((0xd, 4), 0x52));
        assert_eq!(bench.plane.trouble(), (!options.is_empty()).then_some(0x0a));
    }
}

#[test]
fn a_queue_that_failed_is_flushed_and_can_be_set_going_again() {
    for nasty in [false, true] {
        let mut bench = Bench::new(if nasty { ",nasty" } else { "" });
        let mut set = bench.start();
        assert_eq!(bench.change(0x905, set.sq.id, 0, 1), Err(Status::BAD_QUEUE_STATE), "it is ready already");
        let bad = Bench::entry_of(set.sq, 0x0d, 0, &[]);
        bench.place(&mut set.sq, &bad);
        let mut bell = [0; 8];
        for _ in 0..4 {
            let words = Bench::entry_of(set.sq, 0, 0, &[]);
            bell = bench.place(&mut set.sq, &words);
        }
        bench.bell(0x800, &bell);
        bench.run(200 * MICROSECOND);
        let mut entries = bench.read(&mut set.tx_cq);
        assert!(if nasty { entries.len() < 5 } else { entries.len() == 5 }, "{}", entries.len());
        bench.run(30 * MILLISECOND);
        entries.append(&mut bench.read(&mut set.tx_cq));
        let verdicts: Vec<_> = entries.iter().map(|entry| verdict(entry)).collect();
        assert_eq!(verdicts, [(0xd, 2), (0xd, 5), (0xd, 5), (0xd, 5), (0xd, 5)]);
        assert_eq!((bench.state(0x907, set.sq.id), u16_at(&entries[4], 0x3c)), (3, 4));
        // A doorbell now is lost.
        bench.bell(0x800, &bell);
        assert_eq!(bench.plane.counters.lost_doorbells, 1);
        assert_eq!(bench.change(0x905, set.sq.id, 3, 1), Err(Status::BAD_QUEUE_STATE));
        bench.change(0x905, set.sq.id, 3, 0).unwrap();
        bench.put_words(set.sq.record + 4, &[0]);
        set.sq.next = 0;
        bench.ready(0x905, set.sq.id);
        bench.send(&mut set.sq, &frame(60));
        bench.run(100 * MICROSECOND);
        let entries = bench.read(&mut set.tx_cq);
        assert_eq!((entries.len(), verdict(&entries[0]), u16_at(&entries[0], 0x3c)), (1, (0, 0), 0));
    }
    // Without flush_in_error_en nothing more comes.
    let mut bench = Bench::new("");
    let mut set = bench.start_with(|request| request.with(0x20, 28, 28, 0), |request| request);
    let bad = Bench::entry_of(set.sq, 0x0d, 0, &[]);
    bench.push(&mut set.sq, &bad);
    bench.run(MILLISECOND);
    let words = Bench::entry_of(set.sq, 0, 2, &[]);
    bench.push(&mut set.sq, &words);
    bench.run(MILLISECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
}

#[test]
fn what_the_record_holds_when_a_queue_becomes_ready_counts() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.send(&mut set.sq, &frame(60));
    assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
    bench.change(0x905, set.sq.id, 1, 0).unwrap();
    // The record was not zeroed: the old entry is sent again.
    bench.ready(0x905, set.sq.id);
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
}

#[test]
fn a_packet_without_the_headers_inline_does_not_leave() {
    // Which mode the card has, and the vport; bytes inline; whether it leaves.
    let packet = udp([10, 0, 0, 2], 53, &[7; 300]);
    let mut tagged = packet.clone();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let cases = [
        (1, 1, &packet, 13, false),
        (1, 1, &packet, 14, true),
        (1, 1, &tagged, 14, false),
        (1, 1, &tagged, 18, true),
        (0, 3, &packet, 14, true),
        (1, 2, &packet, 33, false),
        (1, 2, &packet, 34, true),
        (1, 3, &packet, 34, false),
        (1, 3, &packet, 42, true),
        (1, 0, &packet, 0, true),
        (2, 1, &packet, 0, true),
    ];
    for (card, vport, packet, inline, leaves) in cases {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        (bench.plane.limits.inline_mode, bench.plane.vport.inline) = (card, vport);
        let rest = bench.packet(packet, inline, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        assert_eq!(outcome(&mut bench, &mut set, &words), Some((0, 0, 0)));
        assert_eq!(received(&mut bench, &mut set).len(), usize::from(leaves), "{card} {vport} {inline}");
        assert_eq!(bench.plane.counters.short_inline, u64::from(!leaves));
        bench.assert_clean();
    }
}

#[test]
fn a_nasty_card_wants_18_bytes_inline_and_may_call_less_an_error() {
    let mut verdicts = std::collections::BTreeSet::new();
    for seed in 1..20 {
        let mut bench = Bench::new(&format!(",nasty,seed={seed}"));
        let mut set = bench.start();
        let rest = bench.packet(&frame(60), 14, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        bench.push(&mut set.sq, &words);
        bench.run(200 * MICROSECOND);
        verdicts.insert(verdict(&bench.read(&mut set.tx_cq)[0]));
        assert_eq!(bench.read(&mut set.rx_cq).len(), 0);
    }
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), [(0, 0), (0xd, 2)]);
}

#[test]
fn a_tag_is_inserted_by_cards_that_can() {
    for can in [false, true] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        (bench.plane.limits.vlan_insert, bench.plane.limits.inline_mode) = (can, 2);
        let mut rest = bench.packet(&frame(100), 0, 0, 0);
        rest[3] = 0x8000_6005;
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        assert_eq!(outcome(&mut bench, &mut set, &words), Some((0, 0, 0)));
        let got = received(&mut bench, &mut set);
        let tag = if can { vec![0x81, 0x00, 0x60, 0x05] } else { vec![] };
        assert_eq!(got[0], [&frame(100)[..12], &tag, &frame(100)[12..]].concat());
    }
}

#[test]
fn short_frames_are_filled_up_by_cards_that_can() {
    for can in [true, false] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        bench.plane.limits.pad_tx = can;
        bench.send(&mut set.sq, &frame(42));
        bench.send(&mut set.sq, &frame(18));
        assert_eq!(bench.read(&mut set.tx_cq).len(), 2);
        let got = received(&mut bench, &mut set);
        assert_eq!(got.len(), if can { 2 } else { 0 });
        assert!(got.iter().all(|frame| frame.len() == 60));
        assert_eq!((bench.plane.port.tx.total(), bench.plane.counters.tx_errors), (2, 0), "they left, short or not");
        bench.assert_clean();
    }
}

#[test]
fn frames_longer_than_the_vports_do_not_leave() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.send(&mut set.sq, &frame(1518));
    bench.send(&mut set.sq, &frame(1519));
    assert_eq!((bench.read(&mut set.tx_cq).len(), received(&mut bench, &mut set).len()), (2, 1));
    assert_eq!(bench.plane.counters.tx_errors, 1);
    bench.assert_clean();
}

#[test]
fn several_packets_may_come_in_one_entry_of_cards_that_can() {
    let several = |bench: &mut Bench, inline| {
        let mut rest = bench.packet(&frame(60)[..inline], inline, 0, 0);
        for len in [60, 100, 300] {
            rest.extend(bench.data(&frame(len)));
        }
        rest
    };
    for (mode, inline, count) in [(2, 0, 3), (1, 0, 0), (2, 2, 0)] {
        let mut bench = Bench::new("");
        (bench.plane.limits.enhanced_multi_packet, bench.plane.limits.inline_mode) = (true, mode);
        let mut set = bench.start();
        let rest = several(&mut bench, inline);
        let words = Bench::entry_of(set.sq, 0x29, 2, &rest);
        assert_eq!(outcome(&mut bench, &mut set, &words), Some((0, 0, 0)));
        let got = received(&mut bench, &mut set);
        assert_eq!(got, [60, 100, 300].map(frame)[..count]);
        bench.assert_clean();
    }
    // The card cannot, whatever its queue asked for: that is for the older form of it.
    let mut bench = Bench::new("");
    let mut set = bench.start_with(|request| request.with(0x20, 27, 27, 1), |request| request);
    let rest = several(&mut bench, 0);
    let words = Bench::entry_of(set.sq, 0x29, 2, &rest);
    assert_eq!(outcome(&mut bench, &mut set, &words), Some((0xd, 2, 0x68)));
}

#[test]
fn own_frames_come_back_where_vport_and_receiver_let_them() {
    let own = {
        let mut own = frame(60);
        own[..6].copy_from_slice(&OWN);
        own
    };
    // Off at the vport, bits of the TIR; how often it comes, and whether it left the card.
    for (off, bits, count, left) in [(false, 0, 1, 1), (false, 1, 1, 0), (true, 1, 1, 1), (false, 2, 1, 1)] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        bench.plane.vport.no_loopback[0] = off;
        let request = Request::new(0x901, 0x110).with(0x08, 23, 0, set.tir).with(0x14, 31, 0, 1 << 4);
        bench.done(&request.with(0x44, 25, 24, bits).with(0x44, 23, 0, bench.td));
        bench.send(&mut set.sq, &own);
        // What left the card comes back as well: the wire is a loop.
        assert_eq!(received(&mut bench, &mut set).len(), count);
        assert_eq!(bench.plane.port.tx.total(), left, "{off} {bits}");
        assert_eq!(bench.plane.counters.looped[0], 1 - left);
        bench.assert_clean();
    }
    // Frames to many leave too.
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let request = Request::new(0x901, 0x110).with(0x08, 23, 0, set.tir).with(0x14, 31, 0, 1 << 4);
    bench.done(&request.with(0x44, 25, 24, 2).with(0x44, 23, 0, bench.td));
    let mut many = own;
    many[0] = 0x33;
    bench.send(&mut set.sq, &many);
    assert_eq!((received(&mut bench, &mut set).len(), bench.plane.port.tx.total()), (2, 1));
    bench.assert_clean();
}

#[test]
fn nothing_is_sent_without_a_link_and_the_port_may_loop() {
    let mut bench = Bench::new(",wire=sink");
    let mut set = bench.start();
    bench.plane.set_link(false);
    let nothing = Bench::entry_of(set.sq, 0, 2, &[]);
    assert_eq!(outcome(&mut bench, &mut set, &nothing), Some((0, 0, 0)), "what is not sent needs no link");
    bench.send(&mut set.sq, &frame(60));
    assert_eq!(bench.read(&mut set.tx_cq).len(), 0);
    bench.plane.set_link(true);
    bench.run(20 * MICROSECOND);
    assert_eq!((bench.read(&mut set.tx_cq).len(), received(&mut bench, &mut set).len()), (1, 0));
    bench.plane.set_loopback(true);
    bench.run(MICROSECOND);
    bench.send(&mut set.sq, &frame(60));
    assert_eq!(received(&mut bench, &mut set).len(), 1);
    bench.assert_clean();
}

#[test]
fn a_queue_without_a_way_out_takes_what_is_not_sent() {
    let mut bench = Bench::new("");
    let mut set = bench.start_with(|request| request.with(0x40, 31, 16, 0).with(0x4c, 23, 0, 0), |request| request);
    let nothing = Bench::entry_of(set.sq, 0, 2, &[]);
    assert_eq!(outcome(&mut bench, &mut set, &nothing), Some((0, 0, 0)));
    bench.assert_clean();
    let rest = bench.packet(&frame(60), 18, 0, 0);
    let packet = Bench::entry_of(set.sq, 0x0a, 2, &rest);
    assert_eq!(outcome(&mut bench, &mut set, &packet), Some((0xd, 2, 0x68)));
    bench.assert_violated("without a way out");
}

#[test]
fn stamps_are_of_the_clock_that_the_queue_asked_for() {
    let mut bench = Bench::new("");
    bench.plane.limits.sq_stamps = 2;
    bench.run(MILLISECOND);
    let now = bench.board.now;
    bench.plane.clock.set(5_000_000_000, now);
    let mut set = bench.start_with(|request| request.with(0x20, 5, 4, 2), |request| request);
    bench.send(&mut set.sq, &frame(60));
    let (sent, got) = (bench.read(&mut set.tx_cq), bench.read(&mut set.rx_cq));
    assert_eq!(u32_at(&sent[0], 0x30), 5);
    assert!(u32_at(&sent[0], 0x34) < 20_000);
    // 275 ticks in a microsecond.
    let ticks = super::super::be::u64_at(&got[0], 0x30);
    assert!((275_000..275_000 + 20 * 275).contains(&ticks), "{ticks}");
    bench.assert_clean();
}

#[test]
fn a_nasty_clock_soon_wraps_its_lower_half_and_begins_in_1970() {
    let mut bench = Bench::new(",nasty");
    let clock = &bench.plane.clock;
    assert!(clock.ticks(0) < 1 << 32 && clock.ticks(20_000 * MICROSECOND) >> 32 == 1);
    assert_eq!(clock.real(2_500_000 * MICROSECOND), 2 << 32 | 500_000_000);
    let mut clock = *clock;
    clock.set(1_700_000_000_999_999_999, 0);
    assert_eq!((clock.real(0) >> 32, clock.real(0) as u32), (1_700_000_000, 999_999_999));
    clock.tune(1000, 0);
    assert_eq!(clock.time(1_000_000 * MICROSECOND) - clock.time(0), 1_000_001_000);
    let clock = Clock::new(0, &mut bench.board);
    assert_eq!(clock.ticks(MILLISECOND), clock.ticks(0));
}

#[test]
fn frames_longer_than_the_ports_do_not_leave() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.plane.vport.mtu = 9022;
    bench.send(&mut set.sq, &frame(1519));
    bench.send(&mut set.sq, &frame(1518));
    assert_eq!(bench.read(&mut set.tx_cq).len(), 2);
    let port = bench.plane.port;
    assert_eq!((port.tx_errors, port.tx.total(), bench.plane.counters.tx_errors), (1, 1, 0));
    // Below what the port lets pass the vport's decides alone.
    bench.plane.port_mtu = 9022;
    bench.send(&mut set.sq, &frame(1519));
    assert_eq!(bench.plane.port.tx.total(), 2);
    bench.assert_clean();
}
