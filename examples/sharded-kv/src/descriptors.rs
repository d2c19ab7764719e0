//! How many files the process may have open: each client takes one, and what the node itself needs must not be lacking
//! because of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{NodeConfig, StateKind};
use crate::machine::OPEN_TABLES;
use crate::nodes_file;

/// What a node keeps for itself: the log's segments, snapshots, ports, and those who knock at the port for nodes.
const RESERVE: usize = 384;

/// What it keeps for each other node.
const PER_PEER: usize = 8;

/// Other nodes that one counts on which joins: it is told of them while it runs.
const OTHERS_OF_JOINING: usize = 2;

/// Raises the limit as far as it goes, and has the nodes take no more clients, and make no more connections for them, than
/// fit below it.
pub(crate) fn make_fit(configs: &mut [NodeConfig]) {
    let Some(limit) = raise() else { return };
    let share = limit / configs.len().max(1);
    for config in configs {
        let others = others(config);
        let (wanted, room) = (config.max_clients, for_clients(config, others, share));
        config.max_clients = wanted.min(clients_max(config, others, room));
        config.max_upstreams = room - config.max_clients;
        if config.max_clients < wanted {
            tracing::warn!(
                node = config.node.0,
                open_files = limit,
                max_clients = config.max_clients,
                configured = wanted,
                "the limit of open files (RLIMIT_NOFILE) allows for fewer clients"
            );
        }
    }
}

/// The limit, `None` if there is none.
fn raise() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files can't be raised");
            current
        }
    };
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Of `limit` open files, those that are left for clients; half of them where that is not enough, since some have to be served.
fn for_clients(config: &NodeConfig, others: usize, limit: usize) -> usize {
    let tables = match config.state {
        StateKind::Memory => 0,
        StateKind::Disk => OPEN_TABLES,
    };
    let reserve = RESERVE + tables + PER_PEER * others;
    limit.saturating_sub(reserve).max(limit / 2).max(1)
}

/// The clients for whom `room` open files are enough.
fn clients_max(config: &NodeConfig, others: usize, room: usize) -> usize {
    // One who is served by forwarding may need a connection to each other node.
    let each = if config.proxy { 1 + others } else { 1 };
    (room / each).max(1)
}

/// How many other nodes there are, as far as is known before the start. A file that can't be read is that one's to refuse.
fn others(config: &NodeConfig) -> usize {
    let learned = nodes_file::learned(config).map_or(0, |nodes| nodes.len());
    let least = if config.join { OTHERS_OF_JOINING } else { 0 };
    (config.peers.len() + learned).max(least)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use raftyard::NodeId;

    use super::*;
    use crate::config::PeerConfig;

    fn config(line: &str) -> NodeConfig {
        let text = format!(
            "cluster = \"c\"\nnode = 1\nlisten_resp = \"127.0.0.1:1\"\nlisten_peer = \"127.0.0.1:2\"\ngroups = 1\n{line}\n\
             [[peers]]\nnode = 2\npeer = \"127.0.0.1:3\"\nresp = \"127.0.0.1:4\"\n"
        );
        NodeConfig::parse(Path::new("node.toml"), &text).unwrap()
    }

    #[test]
    fn clients_leave_the_node_what_it_needs() {
        for (line, limit, clients) in [
            ("", 1_024, 1_024 - RESERVE - PER_PEER),
            ("", 100_000, 100_000 - RESERVE - PER_PEER),
            ("state = \"disk\"", 2_048, 2_048 - RESERVE - PER_PEER - OPEN_TABLES),
            ("proxy = true", 2_000, (2_000 - RESERVE - PER_PEER) / 2),
            ("proxy = true\njoin = true", 3_000, (3_000 - RESERVE - 2 * PER_PEER) / 3),
            ("", 256, 128),
            ("", 1, 1),
        ] {
            let config = config(line);
            let others = others(&config);
            let room = for_clients(&config, others, limit);
            assert_eq!(clients_max(&config, others, room), clients, "{line} {limit}");
        }
    }

    #[test]
    fn nodes_that_it_was_told_of_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config("join = true");
        config.data_dir = dir.path().into();
        assert_eq!(others(&config), OTHERS_OF_JOINING);
        let node = |node: u64| PeerConfig {
            node: NodeId(node),
            ..config.peers[0].clone()
        };
        // Itself and one that the configuration names are among them.
        let noted: Vec<_> = (1..=6).map(node).collect();
        nodes_file::write(dir.path(), &noted).unwrap();
        assert_eq!(others(&config), 5);
    }
}
