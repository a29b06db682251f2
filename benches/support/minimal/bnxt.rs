//! The least that a pair of bnxt's queues and their completion rings permit: no
//! pool identity, no checks but of what is there, no statistics, raw pointers;
//! completions in order, one for all that was sent at once. A completion ring is
//! never given back: nobody counts.

use super::{BUFFER_SIZE, Buffers, FRAME, MASK, RING, SIZE, Variant};
use crate::silicon::bnxt::{Queue, turn};
use bmnic::dma::{Addressing, Arena, Region};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries of a completion ring: as many as the driver has for a receive ring.
const ENTRIES: usize = 2048;

type Words = [AtomicU64; 2];

/// The loop.
pub struct Minimal {
    device: [Queue; 2],
    rx: *const Words,
    tx: *const Words,
    rx_reports: *const Words,
    tx_reports: *const Words,
    buffers: Buffers,
    next_rx: u32,
    next_rx_report: u32,
    next_tx: u32,
    clean_tx: u32,
    next_tx_report: u32,
    _arena: Arc<Arena>,
}

/// V of an entry that is there.
#[inline(always)]
fn valid(at: u32) -> u64 {
    u64::from(at as usize & ENTRIES == 0)
}

impl Minimal {
    pub fn new(burst: usize) -> Self {
        let (ring, both) = (16 * SIZE, 16 * (SIZE + ENTRIES));
        let arena = Arena::new(2 * both, Addressing::Translated).expect("80 KiB");
        let device =
            [0, both].map(|at| Queue::bare(Region::new(&arena, at, ring), Region::new(&arena, at + ring, both - ring)));
        let buffers = Buffers::new(burst);
        let [rx, tx] = &device;
        for i in 0..u32::from(RING) {
            rx.descriptor(i)[0].store(0x4 | (BUFFER_SIZE as u64) << 16, Ordering::Relaxed);
            rx.descriptor(i)[1].store(buffers.address(i), Ordering::Relaxed);
        }
        rx.tail_word().store(MASK, Ordering::Release);
        Minimal {
            rx: rx.descriptor(0),
            tx: tx.descriptor(0),
            rx_reports: rx.entry(0),
            tx_reports: tx.entry(0),
            device,
            buffers,
            next_rx: 0,
            next_rx_report: 0,
            next_tx: 0,
            clean_tx: 0,
            next_tx_report: 0,
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
            let at = m.next_rx_report;
            let low = &*m.rx_reports.add(at as usize & (ENTRIES - 1));
            let high = &*m.rx_reports.add(at.wrapping_add(1) as usize & (ENTRIES - 1));
            if low[1].load(Ordering::Acquire) & 1 != valid(at)
                || high[1].load(Ordering::Acquire) & 1 != valid(at.wrapping_add(1))
            {
                break;
            }
            m.next_rx_report = at.wrapping_add(2);
            let slot = (m.next_rx & MASK) as usize;
            let address = m.buffers.receive(n, slot, (low[0].load(Ordering::Relaxed) >> 16) as u16);
            (*m.rx.add(slot))[1].store(address, Ordering::Relaxed);
            m.next_rx = m.next_rx.wrapping_add(1);
            n += 1;
        }
    }
    // A full ring would look empty.
    m.device[0].tail_word().store(m.next_rx.wrapping_sub(1) & MASK, Ordering::Release);
    m.buffers.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    m.buffers.touch(0);
}

#[inline(never)]
fn minimal_tx(m: &mut Minimal) -> usize {
    /// Whole, short, below 512 bytes; quiet, or at once.
    const QUIET: u64 = 0x01c0;
    const NOW: u64 = 0x8140;
    // SAFETY: as in minimal_rx.
    unsafe {
        if m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
            let mut end = m.clean_tx;
            loop {
                let entry = &*m.tx_reports.add(m.next_tx_report as usize & (ENTRIES - 1));
                if entry[1].load(Ordering::Acquire) & 1 != valid(m.next_tx_report) {
                    break;
                }
                m.next_tx_report = m.next_tx_report.wrapping_add(1);
                end = (entry[0].load(Ordering::Relaxed) >> 32) as u32;
            }
            while m.clean_tx != end {
                m.buffers.sent((m.clean_tx & MASK) as usize);
                m.clean_tx = m.clean_tx.wrapping_add(1);
            }
        }
        let count = m.buffers.count;
        for n in 0..count {
            let slot = (m.next_tx & MASK) as usize;
            let (buffer, length) = m.buffers.send(n, slot);
            m.next_tx = m.next_tx.wrapping_add(1);
            let flags = if n + 1 == count { NOW } else { QUIET };
            let descriptor = &*m.tx.add(slot);
            descriptor[0].store(flags | u64::from(length) << 16 | u64::from(m.next_tx) << 32, Ordering::Relaxed);
            descriptor[1].store(m.buffers.address(buffer), Ordering::Relaxed);
        }
    }
    m.device[1].tail_word().store(m.next_tx & MASK, Ordering::Release);
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
