//! Classic BPF: instructions, and how they are printed.

pub use crate::sys::packet::Instruction;
use std::fmt;

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const MOST: usize = 4096;

/// Words of scratch memory (`BPF_MEMWORDS`).
pub const WORDS: usize = 16;

/// What a program returns for a frame that matches: as much as tcpdump keeps of it.
pub const ACCEPT: u32 = 262_144;

// Classes.
pub const LD: u16 = 0;
pub const LDX: u16 = 1;
pub const ST: u16 = 2;
pub const STX: u16 = 3;
pub const ALU: u16 = 4;
pub const JMP: u16 = 5;
pub const RET: u16 = 6;
pub const MISC: u16 = 7;

// Sizes and modes of loads.
pub const W: u16 = 0x00;
pub const H: u16 = 0x08;
pub const B: u16 = 0x10;
pub const IMM: u16 = 0x00;
pub const ABS: u16 = 0x20;
pub const IND: u16 = 0x40;
pub const MEM: u16 = 0x60;
pub const LEN: u16 = 0x80;
pub const MSH: u16 = 0xa0;

// Where the other operand comes from; and A for what is returned.
pub const K: u16 = 0x00;
pub const X: u16 = 0x08;
pub const A: u16 = 0x10;

// Arithmetic.
pub const ADD: u16 = 0x00;
pub const SUB: u16 = 0x10;
pub const MUL: u16 = 0x20;
pub const DIV: u16 = 0x30;
pub const OR: u16 = 0x40;
pub const AND: u16 = 0x50;
pub const LSH: u16 = 0x60;
pub const RSH: u16 = 0x70;
pub const NEG: u16 = 0x80;
pub const MOD: u16 = 0x90;
pub const XOR: u16 = 0xa0;

// Jumps.
pub const JA: u16 = 0x00;
pub const JEQ: u16 = 0x10;
pub const JGT: u16 = 0x20;
pub const JGE: u16 = 0x30;
pub const JSET: u16 = 0x40;

// Moves between registers.
pub const TAX: u16 = 0x00;
pub const TXA: u16 = 0x80;

/// Whether the kernel's programs want all that this one does: they shift by what is left of the
/// number in a register, where this one has 0.
pub fn is_kernels(program: &[Instruction]) -> bool {
    let shifts = |i: &Instruction| i.class() == ALU && matches!(i.operation(), LSH | RSH) && i.code & X != 0;
    !program.iter().any(shifts)
}

/// Bytes from a frame's start beyond which this program looks at none; none where it may look
/// anywhere.
pub fn reach(program: &[Instruction]) -> Option<u32> {
    // The register is the length of an IPv4 header, or a number.
    let x = program.iter().try_fold(0, |most, i| match (i.class(), i.mode()) {
        (LDX, MSH) => Some(most.max(60)),
        (LDX, IMM) => Some(most.max(i.k)),
        (LDX, _) => None,
        (MISC, _) if i.code & TXA == 0 => None,
        _ => Some(most),
    });
    let end = |i: &Instruction| {
        let bytes = match i.size() {
            B => 1,
            H => 2,
            _ => 4,
        };
        match (i.class(), i.mode()) {
            (LD, ABS) => i.k.checked_add(bytes),
            (LD, IND) => i.k.checked_add(bytes)?.checked_add(x?),
            (LDX, MSH) => i.k.checked_add(1),
            _ => Some(0),
        }
    };
    program.iter().try_fold(0, |most, i| Some(end(i)?.max(most)))
}

impl Instruction {
    /// One without jumps.
    pub const fn new(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }

    /// What sort it is of.
    pub const fn class(self) -> u16 {
        self.code & 0x07
    }

    /// Of a load.
    pub const fn size(self) -> u16 {
        self.code & 0x18
    }

    /// Of a load.
    pub const fn mode(self) -> u16 {
        self.code & 0xe0
    }

    /// Of arithmetic or a jump.
    pub const fn operation(self) -> u16 {
        self.code & 0xf0
    }
}

/// Mnemonic and operand, as `tcpdump -d` prints them.
impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let k = self.k;
        let operand = |x: bool, signed: String| if x { "x".to_owned() } else { format!("#{signed}") };
        let (name, operand) = match (self.class(), self.code) {
            (LD, _) if self.mode() == IMM => ("ld".into(), format!("#{k:#x}")),
            (LD, _) if self.mode() == LEN => ("ld".into(), "#pktlen".into()),
            (LD, _) if self.mode() == MEM => ("ld".into(), format!("M[{k}]")),
            (LD, _) => {
                let name = match self.size() {
                    B => "ldb",
                    H => "ldh",
                    _ => "ld",
                };
                (name.into(), if self.mode() == IND { format!("[x + {k}]") } else { format!("[{k}]") })
            }
            (LDX, _) if self.mode() == MSH => ("ldxb".into(), format!("4*([{k}]&0xf)")),
            (LDX, _) if self.mode() == MEM => ("ldx".into(), format!("M[{k}]")),
            (LDX, _) if self.mode() == LEN => ("ldx".into(), "#pktlen".into()),
            (LDX, _) => ("ldx".into(), format!("#{k:#x}")),
            (ST, _) => ("st".into(), format!("M[{k}]")),
            (STX, _) => ("stx".into(), format!("M[{k}]")),
            (ALU, _) => {
                let (name, hex) = match self.operation() {
                    ADD => ("add", false),
                    SUB => ("sub", false),
                    MUL => ("mul", false),
                    DIV => ("div", false),
                    MOD => ("mod", false),
                    LSH => ("lsh", false),
                    RSH => ("rsh", false),
                    OR => ("or", true),
                    AND => ("and", true),
                    XOR => ("xor", true),
                    _ => ("neg", false),
                };
                let number = if hex { format!("{k:#x}") } else { k.to_string() };
                let operand = if name == "neg" { String::new() } else { operand(self.code & X != 0, number) };
                (name.to_owned(), operand)
            }
            (JMP, _) => {
                let name = match self.operation() {
                    JA => "ja",
                    JEQ => "jeq",
                    JGT => "jgt",
                    JGE => "jge",
                    _ => "jset",
                };
                (name.into(), operand(self.code & X != 0, format!("{k:#x}")))
            }
            (RET, _) if self.code & 0x18 == A => ("ret".into(), String::new()),
            (RET, _) => ("ret".into(), format!("#{k}")),
            (_, code) => (if code & TXA == 0 { "tax".to_owned() } else { "txa".to_owned() }, String::new()),
        };
        write!(f, "{name:<8} {operand}")
    }
}

/// A whole program, one numbered line for each instruction, as `tcpdump -d` prints it.
pub fn listing(program: &[Instruction]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (n, instruction) in program.iter().enumerate() {
        let mut line = format!("({n:03}) ");
        if instruction.class() == JMP && instruction.operation() == JA {
            let _ = write!(line, "{:<8} {}", "ja", n + 1 + instruction.k as usize);
        } else if instruction.class() == JMP {
            let (yes, no) = (n + 1 + usize::from(instruction.jt), n + 1 + usize::from(instruction.jf));
            let _ = write!(line, "{:<25} jt {yes}\tjf {no}", instruction.to_string());
        } else {
            let _ = write!(line, "{instruction}");
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}
