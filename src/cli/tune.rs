//! `bmnic tune`: sets the machine up for packets, and puts it back.
//!
//! [`crate::doctor::tune`] does it; this asks for it and prints. Nothing is set unless
//! `--apply` says so.

use super::doctor::{Asked, Found, gaps, score};
use super::output::Output;
use super::signal::Stop;
use super::{Context, Outcome, bind, units};
use crate::doctor::tune::{self, Applied, Plan, Undone, Wish};
use crate::doctor::{self, Subject};
use crate::error::{Error, Kind};
use crate::pci::bind::{self as cards, Request};
use crate::pci::guard::Machine;
use crate::pci::journal;
use crate::pci::kernel::Running;
use crate::sys::Roots;
use serde_json::{Value, json};
use std::time::Duration;

/// Arguments of `bmnic tune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it is about.
    #[command(flatten)]
    pub asked: Asked,
    /// Print what would be written and change nothing (this is the default)
    #[arg(short = 'n', long, conflicts_with_all = ["apply", "undo"])]
    pub print: bool,
    /// Do it, all or nothing; `--undo` puts it back
    #[arg(long, conflicts_with = "undo")]
    pub apply: bool,
    /// Put everything back as it was, also after a run that was killed
    #[arg(long, conflicts_with_all = ["devices", "cpu", "hugepages", "no_turbo", "user"])]
    pub undo: bool,
    /// One speed for all processors: slower, and figures are alike
    #[arg(long)]
    pub no_turbo: bool,
    /// User to own the cards' device nodes: a name or a number
    #[arg(long, value_name = "USER", requires = "devices")]
    pub user: Option<String>,
    /// Watch the clock for jitter before and after, this long each
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration, requires = "apply")]
    pub jitter: Duration,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let (roots, out) = (&context.roots, Output::new(&context.global));
    if args.undo {
        return undo(roots, &out);
    }
    let subject = args.asked.subject(roots)?;
    let look = || plan(args, roots, &subject);
    // The first look refuses what must be refused to every user; the second is made while
    // nobody else can change anything.
    let first = look()?;
    first
        .warnings
        .iter()
        .chain(first.cards.iter().flat_map(|card| &card.warnings))
        .for_each(|warning| out.warn(warning));
    if !args.apply {
        print(roots, &first, &out)?;
        return Ok(Outcome::Done);
    }
    let stop = Stop::install()?;
    let before = Found::look(roots, &subject, args.jitter, &stop, &out);
    if stop.requested() {
        out.info("nothing was changed")?;
        return Ok(stop.outcome());
    }
    let (mut done, mut applied) = (first, Applied::default());
    if !done.is_empty() {
        let _lock = journal::lock(roots)?;
        done = look()?;
        applied = tune::apply(&Running::new(roots), roots, &done)?;
    }
    // The cards have another driver now.
    let subject = Subject { cards: bind::named(roots, &args.asked.devices)?, ..subject };
    let after = Found::look(roots, &subject, args.jitter, &stop, &out);
    tell(roots, &done, &applied, [&before, &after], &out)?;
    Ok(stop.outcome())
}

fn plan(args: &Args, roots: &Roots, subject: &Subject) -> anyhow::Result<Plan> {
    let ssh = std::env::var("SSH_CONNECTION").ok();
    let mut plans = Vec::new();
    if !subject.cards.is_empty() {
        let user = args.user.as_deref().map(bind::user_id).transpose()?;
        let request = Request {
            driver: Some("vfio-pci".into()),
            owner: user.map(|user| (Some(user), None)),
            ..Request::default()
        };
        // By their addresses: an interface goes away with its driver.
        let cards: Vec<String> = subject.cards.iter().map(|card| card.address.to_string()).collect();
        plans = cards::plan(roots, &Machine::read(roots, ssh.as_deref()), &bind::named(roots, &cards)?, &request)?;
    }
    let wish = Wish {
        quiet: subject.quiet.clone(),
        memory: subject.memory,
        node: doctor::node(&subject.cards),
        no_turbo: args.no_turbo,
    };
    if let Some(missing) = Some(wish.quiet.without(&doctor::cpus::online(roots))).filter(|missing| !missing.is_empty())
    {
        let online = doctor::cpus::online(roots);
        let text = format!("processors {missing} of --cpu are not switched on; there are {online}");
        return Err(Error::new(Kind::Usage, text).into());
    }
    Ok(tune::plan(roots, &wish, plans)?)
}

/// The writes as shell commands, by what they are for, and the words for the command line.
fn print(roots: &Roots, plan: &Plan, out: &Output) -> anyhow::Result<()> {
    out.facts(
        roots,
        "tune",
        json!({ "state": "planned", "writes": writes(plan), "steps": steps(plan), "command_line": plan.command_line }),
    )?;
    let mut check = "";
    for setting in &plan.settings {
        if setting.check != check {
            check = setting.check;
            out.result(format_args!("# {check}"))?;
        }
        out.result(setting)?;
    }
    for step in steps(plan) {
        out.result(step)?;
    }
    if plan.is_empty() {
        out.result("# nothing: all that can be set while the machine runs is as it should be")?;
    }
    boot(plan, out)?;
    out.info("# printed only: nothing was changed; --apply does it, and --undo puts it back")?;
    Ok(())
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.cards.iter().flat_map(|card| &card.steps).map(ToString::to_string).collect()
}

fn writes(plan: &Plan) -> Vec<Value> {
    let write = |setting: &doctor::settings::Setting| json!({ "file": setting.path, "was": setting.was, "to": setting.to, "check": setting.check });
    plan.settings.iter().map(write).collect()
}

/// What takes a boot.
fn boot(plan: &Plan, out: &Output) -> anyhow::Result<()> {
    if plan.command_line.is_empty() {
        return Ok(());
    }
    out.result("# takes a boot: add to the kernel's command line (GRUB: GRUB_CMDLINE_LINUX in")?;
    out.result("# /etc/default/grub, then update-grub)")?;
    Ok(out.result(format_args!("# {}", plan.command_line.join(" ")))?)
}

/// What was done, and what it came to.
fn tell(roots: &Roots, plan: &Plan, applied: &Applied, found: [&Found; 2], out: &Output) -> anyhow::Result<()> {
    let [before, after] = found;
    let scores = |found: &Found| json!({ "score": score(&found.checks), "jitter": found.jitter.as_ref().map(gaps) });
    out.facts(
        roots,
        "tune",
        json!({
            "state": if plan.is_empty() { "unchanged" } else { "applied" },
            "writes": writes(plan),
            "written": applied.written,
            "kept": applied.kept,
            "devices": bind::document(&applied.cards)["devices"],
            "command_line": plan.command_line,
            "before": scores(before),
            "after": scores(after),
        }),
    )?;
    match applied.written {
        0 if plan.is_empty() => {
            out.result("unchanged: all that can be set while the machine runs is as it should be")?
        }
        0 if applied.kept == 0 => out.result("no file had to be set; `sudo bmnic tune --undo` gives the cards back")?,
        written => out.result(format_args!("{written} files set; `sudo bmnic tune --undo` puts them back"))?,
    }
    if applied.kept > 0 {
        out.info(format_args!(
            "{} interrupts stay where they are: the kernel does not let them be moved",
            applied.kept
        ))?;
    }
    for report in &applied.cards {
        out.result(bind::line(report))?;
    }
    boot(plan, out)?;
    for (when, found) in [("before", before), ("now", after)] {
        let Some(jitter) = &found.jitter else { continue };
        out.result(format_args!("jitter {when}: {}", jitter.check().found))?;
        for line in jitter.lines(out.screen().columns().unwrap_or(80)) {
            out.result(line)?;
        }
    }
    out.result(format_args!("score: {} before, {} now (`bmnic doctor` shows them)", before.score(), after.score()))?;
    Ok(())
}

fn undo(roots: &Roots, out: &Output) -> anyhow::Result<Outcome> {
    let mut undone = Undone::default();
    let applied = tune::is_applied(roots)?;
    if applied {
        let _lock = journal::lock(roots)?;
        undone = tune::undo(&Running::new(roots), roots)?;
    }
    let left = |left: &tune::Left| json!({ "file": left.path, "now": left.now, "was": left.was });
    out.facts(
        roots,
        "tune",
        json!({
            "state": if applied { "undone" } else { "unchanged" },
            "restored": undone.restored,
            "left": undone.left.iter().map(left).collect::<Vec<_>>(),
            "pages_in_use": undone.in_use,
            "devices": bind::document(&undone.cards)["devices"],
        }),
    )?;
    if !applied {
        out.result("unchanged: bmnic has set nothing since this machine was started")?;
        return Ok(Outcome::Done);
    }
    for report in &undone.cards {
        out.result(bind::line(report))?;
    }
    out.result(format_args!("{} files are as they were", undone.restored))?;
    for left in &undone.left {
        out.warn(format_args!(
            "{} was changed by somebody else since, to '{}', and stays so; it was '{}'",
            left.path.display(),
            left.now,
            left.was
        ));
    }
    if undone.in_use > 0 {
        out.warn(format_args!(
            "{} huge pages are in use (`bmnic hugepages --who`) and stay; run this again when they are not",
            undone.in_use
        ));
        return Ok(Outcome::Limit);
    }
    Ok(Outcome::Done)
}
