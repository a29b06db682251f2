//! Filters, queues and what events say.

use super::*;
use etherparse::PacketBuilder;

/// The key of the published verification suite.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

const DST_MAC: u32 = 1 << 4;
const OUTER_VLAN: u32 = 1 << 8;
/// EtherType, protocol, destination address and port.
const UDP_STREAM: u32 = 0x262;

fn udp(to: [u8; 6], src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], to).ipv4(src, dst, 9).udp(ports.0, ports.1);
    builder.write(&mut frame, &[0x5a; 40]).unwrap();
    frame
}

#[test]
fn a_frame_of_any_length_comes_with_its_prefix_and_event() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    for len in [60, 61, 64, 127, 512, 1513, 1514] {
        let frame = frame(len);
        bench.send(0, &frame);
        let events = bench.events(0);
        let rx = events.iter().find(|event| **event >> 60 == 0).unwrap();
        assert_eq!((rx & 0x3fff, rx >> 14 & 1, rx >> 16 & 0x1f), (len as u64 + 14, 0, 0));
        let [packet] = &bench.packets(0, &events)[..] else { panic!() };
        assert_eq!((&packet[8..10], &packet[14..]), (&(len as u16).to_le_bytes()[..], &frame[..]));
    }
    bench.assert_clean();
}

#[test]
fn ten_thousand_frames_wrap_all_rings_in_order() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    let mut received = 0u32;
    for n in 0..10_000u32 {
        let mut frame = frame(60 + (n % 100) as usize);
        frame[20..24].copy_from_slice(&n.to_be_bytes());
        let descriptor = bench.data(0, bench.tx_next[0], &frame);
        bench.push(0, descriptor);
        if n % 16 == 15 {
            bench.ring_tx(0);
            bench.run(20_000_000);
            let events = bench.events(0);
            for packet in bench.packets(0, &events) {
                assert_eq!(packet[34..38], received.to_be_bytes());
                received += 1;
            }
            bench.write(0, 0x830, ((RING - 8 + bench.rx_next[0]) % RING) & !7);
        }
    }
    assert_eq!(received, 10_000);
    bench.assert_clean();
}

#[test]
fn packets_share_events_where_that_is_allowed() {
    let mut bench = Bench::new("x2522,strict", 1);
    // Merging both ways.
    let reply = bench.evq(0, 0x30);
    assert_eq!(u32_of(&reply, 4), 6);
    bench.rxq(0, 0, 0x100);
    bench.txq(0, 0, 6);
    bench.receive_all();
    let frames: Vec<_> = (0..20).map(|n| frame(60 + n)).collect();
    for frame in &frames {
        let descriptor = bench.data(0, bench.tx_next[0], frame);
        bench.push(0, descriptor);
    }
    bench.ring_tx(0);
    bench.run(100_000_000);
    let events = bench.events(0);
    let sent: Vec<_> = events.iter().filter(|event| **event >> 60 == 2).collect();
    assert!(sent.len() < 20 && sent.iter().any(|event| **event >> 31 & 1 == 1), "{}", sent.len());
    assert_eq!(sent.last().unwrap().to_le_bytes()[..2], [19, 0]);
    let received = events.iter().filter(|event| **event >> 60 == 0).count();
    assert!(received < 20, "{received}");
    let packets = bench.packets(0, &events);
    assert_eq!(packets.iter().map(|packet| &packet[14..]).collect::<Vec<_>>(), frames);
    bench.assert_clean();
}

#[test]
fn without_a_licence_events_are_shared_whatever_is_asked_for() {
    for (card, granted) in [("x2522", 6), ("sfc9220", 6), ("sfc9120", 0)] {
        let mut bench = Bench::new(&format!("{card},strict,fault=unlicensed"), 1);
        // Type low latency, which Huntington does not know; nothing.
        for flags in [1 << 7, 0] {
            let reply = bench.evq(0, flags);
            assert_eq!(u32_of(&reply, 4), granted, "{card}");
            bench.must(0x83, &words(&[0]));
        }
        bench.assert_clean();
    }
}

#[test]
fn early_events_leave_the_length_to_themselves() {
    let mut bench = Bench::new("x2522,strict", 1);
    // Type low latency.
    let reply = bench.evq(0, 1 << 7);
    assert_eq!(u32_of(&reply, 4), 1);
    bench.rxq(0, 0, 0x100);
    bench.txq(0, 0, 6);
    bench.receive_all();
    bench.send(0, &frame(100));
    let events = bench.events(0);
    let packets = bench.packets(0, &events);
    assert_eq!((packets[0].len(), &packets[0][8..10]), (114, &[0, 0][..]));
    bench.assert_clean();
}

#[test]
fn a_long_frame_takes_several_descriptors_or_is_cut() {
    let mut bench = Bench::new("x2522,strict", 2);
    bench.rx_size = 256;
    bench.start();
    let long = frame(700);
    bench.send(0, &long);
    let events = bench.events(0);
    let parts: Vec<_> = events.iter().filter(|event| **event >> 60 == 0).map(|e| (e & 0x3fff, e >> 14 & 1)).collect();
    assert_eq!(parts, [(256, 1), (256, 1), (202, 0)]);
    assert_eq!(bench.packets(0, &events)[0][14..], long);
    // No scatter.
    bench.must(0x84, &words(&[0]));
    bench.rxq(0, 0, 0x300);
    bench.events(0);
    bench.send(0, &long);
    let events = bench.events(0);
    let rx = events.iter().find(|event| **event >> 60 == 0).unwrap();
    assert_eq!((rx & 0x3fff, rx >> 29 & 1), (256, 1));
    bench.assert_clean();
}

#[test]
fn the_mac_counts_the_check_sequence_and_goes_by_eights() {
    let mut bench = Bench::new("x2522", 1);
    bench.start();
    for (mtu, len, passes) in [(1536, 1532, true), (1536, 1533, false), (1535, 1524, true), (1535, 1525, false)] {
        bench.must(0x2c, &words(&[mtu, 0, 0, 0, 0, 2, 0]));
        bench.send(0, &frame(len));
        let events = bench.events(0);
        assert_eq!(bench.packets(0, &events).len(), usize::from(passes), "{mtu} {len}");
    }
    assert_eq!(bench.violations(), ["SET_MAC with an MTU that is not a multiple of 8"]);
}

#[test]
fn without_descriptors_frames_are_lost_and_counted() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    bench.must(0x84, &words(&[0]));
    let at = RX_RING;
    let input = [words(&[RING, 0, 0, 0, 0x100, 0, 0x0100_0000]), bench.pages(at, 1)].concat();
    bench.must(0x81, &input);
    bench.events(0);
    bench.send(0, &frame(60));
    assert!(bench.events(0).iter().all(|event| event >> 60 == 2));
    let address = bench.arena.iova(STATS);
    bench.must(0x2e, &[&address.to_le_bytes()[..], &words(&[1, 0x79 * 8, 0])].concat());
    assert_eq!(bench.qword(STATS + 8 * 0x36), 1);
    bench.assert_clean();
}

#[test]
fn the_most_specific_filter_wins_and_groups_have_many_receivers() {
    let mut bench = Bench::new("x2522,strict", 4);
    bench.evq(0, 0);
    for q in 0..4 {
        bench.rxq(q, 0, 0x100);
    }
    bench.txq(0, 0, 6);
    let group = [1, 0, 0x5e, 0, 1, 0x81];
    let to = |bench: &mut Bench, frame: &[u8]| -> Vec<u64> {
        bench.send(0, frame);
        bench.events(0).iter().filter(|event| *event >> 60 == 0).map(|event| event >> 16 & 0x1f).collect()
    };
    let own = [0, 0xf, 0x53, 1, 2, 3];
    let mut to_own = frame(60);
    to_own[..6].copy_from_slice(&own);
    assert_eq!(to(&mut bench, &to_own), NONE);
    let unknown = bench.must(0x8a, &Filter::new(ALL_UNICAST).subscribe(3));
    assert_eq!(to(&mut bench, &to_own), [3]);
    let exact = Filter::new(DST_MAC).with(0x34, &own);
    bench.must(0x8a, &exact.insert(1));
    assert_eq!(to(&mut bench, &to_own), [1]);
    assert_eq!(bench.command(0x8a, &Filter::new(DST_MAC).with(0x34, &own).insert(2)), Err(0x10));
    // A tag that a filter names wins over the address alone.
    let tagged = Filter::new(DST_MAC | OUTER_VLAN).with(0x34, &own).with(0x40, &[0, 7]);
    bench.must(0x8a, &tagged.insert(2));
    assert_eq!(to(&mut bench, &to_own), [1]);
    to_own.splice(12..12, [0x81, 0, 0, 7]);
    assert_eq!(to(&mut bench, &to_own), [2]);

    for queue in [0, 1] {
        bench.must(0x8a, &Filter::new(DST_MAC).with(0x34, &group).subscribe(queue));
    }
    let stream = udp(group, [10, 0, 0, 1], [224, 0, 1, 129], (9, 319));
    assert_eq!(to(&mut bench, &stream), [0, 1]);
    let filter = Filter::new(UDP_STREAM)
        .with(0x3a, &[1, 0x3f])
        .with(0x3c, &[8, 0])
        .with(0x42, &[17])
        .with(0x5c, &[224, 0, 1, 129]);
    bench.must(0x8a, &filter.subscribe(2));
    assert_eq!(to(&mut bench, &stream), [2]);
    let other = udp(group, [10, 0, 0, 1], [224, 0, 1, 129], (9, 320));
    assert_eq!(to(&mut bench, &other), [0, 1]);

    // Gone by its handle, for which 12 bytes do.
    let remove = [&words(&[3])[..], &unknown[4..12]].concat();
    bench.must(0x8a, &remove);
    assert_eq!(to(&mut bench, &frame(60)), NONE);
    bench.assert_clean();
}

#[test]
fn rss_spreads_flows_and_the_prefix_has_the_published_hash() {
    let mut bench = Bench::new("x2522,strict", 4);
    bench.evq(0, 0);
    for q in 0..4 {
        bench.rxq(q, 0, 0x100);
    }
    bench.txq(0, 0, 6);
    let id = u32_of(&bench.must(0x9e, &words(&[0x0100_0000, 0, 4])), 0);
    let table: Vec<u8> = (0..128).map(|n| n % 4).collect();
    bench.must(0xa0, &[&words(&[id])[..], &KEY].concat());
    bench.must(0xa2, &[&words(&[id])[..], &table].concat());
    assert_eq!(bench.must(0xa1, &words(&[id]))[4..], KEY);
    // Ports of UDP too.
    let flags = u32_of(&bench.must(0xe2, &words(&[id])), 4);
    assert_eq!(flags & 0xf, 0xf);
    bench.must(0xe1, &words(&[id, flags | 0xf << 12]));
    let spread = Filter::new(ALL_UNICAST).with(0x1c, &[1, 0, 0, 0]).with(0x20, &id.to_le_bytes());
    bench.must(0x8a, &spread.subscribe(0));
    bench.send(0, &udp([4; 6], [66, 9, 149, 187], [161, 142, 100, 80], (2794, 1766)));
    let q = 0x51cc_c178 % 4;
    let events = bench.events(0);
    let rx = *events.iter().find(|event| **event >> 60 == 0).unwrap();
    // IPv4, UDP.
    assert_eq!((rx >> 16 & 0x1f, rx >> 42 & 7, rx >> 45 & 3), (q, 1, 2));
    let hash = bench.bytes(bench.rx_buffer(q as u32, 0), 4);
    assert_eq!(u32_of(&hash, 0), 0x51cc_c178);
    let mut seen = [0; 4];
    for flow in 0..32u16 {
        bench.send(0, &udp([4; 6], [10, 0, 0, 1], [10, 0, 0, 2], (1000 + flow, 53)));
        for event in bench.events(0).iter().filter(|event| *event >> 60 == 0) {
            seen[(event >> 16 & 0x1f) as usize] += 1;
        }
    }
    assert_eq!(seen.iter().sum::<usize>(), 32);
    assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    assert_eq!(bench.command(0x9f, &words(&[id + 1])), Err(2));
    bench.assert_clean();
}

#[test]
fn wrong_checksums_are_flagged() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    let good = udp([4; 6], [10, 0, 0, 1], [10, 0, 0, 2], (7, 9));
    let (mut bad_ip, mut bad_udp) = (good.clone(), good.clone());
    bad_ip[22] ^= 1;
    bad_udp[50] ^= 1;
    for (frame, wanted) in [(good, 0), (bad_ip, 1 << 25), (bad_udp, 1 << 26)] {
        bench.send(0, &frame);
        let rx = *bench.events(0).iter().find(|event| **event >> 60 == 0).unwrap();
        assert_eq!(rx & 0x7f00_0000, wanted);
    }
    bench.assert_clean();
}

#[test]
fn frames_that_are_longer_than_the_mtu_are_not_received() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    bench.must(0x2c, &words(&[1520, 0, 0, 0, 0, 2, 0]));
    bench.send(0, &frame(1517));
    assert!(bench.events(0).iter().all(|event| event >> 60 != 0));
    bench.send(0, &frame(1516));
    assert!(bench.events(0).iter().any(|event| event >> 60 == 0));
    bench.assert_clean();
}
