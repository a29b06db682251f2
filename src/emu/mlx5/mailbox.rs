//! What a command carries beyond its queue entry: chains of mailboxes.
//!
//! ```text
//!   entry   the first 16 bytes of a request or an answer
//!     |
//!     v     one block, 512-aligned                      one block
//!   +------------------------------------------+      +-----------
//!   | 0x000  512 bytes of the request or answer |  +-->| the next
//!   | 0x230  next block, 0 at the end ----------|--+   |   512
//!   | 0x238  number: 0, 1, 2, ...               |      |
//!   | 0x23d  token  0x23e, 0x23f signatures     |      |
//!   +------------------------------------------+      +-----------
//! ```
//!
//! A chain may be longer than what it carries. Of a block that is written, token and
//! signatures change, its number and the next stay.

use super::super::Translation;
use super::plane::be;
use crate::dma::Iova;

/// Bytes of a request or an answer that are in the queue entry itself.
pub const INLINE: usize = 16;
/// Bytes of them in a block.
const DATA: usize = 0x200;
/// Bytes of a block.
const BLOCK: usize = 0x240;
const NEXT: usize = 0x230;
const NUMBER: usize = 0x238;
const TOKEN: usize = 0x23d;

/// Whether a command arrived, and its answer can go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Delivery {
    /// It did.
    Fine = 0,
    /// A block has another token than the entry.
    Token = 2,
    /// A block has another number than its place in the chain.
    Number = 3,
    /// The chain for the answer is not where one can be.
    OutputPointer = 4,
    /// The same of the request's.
    InputPointer = 5,
    /// Memory could not be reached.
    Internal = 6,
    /// The request is too short to be one.
    InputLength = 7,
    /// There is no room for an answer.
    OutputLength = 8,
    /// The entry is of no type that is known.
    Type = 0x10,
}

/// Walks a chain for `len` bytes and reads it: what it carries, and where its blocks
/// are.
///
/// # Errors
/// What is wrong with it; `pointer` where it leads nowhere.
pub fn walk(
    memory: &Translation,
    first: Iova,
    len: usize,
    token: u8,
    pointer: Delivery,
) -> Result<(Vec<u8>, Vec<Iova>), Delivery> {
    let count = len.saturating_sub(INLINE).div_ceil(DATA);
    let (mut carried, mut blocks, mut at) = (Vec::new(), Vec::new(), first);
    for number in 0..count {
        if at == 0 || !at.is_multiple_of(DATA as u64) {
            return Err(pointer);
        }
        let mut block = [0; BLOCK];
        if !memory.read(at, &mut block) {
            return Err(Delivery::Internal);
        }
        if be::u32_at(&block, NUMBER) != number as u32 {
            return Err(Delivery::Number);
        }
        if token != 0 && block[TOKEN] != token {
            return Err(Delivery::Token);
        }
        carried.extend_from_slice(&block[..DATA]);
        blocks.push(at);
        at = be::u64_at(&block, NEXT);
    }
    carried.truncate(len.saturating_sub(INLINE));
    Ok((carried, blocks))
}

/// Writes what is behind the first bytes of an answer into those blocks.
pub fn write(memory: &Translation, blocks: &[Iova], answer: &[u8], token: u8) {
    for (&at, data) in blocks.iter().zip(answer.chunks(DATA)) {
        memory.write(at, data);
        memory.write(at + TOKEN as u64, &[token, 0, 0]);
    }
}
