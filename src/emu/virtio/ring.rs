//! Virtqueues from the device's side: what is available is fetched and checked,
//! what was used is put back (VIRTIO 1.2 §2.7 split, §2.8 packed).
//!
//! A chain that breaks a rule stops the device, as it does on silicon: DEVICE
//! NEEDS RESET (§2.1.2). The rule is named.

mod crossings;

use super::super::{Translation, Violations};
use crate::dma::Iova;
use std::cell::Cell;
use std::sync::atomic::{AtomicU16, Ordering, fence};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Packed: whose a descriptor is.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// What was agreed on, as far as rings go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agreed {
    /// Packed rings.
    pub packed: bool,
    /// Indirect tables.
    pub indirect: bool,
    /// Notifications and interrupts by index.
    pub event_index: bool,
}

/// Something the driver made available.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Its id: of a split queue the index of its head.
    pub id: u16,
    /// Descriptors of the ring that it took.
    pub slots: u16,
    /// What the device may read, in order.
    pub readable: Vec<(Iova, u32)>,
    /// What the device may write, in order.
    pub writable: Vec<(Iova, u32)>,
}

impl Chain {
    /// Bytes to read.
    pub fn readable_len(&self) -> usize {
        self.readable.iter().map(|part| part.1 as usize).sum()
    }

    /// Bytes to write.
    pub fn writable_len(&self) -> usize {
        self.writable.iter().map(|part| part.1 as usize).sum()
    }
}

/// A descriptor, taken apart (§2.7.5, §2.8.13): packed ones have an id where
/// split ones name the next.
struct Descriptor {
    address: Iova,
    len: u32,
    flags: u16,
    next_or_id: u16,
}

/// The driver broke a rule, which is this one.
pub type Broken = &'static str;

/// One virtqueue that is on.
#[derive(Default)]
pub struct Ring {
    agreed: Agreed,
    size: u16,
    descriptors: Iova,
    driver: Iova,
    device: Iova,
    /// Split: next of the available ring and of the used ring, running freely.
    /// Packed: index of the next descriptor, in both roles.
    next_available: u16,
    next_used: u16,
    /// Packed: the wrap counters.
    available_wrap: bool,
    used_wrap: bool,
    /// Used since the driver was last interrupted: from here.
    signalled: u16,
    signalled_wrap: bool,
    /// Ids that the device has.
    held: Vec<bool>,
    /// For who counts what crosses PCIe.
    known: Cell<crossings::Known>,
}

impl Ring {
    /// A queue of `size` at these addresses: descriptors, driver's and device's area.
    pub fn new(agreed: Agreed, size: u16, [descriptors, driver, device]: [Iova; 3]) -> Self {
        Ring {
            agreed,
            size,
            descriptors,
            driver,
            device,
            available_wrap: true,
            used_wrap: true,
            signalled_wrap: true,
            held: vec![false; usize::from(size)],
            ..Ring::default()
        }
    }

    /// Descriptors that it has.
    pub fn size(&self) -> u16 {
        self.size
    }

    fn word<'m>(&self, memory: &'m Translation, iova: Iova) -> Result<&'m AtomicU16, Broken> {
        memory.word16(iova).ok_or("queue outside mapped memory")
    }

    fn descriptor(&self, memory: &Translation, iova: Iova) -> Result<Descriptor, Broken> {
        let mut bytes = [0; 16];
        if !memory.read(iova, &mut bytes) {
            return Err("descriptor outside mapped memory");
        }
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| bytes[n]);
        let (x, y) = (half(12), half(14));
        Ok(Descriptor {
            address: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            len: u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            flags: if self.agreed.packed { y } else { x },
            next_or_id: if self.agreed.packed { x } else { y },
        })
    }

    /// Whether there is something to fetch.
    pub fn available(&self, memory: &Translation) -> Result<bool, Broken> {
        if let Some(meter) = memory.meter() {
            self.learn(meter, memory);
        }
        if self.agreed.packed {
            let flags = self.word(memory, self.descriptors + 16 * u64::from(self.next_available) + 14)?;
            return Ok(self.is_available(flags.load(Ordering::Acquire), self.available_wrap));
        }
        let index = self.word(memory, self.driver + 2)?.load(Ordering::Acquire);
        let ahead = index.wrapping_sub(self.next_available);
        if ahead > self.size { Err("available index further ahead than the queue is long") } else { Ok(ahead > 0) }
    }

    fn is_available(&self, flags: u16, wrap: bool) -> bool {
        (flags & AVAIL != 0) == wrap && (flags & USED != 0) != wrap
    }

    /// Fetches the next chain into `chain`; false if there is none.
    pub fn fetch(&mut self, memory: &Translation, chain: &mut Chain) -> Result<bool, Broken> {
        if !self.available(memory)? {
            return Ok(false);
        }
        (chain.slots, chain.id) = (0, 0);
        chain.readable.clear();
        chain.writable.clear();
        if let Some(meter) = memory.meter() {
            self.count_taken(meter, memory);
        }
        if self.agreed.packed {
            self.fetch_packed(memory, chain)?;
        } else {
            self.fetch_split(memory, chain)?;
        }
        match self.held.get_mut(usize::from(chain.id)) {
            None => Err("buffer id is not below the queue's size"),
            Some(held) if *held => Err("buffer made available that the device has already"),
            Some(held) => {
                *held = true;
                Ok(true)
            }
        }
    }

    fn fetch_split(&mut self, memory: &Translation, chain: &mut Chain) -> Result<(), Broken> {
        let entry = self.driver + 4 + 2 * u64::from(self.next_available % self.size);
        let mut at = self.word(memory, entry)?.load(Ordering::Relaxed);
        chain.id = at;
        let mut count = 0;
        loop {
            if at >= self.size {
                return Err("descriptor index is not below the queue's size");
            }
            count += 1;
            if count > self.size {
                return Err("chain loops, or is longer than the queue");
            }
            let descriptor = self.descriptor(memory, self.descriptors + 16 * u64::from(at))?;
            self.take(memory, chain, &descriptor)?;
            if descriptor.flags & NEXT == 0 {
                break;
            }
            at = descriptor.next_or_id;
        }
        chain.slots = 1;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(())
    }

    fn fetch_packed(&mut self, memory: &Translation, chain: &mut Chain) -> Result<(), Broken> {
        let (mut at, mut wrap) = (self.next_available, self.available_wrap);
        loop {
            let descriptor = self.descriptor(memory, self.descriptors + 16 * u64::from(at))?;
            if !self.is_available(descriptor.flags, wrap) {
                return Err("chain goes on in a descriptor that is not available");
            }
            if chain.slots == self.size {
                return Err("chain loops, or is longer than the queue");
            }
            self.take(memory, chain, &descriptor)?;
            chain.slots += 1;
            chain.id = descriptor.next_or_id;
            (at, wrap) = self.after(at, wrap, 1);
            if descriptor.flags & NEXT == 0 {
                break;
            }
        }
        (self.next_available, self.available_wrap) = (at, wrap);
        Ok(())
    }

    /// A descriptor of a chain: a buffer, or a table of them.
    fn take(&self, memory: &Translation, chain: &mut Chain, descriptor: &Descriptor) -> Result<(), Broken> {
        if descriptor.flags & INDIRECT == 0 {
            return buffer(chain, descriptor);
        }
        if !self.agreed.indirect {
            return Err("indirect descriptor without INDIRECT_DESC");
        }
        if descriptor.flags & NEXT != 0 {
            return Err("indirect descriptor that goes on");
        }
        if descriptor.len == 0 || !descriptor.len.is_multiple_of(16) || descriptor.len / 16 > 1024 {
            return Err("indirect table that is not a number of descriptors");
        }
        let entries = (descriptor.len / 16) as u16;
        let (mut at, mut count) = (0, 0);
        loop {
            let entry = self.descriptor(memory, descriptor.address + 16 * u64::from(at))?;
            if entry.flags & INDIRECT != 0 {
                return Err("indirect descriptor in an indirect table");
            }
            buffer(chain, &entry)?;
            count += 1;
            // Packed tables are read in order (§2.8.8), split ones follow next.
            at = match (self.agreed.packed, entry.flags & NEXT != 0) {
                (true, _) => at + 1,
                (false, true) => entry.next_or_id,
                (false, false) => return Ok(()),
            };
            if self.agreed.packed && at == entries {
                return Ok(());
            }
            if at >= entries || count > entries {
                return Err("indirect table that loops or ends nowhere");
            }
        }
    }

    fn after(&self, at: u16, wrap: bool, by: u16) -> (u16, bool) {
        let at = u32::from(at) + u32::from(by);
        if at >= u32::from(self.size) { ((at - u32::from(self.size)) as u16, !wrap) } else { (at as u16, wrap) }
    }

    /// Unfetches the chains fetched last: they are used another time. A driver
    /// cannot tell that they were looked at.
    pub fn rewind(&mut self, chains: &[Chain]) {
        for chain in chains {
            self.held[usize::from(chain.id)] = false;
            if self.agreed.packed {
                let back = self.next_available < chain.slots;
                self.next_available = match back {
                    true => self.next_available + self.size - chain.slots,
                    false => self.next_available - chain.slots,
                };
                self.available_wrap ^= back;
            } else {
                self.next_available = self.next_available.wrapping_sub(1);
            }
        }
    }

    /// Puts used chains back, each with the bytes that were written to it, of packets that
    /// were `sent` or others. The driver sees all of them or none.
    pub fn put_back(&mut self, memory: &Translation, used: &[(u16, u16, u32)], sent: bool) -> Result<(), Broken> {
        for &(id, ..) in used {
            self.held[usize::from(id)] = false;
        }
        if let Some(meter) = memory.meter() {
            self.count_used(meter, used, sent);
        }
        if self.agreed.packed {
            let mut places = Vec::with_capacity(used.len());
            for &(id, slots, written) in used {
                let flags = if self.used_wrap { AVAIL | USED } else { 0 };
                places.push((self.next_used, id, written, flags));
                (self.next_used, self.used_wrap) = self.after(self.next_used, self.used_wrap, slots);
            }
            // The first one last: a driver takes them in order.
            for (at, id, written, flags) in places.into_iter().rev() {
                let place = self.descriptors + 16 * u64::from(at);
                mapped(memory.store32(place + 8, written))?;
                mapped(memory.store16(place + 12, id))?;
                mapped(memory.store16(place + 14, flags))?;
            }
            return Ok(());
        }
        for &(id, _, written) in used {
            let place = self.device + 4 + 8 * u64::from(self.next_used % self.size);
            mapped(memory.store32(place, u32::from(id)))?;
            mapped(memory.store32(place + 4, written))?;
            self.next_used = self.next_used.wrapping_add(1);
        }
        mapped(memory.store16(self.device + 2, self.next_used))
    }

    /// Forgets where it was, as a backend that is started anew without being told (fault):
    /// only of a split queue can the driver see that.
    pub fn forget(&mut self, memory: &Translation) {
        // What is on its way would come after the zero.
        memory.hasten();
        self.next_used = 0;
        if let Ok(index) = self.word(memory, self.device + 2)
            && !self.agreed.packed
        {
            index.store(0, Ordering::Release);
        }
    }

    /// Asks the driver to notify when it makes more available, or not to. After
    /// asking, [`Ring::available`] must be asked once more: a read, which what is asked does
    /// not come behind.
    pub fn want_notice(&self, memory: &Translation, wanted: bool) -> Result<(), Broken> {
        let (place, value) = if self.agreed.packed {
            (self.device + 2, u16::from(!wanted))
        } else if !self.agreed.event_index {
            (self.device, u16::from(!wanted))
        } else if wanted {
            (self.device + 4 + 8 * u64::from(self.size), self.next_available)
        } else {
            // Not wanting is saying nothing: the index stays one that was passed.
            fence(Ordering::SeqCst);
            return Ok(());
        };
        self.word(memory, place)?.store(value, Ordering::Release);
        if let Some(meter) = memory.meter() {
            meter.report([(place, 2)], false);
        }
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Whether the driver is to be interrupted for what was put back since the
    /// last time that was asked. Whether it is `told` at all: it may go to sleep then.
    pub fn wants_interrupt(
        &mut self,
        memory: &Translation,
        told: bool,
        violations: &mut Violations,
    ) -> Result<bool, Broken> {
        fence(Ordering::SeqCst);
        let (old, new) = (self.signalled, self.next_used);
        let old_wrap = std::mem::replace(&mut self.signalled_wrap, self.used_wrap);
        self.signalled = new;
        if old == new && old_wrap == self.used_wrap {
            return Ok(false);
        }
        if let Some(meter) = memory.meter() {
            let place = if self.agreed.packed {
                (self.driver, 4)
            } else if self.agreed.event_index {
                (self.driver + 4 + 2 * u64::from(self.size), 2)
            } else {
                (self.driver, 2)
            };
            meter.fetch([place], 0);
        }
        let asks = self.asks(memory, (old, old_wrap), violations)?;
        if asks || !told || !memory.hasten() {
            return Ok(asks);
        }
        // The answer came behind what was put back: a driver that sleeps after that has
        // seen all of it.
        fence(Ordering::SeqCst);
        self.asks(memory, (old, old_wrap), violations)
    }

    /// Whether what the driver asks for is in what was put back since `old`.
    fn asks(&self, memory: &Translation, old: (u16, bool), violations: &mut Violations) -> Result<bool, Broken> {
        let ((old, old_wrap), new) = (old, self.next_used);
        if self.agreed.packed {
            let event = self.word(memory, self.driver)?.load(Ordering::Relaxed);
            return Ok(match self.word(memory, self.driver + 2)?.load(Ordering::Acquire) {
                0 => true,
                1 => false,
                2 if self.agreed.event_index => {
                    let linear = |at: u16, wrap: bool| {
                        i32::from(at) - if wrap == self.used_wrap { 0 } else { i32::from(self.size) }
                    };
                    let event = linear(event & 0x7fff, event >> 15 != 0);
                    (linear(old, old_wrap)..i32::from(new)).contains(&event)
                }
                _ => {
                    violations.note("event flags that mean nothing, or need EVENT_IDX");
                    true
                }
            });
        }
        let flags = self.word(memory, self.driver)?.load(Ordering::Acquire);
        if !self.agreed.event_index {
            return Ok(flags & 1 == 0);
        }
        if flags != 0 {
            violations.note("avail.flags is not 0 with EVENT_IDX");
        }
        let event = self.word(memory, self.driver + 4 + 2 * u64::from(self.size))?.load(Ordering::Relaxed);
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }

    /// Whether the device has used all that there was, of a split queue.
    pub fn is_spent(&self, memory: &Translation) -> Result<bool, Broken> {
        Ok(!self.available(memory)? && !self.held.contains(&true))
    }

    /// Whether all of it lies in memory that can be reached: the ends of its three parts.
    pub fn is_mapped(&self, memory: &Translation) -> bool {
        let size = u64::from(self.size);
        let (descriptors, driver, device) = (16 * size, 6 + 2 * size, 6 + 8 * size);
        let ends = [(self.descriptors, descriptors), (self.driver, driver), (self.device, device)];
        ends.iter().all(|&(at, len)| memory.word16(at).is_some() && memory.word16(at + len - 2).is_some())
    }

    /// What a notification with data must say if everything that is available
    /// now was available when it was sent: the index, and packed the wrap counter.
    pub fn data_is_sane(&self, data: u16) -> bool {
        let index = data & 0x7fff;
        !self.agreed.packed || index < self.size
    }
}

/// Breaks off if something is not mapped.
fn mapped(there: bool) -> Result<(), Broken> {
    if there { Ok(()) } else { Err("queue outside mapped memory") }
}

/// A buffer of a chain: the readable ones first, none of them empty (§2.7.4.2).
fn buffer(chain: &mut Chain, descriptor: &Descriptor) -> Result<(), Broken> {
    if descriptor.len == 0 {
        return Err("descriptor of no bytes");
    }
    if descriptor.flags & WRITE != 0 {
        chain.writable.push((descriptor.address, descriptor.len));
    } else if chain.writable.is_empty() {
        chain.readable.push((descriptor.address, descriptor.len));
    } else {
        return Err("readable descriptor behind a writable one");
    }
    Ok(())
}
