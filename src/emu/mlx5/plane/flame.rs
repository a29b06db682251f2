//! Entries that come with their doorbell (BlueFlame), by stores that the driver's
//! processor combines.
//!
//! ```text
//!   register      | half 0                              | half 1      |  2^log_bf_reg_size
//!   a half        | control | Ethernet | data ... | not stored to     |
//!                   64 bytes and all segments: an entry; less: a doorbell
//! ```
//!
//! The register is memory here, and memory does not tell where a store ends. So a word
//! that was not stored to holds a mark. An entry without marks was stored whole if its
//! half was empty when all before it was known; if not, words of an older one may still
//! be among its own, and it is taken for one only if it is as in the ring. What does not
//! become an entry is a doorbell after some looks.
//!
//! A driver that begins in one half before all of the other has been stored spoils both.

use super::super::super::{Board, polled};
use super::Plane;
use super::doorbell::{PAGE, SEND};
use super::wqe::{BLOCK, Ctrl};
use crate::pci::Page;
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a word holds that was not stored to: no entry begins like this, and one with
/// such a word in it is read from memory.
const MARK: u32 = 0x9d3c_5ae7;

/// Looks at less than an entry until it is all that was stored.
const LOOKS: u32 = 32;

/// A register that entries are stored into, as memory.
pub struct Register {
    page: Page,
    uar: u32,
    at: usize,
    /// Bytes of a half.
    half: usize,
    /// The queue that stored an entry last.
    queue: Option<u32>,
    seen: [Seen; 2],
    /// Whether its holder is still there.
    held: Weak<()>,
}

/// What a half held at the last look.
#[derive(Clone, Copy, Default)]
struct Seen {
    first: u32,
    stored: usize,
    /// How often it was looked at.
    looks: u32,
    /// It was empty when the queue's next position was this.
    empty_at: Option<u16>,
    /// Marks were put into it while it was stored to.
    torn: bool,
}

impl Register {
    fn words(&self, half: usize) -> &[AtomicU32] {
        &self.page[(self.at + half * self.half) / 4..][..self.half / 4]
    }

    /// What was stored into a half since it was taken, up to the first mark.
    #[inline]
    fn stored(&self, half: usize) -> Vec<u8> {
        let words = self.words(half);
        let first = words[0].load(Ordering::Acquire);
        if first == MARK {
            return Vec::new();
        }
        let all = words.iter().map(|word| word.load(Ordering::Acquire));
        let bytes = all.take_while(|word| *word != MARK).flat_map(u32::to_le_bytes).collect();
        // Another one that has begun meanwhile is for the next look.
        if words[0].load(Ordering::Acquire) == first { bytes } else { Vec::new() }
    }

    /// Nothing is stored in a half, and `next` is the queue's next position.
    #[inline]
    fn idle(&mut self, half: usize, next: u16) {
        if self.seen[half].empty_at != Some(next) {
            let empty = self.words(half).iter().skip(2).all(|word| word.load(Ordering::Acquire) == MARK);
            let empty = empty && self.words(half)[0].load(Ordering::Acquire) == MARK;
            self.seen[half].empty_at = empty.then_some(next);
        }
    }

    /// Takes what is in a half. If more comes at the same moment, that is for the next look.
    fn take(&mut self, half: usize, first: u32) {
        let words = self.words(half);
        words[2..].iter().rev().for_each(|word| word.store(MARK, Ordering::Relaxed));
        // Its second word is never without the first, as one store has both.
        let torn = words[0].compare_exchange(first, MARK, Ordering::AcqRel, Ordering::Relaxed).is_err();
        self.seen[half] = Seen { torn, ..Seen::default() };
    }

    /// Takes note of a look; how many there were at the same.
    fn look(&mut self, half: usize, bytes: &[u8]) -> u32 {
        let seen = &mut self.seen[half];
        let (first, stored) = (first(bytes), bytes.len());
        if (seen.first, seen.stored) != (first, stored) {
            *seen = Seen { first, stored, looks: 0, ..*seen };
        }
        seen.looks += 1;
        seen.looks
    }

    /// Whether an entry was begun in this half, and not stored to its end.
    fn is_begun(&self, half: usize) -> bool {
        let bytes = self.stored(half);
        bytes.len() > 8 && bytes.len() < length(&bytes).min(self.half) && !self.seen[half].torn
    }

    /// Whether both halves are stored to at the same time.
    fn is_mixed(&self) -> bool {
        // What was begun before and after is begun meanwhile.
        self.is_begun(0) && self.is_begun(1) && self.is_begun(0)
    }

    fn waits(&self) -> bool {
        (0..2).any(|half| !self.stored(half).is_empty())
    }
}

/// First word of an entry.
fn first(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(MARK, |word| u32::from_le_bytes(*word))
}

/// Bytes that are stored of an entry: whole blocks.
fn length(bytes: &[u8]) -> usize {
    BLOCK * usize::from(Ctrl::of(bytes).blocks())
}

/// Such registers.
#[derive(Default)]
pub struct Registers(Vec<Register>);

impl Registers {
    /// What nobody looked at is lost.
    pub fn clear(&mut self) {
        for register in &mut self.0 {
            for half in 0..2 {
                let bytes = register.stored(half);
                register.take(half, first(&bytes));
            }
            register.queue = None;
        }
    }
}

impl Plane {
    /// Memory for the register at `at` of a UAR page: a page that stands for it, and which
    /// word of it is the register's first.
    pub fn combined(&mut self, uar: u32, at: u16) -> Option<(Page, usize)> {
        let (at, half) = (usize::from(at), usize::from(self.buffer()));
        let inside = at >= usize::from(SEND) && at.is_multiple_of(2 * half) && at + 2 * half <= PAGE;
        if uar < super::FIRST_UAR || half < BLOCK || !inside {
            return None;
        }
        let page = Page::row(1)[0].clone();
        page.iter().for_each(|word| word.store(MARK, Ordering::Relaxed));
        let (lent, held) = page.lend();
        let registers = &mut self.bells.registers.0;
        registers.retain(|register| !polled::is_left(&register.held) || register.waits());
        let seen = [Seen { empty_at: Some(0), ..Seen::default() }; 2];
        registers.push(Register { page, uar, at, half, queue: None, seen, held });
        Some((lent, at / 4))
    }

    /// Looks at all registers that entries are stored into; how much there was.
    pub(super) fn poll_registers(&mut self, board: &mut Board) -> usize {
        let mut work = 0;
        for n in 0..self.bells.registers.0.len() {
            let register = &mut self.bells.registers.0[n];
            let queue = register.queue.and_then(|queue| self.sqs.get(queue));
            let next = queue.map_or(0, |sq| sq.producer);
            for half in 0..2 {
                let register = &mut self.bells.registers.0[n];
                let bytes = register.stored(half);
                if bytes.len() >= 8 {
                    work += 1;
                    self.came(board, n, half, &bytes);
                } else {
                    register.idle(half, next);
                }
            }
        }
        work
    }

    /// Something was stored.
    fn came(&mut self, board: &mut Board, n: usize, half: usize, bytes: &[u8]) {
        let (ctrl, entry) = (Ctrl::of(bytes), bytes.get(..length(bytes)));
        let in_ring = entry.is_some_and(|entry| self.is_in_ring(board, entry));
        let register = &mut self.bells.registers.0[n];
        let looks = register.look(half, bytes);
        let whole = in_ring || register.seen[half].empty_at == Some(ctrl.index);
        let mixed = entry.is_none() && register.is_mixed();
        if mixed {
            board.violations.note("stores of entries to a UAR page that come mixed");
        }
        let taken = match entry.filter(|_| whole) {
            Some(entry) => entry,
            None if mixed || looks >= LOOKS => &bytes[..8],
            None => return,
        };
        register.take(half, first(bytes));
        register.queue = Some(ctrl.sqn);
        let uar = register.uar;
        self.ring_sq(board, uar, taken);
    }

    /// Whether an entry is as in the ring of its queue.
    fn is_in_ring(&self, board: &Board, entry: &[u8]) -> bool {
        let ctrl = Ctrl::of(entry);
        let Some(sq) = self.sqs.get(ctrl.sqn) else { return false };
        entry.chunks(BLOCK).zip(u32::from(ctrl.index)..).all(|(block, at)| {
            let mut bytes = [0; BLOCK];
            board.bus.memory.read(sq.ring.slot(at), &mut bytes) && bytes == block
        })
    }
}
