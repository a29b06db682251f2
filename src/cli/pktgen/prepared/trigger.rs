//! What fires a prepared packet, and where it is looked for.

use crate::cli::output::Output;
use crate::cli::wanted;
use crate::dma::Batch;
use crate::driver::RxQueue;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Ticks};
use crate::packet::Filter;
use crate::sys::signals::{self, Noted};
use signal_hook::consts::{SIGUSR1, SIGUSR2};
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// What is to fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A datagram that names the packet, to this address.
    Udp(SocketAddr),
    /// The same, to a socket in the file system.
    Unix(PathBuf),
    /// A signal, which stands for a packet.
    Signal,
    /// A received packet that matches.
    Match(String),
}

impl FromStr for Trigger {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::Usage, format!("'{text}' fires nothing: {why}"));
        match text.split_once(':') {
            None if text == "signal" => Ok(Trigger::Signal),
            Some(("udp", address)) => {
                let address = address.parse();
                address.map(Trigger::Udp).map_err(|_| bad("write an address and a port, like udp:127.0.0.1:9999"))
            }
            Some(("unix", "")) => Err(bad("write where the socket is to be, like unix:/run/fire")),
            Some(("unix", path)) => Ok(Trigger::Unix(path.into())),
            Some(("match", expression)) => {
                Filter::parse(expression)?;
                Ok(Trigger::Match(expression.trim().into()))
            }
            _ => Err(bad("write udp:ADDRESS:PORT, unix:PATH, signal or match:EXPRESSION")),
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Udp(address) => write!(f, "udp:{address}"),
            Trigger::Unix(path) => write!(f, "unix:{}", path.display()),
            Trigger::Signal => f.write_str("signal"),
            Trigger::Match(expression) => write!(f, "match:{expression}"),
        }
    }
}

/// Where triggers come from, by what is asked of the system or the card at once.
pub enum Source {
    /// Datagrams.
    Udp(UdpSocket, String),
    /// Datagrams, where the socket is, and which file that was made.
    Unix(UnixDatagram, PathBuf, Option<(u64, u64)>),
    /// Signals: how many were read, and how many came too fast.
    Signal(Arc<Noted>, usize, u64),
    /// Received packets: a filter for each packet that is ready, in their order.
    Match(Vec<Filter>),
}

impl Source {
    /// The socket that is removed in the end.
    pub fn path(&self) -> Option<PathBuf> {
        if let Source::Unix(_, path, _) = self { Some(path.clone()) } else { None }
    }

    /// All that are asked for, those that match as one, for `packets` that are ready.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what could fire nothing, or what the system says to a socket.
    pub fn open_all(triggers: &[Trigger], packets: usize, clock: &Clock, output: &Output) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        let mut filters = Vec::new();
        for (n, trigger) in triggers.iter().enumerate() {
            if triggers[..n].contains(trigger) {
                return Err(Error::new(Kind::Usage, format!("--fire-on {trigger} is given twice; name it once")));
            }
            match trigger {
                Trigger::Udp(address) => sources.push(udp(*address, output)?),
                Trigger::Unix(path) => sources.push(unix(path)?),
                Trigger::Signal => sources.push(signal(packets, clock)?),
                Trigger::Match(expression) => filters.push(Filter::parse(expression)?),
            }
        }
        if filters.len() > packets {
            let line = format!(
                "{} expressions are more than the {packets} packets that are ready, and each fires one; name fewer",
                filters.len()
            );
            return Err(Error::new(Kind::Usage, line));
        }
        if !filters.is_empty() {
            sources.push(Source::Match(filters));
        }
        Ok(sources)
    }

    /// Whether it needs what the card receives.
    pub fn receives(&self) -> bool {
        matches!(self, Source::Match(_))
    }

    /// Whether it takes SIGUSR1.
    pub fn is_signal(&self) -> bool {
        matches!(self, Source::Signal(..))
    }

    /// A word for it in a document.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::Udp(..) => "udp",
            Source::Unix(..) => "unix",
            Source::Signal(..) => "signal",
            Source::Match(_) => "match",
        }
    }

    /// Triggers that came and could not be told of.
    pub fn missed(&self) -> u64 {
        if let Source::Signal(.., lost) = self { *lost } else { 0 }
    }

    /// Looks once, and tells `fire` of each trigger: the number of the packet from 0, if it
    /// names one, and when it was first seen. How much it found, triggers or not.
    ///
    /// # Errors
    /// What the system says to a socket.
    pub fn look(
        &mut self,
        rx: &mut [RxQueue],
        batch: &mut Batch<'_>,
        clock: &Clock,
        fire: impl FnMut(Option<usize>, Ticks),
    ) -> Result<usize> {
        match self {
            Source::Udp(socket, name) => datagram(|buffer| socket.recv(buffer), clock, fire, name),
            Source::Unix(socket, path, _) => datagram(|buffer| socket.recv(buffer), clock, fire, path.display()),
            Source::Signal(noted, read, lost) => {
                let found = noted.next(read, lost).map(|(number, at)| (Some(number), at));
                Ok(found.into_iter().map(pair(fire)).count())
            }
            Source::Match(filters) => Ok(rx.iter_mut().map(pair_of(filters, batch, clock, fire)).sum()),
        }
    }
}

/// `fire` for both in one.
fn pair(mut fire: impl FnMut(Option<usize>, Ticks)) -> impl FnMut((Option<usize>, Ticks)) {
    move |(number, at)| fire(number, at)
}

/// Looks at what a ring has.
fn pair_of<'s>(
    filters: &'s [Filter],
    batch: &'s mut Batch<'_>,
    clock: &'s Clock,
    mut fire: impl FnMut(Option<usize>, Ticks) + 's,
) -> impl FnMut(&mut RxQueue) -> usize + 's {
    move |rx| {
        let begun = clock.now();
        let n = rx.recv(batch);
        let mut first = 0;
        while first < n {
            let end = wanted::end_of(batch, first);
            let matches = |filter: &Filter| wanted::matches(filter, batch, first..end);
            if let Some(number) = filters.iter().position(matches) {
                fire(Some(number), begun);
            }
            first = end;
        }
        batch.clear();
        n
    }
}

/// Longest datagram that is read: a number and blanks around it.
const LONGEST: usize = 64;

/// Takes a datagram, if one is there.
fn datagram(
    receive: impl Fn(&mut [u8]) -> io::Result<usize>,
    clock: &Clock,
    mut fire: impl FnMut(Option<usize>, Ticks),
    name: impl fmt::Display,
) -> Result<usize> {
    // A byte more, to know one that is longer.
    let mut buffer = [0; LONGEST + 1];
    match receive(&mut buffer) {
        Ok(len) => {
            let at = clock.now();
            fire(number(&buffer[..len]), at);
            Ok(1)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        Err(error) => Err(Error::io(format!("receiving at {name}"), error)),
    }
}

/// The packet that a datagram names, from 0: in digits, the first being 1. One that was cut off
/// names none.
fn number(text: &[u8]) -> Option<usize> {
    let digits = text.trim_ascii();
    if text.len() > LONGEST || digits.is_empty() || digits.len() > 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    number.checked_sub(1)
}

fn udp(address: SocketAddr, output: &Output) -> Result<Source> {
    let failed = |error| Error::io(format!("listening for datagrams at {address}"), error);
    let socket = UdpSocket::bind(address).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    if !address.ip().is_loopback() {
        output.warn(format_args!("all who reach {address} can have packets sent; 127.0.0.1 is reached from here only"));
    }
    Ok(Source::Udp(socket, address.to_string()))
}

fn unix(path: &Path) -> Result<Source> {
    let failed = |error: io::Error| {
        let shown = path.display();
        if error.kind() == io::ErrorKind::AddrInUse {
            let line = format!(
                "{shown}: there is something already, and a socket for datagrams needs a name of its own; remove it if no other run has it, or name another"
            );
            return Error::new(Kind::Usage, line);
        }
        Error::io(format!("listening for datagrams at {shown}"), error)
    };
    let socket = UnixDatagram::bind(path).map_err(failed)?;
    let source = Source::Unix(socket, path.to_owned(), which(path));
    if let Source::Unix(socket, ..) = &source {
        socket.set_nonblocking(true).map_err(failed)?;
    }
    Ok(source)
}

/// Which file has this name.
fn which(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Takes over a signal for each packet, and two with names of their own.
fn signal(packets: usize, clock: &Clock) -> Result<Source> {
    let real_time = (0..packets).map_while(|n| Some((signals::real_time(n + 1)?, n)));
    let named = [(SIGUSR1, 0), (SIGUSR2, 1)];
    let all: Vec<(i32, usize)> = named.into_iter().chain(real_time).collect();
    let clock = clock.clone();
    let noted = signals::note(&all, move || clock.now());
    let noted = noted.map_err(|error| Error::io("taking over the signals that fire", error))?;
    Ok(Source::Signal(noted, 0, 0))
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Unix(_, path, made) = self
            && made.is_some()
            && which(path) == *made
        {
            // Nothing better can be done with a failure: the next run says that it is there.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_read_as_they_are_shown_and_nonsense_is_refused() {
        for text in ["udp:127.0.0.1:9999", "udp:[::1]:9", "unix:/run/fire", "signal", "match:udp dst port 7"] {
            assert_eq!(text.parse::<Trigger>().unwrap().to_string(), text);
        }
        for text in ["", "signal:", "udp:9999", "udp:localhost", "unix:", "match:udp porty", "tcp:127.0.0.1:1"] {
            assert_eq!(text.parse::<Trigger>().unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn a_datagram_that_is_cut_off_names_no_packet() {
        let (near, far) = UnixDatagram::pair().unwrap();
        let mut long = vec![b' '; 65_000];
        (long[0], long[LONGEST + 1]) = (b'1', b'2');
        let mut seen = Vec::new();
        for sent in [&long[..], &long[..LONGEST], &b""[..]] {
            far.send(sent).unwrap();
            let took = datagram(|buffer| near.recv(buffer), &Clock::new(), |packet, _| seen.push(packet), "here");
            assert_eq!(took.unwrap(), 1);
        }
        assert_eq!(seen, [None, Some(0), None]);
    }

    #[test]
    fn a_socket_goes_with_its_run_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fire");
        let made = unix(&path).unwrap();
        let taken = unix(&path).err().unwrap();
        assert!(taken.kind() == Kind::Usage && taken.to_string().contains("there is something already"), "{taken}");
        drop(made);
        assert!(!path.exists());
        let replaced = unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(replaced);
        assert!(path.exists());
    }

    #[test]
    fn a_datagram_names_a_packet_in_digits() {
        for (text, packet) in [(&b"1"[..], Some(0)), (b" 12\n", Some(11)), (b"064", Some(63)), (b"9999", Some(9998))] {
            assert_eq!(number(text), packet);
        }
        for text in [&b""[..], b"0", b"-1", b"one", b"1 2", b"99999999999999999999", b"\xff"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
