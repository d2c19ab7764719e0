//! What stands in front of a command in the log, for fuzzers.

use super::{Envelope, RequestId, SessionId, SessionLimits};
use crate::fuzzing::{Target, cuts};

/// An envelope.
pub(crate) const ENVELOPE: Target = Target {
    name: "envelope",
    read: |data| Envelope::decode(data).is_ok(),
    check,
    samples,
};

fn check(data: &[u8]) {
    let Ok((envelope, rest)) = Envelope::decode(data) else {
        return;
    };
    let written = envelope.encode();
    let again = Envelope::decode(written.as_bytes());
    assert_eq!(again, Ok((envelope, &[][..])), "not as it was written");
    let len = data.len() - rest.len();
    for cut in cuts(len) {
        assert!(
            Envelope::decode(data.split_at(cut).0).is_err(),
            "a part of it was taken"
        );
    }
}

fn samples() -> Vec<Vec<u8>> {
    let session = SessionId(0x0102_0304_0506_0708);
    let limits = SessionLimits::default();
    let request = RequestId {
        session,
        number: 300,
        floor: 200,
    };
    let envelopes = [
        Envelope::Plain,
        Envelope::Command { request, opens: None },
        Envelope::Command {
            request,
            opens: Some(limits),
        },
        Envelope::Open(session, limits),
        Envelope::Close(session),
        Envelope::Resolve(session, 300),
    ];
    let written = envelopes.map(|envelope| [envelope.encode().as_bytes(), b"command"].concat());
    written.to_vec()
}
