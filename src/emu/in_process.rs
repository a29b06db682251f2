//! Emulated cards in this process, and what makes them run.
//!
//! ```text
//!   driver thread(s)                         engine thread (Drive::Thread)
//!     Registers::read/write --lock-->  Port  <--lock-- step, for each port in turn
//!     Doorbell::ring ---------------> page words, polled by step: no lock
//!     descriptors, payload ---------> arenas (Translation)
//! ```
//!
//! With [`Drive::Manual`] there is no thread: the program calls
//! [`Engine::step`] and [`Engine::advance`], and time is virtual, so a run is
//! the same each time. A register access then takes [`ACCESS`], as it does on
//! a bus, so that a driver's bounded waits see time pass.
//!
//! The engine's thread holds a port's lock for a burst of frames at a time. A
//! driver that wants a register announces itself first, and the engine leaves
//! that port alone until it was served: control never starves behind traffic.

use super::offload::Used;
use super::wire::{Counters, Note, Patch};
use super::{Card, Picos, Spec, StageLog, Stages, build, config};
use crate::dma::{Addressing, Arena};
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Bar, Doorbell, Function, Id, Registers};
use crate::sys;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What makes the models run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// A thread of the engine's own, in real time.
    Thread,
    /// The caller, in virtual time.
    Manual,
}

/// Virtual time that a register access takes: that of a trapped one.
const ACCESS: Picos = 5_000_000;

/// An idle engine spins for this long, then lets others run.
const SPIN: Picos = 20_000_000;

/// An engine that was idle for this long naps.
const NAP_AFTER: Picos = 1_000_000_000;

/// How long it naps. The kernel adds its timer slack.
const NAP: Duration = Duration::from_micros(20);

/// What a nap may take in all before the engine was held up: timer slack, and the
/// way out of an idle state.
const NAP_TAKES: Picos = 200_000_000;

/// A step that comes later than this after the last one was held up, unless
/// [`Engine::watch`] says otherwise.
const HELD_UP: Picos = 20_000_000;

/// Accesses that a trace holds before it stops.
const TRACE_MAX: usize = 1 << 20;

/// Emulated cards of this process, and the thread or caller that steps them.
pub struct Engine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    clock: Clock,
    ports: Mutex<Vec<Arc<Port>>>,
    /// Counts changes of `ports`.
    version: AtomicU32,
    patch: Mutex<Patch>,
    spin: AtomicBool,
    stop: AtomicBool,
    /// Gaps between steps that are longer than this...
    patience: AtomicU64,
    /// ...are added up here.
    held_up: AtomicU64,
}

struct Port {
    name: String,
    id: Id,
    bars: [u64; 6],
    vectors: u16,
    doorbells: Vec<super::DoorbellPage>,
    state: Mutex<State>,
    /// Driver threads that want the lock.
    waiting: AtomicU32,
    tracing: AtomicBool,
}

/// What the lock guards.
struct State {
    /// None once the function is closed: the wire goes with it.
    card: Option<Card>,
    trace: Vec<Access>,
    violations: Vec<(String, u64)>,
    wire: Counters,
    notes: Vec<Note>,
}

/// A register access, as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// A write, or a read.
    pub write: bool,
    /// BAR and offset in it.
    pub bar: u8,
    /// Offset in the BAR.
    pub offset: u64,
    /// Bytes.
    pub size: u8,
    /// Value written, or read.
    pub value: u64,
    /// The datasheet's name of the register.
    pub name: Option<String>,
}

impl Engine {
    /// An engine without cards.
    pub fn new(drive: Drive) -> Self {
        let shared = Arc::new(Shared {
            clock: Clock { real: (drive == Drive::Thread).then(sys::monotonic_raw_ns), moved: AtomicU64::new(0) },
            ports: Mutex::default(),
            version: AtomicU32::new(0),
            patch: Mutex::default(),
            spin: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            patience: AtomicU64::new(HELD_UP),
            held_up: AtomicU64::new(0),
        });
        Self { shared, thread: None }.started(drive)
    }

    fn started(mut self, drive: Drive) -> Self {
        if drive == Drive::Thread {
            let shared = Arc::clone(&self.shared);
            // Without a thread nothing would ever move: let the caller step.
            self.thread = thread::Builder::new().name("emu".into()).spawn(move || shared.run()).ok();
        }
        self
    }

    /// Plugs a card in: the function for a driver, and a tap for who watches.
    ///
    /// # Errors
    /// [`Kind::Usage`] if there is no such card, and what its wire says.
    pub fn open(&self, spec: &Spec) -> Result<(Arc<dyn Function>, Tap)> {
        let (slot, tap) = self.plug(spec)?;
        Ok((Arc::new(slot), tap))
    }

    /// Plugs a card in, for an attachment that brings the driver's accesses to it.
    pub(super) fn plug(&self, spec: &Spec) -> Result<(Slot, Tap)> {
        let wire = spec.open_wire(&mut lock(&self.shared.patch))?;
        let mut card = Card::new(build(spec, wire)?);
        let profile = *card.profile();
        let port = Arc::new(Port {
            name: format!("emu:{spec}"),
            id: profile.id,
            bars: profile.bars,
            vectors: profile.vectors,
            doorbells: card.model().doorbells(),
            state: Mutex::new(State {
                card: Some(card),
                trace: Vec::new(),
                violations: Vec::new(),
                wire: Counters::default(),
                notes: Vec::new(),
            }),
            waiting: AtomicU32::new(0),
            tracing: AtomicBool::new(false),
        });
        self.shared.spin.fetch_or(spec.spin, Ordering::Relaxed);
        self.shared.change(|ports| ports.push(Arc::clone(&port)));
        let plug = Arc::new(Plug { port: Arc::clone(&port), engine: Arc::clone(&self.shared) });
        Ok((Slot(plug), Tap { port }))
    }

    /// Lets every card do what it has to do by now; how much that was.
    pub fn step(&self) -> usize {
        let ports = lock(&self.shared.ports);
        let now = self.shared.clock.now();
        ports.iter().map(|port| port.step(now)).sum()
    }

    /// Moves virtual time on.
    pub fn advance(&self, by: Picos) {
        self.shared.clock.advance(by);
    }

    /// Counts from now on how long the engine's thread was kept from its cards:
    /// gaps between two steps that are longer than `patience`, its own naps left out.
    pub fn watch(&self, patience: Picos) {
        self.shared.patience.store(patience.max(HELD_UP), Ordering::Relaxed);
        self.shared.held_up.store(0, Ordering::Relaxed);
    }

    /// How long it was held up since [`Engine::watch`]. Time that the caller moves is
    /// never held up.
    pub fn held_up(&self) -> Picos {
        self.shared.held_up.load(Ordering::Relaxed)
    }

    /// Time since the engine was made.
    pub fn now(&self) -> Picos {
        self.shared.clock.now()
    }
}

impl Drop for Engine {
    /// Stops stepping. Cards that drivers still hold answer, but do nothing more.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The engine's thread.
    fn run(&self) {
        let mut ports = Vec::new();
        let mut seen = None;
        let mut idle_since = None;
        // When the next step may be, at the latest, counted from here.
        let mut since = self.clock.now();
        while !self.stop.load(Ordering::Acquire) {
            let version = self.version.load(Ordering::Acquire);
            if seen != Some(version) {
                seen = Some(version);
                ports = lock(&self.ports).clone();
            }
            let now = self.clock.now();
            let gap = now.saturating_sub(since);
            if gap > self.patience.load(Ordering::Relaxed) {
                self.held_up.fetch_add(gap, Ordering::Relaxed);
            }
            since = now;
            let mut work = 0;
            let mut asked = false;
            for port in &ports {
                if port.waiting.load(Ordering::Relaxed) == 0 {
                    work += port.step(now);
                } else {
                    asked = true;
                }
            }
            if work > 0 && !asked {
                idle_since = None;
                continue;
            }
            let idle = now - *idle_since.get_or_insert(now);
            if asked {
                thread::yield_now();
            } else if idle < SPIN || self.spin.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            } else if idle < NAP_AFTER && !ports.is_empty() {
                thread::yield_now();
            } else {
                since = now + NAP_TAKES;
                thread::sleep(NAP);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Port>>)) {
        change(&mut lock(&self.ports));
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl Port {
    fn step(&self, now: Picos) -> usize {
        match self.state.try_lock() {
            Ok(mut state) => state.card.as_mut().map_or(0, |card| card.step(now)),
            // A driver is at its registers: come back later.
            Err(_) => 0,
        }
    }

    /// The card, for a driver's access. None once closed.
    fn with<R>(&self, access: impl FnOnce(&mut Card, &mut Vec<Access>) -> R) -> Option<R> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut state = lock(&self.state);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let State { card, trace, .. } = &mut *state;
        card.as_mut().map(|card| access(card, trace))
    }

    fn record(&self, trace: &mut Vec<Access>, card: &mut Card, access: Access) {
        if self.tracing.load(Ordering::Relaxed) && trace.len() < TRACE_MAX {
            let name = card.model().register_name(access.bar, access.offset);
            trace.push(Access { name, ..access });
        }
    }

    /// Bus mastering off, then memory and wire go.
    fn close(&self) {
        let mut state = lock(&self.state);
        if let Some(mut card) = state.card.take() {
            state.violations = card.violations();
            state.wire = card.board().port.mac.counters();
            state.notes = card.wire_report();
            card.reset();
            card.bus().memory.clear();
        }
    }
}

/// Watches a card from outside: what its driver did wrong, what its wire carried.
#[derive(Clone)]
pub struct Tap {
    port: Arc<Port>,
}

impl Tap {
    /// The card's name, as it was asked for.
    pub fn name(&self) -> &str {
        &self.port.name
    }

    /// What the driver did that the datasheet forbids: each name and how often.
    pub fn violations(&self) -> Vec<(String, u64)> {
        let open = self.port.with(|card, _| card.violations());
        open.unwrap_or_else(|| lock(&self.port.state).violations.clone())
    }

    /// What has passed on the wire.
    pub fn wire(&self) -> Counters {
        let open = self.port.with(|card, _| card.board().port.mac.counters());
        open.unwrap_or_else(|| lock(&self.port.state).wire)
    }

    /// What its wire itself did to frames, or saw.
    pub fn wire_report(&self) -> Vec<Note> {
        let open = self.port.with(|card, _| card.wire_report());
        open.unwrap_or_else(|| lock(&self.port.state).notes.clone())
    }

    /// Begins to note the stages of the packets that the card sends, or ends it;
    /// false if its model cannot.
    pub fn note_stages(&self, on: bool) -> bool {
        let noted =
            self.port.with(|card, _| card.model().stages().map(|log| *log = on.then(StageLog::default)).is_some());
        noted.unwrap_or(false)
    }

    /// The stages of the packets that were sent since the last time, oldest first.
    pub fn take_stages(&self) -> Vec<Stages> {
        let taken = self.port.with(|card, _| card.model().stages().and_then(Option::as_mut).map(StageLog::take));
        taken.flatten().unwrap_or_default()
    }

    /// Offloads that the driver has used; none once closed.
    pub fn offloads_used(&self) -> Used {
        self.port.with(|card, _| card.board().used).unwrap_or_default()
    }

    /// Messages that an MSI-X vector has sent; 0 once closed.
    pub fn interrupts(&self, vector: u16) -> u64 {
        self.port.with(|card, _| card.bus().interrupts.sent(vector)).unwrap_or(0)
    }

    /// Takes all memory away from the card, as when a driver's process ends.
    #[cfg(test)]
    pub(super) fn unmap_all(&self) {
        self.port.with(|card, _| card.bus().memory.clear());
    }

    /// Starts or stops recording register accesses.
    pub fn trace(&self, on: bool) {
        self.port.tracing.store(on, Ordering::Relaxed);
    }

    /// The accesses recorded so far, oldest first; the record starts over.
    pub fn take_trace(&self) -> Vec<Access> {
        std::mem::take(&mut lock(&self.port.state).trace)
    }
}

/// A card in its slot: pulled out when the last of function and BARs is dropped.
struct Plug {
    port: Arc<Port>,
    engine: Arc<Shared>,
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.port.close();
        self.engine.change(|ports| ports.retain(|port| !Arc::ptr_eq(port, &self.port)));
    }
}

/// A card in its slot: the function that a driver opens.
pub(super) struct Slot(Arc<Plug>);

impl Slot {
    fn view(&self, bar: u8, size: u64, combines: bool) -> Bar {
        Bar::Served(Arc::new(View { slot: Slot(Arc::clone(&self.0)), bar, combines }), size)
    }

    /// The pages that the card polls.
    pub(super) fn doorbells(&self) -> &[super::DoorbellPage] {
        &self.0.port.doorbells
    }

    /// Reads `size` bytes (1, 2, 4 or 8) of a BAR; all-ones once the card is gone.
    pub(super) fn read(&self, bar: u8, offset: u64, size: u8) -> u64 {
        let port = &self.0.port;
        let now = self.0.engine.clock.access();
        let value = port.with(|card, trace| {
            let value = card.read(now, bar, offset, size);
            port.record(trace, card, Access { write: false, bar, offset, size, value, name: None });
            value
        });
        value.unwrap_or(u64::MAX)
    }

    /// Writes `size` bytes (1, 2, 4 or 8) of a BAR.
    pub(super) fn write(&self, bar: u8, offset: u64, size: u8, value: u64) {
        let port = &self.0.port;
        let now = self.0.engine.clock.access();
        port.with(|card, trace| {
            card.write(now, bar, offset, size, value);
            port.record(trace, card, Access { write: true, bar, offset, size, value, name: None });
        });
    }

    /// Does something with the card while nobody else does.
    pub(super) fn with<R>(&self, access: impl FnOnce(&mut Card) -> R) -> Result<R> {
        self.0
            .port
            .with(|card, _| access(card))
            .ok_or_else(|| Error::new(Kind::Gone, format!("{}: the emulated card was taken out", self.0.port.name)))
    }
}

impl Function for Slot {
    fn name(&self) -> &str {
        &self.0.port.name
    }

    fn kind(&self) -> pci::Kind {
        pci::Kind::Emulated
    }

    fn id(&self) -> Id {
        self.0.port.id
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        match self.0.port.bars.get(usize::from(index)) {
            Some(&size) if size > 0 => Ok(self.view(index, size, false)),
            _ => Err(Error::new(Kind::NotFound, format!("{}: there is no memory BAR {index}", self.name()))),
        }
    }

    fn combining(&self, index: u8) -> Result<Option<Bar>> {
        // All are prefetchable.
        self.bar(index).map(|bar| Some(self.view(index, bar.size(), true)))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        self.with(|card| card.config_read(offset, size))
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        self.with(|card| card.config_write(offset, size, value))
    }

    fn addressing(&self) -> Addressing {
        Addressing::Translated
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        self.with(|card| card.bus().memory.map_arena(arena))?
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.with(|card| card.bus().memory.reaches(arena)).unwrap_or(false)
    }

    fn irq_vectors(&self) -> u16 {
        self.0.port.vectors
    }

    /// What the kernel does for VFIO: unmasks the vectors and turns MSI-X on.
    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        if fds.len() > usize::from(self.irq_vectors()) {
            let (asked, has) = (fds.len(), self.irq_vectors());
            return Err(Error::new(Kind::Unsupported, format!("{}: {asked} vectors asked, it has {has}", self.name())));
        }
        let own = fds.iter().map(|&fd| sys::duplicate(fd)).collect::<std::io::Result<Vec<_>>>();
        let mut own = own.map_err(|e| Error::io(format!("{}: taking the eventfds", self.name()), e))?.into_iter();
        self.with(|card| {
            for vector in 0..card.bus().interrupts.count() {
                let fd = own.next();
                card.bus().interrupts.mask(vector, fd.is_none());
                card.bus().interrupts.connect(vector, fd);
            }
            card.config_write(card.layout().msix_control(), 2, if fds.is_empty() { 0 } else { 0x8000 });
        })
    }

    fn numa_node(&self) -> Option<u16> {
        None
    }

    fn reset(&self) -> Result<bool> {
        self.with(|card| card.config_write(card.layout().device_control(), 2, config::FLR)).map(|()| true)
    }

    /// Virtual time is moved on. Real time passes for all cards of the engine, and
    /// for those of other processes at the far end of a cable: it cannot be jumped.
    fn wait(&self, time: Duration) {
        match self.0.engine.clock.real {
            None => self.0.engine.clock.advance(time.as_nanos().min(u128::from(u64::MAX / 1000)) as u64 * 1000),
            Some(_) => pci::pass(time),
        }
    }
}

/// One BAR of a card, for a driver.
struct View {
    slot: Slot,
    bar: u8,
    /// Its stores are combined.
    combines: bool,
}

impl Registers for View {
    fn read(&self, offset: u64, size: u8) -> u64 {
        self.slot.read(self.bar, offset, size)
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        self.slot.write(self.bar, offset, size, value);
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let own = self.slot.with(|card| {
            let combined = if self.combines { card.model().combined(self.bar, offset) } else { None };
            combined.or_else(|| card.model().lane(self.bar, offset))
        });
        if let Ok(Some((page, index))) = own {
            return Some(Doorbell::in_page(&page, index));
        }
        let page =
            |page: &&super::DoorbellPage| !page.crowded && page.bar == self.bar && page.offset == offset & !0xfff;
        let page = self.slot.doorbells().iter().find(page)?;
        offset.is_multiple_of(4).then(|| Doorbell::in_page(&page.words, (offset & 0xfff) as usize / 4))
    }
}

/// The time on the wire.
struct Clock {
    /// When it began, on the clock that measurements are made with: the kernel
    /// may slew its other one by 500 ppm. None: virtual time.
    real: Option<u64>,
    moved: AtomicU64,
}

impl Clock {
    #[inline]
    fn now(&self) -> Picos {
        let real = self.real.map_or(0, |start| sys::monotonic_raw_ns().saturating_sub(start) * 1000);
        real + self.moved.load(Ordering::Relaxed)
    }

    fn advance(&self, by: Picos) {
        self.moved.fetch_add(by, Ordering::Relaxed);
    }

    /// The time of a register access, which takes time itself if time is virtual.
    fn access(&self) -> Picos {
        if self.real.is_none() {
            self.advance(ACCESS);
        }
        self.now()
    }
}

/// A panic under one of these locks was reported where it happened; what they
/// guard is still whole enough to be closed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const LINKS: u64 = 0x42a4;
    const LINK_UP: u32 = 1 << 30;

    fn open(engine: &Engine, spec: &str) -> (Arc<dyn Function>, Tap) {
        engine.open(&spec.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_link_comes_up_in_real_time_without_anybody_stepping() {
        let start = Instant::now();
        let engine = Engine::new(Drive::Thread);
        let (function, tap) = open(&engine, "82599,strict,link=2ms");
        let bar = function.bar(0).unwrap();
        while bar.read32(LINKS) & LINK_UP == 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "no link");
        }
        assert!(start.elapsed() >= Duration::from_millis(2));
        assert_eq!(tap.violations(), []);
    }

    #[test]
    fn virtual_time_stands_still_unless_it_is_moved() {
        let engine = Engine::new(Drive::Manual);
        let (function, _tap) = open(&engine, "82599");
        let before = engine.now();
        engine.step();
        assert_eq!(engine.now(), before);
        engine.advance(7);
        assert_eq!(engine.now(), before + 7);
        function.bar(0).unwrap().read32(8);
        assert_eq!(engine.now(), before + 7 + ACCESS);
    }

    #[test]
    fn time_passes_for_a_driver_that_waits() {
        for (drive, wait) in [(Drive::Manual, Duration::from_secs(100)), (Drive::Thread, Duration::from_millis(3))] {
            let engine = Engine::new(drive);
            let (function, _tap) = open(&engine, "82599,link=2ms");
            let before = engine.now();
            function.wait(wait);
            assert!(engine.now() - before >= wait.as_nanos() as u64 * 1000, "{drive:?}");
            // The first read tells of the loss at reset.
            function.bar(0).unwrap().read32(LINKS);
            assert_ne!(function.bar(0).unwrap().read32(LINKS) & LINK_UP, 0);
        }
    }

    #[test]
    fn an_engine_that_was_kept_from_its_cards_says_for_how_long() {
        let engine = Engine::new(Drive::Thread);
        let (function, _tap) = open(&engine, "82599,spin");
        engine.watch(HELD_UP);
        let start = engine.now();
        // Its thread waits for the list of ports, which it reads anew when one is added.
        let held = lock(&engine.shared.ports);
        engine.shared.version.fetch_add(1, Ordering::Release);
        while engine.now() - start < 5_000_000_000 {}
        drop(held);
        while engine.held_up() < 4_000_000_000 {
            assert!(engine.now() - start < 10_000_000_000_000, "{} held up", engine.held_up());
        }
        engine.watch(3_600_000_000_000_000);
        assert_eq!(engine.held_up(), 0);
        drop(function);
    }

    #[test]
    fn a_closed_card_leaves_its_engine_and_the_tap_still_tells() {
        for drive in [Drive::Manual, Drive::Thread] {
            let engine = Engine::new(drive);
            let (function, tap) = open(&engine, "82599");
            let (other, _) = open(&engine, "x540");
            function.bar(0).unwrap().write32(8, 1);
            assert_eq!(lock(&engine.shared.ports).len(), 2);
            drop(function);
            assert_eq!(lock(&engine.shared.ports).len(), 1);
            assert_eq!(tap.violations(), [("write to read-only STATUS (§8.2.3.1)".to_string(), 1)]);
            assert_eq!(other.bar(0).unwrap().read32(8), 0);
        }
    }

    #[test]
    fn a_card_outlives_the_engine_that_stepped_it() {
        let engine = Engine::new(Drive::Thread);
        let (function, _tap) = open(&engine, "82599");
        drop(engine);
        assert_eq!(function.config_read(0, 4).unwrap(), 0x10fb_8086);
    }

    #[test]
    fn what_there_is_not_is_one_clear_line() {
        let engine = Engine::new(Drive::Manual);
        let unknown = engine.open(&"82598".parse().unwrap()).err().unwrap();
        assert_eq!(unknown.kind(), Kind::Usage);
        assert!(unknown.to_string().contains("82599, x540, x550"), "{unknown}");
        let (function, _tap) = open(&engine, "82599");
        assert_eq!(function.bar(2).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(function.set_irqs(&[0; 65]).unwrap_err().kind(), Kind::Unsupported);
        assert!(function.bar(0).unwrap().doorbell(0x5080).is_err());
    }

    #[test]
    fn a_trace_has_names_and_values() {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = open(&engine, "82599");
        let bar = function.bar(0).unwrap();
        bar.write32(0x5080, 0x400);
        tap.trace(true);
        bar.write32(0x1018 + 0x40 * 3, 0);
        assert_eq!(bar.read32(0x5080), 0x400);
        tap.trace(false);
        bar.read32(8);
        let trace: Vec<_> = tap.take_trace().into_iter().map(|a| (a.write, a.name.unwrap(), a.value)).collect();
        assert_eq!(trace, [(true, "RDT(3)".to_string(), 0), (false, "FCTRL".to_string(), 0x400)]);
        assert_eq!(tap.take_trace(), []);
    }
}
