//! What the firmware answers with, or tells by itself (§7.10.8).

/// What is in a buffer before the firmware writes to it.
pub const UNTOUCHED: u8 = 0xff;

/// Why the firmware refused a command (§7.10.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u8);

impl Code {
    pub const OK: Code = Code(0);
    pub const EAGAIN: Code = Code(8);
    pub const EBUSY: Code = Code(12);
    pub const EEXIST: Code = Code(13);
    pub const ENOSPC: Code = Code(16);

    fn name(self) -> &'static str {
        const NAMES: [&str; 23] = [
            "OK", "EPERM", "ENOENT", "ESRCH", "EINTR", "EIO", "ENXIO", "E2BIG", "EAGAIN", "ENOMEM", "EACCES", "EFAULT",
            "EBUSY", "EEXIST", "EINVAL", "ENOTTY", "ENOSPC", "ENOSYS", "ERANGE", "EFLUSHED", "BAD_ADDR", "EMODE",
            "EFBIG",
        ];
        NAMES.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }
}

/// What goes with a command.
#[derive(Clone, Copy, Debug)]
pub enum Buffer<'a> {
    /// Nothing.
    None,
    /// Data for the firmware, which may change it and return it.
    Send(&'a [u8]),
    /// Room for so many bytes from it.
    Receive(usize),
    /// The same, which a trace does not show, and which may all be ones.
    Hidden(usize),
}

/// The firmware's answer.
#[derive(Debug)]
pub struct Answer {
    /// Whether it did what it was told.
    pub code: Code,
    /// The 16 bytes of parameters.
    pub params: [u8; 16],
    /// What it left in the buffer.
    pub data: Vec<u8>,
}

impl Answer {
    /// Why the answer to `opcode` is none, if so: a code, or a buffer that is as it was given.
    pub fn refusal(&self, opcode: u16, buffer: Buffer<'_>) -> Option<String> {
        match buffer {
            _ if self.code != Code::OK => Some(self.why(opcode)),
            Buffer::Receive(_) if self.data.iter().all(|byte| *byte == UNTOUCHED) => {
                Some(format!("command {opcode:#06x}: answered with nothing"))
            }
            _ => None,
        }
    }

    /// The command and the code that it was answered with.
    pub fn why(&self, opcode: u16) -> String {
        format!("command {opcode:#06x}: {} {}", self.code.0, self.code.name())
    }
}

/// An event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What happened.
    pub opcode: u16,
    /// The 16 bytes of parameters.
    pub params: [u8; 16],
}

/// A little-endian number in a block of bytes; zero where the block has ended.
pub fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

/// As [`le16`], of 32 bits.
pub fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}
