//! What passed from a port to another, and what became of the rest.

use super::lane::Counts;
use super::mode::Mode;
use super::report::{Way, letter};
use crate::cli::output;
use crate::emu::wire::IMPAIRMENTS;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// What passed one way, over all queues.
pub struct Direction {
    pub from: usize,
    pub to: usize,
    pub frames: u64,
    pub surplus: u64,
    pub made: u64,
    ticks: u64,
    bursts: u64,
    filtered: u64,
    let_go: u64,
    /// As [`IMPAIRMENTS`].
    impaired: [u64; IMPAIRMENTS.len()],
    held: u64,
}

impl Direction {
    /// Of what came by port `from`, if any lane takes that.
    pub fn of(from: usize, ways: &[Way]) -> Option<Self> {
        let ways = || ways.iter().filter(move |way| way.from == from);
        let to = ways().next()?.to;
        let sum = |count: fn(&Counts) -> &AtomicU64| ways().map(|way| count(&way.counts).load(Ordering::Relaxed)).sum();
        Some(Direction {
            from,
            to,
            frames: sum(|c| &c.frames),
            surplus: sum(|c| &c.surplus),
            made: sum(|c| &c.made),
            ticks: sum(|c| &c.ticks),
            bursts: sum(|c| &c.bursts),
            filtered: sum(|c| &c.filtered),
            let_go: sum(|c| &c.let_go),
            impaired: std::array::from_fn(|kind| {
                ways().map(|way| way.counts.impaired.done[kind].load(Ordering::Relaxed)).sum()
            }),
            held: sum(|c| &c.impaired.held),
        })
    }

    /// Frames that came off the rings and were dealt with, each of which is one of these.
    pub fn received(&self) -> u64 {
        let [lost, duplicated, _, _, over_limit] = self.impaired;
        let ended = self.frames + self.filtered + self.let_go + lost + over_limit + self.held;
        ended.saturating_sub(self.made + duplicated)
    }

    /// Lines of the summary; what was impaired is one of its own, if that was asked for.
    pub fn lines(&self, mode: Mode, impaired: bool) -> Vec<String> {
        let (from, to) = (letter(self.from), letter(self.to));
        let mut line = if mode.pairs() { format!("{from} > {to}: ") } else { format!("{from}: ") };
        let (frames, let_go) = if mode == Mode::Rxonly { (self.let_go, 0) } else { (self.frames, self.let_go) };
        line += &format!("{} frames {}", output::grouped(frames), mode.done());
        for (frames, words) in [(self.filtered, "left out by the filter"), (let_go, mode.lets_go())] {
            if frames > 0 {
                line += &format!(", {} {words}", output::grouped(frames));
            }
        }
        if let Some([cycles, burst]) = self.cost() {
            line += &format!(", {cycles:.1} cycles each, {burst:.1} in a burst");
        }
        let impaired = impaired.then(|| format!("       impaired as asked: {}", self.impairments()));
        std::iter::once(line).chain(impaired).collect()
    }

    /// What was done to frames on purpose, in words.
    fn impairments(&self) -> String {
        let done = IMPAIRMENTS.iter().zip(self.impaired).map(|(name, frames)| (name.replace('_', " "), frames));
        let done = done.chain([("still held back".into(), self.held)]).filter(|(_, frames)| *frames > 0);
        let done: Vec<String> = done.map(|(name, frames)| format!("{} {name}", output::grouped(frames))).collect();
        if done.is_empty() { "nothing".into() } else { done.join(", ") }
    }

    /// The same for a document.
    pub fn json(&self, impaired: bool) -> Value {
        let done = || IMPAIRMENTS.iter().zip(self.impaired).chain([(&"held", self.held)]);
        let done = || done().map(|(name, frames)| (name.to_string(), frames.into()));
        let cost = self.cost();
        json!({
            "from": letter(self.from),
            "to": letter(self.to),
            "received": self.received(),
            "made": self.made,
            "frames": self.frames,
            "filtered": self.filtered,
            "let_go": self.let_go,
            "impaired": impaired.then(|| Value::Object(done().collect())),
            "cycles_per_packet": cost.map(|[cycles, _]| cycles),
            "packets_per_burst": cost.map(|[_, burst]| burst),
        })
    }

    /// Cycles a frame and frames a burst, if they were counted.
    fn cost(&self) -> Option<[f64; 2]> {
        let frames = self.frames as f64;
        (self.bursts > 0 && self.frames > 0).then(|| [self.ticks as f64 / frames, frames / self.bursts as f64])
    }
}
