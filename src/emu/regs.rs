//! Register tables, read like the datasheet's.
//!
//! ```text
//!   Row { name, offset, stride, count, mode, reset, writable, effect }
//!     |
//!   RegisterFile   one word of storage for each register, and for each offset
//!                  the row it belongs to and where it is stored (aliases share)
//! ```
//!
//! A row's *effect* is the family's own: what a read or write does besides
//! moving bits. Everything else, reserved bits and access modes included, is
//! the same for all and lives here.

use super::Violations;
use crate::pci::Page;
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

/// A register, or an array of them.
#[derive(Clone, Copy, Debug)]
pub struct Row<E> {
    /// The datasheet's abbreviation.
    pub name: &'static str,
    /// Offset of the first.
    pub offset: u32,
    /// Distance between them in bytes.
    pub stride: u32,
    /// How many.
    pub count: u16,
    /// Number of the first, where an array comes in two pieces.
    pub first: u16,
    /// How it answers.
    pub mode: Mode,
    /// Value after reset.
    pub reset: u32,
    /// Bits that can be written; the others are reserved.
    pub writable: u32,
    /// What an access does besides.
    pub effect: E,
    /// Offset and stride of the registers that this is another address of.
    pub alias: Option<(u32, u32)>,
}

impl<E: Copy> Row<E> {
    /// One register.
    pub const fn new(name: &'static str, offset: u32, mode: Mode, effect: E) -> Self {
        Row { name, offset, stride: 4, count: 1, first: 0, mode, reset: 0, writable: !0, effect, alias: None }
    }

    /// An array of `count`.
    pub const fn array(mut self, count: u16, stride: u32) -> Self {
        (self.count, self.stride) = (count, stride);
        self
    }

    /// An array's second piece, from number `first`.
    pub const fn from(mut self, first: u16) -> Self {
        self.first = first;
        self
    }

    /// Another value after reset than 0.
    pub const fn reset(mut self, value: u32) -> Self {
        self.reset = value;
        self
    }

    /// Only these bits are defined.
    pub const fn bits(mut self, writable: u32) -> Self {
        self.writable = writable;
        self
    }

    /// The same storage as registers at `offset`.
    pub const fn alias(mut self, offset: u32, stride: u32) -> Self {
        self.alias = Some((offset, stride));
        self
    }
}

/// The registers of a function: storage and table.
pub struct RegisterFile<E: 'static> {
    rows: &'static [Row<E>],
    pages: Box<[Page]>,
    /// For each dword of the BAR: row number + 1, register number, and where it is stored.
    index: Box<[(u16, u16, u32)]>,
}

/// What an offset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<E> {
    /// What an access does besides moving bits.
    pub effect: E,
    /// Number in its array.
    pub number: u16,
}

impl<E: Copy> RegisterFile<E> {
    /// The registers of `rows` in a BAR whose used part is `size` bytes.
    ///
    /// # Panics
    /// If two rows claim an offset, or one lies outside: a table's own error.
    pub fn new(rows: &'static [Row<E>], size: u32) -> Self {
        let words = (size / 4) as usize;
        let mut index = vec![(0, 0, 0); words].into_boxed_slice();
        for (number, row) in rows.iter().enumerate() {
            for n in 0..row.count {
                let at = row.offset + row.stride * u32::from(n);
                let slot = &mut index[(at / 4) as usize];
                assert!(slot.0 == 0, "{} is where another register is, at {at:#x}", row.name);
                let stored = row.alias.map_or(at, |(offset, stride)| offset + stride * u32::from(n));
                *slot = (number as u16 + 1, row.first + n, stored / 4);
            }
        }
        let file = Self { rows, pages: Page::row(words.div_ceil(1024)), index };
        file.reset(|_| true);
        file
    }

    /// The page of registers that `offset` lies in.
    pub fn page(&self, offset: u32) -> &Page {
        &self.pages[(offset >> 12) as usize]
    }

    #[inline]
    fn word(&self, offset: u32) -> &AtomicU32 {
        &self.pages[(offset >> 12) as usize][(offset >> 2) as usize & 1023]
    }

    /// Gives every register for which `wanted` says so its value after reset.
    pub fn reset(&self, wanted: impl Fn(&Row<E>) -> bool) {
        for row in self.rows.iter().filter(|row| row.alias.is_none() && wanted(row)) {
            for n in 0..row.count {
                self.poke(row.offset + row.stride * u32::from(n), row.reset);
            }
        }
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

    /// Counts up a statistics register; it wraps as silicon does.
    #[inline]
    pub fn count(&self, offset: u32, by: u32) {
        self.poke(offset, self.peek(offset).wrapping_add(by));
    }

    /// Counts up a pair of statistics registers, 36 bits wide.
    #[inline]
    pub fn count36(&self, low: u32, by: u64) {
        self.count_pair(low, by, 0xf);
    }

    /// Counts up a pair of statistics registers, 48 bits wide.
    #[inline]
    pub fn count48(&self, low: u32, by: u64) {
        self.count_pair(low, by, 0xffff);
    }

    #[inline]
    fn count_pair(&self, low: u32, by: u64, high_bits: u32) {
        let sum = u64::from(self.peek(low)) + (u64::from(self.peek(low + 4)) << 32) + by;
        self.poke(low, sum as u32);
        self.poke(low + 4, (sum >> 32) as u32 & high_bits);
    }

    /// What is at `offset`; unknown offsets are a violation, and plain memory.
    pub fn find(&self, offset: u32, violations: &mut Violations) -> Option<Hit<E>> {
        let Some(&(row, number, _)) = self.index.get((offset / 4) as usize) else {
            violations.note(format!("access outside the registers, at {offset:#x}"));
            return None;
        };
        if row == 0 {
            violations.note(format!("unknown register {offset:#07x}"));
            return None;
        }
        Some(Hit { effect: self.rows[usize::from(row) - 1].effect, number })
    }

    /// Where the register at `offset` is stored: aliases give the same.
    pub fn stored(&self, offset: u32) -> u32 {
        match self.index.get((offset / 4) as usize) {
            Some(&(row, _, at)) if row != 0 => at * 4,
            _ => offset,
        }
    }

    /// Reads as the register's mode says.
    pub fn read(&self, offset: u32) -> u32 {
        let Some(&(row, _, at)) = self.index.get((offset / 4) as usize) else { return 0 };
        let value = self.peek(at * 4);
        let Some(row) = usize::from(row).checked_sub(1).map(|row| &self.rows[row]) else {
            return self.peek(offset & !3);
        };
        match row.mode {
            Mode::Wo => 0,
            Mode::Rc => {
                self.poke(at * 4, 0);
                value
            }
            Mode::Rw | Mode::Ro | Mode::W1c => value,
        }
    }

    /// Writes as the register's mode says.
    pub fn write(&self, offset: u32, value: u32, violations: &mut Violations) {
        let Some(&(row, number, at)) = self.index.get((offset / 4) as usize) else { return };
        let Some(row) = usize::from(row).checked_sub(1).map(|row| &self.rows[row]) else {
            self.poke(offset & !3, value);
            return;
        };
        if value & !row.writable & !row.reset != 0 && row.mode != Mode::W1c {
            violations.note(format!("reserved bits {:#x} of {} written", value & !row.writable, title(row, number)));
        }
        let stored = self.peek(at * 4);
        match row.mode {
            Mode::Rw | Mode::Wo => self.poke(at * 4, stored & !row.writable | value & row.writable),
            Mode::W1c => self.poke(at * 4, stored & !value),
            // Drivers write statistics to clear them; that does nothing.
            Mode::Rc => {}
            Mode::Ro => violations.note(format!("write to read-only {}", title(row, number))),
        }
    }

    /// The name of the register at `offset`.
    pub fn name(&self, offset: u32) -> Option<String> {
        let &(row, number, _) = self.index.get((offset / 4) as usize)?;
        Some(title(&self.rows[usize::from(row).checked_sub(1)?], number))
    }
}

fn title<E>(row: &Row<E>, number: u16) -> String {
    if row.count == 1 { row.name.to_string() } else { format!("{}({number})", row.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[Row<()>] = &[
        Row::new("CTRL", 0, Mode::Rw, ()).reset(5).bits(0xff),
        Row::new("STATUS", 8, Mode::Ro, ()).reset(9),
        Row::new("WUS", 12, Mode::W1c, ()).reset(3),
        Row::new("RAL", 0x20, Mode::Rw, ()).array(4, 8),
        Row::new("RAL", 0x40, Mode::Rw, ()).array(2, 8).alias(0x20, 8),
        Row::new("GPRC", 0x60, Mode::Rc, ()),
        Row::new("RDT", 0x80, Mode::Rw, ()).array(2, 4).from(64),
    ];

    #[test]
    fn each_mode_answers_as_the_datasheet_says() {
        let file = RegisterFile::new(ROWS, 0x100);
        let mut violations = Violations::default();
        assert_eq!((file.read(0), file.read(8), file.read(12)), (5, 9, 3));
        file.write(0, 0x1ff, &mut violations);
        file.write(8, 1, &mut violations);
        file.write(12, 1, &mut violations);
        assert_eq!((file.read(0), file.read(8), file.read(12)), (0xff, 9, 2));
        file.write(0x48, 77, &mut violations);
        assert_eq!((file.read(0x28), file.peek(0x28), file.stored(0x48)), (77, 77, 0x28));
        file.count(0x60, 3);
        assert_eq!((file.read(0x60), file.read(0x60)), (3, 0));
        assert!(file.find(0x70, &mut violations).is_none());
        assert_eq!(file.find(0x84, &mut violations).map(|hit| hit.number), Some(65));
        assert_eq!(file.name(0x84).as_deref(), Some("RDT(65)"));
        let names: Vec<_> = violations.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(
            names,
            ["reserved bits 0x100 of CTRL written", "unknown register 0x00070", "write to read-only STATUS"]
        );
        file.reset(|row| row.name != "RAL");
        assert_eq!((file.read(0), file.read(0x28)), (5, 77));
    }

    #[test]
    fn wide_counters_carry_and_wrap_at_their_width() {
        let file = RegisterFile::new(ROWS, 0x100);
        file.poke(0x20, 0xffff_fff0);
        file.poke(0x24, 0xf);
        file.count36(0x20, 0x20);
        assert_eq!((file.peek(0x20), file.peek(0x24)), (0x10, 0));
        file.poke(0x20, 0xffff_fff0);
        file.poke(0x24, 0xffff);
        file.count48(0x20, 0xf);
        assert_eq!((file.peek(0x20), file.peek(0x24)), (0xffff_ffff, 0xffff));
        file.count48(0x20, 1);
        assert_eq!((file.peek(0x20), file.peek(0x24)), (0, 0));
    }
}
