//! What the card leaves out by itself, as no packet that the filter wants is among it.
//!
//! Cards compare destination addresses and VLANs, and what they compare is known to the bit, so
//! an expression from which these follow ([`Filter::wanted`]) narrows what the card receives.
//! The program still judges everything that comes. Where a card compares more, as protocols
//! and ports, it is not known of every frame what it takes for which: of fragments, of
//! options, of broken headers; so that is left to the program unless it is asked for
//! ([`PushDown::Flows`]).
//!
//! The kernel runs the filter's own program for an interface that it keeps, on frames that have
//! the tag still in them, or none.
//!
//! A change of the filter widens the card first, and narrows it when all threads have the
//! new one: no packet that both want is left out.

use crate::cli::output::Output;
use crate::dma::L4;
use crate::driver::{FlowRule, Nic, Wanted};
use crate::error::{Error, Kind, Result};
use crate::packet::Filter;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What of a filter may be left to the card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PushDown {
    /// What leaves out no packet that the filter wants: destination addresses and VLANs.
    #[default]
    Exact,
    /// Flows too, which the card tells by its own parser
    Flows,
    /// Nothing
    Off,
}

/// What a card is told, by the thread that owns it.
#[derive(Debug, Default)]
pub struct Narrowing {
    how: PushDown,
    /// It is an interface of the kernel, which takes whole expressions.
    kernels: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the card is asked for next.
    wish: Option<Wanted>,
    /// What it was asked for, and what it does of that.
    asked: Wanted,
    now: Wanted,
    /// It did not receive everything all the time.
    ever: bool,
    /// The thread that owns the card does not come back to it.
    closed: bool,
    /// What the last change met.
    failed: Option<String>,
}

impl Narrowing {
    /// Leaves this to the card, or to the kernel if it is an interface of the `kernels`.
    pub fn new(how: PushDown, kernels: bool) -> Narrowing {
        Narrowing { how, kernels, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of it the card may be asked for.
    fn allowed(&self, wanted: &Wanted) -> Wanted {
        let expression = wanted.expression.clone().filter(|_| self.kernels);
        match self.how {
            PushDown::Off => Wanted::default(),
            PushDown::Exact => Wanted { flows: None, expression, ..wanted.clone() },
            PushDown::Flows => Wanted { expression, ..wanted.clone() },
        }
    }

    /// Has the card receive what is `wanted`, as far as it can.
    ///
    /// # Errors
    /// What telling the card meets.
    pub fn narrow(&self, nic: &mut Nic, wanted: &Wanted) -> Result<()> {
        self.state().narrow(nic, self.allowed(wanted))
    }

    /// Who leaves out what is not wanted.
    pub fn whose(&self) -> &'static str {
        if self.kernels { "the kernel" } else { "the card" }
    }

    /// Says what is left to the card, if anything is.
    pub fn announce(&self, filter: &Filter, output: &Output) -> io::Result<()> {
        let now = self.now();
        if now.is_anything() {
            return Ok(());
        }
        let whose = self.whose();
        output.info(format_args!("filter    in {whose}: {}; in software: all of '{filter}'", words(&now)))?;
        if now.flows.is_some() {
            output.info(format_args!("          {NOT_THESE}"))?;
        }
        Ok(())
    }

    /// Does what [`Narrowing::ask`] waits for. To be called often by the thread that has the card.
    pub fn serve(&self, nic: &mut Nic) {
        let mut state = self.state();
        if let Some(wish) = state.wish.take() {
            state.failed = state.narrow(nic, wish).err().map(|error| error.to_string());
        }
    }

    /// Nothing is changed any more: nobody waits for it.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Whether the card was asked for the same already.
    pub fn is_asked(&self, wanted: &Wanted) -> bool {
        self.state().asked == self.allowed(wanted)
    }

    /// Asks the thread that has the card for the same, and waits for it; where nothing changes
    /// for nothing.
    ///
    /// # Errors
    /// [`Kind::Timeout`] if it does not get to it, and will not; [`Kind::Gone`] at the end of a
    /// capture; what telling the card met.
    pub fn ask(&self, wanted: &Wanted) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let wanted = self.allowed(wanted);
        let mut state = self.state();
        if state.asked == wanted {
            return Ok(());
        }
        (state.wish, state.failed) = (Some(wanted), None);
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

    /// What it receives, as far as it leaves anything out.
    pub fn now(&self) -> Wanted {
        self.state().now.clone()
    }

    /// Whether it was ever told not to receive everything.
    pub fn was_narrowed(&self) -> bool {
        self.state().ever
    }
}

impl State {
    /// What is wanted before and after is received throughout.
    fn narrow(&mut self, nic: &mut Nic, wanted: Wanted) -> Result<()> {
        if self.asked == wanted {
            return Ok(());
        }
        if !self.now.is_anything() {
            nic.narrow(&Wanted::default())?;
            self.now = Wanted::default();
        }
        self.asked = Wanted::default();
        if !wanted.is_anything() {
            self.now = nic.narrow(&wanted)?;
            self.ever |= !self.now.is_anything();
        }
        self.asked = wanted;
        Ok(())
    }
}

/// What flows in the card leave out, though the filter may want it.
pub const NOT_THESE: &str = "fragments do not come then, nor what the card's parser takes for no packet of these flows";

/// Where a filter is compared: the words behind "in the card".
pub fn words(wanted: &Wanted) -> String {
    let mut parts = Vec::new();
    if let Some(all) = &wanted.destinations {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        parts.push(format!("frames to {}", all.join(", ")));
    }
    if let Some(vlans) = &wanted.vlans {
        let all: Vec<String> = vlans.iter().map(ToString::to_string).collect();
        parts.push(format!("of tagged frames VLAN {}", all.join(", ")));
    }
    if let Some(flows) = &wanted.flows {
        let all: Vec<String> = flows.iter().map(flow).collect();
        parts.push(format!("packets of {}", all.join(", or ")));
    }
    if let Some(expression) = &wanted.expression {
        parts.push(format!("'{}', and frames whose tag it took out", expression.text));
    }
    parts.join("; ")
}

/// The same, each part by itself, as fields of a document: an address, or an expression.
pub fn list(wanted: &Wanted) -> Option<Vec<String>> {
    let Wanted { destinations, vlans, flows, expression } = wanted;
    let destinations = destinations.iter().flatten().map(ToString::to_string);
    let vlans = vlans.iter().flatten().map(|vlan| format!("vlan {vlan}"));
    let all = destinations.chain(vlans).chain(flows.iter().flatten().map(flow));
    let all: Vec<String> = all.chain(expression.iter().map(|expression| expression.text.clone())).collect();
    Some(all).filter(|all| !all.is_empty())
}

/// `udp and dst host 239.1.1.1 and dst port 5`.
fn flow(rule: &FlowRule) -> String {
    let protocol = match rule.protocol {
        L4::Tcp => "tcp",
        L4::Udp => "udp",
        L4::Sctp => "sctp",
    };
    let host = |side, address: Option<_>| address.map(|address: std::net::IpAddr| format!("{side} host {address}"));
    let port = |side, port: Option<_>| port.map(|port: u16| format!("{side} port {port}"));
    let parts = [
        host("src", rule.source),
        port("src", rule.source_port),
        host("dst", rule.destination),
        port("dst", rule.destination_port),
    ];
    std::iter::once(protocol.to_string()).chain(parts.into_iter().flatten()).collect::<Vec<_>>().join(" and ")
}
