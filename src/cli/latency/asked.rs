//! What is asked for: sizes of the probe, and traffic beside it; each with each is a row.

use crate::cli::circuit::FCS;
use crate::cli::output;
use crate::cli::units::Rate;
use crate::error::{Error, Kind, Result};
use crate::measure::flood;
use crate::measure::ping::Load;
use crate::packet::build::{MAX_FRAME, MIN_FRAME, Sizes};
use std::str::FromStr;

/// Most rows of a run: more are a step forgotten.
const ROWS: usize = 256;
/// Longest frame that is no jumbo, with FCS.
const SHORT: usize = 1_518;
/// How often a probe is sent unless it is said: alone, and where it is to leave room for long
/// frames or a load.
const ALONE: Rate = Rate::Pps(100_000.0);
const AMONG: Rate = Rate::Pps(10_000.0);

/// Sizes and loads.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Frame sizes in bytes, FCS included, a row for each: 64,512,9018 or 64-1518/64
    ///
    /// The second is a range with its step. A card that does not take a size says so.
    #[arg(short, long = "size", value_name = "LIST", value_delimiter = ',', default_value = "64")]
    sizes: Vec<Span>,
    /// How often to send: 100k, 10Mbit, 1% [default: 100k, or 10k with --load, several sizes or jumbo frames]
    ///
    /// It does not wait for answers.
    #[arg(short, long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Send other traffic beside the probe, in per cent of line rate, a row for each: 0,10,50,90%
    ///
    /// It goes through the same two queues, so the probe waits behind it as it would
    /// behind traffic of its own. The probe keeps its --rate, which comes on top. A load
    /// that was not offered within --allow-shortfall, or that lost more than --allow-loss,
    /// ends with exit code 3.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = percent)]
    load: Vec<f64>,
    /// Frame sizes of that traffic, FCS included: 64, 64,594,1518, 64-1518, imix, or same
    ///
    /// Several are sent in turn; imix is IMIX_v4_1 of CSIT. Long frames are what fills most
    /// links, and one thread can offer them at any speed; same is the size of the probe, as
    /// RFC 2544 and CSIT have it.
    #[arg(long, value_name = "SIZES", default_value = "1518", requires = "load")]
    load_size: LoadSizes,
}

/// Some sizes, in bytes with FCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: usize,
    last: usize,
    step: usize,
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (least, most) = (MIN_FRAME + FCS, MAX_FRAME + FCS);
        let bad = || {
            let line = format!(
                "'{text}' is no frame size; write {least} to {most} bytes with FCS, or a range with its step like 64-1518/64"
            );
            Error::new(Kind::Usage, line)
        };
        let size = |text: &str| text.trim().parse().ok().filter(|size| (least..=most).contains(size));
        let Some((first, rest)) = text.split_once('-') else {
            let size = size(text).ok_or_else(bad)?;
            return Ok(Span { first: size, last: size, step: 1 });
        };
        let (last, step) = rest.split_once('/').unwrap_or((rest, "1"));
        let span = (size(first), size(last), step.trim().parse().ok().filter(|step| *step > 0));
        match span {
            (Some(first), Some(last), Some(step)) if first <= last => Ok(Span { first, last, step }),
            _ => Err(bad()),
        }
    }
}

/// Sizes of the frames of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LoadSizes {
    /// That of the probe.
    Same,
    /// These in turn, in bytes without FCS.
    Of(Vec<usize>),
}

impl FromStr for LoadSizes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("same") {
            return Ok(LoadSizes::Same);
        }
        Ok(LoadSizes::Of(match text.parse().map_err(|e: Error| e.hint("or same"))? {
            Sizes::Shortest => vec![MIN_FRAME],
            Sizes::List(frames) => frames,
            Sizes::Range(first, last) => (first..=last).collect(),
        }))
    }
}

/// A load in per cent of line rate; the sign may be left out.
fn percent(text: &str) -> Result<f64> {
    let number = text.trim().strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    number.filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(|| {
        let line = format!("'{text}' is no load; write a share of line rate from 0 to 100 %, like 50 or 50%");
        Error::new(Kind::Usage, line)
    })
}

/// One row: a size of the probe, and a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Bytes, FCS included.
    pub size: usize,
    /// Beside it, if a load was asked for.
    pub load: Option<Share>,
}

/// A load as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Of line rate.
    pub percent: f64,
    /// Sizes of its frames, in bytes without FCS, sent in turn.
    pub frames: Vec<usize>,
}

impl Asked {
    /// The rows, loads within sizes.
    ///
    /// # Errors
    /// [`Kind::Usage`] if they are too many.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let sizes = || self.sizes.iter().flat_map(|span| (span.first..=span.last).step_by(span.step));
        let rows = sizes().count() * self.load.len().max(1);
        if rows > ROWS {
            let line = format!(
                "that makes {rows} rows, each a measurement; ask for at most {ROWS}: a range has a step, 64-1518/64"
            );
            return Err(Error::new(Kind::Usage, line));
        }
        let cases = sizes().flat_map(|size| {
            let frames = match &self.load_size {
                LoadSizes::Same => vec![size - FCS],
                LoadSizes::Of(frames) => frames.clone(),
            };
            let shares = self.load.iter().map(|&percent| Some(Share { percent, frames: frames.clone() }));
            let loads: Vec<_> = if self.load.is_empty() { vec![None] } else { shares.collect() };
            loads.into_iter().map(move |load| Case { size, load })
        });
        Ok(cases.collect())
    }

    /// The one size, where a table of its own has no room for more.
    ///
    /// # Errors
    /// [`Kind::Usage`] if there are several, or a load.
    pub fn only(&self) -> Result<Case> {
        match &self.cases()?[..] {
            [case @ Case { load: None, .. }] => Ok(case.clone()),
            _ => {
                let line = "--stages and --tx-path all are of one frame size without a --load; leave the rest out";
                Err(Error::new(Kind::Usage, line))
            }
        }
    }

    /// Probes a second in the row `case` on a link of `speed` bits a second, if it carries
    /// them beside the load: otherwise they would only show how long packets wait for it.
    ///
    /// # Errors
    /// [`Kind::Usage`] with what it carries.
    pub fn rate(&self, case: &Case, speed: u64) -> Result<f64> {
        let short = matches!(self.sizes[..], [Span { first, last, .. }] if first == last && last <= SHORT);
        let alone = short && self.load.is_empty();
        let asked = self.rate.unwrap_or(if alone { ALONE } else { AMONG });
        let (rate, line) = (asked.pps(case.frame(), speed), Rate::Line.pps(case.frame(), speed));
        let percent = case.load.as_ref().map_or(0.0, |load| load.percent);
        let room = line * (1.0 - percent / 100.0);
        // Shares of the same line may add up to all of it.
        if rate <= room * (1.0 + 1e-9) {
            return Ok(rate);
        }
        let (rate, size, room) = (output::pps(rate), case.size, output::pps(room));
        Err(Error::new(
            Kind::Usage,
            match percent {
                0.0 => format!("{rate} of {size} bytes are more than the link carries; ask for less than {room}"),
                percent => format!(
                    "a load of {percent} % leaves room for {room} of {size} bytes, and {rate} are asked for; choose a lower --rate or --load"
                ),
            },
        ))
    }
}

impl Case {
    /// Bytes of the probe without FCS.
    pub fn frame(&self) -> usize {
        self.size - FCS
    }

    /// The longest frame of the row, without FCS.
    pub fn longest(&self) -> usize {
        let load = self.load.iter().flat_map(|load| &load.frames).copied();
        load.chain([self.frame()]).max().unwrap_or(0)
    }

    /// What is to be sent beside the probe on a link of `speed` bits a second.
    pub fn load(&self, speed: u64) -> Option<Load> {
        let Share { percent, frames } = self.load.as_ref().filter(|load| load.percent > 0.0)?;
        let rate = flood::line_rate(frames, speed) * percent / 100.0;
        Some(Load { frames: frames.clone(), rate })
    }

    /// As a line of the interval log is tagged: no comma, no blank.
    pub fn tag(&self) -> String {
        let load = self.load.as_ref().map_or(String::new(), |load| format!("-load{}", load.percent));
        format!("{}B{load}", self.size)
    }

    /// As a line about it begins.
    pub fn name(&self) -> String {
        let load = self.load.as_ref().map_or(String::new(), |load| format!(", load {} %", load.percent));
        format!("{} bytes{load}", self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sizes: &str, load: &[f64], load_size: &str) -> Asked {
        let sizes = sizes.split(',').map(|text| text.parse().unwrap()).collect();
        Asked { sizes, rate: None, load: load.to_vec(), load_size: load_size.parse().unwrap() }
    }

    #[test]
    fn sizes_and_ranges_make_a_row_each_and_each_load_with_each_size() {
        let sizes = |text| asked(text, &[], "1518").cases().unwrap().iter().map(|case| case.size).collect::<Vec<_>>();
        assert_eq!(sizes("64,512,9018"), [64, 512, 9018]);
        assert_eq!(sizes("64-1518/640,9018"), [64, 704, 1344, 9018]);
        assert_eq!(sizes("64-66"), [64, 65, 66]);
        let cases = asked("64,128", &[0.0, 50.0], "same").cases().unwrap();
        let row = |case: &Case| (case.size, case.load.clone().map(|load| (load.percent, load.frames)));
        let row = cases.iter().map(row).collect::<Vec<_>>();
        let expected = [(64, 0.0, 60), (64, 50.0, 60), (128, 0.0, 124), (128, 50.0, 124)];
        assert_eq!(row, expected.map(|(size, percent, frame)| (size, Some((percent, vec![frame])))));
        assert_eq!(asked("64-1518", &[], "1518").cases().unwrap_err().kind(), Kind::Usage);
        assert!(asked("64", &[], "64").only().is_ok());
        for several in [asked("64,65", &[], "64"), asked("64", &[0.0], "64")] {
            assert_eq!(several.only().unwrap_err().kind(), Kind::Usage);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "63", "15873", "64-", "-64", "128-64", "64-128/0", "64-128/", "imix", "64k"] {
            assert_eq!(text.parse::<Span>().unwrap_err().kind(), Kind::Usage, "{text}");
        }
        for text in ["", "%", "101", "-1", "nan", "inf", "line"] {
            assert_eq!(percent(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        assert_eq!((percent("50").unwrap(), percent(" 12.5 %").unwrap()), (50.0, 12.5));
        assert!("63".parse::<LoadSizes>().unwrap_err().to_string().ends_with("or same"));
        assert_eq!("64,594,1518".parse::<LoadSizes>().unwrap(), LoadSizes::Of(vec![60, 590, 1514]));
    }

    #[test]
    fn a_load_is_a_share_of_the_wire_and_leaves_room_for_the_probe_or_is_refused() {
        const SPEED: u64 = 10_000_000_000;
        let asked = asked("64", &[50.0], "64,1518");
        let case = asked.cases().unwrap().remove(0);
        let load = case.load(SPEED).unwrap();
        // 84 and 1538 bytes on the wire in turn, half of the time.
        assert!((load.rate - 5e9 / (811.0 * 8.0)).abs() < 1.0, "{}", load.rate);
        assert_eq!(case.longest(), 1_514);
        assert_eq!(asked.rate(&case, SPEED).unwrap(), 10_000.0);
        let full = Case { load: Some(Share { percent: 99.95, frames: vec![60] }), ..case };
        let error = asked.rate(&full, SPEED).unwrap_err();
        assert!(error.to_string().starts_with("a load of 99.95 % leaves room for 7.44 kpps of 64 bytes"), "{error}");
        let half = Asked { rate: Some(Rate::Percent(50.0)), ..asked };
        assert!(half.rate(&Case { load: Some(Share { percent: 50.0, frames: vec![60] }), size: 64 }, SPEED).is_ok());
        assert_eq!(Case { load: Some(Share { percent: 0.0, frames: vec![60] }), size: 64 }.load(SPEED), None);
    }
}
