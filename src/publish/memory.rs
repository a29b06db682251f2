//! The memory of a ring, as the publisher has it and as a reader has it.

#![allow(unsafe_code)]

use super::layout::{CONTROL, MAGIC, Shape, State, VERSION, word};
use super::ring::Memory;
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A ring that is mapped.
#[derive(Debug)]
pub struct Shared {
    map: MmapRaw,
    shape: Shape,
    huge: bool,
}

/// The byte that the publisher has locked for as long as it lives.
const LIFE: u64 = 0;

/// What memory comes in, where there are huge pages of this size.
const HUGE: u64 = 2 << 20;

impl Shared {
    /// Makes the memory of a ring, with a page behind each byte: huge ones if there are any.
    /// Also the file of it for those who read.
    ///
    /// # Errors
    /// [`Kind::Memory`] if there is none, otherwise what the operating system says.
    pub fn create(size: u64, snaplen: usize, source: &str) -> Result<(Shared, File)> {
        let size = size.next_multiple_of(HUGE);
        let (file, huge) = match backed(size, true) {
            Ok(file) => (file, true),
            Err(_) => {
                let none = |e| {
                    let line = format!("no memory for a ring of {} MiB: {e}; publish a smaller one", size >> 20);
                    Error::new(Kind::Memory, line).with_remedy(Remedy::HugePages(size))
                };
                (backed(size, false).map_err(none)?, false)
            }
        };
        let doing = |what: &'static str| move |e| Error::io(what, e);
        let map = MmapRaw::map_raw(&file).map_err(doing("mapping the memory of a ring"))?;
        if let Some(base) = NonNull::new(map.as_mut_ptr()) {
            // Without it the first round takes page faults; the pages are there.
            let _ = sys::populate(base, map.len());
        }
        if !huge {
            // As far as this user may.
            let _ = map.lock();
        }
        let shared = Shared { map, shape: Shape::of(size, snaplen), huge };
        shared.describe(source);
        let prepare = || {
            file.set_permissions(Permissions::from_mode(0o400))?;
            sys::seal(&file)?;
            // A lock of this open of the file, which the mapping keeps open as well.
            sys::lock_byte(&file, LIFE)?;
            sys::reopen(&file)
        };
        let read_only = prepare().map_err(doing("sealing the memory of a ring"))?;
        Ok((shared, read_only))
    }

    fn describe(&self, source: &str) {
        let Shape { block, blocks, most } = self.shape;
        let words = [
            (word::VERSION, VERSION),
            (word::BLOCK, block as u64),
            (word::BLOCKS, blocks as u64),
            (word::SNAPLEN, most as u64),
            (word::PID, u64::from(std::process::id())),
            (word::START, sys::realtime_ns()),
        ];
        for (at, value) in words {
            self.word(at).store(value, Ordering::Relaxed);
        }
        let mut text = [0; 8 * word::SOURCE_WORDS];
        let end = source.floor_char_boundary(text.len() - 1);
        text[..end].copy_from_slice(&source.as_bytes()[..end]);
        for (i, bytes) in text.as_chunks::<8>().0.iter().enumerate() {
            self.word(word::SOURCE + i).store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        self.word(word::MAGIC).store(MAGIC, Ordering::Release);
    }

    /// Maps memory that was handed out.
    ///
    /// # Errors
    /// [`Kind::Device`] if it is not that of a ring, or could shrink while it is read.
    pub fn attach(file: &File) -> Result<Shared> {
        let bad = |what: &str| Error::new(Kind::Device, format!("what was handed out is not a ring: {what}"));
        if !sys::is_sealed(file) {
            return Err(bad("memory that may shrink, which would end this program"));
        }
        let size = file.metadata().map_err(|e| Error::io("reading the size of a ring", e))?.len();
        if size < CONTROL as u64 {
            return Err(bad("it is too short"));
        }
        let map = MmapOptions::new().map_raw_read_only(file).map_err(|e| Error::io("mapping a ring", e))?;
        // A shape that fits no more than the words that tell of it.
        let mut shared = Shared { map, shape: Shape { block: 0, blocks: 0, most: 0 }, huge: false };
        let told = |at: usize| shared.word(at).load(Ordering::Relaxed);
        if told(word::MAGIC) != MAGIC {
            return Err(bad("it does not begin like one"));
        }
        if told(word::VERSION) != VERSION {
            let line = format!(
                "this ring is of version {}, and only version {VERSION} is known here; use the same bmnic at both ends",
                told(word::VERSION)
            );
            return Err(Error::new(Kind::Unsupported, line));
        }
        let shape = Shape::checked(told(word::BLOCK), told(word::BLOCKS), told(word::SNAPLEN), size);
        shared.shape = shape.ok_or_else(|| bad("its blocks cannot be"))?;
        Ok(shared)
    }

    /// Whether it is of huge pages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// What the publisher says of itself.
    pub fn state(&self) -> State {
        let state = self.word(word::STATE).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        match state {
            0 => State::Running,
            1 => State::Ended,
            _ => State::Failed,
        }
    }

    /// Says it, after all that was published.
    pub fn set_state(&self, state: State) {
        self.word(word::STATE).store(state as u64, Ordering::Release);
    }

    /// What packets come from, with nothing in it that is no text.
    pub fn source(&self) -> String {
        let words = (0..word::SOURCE_WORDS).map(|i| self.word(word::SOURCE + i).load(Ordering::Relaxed).to_ne_bytes());
        let bytes: Vec<u8> = words.flatten().take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect()
    }

    /// A word of the control page.
    #[inline]
    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at < CONTROL / 8);
        // SAFETY: in the control page, which the mapping has (created with it, or checked
        // in `attach`), aligned as the mapping begins at a page; words are only ever used
        // as atomics, here and in other processes. A reader only loads, relaxed.
        unsafe { &*self.map.as_mut_ptr().cast::<AtomicU64>().add(at) }
    }
}

impl Memory for Shared {
    type Word = AtomicU64;

    #[inline]
    fn shape(&self) -> Shape {
        self.shape
    }

    #[inline]
    fn opened(&self) -> &AtomicU64 {
        self.word(word::OPENED)
    }

    #[inline]
    fn head(&self) -> &AtomicU64 {
        self.word(word::HEAD)
    }

    #[inline]
    fn data(&self) -> &[AtomicU64] {
        // SAFETY: behind the control page, as many words as the mapping has (by `Shape::of`
        // or checked by `Shape::checked`); otherwise as in `word`.
        unsafe {
            let first = self.map.as_mut_ptr().add(CONTROL).cast::<AtomicU64>();
            std::slice::from_raw_parts(first, self.shape.block * self.shape.blocks)
        }
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}

/// Memory without a name, of which every page is there: there is nothing to fault for later.
fn backed(size: u64, huge: bool) -> io::Result<File> {
    let file = sys::sealable_memory(size, huge)?;
    sys::allocate(&file, 0, size)?;
    Ok(file)
}

/// Whether the publisher of this memory lives.
///
/// # Errors
/// What the operating system says.
pub fn lives(file: &File) -> io::Result<bool> {
    sys::byte_is_locked_for_writing(file, LIFE)
}
