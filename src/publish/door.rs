//! Where readers come in: a socket of the ring's name, at which its memory is handed out.
//!
//! The thread that stands there waits in `accept` and shares nothing with the one that
//! publishes. Who may connect is what the socket's permissions say.

use super::name::{self, Sort, Whose};
use crate::error::{Error, Kind, Result};
use crate::sys;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What comes with the memory.
const WORD: &[u8; 8] = b"bmnicrng";

/// The names of rings.
pub const RING: Sort = Sort { noun: "ring", does: "publishes" };

/// Who may read a ring, besides its user and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody.
    Own,
    /// A group of users.
    Group(String),
    /// Everybody on this machine.
    All,
}

impl std::str::FromStr for Readers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Err(Error::new(Kind::Usage, "publish to whom? name a group, or all")),
            "all" => Ok(Readers::All),
            group => Ok(Readers::Group(group.into())),
        }
    }
}

/// A door that is open until it is dropped.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    listener: Arc<UnixListener>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    /// Takes the name in `path`, which is in `directory`, and hands `memory` out there.
    ///
    /// # Errors
    /// [`Kind::Refused`] if somebody has the name, [`Kind::NotFound`] for a group that is
    /// none, otherwise what the operating system says.
    pub fn open(directory: &Path, path: PathBuf, name: &str, readers: &Readers, memory: File) -> Result<Door> {
        let (mode, group) = match readers {
            Readers::Own => (0o600, None),
            Readers::All => (0o666, None),
            Readers::Group(group) => {
                let id = sys::group_id(group).ok_or_else(|| {
                    let line = format!("ring {name}: there is no group '{group}' to publish to; name one, or all");
                    Error::new(Kind::NotFound, line)
                })?;
                (0o660, Some(id))
            }
        };
        let listener = name::take(directory, &path, RING, name)?;
        let mut door = Door { path, listener: Arc::new(listener), closing: Arc::default(), thread: None };
        let doing = |e| Error::io(format!("ring {name}: letting readers in"), e);
        admit(&door.path, mode, group).map_err(doing)?;
        let (listener, closing) = (Arc::clone(&door.listener), Arc::clone(&door.closing));
        let serve = move || serve(&listener, &memory, &closing);
        let thread = thread::Builder::new().name("publish".into()).spawn(serve);
        let starting = |e| Error::thread(format!("ring {name}: starting the thread that lets readers in"), e);
        door.thread = Some(thread.map_err(starting)?);
        Ok(door)
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Changes who may connect to a socket of this user's, and to nothing else that has its name.
fn admit(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let itself = File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let found = itself.metadata()?;
    if !found.file_type().is_socket() || found.uid() != sys::effective_user() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another has taken its socket's name"));
    }
    let by_descriptor = format!("/proc/self/fd/{}", itself.as_raw_fd());
    if group.is_some() {
        chown(&by_descriptor, None, group)?;
    }
    fs::set_permissions(by_descriptor, Permissions::from_mode(mode))
}

impl Drop for Door {
    fn drop(&mut self) {
        // The name goes first: who comes then is told that there is none.
        let _ = fs::remove_file(&self.path);
        self.closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Ends the wait; without that the thread would be waited for in vain.
            if sys::net::stop_listening(&self.listener).is_ok() {
                let _ = thread.join();
            }
        }
    }
}

/// Hands the memory to all who come.
fn serve(listener: &UnixListener, memory: &File, closing: &AtomicBool) {
    while !closing.load(Ordering::Relaxed) {
        match listener.accept() {
            // One who leaves again has no need of it.
            Ok((peer, _)) => drop(sys::net::send_with_fds(peer.as_fd(), WORD, &[memory.as_fd()])),
            Err(_) if closing.load(Ordering::Relaxed) => return,
            // No descriptor left, for example: it may pass.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Asks at the door of a ring for its memory.
///
/// # Errors
/// [`Kind::NotFound`] if nobody is there, [`Kind::Permission`] if this user may not.
pub fn ask(path: &Path, name: &str) -> Result<(File, Whose)> {
    let none = format!("nobody publishes a ring '{name}'; bmnic capture --publish {name}");
    let doing = |e| Error::io(format!("ring {name}: asking at {}", path.display()), e);
    let not_ours = "it is not for this user; have it published to a group of yours";
    let (peer, whose) = name::connect(path, RING, name, &none, not_ours)?;
    peer.set_read_timeout(Some(name::PATIENCE)).map_err(doing)?;
    let (mut bytes, mut fds) = ([0; WORD.len()], Vec::<OwnedFd>::new());
    let count = sys::net::receive_with_fds(peer.as_fd(), &mut bytes, &mut fds, 1).map_err(doing)?;
    match fds.pop() {
        Some(memory) if bytes == *WORD => Ok((memory.into(), whose)),
        None if count == 0 => Err(Error::new(Kind::NotFound, none)),
        _ => Err(Error::new(Kind::Device, format!("ring {name}: what is at {} is not a ring", path.display()))),
    }
}
