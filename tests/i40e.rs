//! The i40e driver and a firmware that lies, falls silent, or is not fit for it.
//!
//! A pass shows that whatever the firmware answers, the user gets one line and
//! the card is stopped. What the driver does with a firmware that keeps to the
//! datasheet, the emulated cards show (`driver.rs`).

#[path = "common/families.rs"]
mod families;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::Kind;
use bmnic::driver::{self, Config, Port};
use silicon::i40e::{self, COUNTERS, Card, Fault};
use std::time::Duration;

fn open(fault: Fault) -> (Card, Port) {
    let card = i40e::card(fault);
    let port = driver::open(card.function(), &Config::default()).unwrap_or_else(|e| panic!("{e}"));
    (card, port)
}

#[test]
fn a_card_that_cannot_be_driven_is_refused_in_one_line_and_left_stopped() {
    for (fault, kind, part) in [
        (Fault::AllOnes, Kind::Gone, "does not answer"),
        (Fault::EndlessReset, Kind::Timeout, "PFGEN_CTRL = 0x"),
        (Fault::DeadQueues, Kind::Timeout, "QRX_ENA = 0x"),
        (Fault::Silence, Kind::Timeout, "(command 0x0001) in 250 ms (PF_ATQH = 0x0"),
        (Fault::NoAnswer, Kind::Device, "(command 0x0001) without an answer"),
        (Fault::Echoes(0x000a), Kind::Device, "(command 0x000a) with an answer to another (0x0fff)"),
        (Fault::Short(0x0212), Kind::Device, "in 20 bytes, not 128"),
        (Fault::Long(0x0107), Kind::Device, "with 65520 bytes where there is room for 24"),
        (Fault::Refuses(0x0212, 14), Kind::Device, "14 EINVAL"),
        (Fault::HeadBeyondRing, Kind::Device, "PF_ATQH = 0x25, 32 descriptors"),
        (Fault::Version(1, 4), Kind::Unsupported, "too old: it speaks version 1.4"),
        (Fault::Version(2, 0), Kind::Unsupported, "too new: it speaks version 2.0"),
        (Fault::Blank, Kind::Unsupported, "NVM is blank"),
        (Fault::Recovery, Kind::Unsupported, "recovery mode"),
        (Fault::DamagedNvm, Kind::Device, "NVM is damaged (control word 0xffff)"),
    ] {
        let card = i40e::card(fault);
        let error = driver::open(card.function(), &Config::default()).err().unwrap_or_else(|| panic!("{fault:?}"));
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{fault:?}: {text}");
        assert!(text.starts_with("test:x710: ") && text.contains(part), "{fault:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!card.bus_master(), "{fault:?}: a card that was given up must not write to memory");
    }
}

#[test]
fn a_firmware_that_is_busy_is_asked_again_and_one_that_stays_so_is_named() {
    const EBUSY: u8 = 12;
    let card = i40e::card(Fault::Refuses(0x0212, EBUSY));
    let error = driver::open(card.function(), &Config::default()).err().unwrap();
    assert!(error.to_string().contains("12 EBUSY"), "{error}");
    assert!(i40e::commands(&card).iter().filter(|&&command| command == 0x0212).count() > 10);
}

#[test]
fn the_lock_of_the_nvm_is_asked_for_as_long_as_its_owner_has_time_left() {
    const EBUSY: u8 = 12;
    // What is left of it comes back as it was asked for: never less.
    let (card, port) = open(Fault::Refuses(0x0008, EBUSY));
    assert_eq!(i40e::commands(&card).iter().filter(|&&command| command == 0x0008).count(), 1800, "18 s");
    let lost = &port.nic.describe().lacks;
    assert!(lost.len() == 1 && lost[0].contains("the lock of its NVM (command 0x0008: 12 EBUSY)"), "{lost:?}");
}

#[test]
fn one_register_of_nothing_but_ones_is_no_card_that_is_gone() {
    // GLNVM_ULD, PF_FUNC_RID.
    for register in [0xb6008, 0x9c000] {
        let card = i40e::card(Fault::None);
        card.set(register, u32::MAX);
        let opened = driver::open(card.function(), &Config::default());
        assert!(opened.is_ok(), "{register:#x}: {:?}", opened.err());
    }
}

#[test]
fn the_link_follows_its_events_and_each_is_answered() {
    let (card, mut port) = open(Fault::None);
    let link = port.nic.link().unwrap();
    assert!(link.up && link.speed == 10_000_000_000, "{link:?}");
    let asked = || i40e::commands(&card).iter().filter(|&&command| command == 0x0607).count();
    let before = asked();
    for _ in 0..5 {
        assert!(port.nic.link().unwrap().up);
    }
    assert_eq!(asked(), before, "a link that is up is not asked for");
    assert!(i40e::event(&card, 0x0607, 0, i40e::link_params(true)));
    assert!(port.nic.link().unwrap().up);
    assert_eq!(asked(), before + 1, "the answer lets the firmware tell of the next change");
    // Statistics serve the events too.
    assert!(i40e::event(&card, 0x1001, 0, [0, 0]));
    port.nic.stats().unwrap();
    assert_eq!(card.get(0x80380), 2, "head");
    assert_eq!(card.get(0x80480), 1, "both descriptors were given back");
}

#[test]
fn pause_frames_are_turned_off_and_a_phy_that_is_left_off_on() {
    // Pause: 3; the link is wanted: 8, and negotiated: 0x10; at once: 0x20.
    for (found, set) in [(0x18, None), (0x1b, Some(0x38)), (0x1a, Some(0x38)), (0x10, Some(0x38))] {
        let (card, port) = open(Fault::Phy(found));
        assert_eq!(i40e::phy_abilities(&card), set, "{found:#x}");
        let restarted = i40e::commands(&card).contains(&0x0605);
        assert_eq!(restarted, found & 8 == 0, "a link that is up is not taken down twice");
        drop(port);
    }
    for (found, lost) in [(0x1b, "pause frames stay on"), (0x10, "its link may stay down")] {
        let (_card, port) = open(Fault::LockedPhy(found));
        let lines = &port.nic.describe().lacks;
        assert!(lines.len() == 1 && lines[0].contains(lost), "{lines:?}");
    }
}

#[test]
fn a_module_that_does_not_fit_ends_nothing_but_the_wait_for_its_link() {
    let refused = |port: &mut Port| {
        let error = port.nic.wait_for_link(Duration::from_millis(120)).unwrap_err();
        assert!(error.kind() == Kind::Timeout && error.to_string().contains("does not accept the module"), "{error}");
        assert!(!port.nic.link().unwrap().up);
    };
    let (card, mut port) = open(Fault::UnfitModule);
    refused(&mut port);
    card.break_it(Fault::None);
    assert!(port.nic.wait_for_link(Duration::from_secs(10)).unwrap().up, "it was read");
    // Swapped.
    card.break_it(Fault::UnfitModule);
    assert!(i40e::event(&card, 0x0607, 0, i40e::link_params(false)));
    refused(&mut port);
}

#[test]
fn a_flood_of_events_and_events_of_nonsense_are_survived() {
    let (card, mut port) = open(Fault::None);
    for round in 0..100 {
        let mut posted = 0;
        while i40e::event(&card, 0x1001 + round, if round % 2 == 0 { 0 } else { 0xfff0 }, [!0, !0]) {
            posted += 1;
        }
        assert_eq!(posted, 31, "the ring, less the descriptor that keeps head from tail");
        assert!(port.nic.link().unwrap().up);
        assert_eq!(card.get(0x80280) & 1 << 29, 0, "the overflow was noticed");
    }
    i40e::event_head(&card, 32);
    let error = port.nic.link().unwrap_err();
    assert!(error.kind() == Kind::Device && error.to_string().contains("PF_ARQH"), "{error}");
}

#[test]
fn a_card_that_goes_away_or_is_reset_while_open_is_told_and_can_still_be_closed() {
    let (card, mut port) = open(Fault::None);
    card.break_it(Fault::AllOnes);
    assert_eq!(port.nic.link().unwrap_err().kind(), Kind::Gone);
    assert_eq!(port.nic.stats().unwrap_err().kind(), Kind::Gone);
    drop(port);

    let (card, mut port) = open(Fault::None);
    card.set(0x80200, 0);
    let error = port.nic.stats().unwrap_err();
    assert!(error.kind() == Kind::Device && error.to_string().contains("reset under"), "{error}");
}

#[test]
fn what_a_card_reads_as_after_it_is_gone_is_not_counted() {
    // While the counters are read.
    for register in [0x36_c000 + 8 * COUNTERS, 0x30_0080, 0x30_0580] {
        let (card, mut port) = open(Fault::None);
        card.set(0x36_c000 + 8 * COUNTERS, 10);
        assert_eq!(port.nic.stats().unwrap().rx_packets, 10);
        card.break_it(Fault::GoneFrom(register));
        assert_eq!(port.nic.stats().unwrap_err().kind(), Kind::Gone, "{register:#x}");
    }
}

#[test]
fn frames_too_long_are_counted_by_function_and_not_by_port() {
    const TOO_LONG: u64 = 0x31_8000;
    let card = i40e::card(Fault::None);
    card.set(0x9c000, 1); // PF_FUNC_RID: function 1, of port 0
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    card.set(TOO_LONG + 8 * 128, 7);
    card.set(TOO_LONG + 8 * 129, 5);
    assert_eq!(port.nic.stats().unwrap().rx_oversize, 5);
}

#[test]
fn counters_of_48_and_of_32_bits_are_followed_past_their_end() {
    let card = i40e::card(Fault::None);
    let put = |base: u64, value: u64| {
        card.set(base + 8 * COUNTERS, value as u32);
        card.set(base + 8 * COUNTERS + 4, (value >> 32) as u32);
    };
    const MAX48: u64 = (1 << 48) - 1;
    let [uprc, mprc, gorc, gotc, uptc, rdpc] = [0x36_c000, 0x36_cc00, 0x35_8000, 0x32_8000, 0x33_c000, 0x31_0000];
    put(uprc, MAX48 - 9);
    put(mprc, 0xffff_ffff);
    put(gorc, MAX48);
    put(gotc, MAX48 - 1);
    put(uptc, MAX48);
    card.set(rdpc + 8 * COUNTERS, u32::MAX - 1);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    let stats = port.nic.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.rx_bytes, stats.tx_packets, stats.rx_missed), (0, 0, 0, Some(0)));
    for round in 1..=3u64 {
        // 12 unicast and 1 multicast of 100 bytes with FCS, 3 of them lost; 2 sent.
        put(uprc, (MAX48 - 9 + 12 * round) & MAX48);
        put(mprc, 0xffff_ffff + round);
        put(gorc, (MAX48 + 1300 * round) & MAX48);
        put(uptc, (MAX48 + 2 * round) & MAX48);
        put(gotc, (MAX48 - 1 + 128 * round) & MAX48);
        card.set(rdpc + 8 * COUNTERS, (u32::MAX - 1).wrapping_add(3 * round as u32));
        let stats = port.nic.stats().unwrap();
        assert_eq!((stats.rx_packets, stats.rx_missed), (10 * round, Some(3 * round)));
        assert_eq!(stats.rx_bytes, 1300 * round - 4 * 13 * round);
        assert_eq!((stats.tx_packets, stats.tx_bytes), (2 * round, 120 * round));
    }
}

#[test]
fn a_stopped_card_has_its_queues_off_before_its_firmware_is_left() {
    let (card, port) = open(Fault::None);
    assert!(card.bus_master());
    assert_eq!((card.get(0x10_0000) & 1, card.get(0x12_0000) & 1), (1, 1));
    drop(port);
    assert_eq!(i40e::commands(&card).last(), Some(&0x0003), "queue shutdown");
    assert_eq!(i40e::running_at_the_end(&card), Some(0), "queues were on when the firmware was left");
    assert_eq!((card.get(0x80200), card.get(0x80280)), (0, 0), "admin queues");
    assert!(!card.bus_master());
}
