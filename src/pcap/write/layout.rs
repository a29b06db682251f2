//! What is to be written, what becomes of it, what is told of it meanwhile and in the end.

use super::{Files, Series};
use crate::dma::Lot;
use crate::pcap::record::{Format, Taken};
use crate::pcap::section::Section;
use std::io;
use std::path::Path;

/// What to write, and where.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The file; `-` is standard output.
    pub path: &'a Path,
    /// Its format.
    pub format: Format,
    /// Bytes to keep of each packet.
    pub snaplen: usize,
    /// Bytes to hold while the disk is slow, where there is no [`Layout::ring`].
    pub buffer: usize,
    /// What pcapng says before the packets.
    pub section: &'a Section,
}

impl Plan<'_> {
    /// What each file of this plan begins with.
    pub fn header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        self.format.header(&mut header, self.snaplen as u32, self.section);
        header
    }
}

/// By whom it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// By the threads that record, not by one of its own.
    pub here: bool,
    /// By nobody: no file is made, and what would be written is dropped.
    pub dropped: bool,
}

/// Appends the text that a packet is written as.
pub type Lines = Box<dyn FnMut(&Taken<'_>, &mut String) + Send>;

/// What becomes of the file's bytes.
pub struct Layout<'a> {
    /// They go on in another file now and then.
    pub series: Option<Series>,
    /// They are compressed with gzip (RFC 1952), a member for each chunk: what was flushed is
    /// readable, whatever follows it.
    pub packed: bool,
    /// Instead of records, text: this appends the lines of each packet.
    pub lines: Option<Lines>,
    /// Memory of each recorder's chunks, lots of [`CHUNK`](super::CHUNK) bytes or more: two at
    /// least, or else its chunks are memory that is taken as far as it is used.
    pub ring: Vec<Vec<Lot>>,
    /// Whether the reader of a named pipe is waited for no longer.
    pub stopped: &'a dyn Fn() -> bool,
}

impl Default for Layout<'_> {
    fn default() -> Self {
        Layout { series: None, packed: false, lines: None, ring: Vec::new(), stopped: &|| false }
    }
}

/// What is told of the file while it is written.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// The file of a series that was begun.
    File(&'a Path),
    /// Up to this byte the file is whole.
    Whole(u64),
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Written {
    /// Packets in the file, or in all files of a series.
    pub records: u64,
    /// Bytes of it, headers included.
    pub bytes: u64,
    /// Packets that were not written because the disk was slower than they came.
    pub slow: u64,
    /// Packets that were lost when writing failed.
    pub lost: u64,
    /// How many of each interface, as far as any were.
    pub lost_of: Vec<u64>,
    /// Packets that came after the last file was full, of each interface as far as any did.
    pub beyond_of: Vec<u64>,
    /// They were written as text, for somebody to read.
    pub lines: bool,
    /// The memory that packets were held in on their way.
    pub held: Held,
    /// The files of a series.
    pub files: Option<Files>,
    /// Why writing stopped, if it failed.
    pub error: Option<io::Error>,
}

impl Written {
    /// Packets that came after the last file was full.
    pub fn beyond(&self) -> u64 {
        self.beyond_of.iter().sum()
    }
}

/// Memory between those who take packets and who writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of it.
    pub bytes: u64,
    /// Most bytes of it that were in use at a time, in whole chunks; of several recorders the
    /// sum of what each had at its own time.
    pub most: u64,
    /// Bytes in a page of it, if they are huge.
    pub page: Option<u64>,
}

impl Held {
    /// This and that of another recorder.
    #[must_use]
    pub fn and(self, other: Held) -> Held {
        let page = self.page.max(other.page);
        Held { bytes: self.bytes + other.bytes, most: self.most + other.most, page }
    }
}
