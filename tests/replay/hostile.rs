//! Traces that say too little, too much or something else than they seem to; and files that
//! cannot be written.

use super::{bmnic, said, traced};
use bmnic::emu::replay::{Replayed, replay};
use bmnic::pci::trace::Recording;
use std::fmt::Write;

/// A trace of an 82599 with these lines.
fn with(lines: &str) -> String {
    let body = format!("bmnic trace 1\ncard 8086:10fb 8086:000c 01\n{lines}");
    format!("{body}end {}\n", body.lines().count())
}

fn asked(lines: &str) -> Replayed {
    replay(&"82599".parse().unwrap(), &Recording::parse("a.trace", &with(lines)).unwrap()).unwrap()
}

fn refused(lines: &str) -> String {
    replay(&"82599".parse().unwrap(), &Recording::parse("a.trace", &with(lines)).unwrap()).unwrap_err().to_string()
}

#[test]
fn a_trace_without_an_answer_is_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.trace");
    // Nothing at all, and a counter, which is read and not compared.
    for lines in ["", "bar 0 80000\nR 0:04074/4 GPRC = 0x1\n"] {
        std::fs::write(&path, with(lines)).unwrap();
        let (code, out, errors) = said(&bmnic(&["emulate", "82599", "--replay", path.to_str().unwrap()]));
        assert!(code == Some(1) && errors.lines().count() == 1 && errors.contains("nothing was compared"), "{errors}");
        assert!(out.contains("0 answers compared"), "{out}");
    }
}

#[test]
fn a_register_that_reading_clears_is_held_against_its_first_answer() {
    let cause =
        |answer: &str| asked(&format!("bar 0 80000\nW 0:00808/4 EICS = 0x100000\nR 0:00800/4 EICR = {answer}\n"));
    assert_eq!(cause("0x100000").differences, []);
    let [difference] = &cause("0x0").differences[..] else { panic!("{:?}", cause("0x0")) };
    assert_eq!((&*difference.name, &*difference.card, &*difference.model), ("EICR", "0x0", "0x100000"));
    // What the driver of the trace read until it was so.
    assert_eq!(
        asked("W 0:00808/4 EICS = 0x100000\nR 0:00800/4 EICR = 0x100000\nR 0:00800/4 EICR = 0x0\n").differences,
        []
    );
}

#[test]
fn nothing_in_a_trace_reaches_the_terminal_but_text() {
    for line in
        ["R 0:00008/4 \u{1b}[31mSTATUS = 0x1", "command 0x1 \u{1b}]0;x\u{7}", "answer X \u{1b}[2J", "answer X \u{9b}2J"]
    {
        let error = Recording::parse("a.trace", &with(&format!("{line}\n"))).unwrap_err().to_string();
        assert!(error.starts_with("a.trace, line 3: ") && !error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn a_trace_has_no_more_memory_than_a_driver_gives() {
    let mut maps = String::new();
    (0..200_000u64).for_each(|n| writeln!(maps, "map {:x} 1000", (n + 1) << 12).unwrap());
    assert!(refused(&maps).contains("pieces of memory"), "{}", refused(&maps));
    let mut stores = "map 1000 100000000\n".to_owned();
    (0..300_000u64).for_each(|n| writeln!(stores, "> {:x} 1", (n + 1) << 12).unwrap());
    assert!(refused(&stores).contains("pages"), "{}", refused(&stores));
}

#[test]
fn a_trace_and_another_file_are_two_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (file, second) = (at("same"), at("same.2"));
    let card = "emu:virtio,wire=source";
    for arguments in [
        &["capture", "-i", card, "-c", "1", "-w", &file, "--trace", &file][..],
        &["check", card, "--report", &file, "--trace", &file],
        &["check", "emu:virtio,wire=peer:a", "--peer", "emu:virtio,wire=peer:a", "--report", &second, "--trace", &file],
        &["pktgen", "-i", &format!("emu:virtio,wire=pcap:{file}"), "-c", "1", "--trace", &file],
    ] {
        let (code, _, errors) = said(&bmnic(arguments));
        assert!(code == Some(2) && errors.lines().count() == 1, "{arguments:?}: {errors}");
        assert!(!std::fs::exists(&second).unwrap(), "{arguments:?}");
    }
}

#[test]
fn a_trace_that_was_not_written_whole_fails_its_command() {
    let (code, _, errors) =
        said(&bmnic(&["pktgen", "-i", "emu:virtio,wire=sink", "-c", "1", "-q", "--trace", "/dev/full"]));
    assert!(code == Some(1) && errors.lines().count() == 1, "{code:?} {errors}");
    assert!(errors.contains("/dev/full") && errors.contains("not whole"), "{errors}");
}

#[test]
fn a_trace_that_is_cut_says_so_in_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.trace");
    let (text, _) = traced("virtio");
    std::fs::write(&path, &text[..text.len() - 30]).unwrap();
    let (code, _, errors) = said(&bmnic(&["emulate", "virtio", "--replay", path.to_str().unwrap()]));
    assert!(code == Some(0) && errors.contains("as if its program was killed"), "{errors}");
    let (_, _, errors) = said(&bmnic(&["emulate", "82599", "--replay", path.to_str().unwrap()]));
    assert!(errors.contains("is of another family than emu:82599"), "{errors}");
}
