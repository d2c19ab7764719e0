//! What runs are called: by what tells them apart, and no more.

use crate::results::RunResult;
use std::collections::BTreeSet;

/// A name for each of these runs, in their order, no two the same.
pub(super) fn labels(runs: &[&RunResult]) -> Vec<String> {
    let differ = |of: &dyn Fn(&RunResult) -> Option<String>| {
        let values: BTreeSet<Option<String>> = runs.iter().map(|run| of(run)).collect();
        values.len() > 1
    };
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.options.keys()).collect();
    let telling: Vec<&String> = names
        .into_iter()
        .filter(|name| differ(&|run| run.options.get(*name).cloned()))
        .collect();
    let commits = differ(&|run| Some(run.commit.clone()));
    let mut labels: Vec<String> = Vec::new();
    for run in runs {
        let mut label = run.system.clone();
        if commits {
            label += &format!(" {}", run.commit);
        }
        for name in &telling {
            if let Some(value) = run.options.get(*name) {
                label += &format!(", {name} {value}");
            }
        }
        labels.push(label);
    }
    let all = labels.clone();
    let mut seen = Vec::new();
    for label in &mut labels {
        if all.iter().filter(|other| *other == label).count() > 1 {
            seen.push(label.clone());
            let number = seen.iter().filter(|other| *other == label).count();
            *label += &format!(" ({number})");
        }
    }
    labels
}
