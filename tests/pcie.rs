//! What crosses PCIe takes time (`pcie=gen3x8`): the stages of a frame, the order of what
//! is written, and what a narrow link lets through. Time is virtual; what is expected is
//! reckoned here once more, from the link's line rate and the sizes of what crosses.

#[path = "common/families.rs"]
mod families;

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port, TxPath};
use bmnic::emu::pcie::Crossings;
use bmnic::emu::{Drive, Engine, Picos, Spec, Stages, Tap};
use families::{Card, EACH, EF10, IXGBE};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Bytes of a frame without FCS, and its time on a wire of 10 Gbit/s.
const FRAME: usize = 60;
const ON_WIRE: Picos = 67_200;

/// A round trip of 500 ns, and the time of bytes: 8 lanes of 8 GT/s, 128 of 130 bits.
const LINK: &str = "gen3x8:500ns";
const TRIP: Picos = 500_000;

fn bytes(count: u64) -> Picos {
    (count * 8 * 125 * 130).div_ceil(128 * 8)
}

/// Headers and framing of a request, and of what answers one.
const REQUEST: u64 = 24;
const ANSWER: u64 = 20;

/// A store, or a write, of so many bytes.
fn write(count: u64) -> Picos {
    bytes(count + REQUEST) + TRIP / 2
}

/// A read of so many bytes in so many pieces.
fn read(pieces: u64, count: u64) -> Picos {
    bytes(REQUEST * pieces) + TRIP + bytes(count + ANSWER * pieces)
}

/// A card, whose link is up.
struct Rig {
    engine: Engine,
    tap: Tap,
    pool: Pool,
    port: Port,
}

impl Rig {
    fn new(card: Card, options: &str, config: &Config) -> Rig {
        let engine = Engine::new(Drive::Manual);
        let spec: Spec = format!("{card},strict,link=2ms,speed=10G,{options}").parse().unwrap();
        let (function, tap) = engine.open(&spec).unwrap();
        let pool = Pool::new(4096, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let opened = AtomicBool::new(false);
        let port = thread::scope(|scope| {
            // A nasty card answers late: time must pass meanwhile.
            scope.spawn(|| {
                while options.contains("nasty") && !opened.load(Ordering::Acquire) {
                    engine.advance(100_000);
                    engine.step();
                    thread::yield_now();
                }
            });
            let port = driver::open(function, config);
            opened.store(true, Ordering::Release);
            port.unwrap_or_else(|e| panic!("{card}: {e}"))
        });
        let mut rig = Rig { engine, tap, pool, port };
        rig.port.rx[0].fill(&rig.pool).unwrap();
        for _ in 0..1000 {
            rig.pass(100_000_000, 2_000_000);
            if rig.port.nic.link().unwrap().up {
                rig.pass(100_000_000, 2_000_000);
                return rig;
            }
        }
        panic!("{card}: no link; violations {:?}", rig.tap.violations());
    }

    /// With the link of these tests.
    fn linked(card: Card, config: &Config) -> Rig {
        Rig::new(card, &format!("pcie={LINK}"), config)
    }

    /// Lets time pass on the card, in steps of so much.
    fn pass(&self, time: Picos, step: Picos) {
        for _ in 0..time / step {
            self.engine.advance(step);
            self.engine.step();
        }
    }

    /// Hands so many frames of `len` bytes to the driver; how many it took.
    fn send(&mut self, frames: usize, len: usize) -> usize {
        let mut batch = Batch::new(&self.pool);
        for n in 0..frames {
            let Some(frame) = batch.push(len) else { break };
            frame.fill(n as u8);
            frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
        }
        self.port.tx[0].send(&mut batch)
    }

    /// Frames that the driver finds.
    fn recv(&mut self) -> usize {
        let mut batch = Batch::new(&self.pool);
        self.port.rx[0].recv(&mut batch)
    }

    /// Sends a frame and waits until that is reported; its stages.
    fn one(&mut self) -> Stages {
        self.tap.note_stages(true);
        assert_eq!(self.send(1, FRAME), 1);
        // The card was idle: the frame is found in this step.
        self.engine.step();
        for _ in 0..100 {
            self.pass(1_000_000, 100_000);
            self.port.tx[0].reclaim(&self.pool);
        }
        let stages = self.tap.take_stages();
        assert_eq!((stages.len(), self.recv()), (1, 1), "{}", self.tap.name());
        self.is_content();
        stages[0]
    }

    fn is_content(&self) {
        assert_eq!(self.tap.violations(), [], "{}", self.tap.name());
    }
}

/// The doorbell's bytes, what is read one after the other, and the bytes of the report,
/// headers of a second write included.
fn chain(card: Card) -> (u64, Picos, u64) {
    // A second descriptor comes in the answer to the same request.
    let two = read(1, 16) + bytes(16);
    match card.name {
        "82599" | "x710" => (4, read(1, 16) + read(1, 60), 16),
        "x2522" => (4, read(1, 8) + read(1, 60), 8),
        "bcm57414" | "bcm57508" => (8, read(1, 16) + read(1, 60), 16),
        "cx5" => (8, read(1, 64) + read(1, 60), 64),
        // Index, entry, descriptors; header and frame.
        "virtio" => (2, 2 * read(1, 2) + two + read(2, 72), 8 + REQUEST + 2),
        "virtio-legacy" => (2, 2 * read(1, 2) + two + read(2, 70), 8 + REQUEST + 2),
        "virtio-packed" => (2, two + read(2, 72), 8),
        name => panic!("{name}: what does it read?"),
    }
}

#[test]
fn the_stages_of_a_frame_are_what_the_link_says_on_every_family() {
    for card in EACH {
        let mut rig = Rig::linked(card, &Config { tx_path: TxPath::Dma, ..Config::default() });
        let (bell, reads, report) = chain(card);
        for _ in 0..3 {
            let stages = rig.one();
            assert_eq!(stages.path, "DMA", "{card}");
            assert_eq!(stages.doorbell - stages.rung, write(bell), "{card}: doorbell");
            assert_eq!(stages.fetch - stages.doorbell, reads, "{card}: reads");
            assert_eq!(stages.wire - stages.fetch, ON_WIRE, "{card}: wire");
            assert_eq!(stages.write_back - stages.wire, write(report), "{card}: report");
        }
    }
}

#[test]
fn the_ways_to_a_card_differ_by_what_is_not_read() {
    let ways = [(TxPath::Push, read(1, 60)), (TxPath::Pio, 0), (TxPath::Ctpio { threshold: None }, 0)];
    for (path, reads) in ways {
        let mut rig = Rig::linked(EF10, &Config { tx_path: path, ..Config::default() });
        rig.one();
        let stages = rig.one();
        let stored = stages.fetch - stages.doorbell - reads;
        // What is stored to the card takes its bytes' time, in writes of 64.
        assert!(stored <= bytes(60 + REQUEST), "{path}: {stored}");
    }
}

#[test]
fn without_the_option_nothing_takes_time() {
    let mut rig = Rig::new(IXGBE, "seed=1", &Config::default());
    let stages = rig.one();
    assert_eq!((stages.rung, stages.doorbell, stages.wire), (stages.fetch, stages.fetch, stages.write_back));
}

#[test]
fn what_is_written_is_seen_when_it_has_crossed_and_a_register_that_is_read_pushes_it() {
    for card in EACH {
        for reads in [false, true] {
            let mut rig = Rig::linked(card, &Config::default());
            // With the first frame all the descriptors of the receive ring are read.
            rig.one();
            let before = rig.tap.wire().rx_frames;
            assert_eq!(rig.send(1, FRAME), 1);
            while rig.tap.wire().rx_frames == before {
                rig.pass(1_000, 1_000);
            }
            // The card has it, and the driver sees it half a round trip later.
            assert_eq!(rig.recv(), 0, "{card}");
            if reads {
                rig.port.nic.link().unwrap();
                assert_eq!(rig.recv(), 1, "{card}: pushed");
                continue;
            }
            rig.pass(TRIP / 2, 1_000);
            assert_eq!(rig.recv(), 0, "{card}: too early");
            // At most three writes for data and report.
            rig.pass(bytes(60 + 80 + 3 * REQUEST) + 2_000, 1_000);
            assert_eq!(rig.recv(), 1, "{card}");
            rig.is_content();
        }
    }
}

#[test]
fn an_interrupt_does_not_overtake_what_it_tells_of() {
    for card in EACH {
        let mut rig = Rig::linked(card, &Config { interrupts: true, ..Config::default() });
        let patience = std::time::Duration::ZERO;
        for round in 0..4 {
            // Armed: silence.
            while rig.port.rx[0].wait(patience).unwrap() {
                rig.recv();
            }
            let before = rig.tap.interrupts(card.vector);
            assert_eq!(rig.send(1, FRAME), 1);
            let mut waited = 0;
            while rig.tap.interrupts(card.vector) == before {
                rig.pass(1_000, 1_000);
                waited += 1;
                assert!(waited < 100_000, "{card}: no interrupt in round {round}");
            }
            assert_eq!(rig.recv(), 1, "{card}: round {round}");
            rig.pass(100_000_000, 2_000_000);
        }
        rig.is_content();
    }
}

/// Bytes that crossed each way, headers included: down answers of up to 256 bytes, up
/// requests and writes.
fn crossed(all: &Crossings) -> (u64, u64) {
    let down = all.fetched.bytes + all.read.bytes + ANSWER * (all.fetched.transactions + all.read.transactions);
    let requests = all.fetched.transactions + all.read.transactions;
    let writes = all.reported.transactions + all.written.transactions + all.interrupts;
    (down, all.reported.bytes + all.written.bytes + 4 * all.interrupts + REQUEST * (requests + writes))
}

/// A card sends for a millisecond as fast as it can, in steps of 200 ns: packets on the
/// wire, bytes that crossed each way, and at most so many of them in doorbells.
fn flood(card: Card, link: &str) -> (u64, [u64; 2], u64) {
    let config = Config { tx_path: TxPath::Dma, ..Config::default() };
    let mut rig = Rig::new(card, &format!("wire=sink,pcie={link}"), &config);
    // What is stored to one doorbell between two steps is heard once.
    let fill = |rig: &mut Rig| {
        rig.port.tx[0].reclaim(&rig.pool);
        let mut taken = 0;
        while let more @ 1.. = rig.send(32, FRAME) {
            taken += more;
        }
        rig.pass(200_000, 200_000);
        u64::from(taken != 0)
    };
    (0..500).for_each(|_| _ = fill(&mut rig));
    rig.tap.count_crossings(true);
    let before = rig.tap.wire().tx_frames;
    let rung: u64 = (0..5_000).map(|_| fill(&mut rig)).sum();
    rig.is_content();
    let packets = rig.tap.wire().tx_frames - before;
    (packets, crossed(&rig.tap.crossings()).into(), rung * (chain(card).0 + REQUEST))
}

#[test]
fn a_narrow_link_carries_what_its_bytes_permit_and_a_wide_one_line_rate() {
    const MILLISECOND: Picos = 1_000_000_000;
    for card in EACH {
        let (packets, [down, up], bells) = flood(card, "gen1x1:500ns");
        let what = format!("{card}: {packets} packets, {down} and {up} bytes, {bells} of doorbells");
        // 4 ns a byte, and what was under way at the beginning.
        assert!(4_000 * down.max(up) <= MILLISECOND + MILLISECOND / 50, "{what}");
        assert!(4_000 * (down + bells).max(up) >= MILLISECOND * 9 / 10, "{what}");
        let (packets, ..) = flood(card, LINK);
        let line = MILLISECOND / ON_WIRE;
        assert!(packets.abs_diff(line) <= line / 50, "{card}: {packets} packets of {line}");
    }
}

#[test]
fn received_frames_wait_for_a_link_that_is_too_narrow() {
    for card in EACH {
        let options = "wire=source:rate=10M:size=64,pcie=gen1x1:500ns";
        let mut rig = Rig::new(card, options, &Config::default());
        rig.recv();
        let mut received = 0;
        let mut drain = |rig: &mut Rig| {
            rig.pass(1_000_000, 200_000);
            while let count @ 1.. = rig.recv() {
                received += count as u64;
            }
        };
        (0..100).for_each(|_| drain(&mut rig));
        rig.tap.count_crossings(true);
        (0..1_000).for_each(|_| drain(&mut rig));
        let (down, up) = crossed(&rig.tap.crossings());
        assert!(4_000 * down.max(up) <= 1_020_000_000, "{card}: {down} and {up} bytes");
        rig.pass(20_000_000, 200_000);
        assert!(received > 100, "{card}: {received}");
        rig.is_content();
    }
}

/// All that was sent comes back in order, whatever the card does late.
#[test]
fn nothing_is_lost_or_mixed_up_on_its_way() {
    for card in EACH {
        // Not all are brought up in virtual time if they are nasty.
        let nasty = &["", ",nasty,seed=7"][..if ["82599", "x710", "x2522"].contains(&card.name) { 2 } else { 1 }];
        for nasty in nasty {
            let mut rig = Rig::new(card, &format!("pcie=gen2x2:2us{nasty}"), &Config::default());
            if !nasty.is_empty() {
                rig.pass(6_000_000_000_000, 60_000_000_000);
            }
            let (mut sent, mut came) = (0, Vec::new());
            for burst in 0..200 {
                let mut batch = Batch::new(&rig.pool);
                for n in 0..=burst % 13 {
                    let frame = batch.push(60 + (sent + n) * 31 % 1400).unwrap();
                    frame.fill((sent + n) as u8);
                    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
                }
                sent += rig.port.tx[0].send(&mut batch);
                drop(batch);
                rig.pass(4_000_000 * (burst as u64 % 7 + 1), 250_000);
                let mut batch = Batch::new(&rig.pool);
                while rig.port.rx[0].recv(&mut batch) > 0 {
                    came.extend((0..batch.len()).map(|n| (batch.frame(n).len(), batch.frame(n)[20])));
                    batch.clear();
                }
            }
            rig.pass(10_000_000_000, 5_000_000);
            let mut batch = Batch::new(&rig.pool);
            while rig.port.rx[0].recv(&mut batch) > 0 {
                came.extend((0..batch.len()).map(|n| (batch.frame(n).len(), batch.frame(n)[20])));
                batch.clear();
            }
            drop(batch);
            let wanted: Vec<_> = (0..sent).map(|n| (60 + n * 31 % 1400, n as u8)).collect();
            assert_eq!(came.len(), wanted.len(), "{card}{nasty}");
            assert_eq!(came, wanted, "{card}{nasty}");
            assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0, "{card}{nasty}");
            rig.is_content();
        }
    }
}
