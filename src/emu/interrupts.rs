//! MSI-X as a function has it: a table of vectors, pending bits, and what is
//! signalled in place of a message (PCI 3.0 §6.8.2).
//!
//! ```text
//!   model --signal(v)--> enabled? masked? --no--> eventfd of v
//!                             |
//!                             +--yes--> pending bit; sent when unmasked
//! ```

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

/// Bytes of a table entry: address, upper address, data, vector control.
const ENTRY: u32 = 16;

/// The interrupt vectors of one emulated function.
#[derive(Debug)]
pub struct Interrupts {
    enabled: bool,
    masked: bool,
    /// Messages that are not lost on their way; after them all are.
    pass: u64,
    vectors: Vec<Vector>,
    /// Messages that were sent and are not on their way, where that takes time.
    waiting: Option<Vec<u16>>,
}

#[derive(Debug)]
struct Vector {
    address: u64,
    data: u32,
    masked: bool,
    pending: bool,
    sent: u64,
    fd: Option<File>,
}

impl Interrupts {
    /// `vectors` vectors, all masked, as after power-on.
    pub fn new(vectors: u16) -> Self {
        let vector = || Vector { address: 0, data: 0, masked: true, pending: false, sent: 0, fd: None };
        let vectors = (0..vectors).map(|_| vector()).collect();
        Self { enabled: false, masked: false, pass: u64::MAX, vectors, waiting: None }
    }

    /// Keeps messages from now on until [`Interrupts::take_waiting`] and
    /// [`Interrupts::deliver`].
    pub(super) fn keep(&mut self) {
        self.waiting = Some(Vec::new());
    }

    /// The messages that are kept, in order; none is after that.
    pub(super) fn take_waiting(&mut self) -> Vec<u16> {
        self.waiting.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has every message behind the first `pass` lost on its way, as on a bus that is broken.
    pub fn lose_behind(&mut self, pass: u64) {
        self.pass = pass;
    }

    /// Whether MSI-X is on.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// How many vectors there are.
    pub fn count(&self) -> u16 {
        self.vectors.len() as u16
    }

    /// Sends the message of `vector`, or remembers it until it is unmasked.
    /// Messages of a function whose MSI-X is off are lost, as on a bus.
    pub fn signal(&mut self, vector: u16) {
        match &mut self.waiting {
            Some(waiting) => waiting.push(vector),
            None => self.deliver(vector),
        }
    }

    /// That message arrives.
    pub(super) fn deliver(&mut self, vector: u16) {
        let (enabled, masked) = (self.enabled, self.masked);
        let Some(vector) = self.vectors.get_mut(usize::from(vector)) else { return };
        if enabled && self.pass > 0 {
            self.pass -= 1;
            vector.pending = true;
            vector.deliver(masked);
        }
    }

    /// Messages that `vector` has sent.
    pub fn sent(&self, vector: u16) -> u64 {
        self.vectors.get(usize::from(vector)).map_or(0, |v| v.sent)
    }

    /// Messages that all vectors have sent.
    pub fn total(&self) -> u64 {
        self.vectors.iter().map(|vector| vector.sent).sum()
    }

    /// The function's enable and mask bits (message control, bits 15 and 14).
    pub fn control(&mut self, enabled: bool, masked: bool) {
        (self.enabled, self.masked) = (enabled, masked);
        for vector in &mut self.vectors {
            vector.pending &= enabled;
            vector.deliver(masked);
        }
    }

    /// Signals this eventfd for `vector`, or none.
    pub fn connect(&mut self, vector: u16, fd: Option<OwnedFd>) {
        if let Some(vector) = self.vectors.get_mut(usize::from(vector)) {
            vector.fd = fd.map(File::from);
        }
    }

    /// Masks one vector or lets it through, as its control word does.
    pub fn mask(&mut self, vector: u16, masked: bool) {
        let all = self.masked;
        if let Some(vector) = self.vectors.get_mut(usize::from(vector)) {
            vector.masked = masked;
            vector.deliver(all);
        }
    }

    /// A dword of the table.
    pub fn table_read(&self, offset: u32) -> u32 {
        let Some(vector) = self.vectors.get((offset / ENTRY) as usize) else { return 0 };
        match offset % ENTRY {
            0 => vector.address as u32,
            4 => (vector.address >> 32) as u32,
            8 => vector.data,
            _ => u32::from(vector.masked),
        }
    }

    /// Writes a dword of the table.
    pub fn table_write(&mut self, offset: u32, value: u32) {
        let Some(vector) = self.vectors.get_mut((offset / ENTRY) as usize) else { return };
        match offset % ENTRY {
            0 => vector.address = vector.address >> 32 << 32 | u64::from(value & !3),
            4 => vector.address = vector.address & 0xffff_ffff | u64::from(value) << 32,
            8 => vector.data = value,
            _ => self.mask((offset / ENTRY) as u16, value & 1 == 1),
        }
    }

    /// A dword of the pending bit array.
    pub fn pending_read(&self, offset: u32) -> u32 {
        let first = (offset / 4 * 32) as usize;
        let bits = self.vectors.iter().skip(first).take(32).enumerate();
        bits.map(|(bit, vector)| u32::from(vector.pending) << bit).sum()
    }

    /// Everything as after power-on; eventfds stay connected.
    pub fn reset(&mut self) {
        (self.enabled, self.masked) = (false, false);
        for vector in &mut self.vectors {
            (vector.address, vector.data, vector.masked, vector.pending) = (0, 0, true, false);
        }
    }
}

impl Vector {
    fn deliver(&mut self, all_masked: bool) {
        if !self.pending || self.masked || all_masked {
            return;
        }
        self.pending = false;
        self.sent += 1;
        if let Some(fd) = &mut self.fd {
            // A full counter (EAGAIN) means the event is there already, and a
            // closed reader is the driver's own affair.
            let _ = fd.write(&1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_vector_waits_and_a_disabled_function_is_silent() {
        let mut interrupts = Interrupts::new(64);
        interrupts.signal(3);
        interrupts.control(true, false);
        assert_eq!((interrupts.sent(3), interrupts.pending_read(0)), (0, 0));
        interrupts.signal(3);
        interrupts.signal(40);
        assert_eq!((interrupts.pending_read(0), interrupts.pending_read(4)), (8, 1 << 8));
        interrupts.table_write(3 * 16 + 12, 0);
        assert_eq!((interrupts.sent(3), interrupts.pending_read(0)), (1, 0));
        interrupts.control(true, true);
        interrupts.signal(3);
        assert_eq!(interrupts.sent(3), 1);
        interrupts.control(true, false);
        assert_eq!((interrupts.sent(3), interrupts.sent(40)), (2, 0));
        interrupts.signal(64);
    }

    #[test]
    fn the_table_reads_back_what_was_written() {
        let mut interrupts = Interrupts::new(2);
        for (offset, value) in [(0, 0xfee0_0000), (4, 1), (8, 0x4041), (12, 0)] {
            interrupts.table_write(16 + offset, value);
            assert_eq!(interrupts.table_read(16 + offset), value);
        }
        interrupts.table_write(32, 7);
        assert_eq!(interrupts.table_read(32), 0);
        interrupts.reset();
        assert_eq!(interrupts.table_read(28), 1);
    }
}
