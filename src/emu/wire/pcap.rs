//! The capture: `pcap:FILE` plays a file to the port, and writes what the port
//! sends into another.
//!
//! Frames come at the times the file gives them, from the first look on, faster
//! or slower if asked for; or one after the other at line rate. A port that is
//! not ready is waited for: nothing of a file is lost. A file that breaks off is
//! played as far as it goes, and the report says that it is damaged.

use super::{Fate, MAX_FRAME, MIN_FRAME, Note, Picos, Wire};
use crate::error::{Error, Kind, Result};
use crate::sys;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError, TsResolution};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// What to play and where to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcapSpec {
    /// Capture file, pcap or pcapng.
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
        let Player { played, cut, too_long, damaged, .. } = self.player;
        let mut report = vec![
            Note::passed("played", "were played from the file", played),
            Note::passed("cut", "of them had been cut when they were recorded", cut),
            Note::new(Fate::LostIn, "too_long", "longer than a wire carries", too_long),
            Note::new(Fate::LostIn, "damaged", "damaged in the file", u64::from(damaged)),
        ];
        if let Some(recorder) = &self.recorder {
            report.push(Note::passed("written", "were written to the file", recorder.written));
            report.push(Note::new(Fate::LostOut, "unwritten", "could not be written", recorder.unwritten));
        }
        report
    }
}

struct Player {
    /// None at the end of the file.
    records: Option<Records>,
    speed: Playback,
    /// First time in the file, in nanoseconds, and when it was played.
    start: Option<(u64, Picos)>,
    frame: Vec<u8>,
    /// When the frame in `frame` is due.
    held: Option<Picos>,
    played: u64,
    /// Frames of which the file has only the beginning.
    cut: u64,
    too_long: u64,
    damaged: bool,
}

enum Records {
    Pcap(PcapReader<File>),
    PcapNg(PcapNgReader<File>),
}

/// A frame of the file is in the buffer: its time in nanoseconds, and whether it
/// was longer on the wire.
struct Record {
    time: u64,
    cut: bool,
}

impl Player {
    fn open(path: &Path, speed: Playback) -> Result<Self> {
        let doing = |what| format!("pcap: {what} {}", path.display());
        let bad = |reason: String| Error::new(Kind::Usage, format!("{}: {reason}", doing("playing")));
        let mut file = File::open(path).map_err(|e| Error::io(doing("opening"), e))?;
        let mut magic = [0; 4];
        let read = file.read_exact(&mut magic).and_then(|()| file.rewind());
        read.map_err(|e| bad(format!("it is no capture file: {e}")))?;
        let records = if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
            let reader = PcapNgReader::new(file).map_err(|e| bad(format!("it is no pcapng file: {e}")))?;
            Records::PcapNg(reader)
        } else {
            let reader = PcapReader::new(file).map_err(|e| bad(format!("it is no capture file: {e}")))?;
            let link = reader.header().datalink;
            if link != DataLink::ETHERNET {
                return Err(bad(format!("its link type is {link:?}, and a wire carries Ethernet only")));
            }
            Records::Pcap(reader)
        };
        let frame = Vec::new();
        let (start, held) = (None, None);
        Ok(Player { records: Some(records), speed, start, frame, held, played: 0, cut: 0, too_long: 0, damaged: false })
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        while self.held.is_none() {
            let record = self.records.as_mut()?.next(&mut self.frame);
            match record {
                Some(Ok(record)) => self.take(&record, now),
                end => {
                    self.damaged = end.is_some();
                    self.records = None;
                    return None;
                }
            }
        }
        self.held.filter(|&at| at <= now).map(|at| (&self.frame[..], at))
    }

    /// Sets the frame's time, or leaves it out.
    fn take(&mut self, record: &Record, now: Picos) {
        if self.frame.len() > MAX_FRAME {
            self.too_long += 1;
            return;
        }
        self.cut += u64::from(record.cut);
        self.played += 1;
        // What was captured before its MAC padded it.
        if self.frame.len() < MIN_FRAME {
            self.frame.resize(MIN_FRAME, 0);
        }
        let (first, start) = *self.start.get_or_insert((record.time, now));
        self.held = Some(match self.speed {
            Playback::Line => 0,
            Playback::Thousandths(speed) => {
                // Times that go back in the file do not go back on the wire.
                let since = u128::from(record.time.saturating_sub(first)) * 1_000_000 / u128::from(speed.max(1));
                start.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
            }
        });
    }
}

impl Records {
    /// Reads the next frame into `frame`; none at the end, an error where the
    /// file is damaged.
    fn next(&mut self, frame: &mut Vec<u8>) -> Option<std::result::Result<Record, PcapError>> {
        frame.clear();
        match self {
            Records::Pcap(reader) => {
                let unit = if reader.header().ts_resolution == TsResolution::NanoSecond { 1 } else { 1000 };
                Some(reader.next_raw_packet()?.map(|packet| {
                    frame.extend_from_slice(&packet.data);
                    let time = u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_frac) * unit;
                    Record { time, cut: packet.orig_len > packet.incl_len }
                }))
            }
            Records::PcapNg(reader) => loop {
                let record = match reader.next_block()? {
                    Err(e) => return Some(Err(e)),
                    Ok(Block::EnhancedPacket(packet)) => {
                        frame.extend_from_slice(&packet.data);
                        // The library hands the raw count over as if it were nanoseconds.
                        let count = packet.timestamp.as_nanos() as u64;
                        let cut = packet.original_len as usize > packet.data.len();
                        Some((packet.interface_id, count, cut))
                    }
                    Ok(_) => None,
                };
                let Some((interface, count, cut)) = record else { continue };
                let Some(interface) = reader.interfaces().get(interface as usize) else {
                    return Some(Err(PcapError::InvalidInterfaceId(interface)));
                };
                if interface.linktype != DataLink::ETHERNET {
                    frame.clear();
                    continue;
                }
                let resolution = interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
                    _ => None,
                });
                return Some(Ok(Record { time: nanoseconds(count, resolution.unwrap_or(6)), cut }));
            },
        }
    }
}

/// A pcapng time in nanoseconds: counts of 10^-n seconds, or of 2^-n with the
/// highest bit of `resolution` set (pcapng §4.2, if_tsresol).
fn nanoseconds(count: u64, resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 != 0 { 2 } else { 10 };
    let Some(unit) = base.checked_pow(exponent) else { return 0 };
    (u128::from(count) * 1_000_000_000 / unit) as u64
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
        // Magic for nanoseconds, version 2.4, UTC, no accuracy, snap length, Ethernet.
        let header: [u32; 6] = [0xa1b2_3c4d, 4 << 16 | 2, 0, 0, 256 * 1024, 1];
        let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.write_all(&header).map_err(|e| Error::io(doing("writing"), e))?;
        let pending = Vec::with_capacity(BLOCK + MAX_FRAME);
        Ok(Recorder { file, pending, waiting: 0, written: 0, unwritten: 0, epoch: None, flushed: 0 })
    }

    fn record(&mut self, frame: &[u8], at: Picos) {
        let here = i128::from(at / 1000);
        let epoch = *self.epoch.get_or_insert_with(|| i128::from(sys::realtime_ns()) - here);
        let time = u64::try_from(epoch + here).unwrap_or(0);
        let len = frame.len() as u32;
        for word in [(time / 1_000_000_000) as u32, (time % 1_000_000_000) as u32, len, len] {
            self.pending.extend_from_slice(&word.to_le_bytes());
        }
        self.pending.extend_from_slice(frame);
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
        let Ok(end) = self.file.stream_position() else { return };
        if self.file.write_all(&self.pending).is_ok() {
            self.written += self.waiting;
        } else {
            self.unwritten += self.waiting;
            let _ = self.file.set_len(end);
            let _ = self.file.seek(std::io::SeekFrom::Start(end));
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
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
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
        assert_eq!(nanoseconds(3 << 20, 0x80 | 20), 3_000_000_000);
        assert_eq!(nanoseconds(u64::MAX, 0x7f), 0);
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
            assert_eq!(wire.report()[3].frames, u64::from((len - 24) % 76 != 0), "{len}");
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
        assert_eq!((wire.report()[4].frames, wire.report()[5].frames), (0, 100));
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
