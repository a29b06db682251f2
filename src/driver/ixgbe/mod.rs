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

mod desc;
mod filters;
mod hw;
mod ids;
mod irq;
mod link;
mod regs;
mod setup;
mod sfp;
mod stats;

use super::irq::Interrupts;
use super::limits::Limits;
use super::rings::Rings;
use super::supply::Supply;
use super::tally::Tally;
use super::{Anomalies, ClockReading, Config, Description, FlowRule, Link, Nic, Port, Stats, TimestampSource, rx, tx};
use crate::dma::{Decoder, Timestamp};
use crate::error::Result;
use crate::net::MacAddr;
use crate::pci::{self, Function};
use desc::Descriptor;
use hw::Hw;
use ids::{Mac, Media, Model};
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

/// A receive queue of an 82599, X540 or X550.
pub type RxQueue = rx::Queue<desc::Received>;

/// A transmit queue of an 82599, X540 or X550.
pub type TxQueue = tx::Queue<desc::ToSend>;

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
pub fn open(function: Arc<dyn Function>, config: &Config) -> Result<Port> {
    let Some(model) = ids::find(function.id()) else {
        return Err(super::unsupported(&*function));
    };
    let hw = Arc::new(Hw::new(&*function, model)?);
    LIMITS.check(function.name(), config)?;

    // From here on a failure stops the card again: Card's drop does.
    setup::reset(&hw)?; // §4.6.3
    let mut card = Card::new(function, hw, model, config)?;
    let hw = Arc::clone(&card.hw);
    setup::general(&hw); // §4.6.3
    card.module = link::start(&hw, config.loopback)?; // §4.6.4
    card.counters = stats::Counters::default();
    stats::Counters::default().update(&hw, MAX_RX_QUEUES); // §4.6.5: reading clears
    filters::clear(&hw); // §4.6.7
    filters::set_mac(&hw, card.description.mac)?;
    setup::receive_unit(&hw, config);
    filters::set_promiscuous(&hw, config.promiscuous);
    if config.rx_queues > 1 {
        filters::set_rss(&hw, &config.rss, config.rx_queues)?;
    }
    if card.description.timestamps == TimestampSource::Hardware {
        setup::timestamps(&hw);
    }
    setup::transmit_unit(&hw); // §4.6.8
    card.function.set_bus_master(true)?;
    let (rx, tx) = card.queues(config)?; // §4.6.7.1, §4.6.8.1
    setup::start_receive(&hw)?;
    Ok(Port { rx, tx, nic: Box::new(card) })
}

/// The control plane of an opened card. Dropped, it stops the card.
struct Card {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    description: Description,
    rx_queues: u16,
    tx_queues: u16,
    loopback: bool,
    /// What is in the SFP+ cage, as far as the link was brought up with it.
    module: Module,
    steering: filters::Steering,
    counters: stats::Counters,
    tallies: Vec<Arc<Tally>>,
    interrupts: Option<Interrupts>,
}

impl Card {
    fn new(function: Arc<dyn Function>, hw: Arc<Hw>, model: &'static Model, config: &Config) -> Result<Self> {
        let stamps = config.timestamps && model.mac == Mac::X550;
        let description = Description {
            device: function.name().to_owned(),
            model: model.name,
            driver: "ixgbe",
            kind: function.kind(),
            mac: filters::mac(&hw)?,
            timestamps: if stamps { TimestampSource::Hardware } else { TimestampSource::Tsc },
            max_rx_queues: MAX_RX_QUEUES,
            max_tx_queues: MAX_TX_QUEUES,
        };
        Ok(Card {
            function,
            hw,
            description,
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            loopback: config.loopback,
            module: Module::Absent,
            steering: filters::Steering::default(),
            counters: stats::Counters::default(),
            tallies: Vec::new(),
            interrupts: None,
        })
    }

    /// Makes the rings, in one arena, and tells the card of them.
    fn queues(&mut self, config: &Config) -> Result<(Vec<super::RxQueue>, Vec<super::TxQueue>)> {
        let rings = Rings::new(&*self.function, config, size_of::<Descriptor>(), size_of::<Descriptor>())?;
        if config.interrupts {
            self.interrupts = Some(Interrupts::new(&self.function, config.rx_queues, 0, irq::MAX_VECTORS)?);
            irq::route(&self.hw, config.rx_queues);
        }
        let reading = rx::Reading {
            max_frame: u32::from(config.max_frame),
            stamped: self.description.timestamps == TimestampSource::Hardware,
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
            let ring = rings.rx(n);
            setup::receive_queue(hw, n, &ring, config)?;
            let interrupt = self.interrupts.as_ref().map(|interrupts| {
                let hw = Arc::clone(hw);
                interrupts.of(n, move || irq::unmask(&hw, n))
            });
            let tail = hw.doorbell(regs::RDT.at(n))?;
            let queue =
                RxQueue::new(ring, u32::from(config.rx_ring), tail, Supply::new(&self.function), &reading, interrupt);
            self.tallies.push(queue.tally());
            rx.push(super::RxQueue::Ixgbe(queue));
        }
        let mut tx = Vec::new();
        for n in 0..config.tx_queues {
            let ring = rings.tx(n);
            setup::transmit_queue(hw, n, &ring)?;
            let tail = hw.doorbell(regs::TDT.at(n))?;
            let queue = TxQueue::new(ring, u32::from(config.tx_ring), tail, Supply::new(&self.function));
            self.tallies.push(queue.tally());
            tx.push(super::TxQueue::Ixgbe(queue));
        }
        Ok((rx, tx))
    }
}

impl Nic for Card {
    fn describe(&self) -> &Description {
        &self.description
    }

    fn link(&mut self) -> Result<Link> {
        // A module that was plugged in since.
        if self.hw.media == Media::Sfp && self.module == Module::Absent && !self.loopback {
            self.module = sfp::identify(&self.hw)?;
            link::start_module(&self.hw, self.module)?;
        }
        link::state(&self.hw)
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        filters::set_promiscuous(&self.hw, on);
        self.hw.alive()
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        filters::set_multicast(&self.hw, groups)?;
        self.hw.alive()
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        filters::set_mac(&self.hw, mac)?;
        self.description.mac = mac;
        self.hw.alive()
    }

    fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        filters::set_rss_table(&self.hw, table, self.rx_queues)?;
        self.hw.alive()
    }

    fn steer(&mut self, rule: &FlowRule) -> Result<()> {
        self.steering.add(&self.hw, rule, self.rx_queues)?;
        self.hw.alive()
    }

    fn stats(&mut self) -> Result<Stats> {
        // Before the counters: all ones would be added up.
        self.hw.alive()?;
        let mut stats = self.counters.update(&self.hw, self.rx_queues);
        stats.anomalies = Anomalies::default();
        for tally in &self.tallies {
            stats.anomalies.add(&tally.read());
        }
        Ok(stats)
    }

    fn clock(&mut self, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        if self.description.timestamps != TimestampSource::Hardware {
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
    /// function keeps what it has mapped until it is closed.
    fn drop(&mut self) {
        irq::mask(&self.hw);
        self.interrupts = None;
        setup::stop(&self.hw, self.rx_queues, self.tx_queues);
        // A card that is gone cannot be told; one that is there was stopped above.
        let _ = self.function.set_bus_master(false);
    }
}
