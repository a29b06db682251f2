//! The one error type of the crate below the command line.
//!
//! An [`Error`] says what was being done and on which device, in one line. Its
//! [`Kind`] is the machine's half of the same answer: the command line turns it
//! into a stable exit code. What a user can do about it with the program itself is
//! a [`Remedy`]: a value, which the command line words with its flags.

use std::fmt;
use std::io;

/// Shorthand for a result that fails with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of thing went wrong; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense as written (exit 2).
    Usage,
    /// Refused, because doing it would cut something that is in use (exit 4).
    Refused,
    /// A limit the user set was passed: loss, rate, fewer pages than asked (exit 3).
    Limit,
    /// The named device, file or program is not there (exit 1).
    NotFound,
    /// Something that the command is built on is not on this machine: another
    /// program, root, huge pages (exit 5).
    Missing,
    /// The user may not do this (exit 1).
    Permission,
    /// This machine, card or build cannot do this (exit 1).
    Unsupported,
    /// Memory, huge pages or locked-memory limit (exit 1).
    Memory,
    /// A bounded wait ran out (exit 1).
    Timeout,
    /// The device answers all-ones: it is gone, or never was (exit 1).
    Gone,
    /// The device broke its own rules, beyond what can be dropped and counted (exit 1).
    Device,
    /// The operating system said no; the text carries its reason (exit 1).
    Io,
}

impl Kind {
    /// Its name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Refused => "refused",
            Kind::Limit => "limit",
            Kind::NotFound => "not found",
            Kind::Missing => "missing",
            Kind::Permission => "permission",
            Kind::Unsupported => "unsupported",
            Kind::Memory => "memory",
            Kind::Timeout => "timeout",
            Kind::Gone => "gone",
            Kind::Device => "device",
            Kind::Io => "io",
        }
    }
}

/// What a user of the program can do about an error. Nothing here knows how that
/// is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// See which cards this machine has.
    ListCards,
    /// See which cards can be emulated.
    ListModels,
    /// Hand this card over.
    Bind(String),
    /// Hand this card over to this user, or be root.
    BindForUser(String),
    /// Give this card the driver that it should have.
    BindByHand(String),
    /// Put this card back once more.
    Restore(String),
    /// Let the kernel's driver be loaded.
    Modprobe,
    /// Insist.
    Force,
    /// Take another card, or insist.
    AnotherCard,
    /// Do without an IOMMU.
    NoIommu,
    /// Put the card back to its kernel driver and take it again, which resets it.
    Reset,
    /// Poll instead of waiting for interrupts.
    Poll,
    /// Have more interrupts, or need fewer.
    Interrupts,
    /// Send by [`TxPath::Push`](crate::driver::TxPath::Push).
    Push,
    /// Send by [`TxPath::Dma`](crate::driver::TxPath::Dma).
    Dma,
    /// Send by [`TxPath::Ctpio`](crate::driver::TxPath::Ctpio) without a threshold.
    WholeFrame,
    /// Reserve so many bytes of huge pages.
    HugePages(u64),
    /// Ask for some huge pages, or free them all.
    PagesOrNone,
    /// Record a capture file.
    Record,
}

/// What was wrong, why it matters, what to do: one line, and a [`Remedy`] if the
/// program has one.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<io::Error>,
    remedy: Option<Remedy>,
    reader_left: bool,
}

impl Error {
    /// An error of `kind` with its whole line of text.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, remedy: None, reader_left: false }
    }

    /// An operating-system error with what was being done when it came.
    ///
    /// The kind follows from the errno: `EACCES` and `EPERM` are
    /// [`Kind::Permission`], `ENOENT` and `ENODEV` [`Kind::NotFound`],
    /// `ENOMEM` [`Kind::Memory`], all others [`Kind::Io`].
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => Kind::Permission,
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Kind::NotFound,
            Some(libc::ENOMEM) => Kind::Memory,
            _ => Kind::Io,
        };
        Self { kind, message: doing.into(), source: Some(source), remedy: None, reader_left: false }
    }

    /// Memory that the kernel did not give: [`Kind::Memory`], and what holds it back.
    pub fn memory(doing: impl Into<String>, source: io::Error) -> Self {
        let hint = "free memory, or let this process have more (`ulimit -v`, its cgroup's memory.max)";
        Self::io(doing, source).with_kind(Kind::Memory).hint(hint)
    }

    /// A thread that the kernel did not start, and what holds it back.
    pub fn thread(doing: impl Into<String>, source: io::Error) -> Self {
        let hint = "let this user have more of them (`ulimit -u`, pids.max of the cgroup) or more memory (`ulimit -v`)";
        Self::io(doing, source).hint(hint)
    }

    /// The same error as another kind, where the caller knows better.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error with what can be done about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// The same error as another reports it: behind its name and a colon.
    #[must_use]
    pub fn of(mut self, whose: impl fmt::Display) -> Self {
        self.message = format!("{whose}: {}", self.message);
        self
    }

    /// The same error with a hint behind it, after a semicolon. Where descriptors ran out
    /// that is what to do something about, whatever they were wanted for.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        use fmt::Write;
        if self.is_out_of_files() {
            return self;
        }
        if let Some(source) = self.source.take() {
            // Writing to a String cannot fail.
            let _ = write!(self.message, ": {source}");
        }
        let _ = write!(self.message, "; {hint}");
        self
    }

    /// Whether it came of output that nobody reads any more (a pipe that was closed),
    /// which is no failure.
    pub fn reader_left(&self) -> bool {
        self.reader_left
    }

    /// What can be done about it with the program, besides what it says.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.remedy.as_ref().filter(|_| !self.is_out_of_files())
    }

    fn is_out_of_files(&self) -> bool {
        let number = self.source.as_ref().and_then(io::Error::raw_os_error);
        matches!(number, Some(libc::EMFILE | libc::ENFILE))
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))?;
        if self.is_out_of_files() {
            f.write_str("; let this process have more files open at once (`ulimit -n`)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// An error of the output: whatever else is read and written says what it is
/// ([`Error::io`]).
impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        let reader_left = source.kind() == io::ErrorKind::BrokenPipe;
        Error { reader_left, ..Self::io("writing to standard output", source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_becomes_a_kind_and_keeps_its_text() {
        let error = Error::io("opening /dev/vfio/7", io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(error.kind(), Kind::Permission);
        assert_eq!(error.to_string(), "opening /dev/vfio/7: Permission denied (os error 13)");
    }

    #[test]
    fn a_reader_that_left_is_known_whatever_is_said_about_it() {
        let pipe = || io::Error::from_raw_os_error(libc::EPIPE);
        let error = Error::from(pipe()).hint("read on").with_kind(Kind::Device);
        assert!(error.reader_left());
        assert!(!Error::io("asking the peer", pipe()).reader_left(), "a peer is no reader of output");
        assert!(!Error::from(io::Error::from_raw_os_error(libc::ENOSPC)).reader_left());
    }

    #[test]
    fn where_descriptors_ran_out_that_is_what_to_mend() {
        let error = Error::io("making a.pcap", io::Error::from_raw_os_error(libc::EMFILE)).hint("name a folder");
        let line = "making a.pcap: Too many open files (os error 24); \
                    let this process have more files open at once (`ulimit -n`)";
        assert_eq!(error.to_string(), line);
        assert_eq!(error.with_remedy(Remedy::HugePages(64)).remedy(), None);
    }

    #[test]
    fn memory_and_threads_that_are_refused_name_the_limits() {
        let refused = |number| io::Error::from_raw_os_error(number);
        let memory = Error::memory("mapping 5 bytes", refused(libc::EAGAIN));
        assert!(memory.kind() == Kind::Memory && memory.to_string().contains("`ulimit -v`"), "{memory}");
        let thread = Error::thread("starting a thread", refused(libc::EAGAIN));
        assert!(thread.kind() == Kind::Io && thread.to_string().contains("`ulimit -u`"), "{thread}");
    }

    #[test]
    fn a_hint_follows_the_reason_and_a_remedy_is_a_value() {
        let refused = io::Error::from_raw_os_error(libc::ENOMEM);
        let error = Error::io("mapping", refused).with_remedy(Remedy::HugePages(64)).hint("use less").of("a card");
        assert_eq!((error.kind(), error.remedy()), (Kind::Memory, Some(&Remedy::HugePages(64))));
        assert_eq!(error.to_string(), "a card: mapping: Cannot allocate memory (os error 12); use less");
    }
}
