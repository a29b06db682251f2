//! What is refused, and with which error; what goes on silently all the same.

use super::*;

const INVALID: Outcome<u16> = Err(Refusal::INVALID);

#[test]
fn ring_alloc_is_refused_what_makes_no_sense() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        bench.plane.set_queues(&[4]);
        let nq = chip.p5().then(|| bench.nq(0));
        let cq = bench.cq(64, nq.map(|nq| nq.id));
        let at = bench.take(65536);
        let enables = if chip.p5() { NQ } else { 0 };
        let nq = nq.map_or(0, |nq| nq.id);
        let good = RingSpec {
            address: bench.iova(at),
            logical_id: 7,
            enables,
            nq,
            cq: cq.id,
            queue: 4,
            buffer: 2048,
            ..bench.spec(RingKind::Completion, 64)
        };
        let mut try_it = |spec: RingSpec| bench.plane.alloc_ring(&mut bench.board, &spec);
        for bad in [
            RingSpec { length: 8, ..good },
            RingSpec { length: 48, ..good },
            RingSpec { length: 1 << 17, ..good },
            RingSpec { address: good.address + 16, ..good },
            RingSpec { address: 0, ..good },
            RingSpec { depth: 2, page_size: 12, ..good },
            RingSpec { depth: 1, page_size: 11, ..good },
            RingSpec { kind: None, ..good },
            RingSpec { kind: Some(RingKind::Transmit), cq: 99, ..good },
            RingSpec { kind: Some(RingKind::Transmit), queue: 0, ..good },
            RingSpec { enables: enables | 8, stat: 0, ..good },
            RingSpec { kind: Some(RingKind::Aggregation), ..good },
        ] {
            assert_eq!(try_it(bad), INVALID, "{bad:?}");
        }
        let more = if chip.p5() {
            [
                RingSpec { enables: 0, ..good },
                RingSpec { nq: 99, ..good },
                RingSpec { kind: Some(RingKind::Receive), enables: 0, ..good },
                RingSpec { kind: Some(RingKind::Aggregation), enables: RX_RING | BUFFER, rx_ring: 99, ..good },
            ]
        } else {
            // The slot is another's; there are no such kinds.
            let slot = RingSpec { logical_id: cq.slot, ..good };
            let kind = |kind| RingSpec { kind: Some(kind), ..good };
            [slot, kind(RingKind::Notification), kind(RingKind::Aggregation), slot]
        };
        for bad in more {
            assert_eq!(try_it(bad), INVALID, "{bad:?}");
        }
        try_it(good).unwrap();
        bench.assert_clean();
    }
}

#[test]
fn rings_may_lie_in_pages_and_each_must_be_memory() {
    let mut bench = Bench::new(Chip::P4, "");
    let (table, pages) = (bench.take(4096), [bench.take(4096), bench.take(4096)]);
    // The second page first.
    for (n, page) in pages.iter().rev().enumerate() {
        bench.put(table + 8 * n, &bench.iova(*page).to_le_bytes());
    }
    let spec =
        RingSpec { address: bench.iova(table), depth: 1, page_size: 12, ..bench.spec(RingKind::Completion, 512) };
    let id = bench.plane.alloc_ring(&mut bench.board, &spec).unwrap();
    for _ in 0..257 {
        bench.plane.post_done(&mut bench.board, id, 1);
    }
    assert_eq!(bench.words(pages[1] + 4080), [0x1_0020, 1]);
    assert_eq!(bench.words(pages[0]), [0x1_0020, 1]);
    bench.assert_clean();
    bench.put(table + 8, &[0; 8]);
    let spec = RingSpec { logical_id: 1, ..spec };
    assert_eq!(bench.plane.alloc_ring(&mut bench.board, &spec), INVALID);
}

#[test]
fn freeing_is_of_what_there_is_and_in_order() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let set = bench.start();
        let Bench { plane, board, .. } = &mut bench;
        assert_eq!(plane.free_ring(board, RingKind::Transmit, set.rx.id), Err(Refusal::INVALID));
        assert_eq!(plane.free_ring(board, RingKind::Transmit, 99), Err(Refusal::INVALID));
        for outcome in [plane.free_vnic(99), plane.free_group(99), plane.free_stat(board, 99), plane.free_context(99)] {
            assert_eq!(outcome, Err(Refusal::INVALID));
        }
        plane.free_vnic(set.vnic.into()).unwrap();
        plane.free_ring(board, RingKind::Completion, set.tx_cq.id).unwrap();
        plane.free_stat(board, set.stat.into()).unwrap();
        if let Some(nq) = set.nq {
            plane.free_ring(board, RingKind::Notification, nq.id).unwrap();
        }
        bench.assert_violated("completion queue freed while a ring reports");
        bench.assert_violated("statistics context freed while a ring counts");
        assert_eq!(bench.violations().len(), if chip.p5() { 3 } else { 2 });
    }
}

#[test]
fn a_queue_whose_memory_is_not_zero_is_a_violation() {
    let mut bench = Bench::new(Chip::P4, "");
    let at = bench.take(4096);
    bench.put_words(at + 32, [0, 1]);
    let spec = RingSpec { address: bench.iova(at), ..bench.spec(RingKind::Completion, 64) };
    bench.plane.alloc_ring(&mut bench.board, &spec).unwrap();
    bench.assert_violated("memory is not zero");
}

#[test]
fn ids_are_dense_or_anything() {
    let ids = |options: &str| {
        let mut bench = Bench::new(Chip::P4, options);
        (0..8).map(|_| bench.plane.alloc_vnic(&mut bench.board).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(""), [0, 1, 2, 3, 4, 5, 6, 7]);
    let odd = ids(",nasty,seed=1");
    assert!(odd.windows(2).any(|pair| pair[1] > pair[0] + 1), "{odd:?}");
    let mut bench = Bench::new(Chip::P4, ",nasty");
    let ids: Vec<_> = (0..4).map(|_| bench.plane.alloc_vnic(&mut bench.board).unwrap()).collect();
    bench.plane.free_vnic(ids[1].into()).unwrap();
    assert_eq!(bench.plane.alloc_vnic(&mut bench.board), Ok(ids[1]));
}

#[test]
fn a_vnic_must_lead_somewhere_before_it_has_filters() {
    let mut bench = Bench::new(Chip::P4, "");
    let vnic = bench.plane.alloc_vnic(&mut bench.board).unwrap();
    let request = [0; 0x60];
    let spec = L2Spec { vnic, ..L2Spec::of(&request) };
    assert_eq!(bench.plane.alloc_l2_filter(&mut bench.board, &spec), Err(Refusal::INVALID));
    let spec = L2Spec { vnic: 9, ..spec };
    assert_eq!(bench.plane.alloc_l2_filter(&mut bench.board, &spec), Err(Refusal::INVALID));
    let spec = VnicSpec { group: 9, ..vnic_spec(vnic, 1) };
    assert_eq!(bench.plane.configure_vnic(&spec), Err(Refusal::INVALID));
    assert_eq!(bench.mask(9, 8), Err(Refusal::INVALID));
    let mut bench = Bench::new(Chip::P4, ",fault=promiscuous");
    let vnic = bench.plane.alloc_vnic(&mut bench.board).unwrap();
    assert_eq!(bench.mask(vnic, 0x1a), Err(Refusal::DENIED));
    assert_eq!(bench.mask(vnic, 0x0a), Ok(()));
}

#[test]
fn placement_is_kept_and_thresholds_are_checked() {
    let mut bench = Bench::new(Chip::P4, "");
    let vnic = bench.plane.alloc_vnic(&mut bench.board).unwrap().into();
    assert_eq!(bench.plane.placement(vnic).unwrap().flags, 1);
    for threshold in [641, 0x400] {
        let placement = Placement { flags: 6, hds_threshold: threshold, ..Placement::default() };
        assert_eq!(bench.plane.set_placement(vnic, 4, placement), Err(Refusal::INVALID));
    }
    let placement = Placement { flags: 6, jumbo: 640, hds_offset: 7, hds_threshold: 640 };
    bench.plane.set_placement(vnic, 5, placement).unwrap();
    assert_eq!(bench.plane.placement(vnic), Ok(Placement { hds_offset: 0, ..placement }));
    assert_eq!(bench.plane.placement(9), Err(Refusal::INVALID));
    assert_eq!(bench.plane.set_tpa(vnic as u16, 0x3f), Ok(()));
}

#[test]
fn coalescing_is_of_live_queues_and_never_zero() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let set = bench.start();
        let good = immediate(set.tx_cq.id);
        bench.plane.set_coalescing(&good).unwrap();
        for bad in [
            Coalescing { ring: 99, ..good },
            Coalescing { ring: set.tx.id, ..good },
            Coalescing { count: [0, 1], ..good },
            Coalescing { count: [1, 64], ..good },
            Coalescing { timer: [0, 1], ..good },
            Coalescing { latency: [1, 0], ..good },
            Coalescing { interrupt: 0, ..good },
        ] {
            assert_eq!(bench.plane.set_coalescing(&bad), Err(Refusal::INVALID), "{bad:?}");
        }
        // What is not enabled does not count, on P5.
        let off = Coalescing { enables: 0, count: [0, 0], ..good };
        assert_eq!(bench.plane.set_coalescing(&off).is_ok(), chip.p5());
    }
}

#[test]
fn a_table_with_rings_that_are_not_there_is_refused() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let set = bench.start();
        let context = bench.plane.alloc_context(&mut bench.board).unwrap();
        let at = bench.take(4096);
        bench.put(at, &[0xff; 256]);
        let table = bench.iova(at);
        let spec = RssSpec { types: 1, vnic: set.vnic, pair: 0, table, key: 0, context };
        assert_eq!(bench.plane.set_rss(&mut bench.board, &spec), Err(Refusal::INVALID));
        let context = RssSpec { context: 99, ..spec };
        assert_eq!(bench.plane.set_rss(&mut bench.board, &context), Err(Refusal::INVALID));
        // Nothing at all is how spreading ends.
        let off = RssSpec { types: 0, table: 0, ..spec };
        assert_eq!(bench.plane.set_rss(&mut bench.board, &off), Ok(()));
    }
}

#[test]
fn a_ring_that_was_made_anew_is_not_found_by_its_old_id() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        bench.plane.free_ring(&mut bench.board, RingKind::Receive, set.rx.id).unwrap();
        let mut again = bench.rx_ring(set.rx_cq.slot, set.stat);
        assert_eq!(again.id, set.rx.id);
        bench.post(&mut again, 4, 2048, 0x04);
        bench.send(&mut set.tx, &frame(60));
        assert!(bench.read(&mut set.rx_cq).is_empty());
        assert_eq!(bench.plane.totals().rx_discards, 1);
        if !chip.p5() {
            // A new group with the old one's id is another group.
            bench.plane.free_group(set.group.into()).unwrap();
            assert_eq!(bench.group(set.rx_cq, again, None, set.stat), set.group);
            bench.send(&mut set.tx, &frame(60));
            assert!(bench.read(&mut set.rx_cq).is_empty());
        }
        let enables = if chip.p5() { 0x60 } else { 1 };
        let spec = VnicSpec { group: set.group, rx: again.id, cq: set.rx_cq.id, ..vnic_spec(set.vnic, enables) };
        bench.plane.configure_vnic(&spec).unwrap();
        bench.send(&mut set.tx, &frame(60));
        assert_eq!(bench.read(&mut set.rx_cq).len(), 2);
        bench.assert_clean();
    }
}

#[test]
fn an_rss_context_that_goes_before_its_vnic_sends_completions_astray() {
    let mut bench = Bench::new(Chip::P5, "");
    let nq = bench.nq(1);
    let mut first = bench.cq(64, Some(nq.id));
    let mut set = bench.start();
    let context = bench.plane.alloc_context(&mut bench.board).unwrap();
    let at = bench.take(4096);
    bench.put(at, &[set.rx.id, set.rx_cq.id].map(u16::to_le_bytes).concat().repeat(64));
    let table = bench.iova(at);
    let spec = RssSpec { types: 1, vnic: set.vnic, pair: 0, table, key: 0, context };
    bench.plane.set_rss(&mut bench.board, &spec).unwrap();
    bench.send(&mut set.tx, &frame(60));
    assert_eq!((bench.read(&mut set.rx_cq).len(), bench.read(&mut first).len()), (2, 0));
    bench.plane.free_context(context).unwrap();
    bench.send(&mut set.tx, &frame(60));
    bench.run(40 * MICROSECOND);
    assert_eq!((bench.read(&mut set.rx_cq).len(), bench.read(&mut first).len()), (0, 2));
}

#[test]
fn buffers_of_a_ring_are_written_to_until_it_is_gone() {
    let mut bench = Bench::new(Chip::P4, ",nasty");
    let set = bench.start();
    bench.plane.free_ring(&mut bench.board, RingKind::Receive, set.rx.id).unwrap();
    assert_eq!(bench.buffer(set.rx, 0, 4), [0x5a; 4]);
    let before = bench.buffer(set.rx, 5, 4);
    bench.run(200 * MICROSECOND);
    assert_eq!(bench.buffer(set.rx, 5, 4), before);
}

#[test]
fn buffers_of_a_ring_that_is_gone_are_written_to_until_that_is_told() {
    for seed in 0..20 {
        let mut bench = Bench::new(Chip::P4, &format!(",nasty,seed={seed}"));
        let mut set = bench.start();
        bench.plane.free_ring(&mut bench.board, RingKind::Receive, set.rx.id).unwrap();
        let [_, address] = bench.words(set.rx.at);
        let at = (address - bench.iova(0)) as usize;
        // The answer, and what a completion queue is told of it.
        bench.plane.answered(&mut bench.board);
        bench.plane.post_done(&mut bench.board, set.tx_cq.id, 7);
        let mut told = 0;
        while bench.poll(&mut set.tx_cq).is_empty() {
            bench.put(at, &[1; 4]);
            bench.run(MICROSECOND);
            told += 1;
        }
        assert!(told <= 101, "{told}");
        assert_eq!(bench.bytes(at, 4), [1; 4], "none is written to when that is told");
        bench.put(at, &[2; 4]);
        bench.run(100 * MICROSECOND);
        assert_eq!(bench.bytes(at, 4), [2; 4]);
        bench.assert_clean();
    }
}

#[test]
fn a_queue_with_the_id_of_one_that_was_freed_is_another() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        bench.plane.free_ring(&mut bench.board, RingKind::Completion, set.tx_cq.id).unwrap();
        let mut cq = bench.cq(2 * RING, set.nq.map(|nq| nq.id));
        assert_eq!(cq.id, set.tx_cq.id);
        bench.send(&mut set.tx, &frame(60));
        bench.run(100 * MICROSECOND);
        assert!(bench.read(&mut cq).is_empty(), "the ring has no queue any more");
        let Some(old) = set.nq else { continue };
        bench.plane.free_ring(&mut bench.board, RingKind::Notification, old.id).unwrap();
        let mut nq = bench.nq(1);
        assert_eq!(nq.id, old.id);
        bench.bell(set.rx_cq, CQ_ARM, 0);
        let mut tx = bench.tx_ring(cq, set.stat);
        bench.send(&mut tx, &frame(60));
        bench.run(100 * MICROSECOND);
        assert_eq!((bench.read(&mut set.rx_cq).len(), bench.read(&mut nq).len()), (2, 0));
    }
}

#[test]
fn firmware_that_starts_over_forgets_stamps_and_the_ports_counters() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    bench.plane.set_rx_stamps(RxStamps::All);
    bench.send(&mut set.tx, &frame(60));
    let sent = |bench: &Bench| bench.plane.port().0.iter().sum::<u64>();
    bench.plane.reset(&mut bench.board);
    assert_eq!((sent(&bench) > 0, bench.plane.stamps), (true, RxStamps::All));
    bench.plane.forget_port();
    assert_eq!((sent(&bench), bench.plane.stamps), (0, RxStamps::None));
}

#[test]
fn buffers_are_posted_after_their_completions_were_read() {
    let mut bench = Bench::new(Chip::P4, ",nasty");
    let mut set = bench.start();
    // As long as a queue can be that has room for two entries a buffer.
    bench.assert_clean();
    let small = bench.ring(RingKind::Completion, 64, |spec| spec.logical_id = 9);
    let mut rx = bench.rx_ring(9, set.stat);
    let group = bench.group(small, rx, None, set.stat);
    bench.plane.configure_vnic(&VnicSpec { group, ..vnic_spec(set.vnic, 1) }).unwrap();
    bench.plane.set_coalescing(&immediate(small.id)).unwrap();
    bench.post(&mut rx, RING - 1, 2048, 0x04);
    bench.assert_clean();
    for _ in 0..4 {
        bench.send(&mut set.tx, &frame(60));
    }
    bench.run(50 * MICROSECOND);
    bench.post(&mut rx, 4, 2048, 0x04);
    bench.assert_violated("before the completion queue has room");
}

#[test]
fn a_reset_leaves_nothing_but_the_port() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        bench.send(&mut set.tx, &frame(60));
        let lane = bench.plane.lane(if chip.p5() { 0x1_0000 } else { 0 }).unwrap();
        bench.plane.reset(&mut bench.board);
        assert_eq!(bench.plane.counts(), Counts::default());
        assert_eq!(bench.plane.totals().tx_packets, [1, 0, 0]);
        bench.slots = 0;
        let set = bench.start();
        assert_eq!(set.rx.id, if chip.p5() { 4 } else { 3 });
        // The lane is still looked at.
        lane.0[lane.1].store(0xdead, Ordering::Relaxed);
        if chip.p5() {
            lane.0[lane.1 + 1].store(1, Ordering::Relaxed);
        }
        bench.run(MICROSECOND);
        assert_eq!(bench.board.violations.total(), 1);
    }
}
