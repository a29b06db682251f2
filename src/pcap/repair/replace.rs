//! Putting the mended file in the place of the torn one, or nothing at all.

use crate::sys::{self, Beside};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::Duration;

/// Puts the first `keep` bytes of `file` in its place at `path`, with the same
/// owner and mode.
pub(super) fn replace(
    path: &Path,
    file: &File,
    keep: u64,
    found: &fs::Metadata,
    stopped: &dyn Fn() -> bool,
) -> io::Result<()> {
    let writing = || io::Error::other("another program has it open for writing; end that first");
    if is_open_for_writing(file) {
        return Err(writing());
    }
    // What can fail does so before anything has another name.
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    let beside = Beside::make(path, "repair", 0o600)?;
    copy(file, &beside.file, keep, stopped)?;
    let new = beside.file.metadata()?;
    if (new.uid(), new.gid()) != (found.uid(), found.gid()) {
        fchown(&beside.file, Some(found.uid()), Some(found.gid()))?;
    }
    // After the owner, whose change takes bits of the mode away.
    beside.file.set_permissions(Permissions::from_mode(found.mode() & 0o7777))?;
    beside.file.sync_all()?;
    if is_open_for_writing(file) {
        return Err(writing());
    }
    if state(&fs::metadata(path)?) != state(found) {
        return Err(io::Error::other("it was changed or replaced meanwhile; end what does that first"));
    }
    beside.take_place(path)?;
    // The new name lasts once the folder is on the disk. Until then a loss of power
    // brings back the torn file, which is no loss.
    let _ = folder.sync_all();
    Ok(())
}

/// What tells a file from another, and from itself before it was changed.
fn state(file: &fs::Metadata) -> [i64; 7] {
    let (dev, inode, len) = (file.dev() as i64, file.ino() as i64, file.len() as i64);
    [dev, inode, len, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]
}

/// Whether anybody has it open for writing, where the kernel can say. A program that
/// is just being started may hold what its parent has closed, for a moment.
fn is_open_for_writing(file: &File) -> bool {
    for attempt in 0..10 {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !sys::is_open_for_writing(file).unwrap_or(false) {
            return false;
        }
    }
    true
}

fn copy(mut from: &File, mut to: &File, len: u64, stopped: &dyn Fn() -> bool) -> io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    let (mut left, mut bytes) = (len, vec![0; 1 << 20]);
    while left > 0 {
        if stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let part = left.min(bytes.len() as u64) as usize;
        from.read_exact(&mut bytes[..part])?;
        to.write_all(&bytes[..part])?;
        left -= part as u64;
    }
    Ok(())
}
