//! Starting, dying, starting over; what of that registers show.

use super::*;

const HEALTHY: u32 = 0x8000;

#[test]
fn firmware_is_not_ready_at_once_after_a_reset() {
    for nasty in ["", ",nasty,seed=1", ",nasty,seed=2"] {
        let mut bench = Bench::bare(&format!("bcm57414{nasty}"));
        bench.function.reset().unwrap();
        bench.function.set_bus_master(true).unwrap();
        let mut waited = 0;
        while bench.must(VER_GET, &[], 24)[0x7c] & 1 == 1 {
            bench.run(5 * MILLISECOND);
            waited += 1;
        }
        assert!((1..400).contains(&waited), "{waited}");
        bench.assert_clean();
    }
}

#[test]
fn commands_wait_for_firmware_that_is_starting() {
    let mut bench = Bench::cold("bcm57414");
    let request = bench.request(FUNC_RESET, &[], 24);
    bench.start(&request);
    assert_eq!(bench.wait(bench.seq, 5 * MILLISECOND), None);
    assert!(bench.wait(bench.seq, 50 * MILLISECOND).is_some());
    bench.assert_clean();
}

#[test]
fn old_firmware_is_never_ready_and_works() {
    let mut bench = Bench::bare("bcm57414,fault=not-ready");
    bench.run(10_000 * MILLISECOND);
    assert_eq!(bench.must(VER_GET, &[], 24)[0x7c], 1);
    bench.must(FUNC_RESET, &[], 24);
}

#[test]
fn the_status_word_tells_how_it_starts() {
    let bench = Bench::cold("bcm57508");
    let mut seen = Vec::new();
    for _ in 0..25 {
        seen.push(bench.bar.read32(0x520));
        bench.run(MILLISECOND);
    }
    seen.dedup();
    assert_eq!(seen, [0, 0x3f00, HEALTHY]);
    assert_eq!(Bench::bare("bcm57414").bar.read32(0x520), 0, "the older cards have none there");
}

#[test]
fn windows_show_the_chips_bus_until_a_reset_forgets_where_they_point() {
    let bench = Bench::bare("bcm57414");
    let window = |at: u32| {
        bench.bar.write32(0x408, at & !0xfff);
        bench.bar.read32(0x3000 + u64::from(at & 0xfff))
    };
    assert_eq!(window(0x310_01f0) >> 8, 0x48_4353);
    assert_eq!(window(0x310_01f4), 0x310_0201, "where the status word is, on the chip's bus");
    assert_eq!((window(0x310_0200), window(0x26_0048), window(0x1234_5000)), (HEALTHY, 0x16d7, 0));
    let beats = window(0x310_0204);
    bench.run(1000 * MILLISECOND);
    assert!((9..=11).contains(&(window(0x310_0204) - beats)));
    bench.function.reset().unwrap();
    assert_eq!((bench.bar.read32(0x408), bench.bar.read32(0x3200)), (0, 0));
    bench.assert_clean();
}

#[test]
fn firmware_that_crashes_shows_it_and_hears_nothing() {
    let mut bench = Bench::bare("bcm57508,fault=crash:3");
    bench.must(VER_GET, &[], 24);
    let places = bench.command(0x0c, &[], 24).unwrap();
    assert_eq!((u32_at(&places, 0x20), u32_at(&places, 0x24)), (0x522, 0x310_0205));
    let request = bench.request(FUNC_RESET, &[], 24);
    assert_eq!(bench.send(&request), None);
    assert_eq!(bench.bar.read32(0x520), 0x44_8100);
    bench.bar.write32(0x408, 0x310_0000);
    let beats = bench.bar.read32(0x3204);
    bench.run(1000 * MILLISECOND);
    assert_eq!(bench.bar.read32(0x3204), beats, "its heart has stopped");
    // A driver that may do so starts it over.
    bench.bar.write32(0x3210, 1);
    bench.run(1000 * MILLISECOND);
    bench.must(VER_GET, &[], 24);
    assert_eq!((bench.bar.read32(0x520), bench.bar.read32(0x408)), (HEALTHY, 0));
    bench.assert_clean();
}

/// A card whose events go to a completion queue: where that is.
fn events(bench: &mut Bench) -> usize {
    let at = bench.pages(1);
    let address = bench.arena.iova(at).to_le_bytes();
    let cq = bench.must(RING_ALLOC, &[(0x18, &address), (0x28, &[64]), (0x4c, &[3])], 88);
    bench.must(FUNC_CFG, &[(0x10, &[0xff; 2]), (0x18, &[0, 0x40]), (0x50, &cq[8..10])], 88);
    at
}

#[test]
fn firmware_that_starts_over_announces_it_and_says_once_that_all_is_lost() {
    let mut bench = Bench::registered("bcm57414,fault=hot-reset,strict", 1 << 8);
    assert_eq!(u32_at(&bench.must(FUNC_QCAPS, &[(0x10, &[0xff; 2])], 24), 0xc) & 0xc0_0000, 0xc0_0000);
    let at = events(&mut bench);
    bench.run(300 * MILLISECOND);
    let entry = bench.bytes(at, 16);
    assert_eq!((u16_at(&entry, 2), u32_at(&entry, 12)), (8, 0x302), "RESET_NOTIFY: be down, not fatal");
    bench.must(IF_CHANGE, &[], 24);
    bench.run(600 * MILLISECOND);
    let request = bench.request(VER_GET, &[], 24);
    bench.start(&request);
    assert_eq!(bench.wait(bench.seq, 100 * MILLISECOND), None, "deaf while it starts");
    bench.run(1000 * MILLISECOND);
    bench.must(VER_GET, &[], 24);
    bench.must(RGTR, &[(0x14, &[0x10]), (0x48, &[0, 1])], 112);
    for lost in [2, 0] {
        assert_eq!(u32_at(&bench.must(IF_CHANGE, &[(0x10, &[1])], 24), 8), lost);
    }
    bench.run(5000 * MILLISECOND);
    bench.must(VER_GET, &[], 24);
    bench.assert_clean();
}

#[test]
fn an_echo_that_does_not_come_is_the_end() {
    for answered in [true, false] {
        let mut bench = Bench::bare("bcm57414,fault=echo");
        bench.must(VER_GET, &[], 24);
        bench.must(RGTR, &[(0x14, &[0x10]), (0x50, &[4])], 112);
        let at = events(&mut bench);
        bench.run(300 * MILLISECOND);
        let entry = bench.bytes(at, 16);
        assert_eq!(u16_at(&entry, 2), 0x42);
        if answered {
            bench.must(0x0b, &[(0x10, &entry[12..16]), (0x14, &entry[4..8])], 24);
        }
        bench.run(2000 * MILLISECOND);
        let request = bench.request(VER_GET, &[], 24);
        assert_eq!(bench.send(&request).is_some(), answered);
    }
}
