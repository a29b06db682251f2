//! Flow director: steering a flow to a queue (§7.1.9).
//!
//! A filter is not written to a table but sent down a transmit queue, which
//! belongs to an interface (VSI) of its own: a descriptor that says what to do,
//! then one with a packet of the flow, which is parsed and never sent. What came
//! of it is written to the receive queue of the same pair.
//!
//! ```text
//!   transmit  [ filter program | packet ] ... --> parsed, compared fields -> table
//!   receive   [ programming status ] <----------- full? not found?
//! ```
//!
//! Which fields are compared is one setting for each packet type, so all rules
//! for one transport leave the same fields open.

use super::adminq::{AdminQueue, Buffer, le16};
use super::desc::{Short, data};
use super::firmware::Place;
use super::hmc::Contexts;
use super::hw::Hw;
use super::ids::Mac;
use super::regs::{self, Reg};
use super::setup::{self, Allocation, Receive};
use super::vsi::{self, Vsi};
use super::{filters, irq};
use crate::dma::{Arena, BUFFER_SIZE, L4, Region};
use crate::driver::ops::FlowRule;
use crate::driver::ring::Ring;
use crate::driver::wait;
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Descriptors of either ring.
const RING: u16 = 64;

/// Bytes of the packet that stands for a flow.
const PACKET: usize = 512;

/// How long a filter may take to be programmed.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a status is waited for after that: there may be none if all is well.
const STATUS_PATIENCE: Duration = Duration::from_millis(10);

/// The queue pair that programs filters.
pub struct Steering {
    /// The pair's number.
    pub queue: u16,
    tx: Ring<Short>,
    rx: Ring<Short>,
    packet: Region,
    buffer: Region,
    next_tx: u32,
    next_rx: u32,
    /// For each transport that there are rules for, the fields that they compare.
    compared: Vec<(L4, u64)>,
    /// What the registers that say so held before: they are the port's, and no
    /// reset of a function changes them back.
    found: Vec<(Reg, u32)>,
}

impl Steering {
    /// Makes the interface and its queue pair `queue`.
    pub fn new(
        function: &dyn Function,
        hw: &Hw,
        aq: &mut AdminQueue,
        contexts: &Contexts,
        allocation: Allocation,
        place: Place,
        queue: u16,
    ) -> Result<Self> {
        // An interface beside our own needs a switch above both (command 0230).
        let mut params = [0; 9];
        params[..2].copy_from_slice(&place.uplink.to_le_bytes());
        params[2..4].copy_from_slice(&place.seid.to_le_bytes());
        const DATA_PORT: u8 = 4;
        const CLASS_0: u8 = 1;
        params[4] = DATA_PORT;
        params[6] = CLASS_0;
        let answer = aq.tell("a switch for flow director", 0x0230, &params, Buffer::None)?;
        let vsi = vsi::add(aq, hw, le16(&answer.params, 8), queue)?;

        let ring = usize::from(RING) * size_of::<Short>();
        let arena = Arena::new(2 * BUFFER_SIZE + BUFFER_SIZE, function.addressing())?;
        function.map(&arena)?;
        let [tx, rx] = [0, ring].map(|at| Region::new(&arena, at, ring));
        let (packet, buffer) =
            (Region::new(&arena, BUFFER_SIZE, PACKET), Region::new(&arena, 2 * BUFFER_SIZE, BUFFER_SIZE));
        let receive = Receive { ring: &rx, len: RING, long: false, longest: BUFFER_SIZE as u32 };
        setup::receive_queue(hw, contexts, queue, &receive)?;
        setup::transmit_queue(hw, contexts, allocation, queue, &tx, &vsi, true)?;
        irq::route_waited(hw, queue);
        let steering = Steering {
            queue,
            tx: Ring::new(tx, u32::from(RING)),
            rx: Ring::new(rx, u32::from(RING)),
            packet,
            buffer,
            next_tx: 0,
            next_rx: 0,
            compared: Vec::new(),
            found: Vec::new(),
        };
        // A status has no data: one buffer serves all.
        for n in 0..u32::from(RING) {
            steering.arm(n);
        }
        hw.write(regs::QRX_TAIL.at(queue), u32::from(RING) - 1);
        Ok(steering)
    }

    fn arm(&self, position: u32) {
        self.rx.at(position)[0].store(self.buffer.iova(), Ordering::Relaxed);
        self.rx.at(position)[1].store(0, Ordering::Release);
    }

    /// Steers a flow of `main` to one of its queues, by the rule in `slot`.
    pub fn add(&mut self, hw: &Hw, aq: &mut AdminQueue, main: &Vsi, slot: usize, rule: &FlowRule) -> Result<()> {
        let [source, destination] = rule.ipv4(hw)?;
        let fields = compared(rule);
        match self.compared.iter().find(|(protocol, _)| *protocol == rule.protocol) {
            None => {
                for packet_type in packet_types(hw.mac, rule.protocol) {
                    self.compare(hw, aq, regs::PRTQF_FD_INSET_HIGH.at(*packet_type), (fields >> 32) as u32)?;
                    self.compare(hw, aq, regs::PRTQF_FD_INSET_LOW.at(*packet_type), fields as u32)?;
                }
            }
            Some((_, same)) if *same == fields => {}
            Some(_) => {
                return Err(hw.error(
                    Kind::Usage,
                    "it compares the same fields for all flows of one transport; leave the same ones open in every rule",
                ));
            }
        }
        let bytes =
            flow_packet(rule, source.unwrap_or(Ipv4Addr::UNSPECIFIED), destination.unwrap_or(Ipv4Addr::UNSPECIFIED));
        for (slot, byte) in self.packet.bytes().iter().zip(bytes) {
            slot.store(byte, Ordering::Relaxed);
        }
        for packet_type in packet_types(hw.mac, rule.protocol) {
            self.program(hw, *packet_type, main.number, rule.queue, slot as u32)?;
        }
        self.compared.retain(|(protocol, _)| *protocol != rule.protocol);
        self.compared.push((rule.protocol, fields));
        Ok(())
    }

    /// Writes half of an input set.
    fn compare(&mut self, hw: &Hw, aq: &mut AdminQueue, reg: Reg, value: u32) -> Result<()> {
        if self.found.iter().all(|(found, _)| found.offset != reg.offset) {
            let found = filters::read(aq, hw, reg)?;
            self.found.push((reg, found));
        }
        filters::write(aq, hw, reg, value)
    }

    /// Leaves the port's input sets as they were.
    pub fn restore(&self, hw: &Hw, aq: &mut AdminQueue) {
        for (reg, value) in &self.found {
            // A card that does not take it is at its end anyway.
            let _ = filters::write(aq, hw, *reg, *value);
        }
    }

    /// Sends a filter down the queue and waits for what comes of it.
    fn program(&mut self, hw: &Hw, packet_type: u16, vsi: u16, queue: u16, id: u32) -> Result<()> {
        const PROGRAM: u64 = 8;
        const ADD: u64 = 1 << 4;
        const TO_QUEUE: u64 = 1 << 7;
        let first = u64::from(queue) | u64::from(packet_type) << 17 | u64::from(vsi) << 23;
        // The status keeps the hash of the packet: no id is reported.
        let second = PROGRAM | ADD | TO_QUEUE | u64::from(id) << 32;
        let dummy = data::EOP | data::RS | data::DUMMY | (PACKET as u64) << data::LENGTH;
        for words in [[first, second], [self.packet.iova(), dummy]] {
            let slot = self.tx.at(self.next_tx);
            slot[0].store(words[0], Ordering::Relaxed);
            slot[1].store(words[1], Ordering::Release);
            self.next_tx = self.next_tx.wrapping_add(1);
        }
        // A status alone fills no cache line: the vector has it written back.
        irq::unmask(hw, self.queue);
        crate::dma::barrier::io_wmb();
        hw.write(regs::QTX_TAIL.at(self.queue), self.tx.index(self.next_tx));

        let last = self.tx.at(self.next_tx.wrapping_sub(1));
        let head = regs::QTX_HEAD.at(self.queue);
        let read = || match hw.read(head) {
            u32::MAX => u32::MAX,
            _ => last[1].load(Ordering::Acquire) as u32,
        };
        let done = |word: u32| u64::from(word) & data::DONE == data::DONE;
        wait::wait_until(hw, "programming a flow filter", "the descriptor", PATIENCE, read, done)?;
        self.status(hw)
    }

    /// What the card reports of a filter.
    fn status(&mut self, hw: &Hw) -> Result<()> {
        /// A status, as a packet's descriptor is read: no lengths, split.
        const IS_STATUS: u64 = 0x200_0000;
        const TABLE_FULL: u64 = 1 << 19;
        const DONE: u64 = 1;
        let start = Instant::now();
        loop {
            // The register access lets a card that is stepped by its accesses go on.
            hw.answers(regs::QTX_HEAD.at(self.queue))?;
            let word = self.rx.at(self.next_rx)[1].load(Ordering::Acquire);
            if word & DONE == 0 {
                if start.elapsed() >= STATUS_PATIENCE {
                    return Ok(());
                }
                continue;
            }
            self.arm(self.next_rx);
            hw.write(regs::QRX_TAIL.at(self.queue), self.rx.index(self.next_rx));
            self.next_rx = self.next_rx.wrapping_add(1);
            if word >> 38 != IS_STATUS {
                return Err(hw.error(
                    Kind::Device,
                    format!("a packet came where the state of a flow filter was expected ({word:#018x})"),
                ));
            }
            if word & TABLE_FULL != 0 {
                return Err(
                    hw.error(Kind::Usage, "all of its flow filters are in use; merge rules or leave fields open")
                );
            }
            return Ok(());
        }
    }
}

/// Packet types of a transport over IPv4 (table 7-5). The X722 tells unicast from
/// multicast UDP, and the first segment of a TCP connection from the rest.
fn packet_types(mac: Mac, protocol: L4) -> &'static [u16] {
    match (mac, protocol) {
        (Mac::Xl710, L4::Udp) => &[31],
        (Mac::Xl710, L4::Tcp) => &[33],
        (Mac::X722, L4::Udp) => &[29, 30, 31],
        (Mac::X722, L4::Tcp) => &[32, 33],
        (_, L4::Sctp) => &[34],
    }
}

/// The fields that a rule has compared (table 7-12): bits of the input set.
fn compared(rule: &FlowRule) -> u64 {
    const L3_SOURCE: u64 = 0b11 << 47;
    const L3_DESTINATION: u64 = 0b11 << 35;
    const L4_SOURCE: u64 = 1 << 34;
    const L4_DESTINATION: u64 = 1 << 33;
    let bits = |given: bool, bits: u64| if given { bits } else { 0 };
    bits(rule.source.is_some(), L3_SOURCE)
        | bits(rule.destination.is_some(), L3_DESTINATION)
        | bits(rule.source_port.is_some(), L4_SOURCE)
        | bits(rule.destination_port.is_some(), L4_DESTINATION)
}

/// A packet of the flow as this end would send it: source and destination stand
/// the other way round from what is received. Fields that are open hold zero.
fn flow_packet(rule: &FlowRule, source: Ipv4Addr, destination: Ipv4Addr) -> [u8; PACKET] {
    const ETHERNET: usize = 14;
    const IP: usize = 20;
    let mut packet = [0; PACKET];
    packet[12..14].copy_from_slice(&[0x08, 0x00]);
    let protocol = match rule.protocol {
        L4::Tcp => 6,
        L4::Udp => 17,
        L4::Sctp => 132,
    };
    let ip = &mut packet[ETHERNET..ETHERNET + IP];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((PACKET - ETHERNET) as u16).to_be_bytes());
    ip[8] = 64;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&destination.octets());
    ip[16..20].copy_from_slice(&source.octets());
    let l4 = &mut packet[ETHERNET + IP..];
    l4[..2].copy_from_slice(&rule.destination_port.unwrap_or(0).to_be_bytes());
    l4[2..4].copy_from_slice(&rule.source_port.unwrap_or(0).to_be_bytes());
    match rule.protocol {
        L4::Udp => {
            let len = (PACKET - ETHERNET - IP) as u16;
            l4[4..6].copy_from_slice(&len.to_be_bytes());
        }
        // A header of 20 bytes.
        L4::Tcp => l4[12] = 0x50,
        L4::Sctp => {}
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multicast_feed_is_compared_by_its_group_and_port_alone() {
        let rule = FlowRule {
            source: None,
            destination: Some([239, 1, 2, 3].into()),
            source_port: None,
            destination_port: Some(30001),
            protocol: L4::Udp,
            queue: 3,
        };
        assert_eq!(compared(&rule), 1 << 33 | 0b11 << 35);
        let packet = flow_packet(&rule, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(239, 1, 2, 3));
        assert_eq!(packet[12..15], [8, 0, 0x45]);
        assert_eq!(u16::from_be_bytes([packet[16], packet[17]]), 498, "the IP packet fills the frame");
        assert_eq!((packet[23], &packet[26..34]), (17, &[239, 1, 2, 3, 0, 0, 0, 0][..]));
        assert_eq!(packet[34..40], [0x75, 0x31, 0, 0, 0x01, 0xde]);
    }
}
