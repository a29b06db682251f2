//! What the ixgbe driver costs: TSC cycles and instructions a packet.
//!
//! ```text
//!   cargo bench --bench ixgbe                     cycles, beside a minimal loop
//!   cargo bench --bench ixgbe -- instructions     instructions, by valgrind's callgrind
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

#[path = "../tests/support/ixgbe_card.rs"]
mod ixgbe_card;

use bmnic::dma::{Addressing, Arena, BUFFER_SIZE, Batch, Pool, Region};
use bmnic::driver::{self, Config, RxQueue, TxQueue};
use bmnic::measure::clock::Clock;
use ixgbe_card::{Card, Fault, Ring};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const RING: u16 = 512;
const FRAME: u64 = 60;
const SIZES: [usize; 6] = [1, 4, 8, 16, 32, 64];

/// A loop over a pair of rings, driver or not.
trait Variant {
    fn card(&mut self) -> (&mut Ring, &mut Ring);
    /// Receives a burst; returns how many.
    fn rx(&mut self) -> usize;
    /// Touches each packet.
    fn touch(&mut self);
    /// Sends what was received.
    fn tx(&mut self) -> usize;
}

// ---- the driver ----

struct Driver<'p> {
    rx_ring: Ring,
    tx_ring: Ring,
    rx: RxQueue,
    tx: TxQueue,
    batch: Batch<'p>,
    _nic: Box<dyn driver::Nic>,
}

impl<'p> Driver<'p> {
    fn new(pool: &'p Pool, burst: usize) -> Self {
        let card = Card::new(Fault::None);
        let config = Config { rx_ring: RING, tx_ring: RING, ..Config::default() };
        let mut port = driver::open(card.function(), &config).expect("the card has no fault");
        let mut rx = port.rx.remove(0);
        rx.fill(pool);
        let (rx_ring, tx_ring) = (card.rx(0), card.tx(0));
        Driver { rx_ring, tx_ring, rx, tx: port.tx.remove(0), batch: Batch::with_limit(pool, burst), _nic: port.nic }
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
    fn card(&mut self) -> (&mut Ring, &mut Ring) {
        (&mut self.rx_ring, &mut self.tx_ring)
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

// ---- the minimal loop ----

struct Minimal {
    rx_ring: Ring,
    tx_ring: Ring,
    rx: *const [AtomicU64; 2],
    tx: *const [AtomicU64; 2],
    base: *mut u8,
    iova: u64,
    rx_buffers: Vec<u32>,
    tx_buffers: Vec<u32>,
    free: Vec<u32>,
    top: usize,
    next_rx: u32,
    next_tx: u32,
    clean_tx: u32,
    held: [(u32, u16); 64],
    count: usize,
    burst: usize,
    _arenas: [Arc<Arena>; 2],
}

const MASK: u32 = RING as u32 - 1;

impl Minimal {
    fn new(burst: usize) -> Self {
        let ring_bytes = usize::from(RING) * 16;
        let rings = Arena::new(2 * ring_bytes, Addressing::Translated).expect("16 KiB");
        let buffers = Arena::new(2048 * BUFFER_SIZE, Addressing::Translated).expect("4 MiB");
        let rx_ring = Ring::bare(Region::new(&rings, 0, ring_bytes));
        let tx_ring = Ring::bare(Region::new(&rings, ring_bytes, ring_bytes));
        for i in 0..u32::from(RING) {
            rx_ring.write(i, [buffers.iova(0) + u64::from(i) * BUFFER_SIZE as u64, 0]);
        }
        rx_ring.tail_word().store(MASK, Ordering::Release);
        Minimal {
            rx: rx_ring.at(0),
            tx: tx_ring.at(0),
            base: buffers.as_ptr().as_ptr(),
            iova: buffers.iova(0),
            rx_ring,
            tx_ring,
            rx_buffers: (0..u32::from(RING)).collect(),
            tx_buffers: vec![0; usize::from(RING)],
            free: (u32::from(RING)..2048).rev().chain(0..u32::from(RING)).collect(),
            top: 2048 - usize::from(RING),
            next_rx: 0,
            next_tx: 0,
            clean_tx: 0,
            held: [(0, 0); 64],
            count: 0,
            burst,
            _arenas: [rings, buffers],
        }
    }
}

#[inline(never)]
fn minimal_rx(m: &mut Minimal) -> usize {
    let mut n = 0;
    while n < m.burst {
        let slot = (m.next_rx & MASK) as usize;
        // SAFETY: masked to the ring; burst is at most 64; the free stack holds
        // more buffers than both rings and a burst.
        unsafe {
            let descriptor = &*m.rx.add(slot);
            let status = descriptor[1].load(Ordering::Acquire);
            if status & 1 == 0 {
                break;
            }
            let buffer = m.rx_buffers.get_unchecked_mut(slot);
            *m.held.get_unchecked_mut(n) = (*buffer, (status >> 32) as u16);
            m.top -= 1;
            *buffer = *m.free.get_unchecked(m.top);
            descriptor[0].store(m.iova + u64::from(*buffer) * BUFFER_SIZE as u64, Ordering::Relaxed);
            descriptor[1].store(0, Ordering::Relaxed);
        }
        m.next_rx = m.next_rx.wrapping_add(1);
        n += 1;
    }
    if n > 0 {
        m.rx_ring.tail_word().store(m.next_rx.wrapping_sub(1) & MASK, Ordering::Release);
    }
    m.count = n;
    n
}

#[inline(never)]
fn minimal_touch(m: &mut Minimal) {
    for &(buffer, _) in &m.held[..m.count] {
        // SAFETY: the buffer is in the arena and nothing else uses it.
        unsafe { *m.base.add(buffer as usize * BUFFER_SIZE) ^= 1 };
    }
}

#[inline(never)]
fn minimal_tx(m: &mut Minimal) -> usize {
    // SAFETY: as in minimal_rx; every index is masked to its ring.
    unsafe {
        // Reports are asked for every 32 descriptors.
        while m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
            let last = m.clean_tx.wrapping_add(31);
            if (*m.tx.add((last & MASK) as usize))[1].load(Ordering::Acquire) & 1 << 32 == 0 {
                break;
            }
            for i in 0..32 {
                let slot = (m.clean_tx.wrapping_add(i) & MASK) as usize;
                *m.free.get_unchecked_mut(m.top) = *m.tx_buffers.get_unchecked(slot);
                m.top += 1;
            }
            m.clean_tx = m.clean_tx.wrapping_add(32);
        }
        for n in 0..m.count {
            let (buffer, length) = *m.held.get_unchecked(n);
            let slot = (m.next_tx & MASK) as usize;
            let report = if m.next_tx & 31 == 31 { 1 << 27 } else { 0 };
            let descriptor = &*m.tx.add(slot);
            let length = u64::from(length);
            descriptor[0].store(m.iova + u64::from(buffer) * BUFFER_SIZE as u64, Ordering::Relaxed);
            descriptor[1].store(length << 46 | 0x2330_0000 | report | length, Ordering::Relaxed);
            *m.tx_buffers.get_unchecked_mut(slot) = buffer;
            m.next_tx = m.next_tx.wrapping_add(1);
        }
    }
    m.tx_ring.tail_word().store(m.next_tx & MASK, Ordering::Release);
    std::mem::take(&mut m.count)
}

impl Variant for Minimal {
    fn card(&mut self) -> (&mut Ring, &mut Ring) {
        (&mut self.rx_ring, &mut self.tx_ring)
    }

    fn rx(&mut self) -> usize {
        minimal_rx(self)
    }

    fn touch(&mut self) {
        minimal_touch(self);
    }

    fn tx(&mut self) -> usize {
        minimal_tx(self)
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
        let (rx_ring, tx_ring) = variant.card();
        rx_ring.receive(burst as u32, FRAME);
        tx_ring.transmit();
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

/// Mean of the bursts that nothing disturbed, less the cost of reading the clock.
fn quiet_mean(samples: &mut [u64], clock_cost: f64) -> f64 {
    samples.sort_unstable();
    let median = samples[samples.len() / 2];
    let quiet = samples.iter().take_while(|&&t| t <= 4 * median);
    let (sum, count) = quiet.fold((0, 0), |(sum, count), &t| (sum + t, count + 1));
    sum as f64 / count as f64 - clock_cost
}

fn clock_cost(clock: &Clock) -> f64 {
    let mut samples: Vec<u64> = (0..20_000)
        .map(|_| {
            let start = clock.now_ordered();
            clock.now_ordered() - start
        })
        .collect();
    quiet_mean(&mut samples, 0.0)
}

fn cycles() {
    const ROUNDS: usize = 40;
    const BURSTS: usize = 2_000;
    let clock = Clock::new();
    let cost = clock_cost(&clock);
    println!("ixgbe driver, ring {RING}, {FRAME}-byte frames, card played in the same thread");
    println!("TSC cycles a packet at {:.2} GHz; driver, minimal loop, ratio", clock.ticks_per_second() / 1e9);
    println!("{:>5}  {:^22}  {:^22}  {:^22}", "batch", "rx", "tx", "rx+touch+tx");
    for burst in SIZES {
        let pool = Pool::new(2048, Addressing::Translated).expect("4 MiB");
        let mut driver = Driver::new(&pool, burst);
        let mut minimal = Minimal::new(burst);
        print!("{burst:>5}");
        for part in [Part::Rx, Part::Tx, Part::Forward] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                time(&mut driver, &clock, part, burst, BURSTS, &mut ours);
                time(&mut minimal, &clock, part, burst, BURSTS, &mut theirs);
            }
            let per_packet = |samples: &mut Vec<u64>| quiet_mean(samples, cost) / burst as f64;
            let (ours, theirs) = (per_packet(&mut ours), per_packet(&mut theirs));
            print!("  {ours:7.1} {theirs:7.1} {:6.2}", ours / theirs);
        }
        println!();
    }
}

/// Runs `bursts` bursts with nothing else, for callgrind to count.
fn run(which: &str, burst: usize, bursts: usize) {
    let pool = Pool::new(2048, Addressing::Translated).expect("4 MiB");
    let mut driver = Driver::new(&pool, burst);
    let mut minimal = Minimal::new(burst);
    let variant: &mut dyn Variant = if which == "driver" { &mut driver } else { &mut minimal };
    for _ in 0..bursts {
        let (rx_ring, tx_ring) = variant.card();
        rx_ring.receive(burst as u32, FRAME);
        tx_ring.transmit();
        variant.rx();
        variant.touch();
        black_box(variant.tx());
    }
}

/// Counts instructions of the measured functions under callgrind.
fn instructions() -> Result<(), String> {
    const BURSTS: usize = 2_000;
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    println!("ixgbe driver, ring {RING}: instructions a packet by callgrind; driver (minimal loop)");
    println!("{:>5} {:>16} {:>16} {:>16}", "batch", "rx", "tx", "rx + tx");
    for burst in SIZES {
        let mut counts = [[0.0; 2]; 2];
        for (row, which) in counts.iter_mut().zip(["driver", "minimal"]) {
            for (count, part) in row.iter_mut().zip(["rx", "tx"]) {
                let output = Command::new("valgrind")
                    .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                    .arg(format!("--toggle-collect=*{which}_{part}*"))
                    .arg(&me)
                    .args(["run", which, &burst.to_string(), &BURSTS.to_string()])
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
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => cycles(),
        ["instructions"] => instructions()?,
        ["run", which, burst, bursts] => {
            let number = |text: &str| text.parse().map_err(|e| format!("{text}: {e}"));
            run(which, number(burst)?, number(bursts)?);
        }
        // `cargo test --benches` asks with flags of its own: show that it runs.
        _ => run("driver", 32, 100),
    }
    Ok(())
}
