//! Link, PHY and module (82599 §3.7, §8.2.3.22).
//!
//! ```text
//!   reset, AN_RESTART --delay--> up (if the wire has light, the laser is on)
//!                                |  LINKS.UP, latched low: a loss shows once
//!                                v
//!                              LSC interrupt on each change
//! ```

use super::irq::LSC;
use super::module::Module;
use super::regs::{AUTOC, AUTOC2, CTRL, ESDP, HLREG0, I2CCTL, I2CCTL_X550, MACC, MSCA, MSRWD};
use super::sfp::{Lines, Sfp};
use super::{FaultKind, Ixgbe, Kind, Picos};

/// AUTOC: force link up, restart auto-negotiation.
const FLU: u32 = 1;
const AN_RESTART: u32 = 1 << 12;
/// AUTOC2: link disable (three bits, one for each kind of link).
const LINK_DISABLE: u32 = 0x7000_0000;
/// HLREG0: transmit to ourselves.
pub const LPBK: u32 = 1 << 15;
/// ESDP: module present, transmit laser off, the module's higher rate.
const SDP2: u32 = 1 << 2;
const SDP3: u32 = 1 << 3;
const SDP5: u32 = 1 << 5;
/// MSCA: command bit, cleared when done; opcodes.
const MDI_CMD: u32 = 1 << 30;

/// How long the link takes after a reset, unless the specification says.
pub const DELAY: Picos = 2_000_000_000;

/// When a driver has had its link for so long, something happens to it, if something is to.
const SOON: Picos = 20_000_000_000;
/// How long after a reset a start may lead nowhere.
const STUCK: Picos = 2_000_000_000_000;

/// State of the link.
#[derive(Debug, Default)]
pub struct Link {
    /// When it is up, if it is on its way.
    ready: Option<Picos>,
    up: bool,
    /// A loss that LINKS has not shown yet.
    lost: bool,
    /// When the function was last reset.
    reset: Picos,
    /// It was started, and that led nowhere.
    stuck: bool,
    /// Since when it is up and a driver receives.
    since: Picos,
    /// What was to happen to it happened.
    happened: bool,
    /// Address that the last MDIO address cycle set.
    mdio: u16,
}

impl Link {
    /// The function was reset.
    pub(super) fn reset(&mut self, now: Picos) {
        self.reset = now;
    }
}

impl Ixgbe {
    /// The link starts over: down now, up after the delay.
    pub(super) fn restart_link(&mut self) {
        self.link.stuck = self.board.faulty(FaultKind::LinkStuck) && self.board.now < self.link.reset + STUCK;
        self.link.ready = Some(self.board.link_ready());
        self.set_link(false);
    }

    /// Whether frames can pass.
    #[inline]
    pub(super) fn link_up(&self) -> bool {
        self.link.up
    }

    /// Time passed, or the wire changed.
    pub(super) fn poll_link(&mut self) {
        if !self.link.up || !self.receive_enabled() {
            self.link.since = self.board.now;
        } else if !self.link.happened && self.board.now >= self.link.since + SOON {
            self.strike();
        }
        let forced = self.board.port.looping && self.link_forced();
        let light = self.board.port.mac.carrier()
            && self.laser_on()
            && self.speed().is_some()
            && !self.link.stuck
            && self.regs.peek(AUTOC2.at) & LINK_DISABLE == 0;
        let up = forced || light && self.link.ready.is_none_or(|ready| self.board.now >= ready);
        if self.link.up != up {
            if !light && !forced {
                // When light comes back the link is negotiated again.
                self.link.ready = None;
            }
            self.set_link(up);
        }
    }

    /// The link has been up for a while: what is to happen then, happens.
    fn strike(&mut self) {
        self.link.happened = true;
        if self.board.faulty(FaultKind::ModuleSwap) {
            self.sfp = Some(Sfp::new(Module::Gigabit));
        }
        if self.board.faulty(FaultKind::ResetBehind) {
            self.software_reset();
        }
    }

    fn link_forced(&self) -> bool {
        match self.kind {
            Kind::I82599 => self.regs.peek(AUTOC.at) & FLU != 0,
            Kind::X540 | Kind::X550 => self.regs.peek(MACC.at) & FLU != 0,
        }
    }

    /// The driver before switched the laser off.
    pub(super) fn leave_laser_off(&mut self) {
        self.regs.poke(ESDP.at, SDP3 | SDP3 << 8);
    }

    fn laser_on(&self) -> bool {
        self.kind != Kind::I82599 || self.regs.peek(ESDP.at) & (SDP3 | SDP3 << 8) != SDP3 | SDP3 << 8
    }

    /// Megabits a second of a link, if there can be one.
    fn speed(&self) -> Option<u32> {
        match (&self.phy, &self.sfp) {
            (Some(phy), _) => phy.speed(),
            (None, Some(sfp)) => {
                let mode = self.regs.peek(AUTOC.at) >> 13 & 7;
                sfp.module().speed(mode, self.regs.peek(ESDP.at) & SDP5 != 0)
            }
            // Nothing is in the cage.
            (None, None) => None,
        }
    }

    fn set_link(&mut self, up: bool) {
        if self.link.up != up {
            self.link.up = up;
            self.link.lost |= !up;
            self.cause(LSC);
        }
    }

    /// LINKS: a loss shows on the next read, even if the link is back.
    pub(super) fn read_links(&mut self) -> u32 {
        const UP: u32 = 1 << 30;
        const NOT_STANDARD: u32 = 1 << 27;
        const ALIGNED: u32 = 1 << 17 | 0xf << 8;
        let lost = std::mem::take(&mut self.link.lost);
        let speed = match self.speed() {
            _ if self.link_forced() => 3 << 28,
            Some(100) => 1 << 28,
            Some(1_000) => 2 << 28,
            Some(2_500) => 3 << 28 | NOT_STANDARD,
            Some(5_000) => 1 << 28 | NOT_STANDARD,
            _ => 3 << 28,
        };
        if self.link.up && !lost { UP | speed | ALIGNED } else { 0 }
    }

    /// AUTOC was written.
    pub(super) fn autoc_written(&mut self) {
        let value = self.regs.peek(AUTOC.at);
        if value & AN_RESTART != 0 {
            self.regs.poke(AUTOC.at, value & !AN_RESTART);
            self.restart_link();
        }
        self.poll_link();
    }

    /// ESDP as it reads: outputs as written, inputs as the board drives them.
    pub(super) fn read_esdp(&self) -> u32 {
        let value = self.regs.peek(ESDP.at);
        let outputs = value >> 8 & 0xff;
        // Whether a module sits in the cage; the other inputs are low.
        let shown = self.sfp.is_some() && !self.board.faulty(FaultKind::CageUnwired);
        let inputs = if shown { SDP2 } else { 0 };
        value & !0xff | value & outputs | inputs & !outputs
    }

    /// I2CCTL: both lines, as driven and as they are.
    pub(super) fn write_i2c(&mut self, value: u32) {
        self.regs.poke(I2CCTL.at, value);
        if let Some(sfp) = &mut self.sfp {
            sfp.drive(Lines { clock: value & 2 != 0, data: value & 8 != 0 });
        }
    }

    pub(super) fn read_i2c(&self) -> u32 {
        let value = self.regs.peek(I2CCTL.at);
        let data = self.sfp.as_ref().is_none_or(|sfp| sfp.data());
        let clock = value >> 1 & 1;
        value & !5 | clock | u32::from(data && value & 8 != 0) << 2
    }

    /// X550: clock in 14, clock out 9, data in 12, data out 10; nobody on the bus.
    pub(super) fn read_i2c_x550(&self) -> u32 {
        let value = self.regs.peek(I2CCTL_X550.at);
        value & !0x5000 | (value & 0x200) << 5 | (value & 0x400) << 2
    }

    /// MDIO, clause 45 (§3.7.2.2): address cycle, then read or write.
    pub(super) fn write_msca(&mut self, value: u32) {
        self.regs.poke(MSCA.at, value & !MDI_CMD);
        if value & MDI_CMD == 0 {
            return;
        }
        let (device, phy) = (value >> 16 & 31, value >> 21 & 31);
        match value >> 26 & 3 {
            0 => self.link.mdio = value as u16,
            1 => {
                let data = self.regs.peek(MSRWD.at) as u16;
                self.phy_write(phy, device, self.link.mdio, data);
            }
            2 | 3 => {
                let data = self.phy_read(phy, device, self.link.mdio);
                self.regs.poke(MSRWD.at, self.regs.peek(MSRWD.at) & 0xffff | u32::from(data) << 16);
            }
            _ => {}
        }
    }

    /// Nobody answers at another address, and nobody at all on an 82599 with its cage.
    fn phy_read(&self, phy: u32, device: u32, register: u16) -> u16 {
        let there = self.phy.as_ref().filter(|_| phy == 0);
        there.map_or(0xffff, |phy| phy.read(device as u8, register, self.link.up))
    }

    fn phy_write(&mut self, phy: u32, device: u32, register: u16, data: u16) {
        let there = self.phy.as_mut().filter(|_| phy == 0);
        if there.is_some_and(|phy| phy.write(device as u8, register, data)) {
            self.restart_link();
        }
    }

    /// CTRL.RST and LNK_RST were written (§4.2.1).
    pub(super) fn control_written(&mut self) {
        const RST: u32 = 1 << 26;
        const LNK_RST: u32 = 1 << 3;
        let value = self.regs.peek(CTRL.at);
        if value & RST != 0 {
            self.check_quiet();
            self.software_reset();
        }
        if value & LNK_RST != 0 {
            self.link_reset();
        }
        self.regs.poke(CTRL.at, value & !(RST | LNK_RST));
    }

    /// HLREG0.LPBK decides where frames go.
    pub(super) fn load_loopback(&mut self) {
        self.board.port.looping = self.regs.peek(HLREG0.at) & LPBK != 0;
        self.poll_link();
    }
}
