//! Remembers in the data directory where the nodes are found that this one was told of while it ran. What the
//! configuration says of a node wins.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use raftyard::NodeId;

use crate::address::HostPort;
use crate::config::{NodeConfig, PeerConfig};

const NAME: &str = "nodes";

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodesFileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {line:?} is not \"node <id> peer <host:port> resp <host:port>\"", path.display())]
    Malformed { path: PathBuf, line: String },
}

/// The nodes that were noted; none if there is no file.
fn read(data_dir: &Path) -> Result<Vec<PeerConfig>, NodesFileError> {
    let path = data_dir.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(NodesFileError::Io { path, source }),
    };
    text.lines()
        .map(|line| {
            parse(line).ok_or_else(|| NodesFileError::Malformed {
                path: path.clone(),
                line: line.chars().take(120).collect(),
            })
        })
        .collect()
}

/// The nodes that were noted and that the configuration does not name.
pub(crate) fn learned(config: &NodeConfig) -> Result<Vec<PeerConfig>, NodesFileError> {
    let mut learned = read(&config.data_dir)?;
    learned.retain(|node| node.node != config.node && config.peers.iter().all(|peer| peer.node != node.node));
    Ok(learned)
}

/// Writes the nodes, durably and as a whole, in the place of those before.
pub(crate) fn write(data_dir: &Path, nodes: &[PeerConfig]) -> Result<(), NodesFileError> {
    let path = data_dir.join(NAME);
    let draft = data_dir.join(format!("{NAME}.new"));
    let write = || {
        let mut file = File::create(&draft)?;
        for PeerConfig { node, peer, resp } in nodes {
            writeln!(file, "node {} peer {peer} resp {resp}", node.0)?;
        }
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(|source| NodesFileError::Io { path, source })
}

fn parse(line: &str) -> Option<PeerConfig> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["node", node, "peer", peer, "resp", resp] = words[..] else {
        return None;
    };
    Some(PeerConfig {
        node: NodeId(node.parse().ok()?),
        peer: peer.parse::<HostPort>().ok()?,
        resp: resp.parse::<HostPort>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_was_not_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        let node = |node: u64| PeerConfig {
            node: NodeId(node),
            peer: format!("kv{node}.example:8001").parse().unwrap(),
            resp: "[::1]:7001".parse().unwrap(),
        };
        write(dir.path(), &[node(4), node(5)]).unwrap();
        write(dir.path(), &[node(4), node(6)]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [node(4), node(6)]);
        for line in ["node 4", "node x peer a:1 resp b:2", "node 4 peer a resp b:2", ""] {
            fs::write(dir.path().join(NAME), format!("{line}\n")).unwrap();
            let error = read(dir.path()).unwrap_err();
            assert!(matches!(error, NodesFileError::Malformed { .. }), "{error}");
        }
    }
}
