//! What became of the packets of each card of a capture.
//!
//! ```text
//!   card 0   received = in the file + left out by the filter + slow disk + failed disk
//!   card 1   received = ...            and besides: what the card and its wire lost
//!   -----------------------------------------------------------------------
//!   all      the sum of these
//! ```

use super::intake::Ring;
use super::report::reader_left;
use super::times::Summary;
use crate::cli::account::{self, Losses};
use crate::cli::output;
use crate::cli::session::Session;
use crate::driver::{Anomalies, Description, Nic, Stats};
use crate::emu::wire::Note;
use crate::error::Result;
use crate::pcap::record::Totals;
use crate::pcap::write::Written;
use serde_json::{Value, json};

/// What each card, and the wire of an emulated one, has counted.
#[derive(Clone)]
pub struct Counted(Vec<(Stats, Vec<Note>)>);

impl Counted {
    /// Up to now.
    ///
    /// # Errors
    /// What reading the counters of a card meets.
    pub fn now(session: &Session, nics: &mut [Nic]) -> Result<Self> {
        let notes = session.notes_by_port().into_iter().map(|notes| account::joined(notes.into_iter()));
        let each = nics.iter_mut().enumerate().zip(notes);
        each.map(|((card, nic), notes)| Ok((session.stats(card, nic)?, notes))).collect::<Result<_>>().map(Counted)
    }

    /// The same, but with the packets that these cards had counted `before` their rings were
    /// filled, where their filters may leave out some meanwhile: what came into rings does not
    /// stand for those.
    pub fn counting_from(mut self, before: &Counted, session: &Session) -> Self {
        for (device, (own, before)) in session.devices.iter().zip(self.0.iter_mut().zip(&before.0)) {
            if device.counts_before_filters {
                own.0.rx_packets = before.0.rx_packets;
            }
        }
        self
    }

    /// Packets that all cards have missed since `before`.
    ///
    /// # Errors
    /// As [`Counted::now`].
    pub fn missed_since(before: &Counted, session: &Session, nics: &mut [Nic]) -> Result<u64> {
        let each = nics.iter_mut().enumerate().zip(&before.0);
        each.map(|((card, nic), (before, _))| Ok(session.stats(card, nic)?.since(before).rx_lost())).sum()
    }
}

/// The figures of a card.
pub struct Tally {
    /// Its name.
    pub device: String,
    /// Packets that came off each of its rings.
    pub by_queue: Vec<u64>,
    /// Packets that came off all of them.
    pub received: u64,
    /// Of these, those that the filter left out.
    pub filtered: u64,
    /// Of these, those that the disk was too slow for.
    pub dropped: u64,
    /// Of these, those that came after the last file was full.
    pub beyond: u64,
    /// Of these, those that are in a file.
    pub captured: u64,
    /// Packets that came, or were to come, and are not in the file for another reason than the
    /// filter.
    pub losses: Losses,
    /// Packets that its filters left out, where it counts them and only them besides.
    pub left_out: Option<u64>,
    /// What its wire did, if it is emulated.
    pub notes: Vec<Note>,
    /// Its counters.
    pub stats: Stats,
    /// Where the times of its packets come from.
    pub times: Summary,
}

impl Tally {
    /// What came of card `card`, of all `rings`, but for what becomes of the file. Up to
    /// `held` of its packets may be in memory; it is `narrowed` if its filters left some out.
    pub fn new(
        (card, device): (usize, &Description),
        rings: &[Ring],
        times: Summary,
        before: &Counted,
        counted: &Counted,
        (held, narrowed): (usize, bool),
    ) -> Self {
        let rings: Vec<Ring> = rings.iter().filter(|ring| ring.card == card).copied().collect();
        let mut all = Tally::of_memory(&device.device, &rings, times);
        let mut anomalies = Anomalies::default();
        rings.iter().for_each(|ring| anomalies.add(&ring.anomalies));
        let ((stats, notes), (stats_before, notes_before)) = (&counted.0[card], &before.0[card]);
        all.stats = Stats { anomalies, ..stats.since(stats_before) };
        all.notes = account::notes_since(notes.clone(), notes_before);
        all.losses.add_arriving(&all.notes);
        all.losses.add_port(&all.stats, device.own_rings.is_some());
        // No ring had taken anything before it was filled, so this is of the whole time.
        let surplus: u64 = rings.iter().map(|ring| ring.surplus).sum();
        let elsewhere = all.stats.rx_packets.saturating_sub(all.received + surplus + anomalies.total());
        let unaccounted = match narrowed && device.counts_before_filters {
            // What is lost without a count would be among these.
            true => {
                all.left_out = Some(elsewhere);
                0
            }
            false => elsewhere.saturating_sub(held as u64),
        };
        all.losses.add("unaccounted", account::UNACCOUNTED, unaccounted);
        all
    }

    /// The same where packets come from memory, not off a card: none is lost before it comes
    /// off a ring.
    pub fn of_memory(device: &str, rings: &[Ring], times: Summary) -> Self {
        let sum = |of: fn(&Ring) -> u64| rings.iter().map(of).sum();
        let mut by_queue = vec![0; rings.iter().map(|ring| ring.queue + 1).max().unwrap_or(0)];
        rings.iter().for_each(|ring| by_queue[ring.queue] = ring.received);
        Tally {
            device: device.to_string(),
            by_queue,
            received: sum(|ring| ring.received),
            filtered: sum(|ring| ring.filtered),
            dropped: sum(|ring| ring.dropped),
            beyond: 0,
            captured: sum(Ring::recorded),
            losses: Losses::default(),
            left_out: None,
            notes: Vec::new(),
            stats: Stats { rx_missed: Some(0), ..Stats::default() },
            times,
        }
    }

    /// What the file says of it at its end, if it is interface `number` there.
    pub fn totals(&self, number: usize, time: u64) -> Totals {
        let missed = self.losses.total();
        Totals {
            interface: number as u32,
            time,
            received: self.received + missed,
            missed,
            accepted: self.received - self.filtered,
            dropped: self.dropped,
            delivered: self.captured,
        }
    }

    /// The file has ended: what was lost of `number` on its way there.
    pub fn end(&mut self, number: usize, written: &Written) {
        let of = |counts: &[u64]| counts.get(number).copied().unwrap_or(0);
        let lost = of(&written.lost_of);
        self.beyond = of(&written.beyond_of);
        // What a thread that panicked had handed over is among these, but was not counted here.
        self.captured = self.captured.saturating_sub(lost + self.beyond);
        add_file(&mut self.losses, self.dropped, lost, written);
    }

    /// The figures as fields of a document.
    pub fn json(&self) -> Value {
        json!({
            "device": self.device,
            "captured": self.captured,
            "received": self.received,
            "received_by_queue": self.by_queue,
            "filtered": self.filtered,
            "beyond": self.beyond,
            "lost": self.losses.json(),
            "wire": account::notes_json(&self.notes),
            "timestamps": self.times.json(),
            "port": output::stats(&self.stats),
        })
    }
}

/// Adds what was lost on the way into the file, or to the reader of it: it was slow, or failed.
pub fn add_file(losses: &mut Losses, slow: u64, failed: u64, written: &Written) {
    match written.lines {
        true => losses.add(
            "output_slow",
            "their lines were read slower than they came (keep fewer by a filter, or write a file)",
            slow,
        ),
        false => {
            losses.add(
                "disk_slow",
                "the disk was slower than they came (try a larger --buffer or --ring, or --snaplen)",
                slow,
            );
        }
    }
    let words = if reader_left(written) { "came when the reader had left" } else { "writing failed" };
    losses.add("disk_failed", words, failed);
}

#[cfg(test)]
mod tests {
    use super::super::times::Times;
    use super::*;

    fn ring(card: usize, queue: usize, received: u64) -> Ring {
        Ring { card, queue, received, filtered: received / 4, dropped: received / 8, ..Ring::default() }
    }

    fn tally(rings: &[Ring]) -> Tally {
        Tally::of_memory("card", rings, Times::by_ours().summary(0))
    }

    #[test]
    fn a_queue_keeps_its_number_though_a_thread_is_missing_or_another_ended_first() {
        let all = tally(&[ring(0, 3, 80), ring(0, 1, 16), ring(0, 0, 8)]);
        assert_eq!((all.by_queue, all.received), (vec![8, 16, 0, 80], 104));
    }

    #[test]
    fn what_was_received_is_in_the_file_or_named_whatever_becomes_of_the_file() {
        let written = Written { lost_of: vec![0, 9], lost: 9, ..Written::default() };
        for (number, failed) in [(0, 0), (1, 9), (2, 0)] {
            let mut card = tally(&[ring(number, 0, 80), ring(number, 1, 160)]);
            let totals = card.totals(number, 7);
            assert_eq!((totals.interface as usize, totals.time, totals.missed), (number, 7, 0));
            assert_eq!((totals.received, totals.accepted, totals.dropped, totals.delivered), (240, 180, 30, 150));
            card.end(number, &written);
            assert_eq!((card.captured, card.losses.total()), (150 - failed, 30 + failed));
            assert_eq!(card.received, card.captured + card.filtered + card.losses.total());
        }
        // Of packets of a thread that panicked, too, which nobody has counted here.
        let mut card = tally(&[ring(1, 0, 8)]);
        card.end(1, &written);
        assert_eq!((card.captured, card.losses.total()), (0, 10));
    }
}
