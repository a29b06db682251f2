//! Flow tables: what a table, a group of entries and an entry are told of.
//!
//! ```text
//!   table   level, log2 of its entries      looked up from index 0 on
//!   group   entries from .. to              fields that they match
//!   entry   index, values of those fields   where frames go
//! ```

use super::cmd::header;
use super::cmd::{
    create_flow_group, create_flow_table, delete_flow_table_entry, destroy_flow_group, destroy_flow_table,
    set_flow_table_entry, set_flow_table_root,
};
use super::ctx::{destination, headers};
use super::hw::Hw;
use super::objects::{Objects, Way, way};
use crate::driver::mailbox::{Bits, Request};
use crate::error::Result;
use crate::net::MacAddr;
use std::ops::RangeInclusive;

/// Where frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A table of a higher level.
    Table(u32),
    /// A place to receive at.
    Tir(u32),
}

/// Fields of a frame's headers, and the values that they are to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    mask: Vec<u8>,
    value: Vec<u8>,
}

impl Match {
    /// Any frame.
    pub fn any() -> Match {
        Match { mask: vec![0; headers::BYTES], value: vec![0; headers::BYTES] }
    }

    /// One whose field has that value.
    #[must_use]
    pub fn with(self, field: Bits, value: u64) -> Match {
        self.under(field, u64::MAX, value)
    }

    /// One whose field has that value under a mask.
    #[must_use]
    pub fn under(mut self, field: Bits, mask: u64, value: u64) -> Match {
        field.write(&mut self.mask, mask);
        field.write(&mut self.value, value);
        self
    }

    /// One to an address.
    #[must_use]
    pub fn addressed(self, mac: MacAddr) -> Match {
        self.addressed_under(MacAddr([0xff; 6]), mac)
    }

    /// One to an address under a mask.
    #[must_use]
    pub fn addressed_under(self, mask: MacAddr, mac: MacAddr) -> Match {
        let parts = |MacAddr([a, b, c, d, e, f])| {
            (u64::from(u32::from_be_bytes([a, b, c, d])), u64::from(u16::from_be_bytes([e, f])))
        };
        let ((mask_high, mask_low), (high, low)) = (parts(mask), parts(mac));
        self.under(headers::DMAC_47_16, mask_high, high).under(headers::DMAC_15_0, mask_low, low)
    }

    /// Which parts of a frame are looked at: none, or the outer headers.
    fn criteria(&self) -> u64 {
        u64::from(self.mask.iter().any(|byte| *byte != 0))
    }
}

/// A table of received flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub u32);

/// The request for a table at `level` of `1 << log_size` entries.
pub fn table(level: u8, log_size: u8) -> Request {
    Request::new(create_flow_table::COMMAND)
        .with_bits(create_flow_table::input::LEVEL, u64::from(level))
        .with_bits(create_flow_table::input::LOG_SIZE, u64::from(log_size))
}

/// How a table goes.
pub const TABLE: Way =
    way(create_flow_table::output::TABLE_ID, destroy_flow_table::COMMAND, destroy_flow_table::input::TABLE_ID);

impl Table {
    /// Frames are looked up here first.
    pub fn make_root(self, hw: &Hw, objects: &mut Objects) -> Result<()> {
        const RESET: u64 = 1;
        let request = Request::new(set_flow_table_root::COMMAND)
            .with_bits(set_flow_table_root::input::TABLE_ID, u64::from(self.0));
        hw.ask(request.clone())?;
        objects.will(request.with_bits(header::OP_MOD, RESET));
        Ok(())
    }

    /// Makes a group of the entries of `range` that match the fields of `what`.
    pub fn group(self, hw: &Hw, range: RangeInclusive<u32>, what: &Match) -> Result<u32> {
        use create_flow_group::{MATCH_CRITERIA, input};
        let mut request = Request::new(create_flow_group::COMMAND)
            .with_bits(input::TABLE_ID, u64::from(self.0))
            .with_bits(input::START_FLOW_INDEX, u64::from(*range.start()))
            .with_bits(input::END_FLOW_INDEX, u64::from(*range.end()))
            .with_bits(input::MATCH_CRITERIA_ENABLE, what.criteria());
        request = with_headers(request, MATCH_CRITERIA, &what.mask);
        hw.make(request, create_flow_group::output::GROUP_ID)
    }

    /// What takes a group back.
    pub fn without_group(self, group: u32) -> Request {
        Request::new(destroy_flow_group::COMMAND)
            .with_bits(destroy_flow_group::input::TABLE_ID, u64::from(self.0))
            .with_bits(destroy_flow_group::input::GROUP_ID, u64::from(group))
    }

    /// The request for an entry of a group.
    pub fn entry(self, group: u32, index: u32, what: &Match, tag: u32, to: Destination) -> Request {
        use set_flow_table_entry::{MATCH_VALUE, input};
        const FORWARD: u64 = 4;
        let (kind, id) = match to {
            Destination::Table(id) => (1, id),
            Destination::Tir(id) => (2, id),
        };
        let mut list = [0; destination::BYTES];
        destination::TYPE.write(&mut list, kind);
        destination::ID.write(&mut list, u64::from(id));
        let request = Request::new(set_flow_table_entry::COMMAND)
            .with_bits(input::TABLE_ID, u64::from(self.0))
            .with_bits(input::FLOW_INDEX, u64::from(index))
            .with_bits(input::GROUP_ID, u64::from(group))
            .with_bits(input::FLOW_TAG, u64::from(tag))
            .with_bits(input::ACTION, FORWARD)
            .with_bits(input::DESTINATION_LIST_SIZE, 1);
        with_headers(request, MATCH_VALUE, &what.value).with_more(&list)
    }

    /// What takes an entry back.
    pub fn without_entry(self, index: u32) -> Request {
        Request::new(delete_flow_table_entry::COMMAND)
            .with_bits(delete_flow_table_entry::input::TABLE_ID, u64::from(self.0))
            .with_bits(delete_flow_table_entry::input::FLOW_INDEX, u64::from(index))
    }
}

/// Sets headers at `at`.
fn with_headers(request: Request, at: usize, headers: &[u8]) -> Request {
    let field = crate::driver::mailbox::Field { offset: at, bytes: headers.len() };
    request.with_bytes(field, headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_matched_where_they_are() {
        let what = Match::any().addressed(MacAddr([1, 2, 3, 4, 5, 6])).with(headers::ETHERTYPE, 0x0800);
        assert_eq!((what.mask[4..8].to_vec(), what.value[4..8].to_vec()), (vec![0, 0, 0xff, 0xff], vec![0, 0, 8, 0]));
        assert_eq!(what.value[8..0x10], [1, 2, 3, 4, 5, 6, 0, 0]);
        assert_eq!(what.mask[8..0x10], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert_eq!((what.criteria(), Match::any().criteria()), (1, 0));
    }

    #[test]
    fn an_entry_has_its_destination_behind_it() {
        let entry = Table(5).entry(7, 127, &Match::any(), 1, Destination::Tir(0x123456));
        let body = entry.body();
        assert_eq!(body.len(), 0x348);
        assert_eq!(body[0x14..0x18], [0, 0, 0, 5]);
        assert_eq!(body[0x20..0x24], [0, 0, 0, 127]);
        assert_eq!(body[0x44..0x54], [0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1]);
        assert_eq!(body[0x340..], [2, 0x12, 0x34, 0x56, 0, 0, 0, 0]);
    }
}
