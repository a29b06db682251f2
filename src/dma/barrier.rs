//! The five barriers between a program and a device, each by name.
//!
//! x86 keeps stores in order, also from write-back to uncached memory, so three
//! of the five only bind the compiler there. On aarch64 a device is in the outer
//! shareable domain and Rust's `fence` is for the inner one, so it takes `asm!`.

#![allow(unsafe_code)]

#[cfg(any(not(target_arch = "aarch64"), miri))]
use std::sync::atomic::{Ordering, fence};

/// After seeing that the device gave a descriptor back, before reading the rest
/// of it or the packet.
#[inline(always)]
pub fn dma_rmb() {
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a barrier touches no memory and no register.
    unsafe {
        std::arch::asm!("dmb oshld", options(nostack, preserves_flags));
    }
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    fence(Ordering::Acquire);
}

/// After filling a descriptor in, before the word that gives it to the device.
#[inline(always)]
pub fn dma_wmb() {
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("dmb oshst", options(nostack, preserves_flags));
    }
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    fence(Ordering::Release);
}

/// After the last descriptor, before the doorbell that announces it.
#[inline(always)]
pub fn io_wmb() {
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("dmb oshst", options(nostack, preserves_flags));
    }
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    fence(Ordering::Release);
}

/// Between what was given to the device and a word in which the device says
/// whether it wants to be told: the only order that x86 does not keep by itself,
/// and so the dearest (6 to 13 ns there). Once a burst.
#[inline(always)]
pub fn dma_mb() {
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("dmb osh", options(nostack, preserves_flags));
    }
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    fence(Ordering::SeqCst);
}

/// Around stores to write-combining memory: what was written before is on its
/// way to the device before anything that is written after.
#[inline(always)]
pub fn wc_wmb() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above; sfence is in every x86-64.
    unsafe {
        std::arch::asm!("sfence", options(nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("dsb st", options(nostack, preserves_flags));
    }
    #[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), miri))]
    fence(Ordering::SeqCst);
}
