//! Setting a machine of plain files up for packets: what is set, what is put back, and that
//! a kill or a failure at any moment leaves a machine that can be put back to the byte.

mod common {
    pub mod fake_sysfs;
    pub mod kills;
    pub mod untuned;
}

use bmnic::doctor::cpus::Cpus;
use bmnic::doctor::tune::{Applied, Wish, apply, is_applied, journal_path, plan, undo};
use bmnic::doctor::{self, Check, State, Subject};
use bmnic::pci::bind::{self, Request};
use bmnic::pci::guard::Machine;
use bmnic::{Kind, Result};
use common::fake_sysfs::{self, Card, FakeKernel, PORT, Tree};
use common::kills;
use common::untuned::untuned;
use std::fs;

fn wish() -> Wish {
    Wish { quiet: Cpus::parse_list("2-3").unwrap(), memory: 64 << 20, node: Some(1), no_turbo: true }
}

/// Plans and applies, as one run of the program does; with `cards` they are bound too.
fn tune(tree: &Tree, kernel: &FakeKernel, wish: &Wish, cards: &[Card]) -> Result<Applied> {
    let devices: Vec<_> = cards.iter().map(|card| tree.device(card.address)).collect();
    let request = Request { driver: Some("vfio-pci".into()), ..Request::default() };
    let cards = bind::plan(&tree.roots, &Machine::default(), &devices, &request)?;
    apply(kernel, &tree.roots, &plan(&tree.roots, wish, cards)?)
}

fn checks(tree: &Tree) -> Vec<Check> {
    let quiet = wish().quiet;
    let subject = Subject { quiet, cards: Vec::new(), memory: 64 << 20, user: 0, memlock: None };
    doctor::examine(&tree.roots, &subject)
}

/// What is slow and can be set at once, by name.
fn left_to_tune(tree: &Tree) -> Vec<&'static str> {
    let open = |check: &Check| check.state != State::Ok && check.fix.as_ref().is_some_and(|fix| fix.tune);
    checks(tree).into_iter().filter(open).map(|check| check.name).collect()
}

#[test]
fn everything_that_can_be_set_is_set_and_put_back_to_the_byte() {
    let tree = untuned(&[PORT]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[PORT]);
    let mut names = left_to_tune(&tree);
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "C-states",
            "NUMA balancing",
            "THP",
            "governor",
            "huge pages",
            "interrupts",
            "turbo",
            "watchdog",
            "workqueues"
        ]
    );
    let (score, _) = doctor::score(&checks(&tree));
    let applied = tune(&tree, &kernel, &wish(), &[PORT]).unwrap();
    assert_eq!((applied.written, applied.kept, applied.cards.len()), (14, 0, 1));
    assert_eq!(left_to_tune(&tree), [""; 0]);
    assert!(doctor::score(&checks(&tree)).0 >= score + 8, "turbo is no part of it");
    assert_eq!(tree.driver_of(PORT.address).as_deref(), Some("vfio-pci"));
    let text = |file: &str| fs::read_to_string(tree.roots.sys.join(file)).unwrap();
    assert_eq!(text("devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"), "32\n");
    assert_eq!(text("devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"), "0\n");
    assert_eq!(text("devices/system/cpu/cpu1/cpufreq/scaling_governor"), "powersave\n", "not one of the quiet ones");

    let calls = kernel.calls();
    let again = tune(&tree, &kernel, &wish(), &[PORT]).unwrap();
    assert_eq!(again.written, 0, "it is as asked");
    assert!(kernel.calls() - calls <= 2, "the journal, and nothing else");
    let undone = undo(&kernel, &tree.roots).unwrap();
    assert_eq!((undone.restored, undone.left.len(), undone.cards.len()), (14, 0, 1));
    assert_eq!(different(&tree, &before), [""; 0]);
    assert!(!is_applied(&tree.roots).unwrap());
    assert_eq!(undo(&kernel, &tree.roots).unwrap().restored, 0);
}

/// Files that are not as `before`, with what is in them. Where an interrupt goes follows
/// from where it may go, and is the kernel's to say.
fn different(tree: &Tree, before: &std::collections::BTreeMap<std::path::PathBuf, String>) -> Vec<String> {
    let now = tree.snapshot();
    let paths = now.keys().chain(before.keys().filter(|path| !now.contains_key(*path)));
    let other = paths.filter(|path| now.get(*path) != before.get(*path) && !path.ends_with("effective_affinity_list"));
    other.map(|path| format!("{}: {:?} was {:?}", path.display(), now.get(path), before.get(path))).collect()
}

/// Kills a run of `act` at every call it makes, undoes it, and expects the machine as it was
/// before. Returns how many kills there were.
fn kill_everywhere(prepare: impl Fn(&Tree), act: impl Fn(&Tree, &FakeKernel)) -> usize {
    kills::kill_everywhere(
        &PORT,
        || untuned(&[PORT]),
        prepare,
        act,
        |tree, kernel, before, call| {
            undo(kernel, &tree.roots).unwrap();
            assert_eq!(different(tree, before), [""; 0], "killed in call {call}");
        },
    )
}

#[test]
fn a_run_killed_at_any_step_can_be_undone_to_the_byte() {
    let kills = kill_everywhere(|_| (), |tree, kernel| drop(tune(tree, kernel, &wish(), &[PORT]).unwrap()));
    assert_eq!(kills, 22, "14 files, two journals written and renamed, four attributes of the card");
}

#[test]
fn an_undo_killed_at_any_step_can_be_undone_again() {
    let applied = |tree: &Tree| drop(tune(tree, &FakeKernel::new(tree, &[PORT]), &wish(), &[PORT]).unwrap());
    let kills = kill_everywhere(applied, |tree, kernel| drop(undo(kernel, &tree.roots).unwrap()));
    assert_eq!(kills, 22, "the same, and each journal and its temporary file removed");
}

#[test]
fn a_second_run_for_other_processors_killed_anywhere_is_undone_with_the_first() {
    let first = |tree: &Tree| drop(tune(tree, &FakeKernel::new(tree, &[PORT]), &wish(), &[]).unwrap());
    let other = Wish { quiet: Cpus::parse_list("1-3").unwrap(), memory: 128 << 20, ..wish() };
    let kills = kill_everywhere(first, |tree, kernel| drop(tune(tree, kernel, &other, &[PORT]).unwrap()));
    assert!(kills >= 14, "{kills}");
}

#[test]
fn a_run_that_fails_at_any_step_puts_everything_back_itself() {
    // An interrupt that cannot be moved is no failure, and neither is what follows it.
    let mut failed = 0;
    for call in 0..22 {
        let tree = untuned(&[PORT]);
        let before = tree.snapshot();
        let kernel = FakeKernel::new(&tree, &[PORT]).failing_at(call);
        match tune(&tree, &kernel, &wish(), &[PORT]) {
            Ok(applied) => assert_eq!(applied.kept, 1, "call {call}"),
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), Kind::Io, "{error}");
                assert_eq!(different(&tree, &before), [""; 0], "failed in call {call}: {error}");
            }
        }
    }
    assert_eq!(failed, 22 - 3);
}

#[test]
fn what_cannot_even_be_put_back_is_said_and_can_be_undone_later() {
    for call in 3..12 {
        let tree = untuned(&[PORT]);
        let before = tree.snapshot();
        let kernel = FakeKernel::new(&tree, &[PORT]).failing_from(call);
        let error = tune(&tree, &kernel, &wish(), &[]).unwrap_err();
        assert!(error.to_string().ends_with("`bmnic tune --undo` tries again"), "{error}");
        assert!(is_applied(&tree.roots).unwrap());
        undo(&FakeKernel::new(&tree, &[PORT]), &tree.roots).unwrap();
        assert_eq!(different(&tree, &before), [""; 0], "failed from call {call}");
    }
}

#[test]
fn an_interrupt_that_the_kernel_keeps_is_counted_and_the_rest_is_done() {
    let tree = untuned(&[]);
    tree.put(tree.roots.proc.join("irq/26/fixed"), "");
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[]);
    let applied = tune(&tree, &kernel, &wish(), &[]).unwrap();
    assert_eq!((applied.written, applied.kept), (13, 1));
    undo(&kernel, &tree.roots).unwrap();
    assert_eq!(different(&tree, &before), [""; 0]);
}

#[test]
fn fewer_huge_pages_than_asked_is_an_error_and_nothing_stays_changed() {
    let tree = untuned(&[]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[]).with_pages(7);
    let error = tune(&tree, &kernel, &wish(), &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Limit);
    let text = error.to_string();
    assert!(text.contains("nr_hugepages is '7' after '32' was written") && text.contains("put back"), "{text}");
    assert!(kernel.written.borrow().iter().any(|write| write == "compact_memory 1"), "it was tried");
    tree.put(tree.roots.proc.join("sys/vm/compact_memory"), "\n");
    assert_eq!(different(&tree, &before), [""; 0]);
}

#[test]
fn what_somebody_changed_since_is_theirs() {
    let tree = untuned(&[]);
    let kernel = FakeKernel::new(&tree, &[]);
    tune(&tree, &kernel, &wish(), &[]).unwrap();
    let governor = tree.roots.sys.join("devices/system/cpu/cpu2/cpufreq/scaling_governor");
    tree.put(governor.clone(), "schedutil\n");
    let undone = undo(&kernel, &tree.roots).unwrap();
    let left: Vec<_> = undone.left.iter().map(|left| (&left.path, &*left.now, &*left.was)).collect();
    assert_eq!(left, [(&governor, "schedutil", "powersave")]);
    assert_eq!((undone.restored, fs::read_to_string(&governor).unwrap().as_str()), (13, "schedutil\n"));
    assert!(!journal_path(&tree.roots).exists());
}

#[test]
fn huge_pages_in_use_stay_until_they_are_not() {
    let tree = untuned(&[]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[]);
    tune(&tree, &kernel, &wish(), &[]).unwrap();
    let pool = tree.roots.sys.join("devices/system/node/node1/hugepages/hugepages-2048kB");
    tree.put(pool.join("free_hugepages"), "12\n");
    let undone = undo(&kernel, &tree.roots).unwrap();
    assert_eq!((undone.in_use, undone.restored), (20, 13));
    assert!(is_applied(&tree.roots).unwrap());
    tree.put(pool.join("free_hugepages"), "20\n");
    let undone = undo(&kernel, &tree.roots).unwrap();
    assert_eq!((undone.in_use, undone.restored), (0, 1));
    assert_eq!(different(&tree, &before), [""; 0]);
}

#[test]
fn promised_pages_of_a_node_stay_until_the_promise_ends() {
    let tree = untuned(&[]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[]);
    tune(&tree, &kernel, &wish(), &[]).unwrap();
    let promised = tree.roots.sys.join("kernel/mm/hugepages/hugepages-2048kB/resv_hugepages");
    tree.put(promised.clone(), "5\n");
    assert_eq!(undo(&kernel, &tree.roots).unwrap().in_use, 5);
    assert!(is_applied(&tree.roots).unwrap());
    tree.put(promised, "0\n");
    assert_eq!(undo(&kernel, &tree.roots).unwrap().in_use, 0);
    assert_eq!(different(&tree, &before), [""; 0]);
}

#[test]
fn a_file_that_cannot_be_read_now_is_put_back_later() {
    let tree = untuned(&[]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[]);
    tune(&tree, &kernel, &wish(), &[]).unwrap();
    let governor = tree.roots.sys.join("devices/system/cpu/cpu2/cpufreq/scaling_governor");
    fs::remove_file(&governor).unwrap();
    fs::create_dir(&governor).unwrap();
    let error = undo(&kernel, &tree.roots).unwrap_err().to_string();
    assert!(error.contains("scaling_governor cannot be read") && is_applied(&tree.roots).unwrap(), "{error}");
    fs::remove_dir(&governor).unwrap();
    tree.put(governor, "performance\n");
    undo(&kernel, &tree.roots).unwrap();
    assert_eq!(different(&tree, &before), [""; 0]);
}

#[test]
fn what_somebody_set_between_two_runs_is_what_comes_back() {
    let tree = untuned(&[]);
    let kernel = FakeKernel::new(&tree, &[]);
    tune(&tree, &kernel, &wish(), &[]).unwrap();
    let governor = tree.roots.sys.join("devices/system/cpu/cpu2/cpufreq/scaling_governor");
    tree.put(governor.clone(), "schedutil\n");
    let other = tree.roots.sys.join("devices/system/cpu/cpu3/cpufreq/scaling_governor");
    tune(&tree, &kernel, &wish(), &[]).unwrap();
    let undone = undo(&kernel, &tree.roots).unwrap();
    assert_eq!((undone.restored, undone.left), (14, Vec::new()));
    assert_eq!(fs::read_to_string(governor).unwrap(), "schedutil\n");
    assert_eq!(fs::read_to_string(other).unwrap(), "powersave\n");
}

#[test]
fn a_card_that_is_stuck_is_said_and_undone_later() {
    let tree = untuned(&[PORT]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[PORT]).with_shy("vfio-pci").with_shy("ixgbe");
    let error = tune(&tree, &kernel, &wish(), &[PORT]).unwrap_err().to_string();
    assert!(error.contains("`bmnic tune --undo` tries again"), "{error}");
    assert_eq!(tree.driver_of(PORT.address), None);
    assert!(is_applied(&tree.roots).unwrap());
    let undone = undo(&FakeKernel::new(&tree, &[PORT]), &tree.roots).unwrap();
    assert_eq!(undone.cards.len(), 1);
    assert_eq!(different(&tree, &before), [""; 0]);
}

#[test]
fn a_card_in_use_keeps_its_place_in_the_journal_and_the_rest_is_put_back() {
    let tree = untuned(&[PORT]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[PORT]);
    tune(&tree, &kernel, &wish(), &[PORT]).unwrap();
    tree.put(tree.roots.proc.join("123/comm"), "testpmd\n");
    fs::create_dir_all(tree.roots.proc.join("123/fd")).unwrap();
    std::os::unix::fs::symlink(tree.roots.dev.join("vfio/27"), tree.roots.proc.join("123/fd/9")).unwrap();
    let error = undo(&kernel, &tree.roots).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(checks(&tree).iter().find(|check| check.name == "governor").unwrap().found, "powersave");
    fs::remove_dir_all(tree.roots.proc.join("123")).unwrap();
    undo(&kernel, &tree.roots).unwrap();
    assert_eq!(different(&tree, &before), [""; 0]);
}

#[test]
fn a_card_that_bmnic_had_before_is_not_given_back_with_the_rest() {
    let tree = untuned(&[PORT]);
    let kernel = FakeKernel::new(&tree, &[PORT]);
    let machine = Machine::default();
    let request = Request { driver: Some("vfio-pci".into()), ..Request::default() };
    let plans = bind::plan(&tree.roots, &machine, &[tree.device(PORT.address)], &request).unwrap();
    bind::execute(&kernel, &tree.roots, &plans).1.unwrap();
    tune(&tree, &kernel, &wish(), &[PORT]).unwrap();
    assert_eq!(undo(&kernel, &tree.roots).unwrap().cards.len(), 0);
    assert_eq!(tree.driver_of(PORT.address).as_deref(), Some("vfio-pci"));
    bind::restore(&kernel, &tree.roots, fake_sysfs::address(PORT.address), false).unwrap();
}

#[test]
fn what_takes_a_boot_is_words_and_only_what_is_missing() {
    let tree = untuned(&[]);
    let words = || plan(&tree.roots, &wish(), Vec::new()).unwrap().command_line.join(" ");
    assert_eq!(words(), "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1");
    fs::remove_dir_all(tree.roots.sys.join("class/iommu")).unwrap();
    assert!(words().starts_with("intel_iommu=on iommu=pt isolcpus="));
    tree.put(tree.roots.proc.join("cmdline"), "quiet intel_iommu=on iommu=pt irqaffinity=0 rcu_nocbs=all\n");
    tree.put(tree.roots.sys.join("devices/system/cpu/isolated"), "2-3\n");
    assert_eq!(words(), "nohz_full=2-3");
    tree.put(tree.roots.sys.join("devices/system/cpu/nohz_full"), "1-3\n");
    assert_eq!(words(), "");
}
