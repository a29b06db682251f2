//! Chunks: what records are put into on their way to the file.

use super::CHUNK;
use crate::dma::Lot;
use memmap2::MmapMut;
use std::io;
use std::ops::{Deref, DerefMut};

/// Records on their way.
#[derive(Debug)]
pub(super) struct Chunk {
    room: Room,
    /// Bytes of it that are in use.
    len: usize,
    /// How many records; none in what a file ends with.
    pub(super) records: u64,
    /// The recorder that it goes back to.
    pub(super) of: usize,
}

/// Memory of a chunk.
#[derive(Debug)]
enum Room {
    /// A page of it is taken when it is used first.
    Small(MmapMut),
    /// There from the beginning.
    Huge(Lot),
    /// What a file ends with.
    End(Vec<u8>),
}

impl Deref for Room {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Room::Small(room) => room,
            Room::Huge(room) => room,
            Room::End(bytes) => bytes,
        }
    }
}

impl DerefMut for Room {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Room::Small(room) => room,
            Room::Huge(room) => room,
            Room::End(bytes) => bytes,
        }
    }
}

impl Chunk {
    /// One with nothing in it, of recorder `of`, in memory that is taken as far as it is used.
    pub(super) fn new(of: usize) -> io::Result<Self> {
        Ok(Chunk { room: Room::Small(MmapMut::map_anon(CHUNK)?), len: 0, records: 0, of })
    }

    /// The same in memory that is there already.
    pub(super) fn within(lot: Lot, of: usize) -> Self {
        Chunk { room: Room::Huge(lot), len: 0, records: 0, of }
    }

    /// The last one: what a file ends with.
    pub(super) fn of_end(bytes: Vec<u8>, of: usize) -> Self {
        Chunk { len: bytes.len(), room: Room::End(bytes), records: 0, of }
    }

    /// What is in it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    /// How many bytes are in it.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Has `fill` put a record of `len` bytes into it; one for which there is no room is not taken.
    #[inline]
    pub(super) fn add(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        let end = self.len + len;
        let Some(room) = self.room.get_mut(self.len..end) else { return false };
        fill(room);
        self.len = end;
        self.records += 1;
        true
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        (self.len, self.records) = (0, 0);
    }
}
