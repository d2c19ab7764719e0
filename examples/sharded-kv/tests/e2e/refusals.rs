//! Input that is wrong: each is told what is wrong, and nobody else notices.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::support::{Connection, Process, ServerCluster, Value, eventually, free_dev_port, run_to_end};

/// A single node, which leads every group.
fn start(data: &Path, port: u16) -> Process {
    let mut process = Process::spawn(&dev_arguments(data, &port.to_string()));
    process.line("cluster ready nodes=1 groups=2");
    process
}

fn dev_arguments<'a>(data: &'a Path, port: &'a str) -> [&'a str; 9] {
    let data = data.to_str().unwrap();
    ["dev", "--nodes", "1", "--groups", "2", "--port", port, "--data", data]
}

/// Runs the binary, which must end with code 1 and one line that names everything in `wanted`.
fn refused(arguments: &[&str], wanted: &[&str]) {
    let output = run_to_end(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("raftyard-kv: "), "{text}");
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn malformed_requests_close_their_connection_only() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(1);
    let _process = start(data.path(), port);
    let address = format!("127.0.0.1:{port}");
    let mut bystander = Connection::open(&address).unwrap();
    let long_line = vec![b'a'; 70_000];
    let cases: [(&[u8], &str); 7] = [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*2\r\n$4\r\nECHO\r\n$-2\r\n", "invalid bulk length"),
        (b"*2\r\n$4\r\nECHO\r\n$999999999\r\n", "invalid bulk length"),
        (b"*1000000000\r\n", "invalid multibulk length"),
        (b"SET \"k v\r\n", "unbalanced quotes in request"),
        (&long_line, "too big inline request"),
    ];
    for (number, (bytes, error)) in cases.into_iter().enumerate() {
        let mut connection = Connection::open(&address).unwrap();
        // What came before the error is carried out and answered.
        let key = format!("before-{number}");
        let expected = format!("+OK\r\n-ERR Protocol error: {error}\r\n");
        let mut all = format!("SET {key} v\r\n").into_bytes();
        all.extend_from_slice(bytes);
        connection.send(&all).unwrap();
        assert_eq!(connection.rest(), expected);
        assert_eq!(bystander.command(&["GET", &key]).unwrap(), Value::bulk("v"));
    }
}

#[test]
fn commands_that_are_not_known_leave_the_connection_open() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(1);
    let _process = start(data.path(), port);
    let mut client = Connection::open(&format!("127.0.0.1:{port}")).unwrap();
    for (words, error) in [
        (
            &["FLY", "me"][..],
            "ERR unknown command 'FLY', with args beginning with: 'me' ",
        ),
        (&["GET"], "ERR wrong number of arguments for 'get' command"),
        (&["SELECT", "3"], "ERR SELECT is not allowed in cluster mode"),
        (&["CLIENT", "FLY"], "ERR unknown subcommand 'FLY'. Try CLIENT HELP."),
    ] {
        assert_eq!(client.command(words).unwrap(), Value::Error(error.into()));
    }
    assert_eq!(client.command(&["PING"]).unwrap(), Value::Status("PONG".into()));
}

#[test]
fn a_client_too_many_is_told_so() {
    let mut cluster = ServerCluster::new(1, 2);
    let config = format!("max_clients = 1\n{}", cluster.config(1));
    fs::write(cluster.config_path(1), config).unwrap();
    cluster.start_all();
    let open = || Connection::open(&cluster.resp(1)).unwrap();
    let pong = Value::Status("PONG".into());
    let mut first = open();
    assert_eq!(first.command(&["PING"]).unwrap(), pong);
    assert_eq!(open().rest(), "-ERR max number of clients reached\r\n");
    assert_eq!(first.command(&["PING"]).unwrap(), pong);
    drop(first);
    eventually("there is room again", || {
        (open().command(&["PING"]).ok()? == pong).then_some(())
    });
}

#[test]
fn a_port_that_is_taken_is_named() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(1);
    for taken in [port, port + 1000] {
        let address = format!("127.0.0.1:{taken}");
        let _listener = TcpListener::bind(&address).unwrap();
        let port = port.to_string();
        refused(&dev_arguments(data.path(), &port), &[&address, "node 1"]);
    }
}

#[test]
fn a_data_directory_that_can_not_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let port = free_dev_port(1).to_string();
    let data = file.join("data");
    refused(&dev_arguments(&data, &port), &[data.to_str().unwrap()]);
}

#[test]
fn another_number_of_groups_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(1);
    drop(start(data.path(), port));
    let (port, data) = (port.to_string(), data.path().to_str().unwrap());
    let arguments = ["dev", "--nodes", "1", "--groups", "3", "--port", &port, "--data", data];
    refused(&arguments, &[data, "written with 2 groups, 3 are configured"]);
}

/// Its groups would wait for ever for nodes that are not there.
#[test]
fn another_number_of_nodes_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(2);
    drop(start(data.path(), port));
    let (port, data) = (port.to_string(), data.path().to_str().unwrap());
    let arguments = ["dev", "--nodes", "2", "--groups", "2", "--port", &port, "--data", data];
    refused(&arguments, &[data, "written with 1 nodes, 2 are configured"]);
}

/// As one that a build left which did not write it.
#[test]
fn another_number_of_nodes_is_refused_where_none_is_noted() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(2);
    drop(start(data.path(), port));
    fs::remove_file(data.path().join("node-count")).unwrap();
    let (text, path) = (port.to_string(), data.path().to_str().unwrap());
    let arguments = ["dev", "--nodes", "2", "--groups", "2", "--port", &text, "--data", path];
    refused(&arguments, &[path, "written with 1 nodes, 2 are configured"]);
    start(data.path(), port);
}

#[test]
fn a_start_that_is_refused_leaves_no_number_of_nodes() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_str().unwrap();
    let arguments = ["dev", "--nodes", "2", "--port", "64535", "--data", path];
    refused(&arguments, &["--port 64535", "2 nodes"]);
    start(data.path(), free_dev_port(1));
}

#[test]
fn the_data_of_another_node_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(1);
    drop(start(data.path(), port));
    let cluster = ServerCluster::new(2, 2);
    let mine = data.path().join("node-1");
    let config = cluster
        .config(2)
        .replace(cluster.data_dir(2).to_str().unwrap(), mine.to_str().unwrap());
    fs::write(cluster.config_path(2), config).unwrap();
    let path = cluster.config_path(2);
    let arguments = ["server", "--config", path.to_str().unwrap()];
    refused(&arguments, &[mine.to_str().unwrap(), "node 2"]);
}

#[test]
fn a_configuration_that_is_wrong_is_named_with_its_field() {
    let cluster = ServerCluster::new(2, 2);
    let path = cluster.config_path(1);
    let path = path.to_str().unwrap();
    let good = cluster.config(1);
    for (from, to, wanted) in [
        ("groups = 2", "grups = 2", "unknown field `grups`"),
        ("groups = 2", "groups = 0", "groups: 0 is not between 1 and 16384"),
        ("groups = 2", "groups = \"two\"", "(`groups = \"two\"`): invalid type"),
        ("node = 1\n", "", "missing field `node`"),
        (
            "[[peers]]\nnode = 2",
            "[[peers]]\nnode = 1",
            "peers[0].node: node 1 is there twice",
        ),
        ("listen_resp = \"", "listen_resp = \"x y", "listen_resp: \"x y"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(path, good.replacen(from, to, 1)).unwrap();
        refused(&["server", "--config", path], &[path, wanted]);
    }
    refused(&["server", "--config", "/nowhere.toml"], &["/nowhere.toml"]);
}
