//! Entries of completion queues as bytes.

/// Opcodes, in the upper half of the last byte.
const SENT: u8 = 0x00;
const RECEIVED: u8 = 0x20;
const SEND_ERROR: u8 = 0xd0;
const RECEIVE_ERROR: u8 = 0xe0;

/// What an error entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub syndrome: u8,
    /// What the maker adds.
    pub vendor: u8,
}

impl Failure {
    /// A frame is longer than the buffers for it.
    pub const LENGTH: Failure = Failure { syndrome: 0x01, vendor: 0x32 };
    /// An entry of a work queue makes no sense.
    pub const OPERATION: Failure = Failure { syndrome: 0x02, vendor: 0x68 };
    /// A key does not let the queue have the bytes that an entry names.
    pub const KEY: Failure = Failure { syndrome: 0x04, vendor: 0x53 };
    /// Memory that an entry names is not there.
    pub const MEMORY: Failure = Failure { syndrome: 0x04, vendor: 0x52 };
    /// The queue had failed before.
    pub const FLUSHED: Failure = Failure { syndrome: 0x05, vendor: 0xf5 };
}

/// What a received frame's entry says besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Entry of the receive queue, where it consists of strides.
    pub entry: u16,
    /// Hash, and what was hashed.
    pub hash: u32,
    /// See `hash`.
    pub hash_type: u8,
    /// Sum over the network layer's packet.
    pub sum: u16,
    /// Layers that are right: 1 Ethernet, 2 IP, 4 transport.
    pub checked: u8,
    /// Kinds of headers, and that a tag was taken off.
    pub headers: u8,
    /// The tag.
    pub tag: u16,
    /// What the queue's maker calls it.
    pub user_index: u32,
    /// Filler, strides, and bytes.
    pub bytes: u32,
    /// When it came.
    pub stamp: u64,
    /// What the flow's maker calls it.
    pub flow: u32,
    /// Position in the receive queue, or first stride.
    pub counter: u16,
}

fn put<const N: usize>(entry: &mut [u8; 64], at: usize, bytes: [u8; N]) {
    entry[at..at + N].copy_from_slice(&bytes);
}

/// A packet was sent.
pub fn sent(opcode: u8, sqn: u32, user_index: u32, counter: u16, stamp: u64) -> [u8; 64] {
    let mut entry = [0; 64];
    put(&mut entry, 0x20, user_index.to_be_bytes());
    put(&mut entry, 0x30, stamp.to_be_bytes());
    put(&mut entry, 0x38, (u32::from(opcode) << 24 | sqn).to_be_bytes());
    put(&mut entry, 0x3c, counter.to_be_bytes());
    entry[0x3f] = SENT;
    entry
}

/// Whether an entry is of a send queue.
pub fn is_sent(entry: &[u8; 64]) -> bool {
    matches!(entry[0x3f] & 0xf0, SENT | SEND_ERROR)
}

/// A frame was received.
#[inline]
pub fn received(frame: &Received) -> [u8; 64] {
    let mut entry = [0; 64];
    put(&mut entry, 0x02, frame.entry.to_be_bytes());
    put(&mut entry, 0x0c, frame.hash.to_be_bytes());
    entry[0x10] = frame.hash_type;
    put(&mut entry, 0x14, frame.sum.to_be_bytes());
    (entry[0x1c], entry[0x1d]) = (frame.checked, frame.headers);
    put(&mut entry, 0x1e, frame.tag.to_be_bytes());
    put(&mut entry, 0x20, frame.user_index.to_be_bytes());
    put(&mut entry, 0x2c, frame.bytes.to_be_bytes());
    put(&mut entry, 0x30, frame.stamp.to_be_bytes());
    put(&mut entry, 0x38, frame.flow.to_be_bytes());
    put(&mut entry, 0x3c, frame.counter.to_be_bytes());
    entry[0x3f] = RECEIVED;
    entry
}

/// An entry of a send queue, or of a receive queue, failed.
pub fn failed(sends: bool, failure: Failure, opcode: u8, queue: u32, user_index: u32, counter: u16) -> [u8; 64] {
    let mut entry = [0; 64];
    put(&mut entry, 0x20, user_index.to_be_bytes());
    (entry[0x36], entry[0x37]) = (failure.vendor, failure.syndrome);
    put(&mut entry, 0x38, (u32::from(opcode) << 24 | queue).to_be_bytes());
    put(&mut entry, 0x3c, counter.to_be_bytes());
    entry[0x3f] = if sends { SEND_ERROR } else { RECEIVE_ERROR };
    entry
}
