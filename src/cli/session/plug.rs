//! Opening a session's cards.

use super::super::Context;
use super::super::cards::Card;
use super::super::output::Output;
use super::super::ports;
use super::super::signal::Interrupted;
use super::super::tracing;
use super::super::watch::Watch;
use super::{Session, look};
use crate::dma::BATCH_MAX;
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use crate::pci::{self, network::Network};
use crate::sys::Roots;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Refuses to take the frames of an interface from a kernel that uses them.
fn spare(roots: &Roots, name: &str) -> Result<()> {
    let network = Network::read(roots);
    let uses = network.stack(name).into_iter().find_map(|interface| {
        let address = network.addresses.iter().find(|address| address.interface == interface);
        let address = address.map(|address| format!("{interface} has the address {}", address.address));
        address.or_else(|| (interface != name).then(|| format!("{interface} stands on it")))
    });
    let Some(uses) = uses else { return Ok(()) };
    let text = format!(
        "xdp:{name}: {uses}, and what XDP takes does not reach it: connections through it would hang; packet:{name} takes nothing, and xdp:{name},force does it all the same"
    );
    Err(Error::new(Kind::Refused, text))
}

impl Session {
    /// Opens all cards, and waits for their links.
    pub(super) fn plug_all(&mut self, context: &Context, cards: Vec<Card>, config: &Config) -> anyhow::Result<()> {
        let mut configs = Vec::new();
        for card in cards {
            configs.push(self.plug(context, card, config)?);
        }
        self.ports = ports::open(&self.functions, &configs)?;
        self.devices = self.ports.iter().map(|port| port.nic.describe().clone()).collect();
        self.buffers = ports::buffers(&self.ports) + 2 * BATCH_MAX;
        self._watch = Watch::keep(&self.functions, &self.stop)?;
        self.wait_for_links(context.global.link_wait, &Output::new(&context.global))
    }

    /// Waits for all links in turn, at most `patience` in all. What takes long is said once,
    /// as nothing else is to be seen meanwhile.
    fn wait_for_links(&mut self, patience: Duration, output: &Output) -> anyhow::Result<()> {
        /// How long a signal may wait for its answer.
        const SLICE: Duration = Duration::from_millis(50);
        /// A wait that is worth a word.
        const LONG: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        let deadline = begun + patience;
        let mut said = patience <= LONG;
        for ((port, device), function) in self.ports.iter_mut().zip(&mut self.devices).zip(&self.functions) {
            let link = loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if !said && begun.elapsed() > LONG {
                    said = true;
                    let device = &device.device;
                    output.warn(format_args!("{device}: no link yet; waiting for it up to {patience:?} (--link-wait)"));
                }
                let found = port.nic.wait_for_link(SLICE.min(left));
                if found.is_err() {
                    look(&self.stop, &**function);
                    self.stop.intact()?;
                }
                match found {
                    Ok(link) => break link,
                    Err(error) if error.kind() != Kind::Timeout => return Err(error.into()),
                    Err(_) if left > SLICE && !self.stop.requested() => {}
                    Err(_) => match self.stop.signal() {
                        Some(signal) => return Err(Interrupted(signal).into()),
                        None => return Err(port.nic.no_link(patience).into()),
                    },
                }
            };
            self.speeds.push(link.speed);
            device.lacks.clone_from(&port.nic.describe().lacks);
        }
        Ok(())
    }

    /// Opens one function; how its port is to be set up.
    fn plug(&mut self, context: &Context, card: Card, config: &Config) -> Result<Config> {
        let mut config = config.clone();
        let function = match (card, &self._engine) {
            (Card::Emulated(spec), Some(engine)) => {
                if let Some(queues) = spec.queues {
                    (config.rx_queues, config.tx_queues) = (queues, queues);
                }
                self.strict |= spec.strict;
                let (function, tap) = engine.open(&spec)?;
                self.taps.push(Some(tap));
                function
            }
            (Card::Emulated(spec), None) => {
                return Err(Error::new(Kind::Unsupported, format!("emu:{spec}: nothing plays emulated cards here")));
            }
            (Card::Pci(address), _) => {
                self.taps.push(None);
                pci::open(&context.roots, address)?
            }
            (Card::Interface(kind, name, insists), _) => {
                self.taps.push(None);
                if kind == pci::Kind::AfXdp && !insists {
                    spare(&context.roots, &name)?;
                }
                pci::Interface::open(kind, &name)?
            }
        };
        if context.global.trace.is_some() && function.interface().is_some() {
            let text =
                format!("{}: an interface of the kernel has no registers to trace; leave --trace out", function.name());
            return Err(Error::new(Kind::Usage, text));
        }
        let function = tracing::traced(context.global.trace.as_deref(), self.functions.len(), function)?;
        self.functions.push(function);
        self.last.push(Cell::default());
        Ok(config)
    }
}
