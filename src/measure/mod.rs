//! Measuring: clock, histogram, pacing, machine.
