//! What the register tables of the emulated cards owe to the drivers here: of every
//! register that one of them writes, the table says which bits are reserved.
//!
//! Time is virtual and moves only when a test says so.

use bmnic::dma::L4;
use bmnic::driver::{self, Config, FlowRule, Rss};
use bmnic::emu::{self, Drive, Engine, Row};
use bmnic::net::MacAddr;
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
        drop(port);
        assert_eq!(tap.violations(), [], "{model}");
        let writes = tap.take_trace().into_iter().filter(|access| access.write);
        names.extend(writes.filter_map(|access| access.name));
    }
    names
}

/// Checks that `rows` say what is reserved in the registers with these names.
fn assert_said<M>(model: &str, rows: &[Row<M>]) {
    let names = written(model);
    assert!(names.len() > 1, "{model}: {names:?}");
    let row_of = |name: &str| {
        let name = name.rsplit_once('.').map_or(name, |(_, name)| name).split('(').next().unwrap();
        rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{model}: no row {name}"))
    };
    let silent: BTreeSet<_> =
        names.iter().map(|name| row_of(name)).filter(|row| row.reserved().is_none()).map(|row| row.name).collect();
    assert!(silent.is_empty(), "{model}: nothing is said of the reserved bits of {silent:?}");
}

#[test]
fn of_each_register_that_a_driver_writes_it_is_said_which_bits_are_reserved() {
    ["82599", "x540", "x550"].iter().for_each(|model| assert_said(model, emu::ixgbe::REGISTERS));
    ["x710", "xl710", "xxv710", "x722"].iter().for_each(|model| assert_said(model, emu::i40e::REGISTERS));
    ["x2522", "sfc9220", "sfc9120"].iter().for_each(|model| assert_said(model, emu::ef10::REGISTERS));
}
