//! Conservation: what came is what was kept, what a filter left out, and what was lost by a
//! cause that has a name. Nothing else, however many packets.
//!
//! ```text
//!   sender -- wire --> card --> ring --> poll loop --> filter --> recorder --> pipe --> reader
//!      |        |        |        |          |           |           |                    |
//!     came    lost,    missed   left at    anomalies  filtered    disk slow              kept
//!           doubled             a reset
//! ```
//!
//! Each place counts for itself: the sender what it handed over, the wire and the card's MAC
//! what passed, the driver what made no sense, the loop what it received, and a reader of
//! another library what is in the file. No count is made of the others, but for what was left
//! in a ring when its card was reset. Time is virtual, so that a run is the same each time,
//! but for what a slow disk costs.
//!
//! What a pass does not prove: that a real card loses nothing without a word.

#![allow(dead_code)] // each program uses a part

mod account;
mod disk;
mod rig;

use crate::families::Card;
pub use account::Account;
use rig::Rig;

/// Where packets come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Another card of the family, which waits while this one does not receive.
    Pair,
    /// A generator that does not wait.
    Source,
}

/// What the receiver meets besides packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Nothing,
    /// Now and then nobody looks at the ring, for longer than the card has room.
    Pauses,
    /// Now and then the driver is closed while packets wait in its ring, and opened anew.
    Resets,
    /// Now and then the disk takes nothing.
    Stalls,
}

/// A way for packets to get lost.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub wire: Wire,
    /// Options of the card that receives, and of the one that sends.
    pub receiver: &'static str,
    pub sender: &'static str,
    pub trouble: Trouble,
    /// The causes that must have taken some, or else it was no trial.
    pub takes: &'static [&'static str],
}

const CALM: Scenario =
    Scenario { name: "calm", wire: Wire::Pair, receiver: "", sender: "", trouble: Trouble::Nothing, takes: &[] };

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    CALM,
    Scenario { name: "pauses", wire: Wire::Source, trouble: Trouble::Pauses, takes: &["missed"], ..CALM },
    Scenario { name: "resets", wire: Wire::Source, trouble: Trouble::Resets, takes: &["left_at_reset"], ..CALM },
    Scenario { name: "stalled disk", trouble: Trouble::Stalls, takes: &["disk_slow"], ..CALM },
    Scenario { name: "bad wire", receiver: ",loss=1%,dup=1%,reorder=1%,corrupt=1%", takes: &["in_lost"], ..CALM },
    Scenario { name: "limit", receiver: ",limit=200k", takes: &["in_over_limit"], ..CALM },
    Scenario { name: "flaps", receiver: ",fault=link-flap=50us:/5003", ..CALM },
    Scenario { name: "sender flaps", sender: ",fault=link-flap=50us:/5003", ..CALM },
    Scenario { name: "silent", receiver: ",fault=lose-each:1009", takes: &["fault_lose_each"], ..CALM },
    Scenario { name: "lengths", receiver: ",fault=rx-length=0:/1009", takes: &["bad_length"], ..CALM },
    Scenario { name: "late", receiver: ",fault=rx-late=20us:/1009", ..CALM },
    Scenario { name: "late sender", sender: ",fault=tx-late=20us:/1009", ..CALM },
];

/// Has `packets` come to a card of this family, in steps of `step`; the account of all of them.
///
/// # Errors
/// The first step that does not add up, and by how much.
pub fn run(card: &Card, scenario: &Scenario, packets: u64, step: u64) -> Result<Account, String> {
    let mut rig = Rig::new(card, scenario);
    while rig.came() < packets {
        rig.play(step.min(packets - rig.came()));
        rig.account().check()?;
    }
    let account = rig.end();
    account.check()?;
    let spared = scenario.takes.iter().find(|cause| account.lost(cause) == 0);
    spared.map_or(Ok(account), |cause| Err(format!("nothing was lost by {cause}: it was no trial")))
}
