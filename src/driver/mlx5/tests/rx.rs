//! What a receive queue makes of what a card says.

use super::*;
use crate::dma::Checksum;
use crate::driver::Anomalies;
use crate::driver::queue::Receive;
use crate::testing::allocations;
use std::time::Duration;

/// A receive queue and the card's side of it.
pub struct Rig {
    pub pool: Pool,
    pub rx: RxQueue,
    pub uar: Uar,
    pub restarts: Restarts,
    pub fault: Fault,
    pub lengths: RxLengths,
    pub wqes: Region,
    pub record: Region,
    pub reports: Reports,
    pub read: Region,
    /// Entries of the work queue used.
    pub head: u32,
    /// A queue holds it weakly.
    _card: Arc<dyn Function>,
}

/// How it is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    pub ring: u16,
    pub max_frame: u16,
    pub clock: Option<Clock>,
    pub compressed: bool,
}

pub const PLAIN: Setup = Setup { ring: 64, max_frame: 1518, clock: None, compressed: false };
pub const JUMBO: Setup = Setup { max_frame: 9000, ..PLAIN };

/// A completion of a frame.
pub fn good(len: u32, counter: u32) -> Cqe {
    let mut cqe = cqe(0x2, counter);
    cqe[0x2c..0x30].copy_from_slice(&len.to_be_bytes());
    cqe
}

impl Rig {
    pub fn new(setup: Setup) -> Self {
        let lengths = RxLengths::of(setup.ring, setup.max_frame);
        let [wqes, completions, record, read] =
            regions([lengths.bytes(), 64 * lengths.completions as usize, RECORD, RECORD]);
        let (uar, fault) = (Uar::new(), Fault::default());
        let reports = Reports::new(completions.clone());
        let restarts = Restarts::new(&reports, &record);
        let card: Arc<dyn Function> = Arc::new(Card);
        let rx = RxQueue::new(RxParts {
            wqes: wqes.clone(),
            segments: lengths.segments,
            record: record.clone(),
            completions,
            bell: CqBell::new(read.clone(), uar.long(0x20), CQN),
            lkey: LKEY,
            stock: Stock::new(&card, None),
            max_frame: u32::from(setup.max_frame),
            clock: setup.clock,
            compressed: setup.compressed,
            fault: fault.clone(),
            restart: Box::new(restarts.clone()),
        });
        let mut rig =
            Rig { pool: pool(), rx, uar, restarts, fault, lengths, wqes, record, reports, read, head: 0, _card: card };
        rig.rx.fill(&rig.pool).unwrap();
        rig
    }

    /// Uses an entry up, which must have been posted; its first segment.
    pub fn used(&mut self) -> [u8; 16] {
        let posted = words(&self.record)[0] as u16;
        let owned = posted.wrapping_sub(self.head as u16);
        assert!((1..=self.lengths.wqes as u16).contains(&owned), "{owned} entries are the card's");
        let at = ((self.head % self.lengths.wqes) << self.lengths.stride) as usize;
        self.head = self.head.wrapping_add(1);
        bytes(&self.wqes, at)
    }

    pub fn frame(&mut self, len: u32) {
        let segment = self.used();
        let first = 2048.min(self.lengths.segments * 2048).min(u32_at(&segment, 0));
        assert!(u32_at(&segment, 4) == LKEY && first > 0);
        assert!((u64_at(&segment, 8) - self.pool.arena().iova(0)).is_multiple_of(2048));
        self.reports.push(good(len, self.head.wrapping_sub(1)));
    }

    /// A completion that uses an entry up.
    pub fn push(&mut self, cqe: Cqe) {
        self.used();
        self.reports.push(cqe);
    }

    pub fn recv(&mut self) -> Vec<usize> {
        let mut batch = Batch::new(&self.pool);
        self.rx.recv(&mut batch);
        batch.frames().map(<[u8]>::len).collect()
    }

    pub fn wrong(&self) -> Anomalies {
        self.rx.anomalies()
    }

    /// The card begins with its first entry again.
    pub fn restarted(&mut self, times: u32) {
        assert_eq!((self.restarts.count(), self.wrong().queue_reset), (times, u64::from(times)));
        self.head = 0;
        assert_eq!(words(&self.record), [self.lengths.wqes, 0]);
        assert_eq!(words(&self.read)[0], self.reports.at() & 0xff_ffff, "all is read");
    }

    /// All is as ever, and no buffer was lost.
    pub fn goes_on(mut self) {
        for len in 100..400 {
            self.frame(len);
            assert_eq!(self.recv(), [len as usize]);
        }
        self.conserved();
    }

    pub fn conserved(mut self) {
        assert_eq!(self.pool.capacity() - self.pool.available(), self.rx.slots() as usize);
        self.rx.release(&self.pool);
        assert_eq!(self.pool.available(), self.pool.capacity());
    }
}

#[test]
fn all_entries_are_posted_at_first_and_what_is_refilled_in_steps() {
    let mut rig = Rig::new(PLAIN);
    let said = |rig: &Rig| (words(&rig.record), words(&rig.read)[0]);
    assert_eq!(said(&rig), ([64, 0], 0));
    for n in 1..=200 {
        rig.frame(60);
        rig.recv();
        let given = n / 16 * 16;
        assert_eq!(said(&rig), ([64 + given, 0], given), "after {n}");
    }
    rig.goes_on();
}

#[test]
fn frames_come_in_order_over_many_laps() {
    for setup in [PLAIN, JUMBO, Setup { clock: Some(Clock::RealTime), ..PLAIN }, Setup { compressed: true, ..PLAIN }] {
        let mut rig = Rig::new(setup);
        let mut len = 60;
        for round in 0..3000_u32 {
            let mut expected = Vec::new();
            for _ in 0..1 + round % 40 {
                rig.frame(len);
                expected.push(len as usize);
                len = 60 + (len + 1) % 1400;
            }
            assert_eq!(rig.recv(), expected, "round {round}");
        }
        assert!(rig.head > 0x1_0000 / 2);
        assert_eq!(rig.wrong(), Anomalies::default());
        rig.goes_on();
    }
}

#[test]
fn counters_go_on_where_16_24_and_32_bits_end() {
    for start in [0xfff0, 0xff_fff0, 0_u32.wrapping_sub(7)] {
        for setup in [PLAIN, JUMBO] {
            let mut rig = Rig::new(setup);
            rig.rx.release(&rig.pool);
            // Both rings, which need not be at the same place.
            rig.rx.begin_at(start, start.wrapping_sub(3));
            (rig.head, rig.reports.at) = (start, Arc::new(start.wrapping_sub(3).into()));
            // What is left there of the lap before.
            for n in 0..64 {
                rig.reports.at.fetch_sub(64 - n, Ordering::Relaxed);
                rig.reports.push(good(60, 0));
                rig.reports.at.fetch_add(63 - n, Ordering::Relaxed);
            }
            rig.rx.fill(&rig.pool).unwrap();
            assert_eq!(words(&rig.record)[0], start.wrapping_add(64) & 0xffff);
            for n in 0..100 {
                for len in 0..20 {
                    rig.frame(60 + len);
                }
                assert_eq!(rig.recv(), (60..80).collect::<Vec<_>>(), "round {n}");
                assert_eq!(words(&rig.read)[0] & !0xff_ffff, 0);
            }
            assert_eq!(rig.wrong(), Anomalies::default());
            rig.goes_on();
        }
    }
}

#[test]
fn nothing_is_believed_before_the_last_byte() {
    let mut rig = Rig::new(PLAIN);
    for round in 0..200 {
        rig.used();
        let cqe = good(60 + round, rig.head - 1);
        for words in 0..8 {
            assert!(rig.recv().is_empty(), "with {words} words");
            rig.reports.put(0, cqe, words..words + 1);
        }
        rig.reports.skip(1);
        assert_eq!(rig.recv(), [60 + round as usize]);
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.goes_on();
}

#[test]
fn an_owner_bit_of_another_lap_is_nothing() {
    let mut rig = Rig::new(PLAIN);
    let mut cqe = good(60, 0);
    // Bit 0 the other way round: what is there now was written a lap ago.
    rig.reports.at.store(64, Ordering::Relaxed);
    rig.reports.put(0, cqe, 0..8);
    rig.reports.at.store(0, Ordering::Relaxed);
    assert!(rig.recv().is_empty());
    // Never written, by either lap.
    for owner in [0xf0, 0xf1, 0xff] {
        cqe[0x3f] = owner;
        rig.reports.put(0, cqe, 0..8);
        assert!(rig.recv().is_empty(), "{owner:#x}");
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.frame(60);
    assert_eq!(rig.recv(), [60]);
    rig.goes_on();
}

#[test]
fn frames_of_several_buffers_are_whole_or_nothing() {
    let mut rig = Rig::new(JUMBO);
    for len in [9008, 60, 2048, 2049, 4096, 4097] {
        rig.frame(len);
    }
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.rx.recv(&mut batch), 5 + 1 + 1 + 2 + 2 + 3);
    let lengths: Vec<(usize, bool)> = (0..14).map(|i| (batch.frame(i).len(), batch.continues(i))).collect();
    let expected = [
        [(2048, true), (2048, true), (2048, true), (2048, true), (816, false)].as_slice(),
        &[(60, false), (2048, false), (2048, true), (1, false), (2048, true), (2048, false)],
        &[(2048, true), (2048, true), (1, false)],
    ];
    assert_eq!(lengths, expected.concat());
    drop(batch);
    for (n, lie) in [0, 9009, 1 << 31 | 60, u32::MAX, 10_240].into_iter().enumerate() {
        rig.frame(lie);
        rig.frame(60);
        assert_eq!(rig.recv(), [60], "{lie}");
        assert_eq!(rig.wrong().bad_length, n as u64 + 1);
    }
    assert_eq!(rig.restarts.count(), 0);
    for n in 0..500 {
        rig.frame(2048 + n);
        rig.frame(8000);
        assert_eq!(
            rig.recv(),
            if n == 0 { vec![2048, 2048, 2048, 2048, 1856] } else { vec![2048, n as usize, 2048, 2048, 2048, 1856] }
        );
    }
    rig.goes_on();
}

#[test]
fn a_frame_waits_for_a_place_for_all_of_it() {
    let mut rig = Rig::new(JUMBO);
    rig.frame(60);
    rig.frame(9000);
    let mut batch = Batch::with_limit(&rig.pool, 4);
    assert_eq!(rig.rx.recv(&mut batch), 1);
    batch.clear();
    assert_eq!(rig.rx.recv(&mut batch), 5, "or it would never come");
    drop(batch);
    // No buffers to replace its own with.
    let others: Vec<u32> = (4..rig.pool.available()).filter_map(|_| rig.pool.take()).collect();
    rig.frame(9000);
    assert!(rig.recv().is_empty());
    rig.pool.give_many(others.into_iter());
    assert_eq!(rig.recv().len(), 5);
    rig.goes_on();
}

#[test]
fn a_frame_of_the_longest_and_one_byte_more() {
    let mut rig = Rig::new(PLAIN);
    rig.frame(1526);
    rig.frame(1527);
    rig.frame(2048);
    rig.frame(1);
    rig.frame(0);
    assert_eq!(rig.recv(), [1526, 1]);
    assert_eq!((rig.wrong().bad_length, rig.restarts.count()), (3, 0));
    let segment: [u8; 16] = bytes(&rig.wqes, 0);
    assert_eq!(u32_at(&segment, 0), 1526, "the card itself keeps to it");
    rig.goes_on();
}

#[test]
fn every_frame_has_what_was_said_of_it() {
    for clock in [None, Some(Clock::RealTime)] {
        for setup in [PLAIN, JUMBO] {
            let mut rig = Rig::new(Setup { clock, ..setup });
            let frames = if setup.max_frame > 2048 { vec![60, 3000, 61] } else { vec![60, 61] };
            let mut ends = Vec::new();
            for (n, len) in frames.into_iter().enumerate() {
                let mut cqe = good(len, n as u32);
                cqe[0xf] = 10 + n as u8;
                cqe[0x10] = 0x44;
                cqe[0x1c..0x20].copy_from_slice(
                    &[[7, 0x28], [3, 0x38]][n % 2].into_iter().chain([0, n as u8]).collect::<Vec<_>>(),
                );
                cqe[0x33] = 1 + n as u8;
                cqe[0x37] = 9;
                cqe[0x3b] = n as u8;
                rig.push(cqe);
                ends.push(ends.last().map_or(0, |end| end + 1) + usize::from(len > 2048));
            }
            let mut batch = Batch::new(&rig.pool);
            rig.rx.recv(&mut batch);
            for (n, end) in ends.into_iter().enumerate() {
                let meta = batch.meta(end);
                assert_eq!((meta.rss_hash(), meta.vlan(), meta.filtered()), (Some(10 + n as u32), None, n > 0));
                assert_eq!(meta.checksums().ip, Checksum::Good);
                assert_eq!(meta.checksums().l4, if n % 2 == 0 { Checksum::Good } else { Checksum::Bad });
                let time = Duration::new(1 + n as u64, 9);
                assert_eq!(meta.timestamp.map(|stamp| stamp.0), clock.map(|_| time));
            }
            drop(batch);
            rig.goes_on();
        }
    }
}

#[test]
fn a_pool_too_small_feeds_whole_entries() {
    let mut rig = Rig::new(JUMBO);
    rig.rx.release(&rig.pool);
    let others: Vec<u32> = (103..rig.pool.capacity()).filter_map(|_| rig.pool.take()).collect();
    rig.rx.begin_at(0, 0);
    rig.rx.fill(&rig.pool).unwrap();
    assert_eq!((rig.rx.armed(), words(&rig.record)[0]), (103, 20));
    for _ in 0..50 {
        rig.frame(5000);
        assert_eq!(rig.recv(), [2048, 2048, 904]);
        rig.frame(60);
        assert_eq!(rig.recv(), [60]);
        rig.frame(9009);
        assert!(rig.recv().is_empty());
    }
    rig.pool.give_many(others.into_iter());
    rig.recv();
    rig.goes_on();
}

#[test]
fn an_event_is_asked_for_and_counted() {
    let mut rig = Rig::new(PLAIN);
    rig.frame(60);
    rig.recv();
    assert!(!rig.rx.listen());
    assert_eq!(rig.uar.bytes(0x20), [0, 0, 0, 1, 0, 0x0b, 0x12, 0x34]);
    assert!(!rig.rx.listen(), "asked again before it came");
    assert_eq!(words(&rig.read), [1, 1]);
    rig.frame(60);
    rig.rx.silence();
    assert!(rig.rx.listen(), "there already");
    assert_eq!(words(&rig.read), [1, 0x1000_0001]);
    rig.recv();
    rig.rx.silence();
    assert!(!rig.rx.listen());
    assert_eq!(rig.uar.bytes(0x20), [0x20, 0, 0, 2, 0, 0x0b, 0x12, 0x34]);
    rig.goes_on();
}

/// A title of `count` frames and their minis, of lengths from `len` on.
fn compressed(rig: &mut Rig, count: u32, len: u32) {
    let mut title = good(count, rig.head);
    (title[0x10], title[0x1c], title[0x1d], title[0x3f]) = (0x44, 6, 0x28, 0x2c);
    let mut minis = vec![[0_u8; 64]; count.div_ceil(8) as usize];
    for n in 0..count {
        rig.used();
        let mini = &mut minis[n as usize / 8][8 * (n as usize % 8)..];
        mini[..4].copy_from_slice(&(1000 + n).to_be_bytes());
        mini[4..8].copy_from_slice(&(len + n).to_be_bytes());
    }
    // As a card does: arrays of minis have no owner bit, and the title is last.
    for (n, array) in minis.into_iter().enumerate() {
        let at = rig.reports.at() + if n == 0 { 1 } else { 8 * n as u32 };
        let words = &rig.reports.ring.words64()[8 * (at % rig.reports.len()) as usize..];
        for (word, bytes) in words.iter().zip(array.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }
    rig.reports.push(title);
    rig.reports.skip(count - 1);
}

#[test]
fn frames_in_short_are_frames() {
    for setup in [PLAIN, JUMBO] {
        let mut rig = Rig::new(Setup { compressed: true, ..setup });
        let mut count = 2;
        for round in 0..2000 {
            let len = 60 + round % 1000;
            compressed(&mut rig, count, len);
            rig.frame(77);
            let mut batch = Batch::new(&rig.pool);
            assert_eq!(rig.rx.recv(&mut batch), count as usize + 1, "round {round}");
            for n in 0..count {
                let meta = batch.meta(n as usize);
                assert_eq!((batch.frame(n as usize).len() as u32, meta.rss_hash()), (len + n, Some(1000 + n)));
                assert_eq!(meta.checksums().l4, Checksum::Good);
            }
            assert_eq!(batch.frame(count as usize).len(), 77);
            drop(batch);
            count = 2 + (count + 5) % 43;
        }
        assert_eq!((rig.wrong(), rig.restarts.count()), (Anomalies::default(), 0));
        rig.goes_on();
    }
}

#[test]
fn frames_in_short_that_find_no_place_come_later() {
    let mut rig = Rig::new(Setup { compressed: true, ..JUMBO });
    for round in 0..300 {
        compressed(&mut rig, 30, 2035);
        let mut lengths = Vec::new();
        let mut batch = Batch::with_limit(&rig.pool, 1 + round % 7);
        while rig.rx.recv(&mut batch) > 0 {
            lengths.extend(batch.frames().map(<[u8]>::len));
            batch.clear();
            let ahead = words(&rig.record)[0].wrapping_sub(words(&rig.read)[0]) & 0xffff;
            assert!(ahead <= rig.reports.len(), "more may be reported than there is room for");
        }
        let frames = (0..30).flat_map(|n| if n < 14 { vec![2035 + n] } else { vec![2048, n - 13] });
        assert_eq!(lengths, frames.collect::<Vec<_>>(), "round {round}");
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.goes_on();
}

#[test]
fn receiving_allocates_nothing() {
    for setup in [PLAIN, JUMBO, Setup { compressed: true, ..PLAIN }] {
        let mut rig = Rig::new(setup);
        for _ in 0..16 {
            rig.frame(60);
        }
        rig.frame(if setup.max_frame > 2048 { 4000 } else { 1000 });
        if setup.compressed {
            compressed(&mut rig, 20, 60);
        }
        let expected = if setup.max_frame > 2048 { 18 } else { 17 } + if setup.compressed { 20 } else { 0 };
        let Rig { pool, rx, .. } = &mut rig;
        assert_eq!(
            allocations(|| {
                let mut batch = Batch::new(pool);
                assert_eq!(rx.recv(&mut batch), expected);
            }),
            0
        );
    }
}
