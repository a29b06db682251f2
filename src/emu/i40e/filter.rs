//! What a received frame is, and which queue it is for (X710 §7.1, §7.4.8).
//!
//! ```text
//!   VSI --> flow director: drop, or a queue --> RSS: hash --> table --> queue of the VSI
//! ```
//!
//! A *packet type* (ptype) goes into the descriptor; a *packet classifier type*
//! (pctype) decides what is hashed and matched. The registers are read into this
//! form when they change, not for each frame.

use super::super::RegisterFile;
use super::super::frame::{L3, L4, Parsed, Toeplitz};
use super::{I40e, Kind, regs};

/// PFQF_CTL_0: 512 entries in the table, else 128; flow director on.
const HASHLUTSIZE: u32 = 1 << 16;
const FD_ENA: u32 = 1 << 17;

/// Classifier types.
pub const UDP4: u8 = 31;
/// See UDP4.
pub const TCP4_SYN: u8 = 32;
/// See UDP4.
pub const TCP4: u8 = 33;
/// See UDP4.
pub const SCTP4: u8 = 34;
/// See UDP4.
pub const OTHER4: u8 = 35;
/// See UDP4.
pub const FRAGMENT4: u8 = 36;
/// The same of IPv6 are so much higher.
pub const V6: u8 = 10;
/// See UDP4.
pub const L2: u8 = 63;

/// What the registers say.
pub struct Filters {
    /// Classifier types that are hashed, as bits.
    hashed: u64,
    toeplitz: Toeplitz,
    table: Vec<u8>,
    /// The flow director is on.
    pub directs: bool,
}

impl Filters {
    /// What the registers say after a reset: nothing is hashed.
    pub fn new() -> Self {
        Filters { hashed: 0, toeplitz: Toeplitz::new([0; 40]), table: vec![0; 128], directs: false }
    }

    /// Reads the registers again.
    pub fn load(&mut self, regs: &RegisterFile<I40e>) {
        let control = regs.peek(regs::PFQF_CTL_0.at);
        self.directs = control & FD_ENA != 0;
        self.hashed = u64::from(regs.peek(regs::PFQF_HENA.at)) | u64::from(regs.peek(regs::PFQF_HENA.nth(1))) << 32;
        let mut key = [0; 40];
        for (bytes, n) in key.chunks_exact_mut(4).zip(0..) {
            bytes.copy_from_slice(&regs.peek(regs::PFQF_HKEY.nth(n)).to_le_bytes());
        }
        if *self.toeplitz.key() != key {
            self.toeplitz = Toeplitz::new(key);
        }
        let words = if control & HASHLUTSIZE != 0 { 128 } else { 32 };
        self.table.clear();
        self.table
            .extend((0..words).flat_map(|n| regs.peek(regs::PFQF_HLUT.nth(n)).to_le_bytes()).map(|entry| entry & 0x3f));
    }

    /// The hash of a frame, if its type is hashed, and the table's entry for it.
    #[inline]
    pub fn hash(&self, frame: &[u8], headers: &Parsed, pctype: u8) -> Option<(u32, u8)> {
        if self.hashed >> pctype & 1 == 0 || headers.l3.is_none() {
            return None;
        }
        let hash = self.toeplitz.hash(headers.address_bytes(frame), headers.port_bytes(frame));
        Some((hash, self.table[hash as usize & (self.table.len() - 1)]))
    }
}

/// The classifier type of a frame (X710 §7.4.9.1).
#[inline]
pub fn pctype(frame: &[u8], headers: &Parsed, kind: Kind) -> u8 {
    const SYN_ACK: u8 = 0x12;
    let v6 = match headers.l3 {
        None => return L2,
        Some(L3::V4 { .. }) => 0,
        Some(L3::V6 { .. }) => V6,
    };
    v6 + match headers.l4 {
        Some(L4::Udp) => UDP4,
        // The X722 tells connections that begin apart.
        Some(L4::Tcp) if kind == Kind::X722 && frame[headers.l4_at + 13] & SYN_ACK == 2 => TCP4_SYN,
        Some(L4::Tcp) => TCP4,
        Some(L4::Sctp) => SCTP4,
        None if headers.fragment => FRAGMENT4,
        None => OTHER4,
    }
}

/// The packet type of a frame (X710 §8.3.2.2), for the descriptor.
#[inline]
pub fn ptype(headers: &Parsed) -> u8 {
    const PTP: u16 = 0x88f7;
    const ICMP: [Option<u8>; 2] = [Some(1), Some(58)];
    let v6 = match headers.l3 {
        None if headers.ethertype == PTP => return 2,
        None => return 1,
        Some(L3::V4 { .. }) => 0,
        Some(L3::V6 { .. }) => 66,
    };
    v6 + match headers.l4 {
        _ if headers.fragment => 22,
        Some(L4::Udp) => 24,
        Some(L4::Tcp) => 26,
        Some(L4::Sctp) => 27,
        None if ICMP.contains(&headers.protocol) => 28,
        None => 23,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    #[test]
    fn types_are_those_of_the_tables() {
        let v4 = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
        let v6 = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 9);
        let types = |write: &dyn Fn(&mut Vec<u8>), kind| {
            let mut frame = Vec::new();
            write(&mut frame);
            let headers = Parsed::of(&frame);
            (ptype(&headers), pctype(&frame, &headers, kind))
        };
        let x710 = Kind::X710;
        assert_eq!(types(&|f| v4().udp(1, 2).write(f, &[0; 9]).unwrap(), x710), (24, 31));
        assert_eq!(types(&|f| v6().udp(1, 2).write(f, &[0; 9]).unwrap(), x710), (90, 41));
        assert_eq!(types(&|f| v4().tcp(1, 2, 3, 4).syn().write(f, &[]).unwrap(), x710), (26, 33));
        assert_eq!(types(&|f| v4().tcp(1, 2, 3, 4).syn().write(f, &[]).unwrap(), Kind::X722), (26, 32));
        assert_eq!(types(&|f| v4().tcp(1, 2, 3, 4).syn().ack(1).write(f, &[]).unwrap(), Kind::X722), (26, 33));
        assert_eq!(types(&|f| v6().tcp(1, 2, 3, 4).write(f, &[]).unwrap(), x710), (92, 43));
        assert_eq!(types(&|f| v4().icmpv4_echo_request(1, 2).write(f, &[]).unwrap(), x710), (28, 35));
        assert_eq!(types(&|f| v6().icmpv6_echo_request(1, 2).write(f, &[]).unwrap(), x710), (94, 45));
        assert_eq!(types(&|f| f.extend([0; 60]), x710), (1, 63));
        let fragment = |f: &mut Vec<u8>| {
            v4().udp(1, 2).write(f, &[0; 9]).unwrap();
            f[20] = 0x20;
        };
        assert_eq!(types(&fragment, x710), (22, 36));
    }
}
