//! `bmnic man`: the manual, which the program carries.

mod plain;

use super::Outcome;
use super::screen::Screen;
use crate::sys;
use clap::builder::PossibleValuesParser;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The pages of `man/`, bmnic's own first: what each is of, and its text.
///
/// Those of a new command are written before they can stand here: tests/generated.rs.
const PAGES: [(&str, &str); 18] = [
    ("bmnic", include_str!("../../man/bmnic.1")),
    ("bind", include_str!("../../man/bmnic-bind.1")),
    ("doctor", include_str!("../../man/bmnic-doctor.1")),
    ("tune", include_str!("../../man/bmnic-tune.1")),
    ("hugepages", include_str!("../../man/bmnic-hugepages.1")),
    ("fwd", include_str!("../../man/bmnic-fwd.1")),
    ("pktgen", include_str!("../../man/bmnic-pktgen.1")),
    ("capture", include_str!("../../man/bmnic-capture.1")),
    ("demo", include_str!("../../man/bmnic-demo.1")),
    ("ctl", include_str!("../../man/bmnic-ctl.1")),
    ("latency", include_str!("../../man/bmnic-latency.1")),
    ("throughput", include_str!("../../man/bmnic-throughput.1")),
    ("compare-dpdk", include_str!("../../man/bmnic-compare-dpdk.1")),
    ("check", include_str!("../../man/bmnic-check.1")),
    ("list", include_str!("../../man/bmnic-list.1")),
    ("emulate", include_str!("../../man/bmnic-emulate.1")),
    ("man", include_str!("../../man/bmnic-man.1")),
    ("completions", include_str!("../../man/bmnic-completions.1")),
];

/// Arguments of `bmnic man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Command whose page to show; bmnic's own without one
    #[arg(value_name = "COMMAND", default_value = "bmnic", hide_default_value = true,
        value_parser = PossibleValuesParser::new(PAGES.map(|(name, _)| name)))]
    pub command: String,
    /// Print the page as roff, for a package or another viewer
    #[arg(long)]
    pub roff: bool,
}

/// Shows a page: by man on a terminal, otherwise as text.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let page = PAGES.iter().find(|(name, _)| *name == args.command).map_or("", |(_, page)| page);
    let screen = Screen::stdout();
    if args.roff {
        sys::standard_output()?.write_all(page.as_bytes())?;
    } else if screen == Screen::None || !shown_by_man(page) {
        writeln!(sys::standard_output()?, "{}", screen.fold(&plain::text(page)))?;
    }
    Ok(Outcome::Done)
}

/// Has man show it, which needs no file for that; false where there is no man that can.
fn shown_by_man(page: &str) -> bool {
    // Ctrl-C is for the pager; handlers do not outlive the start of another program.
    let _ = flag::register(SIGINT, Arc::<AtomicBool>::default());
    let mut man = Command::new("man");
    man.args(["-l", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut man) = man.spawn() else { return false };
    // One that ends before it has read all says so by its code.
    let _ = man.stdin.take().map(|mut input| input.write_all(page.as_bytes()));
    man.wait().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_its_page_in_the_program() {
        let mut whole = Cli::command().disable_help_subcommand(true);
        whole.build();
        let commands = whole.get_subcommands().map(clap::Command::get_name);
        let wanted: Vec<&str> = std::iter::once("bmnic").chain(commands).collect();
        assert_eq!(PAGES.map(|(name, _)| name).to_vec(), wanted, "PAGES, in the order of `bmnic --help`");
        for (name, page) in PAGES {
            let title = if name == "bmnic" { ".TH bmnic 1".into() } else { format!(".TH bmnic-{name} 1") };
            assert!(page.contains(&title), "{name} has the page of another command");
        }
    }
}
