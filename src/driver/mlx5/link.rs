//! The link, and how long frames on it may be.
//!
//! Firmware trains the link by itself once the port is wanted up; a port that an
//! earlier driver has left down stays so until then. Whether there is a link is asked
//! for, as an event may come early, twice or not at all.

use super::hw::Hw;
use super::ports::{Register, pfcc, pmtu, register};
use super::{ports, vport};
use crate::driver::config::Config;
use crate::driver::ops::Link;
use crate::driver::slots::TAGS;
use crate::error::{Kind, Result};

/// Bytes of a frame's check sequence.
const FCS: u32 = 4;

/// What is known of the link.
pub struct Watch {
    /// Frames are turned round in the port.
    turned: bool,
    found: Found,
}

/// Settings of the port as they were found: they outlive a driver, and a reset.
pub struct Found(Vec<Register>);

impl Found {
    /// Reads them, as far as this function may.
    pub fn look(hw: &Hw) -> Result<Found> {
        let registers = [(register::PMTU, pmtu::BYTES), (register::PFCC, pfcc::BYTES)];
        let mut found = Vec::new();
        for (number, bytes) in registers {
            found.extend(Register::new(number, bytes).read(hw)?);
        }
        Ok(Found(found))
    }

    /// Has them as they were.
    fn restore(&self, hw: &Hw) {
        for register in &self.0 {
            let _ = register.write(hw);
        }
    }
}

impl Watch {
    /// Has the port come up, on its own time; `loopback`: to itself.
    pub fn start(hw: &Hw, found: Found, loopback: bool) -> Result<Watch> {
        // A port that is somebody else's is as they have it.
        ports::no_pauses(hw)?;
        let taken = ports::turn_round(hw, loopback)?;
        if loopback && !taken {
            return Err(hw.error(Kind::Unsupported, "its port does not turn frames round; use a loopback plug"));
        }
        vport::set_local_loopback(hw, false)?;
        ports::up(hw)?;
        Ok(Watch { turned: loopback, found })
    }

    /// The state of the link now.
    pub fn state(&self, hw: &Hw) -> Result<Link> {
        let up = self.turned || vport::has_link(hw)?;
        Ok(Link { up, speed: if up { ports::speed(hw)? } else { 0 } })
    }

    /// Lets frames out to the wire again, and leaves the port as it was found. The link
    /// stays as it is.
    pub fn stop(&self, hw: &Hw) {
        if hw.check().is_err() {
            return;
        }
        if self.turned {
            let _ = ports::turn_round(hw, false);
        }
        self.found.restore(hw);
    }
}

/// How long frames may be, without FCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// Received, without tags: at most what was asked for.
    pub received: u16,
    /// Sent, with tags.
    pub sent: u32,
}

/// Has frames pass that are as long as the port can: what is received is held to what
/// `config` wants by its buffers. What was granted is read back, as less may be, and
/// nothing said.
pub fn longest_frame(hw: &Hw, config: &Config) -> Result<Longest> {
    let most = ports::mtu(hw)?.map_or(0, |(most, _)| most);
    let asked = if most == 0 { u32::from(config.max_frame) + TAGS + FCS } else { most };
    ports::set_mtu(hw, asked)?;
    vport::set_mtu(hw, asked)?;
    let port = ports::mtu(hw)?.map_or(0, |(_, now)| now);
    // What is not told is no limit.
    let granted = [port, vport::mtu(hw)?].into_iter().filter(|bytes| *bytes != 0).min().unwrap_or(asked);
    let sent = granted.saturating_sub(FCS);
    let received = sent.min(u32::from(config.max_frame)) as u16;
    if received < config.max_frame && !config.shorter_frames {
        let text = format!(
            "the longest frame cannot be {}; this card lets frames of up to {received} bytes pass",
            config.max_frame
        );
        return Err(hw.error(Kind::Usage, text));
    }
    Ok(Longest { received, sent })
}
