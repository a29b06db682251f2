//! The management controller's firmware: commands, by number.
//!
//! ```text
//!   code --> row of COMMANDS { name, shortest input, allowed before DRV_ATTACH }
//!              |
//!              v
//!   board  who is it      port  PHY, link, MAC, statistics
//!   queues VIs, rings, PIO     filters  where frames go     ptp  what time it is
//! ```
//!
//! A command is not looked at beyond the length that was sent, and fields that
//! nothing selects may hold anything. One that is not in the table is answered
//! as firmware answers what it does not know: ENOSYS.

mod board;
mod filters;
mod port;
mod ptp;
mod queues;

use super::Ef10;

/// Errors, by the number that goes over the wire.
pub mod errno {
    pub const EPERM: u32 = 1;
    pub const ENOENT: u32 = 2;
    pub const EIO: u32 = 5;
    pub const EAGAIN: u32 = 0xb;
    pub const EBUSY: u32 = 0x10;
    pub const EINVAL: u32 = 0x16;
    pub const ERANGE: u32 = 0x22;
    pub const ENOSPC: u32 = 0x1c;
    pub const ENOSYS: u32 = 0x26;
    pub const ETIME: u32 = 0x3e;
    pub const ENOTSUP: u32 = 0x5f;
    pub const EALREADY: u32 = 0x72;
}

/// A command that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// With this error.
    Code(u32),
    /// Its reply will come.
    Later,
    /// Because the MC started anew.
    Rebooted,
}

type Answer = Result<Vec<u8>, No>;

struct Command {
    code: u16,
    name: &'static str,
    /// Bytes of input that there must be.
    least: u16,
    /// Makes sense before DRV_ATTACH.
    early: bool,
    run: fn(&mut Ef10, &[u8]) -> Answer,
}

const fn early(code: u16, name: &'static str, least: u16, run: fn(&mut Ef10, &[u8]) -> Answer) -> Command {
    Command { code, name, least, early: true, run }
}

const fn attached(code: u16, name: &'static str, least: u16, run: fn(&mut Ef10, &[u8]) -> Answer) -> Command {
    Command { code, name, least, early: false, run }
}

/// Commands that are done after the firmware has failed.
const GET_ASSERTS: u16 = 0x06;
const REBOOT: u16 = 0x3d;

/// What there is nothing to do for.
fn done(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(Vec::new())
}

const COMMANDS: &[Command] = &[
    early(0x05, "GET_BOOT_STATUS", 0, board::boot_status),
    early(GET_ASSERTS, "GET_ASSERTS", 4, board::asserts),
    attached(0x07, "LOG_CTRL", 8, board::log_control),
    early(0x08, "GET_VERSION", 0, board::version),
    attached(0x0b, "PTP", 8, ptp::run),
    early(0x18, "GET_BOARD_CFG", 0, board::board_config),
    early(0x1c, "DRV_ATTACH", 12, board::attach),
    early(0x20, "ENTITY_RESET", 4, board::entity_reset),
    early(0x24, "GET_PHY_CFG", 0, port::phy_config),
    early(0x28, "GET_LOOPBACK_MODES", 0, port::loopback_modes),
    early(0x29, "GET_LINK", 0, port::link),
    attached(0x2a, "SET_LINK", 16, port::set_link),
    attached(0x2b, "SET_ID_LED", 4, done),
    attached(0x2c, "SET_MAC", 28, port::set_mac),
    attached(0x2e, "MAC_STATS", 20, port::mac_stats),
    early(0x36, "NVRAM_TYPES", 0, board::types),
    early(0x37, "NVRAM_INFO", 4, board::partition),
    early(REBOOT, "REBOOT", 4, board::reboot),
    early(0x41, "SENSOR_INFO", 4, board::sensors),
    early(0x43, "GET_PHY_STATE", 0, port::phy_state),
    early(0x4a, "WORKAROUND", 8, board::workaround),
    early(0x4b, "GET_PHY_MEDIA_INFO", 4, port::media),
    early(0x4c, "NVRAM_TEST", 4, board::test_part),
    early(0x51, "NVRAM_PARTITIONS", 0, board::partitions),
    early(0x55, "GET_MAC_ADDRESSES", 0, board::addresses),
    early(0x59, "GET_WORKAROUNDS", 0, board::workarounds),
    early(0x5a, "PRIVILEGE_MASK", 8, board::privileges),
    attached(0x5d, "VADAPTOR_SET_MAC", 10, board::vadaptor_set_mac),
    attached(0x61, "VADAPTOR_QUERY", 4, board::vadaptor_query),
    attached(0x80, "INIT_EVQ", 0x2c, queues::init_evq),
    attached(0x81, "INIT_RXQ", 0x24, queues::init_rxq),
    attached(0x82, "INIT_TXQ", 0x24, queues::init_txq),
    attached(0x83, "FINI_EVQ", 4, queues::fini_evq),
    attached(0x84, "FINI_RXQ", 4, queues::fini_rxq),
    attached(0x85, "FINI_TXQ", 4, queues::fini_txq),
    attached(0x86, "DRIVER_EVENT", 12, queues::driver_event),
    attached(0x8a, "FILTER_OP", 12, filters::operate),
    attached(0x8b, "ALLOC_VIS", 8, queues::alloc_vis),
    attached(0x8c, "FREE_VIS", 0, queues::free_vis),
    attached(0x8f, "ALLOC_PIOBUF", 0, queues::alloc_piobuf),
    attached(0x90, "FREE_PIOBUF", 4, queues::free_piobuf),
    attached(0x92, "LINK_PIOBUF", 8, queues::link_piobuf),
    attached(0x93, "UNLINK_PIOBUF", 4, queues::unlink_piobuf),
    attached(0x98, "VADAPTOR_ALLOC", 30, board::vadaptor_alloc),
    attached(0x99, "VADAPTOR_FREE", 4, board::vadaptor_free),
    attached(0x9e, "RSS_CONTEXT_ALLOC", 12, filters::rss_alloc),
    attached(0x9f, "RSS_CONTEXT_FREE", 4, filters::rss_free),
    attached(0xa0, "RSS_CONTEXT_SET_KEY", 0x2c, filters::rss_set_key),
    attached(0xa1, "RSS_CONTEXT_GET_KEY", 4, filters::rss_key),
    attached(0xa2, "RSS_CONTEXT_SET_TABLE", 0x84, filters::rss_set_table),
    attached(0xa3, "RSS_CONTEXT_GET_TABLE", 4, filters::rss_table),
    early(0xac, "GET_CLOCK", 0, board::clock),
    early(0xaa, "VPORT_GET_MAC_ADDRESSES", 4, board::vport_addresses),
    early(0xb6, "GET_PF_COUNT", 0, board::functions),
    early(0xb8, "GET_PORT_ASSIGNMENT", 0, board::port_assignment),
    early(0xbe, "GET_CAPABILITIES", 0, board::capabilities),
    early(0xbf, "GET_VECTOR_CFG", 0, board::vectors),
    attached(0xc1, "SET_RXDP_CONFIG", 4, done),
    early(0xc2, "GET_RXDP_CONFIG", 0, board::rxdp_config),
    early(0xd0, "LICENSING_V3", 4, board::licences),
    attached(0xe1, "RSS_CONTEXT_SET_FLAGS", 8, filters::rss_set_flags),
    attached(0xe2, "RSS_CONTEXT_GET_FLAGS", 4, filters::rss_flags),
    attached(0xe3, "TRIGGER_INTERRUPT", 4, queues::trigger_interrupt),
    early(0xe4, "GET_PARSER_DISP_INFO", 4, filters::supported),
    early(0xec, "GET_FUNCTION_INFO", 0, board::function_info),
    early(0xed, "ENABLE_OFFLINE_BIST", 0, board::offline_tests),
    early(0xff, "GET_PORT_MODES", 0, port::modes),
    attached(0x120, "SET_EVQ_TMR", 16, queues::set_timer),
    early(0x122, "GET_EVQ_TMR_PROPERTIES", 0, queues::timer_properties),
    early(0x1b7, "GET_DESC_ADDR_INFO", 0, board::addressing),
];

/// Does a command.
pub fn run(card: &mut Ef10, code: u16, input: &[u8]) -> Answer {
    let Some(command) = COMMANDS.iter().find(|command| command.code == code) else {
        return Err(No::Code(errno::ENOSYS));
    };
    // What else is answered then is not known.
    if card.asserted.waits && !matches!(code, GET_ASSERTS | REBOOT) {
        return Err(No::Code(errno::EIO));
    }
    if input.len() < usize::from(command.least) {
        card.board.violations.note(format!("{} of {} bytes, too few", command.name, input.len()));
        return Err(No::Code(errno::EINVAL));
    }
    if !card.mc.attached && !command.early && !card.mc.unnoticed() {
        card.board.violations.note(format!("{} before DRV_ATTACH", command.name));
    }
    (command.run)(card, input)
}
