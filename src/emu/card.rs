//! A model as a PCI function: what every attachment shares.
//!
//! ```text
//!   config accesses --> ConfigSpace --effects--+--> bus mastering, reset
//!                                              v
//!   BAR accesses --+-- MSI-X table, PBA --> Bus { memory, interrupts }
//!                  +-- registers --------> Model
//! ```

use super::board::{Board, Bus};
use super::wire::Note;
use super::{ConfigSpace, FaultKind, Layout, Model, Picos, Profile, config};

/// One emulated function.
pub struct Card {
    model: Box<dyn Model>,
    config: ConfigSpace,
    /// Function level resets so far, and whether it is gone since the last.
    resets: u32,
    gone: bool,
    /// Until when its link is down (fault).
    dark_until: Picos,
}

impl Card {
    /// A model, powered on.
    pub fn new(model: Box<dyn Model>) -> Self {
        let config = ConfigSpace::new(
            &model.board().profile,
            model.layout(),
            &model.capabilities(),
            model.board().fault.map(|fault| fault.kind),
        );
        Self { model, config, resets: 0, gone: false, dark_until: 0 }
    }

    /// What it looks like.
    pub fn profile(&self) -> &Profile {
        &self.board().profile
    }

    /// What it has in common with all cards.
    pub fn board(&self) -> &Board {
        self.model.board()
    }

    /// The model.
    pub fn model(&mut self) -> &mut dyn Model {
        self.model.as_mut()
    }

    /// Its memory and interrupts.
    pub fn bus(&mut self) -> &mut Bus {
        &mut self.model.board_mut().bus
    }

    /// What its wire itself did to frames, or saw, and what it got wrong of them (fault).
    pub fn wire_report(&mut self) -> Vec<Note> {
        let board = self.model.board_mut();
        let mut notes = board.port.report();
        notes.extend(board.bus.memory.slip.as_ref().and_then(|slip| slip.note()));
        notes
    }

    /// Lets the model work; how much it did, and 0 is idle.
    pub fn step(&mut self, now: Picos) -> usize {
        if self.gone || self.board().poisoned() {
            return 0;
        }
        self.tick(now);
        let board = self.model.board_mut();
        board.port.mac.tick(board.now);
        board.port.held = board.bus.is_behind();
        let work = self.model.step();
        self.slip();
        let board = self.model.board_mut();
        board.condemn();
        // What was lost because the driver gave no descriptors is no work: the
        // driver needs the processor more.
        let work = work.saturating_sub(std::mem::take(&mut board.starved));
        board.bus.stepped(board.now, work)
    }

    /// After a step: what is late is there, and a link goes down or the card is pulled (fault).
    #[inline]
    fn slip(&mut self) {
        let board = self.model.board_mut();
        let Some(slip) = &board.bus.memory.slip else { return };
        board.bus.memory.bring(board.now);
        let counters = board.port.mac.counters();
        if slip.passes(counters.rx_frames + counters.tx_frames) {
            match slip.down() {
                Some(time) => self.dark_until = board.now + time,
                None => self.gone = true,
            }
        }
        board.port.mac.dark = board.now < self.dark_until;
    }

    /// Time passes; it never goes back.
    fn tick(&mut self, now: Picos) {
        let board = self.model.board_mut();
        board.now = board.now.max(now);
        board.bus.tick(board.now);
        self.model.tick();
    }

    /// Reads `size` bytes of a BAR.
    pub fn read(&mut self, now: Picos, bar: u8, offset: u64, size: u8) -> u64 {
        match self.msix(bar, offset) {
            Some(entry) => {
                // Drivers read a vector back to have its messages before them.
                self.tick(now);
                self.bus().hasten();
                let interrupts = &mut self.bus().interrupts;
                u64::from(match entry {
                    Msix::Table(at) => interrupts.table_read(at),
                    Msix::Pending(at) => interrupts.pending_read(at),
                })
            }
            None => {
                self.tick(now);
                if self.is_away() || self.deaf(bar) {
                    return u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
                }
                let value = self.model.read(bar, offset, size);
                let board = self.model.board_mut();
                board.condemn();
                board.bus.hasten();
                value
            }
        }
    }

    /// Writes `size` bytes of a BAR.
    pub fn write(&mut self, now: Picos, bar: u8, offset: u64, size: u8, value: u64) {
        match self.msix(bar, offset) {
            Some(Msix::Table(at)) => self.bus().interrupts.table_write(at, value as u32),
            Some(Msix::Pending(_)) => {}
            None => {
                self.tick(now);
                if !self.is_away() && !self.deaf(bar) {
                    self.model.write(bar, offset, size, value);
                    let board = self.model.board_mut();
                    board.condemn();
                    board.bus.answer();
                }
            }
        }
    }

    /// Whether it answers to nothing: lost for its host, dead, or asleep.
    fn is_away(&self) -> bool {
        self.gone || self.board().poisoned() || self.config.asleep()
    }

    /// Whether this BAR is one of ports and the function does not answer to them: nobody
    /// does then.
    fn deaf(&mut self, bar: u8) -> bool {
        let (index, ports) = self.profile().io;
        let deaf = ports != 0 && bar == index && !self.config.ports();
        if deaf {
            let board = self.model.board_mut();
            board.violations.note("access to ports with I/O space off in the command register");
            board.condemn();
        }
        deaf
    }

    /// Where its capabilities are.
    pub fn layout(&self) -> &Layout {
        self.config.layout()
    }

    /// Reads configuration space.
    pub fn config_read(&self, offset: u16, size: u8) -> u32 {
        if self.gone {
            return u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4)));
        }
        self.config.read(offset, size)
    }

    /// What the kernel does for one who opens a function (pci_enable_device), and after a
    /// reset: its ports answer.
    pub fn enable(&mut self) {
        let at = config::COMMAND as u16;
        self.config_write(at, 2, self.config_read(at, 2) | config::PORTS);
    }

    /// Writes configuration space, and does what that asks for.
    pub fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        let effects = self.config.write(offset, size, value);
        if effects.reset {
            self.resets += 1;
            let fault = self.board().fault;
            self.gone |= fault.is_some_and(|fault| fault.strikes(FaultKind::ResetFatal, self.resets));
            self.reset_model();
        }
        let bus = self.bus();
        if let Some(on) = effects.bus_master {
            bus.memory.set_bus_master(on);
        }
        if let Some((enabled, masked)) = effects.msix {
            bus.interrupts.control(enabled, masked);
        }
    }

    /// Power-on: configuration space, registers, interrupts. Mapped memory stays.
    pub fn reset(&mut self) {
        self.config.reset();
        self.reset_model();
        self.bus().memory.set_bus_master(false);
    }

    fn reset_model(&mut self) {
        self.bus().hasten();
        self.bus().memory.forget_late();
        self.model.board_mut().revive();
        self.model.reset();
        self.bus().interrupts.reset();
    }

    /// What the driver did wrong so far: each name and how often.
    pub fn violations(&self) -> Vec<(String, u64)> {
        let board = self.board();
        let memory = board.bus.memory.violations();
        board.violations.iter().chain(memory.iter()).map(|(name, count)| (name.to_string(), count)).collect()
    }

    fn msix(&self, bar: u8, offset: u64) -> Option<Msix> {
        let profile = self.profile();
        let (msix_bar, table, pending) = profile.msix;
        if bar != msix_bar {
            return None;
        }
        let within = |start: u32, len: u64| offset.checked_sub(u64::from(start)).filter(|at| *at < len);
        let vectors = u64::from(profile.vectors);
        let table = within(table, 16 * vectors).map(|at| Msix::Table(at as u32));
        table.or_else(|| within(pending, vectors.div_ceil(64) * 8).map(|at| Msix::Pending(at as u32)))
    }
}

enum Msix {
    Table(u32),
    Pending(u32),
}

#[cfg(test)]
mod tests {
    use super::super::{build, models};
    use super::*;

    /// A new card of each row of the families' tables.
    fn cards() -> impl Iterator<Item = (&'static super::super::ModelInfo, Card)> {
        models().map(|info| {
            let spec = info.profile.name.parse::<super::super::Spec>().unwrap();
            (info, Card::new(build(&spec, spec.open_wire(&mut Default::default()).unwrap()).unwrap()))
        })
    }

    #[test]
    fn every_card_is_what_its_row_says() {
        let mut names = std::collections::BTreeSet::new();
        for (info, card) in cards() {
            let Profile { name, id, bars, msix, vectors, .. } = info.profile;
            assert!(names.insert(name), "{name} stands there twice");
            let ids = [(0, id.vendor), (2, id.device), (0x2c, id.subsystem_vendor), (0x2e, id.subsystem)];
            for (at, id) in ids {
                assert_eq!(card.config_read(at, 2), u32::from(id), "{name} at {at:#x}");
            }
            assert!(bars.iter().all(|size| *size == 0 || size.is_power_of_two()), "{name}");
            let table = u64::from(msix.1) + 16 * u64::from(vectors);
            assert!(table <= msix.2.into() && u64::from(msix.2) < bars[usize::from(msix.0)], "{name}: MSI-X");
        }
    }

    #[test]
    fn pages_that_may_be_mapped_lie_in_their_bars() {
        for (info, mut card) in cards() {
            let pages = card.model().doorbells();
            // Where queues share a doorbell each is given a place of its own.
            let shared = [(2, 0x1_0000), (0, 0x1_0800)];
            let lane = shared.into_iter().any(|(bar, at)| card.model().lane(bar, at).is_some());
            assert!(!pages.is_empty() || lane || info.profile.by_ports(), "{}", info.profile.name);
            for page in pages {
                assert!(page.offset.is_multiple_of(4096), "{}: {:#x}", info.profile.name, page.offset);
                assert!(page.offset < info.profile.bar(page.bar.into()), "{}: {:#x}", info.profile.name, page.offset);
            }
        }
    }

    #[test]
    fn a_strict_card_is_dead_from_its_first_violation_on() {
        for info in models() {
            let spec = format!("{},strict", info.profile.name).parse().unwrap();
            let model = build(&spec, spec.open_wire(&mut Default::default()).unwrap()).unwrap();
            let mut card = Card::new(model);
            card.read(1, 5, 0, 4);
            assert_eq!(card.violations().len(), 1, "{}: there is no BAR 5", info.profile.name);
            assert_eq!(card.read(2, 5, 0, 2), 0xffff, "{}", info.profile.name);
            assert_eq!(card.step(3), 0);
            assert_eq!(card.violations().len(), 1, "the dead do no wrong");
            assert!(card.board().poisoned(), "{}", info.profile.name);
        }
    }
}
