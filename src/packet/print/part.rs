//! Bytes of a packet, none of which is read beyond its end.

use std::fmt;

/// Why a line ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// What this protocol says of itself was not captured, or is not there.
    At(&'static str),
    /// Writing failed, as it never does into a string.
    Text,
}

impl From<fmt::Error> for Cut {
    fn from(_: fmt::Error) -> Self {
        Cut::Text
    }
}

/// Bytes from somewhere in a packet on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// Those that were captured: `len` at most.
    bytes: &'a [u8],
    /// How many there were on the wire, or as many as a header says.
    pub(super) len: usize,
    /// What reads them.
    protocol: &'static str,
}

impl<'a> Part<'a> {
    pub(super) fn new(bytes: &'a [u8], len: usize, protocol: &'static str) -> Self {
        let len = len.max(bytes.len());
        Part { bytes, len, protocol }
    }

    /// The bytes that were captured.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether all of them were captured.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() == self.len
    }

    /// The same, read as another protocol.
    pub(super) fn of(self, protocol: &'static str) -> Self {
        Part { protocol, ..self }
    }

    /// What is behind the first `at` bytes.
    pub(super) fn from(self, at: usize) -> Self {
        Part { bytes: self.bytes.get(at..).unwrap_or_default(), len: self.len.saturating_sub(at), ..self }
    }

    /// The first `len` bytes, or all where there are fewer.
    pub(super) fn first(self, len: usize) -> Self {
        Part { bytes: &self.bytes[..self.bytes.len().min(len)], len: self.len.min(len), ..self }
    }

    /// `N` bytes at `at`.
    pub(super) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Cut> {
        let found = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        found.copied().ok_or(Cut::At(self.protocol))
    }

    /// Fails if the first `len` bytes were not captured.
    pub(super) fn has(&self, len: usize) -> Result<(), Cut> {
        if self.bytes.len() < len { Err(Cut::At(self.protocol)) } else { Ok(()) }
    }

    pub(super) fn byte(&self, at: usize) -> Result<u8, Cut> {
        self.array(at).map(|[byte]| byte)
    }

    pub(super) fn word(&self, at: usize) -> Result<u16, Cut> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub(super) fn long(&self, at: usize) -> Result<u32, Cut> {
        self.array(at).map(u32::from_be_bytes)
    }
}
