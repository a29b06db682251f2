//! A card opened and closed again and again, in one process and in processes of its own:
//! descriptors, threads, mappings and memory stay as they were, and no file is left.
//!
//! What a pass does not prove: that a kernel's VFIO forgets as well. `scripts/lab run bind`
//! looks at that, and `scripts/soak` at traffic for as long as one likes.

#[path = "common/families.rs"]
mod families;

use bmnic::dma::{Batch, Pool};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::{Drive, Engine};
use families::{EACH, MODELS, PLAIN, SINGLE};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What this process has is counted by one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What this process has at a moment, KiB where it is memory.
#[derive(Debug)]
struct Level {
    descriptors: usize,
    threads: u64,
    mappings: usize,
    huge: u64,
    resident: u64,
}

impl Level {
    fn now() -> Level {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap();
        let (status, maps) = (read("status"), read("maps"));
        let field = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            value.unwrap_or("0").parse().unwrap()
        };
        Level {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: field("Threads:"),
            mappings: maps.lines().count(),
            huge: field("HugetlbPages:"),
            resident: field("VmRSS:"),
        }
    }

    /// Whether nothing grew since `before`, but what an allocator keeps for later.
    fn is_level(&self, before: &Level) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.mappings <= before.mappings + 8
            && self.huge <= before.huge
            && self.resident <= before.resident + 1024
    }
}

/// Opens a card, sends a frame to it and back, and closes it.
fn once(card: &str) {
    let engine = Engine::new(Drive::Thread);
    let (function, _tap) = engine.open(&format!("{card},wire=loop,link=1ms").parse().unwrap()).unwrap();
    let pool = Pool::new(2048, function.addressing()).unwrap();
    function.map(pool.arena()).unwrap();
    let Port { mut rx, mut tx, mut nic } = driver::open(function, &Config::default()).unwrap();
    rx[0].fill(&pool).unwrap();
    nic.wait_for_link(Duration::from_secs(20)).unwrap();
    let mut batch = Batch::new(&pool);
    batch.push_frame(&[0xff; 60]);
    assert_eq!(tx[0].send(&mut batch), 1, "{card}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while rx[0].recv(&mut batch) == 0 {
        assert!(Instant::now() < deadline, "{card}: nothing came back");
        std::thread::yield_now();
    }
}

/// Holds these cards to it, after so many rounds that let allocators settle.
fn stay_level(cards: &[&str], settle: usize, rounds: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for card in cards {
        (0..settle).for_each(|_| once(card));
        let before = Level::now();
        (settle..rounds).for_each(|_| once(card));
        let after = Level::now();
        println!("{card}: {before:?} after {settle} rounds, {after:?} after {rounds}");
        assert!(after.is_level(&before), "{card}: {before:?} after {settle} rounds, {after:?} after {rounds}");
    }
}

#[test]
fn a_card_that_is_opened_and_closed_leaves_nothing_in_the_process() {
    stay_level(&EACH.map(|card| card.name), 10, 50);
}

#[test]
#[ignore = "by hand: some minutes"]
fn a_thousand_times_leave_nothing_in_the_process() {
    let cards: Vec<&str> = MODELS.iter().chain(&PLAIN).chain([&SINGLE]).map(|card| card.name).collect();
    stay_level(&cards, 100, 1000);
}

/// Commands in processes of their own, in a mount namespace whose `/dev/shm` is its own: what
/// files they leave there and in their folder for temporary ones, `rounds` times each card.
fn files_left(rounds: usize) -> Option<String> {
    let script = "mount -t tmpfs none /dev/shm; mkdir tmp; export TMPDIR=$PWD/tmp
        for n in $(seq $0); do for card; do
            $BMNIC capture -q -i emu:$card,link=1ms,wire=source:pause=on -c 50 --publish soak --control soak -w out.pcap || exit 1
            $BMNIC pktgen -q emu:$card,link=1ms,wire=sink -c 50 || exit 1
        done; done >/dev/null
        rm out.pcap; ls -A /dev/shm tmp .";
    let may = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !may {
        println!("SKIPPED  unshare -m fails here: files that processes leave were not looked for");
        return None;
    }
    let here = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, &rounds.to_string()]).args(EACH.map(|card| card.name));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BMNIC_")) {
        command.env_remove(name);
    }
    command.env("BMNIC", env!("CARGO_BIN_EXE_bmnic")).current_dir(here.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_process_that_ends_leaves_no_file() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(files) = files_left(2) {
        assert_eq!(files, ".:\ntmp\n\n/dev/shm:\n\ntmp:\n");
    }
}

#[test]
#[ignore = "by hand: some minutes"]
fn a_thousand_processes_leave_no_file() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(files) = files_left(56) {
        assert_eq!(files, ".:\ntmp\n\n/dev/shm:\n\ntmp:\n");
    }
}
