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
use self::regs::Effect;
use self::rx::Receive;
use self::switch::Switch;
use self::tx::Transmit;
use super::access::{self, Words};
use super::card::factory_address;
use super::transmit::transmit;
use super::{Board, DoorbellPage, FaultKind, Model, Picos, RegisterFile, Spec};

/// Queues each way that the function has.
const QUEUES: u16 = 128;

/// MSI-X vectors of the function.
const VECTORS: u16 = 128;

/// Pages that hold nothing but tails of rings: transmit, receive.
const DOORBELL_PAGES: [u32; 2] = [0x108000, 0x128000];

/// PFLAN_QALLOC, PFGEN_CTRL, GLGEN_RTRIG, PRTMAC_MACC.
const QALLOC: u32 = 0x1c0400;
const PFGEN_CTRL: u32 = 0x92400;
const RTRIG: u32 = 0xb8190;
const MACC: u32 = 0x1e24e0;
/// ICR0.GRST: the device was reset as a whole.
const GRST: u32 = 1 << 20;

/// One emulated function.
pub struct I40e {
    board: Board,
    kind: Kind,
    regs: RegisterFile<Effect>,
    /// Absolute number of the function's first queue.
    first_queue: u16,

    firmware: Firmware,
    nvm: Vec<u16>,
    factory: [u8; 6],
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
    pub fn new(kind: Kind, mut board: Board, spec: &Spec) -> Self {
        let regs = RegisterFile::new(regs::TABLE, regs::SIZE);
        let factory = spec.mac.unwrap_or_else(factory_address);
        // A function of a larger card need not have the first queues.
        let first_queue = if spec.nasty { 128 * board.random.below(8) as u16 } else { 0 };
        let firmware = Firmware::new(spec.fault);
        let mut card = I40e {
            kind,
            filters: Filters::new(),
            regs,
            first_queue,
            nvm: nvm::image(firmware.has(FaultKind::Nvm)),
            firmware,
            factory,
            address: factory,
            link: Link::new(kind, board.link_delay),
            board,
            clock: Clock::default(),
            irq: Irq::new(),
            hmc: Hmc::new(),
            switch: Switch::new(factory),
            fdir: FlowDirector::new(),
            resetting: None,
            following: Vec::new(),
            stale: true,
            rx: Receive::new(),
            tx: Transmit::new(),
        };
        card.reset();
        card
    }

    /// PFGEN_CTRL.PFSWR (§4.2.1.3): the function's queues, filters, interrupts,
    /// switch elements and admin queues start over. Firmware and link go on, and
    /// so do the port's statistics.
    fn reset_function(&mut self) {
        self.flush_stats();
        self.regs.reset(|row| !regs::outlives_function(row.name));
        let first = u32::from(self.first_queue);
        self.regs.poke(QALLOC, 1 << 31 | (first + u32::from(QUEUES) - 1) << 16 | first);
        (self.rx, self.tx) = (Receive::new(), Transmit::new());
        self.board.port.empty_loop();
        self.following.clear();
        self.irq = Irq::new();
        self.hmc = Hmc::new();
        self.address = self.factory;
        self.switch = Switch::new(self.factory);
        self.fdir = FlowDirector::new();
        self.link.reset_function();
        self.reset_admin();
        if self.board.nasty {
            self.undefined_values();
        }
        self.stale = true;
        self.load();
    }

    /// Registers whose value after a reset the datasheet leaves open.
    fn undefined_values(&mut self) {
        for n in 0..13 {
            self.regs.poke(0x244800 + 128 * n, self.board.random.number() as u32);
        }
        for q in 0..u32::from(QUEUES) {
            self.regs.poke(DOORBELL_PAGES[0] + 4 * q, self.board.random.number() as u32 & 0x1fff);
            self.regs.poke(DOORBELL_PAGES[1] + 4 * q, self.board.random.number() as u32 & 0x1fff);
        }
    }

    /// GLGEN_RTRIG: the whole device. Statistics start over.
    fn reset_device(&mut self) {
        const RSTAT: u32 = 0xb8188;
        let kind = match self.regs.peek(RTRIG) {
            0 => return,
            trigger if trigger & 1 != 0 => 1,
            trigger if trigger & 2 != 0 => 2,
            _ => 3,
        };
        self.regs.reset(|_| true);
        self.power_on();
        // What kind it was, and how many there were of it.
        self.regs.poke(RSTAT, kind << 2 | 1 << (4 + 2 * kind));
        self.cause(GRST);
    }

    fn power_on(&mut self) {
        fdir::default_sets(&self.regs);
        if self.kind == Kind::Xxv710 {
            self.regs.poke(MACC, 1 << 17);
        }
        self.clock = Clock::default();
        self.reset_function();
    }

    /// PFGEN_CTRL was written.
    fn control_written_function(&mut self) {
        if self.regs.peek(PFGEN_CTRL) & 1 == 0 {
            return;
        }
        self.reset_function();
        if self.board.nasty {
            self.regs.poke(PFGEN_CTRL, 1);
            self.resetting = Some(self.board.now + self.board.random.below(20_000_000_000));
        }
    }

    /// Reads the registers that frames depend on into the form they are used in.
    fn load(&mut self) {
        self.stale = false;
        self.filters.load(&self.regs);
    }
}

impl Words for I40e {
    const SIZE: u32 = regs::SIZE;
    const WIDE_WRITES: bool = false;

    fn read_register(&mut self, offset: u32) -> u32 {
        let Some(hit) = self.regs.find(offset, &mut self.board.violations) else { return self.regs.read(offset) };
        match hit.effect {
            Effect::Timer => (self.board.now / 1_000_000) as u32,
            Effect::Icr0 => self.read_icr0(),
            Effect::TxHead => self.tx_head(hit.number),
            Effect::FdCount => self.filter_counts(offset),
            Effect::LinkSta => self.read_link_register(),
            Effect::Clock => self.read_clock(offset),
            Effect::RxStamp => {
                self.free_stamp(hit.number);
                self.regs.read(offset)
            }
            _ => self.regs.read(offset),
        }
    }

    fn write_register(&mut self, offset: u32, value: u32) {
        let hit = self.regs.find(offset, &mut self.board.violations);
        match hit.map(|hit| (hit.effect, hit.number)) {
            Some((Effect::TxPreQdis, block)) => return self.announced(block, value),
            Some((Effect::FdCount, _)) => return self.regs.poke(offset, 0),
            _ => {}
        }
        self.regs.write(offset, value, &mut self.board.violations);
        let Some(hit) = hit else { return };
        match hit.effect {
            Effect::Config => self.stale = true,
            Effect::Causes => self.irq.stale = true,
            Effect::Admin => self.admin_written(offset),
            Effect::PfReset => self.control_written_function(),
            Effect::GlobalReset => self.reset_device(),
            Effect::SrCtl => self.shadow_ram(),
            Effect::SdCmd => self.segment_command(),
            Effect::ContextCtl => self.context_command(),
            Effect::TxEna => self.tx_enable_written(hit.number),
            Effect::RxEna => self.rx_enable_written(hit.number),
            Effect::Icr0Ena => self.causes_enabled(),
            Effect::DynCtl0 => self.control_written(0, value),
            Effect::DynCtlN => self.control_written(hit.number + 1, value),
            Effect::ClearFd => self.clear_filters(),
            Effect::Clock => self.write_clock(offset, value),
            _ => {}
        }
    }
}

impl Model for I40e {
    fn board(&self) -> &Board {
        &self.board
    }

    fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        access::read(self, bar, offset, size)
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        access::write(self, bar, offset, size, value);
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
        if self.resetting.is_some_and(|until| self.board.now >= until) {
            self.resetting = None;
            self.regs.poke(PFGEN_CTRL, 0);
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
        let page = |&at: &u32| DoorbellPage { bar: 0, offset: u64::from(at), words: self.regs.page(at).clone() };
        DOORBELL_PAGES.iter().map(page).collect()
    }

    fn reset(&mut self) {
        self.resetting = None;
        self.regs.reset(|_| true);
        self.power_on();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        let offset = u32::try_from(offset).ok().filter(|_| bar == 0)?;
        self.regs.name(offset)
    }
}
