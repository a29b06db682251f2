//! Cards that are all rings: words for registers, the memory that a driver has
//! mapped, and descriptors that a test or a bench writes by hand. What a family's
//! registers do beyond holding a value is its [`Silicon`]; what its rings look like
//! is its [`Played`].
//!
//! They are no models: they check nothing, and do whatever they are told, which is
//! what a hostile device does and what a bench can afford.

#![allow(unsafe_code, dead_code)]

pub mod bnxt;
pub mod efvi;
pub mod i40e;
pub mod ixgbe;
pub mod mlx5;
pub mod virtio;

use crate::families::Rings;
use bmnic::dma::{Addressing, Arena, Region};
use bmnic::driver::{self, Config, Port};
use bmnic::pci::{Bar, Doorbell, Function, Id, Kind, Registers};
use bmnic::{Error, Result};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What a driver has opened of a card, and the card's side of its first queues.
pub struct Opened<D: ?Sized = dyn Played> {
    pub function: Arc<dyn Function>,
    pub port: Port,
    pub device: Box<D>,
}

/// A card without a fault that has such rings, opened.
pub fn open(rings: &Rings, config: &Config) -> Opened {
    match rings.name {
        "ixgbe" => ixgbe::open(config),
        "i40e" => i40e::open(config),
        "i40e-long" => i40e::open_long(config),
        "virtio" => virtio::opened(false, config).boxed(),
        "virtio-packed" => virtio::opened(true, config).boxed(),
        "virtio-legacy" => virtio::legacy::opened(true, config).boxed(),
        "virtio-legacy-apart" => virtio::legacy::opened(false, config).boxed(),
        "efvi" => efvi::open(config),
        "bnxt" => bnxt::open(config),
        name if name.starts_with("mlx5") => mlx5::open(rings.name, config),
        other => panic!("no silicon with rings of {other}"),
    }
}

impl<D: Played + 'static> Opened<D> {
    fn boxed(self) -> Opened {
        let Opened { function, port, device } = self;
        Opened { function, port, device }
    }
}

/// The card's side of a pair of queues, played by hand.
pub trait Played {
    /// Looks up the rings, once the driver has filled them.
    fn attach(&mut self);
    /// Descriptors of the receive ring that the device owns.
    fn rx_owned(&self) -> u32;
    /// Completes receive descriptor `ahead` of the device's position, as a
    /// frame, or a part of one, of `len` bytes.
    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool);
    /// Moves the device's position in the receive ring.
    fn rx_advance(&mut self, n: u32);
    /// Moves it to where the driver waits, found by completing one descriptor
    /// after the other until `received` says that one was taken. A device that
    /// completes out of turn loses its own place: that it then receives no more
    /// traffic is its own affair.
    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool);
    /// Descriptors of the transmit ring that the device owns.
    fn tx_owned(&self) -> u32;
    /// Reports transmit descriptor `ahead` of the device's position as sent.
    fn tx_complete(&mut self, ahead: u32);
    /// Moves the device's position in the transmit ring.
    fn tx_advance(&mut self, n: u32);
    /// Overwrites both rings with `noise`.
    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64);
    /// An honest turn: receives `burst` frames of `len` bytes, and sends and
    /// reports all that it was given.
    fn play(&mut self, burst: u32, len: u32);
}

/// What a family's registers do.
pub trait Silicon: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    const ID: [u16; 2];
    const BAR_LEN: u64;

    /// What can be wrong with a card.
    type Fault: Copy + PartialEq + Send + 'static;
    /// Every register reads as all ones.
    const ALL_ONES: Self::Fault;

    /// What a register that holds `value` reads as.
    fn read(&self, fault: Self::Fault, offset: u64, value: u32) -> u32;

    /// What happens when the driver has written to a register.
    fn written(&self, _card: &Shell<Self>, _offset: u64, _value: u32) {}

    /// Bytes of the BAR.
    fn bar_len(&self, _fault: Self::Fault) -> u64 {
        Self::BAR_LEN
    }

    /// A BAR besides the first.
    fn other_bar(&self, _card: &Shell<Self>, index: u8) -> Bar {
        panic!("no BAR {index}")
    }

    /// Whether the host combines stores to it.
    fn combines(&self) -> bool {
        false
    }

    /// Vendor, device and revision.
    fn id(&self) -> [u16; 3] {
        let [vendor, device] = Self::ID;
        [vendor, device, 0]
    }

    /// Configuration space but for the command register.
    fn config(&self) -> &[u8] {
        &[]
    }
}

/// The card: clone it to keep a hand on what was opened.
pub struct Shell<S: Silicon>(Arc<State<S>>);

struct State<S: Silicon> {
    words: Arc<[AtomicU32]>,
    arenas: Mutex<Vec<Arc<Arena>>>,
    command: AtomicU32,
    /// Where windows were asked for whose stores are combined.
    combined: Mutex<Vec<u64>>,
    fault: Mutex<S::Fault>,
    silicon: S,
}

impl<S: Silicon> Clone for Shell<S> {
    fn clone(&self) -> Self {
        Shell(Arc::clone(&self.0))
    }
}

impl<S: Silicon> Shell<S> {
    fn new(silicon: S, fault: S::Fault) -> Self {
        let words = (0..S::BAR_LEN / 4).map(|_| AtomicU32::new(0)).collect();
        let (arenas, command) = (Mutex::default(), AtomicU32::new(0));
        let (fault, combined) = (Mutex::new(fault), Mutex::default());
        Shell(Arc::new(State { words, arenas, command, combined, fault, silicon }))
    }

    fn silicon(&self) -> &S {
        &self.0.silicon
    }

    pub fn function(&self) -> Arc<dyn Function> {
        Arc::new(self.clone())
    }

    /// Gives it another fault.
    pub fn break_it(&self, fault: S::Fault) {
        *self.0.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> S::Fault {
        *self.0.fault.lock().unwrap()
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

    /// Offsets of the windows whose stores are combined.
    pub fn combined(&self) -> Vec<u64> {
        self.0.combined.lock().unwrap().clone()
    }

    fn arenas(&self) -> MutexGuard<'_, Vec<Arc<Arena>>> {
        self.0.arenas.lock().unwrap()
    }

    /// The arena that `iova` is in, and where.
    fn find(&self, iova: u64) -> (Arc<Arena>, usize) {
        let arenas = self.arenas();
        let found = arenas.iter().find_map(|arena| {
            let mut runs = arena.runs().filter(|&(_, start, len)| (start..start + len as u64).contains(&iova));
            runs.next().map(|(offset, start, _)| (Arc::clone(arena), offset + (iova - start) as usize))
        });
        found.unwrap_or_else(|| panic!("{iova:#x} is not mapped"))
    }

    /// The `len` bytes of mapped memory at `iova`.
    pub fn memory(&self, iova: u64, len: usize) -> Region {
        let (arena, offset) = self.find(iova);
        Region::new(&arena, offset, len)
    }

    /// The ring of `len` bytes at `iova` whose tail register is at `tail`.
    fn ring(&self, iova: u64, len: usize, tail: u64) -> Ring {
        let descriptors = self.memory(iova, len);
        Ring { descriptors, words: Arc::clone(&self.0.words), tail: tail as usize / 4, head: 0, size: 16 }
    }

    /// Opens the card with the driver for it.
    fn opened<D: ?Sized>(&self, config: &Config, device: Box<D>) -> Opened<D> {
        let function = self.function();
        let port = driver::open(Arc::clone(&function), config).unwrap_or_else(|e| panic!("{e}"));
        Opened { function, port, device }
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

/// A family whose rings are of descriptors that the card writes back in place.
pub trait WritesBack: Silicon {
    /// The first ring of each kind, as the driver has set it up.
    fn rings(card: &Shell<Self>) -> [Ring; 2];
    /// What the card writes over a receive descriptor.
    fn received(len: u64, last: bool) -> [u64; 2];
    /// In the second word of a transmit descriptor: asks for a report.
    const REPORT: u64;
    /// What that word then becomes.
    const REPORTED: u64;
}

/// An honest turn of such a card.
pub fn turn<S: WritesBack>([rx, tx]: &mut [Ring; 2], burst: u32, len: u32) {
    rx.receive(burst, S::received(u64::from(len), true));
    tx.transmit(S::REPORT, S::REPORTED);
}

/// The rings of such a card.
struct InPlace<S: WritesBack> {
    card: Shell<S>,
    rings: Option<[Ring; 2]>,
}

impl<S: WritesBack> InPlace<S> {
    fn open(card: &Shell<S>, config: &Config) -> Opened {
        card.opened(config, Box::new(InPlace { card: card.clone(), rings: None }))
    }

    fn rx(&mut self) -> &mut Ring {
        &mut self.rings.as_mut().unwrap()[0]
    }

    fn tx(&mut self) -> &mut Ring {
        &mut self.rings.as_mut().unwrap()[1]
    }
}

impl<S: WritesBack> Played for InPlace<S> {
    fn attach(&mut self) {
        self.rings = Some(S::rings(&self.card));
    }

    fn rx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap()[0].owned()
    }

    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        let at = self.rx().head.wrapping_add(ahead);
        self.rx().write(at, S::received(u64::from(len), last));
    }

    fn rx_advance(&mut self, n: u32) {
        self.rx().head = self.rx().head.wrapping_add(n);
    }

    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        let (tail, len) = (self.rx().tail(), self.rx().len());
        for at in (tail + 1..).take(len as usize) {
            let before = [0, 1].map(|n| self.rx().at(at)[n].load(Ordering::Relaxed));
            self.rx().write(at, S::received(60, true));
            if received() {
                self.rx().head = at + 1;
                return;
            }
            self.rx().write(at, before);
        }
        panic!("the driver waits nowhere");
    }

    fn tx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap()[1].owned()
    }

    fn tx_complete(&mut self, ahead: u32) {
        let at = self.tx().head.wrapping_add(ahead);
        self.tx().write(at, [0, S::REPORTED]);
    }

    fn tx_advance(&mut self, n: u32) {
        self.tx().head = self.tx().head.wrapping_add(n);
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        for ring in self.rings.as_ref().unwrap() {
            (0..ring.len()).for_each(|n| ring.write(n, [noise(), noise()]));
        }
    }

    fn play(&mut self, burst: u32, len: u32) {
        turn::<S>(self.rings.as_mut().unwrap(), burst, len);
    }
}

impl<S: Silicon> Registers for Shell<S> {
    fn read(&self, offset: u64, size: u8) -> u64 {
        let fault = self.fault();
        let word = |offset| {
            let value =
                if fault == S::ALL_ONES { u32::MAX } else { self.0.silicon.read(fault, offset, self.get(offset)) };
            u64::from(value)
        };
        match size {
            8 => word(offset) | word(offset + 4) << 32,
            _ => word(offset) & u64::MAX >> (64 - 8 * u32::from(size)),
        }
    }

    fn write(&self, offset: u64, _size: u8, value: u64) {
        self.set(offset, value as u32);
        self.0.silicon.written(self, offset, value as u32);
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let word = NonNull::from(&self.0.words[(offset / 4) as usize]);
        let room = (4096 - offset % 4096).min(S::BAR_LEN - offset);
        // SAFETY: the rest of the page is in the slice that the owner keeps.
        Some(unsafe { Doorbell::with_room(word, room as usize, Arc::new(Arc::clone(&self.0.words))) })
    }
}

/// The BAR for stores that are combined: what is asked for here is noted.
struct Combining<S: Silicon>(Shell<S>);

impl<S: Silicon> Registers for Combining<S> {
    fn read(&self, offset: u64, _size: u8) -> u64 {
        panic!("{offset:#x} is read where stores are combined")
    }

    fn write(&self, offset: u64, _size: u8, _value: u64) {
        panic!("{offset:#x} is written where stores are combined")
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        self.0.0.combined.lock().unwrap().push(offset);
        self.0.doorbell(offset)
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
        let [vendor, device, revision] = self.0.silicon.id();
        Id { vendor, device, revision: revision as u8, ..Id::default() }
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        if index > 0 {
            return Ok(self.0.silicon.other_bar(self, index));
        }
        Ok(Bar::Served(Arc::new(self.clone()), self.0.silicon.bar_len(self.fault())))
    }

    fn combining(&self, _index: u8) -> Result<Option<Bar>> {
        let bar = || Bar::Served(Arc::new(Combining(self.clone())), self.0.silicon.bar_len(self.fault()));
        Ok(self.0.silicon.combines().then(bar))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        const COMMAND: u16 = 4;
        let offset = if self.0.silicon.config().is_empty() { COMMAND } else { offset };
        if offset == COMMAND {
            return Ok(self.0.command.load(Ordering::Relaxed));
        }
        let bytes = &self.0.silicon.config()[usize::from(offset)..][..usize::from(size)];
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
        self.arenas().push(Arc::clone(arena));
        Ok(())
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.arenas().iter().any(|known| Arc::ptr_eq(known, arena))
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

    /// Nothing in it takes time.
    fn wait(&self, _time: Duration) {}
}
