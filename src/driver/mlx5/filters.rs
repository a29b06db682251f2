//! Which frames are received: the root table, which every frame that the switch lets
//! through is looked up in.
//!
//! ```text
//!   0     flows, one a group, as each matches other fields    to their queue
//!   ..
//!   n/2   addresses: our own, broadcast, groups               to all queues
//!   ..
//!   n-2   any group, if there are more than have room
//!   n-1   anything, if promiscuous
//! ```
//!
//! What matches first counts, so the entry for anything is the last.

use super::caps::flow as limits;
use super::codes::status;
use super::ctx::headers;
use super::delivery::Delivery;
use super::flow::{self, Destination, Match, Table};
use super::hw::Hw;
use super::objects::Objects;
use super::vport::{self, Wanted};
use crate::dma::L4;
use crate::driver::ops::FlowRule;
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// log2 of the entries that the table is to have, and that it must have.
const LOG_ENTRIES: u32 = 7;
const LEAST_LOG_ENTRIES: u32 = 3;

/// What completions of a steered flow are marked with.
const STEERED: u32 = 1;

/// The filters of a port.
pub struct Filters {
    root: Table,
    entries: u32,
    /// Groups for addresses, for any group, for anything.
    groups: [u32; 3],
    wanted: Wanted,
    /// Entries for addresses, by index.
    set: BTreeMap<u32, Match>,
    /// Flows by slot, with their groups.
    rules: Vec<Option<(FlowRule, u32)>>,
    /// Everything was asked for at the start, and may not be received.
    pub refused: bool,
}

/// Makes the root table, with as many entries as the card has room for.
fn root(hw: &Hw, objects: &mut Objects) -> Result<(Table, u32)> {
    let mut log = LOG_ENTRIES.min(hw.caps.flow(limits::LOG_MAX_FT_SIZE));
    if log < LEAST_LOG_ENTRIES {
        return Err(hw.error(Kind::Unsupported, "its flow tables have no room for the filters of a port"));
    }
    loop {
        let request = flow::table(0, log as u8);
        match hw.try_ask(&request)? {
            Ok(reply) => return Ok((Table(objects.made(&reply, flow::TABLE)), 1 << log)),
            Err(refusal) if refusal.status == status::EXCEED_LIM && log > LEAST_LOG_ENTRIES => log -= 1,
            Err(refusal) if refusal.status == status::BAD_RES_STATE => {
                let text = format!(
                    "its flow tables are another driver's ({refusal}): it has virtual functions, or its switch is in switchdev mode; remove them, and set the mode to legacy"
                );
                return Err(hw.error(Kind::Device, text));
            }
            Err(refusal) => return Err(hw.refused(&request, refusal)),
        }
    }
}

impl Filters {
    /// Receives frames for `mac`, and broadcast; everything if it is to.
    pub fn start(
        hw: &Hw,
        objects: &mut Objects,
        delivery: &Delivery,
        mac: MacAddr,
        promiscuous: bool,
    ) -> Result<Filters> {
        let (root, entries) = root(hw, objects)?;
        let any_group = MacAddr([1, 0, 0, 0, 0, 0]);
        let ranges = [
            (entries / 2..=entries - 3, Match::any().addressed(mac)),
            (entries - 2..=entries - 2, Match::any().addressed_under(any_group, any_group)),
            (entries - 1..=entries - 1, Match::any()),
        ];
        let mut groups = [0; 3];
        for (group, (range, what)) in groups.iter_mut().zip(ranges) {
            *group = root.group(hw, range, &what)?;
            objects.will(root.without_group(*group));
        }
        let wanted = Wanted { own: mac, groups: Vec::new(), promiscuous };
        let mut filters =
            Filters { root, entries, groups, wanted, set: BTreeMap::new(), rules: Vec::new(), refused: false };
        filters.lay(hw, delivery)?;
        root.make_root(hw, objects)?;
        // Only now, as the switch counts what it lets through. A function that may not see
        // everything sees what is let through to it all the same.
        filters.refused = !vport::tell(hw, &filters.wanted)?;
        Ok(filters)
    }

    /// The entries that there are to be.
    fn entries(&self) -> BTreeMap<u32, Match> {
        let any_group = MacAddr([1, 0, 0, 0, 0, 0]);
        let (first, room) = (self.entries / 2, (self.entries / 2 - 2) as usize);
        let own = [self.wanted.own, MacAddr([0xff; 6])];
        let named = own.len() + self.wanted.groups.len() <= room;
        let groups = if named { self.wanted.groups.as_slice() } else { &[] };
        let addresses = own.iter().chain(groups).map(|mac| Match::any().addressed(*mac));
        let mut entries: BTreeMap<_, _> = (first..).zip(addresses).collect();
        if !named {
            entries.insert(self.entries - 2, Match::any().addressed_under(any_group, any_group));
        }
        if self.wanted.promiscuous {
            entries.insert(self.entries - 1, Match::any());
        }
        entries
    }

    /// Changes the entries that are to be others, and tells the switch; whether that lets
    /// everything through, if it is wanted.
    fn apply(&mut self, hw: &Hw, delivery: &Delivery) -> Result<bool> {
        self.lay(hw, delivery)?;
        vport::tell(hw, &self.wanted)
    }

    /// Changes the entries that are to be others.
    fn lay(&mut self, hw: &Hw, delivery: &Delivery) -> Result<()> {
        let wanted = self.entries();
        let gone: Vec<_> =
            self.set.iter().filter(|(at, what)| wanted.get(at) != Some(what)).map(|(at, _)| *at).collect();
        for index in gone {
            hw.ask(self.root.without_entry(index))?;
            self.set.remove(&index);
        }
        for (index, what) in wanted {
            if self.set.contains_key(&index) {
                continue;
            }
            let group = match self.entries - index {
                1 => self.groups[2],
                2 => self.groups[1],
                _ => self.groups[0],
            };
            hw.ask(self.root.entry(group, index, &what, 0, delivery.all()))?;
            self.set.insert(index, what);
        }
        Ok(())
    }

    /// Changes what is wanted; a card that refuses is told again what was before.
    fn change(&mut self, hw: &Hw, delivery: &Delivery, wanted: Wanted) -> Result<bool> {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let outcome = self.apply(hw, delivery);
        if outcome.is_err() {
            self.wanted = before;
            let _ = self.apply(hw, delivery);
        }
        outcome
    }

    /// Any address, or only those asked for.
    pub fn set_promiscuous(&mut self, hw: &Hw, delivery: &Delivery, on: bool) -> Result<()> {
        let before = self.wanted.clone();
        if self.change(hw, delivery, Wanted { promiscuous: on, ..before.clone() })? {
            return Ok(());
        }
        self.change(hw, delivery, before)?;
        Err(hw.error(
            Kind::Permission,
            "its firmware lets this function receive no frames for other addresses; use the card's physical function, or leave promiscuous mode off",
        ))
    }

    /// These groups; more than there is room for are received with all others.
    pub fn set_multicast(&mut self, hw: &Hw, delivery: &Delivery, groups: &[MacAddr]) -> Result<()> {
        // Broadcast is always in.
        let groups = groups.iter().copied().filter(|group| group.0 != [0xff; 6]).collect();
        self.change(hw, delivery, Wanted { groups, ..self.wanted.clone() }).map(drop)
    }

    /// Another address of our own.
    pub fn set_mac(&mut self, hw: &Hw, delivery: &Delivery, mac: MacAddr) -> Result<()> {
        self.change(hw, delivery, Wanted { own: mac, ..self.wanted.clone() }).map(drop)
    }

    /// Steers a flow to a queue, by the entry `slot`.
    pub fn steer(&mut self, hw: &Hw, delivery: &Delivery, slot: usize, rule: &FlowRule) -> Result<()> {
        let what = flow_of(hw, rule)?;
        if slot >= self.entries as usize / 2 {
            return Err(hw.error(Kind::Usage, "its filters have no room for another flow; steer fewer"));
        }
        self.rules.resize(self.rules.len().max(slot + 1), None);
        let index = slot as u32;
        if let Some((_, group)) = self.rules[slot].take() {
            hw.ask(self.root.without_entry(index))?;
            hw.ask(self.root.without_group(group))?;
        }
        let group = self.root.group(hw, index..=index, &what)?;
        let to: Destination = delivery.of(rule.queue);
        if let Err(error) = hw.ask(self.root.entry(group, index, &what, STEERED, to)) {
            let _ = hw.ask_optional(self.root.without_group(group));
            return Err(error);
        }
        self.rules[slot] = Some((*rule, group));
        Ok(())
    }

    /// Removes all entries and the groups of flows.
    pub fn stop(&mut self, hw: &Hw) {
        if hw.check().is_err() {
            return;
        }
        vport::leave(hw);
        for index in std::mem::take(&mut self.set).into_keys() {
            let _ = hw.ask_optional(self.root.without_entry(index));
        }
        for (index, (_, group)) in self.rules.drain(..).enumerate().filter_map(|(n, rule)| Some((n as u32, rule?))) {
            let _ = hw.ask_optional(self.root.without_entry(index));
            let _ = hw.ask_optional(self.root.without_group(group));
        }
    }
}

/// What a flow is in a frame's headers.
fn flow_of(hw: &Hw, rule: &FlowRule) -> Result<Match> {
    let v6 = [rule.source, rule.destination].into_iter().flatten().any(|address| address.is_ipv6());
    let (protocol, ports) = match rule.protocol {
        L4::Tcp => (6, Some([headers::TCP_SPORT, headers::TCP_DPORT])),
        L4::Udp => (17, Some([headers::UDP_SPORT, headers::UDP_DPORT])),
        L4::Sctp => (132, None),
    };
    let mut what =
        Match::any().with(headers::ETHERTYPE, if v6 { 0x86dd } else { 0x0800 }).with(headers::IP_PROTOCOL, protocol);
    for (address, [high, low]) in [
        (rule.source, [headers::SRC_IPV6_127_64, headers::SRC_IPV6_63_0]),
        (rule.destination, [headers::DST_IPV6_127_64, headers::DST_IPV6_63_0]),
    ] {
        what = match address {
            // The last word of the field.
            Some(IpAddr::V4(address)) => what.under(low, u64::from(u32::MAX), u64::from(u32::from(address))),
            Some(IpAddr::V6(address)) => {
                let bits = u128::from(address);
                what.with(high, (bits >> 64) as u64).with(low, bits as u64)
            }
            None => what,
        };
    }
    for (port, n) in [(rule.source_port, 0), (rule.destination_port, 1)] {
        let Some(port) = port else { continue };
        let Some(fields) = ports else {
            return Err(hw.error(Kind::Unsupported, "flows of SCTP cannot be told apart by ports; leave these out"));
        };
        what = what.with(fields[n], u64::from(port));
    }
    Ok(what)
}
