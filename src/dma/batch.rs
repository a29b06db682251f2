//! Batches: the packets an application holds.

#![allow(unsafe_code)]

use super::{BUFFER_SIZE, Pool};
use std::time::Duration;

/// Buffers a batch can hold.
pub const BATCH_MAX: usize = 64;

/// Up to [`BATCH_MAX`] packet buffers on loan from a [`Pool`].
///
/// A receive queue appends to it, a transmit queue takes from its front; what
/// is still in it when it is cleared or dropped goes back to the pool. Each
/// entry is an index, a start, a length and the two words the device wrote
/// about the packet; what they mean ([`Meta`]) is worked out when it is asked
/// for, and never for a packet that is only passed on.
///
/// A frame longer than a buffer fills several entries in a row; all but the
/// last say so ([`Batch::continues`]).
pub struct Batch<'p> {
    pool: &'p Pool,
    len: usize,
    limit: usize,
    decoder: Decoder,
    entries: [Entry; BATCH_MAX],
}

/// One buffer of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    /// The device's words about a received packet, or an [`Offload`] to send.
    pub words: [u64; 2],
    /// Index of the buffer in the pool.
    pub buffer: u32,
    /// Place of the packet in it.
    pub span: Span,
}

/// Where a packet lies in its buffer, in one word: length in bits 15:0, start
/// in bits 23:16, flags above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span(u32);

impl Span {
    const CONTINUES: u32 = 1 << 24;
    const OFFLOAD: u32 = 1 << 25;

    /// `len` bytes from `start`; the caller has checked that they fit.
    #[inline]
    pub(crate) fn new(start: u8, len: u16, continues: bool) -> Self {
        Span(u32::from(len) | u32::from(start) << 16 | if continues { Self::CONTINUES } else { 0 })
    }

    /// Bytes of the packet in this buffer.
    #[inline]
    pub(crate) fn len(self) -> u16 {
        self.0 as u16
    }

    /// Where they start in the buffer.
    #[inline]
    pub(crate) fn start(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Whether the next entry belongs to the same packet.
    #[inline]
    pub(crate) fn continues(self) -> bool {
        self.0 & Self::CONTINUES != 0
    }

    /// Whether the entry's first word is an [`Offload`].
    #[inline]
    pub(crate) fn offload(self) -> bool {
        self.0 & Self::OFFLOAD != 0
    }

    /// Whether there is more to it than a place: another part, or an [`Offload`].
    #[inline]
    pub(crate) fn special(self) -> bool {
        self.0 >> 24 != 0
    }

    /// All of it: for a whole packet at the start of its buffer with nothing
    /// special about it, just its length.
    #[inline]
    pub(crate) fn word(self) -> u32 {
        self.0
    }
}

impl<'p> Batch<'p> {
    /// An empty batch that will hold up to [`BATCH_MAX`] buffers of `pool`.
    pub fn new(pool: &'p Pool) -> Self {
        Self::with_limit(pool, BATCH_MAX)
    }

    /// An empty batch that will hold up to `limit` buffers, at least 1 and at
    /// most [`BATCH_MAX`].
    pub fn with_limit(pool: &'p Pool, limit: usize) -> Self {
        Batch {
            pool,
            len: 0,
            limit: limit.clamp(1, BATCH_MAX),
            decoder: Decoder::of::<Nothing>(),
            entries: [Entry::default(); BATCH_MAX],
        }
    }

    /// Changes how many buffers it will hold; those that it holds stay.
    #[inline]
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.clamp(1, BATCH_MAX);
    }

    /// The pool its buffers come from.
    #[inline]
    pub fn pool(&self) -> &'p Pool {
        self.pool
    }

    /// Entries held: packets, if none spans buffers.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries it can still take.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len)
    }

    /// Entry `i`'s bytes: a whole frame without FCS, or the part of one in this buffer.
    ///
    /// # Panics
    /// If `i` is not below [`Batch::len`].
    #[inline]
    pub fn frame(&self, i: usize) -> &[u8] {
        let (pointer, len) = self.place(i);
        // SAFETY: place is inside the buffer, which this entry owns; &self bars
        // writing to it through the batch.
        unsafe { std::slice::from_raw_parts(pointer, len) }
    }

    /// Entry `i`'s bytes, to change.
    ///
    /// # Panics
    /// If `i` is not below [`Batch::len`].
    #[inline]
    pub fn frame_mut(&mut self, i: usize) -> &mut [u8] {
        let (pointer, len) = self.place(i);
        // SAFETY: as in frame, and &mut self bars any other view of it.
        unsafe { std::slice::from_raw_parts_mut(pointer, len) }
    }

    /// First byte and length of entry `i`, cut to its buffer whatever the device said.
    #[inline]
    fn place(&self, i: usize) -> (*mut u8, usize) {
        let Entry { buffer, span, .. } = self.entries()[i];
        let start = usize::from(span.start());
        let len = usize::from(span.len()).min(BUFFER_SIZE - start);
        // SAFETY: start is at most 255, within the buffer.
        (unsafe { self.pool.pointer(buffer).as_ptr().add(start) }, len)
    }

    /// Whether entry `i + 1` is a further part of entry `i`'s frame.
    #[inline]
    pub fn continues(&self, i: usize) -> bool {
        self.entries[i].span.continues()
    }

    /// Each entry's bytes.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len).map(|i| self.frame(i))
    }

    /// Calls `f` on each entry's bytes.
    #[inline]
    pub fn for_each_mut(&mut self, mut f: impl FnMut(&mut [u8])) {
        for i in 0..self.len {
            f(self.frame_mut(i));
        }
    }

    /// What the device said of the packet that *ends* in entry `i`.
    pub fn meta(&self, i: usize) -> Meta {
        (self.decoder.one)(&self.raw(&self.entries()[i]))
    }

    /// Writes down what the device said of every packet, in one pass: for who
    /// wants all of it, of all of them. Returns what was written, one an entry;
    /// for a frame of several buffers it is in the entry in which the frame ends.
    #[inline]
    pub fn headers<'h>(&self, into: &'h mut [Header; BATCH_MAX]) -> &'h [Header] {
        (self.decoder.all)(self, into);
        &into[..self.len]
    }

    /// What there is to decode of an entry of this batch.
    #[inline(always)]
    fn raw(&self, entry: &Entry) -> RawMeta<'_> {
        let Entry { buffer, span, words } = *entry;
        let end = (usize::from(span.start()) + usize::from(span.len())).min(BUFFER_SIZE);
        // SAFETY: the whole buffer is inside the pool and owned by this entry.
        let buffer = unsafe { std::slice::from_raw_parts(self.pool.pointer(buffer).as_ptr(), BUFFER_SIZE) };
        RawMeta { words, before: &buffer[..usize::from(span.start())], after: &buffer[end..] }
    }

    /// Appends an empty buffer as a frame of `len` bytes whose content is
    /// whatever the buffer last held. `None` if the batch is full, the pool is
    /// empty, or `len` exceeds [`BUFFER_SIZE`].
    #[inline]
    pub fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.room() == 0 || len > BUFFER_SIZE {
            return None;
        }
        let i = self.len;
        self.entries[i].buffer = self.pool.take()?;
        self.entries[i].span = Span::new(0, len as u16, false);
        self.len += 1;
        Some(self.frame_mut(i))
    }

    /// Appends a copy of `frame`, over several entries if it needs them.
    /// Appends nothing and returns false if it does not fit.
    pub fn push_frame(&mut self, frame: &[u8]) -> bool {
        let parts = frame.len().div_ceil(BUFFER_SIZE);
        if parts > self.room() || parts > self.pool.available() || parts == 0 {
            return false;
        }
        for (n, part) in frame.chunks(BUFFER_SIZE).enumerate() {
            let Some(buffer) = self.push(part.len()) else {
                return false;
            };
            buffer.copy_from_slice(part);
            self.entries[self.len - 1].span = Span::new(0, part.len() as u16, n + 1 < parts);
        }
        true
    }

    /// Asks the card to do `offload` on the frame that *starts* in entry `i`.
    pub fn set_offload(&mut self, i: usize, offload: Offload) {
        assert!(i < self.len);
        self.entries[i].span.0 |= Span::OFFLOAD;
        self.entries[i].words[0] = offload.pack();
    }

    /// Gives the buffers from entry `keep` on back to the pool.
    pub fn truncate(&mut self, keep: usize) {
        if keep < self.len {
            self.pool.give_many(self.entries[keep..self.len].iter().map(|entry| entry.buffer));
            self.len = keep;
        }
    }

    /// Gives all buffers back to the pool.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    // ---- for the drivers ----

    /// What it holds.
    #[inline]
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries[..self.len]
    }

    /// All entries; those from [`Batch::len`] on are free to be filled in.
    #[inline]
    pub(crate) fn entries_mut(&mut self) -> &mut [Entry; BATCH_MAX] {
        &mut self.entries
    }

    /// Says that entries up to `len` are now filled in, each with a buffer that
    /// nothing else owns, and how their words are to be read. `len` may exceed
    /// the limit for the sake of one frame that has more parts than that.
    #[inline]
    pub(crate) fn filled(&mut self, len: usize, decoder: Decoder) {
        debug_assert!(len <= BATCH_MAX);
        self.len = len.min(BATCH_MAX);
        self.decoder = decoder;
    }

    /// Forgets the first `n` entries, whose buffers a ring now owns.
    #[inline]
    pub(crate) fn taken(&mut self, n: usize) {
        let left = self.len - n.min(self.len);
        if left > 0 && n > 0 {
            self.entries.copy_within(n..self.len, 0);
        }
        self.len = left;
    }

    /// Lengthens entry `i` to `len` bytes with zeroes, if it is shorter and
    /// there is room behind it.
    pub(crate) fn pad(&mut self, i: usize, len: usize) {
        let had = self.frame(i).len();
        let span = &mut self.entries[i].span;
        if had < len && usize::from(span.start()) + len <= BUFFER_SIZE {
            span.0 = span.0 & !0xffff | len as u32;
            self.frame_mut(i)[had..].fill(0);
        }
    }

    /// Writes `bytes` right before entry `i`'s frame, where its buffer has room.
    ///
    /// # Panics
    /// If the frame starts closer to the buffer's start than that.
    #[inline]
    pub(crate) fn prepend<const N: usize>(&mut self, i: usize, bytes: [u8; N]) {
        let Entry { buffer, span, .. } = self.entries()[i];
        let start = usize::from(span.start());
        assert!(start >= N);
        // SAFETY: start is at most 255, so the N bytes before it are in the
        // buffer, which this entry owns.
        unsafe { self.pool.pointer(buffer).as_ptr().add(start - N).cast::<[u8; N]>().write_unaligned(bytes) };
    }

    /// Takes the VLAN tag out of the frame that starts in entry `i`, if there is
    /// one: its tag control information.
    pub(crate) fn take_tag(&mut self, i: usize) -> Option<u16> {
        let frame = self.frame_mut(i);
        let tci = match *frame.get(12..16)? {
            [0x81, 0x00, a, b] | [0x88, 0xa8, a, b] => u16::from_be_bytes([a, b]),
            _ => return None,
        };
        let start = self.entries[i].span.start().checked_add(4)?;
        self.frame_mut(i).copy_within(..12, 4);
        let span = self.entries[i].span;
        self.entries[i].span = Span(span.0 & 0xff00_0000 | u32::from(start) << 16 | u32::from(span.len() - 4));
        Some(tci)
    }

    /// Puts a VLAN tag behind the addresses of the frame that starts in entry
    /// `i`; false if it is too short or its buffer has no room.
    pub(crate) fn insert_tag(&mut self, i: usize, tci: u16) -> bool {
        const TAG: usize = 4;
        const ADDRESSES: usize = 12;
        let (len, span) = (self.frame(i).len(), self.entries()[i].span);
        let flags = span.0 & !0xff_ffff;
        let start = usize::from(span.start());
        let forward = start >= TAG;
        if len < ADDRESSES || !forward && start + len + TAG > BUFFER_SIZE {
            return false;
        }
        let start = if forward { start - TAG } else { start };
        self.entries[i].span = Span(Span::new(start as u8, (len + TAG) as u16, false).0 | flags);
        let frame = self.frame_mut(i);
        if forward {
            frame.copy_within(TAG..TAG + ADDRESSES, 0);
        } else {
            frame.copy_within(ADDRESSES..len, ADDRESSES + TAG);
        }
        let [a, b] = tci.to_be_bytes();
        frame[ADDRESSES..ADDRESSES + TAG].copy_from_slice(&[0x81, 0x00, a, b]);
        true
    }

    /// The offload asked for on entry `i`, if any.
    #[inline]
    pub(crate) fn offload(&self, i: usize) -> Option<Offload> {
        self.entries[i].span.offload().then(|| Offload::unpack(self.entries[i].words[0]))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} of {})", self.len, self.limit)
    }
}

/// What a device wrote about a packet, undecoded.
pub struct RawMeta<'a> {
    /// The words of its write-back or completion.
    pub words: [u64; 2],
    /// The buffer before the frame, where some cards write a prefix.
    pub before: &'a [u8],
    /// The buffer after the frame, where some cards append a timestamp.
    pub after: &'a [u8],
}

/// How a family's words are decoded.
pub trait Decode: 'static {
    /// What they say, but for the length, which stays 0. Without branches, if that can be.
    fn header(raw: &RawMeta<'_>) -> Header;

    /// When the packet came, if the card has a clock for that.
    fn timestamp(_: &RawMeta<'_>) -> Option<Timestamp> {
        None
    }
}

/// A [`Decode`], chosen when a port is opened.
#[derive(Clone, Copy)]
pub struct Decoder {
    one: fn(&RawMeta<'_>) -> Meta,
    all: fn(&Batch<'_>, &mut [Header; BATCH_MAX]),
}

impl Decoder {
    /// That decodes as `D` does.
    pub const fn of<D: Decode>() -> Self {
        Decoder { one: decode::<D>, all: decode_all::<D> }
    }

    /// What the words say.
    pub fn decode(self, raw: &RawMeta<'_>) -> Meta {
        (self.one)(raw)
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

fn decode<D: Decode>(raw: &RawMeta<'_>) -> Meta {
    D::header(raw).meta(D::timestamp(raw))
}

/// A loop of each family's own, so that its decoding is a part of it.
fn decode_all<D: Decode>(batch: &Batch<'_>, into: &mut [Header; BATCH_MAX]) {
    for (entry, header) in batch.entries().iter().zip(into) {
        *header = Header { len: entry.span.len(), ..D::header(&batch.raw(entry)) };
    }
}

/// Of devices that say nothing.
pub struct Nothing;

impl Decode for Nothing {
    #[inline(always)]
    fn header(_: &RawMeta<'_>) -> Header {
        Header::default()
    }
}

/// What a device said of a received packet, in 12 bytes ([`Batch::headers`]).
/// Timestamps are not in it ([`Batch::meta`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// RSS hash, if the flags say so.
    pub rss_hash: u32,
    /// Bytes in this buffer.
    pub len: u16,
    /// VLAN tag control information that was taken out, if the flags say so.
    pub vlan: u16,
    /// What there is, and the verdict on the checksums.
    pub flags: u32,
}

impl Header {
    /// In [`Header::flags`]: `rss_hash` is a hash.
    pub const HASHED: u32 = 1 << 0;
    /// A tag was taken out.
    pub const TAGGED: u32 = 1 << 1;
    /// The IPv4 header's checksum is right, or wrong.
    pub const IP_GOOD: u32 = 1 << 2;
    /// See [`Header::IP_GOOD`].
    pub const IP_BAD: u32 = 1 << 3;
    /// The checksum of TCP, UDP or SCTP is right, or wrong.
    pub const L4_GOOD: u32 = 1 << 4;
    /// See [`Header::L4_GOOD`].
    pub const L4_BAD: u32 = 1 << 5;
    /// A filter chose the queue.
    pub const FILTERED: u32 = 1 << 6;

    /// The same as [`Meta`] has it, but for the timestamp.
    #[inline(always)]
    pub(crate) fn of(meta: &Meta) -> Self {
        let when = |is: bool, flag: u32| if is { flag } else { 0 };
        let verdict = |c, good, bad| when(c == Checksum::Good, good) | when(c == Checksum::Bad, bad);
        Header {
            rss_hash: meta.rss_hash.unwrap_or(0),
            len: 0,
            vlan: meta.vlan.unwrap_or(0),
            flags: when(meta.rss_hash.is_some(), Self::HASHED)
                | when(meta.vlan.is_some(), Self::TAGGED)
                | verdict(meta.checksums.ip, Self::IP_GOOD, Self::IP_BAD)
                | verdict(meta.checksums.l4, Self::L4_GOOD, Self::L4_BAD)
                | when(meta.filtered, Self::FILTERED),
        }
    }

    /// The same as [`Meta`].
    fn meta(self, timestamp: Option<Timestamp>) -> Meta {
        let is = |flag: u32| self.flags & flag != 0;
        let verdict = |good, bad| match (is(good), is(bad)) {
            (_, true) => Checksum::Bad,
            (true, false) => Checksum::Good,
            (false, false) => Checksum::Unknown,
        };
        Meta {
            rss_hash: is(Self::HASHED).then_some(self.rss_hash),
            vlan: is(Self::TAGGED).then_some(self.vlan),
            checksums: Checksums { ip: verdict(Self::IP_GOOD, Self::IP_BAD), l4: verdict(Self::L4_GOOD, Self::L4_BAD) },
            timestamp,
            filtered: is(Self::FILTERED),
        }
    }
}

/// What a device said about a received packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// RSS hash, if the card computed one.
    pub rss_hash: Option<u32>,
    /// VLAN tag control information, if the card took a tag out of the frame.
    pub vlan: Option<u16>,
    /// The card's verdict on the checksums.
    pub checksums: Checksums,
    /// When the card received it, if it has a clock for that.
    pub timestamp: Option<Timestamp>,
    /// Whether a filter (5-tuple, flow director) chose the queue.
    pub filtered: bool,
}

/// The card's verdict on one checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Not looked at.
    #[default]
    Unknown,
    /// Right.
    Good,
    /// Wrong.
    Bad,
}

/// The card's verdict on a packet's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// IPv4 header.
    pub ip: Checksum,
    /// TCP, UDP or SCTP.
    pub l4: Checksum,
}

/// A time that a card's clock put on a packet, since that clock's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub Duration);

/// What a card is asked to do to a frame it sends. Lengths in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Length of the Ethernet header with any VLAN tags, at most 127.
    pub l2_len: u8,
    /// Length of the IP header with options or extensions, at most 511.
    pub l3_len: u16,
    /// Fill in the IPv4 header checksum.
    pub ip_checksum: bool,
    /// Fill in the transport checksum; the field must hold the checksum of the
    /// pseudo-header.
    pub l4_checksum: Option<L4>,
    /// The packet is IPv6.
    pub ipv6: bool,
    /// Put this VLAN tag control information into the frame.
    pub vlan: Option<u16>,
}

/// A transport protocol whose checksum a card can fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Offload {
    fn pack(self) -> u64 {
        let l4 = match self.l4_checksum {
            None => 0,
            Some(L4::Tcp) => 1,
            Some(L4::Udp) => 2,
            Some(L4::Sctp) => 3,
        };
        u64::from(self.l2_len & 0x7f)
            | u64::from(self.l3_len & 0x1ff) << 8
            | u64::from(self.ip_checksum) << 20
            | u64::from(self.ipv6) << 21
            | l4 << 22
            | self.vlan.map_or(0, |tci| 1 << 24 | u64::from(tci) << 32)
    }

    fn unpack(word: u64) -> Self {
        Offload {
            l2_len: (word & 0x7f) as u8,
            l3_len: (word >> 8 & 0x1ff) as u16,
            ip_checksum: word >> 20 & 1 != 0,
            ipv6: word >> 21 & 1 != 0,
            l4_checksum: match word >> 22 & 3 {
                1 => Some(L4::Tcp),
                2 => Some(L4::Udp),
                3 => Some(L4::Sctp),
                _ => None,
            },
            vlan: (word >> 24 & 1 != 0).then_some((word >> 32) as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Addressing;

    #[test]
    fn a_tag_goes_behind_the_addresses_wherever_there_is_room() {
        let pool = Pool::new(8, Addressing::Translated).unwrap();
        let mut batch = Batch::new(&pool);
        for (start, len) in [(0_u8, 60_u16), (12, 60), (12, 2036)] {
            batch.push(2048).unwrap().fill(0xee);
            let i = batch.len() - 1;
            batch.entries[i].span = Span::new(start, len, false);
            let before: Vec<u8> = (0..len).map(|n| n as u8).collect();
            batch.frame_mut(i).copy_from_slice(&before);
            assert!(batch.insert_tag(i, 0x6005));
            let after = [&before[..12], &[0x81, 0, 0x60, 5], &before[12..]].concat();
            assert_eq!(batch.frame(i), after, "start {start}");
        }
        batch.push(2048).unwrap();
        assert!(!batch.insert_tag(3, 1), "no room");
        batch.push(11).unwrap();
        assert!(!batch.insert_tag(4, 1), "no addresses");
    }

    #[test]
    fn a_dropped_batch_gives_everything_back() {
        let pool = Pool::new(128, Addressing::Translated).unwrap();
        let all = pool.available();
        let mut batch = Batch::with_limit(&pool, 8);
        assert!(batch.push_frame(&[7; 5000]));
        assert_eq!((batch.len(), batch.room()), (3, 5));
        assert!(batch.continues(0) && batch.continues(1) && !batch.continues(2));
        assert_eq!(batch.frames().map(<[u8]>::len).sum::<usize>(), 5000);
        assert!(!batch.push_frame(&[0; 6 * BUFFER_SIZE]), "no room for six");
        assert!(batch.push(BUFFER_SIZE + 1).is_none());
        batch.taken(1);
        assert_eq!(pool.available(), all - 3, "a taken buffer belongs to the ring");
        drop(batch);
        assert_eq!(pool.available(), all - 1);
    }

    #[test]
    fn an_empty_pool_fills_no_batch() {
        let pool = Pool::new(1, Addressing::Translated).unwrap();
        let mut batches: Vec<Batch<'_>> = Vec::new();
        while pool.available() > 0 {
            let mut batch = Batch::new(&pool);
            while batch.push(60).is_some() {}
            batches.push(batch);
        }
        assert!(Batch::new(&pool).push(60).is_none());
        assert!(!Batch::new(&pool).push_frame(&[0; 60]));
    }

    #[test]
    fn a_tag_goes_in_and_comes_out_wherever_the_frame_starts() {
        let pool = Pool::new(4, Addressing::Translated).unwrap();
        let mut batch = Batch::new(&pool);
        let plain: Vec<u8> = (0..60).collect();
        for start in [0, 14] {
            batch.clear();
            assert!(batch.push_frame(&plain));
            batch.entries[0].span = Span::new(start, 60, false);
            batch.frame_mut(0).copy_from_slice(&plain);
            assert_eq!(batch.take_tag(0), None);
            assert!(batch.insert_tag(0, 0x2064));
            let frame = batch.frame(0);
            assert_eq!(
                (&frame[..12], &frame[12..16], &frame[16..]),
                (&plain[..12], &[0x81, 0, 0x20, 0x64][..], &plain[12..])
            );
            assert_eq!(batch.take_tag(0), Some(0x2064));
            assert_eq!(batch.frame(0), plain);
        }
        batch.entries[0].span = Span::new(0, BUFFER_SIZE as u16, false);
        assert!(!batch.insert_tag(0, 1), "no room");
    }

    #[test]
    fn a_length_beyond_the_buffer_is_cut() {
        let pool = Pool::new(4, Addressing::Translated).unwrap();
        let mut batch = Batch::new(&pool);
        batch.push(60);
        batch.entries[0].span = Span::new(200, u16::MAX, false);
        assert_eq!(batch.frame(0).len(), BUFFER_SIZE - 200);
        assert_eq!(batch.meta(0), Meta::default());
    }

    #[test]
    fn an_offload_survives_its_word() {
        let all = Offload {
            l2_len: 18,
            l3_len: 60,
            ip_checksum: true,
            l4_checksum: Some(L4::Udp),
            ipv6: false,
            vlan: Some(0xefff),
        };
        let sctp = Offload { l4_checksum: Some(L4::Sctp), ipv6: true, l3_len: 511, l2_len: 127, ..Offload::default() };
        for offload in [all, sctp, Offload::default(), Offload { vlan: Some(0), ..all }] {
            assert_eq!(Offload::unpack(offload.pack()), offload);
        }
    }
}
