//! Completion in real shells, of a machine of plain files: cards, their options, values, files.

#[path = "common/fake_sysfs.rs"]
mod fake_sysfs;

use fake_sysfs::{Card, PORT, Tree};
use std::fs;
use std::path::Path;
use std::process::Command;

const BASH: &str = r#"
source "$1/bmnic.bash"
COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9
words=${2//[:=]/ & }
read -ra COMP_WORDS <<<"$words"
[[ $2 == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_bmnic bmnic "${2##*[ :=]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// compsys runs on a terminal alone, so what it is told is printed.
const ZSH: &str = r#"
compdef() { }
compadd() { local list=$argv[-1]; print -l -- ${(P)list} }
_files() { print -l -- $words[CURRENT]*(N) }
_arguments() { print other }
autoload() { }
is-at-least() { true }
source "$1/_bmnic"
words=("${(@s: :)2}") CURRENT=$#words
_bmnic
"#;

const FISH: &str = r#"
source "$argv[1]/bmnic.fish"
complete -C "$argv[2]" | string split -f 1 \t
"#;

/// What `shell` offers at the end of a line, sorted; none if it is not installed.
fn offered(shell: &str, line: &str, tree: &Tree) -> Option<Vec<String>> {
    let script = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        _ => FISH,
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let program = Path::new(env!("CARGO_BIN_EXE_bmnic")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let folder = tree.roots.run.parent().unwrap();
    let mut command = Command::new(shell);
    if shell == "zsh" {
        command.arg("-f");
    }
    command.args(["-c", script]);
    if shell != "fish" {
        command.arg(shell);
    }
    command.arg(scripts).arg(line).current_dir(folder).env("PATH", path).env("HOME", folder);
    command.env("BMNIC_SYS_ROOT", &tree.roots.sys).env("BMNIC_RUN_ROOT", &tree.roots.run);
    let output = match command.output() {
        Ok(output) => output,
        Err(_) => {
            println!("SKIPPED  completion in {shell}: it is not installed");
            return None;
        }
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{shell}, {line}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<String> = text.lines().filter(|word| !word.is_empty()).map(String::from).collect();
    found.sort();
    Some(found)
}

/// A machine with two cards, one of which has an interface, and a capture in the folder.
fn machine() -> Tree {
    let tree = Tree::new(&[PORT, Card { address: "0000:82:00.1", driver: None, interface: None, ..PORT }]);
    fs::write(tree.roots.run.parent().unwrap().join("old.pcap"), "").unwrap();
    tree
}

/// A line, and what is offered for its last word; bash is told what is behind the last : or =.
const CASES: &[(&str, &[&str])] = &[
    ("bmnic fwd 0000:", &["0000:03:00.0", "0000:82:00.1"]),
    ("bmnic fwd 82", &["82:00.1"]),
    ("bmnic fwd 03:00.0 82:0", &["82:00.1"]),
    ("bmnic capture -i packet:", &["packet:eth1"]),
    ("bmnic pktgen --device xd", &["xdp:eth1"]),
    ("bmnic fwd emu:825", &["emu:82599"]),
    ("bmnic latency emu:82599,wire=pc", &["emu:82599,wire=pcap:"]),
    ("bmnic latency emu:82599,queues=2,fault=rx-d", &["emu:82599,queues=2,fault=rx-dup"]),
    ("bmnic emulate x55", &["x550"]),
    ("bmnic fwd --mode mac", &["mac", "macswap"]),
    ("bmnic capture -w old", &["old.pcap"]),
    ("bmnic fwd -d 1", &[]),
    ("bmnic check --peer 03", &["03:00.0"]),
    ("bmnic check pac", &[]),
    ("bmnic bind emu", &[]),
];

fn agrees(shell: &str) {
    let tree = machine();
    for (line, wanted) in CASES {
        let Some(found) = offered(shell, line, &tree) else { return };
        let word = line.rsplit(' ').next().unwrap();
        let cut = if shell == "bash" { word.rfind([':', '=']).map_or(0, |at| at + 1) } else { 0 };
        let wanted: Vec<&str> = wanted.iter().map(|word| &word[cut..]).collect();
        assert_eq!(found, wanted, "{shell}: {line}");
    }
}

#[test]
fn bash_offers_what_there_is() {
    agrees("bash");
    let tree = machine();
    let options = offered("bash", "bmnic fwd --un", &tree).unwrap();
    assert_eq!(options, ["--unidirectional"], "what stands in the script is still offered");
    assert_eq!(offered("bash", "bmnic pktgen --device=emu:825", &tree).unwrap(), ["82599"]);
}

#[test]
fn zsh_offers_what_there_is() {
    agrees("zsh");
    if let Some(found) = offered("zsh", "bmnic pktgen --device=emu:825", &machine()) {
        assert_eq!(found, ["--device=emu:82599"]);
    }
    if let Some(found) = offered("zsh", "bmnic fwd --un", &machine()) {
        assert_eq!(found, ["other"], "what stands in the script is left to it");
    }
}

#[test]
fn fish_offers_what_there_is() {
    agrees("fish");
    if let Some(found) = offered("fish", "bmnic pktgen --device=emu:825", &machine()) {
        assert_eq!(found, ["--device=emu:82599"]);
    }
    if let Some(found) = offered("fish", "bmnic fwd --un", &machine()) {
        assert_eq!(found, ["--unidirectional"]);
    }
}
