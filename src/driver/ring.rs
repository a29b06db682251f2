//! Descriptor rings: the only place that indexes without a bounds check.

#![allow(unsafe_code)]

use crate::dma::{Descriptor, Region};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use std::sync::atomic::Ordering;

thread_local! {
    static FIRST: Cell<u32> = const { Cell::new(0) };
}

/// Has the positions of the rings that this thread makes from now on begin here, not at 0: for a
/// test that sees them wrap without 2³² packets before. Cards count for themselves, from 0, so
/// it is to be a multiple of what the widest of their counters holds: 2¹⁶, and 2²⁴ of mlx5.
#[doc(hidden)]
pub fn begin_at(position: u32) {
    FIRST.set(position);
}

/// Where the positions of a new ring begin.
pub fn first_position() -> u32 {
    FIRST.get()
}

/// A ring of `D` in device memory, and the index arithmetic on it.
///
/// Its length is a power of two; positions run freely and are masked.
#[derive(Debug)]
pub struct Ring<D> {
    region: Region,
    base: NonNull<D>,
    mask: u32,
    _descriptors: PhantomData<D>,
}

// SAFETY: a ring is a view of its region's atomics.
unsafe impl<D: Send> Send for Ring<D> {}

impl<D: Descriptor> Ring<D> {
    /// The first `len` descriptors of `region`.
    ///
    /// # Panics
    /// If `len` is not a power of two, or the region is too short or unaligned for it.
    pub fn new(region: Region, len: u32) -> Self {
        assert!(len.is_power_of_two() && region.words::<D>().len() >= len as usize);
        let base = region.as_ptr().cast();
        Self { region, base, mask: len - 1, _descriptors: PhantomData }
    }

    /// Descriptors in the ring.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // a ring is never empty
    pub fn len(&self) -> u32 {
        self.mask + 1
    }

    /// `position` as an index.
    #[inline]
    pub fn index(&self, position: u32) -> u32 {
        position & self.mask
    }

    /// The descriptor at `position`.
    #[inline]
    pub fn at(&self, position: u32) -> &D {
        // SAFETY: masked by len - 1, and new checked that len descriptors are there.
        // JUSTIFICATION: a checked index costs 3 to 4 cycles a packet in receive.
        unsafe { &*self.base.as_ptr().add((position & self.mask) as usize) }
    }

    /// The descriptors from `position` to the end of the ring.
    #[inline]
    pub fn to_end(&self, position: u32) -> &[D] {
        let index = position & self.mask;
        // SAFETY: as at, and as many as new checked to be there from the first on.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(index as usize), (self.len() - index) as usize) }
    }

    /// The descriptors as a value, which a loop keeps in registers: see
    /// [`BufferRing::slots`].
    #[inline]
    pub fn view(&self) -> View<'_, D> {
        View { base: self.base, mask: self.mask, _ring: PhantomData }
    }

    /// Address of the first descriptor as the device sees it.
    pub fn iova(&self) -> u64 {
        self.region.iova()
    }

    /// Bytes the ring takes.
    pub fn bytes(&self) -> u32 {
        self.len() * size_of::<D>() as u32
    }
}

/// Descriptors of a [`Ring`], borrowed.
#[derive(Debug)]
pub struct View<'a, D> {
    base: NonNull<D>,
    mask: u32,
    _ring: PhantomData<&'a D>,
}

impl<'a, D: Descriptor> View<'a, D> {
    /// The descriptor at `position`.
    #[inline]
    pub fn at(&self, position: u32) -> &'a D {
        // SAFETY: masked by len - 1; Ring::new checked that len descriptors are there.
        // JUSTIFICATION: as Ring::at.
        unsafe { &*self.base.as_ptr().add((position & self.mask) as usize) }
    }
}

/// The buffers that the descriptors of a ring hold, which only the driver knows:
/// a ring of its own, as long or shorter.
#[derive(Debug)]
pub struct Buffers(Box<[Cell<u32>]>);

impl Buffers {
    /// For `len` descriptors, a power of two.
    pub fn new(len: u32) -> Self {
        assert!(len.is_power_of_two());
        Self(vec![Cell::new(0); len as usize].into())
    }

    /// How many it has room for.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // a ring is never empty
    pub fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// All of them, in the order of the ring.
    #[inline(always)]
    pub fn cells(&self) -> &[Cell<u32>] {
        &self.0
    }

    /// The buffer at `position`.
    #[inline]
    pub fn at(&self, position: u32) -> &Cell<u32> {
        let index = position as usize & (self.0.len() - 1);
        // SAFETY: masked by len - 1, and a power of two is not 0.
        // JUSTIFICATION: as Ring::at.
        unsafe { self.0.get_unchecked(index) }
    }

    /// The buffers from `position`, at most `count`, as the one or two runs they
    /// make in the ring.
    #[inline]
    pub fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]) {
        let start = position as usize & (self.0.len() - 1);
        let count = (count as usize).min(self.0.len());
        let first = count.min(self.0.len() - start);
        (&self.0[start..start + first], &self.0[..count - first])
    }
}

/// A ring of descriptors with the buffer that each of them holds.
#[derive(Debug)]
pub struct BufferRing<D> {
    ring: Ring<D>,
    buffers: Buffers,
}

impl<D: Descriptor> BufferRing<D> {
    /// As [`Ring::new`].
    pub fn new(region: Region, len: u32) -> Self {
        Self { ring: Ring::new(region, len), buffers: Buffers::new(len) }
    }

    /// Descriptors in the ring.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // a ring is never empty
    pub fn len(&self) -> u32 {
        self.ring.len()
    }

    /// `position` as an index.
    #[inline]
    pub fn index(&self, position: u32) -> u32 {
        self.ring.index(position)
    }

    /// The descriptor at `position`.
    #[inline]
    pub fn at(&self, position: u32) -> &D {
        self.ring.at(position)
    }

    /// The buffer of the descriptor at `position`.
    #[inline]
    pub fn buffer(&self, position: u32) -> &Cell<u32> {
        self.buffers.at(position)
    }

    /// Descriptors and buffers as a value, which a loop keeps in registers: the
    /// compiler must read a ring's fields anew after each acquiring load, but
    /// not those of a local.
    #[inline]
    pub fn slots(&self) -> RingView<'_, D> {
        RingView { base: self.ring.base, buffers: &self.buffers.0, mask: self.ring.mask }
    }

    /// As [`Buffers::runs`].
    #[inline]
    pub fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]) {
        self.buffers.runs(position, count)
    }
}

/// Descriptors and buffers of a [`BufferRing`], borrowed.
#[derive(Debug)]
pub struct RingView<'a, D> {
    base: NonNull<D>,
    buffers: &'a [Cell<u32>],
    mask: u32,
}

impl<'a, D: Descriptor> RingView<'a, D> {
    /// The descriptors from `position` on and their buffers, `most` of them or up
    /// to the end of the ring: slices of one length, in which a loop that counts
    /// needs no mask.
    #[inline(always)]
    pub fn run(&self, position: u32, most: usize) -> (&'a [D], &'a [Cell<u32>]) {
        let index = (position & self.mask) as usize;
        let count = most.min(self.mask as usize + 1 - index);
        // SAFETY: as at; count ends where the ring does.
        // JUSTIFICATION: the length was checked when the ring was made.
        unsafe {
            let descriptors = std::slice::from_raw_parts(self.base.as_ptr().add(index), count);
            (descriptors, self.buffers.get_unchecked(index..index + count))
        }
    }

    /// Fetches the line of the descriptor at `position` to be written, while
    /// something else is done.
    #[inline(always)]
    pub fn fetch(&self, position: u32) {
        fetch_to_write(self.base.as_ptr().wrapping_add((position & self.mask) as usize).cast());
    }

    /// The descriptor at `position`, and its buffer.
    #[inline]
    pub fn at(&self, position: u32) -> (&'a D, &'a Cell<u32>) {
        let index = (position & self.mask) as usize;
        // SAFETY: masked by len - 1; BufferRing::new made len of both.
        // JUSTIFICATION: as Ring::at.
        unsafe { (&*self.base.as_ptr().add(index), self.buffers.get_unchecked(index)) }
    }
}

/// Stores both words of a descriptor in one go. Where the card shares the line, stores to it
/// wait until it has come, and of half as many the store buffer holds twice the lines: 2 to 3
/// cycles less a packet each way, with a card on another core.
///
/// Who reads them reads a word that is stored after both, with release: a doorbell, or the
/// index of a virtqueue.
#[inline(always)]
pub fn store_both(words: &[AtomicU64; 2], first: u64, second: u64) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: 16 bytes that may be written through a shared reference, by a store of SSE2,
    // which all of x86-64 has.
    // JUSTIFICATION: compilers do not merge atomic stores.
    unsafe {
        use std::arch::x86_64::{_mm_set_epi64x, _mm_storeu_si128};
        _mm_storeu_si128(words.as_ptr().cast_mut().cast(), _mm_set_epi64x(second as i64, first as i64));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above, by a store of two registers.
    unsafe {
        std::arch::asm!("stp {}, {}, [{}]", in(reg) first, in(reg) second, in(reg) words.as_ptr(), options(nostack, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        words[0].store(first, Ordering::Relaxed);
        words[1].store(second, Ordering::Relaxed);
    }
}

/// Begins to fetch a cache line for writing: in one go, where to read it first
/// and then to write it are two. Whatever the address, nothing else happens.
#[inline(always)]
fn fetch_to_write(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint that touches no memory and no register; processors without it ignore it.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) line, options(readonly, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(readonly, nostack, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = line;
}

/// Positions whose completion was asked for, the last of each group: to look at
/// one of each is enough, as cards complete in order, and each look may fetch a
/// line that the card has just written.
#[derive(Debug)]
pub struct Marks {
    slots: Box<[u32]>,
    first: u32,
    next: u32,
    /// Where the newest group begins.
    begin: u32,
}

impl Marks {
    /// Most positions of a group, unless they were written in one go.
    pub const GROUP: u32 = 32;

    /// None yet, for a ring of `len` (a power of two).
    pub fn new(len: u32) -> Self {
        assert!(len.is_power_of_two());
        Self { slots: vec![0; len as usize].into(), first: 0, next: 0, begin: 0 }
    }

    /// Appends `first..=last`, written in one go: to the newest group if it stays
    /// small, or as one of its own. Of a ring of `len` there are never more.
    #[inline]
    pub fn push(&mut self, first: u32, last: u32) {
        debug_assert!(self.next.wrapping_sub(self.first) < self.slots.len() as u32);
        if self.first == self.next || last.wrapping_sub(self.begin) >= Self::GROUP {
            self.begin = first;
            self.next = self.next.wrapping_add(1);
        }
        let index = self.next.wrapping_sub(1) as usize & (self.slots.len() - 1);
        self.slots[index] = last;
    }

    /// Groups.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // of the groups, whose oldest says as much
    pub fn len(&self) -> u32 {
        self.next.wrapping_sub(self.first)
    }

    /// The last position of the oldest group.
    #[inline]
    pub fn first(&self) -> Option<u32> {
        let index = self.first as usize & (self.slots.len() - 1);
        (self.first != self.next).then(|| self.slots[index])
    }

    /// Forgets the oldest group.
    #[inline]
    pub fn pop(&mut self) {
        self.first = self.first.wrapping_add(u32::from(self.first != self.next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena};
    use proptest::prelude::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn positions_wrap_and_so_do_32_bits() {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let ring: Ring<[AtomicU64; 2]> = Ring::new(Region::new(&arena, 0, 1024), 64);
        ring.at(u32::MAX)[1].store(9, Ordering::Relaxed);
        assert_eq!(ring.at(63)[1].load(Ordering::Relaxed), 9);
        assert_eq!((ring.len(), ring.bytes(), ring.index(64)), (64, 1024, 0));
    }

    #[test]
    fn both_words_of_a_descriptor_are_stored_and_no_others() {
        let words: [[AtomicU64; 2]; 3] = Default::default();
        store_both(&words[1], u64::MAX - 1, 7);
        let read = words.each_ref().map(|pair| pair.each_ref().map(|word| word.load(Ordering::Relaxed)));
        assert_eq!(read, [[0, 0], [u64::MAX - 1, 7], [0, 0]]);
    }

    #[test]
    fn buffers_come_in_the_runs_they_make_in_the_ring() {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let ring: BufferRing<[AtomicU64; 2]> = BufferRing::new(Region::new(&arena, 0, 128), 8);
        for i in 0..8 {
            ring.buffer(i).set(i);
        }
        let runs = |position, count| {
            let (first, rest) = ring.runs(position, count);
            first.iter().chain(rest).map(Cell::get).collect::<Vec<_>>()
        };
        assert_eq!(runs(6, 4), [6, 7, 0, 1]);
        assert_eq!(runs(14, 2), [6, 7]);
        assert_eq!(runs(u32::MAX, 2), [7, 0]);
        assert_eq!(runs(0, 99).len(), 8);
    }

    #[test]
    fn marks_are_the_ends_of_groups() {
        let mut marks = Marks::new(64);
        assert_eq!(marks.first(), None);
        marks.pop();
        // Around the wrap of positions: 32 single ones are a group.
        let start = 0_u32.wrapping_sub(10);
        for n in 0..40 {
            let position = start.wrapping_add(n);
            marks.push(position, position);
        }
        assert_eq!(marks.first(), Some(start.wrapping_add(31)));
        marks.pop();
        assert_eq!(marks.first(), Some(start.wrapping_add(39)));
        // What is written in one go is never cut.
        marks.push(30, 93);
        assert_eq!(marks.first(), Some(start.wrapping_add(39)));
        marks.pop();
        assert_eq!(marks.first(), Some(93));
        marks.pop();
        assert_eq!(marks.first(), None);
        // A group that is over does not grow.
        marks.push(94, 94);
        assert_eq!(marks.first(), Some(94));
    }

    #[test]
    #[should_panic]
    fn a_ring_longer_than_its_region_is_refused() {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let _ = Ring::<[AtomicU64; 2]>::new(Region::new(&arena, 0, 512), 64);
    }

    #[test]
    fn runs_are_those_of_the_positions_one_by_one_where_these_wrap() {
        for len in [1_u32, 2, 4, 8, 16] {
            let buffers = Buffers::new(len);
            (0..len).for_each(|n| buffers.at(n).set(n));
            for (start, count) in (0..3 * len).flat_map(|n| (0..len + 2).map(move |count| (n, count))) {
                let position = start.wrapping_sub(2 * len);
                let (first, rest) = buffers.runs(position, count);
                let runs: Vec<u32> = first.iter().chain(rest).map(Cell::get).collect();
                let one_by_one = (0..count.min(len)).map(|n| buffers.at(position.wrapping_add(n)).get());
                assert!(runs.iter().copied().eq(one_by_one), "{len} {position} {count}: {runs:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn marks_are_the_same_wherever_positions_begin(
            ops in prop::collection::vec((any::<bool>(), 1u32..50), 1..300),
            below in 0u32..3000,
        ) {
            let start = 0_u32.wrapping_sub(below);
            let (mut low, mut high) = (Marks::new(64), Marks::new(64));
            // Their own positions wrap too.
            (high.first, high.next) = (start, start);
            let mut position = 0_u32;
            for (push, count) in ops {
                if push && low.len() < 64 {
                    low.push(position, position + count - 1);
                    high.push(start.wrapping_add(position), start.wrapping_add(position + count - 1));
                    position += count;
                } else {
                    low.pop();
                    high.pop();
                }
                prop_assert_eq!(low.len(), high.len());
                prop_assert_eq!(low.first().map(|mark| start.wrapping_add(mark)), high.first());
            }
        }
    }
}
