//! A virtio network device that is all rings: enough registers to be brought up,
//! and virtqueues that a test or a bench uses by hand.
//!
//! It is no model: it checks nothing, and does whatever it is told, which is
//! what a hostile device does and what a bench can afford.

#![allow(unsafe_code, dead_code)]

use bmnic::Result;
use bmnic::dma::{Addressing, Arena, Region};
use bmnic::pci::{Bar, Doorbell, Function, Id, Kind, Registers};
use std::cell::RefCell;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const BAR_LEN: u64 = 0x4000;
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

/// The device: clone it to keep a hand on what was opened.
#[derive(Clone)]
pub struct Card(Arc<State>);

struct State {
    config: Vec<u8>,
    command: AtomicU32,
    fault: Mutex<Fault>,
    features: u64,
    registers: Mutex<Fields>,
    notify: Arc<[AtomicU32; 1024]>,
    arenas: Mutex<Vec<Arc<Arena>>>,
}

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

impl Card {
    pub fn new(packed: bool, fault: Fault) -> Card {
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
        Card(Arc::new(State {
            config,
            command: AtomicU32::new(0),
            fault: Mutex::new(fault),
            features: if fault == Fault::Old { features & !(1 << 32) } else { features },
            registers: Mutex::default(),
            notify: Arc::new([const { AtomicU32::new(0) }; 1024]),
            arenas: Mutex::default(),
        }))
    }

    pub fn function(&self) -> Arc<dyn Function> {
        Arc::new(self.clone())
    }

    pub fn break_it(&self, fault: Fault) {
        *self.0.fault.lock().unwrap() = fault;
    }

    pub fn bus_master(&self) -> bool {
        self.0.command.load(Ordering::Relaxed) & 4 != 0
    }

    pub fn status(&self) -> u32 {
        self.0.registers.lock().unwrap().status
    }

    /// Queue `index` as the driver has set it up: 0 receives, 1 transmits.
    pub fn ring(&self, index: usize) -> Ring {
        let Queue { size, addresses, .. } = self.0.registers.lock().unwrap().queues[index];
        let arenas = self.0.arenas.lock().unwrap().clone();
        let (memory, start) = arenas
            .iter()
            .find_map(|arena| Some((Region::new(arena, 0, arena.len()), offset(arena, addresses[0])?)))
            .expect("the queue is in mapped memory");
        let place = |n: usize| start + (addresses[n] - addresses[0]) as usize;
        Ring {
            packed: self.0.features & RING_PACKED != 0,
            size,
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
        Ring { packed, size, places, memory, arenas, head: 0, position: 0, used: 0, known }
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
        self.memory.words64()[place / 8].store(u64::from(id) | u64::from(len) << 32, Ordering::Relaxed);
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
            let at = if self.packed {
                self.places[0] / 8 + 2 * n as usize + 1
            } else {
                (self.places[2] + 4) / 8 + n as usize
            };
            self.memory.words64()[at].store(noise(), Ordering::Relaxed);
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
            self.head = u32::from(given).wrapping_sub(self.size);
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

impl Registers for State {
    fn read(&self, offset: u64, size: u8) -> u64 {
        let fault = *self.fault.lock().unwrap();
        if fault == Fault::AllOnes {
            return u64::MAX >> (64 - 8 * u32::from(size));
        }
        let fields = self.registers.lock().unwrap();
        let queue = fields.queues.get(fields.select).copied();
        u64::from(match offset {
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
            0x2004 => 0x0100,
            0x2006 => 1,
            _ => 0,
        })
    }

    fn write(&self, offset: u64, _size: u8, value: u64) {
        let mut fields = self.registers.lock().unwrap();
        let select = fields.select;
        match offset {
            0x00 => fields.feature_select = value as u32,
            0x14 => {
                fields.status = value as u32;
                if value == 0 {
                    let unused = Queue { size: 4096, ..Queue::default() };
                    fields.queues = [unused; 3];
                }
            }
            0x16 => fields.select = value as usize,
            _ => {
                let Some(queue) = fields.queues.get_mut(select) else { return };
                match offset {
                    0x18 => queue.size = value as u32,
                    0x1c => queue.enabled = value as u32,
                    0x20..0x38 => {
                        let address = &mut queue.addresses[(offset as usize - 0x20) / 8];
                        let shift = 8 * (offset & 4);
                        *address = *address & !(0xffff_ffff << shift) | value << shift;
                    }
                    _ => {}
                }
            }
        }
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let word = NonNull::from(&self.notify[offset.checked_sub(NOTIFY)? as usize / 4]);
        // SAFETY: the word is in the page that the owner keeps.
        Some(unsafe { Doorbell::new(word, Arc::clone(&self.notify) as _) })
    }
}

impl Function for Card {
    fn name(&self) -> &str {
        "test:virtio"
    }

    fn kind(&self) -> Kind {
        Kind::Emulated
    }

    fn id(&self) -> Id {
        Id { vendor: 0x1af4, device: 0x1041, ..Id::default() }
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        assert_eq!(index, 0);
        Ok(Bar::Served(Arc::clone(&self.0) as Arc<dyn Registers>, BAR_LEN))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        if offset == 4 {
            return Ok(self.0.command.load(Ordering::Relaxed));
        }
        let bytes = &self.0.config[usize::from(offset)..usize::from(offset) + usize::from(size)];
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn config_write(&self, _offset: u16, _size: u8, value: u32) -> Result<()> {
        self.0.command.store(value, Ordering::Relaxed);
        Ok(())
    }

    fn addressing(&self) -> Addressing {
        Addressing::Translated
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        self.0.arenas.lock().unwrap().push(Arc::clone(arena));
        Ok(())
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.0.arenas.lock().unwrap().iter().any(|known| Arc::ptr_eq(known, arena))
    }

    fn irq_vectors(&self) -> u16 {
        0
    }

    fn set_irqs(&self, _fds: &[RawFd]) -> Result<()> {
        Err(bmnic::Error::new(bmnic::Kind::Unsupported, "no interrupts here"))
    }

    fn numa_node(&self) -> Option<u16> {
        None
    }

    fn reset(&self) -> Result<bool> {
        Ok(false)
    }
}
