//! What a driver did that the datasheet forbids, by name.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Different names that are kept: a driver gone wild must not fill memory.
const NAMES: usize = 200;

/// Counts of violations by name.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    counts: BTreeMap<Cow<'static, str>, u64>,
    total: u64,
}

impl Violations {
    /// Counts one violation of the rule `name`.
    #[cold]
    pub fn note(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        let full = self.counts.len() >= NAMES && !self.counts.contains_key(&name);
        let name = if full { Cow::Borrowed("more violations of other names") } else { name };
        *self.counts.entry(name).or_default() += 1;
        self.total += 1;
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Each name and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(name, &count)| (name.as_ref(), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_bounded() {
        let mut violations = Violations::default();
        for n in 0..1000 {
            violations.note("bad tail");
            violations.note(format!("unknown register {n:#x}"));
        }
        assert_eq!(violations.total(), 2000);
        assert_eq!(violations.iter().find(|(name, _)| *name == "bad tail"), Some(("bad tail", 1000)));
        assert_eq!(violations.iter().count(), NAMES + 1);
        assert_eq!(violations.iter().map(|(_, count)| count).sum::<u64>(), 2000);
    }
}
