//! A client of one group that talks to several of its nodes.

mod ask;

use crate::error::{ProposeError, ReadError};
use crate::group::{Consistency, Group, serialise};
use crate::machine::Replicated;
use crate::session::{RequestId, Resolution, Session};
use crate::worker::Purpose;
use ask::{Refusal, after, within};
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// No session could be opened, so the command was not proposed. Nobody is known who would have done it.
const NO_SESSION: ProposeError = ProposeError::NotLeader { leader: None };

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

    /// How long a call asks on; 30 s by default. Somebody is asked in any case, and has the time of an
    /// [`attempt`](Self::attempt).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one node has to answer before another one is asked too, under the same name; 500 ms by default. The
    /// first useful answer counts, whoever gives it: the nodes that were asked before may take longer than this.
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
    /// can have been applied, and otherwise [`ProposeError::OutcomeUnknown`] with the request's name. If there is no
    /// session by then the command was not proposed: the last refusal, or [`ProposeError::NotLeader`]. Once all nodes are shut down
    /// [`ProposeError::Closed`], or [`ProposeError::OutcomeUnknown`], comes at once.
    /// [`ProposeError::SessionExpired`] if the session expired while an attempt was under way, or, up to the deadline, each
    /// that was opened did before its first command.
    pub async fn propose(&self, command: S::Command) -> Result<S::Response, ProposeError> {
        let command = serialise(&command).map_err(|error| ProposeError::Unserialisable(error.to_string()))?;
        let end = after(self.deadline);
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
                if !is_open && Instant::now() < end {
                    // Not this attempt, and none before it: under another name it is still the first time.
                    continue;
                }
            }
            return match outcome {
                // Each node has limits of its own, so another one may have taken what is too large for this.
                Err(error)
                    if is_open
                        && (!error.is_final()
                            || matches!(error, ProposeError::SessionFull | ProposeError::TooLarge { .. })) =>
                {
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
    /// A refusal that asking again won't change, or, once the deadline has passed, the last refusal or unknown outcome.
    /// [`ProposeError::Closed`] at once when all nodes are shut down.
    pub async fn resolve(&self, request: RequestId) -> Result<Resolution<S::Response>, ProposeError> {
        let end = after(self.deadline);
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
    /// The last [`ReadError`], once the deadline has passed, or [`ReadError::TimedOut`] if somebody has not answered by
    /// then; [`ReadError::Panicked`] at once, and [`ReadError::Closed`] once all nodes are shut down.
    pub async fn read(&self, query: S::Query) -> Result<S::Answer, ReadError>
    where
        S::Query: Clone,
    {
        let end = after(self.deadline);
        let read = move |replica: &Group<S>| replica.read(query.clone(), Consistency::Linearizable);
        self.ask(end, read).await.0
    }

    /// Names a request, in a session that is opened first if there is none.
    async fn next_request(&self, end: Instant) -> Result<RequestId, ProposeError> {
        loop {
            if let Some(session) = &mut *self.session.lock() {
                return Ok(session.next());
            }
            let _opening = match self.opening.try_lock() {
                Some(opening) => opening,
                None => {
                    let nodes = self.awake();
                    if nodes.is_empty() {
                        return Err(ProposeError::Closed);
                    }
                    // Those who wait for the same attempt in vain don't wait for each other's.
                    let limit = end.saturating_duration_since(Instant::now());
                    match within(limit, self.opening.lock(), &nodes).await {
                        Some(opening) if Instant::now() < end || self.session.lock().is_some() => opening,
                        _ => return Err(NO_SESSION),
                    }
                }
            };
            if self.session.lock().is_none() {
                let opened = self.ask(end, |replica| {
                    let replica = replica.clone();
                    async move { replica.open_session().await }
                });
                let opened = opened.await.0.map_err(|error| match error {
                    // A session that nobody uses does no harm.
                    ProposeError::OutcomeUnknown { .. } => NO_SESSION,
                    error => error,
                });
                *self.session.lock() = Some(opened?);
            }
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
