//! Memory that a BCM575xx keeps its contexts in: it has none of its own.
//!
//! ```text
//!   level 0    page                              one page
//!   level 1    table -> page, page ...           up to 512
//!   level 2    table -> table -> page, page ...  up to 512 tables of 512
//! ```
//!
//! The firmware tells how large an entry of each kind is and how many of them there
//! must or can be; a kind of size zero is not wanted. Kinds for RDMA are left out.
//! Entries of a kind lie one behind the other across its pages. An entry of a table
//! is the address of a page with a bit that says that it is one.

use super::Generation;
use super::cmd::{func_backing_store_cfg as cfg, func_backing_store_qcaps as qcaps};
use super::hw::Hw;
use crate::dma::{Arena, Region};
use crate::driver::mailbox::{Field, Reply, Request};
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of a page, and of a table.
const PAGE: usize = 4096;

/// Entries of a table.
const ENTRIES: usize = PAGE / 8;

/// In an entry: there is a page.
const VALID: u64 = 1;

/// Rings of the traffic manager, besides the slow one.
const FAST_RINGS: usize = 9;

/// Rings that the oldest form of the request has places for.
const OLD_FAST_RINGS: usize = 8;

/// Most memory that is given. Cards want some megabytes.
const MOST: usize = 256 << 20;

/// Bytes of a request with places for all.
const LONG_REQUEST: usize = 0x110;

/// Entries of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    entries: u32,
    /// Bytes of each.
    size: u16,
    fill: Fill,
}

/// What entries hold at first, besides zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fill {
    /// Nothing.
    #[default]
    Zero,
    /// A byte at an offset of each.
    At(usize, u8),
    /// The same byte everywhere.
    All(u8),
}

/// What the chip wants, a kind each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wants {
    qp: Shape,
    srq: Shape,
    cq: Shape,
    vnic: Shape,
    stat: Shape,
    /// The slow ring of the traffic manager, then the others.
    tqm: Vec<Shape>,
}

impl Wants {
    /// From what the firmware says; `queues`: the port's; `rings`: most that can be told of.
    fn of(reply: &Reply, queues: u8, rings: usize) -> Wants {
        use qcaps::output;
        let get = |field| reply.get(field) as u32;
        let fill = |kind: usize, offset, size| {
            let (value, mask) = (get(output::CTX_KIND_INITIALIZER) as u8, get(output::CTX_INIT_MASK));
            match (mask, mask >> kind & 1) {
                // Old firmware does not say where, and so means everywhere.
                (0, _) => Fill::All(value),
                (_, 0) => Fill::Zero,
                // One that is in no entry (0xff) means everywhere, too.
                _ if get(offset) * 4 >= get(size) => Fill::All(value),
                _ => Fill::At(get(offset) as usize * 4, value),
            }
        };
        let shape =
            |kind, entries, size, offset| Shape { entries, size: get(size) as u16, fill: fill(kind, offset, size) };
        let (qp1, l2) = (get(output::QP_MIN_QP1_ENTRIES), get(output::QP_MAX_L2_ENTRIES));
        let vnics = get(output::VNIC_MAX_VNIC_ENTRIES);
        let tqm = |entries: u32, least: u32| {
            let multiple = get(output::TQM_ENTRIES_MULTIPLE).max(1);
            let most = match get(output::TQM_MAX_ENTRIES_PER_RING) / multiple * multiple {
                0 => u32::MAX,
                most => most,
            };
            let entries = entries.max(least).checked_next_multiple_of(multiple).unwrap_or(most);
            Shape { entries: entries.min(most), size: get(output::TQM_ENTRY_SIZE) as u16, fill: Fill::Zero }
        };
        let least = get(output::TQM_MIN_ENTRIES_PER_RING);
        let each = l2 + 2 * qp1;
        let fast = match get(output::TQM_FP_RINGS_COUNT) as usize {
            0 => usize::from(queues),
            count => count,
        };
        // Those that old requests have no places for are counted apart.
        let fast = match fast.min(OLD_FAST_RINGS) {
            OLD_FAST_RINGS => OLD_FAST_RINGS + get(output::TQM_FP_RINGS_COUNT_EXT) as usize,
            few => few,
        };
        let slow = tqm(least.saturating_add(vnics + each), least);
        Wants {
            qp: shape(0, qp1 + l2, output::QP_ENTRY_SIZE, output::QP_INIT_OFFSET),
            srq: shape(1, get(output::SRQ_MAX_L2_ENTRIES), output::SRQ_ENTRY_SIZE, output::SRQ_INIT_OFFSET),
            cq: shape(2, get(output::CQ_MAX_L2_ENTRIES), output::CQ_ENTRY_SIZE, output::CQ_INIT_OFFSET),
            vnic: shape(
                3,
                vnics + get(output::VNIC_MAX_RING_TABLE_ENTRIES),
                output::VNIC_ENTRY_SIZE,
                output::VNIC_INIT_OFFSET,
            ),
            stat: shape(4, get(output::STAT_MAX_ENTRIES), output::STAT_ENTRY_SIZE, output::STAT_INIT_OFFSET),
            tqm: std::iter::once(slow).chain((0..fast.min(rings)).map(|_| tqm(each, least))).collect(),
        }
    }

    /// All of them, in the order of their pages.
    fn named(&self) -> impl Iterator<Item = (&'static str, Shape)> {
        let first = [
            ("queue pairs", self.qp),
            ("shared receive queues", self.srq),
            ("completion queues", self.cq),
            ("VNICs", self.vnic),
            ("statistics", self.stat),
        ];
        first.into_iter().chain(self.tqm.iter().map(|&shape| ("the traffic manager", shape)))
    }
}

/// Pages of one kind, behind those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pages {
    /// Levels of tables.
    level: u8,
    /// The first page, counted in the arena: of the upper table, the lower ones, and
    /// the data.
    first: usize,
    /// Lower tables.
    tables: usize,
    data: usize,
}

impl Pages {
    /// For `shape`, from page `first` on; `None` if it wants none, an error if it
    /// wants more than two levels can hold.
    fn of(shape: Shape, first: usize) -> std::result::Result<Option<Pages>, u64> {
        let bytes = u64::from(shape.entries) * u64::from(shape.size);
        let data = bytes.div_ceil(PAGE as u64);
        Ok(match data as usize {
            0 => None,
            1 => Some(Pages { level: 0, first, tables: 0, data: 1 }),
            data @ 2..=ENTRIES => Some(Pages { level: 1, first, tables: 0, data }),
            _ if data > (ENTRIES * ENTRIES) as u64 => return Err(bytes),
            data => Some(Pages { level: 2, first, tables: data.div_ceil(ENTRIES), data }),
        })
    }

    /// Page of the data.
    fn data_at(&self, n: usize) -> usize {
        self.first + usize::from(self.level > 0) + self.tables + n
    }

    /// The page behind the last.
    fn end(&self) -> usize {
        self.data_at(self.data)
    }

    /// Its tables.
    fn tables(&self, arena: &Arc<Arena>) -> impl Iterator<Item = Region> {
        (self.first..self.data_at(0)).map(move |n| Region::new(arena, n * PAGE, PAGE))
    }

    /// Writes tables and first values.
    fn write(&self, arena: &Arc<Arena>, shape: Shape) {
        let page = |n: usize| Region::new(arena, n * PAGE, PAGE);
        let link = |table: usize, entry: usize, to: usize| {
            page(table).words64()[entry].store(arena.iova(to * PAGE) | VALID, Ordering::Relaxed);
        };
        for n in 0..self.data {
            match self.level {
                0 => {}
                1 => link(self.first, n, self.data_at(n)),
                _ => link(self.first + 1 + n / ENTRIES, n % ENTRIES, self.data_at(n)),
            }
        }
        for n in 0..self.tables {
            link(self.first, n, self.first + 1 + n);
        }
        let set = |at: usize, value: u8| {
            page(self.data_at(at / PAGE)).bytes()[at % PAGE].store(value, Ordering::Relaxed);
        };
        match shape.fill {
            Fill::Zero | Fill::All(0) | Fill::At(_, 0) => {}
            Fill::All(value) => {
                let word = u64::from_le_bytes([value; 8]);
                let data = Region::new(arena, self.data_at(0) * PAGE, self.data * PAGE);
                data.words64().iter().for_each(|to| to.store(word, Ordering::Relaxed));
            }
            Fill::At(offset, value) => {
                let entries = 0..shape.entries as usize;
                entries.for_each(|n| set(n * usize::from(shape.size) + offset, value));
            }
        }
    }
}

/// Gives the chip the memory that it wants; `queues`: the port's. Sent again after
/// each reset, which takes it away.
///
/// # Errors
/// [`Kind::Device`] if it wants more than can be told of, or than is given.
pub fn give(function: &dyn Function, hw: &Hw, queues: u8) -> Result<()> {
    if hw.generation != Generation::P5 {
        return Ok(());
    }
    // Firmware that does not know the command keeps its contexts itself.
    let Some(reply) = hw.ask_optional(Request::new(qcaps::COMMAND))? else { return Ok(()) };
    let rings = if hw.hwrm().manner.longest >= LONG_REQUEST { FAST_RINGS } else { OLD_FAST_RINGS };
    let wants = Wants::of(&reply, queues, rings);
    let mut kinds = Vec::new();
    let mut end = 0;
    for (name, shape) in wants.named() {
        let pages = match Pages::of(shape, end) {
            Ok(pages) if pages.is_none_or(|pages| pages.end() <= MOST / PAGE) => pages,
            _ => return Err(hw.error(Kind::Device, too_much(name, shape))),
        };
        end = pages.map_or(end, |pages| pages.end());
        kinds.push((shape, pages));
    }
    if end == 0 {
        return Ok(());
    }
    let arena = function.arena(end * PAGE)?;
    function.map(&arena)?;
    for (shape, pages) in &kinds {
        if let Some(pages) = pages {
            pages.write(&arena, *shape);
            pages.tables(&arena).for_each(|table| hw.doorbells.note_stored(&table));
        }
    }
    hw.ask(request(&wants, &reply, &kinds, |page| arena.iova(page * PAGE))).map(drop)
}

/// Why a chip does not get what it wants.
fn too_much(name: &str, shape: Shape) -> String {
    format!(
        "its firmware wants {} entries of {} bytes each in memory for {name}, and all that it wants is more than {} MiB; update the firmware",
        shape.entries,
        shape.size,
        MOST >> 20
    )
}

/// The request that tells of `kinds`, whose pages are at addresses.
fn request(wants: &Wants, reply: &Reply, kinds: &[(Shape, Option<Pages>)], address: impl Fn(usize) -> u64) -> Request {
    use cfg::input;
    use qcaps::output;
    const TQM_RING8: u64 = 1 << 16;
    let mut request = Request::new(cfg::COMMAND);
    let mut enables = 0;
    let get = |field| reply.get(field);
    let fields = [
        (input::QPC_LEVEL, input::QPC_PAGE_DIR, input::QP_ENTRY_SIZE, Some(input::QP_NUM_ENTRIES)),
        (input::SRQ_LEVEL, input::SRQ_PAGE_DIR, input::SRQ_ENTRY_SIZE, Some(input::SRQ_NUM_ENTRIES)),
        (input::CQ_LEVEL, input::CQ_PAGE_DIR, input::CQ_ENTRY_SIZE, Some(input::CQ_NUM_ENTRIES)),
        (input::VNIC_LEVEL, input::VNIC_PAGE_DIR, input::VNIC_ENTRY_SIZE, None),
        (input::STAT_LEVEL, input::STAT_PAGE_DIR, input::STAT_ENTRY_SIZE, Some(input::STAT_NUM_ENTRIES)),
    ];
    for (n, ((shape, pages), (level, dir, size, count))) in kinds.iter().zip(fields).enumerate() {
        let Some(pages) = pages else { continue };
        enables |= 1 << n;
        request = request
            .with(level, u64::from(pages.level))
            .with(dir, address(pages.first))
            .with(size, u64::from(shape.size));
        if let Some(count) = count {
            request = request.with(count, u64::from(shape.entries));
        }
    }
    for (n, (shape, pages)) in kinds[fields.len()..].iter().enumerate() {
        let Some(pages) = pages else { continue };
        let element = |array: Field, bytes| Field { offset: array.offset + n * bytes, bytes };
        let (bit, level, dir, count) = if n <= OLD_FAST_RINGS {
            (
                1 << (fields.len() + n),
                element(input::TQM_LEVELS, 1),
                element(input::TQM_PAGE_DIRS, 8),
                element(input::TQM_NUM_ENTRIES, 4),
            )
        } else {
            (TQM_RING8, input::TQM_RING8_LEVEL, input::TQM_RING8_PAGE_DIR, input::TQM_RING8_NUM_ENTRIES)
        };
        enables |= bit;
        request = request
            .with(level, u64::from(pages.level))
            .with(dir, address(pages.first))
            .with(count, u64::from(shape.entries))
            .with(input::TQM_ENTRY_SIZE, u64::from(shape.size));
    }
    let has = |n: usize| enables >> n & 1 != 0;
    if has(0) {
        request = request
            .with(input::QP_NUM_QP1_ENTRIES, get(output::QP_MIN_QP1_ENTRIES))
            .with(input::QP_NUM_L2_ENTRIES, get(output::QP_MAX_L2_ENTRIES));
    }
    if has(1) {
        request = request.with(input::SRQ_NUM_L2_ENTRIES, u64::from(wants.srq.entries));
    }
    if has(2) {
        request = request.with(input::CQ_NUM_L2_ENTRIES, u64::from(wants.cq.entries));
    }
    if has(3) {
        request = request
            .with(input::VNIC_NUM_VNIC_ENTRIES, get(output::VNIC_MAX_VNIC_ENTRIES))
            .with(input::VNIC_NUM_RING_TABLE_ENTRIES, get(output::VNIC_MAX_RING_TABLE_ENTRIES));
    }
    request.with(input::ENABLES, enables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Addressing;

    /// An answer with some fields set; the others are those of a small chip.
    fn answer(set: &[(Field, u64)]) -> Reply {
        use qcaps::output::*;
        let usual = [
            (QP_MIN_QP1_ENTRIES, 2),
            (QP_MAX_L2_ENTRIES, 256),
            (QP_ENTRY_SIZE, 256),
            (SRQ_MAX_L2_ENTRIES, 64),
            (SRQ_ENTRY_SIZE, 128),
            (CQ_MAX_L2_ENTRIES, 256),
            (CQ_ENTRY_SIZE, 64),
            (VNIC_MAX_VNIC_ENTRIES, 16),
            (VNIC_MAX_RING_TABLE_ENTRIES, 64),
            (VNIC_ENTRY_SIZE, 64),
            (STAT_MAX_ENTRIES, 64),
            (STAT_ENTRY_SIZE, 64),
            (TQM_ENTRY_SIZE, 64),
            (TQM_MIN_ENTRIES_PER_RING, 16),
            (TQM_MAX_ENTRIES_PER_RING, 1024),
            (TQM_ENTRIES_MULTIPLE, 16),
        ];
        let mut body = vec![0; 0x67];
        for (field, value) in usual.iter().chain(set) {
            body[field.offset..field.offset + field.bytes].copy_from_slice(&value.to_le_bytes()[..field.bytes]);
        }
        Reply::new(qcaps::COMMAND, body)
    }

    fn kinds(wants: &Wants) -> Vec<(Shape, Option<Pages>)> {
        let mut end = 0;
        let all = wants.named().map(|(_, shape)| {
            let pages = Pages::of(shape, end).unwrap();
            end = pages.map_or(end, |pages| pages.end());
            (shape, pages)
        });
        all.collect()
    }

    #[test]
    fn sizes_follow_from_what_the_firmware_says() {
        let wants = Wants::of(&answer(&[]), 3, FAST_RINGS);
        assert_eq!((wants.qp.entries, wants.vnic.entries, wants.stat.entries), (258, 80, 64));
        assert_eq!(wants.tqm.len(), 4, "as many as the port has queues, and the slow one");
        assert_eq!(wants.tqm[0].entries, (16u32 + 260 + 16).next_multiple_of(16));
        assert_eq!(wants.tqm[1].entries, 272);
        let few = Wants::of(&answer(&[(qcaps::output::TQM_MIN_ENTRIES_PER_RING, 600)]), 1, FAST_RINGS);
        assert_eq!(few.tqm[1].entries, 608, "at least, and a multiple");
        let capped = Wants::of(&answer(&[(qcaps::output::TQM_MAX_ENTRIES_PER_RING, 100)]), 1, FAST_RINGS);
        assert_eq!(capped.tqm[1].entries, 96, "at most, and a multiple");
        let none = Wants::of(&answer(&[(qcaps::output::TQM_ENTRIES_MULTIPLE, 0)]), 1, FAST_RINGS);
        assert_eq!(none.tqm[1].entries, 260);
        let (least, most) = (qcaps::output::TQM_MIN_ENTRIES_PER_RING, qcaps::output::TQM_MAX_ENTRIES_PER_RING);
        let absurd = Wants::of(&answer(&[(least, u64::from(u32::MAX)), (most, 0)]), 1, FAST_RINGS);
        assert_eq!(absurd.tqm[0].entries, u32::MAX, "refused later, and no panic");
    }

    #[test]
    fn a_kind_without_size_is_left_out_and_nine_rings_have_places() {
        use qcaps::output;
        for (count, more, rings, expected) in [
            (8, 0, FAST_RINGS, 0x3fe0),
            (9, 0, FAST_RINGS, 0x3fe0),
            (8, 1, FAST_RINGS, 0x1_3fe0),
            (8, 5, FAST_RINGS, 0x1_3fe0),
            (8, 1, OLD_FAST_RINGS, 0x3fe0),
        ] {
            let counts = [(output::TQM_FP_RINGS_COUNT, count), (output::TQM_FP_RINGS_COUNT_EXT, more)];
            let reply = answer(&[&[(output::SRQ_ENTRY_SIZE, 0)], &counts[..]].concat());
            let wants = Wants::of(&reply, 1, rings);
            let kinds = kinds(&wants);
            let request = request(&wants, &reply, &kinds, |page| 0x1000_0000 + (page * PAGE) as u64);
            let word = |at: usize| u32::from_le_bytes(request.body()[at..at + 4].try_into().unwrap());
            assert_eq!(word(0x14), 0x1d | expected, "enables");
            assert_eq!(word(0xea), 0, "nothing is said of a kind that is left out");
            assert_eq!(word(0xd8), 272, "the eighth ring");
            assert_eq!(word(0x104), if expected & 0x1_0000 == 0 { 0 } else { 272 });
            assert_eq!(request.body()[0x18], 1, "17 pages hang on a table");
        }
    }

    #[test]
    fn tables_have_as_many_levels_as_pages_need() {
        let shape = |entries, size| Shape { entries, size, fill: Fill::Zero };
        let of = |shape| Pages::of(shape, 7);
        assert_eq!(of(shape(0, 64)), Ok(None));
        assert_eq!(of(shape(64, 64)), Ok(Some(Pages { level: 0, first: 7, tables: 0, data: 1 })));
        assert_eq!(of(shape(65, 64)), Ok(Some(Pages { level: 1, first: 7, tables: 0, data: 2 })));
        assert_eq!(of(shape(64 * 512, 64)).unwrap().unwrap().level, 1);
        let two = of(shape(64 * 512 + 1, 64)).unwrap().unwrap();
        assert_eq!((two.level, two.tables, two.data, two.end()), (2, 2, 513, 7 + 3 + 513));
        assert!(of(shape(u32::MAX, 4096)).is_err());
    }

    #[test]
    fn every_page_of_two_levels_is_found_and_every_entry_begins_as_told() {
        let shape = Shape { entries: 16_000, size: 136, fill: Fill::At(12, 0x55) };
        let pages = Pages::of(shape, 1).unwrap().unwrap();
        assert_eq!(pages.level, 2, "{pages:?}");
        let arena = Arena::new(pages.end() * PAGE, Addressing::Translated).unwrap();
        pages.write(&arena, shape);
        let word = |address: u64| {
            assert_eq!(address & VALID, VALID);
            Region::new(&arena, (address - VALID - arena.iova(0)) as usize, PAGE)
        };
        let top = word(arena.iova(PAGE) | VALID);
        for n in [0, 511, 512, pages.data - 1] {
            let table = word(top.words64()[n / ENTRIES].load(Ordering::Relaxed));
            let page = table.words64()[n % ENTRIES].load(Ordering::Relaxed);
            assert_eq!(page, arena.iova(pages.data_at(n) * PAGE) | VALID);
        }
        let byte = |at: usize| {
            Region::new(&arena, pages.data_at(at / PAGE) * PAGE, PAGE).bytes()[at % PAGE].load(Ordering::Relaxed)
        };
        for n in [0usize, 1, 30, 15_999] {
            assert_eq!((byte(n * 136 + 11), byte(n * 136 + 12), byte(n * 136 + 13)), (0, 0x55, 0), "entry {n}");
        }
    }

    #[test]
    fn the_first_value_is_everywhere_or_where_the_firmware_says() {
        use qcaps::output::{CTX_INIT_MASK, CTX_KIND_INITIALIZER, VNIC_INIT_OFFSET};
        let fills = |set| {
            let wants = Wants::of(&answer(set), 1, FAST_RINGS);
            (wants.qp.fill, wants.vnic.fill, wants.tqm[0].fill)
        };
        assert_eq!(fills(&[(CTX_KIND_INITIALIZER, 0x99)]), (Fill::All(0x99), Fill::All(0x99), Fill::Zero));
        let nowhere = fills(&[(CTX_KIND_INITIALIZER, 0x99), (CTX_INIT_MASK, 0x8), (VNIC_INIT_OFFSET, 0xff)]);
        assert_eq!(nowhere.1, Fill::All(0x99));
        let masked = fills(&[(CTX_KIND_INITIALIZER, 0x99), (CTX_INIT_MASK, 0x8), (VNIC_INIT_OFFSET, 3)]);
        assert_eq!(masked, (Fill::Zero, Fill::At(12, 0x99), Fill::Zero));
    }
}
