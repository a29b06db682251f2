//! The x86-64 instructions that load from and store to memory, and what they do
//! (Intel SDM volume 2; opcode maps in appendix A).
//!
//! ```text
//!   [66 F2 F3 segment 67]*  [REX]  opcode        ModRM  [SIB]  [displacement]  [immediate]
//!                                  one byte, or
//!                                  0F xx, 0F 38 xx, 0F 3A xx
//! ```
//!
//! A driver that touches a register of an emulated card is stopped at the
//! instruction. Where in memory it points is known then, from the fault; so all
//! that is left to find out is how long the instruction is, how many bytes it
//! moves, which way, and which register is the other end. That is a row of
//! [`ROWS`], or for what computes with memory in one go ([`arithmetic`]) the pattern
//! in its opcode.

use super::compute::Operation;
use std::fmt;

/// Longest instruction there is.
pub const LONGEST: usize = 15;

/// The registers that an instruction can move data from or to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// rax rcx rdx rbx rsp rbp rsi rdi r8 to r15: their numbers in instructions.
    pub general: [u64; 16],
    /// xmm0 to xmm15.
    pub vector: [u128; 16],
    /// rflags.
    pub flags: u64,
    /// Address of the instruction.
    pub rip: u64,
}

/// The memory that an instruction names. Offsets are from the address it names.
pub trait Memory {
    /// Reads `size` bytes (1, 2, 4 or 8).
    fn read(&mut self, offset: u64, size: u8) -> u64;
    /// Writes `size` bytes (1, 2, 4 or 8).
    fn write(&mut self, offset: u64, size: u8, value: u64);
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes it has.
    pub len: u8,
    action: Action,
}

/// What it does. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Memory into a general register.
    Load { size: u8, into: General, signed: bool, swapped: bool },
    /// A general register into memory.
    Store { size: u8, from: General, swapped: bool },
    /// A constant into memory.
    StoreConstant { size: u8, value: u64 },
    /// Both at once.
    Exchange { size: u8, with: General },
    /// Arithmetic of memory and something, whose result goes to one of them.
    Compute { operation: Operation, size: u8, with: With, to_memory: bool },
    /// Memory into a vector register from byte `at`; the rest of it becomes
    /// zero, or stays.
    LoadVector { size: u8, into: u8, at: u8, rest: Rest },
    /// A vector register, from byte `at`, into memory.
    StoreVector { size: u8, from: u8, at: u8 },
}

/// The other end of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Register(General),
    Constant(u64),
}

/// A general register, or the part of it that an instruction names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct General {
    number: u8,
    /// Bytes that are named: 1, 2, 4 or 8.
    width: u8,
    /// Bits 15:8, as in `ah`.
    high: bool,
}

/// What becomes of the bytes of a vector register that are not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Zero,
    Stays,
}

/// An instruction that is not known, by its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub Vec<u8>);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown instruction")?;
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

/// Which opcode map a row is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Map {
    /// One byte.
    One,
    /// 0F.
    Two,
    /// 0F 38.
    Three38,
    /// 0F 3A.
    Three3a,
}

/// What must stand before the opcode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    /// 66 is an operand size, F2 and F3 are not meant.
    Plain,
    /// None of them.
    No,
    /// This one.
    Is(u8),
}

/// How many bytes are moved.
#[derive(Clone, Copy)]
enum Size {
    Fixed(u8),
    /// 2 with 66, 8 with REX.W, else 4.
    Operand,
    /// 8 with REX.W, else 4.
    Wide,
}

/// What a row's instruction is.
#[derive(Clone, Copy)]
enum Form {
    /// Memory into as many bytes of a register.
    Load(Size),
    /// Into a register of the operand's size, with zeroes or the sign above.
    LoadWide(Size),
    LoadSigned(Size),
    LoadSwapped,
    Store(Size),
    StoreSwapped,
    /// The constant behind it, sign-extended; ModRM's register field is 0.
    StoreConstant(Size),
    Exchange(Size),
    /// With a register, to memory or not.
    Compute(Operation, Size, bool),
    /// With the constant of so many bytes behind it, as ModRM's register field says.
    ComputeConstant(Size, u8),
    /// Test, invert; or increment, decrement: as that field says.
    Unary(Size),
    Step(Size),
    /// Between rax and an address that stands in the instruction.
    LoadFar(Size),
    StoreFar(Size),
    LoadVector(Size, u8, Rest),
    StoreVector(Size, u8),
    /// One lane, whose number is the constant behind it.
    InsertLane(Size),
    ExtractLane(Size),
}

struct Row(Map, Prefix, u8, Form);

/// Every instruction that is known.
#[rustfmt::skip]
const ROWS: &[Row] = &{
    use Form::*;
    use Map::*;
    use Prefix::*;
    use Rest::*;
    use Size::*;
    [
        // mov
        Row(One, Plain, 0x88, Store(Fixed(1))),
        Row(One, Plain, 0x89, Store(Operand)),
        Row(One, Plain, 0x8a, Load(Fixed(1))),
        Row(One, Plain, 0x8b, Load(Operand)),
        Row(One, Plain, 0xa0, LoadFar(Fixed(1))),
        Row(One, Plain, 0xa1, LoadFar(Operand)),
        Row(One, Plain, 0xa2, StoreFar(Fixed(1))),
        Row(One, Plain, 0xa3, StoreFar(Operand)),
        Row(One, Plain, 0xc6, StoreConstant(Fixed(1))),
        Row(One, Plain, 0xc7, StoreConstant(Operand)),
        // movsxd, movzx, movsx
        Row(One, Plain, 0x63, LoadSigned(Fixed(4))),
        Row(Two, Plain, 0xb6, LoadWide(Fixed(1))),
        Row(Two, Plain, 0xb7, LoadWide(Fixed(2))),
        Row(Two, Plain, 0xbe, LoadSigned(Fixed(1))),
        Row(Two, Plain, 0xbf, LoadSigned(Fixed(2))),
        // xchg
        Row(One, Plain, 0x86, Exchange(Fixed(1))),
        Row(One, Plain, 0x87, Exchange(Operand)),
        // movnti, movbe, movdiri
        Row(Two, No, 0xc3, Store(Wide)),
        Row(Three38, Plain, 0xf0, LoadSwapped),
        Row(Three38, Plain, 0xf1, StoreSwapped),
        Row(Three38, No, 0xf9, Store(Wide)),
        // movd, movq
        Row(Two, Is(0x66), 0x6e, LoadVector(Wide, 0, Zero)),
        Row(Two, Is(0x66), 0x7e, StoreVector(Wide, 0)),
        Row(Two, Is(0xf3), 0x7e, LoadVector(Fixed(8), 0, Zero)),
        Row(Two, Is(0x66), 0xd6, StoreVector(Fixed(8), 0)),
        // movss, movsd
        Row(Two, Is(0xf3), 0x10, LoadVector(Fixed(4), 0, Zero)),
        Row(Two, Is(0xf3), 0x11, StoreVector(Fixed(4), 0)),
        Row(Two, Is(0xf2), 0x10, LoadVector(Fixed(8), 0, Zero)),
        Row(Two, Is(0xf2), 0x11, StoreVector(Fixed(8), 0)),
        // movups, movupd, movaps, movapd
        Row(Two, No,       0x10, LoadVector(Fixed(16), 0, Zero)),
        Row(Two, No,       0x11, StoreVector(Fixed(16), 0)),
        Row(Two, Is(0x66), 0x10, LoadVector(Fixed(16), 0, Zero)),
        Row(Two, Is(0x66), 0x11, StoreVector(Fixed(16), 0)),
        Row(Two, No,       0x28, LoadVector(Fixed(16), 0, Zero)),
        Row(Two, No,       0x29, StoreVector(Fixed(16), 0)),
        Row(Two, Is(0x66), 0x28, LoadVector(Fixed(16), 0, Zero)),
        Row(Two, Is(0x66), 0x29, StoreVector(Fixed(16), 0)),
        // movdqa, movdqu, lddqu
        Row(Two, Is(0x66), 0x6f, LoadVector(Fixed(16), 0, Zero)),
        Row(Two, Is(0x66), 0x7f, StoreVector(Fixed(16), 0)),
        Row(Two, Is(0xf3), 0x6f, LoadVector(Fixed(16), 0, Zero)),
        Row(Two, Is(0xf3), 0x7f, StoreVector(Fixed(16), 0)),
        Row(Two, Is(0xf2), 0xf0, LoadVector(Fixed(16), 0, Zero)),
        // movntps, movntpd, movntdq, movntdqa
        Row(Two, No,       0x2b, StoreVector(Fixed(16), 0)),
        Row(Two, Is(0x66), 0x2b, StoreVector(Fixed(16), 0)),
        Row(Two, Is(0x66), 0xe7, StoreVector(Fixed(16), 0)),
        Row(Three38, Is(0x66), 0x2a, LoadVector(Fixed(16), 0, Zero)),
        // movlps, movlpd, movhps, movhpd
        Row(Two, No,       0x12, LoadVector(Fixed(8), 0, Stays)),
        Row(Two, No,       0x13, StoreVector(Fixed(8), 0)),
        Row(Two, Is(0x66), 0x12, LoadVector(Fixed(8), 0, Stays)),
        Row(Two, Is(0x66), 0x13, StoreVector(Fixed(8), 0)),
        Row(Two, No,       0x16, LoadVector(Fixed(8), 8, Stays)),
        Row(Two, No,       0x17, StoreVector(Fixed(8), 8)),
        Row(Two, Is(0x66), 0x16, LoadVector(Fixed(8), 8, Stays)),
        Row(Two, Is(0x66), 0x17, StoreVector(Fixed(8), 8)),
        // pinsrb, pinsrw, pinsrd, pinsrq, and pextr of each
        Row(Three3a, Is(0x66), 0x20, InsertLane(Fixed(1))),
        Row(Two,     Is(0x66), 0xc4, InsertLane(Fixed(2))),
        Row(Three3a, Is(0x66), 0x22, InsertLane(Wide)),
        Row(Three3a, Is(0x66), 0x14, ExtractLane(Fixed(1))),
        Row(Three3a, Is(0x66), 0x15, ExtractLane(Fixed(2))),
        Row(Three3a, Is(0x66), 0x16, ExtractLane(Wide)),
    ]
};

/// The bytes of an instruction, taken one after the other.
struct Bytes<'a> {
    code: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.code.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A number of `len` bytes, sign-extended.
    fn number(&mut self, len: u8) -> Option<u64> {
        let mut bytes = [0; 8];
        let len = usize::from(len);
        bytes[..len].copy_from_slice(self.code.get(self.at..self.at + len)?);
        self.at += len;
        let unused = 64 - 8 * len as u32;
        Some((i64::from_le_bytes(bytes) << unused >> unused) as u64)
    }
}

/// Prefixes and opcode.
#[derive(Default)]
struct Head {
    /// The last of 66, F2, F3 that decides what the opcode means.
    mandatory: Option<u8>,
    operand_16: bool,
    address_32: bool,
    rex: Option<u8>,
}

impl Head {
    fn bit(&self, bit: u8) -> u8 {
        self.rex.map_or(0, |rex| rex >> bit & 1)
    }

    fn size(&self, size: Size) -> u8 {
        match size {
            Size::Fixed(size) => size,
            _ if self.bit(3) == 1 => 8,
            Size::Operand if self.operand_16 => 2,
            _ => 4,
        }
    }

    /// General register `number` as one of `width` bytes.
    fn general(&self, number: u8, width: u8) -> General {
        let high = width == 1 && self.rex.is_none() && (4..8).contains(&number);
        General { number: if high { number - 4 } else { number }, width, high }
    }
}

/// Decodes the instruction that `code` begins with.
///
/// # Errors
/// [`Unknown`] if it is none of the table's, or if its operand is no memory.
pub fn decode(code: &[u8]) -> Result<Instruction, Unknown> {
    let code = &code[..code.len().min(LONGEST)];
    try_decode(code).ok_or_else(|| Unknown(code.to_vec()))
}

fn try_decode(code: &[u8]) -> Option<Instruction> {
    let mut bytes = Bytes { code, at: 0 };
    let mut head = Head::default();
    let mut opcode = loop {
        match bytes.next()? {
            0x66 => {
                head.operand_16 = true;
                head.mandatory = head.mandatory.or(Some(0x66));
            }
            byte @ (0xf2 | 0xf3) => head.mandatory = Some(byte),
            0x67 => head.address_32 = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
            byte => break byte,
        }
    };
    if opcode & 0xf0 == 0x40 {
        head.rex = Some(opcode);
        opcode = bytes.next()?;
    }
    let mut map = Map::One;
    if opcode == 0x0f {
        opcode = bytes.next()?;
        map = match opcode {
            0x38 => Map::Three38,
            0x3a => Map::Three3a,
            _ => Map::Two,
        };
        if map != Map::Two {
            opcode = bytes.next()?;
        }
    }
    let meant = |prefix| match prefix {
        Prefix::Plain => matches!(head.mandatory, None | Some(0x66)),
        Prefix::No => head.mandatory.is_none(),
        Prefix::Is(byte) => head.mandatory == Some(byte),
    };
    let row = ROWS.iter().find(|row| row.0 == map && row.2 == opcode && meant(row.1));
    let plain = map == Map::One && meant(Prefix::Plain);
    let form = row.map(|row| row.3).or_else(|| if plain { arithmetic(opcode) } else { None })?;
    let action = operands(&mut bytes, &head, form)?;
    Some(Instruction { len: bytes.at as u8, action })
}

/// The opcodes that compute: bit 0 is the operand's size, bit 1 of those up to 3F
/// which way, and bits 5:3 what.
fn arithmetic(opcode: u8) -> Option<Form> {
    let size = if opcode & 1 == 0 { Size::Fixed(1) } else { Size::Operand };
    Some(match opcode {
        0x00..=0x3f if opcode & 7 < 4 => Form::Compute(Operation::numbered(opcode >> 3), size, opcode & 2 == 0),
        0x80 => Form::ComputeConstant(size, 1),
        0x81 => Form::ComputeConstant(size, 4),
        0x83 => Form::ComputeConstant(size, 1),
        0x84 | 0x85 => Form::Compute(Operation::Test, size, true),
        0xf6 | 0xf7 => Form::Unary(size),
        0xfe | 0xff => Form::Step(size),
        _ => return None,
    })
}

/// What follows the opcode.
fn operands(bytes: &mut Bytes<'_>, head: &Head, form: Form) -> Option<Action> {
    if let Form::LoadFar(size) | Form::StoreFar(size) = form {
        bytes.number(if head.address_32 { 4 } else { 8 })?;
        let size = head.size(size);
        let rax = General { number: 0, width: size, high: false };
        return Some(match form {
            Form::LoadFar(_) => Action::Load { size, into: rax, signed: false, swapped: false },
            _ => Action::Store { size, from: rax, swapped: false },
        });
    }
    let field = skip_address(bytes)?;
    let register = field | head.bit(2) << 3;
    let operand = head.size(Size::Operand);
    Some(match form {
        Form::Load(size) => {
            let size = head.size(size);
            Action::Load { size, into: head.general(register, size), signed: false, swapped: false }
        }
        Form::LoadWide(size) => {
            Action::Load { size: head.size(size), into: head.general(register, operand), signed: false, swapped: false }
        }
        Form::LoadSigned(size) => {
            Action::Load { size: head.size(size), into: head.general(register, operand), signed: true, swapped: false }
        }
        Form::LoadSwapped => {
            Action::Load { size: operand, into: head.general(register, operand), signed: false, swapped: true }
        }
        Form::Store(size) => {
            let size = head.size(size);
            Action::Store { size, from: head.general(register, size), swapped: false }
        }
        Form::StoreSwapped => Action::Store { size: operand, from: head.general(register, operand), swapped: true },
        Form::StoreConstant(size) => {
            let size = head.size(size);
            let value = bytes.number(size.min(4))?;
            if field != 0 {
                return None;
            }
            Action::StoreConstant { size, value }
        }
        Form::Exchange(size) => {
            let size = head.size(size);
            Action::Exchange { size, with: head.general(register, size) }
        }
        Form::Compute(operation, size, to_memory) => {
            let size = head.size(size);
            Action::Compute { operation, size, with: With::Register(head.general(register, size)), to_memory }
        }
        Form::ComputeConstant(size, len) => {
            let size = head.size(size);
            let with = With::Constant(bytes.number(len.min(size))?);
            Action::Compute { operation: Operation::numbered(field), size, with, to_memory: true }
        }
        Form::Unary(size) => {
            let size = head.size(size);
            let (operation, constant) = match field {
                0 | 1 => (Operation::Test, bytes.number(size.min(4))?),
                2 => (Operation::Invert, u64::MAX),
                _ => return None,
            };
            Action::Compute { operation, size, with: With::Constant(constant), to_memory: true }
        }
        Form::Step(size) => {
            let operation = match field {
                0 => Operation::Increment,
                1 => Operation::Decrement,
                _ => return None,
            };
            Action::Compute { operation, size: head.size(size), with: With::Constant(1), to_memory: true }
        }
        Form::LoadVector(size, at, rest) => Action::LoadVector { size: head.size(size), into: register, at, rest },
        Form::StoreVector(size, at) => Action::StoreVector { size: head.size(size), from: register, at },
        Form::InsertLane(size) | Form::ExtractLane(size) => {
            let size = head.size(size);
            let at = (bytes.next()? & (16 / size - 1)) * size;
            match form {
                Form::InsertLane(_) => Action::LoadVector { size, into: register, at, rest: Rest::Stays },
                _ => Action::StoreVector { size, from: register, at },
            }
        }
        Form::LoadFar(_) | Form::StoreFar(_) => return None,
    })
}

/// Skips ModRM, SIB and displacement; returns ModRM's register field. None if
/// the operand is a register.
fn skip_address(bytes: &mut Bytes<'_>) -> Option<u8> {
    let modrm = bytes.next()?;
    let (mode, low) = (modrm >> 6, modrm & 7);
    let base = match (mode, low) {
        (3, _) => return None,
        (_, 4) => bytes.next()? & 7,
        (0, 5) => {
            // Relative to rip.
            bytes.number(4)?;
            return Some(modrm >> 3 & 7);
        }
        _ => low,
    };
    match mode {
        0 if low == 4 && base == 5 => bytes.number(4)?,
        0 => 0,
        1 => bytes.number(1)?,
        _ => bytes.number(4)?,
    };
    Some(modrm >> 3 & 7)
}

impl Instruction {
    /// Does what it does, to `cpu` and to `memory`, and moves past it.
    ///
    /// Sixteen bytes are moved in words of four, upwards.
    pub fn run(&self, cpu: &mut Cpu, memory: &mut dyn Memory) {
        match self.action {
            Action::Load { size, into, signed, swapped } => {
                let value = memory.read(0, size) & mask(size);
                let unused = 64 - 8 * u32::from(size);
                let value = match (signed, swapped) {
                    (true, _) => ((value << unused) as i64 >> unused) as u64,
                    (_, true) => value.swap_bytes() >> unused,
                    _ => value,
                };
                into.set(cpu, value);
            }
            Action::Store { size, from, swapped } => {
                let value = from.get(cpu);
                let swap = |value: u64| value.swap_bytes() >> (64 - 8 * u32::from(size));
                memory.write(0, size, if swapped { swap(value) } else { value });
            }
            Action::StoreConstant { size, value } => memory.write(0, size, value & mask(size)),
            Action::Exchange { size, with } => {
                let old = memory.read(0, size) & mask(size);
                memory.write(0, size, with.get(cpu));
                with.set(cpu, old);
            }
            Action::Compute { operation, size, with, to_memory } => {
                let there = memory.read(0, size);
                let other = match with {
                    With::Register(register) => register.get(cpu),
                    With::Constant(value) => value,
                };
                let (first, second) = if to_memory { (there, other) } else { (other, there) };
                let result = operation.run(size, first, second, &mut cpu.flags);
                match with {
                    _ if !operation.is_kept() => {}
                    With::Register(register) if !to_memory => register.set(cpu, result),
                    _ => memory.write(0, size, result),
                }
            }
            Action::LoadVector { size, into, at, rest } => {
                let register = &mut cpu.vector[usize::from(into)];
                let mut bytes = if rest == Rest::Zero { [0; 16] } else { register.to_le_bytes() };
                for (offset, size) in words(size) {
                    let value = memory.read(offset.into(), size).to_le_bytes();
                    let from = usize::from(at + offset);
                    bytes[from..from + usize::from(size)].copy_from_slice(&value[..usize::from(size)]);
                }
                *register = u128::from_le_bytes(bytes);
            }
            Action::StoreVector { size, from, at } => {
                let bytes = (cpu.vector[usize::from(from)] >> (8 * u32::from(at))).to_le_bytes();
                for (offset, size) in words(size) {
                    let mut value = [0; 8];
                    let from = usize::from(offset);
                    value[..usize::from(size)].copy_from_slice(&bytes[from..from + usize::from(size)]);
                    memory.write(offset.into(), size, u64::from_le_bytes(value));
                }
            }
        }
        cpu.rip += u64::from(self.len);
    }
}

/// Offsets and sizes of the accesses that `size` bytes are moved in.
fn words(size: u8) -> impl Iterator<Item = (u8, u8)> {
    let one = if size > 8 { 4 } else { size };
    (0..size / one).map(move |n| (n * one, one))
}

fn mask(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size))
}

impl General {
    fn get(self, cpu: &Cpu) -> u64 {
        let value = cpu.general[usize::from(self.number)];
        (if self.high { value >> 8 } else { value }) & mask(self.width)
    }

    /// Sets the part that is named. Setting 4 bytes clears the upper 4.
    fn set(self, cpu: &mut Cpu, value: u64) {
        let register = &mut cpu.general[usize::from(self.number)];
        let value = value & mask(self.width);
        *register = match (self.width, self.high) {
            (1, true) => *register & !0xff00 | value << 8,
            (1 | 2, _) => *register & !mask(self.width) | value,
            _ => value,
        };
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
