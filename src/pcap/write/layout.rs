//! What becomes of what is written, and what is told of it.

use super::Series;
use std::path::Path;

/// What becomes of the file's bytes.
pub struct Layout<'a> {
    /// They go on in another file now and then.
    pub series: Option<Series>,
    /// They are compressed with gzip (RFC 1952), a member for each chunk: what was flushed is
    /// readable, whatever follows it.
    pub packed: bool,
    /// Whether the reader of a named pipe is waited for no longer.
    pub stopped: &'a dyn Fn() -> bool,
}

impl Default for Layout<'_> {
    fn default() -> Self {
        Layout { series: None, packed: false, stopped: &|| false }
    }
}

/// What is told of the file while it is written.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// The file of a series that was begun.
    File(&'a Path),
    /// Up to this byte the file is whole.
    Whole(u64),
}
