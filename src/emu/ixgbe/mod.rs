//! The emulated Intel 82599, X540 and X550 (82599 datasheet 331520; the register
//! table is in `regs`).
//!
//! ```text
//!            registers                    doorbell pages (RDT, TDT)
//!                |                                |
//!   +------------v--------------------------------v-------------------------+
//!   | link  EEPROM  module  PHY    tx: fetch -> offload ----+     interrupts |
//!   | semaphores  firmware                                  v         ^      |
//!   | clock  statistics         rx: <- route <- filter <-- MAC        |      |
//!   +---------------|-----------------|---------------------|---------|------+
//!                   v                 v                     v         v
//!                registers     descriptors, buffers        wire     eventfds
//! ```
//!
//! What drivers of others rely on is what is modelled, each handshake of it:
//! Linux polls the EEPROM's done bit, reads the module's identification over
//! I2C by hand, wants the pipeline reset's ANLP1 state and reads causes through
//! EICS; DPDK counts packets by the statistics registers; iPXE uses legacy
//! descriptors and polls EICR.
//!
//! The three cards differ in their port (a cage with a module; copper with a
//! PHY behind MDIO), in how the EEPROM is read (X550: by firmware commands), in
//! the size of the redirection table and in the clock.

mod clock;
mod eeprom;
mod fdir;
mod filter;
mod irq;
mod link;
mod models;
mod nvm;
mod offload;
mod regs;
mod rx;
mod sfp;
mod stats;
#[cfg(test)]
mod tests;
mod tx;

use self::clock::Clock;
use self::eeprom::Eeprom;
use self::fdir::FlowDirector;
use self::filter::Filters;
use self::irq::Irq;
use self::link::Link;
pub use self::models::{Kind, MODELS};
use self::regs::Effect;
use self::rx::Receive;
use self::sfp::Sfp;
use self::tx::Transmit;
use super::access::{self, Words};
use super::card::factory_address;
use super::transmit::transmit;
use super::{Board, DoorbellPage, Model, Picos, RegisterFile, Spec};
use std::collections::BTreeMap;

/// Queues each way.
const QUEUES: u16 = 128;

/// MSI-X vectors of the function.
const VECTORS: u16 = 64;

/// Pages that hold rings' registers: receive queues 0 to 63 and 64 to 127,
/// transmit queues likewise.
const DOORBELL_PAGES: [u32; 4] = [0x01000, 0x0d000, 0x06000, 0x07000];

/// One emulated function.
pub struct Ixgbe {
    board: Board,
    kind: Kind,
    regs: RegisterFile<Effect>,
    /// A driver has the doorbell pages mapped.
    mapped: bool,

    eeprom: Eeprom,
    sfp: Option<Sfp>,
    /// What was written to the PHY, by device and register.
    phy: BTreeMap<(u8, u16), u16>,
    link: Link,
    clock: Clock,
    irq: Irq,

    /// What registers were read into, here and in the two parts below, is out of date.
    stale: bool,
    filters: Filters,
    fdir: FlowDirector,

    rx: Receive,
    tx: Transmit,
}

impl Ixgbe {
    /// A card, powered on.
    pub fn new(kind: Kind, board: Board, spec: &Spec) -> Self {
        let mut card = Ixgbe {
            board,
            kind,
            regs: RegisterFile::new(regs::TABLE, regs::SIZE),
            eeprom: Eeprom::new(kind, spec.mac.unwrap_or_else(factory_address)),
            mapped: false,
            sfp: (kind == Kind::I82599).then(Sfp::new),
            phy: BTreeMap::new(),
            link: Link::default(),
            clock: Clock::new(kind),
            irq: Irq::new(),
            stale: true,
            filters: Filters::default(),
            fdir: FlowDirector::default(),
            rx: Receive::new(),
            tx: Transmit::new(),
        };
        card.reset();
        card
    }

    /// CTRL.RST: queues, filters, interrupts and statistics start over; the link,
    /// the semaphores and the EEPROM's interface stay (§4.2.1.6).
    fn software_reset(&mut self) {
        if self.tx.pending() && self.board.bus.memory.bus_master() && self.regs.peek(0) & GIO_DIS == 0 {
            self.board.violations.note("reset with packets to send and master access not disabled");
        }
        self.regs.reset(|row| !stays(row.effect, row.name));
        (self.rx, self.tx) = (Receive::new(), Transmit::new());
        self.board.port.empty_loop();
        self.irq = Irq::new();
        self.fdir = FlowDirector::default();
        self.clock = Clock::new(self.kind);
        self.load_address();
        if self.kind != Kind::I82599 {
            self.regs.poke(0x03c00, 0x60000);
        }
        if self.board.nasty {
            self.undefined_values();
        }
        self.stale = true;
        self.load();
    }

    /// CTRL.LNK_RST: the link starts over with its defaults.
    fn link_reset(&mut self) {
        self.regs.reset(|row| stays_link(row.effect));
        self.restart_link();
    }

    /// The factory address comes from the EEPROM (§6.2.3).
    fn load_address(&mut self) {
        let [a, b, c, d, e, f] = self.eeprom.mac();
        self.regs.poke(0x0a200, u32::from_le_bytes([a, b, c, d]));
        self.regs.poke(0x0a204, u32::from_le_bytes([e, f, 0, 0x80]));
    }

    /// Registers whose value after reset the datasheet leaves open.
    fn undefined_values(&mut self) {
        for q in 0..QUEUES {
            for register in [0x00, 0x04] {
                self.regs.poke(rx::registers(q) + register, self.board.random.number() as u32);
                self.regs.poke(tx::registers(q) + register, self.board.random.number() as u32);
            }
        }
        for n in 0..128 {
            for filter in [0x0e000, 0x0e200, 0x0e400] {
                self.regs.poke(filter + 4 * n, self.board.random.number() as u32);
            }
        }
    }

    /// Reads the registers that frames depend on into the form they are used in.
    fn load(&mut self) {
        const JUMBOEN: u32 = 1 << 2;
        const TXPADEN: u32 = 1 << 10;
        const RXCRCSTRP: u32 = 1 << 1;
        const TE: u32 = 1;
        self.stale = false;
        let old = std::mem::take(&mut self.filters);
        self.filters = Filters::load(&self.regs, self.kind, Some(old));
        let hlreg0 = self.regs.peek(0x04240);
        // Both lengths count the FCS.
        let jumbo = (self.regs.peek(0x04268) >> 16) as usize;
        self.rx.longest = if hlreg0 & JUMBOEN != 0 { jumbo.saturating_sub(4) } else { 1514 };
        self.rx.strip_crc = hlreg0 & RXCRCSTRP != 0;
        self.tx.pad = hlreg0 & TXPADEN != 0;
        let dmatxctl = self.regs.peek(0x04a80);
        self.tx.vlan_type = (dmatxctl >> 16) as u16;
        self.tx.on = dmatxctl & TE != 0;
        let flags = self.regs.peek(0x04a88);
        self.tx.tcp_flags = [flags as u16, (flags >> 16) as u16, self.regs.peek(0x04a8c) as u16];
        self.rx.stamp_all = self.stamps_all();
        self.rx.on = self.receive_enabled();
        self.load_ivar();
        self.load_loopback();
    }

    /// STATUS: bus mastering is on and was not told to stop; port 0.
    fn status(&self) -> u32 {
        const GIO: u32 = 1 << 19;
        let master = self.board.bus.memory.bus_master() && self.regs.peek(0) & GIO_DIS == 0;
        if master { GIO } else { 0 }
    }

    /// Queues that were enabled or disabled by a store to a mapped page.
    fn look_at_pages(&mut self) {
        for q in 0..QUEUES {
            let enabled = |at: u32| self.regs.peek(at + 0x28) & rx::ENABLE != 0;
            if enabled(rx::registers(q)) != self.rx.queues[usize::from(q)].enabled {
                self.rx_queue_written(q, rx::registers(q) + 0x28);
            }
            let enabled = |at: u32| self.regs.peek(at + 0x28) & rx::ENABLE != 0;
            if enabled(tx::registers(q)) != self.tx.queues[usize::from(q)].enabled {
                self.tx_queue_written(q, tx::registers(q) + 0x28);
            }
        }
    }
}

/// CTRL.GIO_DIS: no new master accesses.
const GIO_DIS: u32 = 1 << 2;

/// What CTRL.RST does not touch.
fn stays(effect: Effect, name: &str) -> bool {
    stays_link(effect)
        || matches!(effect, Effect::Eec | Effect::Swsm | Effect::Esdp | Effect::I2c | Effect::Hicr)
        || matches!(name, "GSSR" | "FWSM" | "FACTPS" | "FLA" | "ANLP1" | "MMNGC" | "WUS" | "EEMNGCTL")
}

/// What only CTRL.LNK_RST touches.
fn stays_link(effect: Effect) -> bool {
    matches!(effect, Effect::Autoc | Effect::Links)
}

impl Words for Ixgbe {
    const SIZE: u32 = regs::SIZE;
    const WIDE_WRITES: bool = true;

    fn read_register(&mut self, offset: u32) -> u32 {
        let Some(hit) = self.regs.find(offset, &mut self.board.violations) else { return self.regs.read(offset) };
        match hit.effect {
            Effect::Status => self.status(),
            Effect::Timer => (self.board.now / 1_000_000) as u32,
            Effect::Esdp => self.read_esdp(),
            Effect::I2c => self.read_i2c(offset),
            Effect::Links => self.read_links(),
            Effect::Eicr => self.read_eicr(),
            Effect::Eics => self.read_eics(),
            Effect::Eims => self.read_eims(),
            Effect::EimsEx => self.read_eims_ex(hit.number),
            Effect::Eimc | Effect::EimcEx | Effect::EicsEx => 0,
            Effect::Eec => self.read_eec(),
            Effect::Swsm => self.read_swsm(),
            Effect::Hicr => self.read_hicr(),
            Effect::SecStat => 1,
            Effect::Counter => {
                if self.mapped {
                    self.show_queue_counters(offset);
                }
                self.regs.read(offset)
            }
            Effect::Clock => self.read_clock(offset),
            Effect::RxStamp | Effect::TxStamp => {
                self.unlock_stamp(hit.effect == Effect::RxStamp);
                self.regs.read(offset)
            }
            Effect::RxQueue if self.regs.stored(offset) == rx::registers(hit.number) + 0x10 => {
                let queue = &self.rx.queues[usize::from(hit.number)];
                if queue.enabled { queue.head } else { self.regs.read(offset) }
            }
            Effect::TxQueue if offset == tx::registers(hit.number) + 0x10 => {
                let queue = &self.tx.queues[usize::from(hit.number)];
                if queue.enabled { queue.ring.head } else { self.regs.read(offset) }
            }
            _ => self.regs.read(offset),
        }
    }

    fn write_register(&mut self, offset: u32, value: u32) {
        let hit = self.regs.find(offset, &mut self.board.violations);
        match hit.map(|hit| (hit.effect, hit.number)) {
            Some((Effect::Eicr, _)) => return self.clear_causes(value),
            Some((Effect::Eics, _)) => return self.write_eics(value),
            Some((Effect::Eims, _)) => return self.write_eims(value),
            Some((Effect::Eimc, _)) => return self.write_eimc(value),
            Some((Effect::EicsEx, half)) => return self.write_eics_ex(half, value),
            Some((Effect::EimsEx, half)) => return self.write_eims_ex(half, value),
            Some((Effect::EimcEx, half)) => return self.write_eimc_ex(half, value),
            Some((Effect::Msca, _)) => return self.write_msca(value),
            Some((Effect::I2c, _)) => return self.write_i2c(offset, value),
            _ => {}
        }
        self.regs.write(offset, value, &mut self.board.violations);
        let Some(hit) = hit else { return };
        match hit.effect {
            Effect::Config => {
                self.stale = true;
                if (0x900..0xa04).contains(&offset) {
                    self.check_ivar(offset);
                    self.load_ivar();
                }
            }
            Effect::RxQueue => self.rx_queue_written(hit.number, self.regs.stored(offset)),
            Effect::TxQueue => self.tx_queue_written(hit.number, offset),
            Effect::Ctrl => self.control_written(),
            Effect::Autoc | Effect::Esdp => self.link_written(offset),
            Effect::Eerd | Effect::Eewr => self.eeprom_written(offset),
            Effect::Hicr => self.host_command(),
            Effect::FdirCtrl => self.fdir_control(),
            Effect::FdirCmd => self.fdir_command(),
            Effect::Clock => self.write_clock(offset, value),
            _ => {}
        }
    }
}

impl Model for Ixgbe {
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
        if self.board.link_is_due(self.link_up()) {
            self.poll_link();
        }
    }

    fn step(&mut self) -> usize {
        if self.stale {
            self.load();
        }
        let work = if self.tx.on && self.link_up() { transmit(self) } else { 0 } + self.receive();
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

    fn mapped(&mut self) {
        self.mapped = true;
        self.look_at_pages();
    }

    fn reset(&mut self) {
        self.regs.reset(|_| true);
        self.software_reset();
        self.link_reset();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        let offset = u32::try_from(offset).ok().filter(|_| bar == 0)?;
        self.regs.name(offset)
    }
}
