//! A session: the ports a command works on, from names to links that are up.
//!
//! ```text
//!   names --resolve--> cards --open--> functions --driver--> ports, link up
//!                        |
//!                        +-- emulated ones share one engine
//! ```
//!
//! Where no card is named: those that `bmnic bind` handed to vfio-pci if there are
//! any, otherwise the emulated 82599, and the first line of output says so. Only
//! a card that was named, or that was given to bmnic, is touched: one that
//! somebody else bound to vfio-pci may be a virtual machine's.

use super::Context;
use super::account;
use super::args::{Limits, RunLength};
use super::output::{self, Output};
use super::remedy;
use super::signal::{Interrupted, Stop};
use crate::dma::{Addressing, BATCH_MAX, Pool};
use crate::driver::{self, Config, Description, Nic, Port, RxQueue, Stats};
use crate::emu::wire::{Note, WireSpec, check_files};
use crate::emu::{Drive, Engine, Spec, Stages, Tap};
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Address, Function, discover, journal};
use crate::sys::Roots;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a command wants if it is told nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// What each port of an emulated card is plugged into unless its name says
    /// otherwise; as many ports as there are wires.
    pub wires: &'a [&'a str],
    /// How long to run on the emulated default.
    pub duration: Option<Duration>,
}

/// The driver that a card is handed to, for bmnic or for a virtual machine.
const VFIO: &str = "vfio-pci";

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
    functions: Vec<Arc<dyn Function>>,
    /// The emulated ones of them, watched from outside.
    taps: Vec<Option<Tap>>,
    /// What they are plugged into.
    wires: Vec<WireSpec>,
    strict: bool,
    /// Why emulated cards are used, where none was named.
    default: Option<String>,
    duration: Option<Duration>,
    buffers: usize,
    /// Declared last: dropped when no driver is left.
    _engine: Option<Engine>,
}

/// A card that a command is to use.
#[derive(Clone, Debug, PartialEq)]
enum Card {
    Emulated(Spec),
    Pci(Address),
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
        let Resolved { cards, default } = resolve(&context.roots, names, defaults.wires)?;
        let wire = |card: &Card| match card {
            Card::Emulated(spec) => Some(spec.wire.clone()),
            Card::Pci(_) => None,
        };
        let wires: Vec<WireSpec> = cards.iter().filter_map(wire).collect();
        check_files(&wires, &[])?;
        let emulated = !wires.is_empty();
        let mut session = Session {
            ports: Vec::new(),
            devices: Vec::new(),
            speeds: Vec::new(),
            stop: Stop::install()?,
            functions: Vec::new(),
            taps: Vec::new(),
            wires,
            strict: context.global.strict,
            default,
            duration: defaults.duration,
            buffers: 2 * BATCH_MAX,
            _engine: emulated.then(|| Engine::new(Drive::Thread)),
        };
        for card in cards {
            session.plug(&context.roots, card, config)?;
        }
        session.wait_for_links(context.global.link_wait, &Output::new(&context.global))?;
        Ok(session)
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
        for (port, device) in self.ports.iter_mut().zip(&mut self.devices) {
            let link = loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if !said && begun.elapsed() > LONG {
                    said = true;
                    let device = &device.device;
                    output.warn(format_args!("{device}: no link yet; waiting for it up to {patience:?} (--link-wait)"));
                }
                match port.nic.wait_for_link(SLICE.min(left)) {
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

    /// Opens one card.
    fn plug(&mut self, roots: &Roots, card: Card, config: &Config) -> Result<()> {
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
                pci::open(roots, address)?
            }
        };
        let port = driver::open(Arc::clone(&function), &config)?;
        self.buffers +=
            port.rx.iter().map(RxQueue::buffers).sum::<usize>() + usize::from(config.tx_ring) * port.tx.len();
        self.devices.push(port.nic.describe().clone());
        self.functions.push(function);
        self.ports.push(port);
        Ok(())
    }

    /// A pool that fills every ring of every port and leaves two batches over.
    pub fn pool(&self) -> Result<Pool> {
        self.pool_of(self.buffers)
    }

    /// A pool of `buffers` that every port can reach: one for each thread.
    pub fn pool_of(&self, buffers: usize) -> Result<Pool> {
        let physical = self.functions.iter().any(|f| f.addressing() == Addressing::Physical);
        let pool = Pool::new(buffers, if physical { Addressing::Physical } else { Addressing::Translated })?;
        for function in &self.functions {
            function.map(pool.arena())?;
        }
        Ok(pool)
    }

    /// When the run ends: the default only has a length of its own where no
    /// card was named and the emulated one is used.
    pub fn limits(&self, length: &RunLength) -> Limits {
        length.limits(self.duration.filter(|_| self.default.is_some()))
    }

    /// Refuses to write `path` if a wire of the session plays or writes that file.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the name of both.
    pub fn check_write(&self, path: &Path) -> Result<()> {
        check_files(&self.wires, &[path])
    }

    /// Whether any port is emulated, so that times are the cost of driver and
    /// model and not of a wire.
    pub fn is_emulated(&self) -> bool {
        self.emulated().next().is_some()
    }

    /// Says what is used, the first line of output, and warns of what that goes without.
    pub fn announce(&self, output: &Output) -> std::io::Result<()> {
        output.info(self.headline())?;
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

    /// `device: emu:82599 (emulated, Intel 82599, driver ixgbe, 10 Gbit/s)`.
    fn headline(&self) -> String {
        let mut line = String::from(if self.devices.len() == 1 { "device: " } else { "devices: " });
        for (i, (device, &speed)) in self.devices.iter().zip(&self.speeds).enumerate() {
            if i > 0 {
                line += " and ";
            }
            let Description { device, kind, model, driver, .. } = device;
            let speed = if speed == 0 { "speed not known".to_string() } else { output::bits(speed as f64) };
            line += &format!("{device} ({kind} {model}, driver {driver}, {speed})");
        }
        if let Some(why) = &self.default {
            line += "; ";
            line += why;
        }
        line
    }

    /// Begins to note the stages of frames that the first card sends; false if it
    /// is no emulated one whose model does.
    pub fn note_stages(&self) -> bool {
        self.first_tap().is_some_and(|tap| tap.note_stages(true))
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
        let missed = |(port, tap): (&mut Port, &Option<Tap>)| counters(tap.as_ref(), &mut port.nic);
        self.ports
            .iter_mut()
            .zip(&self.taps)
            .map(missed)
            .map(|stats| stats.map(|stats| stats.rx_missed.unwrap_or(0) + stats.rx_overflow))
            .sum()
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
    /// an emulated one's model is asked, which knows.
    pub fn stats(&self, i: usize, nic: &mut Nic) -> Result<Stats> {
        counters(self.taps.get(i).and_then(Option::as_ref), nic)
    }

    fn emulated(&self) -> impl Iterator<Item = &Tap> {
        self.taps.iter().flatten()
    }

    fn first_tap(&self) -> Option<&Tap> {
        self.taps.first()?.as_ref()
    }

    /// To be called when the run is over: prints violations with `-v`, and
    /// fails for them with `--strict`.
    pub fn check(&self, output: &Output) -> anyhow::Result<()> {
        let violations = self.violations();
        for (device, rule, times) in &violations {
            output.detail(format_args!("{device}: the driver broke a rule {times} times: {rule}"))?;
        }
        match violations.first() {
            Some((device, rule, times)) if self.strict => Err(Error::new(
                Kind::Device,
                format!(
                    "{device}: the driver broke {} rules of the card, first '{rule}' ({times} times); this is a fault of bmnic, run with -v for all",
                    violations.len()
                ),
            )
            .into()),
            _ => Ok(()),
        }
    }
}

/// The counters of a port, emulated if there is a tap.
fn counters(tap: Option<&Tap>, nic: &mut Nic) -> Result<Stats> {
    let stats = nic.stats()?;
    let (None, Some(tap)) = (stats.rx_missed, tap) else { return Ok(stats) };
    let drops = tap.wire().drops;
    let counted = if stats.by_device { drops } else { 0 };
    Ok(Stats { rx_missed: Some(drops), rx_packets: stats.rx_packets.saturating_sub(counted), ..stats })
}

/// The cards to use.
#[derive(Debug)]
struct Resolved {
    cards: Vec<Card>,
    /// Why these, where none was named and they are emulated.
    default: Option<String>,
}

/// The cards to use: the named ones, or those that bmnic was given, or emulated
/// ones.
fn resolve(roots: &Roots, names: &[String], wires: &[&str]) -> Result<Resolved> {
    if !names.is_empty() {
        let named = names.iter().enumerate();
        let cards = named.map(|(i, name)| card(roots, name, wires.get(i))).collect::<Result<Vec<_>>>()?;
        for (i, card) in cards.iter().enumerate() {
            if matches!(card, Card::Pci(_)) && cards[..i].contains(card) {
                return Err(Error::new(
                    Kind::Usage,
                    format!("{} is named twice; name it once, or another card", names[i]),
                ));
            }
        }
        return Ok(Resolved { cards, default: None });
    }
    let bound: Vec<discover::Device> =
        discover::network(roots).into_iter().filter(|device| device.driver.as_deref() == Some(VFIO)).collect();
    let mut cards = Vec::new();
    let mut strangers = Vec::new();
    for device in bound.iter().filter(|device| driver::driver_for(device.id).is_some()) {
        match journal::handed_over(roots, device) {
            Ok(true) => cards.push(Card::Pci(device.address)),
            Ok(false) => strangers.push(format!("{} is bound to {VFIO}, but not by bmnic", device.address)),
            Err(error) => {
                let (address, why) = (device.address, remedy::line(&error));
                strangers.push(format!("{address} is bound to {VFIO}, and whether by bmnic is not known ({why})"));
            }
        }
    }
    if !cards.is_empty() {
        cards.truncate(wires.len());
        return Ok(Resolved { cards, default: None });
    }
    let why = match (strangers.as_slice(), bound.is_empty()) {
        ([], true) => format!("none was named and none is bound to {VFIO}"),
        ([], false) => format!("none was named and none that bmnic drives is bound to {VFIO}"),
        ([one], _) => format!("none was named; {one}: name it to use it"),
        ([first, rest @ ..], _) => {
            format!("none was named; {first}, and so are {} more: name one to use it", rest.len())
        }
    };
    let emulated = wires.iter().map(|wire| Ok(Card::Emulated(Spec::new("82599").on(wire.parse()?))));
    Ok(Resolved { cards: emulated.collect::<Result<_>>()?, default: Some(why) })
}

/// The card of this name.
fn card(roots: &Roots, name: &str, wire: Option<&&str>) -> Result<Card> {
    let Some(text) = name.strip_prefix("emu:") else {
        return discover::find(roots, name).map(|device| Card::Pci(device.address));
    };
    let spec: Spec = text.parse()?;
    match wire {
        // Wires are named nowhere but in this option.
        Some(wire) if !text.contains("wire=") => Ok(Card::Emulated(spec.on(wire.parse()?))),
        _ => Ok(Card::Emulated(spec)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::journal::Journal;
    use crate::pci::kernel::Running;
    use crate::pci::network::Network;
    use crate::sys::Roots;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A machine with these cards: address, PCI id, driver.
    fn machine(cards: &[(&str, &str, &str)]) -> (tempfile::TempDir, Roots) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        for (address, device, driver) in cards {
            let dir = roots.pci().join("devices").join(address);
            fs::create_dir_all(&dir).unwrap();
            let put = |file: &str, text: &str| fs::write(dir.join(file), text).unwrap();
            put("vendor", "0x8086\n");
            put("device", device);
            put("class", "0x020000\n");
            symlink(Path::new("../../drivers").join(driver), dir.join("driver")).unwrap();
        }
        (temp, roots)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn with_nothing_bound_the_default_is_emulated_on_the_commands_wires() {
        let (_temp, roots) = machine(&[("0000:03:00.0", "0x10fb", "ixgbe")]);
        let Resolved { cards, default } = resolve(&roots, &[], &["loop", "loop:pause=on"]).unwrap();
        assert_eq!(default.unwrap(), "none was named and none is bound to vfio-pci");
        let wires: Vec<String> = cards
            .iter()
            .map(|card| match card {
                Card::Emulated(spec) => spec.wire.to_string(),
                Card::Pci(_) => panic!("a card the kernel uses must not be touched"),
            })
            .collect();
        assert_eq!(wires, ["loop", "loop:pause=on"]);
    }

    /// What `bmnic bind` leaves behind when it takes these cards from ixgbe.
    fn hand_over(roots: &Roots, addresses: &[&str]) {
        let boot = roots.proc.join("sys/kernel/random");
        fs::create_dir_all(&boot).unwrap();
        fs::write(boot.join("boot_id"), "b1\n").unwrap();
        let kernel = Running::new(roots);
        let _lock = journal::lock(roots).unwrap();
        for address in addresses {
            let device = discover::find(roots, address).unwrap();
            let before = Journal::of(roots, &device, &Network::default());
            Journal { driver: Some("ixgbe".into()), ..before }.save(&kernel, roots).unwrap();
        }
    }

    fn is_emulated(cards: &[Card]) -> bool {
        cards.iter().all(|card| matches!(card, Card::Emulated(_)))
    }

    #[test]
    fn a_card_that_somebody_else_bound_is_not_touched_unless_it_is_named() {
        let address = "0000:03:00.0";
        let (_temp, roots) = machine(&[(address, "0x10fb", "vfio-pci"), ("0000:02:00.0", "0xffff", "vfio-pci")]);
        let Resolved { cards, default } = resolve(&roots, &[], &["loop"]).unwrap();
        assert!(is_emulated(&cards), "{cards:?}");
        let why = default.unwrap();
        assert_eq!(why, "none was named; 0000:03:00.0 is bound to vfio-pci, but not by bmnic: name it to use it");
        let named = resolve(&roots, &names(&[address]), &["loop"]).unwrap();
        assert_eq!(named.cards, [Card::Pci(address.parse().unwrap())]);
        assert_eq!(named.default, None);

        let three = [(address, "0x10fb", "vfio-pci"), ("0000:03:00.1", "0x10fb", "vfio-pci")];
        let (_temp, roots) = machine(&three);
        let why = resolve(&roots, &[], &["loop"]).unwrap().default.unwrap();
        assert!(why.contains(address) && why.ends_with("and so are 1 more: name one to use it"), "{why}");
        let (_temp, roots) = machine(&[("0000:02:00.0", "0xffff", "vfio-pci")]);
        let why = resolve(&roots, &[], &["loop"]).unwrap().default.unwrap();
        assert_eq!(why, "none was named and none that bmnic drives is bound to vfio-pci");
    }

    #[test]
    fn a_journal_that_is_not_of_this_binding_hands_no_card_over() {
        let address = "0000:03:00.0";
        let fresh = || {
            let (temp, roots) = machine(&[(address, "0x10fb", "vfio-pci")]);
            hand_over(&roots, &[address]);
            (temp, roots)
        };
        let taken = |roots: &Roots| !is_emulated(&resolve(roots, &[], &["loop"]).unwrap().cards);
        let (_temp, roots) = fresh();
        assert!(taken(&roots), "as bmnic left it");

        let (_temp, roots) = fresh();
        fs::write(roots.proc.join("sys/kernel/random/boot_id"), "b2\n").unwrap();
        assert!(!taken(&roots), "the machine was started again");

        let (_temp, roots) = fresh();
        let device = roots.pci().join("devices").join(address);
        fs::write(device.join("driver_override"), "vfio-pci\n").unwrap();
        assert!(!taken(&roots), "libvirt has bound it since");

        let (_temp, roots) = fresh();
        fs::write(roots.pci().join("devices").join(address).join("device"), "0x1528").unwrap();
        assert!(!taken(&roots), "another card is in the slot");

        let (_temp, roots) = fresh();
        journal::forget(&Running::new(&roots), &roots, address.parse().unwrap()).unwrap();
        assert!(!taken(&roots), "it was given back, and bound by somebody since");

        // vfio-pci had it before bmnic did anything.
        let (_temp, roots) = fresh();
        let device = discover::find(&roots, address).unwrap();
        Journal::of(&roots, &device, &Network::default()).save(&Running::new(&roots), &roots).unwrap();
        assert!(!taken(&roots), "it was with vfio-pci before");

        let (_temp, roots) = fresh();
        fs::write(journal::path(&roots, address.parse().unwrap()), "{").unwrap();
        let why = resolve(&roots, &[], &["loop"]).unwrap().default.unwrap();
        assert!(why.contains("0000:03:00.0 is bound to vfio-pci, and whether by bmnic is not known"), "{why}");
        assert!(why.ends_with("name it to use it") && !why.contains('\n'), "{why}");
    }

    #[test]
    fn cards_that_bmnic_bound_to_vfio_are_the_default_if_there_is_a_driver_for_them() {
        let (_temp, roots) = machine(&[
            ("0000:03:00.0", "0x10fb", "vfio-pci"),
            ("0000:03:00.1", "0x10fb", "vfio-pci"),
            ("0000:04:00.0", "0x10fb", "vfio-pci"),
            ("0000:02:00.0", "0xffff", "vfio-pci"),
        ]);
        hand_over(&roots, &["0000:03:00.0", "0000:03:00.1", "0000:04:00.0", "0000:02:00.0"]);
        let address = |text: &str| Card::Pci(text.parse().unwrap());
        let Resolved { cards, default } = resolve(&roots, &[], &["loop", "loop"]).unwrap();
        assert_eq!(default, None, "no emulated ones");
        assert_eq!(cards, [address("0000:03:00.0"), address("0000:03:00.1")]);
        let cards = resolve(&roots, &[], &["loop"]).unwrap().cards;
        assert_eq!(cards, [address("0000:03:00.0")]);
    }

    #[test]
    fn an_emulated_card_without_a_wire_gets_that_of_the_command() {
        let (_temp, roots) = machine(&[]);
        let named = names(&["emu:x540", "emu:x550,wire=loop"]);
        let Resolved { cards, default } = resolve(&roots, &named, &["loop:pause=on", "loop:pause=on"]).unwrap();
        assert_eq!(default, None);
        let specs: Vec<String> = cards.iter().map(|card| format!("{card:?}")).collect();
        assert!(specs[0].contains("pause: true"), "{}", specs[0]);
        assert!(specs[1].contains("pause: false"), "{}", specs[1]);
    }

    #[test]
    fn a_card_that_is_not_there_or_named_twice_is_refused() {
        let (_temp, roots) = machine(&[("0000:03:00.0", "0x10fb", "vfio-pci")]);
        let kind = |list: &[&str]| resolve(&roots, &names(list), &["loop", "loop"]).unwrap_err().kind();
        assert_eq!(kind(&["0000:09:00.0"]), Kind::NotFound);
        assert_eq!(kind(&["eth9"]), Kind::NotFound);
        assert_eq!(kind(&["03:00.0", "0000:03:00.0"]), Kind::Usage);
        assert_eq!(kind(&["emu:"]), Kind::Usage);
        assert_eq!(kind(&["emu:82599,wire=rope"]), Kind::Usage);
    }
}
