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

#[test]
fn a_frame_of_any_length_goes_round_the_loop_in_either_descriptor() {
    for wide in [false, true] {
        let mut bench = Bench::new("x710,strict");
        bench.wide = wide;
        bench.receive_on(1);
        bench.transmit_on(1);
        for len in [60, 61, 64, 127, 512, 1513, 1514, 2048, 2049, 8192, 9724] {
            let frame = frame(len);
            // Longer ones than 8 KiB in two descriptors.
            let (head, tail) = frame.split_at(len.min(8192));
            let index = if tail.is_empty() {
                bench.send(0, head)
            } else {
                bench.push_data(0, head, 4, 0);
                bench.send(0, tail)
            };
            bench.run(40_000_000);
            assert!(bench.sent(0, index), "{len}");
            let (got, words) = bench.receive(0).unwrap();
            assert_eq!(got, frame);
            // Packet type: layer 2.
            assert_eq!((words[1] & 3, words[1] >> 30 & 0xff), (3, 1));
            bench.assert_clean();
        }
    }
}

#[test]
fn ten_thousand_frames_wrap_the_rings_in_order() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let mut received = 0u32;
    for n in 0..10_000u32 {
        let mut frame = frame(60 + (n % 100) as usize);
        frame[20..24].copy_from_slice(&n.to_be_bytes());
        bench.send(0, &frame);
        if n % 16 == 15 {
            bench.run(20_000_000);
            while let Some((got, _)) = bench.receive(0) {
                assert_eq!(got[20..24], received.to_be_bytes());
                received += 1;
            }
        }
    }
    assert_eq!(received, 10_000);
    bench.assert_clean();
}

/// "Due to HW errata, on Rx disable only, the register can indicate done before it really is"
/// (Linux `i40e_main.c`), and it is waited for 50 ms there.
#[test]
fn a_queue_may_say_that_it_is_off_and_receive_for_50_ms() {
    for (fault, lingers) in [("", false), (",fault=queue-lingers", true)] {
        let mut bench = Bench::new(&format!("x710,strict{fault}"));
        bench.receive_on(1);
        bench.transmit_on(1);
        for (after, receives) in [(1_000_000_000, lingers), (60_000_000_000, false)] {
            bench.write(0x120000, 0);
            assert_eq!(bench.read(0x120000), 0, "it says that it is off");
            bench.run(after);
            bench.send(0, &frame(60));
            bench.run(40_000_000);
            assert_eq!(bench.receive(0).is_some(), receives, "{fault} after {after} ps");
        }
        bench.assert_clean();
    }
}

#[test]
fn rss_spreads_flows_and_reports_the_published_hash() {
    let mut bench = Bench::new("x710,strict");
    for (n, word) in KEY.chunks_exact(4).enumerate() {
        bench.write(0x244800 + 128 * n as u64, u32::from_le_bytes(word.try_into().unwrap()));
    }
    for n in 0..128 {
        bench.write(0x240000 + 128 * n, 0x0302_0100);
    }
    bench.write(0x1c0ac0, 1 << 16);
    // UDP over IPv4 is classifier type 31.
    bench.write(0x245900, 1 << 31);
    bench.receive_on(4);
    bench.transmit_on(1);
    bench.send(0, &udp([66, 9, 149, 187], [161, 142, 100, 80], 2794, 1766, 40));
    bench.run(20_000_000);
    let hash = 0x51cc_c178_u32;
    let (_, words) = bench.receive((hash & 3) as usize).unwrap();
    assert_eq!(((words[0] >> 32) as u32, words[1] >> 12 & 3, words[1] >> 30 & 0xff), (hash, 3, 24));
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
    let mut bench = Bench::new("x710,strict,mac=02:00:00:00:00:07");
    bench.receive_on(1);
    bench.transmit_on(1);
    let passes = |bench: &mut Bench, to: [u8; 6], tag: Option<u16>| {
        let mut frame = frame(100);
        frame[..6].copy_from_slice(&to);
        if let Some(tag) = tag {
            frame.splice(12..12, [0x81, 0, (tag >> 8) as u8, tag as u8]);
        }
        bench.send(0, &frame);
        bench.run(20_000_000);
        bench.receive(0).is_some()
    };
    let (own, other) = ([2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 9]);
    assert!(passes(&mut bench, other, Some(5)), "promiscuous");
    // Broadcast only, and the factory address untagged.
    bench.tell(0x0254, &[4, 7, MAIN]);
    assert!(passes(&mut bench, own, None));
    assert!(!passes(&mut bench, own, Some(100)));
    assert!(passes(&mut bench, [0xff; 6], None));
    assert!(!passes(&mut bench, other, None));
    assert!(!passes(&mut bench, [1, 0, 0x5e, 0, 0, 1], None));
    // Address and VLAN 100, priority and all; and one in any VLAN.
    let mut elements = vec![0; 32];
    elements[..6].copy_from_slice(&own);
    (elements[6], elements[8]) = (100, 1);
    elements[16..22].copy_from_slice(&other);
    elements[24] = 1 | 4;
    let mut params = [0; 16];
    (params[0], params[2], params[3]) = (2, MAIN as u8, 0x80 | (MAIN >> 8) as u8);
    assert_eq!(bench.ask(0x0250, params, Some(&elements), 0).unwrap().result, 0);
    assert!(passes(&mut bench, own, Some(0x6064)));
    assert!(!passes(&mut bench, own, Some(101)));
    assert!(passes(&mut bench, other, None) && passes(&mut bench, other, Some(7)));
    // Broadcasts in VLAN 7 alone.
    bench.tell(0x0254, &[0, 4, MAIN]);
    bench.tell(0x0254, &[4, 4, MAIN, 0x8007]);
    assert!(passes(&mut bench, [0xff; 6], Some(7)) && !passes(&mut bench, [0xff; 6], None));
    bench.tell(0x0254, &[0, 4, MAIN, 0x8007]);
    assert!(!passes(&mut bench, [0xff; 6], Some(7)));
    // Of last resort.
    bench.tell(0x0254, &[8, 8, MAIN]);
    assert!(passes(&mut bench, [2, 0, 0, 0, 0, 0x77], None));
    bench.assert_clean();
}

#[test]
fn a_stripped_tag_is_in_the_descriptor_and_not_in_the_frame() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let mut properties = vec![0; 128];
    (properties[0], properties[12]) = (4, 3);
    let mut params = [0; 16];
    params[..2].copy_from_slice(&MAIN.to_le_bytes());
    assert_eq!(bench.ask(0x0211, params, Some(&properties), 0).unwrap().result, 0);
    let plain = frame(100);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 0x07]);
    bench.send(0, &tagged);
    bench.run(20_000_000);
    let (got, words) = bench.receive(0).unwrap();
    assert_eq!(got, plain);
    assert_eq!((words[1] >> 2 & 1, words[0] >> 16 & 0xffff), (1, 0x2007));
    bench.assert_clean();
}

#[test]
fn checksum_verdicts_follow_the_datasheet() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let good = udp([10, 0, 0, 1], [10, 0, 0, 2], 7, 9, 50);
    let mut bad_ip = good.clone();
    bad_ip[22] ^= 1;
    let mut bad_udp = good.clone();
    bad_udp[50] ^= 1;
    let mut no_udp = good.clone();
    no_udp[40..42].fill(0);
    const CHECKED: u64 = 1 << 3;
    const IPE: u64 = 1 << 22;
    const L4E: u64 = 1 << 23;
    for (frame, wanted) in
        [(good, CHECKED), (bad_ip, CHECKED | IPE), (bad_udp, CHECKED | L4E), (no_udp, CHECKED), (super::frame(80), 0)]
    {
        bench.send(0, &frame);
        bench.run(20_000_000);
        let (_, words) = bench.receive(0).unwrap();
        assert_eq!(words[1] & (CHECKED | IPE | L4E), wanted, "{:#x}", words[1]);
    }
    bench.assert_clean();
}

#[test]
fn the_flow_director_matches_what_its_template_answers_to() {
    for wide in [false, true] {
        let mut bench = Bench::new("x710,strict");
        bench.wide = wide;
        bench.receive_on(2);
        bench.transmit_on(1);
        bench.write(0x1c0ac0, 1 << 17);
        // Destination address and port only, as for a multicast group.
        let set = 3u64 << 35 | 1 << 33;
        bench.write(0x250000 + 64 * 31, set as u32);
        bench.write(0x250000 + 64 * 31 + 32, (set >> 32) as u32);
        let program = |bench: &mut Bench, command: u64| {
            // Classifier type 31, VSI number 6, queue 1, report the id, counter 1.
            let first = 1 | 31 << 17 | 6 << 23;
            bench.push(0, [first, 8 | command << 4 | 1 << 7 | 1 << 11 | 1 << 13 | 1 << 20 | 77 << 32]);
            // Seen from this side: the group is the source.
            let template = udp([224, 1, 2, 3], [0; 4], 5000, 0, 470);
            let index = bench.push_data(0, &template, 0x17, 0);
            bench.ring_tx(0);
            bench.run(20_000_000);
            assert!(bench.sent(0, index));
        };
        program(&mut bench, 1);
        assert_eq!(bench.read(0x246380) & 0x1fff, 1);
        for (port, q) in [(5000, 1), (5001, 0)] {
            bench.send(0, &udp([10, 0, 0, 1], [224, 1, 2, 3], 1000, port, 30));
            bench.run(20_000_000);
            let (_, words) = bench.receive(q).unwrap();
            assert_eq!(words[1] >> 11 & 1 == 1, q == 1);
            let id = if wide { words[3] >> 32 } else { words[0] >> 32 };
            assert_eq!(id, if q == 1 { 77 } else { 0 });
        }
        assert_eq!(bench.read(0x266804), 1);
        program(&mut bench, 2);
        assert_eq!(bench.read(0x246380), 0);
        // Once more: there is none, and a descriptor says so.
        program(&mut bench, 2);
        let at = RX_RING + bench.rx_size() * bench.rx_next[0] as usize;
        assert_eq!((bench.qword(at) >> 32, bench.qword(at + 8)), (77, 1 << 63 | 2 << 19 | 1 << 2 | 1));
        bench.assert_clean();
    }
}

#[test]
fn a_full_ring_makes_a_lossless_wire_wait() {
    let mut bench = Bench::new("x710,strict,wire=loop:pause=on");
    bench.receive_on(1);
    bench.transmit_on(1);
    for _ in 0..RING + 9 {
        bench.send(0, &frame(60));
        bench.run(10_000_000);
    }
    assert_eq!(std::iter::from_fn(|| bench.receive(0)).count() as u32, RING - 1);
    bench.run(200_000_000);
    assert_eq!(std::iter::from_fn(|| bench.receive(0)).count(), 10);
    bench.assert_clean();
}

#[test]
fn a_frame_longer_than_its_queue_takes_is_dropped_and_counted() {
    let mut bench = Bench::new("x710,strict");
    bench.back_contexts();
    bench.tell(0x0254, &[7, 7, MAIN]);
    bench.map_queues(1);
    bench.open_rx(0, 2048, 1518);
    bench.transmit_on(1);
    bench.send(0, &frame(1519));
    bench.run(20_000_000);
    assert!(bench.receive(0).is_none());
    assert_eq!(bench.read(0x318000 + 8 * 128), 1);
    // Its interface, which counts in set 9, has counted it all the same.
    assert_eq!((bench.wide_count(0x36c000 + 8 * 9), bench.wide_count(0x358000 + 8 * 9)), (1, 1523));
    // And one longer than the MAC was set to take.
    bench.tell(0x0603, &[1522]);
    bench.assert_clean();
}

#[test]
fn a_ptp_event_is_stamped_on_its_way_out_and_in() {
    let mut bench = Bench::new("x710,strict");
    bench.wide = true;
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.write(0x1e4040, 0x3333_3333);
    bench.write(0x1e4060, 3);
    bench.write(0x1e4200, 1 << 31 | 1 << 1);
    bench.write(0x85020, 1 << 31 | 3 << 24);
    let mut sync = frame(100);
    sync[12..15].copy_from_slice(&[0x88, 0xf7, 0x00]);
    bench.push(0, [0, 1 | 2 << 4]);
    bench.send(0, &sync);
    bench.run(20_000_000);
    let (_, words) = bench.receive(0).unwrap();
    assert_eq!((words[1] >> 7 & 1, words[1] >> 5 & 3, words[1] >> 30 & 0xff), (1, 0, 2));
    assert_eq!(bench.read(0x85140), 1);
    let received = u64::from(bench.read(0x850c0)) | u64::from(bench.read(0x85040)) << 32;
    assert_eq!(bench.read(0x85140), 0, "reading the upper half frees the slot");
    assert_eq!(bench.read(0x1e4220), 1 << 4);
    let sent = u64::from(bench.read(0x1e41c0)) | u64::from(bench.read(0x1e41e0)) << 32;
    assert!(sent > 0 && received >= sent && received < sent + 100_000, "{sent} {received}");

    // Two that come in one step came one after the other.
    for _ in 0..2 {
        bench.push(0, [0, 1 | 2 << 4]);
        bench.send(0, &sync);
    }
    bench.run(20_000_000);
    assert_eq!(bench.read(0x85140), 3);
    let stamps = [0, 32].map(|slot| {
        let low = u64::from(bench.read(0x850c0 + slot));
        low | u64::from(bench.read(0x85040 + slot)) << 32
    });
    // 124 bytes at 10 Gbit/s are 99.2 ns; the clock has steps of 3.2.
    let apart = stamps[1] as f64 - stamps[0] as f64;
    assert!((apart - 99.2).abs() <= 4.2, "{stamps:?}");
    bench.assert_clean();
}
