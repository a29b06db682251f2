//! Command lines that show what bmnic and each subcommand are for: below the options in
//! `--help`, and in the man pages. A test parses each.

/// A command line, and what it does.
pub type Example = (&'static str, &'static str);

/// Those of each subcommand, and first of bmnic itself.
const EXAMPLES: [(&str, &[Example]); 18] = [
    (
        "bmnic",
        &[
            ("bmnic fwd", "forward between two emulated cards: no root, no hardware"),
            ("bmnic capture out.pcap", "capture, with stamps of a nanosecond"),
            ("bmnic pktgen --rate 14.88M", "generate line rate"),
            ("bmnic latency --p99", "measure one packet after another"),
            ("sudo bmnic bind 0000:01:00.0", "hand a real card to bmnic"),
        ],
    ),
    (
        "bind",
        &[
            ("bmnic bind --status", "which driver has which card"),
            ("sudo bmnic bind -n 03:00.0", "show what binding would do, change nothing"),
            ("sudo bmnic bind --user $USER 03:00.0", "hand it to vfio-pci and let $USER open it"),
            ("sudo bmnic bind --persist 82:00.0,82:00.1", "both, and at each boot"),
            ("sudo bmnic bind --vfs 4 03:00.0", "make four virtual functions of it"),
            ("sudo bmnic bind --restore", "give back every card that bmnic took"),
        ],
    ),
    (
        "hugepages",
        &[
            ("bmnic hugepages", "how many there are, where, and how many are free"),
            ("sudo bmnic hugepages --setup 1G", "have 1 GiB of them free"),
            ("sudo bmnic hugepages --setup 512M -p 2M -n 1", "the same of node 1 alone"),
            ("sudo bmnic hugepages --setup 1G --persist", "now and after each boot"),
            ("sudo bmnic hugepages --who", "which process holds them"),
            ("sudo bmnic hugepages --clean-stale", "remove files that killed programs left"),
            ("sudo bmnic hugepages --clear", "give back those that nobody uses"),
        ],
    ),
    (
        "fwd",
        &[
            ("bmnic fwd", "between two emulated cards, for 10 s"),
            ("bmnic fwd 03:00.0 03:00.1", "between two real ones, until Ctrl-C"),
            ("bmnic fwd -m macswap -f 'udp port 53' 03:00.0 03:00.1", "swap addresses, of these packets alone"),
            ("bmnic fwd --impair loss=1%,delay=1ms 03:00.0 03:00.1", "be a bad line between them"),
            ("bmnic fwd --cores 2 --cycles", "two threads, and what a packet costs"),
        ],
    ),
    (
        "pktgen",
        &[
            ("bmnic pktgen --rate 14.88M", "line rate of 10 Gbit/s in frames of 64 bytes"),
            ("bmnic pktgen -i 03:00.0 -s imix -r 50% -d 10s", "a mix of sizes, half of line rate"),
            ("bmnic pktgen --src-ip 10.0.0.0/24 --dport 1-1000 -c 1M", "many flows, a million packets"),
            ("bmnic pktgen --pcap trade.pcap -i 03:00.0", "send a recording as it was recorded"),
            ("bmnic pktgen --print -c 2", "show what would be sent"),
        ],
    ),
    (
        "capture",
        &[
            ("bmnic capture", "print packets as they come"),
            ("bmnic capture out.pcap", "keep them, with stamps of a nanosecond"),
            ("bmnic capture -i 03:00.0 -w out.pcap udp and dst net 239.0.0.0/8", "multicast from a card"),
            ("bmnic capture -i 03:00.0 -b filesize:1000000 -b files:10 out.pcap", "the last 10 GB"),
            ("bmnic capture -i 03:00.0 -w - | tshark -r -", "into another program"),
            ("bmnic capture --repair out.pcap", "cut off what a crash has torn"),
        ],
    ),
    (
        "ctl",
        &[
            ("bmnic ctl mine status", "how far `capture --control mine` is"),
            ("bmnic ctl mine filter 'udp port 5'", "what it keeps from now on"),
            ("bmnic ctl mine rotate", "begin its next file"),
        ],
    ),
    (
        "latency",
        &[
            ("bmnic latency --p99", "the 99th percentile first"),
            ("bmnic latency 03:00.0 03:00.1 -r 10k -d 10s", "from one card to another"),
            ("bmnic latency --load 0,50%,90% -s 64,1518", "beside other traffic, a row for each"),
            ("bmnic latency --stages", "where the time goes, from doorbell to poll"),
            ("bmnic latency --hgrm a.hgrm --plot", "the whole distribution"),
        ],
    ),
    (
        "throughput",
        &[
            ("bmnic throughput", "a flood of each size, there and back"),
            ("bmnic throughput --ndr -s 64,1518 03:00.0 03:00.1", "the highest rate without a loss"),
            ("bmnic throughput --rfc2544 --html report.html", "the four tests of RFC 2544, as a page"),
            ("bmnic throughput --baseline base.json --tolerance 5%", "what is worse than it was"),
        ],
    ),
    (
        "compare-dpdk",
        &[
            ("sudo bmnic compare-dpdk", "both drivers on an emulated 82599, by turns"),
            ("sudo bmnic compare-dpdk --nic x710 --batch 1,32", "on another card, in these bursts"),
            ("sudo bmnic compare-dpdk --rounds 0", "count what crosses PCIe, time nothing"),
            ("sudo bmnic compare-dpdk --testpmd", "whole programs instead"),
        ],
    ),
    (
        "check",
        &[
            ("bmnic check", "the emulated card, to see what is asked"),
            ("bmnic check 03:00.0 --report card.json", "a real one, and a report to send"),
            ("bmnic check 03:00.0 --peer 03:00.1", "with packets through their cable"),
        ],
    ),
    (
        "list",
        &[
            ("bmnic list", "cards, who has them, and whether bmnic has a driver"),
            ("bmnic list --json", "the same for a program"),
            ("bmnic list --watch", "go on, and show what changes"),
        ],
    ),
    (
        "emulate",
        &[
            ("bmnic emulate --list", "cards, wires, options and faults"),
            ("bmnic emulate 82599,wire=tap:tap0 --vfio-user /tmp/card.sock", "a card for QEMU"),
            ("sudo bmnic emulate x710 -- dpdk-testpmd -a 0000:99:00.0 -- -i", "a card for DPDK"),
            ("bmnic emulate 82599 --replay trace.txt", "ask it what a real card was asked"),
        ],
    ),
    (
        "doctor",
        &[
            ("bmnic doctor", "the machine: IOMMU, memory, processors, jitter"),
            ("bmnic doctor eth1", "and that card: its group, node, PCIe link"),
            ("bmnic doctor --jitter 0", "without the five seconds of watching the clock"),
            ("bmnic doctor --cpu 2-3 -v", "for these processors, and why each line matters"),
        ],
    ),
    (
        "tune",
        &[
            ("bmnic tune --print", "what it would write, and the kernel's command line"),
            ("sudo bmnic tune --apply", "do it; what was before is kept in /run/bmnic"),
            ("sudo bmnic tune eth1 --apply --user $USER", "hand that card over too, and use its node"),
            ("sudo bmnic tune --apply --jitter 5s", "with score and jitter before and after"),
            ("sudo bmnic tune --undo", "put everything back"),
        ],
    ),
    (
        "demo",
        &[
            ("bmnic demo", "three seconds of it, on emulated 82599"),
            ("bmnic demo emu:x710 -w demo.pcap", "on other cards, and keep the packets"),
        ],
    ),
    (
        "man",
        &[
            ("bmnic man", "bmnic's own page"),
            ("bmnic man fwd", "that of `bmnic fwd`"),
            ("bmnic man fwd --roff > bmnic-fwd.1", "as a file, for a package"),
        ],
    ),
    (
        "completions",
        &[
            ("bmnic completions bash > ~/.local/share/bash-completion/completions/bmnic", "for bash"),
            ("bmnic completions fish > ~/.config/fish/completions/bmnic.fish", "for fish"),
        ],
    ),
];

/// Those of `command`; none if there is no such command.
pub fn of(command: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, examples)| examples)
}

/// As `--help` shows them: in two columns where that fits 80, or what a line does below it.
pub fn text(command: &str) -> String {
    let examples = of(command);
    let widest = examples.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
    let beside = examples.iter().all(|(_, what)| widest + what.len() + 5 <= 80);
    let mut text = String::from("Examples:");
    for (line, what) in examples {
        text += &if beside { format!("\n  {line:widest$}   {what}") } else { format!("\n  {line}\n      {what}") };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory, Parser};

    /// What a shell would make of the line, up to a pipe or a redirection.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for letter in line.strip_prefix("sudo ").unwrap_or(line).chars() {
            match letter {
                '\'' => quoted = !quoted,
                '|' | '>' if !quoted => break,
                ' ' if !quoted => words.push(String::new()),
                _ => words.last_mut().unwrap().push(letter),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_example_is_a_command_line_of_its_subcommand() {
        for (name, examples) in EXAMPLES {
            for (line, _) in examples {
                let words = words(line);
                assert!(name == "bmnic" || words[1] == name, "{line}");
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }

    #[test]
    fn every_subcommand_has_examples_below_its_options_and_they_fit_80_columns() {
        let mut whole = Cli::command();
        whole.build();
        for command in whole.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let name = command.get_name().to_owned();
            assert!(of(&name).len() > 1, "{name}");
            let help = command.render_help().to_string();
            assert!(help.contains(&text(&name)), "{name}: {help}");
            assert!(text(&name).lines().all(|line| line.len() <= 80), "{}", text(&name));
        }
    }
}
