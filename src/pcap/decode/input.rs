//! The bytes of a file as they are read, and where they end.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// Why no packet can be read any more.
#[derive(Debug)]
pub enum Stop {
    /// The file ends before its record does.
    Torn,
    /// The record makes no sense.
    Nonsense(String),
    Io(io::Error),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Torn => f.write_str("the file ends in it"),
            Stop::Nonsense(why) => f.write_str(why),
            Stop::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Stop {
    /// Where what is unpacked ends too early the reader says so by an error.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Stop::Torn } else { Stop::Io(error) }
    }
}

/// A file as it is read, and how far.
#[derive(Debug)]
pub struct Input<R> {
    source: BufReader<R>,
    at: u64,
    /// Whether it ended where what was compressed in it did not.
    cut: bool,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Input { source: BufReader::with_capacity(64 * 1024, source), at: 0, cut: false }
    }

    /// Where the next byte is in the file.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Fills `buffer` as far as the file goes.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.source.read(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.cut = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.at += done as u64;
        Ok(done)
    }

    /// The next bytes, or none if the file ended just here.
    pub fn head<const N: usize>(&mut self) -> std::result::Result<Option<[u8; N]>, Stop> {
        let mut bytes = [0; N];
        match self.fill(&mut bytes)? {
            0 if !self.cut => Ok(None),
            n if n == N => Ok(Some(bytes)),
            _ => Err(Stop::Torn),
        }
    }

    /// The next bytes, which must be there.
    pub fn array<const N: usize>(&mut self) -> std::result::Result<[u8; N], Stop> {
        self.head()?.ok_or(Stop::Torn)
    }

    /// Appends the next `len` bytes to `bytes`.
    pub fn append(&mut self, bytes: &mut Vec<u8>, len: usize) -> std::result::Result<(), Stop> {
        let before = bytes.len();
        let read = (&mut self.source).take(len as u64).read_to_end(bytes);
        let got = bytes.len() - before;
        self.at += got as u64;
        if let Err(error) = read {
            self.cut = true;
            return Err(error.into());
        }
        if got == len { Ok(()) } else { Err(Stop::Torn) }
    }

    /// Passes over the next `len` bytes.
    pub fn skip(&mut self, len: usize) -> std::result::Result<(), Stop> {
        let mut left = len;
        while left > 0 {
            let n = match self.source.fill_buf() {
                Ok([]) => return Err(Stop::Torn),
                Ok(bytes) => bytes.len().min(left),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.cut = true;
                    return Err(error.into());
                }
            };
            self.source.consume(n);
            self.at += n as u64;
            left -= n;
        }
        Ok(())
    }
}

/// A word in the byte order of the file.
pub fn word(bytes: [u8; 4], big: bool) -> u32 {
    if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

/// Words that follow each other.
pub fn words<const N: usize>(bytes: &[u8], big: bool) -> [u32; N] {
    let mut chunks = bytes.chunks_exact(4);
    std::array::from_fn(|_| chunks.next().and_then(|chunk| chunk.first_chunk()).map_or(0, |bytes| word(*bytes, big)))
}
