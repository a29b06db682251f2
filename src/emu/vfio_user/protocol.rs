//! Messages of the vfio-user protocol, version 0.0 (QEMU, docs/interop/vfio-user).
//!
//! Every message begins with 16 bytes: id, command, size with this header,
//! flags, errno. All fields are in the byte order of the host.

/// Bytes of a message header.
pub const HEADER: usize = 16;

/// Largest message we accept: a transfer of [`MAX_TRANSFER`] and its headers.
pub const MAX_MESSAGE: usize = MAX_TRANSFER + 4096;

/// Largest register transfer we announce.
pub const MAX_TRANSFER: usize = 64 << 10;

/// File descriptors we accept with a message.
pub const MAX_FDS: usize = 16;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Agree on a version.
    Version,
    /// Memory appears.
    DmaMap,
    /// Memory disappears.
    DmaUnmap,
    /// What the device is.
    DeviceInfo,
    /// What a region (BAR, configuration space) is.
    RegionInfo,
    /// What an interrupt index is.
    IrqInfo,
    /// Eventfds to signal.
    SetIrqs,
    /// Register read.
    RegionRead,
    /// Register write.
    RegionWrite,
    /// Power-on reset.
    Reset,
    /// Something we do not serve.
    Other(u16),
}

impl Command {
    fn new(code: u16) -> Self {
        match code {
            1 => Command::Version,
            2 => Command::DmaMap,
            3 => Command::DmaUnmap,
            4 => Command::DeviceInfo,
            5 => Command::RegionInfo,
            7 => Command::IrqInfo,
            8 => Command::SetIrqs,
            9 => Command::RegionRead,
            10 => Command::RegionWrite,
            13 => Command::Reset,
            other => Command::Other(other),
        }
    }
}

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the client, echoed in the reply.
    pub id: u16,
    /// What is asked.
    pub command: Command,
    code: u16,
    /// Bytes that follow the header.
    pub payload: usize,
    /// Whether a reply is wanted.
    pub reply: bool,
}

impl Header {
    const REPLY: u32 = 1;
    const TYPE: u32 = 0xf;
    const NO_REPLY: u32 = 1 << 4;
    const ERROR: u32 = 1 << 5;

    /// Reads a header; `None` if its size makes no sense or it is not a command,
    /// after which the stream cannot be followed any more.
    pub fn read(bytes: &[u8; HEADER]) -> Option<Header> {
        let code = u16_at(bytes, 2)?;
        let flags = u32_at(bytes, 8)?;
        let payload = (u32_at(bytes, 4)? as usize).checked_sub(HEADER)?;
        let sensible = flags & Self::TYPE == 0 && payload <= MAX_MESSAGE - HEADER;
        sensible.then_some(Header {
            id: u16_at(bytes, 0)?,
            command: Command::new(code),
            code,
            payload,
            reply: flags & Self::NO_REPLY == 0,
        })
    }

    /// The reply to it: `payload`, or an errno.
    pub fn reply_with(&self, result: &Result<Vec<u8>, i32>) -> Vec<u8> {
        let (flags, errno, payload) = match result {
            Ok(payload) => (Self::REPLY, 0, payload.as_slice()),
            Err(errno) => (Self::REPLY | Self::ERROR, *errno as u32, &[][..]),
        };
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&self.id.to_ne_bytes());
        bytes.extend_from_slice(&self.code.to_ne_bytes());
        for word in [(HEADER + payload.len()) as u32, flags, errno] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// The 16-bit field at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The 32-bit field at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The 64-bit field at `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// `words` as bytes.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_answered_with_its_own_id() {
        let mut bytes = [0; HEADER];
        bytes[..2].copy_from_slice(&7_u16.to_ne_bytes());
        bytes[2..4].copy_from_slice(&9_u16.to_ne_bytes());
        bytes[4..8].copy_from_slice(&32_u32.to_ne_bytes());
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.id, header.command, header.payload, header.reply), (7, Command::RegionRead, 16, true));
        let reply = header.reply_with(&Ok(vec![1, 2]));
        assert_eq!((u16_at(&reply, 0), u16_at(&reply, 2), u32_at(&reply, 4)), (Some(7), Some(9), Some(18)));
        assert_eq!((u32_at(&reply, 8), &reply[HEADER..]), (Some(1), &[1, 2][..]));
        let refusal = header.reply_with(&Err(libc::EINVAL));
        assert_eq!((u32_at(&refusal, 8), u32_at(&refusal, 12)), (Some(0x21), Some(22)));
    }

    proptest! {
        #[test]
        fn no_header_asks_for_more_than_the_largest_message(bytes in any::<[u8; HEADER]>()) {
            if let Some(header) = Header::read(&bytes) {
                prop_assert!(header.payload <= MAX_MESSAGE);
            }
        }
    }
}
