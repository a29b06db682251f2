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
    pub cells: Cells,
    pub restarts: Restarts,
    recall: Arc<Recall>,
    pub clock: Option<Clock>,
    pub descriptors: Region,
    pub more: Region,
    pub reports: Reports,
    pub notifications: Reports,
    /// Descriptors used, of either ring.
    pub head: u32,
    pub more_head: u32,
    /// A queue holds it weakly.
    _card: Arc<dyn Function>,
}

/// How it is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    pub generation: Generation,
    pub ring: u16,
    pub max_frame: u16,
    pub stamps: bool,
    pub interrupts: bool,
    pub port_counts: bool,
}

pub const PLAIN: Setup = Setup {
    generation: Generation::P4,
    ring: 64,
    max_frame: 1518,
    stamps: false,
    interrupts: false,
    port_counts: false,
};
pub const JUMBO: Setup = Setup { max_frame: 9000, ..PLAIN };

/// A record of a frame: two entries.
pub fn record(len: u16, opaque: u32, more: u8) -> [[u8; 16]; 2] {
    let mut low = [0; 16];
    low[0] = 0x11;
    low[2..4].copy_from_slice(&len.to_le_bytes());
    low[4..8].copy_from_slice(&opaque.to_le_bytes());
    low[8] = more << 1;
    [low, [0; 16]]
}

/// An entry of another buffer of it.
pub fn goes_on(len: u16, opaque: u32) -> [u8; 16] {
    let [mut entry, _] = record(len, opaque, 0);
    entry[0] = 0x12;
    entry
}

impl Rig {
    pub fn new(setup: Setup) -> Self {
        let lengths = Lengths::of(setup.ring, setup.max_frame);
        let more_len = lengths.aggregation.max(1);
        let [descriptors, more, completions, notifications] =
            regions([lengths.receive, more_len, lengths.completions, 64].map(|entries| entries as usize * 16));
        let (cells, restarts, recall) = (Cells::new(), Restarts::default(), Arc::<Recall>::default());
        let at = |at| register(setup.generation, &cells, at);
        let queue = match at(NQ) {
            Register::Shared(shared, ring) if setup.interrupts => Some(AckBell::notifications(shared, ring)),
            _ => None,
        };
        let bells = RxBells {
            receive: Bell::receive(at(RX)),
            aggregation: (lengths.aggregation > 0).then(|| Bell::receive(at(MORE))),
            completions: AckBell::completions(at(CQ)),
            notifications: queue,
        };
        let card: Arc<dyn Function> = Arc::new(Card);
        let clock = setup.stamps.then(Clock::default);
        let rx = RxQueue::new(RxParts {
            generation: setup.generation,
            descriptors: descriptors.clone(),
            aggregation: (lengths.aggregation > 0).then(|| more.clone()),
            completions: completions.clone(),
            notifications: setup.interrupts.then(|| notifications.clone()),
            bells: bells.clone(),
            stock: Stock::new(&card, None),
            max_frame: u32::from(setup.max_frame),
            clock: clock.clone(),
            port_counts: setup.port_counts,
            restart: restarts.closure(vec![completions.clone(), notifications.clone()], bells),
            recall: Arc::clone(&recall),
        });
        let reports = Reports { ring: completions, at: 0 };
        let notifications = Reports { ring: notifications, at: 0 };
        let mut rig = Rig {
            pool: pool(),
            rx,
            cells,
            restarts,
            recall,
            clock,
            descriptors,
            more,
            reports,
            notifications,
            head: 0,
            more_head: 0,
            _card: card,
        };
        rig.rx.fill(&rig.pool).unwrap();
        rig
    }

    pub fn opaque(ring: &Region, n: u32) -> u32 {
        u32_at(&bytes(ring, n % (ring.len() as u32 / 16)), 4)
    }

    /// A frame in one buffer.
    pub fn frame(&mut self, len: u16) {
        let record = record(len, Self::opaque(&self.descriptors, self.head), 0);
        self.push(record);
    }

    pub fn push(&mut self, record: [[u8; 16]; 2]) {
        record.into_iter().for_each(|entry| self.reports.push(entry));
        self.head = self.head.wrapping_add(1);
    }

    /// A frame in several.
    pub fn chain(&mut self, lengths: &[u16]) {
        let [low, high] = record(lengths[0], Self::opaque(&self.descriptors, self.head), lengths.len() as u8 - 1);
        self.push([low, high]);
        for &len in &lengths[1..] {
            self.reports.push(goes_on(len, Self::opaque(&self.more, self.more_head)));
            self.more_head = self.more_head.wrapping_add(1);
        }
    }

    pub fn recv(&mut self) -> Vec<usize> {
        let mut batch = Batch::new(&self.pool);
        self.rx.recv(&mut batch);
        batch.frames().map(<[u8]>::len).collect()
    }

    pub fn wrong(&self) -> Anomalies {
        self.rx.anomalies()
    }

    /// The card has been given new rings.
    pub fn restarted(&mut self, times: u32) {
        assert_eq!((self.restarts.count(), self.wrong().queue_reset), (times, u64::from(times)));
        (self.reports.at, self.head, self.more_head) = (0, 0, 0);
    }

    /// All is as ever, and no buffer was lost.
    pub fn goes_on(mut self) {
        for len in 100..400 {
            self.frame(len);
            assert_eq!(self.recv(), [usize::from(len)]);
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
fn a_ring_is_as_long_as_its_completions_need() {
    let lengths = |ring, max_frame| {
        let Lengths { receive, aggregation, completions } = Lengths::of(ring, max_frame);
        (receive, aggregation, completions)
    };
    assert_eq!(lengths(64, 1518), (64, 0, 256));
    assert_eq!(lengths(512, 1518), (512, 0, 2048));
    assert_eq!(lengths(4096, 2040), (4096, 0, 16384));
    assert_eq!(lengths(512, 2041), (512, 512, 2048));
    assert_eq!(lengths(2048, 9216), (2048, 8192, 16384));
}

#[test]
fn descriptors_hold_buffer_length_and_position() {
    let rig = Rig::new(JUMBO);
    for (ring, kind, len) in [(&rig.descriptors, 4, 64), (&rig.more, 6, 256)] {
        for n in 0..len {
            let descriptor = bytes(ring, n);
            assert_eq!((u16_at(&descriptor, 0), u16_at(&descriptor, 2)), (kind, 2048));
            assert_eq!(u32_at(&descriptor, 4), n);
            assert!((u64_at(&descriptor, 8) - rig.pool.arena().iova(0)).is_multiple_of(2048));
        }
    }
    assert_eq!(rig.cells.word(RX as usize), 0x1000_003f, "all but one");
    assert_eq!(rig.cells.word(MORE as usize), 0x1000_00ff);
    assert_eq!(rig.cells.word(CQ as usize), 0x2c00_0000);
}

#[test]
fn frames_come_in_order_over_many_laps_whatever_lies_between_them() {
    let mut rig = Rig::new(PLAIN);
    let mut len = 60;
    for round in 0..2000_u32 {
        let mut expected = Vec::new();
        for n in 0..1 + round % 40 {
            // Entries that are of no frame put records astride the end of the ring.
            if (round + n) % 7 == 0 {
                let mut event = [0; 16];
                event[0] = [0x20, 0x2e, 0x22, 0x24, 0x1a][round as usize % 5];
                rig.reports.push(event);
            }
            rig.frame(len);
            expected.push(usize::from(len));
            len = 60 + (len + 1) % 1400;
        }
        assert_eq!(rig.recv(), expected, "round {round}");
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.goes_on();
}

#[test]
fn a_record_astride_the_end_of_the_ring_has_a_v_of_each_lap() {
    let mut rig = Rig::new(PLAIN);
    rig.reports.push([0x20; 16]);
    let last = rig.reports.len() - 1;
    while rig.reports.at < last {
        rig.frame(60);
        assert_eq!(rig.recv(), [60]);
    }
    let [low, high] = record(61, Rig::opaque(&rig.descriptors, rig.head), 0);
    rig.reports.put(0, low);
    assert!(rig.recv().is_empty(), "half of it");
    rig.reports.put(1, high);
    assert_eq!([last, 0].map(|n| bytes(&rig.reports.ring, n)[8] & 1), [1, 0]);
    assert_eq!(rig.recv(), [61]);
    (rig.reports.at, rig.head) = (rig.reports.at + 2, rig.head + 1);
    rig.goes_on();
}

#[test]
fn nothing_is_believed_before_all_of_a_record_is_there() {
    let mut rig = Rig::new(JUMBO);
    let [low, high] = record(2048, 0, 2);
    let parts = [low, high, goes_on(2048, 0), goes_on(5, 1)];
    // In any order but the whole.
    for missing in 0..4 {
        for (n, part) in parts.into_iter().enumerate().filter(|&(n, _)| n != missing) {
            rig.reports.put(n as u32, part);
        }
        assert!(rig.recv().is_empty(), "without entry {missing}");
        cq::clear(&rig.reports.ring);
    }
    parts.into_iter().for_each(|part| rig.reports.push(part));
    assert_eq!(rig.recv(), [2048, 2048, 5]);
    assert_eq!(rig.wrong(), Anomalies::default());
    (rig.head, rig.more_head) = (1, 2);
    rig.goes_on();
}

#[test]
fn frames_of_several_buffers_are_whole_or_nothing() {
    let mut rig = Rig::new(JUMBO);
    rig.chain(&[2048, 2048, 2048, 2048, 816]);
    rig.frame(60);
    rig.chain(&[2048, 1]);
    // The headers apart from what follows them.
    rig.chain(&[54, 2048, 100]);
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.rx.recv(&mut batch), 11);
    let continued: Vec<bool> = (0..11).map(|i| batch.continues(i)).collect();
    let (t, f) = (true, false);
    assert_eq!(continued, [t, t, t, t, f, f, t, f, t, t, f]);
    assert_eq!(batch.frames().map(<[u8]>::len).take(5).sum::<usize>(), 9008);
    drop(batch);
    assert_eq!(rig.wrong(), Anomalies::default());
    // Too long by a byte; a hole in the middle; nothing in the first, in the last; beyond a buffer.
    let lies: [&[u16]; 6] =
        [&[2048, 2048, 2048, 2048, 817], &[2048, 100, 900], &[0, 60], &[2048, 0], &[2048, 2049], &[2049, 5]];
    for (n, lie) in lies.into_iter().enumerate() {
        rig.chain(lie);
        rig.frame(60);
        assert_eq!(rig.recv(), [60], "{lie:?}");
        assert_eq!(rig.wrong().bad_length, n as u64 + 1);
    }
    assert_eq!(rig.restarts.count(), 0);
    for _ in 0..500 {
        rig.chain(&[2048, 2048, 1000]);
        assert_eq!(rig.recv(), [2048, 2048, 1000]);
    }
    rig.goes_on();
}

#[test]
fn a_wrong_checksum_is_reported_and_not_dropped() {
    let mut rig = Rig::new(PLAIN);
    for errors in [0, 1 << 4, 1 << 5] {
        let [mut low, mut high] = record(60, rig.head, 0);
        // An error of any kind is flagged in the first half too.
        low[0] |= if errors == 0 { 0 } else { 1 << 6 };
        high[0] = 0x3;
        high[8] = errors;
        rig.push([low, high]);
    }
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.rx.recv(&mut batch), 3);
    use Checksum::{Bad, Good};
    let verdicts = [0, 1, 2].map(|i| (batch.meta(i).checksums().ip, batch.meta(i).checksums().l4));
    assert_eq!(verdicts, [(Good, Good), (Bad, Good), (Good, Bad)]);
    drop(batch);
    rig.goes_on();
}

#[test]
fn every_frame_of_any_kind_has_what_was_said_of_it() {
    for stamps in [false, true] {
        let mut rig = Rig::new(Setup { stamps, ..JUMBO });
        if let Some(clock) = &rig.clock {
            clock.told(1 << 40);
        }
        let say = |[mut low, mut high]: [[u8; 16]; 2], n: u32| {
            low[1] |= 1 << 2;
            low[12..16].copy_from_slice(&n.to_le_bytes());
            high[0] = 1 << 4;
            high[4..8].copy_from_slice(&(0x8100_0100 + n).to_le_bytes());
            high[12..16].copy_from_slice(&(1000 * n).to_le_bytes());
            [low, high]
        };
        rig.push(say(record(60, 0, 0), 1));
        rig.push(say(record(2048, 1, 1), 2));
        rig.reports.push(goes_on(7, 0));
        rig.more_head += 1;
        let mut batch = Batch::new(&rig.pool);
        assert_eq!(rig.rx.recv(&mut batch), 3);
        for (i, n) in [(0, 1), (2, 2)] {
            let meta = batch.meta(i);
            assert_eq!((meta.rss_hash(), meta.vlan()), (Some(n), Some(0x100 + n as u16)));
            let time = Duration::from_nanos((1 << 40) + 1000 * u64::from(n));
            assert_eq!(meta.timestamp.map(|stamp| stamp.0), stamps.then_some(time));
        }
        drop(batch);
        rig.goes_on();
    }
}

#[test]
fn positions_go_on_where_32_bits_end() {
    let mut rig = Rig::new(JUMBO);
    // As after four thousand million frames: all that the card has is of now.
    rig.rx.release(&rig.pool);
    let start = 0_u32.wrapping_sub(7 * 1024);
    rig.rx.begin_at(start);
    (rig.head, rig.more_head, rig.reports.at) = (start, start, start);
    cq::clear(&rig.reports.ring);
    rig.rx.fill(&rig.pool).unwrap();
    for n in 0..300 {
        for len in 0..40 {
            rig.frame(60 + len);
        }
        assert_eq!(rig.recv(), (60..100).collect::<Vec<_>>(), "round {n}");
        rig.chain(&[2048, 5]);
        assert_eq!(rig.recv(), [2048, 5]);
    }
    assert!(rig.head < start, "it wrapped");
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.goes_on();
}

#[test]
fn doorbells_are_rung_in_steps_and_completions_first() {
    let mut rig = Rig::new(PLAIN);
    let said = |rig: &Rig| (rig.cells.word(RX as usize), rig.cells.word(CQ as usize));
    for n in 1..=100_u32 {
        rig.frame(60);
        rig.recv();
        let given = (n / 16 * 16 + 63) & 63;
        assert_eq!(said(&rig).0, 0x1000_0000 | given, "after {n}");
        // 256 entries, of which frames need 128 and others 64.
        let acked = if n < 48 { 0 } else { 96 + (n - 48) / 48 * 96 };
        assert_eq!(said(&rig).1, 0x2c00_0000 + (acked & 255), "after {n}");
    }
    rig.goes_on();
}

#[test]
fn a_pool_too_small_for_both_rings_feeds_both() {
    let mut rig = Rig::new(JUMBO);
    rig.rx.release(&rig.pool);
    let others: Vec<u32> = (100..rig.pool.capacity()).filter_map(|_| rig.pool.take()).collect();
    rig.rx.begin_at(0);
    rig.rx.fill(&rig.pool).unwrap();
    assert_eq!(rig.rx.armed(), 100);
    assert_eq!(rig.cells.word(RX as usize), 0x1000_0014, "a fifth of them");
    assert_eq!(rig.cells.word(MORE as usize), 0x1000_0050);
    for _ in 0..30 {
        rig.chain(&[2048, 2048, 100]);
        assert_eq!(rig.recv(), [2048, 2048, 100]);
        rig.frame(60);
        assert_eq!(rig.recv(), [60]);
    }
    rig.pool.give_many(others.into_iter());
    rig.recv();
    rig.goes_on();
}

#[test]
fn an_interrupt_is_asked_for_and_called_off() {
    let mut rig = Rig::new(PLAIN);
    rig.frame(60);
    rig.recv();
    assert!(!rig.rx.listen());
    assert_eq!(rig.cells.word(CQ as usize), 0x2400_0002);
    rig.frame(60);
    rig.rx.silence();
    assert_eq!(rig.cells.word(CQ as usize), 0x2c00_0002);
    assert!(rig.rx.listen(), "there already");
    rig.recv();
    rig.goes_on();

    let mut rig = Rig::new(Setup { generation: Generation::P5, interrupts: true, ..PLAIN });
    assert!(!rig.rx.listen());
    assert_eq!(rig.cells.long(CQ as usize), 0x6100_0030_0000_0000);
    assert_eq!(rig.cells.long(NQ as usize), 0xb100_0040_0000_0000);
    for round in 1..=200 {
        rig.frame(60);
        let mut entry = [0; 16];
        entry[0] = 0x30;
        rig.notifications.push(entry);
        rig.rx.silence();
        assert_eq!(rig.cells.long(NQ as usize), 0xa100_0040_0000_0000 + round % 64, "consumed and said so");
        assert_eq!(rig.recv(), [60]);
        assert!(!rig.rx.listen());
        assert_eq!(rig.cells.long(CQ as usize), 0x6100_0030_0000_0000 + 2 * round % 256);
    }
    rig.goes_on();
}

#[test]
fn receiving_allocates_nothing() {
    let mut rig = Rig::new(JUMBO);
    for _ in 0..20 {
        rig.frame(60);
        rig.chain(&[2048, 7]);
    }
    let Rig { pool, rx, .. } = &mut rig;
    assert_eq!(
        allocations(|| {
            let mut batch = Batch::new(pool);
            assert_eq!(rx.recv(&mut batch), 60);
        }),
        0
    );
}

#[test]
fn doorbells_that_were_lost_are_rung_again_when_the_queue_is_called() {
    let mut rig = Rig::new(Setup { generation: Generation::P5, interrupts: true, ..JUMBO });
    rig.frame(60);
    assert_eq!(rig.recv(), [60]);
    let rings = [RX, MORE, CQ, NQ].map(|at| at as usize);
    let said = rings.map(|at| rig.cells.long(at));
    rig.cells.clear();
    assert!(rig.recv().is_empty() && rings.iter().all(|&at| rig.cells.long(at) == 0), "it was not called");
    rig.recall.call();
    assert!(rig.recv().is_empty());
    assert_eq!(rings.map(|at| rig.cells.long(at)), said);
    assert!(!rig.recall.waits());
    rig.cells.clear();
    rig.frame(60);
    rig.recall.call();
    assert_eq!(rig.recv(), [60], "what is there is received all the same");
    assert_eq!(rig.cells.long(RX as usize), said[0]);
    rig.goes_on();
}
