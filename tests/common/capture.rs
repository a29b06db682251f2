//! What tests of `bmnic capture` as a program have in common.

#![allow(dead_code)] // each test program uses a part

use serde_json::Value;
use std::process::{Command, Output, Stdio};

pub fn bmnic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same, where a busy machine may lose packets and that is not the point.
pub fn lenient(words: &[&str]) -> Command {
    let mut command = bmnic(&words[..1]);
    command.args(["--allow-loss", "100%"]).args(&words[1..]);
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)))
}

pub fn count(document: &Value, field: &str) -> u64 {
    document.pointer(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {field} in {document}"))
}

/// Every packet that was seen is in the file, filtered, or lost by a named cause.
pub fn adds_up(document: &Value) {
    assert_eq!(count(document, "/lost/unaccounted"), 0, "{document}");
    let sum = count(document, "/captured")
        + count(document, "/filtered")
        + count(document, "/lost/disk_slow")
        + count(document, "/lost/disk_failed");
    assert_eq!(sum, count(document, "/received"), "{document}");
    let causes = document["lost"].as_object().unwrap().iter().filter(|(name, _)| *name != "total");
    assert_eq!(causes.map(|(_, count)| count.as_u64().unwrap()).sum::<u64>(), count(document, "/lost/total"));
}

/// A folder with a disk of 300 KiB mounted on it, or a word why there is none. The
/// test takes it off again.
pub fn small_disk() -> Option<tempfile::TempDir> {
    if Command::new("id").arg("-u").output().map_or(true, |id| id.stdout != b"0\n") {
        eprintln!("SKIPPED: mounting a small disk takes root");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=300k", "none"]).arg(dir.path()).status().unwrap();
    if !mounted.success() {
        eprintln!("SKIPPED: nothing can be mounted here");
        return None;
    }
    Some(dir)
}
