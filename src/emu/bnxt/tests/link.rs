//! The link: up, down, forced down, refused; the module; loopback; configuration space.

use super::*;

/// PORT_PHY_CFG with these flags and enables, and fields.
fn phy(bench: &mut Bench, flags: u32, enables: u32, fields: &[(usize, &[u8])]) -> Answer {
    let (flags, enables) = (flags.to_le_bytes(), enables.to_le_bytes());
    let mut all: Vec<(usize, &[u8])> = vec![(0x10, &flags), (0x14, &enables)];
    all.extend_from_slice(fields);
    bench.command(PHY_CFG, &all, 56)
}

const RESET: u32 = 1;
const FORCE: u32 = 4;
const DOWN: u32 = 0x4000;
const G10: u16 = 0x64;
const G25: u16 = 0xfa;

fn force(bench: &mut Bench, speed: u16) -> Answer {
    phy(bench, FORCE | RESET, 0, &[(0x1a, &speed.to_le_bytes())])
}

/// Negotiates these speeds.
fn offer(bench: &mut Bench, mask: u16) -> Answer {
    phy(bench, 8 | RESET, 0x11, &[(0x1c, &[4]), (0x22, &mask.to_le_bytes())])
}

#[test]
fn a_link_that_is_forced_down_stays_so_until_it_is_told_otherwise() {
    let mut bench = Bench::registered("bcm57414,strict", 0);
    assert!(bench.link());
    phy(&mut bench, DOWN, 0, &[]).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(!bench.link());
    bench.must(FUNC_RESET, &[], 24);
    assert!(!bench.link(), "FUNC_RESET");
    bench.function.reset().unwrap();
    bench.function.set_bus_master(true).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(!bench.link(), "FLR");
    bench.register(0);
    offer(&mut bench, 0x148).unwrap();
    assert!(!bench.link(), "not at once");
    bench.run(10 * MILLISECOND);
    assert!(bench.link());
    bench.assert_clean();
}

#[test]
fn a_nasty_cards_link_was_left_down_and_its_phy_is_not_ready_at_first() {
    let mut bench = Bench::cold("bcm57414,nasty,seed=3");
    bench.run(1600 * MILLISECOND);
    bench.must(RGTR, &[(0x14, &[0x10])], 112);
    assert!(!bench.link());
    let mut refused = 0;
    while offer(&mut bench, 0x148).is_err() {
        refused += 1;
    }
    assert!((1..=8).contains(&refused), "{refused}");
    bench.run(100 * MILLISECOND);
    assert!(bench.link());
}

#[test]
fn somebody_else_may_hold_the_link_up() {
    let mut bench = Bench::registered("bcm57414,fault=link-held", 0);
    phy(&mut bench, DOWN, 0, &[]).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(bench.link());
}

#[test]
fn a_partition_may_not_touch_the_link_and_is_told_so() {
    let mut bench = Bench::registered("bcm57414,fault=npar", 0);
    assert_eq!(bench.must(FUNC_QCFG, &[(0x10, &[0xff; 2])], 24)[0x2a], 1);
    assert_eq!(offer(&mut bench, 0x148), Err(DENIED));
    assert!(bench.link());
}

#[test]
fn where_nothing_is_negotiated_only_a_speed_can_be_forced() {
    let mut bench = Bench::registered("bcm57414,fault=no-autoneg", 0);
    let caps = bench.must(PHY_QCAPS, &[], 24);
    assert_eq!([u16_at(&caps, 0xa), u16_at(&caps, 0xc)], [0x148, 0]);
    assert_eq!(offer(&mut bench, 0x148), Err(INVALID));
    force(&mut bench, G25).unwrap();
    bench.run(10 * MILLISECOND);
    assert!(bench.link());
}

#[test]
fn a_port_that_is_off_has_no_speeds_and_takes_no_command() {
    let mut bench = Bench::registered("bcm57414,fault=port-disabled", 0);
    let caps = bench.must(PHY_QCAPS, &[], 24);
    assert_eq!([u16_at(&caps, 0xa), u16_at(&caps, 0xc)], [0, 0]);
    assert_eq!(force(&mut bench, G25), Err(DENIED));
    assert!(!bench.link());
}

#[test]
fn an_empty_cage_has_no_link_and_nothing_to_read() {
    let mut bench = Bench::registered("bcm57414,fault=no-module", 0);
    assert_eq!(bench.must(PHY_QCFG, &[], 24)[0x1b], 4);
    assert_eq!(u16_at(&bench.must(PHY_QCAPS, &[], 24), 0xc), 0);
    force(&mut bench, G25).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(!bench.link());
    assert_eq!(bench.command(0x2c, &[(0x1a, &[0xa0]), (0x20, &[16])], 40), Err(FAIL));
}

#[test]
fn a_module_that_is_not_accepted_makes_no_link_and_no_error() {
    let mut bench = Bench::registered("bcm57414,fault=media", 1 << 4);
    let at = bench.pages(1);
    let address = bench.arena.iova(at).to_le_bytes();
    let cq = bench.must(RING_ALLOC, &[(0x18, &address), (0x28, &[64]), (0x4c, &[3])], 88);
    bench.must(FUNC_CFG, &[(0x10, &[0xff; 2]), (0x18, &[0, 0x40]), (0x50, &cq[8..10])], 88);
    offer(&mut bench, 0x148).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(!bench.link());
    assert_eq!(bench.must(PHY_QCFG, &[], 24)[0x1b], 1);
    assert_eq!(u16_at(&bench.bytes(at, 16), 2), 4, "PORT_CONN_NOT_ALLOWED");
}

/// An event may come late, but the state that the link stays in is told: Linux's driver
/// (bnxt_async_event_process) has no other way to hear of it.
#[test]
fn a_nasty_card_tells_late_of_its_link_and_never_not_at_all() {
    let mut late = 0;
    for seed in 0..60 {
        let mut bench = Bench::cold(&format!("bcm57414,nasty,seed={seed}"));
        bench.run(3500 * MILLISECOND);
        let at = bench.pages(1);
        let address = bench.arena.iova(at).to_le_bytes();
        // Some are refused at first.
        let mut insist = |code, fields: &[(usize, &[u8])], len| {
            let mut once = || bench.command(code, fields, len).inspect_err(|_| bench.run(50 * MILLISECOND)).ok();
            (0..20).find_map(|_| once()).unwrap_or_else(|| panic!("{code:#x}"))
        };
        insist(RGTR, &[(0x10, &4u32.to_le_bytes()), (0x14, &[0x10]), (0x48, &[1])], 112);
        insist(IF_CHANGE, &[(0x10, &[1])], 24);
        let cq = insist(RING_ALLOC, &[(0x18, &address), (0x28, &[64]), (0x4c, &[3])], 88);
        insist(FUNC_CFG, &[(0x10, &[0xff; 2]), (0x18, &[0, 0x40]), (0x50, &cq[8..10])], 88);
        while offer(&mut bench, 0x148).is_err() {}
        bench.run(10 * MILLISECOND);
        assert!(bench.link(), "seed {seed}");
        // An entry of a ring that nobody has written is zeros; one of an event says 0x2e.
        let told = |bench: &Bench| bench.bytes(at, 16)[0] & 0x3f == 0x2e;
        late += usize::from(!told(&bench));
        bench.run(1000 * MILLISECOND);
        assert!(told(&bench), "seed {seed}");
        assert_eq!(u16_at(&bench.bytes(at, 16), 2), 0, "LINK_STATUS_CHANGE");
        assert_eq!(bench.bytes(at, 16)[12] & 1, 1, "up");
    }
    assert!((1..30).contains(&late), "{late} of 60 were late");
}

#[test]
fn there_is_a_link_only_if_both_sides_agree() {
    let mut bench = Bench::registered("bcm57414", 0);
    for (speed, up) in [(G10, false), (G25, true)] {
        force(&mut bench, speed).unwrap();
        bench.run(100 * MILLISECOND);
        assert_eq!(bench.link(), up, "forced to {speed:#x}");
    }
    for (mask, up) in [(0x40, false), (0x140, true)] {
        offer(&mut bench, mask).unwrap();
        bench.run(100 * MILLISECOND);
        assert_eq!(bench.link(), up, "offered {mask:#x}");
    }
    assert_eq!(force(&mut bench, 0x3e8), Err(INVALID), "100G");
    let state = bench.must(PHY_QCFG, &[], 24);
    assert_eq!((u16_at(&state, 0xa), state[0x12], u16_at(&state, 0x16)), (G25, 4, 0x140));
    // The other side is as fast as was asked for.
    let mut slow = Bench::registered("bcm57414,speed=10G", 0);
    assert_eq!(u16_at(&slow.must(PHY_QCFG, &[], 24), 0xa), G10);
    // Twisted pair must negotiate.
    let mut pair = Bench::registered("bcm57416", 0);
    assert!(pair.link());
    force(&mut pair, G10).unwrap();
    pair.run(100 * MILLISECOND);
    assert!(!pair.link());
}

#[test]
fn a_partner_that_negotiates_does_not_hear_of_a_speed_that_is_forced() {
    let mut bench = Bench::registered("bcm57414,fault=partner-negotiates", 0);
    force(&mut bench, G25).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(!bench.link());
    offer(&mut bench, 0x140).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(bench.link());
}

#[test]
fn fec_and_the_other_port_have_a_say() {
    let mut bench = Bench::registered("bcm57414,fault=fec", 0);
    assert!(!bench.link());
    phy(&mut bench, 0x400 | RESET, 0, &[]).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(bench.link(), "clause 74");
    let fec = u16_at(&bench.must(PHY_QCFG, &[], 24), 0x34);
    assert_eq!(fec & 0x54, 0x10);
    let mut bench = Bench::registered("bcm57414,fault=other-port", 0);
    assert_eq!(force(&mut bench, G25), Err(INVALID));
    force(&mut bench, G10).unwrap();
}

#[test]
fn four_level_speeds_are_the_newer_cards() {
    let mut bench = Bench::registered("bcm57508", 0);
    let caps = bench.must(PHY_QCAPS, &[], 24);
    assert_eq!((u16_at(&caps, 0xa), u16_at(&caps, 0x18), u16_at(&caps, 0x1a)), (0xf40, 3, 7));
    assert_eq!(u16_at(&caps, 0xc), 0xd40, "40 Gbit/s is forced only, as the highest of four levels is");
    assert!(bench.link());
    phy(&mut bench, FORCE | RESET, 0x800, &[(0x2e, &0x7d0_u16.to_le_bytes())]).unwrap();
    bench.run(100 * MILLISECOND);
    assert!(!bench.link(), "the other side is at 100 Gbit/s");
    let state = bench.must(PHY_QCFG, &[], 24);
    assert_eq!((u16_at(&state, 0x58), u16_at(&state, 0x5a)), (7, 0x7d0));
}

#[test]
fn frames_can_loop_in_the_phy_and_in_the_mac() {
    let mut bench = Bench::registered("bcm57414,strict", 0);
    phy(&mut bench, DOWN, 0, &[]).unwrap();
    phy(&mut bench, FORCE | RESET, 0x40, &[(0x1a, &G10.to_le_bytes()), (0x25, &[1])]).unwrap();
    assert!(bench.link(), "without light or a partner");
    assert_eq!(phy(&mut bench, 0, 0x40, &[(0x25, &[3])]), Err(UNSUPPORTED), "a plug outside");
    phy(&mut bench, 0, 0x40, &[]).unwrap();
    bench.must(MAC_CFG, &[(0x14, &[2]), (0x1b, &[1])], 40);
    assert_eq!(bench.must(0x28, &[], 24)[0xd], 1);
    assert!(bench.link());
    bench.assert_clean();
}

#[test]
fn the_modules_memory_can_be_read() {
    let read = |spec: &str, slave: u8, page: u16, offset: u16, len: u8| {
        let mut bench = Bench::bare(spec);
        let (page, offset) = (page.to_le_bytes(), offset.to_le_bytes());
        let fields: [(usize, &[u8]); 5] =
            [(0x14, &[1]), (0x1a, &[slave]), (0x1c, &page), (0x1e, &offset), (0x20, &[len])];
        bench.command(0x2c, &fields, 40).map(|answer| answer[8..8 + usize::from(len)].to_vec())
    };
    assert_eq!(read("bcm57414", 0xa0, 0, 20, 8).unwrap(), b"Broadcom");
    assert_eq!(read("bcm57414", 0xa2, 0, 96, 2).unwrap(), [35, 0]);
    assert_eq!(read("bcm57508", 0xa0, 0, 148, 8).unwrap(), b"Broadcom");
    assert_eq!(read("bcm57414", 0xa0, 0, 0, 65), Err(INVALID));
    assert_eq!(read("bcm57414", 0x30, 0, 0, 1), Err(FAIL));
    assert_eq!(read("bcm57416", 0xa0, 0, 0, 1), Err(FAIL), "twisted pair has none");
}

#[test]
fn configuration_space_is_as_dumps_of_cards_show_it() {
    let mut bench = Bench::bare("bcm57416");
    let mac = bench.must(FUNC_QCAPS, &[(0x10, &[0xff, 0xff])], 24)[0x10..0x16].to_vec();
    let read = |at: u16, size: u8| bench.function.config_read(at, size).unwrap();
    assert_eq!((read(0, 4), read(8, 1)), (0x16d8_14e4, 1));
    let mut found = Vec::new();
    let mut at = read(0x34, 1) as u16;
    while at != 0 {
        found.push((at, read(at, 1)));
        at = read(at + 1, 1) as u16;
    }
    assert_eq!(found, [(0x48, 1), (0x50, 3), (0x58, 5), (0xa0, 0x11), (0xac, 0x10)]);
    assert_eq!((read(0xa2, 2) & 0x7ff, read(0xa4, 4), read(0xa8, 4)), (73, 4, 0x4a4));
    assert_eq!(read(0x5a, 2) & 0x1fe, 0x86, "MSI of eight, without masks");
    let mut extended = Vec::new();
    let mut at = 0x100;
    while at != 0 {
        extended.push(at);
        at = (read(at, 4) >> 20) as u16;
    }
    assert_eq!(extended, [0x100, 0x13c, 0x150, 0x160, 0x180, 0x1b0, 0x1b8, 0x230, 0x300, 0x200]);
    let serial = [read(0x140, 4), read(0x144, 4)];
    assert_eq!(serial.map(u32::to_be_bytes), [[0xfe, mac[3], mac[4], mac[5]], [mac[0], mac[1], mac[2], 0xff]]);
    assert_eq!((read(0x184, 4), read(0xb6, 2), read(0x110, 4)), (0x0200_0000, 0x19, 0x2000));
    // Vital product data: the name's length and its first letter.
    bench.function.config_write(0x52, 2, 0).unwrap();
    assert_eq!((read(0x52, 2), read(0x54, 4)), (0x8000, u32::from_le_bytes([0x82, 0x1b, 0, b'B'])));
}
