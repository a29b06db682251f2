//! VLAN tags, one or two: `7`, `7:3`, `100-200`, `10.20`.

use super::usage;
use crate::error::{Error, Result};
use crate::packet::parse::ethertype;
use crate::packet::values::{Values, VlanIds};
use std::str::FromStr;

/// A VLAN tag (IEEE 802.1Q, 9.6): identifiers and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// What its identifier runs through.
    pub ids: VlanIds,
    /// 0 to 7.
    pub priority: u8,
}

impl Vlan {
    /// What its 16 bits of control information run through.
    pub(super) fn values(&self) -> Values {
        Values { first: u128::from(self.priority) << 13 | self.ids.0.first, ..self.ids.0 }
    }
}

impl FromStr for Vlan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (ids, priority) = text.split_once(':').unwrap_or((text, "0"));
        let priority = priority.parse::<u8>().ok().filter(|priority| *priority < 8);
        let priority = priority
            .ok_or_else(|| usage(format!("'{text}' is not a VLAN tag; write an id, or id:priority with 0 to 7")))?;
        Ok(Vlan { ids: ids.parse()?, priority })
    }
}

/// The tags of a frame, the outer one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vlans {
    /// At most two.
    pub tags: Vec<Vlan>,
    /// Type of the first; that of the others is 802.1Q's.
    pub tpid: Option<Tpid>,
}

impl Vlans {
    /// The type of the first tag. Unless told otherwise: of two the outer one is a service
    /// provider's (IEEE 802.1Q, table 9-1).
    pub(super) fn first_type(&self) -> u16 {
        let usual = if self.tags.len() > 1 { ethertype::QINQ } else { ethertype::VLAN };
        self.tpid.map_or(usual, |Tpid(tpid)| tpid)
    }
}

impl FromStr for Vlans {
    type Err = Error;

    /// Reads a tag, or an outer and an inner one with a dot between them.
    fn from_str(text: &str) -> Result<Self> {
        let tags = text.split('.').map(str::parse).collect::<Result<Vec<_>>>()?;
        if tags.len() > 2 {
            return Err(usage(format!("'{text}' has {} VLAN tags; a frame has room for two, outer.inner", tags.len())));
        }
        Ok(Vlans { tags, tpid: None })
    }
}

/// What says that a VLAN tag follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tpid(pub u16);

impl FromStr for Tpid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let tpid = u16::from_str_radix(digits, 16).ok().filter(|tpid| ethertype::is_vlan(*tpid));
        tpid.map(Tpid).ok_or_else(|| {
            usage(format!("'{text}' is not the type of a VLAN tag; write 0x8100 (802.1Q), 0x88a8 (802.1ad) or 0x9100"))
        })
    }
}
