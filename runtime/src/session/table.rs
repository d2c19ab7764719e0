//! What every replica of a group remembers of its sessions. Part of the replicated state: what is here
//! follows from the log alone, and so does what is forgotten, and when.

mod records;

use super::window::{Place, Window};
use super::{Kept, RequestId, SessionId, SessionLimits};
use crate::registry::IdMap;
use crate::time::Timestamp;
use records::Changes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Image", from = "Image")]
pub(crate) struct Sessions {
    limits: SessionLimits,
    /// Never iterated: their order would be another one on every replica.
    windows: IdMap<SessionId, Window>,
    /// All sessions in the order of their last use. Time never goes back, so this is the order of `last_use`.
    by_use: BTreeMap<u64, SessionId>,
    /// Counts changes of that order.
    uses: u64,
    /// Memory that all windows take.
    bytes: u64,
    /// No session expires before this time. (It may be later than that: only a hint that saves the look.)
    expiry: Timestamp,
    /// What changed since it was written down last, if it is.
    changes: Option<Box<Changes>>,
}

/// What is to be done with a command of a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new: to be applied, and its answer to be remembered.
    New,
    /// It was applied, or fenced.
    Known(Kept),
    /// The session is not there. Not applied.
    NoSession,
    /// Below the floor. Not applied.
    Forgotten,
    /// There is no room for its answer. Not applied.
    Full,
}

impl Sessions {
    /// What happened up to `now` is over: sessions that were not used for too long expire. To be called at
    /// every command, before anything else.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        if now < self.expiry {
            return;
        }
        while let Some((_, session)) = self.by_use.first_key_value() {
            let session = *session;
            if let Some(window) = self.windows.get(&session) {
                let expiry = window.last_use.plus(self.limits.idle_ms);
                if now < expiry {
                    self.expiry = expiry;
                    return;
                }
            }
            self.remove(session);
        }
        self.expiry = Timestamp(u64::MAX);
    }

    /// Opens a session, and takes over the limits of who opens it. Returns its name: the one that was asked
    /// for, or, should that be taken, the next.
    pub(crate) fn open(&mut self, mut session: SessionId, limits: SessionLimits, now: Timestamp) -> SessionId {
        while self.windows.contains_key(&session) {
            session.0 = session.0.wrapping_add(1);
        }
        self.insert(session, 1, limits, now);
        session
    }

    fn insert(&mut self, session: SessionId, floor: u64, limits: SessionLimits, now: Timestamp) {
        self.limits = limits;
        // There is a session that may expire earlier, and the limit may be another.
        self.expiry = Timestamp(0);
        self.uses += 1;
        self.by_use.insert(self.uses, session);
        let window = Window::new(floor, VecDeque::new(), now, self.uses);
        self.windows.insert(session, window);
        if let Some(changes) = &mut self.changes {
            changes.session(session);
        }
        self.make_room(session);
    }

    /// Forgets a session; returns whether it was there.
    pub(crate) fn close(&mut self, session: SessionId) -> bool {
        self.remove(session)
    }

    fn remove(&mut self, session: SessionId) -> bool {
        let Some(window) = self.windows.remove(&session) else {
            return false;
        };
        self.by_use.remove(&window.used);
        self.bytes -= window.bytes();
        if let Some(changes) = &mut self.changes {
            changes.session(session);
            changes.numbers(session, window.floor()..window.end());
        }
        true
    }

    /// The sessions that were not used for longest make room, but `current` does not.
    fn make_room(&mut self, current: SessionId) {
        while self.windows.len() as u64 > self.limits.sessions_max || self.bytes > self.limits.bytes_max {
            match self.by_use.first_key_value() {
                Some((_, oldest)) if *oldest != current => {
                    let oldest = *oldest;
                    self.remove(oldest);
                }
                _ => return,
            }
        }
    }

    /// A command of a session comes, and uses it. (Looked up once: this is done for every command.) If it opens the session,
    /// that begins with it, whatever its client waits for beside: what came before may have been applied in a session of
    /// the same name, which is forgotten.
    pub(crate) fn admit(&mut self, request: RequestId, opens: Option<SessionLimits>, now: Timestamp) -> Admission {
        if let Some(limits) = opens
            && !self.windows.contains_key(&request.session)
        {
            self.insert(request.session, request.number, limits, now);
        }
        let Some(window) = self.windows.get_mut(&request.session) else {
            return Admission::NoSession;
        };
        window.last_use = now;
        if window.used != self.uses {
            self.uses += 1;
            self.by_use.remove(&window.used);
            self.by_use.insert(self.uses, request.session);
            window.used = self.uses;
        }
        if let Some(changes) = &mut self.changes {
            changes.session(request.session);
            changes.numbers(request.session, window.floor()..request.floor.min(window.end()));
        }
        self.bytes -= window.bytes();
        window.forget_below(request.floor);
        self.bytes += window.bytes();
        let Place::At(offset) = window.place(request.number) else {
            return Admission::Forgotten;
        };
        match window.at(offset) {
            Kept::Nothing if offset >= self.limits.responses_max || window.bytes() >= self.limits.bytes_max => {
                Admission::Full
            }
            Kept::Nothing => Admission::New,
            kept => Admission::Known(kept.clone()),
        }
    }

    /// Keeps what a request that was admitted as new answered.
    pub(crate) fn keep(&mut self, request: RequestId, kept: Kept) {
        let Some(window) = self.windows.get_mut(&request.session) else {
            return;
        };
        let Place::At(offset) = window.place(request.number) else {
            return;
        };
        if let Some(changes) = &mut self.changes {
            changes.numbers(request.session, request.number..request.number.saturating_add(1));
        }
        self.bytes -= window.bytes();
        window.set(offset, kept);
        self.bytes += window.bytes();
        if self.bytes > self.limits.bytes_max {
            self.make_room(request.session);
        }
    }

    /// What became of a request. If nothing did, it is fenced: then nothing ever will.
    pub(crate) fn resolve(&mut self, session: SessionId, number: u64, now: Timestamp) -> Admission {
        let request = RequestId {
            session,
            number,
            // It moves no floor.
            floor: 0,
        };
        match self.admit(request, None, now) {
            Admission::New => {
                self.keep(request, Kept::Fenced);
                Admission::Known(Kept::Fenced)
            }
            admission => admission,
        }
    }

    /// What is kept of a request, without using its session.
    pub(crate) fn recall(&self, request: RequestId) -> Admission {
        let Some(window) = self.windows.get(&request.session) else {
            return Admission::NoSession;
        };
        match window.place(request.number) {
            Place::Forgotten => Admission::Forgotten,
            Place::At(offset) => match window.at(offset) {
                Kept::Nothing => Admission::New,
                kept => Admission::Known(kept.clone()),
            },
        }
    }
}

/// As it is in a snapshot: in the order of use.
#[derive(Serialize, Deserialize)]
struct Image {
    limits: SessionLimits,
    sessions: Vec<SessionImage>,
}

#[derive(Serialize, Deserialize)]
struct SessionImage {
    id: SessionId,
    last_use: Timestamp,
    floor: u64,
    kept: VecDeque<Kept>,
}

impl From<Sessions> for Image {
    fn from(sessions: Sessions) -> Self {
        let image = |id: &SessionId| {
            let window = sessions.windows.get(id)?;
            Some(SessionImage {
                id: *id,
                last_use: window.last_use,
                floor: window.floor(),
                kept: window.kept().clone(),
            })
        };
        Self {
            limits: sessions.limits,
            sessions: sessions.by_use.values().filter_map(image).collect(),
        }
    }
}

impl From<Image> for Sessions {
    fn from(image: Image) -> Self {
        let mut sessions = Self {
            limits: image.limits,
            ..Self::default()
        };
        for SessionImage {
            id,
            last_use,
            floor,
            kept,
        } in image.sessions
        {
            sessions.uses += 1;
            let window = Window::new(floor, kept, last_use, sessions.uses);
            sessions.bytes += window.bytes();
            sessions.by_use.insert(sessions.uses, id);
            sessions.windows.insert(id, window);
        }
        sessions
    }
}
