//! A virtio network device that is all rings: enough registers to be brought up,
//! and virtqueues that a test or a bench uses by hand.

pub mod legacy;

use super::{Opened, Played, Shell, Silicon};
use bmnic::dma::{Arena, Region};
use bmnic::driver::Config;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;

/// Features: MAC, MRG_RXBUF, STATUS; VERSION_1, ACCESS_PLATFORM, NOTIFICATION_DATA.
const FEATURES: u64 = 1 << 5 | 1 << 15 | 1 << 16 | 1 << 32 | 1 << 33 | 1 << 38;
const RING_PACKED: u64 = 1 << 34;

/// Bytes of the header before each frame.
pub const HEADER: u32 = 12;

/// What is wrong with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every register reads as all ones.
    AllOnes,
    /// device_status never becomes 0.
    EndlessReset,
    /// FEATURES_OK does not stay.
    Refuses,
    /// No VERSION_1.
    Old,
    /// No capabilities at all.
    Legacy,
    /// A capability list that is a loop.
    Loop,
    /// One queue.
    OneQueue,
    /// It stops as soon as it is let go.
    NeedsReset,
}

pub struct Net {
    config: Vec<u8>,
    features: u64,
    registers: Mutex<Fields>,
}

pub type Card = Shell<Net>;

#[derive(Clone, Copy, Default)]
struct Queue {
    size: u32,
    enabled: u32,
    addresses: [u64; 3],
}

#[derive(Default)]
struct Fields {
    feature_select: u32,
    status: u32,
    select: usize,
    queues: [Queue; 3],
}

/// A device with split or with packed virtqueues.
pub fn card(packed: bool, fault: Fault) -> Card {
    let mut config = vec![0; 256];
    config[0x06] = if fault == Fault::Legacy { 0 } else { 0x10 };
    config[0x34] = 0x40;
    let (mut at, kinds) = (0x40, [(1, 0, 56), (2, NOTIFY, 0x1000), (3, 0x1000, 1), (4, DEVICE, 64)]);
    for (n, (kind, offset, len)) in kinds.into_iter().enumerate() {
        let next = if n == 3 { 0 } else { at + 20 };
        config[at..at + 5].copy_from_slice(&[9, next as u8, 20, kind, 0]);
        config[at + 8..at + 12].copy_from_slice(&(offset as u32).to_le_bytes());
        config[at + 12..at + 16].copy_from_slice(&(len as u32).to_le_bytes());
        config[at + 16] = 4;
        at += 20;
    }
    if fault == Fault::Loop {
        config[0x40] = 0x10;
        config[0x41] = 0x40;
    }
    let features = if packed { FEATURES | RING_PACKED } else { FEATURES };
    let features = if fault == Fault::Old { features & !(1 << 32) } else { features };
    Shell::new(Net { config, features, registers: Mutex::default() }, fault)
}

/// A device without a fault, opened, with what only its rings have.
pub fn opened(packed: bool, config: &Config) -> Opened<Rings> {
    let card = card(packed, Fault::None);
    let hand = card.clone();
    card.opened(config, Box::new(Rings::new(move |index| hand.queue(index))))
}

impl Card {
    pub fn status(&self) -> u32 {
        self.silicon().registers.lock().unwrap().status
    }

    /// Queue `index` as the driver has set it up: 0 receives, 1 transmits.
    fn queue(&self, index: usize) -> Ring {
        let Queue { size, addresses, .. } = self.silicon().registers.lock().unwrap().queues[index];
        let arenas = self.arenas().clone();
        let (memory, start) = arenas
            .iter()
            .find_map(|arena| Some((Region::new(arena, 0, arena.len()), offset(arena, addresses[0])?)))
            .expect("the queue is in mapped memory");
        let place = |n: usize| start + (addresses[n] - addresses[0]) as usize;
        Ring {
            packed: self.silicon().features & RING_PACKED != 0,
            size,
            most: size,
            header: HEADER,
            places: [place(0), place(1), place(2)],
            memory,
            arenas,
            head: 0,
            position: 0,
            used: 0,
            known: RefCell::default(),
        }
    }
}

fn offset(arena: &Arena, iova: u64) -> Option<usize> {
    let start = arena.iova(0);
    (start..start + arena.len() as u64).contains(&iova).then(|| (iova - start) as usize)
}

/// One queue, seen from the device.
pub struct Ring {
    packed: bool,
    size: u32,
    /// Buffers that the driver gives at most.
    most: u32,
    /// Bytes of the header before each frame.
    pub header: u32,
    /// Descriptors, the driver's part, the device's part.
    places: [usize; 3],
    memory: Region,
    arenas: Vec<Arc<Arena>>,
    /// The chain that the device has come to.
    pub head: u32,
    /// Packed: the descriptor that it starts in.
    position: u32,
    /// Split: what is used next.
    used: u32,
    /// Packed: lengths of the chains from `position` on, as far as they are known.
    known: RefCell<Vec<u32>>,
}

impl Ring {
    /// A split queue outside any device, for a loop that has no driver: its
    /// descriptors, the driver's part and the device's are at `places`.
    pub fn bare(memory: Region, size: u32, places: [usize; 3]) -> Ring {
        let (packed, arenas, known) = (false, Vec::new(), RefCell::default());
        let (most, header) = (size, HEADER);
        Ring { packed, size, most, header, places, memory, arenas, head: 0, position: 0, used: 0, known }
    }

    fn half(&self, at: usize) -> &AtomicU16 {
        &self.memory.words16()[at / 2]
    }

    /// The second word of descriptor `n`.
    fn word(&self, n: u32) -> &AtomicU64 {
        &self.memory.words64()[self.places[0] / 8 + 2 * (n % self.size) as usize + 1]
    }

    fn wrap(&self, position: u32) -> bool {
        (position / self.size).is_multiple_of(2)
    }

    fn is_available(&self, position: u32) -> bool {
        let flags = (self.word(position).load(Ordering::Acquire) >> 48) as u16;
        let wrap = self.wrap(position);
        (flags & 0x80 != 0) == wrap && (flags & 0x8000 != 0) != wrap
    }

    /// Descriptors of the chain that starts at `position`.
    fn chain(&self, position: u32) -> u32 {
        (0..self.size)
            .find(|n| self.word(position.wrapping_add(*n)).load(Ordering::Relaxed) >> 48 & 1 == 0)
            .unwrap_or(0)
            + 1
    }

    /// Chains that the device owns.
    pub fn owned(&self) -> u32 {
        if !self.packed {
            let index = u32::from(self.half(self.places[1] + 2).load(Ordering::Acquire));
            return index.wrapping_sub(self.head) & 0xffff;
        }
        self.survey();
        self.known.borrow().len() as u32
    }

    /// Packed: learns how long the chains are that have become available, before
    /// completions overwrite what says so.
    fn survey(&self) {
        let mut known = self.known.borrow_mut();
        let mut position = self.position.wrapping_add(known.iter().sum());
        while known.len() < self.size as usize && self.is_available(position) {
            known.push(self.chain(position));
            position = position.wrapping_add(known[known.len() - 1]);
        }
    }

    /// Where the chain `ahead` of the device's starts, and its id.
    fn find(&self, ahead: u32) -> (u32, u32) {
        if self.packed {
            self.survey();
            let known = self.known.borrow();
            let before: u32 = known.iter().take(ahead as usize).sum();
            let position = self.position.wrapping_add(before + ahead.saturating_sub(known.len() as u32));
            return (position, (self.word(position).load(Ordering::Relaxed) >> 32) as u32 & 0xffff);
        }
        let turn = self.head.wrapping_add(ahead) % self.size;
        let id = u32::from(self.half(self.places[1] + 4 + 2 * turn as usize).load(Ordering::Relaxed));
        (id, if ahead < self.owned() { id } else { self.size + ahead })
    }

    /// Id of the chain `ahead` of the device's position.
    pub fn id(&self, ahead: u32) -> u32 {
        self.find(ahead).1
    }

    /// Uses the chain `ahead` of the device's position: `len` bytes are written.
    pub fn complete(&mut self, ahead: u32, len: u32) {
        let (position, id) = self.find(ahead);
        self.put(position, id, len);
    }

    /// Uses a chain by a name of the test's choosing, in turn.
    pub fn complete_as(&mut self, id: u32, len: u32) {
        self.put(self.position, id, len);
    }

    fn put(&mut self, position: u32, id: u32, len: u32) {
        if self.packed {
            let flags = if self.wrap(position) { 0x8080_u64 } else { 0 };
            let word = u64::from(len) | u64::from(id & 0xffff) << 32 | flags << 48;
            self.word(position).store(word, Ordering::Release);
            return;
        }
        let place = self.places[2] + 4 + 8 * (self.used % self.size) as usize;
        self.memory.words32()[place / 4].store(id, Ordering::Relaxed);
        self.memory.words32()[place / 4 + 1].store(len, Ordering::Relaxed);
        self.used = self.used.wrapping_add(1);
        self.half(self.places[2] + 2).store(self.used as u16, Ordering::Release);
    }

    /// Moves past `n` chains.
    pub fn advance(&mut self, n: u32) {
        self.head = self.head.wrapping_add(n);
        if self.packed {
            self.survey();
            let mut known = self.known.borrow_mut();
            for _ in 0..n {
                let length = if known.is_empty() { 1 } else { known.remove(0) };
                self.position = self.position.wrapping_add(length);
            }
        }
    }

    /// Says in the header of the chain `ahead` how many buffers its frame fills,
    /// if that buffer can be found.
    pub fn set_buffers(&self, ahead: u32, count: u16) {
        let (position, id) = self.find(ahead);
        let n = if self.packed { position } else { id };
        let iova = self.memory.words64()[self.places[0] / 8 + 2 * (n % self.size) as usize].load(Ordering::Relaxed);
        let found = self.arenas.iter().find_map(|arena| Some((arena, offset(arena, iova)?)));
        if let Some((arena, at)) = found
            && at % 8 == 0
            && at + 16 <= arena.len()
        {
            Region::new(arena, at, 16).words16()[5].store(count, Ordering::Relaxed);
        }
    }

    /// Overwrites what the device writes: the used ring and its index, or all
    /// packed descriptors.
    pub fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        for n in 0..self.size {
            let noise = noise();
            if self.packed {
                self.word(n).store(noise, Ordering::Relaxed);
                continue;
            }
            let at = (self.places[2] + 4) / 4 + 2 * n as usize;
            self.memory.words32()[at].store(noise as u32, Ordering::Relaxed);
            self.memory.words32()[at + 1].store((noise >> 32) as u32, Ordering::Relaxed);
        }
        if !self.packed {
            self.half(self.places[2] + 2).store(noise() as u16, Ordering::Relaxed);
        }
    }

    /// Moves to where the driver waits, a receive queue with all its buffers
    /// given; see the tests.
    pub fn resume(&mut self, len: u32, received: &mut dyn FnMut() -> bool) {
        if !self.packed {
            let given = self.half(self.places[1] + 2).load(Ordering::Acquire);
            self.head = u32::from(given).wrapping_sub(self.most);
            self.used = self.head;
            for _ in 0..4 * self.size {
                self.set_buffers(0, 1);
                self.complete(0, len);
                let took = received();
                self.advance(1);
                if took {
                    return;
                }
            }
            panic!("the driver waits nowhere");
        }
        for position in (0..2 * self.size).cycle().take(8 * self.size as usize) {
            let before = self.word(position).load(Ordering::Relaxed);
            let id = (before >> 32) as u32 & 0xffff;
            self.position = position;
            self.known.borrow_mut().clear();
            self.set_buffers(0, 1);
            self.put(position, id, len);
            let written = self.word(position).load(Ordering::Relaxed);
            let took = received();
            if took {
                self.position = position + 1;
                self.head = self.position;
                self.known.borrow_mut().clear();
                return;
            }
            if self.word(position).load(Ordering::Relaxed) == written {
                self.word(position).store(before, Ordering::Relaxed);
            }
        }
        panic!("the driver waits nowhere");
    }
}

impl Silicon for Net {
    const NAME: &'static str = "test:virtio";
    const ID: [u16; 2] = [0x1af4, 0x1041];
    const BAR_LEN: u64 = 0x4000;

    type Fault = Fault;
    const ALL_ONES: Fault = Fault::AllOnes;

    fn read(&self, fault: Fault, offset: u64, _value: u32) -> u32 {
        let fields = self.registers.lock().unwrap();
        let queue = fields.queues.get(fields.select).copied();
        match offset {
            0x04 if fields.feature_select < 2 => (self.features >> (32 * fields.feature_select)) as u32,
            0x12 if fault == Fault::OneQueue => 1,
            0x12 => 3,
            0x14 if fault == Fault::EndlessReset => fields.status | 1,
            0x14 if fault == Fault::Refuses => fields.status & !8,
            0x14 if fault == Fault::NeedsReset && fields.status & 4 != 0 => fields.status | 0x40,
            0x14 => fields.status,
            0x18 => queue.map_or(0, |queue| queue.size),
            0x1a => 0xffff,
            0x1c => queue.map_or(0, |queue| queue.enabled),
            0x1e => fields.select as u32,
            DEVICE => 0x0000_0002,
            0x2005 => 1,
            0x2006 => 1,
            _ => 0,
        }
    }

    fn written(&self, _card: &Card, offset: u64, value: u32) {
        let mut fields = self.registers.lock().unwrap();
        let select = fields.select;
        match offset {
            0x00 => fields.feature_select = value,
            0x14 => {
                fields.status = value;
                if value == 0 {
                    let unused = Queue { size: 4096, ..Queue::default() };
                    fields.queues = [unused; 3];
                }
            }
            0x16 => fields.select = value as usize,
            _ => {
                let Some(queue) = fields.queues.get_mut(select) else { return };
                match offset {
                    0x18 => queue.size = value,
                    0x1c => queue.enabled = value,
                    0x20..0x38 => {
                        let address = &mut queue.addresses[(offset as usize - 0x20) / 8];
                        let shift = 8 * (offset & 4);
                        *address = *address & !(0xffff_ffff << shift) | u64::from(value) << shift;
                    }
                    _ => {}
                }
            }
        }
    }

    fn config(&self) -> &[u8] {
        &self.config
    }
}

/// The first queue of each kind.
pub struct Rings {
    /// The queue of an index, as the driver has set it up.
    queue: Box<dyn Fn(usize) -> Ring>,
    rings: Option<[Ring; 2]>,
    /// Parts of an unfinished frame that were completed so far.
    parts: u16,
}

impl Rings {
    fn new(queue: impl Fn(usize) -> Ring + 'static) -> Self {
        Rings { queue: Box::new(queue), rings: None, parts: 0 }
    }

    pub fn rx(&mut self) -> &mut Ring {
        &mut self.rings.as_mut().unwrap()[0]
    }

    pub fn tx(&mut self) -> &mut Ring {
        &mut self.rings.as_mut().unwrap()[1]
    }
}

impl Played for Rings {
    fn attach(&mut self) {
        self.rings = Some([(self.queue)(0), (self.queue)(1)]);
    }

    fn rx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap()[0].owned()
    }

    /// Only the first buffer of a frame has a header, which says how many there are.
    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        let header = if self.parts == 0 { self.rx().header } else { 0 };
        self.parts += 1;
        if last {
            let parts = std::mem::take(&mut self.parts);
            self.rx().set_buffers(ahead.saturating_sub(u32::from(parts) - 1), parts);
        }
        self.rx().complete(ahead, len + header);
    }

    fn rx_advance(&mut self, n: u32) {
        self.rx().advance(n);
    }

    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        self.parts = 0;
        let header = self.rx().header;
        self.rx().resume(60 + header, received);
    }

    fn tx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap()[1].owned()
    }

    fn tx_complete(&mut self, ahead: u32) {
        self.tx().complete(ahead, 0);
    }

    fn tx_advance(&mut self, n: u32) {
        self.tx().advance(n);
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        self.rx().corrupt(noise);
        self.tx().corrupt(noise);
    }

    fn play(&mut self, burst: u32, len: u32) {
        turn(self.rings.as_mut().unwrap(), burst, len);
    }
}

/// An honest turn.
pub fn turn([rx, tx]: &mut [Ring; 2], burst: u32, len: u32) {
    (0..burst).for_each(|ahead| rx.complete(ahead, len + rx.header));
    rx.advance(burst);
    let sent = tx.owned();
    (0..sent).for_each(|ahead| tx.complete(ahead, 0));
    tx.advance(sent);
}
