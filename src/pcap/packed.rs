//! Files that were compressed with gzip (RFC 1952) or zstd (RFC 8878), read as if they
//! were not.
//!
//! ```text
//!   file ──first four bytes──> as it is
//!                       └────> gzip: members | zstd: frames  ──> bytes
//! ```
//!
//! Several members or frames that follow each other are one file, as `cat a.gz b.gz`
//! makes it. Zeros behind a gzip member are padding. Checksums are checked. A file that ends
//! too early gives what comes before that, of zstd up to the block in which it ends, and then
//! [`io::ErrorKind::UnexpectedEof`].

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read, Write};

/// Bytes that are read of the file at once.
const BLOCK: usize = 64 * 1024;
/// Longest window of a zstd frame: what `zstd -d` takes without being asked (its
/// `ZSTD_WINDOWLOG_LIMIT_DEFAULT`), as the frame says how much memory it wants.
const WINDOW_MAX: u64 = 1 << 27;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Packing {
    /// That of a file with these first bytes, if it has one.
    pub fn of(magic: [u8; 4]) -> Option<Packing> {
        match magic {
            // The third byte is the only method that there is.
            [0x1f, 0x8b, 8, _] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Packing::Zstd),
            // A frame to pass over may come first.
            [first, 0x2a, 0x4d, 0x18] if first & 0xf0 == 0x50 => Some(Packing::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        })
    }
}

/// A gzip member of these bytes, compressed as fast as that goes.
///
/// # Errors
/// What the encoder meets; there is nothing that it should.
pub fn member(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// How many of these bytes, which begin with a gzip member, are of members that are whole.
pub fn whole_members(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while whole < bytes.len() {
        let mut member = GzDecoder::new(&bytes[whole..]);
        if io::copy(&mut member, &mut io::sink()).is_err() {
            break;
        }
        whole = bytes.len() - member.into_inner().len();
    }
    whole
}

/// A file whose first bytes have been looked at.
type Whole<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// What is in a file, unpacked if need be.
#[derive(Debug)]
pub struct Unpacked<R: Read>(Inside<R>);

enum Inside<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<Members<Whole<R>>>),
    Zstd(Box<Frames<Whole<R>>>),
}

impl<R: Read> fmt::Debug for Inside<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Inside::Plain(_) => "Plain",
            Inside::Gzip(_) => "Gzip",
            Inside::Zstd(_) => "Zstd",
        })
    }
}

impl<R: Read> Unpacked<R> {
    /// Looks at the first bytes of `source`.
    ///
    /// # Errors
    /// What reading them meets.
    pub fn new(mut source: R) -> io::Result<Self> {
        let mut magic = Vec::with_capacity(4);
        source.by_ref().take(4).read_to_end(&mut magic)?;
        let packing = magic.first_chunk().and_then(|magic| Packing::of(*magic));
        let whole = BufReader::with_capacity(BLOCK, Cursor::new(magic).chain(source));
        Ok(Unpacked(match packing {
            None => Inside::Plain(whole),
            Some(Packing::Gzip) => Inside::Gzip(Box::new(Members(Some(GzDecoder::new(whole))))),
            Some(Packing::Zstd) => Inside::Zstd(Box::new(Frames::new(whole))),
        }))
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inside::Plain(whole) => whole.read(buffer),
            Inside::Gzip(members) => members.read(buffer),
            Inside::Zstd(frames) => frames.read(buffer),
        }
    }
}

/// The members of a gzip file, one behind the other; none behind the last.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let got = member.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if let Some(mut rest) = self.0.take().map(GzDecoder::into_inner)
                && more(&mut rest)?
            {
                self.0 = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Passes over zeros; whether anything comes behind them.
fn more(source: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = source.fill_buf()?;
        let (zeros, all) = (bytes.iter().take_while(|byte| **byte == 0).count(), bytes.len());
        source.consume(zeros);
        if zeros < all || all == 0 {
            return Ok(all > 0);
        }
    }
}

/// The frames of a zstd file, one behind the other.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// Whether a frame was begun, and its checksum has not been looked at.
    within: bool,
    /// Whether the file ended within it.
    torn: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_MAX);
        Frames { source, decoder, within: false, torn: false }
    }

    /// Goes on to the next frame with content; false at the end of the file.
    fn next(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.within = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let passed = io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                    if passed < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(false)
    }

    /// Decodes the next block, or ends the frame where the file ends: what comes before that
    /// is kept back until then, as much as later blocks may refer to.
    fn block(&mut self) -> io::Result<()> {
        /// The last of a frame, raw and of no bytes, and room for a checksum (RFC 8878 §3.1.1.2).
        const LAST: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];
        let block = BlockDecodingStrategy::UptoBlocks(1);
        let Err(error) = self.decoder.decode_blocks(&mut self.source, block) else { return Ok(()) };
        let error = self.failed(&error);
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.torn = true;
            let block = BlockDecodingStrategy::UptoBlocks(1);
            return self.decoder.decode_blocks(&LAST[..], block).map(drop).map_err(|_| error);
        }
        Err(error)
    }

    /// That the file ended too early, or else what the decoder says.
    fn failed(&self, error: &FrameDecoderError) -> io::Error {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
                return io::ErrorKind::UnexpectedEof.into();
            }
            cause = error.source();
        }
        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.can_collect() > 0 || buffer.is_empty() {
                return self.decoder.read(buffer);
            }
            if !self.decoder.is_finished() {
                self.block()?;
                continue;
            }
            if self.torn {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if std::mem::take(&mut self.within) {
                let told = self.decoder.get_checksum_from_data();
                if told.is_some() && told != self.decoder.get_calculated_checksum() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "its content has another checksum"));
                }
            }
            if !self.next()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        member(bytes).unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// What is read of a file, and what ended it if that was not its end.
    fn unpack(file: &[u8]) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut bytes = Vec::new();
        let read = Unpacked::new(file).and_then(|mut unpacked| unpacked.read_to_end(&mut bytes));
        (bytes, read.err().map(|error| error.kind()))
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        // Some of it can be compressed.
        prop::collection::vec((any::<u8>(), 1_usize..400), 0..40)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, times)| vec![byte; times]).collect())
    }

    proptest! {
        #[test]
        fn what_was_packed_is_read_in_as_many_pieces_as_there_are(parts in prop::collection::vec(content(), 1..4)) {
            let all = parts.concat();
            prop_assert_eq!(unpack(&parts.iter().flat_map(|part| gzip(part)).collect::<Vec<_>>()), (all.clone(), None));
            // A frame to pass over stands before each, as pzstd writes them.
            let skipped = [&0x184d_2a50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
            let frames: Vec<u8> = parts.iter().flat_map(|part| [skipped.clone(), zstd(part)].concat()).collect();
            prop_assert_eq!(unpack(&frames), (all, None));
        }

        #[test]
        fn what_is_cut_short_gives_what_is_whole_and_says_so(content in content(), cut: prop::sample::Index) {
            for file in [gzip(&content), zstd(&content)] {
                let cut = 4 + cut.index(file.len() - 4);
                let (read, ended) = unpack(&file[..cut]);
                prop_assert!(content.starts_with(&read));
                prop_assert_eq!(ended, Some(io::ErrorKind::UnexpectedEof), "{} of {}", cut, file.len());
            }
        }

        #[test]
        fn members_are_whole_up_to_the_last_that_ends_before_a_cut(parts in prop::collection::vec(content(), 1..5), cut: prop::sample::Index) {
            let mut file = Vec::new();
            let mut ends = vec![0];
            for part in &parts {
                file.extend(gzip(part));
                ends.push(file.len());
            }
            let cut = cut.index(file.len() + 1);
            let whole = ends.iter().copied().filter(|end| *end <= cut).max();
            prop_assert_eq!(Some(whole_members(&file[..cut])), whole);
        }

        #[test]
        fn no_bytes_make_it_panic(content in content(), spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            for mut file in [gzip(&content), zstd(&content)] {
                for (at, byte) in &spots {
                    let at = at.index(file.len());
                    file[at] = *byte;
                }
                // A spoiled byte may ask for gigabytes of nothing.
                let mut bytes = Vec::new();
                let _ = Unpacked::new(&file[..]).and_then(|unpacked| unpacked.take(1 << 20).read_to_end(&mut bytes));
            }
        }

        #[test]
        fn what_is_not_packed_is_as_it_was(content in content()) {
            prop_assume!(content.first_chunk().is_none_or(|magic| Packing::of(*magic).is_none()));
            prop_assert_eq!(unpack(&content), (content, None));
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_from_what_is_cut_short_and_of_zstd_a_block_is_lost_at_most() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let packed = zstd(&content);
        let (read, ended) = unpack(&packed[..packed.len() - 200]);
        assert_eq!(ended, Some(io::ErrorKind::UnexpectedEof));
        assert!(content.starts_with(&read) && content.len() - read.len() <= 128 << 10, "{}", read.len());
        // A block of a type that there is not, at the very end.
        let mut spoiled = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
        spoiled.extend([0x07, 0, 0]);
        assert_eq!(unpack(&spoiled).1, Some(io::ErrorKind::InvalidData));
    }

    #[test]
    fn zeros_behind_gzip_are_padding_and_anything_else_is_not() {
        let mut file = [gzip(b"one"), vec![0; 100_000], gzip(b"two"), vec![0; 1]].concat();
        assert_eq!(unpack(&file), (b"onetwo".to_vec(), None));
        file.push(1);
        let (read, ended) = unpack(&file);
        assert_eq!(read, b"onetwo");
        assert!(ended.is_some());
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        for file in [gzip(&[7; 1000]), zstd(&[7; 1000])] {
            // Of gzip the last four bytes are a length, of zstd the checksum.
            let mut spoiled = file.clone();
            let at = file.len() - if file[0] == 0x1f { 8 } else { 1 };
            spoiled[at] ^= 1;
            let (read, ended) = unpack(&spoiled);
            assert_eq!(read, [7; 1000]);
            assert!(ended.is_some_and(|kind| kind != io::ErrorKind::UnexpectedEof), "{ended:?}");
        }
    }

    #[test]
    fn a_frame_that_wants_more_memory_than_zstd_takes_is_refused() {
        // Not of a single segment, without checksum; a window of 2^41 bytes.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0];
        assert_eq!(unpack(&frame).1, Some(io::ErrorKind::InvalidData));
    }
}
