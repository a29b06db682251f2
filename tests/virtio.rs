//! The virtio driver and a device that lies in what only virtqueues have, ids and
//! counts of buffers, or that cannot be driven at all.

#[path = "common/families.rs"]
mod families;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::Kind;
use bmnic::driver::{self, Anomalies, Config};
use rig::{RING, Rig, config};
use silicon::Played;
use silicon::virtio::{self, Fault, Rings, card};

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

/// A device may use buffers in any order.
#[test]
fn buffers_used_out_of_order() {
    for packed in [false, true] {
        let mut rig = rig(packed, 1518);
        for _ in 0..20 {
            let ids: Vec<u32> = (0..8).map(|n| rig.device.rx().id(n)).collect();
            for (n, id) in ids.iter().rev().enumerate() {
                rig.device.rx().complete_as(*id, 72 + n as u32);
                rig.device.rx_advance(1);
            }
            assert_eq!(rig.recv(), [60, 61, 62, 63, 64, 65, 66, 67]);
        }
        assert_eq!(rig.rx_wrong(), Anomalies::default());
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
        (Fault::Legacy, Kind::Unsupported, "it is a legacy device"),
        (Fault::Loop, Kind::Unsupported, "it is a legacy device"),
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
