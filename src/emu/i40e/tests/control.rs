//! Resets, contexts, interrupts, the clock, statistics, and what is forbidden.

use super::*;
use crate::sys::EventFd;
use std::os::fd::AsRawFd;

#[test]
fn a_function_reset_starts_over_but_keeps_link_and_statistics() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.send(0, &frame(100));
    bench.run(20_000_000);
    let octets = bench.read(0x300680);
    assert_eq!(octets, 104);
    bench.reset();
    assert_eq!((bench.read(0x80200), bench.read(0x100000), bench.read(0x120000)), (0, 0, 0));
    assert_eq!((bench.read(0x1e2420) & 0x80, bench.read(0x300680)), (0x80, octets));
    bench.assert_clean();
}

#[test]
fn contexts_are_found_through_page_descriptors_too() {
    let mut bench = Bench::new("x710,strict");
    bench.tell(0x0254, &[7, 7, MAIN]);
    bench.map_queues(1);
    // The second page of the address space holds the receive contexts.
    bench.write(0xc6400, 4096 / 512);
    bench.write(0xc6500, 128);
    let page = bench.arena.iova(CONTEXTS + 128 * 128);
    bench.put_qword(CONTEXTS + 8, page | 1);
    let table = bench.arena.iova(CONTEXTS);
    bench.write(0xc0200, (table >> 32) as u32);
    bench.write(0xc0100, table as u32 | 512 << 2 | 1);
    bench.write(0xc0000, 1 << 31);
    bench.open_rx(0, 2048, 1600);
    bench.assert_clean();
}

#[test]
fn a_context_can_be_written_line_by_line() {
    let bench = Bench::new("x710,strict");
    for line in 0..2 {
        for n in 0..4 {
            bench.write(0x10c100 + 128 * n, (0x1111_0000 * (line + 1)) | n as u32);
        }
        bench.write(0x10c300, 3 | line << 12 | 1 << 17);
        assert_eq!(bench.read(0x10c380) & 3, 1);
    }
    bench.write(0x10c300, 3);
    assert_eq!((bench.read(0x10c100), bench.read(0x10c280)), (0x1111_0000, 0x1111_0003));
    bench.write(0x10c300, 3 | 1 << 12);
    assert_eq!(bench.read(0x10c180), 0x2222_0001);
    bench.assert_clean();
}

#[test]
fn what_the_datasheet_forbids_is_named() {
    let wrong = |act: fn(&mut Bench)| {
        let mut bench = Bench::new("x710");
        act(&mut bench);
        bench.run(10_000_000);
        bench.violations()
    };
    assert_eq!(wrong(|b| b.write(0x300000, 0)), ["write to read-only GLPRT_GORC(0) (§10.2.2.19)"]);
    assert_eq!(wrong(|b| b.write(0x7_0000, 0)), ["unknown register 0x70000"]);
    let unbacked = wrong(|b| {
        b.back_contexts();
        b.write(0xc6300, 0);
        b.write(0x104000, 2);
        b.write(0x100000, 1);
    });
    assert_eq!(unbacked, ["queue context that no memory backs"]);
    let empty = wrong(|b| {
        b.back_contexts();
        b.write(0x104000, 2);
        b.write(0x100000, 1);
    });
    assert_eq!(
        empty,
        [
            "transmit queue context without ring, or not a new one",
            "transmit queue enabled without GLLAN_TXPRE_QDIS.CLEAR_QDIS"
        ]
    );
    let stopped = wrong(|b| {
        b.transmit_on(1);
        b.write(0x100000, 0);
    });
    assert_eq!(stopped, ["transmit queue disabled without GLLAN_TXPRE_QDIS.SET_QDIS"]);
    let far = wrong(|b| {
        b.transmit_on(1);
        b.tx_bell[0].ring(RING);
    });
    assert_eq!(far, ["QTX_TAIL is outside the ring"]);
}

#[test]
fn a_vector_fires_once_until_it_is_enabled_again() {
    let mut bench = Bench::new("x710,strict");
    let fd = EventFd::new().unwrap();
    bench.function.set_irqs(&[fd.as_raw_fd(), fd.as_raw_fd()]).unwrap();
    bench.receive_on(1);
    bench.transmit_on(1);
    // Vector 1: receive queue 0, then transmit queue 0 without a cause.
    bench.write(0x3a000, 1 | 1 << 27 | 1 << 30);
    bench.write(0x3c000, 1 | 0x7ff << 16);
    bench.write(0x35000, 0);
    bench.write(0x34800, 1 | 3 << 3);
    for _ in 0..3 {
        bench.send(0, &frame(60));
        bench.run(20_000_000);
    }
    assert_eq!((bench.tap.interrupts(1), bench.read(0x34800) & 1), (1, 0));
    // What came meanwhile fires when it may.
    bench.write(0x34800, 1 | 3 << 3);
    bench.run(1_000_000);
    assert_eq!(bench.tap.interrupts(1), 2);
    // An interval of 100 us holds the next one back.
    bench.write(0x34800, 1 | 50 << 5);
    bench.send(0, &frame(60));
    bench.run(20_000_000);
    bench.write(0x34800, 1 | 3 << 3);
    bench.send(0, &frame(60));
    bench.run(20_000_000);
    assert_eq!(bench.tap.interrupts(1), 3);
    bench.run(150_000_000);
    assert_eq!(bench.tap.interrupts(1), 4);
    bench.assert_clean();
}

#[test]
fn a_queue_interrupts_the_vector_that_it_names_whatever_old_lists_say() {
    let mut bench = Bench::new("x710,strict");
    let fd = EventFd::new().unwrap();
    bench.function.set_irqs(&[fd.as_raw_fd(); 3]).unwrap();
    bench.receive_on(1);
    bench.transmit_on(1);
    // Queue 0 is vector 1's. Vector 2 has none, and still the list of an earlier
    // driver that leads into it.
    bench.write(0x3a000, 1 | 1 << 27 | 1 << 30);
    bench.write(0x3c000, 1 | 0x7ff << 16);
    bench.write(0x35000, 0);
    bench.write(0x35004, 0);
    for vector in 0..2 {
        bench.write(0x34800 + 4 * vector, 1 | 3 << 3);
    }
    bench.send(0, &frame(60));
    bench.run(20_000_000);
    assert_eq!((bench.tap.interrupts(1), bench.tap.interrupts(2)), (1, 0));
    bench.assert_clean();
}

#[test]
fn what_is_pending_is_forgotten_with_the_pending_bit() {
    let mut bench = Bench::new("x710,strict");
    let fd = EventFd::new().unwrap();
    bench.function.set_irqs(&[fd.as_raw_fd(); 2]).unwrap();
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.write(0x3a000, 1 | 0x7ff << 16 | 1 << 30);
    bench.write(0x35000, 0);
    // Masked: what comes is pending, until CLEARPBA.
    for (control, interrupts) in [(1 | 2 | 3 << 3, 0), (1 | 3 << 3, 1)] {
        bench.write(0x34800, 3 << 3);
        bench.send(0, &frame(60));
        bench.run(20_000_000);
        assert_eq!(bench.tap.interrupts(1), 0);
        bench.write(0x34800, control);
        bench.run(1_000_000);
        assert_eq!(bench.tap.interrupts(1), interrupts);
    }
    bench.assert_clean();
}

#[test]
fn vector_0_tells_its_causes_once() {
    let mut bench = Bench::unlinked("x710,strict,link=1ms");
    let fd = EventFd::new().unwrap();
    bench.function.set_irqs(&[fd.as_raw_fd()]).unwrap();
    bench.write(0x38800, 1 << 30);
    bench.write(0x38480, 1 | 3 << 3);
    bench.tell(0x0607, &[3]);
    bench.run(2_000_000_000);
    bench.run(1_000_000);
    assert_eq!(bench.tap.interrupts(0), 1);
    assert_eq!(bench.read(0x38780), 1 << 30 | 1);
    assert_eq!(bench.read(0x38780), 0);
    bench.assert_clean();
}

#[test]
fn the_clock_counts_nanoseconds_and_can_be_set() {
    let bench = Bench::new("x710,strict");
    bench.write(0x1e4100, 1000);
    bench.write(0x1e4120, 5);
    // 3.2 ns each 3.2 ns.
    bench.write(0x1e4040, 0x3333_3333);
    bench.write(0x1e4060, 3);
    let time = || u64::from(bench.read(0x1e4100)) | u64::from(bench.read(0x1e4120)) << 32;
    let before = time();
    assert_eq!(before >> 32, 5);
    bench.engine.advance(1_000_000_000);
    let passed = time() - before;
    assert!((1_000_000 - 10..1_030_000).contains(&passed), "{passed}");
    bench.write(0x1e4280, 900_000 | 1 << 31);
    assert!(time() < before + passed);
    bench.assert_clean();
}

#[test]
fn statistics_count_up_in_pairs_and_reading_does_not_clear_them() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let mut group = frame(1000);
    group[0] = 1;
    let mut all = frame(60);
    all[..6].fill(0xff);
    for frame in [&frame(60), &group, &all] {
        bench.send(0, frame);
        bench.run(20_000_000);
    }
    for _ in 0..2 {
        // Octets with FCS; unicast, multicast, broadcast; 64 and 1023 bytes.
        let port = [0x300000, 0x3005a0, 0x3005c0, 0x3005e0, 0x300480, 0x300500].map(|at| bench.wide_count(at));
        assert_eq!(port, [64 + 1004 + 64, 1, 1, 1, 2, 1]);
        let sent = [0x300680, 0x3009c0, 0x3009e0, 0x300a00, 0x3006a0, 0x300720].map(|at| bench.wide_count(at));
        assert_eq!(sent, port);
        // Statistics index 9 of the VSI.
        let vsi = [0x358000, 0x36c000, 0x36cc00, 0x36d800].map(|at| bench.wide_count(at + 8 * 9));
        assert_eq!(vsi, port[..4]);
    }
    bench.assert_clean();
}

#[test]
fn a_nasty_card_is_slow_but_right() {
    for seed in 1..6 {
        let mut bench = Bench::new(&format!("x710,strict,nasty,seed={seed}"));
        bench.receive_on(1);
        bench.transmit_on(1);
        for n in 0..20u8 {
            let mut frame = frame(64);
            frame[20] = n;
            bench.send(0, &frame);
        }
        let mut got = Vec::new();
        for _ in 0..50 {
            bench.run(100_000_000);
            while let Some((frame, _)) = bench.receive(0) {
                got.push(frame[20]);
            }
        }
        // No vector has an interval that runs: whole cache lines only.
        assert_eq!(got, (0..20).collect::<Vec<_>>(), "seed {seed}");
        bench.assert_clean();
    }
}

#[test]
fn addresses_at_the_end_of_memory_bring_nobody_down() {
    let mut bench = Bench::new("x710");
    bench.back_contexts();
    bench.tell(0x0254, &[7, 7, MAIN]);
    for q in 0..2u64 {
        // Ring addresses of all ones, in contexts of all ones but their length.
        bench.put(CONTEXTS + 128 * q as usize, &[0xff; 128]);
        bench.put(CONTEXTS + 128 * 128 + 32 * q as usize, &[0xff; 32]);
        bench.write(0x100000 + 4 * q, 1);
        bench.write(0x120000 + 4 * q, 1);
        bench.write(0x108000 + 4 * q, 5);
        bench.write(0x128000 + 4 * q, 5);
    }
    bench.run(20_000_000);
    // The private address space and the admin queue, likewise.
    bench.write(0xc0200, !0);
    bench.write(0xc0100, !0);
    bench.write(0xc0000, 1 << 31);
    bench.write(0x120008, 1);
    bench.write(0x80100, !0);
    bench.write(0x80000, !0);
    bench.write(OWN, 9);
    bench.run(20_000_000);
    assert!(!bench.violations().is_empty());
    bench.reset();
}

/// Read by the drivers of an X710 and of an X722, before any of them wrote there.
#[test]
fn input_sets_are_those_of_real_cards() {
    const BOTH: [(u64, u64); 7] = [
        (63, 0x4000),
        (46, 0x0007_fff8_0000_0000),
        (45, 0x0007_fff8_0000_0000),
        (44, 0x0007_ffff_8000_0000),
        (43, 0x0007_fffe_0000_0000),
        (41, 0x0007_fffe_0000_0000),
        (28, 0),
    ];
    const X710: [(u64, u64); 5] = [
        (36, 0x0001_8018_0000_0000),
        (35, 0x0001_8018_0000_0000),
        (34, 0x0001_801f_8000_0000),
        (33, 0x0001_801e_0000_0000),
        (31, 0x0001_801e_0000_0000),
    ];
    const X722: [(u64, u64); 10] = [
        (42, 0x0007_fffe_0000_0000),
        (40, 0x0007_fffe_0000_0000),
        (39, 0x0007_fffe_0000_0000),
        (36, 0x0006_0600_0000_0000),
        (34, 0x0006_0607_8000_0000),
        (33, 0x0006_0606_0000_0000),
        (32, 0x0006_0606_0000_0000),
        (31, 0x0006_0606_0000_0000),
        (30, 0x0006_0606_0000_0000),
        (29, 0x0006_0606_0000_0000),
    ];
    for (card, own) in [("x710", &X710[..]), ("x722", &X722[..])] {
        let bench = Bench::unlinked(&format!("{card},strict"));
        for (pctype, set) in BOTH.iter().chain(own) {
            let hashed = [0, 1].map(|half| bench.read(0x26_7600 + 8 * pctype + 4 * half));
            let compared = [0, 1].map(|half| bench.read(0x25_0000 + 64 * pctype + 32 * half));
            let set = [*set as u32, (set >> 32) as u32];
            assert_eq!((hashed, compared), (set, set), "{card}, type {pctype}");
        }
    }
}

/// Registers of the X722 alone: reading them on an X710 is an ECC error, after which it
/// receives nothing (DPDK 199efc4ac5).
#[test]
fn a_register_of_the_x722_alone_may_not_be_read() {
    for at in [0x2b800, 0x3d800, 0x208e00, 0x20be00, 0x263c00, 0x265c00] {
        let bench = Bench::unlinked("x710");
        bench.read(at);
        assert_eq!(bench.violations(), [format!("unknown register {at:#07x}")]);
    }
}
