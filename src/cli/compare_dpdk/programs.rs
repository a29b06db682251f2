//! The programs of the second comparison: stock `dpdk-testpmd`, and this one; how
//! they are started, and what they say of themselves.

use super::child::RING;
use crate::cli::environment;
use crate::compare::BUFFERS;
use crate::error::{Error, Kind, Result};
use crate::sys;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Most frames in a burst.
pub const BURST: usize = 32;

/// Huge pages of 2 MiB that either takes at most.
pub const PAGES: u64 = 36;

/// What DPDK calls its files by.
const PREFIX: &str = "bmnic";

/// How long DPDK's telemetry may take for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// DPDK's program.
const TESTPMD: &str = "dpdk-testpmd";

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `dpdk-testpmd`.
    Testpmd,
    /// `bmnic`.
    Bmnic,
}

/// What it is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Send what comes in by the port it came in by: testpmd's `io`, `bmnic fwd`.
    Forward,
    /// Send frames of 64 bytes as fast as can be: testpmd's `txonly`, `bmnic pktgen`.
    Send,
}

/// What a program said at its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// TSC cycles that a packet took, by its own count.
    pub cycles: Option<f64>,
    /// Packets that it found at a time, when it found any.
    pub burst: Option<f64>,
    /// Packets that it sent in a second, by the card's statistics as it reads them; in millions.
    pub mpps: Option<f64>,
    /// Its version.
    pub version: Option<String>,
}

/// Both, in the order of their turns.
pub const PROGRAMS: [Program; 2] = [Program::Testpmd, Program::Bmnic];

impl Program {
    /// What it is called for a job.
    pub fn name(self, job: Job) -> &'static str {
        match (self, job) {
            (Program::Testpmd, Job::Forward) => "dpdk-testpmd io",
            (Program::Testpmd, Job::Send) => "dpdk-testpmd txonly",
            (Program::Bmnic, Job::Forward) => "bmnic fwd",
            (Program::Bmnic, Job::Send) => "bmnic pktgen",
        }
    }

    /// The program with its arguments, for `device`; it runs until SIGINT.
    /// `arguments` are for DPDK's driver, `cpus` the processors to use.
    pub fn command(self, job: Job, device: &str, arguments: &str, cpus: &[usize]) -> Command {
        let mut words: Vec<String> = Vec::new();
        let mut add = |text: &str| words.extend(text.split_whitespace().map(String::from));
        if self == Program::Bmnic {
            add(if job == Job::Forward { "--json fwd --cycles" } else { "--json pktgen --size 64" });
            // Each is given more than it can carry.
            add("--allow-loss 100%");
            add(&format!("{device} --duration 0 --count 0 --batch {BURST} --txd {RING}"));
            if job == Job::Forward {
                add(&format!("--rxd {RING}"));
            }
            let mut command = Command::new("/proc/self/exe");
            environment::strip(&mut command);
            command.args(words);
            return command;
        }
        let (main, worker) = (cpus.first().copied().unwrap_or(0), cpus.last().copied().unwrap_or(0));
        add(&format!("-v --lcores 0@{main},1@{worker} -m 64 --file-prefix {PREFIX}"));
        add(&format!("-a {device}{arguments} -- --auto-start --no-lsc-interrupt --rxd={RING} --txd={RING}"));
        add(&format!("--burst={BURST} --total-num-mbufs={BUFFERS} --nb-cores=1 --stats-period=1"));
        add(if job == Job::Forward {
            "--forward-mode=io --record-core-cycles --record-burst-stats"
        } else {
            "--forward-mode=txonly --txpkts=60"
        });
        let mut command = Command::new(TESTPMD);
        command.args(words);
        command
    }

    /// Packets that it has sent so far, by what its driver has counted, if it can be
    /// asked while it runs: of testpmd, DPDK's telemetry, below the directory that
    /// DPDK keeps its files in.
    pub fn sent(self, runtime: &Path) -> Option<u64> {
        if self == Program::Bmnic {
            return None;
        }
        let socket = runtime.join("dpdk").join(PREFIX).join("dpdk_telemetry.v2");
        // Without an answer there is no figure.
        let answer = telemetry(&socket, "/ethdev/stats,0").ok()?;
        answer["/ethdev/stats"]["opackets"].as_u64()
    }

    /// What it said, from all that it wrote.
    pub fn understand(self, job: Job, text: &str) -> Option<Said> {
        match self {
            Program::Testpmd => Some(testpmd(text)),
            Program::Bmnic => bmnic(job, text),
        }
    }
}

/// Fails unless `dpdk-testpmd` can be found.
///
/// # Errors
/// [`Kind::Missing`], with what to install.
pub fn require_testpmd() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(TESTPMD).is_file()) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Missing,
        "dpdk-testpmd is not in PATH; `apt-get install dpdk-dev` brings it on Debian and Ubuntu",
    ))
}

/// Asks DPDK's telemetry (DPDK programmer's guide, Telemetry Library): a greeting,
/// then a document for each question.
fn telemetry(socket: &Path, question: &str) -> io::Result<Value> {
    let mut socket = sys::net::connect_to_messages(socket)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut message = vec![0; 16 << 10];
    let _greeting = socket.read(&mut message)?;
    socket.write_all(question.as_bytes())?;
    let len = socket.read(&mut message)?;
    Ok(serde_json::from_slice(&message[..len])?)
}

/// From testpmd's words: `Tx-pps:  1000`, once a second, first of a second that
/// begins before the port; `CPU cycles/packet=75.72 (total cycles=1 / total io
/// packets=100) ...` and `TX-bursts : 20 [...]`, once; and `EAL: RTE Version: 'DPDK
/// 22.11.11'`.
fn testpmd(text: &str) -> Said {
    let after = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        rest.split(|c: char| c.is_whitespace() || c == ')').find(|word| !word.is_empty())?.parse::<f64>().ok()
    };
    let rates = text.split("Tx-pps:").skip(2).filter_map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    let mut rates: Vec<f64> = rates.collect();
    rates.sort_by(f64::total_cmp);
    Said {
        cycles: after("CPU cycles/packet="),
        burst: after("total io packets=").zip(after("TX-bursts :")).map(|(packets, bursts)| packets / bursts),
        mpps: rates.get(rates.len() / 2).map(|rate| rate / 1e6),
        version: text.split_once("RTE Version: '").and_then(|(_, rest)| Some(rest.split_once('\'')?.0.to_string())),
    }
}

/// From our own document.
fn bmnic(job: Job, text: &str) -> Option<Said> {
    let document: Value = serde_json::from_str(text).ok()?;
    let mpps = match job {
        Job::Forward => document["ports"][0]["tx_pps"].as_f64(),
        Job::Send => document["pps"].as_f64(),
    };
    let mpps = mpps.map(|rate| rate / 1e6);
    let version = document["machine"]["version"].as_str().map(|version| format!("bmnic {version}"));
    let way = &document["directions"][0];
    Some(Said { cycles: way["cycles_per_packet"].as_f64(), burst: way["packets_per_burst"].as_f64(), mpps, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_testpmd_says_is_understood() {
        let text = "EAL: RTE Version: 'DPDK 22.11.11'\n\
            Throughput (since last show)\n  Rx-pps:            7          Rx-bps:            8\n\
            \x20 Tx-pps:            5          Tx-bps:            8\n\
            \x20 Tx-pps:      3000000          Tx-bps:            8\n\
            \x20 Tx-pps:      1000000          Tx-bps:            8\n\
            \x20 Tx-pps:      2000000          Tx-bps:            8\n\
            \x20 RX-bursts : 90 [96% of 0 pkts + 4% of other]\n\
            \x20 TX-bursts : 20 [0% of 0 pkts + 88% of 4 pkts]\n\
            \x20 CPU cycles/packet=75.72 (total cycles=1 / total io packets=100) at 2500 MHz Clock\n";
        let said = Program::Testpmd.understand(Job::Forward, text).unwrap();
        let version = Some("DPDK 22.11.11".into());
        assert_eq!(said, Said { cycles: Some(75.72), burst: Some(5.0), mpps: Some(2.0), version });
        assert_eq!(Program::Testpmd.understand(Job::Forward, "nothing"), Some(Said::default()));
    }

    #[test]
    fn where_no_telemetry_answers_there_is_no_figure() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Program::Testpmd.sent(temp.path()), None);
        assert_eq!(Program::Testpmd.sent(Path::new(&"x".repeat(300))), None);
        assert_eq!(Program::Bmnic.sent(temp.path()), None);
    }

    #[test]
    fn what_is_no_document_of_ours_is_not_understood() {
        assert_eq!(Program::Bmnic.understand(Job::Forward, "{"), None);
        let text = r#"{"machine": {"version": "1"}, "pps": 5e6, "directions": []}"#;
        let said = Program::Bmnic.understand(Job::Send, text).unwrap();
        assert_eq!(said, Said { cycles: None, burst: None, mpps: Some(5.0), version: Some("bmnic 1".into()) });
    }
}
