use super::*;

#[test]
fn after_many_waits_in_vain_a_model_is_looked_at_less_often_in_as_long_a_time() {
    let mut replay = Replay::begin(&"82599".parse().unwrap(), &Recording::default()).unwrap();
    let mut wait = || {
        let (begun, mut looks) = (replay.now, 0);
        let found = replay.wait(|_| {
            looks += 1;
            None::<()>
        });
        assert_eq!(found, None);
        (looks, replay.now - begun)
    };
    let first = wait();
    assert_eq!(first.0, PAUSES);
    for _ in 1..VAIN {
        assert_eq!(wait(), first);
    }
    let (looks, time) = wait();
    assert!(looks * 7 < PAUSES, "{looks}");
    assert!(time * 4 > first.1 && time < 4 * first.1, "{time} {}", first.1);
}
