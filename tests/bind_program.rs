//! `bmnic bind` and `bmnic list` as programs, on a machine of plain files
//! whose kernel is a thread of the test.

#[path = "common/fake_sysfs.rs"]
mod fake_sysfs;

use bmnic::pci::discover::find;
use fake_sysfs::{Card, FakeKernel, PORT, Tree};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

fn bmnic(tree: &Tree, arguments: &[&str]) -> Output {
    command(tree, arguments).output().unwrap()
}

fn command(tree: &Tree, arguments: &[&str]) -> Command {
    let roots = &tree.roots;
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    command
        .args(arguments)
        .env("BMNIC_SYS_ROOT", &roots.sys)
        .env("BMNIC_PROC_ROOT", &roots.proc)
        .env("BMNIC_DEV_ROOT", &roots.dev)
        .env("BMNIC_RUN_ROOT", &roots.run)
        .env("BMNIC_ETC_ROOT", &roots.etc)
        .env_remove("SSH_CONNECTION");
    command
}

/// Runs it while a thread does what the kernel does when attributes are written.
fn bmnic_with_kernel(tree: &Tree, cards: &[Card], arguments: &[&str]) -> Output {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let kernel = FakeKernel::new(tree, cards);
            let drivers = tree.roots.pci().join("drivers");
            while !done.load(Ordering::Acquire) {
                let unbinds = fs::read_dir(&drivers).unwrap().map(|driver| driver.unwrap().path().join("unbind"));
                for attribute in unbinds.chain([tree.roots.pci().join("drivers_probe")]) {
                    let text = fs::read_to_string(&attribute).unwrap();
                    // A write cannot be seen half done: an address is one write.
                    if find(&tree.roots, &text).is_ok() {
                        fs::write(&attribute, "").unwrap();
                        kernel.effect(&attribute, &text).unwrap();
                    }
                }
                for card in cards {
                    let attribute = tree.directory(card.address).join("sriov_numvfs");
                    let text = fs::read_to_string(&attribute).unwrap_or_default();
                    // What the kernel says ends with a line feed; a write of the program's does not.
                    if !text.is_empty() && !text.ends_with('\n') {
                        kernel.effect(&attribute, &text).unwrap();
                    }
                }
                thread::sleep(Duration::from_micros(200));
            }
        });
        let output = bmnic(tree, arguments);
        done.store(true, Ordering::Release);
        output
    })
}

/// All files, as a kernel would show them: what clears `driver_override` stays in a plain file.
fn state(tree: &Tree) -> BTreeMap<PathBuf, String> {
    let mut files = tree.snapshot();
    for (path, text) in &mut files {
        if path.ends_with("driver_override") && text.trim().is_empty() {
            *text = "(null)\n".into();
        }
    }
    files
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_program_binds_says_so_and_gives_the_card_back_by_its_old_name() {
    let tree = Tree::new(&[PORT]);
    let bound = bmnic_with_kernel(&tree, &[PORT], &["bind", "eth1"]);
    assert_eq!(bound.status.code(), Some(0), "{}", text(&bound.stderr));
    assert!(text(&bound.stdout).ends_with("0000:03:00.0: bound to vfio-pci (was: ixgbe)\n"), "{}", text(&bound.stdout));
    assert_eq!(tree.driver_of(PORT.address).as_deref(), Some("vfio-pci"));

    let again = bmnic(&tree, &["bind", "eth1", "-q"]);
    assert_eq!(text(&again.stdout), "0000:03:00.0: unchanged: vfio-pci\n");

    let restored = bmnic_with_kernel(&tree, &[PORT], &["bind", "--restore", "eth1"]);
    assert_eq!(text(&restored.stdout), "0000:03:00.0: restored to ixgbe (was: vfio-pci)\n");
    assert_eq!(tree.driver_of(PORT.address).as_deref(), Some("ixgbe"));
    let again = bmnic(&tree, &["bind", "--restore"]);
    assert_eq!(again.status.code(), Some(0));
    assert!(text(&again.stdout).starts_with("unchanged"), "{}", text(&again.stdout));
}

#[test]
fn a_kernel_that_does_nothing_is_found_out_and_the_exit_code_says_so() {
    let tree = Tree::new(&[PORT]);
    let before = tree.driver_of(PORT.address);
    let output = bmnic(&tree, &["bind", "03:00.0"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "bmnic: 0000:03:00.0: ixgbe did not let it go\n");
    assert!(text(&output.stdout).ends_with("0000:03:00.0: rolled back: ixgbe has it again\n"));
    assert_eq!(tree.driver_of(PORT.address), before);
}

#[test]
fn an_unknown_card_is_one_clear_line_and_changes_nothing() {
    let tree = Tree::new(&[PORT]);
    let before = tree.snapshot();
    let output = bmnic(&tree, &["bind", "0000:01:00.0"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "bmnic: 0000:01:00.0: this machine has no such PCI device; `bmnic list` shows the cards of this machine\n"
    );
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn a_dry_run_prints_the_writes_and_makes_none() {
    let tree = Tree::new(&[PORT]);
    let before = tree.snapshot();
    let output = bmnic(&tree, &["bind", "-n", "-q", "03:00.*"]);
    let pci = tree.roots.pci();
    let device = tree.directory(PORT.address);
    let writes: Vec<String> =
        text(&output.stdout).lines().filter(|line| line.starts_with("echo")).map(str::to_string).collect();
    assert_eq!(
        writes,
        [
            format!("echo vfio-pci > {}/driver_override", device.display()),
            format!("echo 0000:03:00.0 > {}/drivers/ixgbe/unbind", pci.display()),
            format!("echo 0000:03:00.0 > {}/drivers_probe", pci.display()),
            format!("echo > {}/driver_override", device.display()),
        ]
    );
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn a_card_in_use_is_refused_with_its_own_exit_code() {
    let tree = Tree::new(&[PORT]);
    tree.address_v6("eth1");
    let before = tree.snapshot();
    let output = bmnic(&tree, &["bind", "eth1", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("eth1 has address 2001:db8::2/64"), "{error}");
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn list_tells_the_same_in_words_and_in_json() {
    let tree = Tree::new(&[PORT]);
    tree.address_v6("eth1");
    let words = text(&bmnic(&tree, &["list"]).stdout);
    let row = words.lines().nth(1).unwrap();
    for fact in ["0000:03:00.0", "ixgbe", "eth1", "up", "10G", "27", "2001:db8::2/64"] {
        assert!(row.contains(fact), "{fact} in {row}");
    }
    let document: Value = serde_json::from_slice(&bmnic(&tree, &["list", "--json"]).stdout).unwrap();
    let card = &document["devices"][0];
    assert_eq!(card["address"], "0000:03:00.0");
    assert_eq!((&card["driver"], &card["bmnic_driver"]), (&"ixgbe".into(), &"ixgbe".into()));
    assert_eq!((&card["iommu_group"], &card["numa_node"]), (&27.into(), &0.into()));
    assert_eq!((&card["in_use"], &card["uses"][0]), (&true.into(), &"eth1 has address 2001:db8::2/64".into()));
    assert_eq!(card["interfaces"][0]["speed_bits_per_second"], 10_000_000_000u64);
    assert_eq!(card["interfaces"][0]["altnames"], serde_json::json!([]), "of a copy nobody can be asked");
}

#[test]
fn a_machine_without_cards_is_told_of_the_emulated_ones() {
    let tree = Tree::new(&[]);
    let output = bmnic(&tree, &["list"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("bmnic emulate --list"), "{}", text(&output.stdout));
    let document: Value = serde_json::from_slice(&bmnic(&tree, &["list", "--json"]).stdout).unwrap();
    assert_eq!(document["devices"], Value::Array(Vec::new()));
}

#[test]
fn cards_with_commas_are_bound_at_each_boot_until_that_is_taken_back() {
    let second = Card { address: "0000:03:00.1", interface: Some("eth2"), ..PORT };
    let cards = [PORT, second];
    let tree = Tree::new(&cards);
    let file = |n: u8| tree.roots.etc.join(format!("driverctl.d/pci-0000:03:00.{n}"));
    let dry = text(&bmnic(&tree, &["bind", "-n", "-q", "--persist", "eth1,03:00.1"]).stdout);
    assert!(dry.ends_with(&format!("echo vfio-pci > {}\n", file(1).display())) && !file(0).exists(), "{dry}");
    let bound = bmnic_with_kernel(&tree, &cards, &["bind", "--persist", "eth1,03:00.1"]);
    assert_eq!(bound.status.code(), Some(0), "{}", text(&bound.stderr));
    for n in [0, 1] {
        assert_eq!(fs::read_to_string(file(n)).unwrap(), "vfio-pci\n");
    }
    assert_eq!(fs::read_dir(tree.roots.etc.join("driverctl.d")).unwrap().count(), 2, "and nothing else");

    // Restored for now it is told that it goes away again.
    let restored = bmnic_with_kernel(&tree, &cards, &["bind", "--restore", "03:00.0"]);
    assert!(text(&restored.stderr).contains("goes to vfio-pci at the next boot"), "{}", text(&restored.stderr));
    let restored = bmnic_with_kernel(&tree, &cards, &["bind", "--restore", "--persist", "eth1,eth2"]);
    assert_eq!(restored.status.code(), Some(0), "{}", text(&restored.stderr));
    assert!(!file(0).exists() && !file(1).exists());
    assert_eq!(tree.driver_of("0000:03:00.1").as_deref(), Some("ixgbe"));

    // After a boot there is the file and no journal.
    tree.put(file(0), "vfio-pci\n");
    let dry = text(&bmnic(&tree, &["bind", "-n", "-q", "--restore", "--persist"]).stdout);
    assert_eq!(dry, format!("rm {}\n", file(0).display()));
    let ended = bmnic(&tree, &["bind", "--restore", "--persist"]);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    assert!(!file(0).exists());

    // What somebody else asked for stays, and keeps no other card.
    tree.put(file(0), "uio_pci_generic\n");
    tree.put(file(1), "vfio-pci\n");
    for words in
        [&["bind", "--restore", "--persist", "eth1,eth2"][..], &["bind", "--restore", "--persist", "-n", "eth1"]]
    {
        let refused = bmnic(&tree, words);
        assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains("somebody else's") && file(0).exists() && !file(1).exists());
    }
    let refused = bmnic(&tree, &["bind", "--persist", "eth1,eth2"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("uio_pci_generic at each boot"), "{}", text(&refused.stderr));
    assert_eq!(tree.driver_of(PORT.address).as_deref(), Some("ixgbe"));
}

#[test]
fn a_card_is_kept_at_each_boot_but_not_its_owner_and_that_is_said() {
    let tree = Tree::new(&[PORT]);
    let bound = bmnic_with_kernel(&tree, &[PORT], &["bind", "--persist", "--group", "0", "eth1"]);
    assert_eq!(bound.status.code(), Some(0), "{}", text(&bound.stderr));
    assert!(text(&bound.stderr).contains("only the driver comes back at boot"), "{}", text(&bound.stderr));
}

#[test]
fn virtual_functions_are_made_named_and_taken_away_again() {
    let tree = Tree::new(&[PORT]);
    tree.sriov(PORT.address, 63);
    let made = bmnic_with_kernel(&tree, &[PORT], &["bind", "--vfs", "2", "eth1"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    assert_eq!(
        text(&made.stdout),
        "0000:03:10.0: virtual function (ixgbevf)\n0000:03:10.2: virtual function (ixgbevf)\n\
         0000:03:00.0: ixgbe with 2 virtual functions (had: no virtual functions)\n"
    );
    let again = bmnic(&tree, &["bind", "--vfs", "2", "eth1", "--json"]);
    let document: Value = serde_json::from_slice(&again.stdout).unwrap();
    let card = &document["devices"][0];
    assert_eq!((&card["state"], &card["virtual_functions"][1]), (&"unchanged".into(), &"0000:03:10.2".into()));
    let restored = bmnic_with_kernel(&tree, &[PORT], &["bind", "--restore"]);
    assert_eq!(
        text(&restored.stdout),
        "0000:03:00.0: restored to no virtual functions (had: 2 virtual functions)\n",
        "{}",
        text(&restored.stderr)
    );
    let refused = bmnic(&tree, &["bind", "--vfs", "64", "eth1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("63 at most (sriov_totalvfs), and 64 virtual functions"));
}

#[test]
fn a_card_is_taken_for_one_run_and_given_back_though_the_run_fails() {
    let tree = Tree::new(&[PORT]);
    let before = state(&tree);
    // A file is no VFIO: the card is bound, and opening it fails.
    for name in ["03:00.0", "eth1"] {
        let failed = bmnic_with_kernel(&tree, &[PORT], &["fwd", "--restore-on-exit", name]);
        let told = text(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{told}");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "0000:03:00.0: bound to vfio-pci (was: ixgbe); it goes back when this ends");
        assert_eq!(lines[1], "0000:03:00.0: restored to ixgbe (was: vfio-pci)", "{told}");
        assert!(lines.len() == 3 && lines[2].starts_with("bmnic: "), "{told}");
        assert_eq!(state(&tree), before);
    }
}

#[test]
fn a_card_that_cannot_be_taken_for_one_run_stays_as_it_was() {
    let tree = Tree::new(&[PORT]);
    tree.address_v6("eth1");
    let before = tree.snapshot();
    let refused = bmnic(&tree, &["capture", "--restore-on-exit", "-i", "eth1", "-w", "/dev/null"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("eth1 has address 2001:db8::2/64"), "{}", text(&refused.stderr));
    for words in [&["fwd", "--restore-on-exit"][..], &["list", "--restore-on-exit"]] {
        let refused = bmnic(&tree, words);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains("--restore-on-exit gives"), "{}", text(&refused.stderr));
    }
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn what_changes_of_the_cards_is_told_as_it_happens() {
    let tree = Tree::new(&[PORT]);
    let state = tree.directory(PORT.address).join("net/eth1/operstate");
    let words = ["list", "--watch", "--count", "1000", "--interval", "5ms", "--json"];
    let mut watching = command(&tree, &words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    // Until it is seen: it may not have looked yet when this is written.
    let seen = AtomicBool::new(false);
    let first = thread::scope(|scope| {
        scope.spawn(|| {
            while !seen.load(Ordering::Acquire) {
                for text in ["down\n", "up\n"] {
                    fs::write(&state, text).unwrap();
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
        let first = next();
        seen.store(true, Ordering::Release);
        first
    });
    assert_eq!(
        (&first["event"], &first["interface"], &first["final"]),
        (&"link".into(), &"eth1".into(), &false.into())
    );
    assert!(first["state"] == "down" || first["state"] == "up" || first["state"] == "", "{first}");
    let last = std::iter::from_fn(|| Some(next())).find(|line| line["final"] == true).unwrap();
    assert_eq!(last["devices"][0]["address"], PORT.address);
    assert_eq!(watching.wait().unwrap().code(), Some(0));

    let once = bmnic(&tree, &["list", "--watch", "--count", "1"]);
    assert_eq!(once.status.code(), Some(0));
    assert!(text(&once.stdout).contains("0000:03:00.0"));
    let refused = bmnic(&tree, &["list", "--count", "1"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn watching_ends_well_on_ctrl_c() {
    let tree = Tree::new(&[PORT]);
    let mut watching = command(&tree, &["list", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    // The table is there: it watches.
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let told = Command::new("kill").args(["-INT", &watching.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}

#[test]
fn tune_with_nothing_to_set_but_a_card_speaks_of_the_card() {
    let tree = Tree::new(&[PORT]);
    tree.put(tree.roots.sys.join("devices/system/cpu/online"), "0-3\n");
    let words = ["tune", "eth1", "--cpu", "2-3", "--hugepages", "0", "--apply"];
    let output = bmnic_with_kernel(&tree, &[PORT], &words);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.contains("no file had to be set; `sudo bmnic tune --undo` gives the cards back"), "{told}");
    assert!(told.contains("bound to vfio-pci"), "{told}");
}
