//! The port: PHY, MAC, the module's memory.

use super::super::super::FaultKind;
use super::super::super::module::Module;
use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};
use super::super::link::{self, FEC_AUTO, FEC_CL74, FEC_CL91, Phy};
use super::super::models::Media;
use super::super::plane::RxStamps;
use super::{BUSY, Refusal};

/// PORT_PHY_CFG: flags.
const RESET_PHY: u32 = 1;
const FORCE: u32 = 1 << 2;
const RESTART_AUTONEG: u32 = 1 << 3;
const FORCE_LINK_DOWN: u32 = 1 << 14;
/// FEC by flags: this bit of it on, or off.
const FEC: [(u32, u32, u8); 3] =
    [(1 << 8, 1 << 9, FEC_AUTO), (1 << 10, 1 << 11, FEC_CL74), (1 << 12, 1 << 13, FEC_CL91)];

/// PORT_PHY_CFG: enables.
const AUTO_MODE: u32 = 1;
const AUTO_PAUSE: u32 = 1 << 2;
const AUTO_SPEED: u32 = 1 << 3;
const AUTO_MASK: u32 = 1 << 4;
const LOOPBACK: u32 = 1 << 6;
const FORCE_PAUSE: u32 = 1 << 8;
const FORCE_PAM4: u32 = 1 << 11;
const AUTO_MASK_PAM4: u32 = 1 << 12;

/// How speeds are negotiated.
const ALL_SPEEDS: u8 = 1;
const ONE_SPEED: u8 = 2;
const ONE_OR_BELOW: u8 = 3;
const SPEED_MASK: u8 = 4;

/// 25 Gbit/s, which the other port does not allow (fault).
const G25: u16 = 0xfa;

impl Bnxt {
    /// Speeds that can be negotiated.
    fn negotiable(&self) -> (u16, u16) {
        let none = [FaultKind::NoAutoneg, FaultKind::PortDisabled, FaultKind::NoModule].map(|kind| self.faulty(kind));
        if none.contains(&true) { (0, 0) } else { self.kind.negotiable() }
    }

    /// Speeds that can be forced.
    fn forcible(&self) -> (u16, u16) {
        if self.faulty(FaultKind::PortDisabled) { (0, 0) } else { (self.kind.speeds, self.kind.pam4) }
    }

    /// What PORT_PHY_CFG makes of the PHY.
    fn forced(&mut self, request: &Request, phy: &mut Phy) -> Result<(), Refusal> {
        let pam4 = request.u32(0x14) & FORCE_PAM4 != 0;
        let speed = request.u16(if pam4 { 0x2e } else { 0x1a });
        let (one, four) = self.forcible();
        let allowed = link::bit(speed, pam4).is_some_and(|bit| if pam4 { four } else { one } & bit != 0);
        if !allowed {
            return Err(Refusal::INVALID);
        }
        if speed == G25 && self.faulty(FaultKind::OtherPort) {
            const ILLEGAL: u32 = 1 << 17;
            self.notify(link::LINK_SPEED_CFG_CHANGE, ILLEGAL, 0);
            return Err(Refusal::INVALID);
        }
        (phy.auto, phy.force, phy.force_pam4) = (false, speed, pam4);
        Ok(())
    }

    fn negotiated(&mut self, request: &Request, phy: &mut Phy) -> Result<(), Refusal> {
        let enables = request.u32(0x14);
        let (one, four) = self.negotiable();
        let below = |bit: u16| (bit << 1).wrapping_sub(1);
        let named = if enables & AUTO_SPEED != 0 { link::bit(request.u16(0x20), false) } else { None };
        let (mask, mask_pam4) = match request.u8(0x1c) {
            ALL_SPEEDS => (one, four),
            ONE_SPEED => (named.unwrap_or(0), 0),
            ONE_OR_BELOW => (named.map_or(0, below), 0),
            // A mask that is not given is none.
            SPEED_MASK => {
                let of = |bit: u32, at: usize| if enables & bit != 0 { request.u16(at) } else { 0 };
                (of(AUTO_MASK, 0x22), of(AUTO_MASK_PAM4, 0x34))
            }
            0 => {
                phy.auto = false;
                return Ok(());
            }
            _ => return Err(Refusal::INVALID),
        };
        (phy.mask, phy.mask_pam4) = (mask & one, mask_pam4 & four);
        phy.auto = true;
        if phy.mask | phy.mask_pam4 == 0 { Err(Refusal::INVALID) } else { Ok(()) }
    }
}

pub fn configure(card: &mut Bnxt, request: &Request) -> Answer {
    if card.faulty(FaultKind::Npar) || card.faulty(FaultKind::PortDisabled) {
        return Err(Refusal::DENIED);
    }
    if card.phy_not_ready() {
        return Err(if card.board.random.below(2) == 0 { BUSY } else { Refusal::FAIL });
    }
    let (flags, enables) = (request.u32(0x10), request.u32(0x14));
    let mut phy = card.link.phy;
    phy.down = flags & FORCE_LINK_DOWN != 0 && !card.faulty(FaultKind::LinkHeld);
    if flags & FORCE != 0 && enables & AUTO_MODE != 0 && card.board.nasty {
        return Err(Refusal::INVALID);
    }
    if flags & FORCE != 0 {
        card.forced(request, &mut phy)?;
    } else if enables & AUTO_MODE != 0 {
        card.negotiated(request, &mut phy)?;
    }
    if enables & AUTO_PAUSE != 0 {
        phy.pause = request.u8(0x1e) & 7;
    }
    if enables & FORCE_PAUSE != 0 {
        phy.force_pause = request.u8(0x26) & 3;
    }
    if enables & LOOPBACK != 0 {
        phy.loopback = request.u8(0x25);
        if phy.loopback > 1 {
            return Err(Refusal::UNSUPPORTED);
        }
    }
    for (on, off, bit) in FEC {
        if flags & on != 0 {
            phy.fec |= bit;
        }
        if flags & off != 0 {
            phy.fec &= !bit;
        }
    }
    card.set_phy(phy, flags & (RESET_PHY | RESTART_AUTONEG) != 0);
    if card.faulty(FaultKind::Media) {
        const TRANSMITTER_OFF: u32 = 1 << 16;
        card.notify(link::PORT_CONN_NOT_ALLOWED, TRANSMITTER_OFF, 0);
    }
    Ok(Reply::done())
}

/// PORT_PHY_QCAPS.
pub fn capabilities(card: &mut Bnxt, _: &Request) -> Answer {
    let ((one, four), (auto_one, auto_four)) = (card.forcible(), card.negotiable());
    Ok(Reply::new(48).u8(0x09, 1).u16s(0x0a, &[one, auto_one, 0]).u16s(0x18, &[auto_four, four]))
}

/// What kind of PHY, what kind of medium, and what the module calls itself.
fn medium(card: &Bnxt) -> (u8, u8, u32) {
    const COPPER: u8 = 1;
    const FIBRE: u8 = 3;
    match card.kind.media {
        Media::BaseT => (8, COPPER, 0),
        Media::Sfp if card.link.line() == G25 => (0x0e, FIBRE, 3 << 24),
        Media::Sfp => (4, FIBRE, 3 << 24),
        Media::Qsfp => (0x10, FIBRE, 0x11 << 24),
    }
}

/// PORT_PHY_QCFG: what there is of a link, and what was asked for.
pub fn configuration(card: &mut Bnxt, _: &Request) -> Answer {
    const NO_LINK: u8 = 0;
    const SIGNAL: u8 = 1;
    const LINK: u8 = 2;
    const FULL: u8 = 1;
    /// Of the module: its transmitter is off, there is none, there could be none.
    const TRANSMITTER_OFF: u8 = 1;
    const NOT_INSERTED: u8 = 4;
    const NOT_APPLICABLE: u8 = 0xff;
    /// FEC that could be: none, negotiated, both clauses.
    const FEC_SUPPORTED: u16 = 1 | 1 << 1 | 1 << 3 | 1 << 5;
    let phy = card.link.phy;
    let light = card.board.port.mac.carrier() && !phy.down;
    let link = match (card.link_up(), light) {
        (true, _) => LINK,
        (false, true) => SIGNAL,
        (false, false) => NO_LINK,
    };
    let up = link == LINK;
    let speed = if up { card.link.line() } else { 0 };
    let (kind, media, identifier) = medium(card);
    let module = match card.kind.media {
        Media::BaseT => NOT_APPLICABLE,
        _ if card.faulty(FaultKind::Media) => TRANSMITTER_OFF,
        _ if card.faulty(FaultKind::NoModule) => NOT_INSERTED,
        _ => 0,
    };
    let (one, four) = card.forcible();
    let pause = if phy.auto { phy.pause & 3 } else { phy.force_pause };
    let (force, force_pam4) = if phy.force_pam4 { (0, phy.force) } else { (phy.force, 0) };
    let partner = if up { (link::bit(speed, false).unwrap_or(0), SPEED_MASK) } else { (0, 0) };
    let fec = u16::from(phy.fec);
    let fec = FEC_SUPPORTED | (fec & 1) << 2 | (fec >> 1 & 1) << 4 | (fec >> 2 & 1) << 6;
    Ok(Reply::new(112)
        .u8(0x08, link)
        .u16(0x0a, speed)
        .bytes(0x0c, &[FULL, if up { pause } else { 0 }])
        .u16s(0x0e, &[one, force])
        .bytes(0x12, &[if phy.auto { SPEED_MASK } else { 0 }, phy.pause])
        .u16(0x16, if phy.auto { phy.mask } else { 0 })
        .bytes(0x19, &[phy.loopback, phy.force_pause, module])
        .bytes(0x20, &[1, 0, 0, kind, media, 1])
        .u16(0x28, partner.0)
        .bytes(0x2a, &[partner.1, if up { 3 } else { 0 }])
        .u32(0x30, identifier)
        .u16(0x34, fec)
        .u8(0x36, FULL)
        .bytes(0x38, b"Broadcom")
        .bytes(0x48, b"EMULATED")
        .u16s(0x58, &[four, force_pam4, phy.mask_pam4]))
}

/// PORT_MAC_CFG: what loops, what is stamped, how fast the clock is.
pub fn mac_configure(card: &mut Bnxt, request: &Request) -> Answer {
    const RX_STAMPS: u32 = 1 << 4;
    const NO_RX_STAMPS: u32 = 1 << 5;
    const ALL_RX_STAMPS: u32 = 1 << 14;
    const NOT_ALL_RX_STAMPS: u32 = 1 << 15;
    const LOOPBACK: u32 = 1 << 1;
    const FREQUENCY: u32 = 1 << 9;
    const PHASE: u32 = 1 << 10;
    const ANY_PTP: u32 = 0xe0f0;
    let (flags, enables) = (request.u32(0x10), request.u32(0x14));
    let clock = enables & (FREQUENCY | PHASE) != 0 || flags & ANY_PTP != 0;
    if clock && !card.has_clock() {
        return Err(Refusal::DENIED);
    }
    if enables & LOOPBACK != 0 {
        let loopback = request.u8(0x1b);
        if loopback > 1 {
            return Err(Refusal::UNSUPPORTED);
        }
        card.set_mac_loopback(loopback);
    }
    if flags & ALL_RX_STAMPS != 0 {
        card.plane.set_rx_stamps(RxStamps::All);
    } else if flags & RX_STAMPS != 0 {
        card.plane.set_rx_stamps(RxStamps::Ptp);
    } else if flags & (NO_RX_STAMPS | NOT_ALL_RX_STAMPS) != 0 {
        card.plane.set_rx_stamps(RxStamps::None);
    }
    let now = card.board.now;
    if enables & FREQUENCY != 0 {
        card.plane.clock.tune(request.u32(0x28) as i32, now);
    }
    if enables & PHASE != 0 {
        card.plane.clock.shift(request.u64(0x30) as i64, now);
    }
    Ok(Reply::new(16).u16s(8, &[card.longest_frame(), super::function::MTU]).bytes(0xc, &[12, card.link.mac_loopback]))
}

pub fn mac_configuration(card: &mut Bnxt, _: &Request) -> Answer {
    let mru = card.longest_frame();
    Ok(Reply::new(32).u16s(8, &[mru, super::function::MTU]).bytes(0xc, &[12, card.link.mac_loopback]))
}

/// PORT_PHY_I2C_READ: 64 bytes of the module's memory at most. It fills the field,
/// whatever was asked for: a driver takes no more than that.
pub fn module(card: &mut Bnxt, request: &Request) -> Answer {
    const MOST: u8 = 64;
    const OFFSET: u32 = 1;
    let (slave, page, len) = (request.u8(0x1a), request.u16(0x1c), request.u8(0x20));
    let offset = if request.u32(0x14) & OFFSET != 0 { usize::from(request.u16(0x1e)) } else { 0 };
    if len == 0 || len > MOST || offset + usize::from(len) > 256 {
        return Err(Refusal::INVALID);
    }
    if card.faulty(FaultKind::NoModule) {
        return Err(Refusal::FAIL);
    }
    let wide = card.kind.media == Media::Qsfp;
    let cage = Module::of(&card.board, *b"Broadcom        ", [0x00, 0x0a, 0xf7], wide);
    let there = card.kind.media != Media::BaseT;
    let len = usize::from(MOST).min(256 - offset);
    let bytes = (offset..offset + len).map(|at| cage.byte(slave, page, at).filter(|_| there));
    let bytes: Option<Vec<u8>> = bytes.collect();
    Ok(Reply::new(80).bytes(8, &bytes.ok_or(Refusal::FAIL)?))
}
