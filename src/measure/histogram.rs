//! The histogram that every printed figure comes out of.
//!
//! A thin layer over HdrHistogram: three significant digits from 1 to 2^36
//! (1 ns to 68 s), 26 x 1024 counters, nothing allocated after it is made. It adds
//! what honest printing needs: the exact least, greatest and mean value, and a
//! refusal to name a percentile that rests on too few samples.

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};
use std::io::{self, Write};
use std::time::Duration;

/// A percentile by the name it is printed and asked for under.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// `p99.9`
    pub name: &'static str,
    /// 99.9
    pub percent: f64,
}

/// A point of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// This many samples of all, 0 to 1, are not above `value`.
    pub quantile: f64,
    /// A sample, to three digits.
    pub value: u64,
    /// Samples that are not above it.
    pub so_far: u64,
}

/// A histogram of nanoseconds, or of whatever unit its owner records.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: hdrhistogram::Histogram<u64>,
    min: u64,
    max: u64,
    sum: u128,
}

impl Histogram {
    /// The percentiles of every table.
    pub const QUANTILES: [Quantile; 5] = [
        Quantile { name: "p50", percent: 50.0 },
        Quantile { name: "p90", percent: 90.0 },
        Quantile { name: "p99", percent: 99.0 },
        Quantile { name: "p99.9", percent: 99.9 },
        Quantile { name: "p99.99", percent: 99.99 },
    ];

    /// Samples that must lie beyond a percentile before it is named. With fewer,
    /// another run would give another figure.
    pub const BEYOND: u64 = 10;

    /// The largest value kept apart from larger ones; [`Histogram::max`] is exact all the same.
    pub const LIMIT: u64 = 1 << 36;

    /// An empty histogram.
    pub fn new() -> Self {
        let buckets = hdrhistogram::Histogram::new_with_bounds(1, Self::LIMIT, 3)
            .expect("bounds and digits are constants that the crate documents as valid");
        Histogram { buckets, min: u64::MAX, max: 0, sum: 0 }
    }

    /// Adds a sample.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.buckets.saturating_record(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += u128::from(value);
    }

    /// Adds the same sample `n` times.
    #[inline]
    pub fn record_n(&mut self, value: u64, n: u64) {
        if n == 0 {
            return;
        }
        self.buckets.saturating_record_n(value, n);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += u128::from(value) * u128::from(n);
    }

    /// Adds all samples of `other`.
    pub fn add(&mut self, other: &Histogram) {
        if self.buckets.add(&other.buckets).is_err() {
            unreachable!("all histograms have the same bounds");
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        self.buckets.reset();
        (self.min, self.max, self.sum) = (u64::MAX, 0, 0);
    }

    /// Samples.
    pub fn count(&self) -> u64 {
        self.buckets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Least sample, exactly; 0 if there are none.
    pub fn min(&self) -> u64 {
        if self.is_empty() { 0 } else { self.min }
    }

    /// Greatest sample, exactly; 0 if there are none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Mean, exactly; 0 if there are no samples.
    pub fn mean(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.sum as f64 / self.count() as f64 }
    }

    /// Standard deviation, to three digits of each sample.
    pub fn stdev(&self) -> f64 {
        self.buckets.stdev()
    }

    /// The value that a share `q` (0 to 1) of the samples do not exceed, to three
    /// digits; `None` if fewer than [`Histogram::BEYOND`] samples lie beyond it.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        (self.count() >= Self::samples_needed(q)).then(|| self.quantile_unchecked(q))
    }

    /// The same however few samples there are: for a headline that was asked
    /// for, printed with a mark.
    pub fn quantile_unchecked(&self, q: f64) -> u64 {
        self.buckets.value_at_quantile(q).clamp(self.min(), self.max)
    }

    /// Samples that must have been taken before the quantile `q` is named.
    pub fn samples_needed(q: f64) -> u64 {
        let beyond = (1.0 - q.clamp(0.0, 1.0)).max(f64::EPSILON);
        // 1 - 0.999 is not quite a thousandth: without the half, 10 001 would be needed.
        (Self::BEYOND as f64 / beyond - 0.5).ceil() as u64
    }

    /// The distribution: five steps to each halving of what is left, and the last sample.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.buckets.iter_quantiles(5).map(|step| {
            let value = step.value_iterated_to().clamp(self.min(), self.max);
            Step { value, quantile: step.quantile_iterated_to(), so_far: self.buckets.count_between(0, value) }
        })
    }

    /// Writes the percentile distribution in the text format that HdrHistogram's
    /// plotter reads (`.hgrm`): value, percentile, count so far, 1/(1-percentile).
    pub fn write_hgrm(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
        for Step { value, quantile, so_far } in self.steps() {
            write!(out, "{value:>12}.000 {quantile:>2.12} {so_far:>10}")?;
            if quantile < 1.0 {
                write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]", self.mean(), self.stdev())?;
        writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", self.max as f64, self.count())?;
        writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", self.buckets.buckets(), 2048)
    }
}

impl Histogram {
    /// Writes the samples as a line of HdrHistogram's interval log: with their tag, which has no
    /// comma and no blank, when the interval began, how long it was, the greatest, and all of
    /// them (V2, deflated, in base64).
    pub fn write_interval(
        &self,
        mut out: &mut dyn Write,
        start: Duration,
        length: Duration,
        tag: Option<&str>,
    ) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new().begin_log_with(&mut out, &mut serializer)?;
        log.write_histogram(&self.buckets, start, length, tag.and_then(Tag::new)).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error.to_string()),
        })
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(samples: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        samples.into_iter().for_each(|sample| histogram.record(sample));
        histogram
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_sorted_samples(mut samples in prop::collection::vec(1..10_000_000_u64, 1..3_000)) {
            let histogram = of(samples.iter().copied());
            samples.sort_unstable();
            prop_assert_eq!(histogram.count(), samples.len() as u64);
            prop_assert_eq!(histogram.min(), samples[0]);
            prop_assert_eq!(histogram.max(), samples[samples.len() - 1]);
            let mean = samples.iter().sum::<u64>() as f64 / samples.len() as f64;
            prop_assert!((histogram.mean() - mean).abs() < 1e-6 * mean);
            for quantile in Histogram::QUANTILES {
                let rank = ((quantile.percent / 100.0 * samples.len() as f64).ceil() as usize).max(1);
                let exact = samples[rank - 1];
                let ours = histogram.quantile_unchecked(quantile.percent / 100.0);
                prop_assert!(ours.abs_diff(exact) <= exact / 500 + 1, "{}: {} against {}", quantile.name, ours, exact);
            }
        }
    }

    #[test]
    fn a_percentile_is_named_only_if_enough_samples_lie_beyond_it() {
        assert_eq!(Histogram::samples_needed(0.5), 20);
        assert_eq!(Histogram::samples_needed(0.999), 10_000);
        assert_eq!(Histogram::samples_needed(0.9999), 100_000);
        let histogram = of(1..=1_000);
        assert_eq!(histogram.quantile(0.99), Some(990));
        assert_eq!(histogram.quantile(0.999), None);
        assert_eq!(Histogram::new().quantile(0.5), None);
    }

    #[test]
    fn an_empty_one_is_all_zeroes_and_a_huge_sample_is_kept_as_the_maximum() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.min(), histogram.max(), histogram.mean(), histogram.stdev()), (0, 0, 0.0, 0.0));
        histogram.record(0);
        histogram.record(u64::MAX);
        histogram.record(u64::MAX);
        assert_eq!((histogram.min(), histogram.max(), histogram.count()), (0, u64::MAX, 3));
        histogram.clear();
        assert!(histogram.is_empty());
    }

    #[test]
    fn two_added_are_one_of_all_samples() {
        let mut both = of([5, 10]);
        both.add(&of([1, 100]));
        assert_eq!((both.count(), both.min(), both.max(), both.mean()), (4, 1, 100, 29.0));
        both.add(&Histogram::new());
        both.record_n(7, 0);
        both.record_n(29, 1);
        assert_eq!((both.min(), both.count(), both.mean()), (1, 5, 29.0));
    }

    #[test]
    fn the_percentile_file_can_be_read_back_by_its_columns() {
        let histogram = of(1..=1_000);
        let mut text = Vec::new();
        histogram.write_hgrm(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let half = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert_eq!((half[0], half[2]), (500.0, 500.0));
        assert_eq!(rows.last().unwrap()[..], [1000.0, 1.0, 1000.0]);
        assert!(text.contains("#[Mean    =      500.500,"), "{text}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }
}
