//! Doorbells: halves, wrong ones, lanes, entries that come with them.

use super::*;

#[test]
fn halves_of_a_doorbell_count_only_one_behind_the_other() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let rest = bench.packet(&frame(60), 18, 0, 0);
    let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
    let bell = bench.place(&mut set.sq, &words);
    // Alone, and with another doorbell in between.
    bench.bell(0x804, &bell[4..]);
    bench.bell(0x800, &bell[..4]);
    bench.bell(0x900, &bell[..4]);
    bench.bell(0x804, &bell[4..]);
    bench.run(20 * MICROSECOND);
    assert_eq!((bench.poll(&mut set.tx_cq).len(), bench.plane.counters.lost_doorbells), (0, 3));
    bench.bell(0x800, &bell[..4]);
    bench.bell(0x804, &bell[4..]);
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.poll(&mut set.tx_cq).len(), 1);
    bench.assert_clean();
}

#[test]
fn doorbells_of_nothing_are_violations() {
    for (at, bytes, rule) in [
        (0x800, [0, 0, 0, 10, 0, 0x99, 0, 4], "send queue that there is not"),
        (0x20, [0, 0, 0, 0, 0, 0x99, 0, 0], "completion queue that there is not"),
        (0x100, [0; 8], "place of a UAR page where there is none"),
    ] {
        let mut bench = Bench::new("");
        bench.start();
        bench.bell(at, &bytes);
        bench.assert_violated(rule);
    }
    let mut bench = Bench::new("");
    let mut set = bench.start();
    bench.bell(0x40, &[0x99, 0, 0, 0]);
    bench.assert_violated("event queue that there is not");
    bench.bell(0x40, &(set.eq.id << 24 | 5).to_be_bytes());
    bench.assert_violated("not reached yet");
    let other = bench.plane.alloc_uar(&mut bench.board).unwrap();
    bench.uar = other;
    bench.send(&mut set.sq, &frame(60));
    bench.assert_violated("another UAR page");
    bench.uar = 0x999;
    bench.send(&mut set.sq, &frame(60));
    bench.assert_violated("not allocated");
}

#[test]
fn a_doorbell_that_is_ahead_of_its_record_is_a_violation() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let words = Bench::entry_of(set.sq, 0, 2, &[]);
    let bell = bench.place(&mut set.sq, &words);
    bench.put_words(set.sq.record + 4, &[0]);
    bench.bell(0x800, &bell);
    bench.assert_violated("is ahead of its record");
    bench.run(MICROSECOND);
    assert_eq!(bench.poll(&mut set.tx_cq).len(), 1, "it is the doorbell that counts");
    let mut bench = Bench::new("");
    let set = bench.start();
    bench.bell(0x20, &[[0, 0, 0, 0], set.rx_cq.id.to_be_bytes()].concat());
    bench.assert_clean();
    bench.put_words(set.rx_cq.record + 4, &[0x00ff_ffff]);
    bench.bell(0x20, &[[0, 0, 0, 0], set.rx_cq.id.to_be_bytes()].concat());
    bench.assert_violated("is ahead of its record");
}

#[test]
fn a_completion_queue_may_be_armed_laps_late_but_not_early() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    for _ in 0..100 {
        bench.send(&mut set.sq, &frame(60));
        bench.run(MICROSECOND);
        assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
    }
    let arm = |bench: &mut Bench, position: u32| {
        bench.bell(0x20, &[position.to_be_bytes(), set.tx_cq.id.to_be_bytes()].concat());
    };
    bench.put_words(set.tx_cq.record + 4, &[100]);
    arm(&mut bench, 0);
    arm(&mut bench, 100);
    bench.assert_clean();
    bench.put_words(set.tx_cq.record + 4, &[101]);
    arm(&mut bench, 101);
    bench.assert_violated("not reached yet");
}

#[test]
fn a_nasty_card_misses_a_doorbell_and_finds_what_was_posted_by_the_record() {
    let mut bench = Bench::new(",nasty");
    let mut set = bench.start();
    let mut late = 0;
    for _ in 0..400 {
        let words = Bench::entry_of(set.sq, 0, 2, &[]);
        bench.push(&mut set.sq, &words);
        bench.run(10 * MICROSECOND);
        if bench.read(&mut set.tx_cq).is_empty() {
            late += 1;
            bench.run(60 * MICROSECOND);
            assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
        }
    }
    assert!((1..40).contains(&late), "{late}");
    // One that comes when its record was gone by is no news.
    let words = Bench::entry_of(Work { next: set.sq.next.wrapping_sub(2), ..set.sq }, 0, 2, &[]);
    let bell: Vec<u8> = words[..2].iter().flat_map(|word| word.to_be_bytes()).collect();
    bench.bell(0x800, &bell);
    bench.run(100 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 0);
    bench.assert_clean();
}

#[test]
fn an_entry_that_comes_in_one_store_is_taken_from_it() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let mut rest = bench.packet(&frame(60), 18, 0, 0);
    let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
    let wrong = bench.place(&mut set.sq, &words);
    // What is pushed names another frame than what is in memory.
    rest.truncate(rest.len() - 4);
    rest.extend(bench.data(&[0x11; 42]));
    let words = Bench::entry_of(Work { next: 0, ..set.sq }, 0x0a, 2, &rest);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!((bytes.len(), &bytes[..8]), (64, &wrong[..]));
    bench.bell(0x800, &bytes);
    bench.run(20 * MICROSECOND);
    let got = bench.read(&mut set.rx_cq);
    assert_eq!(bench.bytes(bench.buffer(set.rq, u16_at(&got[0], 0x3c)) + 18, 42), [0x11; 42]);
    bench.assert_clean();
}

#[test]
fn an_entry_that_comes_in_several_stores_is_read_from_memory_unless_nasty() {
    for nasty in [false, true] {
        let mut bench = Bench::new(if nasty { ",nasty,seed=5" } else { "" });
        let mut set = bench.start();
        let rest = bench.packet(&frame(60), 18, 0, 0);
        let words = Bench::entry_of(set.sq, 0x0a, 2, &rest);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bench.place(&mut set.sq, &words);
        // Memory has another opcode.
        bench.put_words(set.sq.at, &[0]);
        for n in 0..8 {
            bench.bell(0x800 + 8 * n as u16, &bytes[8 * n..8 * n + 8]);
        }
        bench.run(100 * MICROSECOND);
        let sent = bench.read(&mut set.tx_cq);
        assert_eq!((sent.len(), sent[0][0x38]), (1, if nasty { 0x0a } else { 0 }), "{nasty}");
    }
    let mut bench = Bench::new(",nasty");
    let mut set = bench.start();
    let words = Bench::entry_of(set.sq, 0, 2, &[]);
    let bell = bench.place(&mut set.sq, &words);
    bench.bell(0x800, &bell);
    bench.bell(0x808, &[0; 8]);
    bench.bell(0x818, &[0; 8]);
    bench.assert_violated("come mixed");
}

#[test]
fn lanes_are_doorbells_of_their_holder_alone() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let (page, word) = bench.plane.lane(bench.uar, 0x800).unwrap();
    let (arm, arm_word) = bench.plane.lane(bench.uar, 0x20).unwrap();
    let (event, event_word) = bench.plane.lane(bench.uar, 0x40).unwrap();
    assert!(bench.plane.lane(bench.uar, 0x28).is_none() && bench.plane.lane(3, 0x800).is_none());
    let store = |page: &crate::pci::Page, word: usize, bytes: &[u8]| {
        for (n, half) in bytes.as_chunks::<4>().0.iter().enumerate() {
            page[word + n].store(u32::from_le_bytes(*half), Ordering::Release);
        }
    };
    store(&event, event_word, &(set.eq.id << 24).to_be_bytes());
    // Of several stores the last one counts.
    for _ in 0..3 {
        let words = Bench::entry_of(set.sq, 0, 2, &[]);
        let bell = bench.place(&mut set.sq, &words);
        store(&page, word, &bell);
    }
    bench.put_words(set.tx_cq.record + 4, &[0]);
    store(&arm, arm_word, &[[0, 0, 0, 0], set.tx_cq.id.to_be_bytes()].concat());
    bench.run(5 * MICROSECOND);
    assert_eq!((bench.read(&mut set.tx_cq).len(), bench.poll(&mut set.eq).len(), bench.sent(3)), (3, 1, 1));
    bench.plane.catch_up(&mut bench.board);
    bench.assert_clean();
}

#[test]
fn halves_of_a_doorbell_are_not_lost_to_another_page() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let words = Bench::entry_of(set.sq, 0, 2, &[]);
    let bell = bench.place(&mut set.sq, &words);
    let other = bench.plane.alloc_uar(&mut bench.board).unwrap();
    let cq = bench.cq_with(LOG, set.eq, |request| request.with(0x1c, 23, 0, other));
    bench.bell(0x800, &bell[..4]);
    bench.plane.doorbell(&mut bench.board, other, 0x20, &[[0; 4], cq.id.to_be_bytes()].concat());
    bench.bell(0x804, &bell[4..]);
    bench.run(20 * MICROSECOND);
    assert_eq!((bench.read(&mut set.tx_cq).len(), bench.plane.counters.lost_doorbells), (1, 0));
    bench.assert_clean();
}

#[test]
fn lanes_go_with_their_holders() {
    let mut bench = Bench::new("");
    let mut set = bench.start();
    let held = bench.plane.lane(bench.uar, 0x800).unwrap();
    for _ in 0..100 {
        bench.plane.lane(bench.uar, 0x800).unwrap();
    }
    // One that is gone had rung before.
    let words = Bench::entry_of(set.sq, 0, 2, &[]);
    let bell = bench.place(&mut set.sq, &words);
    let (page, word) = bench.plane.lane(bench.uar, 0x800).unwrap();
    for (n, half) in bell.as_chunks::<4>().0.iter().enumerate() {
        page[word + n].store(u32::from_le_bytes(*half), Ordering::Release);
    }
    drop(page);
    bench.plane.lane(bench.uar, 0x800).unwrap();
    assert_eq!(bench.plane.lanes(), 3);
    bench.run(20 * MICROSECOND);
    assert_eq!(bench.read(&mut set.tx_cq).len(), 1);
    drop(held);
    bench.plane.lane(bench.uar, 0x800).unwrap();
    assert_eq!(bench.plane.lanes(), 1);
    bench.assert_clean();
}
