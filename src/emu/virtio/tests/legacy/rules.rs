//! Configuration space, ports, and what a driver must not do with them.

use super::*;

/// QEMU's legacy device on a machine, as open-mpi/hwloc has it in its tests
/// (`2pa-pcidomain32bits`).
const DUMP: [u32; 16] = [
    0x1000_1af4,
    0x0010_0507,
    0x0200_0000,
    0x0000_0000,
    0x0000_c061,
    0xfebd_1000,
    0,
    0,
    0,
    0,
    0,
    0x0001_1af4,
    0xfeb8_0000,
    0x0000_0040,
    0,
    0x0000_010b,
];

#[test]
fn a_legacy_device_looks_as_a_dump_of_one() {
    let bench = Bench::new("virtio-legacy,strict");
    // What the machine and its driver have put there: command, addresses, the ROM, the line.
    let masks = [(1, 0xffff_0000), (4, 0x1f), (5, 0xfff), (12, 0), (15, 0xff00)];
    for (n, dump) in DUMP.into_iter().enumerate() {
        let mask = masks.iter().find(|(word, _)| *word == n).map_or(!0, |(_, mask)| *mask);
        let word = bench.function.config_read(4 * n as u16, 4).unwrap();
        assert_eq!(word & mask, dump & mask, "at {:#x}", 4 * n);
    }
    let read = |at| bench.function.config_read(at, 4).unwrap();
    assert_eq!((read(0x40), read(0x44), read(0x48)), (0x0002_0011, 1, 0x801), "MSI-X of 3 vectors, and no more");
    for (at, sized) in [(0x10, 0xffff_ffe1), (0x14, 0xffff_f000), (0x18, 0)] {
        bench.function.config_write(at, 4, !0).unwrap();
        assert_eq!(read(at), sized);
    }
    assert!(!bench.function.reset().unwrap(), "conventional PCI has no reset of a function");
    assert_eq!(read(8), 0x0200_0000, "nor was anything written for one");
    assert_eq!((bench.bar.size(), bench.function.bar(1).unwrap().size()), (32, 4096));
    assert!(matches!(bench.bar, Bar::Served(..)));
    assert_eq!(bench.tap.violations(), []);
}

#[test]
fn ports_answer_if_the_command_register_lets_them() {
    let bench = Bench::new("virtio-legacy");
    assert_eq!(bench.bar.read16(12), 256);
    bench.function.config_write(4, 2, 4).unwrap();
    assert_eq!((bench.bar.read32(0), bench.bar.read8(18)), (!0, 0xff));
    bench.bar.write8(18, 1);
    bench.function.config_write(4, 2, 5).unwrap();
    assert_eq!(bench.bar.read8(18), 0, "what was written reached nobody");
    assert_eq!(bench.violations(), ["access to ports with I/O space off in the command register"]);
}

#[test]
fn a_legacy_device_comes_up_and_starts_over() {
    let mut bench = Bench::new("virtio-legacy,strict,mac=02:00:00:00:00:07");
    assert_eq!(bench.bar.read32(0), 0x798f_9823, "features");
    for (q, size) in [(0, 256), (1, 256), (2, 64), (3, 0), (0xffff, 0)] {
        bench.bar.write16(14, q);
        assert_eq!((bench.bar.read16(14), bench.bar.read16(12), bench.bar.read32(8)), (q, size, 0));
    }
    bench.begin(MAC | CTRL);
    assert_eq!((bench.bar.read32(4), bench.bar.read8(18)), ((MAC | CTRL) as u32, 7));
    assert_eq!((20..26).map(|at| bench.bar.read8(at)).collect::<Vec<_>>(), [2, 0, 0, 0, 0, 7]);
    assert_eq!((bench.bar.read32(20), bench.bar.read16(26)), (2, 1), "in pieces of any width; the link is up");
    bench.bar.write16(14, 1);
    assert_eq!(bench.bar.read32(8), bench.pfn(1));
    bench.bar.write32(8, 0);
    assert_eq!((bench.bar.read32(8), bench.bar.read8(18)), (0, 7), "that queue alone is gone");
    bench.bar.write8(18, 0);
    assert_eq!((bench.bar.read8(18), bench.bar.read16(14), bench.bar.read32(8), bench.bar.read32(4)), (0, 0, 0, 0));
    assert_eq!(bench.tap.violations(), []);
}

#[test]
fn the_devices_own_configuration_makes_room_for_vectors() {
    let bench = Bench::up("virtio-legacy,strict,mac=02:00:00:00:00:07", MAC);
    let msix = |on| bench.function.config_write(0x42, 2, if on { 0x8000 } else { 0 }).unwrap();
    msix(true);
    assert_eq!((bench.bar.read32(24), bench.bar.read16(30)), (2, 1));
    bench.bar.write16(14, 1);
    assert_eq!((bench.bar.read16(20), bench.bar.read16(22)), (0xffff, 0xffff));
    for (vector, kept) in [(0, 0), (2, 2), (3, 0xffff), (0xffff, 0xffff)] {
        bench.bar.write16(20, vector);
        bench.bar.write16(22, vector);
        assert_eq!((bench.bar.read16(20), bench.bar.read16(22)), (kept, kept));
    }
    bench.bar.write16(22, 1);
    bench.bar.write16(14, 0);
    assert_eq!(bench.bar.read16(22), 0xffff, "each queue has its own");
    msix(false);
    assert_eq!(bench.bar.read32(20), 2);
    assert_eq!(bench.tap.violations(), []);
}

#[test]
fn reading_the_cause_of_an_interrupt_clears_it() {
    let mut bench = Bench::up("virtio-legacy,strict,wire=loop", MAC);
    assert_eq!((bench.bar.read8(19), bench.bar.read8(19)), (2, 0), "the link came up");
    bench.send(&[0; 10], &frame(60));
    assert_eq!((bench.bar.read8(19), bench.bar.read8(19)), (1, 0));
    assert_eq!(bench.tap.violations(), []);
}

#[test]
fn an_address_is_written_where_there_is_no_command_for_it() {
    let write = |bench: &Bench| (0..6).for_each(|n| bench.bar.write8(20 + n, 2 * n as u8));
    let bench = Bench::up("virtio-legacy,strict", MAC);
    write(&bench);
    assert_eq!((20..26).map(|at| bench.bar.read8(at)).collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10]);
    assert_eq!(bench.tap.violations(), []);
    let bench = Bench::up("virtio-legacy,mac=02:00:00:00:00:07", MAC | CTRL);
    write(&bench);
    assert_eq!(bench.bar.read8(25), 7);
    assert_eq!(bench.violations(), ["address written past the command that was agreed on"]);
}

#[test]
fn features_that_nobody_may_take_leave_what_old_drivers_knew() {
    let bench = Bench::new("virtio-legacy");
    bench.bar.write32(4, bench.bar.read32(0));
    assert_eq!(bench.bar.read32(4), 0x1821, "MAC, CSUM, TSO");
    assert_eq!(bench.violations(), ["the feature taken that nobody may take"]);
    let bench = Bench::new("virtio-legacy");
    bench.bar.write32(4, 0x8000_0020);
    assert_eq!(bench.bar.read32(4), 0x20, "what was not offered is dropped without a word");
    assert_eq!(bench.violations(), ["features taken that were not offered"]);
}

#[test]
fn faults_take_features_and_the_control_queue_away() {
    for (fault, gone, queues) in [
        ("no-mergeable", 0x8000, 3),
        ("no-any-layout", 0x0800_0000, 3),
        ("no-control", 0x008e_0000, 2),
        ("no-mac", 0x20, 3),
    ] {
        let bench = Bench::new(&format!("virtio-legacy,strict,fault={fault}"));
        assert_eq!(bench.bar.read32(0), 0x798f_9823 & !gone, "{fault}");
        bench.bar.write16(14, 2);
        assert_eq!(bench.bar.read16(12) != 0, queues == 3, "{fault}");
    }
    let bench = Bench::new("virtio-legacy,fault=few-descriptors:100");
    assert_eq!(bench.bar.read16(12), 64, "a power of two");
}

#[test]
fn what_an_old_driver_must_not_do_is_named() {
    type Deed = fn(&mut Bench);
    let deeds: [(Deed, &str); 17] = [
        (|b| b.bar.write16(12, 256), "write to read-only queue_num"),
        (|b| b.bar.write32(0, 0), "write to read-only host_features"),
        (|b| b.bar.write8(19, 0), "write to read-only isr"),
        (|b| assert_ne!(b.bar.read16(16), 1), "read of write-only queue_notify"),
        (|b| assert_ne!(b.bar.read32(12), 1), "read of queue_num that is not of 2 bytes"),
        (|b| b.bar.write32(18, 0), "write to status that is not of 1 bytes"),
        (|b| assert_ne!(b.bar.read16(28), 1), "read of a field that was not offered"),
        (|b| b.bar.write16(26, 1), "write to the device's configuration"),
        (|b| b.bar.write16(16, 3), "notification of a queue that does not exist"),
        (|b| b.bar.write8(18, 0xf), "FEATURES_OK, which this interface does not have"),
        (|b| b.bar.write8(18, 4), "device_status bit cleared without a reset"),
        (|b| b.bar.write32(4, 0), "features written after DRIVER_OK"),
        (|b| b.place(1), "queue placed anew without being taken away"),
        (
            |b| {
                b.bar.write16(14, 7);
                b.bar.write32(8, 1);
            },
            "page of a queue that does not exist written",
        ),
        (
            |b| {
                b.bar.write8(18, 0);
                b.bar.write32(8, b.pfn(0));
            },
            "queue placed before its size was read",
        ),
        (
            |b| {
                b.bar.write8(18, 0);
                b.place(0);
                b.bar.write8(18, 7);
            },
            "DRIVER_OK before the queues were placed",
        ),
        (
            |b| {
                b.bar.write8(18, 0);
                b.bar.write16(16, 1);
            },
            "notification of a queue without pages",
        ),
    ];
    for (deed, rule) in deeds {
        let mut bench = Bench::up("virtio-legacy", MAC);
        assert_eq!(bench.tap.violations(), []);
        deed(&mut bench);
        assert!(bench.violations().iter().any(|name| name == rule), "{rule}: {:?}", bench.violations());
        let mut bench = Bench::up("virtio-legacy,strict", MAC);
        deed(&mut bench);
        assert_eq!(bench.bar.read8(18), 0xff, "{rule}: a strict device is dead");
    }
}

#[test]
fn queues_in_no_memory_and_indices_that_jump_silence_the_device_until_a_reset() {
    type Fault = fn(&mut Bench);
    let faults: [(Fault, &str); 3] = [
        (
            |b| {
                b.bar.write8(18, 0);
                (0..2).for_each(|q| b.place(q));
                b.bar.write32(8, 0xffff_0000);
                b.bar.write8(18, 7);
            },
            "queue outside mapped memory",
        ),
        (|b| b.put(b.available(1) + 2, &257_u16.to_le_bytes()), "available index further ahead"),
        (
            |b| {
                b.give(1, &[(BUFFERS, 10, false), (BUFFERS, 64, false)]);
                b.put(QUEUE + 16 + 12, &[1, 0, 0, 0]);
            },
            "chain loops",
        ),
    ];
    for (fault, rule) in faults {
        let mut bench = Bench::up("virtio-legacy,wire=loop", MAC);
        fault(&mut bench);
        bench.notify(1);
        assert!(bench.violations().iter().any(|name| name.starts_with(rule)), "{rule}: {:?}", bench.violations());
        assert_eq!(bench.bar.read8(18), 7, "{rule}: a legacy device has no word for it");
        let before = bench.used_count(1);
        bench.send(&[0; 10], &frame(60));
        assert_eq!(bench.used_count(1), before, "{rule}");
        bench.begin(MAC);
        bench.send(&[0; 10], &frame(60));
        assert_eq!(bench.used_count(1), 1, "{rule}");
    }
}
