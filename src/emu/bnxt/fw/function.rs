//! The function: what it could have, what it has, who drives it.
//!
//! ```text
//!   pool       what there is              FUNC_QCAPS, FUNC_RESOURCE_QCAPS
//!   granted    what a driver has of it    FUNC_CFG  -->  FUNC_QCFG
//!   counts     what it made of that       RING_ALLOC and the like
//! ```
//!
//! A driver asks for what it wants and is told that all is well; how much it got
//! stands in FUNC_QCFG.

use super::super::super::{Board, FaultKind, Picos};
use super::super::hwrm::{Answer, Reply, Request};
use super::super::plane::GROUPS;
use super::super::{Bnxt, Kind};
use super::scheduler::Scheduler;
use super::{BUSY, Refusal, UNKNOWN};

/// The function's own number, and how it may call itself too.
const FID: u16 = 1;
const SELF: u16 = 0xffff;

/// What a nasty card grants of anything: no driver gets on with less.
const LEAST: u16 = 2;

/// Longest payload of a frame.
pub const MTU: u16 = 9500;
const SMALL_MTU: u16 = 1500;

/// What RESET_NOTIFY is among the events; a driver that asks for it tells when its
/// interface is up.
const RESET_NOTIFY: u16 = 8;

/// Kinds of things that are reserved, in the order of FUNC_CFG's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// RSS contexts.
    Contexts,
    /// Completion queues.
    Completions,
    /// Transmit rings.
    Transmit,
    /// Receive rings, those for aggregation among them.
    Receive,
    /// L2 filters.
    Filters,
    /// VNICs.
    Vnics,
    /// Statistics contexts.
    Statistics,
    /// Ring groups.
    Groups,
    /// Vectors, on P5 notification queues.
    Vectors,
}

use Thing::{Completions, Contexts, Filters, Groups, Receive, Statistics, Transmit, Vectors, Vnics};

/// How many of each.
type Room = [u16; 9];

/// The bit of FUNC_CFG's enables, and the field; the same of FUNC_VF_CFG.
type Fields = [(Thing, u32, usize); 9];
const FIELDS: Fields = [
    (Contexts, 1 << 2, 0x20),
    (Completions, 1 << 3, 0x22),
    (Transmit, 1 << 4, 0x24),
    (Receive, 1 << 5, 0x26),
    (Filters, 1 << 6, 0x28),
    (Vnics, 1 << 7, 0x2a),
    (Statistics, 1 << 8, 0x2c),
    (Groups, 1 << 19, 0x2e),
    (Vectors, 1 << 21, 0x12),
];
const VF_FIELDS: Fields = [
    (Contexts, 1 << 4, 0x24),
    (Completions, 1 << 5, 0x26),
    (Transmit, 1 << 6, 0x28),
    (Receive, 1 << 7, 0x2a),
    (Filters, 1 << 8, 0x2c),
    (Vnics, 1 << 9, 0x2e),
    (Statistics, 1 << 10, 0x30),
    (Groups, 1 << 11, 0x32),
    (Vectors, 0, 0x3c),
];

/// FUNC_CFG: flags with which it only asks whether there would be as much.
const TESTS: u32 = 0x009f_e000;
const VF_TESTS: u32 = 0xff;

/// The function.
#[derive(Debug)]
pub struct Function {
    pool: Room,
    granted: Room,
    registered: bool,
    /// Events that the driver wants to hear of, as bits.
    events: [u8; 32],
    /// It has said that its interface is up.
    up: bool,
    /// Until then it cannot be (nasty).
    not_before: Option<Picos>,
    /// The pool has shrunk, and the driver does not know (nasty).
    shrunk: bool,
    mtu: u16,
    mru: u16,
    mac: [u8; 6],
    /// Queues of the scheduler, and whether the driver has asked for them.
    pub(super) queues: Scheduler,
    pub(super) asked_for_queues: bool,
}

impl Function {
    /// One that nobody drives.
    pub fn new(kind: &Kind, board: &Board) -> Self {
        let vectors = board.profile.vectors;
        let groups = if kind.chip.p5() { 0 } else { 64 };
        let pool = match board.faulty(FaultKind::NoResources) {
            true => [0; 9],
            false => [64, 128, 64, 128, 64, 64, 128, groups, vectors],
        };
        let mac = if board.faulty(FaultKind::NoMac) { [0; 6] } else { board.factory };
        Function {
            pool,
            granted: pool,
            registered: false,
            events: [0; 32],
            up: false,
            not_before: None,
            shrunk: false,
            mtu: 1500,
            mru: 1518,
            mac,
            queues: Scheduler::new(board.nasty, board.faulty(FaultKind::FarQueue)),
            asked_for_queues: false,
        }
    }

    /// Whether a driver is there.
    pub fn registered(&self) -> bool {
        self.registered
    }

    /// Whether it wants to hear of this.
    pub fn wants(&self, event: u16) -> bool {
        let byte = self.events.get(usize::from(event / 8)).copied().unwrap_or(0);
        self.registered && byte >> (event % 8) & 1 == 1
    }

    /// Whether the driver has told what QPORTCFG depends on.
    pub fn asked_for_queues(&self) -> bool {
        self.asked_for_queues
    }

    /// Numbers of the queues that transmit rings may name.
    pub fn queues(&self) -> Vec<u16> {
        self.queues.usable()
    }

    /// Whether receive and transmit rings may be made: a driver that takes part in
    /// resets must have said that it is up.
    pub fn may_have_rings(&self) -> bool {
        self.up || !self.wants(RESET_NOTIFY)
    }

    /// Whether there is one more where `used` are, by what was granted.
    pub fn room(&self, thing: Thing, used: usize) -> Result<(), Refusal> {
        if used < usize::from(self.granted[thing as usize]) { Ok(()) } else { Err(Refusal::ALLOC) }
    }
}

impl Bnxt {
    /// Whether firmware takes part in resets and says where its health is.
    pub(in super::super) fn recovers(&self) -> bool {
        let faults = [FaultKind::HotReset, FaultKind::Crash, FaultKind::Echo];
        self.board.nasty || faults.into_iter().any(|kind| self.faulty(kind))
    }

    fn longest_mtu(&self) -> u16 {
        if self.faulty(FaultKind::SmallMtu) { SMALL_MTU } else { MTU }
    }

    /// Longest frame, tags and all, that a VNIC may be told to take.
    pub(super) fn longest_frame(&self) -> u16 {
        self.longest_mtu() + 100
    }

    /// Only the function itself is known.
    fn own(&mut self, request: &Request) -> Result<(), Refusal> {
        if matches!(request.u16(0x10), FID | SELF) { Ok(()) } else { Err(Refusal::INVALID) }
    }

    /// Reserves: what was asked for, as far as there is so much, and from a nasty card
    /// less.
    fn reserve(&mut self, request: &Request, enables: u32, fields: &Fields, test: bool) -> Result<(), Refusal> {
        for &(thing, _, at) in fields.iter().filter(|(_, bit, _)| enables & bit != 0) {
            let (asked, pool) = (request.u16(at), self.function.pool[thing as usize]);
            if test {
                if asked > pool {
                    return Err(Refusal::ALLOC);
                }
                continue;
            }
            let mut granted = asked.min(pool);
            if self.board.nasty && self.board.random.below(2) == 0 {
                let share = 1 + self.board.random.below(70);
                granted = granted.min(LEAST).max((u64::from(granted) * share / 100) as u16);
            }
            self.function.granted[thing as usize] = granted;
        }
        Ok(())
    }

    /// The ring that events go to.
    fn set_event_ring(&mut self, ring: u16) -> Result<(), Refusal> {
        match self.plane.set_async_ring(ring) {
            Err(refusal) if ring != SELF => Err(refusal),
            _ => Ok(()),
        }
    }
}

/// FUNC_RESET: all that the function has is gone. The port's affairs stay.
pub fn reset(card: &mut Bnxt, _: &Request) -> Answer {
    card.drop_function();
    card.plane.set_unnoticed(false);
    Ok(Reply::done())
}

pub fn capabilities(card: &mut Bnxt, request: &Request) -> Answer {
    const PTP: u32 = 1 << 2;
    const RECOVERY: u32 = 1 << 22 | 1 << 23;
    const EXTENDED_STATISTICS: u32 = 1 << 24;
    const ECHO: u32 = 1 << 15;
    /// Every received frame can be stamped, and a sent one in its completion.
    const ALL_STAMPED: u32 = 1;
    const STAMPS_IN_COMPLETIONS: u32 = 1 << 9;
    card.own(request)?;
    let mut flags = 0;
    if card.chip().p5() {
        flags |= PTP | EXTENDED_STATISTICS;
    }
    if card.recovers() {
        flags |= RECOVERY;
    }
    let stamps = if card.has_clock() { ALL_STAMPED | STAMPS_IN_COMPLETIONS } else { 0 };
    let extended = if card.faulty(FaultKind::Echo) { ECHO } else { 0 };
    let [contexts, completions, transmit, receive, filters, vnics, statistics, groups, _] = card.function.pool;
    Ok(Reply::new(144)
        .u16s(0x08, &[FID, 0])
        .u32(0x0c, flags)
        .bytes(0x10, &card.function.mac)
        .u16s(0x16, &[contexts, completions, transmit, receive, filters, vnics, 0, 0, statistics])
        .u32(0x40, GROUPS)
        .u32(0x48, groups.into())
        .u32(0x50, extended)
        .u32(0x58, stamps)
        .bytes(0x60, &card.board.factory))
}

pub fn configuration(card: &mut Bnxt, request: &Request) -> Answer {
    const NPAR_1_0: u8 = 1;
    card.own(request)?;
    let partition = if card.faulty(FaultKind::Npar) { NPAR_1_0 } else { 0 };
    let function = &card.function;
    let [contexts, completions, transmit, receive, filters, vnics, statistics, groups, vectors] = function.granted;
    Ok(Reply::new(176)
        .u16s(0x08, &[FID, 0])
        .bytes(0x10, &function.mac)
        .u16s(0x16, &[0, contexts, completions, transmit, receive, filters, vnics, function.mtu, function.mru, SELF])
        .bytes(0x2a, &[partition, 1])
        .u16s(0x2c, &[SELF, card.longest_mtu()])
        .u32(0x40, groups.into())
        .u16s(0x46, &[statistics, vectors])
        .u8(0x4f, 1))
}

/// FUNC_RESOURCE_QCAPS: least and most of each. It failing is how firmware from before
/// the new resource manager says that it is.
pub fn resources(card: &mut Bnxt, request: &Request) -> Answer {
    card.own(request)?;
    if card.faulty(FaultKind::OldResources) || card.faulty(FaultKind::Old) {
        return Err(UNKNOWN);
    }
    let [contexts, completions, transmit, receive, filters, vnics, statistics, groups, vectors] = card.function.pool;
    let pairs: Vec<u16> = [contexts, completions, transmit, receive, filters, vnics, statistics, groups]
        .into_iter()
        .flat_map(|most| [most.min(1), most])
        .collect();
    Ok(Reply::new(88).u16(0x0a, vectors).u16s(0x0e, &pairs).u16(0x2e, transmit))
}

pub fn register(card: &mut Bnxt, request: &Request) -> Answer {
    const STRICT_HASHES: u32 = 1 << 8;
    const NPAR_1_2: u32 = 1 << 9;
    const EVENTS: u32 = 1 << 4;
    const MUST_TELL_UP: u32 = 1;
    let (flags, enables) = (request.u32(0x10), request.u32(0x14));
    let old = card.faulty(FaultKind::Npar12) && flags & NPAR_1_2 == 0;
    if old || flags & STRICT_HASHES != 0 {
        return Err(Refusal::INVALID);
    }
    let function = &mut card.function;
    function.registered = true;
    if enables & EVENTS != 0 {
        for (at, byte) in function.events.iter_mut().enumerate() {
            *byte = request.u8(0x48 + at);
        }
    }
    if card.board.nasty {
        let wait = 50 + card.board.random.below(400);
        function.not_before = Some(card.board.now + wait * 1_000_000_000);
    }
    card.plane.set_unnoticed(false);
    card.plan_trouble();
    Ok(Reply::new(16).u32(8, MUST_TELL_UP))
}

pub fn unregister(card: &mut Bnxt, _: &Request) -> Answer {
    (card.function.registered, card.function.up) = (false, false);
    Ok(Reply::done())
}

/// FUNC_DRV_IF_CHANGE: the interface goes up or down; going up a driver hears, once,
/// what changed meanwhile.
pub fn if_change(card: &mut Bnxt, request: &Request) -> Answer {
    const UP: u32 = 1;
    const LESS: u32 = 1;
    const ALL_LOST: u32 = 1 << 1;
    if request.u32(0x10) & UP == 0 {
        card.function.up = false;
        card.driver_is_down();
        return Ok(Reply::done());
    }
    if card.function.not_before.is_some_and(|then| card.board.now < then) {
        return Err(BUSY);
    }
    card.function.up = true;
    let mut flags = 0;
    if card.health.take_lost() {
        flags |= ALL_LOST;
    }
    if card.board.nasty && !card.function.shrunk && card.board.random.below(4) == 0 {
        // Another function took its share: what was reserved is to be asked for again.
        card.function.shrunk = true;
        card.function.pool = card.function.pool.map(|most| most.div_ceil(2));
        for (granted, most) in card.function.granted.iter_mut().zip(card.function.pool) {
            *granted = most.min(*granted);
        }
        flags |= LESS;
    }
    Ok(Reply::new(16).u32(8, flags))
}

pub fn configure(card: &mut Bnxt, request: &Request) -> Answer {
    const MTU_SET: u32 = 1;
    const MRU_SET: u32 = 1 << 1;
    const MAC_SET: u32 = 1 << 9;
    const EVENT_RING: u32 = 1 << 14;
    card.own(request)?;
    if card.store_busy() {
        return Err(BUSY);
    }
    let (flags, enables) = (request.u32(0x14), request.u32(0x18));
    card.reserve(request, enables, &FIELDS, flags & TESTS != 0)?;
    if flags & TESTS != 0 {
        return Ok(Reply::done());
    }
    if enables & MTU_SET != 0 {
        card.function.mtu = request.u16(0x1c);
    }
    if enables & MRU_SET != 0 {
        card.function.mru = request.u16(0x1e);
        card.plane.set_mru(card.function.mru);
    }
    if enables & MAC_SET != 0 {
        card.function.mac = std::array::from_fn(|n| request.u8(0x30 + n));
    }
    if enables & EVENT_RING != 0 {
        card.set_event_ring(request.u16(0x50))?;
    }
    Ok(Reply::done())
}

/// FUNC_VF_CFG: the same for a virtual function, and this one does as if it were one.
pub fn vf_config(card: &mut Bnxt, request: &Request) -> Answer {
    const MTU_SET: u32 = 1;
    const EVENT_RING: u32 = 1 << 2;
    const MAC_SET: u32 = 1 << 3;
    let (enables, flags) = (request.u32(0x10), request.u32(0x20));
    card.reserve(request, enables, &VF_FIELDS, flags & VF_TESTS != 0)?;
    if flags & VF_TESTS != 0 {
        return Ok(Reply::done());
    }
    if enables & MTU_SET != 0 {
        card.function.mtu = request.u16(0x14);
    }
    if enables & MAC_SET != 0 {
        if card.faulty(FaultKind::MacLocked) {
            return Err(Refusal::DENIED);
        }
        card.function.mac = std::array::from_fn(|n| request.u8(0x1a + n));
    }
    if enables & EVENT_RING != 0 {
        card.set_event_ring(request.u16(0x18))?;
    }
    Ok(Reply::done())
}
