//! Binding on a machine of plain files: what it refuses, what it undoes, and
//! that a kill at any moment leaves a machine that can be restored.

#[path = "common/fake_sysfs.rs"]
mod fake_sysfs;
#[path = "common/kills.rs"]
mod kills;

use bmnic::pci::bind::{Report, Request, State, execute, plan, restore};
use bmnic::pci::guard::Machine;
use bmnic::{Kind, Result};
use fake_sysfs::{Card, Died, FakeKernel, PORT, Tree, address};
use std::panic::{AssertUnwindSafe, catch_unwind};

const BDF: &str = PORT.address;

fn to_vfio() -> Request {
    Request { driver: Some("vfio-pci".into()), ..Request::default() }
}

/// Plans and executes, as one run of the program does.
fn bind(tree: &Tree, kernel: &FakeKernel, names: &[&str], request: &Request) -> Result<Vec<Report>> {
    let devices: Vec<_> = names.iter().map(|name| tree.device(name)).collect();
    let plans = plan(&tree.roots, &Machine::read(&tree.roots, None), &devices, request)?;
    let (reports, result) = execute(kernel, &tree.roots, &plans);
    result.map(|()| reports)
}

#[test]
fn a_card_goes_to_vfio_and_comes_back_and_the_machine_is_as_it_was() {
    let tree = Tree::new(&[PORT]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[PORT]);
    let reports = bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap();
    assert_eq!((reports[0].state, reports[0].before.as_deref()), (State::Bound, Some("ixgbe")));
    assert_eq!(tree.driver_of(BDF).as_deref(), Some("vfio-pci"));
    assert_eq!(tree.device(BDF).driver_override, None, "the override lasts as long as the probe");
    assert_eq!(
        kernel.written.borrow()[..],
        ["driver_override vfio-pci", "unbind 0000:03:00.0", "drivers_probe 0000:03:00.0", "driver_override "]
    );
    let restored = restore(&kernel, &tree.roots, address(BDF), false).unwrap();
    assert_eq!((restored.state, restored.driver.as_deref()), (State::Restored, Some("ixgbe")));
    assert_eq!(tree.snapshot(), before);
    assert_eq!(restore(&kernel, &tree.roots, address(BDF), false).unwrap().state, State::Unchanged);
}

#[test]
fn what_is_bound_already_stays_untouched() {
    let tree = Tree::new(&[PORT]);
    let kernel = FakeKernel::new(&tree, &[PORT]);
    bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap();
    let (before, calls) = (tree.snapshot(), kernel.calls());
    assert_eq!(bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap()[0].state, State::Unchanged);
    assert_eq!((tree.snapshot(), kernel.calls()), (before, calls));
}

/// Kills a run of `act` at every call it makes, restores, and expects the
/// machine as it was before. Returns how many kills there were.
fn kill_everywhere(card: &Card, prepare: impl Fn(&Tree), act: impl Fn(&Tree, &FakeKernel)) -> usize {
    let make = || Tree::new(std::slice::from_ref(card));
    kills::kill_everywhere(card, make, prepare, act, |tree, kernel, before, call| {
        restore(kernel, &tree.roots, address(card.address), false).unwrap();
        assert_eq!(tree.snapshot(), *before, "killed in call {call}");
    })
}

#[test]
fn a_bind_killed_at_any_step_can_be_restored_to_the_byte() {
    let kills = kill_everywhere(
        &PORT,
        |_| (),
        |tree, kernel| {
            bind(tree, kernel, &[BDF], &to_vfio()).unwrap();
        },
    );
    assert_eq!(kills, 6, "journal written and renamed, four attributes");
}

#[test]
fn a_bind_without_an_iommu_killed_at_any_step_can_be_restored_to_the_byte() {
    let card = Card { group: None, ..PORT };
    let request = Request { noiommu: true, ..to_vfio() };
    let kills = kill_everywhere(
        &card,
        |_| (),
        |tree, kernel| {
            bind(tree, kernel, &[BDF], &request).unwrap();
        },
    );
    assert_eq!(kills, 7, "the switch besides");
}

#[test]
fn a_restore_killed_at_any_step_can_be_restored_again() {
    let bound = |tree: &Tree| {
        bind(tree, &FakeKernel::new(tree, &[PORT]), &[BDF], &to_vfio()).unwrap();
    };
    let kills = kill_everywhere(&PORT, bound, |tree, kernel| {
        restore(kernel, &tree.roots, address(BDF), false).unwrap();
    });
    assert_eq!(kills, 6, "four attributes, the journal and its temporary file");
}

#[test]
fn a_bind_killed_at_any_step_can_also_be_finished() {
    for call in 0..6 {
        let tree = Tree::new(&[PORT]);
        let before = tree.snapshot();
        let dying = FakeKernel::new(&tree, &[PORT]).dying_at(call);
        let died = catch_unwind(AssertUnwindSafe(|| bind(&tree, &dying, &[BDF], &to_vfio())));
        assert!(died.is_err_and(|cause| cause.is::<Died>()));
        let kernel = FakeKernel::new(&tree, &[PORT]);
        bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap();
        assert_eq!(tree.driver_of(BDF).as_deref(), Some("vfio-pci"));
        assert_eq!(tree.device(BDF).driver_override, None, "killed in call {call}");
        restore(&kernel, &tree.roots, address(BDF), false).unwrap();
        assert_eq!(tree.snapshot(), before, "killed in call {call}");
    }
}

#[test]
fn a_bind_that_fails_at_any_step_undoes_everything() {
    for call in 0..6 {
        let tree = Tree::new(&[PORT]);
        let before = tree.snapshot();
        let kernel = FakeKernel::new(&tree, &[PORT]).failing_at(call);
        let error = bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap_err();
        assert_eq!(error.kind(), Kind::Io, "{error}");
        assert_eq!(tree.snapshot(), before, "failed in call {call}");
    }
}

#[test]
fn what_cannot_even_be_undone_is_said_and_can_be_restored_later() {
    for call in 2..6 {
        let tree = Tree::new(&[PORT]);
        let before = tree.snapshot();
        let kernel = FakeKernel::new(&tree, &[PORT]).failing_from(call);
        let plans = plan(&tree.roots, &Machine::default(), &[tree.device(BDF)], &to_vfio()).unwrap();
        let (reports, result) = execute(&kernel, &tree.roots, &plans);
        assert!(result.is_err());
        assert_eq!(reports[0].state, State::Stuck, "failed from call {call}");
        restore(&FakeKernel::new(&tree, &[PORT]), &tree.roots, address(BDF), false).unwrap();
        assert_eq!(tree.snapshot(), before, "failed from call {call}");
    }
}

#[test]
fn a_driver_that_does_not_take_the_card_is_noticed_though_the_write_succeeded() {
    let tree = Tree::new(&[PORT]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[PORT]).with_shy("vfio-pci");
    let devices = [tree.device(BDF)];
    let plans = plan(&tree.roots, &Machine::default(), &devices, &to_vfio()).unwrap();
    let (reports, result) = execute(&kernel, &tree.roots, &plans);
    assert!(result.unwrap_err().to_string().contains("did not take it"));
    assert_eq!((reports[0].state, reports[0].driver.as_deref()), (State::RolledBack, Some("ixgbe")));
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn of_several_cards_all_are_bound_or_none() {
    let second = Card { address: "0000:03:00.1", interface: Some("eth2"), ..PORT };
    let cards = [PORT, second];
    let counting = Tree::new(&cards);
    let kernel = FakeKernel::new(&counting, &cards);
    bind(&counting, &kernel, &[BDF, "0000:03:00.1"], &to_vfio()).unwrap();
    for call in 0..kernel.calls() {
        let tree = Tree::new(&cards);
        let before = tree.snapshot();
        let kernel = FakeKernel::new(&tree, &cards).failing_at(call);
        bind(&tree, &kernel, &[BDF, "0000:03:00.1"], &to_vfio()).unwrap_err();
        assert_eq!(tree.snapshot(), before, "failed in call {call}");
    }
}

#[test]
fn a_rebinding_that_fails_goes_back_one_step_and_the_journal_still_knows_the_first() {
    let tree = Tree::new(&[PORT]);
    tree.driver("uio_pci_generic");
    let first = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[PORT]);
    bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap();
    let bound = tree.snapshot();
    let shy = FakeKernel::new(&tree, &[PORT]).with_shy("uio_pci_generic");
    bind(&tree, &shy, &[BDF], &Request { driver: Some("uio_pci_generic".into()), ..Request::default() }).unwrap_err();
    assert_eq!(tree.snapshot(), bound);
    restore(&kernel, &tree.roots, address(BDF), false).unwrap();
    assert_eq!(tree.snapshot(), first);
}

#[test]
fn binding_back_to_the_first_driver_is_restoring() {
    let tree = Tree::new(&[PORT]);
    let before = tree.snapshot();
    let kernel = FakeKernel::new(&tree, &[PORT]);
    bind(&tree, &kernel, &[BDF], &Request::default()).unwrap();
    assert_eq!(tree.driver_of(BDF), None);
    let report = bind(&tree, &kernel, &[BDF], &Request { driver: Some("ixgbe".into()), ..Request::default() }).unwrap();
    assert_eq!(report[0].state, State::Bound);
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn another_card_in_the_same_place_is_left_alone() {
    let tree = Tree::new(&[PORT]);
    let kernel = FakeKernel::new(&tree, &[PORT]);
    bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap();
    tree.put(tree.directory(BDF).join("device"), "0x1572\n");
    let report = restore(&kernel, &tree.roots, address(BDF), false).unwrap();
    assert_eq!(report.state, State::Unchanged);
    assert_eq!(tree.driver_of(BDF).as_deref(), Some("vfio-pci"));
}

#[test]
fn dangerous_requests_are_refused_and_change_nothing() {
    let neighbour = Card { address: "0000:03:00.1", interface: Some("eth2"), ..PORT };
    let bridge = Card { address: "0000:00:01.0", class: "0x060400", driver: Some("pcieport"), interface: None, ..PORT };
    let disk = Card {
        address: "0000:05:00.0",
        class: "0x010802",
        driver: Some("nvme"),
        interface: None,
        group: Some(5),
        ..PORT
    };
    let hidden = Card { interface: None, ..PORT };
    let in_use: &dyn Fn(&Tree) = &|tree| tree.address_v6("eth1");
    let nothing: &dyn Fn(&Tree) = &|_| ();
    type Case<'a> = (&'a [Card], &'a str, &'a dyn Fn(&Tree), &'a str);
    let cases: [Case<'_>; 4] = [
        (&[PORT], BDF, in_use, "eth1 has address 2001:db8::2/64"),
        (&[PORT, neighbour, bridge], BDF, nothing, "also holds 0000:03:00.1 (ixgbe, eth2)"),
        (&[disk], "0000:05:00.0", nothing, "is not a network card"),
        (&[hidden], BDF, nothing, "another network namespace"),
    ];
    for (cards, name, prepare, why) in cases {
        let tree = Tree::new(cards);
        prepare(&tree);
        let before = tree.snapshot();
        let kernel = FakeKernel::new(&tree, cards);
        let error = bind(&tree, &kernel, &[name], &to_vfio()).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains(why) && error.remedy().is_some(), "{error}");
        assert_eq!((tree.snapshot(), kernel.calls()), (before, 0));
    }
}

#[test]
fn force_goes_on_and_the_journal_tells_how_to_give_the_addresses_back() {
    let tree = Tree::new(&[PORT]);
    tree.address_v6("eth1");
    let kernel = FakeKernel::new(&tree, &[PORT]);
    bind(&tree, &kernel, &[BDF], &Request { force: true, ..to_vfio() }).unwrap();
    let restored = restore(&kernel, &tree.roots, address(BDF), false).unwrap();
    assert_eq!(restored.commands, ["ip link set eth1 up", "ip address add 2001:db8::2/64 dev eth1"]);
}

#[test]
fn a_whole_group_may_be_bound_together_and_bridges_may_stay() {
    let neighbour = Card { address: "0000:03:00.1", interface: Some("eth2"), ..PORT };
    let bridge = Card { address: "0000:00:01.0", class: "0x060400", driver: Some("pcieport"), interface: None, ..PORT };
    let cards = [PORT, neighbour, bridge];
    let tree = Tree::new(&cards);
    let kernel = FakeKernel::new(&tree, &cards);
    bind(&tree, &kernel, &[BDF, "0000:03:00.1"], &to_vfio()).unwrap();
    assert_eq!(tree.driver_of("0000:03:00.1").as_deref(), Some("vfio-pci"));
    assert_eq!(tree.driver_of("0000:00:01.0").as_deref(), Some("pcieport"));
}

#[test]
fn what_the_machine_lacks_is_explained_with_the_way_out() {
    let bare = Card { group: None, ..PORT };
    let noiommu = Request { noiommu: true, ..to_vfio() };
    let told = |tree: &Tree, request: &Request| {
        let error = bind(tree, &FakeKernel::new(tree, &[]), &[BDF], request).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        error.to_string()
    };
    let tree = Tree::new(std::slice::from_ref(&bare));
    assert!(told(&tree, &to_vfio()).contains("intel_iommu=on"));
    tree.put(tree.roots.sys.join("kernel/security/lockdown"), "none [integrity] confidentiality\n");
    assert!(told(&tree, &noiommu).contains("locked down (integrity"));
    tree.put(tree.roots.sys.join("kernel/security/lockdown"), "[none] integrity confidentiality\n");
    std::fs::remove_file(tree.roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode")).unwrap();
    assert!(told(&tree, &noiommu).contains("CONFIG_VFIO_NOIOMMU"));
    // The node could be given away, and nobody but root could open it.
    let given = Request { owner: Some((Some(1000), None)), ..noiommu };
    assert!(told(&Tree::new(std::slice::from_ref(&bare)), &given).contains("CAP_SYS_RAWIO"));
    let tree = Tree::new(&[PORT]);
    std::fs::remove_dir_all(tree.roots.pci().join("drivers/vfio-pci")).unwrap();
    assert!(told(&tree, &Request { no_modprobe: true, ..to_vfio() }).contains("modprobe vfio-pci"));
}

#[test]
fn a_missing_module_is_loaded_first() {
    let tree = Tree::new(&[PORT]);
    std::fs::remove_dir_all(tree.roots.pci().join("drivers/vfio-pci")).unwrap();
    let kernel = FakeKernel::new(&tree, &[PORT]);
    bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap();
    assert_eq!(tree.driver_of(BDF).as_deref(), Some("vfio-pci"));
}

#[test]
fn a_card_that_a_process_has_open_is_not_taken_from_under_it() {
    let tree = Tree::new(&[PORT]);
    let kernel = FakeKernel::new(&tree, &[PORT]);
    bind(&tree, &kernel, &[BDF], &to_vfio()).unwrap();
    tree.put(tree.roots.proc.join("123/comm"), "testpmd\n");
    std::fs::create_dir_all(tree.roots.proc.join("123/fd")).unwrap();
    std::os::unix::fs::symlink(tree.roots.dev.join("vfio/27"), tree.roots.proc.join("123/fd/9")).unwrap();
    let error = restore(&kernel, &tree.roots, address(BDF), false).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("process 123 (testpmd) has it open"), "{error}");
    restore(&kernel, &tree.roots, address(BDF), true).unwrap();
}

#[test]
fn the_node_goes_to_the_user_and_never_to_everybody() {
    use std::os::unix::fs::MetadataExt;
    let tree = Tree::new(&[PORT]);
    let kernel = FakeKernel::new(&tree, &[PORT]).with_late_nodes();
    let (user, group) = {
        let node = std::fs::metadata(tree.directory(BDF)).unwrap();
        (node.uid(), node.gid())
    };
    let request = Request { owner: Some((Some(user), Some(group))), ..to_vfio() };
    bind(&tree, &kernel, &[BDF], &request).unwrap();
    let node = std::fs::metadata(tree.roots.dev.join("vfio/27")).unwrap();
    assert_eq!((node.uid(), node.gid(), node.mode() & 0o777), (user, group, 0o660));
}

#[test]
fn where_vfio_has_no_groups_the_cards_own_node_and_iommufds_go_to_the_user() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let own = |tree: &Tree| std::fs::metadata(tree.directory(BDF)).map(|node| (node.uid(), node.gid())).unwrap();
    for (groups, given) in [(false, &["vfio/devices/vfio0", "iommu"][..]), (true, &["vfio/27"])] {
        let tree = Tree::new(&[PORT]);
        let kernel = FakeKernel::new(&tree, &[PORT]).with_late_nodes();
        let kernel = if groups { kernel } else { kernel.without_groups() };
        let (user, group) = own(&tree);
        let request = Request { owner: Some((Some(user), Some(group))), ..to_vfio() };
        std::fs::write(tree.roots.dev.join("iommu"), "").unwrap();
        std::fs::set_permissions(tree.roots.dev.join("iommu"), PermissionsExt::from_mode(0o600)).unwrap();
        bind(&tree, &kernel, &[BDF], &request).unwrap();
        for node in ["vfio/27", "vfio/devices/vfio0", "iommu"] {
            let mode = std::fs::metadata(tree.roots.dev.join(node)).map(|node| node.mode() & 0o777).ok();
            assert_eq!(mode == Some(0o660), given.contains(&node), "{node} with groups {groups}: {mode:?}");
        }
    }
}

/// A machine whose VFIO has no groups, and shows it.
fn without_groups() -> (Tree, FakeKernel, std::path::PathBuf) {
    let tree = Tree::new(&[PORT]);
    let kernel = FakeKernel::new(&tree, &[PORT]).with_late_nodes().without_groups();
    std::fs::create_dir_all(tree.roots.sys.join("class/vfio-dev")).unwrap();
    let node = tree.roots.dev.join("iommu");
    (tree, kernel, node)
}

#[test]
fn the_node_that_all_cards_share_loses_no_permission_and_keeps_its_group() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    for (mode, after) in [(0o660, 0o660), (0o666, 0o666), (0o400, 0o600)] {
        let (tree, kernel, node) = without_groups();
        // Without the right to it stays this user's.
        let _ = chown(&node, None, Some(4_242));
        std::fs::set_permissions(&node, PermissionsExt::from_mode(mode)).unwrap();
        let found = || std::fs::metadata(&node).unwrap();
        let group = found().gid();
        let user = found().uid();
        let request = Request { owner: Some((Some(user), None)), ..to_vfio() };
        bind(&tree, &kernel, &[BDF], &request).unwrap();
        assert_eq!((found().uid(), found().gid(), found().mode() & 0o777), (user, group, after), "{mode:o}");
    }
}

#[test]
fn a_node_that_another_group_has_is_found_before_anything_is_done() {
    use std::os::unix::fs::{MetadataExt, chown};
    let (tree, kernel, node) = without_groups();
    let _ = chown(&node, None, Some(4_242));
    let group = std::fs::metadata(&node).unwrap().gid();
    if group == 0 {
        println!("SKIPPED  a node of another group: none but root's can be had");
        return;
    }
    let before = tree.snapshot();
    let request = |group| Request { owner: Some((None, Some(group))), ..to_vfio() };
    let error = bind(&tree, &kernel, &[BDF], &request(group + 1)).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains(&format!("belongs to group {group}, which would lose it")), "{error}");
    assert_eq!((kernel.calls(), tree.snapshot()), (0, before));
    let plans = plan(&tree.roots, &Machine::read(&tree.roots, None), &[tree.device(BDF)], &request(group)).unwrap();
    assert!(plans[0].warnings[0].contains("until this machine boots again"), "{:?}", plans[0].warnings);
}
