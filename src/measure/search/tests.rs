use super::*;
use crate::emu::wire::Random;
use std::time::Duration;

/// One second of a device that forwards up to `capacity` packets a second, and
/// of a sender that cannot send more than `sender`.
fn second(asked: f64, capacity: f64, sender: f64) -> Trial {
    let offered = asked.min(sender);
    let (sent, lost) = (offered as u64, (offered - capacity).max(0.0) as u64);
    Trial { asked, due: asked as u64, sent, lost, ..Trial::default() }
}

fn device(capacity: f64, sender: f64) -> impl FnMut(f64) -> Result<Option<Trial>> {
    move |asked| Ok(Some(second(asked, capacity, sender)))
}

const NDR: Goal = Goal { line: 14_880_952.0, ceiling: 1e9, loss: 0.0, precision: 0.001 };
const WIDTH: f64 = 14_880_952.0 * 0.001;

#[test]
fn it_finds_the_capacity_to_the_precision_asked() {
    for capacity in [20_000.0, 1_000_000.0, 7_440_476.0, 14_000_000.0] {
        let found = search(&NDR, device(capacity, 1e9)).unwrap();
        let rate = found.rate().unwrap();
        assert!(rate <= capacity + 1.0 && rate > capacity - WIDTH, "{rate} of {capacity}");
        let Bound::Device(above) = found.bound else { panic!("{:?}", found.bound) };
        assert!(above > capacity && above - rate <= WIDTH + 1.0, "{above} above {capacity}");
        assert!(found.is_conclusive() && found.trials.len() <= 12 * LOSSES, "{} trials", found.trials.len());
    }
}

#[test]
fn a_device_that_keeps_up_costs_one_trial_and_the_result_says_whose_limit_it_is() {
    let found = search(&NDR, device(1e9, 1e9)).unwrap();
    assert_eq!((found.trials.len(), found.bound), (1, Bound::Line));
    assert!((found.rate().unwrap() - NDR.line).abs() <= 1.0);
    let found = search(&Goal { ceiling: 3e6, ..NDR }, device(1e9, 3e6)).unwrap();
    assert_eq!((found.trials.len(), found.bound), (1, Bound::Tester));
    assert_eq!(found.rate(), Some(HEADROOM * 3e6));
}

#[test]
fn allowed_loss_raises_the_rate() {
    let found = search(&Goal { loss: 0.5, ..NDR }, device(5_000_000.0, 1e9)).unwrap();
    let rate = found.rate().unwrap();
    assert!((9_900_000.0..=10_000_001.0).contains(&rate), "{rate}");
}

#[test]
fn a_rate_that_was_not_offered_is_never_a_result() {
    // A ceiling that was taken for higher than it is.
    let found = search(&NDR, device(1e9, 3e6)).unwrap();
    let rate = found.rate().unwrap();
    let Bound::Unclear(above, Why::NotOffered) = found.bound else { panic!("{:?}", found.bound) };
    assert!(!found.is_conclusive());
    assert!(rate < 3e6 + 1.0 && above * (1.0 - TOLERANCE) > 3e6 && above - rate < 2.0 * WIDTH + TOLERANCE * 3e6);
    for trial in found.trials.iter().filter(|trial| trial.asked > 3.1e6) {
        assert_eq!(trial.verdict(0.0), Verdict::Unclear(Why::NotOffered));
    }
}

#[test]
fn a_loss_that_the_tester_may_have_caused_fails_nobody() {
    let steady = Trial { asked: 1e6, due: 1_000_000, sent: 1_000_000, ..Trial::default() };
    assert_eq!(steady.verdict(0.0), Verdict::Passed);
    assert_eq!(Trial { lost: 1, ..steady }.verdict(0.0), Verdict::Failed);
    // Held up for 3 ms, 3000 packets: not one more than those.
    let held = Trial { held_up: Duration::from_millis(3), ..steady };
    assert_eq!(held.verdict(0.0), Verdict::Passed);
    assert_eq!(Trial { lost: 3_000, ..held }.verdict(0.0), Verdict::Unclear(Why::OwnLoss));
    assert_eq!(Trial { lost: 3_001, ..held }.verdict(0.0), Verdict::Failed);
    assert_eq!(Trial { lost: 3_001, missed: 1, ..held }.verdict(0.0), Verdict::Unclear(Why::OwnLoss));
    // A card that has much left to send was not sending at that rate.
    assert_eq!(Trial { late: 10_001, ..steady }.verdict(0.0), Verdict::Unclear(Why::NotOffered));
    // A steady sender that is too slow shows nothing, whatever was lost.
    let slow = Trial { sent: 500_000, lost: 100_000, ..steady };
    assert_eq!(slow.verdict(0.0), Verdict::Unclear(Why::NotOffered));
    // One that was held up was at the rate for the rest of the time.
    let stalled = Trial { sent: 900_000, lost: 200_000, held_up: Duration::from_millis(100), ..steady };
    assert_eq!(stalled.verdict(0.0), Verdict::Failed);
    assert_eq!(Trial { lost: 0, ..stalled }.verdict(0.0), Verdict::Unclear(Why::NotOffered));
}

#[test]
fn a_disturbed_tester_finds_the_same_as_a_quiet_one() {
    const CAPACITY: f64 = 2e6;
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let disturbed = |asked| {
            let mut trial = second(asked, CAPACITY, 1e9);
            // Every third trial is held up, for up to 50 ms: not sent, or lost.
            if random.below(3) == 0 {
                trial.held_up = Duration::from_micros(1 + random.below(50_000));
                let held = (trial.held_up.as_secs_f64() * asked) as u64;
                let skipped = random.below(held + 1);
                trial.sent -= skipped;
                trial.lost = (trial.lost + random.below(held - skipped + 1)).min(trial.sent);
            }
            Ok(Some(trial))
        };
        let found = search(&NDR, disturbed).unwrap();
        let rate = found.rate().unwrap();
        // The first of ATTEMPTS or 2 * ATTEMPTS to pass may have skipped up to TOLERANCE.
        assert!(rate < CAPACITY + 1.0 && rate > CAPACITY * (1.0 - TOLERANCE) - WIDTH, "seed {seed}: {rate}");
        assert!(matches!(found.bound, Bound::Device(_)), "seed {seed}: {:?}", found.bound);
    }
}

#[test]
fn a_rate_that_was_unclear_gets_another_chance_before_it_is_the_end() {
    // Nothing can be said for the first trials; then the machine is quiet.
    let mut count = 0;
    let noisy_at_first = |asked| {
        count += 1;
        let trial = second(asked, 1e9, 1e9);
        Ok(Some(if count <= ATTEMPTS { Trial { lost: 1, missed: 1, ..trial } } else { trial }))
    };
    let found = search(&NDR, noisy_at_first).unwrap();
    assert_eq!(found.bound, Bound::Line);
    assert!(found.is_conclusive());
    // One that never is quiet above some rate: what passed is a bound, no result.
    let noisy = |asked: f64| Ok(Some(Trial { missed: 1, lost: u64::from(asked > 1e6), ..second(asked, 1e9, 1e9) }));
    let found = search(&NDR, noisy).unwrap();
    assert!(matches!(found.bound, Bound::Unclear(rate, Why::OwnLoss) if rate > 1e6 && rate < 1e6 + WIDTH));
    assert!(!found.is_conclusive() && found.rate().unwrap() <= 1e6);
}

#[test]
fn a_device_that_passes_nothing_is_found_out() {
    let found = search(&NDR, device(0.0, 1e9)).unwrap();
    assert_eq!((found.best, found.rate(), found.is_conclusive()), (None, None, false));
    assert!(matches!(found.bound, Bound::Device(rate) if rate <= WIDTH));
    let silent = |asked| Ok(Some(Trial { asked, ..Trial::default() }));
    let found = search(&NDR, silent).unwrap();
    assert!(matches!(found.bound, Bound::Unclear(_, Why::NotOffered)) && found.best.is_none());
}

#[test]
fn a_search_that_is_told_to_stop_says_what_it_knows() {
    let mut left = 5;
    let stopped = |asked| {
        left -= 1;
        Ok((left >= 0).then(|| second(asked, 5e6, 1e9)))
    };
    let found = search(&NDR, stopped).unwrap();
    assert!(!found.is_conclusive());
    // Fails twice at line rate, twice at half of it, passes at a quarter.
    assert_eq!(found.bound, Bound::Stopped(NDR.line / 2.0));
    assert_eq!(found.best.map(|trial| trial.asked), Some(NDR.line / 4.0));
}

#[test]
fn the_median_is_one_of_the_searches_and_needs_most_of_them() {
    let found = |rate: f64, bound| Found { best: Some(second(rate, 1e9, 1e9)), bound, trials: vec![] };
    let device = |rate: f64| found(rate, Bound::Device(rate + 10.0));
    let unclear = |rate: f64| found(rate, Bound::Unclear(rate + 10.0, Why::OwnLoss));
    let runs = [device(300.0), device(100.0), device(200.0)];
    assert_eq!((median(&runs), spread(&runs)), (Some(&runs[2]), Some([100.0, 300.0])));
    let runs = [unclear(1.0), device(100.0), device(200.0)];
    assert_eq!((median(&runs), spread(&runs)), (Some(&runs[1]), Some([100.0, 200.0])));
    assert_eq!(median(&[unclear(1.0), unclear(2.0), device(200.0)]), None);
    assert_eq!((median(&[unclear(1.0)]), spread(&[unclear(1.0)])), (None, None));
    assert_eq!((median(&[]), spread(&[])), (None, None));
}

#[test]
fn a_goal_that_makes_no_sense_and_a_trial_that_fails_end_it() {
    for goal in [
        Goal { line: 0.0, ..NDR },
        Goal { line: f64::NAN, ..NDR },
        Goal { ceiling: 0.0, ..NDR },
        Goal { loss: 1.0, ..NDR },
        Goal { loss: -0.1, ..NDR },
        Goal { precision: 0.0, ..NDR },
    ] {
        assert_eq!(search(&goal, device(1.0, 1.0)).unwrap_err().kind(), Kind::Usage);
    }
    let gone = |_| Err(Error::new(Kind::Gone, "gone"));
    assert_eq!(search(&NDR, gone).unwrap_err().kind(), Kind::Gone);
}
