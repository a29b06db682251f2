//! The least that a pair of split virtqueues permits: no pool identity, no
//! checks, no statistics, raw pointers; completions in order, headers in the
//! room before the frame.

use super::{BUFFER_SIZE, Buffers, FRAME, MASK, RING, SIZE, Variant};
use crate::silicon::virtio::{HEADER, Ring, turn};
use bmnic::dma::{Addressing, Arena, Region, barrier};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Offsets of a queue's parts: descriptors, entries of the available ring, of
/// the used ring; flags and idx of both are in the 4 bytes before.
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
    buffers: Buffers,
    next_rx: u32,
    next_tx: u32,
    clean_tx: u32,
    _arena: Arc<Arena>,
}

impl Minimal {
    pub fn new(burst: usize) -> Self {
        let arena = Arena::new(2 * BYTES, Addressing::Translated).expect("32 KiB");
        let buffers = Buffers::new(burst);
        let [rx, tx] = [0, BYTES].map(|at| Region::new(&arena, at, BYTES));
        let places = [0, AVAILABLE - 4, USED - 4];
        for i in 0..SIZE {
            rx.words64()[2 * i].store(buffers.address(i as u32), Ordering::Relaxed);
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
            buffers,
            next_rx: 0,
            next_tx: 0,
            clean_tx: 0,
            _arena: arena,
        }
    }
}

#[inline(never)]
fn minimal_rx(m: &mut Minimal) -> usize {
    let Queue { descriptors, available, used } = m.rx;
    let mut n = 0;
    // SAFETY: every index is masked to its ring; the free stack holds more than is taken.
    unsafe {
        let index = (*used.cast::<AtomicU16>().sub(1)).load(Ordering::Acquire);
        while n < m.buffers.burst && m.next_rx as u16 != index {
            let slot = (m.next_rx & MASK) as usize;
            let entry = (*used.add(slot)).load(Ordering::Relaxed);
            let length = (entry >> 32) as u32 - HEADER;
            let address = m.buffers.receive(n, (entry as u32 & MASK) as usize, length as u16);
            (*descriptors.add(slot))[0].store(address, Ordering::Relaxed);
            m.next_rx = m.next_rx.wrapping_add(1);
            n += 1;
        }
        (*available.sub(1)).store((m.next_rx as u16).wrapping_add(RING), Ordering::Release);
    }
    m.buffers.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    m.buffers.touch(HEADER as usize);
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
                m.buffers.sent((id & MASK) as usize);
                m.clean_tx = m.clean_tx.wrapping_add(1);
            }
        }
        for n in 0..m.buffers.count {
            let slot = (m.next_tx & MASK) as usize;
            let (buffer, length) = m.buffers.send(n, slot);
            m.buffers
                .base
                .add(buffer as usize * BUFFER_SIZE)
                .cast::<[u8; HEADER as usize]>()
                .write_unaligned([0; HEADER as usize]);
            let descriptor = &*descriptors.add(slot);
            descriptor[0].store(m.buffers.address(buffer), Ordering::Relaxed);
            descriptor[1].store(u64::from(u32::from(length) + HEADER), Ordering::Relaxed);
            m.next_tx = m.next_tx.wrapping_add(1);
        }
        (*available.sub(1)).store(m.next_tx as u16, Ordering::Release);
        barrier::dma_mb();
        std::hint::black_box((*used.cast::<AtomicU16>().sub(2)).load(Ordering::Relaxed));
    }
    std::mem::take(&mut m.buffers.count)
}

impl Variant for Minimal {
    fn play(&mut self, burst: usize) {
        turn(&mut self.device, burst as u32, FRAME);
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
