//! Frames that say which they are.
//!
//! ```text
//!   0        14       34      42      46         54      58
//!   | Ethernet | IPv4   | UDP   | run   | sequence | check | zeroes ...
//! ```
//!
//! UDP from 198.18.0.1 to 198.19.0.1, the addresses set aside for measuring
//! (RFC 2544 C.2.2), port 7 (echo), or of several flows from ports 49152 on. The run tells the frames of one trial from
//! stragglers of the last; the check tells a probe from a frame that only looks
//! like one. When a frame was sent is kept by the sender, not in the frame.

use crate::dma::{BUFFER_SIZE, Batch};

/// Shortest probe, in bytes without FCS: the shortest Ethernet frame.
pub const MIN_LEN: usize = 60;

/// Longest, in bytes without FCS: the length of an IPv4 packet has 16 bits (RFC 791 §3.1).
pub const MAX_LEN: usize = 14 + 65_535;

/// Bytes that a frame takes on the wire beside itself without FCS: FCS,
/// preamble with start delimiter, gap (IEEE 802.3 §4.2.3.2.2: 4 + 8 + 12).
pub const WIRE_OVERHEAD: usize = 24;

const PORT: usize = 34;
const RUN: usize = 42;
const SEQUENCE: usize = 46;
const CHECK: usize = 54;

/// The frames of one run.
#[derive(Clone, Debug)]
pub struct Probes {
    template: Vec<u8>,
    run: u32,
    /// One less than there are flows.
    flows: u16,
}

/// The first port that is given to nobody (RFC 6335 §6).
const DYNAMIC: u16 = 49_152;
/// Most flows of [`Probes::of_flows`].
pub const MAX_FLOWS: u16 = 1 << 14;

impl Probes {
    /// Frames of up to `len` bytes without FCS, at least [`MIN_LEN`], from one
    /// address to another.
    pub fn new(run: u32, len: usize, from: [u8; 6], to: [u8; 6]) -> Self {
        let mut template = vec![0; len.max(MIN_LEN)];
        template[0..6].copy_from_slice(&to);
        template[6..12].copy_from_slice(&from);
        template[12..14].copy_from_slice(&[0x08, 0x00]);
        // Version and length of header; DF; 64 hops; UDP.
        template[14] = 0x45;
        template[20] = 0x40;
        template[22] = 64;
        template[23] = 17;
        template[26..30].copy_from_slice(&[198, 18, 0, 1]);
        template[30..34].copy_from_slice(&[198, 19, 0, 1]);
        template[34..38].copy_from_slice(&[0, 7, 0, 7]);
        template[RUN..RUN + 4].copy_from_slice(&run.to_be_bytes());
        Probes { template, run, flows: 0 }
    }

    /// The same from that many ports in turn: a power of two, [`MAX_FLOWS`] at most. What it
    /// is not is cut down to the next that is.
    pub fn of_flows(mut self, flows: u16) -> Self {
        let flows = flows.clamp(1, MAX_FLOWS);
        self.flows = (1 << flows.ilog2()) - 1;
        if self.flows > 0 {
            self.template[PORT..PORT + 2].copy_from_slice(&DYNAMIC.to_be_bytes());
        }
        self
    }

    /// Fills `frame`, whose length is that of the probe: at least [`MIN_LEN`],
    /// at most the length they were made for.
    #[inline]
    pub fn write(&self, frame: &mut [u8], sequence: u64) {
        frame.copy_from_slice(&self.template[..frame.len()]);
        self.fill_in(frame, sequence);
    }

    /// Appends a probe of `len` bytes to `batch`, over several entries if it needs them, as
    /// [`Probes::write`] makes it. Appends nothing and returns false if it does not fit.
    #[inline]
    pub fn push(&mut self, batch: &mut Batch<'_>, len: usize, sequence: u64) -> bool {
        if len > BUFFER_SIZE {
            return self.push_long(batch, len, sequence);
        }
        batch.push(len).map(|frame| self.write(frame, sequence)).is_some()
    }

    #[inline(never)]
    fn push_long(&mut self, batch: &mut Batch<'_>, len: usize, sequence: u64) -> bool {
        let mut template = std::mem::take(&mut self.template);
        self.fill_in(&mut template[..len], sequence);
        let fits = batch.push_frame(&template[..len]);
        self.template = template;
        fits
    }

    /// Writes what differs between frames.
    #[inline]
    fn fill_in(&self, frame: &mut [u8], sequence: u64) {
        let len = frame.len();
        let ip_len = (len - 14) as u16;
        frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
        frame[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
        if self.flows > 0 {
            let port = DYNAMIC + (sequence as u16 & self.flows);
            frame[PORT..PORT + 2].copy_from_slice(&port.to_be_bytes());
        }
        let sum = header_checksum(ip_len);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame[SEQUENCE..SEQUENCE + 8].copy_from_slice(&sequence.to_be_bytes());
        frame[CHECK..CHECK + 4].copy_from_slice(&self.check(sequence).to_be_bytes());
    }

    /// The sequence number of `frame`, if it is a probe of this run.
    #[inline]
    pub fn sequence(&self, frame: &[u8]) -> Option<u64> {
        let word = |at: usize| Some(u32::from_be_bytes(*frame.get(at..at + 4)?.first_chunk()?));
        let sequence = u64::from_be_bytes(*frame.get(SEQUENCE..SEQUENCE + 8)?.first_chunk()?);
        (word(RUN)? == self.run && word(CHECK)? == self.check(sequence)).then_some(sequence)
    }

    #[inline]
    fn check(&self, sequence: u64) -> u32 {
        (sequence ^ u64::from(self.run)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) as u32
    }
}

/// Checksum of the probe's IPv4 header, of which only the length varies (RFC 1071).
#[inline]
fn header_checksum(ip_len: u16) -> u16 {
    /// Sum of all other words of the header.
    const REST: u32 = 0x4500 + 0x4000 + 0x4011 + 0xc612 + 0x0001 + 0xc613 + 0x0001;
    let sum = REST + u32::from(ip_len);
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Buffers that a frame of `len` bytes takes.
pub fn parts(len: usize) -> usize {
    len.div_ceil(BUFFER_SIZE)
}

/// A frame of `len` bytes without FCS in bits on the wire, preamble and gap included.
pub fn wire_bits(len: usize) -> f64 {
    ((len.max(MIN_LEN) + WIRE_OVERHEAD) * 8) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Pool};

    #[test]
    fn a_probe_is_a_right_udp_packet_of_any_length() {
        let probes = Probes::new(7, 1514, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        for len in [60, 61, 124, 1514] {
            let mut frame = vec![0xff; len];
            probes.write(&mut frame, 42);
            let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            assert_eq!(usize::from(ip.header().total_len()), len - 14);
            let Some(etherparse::TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
            assert_eq!((udp.destination_port(), usize::from(udp.length())), (7, len - 34));
        }
    }

    #[test]
    fn a_probe_of_several_buffers_is_the_same_packet_and_leaves_nothing_in_the_next() {
        let pool = Pool::new(16, Addressing::Translated).unwrap();
        let mut batch = Batch::new(&pool);
        let mut probes = Probes::new(7, 9_014, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        for (sequence, len) in [(1, 9_014), (2, 2_049), (3, 2_048), (4, 60)] {
            batch.clear();
            assert!(probes.push(&mut batch, len, sequence));
            assert_eq!(batch.len(), parts(len));
            let sent: Vec<u8> = batch.frames().flatten().copied().collect();
            let mut alone = vec![0xff; len];
            Probes::new(7, len, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).write(&mut alone, sequence);
            assert_eq!(sent, alone, "{len} bytes");
            assert_eq!(probes.sequence(batch.frame(0)), Some(sequence));
        }
        batch.clear();
        batch.set_limit(4);
        assert!(!probes.push(&mut batch, 9_014, 5) && batch.is_empty());
        assert!(probes.push(&mut batch, 60, 6));
    }

    #[test]
    fn a_probe_is_told_from_other_runs_and_other_frames() {
        let probes = Probes::new(7, 60, [0; 6], [0; 6]);
        let mut frame = [0; 60];
        for sequence in [0, 1, u64::MAX] {
            probes.write(&mut frame, sequence);
            assert_eq!(probes.sequence(&frame), Some(sequence));
        }
        assert_eq!(Probes::new(8, 60, [0; 6], [0; 6]).sequence(&frame), None);
        assert_eq!(probes.sequence(&frame[..57]), None);
        assert_eq!(probes.sequence(&[0; 60]), None);
        frame[SEQUENCE + 3] ^= 1;
        assert_eq!(probes.sequence(&frame), None, "spoilt on the way");
    }

    #[test]
    fn flows_follow_each_other_and_one_flow_is_as_before() {
        let port = |flows: u16, sequence| {
            let mut frame = [0; 60];
            Probes::new(7, 60, [0; 6], [0; 6]).of_flows(flows).write(&mut frame, sequence);
            u16::from_be_bytes([frame[PORT], frame[PORT + 1]])
        };
        assert_eq!([port(1, 0), port(1, 9), port(0, 9)], [7; 3]);
        assert_eq!([0, 1, 3, 4, u64::MAX].map(|sequence| port(4, sequence) - DYNAMIC), [0, 1, 3, 0, 3]);
        assert_eq!([port(7, 3), port(7, 4)], [DYNAMIC + 3, DYNAMIC], "four of seven");
        assert_eq!(port(u16::MAX, u64::MAX), u16::MAX);
    }

    #[test]
    fn sixty_bytes_at_ten_gigabit_are_fourteen_million_a_second() {
        assert_eq!((10e9 / wire_bits(60)) as u64, 14_880_952);
        assert_eq!((10e9 / wire_bits(1514)) as u64, 812_743);
    }
}
