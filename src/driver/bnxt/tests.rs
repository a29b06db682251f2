//! Queues at rings that a test plays by hand, in bytes.
//!
//! The card's side is written from the layouts and not from `desc`: fields at byte
//! offsets, so that a slip in one is not a slip in both.

mod control;
mod lies;
mod rx;
mod tx;

use super::bell::testing::{Cells, long, short};
use super::bell::{AckBell, Bell, Generation, Register};
use super::cq;
use super::meta::Clock;
use super::recall::Recall;
use super::rx::{Lengths, RxBells, RxParts, RxQueue};
use super::tx::{TxBells, TxParts, TxQueue};
use crate::dma::{Addressing, Batch, Pool, Region};
use crate::driver::sends::Sends;
use crate::driver::slots::{Slots, Stock};
use crate::driver::testing::{Card, nothing, regions};
use crate::error::Kind;
use crate::pci::Function;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// The 16 bytes of an entry.
fn bytes(region: &Region, entry: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(&region.bytes()[16 * entry as usize..]) {
        *to = from.load(Ordering::Relaxed);
    }
    bytes
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The card's end of a completion ring.
struct Reports {
    ring: Region,
    /// Entries written since the ring began.
    at: u32,
}

impl Reports {
    fn len(&self) -> u32 {
        self.ring.len() as u32 / 16
    }

    /// Writes an entry `ahead` of the next, with V of its lap at byte 8, bit 0.
    fn put(&mut self, ahead: u32, mut entry: [u8; 16]) {
        let at = self.at.wrapping_add(ahead);
        let valid = u8::from((at / self.len()).is_multiple_of(2));
        entry[8] = entry[8] & !1 | valid;
        let words = &self.ring.words64()[2 * (at % self.len()) as usize..];
        words[0].store(u64_at(&entry, 0), Ordering::Relaxed);
        words[1].store(u64_at(&entry, 8), Ordering::Release);
    }

    fn push(&mut self, entry: [u8; 16]) {
        self.put(0, entry);
        self.at = self.at.wrapping_add(1);
    }
}

/// Setting up anew: how often it was done, and whether it fails.
#[derive(Clone, Default)]
struct Restarts {
    count: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
}

impl Restarts {
    fn closure<B: Clone + Send + 'static>(&self, rings: Vec<Region>, bells: B) -> super::rx::Restart<B> {
        let Restarts { count, fails } = self.clone();
        let parts = Mutex::new((rings, bells));
        Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            if fails.load(Ordering::Relaxed) {
                return Err(nothing());
            }
            let (rings, bells) = &*parts.lock().unwrap();
            rings.iter().for_each(cq::clear);
            Ok(bells.clone())
        })
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Doorbells of the rings, by byte offset in a page.
const RX: u64 = 0x10;
const MORE: u64 = 0x20;
const CQ: u64 = 0x30;
const NQ: u64 = 0x40;
const TX: u64 = 0x50;

fn register(generation: Generation, cells: &Cells, at: u64) -> Register {
    match generation {
        Generation::P4 => short(cells, at),
        Generation::P5 => long(cells, at, at as u16),
    }
}

/// A pool that the card reaches.
fn pool() -> Pool {
    Pool::new(1024, Addressing::Translated).unwrap()
}
