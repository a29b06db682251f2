//! The loop: a plug that leads what is sent back to its sender.

use super::{Fate, FrameQueue, Note, Picos, Wire};

/// Bytes on their way round. A MAC that receives at all never lets more than
/// its packet buffer (512 KiB) wait.
const ROOM: usize = 1 << 20;

/// A loopback plug. What is sent comes back.
#[derive(Debug)]
pub struct Loop {
    queue: FrameQueue,
    pause: bool,
    lost: u64,
}

impl Loop {
    /// A plug. With `pause` the port honours the pause frames that it sends
    /// itself: nothing is lost, but a sender that does not receive comes to a
    /// halt. Without, frames that nobody receives are lost.
    pub fn new(pause: bool) -> Self {
        Loop { queue: FrameQueue::new(ROOM), pause, lost: 0 }
    }
}

impl Wire for Loop {
    #[inline]
    fn send(&mut self, frame: &[u8], at: Picos) -> bool {
        let taken = self.queue.push(frame, at);
        self.lost += u64::from(!taken && !self.pause);
        taken || !self.pause
    }

    #[inline]
    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        self.queue.front().filter(|&(_, at)| at <= now)
    }

    #[inline]
    fn advance(&mut self) {
        self.queue.pop();
    }

    fn carrier(&self) -> bool {
        true
    }

    fn waits(&self) -> bool {
        self.pause
    }

    fn report(&mut self) -> Vec<Note> {
        vec![Note::new(Fate::LostOut, "loop_full", "lost in the loop, which was full", self.lost)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_comes_back_when_its_last_bit_has_left() {
        let mut wire = Loop::new(false);
        assert!(wire.send(b"one", 100));
        assert!(wire.send(b"two", 200));
        assert_eq!(wire.peek(99), None);
        assert_eq!(wire.peek(150), Some((&b"one"[..], 100)));
        wire.advance();
        assert_eq!(wire.peek(150), None);
        assert_eq!(wire.peek(200), Some((&b"two"[..], 200)));
    }

    #[test]
    fn a_loop_that_nobody_empties_pauses_or_loses_as_asked() {
        let (mut pausing, mut losing) = (Loop::new(true), Loop::new(false));
        let frame = [0; 1024];
        let taken = |wire: &mut Loop| (0..2000).filter(|&at| wire.send(&frame, at)).count();
        assert_eq!(taken(&mut pausing), 1024);
        assert_eq!(taken(&mut losing), 2000);
        assert_eq!((losing.report()[0].frames, pausing.report()[0].frames), (976, 0));
        assert!(pausing.waits() && !losing.waits());
    }
}
