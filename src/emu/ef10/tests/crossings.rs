//! What crosses PCIe, for rings that are played by hand.

use super::*;
use crate::emu::pcie::{Crossings, Traffic, traffic};

/// Flags of INIT_TXQ: no checksums, CTPIO.
const CTPIO: u32 = 6 | 1 << 13;

impl Bench {
    /// What crosses while something is done and the card runs.
    fn crossing(&mut self, act: impl FnOnce(&mut Bench)) -> Crossings {
        let before = self.tap.crossings();
        act(self);
        self.run(20_000_000);
        self.tap.crossings() - before
    }

    /// Puts a frame of 60 bytes into the ring of queue 0; its descriptor.
    fn place(&mut self) -> u64 {
        let descriptor = self.data(0, self.tx_next[0], &frame(60));
        self.push(0, descriptor);
        descriptor
    }
}

#[test]
fn short_descriptors_are_eight_to_a_line_and_each_event_is_a_write() {
    let mut bench = Bench::new("x2522", 1);
    bench.start();
    bench.tap.count_crossings(true);
    let crossed = bench.crossing(|bench| {
        (0..16).for_each(|_| _ = bench.place());
        bench.ring_tx(0);
    });
    // 16 to send; 504 of the receive ring at the first look.
    assert_eq!(crossed.fetched - traffic(1, 2, 128), traffic(8, 63, 504 * 8));
    assert_eq!((crossed.read, crossed.written.bytes), (traffic(16, 16, 960), 16 * 74));
    // One for each frame that was sent and received.
    assert_eq!(crossed.reported, traffic(32, 32, 256));
    bench.assert_clean();
}

#[test]
fn what_is_pushed_is_not_fetched_and_what_goes_through_the_aperture_is_not_read() {
    let mut bench = Bench::new("x2522", 1);
    bench.evq(0, 0);
    bench.txq(0, 0, CTPIO);
    bench.tap.count_crossings(true);
    let plain = bench.crossing(|bench| {
        bench.place();
        bench.ring_tx(0);
    });
    assert_eq!((plain.fetched, plain.read), (traffic(1, 1, 8), traffic(1, 1, 60)));
    let pushed = bench.crossing(|bench| {
        let descriptor = bench.place();
        bench.write(0, 0xa10, descriptor as u32);
        bench.write(0, 0xa14, (descriptor >> 32) as u32);
        bench.ring_tx(0);
    });
    assert_eq!((pushed.fetched, pushed.read), (Traffic::default(), traffic(1, 1, 60)));
    let through = |bench: &mut Bench| {
        bench.write(0, 0x3000, 60);
        for (n, word) in frame(60).as_chunks::<4>().0.iter().enumerate() {
            bench.write(0, 0x3004 + 4 * n as u64, u32::from_le_bytes(*word));
        }
    };
    let straight = bench.crossing(|bench| {
        through(bench);
        bench.place();
        bench.ring_tx(0);
    });
    assert_eq!((straight.fetched, straight.read), (Traffic::default(), Traffic::default()));
    // The queue was not idle: both are fetched after all.
    let fallback = bench.crossing(|bench| {
        bench.place();
        through(bench);
        bench.place();
        bench.ring_tx(0);
    });
    assert_eq!((fallback.fetched.bytes, fallback.read), (16, traffic(2, 2, 120)));
    assert_eq!(fallback.reported, traffic(2, 2, 16));
    bench.assert_clean();
}
