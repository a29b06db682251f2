//! Descriptors of the 82599 family: words in memory, fields in registers.
//!
//! ```text
//!   receive, as given     [ buffer address | 0 ]
//!   receive, as returned  [ hash:32 . type:16 . rss:4 | vlan:16 . length:16 . error:12 . status:20 ]
//!   transmit, data        [ buffer address | paylen:18 . popts:6 . cc/idx/sta:8 . command:8 . type:8 . length:16 ]
//!   transmit, context     [ vlan:16 . maclen:7 . iplen:9  | mss, l4len, idx . command ]
//! ```
//!
//! A descriptor in memory is two atomic words that the card may write at any
//! time. It is read once, into a value; whatever is then asked of the value is
//! arithmetic. All words are little-endian, as are the machines this runs on.

use crate::dma::{Decode, L4, Meta, Offload, RawMeta, Timestamp};
use crate::driver::{rx, tx};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A descriptor in memory, of either ring.
pub type Descriptor = [AtomicU64; 2];

const _: () = assert!(size_of::<Descriptor>() == 16, "82599 §7.1.6, §7.2.3");
const _: () = assert!(cfg!(target_endian = "little"), "descriptors are little-endian");

/// A received descriptor as the card wrote it back (§7.1.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxDone(pub u64, pub u64);

impl RxDone {
    /// Descriptor done (DD): the card has given it back.
    pub const DD: u64 = 1 << 0;
    /// End of packet (EOP).
    pub const EOP: u64 = 1 << 1;
    /// Flow director matched (FLM).
    const FLM: u64 = 1 << 2;
    /// A VLAN tag was there (VP).
    const VP: u64 = 1 << 3;
    /// A UDP checksum was looked at (UDPCS).
    const UDPCS: u64 = 1 << 4;
    /// A transport checksum was looked at (L4CS).
    const L4CS: u64 = 1 << 5;
    /// An IPv4 header checksum was looked at (IPCS).
    const IPCS: u64 = 1 << 6;
    /// A timestamp follows the frame (TSIP, X550).
    pub const TSIP: u64 = 1 << 15;
    /// The frame is broken (RXE).
    pub const RXE: u64 = 1 << 29;
    /// The transport checksum is wrong (TCPE).
    const TCPE: u64 = 1 << 30;
    /// The IPv4 header checksum is wrong (IPE).
    const IPE: u64 = 1 << 31;
    /// Packet type: UDP.
    const UDP: u64 = 0x200;
    /// Packet type: an EtherType filter matched.
    const ETQF: u64 = 0x8000;

    /// What is to be looked up in [`FLAGS`]: bits that say something, moved
    /// together. From bit 0: TCPE, IPE, UDP, hashed, FLM, VP, UDPCS, L4CS, IPCS,
    /// ETQF.
    #[inline(always)]
    fn index(self) -> usize {
        const SAID: u64 =
            RxDone::FLM | RxDone::VP | RxDone::UDPCS | RxDone::L4CS | RxDone::IPCS | RxDone::TCPE | RxDone::IPE;
        let status = ((self.1 & SAID) as u32).rotate_left(2);
        let udp = (self.0 & Self::UDP) >> 7;
        let hashed = u64::from(self.0 & 0xf != 0) << 3;
        let etqf = (self.0 & Self::ETQF) >> 6;
        status as usize | (udp | hashed | etqf) as usize
    }
}

/// The flags for each [`RxDone::index`]. `ERRATUM`: the 82599 calls a UDP checksum
/// of zero, which means that there is none, wrong; so nothing can be said when it
/// says that of UDP.
const fn flags<const ERRATUM: bool>() -> [u8; 1024] {
    let mut table = [0; 1024];
    let mut index = 0;
    while index < table.len() {
        let mut bits = [false; 10];
        let mut bit = 0;
        while bit < bits.len() {
            bits[bit] = index >> bit & 1 != 0;
            bit += 1;
        }
        let [l4_wrong, ip_wrong, udp, hashed, matched, tagged, udp_seen, l4_seen, ip_seen, ether_type] = bits;
        let mut flags = 0;
        if ip_seen {
            flags |= if ip_wrong { Meta::IP_BAD } else { Meta::IP_GOOD };
        }
        if (l4_seen || udp_seen) && !(ERRATUM && udp && l4_wrong) {
            flags |= if l4_wrong { Meta::L4_BAD } else { Meta::L4_GOOD };
        }
        // A match of flow director has its own number where the hash would be.
        if hashed && !matched {
            flags |= Meta::HASHED;
        }
        if matched || ether_type {
            flags |= Meta::FILTERED;
        }
        if tagged {
            flags |= Meta::TAGGED;
        }
        table[index] = flags;
        index += 1;
    }
    table
}

/// Receive descriptors, for the queue (§7.1.6).
#[derive(Debug)]
pub struct Received;

impl rx::RxFormat for Received {
    type Descriptor = Descriptor;

    const DONE: u64 = RxDone::DD;
    const LAST: u64 = RxDone::EOP;
    const BROKEN: u64 = RxDone::RXE;
    const STAMPED: u64 = RxDone::TSIP;
    const STAMP_LEN: u32 = STAMP_LEN;
    const LENGTH: u32 = 32;
    const LONGEST: u64 = 0xffff;

    #[inline(always)]
    fn words(descriptor: &Descriptor) -> &Descriptor {
        descriptor
    }
}

/// Step of the X550's clock in picoseconds: its period (X550 §7.9).
pub const STAMP_STEP_PS: u32 = 12_500;

/// Bytes of the timestamp that the X550 appends to a frame.
const STAMP_LEN: u32 = 8;

/// What a card of this family writes about a packet. `ERRATUM`: it is an
/// 82599; `STRIPPED`: VLAN tags are taken out.
pub struct Words<const ERRATUM: bool, const STRIPPED: bool>;

impl<const ERRATUM: bool, const STRIPPED: bool> Words<ERRATUM, STRIPPED> {
    const FLAGS: [u8; 1024] = flags::<ERRATUM>();
}

impl<const ERRATUM: bool, const STRIPPED: bool> Decode for Words<ERRATUM, STRIPPED> {
    #[inline(always)]
    fn meta(raw: &RawMeta<'_>) -> Meta {
        let done = RxDone(raw.words[0], raw.words[1]);
        let flags = const { &Self::FLAGS }[done.index() & 0x3ff];
        Meta {
            hash: (done.0 >> 32) as u32,
            tag: (done.1 >> 48) as u16,
            flags: if STRIPPED { flags } else { flags & !Meta::TAGGED },
            timestamp: if done.1 & RxDone::TSIP != 0 { stamp(raw.after) } else { None },
        }
    }
}

/// The X550's stamp: nanoseconds, then seconds (X550 §7.9).
fn stamp(after: &[u8]) -> Option<Timestamp> {
    let word = u64::from_le_bytes(after.get(..STAMP_LEN as usize)?.try_into().ok()?);
    let nanoseconds = word as u32;
    (nanoseconds < 1_000_000_000).then(|| Timestamp(Duration::new(word >> 32, nanoseconds)))
}

/// Second word of a transmit data descriptor (§7.2.3.2.4).
mod data {
    /// Done: written back by the card.
    pub const DD: u64 = 1 << 32;
    /// Advanced data descriptor, FCS appended by the card.
    pub const DATA: u64 = 0x0030_0000 | 0x2000_0000 | 0x0200_0000;
    /// Last descriptor of the packet.
    pub const EOP: u64 = 0x0100_0000;
    /// Report when done.
    pub const RS: u64 = 0x0800_0000;
    /// Insert the VLAN tag of the context.
    pub const VLE: u64 = 0x4000_0000;
    /// Fill in the IPv4 header checksum.
    pub const IXSM: u64 = 0x100 << 32;
    /// Fill in the transport checksum.
    pub const TXSM: u64 = 0x200 << 32;
    /// Where the length of the whole packet starts.
    pub const PAYLEN: u32 = 46;
}

/// Transmit descriptors, for the queue (§7.2.3).
#[derive(Debug)]
pub struct ToSend;

impl tx::TxFormat for ToSend {
    /// §7.2.3.3.
    const MIN_FRAME: u32 = 17;
    /// §7.2.1: 15.5 KiB with FCS.
    const MAX_FRAME: u32 = 15 * 1024 + 512 - 4;
    /// §7.2.1.1.
    const MAX_PARTS: u32 = 40;
    const LAST: u64 = data::EOP;
    const REPORT: u64 = data::RS;

    #[inline(always)]
    fn data(length: u64, total: u64) -> u64 {
        data::DATA | length | total << data::PAYLEN
    }

    #[inline(always)]
    fn done(word: u64) -> bool {
        word & data::DD != 0
    }

    fn offload(offload: &Offload) -> (u64, Option<[u64; 2]>) {
        let flags = Context::flags(offload);
        let context = Context::of(offload);
        (flags, (flags != 0).then_some([context.0, context.1]))
    }
}

/// A context descriptor: what the data descriptors after it refer to (§7.2.3.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(pub u64, pub u64);

impl Context {
    const CONTEXT: u64 = 0x0020_0000 | 0x2000_0000;
    const IPV4: u64 = 0x400;
    const L4_TCP: u64 = 0x800;
    const L4_SCTP: u64 = 0x1000;

    /// The context that `offload` needs.
    pub fn of(offload: &Offload) -> Self {
        let l4 = match offload.l4_checksum {
            Some(L4::Tcp) => Self::L4_TCP,
            Some(L4::Sctp) => Self::L4_SCTP,
            Some(L4::Udp) | None => 0,
        };
        let ip = if offload.ipv6 { 0 } else { Self::IPV4 };
        let lengths = u64::from(offload.l3_len & 0x1ff) | u64::from(offload.l2_len & 0x7f) << 9;
        Context(lengths | u64::from(offload.vlan.unwrap_or(0)) << 16, Self::CONTEXT | ip | l4)
    }

    /// Bits of the data descriptors of a packet that wants `offload`.
    pub fn flags(offload: &Offload) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(offload.vlan.is_some(), data::VLE)
            | bit(offload.ip_checksum && !offload.ipv6, data::IXSM)
            | bit(offload.l4_checksum.is_some(), data::TXSM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Checksum, Checksums, Decoder};

    fn meta<const E: bool, const S: bool>(w0: u64, w1: u64) -> Meta {
        Decoder::of::<Words<E, S>>().decode(&RawMeta { words: [w0, w1], before: &[], after: &[] })
    }

    #[test]
    fn a_written_back_descriptor_reads_as_the_datasheet_draws_it() {
        // RSS over IPv4/TCP, hash 0xdeadbeef; 60 bytes, VLAN 0x123, IP good, L4 bad.
        let w0 = 0xdead_beef_0000_0111;
        let w1 = 0x0123_003c_0000_0000 | RxDone::TCPE | 0b0110_1011;
        assert_eq!(<Received as rx::RxFormat>::len(w1), 60);
        let seen = meta::<true, true>(w0, w1);
        assert_eq!((seen.rss_hash(), seen.vlan()), (Some(0xdead_beef), Some(0x123)));
        assert_eq!(seen.checksums(), Checksums { ip: Checksum::Good, l4: Checksum::Bad });
        assert_eq!(meta::<true, false>(w0, w1).vlan(), None, "the tag is still in the frame");
    }

    #[test]
    fn the_82599_cannot_be_believed_about_a_udp_checksum() {
        let (w0, w1) = (0x0210, RxDone::TCPE | RxDone::L4CS | RxDone::DD);
        assert_eq!(meta::<true, false>(w0, w1).checksums().l4, Checksum::Unknown);
        assert_eq!(meta::<false, false>(w0, w1).checksums().l4, Checksum::Bad);
        assert_eq!(meta::<true, false>(w0, RxDone::L4CS).checksums().l4, Checksum::Good);
    }

    #[test]
    fn a_stamp_is_read_after_the_frame_or_not_at_all() {
        let after = [5u64.to_le_bytes()[0], 0, 0, 0, 7, 0, 0, 0, 9];
        let raw = |after| RawMeta { words: [0, RxDone::TSIP], before: &[], after };
        assert_eq!(
            Decoder::of::<Words<false, false>>().decode(&raw(&after)).timestamp,
            Some(Timestamp(Duration::new(7, 5)))
        );
        assert_eq!(Decoder::of::<Words<false, false>>().decode(&raw(&after[..7])).timestamp, None);
        assert_eq!(
            Decoder::of::<Words<false, false>>().decode(&raw(&[0xff; 8])).timestamp,
            None,
            "nanoseconds beyond a second"
        );
    }

    #[test]
    fn a_context_carries_the_lengths_and_the_tag() {
        let offload = Offload {
            l2_len: 14,
            l3_len: 20,
            ip_checksum: true,
            l4_checksum: Some(L4::Tcp),
            ipv6: false,
            vlan: Some(0x7b),
        };
        assert_eq!(Context::of(&offload), Context(0x7b << 16 | 14 << 9 | 20, 0x2020_0c00));
        assert_eq!(Context::flags(&offload), data::VLE | data::IXSM | data::TXSM);
        assert_eq!(Context::flags(&Offload::default()), 0);
    }
}
