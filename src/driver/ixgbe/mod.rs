//! Driver for Intel 82599, X540 and X550.
//!
//! ```text
//!                     memory                                card
//!
//!   Pool --buffer--> [ receive ring: n descriptors ] --RDT--> fetches, fills the
//!    ^                    |  DD written back  <-------------- buffer, writes back
//!    |                    v
//!    |     Batch <-- recv: buffer out, free buffer in, same slot
//!    |       |
//!    |       v
//!    |     Batch --> send: buffer in, last one of the batch asks for a report
//!    |                    |
//!    |               [ transmit ring: n descriptors ] --TDT--> fetches, sends,
//!    +--- reclaim <-------+  DD written back  <--------------- writes back
//! ```
//!
//! A buffer has one owner at each arrow. What the card owns is known from our
//! own indices alone; nothing that it writes is used as an index, and every
//! length is checked (`rx`, `tx`).
//!
//! A card is brought up in the order of the 82599 datasheet (331520), §4.6;
//! the X540 and X550 differ in their PHY, packet buffer and clock. See [`open`]
//! for the order, `setup` for the steps. No step waits without a bound.
//!
//! Not here: virtual functions, traffic classes (DCB), coalescing (RSC),
//! MACsec and IPsec, FCoE, flow director.

mod cage;
mod desc;
mod filters;
mod hw;
mod ids;
mod irq;
mod link;
mod nvm;
mod pace;
mod regs;
mod setup;
mod sfp;
mod stats;

use super::config::Config;
use super::irq::Interrupts;
use super::limits::Limits;
use super::ops::{ClockReading, Description, FlowRule, Link, NicOps, Opened, Said, TimestampSource, Wanted, no_driver};
use super::pieces::Pieces;
use super::pluggable::Pluggable;
use super::slots::Stock;
use super::stats::Stats;
use super::{rx, tx};
use crate::dma::{Decoder, Timestamp};
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use crate::pci::{self, Function};
use cage::Cage;
use desc::Descriptor;
use hw::Hw;
use ids::{Mac, Media};
use sfp::Module;
use std::sync::Arc;
use std::time::Duration;

/// Receive queues that RSS can feed: 4-bit entries (82599 §7.1.2.8.2).
const MAX_RX_QUEUES: u16 = 16;

/// Transmit queues without traffic classes (82599 §7.2.1.2.1).
const MAX_TX_QUEUES: u16 = 64;

/// Longest frame without FCS (82599 §1.3: 15.5 KiB).
const MAX_FRAME: u16 = 15872 - 4;

const LIMITS: Limits = Limits { rx_queues: MAX_RX_QUEUES, tx_queues: MAX_TX_QUEUES, max_frame: MAX_FRAME };

/// For [`Description::lacks`]: what a module is.
const UNKNOWN_MODULE: &str =
    "its SFP+ module does not say what it is, as those for 10GBASE-T; it is taken as fibre of 10 Gbit/s";

/// A receive queue of an 82599, X540 or X550.
pub type RxQueue = rx::Queue<desc::Received>;

/// A transmit queue of an 82599, X540 or X550.
pub type TxQueue = tx::Queue<desc::ToSend>;

/// Transmit paths.
pub const PATHS: &[&str] = &["dma"];

/// Whether `id` is one of this family.
pub fn supports(id: pci::Id) -> bool {
    ids::find(id).is_some()
}

/// Opens the card: everything set up and receiving into empty rings; the link
/// comes up on its own time.
///
/// # Errors
/// [`Kind::Usage`] for a configuration the card cannot have, [`Kind::Gone`] if
/// it does not answer, [`Kind::Timeout`] if a step does not end.
///
/// [`Kind::Usage`]: crate::Kind::Usage
/// [`Kind::Gone`]: crate::Kind::Gone
/// [`Kind::Timeout`]: crate::Kind::Timeout
pub fn open<R, T>(function: Arc<dyn Function>, config: &Config) -> Result<Opened<R, T>>
where
    R: From<RxQueue>,
    T: From<TxQueue>,
{
    let model = ids::find(function.id()).ok_or_else(|| no_driver(&*function))?;
    let hw = Arc::new(Hw::new(&function, model)?);
    LIMITS.check(function.name(), config)?;
    let mut description = Description::new(&*function, "ixgbe", model.name);

    // From here on a failure stops the card again: Card's drop does.
    setup::reset(&hw)?; // §4.6.3
    let stamped = config.timestamps && model.mac == Mac::X550;
    let mut card = Card::new(function, hw, stamped, config);
    let hw = Arc::clone(&card.hw);
    description.mac = filters::mac(&hw)?;
    setup::general(&hw); // §4.6.3
    card.cage = link::start(&hw, config.loopback)?; // §4.6.4
    if card.cage.as_ref().is_some_and(|cage| cage.module() == Module::Unknown) {
        description.lacks.push(UNKNOWN_MODULE.into());
    }
    stats::Counters::default().update(&hw, MAX_RX_QUEUES); // §4.6.5: reading clears
    filters::clear(&hw); // §4.6.7
    filters::set_mac(&hw, description.mac);
    setup::receive_unit(&hw, config);
    filters::set_promiscuous(&hw, config.promiscuous);
    if config.rx_queues > 1 {
        filters::set_rss(&hw, &config.rss, config.rx_queues);
    }
    if stamped {
        setup::timestamps(&hw);
        description.timestamps = TimestampSource::Hardware;
    }
    setup::transmit_unit(&hw); // §4.6.8
    card.function.set_bus_master(true)?;
    let (rx, tx) = card.queues(config)?; // §4.6.7.1, §4.6.8.1
    setup::start_receive(&hw)?;
    (description.max_rx_queues, description.max_tx_queues) = (MAX_RX_QUEUES, MAX_TX_QUEUES);
    Ok(Opened { rx, tx, description, ops: Box::new(card) })
}

/// The control plane of an opened card. Dropped, it stops the card.
struct Card {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    rx_queues: u16,
    tx_queues: u16,
    /// The card stamps what it receives.
    stamped: bool,
    /// The SFP+ cage that the link goes through, if it is one.
    cage: Option<Cage>,
    counters: stats::Counters,
    interrupts: Option<Interrupts>,
}

impl Card {
    fn new(function: Arc<dyn Function>, hw: Arc<Hw>, stamped: bool, config: &Config) -> Self {
        Card {
            function,
            hw,
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            stamped,
            cage: None,
            counters: stats::Counters::default(),
            interrupts: None,
        }
    }

    /// Fails if the card does not answer any more, or was reset by somebody else: then all
    /// that was set up is gone.
    fn running(&self) -> Result<()> {
        self.hw.alive()?;
        if self.hw.read(regs::CTRL_EXT) & regs::ctrl_ext::DRV_LOAD != 0 {
            return Ok(());
        }
        // Not if it went away in between.
        self.hw.alive()?;
        Err(self
            .hw
            .error(Kind::Device, "it was reset behind bmnic's back, and is set up no more; run the command again"))
    }

    /// Makes the rings, in one arena, and tells the card of them.
    fn queues<R: From<RxQueue>, T: From<TxQueue>>(&mut self, config: &Config) -> Result<(Vec<R>, Vec<T>)> {
        let [rx_ring, tx_ring] =
            [config.rx_ring, config.tx_ring].map(|ring| usize::from(ring) * size_of::<Descriptor>());
        let mut rings = Pieces::rings(&*self.function, config, rx_ring, tx_ring)?;
        if config.interrupts {
            self.interrupts = Some(Interrupts::new(&self.function, config.rx_queues, 0, irq::MAX_VECTORS)?);
            irq::route(&self.hw, config.rx_queues);
        }
        let reading = rx::Reading {
            max_frame: u32::from(config.max_frame),
            stamped: self.stamped,
            decoder: match (self.hw.mac == Mac::I82599, config.vlan_strip) {
                (true, true) => Decoder::of::<desc::Words<true, true>>(),
                (true, false) => Decoder::of::<desc::Words<true, false>>(),
                (false, true) => Decoder::of::<desc::Words<false, true>>(),
                (false, false) => Decoder::of::<desc::Words<false, false>>(),
            },
        };
        let hw = &self.hw;
        let mut rx = Vec::new();
        for n in 0..config.rx_queues {
            let ring = rings.take(rx_ring);
            setup::receive_queue(hw, n, &ring, config)?;
            let interrupt = self.interrupts.as_ref().map(|interrupts| {
                let hw = Arc::clone(hw);
                interrupts.of(n, move || irq::unmask(&hw, n))
            });
            let tail = hw.doorbell(regs::RDT.at(n))?;
            let stock = Stock::new(&self.function, interrupt);
            rx.push(RxQueue::new(ring, u32::from(config.rx_ring), tail, stock, &reading).into());
        }
        let mut tx = Vec::new();
        for n in 0..config.tx_queues {
            let ring = rings.take(tx_ring);
            setup::transmit_queue(hw, n, &ring)?;
            let tail = hw.doorbell(regs::TDT.at(n))?;
            tx.push(TxQueue::new(ring, u32::from(config.tx_ring), tail, &self.function).into());
        }
        Ok((rx, tx))
    }
}

impl NicOps for Card {
    fn link(&mut self) -> Result<Link> {
        self.running()?;
        let link = link::state(&self.hw)?;
        match &mut self.cage {
            Some(cage) if link.up => cage.is_up(),
            Some(cage) => cage.look_after(&self.hw)?,
            None => {}
        }
        Ok(link)
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        filters::set_promiscuous(&self.hw, on);
        self.hw.alive()
    }

    /// What its filters leave out is in no counter that is read here: those of the queues
    /// count behind them, and TPR does not count it either (82598 §4.4.3.9.38).
    fn narrow(&mut self, wanted: &Wanted) -> Result<Wanted> {
        let narrowed = filters::narrow(&self.hw, wanted);
        self.hw.alive().map(|()| narrowed)
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        filters::set_multicast(&self.hw, groups);
        self.hw.alive()
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        filters::set_mac(&self.hw, mac);
        self.hw.alive()
    }

    fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        filters::set_rss_table(&self.hw, table, self.rx_queues);
        self.hw.alive()
    }

    fn steer(&mut self, slot: usize, rule: &FlowRule) -> Result<()> {
        filters::steer(&self.hw, slot, rule)?;
        self.hw.alive()
    }

    fn set_tx_rate(&mut self, queue: u16, bits: Option<u64>) -> Result<bool> {
        self.running()?;
        pace::set_rate(&self.hw, queue, bits)?;
        self.hw.alive().map(|()| true)
    }

    fn stats(&mut self) -> Result<Stats> {
        // Before the counters: all ones would be added up.
        self.running()?;
        Ok(self.counters.update(&self.hw, self.rx_queues))
    }

    fn nvm(&mut self) -> Result<Said<String>> {
        self.running()?;
        nvm::look(&self.hw)
    }

    fn module(&mut self) -> Result<Said<Pluggable>> {
        self.running()?;
        let nothing = match self.hw.media {
            Media::Sfp => return sfp::describe(&self.hw),
            Media::Qsfp => "its QSFP+ module is left to its firmware",
            Media::Optics => "it has no cage: its laser is on the board",
            Media::Backplane => "it has no cage: its port is for a backplane",
            Media::Copper => "it has no cage: its port is for twisted pair",
        };
        Ok(Said::Nothing(nothing.into()))
    }

    fn clock(&mut self, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        if !self.stamped {
            return Ok(None);
        }
        let before = other();
        // Reading the residue holds the rest of that moment.
        self.hw.read(regs::SYSTIMR);
        let after = other();
        let (nanoseconds, seconds) = (self.hw.read(regs::SYSTIML), self.hw.read(regs::SYSTIMH));
        self.hw.alive()?;
        let time = Timestamp(Duration::from_secs(seconds.into()) + Duration::from_nanos(nanoseconds.into()));
        Ok(Some(ClockReading { before, time, after, step_ps: desc::STAMP_STEP_PS }))
    }
}

impl Drop for Card {
    /// Queues off, DMA off, bus mastering off; only then may memory go. The
    /// function may keep what it has mapped, and then nothing reads or writes it.
    fn drop(&mut self) {
        irq::mask(&self.hw);
        self.interrupts = None;
        setup::stop(&self.hw, self.rx_queues, self.tx_queues);
        // A card that is gone cannot be told; one that is there was stopped above.
        let _ = self.function.set_bus_master(false);
    }
}
