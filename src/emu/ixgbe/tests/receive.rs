//! Filters, queues and what descriptors say.

use super::*;
use etherparse::PacketBuilder;

/// The key of the published verification suite, in register order.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

fn udp(src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16, payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 9).udp(sport, dport);
    builder.write(&mut frame, &vec![0x5a; payload]).unwrap();
    frame
}

fn set_rss(bench: &Bench, queues: u8, fields: u32) {
    for (n, word) in KEY.chunks_exact(4).enumerate() {
        bench.write(0x5c80 + 4 * n as u64, u32::from_le_bytes(word.try_into().unwrap()));
    }
    for n in 0..32u32 {
        let entry = |i: u32| (4 * n + i) as u8 % queues;
        let word = u32::from_le_bytes([entry(0), entry(1), entry(2), entry(3)]);
        bench.write(0x5c00 + 4 * u64::from(n), word);
    }
    bench.write(0x5000, 0x2000);
    bench.write(0x5818, 1 | fields);
}

#[test]
fn rss_spreads_flows_and_reports_the_published_hash() {
    let mut bench = Bench::new("82599,strict");
    set_rss(&bench, 4, 0x0041_0000 | 0x0002_0000);
    bench.receive_on(4);
    bench.transmit_on(1);
    // The first vector, as UDP: the hash covers the same bytes.
    let frame = udp([66, 9, 149, 187], [161, 142, 100, 80], 2794, 1766, 40);
    bench.send(0, &frame);
    bench.run(20_000_000);
    let hash = 0x51cc_c178_u32;
    let q = (hash as usize & 127) % 4;
    let (_, words) = bench.receive(q).unwrap();
    assert_eq!((words[0] >> 32) as u32, hash);
    // UDP over IPv4 with its hash: type 7, packet type IPv4 and UDP.
    assert_eq!(words[0] & 0xffff, 0x0217);

    let mut seen = [0; 4];
    for flow in 0..32u16 {
        bench.send(0, &udp([10, 0, 0, 1], [10, 0, 0, 2], 1000 + flow, 53, 40));
        bench.run(20_000_000);
        for (q, seen) in seen.iter_mut().enumerate() {
            *seen += usize::from(bench.receive(q).is_some());
        }
    }
    assert_eq!(seen.iter().sum::<usize>(), 32);
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    bench.assert_clean();
}

#[test]
fn only_wanted_addresses_and_vlans_come_through() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let own: [u8; 6] = {
        let (low, high) = (bench.read(0x5400).to_le_bytes(), bench.read(0x5404).to_le_bytes());
        [low[0], low[1], low[2], low[3], high[0], high[1]]
    };
    assert_eq!(own[..3], [0x00, 0x1b, 0x21]);
    let passes_as = |bench: &mut Bench, to: [u8; 6], kind: [u8; 2], tag: Option<u16>| {
        let mut frame = frame(100);
        frame[..6].copy_from_slice(&to);
        if let Some(tag) = tag {
            frame.splice(12..12, [kind[0], kind[1], (tag >> 8) as u8, tag as u8]);
        }
        bench.send(0, &frame);
        bench.run(20_000_000);
        bench.receive(0).is_some()
    };
    let passes = |bench: &mut Bench, to, tag| passes_as(bench, to, [0x81, 0], tag);
    // Broadcast only.
    bench.write(0x5080, 0x400);
    assert!(passes(&mut bench, own, None));
    assert!(passes(&mut bench, [0xff; 6], None));
    assert!(!passes(&mut bench, [2, 0, 0, 0, 0, 9], None));
    assert!(!passes(&mut bench, [1, 0, 0x5e, 0, 0, 1], None));
    // A second exact address, through the other address of RAL(1).
    bench.write(0xa208, 0x0000_0002);
    bench.write(0xa20c, 0x8000_0900);
    assert!(passes(&mut bench, [2, 0, 0, 0, 0, 9], None));
    // The multicast table: bits 47:36 of 01:00:5e:00:00:01 are 0x010.
    bench.write(0x5200, 1 << 16);
    bench.write(0x5090, 4);
    assert!(passes(&mut bench, [1, 0, 0x5e, 0, 0, 1], None));
    assert!(!passes(&mut bench, [1, 0, 0x5e, 0, 0, 0x51], None));
    // VLAN 100 only; untagged frames pass.
    bench.write(0xa000 + 4 * 3, 1 << 4);
    bench.write(0x5088, 0x4000_8100);
    assert!(passes(&mut bench, own, Some(0x6064)));
    assert!(!passes(&mut bench, own, Some(101)));
    assert!(passes(&mut bench, own, None));
    // What has another EtherType than VET has no tag here.
    assert!(passes_as(&mut bench, own, [0x88, 0xa8], Some(101)));
    bench.write(0x5088, 0x4000_88a8);
    assert!(!passes_as(&mut bench, own, [0x88, 0xa8], Some(101)));
    assert!(passes(&mut bench, own, Some(101)));
    bench.assert_clean();
}

#[test]
fn a_stripped_tag_is_in_the_descriptor_and_not_in_the_frame() {
    let mut bench = Bench::new("82599,strict");
    bench.write(0x1028, 1 << 30);
    bench.receive_on(1);
    bench.transmit_on(1);
    let plain = frame(100);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 0x07]);
    bench.send(0, &tagged);
    bench.run(20_000_000);
    let (got, words) = bench.receive(0).unwrap();
    assert_eq!(got, plain);
    assert_eq!((words[1] >> 3 & 1, words[1] >> 48), (1, 0x2007));
    bench.assert_clean();
}

#[test]
fn checksum_verdicts_follow_the_datasheet() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let good = udp([10, 0, 0, 1], [10, 0, 0, 2], 7, 9, 50);
    let mut bad_ip = good.clone();
    bad_ip[22] ^= 1;
    let mut bad_udp = good.clone();
    bad_udp[50] ^= 1;
    let mut no_udp = good.clone();
    no_udp[40..42].fill(0);
    const IPCS: u64 = 1 << 6;
    const L4CS: u64 = 3 << 4;
    const TCPE: u64 = 1 << 30;
    const IPE: u64 = 1 << 31;
    for (frame, wanted) in [
        (good, IPCS | L4CS),
        (bad_ip, IPCS | IPE | L4CS),
        (bad_udp, IPCS | L4CS | TCPE),
        // The 82599's erratum.
        (no_udp, IPCS | L4CS | TCPE),
        (super::frame(80), 0),
    ] {
        bench.send(0, &frame);
        bench.run(20_000_000);
        let (_, words) = bench.receive(0).unwrap();
        assert_eq!(words[1] & 0xfff0_0070, wanted, "{:#x}", words[1]);
    }
    bench.assert_clean();
}

#[test]
fn a_jumbo_frame_lies_in_several_buffers() {
    let mut bench = Bench::new("82599,strict");
    bench.write(0x4240, bench.read(0x4240) | 4);
    bench.write(0x4268, 9018 << 16);
    bench.receive_on(1);
    bench.transmit_on(1);
    for len in [2048, 2049, 8192] {
        let frame = frame(len);
        bench.send(0, &frame);
        bench.run(40_000_000);
        assert_eq!(bench.receive(0).unwrap().0, frame);
    }
    // Longer than MAXFRS: dropped and counted.
    let long = bench.data(0, 0, &frame(8000));
    let more = bench.data(0, 1, &frame(1100));
    bench.tx_next[0] = 3;
    bench.push(0, [long, 8000 | 0x2230_0000 | 9100 << 46]);
    bench.push(0, [more, 1100 | 0x2b30_0000]);
    bench.ring_tx(0);
    bench.run(40_000_000);
    assert!(bench.receive(0).is_none());
    assert_eq!(bench.read(0x40ac), 1);
    bench.assert_clean();
}

#[test]
fn a_five_tuple_filter_steers_a_group_and_port_to_its_queue() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(2);
    bench.transmit_on(1);
    bench.write(0xe200 + 4 * 5, u32::from_le_bytes([239, 1, 1, 1]));
    bench.write(0xe400 + 4 * 5, u32::from_le_bytes([0, 0, 0x30, 0x39]));
    bench.write(0xe800 + 4 * 5, 0x0008_0000 | 1 << 21);
    // UDP; source address and port and the pool do not matter.
    bench.write(0xe600 + 4 * 5, 0xc000_0000 | 1 << 25 | 1 << 27 | 7 << 2 | 1);
    for (dst, port, q) in [([239, 1, 1, 1], 12345, 1), ([239, 1, 1, 1], 12346, 0), ([239, 1, 1, 2], 12345, 0)] {
        bench.send(0, &udp([10, 0, 0, 1], dst, 999, port, 30));
        bench.run(20_000_000);
        assert!(bench.receive(q).is_some());
        assert!(bench.receive(1 - q).is_none());
    }
    bench.assert_clean();
}

#[test]
fn an_ether_type_filter_comes_before_all_others() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(2);
    bench.transmit_on(1);
    bench.write(0x5128 + 4 * 3, 0x8000_88b5);
    bench.write(0xec00 + 4 * 3, 0x8000_0000 | 1 << 16);
    bench.send(0, &frame(100));
    bench.run(20_000_000);
    let (_, words) = bench.receive(1).unwrap();
    assert_eq!(words[0] & 0xfff0, 0x8030);
    bench.assert_clean();
}

#[test]
fn a_perfect_filter_of_the_flow_director_matches_and_reports_its_id() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(2);
    bench.transmit_on(1);
    bench.write(0xee00, 0x4a06_7f31);
    assert_eq!(bench.read(0xee00) & 8, 8);
    assert_eq!(bench.read(0xee38), 2046);
    bench.write(0xee18, u32::from_le_bytes([10, 0, 0, 1]));
    bench.write(0xee1c, u32::from_le_bytes([10, 0, 0, 2]));
    bench.write(0xee20, 53 << 16 | 1000);
    bench.write(0xee24, 0);
    bench.write(0xee28, 77 << 16 | 0x123);
    // Add, update, last, queue enable, UDP, queue 1.
    bench.write(0xee2c, 1 | 8 | 1 << 5 | 0x800 | 0x8000 | 1 << 16);
    assert_eq!(bench.read(0xee2c) & 3, 0);
    for (port, q) in [(53, 1), (54, 0)] {
        bench.send(0, &udp([10, 0, 0, 1], [10, 0, 0, 2], 1000, port, 30));
        bench.run(20_000_000);
        let (_, words) = bench.receive(q).unwrap();
        assert_eq!(words[1] >> 2 & 1 == 1, q == 1);
        if q == 1 {
            assert_eq!((words[0] >> 32 & 0xffff, words[0] >> 48), (77, 0x123));
        }
    }
    assert_eq!((bench.read(0xee58), bench.read(0xee5c)), (1, 1));
    bench.assert_clean();
}

#[test]
fn a_full_ring_drops_and_counts_or_makes_a_lossless_wire_wait() {
    let mut bench = Bench::new("82599,strict");
    // One buffer of 2 KiB, drop enable.
    bench.receive_with(1, 0x1200_0002);
    bench.transmit_on(1);
    for _ in 0..RING + 9 {
        bench.send(0, &frame(60));
        bench.run(10_000_000);
    }
    assert_eq!(bench.read(0x1430), 10);
    assert_eq!(bench.read(0x1430), 0);
    let got = std::iter::from_fn(|| bench.receive(0)).count();
    assert_eq!(got as u32, RING - 1);
    bench.assert_clean();

    let mut bench = Bench::new("82599,strict,wire=loop:pause=on");
    bench.receive_with(1, 0x1200_0002);
    bench.transmit_on(1);
    for _ in 0..RING + 9 {
        bench.send(0, &frame(60));
        bench.run(10_000_000);
    }
    assert_eq!(std::iter::from_fn(|| bench.receive(0)).count() as u32, RING - 1);
    bench.run(200_000_000);
    assert_eq!(std::iter::from_fn(|| bench.receive(0)).count(), 10);
    assert_eq!(bench.read(0x1430), 0);
    bench.assert_clean();
}

#[test]
fn the_x550_stamps_every_packet_behind_its_last_byte() {
    let mut bench = Bench::new("x550,strict");
    bench.write(0x5188, 0xff80_0018);
    bench.receive_on(1);
    bench.transmit_on(1);
    let mut last = 0;
    for _ in 0..3 {
        let frame = frame(100);
        bench.send(0, &frame);
        bench.run(20_000_000);
        let (got, words) = bench.receive(0).unwrap();
        assert_eq!((got.len(), &got[..100]), (108, &frame[..]));
        assert_eq!(words[1] >> 15 & 1, 1);
        let stamp = u64::from_le_bytes(got[100..].try_into().unwrap());
        let nanos = (stamp >> 32) * 1_000_000_000 + (stamp & 0xffff_ffff);
        assert!(nanos >= last + 15_000, "{nanos} after {last}");
        last = nanos;
    }
    bench.assert_clean();
}

#[test]
fn the_x550s_time_is_of_one_moment_however_long_reading_it_takes() {
    let bench = Bench::new("x550,strict");
    let parts = |bench: &Bench, first: u64| {
        bench.read(first);
        // The second ends meanwhile.
        bench.engine.advance(1_000_000_000_000);
        let low = u64::from(bench.read(0x8c0c));
        bench.engine.advance(1_000_000_000_000);
        u64::from(bench.read(0x8c10)) * 1_000_000_000 + low
    };
    let begun = |bench: &Bench| bench.engine.now() / 1000;
    bench.write(0x8c0c, 0);
    bench.write(0x8c10, 0);
    let start = begun(&bench);
    for _ in 0..3 {
        let before = begun(&bench) - start;
        let time = parts(&bench, 0x8c58);
        // An access takes 5 us of virtual time.
        assert!((before..before + 20_000).contains(&time), "{before} {time}");
        assert!(matches!(time % 25, 0 | 12), "in steps of 12.5 ns: {time}");
    }
    bench.assert_clean();
}

#[test]
fn frames_keep_their_check_sequence_if_it_is_not_stripped() {
    let mut bench = Bench::new("82599,strict");
    bench.write(0x4240, bench.read(0x4240) & !2);
    bench.receive_on(1);
    bench.transmit_on(1);
    let frame = frame(60);
    bench.send(0, &frame);
    bench.run(20_000_000);
    let (got, _) = bench.receive(0).unwrap();
    let mut with_fcs = frame.clone();
    with_fcs.extend(crate::emu::frame::crc32(&frame).to_le_bytes());
    assert_eq!(got, with_fcs);
}
