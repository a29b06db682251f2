//! Impairments between two ports: what a bad wire does, done by the lane.
//!
//! ```text
//!   batch --take--> [lose, limit, double, spoil, swap, delay] --release, when due--> batch
//! ```
//!
//! It is the same that the wires of emulated cards do ([`crate::emu::wire`]), with the same
//! words, and on any card: frames are copied into memory of its own and out of it.

use crate::cli::session::NOMINAL_SPEED;
use crate::cli::wanted::end_of;
use crate::dma::{BATCH_MAX, BUFFER_SIZE, Batch};
use crate::emu::wire::{IMPAIRMENTS, Impairing, Impairment, Seeded};
use crate::error::{Error, Kind, Result};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What is asked for, and of which port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The port that frames come in by, none for all that are not named.
    port: Option<usize>,
    how: Seeded,
}

impl FromStr for Asked {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (port, words) = match text.split_once(':') {
            Some((port, words)) => {
                let letter = port.bytes().next().filter(|letter| port.len() == 1 && letter.is_ascii_alphabetic());
                let wrong = || {
                    let line = format!("'{port}' is not the letter of a port; write A:loss=1%, or loss=1% for all");
                    Error::new(Kind::Usage, line)
                };
                (Some(usize::from(letter.ok_or_else(wrong)?.to_ascii_uppercase() - b'A')), words)
            }
            None => (None, text),
        };
        Ok(Asked { port, how: words.parse()? })
    }
}

/// Refuses what is asked twice of a port, or of one of more than `ports`.
///
/// # Errors
/// [`Kind::Usage`].
pub fn check(asked: &[Asked], ports: usize) -> Result<()> {
    for (n, one) in asked.iter().enumerate() {
        let whose = one.port.map_or("all ports".into(), |port| format!("port {}", super::report::letter(port)));
        if asked[..n].iter().any(|other| other.port == one.port) {
            return Err(Error::new(
                Kind::Usage,
                format!("--impair is given twice for {whose}; join the words with commas"),
            ));
        }
        if one.port.is_some_and(|port| port >= ports) {
            let line = format!("--impair names {whose}, and there are {ports} ports; name one of them");
            return Err(Error::new(Kind::Usage, line));
        }
    }
    Ok(())
}

/// What is to be done to what comes by `port`, queue `queue`, of a link of `speed` bits a
/// second.
pub fn of(asked: &[Asked], port: usize, queue: usize, speed: u64) -> Option<Impaired> {
    let own = asked.iter().find(|one| one.port == Some(port));
    let Asked { how, .. } = own.or_else(|| asked.iter().find(|one| one.port.is_none()))?;
    // Each queue has chances of its own.
    let seed = how.seed ^ ((port as u64) << 48 | (queue as u64) << 32);
    Some(Impaired::new(how.what, seed, speed))
}

/// Most memory for frames that are delayed.
const MOST: u128 = 1 << 30;

/// Frames on their way through.
pub struct Impaired {
    way: Impairing,
    /// What time is counted from, in picoseconds.
    origin: Instant,
    /// A frame of several buffers in one piece.
    whole: Vec<u8>,
}

/// What an impairment did, for another thread to read: as [`IMPAIRMENTS`], and what it holds.
#[derive(Debug, Default)]
pub struct Counts {
    /// By kind.
    pub done: [AtomicU64; IMPAIRMENTS.len()],
    /// Frames that have not come out.
    pub held: AtomicU64,
}

impl Impaired {
    fn new(what: Impairment, seed: u64, speed: u64) -> Self {
        let speed = if speed == 0 { NOMINAL_SPEED } else { speed };
        // What a link brings in that time, twice: memory is taken when it is used.
        let bytes = u128::from(what.delay + what.jitter) * u128::from(speed) / 4_000_000_000_000;
        let room = usize::try_from(bytes.min(MOST)).unwrap_or(0);
        Impaired { way: Impairing::new(what, seed, room), origin: Instant::now(), whole: Vec::new() }
    }

    /// Whether another batch can be taken.
    pub fn has_room(&self) -> bool {
        self.way.has_room_for(BATCH_MAX * BUFFER_SIZE)
    }

    /// Whether frames have not come out.
    pub fn holds(&self) -> bool {
        !self.way.is_empty()
    }

    /// Takes the frames of `batch`; there is room for them ([`Impaired::has_room`]).
    pub fn take(&mut self, batch: &mut Batch<'_>) {
        let now = self.now();
        let mut first = 0;
        while first < batch.len() {
            let end = end_of(batch, first);
            if end - first == 1 {
                self.way.pass(batch.frame(first), now);
            } else {
                self.whole.clear();
                (first..end).for_each(|i| self.whole.extend_from_slice(batch.frame(i)));
                self.way.pass(&self.whole, now);
            }
            first = end;
        }
        batch.clear();
    }

    /// Puts what is due into the empty `batch`; how many frames that are.
    pub fn release(&mut self, batch: &mut Batch<'_>) -> u64 {
        let now = self.now();
        // A frame of several buffers goes whole, however short batches are to be.
        batch.set_limit(BATCH_MAX);
        let mut released = 0;
        while let Some((frame, _)) = self.way.due(now) {
            if !batch.push_frame(frame) {
                break;
            }
            self.way.pop();
            released += 1;
        }
        released
    }

    /// Tells what it has done so far.
    pub fn tell(&self, counts: &Counts) {
        for (count, done) in counts.done.iter().zip(self.way.counts()) {
            count.store(done, Ordering::Relaxed);
        }
        counts.held.store(self.way.len() as u64, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX / 2000).saturating_mul(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Pool};

    #[test]
    fn words_may_be_for_a_port_and_nonsense_is_refused() {
        let asked = |text: &str| text.parse::<Asked>();
        assert_eq!(asked("b:loss=1%").unwrap().port, Some(1));
        assert_eq!(asked("loss=1%,seed=4").unwrap().port, None);
        for text in ["", ":loss=1%", "AB:loss=1%", "1:loss=1%", "A:", "A:lose=1%"] {
            assert_eq!(asked(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        let list = |texts: &[&str]| texts.iter().map(|text| asked(text).unwrap()).collect::<Vec<_>>();
        assert!(check(&list(&["loss=1%", "A:dup=1%", "B:dup=1%"]), 2).is_ok());
        assert!(check(&list(&["A:loss=1%", "A:dup=1%"]), 2).is_err() && check(&list(&["C:loss=1%"]), 2).is_err());
        let both = list(&["loss=100%", "B:delay=1us"]);
        let lost = |port| {
            let mut impaired = of(&both, port, 0, 0).unwrap();
            impaired.way.pass(&[0; 60], 0);
            impaired.way.counts()[0]
        };
        assert_eq!([lost(0), lost(1)], [1, 0], "the port's own come before those of all");
        assert!(of(&list(&["B:loss=1%"]), 0, 0, 0).is_none());
    }

    #[test]
    fn frames_of_every_length_come_out_as_they_went_in_and_in_order() {
        let pool = Pool::new(256, Addressing::Translated).unwrap();
        let all = pool.available();
        let mut impaired = Impaired::new(Impairment::default(), 0, 0);
        let frames: Vec<Vec<u8>> = [60, 2048, 2049, 9216, 61].iter().map(|&len| vec![len as u8; len]).collect();
        let mut batch = Batch::with_limit(&pool, 8);
        let (mut next, mut got) = (0, Vec::new());
        while got.len() < frames.len() {
            while next < frames.len() && batch.push_frame(&frames[next]) {
                next += 1;
            }
            impaired.take(&mut batch);
            assert!(batch.is_empty());
            impaired.release(&mut batch);
            let mut first = 0;
            while first < batch.len() {
                let end = end_of(&batch, first);
                got.push((first..end).flat_map(|i| batch.frame(i).to_vec()).collect::<Vec<u8>>());
                first = end;
            }
            batch.clear();
            batch.set_limit(8);
        }
        assert!(got == frames && !impaired.holds());
        drop(batch);
        assert_eq!(pool.available(), all);
    }

    #[test]
    fn it_holds_as_much_as_a_delay_brings_and_then_has_no_room() {
        let pool = Pool::new(256, Addressing::Translated).unwrap();
        let mut impaired = Impaired::new(Impairment { delay: 1_000_000_000_000, ..Impairment::default() }, 0, 1);
        let mut batch = Batch::new(&pool);
        let mut taken = 0;
        while impaired.has_room() {
            (0..BATCH_MAX).for_each(|_| assert!(batch.push_frame(&[0; 1500])));
            impaired.take(&mut batch);
            taken += BATCH_MAX as u64;
        }
        let counts = Counts::default();
        impaired.tell(&counts);
        assert!(taken > 2000 && counts.held.load(Ordering::Relaxed) == taken, "{taken}");
        assert_eq!(impaired.release(&mut batch), 0, "nothing is due");
    }
}
