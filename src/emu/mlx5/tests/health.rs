//! Health: the buffer, the counter, the ends that firmware can take.

use super::*;

/// The counter, and the syndrome in front of it.
fn counter(bench: &Bench) -> (u32, u32) {
    let word = bench.read(0x1010);
    (word >> 24, word & 0xff_ffff)
}

/// The syndrome as the buffer has it, read byte by byte.
fn syndrome(bench: &Bench) -> (u8, u8) {
    let byte = |at: u64| (bench.read(at & !3) >> (8 * (3 - at % 4))) as u8;
    (byte(0x238) >> 7, byte(0x23d))
}

#[test]
fn firmware_that_lives_has_a_counter_that_moves() {
    let bench = Bench::running("cx5,strict");
    let before = counter(&bench);
    bench.run(2 * SECOND);
    let after = counter(&bench);
    assert_eq!((before.0, after.0, syndrome(&bench)), (0, 0, (0, 0)));
    assert!(after.1 - before.1 > 100);
    assert_ne!(bench.read(0x230), !0);
    let ticks = || u64::from(bench.read(0x1000)) << 32 | u64::from(bench.read(0x1004));
    let before = ticks();
    bench.run(SECOND);
    assert!((78_125_000..78_200_000).contains(&(ticks() - before)));
    bench.assert_clean();
}

#[test]
fn a_counter_may_stand_while_commands_are_answered() {
    let bench = Bench::running("cx5,fault=health-frozen");
    bench.run(SECOND);
    let before = counter(&bench);
    bench.run(5 * SECOND);
    assert_eq!(counter(&bench), before);
    bench.must(ALLOC_PD, 0, &[], 0x10, 0x10);
}

#[test]
fn firmware_that_crashed_says_so_and_answers_nothing() {
    let bench = Bench::ready("cx5,fault=crash:2");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    bench.start(0, &request(QUERY_ISSI, 0, &[], 0x10), 0x70);
    assert!(bench.wait(0, SECOND).is_none());
    assert_eq!((counter(&bench).0, syndrome(&bench)), (1, (1, 1)));
    let before = counter(&bench);
    bench.run(5 * SECOND);
    assert_eq!(counter(&bench), before);
    bench.function.reset().unwrap();
    bench.function.set_bus_master(true).unwrap();
    assert_eq!(syndrome(&bench), (0, 0));
}

#[test]
fn an_interface_that_is_disabled_revives_no_firmware_but_a_reset_of_the_chip_does() {
    for (interface, revives) in [(1, false), (7, true)] {
        let bench = Bench::ready("cx4lx,fault=crash:2");
        bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
        bench.start(0, &request(QUERY_ISSI, 0, &[], 0x10), 0x70);
        assert!(bench.wait(0, SECOND).is_none());
        bench.write(0x14, interface << 8);
        bench.run(2 * SECOND);
        bench.place_queue();
        assert_eq!(bench.read(0x1fc) >> 31, 0);
        bench.start(0, &request(ENABLE_HCA, 0, &[], 0x10), 0xc);
        assert_eq!(bench.wait(0, SECOND).is_some(), revives, "{interface}");
        assert_eq!(counter(&bench).0, u32::from(!revives));
    }
}

#[test]
fn a_card_that_is_not_its_drivers_writes_to_no_memory() {
    for interface in [1, 7] {
        let bench = Bench::running("cx5");
        bench.write(0x14, interface << 8);
        pages::clear(&bench);
        bench.run(SECOND);
        assert_eq!(pages::written(&bench), 0, "{interface}");
    }
}

#[test]
fn a_card_that_is_gone_reads_as_ones() {
    let bench = Bench::running("cx5,fault=gone");
    bench.event_queue(1 << 9);
    bench.run(400 * MILLISECOND);
    while bench.event().is_some() {}
    bench.run(SECOND);
    assert_eq!(bench.event(), None, "of the link neither");
    pages::clear(&bench);
    bench.run(SECOND);
    assert_eq!(pages::written(&bench), 0);
    assert_eq!((bench.read(0x230), bench.read(0x1fc), bench.read(0x14)), (!0, !0, !0));
    bench.start(0, &request(ALLOC_PD, 0, &[], 0x10), 0x10);
    assert!(bench.wait(0, SECOND).is_none());
    let bench = Bench::ready("cx5,fault=gone:2");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    bench.start(0, &request(QUERY_ISSI, 0, &[], 0x10), 0x70);
    assert!(bench.wait(0, SECOND).is_none());
    assert_eq!(bench.read(0x230), !0);
}

#[test]
fn a_card_that_another_function_resets_is_gone_for_a_while_and_starts_over() {
    let bench = Bench::running("cx5,fault=reset-by-peer");
    bench.event_queue(1 << 0x22);
    let announced = || bench.event().map(|(kind, subtype, data)| (kind, subtype, data[3]));
    bench.run(600 * MILLISECOND);
    assert_eq!((announced(), announced()), (Some((0x22, 8, 0)), None), "asked for");
    bench.run(600 * MILLISECOND);
    assert_eq!((announced(), announced()), (Some((0x22, 8, 1)), None), "now, and of the link nothing");
    assert_eq!(bench.read(0x230), !0);
    bench.run(700 * MILLISECOND);
    assert_eq!(bench.read(0x1fc) >> 31, 1);
    bench.run(SECOND);
    assert_eq!(bench.read(0x1fc), 0);
    let before = counter(&bench);
    bench.run(SECOND);
    assert!(counter(&bench).1 > before.1);
    bench.place_queue();
    bench.boot();
    bench.init();
    bench.run(5 * SECOND);
    bench.must(ALLOC_PD, 0, &[], 0x10, 0x10);
}

#[test]
fn the_health_buffer_says_that_a_queue_of_events_ran_over() {
    let bench = Bench::running("cx5");
    bench.event_queue_with(1 << 0x0a, 0);
    for n in 1..=65 {
        assert_eq!((syndrome(&bench), counter(&bench).0), ((0, 0), 0), "after {n} commands");
        bench.must(0x80d, 0, &[], 0x10, 0x10);
    }
    bench.run(MILLISECOND);
    assert_eq!((syndrome(&bench), counter(&bench).0), ((1, 0x0c), 0x0c));
    bench.start(0, &request(0x80d, 0, &[], 0x10), 0x10);
    assert!(bench.wait(0, SECOND).is_none());
}
