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

mod setting;
#[cfg(test)]
mod tests;
mod text;

pub use self::setting::Share;
pub(super) use self::setting::{Setting, key_value, usage};
pub(super) use self::text::{Scaled, Time, escape, split, unescape};
use super::Picos;
use super::fault::Fault;
use super::pcie::link::Link;
use super::wire::{self, Impairment, Patch, Speed, Wire, WireSpec};
use crate::error::{Error, Remedy, Result};
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
    /// The PCIe link that it takes its time for (`pcie=`).
    pub pcie: Option<Link>,
}

/// The options of a card, as an error names them.
const OPTIONS: &str = "wire=, queues=, seed=, speed=, link=, mac=, loss=, limit=, dup=, reorder=, corrupt=, delay=, \
                       jitter=, fault=, pcie=, nasty, strict, spin";

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
            pcie: None,
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
            "pcie" => self.pcie = Some(Link::of(&setting)?),
            _ if self.impairment.set(&setting)? => {}
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
        if let Some(link) = self.pcie {
            write!(f, ",pcie={link}")?;
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
