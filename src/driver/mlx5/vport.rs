//! The function's place at the card's switch (its vport): which address it has, what
//! is let through to it, how long frames may be, what must be inline.
//!
//! ```text
//!   wire --> switch --- own address, addresses asked for, everything? ---> vport --> flow tables
//! ```
//!
//! Several functions share the port, so a frame that is not for this one's address only
//! comes if it was asked for here, whatever the tables of flows say. Lists that are too
//! long are asked for as everything.

use super::caps::{ethernet, general};
use super::cmd::{
    delete_l2_table_entry, modify_nic_vport_context as modify, query_nic_vport_context, query_vport_state,
    set_l2_table_entry,
};
use super::ctx::nic_vport_context as context;
use super::hw::Hw;
use super::parts::Inline;
use crate::driver::mailbox::{Bits, Reply, Request};
use crate::error::Result;
use crate::net::MacAddr;

/// What a change is of.
mod select {
    pub const ADDRESSES: u64 = 1 << 2;
    pub const PROMISC: u64 = 1 << 4;
    pub const MTU: u64 = 1 << 6;
    pub const DISABLE_MC_LOCAL_LB: u64 = 1 << 10;
    pub const DISABLE_UC_LOCAL_LB: u64 = 1 << 11;
}

/// Kinds of lists.
mod list {
    pub const UNICAST: u64 = 0;
    pub const MULTICAST: u64 = 1;
}

/// The place in the card's table of addresses that is used.
const L2_INDEX: u64 = 0;

/// What a vport was found with.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its address.
    pub mac: MacAddr,
    /// It had none.
    pub made_up: bool,
    /// What must be inline.
    pub inline: Inline,
}

/// What is let through.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Our own address.
    pub own: MacAddr,
    /// Groups.
    pub groups: Vec<MacAddr>,
    /// Everything.
    pub promiscuous: bool,
}

fn query(hw: &Hw) -> Result<Option<Reply>> {
    hw.ask_optional(Request::new(query_nic_vport_context::COMMAND))
}

fn field(reply: &Reply, bits: Bits) -> u64 {
    reply.bits(bits.at(query_nic_vport_context::CONTEXT))
}

/// Looks at the vport; `headers`: L2 must be inline at least.
pub fn look(hw: &Hw, headers: bool) -> Result<Found> {
    /// Where the mode is told: always L2, as the vport says, nothing needed.
    const BY_VPORT: u32 = 1;
    const NOTHING: u32 = 2;
    let reply = query(hw)?;
    let get = |bits| reply.as_ref().map(|reply| field(reply, bits));
    let inline = match hw.caps.ethernet(ethernet::WQE_INLINE_MODE) {
        NOTHING => Inline::Nothing,
        // Only a vport of a card that shares itself out knows.
        BY_VPORT => match get(context::MIN_WQE_INLINE_MODE).map(|mode| Inline::of(mode as u8)) {
            Some(mode) if mode != Inline::Nothing => mode,
            Some(nothing) if !headers && hw.caps.general(general::ETH_VIRT) != 0 => nothing,
            _ => Inline::L2,
        },
        _ => Inline::L2,
    };
    let high = get(context::PERMANENT_ADDRESS_47_32).unwrap_or(0);
    let low = get(context::PERMANENT_ADDRESS_31_0).unwrap_or(0);
    let [_, _, a, b, c, d, e, f] = (high << 32 | low).to_be_bytes();
    let mac = MacAddr([a, b, c, d, e, f]);
    hw.segment.bar().note_address(mac);
    let own = mac.is_unicast();
    Ok(Found { mac: if own { mac } else { MacAddr::made_up(&hw.to_string()) }, made_up: !own, inline })
}

/// A change of what `select` names.
fn change(select: u64) -> Request {
    Request::new(modify::COMMAND).with_bits(modify::input::FIELD_SELECT, select)
}

/// How long frames may be here, with tags and FCS; 0 if that is not told.
pub fn mtu(hw: &Hw) -> Result<u32> {
    Ok(query(hw)?.map_or(0, |reply| field(&reply, context::MTU) as u32))
}

/// Has frames of `bytes` pass, if the vport takes it.
pub fn set_mtu(hw: &Hw, bytes: u32) -> Result<()> {
    let request = change(select::MTU).with_bits(context::MTU.at(modify::CONTEXT), u64::from(bytes));
    hw.ask_optional(request).map(drop)
}

/// Has frames that are sent to our own address received, or not, where a card can be told.
pub fn set_local_loopback(hw: &Hw, on: bool) -> Result<()> {
    let off = u64::from(!on);
    for (cap, select, bits) in [
        (general::DISABLE_LOCAL_LB_UC, select::DISABLE_UC_LOCAL_LB, context::DISABLE_UC_LOCAL_LB),
        (general::DISABLE_LOCAL_LB_MC, select::DISABLE_MC_LOCAL_LB, context::DISABLE_MC_LOCAL_LB),
    ] {
        if hw.caps.general(cap) != 0 {
            hw.ask_optional(change(select).with_bits(bits.at(modify::CONTEXT), off))?;
        }
    }
    Ok(())
}

/// Tells the switch what is wanted; whether it lets everything through, if that was.
pub fn tell(hw: &Hw, wanted: &Wanted) -> Result<bool> {
    /// As many as a request certainly has room for.
    const MOST: usize = 512;
    let room = MOST.min(1 << hw.caps.general(general::LOG_MAX_CURRENT_MC_LIST).min(31));
    let groups = &wanted.groups[..wanted.groups.len().min(room)];
    let whole = groups.len() == wanted.groups.len();
    // The table of addresses leads frames for our own here, too.
    addresses(hw, list::UNICAST, &[wanted.own])?;
    let listed = addresses(hw, list::MULTICAST, groups)?;
    let all_groups = wanted.promiscuous || !whole || !listed;
    let flag = |bits: Bits| bits.at(modify::CONTEXT);
    let request = change(select::PROMISC)
        .with_bits(flag(context::PROMISC_UC), u64::from(wanted.promiscuous))
        .with_bits(flag(context::PROMISC_MC), u64::from(all_groups))
        .with_bits(flag(context::PROMISC_ALL), u64::from(wanted.promiscuous));
    let taken = hw.ask_optional(request)?.is_some();
    manager_entry(hw, wanted.own)?;
    Ok(taken || !wanted.promiscuous)
}

/// Gives the vport a list of addresses; whether it was taken.
fn addresses(hw: &Hw, kind: u64, list: &[MacAddr]) -> Result<bool> {
    let entries: Vec<u8> = list.iter().flat_map(|mac| [&[0, 0], &mac.0[..]].concat()).collect();
    let request = change(select::ADDRESSES)
        .with_bits(context::ALLOWED_LIST_TYPE.at(modify::CONTEXT), kind)
        .with_bits(context::ALLOWED_LIST_SIZE.at(modify::CONTEXT), list.len() as u64)
        .with_more(&entries);
    Ok(hw.ask_optional(request)?.is_some())
}

/// Has the card's own table lead frames for `mac` here, where this function keeps it.
fn manager_entry(hw: &Hw, mac: MacAddr) -> Result<()> {
    use set_l2_table_entry::input;
    if hw.caps.general(general::VPORT_GROUP_MANAGER) == 0 || hw.caps.general(general::LOG_MAX_L2_TABLE) == 0 {
        return Ok(());
    }
    let [a, b, c, d, e, f] = mac.0;
    let request = Request::new(set_l2_table_entry::COMMAND)
        .with_bits(input::TABLE_INDEX, L2_INDEX)
        .with_bits(input::MAC_47_32, u64::from(u16::from_be_bytes([a, b])))
        .with_bits(input::MAC_31_0, u64::from(u32::from_be_bytes([c, d, e, f])));
    hw.ask_optional(request).map(drop)
}

/// Lets nothing more through than the address that it came with.
pub fn leave(hw: &Hw) {
    let _ = hw.ask_optional(change(select::PROMISC));
    if hw.caps.general(general::VPORT_GROUP_MANAGER) != 0 {
        let request =
            Request::new(delete_l2_table_entry::COMMAND).with_bits(delete_l2_table_entry::input::TABLE_INDEX, L2_INDEX);
        let _ = hw.ask_optional(request);
    }
}

/// Whether the port has a link, as far as this function can see. What the firmware does
/// not tell is a link that is down.
pub fn has_link(hw: &Hw) -> Result<bool> {
    const UP: u64 = 1;
    let reply = hw.ask_optional(Request::new(query_vport_state::COMMAND))?;
    Ok(reply.is_some_and(|reply| reply.bits(query_vport_state::output::STATE) == UP))
}
