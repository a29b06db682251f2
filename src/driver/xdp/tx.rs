//! Sending: each frame is copied into a chunk, and its buffer is free at once.

use crate::dma::Batch;
use crate::driver::kernel::{MIN_FRAME, Outlet};
use crate::driver::packet::counters::Counts;
use crate::driver::packet::offload;
use crate::driver::tally::{Anomaly, Tally};
use crate::sys::xdp::{CHUNK, Sender};

/// What a transmit queue writes to.
impl Outlet for Sender {
    fn put(&mut self, batch: &mut Batch<'_>, tally: &Tally) -> Counts {
        let all = batch.len();
        self.reclaim();
        let mut counts = Counts::default();
        let mut from = 0;
        while from < all {
            if batch.entries()[from].span.offload() {
                offload::fill(batch, from);
            }
            let parts = (from..all).position(|i| !batch.continues(i)).map_or(all - from, |last| last + 1);
            if parts == 1 {
                batch.pad(from, MIN_FRAME);
            }
            let len: usize = (from..from + parts).map(|i| batch.frame(i).len()).sum();
            if len == 0 || len > CHUNK || batch.continues(from + parts - 1) {
                tally.count(Anomaly::BadLength);
            } else if Sender::put(self, (from..from + parts).map(|i| batch.frame(i))) {
                counts.packets += 1;
                counts.bytes += len as u64;
            } else {
                break;
            }
            from += parts;
        }
        batch.pool().give_many(batch.entries()[..from].iter().map(|entry| entry.buffer));
        batch.taken(from);
        if counts.packets > 0 {
            self.flush();
        }
        counts
    }

    fn push_on(&mut self) -> usize {
        self.reclaim();
        self.pending()
    }
}
