//! Driver for Broadcom NetXtreme-E: BCM57412 to 57417, 57452, 57454, 5880x ("P4"),
//! BCM57502, 57504, 57508 ("P5").
//!
//! ```text
//!                      memory                                 card
//!
//!   Pool --buffer--> [ descriptors ] --doorbell, BAR 2-----> fetches, fills
//!    ^                                                        the buffer, and
//!    |               [ completions ] <---------------------- reports
//!    |                     |       `--doorbell: read up to
//!    |                     v
//!    |     Batch <-- recv: buffer out, free buffer in, same slot
//!    |       |
//!    |       v
//!    |     Batch --> send: buffer in
//!    |                     |
//!    |               [ descriptors ] --doorbell-------------> fetches, sends,
//!    |                                                        and reports
//!    +--- reclaim <- [ completions ] <---------------------- up to which
//! ```
//!
//! Descriptors are written by the driver alone, completions by the card alone, which
//! says with a bit that changes each lap which ones are new. Each queue has a
//! completion ring to itself: so queues share nothing, and each can be polled by a
//! thread of its own.
//!
//! Everything else is asked of the card's firmware in commands through memory
//! (`hwrm`, `cmd`): who it is (`firmware`), memory for it (`backing`), what the
//! function gets (`grant`), rings (`rings`), places that frames are delivered to
//! (`delivery`), which frames (`filters`), the link (`link`). No step waits without a
//! bound. Firmware that restarts says so in an event, or is found out by its state;
//! all is then lost, and said so.
//!
//! How the generations differ:
//!
//! ```text
//!                       P4                              P5
//!   doorbells           a slot each, 32 bits            one for all, 64 bits
//!   frames go to        groups of rings                 pairs of rings
//!   events, interrupts  completion rings                notification queues
//!   contexts            in the chip                     in memory that it is given
//!   stamps              none                            of every received frame
//! ```
//!
//! Not here: virtual functions, RDMA, aggregation of a flow's frames (TPA),
//! segmentation, splitting of headers, setting the clock.

mod backing;
mod bell;
mod card;
mod cmd;
mod coalescing;
mod codes;
mod cq;
mod delivery;
mod desc;
mod events;
mod feed;
mod filters;
mod firmware;
mod grant;
mod health;
mod hw;
mod hwrm;
mod ids;
mod link;
mod meta;
mod module;
mod parts;
mod phy;
mod port;
pub mod recall;
mod regs;
mod rings;
mod rx;
#[cfg(test)]
mod scripted;
mod standstill;
mod stats;
#[cfg(test)]
mod tests;
mod time;
mod tx;

pub use bell::Generation;
pub use rx::RxQueue;
pub use tx::TxQueue;

use super::config::Config;
use super::limits::Limits;
use super::ops::{Description, NOT_PROMISCUOUS, Opened, TimestampSource, no_driver};
use super::pieces::Pieces;
use super::slots::TAGS;
use crate::dma::BUFFER_SIZE;
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Function};
use card::Card;
use firmware::PortQueues;
use hw::{Hw, Resources};
use std::sync::Arc;
use std::time::Duration;

/// Most queues of each kind: those that one table of P5 can name.
const MAX_QUEUES: u16 = 64;

/// What any of these cards can be configured to.
const LIMITS: Limits = Limits { rx_queues: MAX_QUEUES, tx_queues: MAX_QUEUES, max_frame: 9518 };

/// Transmit paths.
pub const PATHS: &[&str] = &["dma"];

/// Whether `id` is one of this family.
pub fn supports(id: pci::Id) -> bool {
    ids::find(id).is_some()
}

/// The error for a card of the same maker that is not driven.
pub fn refusal(function: &dyn Function) -> Option<Error> {
    let id = function.id();
    ids::why_not(id).map(|why| {
        let text = format!("{}: no driver for PCI id {:04x}:{:04x}: {why}", function.name(), id.vendor, id.device);
        Error::new(Kind::Unsupported, text)
    })
}

/// Opens the card: everything set up and receiving into empty rings; the link
/// comes up on its own time.
///
/// # Errors
/// [`Kind::Usage`] for a configuration the card cannot have, [`Kind::Unsupported`]
/// for one that its firmware grants too little for or is too old for,
/// [`Kind::Gone`] if the card does not answer, [`Kind::Timeout`] if its firmware
/// does not.
pub fn open<R, T>(function: Arc<dyn Function>, config: &Config) -> Result<Opened<R, T>>
where
    R: From<RxQueue>,
    T: From<TxQueue>,
{
    let model = ids::find(function.id()).ok_or_else(|| no_driver(&*function))?;
    check(function.name(), config)?;
    let buffer = Pieces::new(&*function, [hwrm::BUFFER])?.take(hwrm::BUFFER);
    // What a driver that was killed had set up must not write any more.
    function.reset()?;
    settle(&*function)?;
    let mut hw = Hw::new(&function, model.generation, buffer)?;
    function.set_bus_master(true)?;
    let base = bring_up(&*function, &mut hw);
    let mut description = Description::new(&*function, "bnxt", model.name);
    // From here on a failure stops the card again: Card's drop does.
    let mut card = Card::new(function, Arc::new(hw));
    let base = base?;
    card.tells_interface = base.tells_interface;
    let hw = Arc::clone(&card.hw);
    description.mac = firmware::mac(&hw);
    let [major, minor, build] = hw.firmware.version;
    description.firmware = Some(format!("{major}.{minor}.{build}"));
    let most = base.most.unwrap_or(hw.caps.most);
    description.max_rx_queues = MAX_QUEUES.min(most.rx).min(most.completions.saturating_sub(1)).max(1);
    description.max_tx_queues = MAX_QUEUES.min(most.tx).min(most.completions.saturating_sub(1)).max(1);
    let (rx, tx) = card.set_up(config, &base, description.mac)?;
    hw.hwrm().started();
    if card.clock.is_some() {
        description.timestamps = TimestampSource::Hardware;
    }
    description.lacks = hw.lacks.take();
    if card.filters.as_ref().is_some_and(|filters| filters.refused) {
        description.lacks.push(NOT_PROMISCUOUS.into());
    }
    Ok(Opened { rx, tx, description, ops: Box::new(card) })
}

/// Refuses what no card of the family can have.
fn check(name: &str, config: &Config) -> Result<()> {
    LIMITS.check(name, config)?;
    let long = u32::from(config.max_frame) + TAGS > BUFFER_SIZE as u32 && !config.shorter_frames;
    for (what, asked, most) in [
        ("transmit ring", config.tx_ring, tx::MAX_RING),
        (
            "receive ring for frames of several buffers",
            config.rx_ring,
            if long { rx::MAX_RING_WITH_MORE } else { u16::MAX },
        ),
    ] {
        if asked > most {
            let text = format!("{name}: a {what} cannot be {asked}; this card takes up to {most}");
            return Err(Error::new(Kind::Usage, text));
        }
    }
    Ok(())
}

/// Waits until a function that was reset shows who it is again.
fn settle(function: &dyn Function) -> Result<()> {
    const SUBSYSTEM: u16 = 0x2e;
    const ABSENT: u32 = 0xffff;
    const STEP: Duration = Duration::from_millis(10);
    const STEPS: u32 = 300;
    for _ in 0..STEPS {
        if function.config_read(SUBSYSTEM, 2)? != ABSENT {
            return Ok(());
        }
        function.wait(STEP);
    }
    Err(super::wait::gone(function.name(), "the subsystem id"))
}

/// What is known of a function that has been signed on for.
struct Base {
    queues: PortQueues,
    /// What can be reserved, if the firmware says.
    most: Option<Resources>,
    /// It wants to be told when rings are about to be used.
    tells_interface: bool,
}

/// Brings the firmware to where rings can be reserved. The order is that of other
/// drivers: what the chip runs in comes before what it is to do.
fn bring_up(function: &dyn Function, hw: &mut Hw) -> Result<Base> {
    let mut restarts = 0;
    loop {
        firmware::identify(hw)?;
        firmware::reset(hw)?;
        firmware::capabilities(hw)?;
        let queues = firmware::port_queues(hw)?;
        backing::give(function, hw, queues.count)?;
        let tells_interface = firmware::sign_on(hw)?;
        if tells_interface {
            let changed = firmware::interface(hw, true)?;
            // It says so once; then all of this has to be done again.
            if changed.restarted && restarts == 0 {
                restarts += 1;
                continue;
            }
            if changed.resources {
                firmware::capabilities(hw)?;
            }
        }
        let most = firmware::reservable(hw)?;
        return Ok(Base { queues, most, tells_interface });
    }
}
