//! What crosses PCIe for a packet, as a table and as a document.
//!
//! Counted, not timed: the same on every machine, but for a third decimal that says where
//! in their pages buffers and rings lie, and where in its ring a driver began.

use super::nics::Nic;
use super::rounds::{Found, Plan};
use crate::cli::output::{self, Output};
use crate::error::Result;
use serde_json::{Value, json};

/// What the columns are.
const LEGEND: &str = "stores: of the driver to the card; in and out: to the card and from it; lines: of descriptors, completions and indices; reads and writes: transactions that the card begins, of up to 512 and 256 bytes; bytes: of both, packets among them";

/// Columns: what they are called, and the fields that they are the sum of.
const COLUMNS: [(&str, usize, &[[&str; 2]]); 7] = [
    ("stores", 2, &[["doorbells", "stores"]]),
    ("lines in", 2, &[["descriptors_read", "lines"]]),
    ("lines out", 2, &[["descriptors_written", "lines"]]),
    ("reads", 2, &[["descriptors_read", "transactions"], ["data_read", "transactions"]]),
    ("bytes in", 1, &[["descriptors_read", "bytes"], ["data_read", "bytes"]]),
    ("writes", 2, &[["descriptors_written", "transactions"], ["data_written", "transactions"]]),
    ("bytes out", 1, &[["descriptors_written", "bytes"], ["data_written", "bytes"]]),
];

/// A row: the figures of one contender, or dashes of one that cannot have such bursts.
fn row(burst: usize, name: &str, crossing: &Value) -> Vec<String> {
    let figure =
        |fields: &[[&str; 2]]| -> Option<f64> { fields.iter().map(|[of, what]| crossing[of][what].as_f64()).sum() };
    let cell = |(_, digits, fields): &(&str, usize, &[[&str; 2]])| {
        figure(fields).map_or("-".into(), |figure| format!("{figure:.digits$}"))
    };
    [burst.to_string(), name.into()].into_iter().chain(COLUMNS.iter().map(cell)).collect()
}

/// The table.
pub fn print(nic: &Nic, plan: &Plan, found: &[Found], output: &Output) -> Result<()> {
    output.result("\nwhat crosses PCIe for a packet, receive + send: counted")?;
    let heads: Vec<&str> = ["burst", "driver"].into_iter().chain(COLUMNS.map(|(name, ..)| name)).collect();
    let mut table = output::table(&heads, 2);
    for (at, burst) in plan.bursts.iter().enumerate() {
        for (way, found) in nic.ways.iter().zip(found) {
            table.add_row(row(*burst, way.name, &found.crossings[at][0]));
        }
        table.add_row(row(*burst, "bmnic", &found[0].crossings[at][1]));
    }
    output.table(&table)?;
    Ok(output.info(LEGEND)?)
}

/// The document of one way.
pub fn document(plan: &Plan, found: &Found) -> Value {
    let rows = plan.bursts.iter().zip(&found.crossings);
    rows.map(|(burst, [dpdk, bmnic, _])| json!({ "burst": burst, "dpdk": dpdk, "bmnic": bmnic })).collect()
}
