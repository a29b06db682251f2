//! The management commands of EF10, as an X2522 and an SFC9120 are given them.
//!
//! Beside each what Linux's driver does without (drivers/net/ethernet/sfc). It cannot do
//! without DRV_ATTACH, but asks again for any firmware (mcdi.c, efx_mcdi_drv_attach),
//! nor without ENTITY_RESET, GET_CAPABILITIES, GET_MAC_ADDRESSES (ef10.c, efx_ef10_probe),
//! GET_PHY_CFG, GET_LINK, GET_LOOPBACK_MODES (mcdi_port.c, efx_mcdi_phy_probe), FREE_VIS,
//! ALLOC_VIS (ef10.c, efx_ef10_dimension_resources), INIT_EVQ (mcdi_functions.c) and
//! GET_PARSER_DISP_INFO (mcdi_filters.c, efx_mcdi_filter_table_probe). It warns of an
//! INIT_RXQ or INIT_TXQ that is refused, and of filters, and then nothing passes.
//!
//! That an answer is not written was seen with RSS_CONTEXT_GET_FLAGS (bug 61952 in
//! mcdi_filters.c, efx_mcdi_get_rss_context_flags): in it is then the request, and behind
//! that what the driver had left. No driver asks again what was answered EAGAIN, "try
//! again" in the words of the interface.
//!
//! A command without an answer takes 10 seconds, as long as Linux waits (mcdi.c,
//! MCDI_RPC_TIMEOUT), once: nothing is asked after it.

use super::{Command, End, Family};
use End::{Dark, Fatal, Lost, On};
use bmnic::driver::{Config, TxPath};

pub const FAMILY: Family =
    Family { cards: &["x2522", "sfc9120"], config, commands: COMMANDS, usual: Some("stores are not combined") };

/// Two queues of each kind, so that frames are spread, and the time.
pub fn config(code: u32) -> Config {
    Config {
        rx_queues: 2,
        tx_queues: 2,
        timestamps: true,
        loopback: code == 0x28,
        tx_path: if (0x8f..=0x93).contains(&code) { TxPath::Pio } else { TxPath::Auto },
        ..Config::default()
    }
}

/// After a command without an answer nothing is asked.
const SILENT: &str = "a late answer would be taken for another question's";

/// A command where it is refused, in either way, and where its answer is not written.
const fn all(code: u32, refused: End, hollow: End, why: &'static str) -> Command {
    let why = if why.is_empty() { SILENT } else { why };
    Command { code, of: "", denied: refused, unsupported: refused, hollow, timeout: Fatal("did not finish"), why }
}

/// A command of the end: who leaves does not wait for leave.
const fn end(code: u32) -> Command {
    Command { timeout: On, ..all(code, On, On, "") }
}

/// The same of the cards that are called so.
const fn only(of: &'static str, command: Command) -> Command {
    Command { of, ..command }
}

const SPREAD: End = Lost("all frames come on its first queue");

const COMMANDS: &[Command] = &[
    // Failures of the firmware: Linux goes on after EPERM (mcdi.c, efx_mcdi_read_assertion).
    // REBOOT (0x3d) follows only where there was one, and is no fault's command then.
    all(0x06, On, On, ""),
    // The clock. Who wants the time is told that it is the processor's.
    all(0x0b, On, On, ""),
    // Attach, and detach.
    all(0x1c, Fatal("refused DRV_ATTACH"), On, "the firmware takes nothing from a function without a driver"),
    // Reset of the function.
    all(0x20, Fatal("refused ENTITY_RESET"), On, "what a driver that is gone had set up would go on"),
    // PHY.
    all(0x24, Lost("its link stays as it was found"), Lost("its link stays as it was found"), ""),
    // Loops: it is tried all the same.
    all(0x28, On, On, ""),
    // State of the link. One that is all zeros is one that is down.
    all(0x29, Fatal("refused GET_LINK"), Dark, "nothing else says whether frames can pass"),
    // Link: Linux goes on after EPERM (efx.c, efx_init_port).
    all(0x2a, Lost("its link stays as it was found"), On, ""),
    // MAC (Linux efx.c, efx_start_port, takes no notice).
    all(0x2c, Lost("its MAC takes what it took before"), On, ""),
    // Counters. Linux shows none.
    all(0x2e, Fatal("refused MAC_STATS"), On, "numbers are promises: what was lost would have none"),
    // The way around bug 35388.
    only("sfc9120", all(0x4a, On, On, "")),
    // Addresses.
    all(0x55, Fatal("refused GET_MAC_ADDRESSES"), Fatal("no valid address"), "frames without a source would be sent"),
    // Ways around what there are.
    only("sfc9120", all(0x59, On, On, "")),
    // Queues.
    all(0x80, Fatal("refused INIT_EVQ"), On, "no queue reports without one for events"),
    all(0x81, Fatal("refused INIT_RXQ"), On, "nothing could be received"),
    all(0x82, Fatal("INIT_TXQ"), On, "nothing could be sent"),
    end(0x83),
    end(0x84),
    end(0x85),
    // Filters.
    all(0x8a, Fatal("refused FILTER_OP"), On, "no frame would come"),
    // Virtual interfaces: what FREE_VIS is for, ALLOC_VIS says.
    all(0x8b, Fatal("refused ALLOC_VIS"), On, "queues are theirs"),
    all(0x8c, On, On, ""),
    // Packet memory, which was asked for.
    all(0x8f, Fatal("no packet memory"), Fatal("no packet memory"), "another way to send was not asked for"),
    end(0x90),
    all(0x92, Fatal("no packet memory"), On, "another way to send was not asked for"),
    end(0x93),
    // The adaptor: a function without virtual ones has none (Linux ef10_sriov.c).
    all(0x98, On, On, ""),
    end(0x99),
    // Flows: Linux does not fail for them either (ef10.c, efx_ef10_init_nic).
    all(0x9e, SPREAD, SPREAD, ""),
    all(0xa0, SPREAD, On, ""),
    all(0xa2, SPREAD, On, ""),
    // Capabilities.
    all(0xbe, Fatal("refused GET_CAPABILITIES"), Fatal("prefix"), "how windows lie, and where lengths are, is there"),
    // Which fields are hashed (Linux mcdi_filters.c, efx_mcdi_set_rss_context_flags).
    all(0xe1, Lost("flows of UDP"), On, ""),
    // Which filters there are.
    all(0xe4, Lost("no flow can be steered"), Lost("no flow can be steered"), ""),
];
