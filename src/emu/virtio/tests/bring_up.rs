//! From reset to running, and the rules on the way (§3.1, §4.1.4).

use super::*;

#[test]
fn the_capabilities_lead_to_the_registers() {
    let bench = Bench::new("virtio,strict");
    let read = |at: u16, size| bench.function.config_read(at, size).unwrap();
    assert_eq!((read(0, 4), read(8, 4) & 0xffff_ff00), (0x1041_1af4, 0x0200_0000));
    let (mut at, mut found) = (read(0x34, 1) as u16, Vec::new());
    while at != 0 {
        if read(at, 1) == 9 {
            found.push((read(at + 2, 1), read(at + 3, 1), read(at + 4, 1), read(at + 8, 4)));
        }
        at = read(at + 1, 1) as u16;
    }
    assert_eq!(found, [(16, 1, 0, 0), (16, 3, 0, 0x1000), (16, 4, 0, 0x2000), (20, 2, 0, 0x3000)]);
}

#[test]
fn a_device_comes_up_and_starts_over() {
    let bench = Bench::up("virtio,strict,mac=02:00:00:00:00:07", MAC | CTRL);
    assert_eq!((0x2000..0x2006).map(|at| bench.bar.read8(at)).collect::<Vec<_>>(), [2, 0, 0, 0, 0, 7]);
    assert_eq!(bench.bar.read16(0x2006), 1, "the link is up");
    assert_eq!((bench.bar.read16(0x12), bench.bar.read16(0x2008)), (17, 8), "queues and pairs");
    bench.bar.write16(0x16, 1);
    assert_eq!((bench.bar.read16(0x18), bench.bar.read16(0x1c)), (SIZE as u16, 1));
    bench.bar.write16(0x16, 99);
    assert_eq!(bench.bar.read16(0x18), 0, "no such queue");
    bench.bar.write16(0x16, 1);
    bench.bar.write8(0x14, 0);
    assert_eq!((bench.bar.read8(0x14), bench.bar.read16(0x16), bench.bar.read16(0x1c)), (0, 0, 0));
    bench.bar.write16(0x16, 1);
    assert_eq!((bench.bar.read16(0x18), bench.bar.read16(0x1a)), (1024, 0xffff));
    assert_eq!(bench.tap.violations(), []);
}

#[test]
fn packed_rings_are_offered_where_they_are_asked_for() {
    for (spec, offered) in [("virtio", false), ("virtio-packed", true)] {
        let bench = Bench::new(spec);
        bench.bar.write32(0x00, 1);
        assert_eq!(bench.bar.read32(0x04) >> 2 & 1 != 0, offered);
        bench.bar.write32(0x00, 2);
        assert_eq!(bench.bar.read32(0x04), 0);
    }
}

#[test]
fn features_that_cannot_be_had_are_refused() {
    for (features, rule) in [
        (MODERN | 1 << 40, Some("features taken that were not offered")),
        (MODERN | 1 << 22, Some("feature taken without one that it needs")),
        (MODERN & !(1 << 33), None),
        (MAC, None),
    ] {
        let bench = Bench::new("virtio");
        bench.agree(features);
        assert_eq!(bench.bar.read8(0x14), 3, "{features:#x}");
        assert_eq!(bench.violations(), rule.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn what_is_done_too_early_or_too_late_is_named() {
    let bench = Bench::new("virtio");
    bench.bar.write8(0x14, 4);
    bench.agree(MODERN);
    bench.bar.write32(0x0c, 0);
    bench.bar.write16(0x16, 0);
    bench.bar.write16(0x1c, 1);
    assert_eq!(bench.bar.read8(0x14), 0x4b, "needs a reset");
    bench.bar.write16(0x3000, 0);
    bench.bar.write16(0x18, 5000);
    bench.bar.write8(0x14, 1);
    bench.bar.read16(0x14);
    bench.bar.write16(0x12, 1);
    bench.bar.write32(0x2000, 0);
    bench.bar.read32(0x2800);
    bench.bar.read32(0x2000);
    let expected = [
        "device_status bit cleared without a reset",
        "device_status out of order",
        "features written after FEATURES_OK",
        "notification before DRIVER_OK",
        "queue turned on before its addresses were written",
        "queue_size of 0 or more than there are",
        "read of device_status that is not of 1 bytes",
        "read of more than one field of the device's configuration",
        "read outside the structures: 0x2800",
        "write to read-only num_queues",
        "write to the device's configuration",
    ];
    assert_eq!(bench.violations(), expected);
}

#[test]
fn a_queue_keeps_what_it_was_turned_on_with() {
    let bench = Bench::up("virtio", MAC);
    bench.bar.write16(0x16, 0);
    bench.bar.write32(0x20, 0);
    bench.bar.write16(0x1a, 3);
    bench.bar.write16(0x1a, 99);
    assert_eq!(bench.bar.read16(0x1a), 0xffff, "no such vector");
    bench.bar.write16(0x3004, 0);
    bench.bar.write16(0x3000 + 4 * 9, 9);
    bench.bar.write16(0x16, 99);
    bench.bar.write16(0x18, 8);
    let expected = [
        "field of a queue that does not exist written",
        "field of a queue that is on written",
        "notification of a queue that is off",
        "notification with the wrong queue index",
    ];
    assert_eq!(bench.violations(), expected);
}
