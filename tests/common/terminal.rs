//! A terminal of a test: a program runs on it, and what it shows in the end can be read.

#![allow(dead_code)] // by tests that need only some of it

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use unicode_width::UnicodeWidthChar;

/// What became of a run.
pub struct Run {
    pub status: ExitStatus,
    /// Each line that stands there, blanks at its end left out.
    pub lines: Vec<String>,
    /// Whether a line was ever drawn over another.
    pub moved: bool,
    /// All that was written.
    pub written: String,
}

/// A program on a terminal.
pub struct Terminal {
    ours: File,
    child: Child,
}

impl Terminal {
    /// Starts `command` with both outputs on a terminal of so many columns.
    pub fn start(command: &mut Command, columns: u16) -> Terminal {
        let [ours, theirs] = pair(columns);
        let other = theirs.try_clone().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::from(theirs)).stderr(Stdio::from(other));
        let child = command.spawn().unwrap();
        // The terminal ends when the program does, not when this process closes its copies.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Terminal { ours: File::from(ours), child }
    }

    /// Waits for its end.
    pub fn end(mut self, columns: u16) -> Run {
        let mut bytes = Vec::new();
        let mut some = [0; 4096];
        // EIO: nobody has the other end any more.
        while let Ok(n @ 1..) = self.ours.read(&mut some) {
            bytes.extend_from_slice(&some[..n]);
        }
        let status = self.child.wait().unwrap();
        let written = String::from_utf8(bytes).unwrap();
        let mut glass = Glass { columns: columns.into(), ..Glass::default() };
        glass.show(&written);
        let lines = glass.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_string()).collect();
        Run { status, lines, moved: glass.moved, written }
    }
}

/// Both ends of a pseudo-terminal (pty(7)).
#[allow(unsafe_code)]
fn pair(columns: u16) -> [OwnedFd; 2] {
    let size = libc::winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let mut ends = [-1; 2];
    let [ours, theirs] = &mut ends;
    // SAFETY: the kernel writes both descriptors, and reads the size; name and settings are left out.
    let made = unsafe { libc::openpty(ours, theirs, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(made, 0, "{}", io::Error::last_os_error());
    // SAFETY: both were opened just now, and are nobody else's.
    let ends = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    // SAFETY: the descriptor is open; the flag keeps it from programs that are started.
    unsafe { libc::fcntl(ends[0].as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    ends
}

/// What can be seen: as much of a VT100 as is written to it. Lines are as long as they come,
/// so that those can be told which would have gone over the edge.
#[derive(Default)]
struct Glass {
    rows: Vec<Vec<char>>,
    at: [usize; 2],
    columns: usize,
    moved: bool,
}

impl Glass {
    fn show(&mut self, text: &str) {
        let mut letters = text.chars();
        self.row();
        while let Some(letter) = letters.next() {
            match letter {
                '\n' => self.at[0] += 1,
                '\r' => self.at[1] = 0,
                '\x1b' => {
                    assert_eq!(letters.next(), Some('['), "only control sequences are known");
                    let mut number = String::new();
                    let last = letters.by_ref().find(|c| {
                        c.is_ascii_alphabetic() || {
                            number.push(*c);
                            false
                        }
                    });
                    self.obey(last.unwrap(), number.parse().unwrap_or(1));
                }
                letter => {
                    let [_, at] = self.at;
                    let row = self.row();
                    row.resize(row.len().max(at + 1), ' ');
                    row[at] = letter;
                    self.at[1] += letter.width().unwrap_or(0);
                }
            }
            self.row();
        }
    }

    fn obey(&mut self, what: char, number: usize) {
        let at = self.at[1];
        match what {
            'A' => (self.at[0], self.moved) = (self.at[0].saturating_sub(number), true),
            'B' => self.at[0] += number,
            'K' if number == 2 => self.row().clear(),
            'K' => self.row().truncate(at),
            'm' => {}
            _ => panic!("no such control sequence: {number}{what}"),
        }
        self.moved |= what == 'K';
    }

    fn row(&mut self) -> &mut Vec<char> {
        let at = self.at[0];
        while self.rows.len() <= at {
            self.rows.push(Vec::new());
        }
        &mut self.rows[at]
    }
}
