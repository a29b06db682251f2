//! A driver that does anything at all: nothing of it may bring the card down.

use super::*;
use crate::emu::wire::Random;

/// Opcodes of the data plane.
const OPCODES: [u32; 46] = [
    0x200, 0x201, 0x202, 0x203, 0x301, 0x302, 0x303, 0x400, 0x401, 0x402, 0x403, 0x771, 0x772, 0x773, 0x800, 0x801,
    0x802, 0x803, 0x816, 0x817, 0x900, 0x901, 0x903, 0x904, 0x905, 0x907, 0x908, 0x909, 0x90b, 0x912, 0x913, 0x914,
    0x915, 0x916, 0x917, 0x918, 0x919, 0x92f, 0x930, 0x931, 0x932, 0x933, 0x934, 0x936, 0x938, 0x93c,
];

/// A number that is small, or one of those that objects have, or anything.
fn number(random: &mut Random, set: &Set) -> u32 {
    let known = [set.sq.id, set.rq.id, set.tx_cq.id, set.rx_cq.id, set.eq.id, set.tir, set.table, set.group];
    match random.below(4) {
        0 => random.below(20) as u32,
        1 => known[random.below(known.len() as u64) as usize],
        2 => 1 << random.below(32),
        _ => random.number() as u32,
    }
}

#[test]
fn nothing_that_a_driver_does_brings_the_card_down() {
    for seed in 1..30 {
        let mut random = Random::new(seed);
        let mut bench = Bench::new(if seed % 2 == 0 { ",nasty" } else { "" });
        let mut set = bench.start();
        let mut other = bench.sq(set.tx_cq, set.tis, |request| request);
        for _ in 0..2000 {
            let value = number(&mut random, &set);
            match random.below(8) {
                0 => {
                    let opcode = OPCODES[random.below(OPCODES.len() as u64) as usize];
                    let mut request = Request::new(opcode, 16 + 16 * random.below(60) as usize);
                    for _ in 0..random.below(12) {
                        let at = 4 * random.below(request.0.len() as u64 / 4) as usize;
                        request = request.with(at.max(4), 31, 0, number(&mut random, &set));
                    }
                    let _ = bench.plane.command(&mut bench.board, &request.0);
                }
                1 => {
                    let places = [0x20, 0x24, 0x40, 0x48, 0x800, 0x804, 0x808, 0x900, 0xff8, random.below(4096) as u16];
                    let at = places[random.below(places.len() as u64) as usize];
                    let bytes = [value.to_be_bytes(), number(&mut random, &set).to_be_bytes()].concat();
                    bench.bell(at, &bytes[..[4, 8, 8, 2][random.below(4) as usize]]);
                }
                2 => {
                    let rings = [set.sq.at, set.rq.at, set.sq.record, set.rq.record, set.tx_cq.record];
                    let ring = rings[random.below(rings.len() as u64) as usize];
                    bench.put_words(ring + 4 * random.below(64) as usize, &[value]);
                }
                3 => {
                    // The other queue has its turn, too.
                    if random.below(3) == 0 {
                        std::mem::swap(&mut set.sq, &mut other);
                    }
                    let frame = frame(18 + random.below(1600) as usize);
                    let rest = bench.packet(&frame, 18, value >> 24 & 0xff, value & 0x7ff);
                    let mut words = Bench::entry_of(set.sq, [0x0a, 0x0e, 0x29, 0][random.below(4) as usize], 2, &rest);
                    if random.below(4) == 0 {
                        let at = random.below(words.len() as u64) as usize;
                        words[at] ^= 1 << random.below(32);
                    }
                    bench.push(&mut set.sq, &words);
                    bench.free = bench.free.min(24 << 20);
                }
                4 => bench.post(&mut set.rq, 1, 64 << random.below(6)),
                5 => {
                    bench.read(&mut set.tx_cq);
                    bench.read(&mut set.rx_cq);
                }
                6 => {
                    let opcode = if value & 1 == 0 { 0x905 } else { 0x909 };
                    let id = if opcode == 0x905 { set.sq.id } else { set.rq.id };
                    for (from, to) in [(3, 0), (1, 0), (0, 1)] {
                        let _ = bench.change(opcode, id, from, to);
                    }
                }
                _ => bench.run(MICROSECOND * random.below(20)),
            }
            bench.free = bench.free.min(24 << 20);
        }
        bench.run(MILLISECOND);
    }
}
