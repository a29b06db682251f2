//! What queues and control plane share of a port: its rings, and the places that
//! hand frames to them. A queue whose card has lost its place has its rings started
//! anew here, on its own thread.

use super::cq;
use super::delivery::Delivery;
use super::hw::Hw;
use super::rings::{Common, Events, RxRings, TxRings};
use super::rx::{Restart, RxBells};
use super::tx::TxBells;
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a card may go on writing to what a ring held, after it has said that
/// the ring is freed.
const LATE_WRITES: Duration = Duration::from_millis(1);

/// Rings and places of a port.
pub struct Port {
    /// What the rings have in common.
    pub common: Common,
    /// Where events come in.
    pub events: Option<Events>,
    /// Those of receive queues.
    pub rx: Vec<RxRings>,
    /// Those of transmit queues.
    pub tx: Vec<TxRings>,
    /// Where frames go.
    pub delivery: Delivery,
}

/// A port that several hold.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Port>>);

impl Shared {
    /// Of `port`.
    pub fn new(port: Port) -> Shared {
        Shared(Arc::new(Mutex::new(port)))
    }

    /// The port. A panic while it was held was reported where it happened.
    pub fn lock(&self) -> MutexGuard<'_, Port> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the rings of receive queue `n` anew.
    pub fn restart_rx(&self, hw: &Arc<Hw>, n: usize) -> Restart<RxBells> {
        let (shared, hw) = (self.clone(), Arc::clone(hw));
        Box::new(move || {
            let mut port = shared.lock();
            port.renew_rx(&hw, n).map_err(|error| given_up(&hw, &error))
        })
    }

    /// Starts the rings of transmit queue `n` anew.
    pub fn restart_tx(&self, hw: &Arc<Hw>, n: usize) -> Restart<TxBells> {
        let (shared, hw) = (self.clone(), Arc::clone(hw));
        Box::new(move || {
            let mut port = shared.lock();
            port.renew_tx(&hw, n).map_err(|error| given_up(&hw, &error))
        })
    }
}

impl Port {
    /// Frees the rings of receive queue `n`, and starts them again. No frame is on its
    /// way to them meanwhile.
    fn renew_rx(&mut self, hw: &Hw, n: usize) -> Result<RxBells> {
        let Port { common, rx, delivery, .. } = self;
        delivery.hold(hw, rx, n)?;
        rx[n].stop(hw)?;
        hw.pause(LATE_WRITES);
        rx[n].start(hw, common)?;
        delivery.renew(hw, rx, n)?;
        rx[n].bells(hw, common)
    }

    /// The same of transmit queue `n`.
    fn renew_tx(&mut self, hw: &Hw, n: usize) -> Result<TxBells> {
        let Port { common, tx, .. } = self;
        tx[n].stop(hw)?;
        hw.pause(LATE_WRITES);
        tx[n].start(hw, common)?;
        tx[n].bells(hw, common)
    }

    /// Frees everything, what was made last first.
    pub fn stop(&mut self, hw: &Hw) -> Result<()> {
        self.delivery.stop(hw);
        let mut outcome = Ok(());
        for rings in &mut self.tx {
            outcome = rings.stop(hw).and(outcome);
        }
        for rings in &mut self.rx {
            outcome = rings.stop(hw).and(outcome);
        }
        // A ring that would not go may still report and count: the reset takes all.
        outcome?;
        if let Some(events) = self.events.take() {
            events.stop(hw)?;
        }
        self.common.uncount(hw);
        Ok(())
    }
}

/// A queue's rings could not be started anew: control says so from now on, as the
/// queue has nobody to tell. A card that is lost already says why itself.
fn given_up(hw: &Hw, error: &Error) -> Error {
    if let Err(lost) = hw.check() {
        return lost;
    }
    let (text, name) = (error.to_string(), format!("{hw}: "));
    let why = text.strip_prefix(&name).unwrap_or(&text);
    hw.lost(format_args!("a queue had to be set up anew and could not be ({why})"))
}

/// Bytes of a ring of so many entries: whole pages, as the card wants it to begin
/// with one.
pub fn ring_bytes(entries: u32) -> usize {
    const PAGE: usize = 4096;
    (entries as usize * cq::ENTRY).max(PAGE)
}
