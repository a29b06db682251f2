//! Event and completion queues, states of work queues, memory that goes.

use super::*;

#[test]
fn a_frame_that_is_sent_comes_round_and_both_ends_are_told() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    for len in [60, 61, 512, 1514] {
        bench.send(&mut set.sq, &frame(len));
        let sent = bench.read(&mut set.tx_cq);
        assert_eq!((sent.len(), verdict(&sent[0])), (1, (0, 0)), "{len}");
        assert_eq!((u32_at(&sent[0], 0x38), u32_at(&sent[0], 0x20)), (0x0a00_0000 | set.sq.id, 0x77));
        let got = bench.read(&mut set.rx_cq);
        assert_eq!((got.len(), verdict(&got[0]), u32_at(&got[0], 0x2c)), (1, (2, 0), len as u32));
        assert_eq!((u32_at(&got[0], 0x20), got[0][0x1c]), (0x99, 1));
        let buffer = bench.buffer(set.rq, u16_at(&got[0], 0x3c));
        assert_eq!(bench.bytes(buffer, len), frame(len));
        bench.post(&mut set.rq, 1, 2048);
    }
    bench.assert_clean();
    assert_eq!((bench.plane.counters.rx.total(), bench.plane.counters.tx.octets()), (4, 60 + 61 + 512 + 1514));
}

#[test]
fn the_owner_toggles_from_lap_to_lap() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    for n in 0..100 {
        bench.send(&mut set.sq, &frame(60));
        let [sent, got] = [bench.read(&mut set.tx_cq), bench.read(&mut set.rx_cq)];
        assert_eq!((sent.len(), got.len()), (1, 1), "{n}");
        assert_eq!(sent[0][63] & 1, (n / 32 % 2) as u8);
        assert_eq!((u16_at(&sent[0], 0x3c), u16_at(&got[0], 0x3c)), (n, n));
        bench.post(&mut set.rq, 1, 2048);
    }
    bench.assert_clean();
}

#[test]
fn an_armed_queue_tells_once_and_an_armed_event_queue_interrupts() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.arm_eq(set.eq);
    bench.send(&mut set.sq, &frame(60));
    assert_eq!((bench.poll(&mut set.eq).len(), bench.sent(3)), (0, 0), "nobody armed the completion queue");
    // There is something unread: it tells at once.
    bench.arm(set.tx_cq, 0);
    let events = bench.poll(&mut set.eq);
    assert_eq!((events.len(), events[0][1], u32_at(&events[0], 0x38)), (1, 0, set.tx_cq.id));
    assert_eq!(bench.sent(3), 1);
    bench.send(&mut set.sq, &frame(60));
    assert_eq!(bench.poll(&mut set.eq).len(), 0, "one arm holds for one event");
    bench.read(&mut set.tx_cq);
    // An arm from before the event is none.
    bench.arm(set.tx_cq, 0);
    bench.send(&mut set.sq, &frame(60));
    assert_eq!(bench.poll(&mut set.eq).len(), 0);
    bench.read(&mut set.tx_cq);
    bench.arm(set.tx_cq, 1);
    bench.send(&mut set.sq, &frame(60));
    assert_eq!((bench.poll(&mut set.eq).len(), bench.sent(3)), (1, 1), "the event queue is not armed");
    bench.arm_eq(Queue { next: 1, ..set.eq });
    assert_eq!(bench.sent(3), 2, "what is unread interrupts at once");
    bench.arm_eq(set.eq);
    assert_eq!(bench.sent(3), 2);
    bench.assert_clean();
}

#[test]
fn an_interrupt_may_be_lost_and_its_event_is_there() {
    let mut bench = Bench::new(",fault=lose-irq");
    let mut set = bench.start();
    bench.arm_eq(set.eq);
    bench.arm(set.tx_cq, 0);
    bench.send(&mut set.sq, &frame(60));
    assert_eq!((bench.poll(&mut set.eq).len(), bench.sent(3)), (1, 0));
    bench.assert_clean();
}

#[test]
fn events_come_to_the_queues_that_asked_for_them() {
    let mut bench = Bench::new("");
    let mut port = bench.eq(LOG, 1, 1 << 9);
    let mut pages = bench.eq(LOG, 2, 1 << 0xb);
    assert!(bench.plane.subscribed(9) && !bench.plane.subscribed(0xa));
    bench.arm_eq(port);
    let mut data = [0; 28];
    data[8] = 0x10;
    bench.plane.event(&mut bench.board, 9, 4, data);
    let got = bench.poll(&mut port);
    assert_eq!((got.len(), got[0][1], got[0][3], got[0][0x28], got[0][63]), (1, 9, 4, 0x10, 0));
    assert_eq!((bench.poll(&mut pages).len(), bench.sent(1), bench.sent(2)), (0, 1, 0));
    bench.plane.event(&mut bench.board, 0xa, 0, [0; 28]);
    assert_eq!(bench.poll(&mut port).len(), 0);
    bench.assert_clean();
}

#[test]
fn a_queue_of_events_that_runs_over_is_dead_and_the_health_buffer_says_so() {
    let mut bench = Bench::new("");
    let mut eq = bench.eq(2, 1, 1 << 9);
    (0..4).for_each(|_| bench.plane.event(&mut bench.board, 9, 1, [0; 28]));
    assert_eq!(bench.plane.trouble(), None);
    bench.plane.event(&mut bench.board, 9, 1, [0; 28]);
    assert_eq!((bench.plane.trouble(), bench.poll(&mut eq).len()), (Some(0x0c), 4));
    bench.arm_eq(eq);
    bench.plane.event(&mut bench.board, 9, 1, [0; 28]);
    assert_eq!(bench.poll(&mut eq).len(), 0);
    // With leave to write over what is unread there is no end.
    let (_, request) = bench.eq_request(2, 1, 1 << 4);
    bench.plane.reset(&mut bench.board);
    bench.uar = bench.plane.alloc_uar(&mut bench.board).unwrap();
    bench.made(&request.with(0x10, 17, 17, 1));
    (0..50).for_each(|_| bench.plane.event(&mut bench.board, 4, 0, [0; 28]));
    assert_eq!(bench.plane.trouble(), None);
    bench.assert_clean();
}

#[test]
fn a_completion_queue_that_runs_over_is_dead_and_its_queues_fail() {
    let mut bench = Bench::new("");
    let mut errors = bench.eq(LOG, 1, 1 << 4);
    let mut set = bench.start();
    for _ in 0..32 {
        bench.send(&mut set.sq, &frame(60));
        bench.read(&mut set.rx_cq);
        bench.post(&mut set.rq, 1, 2048);
    }
    assert_eq!(bench.poll(&mut errors).len(), 0);
    bench.send(&mut set.sq, &frame(60));
    let got = bench.poll(&mut errors);
    assert_eq!((got.len(), got[0][1], u32_at(&got[0], 0x20), got[0][0x2b]), (1, 4, set.tx_cq.id, 1));
    assert_eq!(bench.state(0x907, set.sq.id), 3);
    assert_eq!(bits(&bench.on(0x402, set.tx_cq.id).unwrap(), 0x10, 31, 28), 9);
    bench.assert_clean();
}

#[test]
fn a_collapsed_queue_writes_its_first_place_and_needs_no_consumer() {
    let mut bench = Bench::new("");
    let eq = bench.eq(LOG, 1, 0);
    let cq = bench.cq_with(0, eq, |request| request.with(0x10, 20, 20, 1).with(0x10, 17, 17, 1));
    let tis = bench.tis();
    let mut sq = bench.sq(cq, tis, |request| request);
    for n in 0..100 {
        bench.send(&mut sq, &frame(60));
        let entry = bench.bytes(cq.at, 64);
        assert_eq!((entry[0x38], u16_at(&entry, 0x3c), entry[63]), (0x0a, n, (n % 2) as u8));
    }
    bench.assert_clean();
}

#[test]
fn longer_entries_have_what_matters_in_their_second_half() {
    let mut bench = Bench::new("");
    let eq = bench.eq(LOG, 1, 0);
    let record = bench.take(8);
    let (at, request) = bench.pages(Request::new(0x400, 0x118), 128 << 4);
    let request = request.with(0x1c, 28, 24, 4).with(0x1c, 23, 0, bench.uar).with(0x10, 23, 21, 1);
    let request = request.with(0x24, 7, 0, eq.id).address(0x48, bench.iova(record));
    let cq = Queue { id: bench.made(&request), at, record, log: 4, next: 0 };
    let tis = bench.tis();
    let mut sq = bench.sq(cq, tis, |request| request);
    bench.send(&mut sq, &frame(60));
    bench.send(&mut sq, &frame(60));
    assert_eq!(bench.bytes(at, 64), [0xff; 64]);
    assert_eq!(u16_at(&bench.bytes(at + 128 + 64, 64), 0x3c), 1);
    bench.assert_clean();
}

#[test]
fn completions_are_moderated_by_count_and_by_time() {
    let mut bench = Bench::new("");
    let mut eq = bench.eq(LOG, 1, 0);
    let mut cq = bench.cq_with(LOG, eq, |request| request.with(0x20, 27, 16, 200).with(0x20, 15, 0, 3));
    let tis = bench.tis();
    let mut sq = bench.sq(cq, tis, |request| request);
    bench.arm(cq, 0);
    bench.send(&mut sq, &frame(60));
    bench.send(&mut sq, &frame(60));
    assert_eq!(bench.poll(&mut eq).len(), 0);
    bench.send(&mut sq, &frame(60));
    assert_eq!((bench.poll(&mut eq).len(), bench.read(&mut cq).len()), (1, 3));
    bench.arm(cq, 1);
    bench.send(&mut sq, &frame(60));
    bench.run(100 * MICROSECOND);
    assert_eq!(bench.poll(&mut eq).len(), 0);
    bench.run(100 * MICROSECOND);
    assert_eq!(bench.poll(&mut eq).len(), 1);
    // MODIFY_CQ takes it off.
    let request = Request::new(0x403, 0x110).with(0x08, 23, 0, cq.id).with(0x0c, 31, 0, 3);
    bench.done(&request);
    bench.read(&mut cq);
    bench.arm(cq, 2);
    bench.send(&mut sq, &frame(60));
    assert_eq!(bench.poll(&mut eq).len(), 1);
    bench.assert_clean();
}

#[test]
fn the_owner_of_an_entry_comes_last_and_later_on_a_nasty_card() {
    let mut bench = Bench::new(",nasty");
    let mut set = bench.start();
    let mut seen = 0;
    for _ in 0..40 {
        let rest = bench.packet(&frame(60), 18, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        bench.push(&mut set.sq, &words);
        let at = set.tx_cq.at + 64 * (set.tx_cq.next % 32) as usize;
        while bench.poll(&mut set.tx_cq.clone()).is_empty() {
            bench.board.now += MICROSECOND / 4;
            let now = bench.board.now;
            bench.board.port.mac.tick(now);
            bench.plane.step(&mut bench.board);
            let entry = bench.bytes(at, 64);
            // All but the last byte is there already.
            let whole = u16_at(&entry, 0x3c) == set.sq.next - 1 && entry[0x38] == 0x0a;
            seen += usize::from(whole && bench.poll(&mut set.tx_cq.clone()).is_empty());
        }
        bench.read(&mut set.tx_cq);
        bench.read(&mut set.rx_cq);
    }
    assert!(seen > 0);
}

#[test]
fn what_names_an_object_keeps_it_from_going() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let busy = Err(Status::RESOURCE_BUSY);
    let (uar, pd, td) = (bench.uar, bench.pd, bench.td);
    let group = |opcode| Request::new(opcode, 0x40).with(0x14, 23, 0, set.table).with(0x18, 31, 0, set.group);
    let held = [(0x302, set.eq.id), (0x401, set.tx_cq.id), (0x401, set.rx_cq.id), (0x914, set.tis), (0x902, set.tir)];
    for (opcode, id) in held.into_iter().chain([(0x90a, set.rq.id), (0x803, uar), (0x801, pd), (0x817, td)]) {
        assert_eq!(bench.on(opcode, id), busy, "{opcode:#x}");
    }
    assert_eq!(bench.command(&group(0x934)), busy);
    assert_eq!(bench.command(&group(0x931)), busy);
    bench.done(&Request::new(0x938, 0x40).with(0x14, 23, 0, set.table));
    bench.done(&group(0x934));
    bench.done(&group(0x931));
    let ids = [(0x902, set.tir), (0x90a, set.rq.id), (0x906, set.sq.id), (0x914, set.tis), (0x401, set.tx_cq.id)];
    let key = bench.lkey >> 8;
    let rest = [(0x401, set.rx_cq.id), (0x302, set.eq.id), (0x202, key), (0x803, uar), (0x801, pd), (0x817, td)];
    for (opcode, id) in ids.into_iter().chain(rest) {
        assert!(bench.on(opcode, id).is_ok(), "{opcode:#x}");
        assert_eq!(bench.on(opcode, id), Err(Status::BAD_RESOURCE), "{opcode:#x}");
    }
    assert!(bench.plane.counts().none());
    bench.assert_clean();
}

#[test]
fn a_card_goes_on_writing_until_bus_mastering_is_off() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    // A driver died: its buffers and queues are what they were.
    bench.send(&mut set.sq, &frame(60));
    assert_eq!(bench.poll(&mut set.rx_cq).len(), 1);
    bench.assert_clean();
    bench.board.bus.memory.set_bus_master(false);
    bench.plane.event(&mut bench.board, 9, 4, [0; 28]);
    bench.send(&mut set.sq, &frame(60));
    assert_eq!(bench.poll(&mut set.rx_cq).len(), 0);
    bench.board.bus.memory.set_bus_master(true);
    bench.plane.reset(&mut bench.board);
    assert!(bench.plane.counts().none());
    bench.run(MILLISECOND);
    assert_eq!(bench.poll(&mut set.rx_cq).len(), 0, "a reset forgets the queues");
}

#[test]
fn a_completion_queue_is_changed_in_what_is_named() {
    let mut bench = Bench::new("");
    let eq = bench.eq(LOG, 1, 0);
    let cq = bench.cq(1, eq);
    let all =
        Request::new(0x403, 0x110).with(0x08, 23, 0, cq.id).with(0x10, 17, 15, 0b101).with(0x20, 31, 0, 0x0005_0007);
    let told = |bench: &mut Bench| {
        let context = bench.on(0x402, cq.id).unwrap();
        [(0x10, 17, 17), (0x10, 16, 15), (0x20, 27, 16), (0x20, 15, 0)]
            .map(|(at, high, low)| bits(&context, at, high, low))
    };
    let mut expected = [0; 4];
    for (bit, at, value) in [(0, 2, 5), (1, 3, 7), (2, 0, 1), (4, 1, 1)] {
        bench.done(&all.clone().with(0x0c, 31, 0, 1 << bit));
        expected[at] = value;
        assert_eq!(told(&mut bench), expected);
    }
    // It now runs over as often as it likes.
    let tis = bench.tis();
    let mut sq = bench.sq(cq, tis, |request| request);
    (0..5).for_each(|_| bench.send(&mut sq, &frame(60)));
    assert_eq!(bench.state(0x907, sq.id), 1);
    bench.plane.limits.cq_oi = false;
    assert_eq!(bench.command(&all.with(0x0c, 31, 0, 4)), Err(Status::BAD_PARAMETER));
    bench.assert_clean();
}

#[test]
fn an_urgent_packet_that_was_read_tells_nobody() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    for (urgent, events) in [(true, 0), (false, 0), (true, 1)] {
        let words = Bench::entry_of(set.sq, 0, if urgent { 3 } else { 2 }, &[]);
        bench.push(&mut set.sq, &words);
        bench.run(20 * MICROSECOND);
        if events == 0 {
            bench.read(&mut set.tx_cq);
        }
        let word = 1 << 24 | set.tx_cq.next;
        bench.put_words(set.tx_cq.record + 4, &[word]);
        bench.bell(0x20, &[word.to_be_bytes(), set.tx_cq.id.to_be_bytes()].concat());
        assert_eq!(bench.poll(&mut set.eq).len(), events);
    }
    bench.assert_clean();
}

#[test]
fn records_at_the_end_of_all_addresses_are_not_there() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let (.., request) = bench.sq_request(set.tx_cq, set.tis);
    let id = bench.made(&request.address(0x60, u64::MAX - 3));
    bench.ready(0x905, id);
    bench.bell(0x800, &[[0, 0, 0, 10], (id << 8 | 1).to_be_bytes()].concat());
    bench.change(0x905, id, 1, 3).unwrap();
}

#[test]
fn a_queue_keeps_none_of_the_pages_beyond_its_ring() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let (.., mut request) = bench.cq_request(2, set.eq);
    request.0.resize(0x110 + 8 * 100_000, 1);
    let id = bench.made(&request);
    assert_eq!(bench.plane.cqs.get(id).unwrap().spec.place.pages.capacity(), 0);
    bench.assert_clean();
}
