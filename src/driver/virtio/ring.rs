//! What both formats of a virtqueue have in common (VIRTIO 1.2 §2.6).
//!
//! A *turn* counts what was given to the device, a *position* the descriptors
//! that this took; both run freely. On receive each turn takes one descriptor,
//! so they are the same; a transmitted chain takes a turn and several positions.
//! A completion names a chain by its *id*; where the next one will be found
//! follows from our own counts, never from what the device says.

use super::features::Features;
use super::header::Framing;
use super::regs::legacy;
use crate::dma::barrier::dma_mb;
use crate::dma::{Descriptor, Iova, Region};
use crate::driver::ring::{Ring, first_position};
use crate::pci::{Bar, Doorbell, ShortDoorbell};
use std::sync::atomic::AtomicU64;

/// A descriptor in memory, of either format.
pub type Words = [AtomicU64; 2];

const _: () = assert!(size_of::<Words>() == 16, "VIRTIO 1.2 §2.7.5, §2.8.13");
const _: () =
    assert!(cfg!(target_endian = "little"), "modern devices are little-endian, and legacy ones are as this machine is");

/// The chain goes on in the next descriptor.
pub const NEXT: u16 = 1;
/// The device writes.
pub const WRITE: u16 = 2;

/// Where one virtqueue lies, as the device is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Descriptors.
    pub descriptors: Iova,
    /// What the driver writes.
    pub driver: Iova,
    /// What the device writes.
    pub device: Iova,
}

/// One descriptor of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where.
    pub address: Iova,
    /// Bytes.
    pub len: u32,
    /// The device writes it.
    pub write: bool,
}

/// A completion: what the device says it has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Of which chain.
    pub id: u32,
    /// Bytes that it wrote.
    pub len: u32,
}

/// One format of virtqueue. What is given is not trusted to come back.
pub trait Virtqueue: std::fmt::Debug + Send + Sized {
    /// Whether the device sees what is given only once [`Virtqueue::publish`] says
    /// so; otherwise at once.
    const PUBLISHED_BY_INDEX: bool;

    /// Bytes of memory for a queue of `len` descriptors.
    fn bytes(len: u32) -> usize;

    /// A queue of `len` (a power of two) in zeroed `memory`, for what was agreed on.
    fn new(memory: &Region, len: u32, features: Features) -> (Self, Places);

    /// Descriptors in it.
    fn len(&self) -> u32;

    /// Buffers that it holds at most for the device to write.
    #[inline(always)]
    fn buffers(&self) -> u32 {
        self.len()
    }

    /// What the device wants of a frame's header. On receive that is hidden: a buffer is
    /// given, and a completion counted, as if the header took all its room.
    #[inline(always)]
    fn framing(&self) -> Framing {
        Framing::MODERN
    }

    /// Gives a buffer for the device to write a header and a frame, as chain `id`, which
    /// this turn of the ring [names](Virtqueue::name).
    fn give(&self, turn: u32, id: u32, address: Iova, len: u32);

    /// Names the chain that a turn gives. A split queue's names stay from lap to lap; in a
    /// packed one each descriptor has its own.
    fn name(&self, turn: u32, id: u32);

    /// Gives a chain of one descriptor for the device to read.
    fn give_one(&self, turn: u32, position: u32, address: Iova, len: u32);

    /// Gives a chain. Its id is the index of its first descriptor.
    fn give_chain(&self, turn: u32, position: u32, parts: &[Part]);

    /// Lets the device see everything up to `turn`.
    fn publish(&self, turn: u32);

    /// How many completions there may be from `turn` on. Split queues know,
    /// from a word the device writes; packed ones find out one by one.
    fn completed(&self, turn: u32) -> Option<u32>;

    /// The completion of this turn. Of a packed queue, if it is there.
    fn completion(&self, turn: u32, position: u32) -> Option<Completion>;

    /// The id in it, where a length says nothing.
    #[inline(always)]
    fn completed_id(&self, turn: u32, position: u32) -> Option<u32> {
        self.completion(turn, position).map(|completion| completion.id)
    }

    /// Whether the device wants to be told that `from` has become `to`; after
    /// [`dma_mb`]. Positions, or turns for a split queue.
    fn wants_notice(&self, turns: [u32; 2], positions: [u32; 2]) -> bool;

    /// What follows the queue's index in a notification that carries data.
    fn notice_data(&self, turn: u32, position: u32) -> u16;

    /// Lets the device interrupt for completions from here on, or not.
    fn interrupts(&self, on: bool, turn: u32);
}

/// How a queue is notified (§4.1.5.2).
#[derive(Debug)]
pub enum Bell {
    /// By its index.
    Index(ShortDoorbell, u16),
    /// By its index, and what [`Virtqueue::notice_data`] says above it.
    Data(Doorbell, u16),
    /// By its index, at a port of a legacy device: on a real one a system call.
    Port(Bar, u16),
}

/// Tells the device, if it wants to be told.
#[derive(Debug)]
pub struct Notifier {
    bell: Bell,
    turn: u32,
    position: u32,
}

impl Notifier {
    /// Of a queue that nothing was given to.
    pub fn new(bell: Bell) -> Self {
        let first = first_position();
        Notifier { bell, turn: first, position: first }
    }

    /// Turns since the device was last told, or was found not to want it.
    #[inline(always)]
    pub fn unsaid(&self, turn: u32) -> u32 {
        turn.wrapping_sub(self.turn)
    }

    /// Says that everything up to here was given and published.
    #[inline]
    pub fn tell<F: Virtqueue>(&mut self, ring: &F, turn: u32, position: u32) {
        dma_mb();
        let wanted = ring.wants_notice([self.turn, turn], [self.position, position]);
        // Before it is told: then nothing has to be kept over a call.
        (self.turn, self.position) = (turn, position);
        if wanted {
            match &self.bell {
                Bell::Index(bell, queue) => bell.ring(*queue),
                Bell::Data(bell, queue) => {
                    bell.ring(u32::from(*queue) | u32::from(ring.notice_data(turn, position)) << 16);
                }
                Bell::Port(bar, queue) => tell_port(bar, *queue),
            }
        }
    }

    /// What is stored to the doorbell to tell the device, for a trace.
    pub fn notice<F: Virtqueue>(&self, ring: &F, turn: u32, position: u32) -> u32 {
        match &self.bell {
            Bell::Index(_, queue) | Bell::Port(_, queue) => u32::from(*queue),
            Bell::Data(_, queue) => u32::from(*queue) | u32::from(ring.notice_data(turn, position)) << 16,
        }
    }
}

/// Apart, so that it takes none of the registers of those who store into a doorbell.
#[cold]
#[inline(never)]
fn tell_port(bar: &Bar, queue: u16) {
    legacy::QUEUE_NOTIFY.write(bar, 0, u32::from(queue));
}

/// A piece of a queue's memory, as a ring of `len`.
pub fn piece<D: Descriptor>(memory: &Region, offset: usize, len: u32) -> Ring<D> {
    Ring::new(memory.part(offset, len as usize * size_of::<D>()), len)
}

/// Whether `event` was passed on the way from `old` to `new` (§2.7.7.2, §2.7.10).
pub fn passed(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_passed_once_and_also_across_the_wrap() {
        assert!(passed(5, 5, 6));
        assert!(!passed(6, 5, 6));
        assert!(!passed(4, 5, 6));
        assert!(passed(0xffff, 0xfffe, 1));
        assert!(!passed(1, 0xfffe, 1));
        assert!(!passed(9, 9, 9), "nothing new");
    }

    #[test]
    fn an_event_is_passed_exactly_if_it_is_one_of_those_on_the_way() {
        for old in [0, 1, 0x7fff, 0x8000, 0xfff0, 0xffff_u16] {
            for steps in (0..20).chain([255, 256, 0x7fff, 0x8000, 0xffff_u16]) {
                let new = old.wrapping_add(steps);
                for ahead in 0..=u16::MAX {
                    let event = old.wrapping_add(ahead);
                    assert_eq!(passed(event, old, new), ahead < steps, "{event} between {old} and {new}");
                }
            }
        }
    }
}
