//! What a check measured.

use std::time::Duration;

/// What a check measured, as far as it does measure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measures {
    pub(crate) bytes: u64,
    pub(crate) connections: u64,
    pub(crate) throughput: Option<u64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) records: Vec<(String, String)>,
}

/// The distribution of many waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many waits there were.
    pub count: u64,
    /// Half of them were not longer.
    pub p50: Duration,
    /// 99 of 100 were not longer.
    pub p99: Duration,
    /// None was longer.
    pub max: Duration,
}

impl Measures {
    /// The payload that was carried, in bytes, both directions together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many connections were made to the program.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Payload carried, in bytes a second.
    pub fn throughput(&self) -> Option<u64> {
        self.throughput
    }

    /// How long single exchanges took.
    pub fn latency(&self) -> Option<&Latency> {
        self.latency.as_ref()
    }

    /// Names and values of what was seen and is not judged, so that two versions of a program can be
    /// compared: `half-close`, `carried`.
    pub fn records(&self) -> &[(String, String)] {
        &self.records
    }

    /// In one line; empty when nothing was measured. Records are not in it.
    pub(super) fn line(&self) -> String {
        let mut parts = Vec::new();
        if self.connections > 1 {
            parts.push(format!("{} connections", self.connections));
        }
        if self.bytes > 0 {
            parts.push(format!("{} bytes", self.bytes));
        }
        if let Some(rate) = self.throughput {
            parts.push(format!("{}.{} MB/s", rate / 1_000_000, rate / 100_000 % 10));
        }
        if let Some(latency) = &self.latency {
            parts.push(format!(
                "p50 {:.1?}, p99 {:.1?}, max {:.1?} of {}",
                latency.p50, latency.p99, latency.max, latency.count
            ));
        }
        parts.join(", ")
    }
}

impl Latency {
    /// Of any number of waits; `None` of none. A percentile is the smallest wait that so many are not
    /// longer than.
    pub(crate) fn of(mut waits: Vec<Duration>) -> Option<Latency> {
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() * percent).div_ceil(100) - 1];
        let max = *waits.last()?;
        Some(Latency {
            count: waits.len() as u64,
            p50: at(50),
            p99: at(99),
            max,
        })
    }

    /// Of both: their waits counted, and of each percentile the longer one.
    pub(super) fn worst(self, other: Latency) -> Latency {
        Latency {
            count: self.count + other.count,
            p50: self.p50.max(other.p50),
            p99: self.p99.max(other.p99),
            max: self.max.max(other.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_waits_that_were() {
        let millis = |n: u64| Duration::from_millis(n);
        let latency = Latency::of((1..=200).rev().map(millis).collect()).unwrap();
        assert_eq!(latency.count, 200);
        assert_eq!(
            (latency.p50, latency.p99, latency.max),
            (millis(100), millis(198), millis(200))
        );
        let one = Latency::of(vec![millis(7)]).unwrap();
        assert_eq!(
            (one.p50, one.p99, one.max),
            (millis(7), millis(7), millis(7))
        );
        assert_eq!(Latency::of(vec![]), None);
    }
}
