//! Emulated cards that are played by the thread that uses them.

use super::{Engine, Port, Shared, Tap, lock};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Cards that are stepped by the holder of this and by nobody else; when it is dropped,
/// by their engine again.
///
/// Between two threads nothing then moves for a packet: descriptors, frames and the state of
/// the cards stay with one processor.
pub struct Inline {
    ports: Vec<Arc<Port>>,
    engine: Arc<Shared>,
}

impl Engine {
    /// Takes cards of this engine away from what steps it.
    pub fn inline<'t>(&self, taps: impl IntoIterator<Item = &'t Tap>) -> Inline {
        let ports: Vec<Arc<Port>> = taps.into_iter().map(|tap| Arc::clone(&tap.port)).collect();
        self.shared.change(|all| all.retain(|port| !ports.iter().any(|own| Arc::ptr_eq(port, own))));
        Inline { ports, engine: Arc::clone(&self.shared) }
    }
}

impl Inline {
    /// Lets every card do what it has to do by now; how much that was. One whose registers
    /// another thread wants is left alone until that was served.
    #[inline]
    pub fn step(&self) -> usize {
        let now = self.engine.clock.now();
        let free = self.ports.iter().filter(|port| port.waiting.load(Ordering::Relaxed) == 0);
        free.map(|port| port.step(now)).sum()
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        // One that is taken out of its slot closes before it leaves the list.
        let there = |port: &Arc<Port>| lock(&port.state).card.is_some();
        let ports = std::mem::take(&mut self.ports);
        self.engine.change(|all| all.extend(ports.into_iter().filter(there)));
    }
}
