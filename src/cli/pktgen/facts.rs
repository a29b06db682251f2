//! What is known of a recording, and when its packets leave.

use crate::error::{Error, Kind, Result};
use crate::measure::probe::wire_bits;
use crate::packet::build::{MAX_FRAME, MIN_FRAME};
use crate::pcap::SHORTEST;
use crate::pcap::read::{Omitted, Packet, Recording};
use serde_json::{Value, json};

/// What packets of a recording are like, and what is not sent of them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Packets that are sent.
    pub sent: u64,
    /// Bits of them on the wire.
    pub wire_bits: f64,
    /// Longest of them.
    pub longest: usize,
    /// When the last of them leaves, ns from the first.
    pub end: u64,
    /// Cut when they were recorded.
    pub cut: u64,
    /// Left out for their length.
    unfit: u64,
    /// The longest that is sent.
    most: usize,
    /// Recorded earlier than one before.
    pub out_of_order: u64,
    /// Gaps that were too long, and by how much in all, ns.
    pub gaps_cut: u64,
    pub gaps_cut_ns: u64,
    untimed: u64,
    left_out: Omitted,
    /// Why it ends too early.
    pub damage: Option<String>,
    /// Why it was not read again.
    pub lost: Option<String>,
}

impl Facts {
    /// These, and what is known of the part behind.
    pub fn add(&mut self, part: &Facts) {
        self.sent += part.sent;
        self.wire_bits += part.wire_bits;
        self.longest = self.longest.max(part.longest);
        self.end = self.end.max(part.end);
        self.cut += part.cut;
        self.unfit += part.unfit;
        self.most = part.most;
        self.out_of_order += part.out_of_order;
        self.gaps_cut += part.gaps_cut;
        self.gaps_cut_ns += part.gaps_cut_ns;
        // The last part says these of the whole file.
        self.untimed += part.untimed;
        if part.left_out != Omitted::default() {
            self.left_out = part.left_out;
        }
        self.damage = self.damage.take().or(part.damage.clone());
        self.lost = self.lost.take().or(part.lost.clone());
    }

    /// That it was not read again, and why.
    pub fn lost(why: String) -> Facts {
        Facts { lost: Some(why), ..Facts::default() }
    }

    /// Mean bits of a packet on the wire; of the shortest while none is known.
    pub fn mean_bits(&self) -> f64 {
        if self.sent == 0 { wire_bits(MIN_FRAME) } else { self.wire_bits / self.sent as f64 }
    }

    /// What of it is not sent: "3 packets were recorded ...".
    pub fn left_out(&self) -> Vec<String> {
        let mut all = self.left_out.words();
        let why = if self.most < MAX_FRAME { ", for which the card was made ready before they were read" } else { "" };
        all.push((self.unfit, format!("are not {SHORTEST} to {} bytes long{why}", self.most)));
        all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} packets {what}")).collect()
    }

    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(damage) = &self.damage {
            warnings.push(format!("the recording is damaged: {damage}; its {} whole packets are sent", self.sent));
        }
        warnings.extend(self.not_again());
        if self.cut > 0 {
            warnings.push(format!(
                "{} packets were cut when they were recorded; they are sent as short as they are",
                self.cut
            ));
        }
        warnings.extend(self.left_out().into_iter().map(|what| format!("{what}; they are left out")));
        if self.untimed > 0 {
            warnings.push(format!(
                "{} packets have no time in the file; as recorded they are sent with the packet before",
                self.untimed
            ));
        }
        if self.out_of_order > 0 {
            warnings.push(format!(
                "{} packets were recorded earlier than one before them in the file; as recorded they are sent with it, in the order of the file",
                self.out_of_order
            ));
        }
        warnings
    }

    /// Of these, what was not known before the run: all of them if the rest was a guess.
    pub fn news(&self, guess: bool) -> Vec<String> {
        if guess { self.warnings() } else { self.not_again().into_iter().collect() }
    }

    /// # Errors
    /// [`Kind::Io`] if it was not sent as often as it should be.
    pub fn check(&self) -> Result<()> {
        self.not_again().map_or(Ok(()), |line| Err(Error::new(Kind::Io, line)))
    }

    /// That it was not sent as often as it should be, if so.
    fn not_again(&self) -> Option<String> {
        self.lost.as_ref().map(|why| format!("the recording was not sent as often as asked for: {why}"))
    }

    /// The same as fields of a document.
    pub fn json(&self) -> Value {
        json!({
            "packets": self.sent,
            "out_of_order": self.out_of_order,
            "gaps_cut": self.gaps_cut,
            "gaps_cut_ns": self.gaps_cut_ns,
            "damage": self.damage,
            "ended_early": self.lost,
        })
    }
}

/// Turns the times of a file into those at which its packets leave: ns from the first, never
/// back, and with no gap that is too long.
#[derive(Clone, Debug)]
pub struct Times {
    /// The longest gap, ns.
    max_gap: u64,
    /// The longest frame.
    most: usize,
    /// The latest time in the file so far, and when its packet leaves.
    latest: Option<i64>,
    at: u64,
}

impl Times {
    /// Gaps of at most `max_gap` ns, and frames of at most `most` bytes.
    pub fn new(max_gap: u64, most: usize) -> Self {
        Times { max_gap, most, latest: None, at: 0 }
    }

    /// It goes through the file once more.
    pub fn again(&mut self) {
        *self = Times::new(self.max_gap, self.most);
    }

    /// From now on frames are no longer than these are.
    pub fn settle(&mut self, most: usize) {
        self.most = most;
    }

    /// Sets the times of a part, leaves out what cannot be sent, and says what is known of it.
    pub fn set(&mut self, part: &mut Recording) -> Facts {
        let mut facts = Facts {
            most: self.most,
            untimed: part.untimed(),
            left_out: *part.left_out(),
            damage: part.damage().map(str::to_string),
            ..Facts::default()
        };
        part.retime(|packet| {
            let len = packet.bytes.len();
            if !(SHORTEST..=self.most).contains(&len) {
                facts.unfit += 1;
                return None;
            }
            self.step(packet, &mut facts);
            facts.sent += 1;
            facts.wire_bits += wire_bits(len);
            facts.longest = facts.longest.max(len);
            facts.cut += u64::from(len < packet.wire_len);
            Some(self.at as i64)
        });
        facts.end = self.at;
        facts
    }

    fn step(&mut self, packet: Packet<'_>, facts: &mut Facts) {
        let latest = *self.latest.get_or_insert(packet.time);
        facts.out_of_order += u64::from(packet.time < latest);
        let gap = u64::try_from(packet.time.saturating_sub(latest)).unwrap_or(0);
        let kept = gap.min(self.max_gap);
        facts.gaps_cut += u64::from(kept < gap);
        facts.gaps_cut_ns += gap - kept;
        self.latest = Some(latest.max(packet.time));
        self.at = self.at.saturating_add(kept).min(i64::MAX as u64);
    }
}
