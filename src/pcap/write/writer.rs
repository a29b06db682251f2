//! What becomes of chunks that are full: the side of the file.

use super::sink::{Failed, Sink};
use crate::pcap::record::Format;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

/// Records on their way.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
    /// The recorder that it goes back to.
    pub(super) of: usize,
}

/// What the writer has done, for others to read.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) failed: AtomicBool,
    /// Of each interface, packets that were lost when writing had failed.
    lost: Mutex<Vec<u64>>,
}

impl Progress {
    /// A packet of each of these `interfaces` is lost.
    pub(super) fn lose(&self, interfaces: impl Iterator<Item = u32>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        for interface in interfaces {
            let interface = interface as usize;
            if lost.len() <= interface {
                lost.resize(interface + 1, 0);
            }
            lost[interface] += 1;
        }
    }

    /// Packets that were lost of each interface.
    pub(super) fn lost(&self) -> Vec<u64> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Who writes chunks into the file, one after the other.
pub(super) struct Writer {
    pub(super) sink: Sink,
    pub(super) format: Format,
    pub(super) progress: Arc<Progress>,
    pub(super) committed: Box<dyn FnMut(u64) + Send>,
    /// Why nothing is written any more.
    pub(super) failed: Option<io::Error>,
}

impl Writer {
    /// The thread that writes: every chunk goes back to the recorder that it is of.
    pub(super) fn run(mut self, incoming: &Receiver<Chunk>, outgoing: &[SyncSender<Chunk>]) -> Option<io::Error> {
        // After a failure chunks are still taken back, so that nobody waits.
        for mut chunk in incoming {
            self.take(&mut chunk);
            if let Some(owner) = outgoing.get(chunk.of) {
                // The other side may be gone already.
                let _ = owner.try_send(chunk);
            }
        }
        self.end()
    }

    /// Writes a chunk, unless writing has failed before, and empties it.
    pub(super) fn take(&mut self, chunk: &mut Chunk) {
        if self.failed.is_none() {
            self.write(chunk);
        } else {
            self.progress.lose(self.format.interfaces(&chunk.bytes));
        }
        chunk.bytes.clear();
        chunk.records = 0;
    }

    fn write(&mut self, chunk: &Chunk) {
        let before = self.progress.records.load(Ordering::Relaxed);
        let records = match self.sink.put(&chunk.bytes, |bytes| self.format.whole(bytes)) {
            Ok(()) => chunk.records,
            Err(Failed { records, error }) => {
                self.failed = Some(error);
                let records = records.min(chunk.records);
                self.progress.lose(self.format.interfaces(&chunk.bytes).skip(records as usize));
                records
            }
        };
        self.progress.records.store(before + records, Ordering::Relaxed);
        self.progress.bytes.store(self.sink.len(), Ordering::Relaxed);
        (self.committed)(self.sink.len());
        self.progress.failed.fetch_or(self.failed.is_some(), Ordering::Relaxed);
    }

    /// No more comes; why it failed, if it did.
    pub(super) fn end(self) -> Option<io::Error> {
        self.failed.or_else(|| self.sink.sync().err())
    }
}
