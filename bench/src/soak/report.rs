//! What a soak did, and what it took.

use super::SoakPlan;
use super::world::World;
use crate::process;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often it is said how things stand.
const SAY: usize = 10;

/// Taken once a second.
#[derive(Default)]
pub(super) struct Samples {
    /// Bytes in use by the process.
    memory: Vec<u64>,
}

/// What was seen.
#[derive(Clone, Debug)]
pub(crate) struct SoakReport {
    groups: u64,
    seed: u64,
    duration: Duration,
    restarts: u64,
    created_again: u64,
    /// Bytes: the medians of the second and of the last quarter of the time.
    memory: (u64, u64),
}

impl Samples {
    pub(super) fn take(&mut self, world: &World, end: Instant) {
        self.memory.push(process::resident_bytes().unwrap_or_default());
        if self.memory.len().is_multiple_of(SAY) {
            let (restarts, created) = world.done();
            eprintln!(
                "{} s left: {restarts} restarts, {created} groups created again, {} MiB",
                end.saturating_duration_since(Instant::now()).as_secs(),
                self.memory.last().unwrap_or(&0) >> 20,
            );
        }
    }

    fn median(&self, quarter: usize) -> u64 {
        let length = self.memory.len() / 4;
        let mut quarter: Vec<u64> = self
            .memory
            .iter()
            .skip(quarter * length)
            .take(length)
            .copied()
            .collect();
        quarter.sort_unstable();
        quarter.get(quarter.len() / 2).copied().unwrap_or_default()
    }

    pub(super) fn report(&self, plan: &SoakPlan, world: &World) -> SoakReport {
        let (restarts, created_again) = world.done();
        SoakReport {
            groups: plan.groups,
            seed: plan.seed,
            duration: plan.duration,
            restarts,
            created_again,
            memory: (self.median(1), self.median(3)),
        }
    }
}

impl World {
    fn done(&self) -> (u64, u64) {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.restarts), read(&self.created_again))
    }
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            groups,
            seed,
            duration,
            restarts,
            created_again,
            memory: (early, late),
        } = self;
        writeln!(
            f,
            "soak of {groups} groups on 3 nodes, {} s, seed {seed}",
            duration.as_secs()
        )?;
        writeln!(f, "  node restarts          {restarts}")?;
        writeln!(f, "  groups created again   {created_again}")?;
        writeln!(
            f,
            "  memory                 {} MiB in the second quarter, {} MiB in the last",
            early >> 20,
            late >> 20
        )?;
        writeln!(
            f,
            "  every group took a write at the end, and its three replicas hold the same"
        )
    }
}
