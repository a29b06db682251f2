//! `bmnic doctor` and `bmnic tune` on machines of plain files: what each line says of what
//! state, that doctor changes nothing, and that the program sets and puts back what it prints.

mod common {
    pub mod fake_sysfs;
    pub mod native;
    pub mod schema;
    pub mod untuned;
}

use bmnic::doctor::cpus::Cpus;
use bmnic::doctor::{self, Check, State, Subject};
use common::fake_sysfs::{Card, PORT, Tree};
use common::native;
use common::schema::document;
use common::untuned::untuned;
use std::fs;
use std::process::Output;

/// What is found for processors 2 and 3, by a user who may lock what root may.
fn checks(tree: &Tree, cards: &[&str]) -> Vec<Check> {
    let cards = cards.iter().map(|card| tree.device(card)).collect();
    let quiet = Cpus::parse_list("2-3").unwrap();
    doctor::examine(&tree.roots, &Subject { quiet, cards, memory: 64 << 20, user: 0, memlock: None })
}

fn line(tree: &Tree, cards: &[&str], name: &str) -> (State, String) {
    let check = checks(tree, cards).into_iter().find(|check| check.name == name);
    let check = check.unwrap_or_else(|| panic!("no line of {name}"));
    assert!(check.fix.is_some() || !matches!(check.state, State::Slow | State::Wrong), "{check:?} has no fix");
    assert!(!check.why.is_empty() && !check.why.contains("  "), "{check:?}");
    (check.state, check.found)
}

#[test]
fn each_line_says_what_its_files_say() {
    let tree = untuned(&[]);
    let sys = |file: &str| tree.roots.sys.join(file);
    let proc = |file: &str| tree.roots.proc.join(file);
    let pool = |file: &str| sys(&format!("devices/system/node/node1/hugepages/hugepages-2048kB/{file}"));
    type Row<'a> = (&'a str, State, &'a str, Vec<(std::path::PathBuf, &'a str)>, State, &'a str);
    let rows: Vec<Row<'_>> = vec![
        ("IOMMU", State::Ok, "on", vec![], State::Ok, "on"),
        ("vfio-pci", State::Ok, "loaded", vec![(tree.roots.dev.join("iommu"), "")], State::Ok, "IOMMUFD"),
        (
            "lockdown",
            State::Ok,
            "off",
            vec![(sys("kernel/security/lockdown"), "none [integrity]")],
            State::Ok,
            "integrity",
        ),
        ("memlock", State::Ok, "no limit", vec![], State::Ok, "no limit"),
        (
            "capabilities",
            State::Unknown,
            "does not tell",
            vec![(proc("self/status"), "CapEff:\t000001ffffffdfff\n")],
            State::Note,
            "without NET_RAW",
        ),
        (
            "container",
            State::Ok,
            "no sign",
            vec![(proc("self/mountinfo"), "2 1 0:2 / /sys ro - sysfs sysfs rw\n")],
            State::Note,
            "read-only",
        ),
        (
            "huge pages",
            State::Slow,
            "0 B free, 64 MiB are wanted",
            vec![(pool("nr_hugepages"), "32"), (pool("free_hugepages"), "32")],
            State::Ok,
            "64 MiB free",
        ),
        (
            "THP",
            State::Slow,
            "always",
            vec![(sys("kernel/mm/transparent_hugepage/enabled"), "always madvise [never]")],
            State::Ok,
            "never",
        ),
        ("swap", State::Slow, "on, 1", vec![(proc("swaps"), "Filename Type Size Used Priority\n")], State::Ok, "off"),
        ("NUMA balancing", State::Slow, "on", vec![(proc("sys/kernel/numa_balancing"), "0\n")], State::Ok, "off"),
        (
            "processors",
            State::Ok,
            "2-3 of 0-3",
            vec![(sys("devices/system/cpu/online"), "0-2\n")],
            State::Wrong,
            "3 are not on",
        ),
        ("processors", State::Wrong, "3 are not", vec![(sys("devices/system/cpu/online"), "0-3\n")], State::Ok, "2-3"),
        (
            "isolcpus",
            State::Slow,
            "does not cover 2-3",
            vec![(sys("devices/system/cpu/isolated"), "1-3\n")],
            State::Ok,
            "covers",
        ),
        (
            "rcu_nocbs",
            State::Slow,
            "does not",
            vec![(proc("cmdline"), "rcu_nocbs=2,3 irqaffinity=0,1\n")],
            State::Ok,
            "covers",
        ),
        ("irqaffinity", State::Ok, "covers", vec![(proc("cmdline"), "irqaffinity=0-2\n")], State::Slow, "does not"),
        (
            "nohz_full",
            State::Slow,
            "does not",
            vec![(sys("devices/system/cpu/nohz_full"), "2-3\n")],
            State::Ok,
            "covers",
        ),
        ("rcu_nocbs", State::Ok, "covers", vec![], State::Ok, "covers"),
        (
            "interrupts",
            State::Slow,
            "2 of 3 go to 2-3",
            vec![(proc("77/comm"), "irqbalance\n")],
            State::Slow,
            "process 77",
        ),
        (
            "workqueues",
            State::Slow,
            "may run on 2-3",
            vec![(sys("devices/virtual/workqueue/cpumask"), "00000003\n")],
            State::Ok,
            "not on",
        ),
        (
            "SMT sibling",
            State::Ok,
            "one thread",
            vec![(sys("devices/system/cpu/cpu2/topology/thread_siblings_list"), "1-2\n")],
            State::Slow,
            "1 share a core",
        ),
        (
            "SMT sibling",
            State::Slow,
            "1",
            vec![(sys("devices/system/cpu/cpu2/topology/thread_siblings_list"), "2-3\n")],
            State::Note,
            "give packets 2",
        ),
        ("governor", State::Slow, "powersave", vec![], State::Slow, "powersave"),
        (
            "C-states",
            State::Slow,
            "up to 133 us",
            vec![
                (sys("devices/system/cpu/cpu2/cpuidle/state2/disable"), "1\n"),
                (sys("devices/system/cpu/cpu3/cpuidle/state2/disable"), "1\n"),
            ],
            State::Ok,
            "off on 2-3",
        ),
        ("turbo", State::Note, "on", vec![(sys("devices/system/cpu/intel_pstate/no_turbo"), "1\n")], State::Ok, "off"),
        ("watchdog", State::Slow, "on", vec![(proc("sys/kernel/nmi_watchdog"), "0\n")], State::Ok, "off"),
        (
            "counter",
            State::Ok,
            "one rate; the kernel uses tsc",
            vec![(proc("cpuinfo"), "flags\t: fpu constant_tsc hypervisor\n")],
            State::Slow,
            "varies",
        ),
        (
            "host",
            State::Note,
            "virtual machine",
            vec![(proc("cpuinfo"), "Features\t: fp\n")],
            State::Ok,
            "no hypervisor",
        ),
        ("counter", State::Ok, "generic timer", vec![], State::Ok, "generic timer"),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (name, state, words, changes, after, words_after) in rows {
        let told = line(&tree, &[], name);
        assert!(told.0 == state && told.1.contains(words), "{name}: {told:?}, not {state:?} {words}");
        changes.into_iter().for_each(|(path, text)| tree.put(path, text));
        let told = line(&tree, &[], name);
        assert!(told.0 == after && told.1.contains(words_after), "{name} then: {told:?}, not {after:?} {words_after}");
        seen.push(name);
    }
    for check in checks(&tree, &[]) {
        assert!(seen.contains(&check.name), "{} is in no row", check.name);
    }
    for cpu in [2, 3] {
        tree.put(sys(&format!("devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")), "performance\n");
    }
    assert_eq!(line(&tree, &[], "governor"), (State::Ok, "performance".into()));
}

#[test]
fn a_machine_without_an_iommu_is_wrong_in_every_line_that_it_concerns() {
    let bare = Card { group: None, ..PORT };
    let tree = untuned(std::slice::from_ref(&bare));
    fs::remove_dir_all(tree.roots.sys.join("class/iommu")).unwrap();
    let wrong = |name| line(&tree, &["eth1"], name).0 == State::Wrong;
    assert!(wrong("IOMMU") && wrong("IOMMU group") && wrong("huge pages"));
    tree.put(tree.roots.sys.join("kernel/security/lockdown"), "none [integrity] confidentiality\n");
    assert!(wrong("lockdown"));
    // An SMMU takes no words.
    let fix =
        |tree: &Tree| checks(tree, &[]).into_iter().find(|check| check.name == "IOMMU").unwrap().fix.unwrap().text;
    assert!(fix(&tree).contains("intel_iommu=on"), "{}", fix(&tree));
    tree.put(tree.roots.proc.join("cpuinfo"), "processor\t: 0\nFeatures\t: fp asimd evtstrm\n");
    assert_eq!(fix(&tree), "switch the IOMMU (SMMU, VT-d, AMD-Vi) on in the firmware");
    let told = text(&bmnic(&tree, &["tune", "--cpu", "2-3", "--hugepages", "0"]).stdout);
    assert!(told.contains("isolcpus=") && !told.contains("iommu"), "{told}");
    // VFIO makes groups of its own there, which are no IOMMU.
    tree.put(tree.roots.sys.join("kernel/iommu_groups/0/name"), "vfio-noiommu\n");
    assert!(wrong("IOMMU"));
    tree.put(tree.roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode"), "Y\n");
    assert_eq!(line(&tree, &["eth1"], "IOMMU").0, State::Note);
    assert_eq!(line(&tree, &["eth1"], "IOMMU group").0, State::Note);
}

#[test]
fn a_card_has_lines_of_its_own() {
    let neighbour = Card { address: "0000:03:00.1", interface: Some("eth2"), ..PORT };
    let tree = untuned(&[PORT, neighbour]);
    let told = |name| line(&tree, &["eth1"], name);
    assert_eq!(told("driver"), (State::Note, "ixgbe has it; bmnic would drive it by ixgbe".into()));
    assert_eq!(told("IOMMU group"), (State::Wrong, "27 also holds 0000:03:00.1 (ixgbe)".into()));
    assert_eq!(line(&tree, &["eth1", "eth2"], "IOMMU group"), (State::Ok, "27, of 2 functions".into()));
    // It is on node 0, and the processors and the pages are on node 1.
    assert_eq!(told("NUMA node"), (State::Slow, "0, and processors 2-3 are on another".into()));
    let pool = tree.roots.sys.join("devices/system/node/node1/hugepages/hugepages-2048kB");
    tree.put(pool.join("free_hugepages"), "32\n");
    assert_eq!(
        told("huge pages"),
        (State::Slow, "0 B free on node 0, 64 MiB are wanted; 64 MiB are on other nodes".into())
    );
    let directory = tree.directory(PORT.address);
    for (file, text) in [
        ("current_link_speed", "8.0 GT/s PCIe\n"),
        ("current_link_width", "4\n"),
        ("max_link_speed", "8.0 GT/s PCIe\n"),
        ("max_link_width", "8\n"),
    ] {
        tree.put(directory.join(file), text);
    }
    assert_eq!(told("PCIe link"), (State::Slow, "x4 at 8.0 GT/s, of x8 at 8.0 GT/s".into()));
    let regions = tree.roots.sys.join("kernel/iommu_groups/27/reserved_regions");
    tree.put(regions.clone(), "0xfee00000 0xfeefffff msi\n0xab000000 0xab00ffff direct\n");
    assert_eq!(told("firmware memory").0, State::Wrong);
    tree.put(regions, "0xab000000 0xab00ffff direct-relaxable\n");
    assert!(checks(&tree, &["eth1"]).iter().all(|check| check.name != "firmware memory"), "VFIO takes these");
    tree.put(directory.join("device"), "0x1234\n");
    assert_eq!(told("driver").0, State::Wrong);
}

#[test]
fn a_user_is_told_of_limits_and_of_the_node_that_is_not_theirs() {
    let tree = untuned(&[PORT]);
    let as_user = |memlock, cards| {
        let quiet = Cpus::parse_list("1").unwrap();
        doctor::examine(&tree.roots, &Subject { quiet, cards, memory: 0, user: 1000, memlock })
    };
    let state = |checks: &[Check], name: &str| checks.iter().find(|check| check.name == name).map(|check| check.state);
    assert_eq!(state(&as_user(Some(8 << 20), vec![]), "memlock"), Some(State::Wrong));
    assert_eq!(state(&as_user(Some(256 << 20), vec![]), "memlock"), Some(State::Ok));
    let told = as_user(Some(8 << 20), vec![]).into_iter().find(|check| check.name == "memlock").unwrap();
    assert!(told.fix.as_ref().unwrap().text.contains("tee -a "), "other users have lines there: {told:?}");
    let mut card = tree.device("eth1");
    assert_eq!(state(&as_user(None, vec![card.clone()]), "permission"), None, "VFIO does not have it");
    card.driver = Some("vfio-pci".into());
    tree.put(tree.roots.dev.join("vfio/27"), "");
    assert_eq!(state(&as_user(None, vec![card]), "permission"), Some(State::Ok));
}

#[test]
fn a_process_is_told_which_of_its_rights_a_container_or_a_user_has_not() {
    let tree = untuned(&[]);
    let proc = |file: &str, text: &str| tree.put(tree.roots.proc.join(file), text);
    let found = |user: u32, memlock, name: &str| {
        let quiet = Cpus::parse_list("1").unwrap();
        let checks = doctor::examine(&tree.roots, &Subject { quiet, cards: vec![], memory: 0, user, memlock });
        let check = checks.into_iter().find(|check| check.name == name).unwrap();
        (check.state, check.found, check.fix.map_or(String::new(), |fix| fix.text))
    };
    assert_eq!(found(0, None, "capabilities").0, State::Unknown);
    proc("self/status", "Name:\tbmnic\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n");
    assert_eq!(found(0, None, "capabilities").0, State::Ok);
    assert_eq!(found(1000, Some(1 << 20), "memlock").0, State::Ok, "CAP_IPC_LOCK is above the limit");
    // What Docker leaves to root.
    proc("self/status", "Name:\tbmnic\nCapEff:\t00000000a80425fb\n");
    let (state, without, fix) = found(0, None, "capabilities");
    assert_eq!((state, &without[..]), (State::Note, "without NET_ADMIN, IPC_LOCK, SYS_RAWIO, SYS_ADMIN, BPF"));
    assert!(
        fix.ends_with(" --cap-add NET_ADMIN --cap-add IPC_LOCK --cap-add SYS_RAWIO --cap-add SYS_ADMIN --cap-add BPF"),
        "{fix}"
    );
    assert_eq!(found(0, Some(8 << 20), "memlock").0, State::Wrong, "root's too");
    assert!(found(1000, None, "capabilities").2.contains("setcap"));

    assert_eq!(found(0, None, "container").1, "no sign of one");
    let root = "21 1 0:19 / / rw - ext4 /dev/vda rw\n";
    let sys = |options: &str| format!("23 21 0:22 / /sys {options},nosuid - sysfs sysfs rw\n");
    proc("self/uid_map", "         0          0 4294967295\n");
    proc("self/mountinfo", &[root, &sys("ro"), &sys("rw")].concat());
    assert_eq!(found(0, None, "container").0, State::Ok, "one that may be written to lies above");
    proc("self/mountinfo", &[root, &sys("rw"), &sys("ro")].concat());
    assert_eq!(found(0, None, "container").1, "/sys is read-only");
    tree.put(tree.roots.run.join("systemd/container"), "docker\n");
    proc("self/uid_map", "         0     100000      65536\n");
    let (state, kept, fix) = found(0, None, "container");
    assert_eq!((state, &kept[..]), (State::Note, "docker: /sys is read-only, root here is another user outside"));
    assert!(fix.contains("--device=/dev/vfio"), "{fix}");
    proc("self/status", "CapEff:\t000001ffffffffff\n");
    assert_eq!(found(0, None, "capabilities").0, State::Note, "they end where the namespace does");
    assert_eq!(found(0, Some(8 << 20), "memlock").0, State::Wrong);
}

fn bmnic(tree: &Tree, words: &[&str]) -> Output {
    let roots = &tree.roots;
    let mut command = native::bmnic(words);
    command.env("BMNIC_SYS_ROOT", &roots.sys).env("BMNIC_PROC_ROOT", &roots.proc);
    command.env("BMNIC_DEV_ROOT", &roots.dev).env("BMNIC_RUN_ROOT", &roots.run);
    command.env_remove("SSH_CONNECTION").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn doctor_writes_nothing_keeps_lines_whole_in_a_pipe_and_exits_3_if_one_is_wrong() {
    let neighbour = Card { address: "0000:03:00.1", interface: Some("eth2"), ..PORT };
    let tree = untuned(&[PORT, neighbour]);
    let before = tree.snapshot();
    let output = bmnic(&tree, &["doctor", "--jitter", "0", "--cpu", "2-3"]);
    assert_eq!(output.status.code(), Some(0), "slow is not wrong: {}", text(&output.stderr));
    let output = bmnic(&tree, &["doctor", "eth1", "--jitter", "100ms", "--cpu", "2-3", "-v"]);
    assert_eq!(output.status.code(), Some(3), "its group is shared");
    let told = text(&output.stdout);
    let card = tree.device(PORT.address);
    let subject = Subject {
        quiet: Cpus::parse_list("2-3").unwrap(),
        cards: vec![card],
        memory: 128 << 20,
        user: bmnic::sys::effective_user(),
        memlock: bmnic::sys::memlock_limit(),
    };
    for check in doctor::examine(&tree.roots, &subject) {
        let head = format!("{:<7} {:<15} {}", check.state.word(), check.name, check.found);
        assert_eq!(told.lines().filter(|line| *line == head).count(), 1, "{head:?} in\n{told}");
        let why = format!("        why  {}", check.why);
        assert!(told.lines().any(|line| line == why), "{why:?} in\n{told}");
    }
    for words in [
        "the machine\n",
        "card 0000:03:00.0\n",
        "wrong   IOMMU group",
        "fix  boot with isolcpus=",
        "score   ",
        "jitter  ",
    ] {
        assert!(told.contains(words), "no {words:?} in\n{told}");
    }
    assert_eq!(tree.snapshot(), before);

    let shown = document(&bmnic(&tree, &["doctor", "eth1", "--json", "--jitter", "20ms"]).stdout);
    assert_eq!(shown["cpus"], serde_json::json!([1]), "of the card's node, and not processor 0");
    let rows = shown["jitter"]["rows"].as_array().unwrap();
    let gaps: u64 = rows.iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(shown["jitter"]["hiccups"]["above_1us"], gaps);
    assert_eq!(document(&bmnic(&tree, &["doctor", "eth9", "--json"]).stdout)["error"]["kind"], "not found");
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn tune_prints_what_it_would_write_and_writes_nothing() {
    let tree = untuned(&[PORT]);
    let before = tree.snapshot();
    let output = bmnic(&tree, &["tune", "eth1", "--cpu", "2-3", "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    let sys = tree.roots.sys.display();
    for words in [
        format!("# governor\necho performance > {sys}/devices/system/cpu/cpu2/cpufreq/scaling_governor\n"),
        format!("echo 00000003 > {sys}/devices/virtual/workqueue/cpumask\n"),
        format!("echo 64 > {sys}/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages\n"),
        format!("echo vfio-pci > {sys}/bus/pci/devices/0000:03:00.0/driver_override\n"),
        "\n# isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1\n".to_string(),
    ] {
        assert!(told.contains(&words), "no {words:?} in\n{told}");
    }
    assert!(!told.contains("no_turbo"), "only where it is asked for");
    assert_eq!(document(&bmnic(&tree, &["tune", "--json", "--print"]).stdout)["state"], "planned");
    assert_eq!(tree.snapshot(), before);
    for (words, code, said) in [
        (&["tune", "--cpu", "9"][..], 2, "processors 9 of --cpu are not switched on; there are 0-3"),
        (&["tune", "--undo", "--apply"], 2, "cannot be used with"),
        (&["tune", "eth1", "--user", "nobody of this name"], 2, "no user"),
        (&["tune", "eth9"], 1, "neither a PCI address"),
    ] {
        let output = bmnic(&tree, words);
        let line = text(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(code), 1), "{words:?}: {line}");
        assert!(line.contains(said), "{words:?}: {line}");
    }
    tree.address_v6("eth1");
    assert_eq!(bmnic(&tree, &["tune", "eth1", "--apply"]).status.code(), Some(4), "it is in use");
}

#[test]
fn the_program_applies_scores_before_and_after_and_undoes() {
    let tree = untuned(&[]);
    let values = |tree: &Tree| -> Vec<String> {
        let read = |path| bmnic::doctor::settings::read(path).unwrap();
        let snapshot = tree.snapshot();
        snapshot
            .iter()
            .filter(|(path, text)| path.is_file() && *text != "directory")
            .map(|(path, _)| read(path))
            .collect()
    };
    let before = values(&tree);
    let words = ["tune", "--cpu", "2-3", "--hugepages", "0", "--no-turbo"];
    let output = bmnic(&tree, &[&words[..], &["--apply", "--jitter", "20ms"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    let score = told.lines().find_map(|line| line.strip_prefix("score: ")).unwrap();
    let numbers: Vec<u64> = score.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[2] > numbers[0] && numbers[1] == numbers[3], "{score}");
    assert!(
        told.contains("13 files set") && told.contains("jitter before: ") && told.contains("jitter now: "),
        "{told}"
    );
    assert!(tree.roots.run.join("bmnic/tune.json").exists());
    let again = document(&bmnic(&tree, &[&words[..], &["--apply", "--json"]].concat()).stdout);
    assert_eq!((&again["state"], &again["before"]["score"]), (&"unchanged".into(), &again["after"]["score"]));
    let undone = document(&bmnic(&tree, &["tune", "--undo", "--json"]).stdout);
    assert_eq!((&undone["state"], &undone["restored"]), (&"undone".into(), &13.into()));
    assert_eq!(values(&tree), before);
    let again = bmnic(&tree, &["tune", "--undo"]);
    assert_eq!((again.status.code(), text(&again.stdout).starts_with("unchanged")), (Some(0), true));
    let applied = document(&bmnic(&tree, &[&words[..], &["--apply", "--json"]].concat()).stdout);
    assert_eq!((&applied["state"], &applied["written"]), (&"applied".into(), &13.into()));
}
