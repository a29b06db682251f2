//! For `scripts/fuzz`: what of the inside takes inputs. The other bodies are in `tests/fuzz`,
//! as what they need is public.

#[cfg(target_arch = "x86_64")]
use crate::emu::native::instruction;
use crate::packet::program;

/// What is done with an input.
pub type Body = fn(&[u8]);

/// Names, and what is done with an input; it panics where that is not stood.
pub const TARGETS: &[(&str, Body)] = &[
    ("program", program),
    #[cfg(target_arch = "x86_64")]
    ("instruction", instruction),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_input_that_was_kept_is_stood() {
        for (name, body) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
            let inputs = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let count = inputs.map(|input| body(&fs::read(input.unwrap().path()).unwrap())).count();
            assert!(count > 2, "{name}: {count} inputs");
        }
    }
}
