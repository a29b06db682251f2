//! One emulated card of each family: what holds for a command must hold on all.

/// Names of the cards, as after `emu:`.
pub const MODELS: &[&str] = &["82599", "x710", "x2522", "virtio", "virtio-packed"];
