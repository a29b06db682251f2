//! Whose turn it is to send: the transmit queues of a card, one after another.
//!
//! ```text
//!   queue at turn --look--> doorbell --fetch--> a packet --emit--> frames to the MAC
//!        ^                                  up to STEP of them         |
//!        '--- the next queue, or this one again if the wire is full ---'
//! ```
//!
//! A packet that the wire has no time for yet stays where it is, half sent
//! perhaps, and goes on in the next step before any other. That counts as work:
//! nothing but the next step gets it on its way again, and it may be due in less
//! time than a nap takes.

use super::STEP;

/// What is at a queue's head.
pub enum Next {
    /// Nothing, or a packet without its end.
    Nothing,
    /// A packet whose time has not come.
    Later,
    /// A packet, which is on its way from now on.
    Packet,
    /// Something that is not sent was passed over.
    Other,
}

/// The transmit queues that are on, and the packet on its way.
#[derive(Default)]
pub struct Turns {
    active: Vec<u16>,
    /// Whose turn it is among them.
    at: usize,
    /// A packet was fetched, and not all of it has left.
    pub busy: bool,
    /// The queue that was fetched from last.
    pub queue: u16,
}

impl Turns {
    /// A queue is on.
    pub fn start(&mut self, queue: u16) {
        self.active.push(queue);
    }

    /// A queue is off, and its packet is gone.
    pub fn stop(&mut self, queue: u16) {
        self.active.retain(|active| *active != queue);
        self.busy &= self.queue != queue;
    }

    /// These queues are on, and no others.
    pub fn restart(&mut self, queues: impl Iterator<Item = u16>) {
        self.active.clear();
        self.active.extend(queues);
    }

    /// The queues that are on.
    #[inline]
    pub fn active(&self) -> &[u16] {
        &self.active
    }
}

/// A card with transmit queues.
pub trait Transmitter {
    /// Its queues.
    fn turns(&mut self) -> &mut Turns;

    /// Looks at a queue's doorbell.
    fn look(&mut self, queue: u16);

    /// Gathers the packet at a queue's head.
    fn fetch(&mut self, queue: u16) -> Next;

    /// Sends the frames of the packet on its way, or what is left of them; false
    /// if the wire has no time.
    fn emit(&mut self) -> bool;

    /// After `work` packets and the like: reports and interrupts. The wire may be
    /// `full`, for as long as its other end pauses it: packets that were sent do
    /// not wait for the next one.
    fn finish(&mut self, work: usize, full: bool);
}

/// Sends what the doorbells announced, as far as the wire has time; how many
/// packets and other descriptors that were, and one that waits for the wire.
#[inline]
pub fn transmit(card: &mut impl Transmitter) -> usize {
    let queues = card.turns().active.len();
    if queues == 0 {
        return 0;
    }
    let mut work = 0;
    if card.turns().busy {
        if !card.emit() {
            card.finish(0, true);
            return 1;
        }
        work += 1;
    }
    let first = card.turns().at;
    for turn in 0..queues {
        let at = (first + turn) % queues;
        // A queue that fails leaves the list at once: the others' turn comes in the next step.
        let Some(&queue) = card.turns().active.get(at) else { break };
        card.look(queue);
        for _ in 0..STEP {
            match card.fetch(queue) {
                Next::Nothing => break,
                // Work, as nothing but a later step gets it on its way.
                Next::Later => {
                    work += 1;
                    break;
                }
                Next::Other => {}
                Next::Packet if card.emit() => {}
                Next::Packet => {
                    card.turns().at = at;
                    card.finish(work + 1, true);
                    return work + 1;
                }
            }
            work += 1;
        }
    }
    card.turns().at = (first + 1) % queues;
    card.finish(work, false);
    work
}
