//! The part of a group's actor that has to do with elections: when it may campaign.

use super::group_actor::GroupActor;
use raftyard_groups::{Input, Moment, Outlook, RoleKind, Sessions};

/// How long a replica that shall lead from the start pauses before it asks for it again, twice as long each time.
const FIRST_CAMPAIGN_PAUSE_MS: u64 = 100;

/// Whether a replica that wants to campaign may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidacy {
    /// It did not ask.
    None,
    /// It stands in line: it has no deadline for that.
    InLine,
    /// Its election is under way, and counts as one of those that are at once.
    Running,
}

/// A replica that shall lead from the start. Its peers may not run the group yet, or not be connected: until an election timeout
/// is over, by which anybody would ask, it asks again and again. (It only asks whether it would be elected, which disturbs
/// nobody.)
pub(super) struct FirstCampaign {
    next: Moment,
    /// Counted from the first time that it asked.
    until: Option<Moment>,
    pause_ms: u64,
}

impl FirstCampaign {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            next: now,
            until: None,
            pause_ms: FIRST_CAMPAIGN_PAUSE_MS,
        }
    }
}

impl GroupActor {
    /// Time has passed: if that makes it campaign, it may have to wait for others.
    pub(super) fn tick_or_campaign(&mut self, is_ticked: bool, now: Moment, sessions: &Sessions) -> Option<Input> {
        let is_first = self.is_first_campaign_due(now);
        let wants = is_first || (is_ticked && self.core.wants_to_campaign(now, sessions));
        if wants {
            if !self.may_campaign(is_first, now, sessions) {
                return None;
            }
            self.shared.counters.campaigns.add(1);
        }
        if let Some(first) = self.first_campaign.as_mut().filter(|_| is_first) {
            first.next = now.plus(first.pause_ms);
            first.pause_ms *= 2;
            let timeout = self.core.tuning().election_timeout_ms;
            first.until.get_or_insert(now.plus(timeout));
            return Some(Input::Campaign);
        }
        is_ticked.then_some(Input::Tick)
    }

    /// It stood in line, and is the next. What it hoped for may be over.
    pub(super) fn called_to_campaign(&mut self, is_hopeful: bool, sessions: &Sessions) {
        self.candidacy = Candidacy::Running;
        if is_hopeful && self.core.outlook(sessions) != Outlook::Good {
            self.shared.elections.borrow_mut().leave(self.position);
            self.candidacy = Candidacy::None;
        }
    }

    /// Whether it is its turn among those of its worker that want to campaign.
    fn may_campaign(&mut self, is_first: bool, now: Moment, sessions: &Sessions) -> bool {
        if self.candidacy != Candidacy::InLine {
            let outlook = self.core.outlook(sessions);
            let may = self
                .shared
                .elections
                .borrow_mut()
                .enter(self.position, is_first, outlook, now);
            self.candidacy = if may { Candidacy::Running } else { Candidacy::InLine };
        }
        self.candidacy == Candidacy::Running
    }

    /// Whether what it stood in line for, or campaigned for, is decided: it follows, or leads and committed that, or
    /// has to wait for another time.
    pub(super) fn conclude_election(&mut self, now: Moment, sessions: &Sessions) {
        let is_over = match self.core.role() {
            RoleKind::Leader => self.core.commit() == self.core.last().index,
            RoleKind::Follower => {
                let is_first = self.first_campaign.as_ref().is_some_and(|first| first.next <= now);
                !is_first && !self.core.wants_to_campaign(now, sessions)
            }
            RoleKind::PreCandidate | RoleKind::Candidate => false,
        };
        if is_over && self.candidacy != Candidacy::None {
            if self.candidacy == Candidacy::Running {
                self.shared.elections.borrow_mut().leave(self.position);
            }
            self.candidacy = Candidacy::None;
        }
    }

    /// Whether it is time for the next try of a first campaign, and that still makes sense.
    fn is_first_campaign_due(&mut self, now: Moment) -> bool {
        let Some(first) = self.first_campaign.as_mut() else {
            return false;
        };
        let is_asking = matches!(self.core.role(), RoleKind::Follower | RoleKind::PreCandidate);
        if self.core.leader().is_some() || !is_asking || first.until.is_some_and(|until| now > until) {
            self.first_campaign = None;
            return false;
        }
        now >= first.next
    }

    /// When time may make it campaign, or do what else the core does by time.
    pub(super) fn core_deadline(&self) -> Option<Moment> {
        let patient = self.core.patient_deadline();
        let first = self.first_campaign.as_ref().map(|first| first.next);
        // Who stands in line is given a turn when it may campaign.
        (self.candidacy != Candidacy::InLine).then(|| first.map_or(patient, |first| first.min(patient)))
    }
}
