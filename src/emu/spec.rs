//! What an emulated card is made of, as text: `82599,wire=cable:w0,queues=4`.
//!
//! ```text
//!   emu:82599,wire=source:rate=10M:size=64:flows=8,seed=7,nasty,loss=0.1%
//!       ----- ----------------------------------- ------ ----- ---------
//!       model wire, its own options after colons  options of the card
//! ```
//!
//! Commas part the options of a card, colons those of its wire. A name that
//! holds one of them (a file name, say) is written with a backslash before it.
//! Whatever [`Spec`] prints, it reads back as the same.

use super::Picos;
use super::fault::{At, Fault, FaultKind};
use super::wire::{self, Impairment, MIN_SPEED, Patch, Speed, Wire, WireSpec};
use crate::error::{Error, Kind, Remedy, Result};
use std::fmt;
use std::str::FromStr;

/// The text after `emu:`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name of the card, lower case: `82599`. Whether there is such a model is
    /// for the models to say.
    pub model: String,
    /// What the port is plugged into (`wire=`).
    pub wire: WireSpec,
    /// What the wire does to frames (`loss=`, `limit=`, `dup=`, `reorder=`,
    /// `corrupt=`, `delay=`, `jitter=`).
    pub impairment: Impairment,
    /// Queue pairs that the driver is to use (`queues=`).
    pub queues: Option<u16>,
    /// Seed of everything random in the card and on the wire (`seed=`).
    pub seed: u64,
    /// The card does everything that the datasheet allows and drivers do not
    /// expect (`nasty`).
    pub nasty: bool,
    /// The first violation of the datasheet by the driver is fatal (`strict`).
    pub strict: bool,
    /// The thread that steps the card never naps (`spin`).
    pub spin: bool,
    /// Factory address (`mac=`).
    pub mac: Option<[u8; 6]>,
    /// Time from reset to link (`link=`).
    pub link: Option<Picos>,
    /// Line rate, if not that of the model (`speed=`).
    pub speed: Option<Speed>,
    /// What its firmware does wrong (`fault=`).
    pub fault: Option<Fault>,
}

/// The options of a card, as an error names them.
const OPTIONS: &str = "wire=, queues=, seed=, speed=, link=, mac=, loss=, limit=, dup=, reorder=, corrupt=, delay=, \
                       jitter=, fault=, nasty, strict, spin";

impl Spec {
    /// A card of this model on a loop, nothing else asked for.
    pub fn new(model: impl Into<String>) -> Self {
        Spec {
            model: model.into(),
            wire: WireSpec::default(),
            impairment: Impairment::default(),
            queues: None,
            seed: 0,
            nasty: false,
            strict: false,
            spin: false,
            mac: None,
            link: None,
            speed: None,
            fault: None,
        }
    }

    /// The same card on another wire.
    #[must_use]
    pub fn on(mut self, wire: WireSpec) -> Self {
        self.wire = wire;
        self
    }

    /// Opens the wire, impaired as asked.
    ///
    /// # Errors
    /// What [`wire::open`] says.
    pub fn open_wire(&self, patch: &mut Patch) -> Result<Box<dyn Wire>> {
        wire::open(&self.wire, &self.impairment, self.seed, patch)
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let setting = Setting { whose: "emu", key, value };
        match key {
            "wire" => self.wire = setting.value()?.parse()?,
            "queues" => self.queues = Some(setting.number(1, 128)? as u16),
            "seed" => self.seed = setting.number(0, u64::MAX)?,
            "nasty" => self.nasty = setting.flag()?,
            "strict" => self.strict = setting.flag()?,
            "spin" => self.spin = setting.flag()?,
            "mac" => self.mac = Some(setting.mac()?),
            "link" => self.link = Some(setting.time()?),
            "speed" => self.speed = Some(setting.speed()?),
            "fault" => self.fault = Some(setting.fault()?),
            "loss" => self.impairment.loss = setting.share()?,
            "limit" => self.impairment.limit = setting.limit()?,
            "dup" => self.impairment.duplicate = setting.share()?,
            "reorder" => self.impairment.reorder = setting.share()?,
            "corrupt" => self.impairment.corrupt = setting.share()?,
            "delay" => self.impairment.delay = setting.time()?,
            "jitter" => self.impairment.jitter = setting.time()?,
            _ => return Err(usage(format!("emu: there is no option '{key}'; options are {OPTIONS}"))),
        }
        Ok(())
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = split(text, ',');
        let model = words.next().unwrap_or_default().to_ascii_lowercase();
        if model.is_empty() || !model.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(usage(format!("emu: '{model}' is not the name of a card; write one like emu:82599"))
                .with_remedy(Remedy::ListModels));
        }
        let mut spec = Spec::new(model);
        let mut seen = Vec::new();
        for word in words {
            let (key, value) = key_value(word);
            if seen.contains(&key) {
                return Err(usage(format!("emu: '{key}' is given twice; once is enough")));
            }
            seen.push(key);
            spec.set(key, value)?;
        }
        Ok(spec)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        if self.wire != WireSpec::default() {
            write!(f, ",wire={}", self.wire)?;
        }
        if let Some(queues) = self.queues {
            write!(f, ",queues={queues}")?;
        }
        if self.seed != 0 {
            write!(f, ",seed={}", self.seed)?;
        }
        for (flag, set) in [("nasty", self.nasty), ("strict", self.strict), ("spin", self.spin)] {
            if set {
                write!(f, ",{flag}")?;
            }
        }
        if let Some([a, b, c, d, e, g]) = self.mac {
            write!(f, ",mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")?;
        }
        if let Some(link) = self.link {
            write!(f, ",link={}", Time(link))?;
        }
        match self.speed {
            Some(Speed::Bits(bits)) => write!(f, ",speed={}", Scaled(bits))?,
            Some(Speed::Max) => f.write_str(",speed=max")?,
            None => {}
        }
        if let Some(fault) = self.fault {
            write!(f, ",fault={fault}")?;
        }
        let Impairment { loss, limit, duplicate, reorder, corrupt, delay, jitter } = self.impairment;
        if limit != 0 {
            write!(f, ",limit={}", Scaled(limit))?;
        }
        for (key, share) in [("loss", loss), ("dup", duplicate), ("reorder", reorder), ("corrupt", corrupt)] {
            if share != Share::NONE {
                write!(f, ",{key}={share}")?;
            }
        }
        for (key, time) in [("delay", delay), ("jitter", jitter)] {
            if time != 0 {
                write!(f, ",{key}={}", Time(time))?;
            }
        }
        Ok(())
    }
}

/// A share of all frames, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// No frame.
    pub const NONE: Share = Share(0);
    /// Every frame.
    pub const ALL: Share = Share(1_000_000_000);
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PERCENT: u32 = 10_000_000;
        let fraction = format!("{:07}", self.0 % PERCENT);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{}%", self.0 / PERCENT),
            digits => write!(f, "{}.{digits}%", self.0 / PERCENT),
        }
    }
}

/// One `key=value` of a specification, and whose it is for the error's text.
pub(super) struct Setting<'a> {
    pub(super) whose: &'a str,
    pub(super) key: &'a str,
    pub(super) value: Option<&'a str>,
}

impl Setting<'_> {
    /// The value as it is written, without backslashes.
    pub(super) fn value(&self) -> Result<&str> {
        self.value.filter(|value| !value.is_empty()).ok_or_else(|| self.bad("a value"))
    }

    pub(super) fn flag(&self) -> Result<bool> {
        if self.value.is_some() { Err(self.bad("no value")) } else { Ok(true) }
    }

    pub(super) fn switch(&self) -> Result<bool> {
        match self.value()? {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.bad("on or off")),
        }
    }

    pub(super) fn number(&self, least: u64, most: u64) -> Result<u64> {
        let number = self.value()?.parse().ok().filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| self.bad(format_args!("a number from {least} to {most}")))
    }

    /// A number with k, M or G behind it.
    pub(super) fn scaled(&self) -> Result<u64> {
        let value = self.value()?;
        let (digits, unit) = match value.char_indices().last() {
            Some((at, 'k' | 'K')) => (&value[..at], 1_000),
            Some((at, 'm' | 'M')) => (&value[..at], 1_000_000),
            Some((at, 'g' | 'G')) => (&value[..at], 1_000_000_000),
            _ => (value, 1),
        };
        decimal(digits, unit).ok_or_else(|| self.bad("a number like 1000, 14.88M or 10G"))
    }

    /// Frames a second, at least one.
    fn limit(&self) -> Result<u64> {
        let frames = self.scaled().ok().filter(|frames| (1..=1_000_000_000).contains(frames));
        frames.ok_or_else(|| self.bad("frames a second from 1 to 1G, like 200k or 2M"))
    }

    pub(super) fn speed(&self) -> Result<Speed> {
        if self.value()? == "max" {
            return Ok(Speed::Max);
        }
        let bits = self.scaled().ok().filter(|bits| (MIN_SPEED..=1_000_000_000_000).contains(bits));
        bits.map(Speed::Bits).ok_or_else(|| self.bad("bits a second from 1M to 1000G, or max"))
    }

    /// A time with its unit, at most an hour.
    pub(super) fn time(&self) -> Result<Picos> {
        let value = self.value()?;
        let unit = UNITS.iter().find_map(|&(name, unit)| Some((value.strip_suffix(name)?, unit)));
        let time = unit.and_then(|(digits, unit)| decimal(digits, unit)).filter(|&time| time <= 3600 * UNITS[4].1);
        time.ok_or_else(|| self.bad("a time like 500ns, 10us, 5ms or 1s, at most 3600s"))
    }

    /// A factor from 0.001 to 1000, in thousandths.
    pub(super) fn thousandths(&self) -> Result<u64> {
        let value = self.value()?;
        let factor = decimal(value.trim_end_matches('x'), 1000).filter(|factor| (1..=1_000_000).contains(factor));
        factor.ok_or_else(|| self.bad("a factor from 0.001 to 1000, or line"))
    }

    /// A share as percentage or fraction.
    pub(super) fn share(&self) -> Result<Share> {
        let value = self.value()?;
        let share = match value.strip_suffix('%') {
            Some(percent) => decimal(percent, u64::from(Share::ALL.0) / 100),
            None => decimal(value, u64::from(Share::ALL.0)),
        };
        let share = share.and_then(|billionths| u32::try_from(billionths).ok()).map(Share);
        share.filter(|&share| share <= Share::ALL).ok_or_else(|| self.bad("a share like 0.1% or 0.001, at most 100%"))
    }

    /// `KIND`, `KIND:NUMBER` or `KIND:0xCODE`.
    fn fault(&self) -> Result<Fault> {
        let names = FaultKind::ALL.map(FaultKind::name).join(", ");
        let value = self.value()?;
        let (name, number) = value.split_once(':').map_or((value, None), |(name, at)| (name, Some(at)));
        let kind = FaultKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| self.bad(format_args!("one of {names}")))?;
        let at = match number {
            None => None,
            Some(_) if !kind.counts() => {
                return Err(self.bad(format_args!("no number with {name}, which is not of a command")));
            }
            Some(number) => {
                let bad = || self.bad("the number of a command from 1 on or its code, as in error:7 or error:0x613");
                Some(match number.strip_prefix("0x") {
                    Some(digits) => At::Code(u32::from_str_radix(digits, 16).map_err(|_| bad())?),
                    None => At::Number(number.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
                })
            }
        };
        Ok(Fault { kind, at })
    }

    fn mac(&self) -> Result<[u8; 6]> {
        let bad = || self.bad("an address like 02:00:00:00:00:01, not a multicast one");
        let mut mac = [0; 6];
        let mut parts = self.value()?.split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(bad)?;
        }
        if parts.next().is_some() || mac[0] & 1 == 1 || mac == [0; 6] {
            return Err(bad());
        }
        Ok(mac)
    }

    pub(super) fn unknown(&self, options: &str) -> Error {
        let Setting { whose, key, .. } = self;
        usage(format!("{whose}: there is no option '{key}'; options are {options}"))
    }

    pub(super) fn bad(&self, wanted: impl fmt::Display) -> Error {
        let Setting { whose, key, value } = self;
        match value {
            Some(value) => usage(format!("{whose}: '{key}={value}' makes no sense; '{key}' takes {wanted}")),
            None => usage(format!("{whose}: '{key}' makes no sense without a value; it takes {wanted}")),
        }
    }
}

pub(super) fn usage(line: String) -> Error {
    Error::new(Kind::Usage, line)
}

/// `key=value` or a lone `key`.
pub(super) fn key_value(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    }
}

/// The words of `text` between separators that have no backslash before them.
pub(super) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let parts = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        parts
    })
}

/// A name as it is written inside a specification: backslashes before what
/// would part it.
pub(super) fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, ',' | ':' | '=' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The name behind [`escape`].
pub(super) fn unescape(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        name.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    name
}

/// `digits` (a decimal like `14.88`) times `unit`, rounded down.
fn decimal(digits: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (mut rest, mut part) = (0u64, unit);
    for digit in fraction.bytes().map(|b| u64::from(b.checked_sub(b'0').unwrap_or(10))) {
        if digit > 9 {
            return None;
        }
        rest += part * digit / 10;
        part /= 10;
    }
    whole.checked_mul(unit)?.checked_add(rest)
}

/// Units of time, the longer names first where one ends in another.
const UNITS: [(&str, Picos); 5] =
    [("ps", 1), ("ns", 1_000), ("us", 1_000_000), ("ms", 1_000_000_000), ("s", 1_000_000_000_000)];

/// A time in the largest unit that it is a whole number of.
pub(super) struct Time(pub(super) Picos);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS.iter().rev().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// A number with the largest suffix that it is a whole number of.
pub(super) struct Scaled(pub(super) u64);

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n if n.is_multiple_of(1_000_000_000) => write!(f, "{}G", n / 1_000_000_000),
            n if n.is_multiple_of(1_000_000) => write!(f, "{}M", n / 1_000_000),
            n if n.is_multiple_of(1_000) => write!(f, "{}k", n / 1_000),
            n => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{PcapSpec, Playback, Rate, Sizes, SourceSpec};
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    #[test]
    fn a_specification_is_taken_apart() {
        let spec: Spec = "82599,wire=loop:pause=on,queues=4,seed=7,nasty,strict,loss=0.1%,mac=02:00:00:00:00:01,\
                          link=5ms,speed=2.5G,delay=10us,jitter=1.5us,dup=0.002"
            .parse()
            .unwrap();
        let wanted = Spec {
            model: "82599".into(),
            wire: WireSpec::Loop { pause: true },
            impairment: Impairment {
                loss: Share(1_000_000),
                duplicate: Share(2_000_000),
                delay: 10_000_000,
                jitter: 1_500_000,
                ..Impairment::default()
            },
            queues: Some(4),
            seed: 7,
            nasty: true,
            strict: true,
            spin: false,
            mac: Some([2, 0, 0, 0, 0, 1]),
            link: Some(5_000_000_000),
            speed: Some(Speed::Bits(2_500_000_000)),
            fault: None,
        };
        assert_eq!(spec, wanted);
    }

    #[test]
    fn a_bare_model_is_on_a_loop() {
        assert_eq!("X540".parse::<Spec>().unwrap(), Spec::new("x540"));
    }

    #[test]
    fn each_bad_option_is_refused_with_what_it_takes() {
        let cases = [
            ("", "not the name of a card"),
            ("wire=loop", "not the name of a card"),
            ("82599,", "there is no option ''"),
            ("82599,color=red", "options are wire=, queues="),
            ("82599,queues=0", "a number from 1 to 128"),
            ("82599,queues", "'queues' makes no sense without a value"),
            ("82599,queues=", "'queues' takes a value"),
            ("82599,nasty=1", "takes no value"),
            ("82599,seed=1,seed=2", "given twice"),
            ("82599,seed=-1", "a number from 0 to"),
            ("82599,loss=101%", "at most 100%"),
            ("82599,loss=NaN", "a share like"),
            ("82599,loss=..1", "a share like"),
            ("82599,limit=0", "frames a second from 1 to 1G"),
            ("82599,limit=2Mpps", "frames a second from 1 to 1G"),
            ("82599,delay=5", "a time like"),
            ("82599,delay=5h", "a time like"),
            ("82599,link=3601s", "at most 3600s"),
            ("82599,speed=0", "1M to 1000G"),
            ("82599,speed=fast", "1M to 1000G, or max"),
            ("82599,speed=99999999999G", "1M to 1000G, or max"),
            ("82599,mac=01:00:5e:00:00:01", "not a multicast"),
            ("82599,mac=02:00", "an address like"),
            ("82599,wire=string", "there is no wire 'string'"),
            ("82599,wire=loop:pause=maybe", "on or off"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Spec>().expect_err(text);
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            let line = error.to_string();
            assert!(line.contains(part) && !line.contains('\n'), "{text}: {line}");
        }
    }

    #[test]
    fn numbers_are_read_exactly() {
        assert_eq!(decimal("14.88", 1_000_000), Some(14_880_000));
        assert_eq!(decimal("0.000001", 1_000_000), Some(1));
        assert_eq!(decimal("0.0000001", 1_000_000), Some(0));
        assert_eq!(decimal(".5", 10), Some(5));
        assert_eq!(decimal("18446744073709551615", 1), Some(u64::MAX));
        for bad in ["", ".", "1.2.3", "-1", "1e3", "18446744073709551616", "٣"] {
            assert_eq!(decimal(bad, 1), None, "{bad}");
        }
    }

    fn any_wire() -> impl Strategy<Value = WireSpec> {
        let rate = prop_oneof![
            Just(Rate::Line),
            (1..=1_000_000_000_u64).prop_map(Rate::Frames),
            (MIN_SPEED..=1_000_000_000_000).prop_map(Rate::Bits),
        ];
        let sizes = prop_oneof![Just(Sizes::Imix), prop::collection::vec(64..=9018_u16, 1..6).prop_map(Sizes::List)];
        let source = (rate, sizes, 1..=65536_u32, prop::option::of(any::<u64>()), any::<bool>());
        let speed = prop_oneof![Just(Playback::Line), (1..=1_000_000_u64).prop_map(Playback::Thousandths)];
        let file = "[ -~]{1,20}".prop_map(PathBuf::from);
        prop_oneof![
            any::<bool>().prop_map(|pause| WireSpec::Loop { pause }),
            "[a-z0-9]{0,9}".prop_map(WireSpec::peer),
            Just(WireSpec::Sink),
            source.prop_map(|(rate, sizes, flows, count, pause)| {
                WireSpec::Source(SourceSpec { rate, sizes, flows, count, pause })
            }),
            "[!-$&-.0-9;-~]{3,15}".prop_map(|name| WireSpec::Packet { name }),
            (file.clone(), prop::option::of(file), speed).prop_map(|(file, out, speed)| WireSpec::Pcap(PcapSpec {
                file,
                out,
                speed
            })),
            ("[a-zA-Z0-9._-]{1,64}", any::<bool>()).prop_map(|(name, pause)| WireSpec::Cable { name, pause }),
        ]
    }

    prop_compose! {
        fn any_spec()(
            wire in any_wire(),
            shares in prop::array::uniform4(0u32..=1_000_000_000),
            times in prop::array::uniform3(0u64..=3_600_000_000_000_000),
            limit in 0u64..=1_000_000_000,
            queues in prop::option::of(1u16..=128),
            seed in any::<u64>(),
            flags in any::<[bool; 3]>(),
            speed in prop_oneof![
                Just(None), Just(Some(Speed::Max)), (MIN_SPEED..1_000_000_000_000).prop_map(|b| Some(Speed::Bits(b)))
            ],
            mac in prop::option::of(any::<[u8; 5]>().prop_map(|[a, b, c, d, e]| [2, a, b, c, d, e])),
        ) -> Spec {
            let [loss, duplicate, reorder, corrupt] = shares.map(Share);
            let impairment = Impairment { loss, limit, duplicate, reorder, corrupt, delay: times[0], jitter: times[1] };
            let [nasty, strict, spin] = flags;
            let link = Some(times[2]);
            let fault = None;
            Spec { model: "x550".into(), wire, impairment, queues, seed, nasty, strict, spin, mac, link, speed, fault }
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(spec in any_spec()) {
            prop_assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
        }

        #[test]
        fn no_text_brings_the_reader_down(text in "[a-z0-9,=:.%\\\\]{0,60}|\\PC{0,40}") {
            let _ = text.parse::<Spec>();
            let _ = format!("82599,{text}").parse::<Spec>();
            let _ = format!("82599,wire={text}").parse::<Spec>();
        }

        #[test]
        fn an_escaped_name_is_one_word_and_comes_back(name in "[a-z,:\\\\]{0,12}") {
            let escaped = escape(&name);
            prop_assert_eq!(split(&escaped, ',').count(), 1);
            prop_assert_eq!(split(&escaped, ':').count(), 1);
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
