//! What every model stands on, and [`Card`](super::Card) works with: its place on
//! the bus, the MAC, the time, the rules that were broken.

use super::flaw::Flaw;
use super::offload::Used;
use super::pcie::Crossings;
use super::wire::{Mac, Random, Speed, Wire};
use super::{At, Fault, FaultKind, Interrupts, MacPort, ModelInfo, Picos, Profile, Spec, Translation, Violations};

/// How often a wire is asked for its carrier while the link is up.
const LINK_POLL: Picos = 100_000_000;

/// What a function has on its bus side.
pub struct Bus {
    /// Memory it can reach.
    pub memory: Translation,
    /// Interrupts it can send.
    pub interrupts: Interrupts,
    /// Messages that had been sent when counting began.
    uncounted: u64,
}

impl Bus {
    /// No memory and `vectors` vectors.
    pub fn new(vectors: u16) -> Self {
        Self { memory: Translation::new(), interrupts: Interrupts::new(vectors), uncounted: 0 }
    }

    /// Counts what crosses PCIe from now on, from nothing, or no longer.
    pub fn count_crossings(&mut self, on: bool) {
        self.memory.measure(on);
        self.uncounted = self.interrupts.total();
    }

    /// What has crossed PCIe since, if it is counted.
    pub fn crossings(&self) -> Option<Crossings> {
        let interrupts = self.interrupts.total() - self.uncounted;
        self.memory.meter().map(|meter| Crossings { interrupts, ..meter.crossings() })
    }
}

/// The part of a model that is the same in every family.
pub struct Board {
    /// What it looks like on the PCI bus.
    pub profile: Profile,
    /// The memory and the interrupt vectors that an attachment gives it.
    pub bus: Bus,
    /// Where its frames leave it and come from.
    pub port: MacPort,
    /// Its address, as it left the factory.
    pub factory: [u8; 6],
    /// Line rate of its wire.
    pub speed: Speed,
    /// What goes wrong in its firmware.
    pub fault: Option<Fault>,
    /// What the driver did wrong so far, not counting what `bus` saw.
    pub violations: Violations,
    /// Offloads that the driver has used.
    pub used: Used,
    /// The first violation kills the card.
    pub strict: bool,
    /// Does late, in odd order or with odd values whatever the datasheet leaves open.
    pub nasty: bool,
    /// Chance, the same in each run with the same seed.
    pub random: Random,
    /// The time; [`Card`](super::Card) moves it on before it calls the model.
    pub now: Picos,
    /// Frames lost in this step because a queue had no descriptor.
    pub starved: usize,
    /// How long the link takes to come up.
    pub link_delay: Picos,
    link_polled: Picos,
    /// Strict, and something was violated: the card is dead.
    poisoned: bool,
}

impl Board {
    /// The board of a card at the end of a wire.
    pub(super) fn new(model: &ModelInfo, spec: &Spec, wire: Box<dyn Wire>) -> Self {
        let speed = spec.speed.unwrap_or(Speed::Bits(model.profile.speed));
        let mut bus = Bus::new(model.profile.vectors);
        if let Some(Fault { kind: FaultKind::LoseIrq, at }) = spec.fault {
            bus.interrupts.lose_behind(u64::from(at.map_or(1, At::number)) - 1);
        }
        Board {
            profile: model.profile,
            bus,
            port: MacPort::new(Mac::new(wire, speed), Flaw::of(spec.fault)),
            factory: spec.mac.unwrap_or_else(|| factory_address(model.oui)),
            speed,
            fault: spec.fault,
            violations: Violations::default(),
            used: Used::default(),
            strict: spec.strict,
            nasty: spec.nasty,
            random: Random::new(spec.seed),
            now: 0,
            starved: 0,
            link_delay: spec.link.unwrap_or(model.link_delay),
            link_polled: 0,
            poisoned: false,
        }
    }

    /// Whether this is what goes wrong with the card.
    #[inline]
    pub fn faulty(&self, kind: FaultKind) -> bool {
        self.fault.is_some_and(|fault| fault.kind == kind)
    }

    /// Whether a violation has killed the card: it reads as ones and does nothing.
    #[inline]
    pub fn poisoned(&self) -> bool {
        self.poisoned
    }

    /// Kills a strict card that has a violation.
    #[inline]
    pub(super) fn condemn(&mut self) {
        if self.strict {
            self.poisoned = self.violations.total() + self.bus.memory.violations_total() > 0;
        }
    }

    /// A reset brings a dead card back.
    pub(super) fn revive(&mut self) {
        self.poisoned = false;
    }

    /// When a link that starts over now is up: after the delay, or later (nasty).
    pub fn link_ready(&mut self) -> Picos {
        let late = if self.nasty { self.random.below(4 * self.link_delay.max(1)) } else { 0 };
        self.now + self.link_delay + late
    }

    /// Whether it is time to look at the wire's carrier: a link that is down is
    /// looked after each time.
    #[inline]
    pub fn link_is_due(&mut self, up: bool) -> bool {
        let due = !up || self.now - self.link_polled >= LINK_POLL;
        if due {
            self.link_polled = self.now;
        }
        due
    }
}

/// Factory addresses in the order in which cards are made: 00:1b:21:e0:00:00 on.
fn factory_address([a, b, c]: [u8; 3]) -> [u8; 6] {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    [a, b, c, 0xe0, high, low]
}
