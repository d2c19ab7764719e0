//! Nodes and clients that speak TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Connection, Process, STEADY_MS, ServerCluster, Value, eventually, free_dev_port, run_to_end};

/// Writes certificates for `nodes` of `cluster` into `dir`.
fn certificates(dir: &Path, cluster: &str, nodes: &str) {
    let dir = dir.to_str().unwrap();
    let output = run_to_end(&["cert", "--out", dir, "--nodes", nodes, "--cluster", cluster]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A node's `tls`, or `resp_tls`, with the certificates in `dir`.
fn line(field: &str, dir: &Path, node: usize) -> String {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    format!(
        "{field} = {{ ca = {:?}, cert = {:?}, key = {:?} }}",
        path("ca.pem"),
        path(&format!("node-{node}.pem")),
        path(&format!("node-{node}-key.pem")),
    )
}

/// `DIR/certs/ca.pem` of a `dev` cluster whose data is in `data`.
fn ca(data: &Path) -> PathBuf {
    data.join("certs/ca.pem")
}

/// A cluster in one process, with TLS and a password, that forwards commands.
fn dev(data: &Path, port: u16) -> Process {
    let password = data.join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let (port, path) = (port.to_string(), data.to_str().unwrap());
    let mut process = Process::spawn(&[
        "dev",
        "--groups",
        "6",
        "--port",
        &port,
        "--data",
        path,
        "--tls",
        "--proxy",
        "--password-file",
        password.to_str().unwrap(),
        "--election-timeout-ms",
        &STEADY_MS.to_string(),
    ]);
    process.line("cluster ready");
    process
}

#[test]
fn clients_speak_tls_and_nodes_forward_over_it() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(3);
    let _process = dev(data.path(), port);
    let address = |node: u16| format!("127.0.0.1:{}", port + node);
    for node in 0..3 {
        let mut client = Connection::open_tls(&address(node), &ca(data.path())).unwrap();
        assert!(client.command(&["PING"]).unwrap().is_error("NOAUTH "));
        assert_eq!(client.command(&["AUTH", "secret"]).unwrap(), Value::ok());
        for number in 0..20 {
            let (key, value) = (format!("k{number}"), format!("v{node}"));
            assert_eq!(client.command(&["SET", &key, &value]).unwrap(), Value::ok());
            assert_eq!(client.command(&["GET", &key]).unwrap(), Value::bulk(&value));
        }
        let large = "x".repeat(3 << 20);
        assert_eq!(client.command(&["SET", "large", &large]).unwrap(), Value::ok());
        assert_eq!(client.command(&["GET", "large"]).unwrap(), Value::bulk(&large));
    }
    let mut client = Connection::open_tls(&address(0), &ca(data.path())).unwrap();
    client.command(&["AUTH", "secret"]).unwrap();
    let mut stats = || client.command(&["INFO", "stats"]).unwrap().text();
    let failed = |stats: &str| -> u64 {
        let mut lines = stats.lines();
        let count = lines.find_map(|line| line.strip_prefix("tls_handshakes_failed:"));
        count.expect("it is counted").parse().unwrap()
    };
    let before = failed(&stats());
    // Who speaks plain text, and who trusts somebody else.
    let mut plain = Connection::open(&address(0)).unwrap();
    plain.send(b"PING\r\n").unwrap();
    let other = tempfile::tempdir().unwrap();
    certificates(other.path(), "dev", "1");
    assert!(Connection::open_tls(&address(0), &other.path().join("ca.pem")).is_err());
    // Another node may give up a handshake that takes long.
    eventually("both are counted", || (failed(&stats()) >= before + 2).then_some(()));
    assert!(stats().contains("\r\nraft_peers_refused:0\r\n"));
}

/// Skipped, aloud, where there is no redis-cli that speaks TLS.
#[test]
fn redis_cli_speaks_tls() {
    let help = Command::new("redis-cli").arg("--help").output();
    let help = help.map(|help| [help.stdout, help.stderr].concat()).unwrap_or_default();
    if !String::from_utf8_lossy(&help).contains("--tls") {
        println!("skipped: there is no redis-cli with --tls");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(3);
    let _process = dev(data.path(), port);
    let ask = |words: &[&str]| {
        let output = Command::new("redis-cli")
            .args(["--tls", "--cacert", ca(data.path()).to_str().unwrap(), "-c"])
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "--no-auth-warning",
                "-a",
                "secret",
            ])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(ask(&["SET", "greeting", "hello"]), "OK\n");
    assert_eq!(ask(&["GET", "greeting"]), "hello\n");
}

#[test]
fn nodes_prove_who_they_are_and_certificates_are_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = ServerCluster::new(3, 2);
    certificates(dir.path(), "test", "1,2,3");
    // Node 3 has the certificate of another cluster's node, of the same authority.
    let wrong = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "ca-key.pem"] {
        std::fs::copy(dir.path().join(name), wrong.path().join(name)).unwrap();
    }
    certificates(wrong.path(), "other", "3");
    for node in 1..=3 {
        let lines = [line("tls", dir.path(), node), line("resp_tls", dir.path(), node)];
        cluster.configure_node(node, &lines.join("\n"));
    }
    cluster.start(1);
    cluster.start(2);
    cluster.wait_ready(1);
    cluster.wait_ready(2);
    let ca = dir.path().join("ca.pem");
    let first = cluster.resp(1);
    let stats = || {
        let mut client = Connection::open_tls(&first, &ca).unwrap();
        client.command(&["INFO", "stats"]).unwrap().text()
    };
    assert!(stats().contains("\r\nraft_peers_refused:0\r\n"));

    // It says so at once that the certificate is not its own.
    let config = cluster.config_path(3);
    let right = std::fs::read_to_string(&config).unwrap();
    let wrong_lines = right.replace(&line("tls", dir.path(), 3), &line("tls", wrong.path(), 3));
    std::fs::write(&config, &wrong_lines).unwrap();
    let output = run_to_end(&["server", "--config", config.to_str().unwrap()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.contains("it is of raftyard://other/3"),
        "{text}"
    );

    // As a node of that other cluster it is refused by those of this one, and they work on.
    std::fs::write(
        &config,
        wrong_lines.replace("cluster = \"test\"", "cluster = \"other\""),
    )
    .unwrap();
    cluster.start(3);
    eventually("it is refused", || {
        (!stats().contains("\r\nraft_peers_refused:0\r\n")).then_some(())
    });
    eventually("node 1 says so", || {
        let said = cluster.stderr(1);
        said.contains("it is of cluster \"other\"").then_some(())
    });
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();

    // With its own it joins in, also after all were renewed while the others run.
    std::fs::write(&config, right).unwrap();
    certificates(dir.path(), "test", "1,2,3");
    cluster.start(3);
    cluster.wait_ready(3);
    let status = cluster.ctl_with(1, &["--ca", ca.to_str().unwrap()], &["status"]);
    assert!(
        status.contains("node 3 ") && !status.contains("unreachable"),
        "{status}"
    );
}
