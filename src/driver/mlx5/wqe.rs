//! Work queue entries of a transmit queue: segments of 16 bytes, two words each, in
//! basic blocks of four.
//!
//! ```text
//!   control    [ 0:8 . index:16 . opcode:8 | queue:24 . segments:8 ]   [ 0:24 . report:8 | 0:32 ]
//!   Ethernet   [ 0:32 | checksums:8 . 0:24                         ]   [ 0:32 | tag, or inline:16 . bytes ... ]
//!   ...        [ bytes that stand inline, 0 to the end of a segment ]
//!   data       [ bytes:32 | key:32                                 ]   [ address:64 ]
//! ```
//!
//! A frame is a control and an Ethernet segment, and one with each stretch of memory that
//! it lies in; a plain one takes one basic block. What stands inline is not in memory. A
//! length of 0 in a data segment is one of 2 GiB, so a frame of which nothing is left has
//! no such segment.
//!
//! Several frames with nothing special about them may be sent by one entry, with a data
//! segment each.

use super::parts::Inline;
use crate::dma::{L4, Offload};
use std::sync::atomic::{AtomicU64, Ordering};

/// A basic block.
pub type Block = [AtomicU64; 8];

/// Segments of a basic block.
pub const SEGMENTS: u32 = 4;

/// Most segments of an entry: 15 basic blocks.
pub const MOST_SEGMENTS: u32 = 60;

/// Words of control and Ethernet segment.
pub const BEFORE_DATA: usize = 4;

/// What an entry does.
pub mod opcode {
    /// Nothing, where the ring ends.
    pub const NOP: u32 = 0x00;
    /// Sends a frame.
    pub const SEND: u32 = 0x0a;
    /// Sends several.
    pub const SEND_SEVERAL: u32 = 0x29;
}

/// Second word of an entry that is to be reported.
pub const REPORT: u64 = 0x08 << 32;

/// Third word: what the card puts in.
mod checksum {
    pub const IP: u64 = 0x40 << 24;
    pub const L4: u64 = 0x80 << 24;
}

/// First word of an entry at `position`, as it is in memory.
#[inline(always)]
pub fn begin(position: u32, opcode: u32, queue: u32, segments: u32) -> u64 {
    at(position, key(opcode, queue, segments))
}

/// All of a first word but the position.
#[inline(always)]
pub fn key(opcode: u32, queue: u32, segments: u32) -> u64 {
    u64::from(opcode) << 32 | u64::from(queue) << 8 | u64::from(segments)
}

/// The first word with that `key` at `position`.
#[inline(always)]
pub fn at(position: u32, key: u64) -> u64 {
    (u64::from(position as u16) << 40 | key).to_be()
}

/// The first word `begin` at another `position`.
pub fn moved(begin: u64, position: u32) -> u64 {
    at(position, u64::from_be(begin) & !(0xffff << 40))
}

/// First word of a data segment.
#[inline(always)]
pub fn data(bytes: u32, lkey: u32) -> u64 {
    (u64::from(bytes) << 32 | u64::from(lkey)).to_be()
}

/// Inline bytes of a plain frame, for a card that wants its Ethernet header: as many as
/// there are with one tag.
pub const HEAD: usize = 18;

/// The words from the fourth on of a frame that begins with `head`, to its data segment.
#[inline(always)]
pub fn plain_head(head: &[u8; HEAD]) -> [u64; 3] {
    let [a, b, rest @ ..] = head;
    // Behind the count, which is big-endian, bytes as they are.
    let first = (HEAD as u64) << 40 | u64::from(u16::from_le_bytes([*a, *b])) << 48;
    let ([c, d], _) = rest.as_chunks::<8>() else { return [first, 0, 0] };
    [first, u64::from_le_bytes(*c), u64::from_le_bytes(*d)]
}

/// Whether a plain frame's header is longer than `head`: it has two tags.
#[inline(always)]
pub fn has_two_tags(head: &[u8; HEAD]) -> bool {
    let is_tag = |at: usize| TAGS.contains(&u16::from_le_bytes([head[at], head[at + 1]]));
    is_tag(12) && is_tag(16)
}

/// EtherTypes of tags, as they lie in memory.
const TAGS: [u16; 3] = [0x8100_u16.to_be(), 0x88a8_u16.to_be(), 0x9100_u16.to_be()];

/// Whether an EtherType is that of a tag.
fn tag_type(ether: u16) -> bool {
    TAGS.contains(&ether.to_be())
}

/// What an offload needs of an Ethernet segment's first word; `None` if no card can do it.
pub fn checksums(offload: &Offload) -> Option<u64> {
    let ip = if offload.ip_checksum { checksum::IP } else { 0 };
    let l4 = match offload.l4_checksum {
        None => 0,
        Some(L4::Tcp | L4::Udp) => checksum::L4,
        Some(L4::Sctp) => return None,
    };
    Some(ip | l4)
}

/// Bytes of `frame`, which begins a frame, that must be inline.
pub fn headers(frame: &[u8], inline: Inline) -> usize {
    let byte = |at: usize| usize::from(frame.get(at).copied().unwrap_or(0));
    let short = |at: usize| (byte(at) << 8 | byte(at + 1)) as u16;
    let mut end = 14;
    while tag_type(short(end - 2)) && end < frame.len() {
        end += 4;
    }
    let mut ether = short(end - 2);
    if matches!(ether, 0x8847 | 0x8848) {
        // Labels, the last of which says so.
        while byte(end + 2) & 1 == 0 && end + 4 < frame.len() {
            end += 4;
        }
        end += 4;
        ether = if byte(end) >> 4 == 6 { 0x86dd } else { 0x0800 };
    }
    if inline >= Inline::Ip {
        let (len, next) = match ether {
            0x0800 if short(end + 6) & 0x1fff == 0 => (4 * (byte(end) & 0xf), byte(end + 9)),
            0x0800 => (4 * (byte(end) & 0xf), 0),
            0x86dd => (40, byte(end + 6)),
            _ => (0, 0),
        };
        end += len;
        if inline == Inline::L4 {
            end += match next {
                6 => 4 * (byte(end + 12) >> 4).max(5),
                17 => 8,
                _ => 0,
            };
        }
    }
    match inline {
        Inline::Nothing => 0,
        _ => end.max(HEAD).min(frame.len()),
    }
}

/// Most bytes that stand inline: all headers that there can be, with a tag.
pub const MOST_INLINE: usize = 192;

/// Segments of an entry with so many inline bytes, but for those of data.
pub fn segments_before_data(inline: usize) -> u32 {
    2 + inline.saturating_sub(2).div_ceil(16) as u32
}

/// Writes the Ethernet segment and inline bytes of an entry that `words` begin with.
/// Returns where data begins.
pub fn write_ethernet(words: &[AtomicU64], flags: u64, what: Ethernet<'_>) -> usize {
    words[2].store(flags.to_be(), Ordering::Relaxed);
    let head = match what {
        Ethernet::Tag(tci) => {
            words[3].store((0x8000 << 16 | u64::from(tci)).to_be(), Ordering::Relaxed);
            return BEFORE_DATA;
        }
        Ethernet::Inline(head) => head,
    };
    let byte = |at: usize| u64::from(head.get(at).copied().unwrap_or(0));
    words[3].store(((head.len() as u64) << 16 | byte(0) << 8 | byte(1)).to_be(), Ordering::Relaxed);
    let begin = 2 * segments_before_data(head.len()) as usize;
    for (n, word) in words[BEFORE_DATA..begin].iter().enumerate() {
        let bytes = std::array::from_fn(|i| byte(2 + 8 * n + i) as u8);
        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
    begin
}

/// What an Ethernet segment has besides checksums.
#[derive(Clone, Copy, Debug)]
pub enum Ethernet<'a> {
    /// The beginning of the frame, or nothing.
    Inline(&'a [u8]),
    /// A tag that the card is to put in, with the type 0x8100.
    Tag(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[AtomicU64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect()
    }

    #[test]
    fn an_entry_begins_as_other_drivers_were_seen_to_write_it() {
        assert_eq!(begin(0x1_0203, opcode::SEND, 0x0a0b0c, 4).to_le_bytes(), [0, 2, 3, 0x0a, 0x0a, 0x0b, 0x0c, 4]);
        assert_eq!(begin(0xffff, opcode::SEND_SEVERAL, 1, 60).to_le_bytes(), [0, 0xff, 0xff, 0x29, 0, 0, 1, 60]);
        let elsewhere = moved(begin(0xffff, opcode::SEND, 7, 3), 0x2_0001);
        assert_eq!(elsewhere.to_le_bytes(), [0, 0, 1, 0x0a, 0, 0, 7, 3]);
        assert_eq!(REPORT.to_be().to_le_bytes(), [0, 0, 0, 8, 0, 0, 0, 0]);
        assert_eq!(data(60, 0x0102_0304).to_le_bytes(), [0, 0, 0, 60, 1, 2, 3, 4]);
    }

    #[test]
    fn inline_bytes_follow_their_count_and_fill_segments() {
        let frame: Vec<u8> = (1..=200).collect();
        for (inline, begins) in [(0, 0x20), (2, 0x20), (3, 0x30), (16, 0x30), (18, 0x30), (19, 0x40), (66, 0x60)] {
            let words: [AtomicU64; 16] = std::array::from_fn(|_| u64::MAX.into());
            let data = write_ethernet(&words, 0xc0 << 24, Ethernet::Inline(&frame[..inline]));
            assert_eq!((8 * data, 16 * segments_before_data(inline) as usize), (begins, begins), "{inline}");
            let seen = bytes(&words);
            assert_eq!(seen[0x10..0x1c], [0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(seen[0x1c..0x1e], (inline as u16).to_be_bytes());
            assert_eq!(seen[0x1e..0x1e + inline], frame[..inline]);
            assert!(seen[0x1e + inline..begins].iter().all(|&byte| byte == 0));
            assert!(seen[begins..].iter().all(|&byte| byte == 0xff));
        }
        let head: &[u8; HEAD] = frame.first_chunk().unwrap();
        let plain = plain_head(head).map(u64::to_le_bytes).concat();
        assert_eq!(plain, [&[0, 0, 0, 0, 0, 18][..], head].concat());
    }

    #[test]
    fn a_tag_stands_where_the_count_would() {
        let words: [AtomicU64; 6] = Default::default();
        assert_eq!(write_ethernet(&words, 0, Ethernet::Tag(0x2064)), BEFORE_DATA);
        assert_eq!(bytes(&words)[0x1c..0x20], [0x80, 0, 0x20, 0x64]);
    }

    #[test]
    fn what_an_offload_asks_for() {
        let offload = Offload { ip_checksum: true, l4_checksum: Some(L4::Tcp), ..Offload::default() };
        assert_eq!(checksums(&offload), Some(0xc0 << 24));
        assert_eq!(checksums(&Offload { ip_checksum: false, ..offload }), Some(0x80 << 24));
        assert_eq!(checksums(&Offload::default()), Some(0));
        assert_eq!(checksums(&Offload { l4_checksum: Some(L4::Sctp), ..offload }), None);
    }

    #[test]
    fn headers_are_as_long_as_they_are() {
        let frame = |types: &[u8], rest: &[(usize, u8)]| {
            let mut frame = vec![0; 200];
            frame[12..12 + types.len()].copy_from_slice(types);
            rest.iter().for_each(|&(at, byte)| frame[12 + types.len() + at] = byte);
            frame
        };
        let of = |frame: &[u8]| [Inline::Nothing, Inline::L2, Inline::Ip, Inline::L4].map(|mode| headers(frame, mode));
        let tcp = [(0, 0x46), (9, 6), (24 + 12, 0x80)];
        assert_eq!(of(&frame(&[8, 0], &tcp)), [0, 18, 38, 70]);
        assert_eq!(of(&frame(&[0x81, 0, 0, 5, 8, 0], &tcp)), [0, 18, 42, 74]);
        assert_eq!(of(&frame(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 5, 8, 0], &tcp)), [0, 22, 46, 78]);
        let udp = [(0, 0x45), (9, 17)];
        assert_eq!(of(&frame(&[8, 0], &udp)), [0, 18, 34, 42]);
        assert_eq!(of(&frame(&[8, 0], &[&udp[..], &[(7, 1)]].concat())), [0, 18, 34, 34], "a fragment");
        assert_eq!(of(&frame(&[0x86, 0xdd], &[(0, 0x60), (6, 17)])), [0, 18, 54, 62]);
        assert_eq!(of(&frame(&[0x88, 0x47, 0, 0, 0, 0, 0, 0, 1, 0], &udp)), [0, 22, 42, 50], "two labels");
        assert_eq!(of(&frame(&[8, 6], &[])), [0, 18, 18, 18]);
        // What a frame says is not trusted to be in it.
        for len in 0..80 {
            for types in [&[8, 0][..], &[0x81, 0, 0, 0, 0x81, 0], &[0x88, 0x47], &[0x86, 0xdd]] {
                let frame = frame(types, &[(0, 0x4f), (9, 6), (6, 6), (72, 0xf0)]);
                assert!(of(&frame[..len]).iter().all(|&n| n <= len));
            }
        }
        let tags = |a: [u8; 2], b: [u8; 2]| {
            let mut head = [0; HEAD];
            head[12..14].copy_from_slice(&a);
            head[16..18].copy_from_slice(&b);
            has_two_tags(&head)
        };
        assert!(tags([0x88, 0xa8], [0x81, 0]) && !tags([0x81, 0], [8, 0]) && !tags([8, 0], [0x81, 0]));
    }
}
