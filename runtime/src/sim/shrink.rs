//! Makes a scenario that fails smaller: as long as the same property does not hold.

use super::scenario::Scenario;
use super::trace::Line;
use super::watch::Violation;
use std::time::Duration;

/// A scenario, what does not hold in it, and what happens.
type Failed = (Scenario, Violation, Vec<Line>);

/// Tries smaller ones, `runs` of them at most.
pub(super) fn shrink(
    mut failed: Failed,
    mut runs: usize,
    run: impl Fn(&Scenario) -> Option<(Violation, Vec<Line>)>,
) -> Failed {
    let mut attempt = |candidate: Scenario, failed: &mut Failed| {
        if runs == 0 || candidate == failed.0 {
            return false;
        }
        runs -= 1;
        match run(&candidate) {
            Some((violation, timeline)) if violation.property == failed.1.property => {
                *failed = (candidate, violation, timeline);
                true
            }
            _ => false,
        }
    };
    let ended = failed.2.last().map_or(failed.0.faulty, |line| line.at);
    attempt(shorter(&failed.0, ended), &mut failed);
    let all_there = Scenario {
        absence: None,
        ..failed.0.clone()
    };
    attempt(all_there, &mut failed);
    // Fewer faults: chunks, from half of them down to one.
    let mut chunk = failed.0.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < failed.0.steps.len() {
            let mut candidate = failed.0.clone();
            let to = (from + chunk).min(candidate.steps.len());
            candidate.steps.drain(from..to);
            if !attempt(candidate, &mut failed) {
                from += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    while failed.0.groups > 1 {
        let mut candidate = failed.0.clone();
        candidate.groups = candidate.groups.div_ceil(2);
        candidate
            .steps
            .retain(|step| step.fault.group().is_none_or(|group| group.0 <= candidate.groups));
        if !attempt(candidate, &mut failed) {
            break;
        }
    }
    while failed.0.nodes > 3 {
        let mut candidate = failed.0.clone();
        candidate.nodes -= 1;
        candidate
            .steps
            .retain(|step| step.fault.nodes().iter().all(|node| node.0 <= candidate.nodes));
        let nodes = candidate.nodes;
        candidate.absence.take_if(|absence| {
            absence.nodes.iter().any(|node| node.0 > nodes) || absence.nodes.len() as u64 * 2 >= nodes
        });
        if !attempt(candidate, &mut failed) {
            break;
        }
    }
    failed
}

/// The same, with an earlier end.
fn shorter(scenario: &Scenario, end: Duration) -> Scenario {
    let mut shorter = scenario.clone();
    shorter.faulty = shorter.faulty.min(end);
    shorter.steps.retain(|step| step.at <= end);
    shorter
}
