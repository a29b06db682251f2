//! Impairments in words: `loss=1%,dup=0.1%,delay=1ms,seed=7`.

use super::Impairment;
use crate::emu::spec::{Setting, key_value, split, usage};
use crate::error::{Error, Result};
use std::str::FromStr;

/// The words, as an error names them.
const WORDS: &str = "loss=, dup=, reorder=, corrupt=, delay=, jitter=, limit=, seed=";

impl Impairment {
    /// Sets what `setting` names; false if that is none of these.
    ///
    /// # Errors
    /// If its value makes no sense.
    pub(in crate::emu) fn set(&mut self, setting: &Setting<'_>) -> Result<bool> {
        match setting.key {
            "loss" => self.loss = setting.share()?,
            "limit" => self.limit = setting.limit()?,
            "dup" => self.duplicate = setting.share()?,
            "reorder" => self.reorder = setting.share()?,
            "corrupt" => self.corrupt = setting.share()?,
            "delay" => self.delay = setting.time()?,
            "jitter" => self.jitter = setting.time()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// An impairment, and by which chances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// What is done to frames.
    pub what: Impairment,
    /// Where chance begins.
    pub seed: u64,
}

impl FromStr for Seeded {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut seeded = Seeded::default();
        let mut seen = Vec::new();
        for word in split(text, ',') {
            let (key, value) = key_value(word);
            let setting = Setting { whose: "impair", key, value };
            if seen.contains(&key) {
                return Err(usage(format!("impair: '{key}' is given twice; once is enough")));
            }
            seen.push(key);
            if key == "seed" {
                seeded.seed = setting.number(0, u64::MAX)?;
            } else if !seeded.what.set(&setting)? {
                return Err(usage(format!("impair: there is no '{key}'; write {WORDS}")));
            }
        }
        Ok(seeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::Share;

    #[test]
    fn words_are_those_of_a_card_and_nonsense_is_refused() {
        let seeded: Seeded =
            "loss=1%,dup=0.1%,reorder=2%,corrupt=0.5%,delay=1ms,jitter=10us,limit=2M,seed=9".parse().unwrap();
        let card: crate::emu::Spec =
            "82599,loss=1%,dup=0.1%,reorder=2%,corrupt=0.5%,delay=1ms,jitter=10us,limit=2M,seed=9".parse().unwrap();
        assert_eq!((seeded.what, seeded.seed), (card.impairment, card.seed));
        assert_eq!(seeded.what.loss, Share(10_000_000));
        for text in ["", "loss", "loss=2", "loss=1%,loss=2%", "delay=1", "gap=5", "seed=x"] {
            assert!(text.parse::<Seeded>().is_err(), "{text}");
        }
    }
}
