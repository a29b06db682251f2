//! Words that stand for a doorbell: its holder stores to them, and the card looks at them now and
//! then. What was stored last counts, with all that the holder wrote before; a store between two
//! looks may go by unseen, if another comes behind it. Loom plays it: `tests/handover_model.rs`.

use crate::sys::word::Word;
use std::sync::Weak;
use std::sync::atomic::{Ordering, fence};

/// What was stored since the last look to a word that holds `nothing` otherwise.
#[inline]
pub fn take(word: &impl Word<u32>, nothing: u32) -> Option<u32> {
    if word.load(Ordering::Relaxed) == nothing {
        return None;
    }
    // <-- acquire: what the holder wrote before
    Some(word.swap(nothing, Ordering::AcqRel))
}

/// The same of 64 bits, which come in one store and are looked at in two halves. No store leaves
/// the upper half zero.
#[inline]
pub fn take_long<W: Word<u32>>(low: &W, high: &W) -> Option<u64> {
    loop {
        let upper = high.load(Ordering::Acquire);
        if upper == 0 {
            return None;
        }
        if high.compare_exchange(upper, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // Stored to meanwhile.
            continue;
        }
        // <-- acquire: the lower half is looked at before the upper one is again
        let lower = low.load(Ordering::Acquire);
        if high.load(Ordering::Acquire) == 0 {
            return Some(u64::from(upper) << 32 | u64::from(lower));
        }
        // The lower half may be of a store behind, which counts in place of this one.
    }
}

/// Whether the holder of these words is gone: what it stored last is to be seen then.
pub fn is_left(holder: &Weak<()>) -> bool {
    let left = holder.strong_count() == 0;
    if left {
        // A holder's last store is no later than its end.
        fence(Ordering::Acquire);
    }
    left
}
