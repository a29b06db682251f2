//! Which frames are received: addresses, groups, everything, and flows.

use super::Generation;
use super::cmd::{
    cfa_adv_flow_mgnt_qcaps, cfa_l2_filter_alloc, cfa_l2_filter_free, cfa_l2_set_rx_mask, cfa_ntuple_filter_alloc,
    cfa_ntuple_filter_free,
};
use super::codes::refusal;
use super::delivery::Delivery;
use super::hw::Hw;
use crate::dma::{L4, Region};
use crate::driver::mailbox::Request;
use crate::driver::ops::FlowRule;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

/// Most groups that are named one by one; of more, all are received.
const MAX_GROUPS: usize = 16;

/// Bytes for the table of groups.
pub const GROUPS_BYTES: usize = 128;

/// What a place receives besides the addresses of filters.
mod mask {
    pub const GROUPS: u64 = 1 << 1;
    pub const ALL_GROUPS: u64 = 1 << 2;
    pub const BROADCAST: u64 = 1 << 3;
    pub const PROMISCUOUS: u64 = 1 << 4;
}

/// How a flow is sent to a queue that has no place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// By no other way.
    Place,
    /// To an entry of the default place's table, in the field for destinations.
    Entry,
    /// The same in a field of its own.
    OldEntry,
    /// Nor to one that has a place: why.
    None(&'static str),
}

impl Steering {
    /// What the firmware can do.
    pub fn of(hw: &Hw) -> Result<Steering> {
        const IN_ITS_FIELD: u64 = 1 << 8;
        const AS_DESTINATION: u64 = 1 << 13;
        /// With this firmware a flow filter stops all traffic.
        const STOPS_TRAFFIC: u16 = 212;
        if hw.firmware.version[0] == STOPS_TRAFFIC {
            return Ok(Steering::None("with firmware 212 a filter of a flow stops all traffic; update it"));
        }
        if hw.generation == Generation::P4 || !hw.firmware.advanced_flows {
            return Ok(Steering::Place);
        }
        let reply = hw.ask_optional(Request::new(cfa_adv_flow_mgnt_qcaps::COMMAND))?;
        let flags = reply.map_or(0, |reply| reply.get(cfa_adv_flow_mgnt_qcaps::output::FLAGS));
        Ok(match () {
            () if flags & AS_DESTINATION != 0 => Steering::Entry,
            () if flags & IN_ITS_FIELD != 0 => Steering::OldEntry,
            () => Steering::Place,
        })
    }
}

/// The filters of a port.
pub struct Filters {
    steering: Steering,
    /// Table of groups, which the firmware reads.
    table: Region,
    groups: Vec<MacAddr>,
    promiscuous: bool,
    /// Everything was asked for at the start, and may not be received.
    pub refused: bool,
    own: Option<(MacAddr, u64)>,
    /// Flows by slot, with their filters.
    rules: Vec<Option<(FlowRule, u64)>>,
}

impl Filters {
    /// None yet.
    pub fn new(steering: Steering, table: Region) -> Filters {
        Filters {
            steering,
            table,
            groups: Vec::new(),
            promiscuous: false,
            refused: false,
            own: None,
            rules: Vec::new(),
        }
    }

    /// Receives frames for `mac`, and broadcast; everything if it may and is to.
    pub fn start(&mut self, hw: &Hw, delivery: &Delivery, mac: MacAddr, promiscuous: bool) -> Result<()> {
        self.own = Some((mac, insert(hw, delivery, mac)?));
        self.promiscuous = promiscuous;
        let mut refusal = self.apply(hw, delivery)?;
        if refusal.is_some() && promiscuous {
            // A partition that may not sees what is sent to it all the same.
            self.promiscuous = false;
            self.refused = true;
            refusal = self.apply(hw, delivery)?;
        }
        refusal.map_or(Ok(()), |code| Err(refused(hw, code)))
    }

    /// Any address, or only those asked for.
    pub fn set_promiscuous(&mut self, hw: &Hw, delivery: &Delivery, on: bool) -> Result<()> {
        let before = std::mem::replace(&mut self.promiscuous, on);
        let error = match self.apply(hw, delivery) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) if on => hw.error(
                Kind::Permission,
                "its firmware lets this function receive no frames for other addresses; use the card's physical function, or leave promiscuous mode off",
            ),
            Ok(Some(code)) => refused(hw, code),
            Err(error) => error,
        };
        // A card that refuses leaves everything as it was.
        self.promiscuous = before;
        Err(error)
    }

    /// These groups; more than can be named are received with all others.
    pub fn set_multicast(&mut self, hw: &Hw, delivery: &Delivery, groups: &[MacAddr]) -> Result<()> {
        // Broadcast is always in.
        let groups = groups.iter().copied().filter(|group| group.0 != [0xff; 6]).collect();
        let before = std::mem::replace(&mut self.groups, groups);
        let error = match self.apply(hw, delivery) {
            Ok(None) => return Ok(()),
            Ok(Some(code)) => refused(hw, code),
            Err(error) => error,
        };
        self.groups = before;
        Err(error)
    }

    /// Tells the card; its code if it refuses.
    fn apply(&self, hw: &Hw, delivery: &Delivery) -> Result<Option<u32>> {
        use cfa_l2_set_rx_mask::input;
        let request = |mask: u64| {
            let everything = if self.promiscuous { mask::PROMISCUOUS } else { 0 };
            Request::new(cfa_l2_set_rx_mask::COMMAND)
                .with(input::VNIC_ID, u64::from(delivery.default()))
                .with(input::MASK, mask | mask::BROADCAST | everything)
        };
        let all = request(mask::ALL_GROUPS);
        let outcome = match self.groups.len() {
            0 => hw.try_ask(&request(0))?,
            named @ 1..=MAX_GROUPS => {
                for (to, from) in self.table.bytes().iter().zip(self.groups.iter().flat_map(|group| group.0)) {
                    to.store(from, Ordering::Relaxed);
                }
                let request = request(mask::GROUPS)
                    .with(input::MC_TBL_ADDR, self.table.iova())
                    .with(input::NUM_MC_ENTRIES, named as u64);
                match hw.try_ask(&request)? {
                    // It has no room for so many.
                    Err(_) => hw.try_ask(&all)?,
                    done => done,
                }
            }
            _ => hw.try_ask(&all)?,
        };
        Ok(outcome.err())
    }

    /// Another address of our own.
    pub fn set_mac(&mut self, hw: &Hw, delivery: &Delivery, mac: MacAddr) -> Result<()> {
        if self.own.is_some_and(|(own, _)| own == mac) {
            return Ok(());
        }
        let filter = insert(hw, delivery, mac)?;
        if let Some((_, before)) = self.own.replace((mac, filter)) {
            remove(hw, before)?;
        }
        // Flows belong to an address.
        self.renew(hw, delivery)
    }

    /// Steers a flow to a queue, by the filter in `slot`.
    pub fn steer(&mut self, hw: &Hw, delivery: &Delivery, slot: usize, rule: &FlowRule) -> Result<()> {
        self.rules.resize(self.rules.len().max(slot + 1), None);
        if let Some((_, replaced)) = self.rules[slot].take() {
            forget(hw, replaced)?;
        }
        self.rules[slot] = Some((*rule, self.insert_flow(hw, delivery, rule)?));
        Ok(())
    }

    /// Inserts all flows anew, as what they lead to has changed.
    pub fn renew(&mut self, hw: &Hw, delivery: &Delivery) -> Result<()> {
        let mut outcome = Ok(());
        for slot in 0..self.rules.len() {
            if let Some((rule, _)) = self.rules[slot] {
                // One that is refused takes no other with it.
                outcome = outcome.and(self.steer(hw, delivery, slot, &rule));
            }
        }
        outcome
    }

    fn insert_flow(&self, hw: &Hw, delivery: &Delivery, rule: &FlowRule) -> Result<u64> {
        use cfa_ntuple_filter_alloc::input;
        const DEST_ENTRY: u64 = 1 << 5;
        const ENTRY: u64 = 1 << 19;
        let refuse = |why: &str| hw.error(Kind::Unsupported, format!("flows cannot be steered: {why}"));
        let (fields, request) = flow(rule, self.own.map_or(0, |(_, filter)| filter));
        let place = u64::from(delivery.default());
        // A place leads to its queue whatever the table says; an entry only if it names it.
        let request = match (self.steering, delivery.own(rule.queue), delivery.entry(rule.queue)) {
            (Steering::None(why), ..) => return Err(refuse(why)),
            (_, Some(own), _) => request.with(input::ENABLES, fields).with(input::DST_ID, u64::from(own)),
            (Steering::Entry, None, Some(entry)) => request
                .with(input::FLAGS, DEST_ENTRY)
                .with(input::ENABLES, fields)
                .with(input::DST_ID, u64::from(entry)),
            (Steering::OldEntry, None, Some(entry)) => request
                .with(input::ENABLES, fields | ENTRY)
                .with(input::DST_ID, place)
                .with(input::RFS_RING_TBL_IDX, u64::from(entry)),
            (Steering::Entry | Steering::OldEntry, None, None) => {
                return Err(refuse("no entry of the redirection table names the queue; have one that does"));
            }
            (Steering::Place, None, _) => {
                return Err(refuse(
                    "its firmware grants this function no place of its own for each receive queue; use fewer queues",
                ));
            }
        };
        match hw.try_ask(&request)? {
            Ok(reply) => Ok(reply.get(cfa_ntuple_filter_alloc::output::NTUPLE_FILTER_ID)),
            Err(refusal::ALLOC_ERROR | refusal::NO_BUFFER) => {
                Err(hw.error(Kind::Usage, "its filters have no room for another flow; steer fewer"))
            }
            Err(refusal::CMD_NOT_SUPPORTED) => Err(refuse("its firmware does not know how; update it")),
            Err(code) => Err(hw.refused(&request, code)),
        }
    }

    /// Removes all of them.
    pub fn stop(&mut self, hw: &Hw, delivery: &Delivery) {
        for (_, filter) in self.rules.drain(..).flatten() {
            let _ = forget(hw, filter);
        }
        let nothing = Request::new(cfa_l2_set_rx_mask::COMMAND)
            .with(cfa_l2_set_rx_mask::input::VNIC_ID, u64::from(delivery.default()));
        let _ = hw.ask_optional(nothing);
        if let Some((_, filter)) = self.own.take() {
            let _ = remove(hw, filter);
        }
    }
}

/// What the refusal to receive such frames means.
fn refused(hw: &Hw, code: u32) -> Error {
    hw.refused(&Request::new(cfa_l2_set_rx_mask::COMMAND), code)
}

/// Delivers frames for `mac` to the default place.
fn insert(hw: &Hw, delivery: &Delivery, mac: MacAddr) -> Result<u64> {
    use cfa_l2_filter_alloc::{input, output};
    const RECEIVED: u64 = 1 << 0;
    const OUTERMOST: u64 = 1 << 3;
    const ADDRESS_MASK_DESTINATION: u64 = 0x8003;
    let request = Request::new(cfa_l2_filter_alloc::COMMAND)
        .with(input::FLAGS, RECEIVED | OUTERMOST)
        .with(input::ENABLES, ADDRESS_MASK_DESTINATION)
        .with_bytes(input::L2_ADDR, &mac.0)
        .with_bytes(input::L2_ADDR_MASK, &[0xff; 6])
        .with(input::DST_ID, u64::from(delivery.default()));
    match hw.try_ask(&request)? {
        Ok(reply) => Ok(reply.get(output::L2_FILTER_ID)),
        Err(refusal::ACCESS_DENIED) => Err(hw.error(
            Kind::Permission,
            format!("its firmware does not let this function receive frames for {mac} (CFA_L2_FILTER_ALLOC); keep the card's own address"),
        )),
        Err(code) => Err(hw.refused(&request, code)),
    }
}

/// Removes an address filter; one that the card does not know of is removed already.
fn remove(hw: &Hw, filter: u64) -> Result<()> {
    let request = Request::new(cfa_l2_filter_free::COMMAND).with(cfa_l2_filter_free::input::L2_FILTER_ID, filter);
    hw.ask_optional(request).map(drop)
}

/// Removes a flow filter; it may have gone with the place that it led to.
fn forget(hw: &Hw, filter: u64) -> Result<()> {
    let request =
        Request::new(cfa_ntuple_filter_free::COMMAND).with(cfa_ntuple_filter_free::input::NTUPLE_FILTER_ID, filter);
    hw.ask_optional(request).map(drop)
}

/// The filter that a rule is, still without a destination, and the fields that it sets.
/// What is in network order on the wire is in network order here.
fn flow(rule: &FlowRule, address_filter: u64) -> (u64, Request) {
    use cfa_ntuple_filter_alloc::input;
    const L2_FILTER: u64 = 1 << 0;
    const ETHERTYPE: u64 = 1 << 1;
    const ADDRESS_TYPE: u64 = 1 << 4;
    const SOURCE: u64 = 3 << 5;
    const DESTINATION: u64 = 3 << 7;
    const PROTOCOL: u64 = 1 << 9;
    const SOURCE_PORT: u64 = 3 << 10;
    const DESTINATION_PORT: u64 = 3 << 12;
    const DST_ID: u64 = 1 << 16;
    let v6 = [rule.source, rule.destination].into_iter().flatten().any(|address| address.is_ipv6());
    let (version, ethertype): (u64, u16) = if v6 { (6, 0x86dd) } else { (4, 0x0800) };
    let protocol = match rule.protocol {
        L4::Tcp => 6,
        L4::Udp => 17,
        L4::Sctp => 132,
    };
    let mut fields = L2_FILTER | ETHERTYPE | ADDRESS_TYPE | PROTOCOL | DST_ID;
    let mut request = Request::new(cfa_ntuple_filter_alloc::COMMAND)
        .with(input::L2_FILTER_ID, address_filter)
        .with_bytes(input::ETHERTYPE, &ethertype.to_be_bytes())
        .with(input::IP_ADDR_TYPE, version)
        .with(input::IP_PROTOCOL, protocol);
    for (address, bits, value, mask) in [
        (rule.source, SOURCE, input::SRC_IPADDR, input::SRC_IPADDR_MASK),
        (rule.destination, DESTINATION, input::DST_IPADDR, input::DST_IPADDR_MASK),
    ] {
        request = match address {
            Some(IpAddr::V4(address)) => request.with_bytes(value, &address.octets()).with_bytes(mask, &[0xff; 4]),
            Some(IpAddr::V6(address)) => request.with_bytes(value, &address.octets()).with_bytes(mask, &[0xff; 16]),
            None => continue,
        };
        fields |= bits;
    }
    for (port, bits, value, mask) in [
        (rule.source_port, SOURCE_PORT, input::SRC_PORT, input::SRC_PORT_MASK),
        (rule.destination_port, DESTINATION_PORT, input::DST_PORT, input::DST_PORT_MASK),
    ] {
        if let Some(port) = port {
            request = request.with_bytes(value, &port.to_be_bytes()).with(mask, 0xffff);
            fields |= bits;
        }
    }
    (fields, request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_to_a_group_is_matched_by_what_is_on_the_wire() {
        let rule = FlowRule {
            source: None,
            destination: Some("239.1.2.3".parse().unwrap()),
            source_port: None,
            destination_port: Some(0x1234),
            protocol: L4::Udp,
            queue: 1,
        };
        let (fields, request) = flow(&rule, 7);
        assert_eq!(fields, 0x1_3393);
        let body = request.body();
        assert_eq!(body[0x18], 7, "of our own address, though the frames are to another");
        assert_eq!((&body[0x26..0x2a], &body[0x50..0x54]), (&[8, 0, 4, 17][..], &[239, 1, 2, 3][..]));
        assert_eq!((&body[0x60..0x64], &body[0x74..0x78]), (&[0xff; 4][..], &[0x12, 0x34, 0xff, 0xff][..]));
        let own = FlowRule { destination: Some("fe80::1".parse().unwrap()), ..rule };
        let (fields, request) = flow(&own, 7);
        assert_eq!((fields, &request.body()[0x26..0x29]), (0x1_3393, &[0x86, 0xdd, 6][..]));
    }
}
