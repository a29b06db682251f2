//! The peer: a crossover between two ports of one engine.

use super::lane::{CONTROL, Reader, Writer};
use super::{Fate, Note, Picos, Wire};
use crate::error::{Error, Result};
use memmap2::{MmapMut, MmapRaw};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes on their way, each direction; after that, pause.
const ROOM: usize = 1 << 20;

/// A lane with its control page.
const LANE: usize = CONTROL + ROOM;

/// The crossover itself: two sockets, each for one [`Peer`].
#[derive(Clone)]
pub struct Crossover {
    map: Arc<MmapRaw>,
    /// Whether each socket is taken.
    taken: Arc<[AtomicBool; 2]>,
}

/// What is plugged into a socket of a [`Crossover`]. Nothing is lost: a port
/// that does not receive makes the other pause.
pub struct Peer {
    send: Writer,
    receive: Reader,
    socket: usize,
    crossover: Crossover,
    unheard: u64,
}

impl Crossover {
    /// A crossover with nothing plugged in.
    ///
    /// # Errors
    /// [`Kind::Memory`](crate::Kind::Memory) if there is none.
    pub fn new() -> Result<Self> {
        let map = MmapMut::map_anon(2 * LANE).map_err(|e| Error::memory("mapping memory for a wire", e))?;
        Ok(Crossover { map: Arc::new(map.into()), taken: Arc::default() })
    }

    /// Plugs into a free socket, if there is one.
    pub fn plug(&self) -> Option<Peer> {
        let socket = self.taken.iter().position(|taken| !taken.swap(true, Ordering::AcqRel))?;
        Some(Peer {
            send: Writer::new(&self.map, socket * LANE, ROOM),
            receive: Reader::new(&self.map, (1 - socket) * LANE, ROOM),
            socket,
            crossover: self.clone(),
            unheard: 0,
        })
    }
}

impl Wire for Peer {
    #[inline]
    fn send(&mut self, frame: &[u8], at: Picos) -> bool {
        if !self.carrier() {
            self.unheard += 1;
            return true;
        }
        // Both ends are of this process: a lane of theirs is never torn.
        self.send.push(frame, at) != Ok(false)
    }

    #[inline]
    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        self.receive.front().ok().flatten().filter(|&(_, at)| at <= now)
    }

    #[inline]
    fn advance(&mut self) {
        self.receive.pop();
    }

    /// What the other end sent before it left still arrives.
    fn carrier(&self) -> bool {
        self.receive.is_lit(&self.crossover.taken[1 - self.socket])
    }

    fn waits(&self) -> bool {
        true
    }

    fn report(&mut self) -> Vec<Note> {
        vec![Note::new(Fate::LostOut, "nobody_there", "sent while nobody was at the other end", self.unheard)]
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.crossover.taken[self.socket].store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_sends_the_other_receives_in_time() {
        let crossover = Crossover::new().unwrap();
        let mut a = crossover.plug().unwrap();
        assert!(!a.carrier(), "no light before the other end is plugged in");
        let mut b = crossover.plug().unwrap();
        assert!(a.carrier() && b.carrier() && crossover.plug().is_none());
        assert!(a.send(b"to b", 10) && b.send(b"to a", 20));
        assert_eq!(b.peek(9), None);
        assert_eq!(b.peek(10), Some((&b"to b"[..], 10)));
        assert_eq!(a.peek(20), Some((&b"to a"[..], 20)));
        b.advance();
        assert_eq!(b.peek(100), None);
    }

    #[test]
    fn an_end_that_leaves_takes_the_light_with_it_but_not_its_frames() {
        let crossover = Crossover::new().unwrap();
        let (mut a, mut b) = (crossover.plug().unwrap(), crossover.plug().unwrap());
        a.send(b"last", 1);
        drop(a);
        assert!(b.carrier());
        assert_eq!(b.peek(1), Some((&b"last"[..], 1)));
        b.advance();
        assert!(!b.carrier());
        let again = crossover.plug().unwrap();
        assert!(b.carrier() && again.carrier());
    }

    #[test]
    fn a_port_that_does_not_receive_pauses_the_other() {
        let crossover = Crossover::new().unwrap();
        let (mut a, mut b) = (crossover.plug().unwrap(), crossover.plug().unwrap());
        let sent = (0..).take_while(|&at| a.send(&[0; 1500], at)).count();
        assert!(sent > 600, "{sent}");
        assert!(b.peek(u64::MAX).is_some());
        b.advance();
        b.advance();
        assert!(b.peek(u64::MAX).is_some());
        b.advance();
        assert!(a.send(&[0; 1500], 0));
    }
}
