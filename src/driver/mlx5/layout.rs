//! Layouts as tables: a command, a structure or a port register, and its fields as
//! the reference manual has them, word and bits.
//!
//! ```text
//!   commands! {                                  structures! {
//!       /// What it does.                            /// What it is.
//!       create_cq CREATE_CQ 0x400 at CONTEXT 0x10    cqc 0x40 {
//!           in 0x110 {}                                  OI 0x00[17]  LOG_CQ_SIZE 0x0c[28:24]
//!           out 0x10 { CQN 0x08[23:0] }              }
//!   }                                            }
//!
//!   Request::new(create_cq::COMMAND).with_bits(cqc::OI.at(create_cq::CONTEXT), 1)
//! ```
//!
//! Offsets count from where the command, structure or register begins; `at` is where a
//! structure lies in a command. A length is the least of a request, or of the answer
//! that is asked for.

/// Declares commands; see the page of this module.
macro_rules! commands {
    ($($(#[$doc:meta])* $module:ident $name:ident $code:literal $(at $part:ident $part_at:literal)*
        in $in_len:literal { $($in_field:ident $in_at:literal [$($in_end:literal):*])* }
        out $out_len:literal { $($out_field:ident $out_at:literal [$($out_end:literal):*])* })*) => {
        $($(#[$doc])*
        pub mod $module {
            /// The command.
            pub const COMMAND: $crate::driver::mailbox::Command = $crate::driver::mailbox::Command {
                name: stringify!($name),
                code: $code,
                input: $in_len,
                output: $out_len,
                order: $crate::driver::mailbox::Order::Big,
            };
            $(#[doc = "Where a structure begins."] pub const $part: usize = $part_at;)*
            /// Fields of the request.
            #[allow(missing_docs, dead_code, unused_imports)] // as in the manual
            pub mod input {
                use $crate::driver::mailbox::Bits;
                $(pub const $in_field: Bits = Bits::of($in_at, &[$($in_end),*]);)*
            }
            /// Fields of the answer.
            #[allow(missing_docs, dead_code, unused_imports)] // as in the manual
            pub mod output {
                use $crate::driver::mailbox::Bits;
                $(pub const $out_field: Bits = Bits::of($out_at, &[$($out_end),*]);)*
            }
        })*

        /// Every command declared here, with its fields each way.
        #[cfg(test)]
        const TABLE: &[(
            $crate::driver::mailbox::Command,
            &[$crate::driver::mailbox::Bits],
            &[$crate::driver::mailbox::Bits],
        )] = &[$((
            $module::COMMAND,
            &[$($module::input::$in_field),*],
            &[$($module::output::$out_field),*],
        )),*];
    };
}
pub(crate) use commands;

/// Declares structures; see the page of this module.
macro_rules! structures {
    ($($(#[$doc:meta])* $module:ident $bytes:literal { $($field:ident $at:literal [$($end:literal):*])* })*) => {
        $($(#[$doc])*
        #[allow(missing_docs, dead_code)] // as in the manual
        pub mod $module {
            use $crate::driver::mailbox::Bits;
            /// Bytes of it.
            pub const BYTES: usize = $bytes;
            $(pub const $field: Bits = Bits::of($at, &[$($end),*]);)*
        })*

        /// Every structure declared here: its name, bytes and fields.
        #[cfg(test)]
        const STRUCTURES: &[(&str, usize, &[$crate::driver::mailbox::Bits])] = &[$((
            stringify!($module),
            $bytes,
            &[$($module::$field),*],
        )),*];
    };
}
pub(crate) use structures;

/// Checks that fields lie within `bytes` and share no bit.
#[cfg(test)]
pub fn assert_apart(what: &str, bytes: usize, fields: &[crate::driver::mailbox::Bits]) {
    let mut taken = vec![0u8; bytes];
    for bits in fields {
        assert!(bits.low <= bits.high && bits.high < 64 && bits.offset % 4 == 0, "{what}: {bits:?}");
        assert!(bits.offset + bits.bytes() <= bytes, "{what}: {bits:?}");
        let mut own = vec![0u8; bytes];
        bits.write(&mut own, u64::MAX >> bits.low);
        for (taken, own) in taken.iter_mut().zip(own) {
            assert!(*taken & own == 0, "{what}: {bits:?} overlaps another field");
            *taken |= own;
        }
    }
}
