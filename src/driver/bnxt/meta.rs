//! What a card said of a received frame: in both entries of its completion.
//!
//! ```text
//!   without stamps   [ TPID:16 . TCI:16 | checksums:32 ]   [ hash:32 | 0:16 . flags:10 . 1:2 . errors:4 ]
//!   with stamps      [ hash:32 | TCI:16 . said:16 ]        [ nanoseconds:64, 0: none ]
//! ```
//!
//! A completion has twice the room that a packet has for it here. Without stamps
//! all that is of use fits as it is, and is decoded when it is asked for. A stamp
//! takes the place of what can be said shorter, and that is done at once.
//!
//! A checksum that the card did not work out is neither right nor wrong, and an
//! error bit beside it says nothing.

use super::desc::{kind, rx};
use crate::dma::{Decode, Decoder, Meta, RawMeta, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// First word of the second entry: what was worked out, and what there is.
mod said {
    /// The checksum of the IPv4 header, or of the inner one.
    pub const IP: u64 = 1 << 0;
    /// Of what is in it.
    pub const L4: u64 = 1 << 1;
    /// Of the outer header, if there are two.
    pub const OUTER_IP: u64 = 1 << 2;
    /// Of what is in that.
    pub const OUTER_L4: u64 = 1 << 3;
    /// What the upper half is: bits 7:4.
    pub const FORMAT: u64 = 0xf << 4;
    /// A VLAN tag, which was taken out.
    pub const TAG: u64 = 1 << 4;
}

/// Where errors of what [`said`] has stand in the second word, in the same order.
const ERRORS_SHIFT: u32 = 4;

/// Flags of [`Meta`] by what [`said`] has, where nothing is wrong; the hash's apart.
static FLAGS: [u8; 256] = {
    let mut flags = [0; 256];
    let mut said = 0;
    while said < 256 {
        let word = said as u64;
        let ip = if word & (said::IP | said::OUTER_IP) != 0 { Meta::IP_GOOD } else { 0 };
        let l4 = if word & (said::L4 | said::OUTER_L4) != 0 { Meta::L4_GOOD } else { 0 };
        let tag = if word & said::FORMAT == said::TAG { Meta::TAGGED } else { 0 };
        flags[said] = ip | l4 | tag;
        said += 1;
    }
    flags
};

const _: () = {
    let turned = Meta::IP_GOOD | Meta::IP_BAD | Meta::L4_GOOD | Meta::L4_BAD;
    assert!(turned as u64 & !kind::MASK == 0, "they have place where a kind stands");
};

/// A completion's four words: of the first entry, of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report(pub [u64; 4]);

impl Report {
    /// Flags of [`Meta`] but for the hash's.
    #[inline(always)]
    fn flags(said: u64, errors: u64) -> u8 {
        FLAGS[(said & 0xff) as usize] ^ Self::wrong(said, errors)
    }

    /// What differs in the flags where one checksum at least is wrong.
    #[inline(always)]
    fn wrong(said: u64, errors: u64) -> u8 {
        let wrong = errors & said;
        let verdict = |bits: u64, turned: u8| if wrong & bits != 0 { turned } else { 0 };
        verdict(said::IP | said::OUTER_IP, Meta::IP_GOOD | Meta::IP_BAD)
            | verdict(said::L4 | said::OUTER_L4, Meta::L4_GOOD | Meta::L4_BAD)
    }

    /// The words to keep without stamps of one with no wrong checksum: `a` is of
    /// kind [`RECEIVED`](kind::RECEIVED), which is no news.
    #[inline(always)]
    pub fn right(a: u64, b: u64, c: u64) -> [u64; 2] {
        [c, b & !0xffff | a & 0xffff]
    }

    /// The words to keep of it without stamps: in the kind's place, as differences
    /// from it, the flags that are not as of one with no wrong checksum.
    pub fn raw(self) -> [u64; 2] {
        let [a, b, c, d] = self.0;
        let [said, rest] = Self::right(a, b, c);
        [said, rest ^ u64::from(Self::wrong(said, d >> ERRORS_SHIFT))]
    }

    /// The words to keep of it with stamps; `now` is close to the card's time.
    #[inline(always)]
    pub fn stamped(self, now: Now) -> [u64; 2] {
        let [a, b, c, d] = self.0;
        let hashed = if a & rx::HASHED != 0 { Meta::HASHED } else { 0 };
        let said = u64::from(Self::flags(c, d >> ERRORS_SHIFT) | hashed) | (c >> 32 & 0xffff) << 16;
        // Where there is no time, something else may stand.
        let time = if a & rx::TYPE == rx::PTP_STAMPED || a & rx::NO_TIME == 0 { (d >> 32) as u32 } else { 0 };
        [b & !0xffff_ffff | said, if time == 0 { 0 } else { now.whole(u64::from(time), 32) }]
    }
}

/// What [`Report::raw`] kept.
struct Raw;

impl Decode for Raw {
    #[inline(always)]
    fn meta(raw: &RawMeta<'_>) -> Meta {
        let [said, rest] = raw.words;
        let hashed = if rest & rx::HASHED != 0 { Meta::HASHED } else { 0 };
        let turned = (rest ^ kind::RECEIVED) as u8 & kind::MASK as u8;
        let flags = FLAGS[(said & 0xff) as usize] ^ turned | hashed;
        Meta { hash: (rest >> 32) as u32, tag: (said >> 32) as u16, flags, timestamp: None }
    }
}

/// What [`Report::stamped`] kept.
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

/// The card's time, as far as it is known without asking: by how much it is
/// ahead of our own.
///
/// A stamp is the lower bits of the card's time, which come round in seconds. It
/// was taken before now, so the upper bits are those that bring it before what the
/// card's time must be now, or so little after it as the two clocks may have
/// parted. Each time that control reads the clock brings them together again. So
/// does a stamp that is ahead of now; one that is behind it may just be old.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    ahead: Arc<AtomicI64>,
}

/// The card's time in nanoseconds, more or less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now(u64);

impl Default for Clock {
    fn default() -> Self {
        Clock { start: Instant::now(), ahead: Arc::default() }
    }
}

impl Clock {
    /// The card's clock stands at `nanoseconds`. To be said once before queues are
    /// made, and whenever control has read it for another reason.
    pub fn told(&self, nanoseconds: u64) {
        self.ahead.store((nanoseconds as i64).wrapping_sub(self.ours()), Ordering::Relaxed);
    }

    fn ours(&self) -> i64 {
        self.start.elapsed().as_nanos() as i64
    }

    /// What it must stand at.
    pub fn now(&self) -> Now {
        Now(self.ours().wrapping_add(self.ahead.load(Ordering::Relaxed)).max(0) as u64)
    }
}

impl Now {
    /// The time whose lower `bits` are `low`.
    #[inline(always)]
    pub fn whole(self, low: u64, bits: u32) -> u64 {
        // As far as the clocks may part until control is asked again: a sixteenth of a
        // round, which is a quarter of a second with 32 bits. What is not in it is old.
        let latest = self.0.wrapping_add(1 << (bits - 4));
        let time = latest.wrapping_sub(latest.wrapping_sub(low) & (u64::MAX >> (u64::BITS - bits)));
        // Before the clock's start there is nothing: it is the round after.
        if time > i64::MAX as u64 { time.wrapping_add(1 << bits) } else { time }
    }

    /// Whether `time`, which is over, shows that this is behind the card's clock.
    pub fn is_behind(self, time: u64) -> bool {
        const SOME: u64 = 1_000_000;
        time > self.0.saturating_add(SOME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Checksum, Checksums};
    use proptest::prelude::*;

    const HASH: u64 = 0xdead_beef << 32;

    fn read(stamped: bool, words: [u64; 2]) -> Meta {
        decoder(stamped).decode(&RawMeta { words, before: &[], after: &[] })
    }

    /// Both ways of keeping a report, which must not differ.
    fn meta(report: [u64; 4]) -> Meta {
        let raw = read(false, Report(report).raw());
        let stamped = read(true, Report(report).stamped(Now(0)));
        assert_eq!(raw, Meta { timestamp: None, ..stamped });
        raw
    }

    #[test]
    fn a_report_says_what_it_says_and_no_more() {
        let nothing = meta([0x11, HASH | 1, 0x8100_2064 << 32, 1]);
        assert_eq!((nothing.rss_hash(), nothing.vlan()), (None, None), "neither is said to be there");
        assert_eq!(nothing.checksums(), Checksums::default());
        let all = meta([0x11 | rx::HASHED, HASH | 1, 0x8100_2064 << 32 | 0x13, 1]);
        assert_eq!((all.rss_hash(), all.vlan()), (Some(0xdead_beef), Some(0x2064)));
        assert_eq!(all.checksums(), Checksums { ip: Checksum::Good, l4: Checksum::Good });
        // Another format is no tag.
        assert_eq!(meta([0x11, 1, 0x8100_2064 << 32 | 0x20, 1]).vlan(), None);
    }

    #[test]
    fn what_was_not_worked_out_is_neither_right_nor_wrong() {
        use Checksum::{Bad, Good, Unknown};
        let verdict = |said, errors: u64| {
            let Checksums { ip, l4 } = meta([0x11, 1, said, 1 | errors << 4]).checksums();
            (ip, l4)
        };
        assert_eq!(verdict(0, 0xf), (Unknown, Unknown));
        assert_eq!(verdict(0x1, 0x2), (Good, Unknown));
        assert_eq!(verdict(0x3, 0x1), (Bad, Good));
        assert_eq!(verdict(0x3, 0x2), (Good, Bad));
        // Two headers: both must be right.
        assert_eq!(verdict(0xf, 0), (Good, Good));
        assert_eq!(verdict(0xf, 0x4), (Bad, Good));
        assert_eq!(verdict(0xf, 0x8), (Good, Bad));
        assert_eq!(verdict(0xc, 0x3), (Good, Good), "errors of what was not looked at");
    }

    #[test]
    fn a_time_is_there_unless_something_else_is() {
        let stamp = |a, d: u64| read(true, Report([0x11 | a, 1, 0, 1 | d << 32]).stamped(Now(1 << 40))).timestamp;
        let at = |nanos| Some(Timestamp(Duration::from_nanos(nanos)));
        assert_eq!(stamp(0, 5), at((1 << 40) + 5));
        assert_eq!(stamp(0, 0), None);
        assert_eq!(stamp(rx::NO_TIME, 5), None);
        assert_eq!(stamp(rx::NO_TIME | rx::PTP_STAMPED, 5), at((1 << 40) + 5));
    }

    #[test]
    fn the_upper_bits_are_those_of_a_time_before_now_or_hardly_after_it() {
        let now = Now(0x7_8000_0000);
        assert_eq!(now.whole(0x8000_0010, 32), 0x7_8000_0010);
        assert_eq!(now.whole(0x8000_0000 + 260_000_000, 32), now.0 + 260_000_000, "clocks part");
        assert_eq!(now.whole(0x8000_0000 + 301_000_000, 32), now.0 + 301_000_000 - (1 << 32), "4 s old");
        assert_eq!(now.whole(0xffff_ffff, 32), 0x6_ffff_ffff);
        assert_eq!(now.whole(1, 32), 0x7_0000_0001);
        assert_eq!(Now(0x7_0000_0001).whole(0xffff_fff0, 32), 0x6_ffff_fff0, "from just before");
        assert_eq!(Now(0x7_ffff_fff0).whole(2, 32), 0x8_0000_0002, "it came round");
        assert_eq!(Now(5).whole(0xffff_ffff, 32), 0xffff_ffff, "never before the start");
        assert_eq!(Now(0x1_ffff_ffff_fff0).whole(2, 48), 0x2_0000_0000_0002);
        assert!(now.is_behind(now.0 + 2_000_000) && !now.is_behind(now.0 + 10), "a little is nothing");
        assert!(!now.is_behind(0x7_0000_0000), "one that is old says nothing");
    }

    #[test]
    fn a_clock_goes_on_from_what_it_was_told() {
        let clock = Clock::default();
        clock.told(1 << 50);
        let Now(now) = clock.clone().now();
        assert!((1 << 50..(1 << 50) + 60_000_000_000).contains(&now), "{now}");
        clock.told(0);
        assert!(clock.now().0 < 60_000_000_000);
    }

    proptest! {
        #[test]
        fn a_time_is_made_whole_as_long_as_the_clocks_have_not_parted(
            bits in prop_oneof![Just(32_u32), Just(48)],
            round in 0u64..1 << 13,
            // The frame is of about the moment at which its bits came round.
            beside in -1000i64..1000,
            // A part of a round that our clock is behind it, or ahead.
            behind in any::<bool>(),
            part in 0u64..1 << 16,
        ) {
            let time = ((round + 1) << bits).wrapping_add_signed(beside);
            let (sixteenth, whole) = (1_u64 << (bits - 4), 1_u64 << bits);
            let now = match behind {
                true => time - (sixteenth >> 16) * part,
                false => time + ((whole - sixteenth - 1) >> 16) * part,
            };
            prop_assert_eq!(Now(now).whole(time & (whole - 1), bits), time);
        }
    }
}
