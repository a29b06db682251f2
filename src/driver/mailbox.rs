//! Commands to firmware, through memory: their layouts as a table, requests and
//! answers by the names of their fields.
//!
//! ```text
//!   commands! {
//!       Little;                             order of bytes in numbers
//!
//!       /// What it does.
//!       set_mac SET_MAC 0x2c                module, name in messages, code
//!           in 0x1c { MTU 0x00/4 ... }      length { FIELD offset/bytes ... }
//!           out 0x00 {}
//!   }
//!
//!   Request::new(set_mac::COMMAND).with(set_mac::input::MTU, 1518)
//! ```
//!
//! Where fields are bits of words, as in the interface of ConnectX, they are [`Bits`].
//!
//! A length is the least that a request must have, or that an answer must have
//! to be of use. An answer may be longer: fields beyond `out` are then optional.
//! How a request gets to the firmware, and how its answer comes back, is the
//! family's.

use crate::dma::Region;
use crate::error::Error;

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The lowest first (MCDI, HWRM).
    Little,
    /// The highest first, so that a value of 64 bits is its upper word and then
    /// its lower one (the command interface of ConnectX).
    Big,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// The interface's name for it, for messages.
    pub name: &'static str,
    /// Its number.
    pub code: u16,
    /// Bytes of the request.
    pub input: usize,
    /// Least bytes of the answer.
    pub output: usize,
    /// How its numbers are written.
    pub order: Order,
}

impl Command {
    /// That it was refused, in a few words; `name` is that of the code.
    pub fn refused_with(self, name: &str, code: u32) -> String {
        format!("its firmware refused {} ({:#x}) with {name} ({code:#x})", self.name, self.code)
    }
}

/// Where a field lies in a request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in bytes.
    pub offset: usize,
    /// Size in bytes; the whole of an array.
    pub bytes: usize,
}

/// Where bits lie in a request or an answer whose numbers have their highest byte
/// first: those from `high` to `low` of the word at `offset`, which has 32 of them,
/// or 64 if there are so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Offset of the word in bytes.
    pub offset: usize,
    /// The highest of them.
    pub high: u8,
    /// The lowest.
    pub low: u8,
}

impl Bits {
    /// From the first to the last of `ends`, which are one or two.
    pub const fn of(offset: usize, ends: &[u8]) -> Bits {
        Bits { offset, high: ends[0], low: ends[ends.len() - 1] }
    }

    /// The same in a structure that begins at `base`.
    #[must_use]
    pub const fn at(self, base: usize) -> Bits {
        Bits { offset: base + self.offset, ..self }
    }

    /// Bytes of the word.
    pub const fn bytes(self) -> usize {
        if self.high < 32 { 4 } else { 8 }
    }

    /// The word's bits that these are.
    pub const fn mask(self) -> u64 {
        (u64::MAX >> (63 - self.high)) & (u64::MAX << self.low)
    }

    /// Their value in `body`, if it has them.
    pub fn read(self, body: &[u8]) -> Option<u64> {
        let word = body.get(self.offset..self.offset + self.bytes())?;
        Some((Order::Big.read(word) & self.mask()) >> self.low)
    }

    /// Sets them in `body`, which has them.
    pub fn write(self, body: &mut [u8], value: u64) {
        let word = &mut body[self.offset..self.offset + self.bytes()];
        let others = Order::Big.read(word) & !self.mask();
        Order::Big.write(word, others | value << self.low & self.mask());
    }
}

impl Order {
    /// Writes `value` into a field of 1 to 8 bytes.
    fn write(self, field: &mut [u8], value: u64) {
        let bytes = field.len();
        match self {
            Order::Little => field.copy_from_slice(&value.to_le_bytes()[..bytes]),
            Order::Big => field.copy_from_slice(&value.to_be_bytes()[8 - bytes..]),
        }
    }

    /// The value of a field of up to 8 bytes.
    fn read(self, field: &[u8]) -> u64 {
        let value = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        match self {
            Order::Little => field.iter().rev().fold(0, value),
            Order::Big => field.iter().fold(0, value),
        }
    }
}

/// A question to the firmware.
#[derive(Clone, Debug)]
pub struct Request {
    command: Command,
    body: Vec<u8>,
    shown: usize,
}

impl Request {
    /// A question with all fields zero.
    pub fn new(command: Command) -> Self {
        Request { command, body: vec![0; command.input], shown: usize::MAX }
    }

    /// Bytes of the answer that a trace shows.
    pub fn shown(&self) -> usize {
        self.shown
    }

    /// The command it is for.
    pub fn command(&self) -> Command {
        self.command
    }

    /// Its bytes.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Sets a field of 1 to 8 bytes.
    #[must_use]
    pub fn with(mut self, field: Field, value: u64) -> Self {
        self.command.order.write(&mut self.body[field.offset..field.offset + field.bytes], value);
        self
    }

    /// Sets the first bytes of a field, as they stand.
    #[must_use]
    pub fn with_bytes(mut self, field: Field, bytes: &[u8]) -> Self {
        assert!(bytes.len() <= field.bytes);
        self.body[field.offset..field.offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Sets bits.
    #[must_use]
    pub fn with_bits(mut self, bits: Bits, value: u64) -> Self {
        bits.write(&mut self.body, value);
        self
    }

    /// Appends bytes.
    #[must_use]
    pub fn with_more(mut self, bytes: &[u8]) -> Self {
        self.body.extend(bytes);
        self
    }

    /// Has an answer of which a trace shows so many bytes: what is behind them tells one
    /// card, or one module, from another.
    #[must_use]
    pub fn with_answer_shown(mut self, bytes: usize) -> Self {
        self.shown = bytes;
        self
    }

    /// Has an answer of so many bytes.
    #[must_use]
    pub fn with_output(mut self, bytes: usize) -> Self {
        self.command.output = bytes;
        self
    }

    /// Appends the addresses of the pages of `region`, 4 KiB each.
    #[must_use]
    pub fn with_pages(mut self, region: &Region) -> Self {
        for offset in (0..region.len() as u64).step_by(4096) {
            let mut page = [0; 8];
            self.command.order.write(&mut page, region.iova() + offset);
            self.body.extend(page);
        }
        self
    }
}

/// An answer, at least as long as its command says.
#[derive(Debug)]
pub struct Reply {
    order: Order,
    body: Vec<u8>,
}

impl Reply {
    /// The answer to `command`, which must be as long as that says.
    pub fn new(command: Command, body: Vec<u8>) -> Self {
        Reply { order: command.order, body }
    }

    /// A field that the command's least answer has.
    pub fn get(&self, field: Field) -> u64 {
        self.optional(field).unwrap_or(0)
    }

    /// A field that only longer answers have.
    pub fn optional(&self, field: Field) -> Option<u64> {
        let bytes = field.bytes.min(8);
        Some(self.order.read(self.body.get(field.offset..field.offset + bytes)?))
    }

    /// Bits; 0 where the answer is too short for them.
    pub fn bits(&self, bits: Bits) -> u64 {
        bits.read(&self.body).unwrap_or(0)
    }

    /// All of it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The bytes of a field, as far as the answer has them.
    pub fn bytes(&self, field: Field) -> &[u8] {
        let end = (field.offset + field.bytes).min(self.body.len());
        self.body.get(field.offset..end).unwrap_or(&[])
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The firmware said no, with this code.
    Refused(u32),
    /// It said nothing, or nothing that makes sense.
    Broken(Error),
}

/// Declares commands; see the page of this module.
macro_rules! commands {
    ($order:ident; $($(#[$doc:meta])* $module:ident $name:ident $code:literal
        in $in_len:literal { $($in_field:ident $in_at:literal / $in_size:literal)* }
        out $out_len:literal { $($out_field:ident $out_at:literal / $out_size:literal)* })*) => {
        $($(#[$doc])*
        pub mod $module {
            /// The command.
            pub const COMMAND: $crate::driver::mailbox::Command = $crate::driver::mailbox::Command {
                name: stringify!($name),
                code: $code,
                input: $in_len,
                output: $out_len,
                order: $crate::driver::mailbox::Order::$order,
            };
            /// Fields of the request.
            #[allow(missing_docs, dead_code, unused_imports)] // as in the interface
            pub mod input {
                use $crate::driver::mailbox::Field;
                $(pub const $in_field: Field = Field { offset: $in_at, bytes: $in_size };)*
            }
            /// Fields of the answer.
            #[allow(missing_docs, dead_code, unused_imports)] // as in the interface
            pub mod output {
                use $crate::driver::mailbox::Field;
                $(pub const $out_field: Field = Field { offset: $out_at, bytes: $out_size };)*
            }
        })*

        /// Every command declared here, with its fields each way.
        #[cfg(test)]
        const TABLE: &[($crate::driver::mailbox::Command, &[$crate::driver::mailbox::Field], &[$crate::driver::mailbox::Field])] = &[$((
            $module::COMMAND,
            &[$($module::input::$in_field),*],
            &[$($module::output::$out_field),*],
        )),*];
    };
}
pub(crate) use commands;

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Field = Field { offset: 1, bytes: 3 };
    const LONG: Field = Field { offset: 4, bytes: 8 };

    fn command(order: Order) -> Command {
        Command { name: "ASK", code: 1, input: 12, output: 12, order }
    }

    #[test]
    fn a_number_is_written_in_the_order_of_its_interface() {
        let body = |order| {
            let request = Request::new(command(order)).with(SHORT, 0x01_0203).with(LONG, 0x1122_3344_5566_7788);
            request.body().to_vec()
        };
        assert_eq!(body(Order::Little), [0, 3, 2, 1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        assert_eq!(body(Order::Big), [0, 1, 2, 3, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    }

    #[test]
    fn bits_are_those_of_a_word_whose_highest_byte_is_first() {
        let mut body = [0xff; 12];
        Bits::of(4, &[23, 8]).write(&mut body, 0x1_1234);
        assert_eq!(body[3..9], [0xff, 0xff, 0x12, 0x34, 0xff, 0xff]);
        Bits::of(0, &[4]).at(8).write(&mut body, 0);
        assert_eq!(body[8..], [0xff, 0xff, 0xff, 0xef]);
        Bits::of(0, &[63, 0]).write(&mut body, 0x0123_4567_89ab_cdef);
        assert_eq!(body[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(Bits::of(0, &[31, 24]).read(&body), Some(1));
        assert_eq!(Bits::of(4, &[39, 32]).read(&body), Some(0xef));
        assert_eq!(Bits::of(12, &[0]).read(&body), None);
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_there_is_not() {
        for order in [Order::Little, Order::Big] {
            let body = Request::new(command(order)).with(SHORT, 7).with(LONG, u64::MAX - 1).body;
            let reply = Reply::new(command(order), body);
            assert_eq!((reply.get(SHORT), reply.get(LONG)), (7, u64::MAX - 1));
            let beyond = Field { offset: 10, bytes: 4 };
            assert_eq!((reply.optional(beyond), reply.bytes(beyond).len()), (None, 2));
        }
    }
}
