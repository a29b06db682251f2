//! `bmnic latency` as a user runs it, on emulated cards.

#[path = "common/families.rs"]
mod families;
#[path = "latency/rows.rs"]
mod rows;
#[path = "common/schema.rs"]
mod schema;

use families::EACH;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Each run keeps two processors busy: one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn latency(args: &[&str]) -> Output {
    let _alone = alone();
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    command.arg("latency").args(args).stdin(Stdio::null());
    command
}

/// Where a machine that is busy elsewhere is not the point.
const LENIENT: [&str; 4] = ["--allow-shortfall", "100%", "--allow-loss", "100%"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs it with `--json`, on models that forgive nothing, as fast as this machine
/// can; it must succeed.
fn json(args: &[&str]) -> Value {
    let run = latency(&[args, &["--json", "--strict", "--allow-shortfall", "100%"]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    schema::document(&run.stdout)
}

/// The only row of such a run.
fn row(args: &[&str]) -> Value {
    let mut document = json(args);
    assert_eq!(document["results"].as_array().unwrap().len(), 1, "{document}");
    document["results"][0].take()
}

#[test]
fn without_a_device_it_measures_the_emulated_card_and_says_what_the_figures_are() {
    // Slow enough that a ring of 512 bridges 50 ms in which either thread is put aside.
    let run = latency(&["-c", "5k", "-r", "10k", "--allow-shortfall", "100%", "-v"]);
    let (out, errors) = (text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{errors}");
    assert!(out.lines().next().unwrap().contains("emu:82599"), "{out}");
    assert!(out.contains("the cost of driver and model, not of a wire"), "{out}");
    for words in [
        "service",
        "intended",
        "own cost: ",
        "a round of the loop",
        "floor:",
        "5 000 received, 0 lost, 0 duplicated, 0 reordered",
        "p99.9",
    ] {
        assert!(out.contains(words), "no '{words}' in:\n{out}");
    }
}

#[test]
fn a_run_too_short_to_be_judged_says_that_it_was_not_as_asked() {
    let run = latency(&["-c", "10G", "-d", "20ms", "-r", "14M", "--allow-loss", "100%"]);
    let errors = text(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{errors}");
    let said = errors.lines().find(|line| line.contains("of the rate asked for were sent"));
    assert!(said.is_some_and(|line| line.contains("too short to fail for that")), "{errors}");
}

#[test]
fn a_quiet_headline_is_one_bare_number() {
    let run = latency(&[&["--p99", "-q", "-c", "10k", "-r", "100k"], &LENIENT[..]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let out = text(&run.stdout);
    let ns: u64 = out.trim_end().strip_suffix(" ns").and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{out}"));
    assert!(ns > 0);
    assert_eq!(out.lines().count(), 1);
    assert!(run.stderr.is_empty(), "{}", text(&run.stderr));
}

#[test]
fn a_distribution_is_drawn_over_an_earlier_one_on_the_terminal_and_into_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (hgrm, svg) = (dir.path().join("before.hgrm"), dir.path().join("both.svg"));
    let (hgrm, svg) = (hgrm.to_str().unwrap(), svg.to_str().unwrap());
    let short = [&["-c", "2k", "-r", "10k"], &LENIENT[..]].concat();
    let run = latency(&[&short[..], &["--hgrm", hgrm]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let run = latency(&[&short[..], &["--plot", "--svg", svg, "--over", hgrm]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let (out, picture) = (text(&run.stdout), std::fs::read_to_string(svg).unwrap());
    for words in ["this run", "before", "90%", "99%", "One packet of 64 bytes"] {
        assert!(out.contains(words) && picture.contains(words), "no '{words}' in:\n{out}\n{picture}");
    }
    assert!(
        out.lines().skip_while(|line| !line.contains("One packet")).all(|line| line.chars().count() <= 80),
        "{out}"
    );
    // What cannot be drawn is said before anything is run.
    std::fs::write(hgrm, "not a distribution").unwrap();
    let raw = dir.path().join("samples.csv");
    let full = ["--hgrm", "/dev/full", "--raw", raw.to_str().unwrap()];
    let run = latency(&[&short[..], &full].concat());
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    let samples = std::fs::read_to_string(raw).unwrap().lines().count();
    assert!(samples > 1, "{samples} lines beside a file that cannot be written");
    for (args, words) in [
        (&["--plot", "--over", hgrm][..], "no percentile distribution"),
        (&["--over", hgrm], "ask for one with --plot"),
        (&["--svg", svg, "--hgrm", svg], "named for two results"),
        (&["--trace", svg, "--raw", svg], "would be written twice"),
        (&["--stages", "--plot"], "a table of its own"),
    ] {
        let run = latency(args);
        assert!(!run.status.success() && text(&run.stderr).contains(words), "{args:?}: {}", text(&run.stderr));
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn the_stages_of_a_frame_are_shown_of_every_family() {
    let medians = |args: &[&str]| {
        let document = json(&[args, &["--stages", "-c", "200", "-r", "20k"]].concat());
        let paths = document["paths"].as_array().unwrap().clone();
        assert_eq!(paths.len(), 1, "{args:?}: {document}");
        assert!(paths[0]["poll_ns"].as_f64().unwrap() > 0.0, "{args:?}: {document}");
        let stages = &paths[0]["model_stages_ns"];
        ["doorbell", "fetch", "wire", "write_back"]
            .map(|name| stages[name].as_f64().unwrap_or_else(|| panic!("{name}: {document}")))
    };
    for card in ["82599", "x710", "x2522", "bcm57414", "cx5", "virtio", "virtio-legacy"] {
        let card = format!("emu:{card},speed=10G");
        let [doorbell, fetch, wire, write_back] = medians(&[&card]);
        // Up to four reads, each a round trip.
        assert!((533.0..2_400.0).contains(&fetch), "{card}: {fetch}");
        // Half a round trip of 533 ns and up to 100 bytes, of which each takes 0.13 ns.
        assert!(
            (266.5..280.0).contains(&doorbell) && (266.5..280.0).contains(&write_back),
            "{card}: {doorbell} {write_back}"
        );
        assert!((wire - 67.2).abs() < 0.01, "{card}: {wire}");
    }
    let fetch = |path| medians(&["emu:x2522,pcie=gen3x8:1us", "--tx-path", path])[1];
    assert!((2_000.0..2_100.0).contains(&fetch("dma")), "two reads");
    assert!(fetch("ctpio") < 100.0, "no read");
}

#[test]
fn the_document_is_complete_and_its_figures_are_in_order() {
    let document = json(&["--p99", "-c", "20k", "-r", "20k"]);
    let row = &document["results"][0];
    let service = &row["service_ns"];
    let ns = |name: &str| service[name].as_u64().unwrap_or_else(|| panic!("{name} in {service}"));
    let names = ["min", "p50", "p90", "p99", "p99.9", "max"];
    assert!(names.windows(2).all(|pair| ns(pair[0]) <= ns(pair[1])), "{service}");
    assert_eq!(service["p99.99"], Value::Null, "20 000 samples are too few");
    assert_eq!(row["headline"]["ns"], service["p99"]);
    assert_eq!((&row["sent"], &row["received"], &row["load"]), (&20_000.into(), &20_000.into(), &Value::Null));
    for step in ["clock", "poll", "round"] {
        assert!(document["own_ns"][step].as_f64().is_some_and(|ns| ns > 0.0), "{}", document["own_ns"]);
    }
    assert_eq!(document["devices"][0]["kind"], "emulated");
    assert!(document["machine"]["clock_hz"].as_f64().unwrap() > 1e6);
    assert!(document["measured"].as_str().unwrap().contains("not of a wire"));
    // An interval later than a packet's own latency is never shorter than it.
    assert!(row["intended_ns"]["mean"].as_u64() >= service["mean"].as_u64());
}

#[test]
fn two_ports_joined_by_a_cable_are_measured_one_way() {
    for card in EACH.iter().map(|model| format!("emu:{model}")) {
        let document = json(&[&card, &card, "-c", "10k", "-r", "20k", "-s", "1518"]);
        assert_eq!(document["devices"].as_array().unwrap().len(), 2);
        let row = &document["results"][0];
        assert_eq!((&row["received"], &row["lost"]), (&10_000.into(), &0.into()));
        assert_eq!(row["frame"], 1_518);
    }
}

#[test]
fn what_the_wire_does_to_packets_is_counted() {
    let lossy = ["emu:82599,loss=10%,seed=3", "-c", "10k", "-r", "20k", "-w", "0"];
    let found = row(&[&lossy[..], &["--allow-loss", "15%"]].concat());
    assert_eq!(found["wire"]["in_lost"], found["lost"]);
    let lost = found["lost"].as_u64().unwrap();
    assert!((800..=1_200).contains(&lost), "{lost} lost of 10 000 at 10 %");
    assert_eq!(found["received"].as_u64().unwrap() + lost, 10_000);
    let refused = latency(&lossy);
    assert_eq!(refused.status.code(), Some(3), "a loss is no success");
    assert!(text(&refused.stderr).contains("packets were lost"), "{}", text(&refused.stderr));
    let found = row(&["emu:82599,dup=10%,seed=3", "-c", "10k", "-r", "20k", "-w", "0"]);
    let doubled = found["duplicated"].as_u64().unwrap();
    assert!((800..=1_200).contains(&doubled), "{doubled} doubled of 10 000 at 10 %");
    assert_eq!(found["lost"], 0);
}

#[test]
fn a_delay_on_the_wire_shows() {
    let found = row(&["emu:82599,delay=100us", "-c", "2k", "-r", "10k"]);
    let median = found["service_ns"]["p50"].as_u64().unwrap();
    // Time on the wire may run behind that of the processor, whose other threads
    // hold the model up; without the delay it takes a few microseconds.
    assert!(median >= 50_000, "{median} ns");
}

#[test]
fn a_percentile_that_rests_on_too_few_packets_is_not_printed() {
    let run = latency(&["--p9999", "-q", "-c", "1000"]);
    assert_eq!(run.status.code(), Some(3));
    assert!(run.stdout.is_empty(), "{}", text(&run.stdout));
    let errors = text(&run.stderr);
    assert!(errors.starts_with("bmnic: p99.99 needs 100 000 samples"), "{errors}");
    assert_eq!(errors.lines().count(), 1);
}

#[test]
fn the_files_hold_what_was_measured() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (hgrm, raw) = (path("a.hgrm"), path("a.csv"));
    let found = row(&["-c", "5k", "-r", "100k", "--allow-loss", "100%", "--hgrm", &hgrm, "--raw", &raw]);

    let raw = std::fs::read_to_string(raw).unwrap();
    let mut lines = raw.lines();
    assert_eq!(lines.next(), Some("sequence,due_ns,service_ns,intended_ns"));
    let mut service: Vec<u64> = lines.map(|line| line.split(',').nth(2).unwrap().parse().unwrap()).collect();
    // On a busy machine a few may be lost.
    let came = service.len();
    assert!(came > 2_500 && found["received"] == came, "{came} of {found}");
    service.sort_unstable();
    assert_eq!(found["service_ns"]["min"], service[0]);
    assert_eq!(found["service_ns"]["max"], service[came - 1]);
    let (median, middle) = (found["service_ns"]["p50"].as_u64().unwrap(), service[(came - 1) / 2]);
    assert!(median.abs_diff(middle) <= median / 500 + 1, "{median} against {middle}");

    let hgrm = std::fs::read_to_string(hgrm).unwrap();
    assert!(hgrm.contains(&format!("Total count    = {came:>12}]")), "{hgrm}");
}

#[test]
fn a_terminal_sees_how_much_is_left_and_nobody_else() {
    if Command::new("script").arg("-V").output().is_err() {
        println!("SKIPPED: script is not installed");
        return;
    }
    let on_terminal = |args: &str| {
        let _alone = alone();
        let words = format!("{} latency -d 1200ms -r 1k {} {args}", env!("CARGO_BIN_EXE_bmnic"), LENIENT.join(" "));
        // Standard error is the terminal that script makes.
        let run = Command::new("script").args(["-qec", &words, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stdout));
        text(&run.stdout)
    };
    let seen = on_terminal("");
    assert!(seen.contains(" left") && seen.contains("64 bytes"), "{seen}");
    for quiet in ["-q", "--json", "2>/dev/null"] {
        assert!(!on_terminal(quiet).contains(" left"), "{quiet}");
    }
}

#[test]
fn nothing_that_comes_back_is_an_error_with_a_likely_cause() {
    let run = latency(&["emu:82599,wire=sink", "-c", "100"]);
    assert_eq!(run.status.code(), Some(1));
    let errors = text(&run.stderr);
    assert!(errors.contains("100 packets were sent and none came back; does its wire lead back to it?"), "{errors}");
}

#[test]
fn ctrl_c_ends_it_with_the_summary() {
    let _alone = alone();
    let mut child = command(&["emu:82599", "-r", "10k"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first line says that the card is open; by then signals are heard.
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut summary = String::new();
    out.read_line(&mut summary).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    out.read_to_string(&mut summary).unwrap();
    let run = child.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(130), "{}", text(&run.stderr));
    assert!(summary.contains(" received, 0 lost"), "{summary}");
}

#[test]
fn nonsense_is_refused_in_one_line_and_nothing_is_written() {
    for (args, code) in [
        (&["-s", "63"][..], 2),
        (&["-s", "64-1518"], 2),
        (&["-s", "15873"], 2),
        (&["--load", "101%"], 2),
        (&["--load", "50", "--load-size", "63"], 2),
        (&["--load-size", "64"], 2),
        (&["--load", "99.9%", "-r", "100k"], 2),
        (&["--load", "0,50", "--p99"], 2),
        (&["--load", "0,50", "-d", "0"], 2),
        (&["--load", "0,50", "--hgrm", "/dev/null"], 2),
        (&["-s", "64-70", "--plot"], 2),
        (&["-s", "64,128", "--stages"], 2),
        (&["-r", "0"], 2),
        (&["--percentiles", "50,100"], 2),
        (&["--p50", "--p99"], 2),
        (&["emu:82599", "emu:82599", "emu:82599"], 2),
        (&["--raw", "/nonexistent/raw.csv"], 1),
        (&["emu:82599", "--raw", "/dev/null"], 2),
        (&["emu:nonesuch"], 2),
    ] {
        let run = latency(args);
        assert_eq!(run.status.code(), Some(code), "{args:?}: {}", text(&run.stderr));
        assert!(run.stdout.is_empty() || code == 2, "{args:?}");
        assert!(!text(&run.stderr).contains("panicked"), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_not_a_short_file_passed_over() {
    if !Path::new("/dev/full").exists() {
        println!("SKIPPED: no /dev/full here");
        return;
    }
    let run = latency(&["-c", "1000", "--raw", "/dev/full"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(
        text(&run.stderr).contains("writing /dev/full; it is not complete: No space left"),
        "{}",
        text(&run.stderr)
    );
}

#[test]
fn the_measuring_thread_makes_no_system_call_a_packet() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: strace is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // System calls of the main thread, which is the one that measures.
    let calls = |count: &str| {
        let _alone = alone();
        let log = directory.path().join(count);
        let mut strace = Command::new("strace");
        strace.args(["-ff", "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_bmnic"));
        let child = strace
            .args(["latency", "-q", "-c", count, "-r", "100k"])
            .args(LENIENT)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let run = child.wait_with_output().unwrap();
        assert!(run.status.success());
        // -ff writes one file a thread; the main one is the one that exec'd.
        let main = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_stem().is_some_and(|stem| stem == count))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .find(|log| log.contains("execve("))
            .unwrap();
        // Giving way after a millisecond without packets is not a cost of a packet.
        main.lines().filter(|line| !line.starts_with("sched_yield")).count()
    };
    let (few, many) = (calls("1000"), calls("50000"));
    assert!(many <= few + 20, "{few} system calls for 1 000 packets, {many} for 50 000");
}
