//! Where something was measured, and who else had the processors meanwhile.
//!
//! A [`Machine`] is printed with every figure, so that it can be compared with
//! another's or not. [`Noise`] is what disturbed one run; it turns into warnings
//! in plain words, because a figure from a disturbed machine is not a claim.

use super::clock::Counter;
use super::{Clock, Ticks};
use crate::sys::Roots;
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The machine, as far as the kernel tells. What cannot be read is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: Option<String>,
    /// Processors that this program may run on.
    pub cores: usize,
    /// Ticks a second of the clock that everything is measured with.
    pub clock_hz: f64,
    /// What that clock counts.
    pub counter: Counter,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Whether it runs under a hypervisor.
    pub virtual_machine: bool,
    /// Frequency governor of the first processor.
    pub governor: Option<String>,
    /// Runnable threads over the last minute.
    pub load: Option<f64>,
    /// Huge pages of 2 MiB, free and in all.
    pub huge_pages: Option<(u64, u64)>,
    /// Commit that this program was built from, where the build said.
    pub commit: Option<&'static str>,
}

impl Machine {
    /// Reads what there is to read; takes some hundred microseconds, so do it
    /// beside the measurement and not in it.
    pub fn record(roots: &Roots, clock: &Clock) -> Self {
        let cpuinfo = fs::read_to_string(roots.proc.join("cpuinfo")).unwrap_or_default();
        let field = |name: &str| {
            cpuinfo.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_string())
            })
        };
        let huge = roots.sys.join("kernel/mm/hugepages/hugepages-2048kB");
        let pages = |file: &str| word(&huge.join(file))?.parse().ok();
        Machine {
            cpu: field("model name"),
            cores: crate::sys::affinity().map_or(1, |cpus| cpus.len().max(1)),
            clock_hz: clock.ticks_per_second(),
            counter: clock.counter(),
            kernel: word(&roots.proc.join("sys/kernel/osrelease")),
            virtual_machine: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            governor: word(&roots.sys.join("devices/system/cpu/cpu0/cpufreq/scaling_governor")),
            load: word(&roots.proc.join("loadavg")).and_then(|load| load.parse().ok()),
            huge_pages: pages("free_hugepages").zip(pages("nr_hugepages")),
            commit: option_env!("BMNIC_COMMIT"),
        }
    }

    /// The same for a JSON document.
    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "clock_hz": self.clock_hz.round(),
            "clock": self.counter.to_string(),
            "kernel": self.kernel,
            "virtual_machine": self.virtual_machine,
            "governor": self.governor,
            "load": self.load,
            "huge_pages_2m": self.huge_pages.map(|(free, total)| json!({ "free": free, "total": total })),
            "commit": self.commit,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    /// What about it makes figures less than they could be, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.counter == Counter::Kernel {
            warnings.push("no steady processor counter: times come from the kernel, some 25 ns a reading".to_string());
        }
        if self.cores < 2 {
            warnings.push(
                "one processor only: whatever should run side by side takes turns, at the scheduler's pace".to_string(),
            );
        }
        if let Some(governor) = self.governor.as_deref().filter(|&governor| governor != "performance") {
            warnings.push(format!("frequency governor is '{governor}': cycles are worth more or less from run to run"));
        }
        warnings
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cpu.as_deref().unwrap_or("unknown processor"))?;
        write!(f, ", {} cores, {} {:.3} GHz", self.cores, self.counter, self.clock_hz / 1e9)?;
        if let Some(kernel) = &self.kernel {
            write!(f, ", Linux {kernel}")?;
        }
        if self.virtual_machine {
            f.write_str(", virtual")?;
        }
        if let Some(load) = self.load {
            write!(f, ", load {load:.2}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Counter::Hardware => "TSC",
            Counter::Kernel => "clock_gettime",
            Counter::Virtual => "virtual time",
        })
    }
}

/// First word of a small file.
fn word(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()?.split_whitespace().next().map(str::to_string)
}

/// What the processors did over some time, from `/proc/stat` (proc(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Jiffies in all states together.
    pub total: u64,
    /// Jiffies that a hypervisor gave to someone else.
    pub steal: u64,
}

impl CpuTimes {
    /// Reads them now.
    pub fn read(roots: &Roots) -> Option<Self> {
        let stat = fs::read_to_string(roots.proc.join("stat")).ok()?;
        let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(str::parse::<u64>);
        let mut total = 0;
        let mut steal = 0;
        // user nice system idle iowait irq softirq steal; guest time is in user already.
        for n in 0..8 {
            let jiffies = fields.next()?.ok()?;
            total += jiffies;
            if n == 7 {
                steal = jiffies;
            }
        }
        Some(CpuTimes { total, steal })
    }

    /// Share of the processors' time that was stolen since `earlier`, 0 to 1.
    pub fn stolen_since(&self, earlier: &CpuTimes) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 { 0.0 } else { self.steal.saturating_sub(earlier.steal) as f64 / total as f64 }
    }
}

/// Moments in which a thread that only read the clock was not running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hiccups {
    /// How long it was watched, ns.
    pub watched_ns: u64,
    /// Gaps longer than 1 us.
    pub above_1us: u64,
    /// Gaps longer than 10 us.
    pub above_10us: u64,
    /// Gaps longer than 100 us.
    pub above_100us: u64,
    /// Longest gap, ns.
    pub worst_ns: u64,
    /// All gaps together, ns.
    pub total_ns: u64,
}

impl Hiccups {
    /// Reads the clock over and over for `time` and notes where it jumped.
    pub fn watch(clock: &Clock, time: Duration) -> Self {
        Self::watch_each(clock, time, |_| ())
    }

    /// The same, and tells each gap, ns.
    pub fn watch_each(clock: &Clock, time: Duration, mut each: impl FnMut(u64)) -> Self {
        let mut hiccups = Hiccups::default();
        let microsecond = clock.ticks(Duration::from_micros(1));
        let start = clock.now();
        let end = start.saturating_add(clock.ticks(time));
        let mut last = start;
        while last < end {
            let now = clock.now();
            if now.saturating_sub(last) > microsecond {
                hiccups.note(clock, now - last);
                each(clock.ns(now - last));
            }
            last = now;
        }
        hiccups.watched_ns = clock.ns(last - start);
        hiccups
    }

    /// Adds what was seen in another stretch.
    pub fn add(&mut self, other: &Hiccups) {
        self.watched_ns += other.watched_ns;
        self.above_1us += other.above_1us;
        self.above_10us += other.above_10us;
        self.above_100us += other.above_100us;
        self.worst_ns = self.worst_ns.max(other.worst_ns);
        self.total_ns += other.total_ns;
    }

    #[cold]
    fn note(&mut self, clock: &Clock, gap: Ticks) {
        let ns = clock.ns(gap);
        self.above_1us += 1;
        self.above_10us += u64::from(ns > 10_000);
        self.above_100us += u64::from(ns > 100_000);
        self.worst_ns = self.worst_ns.max(ns);
        self.total_ns += ns;
    }

    /// Share of the time that went into gaps, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.watched_ns == 0 { 0.0 } else { self.total_ns as f64 / self.watched_ns as f64 }
    }

    /// The same for a JSON document.
    pub fn json(&self) -> Value {
        json!({
            "watched_ns": self.watched_ns,
            "above_1us": self.above_1us,
            "above_10us": self.above_10us,
            "above_100us": self.above_100us,
            "worst_ns": self.worst_ns,
            "share": self.share(),
        })
    }
}

/// What disturbed a run.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// A look at an otherwise idle moment just before the run.
    pub before: Hiccups,
    /// Share of the processors' time stolen during the run, where the kernel tells.
    pub stolen: Option<f64>,
    times: Option<CpuTimes>,
}

impl Noise {
    /// Watches for `time`, then begins to count.
    pub fn begin(roots: &Roots, clock: &Clock, time: Duration) -> Self {
        let before = Hiccups::watch(clock, time);
        Noise { before, stolen: None, times: CpuTimes::read(roots) }
    }

    /// Ends the count.
    pub fn end(&mut self, roots: &Roots) {
        self.stolen = self.times.zip(CpuTimes::read(roots)).map(|(before, after)| after.stolen_since(&before));
    }

    /// What it means for the figures, a line each; none on a quiet machine.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(stolen) = self.stolen.filter(|&stolen| stolen > 0.01) {
            warnings.push(format!(
                "the hypervisor took {:.1} % of the processors' time during the run: tails and rates show that, not the driver",
                stolen * 100.0
            ));
        }
        // One gap in a short look may be chance; a thousandth of the time in several is not.
        let share = self.before.share();
        if self.before.above_1us > 1 && share > 0.001 {
            warnings.push(format!(
                "a thread that only read the clock was stopped {:.1} % of the time (worst {:.0} us): percentiles above p{:.1} show this machine",
                share * 100.0,
                self.before.worst_ns as f64 / 1e3,
                (1.0 - share) * 100.0
            ));
        }
        warnings
    }

    /// The same for a JSON document.
    pub fn json(&self) -> Value {
        json!({
            "stolen_share": self.stolen,
            "hiccups": self.before.json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let roots = Roots::under(directory.path());
        (directory, roots)
    }

    #[test]
    fn a_machine_is_read_from_the_kernels_files() {
        let (_directory, roots) = roots_with(&[
            ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz\nflags\t\t: fpu hypervisor sse2\n"),
            ("proc/sys/kernel/osrelease", "6.1.0-amd64\n"),
            ("proc/loadavg", "0.25 0.40 0.19 1/96 16475\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8\n"),
        ]);
        let machine = Machine::record(&roots, &Clock::new());
        assert_eq!(machine.cpu.as_deref(), Some("Some CPU @ 2.50GHz"));
        assert_eq!(machine.kernel.as_deref(), Some("6.1.0-amd64"));
        assert_eq!((machine.virtual_machine, machine.load, machine.huge_pages), (true, Some(0.25), Some((3, 8))));
        assert!(machine.warnings().iter().any(|warning| warning.contains("'powersave'")));
        assert_eq!(machine.json()["huge_pages_2m"]["total"], 8);
        let line = machine.to_string();
        assert!(line.starts_with("Some CPU @ 2.50GHz, ") && line.ends_with("Linux 6.1.0-amd64, virtual, load 0.25"));
    }

    #[test]
    fn a_machine_that_tells_nothing_is_still_recorded() {
        let (_directory, roots) = roots_with(&[]);
        let machine = Machine::record(&roots, &Clock::new());
        assert_eq!((machine.cpu.as_deref(), machine.huge_pages), (None, None));
        assert!(machine.to_string().starts_with("unknown processor"));
        assert_eq!(CpuTimes::read(&roots), None);
    }

    #[test]
    fn stolen_time_is_a_share_and_becomes_a_warning() {
        let (directory, roots) = roots_with(&[("proc/stat", "cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 1 2\n")]);
        let before = CpuTimes::read(&roots).unwrap();
        assert_eq!(before, CpuTimes { total: 1000, steal: 35 });
        let mut noise = Noise::begin(&roots, &Clock::new(), Duration::ZERO);
        fs::write(directory.path().join("proc/stat"), "cpu  180 0 50 800 10 0 5 55 7 0\n").unwrap();
        noise.end(&roots);
        assert_eq!(noise.stolen, Some(0.2));
        assert!(noise.warnings()[0].contains("20.0 %"));
        fs::write(directory.path().join("proc/stat"), "cpu  1 2 3\n").unwrap();
        assert_eq!(CpuTimes::read(&roots), None);
        assert_eq!(before.stolen_since(&before), 0.0);
    }

    #[test]
    fn hiccups_are_gaps_and_gaps_are_within_the_time_watched() {
        let clock = Clock::new();
        let hiccups = Hiccups::watch(&clock, Duration::from_millis(3));
        assert!(hiccups.watched_ns >= 2_990_000);
        assert!(hiccups.total_ns <= hiccups.watched_ns && hiccups.worst_ns <= hiccups.total_ns);
        assert!(hiccups.above_1us >= hiccups.above_10us && hiccups.above_10us >= hiccups.above_100us);
    }

    #[test]
    fn a_noisy_moment_becomes_a_warning_and_a_quiet_one_does_not() {
        let quiet =
            Noise { before: Hiccups { watched_ns: 1_000_000, ..Hiccups::default() }, stolen: None, times: None };
        assert!(quiet.warnings().is_empty());
        let before =
            Hiccups { watched_ns: 5_000_000, above_1us: 5, worst_ns: 90_000, total_ns: 100_000, ..Hiccups::default() };
        let warnings = Noise { before, stolen: Some(0.001), times: None }.warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("stopped 2.0 % of the time (worst 90 us): percentiles above p98.0"));
    }
}
