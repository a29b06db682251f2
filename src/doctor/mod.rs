//! Whether a machine is fit for a card that a program drives, and what to do if not.
//!
//! ```text
//!   access       IOMMU, VFIO, lockdown, memlock                may a program have a card
//!   rights       capabilities, container                       may this process
//!   processors   isolation, interrupts, frequency, idle states  does it run undisturbed
//!   memory       huge pages, THP, swap, NUMA                    where packets lie
//!   card         driver, group, node, PCIe link                 of one card
//!   jitter       a thread that only reads the clock             what all of it comes to
//! ```
//!
//! A check reads files below the roots and writes nothing. It says what was found, why it
//! matters, and the exact fix: a command, or what to add to the kernel's command line and
//! that it takes a boot. What can be set while the machine runs is in [`settings`]; [`tune`]
//! writes it and puts it back.

mod access;
mod card;
pub mod cpus;
pub mod jitter;
mod memory;
mod processors;
mod rights;
pub mod settings;
pub mod tune;

use crate::pci::Address;
use crate::pci::discover::Device;
use crate::sys::{self, Roots};
use cpus::Cpus;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is wrong.
    Note,
    /// It works, and costs time now and then.
    Slow,
    /// A real card does not work so, or not for this user.
    Wrong,
    /// This machine does not tell.
    Unknown,
}

impl State {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Slow => "slow",
            State::Wrong => "wrong",
            State::Unknown => "unknown",
        }
    }
}

/// One line of the examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// The card that it is about; the machine if none.
    pub card: Option<Address>,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do; nothing where there is nothing to do.
    pub fix: Option<Fix>,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// The command, or what to do by hand.
    pub text: String,
    /// Whether it takes a boot.
    pub reboot: bool,
    /// Whether [`tune`] does it.
    pub tune: bool,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>, why: &'static str) -> Check {
        Check { name, card: None, state, found: found.into(), why, fix: None }
    }

    /// The same of a card.
    fn of(self, card: Address) -> Check {
        Check { card: Some(card), ..self }
    }

    /// The same with a fix, unless it is as it should be.
    fn fix(self, text: impl Into<String>) -> Check {
        let fix = Fix { text: text.into(), reboot: false, tune: false };
        Check { fix: (self.state != State::Ok).then_some(fix), ..self }
    }

    /// The same with a fix that takes a boot.
    fn boot(self, text: impl Into<String>) -> Check {
        let mut check = self.fix(text);
        check.fix.iter_mut().for_each(|fix| fix.reboot = true);
        check
    }

    /// The same with a fix that [`tune`] makes too.
    fn tune(self, text: impl Into<String>) -> Check {
        let mut check = self.fix(text);
        check.fix.iter_mut().for_each(|fix| fix.tune = true);
        check
    }
}

/// What is examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Processors that are to be left alone.
    pub quiet: Cpus,
    /// Cards, whose own lines are added.
    pub cards: Vec<Device>,
    /// Bytes of huge pages that should be free.
    pub memory: u64,
    /// The user.
    pub user: u32,
    /// Bytes that this user may lock; none means any amount.
    pub memlock: Option<u64>,
}

/// Bytes of huge pages where nobody says how many: the pools of two ports and room.
pub const MEMORY: u64 = 128 << 20;

impl Subject {
    /// This machine as this process finds it, with these cards.
    pub fn here(roots: &Roots, cards: Vec<Device>) -> Subject {
        let quiet = cpus::quiet(roots, node(&cards));
        Subject { quiet, cards, memory: MEMORY, user: sys::effective_user(), memlock: sys::memlock_limit() }
    }
}

/// The node of the first card that has one.
pub fn node(cards: &[Device]) -> Option<u16> {
    cards.iter().find_map(|card| card.numa_node)
}

/// Looks at everything but jitter; changes nothing.
pub fn examine(roots: &Roots, subject: &Subject) -> Vec<Check> {
    let mut checks = access::checks(roots, subject);
    checks.extend(rights::checks(roots, subject));
    checks.extend(memory::checks(roots, subject));
    checks.extend(processors::checks(roots, subject));
    checks.extend(subject.cards.iter().flat_map(|card| card::checks(roots, subject, card)));
    checks
}

/// How many of the checks that can be told are neither slow nor wrong, and of how many.
pub fn score(checks: &[Check]) -> (usize, usize) {
    let bad = checks.iter().filter(|check| matches!(check.state, State::Slow | State::Wrong)).count();
    let told = checks.iter().filter(|check| check.state != State::Unknown).count();
    (told - bad, told)
}

/// Whether a card would not work.
pub fn is_wrong(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.state == State::Wrong)
}
