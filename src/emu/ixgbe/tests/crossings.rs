//! What crosses PCIe, for rings that are played by hand.

use super::*;
use crate::emu::pcie::{Traffic, traffic};

/// A data descriptor's second word without RS, for a frame of 60 bytes.
const QUIET: u64 = 60 | 0x2330_0000 | 60 << 46;
const RS: u64 = 1 << 27;

impl Bench {
    /// A card with a queue each way, and counting.
    fn counting(spec: &str) -> Bench {
        let mut bench = Bench::new(spec);
        bench.receive_on(1);
        bench.transmit_on(1);
        bench.tap.count_crossings(true);
        bench
    }

    /// Puts so many frames of 60 bytes into the ring, without a report but for the last.
    fn place(&mut self, count: u32) {
        for n in 1..=count {
            let address = self.data(0, self.tx_next[0], &frame(60));
            self.push(0, [address, QUIET | if n == count { RS } else { 0 }]);
        }
    }
}

#[test]
fn descriptors_behind_one_doorbell_share_cache_lines_and_those_behind_two_do_not() {
    let mut bench = Bench::counting("82599");
    bench.place(32);
    bench.ring_tx(0);
    bench.run(20_000_000);
    let crossed = bench.tap.crossings();
    assert_eq!(crossed.read, traffic(32, 32, 32 * 60));
    assert_eq!(crossed.written, traffic(32, 32, 32 * 60));
    // 32 to send, and the 63 of the receive ring at the first look.
    let (sent, armed) = (traffic(1, 8, 512), traffic(2, 16, 63 * 16));
    assert_eq!(crossed.fetched - sent, armed);
    // A tail in the middle of a line has the line read twice.
    for _ in 0..2 {
        let before = bench.tap.crossings();
        bench.place(2);
        bench.ring_tx(0);
        bench.run(20_000_000);
        assert_eq!((bench.tap.crossings() - before).fetched, traffic(1, 1, 32));
    }
    assert!(bench.sent(0, 31) && bench.sent(0, 33) && bench.sent(0, 35));
    bench.assert_clean();
}

#[test]
fn a_report_is_a_write_and_received_descriptors_are_written_by_the_line() {
    let mut bench = Bench::counting("82599");
    // A frame at a time: the line of four descriptors is written four times.
    for n in 1..=4 {
        bench.place(1);
        bench.ring_tx(0);
        bench.run(20_000_000);
        assert_eq!(bench.tap.crossings().reported, traffic(2 * n, 2 * n, 32 * n));
        bench.receive(0).unwrap();
    }
    // Eight at once: two lines, and the report of the last that was sent.
    let before = bench.tap.crossings();
    bench.place(8);
    bench.ring_tx(0);
    bench.engine.advance(50_000_000);
    bench.engine.step();
    bench.engine.advance(50_000_000);
    bench.engine.step();
    assert_eq!((bench.tap.crossings() - before).reported, traffic(3, 3, 8 * 16 + 16));
    bench.assert_clean();
}

#[test]
fn the_head_in_memory_is_a_write_of_four_bytes() {
    let mut bench = Bench::new("82599");
    bench.receive_on(1);
    let at = bench.arena.iova(0xf000);
    bench.write(0x6038, at as u32 | 1);
    bench.write(0x603c, (at >> 32) as u32);
    bench.transmit_on(1);
    bench.tap.count_crossings(true);
    bench.place(4);
    bench.ring_tx(0);
    bench.run(20_000_000);
    assert_eq!(bench.tap.crossings().reported.bytes % 16, 4, "one for the head, all others of receive descriptors");
    bench.tap.count_crossings(false);
    assert_eq!(bench.tap.crossings().reported, Traffic::default(), "nothing is counted any more");
    bench.write(0x3000, 0);
    bench.tap.count_crossings(true);
    bench.place(4);
    bench.ring_tx(0);
    bench.run(20_000_000);
    assert_eq!(bench.tap.crossings().reported, traffic(1, 1, 4));
    bench.assert_clean();
}
