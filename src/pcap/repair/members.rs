//! Mending a compressed capture file: members of gzip, each of whole records, of which the last
//! is torn. As with records, any sign that one in the middle is damaged is reason to leave the
//! file alone.

use super::{Repaired, STRIDE, refused, replace};
use crate::error::{Error, Result};
use crate::pcap::decode::{EMPTY, LONGER, Reader, Step};
use crate::pcap::packed::{Packing, whole_members};
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// Longest member that is believed to be torn: some that are written here, of a chunk each.
const LONGEST: u64 = 8 << 20;

/// Bytes that are unpacked between two looks at whether it is to end.
const PIECE: u64 = 1 << 20;

/// How a file is compressed, by its first bytes; it is read from its start again.
///
/// # Errors
/// What reading it meets.
pub(super) fn packing(mut file: &File) -> io::Result<Option<Packing>> {
    let mut magic = Vec::with_capacity(4);
    file.take(4).read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(magic.first_chunk().and_then(|magic| Packing::of(*magic)))
}

/// A file, and how far it was read.
struct Counted<'f> {
    source: BufReader<&'f File>,
    at: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.source.consume(n);
        self.at += n as u64;
    }
}

/// Cuts a torn member off the end of the file `real`, which was found so and is shown as `path`.
pub(super) fn repair(
    path: &Path,
    real: &Path,
    file: &File,
    found: &fs::Metadata,
    stopped: &dyn Fn() -> bool,
) -> Result<Repaired> {
    let shown = path.display();
    let failed = |error| Error::io(format!("mending {shown}"), error);
    let mut counted = Counted { source: BufReader::with_capacity(PIECE as usize, file), at: 0 };
    let (mut whole, mut torn) = (0, false);
    while !torn && !counted.fill_buf().map_err(failed)?.is_empty() {
        let mut member = GzDecoder::new(&mut counted);
        loop {
            if stopped() {
                return Err(failed(ErrorKind::Interrupted.into()));
            }
            match io::copy(&mut member.by_ref().take(PIECE), &mut io::sink()) {
                Ok(PIECE) => {}
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    torn = true;
                    break;
                }
                Err(error) => {
                    return Err(refused(
                        path,
                        &format!("what is compressed from byte {whole} on is damaged ({error})"),
                    ));
                }
            }
        }
        if !torn {
            whole = counted.at;
        }
    }
    let len = file.metadata().map_err(failed)?.len();
    if whole == 0 {
        return Err(refused(path, "it ends within the first piece that is compressed, and nothing of it is whole"));
    }
    if torn {
        doubt(file, whole, len).map_err(failed)?.map_or(Ok(()), |doubt| Err(refused(path, &doubt)))?;
    }
    let packets = contents(path, file, whole, stopped)?;
    if !torn {
        return Ok(Repaired { packets, cut: 0 });
    }
    super::may_be_written(path, real, found)?;
    replace(real, file, whole, found, stopped).map_err(failed)?;
    Ok(Repaired { packets, cut: len - whole })
}

/// What speaks against the file's being torn from byte `whole` on.
fn doubt(mut file: &File, whole: u64, len: u64) -> io::Result<Option<String>> {
    if len - whole > LONGEST {
        return Ok(Some(format!(
            "{} bytes at its end are no piece that is compressed, which is too many",
            len - whole
        )));
    }
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(whole))?;
    file.take(LONGEST).read_to_end(&mut tail)?;
    let begins = |at: &usize| tail[*at..].starts_with(&[0x1f, 0x8b, 8]) && whole_members(&tail[*at..]) > 0;
    let found = (1..tail.len()).find(begins);
    Ok(found.map(|at| format!("a piece is damaged at byte {whole}, and a whole one begins {at} bytes behind that")))
}

/// Packets in the members before byte `whole`, all of whose records are whole.
fn contents(path: &Path, mut file: &File, whole: u64, stopped: &dyn Fn() -> bool) -> Result<u64> {
    let failed = |error| Error::io(format!("mending {}", path.display()), error);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let members = MultiGzDecoder::new(BufReader::with_capacity(PIECE as usize, file.take(whole)));
    let mut reader = Reader::new(members, &path.display().to_string())?;
    let mut bytes = Vec::new();
    for step in 0_u64.. {
        if step.is_multiple_of(STRIDE) && stopped() {
            return Err(failed(ErrorKind::Interrupted.into()));
        }
        bytes.clear();
        if reader.step(&mut bytes) == Step::End {
            break;
        }
    }
    match (reader.damage(), reader.odd()) {
        (Some(damage), _) => Err(refused(path, &format!("unpacked it is {damage}"))),
        (None, Some((at, why @ (LONGER | EMPTY)))) => {
            Err(refused(path, &format!("unpacked, its record at byte {at} {why}")))
        }
        _ => Ok(reader.packets()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::repair;
    use super::*;
    use crate::pcap::packed::member;
    use crate::pcap::record::{Format, Record};

    /// A compressed file of four packets and where its members end, one to a packet.
    fn file(format: Format) -> (Vec<u8>, Vec<usize>) {
        let mut header = Vec::new();
        format.header(&mut header, 65_535, &crate::pcap::section::Section::default());
        let mut bytes = member(&header).unwrap();
        let mut ends = vec![bytes.len()];
        for n in 0..4_u8 {
            let frame: Vec<u8> = (0..300_u32).map(|at| ((at * at) >> 3) as u8 ^ n).collect();
            let mut record = Vec::new();
            format.put(
                &mut record,
                &Record { interface: 0, time: 1_790_000_000_000_000_000, wire_len: 300, parts: &[&frame] },
            );
            bytes.extend(member(&record).unwrap());
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn mend(bytes: &[u8]) -> (Result<Repaired>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.gz");
        fs::write(&path, bytes).unwrap();
        let said = repair(&path, &|| false);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        (said, fs::read(&path).unwrap())
    }

    #[test]
    fn the_torn_member_is_cut_off_and_nothing_else() {
        for format in [Format::Pcap, Format::Pcapng] {
            let (bytes, ends) = file(format);
            for len in ends[0]..=bytes.len() {
                let whole = ends.iter().rposition(|end| *end <= len).unwrap();
                let (said, then) = mend(&bytes[..len]);
                let want = Repaired { packets: whole as u64, cut: (len - ends[whole]) as u64 };
                assert_eq!(said.unwrap(), want, "{len}");
                assert_eq!(then, bytes[..ends[whole]]);
            }
        }
    }

    #[test]
    fn damage_in_the_middle_costs_no_packet_behind_it() {
        let (bytes, ends) = file(Format::Pcap);
        for at in (ends[0]..ends[3]).map(|at| (at, at % 8)) {
            let mut bent = bytes.clone();
            bent[at.0] ^= 1 << at.1;
            let (said, then) = mend(&bent);
            // Some bits of a header say nothing: the file is whole with them.
            let harmless = said.as_ref().is_ok_and(|said| *said == Repaired { packets: 4, cut: 0 });
            assert!((said.is_err() || harmless) && then == bent, "byte {}, bit {}: {said:?}", at.0, at.1);
        }
    }

    #[test]
    fn what_holds_nothing_whole_is_left_alone() {
        let (bytes, ends) = file(Format::Pcap);
        let (said, then) = mend(&bytes[..ends[0] - 1]);
        assert!(said.unwrap_err().to_string().contains("nothing of it is whole"));
        assert_eq!(then, bytes[..ends[0] - 1]);
        // A record of which half is in a member that is whole.
        let plain = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1, 1, 0, 60, 60].map(u32::to_le_bytes).concat();
        let other = member(&plain).unwrap();
        let (said, then) = mend(&other);
        assert!(said.unwrap_err().to_string().contains("unpacked it is cut short"));
        assert_eq!(then, other);
    }
}
