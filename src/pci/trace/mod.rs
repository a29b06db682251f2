//! A trace of a card: what a driver asked of it and what it answered, as lines of text.
//!
//! ```text
//!   bmnic trace 1                          format, then what the card is:
//!   card 8086:10fb 8086:000c 01            vendor, device, subsystem, revision
//!   address 00:1b:21:00:00:5c              stands for its own, wherever that was found
//!   config 00 86800b15...                  configuration space, 32 bytes a line
//!
//!   bar 0 80000                            the driver uses BAR 0, of so many bytes
//!   map 100000000 200000                   the card can reach memory: IOVA, bytes
//!   R 0:00008/4 STATUS = 0x80 @12          read: BAR, offset, bytes, name, value, time
//!   W 0:00000/4 CTRL = 0x4 @13             write
//!   r 04/2 = 0x2 @14                       read of configuration space
//!   w 04/2 = 0x6 @15                       write
//!   reset                                  of the function
//!   open                                   it was closed, and opened again
//!   vectors 4                              interrupts are on for so many; 0 is off
//!   settle 10000000                        nothing was done for so many nanoseconds
//!
//!   command 0x104 ENABLE_HCA               a command; what it says in memory:
//!   > 100000000 40                         the driver stored: IOVA, bytes,
//!     00 07000000...                       32 of them a line; lines of zeros are left out
//!   W 0:00018/4 COMMAND_DOORBELL = 0x1 @20 and the card was told
//!   answer ENABLE_HCA done                 what the driver made of the answer:
//!   < 100000000 40                         the card stored
//!     20 00000000...
//!
//!   end 4711                               lines before this one: it is whole
//! ```
//!
//! Numbers are hexadecimal, but for revisions of the format, counts, bytes of an access and
//! times, which are microseconds since the trace began. A register without a name is
//! `BAR0`. `>` stands outside of commands too, where the card will look at memory later.
//!
//! It is the control plane that is traced, and of memory what commands need. Doorbells of
//! queues are stores to a mapping, which nothing sees: they are not in it, but for those
//! that give the card a command: those are noted whether the card wanted to be told or had
//! seen it by itself. Frames are not in it.
//!
//! The card's addresses are replaced as it is written ([`stand_in`]): the maker's half stays, the
//! rest is zeros and a byte that leaves sums over it as they were. So are numbers of 64 bits
//! that are its own, and zeros stand for those words of an EEPROM that may have either. Where the driver did not
//! come to read it, what answers say in memory is left out. Configuration space beyond byte
//! 0xff, where serial numbers are, is not shown, and no driver reads it; nor is vital product
//! data, nor how it is asked for, nor what an EEPROM or NVM holds but for its first 64 words,
//! nor a module's serial number. Everything else stands there as it was, filters that were
//! asked for included. Nothing is written until the driver has read the address, and then all
//! but the last hundred events: of a run that is killed they are missing, as is the last line.

mod mask;
mod read;
mod traced;
mod write;

#[cfg(test)]
mod tests;

pub use mask::{Words, stand_in};
pub use read::Recording;
pub use traced::{Names, begin, trace};
pub use write::{Trace, not_whole, whole};

use crate::dma::Iova;
use std::fmt::{self, Display, Formatter};

/// The first line.
const FORMAT: &str = "bmnic trace 1";

/// Bytes of configuration space that are shown.
const CONFIG: usize = 256;

/// Bytes a line.
const ROW: usize = 32;

/// A register access, as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// A write, or a read.
    pub write: bool,
    /// BAR.
    pub bar: u8,
    /// Offset in the BAR.
    pub offset: u64,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Value written, or read.
    pub value: u64,
    /// The datasheet's name of the register.
    pub name: Option<String>,
}

impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Access { write, bar, offset, size, value, name } = self;
        let way = if *write { 'W' } else { 'R' };
        match name {
            Some(name) => write!(f, "{way} {bar}:{offset:05x}/{size} {name} = {value:#x}"),
            None => write!(f, "{way} {bar}:{offset:05x}/{size} BAR{bar} = {value:#x}"),
        }
    }
}

/// An access to configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A write, or a read.
    pub write: bool,
    /// Where.
    pub offset: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// Value written, or read.
    pub value: u32,
}

/// Bytes of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Where the device finds them.
    pub iova: Iova,
    /// What they are.
    pub bytes: Vec<u8>,
}

/// What happened. Times are microseconds since the trace began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A BAR is used: its index, and its size in bytes.
    Bar(u8, u64),
    /// The device can reach memory: IOVA, bytes.
    Map(Iova, u64),
    /// A register access, and when.
    Access(Access, u64),
    /// One to configuration space, and when.
    Config(Config, u64),
    /// The function was reset.
    Reset,
    /// It was closed and opened again: what it was given before is gone. VFIO resets it
    /// meanwhile (Linux, drivers/vfio/pci/vfio_pci_core.c); through sysfs nobody does.
    Opened,
    /// So many interrupt vectors are on.
    Vectors(u16),
    /// Nothing was done for so many nanoseconds.
    Settle(u64),
    /// A command to firmware: its number and name.
    Command(u32, String),
    /// The driver stored.
    Put(Bytes),
    /// The answer to the command of this name, and what it was taken for.
    Answer(String, String),
    /// The device stored.
    Got(Bytes),
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Event::Bar(bar, size) => write!(f, "bar {bar} {size:x}"),
            Event::Map(iova, len) => write!(f, "map {iova:x} {len:x}"),
            Event::Access(access, at) => write!(f, "{access} @{at}"),
            Event::Config(Config { write, offset, size, value }, at) => {
                let way = if *write { 'w' } else { 'r' };
                write!(f, "{way} {offset:02x}/{size} = {value:#x} @{at}")
            }
            Event::Reset => f.write_str("reset"),
            Event::Opened => f.write_str("open"),
            Event::Vectors(count) => write!(f, "vectors {count}"),
            Event::Settle(time) => write!(f, "settle {time}"),
            Event::Command(code, name) => write!(f, "command {code:#x} {name}"),
            Event::Put(bytes) => write!(f, "> {bytes}"),
            Event::Answer(name, said) => write!(f, "answer {name} {said}"),
            Event::Got(bytes) => write!(f, "< {bytes}"),
        }
    }
}

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} {:x}", self.iova, self.bytes.len())?;
        for (n, row) in self.bytes.chunks(ROW).enumerate().filter(|(_, row)| row.iter().any(|byte| *byte != 0)) {
            write!(f, "\n  {:02x} {}", n * ROW, Hex(row))?;
        }
        Ok(())
    }
}

/// Bytes as digits.
struct Hex<'a>(&'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
