//! A ConnectX that is all rings: enough firmware to be brought up, and completions that
//! a test or a bench writes by hand.

mod firmware;

use super::{Opened, Played, Shell, Silicon};
use bmnic::dma::Region;
use bmnic::driver::Config;
use firmware::{RECEIVE, TRANSMIT, Told};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Registers: interface of commands, where their queue is, and its doorbell.
const INTERFACE: u64 = 0x04;
const QUEUE: [u64; 2] = [0x10, 0x14];
const DOORBELL: u64 = 0x18;

/// A completion, or a basic block.
pub type Line = [AtomicU64; 8];

/// What the card grants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grants {
    /// Several frames in one entry.
    pub multi: bool,
    /// Completions in short.
    pub compression: bool,
    /// It wants Ethernet headers inline.
    pub headers_inline: bool,
}

impl Grants {
    /// Of the card that has such rings.
    pub fn of(rings: &str) -> Grants {
        match rings {
            "mlx5" => Grants { multi: true, ..Grants::default() },
            "mlx5-short" => Grants { multi: true, compression: true, ..Grants::default() },
            "mlx5-each" => Grants::default(),
            "mlx5-inline" => Grants { headers_inline: true, ..Grants::default() },
            other => panic!("no card with rings of {other}"),
        }
    }
}

/// What is wrong with the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every register reads as all ones.
    AllOnes,
}

pub struct ConnectX {
    grants: Grants,
    told: Mutex<Told>,
}

pub type Card = Shell<ConnectX>;

/// A card with such rings, opened.
pub fn open(rings: &str, config: &Config) -> Opened {
    let grants = Grants::of(rings);
    let card = card(grants);
    let config = Config { compressed_completions: grants.compression, ..config.clone() };
    card.opened(&config, Box::new(Rings::of(card.clone())))
}

/// A card that grants this.
pub fn card(grants: Grants) -> Card {
    Shell::new(ConnectX { grants, told: Mutex::default() }, Fault::None)
}

impl Card {
    /// Commands given since it was taken into use.
    pub fn asked(&self) -> Vec<u16> {
        std::mem::take(&mut self.silicon().told().asked)
    }
}

impl ConnectX {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }
}

impl Silicon for ConnectX {
    const NAME: &'static str = "test:connectx";
    const ID: [u16; 2] = [0x15b3, 0x1017];
    const BAR_LEN: u64 = 0x2_0000;

    type Fault = Fault;
    const ALL_ONES: Fault = Fault::AllOnes;

    /// Numbers have their highest byte first.
    fn read(&self, _fault: Fault, offset: u64, value: u32) -> u32 {
        match offset {
            INTERFACE => (5_u32 << 16).to_be(),
            // 32 entries of 64 bytes.
            at if at == QUEUE[1] => value | 0x56_u32.to_be(),
            _ => value,
        }
    }

    fn written(&self, card: &Card, offset: u64, value: u32) {
        if offset == DOORBELL {
            let [high, low] = QUEUE.map(|at| u64::from(u32::from_be(card.get(at))));
            let slots = u32::from_be(value);
            (0..32)
                .filter(|slot| slots >> slot & 1 != 0)
                .for_each(|slot| firmware::serve(card, high << 32 | low, slot));
        }
    }
}

/// A work queue and its completions, seen from the card.
pub struct Queue {
    work: Region,
    reports: Region,
    /// Doorbell record, and which of its words says what was posted.
    record: (Region, usize),
    /// Frames that come together are reported in short.
    compresses: bool,
    /// The card's next entry.
    pub head: u32,
    /// The card's next completion.
    pub at: u32,
}

/// What completions report.
const SENT: u8 = 0x0;
const RECEIVED: u8 = 0x2;
/// In short: the format, beside what is reported.
const SHORT: u8 = 3 << 2;

impl Queue {
    /// A queue outside any card, for a loop that has no driver.
    pub fn bare(work: Region, reports: Region, record: Region, compresses: bool) -> Queue {
        Queue { work, reports, record: (record, 0), compresses, head: 0, at: 0 }
    }

    /// How many were posted, as it is in memory.
    pub fn record(&self) -> &AtomicU32 {
        &self.record.0.words32()[self.record.1]
    }

    /// Entries that the card owns.
    pub fn owned(&self) -> u32 {
        u32::from(u32::from_be(self.record().load(Ordering::Acquire)) as u16).wrapping_sub(self.head) & 0xffff
    }

    /// Basic block `n` of a transmit queue, which wraps.
    pub fn block(&self, n: u32) -> &Line {
        let blocks = self.work.words::<Line>();
        &blocks[n as usize & (blocks.len() - 1)]
    }

    /// Segment `n` of a receive queue, which wraps.
    pub fn segment(&self, n: u32) -> &[AtomicU64; 2] {
        let segments = self.work.words::<[AtomicU64; 2]>();
        &segments[n as usize & (segments.len() - 1)]
    }

    /// Entry `n` of the completions, which wraps.
    pub fn entry(&self, n: u32) -> &Line {
        let entries = self.reports.words::<Line>();
        &entries[n as usize & (entries.len() - 1)]
    }

    /// Completions of the ring.
    pub fn entries(&self) -> u32 {
        self.reports.len() as u32 / 64
    }

    /// Writes the next completion: `bytes`, and for which entry, with the owner bit of its
    /// lap last.
    pub fn report(&mut self, what: u8, counter: u32, bytes: u32) {
        let owner = u8::from(self.at & self.entries() != 0);
        self.write(self.at, what << 4 | owner, counter, bytes);
        self.at = self.at.wrapping_add(1);
    }

    /// Writes completion `n`, with that last byte.
    fn write(&self, n: u32, last: u8, counter: u32, bytes: u32) {
        let [.., high, low] = counter.to_be_bytes();
        let entry = self.entry(n);
        entry[5].store(u64::from(bytes.to_be()) << 32, Ordering::Relaxed);
        entry[7].store(u64::from_le_bytes([0, 0, 0, 0, high, low, 0, last]), Ordering::Release);
    }

    /// Reports `n` frames of `len` bytes from entry `counter` on in short: minis behind the
    /// title, and in each eighth completion from it on, as far as those are.
    fn report_short(&mut self, n: u32, counter: u32, len: u32) {
        for mini in 0..n {
            let entry = self.entry(self.at.wrapping_add((mini & !7).max(1)));
            entry[mini as usize & 7].store(u64::from(len.to_be()) << 32, Ordering::Relaxed);
        }
        let owner = u8::from(self.at & self.entries() != 0);
        self.write(self.at, RECEIVED << 4 | SHORT | owner, counter, n);
        self.at = self.at.wrapping_add(n);
    }

    /// Receives up to `n` frames of `len` bytes, as far as there are entries.
    pub fn receive(&mut self, n: u32, len: u32) -> u32 {
        let n = n.min(self.owned());
        if self.compresses && n > 1 {
            self.report_short(n, self.head, len);
            self.head = self.head.wrapping_add(n);
            return n;
        }
        for _ in 0..n {
            self.report(RECEIVED, self.head, len);
            self.head = self.head.wrapping_add(1);
        }
        n
    }

    /// Sends all there is, and reports it where that is asked for; how many blocks.
    pub fn transmit(&mut self) -> u32 {
        /// In the second word, as it is in memory.
        const REPORT: u64 = (0x08_u64 << 32).to_be();
        let n = self.owned();
        let mut left = n;
        while left > 0 {
            let [begin, asks] = [0, 1].map(|word| self.block(self.head)[word].load(Ordering::Relaxed));
            let blocks = (u64::from_be(begin) as u32 & 0x3f).div_ceil(4).clamp(1, left);
            if asks & REPORT != 0 {
                self.report(SENT, self.head, 0);
            }
            self.head = self.head.wrapping_add(blocks);
            left -= blocks;
        }
        n
    }
}

/// An honest turn.
pub fn turn([rx, tx]: [&mut Queue; 2], burst: u32, len: u32) {
    rx.receive(burst, len);
    tx.transmit();
}

/// The first queue of each kind.
struct Rings {
    card: Card,
    queues: RefCell<[Option<Queue>; 2]>,
    starts: Cell<[u32; 2]>,
    /// Bytes of a frame that has not ended, and parts of it that were completed and not
    /// moved past yet.
    begun: u32,
    held: u32,
}

impl Rings {
    fn of(card: Card) -> Rings {
        Rings { card, queues: RefCell::default(), starts: Cell::default(), begun: 0, held: 0 }
    }

    /// A queue that was taken into use again begins anew; its completions go on where the
    /// driver is.
    fn sync(&self) {
        let told = self.card.silicon().told();
        let seen = self.starts.replace(told.starts);
        for kind in [RECEIVE, TRANSMIT] {
            let Some(work) = told.queues[kind].filter(|_| told.starts[kind] != seen[kind]) else { continue };
            let memory = |iova, len| self.card.memory(iova, len);
            let read = memory(work.reports.record, 8).words32()[0].load(Ordering::Acquire);
            self.queues.borrow_mut()[kind] = Some(Queue {
                work: memory(work.ring.iova, work.ring.len),
                reports: memory(work.reports.iova, work.reports.len),
                record: (memory(work.ring.record, 8), kind),
                compresses: work.compresses,
                head: 0,
                at: u32::from_be(read),
            });
        }
    }

    fn with<R>(&self, kind: usize, f: impl FnOnce(&mut Queue) -> R) -> R {
        self.sync();
        f(self.queues.borrow_mut()[kind].as_mut().unwrap())
    }

    fn starts(&self) -> u32 {
        self.card.silicon().told().starts[RECEIVE]
    }
}

impl Played for Rings {
    fn attach(&mut self) {
        self.sync();
    }

    fn rx_owned(&self) -> u32 {
        self.with(RECEIVE, |rx| rx.owned())
    }

    /// A frame takes one entry, however many buffers it fills.
    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        self.begun += len & 0xffff;
        if !last {
            self.held += 1;
            return;
        }
        let (place, bytes) = (ahead.saturating_sub(self.held), std::mem::take(&mut self.begun));
        self.with(RECEIVE, |rx| {
            let counter = rx.head.wrapping_add(place);
            match rx.compresses {
                // Each by itself.
                true => rx.report_short(1, counter, bytes),
                false => rx.report(RECEIVED, counter, bytes),
            }
        });
    }

    fn rx_advance(&mut self, n: u32) {
        let inner = n.min(self.held);
        self.held -= inner;
        self.with(RECEIVE, |rx| rx.head = rx.head.wrapping_add(n - inner));
    }

    /// Completions of nothing, wherever the driver looks: then it begins anew, and so
    /// does the card.
    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        (self.begun, self.held) = (0, 0);
        let before = self.starts();
        for owner in [0, 1] {
            if self.starts() == before {
                const STRANGE: u32 = 0x5555;
                self.with(RECEIVE, |rx| {
                    (0..rx.entries()).for_each(|n| rx.write(n, RECEIVED << 4 | owner, STRANGE, 60));
                });
                received();
            }
        }
        self.rx_complete(0, 60, true);
        self.rx_advance(1);
        assert!(received(), "the driver waits nowhere");
    }

    fn tx_owned(&self) -> u32 {
        self.with(TRANSMIT, |tx| tx.owned())
    }

    fn tx_complete(&mut self, ahead: u32) {
        self.with(TRANSMIT, |tx| tx.report(SENT, tx.head.wrapping_add(ahead), 0));
    }

    fn tx_advance(&mut self, n: u32) {
        self.with(TRANSMIT, |tx| tx.head = tx.head.wrapping_add(n));
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        self.sync();
        let queues = self.queues.borrow();
        for queue in queues.iter().flatten() {
            for word in [&queue.work, &queue.reports].into_iter().flat_map(|ring| ring.words64()) {
                word.store(noise(), Ordering::Release);
            }
        }
    }

    fn play(&mut self, burst: u32, len: u32) {
        self.sync();
        if let [Some(rx), Some(tx)] = self.queues.get_mut() {
            turn([rx, tx], burst, len);
        }
    }
}
