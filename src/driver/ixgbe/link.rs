//! The link: SFI, backplane, twisted pair, loopback; and its state.

use super::cage::Cage;
use super::hw::Hw;
use super::ids::{Mac, Media};
use super::regs::{self, Reg, anlp1, autoc, autoc2, esdp, hlreg0, links, macc, msca};
use super::sfp::{self, Module, Rate};
use crate::driver::ops::Link;
use crate::error::{Kind, Result};
use std::time::Duration;

/// Brings the link up after a reset, as the medium needs (82599 §4.6.4). It
/// comes up on its own time: see [`state`]. The cage, where it is one with an SFP+ module,
/// has to be looked after.
pub fn start(hw: &Hw, loopback: bool) -> Result<Option<Cage>> {
    if loopback {
        return loop_back(hw).map(|()| None);
    }
    match hw.media {
        Media::Sfp => Cage::open(hw).map(Some),
        // The mode is the EEPROM's: negotiate it.
        Media::Backplane | Media::Optics | Media::Qsfp => {
            hw.clear(regs::AUTOC2, autoc2::LINK_DISABLE);
            hw.set(regs::AUTOC, autoc::AN_RESTART);
            Ok(None)
        }
        Media::Copper => start_copper(hw).map(|()| None),
    }
}

/// Brings up the link over an SFP+ module, if there is one (82599 §4.6.4.2).
pub fn start_module(hw: &Hw, module: Module, rate: Rate) -> Result<()> {
    // An earlier driver may have left the link off.
    hw.clear(regs::AUTOC2, autoc2::LINK_DISABLE);
    if module == Module::Absent {
        return Ok(());
    }
    sfp::tune(hw, module)?;
    // Laser on, and the rate.
    let (rate, mode) = match rate {
        Rate::Ten => (esdp::SDP5, autoc::LMS_10G_SERIAL),
        Rate::One => (0, autoc::LMS_1G_AN),
    };
    let pins = esdp::SDP3 | esdp::SDP5 | esdp::SDP3_DIR | esdp::SDP5_DIR;
    hw.change(regs::ESDP, pins, rate | esdp::SDP3_DIR | esdp::SDP5_DIR);
    hw.settle(Duration::from_millis(100));

    hw.change(regs::AUTOC2, autoc2::PMA_10G_SERIAL, autoc2::PMA_10G_SFI);
    change_mode(hw, hw.read(regs::AUTOC) & !(autoc::LMS | autoc::PMA_1G | autoc::FLU) | mode)
}

/// Writes AUTOC and resets the pipeline behind it, without which a change of
/// mode may not take (82599 §4.6.4.2): the mode's highest bit is toggled with a
/// restart, the state machine seen to leave reset, the mode set right.
fn change_mode(hw: &Hw, mode: u32) -> Result<()> {
    hw.locked(regs::gssr::MAC_CSR, |hw| {
        hw.write(regs::AUTOC, (mode | autoc::AN_RESTART) ^ autoc::LMS_HIGH);
        let read = || hw.read(regs::ANLP1);
        let out_of_reset = |v| v & anlp1::AN_STATE != 0;
        let patience = Duration::from_millis(40);
        let waited = crate::driver::wait::wait_until(
            hw,
            "the reset of the link pipeline",
            regs::ANLP1.name,
            patience,
            read,
            out_of_reset,
        );
        hw.write(regs::AUTOC, mode | autoc::AN_RESTART);
        match waited {
            // Without a partner the state machine may rest in reset; the link
            // state tells soon enough.
            Err(error) if error.kind() == Kind::Gone => Err(error),
            _ => Ok(()),
        }
    })
}

/// What is sent is received (82599 §14.1, X540 §14.1): the MAC's own loop, with
/// the link forced so that it does not depend on a partner.
fn loop_back(hw: &Hw) -> Result<()> {
    hw.set(regs::HLREG0, hlreg0::LPBK);
    match hw.mac {
        Mac::I82599 => {
            let mode = hw.read(regs::AUTOC) & !autoc::LMS;
            change_mode(hw, mode | autoc::FLU | autoc::LMS_10G_NO_AN)
        }
        Mac::X540 | Mac::X550 => {
            hw.set(regs::MACC, macc::FLU | macc::FSV_10G | macc::FS);
            Ok(())
        }
    }
}

/// State of the link. UP is latched low, so the first read is of the past.
pub fn state(hw: &Hw) -> Result<Link> {
    hw.read(regs::LINKS);
    let value = hw.read(regs::LINKS);
    if value == u32::MAX {
        return Err(crate::driver::wait::gone(hw, regs::LINKS.name));
    }
    if value & links::UP == 0 {
        return Ok(Link::default());
    }
    let nbase = hw.mac == Mac::X550 && value & links::NON_STD != 0;
    let megabits = match ((value & links::SPEED) >> 28, nbase) {
        (3, false) => 10_000,
        (3, true) => 2_500,
        (2, _) => 1_000,
        (1, false) => 100,
        (1, true) => 5_000,
        _ => 10,
    };
    Ok(Link { up: true, speed: megabits * 1_000_000 })
}

// ---- Twisted pair: a PHY behind MDIO (82599 §3.7.3, IEEE 802.3 clause 45) ----

/// A register of the PHY: device type and number.
#[derive(Clone, Copy)]
struct Phy(u32, u32);

/// Identifier, upper half.
const PHY_ID: Phy = Phy(1, 2);
/// Auto-negotiation control.
const AN_CONTROL: Phy = Phy(7, 0);
/// Restart, and enable, auto-negotiation.
const AN_RESTART: u16 = 1 << 9 | 1 << 12;

/// Control of the PHY as a whole, and its low power: no reset of the card ends that.
const POWER: Phy = Phy(0x1e, 0);
const LOW_POWER: u16 = 1 << 11;
/// What is offered to the partner: of 10GBASE-T, of 2.5 and 5 Gbit/s and 1000BASE-T, of
/// 100BASE-TX in full duplex.
const OFFERS_10G: (Phy, u16) = (Phy(7, 0x20), 1 << 12);
const OFFERS_2G5_5G: u16 = 1 << 10 | 1 << 11;
const OFFERS_1G: (Phy, u16) = (Phy(7, 0xc400), 1 << 15);
const OFFERS_100M: (Phy, u16) = (Phy(7, 0x10), 1 << 8);

/// Finds the PHY, has it on, and lets it negotiate all that it can: a driver that is gone may
/// have switched it off, or left it with less.
fn start_copper(hw: &Hw) -> Result<()> {
    // A reset of the function alone leaves a loopback's forced link.
    if hw.mac != Mac::I82599 {
        hw.clear(regs::MACC, macc::FLU | macc::FSV_10G | macc::FS);
    }
    hw.locked(hw.phy_lock(), |hw| {
        let mut found = None;
        for address in 0..32 {
            if !matches!(mdio_read(hw, address, PHY_ID)?, 0 | 0xffff) {
                found = Some(address);
                break;
            }
        }
        let Some(address) = found else {
            return Err(hw.error(Kind::Device, "its PHY does not answer on MDIO; power the machine off and on"));
        };
        mdio_change(hw, address, POWER, LOW_POWER, 0)?;
        let nbase = if hw.mac == Mac::X550 { OFFERS_2G5_5G } else { 0 };
        for (register, bits) in [OFFERS_10G, (OFFERS_1G.0, OFFERS_1G.1 | nbase), OFFERS_100M] {
            mdio_change(hw, address, register, 0, bits)?;
        }
        let control = mdio_read(hw, address, AN_CONTROL)?;
        mdio_write(hw, address, AN_CONTROL, control | AN_RESTART)
    })
}

/// Clears and sets bits of a register, where they are not so already.
fn mdio_change(hw: &Hw, address: u32, register: Phy, clear: u16, set: u16) -> Result<()> {
    let value = mdio_read(hw, address, register)?;
    let wanted = value & !clear | set;
    if wanted == value { Ok(()) } else { mdio_write(hw, address, register, wanted) }
}

/// One MDIO cycle.
fn mdio(hw: &Hw, address: u32, Phy(device, register): Phy, cycle: u32) -> Result<()> {
    let command = |cycle| register | device << 16 | address << 21 | cycle | msca::COMMAND;
    let run = |cycle, reg: Reg| {
        hw.write(reg, command(cycle));
        hw.wait("an MDIO cycle", reg, msca::COMMAND, 0, Duration::from_millis(10))
    };
    run(msca::ADDRESS, regs::MSCA)?;
    run(cycle, regs::MSCA)?;
    Ok(())
}

fn mdio_read(hw: &Hw, address: u32, register: Phy) -> Result<u16> {
    mdio(hw, address, register, msca::READ)?;
    Ok((hw.read(regs::MSRWD) >> 16) as u16)
}

fn mdio_write(hw: &Hw, address: u32, register: Phy, value: u16) -> Result<()> {
    hw.write(regs::MSRWD, u32::from(value));
    mdio(hw, address, register, msca::WRITE)
}
