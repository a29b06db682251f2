//! Files in folders where every user may make some, as in /tmp: another may have put a link, a
//! file or a pipe where one is going to be written.
//!
//! The rules are those of Linux's `protected_symlinks` and `protected_regular` (proc(5)), which
//! not every machine has on: what is there must be this user's, or the owner's of the folder.

use super::effective_user;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens a file to write, which is made if it is not there, and emptied if `empty`.
///
/// # Errors
/// `PermissionDenied` for what another user has put in a folder of all; nothing of it, and of what
/// it leads to, has changed then. Those of open(2).
pub fn create(path: &Path, empty: bool) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(false);
    if shared_by(path).is_none() {
        return how.truncate(empty).open(path);
    }
    look(path)?;
    let file = match how.clone().custom_flags(libc::O_NOFOLLOW).open(path) {
        // It is a link: of this user's it is known that nobody else can have changed it.
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) && leads(path)? => how.open(path)?,
        opened => opened?,
    };
    vet(path, &file)?;
    if empty && file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Refuses what is at `path` if another user has put it into a folder of all: before it is opened,
/// as the open of a pipe waits for its reader.
///
/// # Errors
/// `PermissionDenied`.
pub fn look(path: &Path) -> io::Result<()> {
    match (shared_by(path), fs::symlink_metadata(path)) {
        (Some(owner), Ok(there)) if !is_trusted(&there, owner) => Err(planted(path)),
        _ => Ok(()),
    }
}

/// Refuses a file that was opened by `path` if another user had put it there.
///
/// # Errors
/// `PermissionDenied`, and those of stat(2).
pub fn vet(path: &Path, file: &File) -> io::Result<()> {
    let Some(owner) = shared_by(path) else { return Ok(()) };
    let (there, found) = (fs::symlink_metadata(path)?, file.metadata()?);
    let same = there.is_symlink() || (there.dev(), there.ino()) == (found.dev(), found.ino());
    let device = found.file_type().is_char_device();
    let trusted = [&there, &found].iter().all(|data| is_trusted(data, owner));
    if same && (trusted || device && is_trusted(&there, owner)) { Ok(()) } else { Err(planted(path)) }
}

/// Whether `path` is a link, and one to follow.
///
/// # Errors
/// `PermissionDenied` if another user has put it in a folder of all.
pub fn leads(path: &Path) -> io::Result<bool> {
    look(path)?;
    Ok(path.is_symlink())
}

/// The owner of the folder that `path` is in, if every user may make files there.
fn shared_by(path: &Path) -> Option<u32> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::metadata(folder).ok().filter(|found| found.mode() & 0o002 != 0).map(|found| found.uid())
}

fn is_trusted(data: &Metadata, folder: u32) -> bool {
    [effective_user(), folder].contains(&data.uid())
}

fn planted(path: &Path) -> io::Error {
    let whose = fs::symlink_metadata(path).map_or(String::new(), |found| format!(", user {}", found.uid()));
    let line =
        format!("another user{whose}, has put it into a folder that all may write to; remove it, or name another");
    io::Error::new(io::ErrorKind::PermissionDenied, line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    const NOBODY: u32 = 65_534;

    /// A folder of all users, and what another has put there; none if this user may not do so.
    fn folder() -> Option<(tempfile::TempDir, std::path::PathBuf)> {
        if effective_user() != 0 {
            println!("SKIPPED  what another user has put somewhere: takes root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("all");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o1777)).unwrap();
        Some((dir, folder))
    }

    #[test]
    fn what_another_user_put_into_a_folder_of_all_is_refused_and_stays_as_it_is() {
        let Some((dir, folder)) = folder() else { return };
        let (secret, fresh) = (dir.path().join("secret"), dir.path().join("fresh"));
        fs::write(&secret, "kept").unwrap();
        for (name, to) in [("link", &secret), ("dangling", &fresh)] {
            symlink(to, folder.join(name)).unwrap();
            lchown(folder.join(name), Some(NOBODY), None).unwrap();
            let error = create(&folder.join(name), true).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
            assert!(leads(&folder.join(name)).is_err());
        }
        assert!(fs::read_to_string(&secret).unwrap() == "kept" && !fresh.exists());
        fs::write(folder.join("file"), "theirs").unwrap();
        chown(folder.join("file"), Some(NOBODY), None).unwrap();
        assert!(create(&folder.join("file"), true).is_err());
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "theirs");
        super::super::make_fifo(&folder.join("pipe")).unwrap();
        chown(folder.join("pipe"), Some(NOBODY), None).unwrap();
        let pipe = OpenOptions::new().read(true).write(true).open(folder.join("pipe")).unwrap();
        assert!(vet(&folder.join("pipe"), &pipe).is_err(), "its reader would have the packets");
        drop(pipe);
        assert!(create(&folder.join("pipe"), true).is_err(), "and nobody waits for one");
    }

    #[test]
    fn what_is_of_this_user_is_written_wherever_it_is() {
        let Some((dir, folder)) = folder() else { return };
        let target = dir.path().join("target");
        fs::write(&target, "old").unwrap();
        symlink(&target, folder.join("mine")).unwrap();
        assert!(leads(&folder.join("mine")).unwrap() && !leads(&folder.join("new")).unwrap());
        create(&folder.join("mine"), false).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        create(&folder.join("mine"), true).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
        create(&folder.join("new"), true).unwrap();
        assert!(folder.join("new").is_file());
        // Of a user's own folder root is not kept.
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        symlink(&target, theirs.join("link")).unwrap();
        lchown(theirs.join("link"), Some(NOBODY), None).unwrap();
        create(&theirs.join("link"), true).unwrap();
        create(Path::new("/dev/null"), true).unwrap();
    }
}
