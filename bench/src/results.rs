//! What a run leaves for other programs: one file per run, the same for every system that is measured. The
//! `report` command reads it.
//!
//! Depends on serde alone, so that programs that measure something else can write the same.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run: one load on one system, measured in one or more rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// What was done: `write48`, `read`, …
    pub load: String,
    /// Who did it: `raftyard`, `etcd`, …
    pub system: String,
    /// Of which source: a commit or a version; `unknown` if nobody can tell.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// When the run began: ISO 8601, UTC.
    pub date: String,
    /// How: every setting that changes what is measured, by its name on the command line without the dashes.
    pub options: BTreeMap<String, String>,
    /// In the order in which they were measured.
    pub rounds: Vec<RoundResult>,
}

/// The machine that figures are of. What is absent the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor.
    #[serde(default)]
    pub cpu_model: Option<String>,
    /// Processors that this process may use.
    #[serde(default)]
    pub cores: Option<usize>,
    /// Release of the operating system's kernel.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Type of the file system that logs were on.
    #[serde(default)]
    pub data_filesystem: Option<String>,
}

/// One round. What is absent was not measured, or can't be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundResult {
    /// Operations that were answered while it was measured. What one is, the load says.
    pub ops: u64,
    /// How long was measured.
    pub seconds: f64,
    /// `ops / seconds`.
    pub ops_per_s: f64,
    /// Latencies, in microseconds. In an open loop from the moment when the operation was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// The 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// The 99.9th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<f64>,
    /// The longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_us: Option<f64>,
    /// CPU time of all that took part, user and kernel, per operation, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_op: Option<f64>,
    /// Further figures by name; the name ends with the unit, if there is one.
    #[serde(default)]
    pub extra: BTreeMap<String, f64>,
}
