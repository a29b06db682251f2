//! The equation.

use std::fmt::Write;

/// Packets, each where it was counted.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Handed to the card that sends, or made by the generator.
    pub came: u64,
    /// Doubled on the wire.
    pub doubled: u64,
    /// That came off the ring.
    pub received: u64,
    /// Of these, again with a number that had come, where none is doubled, overtaken or spoiled.
    pub again: u64,
    /// Of those that were received: left out by the filter, and taken by the recorder.
    pub filtered: u64,
    pub taken: u64,
    /// Packets in the file, by who reads it.
    pub kept: u64,
    /// Lost on their way to the ring, by cause.
    pub before: Vec<(&'static str, u64)>,
    /// Lost on their way to the file, by cause.
    pub behind: Vec<(&'static str, u64)>,
    /// What the card says it has lost, where it keeps such a count.
    pub said: Option<u64>,
}

impl Account {
    /// All causes that took any, in their order.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.before.iter().chain(&self.behind).copied().filter(|(_, packets)| *packets > 0)
    }

    /// What this cause took.
    pub fn lost(&self, cause: &str) -> u64 {
        self.losses().filter(|(name, _)| *name == cause).map(|(_, packets)| packets).sum()
    }

    /// Whether it adds up.
    ///
    /// # Errors
    /// Which equation does not, and by how much.
    pub fn check(&self) -> Result<(), String> {
        let sum = |causes: &[(&str, u64)]| causes.iter().map(|(_, packets)| packets).sum::<u64>();
        let equations = [
            ("came and doubled = received + lost", self.came + self.doubled, self.received + sum(&self.before)),
            ("received = kept + filtered + lost", self.received, self.kept + self.filtered + sum(&self.behind)),
            ("taken by the recorder = in the file", self.taken, self.kept),
            ("received with a number that had come = 0", self.again, 0),
            (
                "missed by the MAC = by the card's own count",
                self.lost("missed"),
                self.said.unwrap_or(self.lost("missed")),
            ),
        ];
        match equations.into_iter().find(|(_, left, right)| left != right) {
            None => Ok(()),
            Some((what, left, right)) => {
                Err(format!("{what}: {left} and {right}, {}; {self:?}", left as i128 - right as i128))
            }
        }
    }

    /// The causes and their counts, in a line.
    pub fn words(&self) -> String {
        self.losses().fold(String::new(), |mut line, (cause, packets)| {
            let _ = write!(line, "{}{cause} {packets}", if line.is_empty() { "" } else { ", " });
            line
        })
    }
}
