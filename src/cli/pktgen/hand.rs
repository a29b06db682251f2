//! What was made and waits for its moment, or for its ring.

use super::due::Due;
use super::replay::Timed;
use super::traffic::Traffic;
use crate::dma::{BUFFER_SIZE, Batch};
use crate::measure::{Clock, Ticks};

/// The frames of a batch.
#[derive(Debug, Default)]
pub struct Hand {
    /// How many, of which jumbo frames take several entries.
    pub made: u64,
    /// Bytes of them, without FCS.
    pub bytes: u64,
    /// When the first of them is due.
    pub due: Ticks,
    /// Whether the ring has taken any.
    pub begun: bool,
}

impl Hand {
    /// Fills `batch`, which is empty, with up to `most` frames: all that are due at `now`, or
    /// those that are due next. None if there are none left, or no buffers.
    ///
    /// The time in a frame is that at which it is to leave: its place, or now if that has
    /// passed.
    #[inline]
    pub fn fill(
        traffic: &mut Traffic,
        batch: &mut Batch<'_>,
        due: &mut Due,
        [now, most]: [u64; 2],
        clock: &Clock,
        scratch: &mut [u8],
    ) -> Hand {
        let mut hand = Hand::default();
        match traffic {
            Traffic::Built(builder) => {
                due.catch_up(now, 0);
                hand.due = due.next(0);
                let moment = hand.due.max(now);
                let time = clock.wall_ns(moment);
                while hand.made < most && due.next(0) <= moment {
                    let len = builder.next_len();
                    if len <= BUFFER_SIZE {
                        let Some(frame) = batch.push(len) else { break };
                        builder.write(frame, time);
                    } else {
                        let parts = len.div_ceil(BUFFER_SIZE);
                        if parts > batch.room() || parts > batch.pool().available() {
                            break;
                        }
                        builder.write(&mut scratch[..len], time);
                        batch.push_frame(&scratch[..len]);
                    }
                    hand.count(len, due);
                }
            }
            Traffic::Replay(replay) => hand.take(&mut **replay, batch, due, [now, most]),
            Traffic::Listed(listed) => {
                due.pass(&mut **listed, due.in_time(now));
                hand.take(&mut **listed, batch, due, [now, most]);
            }
        }
        hand
    }

    /// Fills `batch` with frames that have times of their own.
    #[inline]
    fn take(&mut self, frames: &mut impl Timed, batch: &mut Batch<'_>, due: &mut Due, [now, most]: [u64; 2]) {
        let mut moment = now;
        while self.made < most {
            let Some((frame, ns)) = frames.peek() else { break };
            if self.made == 0 {
                due.catch_up(now, ns);
                self.due = due.next(ns);
                moment = self.due.max(now);
            }
            if due.next(ns) > moment || !batch.push_frame(frame) {
                break;
            }
            let len = frame.len();
            frames.step();
            self.count(len, due);
        }
    }

    #[inline]
    fn count(&mut self, len: usize, due: &mut Due) {
        self.made += 1;
        self.bytes += len as u64;
        due.made();
    }
}
