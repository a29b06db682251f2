//! The HWRM commands of BCM574xx and BCM575xx.
//!
//! Beside what is fatal the function of Linux's driver that fails, too
//! (drivers/net/ethernet/broadcom/bnxt/bnxt.c). Of an answer that is not written the
//! fields are zero, as all buffers are cleared before.
//!
//! Not here, as no card of the model is given them without another fault, is what a link
//! that is down is told (PORT_PHY_CFG), and health (ERROR_RECOVERY_QCFG).
//!
//! A command without an answer takes as long as the firmware said that it may, 5 seconds
//! here, FUNC_RESET four times and FUNC_BACKING_STORE_CFG six times that, with an end at
//! 40; VER_GET 6 seconds. Half a second goes to a last FUNC_RESET, nothing to others.

use super::rows::{end, needed, on, told};
use super::{Command, End, Family};
use End::{Dark, Fatal, Lost};
use bmnic::driver::Config;

pub const FAMILY: Family = Family { cards: &["bcm57414", "bcm57508"], config, commands: COMMANDS, usual: None };

/// Two queues of each kind, so that frames are spread, and the time; long frames where
/// how they are placed is what goes wrong.
pub fn config(code: u32) -> Config {
    let plain = Config { rx_queues: 2, tx_queues: 2, rx_ring: 256, timestamps: true, ..Config::default() };
    if code == 0x48 { Config { rx_ring: 64, max_frame: 9018, ..plain } } else { plain }
}

/// The same of the cards that are called so.
const fn only(of: &'static str, command: Command) -> Command {
    Command { of, ..command }
}

/// What a chip without memory for contexts comes to.
const STORE: End = Fatal("refused RING_ALLOC");

const COMMANDS: &[Command] = &[
    // Version.
    told(Fatal("interface 0.0.0"), needed(0x00, "refused VER_GET", "bnxt_hwrm_ver_get: how to speak is there")),
    // Rings are about to be used. Linux takes a refusal for a restart, and begins again.
    needed(0x0d, "refused FUNC_DRV_IF_CHANGE", "bnxt_hwrm_if_change: firmware that wants it gives no rings without"),
    needed(0x11, "refused FUNC_RESET", "bnxt_fw_init_one_p1: what an earlier driver had would go on"),
    // Capabilities. Without an answer there is no address in it.
    told(Lost("made up"), needed(0x15, "refused FUNC_QCAPS", "bnxt_fw_init_one_p2: the port's number is there")),
    told(
        Fatal("grants this function 0"),
        needed(0x16, "refused FUNC_QCFG", "bnxt_hwrm_get_rings: what was granted is there"),
    ),
    // Reservations; events go without (bnxt_hwrm_ring_alloc warns).
    needed(0x17, "refused FUNC_CFG", "bnxt_hwrm_reserve_pf_rings: what is not reserved is not there"),
    end(0x1a),
    // Sign on. An answer that wants nothing is believed.
    told(
        Fatal("refused RING_ALLOC"),
        needed(0x1d, "refused FUNC_DRV_RGTR", "bnxt_fw_init_one_p2: firmware gives nothing to nobody"),
    ),
    // The clock.
    on(0x21),
    // Counters of the port.
    on(0x23),
    told(Dark, needed(0x27, "refused PORT_PHY_QCFG", "bnxt_probe_phy: nothing else says whether frames can pass")),
    only("bcm57508", on(0x29)),
    // What the PHY can: it is told by its state, too.
    on(0x2a),
    told(
        Fatal("no queue that frames could be sent to"),
        needed(0x30, "refused QUEUE_QPORTCFG", "bnxt_hwrm_queue_qportcfg: a ring needs one to send to"),
    ),
    // Places.
    needed(0x40, "refused VNIC_ALLOC", "bnxt_hwrm_vnic_alloc: frames have to go somewhere"),
    end(0x41),
    needed(0x42, "refused VNIC_CFG", "bnxt_hwrm_vnic_cfg: they lead nowhere"),
    on(0x44),
    needed(0x46, "refused VNIC_RSS_CFG", "bnxt_setup_vnic: a table that is not set leads nowhere"),
    // Placement (bnxt_setup_vnic only says so).
    Command { denied: Lost("longer than a buffer"), unsupported: Lost("longer than a buffer"), ..on(0x48) },
    // Rings. A number that is not written is found out where two rings have it. On a
    // BCM575xx a doorbell has gone astray by then, so it is not here.
    only(
        "bcm57414",
        told(
            Fatal("its firmware "),
            needed(0x50, "refused RING_ALLOC", "bnxt_hwrm_ring_alloc: nothing could be sent or received"),
        ),
    ),
    end(0x51),
    on(0x53),
    on(0x54),
    only(
        "bcm57414",
        told(
            Fatal("refused VNIC_CFG"),
            needed(0x60, "refused RING_GRP_ALLOC", "bnxt_hwrm_ring_grp_alloc: places lead to groups"),
        ),
    ),
    only("bcm57414", end(0x61)),
    // Spreading.
    told(
        Fatal("refused VNIC_"),
        needed(0x70, "refused VNIC_RSS_COS_LB_CTX_ALLOC", "bnxt_setup_vnic: the table is set by it"),
    ),
    end(0x71),
    // Filters.
    needed(0x90, "CFA_L2_FILTER_ALLOC", "bnxt_init_chip: nothing would come"),
    end(0x91),
    needed(0x93, "refused CFA_L2_SET_RX_MASK", "bnxt_cfg_rx_mode: broadcasts would not come"),
    // Counters. They are also written to memory, which is where Linux reads them.
    told(
        Fatal("refused RING_ALLOC"),
        needed(0xb0, "refused STAT_CTX_ALLOC", "bnxt_hwrm_stat_ctx_alloc: a ring needs one"),
    ),
    end(0xb1),
    on(0xb2),
    on(0xb3),
    // How flows are steered.
    only("bcm57508", on(0x124)),
    // What can be reserved.
    told(Fatal("grants this function 0"), on(0x190)),
    // Memory for contexts.
    // Firmware that does not know its size is taken to keep it itself.
    only("bcm57508", told(STORE, needed(0x192, "refused RING_ALLOC", "bnxt_alloc_ctx_mem: the chip runs in it"))),
    only("bcm57508", needed(0x193, "refused FUNC_BACKING_STORE_CFG", "bnxt_alloc_ctx_mem: the chip runs in it")),
];
