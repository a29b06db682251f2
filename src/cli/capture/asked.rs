//! What the command line asks for: the file, the filter, and the rings of a card.

use super::Args;
use super::said::{self, Said, There};
use crate::cli::args::JUMBO;
use crate::cli::sandbox::Keeps;
use crate::cli::{Context, cards};
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use crate::packet::Filter;
use crate::pcap::write::SNAPLEN;
use crate::pci::discover;
use crate::publish::directory;
use std::path::{Path, PathBuf};

impl Args {
    /// The file, if one was named, and the filter; notes the cards that words name, and whether
    /// packets are printed.
    pub(super) fn target(&mut self, context: &Context) -> Result<(Option<PathBuf>, Filter)> {
        let usage = |line: &str| Err(Error::new(Kind::Usage, line));
        // One that is mended is no capture: its name may be any.
        if let (true, [name], None) = (self.repair || self.guard, &self.words[..], &self.write) {
            return Ok((Some(name.into()), Filter::parse("")?));
        }
        let roots = &context.roots;
        let interface = |name: &str| discover::is_interface(roots, name) || cards::is_observable(roots, name);
        // A folder is nothing that is written to.
        let there = There { interface: &interface, file: &|path| path.exists() && !path.is_dir() };
        let Said { devices, file, expression } = said::read(&self.words, self.write.is_some(), &there)?;
        if !devices.is_empty() {
            // What is on the command line wins over the environment, as a word too.
            if context.taken.has("device") {
                self.device.devices.clear();
            }
            if context.taken.has("from") {
                self.from = None;
            }
        }
        if self.from.is_some() && !devices.is_empty() {
            return usage("packets come out of the ring that --from names, not off a card; leave one of the two out");
        }
        self.device.devices.extend(devices);
        let file = self.write.clone().or(file);
        let filter = self.compiled(&expression, context.taken.has("filter"))?;
        if file.is_none() && (self.repair || self.guard) {
            return usage("which file is to be mended? bmnic capture out.pcap --repair");
        }
        if file.is_none() && !self.perf_test.is_empty() {
            return usage("a test of the parts writes a file; name one: bmnic capture out.pcap --perf-test disk");
        }
        self.printed = file.is_none() && self.publish.is_none();
        self.details = context.global.verbose > 0;
        self.check_printed(&context.taken)?;
        Ok((file, filter))
    }

    /// What is to be done after cards, the file and the sockets are open.
    ///
    /// # Errors
    /// What is not possible together of the options about files.
    pub(super) fn keeps(&self, file: Option<&Path>) -> Result<Keeps> {
        let several = file.map_or(Ok(None), |path| self.files.series(path))?.is_some();
        let socket = |name: &String| directory().join(name);
        Ok(Keeps {
            made: file.filter(|_| several).map(Path::to_path_buf).into_iter().collect(),
            removed: self.publish.iter().chain(&self.control).map(socket).collect(),
            // A filter that `bmnic ctl` brings may name hosts.
            names: self.control.is_some(),
            ..Keeps::default()
        })
    }

    /// The filter alone: no word is a file.
    pub(super) fn program(&self, by_default: bool) -> Result<Filter> {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
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

    /// Bytes of a frame that are looked at, where these are fewer than all whatever comes: a filter
    /// that is given later may look at more, and who reads a ring is told of whole frames.
    fn looks_at(&self, filter: &Filter, threads: usize, cards: usize) -> Option<u32> {
        let straight = cards == 1 && usize::from(self.rings.rxq) <= threads;
        let lasts = self.control.is_none() && self.publish.is_none();
        let bytes = u32::try_from(self.snaplen).ok().filter(|bytes| *bytes < SNAPLEN as u32)?;
        filter.reach().filter(|reach| straight && lasts && *reach <= bytes).map(|_| bytes)
    }

    /// A queue for each of so many threads, or more, of all cards together.
    pub(super) fn config(&self, filter: &Filter, threads: usize, cards: usize) -> Config {
        // No more than 128 can be asked for.
        let queues = self.rings.rxq.max(threads.div_ceil(cards) as u16);
        Config {
            rx_queues: queues,
            max_frame: self.max_frame.unwrap_or(JUMBO),
            shorter_frames: self.max_frame.is_none(),
            timestamps: true,
            observes: true,
            keeps: self.looks_at(filter, threads, cards),
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
