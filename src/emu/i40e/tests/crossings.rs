//! What crosses PCIe, for rings that are played by hand.

use super::*;
use crate::emu::pcie::traffic;

#[test]
fn wide_descriptors_are_fetched_and_written_by_their_32_bytes() {
    let mut bench = Bench::new("x710");
    bench.wide = true;
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.tap.count_crossings(true);
    for n in 0..8 {
        // End of the packet and its own FCS; a report of the last one alone.
        bench.push_data(0, &frame(60), if n == 7 { 7 } else { 5 }, 0);
    }
    bench.ring_tx(0);
    for _ in 0..4 {
        bench.engine.advance(50_000_000);
        bench.engine.step();
    }
    let crossed = bench.tap.crossings();
    assert_eq!((crossed.read, crossed.written), (traffic(8, 8, 480), traffic(8, 8, 480)));
    // Eight to send; 63 of 32 bytes at the first look.
    assert_eq!(crossed.fetched - traffic(1, 2, 128), traffic(4, 32, 63 * 32));
    // Four at a time of 32 bytes, and the type of the last that was sent.
    assert_eq!(crossed.reported, traffic(3, 5, 8 * 32 + 16));
    assert_eq!(crossed.interrupts, 0);
    bench.assert_clean();
}

#[test]
fn the_head_in_memory_is_one_write_for_all_that_was_sent() {
    let mut bench = Bench::new("x710");
    bench.back_contexts();
    bench.map_queues(1);
    bench.open_tx(0, Some(0x3f000));
    bench.tap.count_crossings(true);
    for _ in 0..8 {
        bench.push_data(0, &frame(60), 7, 0);
    }
    bench.ring_tx(0);
    bench.engine.advance(50_000_000);
    bench.engine.step();
    assert_eq!(bench.tap.crossings().reported, traffic(1, 1, 4));
    bench.assert_clean();
}
