//! The figures for people.

use crate::results::{RoundResult, RunResult};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A table of one load: a line per system, with medians over the rounds. Ratios are of the first system to each other
/// one, round by round, so that what slows down a whole round cancels out. Of those `without` figures it is said why.
pub(crate) fn of(
    load: &str,
    options: &[(&str, String)],
    results: &[RunResult],
    without: &BTreeMap<&str, &str>,
) -> String {
    let mut out = String::new();
    let told: Vec<String> = options.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let _ = writeln!(out, "\n{load}: {}", told.join(", "));
    let head = ["ops/s", "min", "max", "ratio", "p50 ms", "p99 ms", "CPU us/op", "cores"];
    let _ = write!(out, "  {:<22}", "");
    for name in head {
        let _ = write!(out, "{name:>11}");
    }
    out.push('\n');
    let first = results.first().map_or(&[][..], |result| &result.rounds);
    for result in results {
        let rounds = &result.rounds;
        let rates = || rounds.iter().map(|round| round.ops_per_s);
        let ratios = first
            .iter()
            .zip(rounds)
            .map(|(ours, theirs)| ours.ops_per_s / theirs.ops_per_s);
        let millis = |of: fn(&RoundResult) -> Option<f64>| median(rounds.iter().filter_map(of).map(|us| us / 1e3));
        let columns = [
            (median(rates()), 0),
            (rates().reduce(f64::min), 0),
            (rates().reduce(f64::max), 0),
            (median(ratios), 2),
            (millis(|round| round.p50_us), 2),
            (millis(|round| round.p99_us), 2),
            (median(rounds.iter().filter_map(|round| round.cpu_us_per_op)), 2),
            (median(rounds.iter().filter_map(cores)), 2),
        ];
        let _ = write!(out, "  {:<22}", result.system);
        for (value, decimals) in columns {
            let shown = value.map_or_else(|| "n/a".to_owned(), |value| format!("{value:.decimals$}"));
            let _ = write!(out, "{shown:>11}");
        }
        out.push('\n');
    }
    for (name, why) in without {
        let _ = writeln!(out, "  {name:<22} {why}");
    }
    out
}

/// Cores that it kept busy. Where others run too, the ones with more threads get more of them.
fn cores(round: &RoundResult) -> Option<f64> {
    Some(round.cpu_us_per_op? * round.ops_per_s / 1e6)
}

/// The middle one, or the mean of the two in the middle; `None` of nothing.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (
        values.get(values.len().checked_sub(1)? / 2)?,
        values.get(values.len() / 2)?,
    );
    Some(low.midpoint(*high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Machine;

    fn result(system: &str, rates: &[f64]) -> RunResult {
        let round = |rate: &f64| RoundResult {
            ops_per_s: *rate,
            ..RoundResult::default()
        };
        RunResult {
            load: "write".to_owned(),
            system: system.to_owned(),
            commit: String::new(),
            machine: Machine::default(),
            date: String::new(),
            options: Default::default(),
            rounds: rates.iter().map(round).collect(),
        }
    }

    #[test]
    fn ratios_are_of_rounds_and_not_of_medians() {
        // In the second round the machine was slow.
        let results = [
            result("ours", &[400.0, 40.0, 440.0]),
            result("theirs", &[100.0, 20.0, 110.0]),
        ];
        let table = of("write", &[], &results, &BTreeMap::from([("nobody", "absent")]));
        let line = |name: &str| {
            let line = table.lines().find(|line| line.trim_start().starts_with(name));
            line.unwrap_or_default().split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(
            line("ours"),
            ["ours", "400", "40", "440", "1.00", "n/a", "n/a", "n/a", "n/a"]
        );
        assert_eq!(line("theirs")[1..5], ["100", "20", "110", "4.00"]);
        assert!(table.contains("nobody") && table.contains("absent"), "{table}");
    }

    #[test]
    fn a_median_is_in_the_middle() {
        let of = |values: &[f64]| median(values.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some(3.0));
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }
}
