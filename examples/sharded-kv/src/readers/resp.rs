//! What clients say, and what servers answer.

use super::Reader;
use crate::resp::{Parser, Protocol, Reply, ReplyError, ReplyParser, encode_command};
use bytes::{Bytes, BytesMut};

/// A pipeline of commands.
pub const COMMANDS: Reader = Reader {
    name: "resp_commands",
    read: |data| {
        let read = commands(&[data], false);
        read.1.is_none()
    },
    check: check_commands,
    samples: || {
        let samples: [&[u8]; 5] = [
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n",
            b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n\r\n*0\r\n*-1\r\nGET k\r\n",
            b"SET greeting \"hello \\x41\\n\" 'it\\'s'\r\nPING\n",
            b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nEX\r\n$2\r\n10\r\n",
            b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n",
        ];
        samples.map(Vec::from).to_vec()
    },
};

/// Replies of both versions of the protocol.
pub const REPLIES: Reader = Reader {
    name: "resp_replies",
    read: |data| replies(&[data]).1.is_none(),
    check: check_replies,
    samples: || {
        let samples: [&[u8]; 4] = [
            b"+OK\r\n-ERR no\r\n:42\r\n$4\r\na\r\nb\r\n$-1\r\n*-1\r\n*0\r\n",
            b"*2\r\n:1\r\n*3\r\n+OK\r\n$0\r\n\r\n:-7\r\n",
            b"_\r\n=6\r\ntxt:hi\r\n~2\r\n:1\r\n:2\r\n%1\r\n$1\r\nk\r\n$1\r\nv\r\n",
            b"*1\r\n*1\r\n*1\r\n%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n",
        ];
        samples.map(Vec::from).to_vec()
    },
};

/// The commands in `pieces`, each handed over as it arrives, and the error that ended it.
fn commands(pieces: &[&[u8]], is_strangers: bool) -> (Vec<Vec<Bytes>>, Option<String>) {
    let (mut parser, mut buffer, mut arguments) = (Parser::default(), BytesMut::new(), Vec::new());
    parser.set_strangers(is_strangers);
    let mut commands = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next(&mut buffer, &mut arguments) {
                Ok(true) => commands.push(std::mem::take(&mut arguments)),
                Ok(false) => break,
                Err(error) => return (commands, Some(error.to_string())),
            }
        }
    }
    (commands, None)
}

fn check_commands(data: &[u8]) {
    let (whole, error) = commands(&[data], false);
    assert!(whole.iter().all(|command| !command.is_empty()), "a command of nothing");
    for len in [1, 7, data.len() / 2 + 1] {
        let pieces: Vec<_> = data.chunks(len).collect();
        let (some, failed) = commands(&pieces, false);
        assert_eq!(
            (&some, failed.is_some()),
            (&whole, error.is_some()),
            "in pieces of {len} it is something else"
        );
    }
    let mut written = BytesMut::new();
    for command in &whole {
        encode_command(command, &mut written);
    }
    assert_eq!(
        commands(&[&written], false),
        (whole.clone(), None),
        "not as it was written"
    );
    for cut in [data.len() / 3, data.len().saturating_sub(1)] {
        let (some, _) = commands(&[data.split_at(cut).0], false);
        assert!(whole.starts_with(&some), "a part holds what the whole does not");
    }
    let (some, _) = commands(&[data], true);
    assert!(whole.starts_with(&some), "a stranger's commands are others");
}

/// The replies in `pieces`, and the error that ended it.
fn replies(pieces: &[&[u8]]) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut parser, mut buffer, mut replies) = (ReplyParser::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next(&mut buffer) {
                Ok(Some((reply, _))) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fn written(replies: &[Reply], protocol: Protocol) -> BytesMut {
    let mut out = BytesMut::new();
    for reply in replies {
        reply.encode(protocol, &mut out);
    }
    out
}

fn check_replies(data: &[u8]) {
    let (whole, error) = replies(&[data]);
    for len in [1, 7, data.len() / 2 + 1] {
        let pieces: Vec<_> = data.chunks(len).collect();
        let (some, failed) = replies(&pieces);
        assert_eq!(
            (&some, failed.is_some()),
            (&whole, error.is_some()),
            "in pieces of {len} it is something else"
        );
    }
    // What only one version has becomes what the other has for it.
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let first = written(&whole, protocol);
        let (again, failed) = replies(&[&first]);
        assert_eq!((again.len(), failed), (whole.len(), None), "not as it was written");
        assert_eq!(written(&again, protocol), first, "not as it was written");
    }
    let (some, _) = replies(&[data.split_at(data.len() / 2).0]);
    assert!(whole.starts_with(&some), "a part holds what the whole does not");
}
