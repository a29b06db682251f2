//! Mending a capture file whose last record is torn.
//!
//! A program that was killed, or a disk that was full, leaves the beginning of a
//! record at a file's end. That is cut off, and nothing else ever is. Where a
//! record says that it goes on behind the end of the file, either the file is torn
//! or that length is damaged, and then whole records may follow. Any sign of the
//! second is reason to leave the file alone.
//!
//! ```text
//!   file ──read──> whole records | torn one     everything else: refused, unchanged
//!                       |
//!                       v
//!   .file.repair-PID in the same folder ──fsync, rename──> file
//! ```
//!
//! Of a file that is compressed with gzip, as it is written here, a member that is torn is cut off
//! instead of a record.

mod evidence;
mod members;
mod replace;
#[cfg(test)]
mod tests;

use super::decode::{EMPTY, LONGER, Reader, Step};
use super::packed::Packing;
use crate::error::{Error, Kind, Result};
use evidence::Tail;
use replace::replace;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Records that are read between two looks at whether it is to end.
const STRIDE: u64 = 1024;

/// A file that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Packets in it, of whatever link.
    pub packets: u64,
    /// Bytes that were cut off its end.
    pub cut: u64,
}

/// Cuts a torn record off the end of the capture file at `path`. If it fails the
/// file is as it was and nothing is left beside it; so it is if `stopped` says
/// that it is to end.
///
/// # Errors
/// If it is no capture file, is damaged otherwise than by a torn end, may not be
/// written, or there is no room for the mended one.
pub fn repair(path: &Path, stopped: &dyn Fn() -> bool) -> Result<Repaired> {
    let shown = path.display();
    let failed = |error| Error::io(format!("mending {shown}"), error);
    // A pipe is not even opened: that would wait for its other end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::new(Kind::Unsupported, format!("{shown} is no regular file; only a file can be mended")));
    }
    // Behind a link the file is mended, not the link.
    let real = fs::canonicalize(path).map_err(failed)?;
    let file = File::open(&real).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if members::packing(&file).map_err(failed)? == Some(Packing::Gzip) {
        return members::repair(path, &real, &file, &found, stopped);
    }
    let mut reader = Reader::new(&file, &shown.to_string())?;
    let mut bytes = Vec::new();
    for step in 0_u64.. {
        if step.is_multiple_of(STRIDE) && stopped() {
            return Err(failed(io::ErrorKind::Interrupted.into()));
        }
        bytes.clear();
        if reader.step(&mut bytes) == Step::End {
            break;
        }
    }
    let packets = reader.packets();
    let refused = |why: &str| refused(path, why);
    let Some(damage) = reader.damage() else {
        return match reader.odd() {
            // It may have swallowed those behind it, just to the file's end; or there
            // never was a packet.
            Some((at, why @ (LONGER | EMPTY))) => Err(refused(&format!("record at byte {at} {why}"))),
            _ => Ok(Repaired { packets, cut: 0 }),
        };
    };
    if !damage.torn {
        return Err(refused(&damage.to_string()));
    }
    let len = reader.at();
    let tail = Tail::read(&file, damage.at, len).map_err(failed)?;
    let doubt = match reader.odd() {
        Some((at, why)) => Some(format!("record at byte {at} {why}")),
        None if reader.is_of_old_layout() => Some("it is of an old layout that cannot be checked".into()),
        None if reader.is_pcapng() => tail.doubt_block(reader.is_big_endian()),
        None => tail.doubt_record(reader.is_big_endian(), reader.seconds()),
    };
    if let Some(doubt) = doubt {
        return Err(refused(&format!("record at byte {} goes on behind the file's end, but {doubt}", damage.at)));
    }
    may_be_written(path, &real, &found)?;
    let keep = damage.at;
    replace(&real, &file, keep, &found, stopped).map_err(failed)?;
    Ok(Repaired { packets, cut: len - keep })
}

/// That a file is left as it is, and why.
fn refused(path: &Path, why: &str) -> Error {
    let line = "only a torn end can be cut off, and nothing was changed; copy what can be read into another file";
    Error::new(Kind::Io, format!("{}: {why}; {line}", path.display()))
}

/// Whether a torn file may be changed.
fn may_be_written(path: &Path, real: &Path, found: &fs::Metadata) -> Result<()> {
    // Root may write any file, so the mode says whether this one is meant to be changed.
    if found.mode() & 0o222 == 0 {
        let line = format!("{} is torn and for reading only; `chmod u+w` it to have it mended", path.display());
        return Err(Error::new(Kind::Permission, line));
    }
    OpenOptions::new().write(true).open(real).map(drop).map_err(|e| Error::io(format!("mending {}", path.display()), e))
}
