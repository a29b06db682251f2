//! Several files instead of one, when to stop by them, and compression: dumpcap's `-a` and `-b`,
//! tcpdump's `-C`, `-G` and `-W`.
//!
//! What is promised, where the two say little or drift: a file is full with the packet that
//! reaches its size or number, which is still in it; of tcpdump's `-C`, with the one that exceeds
//! it. A packet is in the file of its own time. A file whose time is over ends though no packet
//! comes, after at most 0.2 s, as dumpcap has it (tcpdump waits for a packet).

#[cfg(test)]
mod tests;

use super::perf::Part;
use crate::cli::args::RunLength;
use crate::cli::units;
use crate::error::{Error, Kind, Result};
use crate::pcap::write::{NUMBERS, Names, Rules, Series};
use crate::sys;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments about files.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Files {
    /// Begin another file when: duration:10s, interval:1h, filesize:1000 (kB) or packets:1M
    ///
    /// As dumpcap: files are called out_00001_20261130104500.pcap, by number and local time.
    /// filesize is in kB unless it has a unit (64M, 1G), and is that of what is in a file before
    /// it is compressed. interval is the clock's: 1h is on the hour. files:N keeps the newest N.
    /// Several with commas between them, or -b again. Each file is sent to the disk when the
    /// next one is begun, and all of them are there when the command ends.
    #[arg(short = 'b', long, value_name = "KEY:VALUE", value_delimiter = ',', value_parser = Condition::of_switch)]
    ring_buffer: Vec<Condition>,
    /// Stop after: duration:1h, filesize:1000 (kB), packets:1M, or files:N with -b, -C or -G
    #[arg(short = 'a', long, value_name = "KEY:VALUE", value_delimiter = ',', value_parser = Condition::of_stop)]
    autostop: Vec<Condition>,
    /// Begin another file every so many seconds, called by strftime: out-%Y%m%d%H%M%S.pcap
    ///
    /// As tcpdump, in local time; a file of the same name is overwritten.
    #[arg(short = 'G', long, value_name = "SECONDS", value_parser = whole_seconds)]
    rotate_seconds: Option<Duration>,
    /// Begin another file when one is larger, in millions of bytes unless it has a unit
    ///
    /// As tcpdump: files are called out.pcap, out.pcap1, out.pcap2.
    #[arg(short = 'C', long, value_name = "SIZE", value_parser = millions)]
    file_size: Option<u64>,
    /// With -C, overwrite the oldest of so many files; with -G, stop after so many
    #[arg(short = 'W', long, value_name = "N", value_parser = number)]
    file_count: Option<u64>,
    /// Compress what is written [default: gzip for a FILE that ends in .gz, else none]
    ///
    /// In pieces that are whole each: of a file that a crash has torn, all up to the last 0.1 s
    /// is readable. Takes a processor to itself beyond some 50 MB/s.
    #[arg(long, value_name = "FORMAT")]
    compress: Option<Compress>,
    /// Files that must not be overwritten.
    #[arg(skip)]
    pub spared: Vec<PathBuf>,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compress {
    /// As it is
    None,
    /// RFC 1952
    Gzip,
    /// Refused: it is read, and not written
    #[value(hide = true)]
    Zstd,
}

/// What is watched, of `-a` and of `-b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Duration(Duration),
    Interval(Duration),
    FileSize(u64),
    Files(u64),
    Packets(u64),
}

impl Condition {
    /// Of `-b`.
    fn of_switch(text: &str) -> Result<Condition> {
        Condition::parse(text, "-b duration:10s, interval:1h, filesize:1000, packets:1M or files:5")
    }

    /// Of `-a`.
    fn of_stop(text: &str) -> Result<Condition> {
        let usual = "-a duration:10s, filesize:1000, packets:1M or files:5";
        match Condition::parse(text, usual)? {
            Condition::Interval(_) => Err(usage(format!("an interval ends a file, not the capture; write {usual}"))),
            condition => Ok(condition),
        }
    }

    fn parse(text: &str, usual: &str) -> Result<Condition> {
        let (key, value) = text.split_once(':').unwrap_or((text, ""));
        let condition = match key {
            "duration" => Condition::Duration(units::duration(value)?),
            "interval" => Condition::Interval(units::duration(value)?),
            "filesize" => Condition::FileSize(scaled(value, 1_000)?),
            "files" => Condition::Files(number(value)?),
            "packets" => Condition::Packets(units::count(value)?),
            _ => return Err(usage(format!("'{text}' is not a condition; write {usual}"))),
        };
        match condition {
            Condition::Duration(time) | Condition::Interval(time) if time < SHORTEST => {
                Err(usage(format!("'{text}' is too short; no less than a millisecond is possible")))
            }
            Condition::FileSize(0) | Condition::Packets(0) => {
                Err(usage(format!("'{text}' leaves no room for a packet; name more than zero")))
            }
            condition => Ok(condition),
        }
    }

    /// Its name.
    fn key(self) -> &'static str {
        match self {
            Condition::Duration(_) => "duration",
            Condition::Interval(_) => "interval",
            Condition::FileSize(_) => "filesize",
            Condition::Files(_) => "files",
            Condition::Packets(_) => "packets",
        }
    }
}

/// Least time of a file.
const SHORTEST: Duration = Duration::from_millis(1);

fn usage(line: impl Into<String>) -> Error {
    Error::new(Kind::Usage, line)
}

/// A size, in bytes times `bare` if it has no unit.
fn scaled(text: &str, bare: u64) -> Result<u64> {
    match text.trim().parse::<u64>() {
        Ok(count) => count.checked_mul(bare).ok_or_else(|| usage(format!("'{text}' is more than any disk has"))),
        Err(_) => units::size(text),
    }
}

/// Bytes, in millions if they have no unit.
fn millions(text: &str) -> Result<u64> {
    match scaled(text, 1_000_000)? {
        0 => Err(usage("a file of 0 bytes has no room for a packet; name a size like 100 or 64M")),
        size => Ok(size),
    }
}

/// Files: dumpcap's numbers have five digits.
fn number(text: &str) -> Result<u64> {
    let count = text.trim().parse().ok().filter(|count| (1..NUMBERS).contains(count));
    count.ok_or_else(|| usage(format!("'{text}' is not a number of files; write one from 1 to {}", NUMBERS - 1)))
}

/// A time by which files can be named.
fn whole_seconds(text: &str) -> Result<Duration> {
    let time = units::duration(text)?;
    if time.is_zero() || time.subsec_nanos() > 0 {
        return Err(usage(format!(
            "'{text}' is not in whole seconds, and names change by the second; write one like 60"
        )));
    }
    Ok(time)
}

/// The value of the only one of these conditions that there may be.
fn one<T>(option: &str, all: &[Condition], value: impl Fn(Condition) -> Option<T>) -> Result<Option<T>> {
    let mut found = all.iter().filter_map(|&condition| value(condition).map(|value| (condition.key(), value)));
    let first = found.next();
    match (first, found.next()) {
        (_, Some((key, _))) => Err(usage(format!("-{option} {key} is given twice; say which one it is"))),
        (first, None) => Ok(first.map(|(_, value)| value)),
    }
}

/// What `-a` or `-b` says of each key.
#[derive(Default)]
struct Said {
    duration: Option<Duration>,
    interval: Option<Duration>,
    file_size: Option<u64>,
    files: Option<u64>,
    packets: Option<u64>,
}

impl Said {
    fn of(option: &str, all: &[Condition]) -> Result<Said> {
        use Condition as C;
        Ok(Said {
            duration: one(option, all, |c| if let C::Duration(time) = c { Some(time) } else { None })?,
            interval: one(option, all, |c| if let C::Interval(time) = c { Some(time) } else { None })?,
            file_size: one(option, all, |c| if let C::FileSize(size) = c { Some(size) } else { None })?,
            files: one(option, all, |c| if let C::Files(count) = c { Some(count) } else { None })?,
            packets: one(option, all, |c| if let C::Packets(count) = c { Some(count) } else { None })?,
        })
    }
}

/// What else is said.
#[derive(Clone, Copy)]
pub struct Whole<'a> {
    /// The file.
    pub path: Option<&'a Path>,
    /// The parts that dummies stand in for.
    pub dummies: &'a [Part],
    /// Whether an option is a variable's.
    pub by_default: &'a dyn Fn(&str) -> bool,
}

impl Files {
    /// Refuses what makes no sense together or for the file, before anything is opened, and moves what `-a` says of the run's length to where that is said.
    ///
    /// # Errors
    /// What is refused, and why.
    pub fn settle(&self, args: Whole<'_>, length: &mut RunLength) -> Result<()> {
        let Whole { path, dummies, by_default } = args;
        let mut stop = Said::of("a", &self.autostop)?;
        // What is given wins over what is a variable's.
        if by_default("autostop") {
            stop.duration = stop.duration.filter(|_| length.duration.is_none());
            stop.packets = stop.packets.filter(|_| length.count.is_none());
        }
        length.duration = length.duration.filter(|_| stop.duration.is_none() || !by_default("duration"));
        length.count = length.count.filter(|_| stop.packets.is_none() || !by_default("count"));
        if stop.duration.is_some() && length.duration.is_some() {
            return Err(usage("the duration is given twice, with --duration and with -a; say which one it is"));
        }
        if stop.packets.is_some() && length.count.is_some() {
            return Err(usage("the number of packets is given twice, with --count and with -a; say which one it is"));
        }
        length.duration = length.duration.or(stop.duration);
        length.count = length.count.or(stop.packets);
        let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
        if self.compress == Some(Compress::Zstd) || (self.compress.is_none() && ending == Some("zst")) {
            let line = "bmnic does not write zstd, as its encoder is slower than gzip's and saves no more; \
                        write FILE.gz, or `-w - | zstd`, or --compress none";
            return Err(Error::new(Kind::Unsupported, line));
        }
        let Some(path) = path else {
            return match self.is_plain() && self.compress.is_none() {
                true => Ok(()),
                false => Err(usage("no file is written that could be divided or compressed; name one")),
            };
        };
        if self.series(path)?.is_none() {
            return Ok(());
        }
        if dummies.iter().any(|part| *part != Part::Card) {
            return Err(usage("a dummy of the ring or the disk writes no file that could be divided; leave one out"));
        }
        if path == Path::new("-") || path.metadata().is_ok_and(|found| !found.is_file()) {
            let line =
                format!("{} is no file that another could follow; name a file, or leave -a and -b out", path.display());
            return Err(usage(line));
        }
        Ok(())
    }

    /// Whether nothing is said that needs a file of its own.
    fn is_plain(&self) -> bool {
        let of_file = |condition: &Condition| matches!(condition, Condition::FileSize(_) | Condition::Files(_));
        self.ring_buffer.is_empty() && self.is_without_tcpdump() && !self.autostop.iter().any(of_file)
    }

    fn is_without_tcpdump(&self) -> bool {
        self.rotate_seconds.is_none() && self.file_size.is_none() && self.file_count.is_none()
    }

    /// Whether what is written to `path` is compressed.
    pub fn is_packed(&self, path: &Path) -> bool {
        match self.compress {
            Some(compress) => compress == Compress::Gzip,
            None => path.extension().is_some_and(|ending| ending == "gz"),
        }
    }

    /// The files that are asked for, if it is more than one or one of a certain size.
    ///
    /// # Errors
    /// What is not possible together.
    pub fn series(&self, path: &Path) -> Result<Option<Series>> {
        let (stop, switch) = (Said::of("a", &self.autostop)?, Said::of("b", &self.ring_buffer)?);
        let series = |rules, names, keep, files| Series { rules, names, keep, files, spared: self.spared.clone() };
        if !self.is_without_tcpdump() {
            return self
                .of_tcpdump(path, &stop)
                .map(|(rules, names, keep, files)| Some(series(rules, names, keep, files)));
        }
        if self.ring_buffer.is_empty() {
            if stop.files.is_some() {
                return Err(usage("-a files counts the files of -b, -C or -G; say when another one begins"));
            }
            let rules = Rules { bytes: stop.file_size, ..Rules::default() };
            return Ok(stop.file_size.map(|_| series(rules, Names::Only(path.into()), None, Some(1))));
        }
        if switch.file_size.is_some() && stop.file_size.is_some() {
            return Err(usage("with -b, -a filesize begins another file too; leave one of the two out"));
        }
        let rules = Rules {
            bytes: switch.file_size.or(stop.file_size),
            records: switch.packets,
            duration: switch.duration,
            steady: false,
            interval: switch.interval,
        };
        if rules == Rules::default() {
            let line =
                "-b files says how many are kept, but not when another one begins; add -b filesize:100M or duration:1m";
            return Err(usage(line));
        }
        Ok(Some(series(rules, Names::Numbered(path.into()), switch.files, stop.files)))
    }

    /// The same by tcpdump's options: rules, names, how many are kept, and how many there are.
    #[allow(clippy::type_complexity)] // what it returns is taken apart at once
    fn of_tcpdump(&self, path: &Path, stop: &Said) -> Result<(Rules, Names, Option<u64>, Option<u64>)> {
        if !self.ring_buffer.is_empty() {
            return Err(usage("-b names files as dumpcap does, -C, -G and -W as tcpdump; use one or the other"));
        }
        if stop.file_size.is_some() {
            return Err(usage("-a filesize ends a single file; with -C or -G leave it out"));
        }
        let rules = Rules {
            // One byte more than it may have.
            bytes: self.file_size.map(|size| size.saturating_add(1)),
            duration: self.rotate_seconds,
            steady: true,
            ..Rules::default()
        };
        let (names, keep, files) = match (self.file_size, self.rotate_seconds, self.file_count) {
            (None, None, _) => return Err(usage("-W counts the files of -C or -G; say when another one begins")),
            (Some(_), Some(_), Some(_)) => {
                return Err(usage("with both -C and -G, -W limits nothing (as in tcpdump); leave it out, or use -b"));
            }
            (Some(_), None, ring) => (Names::Counted(path.into(), ring), ring, None),
            (None, Some(_), files) => (Names::Timed(path.into()), None, files),
            (Some(_), Some(_), None) => (Names::TimedAndCounted(path.into()), None, None),
        };
        if files.is_some() && stop.files.is_some() {
            return Err(usage("the number of files is given twice, with -W and with -a; say which one it is"));
        }
        if let Some(time) = self.rotate_seconds {
            differ(path, time)?;
        }
        Ok((rules, names, keep, files.or(stop.files)))
    }
}

/// Whether files that follow each other are called differently.
fn differ(path: &Path, time: Duration) -> Result<()> {
    let now = sys::realtime_ns() / 1_000_000_000;
    let pattern = CString::new(path.as_os_str().as_bytes()).map_err(|_| usage("a name of a file has a zero in it"))?;
    let name =
        |seconds: u64| sys::local_time(&pattern, seconds as i64).map_err(|e| Error::io("naming a file by the time", e));
    if name(now)? == name(now + time.as_secs())? {
        let line = format!(
            "each file would overwrite the one before, as {} is the same after {} s; put the time into it, like out-%Y%m%d%H%M%S.pcap",
            path.display(),
            time.as_secs()
        );
        return Err(usage(line));
    }
    Ok(())
}
