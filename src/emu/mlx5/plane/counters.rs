//! What is counted: of the vport, of the port, of receive queues.

use super::super::super::wire::MIN_FRAME;

/// Frames and bytes of one way: to one, to many, to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub frames: [u64; 3],
    /// Their bytes, without check sequence.
    pub bytes: [u64; 3],
}

impl Traffic {
    /// Counts a frame.
    #[inline]
    pub(super) fn count(&mut self, frame: &[u8]) {
        let cast = match frame.first_chunk::<6>() {
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => 2,
            Some([first, ..]) if first & 1 == 1 => 1,
            _ => 0,
        };
        self.frames[cast] += 1;
        self.bytes[cast] += frame.len() as u64;
    }

    /// All frames.
    pub fn total(&self) -> u64 {
        self.frames.iter().sum()
    }

    /// All bytes.
    pub fn octets(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

/// The counters of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What the switch let through to the function.
    pub rx: Traffic,
    /// What it sent.
    pub tx: Traffic,
    /// What came but was broken, or too long.
    pub rx_errors: u64,
    /// What could not be sent.
    pub tx_errors: u64,
    /// What nobody wanted: no address, no flow.
    pub unwanted: u64,
    /// Packets that lacked inline headers and did not leave.
    pub short_inline: u64,
    /// Own frames that came back: frames, bytes.
    pub looped: [u64; 2],
    /// Doorbells that were of no use: half ones, and of queues that were not ready.
    pub lost_doorbells: u64,
}

/// Longest frames of the classes by length, with check sequence; the last has no end.
const CLASSES: [usize; 9] = [64, 127, 255, 511, 1023, 1518, 2047, 4095, 8191];

/// The counters of the port, which are the wire's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// What came.
    pub rx: Traffic,
    /// What left.
    pub tx: Traffic,
    /// What came, by length: up to 64 bytes, 127, 255, 511, 1023, 1518, 2047, 4095, 8191,
    /// more.
    pub lengths: [u64; 10],
    /// What came too long.
    pub too_long: u64,
    /// What came too short.
    pub too_short: u64,
}

impl Port {
    #[inline]
    pub(super) fn received(&mut self, frame: &[u8]) {
        self.rx.count(frame);
        self.too_short += u64::from(frame.len() < MIN_FRAME);
        let class = CLASSES.iter().position(|most| frame.len() + 4 <= *most).unwrap_or(CLASSES.len());
        self.lengths[class] += 1;
    }

    #[inline]
    pub(super) fn sent(&mut self, frame: &[u8]) {
        self.tx.count(frame);
    }
}
