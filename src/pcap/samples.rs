//! Capture files byte by byte, for tests, among them some that no program should write.

use super::decode::{Damage, Frame, LeftOut, Reader};
use std::io::Read;

/// A pcap record: seconds, fraction, captured, on the wire, bytes.
pub type PcapRecord<'a> = (u32, u32, u32, u32, &'a [u8]);

fn put(out: &mut Vec<u8>, big: bool, words: &[u32]) {
    for word in words {
        out.extend_from_slice(&if big { word.to_be_bytes() } else { word.to_le_bytes() });
    }
}

/// A pcap file of this magic number, version and link word.
pub fn pcap(big: bool, magic: u32, version: (u16, u16), link: u32, records: &[PcapRecord<'_>]) -> Vec<u8> {
    let (major, minor) = (u32::from(version.0), u32::from(version.1));
    let version = if big { major << 16 | minor } else { minor << 16 | major };
    let mut out = Vec::new();
    put(&mut out, big, &[magic, version, 0, 0, 65_535, link]);
    for (seconds, fraction, captured, wire_len, bytes) in records {
        put(&mut out, big, &[*seconds, *fraction, *captured, *wire_len]);
        out.extend_from_slice(bytes);
    }
    out
}

/// A usual pcap file in microseconds.
pub fn usual(records: &[PcapRecord<'_>]) -> Vec<u8> {
    pcap(false, 0xa1b2_c3d4, (2, 4), 1, records)
}

/// A pcapng file that grows by blocks.
#[derive(Clone)]
pub struct Ng {
    pub bytes: Vec<u8>,
    pub big: bool,
}

impl Ng {
    /// With a section header.
    pub fn new(big: bool) -> Ng {
        let mut file = Ng { bytes: Vec::new(), big };
        file.section(&[]);
        file
    }

    /// With an Ethernet interface in nanoseconds too.
    pub fn ethernet() -> Ng {
        let mut file = Ng::new(false);
        let resolution = file.option(9, &[9]);
        file.interface(1, 0, &resolution);
        file
    }

    pub fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let len = padded as u32 + 12;
        put(&mut self.bytes, self.big, &[kind, len]);
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(&[0; 3][..padded - body.len()]);
        put(&mut self.bytes, self.big, &[len]);
    }

    /// A body of words with bytes behind.
    fn body(&self, words: &[u32], behind: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        put(&mut body, self.big, words);
        body.extend_from_slice(behind);
        body
    }

    pub fn section(&mut self, options: &[u8]) {
        let version = if self.big { 1 << 16 } else { 1 };
        self.block(0x0a0d_0d0a, &self.body(&[0x1a2b_3c4d, version, u32::MAX, u32::MAX], options));
    }

    pub fn interface(&mut self, link: u16, snaplen: u32, options: &[u8]) {
        // The other half is reserved.
        let link = u32::from(link) << if self.big { 16 } else { 0 };
        self.block(1, &self.body(&[link, snaplen], options));
    }

    /// An option, padded; the options' end is `option(0, &[])`.
    pub fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let half = |n: u16| if self.big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut out = [half(code), half(value.len() as u16)].concat();
        out.extend_from_slice(value);
        out.resize(4 + value.len().next_multiple_of(4), 0);
        out
    }

    /// An enhanced packet of this interface, with `behind` where options are.
    pub fn packet(&mut self, interface: u32, units: u64, captured: u32, wire_len: u32, bytes: &[u8], behind: &[u8]) {
        let mut data = bytes.to_vec();
        data.resize(bytes.len().next_multiple_of(4), 0);
        data.extend_from_slice(behind);
        self.block(6, &self.body(&[interface, (units >> 32) as u32, units as u32, captured, wire_len], &data));
    }

    /// An enhanced packet of the first interface as it should be.
    pub fn good(&mut self, units: u64, bytes: &[u8]) {
        self.packet(0, units, bytes.len() as u32, bytes.len() as u32, bytes, &[]);
    }

    pub fn simple(&mut self, wire_len: u32, bytes: &[u8]) {
        self.block(3, &self.body(&[wire_len], bytes));
    }

    pub fn obsolete(&mut self, interface: u16, drops: u16, units: u64, bytes: &[u8]) {
        let (interface, drops) = (u32::from(interface), u32::from(drops));
        let first = if self.big { interface << 16 | drops } else { drops << 16 | interface };
        let len = bytes.len() as u32;
        self.block(2, &self.body(&[first, (units >> 32) as u32, units as u32, len, len], bytes));
    }
}

/// All that a reader says of a file.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub frames: Vec<(Frame, Vec<u8>)>,
    pub left_out: LeftOut,
    pub damage: Option<Damage>,
    /// Packets, those that were left out too.
    pub packets: u64,
}

impl Found {
    pub fn bytes(&self) -> Vec<&[u8]> {
        self.frames.iter().map(|(_, bytes)| &bytes[..]).collect()
    }

    pub fn times(&self) -> Vec<Option<i64>> {
        self.frames.iter().map(|(frame, _)| frame.time).collect()
    }
}

/// Reads a file that begins as one should.
pub fn read(source: impl Read) -> Found {
    let mut reader = Reader::new(source, "f").unwrap();
    let mut frames = Vec::new();
    let mut bytes = Vec::new();
    while let Some(frame) = reader.next(&mut bytes) {
        frames.push((frame, std::mem::take(&mut bytes)));
    }
    assert!(bytes.is_empty(), "what is not given is not left behind");
    let (left_out, damage) = (*reader.left_out(), reader.damage().cloned());
    Found { frames, left_out, damage, packets: reader.packets() }
}
