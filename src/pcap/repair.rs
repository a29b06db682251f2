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

mod members;

use super::decode::{EMPTY, LONGER, LONGEST, Reader, Step, YEARS_AWAY, near};
use super::packed::Packing;
use super::pcapng::{ENHANCED_PACKET, FRAMING, LONGEST_BLOCK, OBSOLETE_PACKET};
use crate::error::{Error, Kind, Result};
use crate::sys::{self, Beside};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::Duration;

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

/// What there is of the record that the file's end cuts short.
struct Tail(Vec<u8>);

impl Tail {
    fn read(mut file: &File, at: u64, len: u64) -> io::Result<Tail> {
        // The reader believes in no record longer than this.
        let mut bytes = Vec::with_capacity((len - at).min(LONGEST_BLOCK.into()) as usize);
        file.seek(SeekFrom::Start(at))?;
        file.take(LONGEST_BLOCK.into()).read_to_end(&mut bytes)?;
        Ok(Tail(bytes))
    }

    /// What speaks against its being a torn pcapng block.
    fn doubt_block(&self, big: bool) -> Option<String> {
        let tail = &self.0[..];
        let block = Block::at(tail, big)?;
        if tail.len().is_multiple_of(4) && last_word(tail, big) == Some(tail.len() as u32) {
            return Some("its end is there, by the length behind it".into());
        }
        if block.captured.is_some_and(|captured| captured > block.len - FRAMING) {
            return Some("its packet is longer than itself".into());
        }
        // Another section may have the other byte order.
        let follows = |at: usize| [big, !big].iter().any(|&big| Block::follows(&tail[at..], big));
        self.followed(|at| at.is_multiple_of(4) && follows(at))
    }

    /// A sign that this is no torn pcap record. It stands behind records, the first and
    /// the last of which were recorded at `seconds`.
    fn doubt_record(&self, big: bool, seconds: Option<(u32, u32)>) -> Option<String> {
        let tail = &self.0[..];
        let record = Record::at(tail, big)?;
        if record.captured > record.wire_len {
            return Some(format!("it {LONGER}"));
        }
        let (first, last) = seconds.unwrap_or((record.seconds, record.seconds));
        if !near(record.seconds, last) {
            return Some(format!("it {YEARS_AWAY}"));
        }
        self.followed(|at| Record::follows(&tail[at..], first, big))
    }

    /// That at one of the places in it `whole` finds a record.
    fn followed(&self, whole: impl Fn(usize) -> bool) -> Option<String> {
        let at = (1..self.0.len()).find(|&at| whole(at))?;
        Some(format!("what looks like a whole record begins {at} bytes behind its beginning"))
    }
}

fn word(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    Some(super::decode::word(*bytes.get(at..)?.first_chunk()?, big))
}

fn last_word(bytes: &[u8], big: bool) -> Option<u32> {
    word(bytes, bytes.len().checked_sub(4)?, big)
}

/// The header of a pcap record.
struct Record {
    seconds: u32,
    fraction: u32,
    captured: u32,
    wire_len: u32,
}

impl Record {
    const HEADER: usize = 16;

    fn at(bytes: &[u8], big: bool) -> Option<Record> {
        let field = |at| word(bytes, at, big);
        Some(Record { seconds: field(0)?, fraction: field(4)?, captured: field(8)?, wire_len: field(12)? })
    }

    /// Whether `bytes` begin with a whole record of about this time in seconds, and
    /// end with it or go on with another one.
    fn follows(bytes: &[u8], about: u32, big: bool) -> bool {
        let like = |record: &Record| {
            let lengths = record.captured <= record.wire_len && record.wire_len <= LONGEST as u32;
            lengths && record.fraction < 1_000_000_000 && near(record.seconds, about)
        };
        let Some(record) = Record::at(bytes, big).filter(like).filter(|record| record.captured > 0) else {
            return false;
        };
        match bytes.get(Record::HEADER + record.captured as usize..) {
            None => false,
            Some([]) => true,
            Some(behind) => Record::at(behind, big).is_some_and(|next| like(&next)),
        }
    }
}

/// The header of a pcapng block.
struct Block {
    len: u32,
    /// Bytes that a packet's block must have for its packet, with fields.
    captured: Option<u32>,
}

impl Block {
    fn at(bytes: &[u8], big: bool) -> Option<Block> {
        let (kind, len) = (word(bytes, 0, big)?, word(bytes, 4, big)?);
        let captured = match kind {
            OBSOLETE_PACKET | ENHANCED_PACKET => word(bytes, 20, big).map(|captured| captured.saturating_add(20)),
            _ => None,
        };
        Some(Block { len, captured })
    }

    /// Whether `bytes` begin with a whole block, of whatever kind.
    fn follows(bytes: &[u8], big: bool) -> bool {
        let Some(block) = Block::at(bytes, big) else { return false };
        let whole = bytes.get(..block.len as usize).filter(|_| block.len >= FRAMING && block.len.is_multiple_of(4));
        whole.is_some_and(|whole| last_word(whole, big) == Some(block.len))
    }
}

/// Puts the first `keep` bytes of `file` in its place at `path`, with the same
/// owner and mode.
fn replace(path: &Path, file: &File, keep: u64, found: &fs::Metadata, stopped: &dyn Fn() -> bool) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::samples::{Ng, pcap, usual};
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// A folder with this file in it.
    fn folder(bytes: &[u8]) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    /// Mends a file of these bytes: what was said, and what is there then.
    fn mend(bytes: &[u8]) -> (Result<Repaired>, Vec<u8>) {
        let (dir, path) = folder(bytes);
        let said = repair(&path, &|| false);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        (said, fs::read(&path).unwrap())
    }

    fn assert_refused(bytes: &[u8], part: &str) {
        let (said, then) = mend(bytes);
        let said = said.unwrap_err().to_string();
        assert!(said.contains(part) && !said.contains('\n'), "{said}");
        assert_eq!(then, bytes, "{said}");
    }

    /// Frames that are like no header.
    fn frame(n: u8, len: usize) -> Vec<u8> {
        (0..len).map(|at| (at as u8).wrapping_mul(97).wrapping_add(n).wrapping_mul(31) | 0x40).collect()
    }

    /// Files of `count` packets in both formats, and where their records begin.
    fn files(count: usize) -> [(Vec<u8>, Vec<usize>); 2] {
        let frames: Vec<Vec<u8>> = (0..count).map(|n| frame(n as u8, 60 + n)).collect();
        let (mut plain, mut starts) = (usual(&[]), Vec::new());
        let mut ng = Ng::ethernet();
        let mut ng_starts = Vec::new();
        for (n, frame) in frames.iter().enumerate() {
            starts.push(plain.len());
            let len = frame.len() as u32;
            plain.extend_from_slice(&usual(&[(1_700_000_000, n as u32, len, len, frame)])[24..]);
            ng_starts.push(ng.bytes.len());
            ng.good(n as u64, frame);
        }
        [(plain, starts), (ng.bytes, ng_starts)]
    }

    #[test]
    fn only_what_is_torn_is_cut() {
        for (bytes, starts) in files(3) {
            for len in starts[1]..=bytes.len() {
                let whole = starts.iter().rposition(|start| *start <= len).unwrap();
                let whole = if len == bytes.len() { 3 } else { whole };
                let keep = starts.get(whole).map_or(bytes.len(), |start| *start);
                let (said, then) = mend(&bytes[..len]);
                assert_eq!(said.unwrap(), Repaired { packets: whole as u64, cut: (len - keep) as u64 }, "{len}");
                assert_eq!(then, bytes[..keep]);
            }
        }
    }

    #[test]
    fn a_length_that_is_damaged_in_the_last_record_is_no_torn_end() {
        let [(plain, starts), (ng, ng_starts)] = files(3);
        let bend = |bytes: &[u8], at: usize, to: u32| {
            let mut bent = bytes.to_vec();
            bent[at..at + 4].copy_from_slice(&to.to_le_bytes());
            bent
        };
        assert_refused(&bend(&plain, starts[2] + 8, 70), "more bytes than its packet");
        assert_refused(&bend(&plain, starts[2] + 8, u32::MAX), "longer than any");
        assert_refused(&bend(&ng, ng_starts[2] + 4, 1024), "its end is there");
        assert_refused(&bend(&ng, ng_starts[2] + 4, u32::MAX - 3), "no block is");
        let torn = &ng[..ng.len() - 8];
        assert_refused(&bend(torn, ng_starts[2] + 20, 4_000), "its packet is longer than itself");
        // And in one before that: its bytes would swallow those behind it.
        let swallowing = bend(&bend(&plain, starts[1] + 8, 200), starts[1] + 12, 1514);
        assert_refused(&swallowing, "what looks like a whole record begins 77 bytes behind");
        assert_refused(&bend(&ng, ng_starts[1] + 4, 4096), "what looks like a whole record begins 96 bytes behind");
        assert_refused(&bend(&plain, starts[0] + 12, 7)[..plain.len() - 1], "record at byte 24 has more bytes");
    }

    proptest! {
        #[test]
        fn no_damage_in_the_middle_costs_the_packets_behind_it(
            ng in any::<bool>(), record in 0_usize..4, word in any::<u32>(), small in 0_u32..2_000, torn in 0_usize..40,
        ) {
            let (bytes, starts) = files(6)[usize::from(ng)].clone();
            // The length of one of the first records is another one; the end may be torn as well.
            for word in [word, small] {
                let mut bent = bytes[..bytes.len() - torn].to_vec();
                let at = starts[record] + if ng { 4 } else { 8 };
                prop_assume!(bent[at..at + 4] != word.to_le_bytes());
                bent[at..at + 4].copy_from_slice(&word.to_le_bytes());
                let (said, then) = mend(&bent);
                prop_assert!(said.is_err() && then == bent, "{:?}", said);
            }
        }

        #[test]
        fn whatever_the_bytes_nothing_is_changed_or_all_that_is_left_is_whole(
            ng in any::<bool>(), spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        ) {
            let (mut bytes, _) = files(3)[usize::from(ng)].clone();
            for (at, byte) in spots {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let (said, then) = mend(&bytes);
            match said {
                Err(_) => prop_assert_eq!(then, bytes),
                Ok(mended) => {
                    prop_assert_eq!(&then[..], &bytes[..bytes.len() - mended.cut as usize]);
                    prop_assert_eq!(mend(&then).0.unwrap(), Repaired { cut: 0, ..mended });
                }
            }
        }
    }

    #[test]
    fn a_length_that_is_off_by_one_does_not_make_a_file_torn() {
        // Read from one byte too early, the next record is one of 61 << 8 bytes.
        let (mut bytes, starts) = files(6)[0].clone();
        bytes[starts[0] + 8] -= 1;
        assert_refused(&bytes, "it was recorded a year or more from the one before");
        // In a longer file it swallows a hundred others, and what follows cannot be trusted.
        let (mut bytes, starts) = files(190)[0].clone();
        bytes[starts[0] + 8] -= 1;
        assert_refused(&bytes, "nothing was changed");
    }

    #[test]
    fn a_file_that_takes_the_name_meanwhile_is_not_overwritten() {
        let (bytes, _) = files(3)[0].clone();
        let torn = &bytes[..bytes.len() - 1];
        // At the first look, before anything is read, and at the second, in the copy.
        for look in [0, 1] {
            let (dir, path) = folder(torn);
            let old = dir.path().join("f.1");
            let looks = Cell::new(0);
            let rotate = || {
                if looks.replace(looks.get() + 1) == look {
                    fs::rename(&path, &old).unwrap();
                    fs::write(&path, &bytes).unwrap();
                }
                false
            };
            let error = repair(&path, &rotate).unwrap_err();
            assert!(error.to_string().contains("changed or replaced meanwhile"), "{error}");
            assert_eq!((fs::read(&path).unwrap(), fs::read(&old).unwrap()), (bytes.clone(), torn.to_vec()));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_not_mended() {
        let (bytes, _) = files(3)[0].clone();
        let torn = &bytes[..bytes.len() - 1];
        let (dir, path) = folder(torn);
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        if let Err(error) = sys::is_open_for_writing(&File::open(&path).unwrap()) {
            eprintln!("SKIPPED: {error}: no leases here");
            return;
        }
        let error = repair(&path, &|| false).unwrap_err().to_string();
        assert!(error.contains("open for writing; end that first"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), torn);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(writer);
        assert_eq!(repair(&path, &|| false).unwrap().packets, 2);
        // A program that opens it while it is copied is seen too.
        fs::write(&path, torn).unwrap();
        let (looks, late) = (Cell::new(0), Cell::new(None));
        let open = || {
            if looks.replace(looks.get() + 1) == 1 {
                late.set(Some(OpenOptions::new().append(true).open(&path).unwrap()));
            }
            false
        };
        assert!(repair(&path, &open).unwrap_err().to_string().contains("open for writing"));
        assert_eq!(fs::read(&path).unwrap(), torn);
    }

    #[test]
    fn what_cannot_be_checked_for_whole_records_is_not_cut() {
        let frame = frame(1, 60);
        // Seconds, fraction, captured and on the wire; of 2.2 and before the other way round.
        let records: &[_] = &[(1_700_000_000, 0, 60, 60, &frame[..]), (1_700_000_000, 1, 60, 60, &frame)];
        for (magic, version) in [(0xa1b2_c3d4, (2, 2)), (0xa1b2_c3d4, (2, 3)), (0xa1b2_c3d4, (543, 0))] {
            let bytes = pcap(false, magic, version, 1, records);
            assert_eq!(mend(&bytes).0.unwrap(), Repaired { packets: 2, cut: 0 });
            assert_refused(&bytes[..bytes.len() - 1], "of an old layout that cannot be checked");
        }
        // Of Kuznetzov's the eight bytes more are the packet's first here.
        let longer = [&[0; 8][..], &frame].concat();
        let records: &[_] = &[(1_700_000_000, 0, 60, 60, &longer[..]), (1_700_000_000, 1, 60, 60, &longer)];
        let bytes = pcap(false, 0xa1b2_cd34, (2, 4), 1, records);
        assert_eq!(mend(&bytes).0.unwrap(), Repaired { packets: 2, cut: 0 });
        assert_refused(&bytes[..bytes.len() - 1], "of an old layout that cannot be checked");
    }

    #[test]
    fn blocks_of_any_kind_and_byte_order_are_evidence_of_a_damaged_length() {
        for big in [false, true] {
            let mut ng = Ng::ethernet();
            ng.good(1, &frame(1, 60));
            let at = ng.bytes.len();
            ng.good(2, &frame(2, 60));
            let next = ng.bytes.len() - at;
            // Blocks of a kind that nobody knows, in a section without its header.
            ng.big = big;
            ng.block(0x8000_0bad, &frame(3, 40));
            ng.block(0x0000_0bad, &frame(4, 40));
            let mut bytes = ng.bytes;
            bytes[at + 4..at + 8].copy_from_slice(&4096_u32.to_le_bytes());
            assert_refused(&bytes[..bytes.len() - 1], &format!("a whole record begins {next} bytes behind"));
        }
    }

    #[test]
    fn zeroes_after_a_loss_of_power_are_no_packets() {
        let [(plain, _), (ng, _)] = files(1);
        let zeroes = |bytes: &[u8], count: usize| [bytes, &vec![0; count]].concat();
        // As a whole file, with a torn end, and in one that begins in 1970.
        assert_refused(&zeroes(&plain, 4096), "record at byte 100 is nothing but zeroes");
        assert_refused(&zeroes(&plain, 4100), "record at byte 100 is nothing but zeroes");
        assert_refused(&zeroes(&usual(&[(0, 0, 20, 20, &[1; 20])]), 32), "record at byte 60 is nothing but zeroes");
        assert_refused(&zeroes(&ng, 4096), "no block is 0 bytes long");
        // Not even if one before it is only odd in its time, which alone is no reason.
        let old = usual(&[(1_700_000_000, 0, 20, 20, &[1; 20]), (1, 0, 20, 20, &[2; 20])]);
        assert_eq!(mend(&old).0.unwrap(), Repaired { packets: 2, cut: 0 });
        assert_refused(&zeroes(&old, 16), "record at byte 96 is nothing but zeroes");
    }

    #[test]
    fn reading_can_be_stopped_also_where_no_packet_is_given() {
        let mut blocks = Ng::ethernet();
        let record = (1, 0, 20, 20, &[1; 20][..]);
        for _ in 0..3 * STRIDE {
            blocks.block(0x0bad, &[]);
        }
        let skipped = pcap(false, 0xa1b2_c3d4, (2, 4), 113, &vec![record; 3 * STRIDE as usize]);
        for bytes in [blocks.bytes, skipped, usual(&vec![record; 3 * STRIDE as usize])] {
            let (_dir, path) = folder(&bytes);
            let looks = Cell::new(0);
            let third = || looks.replace(looks.get() + 1) == 2;
            assert!(repair(&path, &third).is_err());
            assert_eq!(looks.get(), 3);
        }
    }

    #[test]
    fn a_link_that_cannot_be_sent_is_no_obstacle() {
        let frame = frame(1, 20);
        let file = pcap(false, 0xa1b2_c3d4, (2, 4), 113, &[(1, 0, 20, 20, &frame), (2, 0, 20, 20, &frame)]);
        assert_eq!(mend(&file).0.unwrap(), Repaired { packets: 2, cut: 0 });
        let (said, then) = mend(&file[..file.len() - 1]);
        assert_eq!(said.unwrap(), Repaired { packets: 1, cut: 35 });
        assert_eq!(then, file[..60]);
    }

    #[test]
    fn what_is_no_file_or_holds_no_packet_is_left_alone() {
        assert_refused(b"", "0 bytes are no capture file");
        assert_refused(&usual(&[])[..23], "ends within its header");
        assert_refused(b"hello, world, this is text", "neither pcap nor pcapng");
        for file in [usual(&[]), Ng::ethernet().bytes] {
            let (said, then) = mend(&file);
            assert_eq!((said.unwrap(), then), (Repaired { packets: 0, cut: 0 }, file));
        }
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        crate::sys::make_fifo(&fifo).unwrap();
        for path in [dir.path(), &fifo, Path::new("/dev/null")] {
            let error = repair(path, &|| false).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
        assert_eq!(repair(&dir.path().join("none"), &|| false).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn a_mended_file_keeps_its_mode_and_its_links() {
        let (bytes, _) = files(3)[0].clone();
        let (dir, path) = folder(&bytes[..bytes.len() - 1]);
        let link = dir.path().join("link");
        symlink("f", &link).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(repair(&link, &|| false).unwrap().packets, 2);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_put_on_the_disk_is_found_out_before_the_file_is_replaced() {
        if sys::effective_user() == 0 {
            eprintln!("SKIPPED: root may read any folder");
            return;
        }
        let (bytes, _) = files(3)[0].clone();
        let torn = &bytes[..bytes.len() - 1];
        let (dir, path) = folder(torn);
        fs::set_permissions(dir.path(), Permissions::from_mode(0o300)).unwrap();
        let error = repair(&path, &|| false).unwrap_err();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(error.kind(), Kind::Permission);
        assert_eq!(fs::read(&path).unwrap(), torn);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_that_may_not_be_written_or_whose_mending_is_stopped_is_as_it_was() {
        let (bytes, _) = files(3)[0].clone();
        let torn = &bytes[..bytes.len() - 1];
        let (dir, path) = folder(torn);
        assert!(repair(&path, &|| true).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let error = repair(&path, &|| false).unwrap_err();
        assert_eq!(error.kind(), Kind::Permission);
        assert_eq!(fs::read(&path).unwrap(), torn);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // One that is whole need not be written.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, &bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert_eq!(repair(&path, &|| false).unwrap(), Repaired { packets: 3, cut: 0 });
    }
}
