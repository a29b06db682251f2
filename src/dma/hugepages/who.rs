//! Who holds huge pages: processes, and files that nobody has open any more.

use super::{entries, mounts};
use crate::sys::Roots;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process that holds huge pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Bytes mapped; what processes share counts in each.
    pub bytes: u64,
    /// Files of hugetlbfs it has mapped or open.
    pub files: Vec<PathBuf>,
}

/// Who holds huge pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Processes, most bytes first.
    pub holders: Vec<Holder>,
    /// Files of hugetlbfs that no process seen has open, and their bytes: what
    /// a killed program left behind.
    pub stale: Vec<(PathBuf, u64)>,
    /// Processes that this user may not look into.
    pub unseen: usize,
}

/// The processes that hold huge pages, and the files nobody holds any more.
pub fn who(roots: &Roots) -> Who {
    let mounts: Vec<PathBuf> = mounts(roots).into_iter().map(|mount| mount.directory).collect();
    let on_mount = |path: &Path| mounts.iter().any(|mount| path.starts_with(mount));
    // A process in another mount namespace, as in a container, has them by other paths.
    let mut ours: BTreeMap<Inode, (PathBuf, u64)> = BTreeMap::new();
    for path in mounts.iter().flat_map(|mount| entries(mount).into_iter().map(|name| mount.join(name))) {
        if let Ok(file) = fs::symlink_metadata(&path)
            && file.is_file()
        {
            ours.insert((file.dev(), file.ino()), (path, file.len()));
        }
    }
    let known = |(inode, path): (Option<Inode>, PathBuf)| match inode.and_then(|inode| ours.get(&inode)) {
        Some((path, _)) => Some(path.clone()),
        None => on_mount(&path).then_some(path),
    };
    let (mut who, mut held) = (Who::default(), BTreeSet::new());
    for pid in entries(&roots.proc).iter().filter_map(|name| name.parse::<u32>().ok()) {
        let dir = roots.proc.join(pid.to_string());
        let bytes = match fs::read_to_string(dir.join("smaps_rollup")) {
            Ok(rollup) => hugetlb_bytes(&rollup),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                who.unseen += 1;
                continue;
            }
            // A kernel thread, or a process that has just ended.
            Err(_) => continue,
        };
        // A file may be mapped and none of its pages touched yet.
        let maps = fs::read_to_string(dir.join("maps")).unwrap_or_default();
        let mapped = maps.lines().filter_map(|line| Some((inode(line), PathBuf::from(&line[line.find('/')?..]))));
        let descriptors = dir.join("fd");
        let opened = entries(&descriptors).into_iter().filter_map(|fd| {
            let fd = descriptors.join(fd);
            let file = fs::metadata(&fd).ok().map(|file| (file.dev(), file.ino()));
            Some((file, fs::read_link(fd).ok()?))
        });
        let files: BTreeSet<PathBuf> = mapped.chain(opened).filter_map(known).collect();
        if bytes > 0 || !files.is_empty() {
            held.extend(files.iter().cloned());
            let command = fs::read_to_string(dir.join("comm")).unwrap_or_default().trim().to_string();
            who.holders.push(Holder { pid, command, bytes, files: files.into_iter().collect() });
        }
    }
    who.holders.sort_by_key(|holder| (std::cmp::Reverse(holder.bytes), holder.pid));
    who.stale = ours.into_values().filter(|(path, _)| !held.contains(path)).collect();
    who.stale.sort_unstable();
    who
}

/// A file, whatever its path: `st_dev` and `st_ino`.
type Inode = (u64, u64);

/// The file of a mapping, from the fourth and fifth column of its line in proc_pid_maps(5).
fn inode(line: &str) -> Option<Inode> {
    let mut columns = line.split_whitespace().skip(3);
    let (major, minor) = columns.next()?.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    Some((libc::makedev(number(major)?, number(minor)?), columns.next()?.parse().ok()?))
}

/// `Shared_Hugetlb: 2048 kB` and `Private_Hugetlb` together, in bytes.
fn hugetlb_bytes(rollup: &str) -> u64 {
    let kib = |line: &str| {
        let value = line.strip_prefix("Shared_Hugetlb:").or_else(|| line.strip_prefix("Private_Hugetlb:"))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    rollup.lines().filter_map(kib).map(|kib| kib.saturating_mul(1024)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::super::{Mount, tests::SMALL, tests::machine, tests::put};
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn holders_and_files_left_behind_are_told_apart() {
        let (temp, roots) = machine(5, 0);
        let mount = temp.path().join("huge");
        put(mount.join("rtemap_0"), "");
        put(mount.join("left_over"), "");
        put(roots.proc.join("mounts"), &format!("none {} hugetlbfs rw,pagesize=2M 0 0\n", mount.display()));
        let process = roots.proc.join("77");
        put(process.join("comm"), "testpmd\n");
        put(process.join("smaps_rollup"), "Rss: 9 kB\nShared_Hugetlb:      4096 kB\nPrivate_Hugetlb:   2048 kB\n");
        put(
            process.join("maps"),
            &format!("7f00-7f20 rw-s 0 00:10 5    {}/rtemap_0\n7f-80 rw-p 0 0:0 0\n", mount.display()),
        );
        put(roots.proc.join("78/smaps_rollup"), "Shared_Hugetlb: 0 kB\n");
        fs::create_dir_all(process.join("fd")).unwrap();
        symlink("/dev/null", process.join("fd/0")).unwrap();
        assert_eq!(mounts(&roots), [Mount { directory: mount.clone(), page: SMALL }]);
        let found = who(&roots);
        let files = vec![mount.join("rtemap_0")];
        assert_eq!(found.holders, [Holder { pid: 77, command: "testpmd".into(), bytes: 6 << 20, files }]);
        assert_eq!(found.stale, [(mount.join("left_over"), 0)]);
    }
}
