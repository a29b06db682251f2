//! The command queue: entries, mailboxes, what becomes of commands that do not arrive,
//! of answers that come late or never.

use super::*;

const TOKEN: u8 = 2;
const NUMBER: u8 = 3;
const OUTPUT_POINTER: u8 = 4;
const INPUT_POINTER: u8 = 5;
const INPUT_LENGTH: u8 = 7;
const OUTPUT_LENGTH: u8 = 8;
const TYPE: u8 = 0x10;

#[test]
fn nothing_comes_of_a_command_while_bus_mastering_is_off() {
    let bench = Bench::ready("cx5");
    bench.function.set_bus_master(false).unwrap();
    let request = request(ENABLE_HCA, 0, &[], 0x10);
    bench.start(0, &request, 0xc);
    assert!(bench.wait(0, SECOND).is_none());
    bench.function.set_bus_master(true).unwrap();
    assert!(bench.wait(0, SECOND).is_none(), "it was never fetched");
    bench.start(0, &request, 0xc);
    assert!(bench.wait(0, SECOND).is_some());
}

#[test]
fn the_function_initialises_for_a_while_or_for_ever() {
    let quick = Bench::cold("cx5");
    assert_eq!((quick.read(0x1fc), quick.read(0x04) >> 16, quick.read(0x14) & 0xfff), (0, 5, 0x056));
    let late = Bench::cold("cx5,nasty");
    assert_eq!(late.read(0x1fc) >> 31, 1);
    late.start(0, &request(ENABLE_HCA, 0, &[], 0x10), 0xc);
    assert!(late.wait(0, 1100 * MILLISECOND).is_none(), "nobody hears it yet");
    late.run(1100 * MILLISECOND);
    assert_eq!(late.read(0x1fc) >> 31, 0);
    late.function.reset().unwrap();
    assert_eq!(late.read(0x1fc) >> 31, 1, "after each reset");
    let slow = Bench::cold("cx5,fault=init-slow");
    slow.run(120 * SECOND);
    assert_eq!(slow.read(0x1fc) >> 31, 1);
    slow.run(11 * SECOND);
    assert_eq!(slow.read(0x1fc) >> 31, 0);
}

#[test]
fn writing_the_address_of_the_queue_leaves_its_size_and_reads_back() {
    let bench = Bench::ready("cx5");
    bench.write(0x10, 0x12);
    bench.write(0x14, 0x3456_7000);
    assert_eq!((bench.read(0x10), bench.read(0x14)), (0x12, 0x3456_7056));
    bench.assert_clean();
}

#[test]
fn a_software_reset_takes_the_chip_down_and_spoils_newer_ones() {
    for (model, survives) in [("cx4lx", true), ("cx5", false)] {
        let bench = Bench::running(model);
        bench.run(200 * MILLISECOND);
        assert!(bench.link());
        let before = bench.read(0x14);
        bench.write(0x14, 0x700);
        assert_eq!((bench.read(0x14), bench.read(0x1fc) >> 31), (before | 0x700, 1), "the address stays");
        bench.run(200 * MILLISECOND);
        assert_eq!(bench.read(0x14), before | 0x100);
        bench.run(1000 * MILLISECOND);
        assert_eq!(bench.read(0x14), before);
        bench.start(0, &request(ENABLE_HCA, 0, &[], 0x10), 0xc);
        assert_eq!(bench.wait(0, 60 * SECOND).is_some(), survives, "{model}");
        bench.function.reset().unwrap();
        bench.function.set_bus_master(true).unwrap();
        bench.place_queue();
        bench.boot();
    }
}

#[test]
fn an_interface_may_be_disabled_at_once_or_at_a_command() {
    let bench = Bench::cold("cx5,fault=nic-disabled");
    assert_eq!(bench.read(0x14) >> 8 & 7, 1);
    let bench = Bench::ready("cx5,fault=nic-disabled:2");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    assert_eq!(bench.read(0x14) >> 8 & 7, 0);
    bench.start(0, &request(QUERY_ISSI, 0, &[], 0x10), 0x70);
    assert!(bench.wait(0, SECOND).is_none());
    assert_eq!(bench.read(0x14) >> 8 & 7, 1);
}

#[test]
fn a_command_that_does_not_arrive_says_why_and_leaves_its_output() {
    let bench = Bench::booted("cx5");
    let caps = request(QUERY_HCA_CAP, 1, &[], 0x10);
    let set = request(SET_HCA_CAP, 0, &[], 0x410);
    type Spoil = fn(&Bench, &mut [u8; 64]);
    let cases: [(&[u8], Spoil, u8); 8] = [
        (&caps, |_, entry| entry[0] = 6, TYPE),
        (&caps, |_, entry| entry[4..8].copy_from_slice(&7_u32.to_be_bytes()), INPUT_LENGTH),
        (&caps, |_, entry| entry[0x38..0x3c].copy_from_slice(&7_u32.to_be_bytes()), OUTPUT_LENGTH),
        (&caps, |_, entry| entry[0x36] ^= 1, OUTPUT_POINTER),
        (&set, |_, entry| entry[0x0e] ^= 1, INPUT_POINTER),
        (&set, |_, entry| entry[0x0b..0x10].fill(0), INPUT_POINTER),
        (&set, |bench, _| bench.put(Bench::chains(0, 0).0 + BLOCK + 0x238, &[0, 0, 0, 2, 0, 0, 0, 0]), NUMBER),
        (&caps, |_, entry| entry[0x3c] ^= 0x40, TOKEN),
    ];
    for (request, spoil, delivery) in cases {
        let mut entry = bench.entry(0, request, 0x1010);
        entry[0x20..0x30].fill(0xee);
        spoil(&bench, &mut entry);
        bench.post(0, &entry);
        let back = bench.wait(0, SECOND).unwrap();
        assert_eq!((back.delivery, &back.entry[0x20..0x30]), (delivery, &[0xee; 16][..]));
    }
    bench.assert_clean();
}

#[test]
fn a_chain_may_be_longer_than_its_command_and_a_token_may_be_none() {
    let bench = Bench::booted("cx5");
    let mut entry = bench.entry(0, &request(QUERY_HCA_CAP, 1, &[], 0x10), 0x1010);
    entry[0x38..0x3c].copy_from_slice(&0x458_u32.to_be_bytes());
    entry[0x3c] = 0;
    bench.post(0, &entry);
    let back = bench.wait(0, SECOND).unwrap();
    assert_eq!((back.delivery, back.bytes[0]), (0, 0));
    bench.assert_clean();
}

#[test]
fn slots_are_independent_and_several_may_be_rung_at_once() {
    let bench = Bench::booted("cx5");
    for slot in [3, 31] {
        let entry = bench.entry(slot, &request(QUERY_PAGES, 2, &[], 0x10), 0x10);
        bench.put(QUEUE + 64 * slot, &entry);
    }
    bench.write(0x18, 1 << 31 | 1 << 3);
    for slot in [31, 3] {
        assert_eq!(bench.wait(slot, SECOND).unwrap().bytes[0xf], 112);
    }
    bench.assert_clean();
}

#[test]
fn wrong_use_of_the_queue_is_noted() {
    let bench = Bench::ready("cx5");
    bench.put(QUEUE, &[0; 64]);
    bench.write(0x18, 1);
    let request = request(ENABLE_HCA, 0, &[], 0x10);
    bench.start(0, &request, 0xc);
    bench.write(0x18, 1);
    bench.wait(0, SECOND).unwrap();
    let swapped = [0x0a_u8, 1].iter().chain(&[0; 14]).copied().collect::<Vec<u8>>();
    bench.start(0, &swapped, 0xc);
    assert_eq!(bench.wait(0, SECOND).unwrap().bytes[0], BAD_OPERATION);
    let noted = bench.violations();
    for name in ["still the driver's", "was not answered", "wrong order"] {
        assert!(noted.iter().any(|violation| violation.contains(name)), "{name}: {noted:?}");
    }
}

#[test]
fn what_takes_long_may_take_very_long() {
    for (spec, least, most) in [("cx5", 0, 30), ("cx5,nasty", 50, 350), ("cx5,fault=slow-cmd", 1000, 20_100)] {
        let bench = Bench::ready(spec);
        let before = bench.engine.now();
        bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
        let took = (bench.engine.now() - before) / MILLISECOND;
        assert!((least..=most).contains(&took), "{spec}: {took} ms");
    }
}

#[test]
fn a_nasty_card_takes_its_time_for_statistics() {
    for (spec, least) in [("cx5", 0), ("cx5,nasty", 5)] {
        let bench = Bench::booted(spec);
        bench.give_all(2);
        bench.must(INIT_HCA, 0, &[], 0x10, 0x10);
        let before = bench.engine.now();
        bench.must(0x770, 0, &[], 0x20, 0x210);
        let took = (bench.engine.now() - before) / MILLISECOND;
        assert!((least..least + 3).contains(&took), "{spec}: {took} ms");
    }
}

#[test]
fn an_answer_may_come_when_nobody_waits_any_more() {
    let bench = Bench::ready("cx5,fault=late:2");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    bench.start(0, &request(QUERY_ISSI, 0, &[], 0x10), 0x70);
    assert!(bench.wait(0, 60 * SECOND).is_none());
    // Whatever is in the slot by then.
    bench.put(QUEUE, &[0xff; 64]);
    bench.run(2 * SECOND);
    assert_eq!(bench.bytes(QUEUE, 64)[0x20..0x24], [0; 4]);
    bench.must(SET_ISSI, 0, &[(8, 1)], 0x10, 0x10);
}

#[test]
fn commands_fail_or_are_never_answered_on_demand() {
    let bench = Bench::ready("cx5,fault=error:2");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    assert_eq!(bench.command(QUERY_ISSI, 0, &[], 0x10, 0x70), Err(INTERNAL));
    let bench = Bench::ready("cx5,fault=timeout:2");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    for _ in 0..2 {
        bench.start(0, &request(QUERY_ISSI, 0, &[], 0x10), 0x70);
        assert!(bench.wait(0, 2 * SECOND).is_none());
        bench.run(SECOND);
    }
}

#[test]
fn a_queue_for_commands_is_told_of_those_that_began_when_it_was_there() {
    let bench = Bench::running("cx5");
    let eqn = bench.event_queue(1 << 0x0a);
    bench.run(MILLISECOND);
    assert_eq!(bench.event(), None, "not of the one that made it");
    bench.start(5, &request(ALLOC_PD, 0, &[], 0x10), 0x10);
    bench.wait(5, SECOND).unwrap();
    let (kind, _, data) = bench.event().unwrap();
    assert_eq!((kind, be::u32_at(&data, 0)), (0x0a, 1 << 5));
    bench.must(DESTROY_EQ, 0, &[(8, eqn)], 0x10, 0x10);
    assert_eq!(bench.event(), None, "nor of the one that ends it");
    bench.assert_clean();
}

#[test]
fn an_event_of_a_command_may_be_lost() {
    let bench = Bench::running("cx5,fault=lose-eqe");
    bench.event_queue(1 << 0x0a);
    bench.must(ALLOC_PD, 0, &[], 0x10, 0x10);
    bench.run(MILLISECOND);
    assert_eq!(bench.event(), None);
}
