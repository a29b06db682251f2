//! `bmnic check` on emulated cards: all is well on those that are, and each step fails for
//! a reason of its own. What no emulated card can do wrong is tested beside the steps.

#[path = "common/families.rs"]
mod families;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

fn bmnic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    command.arg("check").args(words).env_remove("BMNIC_STRICT");
    command
}

fn check(words: &[&str]) -> Output {
    bmnic(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A step of a document: its name, the verdict, what was seen.
#[derive(Debug)]
struct Step {
    name: String,
    verdict: String,
    seen: String,
    ms: f64,
}

fn steps(output: &Output) -> Vec<Step> {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let steps = document["steps"].as_array().unwrap_or_else(|| panic!("{document:#}")).clone();
    let step = |step: &Value| {
        let [name, verdict, seen] = ["step", "verdict", "seen"].map(|of| step[of].as_str().unwrap().to_owned());
        Step { name, verdict, seen, ms: step["took_ns"].as_f64().unwrap() / 1e6 }
    };
    steps.iter().map(step).collect()
}

/// Looks at each of these, six at a time, as a check waits for its card most of its time:
/// nothing is wrong with any.
fn each<T: Copy + Sync>(all: &[T], wrong: impl Fn(T) -> Option<String> + Sync) {
    let next = AtomicUsize::new(0);
    let look = || std::iter::from_fn(|| all.get(next.fetch_add(1, Relaxed))).filter_map(|one| wrong(*one)).collect();
    let found: Vec<String> = thread::scope(|scope| {
        let six: Vec<_> = (0..6).map(|_| scope.spawn(look)).collect();
        six.into_iter().flat_map(|one| -> Vec<String> { one.join().unwrap() }).collect()
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_card_is_as_it_is_to_be_plain_and_nasty() {
    let cards: Vec<_> = families::EACH
        .into_iter()
        .chain([families::card("x550")])
        .flat_map(|card| [(card, ""), (card, ",nasty")])
        .collect();
    each(&cards, |(card, nasty)| {
        let output = check(&["--json", "--strict", &format!("emu:{card},strict{nasty}")]);
        let found = steps(&output);
        let is = |name: &str| found.iter().find(|step| step.name == name).map(|step| step.verdict.as_str());
        let must = ["open", "link", "one packet", "a few packets", "a ring of packets", "every length", "counters"];
        // A minute, and another one for a machine that is busy with other tests.
        let took: f64 = found.iter().map(|step| step.ms).sum();
        let well = took < 120e3
            && found.iter().all(|step| step.verdict != "failed")
            && output.status.code() == Some(0)
            && must.iter().all(|name| is(name) == Some("ok"))
            && is("kill") == Some("skipped");
        (!well).then(|| format!("{card}{nasty}: {found:?}"))
    });
}

#[test]
fn what_a_plain_card_has_is_not_left_out() {
    let output = check(&["--json", "emu:bcm57508"]);
    // On a busy machine nothing can be said of a clock's rate.
    let is_lack = |step: &Step| step.verdict == "skipped" && !step.seen.ends_with("too busy to tell");
    let skipped: Vec<Step> = steps(&output).into_iter().filter(is_lack).collect();
    let names: Vec<&str> = skipped.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["nvm", "kill"], "{skipped:?}");
    assert_eq!(steps(&output).len(), 27);
    if cfg!(target_arch = "x86_64") {
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let crossed = &document["crossings_a_packet"];
        assert_eq!(crossed["burst"], 1);
        // A packet that is alone has a doorbell, and its data and descriptor are read.
        assert!((1.0..1.2).contains(&crossed["doorbell_stores"].as_f64().unwrap()), "{crossed:#}");
        assert!((2.0..2.2).contains(&crossed["reads"].as_f64().unwrap()), "{crossed:#}");
    }
}

#[test]
fn without_a_name_it_is_the_emulated_default_and_says_how_each_step_went() {
    let output = check(&[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("checking emu:82599"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("ok       one packet")), "{said}");
    assert!(said.lines().last().unwrap().ends_with("0 failed, 4 skipped"), "{said}");
    let steps = said.lines().filter(|line| ["ok ", "failed ", "skipped "].iter().any(|word| line.starts_with(word)));
    assert_eq!(steps.count(), 27, "a line each where no terminal is: {said}");
}

#[test]
fn two_cards_on_a_cable_are_checked_as_one() {
    let output = check(&["--json", "emu:82599", "--peer", "emu:x710"]);
    let found = steps(&output);
    assert!(found.iter().all(|step| step.verdict != "failed"), "{found:?}");
    assert!(found.iter().any(|step| step.name == "spreading" && step.verdict == "ok"), "{found:?}");
}

#[test]
fn a_switch_between_two_cards_is_not_taken_for_a_fault_of_theirs() {
    // The receiver's MAC counts pauses, too, which no host gets; it may come out even, as it
    // tells its counts once a second.
    let output = check(&["--json", "emu:x710,wire=switch", "--peer", "emu:x2522,wire=switch"]);
    let found = steps(&output);
    let is = |name: &str| found.iter().find(|step| step.name == name).unwrap();
    let counters = is("counters");
    assert!(counters.verdict == "ok" && counters.seen.starts_with("3200 frames and their bytes"), "{found:?}");
    let refused = "; something between the ports may have refused it, as a switch does";
    assert_eq!(is("tags").seen, format!("it did not arrive{refused}"), "{found:?}");
    assert_eq!(is("long frames").seen, format!("12 of packets 0 to 11 did not arrive{refused}"), "{found:?}");
    let failed: Vec<&str> = found.iter().filter(|step| step.verdict == "failed").map(|step| &*step.name).collect();
    assert_eq!(failed, ["tags", "long frames"], "{found:?}");
    // What is below is a card's own.
    let output = check(&["--json", "emu:x540,wire=switch,fault=miscount", "--peer", "emu:virtio,wire=switch"]);
    let found = steps(&output);
    let counters = found.iter().find(|step| step.name == "counters").unwrap();
    assert!(counters.verdict == "failed" && counters.seen.contains("; it says "), "{found:?}");
}

#[test]
fn what_is_said_of_the_link_is_the_cards_and_of_queues_what_the_receiver_has() {
    let output = check(&["--json", "emu:virtio-legacy", "--peer", "emu:82599"]);
    let found = steps(&output);
    let is = |name: &str| found.iter().find(|step| step.name == name).unwrap();
    assert!(found.iter().all(|step| step.verdict != "failed"), "{found:?}");
    assert_eq!(is("link").seen, "up", "its device tells no speed");
    assert_eq!((is("spreading").verdict.as_str(), is("steering").verdict.as_str()), ("ok", "ok"), "{found:?}");
}

#[test]
fn a_wire_that_leads_elsewhere_is_said_and_is_no_fault_of_the_card() {
    let output = check(&["emu:82599,wire=sink"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("checking emu:82599,wire=sink: its wire leads elsewhere, and no"), "{said}");
    for step in ["ok       sending", "skipped  one packet", "ok       counters"] {
        assert!(said.lines().any(|line| line.starts_with(step)), "{step}: {said}");
    }
}

#[test]
fn a_link_that_takes_its_time_is_no_fault_of_the_card() {
    let output = check(&["--json", "emu:82599,link=9s"]);
    let found = steps(&output);
    assert!(found.iter().all(|step| step.verdict != "failed"), "{found:?}");
    assert!(found.iter().any(|step| step.seen == "no time is left for the link"), "{found:?}");
}

/// A machine with an 82599 whose registers nobody answers, at 0000:03:00.0, and the command
/// on it.
fn on_a_machine(dir: &Path, words: &[&str]) -> Command {
    let card = dir.join("sys/bus/pci/devices/0000:03:00.0");
    fs::create_dir_all(&card).unwrap();
    let put = |file: &str, bytes: &[u8]| fs::write(card.join(file), bytes).unwrap();
    put("vendor", b"0x8086");
    put("device", b"0x10fb");
    put("class", b"0x020000");
    put("resource", b"0x00000000f7c00000 0x00000000f7c7ffff 0x0000000000040200\n");
    let mut config = [0; 64];
    config[..4].copy_from_slice(&[0x86, 0x80, 0xfb, 0x10]);
    put("config", &config);
    fs::File::create_new(card.join("resource0")).unwrap().set_len(0x8_0000).unwrap();
    let mut command = bmnic(words);
    for root in ["SYS", "DEV", "RUN"] {
        command.env(format!("BMNIC_{root}_ROOT"), dir.join(root.to_lowercase()));
    }
    command
}

#[test]
fn a_card_that_cannot_be_had_is_reported_and_nobody_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    let mut command = on_a_machine(dir.path(), &["alice0", "--report", path.to_str().unwrap()]);
    let card = dir.path().join("sys/bus/pci/devices/0000:03:00.0");
    let interface = dir.path().join("sys/class/net/alice0");
    fs::create_dir_all(&interface).unwrap();
    symlink("../../../bus/pci/devices/0000:03:00.0", interface.join("device")).unwrap();
    symlink("../../../../bus/pci/drivers/ixgbe", card.join("driver")).unwrap();
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert!(said.starts_with("bmnic: 0000:03:00.0: the kernel's ixgbe has it"), "{said}");
    let report = fs::read_to_string(&path).unwrap();
    let document: Value = serde_json::from_str(&report).unwrap();
    let steps = document["steps"].as_array().unwrap();
    let [step] = &steps[..] else { panic!("{report}") };
    assert_eq!((&step["step"], &step["verdict"], &document["failed"]), (&"reach".into(), &"failed".into(), &1.into()));
    assert_eq!(step["seen"], "ADDRESS: the kernel's ixgbe has it; run `sudo bmnic bind ADDRESS`");
    assert!(!report.contains("alice") && !report.contains("03:00"), "{report}");
    let misspelt = dir.path().join("none.json");
    check(&["emu:none", "--report", misspelt.to_str().unwrap()]);
    assert!(!misspelt.exists(), "that is no card");
}

#[test]
fn a_trace_of_a_card_of_the_machine_has_the_first_opening_with_a_driver() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    // Its reset never ends.
    let mut command = on_a_machine(dir.path(), &["--json", "0000:03:00.0", "--trace", trace.to_str().unwrap()]);
    let found = steps(&command.output().unwrap());
    let open = found.iter().find(|step| step.name == "open").unwrap();
    assert!(open.seen.contains("reset did not finish"), "{found:?}");
    let lines = fs::read_to_string(&trace).unwrap();
    assert!(lines.lines().any(|line| line.starts_with("W 0:00000/4 CTRL = ")), "{lines}");
}

/// Of each step a fault that it is there to find, and what it says of it. It is the first that
/// fails: those before it are not about that.
#[test]
fn each_step_fails_for_its_own_reason() {
    let faults = [
        ("virtio,fault=reset-fatal", "reset", "ffff:ffff instead of 1af4:1041"),
        ("cx5,fault=vpd-torn", "vpd", "byte 62: a field of 255 bytes in "),
        ("x2522,fault=vpd-torn", "vpd", "is no keyword"),
        ("bcm57414,fault=vpd-sum", "vpd", "the checksum is wrong by 1"),
        ("x710,fault=crash", "open", ""),
        ("bcm57414,fault=no-version", "firmware", "version '0.0.0'"),
        ("82599,fault=nvm", "nvm", "the words of its checksum come to 0x"),
        ("x540,fault=nvm", "nvm", "the words of its checksum come to 0x"),
        ("x550,fault=nvm", "nvm", "the words of its checksum come to 0x"),
        ("x710,fault=nvm", "nvm", "the words of its checksum come to 0x"),
        ("x722,fault=nvm", "nvm", "the words of its checksum come to 0x"),
        ("x2522,fault=nvm", "nvm", "part 0x101 of its non-volatile memory is damaged"),
        ("82599,fault=module-sum", "module", "the checksum over what its module is is 0x"),
        ("x710,fault=module-sum", "module", "the checksum over what its module is is 0x"),
        ("xl710,fault=module-sum", "module", "the checksum over what its module is is 0x"),
        ("x2522,fault=module-sum", "module", "the checksum over what its module is is 0x"),
        ("bcm57414,fault=module-sum", "module", "the checksum over what its module is is 0x"),
        ("cx5,fault=module-sum", "module", "the checksum over what its module is is 0x"),
        ("82599,link=3600s", "link", "no link after 1.0 s"),
        ("virtio,fault=send-stuck", "sending", "were never reported as sent"),
        ("virtio,fault=held:65", "sending", "of 64 packets 0 arrived"),
        ("virtio,loss=100%", "sending", "of 64 packets 0 arrived"),
        ("virtio,fault=held", "one packet", "of 1 packets 0 arrived"),
        ("virtio,fault=lose-each:65", "one packet", "of 1 packets 0 arrived"),
        ("virtio,fault=lose-each:67", "a few packets", "of 2 packets 1 arrived"),
        ("virtio,fault=lose-each:500", "a ring of packets", "1 of packets 416 to 447 did not arrive"),
        ("virtio,reorder=5%", "a ring of packets", ""),
        ("virtio,corrupt=0.5%,seed=1", "a ring of packets", "byte 27 of 244 arrived as 13, not as 12"),
        ("virtio,fault=lose-long", "every length", "14 of packets 1440 to 1454 did not arrive"),
        ("x540,fault=sums-lie", "checksums", "a right one is called wrong"),
        ("x540,fault=tag-lost", "tags", "it was taken off the frame, and is not beside it"),
        ("x550,fault=clock-back", "stamps", "that of packet 1 is not later than the one before"),
        ("x550,fault=clock-slow", "stamps", "of the machine's rate at most"),
        ("x540,fault=miscount", "counters", "it says"),
        ("virtio,fault=lose-irq", "interrupts", "packet 1 of 1000 woke nobody within 1s"),
        ("virtio,fault=lose-irq:500", "interrupts", "packet 500 of 1000 woke nobody within 1s"),
        ("virtio,fault=lose-long:4000", "long frames", "7 of packets 0 to 11 did not arrive"),
        ("x2522,fault=ctpio-torn", "ways", "ctpio: byte 59 of 60 arrived as"),
        ("x540,fault=one-queue", "spreading", "256 flows as [256, 0, 0, 0]: nothing on 3 of 4 queues"),
        ("x540,fault=steer-wrong", "steering", "steered to queue 0 it came on 1"),
        ("x540,fault=steer-all", "steering", "another flow, which was not steered, came on queues [0, 1, 2, 3]"),
        ("x2522,fault=reset-fatal:40", "again", "time "),
    ];
    each(&faults, |(card, step, seen)| {
        let output = check(&["--json", "--link-wait", "1s", &format!("emu:{card}")]);
        let found = steps(&output);
        let first = found.iter().find(|step| step.verdict == "failed");
        let right = first.is_some_and(|first| first.name == step && first.seen.contains(seen));
        (!right || output.status.code() != Some(1)).then(|| format!("{card}: {step} is to fail, and {first:?} did"))
    });
}

#[test]
fn an_empty_cage_is_told_before_the_link_fails_and_is_no_fault_of_the_card() {
    let cards = ["82599", "x710", "xl710", "x2522", "bcm57414", "cx5"];
    each(&cards, |card| {
        let output = check(&["--json", "--link-wait", "1s", &format!("emu:{card},fault=no-module")]);
        let found = steps(&output);
        let failed: Vec<&str> =
            found.iter().filter(|step| step.verdict == "failed").map(|step| step.name.as_str()).collect();
        let module = found.iter().find(|step| step.name == "module").unwrap();
        let right = module.verdict == "skipped" && module.seen.contains("no module") && failed == ["link"];
        (!right).then(|| format!("{card}: {module:?}, {failed:?}"))
    });
}

#[test]
fn a_wire_that_loses_everything_fails_each_step_with_packets_and_within_a_minute() {
    let output = check(&["--json", "emu:virtio,loss=100%"]);
    let found = steps(&output);
    let is = |name: &str| found.iter().find(|step| step.name == name).unwrap();
    for name in ["sending", "one packet", "a few packets", "counters"] {
        assert_eq!(is(name).verdict, "failed", "{name}: {found:?}");
    }
    let took: f64 = found.iter().map(|step| step.ms).sum();
    assert!(took < 60e3, "{found:?}");
}

#[test]
fn a_packet_of_a_step_before_is_not_taken_for_one_that_is_waited_for() {
    let output = check(&["--json", "emu:virtio,fault=held:66"]);
    let found = steps(&output);
    for name in ["sending", "one packet", "a few packets"] {
        let step = found.iter().find(|step| step.name == name).unwrap();
        assert_eq!(step.verdict, "failed", "{found:?}");
        let words: Vec<&str> = step.seen.split(' ').collect();
        let ["of", sent, "packets", came, "arrived" | "arrived,", ..] = words[..] else { panic!("{step:?}") };
        assert!(came.parse::<u32>().unwrap() < sent.parse().unwrap(), "{step:?}");
    }
}

#[test]
fn a_card_that_holds_its_last_frame_back_fails_alone_and_among_a_few() {
    let output = check(&["--json", "emu:virtio,fault=hold-last"]);
    let found = steps(&output);
    for (name, seen) in [
        ("sending", "of 64 packets 63 arrived"),
        ("one packet", "of 1 packets 0 arrived, and 1 others"),
        ("a few packets", "of 2 packets 1 arrived, and 1 others"),
    ] {
        let step = found.iter().find(|step| step.name == name).unwrap();
        assert_eq!((step.verdict.as_str(), step.seen.as_str()), ("failed", seen), "{found:?}");
    }
}

#[test]
fn a_failed_step_is_said_with_what_was_expected_and_the_run_fails() {
    let output = check(&["emu:virtio,fault=held"]);
    let said = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1), "{said}");
    // Which packets are held back, and so which steps fail, differs with the machine's load.
    assert!(said.contains(" arrived (expected: ") || said.contains(" not arrive (expected: "), "{said}");
    let quiet = text(&check(&["emu:virtio,fault=held", "--quiet"]).stdout);
    assert!(quiet.starts_with("failed   ") && !quiet.contains("\nok  "), "{quiet}");
    let error = text(&output.stderr);
    assert!(error.starts_with("bmnic: ") && error.contains(" of 27 steps failed; "), "{error}");
}

#[test]
fn a_card_without_a_link_is_not_asked_for_packets() {
    let output = check(&["--json", "--link-wait", "1s", "emu:82599,link=3600s"]);
    let found = steps(&output);
    let without = found.iter().filter(|step| step.seen == "it has no link").count();
    assert!(without > 10, "{found:?}");
    let is = |name: &str| found.iter().find(|step| step.name == name).unwrap();
    assert_eq!(is("again").verdict, "ok", "{found:?}");
}

#[test]
fn a_report_names_nobody_and_says_what_card_and_machine_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    let output = check(&["emu:cx5,mac=02:ab:cd:ef:12:34,fault=held", "--report", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report = std::fs::read_to_string(&path).unwrap();
    let document: Value = serde_json::from_str(&report).unwrap();
    let card = families::card("cx5");
    assert_eq!((&document["card"]["driver"], &document["pci"]["id"]), (&"mlx5".into(), &"15b3:1017".into()), "{card}");
    assert!(document["card"]["firmware"].is_string() && document["pci"]["pcie"]["width"].is_u64(), "{report}");
    assert!(!document["pci"]["capabilities"].as_array().unwrap().is_empty(), "{report}");
    assert_eq!(document["machine"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(document["machine"]["kernel"].is_string());
    assert!(document["failed"].as_u64().unwrap() > 0);
    let steps = document["steps"].as_array().unwrap();
    assert!(steps.len() == 27 && steps.iter().all(|step| step["took_ns"].is_u64() && step["expected"].is_string()));
    let product = steps.iter().find(|step| step["step"] == "vpd").unwrap()["seen"].as_str().unwrap();
    assert_eq!(product, "ConnectX, emulated; PN EMULATED; EC A1; checksum right");
    let module = steps.iter().find(|step| step["step"] == "module").unwrap()["seen"].as_str().unwrap();
    assert_eq!(module, "QSFP28, MPO; Mellanox EMULATED-SR; 100GBASE-SR4; 35.0 °C; checksum right");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let report = report.to_lowercase();
    for word in ["02:ab:cd", "ab:cd:ef", "abcdef", "emu-serial", "emulated-sn"] {
        assert!(!report.contains(word), "{word}: {report}");
    }
    // It may be a part of a word that has nothing to do with it.
    let mut words = report.split(|c: char| !c.is_alphanumeric() && !"-.".contains(c));
    assert!(words.all(|word| word != host.trim().to_lowercase()), "{host}: {report}");
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 1, "nothing lies beside it");
}

#[test]
fn what_is_the_users_is_no_fault_of_the_card() {
    for more in [&["alice7"][..], &["0000:03:00.0", "--trace", "/nowhere/trace"]] {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("report.json");
        let words = ["--report", report.to_str().unwrap()];
        let output = on_a_machine(dir.path(), &[more, &words].concat()).output().unwrap();
        assert!(!output.status.success(), "{more:?}");
        assert!(!report.exists(), "{more:?}: {}", fs::read_to_string(&report).unwrap());
    }
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_the_card_is_touched() {
    let output = check(&["emu:virtio", "--report", "/nowhere/report.json"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    assert!(text(&output.stderr).starts_with("bmnic: creating /nowhere/report.json: "), "{}", text(&output.stderr));
}

#[test]
fn a_signal_ends_it_with_its_summary_and_its_report() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    let mut child = bmnic(&["emu:82599", "--report", path.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Not before it listens.
    let said = lines.by_ref().find(|line| line.as_ref().unwrap().contains(" open ")).unwrap();
    assert!(said.is_ok());
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let last = lines.last().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{last}");
    assert!(last.contains(" steps: ") && last.contains(" 0 failed"), "{last}");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(document["steps"].as_array().unwrap().len() < 27);
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for words in [&["--peer", "emu:x710"][..], &["emu:82599", "--peer", "emu:x710", "--cable"], &["emu:none"]] {
        let output = check(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
    }
}
