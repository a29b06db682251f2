//! What two cards of one kind answer differently by right: what counts, what tells the
//! time, and a link, which comes when it comes.

use super::super::{Profile, ixgbe};

/// Intel, Broadcom, NVIDIA, Solarflare.
const INTEL: u16 = 0x8086;
const BROADCOM: u16 = 0x14e4;
const NVIDIA: u16 = 0x15b3;
const SOLARFLARE: u16 = 0x1924;

/// How an answer is held against the card's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It must be the same.
    Same,
    /// It is the card's state: the last in the trace must be the same.
    Last,
    /// It counts or tells the time, and is not compared.
    Counts,
}

/// A maker, the beginning of a register's name, and the rule.
type Row = (u16, &'static str, Rule);

/// Registers, as models name them; one that ends in `*` stands for all that begin so. Those
/// of the 82599 that count are rows of its model.
const REGISTERS: &[Row] = &[
    (INTEL, "FRTIMER", Rule::Counts),
    (INTEL, "SYSTIM*", Rule::Counts),
    (INTEL, "LINKS", Rule::Last),
    (INTEL, "GLPRT_*", Rule::Counts),
    (INTEL, "GLV_*", Rule::Counts),
    (INTEL, "GLVFGEN_TIMER", Rule::Counts),
    (INTEL, "PRTTSYN_TIME_*", Rule::Counts),
    // Where the firmware is with its events, which come when they come.
    (INTEL, "PF_ARQH", Rule::Last),
    (NVIDIA, "HEALTH_COUNTER", Rule::Counts),
    (NVIDIA, "TIMER_*", Rule::Counts),
];

/// Commands, as drivers name them in a trace.
const COMMANDS: &[Row] = &[
    (INTEL, "the_state_of_its_link", Rule::Last),
    (BROADCOM, "STAT_CTX_QUERY", Rule::Counts),
    (BROADCOM, "PORT_QSTATS*", Rule::Counts),
    (BROADCOM, "PORT_TS_QUERY", Rule::Counts),
    (BROADCOM, "PORT_PHY_QCFG", Rule::Last),
    (NVIDIA, "QUERY_VPORT_COUNTER", Rule::Counts),
    (NVIDIA, "QUERY_Q_COUNTER", Rule::Counts),
    (NVIDIA, "QUERY_VPORT_STATE", Rule::Last),
    (SOLARFLARE, "GET_LINK", Rule::Last),
];

/// NVIDIA's command that reads a register of the port: which one says whether it counts.
const ACCESS_REGISTER: &str = "ACCESS_REGISTER";

/// Where a command of NVIDIA's says which register: behind its entry's head.
const REGISTER_ID: usize = 0x10 + 0x0a;

/// Those: speeds, the link, counters of the port.
const PORT_REGISTERS: &[(u16, Rule)] = &[(0x5004, Rule::Last), (0x5006, Rule::Last), (0x5008, Rule::Counts)];

/// Bytes at the beginning of a counting answer that do not count: what became of it.
pub const HEAD: usize = 4;

fn find(rows: &[Row], vendor: u16, name: &str) -> Rule {
    let is = |row: &&Row| match row.1.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == row.1,
    };
    rows.iter().filter(|row| row.0 == vendor).find(is).map_or(Rule::Same, |row| row.2)
}

/// The rule of a register.
pub fn register(profile: &Profile, name: &str) -> Rule {
    let name = name.split('(').next().unwrap_or(name);
    match find(REGISTERS, profile.id.vendor, name) {
        Rule::Same
            if profile.id.vendor == INTEL && ixgbe::REGISTERS.iter().any(|row| row.name == name && row.counts()) =>
        {
            Rule::Counts
        }
        rule => rule,
    }
}

/// The rule of a command, which begins so in memory.
pub fn command(profile: &Profile, name: &str, asked: &[u8]) -> Rule {
    let vendor = profile.id.vendor;
    if vendor == NVIDIA && name == ACCESS_REGISTER {
        let id = asked.get(REGISTER_ID..REGISTER_ID + 2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
        return PORT_REGISTERS.iter().find(|row| row.0 == id).map_or(Rule::Same, |row| row.1);
    }
    find(COMMANDS, vendor, name)
}
