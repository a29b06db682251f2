//! `bmnic demo` as a program: all that was sent is forwarded, captured, or lost by name.

#[path = "common/capture.rs"]
mod capture;
#[path = "common/families.rs"]
mod families;
#[path = "common/schema.rs"]
mod schema;

use capture::{bmnic, count, text};
use families::EACH;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// All that `document` counts adds up.
fn adds_up(document: &serde_json::Value) {
    let lost = count(document, "/lost/total");
    assert_eq!(count(document, "/lost/unaccounted"), 0, "{document}");
    assert_eq!(count(document, "/sent"), count(document, "/captured") + lost, "{document}");
    assert_eq!(count(document, "/latency/samples"), count(document, "/captured"));
}

#[test]
fn every_family_shows_all_of_it_and_loses_nothing() {
    for model in EACH {
        let card = format!("emu:{model}");
        let output = bmnic(&["demo", &card, "-d", "100ms", "--json", "--strict"]).output().unwrap();
        assert!(output.status.success(), "{card}: {}{}", text(&output.stderr), text(&output.stdout));
        let document = schema::document(&output.stdout);
        adds_up(&document);
        let sent = count(&document, "/sent");
        let way = ["/forwarded/received", "/forwarded/sent", "/captured"].map(|field| count(&document, field));
        assert!(sent > 100 && way == [sent; 3], "{card}: {document}");
        assert_eq!(["/out_of_order", "/again", "/foreign"].map(|field| count(&document, field)), [0; 3]);
        assert_eq!(document["packet"], "IP 198.18.0.1.7 > 198.19.0.1.7: UDP, length 18");
    }
}

#[test]
fn what_a_wire_loses_is_named_and_ends_it_with_3() {
    let output = bmnic(&["demo", "emu:82599,loss=5%,seed=7", "-d", "200ms", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let document = schema::document(&output.stdout);
    assert!(count(&document, "/lost/total") > 0, "{document}");
    adds_up(&document);
    assert!(text(&output.stderr).contains("packets were captured"), "{}", text(&output.stderr));
}

#[test]
fn it_is_all_shown_and_no_file_is_left_unless_one_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let within = |words: &[&str]| bmnic(words).current_dir(dir.path()).output().unwrap();
    let output = within(&["demo", "-d", "300ms"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for part in [
        "device    4 x emu:82599",
        "packet    the first of ",
        "\n\t0x0000:  4500 002e",
        "pktgen    ",
        "fwd       ",
        "latency   p50 ",
        "next      ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    let output = within(&["demo", "emu:x710", "-d", "200ms", "-w", "demo.pcap", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = schema::document(&output.stdout);
    let recording = bmnic::pcap::read::Recording::open(&dir.path().join("demo.pcap")).unwrap();
    assert_eq!([recording.len() as u64; 2], [count(&document, "/captured"), count(&document, "/file_packets")]);
}

#[test]
fn what_makes_no_sense_is_one_line() {
    for (words, code, part) in [
        (&["demo", "eth0"][..], 2, "'eth0' is no emulated card"),
        (&["demo", "emu:nothing"], 2, "nothing"),
        (&["demo", "emu:82599,wire=loop"], 2, "leave wire= out"),
        (&["demo", "-d", "0"], 2, "in no time"),
        (&["demo", "-w", "-"], 2, "name a file"),
        (&["demo", "-w", "/nonexistent/x.pcap"], 1, "/nonexistent/x.pcap"),
        (&["demo", "-w", "/dev/full", "-d", "100ms"], 1, "No space left"),
    ] {
        let output = bmnic(words).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(part), "{words:?}: {:?} {said}", output.status);
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    }
}

#[test]
fn what_is_said_to_try_next_is_understood() {
    let said = text(&bmnic(&["demo", "-d", "50ms"]).output().unwrap().stdout);
    let next = said.lines().skip_while(|line| !line.starts_with("next"));
    let mut tried = 0;
    for line in next {
        let command = line[10..].split("  ").next().unwrap();
        let words: Vec<&str> = command.split_whitespace().skip_while(|word| *word == "sudo").skip(1).collect();
        let output = bmnic(&[&words[..], &["--help"]].concat()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        tried += 1;
    }
    assert!(tried > 2, "{said}");
}

#[test]
fn a_signal_ends_it_also_where_packets_were_lost() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("demo.pcap");
    let begun = Instant::now();
    let card = ["demo", "emu:82599,loss=5%", "-d", "10m", "-w", file.to_str().unwrap(), "--json"];
    let mut demo = bmnic(&card).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It runs when packets are in the file.
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < 10_000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was captured");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    let mut said = Vec::new();
    demo.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    demo.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    adds_up(&schema::document(&said));
}
