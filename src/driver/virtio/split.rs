//! Split virtqueues (VIRTIO 1.2 §2.7), of modern devices and of legacy ones.
//!
//! ```text
//!   descriptors   [ address | len . flags . next ] x n      driver writes
//!   available     flags . idx . ring[n] . used_event        driver writes
//!   used          flags . idx . ring[n] { id, len } . avail_event   device writes
//! ```
//!
//! The two rings start 4 bytes before a cache line, so that their entries start
//! with one: `idx`, which the other side polls, is in the line before. Those of a
//! legacy device are one block, the used ring on the next page of 4 KiB (§2.7.2).
//!
//! A legacy device writes its header right before the place of the frame, which is
//! the same for all: a header of 10 bytes starts 2 bytes into the buffer.
//!
//! ```text
//!   ANY_LAYOUT        [ . . | header:10 | frame            ]      one descriptor
//!   without           [ . . | header:10 ] [ frame          ]      two: id, id + n/2
//! ```

use super::features::{self, Features};
use super::header::{Framing, HEADER};
use super::ring::{Completion, NEXT, Part, Places, Virtqueue, WRITE, Words, passed, piece};
use crate::dma::{Iova, Region};
use crate::driver::ring::{Ring, store_both};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// Cache line, and bytes of a ring's flags and idx before its entries.
const LINE: usize = 64;
const HEAD: usize = 4;

/// Alignment of a legacy queue and of its used ring (§2.7.2).
const PAGE: usize = 4096;

/// Do not interrupt, of the driver; do not notify, of the device.
const SILENT: u16 = 1;

/// A split virtqueue, of a legacy device or not.
#[derive(Debug)]
pub struct Rings<const LEGACY: bool> {
    descriptors: Ring<Words>,
    available: Ring<AtomicU16>,
    /// Entries of id and length.
    used: Ring<[AtomicU32; 2]>,
    /// Two words each: where `used_event` and `avail_event` are is behind the rings.
    available_head: Region,
    available_tail: Region,
    used_head: Region,
    used_tail: Region,
    event_index: bool,
    framing: Framing,
}

/// A split virtqueue.
pub type Split = Rings<false>;

/// A split virtqueue of a legacy device.
pub type LegacySplit = Rings<true>;

fn flags(head: &Region) -> &AtomicU16 {
    &head.words16()[0]
}

fn idx(head: &Region) -> &AtomicU16 {
    &head.words16()[1]
}

impl<const LEGACY: bool> Rings<LEGACY> {
    /// Offsets of the entries of both rings.
    fn offsets(len: u32) -> (usize, usize) {
        let len = len as usize;
        // used_event behind the entries, then the other ring's head.
        if LEGACY {
            let available = 16 * len + HEAD;
            return (available, (available + 2 * len + 2).next_multiple_of(PAGE) + HEAD);
        }
        let available = (16 * len + HEAD).next_multiple_of(LINE);
        (available, (available + 2 * len + 2 + HEAD + 8).next_multiple_of(LINE))
    }

    /// Second word of a descriptor.
    #[inline(always)]
    fn word(&self, len: u32, flags: u16, position: u32) -> u64 {
        let next = if flags & NEXT == 0 { 0 } else { self.descriptors.index(position.wrapping_add(1)) };
        u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48
    }
}

impl<const LEGACY: bool> Virtqueue for Rings<LEGACY> {
    const PUBLISHED_BY_INDEX: bool = true;

    fn bytes(len: u32) -> usize {
        Self::offsets(len).1 + 8 * len as usize + 8
    }

    fn new(memory: &Region, len: u32, features: Features) -> (Self, Places) {
        let (available, used) = Self::offsets(len);
        let head = |entries: usize| memory.part(entries - HEAD, HEAD);
        let tail = |end: usize| memory.part(end, 4);
        let queue = Rings {
            descriptors: piece(memory, 0, len),
            available: piece(memory, available, len),
            used: piece(memory, used, len),
            available_head: head(available),
            available_tail: tail(available + 2 * len as usize),
            used_head: head(used),
            used_tail: tail(used + 8 * len as usize),
            event_index: features.has(features::EVENT_IDX),
            framing: Framing::of(features),
        };
        let places = Places {
            descriptors: memory.iova(),
            driver: memory.iova() + (available - HEAD) as u64,
            device: memory.iova() + (used - HEAD) as u64,
        };
        queue.interrupts(false, 0);
        (queue, places)
    }

    fn len(&self) -> u32 {
        self.descriptors.len()
    }

    #[inline(always)]
    fn buffers(&self) -> u32 {
        self.len() >> u32::from(self.framing().apart)
    }

    #[inline(always)]
    fn framing(&self) -> Framing {
        if LEGACY { self.framing } else { Framing::MODERN }
    }

    #[inline(always)]
    fn give(&self, turn: u32, id: u32, address: Iova, len: u32) {
        let Framing { len: header, apart } = self.framing();
        let skip = HEADER - header;
        let (first, start) = (self.descriptors.at(id), address + u64::from(skip));
        if apart {
            let frame = id.wrapping_add(self.buffers());
            let word = self.word(len - HEADER, WRITE, 0);
            store_both(self.descriptors.at(frame), address + u64::from(HEADER), word);
            store_both(first, start, self.word(header, WRITE | NEXT, frame.wrapping_sub(1)));
            // The ring has more turns than there are buffers: a lap before, this was another's.
            self.name(turn, id);
        } else {
            store_both(first, start, self.word(len - skip, WRITE, 0));
        }
    }

    #[inline(always)]
    fn name(&self, turn: u32, id: u32) {
        self.available.at(turn).store(id as u16, Ordering::Relaxed);
    }

    #[inline(always)]
    fn give_one(&self, turn: u32, position: u32, address: Iova, len: u32) {
        store_both(self.descriptors.at(position), address, self.word(len, 0, position));
        self.available.at(turn).store(self.descriptors.index(position) as u16, Ordering::Relaxed);
    }

    #[inline]
    fn give_chain(&self, turn: u32, position: u32, parts: &[Part]) {
        for (i, part) in parts.iter().enumerate() {
            let at = position.wrapping_add(i as u32);
            let next = if i + 1 < parts.len() { NEXT } else { 0 };
            let flags = next | if part.write { WRITE } else { 0 };
            store_both(self.descriptors.at(at), part.address, self.word(part.len, flags, at));
        }
        self.available.at(turn).store(self.descriptors.index(position) as u16, Ordering::Relaxed);
    }

    #[inline]
    fn publish(&self, turn: u32) {
        crate::dma::barrier::dma_wmb();
        idx(&self.available_head).store(turn as u16, Ordering::Release); // <-- release
    }

    #[inline]
    fn completed(&self, turn: u32) -> Option<u32> {
        let idx = idx(&self.used_head).load(Ordering::Acquire); // <-- acquire
        crate::dma::barrier::dma_rmb();
        Some(u32::from(idx.wrapping_sub(turn as u16)))
    }

    #[inline(always)]
    fn completion(&self, turn: u32, _position: u32) -> Option<Completion> {
        let [id, len] = self.used.at(turn).each_ref().map(|word| word.load(Ordering::Relaxed));
        Some(Completion { id, len: len.wrapping_add(HEADER - self.framing().len) })
    }

    #[inline(always)]
    fn completed_id(&self, turn: u32, _position: u32) -> Option<u32> {
        Some(self.used.at(turn)[0].load(Ordering::Relaxed))
    }

    #[inline]
    fn wants_notice(&self, turns: [u32; 2], _positions: [u32; 2]) -> bool {
        if self.event_index {
            let event = self.used_tail.words16()[0].load(Ordering::Relaxed);
            passed(event, turns[0] as u16, turns[1] as u16)
        } else {
            flags(&self.used_head).load(Ordering::Relaxed) & SILENT == 0
        }
    }

    fn notice_data(&self, turn: u32, _position: u32) -> u16 {
        turn as u16
    }

    fn interrupts(&self, on: bool, turn: u32) {
        if self.event_index {
            // Off: an index that was passed last, and comes again in 65536.
            let event = if on { turn } else { turn.wrapping_sub(1) };
            self.available_tail.words16()[0].store(event as u16, Ordering::Relaxed);
        } else {
            flags(&self.available_head).store(if on { 0 } else { SILENT }, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena};

    #[test]
    fn a_queue_lies_where_the_device_is_told() {
        for len in [64, 256, 4096] {
            let arena = Arena::new(Split::bytes(len), Addressing::Translated).unwrap();
            let memory = Region::new(&arena, 0, Split::bytes(len));
            let (queue, places) =
                Split::new(&memory, len, Features(1 << features::EVENT_IDX | 1 << features::VERSION_1));
            assert!(places.descriptors.is_multiple_of(16) && places.driver.is_multiple_of(2));
            assert!(places.device.is_multiple_of(4));
            let byte = |iova: Iova| (iova - memory.iova()) as usize;
            queue.give(len + 3, 7, 0x1234, 2048);
            queue.name(len + 3, 7);
            queue.publish(len + 4);
            let half = |at: usize| memory.words16()[at / 2].load(Ordering::Relaxed);
            assert_eq!(half(byte(places.driver) + 2), (len + 4) as u16, "idx");
            assert_eq!(half(byte(places.driver) + 4 + 2 * 3), 7, "ring[3]");
            assert_eq!(memory.words64()[14].load(Ordering::Relaxed), 0x1234);
            assert_eq!(memory.words64()[15].load(Ordering::Relaxed), 2048 | 2 << 32);
            queue.interrupts(true, 9);
            assert_eq!(half(byte(places.driver) + 4 + 2 * len as usize), 9, "used_event");
            memory.words16()[byte(places.device) / 2 + 1].store(2, Ordering::Relaxed);
            memory.words64()[(byte(places.device) + 4) / 8].store(5 | 60 << 32, Ordering::Relaxed);
            memory.words16()[(byte(places.device) + 4 + 8 * len as usize) / 2].store(3, Ordering::Relaxed);
            assert_eq!(queue.completed(0), Some(2));
            assert_eq!(queue.completion(0, 0), Some(Completion { id: 5, len: 60 }));
            assert!(queue.wants_notice([3, 4], [0, 0]) && !queue.wants_notice([4, 5], [0, 0]));
        }
    }
}
