//! What nobody should answer, and what others do to a card that is in use.

use super::*;
use crate::error::Kind;
use crate::net::MacAddr;
use std::time::Duration;

#[test]
fn flow_tables_that_are_too_small_are_refused() {
    for log in 0..4u32 {
        let rig = Rig::new();
        rig.says((0x100, 15), vec![answer(&[(0x50, 0x8800_0000), (0x54, log << 24 | 0xff)])]);
        match rig.open(&Config::default()) {
            Ok(_) => assert_eq!(log, 3),
            Err(error) => assert_eq!((error.kind(), log < 3), (Kind::Unsupported, true), "{error}"),
        }
    }
}

#[test]
fn a_counter_that_was_cleared_counts_from_there_on() {
    let rig = Rig::new();
    let frames = |count: u32| answer(&[(0x94, count), (0xb4, count), (0x9c, 60 * count)]);
    rig.says((0x770, 0), vec![frames(1000), frames(1500), frames(10), frames(12)]);
    let mut ops = rig.opened().ops;
    let seen: Vec<u64> = (0..3).map(|_| ops.stats().unwrap().rx_packets).collect();
    assert_eq!(seen, [1000, 1000, 1004]);
}

#[test]
fn more_groups_than_a_list_holds_are_received_with_all_others() {
    for count in [60u32, 600, 2000] {
        let rig = Rig::new();
        let mut ops = rig.opened().ops;
        let groups: Vec<MacAddr> = (0..count).map(|n| MacAddr([1, 0, 0x5e, 0, (n >> 8) as u8, n as u8])).collect();
        ops.set_multicast(&groups).unwrap();
        let changes = rig.card.asked_for(0x755);
        // Of the vport: everything, all groups, all addresses.
        let allowed: Vec<u32> = changes.iter().map(|change| word(change, 0x1f0) >> 29).collect();
        assert_eq!(allowed.last().unwrap() >> 1 & 1, 1, "{count}: {allowed:x?}");
    }
}

#[test]
fn what_the_firmware_wants_is_found_behind_many_other_events() {
    for before in [0, 127, 128, 200, 4095] {
        let rig = Rig::new();
        let mut ops = rig.opened().ops;
        rig.card.forget();
        let event = |kind: u8| {
            let mut event = [0; 64];
            event[1] = kind;
            event
        };
        (0..before).for_each(|_| rig.card.event(event(9)));
        let mut pages = event(0x0b);
        pages[0x27] = 5;
        rig.card.event(pages);
        (0..20).for_each(|_| _ = ops.link().unwrap());
        assert_eq!(rig.card.asked_for(0x108).len(), 1, "{before}");
    }
}

#[test]
fn a_card_that_somebody_else_has_reset_is_not_taken_for_a_healthy_one() {
    let rig = Rig::new();
    let mut ops = rig.opened().ops;
    ops.clock(&mut || 0).unwrap();
    rig.card.hold(0x10, 0);
    rig.card.hold(0x14, 0x56);
    let error = ops.clock(&mut || 0).unwrap_err();
    assert_eq!(error.kind(), Kind::Device);
    assert!(error.to_string().contains("reset by somebody else"), "{error}");
}

#[test]
fn firmware_that_falls_silent_does_not_hold_up_the_end() {
    let rig = Rig::new();
    let opened = rig.opened();
    rig.says((0x755, 0), vec![Said { silent: true, ..Said::default() }]);
    let before = rig.card.waited();
    drop(opened);
    let after = rig.card.waited();
    assert!(after.1 - before.1 < Duration::from_secs(6), "{:?}", after.1 - before.1);
    assert_eq!(after.0, before.0 + 1, "it is reset");
}

/// Each answer in turn is nothing but one byte.
#[test]
fn nonsense_is_survived_whatever_it_answers() {
    let four = Config { rx_queues: 4, timestamps: true, ..Config::default() };
    let narrow = Config { shorter_frames: true, max_frame: 9000, promiscuous: false, ..Config::default() };
    let rig = Rig::new();
    let mut opened = rig.open(&four).unwrap();
    let _ = (opened.ops.link(), opened.ops.stats(), opened.ops.why_down());
    drop(opened);
    let mut codes = rig.codes();
    codes.sort_unstable();
    codes.dedup();
    assert!(codes.len() > 40, "{codes:x?}");
    for code in codes {
        for (fill, config) in [(0xff, &four), (0x80, &narrow), (0x01, &four), (0x7f, &narrow)] {
            let rig = Rig::new();
            // It starts with a page.
            rig.says((0x107, 2), vec![answer(&[(0xc, 1)])]);
            let output = [vec![0; 8], vec![fill; 0x1008]].concat();
            rig.says(code, vec![Said { output, ..Said::default() }]);
            let Ok(mut opened) = rig.open(config) else { continue };
            for _ in 0..2 {
                let _ = (opened.ops.link(), opened.ops.stats(), opened.ops.why_down());
            }
            let _ = (opened.ops.clock(&mut || 0), opened.ops.set_multicast(&[]));
        }
    }
}
