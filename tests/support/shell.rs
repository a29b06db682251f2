//! A card that is all rings, whatever its family: words for registers, the
//! memory that the driver has mapped, and descriptors that a test or a bench
//! writes by hand. What a family's registers do beyond holding a value is its
//! [`Silicon`].
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

/// What a family's registers do.
pub trait Silicon: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    const DEVICE: u16;
    const BAR_LEN: u64;

    /// What a register that holds `value` reads as.
    fn read(&self, offset: u64, value: u32) -> u32;

    /// What happens when the driver has written to a register.
    fn written(&self, _card: &Shell<Self>, _offset: u64) {}
}

/// The card: clone it to keep a hand on what was opened.
pub struct Shell<S>(Arc<State<S>>);

pub struct State<S> {
    words: Arc<[AtomicU32]>,
    arenas: Mutex<Vec<Arc<Arena>>>,
    command: AtomicU32,
    silicon: S,
}

impl<S> Clone for Shell<S> {
    fn clone(&self) -> Self {
        Shell(Arc::clone(&self.0))
    }
}

impl<S: Silicon> Shell<S> {
    pub fn new(silicon: S) -> Self {
        let words = (0..S::BAR_LEN / 4).map(|_| AtomicU32::new(0)).collect();
        Shell(Arc::new(State { words, arenas: Mutex::default(), command: AtomicU32::new(0), silicon }))
    }

    pub fn silicon(&self) -> &S {
        &self.0.silicon
    }

    pub fn function(&self) -> Arc<dyn Function> {
        Arc::new(self.clone())
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

    /// The `len` bytes of mapped memory at `iova`.
    pub fn memory(&self, iova: u64, len: usize) -> Region {
        let arenas = self.0.arenas.lock().unwrap();
        let found = arenas.iter().find_map(|arena| {
            let mut runs = arena.runs().filter(|&(_, start, len)| (start..start + len as u64).contains(&iova));
            runs.next().map(|(offset, start, _)| Region::new(arena, offset + (iova - start) as usize, len))
        });
        found.unwrap_or_else(|| panic!("{iova:#x} is not mapped"))
    }

    /// The ring of `len` bytes at `iova` whose tail register is at `tail`.
    pub fn ring(&self, iova: u64, len: usize, tail: u64) -> Ring {
        let descriptors = self.memory(iova, len);
        Ring { descriptors, words: Arc::clone(&self.0.words), tail: tail as usize / 4, head: 0, size: 16 }
    }
}

/// One ring, seen from the card.
pub struct Ring {
    descriptors: Region,
    words: Arc<[AtomicU32]>,
    tail: usize,
    /// The card's next descriptor.
    pub head: u32,
    /// Bytes of a descriptor.
    pub size: u32,
}

impl Ring {
    /// A ring outside any card, for a loop that has no driver. Its tail is a word of its own.
    pub fn bare(descriptors: Region) -> Ring {
        Ring { descriptors, words: (0..1).map(|_| AtomicU32::new(0)).collect(), tail: 0, head: 0, size: 16 }
    }

    pub fn len(&self) -> u32 {
        self.descriptors.len() as u32 / self.size
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

    /// The first two words of descriptor `n`, which wraps.
    #[inline]
    pub fn at(&self, n: u32) -> &[AtomicU64; 2] {
        let n = (n & (self.len() - 1)) * (self.size / 16);
        &self.descriptors.words::<[AtomicU64; 2]>()[n as usize]
    }

    /// Writes the words of descriptor `n` as a card does: the status last.
    #[inline]
    pub fn write(&self, n: u32, words: [u64; 2]) {
        self.at(n)[0].store(words[0], Ordering::Relaxed);
        self.at(n)[1].store(words[1], Ordering::Release);
    }

    /// Writes `words` back into up to `n` descriptors, as far as there are any.
    pub fn receive(&mut self, n: u32, words: [u64; 2]) -> u32 {
        let n = n.min(self.owned());
        for i in 0..n {
            self.write(self.head.wrapping_add(i), words);
        }
        self.head = self.head.wrapping_add(n);
        n
    }

    /// Sends all there is: writes `done` where a second word has the bit `report`.
    pub fn transmit(&mut self, report: u64, done: u64) -> u32 {
        let n = self.owned();
        for i in 0..n {
            let descriptor = self.at(self.head.wrapping_add(i));
            if descriptor[1].load(Ordering::Relaxed) & report != 0 {
                descriptor[1].store(done, Ordering::Release);
            }
        }
        self.head = self.head.wrapping_add(n);
        n
    }
}

impl<S: Silicon> Registers for Shell<S> {
    fn read(&self, offset: u64, size: u8) -> u64 {
        let low = self.0.silicon.read(offset, self.get(offset));
        let high = if size == 8 { self.0.silicon.read(offset + 4, self.get(offset + 4)) } else { 0 };
        u64::from(low) | u64::from(high) << 32
    }

    fn write(&self, offset: u64, _size: u8, value: u64) {
        self.set(offset, value as u32);
        self.0.silicon.written(self, offset);
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let word = NonNull::from(&self.0.words[(offset / 4) as usize]);
        // SAFETY: the word is in the slice that the owner keeps.
        Some(unsafe { Doorbell::new(word, Arc::new(Arc::clone(&self.0.words))) })
    }
}

impl<S: Silicon> Function for Shell<S> {
    fn name(&self) -> &str {
        S::NAME
    }

    fn kind(&self) -> Kind {
        Kind::Emulated
    }

    fn id(&self) -> Id {
        Id { vendor: 0x8086, device: S::DEVICE, ..Id::default() }
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        assert_eq!(index, 0);
        Ok(Bar::Served(Arc::new(self.clone()), S::BAR_LEN))
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

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.0.arenas.lock().unwrap().iter().any(|known| Arc::ptr_eq(known, arena))
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
