//! `bmnic compare-dpdk`: the frame of a comparison with DPDK.
//!
//! It finds `dpdk-testpmd`, asks it for its version and says what will be
//! compared. The comparison itself is not in this version, and the command
//! fails with a line that says so: nothing is measured, so nothing is claimed.

use super::output::Output;
use super::{Context, Outcome, output};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use serde_json::json;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Arguments of `bmnic compare-dpdk`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dpdk-testpmd to use, if not the first one in PATH
    #[arg(long, value_name = "FILE", env = "BMNIC_TESTPMD")]
    testpmd: Option<PathBuf>,
}

/// What both sides will be given, in the order it is printed.
const LEVELS: &[(&str, &str)] = &[
    ("driver cost", "rx, tx and forward of one packet, both drivers on the same rings of the same emulated card"),
    ("throughput", "dpdk-testpmd io against bmnic fwd, same core, same emulated card, counted by the card"),
    ("real card", "the same on a card bound to vfio-pci"),
];

/// What is held equal.
const EQUAL: &str = "burst 32, rings of 512, 64-byte frames, 2 KiB buffers, no offloads, runs interleaved";

/// How long `dpdk-testpmd` may take to print its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let path = find(args.testpmd.as_deref(), std::env::var_os("PATH").unwrap_or_default().as_os_str())?;
    let version = version(&path)?;
    output.info(format_args!("found {} ({version})", path.display()))?;
    let mut table = output::table(&["will be compared", "how"], 2);
    for (level, how) in LEVELS {
        table.add_row([level, how]);
    }
    output.result(table.trim_fmt())?;
    output.info(format_args!("held equal: {EQUAL}"))?;
    if output.is_json() {
        let machine = Machine::record(&context.roots, &Clock::new());
        let levels: Vec<_> = LEVELS.iter().map(|(level, how)| json!({ "level": level, "how": how })).collect();
        let result = json!({
            "testpmd": path,
            "dpdk": version,
            "levels": levels,
            "held_equal": EQUAL,
            "compared": false,
        });
        output.document(&output::document("compare-dpdk", &[], &machine, result))?;
    }
    Err(Error::new(
        Kind::Unsupported,
        "nothing was compared: this version of bmnic finds DPDK but does not run the comparison yet; `bmnic throughput` measures bmnic alone",
    )
    .into())
}

/// The file named, or the first `dpdk-testpmd` in `path`.
fn find(named: Option<&Path>, path: &std::ffi::OsStr) -> Result<PathBuf> {
    let runs = |file: &Path| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if let Some(file) = named {
        return if runs(file) {
            Ok(file.to_path_buf())
        } else {
            Err(Error::new(
                Kind::NotFound,
                format!("{} is not a program that can be run; name the dpdk-testpmd to compare with", file.display()),
            ))
        };
    }
    let found = std::env::split_paths(path).map(|dir| dir.join("dpdk-testpmd")).find(|file| runs(file));
    found.ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            "dpdk-testpmd is not installed, and without it there is nothing to compare with; `sudo apt-get install dpdk` brings it",
        )
    })
}

/// What `dpdk-testpmd` says its version is. It is started without huge pages,
/// devices or files of its own, and only to print its help.
fn version(path: &Path) -> Result<String> {
    let doing = |what: &str| format!("{what} {}", path.display());
    let mut child = Command::new(path)
        .args(["-v", "--no-huge", "--no-pci", "--in-memory", "--no-telemetry", "-m", "64", "--", "--help"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Error::io(doing("starting"), e))?;
    let mut readers = Vec::new();
    let pipes: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|p| Box::new(p) as _), child.stderr.take().map(|p| Box::new(p) as _)];
    for mut pipe in pipes.into_iter().flatten() {
        readers.push(thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before an error is still worth a look.
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }));
    }
    let ended = wait(&mut child, PATIENCE).map_err(|e| Error::io(doing("waiting for"), e))?;
    if !ended {
        return Err(Error::new(
            Kind::Timeout,
            format!(
                "{} did not print its version in {} s; is it the right program?",
                path.display(),
                PATIENCE.as_secs()
            ),
        ));
    }
    let said: String = readers.into_iter().filter_map(|reader| reader.join().ok()).collect();
    parse_version(&said).ok_or_else(|| {
        Error::new(
            Kind::Unsupported,
            format!("{} printed no DPDK version; is it the right program, and does it run at all?", path.display()),
        )
    })
}

/// Waits for `child` to end; kills it when `patience` is over.
fn wait(child: &mut Child, patience: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + patience;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// `EAL: RTE Version: 'DPDK 22.11.11'`, as DPDK prints it since its first release.
fn parse_version(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("RTE Version: '")?;
    rest.split_once('\'').map(|(version, _)| version.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;

    /// A program that behaves like `script`.
    fn program(script: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dpdk-testpmd");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        (dir, file)
    }

    #[test]
    fn without_dpdk_the_error_says_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let error = find(None, empty.path().as_os_str()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("apt-get install dpdk"), "{error}");
        fs::write(empty.path().join("dpdk-testpmd"), "not executable").unwrap();
        assert!(find(None, empty.path().as_os_str()).is_err());
        assert_eq!(find(Some(&empty.path().join("x")), OsStr::new("")).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn the_version_is_what_testpmd_prints() {
        let (dir, file) = program("echo \"EAL: RTE Version: 'DPDK 22.11.11'\" >&2; exit 1");
        assert_eq!(find(None, dir.path().as_os_str()).unwrap(), file);
        assert_eq!(version(&file).unwrap(), "DPDK 22.11.11");
        let (_dir, other) = program("echo hello");
        assert_eq!(version(&other).unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!wait(&mut child, Duration::from_millis(20)).unwrap());
    }
}
