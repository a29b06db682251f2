//! The control plane of an opened card, and the steps from firmware that runs to queues.

use super::bell::{CqBell, SendBell};
use super::caps::{ethernet, general};
use super::clock::Clock;
use super::cqe::Fault;
use super::delivery::Delivery;
use super::eq::{self, EventQueue};
use super::filters::Filters;
use super::hw::Hw;
use super::link;
use super::module;
use super::objects::{Common, Objects, Uar, event_queue};
use super::parts::{Inline, RxLengths, RxParts, TxLengths, TxParts};
use super::queues::{self, Numbers, Receiving, Renewal, Rings, Sending};
use super::stats::Counters;
use super::vport::Found;
use super::{MAX_QUEUES, RxQueue, TxQueue, time, why};
use crate::driver::config::Config;
use crate::driver::irq::Interrupts;
use crate::driver::ops::{ClockReading, FlowRule, Link, NOT_PROMISCUOUS, NicOps, Said};
use crate::driver::pieces::Pieces;
use crate::driver::pluggable::Pluggable;
use crate::driver::slots::Stock;
use crate::driver::stats::Stats;
use crate::error::{Kind, Remedy, Result};
use crate::net::MacAddr;
use crate::pci::{Bar, Function};
use std::sync::{Arc, Mutex, PoisonError};

/// Where doorbells are in a page of them.
mod bell {
    pub const COMPLETIONS: u64 = 0x20;
    pub const SEND: u64 = 0x800;
}

/// The control plane of an opened card. Dropped, it stops the card.
pub struct Card {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    objects: Objects,
    delivery: Option<Delivery>,
    filters: Option<Filters>,
    link: Option<link::Watch>,
    counters: Option<Counters>,
    /// The clock that stamps received frames, if they are to be.
    pub clock: Option<Clock>,
    interrupts: Option<Interrupts>,
    faults: Vec<Fault>,
    /// What it goes without.
    pub(super) lacks: Vec<String>,
}

/// A receive queue that was made.
struct Received {
    rings: Rings,
    uar: Uar,
    numbers: Numbers,
    events: Option<EventQueue>,
}

/// A send queue that was made.
struct Sent {
    rings: Rings,
    uar: Uar,
    numbers: Numbers,
}

impl Card {
    /// Nothing set up yet.
    pub fn new(function: Arc<dyn Function>, hw: Arc<Hw>) -> Self {
        Card {
            function,
            hw,
            objects: Objects::default(),
            delivery: None,
            filters: None,
            link: None,
            counters: None,
            clock: None,
            interrupts: None,
            faults: Vec::new(),
            lacks: Vec::new(),
        }
    }

    /// The card.
    pub fn hw(&self) -> &Hw {
        &self.hw
    }

    /// Sets everything up, the filters last. Entries are pushed where the registers are
    /// given with stores `combining`.
    pub fn set_up<R: From<RxQueue>, T: From<TxQueue>>(
        &mut self,
        config: &Config,
        found: Found,
        combining: Option<&Bar>,
    ) -> Result<(Vec<R>, Vec<T>)> {
        let hw = Arc::clone(&self.hw);
        let mut config = config.clone();
        let found_port = link::Found::look(&hw)?;
        let longest = link::longest_frame(&hw, &config)?;
        config.max_frame = longest.received;
        let (rx, tx) = (RxLengths::of(config.rx_ring, config.max_frame), TxLengths::of(config.tx_ring));
        check(&hw, &config, &rx, tx.wqes)?;
        let push = match combining {
            Some(bar) => Some((bar, register(&hw)?)),
            None => None,
        };
        self.link = Some(link::Watch::start(&hw, found_port, config.loopback)?);
        let own_events = if config.interrupts { config.rx_queues } else { 0 };
        let sizes = |count: u16, sizes: [usize; 4]| (0..count).flat_map(move |_| sizes);
        let rings = sizes(config.rx_queues, Rings::receive(&rx)).chain(sizes(config.tx_queues, Rings::transmit(&tx)));
        let events = [eq::FIRMWARE_BYTES].into_iter().chain((0..own_events).map(|_| eq::COMPLETION_BYTES));
        let mut pieces = Pieces::new(&*self.function, rings.chain(events))?;
        let objects = &mut self.objects;
        let uar = Uar::new(&hw, objects)?;
        let common = Common::new(&hw, objects, uar, pieces.take(eq::FIRMWARE_BYTES))?;
        let mut received = Vec::new();
        for n in 0..config.rx_queues {
            let uar = Uar::new(&hw, objects)?;
            let (events, own) = match config.interrupts {
                true => {
                    let (number, queue) = event_queue(&hw, objects, pieces.take(eq::COMPLETION_BYTES), uar, 0, n)?;
                    (number, Some(queue))
                }
                false => (common.events, None),
            };
            let rings = Rings::new(Rings::receive(&rx), rx.bytes(), rx.completions, |size| pieces.take(size));
            let how = Receiving { strip: config.vlan_strip, stride: rx.stride, compressed: compressed(&hw, &config) };
            let numbers = queues::receive(&hw, objects, &common, &rings, (uar, events), how)?;
            received.push(Received { rings, uar, numbers, events: own });
        }
        let inline = found.inline;
        let can_multi = hw.caps.ethernet(ethernet::ENHANCED_MULTI_PKT_SEND_WQE) != 0;
        let how = Sending { inline, multi: can_multi && inline == Inline::Nothing };
        let mut sent = Vec::new();
        for _ in 0..config.tx_queues {
            let uar = Uar::new(&hw, objects)?;
            let rings = Rings::new(Rings::transmit(&tx), tx.bytes(), tx.completions, |size| pieces.take(size));
            let numbers = queues::transmit(&hw, objects, &common, &rings, uar, how)?;
            sent.push(Sent { rings, uar, numbers });
        }
        let numbers = received.iter().map(|queue| queue.numbers.queue).collect();
        let delivery = self.delivery.insert(Delivery::start(&hw, objects, &common, numbers, &config.rss)?);
        self.counters = Some(Counters::start(&hw, common.counter)?);
        self.lacks.extend(self.counters.as_ref().and_then(Counters::lacks).map(str::to_owned));
        let filters = Filters::start(&hw, objects, delivery, found.mac, config.promiscuous)?;
        if filters.refused {
            self.lacks.push(NOT_PROMISCUOUS.into());
        }
        self.filters = Some(filters);
        self.clock = if config.timestamps { time::clock(&hw, general::RQ_TS_FORMAT) } else { None };
        Ok((
            self.receive_queues(&config, &rx, &common, received)?,
            self.send_queues(longest.sent, &common, sent, how, push)?,
        ))
    }

    fn receive_queues<R: From<RxQueue>>(
        &mut self,
        config: &Config,
        lengths: &RxLengths,
        common: &Common,
        made: Vec<Received>,
    ) -> Result<Vec<R>> {
        let hw = &self.hw;
        if config.interrupts {
            self.interrupts = Some(Interrupts::new(&self.function, config.rx_queues, 0, MAX_QUEUES)?);
        }
        let mut queues = Vec::new();
        for (n, Received { rings, uar, numbers, events }) in made.into_iter().enumerate() {
            let interrupt = self.interrupts.as_ref().zip(events).map(|(interrupts, events)| {
                let events = Mutex::new(events);
                interrupts.of(n as u16, move || events.lock().unwrap_or_else(PoisonError::into_inner).rearm())
            });
            let fault = Fault::default();
            self.faults.push(fault.clone());
            let doorbell = hw.segment.bar().long_doorbell(uar.offset + bell::COMPLETIONS)?;
            let parts = RxParts {
                wqes: rings.wqes,
                segments: lengths.segments,
                record: rings.record,
                completions: rings.completions,
                bell: CqBell::new(rings.read, doorbell, numbers.completions),
                lkey: common.lkey,
                stock: Stock::new(&self.function, interrupt),
                max_frame: u32::from(config.max_frame),
                clock: self.clock,
                compressed: compressed(hw, config),
                restart: Renewal::receive(hw, numbers.queue, &fault),
                fault,
            };
            queues.push(RxQueue::new(parts).into());
        }
        Ok(queues)
    }

    fn send_queues<T: From<TxQueue>>(
        &mut self,
        max_frame: u32,
        common: &Common,
        made: Vec<Sent>,
        how: Sending,
        push: Option<(&Bar, usize)>,
    ) -> Result<Vec<T>> {
        let hw = &self.hw;
        // One page is not to be used both ways.
        let bar = push.map_or(hw.segment.bar(), |(bar, _)| bar);
        let mut queues = Vec::new();
        for Sent { rings, uar, numbers } in made {
            let fault = Fault::default();
            self.faults.push(fault.clone());
            let doorbell = |offset| bar.long_doorbell(uar.offset + offset);
            let send = match push {
                Some((bar, bytes)) => SendBell::pushing(rings.record, bar.window(uar.offset + bell::SEND, bytes)?),
                None => SendBell::new(rings.record, doorbell(bell::SEND)?),
            };
            let parts = TxParts {
                wqes: rings.wqes,
                send,
                completions: rings.completions,
                bell: CqBell::new(rings.read, doorbell(bell::COMPLETIONS)?, numbers.completions),
                sqn: numbers.queue,
                lkey: common.lkey,
                inline: how.inline,
                tags: hw.caps.ethernet(ethernet::WQE_VLAN_INSERT) != 0,
                multi: how.multi,
                max_frame,
                clock: self.clock.and_then(|_| time::clock(hw, general::SQ_TS_FORMAT)),
                restart: Renewal::transmit(hw, numbers.queue, &fault),
                fault,
            };
            queues.push(TxQueue::new(&self.function, parts).into());
        }
        Ok(queues)
    }

    /// Takes events in. Fails if the card does not answer any more, or a completion queue
    /// is lost; a work queue that is lost is its own to see.
    fn attend(&mut self) -> Result<()> {
        let hw = &self.hw;
        let news = hw.attend()?;
        if let Some((number, why)) = news.cq {
            let why = match why {
                1 => "ran over",
                2 => "could not be written, as memory could not be reached",
                _ => "failed",
            };
            return Err(hw.lost(format_args!("completion queue {number:#x} {why}{}", self.fault())));
        }
        Ok(())
    }

    /// What the card said last of an error of a queue.
    fn fault(&self) -> String {
        self.faults.iter().map(Fault::to_string).find(|said| !said.is_empty()).unwrap_or_default()
    }

    /// What filters are changed with.
    fn with_filters<O>(&mut self, what: impl FnOnce(&mut Filters, &Hw, &Delivery) -> Result<O>) -> Result<O> {
        self.attend()?;
        match (&mut self.filters, &self.delivery) {
            (Some(filters), Some(delivery)) => what(filters, &self.hw, delivery),
            _ => Err(self.hw.error(Kind::Device, "it was not opened to the end")),
        }
    }
}

/// Whether completions may come in short: stamps have no place in them.
fn compressed(hw: &Hw, config: &Config) -> bool {
    config.compressed_completions && !config.timestamps && hw.caps.general(general::CQE_COMPRESSION) != 0
}

/// Bytes of the register that entries are pushed into, in two halves.
fn register(hw: &Hw) -> Result<usize> {
    /// A half has a block, and the register ends with its page.
    const LOG_BYTES: std::ops::RangeInclusive<u32> = 7..=11;
    let log = hw.caps.general(general::LOG_BF_REG_SIZE);
    if hw.caps.general(general::BF) != 0 && LOG_BYTES.contains(&log) {
        return Ok(1 << log);
    }
    let text = "entries cannot be pushed: its firmware offers this function no register for them (BlueFlame)";
    Err(hw.error(Kind::Unsupported, text).with_remedy(Remedy::Dma))
}

/// Refuses what this card has no room for.
fn check(hw: &Hw, config: &Config, rx: &RxLengths, tx: u32) -> Result<()> {
    queues::check(hw, "receive ring", rx.wqes)?;
    queues::check(hw, "transmit ring", tx)?;
    let [least, most] = [general::LOG_MIN_STRIDE_SZ_RQ, general::LOG_MAX_STRIDE_SZ_RQ].map(|log| hw.caps.general(log));
    if most != 0 && !(least..=most).contains(&rx.stride) {
        let text = format!("frames of {} bytes take more buffers than it can be given for one", config.max_frame);
        return Err(hw.error(Kind::Unsupported, text));
    }
    let events = 1 + if config.interrupts { u32::from(config.rx_queues) } else { 0 };
    if events > hw.caps.event_queues() {
        let text = format!("it has {} event queues, {events} are needed; use fewer queues", hw.caps.event_queues());
        return Err(hw.error(Kind::Unsupported, text));
    }
    Ok(())
}

impl NicOps for Card {
    fn link(&mut self) -> Result<Link> {
        self.attend()?;
        match &self.link {
            Some(link) => link.state(&self.hw),
            None => Ok(Link::default()),
        }
    }

    fn why_down(&mut self) -> Option<String> {
        why::why_down(&self.hw).ok().flatten()
    }

    fn nvm(&mut self) -> Result<Said<String>> {
        Ok(Said::Nothing("its driver leaves it to its firmware".into()))
    }

    fn module(&mut self) -> Result<Said<Pluggable>> {
        self.attend()?;
        module::look(&self.hw)
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        self.with_filters(|filters, hw, delivery| filters.set_promiscuous(hw, delivery, on))
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        self.with_filters(|filters, hw, delivery| filters.set_multicast(hw, delivery, groups))
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        self.with_filters(|filters, hw, delivery| filters.set_mac(hw, delivery, mac))
    }

    fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        self.with_filters(|_, hw, delivery| delivery.set_table(hw, table))
    }

    fn steer(&mut self, slot: usize, rule: &FlowRule) -> Result<()> {
        self.with_filters(|filters, hw, delivery| filters.steer(hw, delivery, slot, rule))
    }

    fn stats(&mut self) -> Result<Stats> {
        self.attend()?;
        match &mut self.counters {
            Some(counters) => counters.update(&self.hw, self.faults.iter().map(Fault::frames_too_long).sum()),
            None => Ok(Stats::default()),
        }
    }

    fn clock(&mut self, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        self.attend()?;
        Ok(self.clock.map(|clock| time::read(&self.hw, clock, other)))
    }
}

impl Drop for Card {
    /// Filters out, everything that was made taken back, the firmware stopped and its
    /// pages with it, the function reset, bus mastering off; only then may memory go.
    /// The function may keep what it has mapped, and then nothing reads or writes it.
    fn drop(&mut self) {
        let hw = &self.hw;
        // A firmware that says nothing is not asked again, and not waited for as long as
        // otherwise; a step that fails leaves what it was for to the reset.
        hw.hca().queue.hurry();
        if let Some(filters) = &mut self.filters {
            filters.stop(hw);
        }
        if let Some(link) = &self.link {
            link.stop(hw);
        }
        // What could not be taken back goes with the reset; firmware is not torn down around
        // it.
        let gone = self.objects.unmake(hw);
        // Queues that live on must not be set up anew.
        let closed = hw.error(Kind::Gone, "the card was closed; open it again");
        let mut hca = hw.hca();
        if gone && hca.queue.check().is_ok() {
            let _ = hca.disable();
        }
        hca.queue.end(&closed);
        drop(hca);
        let _ = self.function.reset();
        self.interrupts = None;
        let _ = self.function.set_bus_master(false);
    }
}
