#![allow(clippy::unwrap_used)]

use super::*;

const EXAMPLE: &str = include_str!("../../node.example.toml");

fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
    NodeConfig::parse(Path::new("node.toml"), text)
}

#[test]
fn the_example_is_valid() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.node, NodeId(1));
    assert_eq!(config.announce_resp.to_string(), "kv1.example:7001");
    assert_eq!(config.shard_map.groups(), 48);
    assert!(parse(&EXAMPLE.replace("proxy = false", "proxy = true")).unwrap().proxy);
    let stale = EXAMPLE.replace("reads = \"linearizable\"", "reads = \"stale\"");
    assert_eq!(
        (config.reads, parse(&stale).unwrap().reads),
        (Reads::Linearizable, Reads::Stale)
    );
    assert!(parse(&EXAMPLE.replace("join = false", "join = true")).unwrap().join);
    let careful = EXAMPLE.replace("lease_reads = true", "lease_reads = false");
    assert!(config.lease_reads && !parse(&careful).unwrap().lease_reads);
    let disk = EXAMPLE.replace("state = \"memory\"", "state = \"disk\"");
    assert_eq!(
        (config.state, parse(&disk).unwrap().state),
        (StateKind::Memory, StateKind::Disk)
    );
    let slow = EXAMPLE.replace("election_timeout_ms = 600", "election_timeout_ms = 5000");
    assert_eq!(
        (config.election_timeout_ms, parse(&slow).unwrap().election_timeout_ms),
        (600, 5_000)
    );
    assert_eq!(config.peers.len(), 2);
    assert_eq!(config.peers[1].resp.to_string(), "kv3.example:7001");
}

#[test]
fn a_short_file_has_defaults() {
    let config =
        parse("cluster = 'c'\nnode = 7\nlisten_resp = '127.0.0.1:1'\nlisten_peer = '127.0.0.1:2'\ngroups = 1").unwrap();
    assert_eq!(config.announce_resp, config.listen_resp);
    assert_eq!(config.data_dir, Path::new(DEFAULT_DATA_DIR));
    assert_eq!(config.max_clients, DEFAULT_MAX_CLIENTS);
    assert_eq!(config.snapshot_entries, DEFAULT_SNAPSHOT_ENTRIES);
    assert!(config.workers >= 1);
    assert!(!config.proxy && !config.join && config.lease_reads);
    assert_eq!(config.state, StateKind::Memory);
    assert_eq!(config.election_timeout_ms, 600);
    assert_eq!(config.reads, Reads::Linearizable);
    assert_eq!(config.peers, []);
}

#[test]
fn an_error_names_file_field_and_problem() {
    for (from, to, error) in [
        ("node = 1\n", "", "node.toml: missing field `node`"),
        ("node = 1\n", "node = 0\n", "node.toml: node: node ids start at 1"),
        (
            "groups = 48",
            "groups = 0",
            "node.toml: groups: 0 is not between 1 and 16384",
        ),
        (
            "groups = 48",
            "groups = 16385",
            "node.toml: groups: 16385 is not between 1 and 16384",
        ),
        ("workers = 2", "workers = 0", "node.toml: workers: must be at least 1"),
        (
            "snapshot_entries = 100000",
            "snapshot_entries = 0",
            "node.toml: snapshot_entries: must be at least 1",
        ),
        (
            "election_timeout_ms = 600",
            "election_timeout_ms = 59",
            "node.toml: election_timeout_ms: 59 is not between 60 and 60000",
        ),
        (
            "election_timeout_ms = 600",
            "election_timeout_ms = 60001",
            "node.toml: election_timeout_ms: 60001 is not between 60 and 60000",
        ),
        (
            "node = 3",
            "node = 2",
            "node.toml: peers[1].node: node 2 is there twice",
        ),
        (
            "node = 3",
            "node = 1",
            "node.toml: peers[1].node: node 1 is there twice",
        ),
        (
            "resp = \"kv3.example:7001\"",
            "resp = \"kv3.example\"",
            "node.toml: peers[1].resp: \"kv3.example\" is not host:port",
        ),
        (
            "resp = \"kv3.example:7001\"",
            "resp = \"kv3\\n:7001\"",
            "node.toml: peers[1].resp: \"kv3\\n:7001\": the host must be an IP address or a name of letters, digits, '-', '.' and '_'",
        ),
        (
            "announce_resp = \"kv1.example:7001\"\n",
            "",
            "node.toml: announce_resp: nobody can connect to 0.0.0.0:7001, name an address of one machine",
        ),
        (
            "cluster = \"example\"",
            "cluster = \"a b\"",
            "node.toml: cluster: \"a b\" is not a name of 1 to 64 letters, digits, '-', '_' and '.'",
        ),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let text = EXAMPLE.replace(from, to);
        assert_eq!(parse(&text).unwrap_err().to_string(), error);
    }
}

#[test]
fn unknown_fields_and_wrong_types_are_refused() {
    let unknown = parse(&EXAMPLE.replace("groups = 48", "grups = 48"));
    let unknown = unknown.unwrap_err().to_string();
    assert!(
        unknown.starts_with("node.toml: line ") && unknown.contains("(`grups = 48`): unknown field `grups`"),
        "{unknown}"
    );
    let kind = parse(&EXAMPLE.replace("groups = 48", "groups = \"x\""));
    let kind = kind.unwrap_err().to_string();
    assert!(
        kind.starts_with("node.toml: line ") && kind.contains("(`groups = \"x\"`): invalid type"),
        "{kind}"
    );
    let reads = parse(&EXAMPLE.replace("\"linearizable\"", "\"old\"")).unwrap_err();
    let reads = reads.to_string();
    assert!(
        reads.ends_with("unknown variant `old`, expected `linearizable` or `stale`"),
        "{reads}"
    );
    let missing = NodeConfig::load(Path::new("/nowhere/node.toml"));
    let missing = missing.unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/node.toml: "), "{missing}");
}

#[test]
fn what_is_needed_for_tls_and_the_password_is_checked() {
    let plain = parse(EXAMPLE).unwrap();
    assert_eq!((plain.tls, plain.resp_tls, plain.password), (None, None, None));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "secret\n").unwrap();
    let lines = format!(
        "tls = {{ ca = 'ca.pem', cert = 'n.pem', key = 'k.pem' }}\nresp_tls = {{ cert = 'c.pem', key = 'ck.pem' }}\n\
         password_file = {path:?}\n"
    );
    let config = parse(&format!("{lines}{EXAMPLE}")).unwrap();
    assert_eq!(config.tls.unwrap().key, Path::new("k.pem"));
    let resp_tls = config.resp_tls.unwrap();
    assert_eq!((resp_tls.cert.as_path(), resp_tls.ca), (Path::new("c.pem"), None));
    assert!(config.password.unwrap().matches(b"secret"));

    let proxy = EXAMPLE.replace("proxy = false", "proxy = true");
    let error = parse(&format!("{lines}{proxy}")).unwrap_err().to_string();
    assert_eq!(
        error,
        "node.toml: resp_tls.ca: with proxy, this node needs to know whose certificates to trust"
    );
    let error = parse(&format!("password_file = '/nowhere/password'\n{EXAMPLE}")).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("node.toml: password_file: /nowhere/password: "),
        "{error}"
    );
    let error = parse(&format!("tls = {{ ca = 'ca.pem', cert = 'n.pem' }}\n{EXAMPLE}")).unwrap_err();
    assert!(error.to_string().contains("missing field `key`"), "{error}");
}
