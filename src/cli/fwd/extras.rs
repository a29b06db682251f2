//! What a lane does besides passing frames on, where that is asked for: it leaves out what a
//! filter does not want, answers, makes frames of its own, lets all go, or does to frames what
//! a bad wire does.
//!
//! ```text
//!   rx ---> filter ---> what the mode wants ---> count ---> impair ---> rewrite ---> tx
//!              |              |                    ^           |
//!              v              v                    |           v
//!          `filtered`      `let_go`              `made`     `impaired`
//!
//!   received + made + duplicated = passed on + filtered + let go + lost + over limit + held
//! ```

use super::impair::Impaired;
use super::lane::{Counts, add};
use crate::cli::wanted;
use crate::dma::Batch;
use crate::net::MacAddr;
use crate::packet::build::Builder;
use crate::packet::{Filter, turn};

/// What a lane does besides.
pub struct Extras {
    /// Which frames it is about.
    pub filter: Option<Filter>,
    /// What becomes of these.
    pub part: Part,
    /// What is done to those that are passed on.
    pub impaired: Option<Impaired>,
}

/// What becomes of frames that the filter wants.
pub enum Part {
    /// They are passed on.
    Pass,
    /// They are counted and let go.
    LetGo,
    /// Requests are answered from this address and the answers passed on; others are let go.
    Answer(MacAddr),
    /// What comes is let go, and frames of its own are sent.
    Make(Box<Builder>),
}

impl Extras {
    /// Takes out of `batch`, which has just been received, what is not to be passed on, and
    /// counts it.
    pub fn sift(&self, batch: &mut Batch<'_>, counts: &Counts) {
        if let Some(filter) = &self.filter {
            add(&counts.filtered, keep(batch, |batch, first, end| wanted::matches(filter, batch, first..end)));
        }
        match &self.part {
            Part::Pass | Part::LetGo => {}
            Part::Answer(mac) => {
                let answered = |batch: &mut Batch<'_>, first: usize, _| turn::answer(batch.frame_mut(first), *mac);
                add(&counts.let_go, keep(batch, answered));
            }
            Part::Make(_) => add(&counts.let_go, keep(batch, |_, _, _| false)),
        }
    }

    /// Fills `batch` with frames of its own, if it makes any.
    pub fn make(&mut self, batch: &mut Batch<'_>) {
        let Part::Make(builder) = &mut self.part else { return };
        while let Some(frame) = batch.push(builder.next_len()) {
            builder.write(frame, 0);
        }
    }

    /// Puts into the empty `batch` what an impairment held and is due; how many frames.
    pub fn release(&mut self, batch: &mut Batch<'_>) -> u64 {
        self.impaired.as_mut().map_or(0, |impaired| impaired.release(batch))
    }

    /// Has the `frames` of `batch` impaired, if that is asked for; how many of which, and of
    /// those before, are passed on now.
    pub fn impair(&mut self, batch: &mut Batch<'_>, frames: u64, counts: &Counts) -> u64 {
        let Some(impaired) = &mut self.impaired else { return frames };
        impaired.take(batch);
        let released = impaired.release(batch);
        impaired.tell(&counts.impaired);
        released
    }

    /// Whether another batch may be received.
    pub fn has_room(&self) -> bool {
        self.impaired.as_ref().is_none_or(Impaired::has_room)
    }

    /// Whether frames are held back.
    pub fn holds(&self) -> bool {
        self.impaired.as_ref().is_some_and(Impaired::holds)
    }

    /// Whether it makes frames.
    pub fn makes(&self) -> bool {
        matches!(self.part, Part::Make(_))
    }

    /// Whether frames end here.
    pub fn lets_go(&self) -> bool {
        matches!(self.part, Part::LetGo)
    }
}

/// Keeps the frames that `wanted` says yes to, which is given the entries of each; how many
/// frames it let go.
fn keep(batch: &mut Batch<'_>, mut wanted: impl FnMut(&mut Batch<'_>, usize, usize) -> bool) -> u64 {
    let (mut mask, mut gone, mut first) = (0_u64, 0, 0);
    while first < batch.len() {
        let end = wanted::end_of(batch, first);
        if wanted(batch, first, end) {
            (first..end).for_each(|i| mask |= 1 << i);
        } else {
            gone += 1;
        }
        first = end;
    }
    if gone > 0 {
        batch.retain(mask);
    }
    gone
}
