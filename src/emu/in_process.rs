//! Emulated cards in this process, and what makes them run.
//!
//! ```text
//!   driver thread(s)                         engine thread (Drive::Thread)
//!     Registers::read/write --lock-->  Port  <--lock-- step, for each port in turn
//!     Doorbell::ring ---------------> page words, polled by step: no lock
//!     descriptors, payload ---------> arenas (Translation)
//! ```
//!
//! A thread that uses cards may play them itself ([`Engine::inline`]): the engine's thread
//! then leaves them alone, and sleeps if it has no others.
//!
//! With [`Drive::Manual`] there is no thread: the program calls
//! [`Engine::step`] and [`Engine::advance`], and time is virtual, so a run is
//! the same each time. A register access then takes [`ACCESS`], as it does on
//! a bus, so that a driver's bounded waits see time pass.
//!
//! The engine's thread holds a port's lock for a burst of frames at a time. A
//! driver that wants a register announces itself first, and the engine leaves
//! that port alone until it was served: control never starves behind traffic.

mod inline;
mod slot;
mod tap;
#[cfg(test)]
mod tests;

pub use self::inline::Inline;
use self::slot::Plug;
pub(super) use self::slot::Slot;
pub use self::tap::Tap;
use super::wire::{Counters, Note, Patch};
use super::{Card, Picos, Spec, build};
use crate::error::{Error, Result};
pub use crate::pci::trace::Access;
use crate::pci::{Function, Id};
use crate::sys;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
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

/// Bytes that the registers of no card exceed.
const REGISTERS: usize = 16 << 20;

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
    /// Why there is no thread, though there should be one.
    refused: Option<i32>,
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
    /// How often the thread has looked after the cards.
    turns: AtomicU64,
    /// The thread, once it runs.
    thread: OnceLock<Thread>,
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

impl Engine {
    /// An engine without cards.
    pub fn new(drive: Drive) -> Self {
        let shared = Arc::new(Shared {
            clock: Clock {
                real: (drive == Drive::Thread).then(sys::monotonic_raw_ns),
                moved: AtomicU64::new(0),
                held: AtomicBool::new(false),
            },
            ports: Mutex::default(),
            version: AtomicU32::new(0),
            patch: Mutex::default(),
            spin: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            patience: AtomicU64::new(HELD_UP),
            held_up: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            thread: OnceLock::new(),
        });
        Self { shared, thread: None, refused: None }.started(drive)
    }

    fn started(mut self, drive: Drive) -> Self {
        if drive == Drive::Thread {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().name("emu".into()).spawn(move || shared.run()) {
                Ok(thread) => self.thread = Some(thread),
                // Without it nothing would ever move: a card that is plugged in says so.
                Err(error) => self.refused = Some(error.raw_os_error().unwrap_or(libc::EAGAIN)),
            }
        }
        self
    }

    /// Plugs a card in: the function for a driver, and a tap for who watches.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::Kind::Usage) if there is no such card, and what its wire says.
    pub fn open(&self, spec: &Spec) -> Result<(Arc<dyn Function>, Tap)> {
        let (slot, tap) = self.plug(spec)?;
        slot.enable()?;
        Ok((Arc::new(slot), tap))
    }

    /// Plugs a card in, for an attachment that brings the driver's accesses to it.
    pub(super) fn plug(&self, spec: &Spec) -> Result<(Slot, Tap)> {
        if let Some(number) = self.refused {
            let refused = io::Error::from_raw_os_error(number);
            return Err(Error::thread("starting the thread that plays emulated cards", refused));
        }
        // The models take it for granted that there is memory for their registers.
        sys::has_room_for(REGISTERS).map_err(|e| Error::memory("mapping memory for a card's registers", e))?;
        let wire = spec.open_wire(&mut lock(&self.shared.patch))?;
        let mut card = Card::new(build(spec, wire)?);
        let profile = *card.profile();
        let port = Arc::new(Port {
            name: format!("emu:{spec}"),
            id: profile.id,
            bars: std::array::from_fn(|index| profile.bar(index)),
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
        let (now, held) = (self.shared.clock.now(), self.shared.clock.held.load(Ordering::Relaxed));
        ports.iter().map(|port| if held { port.step_after_others(now) } else { port.step(now) }).sum()
    }

    /// Moves virtual time on.
    pub fn advance(&self, by: Picos) {
        self.shared.clock.advance(by);
    }

    /// Whether virtual time is moved by the caller alone, no longer by register accesses too,
    /// and no step is left out because of one: some drivers have threads that look at
    /// registers by the real clock, and what the card does is to be the same each time.
    pub fn hold(&self, on: bool) {
        self.shared.clock.held.store(on, Ordering::Relaxed);
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

    /// How often its thread has looked after the cards: on a machine that is busy with other
    /// things, how much of the time was theirs.
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
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
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The engine's thread.
    fn run(&self) {
        let _ = self.thread.set(thread::current());
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
            if ports.is_empty() {
                // There are none, or others play them: woken by the next change.
                thread::park();
                since = self.clock.now();
                continue;
            }
            let now = self.clock.now();
            let gap = now.saturating_sub(since);
            if gap > self.patience.load(Ordering::Relaxed) {
                self.held_up.fetch_add(gap, Ordering::Relaxed);
            }
            since = now;
            self.turns.fetch_add(1, Ordering::Relaxed);
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
            } else if idle < NAP_AFTER {
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
        self.wake();
    }

    /// Wakes the thread, if it sleeps as it has no cards.
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
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

    /// The same, once the one at the registers is done.
    fn step_after_others(&self, now: Picos) -> usize {
        lock(&self.state).card.as_mut().map_or(0, |card| card.step(now))
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

/// The time on the wire.
struct Clock {
    /// When it began, on the clock that measurements are made with: the kernel
    /// may slew its other one by 500 ppm. None: virtual time.
    real: Option<u64>,
    moved: AtomicU64,
    /// Register accesses take no time.
    held: AtomicBool,
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
        if self.real.is_none() && !self.held.load(Ordering::Relaxed) {
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
