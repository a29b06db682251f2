//! Rows that the tables of several families are made of.

use super::{Command, End};
use End::{Fatal, On};

/// After a command without an answer nothing is asked.
pub const SILENT: &str = "a late answer would be taken for another question's";

/// A command that can be gone without.
pub const fn on(code: u32) -> Command {
    let (denied, unsupported, hollow, timeout) = (On, On, On, Fatal("did not answer"));
    Command { code, of: "", denied, unsupported, hollow, timeout, why: SILENT }
}

/// One that cannot, but whose answer may be.
pub const fn needed(code: u32, name: &'static str, why: &'static str) -> Command {
    Command { denied: Fatal(name), unsupported: Fatal(name), why, ..on(code) }
}

/// One whose answer cannot be gone without either: what it comes to without.
pub const fn told(hollow: End, command: Command) -> Command {
    Command { hollow, ..command }
}

/// A command of the end: who leaves does not wait for leave.
pub const fn end(code: u32) -> Command {
    Command { timeout: On, ..on(code) }
}
