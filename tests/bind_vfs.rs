//! Virtual functions on a machine of plain files whose kernel refuses as Linux does: what is
//! refused before it is tried, and that a kill at any moment can be restored.

#[path = "common/fake_sysfs.rs"]
mod fake_sysfs;
#[path = "common/kills.rs"]
mod kills;

use bmnic::pci::bind::{Report, Request, State, execute, plan, restore};
use bmnic::pci::guard::Machine;
use bmnic::pci::kernel::Kernel;
use bmnic::{Kind, Result};
use fake_sysfs::{FakeKernel, PORT, Tree, address};
use std::fs;
use std::os::unix::fs::symlink;

const BDF: &str = PORT.address;

fn vfs(number: u16) -> Request {
    Request { vfs: Some(number), ..Request::default() }
}

/// A machine whose card can have 63 virtual functions and has `now`.
fn machine(now: u16) -> Tree {
    let tree = Tree::new(&[PORT]);
    tree.sriov(BDF, 63);
    tree.driver("ixgbevf");
    FakeKernel::new(&tree, &[PORT]).effect(&tree.directory(BDF).join("sriov_numvfs"), &now.to_string()).unwrap();
    tree
}

fn kernel(tree: &Tree) -> FakeKernel {
    FakeKernel::new(tree, &[PORT])
}

/// Plans and executes, as one run of the program does.
fn bind(tree: &Tree, kernel: &FakeKernel, request: &Request) -> Result<Vec<Report>> {
    let plans = plan(&tree.roots, &Machine::read(&tree.roots, None), &[tree.device(BDF)], request)?;
    let (reports, result) = execute(kernel, &tree.roots, &plans);
    result.map(|()| reports)
}

fn refused(tree: &Tree, request: &Request) -> (Kind, String) {
    let (before, kernel) = (tree.snapshot(), kernel(tree));
    let error = bind(tree, &kernel, request).unwrap_err();
    assert_eq!((tree.snapshot(), kernel.calls()), (before, 0), "{error}");
    (error.kind(), error.to_string())
}

#[test]
fn a_card_gets_virtual_functions_and_loses_them_again() {
    let tree = machine(0);
    let (before, kernel) = (tree.snapshot(), kernel(&tree));
    let reports = bind(&tree, &kernel, &vfs(3)).unwrap();
    assert_eq!((reports[0].state, reports[0].driver.as_deref()), (State::Divided, Some("ixgbe")));
    let vfs = reports[0].vfs.clone().unwrap();
    assert_eq!((vfs.before, vfs.now), (0, ["03:10.0", "03:10.2", "03:10.4"].map(address).into()));
    assert_eq!(kernel.written.borrow()[..], ["sriov_numvfs 3"]);
    let restored = restore(&kernel, &tree.roots, address(BDF), false).unwrap();
    assert_eq!(restored.state, State::Restored);
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn from_one_number_to_another_the_card_goes_by_way_of_none() {
    let tree = machine(2);
    let (before, kernel) = (tree.snapshot(), kernel(&tree));
    let direct = kernel.write(&tree.directory(BDF).join("sriov_numvfs"), "5").unwrap_err();
    assert_eq!(direct.raw_os_error(), Some(16), "the kernel of this test refuses as Linux does");
    bind(&tree, &kernel, &vfs(5)).unwrap();
    bind(&tree, &kernel, &vfs(4)).unwrap();
    assert_eq!(tree.device(BDF).virtual_functions.len(), 4);
    assert_eq!(bind(&tree, &kernel, &vfs(4)).unwrap()[0].state, State::Unchanged);
    restore(&kernel, &tree.roots, address(BDF), false).unwrap();
    assert_eq!(tree.snapshot(), before, "the first number, not the last");
    bind(&tree, &kernel, &vfs(5)).unwrap();
    bind(&tree, &kernel, &vfs(2)).unwrap();
    assert_eq!(tree.snapshot(), before, "the first number again is restoring");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let tree = machine(2);
    let (kind, why) = refused(&tree, &vfs(64));
    assert!(kind == Kind::Unsupported && why.contains("63 at most"), "{why}");
    tree.address_v6("eth1v1");
    let (kind, why) = refused(&tree, &vfs(4));
    assert_eq!(kind, Kind::Refused);
    assert!(why.contains("virtual function 0000:03:10.2 is in use: eth1v1 has address"), "{why}");
    bind(&tree, &kernel(&tree), &Request { force: true, ..vfs(4) }).unwrap();

    let function = tree.device("0000:03:10.0");
    let machine = Machine::read(&tree.roots, None);
    let error = plan(&tree.roots, &machine, &[function], &vfs(1)).unwrap_err();
    assert!(error.to_string().contains("itself a virtual function; name 0000:03:00.0"), "{error}");
    let (kind, why) = refused(&Tree::new(&[PORT]), &vfs(1));
    assert!(kind == Kind::Unsupported && why.contains("no SR-IOV"), "{why}");
    let tree = self::machine(0);
    bind(&tree, &kernel(&tree), &Request::default()).unwrap();
    let (kind, why) = refused(&tree, &vfs(1));
    assert!(kind == Kind::Unsupported && why.contains("no driver has it"), "{why}");
}

#[test]
fn a_virtual_function_that_a_process_has_open_keeps_all() {
    let tree = machine(0);
    bind(&tree, &kernel(&tree), &vfs(2)).unwrap();
    let node = tree.roots.dev.join("vfio/devices/vfio0");
    fs::create_dir_all(tree.directory("0000:03:10.2").join("vfio-dev/vfio0")).unwrap();
    tree.put(tree.roots.proc.join("123/comm"), "qemu\n");
    fs::create_dir_all(tree.roots.proc.join("123/fd")).unwrap();
    symlink(node, tree.roots.proc.join("123/fd/9")).unwrap();
    let (kind, why) = refused(&tree, &vfs(0));
    assert!(kind == Kind::Refused && why.contains("0000:03:10.2 is in use: process 123 (qemu) has it open"), "{why}");
    let error = restore(&kernel(&tree), &tree.roots, address(BDF), false).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    restore(&kernel(&tree), &tree.roots, address(BDF), true).unwrap();
}

#[test]
fn a_driver_that_refuses_or_makes_fewer_is_told_and_undone() {
    let tree = machine(1);
    let before = tree.snapshot();
    let error = bind(&tree, &kernel(&tree).with_vfs(3), &vfs(4)).unwrap_err();
    assert!(error.to_string().contains("its driver made 3 of 4 virtual functions"), "{error}");
    assert_eq!(tree.snapshot(), before);
    let tree = machine(0);
    bind(&tree, &kernel(&tree), &Request { driver: Some("vfio-pci".into()), ..Request::default() }).unwrap();
    let before = tree.snapshot();
    let error = bind(&tree, &kernel(&tree), &vfs(4)).unwrap_err();
    assert!(error.to_string().contains("vfio-pci cannot make virtual functions"), "{error}");
    assert_eq!(tree.driver_of(BDF).as_deref(), Some("vfio-pci"), "it stays where it was");
    assert_eq!(tree.snapshot(), before, "and so does its journal");
    for call in 0..4 {
        let tree = machine(1);
        let before = tree.snapshot();
        bind(&tree, &kernel(&tree).failing_at(call), &vfs(4)).unwrap_err();
        assert_eq!(tree.snapshot(), before, "failed in call {call}");
    }
}

/// Kills a run of `act` at every call it makes, restores, and expects the machine as it was
/// before `prepare`. Returns how many kills there were.
fn kill_everywhere(now: u16, prepare: impl Fn(&Tree), act: impl Fn(&Tree, &FakeKernel)) -> usize {
    kills::kill_everywhere(
        &PORT,
        || machine(now),
        prepare,
        act,
        |tree, kernel, before, call| {
            restore(kernel, &tree.roots, address(BDF), false).unwrap();
            assert_eq!(tree.snapshot(), *before, "killed in call {call}");
        },
    )
}

#[test]
fn a_run_killed_at_any_step_can_be_restored_to_the_byte() {
    let to = |number| move |tree: &Tree, kernel: &FakeKernel| drop(bind(tree, kernel, &vfs(number)).unwrap());
    let kills = kill_everywhere(2, |_| (), to(5));
    assert_eq!(kills, 4, "journal written and renamed, two numbers");
    let made = |tree: &Tree| to(5)(tree, &kernel(tree));
    let kills = kill_everywhere(2, made, |tree, kernel| {
        restore(kernel, &tree.roots, address(BDF), false).unwrap();
    });
    assert_eq!(kills, 4, "two numbers, the journal and its temporary file");
}

#[test]
fn a_card_taken_with_its_virtual_functions_comes_back_with_as_many() {
    let to_vfio = Request { driver: Some("vfio-pci".into()), force: true, ..Request::default() };
    let kills = kill_everywhere(2, |_| (), |tree, kernel| drop(bind(tree, kernel, &to_vfio).unwrap()));
    assert_eq!(kills, 6);
    let bound = |tree: &Tree| drop(bind(tree, &kernel(tree), &to_vfio).unwrap());
    kill_everywhere(2, bound, |tree, kernel| {
        restore(kernel, &tree.roots, address(BDF), false).unwrap();
    });
    // Made by bmnic, then taken: the number before all of that.
    let made = |tree: &Tree| drop(bind(tree, &kernel(tree), &vfs(5)).unwrap());
    kill_everywhere(2, made, |tree, kernel| drop(bind(tree, kernel, &to_vfio).unwrap()));
    for call in 0..6 {
        let tree = machine(2);
        let before = tree.snapshot();
        bind(&tree, &kernel(&tree).failing_at(call), &to_vfio).unwrap_err();
        assert_eq!(tree.snapshot(), before, "failed in call {call}");
    }
}

#[test]
fn a_virtual_function_that_bmnic_took_is_forgotten_with_its_end() {
    let tree = machine(0);
    let kernel = kernel(&tree);
    bind(&tree, &kernel, &vfs(2)).unwrap();
    let journal = tree.roots.run.join("bmnic/0000:03:10.0.json");
    let plans = plan(&tree.roots, &Machine::default(), &[tree.device("0000:03:10.0")], &Request::default()).unwrap();
    execute(&kernel, &tree.roots, &plans).1.unwrap();
    assert!(journal.exists());
    bind(&tree, &kernel, &vfs(0)).unwrap();
    assert!(!journal.exists() && !tree.roots.run.join("bmnic/0000:03:00.0.json").exists());
}
