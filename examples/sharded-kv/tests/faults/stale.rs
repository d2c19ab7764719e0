//! Nodes that may answer old values do, and that is noticed: what finds nothing elsewhere would find it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{Client, Kind, Load};
use crate::cluster::{Cluster, Setup};
use crate::linearizability::{Verdict, check, that_count};
use crate::network;
use crate::plan::Fault;
use crate::run::{WELL, write_all};
use crate::system::{own_dir, poll};
use crate::units;

/// So long clients read at a node that hears of no writes. Who began with a write to that node waits for half of it.
const CUT_OFF: Duration = Duration::from_secs(10);

#[test]
fn stale_reads_are_noticed() {
    if let Err(error) = &network::abilities().namespaces {
        println!("no node can be cut off here: {error}");
        return;
    }
    let dir = own_dir().join("stale");
    std::fs::create_dir_all(&dir).unwrap();
    let setup = Setup {
        nodes: 3,
        on_disk: false,
        proxy: false,
        stale: true,
        snapshot_entries: 1_000,
        wiped_starts: false,
    };
    let mut cluster = Cluster::start(setup, "stale", &dir, false);
    let network = cluster.network.clone();
    let load = Load {
        nodes: cluster.all_resp(),
        start: Instant::now(),
        stop: AtomicBool::new(false),
        odd: Mutex::new(Vec::new()),
    };
    let mut calls = thread::scope(|scope| {
        let client = |kind, number| {
            let client = Client::new(&load, kind, number, 1);
            let network = &network;
            scope.spawn(move || {
                network.enter_as_client();
                client.run().calls
            })
        };
        cluster.tend();
        let first = scope.spawn(|| {
            network.enter_as_client();
            let mut client = Client::new(&load, Kind::Hasty, 99, 1);
            let mut left = (0..units::UNITS).collect();
            let written = poll(WELL, || write_all(&mut client, &mut left).then_some(()));
            (written.is_some(), client.calls)
        });
        let (written, mut calls) = first.join().unwrap();
        cluster.begin(Fault::Isolate(3));
        let clients = [
            client(Kind::Single, 0),
            client(Kind::Single, 1),
            client(Kind::Replicas, 2),
        ];
        thread::sleep(CUT_OFF);
        load.stop.store(true, Ordering::SeqCst);
        for client in clients {
            calls.extend(client.join().unwrap());
        }
        assert!(written, "not all keys are written");
        calls
    });
    drop(cluster);
    let _ = std::fs::remove_dir_all(dir);
    let _ = std::fs::remove_dir(own_dir());
    calls.sort_by_key(|call| call.invoked);
    let is_refused = |unit: &usize| {
        let of_unit = that_count(calls.iter().filter(|call| call.unit == *unit).cloned());
        matches!(check(&of_unit), Verdict::Not(_))
    };
    let refused = (0..units::UNITS).filter(is_refused).count();
    println!("{refused} of {} units are not linearizable", units::UNITS);
    assert!(refused > 0);
}
