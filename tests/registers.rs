//! What the register tables of the emulated cards owe to the drivers here: of every
//! register that one of them writes, the table says which bits are reserved.
//!
//! Time is virtual and moves only when a test says so.

#[path = "common/families.rs"]
mod families;

use bmnic::dma::L4;
use bmnic::driver::{self, Config, FlowRule, Rss};
use bmnic::emu::{self, Drive, Engine, Row};
use bmnic::net::MacAddr;
use families::MODELS;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Names of the registers that a driver writes while it sets a card up in several
/// ways, asks it for all that it can, and leaves it.
fn written(model: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let plain = Config::default();
    let configs = [
        Config { rx_queues: 4, tx_queues: 2, vlan_strip: true, interrupts: true, ..plain.clone() },
        Config { max_frame: 9018, loopback: true, promiscuous: false, timestamps: true, ..plain.clone() },
        Config { rx_queues: 4, rss: Rss { table: vec![0, 2], ..Rss::default() }, ..plain },
    ];
    for config in configs {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&format!("{model},strict,wire=loop,link=2ms").parse().unwrap()).unwrap();
        tap.trace(true);
        let mut port = driver::open(Arc::clone(&function), &config).unwrap();
        engine.advance(5_000_000_000);
        engine.step();
        let group = MacAddr([1, 0, 0x5e, 1, 2, 3]);
        port.nic.link().unwrap();
        port.nic.set_multicast(&[group]).unwrap();
        port.nic.set_promiscuous(!config.promiscuous).unwrap();
        port.nic.set_mac(MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
        port.nic.set_rss_table(&[0]).unwrap();
        // Not every card steers; what it refuses it need not write.
        let _ = port.nic.steer(&FlowRule {
            source: None,
            destination: Some([239, 1, 2, 3].into()),
            source_port: None,
            destination_port: Some(2000),
            protocol: L4::Udp,
            queue: config.rx_queues - 1,
        });
        port.nic.stats().unwrap();
        port.nic.nvm().unwrap();
        port.nic.module().unwrap();
        drop(port);
        assert_eq!(tap.violations(), [], "{model}");
        let writes = tap.take_trace().into_iter().filter(|access| access.write);
        names.extend(writes.filter_map(|access| access.name));
    }
    names
}

/// Checks that `rows` say what is reserved in the registers that a driver of the
/// `family` writes, and that those with nothing reserved are the `whole` ones.
fn assert_said<M>(family: &str, rows: &[Row<M>], whole: Whole) {
    let cards = MODELS.iter().filter(|card| card.rings.first().is_some_and(|rings| rings.name == family));
    let names: BTreeSet<_> = cards.flat_map(|card| written(card.name)).collect();
    assert!(names.len() > 1, "{family}: {names:?}");
    let row_of = |name: &str| {
        let name = name.split_once('.').map_or(name, |(_, name)| name).split('(').next().unwrap();
        // A command's doorbell has the command's name.
        let is_row = rows.iter().any(|row| row.name == name);
        let name = match family {
            "bnxt" if name != "HWRM_WINDOW" && name.starts_with("HWRM_") => "HWRM_TRIGGER",
            "mlx5" if !is_row => "COMMAND_DOORBELL",
            _ => name,
        };
        rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{family}: no row {name}"))
    };
    let those = |reserved| names.iter().map(|name| row_of(name)).filter(move |row| row.reserved() == reserved);
    let silent: BTreeSet<_> = those(None).map(|row| row.name).collect();
    assert!(silent.is_empty(), "{family}: nothing is said of the reserved bits of {silent:?}");
    let found: BTreeSet<_> = those(Some(0)).map(|row| row.name).collect();
    let known = whole.iter().flat_map(|(_, names)| *names).copied().collect();
    assert_eq!(found, known, "{family}: registers of which every bit may be set");
}

/// Why every bit of a register may be set, and of which.
type Whole = &'static [(&'static str, &'static [&'static str])];

const IXGBE: Whole = &[
    ("addresses", &["RAL", "RDBAH", "TDBAH"]),
    ("keys, and what is compared with a packet", &["DAQF", "RSSRK", "SAQF", "SDPQF"]),
    ("a bit for each of many", &["EIAM", "EIMC", "GSSR", "MPSAR_HI", "MPSAR_LO", "MTA", "UTA", "VFTA"]),
    ("time", &["SYSTIMH", "SYSTIML", "SYSTIMR", "TIMINCA"]),
    ("fields that fill the word", &["AUTOC", "EERD", "MSCA", "MSRWD"]),
    ("words of a command", &["FLEX_MNG"]),
    ("foreign drivers set more than the datasheet names", &["EIAC", "FCRTH"]),
    ("generations differ, and none is known to reserve a bit of all", &["TSAUXC"]),
];

const I40E: Whole = &[
    ("addresses", &["PFHMC_SDDATAHIGH", "PF_ARQBAH", "PF_ARQBAL", "PF_ATQBAH", "PF_ATQBAL"]),
    ("keys", &["PFQF_HKEY"]),
    ("a bit for each of many", &["PFQF_HENA", "PRTQF_FD_INSET"]),
    ("fields that fill the word", &["PFHMC_SDDATALOW"]),
];

const BNXT: Whole = &[("addresses", &["GRC_WINDOW"]), ("words of a command", &["HWRM_WINDOW"])];

const MLX5: Whole = &[
    ("addresses", &["CMDQ_HIGH"]),
    ("a bit for each of many", &["COMMAND_DOORBELL"]),
    ("drivers write back what they read", &["CMDQ_LOW"]),
];

const EF10: Whole = &[("addresses", &["MC_DB_HWRD", "MC_DB_LWRD"])];

#[test]
fn of_each_register_that_a_driver_writes_it_is_said_which_bits_are_reserved() {
    assert_said("ixgbe", emu::ixgbe::REGISTERS, IXGBE);
    assert_said("i40e", emu::i40e::REGISTERS, I40E);
    assert_said("efvi", emu::ef10::REGISTERS, EF10);
    assert_said("bnxt", emu::bnxt::REGISTERS, BNXT);
    assert_said("mlx5", emu::mlx5::REGISTERS, MLX5);
}
