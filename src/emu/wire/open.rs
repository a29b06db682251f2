//! Wires by name: `loop`, `cable:w0`, `source:rate=10M:size=64`.

use super::source::SIZES;
use super::{
    Cable, Crossover, Impaired, Impairment, Loop, MIN_SPEED, Packet, Pcap, PcapSpec, Peer, Playback, Rate, Sink, Sizes,
    Source, SourceSpec, Switch, Tap, Wire,
};
use crate::emu::spec::{Scaled, Setting, escape, key_value, split, unescape, usage};
use crate::error::{Error, Kind, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;
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
    /// Into a switch that the other port which has the same is on, too: `switch`,
    /// `switch:NAME`. It refuses tags and long frames, and frames of others come.
    Switch {
        /// Tells switches apart; may be empty.
        name: String,
    },
    /// Into a traffic generator: `source`, `source:rate=10M:size=imix:flows=8`.
    Source(SourceSpec),
    /// Into nothing, with the light on: `sink`.
    Sink,
    /// Into a TAP device of the kernel: `tap:NAME`.
    Tap {
        /// The interface.
        name: String,
    },
    /// Into an interface of the kernel: `packet:IFACE`.
    Packet {
        /// The interface, one end of a veth pair for one.
        name: String,
    },
    /// Into a capture file that is played: `pcap:FILE`, `pcap:FILE:speed=2:out=FILE`.
    Pcap(PcapSpec),
    /// Into another process: `cable:NAME`.
    Cable {
        /// The other end has the same.
        name: String,
        /// Whether a full cable makes the sender wait (`pause=off` loses).
        pause: bool,
    },
}

/// The wires, as an error names them.
const WIRES: &str = "loop, peer, switch, source, sink, tap:NAME, packet:IFACE, pcap:FILE, cable:NAME";

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
        WireSpec::Peer { .. } => Box::new(patch.plug(spec)?),
        WireSpec::Switch { .. } => Box::new(Switch::new(patch.plug(spec)?)),
        WireSpec::Source(spec) => Box::new(Source::new(spec)),
        WireSpec::Sink => Box::new(Sink::new()),
        WireSpec::Tap { name } => Box::new(Tap::open(name)?),
        WireSpec::Packet { name } => Box::new(Packet::open(name)?),
        WireSpec::Pcap(spec) => Box::new(Pcap::open(spec)?),
        WireSpec::Cable { name, pause } => Box::new(Cable::open(name, *pause)?),
    };
    if *impairment == Impairment::default() {
        return Ok(wire);
    }
    let both = !matches!(spec, WireSpec::Loop { .. });
    Ok(Box::new(Impaired::new(wire, *impairment, seed, both)))
}

impl Patch {
    /// Plugs into the crossover that stands behind this wire.
    fn plug(&mut self, wire: &WireSpec) -> Result<Peer> {
        let crossover = match self.crossovers.entry(wire.to_string()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Crossover::new()?),
        };
        crossover.plug().ok_or_else(|| {
            let line = format!("{wire}: two ports are on it already; give other ones another name");
            Error::new(Kind::Refused, line)
        })
    }
}

impl WireSpec {
    /// Files that are played and written.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            WireSpec::Pcap(spec) => std::iter::once(&*spec.file).chain(spec.out.as_deref()).collect(),
            _ => Vec::new(),
        }
    }

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
        let name = words.next_if(|word| split(word, '=').nth(1).is_none()).map(unescape);
        let settings = words.map(|word| {
            let (key, value) = key_value(word);
            Setting { whose: kind, key, value }
        });
        match kind {
            "loop" => {
                no_name(kind, name)?;
                Ok(WireSpec::Loop { pause: pause(settings, false)? })
            }
            "peer" | "switch" => {
                no_options(settings)?;
                let name = name.map_or(Ok(String::new()), |name| simple(kind, name))?;
                Ok(if kind == "peer" { WireSpec::Peer { name } } else { WireSpec::Switch { name } })
            }
            "source" => {
                no_name(kind, name)?;
                Ok(WireSpec::Source(source(settings)?))
            }
            "sink" => {
                no_name(kind, name)?;
                no_options(settings)?;
                Ok(WireSpec::Sink)
            }
            "tap" | "packet" => {
                no_options(settings)?;
                let name = interface(kind, name)?;
                Ok(if kind == "tap" { WireSpec::Tap { name } } else { WireSpec::Packet { name } })
            }
            "pcap" => {
                let file = name.filter(|name| !name.is_empty()).ok_or_else(|| {
                    usage(
                        "pcap: it needs a capture file, like pcap:trace.pcap ('\\:' and '\\,' for ':' and ',')".into(),
                    )
                })?;
                Ok(WireSpec::Pcap(pcap(file, settings)?))
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
            WireSpec::Switch { name } if name.is_empty() => f.write_str("switch"),
            WireSpec::Switch { name } => write!(f, "switch:{name}"),
            WireSpec::Source(spec) => write_source(f, spec),
            WireSpec::Sink => f.write_str("sink"),
            WireSpec::Tap { name } => write!(f, "tap:{}", escape(name)),
            WireSpec::Packet { name } => write!(f, "packet:{}", escape(name)),
            WireSpec::Pcap(spec) => write_pcap(f, spec),
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

fn source<'a>(settings: impl Iterator<Item = Setting<'a>>) -> Result<SourceSpec> {
    let mut spec = SourceSpec::default();
    for setting in settings {
        match setting.key {
            "rate" => spec.rate = rate(&setting)?,
            "size" => spec.sizes = sizes(&setting)?,
            "flows" => spec.flows = setting.number(1, 1 << 16)? as u32,
            "count" => spec.count = Some(setting.scaled()?),
            "pause" => spec.pause = setting.switch()?,
            _ => return Err(setting.unknown("rate=, size=, flows=, count=, pause=")),
        }
    }
    Ok(spec)
}

fn rate(setting: &Setting<'_>) -> Result<Rate> {
    let value = setting.value()?;
    let bad = || setting.bad("frames a second like 14.88M, bits a second like 5Gbit, or line");
    let number = |digits| Setting { value: Some(digits), ..*setting }.scaled().map_err(|_| bad());
    let rate = match (value, value.strip_suffix("bit"), value.strip_suffix("pps")) {
        ("line", ..) => Rate::Line,
        (_, Some(bits), _) => Rate::Bits(number(bits)?),
        (_, _, Some(frames)) => Rate::Frames(number(frames)?),
        _ => Rate::Frames(number(value)?),
    };
    // Faster than anything: not a rate, a slip of the finger.
    match rate {
        Rate::Frames(1..=1_000_000_000) | Rate::Bits(MIN_SPEED..=1_000_000_000_000) | Rate::Line => Ok(rate),
        _ => Err(bad()),
    }
}

fn sizes(setting: &Setting<'_>) -> Result<Sizes> {
    let value = setting.value()?;
    if value == "imix" {
        return Ok(Sizes::Imix);
    }
    let size = |text: &str| text.parse().ok().filter(|size| SIZES.contains(size));
    let list: Option<Vec<u16>> = value.split('/').map(size).collect();
    list.filter(|list| list.len() <= 64).map(Sizes::List).ok_or_else(|| {
        let (least, most) = (SIZES.start(), SIZES.end());
        setting.bad(format_args!("up to 64 sizes from {least} to {most} with FCS, like 64 or 64/1518, or imix"))
    })
}

fn write_source(f: &mut fmt::Formatter<'_>, spec: &SourceSpec) -> fmt::Result {
    let default = SourceSpec::default();
    f.write_str("source")?;
    match spec.rate {
        Rate::Line => {}
        Rate::Frames(frames) => write!(f, ":rate={}", Scaled(frames))?,
        Rate::Bits(bits) => write!(f, ":rate={}bit", Scaled(bits))?,
    }
    match &spec.sizes {
        Sizes::Imix => f.write_str(":size=imix")?,
        Sizes::List(list) if spec.sizes != default.sizes => {
            let list: Vec<_> = list.iter().map(u16::to_string).collect();
            write!(f, ":size={}", list.join("/"))?;
        }
        Sizes::List(_) => {}
    }
    if spec.flows != default.flows {
        write!(f, ":flows={}", spec.flows)?;
    }
    if let Some(count) = spec.count {
        write!(f, ":count={}", Scaled(count))?;
    }
    if spec.pause { f.write_str(":pause=on") } else { Ok(()) }
}

fn pcap<'a>(file: String, settings: impl Iterator<Item = Setting<'a>>) -> Result<PcapSpec> {
    let mut spec = PcapSpec { file: file.into(), out: None, speed: Playback::Thousandths(1000), times: 1 };
    for setting in settings {
        match setting.key {
            "out" => spec.out = Some(unescape(setting.value()?).into()),
            "speed" if setting.value == Some("line") => spec.speed = Playback::Line,
            "speed" => spec.speed = Playback::Thousandths(setting.thousandths()?),
            "loop" => spec.times = setting.scaled()?,
            _ => return Err(setting.unknown("out=, speed=, loop=")),
        }
    }
    Ok(spec)
}

fn write_pcap(f: &mut fmt::Formatter<'_>, spec: &PcapSpec) -> fmt::Result {
    let PcapSpec { file, out, speed, times } = spec;
    write!(f, "pcap:{}", escape(&file.to_string_lossy()))?;
    match speed {
        Playback::Line => f.write_str(":speed=line")?,
        Playback::Thousandths(1000) => {}
        Playback::Thousandths(speed) if speed.is_multiple_of(1000) => write!(f, ":speed={}", speed / 1000)?,
        Playback::Thousandths(speed) => write!(f, ":speed={}.{:03}", speed / 1000, speed % 1000)?,
    }
    if *times != 1 {
        write!(f, ":loop={}", Scaled(*times))?;
    }
    match out {
        Some(out) => write!(f, ":out={}", escape(&out.to_string_lossy())),
        None => Ok(()),
    }
}

/// A name that an interface can have: what the kernel takes (`dev_valid_name`).
fn interface(kind: &str, name: Option<String>) -> Result<String> {
    let name = name.ok_or_else(|| usage(format!("{kind}: it needs the name of an interface, like {kind}:veth0")))?;
    let fine = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%');
    if (1..=15).contains(&name.len()) && name.bytes().all(fine) && name != "." && name != ".." {
        return Ok(name);
    }
    Err(usage(format!(
        "{kind}: '{name}' cannot be the name of an interface; it has 1 to 15 characters without '/' or ':'"
    )))
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
        for text in [
            "loop",
            "loop:pause=on",
            "peer",
            "peer:a",
            "switch",
            "switch:a",
            "cable:w0",
            "cable:w-0.x_1:pause=off",
            "sink",
            "tap:tap0",
            "packet:veth-a.5",
            "pcap:/tmp/a file.pcap",
            "pcap:odd\\:name\\,with\\=all\\\\.pcap:speed=line:out=b\\:c",
            "pcap:a:speed=2",
            "pcap:a:speed=0.001",
            "pcap:a:speed=line:loop=0:out=b",
            "pcap:a:loop=1M",
            "source",
            "source:rate=10M:size=imix:flows=8:count=1k",
            "source:rate=2500Mbit:size=64/512/9018",
        ] {
            assert_eq!(text.parse::<WireSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_wire_is_refused_with_what_there_is() {
        for (text, part) in [
            ("", "wires are loop, peer, switch, source, sink, tap:NAME, packet:IFACE, pcap:FILE, cable:NAME"),
            ("Loop", "wires are"),
            ("loop:a", "takes no name"),
            ("loop:speed=3", "options are pause="),
            ("peer:a:pause=on", "options are none"),
            ("cable", "it needs a name"),
            ("cable:pause=on", "it needs a name"),
            ("cable:", "cannot be its name"),
            ("cable:../../etc/passwd", "cannot be its name"),
            ("tap", "needs the name of an interface, like tap:veth0"),
            ("packet:a/b", "cannot be the name of an interface"),
            ("tap:a-name-that-is-too-long", "1 to 15 characters"),
            ("packet:..", "cannot be the name"),
            ("packet:x:mode=3", "options are none"),
            ("pcap", "it needs a capture file"),
            ("pcap::speed=1", "it needs a capture file"),
            ("pcap:a:speed=0", "from 0.001 to 1000"),
            ("pcap:a:loop=on", "loop=on"),
            ("pcap:a:twice", "options are out=, speed=, loop="),
            ("sink:x", "takes no name"),
            ("source:rate=0", "frames a second like"),
            ("source:rate=9999G", "frames a second like"),
            ("source:rate=10Gbits", "frames a second like"),
            ("source:rate=1bit", "frames a second like"),
            ("source:size=63", "sizes from 64 to 16388"),
            ("source:size=64/", "sizes from 64"),
            ("source:flows=0", "a number from 1 to 65536"),
            ("source:color=red", "options are rate="),
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
