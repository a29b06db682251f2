//! What becomes of what a transmit queue has given to the card.

use super::tx::{HEADS, MULTI, PLAIN, Rig, Setup, UDP, frame, shape};
use super::*;
use crate::dma::Timestamp;
use crate::driver::Anomalies;
use crate::driver::queue::Transmit;
use crate::testing::allocations;
use std::time::Duration;

#[test]
fn an_entry_never_goes_on_at_the_start_of_the_ring() {
    let mut rig = Rig::new(Setup { inline: Inline::L4, ..PLAIN });
    for round in 0..400 {
        assert_eq!(rig.send(&[9000, 60]), 6);
        let seen = rig.finish();
        assert_eq!(seen.len(), 2, "round {round}");
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.conserved();
}

#[test]
fn counters_go_on_where_16_24_and_32_bits_end() {
    for start in [0xfff0, 0xff_fff0, 0_u32.wrapping_sub(11)] {
        for setup in [PLAIN, MULTI, HEADS] {
            let mut rig = Rig::new(setup);
            rig.tx.begin_at(start, start.wrapping_sub(5), start.wrapping_add(2));
            rig.head = start;
            rig.reports.at = Arc::new(start.wrapping_add(2).into());
            for n in 0..64 {
                let ahead = 0_u32.wrapping_sub(n + 1);
                rig.reports.put(ahead, cqe(0, start), 0..8);
            }
            for _ in 0..200 {
                assert_eq!(rig.send(&[60, 5000, 60, 70]), 6);
                rig.finish();
            }
            assert_eq!(rig.wrong(), Anomalies::default());
            rig.conserved();
        }
    }
}

#[test]
fn a_ring_may_be_filled_to_the_last() {
    let mut rig = Rig::new(PLAIN);
    assert_eq!(rig.send(&[60; 64]), 64);
    assert_eq!(rig.send(&[60]), 0);
    assert_eq!(rig.seen().len(), 64);
    rig.done(63);
    assert_eq!(rig.send(&[60]), 1, "it looks when there is much to be had");
    assert_eq!(rig.send(&[60; 64]), 63);
    rig.conserved();
    // Of blocks or of buffers, whatever is less.
    let mut rig = Rig::new(MULTI);
    assert_eq!((rig.send(&[60; 60]), rig.send(&[60; 10])), (60, 4));
    rig.conserved();
    let mut rig = Rig::new(Setup { inline: Inline::L4, ..PLAIN });
    let sent: usize = (0..40).map(|_| rig.send(&[59])).sum();
    assert_eq!(sent, 32, "two blocks each");
    for counter in [0, 2, 4] {
        rig.done(counter);
    }
    assert_eq!(rig.send(&[59; 5]), 3);
    rig.conserved();
}

#[test]
fn completions_are_believed_if_they_name_an_entry_that_asked() {
    let mut rig = Rig::new(PLAIN);
    rig.send(&[60, 60]);
    rig.send(&[60]);
    rig.send(&[5000]);
    for lie in [0, 4, 5, 64, 0xffff, 0x8001] {
        rig.done(lie);
        assert_eq!(rig.reclaim(), 6, "{lie}");
    }
    assert_eq!(rig.wrong().bad_index, 6);
    rig.done(1);
    assert_eq!(rig.reclaim(), 4);
    for _ in 0..3 {
        rig.done(1);
    }
    rig.done(3);
    rig.done(2);
    assert_eq!(rig.reclaim(), 0, "the older one came late");
    assert_eq!((rig.wrong().bad_index, rig.restarts.count()), (10, 0));
    // Other opcodes and formats.
    rig.send(&[60]);
    for last in [0x10, 0x20, 0x50, 0xc0, 0x04, 0x0c, 0x2c] {
        let mut cqe = cqe(0, 5);
        cqe[0x3f] = last;
        rig.reports.push(cqe);
    }
    assert_eq!((rig.reclaim(), rig.wrong().bad_index), (1, 17));
    rig.done(5);
    assert_eq!(rig.reclaim(), 0);
    rig.conserved();
}

#[test]
fn nothing_is_believed_before_the_last_byte() {
    let mut rig = Rig::new(PLAIN);
    for round in 0..200_u16 {
        rig.send(&[60]);
        for words in 0..8 {
            assert_eq!(rig.reclaim(), 1, "with {words} words");
            rig.reports.put(0, cqe(0, u32::from(round)), words..words + 1);
        }
        rig.reports.skip(1);
        assert_eq!(rig.reclaim(), 0);
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.conserved();
}

#[test]
fn an_error_has_the_queue_set_up_anew_after_all_is_flushed() {
    for setup in [PLAIN, MULTI] {
        for syndrome in [1, 2, 4, 5] {
            let mut rig = Rig::new(setup);
            for times in 1..=10 {
                rig.send(&[60; 5]);
                rig.send(&[60, 3000]);
                rig.send(&[60]);
                let seen = rig.seen();
                let reports: Vec<u16> = seen.iter().filter(|entry| entry.report).map(|entry| entry.at).collect();
                rig.done(reports[0]);
                rig.reports.push(failed(0xd, u32::from(reports[1]), syndrome));
                *rig.restarts.flushes.lock().unwrap() = vec![failed(0xd, u32::from(reports[2]), 5)];
                assert_eq!(rig.reclaim(), 0);
                let Anomalies { frame_error, queue_reset, .. } = rig.wrong();
                assert_eq!((frame_error, queue_reset, rig.restarts.count()), (times, times, times as u32));
                assert_eq!(rig.fault.last(), Some(Syndrome { code: syndrome, vendor: 0x52 }));
                assert_eq!(words(&rig.read)[0], rig.reports.at());
                rig.head = 0;
                rig.send(&[60]);
                assert_eq!(shape(&rig.finish()), [(0, true, 0, vec![60])]);
            }
            rig.conserved();
        }
    }
}

#[test]
fn a_queue_that_cannot_be_set_up_again_is_dead_and_keeps_its_buffers() {
    let mut rig = Rig::new(PLAIN);
    rig.restarts.fails.store(true, Ordering::Relaxed);
    rig.send(&[60; 5]);
    rig.reports.push(failed(0xd, 4, 4));
    assert_eq!(rig.reclaim(), 5);
    for _ in 0..10 {
        assert_eq!((rig.send(&[60]), rig.send(&[3000]), rig.send(&[20])), (0, 0, 0));
        rig.done(4);
        assert_eq!(rig.reclaim(), 5);
    }
    assert_eq!((rig.restarts.count(), words(&rig.record)), (1, [0, 0]));
    rig.conserved();
}

#[test]
fn what_is_laid_ready_is_sent_as_often_as_wanted() {
    for setup in [PLAIN, HEADS, MULTI, Setup { inline: Inline::L4, ..PLAIN }] {
        let mut rig = Rig::new(setup);
        let mut batch = Batch::new(&rig.pool);
        batch.push_frame(&frame(20));
        batch.push_frame(&frame(700));
        assert_eq!(rig.tx.prepare(&mut batch).unwrap(), 2);
        batch.push_frame(&frame(70));
        batch.set_offload(0, UDP);
        assert_eq!(rig.tx.prepare(&mut batch).unwrap_err().kind(), Kind::Usage);
        batch.clear();
        drop(batch);
        assert!(!rig.tx.launch(2));
        let mut short = frame(20);
        short.resize(60, 0);
        for _ in 0..200 {
            assert!(rig.tx.launch(1) && rig.tx.launch(0));
            let before = rig.head;
            assert_eq!(rig.sent(), [frame(700), short.clone()]);
            rig.head = before;
            assert!(rig.finish().iter().all(|entry| entry.report));
        }
        assert_eq!(rig.pool.capacity() - rig.pool.available(), 2);
        assert!((0..64).all(|_| rig.tx.launch(1)) && !rig.tx.launch(1), "no room");
        rig.conserved();
    }
}

#[test]
fn the_last_frame_of_a_burst_is_stamped() {
    let mut rig = Rig::new(Setup { clock: Some(Clock::RealTime), ..PLAIN });
    let stamp = |counter: u32, seconds: u8| {
        let mut cqe = cqe(0, counter);
        (cqe[0x33], cqe[0x37]) = (seconds, 123);
        cqe
    };
    assert_eq!(rig.tx.last_sent(), None);
    rig.send(&[60, 60]);
    rig.send(&[60]);
    rig.reports.push(stamp(1, 5));
    assert_eq!(rig.reclaim(), 1);
    assert_eq!(rig.tx.last_sent(), Some(Timestamp(Duration::new(5, 123))));
    rig.reports.push(stamp(2, 6));
    assert_eq!((rig.reclaim(), rig.tx.last_sent()), (0, Some(Timestamp(Duration::new(6, 123)))));
    rig.send(&[60]);
    rig.done(3);
    assert_eq!((rig.reclaim(), rig.tx.last_sent()), (0, None), "a card that has none");
    rig.conserved();
}

#[test]
fn noise_is_survived() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for setup in [PLAIN, MULTI, HEADS] {
        let mut rig = Rig::new(setup);
        for _ in 0..5_000 {
            let at = (next() % 64) as usize;
            let words = &rig.reports.ring.words64()[8 * at..8 * at + 8];
            words.iter().for_each(|word| word.store(next(), Ordering::Relaxed));
            if next() % 2 == 0 {
                let mut cqe = cqe([0, 0, 0xd][(next() % 3) as usize], (next() % 64) as u32);
                cqe[0x3f] |= (next() % 2) as u8;
                words[7].store(u64::from_le_bytes(cqe[56..].try_into().unwrap()), Ordering::Relaxed);
            }
            let lengths: Vec<usize> = (0..next() % 5).map(|_| (next() % 5000) as usize + 1).collect();
            rig.send(&lengths);
            rig.reclaim();
        }
        rig.conserved();
    }
}

#[test]
fn sending_allocates_nothing() {
    for setup in [PLAIN, MULTI, HEADS, Setup { inline: Inline::L4, ..PLAIN }] {
        let mut rig = Rig::new(setup);
        let Rig { tx, pool, .. } = &mut rig;
        let mut batch = Batch::new(pool);
        for len in [60, 5000, 60, 20] {
            assert!(batch.push_frame(&frame(len)));
        }
        batch.set_offload(4, UDP);
        assert_eq!(
            allocations(|| {
                assert_eq!(tx.send(&mut batch), 6);
                assert_eq!(tx.reclaim(pool), 6);
            }),
            0
        );
    }
}
