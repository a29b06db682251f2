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
//! What the generations have apart:
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
mod cmd;
mod codes;
mod cq;
mod delivery;
mod desc;
mod events;
mod feed;
mod filters;
mod firmware;
mod grant;
mod hw;
mod hwrm;
mod ids;
mod link;
mod meta;
mod parts;
mod port;
mod regs;
mod rings;
mod rx;
#[cfg(test)]
mod scripted;
mod stats;
#[cfg(test)]
mod tests;
mod time;
mod tx;

pub use bell::Generation;
pub use rx::RxQueue;
pub use tx::TxQueue;

use super::config::Config;
use super::irq::Interrupts;
use super::limits::Limits;
use super::ops::{ClockReading, Description, FlowRule, Link, NicOps, Opened, TimestampSource, no_driver};
use super::pieces::Pieces;
use super::slots::{Stock, TAGS};
use super::stats::Stats;
use crate::dma::{BUFFER_SIZE, Region};
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::{self, Function};
use delivery::{Delivery, Handling};
use filters::{Filters, Steering};
use firmware::PortQueues;
use grant::{Need, Plan};
use hw::{Hw, Resources};
use port::{Port, Shared, ring_bytes};
use rings::{Common, Events, RxRings, TxRings};
use std::sync::Arc;
use std::time::Duration;
use time::PortClock;

/// Most queues of each kind: those that one table of P5 can name.
const MAX_QUEUES: u16 = 64;

/// What any of these cards can be configured to.
const LIMITS: Limits = Limits { rx_queues: MAX_QUEUES, tx_queues: MAX_QUEUES, max_frame: 9518 };

/// Entries of a notification queue of a receive queue: it is armed for one at a time.
const NOTIFICATIONS: u32 = 256;

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
    let most = base.most.unwrap_or(hw.caps.most);
    description.max_rx_queues = MAX_QUEUES.min(most.rx).min(most.completions.saturating_sub(1)).max(1);
    description.max_tx_queues = MAX_QUEUES.min(most.tx).min(most.completions.saturating_sub(1)).max(1);
    let (rx, tx) = card.set_up(config, &base, description.mac)?;
    if card.clock.is_some() {
        description.timestamps = TimestampSource::Hardware;
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

/// The control plane of an opened card. Dropped, it stops the card.
struct Card {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    tells_interface: bool,
    port: Option<Shared>,
    filters: Option<Filters>,
    events: Option<events::Watch>,
    link: Option<link::Watch>,
    counters: Option<stats::Counters>,
    clock: Option<PortClock>,
    interrupts: Option<Interrupts>,
}

/// Memory for all that the card reads and writes but frames.
struct Memory {
    pieces: Pieces,
    stats: Vec<Region>,
    table: Region,
    key: Region,
    groups: Region,
    port_stats: Region,
    events: Region,
}

/// Entries of the rings of all queues.
#[derive(Clone, Copy)]
struct Lengths {
    rx: rx::Lengths,
    tx: tx::Lengths,
}

impl Memory {
    fn new(function: &dyn Function, config: &Config, plan: &Plan, lengths: Lengths) -> Result<Memory> {
        let Lengths { rx, tx } = lengths;
        let own = if plan.own_notifications { NOTIFICATIONS } else { 0 };
        let receive = [rx.receive, rx.aggregation, rx.completions, own];
        let transmit = [tx.transmit, tx.completions];
        let rings = |count: u16, each: Vec<u32>| {
            (0..count).flat_map(move |_| each.clone()).filter(|&entries| entries > 0).map(ring_bytes)
        };
        let counters = (0..plan.stats).map(|_| rings::STATS_BYTES);
        let others = [
            delivery::TABLE_BYTES,
            delivery::KEY_BYTES,
            filters::GROUPS_BYTES,
            stats::PORT_BYTES,
            ring_bytes(events::ENTRIES),
        ];
        let sizes = rings(config.rx_queues, receive.to_vec()).chain(rings(config.tx_queues, transmit.to_vec()));
        let mut pieces = Pieces::new(function, sizes.chain(counters).chain(others))?;
        Ok(Memory {
            stats: (0..plan.stats).map(|_| pieces.take(rings::STATS_BYTES)).collect(),
            table: pieces.take(delivery::TABLE_BYTES),
            key: pieces.take(delivery::KEY_BYTES),
            groups: pieces.take(filters::GROUPS_BYTES),
            port_stats: pieces.take(stats::PORT_BYTES),
            events: pieces.take(ring_bytes(events::ENTRIES)),
            pieces,
        })
    }

    /// Memory of a ring.
    fn ring(&mut self, entries: u32) -> Region {
        self.pieces.take(ring_bytes(entries)).part(0, entries as usize * cq::ENTRY)
    }
}

impl Card {
    fn new(function: Arc<dyn Function>, hw: Arc<Hw>) -> Self {
        Card {
            function,
            hw,
            tells_interface: false,
            port: None,
            filters: None,
            events: None,
            link: None,
            counters: None,
            clock: None,
            interrupts: None,
        }
    }

    /// Reserves, and sets everything up, the filters last.
    fn set_up<R: From<RxQueue>, T: From<TxQueue>>(
        &mut self,
        config: &Config,
        base: &Base,
        mac: MacAddr,
    ) -> Result<(Vec<R>, Vec<T>)> {
        let hw = Arc::clone(&self.hw);
        let configured = firmware::configured(&hw)?;
        let mut config = config.clone();
        if config.max_frame > configured.max_frame {
            if !config.shorter_frames {
                let (asked, most) = (config.max_frame, configured.max_frame);
                let text = format!("the longest frame cannot be {asked}; this card is configured for up to {most}");
                return Err(hw.error(Kind::Usage, text));
            }
            config.max_frame = configured.max_frame;
        }
        rings::check_doorbells(&hw, config.rx_queues, config.tx_queues)?;
        let steering = Steering::of(&hw)?;
        let need = Need::new(&config, hw.generation);
        let plan = grant::reserve(&hw, &need, base.most.as_ref())?;
        if need.long && !plan.long {
            config.max_frame = BUFFER_SIZE as u16 - TAGS as u16;
        }
        self.clock = if config.timestamps { PortClock::start(&hw)? } else { None };
        self.link = Some(link::Watch::start(&hw, configured.shared, config.loopback)?);
        let lengths =
            Lengths { rx: rx::Lengths::of(config.rx_ring, config.max_frame), tx: tx::Lengths::of(config.tx_ring) };
        let mut memory = Memory::new(&*self.function, &config, &plan, lengths)?;
        let handling = Handling {
            longest: (config.max_frame + TAGS as u16).min(configured.max_frame),
            strip: config.vlan_strip,
            long: lengths.rx.aggregation > 0,
        };
        let shared = self.start(&config, base, &plan, &mut memory, lengths, handling)?;
        let queues = self.queues(&config, &shared)?;
        let filters = self.filters.insert(Filters::new(steering, memory.groups.clone()));
        let port = shared.lock();
        self.counters = Some(stats::Counters::start(&hw, &port.common.stats, memory.port_stats)?);
        filters.start(&hw, &port.delivery, mac, config.promiscuous)?;
        Ok(queues)
    }

    /// Starts rings and places.
    fn start(
        &mut self,
        config: &Config,
        base: &Base,
        plan: &Plan,
        memory: &mut Memory,
        lengths: Lengths,
        handling: Handling,
    ) -> Result<Shared> {
        let hw = &self.hw;
        let tx_stamps = self.clock.as_ref().is_some_and(|clock| clock.tx);
        let common = Common::new(hw, config.rx_queues, config.tx_queues, base.queues.queue, tx_stamps)?;
        let port = Port { common, events: None, rx: Vec::new(), tx: Vec::new(), delivery: Delivery::new(handling) };
        // What was started when a step fails is freed by Card's drop.
        let shared = self.port.insert(Shared::new(port)).clone();
        let mut port = shared.lock();
        let Port { common, events, rx, tx, delivery } = &mut *port;
        if plan.events {
            let events = events.insert(Events::start(hw, common, memory.events.clone())?);
            let (region, bell) = events.parts(hw)?;
            self.events = Some(events::Watch::new(region, bell));
            events.subscribe(hw)?;
        }
        for region in &memory.stats {
            common.count(hw, region)?;
        }
        for n in 0..config.rx_queues {
            let own = plan.own_notifications.then(|| memory.ring(NOTIFICATIONS));
            rx.push(RxRings::new(n, lengths.rx, own, config.interrupts, |entries| memory.ring(entries)));
            rx[usize::from(n)].start(hw, common)?;
        }
        for n in 0..config.tx_queues {
            tx.push(TxRings::new(n, lengths.tx, |entries| memory.ring(entries)));
            tx[usize::from(n)].start(hw, common)?;
        }
        delivery.start(hw, rx, &config.rss, (memory.table.clone(), memory.key.clone()), plan.places)?;
        drop(port);
        Ok(shared)
    }

    /// Makes the queues of rings that were started.
    fn queues<R: From<RxQueue>, T: From<TxQueue>>(
        &mut self,
        config: &Config,
        shared: &Shared,
    ) -> Result<(Vec<R>, Vec<T>)> {
        let hw = &self.hw;
        if config.interrupts {
            self.interrupts = Some(Interrupts::new(&self.function, config.rx_queues, 0, MAX_QUEUES)?);
        }
        let clock = self.clock.as_ref().map(|clock| clock.clock.clone());
        let port = shared.lock();
        let mut rx = Vec::new();
        for (n, rings) in port.rx.iter().enumerate() {
            // The queue itself arms its rings, as it knows up to where it has read.
            let interrupt = self.interrupts.as_ref().map(|interrupts| interrupts.of(n as u16, || ()));
            let parts = rx::RxParts {
                generation: hw.generation,
                descriptors: rings.descriptors.clone(),
                aggregation: rings.aggregation.clone(),
                completions: rings.completions.clone(),
                notifications: rings.notifications.clone(),
                bells: rings.bells(hw, &port.common)?,
                stock: Stock::new(&self.function, interrupt),
                max_frame: u32::from(config.max_frame),
                clock: clock.clone(),
                restart: shared.restart_rx(hw, n),
            };
            rx.push(RxQueue::new(parts).into());
        }
        let mut tx = Vec::new();
        for (n, rings) in port.tx.iter().enumerate() {
            let parts = tx::TxParts {
                descriptors: rings.descriptors.clone(),
                completions: rings.completions.clone(),
                bells: rings.bells(hw, &port.common)?,
                tags: hw.caps.flags & codes::caps::TX_VLAN_DISABLED == 0,
                clock: clock.clone().filter(|_| port.common.tx_stamps),
                restart: shared.restart_tx(hw, n),
            };
            tx.push(TxQueue::new(&self.function, parts).into());
        }
        Ok((rx, tx))
    }

    /// Takes events in. Fails if the card is gone, or its firmware has restarted.
    fn attend(&mut self) -> Result<()> {
        let hw = &self.hw;
        hw.check()?;
        let news = self.events.as_mut().map(events::Watch::read).unwrap_or_default();
        if let Some(data) = news.reset {
            return Err(hw.lost(format_args!("its firmware restarts {}", events::explain(data))));
        }
        firmware::check_state(hw)?;
        if news.phy
            && let Some(link) = &mut self.link
        {
            link.changed(hw)?;
        }
        Ok(())
    }

    /// What filters are changed with.
    fn with_filters<O>(&mut self, what: impl FnOnce(&mut Filters, &Hw, &mut Port) -> Result<O>) -> Result<O> {
        self.attend()?;
        let hw = &self.hw;
        let (Some(filters), Some(port)) = (&mut self.filters, &self.port) else {
            return Err(hw.error(Kind::Device, "it was not opened to the end"));
        };
        what(filters, hw, &mut port.lock())
    }

    /// Tells the queues the time.
    fn tell_time(&self) -> Result<()> {
        match &self.clock {
            Some(clock) => clock.tell(&self.hw).map(drop),
            None => Ok(()),
        }
    }
}

impl NicOps for Card {
    fn link(&mut self) -> Result<Link> {
        self.attend()?;
        self.tell_time()?;
        match &mut self.link {
            Some(link) => link.state(&self.hw),
            None => Ok(Link::default()),
        }
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        self.with_filters(|filters, hw, port| filters.set_promiscuous(hw, &port.delivery, on))
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        self.with_filters(|filters, hw, port| filters.set_multicast(hw, &port.delivery, groups))
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        self.with_filters(|filters, hw, port| filters.set_mac(hw, &port.delivery, mac))
    }

    fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        self.with_filters(|filters, hw, port| {
            port.delivery.set_table(hw, &port.rx, table)?;
            // Flows that lead to entries would lead elsewhere now.
            if port.delivery.has_places() { Ok(()) } else { filters.renew(hw, &port.delivery) }
        })
    }

    fn steer(&mut self, slot: usize, rule: &FlowRule) -> Result<()> {
        self.with_filters(|filters, hw, port| filters.steer(hw, &port.delivery, slot, rule))
    }

    fn stats(&mut self) -> Result<Stats> {
        self.attend()?;
        self.tell_time()?;
        match &mut self.counters {
            Some(counters) => counters.update(&self.hw),
            None => Ok(Stats::default()),
        }
    }

    fn clock(&mut self, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        self.attend()?;
        match &self.clock {
            Some(clock) => clock.read(&self.hw, other),
            None => Ok(None),
        }
    }
}

impl Drop for Card {
    /// Filters and places out, rings freed, the driver signed off, the function reset,
    /// bus mastering off; only then may memory go. The function keeps what it has
    /// mapped until it is closed.
    fn drop(&mut self) {
        let hw = &self.hw;
        // A firmware that says nothing is not asked again; a step that fails leaves
        // what it was for to the reset.
        if let Some(shared) = &self.port {
            let mut port = shared.lock();
            if let Some(filters) = &mut self.filters {
                filters.stop(hw, &port.delivery);
            }
            let _ = port.stop(hw);
        }
        if let Some(clock) = &self.clock {
            clock.stop(hw);
        }
        if let Some(link) = &mut self.link {
            link.stop(hw);
        }
        firmware::leave(hw, self.tells_interface, || {
            let _ = self.function.reset();
        });
        self.interrupts = None;
        let _ = self.function.set_bus_master(false);
    }
}
