//! Words in colour: whether something went well, where somebody looks for that.

use super::screen::Screen;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, Ordering};

/// When words are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Also in a pipe
    Always,
    /// Nowhere
    Never,
}

/// What was asked for, for what is said where no options are known.
static ASKED: AtomicU8 = AtomicU8::new(Color::Auto as u8);

impl Color {
    /// Holds for the whole program from now on.
    pub fn choose(self) {
        ASKED.store(self as u8, Ordering::Relaxed);
    }

    /// Whether words on this screen are coloured.
    pub fn is_on(screen: Screen) -> bool {
        let asked = ASKED.load(Ordering::Relaxed);
        // As no-color.org has it: set, and not to nothing.
        let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        asked == Color::Always as u8 || (asked == Color::Auto as u8 && screen.has_cursor() && !unwanted())
    }
}

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not quite.
    Warning,
    /// As it should not be.
    Bad,
    /// Nothing much.
    Quiet,
}

impl Tone {
    /// `text` with what it begins with in colour (SGR, ECMA-48 §8.3.117), if `on`.
    pub fn paint(self, text: &str, begin: usize, on: bool) -> Cow<'_, str> {
        let code = match self {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
            Tone::Quiet => "2",
        };
        match text.split_at_checked(begin) {
            Some((begin, rest)) if on => format!("\x1b[{code}m{begin}\x1b[0m{rest}").into(),
            _ => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_coloured_if_anything_is() {
        assert_eq!(Tone::Bad.paint("failed  it", 6, true), "\x1b[1;31mfailed\x1b[0m  it");
        assert_eq!(Tone::Bad.paint("failed  it", 6, false), "failed  it");
        assert_eq!(Tone::Good.paint("ok", 9, true), "ok");
    }
}
