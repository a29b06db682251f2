//! The emulated Broadcom NetXtreme-E.

#![allow(dead_code)]

mod chip;
mod plane;
