//! What a device said about a received packet, and how it is decoded.

use super::{BATCH_MAX, Batch};
use std::fmt;
use std::time::Duration;

/// What a device wrote about a packet, undecoded.
pub struct RawMeta<'a> {
    /// The words of its write-back or completion.
    pub words: [u64; 2],
    /// The buffer before the frame, where some cards write a prefix.
    pub before: &'a [u8],
    /// The buffer after the frame, where some cards append a timestamp.
    pub after: &'a [u8],
}

/// How a family's words are decoded.
pub trait Decode: 'static {
    /// What they say, as far as possible without branches.
    fn meta(raw: &RawMeta<'_>) -> Meta;
}

/// A [`Decode`], chosen when a port is opened.
#[derive(Clone, Copy)]
pub struct Decoder {
    one: fn(&RawMeta<'_>) -> Meta,
    all: fn(&Batch<'_>, &mut [Meta; BATCH_MAX]),
}

impl Decoder {
    /// That decodes as `D` does.
    pub const fn of<D: Decode>() -> Self {
        Decoder { one: D::meta, all: decode_all::<D> }
    }

    /// What the words say.
    pub fn decode(self, raw: &RawMeta<'_>) -> Meta {
        (self.one)(raw)
    }

    /// What the words of each packet of `batch` say.
    pub(super) fn decode_all(self, batch: &Batch<'_>, into: &mut [Meta; BATCH_MAX]) {
        (self.all)(batch, into);
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

/// A loop of each family's own, so that its decoding is a part of it.
fn decode_all<D: Decode>(batch: &Batch<'_>, into: &mut [Meta; BATCH_MAX]) {
    for (entry, meta) in batch.entries().iter().zip(into) {
        *meta = D::meta(&batch.raw(entry));
    }
}

/// The decoder of devices that report no metadata.
pub struct Nothing;

impl Decode for Nothing {
    #[inline(always)]
    fn meta(_: &RawMeta<'_>) -> Meta {
        Meta::default()
    }
}

/// What a device said about a received packet.
///
/// It is kept as devices say it, in words and flags, so that neither decoding
/// nor copying it has branches.
#[derive(Clone, Copy, Default)]
pub struct Meta {
    /// RSS hash, if [`Meta::HASHED`].
    pub(crate) hash: u32,
    /// VLAN tag control information, if [`Meta::TAGGED`].
    pub(crate) tag: u16,
    /// What there is, and the verdict on the checksums.
    pub(crate) flags: u8,
    /// When the card received it, if it has a clock for that.
    pub timestamp: Option<Timestamp>,
}

impl Meta {
    /// In `flags`: there is a hash.
    pub(crate) const HASHED: u8 = 1 << 0;
    /// A tag was taken out.
    pub(crate) const TAGGED: u8 = 1 << 1;
    /// The IPv4 header's checksum is right.
    pub(crate) const IP_GOOD: u8 = 1 << 2;
    /// It is wrong.
    pub(crate) const IP_BAD: u8 = Self::IP_GOOD << 1;
    /// The checksum of TCP, UDP or SCTP is right.
    pub(crate) const L4_GOOD: u8 = 1 << 4;
    /// It is wrong.
    pub(crate) const L4_BAD: u8 = Self::L4_GOOD << 1;
    /// A filter chose the queue.
    pub(crate) const FILTERED: u8 = 1 << 6;

    /// RSS hash, if the card computed one.
    pub fn rss_hash(&self) -> Option<u32> {
        self.has(Self::HASHED).then_some(self.hash)
    }

    /// VLAN tag control information, if the card took a tag out of the frame.
    pub fn vlan(&self) -> Option<u16> {
        self.has(Self::TAGGED).then_some(self.tag)
    }

    /// The card's verdict on the checksums.
    pub fn checksums(&self) -> Checksums {
        let verdict = |good, bad| match (self.has(good), self.has(bad)) {
            (_, true) => Checksum::Bad,
            (true, false) => Checksum::Good,
            (false, false) => Checksum::Unknown,
        };
        Checksums { ip: verdict(Self::IP_GOOD, Self::IP_BAD), l4: verdict(Self::L4_GOOD, Self::L4_BAD) }
    }

    /// Whether a filter (5-tuple, flow director) chose the queue.
    pub fn filtered(&self) -> bool {
        self.has(Self::FILTERED)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// All that it says; what there is not is left out, whatever its words hold.
    fn said(&self) -> (Option<u32>, Option<u16>, Checksums, bool, Option<Timestamp>) {
        (self.rss_hash(), self.vlan(), self.checksums(), self.filtered(), self.timestamp)
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.said() == other.said()
    }
}

impl Eq for Meta {}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hash, vlan, checksums, filtered, timestamp) = self.said();
        write!(f, "Meta({hash:?}, {vlan:?}, {checksums:?}, {filtered}, {timestamp:?})")
    }
}

/// The card's verdict on one checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Not looked at.
    #[default]
    Unknown,
    /// Right.
    Good,
    /// Wrong.
    Bad,
}

/// The card's verdict on a packet's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// IPv4 header.
    pub ip: Checksum,
    /// TCP, UDP or SCTP.
    pub l4: Checksum,
}

/// A time that a card's clock put on a packet, since that clock's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub Duration);
