//! Faults of the host: limits, full and failing disks, signals. Each has its line and its exit
//! code, as [the list](refusals/host.md) says, whose rows are run here as they stand there.
//!
//! What a pass does not prove: anything of a machine on which rows were skipped; that is said.

#[path = "common/forward.rs"]
mod forward;
#[path = "common/schema.rs"]
mod schema;

use forward::bmnic;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIST: &str = include_str!("refusals/host.md");

/// The test whose rows are run.
const HERE: &str = "`each_fault_of_the_host_has_its_line`";

/// A row of the list: what is run, what it says, and its code.
struct Row<'l> {
    run: &'l str,
    line: &'l str,
    code: i32,
}

fn rows() -> Vec<Row<'static>> {
    let rows = LIST.lines().filter(|line| line.starts_with("| ") && line.contains(HERE));
    let parsed = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, run, line, code, _] = cells[..] else { panic!("{row}") };
        Row { run: run.trim_matches('`'), line, code: code.parse().unwrap() }
    });
    parsed.collect()
}

/// Whether a program can be run here, tried so.
fn can(words: &str) -> bool {
    let tried = Command::new("sh").args(["-c", words]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// What a row takes that is not here.
fn missing(run: &str) -> Option<&'static str> {
    [
        ("unshare", "unshare -m true"),
        ("setpriv", "setpriv --reuid 54321 --clear-groups true"),
        ("prlimit", "prlimit --nproc=10000 true"),
        ("strace", "strace -V"),
        ("taskset", "taskset -c 0 true"),
        ("/dev/full", "test -c /dev/full"),
    ]
    .into_iter()
    .find_map(|(word, trial)| (run.contains(word) && !can(trial)).then_some(trial))
}

/// Whether the parts of `line` stand in `said` in their order.
fn says(said: &str, line: &str) -> bool {
    let mut rest = said;
    line.split('…').map(str::trim).all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// A folder that any user can go into, with the program in it.
fn with_the_program() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_bmnic"), dir.path().join("bmnic")).unwrap();
    dir
}

/// Runs lines of shell with the program in PATH, in a folder that is empty and any user's: the
/// exit code, and what is said on standard error.
fn shell(program: &Path, lines: &str) -> (Option<i32>, String) {
    use std::os::unix::fs::PermissionsExt;
    let here = tempfile::tempdir().unwrap();
    std::fs::set_permissions(here.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BMNIC_")) {
        command.env_remove(name);
    }
    command.env("PATH", path).env("BMNIC_ALLOW_LOSS", "100%").env("BMNIC_ALLOW_SHORTFALL", "100%");
    let output = command.args(["-c", lines]).current_dir(here.path()).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn each_fault_of_the_host_has_its_line() {
    let (program, rows) = (with_the_program(), rows());
    assert!(rows.len() >= 15, "only {} rows are run", rows.len());
    for Row { run, line, code } in rows {
        if let Some(trial) = missing(run) {
            println!("SKIPPED  `{trial}` fails here: not run: {run}");
            continue;
        }
        let (ended, said) = shell(program.path(), run);
        assert_eq!(ended, Some(code), "{run}: {said}");
        assert!(!said.contains("panicked"), "{run}: {said}");
        if line.starts_with("none") {
            assert_eq!(said, "", "{run}");
        } else {
            assert!(says(&said, line), "{run} says not '{line}' but {said}");
        }
    }
}

#[test]
fn at_no_limit_of_memory_does_the_program_panic_or_abort() {
    let program = with_the_program();
    // From where it can just be started to where it has all that it wants.
    let begins = (10_000..200_000).step_by(4_000).find(|kib| {
        let (code, _) = shell(program.path(), &format!("ulimit -v {kib}; exec bmnic --version"));
        code == Some(0)
    });
    let begins = begins.expect("it starts in 200 MB");
    let (mut told, mut ran) = (0, 0);
    for command in ["latency -c 10 --warmup 0ms", "pktgen -c 10"] {
        for more in (0..45_000).step_by(3_000) {
            let limit = begins + more;
            let (code, said) = shell(program.path(), &format!("ulimit -v {limit}; exec bmnic {command}"));
            assert!(!said.contains("panicked"), "{command} with {limit} KiB: {said}");
            match code {
                Some(1) => told += usize::from(said.contains("ulimit -v")),
                Some(0 | 3) => ran += 1,
                // It ended before main(): the loader's affair.
                Some(127) => {}
                _ => panic!("{command} with {limit} KiB ends with {code:?}: {said}"),
            }
        }
    }
    assert!(told > 3 && ran > 3, "{told} times it was told, {ran} times there was enough");
}

#[test]
fn a_trial_that_was_stopped_is_made_again() {
    const TRIAL: Duration = Duration::from_secs(2);
    let mut child = bmnic(&["throughput", "-s", "64", "-t", "2s"])
        .env_remove("BMNIC_STRICT")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().starts_with("measured")).expect("it says what it measures").unwrap();
    let begun = Instant::now();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    };
    std::thread::sleep(TRIAL / 2);
    signal("-STOP");
    std::thread::sleep(Duration::from_millis(100));
    signal("-CONT");
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("stopped and continued once"), "{said}");
    // Half of the one that was stopped, and another one.
    assert!(begun.elapsed() > TRIAL * 3 / 2, "{:?}", begun.elapsed());
}
