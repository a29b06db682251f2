use super::*;
use crate::emu::wire::Random;

const LINE: f64 = 10e6;

/// One second of a device that forwards up to `capacity` packets a second.
fn second(asked: f64, capacity: f64) -> Trial {
    let lost = (asked - capacity).max(0.0) as u64;
    Trial { asked, due: asked as u64, sent: asked as u64, lost, ..Trial::default() }
}

#[test]
fn the_curve_goes_down_by_tens_until_two_rates_lose_nothing() {
    let curve = frame_loss(LINE, 1e9, 0.1, |rate| Ok(Some(second(rate, 4.5e6)))).unwrap();
    let shares: Vec<u64> = curve.steps.iter().map(|step| (step.share * 100.0).round() as u64).collect();
    assert_eq!(shares, [100, 90, 80, 70, 60, 50, 40, 30]);
    for step in &curve.steps {
        let Point::Measured(trial) = step.point else { panic!("{step:?}") };
        assert!((trial.loss() - (1.0 - 4.5e6 / step.rate).max(0.0)).abs() < 1e-6, "{step:?}");
    }
    assert!(curve.is_conclusive());
    let all = frame_loss(LINE, 1e9, 0.1, |rate| Ok(Some(second(rate, 0.0)))).unwrap();
    assert_eq!((all.steps.len(), all.is_conclusive()), (10, true), "one that passes nothing has a whole curve");
}

#[test]
fn a_rate_that_the_tester_does_not_offer_is_named_and_no_figure() {
    let curve = frame_loss(LINE, 7e6, 0.1, |rate| Ok(Some(second(rate, 1e9)))).unwrap();
    assert!(curve.steps.iter().all(|step| (step.point == Point::Beyond) == (step.rate > HEADROOM * 7e6)));
    assert!(curve.is_conclusive() && curve.steps.len() == 7, "{curve:?}");
    let slow = |rate| Ok(Some(Trial { sent: 100, ..second(rate, 1e9) }));
    let curve = frame_loss(LINE, 1e9, 0.5, slow).unwrap();
    assert!(curve.steps.iter().all(|step| step.point == Point::Unclear(Why::NotOffered, None)), "{curve:?}");
    assert!(!curve.is_conclusive());
    let stopped = frame_loss(LINE, 1e9, 0.1, |_| Ok(None)).unwrap();
    assert!(stopped.stopped && !stopped.is_conclusive());
    assert_eq!(frame_loss(LINE, 1e9, 0.0, |_| Ok(None)).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn losses_that_the_tester_may_have_caused_are_repeated_and_then_said_to_be_the_most() {
    let mut count = 0;
    let held_up_at_first = |rate| {
        count += 1;
        let trial = second(rate, 1e9);
        Ok(Some(if count < ATTEMPTS { Trial { lost: 7, missed: 8, ..trial } } else { trial }))
    };
    let curve = frame_loss(LINE, 1e9, 0.5, held_up_at_first).unwrap();
    assert!(curve.is_conclusive() && curve.steps.iter().all(Step::is_clean), "{curve:?}");
    let always = |rate| Ok(Some(Trial { lost: 7, missed: 8, ..second(rate, 1e9) }));
    let curve = frame_loss(LINE, 1e9, 0.5, always).unwrap();
    assert!(!curve.is_conclusive());
    let Point::Unclear(Why::OwnLoss, Some(trial)) = curve.steps[0].point else { panic!("{curve:?}") };
    assert_eq!(trial.lost, 7);
    // Held up for a long time, much of a loss may be the tester's: no figure either.
    let long = |rate| Ok(Some(Trial { held_up: Duration::from_millis(50), ..second(rate, 4e6) }));
    let curve = frame_loss(LINE, 1e9, 0.5, long).unwrap();
    assert!(matches!(curve.steps[0].point, Point::Unclear(Why::OwnLoss, Some(_))), "{curve:?}");
}

#[test]
fn only_trials_that_lose_nothing_are_timed() {
    let times = |ns| {
        let mut times = Histogram::new();
        times.record_n(ns, 1_000);
        times
    };
    let mut count = 0;
    let lossy_at_first = |rate| {
        count += 1;
        let lost = u64::from(count % 3 != 0);
        Ok(Some((Trial { lost, ..second(rate, 1e9) }, times(if lost > 0 { 1 } else { 700 }))))
    };
    let found = latency(1e6, 4, lossy_at_first).unwrap();
    assert!(found.is_conclusive() && found.times.count() == 4_000, "{found:?}");
    assert_eq!((found.times.min(), found.times.max(), found.why), (700, 700, None));
    let found = latency(1e6, 2, |rate| Ok(Some((second(rate, 1e5), times(1))))).unwrap();
    assert!(!found.is_conclusive() && found.times.is_empty());
    assert_eq!(found.why, Some(Why::Lost));
    assert!(!latency(1e6, 2, |_| Ok(None)).unwrap().is_conclusive());
}

/// A burst into a device that has room for `room` frames and forwards half of those
/// that come.
fn burst(length: u64, room: u64) -> Burst {
    let lost = (length / 2).saturating_sub(room);
    Burst { length, rate: 1e6, trial: Trial { asked: 1e6, due: length, sent: length, lost, ..Trial::default() } }
}

#[test]
fn the_longest_burst_is_found_to_the_precision() {
    for room in [0, 1, 31, 32, 100, 5_000, 123_456] {
        let found = back_to_back(1 << 40, 0.0, |length| Ok(Some(burst(length, room)))).unwrap();
        assert_eq!((found.frames(), found.limit), (Some(2 * room + 1), Limit::Device(2 * room + 2)));
        let found = back_to_back(1 << 40, 0.01, |length| Ok(Some(burst(length, room)))).unwrap();
        let frames = found.frames().unwrap();
        assert!(frames <= 2 * room + 1 && frames as f64 >= (2 * room) as f64 * 0.98, "{frames} of {room}");
    }
}

#[test]
fn a_device_that_loses_nothing_has_at_least_the_longest_and_one_that_passes_none_has_no_burst() {
    let found = back_to_back(1_000, 0.01, |length| Ok(Some(burst(length, 1 << 40)))).unwrap();
    assert_eq!((found.frames(), found.limit), (Some(1_000), Limit::Longest));
    let none = |length| Ok(Some(Burst { trial: Trial { lost: length, ..burst(length, 0).trial }, ..burst(length, 0) }));
    let found = back_to_back(1_000, 0.01, none).unwrap();
    assert_eq!((found.best, found.limit, found.is_conclusive()), (None, Limit::Device(1), false));
    let mut left = 3;
    let found = back_to_back(1_000, 0.01, |length| {
        left -= 1;
        Ok((left >= 0).then(|| burst(length, 1 << 40)))
    });
    let found = found.unwrap();
    assert_eq!((found.frames(), found.limit), (None, Limit::Stopped(512)));
    assert_eq!(back_to_back(0, 0.01, |_| Ok(None)).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn a_burst_with_a_gap_proves_nothing_and_a_disturbed_tester_gives_no_wrong_length() {
    const ROOM: u64 = 5_000;
    let gap = |length| {
        let trial = Trial { held_up: Duration::from_secs(1), ..burst(length, ROOM).trial };
        Ok(Some(Burst { trial, ..burst(length, ROOM) }))
    };
    let found = back_to_back(1 << 40, 0.01, gap).unwrap();
    assert!(!found.is_conclusive() && matches!(found.limit, Limit::Unclear(_, Why::NotOffered)), "{:?}", found.limit);
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let disturbed = |length| {
            let mut burst = burst(length, ROOM);
            // Every third one is held up: its gap hides losses, or adds some.
            if random.below(3) == 0 {
                burst.trial.held_up = Duration::from_micros(1 + length / 10 + random.below(5_000));
                burst.trial.lost = random.below(burst.trial.held_up.as_micros() as u64).min(length);
            }
            Ok(Some(burst))
        };
        let found = back_to_back(1 << 40, 0.01, disturbed).unwrap();
        let right = found.frames().is_none_or(|frames| (9_800..=10_001).contains(&frames));
        assert!(right, "seed {seed}: {:?} {:?}", found.best, found.limit);
    }
}
