//! Driver for Intel X710, XL710, XXV710 and X722.
//!
//! ```text
//!            memory                                       card
//!
//!   Pool --buffer--> [ receive ring ] --QRX_TAIL--> fetches, fills, writes back
//!    ^                    v                                  ^
//!    |                  Batch                                |  queue contexts:
//!    |                    v                                  |  ring, lengths, who
//!    +- reclaim --- [ transmit ring ] --QTX_TAIL--> fetches, sends, reports
//!                                                            |
//!        segment of 2 MiB [ contexts ] <----- HMC -----------+
//!
//!   command -> [ ATQ: one at a time ] --PF_ATQT--> firmware: switch, filters,
//!   event   <- [ ARQ: link changed  ] <--PF_ARQH-- PHY, NVM
//! ```
//!
//! The first half is as in every family of Intel's ([`rx`], [`tx`]). The rest is
//! new with this one: most of the card belongs to its firmware, which is asked
//! through a pair of queues (`adminq`), and what a queue is stands in memory of
//! the host's (`hmc`).
//!
//! A card is brought up in the order of the datasheet (332464): reset (§4),
//! admin queue (§7.10), host memory cache (§7.9), switch (§7.4), filters (§7.1),
//! link (§3.2), queues (§8). See [`open`]. No step waits without a bound.
//!
//! Received packets have no timestamps of the card's: it stamps PTP event
//! messages alone, into four registers, and no data path here reads a register.
//!
//! Not here: virtual functions, traffic classes (DCB), iWARP, FCoE, segmentation
//! offload.

mod adminq;
mod desc;
mod fdir;
mod filters;
mod firmware;
mod hmc;
mod hw;
mod ids;
mod irq;
mod link;
mod regs;
mod setup;
mod stats;
mod vsi;

use super::irq::Interrupts;
use super::limits::Limits;
use super::rings::Rings;
use super::supply::Supply;
use super::tally::Tally;
use super::{Anomalies, Config, Description, FlowRule, Link, Nic, Port, Stats, TimestampSource, rx, tx};
use crate::dma::Decoder;
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use crate::pci::{self, Function};
use adminq::AdminQueue;
use fdir::Steering;
use filters::Addresses;
use firmware::{Capabilities, Place};
use hmc::Contexts;
use hw::Hw;
use ids::Model;
use setup::{Allocation, Running};
use std::sync::Arc;
use vsi::{Vsi, Wishes};

/// Queues that the hash can name: 6-bit entries (§7.1.8).
const MAX_QUEUES: u16 = 64;

/// Longest frame with FCS and tags (§8.3.1).
const MAX_LENGTH: u16 = 9728;

/// Longest frame without FCS.
const MAX_FRAME: u16 = MAX_LENGTH - FCS;

/// Bytes of the FCS.
const FCS: u16 = 4;

/// Bytes that may come on top of the longest frame: two VLAN tags.
const TAGS: u16 = 8;

/// Longest frame with FCS and tags that a queue is to take in.
fn longest(config: &Config) -> u16 {
    (config.max_frame + TAGS + FCS).min(MAX_LENGTH)
}

/// A receive queue with descriptors of 16 bytes.
pub type RxQueue = rx::Queue<desc::ReceivedShort>;

/// A receive queue with descriptors of 32 bytes.
pub type LongRxQueue = rx::Queue<desc::ReceivedLong>;

/// A transmit queue.
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
/// it does not answer, [`Kind::Timeout`] if a step does not end,
/// [`Kind::Unsupported`] if its firmware is too old or its NVM is damaged.
pub fn open(function: Arc<dyn Function>, config: &Config) -> Result<Port> {
    let Some(model) = ids::find(function.id()) else {
        return Err(super::unsupported(&*function));
    };
    let most = Limits { rx_queues: MAX_QUEUES, tx_queues: MAX_QUEUES, max_frame: MAX_FRAME };
    most.check(function.name(), config)?;
    let hw = Arc::new(Hw::new(&*function, model)?);
    let allocation = setup::allocation(&hw)?;
    setup::reset(&hw, allocation)?; // §4.2

    // From here on a failure stops the card again: Card's drop does.
    let mut card = Card::new(function, hw, allocation, model, config)?; // §7.10.4, §7.9
    card.ask_firmware()?; // §7.10
    card.limits().check(&card.description.device, config)?;
    card.set_up_port(config)?; // §7.4, §7.1, §3.2
    let (rx, tx) = card.queues(config)?; // §8.3, §8.4
    Ok(Port { rx, tx, nic: Box::new(card) })
}

/// The control plane of an opened card. Dropped, it stops the card.
struct Card {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    description: Description,
    allocation: Allocation,
    capabilities: Capabilities,
    place: Place,
    vsi: Vsi,
    rx_queues: u16,
    /// The queue pair that flow director may have.
    spare: u16,
    loopback: bool,
    aq: AdminQueue,
    contexts: Contexts,
    addresses: Addresses,
    steering: Option<Steering>,
    watch: link::Watch,
    counters: stats::Counters,
    running: Running,
    tallies: Vec<Arc<Tally>>,
    interrupts: Option<Interrupts>,
}

impl Card {
    fn new(
        function: Arc<dyn Function>,
        hw: Arc<Hw>,
        allocation: Allocation,
        model: &'static Model,
        config: &Config,
    ) -> Result<Self> {
        let spare = config.rx_queues.max(config.tx_queues).next_power_of_two();
        function.set_bus_master(true)?;
        let memory = AdminQueue::new(&*function, &hw)
            .and_then(|aq| Contexts::new(&*function, &hw, spare + 1).map(|contexts| (aq, contexts)))
            .inspect_err(|_| {
                setup::stop(&hw, allocation, &Running::default(), None);
                let _ = function.set_bus_master(false);
            });
        let (aq, contexts) = memory?;
        let description = Description {
            device: function.name().to_owned(),
            model: model.name,
            driver: "i40e",
            kind: function.kind(),
            mac: MacAddr::default(),
            timestamps: TimestampSource::Tsc,
            max_rx_queues: MAX_QUEUES,
            max_tx_queues: MAX_QUEUES,
        };
        Ok(Card {
            function,
            hw,
            description,
            allocation,
            capabilities: Capabilities::default(),
            place: Place::default(),
            vsi: Vsi::default(),
            rx_queues: config.rx_queues,
            spare,
            loopback: config.loopback,
            aq,
            contexts,
            addresses: Addresses::default(),
            steering: None,
            watch: link::Watch::new(),
            counters: stats::Counters::default(),
            running: Running::default(),
            tallies: Vec::new(),
            interrupts: None,
        })
    }

    /// What the firmware says of itself and of the card.
    fn ask_firmware(&mut self) -> Result<()> {
        let (aq, hw) = (&mut self.aq, &self.hw);
        firmware::check_version(aq, hw)?;
        firmware::check_nvm(aq, hw)?; // §6.3
        firmware::introduce(aq)?;
        firmware::leave_boot_mode(aq, hw)?;
        self.capabilities = firmware::capabilities(aq, hw)?;
        self.description.mac = firmware::mac(aq, hw)?;
        self.place = firmware::place(aq, hw)?;
        let limits = self.limits();
        self.description.max_rx_queues = limits.rx_queues;
        self.description.max_tx_queues = limits.tx_queues;
        Ok(())
    }

    /// What this function of this card can have.
    fn limits(&self) -> Limits {
        let queues = |of: u32| of.min(u32::from(MAX_QUEUES.min(self.allocation.count))) as u16;
        Limits {
            rx_queues: queues(self.capabilities.rx_queues),
            tx_queues: queues(self.capabilities.tx_queues),
            max_frame: MAX_FRAME,
        }
    }

    /// Interface, filters, link.
    fn set_up_port(&mut self, config: &Config) -> Result<()> {
        let (aq, hw) = (&mut self.aq, &self.hw);
        let wishes = Wishes { queues: self.spare, vlan_strip: config.vlan_strip };
        self.vsi = vsi::configure(aq, hw, self.place, wishes)?;
        self.addresses = Addresses::new(aq, hw, &self.vsi, self.description.mac)?;
        filters::set_promiscuous(aq, &self.vsi, config.promiscuous)?;
        let entries = self.capabilities.rss_entries;
        filters::enable(aq, hw, entries, self.capabilities.flow_filters != 0)?;
        if config.rx_queues > 1 {
            filters::set_rss(aq, hw, &self.vsi, &config.rss, config.rx_queues, entries)?;
        }
        link::start(aq, config.loopback)?;
        self.watch.ask(aq, hw)?;
        self.counters = stats::Counters::new(hw, &self.vsi);
        Ok(())
    }

    /// Makes the rings, in one arena, and tells the card of them.
    fn queues(&mut self, config: &Config) -> Result<(Vec<super::RxQueue>, Vec<super::TxQueue>)> {
        let long = config.long_descriptors;
        let rx_bytes = if long { size_of::<desc::Long>() } else { size_of::<desc::Short>() };
        let rings = Rings::new(&*self.function, config, rx_bytes, size_of::<desc::Short>())?;
        if config.interrupts {
            self.interrupts = Some(Interrupts::new(&self.function, config.rx_queues, irq::FIRST, irq::MOST)?);
        }
        let reading = rx::Reading {
            max_frame: u32::from(config.max_frame),
            stamped: false,
            decoder: if config.vlan_strip {
                Decoder::of::<desc::Words<true>>()
            } else {
                Decoder::of::<desc::Words<false>>()
            },
        };
        let (hw, contexts, allocation) = (&self.hw, &self.contexts, self.allocation);
        let mut rx = Vec::new();
        for n in 0..config.rx_queues {
            let ring = rings.rx(n);
            let wanted = setup::Receive { ring: &ring, len: config.rx_ring, long, longest: u32::from(longest(config)) };
            self.running.rx = 0..n + 1;
            setup::receive_queue(hw, contexts, n, &wanted)?;
            let interrupt = self.interrupts.as_ref().map(|interrupts| {
                let hw = Arc::clone(hw);
                interrupts.of(n, move || irq::unmask(&hw, n))
            });
            match interrupt {
                Some(_) => irq::route_waited(hw, n),
                None => irq::route_polled(hw, n),
            }
            let (tail, len) = (hw.doorbell(regs::QRX_TAIL.at(n))?, u32::from(config.rx_ring));
            let supply = Supply::new(&self.function);
            if long {
                let queue = LongRxQueue::new(ring, len, tail, supply, &reading, interrupt);
                self.tallies.push(queue.tally());
                rx.push(super::RxQueue::I40eLong(queue));
            } else {
                let queue = RxQueue::new(ring, len, tail, supply, &reading, interrupt);
                self.tallies.push(queue.tally());
                rx.push(super::RxQueue::I40e(queue));
            }
        }
        let mut tx = Vec::new();
        for n in 0..config.tx_queues {
            let ring = rings.tx(n);
            self.running.tx = 0..n + 1;
            setup::transmit_queue(hw, contexts, allocation, n, &ring, &self.vsi, false)?;
            let tail = hw.doorbell(regs::QTX_TAIL.at(n))?;
            let queue = TxQueue::new(ring, u32::from(config.tx_ring), tail, Supply::new(&self.function));
            self.tallies.push(queue.tally());
            tx.push(super::TxQueue::I40e(queue));
        }
        Ok((rx, tx))
    }

    /// Takes in what the firmware has to tell. Whoever has a card open asks
    /// for its link or its statistics now and then, and so does this. Fails if
    /// the card is gone.
    fn events(&mut self) -> Result<()> {
        self.hw.alive()?;
        let mut changed = self.aq.overflowed();
        // A ring's worth, no more: a firmware that never stops telling must not
        // hold the driver up.
        for _ in 0..adminq::RING {
            let Some(event) = self.aq.event()? else { break };
            changed |= self.watch.event(&self.hw, &event)?;
        }
        // Only an answer lets the firmware tell of the next change.
        if changed || self.watch.doubtful() { self.watch.ask(&mut self.aq, &self.hw) } else { Ok(()) }
    }
}

impl Nic for Card {
    fn describe(&self) -> &Description {
        &self.description
    }

    fn link(&mut self) -> Result<Link> {
        self.events()?;
        Ok(self.watch.state())
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        self.hw.alive()?;
        filters::set_promiscuous(&mut self.aq, &self.vsi, on)
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        self.hw.alive()?;
        self.addresses.set_groups(&mut self.aq, &self.hw, &self.vsi, groups)
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        self.hw.alive()?;
        self.addresses.set_own(&mut self.aq, &self.hw, &self.vsi, mac)?;
        self.description.mac = mac;
        Ok(())
    }

    fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        self.hw.alive()?;
        let entries = self.capabilities.rss_entries;
        filters::set_rss_table(&mut self.aq, &self.hw, &self.vsi, table, self.rx_queues, entries)
    }

    fn steer(&mut self, rule: &FlowRule) -> Result<()> {
        self.hw.alive()?;
        let (hw, aq, queue) = (&self.hw, &mut self.aq, self.spare);
        if self.capabilities.flow_filters == 0 || queue >= self.allocation.count {
            return Err(hw.error(Kind::Unsupported, "its NVM leaves this function no flow director"));
        }
        let steering = match &mut self.steering {
            Some(steering) => steering,
            none => {
                // Before it is on: what fails half-way is stopped too.
                self.running.steering = Some(queue);
                let (contexts, place) = (&self.contexts, self.place);
                none.insert(Steering::new(&*self.function, hw, aq, contexts, self.allocation, place, queue)?)
            }
        };
        steering.add(hw, aq, &self.vsi, rule, self.rx_queues)
    }

    fn stats(&mut self) -> Result<Stats> {
        // Before the counters: all ones would be added up.
        self.events()?;
        let mut stats = self.counters.update(&self.hw, &self.vsi);
        stats.anomalies = Anomalies::default();
        for tally in &self.tallies {
            stats.anomalies.add(&tally.read());
        }
        Ok(stats)
    }
}

impl Drop for Card {
    /// Queues off, admin queue closed, bus mastering off; only then may memory
    /// go. The function keeps what it has mapped until it is closed.
    fn drop(&mut self) {
        if self.loopback {
            link::end_loopback(&mut self.aq);
        }
        irq::clear(&self.hw);
        self.interrupts = None;
        setup::stop(&self.hw, self.allocation, &self.running, Some(&mut self.aq));
        // A card that is gone cannot be told; one that is there was stopped above.
        let _ = self.function.set_bus_master(false);
    }
}
