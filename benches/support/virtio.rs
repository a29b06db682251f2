//! The least that a pair of split virtqueues permits: no pool identity, no
//! checks, no statistics, raw pointers; completions in order, headers in the
//! room before the frame.

use super::virtio_card::{HEADER, Ring};
use super::{Device, RING, Variant};
use bmnic::dma::{Addressing, Arena, BUFFER_SIZE, Region, barrier};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

const MASK: u32 = RING as u32 - 1;

/// Offsets of a queue's parts: descriptors, entries of the available ring, of
/// the used ring; flags and idx of both are in the 4 bytes before.
const SIZE: usize = RING as usize;
const AVAILABLE: usize = 16 * SIZE + 64;
const USED: usize = AVAILABLE + 2 * SIZE + 64;
const BYTES: usize = 32 * SIZE;

/// One queue, by pointers.
#[derive(Clone, Copy)]
struct Queue {
    descriptors: *const [AtomicU64; 2],
    available: *const AtomicU16,
    used: *const AtomicU64,
}

impl Queue {
    fn new(memory: &Region) -> Queue {
        let base = memory.as_ptr().as_ptr();
        // SAFETY: all three are inside the region, which has BYTES.
        unsafe {
            Queue { descriptors: base.cast(), available: base.add(AVAILABLE).cast(), used: base.add(USED).cast() }
        }
    }
}

/// The loop.
pub struct Minimal {
    device: [Ring; 2],
    rx: Queue,
    tx: Queue,
    base: *mut u8,
    iova: u64,
    rx_buffers: Vec<u32>,
    tx_buffers: Vec<u32>,
    free: Vec<u32>,
    top: usize,
    next_rx: u32,
    next_tx: u32,
    clean_tx: u32,
    held: [(u32, u32); 64],
    count: usize,
    burst: usize,
    _arenas: [Arc<Arena>; 2],
}

impl Minimal {
    /// For bursts of `burst`.
    pub fn new(burst: usize) -> Self {
        let rings = Arena::new(2 * BYTES, Addressing::Translated).expect("32 KiB");
        let buffers = Arena::new(2048 * BUFFER_SIZE, Addressing::Translated).expect("4 MiB");
        let [rx, tx] = [0, BYTES].map(|at| Region::new(&rings, at, BYTES));
        let places = [0, AVAILABLE - 4, USED - 4];
        for i in 0..SIZE {
            let address = buffers.iova(0) + (i * BUFFER_SIZE) as u64;
            rx.words64()[2 * i].store(address, Ordering::Relaxed);
            rx.words64()[2 * i + 1].store(2048 | 2 << 32, Ordering::Relaxed);
            for queue in [&rx, &tx] {
                queue.words16()[AVAILABLE / 2 + i].store(i as u16, Ordering::Relaxed);
            }
        }
        rx.words16()[AVAILABLE / 2 - 1].store(RING, Ordering::Release);
        Minimal {
            rx: Queue::new(&rx),
            tx: Queue::new(&tx),
            device: [rx, tx].map(|queue| Ring::bare(queue, u32::from(RING), places)),
            base: buffers.as_ptr().as_ptr(),
            iova: buffers.iova(0),
            rx_buffers: (0..u32::from(RING)).collect(),
            tx_buffers: vec![0; SIZE],
            free: (u32::from(RING)..2048).rev().chain(0..u32::from(RING)).collect(),
            top: 2048 - SIZE,
            next_rx: 0,
            next_tx: 0,
            clean_tx: 0,
            held: [(0, 0); 64],
            count: 0,
            burst,
            _arenas: [rings, buffers],
        }
    }
}

#[inline(never)]
fn minimal_rx(m: &mut Minimal) -> usize {
    let Queue { descriptors, available, used } = m.rx;
    let mut n = 0;
    // SAFETY: every index is masked to its ring; burst is at most 64; the free
    // stack holds more buffers than both rings and a burst.
    unsafe {
        let index = (*used.cast::<AtomicU16>().sub(1)).load(Ordering::Acquire);
        while n < m.burst && m.next_rx as u16 != index {
            let slot = (m.next_rx & MASK) as usize;
            let entry = (*used.add(slot)).load(Ordering::Relaxed);
            let buffer = m.rx_buffers.get_unchecked_mut((entry as u32 & MASK) as usize);
            *m.held.get_unchecked_mut(n) = (*buffer, (entry >> 32) as u32 - HEADER);
            m.top -= 1;
            *buffer = *m.free.get_unchecked(m.top);
            (*descriptors.add(slot))[0].store(m.iova + u64::from(*buffer) * BUFFER_SIZE as u64, Ordering::Relaxed);
            m.next_rx = m.next_rx.wrapping_add(1);
            n += 1;
        }
        (*available.sub(1)).store((m.next_rx as u16).wrapping_add(RING), Ordering::Release);
    }
    m.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    for &(buffer, _) in &m.held[..m.count] {
        // SAFETY: the buffer is in the arena and nothing else uses it.
        unsafe { *m.base.add(buffer as usize * BUFFER_SIZE + HEADER as usize) ^= 1 };
    }
}

#[inline(never)]
fn minimal_tx(m: &mut Minimal) -> usize {
    let Queue { descriptors, available, used } = m.tx;
    // SAFETY: as in minimal_rx.
    unsafe {
        if m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
            let index = (*used.cast::<AtomicU16>().sub(1)).load(Ordering::Acquire);
            while m.clean_tx as u16 != index {
                let id = (*used.add((m.clean_tx & MASK) as usize)).load(Ordering::Relaxed) as u32;
                *m.free.get_unchecked_mut(m.top) = *m.tx_buffers.get_unchecked((id & MASK) as usize);
                m.top += 1;
                m.clean_tx = m.clean_tx.wrapping_add(1);
            }
        }
        for n in 0..m.count {
            let (buffer, length) = *m.held.get_unchecked(n);
            let slot = (m.next_tx & MASK) as usize;
            m.base
                .add(buffer as usize * BUFFER_SIZE)
                .cast::<[u8; HEADER as usize]>()
                .write_unaligned([0; HEADER as usize]);
            let descriptor = &*descriptors.add(slot);
            descriptor[0].store(m.iova + u64::from(buffer) * BUFFER_SIZE as u64, Ordering::Relaxed);
            descriptor[1].store(u64::from(length + HEADER), Ordering::Relaxed);
            *m.tx_buffers.get_unchecked_mut(slot) = buffer;
            m.next_tx = m.next_tx.wrapping_add(1);
        }
        (*available.sub(1)).store(m.next_tx as u16, Ordering::Release);
        barrier::dma_mb();
        std::hint::black_box((*used.cast::<AtomicU16>().sub(2)).load(Ordering::Relaxed));
    }
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
