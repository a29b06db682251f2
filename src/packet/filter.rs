//! Packet filters in the language of tcpdump (pcap-filter(7)).
//!
//! ```text
//!   "udp port 53 and not host 10.0.0.1"
//!        |  lexer, parser: what is asked of which bytes of the frame
//!        v
//!   All[ Any[..], Not(..) ]
//!        |  graph, emit: decisions, without those that are known already
//!        v
//!   ldh [12]; jeq #0x86dd ..     classic BPF, verified
//!        |  run
//!        v
//!   yes or no
//! ```
//!
//! As in the virtual machine that filters were invented for, a load from beyond
//! the end of a frame rejects the frame, even under `not`; arithmetic is of
//! unsigned 32-bit numbers; a division by zero rejects. The end is that of the
//! whole frame, in however many buffers it lies. `and` and `or` have the same
//! precedence and group to the left; `not` binds tighter. What stands to the right
//! of `vlan` looks four bytes further on; so it is with `mpls`, `pppoes`, `geneve` and
//! `vxlan`.
//!
//! # Where it differs from tcpdump
//!
//! All expressions that libpcap 1.10 takes for Ethernet mean here what they mean there
//! (10,000 random ones over 1,900 frames, `tests/agreement.rs`), but for these, with an example each:
//!
//! | libpcap | here | example |
//! |---|---|---|
//! | arithmetic forgets what must hold for its right operand | it must hold | `1 + tcp[13] = 3` |
//! | its optimiser drops loads whose value it knows, also those beyond the end | a load beyond the end rejects | `ip[100] & 0 = 0` |
//! | its optimiser goes on at the frame's start behind place 2^32 | a place there is beyond the end | `ip[0xfffffff8] = 0` |
//! | it loads all of an address, also where its optimiser does not run | what the prefix of a network covers | `net 2001:db8::/32 or ip6 protochain 6` |
//! | `protochain` begins again at the frame's start behind a header of AH | it goes on behind it | `ip protochain 6` |
//! | `protochain` follows a chain for ever | 8 headers of it | `ip6 protochain 6` |
//! | what `geneve` remembers is read before it is written | it is zero then | `geneve or ip` |
//! | `byte 0 & 1` compares what happens to be in a register | the byte | `byte 0 & 1` |
//! | no `vxlan` before 1.11 | as in 1.11 | `vxlan 5 and tcp` |
//! | a divisor or shift that begins with a zero or a large number is refused | its value counts | `len / (0 + 4) > 20` |
//! | numbers that no field can hold are taken | they are refused | `ip proto 300` |
//! | no address without a word before it | it is a host | `10.0.0.1`, `ip 10.0.0.1`, `net 10/8` |
//! | `inbound`, `outbound` and `ifindex` ask the kernel's socket | they are refused: a card has none | `inbound` |
//! | `ip broadcast` compares with the netmask of an interface, where it knows one | it is refused | `ip broadcast` |
//! | `wlan`, `fddi`, `tr`, `ppp` and `slip` are `ether` | they are refused | `wlan host 02:00:00:00:00:01` |

mod addresses;
mod arithmetic;
mod code;
mod emit;
mod encapsulation;
mod expression;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod graph;
mod layers;
mod lexer;
mod names;
mod parser;
mod primitives;
#[cfg(any(test, feature = "fuzz"))]
mod reference;
mod run;
mod verify;
mod wanted;
mod words;

use crate::driver::{Expression, Wanted};
use crate::error::{Error, Kind, Result};
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::program;
use run::{Parts, Program, Whole};
use std::fmt;
use std::sync::Arc;

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    program: Program,
    wanted: Wanted,
}

impl Filter {
    /// Compiles `text`; an empty one matches everything.
    ///
    /// # Errors
    /// [`Kind::Usage`], with the place and what would make sense there; or that the
    /// program would be too long.
    pub fn parse(text: &str) -> Result<Filter> {
        let test = parser::parse(text)?;
        let graph = graph::Graph::new(&test);
        let program = Program::new(emit::program(&graph)?)
            .map_err(|fault| Error::new(Kind::Usage, format!("filter '{}': {fault}; simplify it", text.trim())))?;
        let text = text.trim().to_owned();
        let program_of = || Expression { text: text.clone(), program: program.code().to_vec() };
        let expression = (!text.is_empty() && code::is_kernels(program.code())).then(|| Arc::new(program_of()));
        let wanted = Wanted { expression, ..wanted::wanted(&test) };
        Ok(Filter { text, program, wanted })
    }

    /// Whether an expression can begin as `text` does: with a word of the language, a number, an
    /// address or a sign, and not with a name.
    pub fn may_begin(text: &str) -> bool {
        let first = text.split_whitespace().next().unwrap_or_default();
        let tokens = lexer::tokens(first).unwrap_or_default();
        match tokens.first() {
            Some((_, lexer::Token::Word(word))) => words::keyword(word) && words::refused(word).is_none(),
            Some((_, lexer::Token::Sign(sign))) => matches!(*sign, "(" | "!"),
            Some(_) => true,
            None => false,
        }
    }

    /// What all frames have that may match, as far as a card could compare it: it need receive
    /// no others.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Bytes from a frame's start that are enough to judge it, with its length; none where it may
    /// take all of it.
    pub fn reach(&self) -> Option<u32> {
        code::reach(self.program.code())
    }

    /// Whether `frame` matches; `len` is its length on the wire, should `frame`
    /// hold only its beginning.
    #[inline]
    pub fn matches(&self, frame: &[u8], len: usize) -> bool {
        self.program.run(&Whole(frame), u32::try_from(len).unwrap_or(u32::MAX)) != 0
    }

    /// Whether a frame that lies in several buffers matches: all of it is looked
    /// at, as if it lay in one. `len` is its length on the wire.
    pub fn matches_parts(&self, parts: &[&[u8]], len: usize) -> bool {
        self.program.run(&Parts(parts), u32::try_from(len).unwrap_or(u32::MAX)) != 0
    }

    /// The program, one line for each instruction, as `tcpdump -d` prints it.
    pub fn listing(&self) -> String {
        code::listing(self.program.code())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
