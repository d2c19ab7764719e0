use super::*;
use crate::Cluster;
use crate::client::ask::Outcome;
use crate::kv::Kv;
use raftyard::Group;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(30);

fn plan(kind: ClientKind) -> ClientPlan {
    ClientPlan {
        kind,
        threads: 2,
        in_flight: 30,
        batch: 4,
        rate: None,
        value_bytes: 8,
    }
}

/// Waits until so much is answered.
async fn answered(stats: &Stats, count: u64) {
    let enough = async {
        while stats.counts().answered < count && !stats.is_stopped() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.unwrap();
}

/// As after a change of leader: the replicas that are asked don't lead.
fn astray(cluster: &Cluster, plan: &ClientPlan) -> Vec<Lane> {
    let mut lanes = lanes(cluster.groups(), plan, false).unwrap();
    for lane in &mut lanes {
        lane.at = (lane.at + 1) % lane.replicas.len();
    }
    lanes
}

#[tokio::test]
async fn clients_of_every_kind_find_the_leaders_and_count_what_was_refused() {
    let cluster = Cluster::in_memory(7).await.unwrap();
    for kind in [ClientKind::Tasks, ClientKind::Threads, ClientKind::Workers] {
        let (plan, stats) = (plan(kind), Arc::new(Stats::new().unwrap()));
        let clients = Clients::start(&plan, &Write::new(8), astray(&cluster, &plan), &stats).unwrap();
        answered(&stats, 2_000).await;
        clients.stop().await.unwrap();
        let counts = stats.counts();
        assert_eq!(counts.unknown, 0, "{kind:?}");
        assert!(counts.retried > 0, "{kind:?}: the refused are counted: {counts:?}");
        assert_eq!(stats.take_latencies().unwrap().len(), counts.answered, "{kind:?}");
        assert_eq!(stats.take_latencies().unwrap().len(), 0, "they are taken");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn what_can_not_be_asked_again_ends_the_run() {
    let cluster = Cluster::in_memory(3).await.unwrap();
    cluster.stop().await;
    for kind in [ClientKind::Tasks, ClientKind::Threads, ClientKind::Workers] {
        let (plan, stats) = (plan(kind), Arc::new(Stats::new().unwrap()));
        let lanes = lanes(cluster.groups(), &plan, false).unwrap();
        let clients = Clients::start(&plan, &Write::new(8), lanes, &stats).unwrap();
        answered(&stats, 1).await;
        let failure = clients.stop().await.unwrap_err().to_string();
        assert!(failure.contains("closed"), "{kind:?}: {failure}");
    }
}

#[tokio::test]
async fn reads_are_answered_by_leaders_and_by_followers() {
    let cluster = Cluster::in_memory(3).await.unwrap();
    for (consistency, to_followers) in [
        (raftyard::Consistency::Linearizable, false),
        (raftyard::Consistency::Follower, true),
        (raftyard::Consistency::Stale, true),
    ] {
        let (plan, stats) = (plan(ClientKind::Tasks), Arc::new(Stats::new().unwrap()));
        let lanes = lanes(cluster.groups(), &plan, to_followers).unwrap();
        for lane in &lanes {
            let is_led = lane.replicas[lane.at].leader() == Some(lane.replicas[lane.at].node());
            assert_eq!(is_led, !to_followers);
        }
        let clients = Clients::start(&plan, &Read(consistency), lanes, &stats).unwrap();
        answered(&stats, 200).await;
        clients.stop().await.unwrap();
        assert!(stats.counts().answered >= 200);
    }
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_on_its_way_is_dealt_to_all_groups_that_there_is_enough_for() {
    let cluster = Cluster::in_memory(7).await.unwrap();
    let dealt = |in_flight| {
        let plan = ClientPlan {
            in_flight,
            ..plan(ClientKind::Tasks)
        };
        let lanes = lanes(cluster.groups(), &plan, false).unwrap();
        lanes
            .iter()
            .map(|lane| (lane.in_flight, lane.batch))
            .collect::<Vec<_>>()
    };
    assert_eq!(dealt(2), [(1, 1); 2]);
    assert_eq!(dealt(7), [(1, 1); 7]);
    assert_eq!(dealt(37), [(6, 4), (6, 4), (5, 4), (5, 4), (5, 4), (5, 4), (5, 4)]);
    cluster.stop().await;
}

/// Answers nothing until a gate is opened.
#[derive(Clone)]
struct Stalled {
    asked: Arc<AtomicU64>,
    gate: watch::Receiver<bool>,
}

impl Ask for Stalled {
    fn ask(&self, _: &Group<Kv>, keys: Vec<u64>) -> impl Future<Output = Outcome> + Send + use<> {
        self.asked.fetch_add(keys.len() as u64, Ordering::SeqCst);
        let mut gate = self.gate.clone();
        async move {
            gate.wait_for(|is_open| *is_open).await.unwrap();
            Outcome {
                answered: keys.len() as u64,
                ..Outcome::default()
            }
        }
    }
}

#[tokio::test]
async fn an_open_loop_goes_on_asking_through_a_stall_and_counts_from_when_it_was_due() {
    let cluster = Cluster::in_memory(2).await.unwrap();
    let (open, gate) = watch::channel(false);
    let asked = Arc::new(AtomicU64::new(0));
    let stalled = Stalled {
        asked: asked.clone(),
        gate,
    };
    let plan = ClientPlan {
        rate: Some(1_000),
        ..plan(ClientKind::Tasks)
    };
    let stats = Arc::new(Stats::new().unwrap());
    let lanes = lanes(cluster.groups(), &plan, false).unwrap();
    let clients = Clients::start(&plan, &stalled, lanes, &stats).unwrap();
    let enough = async {
        while asked.load(Ordering::SeqCst) <= 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Nobody was answered, and still they ask.
    tokio::time::timeout(PATIENCE, enough).await.unwrap();
    open.send(true).unwrap();
    answered(&stats, 200).await;
    clients.stop().await.unwrap();
    // The one with number 200 was due 200 ms after the first: those up to number 100 waited for 100 ms at least.
    let latencies = stats.take_latencies().unwrap();
    let long = latencies
        .iter_recorded()
        .filter(|value| value.value_iterated_to() >= 99_000);
    assert!(long.map(|value| value.count_at_value()).sum::<u64>() >= 100);
    cluster.stop().await;
}
