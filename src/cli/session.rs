//! A session: the ports a command works on, from names to links that are up.
//!
//! ```text
//!   names --resolve--> cards --open--> functions --driver--> ports, link up
//!                        |
//!                        +-- emulated ones share one engine
//! ```
//!
//! Where no card is named the first line of output says which are used, and why.

use super::Context;
use super::account;
use super::args::{Limits, RunLength};
use super::cards::{Card, Resolved, resolve};
use super::crossing::Crossing;
use super::loan;
use super::output::{self, Output};
use super::ports;
use super::signal::Stop;
use super::tracing;
use super::watch::Watch;
use crate::dma::{Addressing, Pool};
use crate::driver::{Config, Description, Nic, Port, Stats};
use crate::emu::wire::{Note, WireSpec};
use crate::emu::{Drive, Engine, Inline, Stages, Tap};
use crate::error::{Error, Kind, Result};
use crate::pci::Function;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a command wants if it is told nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// What each port of an emulated card is plugged into unless its name says
    /// otherwise; as many ports as there are wires.
    pub wires: &'a [&'a str],
    /// How long to run on the emulated default.
    pub duration: Option<Duration>,
    /// Whether what crosses PCIe takes time on emulated cards that say nothing of it.
    pub link: bool,
}

/// Link speed to assume where a card does not know its own, or there is none.
pub const NOMINAL_SPEED: u64 = 10_000_000_000;

/// How long a command runs on the emulated default, unless it is told.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// Opened ports, their links up.
///
/// A command may move [`Session::ports`] out, to give queues to threads; they
/// must be dropped before the session, whose engine plays the emulated ones.
pub struct Session {
    /// The ports, in the order they were named.
    pub ports: Vec<Port>,
    /// What each of them is.
    pub devices: Vec<Description>,
    /// Link speed of each, bits a second; 0 where the card does not know.
    pub speeds: Vec<u64>,
    /// Whether the run is to end.
    pub stop: Stop,
    /// Declared before the cards that it watches.
    _watch: Option<Watch>,
    functions: Vec<Arc<dyn Function>>,
    /// The emulated ones of them, watched from outside.
    taps: Vec<Option<Tap>>,
    /// The counters of each port when they were last read.
    last: Vec<Cell<Stats>>,
    /// See [`Session::is_stale`].
    stale: Cell<bool>,
    /// What they are plugged into.
    wires: Vec<WireSpec>,
    /// The file of their traces.
    trace: Option<PathBuf>,
    strict: bool,
    /// Why emulated cards are used, where none was named.
    default: Option<String>,
    /// Whether the kernel is to have its cards again when the run has ended.
    lent: bool,
    duration: Option<Duration>,
    /// See [`Session::pool`].
    buffers: usize,
    /// Declared last: dropped when no driver is left.
    _engine: Option<Engine>,
}

impl Session {
    /// Takes the signals over and opens the named cards, or the default ones,
    /// each with `config`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that makes no sense, [`Kind::NotFound`] for a
    /// card that is not there, otherwise what opening it or waiting for its
    /// link met.
    pub fn open(context: &Context, names: &[String], defaults: Defaults<'_>, config: &Config) -> anyhow::Result<Self> {
        Self::open_for(context, names, defaults, |_| Ok(config.clone()))
    }

    /// The same, with the `config` that these cards ask for.
    ///
    /// # Errors
    /// As [`Session::open`], and those of `config`.
    pub fn open_for(
        context: &Context,
        names: &[String],
        defaults: Defaults<'_>,
        config: impl FnOnce(&[Card]) -> Result<Config>,
    ) -> anyhow::Result<Self> {
        let names = loan::cards(context, names);
        let Resolved { mut cards, default } = resolve(&context.roots, &names, defaults.wires)?;
        for card in cards.iter_mut().filter(|_| defaults.link) {
            if let Card::Emulated(spec) = card {
                spec.pcie.get_or_insert_default();
            }
        }
        let config = config(&cards)?;
        let wire = |card: &Card| match card {
            Card::Emulated(spec) => Some(spec.wire.clone()),
            Card::Pci(_) | Card::Interface(..) => None,
        };
        let wires: Vec<WireSpec> = cards.iter().filter_map(wire).collect();
        let trace = context.global.trace.clone();
        tracing::check_files(trace.as_deref(), cards.len(), &wires, &[])?;
        let emulated = !wires.is_empty();
        let mut session = Session {
            ports: Vec::new(),
            devices: Vec::new(),
            speeds: Vec::new(),
            stop: Stop::install()?,
            _watch: None,
            functions: Vec::new(),
            taps: Vec::new(),
            last: Vec::new(),
            stale: Cell::new(false),
            wires,
            trace,
            strict: context.global.strict,
            default,
            lent: context.global.restore_on_exit,
            duration: defaults.duration,
            buffers: 0,
            _engine: emulated.then(|| Engine::new(Drive::Thread)),
        };
        // A signal that comes from here on ends the run, and the cards go back.
        context.loans.take(context, &cards)?;
        match session.plug_all(context, cards, &config) {
            Ok(()) => Ok(session),
            Err(error) => Err(session.blame(error)),
        }
    }

    /// A pool that fills every ring of every port and leaves two batches over.
    pub fn pool(&self) -> Result<Pool> {
        self.pool_of(0, self.buffers)
    }

    /// A pool of `buffers` that every port can reach, on the NUMA node of the one that fills
    /// them: one for each thread.
    pub fn pool_of(&self, port: usize, buffers: usize) -> Result<Pool> {
        let pool = Pool::near(buffers, ports::addressing(&self.functions), self.numa_node(port))?;
        for function in &self.functions {
            function.map(pool.arena())?;
        }
        Ok(pool)
    }

    /// The NUMA node that a card is in, where the machine has several and says so.
    pub fn numa_node(&self, port: usize) -> Option<u16> {
        self.functions.get(port).and_then(|function| function.numa_node())
    }

    /// The cards of these ports, to be played by the thread that uses them; the engine's thread
    /// leaves them alone meanwhile. None if nothing is emulated.
    pub fn inline(&self, ports: &[usize]) -> Option<Inline> {
        let taps = ports.iter().filter_map(|&port| self.taps.get(port)?.as_ref());
        self._engine.as_ref().map(|engine| engine.inline(taps))
    }

    /// When the run ends: the default only has a length of its own where no
    /// card was named and the emulated one is used.
    pub fn limits(&self, length: &RunLength) -> Limits {
        length.limits(self.duration.filter(|_| self.default.is_some()))
    }

    /// Refuses to write `path` if a wire of the session plays or writes that file, or a trace is
    /// written there.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the name of both.
    pub fn check_write(&self, path: &Path) -> Result<()> {
        tracing::check_files(self.trace.as_deref(), self.devices.len(), &self.wires, &[path])
    }

    /// The files that wires play, which must not be overwritten.
    pub fn played(&self) -> Vec<PathBuf> {
        let file = |wire: &WireSpec| if let WireSpec::Pcap(spec) = wire { Some(spec.file.clone()) } else { None };
        self.wires.iter().filter_map(file).collect()
    }

    /// The addresses of the cards that reach memory by physical addresses, as those do that the
    /// kernel's files drive and no IOMMU stands before.
    pub fn by_physical_address(&self) -> Vec<String> {
        let cards = self.functions.iter().zip(&self.taps);
        let physical = cards.filter(|(card, tap)| tap.is_none() && card.addressing() == Addressing::Physical);
        physical.map(|(card, _)| card.name().to_string()).collect()
    }

    /// Whether the kernel gets cards back in the end (`--restore-on-exit`), which takes rights.
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// Whether any port is emulated, so that times are the cost of driver and
    /// model and not of a wire.
    pub fn is_emulated(&self) -> bool {
        self.emulated().next().is_some()
    }

    /// What crosses PCIe for a packet of each port that is emulated.
    ///
    /// # Errors
    /// What opening a card meets, or what the system says of counting stores.
    pub fn crossings(&self, burst: usize) -> Result<Vec<Option<Crossing>>> {
        self.taps.iter().map(|tap| Crossing::count(tap.as_ref(), burst)).collect()
    }

    /// Says what is used, the first line of output, and warns of what that goes without.
    pub fn announce(&self, output: &Output) -> std::io::Result<()> {
        output.info(self.headline())?;
        output.detail(self.details())?;
        for Description { device, lacks, .. } in &self.devices {
            lacks.iter().for_each(|what| output.warn(format_args!("{device}: {what}")));
        }
        Ok(())
    }

    /// Refuses to send frames of up to `longest` bytes, without FCS and tags, where the network
    /// behind a card is known to drop them.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the longest that it takes.
    pub fn may_send(&self, longest: usize) -> Result<()> {
        let too_long = |device: &&Description| device.longest_sent.is_some_and(|most| longest > usize::from(most));
        let Some(Description { device, longest_sent: Some(most), .. }) = self.devices.iter().find(too_long) else {
            return Ok(());
        };
        let text = format!(
            "{device}: the network behind it takes frames of up to {most} bytes without FCS, and drops those of {longest} without a word; send shorter ones"
        );
        Err(Error::new(Kind::Usage, text))
    }

    /// `device: emu:82599 (emulated Intel 82599ES SFP+, 10 Gbit/s)`; what is the same of several
    /// is said once.
    fn headline(&self) -> String {
        let about = self.devices.iter().zip(&self.speeds).map(|(device, &speed)| {
            let speed = if speed == 0 { "speed not known".to_string() } else { output::bits(speed as f64) };
            format!(" ({} {}, {speed})", device.kind, device.model)
        });
        let about: Vec<String> = about.collect();
        let last = |i: usize| i + 1 == about.len() || about[i + 1] != about[i];
        let name =
            |(i, device): (usize, &Description)| device.device.clone() + if last(i) { about[i].as_str() } else { "" };
        let names: Vec<String> = self.devices.iter().enumerate().map(name).collect();
        format!("device{}: {}", if names.len() == 1 { "" } else { "s" }, names.join(" and "))
    }

    /// What drives the cards, and why it is these.
    fn details(&self) -> String {
        let drivers: Vec<&str> = self.devices.iter().map(|device| device.driver).collect();
        let why = self.default.as_ref().map_or(String::new(), |why| format!("; {why}"));
        format!("driver: {}{why}", drivers.join(" and "))
    }

    /// Begins to note the stages of frames that the first card sends; false if it
    /// is no emulated one.
    pub fn note_stages(&self) -> bool {
        self.first_tap().map(|tap| tap.note_stages(true)).is_some()
    }

    /// The stages of frames that the first card has sent since the last time.
    pub fn take_stages(&self) -> Vec<Stages> {
        self.first_tap().map(Tap::take_stages).unwrap_or_default()
    }

    /// Counts from now on how long what plays the emulated cards is held up: gaps
    /// longer than `patience`.
    pub fn watch_engine(&self, patience: Duration) {
        if let Some(engine) = &self._engine {
            engine.watch(patience.as_nanos().min(u128::from(u64::MAX / 1_000)) as u64 * 1_000);
        }
    }

    /// How long it was held up since; not at all where cards are real.
    pub fn engine_held_up(&self) -> Duration {
        self._engine.as_ref().map_or(Duration::ZERO, |engine| Duration::from_nanos(engine.held_up() / 1_000))
    }

    /// Frames that the ports missed because no descriptor was free for them, in all.
    ///
    /// # Errors
    /// What reading the counters of a card meets.
    pub fn missed(&mut self) -> Result<u64> {
        let mut ports = std::mem::take(&mut self.ports);
        let stats = |(i, port): (usize, &mut Port)| self.stats(i, &mut port.nic);
        let missed = ports
            .iter_mut()
            .enumerate()
            .map(stats)
            .map(|stats| stats.map(|stats| stats.rx_missed.unwrap_or(0) + stats.rx_overflow))
            .sum();
        self.ports = ports;
        missed
    }

    /// What bmnic's driver did that the datasheet of an emulated card forbids:
    /// device, rule, how often.
    pub fn violations(&self) -> Vec<(String, String, u64)> {
        let of = |tap: &Tap| {
            let name = tap.name().to_string();
            tap.violations().into_iter().map(move |(rule, times)| (name.clone(), rule, times))
        };
        self.emulated().flat_map(of).collect()
    }

    /// What the wires of emulated cards have done to frames so far, or seen.
    pub fn notes(&self) -> Vec<Note> {
        account::joined(self.emulated().flat_map(Tap::wire_report))
    }

    /// Those of each port, in order; none of a card that is not emulated.
    pub fn notes_by_port(&self) -> Vec<Vec<Note>> {
        self.taps.iter().map(|tap| tap.as_ref().map(Tap::wire_report).unwrap_or_default()).collect()
    }

    /// The counters of port `i`. Where its device keeps no count of what it lost,
    /// an emulated one's model is asked, which knows. Of a card that is gone they are what
    /// it counted last, and the run ends. The run also ends where the kernel has moved memory
    /// that the card was given.
    ///
    /// # Errors
    /// What reading them meets on a card that is there.
    pub fn stats(&self, i: usize, nic: &mut Nic) -> Result<Stats> {
        let (Some(function), Some(last)) = (self.functions.get(i), self.last.get(i)) else { return nic.stats() };
        let stale = || {
            self.stale.set(true);
            Ok(last.get())
        };
        if self.stop.intact().is_err() && function.is_gone() {
            return stale();
        }
        let stats = counters(self.taps.get(i).and_then(Option::as_ref), nic);
        // What was read of a card that was taken away meanwhile is all ones.
        if !look(&self.stop, &**function) {
            return stale();
        }
        stats.inspect(|stats| last.set(*stats))
    }

    /// Whether [`Session::stats`] has given counters of a card that is gone: up to a second
    /// old, while the driver's own counts went on.
    pub fn is_stale(&self) -> bool {
        self.stale.get()
    }

    /// Says so below a summary that prints such counters.
    pub fn warn_of_stale(&self, output: &Output) {
        if self.is_stale() {
            output.warn("the card is gone, so its counters are those of when it was last asked");
        }
    }

    /// Looks at all cards, and ends the run if one cannot be used any more: to be asked
    /// before a run is judged by what came of it.
    ///
    /// # Errors
    /// Why one cannot.
    pub fn intact(&self) -> Result<()> {
        for function in &self.functions {
            look(&self.stop, &**function);
        }
        self.stop.intact()
    }

    /// Whether no frame comes any more: the cards are emulated, files were played on their
    /// wires to the end, and nothing else brings any.
    pub fn is_played_out(&self) -> bool {
        let over = |tap: &Option<Tap>| tap.as_ref().map_or(Some(false), Tap::wire_is_over);
        let wires: Vec<bool> = self.taps.iter().filter_map(over).collect();
        !wires.is_empty() && wires.into_iter().all(|over| over)
    }

    fn emulated(&self) -> impl Iterator<Item = &Tap> {
        self.taps.iter().flatten()
    }

    fn first_tap(&self) -> Option<&Tap> {
        self.taps.first()?.as_ref()
    }

    /// To be called when the run is over: says whether it was stopped, prints violations
    /// with `-v`, and fails for them with `--strict`, or if the card is strict.
    pub fn check(&self, output: &Output) -> anyhow::Result<()> {
        self.stop.stopped().iter().for_each(|stopped| output.warn(stopped));
        for (device, rule, times) in self.violations() {
            output.detail(format_args!("{device}: the driver broke a rule {times} times: {rule}"))?;
        }
        self.broken().map_or(Ok(()), |broken| Err(broken.into()))
    }

    /// What is told of a run that failed: where a strict card has died of a violation, or a
    /// card was lost, what the driver met afterwards is no more than that.
    pub fn blame(&self, met: impl Into<anyhow::Error>) -> anyhow::Error {
        let cause = self.broken().or_else(|| self.intact().err());
        cause.map_or_else(|| met.into(), anyhow::Error::from)
    }

    fn broken(&self) -> Option<Error> {
        let violations = self.violations();
        let (device, rule, times) = violations.first().filter(|_| self.strict)?;
        let text = format!(
            "{device}: the driver broke {} rules of the card, first '{rule}' ({times} times); this is a fault of bmnic, run with -v for all",
            violations.len()
        );
        Some(Error::new(Kind::Device, text))
    }
}

/// Ends the run if a card is gone, or the memory that it was given has moved. False if it is
/// gone.
fn look(stop: &Stop, function: &dyn Function) -> bool {
    if function.is_gone() {
        stop.lose(&function.loss().of(function.name()));
        return false;
    }
    if let Err(moved) = function.check_memory() {
        stop.lose(&moved);
    }
    true
}

/// The counters of a port, emulated if there is a tap.
fn counters(tap: Option<&Tap>, nic: &mut Nic) -> Result<Stats> {
    let stats = nic.stats()?;
    let (None, Some(tap)) = (stats.rx_missed, tap) else { return Ok(stats) };
    let drops = tap.wire().drops;
    let counted = if stats.by_device { drops } else { 0 };
    Ok(Stats { rx_missed: Some(drops), rx_packets: stats.rx_packets.saturating_sub(counted), ..stats })
}

mod plug;
#[cfg(test)]
mod tests;
