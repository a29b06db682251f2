//! For `scripts/fuzz`: the decoder of instructions.

use super::decode::{Cpu, Memory, decode, width};

/// Memory that every instruction may touch, as far as it says that it does.
struct Operand {
    width: u64,
    accesses: u32,
}

impl Operand {
    fn touch(&mut self, offset: u64, size: u8) {
        assert!(matches!(size, 1 | 2 | 4 | 8), "{size} bytes at once");
        assert!(offset + u64::from(size) <= self.width, "{size} bytes at {offset} of {}", self.width);
        self.accesses += 1;
    }
}

impl Memory for Operand {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.touch(offset, size);
        0x8899_aabb_ccdd_eeff
    }

    fn write(&mut self, offset: u64, size: u8, _value: u64) {
        self.touch(offset, size);
    }
}

/// Bytes as an instruction: if it is known it ends, moves on by its length, and touches its
/// operand and nothing else.
pub fn instruction(code: &[u8]) {
    let Ok(known) = decode(code) else { return };
    let mut cpu = Cpu { general: [0x0123_4567_89ab_cdef; 16], vector: [7; 16], flags: 2, rip: 0x1000 };
    let mut operand = Operand { width: width(code), accesses: 0 };
    known.run(&mut cpu, &mut operand);
    assert!((1..=15).contains(&known.len) && usize::from(known.len) <= code.len(), "{known:?}");
    assert_eq!(cpu.rip, 0x1000 + u64::from(known.len));
    assert!((1..=8).contains(&operand.accesses), "{known:?}");
}
