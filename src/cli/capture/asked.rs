//! What the command line asks for: the file, the filter, and the rings of a card.

use super::Args;
use crate::cli::args::JUMBO;
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use crate::packet::Filter;
use std::path::PathBuf;

impl Args {
    /// The file, if one was named, and the filter; `by_default` if --filter only counts where no
    /// words are given.
    pub(super) fn target(&self, by_default: bool) -> Result<(Option<PathBuf>, Filter)> {
        // With --write the first word is part of the expression, as in tcpdump.
        let (path, mut words) = match (&self.write, &self.file) {
            (Some(path), Some(first)) => (Some(path), vec![first.to_string_lossy().into_owned()]),
            (Some(path), None) | (None, Some(path)) => (Some(path), Vec::new()),
            (None, None) if self.publish.is_some() => (None, Vec::new()),
            (None, None) => return Err(Error::new(Kind::Usage, "capture into which file? bmnic capture out.pcap")),
        };
        words.extend(self.words.iter().cloned());
        Ok((path.cloned(), self.compiled(&words.join(" "), by_default)?))
    }

    /// The filter alone: no word is a file.
    pub(super) fn program(&self, by_default: bool) -> Result<Filter> {
        let first = self.file.iter().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = first.chain(self.words.iter().cloned()).collect();
        self.compiled(&words.join(" "), by_default)
    }

    /// The filter that words or --filter ask for.
    fn compiled(&self, text: &str, by_default: bool) -> Result<Filter> {
        match (&self.filter, text.trim().is_empty()) {
            (Some(filter), true) => Filter::parse(filter),
            (None, _) => Filter::parse(text),
            (Some(_), false) if by_default => Filter::parse(text),
            (Some(_), false) => {
                let line = format!("a filter is given twice, with --filter and as '{text}'; join them with and");
                Err(Error::new(Kind::Usage, line))
            }
        }
    }

    /// A ring that is published has one writer, and tells no cards apart.
    pub(super) fn may_publish(&self, threads: usize, cards: usize) -> Result<()> {
        let line = match (&self.publish, threads, cards) {
            (Some(_), 2.., _) => {
                format!(
                    "a ring that is published has one writer, not {threads}; leave --cores and --cpu out, or name one"
                )
            }
            (Some(_), _, 2..) => {
                format!("a ring that is published tells no cards apart, and these are {cards}; publish a ring of each")
            }
            _ => return Ok(()),
        };
        Err(Error::new(Kind::Usage, line))
    }

    /// A queue for each of so many threads, or more, of all cards together.
    pub(super) fn config(&self, threads: usize, cards: usize) -> Config {
        // No more than 128 can be asked for.
        let queues = self.rings.rxq.max(threads.div_ceil(cards) as u16);
        Config {
            rx_queues: queues,
            max_frame: self.max_frame.unwrap_or(JUMBO),
            shorter_frames: self.max_frame.is_none(),
            timestamps: true,
            observes: true,
            rx_ring: self.rings.lengths.rxd.unwrap_or(deepest(usize::from(queues) * cards)),
            ..self.rings.config()
        }
    }
}

/// Descriptors of each of so many receive rings where nobody says: as many as bridge the longest
/// pauses of the thread that receives, and no more memory than that for many rings.
fn deepest(rings: usize) -> u16 {
    const ALL: usize = 4096;
    ((ALL / rings.next_power_of_two()) as u16).max(Config::default().rx_ring)
}
