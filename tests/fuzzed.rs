//! Every input in `fuzz/corpus`, through the bodies that `scripts/fuzz` runs.

#[path = "common/families.rs"]
mod families;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/silicon/mod.rs"]
mod silicon;
#[path = "fuzz/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use targets::Target;

/// The names of a folder.
fn names(folder: &std::path::Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_input_that_was_kept_is_stood() {
    let mut inputs = 0;
    for target in targets::all() {
        let folder = target.corpus();
        for name in names(&folder) {
            println!("{}/{name}", target.name);
            target.run(&fs::read(folder.join(name)).unwrap());
            inputs += 1;
        }
    }
    assert!(inputs > 100, "{inputs} inputs");
}

/// As many as `BMNIC_FUZZ_INPUTS` says, or few; of the targets whose names begin with `BMNIC_FUZZ`.
#[test]
fn inputs_by_dice_are_stood() {
    let inputs = std::env::var("BMNIC_FUZZ_INPUTS").map_or(3, |text| text.parse().unwrap());
    let wanted = std::env::var("BMNIC_FUZZ").unwrap_or_default();
    for target in targets::all().filter(|target| target.name.starts_with(&wanted)) {
        println!("{}", targets::try_out(&target, inputs));
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let mut targets: BTreeSet<String> = targets::all().map(|target: Target| target.name).collect();
    // Those of the inside, which tests of the inside run.
    targets.extend(["instruction", "program"].map(str::to_owned));
    assert_eq!(names(&targets::corpora()), targets);
}

/// The rings of every family take completions by dice: few here, as many as one likes with
/// `scripts/fuzz --completions`.
#[test]
fn rings_of_every_family_take_completions() {
    for target in targets::all().filter(|target| target.name.starts_with("rings-")) {
        println!("{}", targets::count(&target, 5_000));
    }
}
