//! `bmnic hugepages` as a program, on a machine of plain files whose kernel is
//! a thread of the test.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const MACHINE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
const NODE: &str = "sys/devices/system/node/node0/hugepages/hugepages-2048kB";

/// A machine with one node and `total` pages of 2 MiB, of which `free` are free.
fn machine(total: u64, free: u64) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for pool in [MACHINE, NODE] {
        let directory = temp.path().join(pool);
        fs::create_dir_all(&directory).unwrap();
        for (file, value) in
            [("nr_hugepages", total), ("free_hugepages", free), ("surplus_hugepages", 0), ("resv_hugepages", 0)]
        {
            fs::write(directory.join(file), format!("{value}\n")).unwrap();
        }
    }
    temp
}

fn bmnic(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    for directory in ["sys", "proc", "dev", "run", "etc"] {
        command.env(format!("BMNIC_{}_ROOT", directory.to_uppercase()), root.join(directory));
    }
    command.arg("hugepages").args(arguments).output().unwrap()
}

/// Runs it while a thread keeps the number of free pages true: `used` never
/// change, and there are never more than `most`.
fn bmnic_with_kernel(root: &Path, used: u64, most: u64, arguments: &[&str]) -> Output {
    let done = AtomicBool::new(false);
    let (running, pool): (_, PathBuf) = (&done, root.join(MACHINE));
    thread::scope(|scope| {
        scope.spawn(move || {
            while !running.load(Ordering::Acquire) {
                let text = fs::read_to_string(pool.join("nr_hugepages")).unwrap();
                if let Ok(total) = text.trim().parse::<u64>() {
                    let total = total.min(most);
                    fs::write(pool.join("free.new"), (total - used).to_string()).unwrap();
                    fs::rename(pool.join("free.new"), pool.join("free_hugepages")).unwrap();
                }
                thread::sleep(Duration::from_micros(50));
            }
        });
        let output = bmnic(root, arguments);
        done.store(true, Ordering::Release);
        output
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_pools_are_shown_in_words_and_in_json() {
    let temp = machine(8, 5);
    let words = text(&bmnic(temp.path(), &[]).stdout);
    let row: Vec<&str> = words.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["0", "2", "MiB", "8", "5", "0", "10", "MiB"]);
    let document: Value = serde_json::from_slice(&bmnic(temp.path(), &["--json"]).stdout).unwrap();
    let pool = &document["pools"][0];
    assert_eq!((&pool["total"], &pool["free"], &pool["page_size"]), (&8.into(), &5.into(), &2_097_152.into()));
}

#[test]
fn a_dry_run_prints_the_write_and_makes_none() {
    let temp = machine(8, 5);
    let output = bmnic(temp.path(), &["-r", "64M", "--dry-run", "-q"]);
    let file = temp.path().join(MACHINE).join("nr_hugepages");
    assert_eq!(text(&output.stdout), format!("echo 35 > {}\n", file.display()));
    assert_eq!(fs::read_to_string(file).unwrap(), "8\n");
}

#[test]
fn fewer_pages_than_asked_exit_3_and_say_how_many() {
    let temp = machine(8, 5);
    let output = bmnic_with_kernel(temp.path(), 3, 8, &["--setup", "64M"]);
    assert_eq!(output.status.code(), Some(3));
    let error = text(&output.stderr);
    assert!(error.starts_with("bmnic: asked for 32 free huge pages of 2 MiB, got 5;"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn pages_in_use_are_never_given_back() {
    let temp = machine(8, 5);
    let output = bmnic(temp.path(), &["--clear"]);
    assert_eq!(output.status.code(), Some(3), "some stayed");
    assert!(text(&output.stdout).starts_with("5 pages of 2 MiB given back, 3 are in use and stay"));
    assert_eq!(fs::read_to_string(temp.path().join(MACHINE).join("nr_hugepages")).unwrap(), "3");
}

#[test]
fn what_makes_no_sense_is_a_usage_error_in_one_line() {
    let temp = machine(8, 5);
    for (arguments, code) in [
        (&["--setup", "0"][..], 2),
        (&["--setup", "64M", "-n", "9"], 2),
        (&["--setup", "64M", "-p", "1G"], 1),
        (&["--setup", "64M", "-p", "0"], 2),
        (&["--mount", "-U", "nobody of this name"], 2),
    ] {
        let output = bmnic(temp.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr).lines().count(), 1, "{arguments:?}");
    }
    assert_eq!(fs::read_to_string(temp.path().join(MACHINE).join("nr_hugepages")).unwrap(), "8\n");
}

#[test]
fn pages_are_kept_for_the_next_boot_by_a_file_or_by_words_and_given_up_again() {
    let temp = machine(8, 5);
    let file = temp.path().join("etc/sysctl.d/90-bmnic-hugepages.conf");
    let dry = bmnic(temp.path(), &["-r", "8M", "--persist", "--dry-run", "-q"]);
    assert_eq!(text(&dry.stdout), format!("echo 'vm.nr_hugepages = 8' > {}\n", file.display()), "others have three");
    let grown = text(&bmnic(temp.path(), &["-r", "64M", "--persist", "--dry-run", "-q"]).stdout);
    assert!(grown.contains("echo 35 > ") && grown.contains("echo 'vm.nr_hugepages = 35' > "), "{grown}");
    assert!(!file.exists());
    let output = bmnic(temp.path(), &["-r", "8M", "--persist"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(fs::read_to_string(&file).unwrap().ends_with("\nvm.nr_hugepages = 8\n"));
    let words = text(&bmnic(temp.path(), &["-r", "8M", "-n", "0", "--persist"]).stdout);
    assert!(words.contains("hugepagesz=2M hugepages=0:8"), "{words}");
    let cleared = bmnic(temp.path(), &["--clear", "--persist"]);
    assert!(text(&cleared.stdout).contains("removed: none after the next boot") && !file.exists());
    assert_eq!(bmnic(temp.path(), &["--persist"]).status.code(), Some(2));
    // Somebody else's file stays.
    fs::write(&file, "vm.nr_hugepages = 1\n").unwrap();
    let pool = temp.path().join(MACHINE).join("nr_hugepages");
    let before = fs::read_to_string(&pool).unwrap();
    for words in [&["-r", "64M", "--persist"][..], &["-r", "64M", "--persist", "--dry-run"], &["-c", "--persist"]] {
        let refused = bmnic_with_kernel(temp.path(), 3, 100, words);
        assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
        assert_eq!(fs::read_to_string(&pool).unwrap(), before, "{words:?}: nothing changed, it says");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "vm.nr_hugepages = 1\n");
}

#[test]
fn files_that_no_process_holds_are_removed_and_others_are_not() {
    let temp = machine(8, 5);
    let mount = temp.path().join("huge");
    for file in ["held", "mapped", "left"] {
        fs::create_dir_all(&mount).unwrap();
        fs::write(mount.join(file), [0; 64]).unwrap();
    }
    let descriptors = temp.path().join("proc/77/fd");
    fs::create_dir_all(&descriptors).unwrap();
    fs::write(temp.path().join("proc/77/smaps_rollup"), "Private_Hugetlb: 0 kB\n").unwrap();
    // A container has the same files by other paths; of one no page was touched yet.
    let elsewhere = temp.path().join("container");
    fs::hard_link(mount.join("held"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, descriptors.join("3")).unwrap();
    let mapped = fs::metadata(mount.join("mapped")).unwrap();
    let (major, minor) = (libc::major(mapped.dev()), libc::minor(mapped.dev()));
    let line =
        format!("7f00000000-7f00200000 rw-s 00000000 {major:02x}:{minor:02x} {}   /container/mapped\n", mapped.ino());
    fs::write(temp.path().join("proc/77/maps"), line).unwrap();
    let mounted = format!("none {} hugetlbfs rw,pagesize=2M 0 0\n", mount.display());
    fs::write(temp.path().join("proc/mounts"), mounted).unwrap();
    let dry = bmnic(temp.path(), &["--clean-stale", "--dry-run", "-q"]);
    assert_eq!(text(&dry.stdout), format!("rm {}\n", mount.join("left").display()));
    let output = bmnic(temp.path(), &["--clean-stale"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with(&format!("{} removed: 64 B free again\n", mount.join("left").display())));
    assert!(mount.join("held").exists() && mount.join("mapped").exists() && !mount.join("left").exists());
    assert!(text(&bmnic(temp.path(), &["--clean-stale"]).stdout).starts_with("unchanged"));
}

#[test]
fn a_kernel_without_huge_pages_is_no_error() {
    let temp = tempfile::tempdir().unwrap();
    let output = bmnic(temp.path(), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("CONFIG_HUGETLBFS"));
    assert_eq!(bmnic(temp.path(), &["--setup", "2M"]).status.code(), Some(1));
    assert!(text(&bmnic(temp.path(), &["--who"]).stdout).contains("no process"));
}
