//! Frames that are not plain: what of them stands inline, what lies in memory, and what
//! the card is to put in.
//!
//! ```text
//!   plain            [ control | Ethernet | data ]
//!   several buffers  [ control | Ethernet | data | data | data ]
//!   headers inline   [ control | Ethernet + headers ... | data | data ]
//!   tag by hand      [ control | Ethernet + addresses, tag, type | data ]
//!   short            [ control | Ethernet + all of it, zeroes to 60 ]
//! ```
//!
//! A tag that the card does not put in stands inline, as does all of a frame that is
//! shorter than the wire allows: nothing in its buffer is moved or changed.

use super::parts::Inline;
use super::wqe::{self, Ethernet, MOST_INLINE, MOST_SEGMENTS, SEGMENTS};
use crate::dma::{Batch, Entry};
use crate::driver::sends::OddFrame;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Frames are padded to this, as not every card does.
pub const PAD: u32 = 60;

/// Most buffers of a frame: what an entry has segments for, if it begins with the most
/// that can stand inline.
pub const MOST_PARTS: u32 = MOST_SEGMENTS - 14;

/// What a card wants, and can do.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Key of the memory that packets lie in.
    pub lkey: u32,
    /// What must be inline.
    pub inline: Inline,
    /// It puts VLAN tags in: only where nothing must be inline, as they have one place.
    pub tags: bool,
}

/// What is to be written of a frame.
pub struct Plan {
    /// Checksums.
    flags: u64,
    /// A tag that the card puts in.
    tag: Option<u16>,
    /// What stands inline.
    head: [u8; MOST_INLINE],
    inline: usize,
    /// Bytes of the frame that are in it.
    taken: usize,
    /// Segments of the entry.
    pub segments: u32,
}

const TAG: usize = 4;
const ADDRESSES: usize = 12;
const ETHERNET: usize = 14;

impl Plan {
    /// For the frame of `frame.parts` entries from `from` on; `None` if what is asked for
    /// cannot be done.
    pub fn of(batch: &Batch<'_>, from: usize, frame: &OddFrame, card: Wants) -> Option<Plan> {
        let offload = frame.offload.unwrap_or_default();
        let short = frame.total + frame.tag < PAD;
        let by_card = card.tags && !short;
        let mut plan = Plan {
            flags: wqe::checksums(&offload)?,
            tag: offload.vlan.filter(|_| by_card),
            head: [0; MOST_INLINE],
            inline: 0,
            taken: 0,
            segments: 0,
        };
        let by_hand = offload.vlan.filter(|_| !by_card);
        if short || by_hand.is_some() || card.inline != Inline::Nothing {
            plan.gather(batch.frames().skip(from).take(frame.parts));
            if !short {
                let header = if by_hand.is_some() { ETHERNET.min(plan.inline) } else { 0 };
                plan.keep(wqe::headers(&plan.head[..plan.inline], card.inline).max(header));
            }
        }
        if let Some(tci) = by_hand {
            plan.insert(tci)?;
        }
        if short {
            plan.inline = PAD as usize;
        }
        let mut left = plan.taken;
        let rest = batch.frames().skip(from).take(frame.parts).filter(|part| {
            let inside = left.min(part.len());
            left -= inside;
            inside < part.len()
        });
        plan.segments = wqe::segments_before_data(plan.inline) + rest.count() as u32;
        Some(plan)
    }

    /// Takes the beginning of a frame in, as far as there is room beside a tag.
    fn gather<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) {
        for part in parts {
            let part = &part[..part.len().min(MOST_INLINE - TAG - self.inline)];
            self.head[self.inline..][..part.len()].copy_from_slice(part);
            self.inline += part.len();
        }
        self.taken = self.inline;
    }

    /// Of what was taken in, only the first `bytes` stand inline.
    fn keep(&mut self, bytes: usize) {
        self.head[bytes..].fill(0);
        (self.inline, self.taken) = (bytes, bytes);
    }

    /// Puts a tag in; `None` if the frame is too short.
    fn insert(&mut self, tci: u16) -> Option<()> {
        if self.inline < ADDRESSES {
            return None;
        }
        self.head.copy_within(ADDRESSES..self.inline, ADDRESSES + TAG);
        let [a, b] = tci.to_be_bytes();
        self.head[ADDRESSES..ADDRESSES + TAG].copy_from_slice(&[0x81, 0, a, b]);
        self.inline += TAG;
        Some(())
    }

    /// Basic blocks of the entry.
    pub fn blocks(&self) -> u32 {
        self.segments.div_ceil(SEGMENTS)
    }

    /// Writes the entry for `parts` of `batch`, all but its first word.
    pub fn write(&self, words: &[AtomicU64], batch: &Batch<'_>, parts: Range<usize>, lkey: u32) {
        words[1].store(0, Ordering::Relaxed);
        let what = self.tag.map_or(Ethernet::Inline(&self.head[..self.inline]), Ethernet::Tag);
        let begin = wqe::write_ethernet(words, self.flags, what);
        let mut segments = words[begin..].as_chunks::<2>().0.iter();
        let mut left = self.taken;
        for i in parts {
            let len = batch.frame(i).len();
            let inside = left.min(len);
            left -= inside;
            // A segment of no bytes would be one of all there are.
            if inside < len
                && let Some(segment) = segments.next()
            {
                let Entry { buffer, span, .. } = batch.entries()[i];
                let address = batch.pool().iova(buffer) + u64::from(span.start()) + inside as u64;
                segment[0].store(wqe::data((len - inside) as u32, lkey), Ordering::Relaxed);
                segment[1].store(address.to_be(), Ordering::Relaxed);
            }
        }
    }
}
