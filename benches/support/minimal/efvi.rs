//! The least that a pair of EF10 queues and their event rings permit: no pool
//! identity, no checks, no statistics, raw pointers; events in order, one for
//! all that was sent at once.

use super::{BUFFER_SIZE, Buffers, FRAME, MASK, RING, SIZE, Variant};
use crate::silicon::efvi::{PREFIX, Queue, turn};
use bmnic::dma::{Addressing, Arena, Region};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots of an event ring: as many as the driver has for such a ring.
const EVENTS: usize = 1024;
const EMPTY: u64 = u64::MAX;

/// The loop.
pub struct Minimal {
    device: [Queue; 2],
    rx: *const AtomicU64,
    tx: *const AtomicU64,
    rx_events: *const AtomicU64,
    tx_events: *const AtomicU64,
    buffers: Buffers,
    next_rx: u32,
    next_rx_event: u32,
    next_tx: u32,
    clean_tx: u32,
    next_tx_event: u32,
    _arena: Arc<Arena>,
}

impl Minimal {
    pub fn new(burst: usize) -> Self {
        let (ring, both) = (8 * SIZE, 8 * (SIZE + EVENTS));
        let arena = Arena::new(2 * both, Addressing::Translated).expect("24 KiB");
        let device =
            [0, both].map(|at| Queue::bare(Region::new(&arena, at, ring), Region::new(&arena, at + ring, both - ring)));
        let buffers = Buffers::new(burst);
        let [rx, tx] = &device;
        for i in 0..u32::from(RING) {
            rx.descriptor(i).store(buffers.address(i) | (BUFFER_SIZE as u64) << 48, Ordering::Relaxed);
        }
        rx.tail_word().store(u32::from(RING) - 8, Ordering::Release);
        Minimal {
            rx: rx.descriptor(0),
            tx: tx.descriptor(0),
            rx_events: rx.slot(0),
            tx_events: tx.slot(0),
            device,
            buffers,
            next_rx: 0,
            next_rx_event: 0,
            next_tx: 0,
            clean_tx: 0,
            next_tx_event: 0,
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
            let slot = &*m.rx_events.add(m.next_rx_event as usize & (EVENTS - 1));
            let event = slot.load(Ordering::Acquire);
            if event == EMPTY {
                break;
            }
            slot.store(EMPTY, Ordering::Relaxed);
            m.next_rx_event = m.next_rx_event.wrapping_add(1);
            let at = (m.next_rx & MASK) as usize;
            let address = m.buffers.receive(n, at, (event & 0x3fff) as u16 - PREFIX as u16);
            (*m.rx.add(at)).store(address | (BUFFER_SIZE as u64) << 48, Ordering::Relaxed);
            m.next_rx = m.next_rx.wrapping_add(1);
            n += 1;
        }
    }
    // The card reads descriptors by eights, and a full ring would look empty.
    m.device[0].tail_word().store(m.next_rx.wrapping_sub(8) & MASK & !7, Ordering::Release);
    m.buffers.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    m.buffers.touch(PREFIX as usize);
}

#[inline(never)]
fn minimal_tx(m: &mut Minimal) -> usize {
    // SAFETY: as in minimal_rx.
    unsafe {
        if m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
            let mut end = m.clean_tx;
            loop {
                let slot = &*m.tx_events.add(m.next_tx_event as usize & (EVENTS - 1));
                let event = slot.load(Ordering::Acquire);
                if event == EMPTY {
                    break;
                }
                slot.store(EMPTY, Ordering::Relaxed);
                m.next_tx_event = m.next_tx_event.wrapping_add(1);
                end = end.wrapping_add(((event as u32).wrapping_sub(end) & MASK) + 1);
            }
            while m.clean_tx != end {
                m.buffers.sent((m.clean_tx & MASK) as usize);
                m.clean_tx = m.clean_tx.wrapping_add(1);
            }
        }
        for n in 0..m.buffers.count {
            let slot = (m.next_tx & MASK) as usize;
            let (buffer, length) = m.buffers.send(n, slot);
            let address = m.buffers.address(buffer) + u64::from(PREFIX);
            (*m.tx.add(slot)).store(address | u64::from(length) << 48, Ordering::Relaxed);
            m.next_tx = m.next_tx.wrapping_add(1);
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
