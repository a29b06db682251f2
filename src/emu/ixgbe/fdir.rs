//! Flow director: perfect-match filters (82599 §7.1.2.7).
//!
//! A driver writes a flow into the FDIR registers and then a command; the table
//! answers at once. Filters are compared field by field here, so the bucket
//! hash that the driver computes is only kept to be reported. Signature filters
//! are accepted and counted, and match nothing: what a driver samples with them
//! is a hint, and RSS decides without it.

use super::super::frame::{L3, L4, Parsed};
use super::Ixgbe;
use super::regs::{self, FDIRCMD, FDIRCTRL, FDIRFREE, FDIRFSTAT, FDIRUSTAT};

/// FDIRCTRL.
const INIT_DONE: u32 = 1 << 3;
const PERFECT: u32 = 1 << 4;
/// FDIRCMD: command and what the flow is.
const FILTER_VALID: u32 = 1 << 2;
const CLEARHT: u32 = 1 << 8;
const DROP: u32 = 1 << 9;
const QUEUE_EN: u32 = 1 << 15;

/// The filter table.
#[derive(Default)]
pub struct FlowDirector {
    on: bool,
    room: usize,
    masks: Masks,
    filters: Vec<Filter>,
    /// Frames that matched and did not, for the counters.
    pub matched: u32,
    /// See matched.
    pub missed: u32,
}

/// Bits that are compared.
#[derive(Default, PartialEq)]
struct Masks {
    src: u32,
    dst: u32,
    /// Ports of TCP, UDP, SCTP: destination in the upper half.
    ports: [u32; 3],
    vlan: u16,
    protocol: bool,
    flex: bool,
}

#[derive(Clone, Copy, PartialEq)]
struct Flow {
    /// 1 UDP, 2 TCP, 3 SCTP, 0 other.
    kind: u8,
    src: u32,
    dst: u32,
    ports: u32,
    vlan: u16,
    flex: u16,
}

struct Filter {
    flow: Flow,
    queue: Option<u16>,
    drop: bool,
    id: u16,
    bucket: u16,
}

/// What a filter does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directed {
    /// Drops it.
    Drop,
    /// Sends it to a queue.
    To {
        /// The queue.
        queue: u16,
        /// The software's name of the filter.
        id: u16,
        /// Its bucket.
        bucket: u16,
    },
}

impl FlowDirector {
    /// Whether any frame could match.
    #[inline]
    pub fn on(&self) -> bool {
        self.on && !self.filters.is_empty()
    }

    /// The filter that a frame matches.
    pub fn look_up(&mut self, frame: &[u8], headers: &Parsed) -> Option<Directed> {
        if !matches!(headers.l3, Some(L3::V4 { .. })) || headers.fragment {
            return None;
        }
        let word = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let addresses = headers.address_bytes(frame);
        let ports = headers.port_bytes(frame);
        let flow = Flow {
            kind: match headers.l4 {
                Some(L4::Udp) => 1,
                Some(L4::Tcp) => 2,
                Some(L4::Sctp) => 3,
                None => 0,
            },
            src: word(&addresses[..4]),
            dst: word(&addresses[4..]),
            // The frame has the source port first, the register the destination.
            ports: if ports.len() == 4 { word(ports).rotate_left(16) } else { 0 },
            vlan: headers.vlan.unwrap_or(0),
            flex: 0,
        };
        let masks = &self.masks;
        let found = self.filters.iter().find(|filter| masks.apply(&filter.flow) == masks.apply(&flow));
        *if found.is_some() { &mut self.matched } else { &mut self.missed } += 1;
        let filter = found?;
        match filter {
            Filter { drop: true, .. } => Some(Directed::Drop),
            Filter { queue: Some(queue), id, bucket, .. } => {
                Some(Directed::To { queue: *queue, id: *id, bucket: *bucket })
            }
            _ => None,
        }
    }
}

impl Masks {
    fn apply(&self, flow: &Flow) -> Flow {
        let ports = flow.kind.checked_sub(1).map_or(0, |kind| match kind {
            // Registers stand in the order TCP, UDP, SCTP; flow kinds do not.
            0 => self.ports[1],
            1 => self.ports[0],
            _ => self.ports[2],
        });
        Flow {
            kind: if self.protocol { flow.kind } else { 0 },
            src: flow.src & self.src,
            dst: flow.dst & self.dst,
            ports: flow.ports & ports,
            vlan: flow.vlan & self.vlan,
            flex: if self.flex { flow.flex } else { 0 },
        }
    }
}

impl Ixgbe {
    /// FDIRCTRL was written: the table is initialised, at once.
    pub(super) fn fdir_control(&mut self) {
        let control = self.regs.peek(FDIRCTRL.at);
        let size = control & 3;
        self.fdir.on = size != 0 && control & PERFECT != 0;
        // 64 KiB of packet buffer hold 2048 perfect or 8192 signature filters,
        // less two (§7.1.2.7.5).
        let unit = if control & PERFECT != 0 { 1024 } else { 4096 };
        self.fdir.room = if size == 0 { 0 } else { (unit << size) - 2 };
        self.fdir.filters.clear();
        self.regs.poke(FDIRFREE.at, self.fdir.room as u32);
        self.regs.poke(FDIRCTRL.at, if size == 0 { control & !INIT_DONE } else { control | INIT_DONE });
    }

    /// The mask registers as they are at this moment.
    fn fdir_masks(&self) -> Masks {
        const DEFAULT_IGNORES: [u32; 4] = [0x01, 0x02, 0x08, 0x10];
        let ignore = self.regs.peek(regs::FDIRM.at);
        let [vlan_id, vlan_priority, protocol, flex] = DEFAULT_IGNORES.map(|bit| ignore & bit != 0);
        // Each half of a port mask has its bits reversed.
        let ports = |at: u32| {
            let mask = self.regs.peek(at);
            !(u32::from(((mask >> 16) as u16).reverse_bits()) << 16 | u32::from((mask as u16).reverse_bits()))
        };
        Masks {
            src: !self.regs.peek(regs::FDIRSIP4M.at).swap_bytes(),
            dst: !self.regs.peek(regs::FDIRDIP4M.at).swap_bytes(),
            ports: [regs::FDIRTCPM.at, regs::FDIRUDPM.at, regs::FDIRSCTPM.at].map(ports),
            vlan: if vlan_id { 0 } else { 0x0fff } | if vlan_priority { 0 } else { 0xe000 },
            protocol: !protocol,
            flex: !flex,
        }
    }

    /// FDIRCMD was written: add, remove or query; done at once (CMD reads 0).
    pub(super) fn fdir_command(&mut self) {
        let command = self.regs.peek(FDIRCMD.at);
        if command & CLEARHT != 0 {
            self.fdir.filters.clear();
        }
        let signature = self.regs.peek(FDIRCTRL.at) & PERFECT == 0;
        self.fdir.masks = self.fdir_masks();
        let flow = self.fdir_flow(command);
        let known = self.fdir.filters.iter().position(|filter| filter.flow == flow);
        let mut valid = false;
        match command & 3 {
            1 if signature => self.regs.count(FDIRUSTAT.at, 1),
            2 if signature => self.regs.count(FDIRUSTAT.at, 1 << 16),
            1 => self.fdir_add(command, flow, known),
            2 => match known {
                Some(at) => {
                    self.fdir.filters.remove(at);
                    self.regs.count(FDIRUSTAT.at, 1 << 16);
                }
                None => self.regs.count(FDIRFSTAT.at, 1 << 16),
            },
            3 => valid = known.is_some(),
            _ => {}
        }
        let free = self.fdir.room.saturating_sub(self.fdir.filters.len());
        self.regs.poke(FDIRFREE.at, free as u32);
        let answer = if valid { FILTER_VALID } else { 0 };
        self.regs.poke(FDIRCMD.at, command & !(3 | FILTER_VALID) | answer);
    }

    fn fdir_add(&mut self, command: u32, flow: Flow, known: Option<usize>) {
        if known.is_none() && self.fdir.filters.len() >= self.fdir.room {
            self.regs.count(FDIRFSTAT.at, 1);
            return;
        }
        let hash = self.regs.peek(regs::FDIRHASH.at);
        let filter = Filter {
            flow,
            queue: (command & QUEUE_EN != 0).then_some((command >> 16 & 0x7f) as u16),
            drop: command & DROP != 0,
            id: (hash >> 16) as u16,
            bucket: hash as u16 & 0x1fff,
        };
        match known {
            Some(at) => self.fdir.filters[at] = filter,
            None => self.fdir.filters.push(filter),
        }
        self.regs.count(FDIRUSTAT.at, 1);
    }

    fn fdir_flow(&self, command: u32) -> Flow {
        let vlan = self.regs.peek(regs::FDIRVLAN.at);
        Flow {
            kind: (command >> 5 & 3) as u8,
            src: self.regs.peek(regs::FDIRIPSA.at).swap_bytes(),
            dst: self.regs.peek(regs::FDIRIPDA.at).swap_bytes(),
            ports: self.regs.peek(regs::FDIRPORT.at),
            vlan: vlan as u16,
            flex: (vlan >> 16) as u16,
        }
    }
}
