//! Who does not come into a cluster, and how `ctl` says so.

use crate::support::{Connection, ServerCluster, Value, eventually, run_to_end};

/// It would look for keys in groups that do not hold them, and take writes into these.
#[test]
fn a_node_with_another_number_of_groups_does_not_come_in() {
    let mut cluster = ServerCluster::new(1, 2);
    cluster.start_all();
    let second = cluster.add_joining();
    let other = cluster.config(second).replace("groups = 2", "groups = 3\njoin = true");
    std::fs::write(cluster.config_path(second), other).unwrap();
    cluster.start(second);
    cluster.wait_ready(second);
    let (at, peer, resp) = (cluster.resp(1), cluster.peer(second), cluster.resp(second));
    let refused = run_to_end(&["ctl", "--node", &at, "add-node", "2", "--peer", &peer, "--resp", &resp]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("node 2 has groups = 3, the cluster has 2"), "{said}");

    // Nor if somebody goes around that.
    let admin = |node: usize, words: &[&str]| {
        let mut connection = Connection::open(&cluster.resp(node)).unwrap();
        connection.command(&[&["RAFTYARD", "ADMIN"], words].concat()).unwrap()
    };
    let refusal = "ERR this node has groups = 3, the cluster has 2";
    assert!(admin(second, &["SETNODE", "1", &cluster.peer(1), &at, "2"]).is_error(refusal));
    assert!(admin(second, &["JOIN", "1", "1", "2"]).is_error(refusal));
    assert_eq!(admin(1, &["SETNODE", "2", &peer, &resp, "2"]), Value::ok());
    let joined = run_to_end(&["ctl", "--node", &at, "join", "2"]);
    assert!(String::from_utf8_lossy(&joined.stderr).contains(refusal));
    assert_eq!(admin(second, &["STATUS"]), Value::Array(vec![]));
    eventually("nodes do not talk to it", || {
        let said = cluster.stderr(1) + &cluster.stderr(second);
        said.contains("with 2 groups").then_some(())
    });
}

/// It could not be sent a snapshot.
#[test]
fn a_node_that_keeps_its_keys_elsewhere_does_not_come_in() {
    let mut cluster = ServerCluster::new(1, 2);
    cluster.start_all();
    let second = cluster.add_joining();
    let other = cluster.config(second).replace("groups = 2", "groups = 2\njoin = true");
    std::fs::write(cluster.config_path(second), format!("state = \"disk\"\n{other}")).unwrap();
    cluster.start(second);
    cluster.wait_ready(second);
    let (at, peer, resp) = (cluster.resp(1), cluster.peer(second), cluster.resp(second));
    let refused = run_to_end(&["ctl", "--node", &at, "add-node", "2", "--peer", &peer, "--resp", &resp]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    let difference = "node 2 has state = \"disk\", the cluster has \"memory\"";
    assert!(said.contains(difference), "{said}");

    // Nor if somebody goes around that.
    let set = ["RAFTYARD", "ADMIN", "SETNODE", "2", &peer, &resp, "2"];
    let told = Connection::open(&at).unwrap().command(&set).unwrap();
    assert_eq!(told, Value::ok());
    eventually("nodes do not talk to it", || {
        let said = cluster.stderr(1) + &cluster.stderr(second);
        said.contains("with 2 groups on disk").then_some(())
    });
}

#[test]
fn a_node_is_added_under_its_own_number_and_at_its_own_address() {
    let mut cluster = ServerCluster::new(2, 1);
    cluster.start_all();
    let third = cluster.add_joining();
    cluster.start(third);
    cluster.wait_ready(third);
    let add = |cluster: &ServerCluster, id: &str, node: usize| {
        let (at, peer, resp) = (cluster.resp(1), cluster.peer(node), cluster.resp(node));
        let output = run_to_end(&["ctl", "--node", &at, "add-node", id, "--peer", &peer, "--resp", &resp]);
        String::from_utf8(output.stderr).unwrap()
    };
    let said = add(&cluster, "2", third);
    assert!(said.contains(&format!("{} is node 3", cluster.resp(third))), "{said}");
    assert_eq!(add(&cluster, "2", 2), "", "it is known there");
    assert_eq!(cluster.terminate(third).code(), Some(0));

    // By a copy of the second one's configuration.
    let copy = cluster.config(third).replace("node = 3", "node = 2\njoin = true");
    let (own, _) = copy.split_once("[[peers]]").unwrap();
    std::fs::write(cluster.config_path(third), own).unwrap();
    std::fs::remove_dir_all(cluster.data_dir(third)).unwrap();
    cluster.start(third);
    eventually("it answers", || Connection::open(&cluster.resp(third)).ok());
    let said = add(&cluster, "2", third);
    let there = format!("another node 2 answers at {}", cluster.resp(2));
    assert!(said.contains(&there), "{said}");
    let nodes = cluster.ctl(1, &["status"]);
    assert!(nodes.contains(&format!("resp={}", cluster.resp(2))), "{nodes}");
}

/// What it holds has the place in its log that the beginning of the cluster's has: it would be taken for that.
#[test]
fn a_node_that_was_started_without_join_does_not_come_in() {
    let mut cluster = ServerCluster::new(1, 2);
    cluster.start_all();
    let second = cluster.add_joining();
    let joining = std::fs::read_to_string(cluster.config_path(second)).unwrap();
    std::fs::write(cluster.config_path(second), joining.replace("join = true\n", "")).unwrap();
    let set = |address: &str, value: &str| {
        let mut client = Connection::open(address).unwrap();
        assert_eq!(client.command(&["SET", "k", value]).unwrap(), Value::ok());
    };
    set(&cluster.resp(1), "the cluster's");
    for _ in 0..3 {
        cluster.start(second);
        cluster.wait_ready(second);
        set(&cluster.resp(second), "its own");
        assert_eq!(cluster.terminate(second).code(), Some(0));
    }
    cluster.start(second);
    cluster.wait_ready(second);
    let (at, peer, resp) = (cluster.resp(1), cluster.peer(second), cluster.resp(second));
    let add = ["add-node", "2", "--peer", &peer, "--resp", &resp];
    let refused = run_to_end(&[&["ctl", "--node", &at], &add[..]].concat());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("node 2 created group 1 by itself") && said.contains("join = true"),
        "{said}"
    );
    let status = cluster.ctl(1, &["status"]);
    assert!(!status.contains(&resp), "the cluster does not know it: {status}");

    // What is said helps.
    assert_eq!(cluster.terminate(second).code(), Some(0));
    std::fs::remove_dir_all(cluster.data_dir(second)).unwrap();
    std::fs::write(cluster.config_path(second), joining).unwrap();
    cluster.start(second);
    cluster.wait_ready(second);
    cluster.ctl(1, &add);
    cluster.ctl(1, &["join", "2"]);
    let mut client = Connection::open(&resp).unwrap();
    client.command(&["READONLY"]).unwrap();
    eventually("it serves what the cluster holds", || {
        (client.command(&["GET", "k"]).unwrap() == Value::bulk("the cluster's")).then_some(())
    });
}

/// They are a majority of those whom they name, and elected leaders: these would depose the cluster's.
#[test]
fn nodes_that_name_one_of_the_cluster_as_theirs_do_not_come_in() {
    let mut cluster = ServerCluster::new(1, 2);
    cluster.start_all();
    for _ in 0..2 {
        cluster.add_joining();
    }
    for node in [2, 3] {
        std::fs::write(cluster.config_path(node), cluster.config(node)).unwrap();
        cluster.start(node);
    }
    for node in [2, 3] {
        cluster.wait_ready(node);
    }
    let (at, peer, resp) = (cluster.resp(1), cluster.peer(2), cluster.resp(2));
    let refused = run_to_end(&["ctl", "--node", &at, "add-node", "2", "--peer", &peer, "--resp", &resp]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("node 2 created group 1 by itself"), "{said}");
    let status = cluster.ctl(1, &["status"]);
    assert!(!status.contains(&resp), "the cluster does not know it: {status}");
}
