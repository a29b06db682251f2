//! The commands of ConnectX's firmware, as a ConnectX-5 and a ConnectX-4 Lx are given them.
//!
//! Beside what is fatal the function of Linux's driver that fails, too
//! (drivers/net/ethernet/mellanox/mlx5/core). Of an answer that is not written the fields
//! are zero, as they are cleared before, but for the first 8 bytes in a mailbox: these
//! are marked, and an answer that still has the mark is a refusal. A number that is not
//! written is found out by the firmware, which refuses what names it.
//!
//! Not here, as they are given only where a queue failed or frames are spread anew, are
//! QUERY_SQ, QUERY_RQ and MODIFY_RQT.
//!
//! A command without an answer takes as long as Linux waits at the most, 60 seconds
//! (cmd.c, MLX5_CMD_TIMEOUT_MSEC), by the card's time; nothing is asked after it.

use super::rows::{end, needed, on, told};
use super::{Command, End, Family};
use End::{After, Dark, Fatal, Lost};
use bmnic::driver::Config;

pub const FAMILY: Family = Family { cards: &["cx5", "cx4lx"], config, commands: COMMANDS, usual: None };

/// Two queues of each kind, so that frames are spread, and the time.
pub fn config(_: u32) -> Config {
    Config { rx_queues: 2, tx_queues: 2, timestamps: true, ..Config::default() }
}

const MADE_UP: End = Lost("made up");
const OWN_ONLY: End = Lost("no frames for other addresses");
const OF_PORT: End = Lost("the whole port");

const COMMANDS: &[Command] = &[
    // Capabilities.
    told(
        Fatal("says nothing"),
        needed(0x100, "refused QUERY_HCA_CAP", "mlx5_query_hca_caps: what a queue may be is there"),
    ),
    // Start and stop.
    needed(0x102, "refused INIT_HCA", "mlx5_function_open: firmware that has not started makes nothing"),
    end(0x103),
    needed(0x104, "refused ENABLE_HCA", "mlx5_function_enable: nothing else is answered before"),
    end(0x105),
    // Pages. An answer that wants none is believed, and firmware without any starts nothing.
    told(
        Fatal("its firmware refused QUERY_HCA_CAP"),
        needed(0x107, "refused QUERY_PAGES", "mlx5_satisfy_startup_pages: firmware runs in them"),
    ),
    needed(0x108, "refused MANAGE_PAGES", "give_pages: firmware runs in them"),
    // Settings. Linux gives the function up (handle_hca_cap).
    on(0x109),
    // The form of the interface. That it is not told is taken for the oldest by Linux
    // (mlx5_core_set_issi), which then has no queues for Ethernet.
    on(0x10a),
    needed(0x10b, "does not know interface step 1", "mlx5_core_set_issi: queues are not there without"),
    // Key of all memory.
    told(Fatal("no key"), needed(0x200, "refused CREATE_MKEY", "mlx5e_create_mkey: queues reach no memory without")),
    end(0x202),
    // Queues of events, and of completions.
    told(Fatal("refused CREATE_CQ"), needed(0x301, "refused CREATE_EQ", "create_async_eqs: completions name one")),
    end(0x302),
    told(Fatal("refused CREATE_RQ"), needed(0x400, "refused CREATE_CQ", "mlx5e_create_cq: each queue reports to one")),
    end(0x401),
    // The link: what is not told is down (mlx5_query_vport_state).
    Command { denied: Dark, unsupported: Dark, hollow: Dark, timeout: After("did not answer"), ..on(0x750) },
    // Place at the switch. Without an address Linux makes one up (mlx5e_set_netdev_dev_addr).
    told(MADE_UP, Command { denied: MADE_UP, unsupported: MADE_UP, ..on(0x754) }),
    // What is let through: Linux only says so (mlx5e_vport_context_update).
    Command { denied: OWN_ONLY, unsupported: OWN_ONLY, ..on(0x755) },
    // Counters of the function; Linux shows what its queues have counted.
    told(OF_PORT, Command { denied: OF_PORT, unsupported: OF_PORT, ..on(0x770) }),
    // Counters of queues (mlx5e_create_q_counters).
    on(0x771),
    end(0x772),
    on(0x773),
    // Domains, doorbells.
    told(
        Fatal("refused CREATE_MKEY"),
        needed(0x800, "refused ALLOC_PD", "mlx5e_create_mdev_resources: keys and queues belong to one"),
    ),
    end(0x801),
    told(Fatal("doorbells"), needed(0x802, "refused ALLOC_UAR", "mlx5_load: nothing could be announced")),
    end(0x803),
    // Registers of the port: a virtual function may touch none either.
    on(0x805),
    told(
        Fatal("refused CREATE_TIS"),
        needed(0x816, "refused ALLOC_TRANSPORT_DOMAIN", "mlx5e_create_mdev_resources: places belong to one"),
    ),
    end(0x817),
    // The card's table of addresses (mlx5_mpfs_add_mac is only warned of).
    on(0x829),
    end(0x82b),
    // Places, queues.
    told(
        Fatal("refused SET_FLOW_TABLE_ENTRY"),
        needed(0x900, "refused CREATE_TIR", "mlx5e_tir_init: frames have to go somewhere"),
    ),
    end(0x902),
    told(Fatal("refused MODIFY_SQ"), needed(0x904, "refused CREATE_SQ", "mlx5e_create_sq: nothing could be sent")),
    needed(0x905, "refused MODIFY_SQ", "mlx5e_modify_sq: a queue that was only made sends nothing"),
    end(0x906),
    told(Fatal("refused MODIFY_RQ"), needed(0x908, "refused CREATE_RQ", "mlx5e_create_rq: nothing could be received")),
    needed(0x909, "refused MODIFY_RQ", "mlx5e_modify_rq_state: a queue that was only made receives nothing"),
    end(0x90a),
    told(Fatal("refused CREATE_SQ"), needed(0x912, "refused CREATE_TIS", "mlx5e_create_tis: send queues name one")),
    end(0x914),
    told(Fatal("refused CREATE_TIR"), needed(0x916, "refused CREATE_RQT", "mlx5e_rqt_init: frames are spread over it")),
    end(0x918),
    // Flow tables.
    needed(0x92f, "refused SET_FLOW_TABLE_ROOT", "mlx5_cmd_update_root_ft: frames are looked up nowhere"),
    told(
        Fatal("refused CREATE_FLOW_GROUP"),
        needed(0x930, "refused CREATE_FLOW_TABLE", "mlx5e_create_flow_steering: the same"),
    ),
    end(0x931),
    told(
        Fatal("refused SET_FLOW_TABLE_ENTRY"),
        needed(0x933, "refused CREATE_FLOW_GROUP", "mlx5e_create_flow_steering: entries belong to one"),
    ),
    end(0x934),
    needed(0x936, "refused SET_FLOW_TABLE_ENTRY", "mlx5e_create_flow_steering: no frame would come"),
    end(0x938),
];
