//! Vital product data: what a card says of itself behind the capability 0x03 (PCI 3.0
//! §6.4 and appendix I).
//!
//! ```text
//!   capability  id | next | address, bit 15: done | data
//!
//!   82 len  name
//!   90 len  [ PN len part | EC len changes | SN len serial | .. | RV len sum, .. ]
//!   91 len  what the machine may write
//!   78
//! ```
//!
//! It is read in order, once, and to its end tag only: some devices hang behind that, or give
//! anything (Linux, drivers/pci/vpd.c). Serial numbers, and fields of a vendor's own, where
//! addresses may be, are passed over: they are not kept.

use super::{Function, Id, capabilities, pass};
use crate::error::{Error, Kind, Result};
use std::fmt::Display;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The capability.
const CAPABILITY: u8 = 0x03;

/// In it: the address, and the bit of it that says that the word was read; the word.
const ADDRESS: u16 = 2;
const DONE: u32 = 1 << 15;
const DATA: u16 = 4;
const BEHIND: u16 = 8;

/// Bytes that can be addressed.
const SPACE: usize = 1 << 15;

/// How long a word may take, as Linux has it; and all of them.
const WORD: Duration = Duration::from_millis(125);
const ALL: Duration = Duration::from_secs(5);

/// The longest pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Tags: the name, what cannot be written; of a small one, which has its length in its
/// lowest three bits, the end.
const NAME: u8 = 0x82;
const READ_ONLY: u8 = 0x90;
const LARGE: u8 = 0x80;
const END: u8 = 0x0f;

/// Characters of a name or number that are kept.
const SHOWN: usize = 80;

/// Devices that are not asked, as Linux does not ask them (`quirk_blacklist_vpd`): LSI's
/// controllers, and all of Attansic's. Its third kind are bridges.
const ATTANSIC: u16 = 0x1969;
const LSI: u16 = 0x1000;
const OF_LSI: [u16; 11] = [0x0060, 0x007c, 0x0413, 0x0078, 0x0079, 0x0073, 0x0071, 0x005b, 0x002f, 0x005d, 0x005f];

/// What a card says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vpd {
    /// Nothing: why.
    Nothing(String),
    /// This.
    Product(Product),
}

/// Vital product data, as far as it does not tell one card from another of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// The product's name.
    pub name: String,
    /// Part number.
    pub part: Option<String>,
    /// Engineering change level.
    pub changes: Option<String>,
    /// There is a checksum, and it is right.
    pub summed: bool,
}

/// Reads the vital product data of a function.
///
/// # Errors
/// Those of configuration space; [`Kind::Device`] if it begins as it is to and goes on
/// otherwise, or if its checksum is wrong; [`Kind::Timeout`] if a word behind the first
/// takes longer than 125 ms, or all of them 5 s.
pub fn vpd(function: &dyn Function) -> Result<Vpd> {
    if is_shunned(function.id()) {
        return Ok(nothing("it is one of those that do not stand being asked"));
    }
    let Some(&at) = capabilities(function, CAPABILITY)?.first() else {
        return Ok(nothing("it has none"));
    };
    let begun = Instant::now();
    let mut word = match read(function, at, 0) {
        // VFIO says so of what Linux could not read.
        Err(error) if error.kind() == Kind::Timeout => return Ok(nothing("it does not answer")),
        first => first?,
    };
    let mut offset = 0;
    parse(|| {
        if offset % 4 == 0 && offset != 0 {
            if begun.elapsed() > ALL {
                return Err(Error::new(Kind::Timeout, format!("byte {offset} is not reached in {} s", ALL.as_secs())));
            }
            word = read(function, at, offset as u16)?;
        }
        offset += 1;
        Ok(word[(offset - 1) % 4])
    })
}

/// Where configuration space shows pieces of it.
///
/// # Errors
/// Those of configuration space.
pub(super) fn registers(function: &dyn Function) -> Result<Vec<Range<u16>>> {
    Ok(capabilities(function, CAPABILITY)?.into_iter().map(|at| at + ADDRESS..at + BEHIND).collect())
}

fn is_shunned(id: Id) -> bool {
    id.vendor == ATTANSIC || id.vendor == LSI && OF_LSI.contains(&id.device)
}

/// Reads the four bytes at an offset.
fn read(function: &dyn Function, at: u16, offset: u16) -> Result<[u8; 4]> {
    function.config_write(at + ADDRESS, 2, offset.into())?;
    let begun = Instant::now();
    let mut pause = Duration::from_micros(10);
    loop {
        // The clock first: who slept for too long still looks once more.
        let late = begun.elapsed() > WORD;
        if function.config_read(at + ADDRESS, 2)? & DONE != 0 {
            return Ok(function.config_read(at + DATA, 4)?.to_le_bytes());
        }
        if late {
            let text = format!("byte {offset} is not read in {} ms", WORD.as_millis());
            return Err(Error::new(Kind::Timeout, text));
        }
        pass(pause);
        pause = PAUSE.min(2 * pause);
    }
}

fn nothing(why: impl Into<String>) -> Vpd {
    Vpd::Nothing(why.into())
}

/// Makes sense of bytes that come one by one.
fn parse(next: impl FnMut() -> Result<u8>) -> Result<Vpd> {
    let mut bytes = Bytes { next, at: 0, sum: 0 };
    match bytes.next()? {
        NAME => {}
        // Linux takes it for a missing EEPROM.
        0x00 | 0xff => return Ok(nothing("it was never written")),
        tag if tag >> 3 == END => return Ok(nothing("it is empty")),
        tag => return Ok(nothing(format_args!("it begins with {tag:#04x}, so it is none").to_string())),
    }
    let len = bytes.length()?;
    let mut product = Product { name: bytes.text(len)?, ..Product::default() };
    loop {
        let at = bytes.at;
        match bytes.next()? {
            READ_ONLY => {
                let len = bytes.length()?;
                fields(&mut bytes, len, &mut product)?;
            }
            tag if tag & LARGE != 0 => {
                let len = bytes.length()?;
                bytes.skip(len)?;
            }
            tag if tag >> 3 == END => return Ok(Vpd::Product(product)),
            tag if tag >> 3 == 0 => return Err(broken(at, format_args!("{tag:#04x} is no tag"))),
            tag => bytes.skip(usize::from(tag & 7))?,
        }
    }
}

/// The fields in these bytes.
fn fields(bytes: &mut Bytes<impl FnMut() -> Result<u8>>, len: usize, product: &mut Product) -> Result<()> {
    let end = bytes.at + len;
    while bytes.at < end {
        let at = bytes.at;
        if end - at < 3 {
            return Err(broken(at, "a field has no room"));
        }
        let keyword = [bytes.next()?, bytes.next()?];
        if !keyword.iter().all(u8::is_ascii_alphanumeric) {
            return Err(broken(at, format_args!("{keyword:02x?} is no keyword")));
        }
        let len = usize::from(bytes.next()?);
        if len > end - bytes.at {
            return Err(broken(at, format_args!("a field of {len} bytes in {}", end - bytes.at)));
        }
        match &keyword {
            b"PN" => product.part = Some(bytes.text(len)?),
            b"EC" => product.changes = Some(bytes.text(len)?),
            b"RV" if len == 0 => return Err(broken(at, "a checksum of no bytes")),
            b"RV" => {
                bytes.next()?;
                if bytes.sum != 0 {
                    return Err(broken(at, format_args!("the checksum is wrong by {}", bytes.sum)));
                }
                product.summed = true;
                // Whatever is left is reserved.
                bytes.skip(end - bytes.at)?;
            }
            _ => bytes.skip(len)?,
        }
    }
    Ok(())
}

fn broken(at: usize, what: impl Display) -> Error {
    Error::new(Kind::Device, format!("byte {at}: {what}"))
}

/// Bytes that come one by one.
struct Bytes<F> {
    next: F,
    /// How many have come, and their sum.
    at: usize,
    sum: u8,
}

impl<F: FnMut() -> Result<u8>> Bytes<F> {
    fn next(&mut self) -> Result<u8> {
        if self.at == SPACE {
            return Err(broken(self.at, "it has no end"));
        }
        let byte = (self.next)()?;
        self.at += 1;
        self.sum = self.sum.wrapping_add(byte);
        Ok(byte)
    }

    /// The length of a large resource, which has room behind it for an end.
    fn length(&mut self) -> Result<usize> {
        let at = self.at - 1;
        let len = usize::from(u16::from_le_bytes([self.next()?, self.next()?]));
        if len >= SPACE - self.at {
            return Err(broken(at, format_args!("{len} bytes, which go beyond its end")));
        }
        Ok(len)
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        (0..len).try_for_each(|_| self.next().map(drop))
    }

    /// Words for people, and for terminals.
    fn text(&mut self, len: usize) -> Result<String> {
        let bytes = (0..len).map(|_| self.next()).collect::<Result<Vec<u8>>>()?;
        let shown = |byte: u8| if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '?' };
        // Some pad with zeros.
        let text: String = bytes.into_iter().filter(|byte| *byte != 0).map(shown).collect();
        Ok(text.trim().chars().take(SHOWN).collect())
    }
}

#[cfg(test)]
mod tests;
