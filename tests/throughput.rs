//! `bmnic throughput` as a user runs it, on emulated cards.

#[path = "common/models.rs"]
mod models;

use models::MODELS;
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

/// Each run keeps two processors busy: one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn throughput(args: &[&str]) -> Output {
    let _alone = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Command::new(env!("CARGO_BIN_EXE_bmnic")).arg("throughput").args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs it with `--json`, on models that forgive nothing; it must succeed.
fn json(args: &[&str]) -> Value {
    let run = throughput(&[args, &["--json", "--strict"]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn the_table_has_a_row_for_each_size_and_says_what_was_measured() {
    let run = throughput(&["-t", "50ms"]);
    let out = text(&run.stdout);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(out.lines().next().unwrap().contains("emu:82599"), "{out}");
    assert!(out.contains("time on its wire is modelled"), "{out}");
    for size in ["64", "128", "256", "512", "1024", "1280", "1518", "imix"] {
        assert!(out.lines().any(|line| line.split_whitespace().next() == Some(size)), "no {size} in:\n{out}");
    }
}

#[test]
fn no_rate_is_above_that_of_the_line_and_nothing_is_counted_twice() {
    let document = json(&["-t", "100ms", "-s", "64,512,1518,imix"]);
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let (share, sent) = (row["of_line_rate"].as_f64().unwrap(), row["sent"].as_u64().unwrap());
        assert!(share > 0.0 && share <= 1.0, "{row}");
        assert_eq!(row["received"].as_u64().unwrap() + row["lost"].as_u64().unwrap(), sent);
        assert!(row["l1_bits_per_second"].as_f64().unwrap() <= 10e9, "{row}");
        assert!(row["rx_cycles"].as_f64().unwrap() > 0.0 && row["tx_cycles"].as_f64().unwrap() > 0.0, "{row}");
        assert!((1.0..=32.0).contains(&row["rx_batch"].as_f64().unwrap()), "{row}");
    }
    assert_eq!(rows[0]["line_rate_pps"].as_f64().unwrap().round(), 14_880_952.0);
    assert_eq!(document["devices"][0]["kind"], "emulated");
}

#[test]
fn two_ports_joined_by_a_cable_pass_packets_one_way() {
    for card in MODELS.iter().map(|model| format!("emu:{model}")) {
        let document = json(&[&card, &card, "-t", "50ms", "-s", "64"]);
        assert!(document["rows"][0]["received"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_search_shows_its_trials_and_keeps_to_the_loss_allowed() {
    let document = json(&["emu:82599,loss=1%,seed=5", "--pdr", "5%", "--precision", "10%", "-t", "20ms", "-s", "1518"]);
    let row = &document["rows"][0];
    let trials = row["trials"].as_array().unwrap();
    assert!(!trials.is_empty());
    assert!(row["pps"].as_f64().unwrap() > 0.0, "{row}");
    let (sent, lost) = (row["sent"].as_f64().unwrap(), row["lost"].as_f64().unwrap());
    assert!(lost > 0.0 && lost <= 0.05 * sent, "{row}");

    let document = json(&["emu:82599,loss=5%,seed=5", "--ndr", "--precision", "25%", "-t", "20ms", "-s", "1518"]);
    assert_eq!(document["rows"][0]["pps"], 0.0, "a wire that always loses has no non-drop rate");
}

#[test]
fn comma_separated_values_have_a_head_and_a_row_each() {
    let run = throughput(&["-t", "20ms", "-s", "64,1518", "--csv", "-q"]);
    assert!(run.status.success());
    let out = text(&run.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("frame,mpps,l1_gbit_per_second,percent_of_line"));
    assert!(lines.iter().all(|line| line.split(',').count() == lines[0].split(',').count()), "{out}");
}

#[test]
fn nothing_that_comes_back_is_an_error_with_a_likely_cause() {
    let run = throughput(&["emu:82599,wire=sink", "-t", "20ms", "-s", "64"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run.stderr).contains("none came back; does its wire lead back to it?"), "{}", text(&run.stderr));
}

#[test]
fn nonsense_is_refused() {
    for args in [
        &["-s", "63"][..],
        &["-s", "64,,128"],
        &["--batch", "65"],
        &["--rxd", "100"],
        &["--ndr", "--pdr", "1%"],
        &["--pdr", "100%"],
        &["-t", "soon"],
    ] {
        let run = throughput(args);
        assert_eq!(run.status.code(), Some(2), "{args:?}: {}", text(&run.stderr));
        assert!(run.stdout.is_empty());
    }
}
