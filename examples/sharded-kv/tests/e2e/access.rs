//! Clients that have to say a password, and those that don't.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Connection, ServerCluster, Value, eventually, run_to_end};

const PASSWORD: &str = "correct horse";

/// A running cluster with the password, and further lines in its configurations.
fn start(nodes: usize, lines: &[&str]) -> (ServerCluster, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    fs::write(&path, format!("{PASSWORD}\n")).unwrap();
    let mut cluster = ServerCluster::new(nodes, 2);
    cluster.configure(&format!("password_file = {path:?}"));
    for line in lines {
        cluster.configure(line);
    }
    cluster.start_all();
    (cluster, dir)
}

fn authenticated(address: &str) -> Connection {
    let mut connection = Connection::open(address).unwrap();
    assert_eq!(connection.command(&["AUTH", PASSWORD]).unwrap(), Value::ok());
    connection
}

#[test]
fn a_stranger_is_told_and_held_to_little() {
    let (cluster, _dir) = start(1, &[]);
    let address = cluster.resp(1);
    let mut client = authenticated(&address);
    let mut stranger = Connection::open(&address).unwrap();
    for words in [&["GET", "k"][..], &["RAFTYARD", "ADMIN", "STATUS"], &["FLUSHALL"]] {
        assert!(stranger.command(words).unwrap().is_error("NOAUTH "), "{words:?}");
    }
    assert!(stranger.command(&["AUTH", "guess"]).unwrap().is_error("WRONGPASS "));
    for (bytes, error) in [
        (&b"*11\r\n"[..], "unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"PING 2 3 4 5 6 7 8 9 10 11\r\n", "unauthenticated multibulk length"),
    ] {
        let mut stranger = Connection::open(&address).unwrap();
        stranger.send(bytes).unwrap();
        assert_eq!(stranger.rest(), format!("-ERR Protocol error: {error}\r\n"));
    }
    // The password and what follows it may come in one go.
    let mut hasty = Connection::open(&address).unwrap();
    let large = "v".repeat(100_000);
    let text = format!("AUTH \"{PASSWORD}\"\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{large}\r\n");
    hasty.send(text.as_bytes()).unwrap();
    assert_eq!(
        (hasty.receive().unwrap(), hasty.receive().unwrap()),
        (Value::ok(), Value::ok())
    );
    assert_eq!(client.command(&["GET", "k"]).unwrap(), Value::bulk(&large));
    let info = client.command(&["INFO", "stats"]).unwrap().text();
    assert!(info.contains("\r\nacl_access_denied_auth:1\r\n"), "{info}");
}

/// It sends without end and takes just enough of the replies to be no client that takes nothing.
#[test]
fn a_stranger_that_keeps_a_node_busy_has_no_more_time() {
    let (cluster, _dir) = start(1, &[]);
    let mut stranger = TcpStream::connect(cluster.resp(1)).unwrap();
    stranger.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let requests = "PING\r\n".repeat(1_000);
    eventually("the stranger is closed", || {
        match stranger.write(requests.as_bytes()) {
            Ok(_) => return None,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Some(()),
        }
        matches!(stranger.read(&mut [0; 4096]), Ok(0) | Err(_)).then_some(())
    });
    let info = authenticated(&cluster.resp(1))
        .command(&["INFO", "stats"])
        .unwrap()
        .text();
    assert!(info.contains("\r\nacl_access_denied_auth:1\r\n"), "{info}");
}

#[test]
fn strangers_take_a_part_of_the_connections_and_only_for_a_while() {
    let (cluster, _dir) = start(1, &["max_clients = 8"]);
    let address = cluster.resp(1);
    // Two are let wait, of which one says something.
    let mut silent: Vec<Connection> = (0..2).map(|_| Connection::open(&address).unwrap()).collect();
    for stranger in &mut silent {
        assert!(stranger.command(&["PING"]).unwrap().is_error("NOAUTH "));
    }
    let full = "-ERR max number of clients reached\r\n";
    assert_eq!(Connection::open(&address).unwrap().rest(), full);
    for stranger in &mut silent {
        assert_eq!(stranger.rest(), "", "closed when its time was over");
    }
    // Those who are in count for no stranger.
    let mut clients: Vec<Connection> = (0..8).map(|_| authenticated(&address)).collect();
    assert_eq!(Connection::open(&address).unwrap().rest(), full);
    assert_eq!(clients[7].command(&["PING"]).unwrap(), Value::Status("PONG".into()));
}

#[test]
fn nodes_and_operators_say_the_password_themselves() {
    let (cluster, dir) = start(3, &[]);
    let at = cluster.resp(1);
    let run = |options: &[&str]| {
        let output = run_to_end(&[&["ctl", "--node", &at], options, &["status"]].concat());
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (done, text) = run(&[]);
    assert!(!done && text.contains("NOAUTH Authentication required."), "{text}");
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, "guess").unwrap();
    let (done, text) = run(&["--password-file", wrong.to_str().unwrap()]);
    assert!(!done && text.contains("WRONGPASS "), "{text}");
    let right = dir.path().join("password");
    let (done, text) = run(&["--password-file", right.to_str().unwrap()]);
    assert!(
        done && text.contains("node 3 ") && !text.contains("unreachable"),
        "{text}"
    );
}
