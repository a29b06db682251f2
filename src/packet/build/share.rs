//! Frames of one recipe by several builders.
//!
//! ```text
//!   alone          0 1 2 3 4 5 6 7 8 9
//!   2, runs of 2   0 1     4 5     8 9
//!                      2 3     6 7
//! ```

use super::Builder;

/// Which frames of all a builder writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Frames that follow one another.
    pub(super) run: u64,
    /// How many of them are left.
    pub(super) left: u64,
    /// Frames of others between two runs, ...
    pub(super) away: u64,
    /// ... and how many sizes further and random numbers later that is.
    pub(super) turns: usize,
    pub(super) draws: u64,
}

impl Share {
    /// All of them.
    pub(super) const ALL: Share = Share { run: u64::MAX, left: u64::MAX, away: 0, turns: 0, draws: 0 };
}

impl Builder {
    /// Of runs of `run` frames each, only every `among`-th from number `first` on. Builders
    /// with a share each write together, byte for byte but for the time, the frames that one
    /// of the same recipe writes alone.
    #[must_use]
    pub fn share(mut self, first: u64, among: u64, run: u64) -> Self {
        self.set_leap(run.wrapping_mul(first));
        self.leap();
        if among > 1 {
            self.set_leap(run.wrapping_mul(among - 1));
            (self.share.run, self.share.left) = (run.max(1), run.max(1));
        }
        self
    }

    /// Works out what [`Builder::leap`] does, so that it divides nothing.
    fn set_leap(&mut self, frames: u64) {
        let mut draws = 0;
        for field in &mut self.fields {
            field.leap = field.after(frames);
            draws += u64::from(field.step.is_none());
            if let Some(wide) = &mut field.wide {
                wide.set_leap(frames);
                draws += wide.draws();
            }
        }
        let turns = (frames % self.order.len() as u64) as usize;
        self.share = Share { away: frames, turns, draws: frames.wrapping_mul(draws), ..self.share };
    }

    /// Steps over the frames of others. Not in line: a builder that writes all
    /// frames would save registers for it.
    #[cold]
    #[inline(never)]
    pub(super) fn leap(&mut self) {
        self.turn += self.share.turns;
        if self.turn >= self.order.len() {
            self.turn -= self.order.len();
        }
        for field in &mut self.fields {
            field.leap(field.leap);
            if let Some(wide) = &mut field.wide {
                wide.leap();
            }
        }
        self.random.skip(self.share.draws);
        self.sequence = self.sequence.wrapping_add(self.share.away);
        self.share.left = self.share.run;
    }
}
