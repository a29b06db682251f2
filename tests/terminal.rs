//! What people see: on a terminal everything is as wide as that, and a bar says how long it takes.

#[path = "common/fake_sysfs.rs"]
mod fake_sysfs;
#[path = "common/terminal.rs"]
mod terminal;

use fake_sysfs::{Card, PORT, Tree};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use terminal::{Run, Terminal};
use unicode_width::UnicodeWidthStr;

fn bmnic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BMNIC_")) {
        command.env_remove(name);
    }
    command.args(words).env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

/// Runs it on a terminal of so many columns.
fn shown(command: &mut Command, columns: u16) -> Run {
    Terminal::start(command, columns).end(columns)
}

/// All lines fit, but for those that are one word.
fn fits(run: &Run, columns: u16, what: &[&str]) {
    for line in &run.lines {
        let one_word = !line.trim().contains(' ');
        assert!(line.width() <= columns.into() || one_word, "{what:?} at {columns} columns: {}: {line}", line.width());
    }
    assert!(run.lines.iter().any(|line| !line.is_empty()), "{what:?} says nothing");
}

const WIDTHS: [u16; 3] = [40, 80, 160];

/// What commands print about emulated cards. Whether a busy machine kept to the rate is not
/// asked.
const COMMANDS: &[&[&str]] = &[
    &["fwd", "-d", "50ms", "--cycles"],
    &["fwd", "-d", "50ms", "-v", "--rxq", "2", "--txq", "2"],
    &["fwd", "-c", "100", "emu:82599,wire=source:pause=on", "emu:x710,wire=sink"],
    &["pktgen", "-c", "1000", "-v"],
    &["pktgen", "-c", "100", "--rate", "10%", "--txq", "2"],
    &["capture", "-c", "100", "/dev/null", "-v"],
    &["latency", "-c", "2000", "-v"],
    &["latency", "-c", "100", "-q"],
    &["latency", "-c", "100", "--size", "64,1518"],
    &["latency", "-c", "100", "--load", "10,50"],
    &["latency", "-c", "50", "--stages"],
    &["latency", "-c", "50", "--tx-path", "all", "emu:x2522"],
    &["throughput", "-t", "10ms"],
    &["throughput", "-t", "10ms", "--sizes", "64", "--runs", "3", "-v"],
    &["throughput", "-t", "10ms", "--sizes", "64", "--runs", "1", "--rfc2544"],
    &["throughput", "-t", "10ms", "--sizes", "64", "--runs", "1", "--ndr", "--pdr", "1%"],
    &["throughput", "-t", "10ms", "--sizes", "64", "--sweep", "batch=1..4"],
    &["check"],
    &["emulate", "--list"],
    &["ctl", "no-such-capture"],
    &["fwd", "emu:82599,wire=rope"],
    &["pktgen", "--no-such-option"],
];

#[test]
fn every_command_fits_the_terminal() {
    for words in COMMANDS {
        // All widths at once: they wait more than they work.
        let runs = WIDTHS.map(|columns| Terminal::start(&mut bmnic(words), columns));
        for (run, columns) in runs.into_iter().zip(WIDTHS) {
            fits(&run.end(columns), columns, words);
        }
    }
}

/// A machine with cards whose facts are long.
fn machine() -> Tree {
    let taken = Card { address: "0000:03:00.1", driver: Some("vfio-pci"), interface: None, group: Some(14), ..PORT };
    Tree::new(&[Card { interface: Some("enp3s0f0np0"), ..PORT }, taken])
}

fn on<'c>(command: &'c mut Command, tree: &Tree) -> &'c mut Command {
    let roots = &tree.roots;
    command
        .env("BMNIC_SYS_ROOT", &roots.sys)
        .env("BMNIC_PROC_ROOT", &roots.proc)
        .env("BMNIC_DEV_ROOT", &roots.dev)
        .env("BMNIC_RUN_ROOT", &roots.run)
        .env_remove("SSH_CONNECTION")
}

#[test]
fn what_is_said_of_a_machine_fits_the_terminal_and_all_of_it_is_there() {
    let tree = machine();
    for words in [&["list"][..], &["list", "-a"], &["bind", "--status"], &["hugepages"], &["hugepages", "--who"]] {
        for columns in WIDTHS {
            let run = shown(on(&mut bmnic(words), &tree), columns);
            fits(&run, columns, words);
            if words[0] != "hugepages" {
                let text = run.lines.join("\n");
                for fact in ["0000:03:00.0", "0000:03:00.1", "ixgbe", "vfio-pci", "enp3s0f0np0", "GROUP", "14"] {
                    assert!(text.contains(fact), "{words:?} at {columns} columns lacks {fact}:\n{text}");
                }
            }
        }
    }
    // What there is more of is used.
    let lines = |columns| shown(on(&mut bmnic(&["list"]), &tree), columns).lines.len();
    assert!(lines(160) < lines(40), "{} and {}", lines(160), lines(40));
}

#[test]
fn a_page_of_the_manual_is_shown_by_man_or_fits_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |columns| shown(bmnic(&["man", "capture"]).env("PATH", folder.path()), columns);
    for columns in WIDTHS {
        let run = shown(columns);
        fits(&run, columns, &["man", "capture"]);
        assert!(run.status.success() && run.lines.starts_with(&["NAME".into()]), "{:?}", run.lines);
    }
    // What is called man in the only folder of PATH.
    let man = |text: &str| {
        let path = folder.path().join("man");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    man("#!/bin/sh\necho man $*; /bin/grep -c bmnic.-capture\n");
    let lines = shown(80).lines;
    assert_eq!(&lines[0], "man -l -");
    assert!(lines[1].parse::<u32>().is_ok_and(|lines| lines > 0), "the page is its input: {lines:?}");
    man("#!/bin/sh\necho this system is minimal >&2; exit 1\n");
    assert_eq!(&shown(80).lines[0], "NAME");

    let roff = bmnic(&["man", "capture", "--roff"]).output().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/bmnic-capture.1");
    assert!(roff.stdout == fs::read(page).unwrap());
    let text = String::from_utf8(bmnic(&["man"]).output().unwrap().stdout).unwrap();
    assert!(text.starts_with("NAME\n    bmnic - ") && !text.contains(['\\', '\x1b']), "{text}");
}

#[test]
fn in_a_pipe_lines_are_whole_and_without_rules() {
    let words = ["throughput", "-t", "10ms", "--sizes", "64", "-v"];
    let output = bmnic(&words).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.len() > 100 && line.ends_with("a packet")), "{text}");
    assert!(!text.contains(['─', '\x1b']), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap().matches("[#").count(), 0);
}

#[test]
fn what_takes_long_has_a_bar_that_is_gone_at_the_end() {
    let runs: &[&[&str]] = &[
        &["pktgen", "-d", "1200ms", "--rate", "1k"],
        &["capture", "-d", "1200ms", "/dev/null"],
        &["latency", "-d", "1200ms", "-r", "1k"],
        &["throughput", "-t", "600ms", "--sizes", "64,128"],
        &["check"],
    ];
    let started: Vec<_> = runs.iter().map(|words| Terminal::start(&mut bmnic(words), 80)).collect();
    for (run, words) in started.into_iter().zip(runs) {
        let run = run.end(80);
        assert!(run.written.contains(" left") && run.written.contains("[#"), "{words:?}: {}", run.written);
        let text = run.lines.join("\n");
        assert!(!text.contains("] ") && !text.contains(" left  "), "{words:?}: {text}");
        fits(&run, 80, words);
    }
}

#[test]
fn nothing_is_drawn_where_it_is_not_wanted_or_cannot_be() {
    let words = ["latency", "-d", "1100ms", "-r", "1k"];
    let with = |words: &[&str]| bmnic(&[&["latency", "-d", "1100ms", "-r", "1k"], words].concat());
    let mut dumb = bmnic(&words);
    dumb.env("TERM", "dumb");
    let mut nameless = bmnic(&words);
    nameless.env_remove("TERM");
    // What a busy machine says of itself at the end may be coloured.
    let commands = [dumb, nameless, with(&["-q", "--color=never"]), with(&["--json", "--color=never"])];
    let runs = commands.map(|mut command| Terminal::start(&mut command, 80));
    for (n, run) in runs.into_iter().enumerate() {
        let run = run.end(80);
        assert!(!run.moved && !run.written.contains('\x1b'), "{n}: {}", run.written);
        if n < 2 {
            assert!(run.written.contains("----") && run.written.is_ascii(), "{n}: {}", run.written);
        }
    }
}

#[test]
fn a_quiet_table_begins_in_the_first_line() {
    for words in [&["latency", "-q", "-c", "100"][..], &["latency", "-q", "-c", "50", "--stages"]] {
        let output = bmnic(words).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("ns"), "{words:?}: {text}");
    }
}

#[test]
fn words_are_coloured_on_a_terminal_unless_that_is_not_wanted() {
    let coloured = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = bmnic(words);
        shown(command.envs(variables.iter().copied()), 80).written.contains("\x1b[1;31m")
    };
    let wrong = ["fwd", "emu:82599,wire=rope"];
    assert!(coloured(&wrong, &[]) && coloured(&wrong, &[("NO_COLOR", "")]));
    assert!(!coloured(&wrong, &[("NO_COLOR", "1")]) && !coloured(&wrong, &[("TERM", "dumb")]));
    assert!(!coloured(&["fwd", "emu:82599,wire=rope", "--color", "never"], &[]));
    assert!(coloured(&["fwd", "emu:82599,wire=rope", "--color=always"], &[("NO_COLOR", "1")]));
    let piped = |words: &[&str]| {
        let output = bmnic(words).stdin(Stdio::null()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap().contains('\x1b')
    };
    assert!(!piped(&wrong) && piped(&["--color", "always", "fwd", "emu:82599,wire=rope"]));
    assert!(!piped(&["--help"]) && piped(&["--help", "--color", "always"]));
    let help = |words: &[&str]| shown(&mut bmnic(words), 80).written.contains('\x1b');
    assert!(help(&["--help"]) && !help(&["fwd", "--help", "--color=never"]));
}
