//! bmnic drives network cards from user space.
//!
//! This page is the design, kept true; each module's own page goes on from it.
//!
//! # The picture
//!
//! ```text
//!   cli      bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput
//!    |          compare-dpdk check list emulate: parse, wire up, print; no hardware knowledge
//!    v
//!   compare  DPDK's drivers beside ours on one emulated card
//!    |
//!    v
//!   measure  clock, histogram, pacing, machine       packet  build, parse, filter, print
//!    |  doctor  checks and settings of the machine      |
//!    v                                                  v
//!   driver   Nic (control)   RxQueue, TxQueue (data, enum)           <- all that commands see
//!    |          ixgbe, i40e, efvi, bnxt, mlx5, virtio; packet, xdp
//!    v
//!   dma, pci    arenas, pools, batches | sysfs, vfio, BARs, doorbells  <- the unsafe floor
//!    |                                   \
//!    v                                    v
//!   a real PCI function,                 emu   one model per family, wire, clock
//!   an interface of the kernel            |
//!                                         v
//!                                        pcap   capture files; under cli too
//!
//!   publish  a ring of packets that other processes read, and names that sockets have;
//!              under cli, on nothing but what is under all
//!
//!   error, net, sys   under all: errors, addresses and checksums of frames, the kernel
//! ```
//!
//! Arrows only go down. `emu` and `driver` never import each other: they meet in
//! [`pci::Function`] and [`dma`] alone, as a card and a driver do.
//!
//! # As a library
//!
//! The program is a cargo feature, `cli`, and with it all that only it needs, as clap: a program
//! of yours asks for `bmnic = { version = "0.1", default-features = false }`. This one sends a
//! packet over an emulated card whose wire leads back:
//!
//! ```
//! use bmnic::dma::{Addressing, Batch, Pool};
//! use bmnic::driver::{self, Config, Port};
//! use bmnic::emu::{Drive, Engine};
//! use std::time::Duration;
//!
//! # fn main() -> bmnic::Result<()> {
//! let engine = Engine::new(Drive::Thread);
//! // A card of this machine comes from bmnic::pci::open.
//! let (card, _) = engine.open(&"82599,wire=loop".parse()?)?;
//! let pool = Pool::new(2048, Addressing::Translated)?;
//! card.map(pool.arena())?;
//! let Port { mut rx, mut tx, mut nic } = driver::open(card, &Config::default())?;
//! rx[0].fill(&pool)?;
//! nic.wait_for_link(Duration::from_secs(10))?;
//!
//! let mut batch = Batch::new(&pool);
//! batch.push_frame(&[0xff; 60]);
//! assert_eq!(tx[0].send(&mut batch), 1);
//! while rx[0].recv(&mut batch) == 0 {
//!     std::thread::yield_now();
//! }
//! assert_eq!(batch.frame(0), [0xff; 60]);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/` forwards, captures and generates packets, and reads a multicast group with a
//! card's time stamps. What such programs use is promised: it changes only with a version that
//! says so (semver). These are [`Error`] with its [`Kind`] and [`Remedy`], [`net::MacAddr`],
//! [`dma::Pool`], [`dma::Batch`] and [`dma::Meta`], [`driver::open`] with its [`driver::Config`] and
//! what it returns, [`pci::open`] and [`pci::Function`], [`emu::Engine`] and [`emu::Spec`],
//! [`packet::Filter`], [`packet::build`] and [`packet::values`], [`pcap::write`], [`pcap::read`],
//! [`pcap::record`] and [`pcap::section`], [`measure::Clock`], [`measure::Pace`],
//! [`measure::Idle`] and [`measure::Histogram`]. `tests/surface.txt` has each name with its
//! signature, and a test that fails when one changes. All else that is public is so for the
//! program, its tests, or those who write drivers and models, and may change with any version.
//!
//! # A packet's life
//!
//! A [`dma::Pool`] owns packet buffers. [`driver::RxQueue::recv`] moves buffers
//! that a card has filled into a [`dma::Batch`] and gives the card empty ones;
//! the application reads and changes them in place; [`driver::TxQueue::send`]
//! moves them into a ring; when the card has sent them they go back to the pool.
//! At each moment a buffer has exactly one owner, named by an index: there is
//! nothing to count and nothing to lock. What a card said of a packet is decoded
//! when it is asked for ([`dma::Batch::meta`]), never for one that only passes.
//!
//! Where a card reports in a ring of its own, of events or completions, apart
//! from the descriptors ([`driver::efvi`], [`driver::bnxt`], [`driver::mlx5`]), each
//! queue has such a ring to itself and reads it in its own `recv` or `send`: then queues
//! still share nothing, and the same two calls are all that there is.
//!
//! # Three things behind one interface
//!
//! [`pci::Function`] is an opened card. [`pci::open`] gives one through VFIO or
//! through the files of sysfs; [`emu::Engine`] gives one that a device model
//! plays. Control goes through [`pci::Bar`], mapped or served; a data path
//! holds a [`pci::Doorbell`], or a [`pci::Window`] for more than one word, and nothing
//! else: the same stores on silicon and into the page that a model polls. Where a card
//! takes a whole descriptor only if the processor combines what is stored
//! ([`pci::Function::combining`]), that is asked for, or said to be missing. No data
//! path reads a register, makes a system call or allocates, and tests hold them to it; all
//! but two, as a legacy virtio device is notified through a port, and the kernel is called to
//! send by an interface of its own.
//!
//! That is a fourth thing, and no PCI function: a [`pci::Interface`] stays the kernel's, whose
//! stack goes on to use it, and its driver ([`driver::packet`], [`driver::xdp`]) asks the kernel where others
//! ask registers. Each packet is copied once more for it, but for those that are only looked at
//! ([`driver::RxQueue::show`]).
//!
//! # Who judges whom
//!
//! A driver that has only met a model by the same author proves nothing. So models
//! are written from the datasheet, with registers as rows of a table and
//! descriptors as bytes, and are strict: what a driver must not do is counted by
//! name ([`emu::Violations`]). Then `scripts/lab` gives them to Linux's own
//! drivers, in a virtual machine ([`emu::vfio_user`]), tests give them to DPDK's,
//! natively ([`emu::native`]), and the models that pass judge ours. The same lab
//! runs ours on a real kernel's VFIO. The last word is a card's own: [`pci::trace`] writes
//! down what passes between a driver and any card, and [`emu::replay`] asks the model the
//! same and says where it answers otherwise. What DPDK's drivers cost and what ours do is
//! measured on the same model, in one process ([`compare`]), and what would cross PCIe for
//! it is counted by the model ([`emu::pcie`]); whole programs of both take turns on it too.
//!
//! # What is counted
//!
//! A number that is printed is a promise. What came is what was kept, what a filter
//! left out, and what was lost by a cause that has a name; where that does not add
//! up, the difference is printed too. Each place that can lose a packet counts it
//! where it happens: the wire of an emulated card ([`emu::wire::Note`]), the card
//! ([`driver::Stats`], in which a count that a device does not keep is `None` and not
//! zero), the command. Counting begins when rings take packets and ends before they
//! are left alone. A measurement that was not made as asked is no result
//! ([`measure::search`]), and a loss or a rate beyond its limit is an exit code.
//!
//! # What is not trusted
//!
//! The device: every length, index and count it writes is checked, and a bad one
//! is a [`driver::Anomalies`] count, not a panic; every wait has an end and names
//! the register ([`driver::wait`]). That it stays: a card that is pulled, or that the kernel
//! wants back, ends the run with its summary ([`pci::Alarm`]). The peer behind a cable or a socket. The
//! files that are replayed. The machine: a figure is printed with what it was
//! measured on and what disturbed it ([`measure`]). Itself: once a command has opened what it
//! needs it gives up the rights that it had for it (`cli::sandbox`, `sys::confine`).
//! `scripts/fuzz` plays cards, peers and files; its bodies are in `tests/fuzz`, and tests run them
//! over every input in `fuzz/corpus`.
//!
//! # To add a family
//!
//! A driver is a folder of `src/driver`. Its `open` brings a card up and returns
//! queues of its own types: their fast loops are [`driver::queue::Receive`] and
//! [`driver::queue::Transmit`], what every ring of slots does is in
//! `driver::slots` and `driver::sends`, and what only this family can do for a
//! [`driver::Nic`] is its `NicOps`. Commands to firmware are tables ([`driver::mailbox`]). A model is a
//! folder of `src/emu`: an [`emu::Model`] on an [`emu::Board`], its registers as rows,
//! its cards as `MODELS`. Outside of both a family stands in these places:
//!
//! ```text
//!    1  src/driver/mod.rs             the folder
//!    2  src/driver/families.rs        its name, and the types of its queues
//!    3  src/emu/mod.rs                the folder, and its MODELS
//!    4  src/cli/compare_dpdk/nics.rs  DPDK's driver for it
//!    5  src/lib.rs                    the picture above
//!    6  tests/common/families.rs      its cards, and where they differ from others
//!    7  tests/support/silicon/        its rings, played by hand
//!    8  tests/hostile.rs              the same rings, played by an enemy
//!    9  tests/faults.rs               what every command says when it gets packets wrong
//!   10  tests/sweep.rs, tests/sweep/  what its firmware refuses, command by command
//!   11  tests/registers.rs            its rows: they cover what the driver writes
//!   12  tests/crossings.rs            what crosses PCIe for its packets
//!   13  tests/module.rs               what it says of its module and its NVM
//!   14  benches/support/minimal/      the least that its rings permit
//!   15  scripts/lab, scripts/guest    the judges: drivers that nobody here wrote
//!   16  src/emu/replay/policy.rs      which of its answers count or tell the time
//!   17  tests/replay.rs               a trace of it, replayed
//!   18  README.md, CHANGELOG.md       the list of cards
//! ```
//!
//! # Errors
//!
//! Below the command line there is one [`Error`]: a line that says what was wrong
//! and why it matters, a [`Kind`] that becomes the exit code, and a [`Remedy`] that
//! the command line words, as only it knows its flags.

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(target_arch = "x86_64")]
pub mod compare;
pub mod dma;
pub mod doctor;
pub mod driver;
pub mod emu;
mod error;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod measure;
pub mod net;
pub mod packet;
pub mod pcap;
pub mod pci;
pub mod publish;
pub mod sys;
#[cfg(test)]
mod testing;

pub use error::{Error, Kind, Remedy, Result};
