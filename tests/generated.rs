//! Files that are made from the clap definition: completions/, man/ and the
//! README's table of subcommands. A change of the definition without them fails
//! here; `BMNIC_REGENERATE=1 cargo test --test generated` writes them anew.

use bmnic::cli::{Cli, ENVIRONMENT, EXIT_CODES, examples};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use roff::{Roff, bold, roman};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

/// The crate's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn regenerate() -> bool {
    std::env::var_os("BMNIC_REGENERATE").is_some_and(|value| value == "1")
}

/// The files of a folder are these and no others, byte for byte.
fn agree(folder: &str, wanted: &[(String, Vec<u8>)]) {
    let folder = root().join(folder);
    if regenerate() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in wanted {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let hint = "run `BMNIC_REGENERATE=1 cargo test --test generated` and commit what it writes";
    for (name, bytes) in wanted {
        let path = folder.join(name);
        let found = fs::read(&path).unwrap_or_default();
        assert!(found == *bytes, "{} is not what the clap definition says; {hint}", path.display());
    }
    let mut found: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| !wanted.iter().any(|(name, _)| path.ends_with(name)));
    assert!(found.is_empty(), "{found:?}: nothing makes these; {hint}");
}

/// The definition with the parts that clap adds itself, on a machine that sets
/// none of the options' variables.
fn definition() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

#[test]
fn completions_are_what_the_definition_says() {
    let script = |shell: &str, name: &str| {
        let printed = Process::new(env!("CARGO_BIN_EXE_bmnic")).args(["completions", shell]).output().unwrap();
        assert!(printed.status.success() && !printed.stdout.is_empty(), "{shell}");
        (name.to_string(), printed.stdout)
    };
    let all = [script("bash", "bmnic.bash"), script("zsh", "_bmnic"), script("fish", "bmnic.fish")];
    for (name, text) in &all {
        assert!(String::from_utf8_lossy(text).matches("_bmnic_ask").count() > 1, "{name} does not ask for cards");
    }
    agree("completions", &all);
}

/// A part of `--help` under a heading: a list where its lines begin with a number, which
/// ends at the first line that does not.
fn section(page: &mut Roff, heading: &str, text: &str) {
    page.control("SH", [heading]);
    let mut listed = false;
    for line in text.lines().map(str::trim) {
        match line.split_once("  ") {
            Some((number, what)) if number.parse::<u8>().is_ok() => {
                page.control("TP", []).text([bold(number)]).text([roman(what.trim())]);
                listed = true;
                continue;
            }
            _ if line.is_empty() || listed => _ = page.control("PP", []),
            _ => {}
        }
        listed = false;
        page.text([roman(line)]);
    }
}

/// The page of a command: what clap_mangen makes of the definition, and the sections that a
/// reader of man pages looks for.
fn page(command: Command) -> (String, Vec<u8>) {
    let name = command.get_name().to_owned();
    let several = command.has_subcommands();
    let man = Man::new(command).manual("bmnic").source(concat!("bmnic ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    if several {
        man.render_subcommands_section(&mut text).unwrap();
    }
    let mut rest = Roff::new();
    let (_, codes) = EXIT_CODES.split_once('\n').unwrap();
    section(&mut rest, "EXIT STATUS", codes);
    let (_, rule) = ENVIRONMENT.split_once('\n').unwrap();
    section(&mut rest, "ENVIRONMENT", rule);
    rest.control("SH", ["EXAMPLES"]);
    for (line, what) in examples::of(&name) {
        rest.control("TP", []).text([bold(*line)]).text([roman(*what)]);
    }
    if !several {
        rest.control("SH", ["SEE ALSO"]).text([bold("bmnic"), roman("(1)")]);
    }
    rest.to_writer(&mut text).unwrap();
    (man.get_filename(), text)
}

#[test]
fn man_pages_are_what_the_definition_says() {
    let whole = definition();
    let mut pages: Vec<_> = whole.get_subcommands().cloned().map(page).collect();
    pages.push(page(whole));
    assert!(pages.iter().any(|(name, _)| name == "bmnic-fwd.1"), "one page a subcommand");
    agree("man", &pages);
}

/// Where the README's table of subcommands is.
const BEGIN: &str = "<!-- subcommands: written by tests/generated.rs -->\n";
const END: &str = "<!-- end of subcommands -->\n";

#[test]
fn the_readme_lists_every_subcommand_as_the_definition_does() {
    let mut table = String::from("| subcommand | what it does |\n|---|---|\n");
    for command in definition().get_subcommands() {
        table += &format!("| `bmnic {}` | {} |\n", command.get_name(), command.get_about().unwrap());
    }
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the mark where the table begins");
    let (found, after) = rest.split_once(END).expect("README.md has the mark where the table ends");
    if regenerate() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, table, "run `BMNIC_REGENERATE=1 cargo test --test generated`");
    }
}

#[test]
fn every_subcommand_and_option_says_what_it_is_for() {
    for command in definition().get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
    }
}
