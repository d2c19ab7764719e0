//! The one owner of a node's liveness.

use super::board::Board;
use super::moving::Moving;
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::metrics::Counters;
use crate::storage::StorageWork;
use crate::transport::{NodeParcel, TransportHandle};
use crate::worker::Work;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use raftyard_groups::{Liveness, LivenessConfig, LivenessEffects, Moment, NodeId, NodeMessage, PairEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What it can be given: what a peer says as a node.
pub(crate) struct LivenessWork(pub(crate) NodeId, pub(crate) NodeMessage);

/// Lives on the transport's thread, where frames arrive and leave. It answers, sends the heartbeats that are due,
/// publishes what it knows, and then tells the workers what changed.
pub(crate) struct LivenessActor {
    config: LivenessConfig,
    liveness: Liveness,
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    inbox: Arc<Inbox<LivenessWork>>,
    workers: Vec<Arc<Inbox<Work>>>,
    storage: Arc<Inbox<StorageWork>>,
    transport: TransportHandle,
    counters: Arc<Counters>,
    /// With the number of the way to each.
    peers: BTreeMap<NodeId, u64>,
    moving: Moving,
    /// When the storage was asked last.
    asked: Moment,
    taken: Vec<LivenessWork>,
    timer: Option<SpawnHandle>,
}

/// What the owner needs of the node around it.
pub(crate) struct Surroundings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) board: Arc<Board>,
    pub(crate) inbox: Arc<Inbox<LivenessWork>>,
    pub(crate) workers: Vec<Arc<Inbox<Work>>>,
    pub(crate) storage: Arc<Inbox<StorageWork>>,
    pub(crate) transport: TransportHandle,
    pub(crate) counters: Arc<Counters>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Wake;

/// Ends it: no more heartbeats.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl LivenessActor {
    /// What `liveness`, which is of this configuration, knows at the start has to be on the board already.
    pub(crate) fn new(config: LivenessConfig, liveness: Liveness, surroundings: Surroundings) -> Self {
        let Surroundings {
            clock,
            board,
            inbox,
            workers,
            storage,
            transport,
            counters,
        } = surroundings;
        let asked = clock.now();
        Self {
            config,
            liveness,
            clock,
            board,
            inbox,
            workers,
            storage,
            transport,
            counters,
            peers: BTreeMap::new(),
            moving: Moving::default(),
            asked,
            taken: Vec::new(),
            timer: None,
        }
    }

    /// Takes what came, then does what is due.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        let mut effects = LivenessEffects::default();
        let mut taken = std::mem::take(&mut self.taken);
        self.inbox.take(&mut taken);
        // Read once all of it is here: a promise is counted from no earlier moment than it was asked for.
        let now = self.clock.now();
        for LivenessWork(from, message) in taken.drain(..) {
            self.liveness.on_message(now, from, message, &mut effects);
        }
        self.taken = taken;
        self.tick(&mut effects);
        self.board.publish(self.liveness.sessions());
        for (to, message) in effects.send {
            if matches!(message, NodeMessage::Heartbeat { .. }) {
                self.counters.node_heartbeats.add(1);
            }
            let from = self.config.node;
            self.transport.send_node(&NodeParcel { from, to, message });
        }
        self.tell(&effects.events);
        self.wait(ctx);
    }

    fn tick(&mut self, effects: &mut LivenessEffects) {
        let (peers, flows) = (self.transport.ways_by_peer(), self.transport.data_flows());
        let now = self.clock.now();
        if peers != self.peers {
            self.set_peers(peers, now, effects);
        }
        self.moving.look(now, &flows);
        if now.since(self.asked) >= self.config.interval_ms {
            self.asked = now;
            // One that hangs is asked once, however long.
            let asks = |work: &StorageWork| matches!(work, StorageWork::Moves(..));
            self.storage
                .push_over(StorageWork::Moves(now, self.board.clone()), asks);
        }
        // What stands still for longer must not keep promises alive: nobody could do anything with them.
        let limit_ms = self.config.promise_ms / 2;
        let moves = self.board.all_move(now, limit_ms);
        let moving = &self.moving;
        self.liveness
            .tick(now, |peer| moves && moving.moves(peer, now, limit_ms), effects);
    }

    fn set_peers(&mut self, peers: BTreeMap<NodeId, u64>, now: Moment, effects: &mut LivenessEffects) {
        let (stayed, gone): (Vec<_>, Vec<_>) = self.peers.iter().partition(|(peer, way)| peers.get(peer) == Some(way));
        let lapsed = gone.into_iter().map(|(peer, _)| PairEvent::Lapsed { peer: *peer });
        effects.events.extend(lapsed);
        // In two steps: who was removed and set again is left out once, however soon that was.
        self.liveness.set_peers(stayed.into_iter().map(|(peer, _)| *peer), now);
        self.liveness.set_peers(peers.keys().copied(), now);
        self.peers = peers;
    }

    /// After it was published.
    fn tell(&self, events: &[PairEvent]) {
        if events.is_empty() {
            return;
        }
        tracing::debug!(node = self.config.node.0, ?events, "sessions changed");
        let ended = |event: &&PairEvent| matches!(event, PairEvent::Ended { .. });
        let ended = events.iter().filter(ended).count();
        self.counters.sessions_ended.add(ended as u64);
        for worker in &self.workers {
            worker.push(Work::Pairs(events.to_vec()));
        }
    }

    /// Until the next tick is owed. Peers come and go without a word: within an interval that is noticed.
    fn wait(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let wait = self.liveness.deadline().since(now).clamp(1, self.config.interval_ms);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.run_later(Duration::from_millis(wait), |actor, ctx| {
            actor.timer = None;
            actor.turn(ctx);
        }));
    }
}

impl Actor for LivenessActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let actor = ctx.address();
        self.inbox.connect(move || actor.do_send(Wake));
        self.turn(ctx);
    }
}

impl Handler<Wake> for LivenessActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.turn(ctx);
        if self.inbox.end_turn() {
            ctx.notify(Wake);
        }
    }
}

impl Handler<Stop> for LivenessActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.inbox.close();
        ctx.stop();
    }
}

impl Drop for LivenessActor {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Hand;
    use crate::liveness::LivenessTuning;
    use crate::router::Router;
    use crate::store::Boot;
    use crate::transport;

    #[test]
    fn a_storage_that_hangs_is_asked_once_and_what_it_finds_is_the_last_question() {
        actix_rt::System::new().block_on(async {
            let clock = Arc::new(Hand::default());
            let (inbox, storage) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
            let boot = Boot {
                counter: 1,
                longest_promise_ms_before: 0,
                disk: crate::store::DiskId(1),
            };
            let config = LivenessTuning::default().config(NodeId(1), boot, 1, Moment(0));
            let interval_ms = config.interval_ms;
            let liveness = Liveness::new(config, Moment(0));
            let router = Router::new(Vec::new(), Arc::new(Inbox::new()), inbox.clone());
            let surroundings = Surroundings {
                clock: clock.clone(),
                board: Arc::new(Board::new(liveness.sessions(), 1, Moment(0))),
                inbox,
                workers: Vec::new(),
                storage: storage.clone(),
                transport: transport::nowhere(router).await,
                counters: Arc::default(),
            };
            let mut actor = LivenessActor::new(config, liveness, surroundings);
            let mut taken = Vec::new();
            for hang in [1_000, 1, 3] {
                for _ in 0..hang {
                    clock.pass(interval_ms);
                    actor.tick(&mut LivenessEffects::default());
                }
                storage.take(&mut taken);
                let asked = taken.drain(..).map(|work| match work {
                    StorageWork::Moves(moment, _) => Some(moment),
                    _ => None,
                });
                assert_eq!(asked.collect::<Vec<_>>(), [Some(clock.now())]);
            }
        });
    }
}
