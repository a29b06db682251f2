use super::*;
use crate::emu::wire::Random;

const LINE: f64 = 10e6;
const SECOND: Duration = Duration::from_secs(1);
const NDR: Loss = Loss { ratio: 0.0, exceed: 0.5 };
const PDR: Loss = Loss { ratio: 0.005, exceed: 0.5 };

fn goals(goals: &[Loss]) -> Goals {
    Goals { line: LINE, ceiling: 1e9, precision: 0.002, trial: SECOND, sum: 3 * SECOND, goals: goals.to_vec() }
}

/// So many trials of this length, with a loss of this many thousandths.
fn trials(count: usize, seconds: u64, thousandths: u64) -> Vec<Timed> {
    let trial = Trial { asked: 1e6, due: 1_000, sent: 1_000, lost: thousandths, ..Trial::default() };
    vec![Timed { trial, length: Duration::from_secs(seconds) }; count]
}

/// A device that forwards up to `capacity` packets a second, and loses the rest.
fn device(asked: f64, length: Duration, capacity: f64) -> Trial {
    let due = (asked * length.as_secs_f64()) as u64;
    let lost = ((asked - capacity).max(0.0) * length.as_secs_f64()) as u64;
    Trial { asked, due, sent: due, lost, ..Trial::default() }
}

/// RFC 9971, "Example Search": four goals, and trials at one load at six points in time.
#[test]
fn a_load_is_classified_as_the_examples_of_rfc_9971_are() {
    use Class::{Lower, Undecided, Upper};
    let goal = |full, sum, ratio, exceed| (Duration::from_secs(full), Duration::from_secs(sum), Loss { ratio, exceed });
    let goals = [goal(60, 60, 0.0, 0.0), goal(60, 120, 0.0, 0.5), goal(1, 120, 0.005, 0.5), goal(60, 60, 0.005, 0.2)];
    let points = [
        (trials(59, 1, 0), [Undecided; 4]),
        (trials(1, 1, 10), [Upper, Undecided, Undecided, Undecided]),
        (trials(59, 1, 10), [Upper, Undecided, Undecided, Upper]),
        (trials(1, 1, 0), [Upper, Undecided, Lower, Upper]),
        // The RFC prints a lower bound for the last goal, against its own code: 45 s of 105 s
        // are more than 20 %.
        (trials(1, 60, 1), [Upper, Undecided, Lower, Upper]),
    ];
    let mut so_far = Vec::new();
    for (n, (added, classes)) in points.into_iter().enumerate() {
        so_far.extend(added);
        for ((full, sum, goal), class) in goals.iter().zip(classes) {
            assert_eq!(classify(&so_far, *goal, *full, *sum), class, "point {}, {goal:?}", n + 1);
        }
    }
    // Point 6: a long one without loss, and half of 120 s may lose.
    so_far.extend(trials(1, 60, 0));
    assert_eq!(classify(&so_far, goals[1].2, goals[1].0, goals[1].1), Lower);
    let through = |(full, sum, goal): (Duration, Duration, Loss)| conditional(1e6, &so_far, goal, full, sum);
    assert_eq!(goals.map(through)[1..], [1e6, 1e6, 999_000.0], "and what comes through");
}

#[test]
fn conditional_throughput_is_that_of_the_worst_trial_the_goal_allows() {
    let sum = 4 * SECOND;
    let all = [trials(2, 1, 2), trials(1, 1, 0), trials(1, 1, 300)].concat();
    // Half of the time is 2 s: the trials of 0 and of 0.2 %.
    assert_eq!(conditional(1e6, &all, PDR, SECOND, sum), 998_000.0);
    let none = Loss { exceed: 0.0, ..PDR };
    assert_eq!(conditional(1e6, &all, none, SECOND, sum), 700_000.0);
    assert_eq!(conditional(1e6, &all[..1], PDR, SECOND, sum), 0.0, "too little is known");
}

#[test]
fn both_goals_are_found_to_the_precision_and_share_their_trials() {
    for capacity in [123_456.0, 1e6, 5e6, 9.8e6] {
        let both = search_goals(&goals(&[NDR, PDR]), |rate, length| Ok(Some(device(rate, length, capacity)))).unwrap();
        let width = 0.002 * LINE + 1.0;
        for (reached, right) in both.reached.iter().zip([capacity, capacity / 0.995]) {
            let rate = reached.found.rate().unwrap();
            assert!(rate <= right + 20.0 && rate > right - width, "{rate} and not {right}");
            let Bound::Device(above) = reached.found.bound else { panic!("{:?}", reached.found.bound) };
            assert!(above > right && above - rate <= width, "{above} above {right}");
            let conditional = reached.conditional.unwrap();
            assert!(conditional <= capacity + 20.0 && conditional > capacity - width, "{conditional} of {capacity}");
            assert_eq!(reached.found.best, reached.best.map(|at| both.trials[at].trial));
        }
        let alone = |goal| {
            let found = search_goals(&goals(&[goal]), |rate, length| Ok(Some(device(rate, length, capacity))));
            found.unwrap().trials.len()
        };
        let apart = alone(NDR) + alone(PDR);
        assert!(both.trials.len() < apart, "{} trials of both, {apart} apart", both.trials.len());
        let short = both.trials.iter().position(|timed| timed.length == SECOND).unwrap();
        assert!(short > 4 && both.trials[..short].iter().all(|timed| timed.length < SECOND), "short ones first");
    }
}

#[test]
fn a_device_that_keeps_up_is_done_at_once_and_the_result_says_whose_limit_it_is() {
    for (ceiling, bound) in [(1e9, Bound::Line), (5e6, Bound::Tester)] {
        let goals = Goals { ceiling, ..goals(&[NDR, PDR]) };
        let found = search_goals(&goals, |rate, length| Ok(Some(device(rate, length, 1e9)))).unwrap();
        assert!(found.reached.iter().all(|reached| reached.found.bound == bound), "{:?}", found.reached);
        // One short trial, and full ones for more than half of the sum.
        assert_eq!(found.trials.len(), 3);
    }
}

#[test]
fn what_passes_only_in_short_trials_is_found_out_by_full_ones() {
    // A buffer of 200 000 packets hides the loss of the short trials.
    let buffered = |rate: f64, length: Duration| {
        let trial = device(rate, length, 2e6);
        Ok(Some(Trial { lost: trial.lost.saturating_sub(200_000), ..trial }))
    };
    let found = search_goals(&goals(&[NDR, PDR]), buffered).unwrap();
    let rate = found.reached[0].found.rate().unwrap();
    assert!((2.17e6..=2.21e6).contains(&rate), "{rate}");
    assert!(found.reached[0].found.is_conclusive());
}

#[test]
fn a_device_that_loses_at_any_rate_has_no_non_drop_rate_but_a_partial_one() {
    let lossy = |rate: f64, length: Duration| {
        let trial = device(rate, length, 4e6);
        Ok(Some(Trial { lost: trial.lost + 1 + trial.sent / 1_000, ..trial }))
    };
    let found = search_goals(&goals(&[NDR, PDR]), lossy).unwrap();
    assert!(!found.reached[0].found.is_conclusive() && found.reached[0].found.best.is_none());
    assert!(matches!(found.reached[0].found.bound, Bound::Device(rate) if rate <= 0.002 * LINE));
    let rate = found.reached[1].found.rate().unwrap();
    assert!((3.99e6..4.02e6).contains(&rate), "{rate}");
}

#[test]
fn a_noisy_device_gives_a_rate_that_half_of_the_trials_bear_out() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        // Its capacity differs from trial to trial, by up to 10 %.
        let noisy = |rate, length| Ok(Some(device(rate, length, 4e6 + random.below(400_000) as f64)));
        let found = search_goals(&Goals { sum: 9 * SECOND, ..goals(&[NDR, PDR]) }, noisy).unwrap();
        for reached in found.reached.iter().filter(|reached| reached.found.is_conclusive()) {
            let rate = reached.found.rate().unwrap();
            assert!((3.99e6..=4.43e6).contains(&rate), "seed {seed}: {rate}");
        }
    }
}

#[test]
fn a_disturbed_tester_finds_the_same_or_says_that_it_did_not() {
    const CAPACITY: f64 = 2e6;
    let mut ended = 0;
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let disturbed = |rate: f64, length: Duration| {
            let mut trial = device(rate, length, CAPACITY);
            if random.below(3) == 0 {
                trial.held_up = length.mul_f64(random.below(100) as f64 / 2_000.0);
                let held = (trial.held_up.as_secs_f64() * rate) as u64;
                let skipped = random.below(held + 1);
                trial.sent -= skipped;
                trial.lost = (trial.lost + random.below(held - skipped + 1)).min(trial.sent);
            }
            Ok(Some(trial))
        };
        let found = search_goals(&goals(&[NDR, PDR]), disturbed).unwrap();
        for (reached, right) in found.reached.iter().zip([CAPACITY, CAPACITY / 0.995]) {
            if reached.found.is_conclusive() {
                ended += 1;
                let rate = reached.found.rate().unwrap();
                let least = right * (1.0 - super::super::TOLERANCE) - 0.002 * LINE;
                assert!(rate <= right + 1.0 && rate >= least, "seed {seed}: {rate} and not {right}");
            }
        }
    }
    assert!(ended >= 80, "{ended} of 100 came to an end");
}

#[test]
fn a_load_that_stays_unclear_is_no_result_and_a_stop_is_none_either() {
    let unclear = |rate: f64, length: Duration| {
        let trial = device(rate, length, 1e9);
        Ok(Some(if rate > 1e6 { Trial { lost: 1, missed: 1, ..trial } } else { trial }))
    };
    let found = search_goals(&goals(&[NDR, PDR]), unclear).unwrap();
    assert!(!found.reached[0].found.is_conclusive());
    assert!(matches!(found.reached[0].found.bound, Bound::Unclear(rate, Why::OwnLoss) if rate > 1e6 && rate < 1.1e6));
    assert_eq!(found.reached[1].found.bound, Bound::Line, "so little may be lost there");
    let mut left = 5;
    let stopped = search_goals(&goals(&[NDR, PDR]), |rate, length| {
        left -= 1;
        Ok((left >= 0).then(|| device(rate, length, 3e6)))
    });
    let stopped = stopped.unwrap();
    assert!(stopped.reached.iter().all(|reached| matches!(reached.found.bound, Bound::Stopped(_))));
    assert!(stopped.reached.iter().all(|reached| !reached.found.is_conclusive()) && stopped.trials.len() == 5);
}

#[test]
fn goals_that_make_no_sense_are_refused() {
    let base = goals(&[NDR]);
    for bad in [
        Goals { goals: vec![], ..base.clone() },
        Goals { goals: vec![Loss { ratio: 1.0, ..NDR }], ..base.clone() },
        Goals { goals: vec![Loss { exceed: 1.0, ..NDR }], ..base.clone() },
        Goals { sum: SECOND / 2, ..base.clone() },
        Goals { trial: Duration::ZERO, ..base.clone() },
        Goals { line: 0.0, ..base.clone() },
        Goals { precision: 0.0, ..base },
    ] {
        assert_eq!(search_goals(&bad, |_, _| Ok(None)).unwrap_err().kind(), Kind::Usage, "{bad:?}");
    }
}
