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
mod config;
mod dump;
mod eeprom;
mod fdir;
mod filter;
mod irq;
mod lies;
mod link;
mod models;
mod module;
mod nvm;
mod offload;
mod pace;
mod phy;
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
use self::phy::Phy;
pub use self::regs::TABLE as REGISTERS;
use self::rx::Receive;
use self::sfp::Sfp;
use self::tx::Transmit;
use super::access;
use super::transmit::transmit;
use super::{Board, DoorbellPage, FaultKind, Layout, Model, Picos, RegisterFile, Registers, Reset, Row, Violations};

/// Queues each way.
const QUEUES: u16 = 128;

/// MSI-X vectors of the function.
const VECTORS: u16 = 64;

/// Pages that hold rings' registers: receive queues 0 to 63 and 64 to 127,
/// transmit queues likewise.
const DOORBELL_PAGES: [u32; 4] = [regs::RDBAL.at, regs::RDBAL.nth(64), regs::TDBAL.at, regs::TDBAL.nth(64)];

/// One emulated function.
pub struct Ixgbe {
    board: Board,
    kind: Kind,
    regs: RegisterFile<Ixgbe>,
    /// A driver has the doorbell pages mapped.
    mapped: bool,
    /// The address in the first of the two I/O ports.
    ported: u64,
    /// Requests of an earlier driver do not end (fault).
    stuck: bool,

    eeprom: Eeprom,
    sfp: Option<Sfp>,
    phy: Option<Phy>,
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

/// The port for an address; the register there is behind the other.
const IOADDR: u64 = 0;

impl Ixgbe {
    /// A card, powered on.
    pub fn new(kind: Kind, mut board: Board) -> Self {
        if board.nasty {
            kind.less_usual(&mut board.profile);
        }
        let mut card = Ixgbe {
            kind,
            regs: RegisterFile::new(&[regs::TABLE, dump::TABLE], regs::SIZE),
            eeprom: Eeprom::new(kind, board.factory, board.faulty(FaultKind::Nvm)),
            sfp: (kind == Kind::I82599 && !board.faulty(FaultKind::NoModule)).then(|| Sfp::of(&board)),
            phy: Phy::new(kind, board.speed, board.faulty(FaultKind::PhyLeft)),
            stuck: board.faulty(FaultKind::RequestsStuck),
            board,
            mapped: false,
            ported: 0,
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
        if card.board.faulty(FaultKind::LocksLeft) {
            card.leave_locks();
        }
        if card.board.faulty(FaultKind::CageUnwired) {
            card.leave_laser_off();
        }
        card
    }

    /// Which of the ports is accessed: that of an address, or of the register there.
    fn ported(&self, bar: u8, offset: u64) -> Option<u64> {
        let (ports, size) = self.board.profile.io;
        (bar == ports && offset < size).then_some(offset)
    }

    /// CTRL.RST: queues, filters, interrupts and statistics start over; the link,
    /// the semaphores and the EEPROM's interface stay (§4.2.1.6).
    fn software_reset(&mut self) {
        self.regs.reset(Reset::Function);
        (self.rx, self.tx) = (Receive::new(), Transmit::new());
        self.board.port.empty_loop();
        self.irq = Irq::new();
        self.fdir = FlowDirector::default();
        self.clock = Clock::new(self.kind);
        self.load_address();
        if self.kind != Kind::I82599 {
            self.regs.poke(regs::RXPBSIZE.at, 0x60000);
        }
        if self.board.nasty {
            self.undefined_values();
        }
        self.stale = true;
        self.load();
        self.link.reset(self.board.now);
    }

    /// CTRL.LNK_RST: the link starts over with its defaults.
    fn link_reset(&mut self) {
        self.regs.reset(Reset::Link);
        self.restart_link();
    }

    /// The factory address comes from the EEPROM (§6.2.3).
    fn load_address(&mut self) {
        let [a, b, c, d, e, f] = self.eeprom.mac();
        self.regs.poke(regs::RAL.at, u32::from_le_bytes([a, b, c, d]));
        self.regs.poke(regs::RAH.at, u32::from_le_bytes([e, f, 0, 0x80]));
    }

    /// Registers whose value after reset the datasheet leaves open.
    fn undefined_values(&mut self) {
        for n in 0..u32::from(QUEUES) {
            for register in [regs::RDBAL, regs::TDBAL, regs::RDBAH, regs::TDBAH] {
                self.regs.poke(register.nth(n), self.board.random.number() as u32);
            }
        }
        for n in 0..128 {
            for filter in [regs::SAQF, regs::DAQF, regs::SDPQF] {
                self.regs.poke(filter.nth(n), self.board.random.number() as u32);
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
        let hlreg0 = self.regs.peek(regs::HLREG0.at);
        // Both lengths count the FCS.
        let jumbo = (self.regs.peek(regs::MAXFRS.at) >> 16) as usize;
        self.rx.longest = if hlreg0 & JUMBOEN != 0 { jumbo.saturating_sub(4) } else { 1514 };
        self.rx.strip_crc = hlreg0 & RXCRCSTRP != 0;
        self.tx.pad = hlreg0 & TXPADEN != 0;
        let dmatxctl = self.regs.peek(regs::DMATXCTL.at);
        self.tx.vlan_type = (dmatxctl >> 16) as u16;
        self.tx.on = dmatxctl & TE != 0;
        let flags = self.regs.peek(regs::DTXTCPFLGL.at);
        self.tx.tcp_flags = [flags as u16, (flags >> 16) as u16, self.regs.peek(regs::DTXTCPFLGH.at) as u16];
        self.rx.stamp_all = self.stamps_all();
        self.rx.on = self.receive_enabled();
        self.load_ivar();
        self.load_loopback();
    }

    /// STATUS: bus mastering is on, and was not told to stop or goes on for the sake of
    /// what is received; port 0.
    fn status(&self) -> u32 {
        const GIO: u32 = 1 << 19;
        let told = self.regs.peek(regs::CTRL.at) & GIO_DIS != 0;
        if self.stuck || self.board.bus.memory.bus_master() && (!told || self.receive_enabled()) { GIO } else { 0 }
    }

    /// GCR_EXT was written: what is stuck in the PCIe block goes, and must not be sent
    /// meanwhile (Linux ixgbe_clear_tx_pending).
    fn flush_requests(&mut self, value: u32) {
        const BUFFERS_CLEAR: u32 = 1 << 30;
        if value & BUFFERS_CLEAR != 0 {
            if self.regs.peek(regs::HLREG0.at) & link::LPBK == 0 {
                self.board.violations.note("buffers of the PCIe block cleared while the MAC may send");
            }
            self.stuck = false;
        }
    }

    /// RDRXCTL: DMA is not ready while requests are stuck.
    fn dma_state(&self) -> u32 {
        const DMAIDONE: u32 = 1 << 3;
        self.regs.peek(regs::RDRXCTL.at) & if self.stuck { !DMAIDONE } else { !0 }
    }

    /// CTRL.RST is about to be written: notes what may still be on its way over PCIe.
    fn check_quiet(&mut self) {
        if !self.board.bus.memory.bus_master() {
            return;
        }
        if self.tx.pending() && self.regs.peek(regs::CTRL.at) & GIO_DIS == 0 {
            self.board.violations.note("reset with packets to send and master access not disabled");
        }
        if self.receive_enabled() {
            self.board.violations.note("reset while packets are received");
        }
    }

    /// Queues that were enabled or disabled by a store to a mapped page.
    fn look_at_pages(&mut self) {
        for q in 0..QUEUES {
            if self.rx_wanted(q) != self.rx.queues[usize::from(q)].enabled {
                self.rx_queue_written(q);
            }
            if self.tx_wanted(q) != self.tx.queues[usize::from(q)].enabled {
                self.tx_queue_written(q);
            }
        }
    }
}

/// Puts the head of queue `q`'s ring where a driver that has the page mapped reads it. The
/// line is the doorbell's too: it is written only when the head has moved.
fn show_head(regs: &RegisterFile<Ixgbe>, register: &Row<Ixgbe>, q: u16, head: u32) {
    let at = register.nth(q.into());
    if regs.peek(at) != head {
        regs.poke(at, head);
    }
}

/// CTRL.GIO_DIS: no new master accesses.
const GIO_DIS: u32 = 1 << 2;

impl Registers for Ixgbe {
    fn registers(&mut self, _: u16) -> (&RegisterFile<Self>, &mut Violations) {
        (&self.regs, &mut self.board.violations)
    }
}

impl Model for Ixgbe {
    fn board(&self) -> &Board {
        &self.board
    }

    fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    fn layout(&self) -> Layout {
        self.kind.layout(&self.board.profile).of_card(self.board.factory)
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        match self.ported(bar, offset) {
            Some(IOADDR) => self.ported,
            Some(_) => access::read(self, 0, self.ported, size),
            None => access::read(self, bar, offset, size),
        }
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        match self.ported(bar, offset) {
            Some(IOADDR) => self.ported = value,
            Some(_) => access::write(self, false, 0, self.ported, size, value),
            None => access::write(self, true, bar, offset, size, value),
        }
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
        self.regs.doorbells(0, &DOORBELL_PAGES)
    }

    fn mapped(&mut self) {
        self.mapped = true;
        self.look_at_pages();
    }

    fn reset(&mut self) {
        self.regs.power_on();
        self.software_reset();
        self.link_reset();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        access::name(&self.regs, bar, offset)
    }
}
