//! The end of a file: all of it written, with its totals, or given up.

use super::chunk::Chunk;
use super::writer::{Closed, Progress};
use super::{Held, Recorder, Thread, Way, Written};
use crate::pcap::record::{Format, Totals};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

impl Recorder {
    /// Writes what is left, and the file's end with `totals`, whose `delivered` and `dropped`
    /// are filled in as all is of one interface; waits for the disk.
    pub fn finish(self, totals: Totals) -> Written {
        let totals = Totals { delivered: self.taken, dropped: totals.dropped + self.dropped, ..totals };
        Recorder::finish_all(vec![self], &[totals])
    }

    /// The same of all recorders of a file that there are, with the totals of each interface as
    /// they are.
    pub fn finish_all(mut all: Vec<Recorder>, totals: &[Totals]) -> Written {
        let Some(Recorder { format, progress, thread, .. }) = all.first() else { return Written::default() };
        let (format, progress, thread) = (*format, Arc::clone(progress), Arc::clone(thread));
        progress.closing.store(true, Ordering::Relaxed);
        all.iter_mut().for_each(Recorder::flush);
        let taken: u64 = all.iter().map(Recorder::taken).sum();
        let dropped: u64 = all.iter().map(Recorder::dropped).sum();
        let held = all.iter().map(Recorder::held).fold(Held::default(), Held::and);
        let mut bytes = Vec::new();
        if format == Format::Pcapng {
            await_all(&progress, taken, &thread);
        }
        for totals in totals {
            let none = |counts: Vec<u64>| counts.get(totals.interface as usize).copied().unwrap_or(0);
            let gone = none(progress.lost.counts()) + none(progress.beyond.counts());
            format.end(&mut bytes, &Totals { delivered: totals.delivered.saturating_sub(gone), ..*totals });
        }
        let mut here = None;
        for (n, recorder) in all.into_iter().enumerate() {
            if n == 0 && !bytes.is_empty() {
                recorder.last(Chunk::of_end(std::mem::take(&mut bytes), recorder.of));
            }
            if let Way::Here(writer) = recorder.way {
                here = Some(writer);
            }
        }
        let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let panicked = |_| Closed { error: Some(io::Error::other("the thread that writes panicked")), files: None };
        let closed = match (thread, here.and_then(Arc::into_inner)) {
            (Some(thread), _) => thread.join().unwrap_or_else(panicked),
            (None, Some(writer)) => writer.into_inner().unwrap_or_else(PoisonError::into_inner).end(),
            (None, None) => Closed { error: None, files: None },
        };
        let records = progress.records.load(Ordering::Relaxed);
        let bytes = progress.bytes.load(Ordering::Relaxed);
        let (lost_of, beyond_of) = (progress.lost.counts(), progress.beyond.counts());
        let Closed { error, files } = closed;
        // What a thread had taken that panicked is not among `taken`, but may be in the file.
        let lost = taken.saturating_sub(records + beyond_of.iter().sum::<u64>());
        let lines = progress.lines;
        Written { records, bytes, slow: dropped, lost, lost_of, beyond_of, lines, held, files, error }
    }

    /// Hands the end of the file over.
    fn last(&self, mut chunk: Chunk) {
        match &self.way {
            // The channel has room for one chunk more than are on their way, or
            // the writer makes it.
            Way::Thread { full, .. } => drop(full.send(chunk)),
            Way::Here(writer) => writer.lock().unwrap_or_else(PoisonError::into_inner).take(&mut chunk),
        }
    }
}

/// Waits until all packets that were taken are in a file or in none, unless the thread that
/// writes is gone: the end of a file says how many are in it.
fn await_all(progress: &Progress, taken: u64, thread: &Thread) {
    let sum = |counts: Vec<u64>| counts.iter().sum::<u64>();
    let settled = || {
        let none = sum(progress.lost.counts()) + sum(progress.beyond.counts());
        progress.records.load(Ordering::Relaxed) + none >= taken
    };
    let writes = || {
        let thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    };
    while writes() && !settled() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
