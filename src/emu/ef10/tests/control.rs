//! Commands, event queues, interrupts, resets, and drivers that do it wrong.

use super::*;
use crate::sys::EventFd;
use std::os::fd::AsRawFd;

const ENOENT: u32 = 2;
const EIO: u32 = 5;
const EBUSY: u32 = 0x10;
const EINVAL: u32 = 0x16;
const ENOSYS: u32 = 0x26;
const EALREADY: u32 = 0x72;

#[test]
fn what_a_driver_may_ask_wrongly_is_answered_and_no_violation() {
    let mut bench = Bench::bare("x2522,strict");
    assert_eq!(bench.command(0x3ff, &[]), Err(ENOSYS));
    bench.must(0x1c, &words(&[1, 1, 1]));
    bench.must(0x1c, &words(&[1, 1, 1]));
    for code in [0x83, 0x84, 0x85] {
        assert_eq!(bench.command(code, &words(&[0])), Err(EALREADY), "{code:#x}");
    }
    assert_eq!(bench.command(0x8c, &[]), Err(EALREADY));
    assert_eq!(bench.command(0x8a, &words(&[1, 99, 0])), Err(ENOENT));
    bench.assert_clean();
}

#[test]
fn the_modules_memory_is_read_by_pages_of_128_bytes() {
    let mut bench = Bench::bare("x2522,strict");
    let pages: Vec<_> = (0..4).map(|page| bench.must(0x4b, &words(&[page]))).collect();
    assert!(pages.iter().all(|page| page.len() == 132 && page[..4] == 128_u32.to_le_bytes()));
    // An SFP; its maker; the temperature, which is at 96 of the diagnostics.
    assert_eq!((pages[0][4], &pages[0][24..40], pages[2][4 + 96]), (3, &b"Solarflare Comm."[..], 35));
    assert_eq!(bench.command(0x4b, &words(&[4])), Err(ENOENT));
    assert_eq!(bench.command(0x4b, &words(&[u32::MAX])), Err(ENOENT));
    let mut bench = Bench::bare("sfc9140,strict");
    let [lower, upper] = [u32::MAX, 0].map(|page| bench.must(0x4b, &words(&[page])));
    assert_eq!((lower[4], &upper[24..40]), (0x11, &b"Solarflare Comm."[..]));
    bench.assert_clean();
}

#[test]
fn an_empty_cage_has_no_memory_and_no_link() {
    let mut bench = Bench::bare("x2522,strict,fault=no-module");
    assert_eq!(bench.command(0x4b, &words(&[0])), Err(ENOENT));
    bench.run(10_000_000_000);
    assert_eq!(bench.must(0x29, &[])[0x10] & 1, 0);
}

#[test]
fn the_parts_of_the_memory_are_tested_one_by_one() {
    for (spec, backup) in [("x2522,strict", 0), ("x2522,strict,fault=nvm", 1)] {
        let mut bench = Bench::bare(spec);
        let partitions = bench.must(0x51, &[]);
        assert_eq!(partitions, words(&[5, 0x100, 0x101, 0x400, 0x500, 0xffff]));
        let mut test = |part: u32| bench.command(0x4c, &words(&[part])).map(|result| result[0]);
        assert_eq!([0x100, 0x101, 0x400].map(&mut test), [Ok(0), Ok(backup), Ok(0)], "{spec}");
        assert_eq!([0x500, 0xffff, 0x102, 32].map(&mut test), [Err(EINVAL), Err(EINVAL), Err(ENOENT), Err(ENOENT)]);
        // As they were named before.
        assert_eq!([1, 2, 3, 5].map(test), [Ok(0), Ok(backup), Ok(0), Err(ENOENT)]);
        assert_eq!(bench.must(0x36, &[]), words(&[0x0e]));
        assert_eq!(bench.must(0x37, &words(&[0x100]))[0xc] & 1, 1, "it is protected");
        assert_eq!(bench.command(0x37, &words(&[0x102])), Err(ENOENT));
    }
}

#[test]
fn what_a_driver_must_not_do_is_named() {
    type Fault = (&'static str, fn(&mut Bench));
    let faults: [Fault; 17] = [
        ("INIT_EVQ before DRV_ATTACH", |bench| {
            let _ = bench.command(0x80, &[0; 0x2c]);
        }),
        ("DRV_ATTACH of 4 bytes, too few", |bench| assert_eq!(bench.command(0x1c, &[0; 4]), Err(EINVAL))),
        ("command that is not aligned to 256 bytes", |bench| {
            bench.write(0, 0x200, (bench.arena.iova(0) >> 32) as u32);
            bench.write(0, 0x204, bench.arena.iova(0) as u32 | 0x10);
        }),
        ("MC_DB_HWRD written before MC_DB_LWRD", |bench| bench.write(0, 0x204, 0x1000)),
        ("queue on a VI that was not allocated", |bench| {
            bench.must(0x1c, &words(&[1, 1, 1]));
            let input = [words(&[512, 3, 0, 0, 0, 0, 0, 0, 0]), bench.pages(EVENTS, 1)].concat();
            assert_eq!(bench.command(0x80, &input), Err(ENOENT));
        }),
        ("INIT_EVQ of a ring that is not all ones", |bench| {
            *bench = Bench::new("x2522", 1);
            let input = [words(&[512, 0, 0, 0, 1, 0, 0, 0, 0]), bench.pages(EVENTS, 1)].concat();
            bench.must(0x80, &input);
        }),
        ("descriptor ring on an event queue that was not initialised", |bench| {
            *bench = Bench::new("x2522", 1);
            let input = [words(&[512, 0, 0, 0, 0, 0, 0]), bench.pages(RX_RING, 1)].concat();
            assert_eq!(bench.command(0x81, &input), Err(ENOENT));
        }),
        ("FINI_EVQ of a queue that others report to", |bench| {
            *bench = Bench::new("x2522", 1);
            bench.start();
            assert_eq!(bench.command(0x83, &words(&[0])), Err(EBUSY));
        }),
        ("FREE_VIS with queues on them", |bench| {
            *bench = Bench::new("x2522", 1);
            bench.start();
            assert_eq!(bench.command(0x8c, &[]), Err(EBUSY));
        }),
        ("RX_DESC_UPD is not a multiple of 8", |bench| {
            *bench = Bench::new("x2522", 1);
            bench.start();
            bench.write(0, 0x830, 0x3f);
            bench.send(0, &frame(60));
        }),
        ("register of a VI that was not allocated written", |bench| bench.write(5, 0xa18, 1)),
        ("unknown register 0x00200", |bench| {
            *bench = Bench::new("x2522", 2);
            bench.write(1, 0x200, 1);
        }),
        ("read of a buffer that is for writing", |bench| {
            bench.bar.read32(0x1000);
        }),
        ("PIO write through a window without a buffer", |bench| bench.write(0, 0x1000, 1)),
        ("PIO write that is not of 8 aligned bytes", |bench| bench.write(0, 0x1000, 1)),
        ("filter of kind 0x4, which is not listed", |bench| {
            *bench = Bench::new("x2522", 1);
            bench.start();
            assert_eq!(bench.command(0x8a, &Filter::new(4).insert(0)), Err(EINVAL));
        }),
        ("event queue overflow: an event over one that was not cleared", |bench| {
            *bench = Bench::new("x2522", 1);
            bench.evq(0, 0);
            for _ in 0..RING + 1 {
                bench.must(0x86, &words(&[0, 1, 0x7000_0000]));
            }
        }),
    ];
    for (name, commit) in faults {
        let mut bench = Bench::bare("x2522");
        commit(&mut bench);
        assert!(bench.violations().iter().any(|violation| violation == name), "{name}: {:?}", bench.violations());
    }
}

#[test]
fn a_strict_card_is_dead_after_the_first_violation() {
    let bench = Bench::bare("x2522,strict");
    bench.write(0, 0x204, 0x1000);
    assert_eq!(bench.bar.read32(0x10), u32::MAX);
    bench.function.reset().unwrap();
    bench.function.set_bus_master(true).unwrap();
    assert_eq!(bench.violations(), ["MC_DB_HWRD written before MC_DB_LWRD"]);
}

#[test]
fn an_event_is_announced_once_for_each_time_the_driver_has_read() {
    let mut bench = Bench::new("x2522,strict", 1);
    let fd = EventFd::new().unwrap();
    bench.function.set_irqs(&[fd.as_raw_fd()]).unwrap();
    bench.evq(0, 1);
    assert_eq!(bench.tap.interrupts(0), 0);
    let post = |bench: &mut Bench| bench.must(0x86, &words(&[0, 1, 0x7000_0000]));
    // There is an event behind the pointer already.
    bench.write(0, 0x400, 0);
    assert_eq!(bench.tap.interrupts(0), 1);
    bench.write(0, 0x400, 1);
    assert_eq!(bench.tap.interrupts(0), 1);
    post(&mut bench);
    post(&mut bench);
    assert_eq!(bench.tap.interrupts(0), 2);
    bench.write(0, 0x400, 3);
    assert_eq!(bench.tap.interrupts(0), 2);
    bench.assert_clean();
}

#[test]
fn an_event_queue_without_a_vector_wakes_one_that_has_one_or_is_still_to_come() {
    let mut bench = Bench::new("x2522,strict", 4);
    for (n, flags, target, wanted) in [
        (0, 0, 0, Err(EINVAL)),
        // One that is not there yet, and then has none itself.
        (1, 0, 0, Ok(())),
        (2, 0, 1, Err(EINVAL)),
        (0, 1, 0, Ok(())),
        (2, 0, 0, Ok(())),
    ] {
        let input = bench.evq_input(n, flags, target);
        assert_eq!(bench.command(0x80, &input).map(|_| ()), wanted, "{n} {flags} {target}");
    }
    bench.assert_clean();
}

#[test]
fn queues_that_end_say_so_to_their_queue_and_to_the_first() {
    let mut bench = Bench::new("x2522,strict", 2);
    bench.evq(0, 0);
    bench.evq(1, 0);
    bench.rxq(1, 1, 0x100);
    bench.txq(1, 1, 6);
    bench.must(0x84, &words(&[1]));
    bench.must(0x85, &words(&[1]));
    assert_eq!(bench.events(1), [0xc001_0000_0000_0001, 0xc000_c000_0000_0001]);
    assert_eq!(bench.events(0), [0xc001_0000_0000_1001, 0xc000_c000_0000_1001]);
    bench.must(0x83, &words(&[1]));
    bench.must(0x83, &words(&[0]));
    bench.must(0x8c, &[]);
    bench.assert_clean();
}

#[test]
fn link_changes_are_events_and_the_delay_is_kept() {
    let mut bench = Bench::new("x2522,strict,link=5ms", 1);
    bench.evq(0, 0);
    // Down by command, and up again.
    let link = |flags| words(&[0x80, flags, 0, 0]);
    bench.must(0x2a, &link(8));
    let down = bench.events(0);
    assert_eq!(down.len(), 1);
    assert_eq!((down[0] >> 44, down[0] & 0xff0f_0000), (0xc0004, 0));
    bench.must(0x2a, &link(0));
    bench.run(4_000_000_000);
    assert_eq!(bench.events(0), NONE);
    bench.run(2_000_000_000);
    let up = bench.events(0);
    // 10 Gbit/s is 3; up, full duplex.
    assert_eq!((up[0] >> 44, up[0] & 0xff0f_0000), (0xc0004, 0x0303_0000));
    bench.assert_clean();
}

#[test]
fn a_reset_of_the_function_forgets_all_but_the_boot_count() {
    let mut bench = Bench::new("x2522,strict", 2);
    bench.start();
    bench.function.reset().unwrap();
    bench.function.set_bus_master(true).unwrap();
    assert_eq!(bench.bar.read32(0x10), 0xb007_0000);
    bench.must(0x1c, &words(&[1, 1, 1]));
    assert_eq!(bench.command(0x83, &words(&[0])), Err(EALREADY));
    bench.must(0x8b, &words(&[1, 1]));
    bench.assert_clean();
}

#[test]
fn a_reboot_of_the_firmware_is_seen_by_count_error_and_event() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.evq(0, 0);
    // An error without a code.
    assert_eq!(bench.command(0x3d, &words(&[0])), Err(0));
    assert_eq!(bench.bar.read32(0x10), 0xb007_0001);
    assert_eq!(bench.events(0), [0xc001_5000_0000_0000]);
    bench.must(0x1c, &words(&[1, 1, 1]));
    bench.assert_clean();
}

#[test]
fn firmware_that_has_failed_says_so_once_and_is_started_anew() {
    let mut bench = Bench::bare("x2522,strict,fault=asserted");
    // A reset of the function leaves the firmware as it is.
    bench.function.reset().unwrap();
    bench.function.set_bus_master(true).unwrap();
    assert_eq!(bench.command(0x1c, &words(&[1, 1, 1])), Err(EIO));
    let flags = |reply: Vec<u8>| u32_of(&reply, 0);
    assert_eq!(flags(bench.must(0x06, &words(&[0]))), 3);
    assert_eq!(flags(bench.must(0x06, &words(&[1]))), 3);
    assert_eq!(flags(bench.must(0x06, &words(&[1]))), 1);
    assert_eq!(bench.command(0x3d, &words(&[1])), Err(0));
    assert_eq!(bench.bar.read32(0x10), 0xb007_0001);
    bench.must(0x1c, &words(&[1, 1, 1]));
    // It has done so already.
    bench.must(0x3d, &words(&[1]));
    assert_eq!(bench.bar.read32(0x10), 0xb007_0001);
    bench.assert_clean();
}

#[test]
fn firmware_fails_when_it_is_asked_to() {
    let mut bench = Bench::bare("x2522,fault=error:2");
    bench.must(0x06, &words(&[1]));
    assert_eq!(bench.command(0x06, &words(&[1])), Err(EIO));
    bench.must(0x06, &words(&[1]));

    let mut bench = Bench::bare("x2522,fault=crash:2");
    bench.must(0x06, &words(&[1]));
    assert_eq!(bench.command(0x06, &words(&[1])), Err(0));
    assert_eq!(bench.bar.read32(0x10), 0xb007_0001);

    let mut bench = Bench::bare("x2522,fault=short:1");
    assert_eq!(bench.must(0x06, &words(&[1])).len(), 70);

    let mut bench = Bench::bare("x2522,fault=opcode:1");
    let (answered, _) = bench.request(0x0001_00ff, Some(0x0004_0006), &words(&[1]));
    assert_eq!((answered >> 23 & 1, u32_of(&bench.bytes(REQUEST + 4, 4), 0) & 0x7fff), (1, 7));

    let mut bench = Bench::bare("x2522,fault=timeout:1");
    let (answered, _) = bench.request(0x0001_00ff, Some(0x0004_0006), &words(&[1]));
    assert_eq!(answered >> 23 & 1, 0);
}

#[test]
fn a_function_that_is_not_the_ports_first_may_not_touch_the_link_or_choose() {
    const EPERM: u32 = 1;
    let mut bench = Bench::bare("sfc9120,strict,fault=npar");
    assert_eq!(bench.command(0x1c, &words(&[1, 1, 1])), Err(EPERM));
    // Trusted, and nothing else.
    assert_eq!(bench.must(0x1c, &words(&[1, 1, u32::MAX])), words(&[0, 4]));
    assert_eq!(bench.command(0x2a, &words(&[0x80, 0, 0, 0])), Err(EPERM));
    assert_eq!(bench.command(0x2c, &words(&[9216, 0, 0, 0, 0, 2, 0])), Err(EPERM));
    // On already, by the first.
    assert_eq!(bench.must(0x59, &[]), words(&[4, 4]));
    assert_eq!(bench.command(0x4a, &words(&[2, 1])), Err(EPERM));
    assert_eq!(u32_of(&bench.must(0x8b, &words(&[1, 1])), 4), 1024);
    bench.assert_clean();
}

#[test]
fn statistics_are_written_once_or_again_and_again() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    bench.send(0, &frame(60));
    bench.send(0, &frame(1514));
    let address = bench.arena.iova(STATS);
    let stats = |command, len| [&address.to_le_bytes()[..], &words(&[command, len, 0])].concat();
    bench.must(0x2e, &stats(1, 0x79 * 8));
    let word = |bench: &Bench, index: usize| bench.qword(STATS + 8 * index);
    let generation = word(&bench, 0);
    assert_eq!(word(&bench, 0x78), generation);
    // Packets, bytes with FCS, of 64 bytes, of up to 1518.
    for (index, wanted) in [(1, 2), (7, 1582), (0xa, 1), (0xf, 1), (0x1c, 2), (0x23, 1582), (0x25, 1), (0x2a, 1)] {
        assert_eq!(word(&bench, index), wanted, "counter {index:#x}");
    }
    // Every 10 ms, with an event of the generation.
    bench.must(0x2e, &stats(10 << 16 | 0xd, 0x79 * 8));
    bench.events(0);
    bench.run(12_000_000_000);
    let generation = word(&bench, 0);
    assert_eq!(bench.events(0), [0xc000_8000_0000_0000 | generation]);
    bench.must(0x2e, &stats(4, 0));
    bench.run(30_000_000_000);
    assert_eq!((word(&bench, 0), bench.events(0)), (generation, vec![]));
    // One that has no room for the counters of CTPIO.
    bench.put(STATS, &[0; 0x400]);
    bench.must(0x2e, &stats(3, 0x61 * 8));
    assert_eq!((word(&bench, 0), word(&bench, 0x60), word(&bench, 1)), (generation + 1, generation + 1, 0));
    bench.assert_clean();
}

#[test]
fn statistics_are_those_of_a_function_with_queues() {
    let mut bench = Bench::new("x2522,strict", 1);
    let address = bench.arena.iova(STATS);
    let stats = |command| [&address.to_le_bytes()[..], &words(&[command, 0x79 * 8, 0])].concat();
    // Once, and as Linux starts them.
    for command in [1, 0x03e8_002d] {
        assert_eq!(bench.command(0x2e, &stats(command)), Err(ENOENT));
    }
    // Cleared, and by the clock, as DPDK starts them; and none.
    for command in [0x22, 0x03e8_002c, 0x24] {
        bench.must(0x2e, &stats(command));
    }
    bench.evq(0, 0);
    assert_eq!(bench.command(0x2e, &stats(1)), Err(ENOENT));
    bench.txq(0, 0, 6);
    bench.must(0x2e, &stats(1));
    bench.must(0x85, &words(&[0]));
    assert_eq!(bench.command(0x2e, &stats(1)), Err(ENOENT));
    bench.assert_clean();
}

#[test]
fn a_late_firmware_is_late_and_the_rest_works() {
    let mut bench = Bench::new("x2522,strict,nasty,seed=3", 1);
    bench.start();
    for n in 0..50 {
        let frame = frame(60 + n);
        bench.send(0, &frame);
        bench.run(50_000_000);
        let events = bench.events(0);
        assert_eq!(bench.packets(0, &events), [[&prefix_of(&frame)[..], &frame].concat()]);
        bench.write(0, 0x830, ((RING - 8 + bench.rx_next[0]) % RING) & !7);
    }
    bench.assert_clean();
}

#[test]
fn a_paused_wire_does_not_hold_back_the_events_of_what_was_sent() {
    const SENT: u64 = 480;
    for seed in 1..20 {
        let mut bench = Bench::new(&format!("x2522,strict,nasty,seed={seed},wire=loop:pause=on"), 1);
        bench.start();
        // More than the receive ring and the loop take.
        let descriptor = bench.data(0, 0, &frame(9000));
        for _ in 0..SENT {
            bench.push(0, descriptor);
        }
        bench.ring_tx(0);
        let mut events = Vec::new();
        for _ in 0..60 {
            bench.run(100_000_000);
            events.extend(bench.events(0));
        }
        let last = events.iter().rfind(|event| **event >> 60 == 2).unwrap();
        let sent = bench.tap.wire().tx_frames;
        assert!(sent < SENT);
        assert_eq!((last & 0xffff) + 1, sent, "seed {seed}");
        bench.assert_clean();
    }
}

fn prefix_of(frame: &[u8]) -> [u8; 14] {
    let mut prefix = [0; 14];
    prefix[8..10].copy_from_slice(&(frame.len() as u16).to_le_bytes());
    prefix
}

#[test]
fn configuration_space_is_as_dumps_of_cards_show_it() {
    for (card, windows, vectors, revision) in [("x2522", 0, 64, 1), ("sfc9220", 2, 64, 2), ("sfc9140", 2, 32, 1)] {
        let bench = Bench::bare(&format!("{card},strict"));
        let read = |at, size| bench.function.config_read(at, size).unwrap();
        assert_eq!(read(0x08, 1), revision, "{card}");
        // Windows, then MSI-X: 64-bit, not prefetchable.
        for bar in [windows, windows + 2] {
            assert_eq!(read(0x10 + 4 * bar, 4) & 0xf, 4, "{card}");
        }
        assert_eq!(bench.bar.size(), 8 << 20);
        let (mut at, mut list) = (read(0x34, 1), vec![]);
        while at != 0 {
            list.push((at, read(at as u16, 1)));
            at = read(at as u16 + 1, 1);
        }
        assert_eq!(list, [(0x40, 0x01), (0x50, 0x05), (0x70, 0x10), (0xb0, 0x11), (0xd0, 0x03)], "{card}");
        assert_eq!((read(0x52, 2) & 0x100, read(0xb2, 2), read(0xb4, 4)), (0, vectors - 1, u32::from(windows) + 2));
    }
}
