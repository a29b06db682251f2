//! Capture files: pcap and pcapng, read, written and mended.
//!
//! ```text
//!   packets ──record──> bytes ──write──> file ──packed, decode──> packets ──parts, read──> in memory
//!                                          |
//!                                          +──repair──> the same without its torn end
//! ```
//!
//! There is one decoder ([`decode::Reader`]) for whatever is replayed, counted or
//! mended. Like libpcap it reads what can be read: what it leaves out it counts
//! ([`LeftOut`]), and where it must stop it says where and why ([`Damage`]).
//!
//! Nothing here knows a card or a protocol. Packets are byte slices without FCS.

pub mod decode;
#[cfg(test)]
mod decode_tests;
pub mod packed;
pub mod parts;
mod pcapng;
pub mod read;
pub mod record;
pub mod repair;
#[cfg(test)]
pub(crate) mod samples;
pub mod section;
pub mod write;

pub use decode::{Damage, LeftOut};

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Least bytes of an Ethernet frame: its header (IEEE 802.3 §3.1.1).
pub const SHORTEST: usize = 14;

/// Whether two paths lead to one file, by links or by name; `-` is standard
/// output. A file that is not there yet is known by its folder and name.
pub fn same_file(a: &Path, b: &Path) -> bool {
    let found = |path: &Path| {
        let path = if path == Path::new("-") { Path::new("/dev/stdout") } else { path };
        fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    };
    match (found(a), found(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => place(a).is_some_and(|at| Some(at) == place(b)),
        _ => false,
    }
}

/// Where a file that is not there would be.
fn place(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_under_each_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::write(at("other"), "").unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        std::os::unix::fs::symlink("file", at("soft")).unwrap();
        for name in ["file", "hard", "soft", "./file"] {
            assert!(same_file(&at("file"), &at(name)), "{name}");
        }
        for name in ["other", "missing"] {
            assert!(!same_file(&at("file"), &at(name)), "{name}");
        }
        assert!(same_file(&at("missing"), &at("./missing")) && !same_file(&at("missing"), &at("gone")));
    }
}
