//! The least that a pair of mlx5's queues and their completion queues permit: no pool
//! identity, no checks but of what is there, no statistics, raw pointers; completions in
//! order, one for all that was sent at once; all of a burst in one entry where the card
//! grants that. What was read of a completion queue is never said: nobody counts.

use super::{BUFFER_SIZE, Buffers, FRAME, MASK, RING, SIZE, Variant};
use crate::silicon::mlx5::{Grants, Line, Queue, turn};
use bmnic::dma::{Addressing, Arena, Region};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

type Segment = [AtomicU64; 2];

/// Last word of a completion that is not there, and in the last byte of one: in short.
const NEVER: u64 = 0xf1 << 56;
const SHORT: u64 = 3 << 2;

/// First and second word of an entry: sends a frame, and is to be reported.
const SEND: u64 = 0x0a << 32;
const REPORT: u64 = 0x08 << 32;

/// Bytes inline, for a card that wants headers so.
const HEAD: u64 = 18;

/// The loop.
pub struct Minimal {
    device: [Queue; 2],
    rx: *const Segment,
    tx: *const Line,
    rx_reports: *const Line,
    tx_reports: *const Line,
    /// What was posted.
    records: [*const AtomicU32; 2],
    buffers: Buffers,
    next_rx: u32,
    next_tx: u32,
    clean_tx: u32,
    /// Position of the next basic block, and of the next report.
    next_block: u32,
    next_tx_report: u32,
    /// Where the packets of each entry end, by its block.
    ends: Vec<u32>,
    grants: Grants,
    bell: AtomicU64,
    _arena: Arc<Arena>,
}

/// Whether the entry at position `at`, which ends with `tail`, is there.
#[inline(always)]
fn is_there(tail: u64, at: u32) -> bool {
    (tail >> 56) as u32 & 1 == u32::from(at as usize & SIZE != 0) && tail >> 60 != 0xf
}

impl Minimal {
    pub fn new(grants: Grants, burst: usize) -> Self {
        let (line, segment) = (64 * SIZE, 16 * SIZE);
        let rings = 3 * line + segment;
        let arena = Arena::new(rings + 2 * 64, Addressing::Translated).expect("105 KiB");
        let region = |at, len| Region::new(&arena, at, len);
        let device = [
            Queue::bare(region(3 * line, segment), region(0, line), region(rings, 64), grants.compression),
            Queue::bare(region(line, line), region(2 * line, line), region(rings + 64, 64), false),
        ];
        let buffers = Buffers::new(burst);
        let [rx, tx] = &device;
        for i in 0..u32::from(RING) {
            rx.segment(i)[0].store(((BUFFER_SIZE as u64) << 32).to_be(), Ordering::Relaxed);
            rx.segment(i)[1].store(buffers.address(i).to_be(), Ordering::Relaxed);
            for queue in [rx, tx] {
                queue.entry(i)[7].store(NEVER, Ordering::Relaxed);
            }
        }
        rx.record().store(u32::from(RING).to_be(), Ordering::Release);
        Minimal {
            rx: rx.segment(0),
            tx: tx.block(0),
            rx_reports: rx.entry(0),
            tx_reports: tx.entry(0),
            records: device.each_ref().map(|queue| std::ptr::from_ref(queue.record())),
            device,
            buffers,
            next_rx: 0,
            next_tx: 0,
            clean_tx: 0,
            next_block: 0,
            next_tx_report: 0,
            ends: vec![0; SIZE],
            grants,
            bell: AtomicU64::new(0),
            _arena: arena,
        }
    }
}

/// Takes the frame at the next place, of that length in the upper half of `word`.
///
/// # Safety
/// Fewer than a burst were taken.
#[inline(always)]
unsafe fn take(m: &mut Minimal, n: usize, word: u64) {
    let slot = (m.next_rx & MASK) as usize;
    let length = ((word >> 32) as u32).swap_bytes();
    // SAFETY: the index is masked to its ring; the free stack holds more than is taken.
    unsafe {
        let address = m.buffers.receive(n, slot, length as u16);
        (*m.rx.add(slot))[1].store(address.to_be(), Ordering::Relaxed);
    }
    m.next_rx = m.next_rx.wrapping_add(1);
}

#[inline(never)]
fn minimal_rx(m: &mut Minimal) -> usize {
    let mut n = 0;
    // SAFETY: every index is masked to its ring.
    unsafe {
        while n < m.buffers.burst {
            // As long as the work queue, and read in step with it.
            let first = m.next_rx;
            let entry = |at: u32| &*m.rx_reports.add((at & MASK) as usize);
            let tail = entry(first)[7].load(Ordering::Acquire);
            if !is_there(tail, first) {
                break;
            }
            let bytes = entry(first)[5].load(Ordering::Relaxed);
            if tail >> 56 & SHORT == 0 {
                take(m, n, bytes);
                n += 1;
                continue;
            }
            // Never more than a burst.
            let count = ((bytes >> 32) as u32).swap_bytes();
            for mini in 0..count {
                let entry = &*m.rx_reports.add((first.wrapping_add((mini & !7).max(1)) & MASK) as usize);
                take(m, n, entry.get_unchecked(mini as usize & 7).load(Ordering::Relaxed));
                n += 1;
            }
            // What was not written would look like the lap to come.
            for at in 0..count {
                let entry = &*m.rx_reports.add((first.wrapping_add(at) & MASK) as usize);
                entry[7].store(NEVER, Ordering::Relaxed);
            }
        }
    }
    let posted = m.next_rx.wrapping_add(u32::from(RING)) & 0xffff;
    // SAFETY: the loop keeps the record's memory.
    unsafe { (*m.records[0]).store(posted.to_be(), Ordering::Release) };
    m.buffers.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    m.buffers.touch(0);
}

/// Notes what was sent.
#[inline(always)]
fn reclaim(m: &mut Minimal) {
    let mut end = m.clean_tx;
    // SAFETY: every index is masked to its ring.
    unsafe {
        loop {
            let entry = &*m.tx_reports.add((m.next_tx_report & MASK) as usize);
            let tail = entry[7].load(Ordering::Acquire);
            if !is_there(tail, m.next_tx_report) {
                break;
            }
            m.next_tx_report = m.next_tx_report.wrapping_add(1);
            let counter = u32::from(((tail >> 32) as u16).swap_bytes());
            end = *m.ends.get_unchecked((counter & MASK) as usize);
        }
        while m.clean_tx != end {
            m.buffers.sent((m.clean_tx & MASK) as usize);
            m.clean_tx = m.clean_tx.wrapping_add(1);
        }
    }
}

/// Writes an entry for each frame.
#[inline(always)]
fn send_each<const HEADS: bool>(m: &mut Minimal) {
    // SAFETY: every index is masked to its ring; a frame is longer than its head.
    unsafe {
        let count = m.buffers.count;
        for n in 0..count {
            let slot = m.next_block & MASK;
            let words = &*m.tx.add(slot as usize);
            let (buffer, length) = m.buffers.send(n, slot as usize);
            let address = m.buffers.address(buffer);
            let report = if n + 1 == count { REPORT } else { 0 };
            let store = |n: usize, word: u64| words[n].store(word, Ordering::Relaxed);
            store(0, (u64::from(m.next_block as u16) << 40 | SEND | if HEADS { 4 } else { 3 }).to_be());
            store(1, report.to_be());
            store(2, 0);
            let data = if HEADS {
                let head = m.buffers.base.add(buffer as usize * BUFFER_SIZE);
                store(3, HEAD << 40 | u64::from(head.cast::<u16>().read()) << 48);
                store(4, head.add(2).cast::<u64>().read_unaligned());
                store(5, head.add(10).cast::<u64>().read_unaligned());
                HEAD
            } else {
                store(3, 0);
                0
            };
            let at = if HEADS { 6 } else { 4 };
            store(at, ((u64::from(length) - data) << 32).to_be());
            store(at + 1, (address + data).to_be());
            m.next_block = m.next_block.wrapping_add(1);
            m.next_tx = m.next_tx.wrapping_add(1);
        }
        *m.ends.get_unchecked_mut((m.next_block.wrapping_sub(1) & MASK) as usize) = m.next_tx;
    }
}

/// Writes entries for as many frames as they hold.
#[inline(always)]
fn send_several(m: &mut Minimal) {
    const SEVERAL: u64 = 0x29 << 32;
    /// Data segments of an entry.
    const MOST: usize = 58;
    let mut done = 0;
    // SAFETY: every index is masked to its ring, and ends where that does.
    unsafe {
        while done < m.buffers.count {
            let block = m.next_block & MASK;
            let words = m.tx.add(block as usize).cast::<AtomicU64>();
            let room = 4 * (u32::from(RING) - block) as usize - 2;
            let count = (m.buffers.count - done).min(MOST).min(room);
            for n in 0..count {
                let (buffer, length) = m.buffers.send(done + n, (m.next_tx & MASK) as usize);
                m.next_tx = m.next_tx.wrapping_add(1);
                (*words.add(4 + 2 * n)).store((u64::from(length) << 32).to_be(), Ordering::Relaxed);
                (*words.add(5 + 2 * n)).store(m.buffers.address(buffer).to_be(), Ordering::Relaxed);
            }
            let opcode = if count == 1 { SEND } else { SEVERAL };
            let index = u64::from(m.next_block as u16) << 40;
            (*words).store((index | opcode | (2 + count) as u64).to_be(), Ordering::Relaxed);
            done += count;
            let report = if done == m.buffers.count { REPORT } else { 0 };
            (*words.add(1)).store(report.to_be(), Ordering::Relaxed);
            (*words.add(2)).store(0, Ordering::Relaxed);
            (*words.add(3)).store(0, Ordering::Relaxed);
            *m.ends.get_unchecked_mut(block as usize) = m.next_tx;
            m.next_block = m.next_block.wrapping_add((2 + count as u32).div_ceil(4));
        }
    }
}

#[inline(never)]
fn minimal_tx(m: &mut Minimal) -> usize {
    if m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
        reclaim(m);
    }
    match m.grants {
        Grants { multi: true, .. } => send_several(m),
        Grants { headers_inline: true, .. } => send_each::<true>(m),
        _ => send_each::<false>(m),
    }
    // SAFETY: as in minimal_rx.
    unsafe { (*m.records[1]).store((m.next_block & 0xffff).to_be(), Ordering::Release) };
    m.bell.store(u64::from(m.next_block), Ordering::Release);
    std::mem::take(&mut m.buffers.count)
}

impl Variant for Minimal {
    fn play(&mut self, burst: usize) {
        let [rx, tx] = &mut self.device;
        turn([rx, tx], burst as u32, FRAME);
    }

    fn rx(&mut self) -> usize {
        minimal_rx(self)
    }

    fn touch(&mut self) {
        minimal_touch(self);
    }

    fn tx(&mut self) -> usize {
        minimal_tx(self)
    }
}
