//! Descriptors of the X710 family: words in memory, fields in registers.
//!
//! ```text
//!   receive, as given     [ buffer address | 0 ]                                  (two more words of 0)
//!   receive, as returned  [ hash:32 . vlan:16 . - | 0.hdr:11 . length:14 . type:8 . - . error:8 . status:19 ]
//!   transmit, data        [ buffer address | vlan:16 . length:14 . offsets:18 . command:12 . type:4 ]
//!   filter program        [ vsi:9 . type:6 . queue:11 | id:32 . - . dest:2 . command:3 . type:4 ]
//! ```
//!
//! A receive descriptor has 16 bytes or 32, as its queue is told. A descriptor
//! in memory is atomic words that the card may write at any time. It is read
//! once, into a value; whatever is then asked of the value is arithmetic.

use crate::dma::{Decode, L4, Meta, Offload, RawMeta};
use crate::driver::{rx, tx};
use std::sync::atomic::AtomicU64;

/// A transmit or a short receive descriptor in memory.
pub type Short = [AtomicU64; 2];

/// A long receive descriptor in memory.
pub type Long = [AtomicU64; 4];

const _: () = assert!(size_of::<Short>() == 16 && size_of::<Long>() == 32, "§8.3.2, §8.4.2");

/// Second word of a received descriptor (§8.3.2.2).
pub mod status {
    /// Descriptor done.
    pub const DD: u64 = 1 << 0;
    /// End of packet.
    pub const EOF: u64 = 1 << 1;
    /// A VLAN tag was taken out (L2TAG1P).
    pub const L2TAG1P: u64 = 1 << 2;
    /// Checksums were looked at (L3L4P).
    pub const L3L4P: u64 = 1 << 3;
    /// Flow director matched (FLM).
    pub const FLM: u64 = 1 << 11;
    /// Both bits of FLTSTAT: the first word carries the hash.
    pub const HASHED: u64 = 0b11 << 12;
    /// An IPv6 header names another address, which the sum should have been taken over
    /// (IPV6EXADD).
    pub const IPV6EXADD: u64 = 1 << 15;
    /// The frame is broken (RXE).
    pub const RXE: u64 = 1 << 19;
    /// The IPv4 header checksum is wrong (IPE).
    pub const IPE: u64 = 1 << 22;
    /// The transport checksum is wrong (L4E).
    pub const L4E: u64 = 1 << 23;
    /// It came too fast to be looked into (PPRS).
    pub const PPRS: u64 = 1 << 26;
    /// Where the packet type starts, 8 bits.
    pub const PTYPE: u32 = 30;
    /// Where the length starts, 14 bits.
    pub const LENGTH: u32 = 38;
}

/// Receive descriptors of 16 bytes, for the queue.
#[derive(Debug)]
pub struct ReceivedShort;

/// Receive descriptors of 32 bytes, for the queue.
#[derive(Debug)]
pub struct ReceivedLong;

impl rx::RxFormat for ReceivedShort {
    type Descriptor = Short;

    const DONE: u64 = status::DD;
    const LAST: u64 = status::EOF;
    const BROKEN: u64 = status::RXE;
    const STAMPED: u64 = 0;
    const STAMP_LEN: u32 = 0;
    const LENGTH: u32 = status::LENGTH;
    const LONGEST: u64 = 0x3fff;

    #[inline(always)]
    fn words(descriptor: &Short) -> &Short {
        descriptor
    }
}

impl rx::RxFormat for ReceivedLong {
    type Descriptor = Long;

    const DONE: u64 = status::DD;
    const LAST: u64 = status::EOF;
    const BROKEN: u64 = status::RXE;
    const STAMPED: u64 = 0;
    const STAMP_LEN: u32 = 0;
    const LENGTH: u32 = status::LENGTH;
    const LONGEST: u64 = 0x3fff;

    #[inline(always)]
    fn words(descriptor: &Long) -> &[AtomicU64; 2] {
        &descriptor.as_chunks().0[0]
    }
}

/// What a card of this family writes about a packet. `STRIPPED`: VLAN tags are
/// taken out.
pub struct Words<const STRIPPED: bool>;

impl<const STRIPPED: bool> Decode for Words<STRIPPED> {
    #[inline(always)]
    fn meta(raw: &RawMeta<'_>) -> Meta {
        let [first, word] = raw.words;
        let flags = SAID[said(word)] & SEEN[(word >> status::PTYPE) as u8 as usize];
        Meta {
            hash: (first >> 32) as u32,
            tag: (first >> 16) as u16,
            flags: if STRIPPED { flags } else { flags & !Meta::TAGGED },
            timestamp: None,
        }
    }
}

/// The bits of a received descriptor that say something of any packet.
const SAYING: [u64; 9] = [
    status::L2TAG1P,
    status::L3L4P,
    status::FLM,
    1 << 12,
    1 << 13,
    status::IPV6EXADD,
    status::IPE,
    status::L4E,
    status::PPRS,
];

/// What [`SAYING`] selects, moved together: the product has copies of the bits in many
/// places, of which the upper nine differ for any two words. [`SAID`] makes sure.
#[inline(always)]
const fn said(word: u64) -> usize {
    let mut all = 0;
    let mut bit = 0;
    while bit < SAYING.len() {
        all |= SAYING[bit];
        bit += 1;
    }
    ((word & all) as u32).wrapping_mul(0x0104_0104) as usize >> 23
}

/// The flags for each [`said`], of a packet of which the card looks at all checksums.
const SAID: [u8; 512] = {
    let mut table = [0; 512];
    let mut made = [false; 512];
    let mut choice = 0;
    while choice < table.len() {
        let mut word = 0;
        let mut bit = 0;
        while bit < SAYING.len() {
            word |= if choice >> bit & 1 != 0 { SAYING[bit] } else { 0 };
            bit += 1;
        }
        let index = said(word);
        assert!(!made[index], "two words of one index");
        made[index] = true;
        if word & (status::L3L4P | status::IPV6EXADD | status::PPRS) == status::L3L4P {
            table[index] |= if word & status::IPE != 0 { Meta::IP_BAD } else { Meta::IP_GOOD };
            table[index] |= if word & status::L4E != 0 { Meta::L4_BAD } else { Meta::L4_GOOD };
        }
        if word & status::HASHED == status::HASHED {
            table[index] |= Meta::HASHED;
        }
        if word & status::L2TAG1P != 0 {
            table[index] |= Meta::TAGGED;
        }
        if word & status::FLM != 0 {
            table[index] |= Meta::FILTERED;
        }
        choice += 1;
    }
    table
};

/// Of these, the flags that a packet type may have: verdicts on the checksums that such a
/// packet has (§8.3.4.1; types of plain IPv4 and IPv6 packets, table 8-21), and what is not
/// a verdict.
const SEEN: [u8; 256] = {
    const IP: u8 = Meta::IP_GOOD | Meta::IP_BAD;
    const L4: u8 = Meta::L4_GOOD | Meta::L4_BAD;
    let mut table = [Meta::HASHED | Meta::TAGGED | Meta::FILTERED; 256];
    let mut ptype = 0;
    while ptype < table.len() {
        table[ptype] |= match ptype {
            24 | 26 | 27 => IP | L4,
            22 | 23 | 28 => IP,
            90 | 92 | 93 => L4,
            _ => 0,
        };
        ptype += 1;
    }
    table
};

/// Second word of a transmit data descriptor (§8.4.2.1).
pub mod data {
    /// Report (RS) done: the descriptor's type is this.
    pub const DONE: u64 = 0xf;
    /// End of packet.
    pub const EOP: u64 = 0x1 << 4;
    /// Report when done.
    pub const RS: u64 = 0x2 << 4;
    /// Append the FCS.
    pub const ICRC: u64 = 0x4 << 4;
    /// Insert the VLAN tag in bits 63:48.
    pub const IL2TAG1: u64 = 0x8 << 4;
    /// Not to be sent, but read by the filter before it.
    pub const DUMMY: u64 = 0x10 << 4;
    /// IPv6.
    pub const IPV6: u64 = 0x20 << 4;
    /// IPv4, header checksum as it is.
    pub const IPV4: u64 = 0x40 << 4;
    /// IPv4, header checksum to be filled in.
    pub const IPV4_CSUM: u64 = 0x60 << 4;
    /// TCP checksum.
    pub const TCP: u64 = 0x100 << 4;
    /// SCTP checksum.
    pub const SCTP: u64 = 0x200 << 4;
    /// UDP checksum.
    pub const UDP: u64 = 0x300 << 4;
    /// Where the length of the Ethernet header starts, in 2 bytes.
    pub const MACLEN: u32 = 16;
    /// Where the length of the IP header starts, in 4 bytes.
    pub const IPLEN: u32 = 23;
    /// Where the length of the transport header starts, in 4 bytes.
    pub const L4LEN: u32 = 30;
    /// Where the length of the buffer starts.
    pub const LENGTH: u32 = 34;
    /// Where the VLAN tag starts.
    pub const L2TAG1: u32 = 48;
}

/// Transmit descriptors, for the queue (§8.4.2).
#[derive(Debug)]
pub struct ToSend;

impl tx::TxFormat for ToSend {
    /// §8.4.1: the card pads from 17 bytes on.
    const MIN_FRAME: u32 = 17;
    /// 9728 bytes with FCS.
    const MAX_FRAME: u32 = super::MAX_FRAME as u32;
    /// §8.4.1.
    const MAX_PARTS: u32 = 8;
    const LAST: u64 = data::EOP;
    const REPORT: u64 = data::RS;

    #[inline(always)]
    fn data(length: u64, _total: u64) -> u64 {
        data::ICRC | length << data::LENGTH
    }

    #[inline(always)]
    fn done(word: u64) -> bool {
        word & data::DONE == data::DONE
    }

    /// All of it fits in the data descriptor.
    fn offload(offload: &Offload) -> (u64, Option<[u64; 2]>) {
        let mut bits = offload.vlan.map_or(0, |tag| data::IL2TAG1 | u64::from(tag) << data::L2TAG1);
        let ip_checksum = offload.ip_checksum && !offload.ipv6;
        if ip_checksum || offload.l4_checksum.is_some() {
            bits |= match (offload.ipv6, ip_checksum) {
                (true, _) => data::IPV6,
                (false, false) => data::IPV4,
                (false, true) => data::IPV4_CSUM,
            };
            bits |= u64::from(offload.l2_len / 2) << data::MACLEN | u64::from(offload.l3_len / 4) << data::IPLEN;
        }
        // The transport header without options, which is all that a checksum needs.
        bits |= match offload.l4_checksum {
            None => 0,
            Some(L4::Tcp) => data::TCP | 5 << data::L4LEN,
            Some(L4::Sctp) => data::SCTP | 3 << data::L4LEN,
            Some(L4::Udp) => data::UDP | 2 << data::L4LEN,
        };
        (bits, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Checksum, Checksums, Decoder};
    use crate::driver::rx::RxFormat as _;
    use crate::driver::tx::TxFormat as _;
    use proptest::prelude::*;

    #[test]
    fn a_written_back_descriptor_reads_as_the_datasheet_draws_it() {
        // UDP over IPv4, 60 bytes, VLAN 0x123, hash 0xdeadbeef, IP good, L4 bad.
        let first = 0xdead_beef_0123_0000;
        let word = 60 << 38 | 24 << 30 | status::L4E | status::HASHED | status::L3L4P | status::L2TAG1P | 0b11;
        assert_eq!((ReceivedShort::len(word), ReceivedLong::len(word)), (60, 60));
        let raw = RawMeta { words: [first, word], before: &[], after: &[] };
        let seen = Decoder::of::<Words<true>>().decode(&raw);
        assert_eq!((seen.rss_hash(), seen.vlan(), seen.filtered()), (Some(0xdead_beef), Some(0x123), false));
        assert_eq!(seen.checksums(), Checksums { ip: Checksum::Good, l4: Checksum::Bad });
        assert_eq!(Decoder::of::<Words<false>>().decode(&raw).vlan(), None, "the tag is still in the frame");
        for not_judged in [word & !status::L3L4P, word | status::PPRS, word | status::IPV6EXADD] {
            let raw = RawMeta { words: [first, not_judged], before: &[], after: &[] };
            assert_eq!(Decoder::of::<Words<true>>().decode(&raw).checksums(), Checksums::default());
        }
    }

    proptest! {
        #[test]
        fn the_tables_say_what_each_bit_says(first: u64, random: u64, type_ in 0_u64..=100) {
            let word = random & !(0xff << status::PTYPE) | type_ << status::PTYPE;
            let all = |bits: u64| word & bits == bits;
            let judged = word & (status::L3L4P | status::IPV6EXADD | status::PPRS) == status::L3L4P;
            let verdict = |types: &[u64], wrong| match (judged && types.contains(&type_), all(wrong)) {
                (false, _) => Checksum::Unknown,
                (true, true) => Checksum::Bad,
                (true, false) => Checksum::Good,
            };
            let ip = verdict(&[22, 23, 24, 26, 27, 28], status::IPE);
            let l4 = verdict(&[24, 26, 27, 90, 92, 93], status::L4E);
            let raw = RawMeta { words: [first, word], before: &[], after: &[] };
            let seen = Decoder::of::<Words<true>>().decode(&raw);
            assert_eq!(seen.checksums(), Checksums { ip, l4 });
            assert_eq!(seen.rss_hash(), all(status::HASHED).then_some((first >> 32) as u32));
            assert_eq!(seen.vlan(), all(status::L2TAG1P).then_some((first >> 16) as u16));
            assert_eq!(seen.filtered(), all(status::FLM));
            assert_eq!(seen.timestamp, None);
        }
    }

    #[test]
    fn a_long_descriptor_is_given_and_returned_in_its_first_half() {
        let long: Long = Default::default();
        assert!(std::ptr::eq(&ReceivedLong::words(&long)[1], &long[1]));
    }

    #[test]
    fn an_offload_is_all_in_the_data_descriptor() {
        let offload = Offload {
            l2_len: 14,
            l3_len: 20,
            ip_checksum: true,
            l4_checksum: Some(L4::Udp),
            ipv6: false,
            vlan: Some(0x7b),
        };
        let (bits, context) = ToSend::offload(&offload);
        assert_eq!(context, None);
        assert_eq!(bits, 0x7b << 48 | 2 << 30 | 5 << 23 | 7 << 16 | (0x300 | 0x60 | 0x8) << 4);
        assert_eq!(ToSend::offload(&Offload::default()), (0, None));
        assert_eq!(ToSend::data(60, 60), 60 << 34 | 0x40);
    }
}
