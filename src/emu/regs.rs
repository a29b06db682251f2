//! Register tables, read like the datasheet's.
//!
//! ```text
//!   registers! { Card;
//!     "§8.2.3.22" {                      section, and name, address, then columns:
//!       HLREG0 = config(0x04240).reset(0x403).bits(0x18f3_8c07);
//!     }
//!   }
//!     |
//!     +--> HLREG0   the row, which the logic uses: HLREG0.at, RDT.nth(q)
//!     +--> TABLE    all rows
//!             |
//!   RegisterFile   a word of storage for each register, and for each offset the
//!                  row it belongs to: an array in two pieces, or one that has a
//!                  second address, is one row
//! ```
//!
//! What an access does besides moving bits is a function of the card in the row:
//! [`Row::gives`] for reads, [`Row::takes`] and [`Row::then`] for writes. Everything
//! else, reserved bits and access modes included, is the same for all and lives here.

use super::{DoorbellPage, Violations};
use crate::pci::Page;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a register answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads back what was written.
    Rw,
    /// Written only by the card.
    Ro,
    /// Reads as zero.
    Wo,
    /// Writing ones clears bits.
    W1c,
    /// Reading clears it; statistics.
    Rc,
}

/// The reset that gives a register its first value back. Power-on gives it to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The function's own.
    Function,
    /// That of the link.
    Link,
    /// None but power-on and what is like it.
    Power,
}

/// Where an access went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset that the register is stored at: the first, if it has two.
    pub at: u32,
    /// Number in its array; of a register that is in none, that of its window.
    pub n: u16,
}

/// What a write does.
enum Write<M> {
    /// It is stored.
    Store,
    /// It is stored, and then the card is told.
    Then(fn(&mut M, Place, u32)),
    /// The card is told; nothing is stored here.
    Takes(fn(&mut M, Place, u32)),
}

/// A register, or an array of them, of the card `M`.
pub struct Row<M: 'static> {
    /// The datasheet's abbreviation.
    pub name: &'static str,
    /// The datasheet's section.
    pub section: &'static str,
    /// Offset of the first.
    pub at: u32,
    stride: u32,
    count: u16,
    /// The array's second piece: the number of its first, and where it is.
    rest: (u32, u32),
    /// How many of them have a second address, where, and the distance there.
    also: (u16, u32, u32),
    mode: Mode,
    reset: u32,
    bits: Option<u32>,
    status: u32,
    until: Reset,
    read: Option<fn(&mut M, Place) -> u32>,
    write: Write<M>,
}

impl<M> Row<M> {
    /// One register at this offset.
    pub const fn new(at: u32, mode: Mode) -> Self {
        Row {
            name: "",
            section: "",
            at,
            stride: 4,
            count: 1,
            rest: (u32::MAX, 0),
            also: (0, 0, 0),
            mode,
            reset: 0,
            bits: None,
            status: 0,
            until: Reset::Function,
            read: None,
            write: Write::Store,
        }
    }

    /// What `registers!` knows of it.
    pub const fn called(mut self, name: &'static str, section: &'static str) -> Self {
        (self.name, self.section) = (name, section);
        self
    }

    /// An array of `count`, `stride` bytes apart.
    pub const fn array(mut self, count: u16, stride: u32) -> Self {
        (self.count, self.stride) = (count, stride);
        self
    }

    /// From number `first` on, the array goes on at another offset.
    pub const fn rest(mut self, first: u32, at: u32) -> Self {
        self.rest = (first, at);
        self
    }

    /// The first `count` are at another address too, `stride` bytes apart.
    pub const fn also(mut self, at: u32, count: u16, stride: u32) -> Self {
        self.also = (count, at, stride);
        self
    }

    /// Another value after reset than 0.
    pub const fn reset(mut self, value: u32) -> Self {
        self.reset = value;
        self
    }

    /// Another reset than the function's gives it that value.
    pub const fn until(mut self, reset: Reset) -> Self {
        self.until = reset;
        self
    }

    /// These bits are defined; the others are reserved, and a write of 1 to one of
    /// them is a violation. A bit that may be defined counts as one that is, so `!0`
    /// says that none is known to be reserved.
    pub const fn bits(mut self, defined: u32) -> Self {
        self.bits = Some(defined);
        self
    }

    /// Those of the defined bits that only the card changes.
    pub const fn status(mut self, bits: u32) -> Self {
        self.status = bits;
        self
    }

    /// A read is answered by the card.
    pub const fn gives(mut self, read: fn(&mut M, Place) -> u32) -> Self {
        self.read = Some(read);
        self
    }

    /// A write is the card's affair; nothing is stored here.
    pub const fn takes(mut self, write: fn(&mut M, Place, u32)) -> Self {
        self.write = Write::Takes(write);
        self
    }

    /// When a write has been stored, the card is told.
    pub const fn then(mut self, write: fn(&mut M, Place, u32)) -> Self {
        self.write = Write::Then(write);
        self
    }

    /// Offset of number `n`.
    #[inline]
    pub const fn nth(&self, n: u32) -> u32 {
        let (first, rest) = self.rest;
        if n < first { self.at + self.stride * n } else { rest + self.stride * (n - first) }
    }

    /// Whether it counts: reading clears it.
    pub fn counts(&self) -> bool {
        self.mode == Mode::Rc
    }

    /// Bits that a driver must not set; none if the row does not say.
    pub fn reserved(&self) -> Option<u32> {
        self.bits.map(|bits| !bits)
    }

    /// Bits that a driver may set.
    const fn defined(&self) -> u32 {
        match self.bits {
            Some(bits) => bits,
            None => !0,
        }
    }
}

/// Makes a constant of each row of a card, and `TABLE` of them all. A name that can
/// be no constant's stands behind it: `FDIRSIPV6("FDIRSIPv6")`.
macro_rules! registers {
    (@called $name:ident) => { stringify!($name) };
    (@called $name:ident $called:literal) => { $called };
    ($model:ty; $($section:literal { $($name:ident $(($called:literal))? = $row:expr;)* })*) => {
        $($(pub const $name: $crate::emu::Row<$model> =
            $row.called($crate::emu::registers!(@called $name $($called)?), $section);)*)*

        /// All registers.
        pub const TABLE: &[$crate::emu::Row<$model>] = &[$($($name,)*)*];
    };
}
pub(super) use registers;

/// The registers of a function: storage and table.
pub struct RegisterFile<M: 'static> {
    rows: Box<[&'static Row<M>]>,
    pages: Box<[Page]>,
    /// For each dword of the BAR: row number + 1, and register number.
    index: Box<[(u16, u16)]>,
}

/// What is at an offset: a row, and which of its array.
struct Hit<M: 'static> {
    row: &'static Row<M>,
    number: u16,
}

impl<M> Hit<M> {
    /// Where it is stored: a second address is stored at the first.
    fn at(&self) -> u32 {
        self.row.nth(self.number.into())
    }

    fn title(&self) -> String {
        let Row { name, count, .. } = self.row;
        if *count == 1 { name.to_string() } else { format!("{name}({})", self.number) }
    }

    fn place(&self, window: u16) -> Place {
        Place { at: self.at(), n: if self.row.count == 1 { window } else { self.number } }
    }

    /// Notes what the datasheet forbids a driver to write.
    fn check(&self, value: u32, violations: &mut Violations) {
        let Row { mode, section, .. } = self.row;
        let reserved = value & !self.row.defined();
        if *mode == Mode::Ro {
            violations.note(format!("write to read-only {} ({section})", self.title()));
        } else if reserved != 0 {
            violations.note(format!("reserved bits {reserved:#x} of {} written ({section})", self.title()));
        }
    }
}

impl<M> RegisterFile<M> {
    /// The registers of these tables in a BAR whose used part is `size` bytes.
    ///
    /// # Panics
    /// For an error of the table's own: two rows with one offset or one name, a row
    /// outside or of no section, a reserved bit that is set.
    pub fn new(tables: &[&'static [Row<M>]], size: u32) -> Self {
        let rows: Box<[_]> = tables.iter().copied().flatten().collect();
        let words = (size / 4) as usize;
        let mut index = vec![(0, 0); words].into_boxed_slice();
        let names: HashSet<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len(), "a name stands twice");
        for (&row, number) in rows.iter().zip(1..) {
            assert!(!row.section.is_empty(), "{} is of no section", row.name);
            assert_eq!((row.reset | row.status) & !row.defined(), 0, "{} has a reserved bit set", row.name);
            let (also, at, stride) = row.also;
            let first = (0..row.count).map(|n| (n, row.nth(n.into())));
            for (n, at) in first.chain((0..also).map(|n| (n, at + stride * u32::from(n)))) {
                let slot = &mut index[(at / 4) as usize];
                assert!(slot.0 == 0, "{} is where another register is, at {at:#x}", row.name);
                *slot = (number, n);
            }
        }
        let file = Self { rows, pages: Page::row(words.div_ceil(1024)), index };
        file.power_on();
        file
    }

    /// Bytes of registers.
    pub fn size(&self) -> u64 {
        4096 * self.pages.len() as u64
    }

    /// Pages of them at these offsets of a BAR, for a driver to have mapped.
    pub fn doorbells(&self, bar: u8, at: &[u32]) -> Vec<DoorbellPage> {
        let page = |at: u32| DoorbellPage { bar, offset: at.into(), words: self.page(at).clone(), crowded: false };
        at.iter().map(|&at| page(at)).collect()
    }

    /// The page of registers that `offset` lies in.
    pub fn page(&self, offset: u32) -> &Page {
        &self.pages[(offset >> 12) as usize]
    }

    #[inline]
    fn word(&self, offset: u32) -> &AtomicU32 {
        &self.pages[(offset >> 12) as usize][(offset >> 2) as usize & 1023]
    }

    /// Gives every register its first value.
    pub fn power_on(&self) {
        self.rows.iter().for_each(|row| self.restore(row));
    }

    /// Gives the registers that this reset is for their first value.
    pub fn reset(&self, reset: Reset) {
        self.rows.iter().filter(|row| row.until == reset).for_each(|row| self.restore(row));
    }

    fn restore(&self, row: &Row<M>) {
        (0..row.count).for_each(|n| self.poke(row.nth(n.into()), row.reset));
    }

    /// The value stored at `offset`, without any effect. A driver may store to
    /// a mapped page at any time: what it announces there was written before.
    #[inline]
    pub fn peek(&self, offset: u32) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Stores a value at `offset`, without any effect or check.
    #[inline]
    pub fn poke(&self, offset: u32, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// The value stored at `offset`, which is 0 then.
    pub fn take(&self, offset: u32) -> u32 {
        let value = self.peek(offset);
        self.poke(offset, 0);
        value
    }

    /// Counts up a statistics register; it wraps as silicon does.
    #[inline]
    pub fn count(&self, offset: u32, by: u32) {
        self.poke(offset, self.peek(offset).wrapping_add(by));
    }

    /// Counts up a statistics register that stays at its maximum until it is read.
    #[inline]
    pub fn count_until_full(&self, offset: u32, by: u32) {
        self.poke(offset, self.peek(offset).saturating_add(by));
    }

    /// Counts up a pair of statistics registers, 36 bits wide, that stays at its maximum
    /// until it is read.
    #[inline]
    pub fn count36_until_full(&self, low: u32, by: u64) {
        const FULL: u64 = (1 << 36) - 1;
        let sum = u64::from(self.peek(low)) + (u64::from(self.peek(low + 4)) << 32);
        let sum = sum.saturating_add(by).min(FULL);
        self.poke(low, sum as u32);
        self.poke(low + 4, (sum >> 32) as u32);
    }

    /// Counts up a pair of statistics registers, 48 bits wide.
    #[inline]
    pub fn count48(&self, low: u32, by: u64) {
        let sum = u64::from(self.peek(low)) + (u64::from(self.peek(low + 4)) << 32) + by;
        self.poke(low, sum as u32);
        self.poke(low + 4, (sum >> 32) as u32 & 0xffff);
    }

    fn hit(&self, offset: u32) -> Option<Hit<M>> {
        let &(row, number) = self.index.get((offset / 4) as usize)?;
        Some(Hit { row: self.rows[usize::from(row).checked_sub(1)?], number })
    }

    /// What is at `offset` inside the registers; nothing there is a violation.
    fn find(&self, offset: u32, violations: &mut Violations) -> Option<Hit<M>> {
        let hit = self.hit(offset);
        if hit.is_none() {
            violations.note(format!("unknown register {offset:#07x}"));
        }
        hit
    }

    /// The name of the register at `offset`.
    pub fn name(&self, offset: u32) -> Option<String> {
        self.hit(offset).map(|hit| hit.title())
    }
}

/// A card with registers: one file of them, or one for each of its windows.
pub trait Registers: Sized + 'static {
    /// The registers of a window, and where violations are noted.
    fn registers(&mut self, window: u16) -> (&RegisterFile<Self>, &mut Violations);

    /// A read of the aligned word at `offset` in a window.
    fn read_register(&mut self, window: u16, offset: u32) -> u32 {
        let (file, violations) = self.registers(window);
        let Some(hit) = file.find(offset, violations) else { return file.peek(offset) };
        match (hit.row.read, hit.row.mode) {
            (Some(read), _) => read(self, hit.place(window)),
            (None, Mode::Wo) => 0,
            (None, Mode::Rc) => file.take(hit.at()),
            (None, Mode::Rw | Mode::Ro | Mode::W1c) => file.peek(hit.at()),
        }
    }

    /// A write of the aligned word at `offset` in a window. What is at no register
    /// is plain memory.
    fn write_register(&mut self, window: u16, offset: u32, value: u32) {
        let (file, violations) = self.registers(window);
        let Some(hit) = file.find(offset, violations) else { return file.poke(offset, value) };
        hit.check(value, violations);
        if let Write::Takes(write) = hit.row.write {
            return write(self, hit.place(window), value);
        }
        let (at, kept) = (hit.at(), !hit.row.defined() | hit.row.status);
        match hit.row.mode {
            Mode::Rw | Mode::Wo => file.poke(at, file.peek(at) & kept | value & !kept),
            Mode::W1c => file.poke(at, file.peek(at) & !value),
            // Drivers write statistics to clear them; that does nothing.
            Mode::Rc | Mode::Ro => {}
        }
        if let Write::Then(write) = hit.row.write {
            write(self, hit.place(window), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub struct Card {
        file: RegisterFile<Card>,
        violations: Violations,
        seen: Vec<(u16, u32)>,
    }

    impl Registers for Card {
        fn registers(&mut self, _: u16) -> (&RegisterFile<Self>, &mut Violations) {
            (&self.file, &mut self.violations)
        }
    }

    type R = Row<Card>;

    registers! { Card;
        "§1.1" {
            CTRL = R::new(0, Mode::Rw).reset(5).bits(0xff).then(|card, place, value| card.seen.push((place.n, value)));
            STATUS = Row::new(8, Mode::Ro).reset(9);
            WUS = Row::new(12, Mode::W1c).reset(3);
        }
        "§1.2" {
            RAL = Row::new(0x20, Mode::Rw).array(4, 8).also(0x40, 2, 8).until(Reset::Power);
            GPRC = Row::new(0x60, Mode::Rc);
            RDT = Row::new(0x80, Mode::Rw).array(66, 4).rest(64, 0x200);
            EICS = R::new(0x70, Mode::Rw).gives(|_, _| 7).takes(|card, place, value| card.seen.push((place.n, value)));
        }
    }

    fn card() -> Card {
        Card { file: RegisterFile::new(&[TABLE], 0x1000), violations: Violations::default(), seen: Vec::new() }
    }

    #[test]
    fn each_mode_answers_as_the_datasheet_says() {
        let mut card = card();
        assert_eq!([CTRL.at, STATUS.at, WUS.at].map(|at| card.read_register(0, at)), [5, 9, 3]);
        card.write_register(0, CTRL.at, 0x1ff);
        card.write_register(0, STATUS.at, 1);
        card.write_register(0, WUS.at, 1);
        assert_eq!([CTRL.at, STATUS.at, WUS.at].map(|at| card.read_register(0, at)), [0xff, 9, 2]);
        card.write_register(0, 0x48, 77);
        assert_eq!((card.read_register(0, RAL.nth(1)), card.file.peek(0x28)), (77, 77), "a second address");
        card.file.count(GPRC.at, 3);
        assert_eq!([GPRC.at; 2].map(|at| card.read_register(0, at)), [3, 0]);
        assert_eq!((card.read_register(3, EICS.at), card.file.peek(EICS.at)), (7, 0));
        card.write_register(3, EICS.at, 4);
        assert_eq!(card.seen, [(0, 0x1ff), (3, 4)]);
        card.write_register(0, 0x7c, 6);
        assert_eq!(card.file.peek(0x7c), 6, "plain memory");
        assert_eq!(card.file.name(0x204).as_deref(), Some("RDT(65)"));
        let names: Vec<_> = card.violations.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(
            names,
            [
                "reserved bits 0x100 of CTRL written (§1.1)",
                "unknown register 0x0007c",
                "write to read-only STATUS (§1.1)"
            ]
        );
        card.file.reset(Reset::Function);
        assert_eq!((card.file.peek(CTRL.at), card.file.peek(0x28)), (5, 77));
        card.file.power_on();
        assert_eq!(card.file.peek(0x28), 0);
    }

    #[test]
    #[should_panic(expected = "CTRL has a reserved bit set")]
    fn a_row_that_comes_up_with_a_reserved_bit_is_no_row() {
        static ROWS: &[Row<Card>] = &[Row::new(0, Mode::Rw).called("CTRL", "§1.1").bits(7).reset(8)];
        RegisterFile::new(&[ROWS], 0x1000);
    }

    #[test]
    fn wide_counters_carry_and_end_at_their_width() {
        let file = card().file;
        file.poke(0x20, 0xffff_fff0);
        file.poke(0x24, 0xe);
        file.count36_until_full(0x20, 0x20);
        assert_eq!((file.peek(0x20), file.peek(0x24)), (0x10, 0xf));
        file.count36_until_full(0x20, 0xffff_ffff);
        assert_eq!((file.peek(0x20), file.peek(0x24)), (0xffff_ffff, 0xf));
        file.count_until_full(0x20, 1);
        assert_eq!((file.take(0x20), file.peek(0x20)), (0xffff_ffff, 0));
        file.poke(0x20, 0xffff_fff0);
        file.poke(0x24, 0xffff);
        file.count48(0x20, 0xf);
        assert_eq!((file.peek(0x20), file.peek(0x24)), (0xffff_ffff, 0xffff));
        file.count48(0x20, 1);
        assert_eq!((file.peek(0x20), file.peek(0x24)), (0, 0));
    }
}
