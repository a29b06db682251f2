//! What two cards of one kind answer differently by right: what counts, and what tells
//! the time.

use super::super::Profile;

/// Whether a register is one of those.
pub fn register(_profile: &Profile, _name: &str) -> bool {
    false
}

/// Whether the answers of card and model to a command are the same, but for what counts.
pub fn same(_profile: &Profile, _command: &str, card: &[u8], model: &[u8]) -> bool {
    card == model
}
