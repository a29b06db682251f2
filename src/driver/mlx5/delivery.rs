//! Where received frames go: places (TIRs) that hand them to a queue, or spread them.
//!
//! ```text
//!   root table --flow-----------------------------------------> place of queue n
//!              `-address--> kinds of frames --TCP, UDP, IP----> place that spreads
//!                           (level 1)                            by hash over a table of queues
//!                                         `-anything else-----> place of queue 0
//! ```
//!
//! Which headers a hash is of is said for each kind of frame by itself, so there is a
//! place for each. With one queue there is nothing to spread.

use super::caps::{ethernet, general};
use super::cmd::{create_rqt, create_tir, destroy_rqt, destroy_tir, modify_rqt};
use super::ctx::{headers, rqtc, tirc};
use super::flow::{self, Destination, Match, Table};
use super::hw::Hw;
use super::objects::{Common, Objects, Way, way};
use crate::driver::config::Rss;
use crate::driver::mailbox::{Bits, Field, Request};
use crate::error::{Kind, Result};

const RQT: Way = way(create_rqt::output::RQTN, destroy_rqt::COMMAND, destroy_rqt::input::RQTN);
const TIR: Way = way(create_tir::output::TIRN, destroy_tir::COMMAND, destroy_tir::input::TIRN);

/// Entries of a table of queues, where a card can have as many.
const ENTRIES: u32 = 128;

/// Fields that a hash is of.
mod hash {
    pub const ADDRESSES: u64 = 0x3;
    pub const PORTS: u64 = 0xc;
    pub const TOEPLITZ: u64 = 2;
    pub const V6: u64 = 1;
    pub const UDP: u64 = 1;
}

/// Kinds of frames that are spread: version of IP, and transport.
const KINDS: [(u64, Option<u64>); 6] = {
    const TCP: Option<u64> = Some(6);
    const UDP: Option<u64> = Some(17);
    [(4, TCP), (4, UDP), (6, TCP), (6, UDP), (4, None), (6, None)]
};

/// The places of a port.
pub struct Delivery {
    /// Receive queues.
    queues: Vec<u32>,
    /// Places of single queues.
    own: Vec<u32>,
    spread: Option<Spread>,
}

/// What spreads.
struct Spread {
    table: u32,
    entries: u32,
    kinds: Table,
}

impl Delivery {
    /// Makes places for `queues`, and has frames spread if there are several.
    pub fn start(hw: &Hw, objects: &mut Objects, common: &Common, queues: Vec<u32>, rss: &Rss) -> Result<Delivery> {
        let context = |bits: Bits| bits.at(create_tir::CONTEXT);
        let place =
            || Request::new(create_tir::COMMAND).with_bits(context(tirc::TRANSPORT_DOMAIN), u64::from(common.domain));
        let mut own = Vec::new();
        for queue in &queues {
            own.push(objects.make(hw, place().with_bits(context(tirc::INLINE_RQN), u64::from(*queue)), TIR)?);
        }
        let mut delivery = Delivery { queues, own, spread: None };
        if delivery.queues.len() > 1 {
            delivery.spread = Some(delivery.spread(hw, objects, rss, place)?);
        }
        Ok(delivery)
    }

    /// Makes what spreads.
    fn spread(&self, hw: &Hw, objects: &mut Objects, rss: &Rss, place: impl Fn() -> Request) -> Result<Spread> {
        const LEVEL: u8 = 1;
        const LOG_KINDS: u8 = 3;
        let most = [hw.caps.general(general::LOG_MAX_RQT_SIZE), hw.caps.ethernet(ethernet::RSS_IND_TBL_CAP)];
        let most = 1u32 << most.into_iter().filter(|log| *log != 0).min().unwrap_or(0);
        let entries = ENTRIES.max(rss.table.len() as u32).next_power_of_two().min(most);
        if (entries as usize) < self.queues.len() || hw.caps.flow(super::caps::flow::MAX_FT_LEVEL) < u32::from(LEVEL) {
            let text = format!("it cannot spread frames over {} receive queues; use fewer", self.queues.len());
            return Err(hw.error(Kind::Unsupported, text));
        }
        let request = Request::new(create_rqt::COMMAND);
        let table = objects.make(hw, self.fill(request, create_rqt::CONTEXT, entries, &rss.table), RQT)?;
        let kinds = Table(objects.make(hw, flow::table(LEVEL, LOG_KINDS), flow::TABLE)?);
        let mut group = 0;
        for (n, (version, transport)) in KINDS.into_iter().enumerate() {
            let tir = objects.make(hw, hashed(place(), table, rss, version, transport), TIR)?;
            let what = frames(version, transport);
            // Those with a transport match one more field than those without, so there are two groups.
            if n == 0 || n == 4 {
                let last = if n == 0 { 3 } else { 5 };
                group = kinds.group(hw, n as u32..=last, &what)?;
                objects.will(kinds.without_group(group));
            }
            hw.ask(kinds.entry(group, n as u32, &what, 0, Destination::Tir(tir)))?;
            objects.will(kinds.without_entry(n as u32));
        }
        let rest = KINDS.len() as u32;
        let group = kinds.group(hw, rest..=rest, &Match::any())?;
        objects.will(kinds.without_group(group));
        hw.ask(kinds.entry(group, rest, &Match::any(), 0, Destination::Tir(self.own[0])))?;
        objects.will(kinds.without_entry(rest));
        Ok(Spread { table, entries, kinds })
    }

    /// Fills a table of `entries`: queues as `table` has them, or all in turn.
    fn fill(&self, request: Request, at: usize, entries: u32, table: &[u16]) -> Request {
        let queue = |entry: usize| match table.get(entry % table.len().max(1)) {
            Some(&queue) => self.queues[usize::from(queue) % self.queues.len()],
            None => self.queues[entry % self.queues.len()],
        };
        let list: Vec<u8> = (0..entries as usize).flat_map(|entry| queue(entry).to_be_bytes()).collect();
        request
            .with_bits(rqtc::RQT_MAX_SIZE.at(at), u64::from(entries))
            .with_bits(rqtc::RQT_ACTUAL_SIZE.at(at), u64::from(entries))
            .with_more(&list)
    }

    /// Spreads frames otherwise.
    pub fn set_table(&self, hw: &Hw, table: &[u16]) -> Result<()> {
        let Some(spread) = &self.spread else { return Ok(()) };
        let request = Request::new(modify_rqt::COMMAND)
            .with_bits(modify_rqt::input::RQTN, u64::from(spread.table))
            .with_bits(modify_rqt::input::RQN_LIST, 1);
        hw.ask(self.fill(request, modify_rqt::CONTEXT, spread.entries, table)).map(drop)
    }

    /// Where frames go that no flow leads elsewhere.
    pub fn all(&self) -> Destination {
        match &self.spread {
            Some(spread) => Destination::Table(spread.kinds.0),
            None => Destination::Tir(self.own[0]),
        }
    }

    /// The place of queue `n`, which is there.
    pub fn of(&self, n: u16) -> Destination {
        Destination::Tir(self.own[usize::from(n)])
    }
}

/// A place that spreads frames of one kind over a table.
fn hashed(place: Request, table: u32, rss: &Rss, version: u64, transport: Option<u64>) -> Request {
    const INDIRECT: u64 = 1;
    /// Where the key is, and its bytes.
    const KEY: Field = Field { offset: create_tir::CONTEXT + 0x28, bytes: 40 };
    const UDP: u64 = 17;
    let context = |bits: Bits| bits.at(create_tir::CONTEXT);
    let ports = match transport {
        Some(UDP) => rss.udp,
        Some(_) => true,
        None => false,
    };
    let fields = hash::ADDRESSES | if ports { hash::PORTS } else { 0 };
    place
        .with_bits(context(tirc::DISP_TYPE), INDIRECT)
        .with_bits(context(tirc::INDIRECT_TABLE), u64::from(table))
        .with_bits(context(tirc::RX_HASH_FN), hash::TOEPLITZ)
        .with_bytes(KEY, &rss.key)
        .with_bits(context(tirc::HASH_L3), if version == 6 { hash::V6 } else { 0 })
        .with_bits(context(tirc::HASH_L4), if transport == Some(UDP) { hash::UDP } else { 0 })
        .with_bits(context(tirc::HASH_FIELDS), fields)
}

/// Frames of a kind.
fn frames(version: u64, transport: Option<u64>) -> Match {
    let what = Match::any().with(headers::ETHERTYPE, if version == 6 { 0x86dd } else { 0x0800 });
    match transport {
        Some(transport) => what.with(headers::IP_PROTOCOL, transport),
        None => what,
    }
}
