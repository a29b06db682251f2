//! The ixgbe driver and a card whose registers lie.

#[path = "common/families.rs"]
mod families;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::Kind;
use bmnic::driver::{self, Config};
use bmnic::emu::{Drive, Engine};
use silicon::ixgbe::{Fault, card};
use std::thread;
use std::time::{Duration, Instant};

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

/// An emulated card with a fault that comes up, its link's speed, and what it says it lacks.
fn comes_up(spec: &str) -> (u64, Vec<String>) {
    let engine = Engine::new(Drive::Thread);
    let (function, tap) = engine.open(&spec.parse().unwrap()).unwrap();
    let mut port = driver::open(function, &Config::default()).unwrap();
    let link = port.nic.wait_for_link(Duration::from_secs(20)).unwrap();
    let lacks = port.nic.describe().lacks.clone();
    drop(port);
    assert_eq!(tap.violations(), []);
    (link.speed, lacks)
}

/// A partner of 1 Gbit/s over fibre negotiates (clause 37): without that it has no link.
#[test]
fn a_module_of_1_gbit_negotiates() {
    assert_eq!(comes_up("82599,strict,link=1ms,fault=module-1g"), (1_000_000_000, vec![]));
}

#[test]
fn a_driver_is_told_the_speed_of_the_wire_if_it_is_one_that_the_card_has() {
    for (card, megabits) in [
        ("82599", 10_000),
        ("82599,speed=1G", 1_000),
        ("82599,speed=3G", 10_000),
        ("x540,speed=1G", 1_000),
        ("x540,speed=100M", 100),
        ("x540,speed=5G", 10_000),
        ("x550,speed=5G", 5_000),
    ] {
        assert_eq!(comes_up(&format!("{card},strict,link=1ms")), (megabits * 1_000_000, vec![]), "{card}");
    }
}

#[test]
fn a_module_of_two_rates_falls_back_to_the_lower_one() {
    assert_eq!(comes_up("82599,strict,link=1ms,fault=module-dual"), (1_000_000_000, vec![]));
}

/// SFF-8472 has no code for 10GBASE-T: the codes of such a module are all 0.
#[test]
fn a_module_that_does_not_say_what_it_is_is_taken_as_fibre() {
    let (speed, lacks) = comes_up("82599,strict,link=1ms,fault=module-10gbase-t");
    assert_eq!((speed, lacks.len()), (10_000_000_000, 1));
}

#[test]
fn a_cage_is_asked_over_i2c_whatever_its_pin_says() {
    assert_eq!(comes_up("82599,strict,link=1ms,fault=cage-unwired"), (10_000_000_000, vec![]));
}

/// The controller of a module acknowledges before it knows what to say.
#[test]
fn a_module_that_boots_is_asked_again() {
    assert_eq!(comes_up("82599,strict,link=1ms,fault=module-boots"), (10_000_000_000, vec![]));
}

#[test]
fn a_module_that_was_left_in_the_middle_of_a_byte_is_clocked_out_of_it() {
    assert_eq!(comes_up("82599,strict,link=1ms,fault=i2c-held"), (10_000_000_000, vec![]));
}

#[test]
fn a_link_whose_first_start_leads_nowhere_is_started_again() {
    assert_eq!(comes_up("82599,strict,link=1ms,fault=link-stuck"), (10_000_000_000, vec![]));
}

/// A driver that was killed may have held any of the locks that ports share.
#[test]
fn locks_of_a_driver_that_is_gone_are_taken_over() {
    for model in ["82599", "x540", "x550"] {
        let spec = format!("{model},strict,link=1ms,fault=locks-left");
        assert_eq!(comes_up(&spec), (10_000_000_000, vec![]), "{model}");
    }
}

#[test]
fn a_module_that_is_swapped_is_noticed() {
    let engine = Engine::new(Drive::Thread);
    let spec = "82599,strict,link=1ms,fault=module-swap".parse().unwrap();
    let (function, tap) = engine.open(&spec).unwrap();
    let mut port = driver::open(function, &Config::default()).unwrap();
    assert_eq!(port.nic.wait_for_link(Duration::from_secs(20)).unwrap().speed, 10_000_000_000);
    let deadline = Instant::now() + Duration::from_secs(20);
    while port.nic.link().unwrap().speed != 1_000_000_000 {
        assert!(Instant::now() < deadline, "the new module has no link");
        thread::sleep(Duration::from_millis(5));
    }
    drop(port);
    assert_eq!(tap.violations(), []);
}

/// The kernel resets a card that reports an error on PCIe, and the card itself one that is
/// too hot or has a broken memory: all that was set up is gone, and it answers as before.
#[test]
fn a_card_that_was_reset_behind_the_driver_is_told() {
    for model in ["82599", "x550"] {
        let engine = Engine::new(Drive::Thread);
        let spec = format!("{model},strict,link=1ms,fault=reset-behind").parse().unwrap();
        let (function, _tap) = engine.open(&spec).unwrap();
        let mut port = driver::open(function, &Config::default()).unwrap();
        // On a busy machine that is told by who waits for the link already.
        let mut told = port.nic.wait_for_link(Duration::from_secs(20)).err();
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = loop {
            match told.take().map_or_else(|| port.nic.stats(), Err) {
                Ok(_) => assert!(Instant::now() < deadline, "nobody noticed"),
                Err(error) => break error,
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(error.kind(), Kind::Device, "{error}");
        assert!(error.to_string().contains("was reset"), "{error}");
        assert!(port.nic.link().is_err());
    }
}

/// A driver that was killed left its queues on, and memory that is somebody else's by now
/// behind them: requests go on until receiving is off, whatever CTRL says.
#[test]
fn a_card_that_still_receives_is_quiet_before_its_reset() {
    for model in ["82599", "x540"] {
        let engine = Engine::new(Drive::Thread);
        let (function, tap) = engine.open(&format!("{model},strict,link=1ms").parse().unwrap()).unwrap();
        let mut port = driver::open(function.clone(), &Config::default()).unwrap();
        port.nic.wait_for_link(Duration::from_secs(20)).unwrap();
        std::mem::forget(port);
        let mut port = driver::open(function, &Config::default()).unwrap();
        port.nic.wait_for_link(Duration::from_secs(20)).unwrap();
        drop(port);
        assert_eq!(tap.violations(), [], "{model}");
    }
}

/// Whoever had the card before may have left the link off, and the cage is empty yet.
#[test]
fn a_link_that_was_left_off_is_let_on_with_an_empty_cage_too() {
    let card = card(Fault::None);
    card.set(0x42a8, 0x7000_0000);
    let port = driver::open(card.function(), &Config::default()).unwrap();
    assert_eq!(card.get(0x42a8) & 0x7000_0000, 0, "AUTOC2.LINK_DISABLE");
    drop(port);
}

/// What the driver before has not got through PCIe holds up two resets (Linux
/// ixgbe_clear_tx_pending).
#[test]
fn requests_that_do_not_end_are_flushed_before_the_resets() {
    for model in ["82599", "x540", "x550"] {
        let engine = Engine::new(Drive::Manual);
        let spec = format!("{model},strict,link=1ms,fault=requests-stuck");
        let (function, tap) = engine.open(&spec.parse().unwrap()).unwrap();
        let opened = driver::open(function, &Config::default());
        assert!(opened.is_ok(), "{model}: {:?}", opened.err());
        drop(opened);
        assert_eq!(tap.violations(), [], "{model}");
    }
}
