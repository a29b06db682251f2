//! Wires by name: `loop`, `cable:w0`, `source:rate=10M:size=64`.

use super::{Impairment, Loop, Wire};
use crate::emu::spec::{Setting, key_value, split, usage};
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// What a port is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireSpec {
    /// Into itself: `loop`. With `pause=on` it honours its own pause frames.
    Loop {
        /// Whether nothing may be lost.
        pause: bool,
    },
}

/// The wires, as an error names them.
const WIRES: &str = "loop";

impl Default for WireSpec {
    fn default() -> Self {
        WireSpec::Loop { pause: false }
    }
}

/// What several ports of one engine are plugged into together.
#[derive(Debug, Default)]
pub struct Patch {}

/// Opens the wire that `spec` describes.
///
/// # Errors
/// What the operating system says to the file or interface behind it.
pub fn open(spec: &WireSpec, _impairment: &Impairment, _seed: u64, _patch: &mut Patch) -> Result<Box<dyn Wire>> {
    Ok(match spec {
        WireSpec::Loop { pause } => Box::new(Loop::new(*pause)),
    })
}

impl FromStr for WireSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = split(text, ':');
        let kind = words.next().unwrap_or_default();
        let settings = words.map(|word| {
            let (key, value) = key_value(word);
            Setting { whose: kind, key, value }
        });
        match kind {
            "loop" => {
                let mut pause = false;
                for setting in settings {
                    match setting.key {
                        "pause" => pause = setting.switch()?,
                        _ => return Err(setting.unknown("pause=")),
                    }
                }
                Ok(WireSpec::Loop { pause })
            }
            _ => Err(usage(format!("emu: there is no wire '{kind}'; wires are {WIRES}"))),
        }
    }
}

impl fmt::Display for WireSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireSpec::Loop { pause: false } => f.write_str("loop"),
            WireSpec::Loop { pause: true } => f.write_str("loop:pause=on"),
        }
    }
}
