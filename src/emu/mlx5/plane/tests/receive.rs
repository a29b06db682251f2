//! Receive: what is in buffers and in completions.

use super::*;

/// Sends frames and returns what completions say of them.
fn round(bench: &mut Bench, set: &mut Set, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    frames.iter().for_each(|frame| bench.send(&mut set.sq, frame));
    bench.read(&mut set.tx_cq);
    bench.read(&mut set.rx_cq)
}

#[test]
fn a_completion_says_what_was_found_in_the_headers() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let good = udp([10, 0, 0, 2], 53, &[7; 301]);
    let mut bad = good.clone();
    bad[60] ^= 1;
    let mut short = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 9);
    builder.tcp(1, 2, 3, 4).ack(1).write(&mut short, &[]).unwrap();
    let got = round(&mut bench, &mut set, &[good.clone(), bad, short, frame(60)]);
    let said: Vec<_> = got.iter().map(|entry| (entry[0x1c], entry[0x1d])).collect();
    assert_eq!(said, [(7, 0x28), (3, 0x28), (7, 0x34), (1, 0)]);
    assert_eq!(u16_at(&got[0], 0x14), crate::emu::frame::sum(&good[14..], 0));
    bench.assert_clean();
}

#[test]
fn the_sum_leaves_out_tag_and_padding() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let plain = udp([10, 0, 0, 2], 53, &[]);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 5]);
    let mut padded = plain.clone();
    padded.resize(60, 0xee);
    let got = round(&mut bench, &mut set, &[plain, tagged, padded]);
    let sums: Vec<_> = got.iter().map(|entry| u16_at(entry, 0x14)).collect();
    assert!(sums[0] == sums[1] && sums[0] == sums[2], "{sums:x?}");
    bench.assert_clean();
}

#[test]
fn tags_are_taken_off_unless_the_queue_keeps_them() {
    let mut tagged = frame(100);
    tagged.splice(12..12, [0x81, 0, 0x20, 5]);
    for keeps in [0, 1] {
        let mut bench = Bench::new("");
        let mut set = bench.start_with(|request| request, |request| request.with(0x20, 28, 28, keeps));
        let got = round(&mut bench, &mut set, std::slice::from_ref(&tagged));
        let len = if keeps == 1 { 104 } else { 100 };
        assert_eq!((u32_at(&got[0], 0x2c), got[0][0x1d] & 1), (len, 1 - keeps as u8));
        assert_eq!(u16_at(&got[0], 0x1e), if keeps == 1 { 0 } else { 0x2005 });
        let expected = if keeps == 1 { tagged.clone() } else { frame(100) };
        assert_eq!(bench.bytes(bench.buffer(set.rq, 0), len as usize), expected);
        // MODIFY_RQ changes it while it runs.
        let request = Request::new(0x909, 0x110).with(0x08, 31, 28, 1).with(0x08, 23, 0, set.rq.id);
        let request = request.with(0x14, 31, 0, 2).with(0x20, 28, 28, 1 - keeps).with(0x20, 23, 20, 1);
        bench.done(&request);
        let got = round(&mut bench, &mut set, std::slice::from_ref(&tagged));
        assert_eq!(got[0][0x1d] & 1, keeps as u8);
        bench.assert_clean();
    }
}

#[test]
fn a_frame_that_is_too_long_uses_up_its_entry_and_the_queue_goes_on() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let mut rq = bench.rq(set.rx_cq, |request| request);
    bench.post(&mut rq, 4, 256);
    let tir = bench.made(&bench.tir_request(rq.id));
    bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, set.table));
    bench.entry(set.table, set.group, 0, (2, tir), &[]);
    let got = round(&mut bench, &mut set, &[frame(100), frame(257), frame(256)]);
    let verdicts: Vec<_> = got.iter().map(|entry| (verdict(entry), u16_at(entry, 0x3c))).collect();
    assert_eq!(verdicts, [((2, 0), 0), ((0xe, 1), 1), ((2, 0), 2)]);
    assert_eq!((bench.state(0x90b, rq.id), bench.plane.counters.rx_errors), (1, 1));
    bench.assert_clean();
}

#[test]
fn a_frame_is_scattered_until_the_key_that_ends_the_list() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let rq = bench.rq_of(set.rx_cq, 1, 2, 6, |request| request);
    let buffers = [bench.take(100), bench.take(50), bench.take(100)];
    let key = bench.lkey;
    let piece = |bench: &Bench, at: usize, len: u32| {
        let iova = bench.iova(at);
        [len, key, (iova >> 32) as u32, iova as u32]
    };
    let list = [piece(&bench, buffers[0], 100), piece(&bench, buffers[1], 50), [0, 0x100, 0, 0]].concat();
    bench.put_words(rq.at, &[&list[..], &piece(&bench, buffers[2], 100)].concat());
    bench.put_words(rq.at + 64, &[&list[..], &piece(&bench, buffers[2], 100)].concat());
    bench.put_words(rq.record, &[2]);
    let tir = bench.made(&bench.tir_request(rq.id));
    bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, set.table));
    bench.entry(set.table, set.group, 0, (2, tir), &[]);
    let got = round(&mut bench, &mut set, &[frame(140), frame(151)]);
    assert_eq!([verdict(&got[0]), verdict(&got[1])], [(2, 0), (0xe, 1)]);
    assert_eq!([bench.bytes(buffers[0], 100), bench.bytes(buffers[1], 40)].concat(), frame(140));
    assert_eq!(bench.bytes(buffers[2], 100), [0; 100]);
    bench.assert_clean();
}

#[test]
fn frames_without_a_buffer_are_lost_and_counted() {
    let mut bench = Bench::new("");
    let counter = u32_at(&bench.on(0x771, 0).unwrap(), 8);
    let mut set = bench.start_with(|request| request, |request| request.with(0x2c, 31, 24, counter));
    let frames: Vec<_> = (0..18).map(|_| frame(60)).collect();
    assert_eq!(round(&mut bench, &mut set, &frames).len(), 16);
    let query = |clear| Request::new(0x773, 0x20).with(0x18, 31, 31, clear).with(0x1c, 7, 0, counter);
    assert_eq!(u32_at(&bench.command(&query(1)).unwrap(), 0x30), 2);
    assert_eq!(u32_at(&bench.command(&query(0)).unwrap(), 0x30), 0);
    assert_eq!((bench.plane.counters.rx.total(), bench.on(0x772, counter)), (18, Err(Status::RESOURCE_BUSY)));
    bench.post(&mut set.rq, 1, 2048);
    assert_eq!(round(&mut bench, &mut set, &[frame(60)]).len(), 1);
    bench.assert_clean();
}

#[test]
fn memory_that_is_not_there_stops_the_queue_which_is_flushed() {
    for nasty in [false, true] {
        let mut bench = Bench::new(if nasty { ",nasty" } else { "" });
        let mut set = bench.start();
        bench.put_words(set.rq.at + 8, &[0x7fff]);
        let mut got = round(&mut bench, &mut set, &[frame(60), frame(60)]);
        bench.run(60 * MILLISECOND);
        got.append(&mut bench.read(&mut set.rx_cq));
        assert_eq!((got.len(), verdict(&got[0]), got[0][0x36]), (16, (0xe, 4), 0x52));
        assert!(got[1..].iter().enumerate().all(|(n, e)| (verdict(e), u16_at(e, 0x3c)) == ((0xe, 5), n as u16 + 1)));
        assert_eq!(bench.state(0x90b, set.rq.id), 3);
        assert_eq!(bench.plane.trouble(), nasty.then_some(0x0a));
    }
    // A key that is not the queue's.
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.put_words(set.rq.at + 4, &[0x9900]);
    let got = round(&mut bench, &mut set, &[frame(60)]);
    assert_eq!((verdict(&got[0]), got[0][0x36]), ((0xe, 4), 0x53));
    bench.assert_violated("receive buffer with a key");
}

#[test]
fn a_queue_begins_with_what_its_record_holds_when_it_becomes_ready() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let rq = set.rq.id;
    assert_eq!(round(&mut bench, &mut set, &[frame(60), frame(60)]).len(), 2);
    bench.change(0x909, rq, 1, 3).unwrap();
    bench.run(MILLISECOND);
    assert_eq!(bench.read(&mut set.rx_cq).len(), 14, "what was posted is flushed");
    assert_eq!(bench.change(0x909, rq, 3, 1), Err(Status::BAD_QUEUE_STATE));
    bench.change(0x909, rq, 3, 0).unwrap();
    // The record was not zeroed: old entries count, from the first on.
    bench.ready(0x909, rq);
    let got = round(&mut bench, &mut set, &[frame(60)]);
    assert_eq!(u16_at(&got[0], 0x3c), 0);
    bench.change(0x909, rq, 1, 0).unwrap();
    bench.put_words(set.rq.record, &[0]);
    bench.ready(0x909, rq);
    assert_eq!(round(&mut bench, &mut set, &[frame(60)]).len(), 0);
    set.rq.next = 0;
    bench.post(&mut set.rq, 1, 2048);
    let got = round(&mut bench, &mut set, &[frame(60)]);
    assert_eq!((got.len(), u16_at(&got[0], 0x3c)), (1, 0));
    bench.assert_clean();
}

#[test]
fn a_record_with_more_than_the_ring_has_is_a_catastrophe() {
    let mut bench = Bench::new("");
    let mut errors = bench.eq(LOG, 1, 1 << 5);
    let mut set = bench.start();
    let rq = bench.rq(set.rx_cq, |request| request);
    bench.put_words(rq.record, &[33]);
    let tir = bench.made(&bench.tir_request(rq.id));
    bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, set.table));
    bench.entry(set.table, set.group, 0, (2, tir), &[]);
    round(&mut bench, &mut set, &[frame(60)]);
    let got = bench.poll(&mut errors);
    assert_eq!((got.len(), got[0][1], u32_at(&got[0], 0x38)), (1, 5, rq.id));
    assert_eq!(bench.state(0x90b, rq.id), 3);
    bench.assert_violated("more than its ring has");
}

#[test]
fn only_what_the_vport_takes_is_received() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.plane.vport.promiscuous = [false; 3];
    let mut own = frame(60);
    own[..6].copy_from_slice(&OWN);
    let mut all = frame(60);
    all[..6].fill(0xff);
    assert_eq!(round(&mut bench, &mut set, &[frame(60), own.clone(), all]).len(), 2);
    assert_eq!(bench.plane.counters.unwanted, 1);
    bench.plane.vport.l2.push((0, [2, 0, 0, 0, 0, 9]));
    assert_eq!(round(&mut bench, &mut set, &[frame(60)]).len(), 1);
    bench.assert_clean();
}

#[test]
fn frames_longer_than_the_vports_are_dropped_but_not_by_a_nasty_card() {
    for nasty in [false, true] {
        let mut bench = Bench::new(if nasty { ",nasty" } else { "" });
        let mut set = bench.start();
        bench.plane.vport.mtu = 9500;
        let rest = bench.packet(&frame(9000), 18, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        bench.push(&mut set.sq, &words);
        // It has left, and is not there yet.
        bench.plane.step(&mut bench.board);
        bench.plane.vport.mtu = 1522;
        bench.run(100 * MICROSECOND);
        let got = bench.read(&mut set.rx_cq);
        let verdicts: Vec<_> = got.iter().map(|entry| verdict(entry)).collect();
        assert_eq!(verdicts, if nasty { vec![(0xe, 1)] } else { vec![] });
        assert_eq!(bench.plane.port.too_long, u64::from(!nasty));
    }
}

#[test]
fn strides_take_frames_one_behind_the_other_and_fillers_their_place() {
    for kind in [2, 3] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        // 512 strides of 64 bytes in each of four entries.
        let rq = bench.rq_of(set.rx_cq, kind, 2, 5, |request| request);
        let mut buffers = Vec::new();
        for n in 0..4_u32 {
            let buffer = bench.take(512 * 64);
            let iova = bench.iova(buffer);
            // Linked entries come in another order.
            let next = [2, 3, 1, 0][n as usize];
            let words = [next, 0, 0, 0, 512 * 64, bench.lkey, (iova >> 32) as u32, iova as u32];
            bench.put_words(rq.at + 32 * n as usize, &words);
            buffers.push(buffer);
        }
        bench.put_words(rq.record, &[4]);
        let tir = bench.made(&bench.tir_request(rq.id));
        bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, set.table));
        bench.entry(set.table, set.group, 0, (2, tir), &[]);
        let got = round(&mut bench, &mut set, &[frame(60), frame(65), frame(1514)]);
        let said = |entry: &Vec<u8>| (u16_at(entry, 2), u16_at(entry, 0x3c), u32_at(entry, 0x2c));
        let strides: Vec<_> = got.iter().map(said).collect();
        assert_eq!(strides, [(0, 0, 1 << 16 | 60), (0, 1, 2 << 16 | 65), (0, 3, 24 << 16 | 1514)]);
        assert_eq!(bench.bytes(buffers[0] + 64, 65), frame(65));
        // 485 strides are left: twenty frames take 480 of them.
        let frames: Vec<_> = (0..20).map(|_| frame(1514)).collect();
        assert_eq!(round(&mut bench, &mut set, &frames).len(), 20);
        let got = round(&mut bench, &mut set, &[frame(1514)]);
        let next = if kind == 2 { 2 } else { 1 };
        assert_eq!((got.len(), said(&got[0])), (2, (0, 507, 1 << 31 | 5 << 16)));
        assert_eq!(said(&got[1]), (next, 0, 24 << 16 | 1514));
        assert_eq!(bench.bytes(buffers[usize::from(next)], 1514), frame(1514));
        bench.assert_clean();
    }
}

#[test]
fn completions_are_compressed_only_where_that_was_asked_for() {
    for asked in [0, 1] {
        let mut bench = Bench::new("");
        let eq = bench.eq(LOG, 1, 0);
        let mut cq = bench.cq_with(LOG, eq, |request| request.with(0x10, 14, 14, asked).with(0x10, 13, 12, 1));
        let mut set = bench.start();
        let mut rq = bench.rq(cq, |request| request);
        bench.post(&mut rq, 16, 2048);
        let tir = bench.made(&bench.tir_request(rq.id));
        bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, set.table));
        bench.entry(set.table, set.group, 0, (2, tir), &[]);
        for len in [100, 101, 102] {
            let rest = bench.packet(&frame(len), 18, 0, 0);
            let words = Bench::entry_of(set.sq, 0x0a, 0, &rest);
            bench.place(&mut set.sq, &words);
        }
        let words = Bench::entry_of(set.sq, 0, 2, &[]);
        bench.push(&mut set.sq, &words);
        // All of them arrive between two looks.
        bench.plane.step(&mut bench.board);
        bench.board.now += 100 * MICROSECOND;
        let now = bench.board.now;
        bench.board.port.mac.tick(now);
        for _ in 0..8 {
            bench.plane.step(&mut bench.board);
        }
        bench.run(MICROSECOND);
        if asked == 0 {
            assert_eq!(bench.poll(&mut cq).len(), 3);
            continue;
        }
        let title = bench.bytes(cq.at, 64);
        let minis = bench.bytes(cq.at + 64, 24);
        assert_eq!((title[63], u32_at(&title, 0x2c), u16_at(&title, 0x3c)), (0x2c, 3, 0));
        let lens: Vec<_> = [4, 12, 20].map(|at| u32_at(&minis, at)).to_vec();
        assert_eq!(lens, [100, 101, 102]);
        bench.assert_clean();
    }
}
