//! Admin queues, firmware, and what can be wrong with it.

use super::*;

#[test]
fn firmware_tells_its_version_and_counts_its_interface() {
    let mut bench = Bench::unlinked("x710,strict");
    let answer = bench.tell(0x0001, &[]);
    assert_eq!((answer.u16(12), answer.u16(14)), (1, 15));
    bench.assert_clean();
    let mut bench = Bench::unlinked("x710,strict,fault=old");
    assert!(bench.tell(0x0001, &[]).u16(14) < 5);
}

#[test]
fn capabilities_ask_for_room_and_then_fit() {
    let mut bench = Bench::unlinked("x710,strict");
    let short = bench.ask(0x000a, [0; 16], None, 64).unwrap();
    assert_eq!((short.result, short.flags & 4), (9, 4));
    let room = usize::from(short.length);
    let answer = bench.ask(0x000a, [0; 16], None, room).unwrap();
    assert_eq!((answer.result, answer.data.len()), (0, room));
    let element = |id: u16| answer.data.chunks(32).find(|e| e[..2] == id.to_le_bytes()).unwrap();
    let number = |id| u32::from_le_bytes(element(id)[4..8].try_into().unwrap());
    assert_eq!((number(0x40), number(0x41), number(0x42), number(0x43)), (512, 128, 128, 129));
    bench.assert_clean();
}

#[test]
fn the_switch_has_one_vsi_with_the_address_of_the_card() {
    let mut bench = Bench::unlinked("x710,strict,mac=02:00:00:00:00:07");
    let answer = bench.ask(0x0200, [0; 16], None, 512).unwrap();
    assert_eq!((answer.result, &answer.data[..4], answer.data[16]), (0, &[1, 0, 1, 0][..], 19));
    assert_eq!(u16::from_le_bytes([answer.data[18], answer.data[19]]), MAIN);
    let answer = bench.ask(0x0107, [0; 16], None, 24).unwrap();
    assert_eq!((answer.u16(0) & 0x10, &answer.data[..6]), (0x10, &[2, 0, 0, 0, 0, 7][..]));
    let mut params = [0; 16];
    params[..2].copy_from_slice(&MAIN.to_le_bytes());
    let vsi = bench.ask(0x0212, params, None, 128).unwrap();
    // Seid, number and statistics index are three different things.
    let stat = u16::from_le_bytes([vsi.data[112], vsi.data[113]]);
    assert_eq!((vsi.u16(0), vsi.u16(2), stat), (MAIN, 6, 9));
    bench.assert_clean();
}

#[test]
fn filters_are_added_once_and_removed_once() {
    let mut bench = Bench::unlinked("x710");
    let mut element = vec![0; 16];
    element[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    element[8] = 1 | 4;
    element[12] = 0xff;
    let params = |count: u16| {
        let mut params = [0; 16];
        params[..2].copy_from_slice(&count.to_le_bytes());
        params[2..4].copy_from_slice(&(MAIN | 0x8000).to_le_bytes());
        params
    };
    let added = bench.ask(0x0250, params(1), Some(&element), 0).unwrap();
    assert_eq!((added.result, added.data[12]), (0, 1));
    assert_eq!(bench.ask(0x0250, params(1), Some(&element), 0).unwrap().result, 13);
    element[8] = 1 | 8;
    assert_eq!(bench.ask(0x0251, params(1), Some(&element), 0).unwrap().result, 0);
    let missing = bench.ask(0x0251, params(1), Some(&element), 0).unwrap();
    assert_eq!((missing.result, missing.data[12]), (2, 2));
    bench.assert_clean();
}

#[test]
fn a_link_change_is_one_event_until_it_is_asked_for_again() {
    let mut bench = Bench::unlinked("x710,strict,link=1ms");
    let down = bench.tell(0x0607, &[3]);
    assert_eq!((down.params[0] & 1, down.params[4] & 1), (1, 0));
    bench.run(2_000_000_000);
    bench.run(2_000_000_000);
    let events = bench.events();
    assert_eq!(events.iter().map(|(opcode, _)| *opcode).collect::<Vec<_>>(), [0x0607]);
    assert_eq!(events[0].1[4] & 0x21, 0x21);
    assert_eq!(bench.read(0x38780) >> 30 & 1, 1, "ICR0.ADMINQ");
    // Not armed: down and up again go unreported.
    bench.tell(0x0605, &[6]);
    bench.run(4_000_000_000);
    assert_eq!(bench.events().len(), 1);
    bench.tell(0x0607, &[3]);
    bench.tell(0x0605, &[6]);
    bench.run(4_000_000_000);
    assert_eq!(bench.events().len(), 2);
    bench.assert_clean();
}

#[test]
fn shadow_ram_is_read_word_by_word_and_sums_up() {
    for (spec, right) in [("x710,strict", true), ("x710,strict,fault=nvm", false)] {
        let mut bench = Bench::unlinked(spec);
        let lock = bench.tell(0x0008, &[1, 1, 3000]);
        assert_eq!(lock.u16(4), 3000);
        let word = |at: u32| {
            bench.write(0xb6110, 1 << 30 | at << 14);
            assert_eq!(bench.read(0xb6110) >> 31, 1);
            (bench.read(0xb6114) >> 16) as u16
        };
        let modules = [word(0x2f), word(0x3e)].map(|at| u32::from(at)..u32::from(at) + 512);
        let counted =
            (0..512 << (bench.read(0xb6100) >> 5 & 7)).filter(|at| !modules.iter().any(|module| module.contains(at)));
        let sum = counted.fold(0u16, |sum, at| sum.wrapping_add(word(at)));
        assert_eq!((word(0) >> 6 & 3, sum == 0xbaba), (1, right));
        bench.tell(0x0009, &[1]);
        bench.assert_clean();
    }
}

#[test]
fn the_x722_reads_its_shadow_ram_and_sets_rss_by_command() {
    let mut bench = Bench::unlinked("x722,strict");
    bench.tell(0x0008, &[1, 1, 3000]);
    let mut params = [0; 16];
    (params[0], params[2]) = (1, 2);
    assert_eq!(bench.ask(0x0701, params, None, 2).unwrap().data, [0x40, 0]);
    let key: Vec<u8> = (0..52).collect();
    assert_eq!(
        bench.ask(0x0b02, [6, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Some(&key), 0).unwrap().result,
        0
    );
    assert_eq!(bench.read(0x244800 + 128 * 12), 0x3332_3130);
    bench.assert_clean();
}

#[test]
fn every_fault_shows_as_what_it_is_called() {
    let version = |spec: &str, times: usize| {
        let mut bench = Bench::unlinked(spec);
        let answers: Vec<_> = (0..times).map(|_| bench.ask(0x0001, [0; 16], None, 0)).collect();
        (bench, answers)
    };
    assert!(version("x710,fault=timeout", 1).1[0].is_none());
    let (bench, answers) = version("x710,fault=crash:2", 2);
    assert!(answers[0].is_some() && answers[1].is_none());
    assert_eq!(bench.read(0x80200) >> 30 & 1, 1, "ATQCRIT");
    // A reset of the function brings firmware back.
    bench.reset();
    bench.open_admin();
    let (_, answers) = version("x710,fault=error:2", 3);
    assert_eq!(answers.iter().map(|a| a.as_ref().unwrap().result).collect::<Vec<_>>(), [0, 5, 0]);
    let (_, answers) = version("x710,fault=opcode", 1);
    assert_ne!(answers[0].as_ref().unwrap().opcode, 1);
    let mut bench = Bench::unlinked("x710,fault=short");
    assert!(bench.ask(0x0107, [0; 16], None, 24).unwrap().length < 24);
    let bench = Bench::unlinked("x710,fault=flood");
    bench.run(1_000_000_000);
    assert_eq!((bench.events().len() as u32, bench.read(0x80280) >> 29 & 1), (ADMIN - 1, 1));
}

#[test]
fn a_module_that_does_not_fit_never_gives_a_link() {
    let mut bench = Bench::unlinked("x710,strict,fault=media");
    bench.run(10_000_000_000);
    let status = bench.tell(0x0607, &[0]);
    // Media there, link down, module not qualified.
    assert_eq!((status.params[4] & 0x41, status.params[5] & 0x80), (0x40, 0));
}

#[test]
fn an_empty_cage_has_no_medium_and_no_memory() {
    let mut bench = Bench::unlinked("x710,strict,fault=no-module");
    bench.run(10_000_000_000);
    let status = bench.tell(0x0607, &[0]);
    assert_eq!((status.params[2], status.params[4] & 0x41), (0x0e, 0));
    let params = [2, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(bench.ask(0x0629, params, None, 0).unwrap().result, 5);
}

#[test]
fn misuse_of_the_admin_queue_is_named() {
    let mut bench = Bench::unlinked("x710");
    assert_eq!(bench.ask(0x7777, [0; 16], None, 0).unwrap().result, 3);
    bench.write(OWN, ADMIN);
    bench.put_qword(ATQ + 32 * bench.asked as usize, 1 | 1 << 16);
    bench.asked += 1;
    bench.write(OWN, bench.asked);
    assert_eq!(
        bench.violations(),
        ["ATQH or ATQT is outside the ring", "command descriptor that says it is done", "unknown admin command 0x7777"]
    );
}

#[test]
fn a_command_of_a_code_is_refused_each_time_and_no_other() {
    for (fault, result) in [("denied", 1), ("unsupported", 2), ("error", 5)] {
        let mut bench = Bench::unlinked(&format!("x710,strict,fault={fault}:0x0613"));
        let masked = bench.ask(0x0613, [0; 16], None, 0).unwrap();
        assert_eq!((masked.result, masked.flags & 7), (result, 7));
        assert_eq!(bench.ask(0x0613, [0; 16], None, 0).unwrap().result, result);
        bench.tell(0x0607, &[0]);
    }
    let mut bench = Bench::unlinked("x710,strict,fault=busy:0x0613");
    for result in [12, 0, 12, 0] {
        assert_eq!(bench.ask(0x0613, [0; 16], None, 0).unwrap().result, result);
    }
    let mut bench = Bench::unlinked("x710,strict,fault=hollow:0x0107");
    let answer = bench.ask(0x0107, [0; 16], None, 24).unwrap();
    assert_eq!((answer.result, answer.length, answer.u16(0)), (0, 24, 0));
    bench.assert_clean();
}

#[test]
fn a_function_that_shares_its_port_may_not_change_it() {
    let mut bench = Bench::unlinked("x710,strict,fault=npar");
    for opcode in [0x0601, 0x0603, 0x0605, 0x0613, 0x0618] {
        assert_eq!(bench.ask(opcode, [0; 16], None, 0).unwrap().result, 1, "{opcode:#06x}");
    }
    bench.tell(0x0607, &[0]);
    bench.assert_clean();
}

#[test]
fn firmware_that_is_not_ready_says_so_or_says_nothing() {
    let mut bench = Bench::unlinked("x710,strict,fault=nvm-held");
    let lock = [1, 0, 1, 0, 0xb8, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let held = bench.ask(0x0008, lock, None, 0).unwrap();
    assert_eq!((held.result, held.u16(4)), (12, 1000), "the rest of its time");
    bench.run(1_000_000_000_000);
    assert_eq!(bench.ask(0x0008, lock, None, 0).unwrap().result, 0);

    let mut bench = Bench::unlinked("x710,strict,fault=phy-busy");
    assert_eq!(bench.ask(0x0600, [0; 16], None, 24).unwrap().result, 8);
    bench.run(300_000_000_000);
    assert_eq!(bench.ask(0x0600, [0; 16], None, 24).unwrap().result, 0);
    assert_eq!(Bench::unlinked("x710,fault=phy-unknown").ask(0x0600, [0; 16], None, 24).unwrap().result, 5);

    let mut bench = Bench::unlinked("x710,strict,fault=slow-start");
    assert!(bench.ask(0x0001, [0; 16], None, 0).is_none());
    bench.run(800_000_000_000);
    assert_eq!(bench.read(0x80300), 0, "nor does it see it later by itself");
    bench.asked = 0;
    bench.open_admin();
    bench.tell(0x0001, &[]);
    bench.assert_clean();
}

#[test]
fn a_device_that_is_reset_is_loaded_later_and_a_function_takes_its_time() {
    let engine = Engine::new(Drive::Manual);
    let (function, _) = engine.open(&"x710,strict,fault=slow-reset".parse::<Spec>().unwrap()).unwrap();
    let bar = function.bar(0).unwrap();
    let state = || (bar.read32(0xb8188) & 3, bar.read32(0xb6008) & 0x18);
    assert_eq!(state(), (1, 0));
    engine.advance(1_000_000_000_000);
    assert_eq!(state(), (0, 0));
    engine.advance(1_500_000_000_000);
    assert_eq!(state(), (0, 0x18));
    bar.write32(0x92400, 1);
    assert_eq!(bar.read32(0x92400), 1);
    engine.advance(400_000_000_000);
    assert_eq!(bar.read32(0x92400), 0);
}

#[test]
fn the_module_is_read_byte_by_byte() {
    for (card, device, identifier) in [("x710", 0xa0, 0x03), ("xl710", 0, 0x11)] {
        let mut bench = Bench::unlinked(&format!("{card},strict"));
        let mut byte = |interface: u8, device: u8, at: u8| {
            let mut params = [0; 16];
            (params[0], params[1], params[4]) = (interface, device, at);
            let answer = bench.ask(0x0629, params, None, 0).unwrap();
            (answer.result, answer.params[8])
        };
        assert_eq!(byte(2, device, 0), (0, identifier));
        assert_eq!(byte(0, device, 0).0, 5, "no PHY of the card's own");
        let vendor = if card == "xl710" { 148 } else { 20 };
        assert_eq!(byte(2, device, vendor), (0, b'I'));
    }
}

/// As a driver logged them of real cards: a write of a register, and a command that found
/// nothing, whose buffer stays what it was.
#[test]
fn descriptors_come_back_as_those_of_real_cards() {
    let mut bench = Bench::unlinked("x710");
    let write = bench.ask(0x0207, [0, 0, 0, 0, 0xe8, 0x29, 0x20, 0, 0, 0, 0, 0, 0xff, 7, 0xff, 7], None, 0).unwrap();
    assert_eq!((write.flags, write.length, write.result), (0x2003, 0, 0));
    assert_eq!(write.params, [0, 0, 0, 0, 0xe8, 0x29, 0x20, 0, 0, 0, 0, 0, 0xff, 7, 0xff, 7]);
    let nothing = bench.ask(0x0a07, [0; 16], None, 0x20).unwrap();
    assert_eq!((nothing.flags, nothing.length, nothing.result), (0x3007, 0x20, 2));
}
