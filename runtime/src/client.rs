//! A client of one group that talks to several of its nodes.

use crate::error::{ProposeError, ReadError};
use crate::group::{Consistency, Group, serialise};
use crate::host::Node;
use crate::machine::Replicated;
use crate::session::{RequestId, Resolution, Session};
use crate::worker::Purpose;
use futures::future::{Either, select};
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait before somebody is asked again after a refusal.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks whichever node leads, and asks again until it gets an answer: each command is applied once, whatever
/// happens to the nodes meanwhile, as long as one that is asked in time leads. For whoever holds several
/// nodes of a group: a test, or a server that works for others. Share it: all calls use one session.
///
/// A client that must go on after its own end keeps a [`Session`] and [`RequestId`]s itself, and uses
/// [`Group::propose_as`].
pub struct Client<S> {
    replicas: Mutex<BTreeMap<NodeId, Group<S>>>,
    /// Whom to ask next.
    at: Mutex<Option<NodeId>>,
    session: Mutex<Option<Session>>,
    /// So that those who find no session open one together.
    opening: futures::lock::Mutex<()>,
    deadline: Duration,
    attempt: Duration,
}

impl<S: Replicated> Client<S> {
    /// A client that asks these replicas of one group.
    pub fn new(replicas: impl IntoIterator<Item = Group<S>>) -> Self {
        let replicas = replicas.into_iter().map(|replica| (replica.node(), replica)).collect();
        Self {
            replicas: Mutex::new(replicas),
            at: Mutex::default(),
            session: Mutex::default(),
            opening: futures::lock::Mutex::default(),
            deadline: Duration::from_secs(30),
            attempt: Duration::from_millis(500),
        }
    }

    /// How long a call asks on; 30 s by default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one node has to answer before another one is asked too, under the same name; 500 ms by default.
    #[must_use]
    pub fn attempt(mut self, attempt: Duration) -> Self {
        self.attempt = attempt;
        self
    }

    /// Asks this replica too, in the place of the one that the same node had: for a node that was restarted.
    pub fn replace(&self, replica: Group<S>) {
        self.replicas.lock().insert(replica.node(), replica);
    }

    /// Proposes a command until it is answered. It is applied once.
    ///
    /// # Errors
    ///
    /// A refusal that asking again won't change, or, once the deadline has passed, the last refusal if no attempt
    /// can have been applied, and otherwise [`ProposeError::OutcomeUnknown`] with the request's name. Both come
    /// sooner if all nodes are shut down.
    /// [`ProposeError::SessionExpired`] if the session expired while an attempt was under way.
    pub async fn propose(&self, command: S::Command) -> Result<S::Response, ProposeError> {
        let command = serialise(&command).map_err(|error| ProposeError::Unserialisable(error.to_string()))?;
        let end = Instant::now() + self.deadline;
        loop {
            let request = self.next_request(end).await?;
            let mut named = Named {
                session: &self.session,
                request,
                is_kept: false,
            };
            let asked = self.ask(end, |replica| {
                replica.propose_bytes(Ok(command.clone()), Purpose::Request(request))
            });
            let (outcome, is_open) = asked.await;
            if matches!(outcome, Err(ProposeError::SessionExpired | ProposeError::SessionFull)) {
                self.session.lock().take_if(|session| session.id() == request.session());
                if !is_open {
                    // Not this attempt, and none before it: under another name it is still the first time.
                    continue;
                }
            }
            return match outcome {
                Err(error) if is_open && (!is_final(&error) || error == ProposeError::SessionFull) => {
                    named.is_kept = true;
                    Err(ProposeError::OutcomeUnknown { request: Some(request) })
                }
                outcome => outcome,
            };
        }
    }

    /// As [`Group::resolve`], at whichever node leads.
    ///
    /// # Errors
    ///
    /// The last refusal or unknown outcome, once the deadline has passed.
    pub async fn resolve(&self, request: RequestId) -> Result<Resolution<S::Response>, ProposeError> {
        let end = Instant::now() + self.deadline;
        let (outcome, _) = self.ask(end, |replica| replica.resolve(request)).await;
        if outcome.is_ok()
            && let Some(session) = &mut *self.session.lock()
        {
            session.done(request);
        }
        outcome
    }

    /// Reads what is current, at whichever node leads.
    ///
    /// # Errors
    ///
    /// The last [`ReadError`], once the deadline has passed; [`ReadError::Panicked`] at once.
    pub async fn read(&self, query: S::Query) -> Result<S::Answer, ReadError>
    where
        S::Query: Clone,
    {
        let end = Instant::now() + self.deadline;
        let mut last = ReadError::Closed;
        while let Some(replica) = self.replica().filter(|_| Instant::now() < end) {
            let read = replica.read(query.clone(), Consistency::Linearizable);
            let next = match within(self.attempt, read, replica.host()).await {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(ReadError::Panicked)) => return Err(ReadError::Panicked),
                Some(Err(error)) => {
                    let next = match error {
                        ReadError::NotLeader { leader } => Next::refused(&replica, leader),
                        ReadError::Overloaded { retry_after, .. } => Next::overloaded(&replica, retry_after),
                        _ => Next::default(),
                    };
                    last = error;
                    next
                }
                None => {
                    last = ReadError::TimedOut;
                    Next::default()
                }
            };
            self.go_on(&replica, next, end).await;
        }
        Err(last)
    }

    /// Names a request, in a session that is opened first if there is none.
    async fn next_request(&self, end: Instant) -> Result<RequestId, ProposeError> {
        loop {
            if let Some(session) = &mut *self.session.lock() {
                return Ok(session.next());
            }
            let _opening = self.opening.lock().await;
            if self.session.lock().is_none() {
                let opened = self.ask(end, |replica| {
                    let replica = replica.clone();
                    async move { replica.open_session().await }
                });
                *self.session.lock() = Some(opened.await.0?);
            }
        }
    }

    /// Asks one replica after the other until the deadline; says also whether any attempt may have been applied,
    /// or may yet be.
    async fn ask<T, F>(&self, end: Instant, call: impl Fn(&Group<S>) -> F) -> (Result<T, ProposeError>, bool)
    where
        F: Future<Output = Result<T, ProposeError>>,
    {
        let (mut last, mut is_open) = (ProposeError::Closed, false);
        while let Some(replica) = self.replica().filter(|_| Instant::now() < end) {
            let next = match within(self.attempt, call(&replica), replica.host()).await {
                Some(Ok(answer)) => return (Ok(answer), is_open),
                Some(Err(error)) if is_final(&error) => return (Err(error), is_open),
                Some(Err(error)) => {
                    let next = match error {
                        ProposeError::NotLeader { leader } => Next::refused(&replica, leader),
                        ProposeError::Overloaded { retry_after, .. } => Next::overloaded(&replica, retry_after),
                        _ => Next::default(),
                    };
                    is_open |= matches!(error, ProposeError::OutcomeUnknown { .. });
                    last = error;
                    next
                }
                None => {
                    is_open = true;
                    last = ProposeError::OutcomeUnknown { request: None };
                    Next::default()
                }
            };
            self.go_on(&replica, next, end).await;
        }
        (Err(last), is_open)
    }

    /// Whom to ask: the one that was named last, or any; nobody if all nodes are shut down.
    fn replica(&self) -> Option<Group<S>> {
        self.awake()?;
        let replicas = self.replicas.lock();
        let at = *self.at.lock();
        let named = at.and_then(|at| replicas.get(&at));
        named.or_else(|| replicas.values().next()).cloned()
    }

    /// After a refusal: to whom it named, or to the one after it, after a pause.
    async fn go_on(&self, asked: &Group<S>, Next { named, pause }: Next, end: Instant) {
        let (here, all) = (asked.node(), self.replicas.lock().keys().copied().collect::<Vec<_>>());
        let named = named.filter(|named| all.contains(named));
        let next = all.iter().find(|node| **node > here).or(all.first()).copied();
        {
            let mut at = self.at.lock();
            // Another call may have found the leader since.
            if at.is_none_or(|at| at == here) {
                *at = named.or(next);
            }
        }
        // A replica may name one that does not lead yet, or not any more: not too often.
        let awake = self.awake();
        if let Some(replica) = awake {
            let pause = pause.max(PAUSE).min(end.saturating_duration_since(Instant::now()));
            replica.host().sleep(pause).await;
        }
    }

    fn awake(&self) -> Option<Group<S>> {
        let replicas = self.replicas.lock();
        replicas.values().find(|replica| !replica.host().is_closed()).cloned()
    }
}

/// Whom to ask after a refusal, and when.
#[derive(Default)]
struct Next {
    named: Option<NodeId>,
    /// At least.
    pause: Duration,
}

impl Next {
    /// The replica does not lead.
    fn refused<S: Replicated>(replica: &Group<S>, leader: Option<NodeId>) -> Self {
        Self {
            named: leader.filter(|leader| *leader != replica.node()),
            pause: PAUSE,
        }
    }

    /// The replica may lead, but not now take this.
    fn overloaded<S: Replicated>(replica: &Group<S>, retry_after: Duration) -> Self {
        Self {
            named: Some(replica.node()),
            pause: retry_after,
        }
    }
}

/// A request that is under way. Once it is not any more, the group may forget it, unless its outcome is unknown
/// and somebody was told its name.
struct Named<'a> {
    session: &'a Mutex<Option<Session>>,
    request: RequestId,
    is_kept: bool,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if !self.is_kept
            && let Some(session) = &mut *self.session.lock()
        {
            session.done(self.request);
        }
    }
}

/// Whether asking again can't change it.
fn is_final(error: &ProposeError) -> bool {
    match error {
        ProposeError::NotLeader { .. }
        | ProposeError::Overloaded { .. }
        | ProposeError::Dropped
        | ProposeError::Closed
        | ProposeError::Quarantined(_)
        | ProposeError::OutcomeUnknown { .. } => false,
        ProposeError::TooLarge { .. }
        | ProposeError::Unserialisable(_)
        | ProposeError::SessionExpired
        | ProposeError::SessionFull
        | ProposeError::RequestForgotten
        | ProposeError::Fenced
        | ProposeError::UndecodableResponse(_) => true,
    }
}

/// What a future gives, unless that takes too long.
async fn within<F: Future>(limit: Duration, future: F, node: &Arc<Node>) -> Option<F::Output> {
    match select(pin!(future), pin!(node.sleep(limit))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
