//! Each driver on the emulated cards of its family.
//!
//! Time is virtual and moves only when a test says so. Every model is strict:
//! a test that ends with a violation of the datasheet fails.

#[path = "common/families.rs"]
mod families;

use bmnic::dma::{Addressing, BUFFER_SIZE, Batch, Checksum, L4, Offload, Pool};
use bmnic::driver::{self, Config, FlowRule, Port, Rss, TimestampSource, TxPath};
use bmnic::emu::{Drive, Engine, Spec, Tap};
use bmnic::net::MacAddr;
use bmnic::pci::Function;
use families::{CX4LX, CX5, Card, FAMILIES, IXGBE, MODELS, PLAIN};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A card on a loop: what it sends, it receives.
struct Rig {
    engine: Engine,
    function: Arc<dyn Function>,
    tap: Tap,
    pool: Pool,
    port: Port,
}

impl Rig {
    fn new(model: Card, config: &Config) -> Rig {
        Rig::with(model, "", config)
    }

    fn with(model: Card, options: &str, config: &Config) -> Rig {
        let engine = Engine::new(Drive::Manual);
        let spec: Spec = format!("{model},strict,link=2ms{options}").parse().unwrap();
        let (function, tap) = engine.open(&spec).unwrap();
        let pool = Pool::new(4096, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let port = driver::open(Arc::clone(&function), config).unwrap_or_else(|e| panic!("{e}"));
        let mut rig = Rig { engine, function, tap, pool, port };
        if options.contains("nasty") {
            // The link of such a card takes seconds.
            rig.engine.advance(6_000_000_000_000);
        }
        rig.start();
        rig
    }

    fn start(&mut self) {
        for queue in &mut self.port.rx {
            queue.fill(&self.pool).unwrap();
        }
        for _ in 0..1000 {
            self.run();
            if self.port.nic.link().unwrap().up {
                return;
            }
        }
        panic!("no link; violations {:?}", self.tap.violations());
    }

    /// Lets a tenth of a millisecond pass on the card.
    fn run(&self) {
        for _ in 0..50 {
            self.engine.advance(2_000_000);
            self.engine.step();
        }
    }

    /// Steers a flow, while the card goes on: some cards are told of one by a queue.
    fn steer(&mut self, rule: &FlowRule) -> bmnic::Result<()> {
        let Rig { engine, port, .. } = self;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    engine.step();
                    std::thread::yield_now();
                }
            });
            let result = port.nic.steer(rule);
            done.store(true, Ordering::Release);
            result
        })
    }

    /// Sends frames, and receives what came back on `queue`, each whole.
    fn send(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            let mut batch = Batch::new(&self.pool);
            assert!(batch.push_frame(frame));
            self.port.tx[0].send(&mut batch);
            assert!(batch.is_empty());
            drop(batch);
            self.run();
        }
    }

    fn recv(&mut self, queue: usize) -> Vec<Vec<u8>> {
        let mut frames = vec![];
        loop {
            let mut batch = Batch::new(&self.pool);
            if self.port.rx[queue].recv(&mut batch) == 0 {
                return frames;
            }
            let mut continued = false;
            for i in 0..batch.len() {
                if continued {
                    frames.last_mut().map(|frame: &mut Vec<u8>| frame.extend_from_slice(batch.frame(i))).unwrap();
                } else {
                    frames.push(batch.frame(i).to_vec());
                }
                continued = batch.continues(i);
            }
            assert!(!continued, "half a frame");
        }
    }

    /// Ends the test: nothing forbidden was done, and no buffer is lost.
    fn done(mut self) {
        for queue in &mut self.port.tx {
            assert_eq!(queue.reclaim(&self.pool), 0, "all was sent");
        }
        let stats = self.port.nic.stats().unwrap();
        assert_eq!(stats.anomalies.total(), 0, "{:?}", stats.anomalies);
        self.port.close([&self.pool]);
        assert_eq!(self.tap.violations(), [], "the driver did what the datasheet forbids");
        assert_eq!(self.pool.available(), self.pool.capacity());
    }
}

/// An Ethernet frame of `len` bytes, experimental type, whose bytes depend on `seed`.
fn raw(len: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i * 7 + seed * 13) as u8).collect();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
    frame
}

/// A UDP datagram over IPv4, right in every checksum.
fn udp(destination_mac: [u8; 6], source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 8], destination_mac)
        .ipv4(source.0, destination.0, 64)
        .udp(source.1, destination.1)
        .write(&mut frame, &[0x5a; 40])
        .unwrap();
    frame
}

#[test]
fn frames_of_every_size_come_back_byte_for_byte() {
    for model in MODELS.into_iter().chain(PLAIN) {
        let mut rig = Rig::new(model, &Config { max_frame: 9018, ..Config::default() });
        let link = rig.port.nic.link().unwrap();
        assert!(link.up && link.speed == model.speed, "{model}: {link:?}");
        let sizes = [60, 61, 64, 128, 1000, 1514, 1518, 2047, 2048, 2049, 4095, 4096, 4097, 6000, 9000, 9018];
        let frames: Vec<_> = sizes.iter().enumerate().map(|(seed, &len)| raw(len, seed)).collect();
        rig.send(&frames);
        assert_eq!(rig.recv(0), frames, "{model}");
        rig.done();
    }
}

#[test]
fn the_longest_frame_is_sent_whole_and_with_an_inserted_tag_no_byte_more() {
    for model in MODELS {
        let longest = model.longest;
        let mut rig = Rig::new(model, &Config { max_frame: longest as u16, ..Config::default() });
        rig.send(&[raw(longest - 1, 1), raw(longest, 2)]);
        assert_eq!(rig.recv(0), [raw(longest - 1, 1), raw(longest, 2)], "{model}");
        assert_eq!(rig.port.nic.stats().unwrap().anomalies.total(), 0);

        let tagged = |len: usize| (len, Some(Offload { l2_len: 14, vlan: Some(7), ..Offload::default() }));
        for (n, (len, offload)) in [(longest + 1, None), tagged(longest - 3), tagged(longest - 4)].iter().enumerate() {
            let mut batch = Batch::new(&rig.pool);
            assert!(batch.push_frame(&raw(*len, n)));
            if let Some(offload) = offload {
                batch.set_offload(0, *offload);
            }
            rig.port.tx[0].send(&mut batch);
            drop(batch);
            rig.run();
        }
        let stats = rig.port.nic.stats().unwrap();
        assert_eq!((stats.anomalies.bad_length, stats.tx_packets), (2, 3), "{model}: two were too long");
        rig.port.tx[0].reclaim(&rig.pool);
        rig.recv(0);
        rig.port.close([&rig.pool]);
        assert_eq!(rig.tap.violations(), [], "{model}");
        assert_eq!(rig.pool.available(), rig.pool.capacity(), "{model}");
    }
}

#[test]
fn a_frame_longer_than_configured_is_not_received_and_a_short_one_is_padded() {
    for model in FAMILIES.into_iter().chain(PLAIN) {
        let mut rig = Rig::new(model, &Config { max_frame: 1514, ..Config::default() });
        rig.send(&[raw(1530, 1), raw(1514, 2), raw(20, 3)]);
        let got = rig.recv(0);
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [1514, 60]);
        assert_eq!(got[1][..20], raw(20, 3));
        assert!(got[1][20..].iter().all(|&byte| byte == 0));
        let stats = rig.port.nic.stats().unwrap();
        // Some MACs have no counter of their own for it.
        assert_eq!(stats.rx_lost(), 1, "{stats:?}");
        assert_eq!(stats.rx_packets, 2, "{stats:?}");
        rig.done();
    }
}

#[test]
fn full_bursts_wrap_the_rings_many_times_in_order() {
    for model in FAMILIES.into_iter().chain(PLAIN) {
        let mut rig = Rig::new(model, &Config { rx_ring: 128, tx_ring: 64, ..Config::default() });
        let (mut sent, mut received) = (0u32, 0u32);
        while received < 20_000 {
            let Rig { engine, pool, port, .. } = &mut rig;
            let mut batch = Batch::with_limit(pool, 32);
            while let Some(frame) = batch.push(60) {
                frame.copy_from_slice(&raw(60, 0));
                frame[20..24].copy_from_slice(&sent.to_le_bytes());
                sent += 1;
            }
            let held = batch.len();
            let taken = port.tx[0].send(&mut batch);
            assert_eq!(taken + batch.len(), held);
            sent -= batch.len() as u32;
            batch.clear();
            engine.advance(10_000_000);
            engine.step();
            port.rx[0].recv(&mut batch);
            for frame in batch.frames() {
                assert_eq!(u32::from_le_bytes(frame[20..24].try_into().unwrap()), received);
                received += 1;
            }
        }
        rig.run();
        rig.recv(0);
        rig.done();
    }
}

#[test]
fn rss_spreads_flows_over_the_queues_and_reports_its_hash() {
    for model in MODELS {
        let config = Config { rx_queues: 4, ..Config::default() };
        let mut rig = Rig::new(model, &config);
        let flows: Vec<_> =
            (0..64).map(|i| udp([2, 0, 0, 0, 0, 9], ([10, 0, 0, i], 1000), ([10, 0, 1, 1], 2000))).collect();
        rig.send(&flows);
        let mut total = 0;
        for queue in 0..4 {
            let mut batch = Batch::new(&rig.pool);
            rig.port.rx[queue].recv(&mut batch);
            assert!(batch.len() >= 4, "{model}: queue {queue} got {} of 64 flows", batch.len());
            for i in 0..batch.len() {
                let hash = batch.meta(i).rss_hash().expect("a hash");
                assert_eq!(hash as usize % 4, queue, "the table is 0 1 2 3 0 1 ...");
            }
            total += batch.len();
        }
        assert_eq!(total, 64);
        // The table may change while packets flow.
        rig.port.nic.set_rss_table(&[2]).unwrap();
        rig.send(&flows);
        assert_eq!([0, 1, 2, 3].map(|queue| rig.recv(queue).len()), [0, 0, 64, 0]);
        assert!(rig.port.nic.set_rss_table(&[4]).is_err(), "there is no queue 4");
        rig.done();
    }
}

#[test]
fn a_multicast_group_and_port_are_steered_to_their_queue() {
    for model in MODELS {
        let table = Rss { table: vec![0], ..Rss::default() };
        let config = Config { rx_queues: 4, rss: table, promiscuous: false, ..Config::default() };
        let mut rig = Rig::new(model, &config);
        let group_mac = [1, 0, 0x5e, 1, 2, 3];
        rig.port.nic.set_multicast(&[MacAddr(group_mac)]).unwrap();
        let rule = FlowRule {
            source: None,
            destination: Some([239, 1, 2, 3].into()),
            source_port: None,
            destination_port: Some(30001),
            protocol: L4::Udp,
            queue: 3,
        };
        rig.steer(&rule).unwrap();
        let feed = udp(group_mac, ([10, 0, 0, 1], 4000), ([239, 1, 2, 3], 30001));
        let other_port = udp(group_mac, ([10, 0, 0, 1], 4000), ([239, 1, 2, 3], 30002));
        let other_group = udp(group_mac, ([10, 0, 0, 1], 4000), ([239, 129, 2, 3], 30001));
        rig.send(&[feed.clone(), other_port.clone(), other_group.clone()]);
        assert_eq!(rig.recv(3), std::slice::from_ref(&feed), "{model}");
        assert_eq!(rig.recv(0), [other_port, other_group], "{model}");
        // The same flow again replaces the rule.
        rig.steer(&FlowRule { queue: 1, ..rule }).unwrap();
        rig.send(std::slice::from_ref(&feed));
        assert_eq!(rig.recv(1), [feed]);
        let ipv6 = FlowRule { destination: Some("ff02::1".parse().unwrap()), ..rule };
        let steered = rig.steer(&ipv6).map_err(|error| error.kind());
        assert_eq!(steered, if model.ipv6_flows { Ok(()) } else { Err(bmnic::Kind::Unsupported) });
        rig.done();
    }
}

#[test]
fn only_addresses_asked_for_pass_unless_promiscuous() {
    for model in MODELS.into_iter().chain(PLAIN) {
        let mut rig = Rig::new(model, &Config { promiscuous: false, ..Config::default() });
        let ours = rig.port.nic.describe().mac.0;
        let to = |mac: [u8; 6]| {
            let mut frame = raw(64, 1);
            frame[..6].copy_from_slice(&mac);
            frame
        };
        let (broadcast, stranger) = ([0xff; 6], [2, 0xde, 0xad, 0, 0, 1]);
        let (group, other_group) = ([1, 0, 0x5e, 0, 0, 0x11], [1, 0, 0x5e, 0, 0, 0x22]);
        let all = [ours, broadcast, stranger, group, other_group].map(to);

        let passes = |rig: &mut Rig, expected: &[[u8; 6]]| {
            rig.send(&all);
            let got: Vec<_> = rig.recv(0).iter().map(|frame| <[u8; 6]>::try_from(&frame[..6]).unwrap()).collect();
            assert_eq!(got, expected, "{model}");
        };
        passes(&mut rig, &[ours, broadcast]);
        rig.port.nic.set_multicast(&[MacAddr(group)]).unwrap();
        passes(&mut rig, &[ours, broadcast, group]);
        rig.port.nic.set_mac(MacAddr(stranger)).unwrap();
        passes(&mut rig, &[broadcast, stranger, group]);
        rig.port.nic.set_multicast(&[]).unwrap();
        rig.port.nic.set_promiscuous(true).unwrap();
        passes(&mut rig, &[ours, broadcast, stranger, group, other_group]);
        assert!(rig.port.nic.set_mac(MacAddr(group)).is_err());
        assert!(rig.port.nic.set_multicast(&[MacAddr(ours)]).is_err());
        rig.done();
    }
}

#[test]
fn checksums_and_tags_are_filled_in_and_what_arrives_is_judged() {
    for model in MODELS {
        let mut rig = Rig::new(model, &Config { vlan_strip: true, ..Config::default() });
        let right = udp([2, 0, 0, 0, 0, 9], ([10, 1, 2, 3], 53), ([10, 3, 2, 1], 5353));
        // Header checksum zero, transport checksum that of the pseudo-header.
        let mut bare = right.clone();
        bare[24..26].fill(0);
        let pseudo: u32 = bare[26..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>()
            + 17
            + (bare.len() as u32 - 34);
        let pseudo = (pseudo & 0xffff) + (pseudo >> 16);
        bare[40..42].copy_from_slice(&(pseudo as u16).to_be_bytes());

        let offload = Offload {
            l2_len: 14,
            l3_len: 20,
            ip_checksum: true,
            l4_checksum: Some(L4::Udp),
            ipv6: false,
            vlan: Some(0x2064),
        };
        let mut batch = Batch::new(&rig.pool);
        for offload in [Some(offload), Some(offload), Some(Offload { vlan: None, ..offload }), None] {
            assert!(batch.push_frame(&bare));
            if let Some(offload) = offload {
                batch.set_offload(batch.len() - 1, offload);
            }
        }
        assert_eq!(rig.port.tx[0].send(&mut batch), 4);
        rig.run();
        rig.port.rx[0].recv(&mut batch);
        assert_eq!(batch.len(), 4, "{model}");
        for (i, vlan) in [(0, Some(0x2064)), (1, Some(0x2064)), (2, None)] {
            assert_eq!(batch.frame(i), right, "{model}: the card's checksums are not etherparse's");
            let meta = batch.meta(i);
            assert_eq!(meta.vlan(), vlan);
            assert_eq!((meta.checksums().ip, meta.checksums().l4), (Checksum::Good, Checksum::Good));
        }
        assert_eq!(batch.frame(3), bare, "nothing was asked for, nothing was done");
        let wrong = batch.meta(3).checksums();
        assert_eq!(wrong.ip, Checksum::Bad);
        let l4 = if model.udp_erratum { Checksum::Unknown } else { Checksum::Bad };
        assert_eq!(wrong.l4, l4, "{model}: of UDP some cards cannot tell");
        drop(batch);
        rig.done();
    }
}

#[test]
fn frames_that_are_reported_together_are_what_they_were() {
    for (model, max_frame) in [(CX5, 1518), (CX5, 9018), (CX4LX, 1518)] {
        let config = Config { compressed_completions: true, max_frame, ..Config::default() };
        let mut rig = Rig::new(model, &config);
        for round in 0..60 {
            let step = (usize::from(max_frame) - 60) / 20;
            let frames: Vec<_> = (0..1 + round % 20).map(|n| raw(60 + n * step, n + round)).collect();
            let mut batch = Batch::new(&rig.pool);
            frames.iter().for_each(|frame| assert!(batch.push_frame(frame)));
            rig.port.tx[0].send(&mut batch);
            drop(batch);
            rig.run();
            assert_eq!(rig.recv(0), frames, "{model}");
        }
        rig.done();
    }
}

#[test]
fn what_goes_with_its_doorbell_is_what_is_sent() {
    for (model, nasty) in [(CX5, ""), (CX5, ",nasty,seed=3"), (CX4LX, ""), (CX4LX, ",nasty,seed=3")] {
        let config = Config { tx_path: TxPath::Push, ..Config::default() };
        let mut rig = Rig::with(model, nasty, &config);
        rig.tap.note_stages(true);
        let frames: Vec<_> = (0..600).map(|n| raw(60 + n % 1400, n)).collect();
        for frame in &frames {
            rig.send(std::slice::from_ref(frame));
            assert_eq!(rig.recv(0), std::slice::from_ref(frame), "{model}{nasty}");
        }
        let stages = rig.tap.take_stages();
        let pushed = stages.iter().filter(|stages| stages.path == "push").count();
        assert_eq!((stages.len(), pushed), (600, 600), "{model}{nasty}");
        // Longer than a half of the register, and several at once.
        for count in [2, 40] {
            let frames = &frames[..count];
            let mut batch = Batch::new(&rig.pool);
            frames.iter().for_each(|frame| assert!(batch.push_frame(frame)));
            rig.port.tx[0].send(&mut batch);
            drop(batch);
            (0..3).for_each(|_| rig.run());
            assert_eq!(rig.recv(0), frames, "{model}{nasty}");
        }
        // None is lost where the card looks late, and sees the last of each half.
        let mut batch = Batch::new(&rig.pool);
        for frame in &frames[..30] {
            assert!(batch.push_frame(frame));
            rig.port.tx[0].send(&mut batch);
        }
        drop(batch);
        (0..3).for_each(|_| rig.run());
        assert_eq!(rig.recv(0), &frames[..30], "{model}{nasty}");
        rig.done();
    }
}

#[test]
fn what_is_pushed_to_a_card_that_runs_on_by_itself_is_sent_once_and_in_order() {
    const FRAMES: usize = 5_000;
    const AHEAD: usize = 40;
    const PATIENCE: Duration = Duration::from_secs(100);
    let engine = Engine::new(Drive::Thread);
    let spec: Spec = format!("{CX5},strict,link=2ms").parse().unwrap();
    let (function, tap) = engine.open(&spec).unwrap();
    let pool = Pool::new(2048, Addressing::Translated).unwrap();
    function.map(pool.arena()).unwrap();
    let config = Config { tx_path: TxPath::Push, ..Config::default() };
    let mut port = driver::open(function, &config).unwrap();
    port.rx[0].fill(&pool).unwrap();
    let begun = Instant::now();
    while !port.nic.link().unwrap().up {
        assert!(begun.elapsed() < PATIENCE, "no link");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut sent, mut received) = (0, 0);
    while received < FRAMES {
        if begun.elapsed() > PATIENCE {
            panic!("{received} of {sent}: {:?}, {:?}", port.nic.stats(), tap.violations());
        }
        let mut batch = Batch::new(&pool);
        // One by one, and now and then two at once.
        let count = if sent % 7 == 0 { 2 } else { 1 };
        if sent < FRAMES && sent + count - received < AHEAD {
            (sent..sent + count).for_each(|n| assert!(batch.push_frame(&raw(60 + n % 900, n))));
            sent += port.tx[0].send(&mut batch);
            assert!(batch.is_empty());
        }
        port.rx[0].recv(&mut batch);
        for i in 0..batch.len() {
            assert_eq!(batch.frame(i), raw(60 + received % 900, received), "frame {received}");
            received += 1;
        }
    }
    port.close([&pool]);
    assert_eq!((tap.violations(), pool.available()), (vec![], pool.capacity()));
}

#[test]
fn a_tag_stays_in_the_frame_unless_it_is_to_be_stripped() {
    for model in FAMILIES {
        let mut tagged = raw(80, 3);
        tagged[12..16].copy_from_slice(&[0x81, 0x00, 0x20, 0x64]);
        for strip in [false, true] {
            let mut rig = Rig::new(model, &Config { vlan_strip: strip, ..Config::default() });
            rig.send(&[tagged.clone()]);
            let mut batch = Batch::new(&rig.pool);
            assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
            assert_eq!(batch.meta(0).vlan(), strip.then_some(0x2064));
            let mut expected = tagged.clone();
            if strip {
                expected.drain(12..16);
            }
            assert_eq!(batch.frame(0), expected);
            drop(batch);
            rig.done();
        }
    }
}

#[test]
fn a_card_with_a_clock_stamps_every_packet_and_the_others_say_that_they_do_not() {
    for model in MODELS {
        let config = Config { timestamps: true, max_frame: 4096, ..Config::default() };
        let mut rig = Rig::new(model, &config);
        let source = rig.port.nic.describe().timestamps;
        assert_eq!(source == TimestampSource::Hardware, model.stamps);
        // Some cards tell their time four times a second, and no packet's before.
        rig.engine.advance(300_000_000_000);
        rig.run();
        rig.recv(0);
        // 2044 and 2050 put a stamp that stands behind astride two buffers, or alone in one.
        let frames: Vec<_> = [60, 1000, 2040, 2044, 2048, 2050, 4000].iter().map(|&len| raw(len, len)).collect();
        for frame in &frames {
            rig.send(std::slice::from_ref(frame));
        }
        let mut last = None;
        let mut batch = Batch::new(&rig.pool);
        rig.port.rx[0].recv(&mut batch);
        let whole: Vec<_> = batch.frames().collect::<Vec<_>>().concat();
        assert_eq!(whole, frames.concat(), "{model}: the stamp is no part of a frame");
        for i in (0..batch.len()).filter(|&i| !batch.continues(i)) {
            let stamp = batch.meta(i).timestamp;
            let fits = !model.stamps_behind || batch.frame(i).len() + 8 <= BUFFER_SIZE;
            assert_eq!(stamp.is_some(), model.stamps && fits, "{model}, entry {i} of {}", batch.frame(i).len());
            if stamp.is_some() {
                assert!(stamp > last, "time goes on");
                last = stamp;
            }
        }
        drop(batch);
        rig.done();
    }
}

#[test]
fn the_cards_loop_needs_no_wire() {
    for model in MODELS {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&format!("{model},strict,wire=sink").parse().unwrap()).unwrap();
        let pool = Pool::new(4096, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let port = driver::open(Arc::clone(&function), &Config { loopback: true, ..Config::default() }).unwrap();
        let mut rig = Rig { engine, function, tap, pool, port };
        rig.start();
        rig.send(&[raw(64, 1), raw(1500, 2)]);
        assert_eq!(rig.recv(0), [raw(64, 1), raw(1500, 2)], "{model}");
        assert_eq!(rig.tap.wire().tx_frames, 0, "nothing left the card");
        rig.done();
    }
}

#[test]
fn statistics_agree_with_the_wire_and_survive_the_wrap_of_a_register() {
    for model in MODELS.into_iter().chain(PLAIN) {
        let mut rig = Rig::new(model, &Config::default());
        let mut bytes = 0;
        for round in 1..=20u64 {
            let frames: Vec<_> = (0..10).map(|i| raw(60 + 100 * i, i)).collect();
            bytes += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
            rig.send(&frames);
            rig.recv(0);
            let stats = rig.port.nic.stats().unwrap();
            assert_eq!((stats.rx_packets, stats.tx_packets), (10 * round, 10 * round), "{model}");
            assert_eq!((stats.rx_bytes, stats.tx_bytes), (bytes, bytes), "{model}");
            assert_eq!(stats.rx_lost(), 0);
        }
        let wire = rig.tap.wire();
        assert_eq!((wire.tx_frames, wire.rx_frames), (200, 200));
        rig.done();
    }
}

#[test]
fn packets_that_find_no_descriptor_are_counted_as_missed() {
    for model in FAMILIES {
        let config =
            Config { rx_queues: 2, rss: Rss { table: vec![0], ..Rss::default() }, rx_ring: 64, ..Config::default() };
        let mut rig = Rig::new(model, &config);
        rig.send(&(0..100).map(|i| raw(60, i)).collect::<Vec<_>>());
        let mut received = rig.recv(0).len() as u64;
        assert_eq!(received, 64 - model.withheld, "{model}: the ring, less what keeps head from tail");
        // Some cards keep a few frames until there is a descriptor again.
        rig.run();
        received += rig.recv(0).len() as u64;
        let stats = rig.port.nic.stats().unwrap();
        assert_eq!(stats.rx_packets, received, "{model}: {stats:?}");
        assert_eq!(stats.rx_packets + stats.rx_lost(), 100, "{model}: {stats:?}");
        rig.done();
    }
}

#[test]
fn an_interrupt_wakes_its_queue_once_and_a_wait_without_one_ends() {
    for model in MODELS.into_iter().chain(PLAIN) {
        let mut rig = Rig::new(model, &Config { interrupts: true, ..Config::default() });
        let soon = Duration::from_millis(1);
        assert!(!rig.port.rx[0].wait(soon).unwrap(), "{model}: nothing came");
        rig.send(&[raw(60, 1)]);
        assert_eq!(rig.tap.interrupts(model.vector), 1, "{model}");
        assert!(rig.port.rx[0].wait(soon).unwrap(), "{model}: a packet is there");
        assert_eq!(rig.recv(0).len(), 1);
        // What the first message signalled is still there to be read; after that, silence.
        rig.port.rx[0].wait(soon).unwrap();
        assert!(!rig.port.rx[0].wait(soon).unwrap(), "{model}: silence");
        rig.send(&[raw(60, 2), raw(60, 3)]);
        assert!(rig.port.rx[0].wait(soon).unwrap());
        assert_eq!(rig.recv(0).len(), 2);
        // A packet is there in all of these cases; an interrupt comes if it was waited for.
        rig.port.rx[0].wait(soon).unwrap();
        assert!(!rig.port.rx[0].wait(soon).unwrap(), "{model}: silence again");
        rig.send(&[raw(60, 4)]);
        assert!(rig.port.rx[0].interrupted(soon).unwrap(), "{model}: it was waited for");
        rig.send(&[raw(60, 5)]);
        assert!(!rig.port.rx[0].interrupted(soon).unwrap(), "{model}: it was not waited for");
        assert_eq!(rig.recv(0).len(), 2);
        rig.done();
    }
    let mut rig = Rig::new(IXGBE, &Config::default());
    assert_eq!(rig.port.rx[0].interrupted(Duration::ZERO).unwrap_err().kind(), bmnic::Kind::Usage);
    assert_eq!(rig.port.rx[0].wait(Duration::ZERO).unwrap_err().kind(), bmnic::Kind::Usage);
    rig.done();
}

#[test]
fn a_card_stopped_and_opened_a_hundred_times_loses_no_buffer() {
    for model in FAMILIES.into_iter().chain(PLAIN) {
        let [rx_queues, tx_queues] = [model.queues[0].min(4), model.queues[1].min(2)];
        let config = Config { rx_queues, tx_queues, ..Config::default() };
        let mut rig = Rig::new(model, &config);
        for round in 0..100 {
            rig.send(&[raw(60, round), raw(900, round)]);
            assert_eq!(rig.recv(0), [raw(60, round), raw(900, round)]);
            let Rig { engine, function, tap, pool, port } = rig;
            port.close([&pool]);
            assert_eq!(pool.available(), pool.capacity(), "round {round}");
            let port = driver::open(Arc::clone(&function), &config).unwrap();
            rig = Rig { engine, function, tap, pool, port };
            rig.start();
        }
        rig.done();
    }
}

#[test]
fn a_configuration_that_the_card_cannot_have_is_refused_in_one_line() {
    for model in FAMILIES {
        let engine = Engine::new(Drive::Manual);
        let (function, _tap) = engine.open(&format!("{model},strict").parse().unwrap()).unwrap();
        let with = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config
        };
        for config in [
            with(&|c| c.rx_queues = 0),
            with(&|c| c.rx_queues = model.queues[0] + 1),
            with(&|c| c.tx_queues = model.queues[1] + 1),
            with(&|c| c.rx_ring = 100),
            with(&|c| c.rx_ring = 32),
            with(&|c| c.tx_ring = 8192),
            with(&|c| c.max_frame = 59),
            with(&|c| c.max_frame = model.longest as u16 + 1),
        ] {
            let error = driver::open(Arc::clone(&function), &config).err().expect("no such card");
            assert_eq!(error.kind(), bmnic::Kind::Usage);
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
        let table = Config { rx_queues: 2, rss: Rss { table: vec![0, 2], ..Rss::default() }, ..Config::default() };
        assert_eq!(driver::open(function, &table).err().unwrap().kind(), bmnic::Kind::Usage);
    }
}

/// Frames of flows that the card has sent by another queue come back by that
/// queue's own, where queues are pairs: and a port has them all.
#[test]
fn what_comes_by_any_pair_of_a_virtio_device_is_received() {
    let config = Config { rx_queues: 1, tx_queues: 4, ..Config::default() };
    for model in PLAIN.into_iter().filter(|card| card.queues[0] > 1) {
        let mut rig = Rig::new(model, &config);
        assert_eq!((rig.port.rx.len(), rig.port.tx.len()), (4, 4), "{model}");
        let flows: Vec<Vec<u8>> =
            (0..64).map(|n| udp([2, 0, 0, 0, 0, 9], ([10, 0, 0, 1], 1000 + n), ([10, 0, 0, 2], 9))).collect();
        rig.send(&flows);
        let by_queue: Vec<Vec<Vec<u8>>> = (0..4).map(|queue| rig.recv(queue)).collect();
        assert!(by_queue.iter().all(|frames| !frames.is_empty()), "{model}: 64 flows came by fewer queues");
        let mut got = by_queue.concat();
        got.sort();
        assert!(got == flows, "{model}: {} of 64", got.len());
        rig.done();
    }
}
