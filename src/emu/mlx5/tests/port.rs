//! The port: link, speeds, MTU, pause, loopback, counters, the module.

use super::*;

const PMLP: u32 = 0x5002;
const PMTU: u32 = 0x5003;
const PTYS: u32 = 0x5004;
const PAOS: u32 = 0x5006;
const PFCC: u32 = 0x5007;
const PPCNT: u32 = 0x5008;
const PPLR: u32 = 0x5018;
const PCAM: u32 = 0x507f;
const MCIA: u32 = 0x9014;

/// First words of registers: the port is number 1.
const PORT: u32 = 0x0001_0000;

impl Bench {
    /// PAOS: up or down.
    fn set_up(&self, up: bool) {
        let state = if up { 1 } else { 2 };
        self.access(0, PAOS, &[(0, PORT | state << 8), (4, 1 << 31)], 0x10).unwrap();
    }

    /// What PAOS says: to be up, being up.
    fn state(&self) -> (u32, u32) {
        let paos = self.register(PAOS, &[], 0x10);
        (be::bits(&paos, 0, 11, 8), be::bits(&paos, 0, 3, 0))
    }
}

#[test]
fn the_link_comes_up_by_itself_when_the_function_is_initialised() {
    let bench = Bench::booted("cx5,strict");
    bench.run(100 * MILLISECOND);
    assert_eq!(bench.state(), (1, 2));
    bench.init();
    bench.run(100 * MILLISECOND);
    assert!(bench.link());
    assert_eq!(bench.state(), (1, 1));
    bench.event_queue(1 << 9);
    bench.set_up(false);
    assert!(!bench.link());
    bench.set_up(true);
    bench.run(100 * MILLISECOND);
    assert!(bench.link());
    for (subtype, at) in [(1, 8), (4, 8)] {
        let (kind, told, data) = bench.event().unwrap();
        assert_eq!((kind, told, data[at]), (9, subtype, 0x10));
    }
    assert_eq!(bench.event(), None);
    // What needs no enable bit changes nothing.
    bench.access(0, PAOS, &[(0, PORT | 2 << 8)], 0x10).unwrap();
    assert!(bench.link());
    bench.assert_clean();
}

#[test]
fn what_the_port_was_told_stays_over_a_reset() {
    let bench = Bench::running("cx5");
    bench.set_up(false);
    bench.function.reset().unwrap();
    bench.function.set_bus_master(true).unwrap();
    bench.place_queue();
    bench.boot();
    bench.init();
    bench.run(100 * MILLISECOND);
    assert_eq!((bench.state(), bench.link()), ((2, 2), false));
}

#[test]
fn a_nasty_cards_port_was_left_down_and_its_events_are_hints() {
    let mut counts = Vec::new();
    for seed in 1..6 {
        let bench = Bench::booted(&format!("cx5,nasty,seed={seed}"));
        bench.init();
        bench.run(10 * SECOND);
        assert_eq!((bench.state(), bench.link()), ((2, 2), false));
        bench.event_queue(1 << 9);
        bench.set_up(true);
        bench.run(900 * MILLISECOND);
        assert!(!bench.link(), "it takes its time");
        bench.run(5 * SECOND);
        assert!(bench.link());
        counts.push(std::iter::from_fn(|| bench.event()).count());
    }
    assert!(counts.contains(&1) && counts.iter().any(|count| *count > 1), "{counts:?}");
}

#[test]
fn the_mtu_is_checked_and_a_nasty_card_grants_less() {
    let bench = Bench::running("cx5");
    let mtu = |answer: &[u8]| [4, 8, 0xc].map(|at| be::bits(answer, at, 31, 16));
    assert_eq!(mtu(&bench.register(PMTU, &[], 0x10)), [10_000, 1522, 1522]);
    bench.access(0, PMTU, &[(8, 9022 << 16)], 0x10).unwrap();
    assert_eq!(mtu(&bench.register(PMTU, &[], 0x10)), [10_000, 9022, 9022]);
    assert_eq!(bench.access(0, PMTU, &[(8, 10_001 << 16)], 0x10), Err(BAD_PARAMETER));
    let nasty = Bench::booted("cx5,nasty");
    nasty.init();
    nasty.access(0, PMTU, &[(8, 9022 << 16)], 0x10).unwrap();
    assert_eq!(mtu(&nasty.register(PMTU, &[], 0x10)), [10_000, 9022, 1522]);
}

#[test]
fn speeds_are_told_in_the_older_field_or_in_the_newer_one() {
    let told = |spec: &str| {
        let bench = Bench::booted(spec);
        bench.init();
        bench.set_up(true);
        bench.run(10 * SECOND);
        let pcam = bench.access(1, PCAM, &[], 0x50).map(|pcam| be::bits(&pcam, 0x34, 13, 13));
        let ptys = bench.register(PTYS, &[(0, PORT | 4)], 0x40);
        (pcam, be::u32_at(&ptys, 0x24), be::u32_at(&ptys, 0x20))
    };
    assert_eq!(told("cx4lx"), (Err(BAD_PARAMETER), 1 << 27, 0));
    assert_eq!(told("cx5"), (Ok(0), 1 << 20, 0));
    assert_eq!(told("cx6dx"), (Ok(1), 1 << 20, 1 << 9));
    assert_eq!(told("cx7"), (Ok(1), 0, 1 << 12));
    assert_eq!(told("cx6dx,nasty"), (Ok(1), 0, 1 << 9));
}

#[test]
fn there_is_a_link_only_if_both_sides_agree_on_a_speed() {
    let bench = Bench::running("cx4lx,speed=10G");
    bench.run(100 * MILLISECOND);
    assert!(bench.link());
    let speed = |bits| bench.access(0, PTYS, &[(0, PORT | 4), (0x18, bits)], 0x40).map(|_| ());
    assert_eq!((speed(1 << 31), speed(0)), (Err(BAD_PARAMETER), Err(BAD_PARAMETER)));
    for (bits, agreed) in [(1 << 27, false), (1 << 12 | 1 << 27, true)] {
        speed(bits).unwrap();
        bench.run(100 * MILLISECOND);
        assert_eq!(bench.link(), agreed);
    }
    let ptys = bench.register(PTYS, &[(0, PORT | 4)], 0x40);
    assert_eq!((be::u32_at(&ptys, 0x18), be::u32_at(&ptys, 0x24)), (1 << 12 | 1 << 27, 1 << 12));
    bench.assert_clean();
}

#[test]
fn pause_is_on_both_ways_until_it_is_told_otherwise() {
    let bench = Bench::running("cx5");
    let pause = || {
        let pfcc = bench.register(PFCC, &[], 0x20);
        (be::bits(&pfcc, 8, 31, 31), be::bits(&pfcc, 0xc, 31, 31))
    };
    assert_eq!(pause(), (1, 1));
    bench.access(0, PFCC, &[(8, 1 << 31), (0xc, 0)], 0x20).unwrap();
    assert_eq!(pause(), (1, 0));
}

#[test]
fn frames_go_round_inside_the_port_on_demand() {
    let bench = Bench::running("cx5");
    bench.run(100 * MILLISECOND);
    assert_eq!(bench.access(0, PPLR, &[(4, 5)], 8), Err(BAD_PARAMETER));
    bench.access(0, PPLR, &[(4, 2)], 8).unwrap();
    assert_eq!(be::u32_at(&bench.register(PPLR, &[], 8), 4), 0x0002_0002);
    assert!(bench.link());
}

#[test]
fn registers_and_ports_that_there_are_not_are_refused() {
    let bench = Bench::running("cx5");
    assert_eq!(bench.access(1, 0x5fff, &[], 0x10), Err(BAD_PARAMETER));
    assert_eq!(bench.access(1, PAOS, &[(0, 0x0002_0000)], 0x10), Err(BAD_PARAMETER));
    assert_eq!(bench.access(0, PPCNT, &[], 0x100), Err(BAD_PARAMETER), "counters are not written");
    // Data that ends early reads as zero behind its end.
    assert_eq!(bench.register(PMTU, &[], 0x10)[..4], [0, 1, 0, 0]);
    let short = bench.command(ACCESS_REGISTER, 1, &[(8, PMTU), (0x10, PORT)], 0x14, 0x20).unwrap();
    assert_eq!(be::bits(&short, 0x14, 31, 16), 10_000);
    bench.register(PPCNT, &[(0, PORT | 1)], 0x100);
    bench.assert_clean();
}

#[test]
fn a_group_of_counters_is_cleared_when_that_is_asked_for() {
    // A nasty card takes frames from the wire before a driver listens.
    let bench = Bench::booted("cx5,nasty,wire=source:rate=20k");
    bench.init();
    bench.set_up(true);
    bench.run(8 * SECOND);
    let received = |group, clear: u32, at: usize| {
        let counters = bench.register(PPCNT, &[(0, PORT | group), (4, clear << 31)], 0x100);
        be::u64_at(&counters, 8 + at)
    };
    let all = received(0, 1, 0x08);
    assert!(all > 100, "{all}");
    assert!(received(0, 0, 0x08) < all / 2);
    assert!(received(2, 0, 0x10) >= all, "the others are not");
}

#[test]
fn the_modules_memory_is_read_in_pieces_of_48_bytes() {
    let read = |bench: &Bench, slave: u32, offset: u32, len: u32| {
        let mcia = bench.access(1, MCIA, &[(0, 0), (4, slave << 24 | offset), (8, len)], 0x90)?;
        Ok::<_, u8>((mcia[3], mcia[0x10..0x10 + len as usize].to_vec()))
    };
    let bench = Bench::running("cx4lx");
    assert_eq!(bench.register(PMLP, &[], 0x40)[3..8], [1, 0, 0, 0, 0]);
    let (status, id) = read(&bench, 0x50, 0, 48).unwrap();
    assert_eq!((status, id[0], &id[20..36]), (0, 3, &b"Mellanox        "[..]));
    assert_eq!(read(&bench, 0x50, 0, 49), Err(BAD_PARAMETER));
    assert_eq!(read(&bench, 0x50, 230, 30), Err(BAD_PARAMETER), "over the end of the page");
    assert_eq!(read(&bench, 0x51, 96, 2).unwrap(), (0, vec![35, 0]));
    assert_ne!(read(&bench, 0x52, 0, 2).unwrap().0, 0, "nobody there");
    let (_, id) = read(&Bench::running("cx5"), 0x50, 128, 48).unwrap();
    assert_eq!((id[0], &id[20..36]), (0x11, &b"Mellanox        "[..]));
    for fault in ["no-module", "i2c-stuck"] {
        let (status, _) = read(&Bench::running(&format!("cx5,fault={fault}")), 0x50, 0, 48).unwrap();
        assert_ne!(status, 0, "{fault}");
    }
}
