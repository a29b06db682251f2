//! What is cut off, what is not, and what becomes of the file's name, mode and links.

use super::*;
use crate::pcap::samples::{Ng, pcap, usual};
use crate::sys;
use proptest::prelude::*;
use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
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
    sys::make_fifo(&fifo).unwrap();
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
