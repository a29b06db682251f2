//! The packets that are on their way, by number.

use super::Ticks;

/// A packet on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flight {
    /// Its number; given by [`Flights::leave`].
    pub sequence: u64,
    /// When it was to be sent.
    pub due: Ticks,
    /// When it was.
    pub sent: Ticks,
    /// Slots of the schedule that were skipped before it.
    pub skipped: u64,
    /// Whether it counts (warm-up is over).
    pub counted: bool,
    /// Whether it has come; set by [`Flights::arrive`].
    pub arrived: bool,
}

/// The first packet that counts.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its number.
    pub sequence: u64,
    /// When it was to be sent.
    pub due: Ticks,
}

/// The packets sent last, by the low bits of their number.
pub struct Flights {
    slots: Box<[Flight]>,
    /// Number of the next packet.
    pub next: u64,
    /// One more than the highest number that has arrived.
    expected: u64,
    /// Packets that have arrived, each counted once.
    pub arrived: u64,
    /// Set by the first that counts.
    pub first_counted: Option<Origin>,
}

/// What a number that came back means.
#[derive(Clone, Copy, Debug)]
pub enum Arrival {
    /// A packet on its way has arrived.
    First {
        /// It.
        flight: Flight,
        /// Whether one that was sent later arrived before it.
        overtaken: bool,
    },
    /// One that had arrived already.
    Again {
        /// Whether it counts.
        counted: bool,
    },
    /// None of ours, or too old to tell.
    Foreign,
}

impl Flights {
    /// At a million packets a second those of 65 ms; one that comes later counts as lost.
    pub const SLOTS: usize = 1 << 16;

    /// None on its way.
    pub fn new() -> Self {
        let unused = Flight { sequence: u64::MAX, ..Flight::default() };
        Flights {
            slots: vec![unused; Self::SLOTS].into_boxed_slice(),
            next: 0,
            expected: 0,
            arrived: 0,
            first_counted: None,
        }
    }

    /// A packet leaves; it gets the next number.
    #[inline]
    pub fn leave(&mut self, flight: Flight) {
        let sequence = self.next;
        if flight.counted && self.first_counted.is_none() {
            self.first_counted = Some(Origin { sequence, due: flight.due });
        }
        self.slots[sequence as usize % Self::SLOTS] = Flight { sequence, ..flight };
        self.next += 1;
    }

    /// A packet of this number has come.
    #[inline]
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        let slot = &mut self.slots[sequence as usize % Self::SLOTS];
        if sequence >= self.next || slot.sequence != sequence {
            return Arrival::Foreign;
        }
        if slot.arrived {
            return Arrival::Again { counted: slot.counted };
        }
        slot.arrived = true;
        self.arrived += 1;
        let overtaken = sequence < self.expected;
        self.expected = self.expected.max(sequence + 1);
        Arrival::First { flight: *slot, overtaken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_of_a_number_that_was_never_sent_is_foreign() {
        let mut flights = Flights::new();
        flights.leave(Flight::default());
        for sequence in [1, Flights::SLOTS as u64, u64::MAX] {
            assert!(matches!(flights.arrive(sequence), Arrival::Foreign));
        }
        assert!(matches!(flights.arrive(0), Arrival::First { overtaken: false, .. }));
    }
}
