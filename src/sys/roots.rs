//! Where the kernel's file systems are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The roots under which bmnic looks for the kernel's files.
///
/// They are the usual ones unless the environment names others
/// (`BMNIC_SYS_ROOT`, `BMNIC_PROC_ROOT`, `BMNIC_DEV_ROOT`, `BMNIC_RUN_ROOT`,
/// `BMNIC_ETC_ROOT`), so that everything that would change a machine can be tried on a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `/sys`
    pub sys: PathBuf,
    /// `/proc`
    pub proc: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
    /// `/run`: where journals live until the next boot.
    pub run: PathBuf,
    /// `/etc`: what holds for the next boot.
    pub etc: PathBuf,
}

impl Roots {
    /// The roots the environment names, or the usual ones.
    pub fn from_env() -> Self {
        let root = |variable: &str, usual: &str| {
            std::env::var_os(variable).filter(|v| !v.is_empty()).unwrap_or_else(|| OsString::from(usual)).into()
        };
        Roots {
            sys: root("BMNIC_SYS_ROOT", "/sys"),
            proc: root("BMNIC_PROC_ROOT", "/proc"),
            dev: root("BMNIC_DEV_ROOT", "/dev"),
            run: root("BMNIC_RUN_ROOT", "/run"),
            etc: root("BMNIC_ETC_ROOT", "/etc"),
        }
    }

    /// All under one directory: a fake tree for tests.
    pub fn under(directory: &Path) -> Self {
        Roots {
            sys: directory.join("sys"),
            proc: directory.join("proc"),
            dev: directory.join("dev"),
            run: directory.join("run"),
            etc: directory.join("etc"),
        }
    }

    /// Whether the files are those of the kernel that runs, and not a copy's.
    pub fn is_running(&self) -> bool {
        self.sys == Path::new("/sys")
    }

    /// `/sys/bus/pci`.
    pub fn pci(&self) -> PathBuf {
        self.sys.join("bus/pci")
    }
}
