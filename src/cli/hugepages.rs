//! `bmnic hugepages`: shows and changes the huge pages of this machine.

mod keep;

use super::{Context, Outcome, output, units};
use crate::dma::hugepages::{self, Cleared, Pool, Setup, Who, human};
use crate::error::{Error, Kind, Result};
use crate::pci::kernel::Running;
use crate::sys::{self, Roots};
use keep::Persist;
use output::Output;
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Arguments of `bmnic hugepages`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the pools of each node and size (this is the default)
    #[arg(short, long)]
    pub show: bool,
    /// Have this much of free pages: 512M, 1G
    #[arg(short = 'r', long, value_name = "SIZE", value_parser = amount, conflicts_with_all = ["show", "clear", "who"])]
    pub setup: Option<u64>,
    /// Give back the pages that nobody uses
    #[arg(short, long, conflicts_with_all = ["show", "who"])]
    pub clear: bool,
    /// Size of a page: 2M or 1G; default: 2M to set up, all to clear
    #[arg(short = 'p', long, value_name = "SIZE", value_parser = units::size)]
    pub pagesize: Option<u64>,
    /// NUMA node; default: the kernel spreads them over all
    #[arg(short, long, value_name = "NODE")]
    pub node: Option<u16>,
    /// Mount hugetlbfs on DIR (/dev/hugepages), for programs that need files; bmnic does not
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, conflicts_with_all = ["show", "clear", "who"])]
    pub mount: Option<Option<PathBuf>>,
    /// Unmount hugetlbfs from DIR (/dev/hugepages)
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, conflicts_with_all = ["show", "setup", "mount", "who"])]
    pub unmount: Option<Option<PathBuf>>,
    /// User to own the mount: a name or a number
    #[arg(short = 'U', long, value_name = "USER", requires = "mount")]
    pub user: Option<String>,
    /// Group to own the mount: a name or a number
    #[arg(short = 'G', long, value_name = "GROUP", requires = "mount")]
    pub group: Option<String>,
    /// Show which processes hold huge pages, and files that none holds any more
    #[arg(short, long, conflicts_with = "show")]
    pub who: bool,
    /// Remove the files of hugetlbfs that no process holds, which killed programs left
    #[arg(long, conflicts_with_all = ["show", "who"])]
    pub clean_stale: bool,
    /// With --setup: have them after each boot too; with --clear: not any more
    ///
    /// By a file in /etc/sysctl.d. Pages of another size than the usual one, or of one node,
    /// are had for sure only by the kernel's command line: the words for it are printed.
    #[arg(long, conflicts_with_all = ["show", "who"])]
    pub persist: bool,
    /// Print what would be written and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How much to set up. A bare number is in bytes, and one of less than a page was
/// meant to be something else.
fn amount(text: &str) -> Result<u64> {
    let bytes = units::size(text)?;
    if (1..2 << 20).contains(&bytes) && text.trim().bytes().all(|c| c.is_ascii_digit()) {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "'{text}' is {bytes} bytes, less than a page; write one like 512M or 1G, and for {bytes} pages of 2 MiB {}M",
                2 * bytes
            ),
        ));
    }
    Ok(bytes)
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let (roots, out) = (&context.roots, Output::new(&context.global));
    if args.who {
        who(roots, &hugepages::who(roots), &out)?;
        return Ok(Outcome::Done);
    }
    if args.persist && args.setup.is_none() && !args.clear {
        return Err(Error::new(Kind::Usage, "--persist goes with --setup SIZE or with --clear").into());
    }
    // Before anything is changed: the file may be somebody else's.
    if args.persist && (args.clear || keep::is_file(roots, page_size(&args), args.node)) {
        keep::check(&keep::path(roots))?;
    }
    if args.dry_run {
        let commands = plan(&args, roots)?;
        out.facts(roots, "hugepages", json!({ "dry_run": true, "commands": commands }))?;
        for command in &commands {
            out.result(command)?;
        }
        out.info("dry run: nothing was changed")?;
        return Ok(Outcome::Done);
    }
    let mut outcome = Outcome::Done;
    let mut done = Vec::new();
    if let Some(directory) = place(&args.unmount, roots) {
        unmount(&directory)?;
        done.push(format!("{}: unmounted", directory.display()));
    }
    if args.clean_stale {
        done.extend(clean_stale(roots)?);
    }
    if args.clear {
        if args.persist && keep::forget(&Running::new(roots), roots)? {
            done.push(format!("{} removed: none after the next boot", keep::path(roots).display()));
        }
        let cleared = hugepages::clear(roots, args.pagesize, args.node, &mut write)?;
        if cleared.iter().any(|c| c.kept > 0) {
            outcome = Outcome::Limit;
        }
        done.extend(cleared.iter().map(tell_cleared));
    }
    if let Some(bytes) = args.setup {
        let page = page_size(&args);
        let made = hugepages::setup(roots, bytes, page, args.node, &mut write)?;
        done.push(tell_setup(&made, page));
        if args.persist {
            done.push(persist(roots, &keep::plan(roots, bytes, page, args.node, made.total.1)?)?);
        }
    }
    if let Some(directory) = place(&args.mount, roots) {
        done.push(mount(&args, roots, &directory)?);
    }
    show(roots, &done, &out)?;
    Ok(outcome)
}

/// Where to mount or unmount, if that was asked for.
fn place(asked: &Option<Option<PathBuf>>, roots: &Roots) -> Option<PathBuf> {
    let usual = || roots.dev.join("hugepages");
    asked.as_ref().map(|directory| directory.clone().unwrap_or_else(usual))
}

/// Sees to it that they come back.
fn persist(roots: &Roots, plan: &Persist) -> Result<String> {
    match plan {
        Persist::File(path, text) => {
            keep::save(&Running::new(roots), path, text)?;
            Ok(format!("{} written: they come back with each boot", path.display()))
        }
        Persist::CommandLine(words) => Ok(format!("for each boot, add to the kernel's command line: {words}")),
    }
}

/// Removes what killed programs left; a line for each file.
fn clean_stale(roots: &Roots) -> Result<Vec<String>> {
    let stale = keep::stale(roots)?;
    if stale.is_empty() {
        return Ok(vec!["unchanged: no file of hugetlbfs was left behind".into()]);
    }
    let removed = |(path, bytes): (PathBuf, u64)| {
        let failed = |e| needs_root(Error::io(format!("removing {}", path.display()), e));
        fs::remove_file(&path).map_err(failed)?;
        Ok(format!("{} removed: {} free again", path.display(), human(bytes)))
    };
    stale.into_iter().map(removed).collect()
}

fn page_size(args: &Args) -> u64 {
    args.pagesize.unwrap_or(2 << 20)
}

/// The shell commands that do the same.
fn plan(args: &Args, roots: &Roots) -> Result<Vec<String>> {
    let mut lines: Vec<String> =
        place(&args.unmount, roots).iter().map(|d| format!("umount {}", d.display())).collect();
    if args.clean_stale {
        lines.extend(keep::stale(roots)?.iter().map(|(path, _)| format!("rm {}", path.display())));
    }
    if args.persist && args.clear && keep::path(roots).exists() {
        lines.push(format!("rm {}", keep::path(roots).display()));
    }
    let mut writes = if args.clear { hugepages::plan_clear(roots, args.pagesize, args.node)? } else { Vec::new() };
    if let Some(bytes) = args.setup {
        writes.extend(hugepages::plan_setup(roots, bytes, page_size(args), args.node)?);
    }
    lines.extend(writes.iter().map(|(path, text)| format!("echo {text} > {}", path.display())));
    if let Some(bytes) = args.setup.filter(|_| args.persist) {
        let page = page_size(args);
        let total = hugepages::planned_total(roots, bytes, page, args.node)?;
        lines.push(match keep::plan(roots, bytes, page, args.node, total)? {
            Persist::File(path, text) => {
                format!("echo '{}' > {}", text.lines().last().unwrap_or_default(), path.display())
            }
            Persist::CommandLine(words) => format!("# for each boot, add to the kernel's command line: {words}"),
        });
    }
    if let Some(directory) = place(&args.mount, roots) {
        let (directory, options) = (directory.display(), mount_options(args)?);
        lines.push(format!("mkdir -p {directory} && mount -t hugetlbfs -o {options} none {directory}"));
    }
    Ok(lines)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(text.as_bytes())
}

fn tell_setup(made: &Setup, page: u64) -> String {
    let (before, after) = made.total;
    let page = human(page);
    let free = made.available;
    if before == after {
        format!("unchanged: {free} pages of {page} are free, {} were asked for", made.asked)
    } else {
        format!("{free} pages of {page} are free now; the pool grew from {before} to {after}")
    }
}

fn tell_cleared(cleared: &Cleared) -> String {
    let (page, kept) = (human(cleared.page), cleared.kept);
    let rest = if kept > 0 { format!(", {kept} are in use and stay (`bmnic hugepages --who`)") } else { String::new() };
    format!("{} pages of {page} given back{rest}", cleared.freed)
}

fn show(roots: &Roots, done: &[String], out: &Output) -> anyhow::Result<()> {
    let pools = hugepages::pools(roots);
    let mounts = hugepages::mounts(roots);
    let limit = sys::memlock_limit();
    let reserved = |page| hugepages::reserved(roots, page);
    let pool = |p: &Pool| json!({ "node": p.node, "page_size": p.page, "total": p.total, "free": p.free, "surplus": p.surplus });
    let promised: Vec<Value> =
        hugepages::sizes(roots).into_iter().map(|page| json!({ "page_size": page, "pages": reserved(page) })).collect();
    out.facts(roots, "hugepages", json!({
        "done": done,
        "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "reserved": promised,
        "mounts": mounts.iter().map(|m| json!({ "directory": m.directory, "page_size": m.page })).collect::<Vec<_>>(),
        "memlock_limit": limit,
    }))?;
    for line in done {
        out.result(line)?;
    }
    let mut table = output::table(&["NODE", "PAGE", "TOTAL", "FREE", "SURPLUS", "FREE MEMORY"], 1);
    for p in &pools {
        table.add_row([
            p.node.map_or("-".into(), |node| node.to_string()),
            human(p.page),
            p.total.to_string(),
            p.free.to_string(),
            p.surplus.to_string(),
            human(p.free.saturating_mul(p.page)),
        ]);
    }
    if pools.is_empty() {
        out.result("this kernel has no huge pages (CONFIG_HUGETLBFS)")?;
    } else {
        out.table(&table)?;
    }
    for page in hugepages::sizes(roots).into_iter().filter(|&page| reserved(page) > 0) {
        out.info(format_args!("{} of the free pages of {} are promised to mappings", reserved(page), human(page)))?;
    }
    for mount in &mounts {
        out.info(format_args!("hugetlbfs on {} with pages of {}", mount.directory.display(), human(mount.page)))?;
    }
    if pools.iter().all(|p| p.free == 0) {
        out.info("none is free: emulated cards work without, on ordinary pages; real ones want `sudo bmnic hugepages --setup 64M`")?;
    }
    // VFIO locks what it maps; root is not limited.
    if let Some(limit) = limit.filter(|_| sys::effective_user() != 0) {
        out.info(format_args!(
            "this user may lock {} (ulimit -l {}); a card through VFIO needs its packet buffers locked, 64 MiB or more: raise memlock in /etc/security/limits.conf",
            human(limit),
            limit >> 10
        ))?;
    }
    Ok(())
}

fn who(roots: &Roots, found: &Who, out: &Output) -> anyhow::Result<()> {
    let holders =
        found.holders.iter().map(|h| json!({ "pid": h.pid, "command": h.command, "bytes": h.bytes, "files": h.files }));
    let stale = found.stale.iter().map(|(path, bytes)| json!({ "file": path, "bytes": bytes }));
    out.facts(
        roots,
        "hugepages",
        json!({
            "holders": holders.collect::<Vec<_>>(),
            "stale": stale.collect::<Vec<_>>(),
            "unseen_processes": found.unseen,
        }),
    )?;
    if found.holders.is_empty() {
        out.result("no process seen holds huge pages")?;
    } else {
        let mut table = output::table(&["PID", "COMMAND", "MAPPED", "FILES"], 4);
        for h in &found.holders {
            let files: Vec<String> = h.files.iter().map(|f| f.display().to_string()).collect();
            table.add_row([h.pid.to_string(), h.command.clone(), human(h.bytes), files.join(" ")]);
        }
        out.table(&table)?;
    }
    for (path, bytes) in &found.stale {
        out.result(format_args!(
            "{}: {} held by no process seen; {}",
            path.display(),
            human(*bytes),
            if found.unseen > 0 { "root sees whether one has it" } else { "if its program has ended: rm it" }
        ))?;
    }
    if found.unseen > 0 {
        out.warn(format_args!("not looked into: {} processes of other users; root sees more", found.unseen));
    }
    Ok(())
}

fn mount_options(args: &Args) -> Result<String> {
    let mut options = format!("pagesize={}", page_size(args));
    let unknown = |what: &str, name: &str| Error::new(Kind::Usage, format!("this machine has no {what} '{name}'"));
    if let Some(name) = &args.user {
        let id = name.parse().ok().or_else(|| sys::user_id(name)).ok_or_else(|| unknown("user", name))?;
        options += &format!(",uid={id}");
    }
    if let Some(name) = &args.group {
        let id: u32 = name.parse().ok().or_else(|| sys::group_id(name)).ok_or_else(|| unknown("group", name))?;
        options += &format!(",gid={id},mode=0770");
    }
    Ok(options)
}

fn mount(args: &Args, roots: &Roots, directory: &Path) -> Result<String> {
    let (page, options) = (page_size(args), mount_options(args)?);
    if hugepages::mounts(roots).iter().any(|m| m.directory == directory && m.page == page) {
        return Ok(format!("unchanged: {} is mounted with pages of {}", directory.display(), human(page)));
    }
    fs::create_dir_all(directory).map_err(|e| Error::io(format!("making {}", directory.display()), e))?;
    sys::mount("none", directory, "hugetlbfs", &options)
        .map_err(|e| needs_root(Error::io(format!("mounting hugetlbfs on {}", directory.display()), e)))?;
    Ok(format!("{}: mounted with pages of {}", directory.display(), human(page)))
}

fn unmount(directory: &Path) -> Result<()> {
    sys::unmount(directory).map_err(|e| {
        let code = e.raw_os_error();
        let error = Error::io(format!("unmounting {}", directory.display()), e);
        match code {
            Some(libc::EBUSY) => error.hint("a process has files there open: `bmnic hugepages --who`"),
            Some(libc::EINVAL) => error.hint("nothing is mounted there"),
            _ => needs_root(error),
        }
    })
}

fn needs_root(error: Error) -> Error {
    if error.kind() == Kind::Permission { error.hint("it needs root: run it with sudo") } else { error }
}
