//! Options of dumpcap and of tcpdump, and what they come to.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    length: RunLength,
}

/// What these options come to for a file.
fn settled(words: &str) -> std::result::Result<(Option<Series>, RunLength), String> {
    settled_by(words, &|_| false)
}

/// The same where some of them are variables'.
fn settled_by(
    words: &str,
    by_default: &dyn Fn(&str) -> bool,
) -> std::result::Result<(Option<Series>, RunLength), String> {
    let words = ["bmnic"].into_iter().chain(words.split_whitespace());
    let Line { files, mut length } = Line::try_parse_from(words).map_err(|e| e.to_string())?;
    let path = Path::new("o-%Y%m%d%H%M%S.pcap");
    let whole = Whole { path: Some(path), dummies: &[], by_default };
    files.settle(whole, &mut length).map_err(|e| e.to_string())?;
    Ok((files.series(path).map_err(|e| e.to_string())?, length))
}

fn series(words: &str) -> Series {
    settled(words).unwrap_or_else(|e| panic!("{words}: {e}")).0.unwrap_or_else(|| panic!("{words}: one file"))
}

#[test]
fn sizes_and_times_are_in_the_units_of_dumpcap_and_of_tcpdump() {
    let rules = series("-b filesize:1000 -b duration:0.5,interval:1h -b packets:2k -b files:5 -a files:9").rules;
    assert_eq!((rules.bytes, rules.records, rules.steady), (Some(1_000_000), Some(2_000), false));
    assert_eq!(rules.duration, Some(Duration::from_millis(500)));
    assert_eq!(rules.interval, Some(Duration::from_secs(3600)));
    assert_eq!(series("-b filesize:64M").rules.bytes, Some(64 << 20));
    assert_eq!(series("-b packets:1 -a filesize:2").rules.bytes, Some(2_000));
    // Larger than that, not as large.
    assert_eq!(series("-C 1").rules.bytes, Some(1_000_001));
    assert_eq!(series("-C 64K").rules.bytes, Some((64 << 10) + 1));
    let minute = series("-G 60").rules;
    assert_eq!((minute.duration, minute.steady), (Some(Duration::from_secs(60)), true));
}

#[test]
fn names_and_numbers_of_files_are_theirs_too() {
    let path = PathBuf::from("o-%Y%m%d%H%M%S.pcap");
    for (words, names, keep, files) in [
        ("-b packets:1 -b files:5 -a files:9", Names::Numbered(path.clone()), Some(5), Some(9)),
        ("-C 1", Names::Counted(path.clone(), None), None, None),
        ("-C 1 -W 10 -a files:30", Names::Counted(path.clone(), Some(10)), Some(10), Some(30)),
        ("-G 60 -W 3", Names::Timed(path.clone()), None, Some(3)),
        ("-G 60 -C 1 -a files:3", Names::TimedAndCounted(path.clone()), None, Some(3)),
        ("-a filesize:1", Names::Only(path.clone()), None, Some(1)),
    ] {
        let series = series(words);
        assert_eq!((series.names, series.keep, series.files), (names, keep, files), "{words}");
    }
}

#[test]
fn what_stops_a_run_stops_it_as_its_other_options_do() {
    let (series, length) = settled("-a duration:1m,packets:10").unwrap();
    assert!(series.is_none());
    assert_eq!((length.duration, length.count), (Some(Duration::from_secs(60)), Some(10)));
    for (variable, seconds) in [("autostop", 5), ("duration", 60)] {
        let (_, length) = settled_by("-a duration:1m -d 5s", &|option| option == variable).unwrap();
        assert_eq!(length.duration, Some(Duration::from_secs(seconds)), "{variable} is no more than a variable's");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_a_line_that_says_why() {
    for (words, part) in [
        ("-b 10", "is not a condition; write -b duration:10s"),
        ("-b filesize:0", "leaves no room"),
        ("-b files:0 -b packets:1", "from 1 to 99999"),
        ("-b duration:10us", "too short"),
        ("-b files:3", "not when another one begins"),
        ("-b packets:1,packets:2", "-b packets is given twice"),
        ("-b packets:1 -C 1", "one or the other"),
        ("-b filesize:1 -a filesize:1", "leave one of the two out"),
        ("-a interval:1h", "ends a file, not the capture"),
        ("-a files:3", "counts the files of -b"),
        ("-a duration:1s -d 1s", "given twice"),
        ("-a packets:1 -c 1", "given twice"),
        ("-a filesize:1 -C 1", "ends a single file"),
        ("-W 3", "counts the files of -C or -G"),
        ("-W 3 -C 1 -G 1", "limits nothing"),
        ("-G 60 -W 3 -a files:3", "given twice"),
        ("-G 0.5", "whole seconds"),
        ("-C 0", "no room"),
        ("--compress zstd", "does not write zstd"),
    ] {
        let said = settled(words).err().unwrap_or_else(|| panic!("{words} is taken"));
        assert!(said.contains(part), "{words}: {said}");
    }
    for (pattern, seconds, same) in
        [("o.pcap", 60, true), ("o-%H", 60, true), ("o-%H%M", 60, false), ("o-%S", 60, true)]
    {
        let said = differ(Path::new(pattern), Duration::from_secs(seconds));
        // The hour may change within this minute.
        assert!(said.is_err() == same || pattern == "o-%H", "{pattern}: {said:?}");
    }
}

#[test]
fn a_file_is_compressed_by_its_ending_unless_something_else_is_said() {
    let packed = |words: &str, path: &str| {
        let line = Line::try_parse_from(["bmnic"].into_iter().chain(words.split_whitespace())).unwrap();
        line.files.is_packed(Path::new(path))
    };
    assert!(packed("", "o.pcap.gz") && packed("--compress gzip", "o.pcap") && packed("--compress gzip", "-"));
    assert!(!packed("", "o.pcap") && !packed("--compress none", "o.pcap.gz"));
}
