//! The EF10 driver on emulated cards whose firmware refuses, grants less than it is
//! asked for, or was left as another driver had it: `tests/silicon/ef10.md` says
//! where real ones do.
//!
//! Time is virtual, and every card is strict.

use bmnic::Kind;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port, TimestampSource};
use bmnic::emu::{Drive, Engine, Tap};

/// A card on a loop: what it sends, it receives.
struct Rig {
    engine: Engine,
    tap: Tap,
    pool: Pool,
    port: Port,
}

impl Rig {
    /// `card`: what stands behind `emu:`.
    fn new(card: &str, config: &Config) -> Rig {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&format!("{card},strict,link=2ms").parse().unwrap()).unwrap();
        let pool = Pool::new(2048, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let mut port = driver::open(function, config).unwrap_or_else(|error| panic!("{card}: {error}"));
        for queue in &mut port.rx {
            queue.fill(&pool).unwrap();
        }
        let mut rig = Rig { engine, tap, pool, port };
        for _ in 0..1000 {
            rig.run();
            if rig.port.nic.link().unwrap().up {
                return rig;
            }
        }
        panic!("{card}: no link; violations {:?}", rig.tap.violations());
    }

    /// Lets a tenth of a millisecond pass on the card.
    fn run(&self) {
        for _ in 0..50 {
            self.engine.advance(2_000_000);
            self.engine.step();
        }
    }

    /// Sends frames at once.
    fn send(&mut self, frames: &[Vec<u8>]) {
        let mut batch = Batch::new(&self.pool);
        frames.iter().for_each(|frame| assert!(batch.push_frame(frame)));
        self.port.tx[0].send(&mut batch);
        assert!(batch.is_empty());
        drop(batch);
        self.run();
    }

    /// What came, in batches of at most `limit`.
    fn recv(&mut self, limit: usize) -> Vec<Vec<u8>> {
        let mut frames = vec![];
        let mut batch = Batch::with_limit(&self.pool, limit);
        while self.port.rx[0].recv(&mut batch) != 0 {
            frames.extend(batch.frames().map(<[u8]>::to_vec));
            batch.clear();
        }
        frames
    }

    /// Ends the test: nothing forbidden was done, and no buffer is lost.
    fn done(mut self) {
        for queue in &mut self.port.tx {
            assert_eq!(queue.reclaim(&self.pool), 0, "all was sent");
        }
        let stats = self.port.nic.stats().unwrap();
        assert_eq!(stats.anomalies.total(), 0, "{:?}", stats.anomalies);
        self.port.close([&self.pool]);
        assert_eq!(self.tap.violations(), []);
        assert_eq!(self.pool.available(), self.pool.capacity());
    }
}

/// Where the times of packets come from.
fn source(card: &str) -> TimestampSource {
    let mut rig = Rig::new(card, &Config { timestamps: true, ..Config::default() });
    rig.send(&[raw(60, 1)]);
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1, "{card}");
    let (source, stamped) = (rig.port.nic.describe().timestamps, batch.meta(0).timestamp.is_some());
    assert_eq!(stamped, source == TimestampSource::Hardware, "{card}");
    drop(batch);
    rig.done();
    source
}

/// An Ethernet frame of `len` bytes, experimental type, whose bytes depend on `seed`.
fn raw(len: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|n| (n * 7 + seed) as u8).collect();
    frame[..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

#[test]
fn frames_that_share_an_event_are_what_they_were() {
    for card in ["x2522,fault=unlicensed", "sfc9220,fault=unlicensed"] {
        let mut rig = Rig::new(card, &Config { timestamps: true, ..Config::default() });
        for round in 0..60 {
            let frames: Vec<_> = (0..1 + round % 20).map(|n| raw(60 + 70 * n, n + round)).collect();
            rig.send(&frames);
            // A batch may end within an event.
            assert_eq!(rig.recv(1 + round % 7), frames, "{card}");
        }
        rig.done();
    }
}

#[test]
fn a_card_that_tells_another_function_the_time_in_another_way_tells_this_one_too() {
    assert_eq!(source("x2522,fault=ptp-shared"), TimestampSource::Hardware);
    assert_eq!(source("sfc9120,fault=ptp-shared"), TimestampSource::Hardware);
}

#[test]
fn a_card_without_a_licence_for_its_clock_says_that_it_does_not_stamp() {
    assert_eq!(source("x2522,fault=ptp-unlicensed"), TimestampSource::Tsc);
}

#[test]
fn tags_come_on_top_of_the_longest_frame_and_what_is_longer_is_counted() {
    for card in ["x2522", "sfc9120"] {
        let mut rig = Rig::new(card, &Config { max_frame: 1514, ..Config::default() });
        let frames: Vec<_> = [1514, 1518, 1522, 1526, 1600, 1514].map(|len| raw(len, len)).to_vec();
        rig.send(&frames);
        assert_eq!(rig.recv(32), [&frames[..3], &frames[5..]].concat(), "{card}");
        let stats = rig.port.nic.stats().unwrap();
        assert_eq!((stats.rx_packets, stats.rx_bytes, stats.rx_lost()), (4, 2 * 1514 + 1518 + 1522, 2), "{card}");
        rig.done();
    }
}

#[test]
fn the_longest_frames_of_all_come_in_several_buffers() {
    let mut rig = Rig::new("x2522", &Config { max_frame: 9000, ..Config::default() });
    rig.send(&[raw(9000, 1), raw(9012, 2), raw(9008, 3)]);
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 10);
    drop(batch);
    assert_eq!(rig.port.nic.stats().unwrap().rx_lost(), 1);
    rig.done();
}

#[test]
fn a_function_that_is_not_the_ports_first_takes_the_link_as_it_is() {
    for card in ["x2522,fault=npar", "sfc9220,fault=npar", "sfc9120,fault=npar", "sfc9140,fault=npar"] {
        let config = Config { interrupts: true, ..Config::default() };
        let mut rig = Rig::new(card, &config);
        let frames: Vec<_> = (0..20).map(|n| raw(60 + 70 * n, n)).collect();
        rig.send(&frames);
        assert_eq!(rig.recv(32), frames, "{card}");
        // An event's interrupt is asked for by the way around, where there is one.
        rig.port.rx[0].wait(std::time::Duration::ZERO).unwrap();
        rig.done();
    }
}

#[test]
fn a_loop_in_the_card_is_not_had_where_the_link_is_anothers() {
    let engine = Engine::new(Drive::Manual);
    let (function, _) = engine.open(&"x2522,strict,fault=npar".parse().unwrap()).unwrap();
    let error = driver::open(function, &Config { loopback: true, ..Config::default() }).err().unwrap();
    assert_eq!(error.kind(), Kind::Permission);
    assert!(error.to_string().contains("SET_LINK"), "{error}");
}

#[test]
fn firmware_that_failed_before_is_started_anew_and_that_is_told() {
    for card in ["x2522,fault=asserted", "sfc9120,fault=asserted"] {
        let mut rig = Rig::new(card, &Config::default());
        let lacks = rig.port.nic.describe().lacks.clone();
        assert_eq!(lacks.len(), 1, "{lacks:?}");
        assert!(lacks[0].contains("had failed before (GET_ASSERTS 0x3)"), "{lacks:?}");
        let frames: Vec<_> = (0..20).map(|n| raw(60 + 70 * n, n)).collect();
        rig.send(&frames);
        assert_eq!(rig.recv(32), frames, "{card}");
        rig.done();
    }
}

#[test]
fn firmware_for_packed_streams_is_named() {
    let engine = Engine::new(Drive::Manual);
    let (function, tap) = engine.open(&"x2522,strict,fault=packed-stream".parse().unwrap()).unwrap();
    let error = driver::open(function, &Config::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("the variant for packed streams"), "{error}");
    assert_eq!(tap.violations(), []);
}
