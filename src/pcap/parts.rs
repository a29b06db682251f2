//! Capture files that are read a part at a time, so that a file of any length takes no more
//! memory than a part.

use super::decode::{ETHERNET, Reader, link_name};
use super::packed::Unpacked;
use super::read::{Omitted, Place, Recording};
use super::{LeftOut, SHORTEST};
use crate::error::{Error, Kind, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A capture file of Ethernet that is read a part at a time.
pub struct Parts<R: Read> {
    name: String,
    reader: Reader<Unpacked<R>>,
    /// Of the packet before, if one had any.
    time: Option<i64>,
    /// What is taken off each time: where whole parts were given before any time was known,
    /// their packets were at 0.
    origin: i64,
    given: u64,
    untimed: u64,
    short: u64,
}

/// Where the bytes of a file come from.
pub type Source = Box<dyn Read + Send>;

impl Parts<Source> {
    /// Opens a file, compressed or not, or standard input if `path` is `-`.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            return Self::new(Box::new(io::stdin()), &name);
        }
        let file = File::open(path).map_err(|error| Error::io(format!("reading {name}"), error))?;
        Self::new(Box::new(file), &name)
    }
}

impl<R: Read> Parts<R> {
    /// Begins to read a file that is called `name` in errors.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn new(source: R, name: &str) -> Result<Self> {
        let unpacked = Unpacked::new(source).map_err(|error| Error::io(format!("reading {name}"), error))?;
        let reader = Reader::new(unpacked, name)?;
        let name = name.to_string();
        let parts = Parts { name, reader, time: None, origin: 0, given: 0, untimed: 0, short: 0 };
        match parts.reader.link().filter(|link| *link != ETHERNET) {
            Some(link) => Err(parts.other(link)),
            None => Ok(parts),
        }
    }

    /// What it is called in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn other(&self, link: u32) -> Error {
        let (name, link, line) = (&self.name, link_name(link), "only Ethernet frames can be sent");
        Error::new(Kind::Io, format!("{name}: it was recorded on a link of type {link}, not Ethernet; {line}"))
    }

    /// Reads on into `part`, whose packets are dropped, until it takes more than `room` bytes or
    /// the file ends, and then says true. The last part also says what of the whole file is
    /// left out, damaged and without a time.
    ///
    /// # Errors
    /// [`Kind::Io`] if nothing but packets of other links was in the file.
    pub fn next(&mut self, part: &mut Recording, room: usize) -> Result<bool> {
        let (mut bytes, mut packets) = (std::mem::take(&mut part.bytes), std::mem::take(&mut part.packets));
        bytes.clear();
        packets.clear();
        *part = Recording { bytes, packets, ..Recording::default() };
        let mut at = 0;
        while let Some(frame) = self.reader.next(&mut part.bytes) {
            self.untimed += u64::from(frame.time.is_none());
            if let (None, Some(first)) = (self.time, frame.time) {
                // Packets before the first that has a time were at its time.
                if self.given > part.packets.len() as u64 {
                    self.origin = first;
                } else {
                    part.packets.iter_mut().for_each(|place| place.time = first);
                }
            }
            // A packet without a time was at that of the one before.
            self.time = frame.time.or(self.time);
            let len = part.bytes.len() - at;
            if len < SHORTEST {
                part.bytes.truncate(at);
                self.short += 1;
                continue;
            }
            let wire_len = u32::try_from(frame.wire_len).unwrap_or(u32::MAX);
            let time = self.time.unwrap_or(0).saturating_sub(self.origin);
            part.packets.push(Place { at, len: len as u32, wire_len, time });
            self.given += 1;
            at += len;
            if at + part.packets.len() * size_of::<Place>() > room {
                return Ok(false);
            }
        }
        part.left_out = Omitted { unread: *self.reader.left_out(), short: self.short };
        part.damage = self.reader.damage().cloned();
        part.untimed = self.untimed;
        match part.left_out {
            Omitted { unread: LeftOut { other_link: 1.., link, .. }, short: 0 } if self.given == 0 => {
                Err(self.other(link))
            }
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::record::{Format, Record};
    use crate::pcap::samples::Ng;

    /// `head`, so many times `body`, and the beginning of another.
    struct Long {
        head: Vec<u8>,
        body: Vec<u8>,
        /// Bytes that were read, and that there are.
        at: u64,
        end: u64,
    }

    impl Read for Long {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let head = self.head.len() as u64;
            let rest = match self.at.checked_sub(head) {
                None => &self.head[self.at as usize..],
                Some(at) => &self.body[(at % self.body.len() as u64) as usize..],
            };
            let n = rest.len().min(buffer.len()).min((self.end - self.at) as usize);
            buffer[..n].copy_from_slice(&rest[..n]);
            self.at += n as u64;
            Ok(n)
        }
    }

    #[test]
    fn a_file_beyond_four_gibibytes_is_read_in_the_memory_of_a_part_and_its_end_is_told() {
        let (mut head, mut body) = (Vec::new(), Vec::new());
        Format::Pcap.header(&mut head, 262_144, &crate::pcap::section::Section::default());
        let frame = vec![7; 262_144];
        Format::Pcap.put(&mut body, &Record { interface: 0, time: 5, wire_len: frame.len(), parts: &[&frame] });
        let records = (1 << 32) / body.len() as u64 + 3;
        let torn = 24 + records * body.len() as u64;
        let file = Long { head, body, at: 0, end: torn + 100 };
        let mut parts = Parts::new(file, "long").unwrap();
        let (mut part, mut packets, mut ended) = (Recording::default(), 0, false);
        while !ended {
            ended = parts.next(&mut part, 1 << 20).unwrap();
            packets += part.len() as u64;
            assert!(part.bytes.len() <= (1 << 20) + 262_144 && part.packets().all(|packet| packet.bytes[0] == 7));
        }
        assert_eq!(packets, records);
        let damage = part.damage().unwrap();
        assert!(torn > 1 << 32 && damage.contains(&format!("record at byte {torn} is cut short")), "{damage}");
    }

    #[test]
    fn times_that_begin_in_a_later_part_follow_on_those_that_are_not_known() {
        let mut file = Ng::ethernet();
        for n in 0..3 {
            file.simple(20, &[n; 20]);
        }
        file.good(1_700_000_000_000_000_000, &[3; 20]);
        file.good(1_700_000_000_000_000_009, &[4; 20]);
        let mut parts = Parts::new(&file.bytes[..], "f").unwrap();
        let (mut part, mut times, mut ended) = (Recording::default(), Vec::new(), false);
        while !ended {
            ended = parts.next(&mut part, 60).unwrap();
            times.extend(part.packets().map(|packet| packet.time));
        }
        assert_eq!((times, part.untimed()), (vec![0, 0, 0, 0, 9], 3));
    }
}
