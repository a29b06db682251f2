//! What a card said of a received frame: in its event, and in the prefix before it.
//!
//! ```text
//!   prefix   [ hash:32 | VLAN tag:16 | inner tag:16 | length:16 | time:32 ]   14 bytes
//! ```
//!
//! All is decoded when it is asked for, from the event, the last time event and
//! the prefix where it lies. Only where the prefix is out of reach, for a frame
//! of several buffers or one whose tag was taken out, is it read at once and kept
//! in other words.

use super::ev::{Event, class};
use super::time::{Sync, TimeFormat};
use crate::dma::{Decode, Decoder, Meta, RawMeta, Timestamp};
use std::time::Duration;

/// In an entry's second word: the words are [`cooked`], not the event and [`Sync`].
const COOKED: u64 = 1 << 63;

/// How the frames of a queue are to be read.
#[derive(Clone, Copy)]
pub struct PrefixFormat {
    /// Descriptors that the card is to have, at most.
    pub window: u32,
    /// Longest frame without FCS and tags.
    pub max_frame: u32,
    /// Take VLAN tags out.
    pub strip: bool,
    /// The prefix holds a hash.
    pub hashed: bool,
    /// The prefix holds a time in this format.
    pub stamped: Option<TimeFormat>,
}

impl PrefixFormat {
    /// What reads it.
    pub fn decoder(self) -> Decoder {
        const NONE: u8 = 0;
        const QUARTER: u8 = 1;
        const SEVENTH: u8 = 2;
        const WHOLE: u8 = 3;
        match (self.hashed, self.stamped) {
            (false, None) => Decoder::of::<Words<false, NONE>>(),
            (true, None) => Decoder::of::<Words<true, NONE>>(),
            (false, Some(TimeFormat::QuarterNanoseconds)) => Decoder::of::<Words<false, QUARTER>>(),
            (true, Some(TimeFormat::QuarterNanoseconds)) => Decoder::of::<Words<true, QUARTER>>(),
            (false, Some(TimeFormat::Fraction27)) => Decoder::of::<Words<false, SEVENTH>>(),
            (true, Some(TimeFormat::Fraction27)) => Decoder::of::<Words<true, SEVENTH>>(),
            (false, Some(TimeFormat::Nanoseconds)) => Decoder::of::<Words<false, WHOLE>>(),
            (true, Some(TimeFormat::Nanoseconds)) => Decoder::of::<Words<true, WHOLE>>(),
        }
    }
}

/// Event, time and prefix of a frame. `TIME`: the format of its stamp.
struct Words<const HASHED: bool, const TIME: u8>;

impl<const HASHED: bool, const TIME: u8> Decode for Words<HASHED, TIME> {
    #[inline(always)]
    fn meta(raw: &RawMeta<'_>) -> Meta {
        let [event, notes] = raw.words;
        if notes & COOKED != 0 {
            return uncooked(event, notes);
        }
        let event = Event(event);
        let word = |at: usize| {
            let bytes = raw.before.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes)
        };
        let format = match TIME {
            0 => None,
            1 => Some(TimeFormat::QuarterNanoseconds),
            2 => Some(TimeFormat::Fraction27),
            _ => Some(TimeFormat::Nanoseconds),
        };
        let timestamp = format.and_then(|format| Sync(notes).received(format, word(10)?));
        let hash = if HASHED && is_ip(event) { word(0) } else { None };
        let hashed = if hash.is_some() { Meta::HASHED } else { 0 };
        Meta { hash: hash.unwrap_or(0), tag: 0, flags: checksums(event) | hashed, timestamp }
    }
}

fn is_ip(event: Event) -> bool {
    matches!(event.l3_class(), class::IPV4 | class::IPV6 | class::IPV4_FRAGMENT | class::IPV6_FRAGMENT)
}

/// The card's verdict, as flags.
#[inline(always)]
fn checksums(event: Event) -> u8 {
    let verdict = |looked_at, wrong, good, bad| match (looked_at, event.0 & wrong != 0) {
        (false, _) => 0,
        (true, false) => good,
        (true, true) => bad,
    };
    let complete = event.0 & Event::PARSE_INCOMPLETE == 0;
    let ipv4 = matches!(event.l3_class(), class::IPV4 | class::IPV4_FRAGMENT);
    let l4 =
        matches!(event.l4_class(), class::TCP | class::UDP) && matches!(event.l3_class(), class::IPV4 | class::IPV6);
    verdict(complete && ipv4, Event::IP_CHECKSUM, Meta::IP_GOOD, Meta::IP_BAD)
        | verdict(complete && l4, Event::L4_CHECKSUM, Meta::L4_GOOD, Meta::L4_BAD)
}

/// What [`uncooked`] gives back: words for a frame whose prefix is out of reach.
///
/// ```text
///   first    [ VLAN tag:16 | 8 | flags:8 | hash:32 ]
///   second   [ cooked:1 | stamped:1 | nanoseconds:30 | seconds:32 ]
/// ```
pub fn cooked(meta: &Meta, vlan: Option<u16>) -> [u64; 2] {
    let flags = meta.flags | if vlan.is_some() { Meta::TAGGED } else { 0 };
    let first = u64::from(meta.hash) | u64::from(flags) << 32 | u64::from(vlan.unwrap_or(0)) << 48;
    let time = meta
        .timestamp
        .map_or(0, |Timestamp(time)| 1 << 62 | time.as_secs() & 0xffff_ffff | u64::from(time.subsec_nanos()) << 32);
    [first, time | COOKED]
}

/// Reads the words that [`cooked`] made.
fn uncooked(first: u64, second: u64) -> Meta {
    let time = Duration::from_secs(second & 0xffff_ffff) + Duration::from_nanos(second >> 32 & 0x3fff_ffff);
    Meta {
        hash: first as u32,
        tag: (first >> 48) as u16,
        flags: (first >> 32) as u8,
        timestamp: (second >> 62 & 1 != 0).then_some(Timestamp(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Checksum, Checksums};

    #[test]
    fn what_was_cooked_reads_as_it_was() {
        let udp = Event(class::IPV4 << 42 | class::UDP << 45 | Event::L4_CHECKSUM);
        let stamp = Some(Timestamp(Duration::new(4_000_000_000, 999_999_999)));
        let meta = Meta { hash: 0xdead_beef, tag: 0, flags: Meta::HASHED | checksums(udp), timestamp: stamp };
        let [first, second] = cooked(&meta, Some(0x2064));
        let read = uncooked(first, second);
        assert_eq!((read.rss_hash(), read.vlan(), read.timestamp), (Some(0xdead_beef), Some(0x2064), stamp));
        assert_eq!(read.checksums(), Checksums { ip: Checksum::Good, l4: Checksum::Bad });
        let [first, second] = cooked(&Meta::default(), None);
        assert_eq!(uncooked(first, second), Meta::default());
    }

    #[test]
    fn a_prefix_is_read_where_it_lies() {
        let mut before = [0; 14];
        before[..4].copy_from_slice(&0x1122_3344u32.to_le_bytes());
        before[10..].copy_from_slice(&40u32.to_le_bytes());
        let event = class::IPV6 << 42 | class::TCP << 45;
        let sync = Sync::new(0).at(5 | 3 << 36);
        let read = |decoder: Decoder| decoder.decode(&RawMeta { words: [event, sync.0], before: &before, after: &[] });
        let meta = read(Decoder::of::<Words<true, 1>>());
        assert_eq!(meta.rss_hash(), Some(0x1122_3344));
        assert_eq!(meta.timestamp, Some(Timestamp(Duration::new(5, 10))));
        assert_eq!(meta.checksums(), Checksums { ip: Checksum::Unknown, l4: Checksum::Good });
        assert_eq!(read(Decoder::of::<Words<false, 0>>()).rss_hash(), None);
    }
}
