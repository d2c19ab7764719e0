//! Commands on all keys at nodes that forward: of all groups, or refused.

use crate::support::{ClusterClient, Connection, Outcome, ServerCluster, Value, eventually};

const KEYS: i64 = 100;

fn set_all(address: &str) {
    let mut client = Connection::open(address).unwrap();
    for number in 0..KEYS {
        eventually("it is set", || {
            let set = client.command(&["SET", &format!("key-{number}"), "v"]).unwrap();
            (set == Value::ok()).then_some(())
        });
    }
}

/// Adds a third node, which hosts nothing yet. Returns where clients find it.
fn add_third(cluster: &mut ServerCluster) -> String {
    let third = cluster.add_joining();
    cluster.start(third);
    cluster.wait_ready(third);
    let (peer, resp) = (cluster.peer(third), cluster.resp(third));
    cluster.ctl(1, &["add-node", "3", "--peer", &peer, "--resp", &resp]);
    resp
}

/// Until its groups have other leaders nobody can say how many keys are in them.
#[test]
fn keys_are_counted_in_all_groups_or_not_at_all() {
    let mut cluster = ServerCluster::with_proxy(3, 12, true);
    cluster.start_all();
    set_all(&cluster.resp(1));
    let victim = cluster.leader_of("key-0");
    let (near, other) = (victim % 3 + 1, (victim + 1) % 3 + 1);
    let mut client = Connection::open(&cluster.resp(near)).unwrap();
    // Whether they were counted. Some may be in the moment in which a leader that is gone is not missed yet.
    let mut is_counted = || match client.command(&["DBSIZE"]).unwrap() {
        Value::Integer(keys) => {
            assert_eq!(keys, KEYS);
            true
        }
        reply => {
            assert!(reply.is_error("TRYAGAIN "), "{reply:?}");
            false
        }
    };
    // Either it waits for the next leaders or it is refused.
    cluster.kill(victim);
    eventually("all groups have a leader again", || is_counted().then_some(()));
    // Now none can have one.
    cluster.kill(other);
    eventually("it is refused", || (!is_counted()).then_some(()));
    cluster.start(other);
    eventually("all groups have a leader again", || is_counted().then_some(()));
}

/// What only a replica can answer is not answered by one that has none, nor is the client sent elsewhere.
#[test]
fn a_node_without_replicas_forwards_what_it_can_and_tells_nobody_to_move() {
    let mut cluster = ServerCluster::steady_with_proxy(2, 4, true);
    cluster.start_all();
    set_all(&cluster.resp(1));
    let resp = add_third(&mut cluster);
    let mut client = Connection::open(&resp).unwrap();
    for _ in 0..4 {
        assert_eq!(client.command(&["GET", "key-1"]).unwrap(), Value::bulk("v"));
        for words in [
            &["DBSIZE"][..],
            &["RANDOMKEY"],
            &["KEYS", "*"],
            &["SCAN", "0"],
            &["WATCH", "key-1"],
        ] {
            let reply = client.command(words).unwrap();
            assert!(reply.is_error("TRYAGAIN "), "{words:?}: {reply:?}");
        }
        assert_eq!(client.command(&["MULTI"]).unwrap(), Value::ok());
        assert_eq!(
            client.command(&["GET", "key-1"]).unwrap(),
            Value::Status("QUEUED".into())
        );
        assert_eq!(client.command(&["EXEC"]).unwrap(), Value::Array(vec![Value::bulk("v")]));
    }
}

/// What an addition that was given up leaves behind.
#[test]
fn a_node_whose_replicas_wait_to_be_added_sends_its_clients_to_the_others() {
    for proxy in [false, true] {
        let mut cluster = ServerCluster::steady_with_proxy(2, 2, proxy);
        cluster.start_all();
        assert_eq!(
            ClusterClient::new(&cluster.all_resp()).command("k", &["SET", "k", "v"]),
            Outcome::Done(Value::ok())
        );
        let resp = add_third(&mut cluster);
        let mut client = Connection::open(&resp).unwrap();
        for group in ["1", "2"] {
            let joined = client.command(&["RAFTYARD", "ADMIN", "JOIN", group, "1", "2"]).unwrap();
            assert_eq!(joined, Value::ok());
        }
        if proxy {
            for _ in 0..4 {
                assert_eq!(client.command(&["GET", "k"]).unwrap(), Value::bulk("v"));
            }
            assert!(client.command(&["DBSIZE"]).unwrap().is_error("TRYAGAIN "));
            assert_eq!(client.command(&["FLUSHALL"]).unwrap(), Value::ok());
            assert_eq!(client.command(&["GET", "k"]).unwrap(), Value::Null2);
        } else {
            let mut follower = Connection::open(&resp).unwrap();
            follower.command(&["READONLY"]).unwrap();
            for client in [&mut client, &mut follower] {
                eventually("it is sent elsewhere", || {
                    client.command(&["GET", "k"]).unwrap().is_error("MOVED ").then_some(())
                });
            }
        }
    }
}
