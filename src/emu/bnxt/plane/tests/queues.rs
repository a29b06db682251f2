//! Completion and notification queues: phases, room, coalescing, interrupts.

use super::*;

#[test]
fn the_valid_bit_toggles_and_records_straddle_the_end() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        // An odd entry in front: from now on records begin at odd slots.
        bench.plane.post_done(&mut bench.board, set.rx_cq.id, 7);
        assert_eq!(bench.read(&mut set.rx_cq), [[0x20 | 7 << 16, 1]]);
        for n in 0..200u32 {
            bench.send(&mut set.tx, &frame(60));
            bench.read(&mut set.tx_cq);
            let pass = |at: u32| u64::from(at / (4 * RING) % 2 == 0);
            let at = 1 + 2 * n;
            let record = bench.read(&mut set.rx_cq);
            assert_eq!(record.len(), 2, "{n}");
            assert_eq!([record[0][1] & 1, record[1][1] & 1], [pass(at), pass(at + 1)]);
            assert_eq!(record[0][0] >> 32, u64::from(n % RING));
            bench.post(&mut set.rx, 1, 2048, 0x04);
        }
        bench.assert_clean();
    }
}

#[test]
fn a_queue_that_runs_over_is_dead_and_no_slot_is_written_twice() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        for _ in 0..2 * RING + 2 {
            bench.send(&mut set.tx, &frame(60));
        }
        assert_eq!(bench.violations().len(), 1);
        bench.assert_violated("completion queue overflow");
        let entries = bench.read(&mut set.tx_cq);
        assert_eq!(entries.len() as u32, 2 * RING);
        bench.send(&mut set.tx, &frame(60));
        assert!(bench.read(&mut set.tx_cq).is_empty());
    }
}

#[test]
fn a_queue_that_nobody_set_holds_the_first_completion_back() {
    let mut bench = Bench::new(Chip::P4, "");
    let set = bench.start();
    let at = bench.take(4096);
    let address = bench.iova(at);
    let mut cq = set.tx_cq;
    bench.plane.free_ring(&mut bench.board, RingKind::Transmit, set.tx.id).unwrap();
    bench.plane.free_ring(&mut bench.board, RingKind::Completion, cq.id).unwrap();
    let spec = RingSpec { address, logical_id: cq.slot, ..bench.spec(RingKind::Completion, 64) };
    cq.id = bench.plane.alloc_ring(&mut bench.board, &spec).unwrap();
    (cq.at, cq.next, cq.length) = (at, 0, 64);
    let mut tx = bench.tx_ring(cq, set.stat);
    let descriptor = bench.data(0x140, 0, &frame(60));
    bench.push(&mut tx, &[descriptor]);
    bench.run(27 * MICROSECOND);
    assert!(bench.poll(&mut cq).is_empty());
    bench.run(3 * MICROSECOND);
    assert_eq!(bench.read(&mut cq).len(), 1);
    // Thirty are enough.
    for n in 1..31 {
        let descriptor = bench.data(0x140, n, &frame(60));
        bench.push(&mut tx, &[descriptor]);
    }
    bench.run(2 * MICROSECOND);
    assert_eq!(bench.read(&mut cq).len(), 30);
    // And so is who asks for it.
    let descriptor = bench.data(0x8140, 31, &frame(60));
    bench.push(&mut tx, &[descriptor]);
    bench.run(MICROSECOND);
    assert_eq!(bench.read(&mut cq).len(), 1);
    bench.assert_clean();
}

#[test]
fn times_and_counts_of_coalescing_are_kept() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let how = Coalescing { count: [3, 3], timer: [125, 125], ..immediate(set.tx_cq.id) };
    bench.plane.set_coalescing(&how).unwrap();
    let mut send = |bench: &mut Bench, count: u32| {
        for n in 0..count {
            let descriptor = bench.data(0x140, n, &frame(60));
            bench.push(&mut set.tx, &[descriptor]);
        }
        bench.run(MICROSECOND);
    };
    send(&mut bench, 2);
    assert!(bench.read(&mut set.tx_cq).is_empty());
    send(&mut bench, 1);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 3);
    send(&mut bench, 1);
    bench.run(8 * MICROSECOND);
    assert!(bench.read(&mut set.tx_cq).is_empty());
    bench.run(2 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
}

#[test]
fn an_armed_queue_interrupts_once() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let vector = set.tx_cq.slot;
    let sent = |bench: &Bench| bench.board.bus.interrupts.sent(vector);
    bench.send(&mut set.tx, &frame(60));
    assert_eq!(sent(&bench), 0);
    // What is there already is told at once.
    bench.bell(set.tx_cq, CQ_ARM, 0);
    assert_eq!(sent(&bench), 1);
    bench.send(&mut set.tx, &frame(60));
    assert_eq!(sent(&bench), 1);
    let entries = bench.read(&mut set.tx_cq);
    assert_eq!(entries.len(), 2);
    bench.bell(set.tx_cq, CQ_ARM, 2);
    bench.run(10 * MICROSECOND);
    assert_eq!(sent(&bench), 1);
    bench.send(&mut set.tx, &frame(60));
    assert_eq!(sent(&bench), 2);
    // Masked, it is silent.
    bench.read(&mut set.tx_cq);
    bench.bell(set.tx_cq, CQ_ARM, 3);
    bench.bell(set.tx_cq, CQ, 3);
    bench.send(&mut set.tx, &frame(60));
    assert_eq!(sent(&bench), 2);
    bench.assert_clean();
}

#[test]
fn an_armed_queue_notifies_and_the_notification_interrupts() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let mut nq = set.nq.unwrap();
    bench.bell(set.tx_cq, CQ_ARM, 0);
    bench.send(&mut set.tx, &frame(60));
    let handle = 0x0100_0000 | u64::from(set.tx_cq.slot);
    assert_eq!(bench.poll(&mut nq), [[0x30 | handle << 32, 1]]);
    assert_eq!(bench.board.bus.interrupts.sent(0), 0);
    bench.bell(nq, NQ_ARM, 0);
    assert_eq!(bench.board.bus.interrupts.sent(0), 1);
    // Not armed again, neither of both tells more.
    bench.send(&mut set.tx, &frame(60));
    assert!(bench.poll(&mut nq).is_empty());
    bench.read(&mut set.tx_cq);
    bench.bell(nq, NQ_ARM, 1);
    bench.bell(set.tx_cq, CQ_ARM, 2);
    bench.send(&mut set.tx, &frame(60));
    assert_eq!((bench.read(&mut nq).len(), bench.board.bus.interrupts.sent(0)), (1, 2));
    // Who polls has no notifications.
    bench.read(&mut set.tx_cq);
    bench.send(&mut set.tx, &frame(60));
    assert!(bench.poll(&mut nq).is_empty());
    bench.assert_clean();
}

#[test]
fn events_go_to_their_ring_and_are_lost_when_a_notification_queue_is_full() {
    let event = AsyncEvent { id: 0, data1: 1, ..AsyncEvent::default() };
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    bench.plane.post_async(&mut bench.board, event);
    bench.plane.set_async_ring(set.tx_cq.id).unwrap();
    assert_eq!(bench.plane.set_async_ring(set.tx.id), Err(Refusal::INVALID));
    bench.plane.set_async_ring(set.tx_cq.id).unwrap();
    bench.plane.post_async(&mut bench.board, event);
    assert_eq!(bench.read(&mut set.tx_cq), [[0x2e, 1 | 1 << 32]]);
    bench.assert_clean();

    let mut bench = Bench::new(Chip::P5, "");
    let set = bench.start();
    let mut nq = set.nq.unwrap();
    assert_eq!(bench.plane.set_async_ring(set.tx_cq.id), Err(Refusal::INVALID));
    bench.plane.set_async_ring(nq.id).unwrap();
    for _ in 0..RING + 5 {
        bench.plane.post_async(&mut bench.board, event);
    }
    assert_eq!(bench.read(&mut nq).len() as u32, RING);
    bench.plane.post_async(&mut bench.board, event);
    assert_eq!(bench.read(&mut nq), [[0x2e, 1 << 32]]);
    bench.assert_clean();
}

#[test]
fn halves_and_aggregation_entries_come_late() {
    let mut bench = Bench::new(Chip::P4, ",nasty,seed=3");
    let mut set = bench.start_with(true);
    let placement = Placement { flags: 2, jumbo: 2048, ..Placement::default() };
    bench.plane.set_placement(set.vnic.into(), 1, placement).unwrap();
    let mut agg = set.agg.unwrap();
    bench.post(&mut agg, 20, 2048, 0x06);
    let mut partial = 0;
    for n in 0..10 {
        let descriptor = bench.data(0x8140 | 3 << 13, n, &frame(4000));
        bench.push(&mut set.tx, &[descriptor]);
        for _ in 0..60 {
            bench.run(MICROSECOND / 2);
            let mut look = set.rx_cq;
            partial += u32::from(matches!(bench.poll(&mut look).len(), 1 | 2));
        }
        assert_eq!(bench.read(&mut set.rx_cq).len(), 3);
        bench.read(&mut set.tx_cq);
    }
    assert!(partial > 10, "{partial}");
    bench.assert_clean();
}

#[test]
fn a_half_that_never_comes_is_a_fault() {
    let mut bench = Bench::new(Chip::P4, ",fault=half:2");
    let mut set = bench.start();
    for _ in 0..3 {
        bench.send(&mut set.tx, &frame(60));
    }
    assert_eq!(bench.poll(&mut set.rx_cq).len(), 3);
    bench.assert_clean();
}

#[test]
fn a_nasty_card_loses_nothing_of_a_driver_that_waits() {
    for chip in CHIPS {
        for seed in 0..4 {
            let mut bench = Bench::new(chip, &format!(",nasty,seed={seed}"));
            let mut set = bench.start();
            for n in 0..300usize {
                let sent = frame(60 + n);
                bench.send(&mut set.tx, &sent);
                bench.run(10 * MICROSECOND);
                assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
                let record = bench.read(&mut set.rx_cq);
                assert_eq!((record.len(), record[0][0] >> 16 & 0xffff), (2, 60 + n as u64));
                assert_eq!(bench.buffer(set.rx, n as u32, sent.len()), sent);
                bench.post(&mut set.rx, 1, 2048, 0x84);
            }
            bench.assert_clean();
        }
    }
}
