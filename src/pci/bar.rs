//! BARs: the control plane's view of a card's registers.

#![allow(unsafe_code)]

use super::trace::Trace;
use super::{Doorbell, LongDoorbell, ShortDoorbell, Window};
use crate::dma::Region;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::sys::bus::{Guard, Instead, Lost};
use memmap2::{MmapOptions, MmapRaw};
use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32};

/// The registers of a BAR that cannot be mapped as a whole: an emulated card's,
/// served by its model, or a real function's, served by parts.
pub trait Registers: Send + Sync {
    /// Reads `size` bytes (1, 2, 4 or 8) at `offset`.
    fn read(&self, offset: u64, size: u8) -> u64;
    /// Writes `size` bytes (1, 2, 4 or 8) at `offset`.
    fn write(&self, offset: u64, size: u8, value: u64);
    /// The memory of the 32-bit doorbell at `offset`, with the rest of its page, and
    /// what keeps it alive: a mapped register, or memory that a model polls.
    fn doorbell(&self, offset: u64) -> Option<Doorbell>;
    /// The same of the 16-bit doorbell at `offset`.
    fn short_doorbell(&self, offset: u64) -> Option<ShortDoorbell> {
        self.doorbell(offset).map(ShortDoorbell::Polled)
    }
    /// Where accesses are noted, and which BAR this is, if the function is traced.
    fn trace(&self) -> Option<(&Trace, u8)> {
        None
    }
    /// The same registers, unseen by a trace; `None` if none sees them.
    fn untraced(&self) -> Option<Bar> {
        None
    }
}

/// A BAR: of memory, mapped or served access by access, or of ports, which are served.
///
/// Only set-up, link and statistics go through here; a data path holds a
/// [`Doorbell`]. Offsets are in bytes and must be aligned to the access.
#[derive(Clone)]
pub enum Bar {
    /// All of it is one mapping of a real function's registers.
    Mapped(Mapped),
    /// Each access goes through [`Registers`]; and the size of the BAR in bytes.
    Served(Arc<dyn Registers>, u64),
}

/// A mapping of a real BAR.
#[derive(Clone)]
pub struct Mapped {
    base: NonNull<u8>,
    len: u64,
    owner: Arc<dyn Any + Send + Sync>,
}

/// A mapping that may be taken away. The guard goes first.
struct Guarded {
    _guard: Guard,
    _mapping: MmapRaw,
}

// SAFETY: the mapping lives as long as the owner; accesses are volatile and whole.
unsafe impl Send for Mapped {}
// SAFETY: see Send.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// The `len` bytes of registers at `base`.
    ///
    /// # Safety
    /// They must stay mapped, for reading and writing, while `owner` lives.
    pub unsafe fn new(base: NonNull<u8>, len: u64, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self { base, len, owner }
    }

    /// Maps `len` bytes of registers from `offset` of a file. Where they are taken away, as
    /// when the card is pulled, they read as all ones from then on but for what is stored there, and `lost` is told.
    pub(super) fn of_file(file: &File, offset: u64, len: u64, lost: &Arc<Lost>) -> io::Result<Self> {
        let bytes = usize::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        let mapping = MmapOptions::new().offset(offset).len(bytes).map_raw(file)?;
        let base = NonNull::new(mapping.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        let guard = Guard::new(base, bytes, Instead::Ones, Some(Arc::clone(lost)))?;
        // SAFETY: the owner has the mapping, for reading and writing, len bytes long.
        Ok(unsafe { Self::new(base, len, Arc::new(Guarded { _guard: guard, _mapping: mapping })) })
    }

    fn register<T>(&self, offset: u64) -> *mut T {
        let size = size_of::<T>() as u64;
        assert!(
            offset.is_multiple_of(size) && offset <= self.len && size <= self.len - offset,
            "register {offset:#x} outside a BAR of {:#x} bytes",
            self.len
        );
        // SAFETY: offset was checked against the mapping's length.
        unsafe { self.base.as_ptr().add(offset as usize).cast() }
    }
}

/// Reading and writing registers of one width.
macro_rules! accesses {
    ($word:ty: $read:ident, $write:ident) => {
        #[doc = concat!("Reads a register as a `", stringify!($word), "`, in one access.")]
        pub fn $read(&self, offset: u64) -> $word {
            match self {
                // SAFETY: register checks bounds and alignment.
                Bar::Mapped(mapped) => unsafe { mapped.register::<$word>(offset).read_volatile() },
                Bar::Served(registers, _) => registers.read(offset, size_of::<$word>() as u8) as $word,
            }
        }

        #[doc = concat!("Writes a register as a `", stringify!($word), "`, in one access.")]
        pub fn $write(&self, offset: u64, value: $word) {
            match self {
                // SAFETY: register checks bounds and alignment.
                Bar::Mapped(mapped) => unsafe { mapped.register::<$word>(offset).write_volatile(value) },
                Bar::Served(registers, _) => registers.write(offset, size_of::<$word>() as u8, u64::from(value)),
            }
        }
    };
}

impl Bar {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Bar::Mapped(mapped) => mapped.len,
            Bar::Served(_, size) => *size,
        }
    }

    /// Fails unless the BAR holds at least `needed` bytes: asked once at open,
    /// so that no register offset of the driver's table can be outside.
    pub fn require(&self, device: &str, needed: u64) -> Result<()> {
        if self.size() >= needed {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            format!(
                "{device}: its register BAR has {} bytes but the driver needs {needed}; is this the card its id says?",
                self.size()
            ),
        ))
    }

    accesses!(u8: read8, write8);
    accesses!(u16: read16, write16);
    accesses!(u32: read32, write32);
    accesses!(u64: read64, write64);

    /// The doorbell at `offset`, for a queue to keep.
    pub fn doorbell(&self, offset: u64) -> Result<Doorbell> {
        match self {
            Bar::Mapped(mapped) => {
                let register = mapped.register::<AtomicU32>(offset);
                let room = (mapped.len - offset) as usize & !3;
                // SAFETY: inside the mapping, which the owner keeps; not null, as base is not.
                Ok(unsafe { Doorbell::with_room(NonNull::new_unchecked(register), room, Arc::clone(&mapped.owner)) })
            }
            Bar::Served(registers, _) => registers.doorbell(offset).ok_or_else(|| no_memory(offset)),
        }
    }

    /// The `len` bytes from `offset` on, for a queue to store into. They must
    /// not cross a page of 4 KiB.
    pub fn window(&self, offset: u64, len: usize) -> Result<Window> {
        Window::new(&self.doorbell(offset)?, len)
    }

    /// The doorbell of 64 bits at `offset`, for a queue to keep.
    pub fn long_doorbell(&self, offset: u64) -> Result<LongDoorbell> {
        LongDoorbell::new(self.doorbell(offset)?)
    }

    /// The doorbell of 16 bits at `offset`, for a queue to keep.
    pub fn short_doorbell(&self, offset: u64) -> Result<ShortDoorbell> {
        match self {
            Bar::Mapped(mapped) => {
                let register = mapped.register::<AtomicU16>(offset);
                // SAFETY: not null, as base is not.
                let register = unsafe { NonNull::new_unchecked(register) };
                Ok(ShortDoorbell::Mapped(register, Arc::clone(&mapped.owner)))
            }
            Bar::Served(registers, _) => registers.short_doorbell(offset).ok_or_else(|| no_memory(offset)),
        }
    }

    /// Where what passes through memory is to be noted, if the function is traced.
    pub fn trace(&self) -> Option<&Trace> {
        match self {
            Bar::Mapped(_) => None,
            Bar::Served(registers, _) => registers.trace().map(|(trace, _)| trace),
        }
    }

    /// The same BAR, unseen by a trace: for a data path that has to go through it.
    pub fn untraced(&self) -> Bar {
        match self {
            Bar::Served(registers, _) => registers.untraced().unwrap_or_else(|| self.clone()),
            Bar::Mapped(_) => self.clone(),
        }
    }

    /// Shows a trace what was stored in memory that the card will look at.
    pub fn note_stored(&self, memory: &Region) {
        if let Some(trace) = self.trace() {
            trace.stored(std::slice::from_ref(memory));
        }
    }

    /// Tells a trace the card's own address, which is replaced there.
    pub fn note_address(&self, mac: MacAddr) {
        if let Some(trace) = self.trace() {
            trace.address(mac);
        }
    }

    /// Notes a store of `size` bytes to a doorbell, which a trace does not see.
    pub fn note_ring(&self, offset: u64, size: u8, value: u64) {
        if let Bar::Served(registers, _) = self
            && let Some((trace, bar)) = registers.trace()
        {
            trace.rang(bar, offset, size, value);
        }
    }
}

fn no_memory(offset: u64) -> Error {
    let text = format!("there is no memory behind register {offset:#x}, so it can be no doorbell");
    Error::new(Kind::Unsupported, text)
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Bar::Mapped(_) => "mapped",
            Bar::Served(..) => "served",
        };
        write!(f, "Bar({kind}, {:#x} bytes)", self.size())
    }
}
