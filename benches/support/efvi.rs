//! The least that a pair of EF10 queues and their event rings permit: no pool
//! identity, no checks, no statistics, raw pointers; events in order, one for
//! all that was sent at once.

use super::efvi_card::Queue;
use super::{Device, FRAME, MASK, RING, Variant};
use bmnic::dma::{Addressing, Arena, BUFFER_SIZE, Region};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots of an event ring: as many as the driver has for such a ring.
const EVENTS: usize = 1024;
const EMPTY: u64 = u64::MAX;

/// Bytes before a frame.
const PREFIX: u64 = 14;

/// A pair of queues, which have rings for what happened.
impl Device for [Queue; 2] {
    fn play(&mut self, burst: usize) {
        let [rx, tx] = self;
        rx.receive(burst as u32, FRAME);
        tx.transmit(false);
    }
}

/// The loop.
pub struct Minimal {
    device: [Queue; 2],
    rx: *const AtomicU64,
    tx: *const AtomicU64,
    rx_events: *const AtomicU64,
    tx_events: *const AtomicU64,
    base: *mut u8,
    iova: u64,
    rx_buffers: Vec<u32>,
    tx_buffers: Vec<u32>,
    free: Vec<u32>,
    top: usize,
    next_rx: u32,
    next_rx_event: u32,
    next_tx: u32,
    clean_tx: u32,
    next_tx_event: u32,
    held: [(u32, u16); 64],
    count: usize,
    burst: usize,
    _arenas: [Arc<Arena>; 2],
}

impl Minimal {
    /// For bursts of `burst`.
    pub fn new(burst: usize) -> Self {
        let (ring_bytes, event_bytes) = (usize::from(RING) * 8, EVENTS * 8);
        let queue_bytes = ring_bytes + event_bytes;
        let rings = Arena::new(2 * queue_bytes, Addressing::Translated).expect("24 KiB");
        let buffers = Arena::new(2048 * BUFFER_SIZE, Addressing::Translated).expect("4 MiB");
        let device = [0, queue_bytes].map(|at| {
            Queue::bare(Region::new(&rings, at, ring_bytes), Region::new(&rings, at + ring_bytes, event_bytes))
        });
        let [rx, tx] = &device;
        for i in 0..u32::from(RING) {
            let address = buffers.iova(0) + u64::from(i) * BUFFER_SIZE as u64;
            rx.descriptor(i).store(address | (BUFFER_SIZE as u64) << 48, Ordering::Relaxed);
        }
        rx.tail_word().store(u32::from(RING) - 8, Ordering::Release);
        Minimal {
            rx: rx.descriptor(0),
            tx: tx.descriptor(0),
            rx_events: rx.slot(0),
            tx_events: tx.slot(0),
            device,
            base: buffers.as_ptr().as_ptr(),
            iova: buffers.iova(0),
            rx_buffers: (0..u32::from(RING)).collect(),
            tx_buffers: vec![0; usize::from(RING)],
            free: (u32::from(RING)..2048).rev().chain(0..u32::from(RING)).collect(),
            top: 2048 - usize::from(RING),
            next_rx: 0,
            next_rx_event: 0,
            next_tx: 0,
            clean_tx: 0,
            next_tx_event: 0,
            held: [(0, 0); 64],
            count: 0,
            burst,
            _arenas: [rings, buffers],
        }
    }
}

#[inline(never)]
fn minimal_rx(m: &mut Minimal) -> usize {
    let mut n = 0;
    // SAFETY: every index is masked to its ring; burst is at most 64; the free
    // stack holds more buffers than both rings and a burst.
    unsafe {
        while n < m.burst {
            let slot = &*m.rx_events.add(m.next_rx_event as usize & (EVENTS - 1));
            let event = slot.load(Ordering::Acquire);
            if event == EMPTY {
                break;
            }
            slot.store(EMPTY, Ordering::Relaxed);
            m.next_rx_event = m.next_rx_event.wrapping_add(1);
            let at = (m.next_rx & MASK) as usize;
            let buffer = m.rx_buffers.get_unchecked_mut(at);
            *m.held.get_unchecked_mut(n) = (*buffer, ((event & 0x3fff) - PREFIX) as u16);
            m.top -= 1;
            *buffer = *m.free.get_unchecked(m.top);
            let address = m.iova + u64::from(*buffer) * BUFFER_SIZE as u64;
            (*m.rx.add(at)).store(address | (BUFFER_SIZE as u64) << 48, Ordering::Relaxed);
            m.next_rx = m.next_rx.wrapping_add(1);
            n += 1;
        }
    }
    // The card reads descriptors by eights, and a full ring would look empty.
    m.device[0].tail_word().store(m.next_rx.wrapping_sub(8) & MASK & !7, Ordering::Release);
    m.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    for &(buffer, _) in &m.held[..m.count] {
        // SAFETY: the buffer is in the arena and nothing else uses it.
        unsafe { *m.base.add(buffer as usize * BUFFER_SIZE + PREFIX as usize) ^= 1 };
    }
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
                *m.free.get_unchecked_mut(m.top) = *m.tx_buffers.get_unchecked((m.clean_tx & MASK) as usize);
                m.top += 1;
                m.clean_tx = m.clean_tx.wrapping_add(1);
            }
        }
        for n in 0..m.count {
            let (buffer, length) = *m.held.get_unchecked(n);
            let slot = (m.next_tx & MASK) as usize;
            let address = m.iova + u64::from(buffer) * BUFFER_SIZE as u64 + PREFIX;
            (*m.tx.add(slot)).store(address | u64::from(length) << 48, Ordering::Relaxed);
            *m.tx_buffers.get_unchecked_mut(slot) = buffer;
            m.next_tx = m.next_tx.wrapping_add(1);
        }
    }
    m.device[1].tail_word().store(m.next_tx & MASK, Ordering::Release);
    std::mem::take(&mut m.count)
}

impl Variant for Minimal {
    fn play(&mut self, burst: usize) {
        self.device.play(burst);
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
