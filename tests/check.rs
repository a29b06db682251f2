//! `bmnic check` on emulated cards: all is well on those that are, and each step fails for
//! a reason of its own.

#[path = "common/families.rs"]
mod families;

use serde_json::Value;
use std::process::{Command, Output};

fn check(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).arg("check").args(words).env_remove("BMNIC_STRICT").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The verdict on each step.
fn verdicts(output: &Output) -> Vec<(String, String)> {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let steps = document["result"]["steps"].as_array().unwrap_or_else(|| panic!("{document:#}")).clone();
    let word = |step: &Value, of: &str| step[of].as_str().unwrap().to_owned();
    steps.iter().map(|step| (word(step, "step"), word(step, "verdict"))).collect()
}

#[test]
fn every_card_is_as_it_is_to_be_plain_and_nasty() {
    for card in families::EACH {
        for nasty in ["", ",nasty"] {
            let output = check(&["--json", &format!("emu:{card},strict{nasty}")]);
            let failed: Vec<_> = verdicts(&output).into_iter().filter(|(_, verdict)| verdict == "failed").collect();
            assert_eq!((failed, output.status.code()), (vec![], Some(0)), "{card}{nasty}: {}", text(&output.stdout));
        }
    }
}

#[test]
fn without_a_name_it_is_the_emulated_default_and_says_how_each_step_went() {
    let output = check(&[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("checking emu:82599"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("ok       one packet")), "{said}");
    assert!(said.lines().last().unwrap().ends_with("0 failed, 1 skipped"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
}

#[test]
fn two_cards_on_a_cable_are_checked_as_one() {
    let output = check(&["--json", "emu:82599", "--peer", "emu:x710"]);
    assert!(verdicts(&output).iter().all(|(_, verdict)| verdict != "failed"), "{}", text(&output.stdout));
}

/// Of each step the fault that it is there to find.
#[test]
fn each_step_fails_for_its_own_reason() {
    for (card, step) in [
        ("82599,fault=reset-behind", "counters"),
        ("x2522,fault=denied:0xa0", "spreading"),
        ("82599,corrupt=100%", "every length"),
        ("82599,loss=100%", "one packet"),
        ("82599,loss=20%,seed=3", "a few packets"),
        ("82599,loss=1%", "a ring of packets"),
        ("82599,reorder=5%", "a ring of packets"),
        ("82599,loss=1%,seed=2", "every length"),
        ("82599,link=3600s", "link"),
        ("x710,fault=crash", "open"),
    ] {
        let output = check(&["--json", "--link-wait", "1s", &format!("emu:{card}")]);
        let found = verdicts(&output);
        let verdict = found.iter().find(|(name, _)| name == step).map(|(_, verdict)| verdict.as_str());
        assert_eq!((verdict, output.status.code()), (Some("failed"), Some(1)), "{card}: {found:?}");
    }
}

#[test]
fn a_report_names_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    let output = check(&["emu:cx5,mac=02:ab:cd:ef:12:34", "--report", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = std::fs::read_to_string(&path).unwrap();
    let document: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(document["card"]["driver"], "mlx5");
    assert_eq!(document["result"]["failed"], 0);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for word in ["02:ab:cd", "ab:cd:ef", "abcdef", host.trim()] {
        assert!(!report.to_lowercase().contains(&word.to_lowercase()), "{word}: {report}");
    }
}
