//! Several systems under one load, in alternating rounds.

use crate::results::{Machine, RoundResult, RunResult};
use crate::tally::Timing;
use crate::{Failure, machine, table};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What holds for a whole run.
pub(crate) struct Run {
    pub(crate) rounds: u64,
    pub(crate) timing: Timing,
    /// Where logs are kept while it runs.
    pub(crate) data: PathBuf,
    /// Where the figures go as JSON.
    pub(crate) json: Option<PathBuf>,
    pub(crate) machine: Machine,
}

type Measure<'a> = Box<dyn FnMut() -> Result<RoundResult, Failure> + 'a>;

/// One that is measured.
pub(crate) struct System<'a> {
    pub(crate) name: String,
    /// Of which commit or version.
    pub(crate) version: String,
    /// What it promises when it answers.
    pub(crate) durability: &'static str,
    /// Measures a round on a fresh one.
    pub(crate) measure: Measure<'a>,
}

/// Measures each of `systems` once per round, each time in another order, and reports. The first is the one that the
/// others are compared with. Of `absent` ones it is said that they are absent, and of those that fail, how: they have
/// no figures.
///
/// # Errors
///
/// If the first system fails, or the run was interrupted.
pub(crate) fn run(
    run: &Run,
    load: &str,
    options: &[(&str, String)],
    mut systems: Vec<System<'_>>,
    absent: &[&str],
) -> Result<(), Failure> {
    let date = machine::date();
    let mut measured: Vec<Vec<RoundResult>> = systems.iter().map(|_| Vec::new()).collect();
    let mut failed = BTreeMap::new();
    for round in 0..run.rounds {
        for place in order(systems.len(), round) {
            let (Some(system), Some(rounds)) = (systems.get_mut(place), measured.get_mut(place)) else {
                continue;
            };
            if failed.contains_key(&system.name) {
                continue;
            }
            run.timing.check()?;
            let result = match (system.measure)() {
                Ok(result) => result,
                Err(error) => {
                    run.timing.check()?;
                    let error = format!("{load}, {}: {error}", system.name);
                    if place == 0 {
                        return Err(error.into());
                    }
                    eprintln!("{error}");
                    failed.insert(system.name.clone(), error);
                    continue;
                }
            };
            eprintln!(
                "{load}  round {} of {}  {:<22} {:>9.0}/s",
                round + 1,
                run.rounds,
                system.name,
                result.ops_per_s
            );
            rounds.push(result);
        }
    }
    let results: Vec<RunResult> = systems
        .into_iter()
        .zip(measured)
        .filter(|(system, _)| !failed.contains_key(&system.name))
        .map(|(system, rounds)| RunResult {
            load: load.to_owned(),
            system: system.name,
            commit: system.version,
            machine: run.machine.clone(),
            date: date.clone(),
            options: all_options(run, options, system.durability),
            rounds,
        })
        .collect();
    let mut without: BTreeMap<&str, &str> = absent
        .iter()
        .map(|name| (*name, "absent: it is not installed here"))
        .collect();
    without.extend(failed.iter().map(|(name, why)| (name.as_str(), why.as_str())));
    print!("{}", table::of(load, options, &results, &without));
    if let Some(json) = &run.json {
        for result in &results {
            let file = json.join(format!("{}-{}.json", result.load, result.system));
            let mut text = serde_json::to_string_pretty(result)?;
            text.push('\n');
            std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    Ok(())
}

/// In round `round`, whose turn it is: another one begins each time, so that nobody always comes after the same one.
fn order(systems: usize, round: u64) -> impl Iterator<Item = usize> {
    let first = usize::try_from(round).unwrap_or_default() % systems.max(1);
    (0..systems).map(move |place| (place + first) % systems)
}

fn all_options(run: &Run, options: &[(&str, String)], durability: &str) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    all.insert("rounds".to_owned(), run.rounds.to_string());
    all.insert("seconds".to_owned(), run.timing.measure.as_secs_f64().to_string());
    all.insert("warm-up".to_owned(), run.timing.warm_up.as_secs_f64().to_string());
    all.insert("durability".to_owned(), durability.to_owned());
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tally::Interrupt;
    use std::time::Duration;

    fn measure(json: &std::path::Path, systems: Vec<System<'_>>) -> Result<(), Failure> {
        let settings = Run {
            rounds: 2,
            timing: Timing {
                warm_up: Duration::ZERO,
                measure: Duration::ZERO,
                interrupt: Interrupt::default(),
            },
            data: json.to_owned(),
            json: Some(json.to_owned()),
            machine: Machine::default(),
        };
        run(&settings, "write", &[], systems, &[])
    }

    /// Fails from its second round on.
    fn system(name: &str, fails: bool) -> System<'static> {
        let mut rounds = 0;
        System {
            name: name.to_owned(),
            version: "1".to_owned(),
            durability: "none",
            measure: Box::new(move || {
                rounds += 1;
                if fails && rounds > 1 {
                    return Err("it is gone".into());
                }
                Ok(RoundResult::default())
            }),
        }
    }

    #[test]
    fn one_of_the_others_that_fails_has_no_figures_and_takes_none_from_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let systems = vec![system("ours", false), system("fails", true), system("works", false)];
        measure(dir.path(), systems).unwrap();
        let there = |name: &str| dir.path().join(format!("write-{name}.json")).exists();
        assert!(there("ours") && there("works") && !there("fails"));
        let error = measure(dir.path(), vec![system("ours", true), system("works", false)]);
        assert!(error.unwrap_err().to_string().contains("it is gone"));
    }

    #[test]
    fn everyone_is_measured_once_per_round_and_nobody_always_begins() {
        let round = |round| order(3, round).collect::<Vec<_>>();
        assert_eq!(round(0), [0, 1, 2]);
        assert_eq!(round(1), [1, 2, 0]);
        assert_eq!(round(5), [2, 0, 1]);
        assert_eq!(order(0, 3).count(), 0);
    }
}
