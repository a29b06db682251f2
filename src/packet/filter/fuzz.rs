//! For `scripts/fuzz`: programs of a filter against the plainest interpreter.

use super::code::Instruction;
use super::reference;
use super::run::{Parts, Program, Whole};

/// A length, so many instructions of eight bytes, and a frame: what the verifier lets through
/// ends, and returns the same from a frame in one piece, in several, and by another interpreter.
pub fn program(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let (code, frame) = rest.split_at(rest.len().min(8 * usize::from(count & 63)));
    let instruction = |bytes: &[u8]| Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    let code: Vec<Instruction> = code.chunks_exact(8).map(instruction).collect();
    let Ok(program) = Program::new(code.clone()) else { return };
    let returned = program.run(&Whole(frame), frame.len() as u32);
    let parts: Vec<&[u8]> = frame.chunks(13).collect();
    assert_eq!(returned, program.run(&Parts(&parts), frame.len() as u32));
    assert_eq!(Some(returned), reference::run(&code, frame));
}
