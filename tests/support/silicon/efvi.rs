//! A card of the EF10 family that is all rings: enough of a management
//! controller to be brought up, and events that a test or a bench writes by hand.

use super::{Opened, Played, Shell, Silicon};
use bmnic::dma::Region;
use bmnic::driver::Config;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes that the card writes before a frame.
pub const PREFIX: u32 = 14;

const STRIDE: u64 = 0x4000;
const WINDOWS: u64 = 16;

const SFT_STATUS: u64 = 0x10;
const MC_DB_LWRD: u64 = 0x200;
const MC_DB_HWRD: u64 = 0x204;
const EVQ_RPTR: u64 = 0x400;
const RX_DESC_UPD: u64 = 0x830;
const TX_DESC_UPD: u64 = 0xa18;
const CTPIO: u64 = 0x3000;

/// Commands that a test names.
pub const GET_ASSERTS: u16 = 0x06;
pub const DRV_ATTACH: u16 = 0x1c;
pub const REBOOT: u16 = 0x3d;
pub const GET_CAPABILITIES: u16 = 0xbe;
pub const GET_LINK: u16 = 0x29;
pub const INIT_EVQ: u16 = 0x80;
pub const INIT_TXQ: u16 = 0x82;
pub const FILTER_OP: u16 = 0x8a;
pub const ALLOC_VIS: u16 = 0x8b;
pub const ALLOC_PIOBUF: u16 = 0x8f;
pub const FREE_PIOBUF: u16 = 0x90;
pub const LINK_PIOBUF: u16 = 0x92;
pub const RSS_CONTEXT_ALLOC: u16 = 0x9e;
pub const RSS_CONTEXT_FREE: u16 = 0x9f;
pub const RSS_CONTEXT_SET_KEY: u16 = 0xa0;
pub const RSS_CONTEXT_SET_TABLE: u16 = 0xa2;
pub const PTP: u16 = 0x0b;

/// What is wrong with the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every register reads as all ones.
    AllOnes,
    /// The management controller does not run.
    NoController,
    /// It never answers this command.
    Silent(u16),
    /// It answers it with four bytes.
    Short(u16),
    /// It refuses it with this code.
    Refuses(u16, u32),
    /// It refuses the filter that is this one in order.
    RefusesFilter(u64),
    /// It failed before, and may not be started anew by this function.
    FailedForOthers,
    /// It has no licence to put the time among events.
    NoTimeEvents,
    /// It tells others the time without the state of its clock.
    TimeWithoutState,
    /// It restarts while it is asked this.
    Restarts(u16),
    /// It answers it with another sequence number.
    WrongSequence(u16),
    /// It answers it as if it had been asked something else.
    WrongCommand(u16),
    /// It says that its answer is longer than any can be.
    Endless(u16),
    /// A queue says only after a while that it is flushed.
    LateFlush,
    /// Event queues never say that they have started.
    DeadQueues,
    /// The firmware has none of the capabilities.
    NoCapabilities,
    /// The BAR has room for one queue.
    SmallBar,
}

pub struct X2522(Mutex<Inside>);

pub type Card = Shell<X2522>;

#[derive(Default)]
struct Inside {
    boots: u32,
    /// The host combines stores to it.
    combines: bool,
    filters: u64,
    /// Commands in the order that they were given.
    asked: Vec<u16>,
    /// Queues that are being flushed, and whether the events of one went before.
    flushing: Arc<AtomicU32>,
    early: bool,
    vis: HashMap<u16, Vi>,
}

/// A virtual interface as the driver has set it up.
#[derive(Clone)]
struct Vi {
    events: (u64, usize),
    ring: Option<(u64, usize)>,
    /// Times that it was set up.
    starts: u32,
}

/// A card that is up to its link.
pub fn card(fault: Fault) -> Card {
    Shell::new(X2522(Mutex::new(Inside { boots: 3, ..Inside::default() })), fault)
}

/// The same on a host that combines stores to it, which none does whose kernel looks at
/// the card's BARs alone.
pub fn combining_card() -> Card {
    Shell::new(X2522(Mutex::new(Inside { boots: 3, combines: true, ..Inside::default() })), Fault::None)
}

pub fn open(config: &Config) -> Opened {
    let card = card(Fault::None);
    card.opened(config, Box::new(Rings::of(card.clone())))
}

impl Card {
    /// Commands given since the last time.
    pub fn asked(&self) -> Vec<u16> {
        std::mem::take(&mut self.silicon().0.lock().unwrap().asked)
    }

    /// Whether the events of a queue were taken away while it was flushed.
    pub fn early(&self) -> bool {
        self.silicon().0.lock().unwrap().early
    }

    /// Filters that are in.
    pub fn filters(&self) -> u64 {
        self.silicon().0.lock().unwrap().filters
    }

    /// Times that queue `vi` was started.
    pub fn starts(&self, vi: u16) -> u32 {
        self.silicon().0.lock().unwrap().vis.get(&vi).map_or(0, |vi| vi.starts)
    }

    /// A word of window `vi`.
    pub fn word(&self, vi: u16, offset: u64) -> u32 {
        self.get(u64::from(vi) * STRIDE + offset)
    }

    /// What was stored into the transmitter of window `vi`.
    pub fn direct(&self, vi: u16, words: usize) -> Vec<u32> {
        (0..words as u64).map(|n| self.word(vi, CTPIO + 4 * n)).collect()
    }

    /// Writes to mapped memory, as a card does.
    pub fn write(&self, iova: u64, bytes: &[u8]) {
        let (arena, offset) = self.find(iova);
        let region = Region::new(&arena, offset & !7, (offset % 8 + bytes.len()).next_multiple_of(8));
        for (to, &byte) in region.bytes()[offset % 8..].iter().zip(bytes) {
            to.store(byte, Ordering::Relaxed);
        }
    }

    /// The receive queue of `vi`.
    pub fn rx(&self, vi: u16) -> Queue {
        self.queue(vi, RX_DESC_UPD)
    }

    /// The transmit queue of `vi`.
    pub fn tx(&self, vi: u16) -> Queue {
        self.queue(vi, TX_DESC_UPD)
    }

    fn queue(&self, vi: u16, tail: u64) -> Queue {
        let Vi { events, ring, .. } = self.silicon().0.lock().unwrap().vis[&vi].clone();
        let region = |(iova, len): (u64, usize)| self.memory(iova, len);
        let tail = (u64::from(vi) * STRIDE + tail) as usize / 4;
        // The first event says that the queue has started.
        let ring = region(ring.expect("a queue"));
        Queue { ring, events: region(events), words: Arc::clone(&self.0.words), tail, head: 0, event: 1 }
    }
}

/// A queue and its events, seen from the card.
pub struct Queue {
    ring: Region,
    events: Region,
    words: Arc<[AtomicU32]>,
    tail: usize,
    /// The card's next descriptor.
    pub head: u32,
    /// The card's next event.
    pub event: u32,
}

/// A receive event of the frame that ends with the descriptor before `next`.
pub fn rx_event(bytes: u32, next: u32, last: bool) -> u64 {
    let ipv4_udp = 1 << 42 | 2 << 45;
    u64::from(bytes & 0x3fff) | u64::from(!last) << 14 | u64::from(next & 0xf) << 48 | ipv4_udp
}

/// A transmit event: all up to descriptor `index` is sent.
pub fn tx_event(index: u32) -> u64 {
    2 << 60 | u64::from(index & 0xffff)
}

impl Queue {
    /// A queue outside any card, for a loop that has no driver. Its tail is a word of its own.
    pub fn bare(ring: Region, events: Region) -> Queue {
        for slot in events.words64() {
            slot.store(u64::MAX, Ordering::Relaxed);
        }
        Queue { ring, events, words: (0..1).map(|_| AtomicU32::new(0)).collect(), tail: 0, head: 0, event: 0 }
    }

    pub fn len(&self) -> u32 {
        self.ring.words64().len() as u32
    }

    pub fn tail(&self) -> u32 {
        self.words[self.tail].load(Ordering::Acquire)
    }

    pub fn tail_word(&self) -> &AtomicU32 {
        &self.words[self.tail]
    }

    /// Descriptors that the card owns.
    pub fn owned(&self) -> u32 {
        self.tail().wrapping_sub(self.head) & (self.len() - 1)
    }

    /// Descriptor `n`, which wraps.
    pub fn descriptor(&self, n: u32) -> &AtomicU64 {
        &self.ring.words64()[(n & (self.len() - 1)) as usize]
    }

    /// Event slot `n`, which wraps.
    pub fn slot(&self, n: u32) -> &AtomicU64 {
        let slots = self.events.words64();
        &slots[n as usize & (slots.len() - 1)]
    }

    pub fn event_slots(&self) -> u32 {
        self.events.words64().len() as u32
    }

    /// Writes the next event.
    pub fn report(&mut self, event: u64) {
        self.slot(self.event).store(event, Ordering::Release);
        self.event = self.event.wrapping_add(1);
    }

    /// Receives up to `n` frames of `len` bytes, as far as there are descriptors.
    pub fn receive(&mut self, n: u32, len: u64) -> u32 {
        let n = n.min(self.owned());
        let slots = self.events.words64();
        let mask = slots.len() - 1;
        for i in 0..n {
            let event = rx_event(len as u32 + PREFIX, self.head.wrapping_add(i + 1), true);
            slots[self.event.wrapping_add(i) as usize & mask].store(event, Ordering::Release);
        }
        self.head = self.head.wrapping_add(n);
        self.event = self.event.wrapping_add(n);
        n
    }

    /// Sends all there is, and reports it in one event, or one a frame if `each`.
    pub fn transmit(&mut self, each: bool) -> u32 {
        let n = self.owned();
        for i in if each { 0 } else { n.saturating_sub(1) }..n {
            let index = self.head.wrapping_add(i) & (self.len() - 1);
            if self.descriptor(index).load(Ordering::Relaxed) >> 63 == 0 {
                self.report(tx_event(index));
            }
        }
        self.head = self.head.wrapping_add(n);
        n
    }
}

impl X2522 {
    /// Answers the question at `iova`.
    fn answer(&self, card: &Card, iova: u64) {
        let fault = card.fault();
        let buffer = card.memory(iova, 0x408);
        let words = buffer.words32();
        let (first, second) = (words[0].load(Ordering::Acquire), words[1].load(Ordering::Acquire));
        let command = (second & 0x7fff) as u16;
        let len = (second >> 16 & 0x3ff) as usize;
        let bytes: Vec<u8> = words[2..].iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect();
        let mut inside = self.0.lock().unwrap();
        inside.asked.push(command);
        let inserts = command == FILTER_OP && bytes[0] & 1 == 0;
        let mut refusal = match fault {
            Fault::RefusesFilter(which) if inserts && inside.filters + 1 == which => Some(0x1c),
            Fault::FailedForOthers if command == REBOOT => Some(0x1),
            _ => None,
        };
        let mut reply = if refusal.is_some() { vec![] } else { command_of(card, &mut inside, command, &bytes[..len]) };
        let mut header = first | 1 << 23;
        let mut length = None;
        match fault {
            Fault::Silent(which) if which == command => return,
            Fault::Short(which) if which == command => reply.truncate(4),
            Fault::Refuses(which, code) if which == command => refusal = Some(code),
            Fault::TimeWithoutState if command == PTP && bytes[0] == 0x18 && bytes[11] & 0x80 != 0 => {
                refusal = Some(0x22)
            }
            Fault::NoTimeEvents if command == PTP && bytes[0] == 0x18 => refusal = Some(0x1),
            Fault::Restarts(which) if which == command => {
                inside.boots += 1;
                (reply, header) = (vec![], header | 1 << 22);
            }
            Fault::WrongSequence(which) if which == command => header ^= 1 << 16,
            Fault::Endless(which) if which == command => length = Some(0x3ff),
            _ => {}
        }
        if let Some(code) = refusal {
            header |= 1 << 22;
            reply = code.to_le_bytes().to_vec();
        }
        for (word, bytes) in words[2..].iter().zip(reply.chunks(4)) {
            let mut value = [0; 4];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u32::from_le_bytes(value), Ordering::Relaxed);
        }
        let wrong = u32::from(matches!(fault, Fault::WrongCommand(which) if which == command));
        let length = length.unwrap_or(reply.len()) as u32;
        words[1].store((second & 0x7fff ^ wrong) | length << 16, Ordering::Relaxed);
        words[0].store(header, Ordering::Release);
    }
}

/// Does what a command asks for.
fn command_of(card: &Card, inside: &mut Inside, command: u16, input: &[u8]) -> Vec<u8> {
    let fault = card.fault();
    let word = |at: usize| u32::from_le_bytes(input[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    match command {
        GET_ASSERTS => words(&[if fault == Fault::FailedForOthers { 3 } else { 1 }]),
        DRV_ATTACH => words(&[0, 7]),
        GET_CAPABILITIES => {
            let mut reply = vec![0; 0x4e];
            if fault != Fault::NoCapabilities {
                // MAC with filters, RSS modes, tags, prefix, stamps; event types, stamps, CTPIO.
                reply[..4].copy_from_slice(&(1u32 << 11 | 1 << 13 | 1 << 19 | 1 << 23 | 1 << 24).to_le_bytes());
                reply[0x14..0x18].copy_from_slice(&(1u32 << 7 | 1 << 8 | 1 << 15).to_le_bytes());
                reply[0x44..0x48].copy_from_slice(&[16, 0, 0, 8]);
                reply[0x48] = 1;
                reply[0x4c] = 0x61;
            }
            reply
        }
        // Flags, type, 10 and 25 Gbit/s.
        0x24 => words(&[&[1, 0, 0x4080][..], &[0; 15]].concat()),
        0x28 => words(&[&[0; 6][..], &[2, 0, 0, 0]].concat()),
        GET_LINK => words(&[0, 0, 10_000, 0, 3, 0, 0]),
        0x55 => vec![0, 0x0f, 0x53, 1, 2, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        0x59 => words(&[0, 0]),
        INIT_EVQ => {
            let vi = word(4) as u16;
            let (iova, len) = (long(0x24), word(0) as usize * 8);
            let starts = inside.vis.get(&vi).map_or(0, |vi| vi.starts) + 1;
            inside.vis.insert(vi, Vi { events: (iova, len), ring: None, starts });
            if fault != Fault::DeadQueues {
                let events = card.memory(iova, len);
                assert!(events.words64().iter().all(|slot| slot.load(Ordering::Acquire) == u64::MAX));
                events.words64()[0].store(5 << 60 | 2 << 56 | u64::from(vi), Ordering::Release);
            }
            words(&[0, 0])
        }
        0x81 | INIT_TXQ => {
            let vi = inside.vis.get_mut(&(word(0xc) as u16)).expect("events first");
            vi.ring = Some((long(0x1c), word(0) as usize * 8));
            for tail in [RX_DESC_UPD, TX_DESC_UPD] {
                card.set(u64::from(word(0xc)) * STRIDE + tail, 0);
            }
            vec![]
        }
        // Stopped: said in whichever slot is free.
        0x84 | 0x85 => {
            let code = if command == 0x84 { 0x10 } else { 0x0c };
            let vi = word(0);
            if let Some(queue) = inside.vis.get(&(vi as u16)) {
                let events = card.memory(queue.events.0, queue.events.1);
                let free = events.words64().iter().position(|slot| slot.load(Ordering::Acquire) == u64::MAX);
                let at = free.unwrap_or(0);
                let event = 12 << 60 | code << 44 | u64::from(vi);
                if fault == Fault::LateFlush {
                    let flushing = Arc::clone(&inside.flushing);
                    flushing.fetch_add(1, Ordering::AcqRel);
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(300));
                        flushing.fetch_sub(1, Ordering::AcqRel);
                        events.words64()[at].store(event, Ordering::Release);
                    });
                } else {
                    events.words64()[at].store(event, Ordering::Release);
                }
            }
            vec![]
        }
        0x83 => {
            inside.early |= inside.flushing.load(Ordering::Acquire) > 0;
            vec![]
        }
        FILTER_OP => {
            inside.filters = inside.filters.wrapping_add(if word(0) & 1 == 0 { 1 } else { u64::MAX });
            words(&[word(0), inside.filters as u32, 0])
        }
        ALLOC_VIS => words(&[word(4), 0, 0]),
        ALLOC_PIOBUF => words(&[7]),
        RSS_CONTEXT_ALLOC => words(&[9]),
        0xe4 => words(&[1, 7, 0x262, 0x110, 0x10, 0x4000_0100, 0x8000_0100, 0x4000_0000, 0x8000_0000]),
        // Counters: none, but of one generation.
        0x2e => {
            let len = word(0xc) as usize;
            card.memory(long(0), len).words64()[len / 8 - 1].store(0, Ordering::Release);
            vec![]
        }
        PTP if word(0) == 0x04 => words(&[999, 3_900_000_000]),
        PTP if word(0) == 0x16 => words(&[3, 120, 1, 0, 0, 0]),
        PTP if word(0) == 0x17 => words(&[400, -48i32 as u32, 0, 0, 400, -48i32 as u32]),
        _ => vec![],
    }
}

impl Silicon for X2522 {
    const NAME: &'static str = "test:x2522";
    const ID: [u16; 2] = [0x1924, 0x0b03];
    const BAR_LEN: u64 = STRIDE * WINDOWS;

    type Fault = Fault;
    const ALL_ONES: Fault = Fault::AllOnes;

    fn read(&self, fault: Fault, offset: u64, value: u32) -> u32 {
        match (fault, offset) {
            (Fault::NoController, SFT_STATUS) => 0x0bad_0003,
            (_, SFT_STATUS) => 0xb007_0000 | self.0.lock().unwrap().boots,
            _ => value,
        }
    }

    fn written(&self, card: &Card, offset: u64, value: u32) {
        if offset == MC_DB_HWRD && value != 1 {
            self.answer(card, u64::from(card.get(MC_DB_LWRD)) << 32 | u64::from(value));
        }
    }

    fn combines(&self) -> bool {
        self.0.lock().unwrap().combines
    }

    fn bar_len(&self, fault: Fault) -> u64 {
        if fault == Fault::SmallBar { STRIDE } else { Self::BAR_LEN }
    }
}

/// Receive queue and transmit queue, by their virtual interfaces.
const RX: u16 = 0;
const TX: u16 = 1;

/// The first queue of each kind.
struct Rings {
    card: Card,
    rx: RefCell<Option<Queue>>,
    tx: RefCell<Option<Queue>>,
    starts: Cell<[u32; 2]>,
    /// A frame has begun and not ended.
    open: bool,
}

impl Rings {
    fn of(card: Card) -> Rings {
        Rings { card, rx: RefCell::default(), tx: RefCell::default(), starts: Cell::default(), open: false }
    }

    /// A card that sets a queue up anew begins anew itself.
    fn sync(&self) {
        let now = [RX, TX].map(|vi| self.card.starts(vi));
        let seen = self.starts.replace(now);
        if now[0] != seen[0] {
            *self.rx.borrow_mut() = Some(self.card.rx(RX));
        }
        if now[1] != seen[1] {
            // The first descriptor only switches options.
            let mut tx = self.card.tx(TX);
            tx.head = 1;
            *self.tx.borrow_mut() = Some(tx);
        }
    }

    fn with_rx<R>(&self, f: impl FnOnce(&mut Queue) -> R) -> R {
        self.sync();
        f(self.rx.borrow_mut().as_mut().unwrap())
    }

    fn with_tx<R>(&self, f: impl FnOnce(&mut Queue) -> R) -> R {
        self.sync();
        f(self.tx.borrow_mut().as_mut().unwrap())
    }
}

impl Played for Rings {
    fn attach(&mut self) {
        self.sync();
    }

    fn rx_owned(&self) -> u32 {
        self.with_rx(|rx| rx.owned())
    }

    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        // The first part of a frame has the prefix before it; one that is to be
        // full is full with it.
        let prefix = if self.open || !last { 0 } else { PREFIX };
        self.open = !last;
        self.with_rx(|rx| {
            let next = rx.head.wrapping_add(ahead + 1);
            let event = rx_event(len.wrapping_add(prefix), next, last);
            rx.slot(rx.event.wrapping_add(ahead)).store(event, Ordering::Release);
        });
    }

    fn rx_advance(&mut self, n: u32) {
        self.with_rx(|rx| {
            rx.head = rx.head.wrapping_add(n);
            rx.event = rx.event.wrapping_add(n);
        });
    }

    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        self.open = false;
        let mut at = self.with_rx(|rx| rx.event);
        let mut guess = self.with_rx(|rx| rx.head);
        for _ in 0..4 * self.with_rx(|rx| rx.event_slots()) {
            let before = self
                .with_rx(|rx| rx.slot(at).swap(rx_event(60 + PREFIX, guess.wrapping_add(1), true), Ordering::AcqRel));
            let starts = self.starts.get();
            if received() {
                self.with_rx(|rx| {
                    rx.event = at.wrapping_add(1);
                    // It keeps 41 to 56 descriptors out: the sixteen that one nibble tells apart.
                    let low = rx.tail().wrapping_sub(56);
                    rx.head = low.wrapping_add(guess.wrapping_add(1).wrapping_sub(low) & 0xf);
                });
                return;
            }
            self.sync();
            if starts != self.starts.get() {
                (at, guess) = self.with_rx(|rx| (rx.event, rx.head));
                continue;
            }
            // Taken and refused: the right slot, another descriptor. Not taken:
            // another slot.
            let taken = self.with_rx(|rx| rx.slot(at).load(Ordering::Acquire) == u64::MAX);
            if taken {
                guess = guess.wrapping_add(1);
            } else {
                self.with_rx(|rx| rx.slot(at).store(before, Ordering::Release));
            }
            at = at.wrapping_add(1);
        }
        panic!("the driver waits nowhere");
    }

    fn tx_owned(&self) -> u32 {
        self.with_tx(|tx| tx.owned())
    }

    fn tx_complete(&mut self, ahead: u32) {
        self.with_tx(|tx| {
            let index = tx.head.wrapping_add(ahead) & (tx.len() - 1);
            tx.report(tx_event(index));
        });
    }

    fn tx_advance(&mut self, n: u32) {
        self.with_tx(|tx| tx.head = tx.head.wrapping_add(n));
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        for queue in [&self.rx, &self.tx] {
            let queue = queue.borrow();
            let queue = queue.as_ref().unwrap();
            for n in 0..queue.len() {
                queue.descriptor(n).store(noise(), Ordering::Release);
            }
            for n in 0..queue.event_slots() {
                queue.slot(n).store(noise(), Ordering::Release);
            }
        }
    }

    fn play(&mut self, burst: u32, len: u32) {
        self.sync();
        let (rx, tx) = (self.rx.get_mut().as_mut().unwrap(), self.tx.get_mut().as_mut().unwrap());
        turn([rx, tx], burst, len);
    }
}

/// An honest turn: one event for all that is sent.
pub fn turn([rx, tx]: [&mut Queue; 2], burst: u32, len: u32) {
    rx.receive(burst, u64::from(len));
    tx.transmit(false);
}
