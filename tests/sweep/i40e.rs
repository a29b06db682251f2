//! The admin commands of the X710 and the X722.
//!
//! Beside each the kernel's driver, where it was measured or reads so: of a card
//! that denies it, it stops at 0001, 0008, 000a, 0107, 0200, 0212, 0600 and 0607, and
//! gets a link in spite of the others.

use super::{Command, End, Family};
use End::{Fatal, Lost, On};
use bmnic::driver::Config;

pub const FAMILY: Family = Family { cards: &["x710", "x722"], config, commands: COMMANDS, usual: None };

/// Two queues, so that frames are spread.
pub fn config(_: u32) -> Config {
    Config { rx_queues: 2, ..Config::default() }
}

/// After a command without an answer the model's firmware answers nothing more.
const SILENT: &str = "firmware that has stopped can neither be asked for the link nor be told to stop";

/// A command of all cards, where it is denied or not known, and where its buffer
/// stays as it was.
const fn all(code: u32, denied: End, hollow: End, why: &'static str) -> Command {
    let (unsupported, timeout) = (denied, Fatal("did not answer"));
    let why = if why.is_empty() { SILENT } else { why };
    Command { code, of: "", denied, unsupported, hollow, timeout, why }
}

/// The same of the cards that are called so.
const fn only(of: &'static str, command: Command) -> Command {
    Command { of, ..command }
}

const COMMANDS: &[Command] = &[
    // Version.
    all(0x0001, Fatal("refused its version"), On, "nothing else means the same in all versions"),
    // The driver's version.
    all(0x0002, On, On, ""),
    // The end: who leaves does not wait for leave.
    Command { timeout: On, ..all(0x0003, On, On, "") },
    // The lock of the NVM, and its return.
    all(0x0008, Lost("whether its NVM is damaged was not checked"), On, ""),
    all(0x0009, On, On, ""),
    // Capabilities.
    all(0x000a, Fatal("its capabilities"), Fatal("answered with nothing"), "no queue could be used"),
    // Addresses.
    all(0x0107, Fatal("its address"), Fatal("answered with nothing"), "frames without a source would be sent"),
    // The end of boot mode.
    all(0x0110, Lost("it may be slow after a boot from it"), On, ""),
    // The switch.
    all(0x0200, Fatal("its switch"), Fatal("answered with nothing"), "nobody would know the interface's number"),
    // Filter registers, by themselves instead.
    only("x710", all(0x0206, On, On, "")),
    only("x710", all(0x0207, On, On, "")),
    // Properties of the interface: set, read.
    all(0x0211, Lost("all frames come on its first queue"), Lost("all frames come on its first queue"), ""),
    all(
        0x0212,
        Fatal("its interface"),
        Fatal("answered with nothing"),
        "a queue needs the number that is there to send",
    ),
    // Address filters: all frames are received anyway.
    all(0x0250, On, On, ""),
    all(0x0251, On, On, ""),
    // All addresses.
    all(0x0254, Lost("it receives what its firmware has filters for"), On, ""),
    // PHY.
    all(0x0600, Lost("the PHY stays as it was found"), Lost("the PHY stays as it was found"), ""),
    // Longest frame: the port may let it pass all the same.
    all(0x0603, On, On, ""),
    // State of the link.
    all(0x0607, Fatal("the state of its link"), On, "nothing else says whether frames can pass"),
    // Events of the link: it is asked for by the clock instead.
    all(0x0613, On, On, ""),
    // Loopback off, as it is.
    all(0x0618, On, On, ""),
    // Words of the NVM.
    only("x722", all(0x0701, Lost("was not checked"), Lost("was not checked"), "")),
    // Hash key and table. What is in them is not read again.
    only("x722", all(0x0b02, Lost("flows are spread by another one"), On, "")),
    only("x722", all(0x0b03, Lost("flows are spread as its firmware has it"), On, "")),
];
