//! Several frame sizes and loads: a row for each.

use super::*;

/// The rows of a run, by frame size and load asked for in per cent.
fn rows(document: &Value) -> Vec<(u64, u64, &Value)> {
    let percent = |row: &Value| row["load"]["asked"].as_f64().map_or(0, |share| (share * 100.0).round() as u64);
    let rows = document["results"].as_array().unwrap();
    rows.iter().map(|row| (row["frame"].as_u64().unwrap(), percent(row), row)).collect()
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap_or_else(|| panic!("{of} is no count"))
}

#[test]
fn each_size_with_each_load_is_a_row_and_all_packets_are_accounted_for() {
    for model in EACH {
        let card = format!("emu:{model}");
        let loads = ["--load", "0,20%", "--load-size", "same", "-s", "64,1518,9018"];
        let document =
            json(&[&[&*card, "-c", "100", "-w", "1ms", "-r", "1k", "--allow-loss", "100%"], &loads[..]].concat());
        let rows = rows(&document);
        let cases: Vec<_> = rows.iter().map(|(size, load, _)| (*size, *load)).collect();
        assert_eq!(cases, [(64, 0), (64, 20), (1518, 0), (1518, 20), (9018, 0), (9018, 20)], "{card}");
        for (size, percent, row) in rows {
            assert_eq!(number(&row["sent"]), number(&row["received"]) + number(&row["lost"]));
            assert!(number(&row["received"]) > 0, "{card}: {row}");
            // On the wire a frame takes 20 bytes more than itself.
            let load = &row["load"];
            let asked = load["asked_pps"].as_f64().unwrap();
            let speed = asked * (size + 20) as f64 * 8.0 * 100.0 / (percent as f64).max(1.0);
            // Where a card knows no speed, ten gigabit are taken for it.
            let right = [model.speed as f64, 1e10].iter().any(|right| (speed - right).abs() <= right * 1e-6);
            assert!(right || percent == 0, "{card}: {load}");
            let [sent, received, lost] = ["sent", "received", "lost"].map(|of| number(&load[of]));
            assert_eq!(sent, received + lost, "{card}: {load}");
            assert_eq!(sent > 0, percent > 0, "{card}: {load}");
        }
    }
}

#[test]
fn what_a_card_does_to_long_frames_or_to_a_load_shows_in_their_rows() {
    // 9018 bytes take 7.2 us on the wire, on which a policer passes 20 000 frames a second; 40 %
    // of the line are 325 000 of 1518 bytes. Probes must not keep step with the policer, which
    // would then let all of them pass or none.
    let args = ["emu:82599,limit=20k", "-s", "64,9018", "--load", "0,40%", "-r", "497"];
    let document = json(&[&args[..], &["-c", "300", "--allow-loss", "100%"]].concat());
    let rows = rows(&document);
    for (size, percent, row) in &rows {
        let lost = number(&row["load"]["lost"]);
        let policed =
            ["in_over_limit", "out_over_limit"].iter().filter_map(|key| row["wire"][key].as_u64()).sum::<u64>();
        assert_eq!(*percent == 0, policed == 0, "{size} bytes, {percent} %: {row}");
        assert!(policed >= lost && (*percent > 0 || lost == 0), "{size} bytes, {percent} %: {row}");
    }
    let least = |row: usize| rows[row].2["service_ns"]["min"].as_u64().unwrap();
    // Time on the wire may run behind that of the processor.
    assert!(least(2) >= 3_600, "{} ns", least(2));
}

#[test]
fn the_tables_of_a_sweep_fit_a_terminal_and_say_what_the_document_says() {
    let args = ["-s", "64-1518/1454", "--load", "0,50%", "-c", "100", "-r", "1k"];
    let run = latency(&[&args[..], &LENIENT[..]].concat());
    let out = text(&run.stdout);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let begins = |line: &str, word: &str| line.split_whitespace().next() == Some(word);
    let table: Vec<&str> = out.lines().filter(|l| ["size", "64", "1518"].iter().any(|word| begins(l, word))).collect();
    let table: Vec<&str> = table.into_iter().filter(|line| !line.contains("bytes, load")).collect();
    // Two heads, and two rows of each size in either table; a floor where two processors met.
    assert_eq!(table.iter().filter(|line| !line.contains("floor")).count(), 2 + 8, "{out}");
    assert!(table.iter().any(|line| line.contains("offered") && line.contains("load lost")), "{out}");
    assert!(table.iter().all(|line| line.chars().count() <= 80), "{out}");
}

#[test]
fn a_load_that_was_not_offered_or_not_carried_is_no_success() {
    // Line rate of the shortest frames at 100 gigabit is more than any thread makes.
    let hard = ["emu:cx5", "--load", "90%", "--load-size", "64", "-c", "200", "-r", "1k"];
    let run = latency(&[&hard[..], &["--allow-loss", "100%"]].concat());
    assert_eq!(run.status.code(), Some(3), "{}", text(&run.stderr));
    let errors = text(&run.stderr);
    assert!(errors.contains("% of the load asked for were sent") && errors.contains("--allow-shortfall"), "{errors}");
    assert!(text(&run.stdout).contains("load of 90 %: "), "{}", text(&run.stdout));
    let lossy = ["emu:82599,loss=1%", "--load", "0,20%", "-d", "200ms", "-r", "100", "--allow-shortfall", "100%"];
    let run = latency(&[&lossy[..], &["--allow-loss", "0.1%"]].concat());
    assert_eq!(run.status.code(), Some(3), "{}", text(&run.stderr));
}

#[test]
fn the_files_of_several_rows_say_of_which_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (raw, svg) = (path("a.csv"), path("a.svg"));
    let args = ["-s", "64,512", "--load", "0,10%", "-c", "200", "-r", "1k", "--allow-loss", "100%"];
    let document = json(&[&args[..], &["--raw", &raw, "--svg", &svg]].concat());
    let raw = std::fs::read_to_string(raw).unwrap();
    let mut lines = raw.lines();
    assert_eq!(lines.next(), Some("size,load,sequence,due_ns,service_ns,intended_ns"));
    let lines: Vec<&str> = lines.collect();
    for (size, percent, row) in rows(&document) {
        let mine = lines.iter().filter(|line| line.starts_with(&format!("{size},{percent},"))).count() as u64;
        assert_eq!(mine, number(&row["received"]), "{size} bytes, {percent} %");
    }
    let picture = std::fs::read_to_string(svg).unwrap();
    for name in ["64 bytes, load 0 %", "512 bytes, load 10 %", "One packet of 64 to 512 bytes"] {
        assert!(picture.contains(name), "no '{name}' in {picture}");
    }
}

/// The bytes of base64 (RFC 4648 section 4).
fn base64(text: &str) -> Vec<u8> {
    let digits: String = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let value = |c: char| digits.find(c).unwrap() as u32;
    let text = text.trim_end_matches('=').chars().collect::<Vec<_>>();
    let group = |four: &[char]| {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | four.get(i).map_or(0, |&c| value(c)));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    text.chunks(4).flat_map(group).collect()
}

#[test]
fn the_interval_log_is_read_by_hdrhistogram_and_holds_every_sample() {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.hlog").display().to_string();
    let args = ["-s", "64,512", "--load", "0,10%", "-c", "1000", "-r", "5k", "--hlog", &path, "--interval", "50ms"];
    let document = json(&[&args[..], &["--allow-loss", "100%"]].concat());
    let log = std::fs::read(&path).unwrap();
    let entries: Vec<LogEntry<'_>> = IntervalLogIterator::new(&log).map(|entry| entry.unwrap()).collect();
    let times = |entry: &&LogEntry<'_>| matches!(entry, LogEntry::StartTime(time) | LogEntry::BaseTime(time) if time.as_secs() > 1_700_000_000);
    assert_eq!(entries.iter().filter(times).count(), 2, "when it began");
    let mut end = Duration::ZERO;
    let mut of: std::collections::BTreeMap<String, hdrhistogram::Histogram<u64>> = Default::default();
    for entry in &entries {
        let LogEntry::Interval(interval) = entry else { continue };
        // To milliseconds, as the log has them.
        assert!(interval.start_timestamp() + Duration::from_millis(2) >= end, "{interval:?} after {end:?}");
        end = interval.start_timestamp() + interval.duration();
        let mut bytes = &base64(interval.encoded_histogram())[..];
        let histogram = Deserializer::new().deserialize::<u64, _>(&mut bytes).unwrap();
        assert_eq!(interval.max(), histogram.max() as f64);
        let tag = interval.tag().unwrap().as_str().to_string();
        of.entry(tag).and_modify(|sum| sum.add(&histogram).unwrap()).or_insert(histogram);
    }
    for (size, percent, row) in rows(&document) {
        let sum = &of[&format!("{size}B-load{percent}")];
        assert_eq!(sum.len(), number(&row["received"]), "{size} bytes, {percent} %");
        let [least, most] = ["min", "max"].map(|of| number(&row["service_ns"][of]));
        assert!(
            sum.equivalent(sum.min(), least) && sum.equivalent(sum.max(), most),
            "{size} bytes, {percent} %: {row}"
        );
    }
    assert_eq!(of.len(), 4);
    for (args, code) in [
        (&["--hlog", "/dev/full", "-c", "100"][..], 1),
        (&["--hlog", "/nonexistent/a.hlog"], 1),
        (&["--hlog", &path, "--interval", "9ms"], 2),
        (&["--interval", "1s"], 2),
        (&["--hlog", &path, "--raw", &path], 2),
        (&["--hlog", &path, "--stages"], 2),
    ] {
        let run = latency(args);
        assert_eq!(run.status.code(), Some(code), "{args:?}: {}", text(&run.stderr));
    }
}
