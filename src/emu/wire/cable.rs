//! The cable: two processes joined through shared memory.
//!
//! ```text
//!   /dev/shm/bmnic-cable-NAME        byte-range locks (open file description)
//!   0     magic, version, size       0  held by the process at end 0
//!   64    end 0: generation, pid     1  held by the process at end 1
//!   128   end 1: generation, pid     2  held while an end comes or goes
//!   4096  lane 0: end 0 -> end 1
//!   ...   lane 1: end 1 -> end 0
//! ```
//!
//! An end is taken as long as its lock is held. The kernel drops the lock when
//! the process dies, however it dies, so a file left behind by a crash is told
//! from a cable in use, and a killed peer is noticed within milliseconds:
//! carrier goes, and comes back when another process takes its place. The last
//! end to leave removes the file.
//!
//! Both ends run as the same user (the file's mode is 0600), which is as much as
//! is believed of the other one: see [`lane`](super::lane). An end that finds
//! the cable torn loses carrier for good. What a user can still do to himself is
//! to truncate the file under a running program, which the kernel answers with
//! SIGBUS.
//!
//! The two processes have different clocks. The reader takes the smallest
//! difference between the sender's time and its own that it has seen for the
//! difference of the clocks, so frames keep their spacing and none comes before
//! it was sent.

#![allow(unsafe_code)]

use super::lane::{CONTROL, Reader, Torn, Writer};
use super::seldom::Seldom;
use super::{Fate, Note, Picos, Wire};
use crate::error::{Error, Kind, Result};
use crate::sys;
use memmap2::MmapRaw;
use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Bytes on their way, each direction: 27 ms at 10 Gbit/s, which bridges what a
/// process loses its processor for. Memory is used only as far as frames wait.
const ROOM: usize = 32 << 20;

const LANE: usize = CONTROL + ROOM;
const LENGTH: usize = CONTROL + 2 * LANE;

/// "bmnicable" would be nine.
const MAGIC: [u8; 8] = *b"bmcable\0";
const VERSION: u32 = 1;

/// Lock byte held while an end comes or goes.
const DOOR: u64 = 2;
/// How long another process may take in the door.
const DOOR_WAIT: Duration = Duration::from_secs(2);

/// Frames that were sent and reached nobody, by cause.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    full: u64,
    unheard: u64,
    torn: u64,
}

/// One end of a cable between two processes.
pub struct Cable {
    path: PathBuf,
    file: File,
    map: Arc<MmapRaw>,
    end: usize,
    pause: bool,
    send: Writer,
    receive: Reader,
    torn: Cell<bool>,
    counts: Counts,
    /// Generation of the peer whose clock `offset` is for.
    peer: u32,
    /// Our clock minus the peer's.
    offset: Option<i64>,
    /// Whose life is known, and whether that one lives.
    known: Cell<u32>,
    alive: Cell<bool>,
    look: Seldom,
}

impl Cable {
    /// Takes a free end of the cable `name`, which comes into being if there is
    /// none. With `pause` a full cable makes the sender wait; without, it loses
    /// frames.
    ///
    /// # Errors
    /// [`Kind::Refused`] if both ends are taken or the file is another user's,
    /// otherwise what the operating system says.
    pub fn open(name: &str, pause: bool) -> Result<Self> {
        let shared = Path::new("/dev/shm");
        let fallback = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        match fallback.filter(|_| !shared.is_dir()) {
            Some(dir) => Self::open_in(&dir, name, pause),
            None => Self::open_in(shared, name, pause),
        }
    }

    /// As [`Cable::open`], with the file in this directory.
    pub(super) fn open_in(dir: &Path, name: &str, pause: bool) -> Result<Self> {
        let path = dir.join(format!("bmnic-cable-{name}"));
        let doing = || format!("cable {name}: opening {}", path.display());
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(|e| match e.kind() {
                    std::io::ErrorKind::PermissionDenied => {
                        Error::io(doing(), e).hint("both ends of a cable must be held by the same user")
                    }
                    _ => Error::io(doing(), e),
                })?;
            let meta = file.metadata().map_err(|e| Error::io(doing(), e))?;
            if !meta.is_file() || meta.uid() != sys::effective_user() || meta.mode() & 0o077 != 0 {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "cable {name}: {} is open to others or not a file of this user; remove it or use another name",
                        path.display()
                    ),
                ));
            }
            let _door = Door::enter(&file, name)?;
            // The last end may have removed the file before we came in.
            if fs::symlink_metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (meta.dev(), meta.ino())) {
                return Self::attach(file.try_clone().map_err(|e| Error::io(doing(), e))?, &path, name, pause);
            }
        }
    }

    /// Takes an end of the file; the door is ours.
    fn attach(file: File, path: &Path, name: &str, pause: bool) -> Result<Self> {
        let doing = |what: &str| format!("cable {name}: {what} {}", path.display());
        let locking = |e| Error::io(doing("locking"), e);
        let end = if sys::lock_byte(&file, 0).map_err(locking)? {
            0
        } else if sys::lock_byte(&file, 1).map_err(locking)? {
            1
        } else {
            let held = holders(&file);
            return Err(Error::new(
                Kind::Refused,
                format!("cable {name}: both ends are taken{held}; a cable has two, use another name"),
            ));
        };
        let in_use = sys::byte_is_locked(&file, 1 - end as u64).map_err(locking)?;
        if !in_use {
            // New, or left behind by a crash: start afresh. What is touched
            // without asking gets its memory now; lanes ask.
            let afresh = || {
                file.set_len(0)?;
                file.set_len(LENGTH as u64)?;
                [0, CONTROL, CONTROL + LANE]
                    .iter()
                    .try_for_each(|&page| sys::allocate(&file, page as u64, CONTROL as u64))
            };
            afresh().map_err(|e| Error::io(doing("making room for"), e))?;
        }
        let short = file.metadata().map_err(|e| Error::io(doing("reading"), e))?.len() < LENGTH as u64;
        if short {
            return Err(other_version(name, path));
        }
        let map = MmapRaw::map_raw(&file).map_err(|e| Error::io(doing("mapping"), e))?;
        let header = Header(&map);
        if !in_use {
            header.write();
        } else if !header.fits() {
            return Err(other_version(name, path));
        }
        let map = Arc::new(map);
        let header = Header(&map);
        let backing = file.try_clone().map_err(|e| Error::io(doing("opening"), e))?;
        let send = Writer::in_file(backing, &map, CONTROL + end * LANE, ROOM)
            .map_err(|e| Error::io(doing("making room for"), e))?;
        let receive = Reader::new(&map, CONTROL + (1 - end) * LANE, ROOM);
        // Published last: the peer sends as soon as it sees this.
        header.pid(end).store(std::process::id(), Ordering::Relaxed);
        header.generation(end).store(sys::monotonic_raw_ns() as u32 | 1, Ordering::Release);
        Ok(Cable {
            path: path.into(),
            file,
            end,
            pause,
            send,
            receive,
            torn: Cell::new(false),
            counts: Counts::default(),
            peer: 0,
            offset: None,
            known: Cell::new(0),
            alive: Cell::new(false),
            look: Seldom::new(),
            map,
        })
    }

    /// Whether a living process holds the other end. The lock is the truth, but
    /// asking for it is a system call: that is done when somebody new is there,
    /// and otherwise now and then.
    fn peer_is_there(&self) -> bool {
        let generation = Header(&self.map).generation(1 - self.end).load(Ordering::Acquire);
        if generation == 0 {
            return false;
        }
        if generation != self.known.get() || self.look.is_due() {
            self.known.set(generation);
            self.alive.set(sys::byte_is_locked(&self.file, 1 - self.end as u64).unwrap_or(false));
        }
        self.alive.get()
    }
}

impl Wire for Cable {
    #[inline]
    fn send(&mut self, frame: &[u8], at: Picos) -> bool {
        if self.torn.get() {
            self.counts.torn += 1;
            return true;
        }
        match self.send.push(frame, at) {
            Ok(true) => return true,
            // A dead reader must not hold us back.
            Ok(false) if !self.peer_is_there() => self.counts.unheard += 1,
            Ok(false) if self.pause => return false,
            Ok(false) => self.counts.full += 1,
            Err(Torn) => {
                self.torn.set(true);
                self.counts.torn += 1;
            }
        }
        true
    }

    #[inline]
    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if self.torn.get() {
            return None;
        }
        match self.receive.front() {
            Ok(Some((frame, sent))) => {
                let generation = Header(&self.map).generation(1 - self.end).load(Ordering::Relaxed);
                if generation != self.peer {
                    self.peer = generation;
                    self.offset = None;
                }
                let apart = now.wrapping_sub(sent) as i64;
                let offset = self.offset.map_or(apart, |offset| offset.min(apart));
                self.offset = Some(offset);
                Some((frame, sent.wrapping_add(offset as u64).min(now)))
            }
            Ok(None) => None,
            Err(Torn) => {
                self.torn.set(true);
                None
            }
        }
    }

    #[inline]
    fn advance(&mut self) {
        self.receive.pop();
    }

    /// What the other end sent before it left still arrives.
    fn carrier(&self) -> bool {
        !self.torn.get() && (self.peer_is_there() || !self.receive.is_empty())
    }

    fn waits(&self) -> bool {
        self.pause
    }

    fn report(&mut self) -> Vec<Note> {
        let Counts { full, unheard, torn } = self.counts;
        let lost = |key, words, frames| Note::new(Fate::LostOut, key, words, frames);
        vec![
            lost("cable_full", "lost in the cable, which was full (pause=off)", full),
            lost("nobody_there", "sent while nobody was at the other end", unheard),
            lost("cable_torn", "lost because the other end wrote what it must not", torn),
        ]
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        Header(&self.map).generation(self.end).store(0, Ordering::Release);
        // Without the door the file stays, and the next process takes it over.
        let Ok(_door) = Door::enter(&self.file, "") else { return };
        if matches!(sys::byte_is_locked(&self.file, 1 - self.end as u64), Ok(false)) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = sys::unlock_byte(&self.file, self.end as u64);
    }
}

/// The lock that lets ends come and go one at a time.
struct Door<'a>(&'a File);

impl<'a> Door<'a> {
    fn enter(file: &'a File, name: &str) -> Result<Self> {
        let deadline = Instant::now() + DOOR_WAIT;
        loop {
            match sys::lock_byte(file, DOOR) {
                Ok(true) => return Ok(Door(file)),
                Ok(false) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                Ok(false) => {
                    let line = format!("cable {name}: another process has been opening it for 2 s; is it stopped?");
                    return Err(Error::new(Kind::Timeout, line));
                }
                Err(e) => return Err(Error::io(format!("cable {name}: locking"), e)),
            }
        }
    }
}

impl Drop for Door<'_> {
    fn drop(&mut self) {
        let _ = sys::unlock_byte(self.0, DOOR);
    }
}

/// The first page of the file.
struct Header<'a>(&'a MmapRaw);

impl Header<'_> {
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset + 4 <= CONTROL && offset.is_multiple_of(4));
        // SAFETY: inside the first page of the mapping, which is at least LENGTH
        // long, and aligned. Other processes touch it as atomics too.
        unsafe { &*self.0.as_mut_ptr().add(offset).cast::<AtomicU32>() }
    }

    fn words(&self) -> [(usize, u32); 4] {
        let [a, b, c, d, e, f, g, h] = MAGIC;
        let magic = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
        [(0, magic[0]), (4, magic[1]), (8, VERSION), (12, ROOM as u32)]
    }

    fn write(&self) {
        for (offset, word) in self.words() {
            self.word(offset).store(word, Ordering::Relaxed);
        }
    }

    fn fits(&self) -> bool {
        self.words().iter().all(|&(offset, word)| self.word(offset).load(Ordering::Relaxed) == word)
    }

    /// Changes with each process that takes the end; 0 is nobody.
    fn generation(&self, end: usize) -> &AtomicU32 {
        self.word(64 * (1 + end))
    }

    /// For the error's text only.
    fn pid(&self, end: usize) -> &AtomicU32 {
        self.word(64 * (1 + end) + 4)
    }
}

/// ` (by processes 12 and 34)`, as far as the file can be believed.
fn holders(file: &File) -> String {
    let Ok(map) = MmapRaw::map_raw(file) else { return String::new() };
    if map.len() < CONTROL || !Header(&map).fits() {
        return String::new();
    }
    let pid = |end| Header(&map).pid(end).load(Ordering::Relaxed);
    format!(" (by processes {} and {})", pid(0), pid(1))
}

fn other_version(name: &str, path: &Path) -> Error {
    let line = format!(
        "cable {name}: {} is not a cable of this version of bmnic; end the other process, or use another name",
        path.display()
    );
    Error::new(Kind::Refused, line)
}

#[cfg(test)]
mod tests;
