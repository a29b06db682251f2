//! Another file is begun when it is asked for, and never in place of the one before.

use super::series_tests::{BOTH, FORMATS, Hand, THEN, contents, files, in_order, numbered, put, recorders};
use super::*;
use crate::pcap::record::Totals;
use std::time::Instant;

/// What comes of a request for another file, once the recorders are flushed.
fn turn(recorders: &mut [Recorder]) -> turner::Turned {
    let turner = recorders[0].turner().unwrap();
    let number = turner.ask();
    let began = Instant::now();
    loop {
        recorders.iter_mut().for_each(Recorder::flush);
        if let Some(turned) = turner.answer(number) {
            return turned;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no answer");
        std::thread::yield_now();
    }
}

#[test]
fn another_file_is_begun_when_it_is_asked_for_and_what_came_before_is_in_the_one_before() {
    for (format, means) in FORMATS.iter().flat_map(|format| BOTH.map(|means| (*format, means))) {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let series = Series { files: Some(3), ..numbered(&dir, Rules { records: Some(1_000), ..Rules::default() }) };
        let mut all = recorders(format, means, 2, series, false, &hand);
        let begun: Vec<_> = (0..2)
            .map(|round| {
                (0..10).for_each(|n| (0..2).for_each(|whose| put(&mut all[whose], whose, 10 * round + n, THEN)));
                // All is written before the file is asked for.
                all.iter_mut().for_each(Recorder::flush);
                while all[0].written().0 < 20 * (round + 1) {
                    std::thread::yield_now();
                }
                turn(&mut all).unwrap()
            })
            .collect();
        // Nothing came since, and no other file may follow.
        assert_eq!(turn(&mut all), Err("this file is the last that was asked for"));
        put(&mut all[0], 0, 20, THEN);
        let written = Recorder::finish_all(all, &[]);
        assert_eq!((written.records, written.lost, written.beyond()), (41, 0, 0));
        let files = files(&dir);
        assert_eq!(files[1..], begun[..]);
        let contents = contents(format, &files);
        assert_eq!(contents.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 1]);
        in_order(&contents, 2, 0);
    }
}

#[test]
fn no_file_is_begun_that_would_overwrite_the_one_before() {
    let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
    let path = dir.path().join("f");
    let rules = Rules { records: Some(1_000), ..Rules::default() };
    for names in [Names::Timed(path.clone()), Names::Counted(path.clone(), Some(1))] {
        let mut all = recorders(Format::Pcap, BOTH[0], 1, Series { names, ..numbered(&dir, rules) }, false, &hand);
        put(&mut all[0], 0, 0, THEN);
        assert!(turn(&mut all).unwrap_err().contains("overwrite"));
        assert_eq!(Recorder::finish_all(all, &[]).records, 1);
        assert_eq!(in_order(&contents(Format::Pcap, &files(&dir)), 1, 0), 1);
    }
    let only = Series { names: Names::Only(path), ..numbered(&dir, rules) };
    assert!(recorders(Format::Pcap, BOTH[0], 1, only, false, &hand)[0].turner().is_none());
}

#[test]
fn a_recorder_that_is_gone_before_the_end_takes_nobody_along() {
    for (format, means) in FORMATS.iter().flat_map(|format| BOTH.map(|means| (*format, means))) {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let mut all = recorders(format, means, 2, numbered(&dir, Rules::default()), false, &hand);
        put(&mut all[1], 1, 0, THEN);
        all[1].flush();
        // Its thread has panicked.
        all.truncate(1);
        while all[0].written().0 < 1 {
            std::thread::yield_now();
        }
        let written = Recorder::finish_all(all, &[Totals::default()]);
        assert_eq!((written.records, written.lost), (1, 0));
    }
}
