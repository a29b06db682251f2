//! A capture in several files: when a file is full, and what the next one is called.
//!
//! ```text
//!   dumpcap   out_00001_20261130104500.pcap   out_00002_...   number, and when it was begun
//!   tcpdump   out  out1  out2 | out0 out1 ... out9            by size, as a ring
//!             out-%H%M.pcap                                   by time
//! ```
//!
//! Rules and names are those of dumpcap(1), options -a and -b, and of tcpdump(1), options -C, -G
//! and -W. Where these two drift, a file's time is kept on its grid here: the period after one of
//! 10 s begins 10 s after that, whenever the packet comes that is seen first.

use crate::pcap::same_file;
use crate::sys;
use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files that dumpcap numbers before it begins again (its ringbuffer.c).
pub const NUMBERS: u64 = 100_000;

const SECOND: u64 = 1_000_000_000;
/// How far ahead of the time of day a packet's time is believed.
const AHEAD: u64 = SECOND;

/// When the next file begins, and what it is called.
#[derive(Clone, Debug)]
pub struct Series {
    /// When a file is full.
    pub rules: Rules,
    /// What files are called.
    pub names: Names,
    /// How many files are kept: the oldest is removed once another one is open.
    pub keep: Option<u64>,
    /// After how many files nothing more is written.
    pub files: Option<u64>,
    /// Files that must not be overwritten, whatever the names.
    pub spared: Vec<PathBuf>,
}

impl Series {
    /// Whether a file at `path` would overwrite one.
    ///
    /// # Errors
    /// If that must not be.
    pub(super) fn overwrites(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) if self.spared.iter().any(|spared| same_file(spared, path)) => {
                Err(io::Error::other("it would be overwritten while it is played"))
            }
            Ok(found) if found.is_file() || found.is_symlink() => Ok(true),
            Ok(_) => Err(io::Error::other("it is there already, and is no regular file")),
            Err(_) => Ok(false),
        }
    }
}

/// When a file is full; by whichever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// With as many bytes or more, headers included, as they are before they are compressed.
    pub bytes: Option<u64>,
    /// With as many packets.
    pub records: Option<u64>,
    /// After this time.
    pub duration: Option<Duration>,
    /// That time goes on where a file is full by another rule (tcpdump), and does not begin
    /// anew (dumpcap).
    pub steady: bool,
    /// At each multiple of this time since 1970, in UTC.
    pub interval: Option<Duration>,
}

/// What files are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// As it says: there is one.
    Only(PathBuf),
    /// `out_00001_20261130104500.pcap`, in local time.
    Numbered(PathBuf),
    /// `out`, `out1`, `out2`; or of a ring of so many `out0` to `out9`.
    Counted(PathBuf, Option<u64>),
    /// By strftime(3), in local time.
    Timed(PathBuf),
    /// The same with the numbers of [`Names::Counted`], anew for each time.
    TimedAndCounted(PathBuf),
}

impl Names {
    /// Whether a file that follows before its time has the name of the one before.
    pub(super) fn may_repeat(&self) -> bool {
        matches!(self, Names::Only(_) | Names::Timed(_) | Names::Counted(_, Some(0 | 1)))
    }

    /// File `number` of all and `count` of its time, from 0 on; its time began, or it did, at
    /// `time`, in nanoseconds since 1970.
    ///
    /// # Errors
    /// If the time makes no name.
    pub fn name(&self, number: u64, count: u64, time: u64) -> io::Result<PathBuf> {
        match self {
            Names::Only(path) => Ok(path.clone()),
            Names::Numbered(path) => {
                let (stem, ending) = parts(path);
                let time = local(OsStr::new("%Y%m%d%H%M%S"), time)?;
                let mut name = stem.to_os_string();
                name.push(format!("_{:05}_", (number + 1) % NUMBERS));
                name.push(time);
                name.push(ending);
                Ok(path.with_file_name(name))
            }
            Names::Counted(path, None) => Ok(counted(path.as_os_str(), count)),
            Names::Counted(path, Some(ring)) => {
                // As many digits as the last number has.
                let width = ring.saturating_sub(1).checked_ilog10().map_or(0, |log| log as usize + 1);
                let mut name = path.as_os_str().to_os_string();
                if width > 0 {
                    name.push(format!("{:0width$}", number % ring));
                }
                Ok(name.into())
            }
            Names::Timed(path) => Ok(local(path.as_os_str(), time)?.into()),
            Names::TimedAndCounted(path) => Ok(counted(&local(path.as_os_str(), time)?, count)),
        }
    }
}

/// A name with its number behind it, if that is not 0.
fn counted(name: &OsStr, count: u64) -> PathBuf {
    let mut name = name.to_os_string();
    if count > 0 {
        name.push(count.to_string());
    }
    name.into()
}

/// The name of a file without its ending, and the ending; `.pcap.gz` is one.
fn parts(path: &Path) -> (&OsStr, &OsStr) {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let dot = |name: &[u8]| name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let at = match dot(name) {
        Some(at) if &name[at..] == b".gz" => dot(&name[..at]).unwrap_or(at),
        Some(at) => at,
        None => name.len(),
    };
    (OsStr::from_bytes(&name[..at]), OsStr::from_bytes(&name[at..]))
}

/// What strftime(3) makes of `pattern` at this time.
fn local(pattern: &OsStr, time: u64) -> io::Result<OsString> {
    let pattern = CString::new(pattern.as_bytes())?;
    sys::local_time(&pattern, (time / SECOND) as i64).map(OsString::from_vec)
}

/// What became of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Files that were begun.
    pub begun: u64,
    /// Of these, those that were removed to make room.
    pub removed: u64,
    /// Packets in them.
    pub removed_records: u64,
    /// Other files that were there under a name before, and were overwritten.
    pub replaced: u64,
    /// Files that the disk has, as far as their file system says.
    pub synced: u64,
    /// The oldest file that was kept.
    pub first: PathBuf,
    /// The newest file.
    pub last: PathBuf,
    /// The file that could not be begun, not be removed, or not be put on the disk.
    pub failed: Option<PathBuf>,
}

/// How far a series is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) series: Series,
    pub(super) files: Files,
    /// Bytes of the file, before they are compressed, and packets in it.
    bytes: u64,
    records: u64,
    /// When its time began, and when it ends.
    start: u64,
    until: Option<u64>,
    /// Files of this time so far.
    count: u64,
    /// Those that are kept and are not written any more, with their packets.
    kept: VecDeque<(PathBuf, u64)>,
}

impl Place {
    /// Before the first file, begun `now`, whose name is that of the last one.
    ///
    /// # Errors
    /// If there is no name for it.
    pub(super) fn new(series: Series, now: u64) -> io::Result<Place> {
        let mut place = Place {
            series,
            files: Files::default(),
            bytes: 0,
            records: 0,
            start: now,
            until: None,
            count: 0,
            kept: VecDeque::new(),
        };
        place.until = place.end(now);
        place.files.last = place.series.names.name(0, 0, now)?;
        place.files.first.clone_from(&place.files.last);
        Ok(place)
    }

    /// When the file ends by its time, if it does.
    pub(super) fn until(&self) -> Option<u64> {
        self.until
    }

    /// When a file ends whose time has begun at `start`, and which is begun at `time`.
    fn end(&self, time: u64) -> Option<u64> {
        let Rules { duration, interval, .. } = self.series.rules;
        let duration = duration.map(|duration| self.start.saturating_add(nanoseconds(duration)));
        let next =
            interval.map(nanoseconds).map(|interval| (time / interval).saturating_add(1).saturating_mul(interval));
        duration.into_iter().chain(next).min()
    }

    /// Whether the file is full.
    pub(super) fn is_full(&self) -> bool {
        self.is_full_with(0, 0)
    }

    /// Whether packets of so many bytes fit into the file, whatever their times.
    pub(super) fn fits(&self, bytes: u64, records: u64) -> bool {
        self.until.is_none() && !self.is_full() && !self.is_full_with(bytes, records)
    }

    /// Whether it is with so many bytes and packets more. One without a packet never is.
    #[inline]
    pub(super) fn is_full_with(&self, bytes: u64, records: u64) -> bool {
        let Rules { bytes: most_bytes, records: most_records, .. } = self.series.rules;
        let records = self.records + records;
        let full = most_bytes.is_some_and(|most| self.bytes + bytes >= most)
            || most_records.is_some_and(|most| records >= most);
        full && records > 0
    }

    /// Whether a packet of `time`, which came `now`, is of another file's time.
    #[inline]
    pub(super) fn is_over(&self, time: u64, now: impl FnOnce() -> u64) -> bool {
        // One whose time is far ahead is of a clock that is wrong.
        self.until.is_some_and(|until| time >= until && time.min(now().saturating_add(AHEAD)) >= until)
    }

    /// Whether no more files may follow.
    pub(super) fn is_last(&self) -> bool {
        self.series.files.is_some_and(|most| self.files.begun >= most)
    }

    /// A file was begun.
    pub(super) fn begin(&mut self, path: PathBuf, replaced: bool) {
        if self.series.keep.is_some() && self.files.begun > 0 {
            self.kept.push_back((std::mem::take(&mut self.files.last), self.records));
        }
        // The oldest of a ring is removed, by whatever means.
        let own = self.kept.front().is_some_and(|(oldest, _)| *oldest == path);
        self.files.last = path;
        self.files.failed = None;
        self.files.begun += 1;
        self.files.replaced += u64::from(replaced && !own);
        (self.bytes, self.records) = (0, 0);
    }

    /// So much was written into it.
    pub(super) fn add(&mut self, bytes: u64, records: u64) {
        self.bytes += bytes;
        self.records += records;
    }

    /// Goes on to the next file, which is begun `now`, because the file is full or its time is
    /// over at `time`; what it is called.
    ///
    /// # Errors
    /// If there is no name for it.
    pub(super) fn next(&mut self, time: u64, now: u64) -> io::Result<PathBuf> {
        let time = time.min(now.saturating_add(AHEAD));
        let Rules { duration, interval, steady, .. } = self.series.rules;
        let by_time = self.until.is_some_and(|until| time >= until);
        let period = duration.map(nanoseconds).filter(|period| time.saturating_sub(self.start) >= *period);
        let mark = interval.map(nanoseconds).map(|interval| time / interval * interval);
        let begun = match (period, mark) {
            (Some(period), _) => {
                self.start += (time - self.start) / period * period;
                self.start
            }
            (None, mark) => {
                let begun = mark.filter(|_| by_time).unwrap_or(time);
                if !steady {
                    self.start = begun;
                }
                begun
            }
        };
        self.count = if by_time { 0 } else { self.count + 1 };
        self.until = self.end(begun);
        let named = match self.series.names {
            Names::Timed(_) | Names::TimedAndCounted(_) => self.start,
            _ if by_time => begun,
            _ => now,
        };
        self.series.names.name(self.files.begun, self.count, named)
    }

    /// The file that makes room for one that was begun, if one must. A file that was
    /// overwritten is gone already.
    pub(super) fn make_room(&mut self) -> Option<PathBuf> {
        let keep = self.series.keep?;
        let oldest = if self.kept.len() as u64 >= keep { self.kept.pop_front() } else { None };
        self.files.first = self.kept.front().map_or(&self.files.last, |(path, _)| path).clone();
        let (path, records) = oldest?;
        self.files.removed += 1;
        self.files.removed_records += records;
        (path != self.files.last).then_some(path)
    }
}

/// In nanoseconds, at least one.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30 10:45:00 in UTC.
    const THEN: u64 = 1_796_035_500 * SECOND;

    fn place(names: Names, rules: Rules, keep: Option<u64>) -> Place {
        let mut place = Place::new(Series { rules, names, keep, files: None, spared: Vec::new() }, THEN).unwrap();
        place.begin(place.files.last.clone(), false);
        place
    }

    /// Goes on to the next file at this time.
    fn turn(place: &mut Place, time: u64) {
        let path = place.next(time, time).unwrap();
        place.begin(path, false);
    }

    fn text(time: u64) -> String {
        local(OsStr::new("%Y%m%d%H%M%S"), time).unwrap().into_string().unwrap()
    }

    #[test]
    fn files_are_called_as_dumpcap_and_tcpdump_call_them() {
        let stamp = text(THEN);
        let numbered = |path: &str, number| Names::Numbered(path.into()).name(number, 0, THEN).unwrap();
        assert_eq!(numbered("/a.b/out.pcap", 0), PathBuf::from(format!("/a.b/out_00001_{stamp}.pcap")));
        assert_eq!(numbered("out.pcap.gz", 11), PathBuf::from(format!("out_00012_{stamp}.pcap.gz")));
        assert_eq!(numbered(".out", 99_999), PathBuf::from(format!(".out_00000_{stamp}")));
        assert_eq!(numbered("out.gz", 0), PathBuf::from(format!("out_00001_{stamp}.gz")));
        let counted = |ring, number| Names::Counted("o.pcap".into(), ring).name(number, number, THEN).unwrap();
        assert_eq!([0, 1, 10].map(|n| counted(None, n)), ["o.pcap", "o.pcap1", "o.pcap10"].map(PathBuf::from));
        assert_eq!([0, 9, 10].map(|n| counted(Some(10), n)), ["o.pcap0", "o.pcap9", "o.pcap0"].map(PathBuf::from));
        assert_eq!([0, 10, 11].map(|n| counted(Some(11), n)), ["o.pcap00", "o.pcap10", "o.pcap00"].map(PathBuf::from));
        assert_eq!(counted(Some(1), 5), PathBuf::from("o.pcap"));
        let timed = Names::Timed("o-%Y%m%d%H%M%S".into()).name(3, 2, THEN).unwrap();
        assert_eq!(timed, PathBuf::from(format!("o-{stamp}")));
        let both = |count| Names::TimedAndCounted("o-%S".into()).name(3, count, THEN).unwrap();
        assert_eq!([0, 1].map(both), ["o-00", "o-001"].map(PathBuf::from));
    }

    #[test]
    fn a_period_follows_the_one_before_however_late_its_first_packet_is() {
        let rules = Rules { duration: Some(Duration::from_secs(10)), ..Rules::default() };
        let mut place = place(Names::Numbered("o".into()), rules, None);
        assert_eq!(place.until(), Some(THEN + 10 * SECOND));
        for (late, begun) in [(10, 10), (27, 20), (65, 60), (70, 70)] {
            let at = THEN + late * SECOND;
            turn(&mut place, at);
            assert_eq!(place.until(), Some(THEN + (begun + 10) * SECOND));
            let name = format!("o_{:05}_{}", place.files.begun, text(THEN + begun * SECOND));
            assert_eq!(place.files.last, PathBuf::from(name));
        }
    }

    #[test]
    fn a_file_that_is_full_begins_a_period_anew_for_dumpcap_and_not_for_tcpdump() {
        for (steady, until) in [(false, 13), (true, 10)] {
            let rules = Rules { duration: Some(Duration::from_secs(10)), bytes: Some(100), steady, ..Rules::default() };
            let mut place = place(Names::TimedAndCounted("o%S".into()), rules, None);
            place.add(100, 1);
            assert!(place.is_full());
            turn(&mut place, THEN + 3 * SECOND);
            assert!(!place.is_full() && place.is_full_with(100, 1));
            assert_eq!(place.until(), Some(THEN + until * SECOND));
            assert_eq!(place.files.last, PathBuf::from(if steady { "o001" } else { "o031" }));
            turn(&mut place, THEN + 14 * SECOND);
            assert_eq!(place.files.last, PathBuf::from(if steady { "o10" } else { "o13" }));
        }
    }

    #[test]
    fn an_interval_ends_on_the_hour_and_the_next_file_is_called_by_it() {
        let rules = Rules { interval: Some(Duration::from_secs(3600)), ..Rules::default() };
        let mut place = place(Names::Numbered("o".into()), rules, None);
        let hour = THEN + 900 * SECOND;
        assert_eq!(place.until(), Some(hour));
        let path = place.next(hour + 5, hour + 7 * SECOND).unwrap();
        assert_eq!(path, PathBuf::from(format!("o_00002_{}", text(hour))));
        assert_eq!(place.until(), Some(hour + 3600 * SECOND));
    }

    #[test]
    fn a_time_that_is_far_ahead_moves_no_file_there() {
        let rules = Rules { duration: Some(Duration::from_secs(10)), ..Rules::default() };
        let mut place = place(Names::Numbered("o".into()), rules, None);
        let now = THEN + 12 * SECOND;
        assert!(!place.is_over(u64::MAX, || THEN + 5 * SECOND) && place.is_over(u64::MAX, || now));
        place.next(u64::MAX, now).unwrap();
        assert_eq!(place.until(), Some(THEN + 20 * SECOND));
    }

    #[test]
    fn the_oldest_makes_room_once_another_is_open_and_one_of_the_same_name_was_it() {
        let rules = Rules { records: Some(1), ..Rules::default() };
        let mut named = place(Names::Counted("o".into(), None), rules, Some(2));
        let mut gone = Vec::new();
        for n in 1..5 {
            named.add(1, n);
            turn(&mut named, THEN);
            gone.push(named.make_room());
        }
        assert_eq!(gone, [None, Some("o".into()), Some("o1".into()), Some("o2".into())]);
        let Files { begun, removed, removed_records, first, last, .. } = named.files;
        assert_eq!((begun, removed, removed_records), (5, 3, 1 + 2 + 3));
        assert_eq!((first, last), ("o3".into(), "o4".into()));

        let mut ring = place(Names::Counted("o".into(), Some(2)), rules, Some(2));
        for n in 1..4 {
            ring.add(1, n);
            let path = ring.next(THEN, THEN).unwrap();
            // The second file was there before.
            ring.begin(path, true);
            assert_eq!(ring.make_room(), None);
        }
        let Files { begun, removed, removed_records, replaced, first, last, .. } = ring.files;
        assert_eq!((begun, removed, removed_records, replaced), (4, 2, 1 + 2, 1));
        assert_eq!((first, last), ("o0".into(), "o1".into()));
    }
}
