//! `bmnic fwd` as a whole program: it ends as it was asked to, its counters add
//! up, and its loop makes no system call while packets flow.

#[path = "common/families.rs"]
mod families;
#[path = "common/forward.rs"]
mod forward;
#[path = "common/schema.rs"]
mod schema;

use families::EACH;
use forward::{adds_up, bmnic, frames, number, run, write};
use serde_json::Value;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

#[test]
fn without_arguments_it_forwards_between_two_emulated_ports_and_counts_add_up() {
    let document = run(&["fwd", "-d", "300ms"]);
    assert_eq!(document["devices"].as_array().unwrap().len(), 2);
    for device in document["devices"].as_array().unwrap() {
        assert_eq!(device["kind"], "emulated");
    }
    assert!(document["machine"]["cores"].is_u64());
    assert!(document["elapsed_ns"].as_f64().unwrap() >= 3e8);
    assert_eq!(document["directions"].as_array().unwrap().len(), 2);
    adds_up(&document);
}

#[test]
fn every_way_of_running_it_adds_up() {
    for words in [
        &["fwd", "--mode", "macswap"][..],
        &["fwd", "--mode", "mac", "--eth-peer", "02:00:00:00:00:aa,02:00:00:00:00:bb"],
        &["fwd", "--wait", "irq"],
        &["fwd", "--batch", "1", "--rxd", "64", "--txd", "4096"],
        &["fwd", "emu:x540"],
        &["fwd", "emu:x550,wire=source:size=1518:rate=100k", "emu:82599,wire=source:size=imix"],
        &["fwd", "--rxq", "4", "emu:82599,wire=source:flows=64", "emu:82599,wire=source:flows=64"],
    ] {
        // A count, as one way may have no turn for long on a busy machine.
        adds_up(&run(&[words, &["-c", "2000", "-d", "60s"]].concat()));
    }
}

#[test]
fn a_device_that_takes_no_jumbo_frames_forwards_shorter_ones() {
    let card = "emu:virtio-single,wire=source:flows=64";
    adds_up(&run(&["fwd", card, card, "-d", "200ms"]));
    let refused = bmnic(&["fwd", card, card, "--max-frame", "9000", "-d", "200ms"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

/// A host has made the rings of a legacy device: a user who asks for others is told.
#[test]
fn rings_that_a_host_has_made_are_not_asked_for_in_vain() {
    let warned = |words: &[&str]| {
        let output = bmnic(words).args(["--allow-loss", "100%", "-c", "100", "-d", "60s"]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines().filter(|line| line.contains("changes nothing")).map(str::to_owned).collect::<Vec<_>>()
    };
    for (card, told) in [("emu:virtio-legacy", 1), ("emu:virtio", 0)] {
        let lines = warned(&["fwd", card, "emu:virtio", "--rxd", "64", "--txd", "256"]);
        assert_eq!(lines.len(), told, "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("rings of 256") && line.contains("--rxd 64")), "{lines:?}");
        assert_eq!(warned(&["fwd", card, "emu:virtio"]), [""; 0], "nobody has asked for any");
    }
}

#[test]
fn every_emulated_card_forwards_in_every_way() {
    for model in EACH {
        let card = &format!("emu:{model},wire=source:flows=64");
        let nasty = &format!("emu:{model},nasty,seed=7,wire=source:size=imix");
        for words in [
            &["fwd", card, card][..],
            &["fwd", nasty, card],
            &["fwd", card, card, "--wait", "irq"],
            &["fwd", card, card, "--batch", "1", "--rxd", "64", "--txd", "2048"],
            &["fwd", card, card, "--rxq", &model.queues[0].min(4).to_string(), "--mode", "macswap"],
        ] {
            adds_up(&run(&[words, &["-c", "2000", "-d", "60s"]].concat()));
        }
    }
}

#[test]
fn every_emulated_card_goes_on_past_what_its_rings_hold() {
    for model in EACH {
        let card = &format!("emu:{model},wire=source:pause=on");
        // By default frames may be jumbos, which take more buffers than descriptors.
        let document = run(&["fwd", card, card, "-c", "20k", "-d", "60s"]);
        let forwarded: u64 = document["directions"].as_array().unwrap().iter().map(|way| number(&way["frames"])).sum();
        assert_eq!(forwarded, 20_000, "{model}");
    }
}

/// Ruins the checksums of a UDP or TCP frame.
fn ruin(frame: &mut [u8]) {
    let l3 = if frame[12] == 0x81 { 18 } else { 14 };
    let (protocol, l4) = if frame[l3] >> 4 == 4 { (frame[l3 + 9], l3 + 20) } else { (frame[l3 + 6], l3 + 40) };
    let field = l4 + if protocol == 6 { 16 } else { 6 };
    frame[field..field + 2].copy_from_slice(b"no");
    if frame[l3] >> 4 == 4 {
        frame[l3 + 10..l3 + 12].copy_from_slice(b"no");
    }
}

#[test]
fn every_card_fills_in_the_checksums_that_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mut right = Vec::new();
    for (proto, to) in [("udp", "198.19.0.1"), ("tcp", "198.19.0.1"), ("udp", "2001:db8::2"), ("tcp", "2001:db8::2")] {
        for more in [&[][..], &["--vlan", "5"]] {
            let part = file("part.pcap");
            let words =
                ["pktgen", "-c", "8", "-s", "90,91,1500,1518", "--sport", "1-9", "--proto", proto, "--dst-ip", to];
            let made = bmnic(&words).args(more).arg("-w").arg(&part).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            right.extend(frames(&part));
        }
    }
    let mut wrong = right.clone();
    wrong.iter_mut().for_each(|frame| ruin(frame));
    assert!(right.iter().zip(&wrong).all(|(right, wrong)| right != wrong));
    write(&file("wrong.pcap"), &wrong);
    write(&file("none.pcap"), &[]);
    for model in EACH {
        let from = format!("emu:{model},wire=pcap:{}", file("wrong.pcap").display());
        let to = format!("emu:{model},wire=pcap:{}:out={}", file("none.pcap").display(), file("out.pcap").display());
        let count = right.len().to_string();
        run(&["fwd", &from, &to, "-u", "--mode", "csum", "-c", &count, "-d", "10s"]);
        let got = frames(&file("out.pcap"));
        assert_eq!(got.len(), right.len(), "{model}");
        assert!(got == right, "{model}");
    }
}

#[test]
fn a_loss_is_named_and_ends_with_its_own_code_unless_it_is_allowed() {
    // Every other frame is too long for the port, whatever the machine does.
    let card = "emu:82599,wire=source:size=64/1518:rate=10k:count=2000";
    let words = ["fwd", card, "--max-frame", "100", "-c", "500", "-d", "20s"];
    let run = bmnic(&words).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(3), "{run:?}");
    assert!(said.contains("broken or too long for --max-frame"), "{said}");
    assert!(String::from_utf8_lossy(&run.stderr).contains("--allow-loss"), "{run:?}");
    let allowed = bmnic(&[&words[..], &["--allow-loss", "100%"]].concat()).output().unwrap();
    assert!(allowed.status.success(), "{allowed:?}");
}

#[test]
fn the_default_sources_wait_for_a_port_that_is_behind() {
    let output = bmnic(&["fwd", "-d", "300ms", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["lost"]["total"], 0, "{document:#}");
}

#[test]
fn one_way_leaves_the_other_way_alone() {
    let document = run(&["fwd", "-u", "-d", "200ms"]);
    assert_eq!(document["directions"].as_array().unwrap().len(), 1);
    assert_eq!(number(&document["ports"][0]["counters"]["tx_packets"]), 0);
    adds_up(&document);
}

#[test]
fn a_count_is_exact() {
    for count in ["1", "33", "5000"] {
        let document = run(&["fwd", "-c", count]);
        let frames: u64 =
            document["directions"].as_array().unwrap().iter().map(|direction| number(&direction["frames"])).sum();
        assert_eq!(frames.to_string(), count);
        assert_eq!(
            document["ports"].as_array().unwrap().iter().map(|p| number(&p["counters"]["tx_packets"])).sum::<u64>(),
            frames
        );
    }
}

#[test]
fn the_first_line_says_that_the_default_is_emulated() {
    let output = bmnic(&["fwd", "-d", "50ms", "-v"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().is_some_and(|first| first.contains("emulated")), "{text}");
    assert!(lines.next().is_some_and(|why| why.contains("none is bound to vfio-pci")), "{text}");
    assert!(output.stderr.is_empty(), "no live lines in a pipe: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_interval_that_was_asked_for_prints_a_line_for_each_port_in_a_pipe() {
    let output = bmnic(&["fwd", "-d", "600ms", "-I", "100ms"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.contains("dropped ") && line.contains("Mpps")).count();
    assert!(lines >= 2 && lines % 2 == 0, "{text}");
}

/// A run without end, and what ends it.
struct Running(Child);

impl Running {
    fn start(words: &[&str]) -> Self {
        let mut child = bmnic(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The first line is written when the links are up.
        let mut first = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        Running(child)
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Exit status and what it printed, once it has ended by itself.
    fn end(mut self) -> (ExitStatus, String, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.0.wait().unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (status, out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_signal_ends_it_with_its_summary_and_the_signals_code() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let running = Running::start(&["fwd", "-d", "0"]);
        std::thread::sleep(Duration::from_millis(100));
        running.signal(signal);
        let (status, out, err) = running.end();
        assert_eq!(status.code(), Some(code), "{err}");
        assert!(out.contains("frames forwarded"), "{out}");
        assert_eq!(err, "");
    }
}

/// `timeout` sends its signal to the program, and again to its group. A machine that is held
/// up between the two makes them two requests, so that a run whose signals took long to send
/// says nothing.
#[test]
fn signals_that_come_together_are_one_request() {
    const ONE_REQUEST: Duration = Duration::from_millis(500);
    for _ in 0..20 {
        let running = Running::start(&["fwd", "-d", "0"]);
        let line = format!("kill -s INT {0}; kill -s INT {0}; kill -s TERM {0}", running.0.id());
        let begun = Instant::now();
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
        let (status, out, err) = running.end();
        // The handlers have run when it has ended, if not before.
        if begun.elapsed() > ONE_REQUEST {
            continue;
        }
        // Of two that are pending the kernel may let either handler run first.
        assert!(matches!(status.code(), Some(130 | 143)), "{err}");
        assert!(out.contains("frames forwarded"), "{out}");
        return;
    }
    println!("SKIPPED  signals that come together: this machine was too slow to send them so 20 times");
}

/// The first signal comes to a program that cannot end, as it writes into a pipe that is
/// full: where the machine is slow, after some more time.
#[test]
fn a_second_signal_later_ends_it_at_once_without_a_summary() {
    for seconds in [1, 3, 9] {
        let running = Running::start(&["fwd", "-d", "0", "-I", "1ms"]);
        std::thread::sleep(Duration::from_secs(seconds));
        running.signal("INT");
        std::thread::sleep(Duration::from_millis(700));
        running.signal("TERM");
        let (status, out, err) = running.end();
        if status.code() == Some(130) {
            continue;
        }
        assert_eq!(status.code(), Some(143), "{err}");
        assert!(!out.contains("frames forwarded"), "{out}");
        return;
    }
    panic!("the pipe is never full, or a second signal has no effect");
}

#[test]
fn usr1_prints_the_figures_and_the_run_goes_on() {
    let running = Running::start(&["fwd", "-d", "0"]);
    running.signal("USR1");
    std::thread::sleep(Duration::from_millis(300));
    running.signal("INT");
    let (status, out, err) = running.end();
    assert_eq!(status.code(), Some(130));
    assert_eq!(err.lines().filter(|line| line.contains("Gbit/s")).count(), 2, "{err}");
    assert!(out.contains("frames forwarded"), "{out}");
}

#[test]
fn the_whole_process_stays_within_sixteen_megabytes() {
    let running = Running::start(&["fwd", "-d", "0"]);
    std::thread::sleep(Duration::from_millis(300));
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    running.signal("INT");
    running.end();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib <= 16 * 1024, "{kib} KiB");
}

/// System calls that the thread named "fwd" made for `count` packets, but for
/// giving way when there was nothing to do.
fn system_calls(count: &str) -> Option<u64> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED  strace is not installed: system calls of the forwarding loop were not counted");
        return None;
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-o", log.path().to_str().unwrap(), env!("CARGO_BIN_EXE_bmnic"), "fwd", "-u", "-c", count])
        .env_remove("BMNIC_STRICT")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(log.path()).unwrap();
    // The forwarding thread is the one that names itself so.
    let named = text.lines().find(|line| line.contains("PR_SET_NAME, \"fwd\"")).expect("a thread called fwd");
    let thread = named.split_whitespace().next().unwrap();
    let calls = text.lines().filter(|line| line.split_whitespace().next() == Some(thread));
    // A call that another thread's cuts in two is on two lines.
    Some(calls.filter(|line| !line.contains("sched_yield") && !line.contains(" resumed>")).count() as u64)
}

#[test]
fn more_packets_cost_no_more_system_calls() {
    let (Some(few), Some(many)) = (system_calls("1000"), system_calls("200000")) else { return };
    // Starting and ending a thread takes some; 199000 packets must take none.
    assert!(few < 100, "{few} calls to start and end the thread");
    assert!(many.abs_diff(few) <= 10, "{few} calls for 1000 packets, {many} for 200000");
}

#[test]
fn cycles_are_counted_when_they_are_asked_for_and_say_what_a_burst_was() {
    let words = ["fwd", "emu:82599,wire=source", "-c", "100000", "--batch", "16"];
    let document = run(&words);
    assert!(document["ports"][0]["crossings_a_packet"].is_null(), "{document:#}");
    let direction = &document["directions"][0];
    assert!(direction["cycles_per_packet"].is_null() && direction["packets_per_burst"].is_null(), "{direction:#}");
    let document = run(&[&words[..], &["--cycles"]].concat());
    if cfg!(target_arch = "x86_64") {
        // Two descriptors in four to a line, and with 16 in a burst a doorbell for each 16 at most.
        let crossed = &document["ports"][0]["crossings_a_packet"];
        let figure = |name: &str| crossed[name].as_f64().unwrap();
        assert_eq!(crossed["burst"], 16);
        assert!((1.0 / 16.0..=2.0 / 16.0).contains(&figure("doorbell_stores")), "{crossed:#}");
        assert!((0.5..0.7).contains(&figure("descriptor_lines_in")) && figure("reads") > 1.0, "{crossed:#}");
    }
    let direction = &document["directions"][0];
    let [cycles, burst] = ["cycles_per_packet", "packets_per_burst"].map(|name| direction[name].as_f64().unwrap());
    assert!(cycles > 1.0 && (1.0..=16.0).contains(&burst), "{direction:#}");
    let output = bmnic(&[&words[..], &["--cycles"]].concat()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.lines().any(|line| line.starts_with("A > A: 100 000 ") && line.contains(" cycles each, ")), "{said}");
    let crossed = |line: &str| line.starts_with("A emu:82599") && line.contains("in bursts of 16: ");
    assert_eq!(said.lines().any(crossed), cfg!(target_arch = "x86_64"), "{said}");
}
