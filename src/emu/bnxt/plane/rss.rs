//! Spreading over rings by a hash (RSS).
//!
//! ```text
//!   hash --> P4: 128 ring groups            P5: 64 pairs of receive ring and CQ in each
//!            of one context                     context, up to eight one behind the other
//! ```

use super::super::super::Board;
use super::super::super::frame::{L3, L4, Parsed, Toeplitz};
use super::slab::Handle;
use super::vnic::{Destination, Vnic};
use super::{Outcome, Plane, Refusal, RssSpec};

/// What is hashed, as VNIC_RSS_CFG names it.
const IPV4: u32 = 1 << 0;
const TCP4: u32 = 1 << 1;
const UDP4: u32 = 1 << 2;
const IPV6: u32 = 1 << 3;
const TCP6: u32 = 1 << 4;
const UDP6: u32 = 1 << 5;

/// An RSS context.
pub struct Context {
    types: u32,
    toeplitz: Toeplitz,
    pub table: Table,
}

/// Where hashes lead.
pub enum Table {
    /// Nowhere yet.
    None,
    /// P4.
    Groups(Vec<Handle>),
    /// P5.
    Pairs(Vec<(Handle, Handle)>),
}

impl Context {
    /// The hash of a frame and its type: 0 and 2 of addresses, 1 and 3 with ports.
    #[inline]
    fn hash(&self, frame: &[u8], headers: &Parsed) -> Option<(u32, u64)> {
        let (address, tcp, udp, kind) = match headers.l3? {
            L3::V4 { .. } => (IPV4, TCP4, UDP4, 0),
            L3::V6 { .. } => (IPV6, TCP6, UDP6, 2),
        };
        let ports = match headers.l4 {
            Some(L4::Tcp) => self.types & tcp != 0,
            Some(L4::Udp) => self.types & udp != 0,
            _ => false,
        };
        if !ports && self.types & address == 0 {
            return None;
        }
        let second = if ports { headers.port_bytes(frame) } else { &[] };
        Some((self.toeplitz.hash(headers.address_bytes(frame), second), kind | u64::from(ports)))
    }
}

impl Plane {
    /// VNIC_RSS_COS_LB_CTX_ALLOC: the context's id.
    pub fn alloc_context(&mut self, board: &mut Board) -> Outcome<u16> {
        let context = Context { types: 0, toeplitz: Toeplitz::new([0; 40]), table: Table::None };
        self.contexts.insert(context, board.nasty.then_some(&mut board.random)).ok_or(Refusal::ALLOC)
    }

    /// VNIC_RSS_COS_LB_CTX_FREE. On P5 a VNIC goes first: what it receives after its
    /// context has gone is reported to the function's first completion queue.
    pub fn free_context(&mut self, context: u16) -> Outcome<()> {
        let handle = self.contexts.handle(context).ok_or(Refusal::INVALID)?;
        self.contexts.remove(context);
        for id in self.vnics.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(vnic) = self.vnics.get_mut(id).filter(|vnic| vnic.contexts.contains(&handle)) else { continue };
            vnic.contexts.retain(|context| *context != handle);
            vnic.astray = self.chip.p5();
        }
        Ok(())
    }

    /// VNIC_RSS_CFG. Without types and table a VNIC spreads no longer.
    pub fn set_rss(&mut self, board: &mut Board, spec: &RssSpec) -> Outcome<()> {
        let handle = self.contexts.handle(spec.context);
        if spec.types == 0 && spec.table == 0 {
            if let Some(vnic) = self.vnics.get_mut(spec.vnic) {
                vnic.contexts.clear();
            }
            return Ok(());
        }
        let handle = handle.ok_or(Refusal::INVALID)?;
        let pair = usize::from(spec.pair);
        let vnic = self.vnics.get(spec.vnic);
        // On P4 a VNIC may name its context later, in VNIC_CFG.
        let named = vnic.is_some() || !self.chip.p5();
        let known = vnic.is_some_and(|vnic| vnic.contexts.contains(&handle));
        let next = vnic.map_or(0, |vnic| vnic.contexts.len());
        if !named || pair >= self.chip.contexts() || !known && self.chip.p5() && pair > next {
            return Err(Refusal::INVALID);
        }
        let table = self.read_table(board, spec.table)?;
        let mut key = [0; 40];
        if spec.key != 0 && !board.bus.memory.read(spec.key, &mut key) {
            return Err(Refusal::INVALID);
        }
        let context = self.contexts.get_mut(spec.context).ok_or(Refusal::INVALID)?;
        // TCP with ports brings UDP with ports along.
        context.types = spec.types | (spec.types & (TCP4 | TCP6)) << 1;
        context.table = table;
        if spec.key != 0 && *context.toeplitz.key() != key {
            context.toeplitz = Toeplitz::new(key);
        }
        if let Some(vnic) = self.vnics.get_mut(spec.vnic) {
            match vnic.contexts.get_mut(pair) {
                Some(own) => *own = handle,
                None => vnic.contexts.push(handle),
            }
        }
        Ok(())
    }

    /// Reads a table: all of its entries must be there.
    fn read_table(&mut self, board: &Board, address: u64) -> Outcome<Table> {
        let (entries, p5) = (self.chip.table(), self.chip.p5());
        let mut bytes = vec![0; entries * if p5 { 4 } else { 2 }];
        if !board.bus.memory.read(address, &mut bytes) {
            return Err(Refusal::INVALID);
        }
        let ids: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|id| u16::from_le_bytes(*id)).collect();
        if !p5 {
            let groups = ids.iter().map(|id| self.groups.handle(*id)).collect::<Option<Vec<_>>>();
            return groups.map(Table::Groups).ok_or(Refusal::INVALID);
        }
        let mut pair = |[rx, cq]: [u16; 2]| {
            let fits = self.cq(cq).is_some();
            self.rx_ring(rx).filter(|ring| !ring.is_agg && fits)?;
            Some((self.rings.handle(rx)?, self.rings.handle(cq)?))
        };
        let pairs = ids.as_chunks::<2>().0.iter().map(|ids| pair(*ids)).collect::<Option<Vec<_>>>();
        let pairs = pairs.ok_or(Refusal::INVALID)?;
        for (rx, cq) in &pairs {
            if let Some(ring) = self.rx_ring(rx.id) {
                ring.cq = Some(*cq);
            }
        }
        Ok(Table::Pairs(pairs))
    }

    /// VNIC_RSS_QCFG: what a context hashes, and its key.
    pub fn rss(&self, context: u16) -> Outcome<(u32, [u8; 40])> {
        let context = self.contexts.get(context).ok_or(Refusal::INVALID)?;
        Ok((context.types, *context.toeplitz.key()))
    }

    /// The hash of a frame that a VNIC spreads, and its type.
    #[inline]
    pub(super) fn hash(&self, vnic: &Vnic, frame: &[u8], headers: &Parsed) -> Option<(u32, u64)> {
        let first = vnic.contexts.first().filter(|context| self.contexts.holds(**context))?;
        self.contexts.get(first.id)?.hash(frame, headers)
    }

    /// A VNIC's table at a place, counted over all of its contexts.
    #[inline]
    pub(super) fn spread(&self, vnic: &Vnic, at: u32) -> Destination {
        let entries = self.chip.table() * vnic.contexts.len();
        if entries == 0 {
            return Destination::None;
        }
        let at = at as usize % entries;
        let context = vnic.contexts.get(at / self.chip.table()).filter(|context| self.contexts.holds(**context));
        let context = context.and_then(|context| self.contexts.get(context.id));
        let at = at % self.chip.table();
        match context.map(|context| &context.table) {
            Some(Table::Groups(groups)) => groups.get(at).map_or(Destination::None, |group| Destination::Group(*group)),
            Some(Table::Pairs(pairs)) => {
                pairs.get(at).map_or(Destination::None, |(rx, cq)| Destination::Rings(*rx, *cq))
            }
            _ => Destination::None,
        }
    }
}
