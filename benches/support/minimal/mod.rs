//! The least that a family's rings permit: no pool identity, no checks, no
//! statistics, raw pointers.

mod bnxt;
mod efvi;
mod in_place;
mod mlx5;
mod virtio;

use crate::families::Rings;
use crate::silicon::{i40e::X710, ixgbe::I82599, mlx5::Grants};
use crate::{FRAME, RING, Variant};
use bmnic::dma::{Addressing, Arena, BUFFER_SIZE};
use std::sync::Arc;

/// The loop on such rings, for bursts of `burst`.
pub fn of(rings: &Rings, burst: usize) -> Box<dyn Variant> {
    match rings.name {
        "ixgbe" => Box::new(in_place::Minimal::<I82599>::new(burst)),
        "i40e" | "i40e-long" => Box::new(in_place::Minimal::<X710>::new(burst)),
        // Of split queues all: what is to be beaten is the least.
        name if name.starts_with("virtio") => Box::new(virtio::Minimal::new(burst)),
        "efvi" => Box::new(efvi::Minimal::new(burst)),
        "bnxt" => Box::new(bnxt::Minimal::new(burst)),
        name if name.starts_with("mlx5") => Box::new(mlx5::Minimal::new(Grants::of(name), burst)),
        other => panic!("no minimal loop for {other}"),
    }
}

const MASK: u32 = RING as u32 - 1;
const SIZE: usize = RING as usize;
const BUFFERS: usize = 2048;

/// The buffers of a loop: those of its rings by slot, those that it holds, and
/// those that are free. A part of the loop's own value: then the compiler knows
/// that no buffer number is written over `top`, and keeps that in a register.
struct Buffers {
    base: *mut u8,
    iova: u64,
    rx: Vec<u32>,
    tx: Vec<u32>,
    free: Vec<u32>,
    top: usize,
    /// Buffer and length.
    held: [(u32, u16); 64],
    count: usize,
    burst: usize,
    _arena: Arc<Arena>,
}

impl Buffers {
    /// The first are in the receive ring, slot by slot.
    fn new(burst: usize) -> Buffers {
        let arena = Arena::new(BUFFERS * BUFFER_SIZE, Addressing::Translated).expect("4 MiB");
        assert!(burst <= 64);
        Buffers {
            base: arena.as_ptr().as_ptr(),
            iova: arena.iova(0),
            rx: (0..u32::from(RING)).collect(),
            tx: vec![0; SIZE],
            free: (0..BUFFERS as u32).rev().collect(),
            top: BUFFERS - SIZE,
            held: [(0, 0); 64],
            count: 0,
            burst,
            _arena: arena,
        }
    }

    fn address(&self, buffer: u32) -> u64 {
        self.iova + u64::from(buffer) * BUFFER_SIZE as u64
    }

    /// Holds the buffer of a receive slot as packet `n` of the burst and gives the
    /// slot a free one; its address.
    ///
    /// # Safety
    /// `n` is below the burst, `slot` in the ring, and a buffer free: there are
    /// more than both rings and a burst take.
    #[inline(always)]
    unsafe fn receive(&mut self, n: usize, slot: usize, length: u16) -> u64 {
        // SAFETY: the caller's.
        unsafe {
            let buffer = self.rx.get_unchecked_mut(slot);
            *self.held.get_unchecked_mut(n) = (*buffer, length);
            self.top -= 1;
            *buffer = *self.free.get_unchecked(self.top);
            let buffer = *buffer;
            self.address(buffer)
        }
    }

    /// Changes a byte of each packet, `start` bytes into its buffer.
    #[inline(always)]
    fn touch(&mut self, start: usize) {
        for &(buffer, _) in &self.held[..self.count] {
            // SAFETY: the buffer is in the arena and nothing else uses it.
            unsafe { *self.base.add(buffer as usize * BUFFER_SIZE + start) ^= 1 };
        }
    }

    /// Puts packet `n` of the burst into a transmit slot; its buffer and length.
    ///
    /// # Safety
    /// As [`Buffers::receive`].
    #[inline(always)]
    unsafe fn send(&mut self, n: usize, slot: usize) -> (u32, u16) {
        // SAFETY: the caller's.
        unsafe {
            let (buffer, length) = *self.held.get_unchecked(n);
            *self.tx.get_unchecked_mut(slot) = buffer;
            (buffer, length)
        }
    }

    /// The buffer of a transmit slot is free again.
    ///
    /// # Safety
    /// `slot` is in the ring, and was not given back before.
    #[inline(always)]
    unsafe fn sent(&mut self, slot: usize) {
        // SAFETY: the caller's.
        unsafe { *self.free.get_unchecked_mut(self.top) = *self.tx.get_unchecked(slot) };
        self.top += 1;
    }
}
