//! The process: where it runs, until when, and what it tells whoever started it.

mod stop;

use std::io::{self, Write};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};

use self::stop::Signals;
use crate::RunError;
use crate::config::NodeConfig;
use crate::launch::{RunningNode, StartError};

/// How long nodes have to stop when one of them failed, or whoever asked grows impatient: longer than those take that are well.
const STOP_MAX: Duration = Duration::from_secs(15);

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(RunError::Process)
}

/// Runs the nodes until the process is asked to end, or one of them can't go on.
pub(crate) async fn run_nodes(configs: &[NodeConfig], is_dev: bool) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Process)?;
    let mut nodes = Vec::new();
    let outcome = run(configs, is_dev, &mut nodes, &mut signals).await;
    let has_failed = matches!(outcome, Err(RunError::Failed(_)));
    stop::within(STOP_MAX, has_failed, signals, stop_all(nodes)).await;
    outcome
}

/// The same, and leaves in `nodes` what is to be stopped.
async fn run(
    configs: &[NodeConfig],
    is_dev: bool,
    nodes: &mut Vec<RunningNode>,
    signals: &mut Signals,
) -> Result<(), RunError> {
    let start = async {
        for config in configs {
            nodes.push(RunningNode::start(config).await?);
        }
        Ok::<_, StartError>(())
    };
    // A start may take long, and what it has opened needs no farewell.
    tokio::select! {
        started = start => started?,
        _ = signals.next() => {
            tracing::info!("asked to end before the start was over, shutting down");
            return Ok(());
        }
    }
    let serve = async {
        for node in nodes.iter() {
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
    tokio::select! {
        () = serve => Ok(()),
        Some(failure) = failures.next() => {
            tracing::error!(error = %failure, "shutting down");
            Err(failure.into())
        }
        how = signals.next() => {
            tracing::info!("{how}, shutting down");
            Ok(())
        }
    }
}

/// Lets every node answer its clients while all groups still have their quorum, then stops the nodes.
async fn stop_all(mut nodes: Vec<RunningNode>) {
    join_all(nodes.iter_mut().map(RunningNode::stop_serving)).await;
    join_all(nodes.into_iter().map(RunningNode::shutdown)).await;
}

/// Reports to whoever started the process, who may not listen any more.
pub(crate) fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}
