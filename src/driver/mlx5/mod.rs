//! Driver for NVIDIA (Mellanox) ConnectX-4, ConnectX-4 Lx, ConnectX-5, ConnectX-6,
//! ConnectX-6 Dx, ConnectX-6 Lx, ConnectX-7.
//!
//! ```text
//!                      memory                                    card
//!
//!   Pool --buffer--> [ work queue entries ] --record in memory--> fetches, fills
//!    ^                                                            the buffer, and
//!    |               [ completions ] <--------------------------- reports
//!    |                     |
//!    |                     v
//!    |     Batch <-- recv: buffer out, free buffer in, same slot
//!    |       |
//!    |       v
//!    |     Batch --> send: buffer in
//!    |                     |
//!    |               [ work queue entries ] --record, doorbell---> fetches, sends,
//!    |                                                             and reports
//!    +--- reclaim <- [ completions ] <---------------------------- up to which
//! ```
//!
//! Entries are written by the driver alone, completions by the card alone, which says
//! with a bit that changes each lap which ones are new. Each queue has a completion
//! queue and a page of doorbells to itself: so queues share nothing, and each can be
//! polled by a thread of its own. Every number has its highest byte first.
//!
//! An entry that is announced alone may go with its doorbell (`TxPath::Push`, `bell`), where
//! stores to the card are combined: then the card has it at once, and fetches the frame.
//!
//! Everything else is asked of the card's firmware in commands through memory (`cmdq`,
//! `cmd`, `ctx`). It has no memory of its own, so it is given pages, before it starts
//! and whenever it wants more, also while a command is waited for (`hca`, `pages`). What
//! a card can do it tells (`caps`), and refuses everything else. Frames come to a place
//! at its switch (`vport`), are looked up in tables (`filters`, `flow`), and go to
//! queues (`delivery`, `queues`). No step waits without a bound, and each wait ends
//! early if the card says that it is dead (`health`).
//!
//! Not here: virtual functions, RDMA, switchdev, striding receive queues, aggregation of
//! a flow's frames (LRO), segmentation, setting the clock.

mod bell;
mod caps;
mod card;
mod clock;
mod cmd;
mod cmdq;
mod codes;
mod cq;
mod cqe;
mod ctx;
mod delivery;
mod eq;
mod feed;
mod filters;
mod flow;
mod hca;
mod health;
mod hw;
mod ids;
mod layout;
mod link;
mod meta;
mod mini;
mod module;
mod objects;
mod pages;
mod parts;
mod plan;
mod ports;
mod queues;
#[cfg(test)]
mod recorded;
mod regs;
mod rx;
#[cfg(test)]
mod scripted;
mod setup;
mod sq;
mod stats;
#[cfg(test)]
mod tests;
mod time;
mod tx;
mod vport;
mod why;
mod wqe;

pub use rx::RxQueue;
pub use tx::TxQueue;

use super::config::{Config, TxPath};
use super::limits::Limits;
use super::ops::{Description, Opened, TimestampSource, no_driver};
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::{self, Bar, Function};
use card::Card;
use hw::Hw;
use std::sync::Arc;

/// Most queues of each kind.
const MAX_QUEUES: u16 = 64;

/// What any of these cards can be configured to.
const LIMITS: Limits = Limits { rx_queues: MAX_QUEUES, tx_queues: MAX_QUEUES, max_frame: 9996 };

/// Transmit paths.
pub const PATHS: &[&str] = &["dma", "push"];

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

/// The registers with stores combined, for entries that go with their doorbell.
fn combining(function: &dyn Function) -> Result<Bar> {
    if let Some(bar) = function.combining(0)? {
        return Ok(bar);
    }
    let (name, why) = (function.name(), why_uncombined(function.kind()));
    let text =
        format!("{name}: entries cannot be pushed: {why}, and the card ignores what is not one store of 64 bytes");
    Err(Error::new(Kind::Unsupported, text).with_remedy(Remedy::Dma))
}

/// Why stores to a card are not combined.
fn why_uncombined(kind: pci::Kind) -> &'static str {
    match kind {
        pci::Kind::Vfio | pci::Kind::VfioNoIommu => {
            "VFIO maps registers uncached (the kernel combines stores only without it, through sysfs)"
        }
        _ => "the kernel offers no mapping of its registers that combines stores (resource0_wc)",
    }
}

/// Opens the card: everything set up and receiving into empty rings; the link
/// comes up on its own time.
///
/// # Errors
/// [`Kind::Usage`] for a configuration the card cannot have, [`Kind::Unsupported`]
/// for one that its firmware grants too little for or is too old for, a port of
/// InfiniBand, or entries to be pushed where stores to the card are not combined,
/// [`Kind::Gone`] if the card does not answer, [`Kind::Timeout`] if its firmware does
/// not.
pub fn open<R, T>(function: Arc<dyn Function>, config: &Config) -> Result<Opened<R, T>>
where
    R: From<RxQueue>,
    T: From<TxQueue>,
{
    let model = ids::find(function.id()).ok_or_else(|| no_driver(&*function))?;
    LIMITS.check(function.name(), config)?;
    let combining = if config.tx_path == TxPath::Push { Some(combining(&*function)?) } else { None };
    let mut hw = Hw::new(&function)?;
    let base = setup::bring_up(&*function, &mut hw);
    let mut description = Description::new(&*function, "mlx5", model.name);
    // From here on a failure stops the card again: Card's drop does.
    let mut card = Card::new(function, Arc::new(hw));
    base?;
    let found = vport::look(card.hw(), model.wants_headers())?;
    description.mac = found.mac;
    if found.made_up {
        description.lacks.push("its firmware gives it no address: it has one that was made up".into());
    }
    let (major, minor) = setup::version(card.hw());
    description.firmware = Some(format!("{major}.{minor}"));
    description.max_rx_queues = MAX_QUEUES;
    description.max_tx_queues = MAX_QUEUES;
    let (rx, tx) = card.set_up(config, found, combining.as_ref())?;
    if card.clock.is_some() {
        description.timestamps = TimestampSource::Hardware;
    }
    description.lacks.append(&mut card.lacks);
    Ok(Opened { rx, tx, description, ops: Box::new(card) })
}
