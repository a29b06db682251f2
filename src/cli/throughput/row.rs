//! A row of the table: what came of one frame size.
//!
//! A figure is there or it is not: where a search came to no end its rate is a `-` in
//! the table, nothing in a CSV file and null in JSON, and a line says what is known.

use super::bench::Flooded;
use super::rfc::Tests;
use super::size::Size;
use crate::cli::output;
use crate::cli::units;
use crate::measure::flood::Report;
use crate::measure::search::{Bound, Found, Timed, median, spread};
use std::fmt;

/// What came of one size.
pub(super) struct Row {
    pub size: Size,
    /// Packets a call to send() and recv().
    pub batch: u16,
    /// Queues of each direction.
    pub queues: u16,
    /// What was searched for, if anything was.
    pub aim: Option<Aim>,
    /// Highest rate the link carries, packets a second.
    pub line: f64,
    pub measured: Measured,
    /// What other tests gave.
    pub tests: Tests,
}

/// What a search allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    /// No loss: the non-drop rate.
    Ndr,
    /// This share of the packets: the partial-drop rate.
    Pdr(f64),
}

impl Aim {
    /// Share of the packets that may be lost.
    pub fn loss(self) -> f64 {
        match self {
            Aim::Ndr => 0.0,
            Aim::Pdr(share) => share,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aim::Ndr => f.write_str("ndr"),
            Aim::Pdr(share) => write!(f, "pdr {}%", units::percent(*share)),
        }
    }
}

/// How it was measured.
pub(super) enum Measured {
    /// Sent as fast as it goes, once or several times; the rate is the median.
    Floods(Vec<Flow>),
    /// The same, and the rate is the mean: the Maximum Receive Rate.
    Mrr(Vec<Flow>),
    /// Searched for, once or several times.
    Searches {
        /// What the tester offers unpaced, packets a second.
        ceiling: f64,
        searches: Vec<Search>,
    },
    /// Not at all: this is what the tester offers unpaced, packets a second.
    Ceiling(f64),
}

/// One search, and the flood that was its best trial.
pub(super) struct Search {
    pub found: Found,
    pub best: Option<Flow>,
    /// Its trials, unless another row has them.
    pub trials: Trials,
    /// Conditional Throughput (RFC 9971), where several goals were searched for.
    pub conditional: Option<f64>,
}

/// Trials of a search.
pub(super) enum Trials {
    Own(Vec<Timed>),
    /// Those of the row of the first goal.
    OfFirst,
}

/// What is kept of a flood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Flow {
    pub sent: u64,
    pub received: u64,
    pub duplicated: u64,
    pub foreign: u64,
    /// Packets received a second.
    pub pps: f64,
    /// Bits of a packet on the wire.
    pub bits: f64,
    /// Ticks a packet, and packets a call.
    pub rx: (Option<f64>, f64),
    pub tx: (Option<f64>, f64),
    /// Packets that came out of each receive queue, those of no run and those that came again
    /// too; empty if there was one.
    pub by_queue: Vec<u64>,
}

impl Flow {
    pub fn of(Flooded { report, by_queue }: &Flooded) -> Self {
        let Report { sent, received, duplicated, foreign, wire_bits, .. } = *report;
        Flow {
            sent,
            received,
            duplicated,
            foreign,
            pps: report.packets_per_second(),
            bits: if received == 0 { 0.0 } else { wire_bits / received as f64 },
            rx: (report.rx.ticks(), report.rx.per_call()),
            tx: (report.tx.ticks(), report.tx.per_call()),
            by_queue: by_queue.clone(),
        }
    }

    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl Row {
    /// Whether the row is what was asked for.
    pub fn is_result(&self) -> bool {
        (self.rate().is_some() || matches!(self.measured, Measured::Ceiling(_))) && self.tests.are_results()
    }

    /// The floods, unless it was searched.
    pub fn floods(&self) -> &[Flow] {
        match &self.measured {
            Measured::Floods(flows) | Measured::Mrr(flows) => flows,
            Measured::Searches { .. } | Measured::Ceiling(_) => &[],
        }
    }

    /// The searches, unless it was flooded.
    pub fn searches(&self) -> &[Search] {
        match &self.measured {
            Measured::Searches { searches, .. } => searches,
            _ => &[],
        }
    }

    pub fn is_search(&self) -> bool {
        matches!(self.measured, Measured::Searches { .. } | Measured::Ceiling(_))
    }

    /// Packets a second that count: what came, or what the search found; the median, but
    /// of an MRR the mean.
    pub fn rate(&self) -> Option<f64> {
        match &self.measured {
            Measured::Floods(flows) => middle(flows).map(|flow| flow.pps),
            Measured::Mrr(flows) => mean(flows),
            Measured::Searches { .. } => self.median().and_then(|search| search.found.rate()),
            Measured::Ceiling(_) => None,
        }
    }

    /// The rate that was asked for where the search found its rate.
    pub fn asked(&self) -> Option<f64> {
        self.median()?.found.best.map(|trial| trial.asked)
    }

    /// Lowest and highest rate of all runs.
    pub fn spread(&self) -> Option<[f64; 2]> {
        if self.is_search() {
            return spread(&founds(self.searches()));
        }
        let rates = || self.floods().iter().map(|flow| flow.pps);
        (!self.floods().is_empty()).then(|| [rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max)])
    }

    /// Standard deviation of a sample's rates, of two or more floods.
    pub fn stdev(&self) -> Option<f64> {
        let (flows, mean) = (self.floods(), mean(self.floods())?);
        let squares = flows.iter().map(|flow| (flow.pps - mean).powi(2)).sum::<f64>();
        (flows.len() > 1).then(|| (squares / (flows.len() - 1) as f64).sqrt())
    }

    /// The search in the middle, if most of them came to an end.
    pub fn median(&self) -> Option<&Search> {
        let founds = founds(self.searches());
        let found = median(&founds)?;
        self.searches().iter().find(|search| search.found == *found)
    }

    /// The flood in the middle, or the best trial of the search in the middle.
    pub fn flow(&self) -> Option<&Flow> {
        match &self.measured {
            Measured::Floods(flows) | Measured::Mrr(flows) => middle(flows),
            Measured::Searches { .. } => self.median().and_then(|search| search.best.as_ref()),
            Measured::Ceiling(_) => None,
        }
    }

    /// Bits a second on the wire at its rate.
    pub fn bits(&self) -> Option<f64> {
        let flow = self.flow().filter(|flow| flow.received > 0)?;
        Some(self.rate()? * flow.bits)
    }

    /// Runs that count, and all.
    pub fn runs(&self) -> (usize, usize) {
        match &self.measured {
            Measured::Floods(flows) | Measured::Mrr(flows) => (flows.len(), flows.len()),
            Measured::Searches { searches, .. } => {
                (searches.iter().filter(|search| search.found.is_conclusive()).count(), searches.len())
            }
            Measured::Ceiling(_) => (0, 0),
        }
    }

    pub fn ceiling(&self) -> Option<f64> {
        match self.measured {
            Measured::Floods(_) | Measured::Mrr(_) => None,
            Measured::Searches { ceiling, .. } | Measured::Ceiling(ceiling) => Some(ceiling),
        }
    }

    /// What is above the rate, in a word or two.
    pub fn above(&self) -> String {
        match self.median().map(|search| search.found.bound) {
            Some(Bound::Device(rate)) => format!("fails at {}", output::pps(rate)),
            Some(Bound::Line) => "line rate".to_string(),
            Some(Bound::Tester) => "at least: tester's ceiling".to_string(),
            _ if matches!(self.measured, Measured::Searches { .. }) => "not measured".to_string(),
            _ => String::new(),
        }
    }

    /// What the row is of, where something else is told of it.
    pub fn name(&self) -> String {
        match self.aim {
            Some(Aim::Pdr(_)) => format!("{} {}", self.size, self.aim.map_or(String::new(), |aim| aim.to_string())),
            _ => self.size.to_string(),
        }
    }

    /// Why a row is no result, and what is known all the same.
    pub fn known(&self) -> Option<String> {
        let Measured::Searches { ceiling, searches } = &self.measured else { return None };
        if self.rate().is_some() {
            return None;
        }
        let (ended, all) = self.runs();
        // What one search knows belongs together: that of the highest rate that passed,
        // or of the lowest that did not where none passed.
        let known = |search: &&Search| (search.found.rate().unwrap_or(0.0), -bound_rate(search.found.bound));
        let best = searches.iter().max_by(|a, b| {
            let ((a, below_a), (b, below_b)) = (known(a), known(b));
            a.total_cmp(&b).then(below_a.total_cmp(&below_b))
        });
        let passed = best.and_then(|search| search.found.rate());
        let passed = passed.map_or("no rate passed".to_string(), |rate| format!("{} passed", output::pps(rate)));
        let why = match best.map(|search| search.found.bound) {
            Some(Bound::Device(rate)) => format!("{} lost packets", output::pps(rate)),
            Some(Bound::Unclear(rate, why)) => {
                format!("{} could not be measured, because {why}", output::pps(rate))
            }
            Some(Bound::Stopped(rate)) => format!("it was stopped below {}", output::pps(rate)),
            Some(Bound::Line | Bound::Tester) | None => "nothing else is known".to_string(),
        };
        Some(format!(
            "{}: not measured: {ended} of {all} searches came to an end; {passed}, {why}; the tester offers {} unpaced",
            self.name(),
            output::pps(*ceiling)
        ))
    }
}

/// The flood with the median rate, the lower of the two in the middle.
fn middle(flows: &[Flow]) -> Option<&Flow> {
    let mut sorted: Vec<&Flow> = flows.iter().collect();
    sorted.sort_by(|a, b| a.pps.total_cmp(&b.pps));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

fn mean(flows: &[Flow]) -> Option<f64> {
    (!flows.is_empty()).then(|| flows.iter().map(|flow| flow.pps).sum::<f64>() / flows.len() as f64)
}

fn founds(searches: &[Search]) -> Vec<Found> {
    searches.iter().map(|search| search.found.clone()).collect()
}

/// The rate of a bound, where it has one of its own.
pub(super) fn bound_rate(bound: Bound) -> f64 {
    match bound {
        Bound::Device(rate) | Bound::Unclear(rate, _) | Bound::Stopped(rate) => rate,
        Bound::Line | Bound::Tester => f64::INFINITY,
    }
}

#[cfg(test)]
pub(super) mod unit {
    use super::*;
    use crate::measure::search::{Trial, Verdict, Why};

    pub fn found(rate: f64, bound: Bound) -> Search {
        let trial = Trial { asked: rate, due: 1_000, sent: 1_000, ..Trial::default() };
        assert_eq!(trial.verdict(0.0), Verdict::Passed);
        let found = Found { best: Some(trial), bound, trials: vec![] };
        Search { found, best: None, trials: Trials::Own(vec![]), conditional: None }
    }

    pub fn row(measured: Measured) -> Row {
        Row { size: Size::Fixed(64), batch: 32, queues: 1, aim: None, line: 10e6, measured, tests: Tests::default() }
    }

    pub fn searched(searches: Vec<Search>) -> Row {
        row(Measured::Searches { ceiling: 5e6, searches })
    }

    pub fn flows(rates: &[f64]) -> Vec<Flow> {
        rates.iter().map(|&pps| Flow { pps, sent: 100, received: 90, bits: 672.0, ..Flow::default() }).collect()
    }

    #[test]
    fn floods_have_a_median_and_an_mrr_has_a_mean_and_a_deviation() {
        let rates = [1e6, 2e6, 6e6];
        let row = row(Measured::Floods(flows(&rates)));
        assert_eq!((row.rate(), row.spread()), (Some(2e6), Some([1e6, 6e6])));
        let mrr = self::row(Measured::Mrr(flows(&rates)));
        assert_eq!((mrr.rate(), mrr.spread()), (Some(3e6), Some([1e6, 6e6])));
        assert!((mrr.stdev().unwrap() - 7e12f64.sqrt()).abs() < 1.0, "{:?}", mrr.stdev());
        assert_eq!(mrr.bits(), Some(3e6 * 672.0));
        assert_eq!(self::row(Measured::Mrr(flows(&[1e6]))).stdev(), None, "of one");
        assert_eq!(self::row(Measured::Mrr(vec![])).rate(), None);
    }

    #[test]
    fn where_no_search_ends_there_is_no_figure_but_what_is_known() {
        let unclear = || found(1e6, Bound::Unclear(1.5e6, Why::OwnLoss));
        let row = searched(vec![unclear(), unclear(), found(2e6, Bound::Device(2.1e6))]);
        assert!(!row.is_result() && row.rate().is_none());
        let known = row.known().unwrap();
        assert!(known.contains("1 of 3 searches came to an end; 2 Mpps passed, 2.1 Mpps lost packets"), "{known}");
        let mut nothing = found(1e6, Bound::Device(50_000.0));
        nothing.found.best = None;
        let row = searched(vec![nothing]);
        assert!(!row.is_result() && row.spread().is_none());
        assert!(row.known().unwrap().contains("no rate passed, 50 kpps lost packets"), "{:?}", row.known());
    }
}
