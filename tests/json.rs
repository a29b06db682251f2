//! What every command prints with `--json` and `--json-lines`, against the schemas of
//! `tests/schema`: no field that they do not know, and one unit for each quantity.

#[path = "common/fake_sysfs.rs"]
mod fake_sysfs;
#[path = "common/native.rs"]
mod native;
#[path = "common/schema.rs"]
mod schema;

use fake_sysfs::{Card, PORT, Tree};
use native::bmnic;
use schema::{faults, judge};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{e}: {}", text(bytes)))
}

/// The one document of a result that these words print, whatever the exit code; judged.
fn printed(words: &[&str]) -> Value {
    let document = document(&bmnic(&[&["--json"], words].concat()).output().unwrap());
    assert_eq!(document.get("error"), None, "{words:?}");
    document
}

fn document(output: &Output) -> Value {
    let Ok(document) = serde_json::from_slice(&output.stdout) else {
        panic!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    judge(&document);
    document
}

/// The lines that these words print with `--json-lines`; each is judged.
fn lines(words: &[&str]) -> Vec<Value> {
    let output = bmnic(&[&["--json-lines"], words].concat()).output().unwrap();
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| parsed(line.as_bytes())).collect();
    assert!(!lines.is_empty(), "{words:?}: {}", text(&output.stderr));
    lines.iter().for_each(judge);
    lines
}

/// The same of a machine of plain files.
fn printed_on(tree: &Tree, words: &[&str]) -> Value {
    let roots = &tree.roots;
    let mut command = bmnic(&[&["--json"], words].concat());
    command.env("BMNIC_SYS_ROOT", &roots.sys).env("BMNIC_PROC_ROOT", &roots.proc);
    command.env("BMNIC_DEV_ROOT", &roots.dev).env("BMNIC_RUN_ROOT", &roots.run);
    document(&command.env_remove("SSH_CONNECTION").output().unwrap())
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

/// A name that no other test and no other run of it has.
fn unique(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

/// The objects that a schema is of, each with its place.
fn objects<'s>(schema: &'s Value, place: &str, found: &mut Vec<(String, &'s Value)>) {
    match schema {
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object) || schema["type"] == "object" {
                found.push((place.to_owned(), schema));
            }
            fields.iter().for_each(|(name, part)| objects(part, &format!("{place}/{name}"), found));
        }
        Value::Array(all) => all.iter().enumerate().for_each(|(n, part)| objects(part, &format!("{place}/{n}"), found)),
        _ => {}
    }
}

/// Fields that hold one unit, by the ends of their names, and the definition that says so.
const UNITS: [(&str, &str); 5] =
    [("ns", "ns"), ("pps", "pps"), ("bits_per_second", "bits_per_second"), ("bytes", "bytes"), ("share", "share")];

/// Ends of names of other units, of which there are none.
const OTHERS: [&str; 18] = [
    "seconds", "s", "ms", "us", "mpps", "kpps", "gbits", "mbits", "gbps", "mbps", "bps", "bits", "kib", "mib", "gib",
    "percent", "ppm", "time",
];

#[test]
fn no_schema_leaves_a_place_for_fields_that_it_does_not_know() {
    for (name, schema) in schema::all() {
        let mut all = Vec::new();
        objects(&schema, "", &mut all);
        assert!(!all.is_empty(), "{name} has no object");
        for (place, object) in all {
            // What others are built on is closed by them, and a condition is none.
            let open = ["/$defs/head", "/$defs/run", "/$defs/line"].contains(&place.as_str()) || place == "/if";
            let closed = object.get("additionalProperties").or(object.get("unevaluatedProperties"));
            // A map has values of one kind.
            let is_closed = closed.is_some_and(|rest| *rest == json!(false) || rest.is_object());
            assert!(open || is_closed, "{name}{place}: {object:#}");
        }
    }
}

#[test]
fn every_field_of_a_quantity_is_in_the_one_unit_that_its_name_ends_with() {
    let mut known = 0;
    for (name, schema) in schema::all() {
        let mut all = Vec::new();
        objects(&schema, "", &mut all);
        let fields = all.iter().flat_map(|(place, object)| {
            object["properties"].as_object().into_iter().flatten().map(move |(field, kind)| (place, field, kind))
        });
        for (place, field, kind) in fields {
            let end = |unit: &str| field == unit || field.ends_with(&format!("_{unit}"));
            assert!(!OTHERS.iter().any(|other| field.ends_with(&format!("_{other}"))), "{name}{place}: {field}");
            assert!(!["seconds", "ms", "mpps", "ppm", "percent"].contains(&field.as_str()), "{name}{place}: {field}");
            // A ratio has no unit.
            if field.starts_with("ratio_") {
                continue;
            }
            let Some((_, unit)) = UNITS.iter().find(|(unit, _)| end(unit)) else { continue };
            // A number, or a distribution or parts of it.
            let kind = kind.to_string();
            let is_part = kind.contains("\"object\"") || kind.contains("distribution");
            assert!(is_part || kind.contains(&format!("/$defs/{unit}\"")), "{name}{place}: {field} is {kind}");
            known += 1;
        }
    }
    assert!(known > 80, "{known} fields of a quantity");
}

#[test]
fn a_field_that_the_schema_does_not_know_is_found_wherever_it_is() {
    let document = printed(&["pktgen", "-c", "10"]);
    for place in ["", "/machine", "/devices/0", "/threads/0", "/gap_error_ns", "/port/anomalies"] {
        let mut changed = document.clone();
        changed.pointer_mut(place).unwrap()["unheard_of"] = 1.into();
        assert!(!faults("pktgen", &changed).is_empty(), "{place}");
        let mut changed = document.clone();
        let object = changed.pointer_mut(place).unwrap().as_object_mut().unwrap();
        let first = object.keys().next().unwrap().clone();
        object.remove(&first);
        assert!(!faults("pktgen", &changed).is_empty(), "{place} without {first}");
    }
    let mut changed = document;
    changed["pps"] = "fast".into();
    assert!(!faults("pktgen", &changed).is_empty());
}

#[test]
fn what_looks_at_the_machine_prints_what_its_schema_says() {
    printed(&["list"]);
    printed(&["list", "--all"]);
    printed(&["hugepages"]);
    printed(&["hugepages", "--who"]);
    printed(&["hugepages", "--setup", "4M", "--dry-run"]);
    printed(&["emulate", "--list"]);
    let tree = Tree::new(&[PORT]);
    tree.address_v6("eth1");
    assert_eq!(printed_on(&tree, &["list"])["devices"][0]["driver"], "ixgbe");
    assert_eq!(printed_on(&tree, &["bind", "--status"])["command"], "bind");
    assert_eq!(printed_on(&tree, &["bind", "eth1"])["error"]["kind"], "refused");
    let beside = Card { address: "0000:03:00.1", interface: Some("eth2"), ..PORT };
    let both = printed_on(&Tree::new(&[PORT, beside]), &["list"]);
    assert_eq!(both["devices"][0]["iommu_group_also"], json!(["0000:03:00.1"]));
    let tree = Tree::new(&[PORT]);
    assert_eq!(printed_on(&tree, &["bind", "-n", "03:00.0"])["dry_run"], true);
    assert_eq!(printed_on(&tree, &["bind", "-b", "ixgbe", "03:00.0"])["devices"][0]["state"], "unchanged");
    printed_on(&tree, &["hugepages"]);
}

#[test]
fn what_moves_packets_prints_what_its_schema_says() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (file, cut) = (at("a.pcap"), at("b.pcap"));
    printed(&["fwd", "-c", "2000", "--allow-loss", "100%"]);
    printed(&["fwd", "-c", "2000", "--cycles", "--allow-loss", "100%", "--cores", "2", "--rxq", "2"]);
    assert_eq!(printed(&["pktgen", "-c", "1000", "--rate", "100k", "--allow-shortfall", "100%"])["sent"], 1_000);
    assert_eq!(printed(&["pktgen", "-c", "10", "-w", &file])["packets"], 10);
    let prepared = printed(&["pktgen", "--prepare", &file, "--fire-on", "match:ip", "-c", "30"]);
    assert_eq!(prepared["fired"], 30);
    assert_eq!(printed(&["pktgen", "-c", "100", "-w", &file])["packets"], 100);
    assert!(
        printed(&["pktgen", "--pcap", &file, "--rate", "10k", "--allow-shortfall", "100%"])["recording"].is_object()
    );
    assert_eq!(printed(&["capture", &file, "-c", "100", "--allow-loss", "100%"])["captured"], 100);
    let two = ["-i", "emu:82599,wire=source:rate=10k", "-i", "emu:x710,wire=source:rate=10k"];
    let series = ["capture", &cut, "-c", "100", "--allow-loss", "100%", "-b", "packets:30"];
    let several = printed(&[&series[..], &two].concat());
    assert!(several["files"].is_object() && several["by_device"][1].is_object(), "{several:#}");
    std::fs::write(&cut, &std::fs::read(&file).unwrap()[..1_000]).unwrap();
    assert!(printed(&["capture", "--repair", &cut])["cut_bytes"].as_u64() > Some(0));
    let perf = ["capture", &cut, "--perf-test", "card", "-d", "50ms"];
    assert!(printed(&perf).get("managed").is_some());
}

#[test]
fn what_measures_prints_what_its_schema_says() {
    let any = ["--allow-loss", "100%", "--allow-shortfall", "100%"];
    printed(&[&["latency", "-c", "2000", "-r", "20k", "--p50"][..], &any].concat());
    printed(&[&["latency", "-d", "50ms", "-r", "5k", "--tx-path", "all"][..], &any].concat());
    printed(&["throughput", "-t", "20ms", "-s", "64,imix", "--runs", "2"]);
    printed(&["throughput", "-t", "5ms", "-s", "64", "--runs", "1", "--ndr", "--precision", "10%"]);
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    printed(&["check", "emu:virtio", "--report", report.to_str().unwrap()]);
    judge(&parsed(&std::fs::read(report).unwrap()));
}

/// Waits until `ready` says so.
fn wait(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_told_while_it_runs_prints_what_its_schema_says() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (name, file, copy) = (unique("json"), at("a.pcap"), at("b.pcap"));
    let words =
        ["capture", "-i", "emu:82599,wire=source:rate=20k", "-w", &file, "-d", "100s", "-b", "files:9,packets:1000000"];
    let told = ["--control", &name, "--publish", &name, "--allow-loss", "100%", "--json"];
    let child = bmnic(&[&words[..], &told].concat()).stdout(Stdio::piped()).spawn().unwrap();
    wait("it does not listen", || bmnic(&["ctl", &name, "status"]).output().unwrap().status.success());
    for words in [&["status"][..], &["filter", "udp"], &["flush"], &["rotate"]] {
        let answer = printed(&[&["ctl", &name], words].concat());
        assert_eq!((&answer["asked"], answer.get("error")), (&words[0].into(), None));
    }
    let from = printed(&["capture", "--from", &name, &copy, "-c", "50", "--allow-loss", "100%"]);
    assert_eq!(from["ring"]["name"], *name, "{from:#}");
    assert_eq!(printed(&["ctl", &name, "stop"])["stopped"], true);
    document(&child.wait_with_output().unwrap());
}

#[test]
fn what_plays_a_card_prints_what_its_schema_says() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (trace, socket) = (at("card.trace"), at("socket"));
    bmnic(&["pktgen", "-i", "emu:virtio,wire=sink", "-c", "1", "--trace", &trace]).output().unwrap();
    assert_eq!(printed(&["emulate", "virtio", "--replay", &trace])["differences"], json!([]));

    let served = bmnic(&["emulate", "82599", "--vfio-user", &socket, "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    wait("it does not serve", || Path::new(&socket).exists());
    signal(&served, "INT");
    assert_eq!(document(&served.wait_with_output().unwrap())["device"], "emu:82599");

    if !native::is_root() {
        println!("SKIPPED  a program on an emulated card: it takes root");
        return;
    }
    // Its standard output is the program's.
    let output = bmnic(&["--json", "emulate", "82599", "--", "true"]).output().unwrap();
    let at = output.stderr.iter().position(|byte| *byte == b'{').unwrap_or_else(|| panic!("{}", text(&output.stderr)));
    judge(&parsed(&output.stderr[at..]));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_comparison_prints_what_its_schema_says() {
    let Some(_turn) = native::dpdk() else { return };
    printed(&["compare-dpdk", "--rounds", "1", "--batch", "1,32"]);
    printed(&["compare-dpdk", "--testpmd", "--rounds", "1", "-d", "200ms"]);
}

/// The document of an error: standard output has it, and nothing else is anywhere.
fn error(words: &[&str], code: i32) -> Value {
    let output = bmnic(words).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{words:?}");
    let document = parsed(&output.stdout);
    judge(&document);
    assert_eq!(document["exit"], code, "{words:?}");
    document
}

#[test]
fn an_error_is_a_document_on_standard_output_and_nothing_else() {
    let cases: &[(&[&str], i32, Value, &str, &str)] = &[
        (&["fwd", "nosuchif0"], 1, "fwd".into(), "not found", "neither a PCI address"),
        (&["fwd", "--batch", "0"], 2, "fwd".into(), "usage", "0 is not in 1..=64"),
        (&["latency", "--no-such-option"], 2, "latency".into(), "usage", "--no-such-option"),
        (&["compare-dpdk", "--nic", "none"], 2, "compare-dpdk".into(), "usage", "x710"),
        (&["forward"], 2, Value::Null, "usage", "forward"),
        (&[], 2, Value::Null, "usage", "requires a subcommand"),
        (&["ctl", "nosuchcapture", "status"], 1, "ctl".into(), "not found", "no capture is named"),
        (&["capture", "-", "udp", "port", "none"], 2, "capture".into(), "usage", "none"),
    ];
    for (words, code, command, kind, says) in cases {
        let document = error(&[&["--json"], *words].concat(), *code);
        let message = document["error"]["message"].as_str().unwrap();
        assert_eq!((&document["command"], &document["error"]["kind"]), (command, &(*kind).into()), "{words:?}");
        assert!(message.contains(says), "{words:?}: {message}");
        let line = bmnic(&[&["--json-lines"], *words].concat()).output().unwrap();
        assert_eq!(text(&line.stdout).lines().count(), 1, "{words:?}");
        assert_eq!(parsed(&line.stdout)["final"], true);
    }
    let document = error(&["--json", "fwd", "0000:ff:1f.7"], 1);
    assert!(document["error"]["remedy"].as_str().unwrap().contains("bmnic list"), "{document:#}");
    // Words of another program are not ours.
    let output = bmnic(&["emulate", "nosuchcard", "--", "true", "--json"]).output().unwrap();
    assert!(output.stdout.is_empty() && text(&output.stderr).starts_with("bmnic: "), "{}", text(&output.stderr));
}

#[test]
fn a_limit_that_was_passed_keeps_the_document_of_the_result_and_has_its_own_beside() {
    let words = ["latency", "-c", "100", "--p9999", "--json", "--allow-loss", "100%", "--allow-shortfall", "100%"];
    let output = bmnic(&words).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(document(&output)["headline"]["ns"], Value::Null);
    let error = parsed(&output.stderr);
    judge(&error);
    assert_eq!((&error["error"]["kind"], &error["exit"]), (&"limit".into(), &3.into()));
}

#[test]
fn a_run_that_was_interrupted_keeps_its_document() {
    let child = bmnic(&["fwd", "-d", "100s", "-I", "50ms", "--json-lines", "--allow-loss", "100%"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = child;
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    signal(&child, "INT");
    let rest: Vec<Value> = out.lines().map(|line| parsed(line.unwrap().as_bytes())).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    rest.iter().for_each(judge);
    assert_eq!(rest.last().unwrap()["final"], true);
    assert!(rest.last().unwrap()["ports"][0]["counters"]["rx_packets"].as_u64() > Some(0));
}

#[test]
fn with_lines_there_is_one_each_interval_and_the_last_is_the_document() {
    let all = lines(&["fwd", "-d", "500ms", "-I", "50ms", "--allow-loss", "100%"]);
    let (last, before) = all.split_last().unwrap();
    assert!(before.len() > 1 && before.iter().all(|line| line["final"] == false), "{} lines", before.len());
    let time = |line: &Value| line["at_ns"].as_u64().unwrap();
    assert!(all.is_sorted_by_key(time));
    let received = |line: &Value| line["ports"][0]["counters"]["rx_packets"].as_u64().unwrap();
    assert!(all.is_sorted_by_key(received) && received(last) > 0);
    // But for when it was printed, the last is what --json prints.
    let fields = |document: &Value| document.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let whole = printed(&["fwd", "-c", "100", "--allow-loss", "100%"]);
    assert_eq!(fields(last), [fields(&whole), vec!["at_ns".into(), "final".into()]].concat());
    for words in [
        &["pktgen", "-d", "1500ms", "--rate", "1k", "--allow-shortfall", "100%"][..],
        &["capture", "/dev/null", "-d", "1500ms", "--allow-loss", "100%"],
    ] {
        let all = lines(words);
        assert!(all.len() > 1, "{words:?}: {all:?}");
        assert_eq!(all.iter().filter(|line| line["final"] == true).count(), 1);
    }
    // What has no interval is its one line.
    assert_eq!(lines(&["list"]).len(), 1);
}

#[test]
fn a_reader_of_lines_that_goes_away_is_no_failure() {
    let words = ["fwd", "-d", "100s", "-I", "20ms", "--json-lines", "--allow-loss", "100%"];
    let mut child = bmnic(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    judge(&parsed(first.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}
