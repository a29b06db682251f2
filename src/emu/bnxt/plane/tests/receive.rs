//! Frames in: buffers, what completions say, what is lost.

use super::*;
use crate::emu::frame::{Parsed, toeplitz};

/// Sends a frame and returns the record of its receipt.
fn round(bench: &mut Bench, set: &mut Set, frame: &[u8]) -> Vec<[u64; 2]> {
    bench.send(&mut set.tx, frame);
    bench.read(&mut set.tx_cq);
    bench.read(&mut set.rx_cq)
}

#[test]
fn completions_say_what_a_packet_is_and_whether_its_checksums_hold() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let good = udp([10, 0, 0, 2], 53, &[1; 40]);
    let [low, high] = round(&mut bench, &mut set, &good)[..] else { panic!() };
    assert_eq!((low[0] & 0xffff, high), (0x3011, [3, 1]));
    let mut bad = good.clone();
    bad[60] ^= 1;
    let [low, high] = round(&mut bench, &mut set, &bad)[..] else { panic!() };
    assert_eq!((low[0] & 0xffff, high), (0x3051, [3, 1 | 1 << 5]));
    bad[24] ^= 1;
    let [_, high] = round(&mut bench, &mut set, &bad)[..] else { panic!() };
    assert_eq!(high, [3, 1 | 1 << 5 | 1 << 4]);
    let mut v6 = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 9);
    builder.icmpv6_echo_request(1, 2).write(&mut v6, &[5; 30]).unwrap();
    let [low, high] = round(&mut bench, &mut set, &v6)[..] else { panic!() };
    assert_eq!((low[0] & 0xffff, high), (0x7011, [1 << 8, 1]));
    bench.assert_clean();
}

#[test]
fn tags_are_taken_off_where_that_is_asked_for() {
    for strip in [false, true] {
        let mut bench = Bench::new(Chip::P5, "");
        let mut set = bench.start();
        let flags = if strip { 2 } else { 0 };
        bench.plane.configure_vnic(&VnicSpec { flags, ..vnic_spec(set.vnic, 0) }).unwrap();
        let mut tagged = frame(100);
        tagged.splice(12..12, [0x88, 0xa8, 0xa1, 0x23]);
        let [low, high] = round(&mut bench, &mut set, &tagged)[..] else { panic!() };
        if strip {
            assert_eq!((low[0] >> 16 & 0xffff, high[0]), (100, 0x88a8_a123_0000_0010));
            assert_eq!(bench.buffer(set.rx, 0, 100), frame(100));
        } else {
            assert_eq!((low[0] >> 16 & 0xffff, high[0]), (104, 0));
            assert_eq!(bench.buffer(set.rx, 0, 104), tagged);
        }
        assert_eq!(bench.board.used.untagged, u64::from(strip));
    }
    let mut bench = Bench::new(Chip::P4, ",fault=vlan");
    let mut set = bench.start();
    let mut tagged = frame(100);
    tagged.splice(12..12, [0x81, 0, 0, 9]);
    assert_eq!(round(&mut bench, &mut set, &tagged)[1][0], 0x8100_0009_0000_0010);
}

#[test]
fn longer_frames_than_a_vnic_takes_are_dropped() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let vnic = bench.plane.alloc_vnic(&mut bench.board).unwrap();
    assert_eq!(bench.plane.vnic(vnic.into()).unwrap().mru, 1518);
    bench.plane.free_vnic(set.vnic.into()).unwrap();
    bench.plane.configure_vnic(&VnicSpec { group: set.group, ..vnic_spec(vnic, 1) }).unwrap();
    bench.mask(vnic, 0x1a).unwrap();
    // A full frame with a tag is just short enough.
    assert_eq!(round(&mut bench, &mut set, &frame(1518)).len(), 2);
    assert!(round(&mut bench, &mut set, &frame(1519)).is_empty());
    assert_eq!(bench.plane.port().1[0xe0 / 8], 1);
    let more = VnicSpec { mru: 1522, ..vnic_spec(vnic, 0x10) };
    bench.plane.configure_vnic(&more).unwrap();
    assert_eq!(round(&mut bench, &mut set, &frame(1522)).len(), 2);
    let most = VnicSpec { mru: 9601, ..vnic_spec(vnic, 0x10) };
    assert_eq!(bench.plane.configure_vnic(&most), Err(Refusal::INVALID));
    bench.assert_clean();
}

#[test]
fn what_finds_no_buffer_is_counted() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        for _ in 0..RING + 4 {
            round(&mut bench, &mut set, &frame(60));
        }
        let counters = bench.plane.stat(set.stat.into()).unwrap();
        assert_eq!((counters.rx_packets[0], counters.rx_discards), (u64::from(RING) - 1, 5));
        assert_eq!(bench.plane.port().1[0x200 / 8], 5);
        bench.post(&mut set.rx, 1, 2048, 0x04);
        assert_eq!(round(&mut bench, &mut set, &frame(60)).len(), 2);
        bench.assert_clean();
    }
}

#[test]
fn a_frame_too_long_for_its_buffer_kills_the_ring_on_p4_only() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        let record = round(&mut bench, &mut set, &frame(3000));
        assert_eq!((record[0][0], record[1][1]), (0x51 | 2048 << 16, 3));
        assert_eq!(bench.plane.stat(set.stat.into()).unwrap().rx_errors, 1);
        let after = round(&mut bench, &mut set, &frame(60));
        assert_eq!(after.len(), if chip.p5() { 2 } else { 0 });
        if !chip.p5() {
            // Both rings start over, empty.
            bench.plane.reset_group(set.group).unwrap();
            set.rx.next = 0;
            bench.post(&mut set.rx, 4, 2048, 0x04);
            assert_eq!(round(&mut bench, &mut set, &frame(60))[0][0], 0x11 | 60 << 16);
            assert_eq!(bench.plane.reset_group(99), Err(Refusal::INVALID));
        }
        bench.assert_clean();
    }
}

#[test]
fn the_next_descriptor_is_read_before_its_frame_comes() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        round(&mut bench, &mut set, &frame(60));
        let [next, later] = [1, 2].map(|n| bench.words(set.rx.at + 16 * n));
        // A driver may not, any more: the card has it.
        bench.put_words(set.rx.at + 16, later);
        assert_eq!(round(&mut bench, &mut set, &frame(61))[0][0] >> 32, next[0] >> 32);
        assert_eq!(bench.buffer(set.rx, 2, 61), vec![0; 61], "nothing is there yet");
        assert_eq!(round(&mut bench, &mut set, &frame(62))[0][0] >> 32, later[0] >> 32);
        assert_eq!(bench.buffer(set.rx, 2, 62), frame(62));
        bench.assert_clean();
    }
}

#[test]
fn a_ring_whose_descriptors_are_gone_counts_an_error_and_is_dead() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        let arena = bench.elsewhere();
        let (cq, stat) = (set.rx_cq, set.stat);
        let p5 = chip.p5();
        let rx = bench.ring(RingKind::Receive, RING, |spec| {
            (spec.address, spec.logical_id) = (arena.iova(4096), 9);
            if p5 {
                (spec.enables, spec.buffer, spec.stat) = (BUFFER, 2048, stat.into());
            }
        });
        let group = if p5 { 0 } else { bench.group(cq, rx, None, stat) };
        let to = VnicSpec { group, rx: rx.id, cq: cq.id, ..vnic_spec(set.vnic, if p5 { 0x60 } else { 1 }) };
        bench.plane.configure_vnic(&to).unwrap();
        bench.bell(rx, SRQ, 4);
        bench.forget(&arena);
        for _ in 0..2 {
            assert!(round(&mut bench, &mut set, &frame(60)).is_empty());
        }
        let counters = bench.plane.stat(stat.into()).unwrap();
        assert_eq!((counters.rx_errors, counters.rx_discards), (1, 1));
        bench.assert_violated("outside mapped memory");
    }
}

#[test]
fn a_frame_whose_buffers_are_no_memory_is_an_error() {
    // At the very end of addresses, where a length wraps.
    for address in [0xdead_0000, u64::MAX, u64::MAX - 63] {
        for (size, flags) in [(2048, 0x04), (2048, 0x44)] {
            let mut bench = Bench::new(Chip::P5, "");
            let mut set = bench.start();
            bench.put_words(set.rx.at, [flags | size << 16, address]);
            let record = round(&mut bench, &mut set, &frame(60));
            assert_eq!((record[0][0] & 0xff, record[1][1]), (0x51, 7), "{address:#x}");
            assert_eq!(bench.plane.stat(set.stat.into()).unwrap().rx_errors, 1);
        }
        // The same of a buffer for the rest of a frame.
        let mut bench = Bench::new(Chip::P5, "");
        let mut set = bench.start_with(true);
        let mut agg = set.agg.unwrap();
        bench.post(&mut agg, 8, 2048, 0x06);
        bench.put_words(agg.at, [0x06 | 2048 << 16, address]);
        let jumbo = Placement { flags: 2, jumbo: 1000, ..Placement::default() };
        bench.plane.set_placement(set.vnic.into(), 1, jumbo).unwrap();
        let record = round(&mut bench, &mut set, &frame(3000));
        assert_eq!((record.len(), record[0][0] & 0xff, record[1][1]), (3, 0xd1, 7));
    }
}

#[test]
fn hashes_spread_over_groups_or_pairs_of_rings() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        let nq = set.nq.map(|nq| nq.id);
        let mut cqs = vec![set.rx_cq];
        let (mut rings, mut groups) = (vec![set.rx], vec![set.group]);
        for _ in 1..4 {
            let cq = bench.cq(128, nq);
            let mut rx = bench.rx_ring(cq.slot, set.stat);
            groups.push(if chip.p5() { 0 } else { bench.group(cq, rx, None, set.stat) });
            bench.post(&mut rx, RING - 1, 2048, 0x04);
            cqs.push(cq);
            rings.push(rx);
        }
        let context = bench.plane.alloc_context(&mut bench.board).unwrap();
        let entry = |n: usize| match chip {
            Chip::P4 => groups[n % 4].to_le_bytes().to_vec(),
            Chip::P5 => [rings[n % 4].id, cqs[n % 4].id].map(u16::to_le_bytes).concat(),
        };
        let table: Vec<u8> = (0..chip.table()).flat_map(entry).collect();
        let key: Vec<u8> = (0..40u32).map(|n| (n * 73 + 5) as u8).collect();
        let (table_at, key_at) = (bench.take(4096), bench.take(4096));
        bench.put(table_at, &table);
        bench.put(key_at, &key);
        let rss = RssSpec {
            types: 0x3f,
            vnic: set.vnic,
            pair: 0,
            table: bench.iova(table_at),
            key: bench.iova(key_at),
            context,
        };
        bench.plane.set_rss(&mut bench.board, &rss).unwrap();
        let mut hit = [0; 4];
        for n in 0..40u8 {
            let packet = udp([10, 0, 0, n], 1000 + u16::from(n), &[n; 30]);
            bench.send(&mut set.tx, &packet);
            bench.read(&mut set.tx_cq);
            let (parsed, mut input) = (Parsed::of(&packet), [0; 36]);
            let len = parsed.rss_input(&packet, true, &mut input);
            let hash = toeplitz(key[..].try_into().unwrap(), &input[..len]);
            let q = (hash % 4) as usize;
            let record = bench.read(&mut cqs[q]);
            assert_eq!((record.len(), record[0][1] >> 32), (2, u64::from(hash)));
            assert_eq!((record[0][0] >> 10 & 1, record[0][1] >> 9 & 0x7f), (1, 1));
            hit[q] += 1;
        }
        assert!(hit.iter().all(|hits| *hits > 0), "{hit:?}");
        // What is not hashed goes to the default.
        bench.send(&mut set.tx, &frame(60));
        assert_eq!(bench.read(&mut cqs[0])[0][0] >> 10 & 1, 0);
        // Less than was asked for is not what reads back.
        let tcp = RssSpec { types: 2, ..rss };
        bench.plane.set_rss(&mut bench.board, &tcp).unwrap();
        assert_eq!(bench.plane.rss(context).unwrap().0, 6);
        bench.assert_clean();
    }
}

#[test]
fn a_vnic_spreads_over_the_tables_of_all_its_contexts() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let cq = bench.cq(128, set.nq.map(|nq| nq.id));
    let mut rx = bench.rx_ring(cq.slot, set.stat);
    bench.post(&mut rx, RING - 1, 2048, 0x04);
    for (pair, (rx, cq)) in [(set.rx, set.rx_cq), (rx, cq)].into_iter().enumerate() {
        let context = bench.plane.alloc_context(&mut bench.board).unwrap();
        let at = bench.take(4096);
        bench.put(at, &[rx.id, cq.id].map(u16::to_le_bytes).concat().repeat(64));
        let (vnic, pair, table) = (set.vnic, pair as u8, bench.iova(at));
        let spec = RssSpec { types: 1, vnic, pair, table, key: table, context };
        bench.plane.set_rss(&mut bench.board, &spec).unwrap();
    }
    let (mut first, mut second) = (0, 0);
    let mut other = cq;
    for n in 0..20u8 {
        bench.send(&mut set.tx, &udp([10, n, 0, n], 9, &[0; 20]));
        bench.read(&mut set.tx_cq);
        let (a, b) = (bench.read(&mut set.rx_cq), bench.read(&mut other));
        for record in [&a, &b] {
            if let Some([low, _]) = record.first() {
                assert_eq!(*low & 0x11, 0x11);
            }
        }
        let hash = a.first().or(b.first()).map_or(0, |entry| entry[1] >> 32);
        assert_eq!((a.is_empty(), b.is_empty()), (hash % 128 >= 64, hash % 128 < 64));
        (first, second) = (first + a.len(), second + b.len());
    }
    assert!(first > 0 && second > 0);
    bench.assert_clean();
}

#[test]
fn stamps_are_of_all_or_of_ptp_messages() {
    let mut message = frame(80);
    message[12..14].copy_from_slice(&[0x88, 0xf7]);
    message[14] = 0;
    message[44..46].copy_from_slice(&[0, 9]);
    for (chip, which, plain, ptp) in [
        (Chip::P5, RxStamps::None, false, false),
        (Chip::P5, RxStamps::Ptp, false, true),
        (Chip::P5, RxStamps::All, true, true),
        (Chip::P4, RxStamps::All, false, false),
    ] {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        bench.plane.set_rx_stamps(which);
        let [low, high] = round(&mut bench, &mut set, &frame(60))[..] else { panic!() };
        assert_eq!((low[0] >> 12 & 0xf, high[1] >> 32 != 0), (0, plain));
        let [low, high] = round(&mut bench, &mut set, &message)[..] else { panic!() };
        assert_eq!((low[0] >> 12 & 0xf, high[1] >> 32 != 0), (if ptp { 9 } else { 8 }, ptp));
        assert_eq!(bench.plane.rx_stamp().map(|(_, sequence)| sequence), ptp.then_some(9));
    }
}

#[test]
fn an_opaque_value_may_come_twice() {
    let mut bench = Bench::new(Chip::P4, ",fault=opaque:3");
    let mut set = bench.start();
    let opaque: Vec<u64> = (0..4).map(|_| round(&mut bench, &mut set, &frame(60))[0][0] >> 32).collect();
    assert_eq!(opaque, [0, 1, 1, 3]);
}

#[test]
fn counters_are_written_as_often_as_asked() {
    let mut bench = Bench::new(Chip::P4, "");
    let at = bench.take(4096);
    bench.put(at, &[0xee; 184]);
    let stat = bench.plane.alloc_stat(&mut bench.board, bench.arena.iova(at), 1, 160).unwrap();
    let mut set = bench.start();
    let tx = bench.cq(64, None);
    let mut tx = bench.tx_ring(tx, stat);
    bench.send(&mut tx, &frame(100));
    round(&mut bench, &mut set, &frame(60));
    bench.run(1000 * MICROSECOND);
    let words: Vec<u64> = (0..20).map(|n| u64::from_le_bytes(bench.bytes(at + 8 * n, 8).try_into().unwrap())).collect();
    assert_eq!((words[8], words[13], words[16..].iter().sum::<u64>()), (1, 100, 0));
    assert_eq!(bench.bytes(at + 160, 8), [0xee; 8]);
    assert_eq!(bench.plane.stat(99), Err(Refusal::INVALID));
    bench.plane.clear_stat(stat.into()).unwrap();
    assert_eq!(bench.plane.stat(stat.into()).unwrap(), Counters::default());
    bench.assert_clean();
}

#[test]
fn counters_start_anywhere_and_wrap_on_a_nasty_card() {
    let mut bench = Bench::new(Chip::P5, ",nasty");
    let mut set = bench.start();
    let before = bench.plane.stat(set.stat.into()).unwrap();
    assert!(before.rx_packets[0] > 1 << 39);
    for _ in 0..20 {
        round(&mut bench, &mut set, &frame(9000));
    }
    let after = bench.plane.stat(set.stat.into()).unwrap();
    let grown = |now: u64, then: u64| now.wrapping_sub(then) & ((1 << 40) - 1);
    assert_eq!(grown(after.tx_packets[0], before.tx_packets[0]), 20);
    assert!(after.tx_bytes[0] < before.tx_bytes[0]);
    bench.plane.clear_stat(set.stat.into()).unwrap();
    assert_eq!(bench.plane.stat(set.stat.into()).unwrap(), Counters::default());
}
