//! The capture: `pcap:FILE` plays a file to the port, and writes what the port
//! sends into another.
//!
//! Frames come at the times the file gives them, from the first look on, faster
//! or slower if asked for; or one after the other at line rate. A port that is
//! not ready is waited for: nothing of a file is lost. A file that breaks off is
//! played as far as it goes, and what was not played is counted, with the reason.
//! When it has been played as often as asked for, the wire is quiet and says so.

use super::{Fate, MAX_FRAME, MIN_FRAME, Note, Picos, Wire, WireSpec};
use crate::error::{Error, Kind, Result};
use crate::pcap::decode::{ETHERNET, Frame, LONGEST, Reader, Step, link_name};
use crate::pcap::packed::Unpacked;
use crate::pcap::record::{Format, Record};
use crate::pcap::section::Section;
use crate::pcap::{LeftOut, SHORTEST, same_file};
use crate::sys;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

/// What to play and where to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcapSpec {
    /// Capture file, pcap or pcapng, compressed or not.
    pub file: PathBuf,
    /// Capture file for what the port sends (`out=`), overwritten.
    pub out: Option<PathBuf>,
    /// How fast (`speed=`).
    pub speed: Playback,
    /// How often (`loop=`); 0 is without end.
    pub times: u64,
}

/// How fast a capture is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Playback {
    /// At this many thousandths of the recorded speed; 1000 is as recorded.
    Thousandths(u64),
    /// As fast as the wire carries it.
    Line,
}

/// A file that plays, and one that records.
pub struct Pcap {
    player: Player,
    recorder: Option<Recorder>,
}

impl Pcap {
    /// Opens both files.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the file is not a capture of Ethernet frames,
    /// otherwise what the operating system says.
    pub fn open(spec: &PcapSpec) -> Result<Self> {
        check_files([&WireSpec::Pcap(spec.clone())], &[])?;
        let player = Player::open(spec)?;
        Ok(Pcap { player, recorder: spec.out.as_deref().map(Recorder::create).transpose()? })
    }
}

impl Wire for Pcap {
    fn send(&mut self, frame: &[u8], at: Picos) -> bool {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(frame, at);
        }
        true
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if let Some(recorder) = &mut self.recorder {
            recorder.idle(now);
        }
        self.player.peek(now)
    }

    fn advance(&mut self) {
        self.player.held = None;
    }

    fn carrier(&self) -> bool {
        true
    }

    fn waits(&self) -> bool {
        true
    }

    fn is_over(&self) -> Option<bool> {
        Some(self.player.over)
    }

    fn report(&mut self) -> Vec<Note> {
        let Player { played, cut, too_long, too_short, ref before, ref reader, .. } = self.player;
        let LeftOut { other_link, undeclared, malformed, link: _ } = before.and(reader.left_out());
        let left_out = |key, words, frames| Note::new(Fate::LeftOut, key, words, frames);
        let mut report = vec![
            Note::passed("played", "were played from the file", played),
            Note::passed("cut", "of them had been cut when they were recorded", cut),
            left_out("too_long", "in the file are longer than a wire carries", too_long),
            left_out("too_short", "in the file are too short for a header", too_short),
            left_out("other_link", "in the file are of another link type than Ethernet", other_link),
            left_out("undeclared", "in the file are of an interface that it does not describe", undeclared),
            left_out("malformed", "in the file make no sense", malformed),
        ];
        let again = self.player.lost.as_deref();
        if let Some(damage) = reader.damage().map(ToString::to_string).or(again.map(str::to_string)) {
            report.push(Note::new(
                Fate::LeftOut,
                "damaged",
                format!("place where the file cannot be read: {damage}"),
                1,
            ));
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
            report.push(Note::passed("written", "were written to the file", recorder.written));
            report.push(Note::new(Fate::LostOut, "unwritten", "could not be written", recorder.unwritten));
        }
        report
    }
}

/// Records of a file that are read at one look.
const LOOK: usize = 256;

struct Player {
    path: PathBuf,
    /// What is left of the file.
    reader: Reader<Unpacked<File>>,
    speed: Playback,
    /// Times through that are left after this one; `None` is without end.
    loops: Option<u64>,
    /// All was played.
    over: bool,
    /// Why it was not played as often as asked for.
    lost: Option<String>,
    /// First time in the file, in nanoseconds, and when it was played.
    start: Option<(i64, Picos)>,
    /// What this time through was of so far.
    round: Round,
    frame: Vec<u8>,
    /// When the frame in `frame` is due.
    held: Option<Picos>,
    /// When the frame before was due.
    last: Picos,
    played: u64,
    /// Frames of which the file has only the beginning.
    cut: u64,
    too_long: u64,
    too_short: u64,
    /// What was left out on the times through before this one.
    before: LeftOut,
}

/// One time through a file.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    frames: u64,
    /// From the first frame of it to the last, in nanoseconds of the file.
    span: u64,
}

/// Opens a capture file of Ethernet frames.
fn begin(path: &Path) -> Result<Reader<Unpacked<File>>> {
    let doing = |what| format!("pcap: {what} {}", path.display());
    let file = File::open(path).map_err(|e| Error::io(doing("opening"), e))?;
    let name = doing("playing");
    let unpacked = Unpacked::new(file).map_err(|e| Error::io(doing("reading"), e))?;
    let reader = Reader::new(unpacked, &name).map_err(|error| error.with_kind(Kind::Usage))?;
    if let Some(link) = reader.link().filter(|link| *link != ETHERNET) {
        let link = link_name(link);
        let line =
            format!("{name}: it was recorded on a link of type {link}, not Ethernet, and a wire carries Ethernet only");
        return Err(Error::new(Kind::Usage, line));
    }
    Ok(reader)
}

impl Player {
    fn open(spec: &PcapSpec) -> Result<Self> {
        let path = &spec.file;
        if spec.times != 1 && std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
            let line =
                format!("pcap: {} is no regular file, and can be played only once; leave loop= out", path.display());
            return Err(Error::new(Kind::Usage, line));
        }
        Ok(Player {
            path: path.clone(),
            reader: begin(path)?,
            speed: spec.speed,
            loops: spec.times.checked_sub(1),
            over: false,
            lost: None,
            start: None,
            round: Round::default(),
            frame: Vec::new(),
            held: None,
            last: 0,
            played: 0,
            cut: 0,
            too_long: 0,
            too_short: 0,
            before: LeftOut::default(),
        })
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        // What is left out takes its time: the rest waits for the next look.
        for _ in 0..LOOK {
            if self.held.is_some() || self.over {
                break;
            }
            self.frame.clear();
            match self.reader.step(&mut self.frame) {
                Step::Frame(record) => self.take(&record, now),
                Step::Passed => {}
                Step::End => self.over = !self.again(),
            }
        }
        self.held.filter(|&at| at <= now).map(|at| (&self.frame[..], at))
    }

    /// Goes back to the file's beginning; false if it is not to be played again, or cannot.
    fn again(&mut self) -> bool {
        let Round { frames, span } = std::mem::take(&mut self.round);
        // A file without a frame would be read over and over for nothing.
        let left = self.loops != Some(0) && frames > 0;
        if !left || self.reader.damage().is_some() {
            return false;
        }
        match begin(&self.path) {
            Ok(reader) => {
                self.before = self.before.and(self.reader.left_out());
                self.reader = reader;
                self.loops = self.loops.map(|left| left - 1);
                // The pause before the next time through is the mean pause.
                let period = self.scaled(span.saturating_add(span / (frames - 1).max(1)));
                self.start = self.start.map(|(first, start)| (first, start.saturating_add(period)));
                true
            }
            Err(error) => {
                self.lost = Some(error.to_string());
                false
            }
        }
    }

    /// So many nanoseconds of the file, as they are played.
    fn scaled(&self, ns: u64) -> Picos {
        let Playback::Thousandths(speed) = self.speed else { return 0 };
        let picos = u128::from(ns) * 1_000_000 / u128::from(speed.max(1));
        u64::try_from(picos).unwrap_or(u64::MAX)
    }

    /// Sets the frame's time, or leaves it out.
    fn take(&mut self, record: &Frame, now: Picos) {
        if self.frame.len() > MAX_FRAME {
            self.too_long += 1;
            return;
        }
        if self.frame.len() < SHORTEST {
            self.too_short += 1;
            return;
        }
        self.cut += u64::from(record.wire_len > self.frame.len());
        self.played += 1;
        self.round.frames += 1;
        // What was captured before its MAC padded it.
        if self.frame.len() < MIN_FRAME {
            self.frame.resize(MIN_FRAME, 0);
        }
        let due = match (self.speed, record.time) {
            (Playback::Line, _) => 0,
            // With no time of its own it comes with the frame before, or at once.
            (_, None) => self.last.max(self.start.map_or(now, |(_, start)| start)),
            (Playback::Thousandths(_), Some(time)) => {
                let (first, start) = *self.start.get_or_insert((time, now));
                // Times that go back in the file do not go back on the wire.
                let since = time.saturating_sub(first).max(0) as u64;
                self.round.span = self.round.span.max(since);
                start.saturating_add(self.scaled(since))
            }
        };
        self.last = due;
        self.held = Some(due);
    }
}

/// Refuses to write a file that is played, or the same file twice: `wires` are all
/// that will be open at a time, `writes` what else will be written.
///
/// # Errors
/// [`Kind::Usage`] with both names.
pub fn check_files<'a>(wires: impl IntoIterator<Item = &'a WireSpec>, writes: &[&Path]) -> Result<()> {
    let specs = wires.into_iter().filter_map(|wire| match wire {
        WireSpec::Pcap(spec) => Some(spec),
        _ => None,
    });
    let specs: Vec<&PcapSpec> = specs.collect();
    let outs = specs.iter().filter_map(|spec| spec.out.as_deref());
    let written: Vec<&Path> = outs.chain(writes.iter().copied()).collect();
    for (i, &out) in written.iter().enumerate() {
        let shown = out.display();
        if let Some(spec) = specs.iter().find(|spec| same_file(&spec.file, out)) {
            let line = format!(
                "{shown} would be overwritten while it is played (pcap:{}); write another file",
                spec.file.display()
            );
            return Err(Error::new(Kind::Usage, line));
        }
        // Any number may write to a device such as /dev/null.
        let device = std::fs::metadata(out).is_ok_and(|file| !file.is_file());
        if !device && written[..i].iter().any(|other| same_file(other, out)) {
            return Err(Error::new(Kind::Usage, format!("{shown} would be written twice at a time; write two files")));
        }
    }
    Ok(())
}

/// Writes a capture file with nanosecond times. It ends with a whole frame
/// whenever it is looked at, and is at most a tenth of a second behind.
struct Recorder {
    file: File,
    pending: Vec<u8>,
    /// Frames in `pending`, in the file, and not in it because it is full.
    waiting: u64,
    written: u64,
    unwritten: u64,
    /// Time since 1970 of time 0, in nanoseconds, once it is known.
    epoch: Option<i128>,
    flushed: Picos,
}

/// Bytes that are written at once, and how long they wait for that.
const BLOCK: usize = 64 * 1024;
const PATIENCE: Picos = 100_000_000_000;

impl Recorder {
    fn create(path: &Path) -> Result<Self> {
        let doing = |what| format!("pcap: {what} {}", path.display());
        let mut file = crate::sys::shared::create(path, true).map_err(|e| Error::io(doing("creating"), e))?;
        let mut header = Vec::new();
        Format::Pcap.header(&mut header, LONGEST as u32, &Section::default());
        file.write_all(&header).map_err(|e| Error::io(doing("writing"), e))?;
        let pending = Vec::with_capacity(BLOCK + MAX_FRAME);
        Ok(Recorder { file, pending, waiting: 0, written: 0, unwritten: 0, epoch: None, flushed: 0 })
    }

    fn record(&mut self, frame: &[u8], at: Picos) {
        let here = i128::from(at / 1000);
        let epoch = *self.epoch.get_or_insert_with(|| i128::from(sys::realtime_ns()) - here);
        let time = u64::try_from(epoch + here).unwrap_or(0);
        Format::Pcap.put(&mut self.pending, &Record { interface: 0, time, wire_len: frame.len(), parts: &[frame] });
        self.waiting += 1;
        if self.pending.len() >= BLOCK {
            self.flush();
        }
    }

    fn idle(&mut self, now: Picos) {
        if now.saturating_sub(self.flushed) >= PATIENCE {
            self.flushed = now;
            self.flush();
        }
    }

    /// Writes whole frames, or none: what was written of a part is taken back.
    fn flush(&mut self) {
        // A pipe has no place to go back to.
        let end = self.file.stream_position();
        if self.file.write_all(&self.pending).is_ok() {
            self.written += self.waiting;
        } else {
            self.unwritten += self.waiting;
            if let Ok(end) = end {
                let _ = self.file.set_len(end);
                let _ = self.file.seek(std::io::SeekFrom::Start(end));
            }
        }
        self.pending.clear();
        self.waiting = 0;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
