//! The load generator: three nodes in this process, tarpc over loopback, logs on disk with fsync honoured,
//! state machines in memory, and clients that keep a fixed number of writes on their way (a closed loop).
//!
//! The criterion benches (`benches/`) build their clusters with the same [`Cluster`] and [`Kv`].

mod cli;
mod client;
mod cluster;
mod cpu;
mod figures;
mod interrupt;
mod kv;
mod load;
mod output;
mod report;
mod system;

pub use cluster::Cluster;
pub use kv::{Kv, Put};

use clap::Parser;
use cli::{Cli, Plan};
use interrupt::Interrupt;
use output::{DataDir, JsonFile};
use report::Report;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Why there is no cluster, or no figures.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Runs the load generator as the command line says. Ends with 130 if it was interrupted, with 1 if it failed.
#[must_use]
pub fn run() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse()
        .plan()
        .map_err(Failure::from)
        .and_then(|plan| measure(&plan))
    {
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

/// Runs all rounds, each on a cluster of its own, and reports; false if interrupted.
fn measure(plan: &Plan) -> Result<bool, Failure> {
    // What is written to is tried before the run, not after it.
    let json = plan.json.as_deref().map(JsonFile::open).transpose()?;
    let parent = plan.data.clone().unwrap_or_else(std::env::temp_dir);
    let system = system::System::read(&DataDir::create(&parent)?);
    if matches!(system.data_filesystem.as_deref(), Some("tmpfs" | "ramfs")) {
        eprintln!(
            "warning: {} is in memory, where fsync costs nothing: use --data with a directory on a disk",
            parent.display()
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.client_threads)
        .enable_all()
        .build()?;
    let rounds = runtime.block_on(async {
        let interrupt = Interrupt::listen()?;
        let mut rounds = Vec::new();
        for number in 1..=plan.rounds {
            let Some(round) = one_round(plan, number, &parent, &interrupt).await? else {
                return Ok::<_, Failure>(None);
            };
            if plan.rounds > 1 {
                writeln!(std::io::stdout(), "{}", report::round_line(number, plan.rounds, &round))?;
            }
            rounds.push(round);
        }
        Ok(Some(rounds))
    })?;
    let Some(rounds) = rounds else {
        return Ok(false);
    };
    let report = Report::new(plan, system, rounds);
    if let Some(json) = json {
        json.write(&serde_json::to_vec_pretty(&report)?)?;
    }
    write!(std::io::stdout(), "{report}")?;
    Ok(true)
}

async fn one_round(
    plan: &Plan,
    number: u64,
    parent: &Path,
    interrupt: &Interrupt,
) -> Result<Option<figures::Round>, Failure> {
    let data = DataDir::create(parent)?;
    eprintln!(
        "round {number} of {}: starting {} groups on 3 nodes",
        plan.rounds, plan.groups
    );
    let cluster = Cluster::on_disk(data.path(), plan.groups, plan.workers).await?;
    let measured = load::run(&cluster, plan, interrupt).await;
    cluster.stop().await;
    drop(cluster);
    data.remove()?;
    measured
}
