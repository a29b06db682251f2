//! A switch: two ports of one engine, with others' frames between theirs.
//!
//! ```text
//!   port --Peer--> [ refuses: tags, more than 1518 bytes ] --> port
//!                            frames of others  ------------^
//! ```
//!
//! It is one that nobody has set up for this: it knows no VLAN, takes frames of the usual
//! length only, and lets every port have what it does not know the place of.

use super::{Fate, Note, Peer, Picos, Wire};

/// How often a frame of others comes.
const EVERY: Picos = 2_000_000_000;

/// Longest frame that it takes, without FCS.
const LONGEST: usize = 1514;

/// Tags that it does not take (IEEE 802.1Q §9.4): of customers and of providers.
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

/// From one station to all, and to another one, neither of which is on one of our ports
/// (EtherType: IEEE 802, local experimental 1); and the switch's own word that it is ready
/// for more (a pause of no time, IEEE 802.3 annex 31B).
const FOREIGN: [[u8; 60]; 3] = [
    foreign([0xff; 6], [0x88, 0xb5], 0),
    foreign([0x02, 0, 0, 0, 0, 0xf1], [0x88, 0xb5], 0),
    foreign([0x01, 0x80, 0xc2, 0, 0, 1], [0x88, 0x08], 1),
];

/// A frame to `to`, of this type, with one byte in it.
const fn foreign([a, b, c, d, e, f]: [u8; 6], [high, low]: [u8; 2], byte: u8) -> [u8; 60] {
    let mut frame = [0; 60];
    (frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]) = (a, b, c, d, e, f);
    (frame[6], frame[11], frame[12], frame[13], frame[15]) = (0x02, 0xf2, high, low, byte);
    frame
}

/// What a port receives through it; what it sends goes to the other one, which does likewise.
pub struct Switch {
    peer: Peer,
    /// When the next frame of others comes.
    next: Picos,
    /// That is the one that is shown.
    foreign: bool,
    others: u64,
    refused: u64,
}

impl Switch {
    /// One in front of the other port.
    pub fn new(peer: Peer) -> Self {
        Switch { peer, next: 0, foreign: false, others: 0, refused: 0 }
    }
}

fn is_refused(frame: &[u8]) -> bool {
    frame.len() > LONGEST || frame.get(12..14).is_some_and(|word| TAGS.iter().any(|tag| word == tag))
}

impl Wire for Switch {
    fn send(&mut self, frame: &[u8], at: Picos) -> bool {
        self.peer.send(frame, at)
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        while self.peer.peek(now).is_some_and(|(frame, _)| is_refused(frame)) {
            self.peer.advance();
            self.refused += 1;
        }
        // Nobody asks what came while no port was looked after.
        if self.next + EVERY < now {
            self.next = now;
        }
        let first = self.peer.peek(now).map_or(now, |(_, at)| at);
        self.foreign = self.next <= first && self.carrier();
        if self.foreign {
            Some((&FOREIGN[self.others as usize % FOREIGN.len()], self.next))
        } else {
            self.peer.peek(now)
        }
    }

    fn advance(&mut self) {
        if self.foreign {
            (self.foreign, self.next) = (false, self.next + EVERY);
            self.others += 1;
        } else {
            self.peer.advance();
        }
    }

    fn carrier(&self) -> bool {
        self.peer.carrier()
    }

    fn waits(&self) -> bool {
        self.peer.waits()
    }

    fn report(&mut self) -> Vec<Note> {
        let mut report = self.peer.report();
        report.push(Note::passed("of_others", "came from others on the switch", self.others));
        report.push(Note::new(Fate::MeantIn, "refused", "refused by the switch", self.refused));
        report
    }
}

#[cfg(test)]
mod tests {
    use super::super::Crossover;
    use super::*;

    /// Times of what a port receives by `now`, and whether it is a frame of others.
    fn received(port: &mut Switch, now: Picos) -> Vec<(Picos, bool)> {
        let mut all = Vec::new();
        while let Some((frame, at)) = port.peek(now) {
            all.push((at, FOREIGN.iter().any(|foreign| frame == foreign)));
            port.advance();
        }
        all
    }

    #[test]
    fn frames_of_others_come_between_and_those_that_it_does_not_take_do_not() {
        let crossover = Crossover::new().unwrap();
        let [mut a, mut b] = [(); 2].map(|()| Switch::new(crossover.plug().unwrap()));
        let mut tagged = [0; 64];
        tagged[12..14].copy_from_slice(&[0x81, 0x00]);
        assert!(a.send(&[0; 60], 1) && a.send(&tagged, 2) && a.send(&[0; 1515], 3) && a.send(&[0; 1514], EVERY + 1));
        assert_eq!(received(&mut b, 3), [(0, true), (1, false)]);
        assert_eq!(received(&mut b, EVERY + 1), [(EVERY, true), (EVERY + 1, false)]);
        let counts: Vec<(&str, u64)> = b.report().iter().map(|note| (note.key, note.frames)).collect();
        assert_eq!(counts, [("nobody_there", 0), ("of_others", 2), ("refused", 2)]);
        // One, however long nobody looked.
        assert_eq!(received(&mut b, 1000 * EVERY), [(1000 * EVERY, true)]);
    }

    #[test]
    fn without_another_port_there_is_nothing() {
        let crossover = Crossover::new().unwrap();
        let mut alone = Switch::new(crossover.plug().unwrap());
        assert!(!alone.carrier() && alone.peek(EVERY).is_none());
    }
}
