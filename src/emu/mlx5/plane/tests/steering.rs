//! Flow tables, hashes, tables of queues.

use super::*;
use crate::emu::frame::toeplitz;

/// Four receive queues that share one completion queue.
struct Spread {
    set: Set,
    cq: Queue,
    rqns: Vec<u32>,
}

impl Spread {
    fn new(bench: &mut Bench) -> Spread {
        let set = bench.start();
        let cq = bench.cq(6, set.eq);
        let rqns = (0..4_u32)
            .map(|n| {
                // The user's index tells queues apart.
                let mut rq = bench.rq(cq, |request| request.with(0x24, 23, 0, n));
                bench.post(&mut rq, 16, 2048);
                rq.id
            })
            .collect();
        bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, set.table));
        Spread { set, cq, rqns }
    }

    /// A TIR of one of the queues.
    fn direct(&self, bench: &mut Bench, n: usize) -> u32 {
        let request = bench.tir_request(self.rqns[n]);
        bench.made(&request)
    }

    /// Which queues frames came to, and their flows' tags.
    fn send(&mut self, bench: &mut Bench, frames: &[Vec<u8>]) -> Vec<(u32, u32)> {
        frames.iter().for_each(|frame| bench.send(&mut self.set.sq, frame));
        bench.read(&mut self.set.tx_cq);
        let entries = bench.read(&mut self.cq);
        entries.iter().map(|entry| (u32_at(entry, 0x20), u32_at(entry, 0x38))).collect()
    }
}

fn rqt_request(opcode: u32, max: u32, rqns: &[u32]) -> Request {
    let request = Request::new(opcode, 0x110 + 4 * rqns.len());
    let request = request.with(0x34, 15, 0, max).with(0x38, 15, 0, rqns.len() as u32);
    rqns.iter().enumerate().fold(request, |request, (n, rqn)| request.with(0x110 + 4 * n, 23, 0, *rqn))
}

#[test]
fn frames_go_by_the_first_group_that_matches_and_by_the_last_if_none_does() {
    let mut bench = Bench::new("");
    let mut spread = Spread::new(&mut bench);
    let tirs: Vec<u32> = (0..3).map(|n| spread.direct(&mut bench, n)).collect();
    let table = bench.table(0);
    // EtherType, protocol and port of UDP; then everything.
    let ports = [(0x04, 0xffff), (0x10, 0xff00_0000), (0x1c, 0xffff)];
    let group = bench.group(table, 0, 7, &ports);
    let rest = bench.group(table, 15, 15, &[]);
    let to = |port: u32| [(0x04, 0x0800), (0x10, 17 << 24), (0x1c, port)];
    let entry = Bench::entry_request(table, group, 3, (2, tirs[0]), &to(53)).with(0x48, 23, 0, 0x1234);
    bench.done(&entry);
    bench.entry(table, group, 0, (2, tirs[1]), &to(80));
    bench.entry(table, rest, 15, (2, tirs[2]), &[]);
    bench.root(table);
    let [dns, web, other] = [53, 80, 99].map(|port| udp([10, 0, 0, 2], port, &[0; 30]));
    // A fragment has no ports, and neither has a header that is cut off.
    let mut fragment = dns.clone();
    fragment[20] = 0x20;
    fragment[24..26].fill(0);
    let sum = !crate::emu::frame::sum(&fragment[14..34], 0);
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    let frames = [dns, web, other, frame(60), fragment];
    let got = spread.send(&mut bench, &frames);
    assert_eq!(got, [(0, 0x1234), (1, 0), (2, 0), (2, 0), (2, 0)]);
    // Without the wildcard they are dropped, and without a root all are.
    bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, table).with(0x20, 31, 0, 15));
    assert_eq!(spread.send(&mut bench, &frames).len(), 2);
    bench.done(&Request::new(0x92f, 0x40).modifier(1).with(0x14, 23, 0, table));
    assert_eq!(spread.send(&mut bench, &frames).len(), 0);
    assert_eq!(bench.plane.counters.unwanted, 3 + 5);
    bench.assert_clean();
}

#[test]
fn addresses_and_tags_are_matched() {
    let mut bench = Bench::new("");
    let mut spread = Spread::new(&mut bench);
    let tirs: Vec<u32> = (0..4).map(|n| spread.direct(&mut bench, n)).collect();
    let table = bench.table(0);
    let group = bench.group(table, 0, 0, &[(0x0c, 0x0fff), (0x10, 0x8000)]);
    bench.entry(table, group, 0, (2, tirs[0]), &[(0x0c, 5), (0x10, 0x8000)]);
    let group = bench.group(table, 1, 1, &[(0x08, 0x0100_0000)]);
    bench.entry(table, group, 1, (2, tirs[1]), &[(0x08, 0x0100_0000)]);
    let group = bench.group(table, 2, 2, &[(0x00, u32::MAX), (0x04, 0xffff_0000), (0x3c, u32::MAX)]);
    bench.entry(table, group, 2, (2, tirs[2]), &[(0x00, 0x0200_0000), (0x04, 0x0002_0000), (0x3c, 0x0a00_0002)]);
    let group = bench.group(table, 3, 3, &[]);
    bench.entry(table, group, 3, (2, tirs[3]), &[]);
    bench.root(table);
    let mut tagged = frame(60);
    tagged.splice(12..12, [0x81, 0, 0xe0, 5]);
    let mut many = frame(60);
    many[0] = 1;
    let frames = [tagged, many, udp([10, 0, 0, 2], 1, &[]), udp([10, 0, 0, 3], 1, &[])];
    assert_eq!(spread.send(&mut bench, &frames), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    bench.assert_clean();
}

#[test]
fn tables_pass_frames_on_to_higher_levels_and_to_several_places() {
    let mut bench = Bench::new("");
    let mut spread = Spread::new(&mut bench);
    let tirs: Vec<u32> = (0..3).map(|n| spread.direct(&mut bench, n)).collect();
    let last = bench.table(9);
    let group = bench.group(last, 0, 0, &[]);
    bench.entry(last, group, 0, (2, tirs[0]), &[]);
    let miss = bench.made(&bench.table_request(3).with(0x18, 27, 24, 1).with(0x1c, 23, 0, last));
    let first = bench.table(0);
    let group = bench.group(first, 0, 0, &[]);
    bench.entry(first, group, 0, (1, miss), &[]);
    bench.root(first);
    assert_eq!(spread.send(&mut bench, &[frame(60)]), [(0, 0)]);
    (bench.plane.limits.flow_modify, bench.plane.limits.table_modify) = (true, true);
    // Two destinations, and a table whose misses are dropped again.
    let request = Request::new(0x936, 0x340 + 16).modifier(1).with(0x14, 23, 0, first).with(0x18, 7, 0, 7);
    let request = request.with(0x44, 31, 0, group).with(0x4c, 15, 0, 4).with(0x50, 23, 0, 2);
    let request = request.with(0x340, 31, 24, 2).with(0x340, 23, 0, tirs[1]).with(0x48, 23, 0, 9);
    bench.done(&request.with(0x348, 31, 24, 2).with(0x348, 23, 0, tirs[2]));
    assert_eq!(spread.send(&mut bench, &[frame(60)]), [(1, 9), (2, 9)]);
    bench.done(&Request::new(0x93c, 0x40).with(0x0c, 15, 0, 1).with(0x14, 23, 0, miss));
    let drop = Bench::entry_request(first, group, 0, (2, 0), &[]).modifier(1).with(0x18, 7, 0, 5);
    bench.done(&drop.with(0x4c, 15, 0, 2).with(0x50, 23, 0, 0));
    assert_eq!(spread.send(&mut bench, &[frame(60)]), []);
    // Towards the same or a lower level, in a circle, to what there is not.
    let low = bench.table(3);
    let wrong = |to| Bench::entry_request(low, 0, 0, to, &[]);
    let group = bench.group(low, 0, 3, &[]);
    for (to, status) in [
        ((1, first), Status::BAD_PARAMETER),
        ((1, low), Status::BAD_PARAMETER),
        ((1, 999), Status::BAD_RESOURCE),
        ((2, 999), Status::BAD_RESOURCE),
        ((0, 0), Status::BAD_PARAMETER),
    ] {
        assert_eq!(bench.command(&wrong(to).with(0x44, 31, 0, group)), Err(status), "{to:?}");
    }
    let circle = bench.table_request(9).with(0x18, 27, 24, 1).with(0x1c, 23, 0, low);
    assert_eq!(bench.command(&circle), Err(Status::BAD_PARAMETER));
    bench.assert_clean();
}

#[test]
fn groups_and_entries_have_their_places() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let table = bench.table(0);
    let group = bench.group(table, 0, 7, &[(0x04, 0xffff)]);
    let groups = [(7, 8), (0, 0), (8, 16), (9, 8)];
    for (first, last) in groups {
        let request = Bench::group_request(table, first, last, &[]);
        assert_eq!(bench.command(&request), Err(Status::BAD_PARAMETER), "{first} to {last}");
    }
    // Headers inside of a tunnel cannot be matched.
    let inner = Bench::group_request(table, 8, 9, &[(0x80, 1)]).with(0x3c, 7, 0, 4);
    assert_eq!(bench.command(&inner), Err(Status::BAD_PARAMETER));
    let entry = |index| Bench::entry_request(table, group, index, (2, set.tir), &[(0x04, 0x0800)]);
    assert_eq!(bench.command(&entry(8)), Err(Status::BAD_INDEX));
    bench.done(&entry(0));
    assert_eq!(bench.command(&entry(0)), Err(Status::BAD_RESOURCE_STATE));
    assert_eq!(bench.command(&entry(0).modifier(1)), Err(Status::BAD_PARAMETER), "entries do not change");
    bench.plane.limits.flow_modify = true;
    assert_eq!(bench.command(&entry(1).modifier(1)), Err(Status::BAD_INDEX));
    assert_eq!(bench.command(&entry(1).with(0x4c, 15, 0, 0x80)), Err(Status::BAD_PARAMETER));
    bench.assert_clean();
    bench.done(&entry(2).with(0x80, 31, 0, 1));
    bench.assert_violated("bits that its group does not match");
}

#[test]
fn hashes_spread_over_a_table_of_queues() {
    let mut bench = Bench::new("");
    let mut spread = Spread::new(&mut bench);
    let key: [u8; 40] = std::array::from_fn(|n| (n * 37 + 11) as u8);
    let list = [3, 2, 1, 0, 0, 1, 2, 3].map(|n: usize| spread.rqns[n]);
    let rqt = bench.made(&rqt_request(0x916, 8, &list));
    // Addresses and ports of UDP over IPv4.
    let request = bench.tir_request(0).with(0x24, 31, 28, 1).with(0x40, 23, 0, rqt).with(0x44, 31, 28, 2);
    let tir = bench.made(&request.with(0x70, 31, 0, 1 << 30 | 0xf).bytes(0x48, &key));
    let (table, group) = (spread.set.table, spread.set.group);
    bench.entry(table, group, 0, (2, tir), &[]);
    for port in 1..20_u16 {
        let packet = udp([10, 0, 0, 2], port, &[]);
        bench.send(&mut spread.set.sq, &packet);
        bench.read(&mut spread.set.tx_cq);
        let got = bench.read(&mut spread.cq);
        let hash = toeplitz(&key, &packet[26..38]);
        assert_eq!((u32_at(&got[0], 0x0c), got[0][0x10]), (hash, 1 << 2 | 2 << 6));
        assert_eq!(u32_at(&got[0], 0x20), [3, 2, 1, 0, 0, 1, 2, 3][hash as usize % 8]);
    }
    // What has not these headers goes to the first.
    assert_eq!(spread.send(&mut bench, &[frame(60)]), [(3, 0)]);
    // Another list, and addresses only.
    bench.done(&rqt_request(0x917, 8, &list[..1]).with(0x08, 23, 0, rqt).with(0x14, 0, 0, 1));
    assert_eq!(spread.send(&mut bench, &[udp([10, 0, 0, 2], 1, &[])]), [(3, 0)]);
    let request = Request::new(0x901, 0x110).with(0x08, 23, 0, tir).with(0x14, 31, 0, 4).bytes(0x48, &key);
    bench.done(&request.with(0x44, 31, 28, 2).with(0x70, 31, 0, 3));
    let packet = udp([10, 0, 0, 2], 7, &[]);
    bench.send(&mut spread.set.sq, &packet);
    let got = bench.read(&mut spread.cq);
    assert_eq!((u32_at(&got[0], 0x0c), got[0][0x10]), (toeplitz(&key, &packet[26..34]), 1 << 2));
    assert_eq!(bench.on(0x918, rqt), Err(Status::RESOURCE_BUSY));
    bench.assert_clean();
}

#[test]
fn both_ways_of_a_flow_hash_alike_where_that_is_asked_for() {
    let mut bench = Bench::new("");
    let mut spread = Spread::new(&mut bench);
    let key: [u8; 40] = std::array::from_fn(|n| (n * 37 + 11) as u8);
    let request = bench.tir_request(spread.rqns[0]).with(0x44, 31, 28, 2).with(0x70, 31, 0, 1 << 30 | 0xf);
    let tir = bench.made(&request.with(0x40, 31, 31, 1).bytes(0x48, &key));
    let (table, group) = (spread.set.table, spread.set.group);
    bench.entry(table, group, 0, (2, tir), &[]);
    let there = udp([10, 0, 0, 2], 53, &[]);
    let mut back = there.clone();
    back[26..30].copy_from_slice(&there[30..34]);
    back[30..34].copy_from_slice(&there[26..30]);
    back[34..36].copy_from_slice(&there[36..38]);
    back[36..38].copy_from_slice(&there[34..36]);
    bench.send(&mut spread.set.sq, &there);
    bench.send(&mut spread.set.sq, &back);
    let got = bench.read(&mut spread.cq);
    assert_eq!(u32_at(&got[0], 0x0c), u32_at(&got[1], 0x0c));
    assert_ne!(u32_at(&got[0], 0x0c), 0);
    bench.assert_clean();
}

#[test]
fn tables_of_queues_have_a_power_of_two_of_entries() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let rqns = vec![set.rq.id; 1024];
    for (max, count, status) in [
        (3, 1, Status::BAD_PARAMETER),
        (0, 0, Status::BAD_PARAMETER),
        (4, 3, Status::BAD_PARAMETER),
        (2, 4, Status::BAD_PARAMETER),
        (1024, 1024, Status::BAD_PARAMETER),
    ] {
        assert_eq!(bench.command(&rqt_request(0x916, max, &rqns[..count])), Err(status), "{max} {count}");
    }
    assert_eq!(bench.command(&rqt_request(0x916, 4, &rqns[..1]).with(0x38, 15, 0, 4)), Err(Status::BAD_INPUT_LENGTH));
    assert_eq!(bench.command(&rqt_request(0x916, 1, &[0x999])), Err(Status::BAD_RESOURCE));
    bench.made(&rqt_request(0x916, 512, &rqns[..512]));
    bench.assert_clean();
}

#[test]
fn only_fields_that_the_card_knows_are_matched() {
    let mut bench = Bench::new("");
    let table = bench.table(0);
    let group = |mask: (usize, u32)| Bench::group_request(table, 0, 0, &[mask]);
    let version = (0x10, 0xf << 9);
    for mask in [version, (0x18, 0xff), (0x18, 1 << 8)] {
        assert_eq!(bench.command(&group(mask)), Err(Status::BAD_PARAMETER), "{mask:x?}");
    }
    bench.plane.limits.fields |= 1 << 28;
    bench.made(&group(version));
    let modify = Request::new(0x93c, 0x40).with(0x0c, 15, 0, 1).with(0x14, 23, 0, table);
    assert_eq!(bench.command(&modify), Err(Status::BAD_PARAMETER), "tables do not change");
    bench.assert_clean();
}

#[test]
fn an_entry_does_one_thing_and_has_an_end() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let entry = Bench::entry_request(set.table, set.group, 6, (2, set.tir), &[]);
    for (action, count) in [(0, 0), (6, 1), (3, 0), (8, 0)] {
        let request = entry.clone().with(0x4c, 15, 0, action).with(0x50, 23, 0, count);
        assert_eq!(bench.command(&request), Err(Status::BAD_PARAMETER), "{action}");
    }
    let many = |count: u32| {
        let request = entry.clone().with(0x50, 23, 0, count);
        let list = [2 << 24 | set.tir].repeat(count as usize);
        let list = list.iter().flat_map(|to| [*to, 0]).flat_map(u32::to_be_bytes);
        Request(request.0[..0x340].iter().copied().chain(list).collect())
    };
    assert_eq!(bench.command(&many(1025)), Err(Status::EXCEEDS_LIMIT));
    bench.done(&many(1024));
    bench.assert_clean();
}

#[test]
fn of_many_entries_alike_the_lowest_counts() {
    let mut bench = Bench::new("");
    let mut spread = Spread::new(&mut bench);
    let tirs: Vec<u32> = (0..2).map(|n| spread.direct(&mut bench, n)).collect();
    let table = bench.made(&bench.table_request(0).with(0x18, 7, 0, 16));
    let group = bench.group(table, 0, 0xffff, &[(0x04, 0xffff), (0x1c, 0xffff)]);
    for n in 0..10_000 {
        bench.entry(table, group, 100 + n, (2, tirs[0]), &[(0x04, 0x0800), (0x1c, n)]);
    }
    let web = [(0x04, 0x0800), (0x1c, 80)];
    bench.entry(table, group, 50_000, (2, tirs[0]), &web);
    bench.entry(table, group, 7, (2, tirs[1]), &web);
    bench.root(table);
    for (forgotten, to) in [(7, [(1, 0)]), (180, [(0, 0)]), (50_000, [(0, 0)])] {
        assert_eq!(spread.send(&mut bench, &[udp([10, 0, 0, 2], 80, &[])]), to);
        bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, table).with(0x20, 31, 0, forgotten));
    }
    assert_eq!(spread.send(&mut bench, &[udp([10, 0, 0, 2], 80, &[])]), []);
    bench.assert_clean();
}

#[test]
fn places_that_hash_nothing_are_cheap() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let request = bench.tir_request(set.rq.id);
    for _ in 0..2000 {
        bench.made(&request);
    }
    assert_eq!(bench.plane.counts().tirs, 2001);
}
