//! What a wire says of the frames that it did not simply carry.

use std::borrow::Cow;

/// Something that a wire did to frames, or saw, and to how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its name in a document: `kernel_dropped`.
    pub key: &'static str,
    /// The same in words that follow a count of frames.
    pub words: Cow<'static, str>,
    /// How many.
    pub frames: u64,
    /// What it means for them.
    pub fate: Fate,
}

/// What became of the frames of a [`Note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They passed; the count is for who wants to know.
    Passed,
    /// They were on their way to the port and did not reach it.
    LostIn,
    /// The port had sent them, and nobody got them.
    LostOut,
    /// They are in a file that is played, and cannot be on a wire.
    LeftOut,
    /// What was asked for was done to them (`loss=1%`), on their way to the port.
    MeantIn,
    /// The same, on their way from the port.
    MeantOut,
    /// The card did it to them, as it was asked to (`fault=`); what came of it is counted
    /// where it was met.
    Faulted,
}

impl Note {
    /// A count of frames that passed.
    pub fn passed(key: &'static str, words: &'static str, frames: u64) -> Self {
        Note::new(Fate::Passed, key, words, frames)
    }

    /// A count with what it means.
    pub fn new(fate: Fate, key: &'static str, words: impl Into<Cow<'static, str>>, frames: u64) -> Self {
        Note { key, words: words.into(), frames, fate }
    }
}
