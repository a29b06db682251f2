//! Descriptors of 16 bytes that the card writes back in place.

use super::{Buffers, FRAME, MASK, RING, SIZE, Variant};
use crate::silicon::{Ring, WritesBack, i40e::X710, ixgbe::I82599, turn};
use bmnic::dma::{Addressing, Arena, Region};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bits of a family that the loop cannot do without.
pub trait Words: WritesBack {
    const DONE: u64 = 1;
    const LENGTH: u32;
    fn to_send(length: u64) -> u64;
    fn reported(word: u64) -> bool;
}

impl Words for I82599 {
    const LENGTH: u32 = 32;

    #[inline(always)]
    fn to_send(length: u64) -> u64 {
        length << 46 | 0x2330_0000 | length
    }

    #[inline(always)]
    fn reported(word: u64) -> bool {
        word & Self::REPORTED != 0
    }
}

impl Words for X710 {
    const LENGTH: u32 = 38;

    #[inline(always)]
    fn to_send(length: u64) -> u64 {
        length << 34 | 0x5 << 4
    }

    #[inline(always)]
    fn reported(word: u64) -> bool {
        word & 0xf == Self::REPORTED
    }
}

/// The loop.
pub struct Minimal<W> {
    device: [Ring; 2],
    rx: *const [AtomicU64; 2],
    tx: *const [AtomicU64; 2],
    buffers: Buffers,
    next_rx: u32,
    next_tx: u32,
    clean_tx: u32,
    _arena: Arc<Arena>,
    _words: PhantomData<W>,
}

impl<W: Words> Minimal<W> {
    pub fn new(burst: usize) -> Self {
        let arena = Arena::new(2 * 16 * SIZE, Addressing::Translated).expect("16 KiB");
        let device = [0, 16 * SIZE].map(|at| Ring::bare(Region::new(&arena, at, 16 * SIZE)));
        let buffers = Buffers::new(burst);
        for i in 0..u32::from(RING) {
            device[0].write(i, [buffers.address(i), 0]);
        }
        device[0].tail_word().store(MASK, Ordering::Release);
        let [rx, tx] = device.each_ref().map(|ring| std::ptr::from_ref(ring.at(0)));
        Minimal { device, rx, tx, buffers, next_rx: 0, next_tx: 0, clean_tx: 0, _arena: arena, _words: PhantomData }
    }
}

#[inline(never)]
fn minimal_rx<W: Words>(m: &mut Minimal<W>) -> usize {
    let mut n = 0;
    while n < m.buffers.burst {
        let slot = (m.next_rx & MASK) as usize;
        // SAFETY: masked to the ring; the free stack holds more than is taken.
        unsafe {
            let descriptor = &*m.rx.add(slot);
            let status = descriptor[1].load(Ordering::Acquire);
            if status & W::DONE == 0 {
                break;
            }
            let address = m.buffers.receive(n, slot, (status >> W::LENGTH) as u16);
            descriptor[0].store(address, Ordering::Relaxed);
            descriptor[1].store(0, Ordering::Relaxed);
        }
        m.next_rx = m.next_rx.wrapping_add(1);
        n += 1;
    }
    if n > 0 {
        m.device[0].tail_word().store(m.next_rx.wrapping_sub(1) & MASK, Ordering::Release);
    }
    m.buffers.count = n;
    n
}

#[inline(never)]
fn minimal_touch<W>(m: &mut Minimal<W>) {
    m.buffers.touch(0);
}

#[inline(never)]
fn minimal_tx<W: Words>(m: &mut Minimal<W>) -> usize {
    // SAFETY: as in minimal_rx; every index is masked to its ring.
    unsafe {
        // Reports are asked for every 32 descriptors.
        while m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
            let last = m.clean_tx.wrapping_add(31);
            if !W::reported((*m.tx.add((last & MASK) as usize))[1].load(Ordering::Acquire)) {
                break;
            }
            for i in 0..32 {
                m.buffers.sent((m.clean_tx.wrapping_add(i) & MASK) as usize);
            }
            m.clean_tx = m.clean_tx.wrapping_add(32);
        }
        for n in 0..m.buffers.count {
            let slot = (m.next_tx & MASK) as usize;
            let (buffer, length) = m.buffers.send(n, slot);
            let report = if m.next_tx & 31 == 31 { W::REPORT } else { 0 };
            let descriptor = &*m.tx.add(slot);
            descriptor[0].store(m.buffers.address(buffer), Ordering::Relaxed);
            descriptor[1].store(W::to_send(u64::from(length)) | report, Ordering::Relaxed);
            m.next_tx = m.next_tx.wrapping_add(1);
        }
    }
    m.device[1].tail_word().store(m.next_tx & MASK, Ordering::Release);
    std::mem::take(&mut m.buffers.count)
}

impl<W: Words> Variant for Minimal<W> {
    fn play(&mut self, burst: usize) {
        turn::<W>(&mut self.device, burst as u32, FRAME);
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
