//! Records of completion and notification queues, as bytes of 16-byte entries.
//! The valid bits are left out: they are for the queue to say.

use super::AsyncEvent;
use super::entries::Words;

/// What an entry is to the record that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its first.
    Head,
    /// The second half of one of 32 bytes.
    Half,
    /// An aggregation buffer.
    Buffer,
    /// A second half that never comes (fault).
    Never,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub words: Words,
    /// What it is.
    pub part: Part,
}

/// Errors of transmit completions, bits of the word at 8.
pub const TX_BAD_FORMAT: u64 = 2 << 1;
pub const TX_ZERO_LENGTH: u64 = 1 << 4;
pub const TX_EXCESS: u64 = 1 << 5;
pub const TX_DMA: u64 = 1 << 6;

/// Errors of receive completions, bits of the word at 0x18.
pub const RX_DID_NOT_FIT: u64 = 1 << 1;
pub const RX_BAD_FORMAT: u64 = 3 << 1;
pub const RX_IP_CHECKSUM: u64 = 1 << 4;
pub const RX_L4_CHECKSUM: u64 = 1 << 5;

/// Checksums that were checked, bits of the word at 0x10.
pub const RX_IP_CHECKED: u64 = 1;
pub const RX_L4_CHECKED: u64 = 2;

const ERROR: u64 = 1 << 6;

fn head(first: u64, second: u64) -> Entry {
    Entry { words: [first, second], part: Part::Head }
}

/// Packets were sent up to the one whose first BD has this opaque value.
pub fn transmit(opaque: u32, errors: u64) -> Entry {
    let error = if errors != 0 { ERROR } else { 0 };
    head(error | u64::from(opaque) << 32, errors)
}

/// Whether a record that begins with this entry is of a packet that was sent.
pub fn is_transmit(entry: &Entry) -> bool {
    matches!(entry.words[0] & 0x3f, 0x00 | 0x04)
}

/// When that packet left: 48 bits of nanoseconds.
pub fn transmit_stamp(opaque: u32, time: u64) -> Entry {
    head(0x04 | (time >> 32 & 0xffff) << 16 | u64::from(opaque) << 32, time << 32)
}

/// What a receive completion says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Type of the packet.
    pub itype: u64,
    /// It is in aggregation buffers too.
    pub jumbo: bool,
    /// Bytes in the first buffer.
    pub length: usize,
    /// Of the buffer descriptor.
    pub opaque: u32,
    /// Aggregation buffers.
    pub buffers: usize,
    /// Hash and its type, if it was hashed.
    pub hash: Option<(u32, u64)>,
    /// Checksums that were checked.
    pub checked: u64,
    /// It is IPv6.
    pub v6: bool,
    /// TPID and TCI of a tag that was taken off.
    pub tag: Option<(u16, u16)>,
    /// What is wrong.
    pub errors: u64,
    /// Lower half of the time.
    pub stamp: u32,
}

/// A packet was received: both halves.
pub fn receive(received: &Received) -> [Entry; 2] {
    let bit = |set: bool, bit: u32| u64::from(set) << bit;
    let (hash, hash_type) = received.hash.unwrap_or_default();
    let flags = 0x11
        | bit(received.errors != 0, 6)
        | bit(received.jumbo, 7)
        | bit(received.hash.is_some(), 10)
        | received.itype << 12;
    let low = [
        flags | (received.length as u64) << 16 | u64::from(received.opaque) << 32,
        (received.buffers as u64) << 1 | hash_type << 9 | u64::from(hash) << 32,
    ];
    let (tpid, tci) = received.tag.unwrap_or_default();
    let metadata = u64::from(tpid) << 16 | u64::from(tci);
    let high = [
        received.checked | bit(received.tag.is_some(), 4) | bit(received.v6, 8) | metadata << 32,
        received.errors | u64::from(received.stamp) << 32,
    ];
    [Entry { words: low, part: Part::Head }, Entry { words: high, part: Part::Half }]
}

/// A further buffer of the packet before it.
pub fn aggregation(length: usize, opaque: u32) -> Entry {
    Entry { words: [0x12 | (length as u64) << 16 | u64::from(opaque) << 32, 0], part: Part::Buffer }
}

/// A command was answered.
pub fn done(sequence: u16) -> Entry {
    head(0x20 | u64::from(sequence) << 16, 0)
}

/// Something has happened.
pub fn event(event: &AsyncEvent) -> Entry {
    let first = 0x2e | u64::from(event.id) << 16 | u64::from(event.data2) << 32;
    head(first, u64::from(event.least) << 8 | u64::from(event.most) << 16 | u64::from(event.data1) << 32)
}

/// A completion queue has something: what its driver calls it.
pub fn notification(handle: u64) -> Entry {
    head(0x30 | handle << 32, handle >> 32 << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as bytes, all of the first pass.
    fn bytes(entries: &[Entry]) -> Vec<u8> {
        let words = entries.iter().flat_map(|entry| [entry.words[0], entry.words[1] | 1]);
        words.flat_map(u64::to_le_bytes).collect()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// What Linux, iPXE and DPDK took from a card.
    #[test]
    fn records_are_those_that_drivers_accepted() {
        assert_eq!(bytes(&[transmit(0x0403_0201, 0)]), hex("00000000 01020304 01000000 00000000"));
        let mut ping = Received { itype: 1, length: 98, opaque: 7, ..Received::default() };
        let whole = "11106200 07000000 01000000 00000000 00000000 00000000 01000000 00000000";
        assert_eq!(bytes(&receive(&ping)), hex(whole));
        (ping.length, ping.buffers) = (640, 1);
        let [low, high] = receive(&ping);
        let spilt = "11108002 07000000 03000000 00000000 00000000 00000000 01000000 00000000
                     12002203 09000000 01000000 00000000";
        assert_eq!(bytes(&[low, high, aggregation(802, 9)]), hex(spilt));
        assert_eq!(bytes(&[notification(0x0100_0001)]), hex("30000000 01000001 01000000 00000000"));
        assert_eq!(bytes(&[done(0x1234)]), hex("20003412 00000000 01000000 00000000"));
    }

    #[test]
    fn every_field_is_at_its_place() {
        let received = Received {
            itype: 9,
            jumbo: true,
            length: 0x123,
            opaque: 0xdead_beef,
            buffers: 31,
            hash: Some((0x0102_0304, 3)),
            checked: RX_IP_CHECKED | RX_L4_CHECKED,
            v6: true,
            tag: Some((0x8100, 0x6005)),
            errors: RX_BAD_FORMAT | RX_L4_CHECKSUM,
            stamp: 0xaabb_ccdd,
        };
        let expected = "d1942301 efbeadde 3f060000 04030201 13010000 05600081 27000000 ddccbbaa";
        assert_eq!(bytes(&receive(&received)), hex(expected));
        let link = AsyncEvent { id: 8, data1: 0x1122_3344, data2: 5, least: 6, most: 0x0708 };
        assert_eq!(bytes(&[event(&link)]), hex("2e000800 05000000 01060807 44332211"));
        assert_eq!(bytes(&[transmit(1, TX_ZERO_LENGTH)]), hex("40000000 01000000 11000000 00000000"));
        let stamp = transmit_stamp(2, 0x1234_5678_9abc_def0);
        assert_eq!(bytes(&[stamp]), hex("04007856 02000000 01000000 f0debc9a"));
        let wide = notification(0x0102_0304_0506_0708);
        assert_eq!(bytes(&[wide]), hex("30000000 08070605 01000000 04030201"));
    }
}
