//! What firmware is known to refuse, to delay, to want and to leave as it was.

use super::*;
use crate::error::Kind;
use std::time::Duration;

/// An event that asks for pages, or offers some.
fn pages_wanted(function: u16, count: i32) -> [u8; 64] {
    let mut event = [0; 64];
    event[1] = 0x0b;
    event[0x22..0x24].copy_from_slice(&function.to_be_bytes());
    event[0x24..0x28].copy_from_slice(&count.to_be_bytes());
    event
}

#[test]
fn firmware_that_starts_is_waited_for_and_one_that_never_does_is_named() {
    let rig = Rig::new();
    rig.card.hold(0x1fc, 1 << 31);
    let error = rig.open(&Config::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().starts_with("a card: its firmware 14.12 has not started in 120 s"), "{error}");
    assert!(rig.card.waited().1 >= Duration::from_secs(120));
    assert!(rig.card.asked().is_empty(), "nothing is asked before");
    rig.card.hold(0x1fc, u32::MAX);
    assert_eq!(rig.open(&Config::default()).err().unwrap().kind(), Kind::Gone);
}

#[test]
fn another_command_interface_is_refused() {
    let rig = Rig::new();
    rig.card.hold(0x04, 0x0004_0000);
    assert!(rig.fails().contains("speaks command interface 4, this driver 5"));
}

#[test]
fn a_function_in_use_is_reset_once_more_and_then_given_up() {
    let rig = Rig::new();
    rig.says((0x104, 0), vec![refused(4, 0x1234), Said::default()]);
    drop(rig.opened());
    assert_eq!(rig.card.waited().0, 3, "at first, once more, and at the end");
    let rig = Rig::new();
    let text = rig.refuse(0x104, 4, 0x1234).fails();
    assert!(text.contains("the function is in use") && text.contains("syndrome 0x1234"), "{text}");
    assert_eq!(rig.codes(), [(0x104, 0), (0x104, 0)], "nothing is repaired by hand");
}

#[test]
fn without_interface_step_1_it_is_not_driven() {
    let rig = Rig::new();
    assert!(rig.refuse(0x10a, 2, 0).refuse(0x10b, 2, 0).fails().contains("does not know interface step 1"));
    let rig = Rig::new();
    rig.says((0x10a, 0), vec![answer(&[(0x6c, 1)])]);
    assert!(rig.fails().contains("does not know interface step 1"));
}

#[test]
fn a_port_of_infiniband_is_named_with_its_remedy() {
    let rig = Rig::new();
    rig.card.hold(0x0a, 0x0207);
    assert!(rig.fails().contains("LINK_TYPE"));
    assert!(rig.card.asked().is_empty(), "by its class");
    let rig = Rig::new();
    rig.says((0x100, 1), vec![answer(&[(0x44, 0x0610_0001)])]);
    assert!(rig.fails().contains("LINK_TYPE"));
    assert!(!rig.codes().contains(&(0x107, 2)), "no memory is given for that");
}

#[test]
fn no_pages_are_given_where_fewer_than_none_are_wanted() {
    let rig = Rig::new();
    rig.says((0x107, 1), vec![answer(&[(0xc, 0)])]).says((0x107, 2), vec![answer(&[(0xc, 0)])]);
    rig.says((0x107, 3), vec![answer(&[(0xc, -5i32 as u32)])]);
    drop(rig.opened());
    assert!(rig.card.asked_for(0x108).is_empty());
}

#[test]
fn pages_beyond_one_request_are_given_in_several() {
    let rig = Rig::new();
    rig.says((0x107, 2), vec![answer(&[(0xc, 20_000)])]);
    drop(rig.opened());
    let gives = rig.card.asked_for(0x108).into_iter().filter(|asked| asked.code().1 == 1);
    assert_eq!(gives.map(|asked| word(&asked, 0xc)).collect::<Vec<_>>(), [6, 16_384, 3_616]);
}

#[test]
fn pages_that_are_refused_end_the_start() {
    let rig = Rig::new();
    let text = rig.refuse(0x108, 3, 0xabc).fails();
    assert!(text.starts_with("a card: its firmware refused MANAGE_PAGES (0x108) with BAD_PARAM (0x3), syndrome 0xabc"));
}

#[test]
fn a_refusal_to_change_capabilities_is_survived_and_so_are_other_ones_that_matter_little() {
    let rig = Rig::new();
    for code in [0x109, 0x771, 0x770, 0x773, 0x805, 0x829, 0x82b, 0x750] {
        rig.refuse(code, 3, 0);
    }
    let mut opened = rig.opened();
    let stats = opened.ops.stats().unwrap();
    assert_eq!((stats.rx_missed, stats.rx_packets), (None, 0), "not counted, and said so");
    assert_eq!(opened.ops.link().unwrap(), crate::driver::Link::default());
}

#[test]
fn doorbells_are_where_the_firmware_thinks_that_pages_are() {
    let rig = Rig::new();
    rig.refuse(0x109, 3, 0);
    rig.says((0x100, 1), vec![answer(&[(0x44, 0x0210_0101), (0x50, 8), (0x2c, 7), (0x88, 15), (0xa0, 20)])]);
    let text = rig.fails();
    assert!(text.contains("doorbells are to be at"), "{text}");
}

#[test]
fn a_command_that_is_not_delivered_is_named_and_the_answer_before_is_not_taken_for_it() {
    let rig = Rig::new();
    rig.says((0x10b, 0), vec![Said { delivery: 4, ..Said::default() }]);
    assert!(
        rig.fails()
            .contains("SET_ISSI (0x10b) was not delivered: its output mailbox is not aligned (delivery status 0x4)")
    );
}

#[test]
fn after_a_silence_nothing_is_asked_and_the_function_is_reset() {
    let rig = Rig::new();
    rig.says((0x102, 0), vec![Said { silent: true, ..Said::default() }]);
    let error = rig.open(&Config::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("did not answer INIT_HCA (0x102) in 60 s"), "{error}");
    assert_eq!(rig.codes().last(), Some(&(0x102, 0)), "neither the rest nor a farewell");
    assert_eq!(rig.card.waited().0, 2);
}

#[test]
fn a_wait_ends_when_the_card_says_that_it_is_dead() {
    for (offset, value, text) in [
        (0x14u64, 0x156u32, "the function was disabled"),
        (0x14, 0x756, "the whole card is being reset"),
        (0x230, u32::MAX, "the card does not answer"),
    ] {
        let rig = Rig::new();
        let mut opened = rig.opened();
        rig.says((0x770, 0), vec![Said { silent: true, ..Said::default() }]);
        rig.card.hold(offset, value);
        let before = rig.card.waited().1;
        let error = opened.ops.stats().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert!(rig.card.waited().1 - before < Duration::from_secs(1));
        assert!(opened.ops.link().is_err(), "and from then on");
    }
    let rig = Rig::new();
    let mut opened = rig.opened();
    rig.card.hold(0x238, 1 << 31);
    rig.card.hold(0x23c, 0x0010_0000);
    assert!(opened.ops.link().unwrap_err().to_string().contains("it is too hot (syndrome 0x10)"));
}

#[test]
fn pages_that_are_wanted_while_a_command_waits_are_given_by_the_other_entry() {
    let rig = Rig::new();
    let events = vec![pages_wanted(0, 10), pages_wanted(0, 4), pages_wanted(7, 3), pages_wanted(0, -2)];
    let held = Said { events, held: true, ..answer(&[(8, 0x77)]) };
    rig.says((0x400, 0), vec![held, answer(&[(8, 0x78)])]);
    let before = 6 + 12868;
    let mut opened = rig.opened();
    opened.ops.link().unwrap();
    opened.ops.link().unwrap();
    opened.ops.link().unwrap();
    opened.ops.link().unwrap();
    let asked = rig.card.asked_for(0x108);
    let of: Vec<_> = asked[2..].iter().map(|asked| (asked.code().1, word(asked, 8), word(asked, 0xc))).collect();
    assert_eq!(of, [(1, 0, 10), (1, 0, 4), (0, 7, 0), (2, 0, 2)], "given, given, not ours to give, taken");
    assert_eq!(rig.firmware.lock().unwrap().pages.len(), before + 12);
    assert_eq!(opened.rx.len(), 1);
}

#[test]
fn that_it_refuses_the_pages_it_asked_for_is_no_failure() {
    let rig = Rig::new();
    let mut opened = rig.opened();
    rig.refuse(0x108, 3, 0);
    rig.card.event(pages_wanted(0, 5));
    for _ in 0..4 {
        opened.ops.link().unwrap();
    }
    assert_eq!(rig.card.asked_for(0x108).len(), 3);
}

#[test]
fn pages_that_come_back_in_odd_numbers_are_waited_for_and_strange_ones_are_left() {
    let rig = Rig::new();
    rig.set(|firmware| firmware.returns = Some(777));
    drop(rig.opened());
    assert!(rig.firmware.lock().unwrap().pages.is_empty());
    assert_eq!(rig.codes().last(), Some(&(0x105, 0)));
    let rig = Rig::new();
    rig.set(|firmware| firmware.returns = Some(0));
    let before = {
        let opened = rig.opened();
        let before = rig.card.waited();
        drop(opened);
        before
    };
    let after = rig.card.waited();
    // Five seconds by the clock of the machine, or by that of the card.
    assert!((after.1 - before.1).as_secs() < 7, "it keeps them");
    assert_eq!(after.0, before.0 + 1, "until the function is reset");
    let rig = Rig::new();
    rig.set(|firmware| firmware.strange = Some(0xdead_0000));
    drop(rig.opened());
    assert_eq!(rig.codes().last().unwrap().0, 0x108, "nothing more is asked");
}

#[test]
fn flow_tables_that_are_not_to_be_had_are_smaller_or_somebody_elses() {
    let rig = Rig::new();
    rig.says((0x930, 0), vec![refused(8, 0), refused(8, 0), answer(&[(8, 5)])]);
    drop(rig.opened());
    assert_eq!(word(&rig.card.asked_for(0x930)[2], 0x18) & 0xff, 5);
    let rig = Rig::new();
    assert!(rig.refuse(0x930, 9, 0x98afbb).fails().contains("switchdev"));
}

#[test]
fn frames_that_the_port_does_not_let_pass_are_not_promised() {
    let rig = Rig::new();
    rig.says((0x805, 1), vec![answer(&[(0x14, 10_000 << 16), (0x18, 1522 << 16), (0x1c, 1522 << 16)])]);
    let jumbo = Config { max_frame: 9000, ..Config::default() };
    let error = rig.open(&jumbo).err().unwrap();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().contains("lets frames of up to 1518 bytes pass"), "{error}");
    drop(rig.open(&Config { shorter_frames: true, ..jumbo }).unwrap());
    drop(rig.opened());
}

#[test]
fn promiscuous_mode_that_is_refused_is_an_error_only_where_it_is_asked_for_by_itself() {
    let rig = Rig::new();
    rig.refuse(0x755, 3, 0);
    let mut opened = rig.opened();
    opened.ops.set_multicast(&[]).unwrap();
    drop(opened);
    let plain = Config { promiscuous: false, ..Config::default() };
    let mut opened = rig.open(&plain).unwrap();
    assert_eq!(opened.ops.set_promiscuous(true).unwrap_err().kind(), Kind::Permission);
    opened.ops.set_promiscuous(false).unwrap();
}

#[test]
fn a_link_that_does_not_come_up_is_told_with_what_the_port_says() {
    let rig = Rig::new();
    let mut ops = rig.opened().ops;
    // Behind the head of the answer: state, negotiation, FEC, lanes; then the module.
    let register =
        |words: &[(usize, u32)]| answer(&words.iter().map(|(at, word)| (0x10 + at, *word)).collect::<Vec<_>>());
    let port =
        [register(&[(0, 0x0001_0202)]), register(&[(0, 0x4001_0004)]), register(&[(0x14, 0)]), register(&[(4, 0)])];
    let mut said = |module: Vec<Said>| {
        rig.says((0x805, 1), [&port[..], &module].concat());
        ops.why_down().unwrap()
    };
    let name =
        |name: &[u8; 4]| register(&[(0x10, u32::from_be_bytes(*name)), (0x14, 0x2020_2020), (0x1c, 0x2020_ff00)]);
    assert_eq!(
        said(vec![register(&[(0x10, 0x0300_0000)]), name(b"Acme"), name(b"DAC1")]),
        "the port is switched off, does not negotiate, FEC chosen by the firmware, module Acme DAC1 in place"
    );
    for (status, words) in [(3, "no module"), (9, "the module's bus is stuck"), (0x40, "cannot be read (status 64)")] {
        let text = said(vec![register(&[(0, status)])]);
        assert!(text.ends_with(words), "{text}");
    }
    rig.refuse(0x805, 1, 0x1234);
    assert_eq!(ops.why_down(), None, "somebody else's port");
}

#[test]
fn what_has_number_0_was_not_made_and_is_not_taken_back() {
    // Doorbells, a key, counters: without the first two no queue can be.
    for (make, undo, why) in [(0x802, 0x803, "page 0 of BAR 0"), (0x200, 0x202, "no key of memory"), (0x771, 0x772, "")]
    {
        let rig = Rig::new();
        rig.says((make, 0), vec![answer(&[(8, 0), (0xc, 0)])]);
        match rig.open(&Config::default()) {
            Ok(opened) => drop(opened),
            Err(error) => assert!(!why.is_empty() && error.to_string().contains(why), "{error}"),
        }
        assert_eq!(rig.card.asked_for(make).len(), 1);
        assert!(rig.card.asked_for(undo).is_empty(), "{undo:#x} would take away what is the card's own");
    }
}

#[test]
fn a_card_that_is_closed_is_not_asked_again_what_it_has_no_time_for() {
    const BUSY: u8 = 6;
    // A domain of protection: at the close, and while it is open.
    let rig = Rig::new();
    let opened = rig.opened();
    rig.refuse(0x801, BUSY, 0);
    drop(opened);
    assert_eq!(rig.card.asked_for(0x801).len(), 1);
    let rig = Rig::new();
    rig.refuse(0x800, BUSY, 0).fails();
    assert_eq!(rig.card.asked_for(0x800).len(), 10);
}
