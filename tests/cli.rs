//! The command line as a whole: exit codes, one clear line for bad input, JSON
//! that parses, pipes that close.

#[path = "common/families.rs"]
mod families;

use families::{MODELS, PLAIN, SINGLE};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs bmnic with these words and none of its variables set.
fn bmnic(words: &[&str]) -> Output {
    bmnic_with(&[], words)
}

/// Runs bmnic with these variables and words.
fn bmnic_with(variables: &[(&str, &str)], words: &[&str]) -> Output {
    let mut command = without_variables(env!("CARGO_BIN_EXE_bmnic"));
    command.envs(variables.iter().copied()).args(words).stdin(Stdio::null()).output().unwrap()
}

/// Has the shell run `script`, with bmnic as `$0` and these words as `$@`.
fn shell(script: &str, words: &[&str]) -> Output {
    let mut command = without_variables("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_bmnic")]).args(words).stdin(Stdio::null()).output().unwrap()
}

fn without_variables(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BMNIC_")) {
        command.env_remove(name);
    }
    command
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
        (&["compare-dpdk", "--rounds", "1001"], 2, "1001 is not in"),
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
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["exit"].as_i64(), output.status.code().map(i64::from));
        assert!(document["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{document}");
    }
}

#[test]
fn what_is_printed_in_two_forms_is_refused_wherever_the_options_stand() {
    for words in [
        &["throughput", "--json", "--csv"][..],
        &["--json", "throughput", "--csv"],
        &["throughput", "--markdown", "--json-lines"],
        &["latency", "--plot", "--json"],
        &["--json-lines", "latency", "--plot"],
        &["list", "--json", "--json-lines"],
        &["--json", "list", "--json-lines"],
    ] {
        let output = bmnic(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stdout(&output));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let message = document["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("cannot be used with"), "{words:?}: {message}");
    }
    // What is given wins over a variable that cannot go with it.
    let output = bmnic_with(&[("BMNIC_JSON", "1")], &["throughput", "--csv", "-t", "10ms", "-s", "64"]);
    assert!(stdout(&output).starts_with("device") && stdout(&output).contains("frame,"), "{}", stderr(&output));
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
    for name in ["cable:NAME", "queues="] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let output = bmnic(&["emulate", "--list", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["models"][0]["vendor"], "8086");
    // Those that tests know, and no others.
    let mut listed: Vec<&str> =
        document["models"].as_array().unwrap().iter().filter_map(|model| model["name"].as_str()).collect();
    let mut driven: Vec<String> =
        MODELS.iter().chain(&PLAIN).chain([&SINGLE]).map(|card| format!("emu:{card}")).collect();
    assert!(listed.iter().all(|name| text.contains(name)), "{listed:?} in {text}");
    listed.sort_unstable();
    driven.sort_unstable();
    assert_eq!(listed, driven);
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

#[test]
fn no_reader_that_leaves_is_a_failure_whatever_is_written() {
    for words in [
        &["pktgen", "--print", "-c", "100000"][..],
        &["pktgen", "--write", "-", "-c", "100000"],
        &["pktgen", "--print", "-v", "-c", "100000"],
        &["emulate", "--list"],
        &["completions", "bash"],
    ] {
        // What the pipe takes before the reader has gone differs; whether it is a failure must not.
        let output = shell("{ \"$0\" \"$@\"; echo $? >&3; } 3>&2 | head -c 1 >/dev/null", words);
        let errors = stderr(&output);
        let lines: Vec<&str> = errors.lines().filter(|line| !line.contains("packets written to")).collect();
        assert_eq!(lines, ["0"], "{words:?}");
    }
}

#[test]
fn a_reader_of_a_named_pipe_may_leave_too() {
    let temp = tempfile::tempdir().unwrap();
    let pipe = temp.path().join("pipe");
    let pipe = pipe.to_str().unwrap();
    for words in [&["capture", "-c", "0", "-d", "5s", "-w", pipe][..], &["pktgen", "-c", "100000", "-w", pipe]] {
        let _ = fs::remove_file(pipe);
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        let reader = Command::new("head").args(["-c", "100", pipe]).stdout(Stdio::null()).spawn().unwrap();
        let output = bmnic(words);
        reader.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn a_closed_standard_output_is_a_failure_and_no_file_gets_what_was_meant_for_it() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("x.pcap");
    let shown = file.to_str().unwrap();
    for words in [
        &["list"][..],
        &["list", "--json"],
        &["completions", "bash"],
        &["pktgen", "--print", "-c", "1"],
        &["pktgen", "--write", "-", "-c", "1"],
        &["capture", "-c", "1", "-w", "-"],
        &["pktgen", "--write", shown, "-c", "1"],
    ] {
        let output = shell("exec \"$0\" \"$@\" >&-", words);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(error.contains("standard output is closed"), "{words:?}: {error}");
    }
    // The frame, and not a word of the summary.
    let written = fs::read(Path::new(shown)).unwrap();
    assert_eq!(written.len(), 24 + 16 + 60, "{}", String::from_utf8_lossy(&written));
    // One that leads nowhere was asked for.
    let nowhere = File::options().read(true).write(true).open("/dev/null").unwrap();
    let status = without_variables(env!("CARGO_BIN_EXE_bmnic")).arg("list").stdout(nowhere).status().unwrap();
    assert!(status.success());
}

#[test]
fn words_beat_the_variable_of_a_filter_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("x.pcap");
    let file = file.to_str().unwrap();
    let udp = [("BMNIC_FILTER", "udp")];
    for (words, kept) in [
        (&["capture", "-c", "1", "-i", "emu:82599", file, "ip", "or", "arp"][..], "ip or arp"),
        (&["capture", "-c", "1", "-i", "emu:82599", "-w", file, "ip"], "ip"),
        (&["capture", "-c", "1", "-i", "emu:82599", file], "udp"),
    ] {
        let output = bmnic_with(&udp, &[words, &["--json"]].concat());
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!(document["filter"], kept, "{words:?}: {}", stderr(&output));
    }
    let output = bmnic(&["capture", "-c", "1", "-f", "udp", file, "ip"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("given twice"), "{}", stderr(&output));
}

#[test]
fn a_failure_that_a_variable_makes_names_it_and_is_json_only_if_asked() {
    let output = bmnic_with(&[("BMNIC_RATE", "fast"), ("BMNIC_JSON", "0")], &["pktgen", "-c", "1"]);
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    assert!(error.starts_with("bmnic: invalid value 'fast' for BMNIC_RATE"), "{error}");
    let output = bmnic_with(&[("BMNIC_RATE", "fast"), ("BMNIC_JSON", "yes")], &["pktgen", "-c", "1"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["error"]["message"].as_str().unwrap().contains("BMNIC_RATE"), "{document}");
}

#[test]
fn a_bare_number_of_huge_pages_is_asked_about() {
    let output = bmnic(&["hugepages", "-r", "5", "--dry-run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("for 5 pages of 2 MiB 10M"), "{}", stderr(&output));
}

#[test]
fn a_link_is_waited_for_as_long_as_is_asked() {
    let slow = ["fwd", "emu:82599,link=40s", "emu:82599", "-c", "1", "--link-wait", "200ms"];
    let output = bmnic(&slow);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("no link after 0.2 s"), "{}", stderr(&output));
    // What takes long is said.
    let slow = ["pktgen", "-i", "emu:82599,link=4s", "-c", "1", "--allow-shortfall", "100%"];
    let output = bmnic(&slow);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("waiting for it up to 30s (--link-wait)"), "{}", stderr(&output));
}
