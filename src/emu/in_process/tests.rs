use super::*;
use crate::error::Kind;
use std::time::Instant;

const LINKS: u64 = 0x42a4;
const LINK_UP: u32 = 1 << 30;

fn open(engine: &Engine, spec: &str) -> (Arc<dyn Function>, Tap) {
    engine.open(&spec.parse().unwrap()).unwrap()
}

#[test]
fn a_link_comes_up_in_real_time_without_anybody_stepping() {
    let start = Instant::now();
    let engine = Engine::new(Drive::Thread);
    let (function, tap) = open(&engine, "82599,strict,link=2ms");
    let bar = function.bar(0).unwrap();
    while bar.read32(LINKS) & LINK_UP == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "no link");
    }
    assert!(start.elapsed() >= Duration::from_millis(2));
    assert_eq!(tap.violations(), []);
}

#[test]
fn virtual_time_stands_still_unless_it_is_moved() {
    let engine = Engine::new(Drive::Manual);
    let (function, _tap) = open(&engine, "82599");
    let before = engine.now();
    engine.step();
    assert_eq!(engine.now(), before);
    engine.advance(7);
    assert_eq!(engine.now(), before + 7);
    function.bar(0).unwrap().read32(8);
    assert_eq!(engine.now(), before + 7 + ACCESS);
}

#[test]
fn time_passes_for_a_driver_that_waits() {
    for (drive, wait) in [(Drive::Manual, Duration::from_secs(100)), (Drive::Thread, Duration::from_millis(3))] {
        let engine = Engine::new(drive);
        let (function, _tap) = open(&engine, "82599,link=2ms");
        let before = engine.now();
        function.wait(wait);
        assert!(engine.now() - before >= wait.as_nanos() as u64 * 1000, "{drive:?}");
        // The first read tells of the loss at reset.
        function.bar(0).unwrap().read32(LINKS);
        assert_ne!(function.bar(0).unwrap().read32(LINKS) & LINK_UP, 0);
    }
}

#[test]
fn stores_are_combined_in_prefetchable_bars_only() {
    const BAR0: u16 = 0x10;
    const PREFETCHABLE: u32 = 1 << 3;
    for (card, bar, combined) in [("cx5", 0, true), ("82599", 0, true), ("x2522", 0, false), ("sfc9220", 2, false)] {
        let (function, _tap) = open(&Engine::new(Drive::Manual), card);
        assert_eq!(function.combining(bar).unwrap().is_some(), combined, "{card}");
        let kind = function.config_read(BAR0 + 4 * u16::from(bar), 4).unwrap();
        assert_eq!(kind & PREFETCHABLE != 0, combined, "{card}");
    }
}

#[test]
fn an_engine_that_was_kept_from_its_cards_says_for_how_long() {
    let engine = Engine::new(Drive::Thread);
    let (function, _tap) = open(&engine, "82599,spin");
    engine.watch(HELD_UP);
    let start = engine.now();
    // Its thread waits for the list of ports, which it reads anew when one is added.
    let held = lock(&engine.shared.ports);
    engine.shared.version.fetch_add(1, Ordering::Release);
    while engine.now() - start < 5_000_000_000 {}
    drop(held);
    while engine.held_up() < 4_000_000_000 {
        assert!(engine.now() - start < 10_000_000_000_000, "{} held up", engine.held_up());
    }
    engine.watch(3_600_000_000_000_000);
    assert_eq!(engine.held_up(), 0);
    drop(function);
}

#[test]
fn a_closed_card_leaves_its_engine_and_the_tap_still_tells() {
    for drive in [Drive::Manual, Drive::Thread] {
        let engine = Engine::new(drive);
        let (function, tap) = open(&engine, "82599");
        let (other, _) = open(&engine, "x540");
        function.bar(0).unwrap().write32(8, 1);
        assert_eq!(lock(&engine.shared.ports).len(), 2);
        drop(function);
        assert_eq!(lock(&engine.shared.ports).len(), 1);
        assert_eq!(tap.violations(), [("write to read-only STATUS (§8.2.3.1)".to_string(), 1)]);
        assert_eq!(other.bar(0).unwrap().read32(8), 0);
    }
}

#[test]
fn a_card_outlives_the_engine_that_stepped_it() {
    let engine = Engine::new(Drive::Thread);
    let (function, _tap) = open(&engine, "82599");
    drop(engine);
    assert_eq!(function.config_read(0, 4).unwrap(), 0x10fb_8086);
}

#[test]
fn what_there_is_not_is_one_clear_line() {
    let engine = Engine::new(Drive::Manual);
    let unknown = engine.open(&"82598".parse().unwrap()).err().unwrap();
    assert_eq!(unknown.kind(), Kind::Usage);
    assert!(unknown.to_string().contains("82599, x540, x550"), "{unknown}");
    let (function, _tap) = open(&engine, "82599");
    assert_eq!(function.bar(5).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(function.bar(2).unwrap().size(), 32, "ports are a BAR, too");
    assert_eq!(function.set_irqs(&[0; 65]).unwrap_err().kind(), Kind::Unsupported);
    assert!(function.bar(0).unwrap().doorbell(0x5080).is_err());
}

/// As the kernel has it: it enables a function that is opened, and puts that back.
#[test]
fn ports_answer_once_a_function_is_opened_and_after_a_reset() {
    let engine = Engine::new(Drive::Manual);
    let (function, _tap) = open(&engine, "82599");
    let answers = || function.config_read(4, 2).unwrap() & 1 == 1;
    assert!(answers());
    assert!(function.reset().unwrap() && answers());
    let (without, _tap) = open(&engine, "virtio");
    assert_eq!(without.config_read(4, 2).unwrap(), 0, "it has none");
}

#[test]
fn a_trace_has_names_and_values() {
    let engine = Engine::new(Drive::Manual);
    let (function, tap) = open(&engine, "82599");
    let bar = function.bar(0).unwrap();
    bar.write32(0x5080, 0x400);
    tap.trace(true);
    bar.write32(0x1018 + 0x40 * 3, 0);
    assert_eq!(bar.read32(0x5080), 0x400);
    tap.trace(false);
    bar.read32(8);
    let trace: Vec<_> = tap.take_trace().into_iter().map(|a| (a.write, a.name.unwrap(), a.value)).collect();
    assert_eq!(trace, [(true, "RDT(3)".to_string(), 0), (false, "FCTRL".to_string(), 0x400)]);
    assert_eq!(tap.take_trace(), []);
}
