//! `scripts/install`: what it puts where, twice and over an older version, and that it takes
//! nothing else away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs the script on this build of the program.
fn script(words: &[&str], variables: &[(&str, &Path)]) -> Output {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(home.join("scripts/install"));
    command.args(words).env_remove("DESTDIR").env("BINARY", env!("CARGO_BIN_EXE_bmnic"));
    command.envs(variables.iter().copied()).output().unwrap()
}

fn done(words: &[&str], variables: &[(&str, &Path)]) -> String {
    let output = script(words, variables);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// All files below a folder, with their permissions and sizes, and all folders.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, u64)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = fs::metadata(&path).unwrap();
            if facts.is_dir() {
                left.push(path.clone());
            }
            let size = if facts.is_dir() { 0 } else { facts.len() };
            found.insert(path.strip_prefix(root).unwrap().into(), (facts.permissions().mode() & 0o777, size));
        }
    }
    found
}

fn place() -> (TempDir, PathBuf, String) {
    let temp = tempfile::tempdir().unwrap();
    let prefix = temp.path().join("local folder");
    let word = prefix.to_str().unwrap().to_string();
    (temp, prefix, word)
}

#[test]
fn it_installs_what_works_and_uninstalls_all_of_it() {
    let (temp, prefix, word) = place();
    done(&["--prefix", &word], &[]);
    let found = tree(&prefix);
    for (file, mode) in [
        ("bin/bmnic", 0o755),
        ("share/man/man1/bmnic.1", 0o644),
        ("share/man/man1/bmnic-man.1", 0o644),
        ("share/bash-completion/completions/bmnic", 0o644),
        ("share/fish/vendor_completions.d/bmnic.fish", 0o644),
        ("share/zsh/site-functions/_bmnic", 0o644),
    ] {
        assert_eq!(found.get(Path::new(file)).map(|(mode, _)| *mode), Some(mode), "{file}: {found:?}");
    }
    let version = Command::new(prefix.join("bin/bmnic")).arg("--version").output().unwrap();
    assert!(version.status.success() && version.stdout.starts_with(b"bmnic "));

    done(&["--prefix", &word], &[]);
    assert_eq!(tree(&prefix), found, "a second time changes nothing");
    done(&["--prefix", &word, "--uninstall"], &[]);
    assert_eq!(tree(temp.path()), BTreeMap::new());
}

#[test]
fn what_others_put_there_or_changed_is_left() {
    let (temp, prefix, word) = place();
    fs::create_dir_all(prefix.join("bin")).unwrap();
    fs::write(prefix.join("bin/bmnic"), "another").unwrap();
    let refused = script(&["--prefix", &word], &[]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{errors}");
    assert!(errors.lines().count() == 1 && errors.contains("bin/bmnic"), "{errors}");
    assert_eq!(tree(&prefix).len(), 2, "nothing was changed");

    fs::remove_file(prefix.join("bin/bmnic")).unwrap();
    done(&["--prefix", &word], &[]);
    let page = prefix.join("share/man/man1/bmnic.1");
    fs::write(&page, "mine").unwrap();
    let text = done(&["--prefix", &word, "--uninstall"], &[]);
    assert!(text.contains("bmnic.1, which was changed"), "{text}");
    let left: Vec<PathBuf> = tree(temp.path()).into_keys().filter(|path| temp.path().join(path).is_file()).collect();
    assert_eq!(left, [page.strip_prefix(temp.path()).unwrap()]);
    assert!(prefix.join("bin").is_dir(), "a folder that was there before");
}

#[test]
fn a_newer_version_takes_the_place_of_an_older_one() {
    let (temp, prefix, word) = place();
    let old = temp.path().join("old");
    fs::write(&old, "#!/bin/sh\n").unwrap();
    done(&["--prefix", &word], &[("BINARY", &old)]);
    // A page that the newer one does not have.
    let list = prefix.join("share/bmnic/installed");
    let page = "share/man/man1/bmnic-man.1";
    fs::write(&list, fs::read_to_string(&list).unwrap().replace(page, "share/man/man1/bmnic-gone.1")).unwrap();
    fs::rename(prefix.join(page), prefix.join("share/man/man1/bmnic-gone.1")).unwrap();
    done(&["--prefix", &word], &[]);
    let found = tree(&prefix);
    assert!(found.contains_key(Path::new(page)) && !found.contains_key(Path::new("share/man/man1/bmnic-gone.1")));
    assert_eq!(found[Path::new("bin/bmnic")].1, fs::metadata(env!("CARGO_BIN_EXE_bmnic")).unwrap().len());
    done(&["--prefix", &word, "--uninstall"], &[]);
    assert!(!prefix.exists());
}

#[test]
fn what_was_cut_short_can_be_finished_or_removed() {
    let (temp, prefix, word) = place();
    // A folder where the last file belongs ends it there.
    let block = prefix.join("share/zsh/site-functions");
    fs::create_dir_all(block.parent().unwrap()).unwrap();
    fs::write(&block, "").unwrap();
    assert!(!script(&["--prefix", &word], &[]).status.success());
    assert!(!tree(&prefix).keys().any(|path| path.to_string_lossy().contains("/.bmnic.")), "half a file");
    assert!(prefix.join("bin/bmnic").is_file(), "it got so far");
    done(&["--prefix", &word, "--uninstall"], &[]);
    let left: Vec<PathBuf> = tree(temp.path()).into_keys().filter(|path| temp.path().join(path).is_file()).collect();
    assert_eq!(left, [block.strip_prefix(temp.path()).unwrap()]);
}

#[test]
fn destdir_is_put_before_the_prefix_and_bad_words_are_one_line() {
    let temp = tempfile::tempdir().unwrap();
    done(&["--prefix", "/usr"], &[("DESTDIR", temp.path())]);
    assert!(temp.path().join("usr/bin/bmnic").is_file());
    let list = fs::read_to_string(temp.path().join("usr/share/bmnic/installed")).unwrap();
    assert!(!list.contains(temp.path().to_str().unwrap()), "a package goes elsewhere");
    for (words, code) in [
        (&["--prefix"][..], 2),
        (&["--prefix", "here"], 2),
        (&["--all"], 2),
        (&["--uninstall", "--prefix", "/nowhere"], 1),
    ] {
        let output = script(words, &[]);
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{words:?}");
    }
}
