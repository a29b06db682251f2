//! `bmnic throughput` as a user runs it, on emulated cards.

#[path = "common/families.rs"]
mod families;
#[path = "common/schema.rs"]
mod schema;

use families::EACH;
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

/// Each run keeps two processors busy: one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

fn throughput(args: &[&str]) -> Output {
    let _alone = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Command::new(env!("CARGO_BIN_EXE_bmnic")).arg("throughput").args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs it with `--json`, on models that forgive nothing; it must succeed.
fn json(args: &[&str]) -> Value {
    let run = throughput(&[args, &["--json", "--strict"]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    schema::document(&run.stdout)
}

#[test]
fn the_table_has_a_row_for_each_size_and_says_what_was_measured() {
    let run = throughput(&["-t", "400ms"]);
    let out = text(&run.stdout);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(out.lines().next().unwrap().contains("emu:82599"), "{out}");
    assert!(out.contains("measured: sent as fast as the ring takes it"), "{out}");
    for size in ["64", "128", "256", "512", "1024", "1280", "1518", "imix"] {
        assert!(out.lines().any(|line| line.split_whitespace().next() == Some(size)), "no {size} in:\n{out}");
    }
}

#[test]
fn no_rate_is_above_that_of_the_line_and_nothing_is_counted_twice() {
    let document = json(&["-t", "100ms", "-s", "64,512,1518,imix"]);
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let (share, sent) = (row["of_line_rate"].as_f64().unwrap(), row["sent"].as_u64().unwrap());
        assert!(share > 0.0 && share <= 1.0, "{row}");
        assert_eq!(row["received"].as_u64().unwrap() + row["lost"].as_u64().unwrap(), sent);
        assert!(row["l1_bits_per_second"].as_f64().unwrap() <= 10e9, "{row}");
        assert!(row["rx_cycles"].as_f64().unwrap() > 0.0 && row["tx_cycles"].as_f64().unwrap() > 0.0, "{row}");
        assert!((1.0..=32.0).contains(&row["rx_batch"].as_f64().unwrap()), "{row}");
    }
    assert_eq!(rows[0]["line_rate_pps"].as_f64().unwrap().round(), 14_880_952.0);
    assert_eq!(document["devices"][0]["kind"], "emulated");
}

#[test]
fn a_packet_that_comes_twice_makes_up_for_none_that_is_lost() {
    let document = json(&["emu:82599,wire=loop,loss=5%,dup=20%,seed=3", "-t", "100ms", "-s", "512"]);
    let row = &document["rows"][0];
    let count = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name} in {row}"));
    assert_eq!(count("received") + count("lost"), count("sent"), "{row}");
    assert!(count("lost") * 100 >= count("sent") * 3, "{row}");
    assert!(count("duplicated") * 100 >= count("sent") * 10, "{row}");
}

#[test]
fn two_ports_joined_by_a_cable_pass_packets_one_way() {
    for card in EACH.iter().map(|model| format!("emu:{model}")) {
        let document = json(&[&card, &card, "-t", "50ms", "-s", "64"]);
        assert!(document["rows"][0]["received"].as_u64().unwrap() > 0);
    }
}

/// Runs a search of one size with `--json`. Whatever the machine does meanwhile, its
/// end is one of two: a rate and exit code 0, or none, a line that says what is known,
/// and exit code 3. Returns the row.
fn search(args: &[&str]) -> Value {
    let run = throughput(&[args, &["--json", "--strict"]].concat());
    let document = schema::document(&run.stdout);
    let row = document["rows"][0].clone();
    let measured = row["pps"].is_f64();
    assert_eq!(run.status.code(), Some(if measured { 0 } else { 3 }), "{row:#}\n{}", text(&run.stderr));
    assert_eq!(row["known"].is_string(), !measured, "{row:#}");
    assert_ne!(row["pps"], 0.0);
    assert!(row["tester_pps"].as_f64().unwrap() > 0.0, "{row:#}");
    assert!(!row["trials"].as_array().unwrap().is_empty());
    row
}

#[test]
fn a_search_keeps_to_the_loss_allowed() {
    let row = search(&[
        "emu:82599,loss=1%,seed=5",
        "--pdr",
        "5%",
        "--precision",
        "10%",
        "-t",
        "20ms",
        "-s",
        "1518",
        "--runs",
        "1",
    ]);
    if row["pps"].is_f64() {
        let (sent, lost) = (row["sent"].as_f64().unwrap(), row["lost"].as_f64().unwrap());
        assert!(lost > 0.0 && lost <= 0.05 * sent, "{row:#}");
    }
}

#[test]
fn a_wire_that_always_loses_has_no_non_drop_rate_and_that_is_no_success() {
    let row = search(&["emu:82599,loss=5%,seed=5", "--ndr", "--precision", "25%", "-t", "20ms", "-s", "1518"]);
    assert_eq!((&row["pps"], row["runs_ended"].as_u64()), (&Value::Null, Some(0)));
    assert!(row["known"].as_str().unwrap().contains("no rate passed"), "{row:#}");
}

#[test]
fn a_wire_with_a_limit_has_that_rate_or_none_was_measured() {
    const LIMIT: f64 = 100e3;
    let args = ["emu:82599,wire=loop,limit=100k", "--ndr", "-t", "100ms", "-s", "1518", "--runs", "1"];
    let row = search(&args);
    let line = row["line_rate_pps"].as_f64().unwrap();
    // What the bucket holds at the start of a trial passes as well.
    let most = LIMIT + bmnic::emu::wire::BURST as f64 / 0.1;
    if let Some(rate) = row["pps"].as_f64() {
        assert!(rate <= most, "{row:#}");
        // A tester whose own ceiling is lower says so; otherwise the wire was found.
        match row["above"]["kind"].as_str() {
            Some("device") => {
                let least = LIMIT * (1.0 - bmnic::measure::search::TOLERANCE) - 0.005 * line;
                assert!(rate >= least, "{row:#}");
                assert!(row["above"]["pps"].as_f64().unwrap() > LIMIT, "{row:#}");
            }
            Some("tester") => assert!(0.8 * row["tester_pps"].as_f64().unwrap() <= most, "{row:#}"),
            kind => panic!("{kind:?} in {row:#}"),
        }
    }
    // A rate that passed is at most the wire's, and one that failed at least: whatever
    // else there is to say.
    for search in row["searches"].as_array().unwrap() {
        assert!(search["pps"].as_f64().is_none_or(|rate| rate <= most), "{row:#}");
        if search["above"]["kind"] == "device" {
            assert!(search["above"]["pps"].as_f64().unwrap() > LIMIT, "{row:#}");
        }
    }
}

#[test]
fn a_search_prints_the_testers_ceiling_and_the_spread_beside_its_result() {
    let run = throughput(&["--ndr", "-t", "20ms", "-s", "1518", "--runs", "2", "--precision", "10%"]);
    let out = text(&run.stdout);
    for word in ["tester", "min", "max", "runs", "above"] {
        assert!(out.contains(word), "no {word} in:\n{out}");
    }
    assert!(matches!(run.status.code(), Some(0 | 3)), "{}", text(&run.stderr));
    assert_eq!(out.contains("not measured: "), run.status.code() == Some(3), "{out}");
}

/// Runs tests of RFC 2544 with `--json`; their end is one of two, as that of a search.
fn rfc2544(args: &[&str]) -> Value {
    let run = throughput(&[args, &["--json", "--strict"]].concat());
    assert!(matches!(run.status.code(), Some(0 | 3)), "{}", text(&run.stderr));
    schema::document(&run.stdout)
}

#[test]
fn the_loss_over_rates_and_the_longest_burst_are_those_of_the_wire_or_not_measured() {
    const LIMIT: f64 = 20e3;
    let time = 0.05;
    let document = rfc2544(&[
        "emu:82599,wire=loop,limit=20k",
        "--test",
        "loss,back-to-back",
        "-t",
        "50ms",
        "-s",
        "1518",
        "--runs",
        "1",
        "--precision",
        "5%",
    ]);
    assert_eq!(document["tests"], serde_json::json!(["loss", "back-to-back"]));
    let row = &document["rows"][0];
    assert_eq!(row["pps"], Value::Null, "no throughput was asked for");
    let steps = row["frame_loss"].as_array().unwrap();
    assert_eq!((steps.len(), &steps[0]["of_line_rate"]), (10, &Value::from(1.0)), "{row:#}");
    for step in steps {
        let Some(loss) = step["loss"].as_f64() else {
            assert!(step["why"].is_string(), "{step}");
            continue;
        };
        let sent = step["sent"].as_f64().unwrap();
        let right = 1.0 - (LIMIT * time + bmnic::emu::wire::BURST as f64) / sent;
        assert!((loss - right).abs() < 0.05, "{right} and not {step}");
    }
    let burst = &row["back_to_back"];
    match burst["frames"].as_f64() {
        // What came into the bucket while it was sent is in it.
        Some(frames) => assert!(frames >= bmnic::emu::wire::BURST as f64 * 0.9, "{burst}"),
        None => assert!(burst["why"].is_string(), "{burst}"),
    }
}

#[test]
fn all_tests_of_rfc_2544_have_a_table_and_what_they_leave_out_is_said() {
    let run = throughput(&["--rfc2544", "-t", "20ms", "-s", "1518", "--runs", "1", "--precision", "10%"]);
    let out = text(&run.stdout);
    assert!(matches!(run.status.code(), Some(0 | 3)), "{}", text(&run.stderr));
    for words in [
        "note: trials of 20ms; RFC 2544 asks for 60 s: --trial 60s",
        "§26.1",
        "frame loss rate (RFC 2544 §26.3):",
        "back-to-back frames (RFC 2544 §26.4):",
    ] {
        assert!(out.contains(words), "no {words} in:\n{out}");
    }
    assert_eq!(out.contains("not measured: "), run.status.code() == Some(3), "{out}");
}

#[test]
fn latency_is_measured_at_the_throughput() {
    let args = ["--test", "latency", "-t", "20ms", "-s", "1518", "--runs", "1", "--precision", "10%"];
    let document = rfc2544(&args);
    assert_eq!(document["tests"], serde_json::json!(["throughput", "latency"]), "it is searched for first");
    let row = &document["rows"][0];
    if let Some(p50) = row["latency"]["p50_ns"].as_u64() {
        assert!(p50 > 1_231, "no less than the frame takes on the wire: {row:#}");
        assert!(row["latency"]["pps"].as_f64().unwrap() >= row["pps"].as_f64().unwrap() * 0.99, "{row:#}");
        assert!(row["latency"]["packets"].as_u64().unwrap() > 0, "{row:#}");
    }
}

#[test]
fn two_goals_are_one_search_and_each_has_the_rate_of_the_wire_or_none() {
    const LIMIT: f64 = 50e3;
    const LOSS: f64 = 0.05;
    let args = ["emu:82599,wire=loop,limit=50k", "--ndr", "--pdr", "5%", "-t", "100ms", "-s", "1518", "--runs", "1"];
    let run = throughput(&[&args[..], &["--precision", "1%", "--json", "--strict"]].concat());
    let document = schema::document(&run.stdout);
    let rows = document["rows"].as_array().unwrap();
    assert_eq!((document["method"].as_str(), rows.len()), (Some("mlrsearch"), 2), "{document:#}");
    assert_eq!((&rows[0]["goal"], &rows[1]["goal"]), (&"ndr".into(), &"pdr 5%".into()));
    let measured = rows.iter().all(|row| row["pps"].is_f64());
    assert_eq!(run.status.code(), Some(if measured { 0 } else { 3 }), "{document:#}\n{}", text(&run.stderr));
    // What the bucket holds at the start of a trial passes as well.
    let most = LIMIT + bmnic::emu::wire::BURST as f64 / 0.1;
    for (row, most) in rows.iter().zip([most, most / (1.0 - LOSS)]) {
        assert!(row["pps"].as_f64().is_none_or(|rate| rate <= most * 1.001), "{row:#}");
        let above = &row["above"];
        assert!(above["kind"] != "device" || above["pps"].as_f64().unwrap() > LIMIT, "{row:#}");
        assert_eq!(row["known"].is_string(), !row["pps"].is_f64(), "{row:#}");
    }
    let trials = rows[0]["trials"].as_array().unwrap();
    let lengths: Vec<u64> = trials.iter().map(|trial| trial["length_ns"].as_u64().unwrap()).collect();
    assert_eq!((lengths.iter().min(), rows[1]["trials"].is_null()), (Some(&10_000_000), true), "{lengths:?}");
}

#[test]
fn the_maximum_receive_rate_is_a_mean_with_its_deviation() {
    let document = json(&["--mrr", "-t", "20ms", "-s", "512", "--runs", "4"]);
    let row = &document["rows"][0];
    let rates: Vec<f64> = row["pps_of_runs"].as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap()).collect();
    let mean = rates.iter().sum::<f64>() / 4.0;
    assert_eq!((document["method"].as_str(), rates.len()), (Some("mrr"), 4));
    assert!((row["pps"].as_f64().unwrap() - mean).abs() < 1.0 && row["pps_stdev"].as_f64().unwrap() > 0.0, "{row:#}");
    let run = throughput(&["--mrr", "-t", "20ms", "-s", "512"]);
    let out = text(&run.stdout);
    assert!(out.contains("mean of 10 trials") && out.contains("stdev"), "{out}");
}

#[test]
fn a_sweep_has_a_row_for_each_batch() {
    let document = json(&["--sweep", "batch=1,8..32", "-t", "20ms", "-s", "64"]);
    let rows = document["rows"].as_array().unwrap();
    let batches: Vec<u64> = rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect();
    assert_eq!(batches, [1, 8, 16, 32]);
    for row in rows {
        let (batch, most) = (row["tx_batch"].as_f64().unwrap(), row["batch"].as_f64().unwrap());
        assert!(batch >= 1.0 && batch <= most, "{row:#}");
    }
}

#[test]
fn a_sweep_of_queues_spreads_its_flows_and_each_packet_came_from_one_of_them() {
    for card in ["emu:82599", "emu:x710", "emu:x2522", "emu:bcm57414", "emu:bcm57508", "emu:cx5"] {
        let document = json(&[card, "--sweep", "queues=1,2..4,3", "-t", "20ms", "-s", "64"]);
        let rows = document["rows"].as_array().unwrap();
        let queues: Vec<u64> = rows.iter().map(|row| row["queues"].as_u64().unwrap()).collect();
        assert_eq!(queues, [1, 2, 4, 3], "{card}");
        for (row, queues) in rows.iter().zip(queues) {
            let number = |field: &str| row[field].as_u64().unwrap();
            let by_queue: Vec<u64> = serde_json::from_value(row["received_by_queue"].clone()).unwrap();
            let came = number("received") + number("duplicated") + number("foreign");
            assert_eq!((by_queue.len() as u64, by_queue.iter().sum::<u64>()), (queues, came), "{card}: {row:#}");
            assert_eq!(number("sent"), number("received") + number("lost"), "{card}: {row:#}");
            // All flows are sent as often; what is lost need not be spread.
            let even = number("sent") / queues;
            let least = by_queue.iter().min().unwrap();
            assert!(least + number("lost") >= even / 2, "{card}: {even} for each, and {by_queue:?}");
        }
    }
}

#[test]
fn more_queues_than_the_card_has_are_refused() {
    let sweep = ["--sweep", "queues=1,4", "-t", "20ms", "-s", "64"];
    for (card, words) in [
        ("emu:cx5,queues=2", "the card has 2; ask for 2 or fewer"),
        ("emu:virtio", "use one queue, or a card with RSS"),
    ] {
        let run = throughput(&[&[card][..], &sweep].concat());
        assert!(!run.status.success() && text(&run.stderr).contains(words), "{card}: {}", text(&run.stderr));
    }
}

#[test]
fn a_baseline_comes_out_of_a_pipe_and_one_that_nobody_writes_is_not_waited_for() {
    let run = |script: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_bmnic")]).stdin(Stdio::null());
        let run = shell.output().unwrap();
        assert!(!run.status.success(), "{}", text(&run.stdout));
        text(&run.stderr)
    };
    let silent = run("cd $(mktemp -d) && mkfifo pipe && \"$0\" throughput --baseline pipe; rm -r $PWD; exit 1");
    assert!(silent.contains("nothing comes out of this pipe"), "{silent}");
    // It was read to its end, though it came late and in parts.
    let late = run(
        "\"$0\" throughput --baseline <(echo -n '{\"command\": \"throu'; sleep 0.2; echo 'ghput\", \"rows\": []}')",
    );
    assert!(late.contains("its schema is none"), "{late}");
}

#[test]
fn results_go_into_files_beside_the_screen_and_can_be_a_baseline() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_string();
    let (csv, markdown, json) = (path("a.csv"), path("a.md"), path("a.json"));
    let size = ["-t", "20ms", "-s", "1518,64"];
    let export = ["--export-csv", &csv, "--export-markdown", &markdown, "--export-json", &json];
    let run = throughput(&[&size[..], &export].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("1518"), "the table is printed all the same");
    let read = |name: &str| std::fs::read_to_string(name).unwrap();
    assert_eq!(read(&csv).lines().count(), 3);
    assert!(
        read(&markdown).starts_with("| frame | Mpps |") && read(&markdown).contains("\n| 1518 | "),
        "{}",
        read(&markdown)
    );
    let document: Value = serde_json::from_str(&read(&json)).unwrap();
    assert_eq!(document["rows"].as_array().unwrap().len(), 2);

    // An earlier run that was ten times as fast, or ten times as slow, as this one.
    let scaled = |factor: f64| {
        let mut document = document.clone();
        for row in document["rows"].as_array_mut().unwrap() {
            for field in ["pps", "pps_min", "pps_max"] {
                row[field] = (row[field].as_f64().unwrap() * factor).into();
            }
        }
        let file = path("base.json");
        std::fs::write(&file, document.to_string()).unwrap();
        throughput(&[&["-t", "20ms", "-s", "1518,128"], &["--baseline", &file][..]].concat())
    };
    let worse = scaled(10.0);
    assert_eq!(worse.status.code(), Some(3), "{}", text(&worse.stderr));
    assert!(text(&worse.stderr).contains("by more than 5 %: 1518 rate (-"), "{}", text(&worse.stderr));
    let out = text(&worse.stdout);
    assert!(out.contains("128 is not in the baseline") && out.contains("64 of the baseline was not measured"), "{out}");
    // It stays as it was, by whatever name it is given: a run that is worse would be the next one's.
    let (base, other) = (path("base.json"), path("other.json"));
    let before = read(&base);
    std::os::unix::fs::symlink(&base, &other).unwrap();
    for file in [&base, &other] {
        let run = throughput(&[&size[..], &["--baseline", &base, "--export-json", file]].concat());
        assert_eq!((run.status.code(), read(&base) == before), (Some(2), true), "{}", text(&run.stderr));
        assert!(text(&run.stderr).contains("is the baseline"), "{}", text(&run.stderr));
    }
    let better = scaled(0.1);
    assert_eq!(better.status.code(), Some(0), "{}", text(&better.stderr));
    assert!(text(&better.stdout).contains("better"), "{}", text(&better.stdout));

    let twice = throughput(&["--export-csv", &csv, "--export-json", &csv, "-t", "20ms", "-s", "64"]);
    assert_eq!(twice.status.code(), Some(2), "{}", text(&twice.stderr));
    let printed = throughput(&["--markdown", "-q", "-t", "20ms", "-s", "64"]);
    assert!(text(&printed.stdout).starts_with("| frame | Mpps |"), "{}", text(&printed.stdout));
}

#[test]
fn a_file_that_cannot_be_written_costs_neither_the_table_nor_another_file() {
    let temp = tempfile::tempdir().unwrap();
    let json = temp.path().join("a.json");
    let files = ["--export-csv", "/dev/full", "--export-json", json.to_str().unwrap()];
    let run = throughput(&[&["-t", "20ms", "-s", "1518"], &files[..]].concat());
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("writing /dev/full; it is not complete"), "{}", text(&run.stderr));
    assert!(text(&run.stdout).lines().any(|line| line.starts_with("1518 ")), "{}", text(&run.stdout));
    assert!(serde_json::from_slice::<Value>(&std::fs::read(json).unwrap()).is_ok());
}

#[test]
fn a_ring_that_stands_still_has_no_rate() {
    let one = throughput(&["emu:82599,fault=tx-stuck:2-", "-t", "20ms", "-s", "64", "--json"]);
    let document: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(one.status.code(), Some(1), "{document:#}");
    let why = document["error"]["message"].as_str().unwrap();
    assert!(why.contains("fault=tx-stuck:2-: transmit hang: ") && why.contains("never reported as sent"), "{why}");
}

#[test]
fn repeated_floods_have_a_median_and_a_spread() {
    let document = json(&["-t", "20ms", "-s", "512", "--runs", "3"]);
    let row = &document["rows"][0];
    let rate = |field: &str| row[field].as_f64().unwrap();
    assert_eq!(row["pps_of_runs"].as_array().unwrap().len(), 3);
    assert!(rate("pps_min") <= rate("pps") && rate("pps") <= rate("pps_max"), "{row:#}");
    assert_eq!(row["received"].as_u64().unwrap() + row["lost"].as_u64().unwrap(), row["sent"].as_u64().unwrap());
}

#[test]
fn comma_separated_values_have_a_head_and_a_row_each() {
    let run = throughput(&["-t", "20ms", "-s", "64,1518", "--csv", "-q"]);
    assert!(run.status.success());
    let out = text(&run.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("frame,goal,batch,queues,mpps,l1_gbit_per_second,percent_of_line"));
    assert!(lines.iter().all(|line| line.split(',').count() == lines[0].split(',').count()), "{out}");
}

#[test]
fn nothing_that_comes_back_is_an_error_with_a_likely_cause() {
    let run = throughput(&["emu:82599,wire=sink", "-t", "20ms", "-s", "64"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run.stderr).contains("none came back; does its wire lead back to it?"), "{}", text(&run.stderr));
}

#[test]
fn nonsense_is_refused() {
    for args in [
        &["-s", "63"][..],
        &["-s", "64,,128"],
        &["--batch", "65"],
        &["--rxd", "100"],
        &["--mrr", "--ndr"],
        &["--mrr", "--rfc2544"],
        &["--exceed", "50%"],
        &["--duration-sum", "1s"],
        &["--ndr", "--duration-sum", "10ms", "-t", "20ms"],
        &["--sweep", "batch=1,256"],
        &["--sweep", "queues=1,65"],
        &["--sweep", "batch=1", "--batch", "2"],
        &["--tolerance", "5%"],
        &["--csv", "--markdown"],
        &["--test", "speed"],
        &["--test", "loss", "--ndr"],
        &["--rfc2544", "--test", "loss"],
        &["--rfc2544", "--allow-loss", "1%"],
        &["--pdr", "100%"],
        &["-t", "soon"],
        &["-t", "0"],
        &["--runs", "0"],
    ] {
        let run = throughput(args);
        assert_eq!(run.status.code(), Some(2), "{args:?}: {}", text(&run.stderr));
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn a_trial_of_no_length_is_refused_by_its_name() {
    for length in ["0", "0s", "1us"] {
        let run = throughput(&["-t", length]);
        assert_eq!(run.status.code(), Some(2), "{length}");
        assert!(text(&run.stderr).contains("-t/--trial"), "{}", text(&run.stderr));
    }
}
