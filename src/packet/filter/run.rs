//! The interpreter: programs prepared for throughput.
//!
//! ```text
//!   ldh [12]        one step: load two bytes at 12, keep all bits, is it 0x800 to
//!   jeq #0x800      0x800? then on here, else there
//! ```
//!
//! A load and the jump that follows it, with or without a mask between them, are one
//! [`Step`]; every comparison with a constant is the same one: whether some bits of a
//! number, less the least that it may be, are at most so many. So there is one
//! unpredictable jump for each decision of a program and no call, and a load's bounds
//! are compared once, with the frame's length. Each instruction keeps a step of its own,
//! at its own number, for jumps that lead to it.

use super::code::{
    A, ABS, ADD, ALU, AND, B, DIV, H, IMM, IND, Instruction, JA, JEQ, JGE, JGT, JMP, JSET, K, LD, LDX, LEN, LSH, MEM,
    MISC, MOD, MSH, MUL, NEG, OR, RET, RSH, ST, STX, SUB, TAX, W, WORDS, X, XOR,
};
use super::verify::{Fault, verify};

/// A program that may run.
#[derive(Clone, Debug)]
pub struct Program {
    code: Vec<Instruction>,
    steps: Vec<Step>,
    /// Whether it uses scratch memory.
    remembers: bool,
}

/// The bytes of a frame.
pub trait Bytes {
    /// `N` bytes at `at`; none beyond the end.
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;
}

/// A frame in one piece.
pub struct Whole<'a>(pub &'a [u8]);

/// A frame in several buffers.
pub struct Parts<'a>(pub &'a [&'a [u8]]);

impl Bytes for Whole<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }
}

impl Bytes for Parts<'_> {
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if let Some(bytes) = self.0.first().and_then(|first| first.get(at..)?.first_chunk()) {
            return Some(*bytes);
        }
        let (mut bytes, mut found, mut skip) = ([0; N], 0, at);
        for part in self.0 {
            for byte in part.iter().skip(skip).take(N - found) {
                bytes[found] = *byte;
                found += 1;
            }
            skip = skip.saturating_sub(part.len());
        }
        (found == N).then_some(bytes)
    }
}

/// What a step does. A load that is followed by a jump decides; so does a jump alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// Loads 1, 2 or 4 bytes, from the beginning or from X on, and decides.
    Abs1,
    Abs2,
    Abs4,
    Ind1,
    Ind2,
    Ind4,
    /// Decides by what A holds.
    Held,
    /// Loads the length of an IPv4 header into X.
    Header,
    Return,
    /// Any other instruction, one alone.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    op: Op,
    /// The next step, by the answer.
    yes: u16,
    no: u16,
    /// Of a load; or the instruction's number.
    k: u32,
    /// Bits that A keeps of what was loaded.
    keep: u32,
    /// Bits of A that are compared.
    mask: u32,
    /// They are to be this at least, and so much more at most.
    least: u32,
    span: u32,
}

impl Program {
    /// A program that has been checked.
    ///
    /// # Errors
    /// What [`verify`] finds.
    pub fn new(code: Vec<Instruction>) -> Result<Program, Fault> {
        verify(&code)?;
        let steps = (0..code.len()).map(|at| step(&code, at)).collect();
        let remembers = code.iter().any(|instruction| [ST, STX].contains(&instruction.class()));
        Ok(Program { code, steps, remembers })
    }

    pub fn code(&self) -> &[Instruction] {
        &self.code
    }

    /// What the program returns for a frame of this length on the wire: 0 for one that
    /// does not match.
    #[inline]
    pub fn run(&self, bytes: &impl Bytes, length: u32) -> u32 {
        let returned = if self.remembers { self.steps::<WORDS>(bytes, length) } else { self.steps::<0>(bytes, length) };
        returned.unwrap_or(0)
    }

    /// `None` is a load from beyond the end, or a division by zero.
    #[inline]
    fn steps<const WORDS: usize>(&self, bytes: &impl Bytes, length: u32) -> Option<u32> {
        let mut machine = Machine { a: 0, x: 0, words: [0; WORDS] };
        let mut at = 0;
        loop {
            let step = self.steps.get(at)?;
            let loaded = match step.op {
                Op::Abs1 => u32::from(u8::from_be_bytes(bytes.load(step.k as usize)?)),
                Op::Abs2 => u32::from(u16::from_be_bytes(bytes.load(step.k as usize)?)),
                Op::Abs4 => u32::from_be_bytes(bytes.load(step.k as usize)?),
                Op::Ind1 => u32::from(u8::from_be_bytes(bytes.load(machine.behind(step.k)?)?)),
                Op::Ind2 => u32::from(u16::from_be_bytes(bytes.load(machine.behind(step.k)?)?)),
                Op::Ind4 => u32::from_be_bytes(bytes.load(machine.behind(step.k)?)?),
                Op::Held => machine.a,
                Op::Header => {
                    let [byte] = bytes.load(step.k as usize)?;
                    machine.x = u32::from(byte & 0xf) * 4;
                    at += 1;
                    continue;
                }
                Op::Return => return Some(step.k),
                Op::Other => {
                    match machine.execute(*self.code.get(at)?, at, bytes, length)? {
                        Ok(next) => at = next,
                        Err(returned) => return Some(returned),
                    }
                    continue;
                }
            };
            machine.a = loaded & step.keep;
            let decides = (machine.a & step.mask).wrapping_sub(step.least) <= step.span;
            at = usize::from(if decides { step.yes } else { step.no });
        }
    }
}

/// The step of the instruction at `at`, and of those that join it.
fn step(code: &[Instruction], at: usize) -> Step {
    let first = code[at];
    let alone = Step { op: Op::Other, yes: 0, no: 0, k: first.k, keep: !0, mask: !0, least: 0, span: 0 };
    let after = |by: usize| code.get(at + by).copied().unwrap_or(first);
    let op = match (first.class(), first.mode(), first.size()) {
        _ if first.code == RET | K => return Step { op: Op::Return, ..alone },
        _ if first.code == LDX | MSH | B => return Step { op: Op::Header, ..alone },
        _ if constant_jump(first) => return decide(Step { op: Op::Held, ..alone }, first, at),
        (LD, ABS, B) => Op::Abs1,
        (LD, ABS, H) => Op::Abs2,
        (LD, ABS, W) => Op::Abs4,
        (LD, IND, B) => Op::Ind1,
        (LD, IND, H) => Op::Ind2,
        (LD, IND, W) => Op::Ind4,
        _ => return alone,
    };
    if constant_jump(after(1)) {
        return decide(Step { op, ..alone }, after(1), at + 1);
    }
    if after(1).code == ALU | AND | K && constant_jump(after(2)) {
        return decide(Step { op, keep: after(1).k, ..alone }, after(2), at + 2);
    }
    // A load alone: whatever it is, the next instruction follows.
    let next = (at + 1) as u16;
    Step { op, yes: next, no: next, ..alone }
}

fn constant_jump(instruction: Instruction) -> bool {
    [JEQ, JGT, JGE, JSET].iter().any(|jump| instruction.code == JMP | jump | K)
}

/// The comparison of a jump at `at`.
fn decide(step: Step, jump: Instruction, at: usize) -> Step {
    let target = |by: u8| (at + 1 + usize::from(by)) as u16;
    let (mut yes, mut no) = (target(jump.jt), target(jump.jf));
    let (mut mask, mut least, mut span) = (!0, jump.k, 0);
    match jump.operation() {
        JGE => span = u32::MAX - jump.k,
        // No more than k: the other way round.
        JGT => (least, span, yes, no) = (0, jump.k, no, yes),
        JSET => (mask, least, span) = (jump.k, 1, u32::MAX - 1),
        _ => {}
    }
    Step { yes, no, mask, least, span, ..step }
}

/// Registers and scratch memory.
struct Machine<const WORDS: usize> {
    a: u32,
    x: u32,
    words: [u32; WORDS],
}

impl<const WORDS: usize> Machine<WORDS> {
    /// A place so far behind X; beyond 2^32 is beyond the end.
    #[inline(always)]
    fn behind(&self, k: u32) -> Option<usize> {
        self.x.checked_add(k).map(|at| at as usize)
    }

    fn load(&self, instruction: Instruction, bytes: &impl Bytes) -> Option<u32> {
        let k = instruction.k;
        let at = if instruction.mode() == IND { self.behind(k)? } else { k as usize };
        Some(match instruction.size() {
            B => u32::from(u8::from_be_bytes(bytes.load(at)?)),
            H => u32::from(u16::from_be_bytes(bytes.load(at)?)),
            _ => u32::from_be_bytes(bytes.load(at)?),
        })
    }

    /// One instruction: which is next, or what is returned. `None` rejects.
    #[inline(never)]
    fn execute(
        &mut self,
        instruction: Instruction,
        at: usize,
        bytes: &impl Bytes,
        length: u32,
    ) -> Option<Result<usize, u32>> {
        let k = instruction.k;
        let next = at + 1;
        match (instruction.class(), instruction.mode()) {
            (LD, ABS | IND) => self.a = self.load(instruction, bytes)?,
            (LD, IMM) => self.a = k,
            (LD, LEN) => self.a = length,
            (LD, MEM) => self.a = *self.words.get(k as usize)?,
            (LDX, IMM) => self.x = k,
            (LDX, LEN) => self.x = length,
            (LDX, MEM) => self.x = *self.words.get(k as usize)?,
            (LDX, MSH) => self.x = (u32::from(bytes.load::<1>(k as usize)?[0]) & 0xf) * 4,
            (ST, _) => *self.words.get_mut(k as usize)? = self.a,
            (STX, _) => *self.words.get_mut(k as usize)? = self.x,
            (ALU, _) => self.a = self.arithmetic(instruction)?,
            (JMP, _) => {
                if instruction.operation() == JA {
                    // Backward in libpcap's own programs alone: it wraps.
                    return Some(Ok((next as u32).wrapping_add(k) as usize));
                }
                let other = if instruction.code & X != 0 { self.x } else { k };
                let holds = match instruction.operation() {
                    JEQ => self.a == other,
                    JGT => self.a > other,
                    JGE => self.a >= other,
                    _ => self.a & other != 0,
                };
                let by = if holds { instruction.jt } else { instruction.jf };
                return Some(Ok(next + usize::from(by)));
            }
            (RET, _) => return Some(Err(if instruction.code & A != 0 { self.a } else { k })),
            (MISC, _) if instruction.code == MISC | TAX => self.x = self.a,
            _ => self.a = self.x,
        }
        Some(Ok(next))
    }

    fn arithmetic(&self, instruction: Instruction) -> Option<u32> {
        let (a, other) = (self.a, if instruction.code & X != 0 { self.x } else { instruction.k });
        Some(match instruction.operation() {
            ADD => a.wrapping_add(other),
            SUB => a.wrapping_sub(other),
            MUL => a.wrapping_mul(other),
            DIV => a.checked_div(other)?,
            MOD => a.checked_rem(other)?,
            OR => a | other,
            AND => a & other,
            XOR => a ^ other,
            LSH => a.checked_shl(other).unwrap_or(0),
            RSH => a.checked_shr(other).unwrap_or(0),
            NEG => a.wrapping_neg(),
            _ => return None,
        })
    }
}
