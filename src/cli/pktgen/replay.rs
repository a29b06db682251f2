//! A recording on its way out, over and over.

use super::facts::Facts;
use super::feed::{Feed, File, Known, Next, Part};
use crate::error::{Error, Kind, Result};
use std::path::Path;

/// Frames that have times of their own.
pub trait Timed {
    /// The frame at hand and when it is due, in ns from the start. None if there are no more,
    /// or if the next was not read yet.
    fn peek(&mut self) -> Option<(&[u8], u64)>;

    /// Goes on to the next frame.
    fn step(&mut self);
}

/// A recording, and how far it is.
pub struct Replay {
    feed: Feed,
    /// The part at hand, and the next packet of it.
    part: Part,
    next: usize,
    /// Times through that are left after this one; `None` is without end.
    loops: Option<u64>,
    /// When the first packet of this time through leaves, ns from the start.
    base: u64,
    /// Packets of this time through so far, and when the last of them leaves, ns from its start.
    round: (u64, u64),
    /// Whether it is the first.
    first: bool,
    over: bool,
    known: Known,
    /// What the first time through was of.
    met: Facts,
}

impl Replay {
    /// The file at `path`, or standard input if that is `-`, `loops` times; 0 is without end.
    /// Gaps are at most `max_gap` ns long. If `whole` all of it must be known before.
    ///
    /// # Errors
    /// If there is no packet that could be sent, or what reading meets.
    pub fn open(path: &Path, loops: u64, max_gap: u64, whole: bool) -> Result<Self> {
        let regular = path != Path::new("-") && path.metadata().is_ok_and(|file| file.is_file());
        Self::new(File::at(path, max_gap)?, loops, whole, regular)
    }

    /// The same of any file, which can be read again if it is `regular`.
    ///
    /// # Errors
    /// As [`Replay::open`].
    pub fn new(file: File, loops: u64, whole: bool, regular: bool) -> Result<Self> {
        let (feed, known) = Feed::new(file, loops, whole, regular)?;
        if known.facts.sent == 0 && known.whole {
            let mut why = known.facts.left_out();
            why.extend(known.facts.damage.clone());
            let why = if why.is_empty() { "it is empty".to_string() } else { why.join("; ") };
            return Err(Error::new(Kind::Usage, format!("there is no packet to send in the recording: {why}")));
        }
        let mut replay = Replay {
            feed,
            part: Part::default(),
            next: 0,
            loops: loops.checked_sub(1),
            base: 0,
            round: (0, 0),
            first: true,
            over: false,
            known,
            met: Facts::default(),
        };
        let Replay { feed, part, .. } = &mut replay;
        // The part that it has before the first is none.
        *part = feed.first();
        replay.take();
        Ok(replay)
    }

    /// What is known of it before the run.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// What was met in the first time through, as far as it went.
    pub fn into_met(self) -> Facts {
        self.met
    }

    /// Whether it ends by itself.
    pub fn ends(&self) -> bool {
        self.loops.is_some()
    }

    /// Whether all of it was recorded at one moment, so that going round as recorded
    /// would be at no rate. Of what is not in memory only the beginning is looked at.
    pub fn is_momentary(&self) -> bool {
        self.known.facts.end == 0
    }

    /// Whether all was sent.
    pub fn is_over(&mut self) -> bool {
        self.peek().is_none() && self.over
    }

    /// Whether the next packet was not read yet.
    pub fn is_late(&mut self) -> bool {
        self.peek().is_none() && !self.over
    }

    /// Goes on to the next part with packets; false if there is none.
    #[cold]
    fn turn(&mut self) -> bool {
        while self.next == self.part.packets.len() {
            let ends = self.part.last;
            self.over |= ends && self.loops == Some(0);
            if self.over {
                return false;
            }
            match self.feed.next(&mut self.part) {
                Next::Late => return false,
                Next::End => self.over = true,
                Next::Part => {
                    if ends {
                        // The pause before the next time through is the mean pause.
                        let (sent, end) = self.round;
                        let pause = end / sent.saturating_sub(1).max(1);
                        self.base = self.base.saturating_add(end).saturating_add(pause);
                        self.loops = self.loops.map(|loops| loops - 1);
                        (self.round, self.first) = ((0, 0), false);
                    }
                    self.take();
                }
            }
        }
        true
    }

    /// There is another part at hand.
    fn take(&mut self) {
        self.next = 0;
        let facts = &self.part.facts;
        self.round = (self.round.0 + facts.sent, facts.end);
        if self.first || self.part.facts.lost.is_some() {
            self.met.add(&self.part.facts);
        }
        let (sent, before) = (self.round.0, if self.known.whole { self.known.facts.sent } else { self.met.sent });
        if self.part.last && self.met.lost.is_none() && sent != before {
            self.met.lost = Some(format!("it changed meanwhile, from {before} packets to {sent}"));
        }
    }
}

impl Timed for Replay {
    #[inline]
    fn peek(&mut self) -> Option<(&[u8], u64)> {
        if self.next == self.part.packets.len() && !self.turn() {
            return None;
        }
        let packet = self.part.packets.packet(self.next);
        Some((packet.bytes, self.base.saturating_add(packet.time as u64)))
    }

    #[inline]
    fn step(&mut self) {
        self.next += 1;
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
