//! What the card leaves out by itself, as no packet that the filter wants is among it.
//!
//! Cards compare destination addresses, and what they compare is known to the bit, so an
//! expression from which the destinations follow ([`Filter::destinations`]) narrows what the
//! card receives. The program still judges everything that comes. Where a card compares more,
//! as protocols and ports, it is not known of every frame what it takes for which: of
//! fragments, of options, of broken headers; so that is left to the program.
//!
//! A change of the filter widens the card first, and narrows it when all threads have the
//! new one: no packet that both want is left out.

use crate::cli::output::Output;
use crate::driver::Nic;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::packet::Filter;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a card is told, by the thread that owns it.
#[derive(Debug, Default)]
pub struct Narrowing {
    /// Nothing is left to the card.
    off: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the card is to receive; none of the inner is everything.
    wish: Option<Option<Vec<MacAddr>>>,
    /// What it receives, unless it is everything.
    now: Option<Vec<MacAddr>>,
    /// It did not receive everything all the time.
    ever: bool,
    /// The thread that owns the card does not come back to it.
    closed: bool,
    /// What the last change met.
    failed: Option<String>,
}

impl Narrowing {
    /// Narrows nothing if `off`.
    pub fn new(off: bool) -> Narrowing {
        Narrowing { off, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the card receive what is sent to these `destinations`, or everything; or everything
    /// if it cannot do that.
    ///
    /// # Errors
    /// What telling the card meets.
    pub fn narrow(&self, nic: &mut Nic, destinations: Option<&[MacAddr]>) -> Result<()> {
        self.state().narrow(nic, destinations.filter(|_| !self.off))
    }

    /// Says what is left to the card, if anything is.
    pub fn announce(&self, filter: &Filter, output: &Output) -> io::Result<()> {
        let Some(destinations) = self.destinations() else { return Ok(()) };
        let words = words(&destinations);
        output.info(format_args!("filter    in the card: {words}; in software: all of '{filter}'"))
    }

    /// Does what [`Narrowing::ask`] waits for. To be called often by the thread that has the card.
    pub fn serve(&self, nic: &mut Nic) {
        let mut state = self.state();
        if let Some(wish) = state.wish.take() {
            state.failed = state.narrow(nic, wish.as_deref()).err().map(|error| error.to_string());
        }
    }

    /// Nothing is changed any more: nobody waits for it.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Asks the thread that has the card for the same, and waits for it; where nothing changes
    /// for nothing.
    ///
    /// # Errors
    /// [`Kind::Timeout`] if it does not get to it, and will not; [`Kind::Gone`] at the end of a
    /// capture; what telling the card met.
    pub fn ask(&self, destinations: Option<&[MacAddr]>) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let destinations = destinations.filter(|_| !self.off);
        let mut state = self.state();
        if state.now.as_deref() == destinations {
            return Ok(());
        }
        (state.wish, state.failed) = (Some(destinations.map(<[MacAddr]>::to_vec)), None);
        drop(state);
        let deadline = Instant::now() + PATIENCE;
        loop {
            thread::sleep(Duration::from_millis(1));
            let mut state = self.state();
            match (&state.wish, &state.failed) {
                (None, None) => return Ok(()),
                (None, Some(failed)) => return Err(Error::new(Kind::Device, failed.clone())),
                (Some(_), _) if state.closed => return Err(Error::new(Kind::Gone, "this capture is at its end")),
                (Some(_), _) if Instant::now() < deadline => {}
                (Some(_), _) => {
                    state.wish = None;
                    return Err(Error::new(
                        Kind::Timeout,
                        "the card's filters could not be changed in time; ask again",
                    ));
                }
            }
        }
    }

    /// What it receives, unless it is everything.
    pub fn destinations(&self) -> Option<Vec<MacAddr>> {
        self.state().now.clone()
    }

    /// Whether it was ever told not to receive everything.
    pub fn was_narrowed(&self) -> bool {
        self.state().ever
    }
}

impl State {
    /// `destinations` are received throughout if they were before.
    fn narrow(&mut self, nic: &mut Nic, destinations: Option<&[MacAddr]>) -> Result<()> {
        if self.now.as_deref() == destinations {
            return Ok(());
        }
        if self.now.is_some() {
            nic.set_promiscuous(true)?;
            self.now = None;
        }
        if let Some(wanted) = destinations
            && nic.narrow(wanted)?
        {
            (self.now, self.ever) = (Some(wanted.to_vec()), true);
        }
        Ok(())
    }
}

/// Where a filter is compared: the words behind "in the card".
pub fn words(destinations: &[MacAddr]) -> String {
    let all: Vec<String> = destinations.iter().map(MacAddr::to_string).collect();
    format!("frames to {}", all.join(", "))
}
