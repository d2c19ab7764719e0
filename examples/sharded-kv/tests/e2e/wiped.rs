//! A node whose data directory is gone is started again as if nothing had happened.

use std::fs;

use crate::support::{ClusterClient, Connection, Outcome, ServerCluster, Value, eventually, run_to_end};

/// Refusals after which a node would have been elected long ago.
const REFUSALS: u64 = 12;

fn refusals(cluster: &ServerCluster, node: usize) -> u64 {
    let mut connection = Connection::open(&cluster.resp(node)).unwrap();
    let info = connection.command(&["INFO", "stats"]).unwrap();
    let text = info.text();
    let count = text.lines().find_map(|line| line.strip_prefix("raft_peers_refused:"));
    count.unwrap().parse().unwrap()
}

/// What a cluster answers once two of its nodes talk, of which one lost everything.
fn never_answers(cluster: &ServerCluster, node: usize) {
    let mut connection = Connection::open(&cluster.resp(node)).unwrap();
    let answer = connection.command(&["GET", "k"]).unwrap();
    assert!(matches!(answer, Value::Error(_)), "node {node}: {answer:?}");
}

#[test]
fn a_wiped_node_does_not_come_back_under_its_old_number_and_a_new_one_takes_its_place() {
    let mut cluster = ServerCluster::new(3, 2);
    cluster.start_all();
    let mut client = ClusterClient::new(&cluster.all_resp());
    let mut done = |words: &[&str]| {
        eventually(&format!("{words:?}"), || match client.command("k", words) {
            Outcome::Done(value) => Some(value),
            _ => None,
        })
    };
    assert_eq!(done(&["SET", "k", "old"]), Value::ok());
    cluster.kill(3);
    assert_eq!(done(&["SET", "k", "new"]), Value::ok());
    cluster.kill(1);
    cluster.kill(2);
    fs::remove_dir_all(cluster.data_dir(2)).unwrap();

    cluster.start(2);
    cluster.start(3);
    eventually("the wiped one is told", || {
        let said = cluster.stderr(2);
        said.contains("it knows this node by another disk: a node whose data directory is gone comes back under a new")
            .then_some(())
    });
    eventually("the other one says whom it refuses", || {
        let said = cluster.stderr(3);
        (said.contains("node 2") && said.contains("it has another disk than it had")).then_some(())
    });
    for node in [2, 3] {
        eventually("it takes clients", || Connection::open(&cluster.resp(node)).ok());
    }
    eventually("they tried again and again", || {
        never_answers(&cluster, 2);
        never_answers(&cluster, 3);
        (refusals(&cluster, 2) >= REFUSALS && refusals(&cluster, 3) >= REFUSALS).then_some(())
    });

    cluster.start(1);
    assert_eq!(done(&["GET", "k"]), Value::bulk("new"));

    cluster.kill(2);
    let fourth = cluster.add_joining();
    cluster.start(fourth);
    cluster.wait_ready(fourth);
    let (at, peer, resp) = (cluster.resp(1), cluster.peer(fourth), cluster.resp(fourth));
    // It can't tell the one that is gone.
    run_to_end(&["ctl", "--node", &at, "add-node", "4", "--peer", &peer, "--resp", &resp]);
    cluster.ctl(1, &["replace", "2", "4"]);
    cluster.kill(1);
    let mut client = ClusterClient::new(&[cluster.resp(3), cluster.resp(4)]);
    let value = eventually("it is read", || match client.command("k", &["GET", "k"]) {
        Outcome::Done(value) => Some(value),
        _ => None,
    });
    assert_eq!(value, Value::bulk("new"));
}
