//! What tests with native programs on emulated cards need: root, huge pages.

#![allow(dead_code)] // each test program uses a part

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A command of bmnic with none of its variables set.
pub fn bmnic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BMNIC_")) {
        command.env_remove(name);
    }
    command.args(words);
    command
}

pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
    })
}

/// The first program of this name in PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.exists())
}

/// Free huge pages of 2 MiB.
pub fn free_pages() -> u64 {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}"));
        text.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    read("free_hugepages").saturating_sub(read("resv_hugepages"))
}

/// Sees to it that so many huge pages are free, if that can be; how many are.
pub fn huge_pages(wanted: u64) -> u64 {
    if free_pages() < wanted {
        let size = format!("{}M", 2 * wanted);
        let _ = bmnic(&["hugepages", "--setup", &size]).output();
    }
    free_pages()
}

/// One DPDK at a time: they would contend for huge pages and for two cores.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for the turn of a test that takes or counts huge pages.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the turn and for 144 MiB of huge pages; None, said loudly, where
/// DPDK cannot run.
pub fn dpdk() -> Option<MutexGuard<'static, ()>> {
    let turn = turn();
    if !is_root() {
        println!("SKIPPED  DPDK on emulated cards: it takes root");
        return None;
    }
    if program("dpdk-testpmd").is_none() {
        println!("SKIPPED  DPDK on emulated cards: dpdk-testpmd is not installed (apt-get install dpdk-dev)");
        return None;
    }
    if huge_pages(72) < 72 {
        println!("SKIPPED  DPDK on emulated cards: 144 MiB of huge pages cannot be had on this machine");
        return None;
    }
    Some(turn)
}
