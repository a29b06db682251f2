//! What a driver costs: TSC cycles and instructions a packet, for each family
//! or for the one that is named.
//!
//! ```text
//!   cargo bench --bench driver                          cycles, beside a minimal loop
//!   cargo bench --bench driver -- instructions          instructions, by valgrind's callgrind
//!   cargo bench --bench driver -- i40e [instructions]   of one family
//! ```
//!
//! The card is played by the same thread between the measured bursts: it fills
//! receive descriptors and reports transmit descriptors, nothing more, so what
//! is measured is the driver with its rings in the cache. The minimal loop does
//! the least that such rings permit: no pool identity, no checks, no statistics,
//! raw pointers. Ratios to it hold on any machine; cycles are this machine's.
//!
//! Each burst is timed alone; bursts that were interrupted, above four times
//! the median, are left out of the mean, and variants take turns so that a slow
//! minute falls on all of them.

#![allow(unsafe_code)]

#[path = "../tests/common/families.rs"]
mod families;
#[path = "support/minimal/mod.rs"]
mod minimal;
#[path = "../tests/support/silicon/mod.rs"]
mod silicon;

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{Config, Nic, RxQueue, TxQueue};
use bmnic::measure::{Clock, quiet};
use families::{Rings, all_rings};
use silicon::{Opened, Played};
use std::hint::black_box;
use std::process::Command;

const RING: u16 = 512;
const FRAME: u32 = 60;
const SIZES: [usize; 6] = [1, 4, 8, 16, 32, 64];

/// A loop over a pair of rings, driver or not.
trait Variant {
    /// Lets the card receive a burst and send what it was given.
    fn play(&mut self, burst: usize);
    /// Receives a burst; returns how many.
    fn rx(&mut self) -> usize;
    /// Touches each packet.
    fn touch(&mut self);
    /// Sends what was received.
    fn tx(&mut self) -> usize;
}

// ---- the driver ----

struct Driver<'p> {
    device: Box<dyn Played>,
    rx: RxQueue,
    tx: TxQueue,
    batch: Batch<'p>,
    _nic: Nic,
}

impl<'p> Driver<'p> {
    fn new(rings: &Rings, pool: &'p Pool, burst: usize) -> Self {
        let config = Config { rx_ring: RING, tx_ring: RING, ..Config::default() };
        let Opened { function, mut port, mut device } = silicon::open(rings, &config);
        function.map(pool.arena()).unwrap();
        let mut rx = port.rx.remove(0);
        rx.fill(pool).unwrap();
        device.attach();
        Driver { device, rx, tx: port.tx.remove(0), batch: Batch::with_limit(pool, burst), _nic: port.nic }
    }
}

/// The measured calls are functions of their own, which callgrind finds by name.
#[inline(never)]
fn driver_rx(rx: &mut RxQueue, batch: &mut Batch<'_>) -> usize {
    rx.recv(batch)
}

#[inline(never)]
fn driver_touch(batch: &mut Batch<'_>) {
    batch.for_each_mut(|frame| frame[0] ^= 1);
}

#[inline(never)]
fn driver_tx(tx: &mut TxQueue, batch: &mut Batch<'_>) -> usize {
    tx.send(batch)
}

impl Variant for Driver<'_> {
    fn play(&mut self, burst: usize) {
        self.device.play(burst as u32, FRAME);
    }

    fn rx(&mut self) -> usize {
        driver_rx(&mut self.rx, &mut self.batch)
    }

    fn touch(&mut self) {
        driver_touch(&mut self.batch);
    }

    fn tx(&mut self) -> usize {
        driver_tx(&mut self.tx, &mut self.batch)
    }
}

// ---- measuring ----

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Rx,
    Tx,
    Forward,
}

/// Ticks of `bursts` bursts of `burst` packets, each timed alone.
fn time(variant: &mut dyn Variant, clock: &Clock, part: Part, burst: usize, bursts: usize, out: &mut Vec<u64>) {
    for _ in 0..bursts {
        variant.play(burst);
        let start = clock.now_ordered();
        let received = variant.rx();
        let after_rx = if part == Part::Rx { clock.now_ordered() } else { start };
        variant.touch();
        let before_tx = if part == Part::Tx { clock.now_ordered() } else { start };
        let sent = variant.tx();
        let end = clock.now_ordered();
        assert!(received == burst && sent == burst, "the rings ran dry");
        out.push(match part {
            Part::Rx => after_rx - start,
            Part::Tx => end - before_tx,
            Part::Forward => end - start,
        });
    }
}

fn cycles(rings: &Rings) {
    const ROUNDS: usize = 40;
    const BURSTS: usize = 2_000;
    let clock = Clock::new();
    let cost = quiet::cost(&clock);
    println!("{} driver, ring {RING}, {FRAME}-byte frames, card played in the same thread", rings.name);
    println!("TSC cycles a packet at {:.2} GHz; driver, minimal loop, ratio", clock.ticks_per_second() / 1e9);
    println!("{:>5}  {:^22}  {:^22}  {:^22}", "batch", "rx", "tx", "rx+touch+tx");
    for burst in SIZES {
        let pool = Pool::new(2048, Addressing::Translated).expect("4 MiB");
        let mut driver = Driver::new(rings, &pool, burst);
        let mut minimal = minimal::of(rings, burst);
        print!("{burst:>5}");
        for part in [Part::Rx, Part::Tx, Part::Forward] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                time(&mut driver, &clock, part, burst, BURSTS, &mut ours);
                time(&mut *minimal, &clock, part, burst, BURSTS, &mut theirs);
            }
            let per_packet = |samples: &mut Vec<u64>| quiet::mean(&clock, samples, cost) / burst as f64;
            let (ours, theirs) = (per_packet(&mut ours), per_packet(&mut theirs));
            print!("  {ours:7.1} {theirs:7.1} {:6.2}", ours / theirs);
        }
        println!();
    }
}

/// Runs `bursts` bursts with nothing else, for callgrind to count.
fn run(rings: &Rings, which: &str, burst: usize, bursts: usize) {
    let pool = Pool::new(2048, Addressing::Translated).expect("4 MiB");
    let mut driver = Driver::new(rings, &pool, burst);
    let mut minimal = minimal::of(rings, burst);
    let variant: &mut dyn Variant = if which == "driver" { &mut driver } else { &mut *minimal };
    for _ in 0..bursts {
        variant.play(burst);
        variant.rx();
        variant.touch();
        black_box(variant.tx());
    }
}

/// Counts instructions of the measured functions under callgrind.
fn instructions(rings: &Rings) -> Result<(), String> {
    const BURSTS: usize = 2_000;
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    println!("{} driver, ring {RING}: instructions a packet by callgrind; driver (minimal loop)", rings.name);
    println!("{:>5} {:>16} {:>16} {:>16}", "batch", "rx", "tx", "rx + tx");
    for burst in SIZES {
        let mut counts = [[0.0; 2]; 2];
        for (row, which) in counts.iter_mut().zip(["driver", "minimal"]) {
            for (count, part) in row.iter_mut().zip(["rx", "tx"]) {
                let output = Command::new("valgrind")
                    .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                    .arg(format!("--toggle-collect=*{which}_{part}*"))
                    .arg(&me)
                    .args(["run", rings.name, which, &burst.to_string(), &BURSTS.to_string()])
                    .output()
                    .map_err(|e| format!("valgrind: {e}; install it (apt-get install valgrind)"))?;
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                let collected = text.lines().find_map(|line| line.split_once("Collected :"));
                let collected = collected.and_then(|(_, n)| n.trim().parse::<f64>().ok());
                *count = collected.ok_or_else(|| format!("valgrind said: {text}"))? / (burst * BURSTS) as f64;
            }
        }
        let [[rx, tx], [min_rx, min_tx]] = counts;
        print!("{burst:>5} {:>16} {:>16}", format!("{rx:.1} ({min_rx:.1})"), format!("{tx:.1} ({min_tx:.1})"));
        println!(" {:>16}", format!("{:.1} ({:.1})", rx + tx, min_rx + min_tx));
    }
    Ok(())
}

fn main() -> Result<(), String> {
    // cargo bench adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all: Vec<&Rings> = all_rings().collect();
    let named = words.first().and_then(|name| all.iter().position(|rings| rings.name == *name));
    let (chosen, words) = match named {
        Some(n) => (&all[n..=n], &words[1..]),
        None => (&all[..], &words[..]),
    };
    match words {
        [] => chosen.iter().for_each(|rings| cycles(rings)),
        ["instructions"] => chosen.iter().try_for_each(|rings| instructions(rings))?,
        ["run", name, which, burst, bursts] => {
            let rings = all.iter().find(|rings| rings.name == *name).ok_or("no such family")?;
            let number = |text: &str| text.parse().map_err(|e| format!("{text}: {e}"));
            run(rings, which, number(burst)?, number(bursts)?);
        }
        // `cargo test --benches` asks with flags of its own: show that it runs.
        _ => chosen.iter().for_each(|rings| run(rings, "driver", 32, 100)),
    }
    Ok(())
}
