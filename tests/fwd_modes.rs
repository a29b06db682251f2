//! What the modes of `bmnic fwd` do to frames, and what a filter leaves out, on every card: by
//! what is on the wire, to the byte, and by what the run says of it.

#[path = "common/families.rs"]
mod families;
#[path = "common/forward.rs"]
mod forward;
#[path = "common/schema.rs"]
mod schema;

use bmnic::net::{MacAddr, Sum};
use bmnic::packet::build::{Builder, Proto, Recipe, trailer};
use bmnic::packet::parse::parse;
use bmnic::packet::{Filter, turn};
use families::EACH;
use forward::{bmnic, frames, number, run, write};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// A played file, and what the card that plays it wrote.
struct Wires(TempDir);

impl Wires {
    fn new(played: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("in.pcap"), played);
        write(&dir.path().join("none.pcap"), &[]);
        Wires(dir)
    }

    fn card(&self, model: &str, file: &str) -> String {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let (played, out) = (path(&format!("{file}.pcap")), path(&format!("{file}-out.pcap")));
        format!("emu:{model},wire=pcap:{played}:out={out}")
    }

    /// What was sent by the card that plays `file`.
    fn sent(&self, file: &str) -> Vec<Vec<u8>> {
        frames(Path::new(&self.0.path().join(format!("{file}-out.pcap"))))
    }
}

fn frame(proto: Proto, size: &str, dport: &str) -> Vec<u8> {
    let recipe =
        Recipe { proto, sizes: size.parse().unwrap(), destination_port: dport.parse().unwrap(), ..Recipe::default() };
    let mut builder = Builder::new(&recipe).unwrap();
    let mut frame = vec![0; builder.next_len()];
    builder.write(&mut frame, 0);
    frame
}

/// Datagrams to ports 1 to 5 in turn, some of them longer than a buffer, and the other kinds:
/// no more than every ring holds, however late its reader is.
fn mixture() -> Vec<Vec<u8>> {
    let frame = |n: usize| match n % 7 {
        0 => frame(Proto::Arp, "64", "1"),
        1 => frame(Proto::Icmp, "100", "1"),
        2 => frame(Proto::Tcp, "100", "3"),
        _ => frame(Proto::Udp, if n.is_multiple_of(10) { "5000" } else { "64" }, &(n % 5 + 1).to_string()),
    };
    (0..140).map(frame).collect()
}

fn direction(document: &Value) -> &Value {
    &document["directions"][0]
}

/// All that came by A is one of what it says of it, and nothing was lost.
fn adds_up(document: &Value, came: usize) {
    let way = direction(document);
    let [received, made, frames, filtered, let_go] =
        ["received", "made", "frames", "filtered", "let_go"].map(|key| number(&way[key]));
    assert_eq!(received, came as u64, "{document:#}");
    assert_eq!(received + made, frames + filtered + let_go, "{document:#}");
    assert_eq!(number(&document["ports"][0]["counters"]["rx_packets"]), received, "{document:#}");
    assert_eq!(number(&document["lost"]["total"]), 0, "{document:#}");
}

#[test]
fn a_filter_passes_what_it_wants_on_and_counts_the_rest_on_every_card() {
    let played = mixture();
    for model in EACH {
        let wires = Wires::new(&played);
        let (from, to) = (wires.card(model.name, "in"), wires.card(model.name, "none"));
        for text in ["udp dst port 3", "not arp", "greater 1000 and udp"] {
            let filter = Filter::parse(text).unwrap();
            let wanted: Vec<_> = played.iter().filter(|frame| filter.matches(frame, frame.len())).cloned().collect();
            let document = run(&["fwd", &from, &to, "-f", text, "-d", "60s"]);
            adds_up(&document, played.len());
            assert_eq!(number(&direction(&document)["frames"]), wanted.len() as u64, "{model}");
            assert_eq!(number(&direction(&document)["filtered"]), (played.len() - wanted.len()) as u64, "{model}");
            assert!(wires.sent("none") == wanted, "{model} {text}");
        }
    }
}

#[test]
fn a_count_is_of_what_passes_the_filter() {
    let wires = Wires::new(&mixture());
    let (from, to) = (wires.card("82599", "in"), wires.card("82599", "none"));
    let document = run(&["fwd", &from, &to, "-f", "tcp", "-c", "17", "-d", "60s"]);
    assert_eq!(number(&direction(&document)["frames"]), 17);
    assert_eq!(wires.sent("none").len(), 17);
}

#[test]
fn five_fields_are_swapped_on_every_card() {
    let played = mixture();
    let mut swapped = played.clone();
    swapped.iter_mut().for_each(|frame| turn::swap(frame));
    for model in EACH {
        let wires = Wires::new(&played);
        let (from, to) = (wires.card(model.name, "in"), wires.card(model.name, "none"));
        adds_up(&run(&["fwd", &from, &to, "--mode", "5tswap", "-d", "60s"]), played.len());
        assert!(wires.sent("none") == swapped, "{model}");
    }
}

#[test]
fn a_port_that_only_receives_counts_what_comes_and_sends_nothing() {
    let played = mixture();
    for model in EACH {
        let wires = Wires::new(&played);
        let document = run(&["fwd", "--mode", "rxonly", &wires.card(model.name, "in"), "-f", "udp", "-d", "60s"]);
        adds_up(&document, played.len());
        let udp = played.iter().filter(|frame| parse(frame).unwrap().ip.is_some_and(|ip| ip.protocol == 17)).count();
        assert_eq!(number(&direction(&document)["let_go"]), udp as u64, "{model}");
        assert_eq!(number(&document["ports"][0]["counters"]["tx_packets"]), 0, "{model}");
        assert!(wires.sent("in").is_empty(), "{model}");
    }
}

#[test]
fn requests_are_answered_by_the_port_that_they_came_by() {
    let played = mixture();
    for model in EACH {
        let wires = Wires::new(&played);
        let document = run(&["fwd", "--mode", "icmpecho", &wires.card(model.name, "in"), "-d", "60s"]);
        adds_up(&document, played.len());
        let mac: MacAddr = document["devices"][0]["mac"].as_str().unwrap().parse().unwrap();
        let answered = played.iter().filter_map(|frame| {
            let mut frame = frame.clone();
            turn::answer(&mut frame, mac).then_some(frame)
        });
        assert!(wires.sent("in") == answered.collect::<Vec<_>>(), "{model}");
        assert_eq!(number(&direction(&document)["frames"]), 40, "{model}");
    }
}

#[test]
fn a_port_that_only_sends_makes_datagrams_with_right_sums_and_lets_go_of_what_comes() {
    let played = mixture();
    for model in EACH {
        let wires = Wires::new(&played);
        let port = wires.card(model.name, "in");
        let words = ["fwd", "--mode", "txonly", &port, "--eth-peer", "02:00:00:00:00:77", "-c", "1000", "-d", "60s"];
        let document = run(&words);
        assert_eq!(number(&direction(&document)["made"]), 1000, "{model}");
        let way = direction(&document);
        assert_eq!(number(&way["received"]), number(&way["let_go"]), "{model}");
        let sent = wires.sent("in");
        assert_eq!(sent.len(), 1000, "{model}");
        let mac: MacAddr = document["devices"][0]["mac"].as_str().unwrap().parse().unwrap();
        for (n, frame) in sent.iter().enumerate() {
            let parsed = parse(frame).unwrap();
            assert_eq!((parsed.source_mac, parsed.destination_mac), (mac, MacAddr([2, 0, 0, 0, 0, 0x77])));
            assert_eq!(trailer(frame, frame.len() - parsed.payload).0, Some(n as u64), "{model}");
            let (ip, udp) = (&frame[14..34], &frame[34..14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))]);
            let pseudo = Sum::of(&ip[12..20]).and_number(17).and_number(udp.len() as u64);
            assert_eq!((Sum::of(ip).checksum(), Sum::of(udp).and(pseudo).checksum()), (0, 0), "{model}");
        }
    }
}

#[test]
fn several_threads_share_what_modes_and_filters_do() {
    let card = "emu:82599,wire=source:flows=64";
    for words in [
        &["fwd", card, card, "--cores", "2", "-f", "udp and ip[15] & 1 = 0"][..],
        &["fwd", card, card, "--cores", "2", "--mode", "5tswap", "--cycles"],
        &["fwd", card, "--mode", "rxonly", "--rxq", "2", "--cores", "2", "-f", "udp"],
    ] {
        let document = run(&[words, &["-c", "5000", "-d", "60s"]].concat());
        let mut done = 0;
        for way in document["directions"].as_array().unwrap() {
            let [received, made, frames, filtered, let_go] =
                ["received", "made", "frames", "filtered", "let_go"].map(|key| number(&way[key]));
            assert_eq!(received + made, frames + filtered + let_go, "{document:#}");
            done += frames + if words.contains(&"rxonly") { let_go } else { 0 };
        }
        assert_eq!(done, 5000, "{document:#}");
    }
}

#[test]
fn the_summary_says_what_became_of_the_rest_and_a_wrong_expression_is_refused() {
    let wires = Wires::new(&mixture());
    let (from, to) = (wires.card("82599", "in"), wires.card("82599", "none"));
    let said = |words: &[&str]| {
        let output = bmnic(words).args(["-d", "60s"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = said(&["fwd", &from, &to, "-f", "arp"]);
    assert!(text.contains("A > B: 20 frames forwarded, 120 left out by the filter\n"), "{text}");
    let text = said(&["fwd", "--mode", "icmpecho", &from]);
    assert!(text.contains("A: 40 frames answered, 100 that ask for nothing let go\n"), "{text}");
    let text = said(&["fwd", "--mode", "rxonly", &from]);
    assert!(text.contains("A: 140 frames received\n"), "{text}");
    for (words, why) in [
        (&["-f", "udp porty 5"][..], "porty"),
        (&["--mode", "rxonly", "-u"], "--unidirectional is for pairs"),
        (&["--sleep-after", "5", "-d", "10ms"], "--sleep-after is for --wait adaptive"),
        (&["--sleep-after", "5", "--wait", "irq"], "--sleep-after is for --wait adaptive"),
    ] {
        let refused = bmnic(&[&["fwd"], words].concat()).output().unwrap();
        let line = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && line.contains(why), "{words:?}: {line}");
    }
}
