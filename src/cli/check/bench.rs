//! The card that is checked, and what is sent through it.
//!
//! ```text
//!   plug     functions of the cards          leave    a card of the machine is closed as
//!   open     ports on them, rings filled              if this process had ended; an emulated
//!   close    ports gone, buffers back                 one, which lives in it, is kept
//! ```

mod traffic;

pub use self::traffic::{Arrival, Count};

use super::{Args, Needs};
use crate::cli::Context;
use crate::cli::cards::{self, Card, Resolved};
use crate::cli::crossing::Crossing;
use crate::cli::ports;
use crate::cli::signal::Stop;
use crate::cli::tracing;
use crate::cli::watch::Watch;
use crate::dma::{Addressing, BATCH_MAX, Pool};
use crate::driver::{Config, Description, Port};
use crate::emu::wire::WireSpec;
use crate::emu::{Drive, Engine, Tap};
use crate::error::{Error, Kind, Result};
use crate::pci::trace::Trace;
use crate::pci::{self, Address, Function, discover};
use crate::sys::Roots;
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a check may take, less what one step takes at its worst.
const MINUTE: Duration = Duration::from_secs(40);

/// When a step is cut off that takes longer than steps do.
const LAST: Duration = Duration::from_secs(55);

/// Descriptors of each ring.
pub const RING: u16 = 512;

/// Ports that are open: of the card, and of its peer if it has one.
struct Open {
    card: Port,
    peer: Option<Port>,
}

/// The card, and what there is for it.
pub struct Bench {
    /// Asked to end.
    pub stop: Stop,
    /// The card does not answer any more.
    pub gone: bool,
    /// It has a link.
    pub linked: bool,
    /// What it sends comes back, or arrives at its peer.
    pub echoes: bool,
    /// What the card said that it is, once it has been open.
    pub description: Option<Description>,
    /// Receive queues that there can be where packets arrive.
    pub rx_queues: u16,
    /// Frames that were sent and received since the port was opened.
    pub sent: Count,
    pub received: Count,
    /// Frames of ours that came when they were not waited for any more.
    pub stale: u64,
    /// Numbers of the frames that are waited for.
    awaited: Range<u32>,
    begun: Instant,
    /// How long a link may take by what was asked.
    pub link_wait: Duration,
    open: Option<Open>,
    /// It was, or that was tried.
    opened: bool,
    pool: Option<Pool>,
    loopback: bool,
    /// Declared before the cards that it watches.
    watch: Option<Watch>,
    /// The card, and its peer; none of the machine once it was left.
    functions: Vec<Arc<dyn Function>>,
    /// Their traces, which go on when they are opened again.
    traces: Vec<Option<Arc<Trace>>>,
    cards: Vec<Card>,
    /// Why these, where none was named and they are emulated.
    default: Option<String>,
    roots: Roots,
    taps: Vec<Tap>,
    engine: Engine,
}

impl Bench {
    /// The cards that were named, or the default one; or why the function of one cannot be had.
    ///
    /// # Errors
    /// What is no matter of a card: names that are none, files that cannot be written.
    pub fn plug(args: &Args, context: &Context, stop: Stop) -> anyhow::Result<Result<Bench>> {
        let engine = Engine::new(Drive::Thread);
        // It is the card that is checked, also where the kernel has its interface.
        let address = |name: &String| match discover::find(&context.roots, name) {
            Ok(device) => device.address.to_string(),
            Err(_) => name.clone(),
        };
        let names: Vec<String> =
            [args.device.as_ref(), args.peer.as_ref()].into_iter().flatten().map(address).collect();
        let wires: &[&str] = if args.peer.is_some() { &["peer", "peer"] } else { &["loop"] };
        let Resolved { cards, default } = cards::resolve(&context.roots, &names, wires)?;
        let trace = context.global.trace.as_deref();
        tracing::check_files(trace, cards.len(), wires_of(&cards), &Vec::from_iter(args.report.as_deref()))?;
        context.loans.take(context, &cards)?;
        let leads_elsewhere =
            matches!(&cards[..], [Card::Emulated(spec)] if !matches!(spec.wire, WireSpec::Loop { .. }));
        let (mut functions, mut traces, mut taps) = (Vec::new(), Vec::new(), Vec::new());
        for (n, card) in cards.iter().enumerate() {
            let function = match card {
                Card::Emulated(spec) => {
                    let (function, tap) = engine.open(spec)?;
                    taps.push(tap);
                    function
                }
                Card::Pci(address) => match pci::open(&context.roots, *address) {
                    Ok(function) => function,
                    Err(error) => return Ok(Err(error)),
                },
                Card::Interface(..) => {
                    let text = format!(
                        "{card} is an interface of the kernel, whose driver is not bmnic's to check; name a card"
                    );
                    return Err(Error::new(Kind::Usage, text).into());
                }
            };
            let (function, trace) = tracing::begin(trace, n, function)?;
            functions.push(function);
            traces.push(trace);
        }
        Ok(Ok(Bench {
            gone: false,
            linked: false,
            // Where its wire leads is known of emulated cards alone.
            echoes: args.peer.is_some() || args.cable || !leads_elsewhere,
            description: None,
            rx_queues: 1,
            sent: Count::default(),
            received: Count::default(),
            stale: 0,
            awaited: 0..0,
            begun: Instant::now(),
            link_wait: context.global.link_wait,
            open: None,
            opened: false,
            pool: None,
            loopback: taps.is_empty() && !args.cable && args.peer.is_none(),
            watch: Watch::keep(&functions, &stop)?,
            stop,
            functions,
            traces,
            cards,
            default,
            roots: context.roots.clone(),
            taps,
            engine,
        }))
    }

    /// What is checked.
    pub fn headline(&self) -> String {
        let way = match (self.functions.get(1), self.loopback) {
            (Some(peer), _) => format!("packets go to {}", peer.name()),
            (None, true) => "packets come back inside the card".into(),
            (None, false) if !self.echoes => "its wire leads elsewhere, and no packets come back".into(),
            (None, false) => "its wire leads back to it".into(),
        };
        let name = self.functions.first().map_or("nothing", |card| card.name());
        let why = self.default.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        format!("checking {name}: {way}{why}")
    }

    /// Wires of those that are emulated.
    pub fn wires(&self) -> impl Iterator<Item = &WireSpec> {
        wires_of(&self.cards)
    }

    /// The names that the cards go by, besides those that were given.
    pub fn names(&self) -> Vec<String> {
        self.cards.iter().map(Card::to_string).collect()
    }

    /// Why a step that needs so much makes no sense now.
    pub fn lacks(&self, needs: Needs) -> Option<&'static str> {
        let met = |needed: Needs| needs >= needed;
        if self.gone {
            Some("the card is gone")
        } else if self.is_late() {
            Some("the steps before it took too long")
        } else if met(Needs::Port) && self.description.is_none() {
            Some("it does not open")
        } else if met(Needs::Link) && !self.linked {
            Some("it has no link")
        } else if met(Needs::Echo) && !self.echoes {
            Some("what it sends does not come back: name the card at the far end with --peer, or say --cable")
        } else {
            None
        }
    }

    /// Whether no time is left to begin with something.
    pub fn is_late(&self) -> bool {
        self.begun.elapsed() >= MINUTE
    }

    /// When it ends, whatever is in the middle of it.
    fn end(&self) -> Instant {
        self.begun + LAST
    }

    /// Whether what was in the middle of it was cut off.
    pub fn was_cut_off(&self) -> bool {
        Instant::now() > self.end()
    }

    /// The function.
    ///
    /// # Errors
    /// Where it could not be opened any more.
    pub fn function(&self) -> Result<&dyn Function> {
        self.functions.first().map(|function| &**function).ok_or_else(closed)
    }

    /// Card and peer as the machine knows them, unless one of them is emulated.
    pub fn of_the_machine(&self) -> Option<Vec<Address>> {
        let address = |card: &Card| match card {
            Card::Emulated(_) | Card::Interface(..) => None,
            Card::Pci(address) => Some(*address),
        };
        self.cards.iter().map(address).collect()
    }

    /// Whether a card was given physical addresses at the last step that opened it.
    pub fn has_physical_memory(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.arena().addressing() == Addressing::Physical)
    }

    /// The error of a frame that not every port has to take: what is between two ports may have
    /// refused it.
    pub fn perhaps_refused(&self, error: Error) -> Error {
        match self.has_neighbours() {
            true => error.hint("something between the ports may have refused it, as a switch does"),
            false => error,
        }
    }

    /// Whether others may send to the port that packets arrive at.
    pub fn has_neighbours(&self) -> bool {
        self.functions.len() > 1
    }

    /// Whether it sends to itself inside.
    pub fn loops_inside(&self) -> bool {
        self.loopback
    }

    /// Goes on without a way back for packets.
    pub fn give_up_loopback(&mut self) {
        (self.loopback, self.echoes) = (false, false);
    }

    /// Rules that the drivers broke on emulated cards.
    pub fn violations(&self) -> Vec<(String, u64)> {
        self.taps.iter().flat_map(Tap::violations).collect()
    }

    /// What crosses PCIe for a packet that is alone, if the card is emulated.
    ///
    /// # Errors
    /// As [`Crossing::count`].
    pub fn crossing(&self) -> Result<Option<Crossing>> {
        let emulated = matches!(self.cards.first(), Some(Card::Emulated(_)));
        Crossing::count(self.taps.first().filter(|_| emulated), 1)
    }

    /// How long to wait for a link: not beyond the minute.
    pub fn link_wait(&self) -> Duration {
        self.link_wait.min(MINUTE.saturating_sub(self.begun.elapsed()))
    }

    /// Opens the card with this configuration, and its peer; closes it first if it is open.
    ///
    /// # Errors
    /// What opening them meets.
    pub fn open(&mut self, config: &Config) -> Result<()> {
        // The functions that are there at first are those of the steps before.
        if std::mem::replace(&mut self.opened, true) {
            self.leave();
        }
        self.reach()?;
        let config = Config { loopback: self.loopback, ..config.clone() };
        // Where there is a peer the card receives nothing that is looked at.
        let rx_queues = if self.functions.len() > 1 { 1 } else { config.rx_queues };
        let configs = [Config { rx_queues, ..config.clone() }, config];
        let mut ports = ports::open(&self.functions, &configs)?;
        let held = ports::buffers(&ports);
        let peer = (ports.len() > 1).then(|| ports.remove(1));
        let Some(card) = ports.pop() else { return Err(closed()) };
        self.description = Some(card.nic.describe().clone());
        self.rx_queues = peer.as_ref().unwrap_or(&card).nic.describe().max_rx_queues;
        let mut open = Open { card, peer };
        self.provide(held + 4 * BATCH_MAX)?;
        let Some(pool) = &self.pool else { return Err(closed()) };
        for function in &self.functions {
            function.map(pool.arena())?;
        }
        for port in [Some(&mut open.card), open.peer.as_mut()].into_iter().flatten() {
            for queue in &mut port.rx {
                queue.fill(pool)?;
            }
        }
        (self.sent, self.received) = (Count::default(), Count::default());
        self.open = Some(open);
        Ok(())
    }

    /// Has a pool of so many buffers at least.
    fn provide(&mut self, buffers: usize) -> Result<()> {
        if self.pool.as_ref().is_some_and(|pool| pool.capacity() >= buffers) {
            return Ok(());
        }
        // That of before goes first: there may be no room for both.
        self.pool = None;
        self.pool = Some(Pool::new(buffers, ports::addressing(&self.functions))?);
        Ok(())
    }

    /// Opens the functions that are closed.
    fn reach(&mut self) -> Result<()> {
        if self.functions.is_empty() {
            for (card, trace) in self.cards.iter().zip(&self.traces) {
                if let Card::Pci(address) = card {
                    let function = pci::open(&self.roots, *address)?;
                    self.functions.push(trace.as_ref().map_or(Arc::clone(&function), |trace| trace.resume(function)));
                }
            }
            self.watch = Watch::keep(&self.functions, &self.stop)?;
        }
        Ok(())
    }

    /// Closes the ports.
    pub fn close(&mut self) {
        if let (Some(Open { card, peer }), Some(pool)) = (self.open.take(), &self.pool) {
            card.close([pool]);
            peer.into_iter().for_each(|peer| peer.close([pool]));
        }
    }

    /// Closes everything that can be opened again.
    pub fn leave(&mut self) {
        self.close();
        if self.of_the_machine().is_some() {
            self.watch = None;
            self.functions.clear();
        }
    }

    /// Closes everything, and gives the memory back.
    pub fn leave_nothing(&mut self) {
        self.leave();
        self.pool = None;
    }

    /// The port, if it is open.
    ///
    /// # Errors
    /// Where it is not.
    pub fn port(&mut self) -> Result<&mut Port> {
        self.open.as_mut().map(|open| &mut open.card).ok_or_else(closed)
    }

    /// The port that packets arrive at.
    ///
    /// # Errors
    /// Where it is not open.
    pub fn receiver(&mut self) -> Result<&mut Port> {
        self.open.as_mut().map(|open| open.peer.as_mut().unwrap_or(&mut open.card)).ok_or_else(closed)
    }

    /// Addresses of sender and receiver.
    ///
    /// # Errors
    /// Where it is not open.
    pub fn addresses(&mut self) -> Result<[[u8; 6]; 2]> {
        let from = self.port()?.nic.describe().mac.0;
        Ok([from, self.receiver()?.nic.describe().mac.0])
    }
}

/// An error of the card.
pub fn bad(text: impl Display) -> Error {
    Error::new(Kind::Device, text.to_string())
}

fn wires_of(cards: &[Card]) -> impl Iterator<Item = &WireSpec> {
    cards.iter().filter_map(|card| match card {
        Card::Emulated(spec) => Some(&spec.wire),
        Card::Pci(_) | Card::Interface(..) => None,
    })
}

fn closed() -> Error {
    Error::new(Kind::Device, "it did not open at the step before")
}
