//! What send and receive queues have in common: states, geometry, stamps.
//!
//! ```text
//!              RST --(counters 0, record read)--> RDY
//!               ^                                  | error, or told so
//!               '-------------- ERR <--------------'   what is posted is flushed
//! ```

use super::super::super::{Board, Picos};
use super::clock::Clock;
use super::limits::Limits;
use super::spec::WqSpec;
use super::{Outcome, Status};

/// States of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does nothing.
    Reset,
    /// It works.
    Ready,
    /// It failed; what is posted is completed as flushed.
    Error,
}

impl State {
    /// By number.
    pub fn of(number: u8) -> Option<State> {
        Some(match number {
            0 => State::Reset,
            1 => State::Ready,
            3 => State::Error,
            _ => return None,
        })
    }

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            State::Reset => 0,
            State::Ready => 1,
            State::Error => 3,
        }
    }

    /// The state after a command that takes it to be `from` and wants it to be `to`.
    pub fn change(self, from: u8, to: u8) -> Outcome<State> {
        if State::of(from) != Some(self) {
            return Err(Status::BAD_QUEUE_STATE);
        }
        match (self, State::of(to)) {
            (_, None) => Err(Status::BAD_PARAMETER),
            (State::Error, Some(State::Ready)) | (State::Reset, Some(State::Error)) => Err(Status::BAD_QUEUE_STATE),
            (_, Some(state)) => Ok(state),
        }
    }
}

/// What firmware adds where the format of stamps is none that the card has.
const BAD_STAMPS: u32 = 0x43_d98f;

/// Whether stamps may have that form: 0 free-running, 1 as the card does, 2 time of day.
/// What a card can is numbered otherwise: 0 free-running, 1 time of day, 2 both.
pub fn check_stamps(format: u8, can: u8) -> Outcome<()> {
    let fine = match (format, can) {
        (0, 0 | 2) | (2, 1 | 2) => true,
        (1, _) => can != 0,
        _ => false,
    };
    if fine { Ok(()) } else { Err(Status::BAD_PARAMETER.with(BAD_STAMPS)) }
}

/// A stamp in a queue's format.
#[inline]
pub fn stamp(clock: &Clock, format: u8, can: u8, at: Picos) -> u64 {
    let real = format == 2 || format == 1 && can == 1;
    if real { clock.real(at) } else { clock.ticks(at) }
}

/// Whether a work queue's ring is one that there can be.
pub fn check_wq(wq: &WqSpec, limits: &Limits, least_stride: u8, most_stride: u8) -> Outcome<()> {
    let (size, stride) = (wq.place.log_size, wq.log_stride);
    if size > limits.log_wq {
        return Err(Status::EXCEEDS_LIMIT);
    }
    let fits = (least_stride..=most_stride).contains(&stride) && wq.record.is_multiple_of(4);
    if !fits || wq.signed || wq.umem || wq.aligns_end && !limits.end_pad {
        return Err(Status::BAD_PARAMETER);
    }
    Ok(())
}

/// Flushing of what was posted to a queue that failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flush {
    due: Picos,
}

impl Flush {
    /// Begins: at once, or over some tens of milliseconds (nasty).
    pub fn start(board: &mut Board) -> Flush {
        Flush { due: board.now }.next(board)
    }

    /// The next entry.
    pub fn next(self, board: &mut Board) -> Flush {
        const TRICKLE: Picos = 3_000_000_000;
        let wait = if board.nasty { board.random.below(TRICKLE) } else { 0 };
        Flush { due: board.now + wait }
    }

    /// Whether an entry is due.
    pub fn is_due(self, now: Picos) -> bool {
        self.due <= now
    }
}
