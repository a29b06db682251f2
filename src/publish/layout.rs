//! What lies where in the memory of a ring; `bmnic_ring.h` says the same in C.
//!
//! ```text
//!   0      control: words of 8 bytes in the processor's order
//!   4096   block 0 | block 1 | ... | block N-1
//!
//!   record   word 0    bytes kept, bits 31:0; bytes on the wire, bits 63:32
//!            word 1    sequence number, from 0
//!            word 2    time, ns since 1970
//!            word 3... the bytes kept, padded to whole words
//! ```
//!
//! A record lies in one block, and a block begins with a record. Where the next one does
//! not fit, word 0 of the rest is [`SKIP`], unless nothing is left.
//!
//! Positions count words that were ever written, skipped ones too: position `p` is in
//! the block of number `p / block`, which lies at `p / block % blocks`.

/// First word of the memory.
pub const MAGIC: u64 = u64::from_le_bytes(*b"bmnicrng");
/// Second word. Another version is another layout.
pub const VERSION: u64 = 1;
/// Bytes in front of the first block.
pub const CONTROL: usize = 4096;
/// Words of a record in front of its bytes.
pub const HEADER: usize = 3;
/// Word 0 where the rest of a block is left out.
pub const SKIP: u64 = u64::MAX;

/// Words of the control page.
pub mod word {
    /// [`super::MAGIC`]
    pub const MAGIC: usize = 0;
    /// [`super::VERSION`]
    pub const VERSION: usize = 1;
    /// Words in a block.
    pub const BLOCK: usize = 2;
    /// Blocks.
    pub const BLOCKS: usize = 3;
    /// Bytes kept of a packet, at most.
    pub const SNAPLEN: usize = 4;
    /// Process id of the publisher, in its own namespace.
    pub const PID: usize = 5;
    /// When it began, ns since 1970.
    pub const START: usize = 6;
    /// [`State`](super::State), in a line of its own like the following two.
    pub const STATE: usize = 16;
    /// Number of the latest block that the publisher began to write to.
    pub const OPENED: usize = 32;
    /// Position up to which records are whole.
    pub const HEAD: usize = 48;
    /// What packets come from: text, ended by a zero.
    pub const SOURCE: usize = 128;
    /// Words of that text.
    pub const SOURCE_WORDS: usize = 32;
}

/// What the publisher says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// More may come, if it lives.
    Running = 0,
    /// It has ended as it was to.
    Ended = 1,
    /// It has ended by a fault of its own.
    Failed = 2,
}

/// Blocks of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Words in a block.
    pub block: usize,
    /// Blocks, two at least.
    pub blocks: usize,
    /// Bytes kept of a packet, at most what a block holds.
    pub most: usize,
}

impl Shape {
    /// Of `size` bytes of memory: some 64 blocks of 64 KiB to 1 MiB, or more of 1 MiB.
    pub fn of(size: u64, snaplen: usize) -> Shape {
        let room = size as usize - CONTROL;
        let bytes = (1_usize << (size / 64).max(1).ilog2()).clamp(64 << 10, 1 << 20);
        let block = bytes / 8;
        Shape { block, blocks: room / bytes, most: snaplen.min(Shape::longest(block)) }
    }

    /// What a memory of `size` bytes says of itself, if that can be.
    pub fn checked(block: u64, blocks: u64, most: u64, size: u64) -> Option<Shape> {
        let bytes = block.checked_mul(blocks)?.checked_mul(8)?.checked_add(CONTROL as u64)?;
        let fits = blocks >= 2 && block > HEADER as u64 && bytes <= size;
        let most = usize::try_from(most).ok()?;
        let shape = Shape { block: block as usize, blocks: blocks as usize, most };
        (fits && most <= Shape::longest(shape.block)).then_some(shape)
    }

    /// Bytes of the longest packet that such a block holds.
    const fn longest(block: usize) -> usize {
        8 * (block - HEADER)
    }
}
