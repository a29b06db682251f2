//! Configuration space as a piece of a file: sysfs offers it as a file of its
//! own, VFIO as a region of the device's file.

use crate::error::{Error, Kind, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes every PCI function has (PCI 3.0 §6.1); PCI Express goes on to 4096.
const SPACE: u64 = 4096;

/// Configuration space of one function.
#[derive(Debug)]
pub(super) struct Config<'a> {
    /// The file and where in it configuration space begins.
    pub(super) file: &'a File,
    pub(super) base: u64,
    /// The function, for errors.
    pub(super) name: &'a str,
}

impl Config<'_> {
    /// Reads 1, 2 or 4 bytes, lowest first.
    pub(super) fn read(&self, offset: u16, size: u8) -> Result<u32> {
        let mut bytes = [0; 4];
        let wanted = self.slice(&mut bytes, offset, size)?;
        self.file
            .read_exact_at(wanted, self.base + u64::from(offset))
            .map_err(|e| self.explain(e, "reading", offset))?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes 1, 2 or 4 bytes, lowest first.
    pub(super) fn write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        let mut bytes = value.to_le_bytes();
        let wanted = self.slice(&mut bytes, offset, size)?;
        self.file.write_all_at(wanted, self.base + u64::from(offset)).map_err(|e| self.explain(e, "writing", offset))
    }

    fn slice<'b>(&self, bytes: &'b mut [u8; 4], offset: u16, size: u8) -> Result<&'b mut [u8]> {
        let aligned = matches!(size, 1 | 2 | 4) && offset.is_multiple_of(u16::from(size));
        if !aligned || u64::from(offset) + u64::from(size) > SPACE {
            let text = format!("{}: no {size} bytes at {offset:#x} in configuration space", self.name);
            return Err(Error::new(Kind::Unsupported, text));
        }
        Ok(&mut bytes[..usize::from(size)])
    }

    fn explain(&self, error: io::Error, doing: &str, offset: u16) -> Error {
        let text = format!("{}: {doing} configuration space at {offset:#x}", self.name);
        // sysfs gives an ordinary user the first 64 bytes, and nobody what the
        // function has not; VFIO calls that a bad address.
        let short = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero)
            || error.raw_os_error() == Some(libc::EFAULT);
        if short {
            return Error::new(Kind::Unsupported, format!("{text}: it ends before; without VFIO all of it needs root"));
        }
        Error::io(text, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_little_endian_at_their_offset() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x100 + 256).unwrap();
        let config = Config { file: &file, base: 0x100, name: "0000:03:00.0" };
        config.write(0x10, 4, 0x1234_5678).unwrap();
        config.write(0x12, 1, 0xff).unwrap();
        assert_eq!(config.read(0x10, 4).unwrap(), 0x12ff_5678);
        assert_eq!(config.read(0x12, 2).unwrap(), 0x12ff);
        let mut byte = [0];
        file.read_exact_at(&mut byte, 0x110).unwrap();
        assert_eq!(byte, [0x78]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64).unwrap();
        let config = Config { file: &file, base: 0, name: "0000:03:00.0" };
        for (offset, size) in [(1, 2), (0, 3), (0, 0), (0xfffc, 4), (0x1000, 1), (64, 4)] {
            let error = config.read(offset, size).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported, "{offset:#x}+{size}");
            assert!(error.to_string().starts_with("0000:03:00.0: "));
        }
    }
}
