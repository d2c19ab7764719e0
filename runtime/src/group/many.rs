//! Many commands in one call.

use super::{Group, REQUEST_OVERHEAD, decode, serialise};
use crate::error::ProposeError;
use crate::machine::{Answer, ROOM, Replicated};
use crate::worker::{Done, Proposal, Purpose, Reply, Work};
use tokio::sync::oneshot;

impl<S: Replicated> Group<S> {
    /// Proposes many commands at once: as [`Group::propose`] for each, in this order, for a fraction of its cost. All
    /// of them are handed to the replica together, and whoever waits is woken once, when the last of them is
    /// answered. Each is an entry of its own, and has an outcome of its own, in the order of the commands.
    ///
    /// Like a single proposal they are queued **by the call**.
    ///
    /// # Errors
    ///
    /// Those of [`Group::propose`], for each command. Commands that the node has no room for are refused together:
    /// then none of them was taken. Those that it never has room for together are [`ProposeError::TooLarge`], with what
    /// all of them count for.
    pub fn propose_many(
        &self,
        commands: Vec<S::Command>,
    ) -> impl Future<Output = Vec<Result<S::Response, ProposeError>>> + Send + use<S> {
        let count = commands.len();
        let (reply, answers) = oneshot::channel();
        // Who gave up waiting has dropped the other end.
        self.queue_many(commands, Box::new(move |answers| drop(reply.send(answers))));
        async move {
            let unknown = || Err(ProposeError::OutcomeUnknown { request: None });
            let lost = |_| std::iter::repeat_with(unknown).take(count).collect();
            decode_all(answers.await.unwrap_or_else(lost))
        }
    }

    /// As [`Group::propose_many`], for callers that don't wait: `done` is called with the outcomes, usually on the
    /// thread of the replica, where nobody has to be woken for it. The replica, and others on its thread, wait for
    /// `done`: it must not block. It may propose again.
    ///
    /// It is always called, once: before this returns if nothing was taken, and at the latest when the replica ends.
    pub fn propose_many_then(
        &self,
        commands: Vec<S::Command>,
        done: impl FnOnce(Vec<Result<S::Response, ProposeError>>) + Send + 'static,
    ) {
        self.queue_many(commands, Box::new(move |answers| done(decode_all(answers))));
    }

    fn queue_many(&self, commands: Vec<S::Command>, done: Done) {
        let replies = Reply::many(commands.len(), done);
        let commands = commands.into_iter().map(|command| self.checked(&command));
        let commands: Vec<Result<Vec<u8>, ProposeError>> = commands.collect();
        let size = |command: &[u8]| command.len().saturating_sub(ROOM);
        let permit = if self.is_closed() {
            Err(ProposeError::Closed)
        } else {
            let count = commands.iter().flatten().count();
            let bytes = commands.iter().flatten().map(|command| size(command)).sum();
            let counted = count.saturating_mul(REQUEST_OVERHEAD).saturating_add(bytes);
            let (tenancy, clock) = (&self.slot.tenancy, &*self.node.clock);
            tenancy.check_size(count, counted).and_then(|()| {
                let permit = tenancy.admit_proposals(count, bytes, counted, clock);
                permit.map_err(|overload| {
                    self.node.counters.requests_refused.add(count as u64);
                    overload.into()
                })
            })
        };
        let mut proposals = Vec::with_capacity(commands.len());
        match permit {
            Err(error) => replies.for_each(|reply| reply.send(Err(error.clone()))),
            Ok(mut permit) => {
                for (command, reply) in commands.into_iter().zip(replies) {
                    match command {
                        Err(error) => reply.send(Err(error)),
                        Ok(command) => proposals.push(Proposal {
                            permit: permit.split(size(&command) + REQUEST_OVERHEAD),
                            purpose: if self.node.plain { Purpose::Plain } else { Purpose::Own },
                            command,
                            reply,
                        }),
                    }
                }
            }
        }
        // If the node ends this very moment they are dropped, and their outcome is said to be unknown.
        if !proposals.is_empty() {
            self.slot.inbox.push(Work::ProposeMany(self.slot.life(), proposals));
        }
    }

    fn checked(&self, command: &S::Command) -> Result<Vec<u8>, ProposeError> {
        let command = serialise(command).map_err(|error| ProposeError::Unserialisable(error.to_string()))?;
        let (bytes, bytes_limit) = (command.len().saturating_sub(ROOM), self.node.limits.command_bytes_max);
        if bytes > bytes_limit {
            return Err(ProposeError::TooLarge { bytes, bytes_limit });
        }
        Ok(command)
    }
}

fn decode_all<R: serde::de::DeserializeOwned>(answers: Vec<Answer>) -> Vec<Result<R, ProposeError>> {
    answers.into_iter().map(|answer| decode(&answer?)).collect()
}
