//! The virtio driver and a device that lies in what only virtqueues have, ids and
//! counts of buffers, or that cannot be driven at all.

#[path = "common/families.rs"]
mod families;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::Kind;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Anomalies, Config, Port};
use bmnic::emu::{Drive, Engine, Tap};
use bmnic::pci::Function;
use rig::{RING, Rig, config};
use silicon::Played;
use silicon::virtio::{self, Fault, Rings, card};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn rig(packed: bool, max_frame: u16) -> Rig<Rings> {
    Rig::of(virtio::opened(packed, &config(families::rings("virtio"), max_frame)))
}

/// An id that is not the device's to name: the packet is dropped, the buffer
/// stays, and the next one comes through.
#[test]
fn an_id_that_is_not_the_devices() {
    for packed in [false, true] {
        let mut rig = rig(packed, 1518);
        for id in [u32::from(RING), 0xffff, 4095] {
            rig.device.rx().complete_as(id, 72);
            rig.device.rx_advance(1);
            rig.device.rx_complete(0, 61, true);
            rig.device.rx_advance(1);
            assert_eq!(rig.recv(), [61]);
        }
        assert_eq!(rig.rx_wrong().bad_index, 3);
        rig.send(3);
        rig.device.tx().complete_as(1, 0);
        assert!(rig.port.tx[0].reclaim(&rig.pool) <= 3);
        assert_eq!(rig.port.tx[0].anomalies().bad_index, 1, "the middle of a chain");
        rig.goes_on();
        rig.conserved();
    }
}

/// A device may use buffers in any order, and finds each of them once.
#[test]
fn buffers_used_out_of_order() {
    for (packed, at_once) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut rig = rig(packed, 1518);
        for round in 0..40 {
            let owned = rig.device.rx_owned();
            let mut ids: Vec<u32> = (0..owned).map(|n| rig.device.rx().id(n)).collect();
            let mut used = ids[..8].to_vec();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), owned as usize, "packed {packed}, at once {at_once}, round {round}");
            // In turn, too: what was exchanged before is then used as it is.
            if round % 3 != 0 {
                used.reverse();
            }
            let mut received = vec![];
            for (n, id) in used.into_iter().enumerate() {
                rig.device.rx().complete_as(id, 72 + n as u32);
                rig.device.rx_advance(1);
                if !at_once {
                    received.append(&mut rig.recv());
                }
            }
            received.append(&mut rig.recv());
            assert_eq!(received, [60, 61, 62, 63, 64, 65, 66, 67]);
        }
        assert_eq!(rig.rx_wrong(), Anomalies::default());
        rig.conserved();
    }
}

#[test]
fn a_sent_packet_that_is_completed_last_returns_those_behind_it() {
    for packed in [false, true] {
        let mut rig = rig(packed, 1518);
        rig.send(4);
        let ids: Vec<u32> = (0..4).map(|n| rig.device.tx().id(n)).collect();
        for id in &ids[1..] {
            rig.device.tx().complete_as(*id, 0);
            rig.device.tx_advance(1);
        }
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 4);
        rig.device.tx().complete_as(ids[0], 0);
        rig.device.tx_advance(1);
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
        rig.conserved();
    }
}

#[test]
fn a_count_of_buffers_that_is_a_lie() {
    for packed in [false, true] {
        let mut rig = rig(packed, 9000);
        for count in [0, 6, 0xffff] {
            rig.device.rx().set_buffers(0, count);
            rig.device.rx().complete(0, 72);
            rig.device.rx_advance(1);
            assert!(rig.recv().is_empty());
        }
        assert_eq!(rig.rx_wrong().bad_chain, 3);
        // Of two buffers one is there: it waits for the other.
        rig.device.rx().set_buffers(0, 2);
        rig.device.rx().complete(0, 2048);
        rig.device.rx_advance(1);
        assert!(rig.recv().is_empty());
        rig.device.rx().complete(0, 100);
        rig.device.rx_advance(1);
        assert_eq!(rig.recv(), [2036, 100]);
        rig.goes_on();
        rig.conserved();
    }
}

#[test]
fn a_virtio_device_that_cannot_be_driven_is_refused_in_one_line() {
    for (fault, kind, words) in [
        (Fault::AllOnes, Kind::Gone, "does not answer"),
        (Fault::EndlessReset, Kind::Timeout, "reset did not finish"),
        (Fault::Refuses, Kind::Unsupported, "does not take the features"),
        (Fault::Old, Kind::Unsupported, "no VERSION_1"),
        (Fault::Legacy, Kind::Unsupported, "no registers of VIRTIO 1.0"),
        (Fault::Loop, Kind::Unsupported, "no registers of VIRTIO 1.0"),
        (Fault::OneQueue, Kind::Unsupported, "use fewer queues"),
        (Fault::NeedsReset, Kind::Device, "found a fault in its queues"),
    ] {
        let card = card(false, fault);
        let error = driver::open(card.function(), &Config::default()).err().expect("such a device cannot be opened");
        assert_eq!(error.kind(), kind, "{error}");
        let line = error.to_string();
        assert!(line.starts_with("test:virtio: ") && line.contains(words) && !line.contains('\n'), "{line}");
        assert!(!card.bus_master(), "{line}");
    }
    let pairs = Config { rx_queues: 2, ..Config::default() };
    let error = driver::open(card(false, Fault::None).function(), &pairs).err().expect("one pair");
    assert_eq!(error.kind(), Kind::Usage, "{error}");
}

#[test]
fn a_closed_virtio_device_was_reset_and_is_no_bus_master() {
    let card = card(true, Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    assert_eq!((card.status(), card.bus_master()), (0xf, true));
    assert_eq!(port.nic.describe().mac.to_string(), "02:00:00:00:00:01");
    assert!(port.nic.link().unwrap().up);
    card.break_it(Fault::NeedsReset);
    assert_eq!(port.nic.stats().unwrap_err().kind(), Kind::Device);
    drop(port);
    assert_eq!((card.status(), card.bus_master()), (0, false));
}

/// A device of a host that has its own ways, and what opening it comes to.
struct Host {
    _engine: Engine,
    function: Arc<dyn Function>,
    tap: Tap,
    opened: bmnic::Result<Port>,
}

impl Host {
    fn new(card: &str, config: &Config) -> Host {
        let engine = Engine::new(Drive::Thread);
        let (function, tap) = engine.open(&format!("{card},strict,link=1ms").parse().unwrap()).unwrap();
        let opened = driver::open(function.clone(), config);
        Host { _engine: engine, function, tap, opened }
    }

    fn port(&mut self) -> &mut Port {
        self.opened.as_mut().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends frames of `lengths` to itself; the lengths of those that came back.
    fn turn_round(&mut self, lengths: &[usize]) -> Vec<usize> {
        let pool = Pool::new(2048, Addressing::Translated).unwrap();
        self.function.map(pool.arena()).unwrap();
        let port = self.port();
        port.rx[0].fill(&pool).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while !port.nic.link().unwrap().up {
            assert!(Instant::now() < patience, "no link");
        }
        let mut came = Vec::new();
        let mut batch = Batch::new(&pool);
        for length in lengths {
            let mut frame = vec![0; *length];
            frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8]);
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            assert!(batch.push_frame(&frame));
        }
        let (mut sent, mut received) = (0, Batch::new(&pool));
        // Frames of one queue stay in order: the last one is short, and comes.
        while sent < lengths.len() || came.last() != lengths.last() {
            assert!(Instant::now() < patience, "{came:?} of {lengths:?}");
            sent += port.tx[0].send(&mut batch);
            port.rx[0].recv(&mut received);
            came.extend((0..received.len()).map(|n| received.frame(n).len()));
            received.clear();
        }
        drop((batch, received));
        let refused = lengths.len() - came.len();
        assert_eq!(self.port().tx[0].anomalies().bad_length, refused as u64);
        self.opened = Err(bmnic::Error::new(Kind::Gone, "closed"));
        assert_eq!(self.tap.violations(), []);
        came
    }
}

/// Such a device would take addresses that its IOMMU should translate for places in the
/// machine's memory, and write there (VIRTIO 1.2 §6.1).
#[test]
fn a_device_that_goes_past_the_iommu_is_refused_before_it_is_told_an_address() {
    for model in ["virtio", "virtio-packed"] {
        let host = Host::new(&format!("{model},fault=past-iommu"), &Config::default());
        let error = host.opened.err().expect("it must not be opened");
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains("iommu_platform=on"), "{error}");
        assert_eq!(host.tap.violations(), []);
    }
}

/// QEMU's `modern-pio-notify=on`: a capability that names an I/O BAR comes first.
#[test]
fn notifications_in_a_bar_that_cannot_be_reached_are_passed_over() {
    let mut host = Host::new("virtio,fault=pio-notify", &Config::default());
    assert_eq!(host.turn_round(&[200, 60]), [200, 60]);
}

#[test]
fn a_device_that_refuses_to_receive_everything_receives_its_own() {
    let mut host = Host::new("virtio,fault=promiscuous", &Config::default());
    assert_eq!(host.port().nic.set_promiscuous(true).unwrap_err().kind(), Kind::Unsupported);
    assert_eq!(host.turn_round(&[60]), [60]);
}

#[test]
fn a_queue_whose_size_is_fixed_is_used_as_long_as_it_is() {
    for model in ["virtio", "virtio-packed"] {
        let config = Config { rx_ring: 128, tx_ring: 128, ..Config::default() };
        let mut host = Host::new(&format!("{model},fault=fixed-size"), &config);
        let lengths: Vec<usize> = (0..60).map(|n| 60 + n).rev().collect();
        assert_eq!(host.turn_round(&lengths), lengths);
    }
}

/// A frame takes two descriptors, one of them for its header, unless it leaves room for that:
/// what is asked for is a wish, and the device's queues are as long as they are.
#[test]
fn queues_of_few_descriptors_carry_frames_all_the_same() {
    for model in ["virtio", "virtio-packed"] {
        for few in ["", ":32", ":8", ":4"] {
            let mut host = Host::new(&format!("{model},fault=few-descriptors{few}"), &Config::default());
            let lengths: Vec<usize> = (0..60).map(|n| 60 + n).rev().collect();
            assert_eq!(host.turn_round(&lengths), lengths, "{model} {few}");
        }
    }
}

/// A frame of 9000 bytes takes five buffers: a queue that can never hold them is refused, as
/// the device would drop each such frame without a word.
#[test]
fn queues_that_cannot_hold_the_longest_frame_are_refused_in_one_line() {
    let jumbo = Config { max_frame: 9000, ..Config::default() };
    let mut host = Host::new("virtio-packed,fault=few-descriptors:8", &jumbo);
    assert_eq!(host.turn_round(&[1518, 60]), [1518, 60]);
    for (few, config, words) in [(4, &jumbo, "4 descriptors; 5"), (2, &Config::default(), "2 descriptors; 4")] {
        let host = Host::new(&format!("virtio-packed,fault=few-descriptors:{few}"), config);
        let error = host.opened.err().expect("it must not be opened");
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains(words) && !error.to_string().contains('\n'), "{error}");
        assert_eq!(host.tap.violations(), []);
    }
}

#[test]
fn devices_without_addresses_get_two_that_differ() {
    let macs = [0, 1].map(|_| Host::new("virtio,fault=no-mac", &Config::default()).port().nic.describe().mac);
    assert!(macs.iter().all(|mac| mac.is_unicast() && mac.0[0] & 2 != 0), "{macs:?}");
    assert_ne!(macs[0], macs[1]);
}

/// A network of a cloud drops without a word what is longer than it takes.
#[test]
fn a_frame_longer_than_the_network_takes_is_never_called_sent() {
    let mut host = Host::new("virtio,fault=small-mtu", &Config::default());
    assert_eq!(host.port().nic.describe().longest_sent, Some(1464));
    assert_eq!(host.turn_round(&[1464, 1465, 1518, 60]), [1464, 60]);
}

/// A backend that is started anew has lost its place (SPDK issue 3070): what asks for the
/// counters is told.
#[test]
fn a_queue_whose_index_goes_back_is_told() {
    let mut host = Host::new("virtio,fault=backend-restarts", &Config::default());
    let pool = Pool::new(2048, Addressing::Translated).unwrap();
    host.function.map(pool.arena()).unwrap();
    let port = host.port();
    port.rx[0].fill(&pool).unwrap();
    let mut batch = Batch::new(&pool);
    let (mut sent, mut came, patience) = (0, 0, Instant::now() + Duration::from_secs(20));
    let error = loop {
        assert!(Instant::now() < patience, "{came} came, and nothing is said");
        // One after the other, so that each is seen before the next.
        if came == sent {
            let mut frame = [0; 60];
            frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
            batch.push_frame(&frame);
            sent += port.tx[0].send(&mut batch);
            batch.clear();
        }
        came += port.rx[0].recv(&mut batch);
        batch.clear();
        if let Err(error) = port.nic.stats() {
            break error;
        }
    };
    assert_eq!(error.kind(), Kind::Device, "{error}");
    assert!(error.to_string().contains("gone back") && (99..=100).contains(&came), "{came}: {error}");
    // Told once: what was counted can be read all the same.
    for _ in 0..100 {
        port.rx[0].recv(&mut batch);
        assert_eq!(port.nic.stats().unwrap().rx_packets, came as u64);
    }
}
