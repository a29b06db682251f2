//! Which argument the last word of a command line is a value of.

use clap::{Arg, Command};

/// A place for a value.
#[derive(Debug)]
pub struct Place<'a> {
    /// The subcommand that it belongs to.
    pub command: &'a Command,
    pub argument: &'a Arg,
    /// What stands in the same word before the value: `--device=`, or nothing.
    pub before: &'a str,
    /// What there is of the value.
    pub value: &'a str,
}

/// The place at the end of `words`, whose first is the program; none where an option or a
/// command is to stand.
pub fn of<'a>(definition: &'a Command, words: &'a [String]) -> Option<Place<'a>> {
    let (last, words) = words.split_last()?;
    let mut words = words.iter().skip(1).map(String::as_str);
    let (mut command, mut positional, mut escaped) = (definition, 0, false);
    let mut owner = None;
    while let Some(word) = words.next() {
        if escaped || !word.starts_with('-') || word == "-" {
            match command.find_subcommand(word).filter(|_| command.has_subcommands()) {
                Some(subcommand) => command = subcommand,
                None => positional += 1,
            }
        } else if word == "--" {
            escaped = true;
        } else if let Some(option) = waiting(command, word)
            && words.next().is_none()
        {
            owner = Some(option);
        }
    }
    let place = |argument, before, value| Some(Place { command, argument, before, value });
    if let Some(option) = owner {
        return place(option, "", last);
    }
    if !escaped && let Some(rest) = last.strip_prefix("--") {
        let (name, value) = rest.split_once('=')?;
        return place(long(command, name)?, &last[..last.len() - value.len()], value);
    }
    if !escaped && last.starts_with('-') {
        return None;
    }
    let positionals: Vec<&Arg> = command.get_positionals().filter(|one| escaped == one.is_last_set()).collect();
    let of_all = |argument: &&Arg| argument.get_num_args().is_some_and(|number| number.max_values() > 1);
    let nth = positionals.get(positional).or(positionals.last().filter(|last| of_all(last)));
    place(*nth?, "", last)
}

/// The option that takes the next word as its value.
fn waiting<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let needs = |option: &&Arg| {
        let least = option.get_num_args().map_or(1, |number| number.min_values());
        option.get_action().takes_values() && least > 0
    };
    if let Some(name) = word.strip_prefix("--") {
        return long(command, name).filter(needs);
    }
    // The first letter that takes a value takes the letters behind it.
    let letters = &word[1..];
    let (at, option) = letters.char_indices().find_map(|(at, letter)| {
        let option = command.get_arguments().find(|option| option.get_short() == Some(letter))?;
        option.get_action().takes_values().then_some((at, option))
    })?;
    let last = letters[at..].chars().count() == 1;
    Some(option).filter(|option| last && needs(option))
}

fn long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|option| option.get_long() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    /// Command and argument at the end of a line, what stands before the value, and the value.
    fn found(line: &str) -> Option<String> {
        let mut definition = Cli::command();
        definition.build();
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let Place { command, argument, before, value } = of(&definition, &words)?;
        Some(format!("{} {} {before}|{value}", command.get_name(), argument.get_id()))
    }

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        for (line, place) in [
            ("bmnic fwd 03:0", "fwd ports |03:0"),
            ("bmnic --json fwd -u --mode mac a emu:8", "fwd ports |emu:8"),
            ("bmnic capture -i emu:", "capture device |emu:"),
            ("bmnic capture -qi ", "capture device |"),
            ("bmnic capture --device=pa", "capture device --device=|pa"),
            ("bmnic fwd --mode m", "fwd mode |m"),
            ("bmnic pktgen --respond emu", "pktgen port |emu"),
            ("bmnic emulate 8", "emulate card |8"),
            ("bmnic emulate 82599 -- x", "emulate command |x"),
            ("bmnic man f", "man command |f"),
        ] {
            assert_eq!(found(line).as_deref(), Some(place), "{line}");
        }
    }

    #[test]
    fn options_and_commands_are_no_values() {
        for line in ["bmnic ", "bmnic fw", "bmnic fwd -", "bmnic fwd --mo", "bmnic list x", "bmnic fwd --nonsense=x"] {
            assert_eq!(found(line), None, "{line}");
        }
    }
}
