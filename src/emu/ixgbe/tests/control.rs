//! Resets, EEPROM, PHY, interrupts, statistics, violations.

use super::*;
use crate::sys::EventFd;
use std::time::Duration;

#[test]
fn eeprom_words_come_through_eerd_and_add_up() {
    let bench = Bench::new("82599,strict,mac=02:11:22:33:44:55");
    let mut sum = 0u16;
    for word in 0..=0x3f {
        bench.write(0x10014, word << 2 | 1);
        let value = bench.read(0x10014);
        assert_eq!(value & 2, 2);
        sum = sum.wrapping_add((value >> 16) as u16);
    }
    assert_eq!(sum, 0xbaba);
    assert_eq!((bench.read(0x5400), bench.read(0x5404)), (0x3322_1102, 0x8000_5544));
    // Request and grant; present; auto-read done.
    bench.set(0x10010, 0x40);
    assert_eq!(bench.read(0x10010) & 0x3c0, 0x3c0);
    bench.assert_clean();
}

#[test]
fn the_x550_reads_its_eeprom_through_the_firmware() {
    let bench = Bench::new("x550,strict");
    assert_eq!(bench.read(0x15f00) & 1, 1);
    let mut sum = 0u16;
    for word in 0..=0x41u32 {
        for (n, dword) in [0xff06_0031, (2 * word).swap_bytes(), 0x0200, 0].into_iter().enumerate() {
            bench.write(0x15800 + 4 * n as u64, dword);
        }
        bench.set(0x15f00, 2);
        assert_eq!(bench.read(0x15f00) & 6, 4);
        sum = sum.wrapping_add(bench.read(0x1580c) as u16);
    }
    assert_eq!(sum, 0xbaba);
    bench.assert_clean();
}

#[test]
fn the_semaphore_belongs_to_who_read_zero() {
    let bench = Bench::new("82599,strict");
    assert_eq!(bench.read(0x10140) & 1, 0);
    assert_eq!(bench.read(0x10140) & 1, 1);
    bench.write(0x10140, 0);
    assert_eq!(bench.read(0x10140) & 1, 0);
}

#[test]
fn the_module_in_the_cage_answers_over_i2c() {
    let bench = Bench::new("82599,strict");
    // Present pin, and the identification byte, bit by bit.
    assert_eq!(bench.read(0x20) & 4, 4);
    let lines = |clock: u32, data: u32| bench.write(0x28, clock << 1 | data << 3);
    let clock = |data: u32| {
        lines(0, data);
        lines(1, data);
        let seen = bench.read(0x28) >> 2 & 1;
        lines(0, data);
        seen
    };
    let start = || {
        lines(0, 1);
        lines(1, 1);
        lines(1, 0);
        lines(0, 0);
    };
    let send = |byte: u32| {
        (0..8).rev().for_each(|bit| {
            clock(byte >> bit & 1);
        });
        assert_eq!(clock(1), 0, "no acknowledge");
    };
    for (offset, wanted) in [(0, 3), (3, 0x10), (0x26, 0x1b)] {
        start();
        send(0xa0);
        send(offset);
        start();
        send(0xa1);
        let byte = (0..8).fold(0, |byte, _| byte << 1 | clock(1));
        clock(1);
        assert_eq!(byte, wanted);
        lines(0, 0);
        lines(1, 0);
        lines(1, 1);
    }
    bench.assert_clean();
}

#[test]
fn the_copper_phy_answers_over_mdio() {
    for (spec, id) in [("x540,strict", 0x0154_0200), ("x550,strict", 0x0154_0220), ("82599,strict", !0)] {
        let bench = Bench::new(spec);
        let read = |register: u32| {
            bench.write(0x425c, register | 1 << 16 | 1 << 30);
            assert_eq!(bench.read(0x425c) >> 30 & 1, 0);
            bench.write(0x425c, register | 1 << 16 | 1 << 30 | 0x0c00_0000);
            assert_eq!(bench.read(0x425c) >> 30 & 1, 0);
            bench.read(0x4260) >> 16
        };
        assert_eq!(read(2) << 16 | read(3), id);
        bench.assert_clean();
    }
}

#[test]
fn the_link_takes_its_time_and_a_loss_shows_once() {
    let bench = Bench::new("82599,strict,link=5ms");
    assert_eq!(bench.read(0x42a4) & 0x7000_0000, 0x7000_0000);
    bench.read(0x800);
    bench.set(0x42a0, 1 << 12);
    assert_eq!(bench.read(0x42a0) >> 12 & 1, 0, "AN_RESTART clears itself");
    assert_eq!(bench.read(0x42b0) >> 16 & 0xf, 1, "ANLP1 state");
    assert_eq!(bench.read(0x808) >> 20 & 1, 1, "LSC shows in EICS");
    bench.run(4_000_000_000);
    assert_eq!(bench.read(0x42a4), 0);
    bench.run(2_000_000_000);
    assert_eq!(bench.read(0x42a4) & 0x4000_0000, 0x4000_0000);
    // The laser goes off and on: the loss is latched.
    bench.write(0x20, 0x808);
    bench.write(0x20, 0x800);
    assert_eq!(bench.read(0x42a4), 0);
    assert_eq!(bench.read(0x42a4) & 0x4000_0000, 0x4000_0000);
    bench.assert_clean();
}

#[test]
fn a_reset_takes_queues_and_filters_and_leaves_the_link() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.send(0, &frame(60));
    bench.run(20_000_000);
    bench.write(0xa208, 1);
    bench.write(0x10160, 2);
    bench.write(0x5404, 0);
    bench.write(0x3000, 0);
    bench.write(0x0000, 0x0400_0000);
    assert_eq!(bench.read(0x0000) & 0x0400_0000, 0);
    for offset in [0x1028, 0x6028, 0x3000, 0xa208, 0x4074, 0x5080, 0x800] {
        assert_eq!(bench.read(offset), 0, "{offset:#x}");
    }
    assert_eq!(bench.read(0x5404) >> 31, 1, "the factory address is back");
    assert_eq!(bench.read(0x10160), 2, "semaphores stay");
    assert_eq!(bench.read(0x42a4) & 0x4000_0000, 0x4000_0000, "the link stays");
    bench.write(0x0000, 8);
    assert_eq!(bench.read(0x42a4), 0);
    bench.assert_clean();

    assert!(bench.function.reset().unwrap());
    assert_eq!(bench.function.config_read(4, 2).unwrap() & 4, 0);
    assert_eq!(bench.read(0x0008) >> 19 & 1, 0, "STATUS: no bus master");
}

#[test]
fn statistics_clear_when_read_and_follow_the_queue_maps() {
    let mut bench = Bench::new("82599,strict");
    // Receive queue 1 counts in counter 5.
    bench.write(0x2300, 5 << 8);
    bench.write(0x8600, 3);
    bench.write(0x5128, 0x8000_88b5);
    bench.write(0xec00, 0x8000_0000 | 1 << 16);
    bench.receive_on(2);
    bench.transmit_on(1);
    for len in [60, 100, 1514] {
        bench.send(0, &frame(len));
        bench.run(20_000_000);
    }
    let bytes = 60 + 100 + 1514;
    for (offset, wanted) in [
        (0x4074, 3),
        (0x4080, 3),
        (0x4088, bytes),
        (0x4090, bytes + 12),
        (0x40c0, bytes + 12),
        (0x405c, 1),
        (0x4060, 1),
        (0x4070, 1),
        (0x40d8, 1),
        (0x1030 + 5 * 0x40, 3),
        (0x1034 + 5 * 0x40, bytes),
        (0x1030 + 0x40, 0),
        (0x8680 + 4 * 3, 3),
        (0x8700 + 8 * 3, bytes),
    ] {
        assert_eq!(bench.read(offset), wanted, "{offset:#x}");
        assert_eq!(bench.read(offset), 0, "{offset:#x} again");
    }
    bench.send(0, &frame(60));
    bench.run(20_000_000);
    assert_eq!(bench.read(0x6030 + 3 * 0x40), 1, "QPTC's other address");
    bench.assert_clean();
}

/// A driver that has the queues' pages mapped: whatever counter it reads first
/// elsewhere brings those of the queues up to date, and they are read once.
#[test]
fn counters_in_mapped_pages_are_up_to_date_whatever_is_read_first() {
    for first in [0x4000_u64, 0x4040, 0x4080, 0x3fa0] {
        let mut bench = Bench::new("82599,strict");
        // Drop enable.
        bench.receive_with(1, 0x1200_0002);
        bench.transmit_on(1);
        bench.slot.with(|card| card.model().mapped()).unwrap();
        let page = bench.slot.doorbells().iter().find(|page| page.offset == 0x1000).unwrap().words.clone();
        // As the program does: the page is memory.
        let seen = |at: usize| page[(at - 0x1000) / 4].load(Ordering::Relaxed);
        for (frames, lost) in [(3, 0), (5, 0), (RING + 6, 7), (0, 0)] {
            for _ in 0..frames {
                bench.send(0, &frame(100));
                bench.run(20_000_000);
            }
            for at in [first, 0x40a4, 0x40a4, 0x4074] {
                bench.read(at);
                assert_eq!((seen(0x1030), seen(0x1034)), (frames - lost, 100 * (frames - lost)), "{first:#x} {at:#x}");
                assert_eq!(seen(0x1430), lost, "{first:#x} {at:#x}");
            }
            while bench.receive(0).is_some() {}
        }
        bench.assert_clean();
    }
}

/// MSI-X as Linux sets it up: queue 0's receive in vector 0, others in vector 1.
fn with_interrupts(bench: &mut Bench) -> Vec<EventFd> {
    let fds: Vec<_> = (0..2).map(|_| EventFd::new().unwrap()).collect();
    let raw: Vec<_> = fds.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    bench.function.set_irqs(&raw).unwrap();
    bench.write(0x0898, 0xc000_0030);
    bench.write(0x0810, 0x4000_ffff);
    bench.write(0x0ad0, !0);
    bench.write(0x0ad4, !0);
    bench.write(0x0900, 0x80);
    bench.write(0x0a00, 0x8100);
    bench.receive_on(1);
    bench.transmit_on(1);
    fds
}

fn fired(fd: &EventFd) -> bool {
    fd.wait(Duration::ZERO).unwrap()
}

#[test]
fn a_message_clears_its_cause_and_masks_it_until_the_driver_enables_it() {
    let mut bench = Bench::new("82599,strict");
    let fds = with_interrupts(&mut bench);
    bench.send(0, &frame(60));
    bench.run(20_000_000);
    assert!(!fired(&fds[0]), "nothing is enabled");
    bench.write(0x0aa0, 1);
    bench.run(1_000_000);
    assert!(fired(&fds[0]), "a cause that was set fires when it is enabled");
    assert_eq!(bench.read(0x808) & 1, 0, "EIAC");
    assert_eq!(bench.read(0x0880) & 1, 0, "EIAM with EIAME");
    bench.send(0, &frame(60));
    bench.run(20_000_000);
    assert!(!fired(&fds[0]), "masked");
    bench.write(0x0aa0, 1);
    bench.run(1_000_000);
    assert!(fired(&fds[0]));
    // Lost interrupts are recovered by setting the cause.
    bench.write(0x0a90, 1);
    bench.run(1_000_000);
    assert!(fired(&fds[0]), "EICS_EX with EIAM_EX enables and fires");
    assert!(!fired(&fds[1]));
    bench.assert_clean();
}

#[test]
fn a_link_change_interrupts_on_the_other_vector() {
    let mut bench = Bench::new("82599,strict");
    let fds = with_interrupts(&mut bench);
    bench.read(0x800);
    bench.write(0x0880, 1 << 20);
    bench.set(0x42a0, 1 << 12);
    bench.run(1_000_000);
    assert!(fired(&fds[1]));
    assert_eq!(bench.read(0x0808), 1 << 20);
    bench.run(1_000_000);
    assert!(!fired(&fds[1]), "one event, one message");
    bench.write(0x0800, 1 << 20);
    assert_eq!(bench.read(0x0808), 0);
    bench.assert_clean();
}

#[test]
fn eitr_spaces_messages() {
    let mut bench = Bench::new("82599,strict");
    let fds = with_interrupts(&mut bench);
    // 100 us.
    bench.write(0x0820, 50 << 3);
    let mut messages = 0;
    for _ in 0..100 {
        bench.write(0x0aa0, 1);
        bench.send(0, &frame(60));
        bench.run(10_000_000);
        messages += usize::from(fired(&fds[0]));
        bench.receive(0);
    }
    // Each round takes 10 us, and its register write 5.
    assert!((10..=17).contains(&messages), "{messages}");
    bench.assert_clean();
}

/// What the driver does wrong, and the name under which it is counted.
type Crime = (&'static str, fn(&mut Bench));

#[test]
fn each_violation_has_its_name() {
    let crimes: [Crime; 21] = [
        ("unknown register 0x1fff0", |b| b.write(0x1fff0, 1)),
        ("write to read-only STATUS (§8.2.3.1)", |b| b.write(0x0008, 1)),
        ("register write that is not of 4 aligned bytes", |b| b.bar.write16(0x5080, 1)),
        ("reserved bits 0x10 of RXCTRL written (§8.2.3.8)", |b| b.write(0x3000, 0x10)),
        ("RDT is outside the ring", |b| {
            b.receive_on(1);
            b.rx_next[0] = 5;
            b.rx_bell[0].ring(RING);
            flood(b, RING);
        }),
        ("RDT moved backwards over descriptors that the card owns", |b| {
            b.receive_on(1);
            b.transmit_on(1);
            b.run(5_000_000);
            flood(b, 3);
            b.rx_bell[0].ring(50);
            flood(b, 1);
        }),
        ("TDT is outside the ring", |b| {
            b.transmit_on(1);
            b.tx_bell[0].ring(RING);
        }),
        ("RDT written before the queue was enabled", |b| {
            b.write(0x1018, 5);
            b.receive_on_unchecked();
        }),
        ("reserved bits 0x40 of TDBAL(0) written (§8.2.3.9)", |b| {
            b.write(0x6000, 0x40);
            b.write(0x6008, 1024);
            b.write(0x6028, 1 << 25);
        }),
        ("RDLEN is not a multiple of 128", |b| b.write(0x1028, 1 << 25)),
        ("base or length of an enabled transmit queue written", |b| {
            b.transmit_on(1);
            b.write(0x6008, 256);
        }),
        ("transmit descriptor of an unknown type", |b| {
            b.transmit_on(1);
            b.push(0, [0, 0x2050_0000]);
            b.ring_tx(0);
        }),
        ("context descriptor inside a packet", |b| {
            b.transmit_on(1);
            let at = b.data(0, 0, &frame(60));
            b.push(0, [at, 60 | 0x2230_0000 | 60 << 46]);
            b.push(0, [0, 0x2020_0000]);
            b.ring_tx(0);
        }),
        ("offload without a context descriptor", |b| {
            b.transmit_on(1);
            b.send_with(0, &frame(60), 1 << 40);
        }),
        ("PAYLEN is not the length of the packet", |b| {
            b.transmit_on(1);
            let at = b.data(0, 0, &frame(60));
            b.push(0, [at, 60 | 0x2b30_0000 | 61 << 46]);
            b.ring_tx(0);
        }),
        ("segmentation without a sensible context", |b| {
            b.transmit_on(1);
            b.push(0, [14 << 9 | 20, 0x2020_0000 | 1 << 10]);
            b.send_with(0, &frame(100), 1 << 31);
        }),
        ("DMA read outside mapped memory", |b| {
            b.transmit_on(1);
            b.push(0, [0x10, 60 | 0x2b30_0000 | 60 << 46]);
            b.ring_tx(0);
        }),
        ("DMA with bus mastering off", |b| {
            b.transmit_on(1);
            b.function.set_bus_master(false).unwrap();
            b.send(0, &frame(60));
        }),
        ("reset with packets to send and master access not disabled", |b| {
            b.wait_for_link();
            b.transmit_on(1);
            b.run(1_000_000);
            for _ in 0..60 {
                b.send(0, &frame(1514));
            }
            b.run(1_000_000);
            b.write(0x0000, 0x0400_0000);
        }),
        ("reset while packets are received", |b| {
            b.receive_on(1);
            b.write(0x0000, 0x0400_0000);
        }),
        ("frame shorter than 17 bytes or longer than 16 KiB", |b| {
            b.transmit_on(1);
            b.send(0, &frame(60)[..16]);
        }),
    ];
    for (name, crime) in crimes {
        let mut bench = Bench::new("82599,strict");
        crime(&mut bench);
        bench.run(10_000_000);
        assert!(bench.violations().iter().any(|v| v == name), "{name}: {:?}", bench.violations());
    }
}

/// Loops `n` frames.
fn flood(bench: &mut Bench, n: u32) {
    if bench.read(0x6028) >> 25 == 0 {
        bench.transmit_on(1);
    }
    for _ in 0..n {
        bench.send(0, &frame(60));
        bench.run(2_000_000);
    }
}

impl Bench {
    fn receive_on_unchecked(&self) {
        self.write(0x1008, 1024);
        self.write(0x1028, 1 << 25);
    }
}

#[test]
fn a_strict_card_dies_of_its_first_violation() {
    let bench = Bench::new("82599,strict");
    bench.write(0x1fff0, 1);
    assert_eq!(bench.read(0x0008), !0);
    assert_eq!(bench.violations(), ["unknown register 0x1fff0"]);
}

#[test]
fn a_nasty_card_is_late_and_still_right() {
    for seed in 1..20 {
        let mut bench = Bench::new(&format!("82599,strict,nasty,seed={seed}"));
        bench.receive_on(1);
        bench.transmit_on(1);
        for round in 0..50usize {
            let frame = frame(60 + round);
            let index = bench.send(0, &frame);
            bench.run(60_000_000);
            assert!(bench.sent(0, index), "seed {seed}");
            assert_eq!(bench.receive(0).expect("received").0, frame);
        }
        bench.assert_clean();
    }
}
