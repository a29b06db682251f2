//! Queues: how the firmware is told of their rings, and how they change state.
//!
//! ```text
//!   RST --to be used--> RDY --the card found an error--> ERR --all flushed--> RST
//!                        `------------the queue lost its place--------------> RST
//! ```
//!
//! A queue that comes from RST counts from 0. One in ERR takes what was posted back as
//! completions; it must not be taken to RST before these have all come.

use super::caps::{ethernet, general};
use super::cmd::{
    create_cq, create_rq, create_sq, destroy_cq, destroy_rq, destroy_sq, modify_rq, modify_sq, query_rq, query_sq,
};
use super::cqe::Fault;
use super::ctx::{cqc, rqc, sqc, wq};
use super::hw::Hw;
use super::objects::{Common, Objects, Uar, Way, way};
use super::parts::{Inline, RECORD, Restart, RxLengths, TxLengths};
use super::{cq, time};
use crate::dma::Region;
use crate::driver::mailbox::{Bits, Command, Request};
use crate::error::{Error, Kind, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cyclic ring.
const CYCLIC: u64 = 1;

/// log2 of the bytes of a basic block of a send queue.
const LOG_BLOCK: u64 = 6;

const CQ: Way = way(create_cq::output::CQN, destroy_cq::COMMAND, destroy_cq::input::CQN);
const RQ: Way = way(create_rq::output::RQN, destroy_rq::COMMAND, destroy_rq::input::RQN);
const SQ: Way = way(create_sq::output::SQN, destroy_sq::COMMAND, destroy_sq::input::SQN);

/// Memory of a queue: its work queue, the completions, and a record of each.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Work queue.
    pub wqes: Region,
    /// Its record.
    pub record: Region,
    /// Completion queue.
    pub completions: Region,
    /// Its record.
    pub read: Region,
}

/// Bytes that `bytes` of a ring take: whole pages, as it begins with one.
fn whole_pages(bytes: usize) -> usize {
    const PAGE: usize = 4096;
    bytes.next_multiple_of(PAGE)
}

/// Bytes of a completion queue.
fn completion_bytes(entries: u32) -> usize {
    const ENTRY: usize = 64;
    entries as usize * ENTRY
}

impl Rings {
    /// Sizes of a receive queue's.
    pub fn receive(lengths: &RxLengths) -> [usize; 4] {
        [whole_pages(lengths.bytes()), RECORD, whole_pages(completion_bytes(lengths.completions)), RECORD]
    }

    /// Sizes of a transmit queue's.
    pub fn transmit(lengths: &TxLengths) -> [usize; 4] {
        [whole_pages(lengths.bytes()), RECORD, whole_pages(completion_bytes(lengths.completions)), RECORD]
    }

    /// Of pieces with those sizes; `bytes` of work queue and `completions`.
    pub fn new(sizes: [usize; 4], bytes: usize, completions: u32, mut take: impl FnMut(usize) -> Region) -> Rings {
        let [wqes, record, entries, read] = sizes.map(&mut take);
        let completions = entries.part(0, completion_bytes(completions));
        Rings { wqes: wqes.part(0, bytes), record, completions, read }
    }
}

/// Numbers of a queue that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Of the queue.
    pub queue: u32,
    /// Of its completion queue.
    pub completions: u32,
}

/// Fails unless the card has rings of so many entries.
pub fn check(hw: &Hw, what: &str, entries: u32) -> Result<()> {
    let most = 1u64 << hw.caps.general(general::LOG_MAX_WQ_SZ);
    if u64::from(entries) <= most {
        return Ok(());
    }
    Err(hw.error(Kind::Unsupported, format_args!("a {what} cannot be {entries}; this card takes up to {most}")))
}

/// Makes a completion queue that reports to event queue `events`.
fn completions(
    hw: &Hw,
    objects: &mut Objects,
    rings: &Rings,
    (uar, events): (Uar, u32),
    compressed: bool,
) -> Result<u32> {
    const HASHES: u64 = 0;
    let context = |bits: Bits| bits.at(create_cq::CONTEXT);
    let entries = rings.completions.len() / completion_bytes(1);
    cq::prepare(&rings.completions);
    hw.segment.bar().note_stored(&rings.completions);
    let request = Request::new(create_cq::COMMAND)
        .with_bits(context(cqc::OI), u64::from(hw.caps.general(general::CQ_OI)))
        .with_bits(context(cqc::CQE_COMP_EN), u64::from(compressed))
        .with_bits(context(cqc::MINI_CQE_RES_FORMAT), HASHES)
        .with_bits(context(cqc::LOG_CQ_SIZE), u64::from(entries.ilog2()))
        .with_bits(context(cqc::UAR_PAGE), u64::from(uar.number))
        .with_bits(context(cqc::C_EQN), u64::from(events))
        .with_bits(context(cqc::DBR_ADDR), rings.read.iova())
        .with_pages(&rings.completions);
    objects.make(hw, request, CQ)
}

/// What a receive queue is to do.
#[derive(Clone, Copy, Debug)]
pub struct Receiving {
    /// Tags are taken out.
    pub strip: bool,
    /// log2 of the bytes of an entry.
    pub stride: u32,
    /// Completions of several frames may come in short.
    pub compressed: bool,
}

/// Makes a receive queue, and takes it to RDY.
pub fn receive(
    hw: &Hw,
    objects: &mut Objects,
    common: &Common,
    rings: &Rings,
    place: (Uar, u32),
    how: Receiving,
) -> Result<Numbers> {
    if how.strip && hw.caps.ethernet(ethernet::VLAN_CAP) == 0 {
        return Err(hw.error(Kind::Unsupported, "it cannot take VLAN tags out of frames; leave them in"));
    }
    let completions = completions(hw, objects, rings, place, how.compressed)?;
    let context = |bits: Bits| bits.at(create_rq::CONTEXT);
    let ring = |bits: Bits| bits.at(create_rq::WQ);
    let request = Request::new(create_rq::COMMAND)
        .with_bits(context(rqc::VSD), u64::from(!how.strip))
        .with_bits(context(rqc::FLUSH_IN_ERROR_EN), 1)
        .with_bits(context(rqc::TS_FORMAT), time::format(hw.caps.general(general::RQ_TS_FORMAT)))
        .with_bits(context(rqc::CQN), u64::from(completions))
        .with_bits(context(rqc::COUNTER_SET_ID), u64::from(common.counter.unwrap_or(0)))
        .with_bits(ring(wq::WQ_TYPE), CYCLIC)
        .with_bits(ring(wq::PD), u64::from(common.pd))
        .with_bits(ring(wq::DBR_ADDR), rings.record.iova())
        .with_bits(ring(wq::LOG_WQ_STRIDE), u64::from(how.stride))
        .with_bits(ring(wq::LOG_WQ_SZ), u64::from((rings.wqes.len() >> how.stride).ilog2()))
        .with_pages(&rings.wqes);
    let queue = objects.make(hw, request, RQ)?;
    change(hw, Kinds::RECEIVE, queue, State::Rst, State::Rdy)?;
    Ok(Numbers { queue, completions })
}

/// What a send queue is to do.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// What must be inline.
    pub inline: Inline,
    /// Several frames may be sent by one entry.
    pub multi: bool,
}

/// Makes a send queue, and takes it to RDY.
pub fn transmit(
    hw: &Hw,
    objects: &mut Objects,
    common: &Common,
    rings: &Rings,
    uar: Uar,
    how: Sending,
) -> Result<Numbers> {
    const BY_VPORT: u32 = 1;
    let completions = completions(hw, objects, rings, (uar, common.events), false)?;
    let context = |bits: Bits| bits.at(create_sq::CONTEXT);
    let ring = |bits: Bits| bits.at(create_sq::WQ);
    let says = hw.caps.ethernet(ethernet::WQE_INLINE_MODE) == BY_VPORT;
    let inline = if says { how.inline as u64 } else { 0 };
    let blocks = rings.wqes.len() >> LOG_BLOCK;
    let request = Request::new(create_sq::COMMAND)
        .with_bits(context(sqc::FLUSH_IN_ERROR_EN), 1)
        .with_bits(context(sqc::ALLOW_MULTI_PKT_SEND_WQE), u64::from(how.multi))
        .with_bits(context(sqc::MIN_WQE_INLINE_MODE), inline)
        .with_bits(context(sqc::TS_FORMAT), time::format(hw.caps.general(general::SQ_TS_FORMAT)))
        .with_bits(context(sqc::CQN), u64::from(completions))
        .with_bits(context(sqc::TIS_LST_SZ), 1)
        .with_bits(context(sqc::TIS_NUM_0), u64::from(common.tis))
        .with_bits(ring(wq::WQ_TYPE), CYCLIC)
        .with_bits(ring(wq::PD), u64::from(common.pd))
        .with_bits(ring(wq::UAR_PAGE), u64::from(uar.number))
        .with_bits(ring(wq::DBR_ADDR), rings.record.iova())
        .with_bits(ring(wq::LOG_WQ_STRIDE), LOG_BLOCK)
        .with_bits(ring(wq::LOG_WQ_SZ), u64::from(blocks.ilog2()))
        .with_pages(&rings.wqes);
    let queue = objects.make(hw, request, SQ)?;
    change(hw, Kinds::TRANSMIT, queue, State::Rst, State::Rdy)?;
    Ok(Numbers { queue, completions })
}

/// What a queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing.
    Rst = 0,
    /// What it is for.
    Rdy = 1,
    /// Nothing, after an error.
    Err = 3,
}

/// Commands of a kind of queue.
#[derive(Clone, Copy)]
struct Kinds {
    modify: Command,
    now: Bits,
    number: Bits,
    next: Bits,
    query: Command,
    which: Bits,
    state: Bits,
}

impl Kinds {
    const RECEIVE: Kinds = Kinds {
        modify: modify_rq::COMMAND,
        now: modify_rq::input::RQ_STATE,
        number: modify_rq::input::RQN,
        next: rqc::STATE.at(modify_rq::CONTEXT),
        query: query_rq::COMMAND,
        which: query_rq::input::RQN,
        state: rqc::STATE.at(query_rq::CONTEXT),
    };
    const TRANSMIT: Kinds = Kinds {
        modify: modify_sq::COMMAND,
        now: modify_sq::input::SQ_STATE,
        number: modify_sq::input::SQN,
        next: sqc::STATE.at(modify_sq::CONTEXT),
        query: query_sq::COMMAND,
        which: query_sq::input::SQN,
        state: sqc::STATE.at(query_sq::CONTEXT),
    };
}

/// Takes a queue from one state to another.
fn change(hw: &Hw, kind: Kinds, queue: u32, from: State, to: State) -> Result<()> {
    let request = Request::new(kind.modify)
        .with_bits(kind.now, from as u64)
        .with_bits(kind.number, u64::from(queue))
        .with_bits(kind.next, to as u64);
    hw.ask(request).map(drop)
}

/// The state that the card has a queue in.
fn state(hw: &Hw, kind: Kinds, queue: u32) -> Result<State> {
    let reply = hw.ask(Request::new(kind.query).with_bits(kind.which, u64::from(queue)))?;
    Ok(match reply.bits(kind.state) {
        0 => State::Rst,
        1 => State::Rdy,
        _ => State::Err,
    })
}

/// Sets a queue up anew, on the queue's own thread.
pub struct Renewal {
    hw: Arc<Hw>,
    kind: Kinds,
    queue: u32,
    fault: Fault,
}

impl Renewal {
    /// Of a receive queue.
    pub fn receive(hw: &Arc<Hw>, queue: u32, fault: &Fault) -> Box<dyn Restart> {
        Box::new(Renewal { hw: Arc::clone(hw), kind: Kinds::RECEIVE, queue, fault: fault.clone() })
    }

    /// Of a send queue.
    pub fn transmit(hw: &Arc<Hw>, queue: u32, fault: &Fault) -> Box<dyn Restart> {
        Box::new(Renewal { hw: Arc::clone(hw), kind: Kinds::TRANSMIT, queue, fault: fault.clone() })
    }

    /// The queue could not be set up anew: control says so from now on, as the queue has
    /// nobody to tell. A card that is lost already says why itself.
    fn given_up(&self, error: Error) -> Error {
        if let Err(lost) = self.hw.check() {
            return lost;
        }
        let (text, name) = (error.to_string(), format!("{}: ", self.hw));
        let why = text.strip_prefix(&name).unwrap_or(&text);
        self.hw.lost(format_args!("a queue had to be set up anew and could not be ({why}){}", self.fault))
    }
}

impl Restart for Renewal {
    fn stop(&mut self, flushed: &mut dyn FnMut() -> bool) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const PAUSE: Duration = Duration::from_micros(100);
        let (hw, kind, queue) = (&self.hw, self.kind, self.queue);
        let mut work = || {
            let from = state(hw, kind, queue)?;
            let (begun, mut passed) = (Instant::now(), Duration::ZERO);
            // What does not come in its time is not waited for: RST ends it anyhow.
            while from == State::Err && !flushed() && begun.elapsed().max(passed) < PATIENCE {
                hw.pause(PAUSE);
                passed += PAUSE;
            }
            if from == State::Rst { Ok(()) } else { change(hw, kind, queue, from, State::Rst) }
        };
        // An error may come between the question and the change.
        let outcome = work().or_else(|_: Error| work());
        outcome.map_err(|error| self.given_up(error))
    }

    fn start(&mut self) -> Result<()> {
        change(&self.hw, self.kind, self.queue, State::Rst, State::Rdy).map_err(|error| self.given_up(error))
    }
}
