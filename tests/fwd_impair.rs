//! What `bmnic fwd --impair` does to frames, by what leaves the other port, and how a lane
//! that sleeps waits.

#[path = "common/families.rs"]
mod families;
#[path = "common/forward.rs"]
mod forward;
#[path = "common/schema.rs"]
mod schema;

use families::EACH;
use forward::{bmnic, frames, number, run, write};
use serde_json::Value;
use tempfile::TempDir;

/// Frames that are played: a ring of 4096 holds them, however late its reader is...
const COUNT: usize = 2000;
/// ...and so many the shortest ring that a device has.
const FEW: usize = 200;

/// Numbered frames, some of them longer than a buffer.
fn played(count: usize) -> Vec<Vec<u8>> {
    let frame = |n: usize| {
        let mut frame = vec![0; if n % 50 == 7 { 5000 } else { 60 }];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
        frame[14..18].copy_from_slice(&(n as u32).to_be_bytes());
        frame
    };
    (0..count).map(frame).collect()
}

struct Bench {
    dir: TempDir,
    model: &'static str,
    count: usize,
}

impl Bench {
    fn new(model: &'static str, count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a.pcap"), &played(count));
        write(&dir.path().join("b.pcap"), &[]);
        Bench { dir, model, count }
    }

    /// A run with these impairments; what it says of A > B, and what B sent.
    fn run(&self, words: &[&str]) -> (Value, Vec<Vec<u8>>) {
        let card = |name: &str| {
            let path = self.dir.path().join(name).display().to_string();
            format!("emu:{},wire=pcap:{path}.pcap:out={path}-out.pcap", self.model)
        };
        let (a, b) = (card("a"), card("b"));
        let document = run(&[&["fwd", &a, &b, "-d", "60s", "--rxd", "4096"], words].concat());
        let way = &document["directions"][0];
        let [received, frames, lost, duplicated, over, held] = [
            &way["received"],
            &way["frames"],
            &way["impaired"]["lost"],
            &way["impaired"]["duplicated"],
            &way["impaired"]["over_limit"],
            &way["impaired"]["held"],
        ]
        .map(number);
        assert_eq!(received, self.count as u64, "{document:#}");
        assert_eq!(received + duplicated, frames + lost + over + held, "{document:#}");
        assert_eq!(number(&document["ports"][0]["counters"]["rx_packets"]), received, "{document:#}");
        assert_eq!(number(&document["ports"][1]["counters"]["tx_packets"]), frames, "{document:#}");
        assert_eq!((number(&document["lost"]["total"]), held), (0, 0), "what is meant is not lost: {document:#}");
        let sent = self::frames(&self.dir.path().join("b-out.pcap"));
        assert_eq!(sent.len() as u64, frames, "{document:#}");
        (document, sent)
    }
}

fn did(document: &Value, what: &str) -> usize {
    number(&document["directions"][0]["impaired"][what]) as usize
}

/// A tenth of the frames, within five standard deviations.
fn is_a_tenth(n: usize) -> bool {
    n.abs_diff(COUNT / 10) < 5 * 14
}

#[test]
fn each_impairment_does_its_share_and_is_counted_to_the_frame() {
    let (bench, played) = (Bench::new("82599", COUNT), played(COUNT));
    let (document, sent) = bench.run(&["--impair", "loss=10%,seed=3"]);
    let lost = did(&document, "lost");
    assert!(is_a_tenth(lost) && sent.len() == COUNT - lost);
    let mut all = played.iter();
    assert!(sent.iter().all(|frame| all.any(|other| other == frame)), "in order, and not changed");

    let (document, mut sent) = bench.run(&["--impair", "dup=10%"]);
    let doubled = sent.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(is_a_tenth(doubled) && doubled == did(&document, "duplicated"));
    sent.dedup();
    assert!(sent == played);

    let (document, sent) = bench.run(&["--impair", "corrupt=10%"]);
    let bits = |(a, b): (&Vec<u8>, &Vec<u8>)| a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
    let bits: Vec<u32> = sent.iter().zip(&played).map(bits).collect();
    let spoiled = bits.iter().filter(|bits| **bits > 0).count();
    assert!(bits.iter().all(|bits| *bits <= 1) && is_a_tenth(spoiled) && spoiled == did(&document, "corrupted"));

    let (document, mut sent) = bench.run(&["--impair", "reorder=10%"]);
    assert!(did(&document, "reordered") > 0);
    sent.sort_by_key(|frame| frame[14..18].to_vec());
    assert!(sent == played, "none is lost, doubled or changed");

    let (document, sent) = bench.run(&["--impair", "delay=50ms,jitter=10ms"]);
    // From the first frame in to the last one out.
    assert!(document["elapsed_ns"].as_u64().unwrap() >= 40_000_000 && sent == played);
}

#[test]
fn the_same_seed_meets_the_same_frames_on_every_card_and_the_sums_hold() {
    let words = ["--impair", "loss=5%,dup=5%,corrupt=5%,delay=1ms,seed=11", "--mode", "macswap"];
    let mut first = None;
    for model in EACH {
        let (_, sent) = Bench::new(model.name, FEW).run(&words);
        assert_eq!(first.get_or_insert_with(|| sent.clone()).len(), sent.len(), "{model}");
        assert!(first == Some(sent), "{model}");
    }
    let (_, other) =
        Bench::new("82599", FEW).run(&["--impair", "loss=5%,dup=5%,corrupt=5%,delay=1ms,seed=12", "--mode", "macswap"]);
    assert!(first != Some(other));
}

#[test]
fn an_impairment_may_be_that_of_one_port_and_of_several_threads() {
    let bench = Bench::new("82599", COUNT);
    let (_, sent) = bench.run(&["--impair", "B:loss=100%", "--impair", "delay=1us"]);
    assert!(sent == played(COUNT));
    let (document, sent) = bench.run(&["--impair", "a:loss=100%", "--cores", "2"]);
    assert_eq!((did(&document, "lost"), sent.len()), (COUNT, 0));
}

#[test]
fn what_cannot_be_impaired_is_refused_and_the_summary_says_what_was_done() {
    let refused = |words: &[&str]| {
        let output = bmnic(&[&["fwd"], words].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--impair", "lose=1%"]).contains("there is no 'lose'"));
    assert!(refused(&["--impair", "C:loss=1%"]).contains("port C"));
    assert!(refused(&["--impair", "loss=1%", "--impair", "dup=1%"]).contains("twice"));
    assert!(refused(&["--impair", "loss=1%", "--mode", "rxonly"]).contains("leave one out"));
    let output = bmnic(&["fwd", "-u", "-c", "2000", "-d", "60s", "--impair", "loss=50%"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("       impaired as asked: ") && line.ends_with(" lost")),
        "{text}"
    );
}

#[test]
fn an_adaptive_lane_sleeps_between_packets_that_are_far_apart_and_says_how_often() {
    for model in EACH {
        let card = format!("emu:{model},wire=source:rate=100");
        let words = ["fwd", &card, &card, "--wait", "adaptive", "--sleep-after", "20", "-c", "30", "-d", "60s"];
        let document = run(&words);
        forward::adds_up(&document);
        for thread in document["threads"].as_array().unwrap() {
            let [empty, sleeps, woken] = ["empty_polls", "sleeps", "woken"].map(|key| number(&thread[key]));
            // Each sleep comes after more than so many looks.
            assert!(sleeps > 0 && woken > 0 && woken <= sleeps && empty > 20, "{model}: {document:#}");
        }
        let output = bmnic(&[&words[..], &["--cycles"]].concat()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("looks found nothing, it slept "), "{model}: {text}");
    }
    let polls = run(&["fwd", "-c", "1000", "-d", "60s"]);
    assert!(polls["threads"][0]["sleeps"].is_null(), "{polls:#}");
}

#[test]
fn frames_that_come_out_while_a_run_ends_are_no_hang() {
    // Those of the last second and more are held back when it ends, and come out one by one.
    let source = "emu:82599,wire=source:rate=20k:pause=on";
    let document = run(&["fwd", source, "emu:82599,wire=sink", "--impair", "delay=1200ms", "-d", "1500ms"]);
    let way = &document["directions"][0];
    assert_eq!((number(&document["still_in_rings"]), number(&document["lost"]["total"])), (0, 0), "{document:#}");
    assert_eq!(number(&way["frames"]), number(&document["ports"][1]["counters"]["tx_packets"]), "{document:#}");
}
