//! Queues at rings that a test plays by hand, in bytes.
//!
//! The card's side is written from the layouts and not from `cqe` and `wqe`: fields at
//! byte offsets, so that a slip in one is not a slip in both.

mod lies;
mod rx;
mod sent;
mod tx;

use super::bell::CqBell;
use super::bell::testing::{Uar, words};
use super::clock::Clock;
use super::cq;
use super::cqe::{Fault, Syndrome};
use super::parts::{Inline, RECORD, Restart, RxLengths, RxParts, TxLengths, TxParts};
use super::rx::RxQueue;
use super::tx::TxQueue;
use crate::dma::{Addressing, Batch, Pool, Region};
use crate::driver::sends::Sends;
use crate::driver::slots::{Slots, Stock};
use crate::driver::testing::{Card, nothing, regions};
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// The `N` bytes at `at`.
fn bytes<const N: usize>(region: &Region, at: usize) -> [u8; N] {
    std::array::from_fn(|n| region.bytes()[at + n].load(Ordering::Relaxed))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A completion, but for its owner bit.
type Cqe = [u8; 64];

/// One of `opcode` for entry `counter` of a work queue.
fn cqe(opcode: u8, counter: u32) -> Cqe {
    let mut cqe = [0; 64];
    cqe[0x3c..0x3e].copy_from_slice(&(counter as u16).to_be_bytes());
    cqe[0x3f] = opcode << 4;
    cqe
}

/// One that reports an error.
fn failed(opcode: u8, counter: u32, syndrome: u8) -> Cqe {
    let mut cqe = cqe(opcode, counter);
    (cqe[0x36], cqe[0x37]) = (0x52, syndrome);
    cqe
}

/// The card's end of a completion queue.
#[derive(Clone)]
struct Reports {
    ring: Region,
    /// Entries written.
    at: Arc<AtomicU32>,
}

impl Reports {
    fn new(ring: Region) -> Self {
        cq::prepare(&ring);
        Reports { ring, at: Arc::default() }
    }

    fn len(&self) -> u32 {
        self.ring.len() as u32 / 64
    }

    fn at(&self) -> u32 {
        self.at.load(Ordering::Relaxed)
    }

    /// Writes words `which` of an entry `ahead` of the next, with the owner bit of its lap.
    fn put(&self, ahead: u32, mut cqe: Cqe, which: std::ops::Range<usize>) {
        let at = self.at().wrapping_add(ahead);
        cqe[0x3f] = cqe[0x3f] & !1 | (at / self.len() % 2) as u8;
        let words = &self.ring.words64()[8 * (at % self.len()) as usize..];
        for n in which {
            let word = u64::from_le_bytes(cqe[8 * n..8 * n + 8].try_into().unwrap());
            words[n].store(word, Ordering::Release);
        }
    }

    fn push(&self, cqe: Cqe) {
        self.put(0, cqe, 0..8);
        self.skip(1);
    }

    /// Moves on without a word.
    fn skip(&self, count: u32) {
        self.at.fetch_add(count, Ordering::Relaxed);
    }
}

/// Setting up anew: what was done, and what the card does meanwhile.
#[derive(Clone)]
struct Restarts {
    stops: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
    /// What the card flushes, one each time that it is asked whether that was all.
    flushes: Arc<Mutex<Vec<Cqe>>>,
    reports: Reports,
    /// Of the work queue, and what it said when the queue was started again.
    record: Region,
    started: Arc<Mutex<Vec<[u32; 2]>>>,
}

impl Restarts {
    fn new(reports: &Reports, record: &Region) -> Self {
        Restarts {
            stops: Arc::default(),
            fails: Arc::default(),
            flushes: Arc::default(),
            reports: reports.clone(),
            record: record.clone(),
            started: Arc::default(),
        }
    }

    fn count(&self) -> u32 {
        let stops = self.stops.load(Ordering::Relaxed);
        let started = self.started.lock().unwrap();
        assert!(started.iter().all(|&record| record == [0, 0]), "a record that says what is no more");
        assert!(started.len() == stops as usize || self.fails.load(Ordering::Relaxed));
        stops
    }
}

impl Restart for Restarts {
    fn stop(&mut self, flushed: &mut dyn FnMut() -> bool) -> Result<()> {
        self.stops.fetch_add(1, Ordering::Relaxed);
        let flushes: Vec<Cqe> = self.flushes.lock().unwrap().drain(..).collect();
        let asked = !flushes.is_empty();
        for cqe in flushes {
            assert!(!flushed(), "there is more to come");
            self.reports.push(cqe);
        }
        assert!(!asked || flushed(), "that was all");
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(nothing());
        }
        self.started.lock().unwrap().push(words(&self.record));
        Ok(())
    }
}

/// A pool that the card reaches.
fn pool() -> Pool {
    Pool::new(1024, Addressing::Translated).unwrap()
}

const LKEY: u32 = 0x0001_0100;
const CQN: u32 = 0x0b_1234;
const SQN: u32 = 0x0a_4321;

#[test]
fn where_stores_are_not_combined_entries_are_not_pushed_and_the_line_says_why() {
    use crate::error::Remedy;
    use crate::pci::Kind::{Sysfs, Vfio, VfioNoIommu};
    let refusal = super::combining(&Card).unwrap_err();
    assert_eq!((refusal.kind(), refusal.remedy()), (Kind::Unsupported, Some(&Remedy::Dma)));
    let line = refusal.to_string();
    assert!(line.starts_with("test:card: entries cannot be pushed: ") && line.contains("64 bytes"), "{line}");
    assert!([Vfio, VfioNoIommu].map(super::why_uncombined).iter().all(|why| why.starts_with("VFIO maps")));
    assert!(super::why_uncombined(Sysfs).contains("resource0_wc"));
}
