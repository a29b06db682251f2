//! Cards that lie to a receive queue: every field of a record.

use super::rx::{JUMBO, PLAIN, Rig, Setup, goes_on, record};
use super::*;
use crate::dma::BUFFER_SIZE;
use crate::driver::queue::Receive;

#[test]
fn a_record_that_stays_half_there_is_waited_for_and_then_given_up() {
    for (setup, present) in [(PLAIN, 1), (JUMBO, 2), (JUMBO, 3)] {
        let mut rig = Rig::new(setup);
        let [low, high] = record(2048, 0, if present == 1 { 0 } else { 2 });
        for (n, part) in [low, high, goes_on(2048, 0)].into_iter().take(present).enumerate() {
            rig.reports.put(n as u32, part);
        }
        for _ in 0..1000 {
            assert!(rig.recv().is_empty());
        }
        assert_eq!(rig.restarts.count(), 0, "not so soon");
        while rig.restarts.count() == 0 {
            rig.recv();
        }
        assert_eq!(rig.wrong().bad_chain, 1);
        rig.restarted(1);
        rig.goes_on();
    }
}

#[test]
fn a_completion_of_any_other_descriptor_sets_the_rings_up_anew() {
    for (consumed, opaque) in [(0, 1), (0, 63), (0, u32::MAX), (5, 4), (5, 0), (5, 69), (5, 5_u32.wrapping_sub(64))] {
        let mut rig = Rig::new(PLAIN);
        for _ in 0..consumed {
            rig.frame(60);
        }
        rig.recv();
        rig.push(record(60, opaque, 0));
        rig.frame(60);
        assert!(rig.recv().is_empty(), "{opaque} after {consumed}");
        assert_eq!(rig.wrong().bad_index, 1);
        rig.restarted(1);
        rig.goes_on();
    }
}

#[test]
fn a_completion_twice_is_taken_once() {
    let mut rig = Rig::new(PLAIN);
    rig.frame(60);
    rig.push(record(60, 0, 0));
    assert_eq!(rig.recv(), [60]);
    assert_eq!(rig.wrong().bad_index, 1);
    rig.restarted(1);
    rig.goes_on();
}

#[test]
fn what_was_never_given_is_not_received() {
    let mut rig = Rig::new(PLAIN);
    for _ in 0..64 {
        rig.frame(60);
    }
    assert_eq!(rig.recv().len(), 63);
    assert_eq!(rig.wrong().bad_index, 1, "the withheld one");
    rig.restarted(1);
    rig.goes_on();
}

#[test]
fn a_queue_that_cannot_be_set_up_again_is_dead_and_keeps_its_buffers() {
    let mut rig = Rig::new(PLAIN);
    rig.restarts.fails.store(true, Ordering::Relaxed);
    rig.push(record(60, 9, 0));
    let said = rig.cells.word(RX as usize);
    for _ in 0..10 {
        assert!(rig.recv().is_empty());
        rig.frame(60);
    }
    assert_eq!((rig.restarts.count(), rig.cells.word(RX as usize)), (1, said), "left alone");
    rig.conserved();
}

#[test]
fn lengths_are_those_of_buffers_and_frames() {
    let mut rig = Rig::new(JUMBO);
    for len in [60, 0, 2048, 2049, 0xffff, 1, 61] {
        rig.frame(len);
    }
    assert_eq!(rig.recv(), [60, 2048, 1, 61]);
    assert_eq!((rig.wrong().bad_length, rig.restarts.count()), (3, 0));
    let mut rig = Rig::new(PLAIN);
    for len in [1518, 1526, 1527, 2048, 60] {
        rig.frame(len);
    }
    assert_eq!(rig.recv(), [1518, 1526, 60]);
    assert_eq!(rig.wrong().bad_length, 2);
    rig.goes_on();
}

#[test]
fn lies_about_further_buffers_set_the_rings_up_anew() {
    type Lie = fn(&mut Rig);
    let lies: [(&str, Setup, Lie); 6] = [
        ("none were given", PLAIN, |rig| rig.push(record(2048, 0, 31))),
        ("one that is no further buffer", JUMBO, |rig| {
            rig.push(record(2048, 0, 1));
            rig.frame(60);
        }),
        ("out of turn", JUMBO, |rig| {
            rig.push(record(2048, 0, 1));
            rig.reports.push(goes_on(60, 1));
        }),
        ("of an earlier round", JUMBO, |rig| {
            rig.push(record(2048, 0, 1));
            rig.reports.push(goes_on(60, 0_u32.wrapping_sub(256)));
        }),
        ("twice", JUMBO, |rig| {
            rig.push(record(2048, 0, 2));
            rig.reports.push(goes_on(2048, 0));
            rig.reports.push(goes_on(60, 0));
        }),
        ("of no frame", JUMBO, |rig| rig.reports.push(goes_on(60, 0))),
    ];
    for (what, setup, lie) in lies {
        let mut rig = Rig::new(setup);
        lie(&mut rig);
        assert!(rig.recv().is_empty(), "{what}");
        assert_eq!(rig.wrong().bad_chain + rig.wrong().bad_index, 1, "{what}");
        rig.restarted(1);
        rig.goes_on();
    }
}

#[test]
fn unknown_records_set_the_rings_up_anew() {
    for kind in (0..64_u8).filter(|kind| ![0x11, 0x1a, 0x20, 0x22, 0x24, 0x2e].contains(kind)) {
        let mut rig = Rig::new(PLAIN);
        let [mut low, high] = record(60, 0, 0);
        low[0] = kind;
        rig.push([low, high]);
        assert!(rig.recv().is_empty());
        rig.restarted(1);
        rig.goes_on();
    }
}

#[test]
fn broken_frames_are_dropped_and_stop_older_chips() {
    // did not fit, not on chip, bad format, flush; CRC in the byte above.
    for (generation, errors, stops) in [
        (Generation::P4, 1 << 1, true),
        (Generation::P4, 2 << 1, true),
        (Generation::P5, 5 << 1, false),
        (Generation::P5, 3 << 1, false),
        (Generation::P4, 1 << 8, false),
    ] {
        let mut rig = Rig::new(Setup { generation, ..PLAIN });
        let [low, mut high] = record(0, 0, 0);
        high[8..10].copy_from_slice(&(errors as u16).to_le_bytes());
        rig.push([low, high]);
        assert!(rig.recv().is_empty());
        assert_eq!((rig.wrong().frame_error, rig.restarts.count()), (1, u32::from(stops)));
        if stops {
            rig.restarted(1);
        }
        rig.goes_on();
    }
    for (errors, counted) in [(1 << 8, 0), (5 << 1, 1)] {
        let mut rig = Rig::new(Setup { generation: Generation::P5, port_counts: true, ..PLAIN });
        let [low, mut high] = record(0, 0, 0);
        high[8..10].copy_from_slice(&(errors as u16).to_le_bytes());
        rig.push([low, high]);
        assert!(rig.recv().is_empty());
        assert_eq!(rig.wrong().frame_error, counted, "a wrong FCS is in the port's counters");
        rig.goes_on();
    }
}

/// Ten thousand cards that say anything: what is received fits, and every buffer is
/// somewhere.
#[test]
fn a_random_card_loses_no_buffer() {
    let mut state = 7_u64;
    let mut dice = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    for seed in 0..200 {
        let mut rig = Rig::new(Setup { stamps: seed % 2 == 0, ..JUMBO });
        for _ in 0..2000 {
            let roll = dice();
            match roll % 8 {
                0..=3 => rig.frame(60 + (roll >> 32) as u16 % 1400),
                4 => rig.chain(&[2048, 2048, 1 + (roll >> 32) as u16 % 2048][..1 + (roll >> 20) as usize % 3]),
                5 if roll >> 60 == 0 => {
                    // Any field of either half is anything.
                    let mut record = record(60, Rig::opaque(&rig.descriptors, rig.head), 0);
                    record[(roll >> 8) as usize % 2][(roll >> 16) as usize % 16] ^= (roll >> 24) as u8;
                    rig.push(record);
                }
                6 if roll >> 56 == 0 => {
                    for word in rig.reports.ring.words64() {
                        word.store(dice(), Ordering::Relaxed);
                    }
                }
                _ => {
                    let before = rig.restarts.count();
                    let mut batch = Batch::with_limit(&rig.pool, 1 + (roll >> 40) as usize % 64);
                    rig.rx.recv(&mut batch);
                    assert!(batch.frames().all(|frame| (1..=BUFFER_SIZE).contains(&frame.len())));
                    let held = rig.pool.capacity() - rig.pool.available();
                    assert_eq!(held, rig.rx.slots() as usize + batch.len());
                    drop(batch);
                    if rig.restarts.count() != before {
                        (rig.reports.at, rig.head, rig.more_head) = (0, 0, 0);
                    }
                }
            }
        }
        rig.conserved();
    }
}
