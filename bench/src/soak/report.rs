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
    /// Bytes on its heap, where they are counted.
    heap: Vec<u64>,
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
    /// The same of the heap.
    heap: Option<(u64, u64)>,
}

impl Samples {
    pub(super) fn take(&mut self, world: &World, end: Instant) {
        self.memory.push(process::resident_bytes().unwrap_or_default());
        self.heap.extend(process::heap_bytes());
        if self.memory.len().is_multiple_of(SAY) {
            let (restarts, created) = world.done();
            let heap = self.heap.last().map(|bytes| format!(", {} MiB of heap", bytes >> 20));
            eprintln!(
                "{} s left: {restarts} restarts, {created} groups created again, {} MiB{}",
                end.saturating_duration_since(Instant::now()).as_secs(),
                self.memory.last().unwrap_or(&0) >> 20,
                heap.unwrap_or_default(),
            );
        }
    }

    pub(super) fn report(&self, plan: &SoakPlan, world: &World) -> SoakReport {
        let (restarts, created_again) = world.done();
        SoakReport {
            groups: plan.groups,
            seed: plan.seed,
            duration: plan.duration,
            restarts,
            created_again,
            memory: (median(&self.memory, 1), median(&self.memory, 3)),
            heap: (!self.heap.is_empty()).then(|| (median(&self.heap, 1), median(&self.heap, 3))),
        }
    }
}

/// Of a quarter of the samples.
fn median(samples: &[u64], quarter: usize) -> u64 {
    let length = samples.len() / 4;
    let mut quarter: Vec<u64> = samples.iter().skip(quarter * length).take(length).copied().collect();
    quarter.sort_unstable();
    quarter.get(quarter.len() / 2).copied().unwrap_or_default()
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
            memory,
            heap,
        } = self;
        writeln!(
            f,
            "soak of {groups} groups on 3 nodes, {} s, seed {seed}",
            duration.as_secs()
        )?;
        writeln!(f, "  node restarts          {restarts}")?;
        writeln!(f, "  groups created again   {created_again}")?;
        let used = [("memory", Some(memory)), ("heap", heap.as_ref())];
        for (name, (early, late)) in used.iter().filter_map(|(name, used)| Some((name, (*used)?))) {
            writeln!(
                f,
                "  {name:22} {} MiB in the second quarter, {} MiB in the last",
                early >> 20,
                late >> 20
            )?;
        }
        writeln!(
            f,
            "  every group took a write at the end, and its three replicas hold the same"
        )
    }
}
