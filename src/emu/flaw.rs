//! What can go wrong with the frames of any card: faults of its silicon or its wire.
//!
//! ```text
//!   wire or inner loop --> lost? held? --> [ held ] --> the model, with a time of its own
//! ```

use super::wire::{Fate, FrameQueue, Note};
use super::{At, Fault, FaultKind, Picos};

/// Bytes of frames that are held.
const HELD: usize = 1 << 20;

/// Where a clock begins that runs backwards: an hour.
const BACK_FROM: Picos = 3_600_000_000_000_000;

/// A fault of frames, and the frames that it holds.
pub struct Flaw {
    kind: FaultKind,
    number: u32,
    count: u32,
    /// Frames that it took away.
    lost: u64,
    held: FrameQueue,
    /// How many of them may be received.
    free: usize,
    /// When the first one came since a reset.
    first: Option<Picos>,
}

impl Flaw {
    /// That of a card with this fault, if it is one of frames.
    pub fn of(fault: Option<Fault>) -> Option<Box<Flaw>> {
        let fault = fault?;
        // What a number stands for that is not given.
        let usual = match fault.kind {
            FaultKind::Held => 2,
            FaultKind::LoseEach => 100,
            FaultKind::LoseLong => 1500,
            FaultKind::SendStuck => 1,
            FaultKind::HoldLast | FaultKind::ClockBack | FaultKind::ClockSlow => 0,
            _ => return None,
        };
        let number = fault.at.map_or(usual, At::number);
        let held = FrameQueue::new(HELD);
        Some(Box::new(Flaw { kind: fault.kind, number, count: 0, lost: 0, held, free: 0, first: None }))
    }

    /// Whether a frame that is to be sent stays in the card for ever.
    pub fn keeps(&mut self) -> bool {
        let stuck = self.kind == FaultKind::SendStuck && self.count + 1 >= self.number;
        self.count += u32::from(self.kind == FaultKind::SendStuck && !stuck);
        stuck
    }

    /// A frame has come at this time; false if there is no room for it now.
    pub fn take(&mut self, frame: &[u8], at: Picos) -> bool {
        let lost = match self.kind {
            FaultKind::LoseEach => (self.count + 1).is_multiple_of(self.number),
            FaultKind::LoseLong => frame.len() > self.number as usize,
            _ => false,
        };
        let at = match self.kind {
            FaultKind::ClockBack => BACK_FROM.saturating_sub(at),
            // A clock was set before the first frame came: no stamp is of a time before that.
            FaultKind::ClockSlow => {
                let first = *self.first.get_or_insert(at);
                first + at.saturating_sub(first) / 2
            }
            _ => at,
        };
        if !lost && !self.held.push(frame, at) {
            return false;
        }
        self.lost += u64::from(lost);
        self.count = self.count.wrapping_add(1);
        match self.kind {
            FaultKind::Held if self.held.len() < self.number as usize => {}
            FaultKind::HoldLast => self.free = self.held.len().saturating_sub(1),
            _ => self.free = self.held.len(),
        }
        true
    }

    /// What it has taken away so far, if anything: no driver meets that.
    pub fn note(&self) -> Option<Note> {
        let (key, words) = match self.kind {
            FaultKind::LoseEach => ("fault_lose_each", "received packets were lost (fault=lose-each)"),
            FaultKind::LoseLong => ("fault_lose_long", "long received packets were lost (fault=lose-long)"),
            _ => return None,
        };
        (self.lost > 0).then(|| Note::new(Fate::Faulted, key, words, self.lost))
    }

    /// The frame that may be received next.
    pub fn front(&self) -> Option<(&[u8], Picos)> {
        if self.free == 0 { None } else { self.held.front() }
    }

    /// It was received, or lost.
    pub fn pop(&mut self) {
        self.held.pop();
        self.free = self.free.saturating_sub(1);
    }

    /// Forgets what is held, and when it began.
    pub fn empty(&mut self) {
        while !self.held.is_empty() {
            self.held.pop();
        }
        (self.free, self.first) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> Flaw {
        let spec: super::super::Spec = format!("82599,fault={text}").parse().unwrap();
        *Flaw::of(spec.fault).unwrap()
    }

    /// Lengths of what comes through of frames of these lengths, and the times of it.
    fn through(flaw: &mut Flaw, lengths: &[usize]) -> Vec<(usize, Picos)> {
        let mut out = Vec::new();
        for (&len, n) in lengths.iter().zip(1..) {
            assert!(flaw.take(&vec![0; len], 1000 * n));
            while let Some((frame, at)) = flaw.front() {
                out.push((frame.len(), at));
                flaw.pop();
            }
        }
        out
    }

    fn lengths(flaw: &mut Flaw, given: &[usize]) -> Vec<usize> {
        through(flaw, given).into_iter().map(|(len, _)| len).collect()
    }

    #[test]
    fn frames_are_held_until_there_are_as_many_as_it_says() {
        let mut two = flaw("held");
        assert!(lengths(&mut two, &[60]).is_empty());
        assert_eq!(lengths(&mut two, &[61, 62]), [60, 61]);
        assert_eq!(lengths(&mut flaw("held:3"), &[60, 61, 62, 63]), [60, 61, 62]);
        two.empty();
        assert!(lengths(&mut two, &[70]).is_empty());
    }

    #[test]
    fn the_last_frame_is_held_until_another_one_comes() {
        let mut last = flaw("hold-last");
        assert!(lengths(&mut last, &[60]).is_empty());
        assert_eq!(lengths(&mut last, &[61, 62, 63]), [60, 61, 62]);
        last.empty();
        assert!(lengths(&mut last, &[70]).is_empty());
    }

    #[test]
    fn each_so_many_th_and_all_that_are_longer_are_lost() {
        assert_eq!(lengths(&mut flaw("lose-each:3"), &[60, 61, 62, 63, 64, 65, 66]), [60, 61, 63, 64, 66]);
        let mut long = flaw("lose-long");
        assert_eq!(lengths(&mut long, &[1500, 1501, 60]), [1500, 60]);
        assert_eq!(long.note().map(|note| note.frames), Some(1));
        assert_eq!(lengths(&mut flaw("lose-long:99"), &[100, 99]), [99]);
    }

    #[test]
    fn a_clock_runs_backwards_or_at_half_its_rate() {
        let back = through(&mut flaw("clock-back"), &[60, 60]);
        assert_eq!(back[0].1 - back[1].1, 1000);
        let slow = through(&mut flaw("clock-slow"), &[60, 60]);
        assert_eq!((slow[0].1, slow[1].1 - slow[0].1), (1000, 500));
    }

    #[test]
    fn nothing_is_sent_from_the_frame_on_that_it_says() {
        let mut stuck = flaw("send-stuck:3");
        assert_eq!([stuck.keeps(), stuck.keeps(), stuck.keeps(), stuck.keeps()], [false, false, true, true]);
        assert!(!flaw("held").keeps());
    }
}
