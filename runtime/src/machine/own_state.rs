//! What the runtime itself replicates beside a state machine's state: the group's time, and its sessions. An
//! entry says in its envelope what it means for them, and whether its command is to be applied.

use super::{Answer, MachineError, unseal};
use crate::error::ProposeError;
use crate::session::{Admission, Envelope, Kept, RequestId, Sessions};
use crate::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;

/// How the outcome of [`Envelope::Resolve`] is answered: a byte, and after [`APPLIED`] the answer.
pub(crate) const NOT_APPLIED: u8 = 0;
pub(crate) const FORGOTTEN: u8 = 1;
pub(crate) const APPLIED: u8 = 2;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct OwnState {
    /// The time of the last entry.
    pub(super) now: Timestamp,
    pub(super) sessions: Sessions,
}

impl OwnState {
    /// Applies an entry, its command with `run`. An error says that the state may be anything.
    pub(super) fn apply<C: DeserializeOwned, R: Serialize>(
        &mut self,
        entry: &[u8],
        wanted: bool,
        run: impl FnOnce(C, Timestamp) -> io::Result<R>,
    ) -> Result<Option<Answer>, MachineError> {
        let (stamp, envelope, command) = unseal(entry)?;
        let command = match envelope {
            Envelope::Plain | Envelope::Command { .. } => Some(decode(command)?),
            Envelope::Open(..) | Envelope::Close(_) | Envelope::Resolve(..) => None,
        };
        // Leaders' clocks differ. The group's time never goes back.
        self.now = self.now.max(stamp);
        self.sessions.pass(self.now);
        Ok(match (envelope, command) {
            (Envelope::Command { request, opens }, Some(command)) => {
                match self.sessions.admit(request, opens, self.now) {
                    Admission::New => {
                        let response = run(command, self.now)?;
                        self.keep(request, &response, wanted)
                    }
                    admission => wanted.then(|| known(&admission)).flatten(),
                }
            }
            (Envelope::Open(session, limits), _) => {
                let session = self.sessions.open(session, limits, self.now);
                wanted.then(|| Ok(session.0.to_le_bytes().to_vec()))
            }
            (Envelope::Close(session), _) => {
                self.sessions.close(session);
                wanted.then(|| Ok(Vec::new()))
            }
            (Envelope::Resolve(session, number), _) => {
                let admission = self.sessions.resolve(session, number, self.now);
                wanted.then(|| resolution(&admission))
            }
            (_, Some(command)) => {
                let response = run(command, self.now)?;
                wanted.then(|| postcard::to_stdvec(&response).map_err(|error| unusable(&error)))
            }
            (_, None) => None,
        })
    }

    /// Keeps what a command of a session answered: on every replica, since any of them may be asked for it
    /// next.
    fn keep<R: Serialize>(&mut self, request: RequestId, response: &R, wanted: bool) -> Option<Answer> {
        let (kept, answer) = match Kept::answer(response) {
            Ok(kept) => {
                let answer = wanted.then(|| answer_of(&kept));
                (kept, answer)
            }
            Err(error) => (Kept::Unusable, wanted.then(|| Err(unusable(&error)))),
        };
        self.sessions.keep(request, kept);
        answer
    }

    /// What this request of a session was answered.
    pub(super) fn recall(&self, request: RequestId) -> Answer {
        known(&self.sessions.recall(request)).unwrap_or(Err(ProposeError::Dropped))
    }
}

fn decode<C: DeserializeOwned>(bytes: &[u8]) -> Result<C, postcard::Error> {
    let (command, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(command)
    } else {
        // A command of another type, whose beginning happens to make sense.
        Err(postcard::Error::SerdeDeCustom)
    }
}

fn unusable(error: &postcard::Error) -> ProposeError {
    ProposeError::UndecodableResponse(error.to_string())
}

/// What is kept of a request, as its answer.
fn answer_of(kept: &Kept) -> Answer {
    match kept {
        Kept::Small(..) | Kept::Large(_) => Ok(kept.bytes().unwrap_or_default().to_vec()),
        Kept::Unusable => Err(ProposeError::UndecodableResponse("it can't be serialised".to_owned())),
        Kept::Fenced => Err(ProposeError::Fenced),
        Kept::Nothing => Err(ProposeError::Dropped),
    }
}

/// Why a request of a session is not applied, or what it was answered before; `None` for one that is new.
fn known(admission: &Admission) -> Option<Answer> {
    match admission {
        Admission::New => None,
        Admission::Known(kept) => Some(answer_of(kept)),
        Admission::NoSession => Some(Err(ProposeError::SessionExpired)),
        Admission::Forgotten => Some(Err(ProposeError::RequestForgotten)),
        Admission::Full => Some(Err(ProposeError::SessionFull)),
    }
}

/// What became of a request, for who resolves it.
fn resolution(admission: &Admission) -> Answer {
    match admission {
        Admission::Known(Kept::Fenced) => Ok(vec![NOT_APPLIED]),
        Admission::NoSession | Admission::Forgotten => Ok(vec![FORGOTTEN]),
        Admission::Full => Err(ProposeError::SessionFull),
        Admission::New => Err(ProposeError::Dropped),
        Admission::Known(kept) => {
            let mut answer = answer_of(kept)?;
            answer.insert(0, APPLIED);
            Ok(answer)
        }
    }
}
