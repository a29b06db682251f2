//! Which frames are received, and on which queue (82599 §7.1.1, §7.1.2).

use super::hw::Hw;
use super::ids::Mac;
use super::regs::{self, fctrl, ftqf, l34timir, mcstctrl, mrqc, rah, vlnctrl};
use crate::dma::L4;
use crate::driver::config::Rss;
use crate::driver::ops::{FlowRule, Wanted};
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use std::net::Ipv4Addr;

/// The address in slot 0: the EEPROM's after reset.
pub fn mac(hw: &Hw) -> Result<MacAddr> {
    let (low, high) = (hw.read(regs::RAL.at(0)), hw.read(regs::RAH.at(0)));
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    let mac = MacAddr([a, b, c, d, e, f]);
    hw.bar().note_address(mac);
    if high & rah::AV == 0 || !mac.is_unicast() {
        return Err(
            hw.error(Kind::Device, format!("its EEPROM gives it no valid address ({mac}); it may be blank or broken"))
        );
    }
    Ok(mac)
}

/// Slots for addresses.
const ADDRESSES: u16 = 128;

/// Puts the card's own address in slot 0.
pub fn set_mac(hw: &Hw, mac: MacAddr) {
    put_address(hw, 0, mac);
}

fn put_address(hw: &Hw, slot: u16, mac: MacAddr) {
    let MacAddr([a, b, c, d, e, f]) = mac;
    hw.write(regs::RAL.at(slot), u32::from_le_bytes([a, b, c, d]));
    hw.write(regs::RAH.at(slot), u32::from_le_bytes([e, f, 0, 0]) | rah::AV);
    // Pool 0, the only one (§7.10.3).
    hw.write(regs::MPSAR_LO.at(slot), 1);
    hw.write(regs::MPSAR_HI.at(slot), 0);
}

/// Receives what is wanted, and which parts of that the card compares; flows it cannot: its
/// 5-tuple filters choose a queue and leave nothing out (§7.1.2.5). What these leave out is
/// received all the same: frames to the card's own address, to all, and to groups whose bucket
/// is that of one that is wanted; frames without a tag, or whose tag has another EtherType
/// than VET (§7.4.3). To be called while all are received.
pub fn narrow(hw: &Hw, wanted: &Wanted) -> Wanted {
    let vlans = wanted.vlans.clone();
    match &vlans {
        Some(vlans) => filter_vlans(hw, vlans),
        None if hw.read(regs::VLNCTRL) & vlnctrl::VFE != 0 => hw.clear(regs::VLNCTRL, vlnctrl::VFE),
        None => {}
    }
    let destinations = wanted.destinations.clone().filter(|addresses| filter_addresses(hw, addresses));
    if destinations.is_none() {
        set_promiscuous(hw, true);
    }
    Wanted { destinations, vlans, ..Wanted::default() }
}

/// Of frames with a tag, these alone. Neither is a frame left out for its CFI.
fn filter_vlans(hw: &Hw, vlans: &[u16]) {
    const VET: u32 = 0x8100;
    let mut table = [0u32; 128];
    for vlan in vlans {
        table[usize::from(vlan >> 5 & 0x7f)] |= 1 << (vlan & 31);
    }
    for (reg, &bits) in regs::VFTA.all().zip(&table) {
        hw.write(reg, bits);
    }
    hw.change(regs::VLNCTRL, vlnctrl::VFE | vlnctrl::CFIEN | vlnctrl::VET, vlnctrl::VFE | VET);
}

/// Frames to these addresses; false, and then nothing is changed, if there are too many.
fn filter_addresses(hw: &Hw, addresses: &[MacAddr]) -> bool {
    let (groups, own): (Vec<MacAddr>, Vec<MacAddr>) = addresses.iter().partition(|mac| mac.is_group());
    if own.len() >= usize::from(ADDRESSES) {
        return false;
    }
    for slot in 1..ADDRESSES {
        match own.get(usize::from(slot) - 1) {
            Some(mac) => put_address(hw, slot, *mac),
            None => clear_address(hw, slot),
        }
    }
    set_multicast(hw, &groups);
    set_promiscuous(hw, false);
    true
}

/// Empties all tables but the address in slot 0 (82599 §4.6.7: what a reset
/// leaves in them is not defined).
pub fn clear(hw: &Hw) {
    (1..ADDRESSES).for_each(|slot| clear_address(hw, slot));
    for reg in regs::MTA.all().chain(regs::UTA.all()).chain(regs::VFTA.all()).chain(regs::FTQF.all()) {
        hw.write(reg, 0);
    }
    hw.write(regs::MCSTCTRL, 0);
}

fn clear_address(hw: &Hw, slot: u16) {
    for reg in [regs::RAL, regs::RAH, regs::MPSAR_LO, regs::MPSAR_HI] {
        hw.write(reg.at(slot), 0);
    }
}

/// Any address, or only those asked for.
pub fn set_promiscuous(hw: &Hw, on: bool) {
    hw.change(regs::FCTRL, fctrl::UPE | fctrl::MPE, if on { fctrl::UPE | fctrl::MPE } else { 0 });
}

/// Receives these groups. The card keeps a hash of 12 bits of each, so a group
/// that nobody asked for passes too if it shares its bucket with one.
pub fn set_multicast(hw: &Hw, groups: &[MacAddr]) {
    let mut table = [0u32; 128];
    for group in groups {
        let bucket = bucket(*group);
        table[bucket >> 5] |= 1 << (bucket & 31);
    }
    for (reg, &bits) in regs::MTA.all().zip(&table) {
        hw.write(reg, bits);
    }
    hw.write(regs::MCSTCTRL, if groups.is_empty() { 0 } else { mcstctrl::MFE });
}

/// Bucket of a group: bits 47:36 of its address (§8.2.3.7.5).
fn bucket(group: MacAddr) -> usize {
    (usize::from(group.0[4]) >> 4 | usize::from(group.0[5]) << 4) & 0xfff
}

/// Turns RSS on for `queues` queues (82599 §7.1.2.8, §4.6.7): key and table
/// first, the command last.
pub fn set_rss(hw: &Hw, rss: &Rss, queues: u16) {
    for (reg, word) in regs::RSSRK.all().zip(rss.key.chunks_exact(4)) {
        hw.write(reg, word.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte)));
    }
    set_rss_table(hw, &rss.table, queues);
    let udp = if rss.udp { mrqc::IPV4_UDP | mrqc::IPV6_UDP } else { 0 };
    hw.write(regs::MRQC, mrqc::RSSEN | mrqc::IPV4 | mrqc::IPV4_TCP | mrqc::IPV6 | mrqc::IPV6_TCP | udp);
}

/// Writes the redirection table, repeated to the card's length: 128 entries, of
/// the X550 512.
pub fn set_rss_table(hw: &Hw, table: &[u16], queues: u16) {
    let entry = |i: usize| u32::from(if table.is_empty() { i as u16 % queues } else { table[i % table.len()] });
    let extended = if hw.mac == Mac::X550 { 96 } else { 0 };
    for (n, reg) in regs::RETA.all().chain(regs::ERETA.all().take(extended)).enumerate() {
        hw.write(reg, (0..4).fold(0, |word, k| word | entry(4 * n + k) << (8 * k)));
    }
}

/// Flow filters (82599 §7.1.2.5).
const FLOW_FILTERS: usize = 128;

/// Steers a flow to a queue, by the filter in `slot`.
pub fn steer(hw: &Hw, slot: usize, rule: &FlowRule) -> Result<()> {
    let any = |address: Option<Ipv4Addr>| address.map_or(0, |address| u32::from_le_bytes(address.octets()));
    let [source, destination] = rule.ipv4(hw)?.map(any);
    if slot >= FLOW_FILTERS {
        return Err(hw.error(Kind::Usage, "all 128 of its flow filters are in use; merge rules or leave fields open"));
    }
    let n = slot as u16;
    let any = |open: bool, bit| if open { bit } else { 0 };
    let protocol = match rule.protocol {
        L4::Tcp => ftqf::TCP,
        L4::Udp => ftqf::UDP,
        L4::Sctp => ftqf::SCTP,
    };
    // Off while it is half written.
    hw.write(regs::FTQF.at(n), 0);
    // Addresses and ports as they stand in the packet.
    hw.write(regs::SAQF.at(n), source);
    hw.write(regs::DAQF.at(n), destination);
    let port = |port: Option<u16>| u32::from(port.unwrap_or(0).swap_bytes());
    hw.write(regs::SDPQF.at(n), port(rule.source_port) | port(rule.destination_port) << 16);
    hw.write(regs::L34TIMIR.at(n), l34timir::RESERVED | u32::from(rule.queue) << l34timir::QUEUE_SHIFT);
    hw.write(
        regs::FTQF.at(n),
        protocol
            | ftqf::PRIORITY_7
            | any(rule.source.is_none(), ftqf::ANY_SOURCE)
            | any(rule.destination.is_none(), ftqf::ANY_DESTINATION)
            | any(rule.source_port.is_none(), ftqf::ANY_SOURCE_PORT)
            | any(rule.destination_port.is_none(), ftqf::ANY_DESTINATION_PORT)
            | ftqf::ANY_POOL
            | ftqf::ENABLE,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_falls_in_the_bucket_of_its_upper_bits() {
        // 01:00:5e:00:00:fb: bytes 4 and 5 are 00 and fb.
        assert_eq!(bucket(MacAddr([1, 0, 0x5e, 0, 0, 0xfb])), 0xfb0);
        assert_eq!(bucket(MacAddr([0x33, 0x33, 0, 0, 0xff, 0xff])), 0xfff);
        assert_eq!(bucket(MacAddr([1, 0, 0x5e, 0, 0x5f, 0x00])), 0x005);
    }
}
