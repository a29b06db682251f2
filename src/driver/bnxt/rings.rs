//! Rings: which there are, how the firmware is told of them, and where their
//! doorbells are.
//!
//! ```text
//!   BCM574xx   receive queue    completions <- receive (+ rest of long frames), a group of these
//!              transmit queue   completions <- transmit
//!              events           completions of their own
//!
//!   BCM575xx   the same without groups; each completion ring reports to a
//!              notification queue: the first, of events, or the receive queue's own
//! ```
//!
//! Each queue has a completion ring to itself, so queues share nothing. Numbers are
//! the firmware's: none is computed from another. A ring is freed before that which
//! it reports to.

use super::Generation;
use super::bell::{AckBell, Bell, Register};
use super::cmd::{
    func_cfg, ring_alloc, ring_free, ring_grp_alloc, ring_grp_free, stat_ctx_alloc, stat_ctx_clr_stats, stat_ctx_free,
};
use super::coalescing::Coalescing;
use super::codes::{NONE, SELF, func};
use super::cq;
use super::hw::Hw;
use super::rx::{self, RxBells};
use super::tx::{self, TxBells};
use crate::dma::{BUFFER_SIZE, Region};
use crate::driver::mailbox::Request;
use crate::error::{Kind, Result};

/// Bytes of the counters of a context.
pub const STATS_BYTES: usize = 256;

/// Bytes from one doorbell slot to the next; BCM574xx.
const SLOT: u64 = 0x80;

/// Where the doorbell of a physical function is; BCM575xx.
const SHARED: u64 = 0x1_0000;

/// Kinds of rings.
mod kind {
    pub const COMPLETIONS: u64 = 0;
    pub const TRANSMIT: u64 = 1;
    pub const RECEIVE: u64 = 2;
    pub const AGGREGATION: u64 = 4;
    pub const NOTIFICATIONS: u64 = 5;
}

/// Fields of RING_ALLOC that say something.
mod says {
    pub const STAT_CTX: u64 = 1 << 3;
    pub const RX_RING: u64 = 1 << 6;
    pub const NQ_RING: u64 = 1 << 7;
    pub const RX_BUF_SIZE: u64 = 1 << 8;
}

/// How a ring reports.
mod mode {
    pub const INTERRUPT: u64 = 2;
    pub const POLL: u64 = 3;
}

/// A ring that the card has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    kind: u64,
    /// The firmware's number.
    pub id: u16,
}

/// Asks for a ring that lies in `region`, with what else `request` says.
fn start(hw: &Hw, kind: u64, region: &Region, logical: u16, rest: impl Fn(Request) -> Request) -> Result<Ring> {
    use ring_alloc::input;
    const PAGE_SHIFT: u64 = 12;
    let request = Request::new(ring_alloc::COMMAND)
        .with(input::RING_TYPE, kind)
        .with(input::PAGE_TBL_ADDR, region.iova())
        .with(input::PAGE_SIZE, PAGE_SHIFT)
        .with(input::LENGTH, (region.len() / cq::ENTRY) as u64)
        .with(input::LOGICAL_ID, u64::from(logical));
    let ring = Ring { kind, id: hw.ask(rest(request))?.get(ring_alloc::output::RING_ID) as u16 };
    hw.has(ring)?;
    Ok(ring)
}

impl Ring {
    /// Frees it, and has nobody told of that in a ring.
    fn stop(self, hw: &Hw) -> Result<()> {
        let request = Request::new(ring_free::COMMAND)
            .with(ring_free::input::RING_TYPE, self.kind)
            .with(ring_free::input::RING_ID, u64::from(self.id));
        hw.ask(request)?;
        hw.has_not(self);
        Ok(())
    }
}

/// What the queues of a port have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// Receive queues.
    pub rx: u16,
    /// Transmit queues.
    pub tx: u16,
    /// The port's queue that frames are sent to.
    pub port_queue: u8,
    /// Contexts of counters; queues that find none of their own share.
    pub stats: Vec<u32>,
    /// When a frame left is reported.
    pub tx_stamps: bool,
    /// How completions are reported at once.
    coalescing: Coalescing,
    /// Notification queue for events; BCM575xx.
    notifications: Option<u16>,
}

impl Common {
    /// For `rx` and `tx` queues; no counters or events yet.
    pub fn new(hw: &Hw, rx: u16, tx: u16, port_queue: u8, tx_stamps: bool) -> Result<Common> {
        let coalescing = Coalescing::ask(hw)?;
        Ok(Common { rx, tx, port_queue, stats: Vec::new(), tx_stamps, coalescing, notifications: None })
    }

    /// The context that counts queue `n`.
    fn counter(&self, n: u16) -> u64 {
        let contexts = self.stats.len().max(1);
        self.stats.get(usize::from(n) % contexts).map_or(0, |id| u64::from(*id))
    }

    /// Makes a context of counters, which the card writes to `region`.
    pub fn count(&mut self, hw: &Hw, region: &Region) -> Result<()> {
        use stat_ctx_alloc::input;
        const PERIOD_MS: u64 = 1000;
        const LENGTH: u64 = 0xa0;
        let request = Request::new(stat_ctx_alloc::COMMAND)
            .with(input::STATS_DMA_ADDR, region.iova())
            .with(input::UPDATE_PERIOD_MS, PERIOD_MS)
            .with(input::STATS_DMA_LENGTH, LENGTH);
        let id = hw.ask(request)?.get(stat_ctx_alloc::output::STAT_CTX_ID) as u32;
        self.stats.push(id);
        // Old firmware goes on from what an earlier owner has left.
        hw.ask_optional(
            Request::new(stat_ctx_clr_stats::COMMAND).with(stat_ctx_clr_stats::input::STAT_CTX_ID, u64::from(id)),
        )?;
        Ok(())
    }

    /// Gives the contexts back.
    pub fn uncount(&mut self, hw: &Hw) {
        for id in self.stats.drain(..) {
            let request = Request::new(stat_ctx_free::COMMAND).with(stat_ctx_free::input::STAT_CTX_ID, u64::from(id));
            let _ = hw.ask(request);
        }
    }

    /// Starts a completion ring whose entries are read by nobody else; `own`: the
    /// notification queue that it reports to, if it is not that of events.
    fn completions(&self, hw: &Hw, region: &Region, logical: u16, own: Option<u16>, interrupt: bool) -> Result<Ring> {
        use ring_alloc::input;
        cq::clear(region);
        let notifications = own.or(self.notifications);
        let ring = start(hw, kind::COMPLETIONS, region, logical, |request| {
            let request = request.with(input::INT_MODE, if interrupt { mode::INTERRUPT } else { mode::POLL });
            match notifications {
                Some(queue) => request
                    .with(input::ENABLES, says::NQ_RING)
                    .with(input::NQ_RING_ID, u64::from(queue))
                    .with(input::CQ_HANDLE, u64::from(logical)),
                None => request,
            }
        })?;
        self.coalescing.set(hw, ring.id)?;
        Ok(ring)
    }
}

/// The ring that events come in: of completions, or of notifications.
pub struct Events {
    ring: Ring,
    region: Region,
    logical: u16,
}

impl Events {
    /// Starts it, and has the firmware's events put there.
    /// Vectors before its own are `taken`, by receive queues.
    pub fn start(hw: &Hw, common: &mut Common, region: Region, taken: u16) -> Result<Events> {
        cq::clear(&region);
        let kind = match hw.generation {
            Generation::P4 => kind::COMPLETIONS,
            Generation::P5 => kind::NOTIFICATIONS,
        };
        let logical = match hw.generation {
            Generation::P4 => common.rx + common.tx,
            // Of a notification queue it is the vector, and must be one that is reserved.
            Generation::P5 => taken,
        };
        let ring = start(hw, kind, &region, logical, |request| request.with(ring_alloc::input::INT_MODE, mode::POLL))?;
        if hw.generation == Generation::P5 {
            common.notifications = Some(ring.id);
        }
        Ok(Events { ring, region, logical })
    }

    /// Has the firmware's events put there, or goes on asking.
    pub fn subscribe(&self, hw: &Hw) -> Result<()> {
        let request = Request::new(func_cfg::COMMAND)
            .with(func_cfg::input::FID, SELF)
            .with(func_cfg::input::ENABLES, func::ASYNC_RING)
            .with(func_cfg::input::ASYNC_EVENT_CR, u64::from(self.ring.id));
        hw.ask_optional(request).map(drop)
    }

    /// What lies in it, and the doorbell that gives entries back.
    pub fn parts(&self, hw: &Hw) -> Result<(Region, AckBell)> {
        let bell = match hw.generation {
            Generation::P4 => AckBell::completions(slot(hw, self.logical)?),
            Generation::P5 => AckBell::notifications(hw.doorbells.long_doorbell(SHARED)?, self.ring.id),
        };
        Ok((self.region.clone(), bell))
    }

    /// Frees it.
    pub fn stop(&self, hw: &Hw) -> Result<()> {
        self.ring.stop(hw)
    }
}

/// Where a slot's doorbell is; BCM574xx.
fn slot(hw: &Hw, logical: u16) -> Result<Register> {
    Ok(Register::Slot(hw.doorbells.doorbell(u64::from(logical) * SLOT)?))
}

/// Where the doorbell of `ring` is, whose logical id is that.
fn register(hw: &Hw, logical: u16, ring: Ring) -> Result<Register> {
    match hw.generation {
        Generation::P4 => slot(hw, logical),
        Generation::P5 => Ok(Register::Shared(hw.doorbells.long_doorbell(SHARED)?, ring.id)),
    }
}

/// Fails if BAR 2 has no doorbells for `rx` and `tx` queues.
pub fn check_doorbells(hw: &Hw, rx: u16, tx: u16) -> Result<()> {
    let needed = match hw.generation {
        Generation::P4 => u64::from(2 * rx.max(tx) + rx.min(tx) + 1) * SLOT,
        Generation::P5 => SHARED + 8,
    };
    if hw.doorbells.size() < needed {
        let text = format!(
            "its doorbell BAR has {:#x} bytes, {needed:#x} are needed for so many queues; use fewer",
            hw.doorbells.size()
        );
        return Err(hw.error(Kind::Unsupported, text));
    }
    Ok(())
}

/// The rings of a receive queue.
pub struct RxRings {
    n: u16,
    /// Receive ring.
    pub descriptors: Region,
    /// Ring for the rest of long frames.
    pub aggregation: Option<Region>,
    /// Completion ring.
    pub completions: Region,
    /// Notification queue, if it has its own.
    pub notifications: Option<Region>,
    interrupt: bool,
    ids: RxIds,
}

/// The firmware's numbers of a receive queue's rings, of those that it has.
#[derive(Clone, Copy, Debug, Default)]
struct RxIds {
    notifications: Option<Ring>,
    completions: Option<Ring>,
    receive: Option<Ring>,
    aggregation: Option<Ring>,
    group: Option<u32>,
}

impl RxRings {
    /// Of queue `n`, not started; `take` gives memory for rings of so many entries.
    pub fn new(
        n: u16,
        lengths: rx::Lengths,
        notifications: Option<Region>,
        interrupt: bool,
        mut take: impl FnMut(u32) -> Region,
    ) -> RxRings {
        RxRings {
            n,
            descriptors: take(lengths.receive),
            aggregation: (lengths.aggregation > 0).then(|| take(lengths.aggregation)),
            completions: take(lengths.completions),
            notifications,
            interrupt,
            ids: RxIds::default(),
        }
    }

    /// Starts them. What was started when one fails is known to [`RxRings::stop`].
    pub fn start(&mut self, hw: &Hw, common: &Common) -> Result<()> {
        use ring_alloc::input;
        let p5 = hw.generation == Generation::P5;
        if let Some(region) = &self.notifications {
            cq::clear(region);
            let queue = start(hw, kind::NOTIFICATIONS, region, self.n, |request| {
                request.with(input::INT_MODE, mode::INTERRUPT)
            })?;
            self.ids.notifications = Some(queue);
        }
        let own = self.ids.notifications.map(|ring| ring.id);
        let completions = common.completions(hw, &self.completions, self.n, own, self.interrupt)?;
        self.ids.completions = Some(completions);
        let notifications = own.or(common.notifications).unwrap_or(0);
        let buffers = |request: Request, enables| {
            let request = request
                .with(input::CMPL_RING_ID, u64::from(completions.id))
                .with(input::STAT_CTX_ID, common.counter(self.n));
            if p5 {
                request
                    .with(input::ENABLES, enables | says::STAT_CTX | says::NQ_RING | says::RX_BUF_SIZE)
                    .with(input::NQ_RING_ID, u64::from(notifications))
                    .with(input::RX_BUF_SIZE, BUFFER_SIZE as u64)
            } else {
                request.with(input::ENABLES, says::STAT_CTX)
            }
        };
        let receive = start(hw, kind::RECEIVE, &self.descriptors, self.n, |request| buffers(request, 0))?;
        self.ids.receive = Some(receive);
        if let Some(region) = &self.aggregation {
            let kind = if p5 { kind::AGGREGATION } else { kind::RECEIVE };
            let ring = start(hw, kind, region, common.rx + self.n, |request| match p5 {
                true => buffers(request.with(input::RX_RING_ID, u64::from(receive.id)), says::RX_RING),
                false => buffers(request, 0),
            })?;
            self.ids.aggregation = Some(ring);
        }
        if !p5 {
            let request = Request::new(ring_grp_alloc::COMMAND)
                .with(ring_grp_alloc::input::CR, u64::from(completions.id))
                .with(ring_grp_alloc::input::RR, u64::from(receive.id))
                .with(ring_grp_alloc::input::AR, u64::from(self.ids.aggregation.map_or(NONE, |ring| ring.id)))
                .with(ring_grp_alloc::input::SC, common.counter(self.n));
            self.ids.group = Some(hw.ask(request)?.get(ring_grp_alloc::output::RING_GROUP_ID) as u32);
        }
        Ok(())
    }

    /// Frees them. Those that could not be freed may still be written to: then an
    /// error, and the last of them.
    pub fn stop(&mut self, hw: &Hw) -> Result<()> {
        let ids = std::mem::take(&mut self.ids);
        let outcome = ids.group.map_or(Ok(()), |group| {
            let request = Request::new(ring_grp_free::COMMAND);
            hw.ask(request.with(ring_grp_free::input::RING_GROUP_ID, u64::from(group))).map(drop)
        });
        let rings = [ids.receive, ids.aggregation, ids.completions, ids.notifications];
        // What one that does not go reports to stays.
        rings.into_iter().flatten().try_for_each(|ring| ring.stop(hw)).and(outcome)
    }

    /// Their doorbells.
    pub fn bells(&self, hw: &Hw, common: &Common) -> Result<RxBells> {
        let none = || hw.error(Kind::Device, "a receive queue was not started to the end");
        let (receive, completions) = (self.ids.receive.ok_or_else(none)?, self.ids.completions.ok_or_else(none)?);
        Ok(RxBells {
            receive: Bell::receive(register(hw, self.n, receive)?),
            aggregation: match self.ids.aggregation {
                Some(ring) => Some(Bell::receive(register(hw, common.rx + self.n, ring)?)),
                None => None,
            },
            completions: AckBell::completions(register(hw, self.n, completions)?),
            notifications: match self.ids.notifications {
                Some(ring) => Some(AckBell::notifications(hw.doorbells.long_doorbell(SHARED)?, ring.id)),
                None => None,
            },
        })
    }

    /// The group that frames are delivered to; BCM574xx.
    pub fn group(&self) -> u16 {
        self.ids.group.map_or(NONE, |group| group as u16)
    }

    /// The receive ring, and that of its completions.
    pub fn pair(&self) -> (u16, u16) {
        let id = |ring: Option<Ring>| ring.map_or(NONE, |ring| ring.id);
        (id(self.ids.receive), id(self.ids.completions))
    }
}

/// The rings of a transmit queue.
pub struct TxRings {
    n: u16,
    /// Transmit ring.
    pub descriptors: Region,
    /// Completion ring.
    pub completions: Region,
    ids: [Option<Ring>; 2],
}

impl TxRings {
    /// As [`RxRings::new`].
    pub fn new(n: u16, lengths: tx::Lengths, mut take: impl FnMut(u32) -> Region) -> TxRings {
        TxRings { n, descriptors: take(lengths.transmit), completions: take(lengths.completions), ids: [None; 2] }
    }

    /// As [`RxRings::start`].
    pub fn start(&mut self, hw: &Hw, common: &Common) -> Result<()> {
        use ring_alloc::input;
        /// Report when frames left.
        const STAMPS: u64 = 1 << 3;
        // What was sent before does not wait any more.
        cq::clear(&self.descriptors);
        let completions = common.completions(hw, &self.completions, common.rx + self.n, None, false)?;
        self.ids[1] = Some(completions);
        let ring = start(hw, kind::TRANSMIT, &self.descriptors, self.n, |request| {
            request
                .with(input::ENABLES, says::STAT_CTX)
                .with(input::FLAGS, if common.tx_stamps { STAMPS } else { 0 })
                .with(input::CMPL_RING_ID, u64::from(completions.id))
                .with(input::QUEUE_ID, u64::from(common.port_queue))
                .with(input::STAT_CTX_ID, common.counter(self.n))
        })?;
        self.ids[0] = Some(ring);
        Ok(())
    }

    /// As [`RxRings::stop`].
    pub fn stop(&mut self, hw: &Hw) -> Result<()> {
        std::mem::take(&mut self.ids).into_iter().flatten().try_for_each(|ring| ring.stop(hw))
    }

    /// Their doorbells.
    pub fn bells(&self, hw: &Hw, common: &Common) -> Result<TxBells> {
        let [Some(transmit), Some(completions)] = self.ids else {
            return Err(hw.error(Kind::Device, "a transmit queue was not started to the end"));
        };
        Ok(TxBells {
            transmit: Bell::transmit(register(hw, self.n, transmit)?),
            completions: AckBell::completions(register(hw, common.rx + self.n, completions)?),
        })
    }
}
