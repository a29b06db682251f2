//! From a graph of decisions to instructions.
//!
//! Each node becomes the loads of what it compares and a jump. What a register holds
//! on all ways to a node is not loaded again.

use super::code::{
    ABS, ACCEPT, ADD, ALU, AND, B, DIV, H, IMM, IND, Instruction, JA, JEQ, JGE, JGT, JMP, JSET, K, LD, LDX, LEN, LSH,
    MEM, MISC, MOD, MOST, MSH, MUL, NEG, OR, RET, RSH, ST, SUB, TAX, W, WORDS, X, XOR,
};
use super::expression::{Operator, Relation, Slot, Value};
use super::graph::{Graph, Id, Node};
use crate::error::{Error, Kind, Result};

/// The instructions of a graph.
///
/// # Errors
/// [`Kind::Usage`]: more than [`MOST`] of them, or more numbers at once than scratch
/// memory has words.
pub fn program(graph: &Graph) -> Result<Vec<Instruction>> {
    let mut emitter = Emitter {
        code: Vec::new(),
        held: Held::default(),
        entry: vec![None; graph.nodes.len()],
        start: vec![None; graph.nodes.len()],
        jumps: Vec::new(),
        spare: spare(graph),
    };
    emitter.remember_nothing(graph);
    emitter.entry[graph.root] = Some(emitter.held.clone());
    for id in (0..graph.nodes.len()).rev() {
        let Some(held) = emitter.entry[id].clone() else { continue };
        emitter.held = held;
        emitter.start[id] = Some(emitter.code.len());
        emitter.node(id, &graph.nodes[id])?;
    }
    let code = emitter.link()?;
    if code.len() > MOST {
        let line = format!("a filter of {} instructions is too long; {MOST} are the limit, split it up", code.len());
        return Err(Error::new(Kind::Usage, line));
    }
    Ok(code)
}

/// What registers hold, where it is known.
#[derive(Clone, Debug, Default)]
struct Held {
    a: Option<Value>,
    x: Option<Value>,
}

/// A jump whose targets are not placed yet.
struct Jump {
    /// Its instruction.
    at: usize,
    yes: Id,
    no: Id,
}

struct Emitter {
    code: Vec<Instruction>,
    held: Held,
    /// What registers hold on all ways to each node that is reached.
    entry: Vec<Option<Held>>,
    /// Where each node's instructions begin.
    start: Vec<Option<usize>>,
    jumps: Vec<Jump>,
    /// The first word of scratch memory for intermediate numbers.
    spare: usize,
}

/// The first word of scratch memory that no node remembers in.
fn spare(graph: &Graph) -> usize {
    let slots = graph.nodes.iter().filter_map(|node| match node {
        Node::Set { slot, .. } => Some(usize::from(*slot) + 1),
        _ => None,
    });
    slots.max().unwrap_or(0)
}

impl Emitter {
    /// Words that may be read before anything was remembered in them are zero: "geneve
    /// or udp" reads them for frames that are not of Geneve.
    fn remember_nothing(&mut self, graph: &Graph) {
        let mut unset: Vec<Option<u16>> = vec![None; graph.nodes.len()];
        unset[graph.root] = Some(u16::MAX);
        let mut read = 0;
        for id in (0..graph.nodes.len()).rev() {
            let Some(open) = unset[id] else { continue };
            let mut reach = |id: Id, open: u16| unset[id] = Some(unset[id].unwrap_or(0) | open);
            match &graph.nodes[id] {
                Node::Reject | Node::Accept => {}
                Node::Branch { left, right, yes, no, .. } => {
                    read |= open & (slots(left) | slots(right));
                    reach(*yes, open);
                    reach(*no, open);
                }
                Node::Set { slot, value, next } => {
                    read |= open & slots(value);
                    reach(*next, open & !(1 << slot));
                }
            }
        }
        for slot in (0..WORDS as u32).filter(|slot| read & 1 << slot != 0) {
            if self.code.is_empty() {
                self.push(LD | IMM, 0);
            }
            self.push(ST, slot);
        }
    }

    fn push(&mut self, code: u16, k: u32) {
        self.code.push(Instruction::new(code, k));
    }

    fn node(&mut self, id: Id, node: &Node) -> Result<()> {
        match node {
            Node::Reject => self.push(RET | K, 0),
            Node::Accept => self.push(RET | K, ACCEPT),
            Node::Set { slot, value, next } => {
                self.load_a(value, self.spare)?;
                self.push(ST, u32::from(*slot));
                self.forget(*slot);
                self.reach(*next);
                if self.entry[next + 1..id].iter().any(Option::is_some) {
                    // Another node's instructions come between.
                    let at = self.code.len();
                    self.push(JMP | JA, 0);
                    self.jumps.push(Jump { at, yes: *next, no: *next });
                }
            }
            Node::Branch { left, relation, right, yes, no } => {
                let mut ends = (*yes, *no);
                let (code, k) = match (left, relation, right) {
                    // Some bits are set or not: what was loaded stays as it was.
                    (Value::Binary(value, Operator::And, mask), Relation::Equal, Value::Number(0))
                        if matches!(**mask, Value::Number(_)) && self.held.a.as_ref() != Some(left) =>
                    {
                        self.load_a(value, self.spare)?;
                        ends = (*no, *yes);
                        (JSET | K, number(mask).unwrap_or(0))
                    }
                    (_, relation, Value::Number(number)) => {
                        self.load_a(left, self.spare)?;
                        (jump(*relation) | K, *number)
                    }
                    (_, relation, right) => {
                        self.load_both(left, right, self.spare)?;
                        (jump(*relation) | X, 0)
                    }
                };
                let at = self.code.len();
                self.push(JMP | code, k);
                self.reach(ends.0);
                self.reach(ends.1);
                self.jumps.push(Jump { at, yes: ends.0, no: ends.1 });
            }
        }
        Ok(())
    }

    /// Notes what registers hold on a way to a node.
    fn reach(&mut self, id: Id) {
        let held = self.held.clone();
        let entry = &mut self.entry[id];
        *entry = Some(match entry.take() {
            None => held,
            Some(known) => {
                let both =
                    |known: Option<Value>, held: Option<Value>| known.filter(|known| Some(known) == held.as_ref());
                Held { a: both(known.a, held.a), x: both(known.x, held.x) }
            }
        });
    }

    /// A word of scratch memory changed.
    fn forget(&mut self, slot: Slot) {
        let stale = |value: &Option<Value>| value.as_ref().is_some_and(|value| slots(value) & 1 << slot != 0);
        if stale(&self.held.a) {
            self.held.a = None;
        }
        if stale(&self.held.x) {
            self.held.x = None;
        }
    }

    /// Brings a value into A, with scratch memory from `spare` on.
    fn load_a(&mut self, value: &Value, spare: usize) -> Result<()> {
        if self.held.a.as_ref() == Some(value) {
            return Ok(());
        }
        match value {
            Value::Number(number) => self.push(LD | IMM, *number),
            Value::Length => self.push(LD | LEN, 0),
            Value::Slot(slot) => self.push(LD | MEM, u32::from(*slot)),
            Value::Load(None, k, size) => self.push(LD | ABS | width(*size), *k),
            Value::Load(Some(at), k, size) => {
                self.load_x(at, spare)?;
                self.push(LD | IND | width(*size), *k);
            }
            Value::Binary(left, Operator::Subtract, right) if **left == Value::Number(0) => {
                self.load_a(right, spare)?;
                self.push(ALU | NEG, 0);
            }
            Value::Binary(left, operator, right) => match constant(*operator, right) {
                Some(number) => {
                    self.load_a(left, spare)?;
                    self.push(ALU | arithmetic(*operator) | K, number);
                }
                None => {
                    self.load_both(left, right, spare)?;
                    self.push(ALU | arithmetic(*operator) | X, 0);
                }
            },
        }
        self.held.a = Some(value.clone());
        Ok(())
    }

    /// Brings a value into X.
    fn load_x(&mut self, value: &Value, spare: usize) -> Result<()> {
        if self.held.x.as_ref() == Some(value) {
            return Ok(());
        }
        match direct(value) {
            Some((code, k)) => self.push(code, k),
            None => {
                self.load_a(value, spare)?;
                self.push(MISC | TAX, 0);
            }
        }
        self.held.x = Some(value.clone());
        Ok(())
    }

    /// Brings one value into A and another into X.
    fn load_both(&mut self, left: &Value, right: &Value, spare: usize) -> Result<()> {
        if direct(right).is_some() || self.held.x.as_ref() == Some(right) && leaves_x(left) {
            self.load_a(left, spare)?;
            return self.load_x(right, spare);
        }
        if leaves_x(left) {
            self.load_x(right, spare)?;
            return self.load_a(left, spare);
        }
        if spare >= WORDS {
            let line = format!("the filter works with more than {WORDS} numbers at once; split its arithmetic up");
            return Err(Error::new(Kind::Usage, line));
        }
        // The one that needs more words for itself comes first, and waits in one.
        if needs(right) >= needs(left) {
            self.load_a(right, spare)?;
            self.push(ST, spare as u32);
            self.load_a(left, spare + 1)?;
            self.push(LDX | MEM, spare as u32);
            self.held.x = Some(right.clone());
        } else {
            self.load_a(left, spare)?;
            self.push(ST, spare as u32);
            self.load_x(right, spare + 1)?;
            self.push(LD | MEM, spare as u32);
            self.held.a = Some(left.clone());
        }
        Ok(())
    }

    /// Puts targets into jumps, and jumps of their own where they are too far off.
    fn link(mut self) -> Result<Vec<Instruction>> {
        // Longer jumps move others apart: until nothing changes.
        let mut long = vec![(false, false); self.jumps.len()];
        loop {
            // How much longer the code before each instruction has become.
            let mut moved = vec![0_usize; self.code.len() + 1];
            let mut more = 0;
            let mut next = self.jumps.iter().zip(&long).peekable();
            for (at, moved) in moved.iter_mut().enumerate() {
                *moved = more;
                if let Some((_, (yes, no))) = next.next_if(|(jump, _)| jump.at == at) {
                    more += usize::from(*yes) + usize::from(*no);
                }
            }
            let place = |id: Id| self.start[id].map_or(0, |start| start + moved[start]);
            let mut changed = false;
            for (jump, long) in self.jumps.iter().zip(&mut long) {
                if self.code[jump.at].code == JMP | JA {
                    continue;
                }
                let after = jump.at + moved[jump.at] + 1;
                for (id, long) in [(jump.yes, &mut long.0), (jump.no, &mut long.1)] {
                    if !*long && place(id) - after > 255 {
                        (*long, changed) = (true, true);
                    }
                }
            }
            if changed {
                continue;
            }
            let mut code = Vec::with_capacity(self.code.len() + more);
            let mut jumps = self.jumps.iter().zip(&long).peekable();
            for (at, instruction) in self.code.iter().enumerate() {
                let mut instruction = *instruction;
                let Some((jump, (far_yes, far_no))) = jumps.next_if(|(jump, _)| jump.at == at) else {
                    code.push(instruction);
                    continue;
                };
                let after = code.len() + 1;
                if instruction.code == JMP | JA {
                    instruction.k = (place(jump.yes) - after) as u32;
                    code.push(instruction);
                    continue;
                }
                let far = [(jump.yes, *far_yes), (jump.no, *far_no)];
                let mut extra = Vec::new();
                let mut near = [0; 2];
                for ((id, far), near) in far.into_iter().zip(&mut near) {
                    *near = if far {
                        extra.push(Instruction::new(JMP | JA, (place(id) - after - extra.len() - 1) as u32));
                        extra.len() as u8 - 1
                    } else {
                        (place(id) - after) as u8
                    };
                }
                [instruction.jt, instruction.jf] = near;
                code.push(instruction);
                code.extend(extra);
            }
            self.code = code;
            return Ok(self.code);
        }
    }
}

/// Words of scratch memory that a value reads, a bit for each.
fn slots(value: &Value) -> u16 {
    match value {
        Value::Number(_) | Value::Length | Value::Load(None, ..) => 0,
        Value::Slot(slot) => 1 << slot,
        Value::Load(Some(at), ..) => slots(at),
        Value::Binary(left, _, right) => slots(left) | slots(right),
    }
}

/// The one instruction that brings a value into X and leaves A.
fn direct(value: &Value) -> Option<(u16, u32)> {
    match value {
        Value::Number(number) => Some((LDX | IMM, *number)),
        Value::Length => Some((LDX | LEN, 0)),
        Value::Slot(slot) => Some((LDX | MEM, u32::from(*slot))),
        // The length of an IPv4 header has an instruction of its own.
        Value::Binary(nibble, Operator::Multiply, four) if **four == Value::Number(4) => match &**nibble {
            Value::Binary(byte, Operator::And, mask) if **mask == Value::Number(0xf) => match **byte {
                Value::Load(None, k, 1) => Some((LDX | MSH | B, k)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Words of scratch memory that it takes to work a value out.
fn needs(value: &Value) -> usize {
    match value {
        Value::Load(Some(at), ..) => needs(at),
        Value::Binary(left, operator, right) if constant(*operator, right).is_some() || direct(right).is_some() => {
            needs(left)
        }
        Value::Binary(left, _, right) if leaves_x(left) => needs(right),
        Value::Binary(left, _, right) => match (needs(left), needs(right)) {
            (left, right) if left == right => left + 1,
            (left, right) => left.max(right),
        },
        _ => 0,
    }
}

/// Whether a value comes into A without X.
fn leaves_x(value: &Value) -> bool {
    match value {
        Value::Number(_) | Value::Length | Value::Slot(_) | Value::Load(None, ..) => true,
        Value::Load(Some(_), ..) => false,
        Value::Binary(left, operator, right) => leaves_x(left) && constant(*operator, right).is_some(),
    }
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// A right operand that stands in the instruction; no division by zero and no shift
/// by more than a number's bits does.
fn constant(operator: Operator, right: &Value) -> Option<u32> {
    let number = number(right)?;
    match operator {
        Operator::Divide | Operator::Remainder if number == 0 => None,
        Operator::ShiftLeft | Operator::ShiftRight if number > 31 => None,
        _ => Some(number),
    }
}

fn width(size: u8) -> u16 {
    match size {
        1 => B,
        2 => H,
        _ => W,
    }
}

fn jump(relation: Relation) -> u16 {
    match relation {
        Relation::Equal => JEQ,
        Relation::Greater => JGT,
        Relation::GreaterOrEqual => JGE,
    }
}

fn arithmetic(operator: Operator) -> u16 {
    match operator {
        Operator::Add => ADD,
        Operator::Subtract => SUB,
        Operator::Multiply => MUL,
        Operator::Divide => DIV,
        Operator::Remainder => MOD,
        Operator::And => AND,
        Operator::Or => OR,
        Operator::Xor => XOR,
        Operator::ShiftLeft => LSH,
        Operator::ShiftRight => RSH,
    }
}
