//! What every model stands on, and [`Card`](super::Card) works with: its place on
//! the bus, the MAC, the time, the rules that were broken.

use super::flaw::Flaw;
use super::offload::Used;
use super::pcie::link::Link;
use super::pcie::pace::{Due, Pace};
use super::pcie::{Crossings, Meter};
use super::slip::Slip;
use super::wire::{Mac, Random, Speed, Wire};
use super::{
    At, Fault, FaultKind, Interrupts, MacPort, ModelInfo, Picos, Profile, Spec, Stages, Translation, Violations,
};
use std::sync::Arc;

/// How often a wire is asked for its carrier while the link is up.
const LINK_POLL: Picos = 100_000_000;

/// What a function has on its bus side.
pub struct Bus {
    /// Memory it can reach.
    pub memory: Translation,
    /// Interrupts it can send.
    pub interrupts: Interrupts,
    /// Messages that had been sent when counting began, if it has.
    uncounted: Option<u64>,
    /// When the last step was, and whether there was something to do in it.
    stepped: Picos,
    busy: bool,
}

impl Bus {
    /// No memory and `vectors` vectors.
    pub fn new(vectors: u16) -> Self {
        let (memory, interrupts) = (Translation::new(), Interrupts::new(vectors));
        Self { memory, interrupts, uncounted: None, stepped: 0, busy: false }
    }

    /// The clock of the link, if there is one.
    fn pace(&self) -> Option<&Pace> {
        self.memory.meter().and_then(Meter::pace)
    }

    /// What crosses PCIe passes a step of a model at `now`.
    #[inline]
    pub(super) fn tick(&self, now: Picos) {
        if let Some(meter) = self.memory.meter() {
            meter.tick(now, if self.busy { self.stepped } else { now });
        }
    }

    /// After a step at `now` in which there was so much to do: what is on its way goes on;
    /// how much there is to do.
    #[inline]
    pub(super) fn stepped(&mut self, now: Picos, work: usize) -> usize {
        if self.pace().is_none() {
            return work;
        }
        (self.stepped, self.busy) = (now, work > 0);
        work + usize::from(!self.go_on(now))
    }

    /// Posts messages that were sent, and lets all arrive that is there by `now`; whether
    /// nothing is on its way any more.
    pub(super) fn go_on(&mut self, now: Picos) -> bool {
        let sent = self.interrupts.take_waiting();
        let Some(pace) = self.memory.meter.as_ref().and_then(|meter| meter.pace()) else { return true };
        sent.into_iter().for_each(|vector| pace.message(vector));
        self.memory.commit(now);
        while let Some(vector) = pace.told(now) {
            self.interrupts.deliver(vector);
        }
        pace.is_idle()
    }

    /// After a register was written: what the card wrote because of that is there, and all
    /// before it.
    #[inline]
    pub(super) fn answer(&mut self) {
        if self.pace().is_some_and(Pace::is_fresh) {
            self.hasten();
        }
    }

    /// Lets all arrive that was sent: an answer must not pass it.
    pub(super) fn hasten(&mut self) {
        self.go_on(Picos::MAX);
        self.memory.hasten();
    }

    /// Whether received packets have to wait for the link.
    pub(super) fn is_behind(&self) -> bool {
        self.pace().is_some_and(Pace::is_behind)
    }

    /// What crosses PCIe since it is counted.
    pub fn crossings(&self) -> Option<Crossings> {
        let interrupts = self.interrupts.total() - self.uncounted?;
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
    /// Its PCIe link, if what crosses that takes time.
    pcie: Option<Link>,
    /// Strict, and something was violated: the card is dead.
    poisoned: bool,
}

impl Board {
    /// The board of a card at the end of a wire.
    pub(super) fn new(model: &ModelInfo, spec: &Spec, wire: Box<dyn Wire>) -> Self {
        let speed = spec.speed.unwrap_or(Speed::Bits(model.profile.speed));
        let mut bus = Bus::new(model.profile.vectors);
        if let Some(Fault { kind: FaultKind::LoseIrq, at, .. }) = spec.fault {
            bus.interrupts.lose_behind(u64::from(at.map_or(1, At::number)) - 1);
        }
        bus.memory.slip = Slip::of(spec.fault);
        let mut board = Board {
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
            pcie: spec.pcie,
            poisoned: false,
        };
        if spec.pcie.is_some() {
            board.bus.interrupts.keep();
            board.meter();
        }
        board
    }

    /// What counts what crosses PCIe, made if there is none: with the clock of its link.
    fn meter(&mut self) -> &mut Meter {
        let (pcie, port) = (self.pcie, &mut self.port);
        self.bus.memory.meter.get_or_insert_with(|| {
            let due = Arc::new(Due::default());
            let meter = Meter::new(pcie, Arc::clone(&due));
            port.wait_for(due, meter.pace().map_or(0, Pace::ahead));
            Box::new(meter)
        })
    }

    /// Counts what crosses PCIe from now on, from nothing, or no longer.
    pub fn count_crossings(&mut self, on: bool) {
        self.bus.uncounted = on.then(|| self.bus.interrupts.total());
        if on {
            self.meter().restart();
        }
        self.forget_meter();
    }

    /// Notes the stages of packets that are sent from now on, or no longer.
    pub fn note_stages(&mut self, on: bool) {
        self.meter().note_stages(on);
        self.forget_meter();
    }

    /// The stages of the packets that were reported since the last time, oldest first.
    pub fn take_stages(&self) -> Vec<Stages> {
        self.bus.memory.meter().and_then(Meter::take_stages).unwrap_or_default()
    }

    /// Does without a meter that nobody asks.
    fn forget_meter(&mut self) {
        let meter = &mut self.bus.memory.meter;
        if self.bus.uncounted.is_none() && self.pcie.is_none() {
            *meter = meter.take().filter(|meter| meter.notes());
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
