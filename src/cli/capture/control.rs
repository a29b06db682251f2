//! `--control NAME`: the thread that listens to `bmnic ctl`, beside those that capture.
//!
//! ```text
//!   bmnic ctl NAME filter ...  --line-->  control thread  --order-->  posts of the threads
//!                              <-JSON---                  <-counts--  that capture (orders)
//! ```
//!
//! This user and root may connect. A client may be slow, send garbage or go away: the thread
//! reads what is there and waits for nobody, keeps a few connections at a time and gives the
//! oldest up for a new one, and shares nothing with the threads that capture but their posts.

use super::card::{self, Narrowing, PushDown};
use super::orders::{Desk, Moment};
use crate::cli::ctl::{CONTROL, LONGEST, Verb};
use crate::cli::signal::Stop;
use crate::cli::{exit, output};
use crate::driver::Wanted;
use crate::error::{Error, Kind, Result};
use crate::packet::Filter;
use crate::pcap::write::Turner;
use crate::publish::name;
use crate::sys::{self, EventFd};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections at a time.
const CLIENTS: usize = 32;

/// A name that was taken, at which nobody listens yet: who connects waits.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    listener: Arc<UnixListener>,
}

impl Name {
    /// Takes it.
    ///
    /// # Errors
    /// As [`name::take`].
    pub fn take(name: &str) -> Result<Name> {
        let directory = name::directory();
        let path = name::path(&directory, CONTROL, name)?;
        let listener = name::take(&directory, &path, CONTROL, name)?;
        Ok(Name { path, listener: Arc::new(listener) })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What the main thread and the one that listens tell each other.
#[derive(Debug, Default)]
pub struct Board {
    /// The card's counters are to be looked at now.
    wanted: AtomicBool,
    /// How often they were.
    looks: AtomicU64,
    /// Packets a second, as bits of a float.
    rate: AtomicU64,
    /// Packets that the card has missed.
    missed: AtomicU64,
    rule: Mutex<Rule>,
    /// What the card receives.
    pub card: Narrowing,
}

/// The filter that holds.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// It, if it was changed.
    pub filter: Option<Filter>,
    /// How often it was.
    pub changes: u64,
}

impl Board {
    /// Leaves this to the card, or to the kernel.
    pub fn new(push_down: PushDown, kernels: bool) -> Board {
        Board { card: Narrowing::new(push_down, kernels), ..Board::default() }
    }

    /// Whether somebody wants fresh figures.
    pub fn wants(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// These are fresh.
    pub fn put(&self, rate: f64, missed: u64) {
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
        self.missed.store(missed, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        self.looks.fetch_add(1, Ordering::Release);
    }

    /// The filter that holds now.
    pub fn rule(&self) -> Rule {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fresh figures, or the last if the main thread is kept from looking.
    fn look(&self) -> (f64, u64) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let (before, deadline) = (self.looks.load(Ordering::Acquire), Instant::now() + PATIENCE);
        self.wanted.store(true, Ordering::Relaxed);
        while self.looks.load(Ordering::Acquire) == before && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        (f64::from_bits(self.rate.load(Ordering::Relaxed)), self.missed.load(Ordering::Relaxed))
    }
}

/// A thread that listens until it is dropped.
#[derive(Debug)]
pub struct Control {
    name: Option<Name>,
    over: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Begins to listen at `name` on behalf of the threads of `desk`, of which `board` shows
    /// what this one cannot see. `filter` is what they begin with; `turner` begins another file.
    ///
    /// # Errors
    /// If there is no descriptor or thread for it.
    pub fn listen(
        name: Name,
        desk: Desk,
        board: &Arc<Board>,
        filter: &Filter,
        turner: Option<Turner>,
        stop: &Stop,
    ) -> Result<Control> {
        const DOING: &str = "starting the thread that listens to bmnic ctl";
        let doing = |e| Error::io(DOING, e);
        name.listener.set_nonblocking(true).map_err(doing)?;
        let over = Arc::new(EventFd::new().map_err(doing)?);
        let (told, listener) = (Arc::clone(&over), Arc::clone(&name.listener));
        let (board, stop, first) = (Arc::clone(board), stop.clone(), filter.to_string());
        let mut server = Server { desk, board, turner, stop, first, started: Instant::now() };
        let body = move || server.listen(&listener, &told);
        let thread = thread::Builder::new().name("control".into()).spawn(body);
        let thread = thread.map_err(|e| Error::thread(DOING, e))?;
        Ok(Control { name: Some(name), over, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        // The name goes first: who comes then is told that there is none.
        drop(self.name.take());
        let (told, deadline) = (self.over.signal(), Instant::now() + PATIENCE);
        // One that looks up the name of a host for long is left behind; it holds nothing.
        while told.is_ok()
            && self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// A connection, and what it has said so far.
struct Client {
    socket: UnixStream,
    line: Vec<u8>,
}

/// What is to become of a connection.
enum Next {
    Wait,
    Answer(String),
    Close,
}

impl Client {
    fn new(socket: UnixStream) -> io::Result<Client> {
        socket.set_nonblocking(true)?;
        Ok(Client { socket, line: Vec::new() })
    }

    /// Takes what is there, once; a line ends with its first byte of that kind, or where the
    /// other side has no more to say.
    fn read(&mut self) -> Next {
        let mut some = [0; 4096];
        let n = match self.socket.read(&mut some) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return Next::Wait,
            Err(_) => return Next::Close,
        };
        let end = some[..n].iter().position(|byte| *byte == b'\n');
        self.line.extend_from_slice(&some[..end.unwrap_or(n)]);
        match end {
            _ if self.line.len() > LONGEST => Next::Close,
            Some(_) => Next::Answer(String::from_utf8_lossy(&self.line).trim_end().to_string()),
            None if n == 0 => Next::Close,
            None => Next::Wait,
        }
    }
}

struct Server {
    desk: Desk,
    board: Arc<Board>,
    turner: Option<Turner>,
    stop: Stop,
    /// The filter of the command line.
    first: String,
    started: Instant,
}

impl Server {
    fn listen(&mut self, listener: &UnixListener, over: &EventFd) {
        let mut clients: Vec<Client> = Vec::new();
        loop {
            let mut fds: Vec<BorrowedFd<'_>> = vec![over.as_fd()];
            fds.extend(clients.iter().map(|client| client.socket.as_fd()));
            fds.push(listener.as_fd());
            // Failing to sleep is no reason to end a run; then nobody is heard any more.
            let Ok(Some(first)) = sys::wait_any(&fds) else { return };
            let Some(at) = first.checked_sub(1) else { return };
            let Some(client) = clients.get_mut(at) else {
                match listener.accept().and_then(|(socket, _)| Client::new(socket)) {
                    Ok(client) => clients.push(client),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    // No descriptor left, for example: it may pass.
                    Err(_) => thread::sleep(Duration::from_millis(50)),
                }
                if clients.len() > CLIENTS {
                    clients.remove(0);
                }
                continue;
            };
            match client.read() {
                Next::Wait => {}
                Next::Close => drop(clients.remove(at)),
                Next::Answer(line) => {
                    let mut client = clients.remove(at);
                    let answer = match self.answer(&line) {
                        Ok(done) => json!({ "done": done }),
                        Err(error) => json!({ "error": error.to_string(), "exit": exit::code(error.kind()) }),
                    };
                    // It fits into what the kernel holds for one that reads later, or never.
                    let _ = writeln!(client.socket, "{answer}");
                }
            }
        }
    }

    fn answer(&mut self, line: &str) -> Result<Value> {
        let (verb, rest) = Verb::parse(line)?;
        match verb {
            Verb::Filter => self.filter(rest),
            Verb::Status => self.status(),
            Verb::Flush => self.flush(),
            Verb::Rotate => self.rotate(),
            Verb::Stop => {
                self.stop.end();
                Ok(json!({ "stopped": true }))
            }
        }
    }

    /// Another filter from now on.
    fn filter(&mut self, text: &str) -> Result<Value> {
        let filter = Filter::parse(text)?;
        let asked = Instant::now();
        let wanted = filter.wanted().clone();
        // What the new one wants must come in before it holds.
        if !self.board.card.is_asked(&wanted) {
            self.board.card.ask(&Wanted::default())?;
        }
        let given = self.desk.give(Some(&filter), false);
        // What is late holds later all the same.
        if given.as_ref().err().is_none_or(|error| error.kind() == Kind::Timeout) {
            let mut rule = self.board.rule.lock().unwrap_or_else(PoisonError::into_inner);
            *rule = Rule { changes: rule.changes + 1, filter: Some(filter) };
        }
        let (given, waited) = (given?, asked.elapsed());
        // A card that is not narrowed brings all the same.
        let _ = self.board.card.ask(&wanted);
        let mut done = self.counts(given);
        done["waited_ns"] = output::ns(waited).into();
        Ok(done)
    }

    fn status(&mut self) -> Result<Value> {
        let (rate, missed) = self.board.look();
        let moment = self.desk.give(None, false)?;
        let mut done = self.counts(moment);
        done["pps"] = json!(rate);
        done["missed"] = json!(missed);
        Ok(done)
    }

    /// Counts when an order was carried out. What was received is what was captured, filtered
    /// or dropped for the disk.
    fn counts(&self, moment: Moment) -> Value {
        let Moment { time, received, filtered, taken, dropped, written, owed: _ } = moment;
        let Rule { filter, changes } = self.board.rule();
        json!({
            "filter": filter.map_or_else(|| self.first.clone(), |filter| filter.to_string()),
            "filter_changes": changes,
            "in_card": card::list(&self.board.card.now()),
            "time_ns": time,
            "elapsed_ns": output::ns(self.started.elapsed()),
            "received": received,
            "filtered": filtered,
            "captured": taken,
            "disk_slow": dropped,
            "written": written,
        })
    }

    /// Has everything written that was taken up to now, and waits for it.
    fn flush(&mut self) -> Result<Value> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let Moment { taken, mut written, mut owed, .. } = self.desk.give(None, true)?;
        let deadline = Instant::now() + PATIENCE;
        while owed > 0 {
            if Instant::now() >= deadline {
                let line = format!("the disk is behind: of {taken} packets {owed} are not in the file");
                return Err(Error::new(Kind::Timeout, line));
            }
            thread::sleep(Duration::from_millis(1));
            Moment { written, owed, .. } = self.desk.give(None, false)?;
        }
        Ok(json!({ "captured": taken, "written": written }))
    }

    /// Goes on in another file, where the capture writes several.
    fn rotate(&mut self) -> Result<Value> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let Some(turner) = &self.turner else {
            let line = "this capture writes one file, and there is no other to go on in";
            return Err(Error::new(Kind::Unsupported, line));
        };
        let number = turner.ask();
        self.desk.give(None, true)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match turner.answer(number) {
                Some(Ok(path)) => return Ok(json!({ "file": path.display().to_string() })),
                Some(Err(line)) => return Err(Error::new(Kind::Unsupported, line)),
                None if Instant::now() >= deadline => {
                    let line = "the disk is behind; another file is begun once it has caught up";
                    return Err(Error::new(Kind::Timeout, line));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
