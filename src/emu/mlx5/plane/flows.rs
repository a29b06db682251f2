//! Requests that make and change flow tables, groups and entries, taken apart: whole
//! requests, as all are.
//!
//! ```text
//!   group   table, first and last place, mask of headers     (0x200 bytes)
//!   entry   table, group, place, action, value of headers    (0x200 bytes), destinations
//! ```

use super::super::super::bytes::field;
use super::be::{bits, id_at, u16_at, u32_at};

/// CREATE_FLOW_TABLE and MODIFY_FLOW_TABLE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSpec {
    /// 0 received frames, 1 sent ones, others.
    pub kind: u8,
    /// What is not matched: 0 is dropped, 1 goes to another table.
    pub miss: u8,
    /// Level: frames pass on to higher ones only.
    pub level: u8,
    /// Logarithm of its size.
    pub log_size: u8,
    /// The table for what is not matched.
    pub miss_table: u32,
}

impl TableSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        TableSpec {
            kind: bits(request, 0x10, 31, 24) as u8,
            miss: bits(request, 0x18, 27, 24) as u8,
            level: bits(request, 0x18, 23, 16) as u8,
            log_size: bits(request, 0x18, 7, 0) as u8,
            miss_table: id_at(request, 0x1c),
        }
    }
}

/// Headers to match, as commands lay them out: the frame's own, then others.
pub const MATCH: usize = 0x200;

/// CREATE_FLOW_GROUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Kind of table.
    pub kind: u8,
    /// Table.
    pub table: u32,
    /// First and last entry.
    pub first: u32,
    /// See `first`.
    pub last: u32,
    /// Which headers count: 1 the frame's own, 2 and more others.
    pub criteria: u8,
    /// Which bits count.
    pub mask: [u8; MATCH],
}

impl GroupSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        GroupSpec {
            kind: bits(request, 0x10, 31, 24) as u8,
            table: id_at(request, 0x14),
            first: u32_at(request, 0x1c),
            last: u32_at(request, 0x24),
            criteria: bits(request, 0x3c, 7, 0) as u8,
            mask: field(request, 0x40),
        }
    }
}

/// SET_FLOW_TABLE_ENTRY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySpec {
    /// Kind of table.
    pub kind: u8,
    /// Table.
    pub table: u32,
    /// Place in the table.
    pub index: u32,
    /// The entry is there and changes: what of it.
    pub modify: Option<u8>,
    /// Group.
    pub group: u32,
    /// What completions call it.
    pub tag: u32,
    /// 1 allow, 2 drop, 4 forward, 8 count, and more.
    pub action: u16,
    /// Number of destinations that are named.
    pub count: u32,
    /// Counters that are named.
    pub counters: u32,
    /// What is matched.
    pub value: [u8; MATCH],
    /// Destinations: kind and number.
    pub to: Vec<(u8, u32)>,
}

impl EntrySpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        let count = id_at(request, 0x50);
        let list = request.get(0x340..).unwrap_or_default().as_chunks::<8>().0;
        let to = |entry: &[u8; 8]| (entry[0], id_at(entry, 0));
        EntrySpec {
            kind: bits(request, 0x10, 31, 24) as u8,
            table: id_at(request, 0x14),
            index: u32_at(request, 0x20),
            modify: (u16_at(request, 0x06) == 1).then(|| bits(request, 0x18, 7, 0) as u8),
            group: u32_at(request, 0x44),
            tag: id_at(request, 0x48),
            action: u16_at(request, 0x4e),
            count,
            counters: id_at(request, 0x54),
            value: field(request, 0x80),
            to: list.iter().take(count as usize).map(to).collect(),
        }
    }
}
