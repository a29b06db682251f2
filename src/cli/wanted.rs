//! Which frames of a batch a filter wants.

use crate::dma::{BATCH_MAX, Batch};
use crate::packet::Filter;
use std::ops::Range;

/// The entry behind the frame that starts in entry `first`.
#[inline]
pub fn end_of(batch: &Batch<'_>, first: usize) -> usize {
    let mut end = first + 1;
    while end < batch.len() && batch.continues(end - 1) {
        end += 1;
    }
    end
}

/// Whether the frame in these entries matches, in however many buffers it lies.
#[inline]
pub fn matches(filter: &Filter, batch: &Batch<'_>, entries: Range<usize>) -> bool {
    if entries.len() == 1 {
        let frame = batch.frame(entries.start);
        return filter.matches(frame, frame.len());
    }
    let mut parts: [&[u8]; BATCH_MAX] = [&[]; BATCH_MAX];
    let (mut len, count) = (0, entries.len());
    for (part, i) in parts.iter_mut().zip(entries) {
        *part = batch.frame(i);
        len += part.len();
    }
    filter.matches_parts(&parts[..count], len)
}
