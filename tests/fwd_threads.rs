//! `bmnic fwd` with several ports and several threads: every frame is forwarded or named,
//! flows stay in order, and a thread that plays its own cards shares nothing with another.

#[path = "common/families.rs"]
mod families;
#[path = "common/forward.rs"]
mod forward;
#[path = "common/schema.rs"]
mod schema;

use families::{Card, EACH};
use forward::{adds_up, bmnic, frames, number, run, write};
use serde_json::Value;
use std::collections::HashMap;

/// What it says of a command line that it refuses: one line, and the code of bad usage.
fn refused(words: &[&str]) -> String {
    let output = bmnic(words).arg("-d").arg("100ms").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn forwarded(document: &Value, list: &str) -> Vec<u64> {
    document[list].as_array().unwrap().iter().map(|entry| number(&entry["frames"])).collect()
}

/// The threads have forwarded what the directions say, and each queue of them its part.
fn threads_add_up(document: &Value) {
    adds_up(document);
    let threads = document["threads"].as_array().unwrap();
    let all: u64 = forwarded(document, "threads").iter().sum();
    assert_eq!(all, forwarded(document, "directions").iter().sum::<u64>(), "{document:#}");
    for thread in threads {
        let queues: u64 = forwarded(thread, "queues").iter().sum();
        assert_eq!(queues, number(&thread["frames"]), "{document:#}");
        assert!(thread["cpu_time_ns"].as_f64().unwrap() > 0.0, "{document:#}");
    }
}

fn list<'d>(document: &'d Value, key: &str, field: &str) -> Vec<&'d Value> {
    document[key].as_array().unwrap().iter().map(|entry| &entry[field]).collect()
}

#[test]
fn ports_are_forwarded_two_and_two_and_every_option_goes_for_all_of_them() {
    let card = "emu:82599,wire=source:pause=on";
    for (words, ways) in [
        (&["fwd", card, card, card, card][..], &["AB", "BA", "CD", "DC"][..]),
        (&["fwd", card, card, card, card, "-u"], &["AB", "CD"]),
        (&["fwd", card, "emu:x710,wire=source:rate=100k", card, card, "--wait", "irq"], &["AB", "BA", "CD", "DC"]),
    ] {
        let document = run(&[words, &["-c", "20k", "-d", "60s"]].concat());
        let found: Vec<String> = document["directions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|way| format!("{}{}", way["from"].as_str().unwrap(), way["to"].as_str().unwrap()))
            .collect();
        assert_eq!(found, ways);
        assert_eq!(forwarded(&document, "directions").iter().sum::<u64>(), 20_000);
        threads_add_up(&document);
    }
}

#[test]
fn the_addresses_of_every_pair_are_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("in.pcap"), &flows(2, 20));
    write(&path("none.pcap"), &[]);
    let plays = format!("emu:82599,wire=pcap:{}", path("in.pcap").display());
    let records =
        |out: &str| format!("emu:82599,wire=pcap:{}:out={}", path("none.pcap").display(), path(out).display());
    let (b, d) = (records("b.pcap"), records("d.pcap"));
    let peers = "02:00:00:00:00:aa,02:00:00:00:00:bb";
    run(&["fwd", &plays, &b, &plays, &d, "-u", "--mode", "mac", "--eth-peer", peers, "-c", "40", "-d", "60s"]);
    for (out, peer) in [("b.pcap", [2, 0, 0, 0, 0, 0xbb]), ("d.pcap", [2, 0, 0, 0, 0, 3])] {
        let got = frames(&path(out));
        assert_eq!(got.len(), 20, "{out}");
        assert!(got.iter().all(|frame| frame[..6] == peer), "{out}: {:?}", got[0]);
    }
}

#[test]
fn what_makes_no_pairs_or_leaves_a_thread_without_work_is_refused_in_one_line() {
    let card = "emu:82599";
    let few = "emu:virtio-legacy";
    for (words, why) in [
        (&["fwd", card, card, card][..], "make no pairs"),
        (&["fwd", card, card, "--cores", "2", "--inline"], "more than the 1 pairs"),
        (&["fwd", card, card, "--wait", "irq", "--inline"], "cannot play that card"),
        (&["fwd", few, few, "--cores", "3"], "3 threads ask for 2 receive queues"),
        (&["fwd", "emu:82599,queues=1", "emu:82599,queues=1", "--cores", "3"], "more than the 2 receive queues"),
        (&["fwd", card, card, "--rxq", "2", "--cores", "2", "--wait", "irq"], "too few for 4"),
        (&["fwd", card, "--cores", "3", "--cpu", "0,1"], "more threads than the 2 processors"),
    ] {
        let said = refused(words);
        assert!(said.contains(why), "{words:?}: {said}");
    }
}

#[test]
fn queues_rise_to_one_for_each_thread_and_threads_say_what_they_forwarded() {
    let card = "emu:82599,wire=source:flows=64:pause=on";
    for (words, queues) in [
        (&["fwd", card, card, "--cores", "2"][..], &["A0", "B0"][..]),
        (&["fwd", card, card, "--cores", "3"], &["A0 B0", "A1", "B1"]),
        (&["fwd", card, "--cores", "2"], &["A0", "A1"]),
        (&["fwd", card, card, "-u", "--cores", "2"], &["A0", "A1"]),
        (&["fwd", card, card, "--rxq", "2", "--cores", "2"], &["A0 B0", "A1 B1"]),
        (&["fwd", card, card, card, card, "--cores", "2"], &["A0 B0", "C0 D0"]),
        (&["fwd", card, card, "--rxq", "2", "--wait", "irq"], &["A0", "B0", "A1", "B1"]),
    ] {
        let document = run(&[words, &["-c", "50k", "-d", "60s"]].concat());
        threads_add_up(&document);
        let name = |queue: &Value| format!("{}{}", queue["port"].as_str().unwrap(), queue["queue"]);
        let found: Vec<String> = list(&document, "threads", "queues")
            .into_iter()
            .map(|queues| queues.as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(found, queues, "{words:?}");
        assert_eq!(forwarded(&document, "threads").iter().sum::<u64>(), 50_000, "{words:?}");
    }
}

#[test]
fn threads_stay_where_they_are_told_and_the_summary_says_where() {
    let may = std::fs::read_to_string("/proc/self/status").unwrap();
    let may = may.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_string();
    let first: String = may.chars().take_while(char::is_ascii_digit).collect();
    let output = bmnic(&["fwd", "--rxq", "2", "--cpu", &first, "-c", "1000", "-d", "60s"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = format!("thread 0 on processor {first}: 1 000 frames forwarded: A queue 0 ");
    assert!(said.lines().any(|said| said.starts_with(&line)), "{said}");
    let document = run(&["fwd", "--cpu", &first, "-c", "1000", "-d", "60s"]);
    assert_eq!(list(&document, "threads", "cpu"), [&first.parse::<u64>().unwrap().into()] as [&Value; 1]);
}

#[test]
fn more_threads_than_processors_are_run_and_said() {
    let output = bmnic(&["fwd", "--cores", "20", "-c", "1000", "-d", "60s", "--allow-loss", "100%"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let may = std::thread::available_parallelism().unwrap().get();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.contains("20 threads take turns on the "), may < 20, "{said}");
}

/// UDP frames of `flows` flows in turn, each numbered within its flow.
fn flows(flows: u16, count: u16) -> Vec<Vec<u8>> {
    let frame = |n: u16| {
        let flow = n % flows;
        let mut frame = vec![0; 60 + usize::from(n % 7) * 100];
        let ip_len = (frame.len() - 14) as u16;
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        frame[14..20].copy_from_slice(&[0x45, 0, ip_len.to_be_bytes()[0], ip_len.to_be_bytes()[1], 0, 0]);
        frame[22..34].copy_from_slice(&[64, 17, 0, 0, 198, 18, 0, flow as u8, 198, 19, 0, 1]);
        let words = frame[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        frame[24..26].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        frame[34..36].copy_from_slice(&(1000 + flow * 77).to_be_bytes());
        frame[36..38].copy_from_slice(&9_u16.to_be_bytes());
        frame[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
        frame[42..44].copy_from_slice(&flow.to_be_bytes());
        frame[44..46].copy_from_slice(&(n / flows).to_be_bytes());
        frame
    };
    (0..count).map(frame).collect()
}

/// Two threads have a queue of one card each: nothing is lost or doubled, and what is of
/// one flow leaves in the order in which it came.
#[test]
fn two_queues_of_one_card_keep_every_frame_and_the_order_of_every_flow() {
    const FLOWS: u16 = 32;
    const COUNT: u16 = 6400;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sent = flows(FLOWS, COUNT);
    write(&path("in.pcap"), &sent);
    write(&path("none.pcap"), &[]);
    for model in EACH.into_iter().filter(|model: &Card| model.queues[0] > 1) {
        let from = format!("emu:{model},wire=pcap:{}:speed=line", path("in.pcap").display());
        let to = format!("emu:{model},wire=pcap:{}:out={}", path("none.pcap").display(), path("out.pcap").display());
        let document = run(&["fwd", &from, &to, "-u", "--cores", "2", "-c", &COUNT.to_string(), "-d", "60s"]);
        threads_add_up(&document);
        let threads = forwarded(&document, "threads");
        assert!(threads.len() == 2 && threads.iter().all(|&frames| frames > 0), "{model}: {threads:?}");
        let got = frames(&path("out.pcap"));
        assert_eq!(got.len(), sent.len(), "{model}");
        let mut next: HashMap<[u8; 2], u16> = HashMap::new();
        for frame in &got {
            let [f0, f1, n0, n1] = *frame[42..46].as_array().unwrap();
            let due = next.entry([f0, f1]).or_default();
            assert_eq!(u16::from_be_bytes([n0, n1]), *due, "{model}: flow {f0}{f1}");
            *due += 1;
        }
        let (mut left, mut right) = (sent.clone(), got);
        left.sort();
        right.sort();
        assert!(left == right, "{model}: other bytes");
    }
}

#[test]
fn cards_that_are_played_by_the_thread_that_uses_them_lose_nothing() {
    for model in EACH {
        let card = &format!("emu:{model},wire=source:pause=on");
        for words in
            [&["fwd", card, card, "--inline"][..], &["fwd", card, card, card, card, "--inline", "--cores", "2"]]
        {
            let document = run(&[words, &["-c", "50k", "-d", "60s"]].concat());
            threads_add_up(&document);
            assert_eq!(forwarded(&document, "threads").iter().sum::<u64>(), 50_000, "{words:?}");
            assert_eq!(number(&document["lost"]["total"]), 0, "{document:#}");
        }
    }
}

/// Nanoseconds of processor time that a frame takes its thread.
fn cost(words: &[&str]) -> f64 {
    let document = run(&[words, &["--inline", "-d", "300ms"]].concat());
    threads_add_up(&document);
    let had: f64 = list(&document, "threads", "cpu_time_ns").into_iter().map(|had| had.as_f64().unwrap()).sum();
    had / forwarded(&document, "threads").iter().sum::<u64>() as f64
}

/// Processor time, not the clock's: it says the same where other programs run meanwhile. Threads
/// that wait for one another, or take lines from one another, need more of it for a frame.
#[test]
fn two_threads_with_cards_of_their_own_take_no_more_for_a_frame_than_one() {
    const ROOM: f64 = 1.5;
    let card = "emu:82599,wire=source:pause=on,speed=max";
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let one = cost(&["fwd", card, card]);
        let two = cost(&["fwd", card, card, card, card, "--cores", "2"]);
        ratios.push(two / one);
        if two / one <= ROOM {
            return;
        }
    }
    panic!("a frame costs {ratios:.2?} times as much with two threads");
}
