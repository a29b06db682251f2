//! What crosses PCIe, for rings that are played by hand.

use super::*;
use crate::emu::pcie::traffic;

#[test]
fn descriptors_are_fetched_by_doorbell_and_records_written_as_they_are_held() {
    for chip in CHIPS {
        let mut bench = Bench::new(chip, "");
        let mut set = bench.start();
        for cq in [set.rx_cq, set.tx_cq] {
            bench.plane.set_coalescing(&immediate(cq.id)).unwrap();
        }
        bench.board.count_crossings(true);
        // Eight in one go; only the last is completed.
        let descriptors: Vec<_> =
            (0..8).map(|n| bench.data(0x140 | if n < 7 { 1 << 7 } else { 0 }, n, &frame(60))).collect();
        bench.push(&mut set.tx, &descriptors);
        bench.run(20 * MICROSECOND);
        let crossed = bench.board.bus.crossings().unwrap();
        assert_eq!(crossed.fetched, traffic(1, 2, 128));
        assert_eq!((crossed.read, crossed.written), (traffic(8, 8, 480), traffic(8, 8, 480)));
        // A record of 32 bytes for each received, each by itself, and one of 16.
        assert_eq!(crossed.reported, traffic(9, 9, 8 * 32 + 16));
        // The consumer's buffers again: from the middle of a line on.
        bench.post(&mut set.rx, 2, 2048, 0x04);
        let again = bench.board.bus.crossings().unwrap() - crossed;
        assert_eq!(again.fetched, traffic(2, 2, 32), "the last of the ring, and the first");
        bench.assert_clean();
    }
}

#[test]
fn a_queue_that_is_armed_costs_a_notification_and_a_message() {
    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let nq = set.nq.unwrap();
    bench.bell(nq, NQ_ARM, 0);
    bench.bell(set.tx_cq, CQ_ARM, 0);
    bench.board.count_crossings(true);
    bench.send(&mut set.tx, &frame(60));
    let crossed = bench.board.bus.crossings().unwrap();
    // Sent: 16 bytes; received: 32; the notification: 16.
    assert_eq!((crossed.reported.bytes, crossed.interrupts), (16 + 32 + 16, 1));
    bench.assert_clean();
}
