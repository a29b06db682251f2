use super::*;
use std::fs;

fn document(rows: Value) -> Value {
    json!({
        "schema": SCHEMA,
        "command": "throughput",
        "machine": { "cpu": "A", "cores": 2, "kernel": "6.1", "governor": null },
        "devices": [{ "kind": "emulated", "model": "Intel 82599" }],
        "batch": 32, "trial_ns": 1_000_000_000, "method": "flood",
        "rows": rows,
    })
}

fn rate(frame: &str, pps: f64, spread: [f64; 2]) -> Value {
    json!({ "frame": frame, "batch": 32, "goal": null, "pps": pps, "pps_min": spread[0], "pps_max": spread[1] })
}

fn compare(then: Value, now: Value) -> Comparison {
    Baseline { name: "base.json".into(), place: None, document: document(then), tolerance: 0.05 }
        .compare(&document(now))
}

#[test]
fn a_figure_is_worse_beyond_the_tolerance_and_the_spread() {
    let then = json!([rate("64", 10e6, [9.9e6, 10.1e6])]);
    for (pps, spread, verdict) in [
        (10e6, [10e6, 10e6], Verdict::Same),
        (9.6e6, [9.6e6, 9.6e6], Verdict::Same),
        (9.4e6, [9.3e6, 9.5e6], Verdict::Worse),
        (9.4e6, [9.0e6, 9.95e6], Verdict::WithinSpread),
        (11e6, [10.9e6, 11.1e6], Verdict::Better),
        (11e6, [10.0e6, 11.1e6], Verdict::Same),
    ] {
        let found = compare(then.clone(), json!([rate("64", pps, spread)]));
        assert_eq!(found.lines[0].verdict, verdict, "{pps} {spread:?}");
        assert_eq!(found.judge().is_err(), verdict == Verdict::Worse);
        assert!((found.json()["rows"][0]["ratio"].as_f64().unwrap() - pps / 10e6).abs() < 1e-9);
    }
    let error = compare(then, json!([rate("64", 8e6, [8e6, 8e6])])).judge().unwrap_err();
    assert_eq!(error.kind(), Kind::Limit);
    assert!(error.to_string().contains("64 rate (-20.0 %)"), "{error}");
}

#[test]
fn a_baseline_is_a_document_of_this_version_and_its_texts_cannot_steer_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.json");
    let open = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        Earlier { baseline: Some(path.clone()), tolerance: 0.05 }.open()
    };
    let mut then = document(json!([rate("6\u{1b}[2J4", 0.0, [0.0, 0.0])]));
    let refused = |then: &[u8]| open(then).err().unwrap();
    for text in [&b""[..], b"{", b"[1]", b"{\"rows\": NaN}", b"\xff\xfe", b"{\"command\": \"latency\", \"rows\": []}"] {
        let error = refused(text);
        assert!(error.kind() == Kind::Usage && error.to_string().contains("is no document"), "{error}");
    }
    then["schema"] = Value::Null;
    assert!(refused(then.to_string().as_bytes()).to_string().contains("its schema is none, and"));
    then["schema"] = json!("bmnic/\u{1b}2");
    let error = refused(then.to_string().as_bytes()).to_string();
    assert!(error.contains("its schema is bmnic/\u{fffd}2, and this program reads bmnic/1"), "{error}");
    then["schema"] = json!(SCHEMA);
    let found = open(then.to_string().as_bytes()).unwrap().unwrap();
    let found = found.compare(&document(json!([rate("6\u{fffd}[2J4", 1e6, [1e6, 1e6])])));
    assert_eq!(found.notes, ["6\u{fffd}[2J4: the baseline's rate is not above 0, so it was not compared"]);
    assert_eq!(found.judge().unwrap_err().kind(), Kind::Limit, "nothing was compared");
}

#[test]
fn more_latency_is_worse_and_shorter_bursts_are() {
    let row = |p99: u64, frames: f64| {
        json!({ "frame": "64", "batch": 32, "goal": "ndr", "pps": 1e6, "latency": { "p50_ns": 1_000, "p99_ns": p99 },
            "back_to_back": { "frames": frames, "frames_min": frames, "frames_max": frames } })
    };
    let found = compare(json!([row(2_000, 100.0)]), json!([row(3_000, 90.0)]));
    let verdicts: Vec<Verdict> = found.lines.iter().map(|line| line.verdict).collect();
    assert_eq!(verdicts, [Verdict::Same, Verdict::Same, Verdict::Worse, Verdict::Worse]);
    let error = found.judge().unwrap_err().to_string();
    assert!(error.contains("64 latency p99 (50.0 %), 64 burst (-10.0 %)"), "{error}");
}

#[test]
fn what_is_not_alike_or_not_in_both_is_said() {
    let then = json!([rate("64", 1e6, [1e6, 1e6]), rate("128", 1e6, [1e6, 1e6]), rate("256", 1e6, [1e6, 1e6])]);
    let mut now = document(
        json!([rate("64", 1e6, [1e6, 1e6]), rate("512", 1e6, [1e6, 1e6]), { "frame": "256", "batch": 32, "pps": null }]),
    );
    now["devices"][0]["model"] = json!("Intel X710");
    now["machine"]["cpu"] = json!("B");
    let baseline = Baseline { name: "b".into(), place: None, document: document(then), tolerance: 0.05 };
    let found = baseline.compare(&now);
    assert_eq!(
        found.notes,
        [
            "the baseline is of another card: emulated Intel 82599, not emulated Intel X710",
            "the baseline is of another machine: A, not B",
            "512 is not in the baseline",
            "128 of the baseline was not measured",
            "256: the baseline has a rate, and this run has none",
        ]
    );
    assert!(found.judge().is_ok(), "64 is the same");
    let nothing = compare(json!([]), json!([rate("64", 1e6, [1e6, 1e6])]));
    assert_eq!(nothing.judge().unwrap_err().kind(), Kind::Limit, "no comparison is no success");
    let goal = |goal: &str| json!({ "frame": "64", "batch": 32, "goal": goal, "pps": 1e6 });
    let unlike = compare(json!([goal("ndr")]), json!([goal("pdr 0.5%")]));
    assert!(unlike.lines.is_empty() && unlike.notes.len() == 2, "{:?}", unlike.notes);
}

#[test]
fn a_file_that_is_no_document_of_this_command_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("base.json");
    let wanted = Earlier { baseline: Some(path.clone()), tolerance: 0.05 };
    assert!(wanted.open().is_err(), "it is not there");
    for text in ["", "{", "[]", "{\"command\": \"latency\", \"rows\": []}", "{\"command\": \"throughput\"}"] {
        fs::write(&path, text).unwrap();
        assert_eq!(wanted.open().err().unwrap().kind(), Kind::Usage, "{text}");
    }
    fs::write(&path, document(json!([])).to_string()).unwrap();
    assert!(wanted.open().unwrap().is_some());
}
