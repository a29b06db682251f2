//! The ixgbe driver and a card whose registers lie.

#[path = "common/families.rs"]
mod families;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::Kind;
use bmnic::driver::{self, Config};
use bmnic::emu::{Drive, Engine};
use silicon::ixgbe::{Fault, card};
use std::time::Duration;

fn open(fault: Fault) -> bmnic::Error {
    driver::open(card(fault).function(), &Config::default()).err().expect("such a card cannot be opened")
}

#[test]
fn a_card_that_answers_all_ones_is_gone() {
    let error = open(Fault::AllOnes);
    assert_eq!(error.kind(), Kind::Gone);
    assert!(error.to_string().starts_with("test:82599: the card does not answer (STATUS"), "{error}");
}

#[test]
fn a_card_that_never_finishes_its_reset_is_given_up_by_name() {
    let error = open(Fault::EndlessReset);
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("reset did not finish in 100 ms (CTRL = 0x"), "{error}");
}

#[test]
fn a_queue_that_never_starts_is_given_up_and_the_card_stopped() {
    let card = card(Fault::DeadQueues);
    let error = driver::open(card.function(), &Config::default()).err().expect("no queue");
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("RXDCTL"), "{error}");
    assert!(!card.bus_master(), "a card that was given up must not write to memory");
}

#[test]
fn a_card_that_goes_away_while_open_is_told_and_can_still_be_closed() {
    let card = card(Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    assert!(port.nic.link().unwrap().up);
    assert!(card.bus_master());
    card.break_it(Fault::AllOnes);
    assert_eq!(port.nic.link().unwrap_err().kind(), Kind::Gone);
    assert_eq!(port.nic.stats().unwrap_err().kind(), Kind::Gone);
    drop(port);
}

#[test]
fn a_stopped_card_has_its_engines_off_and_is_no_bus_master() {
    let card = card(Fault::None);
    let port = driver::open(card.function(), &Config::default()).unwrap();
    assert_eq!((card.get(0x3000) & 1, card.get(0x4a80) & 1), (1, 1));
    assert_ne!(card.get(0x18) & 1 << 28, 0, "DRV_LOAD");
    drop(port);
    assert_eq!((card.get(0x3000) & 1, card.get(0x4a80) & 1), (0, 0));
    assert_eq!((card.get(0x1028) | card.get(0x6028)) & 1 << 25, 0, "queues");
    assert_eq!(card.get(0x18) & 1 << 28, 0, "DRV_LOAD");
    assert!(!card.bus_master());
}

/// Linux powers the PHY down when it lets go of a card that is to wake nobody, and what was
/// last offered stays: no reset of the function reaches it.
#[test]
fn a_copper_card_comes_up_however_the_last_driver_left_its_phy() {
    for model in ["x540", "x550"] {
        let engine = Engine::new(Drive::Thread);
        let spec = format!("{model},strict,link=1ms,fault=phy-left").parse().unwrap();
        let (function, tap) = engine.open(&spec).unwrap();
        let mut port = driver::open(function, &Config::default()).unwrap();
        let link = port.nic.wait_for_link(Duration::from_secs(20)).unwrap();
        assert_eq!((link.up, link.speed), (true, 10_000_000_000), "{model}");
        drop(port);
        assert_eq!(tap.violations(), []);
    }
}
