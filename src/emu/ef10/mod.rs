//! The emulated Solarflare EF10: SFC9120 and SFC9140 (Huntington), SFC9220
//! (Medford), X2522 (SFC9250, Medford2).
//!
//! ```text
//!   window 0       window n: registers, PIO buffer, CTPIO aperture
//!      | commands     | RX_DESC_UPD   | TX_DESC_UPD, push        ^ interrupts
//!   +--v--------------v---------------v--------------------------|--------+
//!   |  MC firmware   rx: <- filters, RSS <--+   tx: fetch, offload  event  |
//!   |  link, clock    |                     |     |                 queues |
//!   |  statistics     |                    MAC <--+                   ^    |
//!   +-----|-----------|---------------------|-------------------------|----+
//!         v           v                     v                         |
//!      replies     buffers                wire        all that happened, 8 bytes each
//! ```
//!
//! A card of this family has few registers: almost everything is a command to
//! its management controller (MC), and everything that happens comes back in
//! event queues, apart from the descriptor rings.
//!
//! What the cards differ in: where the registers are (the first BAR of an older
//! card is of I/O ports), how far windows are apart, CTPIO, the unit of stamps,
//! and on Huntington a bug whose workaround sends event read pointers and
//! timers through the transmit index's register.

mod bytes;
mod clock;
mod ctpio;
mod evq;
mod filter;
mod link;
mod mc;
mod mcdi;
mod offload;
mod pio;
mod regs;
mod rx;
mod stats;
#[cfg(test)]
mod tests;
mod tx;

use self::clock::Clock;
use self::ctpio::Aperture;
use self::evq::EventQueue;
use self::filter::Filters;
use self::link::Link;
use self::mcdi::Transport;
use self::pio::PioBuffers;
use self::regs::Effect;
use self::rx::RxQueue;
use self::stats::Statistics;
use self::tx::{Outgoing, TxQueue};
use super::card::factory_address;
use super::stages::StageLog;
use super::wire::{Counters, FrameQueue, MAX_FRAME, Mac, Random};
use super::{Bus, DoorbellPage, Fault, FaultKind, Model, Page, Picos, Profile, RegisterFile, Spec, Violations};
use crate::dma::Iova;
use crate::pci::Id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Huntington, 10 Gbit/s.
    Sfc9120,
    /// Huntington, 40 Gbit/s.
    Sfc9140,
    /// Medford.
    Sfc9220,
    /// Medford2.
    X2522,
}

impl Kind {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sfc9120 => "sfc9120",
            Kind::Sfc9140 => "sfc9140",
            Kind::Sfc9220 => "sfc9220",
            Kind::X2522 => "x2522",
        }
    }

    fn device(self) -> u16 {
        match self {
            Kind::Sfc9120 => 0x0903,
            Kind::Sfc9140 => 0x0923,
            Kind::Sfc9220 => 0x0a03,
            Kind::X2522 => 0x0b03,
        }
    }

    /// Line rate in bits a second.
    pub fn speed(self) -> u64 {
        if self == Kind::Sfc9140 { 40_000_000_000 } else { 10_000_000_000 }
    }

    /// Whether it is of the first generation.
    pub fn huntington(self) -> bool {
        matches!(self, Kind::Sfc9120 | Kind::Sfc9140)
    }

    fn ctpio(self) -> bool {
        self == Kind::X2522
    }

    fn event_cut_through(self) -> bool {
        self == Kind::X2522
    }

    /// The BAR that windows are in.
    fn bar(self) -> u8 {
        if self == Kind::X2522 { 0 } else { 2 }
    }

    /// How GET_CAPABILITIES calls the distance between windows.
    fn window_mode(self) -> u8 {
        u8::from(self == Kind::X2522)
    }

    fn stride(self) -> u64 {
        0x2000 << self.window_mode()
    }
}

/// What its firmware can do wrong.
pub const FAULTS: &[FaultKind] =
    &[FaultKind::Timeout, FaultKind::Crash, FaultKind::Opcode, FaultKind::Short, FaultKind::Error];

/// Virtual interfaces of the function: an event queue, a receive and a transmit
/// queue each.
const VIS: u16 = 128;

/// MSI-X vectors.
const VECTORS: u16 = 64;

/// Ports of the older cards' first BAR.
const IO_PORTS: u64 = 256;

/// Longest frame that SET_MAC may allow.
const LONGEST: usize = MAX_FRAME;

/// How often the wire is asked for its carrier.
const LINK_POLL: Picos = 100_000_000;

/// A ring of descriptors, in pages.
pub struct Ring {
    pages: Vec<Iova>,
    mask: u32,
    /// Where its events go, and the label they carry.
    evq: u16,
    label: u8,
}

impl Ring {
    /// Where a descriptor is.
    #[inline]
    fn slot(&self, at: u32) -> Iova {
        let at = at & self.mask;
        self.pages[(at >> 9) as usize] + 8 * u64::from(at & 511)
    }
}

/// A VI's window.
struct Window {
    registers: RegisterFile<Effect>,
    pio: Page,
    ctpio: Page,
    aperture: Aperture,
}

/// What the firmware knows.
#[derive(Default)]
struct Firmware {
    /// Starts since power-on.
    boots: u16,
    /// A driver is there.
    attached: bool,
    /// Event queue that it tells of the link and the like.
    log: Option<u16>,
    /// VIs that the driver has.
    vis: u16,
    vadaptor: bool,
    bug35388: bool,
    /// Longest frame that is received; 0 is any.
    longest: usize,
    /// Nothing is received.
    drain: bool,
    factory: [u8; 6],
}

/// One emulated function.
pub struct Ef10 {
    kind: Kind,
    profile: Profile,
    windows: Vec<Window>,
    bus: Bus,
    mac: Mac,
    violations: Violations,
    strict: bool,
    /// Strict, and something was violated: the card is dead.
    poisoned: bool,
    nasty: bool,
    random: Random,
    fault: Option<Fault>,
    now: Picos,

    mc: Firmware,
    mcdi: Transport,
    link: Link,
    link_delay: Picos,
    link_polled: Picos,
    clock: Clock,
    stats: Statistics,
    filters: Filters,
    pio: PioBuffers,

    evqs: Vec<Option<EventQueue>>,
    /// Event queues with half an event (nasty).
    torn: Vec<u16>,
    rxqs: Vec<Option<RxQueue>>,
    /// Receive queues whose packets wait for more to share an event.
    rx_merged: Vec<u16>,
    /// Frames lost in this step because a queue had no descriptor.
    starved: usize,
    txqs: Vec<Option<TxQueue>>,
    tx_active: Vec<u16>,
    /// Whose turn it is among them.
    tx_turn: usize,
    tx_merged: Vec<u16>,
    out: Outgoing,
    stages: Option<StageLog>,

    /// The packet being sent, the segments cut from it, a frame being received,
    /// where it goes and the events about it.
    packet: Vec<u8>,
    segments: Vec<u8>,
    received: Vec<u8>,
    targets: Vec<(u16, u32)>,
    written: Vec<u64>,
    /// Frames that loop inside the card.
    loop_queue: FrameQueue,
}

impl Ef10 {
    /// A card at the end of a wire, powered on.
    pub fn new(kind: Kind, spec: &Spec, mac: Mac) -> Self {
        let size = (u64::from(VIS) * kind.stride()).next_power_of_two();
        let mut bars = [0, 0, 0, 0, 16 << 10, 0];
        bars[usize::from(kind.bar())] = size;
        let profile = Profile {
            name: kind.name(),
            id: Id { vendor: 0x1924, device: kind.device(), subsystem_vendor: 0x1924, subsystem: 0x8000, revision: 1 },
            bars,
            io: if kind == Kind::X2522 { 0 } else { IO_PORTS },
            vectors: VECTORS,
            msix: (4, 0, 0x2000),
            speed: kind.speed(),
        };
        let page = || -> Page { Arc::new([const { AtomicU32::new(0) }; 1024]) };
        let window = |n: u16| Window {
            registers: RegisterFile::new(if n == 0 { regs::FIRST } else { regs::OTHER }, regs::PAGE),
            pio: page(),
            ctpio: page(),
            aperture: Aperture::default(),
        };
        let factory = spec.mac.unwrap_or_else(solarflare_address);
        let mut card = Ef10 {
            kind,
            profile,
            windows: (0..VIS).map(window).collect(),
            bus: Bus::new(VECTORS),
            mac,
            violations: Violations::default(),
            strict: spec.strict,
            poisoned: false,
            nasty: spec.nasty,
            random: Random::new(spec.seed),
            fault: spec.fault,
            now: 0,
            mc: Firmware { factory, ..Firmware::default() },
            mcdi: Transport::default(),
            link: Link::default(),
            link_delay: spec.link.unwrap_or(link::DELAY),
            link_polled: 0,
            clock: Clock::new(kind),
            stats: Statistics::new(kind),
            filters: Filters::default(),
            pio: PioBuffers::default(),
            evqs: (0..VIS).map(|_| None).collect(),
            torn: Vec::new(),
            rxqs: (0..VIS).map(|_| None).collect(),
            rx_merged: Vec::new(),
            starved: 0,
            txqs: (0..VIS).map(|_| None).collect(),
            tx_active: Vec::new(),
            tx_turn: 0,
            tx_merged: Vec::new(),
            out: Outgoing::default(),
            stages: None,
            packet: Vec::with_capacity(2048),
            segments: Vec::new(),
            received: Vec::new(),
            targets: Vec::new(),
            written: Vec::new(),
            loop_queue: FrameQueue::new(64 << 10),
        };
        card.reset();
        card
    }

    /// A window's registers.
    fn window(&self, vi: u16) -> &RegisterFile<Effect> {
        &self.windows[usize::from(vi)].registers
    }

    /// ENTITY_RESET: all queues, filters and VIs of the function are gone.
    fn drop_resources(&mut self) {
        self.evqs.iter_mut().for_each(|queue| *queue = None);
        self.rxqs.iter_mut().for_each(|queue| *queue = None);
        self.txqs.iter_mut().for_each(|queue| *queue = None);
        self.tx_active.clear();
        self.tx_merged.clear();
        self.rx_merged.clear();
        self.torn.clear();
        self.out = Outgoing::default();
        self.filters = Filters::default();
        self.pio = PioBuffers::default();
        self.clock.release();
        self.stats.repeat(None, self.now);
        while !self.loop_queue.is_empty() {
            self.loop_queue.pop();
        }
        for window in &mut self.windows {
            window.aperture = Aperture::default();
            window.ctpio[0].store(0, Ordering::Relaxed);
        }
        self.mcdi.after.clear();
        (self.mc.vis, self.mc.vadaptor, self.mc.log) = (0, false, None);
        (self.mc.longest, self.mc.drain) = (0, false);
        self.link.release();
    }

    /// The MC starts anew: everything is forgotten, and the driver is told by
    /// its event queue, the boot count and the error without a code.
    fn restart_firmware(&mut self) {
        let log = self.mc.log.unwrap_or(0);
        self.post(log, evq::rebooted());
        self.mend_events();
        self.drop_resources();
        let Firmware { boots, factory, .. } = self.mc;
        self.mc = Firmware { boots: boots.wrapping_add(1), factory, ..Firmware::default() };
        self.show_boots();
    }

    /// BIU_MC_SFT_STATUS: the firmware runs, and how often it has started.
    fn show_boots(&mut self) {
        self.window(0).poke(regs::SFT_STATUS, 0xb007_0000 | u32::from(self.mc.boots));
    }

    fn write_register(&mut self, vi: u16, offset: u32, value: u32) {
        if vi != 0 && vi >= self.mc.vis {
            self.violations.note("register of a VI that was not allocated written");
        }
        let registers = &self.windows[usize::from(vi)].registers;
        let Some(hit) = registers.find(offset, &mut self.violations) else { return };
        match hit.effect {
            // These leave nothing in the page that the doorbell is polled in.
            Effect::McdiHigh => self.mcdi_high(value),
            Effect::McdiLow => self.mcdi_low(value),
            Effect::ReadPointer => self.read_pointer(vi, value),
            Effect::TxIndex if self.mc.bug35388 && value & 0x800 != 0 => self.indirect_write(vi, value),
            effect => {
                if effect == Effect::TxIndex {
                    self.check_push(vi, value & 0xfff);
                }
                if effect == Effect::RxIndex && self.rxqs[usize::from(vi)].is_none() {
                    self.violations.note("RX_DESC_UPD of a queue that was not initialised");
                }
                self.windows[usize::from(vi)].registers.write(offset, value, &mut self.violations);
            }
        }
    }

    /// The workaround for bug 35388: event read pointers, in two halves, and
    /// timers go through the transmit index's register.
    fn indirect_write(&mut self, vi: u16, value: u32) {
        let low = value & 0xff;
        match value >> 8 & 0xf {
            8 => self.window(vi).poke(regs::EVQ_RPTR, low << 8),
            9 => {
                let high = self.window(vi).peek(regs::EVQ_RPTR) & 0xff00;
                self.read_pointer(vi, high | low);
            }
            0xc..=0xf => {}
            _ => self.violations.note("code of the bug 35388 workaround that is not known"),
        }
    }

    /// A write behind a window's registers.
    fn write_buffer(&mut self, vi: u16, at: usize, size: u8, value: u64) {
        match at {
            0x1000..0x2000 => {
                if !self.pio.linked(vi) {
                    self.violations.note("PIO write through a window without a buffer");
                }
                if !matches!(size, 4 | 8) || !at.is_multiple_of(usize::from(size)) {
                    self.violations.note("PIO write that is not of 4 or 8 aligned bytes");
                    return;
                }
                if at - 0x1000 + usize::from(size) > pio::SIZE {
                    self.violations.note("PIO write behind the end of the buffer");
                    return;
                }
                for window in self.pio.sharing(vi) {
                    let page = &self.windows[usize::from(window)].pio;
                    let first = (at - 0x1000) / 4;
                    page[first].store(value as u32, Ordering::Relaxed);
                    if size == 8 {
                        page[first + 1].store((value >> 32) as u32, Ordering::Relaxed);
                    }
                }
            }
            0x3000..0x4000 if self.kind.ctpio() => self.ctpio_written(vi, at - 0x3000, size, value),
            _ => self.violations.note(format!("write to a hole in a window, at {at:#x}")),
        }
    }

    /// Window and offset in it; none outside.
    fn place(&self, bar: u8, offset: u64) -> Option<(u16, usize)> {
        let vi = offset / self.kind.stride();
        let inside = bar == self.kind.bar() && vi < u64::from(VIS);
        inside.then_some((vi as u16, (offset % self.kind.stride()) as usize))
    }

    fn condemn(&mut self) {
        let total = self.violations.total() + self.bus.memory.violations_total();
        self.poisoned = self.strict && total > 0;
    }
}

impl Model for Ef10 {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if self.poisoned {
            return u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        }
        if bar == 0 && self.profile.io != 0 {
            return 0;
        }
        let Some((vi, at)) = self.place(bar, offset) else {
            self.violations.note(format!("read outside the windows: BAR {bar} at {offset:#x}"));
            return 0;
        };
        if at >= regs::PAGE as usize {
            self.violations.note("read of a buffer that is for writing");
            return 0;
        }
        if size != 4 || !at.is_multiple_of(4) {
            self.violations.note("register read that is not of 4 aligned bytes");
        }
        let registers = &self.windows[usize::from(vi)].registers;
        let at = at as u32 & !3;
        registers.find(at, &mut self.violations);
        let value = registers.read(at);
        self.condemn();
        u64::from(value)
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if self.poisoned || bar == 0 && self.profile.io != 0 {
            return;
        }
        match self.place(bar, offset) {
            None => self.violations.note(format!("write outside the windows: BAR {bar} at {offset:#x}")),
            Some((vi, at)) if at >= regs::PAGE as usize => self.write_buffer(vi, at, size, value),
            Some((vi, at)) if size == 4 && at.is_multiple_of(4) => self.write_register(vi, at as u32, value as u32),
            Some((vi, at)) if size == 8 && at.is_multiple_of(8) => {
                self.write_register(vi, at as u32, value as u32);
                self.write_register(vi, at as u32 + 4, (value >> 32) as u32);
            }
            Some(_) => self.violations.note("register write that is not of 4 aligned bytes"),
        }
        self.condemn();
    }

    fn tick(&mut self, now: Picos) {
        self.now = self.now.max(now);
        if !self.link_up() || self.now - self.link_polled >= LINK_POLL {
            self.link_polled = self.now;
            self.poll_link();
        }
        self.mcdi_tick();
    }

    fn step(&mut self, now: Picos) -> usize {
        if self.poisoned {
            return 0;
        }
        self.tick(now);
        let now = self.now;
        if !self.torn.is_empty() {
            self.mend_events();
        }
        self.mac.tick(now);
        let work = self.transmit(now) + self.receive(now);
        self.tell_time();
        if self.stats.repeats()
            && let Some(generation) = self.stats.tick(&self.bus.memory, now)
        {
            self.post(self.mc.log.unwrap_or(0), evq::statistics(generation));
        }
        if self.strict {
            self.condemn();
        }
        // What was lost because the driver gave no descriptors is no work: the
        // driver needs the processor more.
        work.saturating_sub(std::mem::take(&mut self.starved))
    }

    fn doorbells(&self) -> Vec<DoorbellPage> {
        let bar = self.kind.bar();
        let page = |at: u64, words: &Page| DoorbellPage { bar, offset: at, words: words.clone() };
        let windows = self.windows.iter().zip(0..).flat_map(|(window, n)| {
            let at = n * self.kind.stride();
            let aperture = self.kind.ctpio().then(|| page(at + 0x3000, &window.ctpio));
            [page(at, window.registers.page(0)), page(at + 0x1000, &window.pio)].into_iter().chain(aperture)
        });
        windows.collect()
    }

    fn mapped(&mut self) {
        self.mcdi_mapped();
    }

    fn reset(&mut self) {
        self.poisoned = false;
        self.drop_resources();
        self.mcdi = self.mcdi.afresh();
        let Firmware { boots, factory, .. } = self.mc;
        self.mc = Firmware { boots, factory, ..Firmware::default() };
        self.windows.iter().for_each(|window| window.registers.reset(|_| true));
        self.link = Link::default();
        self.restart_link();
        self.show_boots();
    }

    fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    fn violations(&self) -> &Violations {
        &self.violations
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        let (vi, at) = self.place(bar, offset)?;
        let name = match at {
            0..0x1000 => self.window(vi).name(at as u32)?,
            0x1000..0x2000 => format!("PIO+{:#x}", at - 0x1000),
            _ => format!("CTPIO+{:#x}", at.checked_sub(0x3000)?),
        };
        Some(format!("VI{vi}.{name}"))
    }

    fn wire_counters(&self) -> Counters {
        self.mac.counters()
    }

    fn stages(&mut self) -> Option<&mut Option<StageLog>> {
        Some(&mut self.stages)
    }
}

/// The next card's factory address, with Solarflare's number in front.
fn solarflare_address() -> [u8; 6] {
    let [.., a, b, c] = factory_address();
    [0x00, 0x0f, 0x53, a, b, c]
}
