//! Requests that make and change queues, keys and hashes, taken apart. They are whole
//! requests: opcode and modifier are in the first 16 bytes. What a sender left out is
//! zero.

use super::super::super::bytes::field;
use super::be::{bit, bits, id_at, u16_at, u32_at, u64_at};
use crate::dma::Iova;

/// Addresses of pages from `at` on, as many as there are.
fn pages(request: &[u8], at: usize) -> Vec<Iova> {
    let list = request.get(at..).unwrap_or_default();
    list.as_chunks::<8>().0.iter().map(|page| u64::from_be_bytes(*page) & !0xfff).collect()
}

/// Where a ring lies: its pages, each of `1 << page_shift` bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Logarithm of the number of entries.
    pub log_size: u8,
    /// Where the ring begins in its first page, in units of 64 bytes.
    pub page_offset: u32,
    /// Logarithm of a page's size in bytes.
    pub page_shift: u32,
    /// The pages.
    pub pages: Vec<Iova>,
}

/// CREATE_EQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EqSpec {
    /// All entries are written to the first place.
    pub collapsed: bool,
    /// Entries that were not read may be written over.
    pub ignores_overrun: bool,
    /// UAR page of its doorbell.
    pub uar: u32,
    /// MSI-X vector.
    pub vector: u16,
    /// Events that come here, by number.
    pub events: [u64; 4],
    /// Where it lies.
    pub place: Place,
}

impl EqSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        EqSpec {
            collapsed: bit(request, 0x10, 18),
            ignores_overrun: bit(request, 0x10, 17),
            uar: id_at(request, 0x1c),
            vector: bits(request, 0x24, 11, 0) as u16,
            events: [0, 1, 2, 3].map(|n| u64_at(request, 0x58 + 8 * n)),
            place: Place {
                log_size: bits(request, 0x1c, 28, 24) as u8,
                page_offset: bits(request, 0x18, 11, 6),
                page_shift: 12 + bits(request, 0x28, 28, 24),
                pages: pages(request, 0x110),
            },
        }
    }
}

/// CREATE_CQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CqSpec {
    /// Size of entries: 0 is 64 bytes, 1 and 2 are 128.
    pub entry_size: u8,
    /// All entries are written to the first place.
    pub collapsed: bool,
    /// Entries that were not read may be written over.
    pub ignores_overrun: bool,
    /// The period begins with a completion, not with an event.
    pub period_mode: u8,
    /// Entries may be compressed.
    pub compresses: bool,
    /// What small entries hold: 0 the hash, 1 the checksum, 3 checksum and stride.
    pub mini_format: u8,
    /// UAR page of its doorbell.
    pub uar: u32,
    /// Moderation: microseconds, and completions.
    pub period: u16,
    /// See `period`.
    pub max_count: u16,
    /// Event queue.
    pub eqn: u32,
    /// Doorbell record.
    pub record: Iova,
    /// Where it lies.
    pub place: Place,
}

impl CqSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        CqSpec {
            entry_size: bits(request, 0x10, 23, 21) as u8,
            collapsed: bit(request, 0x10, 20),
            ignores_overrun: bit(request, 0x10, 17),
            period_mode: bits(request, 0x10, 16, 15) as u8,
            compresses: bit(request, 0x10, 14),
            mini_format: bits(request, 0x10, 13, 12) as u8,
            uar: id_at(request, 0x1c),
            period: bits(request, 0x20, 27, 16) as u16,
            max_count: u16_at(request, 0x22),
            eqn: bits(request, 0x24, 7, 0),
            record: u64_at(request, 0x48),
            place: Place {
                log_size: bits(request, 0x1c, 28, 24) as u8,
                page_offset: bits(request, 0x18, 11, 6),
                page_shift: 12 + bits(request, 0x28, 28, 24),
                pages: pages(request, 0x110),
            },
        }
    }
}

/// CREATE_MKEY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MkeySpec {
    /// Made, but not to be used.
    pub free: bool,
    /// How addresses become the host's: 0 they are that.
    pub mode: u8,
    /// The host's memory may be read, may be written.
    pub reads: bool,
    /// See `reads`.
    pub writes: bool,
    /// The part of the key that its maker chooses.
    pub variant: u8,
    /// All of memory.
    pub endless: bool,
    /// Protection domain.
    pub pd: u32,
    /// Where it begins.
    pub start: Iova,
    /// Its length.
    pub len: u64,
}

impl MkeySpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        MkeySpec {
            free: bit(request, 0x10, 30),
            mode: (bits(request, 0x10, 28, 26) << 2 | bits(request, 0x10, 9, 8)) as u8,
            reads: bit(request, 0x10, 10),
            writes: bit(request, 0x10, 11),
            variant: u32_at(request, 0x14) as u8,
            endless: bit(request, 0x1c, 31),
            pd: id_at(request, 0x1c),
            start: u64_at(request, 0x20),
            len: u64_at(request, 0x28),
        }
    }
}

/// CREATE_TIS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TisSpec {
    /// Priority.
    pub priority: u8,
    /// Transport domain.
    pub td: u32,
    /// Protection domain.
    pub pd: u32,
}

impl TisSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        TisSpec { priority: bits(request, 0x20, 19, 16) as u8, td: id_at(request, 0x44), pd: id_at(request, 0x4c) }
    }
}

/// The work queue inside of a send or receive queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WqSpec {
    /// 0 linked list, 1 cyclic, 2 linked list of strides, 3 cyclic of strides.
    pub kind: u8,
    /// Entries are signed.
    pub signed: bool,
    /// Frames are filled up to whole cache lines.
    pub aligns_end: bool,
    /// Protection domain.
    pub pd: u32,
    /// UAR page of its doorbell.
    pub uar: u32,
    /// Doorbell record.
    pub record: Iova,
    /// Logarithm of an entry's size in bytes.
    pub log_stride: u8,
    /// Strides of an entry: the field, to which 9 is added.
    pub strides: u8,
    /// Frames begin two bytes into their stride.
    pub shifted: bool,
    /// Size of a stride: the field, to which 6 is added.
    pub stride_size: u8,
    /// Addresses are in memory objects of a user.
    pub umem: bool,
    /// Where it lies.
    pub place: Place,
}

impl WqSpec {
    /// Takes the context at 0x50 apart.
    fn of(request: &[u8]) -> Self {
        WqSpec {
            kind: bits(request, 0x50, 31, 28) as u8,
            signed: bit(request, 0x50, 27),
            aligns_end: bits(request, 0x50, 26, 25) == 1,
            pd: id_at(request, 0x58),
            uar: id_at(request, 0x5c),
            record: u64_at(request, 0x60),
            log_stride: bits(request, 0x70, 19, 16) as u8,
            strides: bits(request, 0x74, 11, 8) as u8,
            shifted: bit(request, 0x74, 7),
            stride_size: bits(request, 0x74, 2, 0) as u8,
            umem: bits(request, 0x74, 31, 30) != 0,
            place: Place {
                log_size: bits(request, 0x70, 4, 0) as u8,
                page_offset: bits(request, 0x54, 20, 16),
                page_shift: 12 + bits(request, 0x70, 12, 8),
                pages: pages(request, 0x110),
            },
        }
    }
}

/// CREATE_SQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqSpec {
    /// The reserved key may be used.
    pub reserved_lkey: bool,
    /// What is posted when it fails is completed with an error.
    pub flushes: bool,
    /// Several packets may come in one entry.
    pub multi_packet: bool,
    /// Headers that must be inline: 0 none, 1 L2, 2 L3, 3 L4.
    pub inline_mode: u8,
    /// Initial state, which must be 0.
    pub state: u8,
    /// Keys may be registered through it.
    pub registers: bool,
    /// Software says where headers are.
    pub parses: bool,
    /// The rate that it sends at, as an index; 0 is any.
    pub rate: u16,
    /// Connected to another queue inside the card.
    pub hairpin: bool,
    /// Stamps: 0 free-running, 1 as the card does, 2 time of day.
    pub ts_format: u8,
    /// What its completions call it.
    pub user_index: u32,
    /// Completion queue.
    pub cqn: u32,
    /// How many transport interfaces it has.
    pub tis_count: u16,
    /// The first of them.
    pub tisn: u32,
    /// Its ring.
    pub wq: WqSpec,
}

impl SqSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        SqSpec {
            reserved_lkey: bit(request, 0x20, 31),
            flushes: bit(request, 0x20, 28),
            multi_packet: bit(request, 0x20, 27),
            inline_mode: bits(request, 0x20, 26, 24) as u8,
            state: bits(request, 0x20, 23, 20) as u8,
            registers: bit(request, 0x20, 19),
            parses: bit(request, 0x20, 18),
            rate: u16_at(request, 0x3e),
            hairpin: bit(request, 0x20, 17),
            ts_format: bits(request, 0x20, 5, 4) as u8,
            user_index: id_at(request, 0x24),
            cqn: id_at(request, 0x28),
            tis_count: u16_at(request, 0x40),
            tisn: id_at(request, 0x4c),
            wq: WqSpec::of(request),
        }
    }
}

/// CREATE_RQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RqSpec {
    /// The reserved key may be used.
    pub reserved_lkey: bool,
    /// A frame may wait for a buffer.
    pub delays_drop: bool,
    /// Frames come with their check sequence.
    pub keeps_fcs: bool,
    /// Tags are left in frames.
    pub keeps_vlan: bool,
    /// Memory: 0 its own ring, 1 a shared one.
    pub memory: u8,
    /// Initial state, which must be 0.
    pub state: u8,
    /// What is posted when it fails is completed with an error.
    pub flushes: bool,
    /// Connected to another queue inside the card.
    pub hairpin: bool,
    /// Stamps: 0 free-running, 1 as the card does, 2 time of day.
    pub ts_format: u8,
    /// What its completions call it.
    pub user_index: u32,
    /// Completion queue.
    pub cqn: u32,
    /// Counters of what it drops; 0 is none.
    pub counter: u8,
    /// Its ring.
    pub wq: WqSpec,
}

impl RqSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        RqSpec {
            reserved_lkey: bit(request, 0x20, 31),
            delays_drop: bit(request, 0x20, 30),
            keeps_fcs: bit(request, 0x20, 29),
            keeps_vlan: bit(request, 0x20, 28),
            memory: bits(request, 0x20, 27, 24) as u8,
            state: bits(request, 0x20, 23, 20) as u8,
            flushes: bit(request, 0x20, 18),
            hairpin: bit(request, 0x20, 17),
            ts_format: bits(request, 0x20, 5, 4) as u8,
            user_index: id_at(request, 0x24),
            cqn: id_at(request, 0x28),
            counter: bits(request, 0x2c, 31, 24) as u8,
            wq: WqSpec::of(request),
        }
    }
}

/// MODIFY_SQ and MODIFY_RQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeSpec {
    /// Which queue.
    pub id: u32,
    /// The state that it is in.
    pub from: u8,
    /// The state that it is to be in.
    pub to: u8,
    /// What else changes: of a receive queue 1 tags, 2 check sequence, 3 counters.
    pub mask: u64,
    /// Tags are left in frames.
    pub keeps_vlan: bool,
    /// Frames come with their check sequence.
    pub keeps_fcs: bool,
    /// Counters.
    pub counter: u8,
}

impl ChangeSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        ChangeSpec {
            id: id_at(request, 0x08),
            from: bits(request, 0x08, 31, 28) as u8,
            to: bits(request, 0x20, 23, 20) as u8,
            mask: u64_at(request, 0x10),
            keeps_vlan: bit(request, 0x20, 28),
            keeps_fcs: bit(request, 0x20, 29),
            counter: bits(request, 0x2c, 31, 24) as u8,
        }
    }
}

/// CREATE_RQT and MODIFY_RQT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RqtSpec {
    /// Most entries that it will have.
    pub max: u16,
    /// Entries that it has.
    pub actual: u16,
    /// Receive queues.
    pub rqns: Vec<u32>,
}

impl RqtSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        let actual = u16_at(request, 0x3a);
        let list = request.get(0x110..).unwrap_or_default().as_chunks::<4>().0;
        let rqns = list.iter().take(actual.into()).map(|rqn| u32::from_be_bytes(*rqn) & 0xff_ffff).collect();
        RqtSpec { max: u16_at(request, 0x36), actual, rqns }
    }
}

/// CREATE_TIR and MODIFY_TIR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TirSpec {
    /// It spreads over a table.
    pub indirect: bool,
    /// Frames are decrypted.
    pub tls: bool,
    /// Which packets are merged.
    pub merges: u8,
    /// How long they wait for others, and how much they may come to.
    pub merging: u32,
    /// Receive queue, if it does not spread.
    pub rqn: u32,
    /// Both ways of a flow hash alike.
    pub symmetric: bool,
    /// Headers inside a tunnel count.
    pub tunneled: bool,
    /// Table of receive queues.
    pub rqtn: u32,
    /// Hash: 0 none, 1 inverted exclusive or, 2 Toeplitz.
    pub function: u8,
    /// Own frames are received: 1 to one address, 2 to many.
    pub loopback: u8,
    /// Transport domain.
    pub td: u32,
    /// Key of the hash.
    pub key: [u8; 40],
    /// What is hashed: protocols, and fields.
    pub outer: u32,
    /// The same of headers inside a tunnel.
    pub inner: u32,
}

impl TirSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        TirSpec {
            indirect: bits(request, 0x24, 31, 28) == 1,
            tls: bit(request, 0x24, 27),
            merges: bits(request, 0x30, 11, 8) as u8,
            merging: bits(request, 0x30, 27, 12) | bits(request, 0x30, 7, 0),
            rqn: id_at(request, 0x3c),
            symmetric: bit(request, 0x40, 31),
            tunneled: bit(request, 0x40, 29),
            rqtn: id_at(request, 0x40),
            function: bits(request, 0x44, 31, 28) as u8,
            loopback: bits(request, 0x44, 25, 24) as u8,
            td: id_at(request, 0x44),
            key: field(request, 0x48),
            outer: u32_at(request, 0x70),
            inner: u32_at(request, 0x74),
        }
    }
}
