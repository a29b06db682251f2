//! Which frames are received, and on which queue.
//!
//! The firmware has a list of the combinations of fields that it can match; the
//! most specific filter that matches a frame gets it. A filter that is inserted
//! has a flow to itself; one that subscribes gets a copy, which is what
//! broadcast and multicast are for.

use super::cmd::{
    EVB_PORT_ID_ASSIGNED, filter_op, get_parser_disp_info, refusal, rss_context_alloc, rss_context_free,
    rss_context_set_flags, rss_context_set_key, rss_context_set_table, vadaptor_set_mac,
};
use super::hw::{Capability, Hw};
use super::setup;
use crate::dma::L4;
use crate::driver::config::Rss;
use crate::driver::mailbox::{Field, Reply, Request};
use crate::driver::ops::{FlowRule, NOT_PROMISCUOUS, Wanted};
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use std::net::IpAddr;

/// Entries of a redirection table.
const TABLE: usize = 128;

/// Fields that a filter compares.
mod fields {
    pub const SRC_IP: u64 = 1 << 0;
    pub const DST_IP: u64 = 1 << 1;
    pub const SRC_PORT: u64 = 1 << 3;
    pub const DST_MAC: u64 = 1 << 4;
    pub const DST_PORT: u64 = 1 << 5;
    pub const ETHER_TYPE: u64 = 1 << 6;
    pub const IP_PROTO: u64 = 1 << 9;
    /// Any multicast address that no other filter names.
    pub const UNKNOWN_MCAST_DST: u64 = 1 << 30;
    /// Any unicast address that no other filter names.
    pub const UNKNOWN_UCAST_DST: u64 = 1 << 31;
}

/// Together: all that no other filter names.
const EVERYTHING: [u64; 2] = [fields::UNKNOWN_UCAST_DST, fields::UNKNOWN_MCAST_DST];

/// What is done with a filter.
mod op {
    pub const INSERT: u64 = 0;
    pub const REMOVE: u64 = 1;
    pub const SUBSCRIBE: u64 = 2;
    pub const UNSUBSCRIBE: u64 = 3;
}

/// A filter that is in.
#[derive(Clone, Copy, Debug)]
struct Filter {
    handle: u64,
    /// It gets copies.
    subscribes: bool,
}

impl Filter {
    /// One that subscribes, as an answer says.
    fn subscribed(reply: &Reply) -> Filter {
        Filter { handle: reply.get(filter_op::output::HANDLE), subscribes: true }
    }
}

/// The filters and spreading of a port.
pub struct Filters {
    rx_queues: u16,
    /// Combinations of fields that the firmware can match.
    supported: Vec<u64>,
    /// Spreading context, if there are several queues.
    rss: Option<u64>,
    own: Option<Filter>,
    /// The address that it is for.
    address: MacAddr,
    broadcast: Option<Filter>,
    groups: Vec<Filter>,
    /// Everything else: unicast, multicast.
    promiscuous: Vec<Filter>,
    /// What is received instead of everything else, where that is so.
    narrow: Option<Vec<Filter>>,
    /// Those of flows, by slot.
    rules: Vec<Option<Filter>>,
}

impl Filters {
    /// None yet.
    pub fn new(hw: &Hw, rx_queues: u16) -> Result<Self> {
        const RX_MATCHES: u64 = 1;
        use get_parser_disp_info::output;
        let request = Request::new(get_parser_disp_info::COMMAND).with(get_parser_disp_info::input::OP, RX_MATCHES);
        const LOST: &str = "no flow can be steered";
        let reply = hw.ask_or_lose(request, LOST)?;
        let matches = reply.as_ref().map_or(&[][..], |reply| {
            let count = reply.get(output::NUM_SUPPORTED_MATCHES) as usize;
            let words = reply.bytes(output::SUPPORTED_MATCHES).as_chunks::<4>().0;
            &words[..count.min(words.len())]
        });
        if reply.is_some() && matches.is_empty() {
            hw.lacks.note(format!("its firmware has no filters: {LOST}"));
        }
        Ok(Filters {
            rx_queues,
            supported: matches.iter().map(|word| u64::from(u32::from_le_bytes(*word))).collect(),
            rss: None,
            own: None,
            address: MacAddr::default(),
            broadcast: None,
            groups: Vec::new(),
            promiscuous: Vec::new(),
            narrow: None,
            rules: Vec::new(),
        })
    }

    /// Receives frames for `mac`, broadcast, and all others if `promiscuous`: which not
    /// every function may.
    pub fn start(&mut self, hw: &Hw, mac: MacAddr, promiscuous: bool) -> Result<()> {
        self.address = mac;
        self.own = Some(self.insert(hw, op::INSERT, self.to(mac))?);
        let broadcast = self.to(MacAddr([0xff; 6]));
        self.broadcast = self.try_insert(hw, broadcast, "no broadcasts come")?;
        match promiscuous {
            true => self.insert_everything(hw, |request| hw.ask_or_lose(request, NOT_PROMISCUOUS)),
            false => Ok(()),
        }
    }

    /// Receives all that no other filter names; as it was before, if `ask` meets a refusal.
    fn insert_everything(&mut self, hw: &Hw, ask: impl Fn(Request) -> Result<Option<Reply>>) -> Result<()> {
        for fields in EVERYTHING {
            match ask(self.spread(fields).with(filter_op::input::OP, op::SUBSCRIBE)) {
                Ok(Some(reply)) => self.promiscuous.push(Filter::subscribed(&reply)),
                refused => {
                    let removed = self.remove_everything(hw);
                    return refused.and(removed);
                }
            }
        }
        Ok(())
    }

    fn remove_everything(&mut self, hw: &Hw) -> Result<()> {
        while let Some(filter) = self.promiscuous.pop() {
            Self::remove(hw, filter)?;
        }
        Ok(())
    }

    /// A filter for frames to `mac`.
    fn to(&self, mac: MacAddr) -> Request {
        self.spread(fields::DST_MAC).with_bytes(filter_op::input::DST_MAC, &mac.0)
    }

    /// A filter on `fields`, yet without values, whose frames are spread over all queues.
    fn spread(&self, fields: u64) -> Request {
        const MODE_RSS: u64 = 1;
        let request = self.request(fields, 0);
        match self.rss {
            Some(context) => {
                request.with(filter_op::input::RX_MODE, MODE_RSS).with(filter_op::input::RX_CONTEXT, context)
            }
            None => request,
        }
    }

    /// A filter on `fields`, yet without values, whose frames go to `queue`.
    fn request(&self, fields: u64, queue: u16) -> Request {
        const DEST_HOST: u64 = 1;
        const TX_DEST_DEFAULT: u64 = 0xffff_ffff;
        Request::new(filter_op::COMMAND)
            .with(filter_op::input::PORT_ID, EVB_PORT_ID_ASSIGNED)
            .with(filter_op::input::MATCH_FIELDS, fields)
            .with(filter_op::input::RX_DEST, DEST_HOST)
            .with(filter_op::input::RX_QUEUE, u64::from(queue))
            .with(filter_op::input::TX_DEST, TX_DEST_DEFAULT)
    }

    fn insert(&self, hw: &Hw, how: u64, request: Request) -> Result<Filter> {
        let reply = hw.ask(request.with(filter_op::input::OP, how))?;
        Ok(Filter { handle: reply.get(filter_op::output::HANDLE), subscribes: how == op::SUBSCRIBE })
    }

    /// Subscribes to what can be gone without; `lost` says what that means.
    fn try_insert(&self, hw: &Hw, request: Request, lost: &str) -> Result<Option<Filter>> {
        let reply = hw.ask_or_lose(request.with(filter_op::input::OP, op::SUBSCRIBE), lost)?;
        Ok(reply.as_ref().map(Filter::subscribed))
    }

    /// Removes a filter; one that the card does not know of is removed already.
    fn remove(hw: &Hw, filter: Filter) -> Result<()> {
        let how = if filter.subscribes { op::UNSUBSCRIBE } else { op::REMOVE };
        let request = Request::new(filter_op::COMMAND)
            .with(filter_op::input::OP, how)
            .with(filter_op::input::HANDLE, filter.handle);
        hw.ask_if(request, &[refusal::ENOENT])?;
        Ok(())
    }

    /// Any address, or only those asked for.
    pub fn set_promiscuous(&mut self, hw: &Hw, on: bool) -> Result<()> {
        match (on, self.promiscuous.is_empty()) {
            (true, true) => self.insert_everything(hw, |request| hw.ask(request).map(Some)),
            (true, false) => Ok(()),
            (false, _) => self.remove_everything(hw),
        }
    }

    /// Receives what is wanted, its own address and broadcast: by flows, if all of these are of
    /// a kind that the firmware can match, or by destinations; VLANs it leaves to others. What
    /// holds of it; nothing, and then everything is received, where the firmware refuses a
    /// filter. A frame goes to one filter's queue, as those that are there before are taken
    /// away only then (with MCAST_FILTER_CHAINING, which is not asked for here, to both).
    pub fn narrow(&mut self, hw: &Hw, wanted: &Wanted) -> Result<Wanted> {
        self.widen(hw)?;
        let mut held = Wanted::default();
        if self.promiscuous.is_empty() {
            // It may not receive everything.
            return Ok(held);
        }
        let filters: Vec<(bool, Request)> = if let Some(flows) = wanted.flows.clone().filter(|all| self.know(all)) {
            let request = |rule: &FlowRule| {
                let to_group = rule.destination.is_some_and(|address| address.is_multicast());
                let (fields, values) = flow(rule);
                (to_group, with(self.spread(fields), &values))
            };
            let all = flows.iter().map(request).collect();
            held.flows = Some(flows);
            all
        } else if let Some(destinations) = &wanted.destinations {
            held.destinations = Some(destinations.clone());
            let others = destinations.iter().filter(|mac| **mac != self.address && mac.0 != [0xff; 6]);
            others.map(|mac| (mac.is_group(), self.to(*mac))).collect()
        } else {
            return Ok(held);
        };
        self.narrow = Some(Vec::new());
        for (to_group, request) in filters {
            let how = if to_group { op::SUBSCRIBE } else { op::INSERT };
            let Some(reply) = hw.ask_or_lose(request.with(filter_op::input::OP, how), "it receives all frames")? else {
                self.widen(hw)?;
                return Ok(Wanted::default());
            };
            let filter = Filter { handle: reply.get(filter_op::output::HANDLE), subscribes: to_group };
            self.narrow.get_or_insert_default().push(filter);
        }
        self.remove_everything(hw)?;
        Ok(held)
    }

    /// Whether the firmware can match each of these.
    fn know(&self, flows: &[FlowRule]) -> bool {
        flows.iter().all(|rule| self.supported.contains(&flow(rule).0))
    }

    /// Receives everything again, if it was narrowed.
    fn widen(&mut self, hw: &Hw) -> Result<()> {
        if self.narrow.is_some() && self.promiscuous.is_empty() {
            self.insert_everything(hw, |request| hw.ask(request).map(Some))?;
        }
        self.narrow.take().into_iter().flatten().try_for_each(|filter| Self::remove(hw, filter))
    }

    /// These groups, and no others.
    pub fn set_multicast(&mut self, hw: &Hw, groups: &[MacAddr]) -> Result<()> {
        while let Some(filter) = self.groups.pop() {
            Self::remove(hw, filter)?;
        }
        for &group in groups {
            // Broadcast is always in.
            if group.0 != [0xff; 6] {
                self.groups.push(self.insert(hw, op::SUBSCRIBE, self.to(group))?);
            }
        }
        Ok(())
    }

    /// Another address of our own.
    pub fn set_mac(&mut self, hw: &Hw, mac: MacAddr, max_frame: u16) -> Result<()> {
        if let Some(filter) = self.own.take() {
            Self::remove(hw, filter)?;
        }
        let request = Request::new(vadaptor_set_mac::COMMAND)
            .with(vadaptor_set_mac::input::UPSTREAM_PORT_ID, EVB_PORT_ID_ASSIGNED)
            .with_bytes(vadaptor_set_mac::input::MACADDR, &mac.0);
        hw.ask_optional(request)?;
        setup::mac_unit(hw, mac, max_frame)?;
        self.address = mac;
        self.own = Some(self.insert(hw, op::INSERT, self.to(mac))?);
        Ok(())
    }

    /// Spreads flows over all queues, by filters that are inserted later. Where the
    /// firmware will not, all goes to the first one.
    pub fn set_rss(&mut self, hw: &Hw, rss: &Rss) -> Result<()> {
        const EXCLUSIVE: u64 = 0;
        const LOST: &str = "all frames come on its first queue";
        use rss_context_alloc::input;
        let request = Request::new(rss_context_alloc::COMMAND)
            .with(input::UPSTREAM_PORT_ID, EVB_PORT_ID_ASSIGNED)
            .with(input::TYPE, EXCLUSIVE)
            .with(input::NUM_QUEUES, u64::from(self.rx_queues));
        let Some(context) = hw.ask_or_lose(request, LOST)? else { return Ok(()) };
        let context = context.get(rss_context_alloc::output::RSS_CONTEXT_ID);
        let key = Request::new(rss_context_set_key::COMMAND)
            .with(rss_context_set_key::input::RSS_CONTEXT_ID, context)
            .with_bytes(rss_context_set_key::input::TOEPLITZ_KEY, &rss.key);
        let table = self.table(context, &rss.table);
        if hw.ask_or_lose(table, LOST)?.is_none() || hw.ask_or_lose(key, LOST)?.is_none() {
            let free = Request::new(rss_context_free::COMMAND).with(rss_context_free::input::RSS_CONTEXT_ID, context);
            return hw.ask_any(free).map(drop);
        }
        self.rss = Some(context);
        if hw.caps.has(Capability::MoreRssModes) {
            let flags = Request::new(rss_context_set_flags::COMMAND)
                .with(rss_context_set_flags::input::RSS_CONTEXT_ID, context)
                .with(rss_context_set_flags::input::FLAGS, rss_flags(rss.udp));
            match rss.udp {
                true => hw.ask_or_lose(flags, "flows of UDP are spread by their addresses alone")?,
                false => hw.ask_any(flags)?,
            };
        }
        Ok(())
    }

    /// Writes the redirection table. There is none to write with a single queue.
    pub fn set_rss_table(&self, hw: &Hw, table: &[u16]) -> Result<()> {
        match self.rss {
            Some(context) => hw.ask(self.table(context, table)).map(drop),
            None if self.rx_queues == 1 => Ok(()),
            None => {
                let text = "its firmware spreads no flows: all frames come on its first queue; use one queue";
                Err(hw.error(Kind::Unsupported, text))
            }
        }
    }

    /// The redirection table, repeated to the card's length.
    fn table(&self, context: u64, table: &[u16]) -> Request {
        let queues = self.rx_queues;
        let entry = |i: usize| (if table.is_empty() { i as u16 % queues } else { table[i % table.len()] }) as u8;
        let entries: [u8; TABLE] = std::array::from_fn(entry);
        Request::new(rss_context_set_table::COMMAND)
            .with(rss_context_set_table::input::RSS_CONTEXT_ID, context)
            .with_bytes(rss_context_set_table::input::INDIRECTION_TABLE, &entries)
    }

    /// Steers a flow to a queue, by the filter in `slot`.
    pub fn steer(&mut self, hw: &Hw, slot: usize, rule: &FlowRule) -> Result<()> {
        let (fields, values) = flow(rule);
        let request = with(self.request(fields, rule.queue), &values);
        if !self.supported.contains(&fields) {
            let text = format!(
                "its firmware cannot match this combination of fields ({fields:#x}); name the destination's address and port, with both or none of the source's"
            );
            return Err(hw.error(Kind::Unsupported, text));
        }
        self.rules.resize(self.rules.len().max(slot + 1), None);
        if let Some(replaced) = self.rules[slot].take() {
            Self::remove(hw, replaced)?;
        }
        let to_group = rule.destination.is_some_and(|address| address.is_multicast());
        self.rules[slot] = Some(self.insert(hw, if to_group { op::SUBSCRIBE } else { op::INSERT }, request)?);
        Ok(())
    }

    /// Removes all of them.
    pub fn stop(&mut self, hw: &Hw) -> Result<()> {
        let rules = self.rules.drain(..).flatten();
        let all = rules
            .chain(self.groups.drain(..))
            .chain(self.narrow.take().into_iter().flatten())
            .chain(self.promiscuous.drain(..));
        all.chain(self.own.take()).chain(self.broadcast.take()).try_for_each(|filter| Self::remove(hw, filter))
    }

    /// Whether frames are spread, and so have a hash.
    pub fn spreads(&self) -> bool {
        self.rss.is_some()
    }
}

/// The fields that a rule compares, and their values.
fn flow(rule: &FlowRule) -> (u64, Vec<(Field, Vec<u8>)>) {
    use filter_op::input;
    let v6 = [rule.source, rule.destination].into_iter().flatten().any(|address| address.is_ipv6());
    let version: u16 = if v6 { 0x86dd } else { 0x0800 };
    let protocol = match rule.protocol {
        L4::Tcp => 6,
        L4::Udp => 17,
        L4::Sctp => 132,
    };
    let mut fields = fields::ETHER_TYPE | fields::IP_PROTO;
    let mut values: Vec<(Field, Vec<u8>)> =
        vec![(input::ETHER_TYPE, version.to_be_bytes().to_vec()), (input::IP_PROTO, vec![protocol, 0])];
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    for (bit, field, value) in [
        (fields::SRC_IP, input::SRC_IP, rule.source.map(octets)),
        (fields::DST_IP, input::DST_IP, rule.destination.map(octets)),
        (fields::SRC_PORT, input::SRC_PORT, rule.source_port.map(|port| port.to_be_bytes().to_vec())),
        (fields::DST_PORT, input::DST_PORT, rule.destination_port.map(|port| port.to_be_bytes().to_vec())),
    ] {
        if let Some(value) = value {
            fields |= bit;
            values.push((field, value));
        }
    }
    (fields, values)
}

/// A filter with these values.
fn with(request: Request, values: &[(Field, Vec<u8>)]) -> Request {
    values.iter().fold(request, |request, (field, value)| request.with_bytes(*field, value))
}

/// What is hashed: both addresses, and both ports of TCP and, if `udp`, of UDP.
fn rss_flags(udp: bool) -> u64 {
    const ENABLE: u64 = 0xf;
    const ADDRESSES: u64 = 0x3;
    const PORTS: u64 = 0xf;
    let udp = if udp { PORTS } else { ADDRESSES };
    ENABLE
        | [PORTS, udp, ADDRESSES, PORTS, udp, ADDRESSES]
            .iter()
            .enumerate()
            .fold(0, |flags, (n, mode)| flags | mode << (8 + 4 * n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_udp_are_hashed_if_asked_for() {
        assert_eq!(rss_flags(true), 0x3ff3_ff0f);
        assert_eq!(rss_flags(false), 0x33f3_3f0f);
    }
}
