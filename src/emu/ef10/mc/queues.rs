//! Virtual interfaces, event and descriptor rings, PIO buffers.

use super::super::super::FaultKind;
use super::super::bytes::{reply, u32_at, u64_at};
use super::super::evq::{EventQueue, SIZES, flushed, start_up};
use super::super::rx::RxQueue;
use super::super::tx::{FLAG_TIMESTAMP, FLAG_TSOV2, TxQueue};
use super::super::{Ef10, Ring};
use super::errno::{EALREADY, EBUSY, EINVAL, ENOENT, ENOSPC, ENOTSUP, EPERM};
use super::{Answer, No};
use crate::dma::Iova;

/// Flags of INIT_EVQ.
const INTERRUPTING: u32 = 1;
const CUT_THRU: u32 = 1 << 3;
const RX_MERGE: u32 = 1 << 4;
const TX_MERGE: u32 = 1 << 5;
/// Its types, bits 7 to 10.
const LOW_LATENCY: u32 = 1;
const THROUGHPUT: u32 = 2;
const AUTO: u32 = 3;

/// Where the page list of INIT_EVQ and of the others begins.
const EVQ_PAGES: usize = 0x24;
const PAGES: usize = 0x1c;

/// First VI of a card's second function. Queues are numbered from 0 all the same.
const SECOND_BASE: u32 = 1024;

/// Reads the pages of a ring of `size` entries of 8 bytes; the list is as long
/// as the request.
fn pages(card: &mut Ef10, input: &[u8], at: usize, size: u32) -> Result<Vec<Iova>, No> {
    let count = (size as usize * 8).div_ceil(4096);
    if input.len() < at + 8 * count {
        card.board.violations.note("ring with fewer pages than its size needs");
        return Err(No::Code(EINVAL));
    }
    let pages: Vec<Iova> = (0..count).map(|n| u64_at(input, at + 8 * n)).collect();
    if pages.iter().any(|page| page % 4096 != 0 || page >> 48 != 0) {
        card.board.violations.note("page of a ring that is not aligned to 4 KiB or beyond 48 bits");
        return Err(No::Code(EINVAL));
    }
    Ok(pages)
}

/// A queue's number, if the driver has allocated so many VIs.
fn instance(card: &mut Ef10, number: u32) -> Result<u16, No> {
    if number < u32::from(card.mc.vis) {
        return Ok(number as u16);
    }
    if !card.mc.unnoticed() {
        card.board.violations.note("queue on a VI that was not allocated");
    }
    Err(No::Code(ENOENT))
}

pub fn alloc_vis(card: &mut Ef10, input: &[u8]) -> Answer {
    let (least, most) = (u32_at(input, 0), u32_at(input, 4));
    if card.mc.vis != 0 {
        return Err(No::Code(EALREADY));
    }
    let count = most.min(u32::from(super::super::VIS));
    if least > count || count == 0 {
        return Err(No::Code(ENOSPC));
    }
    card.mc.vis = count as u16;
    let base = if card.board.faulty(FaultKind::Npar) { SECOND_BASE } else { 0 };
    Ok(reply(12, &[(0, count), (4, base)]))
}

pub fn free_vis(card: &mut Ef10, _: &[u8]) -> Answer {
    if card.mc.vis == 0 {
        return Err(No::Code(EALREADY));
    }
    if card.evqs.iter().any(Option::is_some) {
        card.board.violations.note("FREE_VIS with queues on them");
        return Err(No::Code(EBUSY));
    }
    card.mc.vis = 0;
    Ok(Vec::new())
}

pub fn init_evq(card: &mut Ef10, input: &[u8]) -> Answer {
    let (size, flags, vector) = (u32_at(input, 0), u32_at(input, 0x10), u32_at(input, 0x18));
    if !size.is_power_of_two() || !SIZES.contains(&size) {
        card.board.violations.note("INIT_EVQ of a size that is not 512 to 32768, a power of two");
        return Err(No::Code(EINVAL));
    }
    let evq = instance(card, u32_at(input, 4))?;
    if card.evqs[usize::from(evq)].is_some() {
        return Err(No::Code(EALREADY));
    }
    let pages = pages(card, input, EVQ_PAGES, size)?;
    let interrupts = flags & INTERRUPTING != 0;
    // What would wake the driver of a queue that does not interrupt goes to one that
    // does, or that is still to come; never to itself.
    let wakes = |target: u32| {
        let queue = card.evqs.get(target as usize).and_then(Option::as_ref);
        target != u32::from(evq) && queue.is_none_or(EventQueue::interrupts)
    };
    if !interrupts && !wakes(vector) {
        return Err(No::Code(EINVAL));
    }
    if interrupts && vector >= u32::from(card.board.profile.vectors) {
        card.board.violations.note("INIT_EVQ with a vector that the function does not have");
        return Err(No::Code(EINVAL));
    }
    let mut queue = EventQueue::new(size, pages, interrupts.then_some(vector as u16));
    if !queue.clean(&card.board.bus.memory) {
        card.board.violations.note("INIT_EVQ of a ring that is not all ones");
    }
    let kind = if card.kind.huntington() { 0 } else { flags >> 7 & 0xf };
    // Without the licence what is asked of Medford is done as is best for throughput.
    let licensed = card.kind.huntington() || !card.board.faulty(FaultKind::Unlicensed);
    let (cut, rx, tx) = match kind {
        _ if !licensed => (false, true, true),
        LOW_LATENCY => (true, false, false),
        THROUGHPUT | AUTO => (false, true, true),
        _ => (flags & CUT_THRU != 0, flags & RX_MERGE != 0, flags & TX_MERGE != 0),
    };
    queue.cut_through = cut && card.kind.event_cut_through();
    (queue.rx_merge, queue.tx_merge) = (rx && !queue.cut_through, tx);
    let granted = u32::from(queue.cut_through) | u32::from(queue.rx_merge) << 1 | u32::from(queue.tx_merge) << 2;
    card.evqs[usize::from(evq)] = Some(queue);
    card.mcdi.after.push((evq, start_up(evq)));
    Ok(reply(8, &[(0, vector), (4, granted)]))
}

pub fn fini_evq(card: &mut Ef10, input: &[u8]) -> Answer {
    let evq = u32_at(input, 0) as usize;
    match card.evqs.get(evq) {
        Some(Some(queue)) if queue.users > 0 => {
            card.board.violations.note("FINI_EVQ of a queue that others report to");
            Err(No::Code(EBUSY))
        }
        Some(Some(_)) => {
            card.clock.unsubscribe(evq as u16);
            card.evqs[evq] = None;
            Ok(Vec::new())
        }
        _ => Err(No::Code(EALREADY)),
    }
}

/// What INIT_RXQ and INIT_TXQ have in common: the ring, where its events go,
/// and the label they carry.
fn ring(card: &mut Ef10, input: &[u8], sizes: std::ops::RangeInclusive<u32>) -> Result<(u16, Ring), No> {
    let (size, evq, label) = (u32_at(input, 0), u32_at(input, 4), u32_at(input, 8));
    if !size.is_power_of_two() || !sizes.contains(&size) {
        card.board.violations.note("descriptor ring of a size that is not a power of two, or outside the limits");
        return Err(No::Code(EINVAL));
    }
    let queue = instance(card, u32_at(input, 0xc))?;
    if u16::try_from(evq).ok().and_then(|evq| card.evq(evq)).is_none() {
        card.board.violations.note("descriptor ring on an event queue that was not initialised");
        return Err(No::Code(ENOENT));
    }
    if label > 31 {
        card.board.violations.note("label of a queue that is above 31");
        return Err(No::Code(EINVAL));
    }
    let pages = pages(card, input, PAGES, size)?;
    Ok((queue, Ring { pages, mask: size - 1, evq: evq as u16, label: label as u8 }))
}

pub fn init_rxq(card: &mut Ef10, input: &[u8]) -> Answer {
    const BUFF_MODE: u32 = 1;
    const DMA_MODE: u32 = 0xf << 10;
    let flags = u32_at(input, 0x10);
    if flags & (BUFF_MODE | DMA_MODE) != 0 {
        return Err(No::Code(ENOTSUP));
    }
    let (queue, ring) = ring(card, input, 512..=4096)?;
    if card.rx.queues[usize::from(queue)].is_some() {
        return Err(No::Code(EALREADY));
    }
    if let Some(evq) = card.evq(ring.evq) {
        evq.users += 1;
    }
    card.window(queue).poke(super::super::regs::RX_DESC_UPD.at, 0);
    card.rx.queues[usize::from(queue)] = Some(RxQueue::new(ring, flags));
    Ok(Vec::new())
}

pub fn init_txq(card: &mut Ef10, input: &[u8]) -> Answer {
    const BUFF_MODE: u32 = 1;
    let flags = u32_at(input, 0x10);
    if flags & BUFF_MODE != 0 {
        return Err(No::Code(ENOTSUP));
    }
    // Bit 11 of the index is another register's where the workaround is on.
    let most = if card.kind.huntington() && !card.mc.bug35388 { 4096 } else { 2048 };
    let (queue, ring) = ring(card, input, 512..=most)?;
    if card.tx.queues[usize::from(queue)].is_some() {
        return Err(No::Code(EALREADY));
    }
    if flags & FLAG_TIMESTAMP != 0 && card.board.faulty(FaultKind::PtpUnlicensed) {
        return Err(No::Code(EPERM));
    }
    let contexts = card.tx.queues.iter().flatten().filter(|queue| queue.segments).count();
    if flags & FLAG_TSOV2 != 0 && contexts >= usize::from(super::super::TSO_CONTEXTS) {
        return Err(No::Code(ENOSPC));
    }
    if let Some(evq) = card.evq(ring.evq) {
        evq.users += 1;
    }
    let window = card.window(queue);
    for word in 0..4 {
        window.poke(super::super::regs::TX_DESC_UPD.at + 4 * word, 0);
    }
    let ctpio = card.kind.ctpio();
    card.tx.queues[usize::from(queue)] = Some(TxQueue::new(ring, flags, ctpio));
    card.tx.turns.start(queue);
    Ok(Vec::new())
}

pub fn fini_rxq(card: &mut Ef10, input: &[u8]) -> Answer {
    let queue = u32_at(input, 0);
    card.flush_merged();
    let ring = card.rx.queues.get_mut(queue as usize).and_then(Option::take).ok_or(No::Code(EALREADY))?.ring;
    retire(card, ring.evq, queue as u16, true);
    Ok(Vec::new())
}

pub fn fini_txq(card: &mut Ef10, input: &[u8]) -> Answer {
    let queue = u32_at(input, 0);
    card.flush_completions();
    let ring = card.tx.queues.get_mut(queue as usize).and_then(Option::take).ok_or(No::Code(EALREADY))?.ring;
    card.tx.turns.stop(queue as u16);
    retire(card, ring.evq, queue as u16, false);
    Ok(Vec::new())
}

/// A queue is gone: its own event queue hears of it, and the driver's first.
fn retire(card: &mut Ef10, evq: u16, queue: u16, receive: bool) {
    if let Some(events) = card.evq(evq) {
        events.users -= 1;
    }
    card.mcdi.after.push((evq, flushed(receive, queue, false)));
    card.mcdi.after.push((0, flushed(receive, queue, true)));
}

pub fn driver_event(card: &mut Ef10, input: &[u8]) -> Answer {
    let evq = u32_at(input, 0) as u16;
    if card.evq(evq).is_none() {
        return Err(No::Code(ENOENT));
    }
    card.mcdi.after.push((evq, u64_at(input, 4)));
    Ok(Vec::new())
}

pub fn trigger_interrupt(card: &mut Ef10, input: &[u8]) -> Answer {
    card.board.bus.interrupts.signal(u32_at(input, 0) as u16);
    Ok(Vec::new())
}

/// Interrupts are not held back; what is asked is what is granted.
pub fn set_timer(_: &mut Ef10, input: &[u8]) -> Answer {
    Ok(reply(8, &[(0, u32_at(input, 4)), (4, u32_at(input, 8))]))
}

pub fn timer_properties(_: &mut Ef10, _: &[u8]) -> Answer {
    // Nanoseconds a count, counts, step; by command; by the workaround's register.
    Ok(reply(
        0x24,
        &[(4, 1920), (8, 0x3fff), (12, 1), (0x10, 31_000_000), (0x14, 1920), (0x18, 1920), (0x1c, 0xff), (0x20, 1)],
    ))
}

pub fn alloc_piobuf(card: &mut Ef10, _: &[u8]) -> Answer {
    let handle = card.pio.allocate().ok_or(No::Code(ENOSPC))?;
    Ok(reply(4, &[(0, handle)]))
}

pub fn free_piobuf(card: &mut Ef10, input: &[u8]) -> Answer {
    card.pio.free(u32_at(input, 0)).ok_or(No::Code(ENOENT))?;
    Ok(Vec::new())
}

pub fn link_piobuf(card: &mut Ef10, input: &[u8]) -> Answer {
    let window = instance(card, u32_at(input, 4))?;
    card.pio.link(u32_at(input, 0), window).ok_or(No::Code(ENOENT))?;
    Ok(Vec::new())
}

pub fn unlink_piobuf(card: &mut Ef10, input: &[u8]) -> Answer {
    card.pio.unlink(u32_at(input, 0) as u16).ok_or(No::Code(ENOENT))?;
    Ok(Vec::new())
}
