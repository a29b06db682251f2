//! What a transmit queue makes of what is to be sent, and of what a card says.

use super::*;
use crate::dma::{Batch, L4, Offload, Span, Timestamp};
use crate::driver::Anomalies;
use crate::driver::queue::Transmit;
use crate::testing::allocations;
use std::time::Duration;

/// A transmit queue and the card's side of it.
struct Rig {
    pool: Pool,
    tx: TxQueue,
    cells: Cells,
    restarts: Restarts,
    recall: Arc<Recall>,
    descriptors: Region,
    reports: Reports,
    clock: Option<Clock>,
    /// A queue holds it weakly.
    _card: Arc<dyn Function>,
}

/// A descriptor as the card reads it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    flags: u16,
    len: u16,
    opaque: u32,
    address: u64,
}

const UDP: Offload =
    Offload { l2_len: 14, l3_len: 20, ip_checksum: true, l4_checksum: Some(L4::Udp), ipv6: false, vlan: Some(0x2064) };

fn done(opaque: u32) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[4..8].copy_from_slice(&opaque.to_le_bytes());
    entry
}

impl Rig {
    fn new(ring: u16, tags: bool, stamps: bool) -> Self {
        let lengths = super::super::tx::Lengths::of(ring);
        let [descriptors, completions] =
            regions([lengths.transmit, lengths.completions].map(|entries| entries as usize * 16));
        let (cells, restarts, recall) = (Cells::new(), Restarts::default(), Arc::<Recall>::default());
        let bells = TxBells {
            transmit: Bell::transmit(short(&cells, TX)),
            completions: AckBell::completions(short(&cells, CQ)),
        };
        let card: Arc<dyn Function> = Arc::new(Card);
        let clock = stamps.then(Clock::default);
        let tx = TxQueue::new(
            &card,
            TxParts {
                descriptors: descriptors.clone(),
                completions: completions.clone(),
                bells: bells.clone(),
                tags,
                clock: clock.clone(),
                restart: restarts.closure(vec![completions.clone()], bells),
                recall: Arc::clone(&recall),
            },
        );
        let reports = Reports { ring: completions, at: 0 };
        let mut rig = Rig { pool: pool(), tx, cells, restarts, recall, descriptors, reports, clock, _card: card };
        rig.tx.adopt(&rig.pool).unwrap();
        rig
    }

    fn plain() -> Self {
        Rig::new(64, true, false)
    }

    fn seen(&self, n: u32) -> Seen {
        let d = bytes(&self.descriptors, n & 63);
        Seen { flags: u16_at(&d, 0), len: u16_at(&d, 2), opaque: u32_at(&d, 4), address: u64_at(&d, 8) }
    }

    /// Flags, length and opaque of some.
    fn flags<const N: usize>(&self, from: u32) -> [(u16, u16, u32); N] {
        std::array::from_fn(|n| {
            let seen = self.seen(from + n as u32);
            (seen.flags, seen.len, seen.opaque)
        })
    }

    fn send(&mut self, lengths: &[usize]) -> usize {
        let mut batch = Batch::new(&self.pool);
        for &len in lengths {
            assert!(batch.push_frame(&vec![7; len]));
        }
        self.tx.send(&mut batch)
    }

    /// Sends a frame with an offload.
    fn send_with(&mut self, len: usize, offload: Offload) -> usize {
        let mut batch = Batch::new(&self.pool);
        assert!(batch.push_frame(&vec![7; len]));
        batch.set_offload(0, offload);
        self.tx.send(&mut batch)
    }

    fn reclaim(&mut self) -> usize {
        self.tx.reclaim(&self.pool)
    }

    fn wrong(&self) -> Anomalies {
        self.tx.anomalies()
    }

    fn conserved(mut self) {
        self.tx.release(&self.pool);
        assert_eq!(self.pool.available(), self.pool.capacity());
    }
}

#[test]
fn the_last_of_a_burst_is_reported_at_once_and_the_others_with_it() {
    let mut rig = Rig::plain();
    assert_eq!(rig.cells.word(CQ as usize), 0x2c00_0000);
    assert_eq!(rig.send(&[60, 511, 512, 1023, 1024, 2047, 2048, 60]), 8);
    let quiet = 0x0100 | 1 << 6 | 1 << 7;
    let expected = [(60, 0), (511, 0), (512, 1), (1023, 1), (1024, 2), (2047, 2), (2048, 3)];
    for (n, (len, hint)) in expected.into_iter().enumerate() {
        assert_eq!(rig.flags(n as u32), [(quiet | hint << 13, len, n as u32 + 1)]);
    }
    assert_eq!(rig.flags(7), [(0x8140, 60, 8)]);
    assert_eq!(rig.cells.word(TX as usize), 8);
    assert_eq!(rig.reclaim(), 8, "nothing is said yet");
    rig.reports.push(done(8));
    assert_eq!(rig.reclaim(), 0);
    // One alone.
    assert_eq!(rig.send(&[60]), 1);
    assert_eq!(rig.flags(8), [(0x8140, 60, 9)]);
    rig.conserved();
}

#[test]
fn short_frames_are_padded_and_impossible_ones_refused() {
    let mut rig = Rig::plain();
    assert_eq!(rig.send(&[59, 1, 17]), 3);
    assert_eq!(rig.flags(0), [(0x01c0, 60, 1), (0x01c0, 60, 2), (0x8140, 60, 3)]);
    let mut batch = Batch::new(&rig.pool);
    batch.push(0).unwrap();
    assert_eq!(rig.tx.send(&mut batch), 1);
    drop(batch);
    assert_eq!(rig.send(&[9519]), 5);
    assert_eq!(rig.send_with(9515, UDP), 5, "with a tag it is 9519");
    assert_eq!(rig.send_with(60, Offload { l4_checksum: Some(L4::Sctp), ..UDP }), 1);
    assert_eq!((rig.wrong().bad_length, rig.cells.word(TX as usize)), (4, 3));
    assert_eq!(rig.send(&[9518]), 5);
    let mut batch = Batch::new(&rig.pool);
    for n in 0..32 {
        batch.push(64).unwrap();
        batch.entries_mut()[n].span = Span::new(0, 64, n < 31);
    }
    assert_eq!(rig.tx.send(&mut batch), 32);
    drop(batch);
    assert_eq!(rig.wrong().bad_chain, 1, "more buffers than a descriptor can count");
    rig.conserved();
}

#[test]
fn a_frame_of_several_buffers_is_described_by_its_first_descriptor() {
    let mut rig = Rig::plain();
    assert_eq!(rig.send(&[60, 5000, 60]), 5);
    assert_eq!(rig.flags(0), [(0x01c0, 60, 1), (0x6380, 2048, 4), (0, 2048, 0), (0x0040, 904, 0), (0x8140, 60, 5)]);
    // As the last of a burst it is its first descriptor that asks.
    assert_eq!(rig.send(&[60, 5000]), 4);
    assert_eq!(rig.flags(5), [(0x01c0, 60, 6), (0xe300, 2048, 9), (0, 2048, 0), (0x0040, 904, 0)]);
    rig.reports.push(done(9));
    assert_eq!(rig.reclaim(), 0);
    rig.conserved();
}

#[test]
fn what_is_asked_for_stands_in_an_extension() {
    let mut rig = Rig::plain();
    assert_eq!(rig.send_with(60, UDP), 1);
    assert_eq!(rig.flags(0), [(0x8250, 60, 2)]);
    let more = bytes(&rig.descriptors, 1);
    assert_eq!((u32_at(&more, 0), u32_at(&more, 4)), (0x3, 0));
    assert_eq!((u32_at(&more, 8), u32_at(&more, 12)), (0, 0x1001_2064));
    assert_eq!(rig.send_with(3000, Offload { vlan: None, ..UDP }), 2);
    assert_eq!(rig.flags(2), [(0xe310, 2048, 5), (0x3, 0, 0), (0x0040, 952, 0)]);
    // Nothing to say, so nothing is said.
    assert_eq!(rig.send_with(60, Offload::default()), 1);
    assert_eq!(rig.flags(5), [(0x8140, 60, 6)]);
    assert_eq!(rig.reclaim(), 4, "extensions are no packets");
    rig.reports.push(done(2));
    assert_eq!(rig.reclaim(), 3);
    rig.reports.push(done(6));
    assert_eq!(rig.reclaim(), 0);
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.conserved();
}

#[test]
fn tags_are_put_in_here_if_the_card_may_not() {
    let mut rig = Rig::new(64, false, false);
    assert_eq!(rig.send_with(60, UDP), 1);
    assert_eq!(rig.flags(0), [(0x8250, 64, 2)]);
    assert_eq!(u32_at(&bytes(&rig.descriptors, 1), 12), 0);
    assert_eq!(rig.send_with(508, Offload { vlan: Some(1), ..Offload::default() }), 1);
    assert_eq!(rig.flags(2), [(0x8140 | 1 << 13, 512, 3)], "the hint is that of what is sent");
    rig.conserved();
}

#[test]
fn completions_are_believed_if_they_end_a_frame_of_ours() {
    let mut rig = Rig::plain();
    rig.send(&[60, 60]);
    rig.send(&[5000]);
    for lie in [0, 6, 3, 4, u32::MAX, 64, 1 << 31, 0_u32.wrapping_sub(63)] {
        rig.reports.push(done(lie));
        assert_eq!(rig.reclaim(), 5, "{lie}");
    }
    assert_eq!(rig.wrong().bad_index, 8);
    rig.reports.push(done(1));
    assert_eq!(rig.reclaim(), 4);
    for _ in 0..3 {
        rig.reports.push(done(1));
    }
    rig.reports.push(done(5));
    rig.reports.push(done(2));
    assert_eq!(rig.reclaim(), 0, "the older one came late");
    assert_eq!((rig.wrong().bad_index, rig.restarts.count()), (12, 0));
    rig.conserved();
}

#[test]
fn gathered_completions_name_the_next_index() {
    let mut rig = Rig::plain();
    let gathered = |index: u32| {
        let mut entry = [2; 1].to_vec();
        entry.resize(12, 0);
        entry.extend(index.to_le_bytes());
        <[u8; 16]>::try_from(entry).unwrap()
    };
    for round in 0..100_u32 {
        rig.send(&[60; 10]);
        for (index, left) in [(10 * round, 10), (10 * round + 64, 10), (10 * round + 4, 6), (10 * round + 10, 0)] {
            // An index is inside the ring, whatever is above it.
            let index = if left == 10 && index >= 10 * round + 64 { 64 } else { index & 63 | 0xff00_0000 };
            rig.reports.push(gathered(index));
            assert_eq!(rig.reclaim(), left, "round {round}, {index:#x}");
        }
    }
    assert_eq!(rig.wrong().bad_index, 200);
    rig.conserved();
}

#[test]
fn a_frame_that_could_not_be_sent_is_counted_and_the_rings_are_set_up_anew() {
    // Buffer error 2, zero length, excess, DMA, hint too short; and the flag alone.
    for (errors, flag) in [(2 << 1, 0), (1 << 4, 0x40), (1 << 5, 0x40), (1 << 6, 0x40), (1 << 7, 0x40), (0, 0x40)] {
        let mut rig = Rig::plain();
        rig.send(&[60; 5]);
        let mut entry = done(2);
        (entry[0], entry[8]) = (flag, errors);
        rig.reports.push(entry);
        assert_eq!(rig.reclaim(), 0);
        assert_eq!((rig.wrong().frame_error, rig.wrong().queue_reset, rig.restarts.count()), (1, 1, 1));
        rig.reports.at = 0;
        rig.send(&[60]);
        assert_eq!((rig.flags(0), rig.cells.word(TX as usize)), ([(0x8140, 60, 1)], 1));
        rig.reports.push(done(1));
        assert_eq!(rig.reclaim(), 0);
        rig.conserved();
    }
}

#[test]
fn a_queue_that_cannot_be_set_up_again_is_dead_and_keeps_its_buffers() {
    let mut rig = Rig::plain();
    rig.restarts.fails.store(true, Ordering::Relaxed);
    rig.send(&[60; 5]);
    let mut entry = done(2);
    entry[0] = 0x40;
    rig.reports.push(entry);
    assert_eq!(rig.reclaim(), 3);
    for _ in 0..10 {
        assert_eq!(rig.send(&[60]), 0);
        rig.reports.push(done(5));
        assert_eq!(rig.reclaim(), 3);
    }
    assert_eq!((rig.restarts.count(), rig.cells.word(TX as usize)), (1, 5));
    rig.conserved();
}

#[test]
fn records_of_anything_else_are_passed_over() {
    let mut rig = Rig::plain();
    for round in 0..100 {
        rig.send(&[60]);
        let mut wrong = 0;
        for kind in [0x20, 0x2e, 0x1a, 0x06, 0x12, 0x11, 0x13, 0x3f] {
            let mut entry = done(round + 1);
            entry[0] = kind;
            rig.reports.push(entry);
            if kind & 1 == 1 {
                assert_eq!(rig.reclaim(), 1);
                assert_eq!(rig.reclaim(), 1, "half of it");
                rig.reports.push([0; 16]);
            }
            wrong += u64::from(![0x20, 0x2e, 0x1a].contains(&kind));
        }
        rig.reports.push(done(round + 1));
        assert_eq!(rig.reclaim(), 0);
        assert_eq!(rig.wrong().bad_index, wrong * u64::from(round + 1));
    }
    assert_eq!(rig.restarts.count(), 0);
    rig.conserved();
}

#[test]
fn positions_go_on_where_32_bits_end() {
    let mut rig = Rig::plain();
    let start = 0_u32.wrapping_sub(8 * 128);
    rig.tx.begin_at(start);
    rig.reports.at = start;
    let mut end = start;
    for _ in 0..300 {
        assert_eq!(rig.send(&[60, 5000, 60]), 5);
        end = end.wrapping_add(5);
        rig.reports.push(done(end));
        rig.reports.push(done(end));
        assert_eq!(rig.reclaim(), 0);
    }
    assert_eq!(rig.wrong().bad_index, 300, "each twice");
    assert!(end < start);
    rig.conserved();
}

#[test]
fn a_ring_is_never_filled_to_the_last() {
    let mut rig = Rig::plain();
    assert_eq!(rig.send(&[60; 64]), 63);
    assert_eq!(rig.send(&[60]), 0);
    rig.reports.push(done(63));
    assert_eq!(rig.send(&[60]), 1, "it looks when there is much to be had");
    assert_eq!(rig.send(&[60; 61]), 61);
    assert_eq!(rig.send_with(60, UDP), 0, "one is not enough for two");
    assert_eq!(rig.cells.word(TX as usize), (63 + 62) & 63);
    rig.conserved();
}

#[test]
fn what_is_laid_ready_is_sent_as_often_as_wanted() {
    let mut rig = Rig::plain();
    let mut batch = Batch::new(&rig.pool);
    batch.push_frame(&[1; 20]);
    batch.push_frame(&[2; 700]);
    assert_eq!(rig.tx.prepare(&mut batch).unwrap(), 2);
    batch.push_frame(&[2; 70]);
    batch.set_offload(0, UDP);
    assert_eq!(rig.tx.prepare(&mut batch).unwrap_err().kind(), Kind::Usage);
    batch.clear();
    drop(batch);
    assert!(!rig.tx.launch(2));
    for round in 0..100 {
        assert!(rig.tx.launch(1) && rig.tx.launch(0));
        assert_eq!(rig.flags(2 * round), [(0xa140, 700, 2 * round + 1), (0x8140, 60, 2 * round + 2)]);
        assert_eq!(rig.cells.word(TX as usize), (2 * round + 2) & 63);
        rig.reports.push(done(2 * round + 1));
        rig.reports.push(done(2 * round + 2));
        assert_eq!(rig.reclaim(), 0);
    }
    assert_eq!(rig.pool.capacity() - rig.pool.available(), 2);
    assert!((0..63).all(|_| rig.tx.launch(0)) && !rig.tx.launch(0), "no room");
    rig.conserved();
}

#[test]
fn one_frame_at_a_time_is_stamped() {
    let mut rig = Rig::new(64, true, true);
    rig.clock.as_ref().unwrap().told(7 << 48);
    let stamp = |opaque: u32, time: u64, wrong: u32| {
        let mut entry = done(opaque);
        entry[0] = 4;
        entry[2..4].copy_from_slice(&((time >> 32) as u16).to_le_bytes());
        entry[8..12].copy_from_slice(&wrong.to_le_bytes());
        entry[12..16].copy_from_slice(&(time as u32).to_le_bytes());
        entry
    };
    let at = |nanos| Some(Timestamp(Duration::from_nanos(nanos)));
    assert_eq!(rig.tx.last_sent(), None);
    assert_eq!(rig.send(&[60, 60]), 2);
    assert_eq!(rig.flags(0), [(0x02d0, 60, 2), (0x8, 0, 0), (0x8140, 60, 3)]);
    rig.reports.push(stamp(2, 5_000_000_123, 0));
    rig.reports.push(done(3));
    assert_eq!(rig.reclaim(), 0);
    assert_eq!(rig.tx.last_sent(), None, "the last one was not stamped");
    assert_eq!(rig.send(&[60]), 1);
    assert_eq!(rig.flags(3), [(0x8250, 60, 5), (0x8, 0, 0)]);
    rig.reports.push(done(5));
    assert_eq!(rig.reclaim(), 0);
    assert_eq!(rig.tx.last_sent(), None, "not yet");
    rig.reports.push(stamp(5, 6_000_000_123, 0));
    assert_eq!(rig.reclaim(), 0);
    assert_eq!(rig.tx.last_sent(), at((7 << 48) + 6_000_000_123));
    // Of another, invalid, and never.
    rig.send(&[60]);
    rig.reports.push(stamp(6, 1, 0));
    rig.reports.push(stamp(7, 1, 1 << 10));
    rig.reports.push(done(7));
    assert_eq!((rig.reclaim(), rig.tx.last_sent(), rig.wrong().bad_index), (0, None, 1));
    rig.send(&[60]);
    rig.reports.push(done(9));
    for end in 10..80 {
        assert_eq!((rig.send(&[60]), rig.reclaim()), (1, 1));
        let long = u32::from(rig.seen(end - 1).flags & 0x10 != 0);
        rig.reports.push(done(end + long));
        assert_eq!(rig.reclaim(), 0);
        if long == 1 {
            assert!(end > 9 + 63, "given up after a round");
            return rig.conserved();
        }
    }
    panic!("it waits for ever");
}

#[test]
fn sending_allocates_nothing() {
    let mut rig = Rig::plain();
    for end in [1, 4, 6] {
        rig.reports.push(done(end));
    }
    let Rig { tx, pool, .. } = &mut rig;
    let mut batch = Batch::new(pool);
    for len in [60, 5000, 60] {
        assert!(batch.push_frame(&vec![7; len]));
    }
    batch.set_offload(4, UDP);
    assert_eq!(
        allocations(|| {
            assert_eq!(tx.send(&mut batch), 5);
            assert_eq!(tx.reclaim(pool), 0);
        }),
        0
    );
}

#[test]
fn a_doorbell_that_was_lost_is_rung_again_when_the_queue_is_called() {
    let mut rig = Rig::plain();
    rig.send(&[60, 60]);
    rig.cells.clear();
    rig.reclaim();
    assert_eq!(rig.cells.word(TX as usize), 0, "it was not called");
    rig.recall.call();
    rig.reclaim();
    assert_eq!((rig.cells.word(TX as usize), rig.cells.word(CQ as usize)), (2, 0x2c00_0000));
    assert!(!rig.recall.waits());
    rig.cells.clear();
    rig.reports.push(done(2));
    assert_eq!((rig.reclaim(), rig.cells.word(TX as usize)), (0, 0), "once");
    // With nothing to send there is nothing to ring.
    rig.recall.call();
    rig.reclaim();
    assert_eq!(rig.cells.word(TX as usize), 0);
    rig.recall.call();
    rig.send(&[60]);
    assert_eq!((rig.cells.word(TX as usize), rig.recall.waits()), (3, false));
    rig.reports.push(done(3));
    assert_eq!(rig.reclaim(), 0);
    rig.conserved();
}
