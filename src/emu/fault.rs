//! Faults of a card's firmware, on demand: `fault=timeout`, `fault=error:7`.
//!
//! A driver speaks to firmware through a mailbox and must survive whatever comes
//! back, at any command of its own choice. So a fault strikes every command, or
//! with a number behind it the one of that number, counted from power-on.

use std::fmt;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A command is never answered, nor is any after it.
    Timeout,
    /// Firmware stops with its critical error flag up.
    Crash,
    /// The answer names another command.
    Opcode,
    /// The answer is shorter than it says.
    Short,
    /// The answer is an error.
    Error,
    /// Events without end.
    Flood,
    /// Firmware from before the interface that drivers know.
    Old,
    /// The checksum over the non-volatile memory is wrong.
    Nvm,
    /// A module that the card does not support is in its cage.
    Media,
    /// The second half of a completion never comes.
    Half,
    /// A buffer is reported twice.
    Opaque,
    /// A doorbell is lost, and an event says so.
    Doorbell,
    /// The function may not receive everything.
    Promiscuous,
    /// Tags are taken off frames, whatever a driver asks for.
    Vlan,
}

impl FaultKind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [FaultKind; 14] = [
        FaultKind::Timeout,
        FaultKind::Crash,
        FaultKind::Opcode,
        FaultKind::Short,
        FaultKind::Error,
        FaultKind::Flood,
        FaultKind::Old,
        FaultKind::Nvm,
        FaultKind::Media,
        FaultKind::Half,
        FaultKind::Opaque,
        FaultKind::Doorbell,
        FaultKind::Promiscuous,
        FaultKind::Vlan,
    ];

    /// Its name, as it is read and printed.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Timeout => "timeout",
            FaultKind::Crash => "crash",
            FaultKind::Opcode => "opcode",
            FaultKind::Short => "short",
            FaultKind::Error => "error",
            FaultKind::Flood => "flood",
            FaultKind::Old => "old",
            FaultKind::Nvm => "nvm",
            FaultKind::Media => "media",
            FaultKind::Half => "half",
            FaultKind::Opaque => "opaque",
            FaultKind::Doorbell => "doorbell",
            FaultKind::Promiscuous => "promiscuous",
            FaultKind::Vlan => "vlan",
        }
    }

    /// Whether it strikes single commands, frames or doorbells, and so can have a
    /// number.
    pub(super) fn counts(self) -> bool {
        !matches!(
            self,
            FaultKind::Flood
                | FaultKind::Old
                | FaultKind::Nvm
                | FaultKind::Media
                | FaultKind::Promiscuous
                | FaultKind::Vlan
        )
    }
}

/// A fault, and which command it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The number of the command, the first being 1; `None` is every command.
    pub at: Option<u32>,
}

impl Fault {
    /// Whether the `number`th command meets this.
    pub fn strikes(self, kind: FaultKind, number: u32) -> bool {
        self.kind == kind && self.at.is_none_or(|at| at == number)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        self.at.map_or(Ok(()), |at| write!(f, ":{at}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_fault_strikes_every_command_or_the_one_of_its_number() {
        let fault = |text: &str| format!("x710,fault={text}").parse::<Spec>().unwrap().fault.unwrap();
        assert!(fault("error").strikes(FaultKind::Error, 1) && fault("error").strikes(FaultKind::Error, 90));
        assert!(!fault("error").strikes(FaultKind::Short, 1));
        assert!(fault("short:7").strikes(FaultKind::Short, 7) && !fault("short:7").strikes(FaultKind::Short, 8));
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        for kind in FaultKind::ALL {
            for at in [None, kind.counts().then_some(31)] {
                let mut spec = Spec::new("x710");
                spec.fault = Some(Fault { kind, at });
                assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
            }
        }
    }

    #[test]
    fn a_fault_that_there_is_not_is_one_clear_line() {
        for bad in ["bogus", "error:0", "error:x", "flood:3", ""] {
            let error = format!("x710,fault={bad}").parse::<Spec>().unwrap_err();
            assert_eq!((error.kind(), error.to_string().lines().count()), (Kind::Usage, 1), "{error}");
        }
    }

    #[test]
    fn a_card_without_firmware_is_refused_a_fault_of_it() {
        let spec: Spec = "82599,fault=error".parse().unwrap();
        let refused = super::super::build(&spec, spec.open_wire(&mut Default::default()).unwrap()).err().unwrap();
        assert_eq!(refused.kind(), Kind::Usage);
        assert!(refused.to_string().contains("82599 cannot have the fault 'error'"), "{refused}");
    }
}
