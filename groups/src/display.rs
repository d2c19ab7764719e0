//! A replica and its messages on one line, the same in logs, debugging aids and golden scripts.

use crate::effects::{LogBase, Persist, Proposed, ReadOutcome, TransferOutcome, TransferRefusal};
use crate::entry::{Entry, Payload};
use crate::group::{Group, Role, RoleKind};
use crate::membership_change::{ChangeOutcome, ChangeRefusal};
use crate::message::{Body, Message, Promise, Prompt};
use crate::progress::{Mode, Progress};
use std::fmt;

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// `n1@4 leader last=10@4 durable=10 commit=9 applied=9`; a follower names its leader: `follower(n1)`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} {}", self.node(), self.term().0, self.role())?;
        if let (RoleKind::Follower, Some(leader)) = (self.role(), self.leader()) {
            write!(f, "({leader})")?;
        }
        write!(
            f,
            " last={} durable={} commit={} applied={}",
            self.last(),
            self.durable(),
            self.commit(),
            self.applied()
        )?;
        if self.is_asleep() {
            write!(f, " asleep")?;
        }
        Ok(())
    }
}

impl Group {
    /// What a leader knows of its peers, in the order of their ids, a line each; nothing if it does not lead.
    #[must_use]
    pub fn describe_peers(&self) -> Vec<String> {
        match &self.role {
            Role::Leader(leader) => leader
                .peers
                .iter()
                .map(|(peer, progress)| format!("{peer} {progress}"))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// `replicate matched=3 next=5`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Probe { paused: false } => "probe",
            Mode::Probe { paused: true } => "probe(paused)",
            Mode::Replicate { .. } => "replicate",
            Mode::Snapshot => "snapshot",
        };
        write!(f, "{mode} matched={} next={}", self.matched, self.next)?;
        if self.is_leaving() {
            write!(f, " leaving")?;
        }
        Ok(())
    }
}

/// `3@2:put` or `3@2:noop`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.payload {
            Payload::Noop => write!(f, "{}:noop", self.id()),
            Payload::Command(bytes) => write!(f, "{}:{}", self.id(), bytes.escape_ascii()),
            Payload::Membership(membership) => write!(f, "{}:({membership})", self.id()),
        }
    }
}

struct List<'a>(&'a [Entry]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<String> = self.0.iter().map(Entry::to_string).collect();
        write!(f, "[{}]", entries.join(" "))
    }
}

/// `n1→n2 @4 append prev=3@2 [4@4:put] commit=3`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{} @{} {}", self.from, self.to, self.term.0, self.body)
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt(prompt) => prompt.fmt(f),
            Self::Promise(promise) => promise.fmt(f),
        }
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PreVote { last } => write!(f, "pre-vote last={last}"),
            Self::PreVoteReply { granted: true } => write!(f, "pre-vote granted"),
            Self::PreVoteReply { granted: false } => write!(f, "pre-vote refused"),
            Self::VoteRefused => write!(f, "vote refused"),
            Self::Append { prev, entries, commit } => {
                write!(f, "append prev={prev} {} commit={commit}", List(entries))
            }
            Self::AppendRejected { refused, hint } => write!(f, "append rejected at={refused} hint={hint}"),
            Self::Heartbeat { commit, round } => write!(f, "heartbeat commit={commit} round={}", round.0),
            Self::HeartbeatReply {
                round,
                priority,
                commit,
                session,
            } => {
                write!(f, "heartbeat reply round={}", round.0)?;
                if *priority > 0 {
                    write!(f, " priority={priority}")?;
                }
                match session {
                    Some(session) => write!(f, " commit={commit} session={session}"),
                    None => Ok(()),
                }
            }
            Self::Sleep { last, commit, session } => write!(f, "sleep last={last} commit={commit} session={session}"),
            Self::Resigned => write!(f, "resigned"),
            Self::ResignedAck => write!(f, "resigned, heard"),
            Self::TimeoutNow => write!(f, "timeout now"),
            Self::ReadIndex { .. } => write!(f, "read index?"),
            Self::ReadIndexIs { index, .. } => write!(f, "read index is {index}"),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vote { last, transfer: false } => write!(f, "vote last={last}"),
            Self::Vote { last, transfer: true } => write!(f, "vote last={last} (transfer)"),
            Self::VoteGranted => write!(f, "vote granted"),
            Self::AppendAccepted { matched, session } => {
                write!(f, "append accepted matched={matched}")?;
                match session {
                    Some(session) => write!(f, " session={session}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// `#3 term=4 vote=n1 [7@4:put], then 2 messages`.
impl fmt::Display for Persist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.seq.0)?;
        if let Some(hard) = self.hard_state {
            write!(f, " term={}", hard.term.0)?;
            if let Some(vote) = hard.vote {
                write!(f, " vote={vote}")?;
            }
        }
        match self.base {
            Some(LogBase::Compacted(id)) => write!(f, " compacted={id}")?,
            Some(LogBase::Installed(id)) => write!(f, " installed={id}")?,
            None => {}
        }
        if !self.entries.is_empty() {
            write!(f, " {}", List(&self.entries))?;
        }
        match self.then.len() {
            0 => Ok(()),
            1 => write!(f, ", then 1 message"),
            count => write!(f, ", then {count} messages"),
        }
    }
}

impl fmt::Display for Proposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended { first, term } => write!(f, "appended from {first}@{}", term.0),
            Self::NotLeader { leader: Some(leader) } => write!(f, "not leader, {leader} is"),
            Self::NotLeader { leader: None } => write!(f, "not leader, none known"),
        }
    }
}

impl fmt::Display for ReadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { index } => write!(f, "ready at {index}"),
            Self::NotLeader { leader: Some(leader) } => write!(f, "not leader, {leader} is"),
            Self::NotLeader { leader: None } => write!(f, "not leader, none known"),
        }
    }
}

impl fmt::Display for TransferOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandedOver { to } => write!(f, "handed over to {to}"),
            Self::TimedOut => write!(f, "timed out"),
            Self::SteppedDown => write!(f, "stepped down"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for ChangeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { index, membership } => write!(f, "done at {index}: {membership}"),
            Self::Abandoned => write!(f, "abandoned"),
            Self::SteppedDown { leader: Some(leader) } => write!(f, "stepped down, {leader} leads"),
            Self::SteppedDown { leader: None } => write!(f, "stepped down"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => write!(f, "not leader, {leader} is"),
            Self::NotLeader { leader: None } => write!(f, "not leader, none known"),
            Self::NotReady => write!(f, "nothing is committed in this term yet"),
            Self::Busy => write!(f, "another change is under way"),
            Self::NotPreparing => write!(f, "no change is preparing"),
            Self::Transferring => write!(f, "leadership is being transferred"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for TransferRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => write!(f, "not leader, {leader} is"),
            Self::NotLeader { leader: None } => write!(f, "not leader, none known"),
            Self::NotVoter => write!(f, "not a voter"),
            Self::Busy => write!(f, "another transfer is under way"),
            Self::NoSuccessor => write!(f, "no voter was heard of lately"),
        }
    }
}
