//! What a run gives up once its cards are open: it is tried, and must fail; and the commands
//! do their work all the same.
//!
//! A process that has given rights up has none left to test with, so the attempts are made in
//! a process of their own: this program, started again.

#![allow(unsafe_code)]

#[path = "common/capture.rs"]
mod common;

use bmnic::cli::sandbox::Keeps;
use bmnic::sys::Roots;
use common::{bmnic, document, text};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The folder of the attempts, in the process that makes them.
const FOLDER: &str = "BMNIC_TEST_SANDBOX_FOLDER";

/// 0, or the error's number.
fn errno(result: i64) -> i32 {
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

/// A call whose arguments are numbers, of which none leads to memory that it could change.
fn call(number: libc::c_long, arguments: [i64; 5]) -> i32 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the arguments are integers or null; what is null the kernel refuses with an error.
    errno(unsafe { libc::syscall(number, a, b, c, d, e) })
}

fn open(path: &Path, flags: libc::c_int) -> i32 {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path ends with a zero and lives through the call.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
    let result = errno(fd.into());
    if fd >= 0 {
        // SAFETY: this descriptor was just made and is nobody else's.
        unsafe { libc::close(fd) };
    }
    result
}

fn fork() -> i32 {
    // SAFETY: the child does nothing but end.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    let result = errno(pid.into());
    if pid > 0 {
        // SAFETY: waits for that child, and is told nothing of it.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
    result
}

/// Maps a page that code could be written into.
fn map_code() -> i32 {
    let (all, kind) = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping, of which no use is made.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), 4096, all, kind, -1, 0) };
    if base == libc::MAP_FAILED { errno(-1) } else { 0 }
}

/// What a run has no use for; of each the error's number, or 0. None changes anything where it
/// is allowed.
fn attempts(folder: &Path) -> BTreeMap<&'static str, i32> {
    let socket = |family: i32, kind: i32| call(libc::SYS_socket, [family.into(), kind.into(), 0, 0, 0]);
    BTreeMap::from([
        ("open /etc/shadow to write", open(Path::new("/etc/shadow"), libc::O_WRONLY)),
        ("open /etc/passwd to read", open(Path::new("/etc/passwd"), libc::O_RDONLY)),
        ("make a file elsewhere", open(&folder.join("elsewhere/file"), libc::O_WRONLY | libc::O_CREAT)),
        ("write by a link elsewhere", open(&folder.join("out/link"), libc::O_WRONLY)),
        ("open this process's memory to write", open(Path::new("/proc/self/mem"), libc::O_RDWR)),
        ("execve", call(libc::SYS_execve, [0; 5])),
        ("execveat", call(libc::SYS_execveat, [-1, 0, 0, 0, 0])),
        ("fork", fork()),
        ("ptrace", call(libc::SYS_ptrace, [libc::PTRACE_ATTACH.into(), 0, 0, 0, 0])),
        ("process_vm_readv", call(libc::SYS_process_vm_readv, [1, 0, 0, 0, 0])),
        ("kill", call(libc::SYS_kill, [std::process::id().into(), 0, 0, 0, 0])),
        ("socket of TCP", socket(libc::AF_INET, libc::SOCK_STREAM)),
        ("socket of IPv6", socket(libc::AF_INET6, libc::SOCK_DGRAM)),
        ("socket of packets", socket(libc::AF_PACKET, libc::SOCK_RAW)),
        ("mount", call(libc::SYS_mount, [0; 5])),
        ("umount", call(libc::SYS_umount2, [0; 5])),
        ("chroot", call(libc::SYS_chroot, [0; 5])),
        ("unshare", call(libc::SYS_unshare, [0; 5])),
        ("setns", call(libc::SYS_setns, [-1, 0, 0, 0, 0])),
        ("setuid", call(libc::SYS_setresuid, [-1, -1, -1, 0, 0])),
        ("chmod", call(libc::SYS_fchmodat, [-1, 0, 0, 0, 0])),
        ("load a module", call(libc::SYS_finit_module, [-1, 0, 0, 0, 0])),
        ("bpf", call(libc::SYS_bpf, [-1, 0, 0, 0, 0])),
        ("perf_event_open", call(libc::SYS_perf_event_open, [0, 0, -1, -1, 0])),
        ("io_uring", call(libc::SYS_io_uring_setup, [0; 5])),
        ("keyctl", call(libc::SYS_keyctl, [-1, 0, 0, 0, 0])),
        ("set a limit", call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as i64, 1, 0, 0])),
        ("type into the terminal", call(libc::SYS_ioctl, [-1, libc::TIOCSTI as i64, 0, 0, 0])),
        ("map code", map_code()),
    ])
}

/// The process that makes the attempts: before, and then in the thread that has given the rights
/// up, in one that ran already, and in one that is started afterwards.
#[test]
fn attempts_are_made_in_a_process_of_their_own() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let say = |who: &str, attempts: BTreeMap<&str, i32>| {
        attempts.iter().for_each(|(what, errno)| println!("RESULT {who}|{what}|{errno}"));
    };
    let (ask, asked) = mpsc::channel::<()>();
    let (answer, answered) = mpsc::channel();
    let place = folder.clone();
    let old = thread::spawn(move || asked.iter().for_each(|()| answer.send(attempts(&place)).unwrap()));
    say("before", attempts(&folder));
    let keeps = Keeps { made: vec![folder.join("out/a.pcap")], ..Keeps::default() };
    let confined = keeps.confinement(&Roots::from_env()).enter().unwrap();
    say("main", attempts(&folder));
    ask.send(()).unwrap();
    say("old", answered.recv().unwrap());
    drop(ask);
    old.join().unwrap();
    let place = folder.clone();
    say("new", thread::spawn(move || attempts(&place)).join().unwrap());
    // What is left is what is needed.
    fs::write(folder.join("out/b.pcap"), "packets").unwrap();
    fs::rename(folder.join("out/b.pcap"), folder.join("out/c.pcap")).unwrap();
    fs::remove_file(folder.join("out/c.pcap")).unwrap();
    assert!(!fs::read_to_string("/proc/self/status").unwrap().is_empty());
    println!("CONFINED {} {} {}", confined.landlock.is_some(), confined.calls, confined.threads);
}

#[test]
fn what_was_given_up_fails_in_every_thread_and_did_not_before() {
    let dir = tempfile::tempdir().unwrap();
    ["out", "elsewhere"].iter().for_each(|name| fs::create_dir(dir.path().join(name)).unwrap());
    File::create(dir.path().join("elsewhere/there")).unwrap();
    std::os::unix::fs::symlink("../elsewhere/there", dir.path().join("out/link")).unwrap();
    let name = "attempts_are_made_in_a_process_of_their_own";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env(FOLDER, dir.path()).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let mut results: BTreeMap<&str, BTreeMap<&str, i32>> = BTreeMap::new();
    for line in said.lines().filter_map(|line| Some(line.split_once("RESULT ")?.1)) {
        let [who, what, errno] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        results.entry(who).or_default().insert(what, errno.parse().unwrap());
    }
    let confined = said.lines().find_map(|line| Some(line.split_once("CONFINED ")?.1)).unwrap();
    let [landlock, calls, threads] = confined.split(' ').collect::<Vec<_>>()[..] else { panic!("{confined}") };
    assert!(threads.parse::<usize>().unwrap() >= 3, "the test's, its harness's and the old one");
    if landlock == "false" || calls == "false" {
        println!("SKIPPED  what must fail: this kernel has Landlock: {landlock}, seccomp: {calls}");
        return;
    }
    let before = results.remove("before").unwrap();
    assert_eq!(results.len(), 3);
    for (who, after) in results {
        assert_eq!(after.len(), before.len());
        for (what, errno) in after {
            assert_ne!(errno, 0, "{what} in the {who} thread");
            let refused = [libc::ENOSYS, libc::EACCES];
            assert!(refused.contains(&errno), "{what} in the {who} thread: error {errno}");
            // Of a kernel without it, or of a user who may not in any case.
            assert!(before[what] != errno || refused.contains(&before[what]), "{what} failed before, by {errno}");
        }
    }
    // That these are attempts at something is seen where this user may.
    for what in ["open /etc/passwd to read", "make a file elsewhere", "fork", "kill", "socket of TCP", "map code"] {
        assert_eq!(before[what], 0, "{what}");
    }
}

/// Whether every thread of a process, of which there are some, has all of these lines in its status.
fn all_threads(pid: u32, lines: &[&str]) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let statuses: Vec<String> =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect();
    let has = |status: &String| lines.iter().all(|line| status.lines().any(|found| found == *line));
    !statuses.is_empty() && statuses.iter().all(has)
}

/// What the status of a thread says that has given all up.
const GIVEN_UP: [&str; 4] = ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"];

/// Starts a command, waits until `is_so` of its process, and ends it.
fn becomes(words: &[&str], is_so: impl Fn(u32) -> bool) -> String {
    let mut command = bmnic(words);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so(child.id()) && Instant::now() < deadline && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    let ended = child.try_wait().unwrap();
    let was = is_so(child.id());
    // SAFETY: takes integers only; the child has not been waited for, so the number is its.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    assert!(was && ended.is_none(), "{words:?}: {}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(130), "{words:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn each_command_has_given_its_rights_up_in_all_threads_and_ends_as_it_would() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    // SAFETY: takes no arguments, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let given_up = if root { &GIVEN_UP[..] } else { &GIVEN_UP[..3] };
    let (file, html) = (path("out.pcap"), path("report.html"));
    let name = format!("test-sandbox-{}", std::process::id());
    for words in [
        &["capture", &file, "-d", "300s", "-b", "packets:1000", "--control", &name][..],
        &["capture", "-d", "300s", "--publish", &name, "-q"],
        &["fwd", "-d", "300s"],
        &["pktgen", "-r", "10k", "-d", "300s"],
        &["pktgen", "--respond=only", "-i", "emu:82599,wire=source:rate=1k", "-d", "300s"],
        &["latency", "-d", "300s", "--html", &html],
        &["throughput", "--sizes", "64", "--trial", "300s"],
    ] {
        let said = becomes(words, |pid| all_threads(pid, given_up));
        assert!(!said.contains("rights"), "{words:?}: {said}");
    }
    assert!(fs::read_to_string(html).unwrap().contains("</html>"), "written after all was given up");
    becomes(&["fwd", "-d", "300s", "--no-sandbox"], |pid| {
        let of = |pid: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let is = |line: &&str| ["NoNewPrivs:", "Seccomp:", "CapEff:"].iter().any(|name| line.starts_with(name));
            status.lines().filter(is).map(str::to_owned).collect::<Vec<String>>()
        };
        // All threads that there are going to be.
        fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() >= 3)
            && of(&pid.to_string()) == of("self")
    });
}

#[test]
fn what_was_had_of_it_is_said_when_more_is_to_be_said() {
    let words = ["fwd", "-c", "100", "-v"];
    let output = bmnic(&words).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.lines().any(|line| line.starts_with("rights: given up by ")), "{said}{}", text(&output.stderr));
    let output = bmnic(&words).env("BMNIC_NO_SANDBOX", "1").output().unwrap();
    assert!(output.status.success() && !text(&output.stdout).contains("rights:"));
}

#[test]
fn files_follow_one_another_in_a_folder_of_another_user() {
    // SAFETY: takes no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED  a folder of another user: takes root");
        return;
    }
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("theirs");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    let file = folder.join("out.pcap");
    let words = ["capture", file.to_str().unwrap(), "-c", "3000", "-b", "packets:500", "-b", "files:3", "--json"];
    let said = document(&bmnic(&words).output().unwrap());
    assert_eq!(said["captured"], 3000, "{said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "of six the last three are kept");
}

/// Lines of code of a file: without comments, empty lines and the tests behind it.
fn lines_of_code(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// `src/pci/{bind,guard}.rs` as the names that it stands for.
fn names(word: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some((before, rest)) = word.split_once('{') else { return vec![root.join(word)] };
    let (list, after) = rest.split_once('}').unwrap();
    list.split(',').map(|name| root.join(format!("{before}{name}{after}"))).collect()
}

#[test]
fn what_runs_as_root_is_as_long_as_the_readme_says() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table = readme.split("| as root | lines | in |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let said: usize = cells[2].parse().unwrap();
        let files = cells[3].split('`').filter(|word| word.starts_with("src/")).flat_map(names);
        let found: usize = files.map(|path| lines_of_code(&path)).sum();
        assert!(found.abs_diff(said) <= 100, "{row}: it is {found} lines");
        rows += 1;
    }
    assert_eq!(rows, 3);
}
