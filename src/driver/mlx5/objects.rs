//! What is made in the card, and in which order it goes: the latest first, as a card
//! keeps what something else still names.
//!
//! ```text
//!   page of doorbells --> event queue --> completion queue --> receive queue --> places, tables
//!   protection domain --> key                              `-> send queue
//!   transport domain  --> place to send from ---------------'
//! ```

use super::caps::general;
use super::cmd::{
    alloc_pd, alloc_q_counter, alloc_transport_domain, alloc_uar, create_eq, create_mkey, create_tis, dealloc_pd,
    dealloc_q_counter, dealloc_transport_domain, dealloc_uar, destroy_eq, destroy_mkey, destroy_tis,
};
use super::ctx::{eqc, mkc, tisc};
use super::eq::{self, EventQueue};
use super::hw::Hw;
use crate::dma::Region;
use crate::driver::mailbox::{Bits, Command, Reply, Request};
use crate::error::{Kind, Result};

/// How something is made and taken back: the number that the firmware gives, and where
/// that is said again.
#[derive(Clone, Copy)]
pub struct Way {
    number: Bits,
    undo: Command,
    which: Bits,
}

/// The way of something with its commands' fields.
pub const fn way(number: Bits, undo: Command, which: Bits) -> Way {
    Way { number, undo, which }
}

/// What was made, and is to go.
#[derive(Default)]
pub struct Objects {
    undo: Vec<Request>,
    /// Something was made maybe, whose number is not known.
    lost: bool,
}

impl Objects {
    /// Has something made; its number.
    pub fn make(&mut self, hw: &Hw, request: Request, way: Way) -> Result<u32> {
        Ok(self.made(&hw.ask(request)?, way))
    }

    /// Has something made of which there is no number 0 to take back; `none` says what such
    /// an answer means.
    pub fn make_numbered(&mut self, hw: &Hw, request: Request, way: Way, none: &str) -> Result<u32> {
        let reply = hw.ask(request)?;
        match reply.bits(way.number) {
            0 => {
                self.lost = true;
                Err(hw.error(Kind::Device, none))
            }
            _ => Ok(self.made(&reply, way)),
        }
    }

    /// Takes note of something that was made, as an answer says; its number.
    pub fn made(&mut self, reply: &Reply, way: Way) -> u32 {
        let number = reply.bits(way.number);
        self.will(Request::new(way.undo).with_bits(way.which, number));
        number as u32
    }

    /// Takes note of what undoes what was made.
    pub fn will(&mut self, undo: Request) {
        self.undo.push(undo);
    }

    /// Takes everything back, the latest first; whether all of it is gone. A firmware that
    /// says nothing any more is not asked again.
    pub fn unmake(&mut self, hw: &Hw) -> bool {
        let mut gone = !std::mem::take(&mut self.lost);
        while let Some(request) = self.undo.pop() {
            gone &= hw.check().is_ok() && matches!(hw.ask_optional(request), Ok(Some(_)));
        }
        gone
    }
}

const UAR: Way = way(alloc_uar::output::UAR, dealloc_uar::COMMAND, dealloc_uar::input::UAR);
const EQ: Way = way(create_eq::output::EQ_NUMBER, destroy_eq::COMMAND, destroy_eq::input::EQ_NUMBER);
const PD: Way = way(alloc_pd::output::PD, dealloc_pd::COMMAND, dealloc_pd::input::PD);
const MKEY: Way = way(create_mkey::output::MKEY_INDEX, destroy_mkey::COMMAND, destroy_mkey::input::MKEY_INDEX);
const DOMAIN: Way = way(
    alloc_transport_domain::output::TRANSPORT_DOMAIN,
    dealloc_transport_domain::COMMAND,
    dealloc_transport_domain::input::TRANSPORT_DOMAIN,
);
const TIS: Way = way(create_tis::output::TISN, destroy_tis::COMMAND, destroy_tis::input::TISN);
const COUNTER: Way =
    way(alloc_q_counter::output::COUNTER_SET_ID, dealloc_q_counter::COMMAND, dealloc_q_counter::input::COUNTER_SET_ID);

/// A page of doorbells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uar {
    /// Its number.
    pub number: u32,
    /// Where it is in BAR 0.
    pub offset: u64,
}

impl Uar {
    /// Has one given.
    pub fn new(hw: &Hw, objects: &mut Objects) -> Result<Uar> {
        const PAGE: u64 = 4096;
        // The first page has the registers: a number that was not written.
        let none = "its firmware gave it page 0 of BAR 0 for doorbells (ALLOC_UAR), which is that of its registers";
        let number = objects.make_numbered(hw, Request::new(alloc_uar::COMMAND), UAR, none)?;
        // As large as the firmware thinks this machine's pages are.
        let shift = 12 + hw.caps.general(general::LOG_UAR_PAGE_SZ).min(16);
        let offset = u64::from(number) << shift;
        let size = hw.segment.bar().size();
        if offset + PAGE > size {
            let text = format!("doorbells are to be at {offset:#x}, but its register BAR has {size:#x} bytes");
            return Err(hw.error(Kind::Device, text));
        }
        Ok(Uar { number, offset })
    }
}

/// What the queues of a port have in common.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// Number of the event queue for what the firmware has to say.
    pub events: u32,
    /// Protection domain.
    pub pd: u32,
    /// Transport domain.
    pub domain: u32,
    /// Key of all memory.
    pub lkey: u32,
    /// Place to send from.
    pub tis: u32,
    /// Counters of what receive queues drop, where there are any.
    pub counter: Option<u32>,
}

/// Makes an event queue in `region` for the events of `mask`, which is empty for
/// completions; its number and the queue.
pub fn event_queue(
    hw: &Hw,
    objects: &mut Objects,
    region: Region,
    uar: Uar,
    mask: u64,
    vector: u16,
) -> Result<(u32, EventQueue)> {
    let context = |bits: Bits| bits.at(create_eq::CONTEXT);
    eq::prepare(&region);
    hw.segment.bar().note_stored(&region);
    let request = Request::new(create_eq::COMMAND)
        .with_bits(context(eqc::OI), 1)
        .with_bits(context(eqc::LOG_EQ_SIZE), u64::from(eq::log_entries(&region)))
        .with_bits(context(eqc::UAR_PAGE), u64::from(uar.number))
        .with_bits(context(eqc::INTR), u64::from(vector))
        .with_bits(create_eq::input::EVENT_BITMASK, mask)
        .with_pages(&region);
    let number = objects.make(hw, request, EQ)?;
    let bar = hw.segment.bar();
    let bell = |offset| bar.doorbell(uar.offset + offset);
    Ok((number, EventQueue::new(region, number, bell(eq::bell::READ)?, bell(eq::bell::ARM)?)))
}

impl Common {
    /// Makes all of it, and has events read from now on.
    pub fn new(hw: &Hw, objects: &mut Objects, uar: Uar, events: Region) -> Result<Common> {
        const FIRST_VECTOR: u16 = 0;
        let (number, queue) = event_queue(hw, objects, events, uar, eq::WANTED, FIRST_VECTOR)?;
        hw.hca().listen(queue);
        let pd = objects.make(hw, Request::new(alloc_pd::COMMAND), PD)?;
        let domain = objects.make(hw, Request::new(alloc_transport_domain::COMMAND), DOMAIN)?;
        let lkey = key(hw, objects, pd)?;
        let tis = Request::new(create_tis::COMMAND)
            .with_bits(tisc::TRANSPORT_DOMAIN.at(create_tis::CONTEXT), u64::from(domain));
        let tis = objects.make(hw, tis, TIS)?;
        Ok(Common { events: number, pd, domain, lkey, tis, counter: counter(hw, objects)? })
    }
}

/// Makes a key of all memory that the function reaches: addresses are what they are.
fn key(hw: &Hw, objects: &mut Objects, pd: u32) -> Result<u32> {
    const BYTE: u32 = 0;
    const ANY_QUEUE: u64 = 0xff_ffff;
    let context = |bits: Bits| bits.at(create_mkey::CONTEXT);
    let request = Request::new(create_mkey::COMMAND)
        .with_bits(context(mkc::LW), 1)
        .with_bits(context(mkc::LR), 1)
        .with_bits(context(mkc::QPN), ANY_QUEUE)
        .with_bits(context(mkc::MKEY_7_0), u64::from(BYTE))
        .with_bits(context(mkc::LENGTH64), 1)
        .with_bits(context(mkc::PD), u64::from(pd));
    // The first ones are the card's own.
    let none = "its firmware made no key of memory (CREATE_MKEY), though it says so";
    Ok(objects.make_numbered(hw, request, MKEY, none)? << 8 | BYTE)
}

/// Counters of what receive queues drop; a card that has none is none the worse for it.
/// 0 is no number of them (Linux en_main.c, mlx5e_create_q_counters).
fn counter(hw: &Hw, objects: &mut Objects) -> Result<Option<u32>> {
    let Some(reply) = hw.ask_optional(Request::new(alloc_q_counter::COMMAND))? else { return Ok(None) };
    let numbered = reply.bits(COUNTER.number) != 0;
    objects.lost |= !numbered;
    Ok(numbered.then(|| objects.made(&reply, COUNTER)))
}
