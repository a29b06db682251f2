//! What instructions compute with memory, and the flags that they leave (Intel SDM
//! volume 1 §3.4.3, volume 2).
//!
//! Compilers make one instruction of a register that is read, changed and written,
//! and of one that is read and compared.

/// Flags, by their bits.
mod flag {
    pub const CARRY: u64 = 1 << 0;
    pub const PARITY: u64 = 1 << 2;
    pub const ADJUST: u64 = 1 << 4;
    pub const ZERO: u64 = 1 << 6;
    pub const SIGN: u64 = 1 << 7;
    pub const OVERFLOW: u64 = 1 << 11;
}

/// An operation on two numbers; the first is replaced by the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Add,
    Or,
    AddCarry,
    SubtractCarry,
    And,
    Subtract,
    Xor,
    Compare,
    Test,
    /// With 1, the carry as it was.
    Increment,
    Decrement,
    /// With all ones, and all flags as they were.
    Invert,
}

impl Operation {
    /// Whether the result goes anywhere but into the flags.
    pub fn is_kept(self) -> bool {
        !matches!(self, Operation::Compare | Operation::Test)
    }

    /// The result for numbers of `size` bytes (1, 2, 4 or 8).
    pub fn run(self, size: u8, a: u64, b: u64, flags: &mut u64) -> u64 {
        use Operation::*;
        let bits = 8 * u32::from(size);
        let mask = u64::MAX >> (64 - bits);
        let (a, b) = (a & mask, b & mask);
        let carry = if matches!(self, AddCarry | SubtractCarry) { *flags & flag::CARRY } else { 0 };
        let wide = match self {
            Add | AddCarry | Increment => u128::from(a) + u128::from(b) + u128::from(carry),
            Subtract | SubtractCarry | Compare | Decrement => {
                u128::from(a).wrapping_sub(u128::from(b)).wrapping_sub(u128::from(carry))
            }
            Or => u128::from(a | b),
            And | Test => u128::from(a & b),
            Xor | Invert => u128::from(a ^ b),
        };
        let result = wide as u64 & mask;
        if self == Invert {
            return result;
        }
        // Where a sum's sign is neither one's, or a difference's is the second's and
        // not the first's.
        let overflow = match self {
            Add | AddCarry | Increment => (a ^ result) & (b ^ result),
            Subtract | SubtractCarry | Compare | Decrement => (a ^ b) & (a ^ result),
            _ => 0,
        };
        let adjust = if matches!(self, Or | And | Test | Xor) { 0 } else { a ^ b ^ result };
        let mut left = 0;
        let mut set = |bit, is| left |= if is { bit } else { 0 };
        if matches!(self, Increment | Decrement) {
            set(flag::CARRY, *flags & flag::CARRY != 0);
        } else {
            set(flag::CARRY, wide >> bits & 1 != 0);
        }
        set(flag::PARITY, (result as u8).count_ones().is_multiple_of(2));
        set(flag::ADJUST, adjust >> 4 & 1 != 0);
        set(flag::ZERO, result == 0);
        set(flag::SIGN, result >> (bits - 1) != 0);
        set(flag::OVERFLOW, overflow >> (bits - 1) & 1 != 0);
        const ALL: u64 = flag::CARRY | flag::PARITY | flag::ADJUST | flag::ZERO | flag::SIGN | flag::OVERFLOW;
        *flags = *flags & !ALL | left;
        result
    }
}

#[cfg(test)]
#[allow(unsafe_code)] // has the processor do the same
mod tests {
    use super::*;
    use std::arch::asm;

    /// What the processor makes of it: result and flags.
    macro_rules! processor {
        ($instruction:literal, $a:ident, $b:ident, $flags:ident) => {{
            let (mut a, mut flags) = ($a, $flags);
            // SAFETY: changes the two registers and the arithmetic flags only.
            unsafe {
                asm!("push {f}", "popfq", $instruction, "pushfq", "pop {f}", a = inout(reg) a, b = in(reg) $b, f = inout(reg) flags);
            }
            (a, flags)
        }};
    }

    /// As [`Operation::run`], by the processor. The b of one that has none is not used.
    fn by_processor(operation: Operation, size: u8, a: u64, b: u64, flags: u64) -> (u64, u64) {
        use Operation::*;
        macro_rules! of {
            ($two:literal, $four:literal, $eight:literal) => {
                match size {
                    2 => processor!($two, a, b, flags),
                    4 => processor!($four, a, b, flags),
                    _ => processor!($eight, a, b, flags),
                }
            };
        }
        match operation {
            Add => of!("add {a:x}, {b:x}", "add {a:e}, {b:e}", "add {a}, {b}"),
            Or => of!("or {a:x}, {b:x}", "or {a:e}, {b:e}", "or {a}, {b}"),
            AddCarry => of!("adc {a:x}, {b:x}", "adc {a:e}, {b:e}", "adc {a}, {b}"),
            SubtractCarry => of!("sbb {a:x}, {b:x}", "sbb {a:e}, {b:e}", "sbb {a}, {b}"),
            And => of!("and {a:x}, {b:x}", "and {a:e}, {b:e}", "and {a}, {b}"),
            Subtract => of!("sub {a:x}, {b:x}", "sub {a:e}, {b:e}", "sub {a}, {b}"),
            Xor => of!("xor {a:x}, {b:x}", "xor {a:e}, {b:e}", "xor {a}, {b}"),
            Compare => of!("cmp {a:x}, {b:x}", "cmp {a:e}, {b:e}", "cmp {a}, {b}"),
            Test => of!("test {a:x}, {b:x}", "test {a:e}, {b:e}", "test {a}, {b}"),
            Increment => of!("inc {a:x} # {b:x}", "inc {a:e} # {b:e}", "inc {a} # {b}"),
            Decrement => of!("dec {a:x} # {b:x}", "dec {a:e} # {b:e}", "dec {a} # {b}"),
            Invert => of!("not {a:x} # {b:x}", "not {a:e} # {b:e}", "not {a} # {b}"),
        }
    }

    #[test]
    fn results_and_flags_are_the_processors() {
        use Operation::*;
        let numbers = [0, 1, 2, 0xf, 0x10, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
            .into_iter()
            .chain([i64::MAX as u64, 1 << 63, u64::MAX, 0x0123_4567_89ab_cdef]);
        let numbers: Vec<u64> = numbers.collect();
        let mut compared = 0;
        for operation in
            [Add, Or, AddCarry, SubtractCarry, And, Subtract, Xor, Compare, Test, Increment, Decrement, Invert]
        {
            for size in [2, 4, 8] {
                for &a in &numbers {
                    for &b in &numbers {
                        let second = match operation {
                            Increment | Decrement => 1,
                            Invert => u64::MAX,
                            _ => b,
                        };
                        for flags in [0x202, 0x202 | flag::CARRY | flag::OVERFLOW | flag::ZERO] {
                            let mut left = flags;
                            let result = operation.run(size, a, second, &mut left);
                            let (real, real_flags) = by_processor(operation, size, a, b, flags);
                            // What logic leaves of it is not defined.
                            let undefined = if matches!(operation, Or | And | Test | Xor) { flag::ADJUST } else { 0 };
                            let what = format!("{operation:?} of {size} bytes: {a:#x}, {b:#x}, flags {flags:#x}");
                            assert_eq!(left & !undefined, real_flags & !undefined, "{what}");
                            if operation.is_kept() {
                                assert_eq!(result, real & (u64::MAX >> (64 - 8 * u32::from(size))), "{what}");
                            }
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(compared, 12 * 3 * 15 * 15 * 2);
    }

    #[test]
    fn bytes_wrap_at_eight_bits() {
        let mut flags = 0;
        assert_eq!(Operation::Add.run(1, 0xff, 1, &mut flags), 0);
        assert_eq!(flags, flag::CARRY | flag::ZERO | flag::PARITY | flag::ADJUST);
        assert_eq!(Operation::Subtract.run(1, 0x80, 1, &mut flags), 0x7f);
        assert_eq!(flags, flag::OVERFLOW | flag::ADJUST);
    }
}
