//! Backing store: the memory in which P5 keeps its contexts.
//!
//! ```text
//!   QCAPS   of each kind: bytes of an entry, how many, what they begin with
//!   CFG     of each kind: how many, and where
//!             level 0   a page            level 1   a table of pages, each marked valid
//!             level 2   a table of those
//! ```
//!
//! The card reads and writes that memory whenever it likes, until a reset of the
//! function or until bus mastering goes off, however shortly: it goes on after
//! FUNC_RESET, and if the memory is gone by then it shows.

use super::super::super::bytes::u64_at;
use super::super::super::{Board, FaultKind, Picos, Translation};
use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};
use super::{Refusal, UNKNOWN};
use crate::dma::Iova;

/// Kinds of contexts, in the order of CFG's enables.
const QP: usize = 0;
const SRQ: usize = 1;
const CQ: usize = 2;
const VNIC: usize = 3;
const STATISTICS: usize = 4;
/// The slow ring of the transmit queue manager; eight fast ones follow.
const TQM: usize = 5;
const MRAV: usize = 14;
const TIM: usize = 15;
const KINDS: usize = 16;

/// Entries in a ring of the transmit queue manager.
const TQM_MULTIPLE: u32 = 16;
const TQM_LEAST: u32 = 16;
const TQM_MOST: u32 = 1024;
/// VNICs, and tables of rings.
const VNICS: u16 = 64;
const RING_TABLES: u16 = 64;
/// Entries for queues of the L2 driver.
const L2_QUEUES: u16 = 256;
/// Fast rings, and what a nasty card has.
const TQM_RINGS: usize = 2;
const NASTY_TQM_RINGS: usize = 8;

/// What there is of one kind.
#[derive(Clone, Copy, Debug)]
struct Caps {
    /// Bytes of an entry; 0 if this firmware has no such contexts.
    entry: u16,
    least: u32,
    most: u32,
    /// Entries have the initialiser at this offset in words; none: where others have one
    /// these begin with nothing in particular (Linux, bnxt_hwrm_func_backing_store_qcaps).
    init: Option<u8>,
}

/// The memory.
#[derive(Debug)]
pub struct Store {
    caps: [Caps; KINDS],
    /// What entries begin with; 0 is nothing in particular.
    initialiser: u8,
    tqm_rings: usize,
    /// Pages of each kind, which are touched until bus mastering is off.
    pages: [Vec<Iova>; KINDS],
    /// How often bus mastering had gone off when it looked last.
    stops: u64,
    next_touch: Picos,
    /// Kinds that were given since FUNC_RESET.
    given: u32,
    /// The firmware keeps its contexts itself.
    preboot: bool,
    /// The last CFG, for QCFG.
    configured: Vec<u8>,
    /// Until when it is not ready (fault).
    busy_until: Picos,
}

/// How often the card touches a page of it.
const TOUCH: Picos = 1_000_000_000;
/// How long the store is not ready after the first command for it (fault).
const BUSY_FOR: Picos = 1_000_000_000_000;

impl Store {
    /// What this firmware wants; nasty cards have odd sizes and one kind less. An old
    /// one does not say how many rings there are, nor what entries begin with.
    pub fn new(board: &mut Board, old: bool) -> Self {
        let caps = |entry, least, most| Caps { entry, least, most, init: None };
        let tqm = caps(64, TQM_LEAST, TQM_MOST);
        let mut all = [tqm; KINDS];
        all[QP] = caps(256, 2, 1024);
        all[SRQ] = caps(128, 0, 256);
        all[CQ] = caps(64, 0, 1024);
        all[VNIC] = caps(64, 0, u32::from(VNICS + RING_TABLES));
        all[STATISTICS] = caps(64, 0, 256);
        (all[MRAV], all[TIM]) = (caps(0, 0, 0), caps(0, 0, 0));
        let mut initialiser = 0;
        if board.nasty {
            for (kind, caps) in all[..=STATISTICS].iter_mut().enumerate() {
                caps.entry += 8 * board.random.below(4) as u16;
                caps.init = (kind != CQ).then(|| board.random.below(4) as u8);
            }
            all[SRQ].entry = 0;
            initialiser = if old { 0 } else { 0xa5 };
        }
        Store {
            caps: all,
            initialiser,
            tqm_rings: match (board.nasty, old) {
                (_, true) => 1,
                (true, false) => NASTY_TQM_RINGS,
                (false, false) => TQM_RINGS,
            },
            pages: std::array::from_fn(|_| Vec::new()),
            stops: 0,
            next_touch: 0,
            given: 0,
            preboot: false,
            configured: Vec::new(),
            busy_until: board.now + BUSY_FOR,
        }
    }

    /// FUNC_RESET: what was given is to be given again. It is touched all the same.
    pub fn release(&mut self) {
        (self.given, self.preboot) = (0, false);
        self.configured.clear();
    }

    /// The function was reset: nothing is touched any more.
    pub fn stop(&mut self) {
        self.pages.iter_mut().for_each(Vec::clear);
    }

    /// The same, if bus mastering was off since this was called last.
    fn heed(&mut self, memory: &Translation) {
        if std::mem::replace(&mut self.stops, memory.stops()) != memory.stops() {
            self.stop();
        }
    }

    /// Whether this kind must be there: the card has it, or as many rings of them.
    fn needs(&self, kind: usize) -> bool {
        kind <= TQM + self.tqm_rings && self.caps[kind].entry != 0
    }

    fn complete(&self) -> bool {
        self.preboot || (0..KINDS).all(|kind| !self.needs(kind) || self.given >> kind & 1 == 1)
    }
}

impl Bnxt {
    /// Whether contexts can be made: P5 has been given memory for them.
    pub(super) fn has_store(&self) -> bool {
        !self.chip().p5() || self.store.complete()
    }

    /// Whether the store is not ready yet (fault).
    pub(super) fn store_busy(&self) -> bool {
        self.faulty(FaultKind::StoreBusy) && self.board.now < self.store.busy_until
    }

    /// Reads a word of each area, while it can: memory that is gone shows as a fault.
    pub(in super::super) fn touch_store(&mut self) {
        if self.board.now < self.store.next_touch {
            return;
        }
        self.store.next_touch = self.board.now + TOUCH;
        let memory = &self.board.bus.memory;
        self.store.heed(memory);
        for pages in self.store.pages.iter().filter(|pages| !pages.is_empty()) {
            let any = self.board.random.below(pages.len() as u64) as usize;
            memory.read(pages[any], &mut [0; 8]);
        }
    }

    /// The pages of an area, found by way of as many levels of tables.
    fn pages(&mut self, at: Iova, level: u8, page: u64, bytes: u64) -> Result<Vec<Iova>, Refusal> {
        const ENTRIES: u64 = 512;
        const VALID: u64 = 1;
        const FLAGS: u64 = 0xfff;
        let mut pages = vec![at];
        for level in (0..level).rev() {
            // Pages that the tables of this level name.
            let wanted = bytes.div_ceil(page * ENTRIES.pow(level.into()));
            let mut below = Vec::new();
            for table in pages {
                let mut entries = vec![0; 8 * (wanted - below.len() as u64).min(ENTRIES) as usize];
                if table == 0 || !self.board.bus.memory.read(table, &mut entries) {
                    return Err(Refusal::INVALID);
                }
                for entry in (0..entries.len()).step_by(8).map(|at| u64_at(&entries, at)) {
                    if entry & VALID == 0 {
                        self.board.violations.note("page of the backing store that is not marked valid");
                        return Err(Refusal::INVALID);
                    }
                    below.push(entry & !FLAGS);
                }
            }
            pages = below;
        }
        let memory = &self.board.bus.memory;
        let whole = pages.iter().zip(0..).all(|(&at, n)| {
            let used = bytes.saturating_sub(n * page).clamp(8, page);
            at != 0 && memory.read(at, &mut [0; 8]) && memory.read(at.wrapping_add(used - 8), &mut [0; 8])
        });
        if whole && pages.len() as u64 * page >= bytes { Ok(pages) } else { Err(Refusal::INVALID) }
    }

    /// Whether the first entry begins as it is to.
    fn check_init(&mut self, kind: usize, first: Iova) {
        let (caps, initialiser) = (self.store.caps[kind], self.store.initialiser);
        let Some(word) = caps.init else { return };
        if initialiser == 0 || kind > STATISTICS {
            return;
        }
        let at = 4 * u64::from(word);
        let mut byte = [0];
        if self.board.bus.memory.read(first.wrapping_add(at), &mut byte) && byte[0] != initialiser {
            self.board.violations.note("backing store without its initial values");
        }
    }
}

pub fn capabilities(card: &mut Bnxt, _: &Request) -> Answer {
    if !card.chip().p5() || card.faulty(FaultKind::Old) {
        return Err(UNKNOWN);
    }
    let store = &card.store;
    let [qp, srq, cq, vnic, statistics, tqm] = [QP, SRQ, CQ, VNIC, STATISTICS, TQM].map(|kind| store.caps[kind]);
    let told = |kind: usize| store.caps[kind].init.map_or(0, |_| 1 << kind);
    let mask: u16 = (QP..=STATISTICS).map(told).sum();
    let init = |kind: usize| store.caps[kind].init.unwrap_or(0);
    Ok(Reply::new(104)
        .u32(0x08, qp.most)
        .u16s(0x0c, &[qp.least as u16, L2_QUEUES, qp.entry, 64])
        .u32(0x14, srq.most)
        .u16s(0x18, &[srq.entry, L2_QUEUES])
        .u32(0x1c, cq.most)
        .u16s(0x20, &[cq.entry, VNICS, RING_TABLES, vnic.entry])
        .u32(0x28, statistics.most)
        .u16s(0x2c, &[statistics.entry, tqm.entry])
        .u32(0x30, tqm.least)
        .u32(0x34, tqm.most)
        .bytes(0x46, &[TQM_MULTIPLE as u8, store.initialiser])
        .u16(0x48, mask)
        .bytes(0x4a, &[init(QP), init(SRQ), init(CQ), init(VNIC), store.tqm_rings as u8, init(STATISTICS)]))
}

/// Where the number of entries, and the size of one, of each kind is in CFG.
fn counts(request: &Request, kind: usize) -> (u64, u16) {
    let tqm = |kind: usize| (u64::from(request.u32(0xb8 + 4 * (kind - TQM))), request.u16(0xfa));
    match kind {
        QP => (request.u32(0xa8).into(), request.u16(0xe8)),
        SRQ => (request.u32(0xac).into(), request.u16(0xec)),
        CQ => (request.u32(0xb0).into(), request.u16(0xf0)),
        VNIC => (u64::from(request.u16(0xf2)) + u64::from(request.u16(0xf4)), request.u16(0xf6)),
        STATISTICS => (request.u32(0xb4).into(), request.u16(0xf8)),
        MRAV => (request.u32(0xdc).into(), request.u16(0xfc)),
        TIM => (request.u32(0xe0).into(), request.u16(0xfe)),
        _ => tqm(kind),
    }
}

/// The sizes of pages, by number.
const PAGES: [u64; 6] = [4 << 10, 8 << 10, 64 << 10, 2 << 20, 8 << 20, 1 << 30];

pub fn configure(card: &mut Bnxt, request: &Request) -> Answer {
    const PREBOOT: u32 = 1;
    if !card.chip().p5() {
        return Err(UNKNOWN);
    }
    let (flags, enables) = (request.u32(0x10), request.u32(0x14));
    card.store.configured = request.bytes.get(0x10..).unwrap_or_default().to_vec();
    if flags & PREBOOT != 0 {
        // A boot ROM gives no memory: the firmware has room of its own for a few.
        card.store.preboot = true;
        return Ok(Reply::done());
    }
    if !card.function.asked_for_queues() {
        return Err(Refusal::INVALID);
    }
    card.store.heed(&card.board.bus.memory);
    for kind in (0..KINDS).filter(|kind| enables >> kind & 1 == 1) {
        let caps = card.store.caps[kind];
        let (entries, size) = counts(request, kind);
        let ring = (TQM..MRAV).contains(&kind);
        let odd = ring && !entries.is_multiple_of(TQM_MULTIPLE.into());
        let none = entries == 0 && card.store.needs(kind);
        if size != caps.entry || entries < caps.least.into() || entries > caps.most.into() || odd || none {
            return Err(Refusal::INVALID);
        }
        let bytes = entries * u64::from(size);
        if bytes == 0 {
            continue;
        }
        let shape = request.u8(0x18 + kind);
        let (level, page) = (shape & 0xf, PAGES.get(usize::from(shape >> 4)));
        let (Some(&page), true) = (page, level <= 2) else { return Err(Refusal::INVALID) };
        let pages = card.pages(request.u64(0x28 + 8 * kind), level, page, bytes)?;
        card.check_init(kind, pages[0]);
        card.store.pages[kind] = pages;
        card.store.given |= 1 << kind;
    }
    Ok(Reply::done())
}

/// FUNC_BACKING_STORE_QCFG: what CFG said, 8 bytes nearer to the beginning.
pub fn configuration(card: &mut Bnxt, _: &Request) -> Answer {
    if !card.chip().p5() {
        return Err(UNKNOWN);
    }
    let mut fields = card.store.configured.clone();
    fields.resize(240 - 16, 0);
    Ok(Reply::new(240).bytes(8, &fields))
}
