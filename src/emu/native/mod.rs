//! Emulated cards for any program of this machine, without a virtual machine, a
//! kernel module or a change to the program.
//!
//! ```text
//!   program                                   this process
//!     opens  /sys/bus/pci/devices/...   <---  tree      a mount namespace of its own
//!     mmaps  resource0                  --->  first touch: learn where it is
//!       control registers   -- fault ------>  decode -> Slot -> Model
//!       doorbell pages      == memory =====>  the very pages that the model polls
//!     descriptors, packets  == memory =====>  memory    huge pages, by physical address
//! ```
//!
//! A user-space driver maps a BAR and loads and stores. Here the file it maps has
//! the BAR's length, on a file system without a free page, so its first access
//! faults: that costs the program's calls nothing, mmap included. Then the mapping
//! is replaced by memory that may not be touched, except for the card's doorbell
//! pages ([`Model::doorbells`](super::Model::doorbells)), which are mapped. From
//! then on each access to a control register faults, is decoded and done by the
//! model with all its side effects, and the program goes on behind it. The data
//! path touches doorbell pages and memory only: it never faults, unless several
//! queues share a doorbell and none of their stores may be missed.
//!
//! What a program reads in a doorbell page is what the model has put there: the
//! heads of an 82599's rings move with each step of the model that moved them.
//!
//! Two traps bring the faults here. [`run`] watches a program from outside,
//! through ptrace: any program, unchanged. [`Trap`] is a signal handler for
//! drivers that were loaded into this process.
//!
//! What does not work: cards whose registers are ports, interrupts (programs must poll),
//! memory that is not of huge pages in files under `/dev/hugepages` or shared without a
//! file, such a file that is unlinked by another process than the one that uses it, and
//! instructions that do more with a register of the card than to move it or to add,
//! compare and the like, which end the program with a line that names them.

mod compute;
mod config;
mod decode;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod memory;
mod tracer;
mod trap;
mod tree;

#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub use fuzz::instruction;
pub use tracer::{Ended, run};
pub use trap::{Steps, Trap, width};
pub use tree::{HUGE_PAGES, RUNTIME};

use super::in_process::Slot;
use super::{Drive, Engine, Spec, Tap, Translation};
use crate::error::{Error, Kind, Remedy, Result};
use config::Config;
use decode::{Cpu, Unknown};
use memory::Memory;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tree::Place;

/// Where DPDK looks for PCI devices, and keeps what it needs while it runs.
pub const ENVIRONMENT: [(&str, &str); 2] =
    [("SYSFS_PCI_DEVICES", "/sys/bus/pci/devices"), ("RUNTIME_DIRECTORY", RUNTIME)];

/// A machine with emulated cards in it, as a program sees it.
pub struct Machine {
    engine: Engine,
    cards: Vec<Seated>,
    /// Crowded doorbell pages are mapped too.
    overlooks: bool,
    state: Mutex<State>,
}

/// A card in the machine.
struct Seated {
    slot: Slot,
    tap: Tap,
    place: Place,
}

struct State {
    configs: Vec<Config>,
    memory: Memory,
    regions: Vec<Region>,
    /// Accesses that were brought to a card.
    traps: u64,
}

/// Where a program has mapped a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    /// Whose address space it is in; 0 is this process.
    process: i32,
    start: u64,
    end: u64,
    card: usize,
    bar: u8,
    /// Offset in the BAR of the first byte.
    offset: u64,
}

/// A page that a program is to see in a BAR instead of a fault.
struct Shared {
    /// Offset in the region.
    at: u64,
    /// Descriptor in this process, and offset, of the memory it is.
    fd: i32,
    offset: u64,
}

impl Machine {
    /// Moves this process into a mount namespace of its own and puts the cards
    /// `specs` into the machine it then sees: this thread, and those that it starts
    /// from now on.
    ///
    /// # Errors
    /// [`Kind::Missing`] without root; [`Kind::Unsupported`] for a card whose registers are
    /// ports; what a card's name or wire says.
    pub fn enter(drive: Drive, specs: &[Spec]) -> Result<Machine> {
        let engine = Engine::new(drive);
        // Wires are files and interfaces of the machine as it is.
        let plugged = specs.iter().map(|spec| engine.plug(spec)).collect::<Result<Vec<_>>>()?;
        for (spec, (slot, _)) in specs.iter().zip(&plugged) {
            if slot.with(|card| card.profile().by_ports())? {
                let why = "its registers are ports, which a program reaches by instructions and not through a file: \
                           they would go to the ports of this machine; serve it to a guest with `--vfio-user`";
                return Err(Error::new(Kind::Unsupported, format!("emu:{spec}: {why}")));
            }
        }
        tree::enter()?;
        let mut cards = Vec::new();
        let mut configs = Vec::new();
        for (number, (slot, tap)) in plugged.into_iter().enumerate() {
            let place = slot.with(|card| tree::seat(number, card))??;
            configs.push(Config::new(place.config.clone(), &slot));
            cards.push(Seated { slot, tap, place });
        }
        let state = State { configs, memory: Memory::new()?, regions: Vec::new(), traps: 0 };
        Ok(Machine { engine, cards, overlooks: false, state: Mutex::new(state) })
    }

    /// Maps doorbells that several queues share to the program too: its stores there
    /// do not fault, and cost what they cost on silicon, but not each is seen. For
    /// programs that are timed, and before they start.
    ///
    /// # Errors
    /// If a card was taken out.
    pub fn overlook(&mut self) -> Result<()> {
        self.overlooks = true;
        self.cards.iter().try_for_each(|card| card.slot.with(|card| card.model().overlook()))
    }

    /// What makes the cards run.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Addresses of the cards: `0000:99:00.0`.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.cards.iter().map(|card| card.place.address.as_str())
    }

    /// Watches a card from outside.
    pub fn tap(&self, card: usize) -> &Tap {
        &self.cards[card].tap
    }

    /// Accesses that were trapped so far.
    pub fn traps(&self) -> u64 {
        self.lock().traps
    }

    /// Looks after what a program does without a fault: configuration space, new
    /// huge pages, control bits in doorbell pages. To be called now and then.
    pub fn tend(&self) -> Result<()> {
        self.tend_with(&mut self.lock())
    }

    fn tend_with(&self, state: &mut State) -> Result<()> {
        for (config, card) in state.configs.iter_mut().zip(&self.cards) {
            config.sync(&card.slot);
        }
        let State { configs, memory, .. } = state;
        if memory.is_stale() {
            memory.scan(&mut |each| self.each_memory(configs, each))?;
        }
        for card in &self.cards {
            card.slot.with(|card| card.model().mapped())?;
        }
        Ok(())
    }

    /// Does something with the memory of each card. A program ends a card's access
    /// before it gives memory up, and both are seen only when somebody looks: so
    /// what is in configuration space comes first.
    fn each_memory(&self, configs: &mut [Config], each: &mut dyn FnMut(&mut Translation)) {
        for (config, card) in configs.iter_mut().zip(&self.cards) {
            config.sync(&card.slot);
            // A card that was taken out has no memory to map.
            let _ = card.slot.with(|card| each(&mut card.bus().memory));
        }
    }

    /// Gives the cards the huge pages that a process has mapped without a file's name, and
    /// takes back those that it has no longer.
    fn notice_huge_pages(&self, process: i32) -> Result<()> {
        let State { configs, memory, .. } = &mut *self.lock();
        memory.scan_process(process, &mut |each| self.each_memory(configs, each))
    }

    /// Whether `address` of a process is in a BAR that it has mapped.
    fn region(&self, process: i32, address: u64) -> Option<Region> {
        let inside = |r: &&Region| r.process == process && (r.start..r.end).contains(&address);
        self.lock().regions.iter().find(inside).copied()
    }

    /// Looks for a mapping of a BAR at `address` that is not known yet.
    fn learn(&self, process: i32, address: u64) -> Option<(Region, Vec<Shared>)> {
        let name = if process == 0 { "self".to_string() } else { process.to_string() };
        let maps = fs::read_to_string(format!("/proc/{name}/maps")).ok()?;
        let mut region = maps.lines().find_map(|line| self.mapping(line, address))?;
        region.process = process;
        let Region { card, bar, offset, start, end, .. } = region;
        let pages = self.cards[card].slot.doorbells().iter().filter(|page| !page.crowded || self.overlooks);
        let inside = pages.filter(|page| page.bar == bar && (offset..offset + (end - start)).contains(&page.offset));
        let shared = inside.map(|page| {
            let (fd, at) = page.words.file();
            Shared { at: page.offset - offset, fd: std::os::fd::AsRawFd::as_raw_fd(&fd), offset: at }
        });
        Some((region, shared.collect()))
    }

    /// A line of `/proc/PID/maps` that is about a BAR and has `address` in it.
    fn mapping(&self, line: &str, address: u64) -> Option<Region> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = (hex(start)?, hex(end)?);
        if !(start..end).contains(&address) {
            return None;
        }
        let offset = hex(words.nth(1)?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let device = libc::makedev(hex(major)? as u32, hex(minor)? as u32);
        let inode = tree::Inode { device, number: words.next()?.parse().ok()? };
        self.cards.iter().enumerate().find_map(|(card, seated)| {
            let bar = seated.place.resources.iter().position(|resource| *resource == Some(inode))?;
            Some(Region { process: 0, start, end, card, bar: bar as u8, offset })
        })
    }

    /// Remembers a region; what it covers of others is gone.
    fn remember(&self, region: Region) {
        let regions = &mut self.lock().regions;
        regions.retain(|r| r.process != region.process || r.end <= region.start || region.end <= r.start);
        regions.push(region);
    }

    /// Gives the regions of a process to another that has a copy of its memory.
    fn inherit(&self, parent: i32, child: i32) {
        let regions = &mut self.lock().regions;
        let copies: Vec<Region> =
            regions.iter().filter(|r| r.process == parent).map(|r| Region { process: child, ..*r }).collect();
        regions.extend(copies);
    }

    /// Forgets the regions of a process, and its memory.
    fn forget(&self, process: i32) {
        let State { configs, memory, regions, .. } = &mut *self.lock();
        regions.retain(|region| region.process != process);
        memory.forget(process, &mut |each| self.each_memory(configs, each));
    }

    /// Does the access of the instruction that begins with `code` to `address`
    /// in `region`, and moves `cpu` behind it.
    fn access(&self, region: Region, address: u64, code: &[u8], cpu: &mut Cpu) -> std::result::Result<(), Unknown> {
        let instruction = decode::decode(code)?;
        let mut state = self.lock();
        state.traps += 1;
        // What the program did without a fault comes before what it does now.
        // Without memory the card says so itself, by a violation.
        let _ = self.tend_with(&mut state);
        let at = region.offset + (address - region.start);
        let bar = Bar { slot: &self.cards[region.card].slot, bar: region.bar, at };
        instruction.run(cpu, &mut { bar });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that an access names: registers from `at` on.
struct Bar<'a> {
    slot: &'a Slot,
    bar: u8,
    at: u64,
}

impl decode::Memory for Bar<'_> {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.slot.read(self.bar, self.at.wrapping_add(offset), size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.slot.write(self.bar, self.at.wrapping_add(offset), size, value);
    }
}

/// Fails unless the machine has `pages` free huge pages of 2 MiB.
///
/// # Errors
/// [`Kind::Missing`], with [`Remedy::HugePages`].
pub fn require_huge_pages(roots: &crate::sys::Roots, pages: u64) -> Result<()> {
    let page = 2 << 20;
    let pools = crate::dma::hugepages::pools(roots);
    let free: u64 = pools.iter().filter(|pool| pool.page == page).map(|pool| pool.free).sum();
    let free = free.saturating_sub(crate::dma::hugepages::reserved(roots, page));
    if free >= pages {
        return Ok(());
    }
    Err(Error::new(
        Kind::Missing,
        format!("{pages} free huge pages of 2 MiB are needed for the program's memory, and {free} are free"),
    )
    .with_remedy(Remedy::HugePages(pages * page)))
}
