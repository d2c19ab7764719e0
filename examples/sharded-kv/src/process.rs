//! The process: where it runs, until when, and what it tells whoever started it.

use std::io::{self, Write};

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::RunError;
use crate::config::NodeConfig;
use crate::launch::{RunningNode, StartError};

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(RunError::Process)
}

/// Runs the nodes until the process is asked to end, or one of them can't go on.
pub(crate) async fn run_nodes(configs: &[NodeConfig], is_dev: bool) -> Result<(), RunError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Process)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Process)?;
    let mut nodes = Vec::new();
    let start = async {
        for config in configs {
            nodes.push(RunningNode::start(config).await?);
        }
        Ok::<_, StartError>(())
    };
    // A start may take long, and what it has opened needs no farewell.
    let started = tokio::select! {
        started = start => Some(started),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    match started {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            stop(nodes).await;
            return Err(error.into());
        }
        None => {
            tracing::info!("asked to end before the start was over, shutting down");
            stop(nodes).await;
            return Ok(());
        }
    }
    let serve = async {
        for node in &nodes {
            node.ready().await;
            announce(&node.describe());
        }
        if let (true, Some(config)) = (is_dev, configs.first()) {
            let groups = config.shard_map.groups();
            announce(&format!("cluster ready nodes={} groups={groups}", nodes.len()));
        }
        std::future::pending::<()>().await;
    };
    let mut failures: FuturesUnordered<_> = nodes.iter().map(RunningNode::failed).collect();
    let outcome = tokio::select! {
        () = serve => Ok(()),
        Some(failure) = failures.next() => {
            tracing::error!(error = %failure, "shutting down");
            Err(failure.into())
        }
        _ = interrupt.recv() => {
            tracing::info!("interrupted, shutting down");
            Ok(())
        }
        _ = terminate.recv() => {
            tracing::info!("terminated, shutting down");
            Ok(())
        }
    };
    drop(failures);
    stop(nodes).await;
    outcome
}

/// Lets every node answer its clients while all groups still have their quorum, then stops the nodes.
async fn stop(mut nodes: Vec<RunningNode>) {
    join_all(nodes.iter_mut().map(RunningNode::stop_serving)).await;
    join_all(nodes.into_iter().map(RunningNode::shutdown)).await;
}

/// Reports to whoever started the process, who may not listen any more.
pub(crate) fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}
