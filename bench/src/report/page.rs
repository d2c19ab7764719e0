//! The page.

use super::label::labels;
use super::plot::{bars, dots, escaped, lines};
use crate::results::{RoundResult, RunResult};
use crate::spread::Spread;
use crate::table::{FigureOf, shown};
use std::collections::{BTreeMap, BTreeSet};

const STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem; border-bottom: 1px solid #8884 }
svg { width: 100%; height: auto; margin: 1rem 0; font: 12px system-ui, sans-serif; fill: currentColor }
svg .title { font-weight: 600; font-size: 14px }
svg .label { text-anchor: end } svg .tick { text-anchor: middle; opacity: .7 }
svg .grid { opacity: .15 } svg .spread { stroke-width: 1.5 } svg .series { stroke-width: 2 }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #8883 }
th:first-child, td:first-child { text-align: left }
";

/// Loads that differ in the number of groups alone, as far as they have the same options.
const SCALED: [&str; 3] = ["write1", "write48", "busy4096"];

/// Options that the number of groups brings with it.
const WITH_GROUPS: [&str; 3] = ["groups", "in-flight", "sleepers"];

/// Further figures that are worth a plot, where a load has them.
const PLOTTED: [(&str, &str); 6] = [
    ("cpu_cores", "CPU, cores kept busy"),
    ("resident_bytes_per_replica", "Memory per replica, bytes"),
    ("all_led_after_ms", "Until every group is led again, ms"),
    ("unavailable_worst_ms", "Longest time without an answer to a client, ms"),
    ("caught_up_after_s", "Until the replica has caught up, s"),
    ("fsyncs_per_op", "fsyncs per operation"),
];

/// One page of all runs, which are in the order in which they are shown.
pub(super) fn page(runs: &[RunResult]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Benchmarks</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Benchmarks</h1>\n\
         <p>Medians of all rounds of a run; thin lines go from the smallest to the largest.</p>\n"
    );
    html += &machines(runs);
    html += &scaling(runs);
    let loads: BTreeSet<&str> = runs.iter().map(|run| run.load.as_str()).collect();
    for load in loads {
        let of_load: Vec<&RunResult> = runs.iter().filter(|run| run.load == load).collect();
        html += &section(load, &of_load);
    }
    html + "</body>\n</html>\n"
}

/// Which machines the figures are of.
fn machines(runs: &[RunResult]) -> String {
    let unknown = || "unknown".to_owned();
    let told: BTreeSet<String> = runs
        .iter()
        .map(|run| {
            let machine = &run.machine;
            format!(
                "{}, {} cores, kernel {}",
                machine.cpu_model.clone().unwrap_or_else(unknown),
                machine.cores.map_or_else(unknown, |cores| cores.to_string()),
                machine.kernel.clone().unwrap_or_else(unknown),
            )
        })
        .collect();
    let rows: String = told.iter().map(|one| format!("<li>{}</li>\n", escaped(one))).collect();
    format!("<ul>\n{rows}</ul>\n")
}

/// A figure over all rounds of a run.
fn spread(run: &RunResult, of: impl Fn(&RoundResult) -> Option<f64>) -> Option<Spread> {
    Spread::of(run.rounds.iter().filter_map(of))
}

fn throughput(round: &RoundResult) -> Option<f64> {
    (round.ops > 0).then_some(round.ops_per_s)
}

/// Writes per second over the number of groups, for each set of other options.
fn scaling(runs: &[RunResult]) -> String {
    let mut series: BTreeMap<String, BTreeMap<u64, Spread>> = BTreeMap::new();
    for run in runs.iter().filter(|run| SCALED.contains(&run.load.as_str())) {
        let groups = run.options.get("groups").and_then(|groups| groups.parse().ok());
        let Some((groups, spread)) = groups.zip(spread(run, throughput)) else {
            continue;
        };
        let others = run
            .options
            .iter()
            .filter(|(name, _)| !WITH_GROUPS.contains(&name.as_str()));
        let others: Vec<String> = others.map(|(name, value)| format!("{name} {value}")).collect();
        let name = format!("{} {}: {}", run.system, run.commit, others.join(", "));
        // Of several runs of the same the newest counts: they are in the order of their dates.
        series.entry(name).or_default().insert(groups, spread);
    }
    #[expect(clippy::cast_precision_loss, reason = "for a plot")]
    let as_line = |points: BTreeMap<u64, Spread>| points.into_iter().map(|(x, y)| (x as f64, y)).collect();
    let series: Vec<_> = series
        .into_iter()
        .map(|(name, points)| (name, as_line(points)))
        .collect();
    let plot = lines("Writes per second over the number of groups", &series);
    if plot.is_empty() {
        return plot;
    }
    format!("<h2>Scaling</h2>\n{plot}")
}

/// All of one load.
fn section(load: &str, runs: &[&RunResult]) -> String {
    let labels = labels(runs);
    let named = || labels.iter().cloned().zip(runs.iter().copied());
    let plot = |title: &str, of: &dyn Fn(&RoundResult) -> Option<f64>| {
        let of_runs = named().filter_map(|(label, run)| Some((label, spread(run, of)?)));
        bars(title, &of_runs.collect::<Vec<_>>())
    };
    let mut html = format!("<h2>{}</h2>\n", escaped(load));
    html += &common_options(runs);
    html += &plot("Operations per second", &throughput);
    html += &dots("Latency p50, p99, p99.9 and max, µs", &latencies(named()));
    html += &plot("CPU per operation, µs", &|round| round.cpu_us_per_op);
    for (name, title) in PLOTTED {
        // Where there are operations, what they cost says more.
        let is_of_ops = runs
            .iter()
            .any(|run| spread(run, |round| round.cpu_us_per_op).is_some());
        if !(name == "cpu_cores" && is_of_ops) {
            html += &plot(title, &|round| round.extra.get(name).copied());
        }
    }
    html + &table(&labels, runs)
}

/// Rows of latencies; where a round tells what they were before something happened, those too.
fn latencies<'a>(runs: impl Iterator<Item = (String, &'a RunResult)>) -> Vec<(String, Vec<(&'static str, f64)>)> {
    type Of = fn(&RoundResult) -> Option<f64>;
    let during: [(&'static str, Of); 4] = [
        ("p50", |round| round.p50_us),
        ("p99", |round| round.p99_us),
        ("p99.9", |round| round.p999_us),
        ("max", |round| round.max_us),
    ];
    let before: [(&'static str, Of); 4] = [
        ("p50", |round| round.extra.get("before_p50_us").copied()),
        ("p99", |round| round.extra.get("before_p99_us").copied()),
        ("p99.9", |round| round.extra.get("before_p999_us").copied()),
        ("max", |round| round.extra.get("before_max_us").copied()),
    ];
    let mut rows = Vec::new();
    for (label, run) in runs {
        let values = |of: [(&'static str, Of); 4]| {
            let told = of
                .into_iter()
                .filter_map(|(name, of)| Some((name, spread(run, of)?.median)));
            told.collect::<Vec<_>>()
        };
        for (label, values) in [
            (format!("{label}, before"), values(before)),
            (label.clone(), values(during)),
        ] {
            if !values.is_empty() {
                rows.push((label, values));
            }
        }
    }
    rows
}

/// What all runs of a section have in common.
fn common_options(runs: &[&RunResult]) -> String {
    let Some((first, others)) = runs.split_first() else {
        return String::new();
    };
    let is_common = |name: &String, value: &String| others.iter().all(|run| run.options.get(name) == Some(value));
    let common = first.options.iter().filter(|(name, value)| is_common(name, value));
    let common: Vec<String> = common.map(|(name, value)| format!("{name} {value}")).collect();
    format!("<p>{}</p>\n", escaped(&common.join(", ")))
}

/// All figures, a column for each run.
fn table(labels: &[String], runs: &[&RunResult]) -> String {
    type Fact = (&'static str, fn(&RunResult) -> String);
    let mut rows: Vec<(String, FigureOf)> = vec![
        ("operations per s".to_owned(), Box::new(throughput)),
        ("p50 µs".to_owned(), Box::new(|round| round.p50_us)),
        ("p99 µs".to_owned(), Box::new(|round| round.p99_us)),
        ("p99.9 µs".to_owned(), Box::new(|round| round.p999_us)),
        ("max µs".to_owned(), Box::new(|round| round.max_us)),
        ("CPU µs per operation".to_owned(), Box::new(|round| round.cpu_us_per_op)),
    ];
    let rounds = || runs.iter().flat_map(|run| &run.rounds);
    let extra: BTreeSet<&String> = rounds().flat_map(|round| round.extra.keys()).collect();
    for name in extra {
        let read = name.clone();
        let of: FigureOf = Box::new(move |round| round.extra.get(&read).copied());
        rows.push((name.replace('_', " "), of));
    }
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| -> String {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(&cell))).collect()
    };
    let mut html = "<details><summary>All figures: median (smallest to largest)</summary>\n<table>\n".to_owned();
    let head = cells("th", &mut std::iter::once(String::new()).chain(labels.iter().cloned()));
    html += &format!("<tr>{head}</tr>\n");
    let facts: [Fact; 4] = [
        ("commit", |run| run.commit.clone()),
        ("date", |run| run.date.clone()),
        ("rounds", |run| run.rounds.len().to_string()),
        ("file system", |run| {
            run.machine.data_filesystem.clone().unwrap_or_default()
        }),
    ];
    for (name, of) in facts {
        let told = cells(
            "td",
            &mut std::iter::once(name.to_owned()).chain(runs.iter().map(|run| of(run))),
        );
        html += &format!("<tr>{told}</tr>\n");
    }
    for (name, of) in rows {
        let spreads: Vec<Option<Spread>> = runs.iter().map(|run| spread(run, &of)).collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let told = spreads.into_iter().map(|spread| match spread {
            Some(Spread { median, min, max }) if min < max => {
                format!("{} ({} to {})", shown(median), shown(min), shown(max))
            }
            Some(Spread { median, .. }) => shown(median),
            None => String::new(),
        });
        let told = cells("td", &mut std::iter::once(name).chain(told));
        html += &format!("<tr>{told}</tr>\n");
    }
    html + "</table>\n</details>\n"
}
