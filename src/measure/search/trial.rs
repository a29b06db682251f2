//! One trial of a rate, and what it says.

use std::fmt;
use std::time::Duration;

/// By what share less may be offered than was asked.
pub const TOLERANCE: f64 = 0.01;
/// What a trial at some rate gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// Rate that was asked for, packets a second.
    pub asked: f64,
    /// Packets that the schedule held.
    pub due: u64,
    /// Packets sent.
    pub sent: u64,
    /// Of these, how many the sending card still had when the time was up.
    pub late: u64,
    /// Of those sent, how many did not arrive.
    pub lost: u64,
    /// Of those lost, how many the receiving card had no descriptor for.
    pub missed: u64,
    /// How long the tester was held up, in all: its thread, or what plays its card.
    pub held_up: Duration,
}

/// What a trial says of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Offered as asked, and no more lost than allowed.
    Passed,
    /// More lost than allowed, and more than the tester can have lost.
    Failed,
    /// Nothing.
    Unclear(Why),
}

/// Why a trial says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Less was offered than was asked.
    NotOffered,
    /// The tester may have lost what was lost.
    OwnLoss,
    /// Packets were lost where none should have been.
    Lost,
    /// Later trials said otherwise than earlier ones, again and again.
    Unsteady,
}

impl Trial {
    /// Share of the packets that did not arrive.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost as f64 / self.sent as f64 }
    }

    /// Rate that was offered, packets a second, over the whole time: never more than
    /// was asked.
    pub fn offered(&self) -> f64 {
        if self.due == 0 { 0.0 } else { self.asked * (1.0 - self.short() / self.due as f64) }
    }

    /// Packets that were due and not offered in time.
    fn short(&self) -> f64 {
        self.due.saturating_sub(self.sent.saturating_sub(self.late)) as f64
    }

    /// Packets that were due while the tester was held up.
    fn held(&self) -> f64 {
        (self.held_up.as_secs_f64() * self.asked).floor()
    }

    /// Whether what was asked was offered, to [`TOLERANCE`].
    pub fn is_offered(&self) -> bool {
        self.sent > 0 && self.due > 0 && self.short() <= TOLERANCE * self.due as f64
    }

    /// Packets that the tester itself may have lost, at most: those due while it was held
    /// up, and those it had no descriptor for.
    pub fn own(&self) -> f64 {
        self.held() + self.missed as f64
    }

    /// What it says, where this share may be lost.
    pub fn verdict(&self, loss: f64) -> Verdict {
        if self.sent == 0 || self.due == 0 {
            return Verdict::Unclear(Why::NotOffered);
        }
        let slack = TOLERANCE * self.due as f64;
        // Whatever was due while the tester was held up may have been skipped, sent in
        // a burst or not been received, and that was not the device's doing.
        let allowed = loss * self.sent as f64;
        if self.lost as f64 > allowed + self.own() && self.short() <= slack + self.held() {
            Verdict::Failed
        } else if !self.is_offered() {
            Verdict::Unclear(Why::NotOffered)
        } else if self.lost as f64 > allowed {
            Verdict::Unclear(Why::OwnLoss)
        } else {
            Verdict::Passed
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NotOffered => "the tester did not offer it",
            Why::OwnLoss => "the tester may have lost what was lost",
            Why::Lost => "packets were lost",
            Why::Unsteady => "its trials contradict each other",
        })
    }
}
