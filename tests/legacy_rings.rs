//! The virtio driver and a legacy device whose registers and rings are played by hand: where
//! it lays things, and what it refuses.

#[path = "common/families.rs"]
mod families;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::Kind;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config};
use bmnic::net::MacAddr;
use rig::{RING, Rig, config};
use silicon::Played;
use silicon::virtio::Rings;
use silicon::virtio::legacy::{self, Fault, Fields, Shape, card};

/// NEXT and WRITE of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;

fn rig(any_layout: bool, max_frame: u16) -> Rig<Rings> {
    Rig::of(legacy::opened(any_layout, &config(families::rings("virtio-legacy"), max_frame)))
}

/// A frame of `len` bytes, each another one.
fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + len) as u8).collect()
}

#[test]
fn a_legacy_device_is_brought_up_in_its_own_order_and_let_go() {
    let card = card(Shape::default(), Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    let Fields { statuses, taken, pages, .. } = card.fields();
    // No FEATURES_OK. MAC, STATUS and ANY_LAYOUT; no NOTIFY_ON_EMPTY, as nobody waits for it.
    assert_eq!((statuses, taken), (vec![0, 1, 3, 7], 1 << 5 | 1 << 16 | 1 << 27));
    assert!(pages.iter().all(|page| *page != 0) && card.bus_master());
    let description = port.nic.describe();
    assert_eq!((description.driver, description.model), ("virtio", "virtio-net, legacy"));
    assert!(description.lacks.is_empty(), "no notification of an emulated one costs a system call");
    assert_eq!(description.mac.to_string(), "02:00:00:00:00:01");
    assert!(port.nic.link().unwrap().up);
    port.nic.set_mac(MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
    assert_eq!(card.fields().mac, [2, 0, 0, 0, 0, 9], "there is no command for it");
    assert_eq!(port.nic.set_promiscuous(true).unwrap_err().kind(), Kind::Unsupported);
    drop(port);
    let Fields { statuses, pages, .. } = card.fields();
    assert_eq!((statuses.last(), pages, card.bus_master()), (Some(&0), [0, 0], false));
}

/// While MSI-X is on, two vectors stand before what is the device's own.
#[test]
fn the_address_is_where_msix_leaves_it() {
    for msix in [false, true] {
        let card = card(Shape { msix, mac: [2, 1, 2, 3, 4, 5], ..Shape::default() }, Fault::None);
        let mut port = driver::open(card.function(), &Config::default()).unwrap();
        assert_eq!(port.nic.describe().mac.to_string(), "02:01:02:03:04:05");
        port.nic.set_mac(MacAddr([2, 0, 0, 0, 0, 7])).unwrap();
        assert_eq!(card.fields().mac, [2, 0, 0, 0, 0, 7]);
    }
}

/// No count tells that it changes: it is read until it is the same twice, and not for ever.
#[test]
fn an_address_that_never_stays_the_same_is_read_so_often_and_no_more() {
    let card = card(Shape::default(), Fault::Restless);
    assert!(driver::open(card.function(), &Config::default()).unwrap().nic.describe().mac.is_unicast());
}

#[test]
fn a_header_of_ten_bytes_ends_where_a_frame_begins() {
    let mut whole = rig(true, 1518);
    let [(address, len, flags)] = whole.device.rx().parts(0)[..] else { panic!("{:?}", whole.device.rx().parts(0)) };
    assert_eq!((address % 2048, len, flags), (2, 2046, WRITE));
    let mut apart = rig(false, 1518);
    let [header, frame] = apart.device.rx().parts(0)[..] else { panic!("{:?}", apart.device.rx().parts(0)) };
    assert_eq!((header.0 % 2048, header.1, header.2), (2, 10, NEXT | WRITE));
    assert_eq!((frame.0, frame.1, frame.2), (header.0 + 10, 2036, WRITE));
    // With a number of buffers it is as long as a modern one.
    let mut merged = rig(false, 9000);
    let [header, frame] = merged.device.rx().parts(0)[..] else { panic!("{:?}", merged.device.rx().parts(0)) };
    assert_eq!((header.0 % 2048, header.1, frame.0, frame.1), (0, 12, header.0 + 12, 2036));
}

/// Byte for byte: what is received, sent on from where it lies, and sent from elsewhere.
#[test]
fn frames_are_what_they_were_in_both_directions() {
    for any_layout in [true, false] {
        let mut rig = rig(any_layout, 1518);
        let lengths = [60, 61, 1518];
        let header = [0; 10];
        for len in lengths {
            rig.device.rx().receive(&[&header[..], &frame(len)].concat());
        }
        let mut batch = Batch::new(&rig.pool);
        assert_eq!(rig.port.rx[0].recv(&mut batch), 3);
        assert!(batch.frames().zip(lengths).all(|(got, len)| got == frame(len)), "{any_layout}");
        batch.push_frame(&frame(99));
        assert_eq!(rig.port.tx[0].send(&mut batch), 4);
        for (n, len) in (0..).zip([60, 61, 1518, 99]) {
            let sent = rig.device.tx().sent(n);
            assert_eq!(sent.concat(), [&header[..], &frame(len)].concat());
            // What came with room before it goes as one piece, if the device takes that.
            let pieces = if any_layout && len != 99 { 1 } else { 2 };
            assert_eq!((sent.len(), sent[0].len()), (pieces, if pieces == 1 { 10 + len } else { 10 }));
        }
        drop(batch);
        rig.goes_on();
        rig.conserved();
    }
}

#[test]
fn a_frame_of_several_buffers_has_one_header() {
    for any_layout in [true, false] {
        let mut rig = rig(any_layout, 9000);
        let whole = frame(3000);
        let mut header = [0; 12];
        header[10] = 2;
        let (first, rest) = whole.split_at(2048 - 12);
        rig.device.rx().receive(&[&header[..], first].concat());
        rig.device.rx().receive(rest);
        let mut batch = Batch::new(&rig.pool);
        assert_eq!(rig.port.rx[0].recv(&mut batch), 2, "{any_layout}");
        assert!(batch.frames().flatten().eq(&whole));
        drop(batch);
        rig.conserved();
    }
}

#[test]
fn a_queue_is_notified_at_its_port() {
    let config = config(families::rings("virtio-legacy"), 1518);
    let shape = Shape { sizes: [config.rx_ring, config.tx_ring], ..Shape::default() };
    let card = card(shape, Fault::None);
    let mut port = driver::open(card.function(), &config).unwrap();
    let pool = Pool::new(512, Addressing::Translated).unwrap();
    card.function().map(pool.arena()).unwrap();
    port.rx[0].fill(&pool).unwrap();
    let mut batch = Batch::new(&pool);
    batch.push_frame(&frame(60));
    assert_eq!(port.tx[0].send(&mut batch), 1);
    assert_eq!(card.fields().notified, [0, 1]);
}

/// The descriptor of a frame is in its chain and names none.
#[test]
fn the_second_descriptor_of_a_chain_is_no_chain() {
    let mut rig = rig(false, 1518);
    let half = u32::from(RING);
    for id in [half, 2 * half - 1, 2 * half, 0xffff, u32::MAX] {
        rig.device.rx().complete_as(id, 70);
        rig.device.rx_advance(1);
        assert!(rig.recv().is_empty());
    }
    assert_eq!(rig.rx_wrong().bad_index, 5);
    // Shorter than a header, of nothing but one, and longer than a buffer.
    for len in [0, 9, 10, 2047, u32::MAX, u32::MAX - 1] {
        rig.device.rx().complete(0, len);
        rig.device.rx_advance(1);
        assert!(rig.recv().is_empty(), "{len}");
    }
    assert_eq!(rig.rx_wrong().bad_length, 6);
    rig.goes_on();
    rig.conserved();
}

#[test]
fn a_queue_is_as_long_as_a_legacy_device_has_it() {
    for size in [4, 1024, 32_768] {
        let card = card(Shape { sizes: [size; 2], any_layout: false, ..Shape::default() }, Fault::None);
        let mut port = driver::open(card.function(), &Config::default()).unwrap();
        assert_eq!(port.nic.describe().own_rings, Some([size; 2]));
        // An eighth of a short ring is bare, or a line of descriptors and the one beside it.
        let slots = size / 2 - (size / 16).min(8);
        assert_eq!((port.rx[0].buffers(), port.tx[0].buffers()), (usize::from(slots), usize::from(size)));
        let pool = Pool::new(usize::from(size), Addressing::Translated).unwrap();
        card.function().map(pool.arena()).unwrap();
        port.rx[0].fill(&pool).unwrap();
        let mut ring = card.queue(0);
        assert_eq!(ring.owned(), u32::from(slots));
        ring.receive(&[&[0; 10][..], &frame(60)].concat());
        let mut batch = Batch::new(&pool);
        assert_eq!(port.rx[0].recv(&mut batch), 1);
        assert_eq!(batch.frame(0), frame(60));
    }
}

#[test]
fn a_legacy_device_that_cannot_be_driven_is_refused_in_one_line() {
    let plain = Shape::default();
    let sizes = |rx, tx| Shape { sizes: [rx, tx], ..plain };
    for (shape, fault, kind, words) in [
        (plain, Fault::AllOnes, Kind::Gone, "does not answer"),
        (plain, Fault::EndlessReset, Kind::Timeout, "reset did not finish"),
        (plain, Fault::NoAddress, Kind::Device, "no valid address"),
        (plain, Fault::ForgetsPages, Kind::Device, "queue 0 did not start"),
        (sizes(0, 256), Fault::None, Kind::Unsupported, "no queue 0"),
        (sizes(256, 0), Fault::None, Kind::Unsupported, "no queue 1"),
        (sizes(100, 256), Fault::None, Kind::Unsupported, "power of two"),
        (sizes(256, 0xffff), Fault::None, Kind::Unsupported, "power of two"),
        (sizes(2, 256), Fault::None, Kind::Unsupported, "4 are needed"),
        (Shape { id: [0x1000, 1], ..plain }, Fault::None, Kind::Unsupported, "no legacy device"),
        (Shape { id: [0x1041, 0], ..plain }, Fault::None, Kind::Unsupported, "no registers of VIRTIO 1.0"),
    ] {
        let card = card(shape, fault);
        let error = driver::open(card.function(), &Config::default()).err().expect("such a device cannot be opened");
        assert_eq!(error.kind(), kind, "{error}");
        let line = error.to_string();
        assert!(line.starts_with("test:virtio-legacy: ") && line.contains(words) && !line.contains('\n'), "{line}");
        assert!(!card.bus_master() && card.fields().pages == [0, 0], "{line}");
    }
    let pairs = Config { rx_queues: 2, ..Config::default() };
    let error = driver::open(card(plain, Fault::None).function(), &pairs).err().expect("one pair");
    assert_eq!(error.kind(), Kind::Usage, "{error}");
}
