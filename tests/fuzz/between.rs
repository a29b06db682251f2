//! What stands between a driver and an emulated card: it notes the memory that the card may
//! reach, and changes what the driver reads.

use super::Input;
use bmnic::Result;
use bmnic::dma::{Addressing, Arena, Region};
use bmnic::pci::{Bar, Doorbell, Function, Id, Kind, Registers};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A function that lies, around one that does not.
pub struct Between {
    inner: Arc<dyn Function>,
    lies: Arc<Mutex<Lies>>,
}

/// What is changed, and when.
#[derive(Default)]
pub struct Lies {
    /// After so many reads: what happens to the next, or to memory.
    planned: Vec<Lie>,
    /// Reads that are left until the first of them.
    wait: u16,
    arenas: Vec<Arc<Arena>>,
}

/// One change.
struct Lie {
    /// Reads before it, since the last.
    wait: u16,
    what: What,
    value: u32,
}

enum What {
    /// A register, or a word of configuration space, is read as this.
    Reads,
    /// Bits of it are the other way round.
    Flips,
    /// A word of memory that the card may reach is this from now on.
    Memory { arena: u8, word: u32 },
}

impl Lies {
    /// The changes that `input` says, at most so many.
    fn of(input: &mut Input<'_>, most: usize) -> Lies {
        let mut planned = Vec::new();
        for _ in 0..most {
            let wait = input.number(2) as u16 & 0x3ff;
            let (kind, value) = (input.byte(), input.number(4) as u32);
            let what = match kind & 3 {
                0 => What::Reads,
                1 => What::Flips,
                _ => What::Memory { arena: kind >> 2, word: input.number(3) as u32 },
            };
            planned.push(Lie { wait, what, value });
        }
        planned.reverse();
        let wait = planned.last().map_or(0, |lie| lie.wait);
        Lies { planned, wait, arenas: Vec::new() }
    }

    /// What a read of `value` becomes.
    fn told(&mut self, value: u64) -> u64 {
        if self.planned.is_empty() || self.wait > 0 {
            self.wait = self.wait.saturating_sub(1);
            return value;
        }
        let Some(lie) = self.planned.pop() else { return value };
        self.wait = self.planned.last().map_or(0, |next| next.wait);
        match lie.what {
            What::Reads => u64::from(lie.value),
            What::Flips => value ^ u64::from(lie.value),
            What::Memory { arena, word } => {
                write(&self.arenas, arena, word, lie.value);
                value
            }
        }
    }
}

/// Writes a word of one of these, if there are any.
pub fn write(arenas: &[Arc<Arena>], arena: u8, word: u32, value: u32) {
    let Some(arena) = arenas.get(usize::from(arena) % arenas.len().max(1)) else { return };
    let word = word as usize % (arena.len() / 4);
    Region::new(arena, word * 4, 4).words32()[0].store(value, std::sync::atomic::Ordering::Release);
}

impl Between {
    /// Around `inner`, with at most `most` lies.
    pub fn new(inner: Arc<dyn Function>, input: &mut Input<'_>, most: usize) -> Arc<Between> {
        Arc::new(Between { inner, lies: Arc::new(Mutex::new(Lies::of(input, most))) })
    }

    /// The memory that the card may reach.
    pub fn arenas(&self) -> Vec<Arc<Arena>> {
        self.lies.lock().unwrap().arenas.clone()
    }

    fn told(&self, value: u64) -> u64 {
        self.lies.lock().unwrap().told(value)
    }

    fn around(&self, bar: Bar) -> Bar {
        let size = bar.size();
        Bar::Served(Arc::new(Around { bar, lies: Arc::clone(&self.lies) }), size)
    }
}

struct Around {
    bar: Bar,
    lies: Arc<Mutex<Lies>>,
}

/// The registers of a BAR.
fn registers(bar: &Bar) -> &dyn Registers {
    match bar {
        Bar::Served(registers, _) => registers.as_ref(),
        Bar::Mapped(_) => unreachable!("an emulated card's"),
    }
}

impl Registers for Around {
    fn read(&self, offset: u64, size: u8) -> u64 {
        let value = registers(&self.bar).read(offset, size);
        self.lies.lock().unwrap().told(value)
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        registers(&self.bar).write(offset, size, value);
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        registers(&self.bar).doorbell(offset)
    }
}

impl Function for Between {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn id(&self) -> Id {
        self.inner.id()
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        self.inner.bar(index).map(|bar| self.around(bar))
    }

    fn combining(&self, index: u8) -> Result<Option<Bar>> {
        Ok(self.inner.combining(index)?.map(|bar| self.around(bar)))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        self.inner.config_read(offset, size).map(|value| self.told(u64::from(value)) as u32)
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        self.inner.config_write(offset, size, value)
    }

    fn addressing(&self) -> Addressing {
        self.inner.addressing()
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        let mut lies = self.lies.lock().unwrap();
        if !lies.arenas.iter().any(|known| Arc::ptr_eq(known, arena)) {
            lies.arenas.push(Arc::clone(arena));
        }
        drop(lies);
        self.inner.map(arena)
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.inner.reaches(arena)
    }

    fn irq_vectors(&self) -> u16 {
        self.inner.irq_vectors()
    }

    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        self.inner.set_irqs(fds)
    }

    fn numa_node(&self) -> Option<u16> {
        None
    }

    fn reset(&self) -> Result<bool> {
        self.inner.reset()
    }

    fn wait(&self, time: Duration) {
        self.inner.wait(time);
    }
}
