//! What a card turns out to go without.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// Lines for [`Description::lacks`](super::Description::lacks), each of them once.
#[derive(Debug, Default)]
pub struct Lacks(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    /// How many of them were taken.
    taken: usize,
}

impl Lacks {
    /// Notes a line, if it was not noted before.
    pub fn note(&self, line: impl Display) {
        let (line, mut lines) = (line.to_string(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !lines.all.contains(&line) {
            lines.all.push(line);
        }
    }

    /// What was noted since the last time.
    pub fn take(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { all, taken } = &mut *lines;
        let before = std::mem::replace(taken, all.len());
        all[before..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once() {
        let lacks = Lacks::default();
        lacks.note("no clock");
        lacks.note("no clock");
        assert_eq!(lacks.take(), ["no clock"]);
        lacks.note("no clock");
        lacks.note("no filters");
        assert_eq!(lacks.take(), ["no filters"]);
        assert!(lacks.take().is_empty());
    }
}
