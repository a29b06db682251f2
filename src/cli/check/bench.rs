//! The card that is checked, and what is sent through it.

use super::{Args, Needs};
use crate::cli::Context;
use crate::cli::cards::{self, Card};
use crate::cli::signal::Stop;
use crate::dma::{Addressing, BATCH_MAX, Batch, Meta, Pool};
use crate::driver::{self, Config, Description, Port};
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Function};
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a packet may be on its way before it counts as lost: a machine that is busy
/// with other things may keep even an emulated card waiting.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Buffers of the pool.
const BUFFERS: usize = 4096;

/// Descriptors of each ring.
pub const RING: u16 = 512;

/// A frame that came: its bytes, what the card said of it, and on which queue.
pub struct Arrival {
    pub bytes: Vec<u8>,
    pub meta: Meta,
    pub queue: usize,
}

/// Ports that are open: of the card, and of its peer if it has one.
struct Open {
    card: Port,
    peer: Option<Port>,
    pool: Pool,
}

/// The card, and what there is for it.
pub struct Bench {
    /// Asked to end.
    pub stop: Stop,
    /// The card does not answer any more.
    pub gone: bool,
    /// It has a link.
    pub linked: bool,
    /// How long a link may take.
    pub link_wait: Duration,
    /// What the card said that it is, once it has been open.
    pub description: Option<Description>,
    open: Option<Open>,
    loopback: bool,
    function: Arc<dyn Function>,
    peer: Option<Arc<dyn Function>>,
    taps: Vec<Tap>,
    /// Frames that were sent and received since the port was opened.
    pub sent: u64,
    pub received: u64,
    _engine: Engine,
}

impl Bench {
    /// The cards that were named, or the default one.
    ///
    /// # Errors
    /// What finding and opening them meets.
    pub fn plug(args: &Args, context: &Context) -> anyhow::Result<Bench> {
        let engine = Engine::new(Drive::Thread);
        let wire = if args.peer.is_some() { "peer" } else { "loop" };
        let names: Vec<String> = [args.device.as_ref(), args.peer.as_ref()].into_iter().flatten().cloned().collect();
        let wires = if names.is_empty() { &[wire][..] } else { &[wire, wire] };
        let cards = cards::resolve(&context.roots, &names, wires)?.cards;
        let mut taps = Vec::new();
        let mut functions = Vec::new();
        for card in &cards {
            functions.push(match card {
                Card::Emulated(spec) => {
                    let spec: &Spec = spec;
                    let (function, tap) = engine.open(spec)?;
                    taps.push(tap);
                    function
                }
                Card::Pci(address) => pci::open(&context.roots, *address)?,
            });
        }
        let mut functions = functions.into_iter();
        let function = functions.next().ok_or_else(|| Error::new(Kind::Usage, "no card was named"))?;
        Ok(Bench {
            stop: Stop::install()?,
            gone: false,
            linked: false,
            link_wait: context.global.link_wait,
            description: None,
            open: None,
            // Where its wire leads back is known of emulated cards alone.
            loopback: taps.is_empty() && !args.cable && args.peer.is_none(),
            function,
            peer: functions.next(),
            taps,
            sent: 0,
            received: 0,
            _engine: engine,
        })
    }

    /// What is checked.
    pub fn headline(&self) -> String {
        let way = match (&self.peer, self.loopback) {
            (Some(peer), _) => format!("packets go to {}", peer.name()),
            (None, true) => "packets come back inside the card".into(),
            (None, false) => "its wire leads back to it".into(),
        };
        format!("checking {}: {way}", self.function.name())
    }

    /// Why a step that needs so much makes no sense now.
    pub fn lacks(&self, needs: Needs) -> Option<&'static str> {
        match (self.gone, self.description.is_some(), self.linked, needs) {
            (true, ..) => Some("the card is gone"),
            (_, false, _, Needs::Port | Needs::Link) => Some("it does not open"),
            (_, _, false, Needs::Link) => Some("it has no link"),
            _ => None,
        }
    }

    /// The function.
    pub fn function(&self) -> &dyn Function {
        &*self.function
    }

    /// Rules that the drivers broke on emulated cards.
    pub fn violations(&self) -> Vec<(String, u64)> {
        self.taps.iter().flat_map(Tap::violations).collect()
    }

    /// Opens the card with this configuration, and its peer; closes it first if it is open.
    pub fn open(&mut self, config: &Config) -> Result<()> {
        self.unplug();
        let config = Config { loopback: self.loopback, ..config.clone() };
        let card = driver::open(Arc::clone(&self.function), &config)?;
        let peer = self.peer.as_ref().map(|peer| driver::open(Arc::clone(peer), &config)).transpose()?;
        self.description = Some(card.nic.describe().clone());
        let functions = [Some(&self.function), self.peer.as_ref()];
        let physical = functions.iter().flatten().any(|f| f.addressing() == Addressing::Physical);
        let pool = Pool::new(BUFFERS, if physical { Addressing::Physical } else { Addressing::Translated })?;
        let mut open = Open { card, peer, pool };
        for function in functions.into_iter().flatten() {
            function.map(open.pool.arena())?;
        }
        for port in [Some(&mut open.card), open.peer.as_mut()].into_iter().flatten() {
            for queue in &mut port.rx {
                queue.fill(&open.pool)?;
            }
        }
        (self.sent, self.received) = (0, 0);
        self.open = Some(open);
        Ok(())
    }

    /// Closes the card.
    pub fn unplug(&mut self) {
        if let Some(Open { card, peer, pool }) = self.open.take() {
            card.close([&pool]);
            peer.into_iter().for_each(|peer| peer.close([&pool]));
        }
    }

    /// The port, if it is open.
    pub fn port(&mut self) -> Result<&mut Port> {
        match &mut self.open {
            Some(open) => Ok(&mut open.card),
            None => Err(closed()),
        }
    }

    /// The port that packets arrive at.
    pub fn receiver(&mut self) -> Result<&mut Port> {
        match &mut self.open {
            Some(open) => Ok(open.peer.as_mut().unwrap_or(&mut open.card)),
            None => Err(closed()),
        }
    }

    /// An error of the card.
    pub fn error(&self, text: impl Display) -> Error {
        Error::new(Kind::Device, text.to_string())
    }

    /// Addresses of sender and receiver.
    pub fn addresses(&mut self) -> Result<[[u8; 6]; 2]> {
        let from = self.port()?.nic.describe().mac.0;
        Ok([from, self.receiver()?.nic.describe().mac.0])
    }

    /// Sends one frame as it is.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        let Some(Open { card, pool, .. }) = &mut self.open else { return self.port().map(|_| ()) };
        let queue = &mut card.tx[0];
        let late = Instant::now() + ON_ITS_WAY;
        let mut batch = Batch::new(pool);
        while !batch.push_frame(frame) {
            queue.reclaim(pool);
            if Instant::now() > late {
                return Err(Error::new(Kind::Device, "no buffer comes back from what was sent"));
            }
        }
        while queue.send(&mut batch) == 0 {
            if Instant::now() > late {
                return Err(Error::new(Kind::Device, "its transmit ring stays full"));
            }
            std::thread::yield_now();
        }
        self.sent += 1;
        Ok(())
    }

    /// Receives until `wanted` frames have come, each whole; what has not come in time is lost.
    pub fn receive(&mut self, wanted: usize) -> Result<Vec<Arrival>> {
        let Some(Open { card, peer, pool }) = &mut self.open else { return self.port().map(|_| Vec::new()) };
        let queues = &mut peer.as_mut().unwrap_or(card).rx;
        let mut late = Instant::now() + ON_ITS_WAY;
        let mut arrivals: Vec<Arrival> = Vec::new();
        while arrivals.len() < wanted && Instant::now() < late {
            for (queue, rx) in queues.iter_mut().enumerate() {
                let mut batch = Batch::with_limit(pool, BATCH_MAX);
                if rx.recv(&mut batch) == 0 {
                    continue;
                }
                late = Instant::now() + ON_ITS_WAY;
                let mut bytes = Vec::new();
                for (i, part) in batch.frames().enumerate() {
                    bytes.extend_from_slice(part);
                    if !batch.continues(i) {
                        arrivals.push(Arrival { bytes: std::mem::take(&mut bytes), meta: batch.meta(i), queue });
                    }
                }
            }
            std::hint::spin_loop();
        }
        self.received += arrivals.len() as u64;
        Ok(arrivals)
    }
}

fn closed() -> Error {
    Error::new(Kind::Unsupported, "it did not open at the step before")
}
