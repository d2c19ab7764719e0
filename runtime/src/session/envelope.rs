//! What stands between the stamp and the command in the log.
//!
//! ```text
//! kind (1 byte) | what the kind needs
//!   0 plain
//!   1 command          session (8 bytes) | number | number minus floor
//!   2 opening command  session | number | number minus floor | limits
//!   3 open             session | limits
//!   4 close            session
//!   5 resolve          session | number
//! ```
//!
//! Numbers and limits (in the order of [`SessionLimits`]'s fields) are varints, the session is little
//! endian. Only kinds 0 to 2 have a command.

use super::{RequestId, SessionId, SessionLimits};

/// Room for most envelopes, in bytes: a kind, a session, two varints of up to 42 and 35 bits.
pub(crate) const ENVELOPE_ROOM: usize = 20;

/// No envelope is larger, in bytes.
const LARGEST: usize = 1 + 8 + 6 * 10;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// A command of no session: applied as often as it is in the log.
    Plain,
    /// A command of a session; with limits, it opens the session if that is not there.
    Command {
        request: RequestId,
        opens: Option<SessionLimits>,
    },
    Open(SessionId, SessionLimits),
    Close(SessionId),
    /// What became of a request? If nothing, then nothing will.
    Resolve(SessionId, u64),
}

impl Envelope {
    /// As bytes.
    pub(crate) fn encode(&self) -> Encoded {
        let mut out = Encoded {
            bytes: [0; LARGEST],
            len: 0,
        };
        match self {
            Self::Plain => out.push(0),
            Self::Command { request, opens } => {
                out.push(if opens.is_some() { 2 } else { 1 });
                out.session(request.session);
                out.varint(request.number);
                out.varint(request.number.saturating_sub(request.floor));
                if let Some(limits) = opens {
                    out.limits(limits);
                }
            }
            Self::Open(session, limits) => {
                out.push(3);
                out.session(*session);
                out.limits(limits);
            }
            Self::Close(session) => {
                out.push(4);
                out.session(*session);
            }
            Self::Resolve(session, number) => {
                out.push(5);
                out.session(*session);
                out.varint(*number);
            }
        }
        out
    }

    /// Splits an envelope off what follows it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), postcard::Error> {
        let mut input = Input(bytes);
        let envelope = match input.byte()? {
            0 => Self::Plain,
            kind @ (1 | 2) => {
                let session = input.session()?;
                let number = input.varint()?;
                let floor = number.saturating_sub(input.varint()?);
                let request = RequestId { session, number, floor };
                let opens = if kind == 2 { Some(input.limits()?) } else { None };
                Self::Command { request, opens }
            }
            3 => Self::Open(input.session()?, input.limits()?),
            4 => Self::Close(input.session()?),
            5 => Self::Resolve(input.session()?, input.varint()?),
            _ => return Err(postcard::Error::DeserializeBadEnum),
        };
        Ok((envelope, input.0))
    }

    /// The request that it is about, if any.
    pub(crate) fn request(&self) -> Option<RequestId> {
        match *self {
            Self::Command { request, .. } => Some(request),
            Self::Resolve(session, number) => Some(RequestId {
                session,
                number,
                floor: number,
            }),
            Self::Plain | Self::Open(..) | Self::Close(_) => None,
        }
    }
}

/// An envelope's bytes, without an allocation.
pub(crate) struct Encoded {
    bytes: [u8; LARGEST],
    len: usize,
}

impl Encoded {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn session(&mut self, session: SessionId) {
        for byte in session.0.to_le_bytes() {
            self.push(byte);
        }
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = (value & 0x7f).to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.push(low);
            }
            self.push(low | 0x80);
        }
    }

    fn limits(&mut self, limits: &SessionLimits) {
        let SessionLimits {
            idle_ms,
            sessions_max,
            responses_max,
            bytes_max,
        } = *limits;
        [idle_ms, sessions_max, responses_max, bytes_max]
            .into_iter()
            .for_each(|limit| self.varint(limit));
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, postcard::Error> {
        let (byte, rest) = self.0.split_first().ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn session(&mut self) -> Result<SessionId, postcard::Error> {
        let (id, rest) = self
            .0
            .split_first_chunk()
            .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.0 = rest;
        Ok(SessionId(u64::from_le_bytes(*id)))
    }

    fn varint(&mut self) -> Result<u64, postcard::Error> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if (low << shift) >> shift != low {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(postcard::Error::DeserializeBadVarint)
    }

    fn limits(&mut self) -> Result<SessionLimits, postcard::Error> {
        Ok(SessionLimits {
            idle_ms: self.varint()?,
            sessions_max: self.varint()?,
            responses_max: self.varint()?,
            bytes_max: self.varint()?,
        })
    }
}
