//! The x86-64 instructions that load from and store to memory, and what they do
//! (Intel SDM volume 2).
//!
//! A driver that touches a register of an emulated card is stopped at the
//! instruction. Where in memory it points is known then, from the fault. What is
//! left to find out is how long the instruction is, how many bytes it moves, which
//! way, and what the other end is. The `iced-x86` crate decodes it; [`action`] says
//! what it does, or that it is none of those that are done here.

use super::compute::Operation;
use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};
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

/// Decodes the instruction that `code` begins with.
///
/// # Errors
/// [`Unknown`] if it does something else than [`Action`] knows, or if its operand
/// is no memory.
pub fn decode(code: &[u8]) -> Result<Instruction, Unknown> {
    let code = &code[..code.len().min(LONGEST)];
    let decoded = Decoder::new(64, code, DecoderOptions::NONE).decode();
    match action(&decoded) {
        Some(action) => Ok(Instruction { len: decoded.len() as u8, action }),
        None => Err(Unknown(code.to_vec())),
    }
}

/// Bytes of the memory that the instruction that `code` begins with names; 0 if it is
/// none, or names none.
pub fn width(code: &[u8]) -> u64 {
    Decoder::new(64, code, DecoderOptions::NONE).decode().memory_size().size() as u64
}

/// What an operand is that is not memory.
enum Other {
    General(General),
    Vector(u8),
    Constant(u64),
}

fn other(decoded: &iced_x86::Instruction, operand: u32) -> Option<Other> {
    if decoded.op_kind(operand) != OpKind::Register {
        return decoded.try_immediate(operand).ok().map(Other::Constant);
    }
    let register = decoded.op_register(operand);
    if register.is_gpr() {
        return Some(Other::General(General::of(register)));
    }
    register.is_xmm().then(|| Other::Vector(register.number() as u8))
}

/// What a decoded instruction does with its memory operand.
fn action(decoded: &iced_x86::Instruction) -> Option<Action> {
    use Mnemonic::*;
    let place = (0..decoded.op_count().min(2)).find(|&operand| decoded.op_kind(operand) == OpKind::Memory)?;
    if decoded.has_lock_prefix() {
        return None;
    }
    let size = decoded.memory_size().size() as u8;
    let to_memory = place == 0;
    let other = match decoded.mnemonic() {
        Inc | Dec => Other::Constant(1),
        Not => Other::Constant(u64::MAX),
        _ => other(decoded, 1 - place)?,
    };
    // A vector's part that is moved: a lane by its number, or its upper half.
    let at = match decoded.mnemonic() {
        Pinsrb | Pinsrw | Pinsrd | Pinsrq | Pextrb | Pextrw | Pextrd | Pextrq => {
            (decoded.immediate8() & (16 / size - 1)) * size
        }
        Movhps | Movhpd => 8,
        _ => 0,
    };
    Some(match (decoded.mnemonic(), other) {
        (Mov | Movnti | Movdiri, Other::General(from)) if to_memory => Action::Store { size, from, swapped: false },
        (Mov, Other::Constant(value)) => Action::StoreConstant { size, value },
        (Mov | Movzx, Other::General(into)) => Action::Load { size, into, signed: false, swapped: false },
        (Movsx | Movsxd, Other::General(into)) => Action::Load { size, into, signed: true, swapped: false },
        (Movbe, Other::General(from)) if to_memory => Action::Store { size, from, swapped: true },
        (Movbe, Other::General(into)) => Action::Load { size, into, signed: false, swapped: true },
        (Xchg, Other::General(with)) => Action::Exchange { size, with },
        (
            Movd | Movq | Movss | Movsd | Movups | Movupd | Movaps | Movapd | Movdqa | Movdqu | Movntps | Movntpd
            | Movntdq | Movlps | Movlpd | Movhps | Movhpd | Pextrb | Pextrw | Pextrd | Pextrq,
            Other::Vector(from),
        ) if to_memory => Action::StoreVector { size, from, at },
        (
            Movd | Movq | Movss | Movsd | Movups | Movupd | Movaps | Movapd | Movdqa | Movdqu | Lddqu | Movntdqa,
            Other::Vector(into),
        ) => Action::LoadVector { size, into, at, rest: Rest::Zero },
        (Movlps | Movlpd | Movhps | Movhpd | Pinsrb | Pinsrw | Pinsrd | Pinsrq, Other::Vector(into)) => {
            Action::LoadVector { size, into, at, rest: Rest::Stays }
        }
        (mnemonic, other) => {
            let with = match other {
                Other::General(register) => With::Register(register),
                Other::Constant(value) => With::Constant(value),
                Other::Vector(_) => return None,
            };
            Action::Compute { operation: operation(mnemonic)?, size, with, to_memory }
        }
    })
}

fn operation(mnemonic: Mnemonic) -> Option<Operation> {
    Some(match mnemonic {
        Mnemonic::Add => Operation::Add,
        Mnemonic::Or => Operation::Or,
        Mnemonic::Adc => Operation::AddCarry,
        Mnemonic::Sbb => Operation::SubtractCarry,
        Mnemonic::And => Operation::And,
        Mnemonic::Sub => Operation::Subtract,
        Mnemonic::Xor => Operation::Xor,
        Mnemonic::Cmp => Operation::Compare,
        Mnemonic::Test => Operation::Test,
        Mnemonic::Inc => Operation::Increment,
        Mnemonic::Dec => Operation::Decrement,
        Mnemonic::Not => Operation::Invert,
        _ => return None,
    })
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
    fn of(register: Register) -> General {
        let high = matches!(register, Register::AH | Register::CH | Register::DH | Register::BH);
        General { number: register.full_register().number() as u8, width: register.size() as u8, high }
    }

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
