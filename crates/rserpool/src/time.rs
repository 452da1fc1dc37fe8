//! Moments. The core never reads a clock: every fact it is told comes with the moment it happened.
//!
//! Spans are [`std::time::Duration`]; a moment is a [`Time`], counted from a zero that the world chooses (the start
//! of the process, or of the simulated world). Only differences mean anything.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A moment: nanoseconds since the world's zero. Never runs backwards within one world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The world's first moment.
    pub const ZERO: Self = Self(0);

    /// The moment `nanos` nanoseconds after zero.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `millis` milliseconds after zero.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to this moment; zero if `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The last multiple of `span` since zero that is not later than this moment; of no span: this moment.
    pub const fn floor(self, span: Duration) -> Self {
        match span.as_nanos() as u64 {
            0 => self,
            span => Self(self.0 - self.0 % span),
        }
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates after some 584 years, far beyond any timer.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl fmt::Display for Time {
    /// Seconds with six decimals: `12.000350`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_differ_by_spans_and_never_run_below_zero() {
        let later = Time::from_millis(1_500) + Duration::from_millis(250);
        assert_eq!(later.since(Time::from_millis(1_500)), Duration::from_millis(250));
        assert_eq!(Time::ZERO.since(later), Duration::ZERO);
        let span = Duration::from_millis(5);
        assert_eq!(
            [9, 10, 11].map(|at| Time::from_millis(at).floor(span)),
            [5, 10, 10].map(Time::from_millis)
        );
        assert_eq!(later.floor(Duration::ZERO), later);
        assert_eq!(later.to_string(), "1.750000");
        assert_eq!(Time::from_nanos(u64::MAX) + Duration::from_secs(1), Time::from_nanos(u64::MAX));
    }
}
