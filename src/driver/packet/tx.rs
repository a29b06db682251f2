//! Sending: a burst is one system call, after which its buffers are free.

use super::counters::Counts;
use super::offload;
use crate::dma::{BATCH_MAX, Batch};
use crate::driver::kernel::{MIN_FRAME, Outlet};
use crate::driver::tally::{Anomaly, Tally};
use crate::sys::packet::socket::{PARTS, Socket};

/// Gives the buffers of the first `entries` back.
fn free(batch: &mut Batch<'_>, entries: usize) {
    batch.pool().give_many(batch.entries()[..entries].iter().map(|entry| entry.buffer));
    batch.taken(entries);
}

/// Entries of the frame that begins the batch; none if it does not end in it.
fn first_frame(batch: &Batch<'_>) -> Option<usize> {
    (0..batch.len()).find(|&i| !batch.continues(i)).map(|last| last + 1)
}

/// Drops the first `entries`, which make a frame that cannot be sent.
fn refuse(batch: &mut Batch<'_>, entries: usize, tally: &Tally, wrong: Anomaly) {
    tally.count(wrong);
    free(batch, entries);
}

/// What a transmit queue writes to is a socket that is bound.
impl Outlet for Socket {
    fn put(&mut self, batch: &mut Batch<'_>, tally: &Tally) -> Counts {
        const { assert!(PARTS >= BATCH_MAX) };
        let all = batch.len();
        let mut start = true;
        for i in 0..all {
            let ends = !batch.continues(i);
            if start && ends {
                batch.pad(i, MIN_FRAME);
            }
            if start && batch.entries()[i].span.offload() {
                offload::fill(batch, i);
            }
            start = ends;
        }
        let mut counts = Counts::default();
        // The last call ended before its last frame, without a word why.
        let mut cut = false;
        while !batch.is_empty() {
            let Some(first) = first_frame(batch) else {
                let rest = batch.len();
                refuse(batch, rest, tally, Anomaly::BadChain);
                break;
            };
            let mut parts: [&[u8]; BATCH_MAX] = [&[]; BATCH_MAX];
            parts.iter_mut().zip(batch.frames()).for_each(|(part, frame)| *part = frame);
            let ends = (0..batch.len()).filter(|&i| !batch.continues(i)).fold(0, |ends, i| ends | 1 << i);
            match self.send(&parts[..batch.len()], ends) {
                Ok(frames) => {
                    let entries = (0..batch.len()).filter(|&i| !batch.continues(i)).nth(frames.saturating_sub(1));
                    let entries = entries.map_or(0, |last| last + 1);
                    counts.packets += frames as u64;
                    counts.bytes += parts[..entries].iter().map(|part| part.len() as u64).sum::<u64>();
                    cut = frames < ends.count_ones() as usize;
                    free(batch, entries);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMSGSIZE | libc::EINVAL) => refuse(batch, first, tally, Anomaly::BadLength),
                    // No carrier, or the other end is full: the interface counts a drop each time.
                    Some(libc::ENOBUFS) => {
                        counts.refused += 1 + u64::from(cut);
                        break;
                    }
                    // Its queue is full, or the interface is down: later.
                    _ => break,
                },
            }
        }
        counts
    }

    fn push_on(&mut self) -> usize {
        0
    }
}
