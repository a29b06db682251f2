//! The calls by which cards change hands. Each is one act, and none undoes itself.
//!
//! [`super::bind`] decides what to do and in which order; it reaches the machine
//! through [`Kernel`] alone. A test puts its own kernel behind it, one that
//! plays the effects on a tree of plain files and can fail or die at any call.

use crate::error::{Error, Kind, Result};
use crate::sys::Roots;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What binding may do to a machine.
pub trait Kernel {
    /// Writes `text` into the sysfs attribute at `path`, in one write.
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;

    /// Loads the module of a driver.
    fn load_module(&self, name: &str) -> Result<()>;

    /// Gives a device node to a user, a group, or both, with the permissions `mode`.
    fn own(&self, path: &Path, user: Option<u32>, group: Option<u32>, mode: u32) -> io::Result<()>;

    /// Makes a new file whose content is on disk when this returns; an old one is replaced.
    fn create(&self, path: &Path, text: &str) -> io::Result<()>;

    /// Renames a file of the same directory, on disk when this returns.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; that it is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Waits for what the last write brings about; false if it did not come.
    fn settled(&self, ready: &mut dyn FnMut() -> bool) -> bool;
}

/// The kernel this program runs on.
#[derive(Debug)]
pub struct Running {
    sys: PathBuf,
}

impl Running {
    /// The kernel whose files are under `roots`.
    pub fn new(roots: &Roots) -> Running {
        Running { sys: roots.sys.clone() }
    }
}

impl Kernel for Running {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        // As `echo > path` does, but never creating the file: a missing attribute
        // is a feature this kernel lacks.
        OpenOptions::new().write(true).truncate(true).open(path)?.write_all(text.as_bytes())
    }

    fn load_module(&self, name: &str) -> Result<()> {
        let failed = |why: String| Error::new(Kind::Unsupported, format!("loading the module {name} failed: {why}"));
        if self.sys != Path::new("/sys") {
            return Err(failed(format!("{} is not the running kernel's /sys", self.sys.display())));
        }
        let output = Command::new("modprobe").arg("--").arg(name).output();
        let output = output.map_err(|e| failed(format!("modprobe: {e}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(said.lines().last().unwrap_or("modprobe gave no reason").trim().to_string()))
    }

    fn own(&self, path: &Path, user: Option<u32>, group: Option<u32>, mode: u32) -> io::Result<()> {
        chown(path, user, group)?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn create(&self, path: &Path, text: &str) -> io::Result<()> {
        self.remove(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        // Whatever the umask.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        File::open(to.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn settled(&self, ready: &mut dyn FnMut() -> bool) -> bool {
        // A probe ends before the write returns, unless its driver asked for
        // an asynchronous one; those take milliseconds.
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            if ready() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
