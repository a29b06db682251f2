//! Huge pages beyond this run: those of the next boot, and files that a killed program left.
//!
//! Pages of the usual size are asked for by a file that sysctl reads at boot. Those of
//! another size, or of one node, only the kernel's command line can ask for in time, before
//! memory is scattered (Documentation/admin-guide/kernel-parameters.txt, `hugepages=`).

use super::needs_root;
use crate::dma::hugepages::{default_size, human, pages, who};
use crate::error::{Error, Kind, Result};
use crate::pci::kernel::Kernel;
use crate::sys::{self, Roots};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// First line of a file that is ours.
const MARK: &str = "# Written by `bmnic hugepages --persist`; `--clear --persist` removes it.";

/// What has pages come back after a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persist {
    /// A file with this text.
    File(PathBuf, String),
    /// Words for the kernel's command line.
    CommandLine(String),
}

/// What has `bytes` of pages of a size, on a node or anywhere, come back after a boot, and the
/// `total` of pages that the pool has by then: others use those too.
///
/// # Errors
/// As [`pages`].
pub fn plan(roots: &Roots, bytes: u64, page: u64, node: Option<u16>, total: u64) -> Result<Persist> {
    let count = pages(roots, bytes, page, node)?.max(total);
    if is_file(roots, page, node) {
        return Ok(Persist::File(path(roots), format!("{MARK}\nvm.nr_hugepages = {count}\n")));
    }
    let size = human(page).replace(' ', "").replace("iB", "");
    let place = node.map_or(String::new(), |node| format!("{node}:"));
    Ok(Persist::CommandLine(format!("hugepagesz={size} hugepages={place}{count}")))
}

/// Whether a file does for pages of this size and place.
pub fn is_file(roots: &Roots, page: u64, node: Option<u16>) -> bool {
    node.is_none() && page == default_size(roots)
}

/// Writes such a file, whole or not at all.
///
/// # Errors
/// [`Kind::Refused`] if somebody else's is there.
pub fn save(kernel: &dyn Kernel, path: &Path, text: &str) -> Result<()> {
    check(path)?;
    let temporary = path.with_extension("conf.new");
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        kernel.create(&temporary, text)?;
        kernel.rename(&temporary, path)
    };
    write().map_err(|e| {
        // Best effort: sysctl does not read it by this name.
        let _ = kernel.remove(&temporary);
        writing(path, e)
    })
}

/// Removes the file, if there is one.
///
/// # Errors
/// [`Kind::Refused`] if it is somebody else's.
pub fn forget(kernel: &dyn Kernel, roots: &Roots) -> Result<bool> {
    let path = path(roots);
    check(&path)?;
    let is_there = path.exists();
    kernel.remove(&path).map_err(|e| writing(&path, e))?;
    Ok(is_there)
}

fn writing(path: &Path, error: io::Error) -> Error {
    needs_root(Error::io(format!("writing {}", path.display()), error))
}

/// Where the file is.
pub fn path(roots: &Roots) -> PathBuf {
    roots.etc.join("sysctl.d/90-bmnic-hugepages.conf")
}

/// Whether the file is ours, or is not there.
///
/// # Errors
/// [`Kind::Refused`] if it is somebody else's.
pub fn check(path: &Path) -> Result<()> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(text) if text.starts_with(MARK) => Ok(()),
        Err(e) => Err(Error::io(format!("reading {}", path.display()), e)),
        Ok(_) => Err(Error::new(
            Kind::Refused,
            format!("{} was not written by bmnic and may be needed; move it away; nothing changed", path.display()),
        )),
    }
}

/// Files of hugetlbfs that no process holds: what they keep is lost until they are removed.
///
/// # Errors
/// [`Kind::Permission`] if there are processes that this user may not look into: one of them
/// may hold a file.
pub fn stale(roots: &Roots) -> Result<Vec<(PathBuf, u64)>> {
    let found = who(roots);
    if found.unseen > 0 && !found.stale.is_empty() {
        let way = match sys::effective_user() {
            0 => "not even root may here (CAP_SYS_PTRACE): see `bmnic hugepages --who`, and rm what is nobody's",
            _ => "run it with sudo",
        };
        let text = format!(
            "{} processes are not ours to look into, and one may hold what seems left behind; {way}",
            found.unseen
        );
        return Err(Error::new(Kind::Permission, text));
    }
    Ok(found.stale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::kernel::Running;

    /// A machine with pages of 2 MiB and 1 GiB.
    fn machine() -> (tempfile::TempDir, Roots) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        for place in ["kernel/mm", "devices/system/node/node1"] {
            for size in ["2048", "1048576"] {
                let pool = roots.sys.join(format!("{place}/hugepages/hugepages-{size}kB"));
                fs::create_dir_all(&pool).unwrap();
                for file in ["nr_hugepages", "free_hugepages"] {
                    fs::write(pool.join(file), "0\n").unwrap();
                }
            }
        }
        (temp, roots)
    }

    #[test]
    fn pages_of_the_usual_size_are_a_file_and_others_words_for_the_command_line() {
        let (_temp, roots) = machine();
        let words = |bytes, page, node| match plan(&roots, bytes, page, node, 0).unwrap() {
            Persist::File(path, text) => {
                assert_eq!(path, roots.etc.join("sysctl.d/90-bmnic-hugepages.conf"));
                text.lines().last().unwrap().to_string()
            }
            Persist::CommandLine(words) => words,
        };
        assert_eq!(words(64 << 20, 2 << 20, None), "vm.nr_hugepages = 32");
        assert_eq!(words(64 << 20, 2 << 20, Some(1)), "hugepagesz=2M hugepages=1:32");
        assert_eq!(words(4 << 30, 1 << 30, None), "hugepagesz=1G hugepages=4");
        assert_eq!(plan(&roots, 1, 1 << 12, None, 0).unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn the_file_is_ours_to_write_again_and_to_remove_and_nobody_elses_is_touched() {
        let (_temp, roots) = machine();
        let kernel = Running::new(&roots);
        for bytes in [64 << 20, 128 << 20] {
            let Persist::File(path, text) = plan(&roots, bytes, 2 << 20, None, 0).unwrap() else { panic!() };
            save(&kernel, &path, &text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(forget(&kernel, &roots).unwrap() && !forget(&kernel, &roots).unwrap());
        fs::write(path(&roots), "vm.nr_hugepages = 1\n").unwrap();
        assert_eq!(forget(&kernel, &roots).unwrap_err().kind(), Kind::Refused);
        assert_eq!(save(&kernel, &path(&roots), MARK).unwrap_err().kind(), Kind::Refused);
        assert_eq!(fs::read_to_string(path(&roots)).unwrap(), "vm.nr_hugepages = 1\n");
    }
}
