//! The load generator: three nodes in this process, tarpc over loopback, logs in fjall with fsync honoured,
//! state machines in memory, and clients that keep a fixed number of writes on their way (a closed loop).

mod cli;
mod cluster;
mod cpu;
mod load;
mod machine;
mod report;

use clap::Parser;
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    match run(&cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &cli::Cli) -> Result<(), Box<dyn Error>> {
    let plan = cli.plan();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.client_threads)
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        let cluster = cluster::Cluster::start(&plan).await?;
        let measured = load::run(&cluster, &plan).await;
        cluster.stop().await;
        measured
    })?;
    print!("{report}");
    if let Some(path) = &plan.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
