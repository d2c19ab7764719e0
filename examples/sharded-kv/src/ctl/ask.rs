//! One question to one node.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::CtlError;
use crate::address::HostPort;
use crate::dial::Dial;
use crate::resp::{Reply, ReplyParser, encode_command};

/// For an answer that needs nothing but the node itself.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);

/// A line of an answer, `name=value …`, taken apart.
pub(super) type Fields = BTreeMap<String, String>;

/// Puts one command of `RAFTYARD ADMIN` to a node.
pub(super) async fn ask(
    dial: &Dial,
    address: &HostPort,
    words: &[String],
    patience: Duration,
) -> Result<Reply, CtlError> {
    let failed = |source| CtlError::Io {
        address: address.clone(),
        source,
    };
    let silence = || CtlError::Silence {
        address: address.clone(),
    };
    let connected = timeout(CONNECT, dial.connect(address)).await.map_err(|_| silence())?;
    let mut socket = connected.map_err(failed)?;
    let head = ["RAFTYARD", "ADMIN"].map(|word| Bytes::from_static(word.as_bytes()));
    let words = words.iter().map(|word| Bytes::from(word.clone()));
    let arguments: Vec<Bytes> = head.into_iter().chain(words).collect();
    let mut buffer = BytesMut::new();
    let introduction = dial.introduction();
    if let Some(introduction) = &introduction {
        encode_command(introduction, &mut buffer);
    }
    encode_command(&arguments, &mut buffer);
    socket.write_all(&buffer).await.map_err(failed)?;
    socket.flush().await.map_err(failed)?;
    buffer.clear();
    let mut parser = ReplyParser::default();
    // A password that is wrong, or too much, is answered first: that is what the operator has to know.
    let mut is_introduced = introduction.is_none();
    let answer = async {
        loop {
            let parsed = parser.next(&mut buffer).map_err(|source| CtlError::Unreadable {
                address: address.clone(),
                source,
            })?;
            match parsed {
                Some((reply, _)) if reply == Reply::OK && !is_introduced => {
                    is_introduced = true;
                    continue;
                }
                Some((reply, _)) => return Ok(reply),
                None => {}
            }
            if socket.read_buf(&mut buffer).await.map_err(failed)? == 0 {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    };
    match timeout(patience, answer).await.map_err(|_| silence())?? {
        Reply::Error(text) => Err(CtlError::Refused {
            address: address.clone(),
            text,
        }),
        reply => Ok(reply),
    }
}

/// What a line says, as `name=value name=value`.
pub(super) fn fields(line: &str) -> Fields {
    let fields = line.split(' ').filter_map(|field| field.split_once('='));
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The lines that answer `word`, a command of `RAFTYARD ADMIN` that needs no more.
pub(super) async fn lines(dial: &Dial, address: &HostPort, word: &str) -> Result<Vec<Fields>, CtlError> {
    let odd = |reply| CtlError::Odd {
        address: address.clone(),
        reply,
    };
    let lines = match ask(dial, address, &[word.to_owned()], ANSWER).await? {
        Reply::Array(lines) => lines,
        other => return Err(odd(other)),
    };
    let taken_apart = lines.into_iter().map(|line| match line {
        Reply::Bulk(line) => Ok(fields(&String::from_utf8_lossy(&line))),
        other => Err(odd(other)),
    });
    taken_apart.collect()
}
