//! The firmware: commands, by number.
//!
//! ```text
//!   code --> row of COMMANDS { name, state that the function must be in,
//!              |               bytes of input that must be there }
//!              v
//!   hca    enable, ISSI, init, teardown      pages    memory that firmware works with
//!   caps   what there is                     vport    address, lists, MTU, state
//!   ports  registers of the port             counters what was counted
//!   time   registers of the clock
//!   and objects of the data plane, which are the data plane's affair
//! ```
//!
//! A command that is not in the table is refused as firmware refuses what it does not
//! know: bad operation.

mod caps;
mod counters;
mod hca;
mod pages;
mod ports;
mod time;
mod vport;

pub use self::hca::{Hca, LOG_QP};
pub use self::pages::Pages;
pub use self::ports::PortSettings;
pub use self::vport::VportSettings;

use self::hca::Stage;
use super::super::FaultKind;
use super::Mlx5;
use super::cmd::Request;
use super::plane::Status;

/// Commands that others ask for by number.
pub const ENABLE_HCA: u16 = 0x104;
pub const INIT_HCA: u16 = 0x102;
pub const MANAGE_PAGES: u16 = 0x108;
const TEARDOWN_HCA: u16 = 0x103;
const CREATE_FLOW_TABLE: u16 = 0x930;

/// Something went wrong inside of it.
pub const INTERNAL: Status = Status { status: 0x01, syndrome: 0 };

/// An answer, built field by field; offsets count its header.
#[derive(Clone, Debug)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// One of `len` bytes, all 0.
    pub fn new(len: usize) -> Self {
        Reply(vec![0; len])
    }

    /// One that says nothing but that it was done.
    pub fn done() -> Self {
        Reply::new(0x10)
    }

    /// One with bytes behind its header of 16.
    pub fn of(data: &[u8]) -> Self {
        Reply::new(0x10 + data.len()).put(0x10, data)
    }

    /// Sets a 32-bit field.
    pub fn u32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_be_bytes())
    }

    /// Sets a 64-bit field.
    pub fn u64(self, at: usize, value: u64) -> Self {
        self.put(at, &value.to_be_bytes())
    }

    /// Sets a field of any length.
    pub fn put(mut self, at: usize, value: &[u8]) -> Self {
        self.0[at..at + value.len()].copy_from_slice(value);
        self
    }

    /// All of it.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// What a command is answered.
pub type Answer = Result<Reply, Status>;

type Run = fn(&mut Mlx5, &Request) -> Answer;

struct Command {
    code: u16,
    name: &'static str,
    /// What the function must have come to.
    stage: Stage,
    /// Bytes of input that must be there.
    least: usize,
    /// None: the data plane does it.
    run: Option<Run>,
}

const fn control(code: u16, name: &'static str, stage: Stage, least: usize, run: Run) -> Command {
    Command { code, name, stage, least, run: Some(run) }
}

const fn object(code: u16, name: &'static str) -> Command {
    Command { code, name, stage: Stage::Running, least: 0x08, run: None }
}

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    control(0x100, "QUERY_HCA_CAP", Stage::Booted, 0x08, caps::query),
    control(0x101, "QUERY_ADAPTER", Stage::Booted, 0x08, hca::adapter),
    control(INIT_HCA, "INIT_HCA", Stage::Booted, 0x08, hca::init),
    control(TEARDOWN_HCA, "TEARDOWN_HCA", Stage::Running, 0x0c, hca::teardown),
    control(ENABLE_HCA, "ENABLE_HCA", Stage::Disabled, 0x0c, hca::enable),
    control(0x105, "DISABLE_HCA", Stage::Enabled, 0x0c, hca::disable),
    control(0x107, "QUERY_PAGES", Stage::Enabled, 0x0c, pages::query),
    control(MANAGE_PAGES, "MANAGE_PAGES", Stage::Enabled, 0x10, pages::manage),
    control(0x109, "SET_HCA_CAP", Stage::Booted, 0x10, caps::set),
    control(0x10a, "QUERY_ISSI", Stage::Enabled, 0x08, hca::query_issi),
    control(0x10b, "SET_ISSI", Stage::Enabled, 0x0c, hca::set_issi),
    control(0x10d, "SET_DRIVER_VERSION", Stage::Running, 0x10, hca::driver_version),
    object(0x200, "CREATE_MKEY"),
    object(0x201, "QUERY_MKEY"),
    object(0x202, "DESTROY_MKEY"),
    object(0x203, "QUERY_SPECIAL_CONTEXTS"),
    object(0x301, "CREATE_EQ"),
    object(0x302, "DESTROY_EQ"),
    object(0x303, "QUERY_EQ"),
    object(0x400, "CREATE_CQ"),
    object(0x401, "DESTROY_CQ"),
    object(0x402, "QUERY_CQ"),
    object(0x403, "MODIFY_CQ"),
    control(0x750, "QUERY_VPORT_STATE", Stage::Running, 0x0c, vport::query_state),
    control(0x751, "MODIFY_VPORT_STATE", Stage::Running, 0x10, vport::modify_state),
    control(0x754, "QUERY_NIC_VPORT_CONTEXT", Stage::Running, 0x10, vport::query),
    control(0x755, "MODIFY_NIC_VPORT_CONTEXT", Stage::Running, 0x200, vport::modify),
    control(0x770, "QUERY_VPORT_COUNTER", Stage::Running, 0x1c, counters::vport),
    object(0x771, "ALLOC_Q_COUNTER"),
    object(0x772, "DEALLOC_Q_COUNTER"),
    object(0x773, "QUERY_Q_COUNTER"),
    object(0x800, "ALLOC_PD"),
    object(0x801, "DEALLOC_PD"),
    object(0x802, "ALLOC_UAR"),
    object(0x803, "DEALLOC_UAR"),
    control(0x805, "ACCESS_REGISTER", Stage::Booted, 0x10, ports::access),
    control(0x80d, "NOP", Stage::Enabled, 0x08, hca::nop),
    object(0x816, "ALLOC_TRANSPORT_DOMAIN"),
    object(0x817, "DEALLOC_TRANSPORT_DOMAIN"),
    control(0x829, "SET_L2_TABLE_ENTRY", Stage::Running, 0x28, vport::set_l2_entry),
    control(0x82a, "QUERY_L2_TABLE_ENTRY", Stage::Running, 0x18, vport::query_l2_entry),
    control(0x82b, "DELETE_L2_TABLE_ENTRY", Stage::Running, 0x18, vport::delete_l2_entry),
    object(0x900, "CREATE_TIR"),
    object(0x901, "MODIFY_TIR"),
    object(0x902, "DESTROY_TIR"),
    object(0x903, "QUERY_TIR"),
    object(0x904, "CREATE_SQ"),
    object(0x905, "MODIFY_SQ"),
    object(0x906, "DESTROY_SQ"),
    object(0x907, "QUERY_SQ"),
    object(0x908, "CREATE_RQ"),
    object(0x909, "MODIFY_RQ"),
    object(0x90a, "DESTROY_RQ"),
    object(0x90b, "QUERY_RQ"),
    object(0x912, "CREATE_TIS"),
    object(0x913, "MODIFY_TIS"),
    object(0x914, "DESTROY_TIS"),
    object(0x915, "QUERY_TIS"),
    object(0x916, "CREATE_RQT"),
    object(0x917, "MODIFY_RQT"),
    object(0x918, "DESTROY_RQT"),
    object(0x919, "QUERY_RQT"),
    object(0x92f, "SET_FLOW_TABLE_ROOT"),
    object(CREATE_FLOW_TABLE, "CREATE_FLOW_TABLE"),
    object(0x931, "DESTROY_FLOW_TABLE"),
    object(0x932, "QUERY_FLOW_TABLE"),
    object(0x933, "CREATE_FLOW_GROUP"),
    object(0x934, "DESTROY_FLOW_GROUP"),
    object(0x936, "SET_FLOW_TABLE_ENTRY"),
    object(0x938, "DELETE_FLOW_TABLE_ENTRY"),
    object(0x93c, "MODIFY_FLOW_TABLE"),
];

fn find(code: u16) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.code == code)
}

/// Whether there is such a command.
pub fn knows(code: u16) -> bool {
    find(code).is_some()
}

/// Whether this is a command that firmware may take long for.
pub fn takes_long(code: u16) -> bool {
    matches!(code, ENABLE_HCA | INIT_HCA | TEARDOWN_HCA)
}

/// Whether this is a command that reads counters or registers of the port.
pub fn asks_statistics(code: u16) -> bool {
    matches!(code, 0x770 | 0x773 | 0x805)
}

/// Whether this is a command that firmware may need more pages for.
fn makes_much(code: u16) -> bool {
    matches!(code, 0x301 | 0x400 | 0x904 | 0x908 | CREATE_FLOW_TABLE)
}

/// Whether this command is there only in the interface of ISSI 1.
fn needs_issi(code: u16) -> bool {
    matches!(code, 0x816 | 0x900 | 0x904 | 0x908 | 0x912 | 0x916 | CREATE_FLOW_TABLE)
}

/// The name of a command, for a trace.
pub fn name(code: u16) -> String {
    find(code).map_or_else(|| format!("{code:X}"), |command| command.name.into())
}

/// Does a command.
pub fn run(card: &mut Mlx5, request: &Request) -> Answer {
    let code = request.code();
    let Some(command) = find(code) else { return Err(Status::BAD_OPERATION) };
    if card.stage() < command.stage {
        return Err(Status::BAD_SYSTEM_STATE);
    }
    if request.bytes.len() < command.least {
        return Err(Status::BAD_INPUT_LENGTH);
    }
    if let Some(run) = command.run {
        return run(card, request);
    }
    object_command(card, request, code)
}

/// A command on an object of the data plane.
fn object_command(card: &mut Mlx5, request: &Request, code: u16) -> Answer {
    // Seen where virtual functions existed.
    const BUSY_TABLES: Status = Status::BAD_RESOURCE_STATE.with(0x98_afbb);
    // The older card has 255 of them by its capabilities, yet one driver found none.
    let no_counters = !card.kind.counts_drops && card.board.nasty && (0x771..=0x773).contains(&code);
    if needs_issi(code) && !card.hca.issi || no_counters {
        return Err(Status::BAD_OPERATION);
    }
    if code == CREATE_FLOW_TABLE {
        if card.faulty(FaultKind::FtBusy) {
            return Err(BUSY_TABLES);
        }
        if card.faulty(FaultKind::FtPool) && request.bits(0x18, 7, 0) > 0 {
            return Err(Status::EXCEEDS_LIMIT);
        }
    }
    let answer = card.plane.command(&mut card.board, &request.bytes);
    answer.unwrap_or(Err(Status::BAD_OPERATION)).map(Reply)
}
