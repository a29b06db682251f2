//! Lines that change while a command runs, on standard error, if that is a terminal.
//!
//! ```text
//!   [#####---------------] 5 s, 15 s left  64 bytes
//! ```
//!
//! What else is printed meanwhile goes above them ([`aside`]), and they are taken away before
//! the results. They are shorter than most terminals are wide, and nothing is written behind
//! them: so nothing is left over when a terminal is made narrower.

use super::output::wait;
use super::screen::Screen;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The lines that are drawn now, if any are.
static DRAWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Drawn so often a second at most.
const RATE: u8 = 10;

/// When what is waited for is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// When somebody says so.
    Open,
    /// After this time.
    Time(Duration),
    /// After so many steps, packets, or what else [`Live::reach`] counts.
    Count(u64),
}

/// Prints something while lines are drawn: they make room for it.
pub fn aside<T>(print: impl FnOnce() -> T) -> T {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match drawn {
        Some(lines) => lines.suspend(print),
        None => print(),
    }
}

/// Lines that change in place; none at all where nobody sees them.
#[derive(Debug)]
pub struct Live {
    bars: Vec<ProgressBar>,
}

impl Live {
    /// Without lines.
    pub fn none() -> Self {
        Live { bars: Vec::new() }
    }

    /// So many lines, if the screen is one on which lines can be written over.
    pub fn lines(lines: usize) -> Self {
        if !Screen::stderr().has_cursor() {
            return Live::none();
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(Stderr), RATE));
        let style = style("{wide_msg}");
        let bars = (0..lines).map(|_| all.add(ProgressBar::no_length().with_style(style.clone()))).collect();
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(all);
        Live { bars }
    }

    /// A line with the time that has passed and, where there is a goal, a bar, and what is left;
    /// behind it what [`Live::show`] says. It moves by itself, once a second: more often would
    /// disturb what is measured.
    pub fn bar(goal: Goal) -> Self {
        let live = Live::lines(1);
        if let Some(bar) = live.bars.first() {
            let passed = move |state: &ProgressState, out: &mut dyn fmt::Write| {
                let width = Screen::stderr().columns().unwrap_or(0) / 4;
                // A line that is drawn again in a second.
                let _ = out.write_str(&passed(state.elapsed(), state.pos(), goal, width.min(20)));
            };
            bar.set_style(style("{passed}  {wide_msg}").with_key("passed", passed));
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        live
    }

    /// Whether anyone sees them: if not, what would be shown need not be made.
    pub fn is_visible(&self) -> bool {
        !self.bars.is_empty()
    }

    /// Changes line `i`.
    pub fn show(&self, i: usize, text: impl Into<String>) {
        if let Some(bar) = self.bars.get(i) {
            bar.set_message(text.into());
        }
    }

    /// So much of a [`Goal::Count`] is done.
    pub fn reach(&self, count: u64) {
        if let Some(bar) = self.bars.first() {
            bar.set_position(count);
        }
    }

    /// So much more of it.
    pub fn advance(&self, count: u64) {
        if let Some(bar) = self.bars.first() {
            bar.inc(count);
        }
    }
}

impl Drop for Live {
    /// Takes the lines away, so that the summary stands alone.
    fn drop(&mut self) {
        if self.bars.is_empty() {
            return;
        }
        for bar in &self.bars {
            bar.finish_and_clear();
        }
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// `[#####---------------] 5 s, 15 s left`, or only the time where there is no goal. What is
/// left of a count is reckoned from what was done, which is not always as quick.
fn passed(time: Duration, done: u64, goal: Goal, width: usize) -> String {
    let (share, left) = match goal {
        Goal::Open => return wait(time),
        Goal::Time(total) => {
            let share = time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
            (share, Some(format!("{} left", wait(total.saturating_sub(time)))))
        }
        Goal::Count(total) => {
            let share = done as f64 / total.max(1) as f64;
            let left = Duration::try_from_secs_f64(time.as_secs_f64() * (1.0 / share - 1.0).max(0.0));
            (share, left.ok().map(|left| format!("about {} left", wait(left))))
        }
    };
    let full = (share.min(1.0) * width as f64) as usize;
    let left = left.map_or(String::new(), |left| format!(", {left}"));
    format!("[{}{}] {}{left}", "#".repeat(full), "-".repeat(width - full), wait(time))
}

/// Standard error, as a terminal that lines are drawn on.
#[derive(Debug)]
struct Stderr;

impl Stderr {
    fn put(text: impl fmt::Display) -> io::Result<()> {
        write!(io::stderr(), "{text}")
    }

    fn by(count: usize, what: char) -> io::Result<()> {
        if count > 0 { Self::put(format_args!("\x1b[{count}{what}")) } else { Ok(()) }
    }
}

impl TermLike for Stderr {
    fn width(&self) -> u16 {
        let columns = Screen::stderr().columns().unwrap_or(80);
        columns.try_into().unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::MAX
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        Self::by(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        Self::by(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        Self::by(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        Self::by(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        Self::put(format_args!("{s}\r\n"))
    }

    /// Spaces up to the right edge are none: a terminal that is made narrower would take them
    /// for text, and put them on a line of their own.
    fn write_str(&self, s: &str) -> io::Result<()> {
        let text = s.trim_end_matches(' ');
        if text.len() == s.len() { Self::put(text) } else { Self::put(format_args!("{text}\x1b[K")) }
    }

    fn clear_line(&self) -> io::Result<()> {
        Self::put("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_with_time_and_says_what_is_left() {
        let second = Duration::from_secs;
        for (time, total, text) in [
            (0, Some(60), "[--------------------] 0 s, 1 min 0 s left"),
            (15, Some(60), "[#####---------------] 15 s, 45 s left"),
            (61, Some(60), "[####################] 1 min 1 s, 0 s left"),
            (0, Some(0), "[--------------------] 0 s, 0 s left"),
            (90, None, "1 min 30 s"),
        ] {
            let goal = total.map_or(Goal::Open, |total| Goal::Time(second(total)));
            assert_eq!(passed(second(time), 0, goal, 20), text);
        }
    }

    #[test]
    fn a_bar_fills_with_what_is_done_and_reckons_what_is_left() {
        for (time, done, total, text) in [
            (3, 0, 4, "[----] 3 s"),
            (3, 1, 4, "[#---] 3 s, about 9 s left"),
            (9, 3, 4, "[###-] 9 s, about 3 s left"),
            (9, 5, 4, "[####] 9 s, about 0 s left"),
            (0, 0, 0, "[----] 0 s"),
        ] {
            assert_eq!(passed(Duration::from_secs(time), done, Goal::Count(total), 4), text);
        }
    }
}
