//! What crosses PCIe, for queues that are played by hand.

use super::*;
use crate::emu::pcie::{Crossings, traffic};

impl Bench {
    /// What crosses while something is done.
    fn crossing(&mut self, act: impl FnOnce(&mut Bench)) -> Crossings {
        let before = self.tap.crossings();
        act(self);
        self.tap.crossings() - before
    }

    /// Makes so many frames of 60 bytes available, header and frame side by side.
    fn offer(&mut self, count: usize) {
        for n in 0..count {
            let at = BUFFERS + 0x20000 + 0x1000 * n;
            let mut frame = [0x55; 60];
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            self.put(at, &[&[0; 12][..], &frame].concat());
            self.give(1, &[(at, 72, false)]);
        }
    }
}

#[test]
fn split_an_index_and_the_runs_behind_it_are_read_and_used_ones_written_with_theirs() {
    let mut bench = Bench::up("virtio,strict,wire=sink,speed=max", MAC);
    bench.tap.count_crossings(true);
    let crossed = bench.crossing(|bench| {
        bench.offer(6);
        bench.notify(1);
    });
    assert_eq!(crossed.read, traffic(6, 12, 6 * 72));
    // The index; six entries and six descriptors side by side; the index in vain, before
    // the driver is asked to notify and after; whether it wants to be interrupted.
    assert_eq!(crossed.fetched, traffic(1 + 2 + 2 + 1, 1 + 1 + 2 + 2 + 1, 2 + 12 + 96 + 4 + 2));
    // Six used elements and their index; no notification, please, and again one.
    assert_eq!(crossed.reported, traffic(1 + 1 + 2, 1 + 1 + 2, 48 + 2 + 4));
    assert_eq!(bench.violations(), [""; 0]);
}

#[test]
fn packed_descriptors_are_read_up_to_one_that_is_not_there() {
    let mut bench = Bench::up("virtio-packed,strict,wire=sink,speed=max", MAC | PACKED);
    bench.tap.count_crossings(true);
    let crossed = bench.crossing(|bench| {
        bench.offer(3);
        bench.notify(1);
    });
    // Three side by side; the one behind twice in vain; whether it wants to be interrupted.
    assert_eq!(crossed.fetched, traffic(1 + 2 + 1, 1 + 2 + 1, 48 + 32 + 4));
    assert_eq!(crossed.reported, traffic(3 + 2, 3 + 2, 24 + 4));
    assert_eq!(bench.violations(), [""; 0]);
}

#[test]
fn a_received_frame_is_written_with_its_header() {
    let mut bench = Bench::up("virtio,strict,wire=loop", MAC | MRG_RXBUF);
    (0..8).for_each(|n| bench.give_buffer(n));
    bench.notify(0);
    bench.tap.count_crossings(true);
    let crossed = bench.crossing(|bench| {
        bench.offer(1);
        bench.notify(1);
    });
    assert_eq!(crossed.written, traffic(1, 2, 72));
}
