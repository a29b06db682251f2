//! Which frames are received, and where.

use super::*;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GROUP: [u8; 6] = [1, 0, 0x5e, 1, 2, 3];

fn l2(vnic: u16) -> L2Spec {
    L2Spec {
        flags: 9,
        enables: 0x8003,
        address: OWN,
        mask: [0xff; 6],
        vlan: 0,
        vlan_mask: 0,
        inner: 0,
        inner_mask: 0,
        vnic,
    }
}

fn ntuple(vnic: u16) -> NtupleSpec {
    NtupleSpec {
        flags: 0,
        enables: 0x1_3292,
        l2: 0,
        source: [0; 6],
        ethertype: [8, 0],
        address_type: 4,
        protocol: 17,
        vnic,
        ring: 0,
        source_ip: [[0; 16]; 2],
        destination_ip: [ip([224, 1, 2, 3]), ip([255; 4])],
        source_port: [[0; 2]; 2],
        destination_port: [[0x10, 0x20], [0xff; 2]],
    }
}

fn ip(address: [u8; 4]) -> [u8; 16] {
    let mut field = [0; 16];
    field[..4].copy_from_slice(&address);
    field
}

/// How many entries a frame to this address makes.
fn reach(bench: &mut Bench, set: &mut Set, to: [u8; 6]) -> usize {
    let mut sent = frame(60);
    sent[..6].copy_from_slice(&to);
    bench.send(&mut set.tx, &sent);
    bench.read(&mut set.tx_cq);
    bench.read(&mut set.rx_cq).len()
}

#[test]
fn masks_and_filters_decide_what_is_received() {
    let all = [OWN, GROUP, [0xff; 6], [2, 9, 9, 9, 9, 9]];
    // Mask, whether there is a filter, what of those comes.
    for (mask, filter, expected) in [
        (0, false, [0, 0, 0, 0]),
        (0, true, [2, 0, 0, 0]),
        (8, true, [2, 0, 2, 0]),
        (0xe, true, [2, 2, 2, 0]),
        (4, false, [0, 2, 0, 0]),
        (2, true, [2, 0, 0, 0]),
        (0x18, true, [2, 2, 2, 2]),
    ] {
        let mut bench = Bench::new(Chip::P4, "");
        let mut set = bench.start();
        bench.mask(set.vnic, mask).unwrap();
        if filter {
            bench.plane.alloc_l2_filter(&mut bench.board, &l2(set.vnic)).unwrap();
            // A mask could still follow.
            bench.run(1_000 * MICROSECOND);
        }
        assert_eq!(all.map(|to| reach(&mut bench, &mut set, to)), expected, "{mask:#x}");
        assert_eq!(bench.board.port.mac.counters().drops, 0);
        bench.assert_clean();
    }
}

#[test]
fn the_list_of_groups_is_read_from_memory() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let at = bench.take(4096);
    bench.put(at, &[[1; 6], GROUP].concat());
    let spec = MaskSpec { vnic: set.vnic, mask: 2, table: bench.iova(at), count: 2 };
    bench.plane.set_rx_mask(&mut bench.board, &spec).unwrap();
    assert_eq!(reach(&mut bench, &mut set, GROUP), 2);
    assert_eq!(reach(&mut bench, &mut set, [1, 0, 0x5e, 1, 2, 4]), 0);
    let many = MaskSpec { count: 17, ..spec };
    assert_eq!(bench.plane.set_rx_mask(&mut bench.board, &many), Err(Refusal::INVALID));
    assert_eq!(reach(&mut bench, &mut set, GROUP), 2);
    bench.assert_clean();
}

#[test]
fn a_filter_may_look_at_the_tag() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    bench.mask(set.vnic, 0).unwrap();
    let spec = L2Spec { enables: 0x800f, vlan: 5, vlan_mask: 0xfff, ..l2(set.vnic) };
    let filter = bench.plane.alloc_l2_filter(&mut bench.board, &spec).unwrap();
    bench.run(1_000 * MICROSECOND);
    let mut count = |bench: &mut Bench, tag: Option<u8>| {
        let mut sent = frame(60);
        if let Some(tag) = tag {
            sent.splice(12..12, [0x81, 0, 0x60, tag]);
        }
        bench.send(&mut set.tx, &sent);
        bench.read(&mut set.tx_cq);
        bench.read(&mut set.rx_cq).len()
    };
    assert_eq!([Some(5), Some(6), None].map(|tag| count(&mut bench, tag)), [2, 0, 0]);
    bench.plane.free_l2_filter(filter).unwrap();
    assert_eq!(bench.plane.free_l2_filter(filter), Err(Refusal::INVALID));
    assert_eq!(count(&mut bench, Some(5)), 0);
}

#[test]
fn multicast_streams_are_steered_by_group_and_port() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        let mut cq = bench.cq(128, set.nq.map(|nq| nq.id));
        let mut rx = bench.rx_ring(cq.slot, set.stat);
        bench.post(&mut rx, RING - 1, 2048, 0x04);
        let group = if chip.p5() { 0 } else { bench.group(cq, rx, None, set.stat) };
        let vnic = bench.vnic(group, rx, cq);
        bench.mask(vnic, 0).unwrap();
        let first = bench.plane.alloc_l2_filter(&mut bench.board, &l2(set.vnic)).unwrap();
        let spec = NtupleSpec { enables: 0x1_3393, l2: first, ..ntuple(vnic) };
        let filter = bench.plane.alloc_ntuple(&mut bench.board, &spec).unwrap();
        let mut send = |bench: &mut Bench, to: [u8; 4], port: u16| {
            bench.send(&mut set.tx, &udp(to, port, &[1; 30]));
            bench.read(&mut set.tx_cq);
            [bench.read(&mut set.rx_cq).len(), bench.read(&mut cq).len()]
        };
        assert_eq!(send(&mut bench, [224, 1, 2, 3], 0x1020), [0, 2]);
        assert_eq!(send(&mut bench, [224, 1, 2, 4], 0x1020), [2, 0]);
        assert_eq!(send(&mut bench, [224, 1, 2, 3], 0x1021), [2, 0]);
        bench.plane.move_ntuple(filter, set.vnic.into()).unwrap();
        assert_eq!(send(&mut bench, [224, 1, 2, 3], 0x1020), [2, 0]);
        bench.plane.free_ntuple(filter).unwrap();
        // A filter goes with its VNIC, and freeing it then is an error.
        let filter = bench.plane.alloc_ntuple(&mut bench.board, &spec).unwrap();
        bench.plane.free_vnic(vnic.into()).unwrap();
        assert_eq!(bench.plane.free_ntuple(filter), Err(Refusal::INVALID));
        let drops = NtupleSpec { flags: 2, ..ntuple(set.vnic) };
        bench.plane.alloc_ntuple(&mut bench.board, &drops).unwrap();
        assert_eq!(send(&mut bench, [224, 1, 2, 3], 0x1020), [0, 0]);
        bench.assert_clean();
    }
}

#[test]
fn p5_steers_to_a_place_in_the_table() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let mut cq = bench.cq(128, set.nq.map(|nq| nq.id));
    let mut rx = bench.rx_ring(cq.slot, set.stat);
    bench.post(&mut rx, RING - 1, 2048, 0x04);
    let context = bench.plane.alloc_context(&mut bench.board).unwrap();
    let at = bench.take(4096);
    let mut table = [set.rx.id, set.rx_cq.id].map(u16::to_le_bytes).concat().repeat(64);
    table[12..16].copy_from_slice(&[rx.id, cq.id].map(u16::to_le_bytes).concat());
    bench.put(at, &table);
    let table = bench.iova(at);
    let rss = RssSpec { types: 1, vnic: set.vnic, pair: 0, table, key: 0, context };
    bench.plane.set_rss(&mut bench.board, &rss).unwrap();
    let l2 = bench.plane.alloc_l2_filter(&mut bench.board, &l2(set.vnic)).unwrap();
    // By the flag alone, and by a field of its own.
    for spec in [
        NtupleSpec { flags: 0x20, enables: 0x1_3393, l2, ..ntuple(3) },
        NtupleSpec { flags: 0x20, enables: 0x9_3393, l2, ring: 3, ..ntuple(set.vnic) },
    ] {
        let filter = bench.plane.alloc_ntuple(&mut bench.board, &spec).unwrap();
        bench.send(&mut set.tx, &udp([224, 1, 2, 3], 0x1020, &[1; 30]));
        bench.read(&mut set.tx_cq);
        assert_eq!((bench.read(&mut set.rx_cq).len(), bench.read(&mut cq).len()), (0, 2));
        bench.plane.free_ntuple(filter).unwrap();
    }
    bench.assert_clean();
}

#[test]
fn groups_come_to_every_vnic_that_wants_them() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let mut cq = bench.cq(128, None);
    let mut rx = bench.rx_ring(cq.slot, set.stat);
    bench.post(&mut rx, RING - 1, 2048, 0x04);
    let group = bench.group(cq, rx, None, set.stat);
    let vnic = bench.vnic(group, rx, cq);
    bench.mask(vnic, 8).unwrap();
    assert_eq!(reach(&mut bench, &mut set, [0xff; 6]), 2);
    assert_eq!(bench.read(&mut cq).len(), 2);
    assert_eq!((reach(&mut bench, &mut set, OWN), bench.read(&mut cq).len()), (2, 0));
}

/// What a VNIC without a buffer makes of frames: it loses them, or they wait for it.
#[test]
fn copies_are_delivered_and_counted_once_if_one_of_them_waits() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let mut add = |flags: u32| {
        let stat = bench.plane.alloc_stat(&mut bench.board, 0, 0, 0).unwrap();
        let cq = bench.cq(128, None);
        let rx = bench.rx_ring(cq.slot, stat);
        let group = bench.group(cq, rx, None, stat);
        let vnic = bench.vnic(group, rx, cq);
        bench.plane.configure_vnic(&VnicSpec { flags, ..vnic_spec(vnic, 0) }).unwrap();
        bench.mask(vnic, 8).unwrap();
        (stat, cq, rx)
    };
    let ((lossy, mut empty, _), (_, mut cq, mut rx)) = (add(0), add(4));
    assert_eq!(reach(&mut bench, &mut set, [0xff; 6]), 0, "all wait for the one that waits");
    bench.run(100 * MICROSECOND);
    assert_eq!(bench.plane.stat(lossy.into()).unwrap().rx_discards, 0);
    bench.post(&mut rx, 4, 2048, 0x04);
    bench.run(20 * MICROSECOND);
    let got = [bench.read(&mut set.rx_cq), bench.read(&mut empty), bench.read(&mut cq)].map(|entries| entries.len());
    assert_eq!(got, [2, 0, 2]);
    assert_eq!(bench.plane.stat(lossy.into()).unwrap().rx_discards, 1);
    assert_eq!(bench.plane.stat(set.stat.into()).unwrap().rx_packets, [0, 0, 1]);
    bench.assert_clean();
}
