//! What a command keeps of its rights once its cards and files are open: what it has still to do.
//!
//! ```text
//!   resolve, open cards, pools, files, sockets ... | Sandbox::enter | packets, files that follow, results
//!           all rights of the user                 |      what Keeps says
//! ```
//!
//! It is the program's choice, and not the library's: a program of another's goes on with what it has.

use super::output::Output;
use super::session::Session;
use crate::publish;
use crate::sys::Roots;
use crate::sys::confine::{CAP_BPF, CAP_DAC_OVERRIDE, CAP_SYS_ADMIN, Calls, Confined, Confinement, may_write_plainly};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The way out.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Sandbox {
    /// Keep all rights once cards and files are open, which are given up otherwise
    ///
    /// Without it the run goes on with no capabilities (root's neither), opens no file but what it
    /// has still to read or write, starts no program, and makes no system call that it has no use
    /// for. -v says what the kernel made of it.
    #[arg(long)]
    pub no_sandbox: bool,
}

/// What a command has still to do.
#[derive(Clone, Debug, Default)]
pub struct Keeps {
    /// Files that are made later, or replaced: names, or patterns of them.
    pub made: Vec<PathBuf>,
    /// Files that are removed at the end.
    pub removed: Vec<PathBuf>,
    /// Files that are read again.
    pub played: Vec<PathBuf>,
    /// Names of hosts are looked up.
    pub names: bool,
    /// Queues of AF_XDP sockets are opened.
    pub xdp: bool,
    /// Cards that are set up through files of sysfs, by their addresses.
    pub cards: Vec<String>,
}

impl Sandbox {
    /// Gives up all but what `keeps` and the cards of `session` need. What cannot be given up is
    /// kept, with a warning: a run is not refused for it.
    ///
    /// # Errors
    /// Those of printing.
    pub fn enter(self, mut keeps: Keeps, session: &Session, roots: &Roots, output: &Output) -> io::Result<()> {
        if self.no_sandbox {
            return Ok(());
        }
        if session.is_lent() {
            // A driver that takes its card again runs in the thread that asks for it.
            return output.detail("rights: all are kept, as cards go back to the kernel in the end");
        }
        keeps.played.extend(session.played());
        if session.is_emulated() {
            // The one who holds the last end of a cable removes it.
            keeps.removed.push(publish::directory().join("cable"));
        }
        keeps.xdp |= session.devices.iter().any(|device| device.driver == "af_xdp");
        keeps.cards.extend(session.by_physical_address());
        self.enter_with(&keeps, roots, output)
    }

    /// The same where there is no session.
    ///
    /// # Errors
    /// Those of printing.
    pub fn enter_with(self, keeps: &Keeps, roots: &Roots, output: &Output) -> io::Result<()> {
        if self.no_sandbox {
            return Ok(());
        }
        match keeps.confinement(roots).enter() {
            Ok(confined) => output.detail(Words(&confined)),
            Err(error) => {
                output.warn(format_args!("not all rights that the run does not need could be given up: {error}"));
                Ok(())
            }
        }
    }
}

impl Keeps {
    /// The same as the kernel is told it.
    pub fn confinement(&self, roots: &Roots) -> Confinement {
        let there: Vec<PathBuf> = self.made.iter().flat_map(|path| series(path)).collect();
        let (links, files): (Vec<&PathBuf>, Vec<&PathBuf>) = there.iter().partition(|path| path.is_symlink());
        let mut written: Vec<PathBuf> = self.made.iter().chain(links).flat_map(|path| places(path)).collect();
        written.sort();
        written.dedup();
        let mut capabilities = Vec::new();
        if !written.iter().chain(files).all(|place| may_write_plainly(place)) {
            capabilities.push(CAP_DAC_OVERRIDE);
        }
        let fixed = ["/etc/localtime", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom"];
        let resolver = ["/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/run"];
        let resolver = resolver.iter().filter(|_| self.names);
        let mut read: Vec<PathBuf> = fixed.iter().chain(resolver).map(PathBuf::from).collect();
        read.extend([roots.sys.clone(), roots.proc.clone()]);
        read.extend(self.played.iter().flat_map(|path| [path.clone(), parent(path)]));
        if self.xdp {
            // Linux up to 5.18 asks for it where only the privileged may use BPF.
            capabilities.push(CAP_BPF);
        }
        if !self.cards.is_empty() {
            // A card that is enabled so is disabled so; and whether memory has moved is looked up.
            capabilities.push(CAP_SYS_ADMIN);
            written.extend(self.cards.iter().map(|address| roots.pci().join("devices").join(address)));
        }
        let removed = self.removed.iter().map(|path| parent(path)).collect();
        Confinement { written, removed, read, capabilities, calls: Calls { names: self.names, maps: self.xdp } }
    }
}

/// The folder of a file.
fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
}

/// The folders in which files come into being where `path` is written, which may be a link or a
/// pattern of strftime(3). What is no file, as a pipe, is written as it is.
fn places(path: &Path) -> Vec<PathBuf> {
    if path == Path::new("-") {
        return Vec::new();
    }
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return vec![path.to_path_buf()];
    }
    let leads = path.canonicalize().or_else(|_| path.read_link().map(|to| parent(path).join(to)));
    let all = [Some(path.to_path_buf()), leads.ok()];
    all.iter().flatten().map(|path| fixed_part(parent(path))).collect()
}

/// What is there of a series of files that begins with `path`: their names begin as its does. Those
/// that come up again are written over, or are links to somewhere else.
fn series(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let stem = name.split(|byte| b".%".contains(byte)).next().unwrap_or_default();
    let entries = fixed_part(parent(path)).read_dir().into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().as_bytes().starts_with(stem)).map(|entry| entry.path()).collect()
}

/// The folder whose name the time does not change.
fn fixed_part(mut folder: PathBuf) -> PathBuf {
    while folder.as_os_str().as_bytes().contains(&b'%') {
        folder = parent(&folder);
    }
    folder
}

/// What was given up, in a line.
struct Words<'a>(&'a Confined);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Confined { landlock, calls, threads } = self.0;
        write!(f, "rights: given up by {threads} threads; files ")?;
        match landlock {
            Some(version) => write!(f, "by Landlock {version}")?,
            None => f.write_str("not, as Landlock is not to be had here")?,
        }
        f.write_str(if *calls {
            ", system calls by seccomp"
        } else {
            ", system calls not, as seccomp is not to be had here"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn files_come_into_being_where_their_names_and_links_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (here, there) = (root.join("here"), root.join("there"));
        [&here, &there].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        symlink("../there/file", here.join("link")).unwrap();
        assert_eq!(places(Path::new("-")), Vec::<PathBuf>::new());
        assert_eq!(places(Path::new("/dev/null")), [PathBuf::from("/dev/null")], "and not all of /dev");
        assert_eq!(places(&here.join("new")), [here.as_path()]);
        assert_eq!(places(Path::new("new")), [PathBuf::from(".")]);
        assert_eq!(places(&here.join("%d/%H.pcap")), [here.as_path()]);
        let leads: Vec<PathBuf> =
            places(&here.join("link")).iter().map(|folder| folder.canonicalize().unwrap()).collect();
        assert_eq!(leads, [here.clone(), there.clone()], "a link to what is not there yet");
        std::fs::write(there.join("file"), "").unwrap();
        assert_eq!(places(&here.join("link")), [here, there]);
    }

    #[test]
    fn root_keeps_a_capability_only_for_what_it_could_not_do_without() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::from_env();
        let keeps = Keeps { made: vec![dir.path().join("out.pcap")], ..Keeps::default() };
        assert_eq!(keeps.confinement(&roots).capabilities, Vec::<u32>::new());
        let (other, elsewhere) = (dir.path().join("out.pcap1"), tempfile::tempdir().unwrap());
        symlink(elsewhere.path().join("new"), dir.path().join("out.pcap2")).unwrap();
        let written = keeps.confinement(&roots).written;
        assert!(written.contains(&elsewhere.path().to_path_buf()), "where the third goes: {written:?}");
        std::fs::write(&other, "").unwrap();
        std::fs::set_permissions(&other, PermissionsExt::from_mode(0o444)).unwrap();
        assert_eq!(keeps.confinement(&roots).capabilities, [CAP_DAC_OVERRIDE], "the second is written over");
        let keeps = Keeps { made: vec![PathBuf::from("/proc/nobody/makes/files/here")], ..Keeps::default() };
        assert_eq!(keeps.confinement(&roots).capabilities, [CAP_DAC_OVERRIDE]);
        let keeps = Keeps { xdp: true, ..Keeps::default() };
        assert_eq!(keeps.confinement(&roots).capabilities, [CAP_BPF]);
        let keeps = Keeps { cards: vec!["0000:99:00.0".into()], ..Keeps::default() };
        let confinement = keeps.confinement(&roots);
        assert_eq!(confinement.capabilities, [CAP_SYS_ADMIN]);
        assert_eq!(confinement.written, [PathBuf::from("/sys/bus/pci/devices/0000:99:00.0")]);
    }
}
