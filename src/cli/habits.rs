//! What is typed out of habit: options of other programs that bmnic calls otherwise, or does
//! not need. The error says bmnic's way in place of what clap would guess.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options as they are typed, whose they are, and bmnic's way: first what to type, if there is
/// something. The first that the command has an option for counts.
const HABITS: &[(&[&str], &str, &str)] = &[
    (&["--burst"], "testpmd's", "`--batch 32`"),
    (&["--forward-mode"], "testpmd's", "`--mode io`, and the modes have testpmd's names"),
    (&["--stats-period"], "testpmd's", "`--interval 1s`"),
    (&["--nb-cores"], "testpmd's", "`--cores 2`, or --cpu to say which"),
    (&["--txpkts"], "testpmd's", "`--size 64`"),
    (&["--max-pkt-len"], "testpmd's", "`--max-frame 9216`, in bytes without FCS"),
    (&["--portmask"], "testpmd's", "`bmnic fwd 03:00.0 03:00.1`, the ports by name"),
    (&["-l", "--lcores", "--main-lcore"], "DPDK's", "`--cpu 0-3`, the processors for packets"),
    (&["-a", "--allow", "-w"], "DPDK's", "`-i 03:00.0`, the card"),
    (&["-a", "--allow", "-w"], "DPDK's", "the name of the card alone, as in `bmnic fwd 03:00.0`"),
    (&["--vdev"], "DPDK's", "the name of an emulated card, as in `bmnic fwd emu:82599`"),
    (
        &[
            "-m",
            "--socket-mem",
            "--no-huge",
            "--in-memory",
            "--huge-unlink",
            "--legacy-mem",
            "--file-prefix",
            "--proc-type",
        ],
        "DPDK's",
        "leave it out: memory is found without it, and runs leave no files",
    ),
    (
        &["-n"],
        "DPDK's and tcpdump's",
        "leave it out: no memory channels are asked for, and no name is looked up for an address",
    ),
    (&["-i", "--interface", "--intf1", "--dev"], "dumpcap's, tcpreplay's or trafgen's", "`--device 03:00.0`"),
    (
        &["-i", "--interface", "--intf1", "--dev"],
        "dumpcap's, tcpreplay's or trafgen's",
        "the name of the card alone, as in `bmnic latency 03:00.0`",
    ),
    (&["-D", "--list-interfaces"], "dumpcap's", "`bmnic list`"),
    (&["-B", "--buffer-size"], "dumpcap's and tcpdump's", "`--buffer 64M`"),
    (&["-A"], "tcpdump's", "`-X`, letters beside hexadecimal"),
    (&["-r", "--read-file"], "tcpdump's", "a card that plays the file, as in `bmnic capture emu:82599,wire=pcap:FILE`"),
    (&["-Z", "--relinquish-privileges"], "tcpdump's", "leave it out: a card that is bound with --user takes no root"),
    (&["--immediate-mode"], "tcpdump's", "leave it out: packets are shown as they come"),
    (&["--out", "--output", "-o"], "of other programs", "`--write FILE`"),
    (&["--pps", "--mbps"], "tcpreplay's", "`--rate 1M`, or in bits, --rate 2Gbit"),
    (&["--topspeed"], "tcpreplay's", "`--rate line`"),
    (&["--multiplier", "-x"], "tcpreplay's", "`--speed 2`"),
    (&["--limit", "--num", "--packets"], "tcpreplay's or trafgen's", "`--count 1M`"),
    (&["--time", "--runtime"], "of other programs", "`--duration 2s`"),
    (&["--threads"], "of other programs", "`--cores 2`"),
    (&["--status-dev"], "dpdk-devbind's", "`bmnic bind --status`"),
];

/// Commands that are typed out of habit, and bmnic's.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["testpmd", "dpdk-testpmd", "l2fwd", "l3fwd", "forward"], "bmnic fwd"),
    (&["tcpdump", "dumpcap", "tshark", "pdump", "dump", "sniff"], "bmnic capture"),
    (&["trafgen", "tcpreplay", "packetblaster", "replay", "send", "gen"], "bmnic pktgen"),
    (&["devbind", "dpdk-devbind"], "bmnic bind"),
    (&["unbind"], "bmnic bind -u"),
    (&["status", "devices"], "bmnic list"),
    (&["ping", "eflatency", "sockperf"], "bmnic latency"),
    (&["dpdk-hugepages"], "bmnic hugepages"),
];

/// The line for an error that a habit explains. `command` is the definition of the subcommand
/// that was named, if one was.
pub fn line(error: &clap::Error, command: Option<&Command>) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = said(ContextKind::InvalidSubcommand)?;
            let (_, here) = COMMANDS.iter().find(|(names, _)| names.contains(&typed))?;
            Some(format!("there is no command '{typed}'; here it is `{here}`"))
        }
        ErrorKind::UnknownArgument => {
            let typed = said(ContextKind::InvalidArg)?;
            let typed = typed.split(['=', ' ']).next()?;
            let (_, whose, here) =
                HABITS.iter().find(|(names, _, here)| names.contains(&typed) && has(command, here))?;
            let leads = if here.starts_with("leave") { "" } else { "use " };
            Some(format!("there is no option '{typed}', which is {whose}; {leads}{here}"))
        }
        ErrorKind::ValueValidation => {
            let (option, value) = (said(ContextKind::InvalidArg)?, said(ContextKind::InvalidValue)?);
            let processors = |c: char| c.is_ascii_digit() || "-,@".contains(c);
            let option = option.split(' ').next()?;
            let (letter, here) = match option {
                "--autostop" if value.parse::<crate::pci::Address>().is_ok() => ("-a", format!("`-i {value}`")),
                "--loop" if value.contains(['-', ',']) && value.chars().all(processors) => {
                    ("-l", format!("`--cpu {value}`"))
                }
                _ => return None,
            };
            Some(format!("'{value}' is what DPDK takes with {letter}, which is {option} here; use {here}"))
        }
        _ => None,
    }
}

/// Whether what is to be typed is there: a command, or an option of this one.
fn has(command: Option<&Command>, here: &str) -> bool {
    let option = here.strip_prefix('`').and_then(|typed| typed.split([' ', '`']).next()).unwrap_or_default();
    let Some(name) = option.strip_prefix('-') else { return true };
    let named = |argument: &clap::Arg| match name.strip_prefix('-') {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short().is_some_and(|short| name == short.to_string()),
    };
    command.is_some_and(|command| command.get_arguments().any(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory, Parser};

    fn said(words: &str) -> Option<String> {
        let mut definition = Cli::command();
        definition.build();
        let error = Cli::try_parse_from(words.split(' ')).unwrap_err();
        let command = words.split(' ').nth(1).and_then(|name| definition.find_subcommand(name));
        line(&error, command)
    }

    #[test]
    fn what_other_programs_call_otherwise_is_said_in_words_of_this_one() {
        for (words, here) in [
            ("bmnic fwd --burst 32", "testpmd's; use `--batch 32`"),
            ("bmnic fwd --burst=32", "testpmd's; use `--batch 32`"),
            ("bmnic fwd -l 0-3", "`--cpu 0-3`"),
            ("bmnic pktgen -l 0-3", "`--cpu 0-3`"),
            ("bmnic fwd -a 0000:03:00.0", "the name of the card alone"),
            ("bmnic capture -a 0000:03:00.0", "`-i 0000:03:00.0`"),
            ("bmnic pktgen -a 0000:03:00.0", "`-i 03:00.0`"),
            ("bmnic fwd -i eth0", "the name of the card alone"),
            ("bmnic capture --out x", "`--write FILE`"),
            ("bmnic capture -nn", "no name is looked up"),
            ("bmnic pktgen --pps 100", "`--rate 1M`"),
            ("bmnic testpmd", "`bmnic fwd`"),
        ] {
            let line = said(words).unwrap_or_else(|| panic!("{words}: nothing is said"));
            assert!(line.contains(here) && !line.contains('\n'), "{words}: {line}");
        }
    }

    #[test]
    fn what_no_habit_explains_is_left_to_clap() {
        for words in ["bmnic fwd --nonsense", "bmnic list --burst 32", "bmnic nonsense", "bmnic pktgen -l many"] {
            assert_eq!(said(words), None, "{words}");
        }
    }

    #[test]
    fn every_habit_leads_to_something_that_is_there() {
        let mut definition = Cli::command();
        definition.build();
        let commands: Vec<&Command> = definition.get_subcommands().collect();
        for (names, _, here) in HABITS {
            assert!(commands.iter().any(|command| has(Some(command), here)), "{here}");
            for name in *names {
                let option = format!("`{name}`");
                assert!(commands.iter().any(|command| !has(Some(command), &option)), "{name} is in every command");
            }
        }
        let examples =
            HABITS.iter().filter_map(|(.., here)| here.split('`').nth(1)).chain(COMMANDS.iter().map(|(_, here)| *here));
        for example in examples.filter_map(|example| example.strip_prefix("bmnic ")) {
            let words: Vec<&str> = std::iter::once("bmnic").chain(example.split(' ')).collect();
            let parsed = Cli::try_parse_from(&words);
            let whole = parsed.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::MissingRequiredArgument);
            assert!(whole, "{example}: {parsed:?}");
        }
        for (names, _) in COMMANDS {
            assert!(names.iter().all(|name| definition.find_subcommand(name).is_none()), "{names:?}");
        }
    }
}
