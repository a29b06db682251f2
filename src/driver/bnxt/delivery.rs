//! Where received frames go: places (VNICs) that filters deliver to, and how each
//! hands frames to rings.
//!
//! ```text
//!   address filters --> default place --spreads by hash--> rings of all queues
//!   flow filters    --> place of queue n ----------------> rings of queue n
//! ```
//!
//! A place names a group of rings (BCM574xx) or a receive ring and its completions
//! (BCM575xx). While a ring is started anew the places that lead to it take no
//! frames, and then all that names it is told.

use super::Generation;
use super::cmd::{
    vnic_alloc, vnic_cfg, vnic_free, vnic_plcmodes_cfg, vnic_rss_cfg, vnic_rss_cos_lb_ctx_alloc,
    vnic_rss_cos_lb_ctx_free, vnic_tpa_cfg,
};
use super::codes::NONE;
use super::hw::Hw;
use super::rings::RxRings;
use crate::dma::{BUFFER_SIZE, Region};
use crate::driver::config::Rss;
use crate::driver::mailbox::Request;
use crate::error::Result;
use std::sync::atomic::Ordering;

/// Bytes of a table of rings, on either generation.
pub const TABLE_BYTES: usize = 256;

/// Bytes for the key.
pub const KEY_BYTES: usize = 64;

/// Entries of a table: groups, or pairs of a receive ring and its completions.
const fn entries(generation: Generation) -> usize {
    match generation {
        Generation::P4 => 128,
        Generation::P5 => 64,
    }
}

/// What a place does with frames.
#[derive(Clone, Copy, Debug)]
pub struct Handling {
    /// Longest frame, with tags.
    pub longest: u16,
    /// Tags are taken out.
    pub strip: bool,
    /// Frames may fill several buffers.
    pub long: bool,
}

/// The places of a port.
pub struct Delivery {
    handling: Handling,
    default: Option<u16>,
    /// Places of queues, if flows are steered by them.
    own: Vec<u16>,
    spread: Option<Spread>,
}

/// How the default place spreads frames.
struct Spread {
    context: u16,
    hashes: u64,
    table: Region,
    key: Region,
    /// Queue of each entry.
    queues: Vec<u16>,
}

impl Delivery {
    /// No place yet.
    pub fn new(handling: Handling) -> Delivery {
        Delivery { handling, default: None, own: Vec::new(), spread: None }
    }

    /// Makes the default place, which spreads frames over `rx` if there are several
    /// queues, and places of their own for all of them if `own` is set.
    pub fn start(&mut self, hw: &Hw, rx: &[RxRings], rss: &Rss, memory: (Region, Region), own: bool) -> Result<()> {
        const DEFAULT: u64 = 1;
        let place = alloc(hw, DEFAULT)?;
        self.default = Some(place);
        if rx.len() > 1 {
            let (table, key) = memory;
            let context = hw.ask(Request::new(vnic_rss_cos_lb_ctx_alloc::COMMAND))?;
            let context = context.get(vnic_rss_cos_lb_ctx_alloc::output::CTX_ID) as u16;
            for (to, from) in key.bytes().iter().zip(rss.key) {
                to.store(from, Ordering::Relaxed);
            }
            let queues = spread_out(hw.generation, &rss.table, rx.len() as u16);
            self.spread = Some(Spread { context, hashes: hashes(rss.udp), table, key, queues });
        }
        self.point(hw, rx)?;
        self.settle(hw, place)?;
        if own {
            for queue in rx {
                let place = alloc(hw, 0)?;
                self.own.push(place);
                self.configure(hw, place, queue, None)?;
                self.settle(hw, place)?;
            }
        }
        Ok(())
    }

    /// Lets no frame in that could be for queue `n`, whose rings are about to be freed:
    /// none is as short as a place then takes. Best effort, as the rings stop anyhow.
    pub fn hold(&self, hw: &Hw, rx: &[RxRings], n: usize) -> Result<()> {
        for (place, rings, context) in self.leading_to(rx, n) {
            hw.ask_optional(self.rule(hw, place, rings, context, 0))?;
        }
        Ok(())
    }

    /// Tells what names the rings of queue `n` of those that it has now, and lets
    /// frames in again.
    pub fn renew(&self, hw: &Hw, rx: &[RxRings], n: usize) -> Result<()> {
        self.point(hw, rx)?;
        match (self.own.get(n), rx.get(n)) {
            (Some(&place), Some(rings)) => self.configure(hw, place, rings, None),
            _ => Ok(()),
        }
    }

    /// The places that hand frames to queue `n`: the default one, which spreads over
    /// all, and its own; with the rings and the context that they have.
    fn leading_to<'a>(&self, rx: &'a [RxRings], n: usize) -> Vec<(u16, &'a RxRings, Option<u16>)> {
        let context = self.spread.as_ref().map(|spread| spread.context);
        let default = self.default.zip(rx.first()).map(|(place, rings)| (place, rings, context));
        let own = self.own.get(n).copied().zip(rx.get(n)).map(|(place, rings)| (place, rings, None));
        default.into_iter().chain(own).collect()
    }

    /// Tells the default place, and its table, of the rings of `rx` as they are now.
    fn point(&self, hw: &Hw, rx: &[RxRings]) -> Result<()> {
        let (Some(place), Some(first)) = (self.default, rx.first()) else { return Ok(()) };
        let context = self.spread.as_ref().map(|spread| spread.context);
        // A BCM575xx wants to know the rings before the place that spreads over them.
        if hw.generation == Generation::P5 {
            self.spread(hw, rx)?;
        }
        self.configure(hw, place, first, context)?;
        if hw.generation == Generation::P4 {
            self.spread(hw, rx)?;
        }
        Ok(())
    }

    /// Says which rings a place hands frames to; `context`: those that it spreads over.
    fn configure(&self, hw: &Hw, place: u16, rings: &RxRings, context: Option<u16>) -> Result<()> {
        hw.ask(self.rule(hw, place, rings, context, self.handling.longest)).map(drop)
    }

    /// The request for it; `longest`: the longest frame that the place takes.
    fn rule(&self, hw: &Hw, place: u16, rings: &RxRings, context: Option<u16>, longest: u16) -> Request {
        use vnic_cfg::input;
        const GROUP: u64 = 1 << 0;
        const RSS_RULE: u64 = 1 << 1;
        const MRU: u64 = 1 << 4;
        const RINGS: u64 = 3 << 5;
        const STRIP: u64 = 1 << 1;
        let rule = context.unwrap_or(NONE);
        let (receive, completions) = rings.pair();
        let request = Request::new(vnic_cfg::COMMAND)
            .with(input::FLAGS, if self.handling.strip { STRIP } else { 0 })
            .with(input::VNIC_ID, u64::from(place))
            .with(input::MRU, u64::from(longest));
        match hw.generation {
            Generation::P4 => request
                .with(input::ENABLES, GROUP | MRU | if context.is_some() { RSS_RULE } else { 0 })
                .with(input::DFLT_RING_GRP, u64::from(rings.group()))
                .with(input::RSS_RULE, u64::from(rule))
                .with(input::COS_RULE, u64::from(NONE))
                .with(input::LB_RULE, u64::from(NONE)),
            Generation::P5 => request
                .with(input::ENABLES, RINGS | MRU)
                .with(input::DEFAULT_RX_RING_ID, u64::from(receive))
                .with(input::DEFAULT_CMPL_RING_ID, u64::from(completions)),
        }
    }

    /// Has frames of a place put into buffers as they come, and none put together.
    fn settle(&self, hw: &Hw, place: u16) -> Result<()> {
        use vnic_plcmodes_cfg::input;
        const REGULAR: u64 = 1 << 0;
        const JUMBO: u64 = 1 << 1;
        const JUMBO_THRESH: u64 = 1 << 0;
        let request = Request::new(vnic_plcmodes_cfg::COMMAND).with(input::VNIC_ID, u64::from(place));
        if self.handling.long {
            let request = request
                .with(input::FLAGS, JUMBO)
                .with(input::ENABLES, JUMBO_THRESH)
                .with(input::JUMBO_THRESH, BUFFER_SIZE as u64);
            hw.ask_or_lose(request, "frames that are longer than a buffer may not come")?;
        } else {
            hw.ask_optional(request.with(input::FLAGS, REGULAR))?;
        }
        let off = Request::new(vnic_tpa_cfg::COMMAND).with(vnic_tpa_cfg::input::VNIC_ID, u64::from(place));
        hw.ask_optional(off).map(drop)
    }

    /// Writes the table of the default place and has it read.
    fn spread(&self, hw: &Hw, rx: &[RxRings]) -> Result<()> {
        use vnic_rss_cfg::input;
        const BY_ADDRESSES_AND_PORTS: u64 = 1;
        let (Some(spread), Some(place)) = (&self.spread, self.default) else { return Ok(()) };
        let words = spread.table.words16();
        for (n, &queue) in spread.queues.iter().enumerate() {
            let Some(rings) = rx.get(usize::from(queue)) else { continue };
            match hw.generation {
                Generation::P4 => words[n].store(rings.group(), Ordering::Relaxed),
                Generation::P5 => {
                    let (receive, completions) = rings.pair();
                    words[2 * n].store(receive, Ordering::Relaxed);
                    words[2 * n + 1].store(completions, Ordering::Relaxed);
                }
            }
        }
        let request = Request::new(vnic_rss_cfg::COMMAND)
            .with(input::HASH_TYPE, spread.hashes)
            .with(input::VNIC_ID, u64::from(place))
            .with(input::HASH_MODE_FLAGS, BY_ADDRESSES_AND_PORTS)
            .with(input::TABLE_ADDR, spread.table.iova())
            .with(input::KEY_ADDR, spread.key.iova())
            .with(input::RSS_CTX_IDX, u64::from(spread.context));
        hw.ask(request).map(drop)
    }

    /// Changes the redirection table.
    pub fn set_table(&mut self, hw: &Hw, rx: &[RxRings], table: &[u16]) -> Result<()> {
        if let Some(spread) = &mut self.spread {
            spread.queues = spread_out(hw.generation, table, rx.len() as u16);
        }
        self.spread(hw, rx)
    }

    /// The place that addresses are delivered to.
    pub fn default(&self) -> u16 {
        self.default.unwrap_or(NONE)
    }

    /// The place of queue `n`; the default one serves if there is but one queue.
    pub fn own(&self, n: u16) -> Option<u16> {
        match &self.spread {
            None => self.default,
            Some(_) => self.own.get(usize::from(n)).copied(),
        }
    }

    /// Whether each queue has a place.
    pub fn has_places(&self) -> bool {
        self.spread.is_none() || !self.own.is_empty()
    }

    /// The first entry of the table that names queue `n`.
    pub fn entry(&self, n: u16) -> Option<u16> {
        let spread = self.spread.as_ref()?;
        spread.queues.iter().position(|&queue| queue == n).map(|entry| entry as u16)
    }

    /// Frees all places, in the order that the generation wants: on a BCM575xx the
    /// context must outlive the place, or completions go astray.
    pub fn stop(&mut self, hw: &Hw) {
        let places: Vec<_> = self.own.drain(..).rev().chain(self.default.take()).collect();
        let context = self.spread.take().map(|spread| spread.context);
        let free = |place: u16| {
            let request = Request::new(vnic_free::COMMAND).with(vnic_free::input::VNIC_ID, u64::from(place));
            let _ = hw.ask(request);
        };
        let forget = || {
            if let Some(context) = context {
                let request = Request::new(vnic_rss_cos_lb_ctx_free::COMMAND)
                    .with(vnic_rss_cos_lb_ctx_free::input::CTX_ID, u64::from(context));
                let _ = hw.ask(request);
            }
        };
        match hw.generation {
            Generation::P4 => {
                forget();
                places.into_iter().for_each(free);
            }
            Generation::P5 => {
                places.into_iter().for_each(free);
                forget();
            }
        }
    }
}

/// Makes a place.
fn alloc(hw: &Hw, flags: u64) -> Result<u16> {
    let reply = hw.ask(Request::new(vnic_alloc::COMMAND).with(vnic_alloc::input::FLAGS, flags))?;
    Ok(reply.get(vnic_alloc::output::VNIC_ID) as u16)
}

/// The queue of each entry: `table`, repeated to the card's length, or all in turn.
fn spread_out(generation: Generation, table: &[u16], queues: u16) -> Vec<u16> {
    let entry = |n: usize| if table.is_empty() { n as u16 % queues } else { table[n % table.len()] };
    (0..entries(generation)).map(entry).collect()
}

/// What is hashed: both addresses, and both ports of TCP and, if `udp`, of UDP.
fn hashes(udp: bool) -> u64 {
    const IPV4: u64 = 1 << 0;
    const TCP_IPV4: u64 = 1 << 1;
    const UDP_IPV4: u64 = 1 << 2;
    const IPV6: u64 = 1 << 3;
    const TCP_IPV6: u64 = 1 << 4;
    const UDP_IPV6: u64 = 1 << 5;
    IPV4 | TCP_IPV4 | IPV6 | TCP_IPV6 | if udp { UDP_IPV4 | UDP_IPV6 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_repeated_and_ports_of_udp_are_hashed_if_asked_for() {
        assert_eq!(spread_out(Generation::P4, &[2, 0, 1], 3)[125..], [1, 2, 0]);
        assert_eq!(spread_out(Generation::P5, &[], 5).len(), 64);
        assert_eq!(spread_out(Generation::P5, &[], 5)[4..7], [4, 0, 1]);
        assert_eq!((hashes(true), hashes(false)), (0x3f, 0x1b));
    }
}
