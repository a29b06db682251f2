//! Driver for Solarflare EF10: SFC9120, SFC9140, SFC9220, X2522, X2541.
//!
//! ```text
//!                      memory                                 card
//!
//!   Pool --buffer--> [ descriptors: n words ] --RX_DESC_UPD--> fetches, fills
//!    ^                                                         the buffer, and
//!    |                 [ events ] <--------------------------- reports
//!    |                     |
//!    |                     v
//!    |     Batch <-- recv: buffer out, free buffer in, same slot; slot emptied
//!    |       |
//!    |       v
//!    |     Batch --> send: buffer in
//!    |                     |
//!    |               [ descriptors: n words ] --TX_DESC_UPD--> fetches, sends,
//!    |                                                         and reports
//!    +--- reclaim <-- [ events ] <---------------------------- up to which
//! ```
//!
//! Descriptors are written by the driver alone, events by the card alone. Each
//! queue has a virtual interface (VI) to itself: descriptors, events, and a
//! window of registers of the same number; so queues share nothing, and each can
//! be polled by a thread of its own. What the card owns is known from our own
//! indices; an event is believed if it names the descriptor that comes next
//! (`rx`), or one of ours that ends a frame (`tx`), and every length is checked.
//!
//! Everything else is asked of the card's management controller, in commands
//! through memory (`mcdi`, `cmd`), in the order that other drivers of these
//! cards have: see [`open`] for it, `setup` for the steps. No step waits without
//! a bound. A controller that restarts is noticed; all is then lost, and said so.
//!
//! Not here: virtual functions, switches and virtual ports (EVB), packed
//! streams, segmentation, encapsulations, setting the clock.

mod clock;
mod cmd;
mod desc;
mod ev;
mod filters;
mod hw;
mod ids;
mod mcdi;
mod meta;
mod module;
mod nvm;
mod path;
mod regs;
mod rx;
mod setup;
mod stats;
mod stores;
mod time;
mod tx;

pub use rx::RxQueue;
pub use tx::TxQueue;

use super::config::{Config, TxPath};
use super::irq::Interrupts;
use super::limits::Limits;
use super::ops::{ClockReading, Description, FlowRule, Link, NicOps, Opened, Said, TimestampSource, Wanted, no_driver};
use super::pieces::Pieces;
use super::pluggable::Pluggable;
use super::slots::Stock;
use super::stats::Stats;
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use crate::pci::{self, Function};
use clock::StampClock;
use filters::Filters;
use hw::{Capability, Hw};
use setup::{Direction, Queue, rxq, txq};
use std::sync::Arc;

/// Most queues of each kind: of the first, so many have vectors on all cards.
const MAX_QUEUES: u16 = 32;

/// What a card can be configured to.
const LIMITS: Limits = Limits { rx_queues: MAX_QUEUES, tx_queues: MAX_QUEUES, max_frame: 9216 };

/// Fewest descriptors in a ring on the card; of fewer it is given so many.
const MIN_RING: u16 = 512;

/// Most descriptors in a transmit ring.
const MAX_TX_RING: u16 = 2048;

/// Events that a frame which is sent can cause: done, and twice when.
const TX_EVENTS: u32 = 3;

/// Transmit paths.
pub const PATHS: &[&str] = &["dma", "push", "pio", "ctpio"];

/// Whether `id` is one of this family.
pub fn supports(id: pci::Id) -> bool {
    ids::find(id).is_some()
}

/// Opens the card: everything set up and receiving into empty rings; the link
/// comes up on its own time.
///
/// # Errors
/// [`Kind::Usage`] for a configuration the card cannot have,
/// [`Kind::Unsupported`] for one that its firmware cannot, or for frames to begin before
/// they are stored where stores to the card are not combined, [`Kind::Gone`] if it
/// does not answer, [`Kind::Timeout`] if a step does not end.
pub fn open<R, T>(function: Arc<dyn Function>, config: &Config) -> Result<Opened<R, T>>
where
    R: From<RxQueue>,
    T: From<TxQueue>,
{
    let model = ids::find(function.id()).ok_or_else(|| no_driver(&*function))?;
    let asked = config.tx_path;
    // What is laid ready lies in packet memory, if there is any and nothing else was asked for.
    let prepares = config.prepares && asked == TxPath::Auto;
    let config = &Config { prepares, tx_path: if prepares { TxPath::Pio } else { asked }, ..config.clone() };
    LIMITS.check(function.name(), config)?;
    if config.tx_ring > MAX_TX_RING {
        let (name, asked) = (function.name(), config.tx_ring);
        let text = format!("{name}: a transmit ring cannot be {asked}; this card takes up to {MAX_TX_RING}");
        return Err(crate::Error::new(Kind::Usage, text));
    }
    let mut memory = memory(&*function, config)?;
    // What a driver that was killed had set up must not write any more.
    function.reset()?;
    function.set_bus_master(true)?;
    let stores = matches!(config.tx_path, TxPath::Pio | TxPath::Ctpio { .. });
    let mut hw = match Hw::new(&*function, model, memory.take(mcdi::BUFFER), stores) {
        Ok(hw) => hw,
        Err(error) => {
            let _ = function.set_bus_master(false);
            return Err(error);
        }
    };
    let attached = setup::attach(&mut hw);
    let mut description = Description::new(&*function, "efvi", model.name);
    // From here on a failure stops the card again: Card's drop does.
    let mut card = Card::new(function, Arc::new(hw), config);
    attached?;
    let hw = Arc::clone(&card.hw);
    description.mac = setup::mac(&hw)?;
    let clock = if config.timestamps { clock::find(&hw)? } else { None };
    stores::check(&hw, asked)?;
    setup::interfaces(&hw, config.rx_queues + config.tx_queues)?;
    setup::link_up(&hw, config.loopback)?;
    setup::tells_link(&hw)?;
    let counters = memory.take(stats::MAX * 8);

    let mut filters = Filters::new(&hw, config.rx_queues)?;
    if config.rx_queues > 1 {
        filters.set_rss(&hw, &config.rss)?;
    }
    let (rx, tx) = card.queues(config, &mut memory, clock, filters.spreads())?;
    // The firmware counts for a function that has queues.
    card.counters = Some(stats::Counters::start(&hw, counters)?);
    if card.clock.is_some() {
        description.timestamps = TimestampSource::Hardware;
    }
    (description.max_rx_queues, description.max_tx_queues) = (MAX_QUEUES, MAX_QUEUES);
    let filters = card.filters.insert(filters);
    filters.start(&hw, description.mac, config.promiscuous)?;
    // Last, so that no frame comes to half of the filters.
    setup::mac_unit(&hw, description.mac, config.max_frame)?;
    description.lacks = hw.lacks.take();
    // They are the MAC's.
    description.counts_before_filters = true;
    Ok(Opened { rx, tx, description, ops: Box::new(card) })
}

/// Bytes of a ring and of its events.
fn ring_bytes(descriptors: u16, events_each: u32) -> (usize, usize) {
    let descriptors = descriptors.max(MIN_RING);
    let events = ev::ring_len(u32::from(descriptors) * events_each);
    (usize::from(descriptors) * 8, events as usize * 8)
}

/// Memory for all that the card reads and writes but frames.
fn memory(function: &dyn Function, config: &Config) -> Result<Pieces> {
    let rings = |count: u16, (ring, events)| (0..count).flat_map(move |_| [ring, events]);
    let rx = rings(config.rx_queues, ring_bytes(config.rx_ring, 1));
    let tx = rings(config.tx_queues, ring_bytes(config.tx_ring, TX_EVENTS));
    Pieces::new(function, [mcdi::BUFFER, stats::MAX * 8].into_iter().chain(rx).chain(tx))
}

/// The control plane of an opened card. Dropped, it stops the card.
struct Card {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    max_frame: u16,
    filters: Option<Filters>,
    counters: Option<stats::Counters>,
    /// Format of the clock that stamps received frames, if one does.
    clock: Option<time::TimeFormat>,
    queues: Vec<Queue>,
    /// Packet memory: of which queue, which.
    packet_memory: Vec<(u16, u64)>,
    /// The link's state as it was last told.
    link: Link,
    interrupts: Option<Interrupts>,
}

impl Card {
    fn new(function: Arc<dyn Function>, hw: Arc<Hw>, config: &Config) -> Self {
        Card {
            function,
            hw,
            max_frame: config.max_frame,
            filters: None,
            counters: None,
            clock: None,
            queues: Vec::new(),
            packet_memory: Vec::new(),
            link: Link::default(),
            interrupts: None,
        }
    }

    /// Makes the queues: receive queues have the first virtual interfaces,
    /// transmit queues those behind.
    fn queues<R: From<RxQueue>, T: From<TxQueue>>(
        &mut self,
        config: &Config,
        memory: &mut Pieces,
        clock: Option<StampClock>,
        hashed: bool,
    ) -> Result<(Vec<R>, Vec<T>)> {
        if config.interrupts {
            self.interrupts = Some(Interrupts::new(&self.function, config.rx_queues, 0, MAX_QUEUES)?);
        }
        let mut rx = Vec::new();
        for n in 0..config.rx_queues {
            rx.push(self.receive_queue(n, config, memory, clock, hashed)?.into());
        }
        // Only where every receive queue is told the time.
        self.clock = clock.filter(|_| self.queues.iter().all(|queue| queue.timed)).map(|clock| clock.format);
        let mut tx = Vec::new();
        for n in 0..config.tx_queues {
            tx.push(self.transmit_queue(config.rx_queues + n, config, memory, clock)?.into());
        }
        Ok((rx, tx))
    }

    fn receive_queue(
        &mut self,
        vi: u16,
        config: &Config,
        memory: &mut Pieces,
        clock: Option<StampClock>,
        hashed: bool,
    ) -> Result<RxQueue> {
        let (ring, events) = ring_bytes(config.rx_ring, 1);
        let queue = self.start(Queue {
            direction: Direction::Rx,
            vi,
            ring: memory.take(ring),
            events: memory.take(events),
            flags: rxq::PREFIX | if clock.is_some() { rxq::TIMESTAMP } else { 0 },
            vector: config.interrupts.then_some(vi),
            timed: clock.is_some(),
            merges: false,
        })?;
        let clock = clock.filter(|_| queue.timed);
        let format = meta::PrefixFormat {
            window: u32::from(config.rx_ring),
            max_frame: u32::from(config.max_frame),
            strip: config.vlan_strip,
            hashed,
            stamped: clock.map(|clock| clock.format),
        };
        // The queue itself asks for interrupts, as it knows up to where it has read.
        let interrupt = self.interrupts.as_ref().map(|interrupts| interrupts.of(vi, || ()));
        let tail = self.hw.doorbell(vi, regs::RX_DESC_UPD)?;
        let sync = match clock {
            Some(clock) => clock.begun(&self.hw, clock.rx)?,
            None => time::Sync::default(),
        };
        let stock = Stock::new(&self.function, interrupt);
        Ok(RxQueue::new(Arc::clone(&self.hw), queue, tail, stock, format, sync))
    }

    fn transmit_queue(
        &mut self,
        vi: u16,
        config: &Config,
        memory: &mut Pieces,
        clock: Option<StampClock>,
    ) -> Result<TxQueue> {
        let (ring, events) = ring_bytes(config.tx_ring, TX_EVENTS);
        let stamped = clock.is_some() && self.hw.caps.has(Capability::TxTimestamp);
        let direct = match config.tx_path {
            TxPath::Ctpio { threshold: None } => txq::CTPIO,
            TxPath::Ctpio { threshold: Some(_) } => txq::CTPIO | txq::CTPIO_UTHRESH,
            _ => 0,
        };
        let mut way = config.tx_path;
        if way == TxPath::Pio {
            match stores::packet_memory(&self.hw, vi) {
                Ok(handle) => self.packet_memory.push((vi, handle)),
                // It was not asked for by name.
                Err(error) if config.prepares && error.kind() == Kind::Unsupported => way = TxPath::Auto,
                Err(error) => return Err(error),
            }
        }
        let queue = self.start(Queue {
            direction: Direction::Tx,
            vi,
            ring: memory.take(ring),
            events: memory.take(events),
            flags: txq::IP_CSUM_DIS | txq::TCP_CSUM_DIS | direct | if stamped { txq::TIMESTAMP } else { 0 },
            vector: None,
            timed: stamped,
            merges: false,
        })?;
        let path = path::Path::new(&self.hw, vi, way, usize::from(self.hw.caps.pio_bytes))?;
        let tags = self.hw.caps.has(Capability::VlanInsert);
        let clock = match clock.filter(|_| queue.flags & txq::TIMESTAMP != 0) {
            Some(clock) => Some((clock.format, clock.begun(&self.hw, clock.tx)?)),
            None => None,
        };
        let (hw, window) = (Arc::clone(&self.hw), u32::from(config.tx_ring));
        Ok(TxQueue::new(hw, queue, &self.function, path, window, tags, clock))
    }

    /// Starts a queue, and remembers to stop it.
    fn start(&mut self, mut queue: Queue) -> Result<Queue> {
        let at = self.queues.len();
        self.queues.push(queue.clone());
        queue.start(&self.hw)?;
        self.queues[at].clone_from(&queue);
        Ok(queue)
    }

    fn filters(&mut self) -> Result<&mut Filters> {
        self.hw.check()?;
        let hw = &self.hw;
        self.filters.as_mut().ok_or_else(|| hw.error(Kind::Device, "it was not opened to the end"))
    }
}

impl NicOps for Card {
    fn link(&mut self) -> Result<Link> {
        self.link = setup::link(&self.hw, self.link)?;
        Ok(self.link)
    }

    fn lacks(&mut self) -> Vec<String> {
        self.hw.lacks.take()
    }

    fn nvm(&mut self) -> Result<Said<String>> {
        nvm::look(&self.hw)
    }

    fn module(&mut self) -> Result<Said<Pluggable>> {
        module::look(&self.hw)
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        let hw = Arc::clone(&self.hw);
        self.filters()?.set_promiscuous(&hw, on)
    }

    fn narrow(&mut self, wanted: &Wanted) -> Result<Wanted> {
        let hw = Arc::clone(&self.hw);
        self.filters()?.narrow(&hw, wanted)
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        let hw = Arc::clone(&self.hw);
        self.filters()?.set_multicast(&hw, groups)
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        let (hw, max_frame) = (Arc::clone(&self.hw), self.max_frame);
        self.filters()?.set_mac(&hw, mac, max_frame)
    }

    fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        let hw = Arc::clone(&self.hw);
        self.filters()?.set_rss_table(&hw, table)
    }

    fn steer(&mut self, slot: usize, rule: &FlowRule) -> Result<()> {
        let hw = Arc::clone(&self.hw);
        self.filters()?.steer(&hw, slot, rule)
    }

    fn stats(&mut self) -> Result<Stats> {
        match &self.counters {
            Some(counters) => counters.update(&self.hw),
            None => Ok(Stats::default()),
        }
    }

    fn clock(&mut self, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        let Some(format) = self.clock else { return Ok(None) };
        let before = other();
        let time = clock::time(&self.hw)?;
        let after = other();
        Ok(time.map(|(seconds, fraction)| ClockReading {
            before,
            time: format.time(seconds, fraction),
            after,
            step_ps: format.step_ps(),
        }))
    }
}

impl Drop for Card {
    /// Filters out, queues flushed, function given up, bus mastering off; only
    /// then may memory go. The function may keep what it has mapped, and then nothing reads or writes it.
    fn drop(&mut self) {
        // A card that is gone cannot be told; each step ends in its own time.
        if self.hw.check().is_ok() {
            if let Some(filters) = &mut self.filters {
                let _ = filters.stop(&self.hw);
            }
            let left = self.queues.iter().rev().filter(|queue| queue.stop(&self.hw).is_err()).count();
            for &(vi, handle) in &self.packet_memory {
                let _ = stores::free_packet_memory(&self.hw, vi, handle);
            }
            setup::release(&self.hw, left == 0);
        }
        self.interrupts = None;
        let _ = self.function.set_bus_master(false);
    }
}
