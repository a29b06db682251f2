//! The clock, statistics commands, and what else reads.

use super::*;

/// What PORT_TS_QUERY says the time is.
fn now(bench: &mut Bench) -> u64 {
    let answer = bench.must(TS_QUERY, &[(0x10, &[2])], 40);
    u64::from(u32_at(&answer, 8)) | u64::from(u32_at(&answer, 12)) << 32
}

#[test]
fn the_clock_can_be_read_set_moved_and_slowed() {
    let mut bench = Bench::registered("bcm57508,strict", 0);
    let (before, start) = (now(&mut bench), bench.engine.now());
    bench.run(1000 * MILLISECOND);
    let (after, end) = (now(&mut bench), bench.engine.now());
    assert!((after - before).abs_diff((end - start) / 1000) < 50_000);
    bench.must(0x19e, &[(0x10, &[0x40]), (0x28, &5_000_000_000_u64.to_le_bytes())], 48);
    assert!((5_000_000_000..5_001_000_000).contains(&now(&mut bench)));
    bench.must(MAC_CFG, &[(0x14, &[0, 4]), (0x30, &(-1_000_000_000_i64).to_le_bytes())], 56);
    assert!((4_000_000_000..4_001_000_000).contains(&now(&mut bench)));
    // By way of a window the same.
    bench.bar.write32(0x414, 0x640_1000);
    let (high, low) = (bench.bar.read32(0x6810), bench.bar.read32(0x680c));
    assert!(now(&mut bench) - (u64::from(high) << 32 | u64::from(low)) < 1_000_000);
    bench.must(MAC_CFG, &[(0x14, &[0, 2]), (0x28, &(-500_000_000_i32).to_le_bytes())], 56);
    let before = now(&mut bench);
    bench.run(1000 * MILLISECOND);
    assert!((450_000_000..550_000_000).contains(&(now(&mut bench) - before)), "half as fast");
    bench.assert_clean();
}

#[test]
fn registers_of_the_clock_are_told() {
    let answer = Bench::bare("bcm57508").must(0x29, &[], 24);
    assert_eq!((answer[8], u32_at(&answer, 0x48), u32_at(&answer, 0x4c)), (0x18, 0x640_180c, 0x640_1810));
}

#[test]
fn a_stamp_that_has_not_come_is_to_be_asked_for_again() {
    let mut bench = Bench::registered("bcm57508", 0);
    assert_eq!(bench.command(TS_QUERY, &[(0x18, &[7]), (0x1c, &[9])], 40), Err(BUSY));
}

#[test]
fn some_have_no_clock() {
    for (spec, error) in [("bcm57414", UNKNOWN), ("bcm57508,fault=ptp-taken", DENIED)] {
        let mut bench = Bench::registered(spec, 0);
        assert_eq!(bench.command(0x29, &[], 24), Err(error));
        assert_eq!(bench.command(TS_QUERY, &[(0x10, &[2])], 40), Err(error));
        assert_eq!(bench.command(MAC_CFG, &[(0x10, &[0x10])], 56), Err(DENIED));
    }
}

#[test]
fn counters_start_at_zero_and_say_how_wide_they_are() {
    let mut bench = Bench::registered("bcm57508", 0);
    let stat = bench.must(STAT_ALLOC, &[], 32)[8..12].to_vec();
    assert!(bench.must(0xb2, &[(0x10, &stat)], 24)[8..175].iter().all(|byte| *byte == 0));
    let widths = bench.must(0xb2, &[(0x10, &stat), (0x14, &[1])], 24);
    assert_eq!(&widths[8..16], &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0], "as wide as they wrap");
    assert_eq!(bench.must(0x18, &[(0x10, &[0xff; 2])], 24).len(), 176);
    bench.must(0xb3, &[(0x10, &stat)], 24);
    bench.must(0xb1, &[(0x10, &stat)], 24);
    assert_eq!(bench.command(0xb2, &[(0x10, &stat)], 24), Err(INVALID));
    bench.must(0x25, &[], 24);
    bench.assert_clean();
    // To nowhere.
    assert_eq!(bench.command(0x23, &[], 40), Err(INVALID));
    assert!(!bench.violations().is_empty());
}

#[test]
fn tests_of_the_card_and_sensors_are_there() {
    let mut bench = Bench::registered("bcm57414,strict", 0);
    let tests = bench.must(0x200, &[], 16);
    assert_eq!((tests.len(), tests[8]), (280, 0), "none of its own");
    assert_eq!(bench.must(0x201, &[(0x10, &[3])], 24)[9], 3);
    assert_eq!(bench.must(0xe0, &[], 16)[8], 45);
    assert_eq!(bench.must(0x2f, &[], 24)[8], 2);
    assert_eq!(u32_at(&bench.must(0xfff6, &[], 16), 0x0c), 4096);
    let to = bench.pages(1);
    bench.put(to, &[0xff; 8]);
    bench.must(0xfff1, &[(0x10, &bench.arena.iova(to).to_le_bytes()), (0x18, &[32])], 40);
    assert_eq!(bench.bytes(to, 8), hex("00000000ffffffff"));
    bench.assert_clean();
}
