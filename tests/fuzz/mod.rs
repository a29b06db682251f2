//! What `scripts/fuzz` runs with inputs that an engine makes up, and `tests/fuzzed.rs` with
//! those that were kept in `fuzz/corpus`: the same bodies.
//!
//! An input is a list of what the other side does: a card, a driver, a peer, a file. A body
//! panics where bmnic does not stand it.

#![allow(dead_code)] // each program uses a part

mod between;
mod cards;
mod clock;
mod files;
mod peers;
mod rings;

use crate::families::{EACH, all_rings};
use crate::rig::random;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What is done with an input; it returns how many completions a driver took meanwhile.
type Body = Box<dyn Fn(&[u8]) -> u64 + Send + Sync>;

/// What is done with an input where nothing completes.
type Plain = fn(&[u8]);

/// A name, and what is done with an input.
pub struct Target {
    pub name: String,
    body: Body,
}

impl Target {
    fn new(name: impl Into<String>, body: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        Target { name: name.into(), body: Box::new(body) }
    }

    /// One that has no completions.
    fn of(name: &str, body: Plain) -> Self {
        Target::new(name, move |data| {
            body(data);
            0
        })
    }

    /// Runs it; how many completions a driver took.
    pub fn run(&self, data: &[u8]) -> u64 {
        clock::jump(|| (self.body)(data))
    }

    /// Where its inputs are kept.
    pub fn corpus(&self) -> PathBuf {
        corpora().join(&self.name)
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = Target> {
    let rings = all_rings().map(|rings| Target::new(format!("rings-{}", rings.name), |data| rings::play(rings, data)));
    let drivers = EACH
        .into_iter()
        .map(|card| Target::new(format!("driver-{card}"), move |data| cards::driver_meets_liar(&card, data)));
    let models = EACH
        .into_iter()
        .map(|card| Target::new(format!("model-{card}"), move |data| cards::model_meets_anything(&card, data)));
    rings.chain(drivers).chain(models).chain(files::targets()).chain(peers::targets()).chain(inside())
}

/// Those of the inside, which only a library that is built for it shows.
fn inside() -> impl Iterator<Item = Target> {
    #[cfg(feature = "fuzz")]
    let targets = bmnic::fuzz::TARGETS;
    #[cfg(not(feature = "fuzz"))]
    let targets: &[(&str, Plain)] = &[];
    targets.iter().map(|(name, body)| Target::of(name, *body))
}

/// The folder of all corpora.
pub fn corpora() -> PathBuf {
    // Of the package in the folder `fuzz`, or of bmnic itself.
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("corpus");
    if own.is_dir() { own } else { root.join("fuzz/corpus") }
}

/// Runs a target over inputs by dice until a driver has taken `completions`; what came of it,
/// in a line.
pub fn count(target: &Target, completions: u64) -> String {
    let (begun, mut dice) = (SystemTime::now(), random(1));
    let (mut executions, mut taken) = (0, 0);
    let mut input = vec![0; 16 << 10];
    while taken < completions {
        input.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&dice().to_le_bytes()));
        let now = target.run(&input);
        (executions, taken) = (executions + 1, taken + now);
        assert!(now > 0, "{} takes no completions", target.name);
    }
    line(target, executions, taken, begun.elapsed().unwrap_or_default())
}

/// Runs a target over so many inputs by dice; what came of it, in a line.
pub fn try_out(target: &Target, inputs: u64) -> String {
    let (begun, mut dice) = (SystemTime::now(), random(2));
    let mut taken = 0;
    for _ in 0..inputs {
        let words = dice() % 256;
        let input: Vec<u8> = (0..words).flat_map(|_| dice().to_le_bytes()).collect();
        taken += target.run(&input);
    }
    line(target, inputs, taken, begun.elapsed().unwrap_or_default())
}

/// A row of figures.
pub fn line(target: &Target, executions: u64, completions: u64, time: Duration) -> String {
    let mut line = format!("{:<25} {executions:>11} executions", target.name);
    if completions > 0 {
        write!(line, " {completions:>12} completions").unwrap();
    }
    write!(line, " {:>7.1} s", time.as_secs_f64()).unwrap();
    line
}

/// An input, read from the front; zeros once it is over.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Input(data)
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        first
    }

    pub fn byte(&mut self) -> u8 {
        self.number(1) as u8
    }

    /// Of so many bytes, little endian.
    pub fn number(&mut self, bytes: usize) -> u64 {
        self.bytes(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }
}
