//! Names by which processes of one machine find each other: sockets in one folder.
//!
//! Who may connect is what a socket's permissions say; they are the closest ones from the
//! moment it has a name. A name is in use as long as somebody answers there: what a killed
//! process has left behind is taken over.

use crate::error::{Error, Kind, Result};
use crate::sys;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long somebody else may take to come or go.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Who answers by a name, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose {
    /// Its user.
    pub user: u32,
    /// Its process id.
    pub pid: i32,
}

/// What a name is the name of.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    /// In a line, and in the socket's name.
    pub noun: &'static str,
    /// What the one who has it does by it.
    pub does: &'static str,
}

/// Where the names are: where cables are, which others can reach as well.
pub fn directory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    let fallback = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    fallback.filter(|_| !shared.is_dir()).unwrap_or(shared)
}

/// The socket of a name.
///
/// # Errors
/// [`Kind::Usage`] for what is no name.
pub fn path(directory: &Path, sort: Sort, name: &str) -> Result<PathBuf> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let noun = sort.noun;
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fits) {
        let line = format!("'{name}' cannot be the name of a {noun}; use up to 64 letters, digits, '.', '-' and '_'");
        return Err(Error::new(Kind::Usage, line));
    }
    Ok(directory.join(format!("bmnic-{noun}-{name}")))
}

/// Takes the name in `path`, which is in `directory`, for this user and root.
///
/// # Errors
/// [`Kind::Refused`] if somebody has it, otherwise what the operating system says.
pub fn take(directory: &Path, path: &Path, sort: Sort, name: &str) -> Result<UnixListener> {
    let Sort { noun, does } = sort;
    let doing = |e| Error::io(format!("{noun} {name}: taking the name {}", path.display()), e);
    let _taking = alone(directory, sort, name)?;
    match sys::net::listen(path, 0o600) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            if let Some(whose) = UnixStream::connect(path).ok().and_then(|peer| whose(&peer).ok()) {
                let Whose { user, pid } = whose;
                let line = format!("{noun} {name}: process {pid} of user {user} {does} by this name; use another");
                return Err(Error::new(Kind::Refused, line));
            }
            if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                let line = format!("{noun} {name}: {} is no socket; remove it, or use another name", path.display());
                return Err(Error::new(Kind::Refused, line));
            }
            // Left behind by one that was killed.
            fs::remove_file(path).map_err(doing)?;
            sys::net::listen(path, 0o600).map_err(doing)
        }
        other => other.map_err(doing),
    }
}

/// Held while a name is taken: two would not both find the other's socket dead.
fn alone(directory: &Path, sort: Sort, name: &str) -> Result<File> {
    let noun = sort.noun;
    let doing = |e| Error::io(format!("{noun} {name}: locking {}", directory.display()), e);
    let file = File::open(directory).map_err(doing)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => {
                let line = format!("{noun} {name}: another process has locked {} for 2 s", directory.display());
                return Err(Error::new(Kind::Timeout, line));
            }
            Err(TryLockError::Error(e)) => return Err(doing(e)),
        }
    }
}

/// Connects to the one who has a name. `nobody` and `not_ours` are the lines for a name that
/// nobody has, and for one that this user may not use.
///
/// # Errors
/// [`Kind::NotFound`] if nobody is there, [`Kind::Permission`] if this user may not.
pub fn connect(path: &Path, sort: Sort, name: &str, nobody: &str, not_ours: &str) -> Result<(UnixStream, Whose)> {
    let noun = sort.noun;
    let doing = |e| Error::io(format!("{noun} {name}: asking at {}", path.display()), e);
    let peer = UnixStream::connect(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::new(Kind::NotFound, nobody),
        io::ErrorKind::PermissionDenied => Error::new(Kind::Permission, format!("{noun} {name}: {not_ours}")),
        _ => doing(e),
    })?;
    let whose = whose(&peer).map_err(doing)?;
    Ok((peer, whose))
}

/// Whose the socket is to which this one is connected.
fn whose(peer: &UnixStream) -> io::Result<Whose> {
    let (user, pid) = sys::net::peer(peer.as_fd())?;
    Ok(Whose { user, pid })
}
