//! Register files: how a family writes down the registers it uses.
//!
//! ```text
//!   registers! {                                       bits! {
//!       CTRL    = 0x00000,        "Device control.";       /// Device control.
//!       RDT[64] = 0x01018 + 0x40, "Tail.";                 ctrl {
//!   }                                                          RST = 1 << 26, "Reset.";
//!                                                          }
//!                                                      }
//!   hw.set(regs::CTRL, ctrl::RST);       hw.doorbell(regs::RDT.at(queue))
//! ```
//!
//! One line a register, as the datasheet's table has it, and only those that
//! the driver uses.

/// A register of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg {
    /// Abbreviation in the datasheet, for messages.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: u32,
}

/// Registers of one kind at equal distances, one a queue or one a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regs {
    first: Reg,
    stride: u32,
    count: u16,
}

impl Regs {
    /// `count` registers, the first at `offset`, `stride` bytes apart.
    pub const fn new(name: &'static str, offset: u32, stride: u32, count: u16) -> Self {
        Regs { first: Reg { name, offset }, stride, count }
    }

    /// The register of entry `n`.
    ///
    /// # Panics
    /// If there is no such entry: `n` always comes from a checked configuration.
    pub const fn at(self, n: u16) -> Reg {
        assert!(n < self.count);
        Reg { name: self.first.name, offset: self.first.offset + self.stride * n as u32 }
    }

    /// All of them, in order.
    pub fn all(self) -> impl Iterator<Item = Reg> {
        (0..self.count).map(move |n| self.at(n))
    }
}

/// Declares registers, one a line: `NAME = offset, "what"` or
/// `NAME[count] = offset + stride, "what"`.
macro_rules! registers {
    ($($name:ident $([$count:literal])? = $offset:literal $(+ $stride:literal)?, $doc:literal;)*) => {
        $($crate::driver::regs::registers!(@one $doc $name $([$count])? = $offset $(+ $stride)?);)*

        /// Every register declared here: name, offset, stride, count.
        #[cfg(test)]
        const TABLE: &[(&str, u32, u32, u16)] = &[$((
            stringify!($name), $offset, 0 $(+ $stride)?, $crate::driver::regs::registers!(@count $($count)?)
        )),*];
    };
    (@one $doc:literal $name:ident = $offset:literal) => {
        #[doc = $doc]
        pub const $name: $crate::driver::regs::Reg =
            $crate::driver::regs::Reg { name: stringify!($name), offset: $offset };
    };
    (@one $doc:literal $name:ident [$count:literal] = $offset:literal + $stride:literal) => {
        #[doc = $doc]
        pub const $name: $crate::driver::regs::Regs =
            $crate::driver::regs::Regs::new(stringify!($name), $offset, $stride, $count);
    };
    (@count) => { 1 };
    (@count $count:literal) => { $count };
}
pub(crate) use registers;

/// Bits of a register, named as in the datasheet.
macro_rules! bits {
    ($($(#[$doc:meta])* $register:ident { $($name:ident = $value:expr, $bit_doc:literal;)* })*) => {
        $($(#[$doc])*
        pub mod $register {
            $(#[doc = $bit_doc] pub const $name: u32 = $value;)*
        })*
    };
}
pub(crate) use bits;

/// Checks a table of `registers!`: no two at one offset, all within `bar` bytes.
#[cfg(test)]
pub(super) fn assert_apart(table: &[(&str, u32, u32, u16)], bar: u64) {
    let mut seen = std::collections::HashMap::new();
    for &(name, offset, stride, count) in table {
        for n in 0..u32::from(count) {
            let at = offset + n * stride;
            assert!(at % 4 == 0 && u64::from(at) < bar, "{name}");
            if let Some(other) = seen.insert(at, name) {
                panic!("{name} and {other} are both at {at:#x}");
            }
        }
    }
}
