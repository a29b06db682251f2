//! Recordings in memory and on their way into it: the same packets at the same times.

use super::*;
use crate::cli::pktgen::feed::{ROOM, Room};
use crate::cli::pktgen::traffic::Schedule;
use crate::measure::Clock;
use crate::packet::build::MAX_FRAME;
use crate::pcap::parts::{Parts, Source};
use crate::pcap::record::{Format, Record};
use crate::pcap::section::Section;
use proptest::prelude::*;
use std::io::{self, Cursor, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// Room for three packets of 60 bytes, so that nothing is held.
const SMALL: Room = Room { part: 200, parts: 1 };

/// A file of frames of these lengths at these nanoseconds.
fn bytes(frames: &[(u64, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Format::Pcap.header(&mut bytes, 65_535, &Section::default());
    for (n, &(time, len)) in frames.iter().enumerate() {
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time, wire_len: len, parts: &[&vec![n as u8; len]] });
    }
    bytes
}

fn even(times: &[u64], len: usize) -> Vec<u8> {
    bytes(&times.iter().map(|&time| (time, len)).collect::<Vec<_>>())
}

fn open(bytes: Vec<u8>, loops: u64, max_gap: u64, room: Room) -> Result<Replay> {
    let open = move || Parts::new(Box::new(Cursor::new(bytes.clone())) as Source, "test");
    Replay::new(File::new(Box::new(open), max_gap, room)?, loops, false, true)
}

/// All packets that come, each with its time and what it is filled with, and how it ended.
fn all(replay: &mut Replay) -> Vec<(u64, usize, u8)> {
    let mut packets = Vec::new();
    while !replay.is_over() {
        match replay.peek() {
            Some((bytes, time)) => {
                packets.push((time, bytes.len(), bytes[0]));
                replay.step();
            }
            None => thread::yield_now(),
        }
    }
    packets
}

fn times(replay: &mut Replay) -> Vec<u64> {
    all(replay).into_iter().map(|(time, ..)| time).collect()
}

#[test]
fn a_replay_goes_round_with_a_mean_pause_and_never_back_in_time() {
    for room in [ROOM, SMALL] {
        let mut replay = open(even(&[1_000, 1_100, 1_050, 1_300], 60), 2, u64::MAX, room).unwrap();
        assert_eq!(times(&mut replay), [0, 100, 100, 300, 400, 500, 500, 700]);
        let met = replay.into_met();
        assert_eq!((met.sent, met.out_of_order), (4, 1));
        assert!(met.warnings()[0].starts_with("1 packets were recorded earlier"), "{:?}", met.warnings());
    }
}

#[test]
fn gaps_that_are_too_long_are_cut_and_counted() {
    for room in [ROOM, SMALL] {
        let mut replay = open(even(&[5, 15, 1_000_015, 1_000_115, 1_000_216], 60), 2, 100, room).unwrap();
        assert_eq!(times(&mut replay), [0, 10, 110, 210, 310, 387, 397, 497, 597, 697]);
        let met = replay.into_met();
        assert_eq!((met.gaps_cut, met.gaps_cut_ns), (2, 999_901));
    }
}

#[test]
fn a_replay_without_end_keeps_exact_time_beyond_two_to_the_32_packets() {
    let mut replay = open(even(&[0, 67, 134], 60), 0, u64::MAX, ROOM).unwrap();
    // 2^33 times through, without walking there.
    replay.base = 201 << 33;
    let clock = Clock::new();
    let Schedule::Recorded { scale, .. } = Schedule::recorded(&clock, 1.0) else { panic!() };
    let due = |replay: &mut Replay| replay.peek().map(|(_, ns)| scale.ticks(ns)).unwrap();
    let first = due(&mut replay);
    for n in 1..3_000_u64 {
        replay.step();
        let gap = due(&mut replay) - first;
        let want = n as f64 * 67.0 * clock.ticks_per_second() / 1e9;
        assert!((gap as f64 - want).abs() <= 2.0, "packet {n}: {gap} against {want}");
    }
}

#[test]
fn a_recording_with_nothing_to_send_is_refused() {
    for file in [even(&[], 60), even(&[1, 2], 13), even(&[1], MAX_FRAME + 1)] {
        assert_eq!(open(file, 1, u64::MAX, ROOM).err().unwrap().kind(), Kind::Usage);
    }
    let long = even(&[1; 9], MAX_FRAME + 1);
    let of = |whole| {
        let long = long.clone();
        let open = move || Parts::new(Box::new(Cursor::new(long.clone())) as Source, "test");
        Replay::new(File::new(Box::new(open), 0, SMALL).unwrap(), 1, whole, true)
    };
    assert_eq!(of(true).err().unwrap().kind(), Kind::Usage);
    let guess = of(false).unwrap().known().facts.mean_bits();
    assert!(guess.is_finite() && guess > 0.0, "{guess} bits of a packet where none is known");
    let one = open(even(&[5], 60), 1, u64::MAX, ROOM).unwrap();
    assert!(one.known().facts.warnings().is_empty() && one.known().whole && one.is_momentary());
}

/// A file that comes as it is sent, and ends when nobody sends any more.
struct Pipe(Receiver<Vec<u8>>, Vec<u8>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.recv().unwrap_or_default();
        }
        let n = self.1.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.1[..n]);
        self.1.drain(..n);
        Ok(n)
    }
}

#[test]
fn a_packet_that_was_not_read_yet_is_late_and_not_the_end() {
    let file = even(&[0, 1, 2, 3, 4, 5, 6], 60);
    let (send, receive) = mpsc::channel();
    send.send(file[..24 + 3 * 76].to_vec()).unwrap();
    let mut pipe = Some(Pipe(receive, Vec::new()));
    let open = move || {
        let pipe = pipe.take().ok_or_else(|| Error::new(Kind::Io, "it is gone"))?;
        Parts::new(Box::new(pipe) as Source, "test")
    };
    let file_of = File::new(Box::new(open), u64::MAX, SMALL).unwrap();
    let mut replay = Replay::new(file_of, 1, false, false).unwrap();
    assert!(!replay.known().whole);
    for time in 0..3 {
        assert_eq!(replay.peek().map(|(_, time)| time), Some(time));
        replay.step();
    }
    assert!(replay.peek().is_none() && replay.is_late() && !replay.is_over());
    send.send(file[24 + 3 * 76..24 + 5 * 76 + 3].to_vec()).unwrap();
    drop(send);
    assert_eq!(times(&mut replay), [3, 4]);
    let met = replay.into_met();
    assert_eq!(met.sent, 5);
    assert!(met.damage.unwrap().contains("record at byte 404 is cut short"));
}

#[test]
fn what_cannot_be_read_again_is_not_played_again_and_says_so() {
    let refused = |loops, whole| {
        let file =
            File::new(Box::new(|| Parts::new(Box::new(Cursor::new(even(&[0; 9], 60))) as Source, "test")), 0, SMALL);
        Replay::new(file.unwrap(), loops, whole, false).err().unwrap().to_string()
    };
    assert!(refused(2, false).contains("leave --loop out"));
    assert!(refused(1, true).contains("give --rate in packets a second"));
    let mut left = 1;
    let open = move || {
        left -= 1;
        match left {
            0.. => Parts::new(Box::new(Cursor::new(even(&[0; 9], 60))) as Source, "test"),
            _ => Err(Error::new(Kind::NotFound, "it was moved away")),
        }
    };
    let mut replay = Replay::new(File::new(Box::new(open), 0, SMALL).unwrap(), 0, false, true).unwrap();
    assert_eq!(all(&mut replay).len(), 9);
    assert_eq!(replay.into_met().warnings(), ["the recording was not sent as often as asked for: it was moved away"]);
}

#[test]
fn a_recording_that_changes_between_two_times_through_is_told() {
    for (whole, times) in [(false, [9, 5, 9]), (true, [9, 9, 5]), (true, [9, 5, 5])] {
        let mut sizes = times.into_iter();
        let open = move || {
            let times: Vec<u64> = (0..sizes.next().unwrap_or(9)).collect();
            Parts::new(Box::new(Cursor::new(even(&times, 60))) as Source, "test")
        };
        let mut replay = Replay::new(File::new(Box::new(open), 0, SMALL).unwrap(), 2, whole, true).unwrap();
        let sent = all(&mut replay).len();
        assert!(sent < 18, "{times:?}: {sent}");
        let said = "the recording was not sent as often as asked for: it changed meanwhile, from ";
        let met = replay.into_met();
        // It is an error, and a field.
        assert_eq!(met.check().unwrap_err().kind(), crate::error::Kind::Io);
        assert!(met.json()["ended_early"].as_str().is_some_and(|why| why.starts_with("it changed meanwhile")));
        let news = met.news(!whole);
        assert!(news.iter().any(|line| line.starts_with(said)), "{times:?}: {news:?}");
    }
}

#[test]
fn all_of_it_can_be_known_before_and_frames_longer_than_known_are_left_out() {
    let mut frames = vec![(0, 60); 9];
    frames.push((0, 9_000));
    let file = |whole| {
        let bytes = bytes(&frames);
        let open = move || Parts::new(Box::new(Cursor::new(bytes.clone())) as Source, "test");
        Replay::new(File::new(Box::new(open), 0, SMALL).unwrap(), 1, whole, true).unwrap()
    };
    let mut known = file(true);
    assert_eq!((known.known().facts.sent, known.known().facts.longest, known.known().whole), (10, 9_000, true));
    assert_eq!(all(&mut known).len(), 10);
    let mut guessed = file(false);
    assert_eq!(all(&mut guessed).len(), 9);
    let warnings = guessed.into_met().warnings();
    assert!(warnings[0].starts_with("1 packets are not 14 to 1518 bytes long, for which the card"), "{warnings:?}");
}

proptest! {
    #[test]
    fn what_is_read_meanwhile_is_what_is_held(
        frames in prop::collection::vec((0..1_000_u64, prop_oneof![0..40_usize, 50..1_000_usize]), 1..60),
        room in (1..4_000_usize, 1..5_usize),
        loops in 1..4_u64,
        max_gap in prop_oneof![Just(u64::MAX), 0..500_u64],
        cut in 0..200_usize,
    ) {
        let mut file = bytes(&frames);
        let whole = file.len();
        file.truncate(whole.saturating_sub(cut).max(24));
        let (part, parts) = room;
        match open(file.clone(), loops, max_gap, ROOM) {
            Err(error) => prop_assert_eq!(error.kind(), Kind::Usage),
            Ok(mut held) => {
                let want = all(&mut held);
                let mut streamed = open(file, loops, max_gap, Room { part, parts }).unwrap();
                prop_assert_eq!(all(&mut streamed), want);
                let (held, streamed) = (held.into_met(), streamed.into_met());
                prop_assert_eq!(held.json(), streamed.json());
                prop_assert_eq!(held.warnings(), streamed.warnings());
            }
        }
    }
}
