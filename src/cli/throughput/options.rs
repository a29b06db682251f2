//! What can be asked for.

use super::rfc::{self, Test};
use super::row::Aim;
use super::size::Size;
use super::{baseline, export};
use crate::cli::args::RingLengths;
use crate::cli::circuit::Circuit;
use crate::cli::sandbox::Sandbox;
use crate::cli::units;
use crate::dma::BATCH_MAX;
use crate::error::{Error, Kind, Result};
use crate::measure::search::{Goals, Loss};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The sizes of RFC 2544 §9.1, and a mix.
const SIZES: &str = "64,128,256,512,1024,1280,1518,imix";
/// Searches for one result, floods, and floods of an MRR (as many as CSIT makes).
const SEARCHES: u32 = 3;
const FLOODS: u32 = 1;
const MRR_FLOODS: u32 = 10;
/// Full trials that decide of a load, of several goals.
const TRIALS_AT_A_LOAD: u32 = 3;
/// Share of their time in which more may be lost than a goal allows, as CSIT has it.
const EXCEED: f64 = 0.5;
/// Length of all trials of a rate in CSIT's searches, of 1 s each.
const CSIT_SUM: Duration = Duration::from_secs(21);
/// Packets a call if nobody says.
const BATCH: u16 = 32;
/// Packets a call that there can be, and queues.
const BATCHES: RangeInclusive<u16> = 1..=BATCH_MAX as u16;
const QUEUES: RangeInclusive<u16> = 1..=64;
/// Flows of a sweep of queues: RSS spreads so many evenly over any of its tables.
const FLOWS: u16 = 1024;

/// Arguments of `bmnic throughput`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("goal").args(["ndr", "pdr"]).multiple(true)))]
pub struct Args {
    #[command(flatten)]
    pub(super) circuit: Circuit,
    /// Frame sizes in bytes, FCS included; `imix` is IMIX_v4_1 of CSIT: 28 x 64, 16 x 570, 4 x 1518
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = SIZES, value_parser = Size::parse)]
    pub(super) sizes: Vec<Size>,
    /// Length of a trial, at least 1ms
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = trial_length)]
    pub(super) trial: Duration,
    /// Flood, and give the mean of ten trials: the Maximum Receive Rate of CSIT
    ///
    /// What comes through of as much as the tester offers, whatever is lost. Without this
    /// option, or a search, one flood is made, and of several the median is given.
    #[arg(long, conflicts_with_all = ["ndr", "pdr", "test", "rfc2544"])]
    mrr: bool,
    /// Search for the highest rate that loses nothing (non-drop rate)
    ///
    /// A trial counts only if it offered what was asked within 1 %, and a loss only if
    /// the tester cannot have caused it; others are repeated. A rate fails with its
    /// second loss. Rates above 80 % of what the tester offers unpaced are not tried:
    /// if none below fails, the result is "at least" that. Where a search comes to no
    /// end, what is known is printed and the exit code is 3.
    #[arg(long, verbatim_doc_comment)]
    ndr: bool,
    /// Search for the highest rate that loses no more than this share: 0.5%; several with commas
    ///
    /// With --ndr, or with several shares, it is one search that shares its trials, after
    /// the idea of CSIT's MLRsearch (RFC 9971): short trials first, then full ones, until
    /// those of a rate are as long together as --duration-sum says, or nothing that is
    /// still missing could change what they say.
    #[arg(long, value_name = "SHARE", value_delimiter = ',', value_parser = share)]
    pdr: Vec<f64>,
    /// Share of a rate's trials, in time, in which more may be lost than a goal allows [default: 50%]
    ///
    /// The Goal Exceed Ratio of RFC 9971; with 0 one bad trial is enough. With it, or with
    /// --duration-sum, a single goal is searched for in that way too.
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "goal")]
    exceed: Option<f64>,
    /// How long the trials of a rate are together before they decide [default: three trials]
    #[arg(long, value_name = "TIME", value_parser = trial_length, requires = "goal")]
    duration_sum: Option<Duration>,
    /// Tests of RFC 2544 to make
    ///
    /// They keep to the rules of --ndr: what was not offered as asked is no result, and
    /// trials in which the tester may have lost packets itself are repeated. Where they
    /// differ from the RFC, which asks for longer trials and more of them, is said.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["ndr", "pdr"])]
    test: Vec<Test>,
    /// All tests of RFC 2544: --test throughput,latency,loss,back-to-back
    #[arg(long, conflicts_with_all = ["ndr", "pdr", "test"])]
    rfc2544: bool,
    /// How exactly to search, as a share of line rate
    #[arg(long, value_name = "SHARE", default_value = "0.5%", value_parser = share)]
    pub(super) precision: f64,
    /// Do it this often and print the median and the spread [default: 3 searches, 1 flood, 10 of an MRR]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// Packets a call to send() and recv(), 1 to 64 [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX as i64))]
    batch: Option<u16>,
    /// Measure each value of an option, a row each: batch=1,2,4..64 or queues=1,2,4
    ///
    /// 4..64 is 4, 8, 16, 32 and 64. Of queues there are as many to send as to receive, and
    /// the one thread serves them in turn: 1024 flows are sent, a batch into each queue, and
    /// RSS spreads them over the receive queues. The document says what came out of each.
    #[arg(long, value_name = "OPTION=LIST", value_parser = Sweep::parse)]
    sweep: Option<Sweep>,
    #[command(flatten)]
    pub(super) lengths: RingLengths,
    /// Share of packets that a flood may lose; more ends with exit code 3 [default: any]
    ///
    /// A flood without a search sends more than some cards take, on purpose.
    #[arg(long, value_name = "SHARE", value_parser = units::share, conflicts_with_all = ["ndr", "pdr", "test", "rfc2544"])]
    pub(super) allow_loss: Option<f64>,
    #[command(flatten)]
    pub(super) baseline: baseline::Earlier,
    #[command(flatten)]
    pub(super) export: export::Exports,
    #[command(flatten)]
    pub(super) sandbox: Sandbox,
}

/// Values of an option, a row each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    /// Packets a call.
    Batch(Vec<u16>),
    /// Receive queues, and as many transmit queues.
    Queues(Vec<u16>),
}

impl Sweep {
    fn parse(text: &str) -> Result<Self> {
        let usage = |line: String| Error::new(Kind::Usage, line);
        let (option, list) = text.split_once('=').unwrap_or((text, ""));
        let option = option.trim();
        let (known, make): (_, fn(Vec<u16>) -> Sweep) = match option {
            "batch" => (BATCHES, Sweep::Batch),
            "queues" => (QUEUES, Sweep::Queues),
            other => {
                return Err(usage(format!("'{other}' cannot be swept; what can is batch=1,2,4..64 and queues=1,2,4")));
            }
        };
        let mut values = Vec::new();
        for item in list.split(',') {
            let (first, last) = item.split_once("..").unwrap_or((item, item));
            let value = |text: &str| match text.trim().parse::<u16>() {
                Ok(value) if known.contains(&value) => Ok(value),
                Ok(_) => {
                    let [least, most] = [known.start(), known.end()];
                    Err(usage(format!("'{text}' cannot be swept as {option}; there are {least} to {most}")))
                }
                Err(_) => Err(usage(format!("'{item}' is no {option} and no range of them; write {option}=1,2,4..64"))),
            };
            let (mut at, last) = (value(first)?, value(last)?);
            if at > last {
                return Err(usage(format!("'{item}' goes down; write {last}..{at}")));
            }
            while at <= last {
                values.push(at);
                at *= 2;
            }
        }
        Ok(make(values))
    }
}

impl Args {
    /// What is searched for, the strictest first; nothing without a search.
    pub(super) fn aims(&self) -> Vec<Aim> {
        let ndr = self.ndr || self.tests().contains(&Test::Throughput) || self.pdr.contains(&0.0);
        let mut shares: Vec<f64> = self.pdr.iter().copied().filter(|share| *share > 0.0).collect();
        shares.sort_by(f64::total_cmp);
        shares.dedup();
        ndr.then_some(Aim::Ndr).into_iter().chain(shares.into_iter().map(Aim::Pdr)).collect()
    }

    /// The search for several goals at once, unless there is one goal and one will do.
    pub(super) fn goals(&self, line: f64, ceiling: f64) -> Option<Goals> {
        let aims = self.aims();
        let asked = self.exceed.is_some() || self.duration_sum.is_some();
        if aims.len() < 2 && !(asked && aims.len() == 1) {
            return None;
        }
        let exceed = self.exceed.unwrap_or(EXCEED);
        let goals = aims.iter().map(|aim| Loss { ratio: aim.loss(), exceed }).collect();
        let sum = self.duration_sum();
        Some(Goals { line, ceiling, precision: self.precision, trial: self.trial, sum, goals })
    }

    /// Checks what options cannot be checked for one by one.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a sum that no trial fits into, or a batch beside those that are swept.
    pub(super) fn check(&self) -> Result<()> {
        if let (Some(Sweep::Batch(_)), Some(_)) = (&self.sweep, self.batch) {
            return Err(Error::new(Kind::Usage, "--batch is one of those that --sweep batch= has; leave it out"));
        }
        if self.duration_sum() >= self.trial {
            return Ok(());
        }
        let line = format!(
            "--duration-sum {:?} is less than a trial of {:?}; give it one at least",
            self.duration_sum(),
            self.trial
        );
        Err(Error::new(Kind::Usage, line))
    }

    /// Where the run differs from what those who named its method do, a line each.
    pub(super) fn deviations(&self) -> Vec<String> {
        let mut lines = rfc::deviations(&self.tests(), self.trial, self.runs());
        if self.goals(1.0, 1.0).is_some() && self.duration_sum() < CSIT_SUM {
            lines.push(format!(
                "{:?} of trials a rate; CSIT makes 21 s of them: --duration-sum 21s",
                self.duration_sum()
            ));
        }
        lines
    }

    /// How long the trials of a rate are together, where several goals are searched for.
    pub(super) fn duration_sum(&self) -> Duration {
        self.duration_sum.unwrap_or(TRIALS_AT_A_LOAD * self.trial)
    }

    /// The tests of RFC 2544 that are to be made, in its order.
    pub(super) fn tests(&self) -> Vec<Test> {
        let asked = |test: &Test| self.rfc2544 || self.test.contains(test);
        // Latency is that at the throughput.
        let needed = |test: &Test| *test == Test::Throughput && self.test.contains(&Test::Latency);
        Test::ALL.into_iter().filter(|test| asked(test) || needed(test)).collect()
    }

    /// How long the trials of a row are together, about: a search may take more of them, or
    /// fewer.
    pub(super) fn expected(&self) -> Duration {
        let halves = (1.0 / self.precision).log2().ceil() as u32;
        let (trial, runs, tests) = (self.trial, self.runs(), self.tests());
        let search = match self.aims().len() {
            0 if tests.is_empty() => return trial.saturating_mul(runs),
            0 => Duration::ZERO,
            goals if self.goals(1.0, 1.0).is_some() => self.duration_sum().saturating_mul(2 * goals as u32),
            _ => trial.saturating_mul(halves),
        };
        let test = |test: &Test| match test {
            Test::Throughput => Duration::ZERO,
            Test::Latency => trial.saturating_mul(runs),
            Test::Loss => trial.saturating_mul(10),
            Test::BackToBack => trial.saturating_mul(runs.saturating_mul(halves)),
        };
        tests.iter().map(test).fold(search.saturating_mul(runs), Duration::saturating_add)
    }

    pub(super) fn is_mrr(&self) -> bool {
        self.mrr
    }

    pub(super) fn runs(&self) -> u32 {
        let default = match () {
            () if !self.aims().is_empty() || !self.tests().is_empty() => SEARCHES,
            () if self.mrr => MRR_FLOODS,
            () => FLOODS,
        };
        self.runs.unwrap_or(default)
    }

    /// Packets a call, a row each.
    pub(super) fn batches(&self) -> Vec<u16> {
        match &self.sweep {
            Some(Sweep::Batch(batches)) => batches.clone(),
            Some(Sweep::Queues(_)) | None => vec![self.batch.unwrap_or(BATCH)],
        }
    }

    /// Queues of each direction, a row each.
    pub(super) fn queues(&self) -> Vec<u16> {
        match &self.sweep {
            Some(Sweep::Queues(queues)) => queues.clone(),
            Some(Sweep::Batch(_)) | None => vec![1],
        }
    }

    /// Flows that are sent: the same in all rows.
    pub(super) fn flows(&self) -> u16 {
        if matches!(self.sweep, Some(Sweep::Queues(_))) { FLOWS } else { 1 }
    }
}

/// A share that leaves something over: all that is lost, or allowed, says nothing.
fn share(text: &str) -> Result<f64> {
    let all = || Error::new(Kind::Usage, format!("'{text}' is all packets; write less, like 0.5% or 0.005"));
    Some(units::share(text)?).filter(|share| *share < 1.0).ok_or_else(all)
}

/// Length of a trial: there is one, and it is not over before a batch is sent.
fn trial_length(text: &str) -> Result<Duration> {
    let time = units::duration(text)?;
    if time < Duration::from_millis(1) {
        let line = format!("a trial of '{text}' is too short to send at a rate; give -t/--trial at least 1ms, or 1s");
        return Err(Error::new(Kind::Usage, line));
    }
    Ok(time)
}

#[cfg(test)]
mod unit {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
        #[command(flatten)]
        _global: crate::cli::Global,
    }

    fn args(list: &[&str]) -> Args {
        Cli::try_parse_from(std::iter::once(&"throughput").chain(list)).unwrap_or_else(|e| panic!("{e}")).args
    }

    #[test]
    fn shares_are_read_and_nonsense_is_refused() {
        assert_eq!(share("0.5%").unwrap(), 0.005);
        assert_eq!(share("0.005").unwrap(), 0.005);
        for text in ["", "%", "100%", "1", "-1%", "nan"] {
            assert_eq!(share(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn a_trial_of_no_length_is_refused() {
        assert_eq!(trial_length("1ms").unwrap(), Duration::from_millis(1));
        for text in ["0", "0s", "999us", "soon"] {
            assert_eq!(trial_length(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        assert!(trial_length("0").unwrap_err().to_string().contains("-t/--trial"));
    }

    #[test]
    fn what_a_row_takes_is_known_about() {
        let seconds = |words: &[&str]| args(&[words, &["-t", "1s"]].concat()).expected().as_secs();
        assert_eq!([seconds(&[]), seconds(&["--runs", "4"]), seconds(&["--mrr"])], [1, 4, 10]);
        // Eight halvings to half a per cent, three times.
        assert_eq!([seconds(&["--ndr"]), seconds(&["--test", "loss"])], [24, 10]);
        assert!(seconds(&["--rfc2544"]) > 24 + 10 && seconds(&["--ndr", "--pdr", "1%"]) > 3);
    }

    #[test]
    fn goals_are_sorted_and_more_than_one_is_one_search() {
        let both = args(&["--pdr", "1%,0.5%,1%", "--ndr"]);
        assert_eq!(both.aims(), [Aim::Ndr, Aim::Pdr(0.005), Aim::Pdr(0.01)]);
        let goals = both.goals(1e6, 2e6).unwrap();
        assert_eq!((goals.goals.len(), goals.sum), (3, Duration::from_secs(3)));
        assert!(args(&["--ndr"]).goals(1e6, 2e6).is_none() && args(&[]).goals(1e6, 2e6).is_none());
        let one = args(&["--pdr", "0.5%", "--exceed", "0%", "--duration-sum", "1s"]).goals(1e6, 2e6).unwrap();
        assert_eq!((one.goals[0], one.sum), (Loss { ratio: 0.005, exceed: 0.0 }, Duration::from_secs(1)));
        assert_eq!([args(&["--ndr"]).runs(), args(&[]).runs(), args(&["--mrr"]).runs()], [3, 1, 10]);
    }

    #[test]
    fn a_sweep_is_a_list_with_ranges_that_double_and_what_cannot_be_swept_is_refused_by_name() {
        assert_eq!(args(&["--sweep", "batch=1,3,4..64"]).batches(), [1, 3, 4, 8, 16, 32, 64]);
        assert_eq!(args(&["--sweep", "batch=5..64"]).batches(), [5, 10, 20, 40]);
        assert_eq!(args(&["--batch", "7"]).batches(), [7]);
        let queues = args(&["--sweep", "queues=1,2..8", "--batch", "7"]);
        assert_eq!((queues.batches(), queues.queues(), queues.flows()), (vec![7], vec![1, 2, 4, 8], 1024));
        assert_eq!((args(&[]).queues(), args(&["--sweep", "batch=1"]).flows()), (vec![1], 1));
        for (text, word) in [
            ("batch=1,2,256", "1 to 64"),
            ("batch=0", "1 to 64"),
            ("batch=64..1", "1..64"),
            ("batch=", "no range"),
            ("batch", "no range"),
            ("queues=0", "1 to 64"),
            ("queues=1,65", "1 to 64"),
            ("queues=", "no queues"),
            ("rings=64", "'rings'"),
        ] {
            let error = Sweep::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }
}
