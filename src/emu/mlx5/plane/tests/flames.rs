//! Entries that are stored into a register whose stores are combined.

use super::*;
use crate::pci::Page;

/// Stores bytes into the register's page, as a processor does: word by word.
fn store((page, word): &(Page, usize), offset: usize, bytes: &[u8]) {
    for (n, half) in bytes.as_chunks::<4>().0.iter().enumerate() {
        page[word + offset / 4 + n].store(u32::from_le_bytes(*half), Ordering::Release);
    }
}

fn as_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

impl Bench {
    /// An entry for a frame of so many bytes, 18 of them inline, is in the ring; its bytes.
    fn post_frame(&mut self, sq: &mut Work, len: usize) -> Vec<u8> {
        let rest = self.packet(&frame(len), 18, 0, 0);
        let words = Bench::entry_of(*sq, 0x0a, 2, &rest);
        self.place(sq, &words);
        as_bytes(&words)
    }

    /// Notes stages, and says which ways frames went since the last time.
    fn ways(&mut self) -> Vec<&'static str> {
        let ways = self.board.take_stages();
        self.board.note_stages(true);
        ways.iter().map(|stages| stages.path).collect()
    }
}

#[test]
fn an_entry_that_is_stored_whole_is_not_fetched() {
    for nasty in ["", ",nasty,seed=5"] {
        let mut bench = Bench::new(nasty);
        let mut set = bench.start();
        let register = bench.plane.combined(bench.uar, 0x800).unwrap();
        bench.ways();
        for n in 0..40 {
            let entry = bench.post_frame(&mut set.sq, 60);
            store(&register, 0x100 * (n % 2), &entry);
            bench.run(100 * MICROSECOND);
            assert_eq!((bench.read(&mut set.tx_cq).len(), bench.ways()), (1, vec!["push"]), "{n}{nasty}");
        }
        bench.assert_clean();
    }
}

#[test]
fn an_entry_that_is_not_the_one_in_memory_is_sent_all_the_same() {
    for nasty in ["", ",nasty,seed=5"] {
        let mut bench = Bench::new(nasty);
        let mut set = bench.start();
        let register = bench.plane.combined(bench.uar, 0x800).unwrap();
        let mut entry = bench.post_frame(&mut set.sq, 60);
        let other = bench.data(&[0x11; 42]);
        entry[48..].copy_from_slice(&as_bytes(&other));
        store(&register, 0, &entry);
        bench.run(100 * MICROSECOND);
        let got = bench.read(&mut set.rx_cq);
        let buffer = bench.buffer(set.rq, u16_at(&got[0], 0x3c));
        assert_eq!(bench.bytes(buffer + 18, 42), [0x11; 42], "{nasty}");
        bench.assert_clean();
    }
}

#[test]
fn what_is_less_than_64_bytes_is_a_doorbell() {
    for len in [8, 16, 32, 56] {
        let mut bench = Bench::new("");
        let mut set = bench.start();
        let register = bench.plane.combined(bench.uar, 0x800).unwrap();
        bench.ways();
        // Over what an entry has left there.
        for (n, len) in [(0, 64), (1, len), (2, len), (3, 64)] {
            let entry = bench.post_frame(&mut set.sq, 60);
            store(&register, 0x100 * (n % 2), &entry[..len]);
            bench.run(40 * MICROSECOND);
            let way = if len == 64 { "push" } else { "DMA" };
            assert_eq!((bench.read(&mut set.tx_cq).len(), bench.ways()), (1, vec![way]), "{len}");
        }
        bench.assert_clean();
    }
}

#[test]
fn an_entry_of_two_blocks_is_one_when_both_are_stored() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let register = bench.plane.combined(bench.uar, 0x800).unwrap();
    bench.ways();
    for stored in [64, 128] {
        let rest = bench.packet(&frame(120), 66, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        bench.place(&mut set.sq, &words);
        let mut entry = as_bytes(&words);
        // What is in memory behind an entry goes with it.
        entry.resize(128, 0xff);
        store(&register, 0, &entry[..stored]);
        bench.run(40 * MICROSECOND);
        let way = if stored == 128 { "push" } else { "DMA" };
        assert_eq!((bench.read(&mut set.tx_cq).len(), bench.ways()), (1, vec![way]));
    }
    bench.assert_clean();
}

#[test]
fn of_entries_that_nobody_looked_at_the_last_one_counts() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let register = bench.plane.combined(bench.uar, 0x800).unwrap();
    for n in 0..5 {
        let entry = bench.post_frame(&mut set.sq, 60);
        store(&register, 0x100 * (n % 2), &entry);
    }
    bench.run(40 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 5);
    // One that is stored over another, not to its end yet, is not made of both.
    let entries = [60, 61, 62].map(|len| bench.post_frame(&mut set.sq, len));
    let over = [&entries[2][..24], &entries[0][24..]].concat();
    store(&register, 0x100, &over);
    store(&register, 0, &entries[1]);
    bench.run(5 * MICROSECOND);
    store(&register, 0x100 + 24, &entries[2][24..]);
    bench.run(40 * MICROSECOND);
    let got = bench.read(&mut set.rx_cq);
    let lengths = got.iter().map(|entry| u32_at(entry, 0x2c)).collect::<Vec<_>>();
    assert_eq!((bench.read(&mut set.tx_cq).len(), &lengths[5..]), (3, &[60, 61, 62][..]));
    // What was stored to a queue that starts over is gone with it.
    let entry = bench.post_frame(&mut set.sq, 60);
    store(&register, 0, &entry);
    bench.plane.bells.clear();
    bench.run(40 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 0);
    bench.assert_clean();
}

#[test]
fn stores_into_both_halves_at_once_are_a_violation() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let register = bench.plane.combined(bench.uar, 0x800).unwrap();
    bench.ways();
    let entries = [60, 61].map(|len| bench.post_frame(&mut set.sq, len));
    store(&register, 0, &entries[0][..32]);
    store(&register, 0x100, &entries[1][..32]);
    bench.run(5 * MICROSECOND);
    store(&register, 32, &entries[0][32..]);
    store(&register, 0x132, &entries[1][32..]);
    bench.assert_violated("come mixed");
    bench.run(40 * MICROSECOND);
    assert_eq!((bench.read(&mut set.tx_cq).len(), bench.ways()), (2, vec!["DMA", "DMA"]), "both are spoilt");
}

#[test]
fn a_register_is_as_long_as_the_card_says() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    assert!(bench.plane.combined(bench.uar, 0x900).is_none() && bench.plane.combined(3, 0x800).is_none());
    assert!(bench.plane.combined(bench.uar, 0x20).is_none() && bench.plane.combined(bench.uar, 0xa00).is_some());
    bench.plane.limits.log_bf = 8;
    let register = bench.plane.combined(bench.uar, 0x900).unwrap();
    assert_eq!(register.1, 0x900 / 4);
    bench.ways();
    let entry = bench.post_frame(&mut set.sq, 60);
    store(&register, 0x80, &entry);
    bench.run(40 * MICROSECOND);
    assert_eq!((bench.read(&mut set.tx_cq).len(), bench.ways()), (1, vec!["push"]));
    bench.plane.limits.log_bf = 0;
    assert!(bench.plane.combined(bench.uar, 0x800).is_none());
    bench.assert_clean();
}
