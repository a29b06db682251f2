//! A card of the 82599 family that is all rings: enough registers to be brought
//! up, and descriptors that a test or a bench writes by hand.
//!
//! It is no model: it checks nothing, and does whatever it is told, which is
//! what a hostile device does and what a bench can afford.

#![allow(unsafe_code, dead_code)]

use bmnic::dma::{Addressing, Arena, Region};
use bmnic::pci::{Bar, Doorbell, Function, Id, Kind, Registers};
use bmnic::{Error, Result};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const BAR_LEN: u64 = 0x80000;

const CTRL: u64 = 0x0;
const STATUS: u64 = 0x8;
const CTRL_RST: u32 = 1 << 26;
const CTRL_LNK_RST: u32 = 1 << 3;

/// What is wrong with the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every register reads as all ones.
    AllOnes,
    /// The reset bit never clears.
    EndlessReset,
    /// Queues never say that they are on.
    DeadQueues,
}

/// The card: clone it to keep a hand on what was opened.
#[derive(Clone)]
pub struct Card(Arc<State>);

struct State {
    words: Arc<[AtomicU32]>,
    arenas: Mutex<Vec<Arc<Arena>>>,
    command: AtomicU32,
    fault: Mutex<Fault>,
}

impl Card {
    pub fn new(fault: Fault) -> Card {
        let words = (0..BAR_LEN / 4).map(|_| AtomicU32::new(0)).collect();
        let state = State { words, arenas: Mutex::default(), command: AtomicU32::new(0), fault: Mutex::new(fault) };
        let card = Card(Arc::new(state));
        card.set(0x10010, 1 << 9); // EEC: EEPROM read
        card.set(0x2f00, 1 << 3); // RDRXCTL: DMA ready
        card.set(0x8d04, 1); // SECRXSTAT: empty
        card.set(0xa200, 0x0000_0002); // RAL 0
        card.set(0xa204, 0x8000_0100); // RAH 0: 02:00:00:00:00:01, valid
        card.set(0x42a4, 0x7000_0000); // LINKS: up, 10 Gbit/s
        card
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

    pub fn get(&self, offset: u64) -> u32 {
        self.0.words[(offset / 4) as usize].load(Ordering::Acquire)
    }

    pub fn set(&self, offset: u64, value: u32) {
        self.0.words[(offset / 4) as usize].store(value, Ordering::Release);
    }

    /// Receive ring `queue` as the driver has set it up.
    pub fn rx(&self, queue: u64) -> Ring {
        self.ring(0x1000 + 0x40 * queue)
    }

    /// Transmit ring `queue` as the driver has set it up.
    pub fn tx(&self, queue: u64) -> Ring {
        self.ring(0x6000 + 0x40 * queue)
    }

    fn ring(&self, base: u64) -> Ring {
        let iova = u64::from(self.get(base)) | u64::from(self.get(base + 4)) << 32;
        let len = self.get(base + 8) as usize;
        let (arena, offset) = self.find(iova).expect("the ring is in mapped memory");
        let descriptors = Region::new(&arena, offset, len);
        Ring { descriptors, words: Arc::clone(&self.0.words), tail: (base as usize + 0x18) / 4, head: 0 }
    }

    fn find(&self, iova: u64) -> Option<(Arc<Arena>, usize)> {
        let arenas = self.0.arenas.lock().unwrap();
        arenas.iter().find_map(|arena| {
            let mut runs = arena.runs().filter(|&(_, start, len)| (start..start + len as u64).contains(&iova));
            runs.next().map(|(offset, start, _)| (Arc::clone(arena), offset + (iova - start) as usize))
        })
    }
}

/// One ring, seen from the card.
pub struct Ring {
    descriptors: Region,
    words: Arc<[AtomicU32]>,
    tail: usize,
    /// The card's next descriptor.
    pub head: u32,
}

impl Ring {
    /// A ring outside any card, for a loop that has no driver. Its tail is a word of its own.
    pub fn bare(descriptors: Region) -> Ring {
        Ring { descriptors, words: (0..1).map(|_| AtomicU32::new(0)).collect(), tail: 0, head: 0 }
    }

    pub fn len(&self) -> u32 {
        self.descriptors.len() as u32 / 16
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

    /// The two words of descriptor `n`, which wraps.
    pub fn at(&self, n: u32) -> &[AtomicU64; 2] {
        &self.descriptors.words::<[AtomicU64; 2]>()[(n & (self.len() - 1)) as usize]
    }

    /// Writes the words of descriptor `n` as a card does: the status last.
    pub fn write(&self, n: u32, words: [u64; 2]) {
        self.at(n)[0].store(words[0], Ordering::Relaxed);
        self.at(n)[1].store(words[1], Ordering::Release);
    }

    /// Receives up to `n` frames of `len` bytes, as far as there are descriptors.
    pub fn receive(&mut self, n: u32, len: u64) -> u32 {
        let n = n.min(self.owned());
        let descriptors = self.descriptors.words::<[AtomicU64; 2]>();
        for i in 0..n {
            let descriptor = &descriptors[(self.head.wrapping_add(i) & (descriptors.len() as u32 - 1)) as usize];
            descriptor[0].store(0x10, Ordering::Relaxed); // IPv4
            descriptor[1].store(len << 32 | 0b11, Ordering::Release); // DD, EOP
        }
        self.head = self.head.wrapping_add(n);
        n
    }

    /// Sends all there is: reports where a report was asked for.
    pub fn transmit(&mut self) -> u32 {
        const RS: u64 = 1 << 27;
        let n = self.owned();
        for i in 0..n {
            let descriptor = self.at(self.head.wrapping_add(i));
            if descriptor[1].load(Ordering::Relaxed) & RS != 0 {
                descriptor[1].store(1 << 32, Ordering::Release);
            }
        }
        self.head = self.head.wrapping_add(n);
        n
    }
}

impl Registers for State {
    fn read(&self, offset: u64, _size: u8) -> u64 {
        let value = self.words[(offset / 4) as usize].load(Ordering::Acquire);
        let fault = *self.fault.lock().unwrap();
        u64::from(match (fault, offset) {
            (Fault::AllOnes, _) => u32::MAX,
            (Fault::EndlessReset, CTRL) => value,
            (_, CTRL) => value & !(CTRL_RST | CTRL_LNK_RST),
            // RXDCTL and TXDCTL of the first queues.
            (Fault::DeadQueues, 0x1028 | 0x6028) => value & !(1 << 25),
            _ => value,
        })
    }

    fn write(&self, offset: u64, _size: u8, value: u64) {
        if offset != STATUS {
            self.words[(offset / 4) as usize].store(value as u32, Ordering::Release);
        }
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let word = NonNull::from(&self.words[(offset / 4) as usize]);
        // SAFETY: the word is in the slice that the owner keeps.
        Some(unsafe { Doorbell::new(word, Arc::new(Arc::clone(&self.words))) })
    }
}

impl Function for Card {
    fn name(&self) -> &str {
        "test:82599"
    }

    fn kind(&self) -> Kind {
        Kind::Emulated
    }

    fn id(&self) -> Id {
        Id { vendor: 0x8086, device: 0x10fb, ..Id::default() }
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        assert_eq!(index, 0);
        Ok(Bar::Emulated(Arc::clone(&self.0) as Arc<dyn Registers>, BAR_LEN))
    }

    fn config_read(&self, _offset: u16, _size: u8) -> Result<u32> {
        Ok(self.0.command.load(Ordering::Relaxed))
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

    fn irq_vectors(&self) -> u16 {
        0
    }

    fn set_irqs(&self, _fds: &[RawFd]) -> Result<()> {
        Err(Error::new(bmnic::Kind::Unsupported, "no interrupts here"))
    }

    fn numa_node(&self) -> Option<u16> {
        None
    }

    fn reset(&self) -> Result<bool> {
        Ok(false)
    }
}
