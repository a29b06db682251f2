//! Wires by name: `loop`, `cable:w0`, `source:rate=10M:size=64`.

use super::{Cable, Crossover, Impaired, Impairment, Loop, Peer, Wire};
use crate::emu::spec::{Setting, key_value, split, unescape, usage};
use crate::error::{Error, Kind, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
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
    /// Into the other port of this process that has the same: `peer`, `peer:NAME`.
    Peer {
        /// Tells crossovers apart; may be empty.
        name: String,
    },
    /// Into another process: `cable:NAME`.
    Cable {
        /// The other end has the same.
        name: String,
        /// Whether a full cable makes the sender wait (`pause=off` loses).
        pause: bool,
    },
}

/// The wires, as an error names them.
const WIRES: &str = "loop, peer, cable:NAME";

impl Default for WireSpec {
    fn default() -> Self {
        WireSpec::Loop { pause: false }
    }
}

/// What several ports of one engine are plugged into together.
#[derive(Default)]
pub struct Patch {
    crossovers: HashMap<String, Crossover>,
}

/// Opens the wire that `spec` describes and impairs it.
///
/// # Errors
/// [`Kind::Refused`] if what is named is taken already, otherwise what the
/// operating system says to the file or interface behind it.
pub fn open(spec: &WireSpec, impairment: &Impairment, seed: u64, patch: &mut Patch) -> Result<Box<dyn Wire>> {
    let wire: Box<dyn Wire> = match spec {
        WireSpec::Loop { pause } => Box::new(Loop::new(*pause)),
        WireSpec::Peer { name } => Box::new(patch.plug(name)?),
        WireSpec::Cable { name, pause } => Box::new(Cable::open(name, *pause)?),
    };
    if *impairment == Impairment::default() {
        return Ok(wire);
    }
    let both = !matches!(spec, WireSpec::Loop { .. });
    Ok(Box::new(Impaired::new(wire, *impairment, seed, both)))
}

impl Patch {
    fn plug(&mut self, name: &str) -> Result<Peer> {
        let crossover = match self.crossovers.entry(name.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Crossover::new()?),
        };
        crossover.plug().ok_or_else(|| {
            let line = format!("{}: two ports are on it already; give other ones another name", WireSpec::peer(name));
            Error::new(Kind::Refused, line)
        })
    }
}

impl WireSpec {
    /// A crossover by name.
    pub fn peer(name: impl Into<String>) -> Self {
        WireSpec::Peer { name: name.into() }
    }
}

impl FromStr for WireSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = split(text, ':').peekable();
        let kind = words.next().unwrap_or_default();
        // A word without '=' behind the kind is a name.
        let name = words.next_if(|word| !word.contains('=')).map(unescape);
        let settings = words.map(|word| {
            let (key, value) = key_value(word);
            Setting { whose: kind, key, value }
        });
        match kind {
            "loop" => {
                no_name(kind, name)?;
                Ok(WireSpec::Loop { pause: pause(settings, false)? })
            }
            "peer" => {
                no_options(settings)?;
                Ok(WireSpec::Peer { name: name.map_or(Ok(String::new()), |name| simple(kind, name))? })
            }
            "cable" => {
                let name = name.ok_or_else(|| usage("cable: it needs a name, like cable:w0".into()))?;
                Ok(WireSpec::Cable { name: simple(kind, name)?, pause: pause(settings, true)? })
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
            WireSpec::Peer { name } if name.is_empty() => f.write_str("peer"),
            WireSpec::Peer { name } => write!(f, "peer:{name}"),
            WireSpec::Cable { name, pause: true } => write!(f, "cable:{name}"),
            WireSpec::Cable { name, pause: false } => write!(f, "cable:{name}:pause=off"),
        }
    }
}

fn no_name(kind: &str, name: Option<String>) -> Result<()> {
    match name {
        None => Ok(()),
        Some(name) => Err(usage(format!("{kind}: it takes no name, '{name}' makes no sense"))),
    }
}

fn no_options<'a>(mut settings: impl Iterator<Item = Setting<'a>>) -> Result<()> {
    settings.next().map_or(Ok(()), |setting| Err(setting.unknown("none")))
}

fn pause<'a>(settings: impl Iterator<Item = Setting<'a>>, default: bool) -> Result<bool> {
    let mut pause = default;
    for setting in settings {
        match setting.key {
            "pause" => pause = setting.switch()?,
            _ => return Err(setting.unknown("pause=")),
        }
    }
    Ok(pause)
}

/// A name that can be part of a file's name.
fn simple(kind: &str, name: String) -> Result<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(name);
    }
    Err(usage(format!("{kind}: '{name}' cannot be its name; a name has 1 to 64 letters, digits, '.', '_' or '-'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_read_as_they_print() {
        for text in ["loop", "loop:pause=on", "peer", "peer:a", "cable:w0", "cable:w-0.x_1:pause=off"] {
            assert_eq!(text.parse::<WireSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_wire_is_refused_with_what_there_is() {
        for (text, part) in [
            ("", "wires are loop, peer, cable:NAME"),
            ("Loop", "wires are"),
            ("loop:a", "takes no name"),
            ("loop:speed=3", "options are pause="),
            ("peer:a:pause=on", "options are none"),
            ("cable", "it needs a name"),
            ("cable:pause=on", "it needs a name"),
            ("cable:", "cannot be its name"),
            ("cable:../../etc/passwd", "cannot be its name"),
            ("cable:w0:pause", "without a value"),
        ] {
            let error = text.parse::<WireSpec>().expect_err(text);
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn two_ports_are_joined_by_name_and_a_third_is_refused() {
        let mut patch = Patch::default();
        let mut open = |text: &str| open(&text.parse().unwrap(), &Impairment::default(), 0, &mut patch);
        let (mut a, _other, mut b) = (open("peer:a").unwrap(), open("peer:b").unwrap(), open("peer:a").unwrap());
        assert!(a.send(b"frame", 0));
        assert_eq!(b.peek(0).unwrap().0, b"frame");
        let error = open("peer:a").err().unwrap();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.to_string(), "peer:a: two ports are on it already; give other ones another name");
    }
}
