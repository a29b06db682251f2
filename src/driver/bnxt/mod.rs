//! Driver for Broadcom NetXtreme-E: BCM574xx, BCM588xx, BCM575xx.

#![allow(dead_code, unused_imports)] // until the control plane uses it

pub mod bell;
pub mod cq;
mod desc;
mod feed;
pub mod meta;
pub mod rx;
#[cfg(test)]
mod tests;
pub mod tx;

pub use rx::RxQueue;
pub use tx::TxQueue;
