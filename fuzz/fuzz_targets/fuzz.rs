//! Every target in one binary: `BMNIC_FUZZ` names the one to run. `scripts/fuzz` builds it.
//!
//! The bodies are in `tests/fuzz`, where a test of the usual suite runs them over the same
//! corpora, without an engine.

#![no_main]

#[path = "../../tests/common/families.rs"]
mod families;
#[path = "../../tests/support/rig.rs"]
mod rig;
#[path = "../../tests/support/silicon/mod.rs"]
mod silicon;
#[path = "../../tests/fuzz/mod.rs"]
mod targets;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use targets::Target;

static TARGET: OnceLock<(Target, SystemTime)> = OnceLock::new();
static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
static COMPLETIONS: AtomicU64 = AtomicU64::new(0);

libfuzzer_sys::fuzz_target!(
    init: begin(),
    |data: &[u8]| {
        let (target, _) = TARGET.get().expect("begun");
        COMPLETIONS.fetch_add(target.run(data), Ordering::Relaxed);
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
    }
);

/// Finds the target, or lists all of them; or counts, without the engine.
fn begin() {
    let Ok(name) = std::env::var("BMNIC_FUZZ") else {
        targets::all().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    };
    let Some(target) = targets::all().find(|target| target.name == name) else {
        eprintln!("fuzz: there is no target '{name}'; without BMNIC_FUZZ all are listed");
        std::process::exit(2);
    };
    if let Ok(count) = std::env::var("BMNIC_FUZZ_COMPLETIONS") {
        println!("{}", targets::count(&target, count.parse().expect("a number")));
        std::process::exit(0);
    }
    let _ = TARGET.set((target, SystemTime::now()));
    // libFuzzer leaves by exit when its time is over, and by _exit when it has found something.
    extern "C" fn end() {
        let (target, begun) = TARGET.get().expect("begun");
        let (executions, completions) = (EXECUTIONS.load(Ordering::Relaxed), COMPLETIONS.load(Ordering::Relaxed));
        println!("{}", targets::line(target, executions, completions, begun.elapsed().unwrap_or_default()));
    }
    // SAFETY: the function stays where it is.
    unsafe { libc::atexit(end) };
}
