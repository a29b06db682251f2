//! A BCM57414 that is all rings: enough firmware to be brought up, and completions
//! that a test or a bench writes by hand.

use super::{Opened, Played, Shell, Silicon};
use bmnic::dma::Region;
use bmnic::driver::Config;
use bmnic::pci::{Bar, Doorbell, Registers};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const TRIGGER: u64 = 0x100;

/// Bytes of BAR 2, and from one doorbell slot to the next.
const DOORBELLS: u64 = 0x1_0000;
const SLOT: u64 = 0x80;

/// Commands that a test names.
pub const VER_GET: u16 = 0x00;
pub const FUNC_QCAPS: u16 = 0x15;
pub const FUNC_QCFG: u16 = 0x16;
pub const PORT_PHY_QCFG: u16 = 0x27;
pub const QUEUE_QPORTCFG: u16 = 0x30;
pub const RING_ALLOC: u16 = 0x50;
pub const FUNC_RESOURCE_QCAPS: u16 = 0x190;

/// Kinds of rings.
const COMPLETIONS: u8 = 0;
const TRANSMIT: u8 = 1;
const RECEIVE: u8 = 2;

/// What is wrong with the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every register reads as all ones.
    AllOnes,
    /// Its firmware never answers this command.
    Silent(u16),
    /// It refuses it with this code.
    Refuses(u16, u16),
    /// It answers it with the least that an answer can be.
    Short(u16),
    /// It answers it with another sequence number.
    WrongSequence(u16),
}

#[derive(Default)]
pub struct Bcm57414(Mutex<Inside>);

pub type Card = Shell<Bcm57414>;

#[derive(Default)]
struct Inside {
    /// Commands in the order that they were given.
    asked: Vec<u16>,
    /// Rings that were allocated, the newest last.
    rings: Vec<Allocated>,
    /// Numbers given out.
    ids: u16,
    /// Doorbells that the driver holds, the newest last: each has memory of its own,
    /// wherever it is.
    cells: Vec<(u64, Arc<Words>)>,
}

#[derive(Clone, Copy)]
struct Allocated {
    kind: u8,
    iova: u64,
    len: u32,
    logical: u16,
    /// How often there was one.
    times: u32,
}

impl Inside {
    /// The newest such ring.
    fn ring(&self, kind: u8, logical: u16) -> Option<&Allocated> {
        self.rings.iter().find(|ring| (ring.kind, ring.logical) == (kind, logical))
    }
}

/// Memory behind a doorbell.
type Words = [AtomicU32; 2];

/// A card that is up to its link.
pub fn card(fault: Fault) -> Card {
    Shell::new(Bcm57414::default(), fault)
}

pub fn open(config: &Config) -> Opened {
    let card = card(Fault::None);
    card.opened(config, Box::new(Rings::of(card.clone())))
}

impl Card {
    /// Commands given since the last time.
    pub fn asked(&self) -> Vec<u16> {
        std::mem::take(&mut self.inside().asked)
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.silicon().0.lock().unwrap()
    }

    /// Times that such a ring was allocated.
    fn starts(&self, kind: u8, logical: u16) -> u32 {
        let inside = self.inside();
        inside.ring(kind, logical).map_or(0, |ring| ring.times)
    }

    /// The memory of the newest such ring.
    fn ring_memory(&self, kind: u8, logical: u16) -> Option<Region> {
        let inside = self.inside();
        let ring = inside.ring(kind, logical).copied();
        drop(inside);
        ring.map(|ring| self.memory(ring.iova, 16 * ring.len as usize))
    }

    /// The newest doorbell of a slot that was last told something of `key`.
    fn bell(&self, logical: u16, key: u32) -> Bell {
        let inside = self.inside();
        let offset = u64::from(logical) * SLOT;
        let is_it = |(at, words): &&(u64, Arc<Words>)| *at == offset && words[0].load(Ordering::Acquire) >> 28 == key;
        Bell(Arc::clone(&inside.cells.iter().rfind(is_it).expect("a doorbell").1))
    }
}

/// A doorbell, seen from the card.
struct Bell(Arc<Words>);

impl Bell {
    fn index(&self) -> u32 {
        self.0[0].load(Ordering::Acquire) & 0xff_ffff
    }
}

/// A ring of descriptors and that of its completions, seen from the card.
pub struct Queue {
    descriptors: Region,
    reports: Region,
    bell: Bell,
    /// The card's next descriptor.
    pub head: u32,
    /// The card's next completion.
    pub at: u32,
}

/// First words of both halves of a frame's record.
fn received(len: u64, opaque: u64, more: u64) -> [[u64; 2]; 2] {
    [[0x3411 | len << 16 | opaque << 32, more << 1], [0x3, 0]]
}

impl Queue {
    /// A queue outside any card, for a loop that has no driver. Its tail is a word of its own.
    pub fn bare(descriptors: Region, reports: Region) -> Queue {
        Queue { descriptors, reports, bell: Bell(Arc::default()), head: 0, at: 0 }
    }

    pub fn tail_word(&self) -> &AtomicU32 {
        &self.bell.0[0]
    }

    pub fn len(&self) -> u32 {
        self.descriptors.len() as u32 / 16
    }

    /// Descriptors that the card owns.
    pub fn owned(&self) -> u32 {
        self.bell.index().wrapping_sub(self.head) & (self.len() - 1)
    }

    /// Descriptor `n`, which wraps.
    pub fn descriptor(&self, n: u32) -> &[AtomicU64; 2] {
        &self.descriptors.words::<[AtomicU64; 2]>()[(n & (self.len() - 1)) as usize]
    }

    /// Entry `n` of the completions, which wraps.
    pub fn entry(&self, n: u32) -> &[AtomicU64; 2] {
        let entries = self.reports.words::<[AtomicU64; 2]>();
        &entries[n as usize & (entries.len() - 1)]
    }

    pub fn entries(&self) -> u32 {
        self.reports.len() as u32 / 16
    }

    /// What the card returns of a descriptor.
    fn opaque(&self, n: u32) -> u64 {
        self.descriptor(n)[0].load(Ordering::Relaxed) >> 32
    }

    /// Writes the next completion, with the V of its lap.
    pub fn report(&mut self, [first, second]: [u64; 2]) {
        let valid = u64::from(self.at & self.entries() == 0);
        let entry = self.entry(self.at);
        entry[0].store(first, Ordering::Relaxed);
        entry[1].store(second & !1 | valid, Ordering::Release);
        self.at = self.at.wrapping_add(1);
    }

    /// Receives up to `n` frames of `len` bytes, as far as there are descriptors.
    pub fn receive(&mut self, n: u32, len: u64) -> u32 {
        let n = n.min(self.owned());
        for _ in 0..n {
            let record = received(len, self.opaque(self.head), 0);
            record.into_iter().for_each(|entry| self.report(entry));
            self.head = self.head.wrapping_add(1);
        }
        n
    }

    /// Sends all there is, and reports it where that is asked for.
    pub fn transmit(&mut self) -> u32 {
        const QUIET: u64 = 1 << 7;
        let n = self.owned();
        for _ in 0..n {
            let first = self.descriptor(self.head)[0].load(Ordering::Relaxed);
            if first & QUIET == 0 {
                self.report([first >> 32 << 32, 0]);
            }
            self.head = self.head.wrapping_add(1);
        }
        n
    }
}

impl Bcm57414 {
    /// Answers the question that lies in the window, or where that says.
    fn answer(&self, card: &Card) {
        let window: Vec<u8> = (0..32).flat_map(|n| card.get(4 * n).to_le_bytes()).collect();
        let long = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let mut request = window.clone();
        if window[2..4] == [0x21, 0x43] {
            let len = usize::from(u16::from_le_bytes([window[6], window[7]]));
            let memory = card.memory(long(&window, 8), len.next_multiple_of(8));
            request = memory.bytes()[..len].iter().map(|byte| byte.load(Ordering::Acquire)).collect();
        }
        request.resize(512, 0);
        let command = u16::from_le_bytes([request[0], request[1]]);
        let fault = card.fault();
        let mut inside = self.0.lock().unwrap();
        inside.asked.push(command);
        let mut reply = vec![0; 256];
        let mut code = match done(&mut inside, command, &request, &mut reply) {
            true => 0,
            false => 0xffff,
        };
        drop(inside);
        reply[2..6].copy_from_slice(&[request[0], request[1], request[4], request[5]]);
        match fault {
            Fault::Silent(which) if which == command => return,
            Fault::Refuses(which, with) if which == command => code = with,
            Fault::Short(which) if which == command => reply.truncate(16),
            Fault::WrongSequence(which) if which == command => reply[4] ^= 1,
            _ => {}
        }
        let len = reply.len();
        reply[..2].copy_from_slice(&code.to_le_bytes());
        reply[6..8].copy_from_slice(&(len as u16).to_le_bytes());
        reply[len - 1] = 1;
        let memory = card.memory(long(&request, 8), len);
        // The last byte says that the others are there.
        for (to, &byte) in memory.bytes().iter().zip(&reply) {
            to.store(byte, Ordering::Release);
        }
    }
}

/// Does what a command asks for; false if the firmware does not know it.
fn done(inside: &mut Inside, command: u16, request: &[u8], reply: &mut [u8]) -> bool {
    const MANY: u16 = 64;
    let half = |at: usize| u16::from_le_bytes([request[at], request[at + 1]]);
    let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
    let mut put = |at: usize, value: u16| reply[at..at + 2].copy_from_slice(&value.to_le_bytes());
    match command {
        VER_GET => {
            // Interface 1.10.2; requests in memory are fine; 1000 ms.
            put(0x08, 0x0a01);
            put(0x0a, 2);
            put(0x18, 4);
            put(0x70, 0x16d7);
            put(0x76, 128);
            put(0x78, 704);
            put(0x7a, 1000);
            put(0x80, 1);
            put(0x82, 10);
            put(0x84, 2);
            put(0x88, 218);
            put(0xa8, 384);
        }
        FUNC_QCAPS => {
            [(0x10, 0x0f00), (0x12, 0x0153), (0x14, 0x0302)].into_iter().for_each(|(at, mac)| put(at, mac));
            [0x16, 0x18, 0x1a, 0x1c, 0x1e, 0x20, 0x26, 0x48].into_iter().for_each(|at| put(at, MANY));
        }
        FUNC_QCFG => {
            [0x18, 0x1a, 0x1c, 0x1e, 0x20, 0x22, 0x40, 0x46, 0x48].into_iter().for_each(|at| put(at, MANY));
            put(0x2e, 9500);
        }
        FUNC_RESOURCE_QCAPS => return false,
        QUEUE_QPORTCFG => {
            put(0x08, 1);
            // Queue 4 may lose frames; there is no other.
            (0xf..0x1f).step_by(2).for_each(|at| put(at, 0xffff));
            put(0x0f, 0x0004);
        }
        // Up, at 25 Gbit/s.
        PORT_PHY_QCFG => {
            [(0x08, 2), (0x0a, 250), (0x0e, 0x140), (0x10, 250)].into_iter().for_each(|(at, v)| put(at, v))
        }
        0x2a => [(0x0a, 0x140), (0x0c, 0x140)].into_iter().for_each(|(at, v)| put(at, v)),
        RING_ALLOC => {
            let iova = u64::from(word(0x18)) | u64::from(word(0x1c)) << 32;
            let (kind, logical) = (request[0x14], half(0x2c));
            let times = inside.ring(kind, logical).map_or(1, |before| before.times + 1);
            inside.rings.retain(|ring| (ring.kind, ring.logical) != (kind, logical));
            inside.rings.push(Allocated { kind, iova, len: word(0x28), logical, times });
            inside.ids = inside.ids.wrapping_add(3);
            put(0x08, inside.ids);
        }
        // Numbers of groups, places, contexts, filters.
        0x40 | 0x60 | 0x70 | 0x90 | 0x99 | 0xb0 => {
            inside.ids = inside.ids.wrapping_add(3);
            put(0x08, inside.ids);
        }
        _ => {}
    }
    true
}

impl Silicon for Bcm57414 {
    const NAME: &'static str = "test:57414";
    const ID: [u16; 2] = [0x14e4, 0x16d7];
    const BAR_LEN: u64 = 0x1_0000;

    type Fault = Fault;
    const ALL_ONES: Fault = Fault::AllOnes;

    fn read(&self, _fault: Fault, _offset: u64, value: u32) -> u32 {
        value
    }

    fn written(&self, card: &Card, offset: u64, _value: u32) {
        if offset == TRIGGER {
            self.answer(card);
        }
    }

    fn other_bar(&self, card: &Card, index: u8) -> Bar {
        assert_eq!(index, 2);
        Bar::Served(Arc::new(Bells(card.clone())), DOORBELLS)
    }
}

/// BAR 2.
struct Bells(Card);

impl Registers for Bells {
    fn read(&self, _offset: u64, _size: u8) -> u64 {
        0
    }

    fn write(&self, _offset: u64, _size: u8, _value: u64) {}

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let mut inside = self.0.inside();
        // Those that nobody holds any more are gone.
        inside.cells.retain(|(_, words)| Arc::strong_count(words) > 1);
        let words: Arc<Words> = Arc::default();
        inside.cells.push((offset, Arc::clone(&words)));
        // SAFETY: the words live as long as their owner.
        Some(unsafe { Doorbell::with_room(NonNull::from(&words[0]), 8, Arc::clone(&words) as _) })
    }
}

/// The first queue of each kind.
struct Rings {
    card: Card,
    rx: RefCell<Option<Queue>>,
    /// Buffers that frames go on in, and the card's next.
    more: RefCell<Option<(Region, u32)>>,
    tx: RefCell<Option<Queue>>,
    starts: Cell<[u32; 2]>,
    /// Lengths of the parts of a frame that has not ended.
    parts: Vec<u32>,
    /// Parts that were completed in other buffers than a frame's first, and not
    /// moved past yet.
    held: u32,
}

/// Logical ids, of a port with a queue of each kind.
const FIRST: u16 = 0;
const SECOND: u16 = 1;

impl Rings {
    fn of(card: Card) -> Rings {
        let (rx, more, tx) = Default::default();
        Rings { card, rx, more, tx, starts: Cell::default(), parts: Vec::new(), held: 0 }
    }

    /// A card that is given rings anew begins anew itself.
    fn sync(&self) {
        let now = [RECEIVE, TRANSMIT].map(|kind| self.card.starts(kind, FIRST));
        let seen = self.starts.replace(now);
        let queue = |kind, reports, key| {
            let memory = |kind, logical| self.card.ring_memory(kind, logical).expect("a ring");
            let (descriptors, reports) = (memory(kind, FIRST), memory(COMPLETIONS, reports));
            Queue { descriptors, reports, bell: self.card.bell(FIRST, key), head: 0, at: 0 }
        };
        if now[0] != seen[0] {
            *self.rx.borrow_mut() = Some(queue(RECEIVE, FIRST, 1));
            *self.more.borrow_mut() = self.card.ring_memory(RECEIVE, SECOND).map(|ring| (ring, 0));
        }
        if now[1] != seen[1] {
            *self.tx.borrow_mut() = Some(queue(TRANSMIT, SECOND, 0));
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

    /// What the card returns of the next buffer that a frame goes on in.
    fn next_more(&self) -> u64 {
        let mut more = self.more.borrow_mut();
        let Some((ring, next)) = more.as_mut() else { return 0 };
        let words = ring.words::<[AtomicU64; 2]>();
        let opaque = words[*next as usize & (words.len() - 1)][0].load(Ordering::Relaxed) >> 32;
        *next = next.wrapping_add(1);
        opaque
    }
}

impl Played for Rings {
    fn attach(&mut self) {
        self.sync();
    }

    fn rx_owned(&self) -> u32 {
        self.with_rx(|rx| rx.owned())
    }

    /// Only the first buffer of a frame is one of the receive ring.
    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        self.sync();
        self.parts.push(len);
        if !last {
            self.held += 1;
            return;
        }
        let place = ahead.saturating_sub(self.held);
        let parts = std::mem::take(&mut self.parts);
        let more: Vec<u64> = parts[1..].iter().map(|_| self.next_more()).collect();
        self.with_rx(|rx| {
            let opaque = rx.opaque(rx.head.wrapping_add(place));
            let record = received(u64::from(parts[0] & 0xffff), opaque, more.len() as u64 & 0x1f);
            record.into_iter().for_each(|entry| rx.report(entry));
            for (len, opaque) in parts[1..].iter().zip(more) {
                rx.report([0x12 | u64::from(len & 0xffff) << 16 | opaque << 32, 0]);
            }
        });
    }

    fn rx_advance(&mut self, n: u32) {
        let inner = n.min(self.held);
        self.held -= inner;
        self.with_rx(|rx| rx.head = rx.head.wrapping_add(n - inner));
    }

    /// Completions of nothing, wherever the driver looks: then it begins anew, and
    /// so does the card.
    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        (self.parts, self.held) = (Vec::new(), 0);
        let before = self.card.starts(RECEIVE, FIRST);
        for valid in [0, 1, 0] {
            if self.card.starts(RECEIVE, FIRST) == before {
                self.with_rx(|rx| {
                    for n in 0..rx.entries() {
                        let strange = rx.opaque(0) ^ 1 << 31;
                        rx.entry(n)[0].store(0x11 | strange << 32, Ordering::Relaxed);
                        rx.entry(n)[1].store(valid, Ordering::Release);
                    }
                });
                received();
            }
        }
        self.rx_complete(0, 60, true);
        self.rx_advance(1);
        assert!(received(), "the driver waits nowhere");
    }

    fn tx_owned(&self) -> u32 {
        self.with_tx(|tx| tx.owned())
    }

    fn tx_complete(&mut self, ahead: u32) {
        self.with_tx(|tx| {
            let opaque = tx.opaque(tx.head.wrapping_add(ahead));
            tx.report([opaque << 32, 0]);
        });
    }

    fn tx_advance(&mut self, n: u32) {
        self.with_tx(|tx| tx.head = tx.head.wrapping_add(n));
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        self.sync();
        for queue in [&self.rx, &self.tx] {
            let queue = queue.borrow();
            let queue = queue.as_ref().unwrap();
            for word in [&queue.descriptors, &queue.reports].into_iter().flat_map(|ring| ring.words64()) {
                word.store(noise(), Ordering::Release);
            }
        }
    }

    fn play(&mut self, burst: u32, len: u32) {
        self.sync();
        let (rx, tx) = (self.rx.get_mut().as_mut().unwrap(), self.tx.get_mut().as_mut().unwrap());
        turn([rx, tx], burst, len);
    }
}

/// An honest turn.
pub fn turn([rx, tx]: [&mut Queue; 2], burst: u32, len: u32) {
    rx.receive(burst, u64::from(len));
    tx.transmit();
}
