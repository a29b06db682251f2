//! The schemas of `tests/schema`: one for each command, and what they share.

#![allow(dead_code)] // each test program uses a part

use jsonschema::Registry;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What stands before their names.
const BASE: &str = "bmnic:///1/";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/schema")
}

/// All of them, by name.
pub fn all() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(directory()).unwrap().map(|file| file.unwrap().path());
    let schema = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let schema = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), schema)
    };
    files.map(schema).collect()
}

/// What of `document` is not as the schema `name` has it, a line each.
pub fn faults(name: &str, document: &Value) -> Vec<String> {
    let all = all();
    let schema = all.get(name).unwrap_or_else(|| panic!("there is no schema of '{name}'"));
    let mut registry = Registry::new();
    for (name, schema) in &all {
        registry = registry.add(format!("{BASE}{name}.json"), schema).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let validator = jsonschema::options().offline().with_registry(&registry).build(schema).unwrap();
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Whether a document is as the schema of its command has it, or as that of errors.
pub fn judge(document: &Value) {
    let name = if document.get("error").is_some() { "error" } else { document["command"].as_str().unwrap_or("?") };
    let faults = faults(name, document);
    assert!(faults.is_empty(), "{name}:\n{}\n{document:#}", faults.join("\n"));
}

/// The document that a command printed, which is as its schema has it.
pub fn document(printed: &[u8]) -> Value {
    let text = || String::from_utf8_lossy(printed);
    let document: Value = serde_json::from_slice(printed).unwrap_or_else(|error| panic!("{error}: {}", text()));
    judge(&document);
    document
}
