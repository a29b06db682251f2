//! What `bmnic fwd` does to frames: nothing, new addresses and ports, checksums.

use crate::dma::Batch;
use crate::net::MacAddr;
use crate::packet::{complete, turn};

/// What is done to each frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing: it is not even looked at.
    Nothing,
    /// Source and destination address change places.
    SwapMacs,
    /// Source and destination change places: addresses, those of IP, ports of UDP and TCP.
    SwapFlow,
    /// It comes from `source` and goes to `destination`.
    SetMacs {
        /// Address of the port it leaves by.
        source: MacAddr,
        /// Address of who is there.
        destination: MacAddr,
    },
    /// The card is asked to fill in its checksums.
    Checksums,
}

impl Rewrite {
    /// Does it to every frame of `batch`, once, where the frame starts.
    #[inline(always)]
    pub fn apply(self, batch: &mut Batch<'_>) {
        match self {
            Rewrite::Nothing => {}
            Rewrite::SwapMacs => each_start(batch, |start| {
                let Some(addresses) = start.first_chunk_mut::<12>() else { return };
                let (destination, source) = addresses.split_at_mut(6);
                destination.swap_with_slice(source);
            }),
            Rewrite::SwapFlow => each_start(batch, turn::swap),
            Rewrite::SetMacs { source, destination } => each_start(batch, |start| {
                let Some(addresses) = start.first_chunk_mut::<12>() else { return };
                addresses[..6].copy_from_slice(&destination.0);
                addresses[6..].copy_from_slice(&source.0);
            }),
            Rewrite::Checksums => ask_for_checksums(batch),
        }
    }
}

/// Calls `f` on the first part of each frame.
#[inline]
fn each_start(batch: &mut Batch<'_>, f: impl Fn(&mut [u8])) {
    let mut starts = true;
    for i in 0..batch.len() {
        if starts {
            f(batch.frame_mut(i));
        }
        starts = !batch.continues(i);
    }
}

/// Asks the card that sends the frames for their checksums.
fn ask_for_checksums(batch: &mut Batch<'_>) {
    let mut start = 0;
    while start < batch.len() {
        let pieces = (start..batch.len()).take_while(|&i| batch.continues(i)).count() + 1;
        let end = (start + pieces).min(batch.len());
        let len = (start..end).map(|i| batch.frame(i).len()).sum();
        if let Some(offload) = complete::ask(batch.frame_mut(start), len) {
            batch.set_offload(start, offload);
        }
        start = end;
    }
}
