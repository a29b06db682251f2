//! What a program must be before it runs.
//!
//! Each jump leads forward and to an instruction of the program, each way ends in a
//! return, each instruction is known, no word of scratch memory is read before it was
//! written, nothing is divided by a constant zero or shifted by more bits than a
//! number has (Linux, `net/core/filter.c`, `bpf_check_classic`). Such a program ends
//! after as many steps as it has instructions, and does nothing but read the frame.

use super::code::{
    A, ABS, ADD, ALU, AND, B, DIV, H, IMM, IND, Instruction, JA, JEQ, JGE, JGT, JMP, JSET, K, LD, LDX, LEN, LSH, MEM,
    MISC, MOD, MOST, MSH, MUL, NEG, OR, RET, RSH, ST, STX, SUB, TAX, TXA, W, WORDS, X, XOR,
};
use std::fmt;

/// Why a program is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Empty,
    /// More than [`MOST`] instructions.
    TooLong(usize),
    Unknown(usize),
    /// A jump, or what follows, beyond the end.
    Beyond(usize),
    DividesByZero(usize),
    ShiftsTooFar(usize),
    /// A word of scratch memory that is not there.
    NoSuchWord(usize),
    /// A word of scratch memory that was not written on all ways to here.
    ReadsUnwritten(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Empty => write!(f, "a program without instructions"),
            Fault::TooLong(len) => write!(f, "a program of {len} instructions; {MOST} are the limit"),
            Fault::Unknown(at) => write!(f, "instruction {at} is unknown"),
            Fault::Beyond(at) => write!(f, "instruction {at} leads beyond the end of the program"),
            Fault::DividesByZero(at) => write!(f, "instruction {at} divides by zero"),
            Fault::ShiftsTooFar(at) => write!(f, "instruction {at} shifts by more than 31 bits"),
            Fault::NoSuchWord(at) => write!(f, "instruction {at} names a word of scratch memory that is not there"),
            Fault::ReadsUnwritten(at) => write!(f, "instruction {at} reads scratch memory that was not written"),
        }
    }
}

/// Checks a program.
///
/// # Errors
/// The first fault that is found.
pub fn verify(program: &[Instruction]) -> Result<(), Fault> {
    if program.is_empty() {
        return Err(Fault::Empty);
    }
    if program.len() > MOST {
        return Err(Fault::TooLong(program.len()));
    }
    // Words written on all ways to an instruction, if any way leads there.
    let mut written: Vec<Option<u16>> = vec![None; program.len()];
    written[0] = Some(0);
    for (at, instruction) in program.iter().enumerate() {
        known(at, *instruction)?;
        let Some(mut words) = written[at] else { continue };
        if let Some((word, reads)) = word(*instruction) {
            if reads && words & 1 << word == 0 {
                return Err(Fault::ReadsUnwritten(at));
            }
            words |= 1 << word;
        }
        for next in targets(at, *instruction).into_iter().flatten() {
            let there = usize::try_from(next).ok().and_then(|next| written.get_mut(next)).ok_or(Fault::Beyond(at))?;
            *there = Some(there.map_or(words, |known| known & words));
        }
    }
    Ok(())
}

/// That an instruction exists, with operands that make sense.
fn known(at: usize, instruction: Instruction) -> Result<(), Fault> {
    const SOURCES: [u16; 2] = [K, X];
    let Instruction { code, k, .. } = instruction;
    let is = |class: u16, operations: &[u16], rest: &[u16]| {
        instruction.class() == class && operations.iter().any(|o| rest.iter().any(|r| code == class | o | r))
    };
    let word = [LD | MEM, LDX | MEM, ST, STX].contains(&code);
    let ok = word
        || is(LD, &[ABS, IND], &[W, H, B])
        || is(LD, &[IMM, LEN], &[W])
        || is(LDX, &[IMM, LEN], &[W])
        || code == LDX | MSH | B
        || is(ALU, &[ADD, SUB, MUL, DIV, MOD, OR, AND, XOR, LSH, RSH], &SOURCES)
        || code == ALU | NEG
        || code == JMP | JA
        || is(JMP, &[JEQ, JGT, JGE, JSET], &SOURCES)
        || code == RET | K
        || code == RET | A
        || is(MISC, &[TAX, TXA], &[K]);
    if !ok {
        return Err(Fault::Unknown(at));
    }
    if word && k as usize >= WORDS {
        return Err(Fault::NoSuchWord(at));
    }
    if [ALU | DIV | K, ALU | MOD | K].contains(&code) && k == 0 {
        return Err(Fault::DividesByZero(at));
    }
    if [ALU | LSH | K, ALU | RSH | K].contains(&code) && k > 31 {
        return Err(Fault::ShiftsTooFar(at));
    }
    Ok(())
}

/// The word of scratch memory that an instruction names, and whether it reads it.
fn word(instruction: Instruction) -> Option<(u32, bool)> {
    match instruction.code {
        code if code == LD | MEM || code == LDX | MEM => Some((instruction.k, true)),
        ST | STX => Some((instruction.k, false)),
        _ => None,
    }
}

/// Where an instruction leads.
fn targets(at: usize, instruction: Instruction) -> [Option<u64>; 2] {
    let next = at as u64 + 1;
    match instruction.class() {
        RET => [None, None],
        JMP if instruction.code == JMP | JA => [Some(next + u64::from(instruction.k)), None],
        JMP => [Some(next + u64::from(instruction.jt)), Some(next + u64::from(instruction.jf))],
        _ => [Some(next), None],
    }
}
