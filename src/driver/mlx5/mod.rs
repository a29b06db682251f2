//! Driver for NVIDIA ConnectX-4 Lx to ConnectX-7, Ethernet.

mod bell;
mod clock;
mod cq;
mod cqe;
mod parts;
