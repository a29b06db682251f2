//! `--ring`: the memory between those that receive and the one that writes is in huge pages, and
//! all there before the first packet.

use super::Args;
use super::perf::Part;
use crate::cli::units;
use crate::dma::Lot;
use crate::dma::hugepages::{self, human};
use crate::error::{Error, Kind, Remedy, Result};
use crate::pcap::write::{CHUNK, Held};
use crate::sys::Roots;

/// What the threads that receive hand packets over in.
pub struct Ring {
    /// How many threads there are.
    pub threads: usize,
    /// Memory of each; none if it is taken as it is used.
    pub memory: Vec<Vec<Lot>>,
    /// Where the thread runs that writes.
    pub place: Option<usize>,
}

/// Sizes of huge pages that a ring is made of, as arenas are.
const PAGES: [u64; 2] = [2 << 20, 1 << 30];

/// Where the threads that receive are to run, and the one that writes.
pub type Places = (Vec<Option<usize>>, Option<usize>);

impl Args {
    /// Where threads are to run.
    ///
    /// # Errors
    /// As [`Cores::places`](crate::cli::cores::Cores::places).
    pub(super) fn places(&self) -> Result<Places> {
        match self.ring {
            Some(_) => self.cores.places_and_one(),
            None => Ok((self.cores.places()?, None)),
        }
    }

    /// Refuses a ring that makes no sense or for which huge pages are missing, before anything
    /// is opened.
    ///
    /// # Errors
    /// What is refused, and why.
    pub(super) fn check_ring(&self, has_file: bool, roots: &Roots) -> Result<()> {
        let Some(size) = self.ring else { return Ok(()) };
        if !has_file {
            let line = "--ring holds packets on their way into a file, and none is written; name one, or leave it out";
            return Err(Error::new(Kind::Usage, line));
        }
        if self.perf_test.contains(&Part::Ring) {
            let line = "a dummy of the ring needs no memory; leave --ring out, or the dummy";
            return Err(Error::new(Kind::Usage, line));
        }
        match PAGES.iter().any(|&page| free(roots, page) >= size.div_ceil(page)) {
            true => Ok(()),
            false => Err(short(size, roots, None)),
        }
    }
}

impl Ring {
    /// Takes the memory for a thread on each of these nodes, where they are known.
    ///
    /// # Errors
    /// [`Kind::Memory`] if there are too few huge pages.
    pub fn reserve(args: &Args, nodes: &[Option<u16>], place: Option<usize>, roots: &Roots) -> Result<Ring> {
        let threads = nodes.len().max(1);
        let lots = |size: u64| (size / CHUNK as u64) as usize / threads;
        let memory = match args.ring {
            None => Vec::new(),
            Some(size) if lots(size) < 2 => {
                let line = format!(
                    "a ring of {} is too small for {threads} threads; each needs two chunks, so name {} or more",
                    human(size),
                    human((2 * threads * CHUNK) as u64)
                );
                return Err(Error::new(Kind::Usage, line));
            }
            Some(size) => nodes
                .iter()
                .map(|&node| Lot::several(lots(size), CHUNK, node))
                .collect::<Result<_>>()
                .map_err(|error| short(size, roots, Some(&error)))?,
        };
        Ok(Ring { threads, memory, place })
    }

    /// Whether it is of huge pages, and so another thread is to write.
    pub fn is_huge(&self) -> bool {
        !self.memory.is_empty()
    }
}

/// Free pages of a size that are promised to nobody.
fn free(roots: &Roots, page: u64) -> u64 {
    let all: u64 = hugepages::pools(roots).iter().filter(|pool| pool.page == page).map(|pool| pool.free).sum();
    all.saturating_sub(hugepages::reserved(roots, page))
}

/// That huge pages are missing: how many there are and how many it takes.
fn short(size: u64, roots: &Roots, error: Option<&Error>) -> Error {
    let known = hugepages::sizes(roots);
    let of = |page: &u64| {
        format!("{} pages of {}, of which {} are free", size.div_ceil(*page), human(*page), free(roots, *page))
    };
    let each: Vec<String> = PAGES.iter().filter(|page| known.contains(page)).map(of).collect();
    let pages = if each.is_empty() { "huge pages, and this machine has none".into() } else { each.join(", or ") };
    let why = error.map_or(String::new(), |error| format!(" ({error})"));
    let line = format!("a ring of {} takes {pages}{why}; --buffer takes ordinary ones", human(size));
    Error::new(Kind::Memory, line).with_remedy(Remedy::HugePages(size))
}

/// `8 GiB in pages of 2 MiB, 12 MiB of it in use at most`.
pub fn words(held: &Held) -> Option<String> {
    let Held { bytes, most, page } = *held;
    Some(format!("{} in pages of {}, {} of it in use at most", human(bytes), human(page?), human(most)))
}

/// Memory in huge pages for the file's chunks.
pub fn size(text: &str) -> Result<u64> {
    let size = units::size(text)?;
    if (2 << 20..=64 << 30).contains(&size) {
        return Ok(size);
    }
    Err(Error::new(Kind::Usage, format!("a ring of '{text}' is not possible; use 2M to 64G")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn machine(pages: &[(u64, u64, u64)]) -> (tempfile::TempDir, Roots) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        for (page, free, reserved) in pages {
            let dir = roots.sys.join(format!("kernel/mm/hugepages/hugepages-{}kB", page >> 10));
            fs::create_dir_all(&dir).unwrap();
            for (name, count) in [("nr_hugepages", free), ("free_hugepages", free), ("resv_hugepages", reserved)] {
                fs::write(dir.join(name), format!("{count}\n")).unwrap();
            }
        }
        (temp, roots)
    }

    #[test]
    fn a_shortage_names_how_many_pages_are_free_and_how_many_it_takes() {
        let (_temp, roots) = machine(&[(PAGES[0], 100, 90), (PAGES[1], 1, 0)]);
        assert_eq!(free(&roots, PAGES[0]), 10, "a page that is promised is not free");
        let error = short(8 << 30, &roots, None);
        let line = crate::cli::remedy::line(&error);
        assert_eq!(
            line,
            "a ring of 8 GiB takes 4096 pages of 2 MiB, of which 10 are free, or 8 pages of 1 GiB, of which 1 are free; \
             --buffer takes ordinary ones; run `sudo bmnic hugepages --setup 8192M`"
        );
        assert_eq!(error.kind(), Kind::Memory);
        let (_temp, roots) = machine(&[]);
        assert!(short(1 << 30, &roots, None).to_string().contains("this machine has none"));
    }

    #[test]
    fn a_size_is_two_pieces_at_least() {
        assert_eq!(size("8G").unwrap(), 8 << 30);
        for text in ["1M", "65G", "0", "much"] {
            assert_eq!(size(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
