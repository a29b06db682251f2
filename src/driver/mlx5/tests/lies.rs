//! What a receive queue makes of a card that errs, has stopped, or lies.

use super::rx::{JUMBO, PLAIN, Rig, Setup, good};
use super::*;
use crate::driver::Anomalies;

const RECEIVE_ERROR: u8 = 0xe;

#[test]
fn a_frame_longer_than_its_buffers_uses_its_entry_up() {
    for setup in [PLAIN, JUMBO] {
        let mut rig = Rig::new(setup);
        for n in 1..=300 {
            rig.frame(60);
            rig.push(failed(RECEIVE_ERROR, rig.head, 1));
            rig.frame(61);
            assert_eq!(rig.recv(), [60, 61]);
            assert_eq!((rig.fault.frames_too_long(), rig.wrong()), (n, Anomalies::default()));
        }
        assert_eq!((rig.restarts.count(), rig.fault.last()), (0, None));
        rig.goes_on();
    }
}

#[test]
fn a_card_that_reports_more_than_there_is_room_for_is_found_out() {
    for setup in [PLAIN, JUMBO] {
        for more in [1, 2, 40] {
            let mut rig = Rig::new(setup);
            // Nobody looks meanwhile: the last ones are written over the first.
            for n in 0..rig.lengths.wqes {
                rig.frame(60);
                if n == 9 {
                    (0..more).for_each(|_| rig.reports.push(good(60, n)));
                }
            }
            assert!(rig.recv().is_empty());
            assert_eq!(rig.wrong(), Anomalies { bad_index: 1, queue_reset: 1, ..Anomalies::default() });
            rig.restarted(1);
            rig.goes_on();
        }
    }
}

#[test]
fn errors_that_stop_a_queue_have_it_set_up_anew_in_mid_lap() {
    for setup in [PLAIN, JUMBO] {
        for syndrome in [2, 4, 5] {
            let mut rig = Rig::new(setup);
            for times in 1..=20 {
                for len in 60..60 + 3 * times {
                    rig.frame(len);
                }
                let posted = words(&rig.record)[0];
                rig.push(failed(RECEIVE_ERROR, rig.head, syndrome));
                // What was posted behind it comes back, one after the other.
                let flushed = (rig.head..posted).map(|n| failed(RECEIVE_ERROR, n, 5)).collect();
                *rig.restarts.flushes.lock().unwrap() = flushed;
                assert_eq!(rig.recv(), (60..60 + 3 * times as usize).collect::<Vec<_>>());
                rig.restarted(times);
                assert_eq!(rig.wrong().frame_error, u64::from(times));
                assert_eq!(rig.fault.last(), Some(Syndrome { code: syndrome, vendor: 0x52 }));
            }
            rig.goes_on();
        }
    }
}

#[test]
fn other_errors_use_their_entry_up() {
    let mut rig = Rig::new(PLAIN);
    for (n, syndrome) in [0, 3, 6, 0x10, 0x22, 0xff].into_iter().enumerate() {
        rig.push(failed(RECEIVE_ERROR, rig.head, syndrome));
        rig.frame(60);
        assert_eq!(rig.recv(), [60]);
        assert_eq!((rig.wrong().frame_error, rig.restarts.count()), (n as u64 + 1, 0));
        assert_eq!(rig.fault.last().map(|said| said.code), Some(syndrome));
    }
    rig.goes_on();
}

#[test]
fn a_completion_of_another_entry_shows_that_the_card_has_lost_its_place() {
    for (setup, off) in [(PLAIN, 1_u32), (PLAIN, 64), (JUMBO, u32::MAX), (PLAIN, 0x8000)] {
        for error in [false, true] {
            let mut rig = Rig::new(setup);
            for times in 1..=3 {
                for _ in 0..50 {
                    rig.frame(60);
                    assert_eq!(rig.recv(), [60]);
                }
                rig.frame(60);
                rig.used();
                let counter = (rig.head - 1).wrapping_add(off);
                rig.reports.push(if error { failed(RECEIVE_ERROR, counter, 1) } else { good(60, counter) });
                // What it said after that is not believed either.
                rig.reports.push(good(60, counter.wrapping_add(1)));
                assert_eq!(rig.recv(), [60]);
                rig.restarted(times);
                assert_eq!(rig.wrong().bad_index, u64::from(times));
            }
            rig.goes_on();
        }
    }
}

#[test]
fn what_nobody_asked_for_is_not_believed() {
    // Other opcodes, inline formats, and frames in short where that was not agreed on.
    for last in [0x00, 0x10, 0x30, 0x40, 0x50, 0x60, 0xb0, 0xc0, 0x24, 0x28, 0x2c] {
        let mut rig = Rig::new(PLAIN);
        rig.frame(60);
        let mut cqe = good(2, rig.head);
        cqe[0x3f] = last;
        rig.push(cqe);
        assert_eq!(rig.recv(), [60], "{last:#x}");
        assert_eq!(rig.wrong().bad_index, 1, "{last:#x}");
        if last == 0x2c {
            // It has used as many entries as it says.
            rig.reports.skip(1);
        }
        rig.restarted(1);
        rig.goes_on();
    }
    // With stamps there is nothing in short.
    let mut rig = Rig::new(Setup { compressed: true, clock: Some(Clock::RealTime), ..PLAIN });
    let mut cqe = good(1, 0);
    cqe[0x3f] = 0x2c;
    rig.push(cqe);
    assert!(rig.recv().is_empty());
    rig.restarted(1);
    rig.goes_on();
}

#[test]
fn frames_in_short_are_no_more_than_there_are_entries_for() {
    for (count, off, wrong) in [(0, 0, "chain"), (65, 0, "chain"), (u32::MAX, 0, "chain"), (2, 1, "index")] {
        let mut rig = Rig::new(Setup { compressed: true, ..PLAIN });
        let mut title = good(count, off);
        title[0x3f] = 0x2c;
        rig.push(title);
        assert!(rig.recv().is_empty());
        let Anomalies { bad_chain, bad_index, .. } = rig.wrong();
        assert_eq!((bad_chain, bad_index), if wrong == "chain" { (1, 0) } else { (0, 1) });
        // What follows it is where the card and we agree that it goes on: as it says.
        rig.reports.skip(count.clamp(1, 64) - 1);
        rig.restarted(1);
        rig.goes_on();
    }
    // Lengths that are none, in the middle.
    let mut rig = Rig::new(Setup { compressed: true, ..JUMBO });
    for n in 1..=100 {
        let mut title = good(3, rig.head);
        title[0x3f] = 0x2c;
        (0..3).for_each(|_| _ = rig.used());
        let at = (rig.reports.at() + 1) % rig.reports.len();
        let minis = &rig.reports.ring.words32()[16 * at as usize..];
        for (n, len) in [60_u32, [0, 9009][n as usize % 2], 61].into_iter().enumerate() {
            minis[2 * n + 1].store(len.to_be(), Ordering::Relaxed);
        }
        rig.reports.push(title);
        rig.reports.skip(2);
        assert_eq!((rig.recv(), rig.wrong().bad_length), (vec![60, 61], n));
    }
    rig.goes_on();
}

#[test]
fn a_card_that_reports_what_it_was_not_given_is_not_believed() {
    let mut rig = Rig::new(PLAIN);
    for n in 0..64 {
        rig.reports.push(good(60, n));
    }
    assert_eq!(rig.recv().len(), 64);
    rig.head = 64;
    // More than a ring of them, in one go: its own entries are not there twice.
    let mut got = 0;
    for n in 64..300 {
        rig.reports.push(good(60, n));
        if n % 70 == 0 {
            got += rig.recv().len();
        }
    }
    got += rig.recv().len();
    assert!(got <= 300);
    let resets = rig.wrong().queue_reset;
    assert_eq!(u64::from(rig.restarts.count()), resets);
    rig.rx.release(&rig.pool);
    assert_eq!(rig.pool.available(), rig.pool.capacity());
}

#[test]
fn a_queue_that_cannot_be_set_up_again_is_dead_and_keeps_its_buffers() {
    let mut rig = Rig::new(JUMBO);
    rig.restarts.fails.store(true, Ordering::Relaxed);
    rig.frame(60);
    rig.push(failed(RECEIVE_ERROR, 1, 4));
    assert_eq!(rig.recv(), [60]);
    assert_eq!(rig.restarts.count(), 1);
    for n in 0..100 {
        rig.reports.push(good(60, n));
        assert!(rig.recv().is_empty());
        assert!(!rig.rx.listen());
    }
    assert_eq!(rig.restarts.count(), 1);
    assert_eq!(words(&rig.record), [0, 0], "nothing is offered any more");
    rig.conserved();
}

#[test]
fn noise_is_survived() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for setup in [PLAIN, JUMBO, Setup { compressed: true, ..JUMBO }, Setup { clock: Some(Clock::RealTime), ..PLAIN }] {
        let mut rig = Rig::new(setup);
        for _ in 0..20_000 {
            let at = (next() % 64) as usize;
            let words = &rig.reports.ring.words64()[8 * at..8 * at + 8];
            words.iter().for_each(|word| word.store(next(), Ordering::Relaxed));
            // Now and then something that is nearly right.
            if next() % 2 == 0 {
                let mut cqe = good((next() % 9100) as u32, (next() % 64) as u32);
                cqe[0x3f] = [0x20, 0x2c, 0xe0][(next() % 3) as usize] | (next() % 2) as u8;
                let last = u64::from_le_bytes(cqe[56..].try_into().unwrap());
                words[5].store(u64::from_le_bytes(cqe[40..48].try_into().unwrap()), Ordering::Relaxed);
                words[7].store(last, Ordering::Relaxed);
            }
            rig.recv();
        }
        rig.conserved();
    }
}
