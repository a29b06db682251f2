//! What crosses PCIe, for rings that are played by hand.

use super::*;
use crate::emu::pcie::{Crossings, Traffic, traffic};

impl Bench {
    /// What crosses while something is done and the card runs.
    fn crossing(&mut self, act: impl FnOnce(&mut Bench)) -> Crossings {
        let before = self.board.bus.crossings().unwrap_or_default();
        act(self);
        self.run(40 * MICROSECOND);
        self.board.bus.crossings().unwrap() - before
    }
}

#[test]
fn an_entry_is_a_line_and_so_is_a_completion() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.board.count_crossings(true);
    let first = bench.crossing(|bench| bench.send(&mut set.sq, &frame(60)));
    // The entry; the receive queue's record, and the 16 entries of 16 bytes behind it.
    assert_eq!(first.fetched - traffic(1, 1, 64), traffic(2, 5, 4 + 256));
    assert_eq!((first.read, first.written), (traffic(1, 1, 42), traffic(1, 1, 60)));
    assert_eq!(first.reported, traffic(2, 2, 128));
    // Three by one doorbell: what is side by side goes together.
    let three = bench.crossing(|bench| {
        let mut bell = [0; 8];
        for complete in [0, 0, 2] {
            let rest = bench.packet(&frame(60), 18, 0, 0);
            let words = Bench::entry_of(set.sq, 0x0a, complete, &rest);
            bell = bench.place(&mut set.sq, &words);
        }
        bench.bell(0x800, &bell);
    });
    assert_eq!(three.fetched, traffic(1, 3, 192));
    assert_eq!(three.reported, traffic(4, 4, 256));
    bench.assert_clean();
}

#[test]
fn an_entry_that_comes_with_its_doorbell_is_not_fetched_and_an_inline_packet_is_not_read() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let (page, word) = bench.plane.combined(bench.uar, 0x800).unwrap();
    bench.board.count_crossings(true);
    bench.send(&mut set.sq, &frame(60));
    bench.read(&mut set.tx_cq);
    let pushed = bench.crossing(|bench| {
        // All of 60 bytes in the entry.
        let rest = bench.packet(&frame(60), 60, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        bench.place(&mut set.sq, &words);
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        // What is in memory behind an entry goes with it.
        bytes.resize(128, 0xff);
        for (n, half) in bytes.as_chunks::<4>().0.iter().enumerate() {
            page[word + n].store(u32::from_le_bytes(*half), Ordering::Release);
        }
    });
    assert_eq!((pushed.fetched, pushed.read), (Traffic::default(), Traffic::default()));
    assert_eq!((pushed.written, pushed.reported), (traffic(1, 1, 60), traffic(2, 2, 128)));
    bench.assert_clean();
}

#[test]
fn compressed_completions_are_a_title_and_eight_bytes_each() {
    let mut bench = Bench::new("");
    let eq = bench.eq(LOG, 3, 0);
    let cq = bench.cq_with(LOG, eq, |request| request.with(0x10, 14, 14, 1).with(0x10, 13, 12, 1));
    let entry = {
        let mut entry = [0; 64];
        entry[0x3f] = 0x20;
        entry
    };
    bench.board.count_crossings(true);
    for n in 0..8_u16 {
        let mut entry = entry;
        entry[0x3c..0x3e].copy_from_slice(&n.to_be_bytes());
        assert!(bench.plane.complete(&mut bench.board, cq.id, entry, false));
    }
    bench.plane.end_sessions(&mut bench.board);
    assert_eq!(bench.board.bus.crossings().unwrap().reported, traffic(2, 2, 128));
}
