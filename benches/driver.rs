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

#[path = "support/efvi.rs"]
mod efvi;
#[path = "../tests/support/efvi_card.rs"]
mod efvi_card;
#[path = "../tests/support/i40e_card.rs"]
mod i40e_card;
#[path = "../tests/support/ixgbe_card.rs"]
mod ixgbe_card;
#[path = "../tests/support/shell.rs"]
mod shell;
#[path = "support/virtio.rs"]
mod virtio;
#[path = "../tests/support/virtio_card.rs"]
mod virtio_card;

use bmnic::dma::{Addressing, Arena, BUFFER_SIZE, Batch, Pool, Region};
use bmnic::driver::{self, Config, Port, RxQueue, TxQueue};
use bmnic::measure::{Clock, quiet};
use bmnic::pci::Function;
use shell::Ring;
use std::hint::black_box;
use std::marker::PhantomData;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A card, what a driver has opened of it, and what plays it.
type Opened = (Arc<dyn Function>, Port, Box<dyn Device>);

/// A family as this bench needs it: a card to open and what plays it, and the
/// least that its rings permit.
struct Family {
    name: &'static str,
    open: fn(&Config) -> Opened,
    minimal: fn(usize) -> Box<dyn Variant>,
}

static FAMILIES: [Family; 5] = [
    Family {
        name: "ixgbe",
        open: |config| {
            let card = ixgbe_card::card(ixgbe_card::Fault::None);
            let function = card.function();
            let port = driver::open(Arc::clone(&function), config).expect("the card has no fault");
            let (rx, tx) = (ixgbe_card::rx(&card, 0), ixgbe_card::tx(&card, 0));
            (function, port, Box::new(InPlace { rx, tx, words: IXGBE }))
        },
        minimal: |burst| Box::new(Minimal::<Ixgbe>::new(burst, IXGBE)),
    },
    Family {
        name: "i40e",
        open: |config| {
            let card = i40e_card::card(i40e_card::Fault::None);
            let function = card.function();
            let port = driver::open(Arc::clone(&function), config).expect("the card has no fault");
            let (rx, tx) = (i40e_card::rx(&card, 0), i40e_card::tx(&card, 0));
            (function, port, Box::new(InPlace { rx, tx, words: I40E }))
        },
        minimal: |burst| Box::new(Minimal::<I40e>::new(burst, I40E)),
    },
    Family {
        name: "virtio",
        open: |config| virtqueues(config, false),
        minimal: |burst| Box::new(virtio::Minimal::new(burst)),
    },
    Family {
        name: "virtio-packed",
        open: |config| virtqueues(config, true),
        // Of split queues too: what is to be beaten is the least of both.
        minimal: |burst| Box::new(virtio::Minimal::new(burst)),
    },
    Family {
        name: "efvi",
        open: |config| {
            let card = efvi_card::Card::new(efvi_card::Fault::None);
            let function = card.function();
            let port = driver::open(Arc::clone(&function), config).expect("the card has no fault");
            // Virtual interface 0 receives, 1 transmits.
            (function, port, Box::new([card.rx(0), card.tx(1)]))
        },
        minimal: |burst| Box::new(efvi::Minimal::new(burst)),
    },
];

/// The card's side of a pair of rings.
trait Device {
    /// The card's turn: receives a burst, and reports what was sent.
    fn play(&mut self, burst: usize);
}

/// Cards that write over the descriptors they were given.
struct InPlace {
    rx: Ring,
    tx: Ring,
    words: Reports,
}

/// What such a card writes.
#[derive(Clone, Copy)]
struct Reports {
    /// Over a receive descriptor.
    received: fn(u64) -> [u64; 2],
    /// Second word of a transmit descriptor: report, and reported.
    report: u64,
    reported: u64,
}

const IXGBE: Reports = Reports {
    received: |len| ixgbe_card::received(len, true),
    report: ixgbe_card::REPORT,
    reported: ixgbe_card::REPORTED,
};

const I40E: Reports = Reports {
    received: |len| i40e_card::received(len, true),
    report: i40e_card::REPORT,
    reported: i40e_card::REPORTED,
};

impl Device for InPlace {
    fn play(&mut self, burst: usize) {
        self.rx.receive(burst as u32, (self.words.received)(FRAME));
        self.tx.transmit(self.words.report, self.words.reported);
    }
}

/// Virtqueues, which have a ring for what was used.
impl Device for [virtio_card::Ring; 2] {
    fn play(&mut self, burst: usize) {
        let [rx, tx] = self;
        for ahead in 0..burst as u32 {
            rx.complete(ahead, FRAME as u32 + virtio_card::HEADER);
        }
        rx.advance(burst as u32);
        let sent = tx.owned();
        (0..sent).for_each(|ahead| tx.complete(ahead, 0));
        tx.advance(sent);
    }
}

fn virtqueues(config: &Config, packed: bool) -> Opened {
    let card = virtio_card::Card::new(packed, virtio_card::Fault::None);
    let function = card.function();
    let port = driver::open(Arc::clone(&function), config).expect("the device has no fault");
    (function, port, Box::new([card.ring(0), card.ring(1)]))
}

const RING: u16 = 512;
const FRAME: u64 = 60;
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
    device: Box<dyn Device>,
    rx: RxQueue,
    tx: TxQueue,
    batch: Batch<'p>,
    _nic: Box<dyn driver::Nic>,
}

impl<'p> Driver<'p> {
    fn new(family: &Family, pool: &'p Pool, burst: usize) -> Self {
        let config = Config { rx_ring: RING, tx_ring: RING, ..Config::default() };
        let (function, mut port, device) = (family.open)(&config);
        function.map(pool.arena()).unwrap();
        let mut rx = port.rx.remove(0);
        rx.fill(pool).unwrap();
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
        self.device.play(burst);
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

/// The bits of a family that the minimal loop cannot do without.
trait Words {
    const DONE: u64;
    const LENGTH: u32;
    const REPORT: u64;
    fn to_send(length: u64) -> u64;
    fn reported(word: u64) -> bool;
}

struct Ixgbe;

impl Words for Ixgbe {
    const DONE: u64 = 1;
    const LENGTH: u32 = 32;
    const REPORT: u64 = ixgbe_card::REPORT;

    #[inline(always)]
    fn to_send(length: u64) -> u64 {
        length << 46 | 0x2330_0000 | length
    }

    #[inline(always)]
    fn reported(word: u64) -> bool {
        word & ixgbe_card::REPORTED != 0
    }
}

struct I40e;

impl Words for I40e {
    const DONE: u64 = 1;
    const LENGTH: u32 = 38;
    const REPORT: u64 = i40e_card::REPORT;

    #[inline(always)]
    fn to_send(length: u64) -> u64 {
        length << 34 | 0x5 << 4
    }

    #[inline(always)]
    fn reported(word: u64) -> bool {
        word & 0xf == i40e_card::REPORTED
    }
}

struct Minimal<W> {
    device: InPlace,
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
    _words: PhantomData<W>,
}

const MASK: u32 = RING as u32 - 1;

impl<W: Words> Minimal<W> {
    fn new(burst: usize, words: Reports) -> Self {
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
            device: InPlace { rx: rx_ring, tx: tx_ring, words },
            base: buffers.as_ptr().as_ptr(),
            iova: buffers.iova(0),
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
            _words: PhantomData,
        }
    }
}

#[inline(never)]
fn minimal_rx<W: Words>(m: &mut Minimal<W>) -> usize {
    let mut n = 0;
    while n < m.burst {
        let slot = (m.next_rx & MASK) as usize;
        // SAFETY: masked to the ring; burst is at most 64; the free stack holds
        // more buffers than both rings and a burst.
        unsafe {
            let descriptor = &*m.rx.add(slot);
            let status = descriptor[1].load(Ordering::Acquire);
            if status & W::DONE == 0 {
                break;
            }
            let buffer = m.rx_buffers.get_unchecked_mut(slot);
            *m.held.get_unchecked_mut(n) = (*buffer, (status >> W::LENGTH) as u16);
            m.top -= 1;
            *buffer = *m.free.get_unchecked(m.top);
            descriptor[0].store(m.iova + u64::from(*buffer) * BUFFER_SIZE as u64, Ordering::Relaxed);
            descriptor[1].store(0, Ordering::Relaxed);
        }
        m.next_rx = m.next_rx.wrapping_add(1);
        n += 1;
    }
    if n > 0 {
        m.device.rx.tail_word().store(m.next_rx.wrapping_sub(1) & MASK, Ordering::Release);
    }
    m.count = n;
    n
}

#[inline(never)]
fn minimal_touch<W>(m: &mut Minimal<W>) {
    for &(buffer, _) in &m.held[..m.count] {
        // SAFETY: the buffer is in the arena and nothing else uses it.
        unsafe { *m.base.add(buffer as usize * BUFFER_SIZE) ^= 1 };
    }
}

#[inline(never)]
fn minimal_tx<W: Words>(m: &mut Minimal<W>) -> usize {
    // SAFETY: as in minimal_rx; every index is masked to its ring.
    unsafe {
        // Reports are asked for every 32 descriptors.
        while m.next_tx.wrapping_sub(m.clean_tx) >= 32 {
            let last = m.clean_tx.wrapping_add(31);
            if !W::reported((*m.tx.add((last & MASK) as usize))[1].load(Ordering::Acquire)) {
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
            let report = if m.next_tx & 31 == 31 { W::REPORT } else { 0 };
            let descriptor = &*m.tx.add(slot);
            let length = u64::from(length);
            descriptor[0].store(m.iova + u64::from(buffer) * BUFFER_SIZE as u64, Ordering::Relaxed);
            descriptor[1].store(W::to_send(length) | report, Ordering::Relaxed);
            *m.tx_buffers.get_unchecked_mut(slot) = buffer;
            m.next_tx = m.next_tx.wrapping_add(1);
        }
    }
    m.device.tx.tail_word().store(m.next_tx & MASK, Ordering::Release);
    std::mem::take(&mut m.count)
}

impl<W: Words> Variant for Minimal<W> {
    fn play(&mut self, burst: usize) {
        self.device.play(burst);
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

fn cycles(family: &Family) {
    const ROUNDS: usize = 40;
    const BURSTS: usize = 2_000;
    let clock = Clock::new();
    let cost = quiet::cost(&clock);
    println!("{} driver, ring {RING}, {FRAME}-byte frames, card played in the same thread", family.name);
    println!("TSC cycles a packet at {:.2} GHz; driver, minimal loop, ratio", clock.ticks_per_second() / 1e9);
    println!("{:>5}  {:^22}  {:^22}  {:^22}", "batch", "rx", "tx", "rx+touch+tx");
    for burst in SIZES {
        let pool = Pool::new(2048, Addressing::Translated).expect("4 MiB");
        let mut driver = Driver::new(family, &pool, burst);
        let mut minimal = (family.minimal)(burst);
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
fn run(family: &Family, which: &str, burst: usize, bursts: usize) {
    let pool = Pool::new(2048, Addressing::Translated).expect("4 MiB");
    let mut driver = Driver::new(family, &pool, burst);
    let mut minimal = (family.minimal)(burst);
    let variant: &mut dyn Variant = if which == "driver" { &mut driver } else { &mut *minimal };
    for _ in 0..bursts {
        variant.play(burst);
        variant.rx();
        variant.touch();
        black_box(variant.tx());
    }
}

/// Counts instructions of the measured functions under callgrind.
fn instructions(family: &Family) -> Result<(), String> {
    const BURSTS: usize = 2_000;
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    println!("{} driver, ring {RING}: instructions a packet by callgrind; driver (minimal loop)", family.name);
    println!("{:>5} {:>16} {:>16} {:>16}", "batch", "rx", "tx", "rx + tx");
    for burst in SIZES {
        let mut counts = [[0.0; 2]; 2];
        for (row, which) in counts.iter_mut().zip(["driver", "minimal"]) {
            for (count, part) in row.iter_mut().zip(["rx", "tx"]) {
                let output = Command::new("valgrind")
                    .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                    .arg(format!("--toggle-collect=*{which}_{part}*"))
                    .arg(&me)
                    .args(["run", family.name, which, &burst.to_string(), &BURSTS.to_string()])
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
    let named = words.first().and_then(|name| FAMILIES.iter().position(|family| family.name == *name));
    let (families, words) = match named {
        Some(n) => (&FAMILIES[n..=n], &words[1..]),
        None => (&FAMILIES[..], &words[..]),
    };
    match words {
        [] => families.iter().for_each(cycles),
        ["instructions"] => families.iter().try_for_each(instructions)?,
        ["run", name, which, burst, bursts] => {
            let family = FAMILIES.iter().find(|family| family.name == *name).ok_or("no such family")?;
            let number = |text: &str| text.parse().map_err(|e| format!("{text}: {e}"));
            run(family, which, number(burst)?, number(bursts)?);
        }
        // `cargo test --benches` asks with flags of its own: show that it runs.
        _ => families.iter().for_each(|family| run(family, "driver", 32, 100)),
    }
    Ok(())
}
