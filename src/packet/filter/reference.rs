//! The plainest interpreter of classic BPF: what the fast one, and programs of
//! tcpdump's compiler, are measured against. It follows jumps backward, which libpcap
//! makes for `protochain`, for so many steps.

use super::code::Instruction;

const STEPS: usize = 20_000;

/// A program as `tcpdump -ddd` prints it.
#[cfg(test)]
pub fn read(text: &str) -> Vec<Instruction> {
    let instruction = |line: &str| {
        let numbers: Vec<u32> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        Instruction { code: numbers[0] as u16, jt: numbers[1] as u8, jf: numbers[2] as u8, k: numbers[3] }
    };
    text.lines().skip(1).map(instruction).collect()
}

/// What a program returns; `None` if it does not end.
pub fn run(program: &[Instruction], frame: &[u8]) -> Option<u32> {
    let (mut a, mut x, mut words, mut at) = (0_u32, 0_u32, [0_u32; 16], 0_usize);
    let load = |at: u64, size: usize| -> Option<u32> {
        let bytes = frame.get(usize::try_from(at).ok()?..)?.get(..size)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    };
    for _ in 0..STEPS {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let operand = if code & 8 != 0 { x } else { k };
        let size = match code & 0x18 {
            0 => 4,
            8 => 2,
            _ => 1,
        };
        match (code & 7, code & 0xf0) {
            (0, 0x00 | 0x10) => a = k,
            (0, 0x20 | 0x30) => match load(u64::from(k), size) {
                Some(number) => a = number,
                None => return Some(0),
            },
            (0, 0x40 | 0x50) => match load(u64::from(x) + u64::from(k), size) {
                Some(number) => a = number,
                None => return Some(0),
            },
            (0, 0x60) => a = words[k as usize],
            (0, 0x80) => a = frame.len() as u32,
            (1, 0x00) => x = k,
            (1, 0x60) => x = words[k as usize],
            (1, 0x80) => x = frame.len() as u32,
            (1, 0xa0 | 0xb0) => match load(u64::from(k), 1) {
                Some(number) => x = (number & 0xf) * 4,
                None => return Some(0),
            },
            (2, _) => words[k as usize] = a,
            (3, _) => words[k as usize] = x,
            (4, 0x00) => a = a.wrapping_add(operand),
            (4, 0x10) => a = a.wrapping_sub(operand),
            (4, 0x20) => a = a.wrapping_mul(operand),
            (4, 0x30) if operand == 0 => return Some(0),
            (4, 0x30) => a /= operand,
            (4, 0x40) => a |= operand,
            (4, 0x50) => a &= operand,
            (4, 0x60) => a = if operand < 32 { a << operand } else { 0 },
            (4, 0x70) => a = if operand < 32 { a >> operand } else { 0 },
            (4, 0x80) => a = a.wrapping_neg(),
            (4, 0x90) if operand == 0 => return Some(0),
            (4, 0x90) => a %= operand,
            (4, 0xa0) => a ^= operand,
            (5, 0x00) => at = at.wrapping_add_signed(k as i32 as isize),
            (5, jump) => {
                let holds = match jump {
                    0x10 => a == operand,
                    0x20 => a > operand,
                    0x30 => a >= operand,
                    _ => a & operand != 0,
                };
                at += usize::from(if holds { jt } else { jf });
            }
            (6, _) => return Some(if code & 0x18 == 0x10 { a } else { k }),
            (7, 0x00) => x = a,
            (7, 0x80) => a = x,
            _ => panic!("code {code:#x}"),
        }
    }
    None
}
