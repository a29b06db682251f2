//! The capture: `pcap:FILE` plays a file to the port, and writes what the port
//! sends into another.
//!
//! Frames come at the times the file gives them, from the first look on, faster
//! or slower if asked for; or one after the other at line rate. A port that is
//! not ready is waited for: nothing of a file is lost. A file that breaks off is
//! played as far as it goes, and what was not played is counted, with the reason.

use super::{Fate, MAX_FRAME, MIN_FRAME, Note, Picos, Wire, WireSpec};
use crate::error::{Error, Kind, Result};
use crate::pcap::decode::{ETHERNET, Frame, LONGEST, Reader, Step, link_name};
use crate::pcap::packed::Unpacked;
use crate::pcap::record::{Format, Record};
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
        let player = Player::open(&spec.file, spec.speed)?;
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

    fn report(&mut self) -> Vec<Note> {
        let Player { played, cut, too_long, too_short, ref reader, .. } = self.player;
        let LeftOut { other_link, undeclared, malformed, link: _ } = *reader.left_out();
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
        if let Some(damage) = reader.damage() {
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
    /// What is left of the file.
    reader: Reader<Unpacked<File>>,
    speed: Playback,
    /// First time in the file, in nanoseconds, and when it was played.
    start: Option<(i64, Picos)>,
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
}

impl Player {
    fn open(path: &Path, speed: Playback) -> Result<Self> {
        let doing = |what| format!("pcap: {what} {}", path.display());
        let file = File::open(path).map_err(|e| Error::io(doing("opening"), e))?;
        let name = doing("playing");
        let unpacked = Unpacked::new(file).map_err(|e| Error::io(doing("reading"), e))?;
        let reader = Reader::new(unpacked, &name).map_err(|error| error.with_kind(Kind::Usage))?;
        if let Some(link) = reader.link().filter(|link| *link != ETHERNET) {
            let link = link_name(link);
            let line = format!(
                "{name}: it was recorded on a link of type {link}, not Ethernet, and a wire carries Ethernet only"
            );
            return Err(Error::new(Kind::Usage, line));
        }
        let frame = Vec::new();
        let (start, held, last) = (None, None, 0);
        Ok(Player { reader, speed, start, frame, held, last, played: 0, cut: 0, too_long: 0, too_short: 0 })
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        // What is left out takes its time: the rest waits for the next look.
        for _ in 0..LOOK {
            if self.held.is_some() {
                break;
            }
            self.frame.clear();
            match self.reader.step(&mut self.frame) {
                Step::Frame(record) => self.take(&record, now),
                Step::Passed => {}
                Step::End => return None,
            }
        }
        self.held.filter(|&at| at <= now).map(|at| (&self.frame[..], at))
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
        // What was captured before its MAC padded it.
        if self.frame.len() < MIN_FRAME {
            self.frame.resize(MIN_FRAME, 0);
        }
        let due = match (self.speed, record.time) {
            (Playback::Line, _) => 0,
            // With no time of its own it comes with the frame before, or at once.
            (_, None) => self.last.max(self.start.map_or(now, |(_, start)| start)),
            (Playback::Thousandths(speed), Some(time)) => {
                let (first, start) = *self.start.get_or_insert((time, now));
                // Times that go back in the file do not go back on the wire.
                let since = u128::from(time.saturating_sub(first).max(0) as u64) * 1_000_000 / u128::from(speed.max(1));
                start.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
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
        let mut file = File::create(path).map_err(|e| Error::io(doing("creating"), e))?;
        let mut header = Vec::new();
        Format::Pcap.header(&mut header, LONGEST as u32, "");
        file.write_all(&header).map_err(|e| Error::io(doing("writing"), e))?;
        let pending = Vec::with_capacity(BLOCK + MAX_FRAME);
        Ok(Recorder { file, pending, waiting: 0, written: 0, unwritten: 0, epoch: None, flushed: 0 })
    }

    fn record(&mut self, frame: &[u8], at: Picos) {
        let here = i128::from(at / 1000);
        let epoch = *self.epoch.get_or_insert_with(|| i128::from(sys::realtime_ns()) - here);
        let time = u64::try_from(epoch + here).unwrap_or(0);
        Format::Pcap.put(&mut self.pending, &Record { time, wire_len: frame.len(), parts: &[frame] });
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
mod tests {
    use super::*;
    use crate::pcap::samples::Ng;
    use pcap_file::DataLink;
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
    use proptest::prelude::*;
    use std::borrow::Cow;
    use std::time::Duration;

    /// A file with a frame of 60 bytes at each of these microseconds.
    fn capture(path: &Path, times: &[u64]) {
        let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
        for (n, &time) in times.iter().enumerate() {
            writer.write_packet(&PcapPacket::new(Duration::from_micros(time), 60, &[n as u8; 60])).unwrap();
        }
    }

    fn spec(path: &Path, speed: Playback) -> PcapSpec {
        PcapSpec { file: path.into(), out: None, speed }
    }

    fn play(wire: &mut Pcap, now: Picos) -> Vec<(u8, usize, Picos)> {
        std::iter::from_fn(|| {
            let frame = wire.peek(now).map(|(frame, at)| (frame[0], frame.len(), at));
            wire.advance_if(frame.is_some());
            frame
        })
        .collect()
    }

    impl Pcap {
        fn advance_if(&mut self, yes: bool) {
            if yes {
                self.advance();
            }
        }
    }

    #[test]
    fn frames_come_at_their_recorded_times_or_as_fast_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcap");
        capture(&path, &[5_000_000, 5_000_010, 5_000_030]);
        let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(1000))).unwrap();
        assert_eq!(play(&mut wire, 1_000_000), [(0, 60, 1_000_000)]);
        assert_eq!(play(&mut wire, 10_999_999), []);
        assert_eq!(play(&mut wire, 40_000_000), [(1, 60, 11_000_000), (2, 60, 31_000_000)]);
        let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(2500))).unwrap();
        assert_eq!(play(&mut wire, 0), [(0, 60, 0)]);
        assert_eq!(play(&mut wire, 12_000_000), [(1, 60, 4_000_000), (2, 60, 12_000_000)]);
        let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
        assert_eq!(play(&mut wire, 7).len(), 3);
        assert_eq!(wire.report()[0].frames, 3);
    }

    #[test]
    fn pcapng_times_are_read_in_their_own_unit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcapng");
        for (options, unit) in [(vec![], 1_000_000), (vec![InterfaceDescriptionOption::IfTsResol(9)], 1_000)] {
            let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
            let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options };
            writer.write_pcapng_block(interface).unwrap();
            for count in [700, 800] {
                let data = Cow::Borrowed(&[1; 42][..]);
                let timestamp = Duration::from_nanos(count);
                let options = vec![];
                let packet = EnhancedPacketBlock { interface_id: 0, timestamp, original_len: 100, data, options };
                writer.write_pcapng_block(packet).unwrap();
            }
            drop(writer);
            let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(1000))).unwrap();
            assert_eq!(play(&mut wire, 0), [(1, 60, 0)], "padded to what a wire carries");
            assert_eq!(play(&mut wire, u64::MAX / 2), [(1, 60, 100 * unit)]);
            assert_eq!(wire.report()[1].frames, 2);
        }
    }

    #[test]
    fn a_file_that_breaks_off_is_played_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcap");
        capture(&path, &[1, 2, 3]);
        let whole = std::fs::read(&path).unwrap();
        for len in 24..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
            let complete = (len - 24) / 76;
            assert_eq!(play(&mut wire, 0).len(), complete);
            let damaged = (len - 24) % 76 != 0;
            assert_eq!(counted(&mut wire, "damaged"), u64::from(damaged), "{len}");
            let says = damage(&mut wire).is_some_and(|why| why.contains(&format!("cut short after {complete} packet")));
            assert_eq!(says, damaged, "{:?}", damage(&mut wire));
        }
    }

    #[test]
    fn what_is_no_capture_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        let error = || Pcap::open(&spec(&path, Playback::Line)).err().unwrap();
        assert_eq!(error().kind(), Kind::NotFound);
        for content in [&b""[..], b"abc", b"this is a text file and no capture", &[0x0a, 0x0d, 0x0d, 0x0a, 1]] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(error().kind(), Kind::Usage);
            assert!(!error().to_string().contains('\n'));
        }
        let header = PcapHeader { datalink: DataLink::NULL, ..PcapHeader::default() };
        drop(PcapWriter::with_header(File::create(&path).unwrap(), header).unwrap());
        assert!(error().to_string().contains("a wire carries Ethernet only"), "{}", error());
    }

    #[test]
    fn what_is_sent_can_be_played_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, out) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
        capture(&path, &[1]);
        let mut wire = Pcap::open(&PcapSpec { out: Some(out.clone()), ..spec(&path, Playback::Line) }).unwrap();
        for n in 0..1000_u64 {
            assert!(wire.send(&vec![n as u8; 60 + n as usize], 5_000_000 + n * 1_000_000));
        }
        // The file is whole while it is written.
        wire.peek(200_000_000_000);
        assert_eq!(play(&mut Pcap::open(&spec(&out, Playback::Line)).unwrap(), 0).len(), 1000);
        drop(wire);
        let mut again = Pcap::open(&spec(&out, Playback::Thousandths(1000))).unwrap();
        let frames = play(&mut again, 1 << 40);
        for (n, (byte, len, at)) in frames.into_iter().enumerate() {
            assert_eq!((byte, len, at), (n as u8, 60 + n, (1 << 40) + n as u64 * 1_000_000));
            if n == 0 {
                break;
            }
        }
        assert_eq!(play(&mut again, (1 << 40) + 999_000_000).len(), 999);
    }

    #[test]
    fn a_full_disk_leaves_a_valid_file_and_a_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcap");
        capture(&path, &[1]);
        let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
        let mut recorder = Recorder::create(&dir.path().join("out.pcap")).unwrap();
        recorder.file = File::options().write(true).open("/dev/full").unwrap();
        wire.recorder = Some(recorder);
        for n in 0..100 {
            assert!(wire.send(&[0; 1500], n));
        }
        wire.peek(200_000_000_000);
        assert_eq!((counted(&mut wire, "written"), counted(&mut wire, "unwritten")), (0, 100));
    }

    /// Why the file was not played to its end.
    fn damage(wire: &mut Pcap) -> Option<String> {
        wire.report().into_iter().find(|note| note.key == "damaged").map(|note| note.words.into_owned())
    }

    /// What the wire says of `name`.
    fn counted(wire: &mut Pcap, name: &str) -> u64 {
        wire.report().iter().find(|note| note.key == name).map_or(0, |note| note.frames)
    }

    #[test]
    fn what_is_not_played_is_counted_and_the_rest_is_played() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcapng");
        let mut file = Ng::ethernet();
        file.interface(105, 0, &[]);
        for len in [0, 13, 14, MAX_FRAME, MAX_FRAME + 1] {
            file.good(0, &vec![1; len]);
        }
        file.packet(1, 0, 20, 20, &[1; 20], &[]);
        file.packet(9, 0, 20, 20, &[1; 20], &[]);
        file.packet(0, 0, 99, 99, &[1; 20], &[]);
        file.obsolete(0, 0, 0, &[2; 60]);
        file.packet(0, 0, 60, 1514, &[3; 60], &[]);
        file.bytes.extend_from_slice(&[6, 0, 0, 0, 1]);
        std::fs::write(&path, &file.bytes).unwrap();
        let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
        let played: Vec<_> = play(&mut wire, 0).into_iter().map(|(byte, len, _)| (byte, len)).collect();
        assert_eq!(played, [(1, 60), (1, MAX_FRAME), (2, 60), (3, 60)]);
        let counts = [
            ("played", 4),
            ("too_short", 2),
            ("too_long", 1),
            ("other_link", 1),
            ("undeclared", 1),
            ("malformed", 1),
            ("cut", 1),
            ("damaged", 1),
        ];
        for (name, count) in counts {
            assert_eq!(counted(&mut wire, name), count, "{name}");
        }
        let why = damage(&mut wire).unwrap();
        assert!(why.contains("cut short after 10 packets"), "{why}");
    }

    #[test]
    fn one_look_reads_a_bounded_number_of_records_and_the_next_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcapng");
        let mut file = Ng::ethernet();
        file.interface(105, 0, &[]);
        // Two interfaces and what is too short fill one look, another link the next.
        for _ in 2..LOOK {
            file.good(0, &[1; 13]);
        }
        for _ in 0..LOOK {
            file.packet(1, 0, 20, 20, &[1; 20], &[]);
        }
        file.good(0, &[2; 60]);
        std::fs::write(&path, &file.bytes).unwrap();
        let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
        assert_eq!(wire.peek(0), None);
        assert_eq!((counted(&mut wire, "too_short"), counted(&mut wire, "other_link")), (LOOK as u64 - 2, 0));
        assert_eq!(wire.peek(0), None);
        assert_eq!((counted(&mut wire, "other_link"), counted(&mut wire, "played")), (LOOK as u64, 0));
        assert_eq!(wire.peek(0).map(|(frame, _)| frame[0]), Some(2));
        wire.advance();
        assert_eq!(wire.peek(0), None);
        assert_eq!(counted(&mut wire, "played"), 1);
    }

    #[test]
    fn packets_without_a_time_come_with_those_before_them_and_an_offset_is_no_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcapng");
        let mut file = Ng::new(false);
        // Times count from 54 years after 1970, and from an hour before it.
        for offset in [1_700_000_000_i64, -3_600] {
            let options = [file.option(14, &offset.to_le_bytes()), file.option(9, &[9])].concat();
            file.interface(1, 0, &options);
        }
        for (interface, after) in [(0, 0), (1, 1)] {
            let mut file = file.clone();
            file.simple(60, &[1; 60]);
            file.packet(interface, 1_000, 60, 60, &[2; 60], &[]);
            file.simple(60, &[3; 60]);
            file.packet(interface, 3_000 + after, 60, 60, &[4; 60], &[]);
            file.simple(60, &[5; 60]);
            std::fs::write(&path, &file.bytes).unwrap();
            let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(1000))).unwrap();
            assert_eq!(play(&mut wire, 7_000), [(1, 60, 7_000), (2, 60, 7_000), (3, 60, 7_000)]);
            let due = 7_000 + (2_000 + after) * 1_000;
            assert_eq!(play(&mut wire, due), [(4, 60, due), (5, 60, due)]);
        }
    }

    #[test]
    fn what_is_played_is_not_written_under_any_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        capture(&at("in"), &[1, 2, 3]);
        let before = std::fs::read(at("in")).unwrap();
        std::fs::hard_link(at("in"), at("hard")).unwrap();
        std::os::unix::fs::symlink("in", at("soft")).unwrap();
        for name in ["in", "hard", "soft"] {
            let both = PcapSpec { out: Some(at(name)), ..spec(&at("in"), Playback::Line) };
            assert_eq!(Pcap::open(&both).err().unwrap().kind(), Kind::Usage, "{name}");
            // Or by another port, or the command itself.
            let plays = WireSpec::Pcap(spec(&at("in"), Playback::Line));
            let other = WireSpec::Pcap(PcapSpec { out: Some(at(name)), ..spec(&at("other"), Playback::Line) });
            assert!(check_files([&plays, &other], &[]).is_err() && check_files([&plays], &[&at(name)]).is_err());
        }
        assert_eq!(std::fs::read(at("in")).unwrap(), before);
        let writes =
            |name: &str| WireSpec::Pcap(PcapSpec { out: Some(name.into()), ..spec(&at("in"), Playback::Line) });
        let out = at("out");
        let out = out.to_str().unwrap();
        assert!(check_files([&writes(out), &writes(out)], &[]).is_err(), "two write one file");
        check_files([&writes(out), &writes("/dev/null"), &writes("/dev/null"), &WireSpec::Sink], &[&at("x")]).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_spoiled_file_never_brings_it_down(spots in prop::collection::vec((0usize..252, any::<u8>()), 1..12), ng in any::<bool>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("in.pcap");
            if ng {
                let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
                writer.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0)).unwrap();
                for _ in 0..3 {
                    let (timestamp, data) = (Duration::ZERO, Cow::Borrowed(&[1; 42][..]));
                    let packet = EnhancedPacketBlock { interface_id: 0, timestamp, original_len: 42, data, options: vec![] };
                    writer.write_pcapng_block(packet).unwrap();
                }
            } else {
                capture(&path, &[1, 2, 3]);
            }
            let mut bytes = std::fs::read(&path).unwrap();
            for (at, byte) in spots {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            std::fs::write(&path, bytes).unwrap();
            if let Ok(mut wire) = Pcap::open(&spec(&path, Playback::Thousandths(1))) {
                for (_, len, _) in play(&mut wire, u64::MAX) {
                    prop_assert!((MIN_FRAME..=MAX_FRAME).contains(&len));
                }
            }
        }
    }
}
