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

mod clock;
mod config;
mod ctpio;
mod evq;
mod filter;
mod link;
mod mc;
mod mcdi;
mod model;
mod models;
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
pub use self::models::{Kind, MODELS};
use self::pio::PioBuffers;
pub use self::regs::TABLE as REGISTERS;
use self::rx::Receive;
use self::stats::Statistics;
use self::tx::Transmit;
use super::pcie::Piece;
use super::wire::MAX_FRAME;
use super::{Board, FaultKind, Model, RegisterFile, bytes, unaided};
use crate::dma::Iova;
use crate::pci::Page;
use std::sync::atomic::Ordering;

/// Virtual interfaces of the function: an event queue, a receive and a transmit
/// queue each.
const VIS: u16 = 128;

/// Transmit queues that can cut packets into segments.
const TSO_CONTEXTS: u16 = 64;

/// MSI-X vectors; a card of four functions has half as many for each.
const VECTORS: u16 = 64;

/// Longest frame that SET_MAC may allow.
const LONGEST: usize = MAX_FRAME;

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

    /// The descriptors from one index up to another.
    fn pieces(&self, from: u32, to: u32) -> impl DoubleEndedIterator<Item = Piece> {
        let count = to.wrapping_sub(from) & self.mask;
        (0..count).map(move |n| (self.slot(from + n), 8))
    }
}

/// A VI's window.
struct Window {
    registers: RegisterFile<Ef10>,
    pio: Page,
    ctpio: Page,
    aperture: Aperture,
}

/// What the firmware knows.
#[derive(Default)]
struct Firmware {
    /// Starts since power-on.
    boots: u16,
    /// A driver is there, and it is that of a boot ROM.
    attached: bool,
    boot_rom: bool,
    /// Event queue that it tells of the link and the like.
    log: Option<u16>,
    /// VIs that the driver has.
    vis: u16,
    vadaptor: bool,
    bug35388: bool,
    /// Longest frame that is received, with its FCS; nothing is before it was set.
    longest: usize,
    /// Nothing is received.
    drain: bool,
}

/// That the firmware has failed, which a reset of the function changes nothing about.
#[derive(Clone, Copy, Default)]
struct Asserted {
    /// It is noted, and was not asked for yet.
    noted: bool,
    /// It waits for a debugger, and does nothing else until it is started anew.
    waits: bool,
}

impl Firmware {
    /// It has started anew, and the driver may not know: what it does then with
    /// queues that are gone is no fault of its own.
    fn unnoticed(&self) -> bool {
        self.boots > 0 && !self.attached
    }
}

/// One emulated function.
pub struct Ef10 {
    board: Board,
    kind: Kind,
    windows: Vec<Window>,

    mc: Firmware,
    asserted: Asserted,
    mcdi: Transport,
    link: Link,
    clock: Clock,
    stats: Statistics,
    filters: Filters,
    pio: PioBuffers,

    evqs: Vec<Option<EventQueue>>,
    /// Event queues with half an event (nasty).
    torn: Vec<u16>,
    rx: Receive,
    tx: Transmit,
}

impl Ef10 {
    /// A card, powered on.
    pub fn new(kind: Kind, board: Board) -> Self {
        let pages = Page::row(2 * usize::from(VIS));
        let page = |n: u16| pages[usize::from(n)].clone();
        let window = |n: u16| Window {
            registers: RegisterFile::new(&[if n == 0 { regs::TABLE } else { regs::QUEUES }], regs::PAGE as u32),
            pio: page(2 * n),
            ctpio: page(2 * n + 1),
            aperture: Aperture::default(),
        };
        let failed = board.faulty(FaultKind::Asserted);
        let asserted = Asserted { noted: failed, waits: failed };
        let mut card = Ef10 {
            board,
            kind,
            windows: (0..VIS).map(window).collect(),
            mc: Firmware::default(),
            asserted,
            mcdi: Transport::default(),
            link: Link::default(),
            clock: Clock::new(kind),
            stats: Statistics::new(kind),
            filters: Filters::default(),
            pio: PioBuffers::default(),
            evqs: (0..VIS).map(|_| None).collect(),
            torn: Vec::new(),
            rx: Receive::new(),
            tx: Transmit::new(),
        };
        card.reset();
        card
    }

    /// A window's registers.
    fn window(&self, vi: u16) -> &RegisterFile<Ef10> {
        &self.windows[usize::from(vi)].registers
    }

    /// Longest frame that the port's first function has set, if there is another.
    fn set_by_others(&self) -> usize {
        if self.board.faulty(FaultKind::Npar) { LONGEST & !7 } else { 0 }
    }

    /// The firmware after its start; the port's first function may be up already.
    fn firmware(&self, boots: u16) -> Firmware {
        let bug35388 = self.kind.huntington() && self.board.faulty(FaultKind::Npar);
        Firmware { boots, bug35388, longest: self.set_by_others(), ..Firmware::default() }
    }

    /// Whether there is a receive or a transmit queue.
    fn has_queues(&self) -> bool {
        self.rx.queues.iter().any(Option::is_some) || self.tx.queues.iter().any(Option::is_some)
    }

    /// ENTITY_RESET: all queues, filters and VIs of the function are gone.
    fn drop_resources(&mut self) {
        self.evqs.iter_mut().for_each(|queue| *queue = None);
        self.rx = Receive::new();
        self.tx = Transmit::new();
        self.torn.clear();
        self.filters = Filters::default();
        self.pio = PioBuffers::default();
        self.clock.release();
        self.stats.repeat(None, self.board.now);
        self.board.port.empty_loop();
        for window in &mut self.windows {
            window.aperture = Aperture::default();
            window.ctpio[0].store(0, Ordering::Relaxed);
        }
        self.mcdi.after.clear();
        (self.mc.vis, self.mc.vadaptor, self.mc.log) = (0, false, None);
        (self.mc.longest, self.mc.drain) = (self.set_by_others(), false);
        self.link.release();
    }

    /// The MC starts anew: everything is forgotten, and the driver is told by
    /// its event queue, the boot count and the error without a code.
    fn restart_firmware(&mut self) {
        let log = self.mc.log.unwrap_or(0);
        self.post(log, evq::rebooted());
        self.mend_events();
        self.drop_resources();
        self.mc = self.firmware(self.mc.boots.wrapping_add(1));
        self.asserted.waits = false;
        self.show_boots();
    }

    /// BIU_MC_SFT_STATUS: the firmware runs, and how often it has started.
    fn show_boots(&mut self) {
        self.window(0).poke(regs::BIU_MC_SFT_STATUS.at, 0xb007_0000 | u32::from(self.mc.boots));
    }
}
