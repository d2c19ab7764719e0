//! Commands on all keys: `SCAN` while others write, `KEYS`, `DBSIZE`, `RANDOMKEY`, `FLUSHALL`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::{
    ClusterClient, Connection, Dev, Outcome, STATES, ServerCluster, VERSIONS, Value, encode, eventually,
};

/// Keys that are there all the while.
const LASTING: usize = 300;

fn lasting() -> BTreeSet<String> {
    (0..LASTING).map(|number| format!("lasting-{number}")).collect()
}

fn set_all(nodes: &[String]) {
    let mut client = ClusterClient::new(nodes);
    for key in lasting() {
        eventually("it is set", || {
            (client.command(&key, &["SET", &key, "v"]) == Outcome::Done(Value::ok())).then_some(())
        });
    }
}

fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(Value::text).collect(),
        other => panic!("{other:?}"),
    }
}

/// All that a scan finds at a node; `between` is called between its steps.
fn scan(node: &mut Connection, options: &[&str], mut between: impl FnMut()) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let reply = node.command(&[&["SCAN", &cursor], options].concat()).unwrap();
        let Value::Array(fields) = reply else {
            panic!("{reply:?}")
        };
        let [next, keys] = <[Value; 2]>::try_from(fields).unwrap();
        cursor = next.text();
        found.extend(texts(keys));
        if cursor == "0" {
            return found;
        }
        between();
    }
}

/// Adds and removes keys between the lasting ones.
fn disturb(nodes: &[String], changes: &AtomicU64, stop: &AtomicBool) {
    let mut client = ClusterClient::new(nodes);
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (fresh, old) = (
            format!("passing-{number}"),
            format!("passing-{}", number - number.min(20)),
        );
        client.command(&fresh, &["SET", &fresh, "v"]);
        client.command(&old, &["DEL", &old]);
        changes.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_scan_finds_what_lasts_while_others_write() {
    for options in [&[][..], &["--proxy"], &["--proxy", "--state", "disk"]] {
        let dev = Dev::steady(options);
        set_all(&dev.nodes);
        let (changes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = {
            let (nodes, changes, stop) = (dev.nodes.clone(), Arc::clone(&changes), Arc::clone(&stop));
            thread::spawn(move || disturb(&nodes, &changes, &stop))
        };
        // A node that forwards scans everything, the others what they lead.
        let asked = if options.is_empty() { 0..3 } else { 1..2 };
        let mut found = BTreeSet::new();
        for place in asked {
            found.extend(scan(&mut dev.node(place), &["COUNT", "7"], || {
                let before = changes.load(Ordering::SeqCst);
                eventually("others write", || {
                    (changes.load(Ordering::SeqCst) > before).then_some(())
                });
            }));
        }
        stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        let missing: Vec<_> = lasting().difference(&found).cloned().collect();
        assert_eq!(missing, Vec::<String>::new(), "{options:?}");
        let is_known = |key: &String| key.starts_with("lasting-") || key.starts_with("passing-");
        assert!(found.iter().all(is_known));
    }
}

#[test]
fn a_node_alone_speaks_of_what_it_leads() {
    STATES.into_iter().for_each(ask_each_node);
}

fn ask_each_node(options: &[&str]) {
    let dev = Dev::steady(options);
    set_all(&dev.nodes);
    let mut sum = Vec::new();
    for place in 0..3 {
        let mut node = dev.node(place);
        let mut scanned = scan(&mut node, &[], || {});
        let mut keys = texts(node.command(&["KEYS", "*"]).unwrap());
        scanned.sort();
        keys.sort();
        assert_eq!(scanned, keys, "nobody writes: each once");
        assert_eq!(
            node.command(&["DBSIZE"]).unwrap(),
            Value::Integer(i64::try_from(keys.len()).unwrap())
        );
        // There are 6 groups.
        for cursor in ["6", "16383", &(1_u64 << 40 | 6).to_string()] {
            let refused = node.command(&["SCAN", cursor]).unwrap();
            assert_eq!(refused, Value::Error("ERR invalid cursor".into()), "{cursor}");
        }
        let random = node.command(&["RANDOMKEY"]).unwrap();
        // It may lead nothing.
        let expected = if keys.is_empty() {
            random == Value::Null2
        } else {
            keys.contains(&random.text())
        };
        assert!(expected, "{random:?}");
        sum.extend(keys);
    }
    sum.sort();
    assert_eq!(sum, lasting().into_iter().collect::<Vec<_>>());
    // Each flushes what it leads.
    assert_eq!(dev.node(0).command(&["FLUSHALL"]).unwrap(), Value::ok());
    let left = || [0, 1, 2].map(|place| dev.node(place).command(&["DBSIZE"]).unwrap());
    let sizes = left();
    assert_eq!(sizes[0], Value::Integer(0));
    assert!(sizes[1..].iter().any(|size| *size != Value::Integer(0)));
    for place in [1, 2] {
        assert_eq!(dev.node(place).command(&["FLUSHDB", "ASYNC"]).unwrap(), Value::ok());
    }
    assert_eq!(left(), [0, 0, 0].map(Value::Integer));
}

#[test]
fn a_node_that_forwards_speaks_of_all_keys() {
    let dev = Dev::steady(&["--proxy"]);
    for (version, null) in VERSIONS {
        set_all(&dev.nodes);
        let mut node = dev.node(1);
        node.command(&["HELLO", version]).unwrap();
        let all = lasting();
        assert_eq!(
            node.command(&["DBSIZE"]).unwrap(),
            Value::Integer(i64::try_from(LASTING).unwrap())
        );
        let keys: BTreeSet<String> = texts(node.command(&["KEYS", "lasting-*"]).unwrap())
            .into_iter()
            .collect();
        assert_eq!(keys, all);
        let tens = scan(&mut node, &["MATCH", "lasting-?0", "COUNT", "1000"], || {});
        assert_eq!(tens.len(), 9);
        assert_eq!(scan(&mut node, &["TYPE", "list"], || {}), Vec::<String>::new());
        let drawn: BTreeSet<String> = (0..60).map(|_| node.command(&["RANDOMKEY"]).unwrap().text()).collect();
        assert!(drawn.is_subset(&all) && drawn.len() > 20, "{}", drawn.len());
        assert_eq!(node.command(&["WAIT", "1", "100"]).unwrap(), Value::Integer(1));
        assert_eq!(node.command(&["FLUSHALL"]).unwrap(), Value::ok());
        assert_eq!(node.command(&["RANDOMKEY"]).unwrap(), null);
        for place in 0..3 {
            assert_eq!(dev.node(place).command(&["DBSIZE"]).unwrap(), Value::Integer(0));
        }
    }
}

/// Every node is asked, and none of them flushes it.
#[test]
fn a_group_without_a_leader_is_not_said_to_be_flushed() {
    let mut cluster = ServerCluster::new(3, 6);
    cluster.start_all();
    set_all(&cluster.all_resp());
    let mut client = Connection::open(&cluster.resp(1)).unwrap();
    cluster.kill(2);
    cluster.kill(3);
    let down = "CLUSTERDOWN Hash slot not served";
    // In one go: those that wait for an election wait for it together. What is watched is of one slot, so each is let go.
    let keys: Vec<String> = lasting().into_iter().take(30).collect();
    let watch = |key: &String| [encode(&["UNWATCH"]), encode(&["WATCH", key])].concat();
    let watches: Vec<u8> = keys.iter().flat_map(watch).collect();
    eventually("the last node knows that it leads nothing", || {
        client.send(&watches).unwrap();
        let replies: Vec<Value> = keys
            .iter()
            .map(|_| {
                assert_eq!(client.receive().unwrap(), Value::ok());
                client.receive().unwrap()
            })
            .collect();
        replies.iter().all(|reply| reply.is_error(down)).then_some(())
    });
    assert!(client.command(&["FLUSHALL"]).unwrap().is_error(down));
}

/// For a while the others still name it, and each leaves the group to it.
#[test]
fn a_group_whose_leader_just_died_is_not_said_to_be_flushed() {
    let mut cluster = ServerCluster::new(3, 6);
    cluster.start_all();
    set_all(&cluster.all_resp());
    let dead = cluster.leader_of("lasting-0");
    let left: Vec<String> = (1..=3)
        .filter(|node| *node != dead)
        .map(|node| cluster.resp(node))
        .collect();
    let mut clients: Vec<_> = left.iter().map(|node| Connection::open(node).unwrap()).collect();
    cluster.kill(dead);
    for client in &mut clients {
        client.send(&encode(&["FLUSHALL"])).unwrap();
    }
    let replies: Vec<Value> = clients.iter_mut().map(|client| client.receive().unwrap()).collect();
    let mut client = ClusterClient::new(&left);
    let mut survives = |key: &String| {
        let value = eventually("the key's group has a leader", || {
            match client.command(key, &["GET", key]) {
                Outcome::Done(value) => Some(value),
                _ => None,
            }
        });
        value != Value::Null2
    };
    let survivors: Vec<String> = lasting().into_iter().filter(|key| survives(key)).collect();
    let is_said = replies.iter().all(|reply| *reply == Value::ok());
    assert!(!is_said || survivors.is_empty(), "{replies:?} {survivors:?}");
}

/// A page is in memory as a whole, and counted nowhere.
#[test]
fn a_page_of_long_keys_has_few_of_them() {
    const LENGTH: usize = 1024 * 1024;
    const PAGE_KEYS: usize = 8;
    let mut cluster = ServerCluster::new(1, 8);
    cluster.start_all();
    let mut node = Connection::open(&cluster.resp(1)).unwrap();
    let all: BTreeSet<String> = (10..42).map(|number| number.to_string().repeat(LENGTH / 2)).collect();
    for key in &all {
        assert_eq!(node.command(&["SET", key, "v"]).unwrap(), Value::ok());
    }
    let (mut cursor, mut found) = ("0".to_owned(), BTreeSet::new());
    loop {
        let reply = node.command(&["SCAN", &cursor, "COUNT", "4096"]).unwrap();
        let Value::Array(fields) = reply else {
            panic!("it is a page")
        };
        let [next, keys] = <[Value; 2]>::try_from(fields).unwrap();
        let keys = texts(keys);
        assert!(keys.len() <= PAGE_KEYS, "{} keys of 1 MiB", keys.len());
        found.extend(keys);
        cursor = next.text();
        if cursor == "0" {
            break;
        }
    }
    assert!(found == all, "{} of {}", found.len(), all.len());
}
