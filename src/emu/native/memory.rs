//! The memory that a native program gives its card: huge pages, by physical address.
//!
//! ```text
//!   program   mmap /dev/hugepages/FILE, or shared huge pages without a file
//!                                             ->  physical address  ->  descriptors
//!   here      mmap the same file, or /proc/PID/map_files/...
//!                                             ->  physical address  ->  Translation
//! ```
//!
//! A program without an IOMMU gives its card physical addresses, which it reads
//! from `/proc/self/pagemap`; huge pages, because those are never moved. So the
//! card is given every page of every file in the machine's hugetlbfs, at the
//! physical address that this process reads of its own mapping of it; and every
//! page that a program maps without a file, as bmnic does, or of a file that has no
//! name any more.

use super::super::Translation;
use super::super::foreign::Mapping;
use super::tree::HUGE_PAGES;
use crate::dma::Iova;
use crate::error::{Error, Kind, Result};
use crate::sys;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longer than a tick of the kernel's clock: at 100 a second, 10 ms.
const TICK: Duration = Duration::from_millis(20);

/// Bytes in a page.
const PAGE: u64 = 2 << 20;

/// Does something with the memory of each card.
type ForEach<'a> = dyn FnMut(&mut dyn FnMut(&mut Translation)) + 'a;

/// Pages by inode and number: where the cards see them.
type Pages = BTreeMap<(u64, u64), Iova>;

/// What is mapped of the hugetlbfs.
#[derive(Debug)]
pub struct Memory {
    pagemap: File,
    /// When the directory was last changed, when it was last read.
    changed: Option<SystemTime>,
    /// Look again: pages that files have could not be mapped yet, or there may be
    /// files that came after the look and yet within the same tick of the clock
    /// that the kernel dates changes by.
    incomplete: bool,
    /// Of files.
    files: Pages,
    /// By process: what has no file, or one without a name.
    nameless: BTreeMap<i32, Pages>,
}

impl Memory {
    /// Nothing yet.
    pub fn new() -> Result<Self> {
        let pagemap = File::open("/proc/self/pagemap").map_err(|e| Error::io("opening /proc/self/pagemap", e))?;
        Ok(Memory { pagemap, changed: None, incomplete: false, files: Pages::new(), nameless: BTreeMap::new() })
    }

    /// Whether files came or went since [`Memory::scan`].
    pub fn is_stale(&self) -> bool {
        self.incomplete || fs::metadata(HUGE_PAGES).and_then(|m| m.modified()).ok() != self.changed
    }

    /// Maps what is new and unmaps what is gone, for each of `cards`.
    pub fn scan(&mut self, cards: &mut ForEach<'_>) -> Result<()> {
        self.changed = fs::metadata(HUGE_PAGES).and_then(|m| m.modified()).ok();
        let age = self.changed.and_then(|changed| changed.elapsed().ok());
        self.incomplete = age.is_none_or(|age| age < TICK);
        let mut there = Vec::new();
        let reading = |e| Error::io(format!("reading {HUGE_PAGES}"), e);
        for entry in fs::read_dir(HUGE_PAGES).map_err(reading)? {
            let path = entry.map_err(reading)?.path();
            // One that went meanwhile is not there; the next scan tells.
            let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            there.push(Piece { file, inode: metadata.ino(), pages: 0..metadata.len() / PAGE });
        }
        match update(&self.pagemap, &mut self.files, &there, cards) {
            Err(error) if error.kind() == Kind::Permission => Err(error),
            Err(_) => {
                self.incomplete = true;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Maps what a process has mapped without a file that has a name, and unmaps what it
    /// has no longer, for each of `cards`.
    pub fn scan_process(&mut self, process: i32, cards: &mut ForEach<'_>) -> Result<()> {
        // A file that has lost its name was there by it until now.
        if self.is_stale() {
            self.scan(cards)?;
        }
        let mut there = Vec::new();
        // Of a process that is gone there is nothing.
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
        for (range, offset, inode) in maps.lines().filter_map(nameless) {
            let path = format!("/proc/{process}/map_files/{:x}-{:x}", range.start, range.end);
            let opened = File::options().read(true).write(true).open(&path);
            let file = opened.map_err(|e| Error::io(format!("opening {path}"), e))?;
            there.push(Piece { file, inode, pages: offset / PAGE..(offset + range.end - range.start) / PAGE });
        }
        update(&self.pagemap, self.nameless.entry(process).or_default(), &there, cards)
    }

    /// Unmaps what a process had mapped without a file.
    pub fn forget(&mut self, process: i32, cards: &mut ForEach<'_>) {
        let pages = self.nameless.remove(&process).unwrap_or_default();
        pages.into_values().for_each(|iova| unmap(iova, cards));
    }
}

/// Huge pages that are there.
struct Piece {
    file: File,
    inode: u64,
    pages: Range<u64>,
}

/// Maps what is new of the pages that are `there` and unmaps what is gone, for each
/// of `cards`. Of pages that cannot be mapped the first one's error is returned, when
/// all have been tried.
fn update(pagemap: &File, pages: &mut Pages, there: &[Piece], cards: &mut ForEach<'_>) -> Result<()> {
    let mut failed = None;
    for piece in there {
        for page in piece.pages.clone() {
            if let Entry::Vacant(place) = pages.entry((piece.inode, page)) {
                match map(pagemap, &piece.file, page, cards) {
                    Ok(iova) => drop(place.insert(iova)),
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
            }
        }
    }
    pages.retain(|&(inode, page), iova| {
        let stays = there.iter().any(|piece| piece.inode == inode && piece.pages.contains(&page));
        if !stays {
            unmap(*iova, cards);
        }
        stays
    });
    failed.map_or(Ok(()), Err)
}

/// Maps one page of a file for every card.
fn map(pagemap: &File, file: &File, page: u64, cards: &mut ForEach<'_>) -> Result<Iova> {
    let mapping = Mapping::populated(file.as_fd(), page * PAGE, PAGE)
        .map_err(|e| Error::io("mapping a page of the program's memory", e))?;
    let address = sys::physical_address(pagemap, mapping.address());
    let iova = address.map_err(|e| Error::io("reading /proc/self/pagemap", e))?.ok_or_else(|| {
        Error::new(Kind::Permission, "the kernel hides physical addresses from this user; run as root")
    })?;
    let mapping = Arc::new(mapping);
    let mut failed = None;
    cards(&mut |memory| {
        if let Err(error) = mapping.clone().enter(memory, iova) {
            failed = Some(error);
        }
    });
    failed.map_or(Ok(iova), Err)
}

/// Takes a page from every card.
fn unmap(iova: Iova, cards: &mut ForEach<'_>) {
    cards(&mut |memory| {
        memory.unmap(iova, PAGE);
    });
}

/// A line of `/proc/PID/maps` that is about shared huge pages without a file, or of one
/// that was unlinked: where they are, from which byte of what they are on, its inode.
fn nameless(line: &str) -> Option<(Range<u64>, u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let shared = words.next()?.ends_with('s');
    let offset = hex(words.next()?)?;
    let inode = words.nth(1)?.parse().ok()?;
    let file = words.next()?;
    let unlinked = line.ends_with(" (deleted)") && file.strip_prefix(HUGE_PAGES).is_some_and(|f| f.starts_with('/'));
    (shared && (unlinked || file == "/anon_hugepage")).then_some((hex(start)?..hex(end)?, offset, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_without_a_name_are_told_from_all_else() {
        let told = |line: &str| nameless(line);
        let place = 0x7f00_0020_0000..0x7f00_0060_0000;
        let head = "7f0000200000-7f0000600000 rw-s 00200000 00:10 77 ";
        assert_eq!(told(&format!("{head} /anon_hugepage (deleted)")), Some((place.clone(), 0x20_0000, 77)));
        assert_eq!(told(&format!("{head} {HUGE_PAGES}/ring (deleted)")), Some((place, 0x20_0000, 77)));
        assert_eq!(told(&format!("{head} {HUGE_PAGES}/ring")), None, "it has a name");
        assert_eq!(told(&format!("{head} /tmp/ring (deleted)")), None);
        assert_eq!(told(&format!("{} {HUGE_PAGES}/ring (deleted)", head.replace("rw-s", "rw-p"))), None);
        assert_eq!(told("7f0000200000-7f0000600000 rw-s"), None);
    }
}
