//! The function: its states, the interface that is spoken, capabilities, what kinds of
//! function there are.

use super::*;
use crate::emu::{Card, build};

const LOG_MAX_QP: usize = 0x13;

#[test]
fn commands_come_in_their_turn() {
    let bench = Bench::ready("cx5");
    for code in [QUERY_ISSI, QUERY_PAGES, INIT_HCA, QUERY_HCA_CAP, ALLOC_PD, DISABLE_HCA] {
        assert_eq!(bench.ask(code, 1), Err(BAD_SYSTEM_STATE), "{code:#x}");
    }
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    assert_eq!(bench.command(ENABLE_HCA, 0, &[], 0x10, 0xc), Err(BAD_SYSTEM_STATE), "once");
    bench.must(SET_ISSI, 0, &[(8, 1)], 0x10, 0x10);
    for code in [INIT_HCA, QUERY_HCA_CAP, ALLOC_PD] {
        assert_eq!(bench.ask(code, 1), Err(BAD_SYSTEM_STATE), "{code:#x} without pages to start with");
    }
    bench.give_all(1);
    assert_eq!(bench.ask(INIT_HCA, 0), Err(BAD_SYSTEM_STATE), "without pages for it");
    bench.init();
    let pd = be::u32_at(&bench.must(ALLOC_PD, 0, &[], 0x10, 0x10), 8);
    assert_eq!(bench.ask(DISABLE_HCA, 0), Err(BAD_SYSTEM_STATE), "while it runs");
    bench.must(0x801, 0, &[(8, pd)], 0x10, 0x10);
    bench.must(TEARDOWN_HCA, 0, &[], 0x10, 0x10);
    assert_eq!(bench.ask(ALLOC_PD, 0), Err(BAD_SYSTEM_STATE));
    while !bench.take(64).is_empty() {}
    bench.must(DISABLE_HCA, 0, &[], 0x10, 0xc);
    bench.boot();
    bench.assert_clean();
}

#[test]
fn a_function_that_a_driver_left_is_clean_after_a_reset() {
    let bench = Bench::ready("cx5,fault=dirty");
    assert_eq!(bench.command(ENABLE_HCA, 0, &[], 0x10, 0xc), Err(BAD_SYSTEM_STATE));
    assert_eq!(bench.command(SET_ISSI, 0, &[(8, 1)], 0x10, 0x10), Err(BAD_SYSTEM_STATE));
    assert_eq!(bench.command(SET_HCA_CAP, 0, &[], 0x1010, 0x10), Err(BAD_SYSTEM_STATE));
    // Nothing but a reset cleans it.
    assert_eq!(bench.ask(TEARDOWN_HCA, 0), Err(BAD_SYSTEM_STATE));
    assert_eq!(bench.ask(DISABLE_HCA, 0), Err(BAD_SYSTEM_STATE));
    bench.write(0x14, 1 << 8);
    bench.place_queue();
    assert_eq!(bench.command(ENABLE_HCA, 0, &[], 0x10, 0xc), Err(BAD_SYSTEM_STATE));
    bench.function.reset().unwrap();
    bench.function.set_bus_master(true).unwrap();
    bench.place_queue();
    bench.boot();
    bench.init();
}

#[test]
fn what_only_the_newer_interface_has_is_not_there_without_it() {
    let bench = Bench::ready("cx4lx");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    bench.give_all(1);
    let (old, ethernet) = (bench.caps(0, true), bench.caps(1, true));
    let at = |caps: &[u8], at| be::u32_at(caps, at);
    assert_eq!((at(&old, 0x40) & 8, at(&old, 0x6c), at(&old, 0x3c) & 0xf, old[0x7b]), (0, 0, 0, 0));
    assert_eq!((at(&old, 0x18), at(&old, 0x1c)), (0x0016_0018, 0x1618_0008), "queues are");
    assert!(ethernet.iter().all(|byte| *byte == 0));
    bench.init();
    for code in [ALLOC_TD, 0x900, 0x904, 0x908, 0x912, 0x916, CREATE_FLOW_TABLE] {
        assert_eq!(bench.command(code, 0, &[], 0x120, 0x10), Err(BAD_OPERATION), "{code:#x}");
    }
    bench.must(SET_ISSI, 0, &[(8, 1)], 0x10, 0x10);
    assert_eq!(at(&bench.caps(0, true), 0x6c), 0x1717_1717);
    bench.must(ALLOC_TD, 0, &[], 0x10, 0x10);
    let bench = Bench::ready("cx5,fault=issi0");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    assert_eq!(bench.command(QUERY_ISSI, 0, &[], 0x10, 0x70), Err(BAD_OPERATION));
}

#[test]
fn capabilities_are_lowered_and_never_raised() {
    let bench = Bench::booted("cx4lx");
    let now = bench.caps(0, true);
    assert_eq!((now[LOG_MAX_QP], bench.caps(0, false)[LOG_MAX_QP]), (14, 23));
    let changed = |at: usize, value: u8| {
        let mut caps = now.clone();
        caps[at] = value;
        bench.set_caps(&caps)
    };
    assert_eq!(changed(LOG_MAX_QP, 24), Err(BAD_PARAMETER), "above the most");
    assert_eq!(changed(0x1f, 9), Err(BAD_PARAMETER), "not a driver's to change");
    changed(LOG_MAX_QP, 10).unwrap();
    assert_eq!(bench.caps(0, true)[LOG_MAX_QP], 10);
    // One that sends a part of it changes that part.
    bench.set_caps(&now[..0x100]).unwrap();
    bench.init();
    assert_eq!(bench.set_caps(&now), Err(BAD_SYSTEM_STATE));
    let nasty = Bench::booted("cx4lx,nasty");
    assert_eq!(nasty.caps(0, false)[LOG_MAX_QP], 17);
    bench.assert_clean();
}

#[test]
fn what_there_is_no_bit_for_is_not_there() {
    let bench = Bench::running("cx5");
    for kind in [2, 3, 4, 8, 9, 0xd, 0x20] {
        assert_eq!(bench.command(QUERY_HCA_CAP, kind << 1, &[], 0x10, 0x1010), Err(BAD_OPERATION), "{kind:#x}");
    }
    for code in [0x80e, 0x827, 0x10c, 0xfff] {
        assert_eq!(bench.ask(code, 0), Err(BAD_OPERATION), "{code:#x}");
    }
    bench.must(0x10d, 0, &[], 0x50, 0x10);
    let older = Bench::running("cx4lx");
    assert_eq!(older.command(0x10d, 0, &[], 0x50, 0x10), Err(BAD_OPERATION), "no driver's version");
    assert_eq!(older.command(0x827, 0, &[(0x0c, 4789)], 0x10, 0x10), Err(BAD_OPERATION), "no tunnels");
    bench.must(ALLOC_Q_COUNTER, 0, &[], 0x10, 0x10);
}

#[test]
fn a_virtual_function_has_no_address_and_nothing_of_the_port() {
    let bench = Bench::running("cx5,fault=vf");
    let context = bench.must(QUERY_VPORT, 0, &[], 0x10, 0x110);
    assert_eq!(context[0x10 + 0xf6..0x10 + 0xfc], [0; 6]);
    assert_eq!(be::u32_at(&bench.caps(0, true), 0x8c) & 0xffff, 8, "event queues");
    assert_eq!(bench.access(0, 0x7004, &[], 0x10), Err(BAD_PARAMETER));
    for (number, bytes) in [(0x5003, 0x10), (0x5006, 0x10), (0x5007, 0x20)] {
        assert_eq!(bench.access(0, number, &[], bytes), Err(BAD_PARAMETER), "{number:#x}");
        bench.register(number, &[], bytes);
    }
    assert_eq!(bench.command(0x829, 0, &[], 0x40, 0x10), Err(BAD_PARAMETER));
}

#[test]
fn a_host_of_a_card_with_processors_owns_no_port_and_gives_no_pages() {
    let bench = Bench::booted("cx6dx,fault=dpu-host");
    assert_eq!([1, 2, 3].map(|which| bench.wants(which)), [0; 3]);
    bench.init();
    for (number, bytes) in [(0x5003, 0x10), (0x5004, 0x40), (0x5006, 0x10), (0x5007, 0x20)] {
        assert_eq!(bench.access(0, number, &[], bytes), Err(BAD_PARAMETER), "{number:#x}");
    }
    assert_eq!(bench.access(1, 0x5008, &[], 0x100), Err(BAD_PARAMETER));
}

#[test]
fn an_infiniband_card_has_no_ethernet() {
    let bench = Bench::booted("cx5,fault=ib");
    let general = bench.caps(0, false);
    assert_eq!((be::bits(&general, 0x34, 9, 8), be::bits(&general, 0x40, 3, 3)), (0, 0));
    assert_eq!(bench.command(QUERY_HCA_CAP, 2, &[], 0x10, 0x1010), Err(BAD_OPERATION));
    assert_eq!(config("cx5,fault=ib").config_read(8, 4), 0x0207_0000);
}

/// A card whose configuration space is looked at.
fn config(spec: &str) -> Card {
    let spec: Spec = spec.parse().unwrap();
    Card::new(build(&spec, spec.open_wire(&mut Default::default()).unwrap()).unwrap())
}

#[test]
fn configuration_space_is_that_of_dumps() {
    for (model, device) in [("cx4lx", 0x1015), ("cx5", 0x1017), ("cx6dx", 0x101d), ("cx7", 0x1021)] {
        let card = config(model);
        assert_eq!((card.config_read(0, 4), card.config_read(8, 4)), (device << 16 | 0x15b3, 0x0200_0000));
        let mut found = Vec::new();
        let mut at = card.config_read(0x34, 1) as u16;
        while at != 0 {
            found.push((at, card.config_read(at, 1)));
            at = card.config_read(at + 1, 1) as u16;
        }
        assert_eq!(found, [(0x60, 0x10), (0x48, 3), (0x9c, 0x11), (0xc0, 9), (0x40, 1)]);
        assert_eq!((card.config_read(0xa0, 4), card.config_read(0xa4, 4)), (0x2000, 0x3000), "vectors are in BAR 0");
        assert_eq!((card.config_read(0x9e, 2) & 0x7ff, card.config_read(0xc2, 1)), (63, 0x18));
        assert_eq!(card.profile().bar(0), 32 << 20);
    }
}

#[test]
fn a_queue_asks_for_no_event_that_the_card_does_not_have() {
    let bench = Bench::running("cx4lx");
    let uar = be::id_at(&bench.must(ALLOC_UAR, 0, &[], 0x10, 0x10), 8);
    let at = bench.pages(1)[0];
    let fields = [(0x1c, 6 << 24 | uar), (0x5c, 1 << 0x16), (0x110, (at >> 32) as u32), (0x114, at as u32)];
    let request = request(CREATE_EQ, 0, &fields, 0x118);
    bench.start(0, &request, 0x10);
    let back = bench.wait(0, SECOND).unwrap();
    assert_eq!((back.bytes[0], be::u32_at(&back.bytes, 4)), (BAD_PARAMETER, 0x8fef));
}

#[test]
fn a_nasty_cards_uar_pages_are_far_apart_until_a_driver_says_otherwise() {
    let bench = Bench::booted("cx5,nasty");
    let mut caps = bench.caps(0, true);
    assert_eq!(be::u32_at(&caps, 0x90) & 0xffff, 4);
    // A doorbell there is heard, and is none where others have it.
    let far = Bench::booted("cx5,nasty,seed=3");
    far.init();
    let eqn = far.event_queue(0);
    let queue = || far.must(0x303, 0, &[(8, eqn)], 0x10, 0x50);
    let uar = u64::from(be::id_at(&queue(), 0x1c));
    for (shift, armed) in [(12, 0xa), (16, 9)] {
        far.write((uar << shift) + 0x40, eqn << 24);
        assert_eq!(be::bits(&queue(), 0x10, 11, 8), armed, "{shift}");
    }
    caps[0x92..0x94].fill(0);
    bench.set_caps(&caps).unwrap();
    assert_eq!(be::u32_at(&bench.caps(0, true), 0x90) & 0xffff, 0);
    assert_eq!(be::u32_at(&Bench::booted("cx5").caps(0, true), 0x90) & 0xffff, 0);
    // All that there are have their place in the BAR: one in 1 MiB, from the 16th on.
    let bench = Bench::booted("cx5");
    let mut caps = bench.caps(0, true);
    caps[0x93] = 8;
    bench.set_caps(&caps).unwrap();
    bench.init();
    let given: Vec<u32> = std::iter::from_fn(|| Some(be::id_at(&bench.ask(ALLOC_UAR, 0).ok()?, 8))).collect();
    assert_eq!(given, (16..32).collect::<Vec<_>>());
}

#[test]
fn the_vectors_share_a_bar_with_the_segment() {
    let bench = Bench::running("cx5");
    bench.bar.write32(0x2000 + 16 * 3 + 8, 0x4041);
    assert_eq!((bench.bar.read32(0x2000 + 16 * 3 + 8), bench.bar.read32(0x3000)), (0x4041, 0));
    bench.assert_clean();
}

#[test]
fn stamps_are_of_both_kinds_or_of_the_time_of_day_alone() {
    let format = |spec: &str| Bench::booted(spec).caps(0, true)[0x88] >> 4;
    assert_eq!((format("cx5"), format("cx6dx"), format("cx6dx,nasty")), (0, 0b1010, 0b0101));
}

#[test]
fn flow_tables_may_run_out_or_be_refused() {
    let table =
        |bench: &Bench, log_size: u32| bench.command(CREATE_FLOW_TABLE, 0, &[(0x18, log_size)], 0x40, 0x10).map(|_| ());
    let bench = Bench::running("cx5,fault=ft-pool");
    assert_eq!((table(&bench, 7), table(&bench, 0)), (Err(EXCEEDS_LIMIT), Ok(())));
    let bench = Bench::running("cx5,fault=ft-busy");
    bench.start(0, &request(CREATE_FLOW_TABLE, 0, &[], 0x40), 0x10);
    let back = bench.wait(0, SECOND).unwrap();
    assert_eq!((back.bytes[0], be::u32_at(&back.bytes, 4)), (BAD_RESOURCE_STATE, 0x98_afbb));
}

#[test]
fn an_input_that_ends_too_early_is_refused_and_a_longer_one_is_not() {
    let bench = Bench::booted("cx5");
    assert_eq!(bench.command(SET_ISSI, 0, &[], 0x10, 0x10), Err(BAD_PARAMETER), "interface 0");
    let mut entry = bench.entry(0, &request(QUERY_PAGES, 2, &[], 0x10), 0x10);
    entry[4..8].copy_from_slice(&8_u32.to_be_bytes());
    bench.post(0, &entry);
    assert_eq!(bench.wait(0, SECOND).unwrap().bytes[0], BAD_INPUT_LENGTH);
    bench.must(QUERY_PAGES, 2, &[], 0x20, 0x10);
}

#[test]
fn teardown_may_fail() {
    let bench = Bench::running("cx5,fault=teardown-fail");
    assert_eq!(bench.ask(TEARDOWN_HCA, 0), Err(INTERNAL));
    let bench = Bench::running("cx5");
    assert_eq!(bench.command(TEARDOWN_HCA, 0, &[(8, 1)], 0x10, 0x10), Err(BAD_PARAMETER), "by force");
}
