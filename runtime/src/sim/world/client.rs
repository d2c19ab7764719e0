//! Clients: each asks one group, whatever happens, and notes what it is told.

use super::{Noted, Replica, World, within};
use crate::error::{ProposeError, ReadError};
use crate::group::Consistency;
use crate::machine::StateMachine;
use crate::session::{RequestId, Resolution, Session};
use crate::sim::checked::Checked;
use crate::sim::properties::{Freshness, Kind, Outcome};
use crate::sim::random::{Purpose, Random};
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, NodeId};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a client waits for one answer.
const ATTEMPT: Duration = Duration::from_millis(1_500);
/// How long it asks again for the same.
const DEADLINE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(20);

type Response<W> = <Checked<<W as Workload>::Machine> as StateMachine>::Response;

/// One client.
struct Client<W: Workload> {
    world: Rc<World<W>>,
    group: GroupId,
    number: u64,
    random: Random,
    /// Of which life, too.
    session: Option<(u64, Session)>,
    /// Who leads, as far as it was told.
    leader: Option<NodeId>,
}

impl<W: Workload> World<W> {
    pub(super) async fn client(self: Rc<Self>, group: GroupId, n: u64) {
        let number = group.0 << 8 | n;
        let mut client = Client {
            random: Random::new(self.scenario.seed, Purpose::Client, number),
            world: self,
            group,
            number,
            session: None,
            leader: None,
        };
        while !client.world.is_over() {
            let think_ms = client.random.within(1..=client.world.settings.think_max_ms);
            sleep(Duration::from_millis(think_ms)).await;
            if !client.world.rests(group) {
                client.call().await;
            }
        }
    }
}

impl<W: Workload> Client<W> {
    /// Asks one thing.
    async fn call(&mut self) {
        let Some(replica) = self.replica(None) else {
            return;
        };
        if self.random.chance(20) {
            return self.crowd(&replica).await;
        }
        let kind = match self.world.groups.borrow_mut().get_mut(&self.group) {
            Some(group) => group.workload.next(&mut self.random),
            None => return,
        };
        match kind.clone() {
            Kind::Read(query) if self.random.chance(200) => self.read_own(query).await,
            Kind::Read(query) => self.read(&replica, kind, query).await,
            Kind::Propose(command) => {
                let incarnation = replica.incarnation().0;
                match self.random.below(10) {
                    0..7 => self.propose_until_answered(incarnation, kind, command).await,
                    7..9 => self.propose_once(&replica, kind, command, false).await,
                    _ => self.propose_once(&replica, kind, command, true).await,
                }
            }
        }
    }

    /// Many open a session at once, and never come back: the log grows by as much as it does not in a while.
    async fn crowd(&mut self, replica: &Replica<W>) {
        let many = self.random.within(2..=30);
        let opened = (0..many).map(|_| within(ATTEMPT, replica.open_session()));
        futures::future::join_all(opened).await;
    }

    /// Whom to ask: mostly who is said to lead.
    fn replica(&mut self, incarnation: Option<u64>) -> Option<Replica<W>> {
        let mut replicas = self.world.replicas(self.group);
        replicas.retain(|replica| incarnation.is_none_or(|incarnation| replica.incarnation().0 == incarnation));
        let named = replicas.iter().find(|replica| Some(replica.node()) == self.leader);
        match named {
            Some(named) if self.random.chance(850) => Some(named.clone()),
            _ => self.random.pick(&replicas).cloned(),
        }
    }

    async fn read(&mut self, replica: &Replica<W>, kind: Kind<W::Machine>, query: <W::Machine as StateMachine>::Query) {
        let consistency = match self.random.below(3) {
            0 => Consistency::Follower,
            _ => Consistency::Linearizable,
        };
        let incarnation = replica.incarnation().0;
        let wanted = self.world.freshness.borrow().wanted(self.group, incarnation);
        let noted = self.world.note(self.group, incarnation, self.number, kind);
        let outcome = match within(ATTEMPT, replica.read(query, consistency)).await {
            Some(Ok((applied, answer))) => {
                if let Err(what) = Freshness::check(self.group, wanted, applied) {
                    self.world.watchman.violated("lease safety", what);
                }
                Some(Outcome::Answer(answer))
            }
            Some(Err(ReadError::NotLeader { leader })) => {
                self.leader = leader;
                None
            }
            Some(Err(_)) | None => {
                self.leader = None;
                None
            }
        };
        // A read that was not answered might as well not have been asked.
        self.world.settle(noted, outcome);
    }

    /// Reads what any replica has, however old that is.
    async fn read_own(&mut self, query: <W::Machine as StateMachine>::Query) {
        let (world, group) = (self.world.clone(), self.group);
        let Some(replica) = self.random.pick(&world.replicas(group)).cloned() else {
            return;
        };
        let node = replica.node();
        let kept = world.freshness.borrow().kept(node, group);
        let Some(Ok((applied, _))) = within(ATTEMPT, replica.read(query, Consistency::Stale)).await else {
            return;
        };
        if let Err(what) = Freshness::check_kept(node, group, kept, applied) {
            world.watchman.violated("stale reads", what);
        }
        if world.is_on_disk(&replica) {
            world.freshness.borrow_mut().keeps(node, group, applied);
        }
    }

    /// Asks once, and does not ask again.
    async fn propose_once(
        &mut self,
        replica: &Replica<W>,
        kind: Kind<W::Machine>,
        command: <W::Machine as StateMachine>::Command,
        is_plain: bool,
    ) {
        let incarnation = replica.incarnation().0;
        let noted = self.world.note(self.group, incarnation, self.number, kind);
        let asked = (self.world.tick(), incarnation, command);
        let answer = if is_plain {
            within(DEADLINE, replica.propose_plain(asked)).await
        } else {
            within(DEADLINE, replica.propose(asked)).await
        };
        match answer {
            Some(Ok(response)) => self.answered(noted, response),
            Some(Err(error)) => {
                if let ProposeError::NotLeader { leader } = error {
                    self.leader = leader;
                } else {
                    self.leader = None;
                }
                match error {
                    ProposeError::OutcomeUnknown { request: Some(request) } if self.random.chance(300) => {
                        self.resolve(noted, request).await;
                    }
                    error if !error.may_have_happened() => self.world.settle(noted, None),
                    _ => {}
                }
            }
            None => {}
        }
    }

    /// Asks again and again, under one name.
    async fn propose_until_answered(
        &mut self,
        incarnation: u64,
        kind: Kind<W::Machine>,
        command: <W::Machine as StateMachine>::Command,
    ) {
        let end = Instant::now() + DEADLINE;
        let Some(request) = self.request(incarnation, end).await else {
            return;
        };
        let noted = self.world.note(self.group, incarnation, self.number, kind);
        let asked = (self.world.tick(), incarnation, command);
        // Whether any attempt may have been applied, or may yet be.
        let mut is_open = false;
        while Instant::now() < end {
            let Some(replica) = self.replica(Some(incarnation)) else {
                sleep(PAUSE).await;
                continue;
            };
            match within(ATTEMPT, replica.propose_as(request, asked.clone())).await {
                Some(Ok(response)) => {
                    self.answered(noted, response);
                    if let Some((_, session)) = &mut self.session {
                        session.done(request);
                    }
                    return;
                }
                Some(Err(ProposeError::NotLeader { leader })) => self.leader = leader,
                Some(Err(
                    ProposeError::SessionExpired
                    | ProposeError::SessionFull
                    | ProposeError::RequestForgotten
                    | ProposeError::Fenced,
                )) => {
                    self.session = None;
                    break;
                }
                Some(Err(error)) => {
                    is_open |= error.may_have_happened();
                    self.leader = None;
                }
                None => {
                    is_open = true;
                    self.leader = None;
                }
            }
            sleep(PAUSE).await;
        }
        if !is_open {
            self.world.settle(noted, None);
        } else if self.random.chance(500) {
            self.resolve(noted, request).await;
        } else {
            // Its name is never used again.
            self.session = None;
        }
    }

    /// A name for a request, in a session that is opened first if there is none.
    async fn request(&mut self, incarnation: u64, end: Instant) -> Option<RequestId> {
        if let Some((life, session)) = &mut self.session
            && *life == incarnation
        {
            return Some(session.next());
        }
        while Instant::now() < end {
            let replica = self.replica(Some(incarnation))?;
            match within(ATTEMPT, replica.open_session()).await {
                Some(Ok(mut session)) => {
                    let request = session.next();
                    self.session = Some((incarnation, session));
                    return Some(request);
                }
                Some(Err(ProposeError::NotLeader { leader })) => self.leader = leader,
                _ => self.leader = None,
            }
            sleep(PAUSE).await;
        }
        None
    }

    /// Asks what became of a request.
    async fn resolve(&mut self, noted: Noted, request: RequestId) {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            let Some(replica) = self.replica(Some(noted.incarnation)) else {
                return;
            };
            match within(ATTEMPT, replica.resolve(request)).await {
                Some(Ok(Resolution::Applied(response))) => return self.answered(noted, response),
                Some(Ok(Resolution::NotApplied)) => return self.world.settle(noted, None),
                Some(Ok(Resolution::Forgotten)) => return,
                Some(Err(ProposeError::NotLeader { leader })) => self.leader = leader,
                _ => self.leader = None,
            }
            sleep(PAUSE).await;
        }
    }

    fn answered(&self, noted: Noted, (applied, response): Response<W>) {
        let mut freshness = self.world.freshness.borrow_mut();
        freshness.answered(self.group, noted.incarnation, applied);
        self.world.settle(noted, Some(Outcome::Response(response)));
    }
}
