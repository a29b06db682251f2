//! The transmit rate scheduler.

use super::*;

/// RTTDQSEL, RTTBCNRM, RTTBCNRC.
const SELECT: u64 = 0x4904;
const WINDOW: u64 = 0x4980;
const RATE: u64 = 0x4984;

/// Frames of `queues` queues, each filled with as many as its ring takes, that arrive within
/// `picos`.
fn arrived(bench: &mut Bench, queues: &[usize], len: usize, picos: u64) -> usize {
    for &q in queues {
        for _ in 0..60 {
            bench.send(q, &frame(len));
        }
    }
    let mut frames = 0;
    for _ in 0..picos / 1_000_000 {
        bench.run(1_000_000);
        frames += std::iter::from_fn(|| bench.receive(0)).count();
    }
    frames
}

#[test]
fn a_queue_sends_at_its_rate_and_another_as_fast_as_it_can() {
    for (spec, byte) in [("82599,strict", 800), ("82599,strict,speed=1G", 8_000), ("x550,strict", 800)] {
        let mut bench = Bench::unlinked(spec);
        if spec.contains("speed") {
            // 1000BASE-SX, with negotiation (AUTOC.LMS 2).
            bench.write(0x42a0, 2 << 13 | 1 << 12);
        }
        bench.wait_for_link_at(if byte == 8_000 { 2 } else { 3 });
        bench.receive_on(1);
        bench.transmit_on(2);
        // A factor of 19.53125: 64 bytes with FCS begin 1250 byte times apart.
        bench.write(SELECT, 1);
        bench.write(WINDOW, 0);
        bench.write(RATE, 1 << 31 | 19 << 14 | 8_704);
        assert_eq!(bench.read(RATE), 1 << 31 | 19 << 14 | 8_704);
        bench.write(SELECT, 0);
        assert_eq!(bench.read(RATE), 0, "that of another queue");
        let seen = arrived(&mut bench, &[1], 60, 20 * 1250 * byte);
        // The first leaves with the first step, and takes the wire for a while.
        assert!((19..=20).contains(&seen), "{spec}: {seen}");
        // What the first queue has is gone before the second has sent twice.
        let both = arrived(&mut bench, &[0], 60, 60 * 84 * byte + 1_000_000);
        assert!((60..=65).contains(&both), "{spec}: {both}");
        bench.assert_clean();
    }
}

#[test]
fn a_rate_above_that_of_the_link_or_reserved_bits_are_noted_and_a_reset_forgets_the_rate() {
    for (value, words) in [(1 << 31 | 100, "transmit rate above that of the link"), (1 << 31 | 1 << 25, "RTTBCNRC")] {
        let bench = Bench::new("82599");
        bench.write(RATE, value);
        assert!(bench.violations().iter().any(|name| name.contains(words)), "{:?}", bench.violations());
    }
    let bench = Bench::new("82599,strict");
    bench.write(RATE, 1 << 31 | 2 << 14);
    bench.write(0x00000, 1 << 26);
    bench.run(10_000_000);
    assert_eq!(bench.read(RATE), 0);
}
