//! Driver for NVIDIA ConnectX-4 Lx to ConnectX-7, Ethernet.

mod bell;
mod clock;
mod cq;
mod cqe;
mod feed;
mod meta;
mod mini;
mod parts;
mod plan;
mod rx;
mod sq;
#[cfg(test)]
mod tests;
mod tx;
mod wqe;

pub use rx::RxQueue;
pub use tx::TxQueue;
