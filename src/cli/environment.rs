//! The environment: a variable for each option, `BMNIC_DURATION` for `--duration`.
//!
//! ```text
//!   command line --parse--> what is given
//!   BMNIC_*      --those that are set, not given and not in the way--> --option=value
//!                                                                       |
//!                                    both, parsed as one command line <-+
//! ```
//!
//! What is on the command line wins: over the variable of the same option, and
//! over that of one that cannot go with it. A variable that is set to nothing is
//! not set. An error that a variable makes names the variable.

use super::one_line;
use crate::error::{Error, Kind};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Parser};
use std::ffi::OsString;
use std::{env, process};

/// Commands whose own options have no variable: they change the machine, and
/// what they are to do to it is said each time.
const SAID: [&str; 3] = ["bind", "hugepages", "tune"];

/// Options without a variable: those that write over a file, `--restore-on-exit`, which changes
/// the machine, and `--loop`, which is a switch in one command and a number in another.
const NOT: [&str; 14] = [
    "write",
    "hgrm",
    "hlog",
    "svg",
    "html",
    "raw",
    "export-csv",
    "export-markdown",
    "export-json",
    "trace",
    "repair",
    "report",
    "restore-on-exit",
    "loop",
];

/// Variables that are no options: where the kernel's files are
/// ([`crate::sys::Roots::from_env`]), which a program that is started here needs too.
const ROOTS: &str = "_ROOT";

/// The rule, for `--help` and the man page.
pub const RULE: &str = "\
Environment:
  An option that is not given is taken from a variable of its name, BMNIC_DURATION
  for --duration; a switch is 1, true, yes or on, or 0, false, no or off. What is
  given wins, also over the variable of an option that cannot go with it. None
  have: bind, hugepages and tune, --write, --hgrm, --hlog, --svg, --html, --raw,
  --export-csv, --export-markdown, --export-json, --trace, --repair, --report,
  --restore-on-exit and --loop.";

/// A command line that is not run.
#[derive(Debug)]
pub enum Refused {
    /// By clap: also what asks for help.
    Clap(clap::Error),
    /// Because of a variable.
    Variable(Error),
}

/// The options that were taken from variables, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken(Vec<String>);

impl Taken {
    /// Whether `--option` was.
    pub fn has(&self, option: &str) -> bool {
        self.0.iter().any(|taken| taken == option)
    }
}

/// A variable that is set, as an argument.
struct Given {
    variable: String,
    option: String,
    /// As clap's errors name it: `--rate <RATE>`.
    shown: String,
    /// `--rate=1M`.
    argument: OsString,
}

/// The variable of an option of the subcommand `command`, if it has one.
pub fn variable(command: &str, arg: &Arg) -> Option<String> {
    let option = arg.get_long()?;
    let asks =
        matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version);
    let said = NOT.contains(&option) || (SAID.contains(&command) && !arg.is_global_set());
    (!asks && !said && !arg.is_hide_set()).then(|| format!("BMNIC_{}", option.replace('-', "_").to_uppercase()))
}

/// A word that switches on or off.
pub fn switch(word: &str) -> Option<bool> {
    match word.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Parses the command line `args` with what the variables add to it.
///
/// # Errors
/// As clap, or [`Kind::Usage`] for a variable that makes no sense.
pub fn parse<T: Parser>(args: &[OsString], var: impl Fn(&str) -> Option<OsString>) -> Result<(T, Taken), Refused> {
    let (at, given) = given::<T>(args, var).map_err(Refused::Variable)?;
    match T::try_parse_from(with(args, at, &given)) {
        Ok(parsed) => Ok((parsed, Taken(given.into_iter().map(|given| given.option).collect()))),
        Err(error) if given.is_empty() || !error.use_stderr() => Err(Refused::Clap(error)),
        Err(error) => Err(blame::<T>(args, at, &given, error)),
    }
}

/// The variables that count, and where on the command line their options go:
/// right behind the subcommand, before anything that could make them words.
fn given<T: Parser>(
    args: &[OsString],
    var: impl Fn(&str) -> Option<OsString>,
) -> crate::error::Result<(usize, Vec<Given>)> {
    let mut command = T::command();
    command.build();
    // What is wrong with the command line is told later, by the parse that counts.
    let plain = T::command().ignore_errors(true).try_get_matches_from(args);
    let Ok(Some((name, matches))) = plain.as_ref().map(clap::ArgMatches::subcommand) else {
        return Ok((0, Vec::new()));
    };
    // Options before a subcommand take no value, so its name is the first word of its kind.
    let (Some(subcommand), Some(at)) =
        (command.find_subcommand(name), args.iter().skip(1).position(|word| word == name).map(|at| at + 1))
    else {
        return Ok((0, Vec::new()));
    };
    let sound = T::command().try_get_matches_from(args).is_ok();
    let (mut all, mut lonely) = (Vec::new(), Vec::new());
    for arg in subcommand.get_arguments() {
        let Some(variable) = variable(name, arg) else { continue };
        let Some(value) = var(&variable).filter(|value| !value.is_empty()) else { continue };
        if matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        let Some(argument) = argument(&variable, arg, value)? else { continue };
        let option = arg.get_long().unwrap_or_default().to_string();
        let given = Given { variable, option, shown: arg.to_string(), argument };
        let tried = T::command().try_get_matches_from(with(args, at + 1, std::slice::from_ref(&given)));
        match tried.map_err(|error| error.kind()) {
            Err(ErrorKind::ArgumentConflict) => {}
            Err(ErrorKind::MissingRequiredArgument) if sound => lonely.push(given),
            _ => all.push(given),
        }
    }
    // What goes only with another option goes with another variable, or not at all.
    for given in lonely {
        all.push(given);
        let tried = T::command().try_get_matches_from(with(args, at + 1, &all));
        if tried.is_err_and(|error| error.kind() == ErrorKind::MissingRequiredArgument) {
            all.pop();
        }
    }
    Ok((at + 1, all))
}

/// The argument that says what the variable does; none if it says no.
fn argument(variable: &str, arg: &Arg, value: OsString) -> crate::error::Result<Option<OsString>> {
    let long = arg.get_long().unwrap_or_default();
    let word = value.to_str().and_then(switch);
    match arg.get_action() {
        ArgAction::SetTrue => match word {
            Some(on) => Ok(on.then(|| format!("--{long}").into())),
            None => Err(nonsense(variable, &value, "a switch; it is 1, true, yes or on, or 0, false, no or off")),
        },
        ArgAction::Count => {
            let times = value.to_str().and_then(|text| text.trim().parse::<u8>().ok()).or(word.map(u8::from));
            let times = times.ok_or_else(|| nonsense(variable, &value, "a number of times"))?;
            // As letters of one word: -vv.
            let letters = arg.get_short().map(|short| short.to_string().repeat(usize::from(times)));
            Ok(letters.filter(|letters| !letters.is_empty()).map(|letters| format!("-{letters}").into()))
        }
        _ => {
            let mut argument = OsString::from(format!("--{long}="));
            argument.push(value);
            Ok(Some(argument))
        }
    }
}

fn nonsense(variable: &str, value: &OsString, what: &str) -> Error {
    Error::new(Kind::Usage, format!("the variable {variable} is '{}', which is not {what}", value.display()))
}

/// The command line with `given` at `at`.
fn with(args: &[OsString], at: usize, given: &[Given]) -> Vec<OsString> {
    let (before, after) = args.split_at(at);
    let added = given.iter().map(|given| given.argument.clone());
    before.iter().cloned().chain(added).chain(after.iter().cloned()).collect()
}

/// clap's error with the variable's name in it, if a variable made it.
fn blame<T: Parser>(args: &[OsString], at: usize, given: &[Given], error: clap::Error) -> Refused {
    let told = one_line(&error.render().to_string());
    let mut line = told.clone();
    for Given { variable, shown, .. } in given {
        line = line.replace(&format!("the argument '{shown}'"), &format!("the variable {variable}"));
        line = line.replace(&format!("'{shown}'"), variable);
    }
    if line != told {
        return Refused::Variable(Error::new(Kind::Usage, line));
    }
    let fails = |given: &[Given]| T::try_parse_from(with(args, at, given)).is_err();
    if fails(&[]) {
        return Refused::Clap(error);
    }
    // One that fails alone: what it needs is not there.
    match given.iter().find(|one| fails(std::slice::from_ref(*one))) {
        Some(one) => Refused::Variable(Error::new(Kind::Usage, format!("the variable {}: {line}", one.variable))),
        None => Refused::Clap(error),
    }
}

/// Takes the options' variables from a run of bmnic that this one starts: they
/// were meant for this one.
pub fn strip(command: &mut process::Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("BMNIC_") && !name.ends_with(ROOTS)) {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command as Sub};
    use clap::CommandFactory;
    use std::collections::BTreeMap;

    /// How a command line reads with these variables.
    fn read(line: &str, variables: &[(&str, &str)]) -> Result<(Cli, Taken), String> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        parse(&args, |name| variables.get(name).map(OsString::from)).map_err(|refused| match refused {
            Refused::Clap(error) => one_line(&error.render().to_string()),
            Refused::Variable(error) => error.to_string(),
        })
    }

    /// What of it was taken.
    fn taken(line: &str, variables: &[(&str, &str)]) -> Vec<String> {
        read(line, variables).unwrap_or_else(|line| panic!("{line}")).1.0
    }

    #[test]
    fn an_option_that_is_not_given_is_its_variable() {
        let variables =
            [("BMNIC_COUNT", "7"), ("BMNIC_RXD", "128"), ("BMNIC_SRC_IP", "10.0.0.9"), ("BMNIC_VERBOSE", "2")];
        let (cli, taken) = read("bmnic pktgen -q", &variables).unwrap();
        assert_eq!((cli.global.verbose, cli.global.quiet), (2, true));
        for option in ["count", "rxd", "src-ip", "verbose"] {
            assert!(taken.has(option), "{option}");
        }
        let Sub::Pktgen(args) = cli.command else { panic!() };
        let args = format!("{args:?}");
        assert!(
            args.contains("count: Some(7)")
                && args.contains("rxd: Some(128)")
                && args.contains(&u32::from_be_bytes([10, 0, 0, 9]).to_string()),
            "{args}"
        );
        // Before words that nothing may be put behind.
        assert_eq!(taken_of_emulate(), ["strict"]);
    }

    fn taken_of_emulate() -> Vec<String> {
        taken("bmnic emulate 82599 -- echo --strict", &[("BMNIC_STRICT", "1")])
    }

    #[test]
    fn the_command_line_beats_the_environment() {
        let nothing: [&str; 0] = [];
        assert_eq!(taken("bmnic pktgen -c 1", &[("BMNIC_COUNT", "nonsense")]), nothing);
        assert_eq!(taken("bmnic --json list", &[("BMNIC_JSON", "0")]), nothing);
        // An option that cannot go with what is given, and none other.
        let both = [("BMNIC_DEVICE", "emu:82599"), ("BMNIC_COUNT", "1")];
        assert_eq!(taken("bmnic pktgen emu:x710", &both), ["count"]);
        assert_eq!(taken("bmnic pktgen --pcap one.pcap --speed 10", &[("BMNIC_RATE", "1M")]), nothing);
        // One that goes only with another goes with it, or not at all.
        let speed = ("BMNIC_SPEED", "2");
        assert_eq!(taken("bmnic pktgen", &[speed, ("BMNIC_FORMAT", "pcapng")]), nothing);
        assert_eq!(taken("bmnic pktgen --pcap one.pcap", &[speed]), ["speed"]);
    }

    #[test]
    fn a_switch_is_read_as_one_and_nothing_as_not_set() {
        for (word, on) in [("1", true), ("YES", true), ("true", true), ("on", true)].into_iter().chain([
            ("0", false),
            ("No", false),
            ("false", false),
            ("off", false),
            ("", false),
        ]) {
            assert_eq!(read("bmnic list", &[("BMNIC_JSON", word)]).unwrap().0.global.json, on, "{word}");
        }
        for (line, name) in
            [("bmnic pktgen", "BMNIC_DEVICE"), ("bmnic pktgen", "BMNIC_RATE"), ("bmnic list", "BMNIC_VERBOSE")]
        {
            assert!(taken(line, &[(name, "")]).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_named() {
        for (line, variables, words) in [
            ("bmnic list", &[("BMNIC_JSON", "maybe")][..], "the variable BMNIC_JSON is 'maybe'"),
            ("bmnic list", &[("BMNIC_VERBOSE", "much")], "the variable BMNIC_VERBOSE is 'much'"),
            ("bmnic pktgen", &[("BMNIC_RATE", "fast")], "invalid value 'fast' for BMNIC_RATE: 'fast' is not a rate"),
            ("bmnic pktgen --pcap one.pcap", &[("BMNIC_SPEED", "2"), ("BMNIC_RATE", "1M")], "the variable BMNIC_"),
        ] {
            let line = read(line, variables).map(|_| ()).unwrap_err();
            assert!(line.contains(words), "{words}: {line}");
            assert!(!line.contains('\n') && !line.contains("argument 'BMNIC"), "{line}");
        }
        // What is wrong on the command line itself is told as ever.
        let line = read("bmnic pktgen --nonsense", &[("BMNIC_COUNT", "1")]).map(|_| ()).unwrap_err();
        assert!(line.contains("--nonsense") && !line.contains("BMNIC"), "{line}");
    }

    #[test]
    fn what_changes_the_machine_or_writes_over_a_file_is_said_each_time() {
        for (line, name) in [
            ("bmnic bind --status", "BMNIC_FORCE"),
            ("bmnic bind --status", "BMNIC_DRIVER"),
            ("bmnic hugepages", "BMNIC_SETUP"),
            ("bmnic hugepages", "BMNIC_CLEAR"),
            ("bmnic capture x.pcap", "BMNIC_WRITE"),
            ("bmnic capture x.pcap", "BMNIC_REPAIR"),
            ("bmnic check", "BMNIC_REPORT"),
            ("bmnic check", "BMNIC_VICTIM"),
            ("bmnic capture x.pcap", "BMNIC_GUARD"),
        ] {
            assert!(taken(line, &[(name, "1")]).is_empty(), "{name}");
        }
        assert_eq!(taken("bmnic bind --status", &[("BMNIC_JSON", "1")]), ["json"]);
    }

    /// Options whose file is read.
    const READ: [&str; 8] = ["payload", "pcap", "schedule", "template", "prepare", "over", "baseline", "replay"];

    #[test]
    fn no_option_that_writes_a_file_has_a_variable() {
        let mut command = Cli::command();
        command.build();
        let mut files = 0;
        for subcommand in command.get_subcommands() {
            for arg in subcommand.get_arguments().filter(|arg| variable(subcommand.get_name(), arg).is_some()) {
                let long = arg.get_long().unwrap_or_default();
                let file = arg.get_value_names().unwrap_or_default().iter().any(|name| name.contains("FILE"));
                assert!(!file || READ.contains(&long), "--{long} writes over a file, or is to be in READ");
                files += usize::from(file);
            }
        }
        assert!(files >= READ.len(), "{files}");
    }

    #[test]
    fn every_other_option_has_a_variable_that_is_no_root() {
        let mut command = Cli::command();
        command.build();
        let mut unseen: Vec<&str> = NOT.to_vec();
        for subcommand in command.get_subcommands() {
            for arg in subcommand.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let long = arg.get_long().unwrap_or_default();
                unseen.retain(|not| *not != long);
                let variable = variable(subcommand.get_name(), arg);
                assert!(variable.as_ref().is_none_or(|name| !name.ends_with(ROOTS)), "{variable:?}");
                let without = NOT.contains(&long)
                    || SAID.contains(&subcommand.get_name())
                    || arg.is_hide_set()
                    || matches!(long, "help" | "version");
                assert!(variable.is_some() || without, "{} --{long}", subcommand.get_name());
                assert!(arg.get_env().is_none(), "--{long}: one way to a variable is enough");
            }
        }
        assert!(unseen.is_empty(), "no option is called {unseen:?}");
        for word in
            NOT.iter().filter(|not| **not != "guard").map(|not| format!("--{not}")).chain(SAID.map(String::from))
        {
            assert!(RULE.contains(&word), "the rule does not name {word}");
        }
    }
}
