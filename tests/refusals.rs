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

#[test]
fn each_test_that_is_named_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = sources(&top.join("src")) + &sources(&top.join("tests"));
    for list in fs::read_dir(top.join("tests/refusals")).unwrap() {
        let list = fs::read_to_string(list.unwrap().path()).unwrap();
        let rows: Vec<&str> = list.lines().filter_map(|line| line.rsplit_once(" | ").map(|(_, tests)| tests)).collect();
        assert!(rows.len() > 20);
        for test in rows.iter().skip(1).flat_map(|row| row.split('`').skip(1).step_by(2)) {
            assert!(all.contains(&format!("fn {test}(")), "no test {test}");
        }
        assert!(rows.iter().skip(1).all(|row| row.contains('`')), "a row without a test");
    }
}

#[test]
fn each_test_that_is_named_of_real_cards_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = sources(&top.join("src")) + &sources(&top.join("tests"));
    for list in fs::read_dir(top.join("tests/silicon")).unwrap() {
        let list = fs::read_to_string(list.unwrap().path()).unwrap();
        let words = list.lines().filter(|line| line.starts_with('|')).flat_map(|row| row.split('`').skip(1).step_by(2));
        // Tests have long names of small letters; whatever else is named has not.
        let is_test = |word: &&str| {
            word.matches('_').count() > 2
                && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let tests: Vec<&str> = words.filter(is_test).collect();
        assert!(!tests.is_empty());
        for test in tests {
            assert!(all.contains(&format!("fn {test}(")), "no test {test}");
        }
    }
}
