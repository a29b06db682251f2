//! The firmware: commands, by number.
//!
//! ```text
//!   code --> row of COMMANDS { name, whether a driver must have registered,
//!              |               bytes of the request that are known, of an old answer }
//!              v
//!   board    who it is, what is optional     function  limits, reservations, drivers
//!   store    memory of its contexts (P5)     rings     rings, groups, statistics
//!   vnics    VNICs and RSS                   filters   where frames go
//!   port     PHY, MAC, module                counters  what was counted
//!   ptp      time                            scheduler  queues of transmit rings
//! ```
//!
//! A command that is not in the table is answered as firmware answers what it does
//! not know: CMD_NOT_SUPPORTED.

mod board;
mod counters;
mod filters;
mod function;
mod port;
mod ptp;
mod rings;
mod scheduler;
mod store;
mod vnics;

pub use self::function::Function;
pub use self::store::Store;

use super::super::Picos;
use super::Bnxt;
use super::hwrm::{Answer, Reply, Request, WINDOW};
use super::plane::Refusal;

/// The firmware has no time; the same command may be done later.
pub const BUSY: Refusal = Refusal(0x10);
/// What it is about is locked.
pub const LOCKED: Refusal = Refusal(0x11);
/// There is no such command.
pub const UNKNOWN: Refusal = Refusal(0xffff);

/// The first command of all, which is answered in every state.
pub const VER_GET: u16 = 0;

/// How long firmware that takes its time may take.
pub const SLOWEST: Picos = 4_000_000_000_000;

struct Command {
    code: u16,
    name: &'static str,
    /// Makes sense before FUNC_DRV_RGTR.
    early: bool,
    /// Bytes of the request that this firmware knows.
    request: u16,
    /// Bytes of the answer of the oldest firmware; 0 if it is as long there.
    oldest: u16,
    run: fn(&mut Bnxt, &Request) -> Answer,
}

type Run = fn(&mut Bnxt, &Request) -> Answer;

const fn early(code: u16, name: &'static str, request: u16, run: Run) -> Command {
    Command { code, name, early: true, request, oldest: 0, run }
}

const fn registered(code: u16, name: &'static str, request: u16, run: Run) -> Command {
    Command { code, name, early: false, request, oldest: 0, run }
}

impl Command {
    const fn once(mut self, bytes: u16) -> Self {
        self.oldest = bytes;
        self
    }
}

/// What there is nothing to do for.
fn done(_: &mut Bnxt, _: &Request) -> Answer {
    Ok(Reply::done())
}

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    early(VER_GET, "VER_GET", 24, board::version),
    registered(0x0b, "FUNC_ECHO_RESPONSE", 24, board::echo),
    early(0x0c, "ERROR_RECOVERY_QCFG", 24, board::recovery),
    registered(0x0d, "FUNC_DRV_IF_CHANGE", 24, function::if_change),
    registered(0x0f, "FUNC_VF_CFG", 72, function::vf_config),
    early(0x11, "FUNC_RESET", 24, function::reset),
    early(0x15, "FUNC_QCAPS", 24, function::capabilities).once(80),
    early(0x16, "FUNC_QCFG", 24, function::configuration).once(88),
    registered(0x17, "FUNC_CFG", 160, function::configure),
    early(0x18, "FUNC_QSTATS", 24, counters::function),
    early(0x1a, "FUNC_DRV_UNRGTR", 24, function::unregister),
    early(0x1d, "FUNC_DRV_RGTR", 112, function::register),
    registered(0x20, "PORT_PHY_CFG", 64, port::configure),
    registered(0x21, "PORT_MAC_CFG", 56, port::mac_configure),
    early(0x22, "PORT_TS_QUERY", 40, ptp::stamp),
    early(0x23, "PORT_QSTATS", 40, counters::port),
    registered(0x25, "PORT_CLR_STATS", 24, counters::clear_port),
    early(0x27, "PORT_PHY_QCFG", 24, port::configuration).once(96),
    early(0x28, "PORT_MAC_QCFG", 24, port::mac_configuration),
    early(0x29, "PORT_MAC_PTP_QCFG", 24, ptp::configuration),
    early(0x2a, "PORT_PHY_QCAPS", 24, port::capabilities).once(32),
    early(0x2c, "PORT_PHY_I2C_READ", 40, port::module),
    early(0x2f, "PORT_LED_QCAPS", 24, board::leds),
    early(0x30, "QUEUE_QPORTCFG", 24, scheduler::queues).once(32),
    early(0x37, "QUEUE_PRI2COS_QCFG", 24, scheduler::priorities),
    registered(0x40, "VNIC_ALLOC", 24, vnics::alloc),
    registered(0x41, "VNIC_FREE", 24, vnics::free),
    registered(0x42, "VNIC_CFG", 48, vnics::configure),
    registered(0x43, "VNIC_QCFG", 32, vnics::configuration),
    registered(0x44, "VNIC_TPA_CFG", 48, vnics::aggregation),
    registered(0x46, "VNIC_RSS_CFG", 48, vnics::rss),
    registered(0x47, "VNIC_RSS_QCFG", 24, vnics::rss_configuration),
    registered(0x48, "VNIC_PLCMODES_CFG", 40, vnics::placement),
    registered(0x49, "VNIC_PLCMODES_QCFG", 24, vnics::placement_configuration),
    early(0x4a, "VNIC_QCAPS", 24, vnics::capabilities),
    registered(0x50, "RING_ALLOC", 96, rings::alloc),
    registered(0x51, "RING_FREE", 32, rings::free),
    registered(0x53, "RING_CMPL_RING_CFG_AGGINT_PARAMS", 40, rings::coalesce),
    early(0x54, "RING_AGGINT_QCAPS", 16, rings::coalescing),
    registered(0x5e, "RING_RESET", 24, rings::reset),
    registered(0x60, "RING_GRP_ALLOC", 24, rings::alloc_group),
    registered(0x61, "RING_GRP_FREE", 24, rings::free_group),
    registered(0x70, "VNIC_RSS_COS_LB_CTX_ALLOC", 16, vnics::alloc_rss),
    registered(0x71, "VNIC_RSS_COS_LB_CTX_FREE", 24, vnics::free_rss),
    registered(0x90, "CFA_L2_FILTER_ALLOC", 96, filters::alloc),
    registered(0x91, "CFA_L2_FILTER_FREE", 24, filters::free),
    registered(0x93, "CFA_L2_SET_RX_MASK", 56, filters::mask),
    registered(0x99, "CFA_NTUPLE_FILTER_ALLOC", 128, filters::alloc_ntuple),
    registered(0x9a, "CFA_NTUPLE_FILTER_FREE", 24, filters::free_ntuple),
    registered(0x9b, "CFA_NTUPLE_FILTER_CFG", 48, filters::move_ntuple),
    registered(0xb0, "STAT_CTX_ALLOC", 48, rings::alloc_statistics),
    registered(0xb1, "STAT_CTX_FREE", 24, rings::free_statistics),
    registered(0xb2, "STAT_CTX_QUERY", 24, counters::context),
    registered(0xb3, "STAT_CTX_CLR_STATS", 24, counters::clear_context),
    early(0xb4, "PORT_QSTATS_EXT", 40, counters::port_extended),
    early(0xc8, "FW_SET_TIME", 32, board::set_time),
    early(0xe0, "TEMP_MONITOR_QUERY", 16, board::temperature),
    early(0x124, "CFA_ADV_FLOW_MGNT_QCAPS", 24, filters::capabilities),
    early(0x190, "FUNC_RESOURCE_QCAPS", 24, function::resources).once(56),
    early(0x192, "FUNC_BACKING_STORE_QCAPS", 16, store::capabilities).once(72),
    early(0x193, "FUNC_BACKING_STORE_CFG", 336, store::configure),
    early(0x194, "FUNC_BACKING_STORE_QCFG", 16, store::configuration),
    early(0x19e, "FUNC_PTP_CFG", 48, ptp::configure),
    early(0x19f, "FUNC_PTP_TS_QUERY", 24, ptp::time),
    early(0x200, "SELFTEST_QLIST", 16, board::self_tests),
    registered(0x201, "SELFTEST_EXEC", 24, board::self_test),
    registered(0x202, "SELFTEST_IRQ", 16, done),
    early(0xff10, "DBG_READ_DIRECT", 32, board::read_bus),
    early(0xfff1, "NVM_GET_VARIABLE", 40, board::variable),
    early(0xfff6, "NVM_GET_DEV_INFO", 16, board::flash),
];

fn find(code: u16) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.code == code)
}

/// Bytes of this command's request that the firmware knows.
pub fn known_length(code: u16) -> usize {
    find(code).map_or(WINDOW, |command| command.request.into())
}

/// How long the oldest firmware's answer is, where it is shorter.
pub fn oldest_answer(code: u16) -> Option<usize> {
    find(code).map(|command| usize::from(command.oldest)).filter(|&bytes| bytes != 0)
}

/// Whether this is a command that firmware may take long for.
pub fn may_be_slow(code: u16) -> bool {
    matches!(code, 0x11 | 0x50 | 0x193)
}

/// Whether this is a command that drivers try again later, or go on without.
pub fn is_tried_again(code: u16) -> bool {
    optional(code) || matches!(code, 0x0d | 0x20 | 0x23 | 0x53 | 0xb3)
}

/// Whether this is a command that a driver can do without, and not all firmware has.
fn optional(code: u16) -> bool {
    matches!(code, 0x2f | 0xc8 | 0xe0 | 0xfff1 | 0xfff6 | 0x200)
}

/// Does a command.
pub fn run(card: &mut Bnxt, request: &Request) -> Answer {
    let code = request.code();
    let Some(command) = find(code) else { return Err(UNKNOWN) };
    if card.board.nasty && optional(code) {
        let refusals = [UNKNOWN, Refusal::DENIED, LOCKED];
        if let Some(refusal) = refusals.get(card.board.random.below(6) as usize) {
            return Err(*refusal);
        }
    }
    if !command.early && !card.function.registered() && !card.health.unnoticed() {
        card.board.violations.note(format!("{} before FUNC_DRV_RGTR", command.name));
    }
    (command.run)(card, request)
}

/// The name of a command, for a trace.
pub fn name(code: u16) -> String {
    find(code).map_or_else(|| format!("{code:X}"), |command| command.name.into())
}
