//! Memory that a device reads and writes.
//!
//! ```text
//!   Arena    one mapping of huge or ordinary pages, with the address (IOVA)
//!     |      under which a device sees each byte
//!     +-- Region   a piece of an arena: a descriptor ring, a mailbox
//!     +-- Pool     2 KiB packet buffers of an arena and a stack of free ones
//!           |
//!           Batch  up to 64 buffers on loan: what applications hold
//!
//!   Lot      memory in huge pages that no device sees, and that has one owner
//! ```
//!
//! A device never owns memory here. A [`crate::pci::Function`] that maps an
//! arena keeps it alive (`Arc`) until the function is closed with bus mastering
//! off, so no device can write into pages that the allocator has given away.
//! Memory that was not mapped for a card is refused by the queues of its driver
//! ([`crate::driver::RxQueue::fill`]).

mod arena;
pub mod barrier;
mod batch;
pub mod hugepages;
mod lot;
mod meta;
mod offload;
mod pages;
mod pool;

pub use arena::{Addressing, Arena, Descriptor, Region};
pub use batch::{BATCH_MAX, Batch};
pub(crate) use batch::{Entry, Span};
pub use lot::Lot;
pub use meta::{Checksum, Checksums, Decode, Decoder, Meta, Nothing, RawMeta, Timestamp};
pub use offload::{L4, Offload};
pub use pages::PageSize;
pub(crate) use pool::PoolId;
pub use pool::{BUFFER_SIZE, Pool};

/// An address as the device sees it: I/O virtual behind an IOMMU or in an
/// emulated card's translation table, physical without either.
pub type Iova = u64;
