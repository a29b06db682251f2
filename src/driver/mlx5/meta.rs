//! What a card said of a received frame, as far as there is room for it.
//!
//! ```text
//!   without stamps   [ kind of hash:32 | checks:8 . headers:8 . tag:16 ]   [ flow tag:32 | hash:32 ]
//!   with stamps      [ flags:16 . tag:16 | hash:32 ]                       [ nanoseconds:64, 0: none ]
//! ```
//!
//! Without stamps these are parts of the completion as it lies in memory, low half
//! first, to be decoded when someone asks. A stamp takes the place of what can be said
//! shorter, and that is done at once.
//!
//! A tag that was not taken out is in the frame and nowhere else. A checksum that the
//! card did not come to is neither right nor wrong: of a fragment, of what is in a packet
//! whose IP header is wrong already, of another protocol. Nor is one of UDP that is not
//! right, as it may be none.

use super::clock::Clock;
use super::cqe::{Words, word};
use crate::dma::{Decode, Decoder, Meta, RawMeta, Timestamp};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the card looked at: byte 0x1c, without L2.
mod checks {
    pub const L3_OK: usize = 1 << 1;
    pub const L4_OK: usize = 1 << 2;
}

/// What the frame is: byte 0x1d.
mod headers {
    pub const TAG_TAKEN: usize = 1 << 0;
    pub const L3: usize = 3 << 2;
    pub const IPV4: usize = 2 << 2;
    pub const L4: usize = 7 << 4;
    pub const UDP: usize = 2 << 4;
    pub const FRAGMENT: usize = 1 << 7;
}

/// Kinds of hash, of either layer: byte 0x10. None of them: there is no hash.
const HASHED: u64 = 3 << 2 | 3 << 6;

/// Bytes of the flow tag in the word that begins with it.
const FLOW_TAG: u64 = 0xffff_ff00;

/// Flags of [`Meta`], but for those of hash and flow, by `headers` in the lower eight bits
/// and [`checks`] above.
static FLAGS: [u8; 1024] = {
    let mut flags = [0; 1024];
    let mut n = 0;
    while n < flags.len() {
        let (l3_ok, l4_ok) = (n >> 7 & checks::L3_OK != 0, n >> 7 & checks::L4_OK != 0);
        if n & headers::TAG_TAKEN != 0 {
            flags[n] |= Meta::TAGGED;
        }
        if n & headers::L3 == headers::IPV4 {
            flags[n] |= if l3_ok { Meta::IP_GOOD } else { Meta::IP_BAD };
        }
        if n & headers::L4 != 0 && n & headers::FRAGMENT == 0 {
            flags[n] |= match (l4_ok, l3_ok) {
                (true, _) => Meta::L4_GOOD,
                // There may be none: it is 0 then.
                (false, true) if n & headers::L4 == headers::UDP && n & headers::L3 == headers::IPV4 => 0,
                (false, true) => Meta::L4_BAD,
                (false, false) => 0,
            };
        }
        n += 1;
    }
    flags
};

/// The words to keep of a completion without stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report(pub [u64; 2]);

impl Report {
    /// Of an entry that is there and ends with `tail`.
    #[inline(always)]
    pub fn of(entry: &Words, tail: u64) -> Self {
        let at = |n: usize| entry[n].load(Ordering::Relaxed);
        Report([
            u64::from(at(word::HASH_KIND) as u32) | at(word::CHECKS) & UPPER,
            u64::from(tail as u32) | at(word::HASH) & UPPER,
        ])
    }

    /// The same of a frame that differs in its hash, the lower half of `mini`.
    #[inline(always)]
    #[must_use]
    pub fn with_hash(self, mini: u64) -> Self {
        Report([self.0[0], u64::from(self.0[1] as u32) | mini << 32])
    }

    /// What it says.
    #[inline(always)]
    pub fn meta(self) -> Meta {
        let [kinds, rest] = self.0;
        let hashed = if kinds & HASHED != 0 { Meta::HASHED } else { 0 };
        let filtered = if rest & FLOW_TAG != 0 { Meta::FILTERED } else { 0 };
        // Bits 1 and 2 of one byte, and the whole of the next.
        let index = (kinds >> 33 & 3) << 8 | kinds >> 40 & 0xff;
        Meta {
            hash: ((rest >> 32) as u32).swap_bytes(),
            tag: ((kinds >> 48) as u16).swap_bytes(),
            flags: FLAGS[index as usize] | hashed | filtered,
            timestamp: None,
        }
    }

    /// The words to keep of it with the time in `entry`.
    #[inline(always)]
    pub fn stamped(self, entry: &Words, clock: Clock) -> [u64; 2] {
        let Meta { hash, tag, flags, .. } = self.meta();
        let stamp = u64::from_be(entry[word::TIME].load(Ordering::Relaxed));
        [u64::from(hash) << 32 | u64::from(tag) << 16 | u64::from(flags), clock.nanoseconds(stamp)]
    }
}

/// The upper half of a word.
const UPPER: u64 = 0xffff_ffff << 32;

/// What [`Report`] has kept.
struct Raw;

impl Decode for Raw {
    #[inline(always)]
    fn meta(raw: &RawMeta<'_>) -> Meta {
        Report(raw.words).meta()
    }
}

/// What [`Report::stamped`] has kept.
struct Stamped;

impl Decode for Stamped {
    #[inline(always)]
    fn meta(raw: &RawMeta<'_>) -> Meta {
        let [said, time] = raw.words;
        let timestamp = (time != 0).then(|| Timestamp(Duration::from_nanos(time)));
        Meta { hash: (said >> 32) as u32, tag: (said >> 16) as u16, flags: said as u8, timestamp }
    }
}

/// What reads the words of a queue.
pub fn decoder(stamped: bool) -> Decoder {
    if stamped { Decoder::of::<Stamped>() } else { Decoder::of::<Raw>() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Checksum, Checksums};

    fn read(stamped: bool, words: [u64; 2]) -> Meta {
        decoder(stamped).decode(&RawMeta { words, before: &[], after: &[] })
    }

    /// Both ways of keeping an entry of such bytes, which must not differ.
    fn meta(bytes: [u8; 64]) -> Meta {
        let word = |n: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * n + i]));
        let entry: Words = std::array::from_fn(|n| word(n).into());
        let report = Report::of(&entry, word(7));
        let stamped = read(true, report.stamped(&entry, Clock::RealTime));
        let raw = read(false, report.0);
        assert_eq!(raw, Meta { timestamp: None, ..stamped });
        stamped
    }

    fn entry(set: &[(usize, u8)]) -> [u8; 64] {
        let mut bytes = [0; 64];
        set.iter().for_each(|&(at, byte)| bytes[at] = byte);
        bytes
    }

    #[test]
    fn an_entry_says_what_it_says_and_no_more() {
        let hash = [(0xc, 0xde), (0xd, 0xad), (0xe, 0xbe), (0xf, 0xef), (0x1e, 0x20), (0x1f, 0x64)];
        let nothing = meta(entry(&hash));
        assert_eq!((nothing.rss_hash(), nothing.vlan(), nothing.filtered()), (None, None, false));
        assert_eq!((nothing.checksums(), nothing.timestamp), (Checksums::default(), None));
        for kind in [0x04, 0x08, 0x40, 0x80, 0xc0, 0x48] {
            let all = meta(entry(&[&hash[..], &[(0x10, kind), (0x1d, 1), (0x3b, 1)]].concat()));
            assert_eq!((all.rss_hash(), all.vlan(), all.filtered()), (Some(0xdead_beef), Some(0x2064), true));
        }
        assert_eq!(meta(entry(&[&hash[..], &[(0x10, 0x33)]].concat())).rss_hash(), None, "other bits");
        assert!(!meta(entry(&[(0x38, 0x0a)])).filtered(), "no part of the flow tag");
        assert!(meta(entry(&[(0x39, 0x80)])).filtered());
    }

    #[test]
    fn what_was_not_looked_at_is_neither_right_nor_wrong() {
        use Checksum::{Bad, Good, Unknown};
        let verdict = |checks, headers| {
            let Checksums { ip, l4 } = meta(entry(&[(0x1c, checks), (0x1d, headers)])).checksums();
            (ip, l4)
        };
        for l4 in [1, 2, 3, 4] {
            assert_eq!(verdict(7, 0x08 | l4 << 4), (Good, Good));
            assert_eq!(verdict(6, 0x08 | l4 << 4), (Good, Good), "L2 is no checksum");
            assert_eq!(verdict(3, 0x08 | l4 << 4), (Good, if l4 == 2 { Unknown } else { Bad }));
            assert_eq!(verdict(1, 0x08 | l4 << 4), (Bad, Unknown));
            assert_eq!(verdict(3, 0x88 | l4 << 4), (Good, Unknown), "a fragment");
            assert_eq!(verdict(7, 0x04 | l4 << 4), (Unknown, Good), "IPv6 has none");
            assert_eq!(verdict(3, 0x04 | l4 << 4), (Unknown, Bad));
        }
        assert_eq!(verdict(3, 0x08), (Good, Unknown), "neither TCP nor UDP");
        assert_eq!(verdict(7, 0), (Unknown, Unknown), "not IP");
        assert_eq!(verdict(0, 0), (Unknown, Unknown));
        assert_eq!(verdict(0xff, 0x08 | 2 << 4), (Good, Good), "other bits");
    }

    #[test]
    fn a_stamp_is_whole_and_none_is_none() {
        let mut bytes = entry(&[]);
        bytes[0x30..0x38].copy_from_slice(&(7_u64 << 32 | 5).to_be_bytes());
        assert_eq!(meta(bytes).timestamp, Some(Timestamp(Duration::new(7, 5))));
        assert_eq!(meta(entry(&[])).timestamp, None);
        let words: Words = Default::default();
        words[6].store(275_000_u64.to_be(), Ordering::Relaxed);
        let [_, time] = Report::default().stamped(&words, Clock::free_running(275_000).unwrap());
        assert!(time.abs_diff(1_000_000) <= 1);
    }
}
