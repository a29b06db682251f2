//! `bmnic completions`: completion scripts, made from the clap definition.
//!
//! ```text
//!   definition --clap_complete--> script of the shell: commands, options
//!        |                           |  what stands at the cursor?
//!        |                           v
//!        +---------------------> completions SHELL -- WORDS: values that take this machine
//! ```
//!
//! Which cards there are a script cannot know, so the shell asks bmnic for what may stand in
//! place of the last word. Where that is no value of an option, nor a positional argument,
//! there is no answer, and the script that clap_complete makes goes on.

mod cards;
mod place;

use super::{Cli, Context, Outcome};
use crate::sys;
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use place::Place;
use std::ffi::OsString;
use std::io::Write;

/// Arguments of `bmnic completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to print it for
    pub shell: Shell,
    /// Command line whose last word is to be completed, as the scripts ask
    #[arg(last = true, hide = true, value_name = "WORD")]
    words: Vec<OsString>,
}

/// What may stand at a place: a word, and what it is.
type Candidate = (String, String);

/// Prints the script, or what the script asks for.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let answer = if args.words.is_empty() { script(args.shell) } else { answer(&args, context).into_bytes() };
    sys::standard_output()?.write_all(&answer)?;
    Ok(Outcome::Done)
}

/// What may stand in place of the last word: `words` or `files` on the first line, then a
/// candidate a line, in zsh and fish with a tab and what it is. Nothing where the script knows.
fn answer(args: &Args, context: &Context) -> String {
    let mut definition = Cli::command();
    definition.build();
    let words: Vec<String> = args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some(Place { command, argument, before, value }) = place::of(&definition, &words) else {
        return String::new();
    };
    let mut found: Vec<Candidate> = if let Some(which) = cards::of(command, argument) {
        cards::candidates(&context.roots, which, value)
    } else {
        let known = argument.get_possible_values();
        let visible = known.iter().filter(|known| !known.is_hide_set());
        let told = |known: &clap::builder::PossibleValue| known.get_help().map(ToString::to_string).unwrap_or_default();
        visible.map(|known| (known.get_name().to_string(), told(known))).collect()
    };
    found.retain(|(word, _)| word.starts_with(value));
    // fish completes what is behind --option= by itself.
    let before = if args.shell == Shell::Fish { "" } else { before };
    let mut answer = String::from(if takes_files(argument) { "files\n" } else { "words\n" });
    for (word, what) in found {
        let what = if args.shell == Shell::Bash { String::new() } else { format!("\t{what}") };
        answer += &format!("{before}{word}{what}\n");
    }
    answer
}

/// Whether its value is a file, or may be one.
fn takes_files(argument: &Arg) -> bool {
    matches!(argument.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath)
}

/// How a shell asks, put where it begins to complete; what it does for the words of the answer.
const ASK: [(Shell, &str, &str, &str); 2] = [
    (Shell::Bash, "_bmnic() {\n", "    _bmnic_ask \"$2\" && return\n", include_str!("completions/ask.bash")),
    (Shell::Zsh, "_bmnic() {\n", "    _bmnic_ask && return\n", include_str!("completions/ask.zsh")),
];

/// The completion script of `shell`.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bmnic", &mut script);
    let Ok(mut text) = String::from_utf8(script) else { return Vec::new() };
    if let Some((_, begin, call, functions)) = ASK.iter().find(|(of, ..)| *of == shell) {
        text = text.replacen(begin, &format!("{functions}\n{begin}{call}"), 1);
    }
    if shell == Shell::Fish {
        text += &fish(&mut Cli::command());
    }
    text.into_bytes()
}

/// The lines by which fish asks, one for each option and command that has cards.
fn fish(definition: &mut Command) -> String {
    let mut text = format!("\n{}", include_str!("completions/ask.fish"));
    definition.build();
    for command in definition.get_subcommands() {
        let cards = || command.get_arguments().filter(|argument| cards::of(command, argument).is_some());
        let line = format!("complete -c bmnic -n \"__fish_bmnic_using_subcommand {}\"", command.get_name());
        for option in cards().filter_map(|argument| argument.get_long()) {
            text += &format!("{line} -l {option} -r -f -a '(__fish_bmnic_ask)'\n");
        }
        for letter in cards().filter_map(|argument| argument.get_short()) {
            text += &format!("{line} -s {letter} -r -f -a '(__fish_bmnic_ask)'\n");
        }
        if let Some(positional) = cards().find(|argument| argument.is_positional()) {
            let alone = if takes_files(positional) { "" } else { "-f " };
            text += &format!("{line} {alone}-a '(__fish_bmnic_ask)'\n");
        }
    }
    text
}
