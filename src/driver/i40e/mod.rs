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
//! through a pair of queues (`adminq`), and the contexts of its queues lie in host
//! memory (`hmc`).
//!
//! A card is brought up in the order of the datasheet (332464): reset (§4),
//! admin queue (§7.10), host memory cache (§7.9), switch (§7.4), filters (§7.1),
//! link (§3.2), queues (§8). See [`open`]. No step waits without a bound.
//!
//! The card does not stamp received packets: it stamps PTP event messages alone,
//! into four registers, and no data path here reads a register.
//!
//! Not here: virtual functions, traffic classes (DCB), iWARP, FCoE, segmentation
//! offload.

mod adminq;
mod answer;
mod desc;
mod fdir;
mod filters;
mod firmware;
mod hmc;
mod hw;
mod ids;
mod irq;
mod link;
mod module;
mod nvm;
mod regs;
mod setup;
mod stats;
mod vsi;

use super::config::Config;
use super::irq::Interrupts;
use super::limits::Limits;
use super::ops::{Description, FlowRule, Link, NicOps, Opened, Said, no_driver};
use super::pieces::Pieces;
use super::pluggable::Pluggable;
use super::slots::{Stock, TAGS};
use super::stats::Stats;
use super::{rx, tx};
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

/// Longest frame with FCS and tags that a queue is to take in.
fn longest(config: &Config) -> u16 {
    (config.max_frame + TAGS as u16 + FCS).min(MAX_LENGTH)
}

/// A receive queue with descriptors of 16 bytes.
pub type RxQueue = rx::Queue<desc::ReceivedShort>;

/// A receive queue with descriptors of 32 bytes.
pub type LongRxQueue = rx::Queue<desc::ReceivedLong>;

/// A transmit queue.
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
/// it does not answer, [`Kind::Timeout`] if a step does not end,
/// [`Kind::Unsupported`] if its firmware is too old or its NVM is damaged.
pub fn open<R, T>(function: Arc<dyn Function>, config: &Config) -> Result<Opened<R, T>>
where
    R: From<RxQueue> + From<LongRxQueue>,
    T: From<TxQueue>,
{
    let model = ids::find(function.id()).ok_or_else(|| no_driver(&*function))?;
    let most = Limits { rx_queues: MAX_QUEUES, tx_queues: MAX_QUEUES, max_frame: MAX_FRAME };
    most.check(function.name(), config)?;
    let hw = Arc::new(Hw::new(&function, model)?);
    let allocation = setup::allocation(&hw)?;
    setup::reset(&hw, allocation)?; // §4.2
    let mut description = Description::new(&*function, "i40e", model.name);

    // From here on a failure stops the card again: Card's drop does.
    let mut card = Card::new(function, hw, allocation, config)?; // §7.10.4, §7.9
    (description.mac, description.firmware) = card.ask_firmware()?; // §7.10
    let limits = card.limits();
    limits.check(&description.device, config)?;
    (description.max_rx_queues, description.max_tx_queues) = (limits.rx_queues, limits.tx_queues);
    card.set_up_port(config, description.mac)?; // §7.4, §7.1, §3.2
    let (rx, tx) = card.queues(config)?; // §8.3, §8.4
    description.lacks = card.aq.lacks.take();
    Ok(Opened { rx, tx, description, ops: Box::new(card) })
}

/// The control plane of an opened card. Dropped, it stops the card.
struct Card {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    allocation: Allocation,
    capabilities: Capabilities,
    place: Place,
    vsi: Vsi,
    rx_queues: u16,
    /// The queue pair that flow director may have.
    spare: u16,
    loopback: bool,
    /// Version of the NVM, if it could be read.
    nvm: Option<u16>,
    promiscuous: bool,
    /// The vectors of queues that are polled may not be masked.
    polled: bool,
    /// That was not so before.
    unmasked: bool,
    aq: AdminQueue,
    contexts: Contexts,
    addresses: Addresses,
    steering: Option<Steering>,
    watch: link::Watch,
    counters: stats::Counters,
    running: Running,
    interrupts: Option<Interrupts>,
}

impl Card {
    fn new(function: Arc<dyn Function>, hw: Arc<Hw>, allocation: Allocation, config: &Config) -> Result<Self> {
        let spare = config.rx_queues.max(config.tx_queues).next_power_of_two();
        function.set_bus_master(true)?;
        let memory = AdminQueue::new(&*function, &hw)
            .and_then(|aq| Contexts::new(&*function, &hw, spare + 1).map(|contexts| (aq, contexts)))
            .inspect_err(|_| {
                setup::stop(&hw, allocation, &Running::default(), None);
                let _ = function.set_bus_master(false);
            });
        let (aq, contexts) = memory?;
        Ok(Card {
            function,
            hw,
            allocation,
            capabilities: Capabilities::default(),
            place: Place::default(),
            vsi: Vsi::default(),
            rx_queues: config.rx_queues,
            spare,
            loopback: config.loopback,
            nvm: None,
            promiscuous: config.promiscuous,
            polled: false,
            unmasked: false,
            aq,
            contexts,
            addresses: Addresses::default(),
            steering: None,
            watch: link::Watch::new(),
            counters: stats::Counters::default(),
            running: Running::default(),
            interrupts: None,
        })
    }

    /// What the firmware says of itself and of the card: address and version.
    fn ask_firmware(&mut self) -> Result<(MacAddr, Option<String>)> {
        let (aq, hw) = (&mut self.aq, &self.hw);
        let version = firmware::check_version(aq, hw)?;
        self.nvm = firmware::check_nvm(aq, hw)?; // §6.3
        firmware::introduce(aq)?;
        firmware::leave_boot_mode(aq, hw)?;
        self.capabilities = firmware::capabilities(aq, hw)?;
        self.place = firmware::place(aq, hw)?;
        Ok((firmware::mac(aq, hw)?, Some(version)))
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
    fn set_up_port(&mut self, config: &Config, mac: MacAddr) -> Result<()> {
        let (aq, hw) = (&mut self.aq, &self.hw);
        let wishes = Wishes { queues: self.spare, vlan_strip: config.vlan_strip };
        self.vsi = vsi::configure(aq, hw, self.place, wishes)?;
        self.addresses = Addresses::new(aq, &self.vsi, mac)?;
        if let (Some(why), false) = (self.addresses.unfiltered(), self.promiscuous) {
            aq.lacks.note(format!("its address filters cannot take its own address ({why}): it receives all frames"));
            self.promiscuous = true;
        }
        let lost = "it receives what its firmware has filters for";
        self.promiscuous &= filters::set_promiscuous(aq, &self.vsi, self.promiscuous, Some(lost))?;
        let entries = self.capabilities.rss_entries;
        filters::enable(aq, hw, entries, self.capabilities.flow_filters != 0)?;
        if config.rx_queues > 1 && self.vsi.spreads {
            filters::set_rss(aq, hw, &self.vsi, &config.rss, config.rx_queues, entries)?;
        }
        let looped = config.loopback.then(|| link::loopback_mode(hw.mac, self.nvm));
        self.watch = link::start(aq, looped, config.max_frame + FCS)?;
        self.watch.ask(aq, hw)?;
        self.counters = stats::Counters::new(hw, &self.vsi);
        Ok(())
    }

    /// Makes the rings, in one arena, and tells the card of them.
    fn queues<R, T>(&mut self, config: &Config) -> Result<(Vec<R>, Vec<T>)>
    where
        R: From<RxQueue> + From<LongRxQueue>,
        T: From<TxQueue>,
    {
        let long = config.long_descriptors;
        let rx_bytes = if long { size_of::<desc::Long>() } else { size_of::<desc::Short>() };
        let (rx_ring, tx_ring) =
            (usize::from(config.rx_ring) * rx_bytes, usize::from(config.tx_ring) * size_of::<desc::Short>());
        let mut rings = Pieces::rings(&*self.function, config, rx_ring, tx_ring)?;
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
        self.polled = !config.interrupts;
        self.unmasked = self.polled && irq::stay_unmasked(&self.hw);
        let (hw, contexts, allocation) = (&self.hw, &self.contexts, self.allocation);
        let mut rx = Vec::new();
        for n in 0..config.rx_queues {
            let ring = rings.take(rx_ring);
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
            let stock = Stock::new(&self.function, interrupt);
            rx.push(if long {
                LongRxQueue::new(ring, len, tail, stock, &reading).into()
            } else {
                RxQueue::new(ring, len, tail, stock, &reading).into()
            });
        }
        let mut tx = Vec::new();
        for n in 0..config.tx_queues {
            let ring = rings.take(tx_ring);
            self.running.tx = 0..n + 1;
            setup::transmit_queue(hw, contexts, allocation, n, &ring, &self.vsi, false)?;
            let tail = hw.doorbell(regs::QTX_TAIL.at(n))?;
            tx.push(TxQueue::new(ring, u32::from(config.tx_ring), tail, &self.function).into());
        }
        Ok((rx, tx))
    }

    /// Takes in what the firmware has to tell. It is called whenever the link or
    /// the statistics are asked for. Fails if the card is gone.
    fn events(&mut self) -> Result<()> {
        self.hw.alive()?;
        let mut changed = self.aq.overflowed();
        // A ring's worth, no more: a firmware that never stops telling must not
        // hold the driver up.
        for _ in 0..adminq::RING {
            let Some(event) = self.aq.event()? else { break };
            changed |= self.watch.event(&event);
        }
        // Another driver of the card may have changed it back when it ended.
        if self.polled && irq::stay_unmasked(&self.hw) {
            self.unmasked = true;
            self.running.rx.clone().for_each(|queue| irq::unmask(&self.hw, queue));
        }
        // Only an answer lets the firmware tell of the next change.
        if changed || self.watch.doubtful() { self.watch.ask(&mut self.aq, &self.hw) } else { Ok(()) }
    }
}

impl NicOps for Card {
    fn link(&mut self) -> Result<Link> {
        self.events()?;
        Ok(self.watch.state())
    }

    fn why_down(&mut self) -> Option<String> {
        self.watch.why_down()
    }

    fn lacks(&mut self) -> Vec<String> {
        self.aq.lacks.take()
    }

    fn nvm(&mut self) -> Result<Said<String>> {
        self.hw.alive()?;
        nvm::look(&mut self.aq, &self.hw, self.nvm)
    }

    fn module(&mut self) -> Result<Said<Pluggable>> {
        self.hw.alive()?;
        module::look(&mut self.aq)
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        self.hw.alive()?;
        if let (Some(why), false) = (self.addresses.unfiltered(), on) {
            let text = format!("it must receive all frames, as no filter takes its own address: {why}");
            return Err(self.hw.error(Kind::Unsupported, text));
        }
        self.promiscuous = filters::set_promiscuous(&mut self.aq, &self.vsi, on, None)? && on;
        Ok(())
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        self.hw.alive()?;
        self.addresses.set_groups(&mut self.aq, &self.hw, &self.vsi, groups, self.promiscuous)
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        self.hw.alive()?;
        self.addresses.set_own(&mut self.aq, &self.hw, &self.vsi, mac, self.promiscuous)
    }

    fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        self.hw.alive()?;
        let entries = filters::table(table, self.rx_queues, self.capabilities.rss_entries);
        filters::set_rss_table(&mut self.aq, &self.hw, &self.vsi, &entries)
    }

    fn steer(&mut self, slot: usize, rule: &FlowRule) -> Result<()> {
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
        steering.add(hw, aq, &self.vsi, slot, rule)
    }

    fn stats(&mut self) -> Result<Stats> {
        self.events()?;
        let stats = self.counters.update(&self.hw, &self.vsi)?;
        self.hw.all_run(self.allocation.first, self.allocation.count)?;
        Ok(stats)
    }
}

impl Drop for Card {
    /// Queues off, admin queue closed, bus mastering off; only then may memory
    /// go. The function may keep what it has mapped, and then nothing reads or writes it.
    fn drop(&mut self) {
        if self.loopback {
            link::end_loopback(&mut self.aq);
        }
        if let Some(steering) = &self.steering {
            steering.restore(&self.hw, &mut self.aq);
        }
        irq::clear(&self.hw);
        if self.unmasked {
            irq::mask_again(&self.hw);
        }
        self.interrupts = None;
        setup::stop(&self.hw, self.allocation, &self.running, Some(&mut self.aq));
        // A card that is gone cannot be told; one that is there was stopped above.
        let _ = self.function.set_bus_master(false);
    }
}
