//! Where packets go that the filter wants: into a file, into a ring that others read, or both.

use crate::pcap::record::Totals;
use crate::pcap::write::{Recorder, Written};
use crate::publish::Publisher;

/// A file, a ring, or both.
#[derive(Debug)]
pub struct Sink {
    file: Option<Recorder>,
    ring: Option<Publisher>,
}

impl From<Recorder> for Sink {
    fn from(file: Recorder) -> Self {
        Sink { file: Some(file), ring: None }
    }
}

impl Sink {
    /// At least one of them.
    pub fn new(file: Option<Recorder>, ring: Option<Publisher>) -> Self {
        Sink { file, ring }
    }

    /// Takes a packet; false if it is not in the file because the disk is behind. In the
    /// ring it is in any case.
    #[inline]
    pub fn record(&mut self, time: u64, frame: &[u8]) -> bool {
        if let Some(ring) = &mut self.ring {
            ring.put(time, frame);
        }
        self.file.as_mut().is_none_or(|file| file.record(time, frame))
    }

    /// Takes a packet that lies in several buffers.
    pub fn record_parts(&mut self, time: u64, parts: &[&[u8]]) -> bool {
        if let Some(ring) = &mut self.ring {
            ring.put_parts(time, parts);
        }
        self.file.as_mut().is_none_or(|file| file.record_parts(time, parts))
    }

    /// Shows what was taken to those who read the ring. To be called once a burst.
    #[inline]
    pub fn publish(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.publish();
        }
    }

    /// As [`Recorder::flush`].
    pub fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
    }

    /// Whether writing the file has failed.
    pub fn has_failed(&self) -> bool {
        self.file.as_ref().is_some_and(Recorder::has_failed)
    }

    /// Packets taken so far: on their way into the file, or else in the ring.
    pub fn taken(&self) -> u64 {
        let published = || self.ring.as_ref().map_or(0, Publisher::count);
        self.file.as_ref().map_or_else(published, Recorder::taken)
    }

    /// Packets that are not in the file because the disk was behind.
    pub fn dropped(&self) -> u64 {
        self.file.as_ref().map_or(0, Recorder::dropped)
    }

    /// Ends both: what was written, or else published; and what was published.
    pub fn finish(self, totals: Totals) -> (Written, Option<u64>) {
        // Those who read the ring need not wait for the disk.
        let published = self.ring.map(Publisher::end);
        let records = published.unwrap_or(0);
        let only_published = || Written { records, bytes: 0, slow: 0, lost: 0, error: None };
        (self.file.map_or_else(only_published, |file| file.finish(totals)), published)
    }
}
