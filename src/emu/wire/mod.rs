//! Wires: what an emulated port is plugged into.
//!
//! ```text
//!     Model            one card
//!       |  send, peek, advance
//!     Mac              line rate, counters: when does each bit pass?
//!       |
//!     Impaired         loses, limits, doubles, swaps, spoils, delays (only if asked for)
//!       |
//!     Loop  Peer  Switch  Source  Sink  Tap  Packet  Pcap  Cable
//! ```
//!
//! A [`Wire`] is one end of an Ethernet segment as a MAC sees it. Ends compose:
//! an impaired wire is a wire around a wire. Time is the caller's
//! ([`Picos`]), so a test can run a wire faster or slower than the clock on the
//! wall.

mod cable;
mod clock;
mod finish;
mod impair;
#[cfg(test)]
mod kernel_tests;
pub mod lane;
mod loopback;
mod mac;
mod note;
mod open;
mod packet;
mod pcap;
mod peer;
mod queue;
mod random;
mod seldom;
mod sink;
mod source;
mod switch;
mod tap;

pub use cable::Cable;
pub use clock::{MIN_SPEED, Speed};
pub use impair::{BURST, IMPAIRMENTS, Impaired, Impairing, Impairment, Seeded};
pub use loopback::Loop;
pub use mac::{BUFFER, Counters, Mac, Sent};
pub use note::{Fate, Note};

pub use open::{Patch, WireSpec, open};
pub use packet::Packet;
pub use pcap::{Pcap, PcapSpec, Playback, check_files};
pub use peer::{Crossover, Peer};
pub use queue::FrameQueue;
pub use random::Random;
pub use sink::Sink;
pub use source::{Rate, Sizes, Source, SourceSpec};
pub use switch::Switch;
pub use tap::Tap;

use super::Picos;

/// Longest frame that a wire carries, in bytes without FCS.
pub const MAX_FRAME: usize = 16 * 1024;

/// Shortest frame on a wire, in bytes without FCS; MACs pad to it (IEEE 802.3 §3.2.8).
pub const MIN_FRAME: usize = 60;

/// What a frame takes besides itself: preamble and start delimiter, FCS,
/// inter-frame gap (IEEE 802.3 §4.4.2).
const OVERHEAD: usize = 8 + 4 + 12;

/// One end of an Ethernet segment. Frames are whole, without FCS.
pub trait Wire: Send {
    /// Puts a frame on the wire whose last bit leaves at `at`. False if the far
    /// end asks for a pause: the frame was not taken, offer it again.
    fn send(&mut self, frame: &[u8], at: Picos) -> bool;

    /// The frame that has arrived by `now` and is next, if any, and when its last bit
    /// came. It stays until [`Wire::advance`].
    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)>;

    /// Done with the frame that `peek` showed.
    fn advance(&mut self);

    /// Whether there is light on the wire.
    fn carrier(&self) -> bool;

    /// Whether a frame that cannot be received yet may wait on the wire (the far
    /// end honours pause frames), or is lost.
    fn waits(&self) -> bool;

    /// Whether all that it had to bring has been taken: no frame comes any more. `None` of a
    /// wire that never brings any, false of one that does not know.
    fn is_over(&self) -> Option<bool> {
        Some(false)
    }

    /// What the wire itself did to frames or saw, those that it lost among them.
    /// Empty if it loses none and keeps no count.
    fn report(&mut self) -> Vec<Note> {
        Vec::new()
    }
}
