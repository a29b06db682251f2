//! The command line as a whole: exit codes, one clear line for bad input, JSON
//! that parses, pipes that close.

use std::process::{Command, Output, Stdio};

/// Runs bmnic with these words and none of its variables set.
fn bmnic(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BMNIC_")) {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn bad_input_is_one_clear_line_and_a_stable_exit_code() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["fwd", "0000:ff:1f.7"], 1, "no such PCI device"),
        (&["fwd", "nosuchif0"], 1, "neither a PCI address"),
        (&["fwd", "emu:nosuchcard"], 2, "there is no card"),
        (&["fwd", "emu:82599,wire=rope"], 2, "there is no wire"),
        (&["fwd", "emu:82599,bogus"], 2, "there is no option"),
        (&["fwd", "--mode", "sideways"], 2, "macswap"),
        (&["fwd", "--rxd", "1000"], 2, "power of two"),
        (&["fwd", "--batch", "65"], 2, "64"),
        (&["fwd", "-d", "soon"], 2, "500ms"),
        (&["fwd", "-c", "-1"], 2, "-1"),
        (&["fwd", "--eth-peer", "1:2:3"], 2, "02:00:00:00:00:01"),
        (&["fwd", "--no-such-option"], 2, "--no-such-option"),
        (&["forward"], 2, "forward"),
        (&["completions", "tcsh"], 2, "bash"),
        (&["compare-dpdk", "--nic", "mlx4"], 2, "x710"),
        (&["compare-dpdk", "--batch", "32,65"], 2, "65"),
        (&["compare-dpdk", "--rounds", "0"], 2, "0 is not in"),
    ];
    for (words, code, says) in cases {
        let output = bmnic(words);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(*code), "{words:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{words:?}: {error}");
        assert!(error.starts_with("bmnic: ") && error.contains(says), "{words:?}: {error}");
        assert_eq!(stdout(&output), "", "{words:?}");
    }
}

#[test]
fn with_json_a_failure_is_a_document_too() {
    for words in [&["--json", "fwd", "nosuchif0"][..], &["fwd", "--json", "--batch", "0"]] {
        let output = bmnic(words);
        let document: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(document["exit"].as_i64(), output.status.code().map(i64::from));
        assert!(document["error"].as_str().is_some_and(|text| !text.is_empty()), "{document}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for words in [&["--help"][..], &["--version"], &["fwd", "-h"], &["help", "fwd"]] {
        let output = bmnic(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(!stdout(&output).is_empty() && stderr(&output).is_empty(), "{words:?}");
    }
    assert!(stdout(&bmnic(&["--help"])).contains("Exit codes"));
    assert_eq!(bmnic(&[]).status.code(), Some(2));
}

#[test]
fn every_document_names_its_command_and_its_machine_and_every_card_its_kind() {
    let cases: &[&[&str]] = &[
        &["list"],
        &["bind", "--status"],
        &["hugepages"],
        &["hugepages", "--who"],
        &["emulate", "--list"],
        &["pktgen", "-c", "1"],
        &["latency", "-c", "1"],
    ];
    for words in cases {
        let output = bmnic(&[words, &["--json"][..]].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["command"], words[0]);
        assert!(document["machine"]["cores"].as_u64() > Some(0), "{words:?}: {document}");
        for list in ["devices", "models"] {
            for card in document[list].as_array().into_iter().flatten() {
                assert!(card["kind"].is_string(), "{words:?}: {card}");
            }
        }
    }
}

#[test]
fn the_emulated_cards_are_listed_for_people_and_for_programs() {
    let text = stdout(&bmnic(&["emulate", "--list"]));
    for name in ["emu:82599", "emu:x540", "emu:x550", "cable:NAME", "queues="] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let output = bmnic(&["emulate", "--list", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["models"][0]["vendor"], "8086");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bmnic = env!("CARGO_BIN_EXE_bmnic");
    for words in ["emulate --list", "completions zsh", "fwd --help"] {
        let line = format!("{bmnic} {words} | true; exit ${{PIPESTATUS[0]}}");
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{words}");
    }
}

#[test]
fn a_full_disk_is_a_failure_and_not_a_panic() {
    let bmnic = env!("CARGO_BIN_EXE_bmnic");
    for words in ["emulate --list", "completions bash"] {
        let output = Command::new("sh").args(["-c", &format!("{bmnic} {words} >/dev/full")]).output().unwrap();
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words}: {error}");
        assert!(error.contains("No space left"), "{words}: {error}");
    }
}
