//! Files of a series that are not written any more, on their way to the disk.
//!
//! A thread of its own waits for the disk, so that the one that writes goes on in the next file
//! meanwhile; some errors only show there.

use super::sink::Sink;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Files that may wait for the disk: behind them the writer waits too.
const FILES: usize = 64;

/// The thread, and the way to it.
type Thread = (SyncSender<(PathBuf, Sink)>, JoinHandle<Synced>);

/// Sends files to the disk.
#[derive(Debug, Default)]
pub(super) struct Syncer {
    thread: Option<Thread>,
    /// What was synced without it.
    own: Synced,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Synced {
    /// Files that the disk has.
    pub(super) files: u64,
    /// The first that it has not, and why.
    pub(super) failed: Option<(PathBuf, io::Error)>,
}

impl Synced {
    fn sync(&mut self, path: PathBuf, sink: &Sink) {
        match sink.sync() {
            Ok(()) => self.files += 1,
            Err(error) if self.failed.is_none() => self.failed = Some((path, error)),
            Err(_) => {}
        }
    }
}

impl Syncer {
    /// Has the file at `path` sent to the disk, and closed.
    pub(super) fn take(&mut self, path: PathBuf, sink: Sink) {
        if self.thread.is_none() {
            self.thread = begin().ok();
        }
        let rest = match &self.thread {
            Some((way, _)) => way.send((path, sink)).err().map(|unsent| unsent.0),
            None => Some((path, sink)),
        };
        // Nobody else does it.
        if let Some((path, sink)) = rest {
            self.own.sync(path, &sink);
        }
    }

    /// Waits until the disk has all of them, and has the last one sent there too, if there is one.
    pub(super) fn finish(self, last: Option<(PathBuf, &Sink)>) -> Synced {
        let Syncer { thread, mut own } = self;
        if let Some((path, sink)) = last {
            own.sync(path, sink);
        }
        let Some((way, thread)) = thread else { return own };
        drop(way);
        let Synced { files, failed } = thread.join().unwrap_or_default();
        Synced { files: files + own.files, failed: failed.or(own.failed) }
    }
}

fn begin() -> io::Result<Thread> {
    let (way, files) = sync_channel::<(PathBuf, Sink)>(FILES);
    let body = move || {
        let mut synced = Synced::default();
        files.iter().for_each(|(path, sink)| synced.sync(path, &sink));
        synced
    };
    Ok((way, thread::Builder::new().name("sync".into()).spawn(body)?))
}
