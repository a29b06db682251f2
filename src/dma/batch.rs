//! Batches: the packets an application holds.

use super::{BUFFER_SIZE, Decoder, Meta, Nothing, Offload, Pool, RawMeta};
use std::ops::Range;

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

    /// The bytes in the buffer, cut to it whatever the device said.
    #[inline(always)]
    fn range(self) -> Range<usize> {
        let start = usize::from(self.start());
        start..(start + usize::from(self.len())).min(BUFFER_SIZE)
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
        let entry = &self.entries()[i];
        &self.buffer(entry)[entry.span.range()]
    }

    /// Entry `i`'s bytes, to change.
    ///
    /// # Panics
    /// If `i` is not below [`Batch::len`].
    #[inline]
    pub fn frame_mut(&mut self, i: usize) -> &mut [u8] {
        let range = self.entries()[i].span.range();
        &mut self.buffer_mut(i)[range]
    }

    /// Begins to fetch the first bytes of entry `i`, if there is one, from the cache that the
    /// card has written them into.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn fetch(&self, i: usize) {
        let Some(entry) = self.entries().get(i) else { return };
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a hint that reads nothing, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.buffer(entry).as_ptr().cast());
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = entry;
    }

    /// The buffer of an entry that this batch holds.
    #[inline(always)]
    #[allow(unsafe_code)]
    fn buffer(&self, entry: &Entry) -> &[u8; BUFFER_SIZE] {
        // SAFETY: the whole buffer is inside the pool and owned by this entry;
        // &self bars writing to it through the batch.
        unsafe { self.pool.pointer(entry.buffer).cast().as_ref() }
    }

    /// The buffer of entry `i`, to change.
    #[inline(always)]
    #[allow(unsafe_code)]
    fn buffer_mut(&mut self, i: usize) -> &mut [u8; BUFFER_SIZE] {
        // SAFETY: as in buffer, and &mut self bars any other view of it.
        unsafe { self.pool.pointer(self.entries()[i].buffer).cast().as_mut() }
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
        self.decoder.decode(&self.raw(&self.entries()[i]))
    }

    /// Decodes what the device said of every packet, in one pass. Returns it, one an
    /// entry; for a frame of several buffers it is in the entry in which the frame
    /// ends.
    #[inline]
    pub fn metas<'m>(&self, into: &'m mut [Meta; BATCH_MAX]) -> &'m [Meta] {
        self.decoder.decode_all(self, into);
        &into[..self.len]
    }

    /// What there is to decode of an entry that this batch holds.
    #[inline(always)]
    pub(super) fn raw(&self, entry: &Entry) -> RawMeta<'_> {
        let (buffer, Range { start, end }) = (self.buffer(entry), entry.span.range());
        RawMeta { words: entry.words, before: &buffer[..start], after: &buffer[end..] }
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

    /// Keeps the entries whose bit is set in `mask`, bit 0 being that of the first, and gives
    /// the buffers of the others back to the pool. A frame of several entries is to be kept or
    /// left whole.
    pub fn retain(&mut self, mask: u64) {
        const { assert!(BATCH_MAX <= u64::BITS as usize) };
        let mut kept = 0;
        for i in 0..self.len {
            if mask >> i & 1 == 1 {
                self.entries[kept] = self.entries[i];
                kept += 1;
            } else {
                self.pool.give(self.entries[i].buffer);
            }
        }
        self.len = kept;
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

    /// What it holds from entry `from` on, each with the first bytes of its buffer: those
    /// of the frame, if it starts there.
    #[inline(always)]
    pub(crate) fn heads<const N: usize>(&self, from: usize) -> impl ExactSizeIterator<Item = (&Entry, &[u8; N])> {
        const { assert!(N <= BUFFER_SIZE) };
        self.entries()[from..].iter().map(|entry| (entry, self.buffer(entry).first_chunk().unwrap_or(&[0; N])))
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
        self.len = len;
        self.decoder = decoder;
    }

    /// Forgets the first `n` entries, whose buffers a ring now owns.
    #[inline]
    pub(crate) fn taken(&mut self, n: usize) {
        if n >= self.len {
            self.len = 0;
        } else if n > 0 {
            self.entries.copy_within(n..self.len, 0);
            self.len -= n;
        }
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
        let start = usize::from(self.entries()[i].span.start());
        assert!(start >= N);
        self.buffer_mut(i)[start - N..start].copy_from_slice(&bytes);
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
    fn what_is_retained_stays_in_its_order_and_the_rest_goes_back() {
        let pool = Pool::new(128, Addressing::Translated).unwrap();
        let all = pool.available();
        for mask in [0, u64::MAX, 0x8000_0000_0000_0001, 0xaaaa_aaaa_aaaa_aaaa] {
            let mut batch = Batch::new(&pool);
            (0..BATCH_MAX as u8).for_each(|n| assert!(batch.push_frame(&[n; 60])));
            batch.retain(mask);
            let kept: Vec<u8> = (0..BATCH_MAX as u8).filter(|n| mask >> n & 1 == 1).collect();
            assert!(batch.frames().map(|frame| frame[0]).eq(kept.iter().copied()), "{mask:x}");
            assert_eq!(pool.available(), all - kept.len());
        }
        assert_eq!(pool.available(), all);
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
}
