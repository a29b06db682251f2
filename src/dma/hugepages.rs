//! Huge pages: how many the machine has, where, and who holds them.
//!
//! ```text
//!   /sys/kernel/mm/hugepages/hugepages-2048kB/             the machine
//!   /sys/devices/system/node/node0/hugepages/hugepages-2048kB/   a node
//!       nr_hugepages     in the pool; writing it changes the pool
//!       free_hugepages   of these, in no mapping
//!       resv_hugepages   of these, promised to a mapping (machine only)
//! ```
//!
//! Only [`setup`] grows the pool and only [`clear`] shrinks it, never below what
//! is in use: Linux would turn such pages into surplus ones, which leave the pool
//! when their process ends.

mod who;

use crate::error::{Error, Kind, Remedy, Result};
use crate::sys::Roots;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
pub use who::{Holder, Who, who};

/// The pages of one size on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// NUMA node; none on a machine that has no nodes.
    pub node: Option<u16>,
    /// Bytes in a page.
    pub page: u64,
    /// Pages in the pool.
    pub total: u64,
    /// Pages in no mapping.
    pub free: u64,
    /// Pages beyond the pool that the kernel lent.
    pub surplus: u64,
}

/// A hugetlbfs mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub directory: PathBuf,
    /// Bytes in a page.
    pub page: u64,
}

/// What [`setup`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Free pages asked for.
    pub asked: u64,
    /// Pages in the pool before and after.
    pub total: (u64, u64),
    /// Free pages that no mapping was promised.
    pub available: u64,
}

/// What [`clear`] did to one page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// Bytes in a page.
    pub page: u64,
    /// Pages given back.
    pub freed: u64,
    /// Pages kept because they are in use or promised.
    pub kept: u64,
}

/// How files under `/sys` and `/proc` are written.
pub type Write<'w> = &'w mut dyn FnMut(&Path, &str) -> io::Result<()>;

/// The pools of all nodes and sizes.
pub fn pools(roots: &Roots) -> Vec<Pool> {
    let nodes = nodes(roots);
    let places: Vec<Option<u16>> = if nodes.is_empty() { vec![None] } else { nodes.into_iter().map(Some).collect() };
    let mut found = Vec::new();
    for node in places {
        for page in sizes(roots) {
            let dir = directory(roots, page, node);
            let Some(total) = number(&dir.join("nr_hugepages")) else { continue };
            let free = number(&dir.join("free_hugepages")).unwrap_or(0);
            let surplus = number(&dir.join("surplus_hugepages")).unwrap_or(0);
            found.push(Pool { node, page, total, free, surplus });
        }
    }
    found
}

/// Sizes of huge pages that the machine can have, in bytes, smallest first.
pub fn sizes(roots: &Roots) -> Vec<u64> {
    let names = entries(&roots.sys.join("kernel/mm/hugepages"));
    let mut sizes: Vec<u64> = names.iter().filter_map(|name| page_of(name)).collect();
    sizes.sort_unstable();
    sizes
}

/// Bytes in a page of the pool in a directory of this name, `hugepages-2048kB`.
pub(crate) fn page_of(directory: &str) -> Option<u64> {
    directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Pages of a size that are free but promised to mappings.
pub fn reserved(roots: &Roots, page: u64) -> u64 {
    number(&directory(roots, page, None).join("resv_hugepages")).unwrap_or(0)
}

/// The write that makes `bytes` of free pages, if the pool must grow for it.
///
/// # Errors
/// [`Kind::Unsupported`] for a page size and [`Kind::Usage`] for a node that
/// the machine lacks, [`Kind::Usage`] for no bytes at all.
pub fn plan_setup(roots: &Roots, bytes: u64, page: u64, node: Option<u16>) -> Result<Option<(PathBuf, String)>> {
    let (asked, pool) = (pages(roots, bytes, page, node)?, count(roots, page, node)?);
    let path = directory(roots, page, node).join("nr_hugepages");
    Ok((pool.available < asked).then(|| (path, (pool.total - pool.available).saturating_add(asked).to_string())))
}

/// Pages that the pool has after [`setup`], those of others among them.
///
/// # Errors
/// As [`plan_setup`].
pub fn planned_total(roots: &Roots, bytes: u64, page: u64, node: Option<u16>) -> Result<u64> {
    let (asked, pool) = (pages(roots, bytes, page, node)?, count(roots, page, node)?);
    Ok((pool.total - pool.available).saturating_add(asked).max(pool.total))
}

/// Grows the pool until `bytes` of pages are free; a pool that has them stays.
///
/// # Errors
/// As [`plan_setup`]; [`Kind::Limit`] if the kernel found fewer, which are kept.
pub fn setup(roots: &Roots, bytes: u64, page: u64, node: Option<u16>, write: Write<'_>) -> Result<Setup> {
    let asked = pages(roots, bytes, page, node)?;
    let before = count(roots, page, node)?.total;
    let mut now = count(roots, page, node)?;
    if let Some((path, text)) = plan_setup(roots, bytes, page, node)? {
        let mut grow = || write(&path, &text).map_err(|e| writing(&path, e));
        grow()?;
        now = count(roots, page, node)?;
        if now.available < asked {
            // Pages may be there but scattered. That compaction is not offered
            // or helps nothing is seen by the result.
            let _ = write(&roots.proc.join("sys/vm/compact_memory"), "1");
            write(&path, &text).map_err(|e| writing(&path, e))?;
            now = count(roots, page, node)?;
        }
    }
    if now.available < asked {
        let place = node.map_or(String::new(), |node| format!(" on node {node}"));
        let size = human(page);
        return Err(Error::new(
            Kind::Limit,
            format!(
                "asked for {asked} free huge pages of {size}{place}, got {}; they are kept. Memory is full or scattered: \
                 stop what fills it, or `echo 3 > /proc/sys/vm/drop_caches`, and try again; or boot with hugepagesz={} hugepages={asked}",
                now.available,
                size.replace(" ", "").replace("iB", "")
            ),
        ));
    }
    Ok(Setup { asked, total: (before, now.total), available: now.available })
}

/// The writes that give every page back that nobody uses.
pub fn plan_clear(roots: &Roots, page: Option<u64>, node: Option<u16>) -> Result<Vec<(PathBuf, String)>> {
    let mut writes = Vec::new();
    for page in page.map_or_else(|| sizes(roots), |page| vec![page]) {
        let pool = count(roots, page, node)?;
        if pool.available > 0 {
            let path = directory(roots, page, node).join("nr_hugepages");
            writes.push((path, (pool.total - pool.available).to_string()));
        }
    }
    Ok(writes)
}

/// Gives every page back that nobody uses, of one size or all.
pub fn clear(roots: &Roots, page: Option<u64>, node: Option<u16>, write: Write<'_>) -> Result<Vec<Cleared>> {
    let sizes = page.map_or_else(|| sizes(roots), |page| vec![page]);
    let before: Vec<u64> = sizes.iter().map(|&page| Ok(count(roots, page, node)?.total)).collect::<Result<_>>()?;
    for (path, text) in plan_clear(roots, page, node)? {
        write(&path, &text).map_err(|e| writing(&path, e))?;
    }
    let cleared = |(page, before): (u64, u64)| {
        let kept = count(roots, page, node)?.total;
        Ok(Cleared { page, freed: before.saturating_sub(kept), kept })
    };
    sizes.into_iter().zip(before).map(cleared).collect()
}

/// The hugetlbfs mounts.
pub fn mounts(roots: &Roots) -> Vec<Mount> {
    let default = default_size(roots);
    let table = fs::read_to_string(roots.proc.join("mounts")).unwrap_or_default();
    let parse = |line: &str| {
        let f: Vec<&str> = line.split_whitespace().collect();
        let (directory, kind, options) = (f.get(1)?, f.get(2)?, f.get(3)?);
        let page = options.split(',').find_map(|o| o.strip_prefix("pagesize="));
        (*kind == "hugetlbfs").then(|| Mount {
            // /proc/mounts writes a space as \040.
            directory: PathBuf::from(directory.replace("\\040", " ")),
            page: page.and_then(mount_size).unwrap_or(default),
        })
    };
    table.lines().filter_map(parse).collect()
}

/// Size of the pages that are used where none is named, in bytes.
pub fn default_size(roots: &Roots) -> u64 {
    let meminfo = fs::read_to_string(roots.proc.join("meminfo")).unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("Hugepagesize:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(2 << 20, |kib| kib * 1024)
}

/// A pool as far as growing and shrinking go.
struct Count {
    total: u64,
    /// Free and promised to nobody.
    available: u64,
}

fn count(roots: &Roots, page: u64, node: Option<u16>) -> Result<Count> {
    let dir = directory(roots, page, node);
    let (total, free) = (number(&dir.join("nr_hugepages")), number(&dir.join("free_hugepages")));
    match (total, free) {
        // A promise is made for the machine: any node may have to keep it.
        (Some(total), Some(free)) => {
            Ok(Count { total, available: free.saturating_sub(reserved(roots, page)).min(total) })
        }
        _ => Err(missing(roots, page, node)),
    }
}

/// Why there is no such pool.
fn missing(roots: &Roots, page: u64, node: Option<u16>) -> Error {
    let sizes = sizes(roots);
    if !sizes.contains(&page) {
        let has: Vec<String> = sizes.into_iter().map(human).collect();
        let has = if has.is_empty() { "none at all".into() } else { has.join(" and ") };
        return Error::new(
            Kind::Unsupported,
            format!("this machine has no huge pages of {}; it has {has}", human(page)),
        );
    }
    let nodes: Vec<String> = nodes(roots).iter().map(ToString::to_string).collect();
    let node = node.map_or(String::new(), |node| node.to_string());
    Error::new(Kind::Usage, format!("this machine has no NUMA node {node}; its nodes: {}", nodes.join(", ")))
}

/// Pages of a size that hold `bytes`.
///
/// # Errors
/// As [`plan_setup`].
pub fn pages(roots: &Roots, bytes: u64, page: u64, node: Option<u16>) -> Result<u64> {
    if page == 0 || bytes == 0 {
        return Err(Error::new(Kind::Usage, "no huge pages asked for").with_remedy(Remedy::PagesOrNone));
    }
    count(roots, page, node)?;
    Ok(bytes.div_ceil(page))
}

fn writing(path: &Path, error: io::Error) -> Error {
    let error = Error::io(format!("writing {}", path.display()), error);
    if error.kind() == Kind::Permission {
        error.hint("changing huge pages needs root: run it with sudo")
    } else {
        error
    }
}

fn directory(roots: &Roots, page: u64, node: Option<u16>) -> PathBuf {
    let place = match node {
        None => roots.sys.join("kernel/mm/hugepages"),
        Some(node) => roots.sys.join(format!("devices/system/node/node{node}/hugepages")),
    };
    place.join(format!("hugepages-{}kB", page / 1024))
}

fn nodes(roots: &Roots) -> Vec<u16> {
    let names = entries(&roots.sys.join("devices/system/node"));
    let mut nodes: Vec<u16> = names.iter().filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect();
    nodes.sort_unstable();
    nodes
}

/// `2M`, `1G`, `2048K` or bytes, as mount options write sizes.
fn mount_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// `2 MiB`, `1 GiB`.
pub fn human(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift));
    whole.map_or_else(|| format!("{bytes} B"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn entries(dir: &Path) -> Vec<String> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const SMALL: u64 = 2 << 20;

    pub(super) fn put(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A machine with two nodes; node 0 has 8 pages of 2 MiB, of which `free` are free.
    pub(super) fn machine(free: u64, reserved: u64) -> (tempfile::TempDir, Roots) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        for (node, total, free) in [(None, 8, free), (Some(0), 8, free), (Some(1), 0, 0)] {
            let dir = directory(&roots, SMALL, node);
            put(dir.join("nr_hugepages"), &format!("{total}\n"));
            put(dir.join("free_hugepages"), &format!("{free}\n"));
            put(dir.join("surplus_hugepages"), "0\n");
        }
        put(directory(&roots, SMALL, None).join("resv_hugepages"), &format!("{reserved}\n"));
        (temp, roots)
    }

    /// A kernel that has `memory` pages to give at most.
    fn kernel(memory: u64) -> impl FnMut(&Path, &str) -> io::Result<()> {
        move |path, text| {
            if path.ends_with("compact_memory") {
                return Err(io::Error::from_raw_os_error(libc::ENOENT));
            }
            let free = path.with_file_name("free_hugepages");
            let used = number(path).unwrap() - number(&free).unwrap();
            let total = text.parse::<u64>().unwrap().min(memory);
            assert!(total >= used, "pages in use were taken away");
            fs::write(path, total.to_string())?;
            fs::write(free, (total - used).to_string())
        }
    }

    #[test]
    fn pools_are_counted_by_node_and_size() {
        let (_temp, roots) = machine(5, 0);
        let pool = |node, total, free| Pool { node: Some(node), page: SMALL, total, free, surplus: 0 };
        assert_eq!(pools(&roots), [pool(0, 8, 5), pool(1, 0, 0)]);
        assert_eq!(pools(&Roots::under(Path::new("/nonexistent"))), []);
    }

    #[test]
    fn a_pool_grows_by_what_is_used_and_promised() {
        let (_temp, roots) = machine(5, 2);
        // Three are used, two promised: four free ones need nine, six more eleven.
        let made = setup(&roots, 4 * SMALL, SMALL, None, &mut kernel(100)).unwrap();
        assert_eq!(made, Setup { asked: 4, total: (8, 9), available: 4 });
        let made = setup(&roots, 6 * SMALL - 1, SMALL, None, &mut kernel(100)).unwrap();
        assert_eq!(made, Setup { asked: 6, total: (9, 11), available: 6 });
    }

    #[test]
    fn a_pool_that_has_enough_is_not_touched() {
        let (_temp, roots) = machine(5, 0);
        let mut untouched = |_: &Path, _: &str| -> io::Result<()> { panic!("written") };
        let made = setup(&roots, 2 * SMALL, SMALL, Some(0), &mut untouched).unwrap();
        assert_eq!(made, Setup { asked: 2, total: (8, 8), available: 5 });
    }

    #[test]
    fn fewer_than_asked_is_an_error_that_says_how_many() {
        let (_temp, roots) = machine(5, 0);
        let error = setup(&roots, 64 * SMALL, SMALL, Some(0), &mut kernel(10)).unwrap_err();
        assert_eq!(error.kind(), Kind::Limit);
        let text = error.to_string();
        assert!(text.contains("asked for 64 free huge pages of 2 MiB on node 0, got 7;"), "{text}");
        assert!(text.contains("hugepagesz=2M hugepages=64"), "{text}");
    }

    #[test]
    fn what_the_machine_lacks_is_named() {
        let (_temp, roots) = machine(5, 0);
        let told = |bytes, page, node| {
            let error = plan_setup(&roots, bytes, page, node).unwrap_err();
            (error.kind(), error.to_string())
        };
        assert_eq!(
            told(1 << 30, 1 << 30, None),
            (Kind::Unsupported, "this machine has no huge pages of 1 GiB; it has 2 MiB".into())
        );
        assert_eq!(
            told(SMALL, SMALL, Some(7)),
            (Kind::Usage, "this machine has no NUMA node 7; its nodes: 0, 1".into())
        );
        assert_eq!(told(0, SMALL, None).0, Kind::Usage);
        let (_, text) = plan_setup(&roots, u64::MAX, SMALL, None).unwrap().unwrap();
        assert_eq!(text, (3 + u64::MAX.div_ceil(SMALL)).to_string());
    }

    #[test]
    fn clearing_keeps_what_is_used_or_promised() {
        let (_temp, roots) = machine(5, 2);
        let cleared = clear(&roots, None, None, &mut kernel(100)).unwrap();
        assert_eq!(cleared, [Cleared { page: SMALL, freed: 3, kept: 5 }]);
        assert_eq!(clear(&roots, None, None, &mut kernel(100)).unwrap()[0].freed, 0);
    }
}
