//! `bmnic pktgen --respond`: who asks for an address that packets come from gets an answer, while
//! they are sent, on cards of each family that has two queues.

#[path = "common/families.rs"]
mod families;
#[path = "common/schema.rs"]
mod schema;

use bmnic::packet::build::{Builder, Proto, Recipe};
use bmnic::packet::parse::parse;
use bmnic::pcap::read::Recording;
use bmnic::pcap::record::{Format, Record};
use bmnic::pcap::section::Section;
use families::EACH;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).arg("pktgen").args(words).stdin(Stdio::null()).output().unwrap()
}

fn json(words: &[&str]) -> Value {
    let output = run(&[&["--strict", "--allow-shortfall", "100%", "--json"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    schema::document(&output.stdout)
}

/// A file of 30 ARP requests and 20 pings to 198.18.0.1, and 10 of each to another, 1 ms apart.
fn asks(path: &Path) {
    let mut bytes = Vec::new();
    Format::Pcap.header(&mut bytes, 65_535, &Section::default());
    let mut time = 0;
    for (proto, to, count) in [
        (Proto::Arp, "198.18.0.1", 30),
        (Proto::Icmp, "198.18.0.1", 20),
        (Proto::Arp, "198.18.0.2", 10),
        (Proto::Icmp, "198.18.0.2", 10),
    ] {
        let addresses = (Some("198.19.0.1".parse().unwrap()), Some(to.parse().unwrap()));
        let recipe = Recipe { proto, source: addresses.0, destination: addresses.1, ..Recipe::default() };
        let mut builder = Builder::new(&recipe).unwrap();
        for _ in 0..count {
            let mut frame = vec![0; builder.next_len()];
            builder.write(&mut frame, 0);
            time += 1_000_000;
            Format::Pcap.put(&mut bytes, &Record { interface: 0, time, wire_len: frame.len(), parts: &[&frame] });
        }
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn who_asks_is_answered_and_each_answer_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (asked, sent) = (dir.path().join("asked.pcap"), dir.path().join("sent.pcap"));
    asks(&asked);
    for model in EACH.iter().filter(|model| model.queues[1] >= 2) {
        let wire = format!("pcap:{}:out={}", asked.to_str().unwrap(), sent.to_str().unwrap());
        let card = format!("emu:{model},link=1ms,wire={wire}");
        for (words, beside) in [(&["--respond=only"][..], false), (&["--respond", "-r", "2k", "--proto", "tcp"], true)]
        {
            let document = json(&[&["-i", &card, "-d", "400ms"], words].concat());
            let answered = &document["answered"];
            assert_eq!(
                (&answered["arp"], &answered["ping"]),
                (&30.into(), &20.into()),
                "{model} {words:?}: {document}"
            );
            assert_eq!((&answered["others"], &answered["no_room"]), (&20.into(), &0.into()), "{model}: {document}");
            assert_eq!(document["sent"], document["counted_by_card"], "{model} {words:?}");
            assert_eq!(document["sent"].as_u64().unwrap() > 0, beside);
            let recording = Recording::open(&sent).unwrap();
            let lines: Vec<String> =
                recording.packets().map(|packet| parse(packet.bytes).unwrap().to_string()).collect();
            let told = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
            assert_eq!((told("arp 198.18.0.1 is here"), told("198.18.0.1 > 198.19.0.1 icmp")), (30, 20), "{model}");
            assert_eq!(told(" tcp") as u64, document["sent"].as_u64().unwrap(), "{model}");
        }
    }
}

#[test]
fn it_ends_with_what_is_sent_beside_or_after_so_many_answers() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked.pcap");
    asks(&asked);
    let card = format!("emu:82599,link=1ms,wire=pcap:{}", asked.to_str().unwrap());
    assert_eq!(json(&["-i", &card, "-c", "10", "--respond"])["sent"], 10);
    let document = json(&["-i", &card, "-c", "40", "-d", "60s", "--respond=only"]);
    assert_eq!((&document["answered"]["arp"], &document["answered"]["ping"]), (&30.into(), &10.into()), "{document}");
}

#[test]
fn without_respond_nobody_is_answered_and_a_recording_has_no_addresses() {
    let document = json(&["-i", "emu:82599,link=1ms", "-c", "10"]);
    assert_eq!(document["answered"], Value::Null);
    for words in [&["--pcap", "x", "--respond"][..], &["--respond=never"], &["--respond", "--print"]] {
        assert_eq!(run(words).status.code(), Some(2), "{words:?}");
    }
    let refused = run(&["--respond=only", "--rate", "1k"]);
    assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("leave --rate out"));
    let output = run(&["-i", "emu:82599,link=1ms", "-c", "10", "--respond"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("answered  0 of ARP, 0 neighbour discovery, 0 pings"), "{said}");
}
