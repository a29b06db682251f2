//! Doorbells, and the lanes that stand for them.

use super::*;
use crate::pci::Page;

fn store(lane: &(Page, usize), value: u64, long: bool) {
    let (page, word) = lane;
    page[*word].store(value as u32, Ordering::Release);
    if long {
        page[word + 1].store((value >> 32) as u32, Ordering::Release);
    }
}

/// What a doorbell of P5 is made of.
fn long(kind: u64, ring: Mine, index: u32) -> u64 {
    kind << 60 | 1 << 56 | u64::from(ring.id) << 32 | u64::from(index)
}

#[test]
fn values_that_drivers_write_are_understood() {
    let mut bench = Bench::new(Chip::P4, "");
    let (cq, other) = (bench.cq(64, None), bench.cq(64, None));
    let rx = bench.ring(RingKind::Receive, 512, |spec| spec.logical_id = cq.slot);
    let tx = bench.ring(RingKind::Transmit, 512, |spec| (spec.logical_id, spec.cq) = (other.slot, other.id));
    for (slot, value) in [
        (cq.slot, 0x2c00_0000),
        (cq.slot, 0x2400_0000),
        (cq.slot, 0x1000_01ff),
        (other.slot, 0x2000_0000),
        (other.slot, 0x0000_0001),
    ] {
        bench.plane.doorbell(&mut bench.board, 0x80 * u64::from(slot), 4, value);
    }
    assert_eq!(bench.plane.rx_ring(rx.id).unwrap().posted(), 511);
    assert_eq!(bench.plane.tx_ring(tx.id).unwrap().producer, 1);
    bench.assert_clean();

    let mut bench = Bench::new(Chip::P5, "");
    let nq = bench.nq(0);
    let cq = bench.cq(64, Some(nq.id));
    let tx = bench.tx_ring(cq, 0);
    let rx = bench.rx_ring(0, 0);
    assert_eq!([nq.id, cq.id, tx.id, rx.id], [1, 2, 3, 4]);
    for value in [
        0xa100_0001_0000_0000,
        0x6100_0002_0000_0000,
        0x0100_0003_0000_0002,
        0x2100_0004_0000_001f,
        0xb100_0001_0000_0000,
    ] {
        bench.plane.doorbell(&mut bench.board, 0x1_0000, 8, value);
    }
    assert_eq!(bench.plane.rx_ring(rx.id).unwrap().posted(), 31);
    assert_eq!(bench.plane.tx_ring(tx.id).unwrap().producer, 2);
    bench.assert_clean();
}

#[test]
fn doorbells_of_nothing_are_ignored_and_counted() {
    let mut bench = Bench::new(Chip::P4, "");
    let set = bench.start();
    let slot = 0x80 * u64::from(set.rx_cq.slot);
    for (offset, size, value, rule) in [
        (slot, 8, 0x1000_0000, "not written as a whole"),
        (slot + 4, 4, 0x1000_0000, "between doorbells"),
        (slot, 4, 0x5000_0000, "with a key that there is not"),
        (slot, 4, 0x0000_0001, "of a ring that there is not"),
        (0x80 * 100, 4, 0x1000_0001, "of a ring that there is not"),
        (slot, 4, 0x1000_0020, "with an index outside"),
        (slot, 4, 0x2c00_0001, "or past its other end"),
    ] {
        let before = bench.board.violations.total();
        bench.plane.doorbell(&mut bench.board, offset, size, value);
        assert_eq!(bench.board.violations.total(), before + 1, "{rule}");
        bench.assert_violated(rule);
    }

    let mut bench = Bench::new(Chip::P5, "");
    let set = bench.start();
    let fine = long(SQ, set.tx, 1);
    for (offset, size, value, rule) in [
        (0x1_0000, 4, fine, "not written as a whole"),
        (0x1_0004, 4, fine >> 32, "not written as a whole"),
        (0x4000, 8, fine, "where there is none"),
        (0x1_0000, 8, fine & !(3 << 56), "of another path"),
        (0x1_0000, 8, fine | 0xf0000 << 32, "of a ring that there is not"),
        (0x1_0000, 8, long(SRQ, set.tx, 1), "of a type that its ring does not have"),
        (0x1_0000, 8, long(1, set.rx, 1), "of a type that its ring does not have"),
        (0x1_0000, 8, long(SQ, set.tx, RING), "with an index outside"),
    ] {
        let before = bench.board.violations.total();
        bench.plane.doorbell(&mut bench.board, offset, size, value);
        assert_eq!(bench.board.violations.total(), before + 1, "{rule}");
        bench.assert_violated(rule);
    }
    assert_eq!(bench.plane.tx_ring(set.tx.id).unwrap().producer, 0);
    // A driver that cannot know is not to blame.
    let before = bench.board.violations.total();
    bench.plane.reset(&mut bench.board);
    bench.plane.set_unnoticed(true);
    bench.plane.doorbell(&mut bench.board, 0x1_0000, 8, fine);
    assert_eq!(bench.board.violations.total(), before);
}

#[test]
fn posted_buffers_never_fill_a_ring() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let set = bench.start();
        bench.bell(set.rx, SRQ, 0);
        bench.assert_violated("or past its other end");
    }
}

#[test]
fn each_holder_of_a_doorbell_has_a_lane_and_no_store_is_lost() {
    let mut bench = Bench::new(Chip::P4, "");
    let mut set = bench.start();
    let slot = 0x80 * u64::from(set.tx_cq.slot);
    assert!(bench.plane.lane(slot + 4).is_none());
    let [tx, cq, rx] = [slot, slot, 0x80 * u64::from(set.rx_cq.slot)].map(|at| bench.plane.lane(at).unwrap());
    let last = bench.take(2048);
    bench.put_words(set.rx.at + 16 * 31, [4 | 2048 << 16 | 31 << 32, bench.iova(last)]);
    for n in 0..100u32 {
        let descriptor = bench.data(0x8140, n, &frame(60));
        bench.put_words(set.tx.at + 16 * (n % RING) as usize, descriptor);
        // All of them before the card looks.
        store(&tx, u64::from((n + 1) % RING), false);
        store(&cq, u64::from(0x2c00_0000 | (set.tx_cq.next % (2 * RING))), false);
        store(&rx, u64::from(0x1000_0000 | ((RING - 1 + n) % RING)), false);
        bench.run(5 * MICROSECOND);
        assert_eq!(bench.poll(&mut set.tx_cq).len(), 1, "{n}");
        assert_eq!(bench.read(&mut set.rx_cq).len(), 2, "{n}");
    }
    bench.assert_clean();
}

#[test]
fn long_lanes_carry_all_rings_through_one_address() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    assert!(bench.plane.lane(0).is_none());
    let lanes: Vec<_> = (0..600).map(|_| bench.plane.lane(0x1_0000).unwrap()).collect();
    let (tx, cq, arm) = (&lanes[0], &lanes[300], &lanes[599]);
    for n in 0..5 {
        let descriptor = bench.data(0x8140, n, &frame(60));
        bench.put_words(set.tx.at + 16 * n as usize, descriptor);
        store(tx, long(SQ, set.tx, n + 1), true);
        store(cq, long(CQ, set.tx_cq, n), true);
        // The same store again and again counts each time.
        store(arm, long(CQ_ARM, set.rx_cq, 0), true);
        bench.run(5 * MICROSECOND);
        assert_eq!(bench.poll(&mut set.tx_cq).len(), 1);
        let mut nq = set.nq.unwrap();
        nq.next = n;
        assert_eq!(bench.poll(&mut nq).len(), 1);
    }
    bench.assert_clean();
}

#[test]
fn buffers_for_the_rest_of_frames_count_before_those_for_their_beginning() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start_with(true);
    let mut agg = set.agg.unwrap();
    let placement = Placement { flags: 2, jumbo: 2048, ..Placement::default() };
    bench.plane.set_placement(set.vnic.into(), 1, placement).unwrap();
    // The lane of the receive ring is looked at first.
    let (first, second) = (bench.plane.lane(0x1_0000).unwrap(), bench.plane.lane(0x1_0000).unwrap());
    let descriptor = bench.data(0x140 | 3 << 13, 0, &frame(4000));
    bench.put_words(set.tx.at, descriptor);
    let buffer = bench.take(4096);
    bench.put_words(agg.at, [6 | 4096 << 16, bench.iova(buffer)]);
    store(&first, long(SQ, set.tx, 1), true);
    agg.next = 1;
    store(&second, long(SRQ, agg, 1), true);
    bench.run(5 * MICROSECOND);
    assert_eq!(bench.read(&mut set.rx_cq).len(), 3);
    bench.assert_clean();
}

#[test]
fn lanes_of_holders_that_are_gone_are_given_back() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let set = bench.start();
        let offset = if chip.p5() { 0x1_0000 } else { 0x80 * u64::from(set.tx.slot) };
        let kept = bench.plane.lane(offset).unwrap();
        let value = |index: u32| if chip.p5() { long(SQ, set.tx, index) } else { index.into() };
        for round in 0..100 {
            let lanes: Vec<_> = (0..8).map(|_| bench.plane.lane(offset).unwrap()).collect();
            assert!(bench.plane.bells.lanes() <= 9, "{round}");
            lanes.iter().for_each(|lane| store(lane, value(1), chip.p5()));
            bench.run(MICROSECOND);
        }
        // A last store counts, though its holder is gone before anybody looks.
        store(&bench.plane.lane(offset).unwrap(), value(2), chip.p5());
        bench.plane.lane(offset).unwrap();
        bench.run(MICROSECOND);
        bench.plane.lane(offset).unwrap();
        assert_eq!(bench.plane.tx_ring(set.tx.id).unwrap().producer, 2);
        store(&kept, value(3), chip.p5());
        bench.run(MICROSECOND);
        assert_eq!((bench.plane.tx_ring(set.tx.id).unwrap().producer, bench.plane.bells.lanes()), (3, 2));
    }
}

#[test]
fn a_dropped_doorbell_is_told() {
    let mut bench = Bench::new(Chip::P5, ",fault=doorbell:2");
    let nq = bench.nq(0);
    let cq = bench.cq(64, Some(nq.id));
    let mut tx = bench.tx_ring(cq, 0);
    bench.push(&mut tx, &[[0, 0]]);
    bench.push(&mut tx, &[[0, 0]]);
    assert_eq!(bench.plane.tx_ring(tx.id).unwrap().producer, 1);
    assert_eq!(bench.plane.take_report(), Some(AsyncEvent { id: 0x45, data1: 4, ..AsyncEvent::default() }));
    assert_eq!(bench.plane.take_report(), None);
    bench.push(&mut tx, &[]);
    assert_eq!(bench.plane.tx_ring(tx.id).unwrap().producer, 2);
}

#[test]
fn a_doorbell_of_a_ring_that_was_freed_does_nothing() {
    for chip in [Chip::P4, Chip::P5] {
        let mut bench = Bench::new(chip, "");
        let set = bench.start();
        bench.plane.free_ring(&mut bench.board, RingKind::Transmit, set.tx.id).unwrap();
        bench.bell(set.tx, SQ, 1);
        bench.run(MICROSECOND);
        bench.assert_clean();
    }
}
