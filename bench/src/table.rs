//! The figures of a run for people.

use crate::results::{RoundResult, RunResult};
use crate::spread::Spread;
use std::collections::BTreeSet;
use std::fmt;

/// Shown as a table.
pub(crate) struct Table<'a>(pub(crate) &'a RunResult);

/// Reads one figure of a round; `None` if there is none.
pub(crate) type FigureOf = Box<dyn Fn(&RoundResult) -> Option<f64>>;

/// One figure of a round.
struct Figure {
    label: String,
    unit: &'static str,
    of: FigureOf,
}

/// The figures that every round may have.
fn main_figures() -> Vec<Figure> {
    let figure = |label: &str, unit, of: fn(&RoundResult) -> Option<f64>| Figure {
        label: label.to_owned(),
        unit,
        of: Box::new(of),
    };
    vec![
        figure("throughput", "ops/s", |round| {
            (round.ops > 0).then_some(round.ops_per_s)
        }),
        figure("latency p50", "ms", |round| Some(round.p50_us? / 1e3)),
        figure("latency p99", "ms", |round| Some(round.p99_us? / 1e3)),
        figure("latency p99.9", "ms", |round| Some(round.p999_us? / 1e3)),
        figure("latency max", "ms", |round| Some(round.max_us? / 1e3)),
        figure("CPU, nodes and clients", "us per op", |round| round.cpu_us_per_op),
    ]
}

/// Those, and what else the rounds tell.
fn figures(rounds: &[RoundResult]) -> Vec<Figure> {
    let mut figures = main_figures();
    let names: BTreeSet<&String> = rounds.iter().flat_map(|round| round.extra.keys()).collect();
    for name in names {
        let read = name.clone();
        figures.push(Figure {
            label: name.replace('_', " "),
            unit: "",
            of: Box::new(move |round| round.extra.get(&read).copied()),
        });
    }
    figures
}

/// With four digits that say something.
pub(crate) fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size if size >= 1_000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        size if size >= 0.01 => 4,
        _ => 6,
    };
    format!("{value:.decimals$}")
}

/// The main figures of one of several rounds.
pub(crate) fn round_line(number: u64, rounds: u64, round: &RoundResult) -> String {
    let mut line = format!("round {number} of {rounds}:");
    for figure in main_figures() {
        if let Some(value) = (figure.of)(round) {
            line += &format!("  {} {} {}", figure.label, shown(value), figure.unit);
        }
    }
    for (name, what) in [("retried", "retried"), ("outcome_unknown", "OUTCOME UNKNOWN")] {
        if let Some(count) = round.extra.get(name).filter(|count| **count > 0.0) {
            line += &format!("  {count} {what}");
        }
    }
    line
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunResult { machine, rounds, .. } = self.0;
        let options = self.0.options.iter().map(|(name, value)| format!("{name} {value}"));
        writeln!(f, "{}: {}", self.0.load, options.collect::<Vec<_>>().join(", "))?;
        let told = |what: &Option<String>| what.clone().unwrap_or_else(|| "unknown".to_owned());
        let on = machine.data_filesystem.as_ref().map(|on| format!(", data on {on}"));
        writeln!(
            f,
            "  on {}, {} cores, kernel {}{}, {}, {} {}",
            told(&machine.cpu_model),
            machine.cores.map_or_else(|| "?".to_owned(), |cores| cores.to_string()),
            told(&machine.kernel),
            on.unwrap_or_default(),
            self.0.date,
            self.0.system,
            self.0.commit
        )?;
        if rounds.len() > 1 {
            writeln!(f, "  {:<30}{:>14}{:>14}{:>14}", "", "median", "min", "max")?;
        }
        for figure in figures(rounds) {
            let Some(spread) = Spread::of(rounds.iter().filter_map(|round| (figure.of)(round))) else {
                continue;
            };
            write!(f, "  {:<30}{:>14}", figure.label, shown(spread.median))?;
            if rounds.len() > 1 {
                write!(f, "{:>14}{:>14}", shown(spread.min), shown(spread.max))?;
            }
            writeln!(f, "{}{}", if figure.unit.is_empty() { "" } else { " " }, figure.unit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Machine;

    fn round(ops: u64) -> RoundResult {
        RoundResult {
            ops,
            seconds: 2.0,
            ops_per_s: f64::from(u32::try_from(ops).unwrap_or_default()) / 2.0,
            p99_us: (ops > 0).then_some(1_234.0),
            extra: [("fsyncs_per_op".to_owned(), 0.00525), ("retried".to_owned(), 3.0)].into(),
            ..RoundResult::default()
        }
    }

    fn run(rounds: Vec<RoundResult>) -> RunResult {
        RunResult {
            load: "write48".to_owned(),
            system: "raftyard".to_owned(),
            commit: "c0ffee".to_owned(),
            machine: Machine {
                cpu_model: Some("Some CPU".to_owned()),
                cores: Some(2),
                kernel: None,
                data_filesystem: Some("ext4".to_owned()),
            },
            date: "2026-01-01T00:00:00Z".to_owned(),
            options: [("groups".to_owned(), "48".to_owned())].into(),
            rounds,
        }
    }

    #[test]
    fn one_round_is_a_table_of_one_column() {
        let expected = "\
write48: groups 48
  on Some CPU, 2 cores, kernel unknown, data on ext4, 2026-01-01T00:00:00Z, raftyard c0ffee
  throughput                              1000 ops/s
  latency p99                            1.234 ms
  fsyncs per op                       0.005250
  retried                                3.000
";
        assert_eq!(Table(&run(vec![round(2_000)])).to_string(), expected);
    }

    #[test]
    fn several_rounds_show_median_and_spread() {
        let shown = Table(&run(vec![round(600), round(200), round(400)])).to_string();
        let mut lines = shown.lines().skip(2);
        assert_eq!(
            lines.next(),
            Some("                                        median           min           max")
        );
        assert_eq!(
            lines.next(),
            Some("  throughput                             200.0         100.0         300.0 ops/s")
        );
    }

    #[test]
    fn a_round_shows_what_went_wrong_and_leaves_out_what_there_is_not() {
        let line = round_line(2, 3, &round(0));
        assert_eq!(line, "round 2 of 3:  3 retried");
    }
}
