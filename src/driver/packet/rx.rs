//! Receiving: each frame is copied out of the ring that the kernel fills, into a buffer.

use super::TAG;
use super::counters::Counts;
use crate::dma::{BATCH_MAX, BUFFER_SIZE, Batch, Decode, Decoder, Entry, Meta, RawMeta, Span, Timestamp};
use crate::driver::kernel::Source;
use crate::driver::tally::Tally;
use crate::net::Sum;
use crate::sys::packet::Offloads;
use crate::sys::packet::ring::{Frame, Ring};
use crate::sys::packet::socket::Group;
use std::io;
use std::time::Duration;

/// What a receive queue reads.
#[derive(Debug)]
pub struct Frames {
    pub ring: Ring,
    /// The number of the interface.
    pub index: u32,
    /// With whose sockets it shares what comes, if with any.
    pub group: Option<Group>,
    pub how: How,
}

/// What becomes of frames.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Bytes of the longest to receive, tags not among them.
    pub longest: usize,
    /// Bytes of a frame that are there, if it has more.
    pub keeps: usize,
    /// Frames that the kernel sends are left out here, as it does not do so itself.
    pub incoming_only: bool,
    /// Frames are to be as they are on a wire: checksums are filled in, and what would be
    /// several segments is dropped.
    pub finished: bool,
    /// Tags stay out of frames.
    pub strips: bool,
    /// The kernel's times are told.
    pub stamps: bool,
}

/// The words of an entry: time, and tag with flags above it.
struct Words;

impl Decode for Words {
    #[inline(always)]
    fn meta(raw: &RawMeta<'_>) -> Meta {
        let [time, rest] = raw.words;
        let timestamp = (time != 0).then_some(Timestamp(Duration::from_nanos(time)));
        Meta { hash: 0, tag: rest as u16, flags: (rest >> 16) as u8, timestamp }
    }
}

const DECODER: Decoder = Decoder::of::<Words>();

/// Bytes of the addresses, behind which a tag is.
const ADDRESSES: usize = 12;

impl Source for Frames {
    fn start(&mut self) -> io::Result<()> {
        match &self.group {
            Some(group) => self.ring.socket().join(self.index, group),
            None => self.ring.socket().bind(self.index, true),
        }
    }

    fn has_frame(&mut self) -> bool {
        self.ring.first().is_some()
    }

    fn sleep(&self, patience: Duration) -> io::Result<bool> {
        self.ring.socket().wait(patience)
    }

    fn take(&mut self, batch: &mut Batch<'_>, _tally: &Tally) -> Counts {
        let how = self.how;
        let mut counts = Counts::default();
        while batch.room() > 0
            && let Some(frame) = self.ring.first()
        {
            if frame.outgoing && how.incoming_only {
                self.ring.pass();
                continue;
            }
            let split = how.finished && frame.offloads.gso != 0;
            if frame.len > how.longest || frame.bytes.len() < frame.len.min(how.keeps) || split {
                counts.oversize += 1;
            } else if place(batch, &frame, how) {
                counts.packets += 1;
                counts.bytes += frame.len as u64;
            } else {
                break;
            }
            counts.unfinished += u64::from(frame.unfinished);
            self.ring.pass();
        }
        batch.filled(batch.len(), DECODER);
        counts
    }

    fn shows(&self) -> bool {
        !self.how.finished && !self.how.strips
    }

    fn show(
        &mut self,
        most: usize,
        mut see: impl FnMut(&[&[u8]], usize, Option<Timestamp>) -> bool,
    ) -> (usize, Counts) {
        let how = self.how;
        let (mut shown, mut counts) = (0, Counts::default());
        let mut goes_on = self.shows();
        while goes_on
            && shown < most
            && let Some(frame) = self.ring.first()
        {
            shown += 1;
            if frame.outgoing && how.incoming_only {
                self.ring.pass();
                continue;
            }
            if frame.len > how.longest || frame.bytes.len() < frame.len.min(how.keeps) {
                counts.oversize += 1;
            } else {
                let stamp = (how.stamps && frame.time != 0).then_some(Timestamp(Duration::from_nanos(frame.time)));
                goes_on = match frame.vlan {
                    None => see(&[frame.bytes], frame.len, stamp),
                    Some(tag) => {
                        let (addresses, rest) = frame.bytes.split_at(frame.bytes.len().min(ADDRESSES));
                        see(&[addresses, &tag_bytes(tag), rest], frame.len + TAG, stamp)
                    }
                };
                counts.packets += 1;
                counts.bytes += frame.len as u64;
            }
            counts.unfinished += u64::from(frame.unfinished);
            self.ring.pass();
        }
        (shown, counts)
    }
}

/// A tag as it is on a wire: type and control information.
fn tag_bytes((kind, tci): (u16, u16)) -> [u8; 4] {
    let ([a, b], [c, d]) = (kind.to_be_bytes(), tci.to_be_bytes());
    [a, b, c, d]
}

/// Appends a copy of the frame; false if there is no place for it.
#[inline]
fn place(batch: &mut Batch<'_>, frame: &Frame<'_>, how: How) -> bool {
    let at = batch.len();
    let checked = if frame.checked { u64::from(Meta::L4_GOOD) << 16 } else { 0 };
    let mut words = [if how.stamps { frame.time } else { 0 }, checked];
    let bytes;
    let tag = match frame.vlan {
        Some((_, tci)) if how.strips => {
            words[1] |= u64::from(tci) | u64::from(Meta::TAGGED) << 16;
            &[][..]
        }
        Some(tag) => {
            bytes = tag_bytes(tag);
            &bytes[..]
        }
        None => &[],
    };
    let placed = if tag.is_empty() && frame.bytes.len() <= BUFFER_SIZE {
        batch.push(frame.bytes.len()).map(|buffer| buffer.copy_from_slice(frame.bytes)).is_some()
    } else {
        place_parts(batch, frame.bytes, tag)
    };
    if placed {
        let end = batch.len();
        batch.entries_mut()[at..end].iter_mut().for_each(|entry| entry.words = words);
        if how.finished && frame.offloads.checksum {
            fill_checksum(batch, at, frame, tag.len());
        }
    }
    placed
}

/// The same with a `tag` behind the addresses, and of any length.
#[cold]
fn place_parts(batch: &mut Batch<'_>, bytes: &[u8], tag: &[u8]) -> bool {
    let (addresses, rest) = bytes.split_at(bytes.len().min(ADDRESSES));
    let mut pieces = [addresses, tag, rest];
    let total = bytes.len() + tag.len();
    let parts = total.div_ceil(BUFFER_SIZE);
    if parts > batch.room() && !batch.is_empty() || parts > BATCH_MAX || parts > batch.pool().available() {
        return false;
    }
    for n in 0..parts {
        let (at, len) = (batch.len(), (total - n * BUFFER_SIZE).min(BUFFER_SIZE));
        let Some(buffer) = batch.pool().take() else { return false };
        batch.entries_mut()[at] = Entry { words: [0; 2], buffer, span: Span::new(0, len as u16, n + 1 < parts) };
        batch.filled(at + 1, DECODER);
        let mut into = batch.frame_mut(at);
        for piece in &mut pieces {
            let (now, later) = piece.split_at(piece.len().min(into.len()));
            into[..now.len()].copy_from_slice(now);
            (into, *piece) = (&mut std::mem::take(&mut into)[now.len()..], later);
        }
    }
    true
}

/// Sums from where the kernel says to the end; the field holds the pseudo-header's part. A
/// description that does not fit the frame changes nothing.
#[cold]
fn fill_checksum(batch: &mut Batch<'_>, first: usize, frame: &Frame<'_>, tag: usize) {
    let Offloads { checksum_start, checksum_offset, .. } = frame.offloads;
    let (start, field) = (usize::from(checksum_start), usize::from(checksum_start) + usize::from(checksum_offset));
    if field + 2 > frame.bytes.len() || start < ADDRESSES {
        return;
    }
    // A UDP checksum of 0 would mean none; TCP does not mind 0xffff for 0.
    let checksum = match Sum::of(&frame.bytes[start..]).checksum() {
        0 => 0xffff,
        checksum => checksum,
    };
    for (at, byte) in (field + tag..).zip(checksum.to_be_bytes()) {
        batch.frame_mut(first + at / BUFFER_SIZE)[at % BUFFER_SIZE] = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Pool};

    const HOW: How =
        How { longest: 9_216, keeps: usize::MAX, incoming_only: false, finished: true, strips: false, stamps: true };

    fn frame(bytes: &[u8], vlan: Option<(u16, u16)>) -> Frame<'_> {
        Frame {
            bytes,
            len: bytes.len(),
            time: 7,
            vlan,
            offloads: Offloads::default(),
            unfinished: false,
            checked: true,
            outgoing: false,
        }
    }

    fn whole(batch: &Batch<'_>) -> Vec<u8> {
        batch.frames().flatten().copied().collect()
    }

    #[test]
    fn a_frame_of_any_length_comes_whole_with_its_tag_where_it_was() {
        let pool = Pool::new(64, Addressing::Translated).unwrap();
        for len in [14, 60, BUFFER_SIZE - 4, BUFFER_SIZE, BUFFER_SIZE + 1, 9_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut batch = Batch::new(&pool);
            assert!(place(&mut batch, &frame(&bytes, None), HOW));
            batch.filled(batch.len(), DECODER);
            assert_eq!(whole(&batch), bytes, "{len}");
            let last = batch.len() - 1;
            assert_eq!(batch.meta(last).timestamp, Some(Timestamp(Duration::from_nanos(7))));
            assert!((0..last).all(|i| batch.continues(i)) && !batch.continues(last));
            batch.clear();
            assert!(place(&mut batch, &frame(&bytes, Some((0x88a8, 0x2064))), HOW));
            let tagged: Vec<u8> = [&bytes[..12], &[0x88, 0xa8, 0x20, 0x64], &bytes[12..]].concat();
            assert_eq!(whole(&batch), tagged, "{len}");
            batch.clear();
            assert!(place(&mut batch, &frame(&bytes, Some((0x8100, 5))), How { strips: true, ..HOW }));
            batch.filled(batch.len(), DECODER);
            assert_eq!((whole(&batch), batch.meta(0).vlan()), (bytes, Some(5)), "{len}");
        }
        assert_eq!(pool.available(), pool.capacity());
    }

    #[test]
    fn a_frame_waits_where_there_is_no_room_for_all_of_it() {
        let pool = Pool::new(64, Addressing::Translated).unwrap();
        let bytes = vec![1; 3 * BUFFER_SIZE];
        let mut batch = Batch::with_limit(&pool, 2);
        assert!(place(&mut batch, &frame(&bytes[..60], None), HOW));
        assert!(!place(&mut batch, &frame(&bytes, None), HOW));
        assert_eq!(batch.len(), 1);
        batch.clear();
        assert!(place(&mut batch, &frame(&bytes, None), HOW), "an empty batch takes more than its limit");
    }

    #[test]
    fn an_open_checksum_is_filled_in_wherever_it_lies_and_a_wrong_place_changes_nothing() {
        let pool = Pool::new(64, Addressing::Translated).unwrap();
        for (len, tag) in [(61, None), (9_000, None), (9_001, Some((0x8100, 9)))] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            for (start, offset) in [(34, 16), (34, 6), (2_040, 7), (34, 9_999)] {
                let offloads =
                    Offloads { checksum: true, checksum_start: start, checksum_offset: offset, ..Offloads::default() };
                let mut batch = Batch::new(&pool);
                assert!(place(&mut batch, &Frame { offloads, ..frame(&bytes, tag) }, HOW));
                let mut seen = whole(&batch);
                if tag.is_some() {
                    seen.drain(12..16);
                }
                let (start, field) = (usize::from(start), usize::from(start + offset));
                if field + 2 > len {
                    assert_eq!(seen, bytes);
                    continue;
                }
                // With the checksum in place of what was there, the sum is that of what was there.
                let was = Sum::of(&bytes[field..field + 2]).fold();
                let sum = Sum::of(&bytes[start..]).checksum();
                assert_eq!(u16::from_be_bytes([seen[field], seen[field + 1]]), if sum == 0 { 0xffff } else { sum });
                assert_eq!((&seen[..field], &seen[field + 2..]), (&bytes[..field], &bytes[field + 2..]), "{was}");
            }
        }
    }
}
