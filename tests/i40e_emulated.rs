//! The i40e driver on emulated cards that do what real ones do and datasheets do
//! not say: they are late, refuse what is in order, and keep what was written.
//!
//! `tests/silicon/i40e.md` says where each of these is known from.

use bmnic::Kind;
use bmnic::dma::{Addressing, Batch, Checksum, Pool};
use bmnic::driver::{self, Config, FlowRule, Port};
use bmnic::emu::{Drive, Engine, Spec, Tap};
use bmnic::pci::Function;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// DIS_AUTOMASK_N of GLINT_CTL, which is the device's.
const GLINT_CTL: u64 = 0x3f800;
const DIS_AUTOMASK: u32 = 4;

/// An emulated card, open.
struct Rig {
    engine: Engine,
    function: Arc<dyn Function>,
    tap: Tap,
    pool: Pool,
    port: Port,
}

impl Rig {
    /// A card in virtual time.
    fn new(card: &str, config: &Config) -> Rig {
        Rig::driven(Drive::Manual, card, config, |_| {})
    }

    /// A card, after `before`.
    fn driven(drive: Drive, card: &str, config: &Config, before: impl Fn(&dyn Function)) -> Rig {
        let engine = Engine::new(drive);
        let link = if card.contains("link=") { "" } else { ",link=2ms" };
        let (function, tap) = engine.open(&format!("{card},strict{link}").parse::<Spec>().unwrap()).unwrap();
        before(&*function);
        let pool = Pool::new(2048, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let mut port = driver::open(Arc::clone(&function), config).unwrap_or_else(|e| panic!("{card}: {e}"));
        port.rx.iter_mut().for_each(|queue| queue.fill(&pool).map(|_| ()).unwrap());
        Rig { engine, function, tap, pool, port }
    }

    /// Lets a tenth of a millisecond pass on the card.
    fn run(&self) {
        for _ in 0..50 {
            self.engine.advance(2_000_000);
            self.engine.step();
        }
    }

    /// Waits for the link, then sends frames to the card's own address: how many come back.
    fn traffic(&mut self) -> usize {
        self.traffic_of(100)
    }

    /// The same, with frames of `len` bytes.
    fn traffic_of(&mut self, len: usize) -> usize {
        let up = (0..1000).any(|_| {
            self.run();
            self.port.nic.link().unwrap().up
        });
        assert!(up, "no link");
        let mut frame = vec![0x5a; len];
        frame[..6].copy_from_slice(&self.port.nic.describe().mac.0);
        frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
        let mut batch = Batch::new(&self.pool);
        (0..8).for_each(|_| assert!(batch.push_frame(&frame)));
        self.port.tx[0].send(&mut batch);
        drop(batch);
        (0..10).for_each(|_| self.run());
        let mut got = Batch::new(&self.pool);
        self.port.rx.iter_mut().map(|queue| queue.recv(&mut got)).sum()
    }

    /// Sends one frame, and waits until it is back.
    fn arrives(&mut self) {
        let mut batch = Batch::new(&self.pool);
        assert!(batch.push_frame(&[0x5a; 60]));
        self.port.tx[0].send(&mut batch);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.port.rx[0].recv(&mut batch) == 0 {
            assert!(Instant::now() < deadline, "a frame is held back");
            std::thread::yield_now();
        }
    }

    /// What it was set up without.
    fn lacks(&self) -> &[String] {
        &self.port.nic.describe().lacks
    }

    /// Ends it: nothing forbidden was done.
    fn done(self) -> Arc<dyn Function> {
        self.port.close([&self.pool]);
        assert_eq!(self.tap.violations(), []);
        self.function
    }
}

#[test]
fn a_loop_inside_the_card_is_asked_for_by_the_number_that_its_firmware_has() {
    for card in ["x710", "xl710", "x710,fault=old-nvm", "x722"] {
        let config = Config { loopback: true, ..Config::default() };
        let mut rig = Rig::new(&format!("{card},wire=sink"), &config);
        assert_eq!(rig.traffic(), 8, "{card}");
        rig.done();
    }
}

#[test]
fn firmware_that_does_not_see_its_first_commands_is_asked_again() {
    for card in ["x710,fault=slow-start", "x722,fault=slow-start"] {
        let mut rig = Rig::driven(Drive::Thread, card, &Config::default(), |_| {});
        rig.port.nic.wait_for_link(Duration::from_secs(10)).unwrap();
        assert_eq!(rig.lacks(), [""; 0]);
        rig.done();
    }
}

#[test]
fn the_lock_of_the_nvm_is_waited_for() {
    for card in ["x710,fault=nvm-held", "x722,fault=nvm-held"] {
        let mut rig = Rig::new(card, &Config::default());
        assert_eq!((rig.traffic(), rig.lacks()), (8, &[][..]), "{card}");
        rig.done();
    }
}

#[test]
fn a_phy_that_is_not_ready_is_asked_again_and_one_that_is_not_known_is_left_alone() {
    let mut rig = Rig::new("x710,fault=phy-busy", &Config::default());
    assert_eq!((rig.traffic(), rig.lacks()), (8, &[][..]));
    rig.done();
    let mut rig = Rig::new("x710,fault=phy-unknown", &Config::default());
    assert_eq!(rig.traffic(), 8);
    assert!(rig.lacks().len() == 1 && rig.lacks()[0].contains("5 EIO"), "{:?}", rig.lacks());
    rig.done();
}

#[test]
fn resets_that_take_their_time_are_waited_for() {
    let mut rig = Rig::driven(Drive::Thread, "x710,fault=slow-reset", &Config::default(), |_| {});
    rig.port.nic.wait_for_link(Duration::from_secs(10)).unwrap();
    rig.done();
}

#[test]
fn a_function_that_shares_its_port_works_without_changing_it() {
    let mut rig = Rig::new("x710,fault=npar", &Config::default());
    assert_eq!(rig.traffic(), 8);
    rig.port.nic.wait_for_link(Duration::from_secs(10)).unwrap();
    assert_eq!(rig.lacks(), [""; 0], "its port lets all frames pass");
    rig.done();
}

#[test]
fn an_address_that_no_filter_takes_is_received_with_all_others() {
    for fault in ["denied", "hollow"] {
        let config = Config { promiscuous: false, ..Config::default() };
        let mut rig = Rig::new(&format!("x710,fault={fault}:0x0250"), &config);
        assert_eq!(rig.traffic(), 8, "{fault}");
        assert!(rig.lacks().len() == 1 && rig.lacks()[0].contains("it receives all frames"), "{:?}", rig.lacks());
        assert!(rig.port.nic.set_promiscuous(false).is_err());
        // Where all is received anyway no filter is missed.
        let group = bmnic::net::MacAddr([1, 0, 0x5e, 0, 0, 1]);
        rig.port.nic.set_multicast(&[group]).unwrap();
        rig.done();
    }
}

/// Registers of the port and of the device, which no reset of a function resets.
fn shared(function: &dyn Function) -> Vec<u32> {
    let bar = function.bar(0).unwrap();
    let sets = (0..64).flat_map(|n| [0x250000 + 64 * n, 0x250020 + 64 * n]);
    [GLINT_CTL, 0x269ba4, 0x256e60].into_iter().chain(sets).map(|at| bar.read32(at)).collect()
}

#[test]
fn what_is_the_devices_is_left_as_it_was_found() {
    for card in ["x710", "x722"] {
        for preset in [0, DIS_AUTOMASK | 1] {
            let found = std::sync::Mutex::new(Vec::new());
            let config = Config { rx_queues: 2, ..Config::default() };
            let before = |function: &dyn Function| {
                function.bar(0).unwrap().write32(GLINT_CTL, preset);
                *found.lock().unwrap() = shared(function);
            };
            let mut rig = Rig::driven(Drive::Manual, card, &config, before);
            assert_eq!(rig.traffic(), 8);
            let rule = FlowRule {
                source: None,
                destination: Some([239, 1, 2, 3].into()),
                source_port: None,
                destination_port: Some(30001),
                protocol: bmnic::dma::L4::Udp,
                queue: 1,
            };
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        rig.engine.step();
                        std::thread::yield_now();
                    }
                });
                let steered = rig.port.nic.steer(&rule);
                done.store(true, Ordering::Release);
                steered.unwrap();
            });
            assert_ne!(shared(&*rig.function), *found.lock().unwrap(), "{card}: it does change something");
            let Rig { engine: _engine, function, port, pool, tap } = rig;
            port.close([&pool]);
            assert_eq!(shared(&*function), *found.lock().unwrap(), "{card}: preset {preset}");
            assert_eq!(tap.violations(), []);
        }
    }
}

#[test]
fn another_driver_that_ends_does_not_stop_what_is_polled() {
    // Nasty: what is less than a cache line waits for the vector.
    let mut rig = Rig::driven(Drive::Thread, "x710,nasty", &Config::default(), |_| {});
    rig.port.nic.wait_for_link(Duration::from_secs(10)).unwrap();
    let bar = rig.function.bar(0).unwrap();
    for _ in 0..2 {
        bar.write32(GLINT_CTL, 0);
        // One message masks the vector for good.
        rig.arrives();
        rig.port.nic.stats().unwrap();
        assert_eq!(bar.read32(GLINT_CTL) & DIS_AUTOMASK, DIS_AUTOMASK);
        (0..10).for_each(|_| rig.arrives());
    }
    let function = rig.done();
    assert_eq!(function.bar(0).unwrap().read32(GLINT_CTL), 0, "as that driver left it");
}

#[test]
fn a_queue_that_is_waited_for_wakes_whatever_other_ports_poll() {
    let config = Config { interrupts: true, ..Config::default() };
    let preset = |function: &dyn Function| function.bar(0).unwrap().write32(GLINT_CTL, DIS_AUTOMASK);
    let mut rig = Rig::driven(Drive::Manual, "x710", &config, preset);
    let bar = rig.function.bar(0).unwrap();
    for _ in 0..3 {
        rig.port.rx[0].wait(Duration::ZERO).unwrap();
        assert_eq!(rig.traffic(), 8);
        assert!(rig.port.rx[0].wait(Duration::from_secs(10)).unwrap(), "an interrupt came");
    }
    assert_eq!(bar.read32(GLINT_CTL), DIS_AUTOMASK, "it is no affair of a port that waits");
    rig.done();
}

#[test]
fn a_vector_is_unmasked_without_forgetting_what_is_pending() {
    let config = Config { interrupts: true, ..Config::default() };
    let mut rig = Rig::new("x710", &config);
    assert_eq!(rig.traffic(), 8);
    rig.tap.trace(true);
    rig.port.rx[0].wait(Duration::ZERO).unwrap();
    let trace = rig.tap.take_trace();
    let written: Vec<_> = trace.iter().filter(|access| access.write && access.offset == 0x34800).collect();
    assert!(!written.is_empty() && written.iter().all(|access| access.value & 3 == 1), "{written:?}");
    rig.done();
}

/// A UDP packet of IPv6 to port 9, behind a header with destination options or not.
fn udp6(options: bool, right: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x86, 0xdd, 0x60, 0, 0, 0];
    let extension: &[u8] = if options { &[17, 0, 1, 4, 0, 0, 0, 0] } else { &[] };
    let length = extension.len() as u8 + 8;
    frame.extend([0, length, if options { 60 } else { 17 }, 64]);
    let addresses: Vec<u8> = (0..32).collect();
    frame.extend(&addresses);
    frame.extend(extension);
    let udp = [0, 9, 0, 9, 0, 8];
    let words = addresses.chunks(2).chain(udp.chunks(2)).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>() + 8 + 17;
    let sum = !(sum as u16 + (sum >> 16) as u16);
    frame.extend(udp);
    frame.extend((if right { sum } else { sum ^ 1 }).to_be_bytes());
    frame
}

/// A header that may name another address makes the card's sum worthless, and a frame that
/// came too fast was not summed: Linux believes neither (IPV6EXADD, PPRS).
#[test]
fn a_checksum_that_the_card_cannot_have_looked_at_is_not_judged() {
    for (card, options, right, wanted) in [
        ("x710", false, true, &[Checksum::Good][..]),
        ("x710", false, false, &[Checksum::Bad]),
        ("x710", true, true, &[Checksum::Unknown]),
        ("x710", true, false, &[Checksum::Unknown]),
        ("x710,nasty,seed=3", false, false, &[Checksum::Bad, Checksum::Unknown]),
        ("x710,nasty,seed=3", false, true, &[Checksum::Good, Checksum::Unknown]),
    ] {
        let mut rig = Rig::driven(Drive::Thread, card, &Config::default(), |_| {});
        rig.port.nic.wait_for_link(Duration::from_secs(20)).unwrap();
        let frame = udp6(options, right);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        while seen.len() < 100 {
            assert!(Instant::now() < deadline, "{card}: {} came", seen.len());
            let mut batch = Batch::new(&rig.pool);
            assert!(batch.push_frame(&frame));
            rig.port.tx[0].send(&mut batch);
            batch.clear();
            rig.port.rx[0].recv(&mut batch);
            seen.extend((0..batch.len()).map(|n| batch.meta(n).checksums().l4));
        }
        let odd = seen.iter().find(|verdict| !wanted.contains(verdict));
        assert_eq!(
            (odd, wanted.iter().all(|verdict| seen.contains(verdict))),
            (None, true),
            "{card} {options} {right}"
        );
        rig.done();
    }
}

/// The interface counts a frame before its queue looks at its length, and bytes of both
/// alike (DPDK i40e_dev_stats_get takes GL_RXERR1 off).
#[test]
fn a_frame_that_is_longer_than_its_queue_takes_is_not_counted_as_received() {
    let card = "x710,wire=source:size=64/1600/64:count=15:rate=1M";
    let mut rig = Rig::new(card, &Config::default());
    let mut got = 0;
    for _ in 0..200 {
        rig.run();
        rig.port.nic.link().unwrap();
        let mut batch = Batch::new(&rig.pool);
        got += rig.port.rx[0].recv(&mut batch);
    }
    let stats = rig.port.nic.stats().unwrap();
    assert_eq!((got, stats.rx_packets, stats.rx_oversize, stats.rx_lost()), (10, 10, 5, 5), "{stats:?}");
    rig.done();
}

/// A packet that the card takes for malicious stops its queue for good (Linux
/// i40e_handle_mdd_event): what asks for the counters is told.
#[test]
fn a_queue_that_the_card_has_stopped_is_told() {
    for card in ["x710,fault=malicious", "x722,fault=malicious"] {
        let mut rig = Rig::new(card, &Config { tx_queues: 2, ..Config::default() });
        (0..12).for_each(|_| _ = rig.traffic());
        rig.port.nic.stats().unwrap();
        rig.traffic();
        let error = rig.port.nic.stats().unwrap_err();
        assert_eq!((error.kind(), error.to_string().lines().count()), (Kind::Device, 1), "{error}");
        assert!(error.to_string().contains("has stopped its transmit queue 0"), "{error}");
        // Told once: what was counted can be read all the same.
        assert!(rig.port.nic.stats().unwrap().tx_packets >= 99, "{card}");
        rig.done();
    }
    // A driver does not take what another has left for its own.
    let mut rig = Rig::driven(Drive::Thread, "x710,nasty", &Config::default(), |_| {});
    rig.port.nic.stats().unwrap();
    rig.done();
}

/// Firmware that reads a module says meanwhile that it does not accept it; Linux only logs
/// that, and waits for the link.
#[test]
fn a_module_that_is_still_read_is_waited_for() {
    let mut rig = Rig::new("x710,fault=media-late", &Config::default());
    let mut waited = 0;
    while !rig.port.nic.link().unwrap().up {
        rig.run();
        waited += 1;
        assert!(waited < 10_000, "no link");
    }
    assert!(waited > 100, "it was not accepted for a while: {waited}");
    assert_eq!(rig.traffic(), 8);
    rig.done();
    // A module that never fits is told of when the link was waited for in vain.
    let mut rig = Rig::new("x710,fault=media", &Config::default());
    assert!(!rig.port.nic.link().unwrap().up);
    let error = rig.port.nic.wait_for_link(Duration::from_millis(20)).unwrap_err();
    assert!(error.kind() == Kind::Timeout && error.to_string().contains("does not accept the module"), "{error}");
    rig.done();
}

/// The port's longest frame outlives a driver and a reset, and cannot be changed on every
/// device before there is a link: DPDK sets it again when it comes up.
#[test]
fn the_longest_frame_is_set_again_when_the_link_comes_up() {
    for card in ["x710,fault=frame-ignored,link=1s", "x722,fault=frame-refused,link=1s"] {
        let config = Config { max_frame: 1900, ..Config::default() };
        let mut rig = Rig::new(card, &config);
        assert!(!rig.port.nic.link().unwrap().up);
        rig.engine.advance(1_000_000_000_000);
        assert_eq!(rig.traffic_of(1900), 8, "{card}");
        assert_eq!(rig.lacks(), [""; 0]);
        rig.done();
    }
    // A firmware that does not change it at all: that is said.
    let mut rig = Rig::new("x710,fault=frame-kept", &Config::default());
    assert_eq!(rig.traffic_of(1500), 8);
    rig.port.nic.wait_for_link(Duration::from_secs(10)).unwrap();
    assert!(rig.lacks().len() == 1 && rig.lacks()[0].contains("frames longer than 1518 bytes"), "{:?}", rig.lacks());
    rig.done();
}

/// Those on boards are seldom updated; what came with 1.5 is not for the X722, whose filter
/// registers are plain ones.
#[test]
fn an_x722_of_an_earlier_age_is_driven() {
    let config = Config { rx_queues: 2, ..Config::default() };
    let mut rig = Rig::new("x722,fault=old", &config);
    assert_eq!((rig.traffic(), rig.lacks()), (8, &[][..]));
    rig.done();
    let engine = Engine::new(Drive::Manual);
    let (function, _tap) = engine.open(&"x710,fault=old".parse::<Spec>().unwrap()).unwrap();
    let refused = driver::open(function, &Config::default()).err().unwrap();
    assert!(refused.kind() == Kind::Unsupported && refused.to_string().contains("this driver 1.5"), "{refused}");
}

/// A receive queue may say that it is off and go on for 50 ms: what it lies in, and what it
/// writes to, stay until then.
#[test]
fn a_queue_that_goes_on_although_it_says_that_it_is_off_is_waited_for() {
    for card in ["x710", "x722,nasty"] {
        let config = Config { rx_queues: 2, ..Config::default() };
        let card = format!("{card},fault=queue-lingers,wire=source:rate=1M:flows=8");
        let Rig { engine, function: _function, tap, pool, mut port } = Rig::new(&card, &config);
        let run = |microseconds: u32| {
            (0..microseconds).for_each(|_| {
                engine.advance(1_000_000);
                engine.step();
            });
        };
        let mut got = Batch::new(&pool);
        let came = (0..10_000).any(|_| {
            run(100);
            port.rx.iter_mut().map(|queue| queue.recv(&mut got)).sum::<usize>() > 0
        });
        assert!(came, "{card}: no frames");
        drop(got);
        port.close([&pool]);
        run(60_000);
        assert_eq!(tap.violations(), [], "{card}");
    }
}
