//! The control plane of an opened card, and the steps from a function that was
//! signed on for to queues.

use super::codes;
use super::cq;
use super::delivery::{self, Delivery, Handling};
use super::events;
use super::filters::{self, Filters, Steering};
use super::firmware;
use super::grant::{self, Need, Plan};
use super::health::Pulse;
use super::hw::Hw;
use super::link;
use super::module;
use super::port::{Port, Shared, ring_bytes};
use super::rings::{self, Common, Events, RxRings, TxRings};
use super::rx::{self, RxQueue};
use super::standstill::Lookout;
use super::stats;
use super::time::PortClock;
use super::tx::{self, TxQueue};
use super::{Base, MAX_QUEUES};
use crate::dma::{BUFFER_SIZE, Region};
use crate::driver::config::Config;
use crate::driver::irq::Interrupts;
use crate::driver::ops::{ClockReading, FlowRule, Link, NicOps, Said};
use crate::driver::pieces::Pieces;
use crate::driver::pluggable::Pluggable;
use crate::driver::slots::{Stock, TAGS};
use crate::driver::stats::Stats;
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use crate::pci::Function;
use std::sync::Arc;
use std::time::Instant;

/// Entries of a notification queue of a receive queue: it is armed for one at a time.
const NOTIFICATIONS: u32 = 256;

/// The control plane of an opened card. Dropped, it stops the card.
pub struct Card {
    function: Arc<dyn Function>,
    /// The card.
    pub hw: Arc<Hw>,
    /// The firmware wants to be told when rings are about to be used.
    pub tells_interface: bool,
    port: Option<Shared>,
    pub(super) filters: Option<Filters>,
    events: Option<events::Watch>,
    link: Option<link::Watch>,
    counters: Option<stats::Counters>,
    /// The clock that stamps received frames, if one does.
    pub clock: Option<PortClock>,
    interrupts: Option<Interrupts>,
    lookout: Lookout,
    pulse: Option<Pulse>,
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
    /// Nothing set up yet.
    pub fn new(function: Arc<dyn Function>, hw: Arc<Hw>) -> Self {
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
            lookout: Lookout::default(),
            pulse: None,
        }
    }

    /// Reserves, and sets everything up, the filters last.
    pub fn set_up<R: From<RxQueue>, T: From<TxQueue>>(
        &mut self,
        config: &Config,
        base: &Base,
        mac: MacAddr,
    ) -> Result<(Vec<R>, Vec<T>)> {
        let hw = Arc::clone(&self.hw);
        self.pulse = Pulse::find(&hw, Instant::now())?;
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
        let contexts: Vec<_> = shared.lock().common.stats.iter().copied().zip(memory.stats.clone()).collect();
        self.counters = Some(stats::Counters::start(&hw, &contexts, memory.port_stats, configured.shared)?);
        let queues = self.queues(&config, &shared)?;
        let filters = self.filters.insert(Filters::new(steering, memory.groups.clone()));
        let port = shared.lock();
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
            let taken = if plan.own_notifications { config.rx_queues } else { 0 };
            let events = events.insert(Events::start(hw, common, memory.events.clone(), taken)?);
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
        let port_counts = self.counters.as_ref().is_some_and(stats::Counters::has_port);
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
                port_counts,
                restart: shared.restart_rx(hw, n),
                recall: self.lookout.rx(),
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
                recall: self.lookout.tx(),
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
            return Err(hw.lost(format_args!("its firmware restarts{}", events::explain(data))));
        }
        firmware::check_state(hw)?;
        if let Some(pulse) = &mut self.pulse {
            pulse.check(hw, Instant::now())?;
        }
        if news.phy
            && let Some(link) = &mut self.link
        {
            link.changed(hw)?;
        }
        self.look_at_queues(news.doorbells)
    }

    /// Sees to queues whose doorbells were lost, and fails if one does not go on.
    fn look_at_queues(&mut self, lost_doorbells: Option<u32>) -> Result<()> {
        let now = Instant::now();
        if let Some(report) = lost_doorbells {
            self.events.iter().for_each(events::Watch::ring_again);
            self.lookout.lost_doorbells(report, now);
        }
        let Some(port) = &self.port else { return Ok(()) };
        self.lookout.look(&self.hw, &port.lock().tx, now, || link::is_up_now(&self.hw))
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

    fn why_down(&mut self) -> Option<String> {
        link::why_down(&self.hw).ok()
    }

    fn lacks(&mut self) -> Vec<String> {
        self.hw.lacks.take()
    }

    fn nvm(&mut self) -> Result<Said<String>> {
        Ok(Said::Nothing("its driver leaves it to its firmware".into()))
    }

    fn module(&mut self) -> Result<Said<Pluggable>> {
        self.attend()?;
        module::look(&self.hw)
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
        if let Some(link) = &mut self.link {
            link.poll(&self.hw, Instant::now())?;
        }
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
