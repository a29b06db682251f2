//! The least that a pair of mlx5's queues and their completion queues permit: no pool
//! identity, no checks but of what is there, no statistics, raw pointers; completions in
//! order, one for all that was sent at once; all of a burst in one entry. What was read of
//! a completion queue is never said: nobody counts.

use super::{BUFFER_SIZE, Buffers, FRAME, MASK, RING, SIZE, Variant};
use crate::silicon::mlx5::{Line, Queue, turn};
use bmnic::dma::{Addressing, Arena, Region};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Segment = [AtomicU64; 2];

/// The loop.
pub struct Minimal {
    device: [Queue; 2],
    rx: *const Segment,
    tx: *const Line,
    rx_reports: *const Line,
    tx_reports: *const Line,
    buffers: Buffers,
    next_rx: u32,
    next_tx: u32,
    clean_tx: u32,
    /// Position of the next basic block, and of the next report.
    next_block: u32,
    next_tx_report: u32,
    /// Where the packets of each entry end, by its block.
    ends: Vec<u32>,
    _arena: Arc<Arena>,
}

/// Whether the entry at position `at`, which ends with `tail`, is there.
#[inline(always)]
fn is_there(tail: u64, at: u32) -> bool {
    (tail >> 56) as u32 & 1 == u32::from(at as usize & SIZE != 0) && tail >> 60 != 0xf
}

impl Minimal {
    pub fn new(burst: usize) -> Self {
        let (line, segment) = (64 * SIZE, 16 * SIZE);
        let arena = Arena::new(3 * line + segment, Addressing::Translated).expect("104 KiB");
        let region = |at, len| Region::new(&arena, at, len);
        let device = [
            Queue::bare(region(3 * line, segment), region(0, line)),
            Queue::bare(region(line, line), region(2 * line, line)),
        ];
        let buffers = Buffers::new(burst);
        let [rx, tx] = &device;
        for i in 0..u32::from(RING) {
            rx.segment(i)[0].store(((BUFFER_SIZE as u64) << 32).to_be(), Ordering::Relaxed);
            rx.segment(i)[1].store(buffers.address(i).to_be(), Ordering::Relaxed);
            for queue in [rx, tx] {
                queue.entry(i)[7].store(0xf1 << 56, Ordering::Relaxed);
            }
        }
        rx.record().store(u32::from(RING).to_be(), Ordering::Release);
        Minimal {
            rx: rx.segment(0),
            tx: tx.block(0),
            rx_reports: rx.entry(0),
            tx_reports: tx.entry(0),
            device,
            buffers,
            next_rx: 0,
            next_tx: 0,
            clean_tx: 0,
            next_block: 0,
            next_tx_report: 0,
            ends: vec![0; SIZE],
            _arena: arena,
        }
    }
}

#[inline(never)]
fn minimal_rx(m: &mut Minimal) -> usize {
    let mut n = 0;
    // SAFETY: every index is masked to its ring; the free stack holds more than is taken.
    unsafe {
        while n < m.buffers.burst {
            let slot = (m.next_rx & MASK) as usize;
            // As long as the work queue, and read in step with it.
            let entry = &*m.rx_reports.add(slot);
            if !is_there(entry[7].load(Ordering::Acquire), m.next_rx) {
                break;
            }
            let length = ((entry[5].load(Ordering::Relaxed) >> 32) as u32).swap_bytes();
            let address = m.buffers.receive(n, slot, length as u16);
            (*m.rx.add(slot))[1].store(address.to_be(), Ordering::Relaxed);
            m.next_rx = m.next_rx.wrapping_add(1);
            n += 1;
        }
    }
    let posted = m.next_rx.wrapping_add(u32::from(RING)) & 0xffff;
    m.device[0].record().store(posted.to_be(), Ordering::Release);
    m.buffers.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    m.buffers.touch(0);
}

#[inline(never)]
fn minimal_tx(m: &mut Minimal) -> usize {
    const SEND: u64 = 0x0a << 32;
    const SEVERAL: u64 = 0x29 << 32;
    const REPORT: u64 = 0x08 << 32;
    /// Data segments of an entry.
    const MOST: usize = 58;
    // SAFETY: as in minimal_rx.
    unsafe {
        if m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
            let mut end = m.clean_tx;
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
        let mut done = 0;
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
    m.device[1].record().store((m.next_block & 0xffff).to_be(), Ordering::Release);
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
