//! Pages of doorbells that a driver stores to without a trap.

use super::*;
use crate::pci::Page;

/// The word of a page that stands for this place of the BAR.
fn word(bench: &Bench, at: u64) -> (Page, usize) {
    let page = bench.plane.pages().into_iter().find(|page| page.offset == at & !0xfff).unwrap();
    assert!(page.crowded);
    (page.words, (at & 0xfff) as usize / 4)
}

/// Rings a doorbell as a driver does that has the page.
fn store(bench: &Bench, ring: Mine, kind: u64, index: u32) {
    if bench.p5() {
        let (page, at) = word(bench, 0x1_0000);
        let value = kind << 60 | 1 << 56 | u64::from(ring.id) << 32 | u64::from(index);
        page[at].store(value as u32, Ordering::Release);
        page[at + 1].store((value >> 32) as u32, Ordering::Release);
    } else {
        let (page, at) = word(bench, 0x80 * u64::from(ring.slot));
        let key = match ring.kind {
            RingKind::Transmit => 0,
            RingKind::Completion => 0x2c00_0000,
            _ => 0x1000_0000,
        };
        page[at].store(key | index, Ordering::Release);
    }
}

/// A descriptor in a transmit ring, at its next place.
fn fill(bench: &mut Bench, tx: &mut Mine) {
    let descriptor = bench.data(0x8140, tx.next, &frame(60));
    bench.put_words(tx.at + 16 * (tx.next % RING) as usize, descriptor);
    tx.next += 1;
}

/// Rings of each kind; all of the receive ring's memory is filled.
fn started(bench: &mut Bench) -> Set {
    let set = bench.start();
    let last = bench.take(2048);
    bench.put_words(set.rx.at + 16 * 31, [4 | 2048 << 16 | 31 << 32, bench.iova(last)]);
    set
}

#[test]
fn pages_are_looked_at_while_a_driver_stores_there_and_only_then() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        fill(&mut bench, &mut set.tx);
        store(&bench, set.tx, SQ, 1);
        bench.run(5 * MICROSECOND);
        assert_eq!(bench.plane.tx_ring(set.tx.id).unwrap().producer, 0);
        bench.plane.overlook();
        bench.run(5 * MICROSECOND);
        assert_eq!(bench.plane.tx_ring(set.tx.id).unwrap().producer, 0, "what was there before is no store");
        store(&bench, set.tx, SQ, 1);
        bench.run(5 * MICROSECOND);
        assert_eq!(bench.plane.tx_ring(set.tx.id).unwrap().producer, 1);
        assert_eq!(bench.poll(&mut set.tx_cq).len(), 1);
        // The pages stay when all rings go.
        bench.plane.reset(&mut bench.board);
        bench.plane.set_link(true);
        let tx = bench.start().tx;
        store(&bench, tx, SQ, 1);
        bench.plane.glance(&mut bench.board);
        assert_eq!(bench.plane.tx_ring(tx.id).unwrap().producer, 1);
        bench.assert_clean();
    }
}

/// Of two rings with one slot, the second store is all that is seen. The next store
/// for the first ring tells what the lost one did.
#[test]
fn stores_of_p4_are_told_apart_by_key_and_a_lost_one_heals() {
    let mut bench = Bench::new(Chip::P4, "");
    bench.plane.overlook();
    let mut set = started(&mut bench);
    assert_eq!(set.tx.slot, set.tx_cq.slot);
    for n in 0..200 {
        fill(&mut bench, &mut set.tx);
        if n % 2 == 0 {
            store(&bench, set.tx, SQ, set.tx.next % RING);
            store(&bench, set.tx_cq, CQ, set.tx_cq.next % (2 * RING));
            bench.plane.glance(&mut bench.board);
            assert_ne!(bench.plane.tx_ring(set.tx.id).unwrap().producer, set.tx.next, "lost");
        } else {
            store(&bench, set.tx, SQ, set.tx.next % RING);
            bench.run(5 * MICROSECOND);
            assert_eq!(bench.poll(&mut set.tx_cq).len(), 2, "{n}");
            assert_eq!(bench.poll(&mut set.rx_cq).len(), 4, "{n}");
            store(&bench, set.rx_cq, CQ, set.rx_cq.next % (4 * RING));
            bench.plane.glance(&mut bench.board);
            // The buffers that were filled, as they are.
            store(&bench, set.rx, SRQ, (RING - 1 + n + 1) % RING);
            bench.plane.glance(&mut bench.board);
        }
    }
    bench.assert_clean();
}

/// The doorbell of the receive ring is never seen, nor an acknowledgement of what was
/// sent: as when the card looks after each receive and each send.
#[test]
fn what_is_not_seen_on_p5_is_concluded() {
    let mut bench = Bench::new(Chip::P5, "");
    bench.plane.overlook();
    let mut set = started(&mut bench);
    for n in 0..1000 {
        fill(&mut bench, &mut set.tx);
        store(&bench, set.tx_cq, CQ, set.tx_cq.next % (2 * RING));
        store(&bench, set.tx, SQ, set.tx.next % RING);
        bench.run(5 * MICROSECOND);
        assert_eq!(bench.poll(&mut set.tx_cq).len(), 1, "{n}");
        assert_eq!(bench.poll(&mut set.rx_cq).len(), 2, "{n}");
        store(&bench, set.rx, SRQ, (RING - 1 + n) % RING);
        store(&bench, set.rx_cq, CQ, set.rx_cq.next % (4 * RING));
        bench.plane.glance(&mut bench.board);
        let posted = bench.plane.rx_ring(set.rx.id).unwrap().posted();
        assert!((RING / 2..RING).contains(&posted), "{n}: {posted}");
    }
    // One that is seen after all tells nothing new.
    store(&bench, set.rx, SRQ, (RING - 1 + 1000 - 8) % RING);
    bench.plane.glance(&mut bench.board);
    bench.assert_clean();
    assert_eq!(bench.board.starved, 0);
}

/// Its doorbell was overwritten at once by that of the aggregation ring.
#[test]
fn a_receive_ring_that_was_never_rung_is_in_use_once_its_memory_is_filled() {
    let mut bench = Bench::new(Chip::P5, "");
    bench.plane.overlook();
    let stat = bench.plane.alloc_stat(&mut bench.board, 0, 0, 0).unwrap();
    let rx = bench.rx_ring(0, stat);
    let agg = bench.agg_ring(8, rx.id);
    store(&bench, agg, SRQ, 0);
    bench.plane.glance(&mut bench.board);
    assert_eq!(bench.plane.rx_ring(rx.id).unwrap().posted(), 0);
    for (ring, kind) in [(rx, 4), (agg, 6)] {
        for at in 0..RING - 1 {
            bench.put_words(ring.at + 16 * at as usize, [kind | 2048 << 16, bench.iova(0)]);
        }
    }
    store(&bench, rx, SRQ, RING - 1);
    store(&bench, agg, SRQ, RING - 1);
    bench.plane.glance(&mut bench.board);
    assert_eq!(bench.plane.rx_ring(rx.id).unwrap().posted(), RING / 2);
    assert_eq!(bench.plane.rx_ring(agg.id).unwrap().posted(), RING - 1);
    bench.assert_clean();
}
