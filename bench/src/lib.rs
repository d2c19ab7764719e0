//! The load generator: nodes in this process, loads on them, and a report of what was measured.
//!
//! The criterion benches (`benches/`) build their clusters with the same [`Cluster`] and [`Kv`].

mod cli;
mod client;
mod cluster;
mod floors;
mod interrupt;
mod kv;
mod load;
mod measure;
mod output;
mod plan;
mod process;
mod report;
pub mod results;
mod soak;
mod spread;
mod system;
mod table;

pub use cluster::Cluster;
pub use kv::{Kv, Put};

use clap::Parser;
use cli::{Cli, Task};
use interrupt::Interrupt;
use output::{DataDir, JsonFile};
use plan::{Plan, StoreKind};
use results::{RoundResult, RunResult};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use table::Table;

/// Why there is no cluster, or no figures.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Runs the load generator as the command line says. Ends with 130 if it was interrupted, with 1 if it failed.
#[must_use]
pub fn run() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    let done = Cli::parse().task().map_err(Failure::from).and_then(|task| match task {
        Task::Run(plan) => measure(&plan),
        Task::Soak(plan) => soak(&plan),
        Task::Report { files, out } => report::write(&files, &out).map(|()| true),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("interrupted: the nodes are shut down and their data is removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a soak and reports; false if interrupted.
fn soak(plan: &soak::SoakPlan) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let report = runtime.block_on(async { soak::soak(plan, &Interrupt::listen()?).await })?;
    let Some(report) = report else {
        return Ok(false);
    };
    write!(std::io::stdout(), "{report}")?;
    Ok(true)
}

/// Runs all rounds, each on a cluster of its own, and reports; false if interrupted.
fn measure(plan: &Plan) -> Result<bool, Failure> {
    // What is written to is tried before the run, not after it.
    let json = plan.json.as_deref().map(JsonFile::open).transpose()?;
    let parent = plan.data.clone().unwrap_or_else(std::env::temp_dir);
    let mut machine = system::machine(&DataDir::create(&parent)?);
    if plan.cluster.store == StoreKind::Memory {
        machine.data_filesystem = None;
    } else if matches!(machine.data_filesystem.as_deref(), Some("tmpfs" | "ramfs")) {
        eprintln!(
            "warning: {} is in memory, where fsync costs nothing: use --data with a directory on a disk",
            parent.display()
        );
    }
    let mut result = RunResult {
        load: plan.load.to_owned(),
        system: "raftyard".to_owned(),
        commit: system::commit(),
        machine,
        date: system::date(),
        options: plan.options(),
        rounds: Vec::new(),
    };
    // The clients have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let is_complete = runtime.block_on(async {
        let interrupt = Interrupt::listen()?;
        for number in 1..=plan.rounds {
            let Some(round) = one_round(plan, number, &parent, &interrupt).await? else {
                return Ok::<_, Failure>(false);
            };
            if plan.rounds > 1 {
                writeln!(std::io::stdout(), "{}", table::round_line(number, plan.rounds, &round))?;
            }
            result.rounds.push(round);
        }
        Ok(true)
    })?;
    if !is_complete {
        return Ok(false);
    }
    if let Some(json) = json {
        json.write(&serde_json::to_vec_pretty(&result)?)?;
    }
    write!(std::io::stdout(), "{}", Table(&result))?;
    Ok(true)
}

async fn one_round(
    plan: &Plan,
    number: u64,
    parent: &Path,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let data = DataDir::create(parent)?;
    eprintln!(
        "round {number} of {}: starting {} groups on {} nodes",
        plan.rounds,
        plan.cluster.groups + plan.cluster.sleepers,
        plan.cluster.nodes
    );
    let measured = load::round(plan, number, data.path(), interrupt).await;
    data.remove()?;
    measured
}
