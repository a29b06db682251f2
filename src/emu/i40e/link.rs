//! Link, PHY and module, which firmware keeps (X710 §3.2, §7.10.12).
//!
//! ```text
//!   power-on, restart --delay--> up, if the wire has light and the PHY may
//!                                 |
//!   0607 with events on --> armed |  each change: one event, then disarmed
//! ```

use super::adminq::{Command, ECODE_EAGAIN, ECODE_EINVAL, ECODE_EIO, ECODE_ESRCH, Reply};
use super::regs::{PRTGL_SAH, PRTMAC_LINKSTA};
use super::{I40e, Kind};
use crate::emu::module::Module;
use crate::emu::{FaultKind, Picos};

/// Event and command: link status.
const LINK_STATUS: u16 = 0x0607;

/// Set-up of the PHY: pause frames that are asked for, link wanted, restart.
const PAUSE: u8 = 3;
const ENABLE_LINK: u8 = 8;
const ENABLE_AN: u8 = 0x10;
const ATOMIC: u8 = 0x20;

/// How long the link takes, unless the specification says.
pub const DELAY: Picos = 2_000_000_000;

/// How long firmware reads a module before it says that it fits (fault).
const READING: Picos = 300_000_000_000;

/// Longest frame with FCS that the MAC may be set to.
const MFS_MAX: u16 = 9728;

/// What an earlier driver has set it to (fault).
const MFS_LEFT: u16 = 1518;

/// State of the link.
pub struct Link {
    /// When it is up, if it is on its way.
    ready: Option<Picos>,
    /// When its module was last plugged in, or looked at anew.
    plugged: Picos,
    /// Frames can pass.
    pub up: bool,
    /// A change is worth an event.
    armed: bool,
    /// The driver wants it, with these abilities.
    abilities: u8,
    speeds: u8,
    types: u32,
    /// Longest frame, with FCS.
    pub longest: u16,
    /// Loopback that was asked for.
    pub loopback: u8,
}

/// The port of a kind: PHY type, the bit of its speed, the module's identifier.
struct Port {
    phy: u8,
    speed: u8,
    module: u8,
}

impl Kind {
    fn port(self) -> Port {
        match self {
            Kind::X710 | Kind::X722 => Port { phy: 0x14, speed: 0x08, module: 0x03 },
            Kind::Xl710 => Port { phy: 0x19, speed: 0x10, module: 0x0d },
            Kind::Xxv710 => Port { phy: 0x21, speed: 0x40, module: 0x03 },
        }
    }
}

impl Link {
    /// On its way up after `delay`; `pauses`: its NVM asks for pause frames.
    pub fn new(kind: Kind, delay: Picos, pauses: bool) -> Self {
        let Port { phy, speed, .. } = kind.port();
        let types = 1u32.checked_shl(u32::from(phy)).unwrap_or(0);
        Link {
            ready: Some(delay),
            plugged: 0,
            up: false,
            armed: false,
            abilities: ENABLE_LINK | ENABLE_AN | if pauses { PAUSE } else { 0 },
            speeds: speed,
            types,
            longest: MFS_MAX,
            loopback: 0,
        }
    }

    /// The port's longest frame is that of a driver before (fault).
    pub fn shorten(&mut self) {
        self.longest = MFS_LEFT;
    }

    /// What a reset of the function, `now`, takes from it: not the link itself, nor the
    /// longest frame, which is the port's.
    pub fn reset_function(&mut self, now: Picos) {
        self.plugged = now;
        (self.armed, self.loopback) = (false, 0);
    }
}

impl I40e {
    /// Commands 0600 to 06ff.
    pub(super) fn link_command(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        match command.opcode {
            0x0600 => return self.abilities(command, reply),
            0x0601 => self.configure_phy(command),
            0x0603 => {
                let longest = command.u16(0);
                if !(64..=MFS_MAX).contains(&longest) {
                    self.board.violations.note("maximum frame size that the MAC does not have");
                    return Err(ECODE_EINVAL);
                }
                match self.link.up {
                    _ if self.firmware.has(FaultKind::FrameKept) => {}
                    false if self.firmware.has(FaultKind::FrameRefused) => return Err(ECODE_EAGAIN),
                    false if self.firmware.has(FaultKind::FrameIgnored) => {}
                    _ => self.link.longest = longest,
                }
            }
            // Restart with the link enabled, or disable it.
            0x0605 => {
                let enable = command.params[0] & 4 != 0;
                self.link.abilities = self.link.abilities & !ENABLE_LINK | if enable { ENABLE_LINK } else { 0 };
                self.restart_link();
            }
            LINK_STATUS => {
                const REPORT: u16 = 2;
                let flags = command.u16(0);
                if flags & REPORT != 0 {
                    self.link.armed = flags & 1 == 1;
                }
                reply.params = self.link_status();
            }
            // Event mask.
            0x0613 => {}
            0x0618 => {
                self.link.loopback = command.u16(0) as u8;
                self.poll_link();
            }
            // Debug set-up of the PHY.
            0x0622 => {}
            0x0629 => return self.read_phy(command, reply),
            opcode => {
                self.board.violations.note(format!("unknown admin command {opcode:#06x}"));
                return Err(ECODE_ESRCH);
            }
        }
        Ok(())
    }

    /// Whether there is nothing in the cage.
    fn is_bare(&self) -> bool {
        self.firmware.has(FaultKind::NoModule)
    }

    /// Whether firmware takes the module in the cage: it may have to read it first.
    fn fits(&self) -> bool {
        let reads = self.firmware.has(FaultKind::MediaLate) && self.board.now < self.link.plugged + READING;
        !self.firmware.has(FaultKind::Media) && !reads && !self.is_bare()
    }

    /// What the PHY can, or is set to: 24 bytes and room for 16 modules.
    fn abilities(&self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        const BYTES: usize = 24 + 16 * 32;
        if self.firmware.has(FaultKind::PhyBusy) && self.board.now < 300_000_000_000 {
            return Err(ECODE_EAGAIN);
        }
        if self.firmware.has(FaultKind::PhyUnknown) {
            return Err(ECODE_EIO);
        }
        let port = self.kind.port();
        let initial = command.params[0] & 2 != 0;
        let fresh = Link::new(self.kind, 0, self.board.nasty);
        let link = if initial { &fresh } else { &self.link };
        if command.room < 24 {
            return Err(ECODE_EINVAL);
        }
        let mut data = vec![0; BYTES.min(command.room)];
        data[..4].copy_from_slice(&link.types.to_le_bytes());
        (data[4], data[5]) = (link.speeds, link.abilities & 0x1f);
        if self.kind == Kind::Xxv710 {
            // 25G-SR.
            data[13] = 4;
        }
        data[16..20].copy_from_slice(&0x0154_0370_u32.to_le_bytes());
        // Identifier; 10GBASE-SR.
        if !self.is_bare() {
            (data[20], data[21]) = (port.module, 0x10);
        }
        reply.data = Some(data);
        Ok(())
    }

    /// A register of the PHY, or a byte of the module behind it: of a QSFP+, the
    /// device is a page.
    fn read_phy(&self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        const MODULE: u8 = 2;
        let [interface, device, ..] = command.params;
        let wide = self.kind == Kind::Xl710;
        let module = Module::of(&self.board, *b"Intel Corp      ", [0x00, 0x1b, 0x21], wide);
        let (slave, page) = if module.wide { (0xa0, device) } else { (device, 0) };
        let byte = module.byte(slave, page.into(), command.u32(4) as usize).filter(|_| interface == MODULE);
        reply.set32(8, byte.filter(|_| !self.is_bare()).ok_or(ECODE_EIO)?.into());
        Ok(())
    }

    fn configure_phy(&mut self, command: &Command) {
        let abilities = command.params[5];
        self.link.types = command.u32(0);
        self.link.speeds = command.params[4];
        self.link.abilities = abilities & !ATOMIC;
        if abilities & ATOMIC != 0 {
            self.restart_link();
        }
        self.poll_link();
    }

    /// The 16 bytes of parameters of 0607, as answer and as event.
    fn link_status(&self) -> [u8; 16] {
        const UP: u8 = 0x21;
        const MEDIA: u8 = 0x40;
        const SIGNAL: u8 = 0x80;
        const NEGOTIATED: u8 = 3;
        const QUALIFIED: u8 = 0x80;
        /// The type of a PHY that there is not.
        const EMPTY: u8 = 0x0e;
        let port = self.kind.port();
        let (up, fits) = (self.link.up, self.fits());
        let light = if self.board.port.mac.carrier() { SIGNAL } else { 0 };
        let pause = if up { (self.link.abilities & PAUSE) << 5 } else { 0 };
        let longest = self.link.longest.to_le_bytes();
        let mut status = [0; 16];
        status[0] = u8::from(self.link.armed);
        status[2] = if self.is_bare() { EMPTY } else { port.phy };
        status[3] = if up { port.speed } else { 0 };
        let media = if self.is_bare() { 0 } else { MEDIA | light };
        status[4] = media | if up { UP } else { 0 };
        status[5] = pause | if up { NEGOTIATED } else { 0 } | if fits { QUALIFIED } else { 0 };
        status[7] = self.link.loopback;
        (status[8], status[9], status[10]) = (longest[0], longest[1], 4);
        status
    }

    /// PRTGL_SAH: the longest frame, above half of an address.
    pub(super) fn read_longest(&self) -> u32 {
        self.regs.peek(PRTGL_SAH.at) & 0xffff | u32::from(self.link.longest) << 16
    }

    /// PRTMAC_LINKSTA: both bits of a link that is up, and its speed.
    pub(super) fn read_link_register(&self) -> u32 {
        const UP: u32 = 0x4000_0080;
        let speed = match self.kind {
            Kind::X710 => 2,
            Kind::Xl710 | Kind::Xxv710 => 3,
            Kind::X722 => 4,
        };
        self.regs.peek(PRTMAC_LINKSTA.at) | if self.link.up { UP | speed << 27 } else { 0 }
    }

    /// The link starts over: down now, up after the delay.
    fn restart_link(&mut self) {
        self.link.ready = Some(self.board.link_ready());
        self.set_link(false);
    }

    /// Whether frames go round inside the card, at the MAC or at the PHY. The
    /// modes got other numbers with version 6 of the NVM (Linux
    /// i40e_aq_set_mac_loopback), but not on the X722 (DPDK).
    pub(super) fn loops(&self) -> bool {
        const MAC: u8 = 1;
        const PHY: u8 = 5;
        const OLD_PHY: u8 = 1;
        const OLD_MAC: u8 = 4;
        let modes = if self.old_loopback() { [OLD_MAC, OLD_PHY] } else { [MAC, PHY] };
        modes.contains(&self.link.loopback)
    }

    /// Time passed, or the wire changed.
    pub(super) fn poll_link(&mut self) {
        let able = self.link.abilities & ENABLE_LINK != 0
            && (self.link.types != 0 || self.kind == Kind::Xxv710)
            && self.link.speeds & self.kind.port().speed != 0
            && self.fits();
        let light = self.board.port.mac.carrier() && able;
        let ready = self.link.ready.is_none_or(|ready| self.board.now >= ready);
        let up = self.loops() || light && ready;
        if self.link.up != up {
            if !light && !self.loops() {
                // When light comes back the link is negotiated again, perhaps by another module.
                (self.link.ready, self.link.plugged) = (None, self.board.now);
            }
            self.set_link(up);
        }
    }

    fn set_link(&mut self, up: bool) {
        if self.link.up != up {
            self.link.up = up;
            if self.link.armed {
                self.link.armed = false;
                self.post_event(LINK_STATUS, self.link_status());
            }
        }
    }
}
