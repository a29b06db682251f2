//! Flow director: exact filters by classifier type (X710 §7.1.9).
//!
//! ```text
//!   filter descriptor + template packet --> {pctype, masked fields} -> action
//!   received frame: the same fields ---------------^ found: drop, queue, id
//! ```
//!
//! A template is written as the transmit side sees the flow: its source is a
//! received frame's destination. So a filter is kept with both sides swapped.
//! Which fields count is set for a classifier type (PRTQF_FD_INSET), in the view
//! of the received frame. Flexible bytes and field masks are not modelled.

use super::super::RegisterFile;
use super::super::frame::{L3, Parsed};
use super::firmware::{FD_BEST_EFFORT, FD_GUARANTEED};
use super::regs::{self, PFQF_CTL_1, PRTQF_FD_INSET};
use super::{I40e, Kind, filter};
use std::collections::HashMap;

/// Input set: fields as bits.
const SRC6: u64 = 0xff << 43;
const DST6: u64 = 0xff << 35;
const L4_SRC: u64 = 1 << 34;
const L4_DST: u64 = 1 << 33;
const VLAN: u64 = 1 << 55;

/// Source and destination address of IPv4 in an input set: the parser of an X722 puts them
/// at other places (DPDK, i40e_translate_input_set_reg).
fn v4_fields(kind: Kind) -> (u64, u64) {
    match kind {
        Kind::X722 => (3 << 49, 3 << 41),
        _ => (3 << 47, 3 << 35),
    }
}

/// What a flow is matched by; fields that do not count are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    pctype: u8,
    addresses: [u8; 32],
    ports: [u8; 4],
    vlan: u16,
}

/// What becomes of a frame that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It vanishes.
    Drop,
    /// To this queue of the VSI with that number.
    Queue(u16, u16),
    /// As if nothing had matched, but for the report.
    Other,
}

/// A filter.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// What to do.
    pub action: Action,
    /// Reported in the descriptor, if it is to be.
    pub id: Option<u32>,
    /// Counter that counts matches.
    counter: Option<u16>,
}

/// The filter table.
pub struct FlowDirector {
    filters: HashMap<Flow, Filter>,
    /// Classifier types that have filters: how many each.
    used: [u32; 64],
}

impl FlowDirector {
    /// No filters.
    pub fn new() -> Self {
        FlowDirector { filters: HashMap::new(), used: [0; 64] }
    }

    /// Whether frames of this type need looking up.
    #[inline]
    pub fn concerns(&self, pctype: u8) -> bool {
        self.used[usize::from(pctype & 63)] != 0
    }
}

/// A filter as its descriptor has it (§7.1.9.3).
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// First and second word.
    pub words: [u64; 2],
}

/// Why a filter was not programmed: bits of the status descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No room.
    Full = 1,
    /// There is none to remove.
    Missing = 2,
}

/// The fields of a frame that the input set names. `swap` reads both sides the
/// other way round, as a template has them.
fn flow(kind: Kind, regs: &RegisterFile<I40e>, frame: &[u8], headers: &Parsed, pctype: u8, swap: bool) -> Flow {
    let half = |j: u32| u64::from(regs.peek(PRTQF_FD_INSET.nth(2 * u32::from(pctype & 63) + j)));
    let set = half(0) | half(1) << 32;
    let mut flow = Flow { pctype, ..Flow::default() };
    let v6 = matches!(headers.l3, Some(L3::V6 { .. }));
    let (src_bits, dst_bits) = if v6 { (SRC6, DST6) } else { v4_fields(kind) };
    if let Some((mut src, mut dst)) = headers.ip_addresses(frame) {
        if swap {
            std::mem::swap(&mut src, &mut dst);
        }
        if set & src_bits == src_bits {
            flow.addresses[..src.len()].copy_from_slice(src);
        }
        if set & dst_bits == dst_bits {
            flow.addresses[16..16 + dst.len()].copy_from_slice(dst);
        }
    }
    if let [a, b, c, d] = *headers.port_bytes(frame) {
        let [src, dst] = if swap { [[c, d], [a, b]] } else { [[a, b], [c, d]] };
        if set & L4_SRC != 0 {
            flow.ports[..2].copy_from_slice(&src);
        }
        if set & L4_DST != 0 {
            flow.ports[2..].copy_from_slice(&dst);
        }
    }
    if set & VLAN != 0 {
        flow.vlan = headers.vlan.unwrap_or(0) & 0xfff;
    }
    flow
}

/// What flow director compares and RSS hashes after power-on, as read from an X710 and an
/// X722: addresses, ports where there are some, SCTP's tag; of other frames the type.
pub fn default_sets(kind: Kind, regs: &RegisterFile<I40e>) {
    const VERIFICATION_TAG: u64 = 3 << 31;
    const ETHERTYPE: u64 = 1 << 14;
    const OTHER: u8 = 63;
    let ports = L4_SRC | L4_DST;
    let (src4, dst4) = v4_fields(kind);
    let [v4, v6] = [src4 | dst4, SRC6 | DST6];
    let extra: &[u8] = if kind == Kind::X722 { &[29, 30, filter::TCP4_SYN] } else { &[] };
    let with_ports = extra.iter().chain(&[filter::UDP4, filter::TCP4]);
    let sets = with_ports.map(|&pctype| (pctype, ports)).chain([
        (filter::SCTP4, ports | VERIFICATION_TAG),
        (filter::OTHER4, 0),
        (filter::FRAGMENT4, 0),
    ]);
    let both = sets.flat_map(|(pctype, more)| [(pctype, v4 | more), (pctype + filter::V6, v6 | more)]);
    for (pctype, set) in both.chain([(OTHER, ETHERTYPE)]) {
        for of in [&PRTQF_FD_INSET, &regs::GLQF_HASH_INSET] {
            regs.poke(of.nth(2 * u32::from(pctype)), set as u32);
            regs.poke(of.nth(2 * u32::from(pctype) + 1), (set >> 32) as u32);
        }
    }
}

impl I40e {
    /// The filter that a received frame meets.
    #[inline]
    pub(super) fn directed(&mut self, frame: &[u8], headers: &Parsed, pctype: u8) -> Option<Filter> {
        let flow = flow(self.kind, &self.regs, frame, headers, pctype, false);
        let filter = *self.fdir.filters.get(&flow)?;
        if let Some(counter) = filter.counter {
            self.regs.count(regs::GLQF_PCNT.nth(counter.into()), 1);
        }
        Some(filter)
    }

    /// A filter descriptor with its template was sent: adds or removes it.
    pub(super) fn program(&mut self, program: Program, template: &[u8]) -> Result<(), Refusal> {
        let [first, second] = program.words;
        let headers = Parsed::of(template);
        let pctype = (first >> 17 & 0x3f) as u8;
        let flow = flow(self.kind, &self.regs, template, &headers, pctype, true);
        let (queue, vsi) = ((first & 0x7ff) as u16, (first >> 23 & 0x1ff) as u16);
        let action = match second >> 7 & 3 {
            0 => Action::Drop,
            1 => Action::Queue(queue, vsi),
            _ => Action::Other,
        };
        if matches!(action, Action::Queue(..)) && self.switch.by_number(vsi).is_none() {
            self.board.violations.note("flow director filter for a VSI that there is not");
        }
        let id = (second >> 13 & 3 != 0).then_some((second >> 32) as u32);
        let counter = (second >> 11 & 1 == 1).then_some((second >> 20 & 0x1ff) as u16);
        let used = &mut self.fdir.used[usize::from(pctype)];
        match second >> 4 & 7 {
            1 => {
                let room = usize::from(FD_GUARANTEED + FD_BEST_EFFORT);
                if self.fdir.filters.len() >= room && !self.fdir.filters.contains_key(&flow) {
                    return Err(Refusal::Full);
                }
                let before = self.fdir.filters.insert(flow, Filter { action, id, counter });
                *used += u32::from(before.is_none());
            }
            2 => {
                self.fdir.filters.remove(&flow).ok_or(Refusal::Missing)?;
                *used -= 1;
            }
            _ => self.board.violations.note("flow director command that there is not"),
        }
        Ok(())
    }

    /// PFQF_CTL_1.CLEARFDTABLE: all filters go, at once.
    pub(super) fn clear_filters(&mut self) {
        if self.regs.peek(PFQF_CTL_1.at) & 1 == 1 {
            self.fdir = FlowDirector::new();
            self.regs.poke(PFQF_CTL_1.at, 0);
        }
    }

    /// Filters in use: guaranteed ones, and from bit `best` on those beyond.
    pub(super) fn filters_used(&self, best: u32) -> u32 {
        let all = self.fdir.filters.len() as u32;
        let guaranteed = all.min(u32::from(FD_GUARANTEED));
        guaranteed | (all - guaranteed) << best
    }
}
