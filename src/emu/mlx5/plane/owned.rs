//! What queues are made of: UAR pages, protection and transport domains, keys of
//! memory, counters.

use super::super::super::Board;
use super::be::{set_bits, u32_at};
use super::spec::MkeySpec;
use super::{Outcome, Plane, RESERVED_LKEY, Status};
use crate::dma::Iova;

/// Bytes of a key's context.
const MKEY: usize = 0x40;

/// Access by physical addresses.
const PHYSICAL: u8 = 0;

/// A key of memory.
pub struct Mkey {
    spec: MkeySpec,
    context: Vec<u8>,
}

impl Mkey {
    /// Whether it lets someone of that domain have these bytes.
    #[inline]
    fn lets(&self, variant: u8, pd: u32, at: Iova, len: usize, write: bool) -> bool {
        let spec = &self.spec;
        let allowed = if write { spec.writes } else { spec.reads };
        let inside = spec.endless
            || at.checked_sub(spec.start).and_then(|at| at.checked_add(len as u64)).is_some_and(|end| end <= spec.len);
        spec.variant == variant && spec.pd == pd && allowed && inside && !spec.free
    }
}

/// Whose memory an entry names: the queue's domain, and whether the reserved key counts.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub pd: u32,
    pub reserved: bool,
}

impl Plane {
    /// Whether a queue may have these bytes by that key.
    #[inline]
    pub(super) fn may(&self, owner: Owner, lkey: u32, at: Iova, len: usize, write: bool) -> bool {
        if lkey == RESERVED_LKEY {
            return owner.reserved;
        }
        self.mkeys.get(lkey >> 8).is_some_and(|key| key.lets(lkey as u8, owner.pd, at, len, write))
    }

    /// CREATE_MKEY: its index.
    pub fn create_mkey(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let spec = MkeySpec::of(request);
        if !self.pds.holds(spec.pd) {
            return Err(Status::BAD_RESOURCE);
        }
        if spec.mode != PHYSICAL {
            return Err(Status::BAD_PARAMETER);
        }
        let context = context(request, 0x10, MKEY);
        self.mkeys.insert(Mkey { spec, context }, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// QUERY_MKEY: its context.
    pub fn query_mkey(&self, id: u32) -> Outcome<Vec<u8>> {
        self.mkeys.get(id).map(|key| key.context.clone()).ok_or(Status::BAD_RESOURCE)
    }

    /// DESTROY_MKEY.
    pub fn destroy_mkey(&mut self, id: u32) -> Outcome<()> {
        self.mkeys.remove(id).map(drop).ok_or(Status::BAD_RESOURCE)
    }

    /// QUERY_SPECIAL_CONTEXTS: the whole answer.
    pub fn special_contexts(&self) -> Vec<u8> {
        const NULL_MKEY: u32 = 0x0000_7e00;
        let mut answer = vec![0; 0x18];
        let words = [(0x08, 0x0000_7d00), (0x0c, RESERVED_LKEY), (0x10, NULL_MKEY), (0x14, 0x100)];
        words.iter().for_each(|(at, word)| set_bits(&mut answer, *at, 31, 0, *word));
        answer
    }

    /// ALLOC_PD.
    pub fn alloc_pd(&mut self, board: &mut Board) -> Outcome<u32> {
        self.pds.insert((), board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// DEALLOC_PD: nothing of it may be left.
    pub fn dealloc_pd(&mut self, id: u32) -> Outcome<()> {
        let used = self.mkeys.iter().any(|(_, key)| key.spec.pd == id)
            || self.sqs.iter().any(|(_, sq)| sq.spec.wq.pd == id)
            || self.rqs.iter().any(|(_, rq)| rq.spec.wq.pd == id);
        let (pds, there) = (&mut self.pds, Status::BAD_RESOURCE);
        free(used, || pds.remove(id).ok_or(there))
    }

    /// ALLOC_TRANSPORT_DOMAIN.
    pub fn alloc_td(&mut self, board: &mut Board) -> Outcome<u32> {
        self.tds.insert((), board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// DEALLOC_TRANSPORT_DOMAIN: nothing of it may be left.
    pub fn dealloc_td(&mut self, id: u32) -> Outcome<()> {
        let used =
            self.tises.iter().any(|(_, tis)| tis.spec.td == id) || self.tirs.iter().any(|(_, tir)| tir.spec.td == id);
        let tds = &mut self.tds;
        free(used, || tds.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// ALLOC_UAR: its number, which tells where it is in the BAR.
    pub fn alloc_uar(&mut self, board: &mut Board) -> Outcome<u32> {
        let uar = self.uars.insert((), board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)?;
        let most = board.profile.bar(0) >> (12 + self.limits.log_uar_page);
        if u64::from(uar) >= most && board.profile.bar(0) != 0 {
            self.uars.remove(uar);
            return Err(Status::NO_RESOURCES);
        }
        Ok(uar)
    }

    /// DEALLOC_UAR: no queue may use it.
    pub fn dealloc_uar(&mut self, id: u32) -> Outcome<()> {
        let used = self.eqs.iter().any(|(_, eq)| eq.spec.uar == id)
            || self.cqs.iter().any(|(_, cq)| cq.spec.uar == id)
            || self.sqs.iter().any(|(_, sq)| sq.spec.wq.uar == id);
        let uars = &mut self.uars;
        free(used, || uars.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// ALLOC_Q_COUNTER.
    pub fn alloc_counter(&mut self) -> Outcome<u32> {
        let id = self.drops.insert(0, None).ok_or(Status::NO_RESOURCES)?;
        if id > 0xff {
            self.drops.remove(id);
            return Err(Status::NO_RESOURCES);
        }
        Ok(id)
    }

    /// DEALLOC_Q_COUNTER: no queue may count there.
    pub fn dealloc_counter(&mut self, id: u32) -> Outcome<()> {
        let used = self.rqs.iter().any(|(_, rq)| u32::from(rq.spec.counter) == id);
        let drops = &mut self.drops;
        free(used, || drops.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// QUERY_Q_COUNTER: the whole answer, with frames that found no buffer at 0x30.
    pub fn query_counter(&mut self, id: u32, clear: bool) -> Outcome<Vec<u8>> {
        let count = self.drops.get_mut(id).ok_or(Status::BAD_RESOURCE)?;
        let mut answer = vec![0; 0x110];
        set_bits(&mut answer, 0x30, 31, 0, *count);
        if clear {
            *count = 0;
        }
        Ok(answer)
    }
}

/// Frees an object that nothing uses.
pub fn free<T>(used: bool, remove: impl FnOnce() -> Outcome<T>) -> Outcome<()> {
    if used { Err(Status::RESOURCE_BUSY) } else { remove().map(drop) }
}

/// A context of `len` bytes as a request has it.
pub fn context(request: &[u8], at: usize, len: usize) -> Vec<u8> {
    let words = (0..len / 4).map(|n| u32_at(request, at + 4 * n).to_be_bytes());
    words.flatten().collect()
}
