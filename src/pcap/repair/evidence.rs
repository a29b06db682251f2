//! Whether a record that goes on behind the end of its file is torn, or its length damaged.
//!
//! Whole records inside of what it says is its own are evidence of the second.

use crate::pcap::decode::{self, LONGER, LONGEST, YEARS_AWAY, near};
use crate::pcap::pcapng::{ENHANCED_PACKET, FRAMING, LONGEST_BLOCK, OBSOLETE_PACKET};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// What there is of the record that the file's end cuts short.
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn read(mut file: &File, at: u64, len: u64) -> io::Result<Tail> {
        // The reader believes in no record longer than this.
        let mut bytes = Vec::with_capacity((len - at).min(LONGEST_BLOCK.into()) as usize);
        file.seek(SeekFrom::Start(at))?;
        file.take(LONGEST_BLOCK.into()).read_to_end(&mut bytes)?;
        Ok(Tail(bytes))
    }

    /// What speaks against its being a torn pcapng block.
    pub(super) fn doubt_block(&self, big: bool) -> Option<String> {
        let tail = &self.0[..];
        let block = Block::at(tail, big)?;
        if tail.len().is_multiple_of(4) && last_word(tail, big) == Some(tail.len() as u32) {
            return Some("its end is there, by the length behind it".into());
        }
        if block.captured.is_some_and(|captured| captured > block.len - FRAMING) {
            return Some("its packet is longer than itself".into());
        }
        // Another section may have the other byte order.
        let follows = |at: usize| [big, !big].iter().any(|&big| Block::follows(&tail[at..], big));
        self.followed(|at| at.is_multiple_of(4) && follows(at))
    }

    /// A sign that this is no torn pcap record. It stands behind records, the first and
    /// the last of which were recorded at `seconds`.
    pub(super) fn doubt_record(&self, big: bool, seconds: Option<(u32, u32)>) -> Option<String> {
        let tail = &self.0[..];
        let record = Record::at(tail, big)?;
        if record.captured > record.wire_len {
            return Some(format!("it {LONGER}"));
        }
        let (first, last) = seconds.unwrap_or((record.seconds, record.seconds));
        if !near(record.seconds, last) {
            return Some(format!("it {YEARS_AWAY}"));
        }
        self.followed(|at| Record::follows(&tail[at..], first, big))
    }

    /// That at one of the places in it `whole` finds a record.
    fn followed(&self, whole: impl Fn(usize) -> bool) -> Option<String> {
        let at = (1..self.0.len()).find(|&at| whole(at))?;
        Some(format!("what looks like a whole record begins {at} bytes behind its beginning"))
    }
}

fn word(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    Some(decode::word(*bytes.get(at..)?.first_chunk()?, big))
}

fn last_word(bytes: &[u8], big: bool) -> Option<u32> {
    word(bytes, bytes.len().checked_sub(4)?, big)
}

/// The header of a pcap record.
struct Record {
    seconds: u32,
    fraction: u32,
    captured: u32,
    wire_len: u32,
}

impl Record {
    const HEADER: usize = 16;

    fn at(bytes: &[u8], big: bool) -> Option<Record> {
        let field = |at| word(bytes, at, big);
        Some(Record { seconds: field(0)?, fraction: field(4)?, captured: field(8)?, wire_len: field(12)? })
    }

    /// Whether `bytes` begin with a whole record of about this time in seconds, and
    /// end with it or go on with another one.
    fn follows(bytes: &[u8], about: u32, big: bool) -> bool {
        let like = |record: &Record| {
            let lengths = record.captured <= record.wire_len && record.wire_len <= LONGEST as u32;
            lengths && record.fraction < 1_000_000_000 && near(record.seconds, about)
        };
        let Some(record) = Record::at(bytes, big).filter(like).filter(|record| record.captured > 0) else {
            return false;
        };
        match bytes.get(Record::HEADER + record.captured as usize..) {
            None => false,
            Some([]) => true,
            Some(behind) => Record::at(behind, big).is_some_and(|next| like(&next)),
        }
    }
}

/// The header of a pcapng block.
struct Block {
    len: u32,
    /// Bytes that a packet's block must have for its packet, with fields.
    captured: Option<u32>,
}

impl Block {
    fn at(bytes: &[u8], big: bool) -> Option<Block> {
        let (kind, len) = (word(bytes, 0, big)?, word(bytes, 4, big)?);
        let captured = match kind {
            OBSOLETE_PACKET | ENHANCED_PACKET => word(bytes, 20, big).map(|captured| captured.saturating_add(20)),
            _ => None,
        };
        Some(Block { len, captured })
    }

    /// Whether `bytes` begin with a whole block, of whatever kind.
    fn follows(bytes: &[u8], big: bool) -> bool {
        let Some(block) = Block::at(bytes, big) else { return false };
        let whole = bytes.get(..block.len as usize).filter(|_| block.len >= FRAMING && block.len.is_multiple_of(4));
        whole.is_some_and(|whole| last_word(whole, big) == Some(block.len))
    }
}
