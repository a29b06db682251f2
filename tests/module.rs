//! What drivers tell of a card's non-volatile memory and of the module in its cage: on a card
//! of each family, and where its firmware refuses.
//!
//! Time is virtual and moves only when a test says so.

use bmnic::driver::{self, Config, Pluggable, Said};
use bmnic::emu::{Drive, Engine};
use bmnic::{Error, Result};
use std::sync::Arc;

/// What is told of its memory, and of its module.
type Told = (Result<Said<String>>, Result<Said<Pluggable>>);

/// Opens a card and asks both; it is as it was afterwards.
fn ask(card: &str) -> Told {
    let engine = Engine::new(Drive::Manual);
    let (function, tap) = engine.open(&format!("{card},strict,link=2ms").parse().unwrap()).unwrap();
    let mut port = driver::open(Arc::clone(&function), &Config::default()).unwrap_or_else(|e| panic!("{card}: {e}"));
    let told = (port.nic.nvm(), port.nic.module());
    drop(port);
    assert_eq!(tap.violations(), [], "{card}");
    told
}

fn words<T: ToString>(told: Result<Said<T>>) -> String {
    match told {
        Ok(Said::This(this)) => this.to_string(),
        Ok(Said::Nothing(why)) => format!("nothing: {why}"),
        Err(error) => format!("failed: {}", Error::to_string(&error)),
    }
}

#[test]
fn each_family_tells_what_it_can() {
    const LEFT: &str = "nothing: its driver leaves it to its firmware";
    for (card, nvm, module) in [
        (
            "82599",
            "EEPROM, checksum right; eTrack id 80000001",
            "SFP, LC; Intel Corp FTLX8571D3BCV-IT; 10GBASE-SR; 35.5",
        ),
        ("x540", "EEPROM, checksum right; eTrack id 80000001", "nothing: it has no cage: its port is for twisted pair"),
        ("x550", "EEPROM, checksum right; eTrack id 80000001", "nothing: it has no cage: its port is for twisted pair"),
        ("x710", "checksum right; image 9.20", "SFP, LC; Intel Corp EMULATED-SR; 25GBASE-SR; 35.0"),
        ("xl710", "checksum right; image 9.20", "QSFP28, MPO; Intel Corp EMULATED-SR; 100GBASE-SR4; 35.0"),
        ("x722", "checksum right; image 6.20", "SFP, LC; Intel Corp EMULATED-SR; 25GBASE-SR; 35.0"),
        (
            "x2522",
            "3 of 3 parts tested by its firmware, all right",
            "SFP, LC; Solarflare Comm. EMULATED-SR; 25GBASE-SR; 35.0",
        ),
        ("bcm57414", LEFT, "SFP, LC; Broadcom EMULATED-SR; 25GBASE-SR; 35.0"),
        ("bcm57416", LEFT, "nothing: it has no cage: its port is for twisted pair"),
        ("bcm57508", LEFT, "QSFP28, MPO; Broadcom EMULATED-SR; 100GBASE-SR4; 35.0"),
        ("cx4lx", LEFT, "SFP, LC; Mellanox EMULATED-SR; 25GBASE-SR; 35.0"),
        ("cx5", LEFT, "QSFP28, MPO; Mellanox EMULATED-SR; 100GBASE-SR4; 35.0"),
        ("virtio", "nothing: a virtual device has none", "nothing: a virtual device has none"),
    ] {
        let (told_nvm, told_module) = ask(card);
        assert_eq!(words(told_nvm), nvm, "{card}");
        let told = words(told_module);
        assert!(told.starts_with(module), "{card}: {told}");
        assert!(told.starts_with("nothing") || told.ends_with(" °C; checksum right"), "{card}: {told}");
    }
}

#[test]
fn modules_of_an_82599_are_told_apart() {
    for (fault, told) in [
        ("module-1g", "SFP, LC; Intel Corp FTLX8571D3BCV-IT; 1000BASE-SX; 35.5 °C; checksum right"),
        ("module-dual", "SFP, LC; Intel Corp FTLX8571D3BCV-IT; 10GBASE-SR, 1000BASE-SX; 35.5 °C; checksum right"),
        ("module-10gbase-t", "SFP, LC; Intel Corp FTLX8571D3BCV-IT; checksum right"),
        ("i2c-held", "SFP, LC; Intel Corp FTLX8571D3BCV-IT; 10GBASE-SR; 35.5 °C; checksum right"),
        ("module-boots", "SFP, LC; Intel Corp FTLX8571D3BCV-IT; 10GBASE-SR; 35.5 °C; checksum right"),
        ("cage-unwired", "SFP, LC; Intel Corp FTLX8571D3BCV-IT; 10GBASE-SR; 35.5 °C; checksum right"),
        ("no-module", "nothing: no module, or it does not answer"),
    ] {
        assert_eq!(words(ask(&format!("82599,fault={fault}")).1), told, "{fault}");
    }
}

/// Commands by which a family tells, and whether it is of its memory.
const COMMANDS: &[(&str, u32, bool)] = &[
    ("x710", 0x0701, true),
    ("x722", 0x0701, true),
    ("x710", 0x0008, true),
    ("x710", 0x0600, false),
    ("x710", 0x0629, false),
    ("x2522", 0x51, true),
    ("x2522", 0x4c, true),
    ("x2522", 0x24, false),
    ("x2522", 0x4b, false),
    ("bcm57414", 0x2c, false),
    ("cx5", 0x805, false),
];

#[test]
fn what_firmware_refuses_is_a_reason_and_no_failure() {
    for way in ["denied", "unsupported", "hollow"] {
        for &(card, code, memory) in COMMANDS {
            // Answers without a buffer.
            if way == "hollow" && [0x0008, 0x0629].contains(&code) {
                continue;
            }
            let name = format!("{card},fault={way}:{code:#x}");
            let (nvm, module) = ask(&name);
            let (told, other) = if memory { (words(nvm), words(module)) } else { (words(module), words(nvm)) };
            assert!(told.starts_with("nothing: ") && told.lines().count() == 1, "{name}: {told}");
            assert!(!other.starts_with("failed"), "{name}: {other}");
        }
    }
}

#[test]
fn firmware_that_is_busy_is_asked_again() {
    for &(card, code, _) in COMMANDS {
        let name = format!("{card},fault=busy:{code:#x}");
        let (nvm, module) = ask(&name);
        let (usual_nvm, usual_module) = ask(card);
        assert_eq!((words(nvm), words(module)), (words(usual_nvm), words(usual_module)), "{name}");
    }
}

#[test]
fn what_a_bus_says_is_told() {
    for (fault, told) in [("no-module", "nothing: no module"), ("i2c-stuck", "nothing: the module's bus is stuck")] {
        assert_eq!(words(ask(&format!("cx5,fault={fault}")).1), told);
    }
    assert_eq!(words(ask("bcm57414,fault=no-module").1), "nothing: no module");
    assert_eq!(words(ask("x710,fault=no-module").1), "nothing: no module, or no cage");
}
