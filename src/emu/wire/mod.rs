//! Wires: what an emulated port is plugged into.
//!
//! A [`Wire`] is one end of an Ethernet segment as a MAC sees it. Ends compose:
//! an impaired wire is a wire around a wire. Time is the caller's
//! ([`Picos`](super::Picos)), so a test can run a wire faster or slower than
//! the clock on the wall.

use super::Picos;

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
}
