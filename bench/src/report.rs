//! The figures of a run: a table for people, JSON for tools.

use crate::cli::Plan;
use crate::figures::{FIGURES, Figure, Round, Spread};
use crate::kv::KEY_BYTES;
use crate::system::System;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// All of a run. Its serialised form is the JSON.
#[derive(Serialize)]
pub(crate) struct Report {
    load: &'static str,
    version: &'static str,
    machine: System,
    config: Config,
    /// Refused, surely not applied, and asked again; all rounds.
    retried: u64,
    /// Nobody knows whether they were applied; not counted as written; all rounds.
    outcome_unknown: u64,
    /// Dropped between the nodes, which Raft makes good; all rounds.
    messages_dropped: u64,
    /// By name, over all rounds; absent what can't be told.
    figures: BTreeMap<&'static str, Spread>,
    #[serde(serialize_with = "serialize_rounds")]
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Config {
    /// Every client waits for answers before it asks for more: latencies are not those at a given rate.
    arrival: &'static str,
    nodes: u64,
    groups: u64,
    /// Groups that have a client.
    groups_written: u64,
    clients: u64,
    depth: usize,
    payload_bytes: usize,
    payload: String,
    durability: &'static str,
    workers_per_node: usize,
    client_threads: usize,
    seconds_per_round: f64,
}

impl Report {
    pub(crate) fn new(plan: &Plan, machine: System, rounds: Vec<Round>) -> Self {
        let total = |of: fn(&Round) -> u64| rounds.iter().map(of).sum();
        let spreads = FIGURES
            .iter()
            .filter_map(|figure| Some((figure.name, Spread::of(figure, &rounds)?)));
        Self {
            load: plan.load,
            version: env!("CARGO_PKG_VERSION"),
            machine,
            config: Config {
                arrival: "closed loop",
                nodes: 3,
                groups: plan.groups,
                groups_written: plan.groups.min(plan.clients),
                clients: plan.clients,
                depth: plan.depth,
                payload_bytes: KEY_BYTES + plan.value_bytes,
                payload: format!("a key of {KEY_BYTES} B and a value of {} B", plan.value_bytes),
                durability: "fsynced by a quorum of nodes before the answer; state machines in memory",
                workers_per_node: plan.workers,
                client_threads: plan.client_threads,
                seconds_per_round: plan.measure.as_secs_f64(),
            },
            retried: total(|round| round.retried),
            outcome_unknown: total(|round| round.unknown),
            messages_dropped: total(|round| round.did.messages_dropped),
            figures: spreads.collect(),
            rounds,
        }
    }
}

fn serialize_rounds<S: serde::Serializer>(rounds: &[Round], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rounds.iter().map(|round| {
        let mut fields = Map::new();
        fields.insert("seconds".to_owned(), json!(round.seconds));
        fields.insert("writes".to_owned(), json!(round.writes));
        fields.insert("retried".to_owned(), json!(round.retried));
        fields.insert("outcome_unknown".to_owned(), json!(round.unknown));
        let figures = FIGURES
            .iter()
            .filter_map(|figure| Some((figure.name.to_owned(), json!((figure.of)(round)?))));
        fields.extend(figures);
        Value::Object(fields)
    }))
}

/// The main figures of one of several rounds.
pub(crate) fn round_line(number: u64, rounds: u64, round: &Round) -> String {
    let mut line = format!("round {number} of {rounds}:");
    for name in [
        "writes_per_second",
        "latency_p50_us",
        "latency_p99_us",
        "cpu_us_per_write",
        "fsyncs_per_write",
    ] {
        for figure in FIGURES.iter().filter(|figure| figure.name == name) {
            let shown = shown(figure, (figure.of)(round));
            line += &format!("  {} {} {}", figure.label, shown, figure.unit);
        }
    }
    for (count, what) in [(round.retried, "retried"), (round.unknown, "OUTCOME UNKNOWN")] {
        if count > 0 {
            line += &format!("  {count} {what}");
        }
    }
    line
}

fn shown(figure: &Figure, value: Option<f64>) -> String {
    value.map_or_else(
        || "n/a".to_owned(),
        |value| format!("{:.*}", figure.decimals, value / figure.scale),
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        writeln!(
            f,
            "{}: {} nodes, {} groups, {} clients x {} in flight, {} B, durable on a quorum",
            self.load, config.nodes, config.groups, config.clients, config.depth, config.payload_bytes
        )?;
        let machine = &self.machine;
        let told = |what: &Option<String>| what.clone().unwrap_or_else(|| "unknown".to_owned());
        writeln!(
            f,
            "  on {}, {} cores, kernel {}, data on {}, {}",
            told(&machine.cpu_model),
            machine.cores.map_or_else(|| "?".to_owned(), |cores| cores.to_string()),
            told(&machine.kernel),
            told(&machine.data_filesystem),
            machine.date_utc
        )?;
        if config.groups_written < config.groups {
            writeln!(f, "  only {} groups have a client", config.groups_written)?;
        }
        let several = self.rounds.len() > 1;
        if several {
            writeln!(f, "  {:<24}{:>12}{:>12}{:>12}", "", "median", "min", "max")?;
        }
        for figure in &FIGURES {
            let spread = self.figures.get(figure.name);
            let column = |of: fn(&Spread) -> f64| shown(figure, spread.map(of));
            write!(f, "  {:<24}{:>12}", figure.label, column(|spread| spread.median))?;
            if several {
                let (min, max) = (column(|spread| spread.min), column(|spread| spread.max));
                write!(f, "{min:>12}{max:>12}")?;
            }
            writeln!(f, " {}", figure.unit)?;
        }
        for (count, what) in [
            (self.retried, "writes were refused, surely not applied, and asked again"),
            (
                self.outcome_unknown,
                "writes FAILED: whether they were applied is unknown",
            ),
            (self.messages_dropped, "messages between the nodes were dropped"),
        ] {
            if count > 0 {
                writeln!(f, "  {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
