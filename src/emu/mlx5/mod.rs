//! The emulated NVIDIA ConnectX: its data plane.

pub mod plane;
