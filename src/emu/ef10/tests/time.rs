//! Stamps and the time.

use super::*;

const SECOND: u64 = 1_000_000_000_000;

impl Bench {
    fn ptp(&mut self, input: &[u32]) -> Vec<u8> {
        self.must(0x0b, &words(input))
    }

    /// The card's time in nanoseconds.
    fn time(&mut self, units: u64) -> u64 {
        let time = self.ptp(&[4, 0]);
        u64::from(u32_of(&time, 0)) * 1_000_000_000 + u64::from(u32_of(&time, 4)) * 1_000_000_000 / units
    }
}

#[test]
fn stamps_of_both_ways_are_the_time_less_their_corrections() {
    for (card, units, format) in [("x2522,strict", 4_000_000_000, 3), ("sfc9220,strict", 1 << 27, 2)] {
        let mut bench = Bench::new(card, 1);
        bench.evq(0, 0);
        // With stamps.
        bench.rxq(0, 0, 0x104);
        bench.txq(0, 0, 0x106);
        bench.receive_all();
        assert_eq!(u32_of(&bench.ptp(&[0x16, 0]), 0), format);
        let corrections = bench.ptp(&[0x17, 0]);
        let (sent, received) = (u32_of(&corrections, 0) as i32, u32_of(&corrections, 4) as i32);
        // A frame may have left as early as the step before it was seen.
        let before = bench.time(units) - 200_000;
        bench.send(0, &frame(60));
        let after = bench.time(units);
        let events = bench.events(0);
        let nanoseconds =
            |minor: u32, correction: i32| (i64::from(minor) + i64::from(correction)) as u64 * 1_000_000_000 / units;
        let seconds = before / 1_000_000_000 * 1_000_000_000;

        let types: Vec<_> = events.iter().filter(|event| **event >> 60 == 2).map(|event| event >> 24 & 0xff).collect();
        assert_eq!(types, [0, 0x51, 0x52]);
        let low = events.iter().find(|event| **event >> 60 == 2 && **event >> 24 & 0xff == 0x51).unwrap();
        let at = seconds + nanoseconds((low & 0xffff) as u32 | (low >> 16) as u32 & 0xffff_0000, sent);
        assert!((before..=after).contains(&at), "{before} {at} {after}");
        let packet = &bench.packets(0, &events)[0];
        let at = seconds + nanoseconds(u32_of(packet, 10), received);
        assert!((before..=after).contains(&at), "{before} {at} {after}");
        bench.assert_clean();
    }
}

#[test]
fn who_subscribes_is_told_the_time_four_times_a_second() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.evq(0, 0);
    bench.ptp(&[0x18, 0, 0]);
    // To a whole second.
    let time = bench.time(4_000_000_000) * 1000;
    bench.run(SECOND - time % SECOND);
    bench.events(0);
    let mut told = Vec::new();
    for _ in 0..8 {
        bench.run(SECOND / 4);
        told.extend(bench.events(0));
    }
    let times: Vec<_> = told.iter().map(|event| (event & 0xffff_ffff, event >> 36 & 0xff)).collect();
    assert!(told.iter().all(|event| event >> 44 == 0xc001a));
    let first = times[0].0;
    let minor = [0, 1_000_000_000u64, 2_000_000_000, 3_000_000_000].map(|quarter| quarter >> 24);
    let wanted: Vec<_> = (1..9).map(|n| (first + n / 4, minor[(n % 4) as usize])).collect();
    assert_eq!(times, wanted);
    bench.ptp(&[0x19, 0, 0, 0]);
    bench.run(SECOND);
    assert_eq!(bench.events(0), NONE);
    bench.assert_clean();
}

#[test]
fn who_asks_for_it_is_told_whether_the_clock_was_set_in_place_of_the_lowest_bits() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.evq(0, 0);
    bench.ptp(&[0x18, 0, 1 << 31]);
    let state = |bench: &mut Bench| {
        bench.run(SECOND / 4);
        let events = bench.events(0);
        assert!(!events.is_empty());
        events.iter().map(|event| event >> 36 & 3).collect::<Vec<_>>()
    };
    assert!(state(&mut bench).iter().all(|&bits| bits == 0), "a clock that nobody has set");
    bench.ptp(&[6, 0, 0, 0, 1000, 0]);
    assert!(state(&mut bench).iter().all(|&bits| bits == 1));
    bench.ptp(&[0x1b, 0, 1, 2, 0, 0]);
    assert!(state(&mut bench).iter().all(|&bits| bits == 3));
    bench.assert_clean();
}

#[test]
fn all_who_are_told_the_time_are_told_the_same() {
    const ERANGE: u32 = 0x22;
    for (card, first, second) in [("x2522,strict", 0, 1 << 31), ("x2522,strict,fault=ptp-shared", 1 << 31, 0)] {
        let mut bench = Bench::new(card, 2);
        bench.evq(0, 0);
        bench.evq(1, 0);
        bench.ptp(&[0x18, 0, first]);
        assert_eq!(bench.command(0x0b, &words(&[0x18, 0, 1 | second])), Err(ERANGE), "{card}");
        bench.ptp(&[0x18, 0, 1 | first]);
        bench.assert_clean();
    }
}

#[test]
fn without_a_licence_there_is_no_time() {
    const EPERM: u32 = 1;
    let mut bench = Bench::new("x2522,strict,fault=ptp-unlicensed", 1);
    bench.evq(0, 0);
    for input in [&[4, 0][..], &[0x16, 0], &[0x17, 0], &[0x18, 0, 0]] {
        assert_eq!(bench.command(0x0b, &words(input)), Err(EPERM), "{input:?}");
    }
    // A queue that is to stamp what it sends.
    let input = [words(&[RING, 0, 0, 0, 0x106, 0, 0x0100_0000]), bench.pages(TX_RING, 1)].concat();
    assert_eq!(bench.command(0x82, &input), Err(EPERM));
    bench.txq(0, 0, 6);
    bench.assert_clean();
}

#[test]
fn the_clock_is_shifted_and_tuned() {
    let mut bench = Bench::new("x2522,strict", 1);
    let before = bench.time(4_000_000_000);
    bench.ptp(&[6, 0, 0, 0, 1000, 0]);
    let after = bench.time(4_000_000_000);
    assert!((1_000_000_000_000..1_001_000_000_000).contains(&(after - before)));
    // A thousandth faster, in 2^-40.
    let rate = (1u64 << 40) / 1000;
    bench.ptp(&[0xf, 0, rate as u32, (rate >> 32) as u32]);
    let (before, start) = (bench.time(4_000_000_000), bench.engine.now());
    bench.run(SECOND);
    let (after, end) = (bench.time(4_000_000_000), bench.engine.now());
    let gained = (after - before) as i64 - ((end - start) / 1000) as i64;
    assert!((990_000..1_010_000).contains(&gained), "{gained}");
    bench.assert_clean();
}

#[test]
fn a_synchronisation_takes_the_hosts_time_and_answers_with_both() {
    let bench = Bench::new("x2522,strict", 1);
    let start = bench.arena.iova(STATS);
    let input = words(&[7, 0, 2, start as u32, (start >> 32) as u32]);
    let mut request = words(&[0xff | bench.seq << 16, 0x0b | (input.len() as u32) << 16]);
    request.extend(input);
    bench.put(REQUEST, &request);
    let iova = bench.arena.iova(REQUEST);
    bench.write(0, 0x200, (iova >> 32) as u32);
    bench.write(0, 0x204, iova as u32);
    assert_eq!(bench.bytes(STATS, 4), [1, 0, 0, 0]);
    for n in 0..8 {
        assert_eq!(bench.bytes(REQUEST + 2, 1)[0] & 0x80, 0);
        bench.write(0, 0x200, 0xa530_2470 + n);
    }
    assert_eq!(bench.bytes(REQUEST + 2, 1)[0] & 0x80, 0x80);
    assert_eq!(bench.bytes(STATS, 4), [0; 4]);
    let sets = bench.bytes(REQUEST + 8, 40);
    for set in sets.chunks(20) {
        assert_eq!((u32_of(set, 0), u32_of(set, 12) - u32_of(set, 0)), (0xa530_2477, 300));
    }
    bench.assert_clean();
}
