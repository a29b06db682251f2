//! Packed virtqueues (VIRTIO 1.2 §2.8).
//!
//! ```text
//!   descriptors     [ address | len . id . flags ] x n    both write
//!   driver events   off_wrap . flags                      driver writes
//!   device events   off_wrap . flags                      device writes
//! ```
//!
//! Who owns a descriptor is in two bits of its flags, whose sense turns with
//! each lap of the ring: given, AVAIL is the lap's wrap counter and USED its
//! opposite; taken back, both are the wrap counter. The counter is 1 on the
//! first lap, and so follows from a position.

use super::features::{self, Features};
use super::ring::{Completion, NEXT, Part, Places, Virtqueue, WRITE, Words, passed, piece};
use crate::dma::{Iova, Region};
use crate::driver::ring::Ring;
use std::sync::atomic::{AtomicU16, Ordering};

const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Event flags (§2.8.14).
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const AT_DESCRIPTOR: u16 = 2;

/// Bytes before the event structures' own.
const EVENTS: usize = 64;

/// A packed virtqueue.
#[derive(Debug)]
pub struct Packed {
    descriptors: Ring<Words>,
    driver: Region,
    device: Region,
    /// log2 of the length.
    shift: u32,
    event_index: bool,
}

impl Packed {
    /// The wrap counter at `position`.
    #[inline(always)]
    fn wrap(&self, position: u32) -> bool {
        position >> self.shift & 1 == 0
    }

    /// Flags that give the descriptor at `position` away.
    #[inline(always)]
    fn given(&self, position: u32) -> u16 {
        if self.wrap(position) { AVAIL } else { USED }
    }

    /// Index and wrap counter as both sides write them.
    fn off_wrap(&self, position: u32) -> u16 {
        self.descriptors.index(position) as u16 | u16::from(self.wrap(position)) << 15
    }

    fn words(region: &Region) -> (&AtomicU16, &AtomicU16) {
        (&region.words16()[0], &region.words16()[1])
    }
}

/// Second word of a descriptor.
#[inline(always)]
fn word(len: u32, id: u32, flags: u16) -> u64 {
    u64::from(len) | u64::from(id as u16) << 32 | u64::from(flags) << 48
}

impl Virtqueue for Packed {
    const PUBLISHED_BY_INDEX: bool = false;

    fn bytes(len: u32) -> usize {
        16 * len as usize + 2 * EVENTS
    }

    fn new(memory: &Region, len: u32, features: Features) -> (Self, Places) {
        let end = 16 * len as usize;
        let queue = Packed {
            descriptors: piece(memory, 0, len),
            driver: memory.part(end, 8),
            device: memory.part(end + EVENTS, 8),
            shift: len.trailing_zeros(),
            event_index: features.has(features::EVENT_IDX),
        };
        let places = Places { descriptors: memory.iova(), driver: queue.driver.iova(), device: queue.device.iova() };
        queue.interrupts(false, 0);
        (queue, places)
    }

    fn len(&self) -> u32 {
        self.descriptors.len()
    }

    #[inline(always)]
    fn give(&self, turn: u32, id: u32, address: Iova, len: u32) {
        let word = word(len, id, WRITE | self.given(turn));
        write(self.descriptors.at(turn), address, word);
    }

    fn name(&self, _turn: u32, _id: u32) {}

    #[inline(always)]
    fn give_one(&self, _turn: u32, position: u32, address: Iova, len: u32) {
        let word = word(len, self.descriptors.index(position), self.given(position));
        write(self.descriptors.at(position), address, word);
    }

    #[inline]
    fn give_chain(&self, _turn: u32, position: u32, parts: &[Part]) {
        let id = self.descriptors.index(position);
        // The first one last: with it the device may take them all.
        for (i, part) in parts.iter().enumerate().rev() {
            let at = position.wrapping_add(i as u32);
            let next = if i + 1 < parts.len() { NEXT } else { 0 };
            let flags = next | if part.write { WRITE } else { 0 } | self.given(at);
            if i == 0 {
                crate::dma::barrier::dma_wmb();
            }
            write(self.descriptors.at(at), part.address, word(part.len, id, flags));
        }
    }

    fn publish(&self, _turn: u32) {}

    #[inline]
    fn completed(&self, _turn: u32) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn completion(&self, _turn: u32, position: u32) -> Option<Completion> {
        let word = self.descriptors.at(position)[1].load(Ordering::Acquire); // <-- acquire
        let both = u64::from(AVAIL | USED) << 48;
        let mine = if self.wrap(position) { both } else { 0 };
        (word & both == mine).then_some(Completion { id: (word >> 32) as u32 & 0xffff, len: word as u32 })
    }

    #[inline]
    fn wants_notice(&self, _turns: [u32; 2], positions: [u32; 2]) -> bool {
        let (off_wrap, flags) = Packed::words(&self.device);
        match flags.load(Ordering::Acquire) {
            ENABLE => true,
            AT_DESCRIPTOR if self.event_index => {
                let event = off_wrap.load(Ordering::Relaxed);
                let mut at = event & 0x7fff;
                // Of the lap before: as many descriptors further back (§2.8.14).
                if (event >> 15 != 0) != self.wrap(positions[1]) {
                    at = at.wrapping_sub(self.len() as u16);
                }
                let new = self.descriptors.index(positions[1]) as u16;
                passed(at, new.wrapping_sub(positions[1].wrapping_sub(positions[0]) as u16), new)
            }
            DISABLE => false,
            // Not a state there is: to tell once too often does no harm.
            _ => true,
        }
    }

    fn notice_data(&self, _turn: u32, position: u32) -> u16 {
        self.off_wrap(position)
    }

    fn interrupts(&self, on: bool, _turn: u32) {
        let (_, flags) = Packed::words(&self.driver);
        flags.store(if on { ENABLE } else { DISABLE }, Ordering::Release);
    }
}

/// Writes a descriptor's words: the second one, which gives it away, last.
#[inline(always)]
fn write(slot: &Words, address: Iova, word: u64) {
    slot[0].store(address, Ordering::Relaxed);
    slot[1].store(word, Ordering::Release); // <-- release
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena};

    fn queue(event_index: bool) -> (Region, Packed) {
        let arena = Arena::new(Packed::bytes(64), Addressing::Translated).unwrap();
        let memory = Region::new(&arena, 0, Packed::bytes(64));
        let queue = Packed::new(&memory, 64, Features(u64::from(event_index) << features::EVENT_IDX)).0;
        (memory, queue)
    }

    #[test]
    fn flags_turn_with_each_lap() {
        let (memory, queue) = queue(false);
        let flags = |at: usize| memory.words16()[8 * at + 7].load(Ordering::Relaxed);
        let parts = [Part { address: 1, len: 12, write: false }, Part { address: 2, len: 60, write: true }];
        queue.give_chain(0, 0, &parts);
        assert_eq!((flags(0), flags(1)), (0x0081, 0x0082));
        queue.give_chain(0, 63, &parts);
        assert_eq!((flags(63), flags(0)), (0x0081, 0x8002), "over the end of the ring");
        queue.give(64, 9, 5, 2048);
        assert_eq!((flags(0), memory.words16()[6].load(Ordering::Relaxed)), (0x8002, 9));
    }

    #[test]
    fn what_is_used_is_told_from_what_is_given_and_from_the_last_lap() {
        let (memory, queue) = queue(false);
        let word = &memory.words64()[1];
        assert_eq!(queue.completion(0, 0), None, "nothing was given yet");
        queue.give(0, 3, 5, 2048);
        assert_eq!(queue.completion(0, 0), None);
        word.store(60 | 3 << 32 | 0x8080 << 48, Ordering::Relaxed);
        assert_eq!(queue.completion(0, 0), Some(Completion { id: 3, len: 60 }));
        assert_eq!(queue.completion(64, 64), None);
        word.store(60 | 3 << 32, Ordering::Relaxed);
        assert_eq!(queue.completion(64, 64), Some(Completion { id: 3, len: 60 }));
    }

    #[test]
    fn a_notice_is_given_where_the_device_wants_it() {
        let (memory, queue) = queue(true);
        let device = memory.part(16 * 64 + EVENTS, 8);
        let set = |off_wrap: u16, flags: u16| {
            device.words16()[0].store(off_wrap, Ordering::Relaxed);
            device.words16()[1].store(flags, Ordering::Relaxed);
        };
        let wants = |from, to| queue.wants_notice([0, 0], [from, to]);
        assert!(wants(0, 1));
        set(0, 1);
        assert!(!wants(0, 1));
        set(0x8000 | 5, 2);
        assert!(wants(4, 6) && !wants(6, 8) && !wants(2, 5));
        // In the second lap, wrap counter 0.
        set(2, 2);
        assert!(wants(62, 64 + 3) && !wants(60, 63) && wants(64 + 2, 64 + 3));
        // An event of the lap before has been passed already.
        set(0x8000 | 63, 2);
        assert!(wants(63, 64 + 1) && !wants(64, 65));
    }
}
