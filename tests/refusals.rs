//! The lists of what cards refuse, and of what real ones do, name tests that are there.

use std::fs;
use std::path::Path;

/// All that stands in Rust files below `directory`.
fn sources(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let text = entries.map(|path| match path.extension().is_some_and(|kind| kind == "rs") {
        true => fs::read_to_string(path).unwrap(),
        false if path.is_dir() => sources(&path),
        false => String::new(),
    });
    text.collect()
}

/// The cells of a row.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// What a list names as showing its rows: of each row, the words in its cell.
fn shown_by(list: &str) -> Vec<Vec<&str>> {
    let mut rows = list.lines().filter(|line| line.starts_with('|'));
    let header = cells(rows.next().unwrap());
    let column = header.iter().position(|title| *title == "shown by").expect("a list says what shows its rows");
    let words = |row| cells(row)[column].split('`').skip(1).step_by(2).collect();
    rows.skip(1).map(words).collect()
}

#[test]
fn whatever_is_named_as_showing_a_row_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = sources(&top.join("src")) + &sources(&top.join("tests"));
    let scenarios: String = fs::read_dir(top.join("scripts/guest/scenarios"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    for directory in ["tests/refusals", "tests/silicon"] {
        for list in fs::read_dir(top.join(directory)).unwrap() {
            let path = list.unwrap().path();
            let list = fs::read_to_string(&path).unwrap();
            let rows = shown_by(&list);
            assert!(rows.iter().filter(|row| !row.is_empty()).count() > 8, "{}", path.display());
            // What firmware refuses is shown, all of it.
            assert!(directory == "tests/silicon" || rows.iter().all(|row| !row.is_empty()), "a row without a test");
            for name in rows.into_iter().flatten() {
                // A test, a scenario of the lab, or a file of tests.
                let scenario = format!("scenario_{}()", name.replace('-', "_"));
                let there = all.contains(&format!("fn {name}("))
                    || scenarios.contains(&scenario)
                    || name.contains('/') && top.join(name).exists();
                assert!(there, "{}: there is no {name}", path.display());
            }
        }
    }
}
