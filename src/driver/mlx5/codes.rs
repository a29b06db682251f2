//! What firmware says no with, and what it dies of, by name.

use std::fmt;

/// Statuses of answers.
pub mod status {
    /// It does not know the command, or not in this form.
    pub const BAD_OP: u8 = 0x02;
    /// A value makes no sense.
    pub const BAD_PARAM: u8 = 0x03;
    /// Not now.
    pub const BAD_SYS_STATE: u8 = 0x04;
    /// Not now, but soon.
    pub const RESOURCE_BUSY: u8 = 0x06;
    /// There is more than it can hold.
    pub const EXCEED_LIM: u8 = 0x08;
    /// What is named is not in a state for it.
    pub const BAD_RES_STATE: u8 = 0x09;
    /// There is no more of it.
    pub const NO_RESOURCES: u8 = 0x0f;

    /// Name of one.
    pub fn name(status: u8) -> &'static str {
        match status {
            0x00 => "OK",
            0x01 => "INTERNAL_ERR",
            BAD_OP => "BAD_OP",
            BAD_PARAM => "BAD_PARAM",
            BAD_SYS_STATE => "BAD_SYS_STATE",
            0x05 => "BAD_RESOURCE",
            RESOURCE_BUSY => "RESOURCE_BUSY",
            EXCEED_LIM => "EXCEED_LIM",
            BAD_RES_STATE => "BAD_RES_STATE",
            0x0a => "BAD_INDEX",
            NO_RESOURCES => "NO_RESOURCES",
            0x10 => "BAD_QP_STATE",
            0x30 => "BAD_PKT",
            0x40 => "BAD_SIZE_OUTS_CQES",
            0x50 => "BAD_INPUT_LEN",
            0x51 => "BAD_OUTPUT_LEN",
            _ => "an unknown status",
        }
    }
}

/// A command that was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// In which way.
    pub status: u8,
    /// More exactly; the vendor keeps a list that is not public.
    pub syndrome: u32,
}

impl Refusal {
    /// What comes of an answer that says that all is well, and nothing else.
    pub const UNSAID: Refusal = Refusal { status: 0, syndrome: 0 };

    /// What the syndrome means, of those that were seen and explained.
    fn explain(self) -> Option<&'static str> {
        match self.syndrome {
            0x8fef => Some("an event that the card does not have"),
            0x43d98f => Some("a form of timestamps that the card does not have"),
            0x98afbb => Some("flow tables are held by virtual functions or another driver"),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#x}), syndrome {:#x}", status::name(self.status), self.status, self.syndrome)?;
        match self.explain() {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// Why a command was not even looked at: the delivery status of its entry.
pub fn delivery(status: u8) -> &'static str {
    match status {
        0x1 => "its signature is wrong",
        0x2 => "its token is wrong",
        0x3 => "a block of its mailbox has the wrong number",
        0x4 => "its output mailbox is not aligned",
        0x5 => "its input mailbox is not aligned",
        0x6 => "the firmware failed",
        0x7 => "its input is too short or too long",
        0x8 => "its output is too short or too long",
        0x9 => "a reserved field is not zero",
        0x10 => "its type is wrong",
        _ => "for a reason that is not known",
    }
}

/// What the firmware died of: the syndrome in the health buffer.
pub fn health(syndrome: u8) -> &'static str {
    match syndrome {
        0x1 => "its firmware has failed",
        0x7 => "one of its processors does not respond",
        0x8 => "its hardware has failed",
        0x9 => "the checksum of its firmware is wrong",
        0xa => "it could not fetch from memory that it was given",
        0xb => "its memory has failed",
        0xc => "its event queue ran over",
        0xd => "its event queue failed",
        0xe => "its event queue is not valid",
        0xf => "its flash has failed",
        0x10 => "it is too hot",
        _ => "it has failed for a reason that is not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_named_and_explained_where_it_can_be() {
        let text = |status, syndrome| Refusal { status, syndrome }.to_string();
        assert_eq!(text(3, 0x8fef), "BAD_PARAM (0x3), syndrome 0x8fef: an event that the card does not have");
        assert_eq!(text(0x77, 0), "an unknown status (0x77), syndrome 0x0");
    }
}
