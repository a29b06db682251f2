//! Kills of a run that changes a machine of plain files, one at every call of the kernel.

use crate::fake_sysfs::{Card, Died, FakeKernel, Tree};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Kills a run of `act` at every call it makes on a machine that `make` makes with this card, and
/// that is prepared. `undone` undoes what is left, and expects what was there before it was
/// prepared; it is told which call it was. Returns how many kills there were.
pub fn kill_everywhere(
    card: &Card,
    make: impl Fn() -> Tree,
    prepare: impl Fn(&Tree),
    act: impl Fn(&Tree, &FakeKernel),
    undone: impl Fn(&Tree, &FakeKernel, &BTreeMap<PathBuf, String>, usize),
) -> usize {
    let card = std::slice::from_ref(card);
    for call in 0.. {
        let tree = make();
        let before = tree.snapshot();
        prepare(&tree);
        let dying = FakeKernel::new(&tree, card).dying_at(call);
        let died = catch_unwind(AssertUnwindSafe(|| act(&tree, &dying))).is_err_and(|cause| cause.is::<Died>());
        undone(&tree, &FakeKernel::new(&tree, card), &before, call);
        if !died {
            return call;
        }
    }
    unreachable!("a run that makes no end of calls")
}
