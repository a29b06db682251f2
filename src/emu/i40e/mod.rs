//! The emulated Intel X710, XL710, XXV710 and X722 (X710 datasheet 332464; the
//! register table is in `regs`).
//!
//! ```text
//!        admin queues               registers            doorbell pages (QRX_TAIL, QTX_TAIL)
//!             |                         |                         |
//!   +---------v-------------------------v-------------------------v---------------+
//!   | firmware: switch, link,   HMC: contexts    tx: fetch -> offload --+   interrupts |
//!   |  NVM, capabilities            |                                   v       ^    |
//!   |      |  events                v        rx: <- RSS, flow director <- VSI <- MAC |
//!   | clock, statistics          queues                                         |    |
//!   +------|------------------------|-------------------------------------|-----|----+
//!          v                        v                                     v     v
//!   admin receive queue    descriptors, buffers                    MSI-X      wire
//! ```
//!
//! Most of the set-up of this family is commands to firmware, so most of the
//! model is firmware: what Linux, DPDK and iPXE ask is answered, and whatever
//! else is refused and counted. `fault=` makes it fail.
//!
//! Not modelled: functions and ports besides the first, virtual functions,
//! switching between VSIs, header split, tunnel segmentation, flexible payload
//! and field masks of the flow director, changed hash input sets, DCB, pause
//! frames, EEE, wake-up, writing the NVM.

mod adminq;
mod clock;
mod config;
mod fdir;
mod filter;
mod firmware;
mod hmc;
mod irq;
mod link;
mod models;
mod nvm;
mod regs;
mod rx;
mod stats;
mod switch;
#[cfg(test)]
mod tests;
mod tx;

use self::clock::Clock;
use self::fdir::FlowDirector;
use self::filter::Filters;
use self::firmware::Firmware;
use self::hmc::Hmc;
use self::irq::Irq;
use self::link::Link;
pub use self::models::{Kind, MODELS};
pub use self::regs::TABLE as REGISTERS;
use self::rx::Receive;
use self::switch::Switch;
use self::tx::Transmit;
use super::access;
use super::transmit::transmit;
use super::{Board, DoorbellPage, FaultKind, Layout, Model, Picos, RegisterFile, Registers, Reset, Row, Violations};

/// Queues each way that the function has.
const QUEUES: u16 = 128;

/// MSI-X vectors of the function.
const VECTORS: u16 = 129;

/// Pages that hold nothing but tails of rings: transmit, receive.
const DOORBELL_PAGES: [u32; 2] = [regs::QTX_TAIL.at, regs::QRX_TAIL.at];

/// ICR0.GRST: the device was reset as a whole.
const GRST: u32 = 1 << 20;

/// One emulated function.
pub struct I40e {
    board: Board,
    kind: Kind,
    regs: RegisterFile<I40e>,
    /// Absolute number of the function's first queue.
    first_queue: u16,

    firmware: Firmware,
    nvm: Vec<u16>,
    /// The function's address: the factory's, or what the driver set.
    address: [u8; 6],
    link: Link,
    clock: Clock,
    irq: Irq,
    hmc: Hmc,
    switch: Switch,
    fdir: FlowDirector,
    /// A function reset is not over until then.
    resetting: Option<Picos>,
    /// QENA_STAT that changes later (nasty): register, when, to what.
    following: Vec<(u32, Picos, bool)>,

    /// What registers were read into is out of date.
    stale: bool,
    filters: Filters,

    rx: Receive,
    tx: Transmit,
}

impl I40e {
    /// A card, powered on.
    pub fn new(kind: Kind, mut board: Board) -> Self {
        let regs = RegisterFile::new(&[regs::TABLE], regs::SIZE);
        // A function of a larger card need not have the first queues.
        let first_queue = if board.nasty { 128 * board.random.below(8) as u16 } else { 0 };
        let firmware = Firmware::new(board.fault);
        if board.nasty && kind == Kind::X710 {
            // As many cards have it as have not.
            board.profile.bars[0] = 16 << 20;
        }
        let mut card = I40e {
            kind,
            filters: Filters::new(),
            regs,
            first_queue,
            nvm: nvm::image(
                kind,
                nvm::Image { damaged: firmware.has(FaultKind::Nvm), old: firmware.has(FaultKind::OldNvm) },
            ),
            firmware,
            address: board.factory,
            link: Link::new(kind, board.link_delay, board.nasty),
            clock: Clock::default(),
            irq: Irq::new(),
            hmc: Hmc::new(),
            switch: Switch::new(board.factory),
            fdir: FlowDirector::new(),
            resetting: None,
            following: Vec::new(),
            stale: true,
            rx: Receive::new(),
            board,
            tx: Transmit::new(),
        };
        if [FaultKind::FrameIgnored, FaultKind::FrameRefused, FaultKind::FrameKept]
            .into_iter()
            .any(|kind| card.firmware.has(kind))
        {
            card.link.shorten();
        }
        card.reset();
        card
    }

    /// PFGEN_CTRL.PFSWR (§4.2.1.3): the function's queues, filters, interrupts,
    /// switch elements and admin queues start over. Firmware and link go on, and
    /// so do the port's statistics.
    fn reset_function(&mut self) {
        self.flush_stats();
        self.regs.reset(Reset::Function);
        let first = u32::from(self.first_queue);
        self.regs.poke(regs::PFLAN_QALLOC.at, 1 << 31 | (first + u32::from(QUEUES) - 1) << 16 | first);
        (self.rx, self.tx) = (Receive::new(), Transmit::new());
        self.board.port.empty_loop();
        self.following.clear();
        self.irq = Irq::new();
        self.hmc = Hmc::new();
        self.address = self.board.factory;
        self.switch = Switch::new(self.board.factory);
        self.fdir = FlowDirector::new();
        self.link.reset_function(self.board.now);
        self.reset_admin();
        if self.board.nasty {
            self.undefined_values();
        }
        self.stale = true;
        self.load();
    }

    /// Registers whose value after a reset the datasheet leaves open.
    fn undefined_values(&mut self) {
        self.regs.poke(regs::PF_MDET_TX.at, 1);
        for n in 0..13 {
            self.regs.poke(regs::PFQF_HKEY.nth(n), self.board.random.number() as u32);
        }
        for q in 0..u32::from(QUEUES) {
            self.regs.poke(regs::QTX_TAIL.nth(q), self.board.random.number() as u32 & 0x1fff);
            self.regs.poke(regs::QRX_TAIL.nth(q), self.board.random.number() as u32 & 0x1fff);
        }
    }

    /// GLGEN_RTRIG: the whole device. Statistics start over.
    fn reset_device(&mut self) {
        let kind = match self.regs.peek(regs::GLGEN_RTRIG.at) {
            0 => return,
            trigger if trigger & 1 != 0 => 1,
            trigger if trigger & 2 != 0 => 2,
            _ => 3,
        };
        self.regs.power_on();
        self.power_on();
        // What kind it was, and how many there were of it.
        self.regs.poke(regs::GLGEN_RSTAT.at, kind << 2 | 1 << (4 + 2 * kind));
        self.cause(GRST);
    }

    fn power_on(&mut self) {
        fdir::default_sets(self.kind, &self.regs);
        if self.kind == Kind::Xxv710 {
            self.regs.poke(regs::PRTMAC_MACC.at, 1 << 17);
        }
        self.clock = Clock::default();
        self.reset_function();
    }

    /// PFGEN_CTRL was written.
    fn reset_written(&mut self) {
        if self.regs.peek(regs::PFGEN_CTRL.at) & 1 == 0 {
            return;
        }
        self.reset_function();
        let takes = match self.board.nasty {
            _ if self.board.faulty(FaultKind::SlowReset) => 400_000_000_000,
            true => self.board.random.below(20_000_000_000),
            false => return,
        };
        self.regs.poke(regs::PFGEN_CTRL.at, 1);
        self.resetting = Some(self.board.now + takes);
    }

    /// Whether a reset of the device by another function is under way (fault).
    fn in_reset(&self, until: Picos) -> bool {
        self.board.faulty(FaultKind::SlowReset) && self.board.now < until
    }

    /// GLGEN_RSTAT: the device is in reset for a second.
    fn reset_status(&self) -> u32 {
        const IN_RESET: u32 = 1;
        self.regs.peek(regs::GLGEN_RSTAT.at) | if self.in_reset(1_000_000_000_000) { IN_RESET } else { 0 }
    }

    /// GLNVM_ULD: core and global parts are loaded some time after that.
    fn loaded(&self) -> u32 {
        const CORE_AND_GLOBAL: u32 = 0b11 << 3;
        self.regs.peek(regs::GLNVM_ULD.at) & if self.in_reset(2_500_000_000_000) { !CORE_AND_GLOBAL } else { !0 }
    }

    /// Reads the registers that frames depend on into the form they are used in.
    fn load(&mut self) {
        self.stale = false;
        self.filters.load(&self.regs);
    }
}

impl Registers for I40e {
    fn registers(&mut self, _: u16) -> (&RegisterFile<Self>, &mut Violations) {
        (&self.regs, &mut self.board.violations)
    }
}

impl Model for I40e {
    fn board(&self) -> &Board {
        &self.board
    }

    fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    fn layout(&self) -> Layout {
        self.kind.layout().of_card(self.board.factory)
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        access::read(self, bar, offset, size)
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        access::write(self, false, bar, offset, size, value);
    }

    fn tick(&mut self) {
        if self.board.link_is_due(self.link.up) {
            self.poll_link();
        }
        if self.firmware.due.is_some() {
            self.serve_commands();
        }
        if self.firmware.fault.is_some() {
            self.flood();
        }
        if !self.following.is_empty() {
            self.follow_up();
        }
        if !self.rx.lingering.is_empty() {
            self.end_lingering(None);
        }
        if self.resetting.is_some_and(|until| self.board.now >= until) {
            self.resetting = None;
            self.regs.poke(regs::PFGEN_CTRL.at, 0);
        }
    }

    fn step(&mut self) -> usize {
        if self.stale {
            self.load();
        }
        if self.irq.stale {
            self.load_causes();
        }
        (self.rx.stamping, self.board.port.looping) = (self.stamps(), self.loops());
        let work = if self.link.up { transmit(self) } else { 0 } + self.receive();
        if work != 0 {
            self.flush_stats();
        }
        if !self.irq.idle() {
            self.deliver(self.board.now);
        }
        work
    }

    fn doorbells(&self) -> Vec<DoorbellPage> {
        self.regs.doorbells(0, &DOORBELL_PAGES)
    }

    fn reset(&mut self) {
        self.resetting = None;
        self.regs.power_on();
        self.power_on();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        access::name(&self.regs, bar, offset)
    }
}
