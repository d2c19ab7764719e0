//! Finds the replies in what another server has answered: the counterpart of [`Reply::encode`], for both versions of the
//! protocol.
//!
//! What is understood leaves the buffer at once, so that a large reply in many pieces costs each byte one look. Memory is
//! bound by what was received, never by what a length or a count claims.

use bytes::{Buf, Bytes, BytesMut};

use super::Reply;
use super::parser::{MAX_ARGUMENTS, MAX_BULK_BYTES, integer};

/// Longest reply, in bytes with its framing.
const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;

/// Longest line, in bytes: an error or a status.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Arrays within arrays at most.
const MAX_DEPTH: usize = 8;

/// What a server sent that is no reply, or one too large. The connection can't be resynchronised and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("a reply can't begin with '{}'", .0.escape_ascii())]
    Kind(u8),
    #[error("invalid line")]
    Line,
    #[error("invalid number")]
    Number,
    #[error("invalid bulk length")]
    BulkLength,
    #[error("invalid count of items")]
    Count,
    #[error("expected CRLF after a bulk string")]
    BulkEnd,
    #[error("a text that is not \"txt:\" and UTF-8")]
    Text,
    #[error("arrays nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("reply larger than {MAX_REPLY_BYTES} bytes")]
    TooLarge,
}

/// What is known of the reply at the front of the buffer.
#[derive(Debug, Default)]
pub(crate) struct ReplyParser {
    /// The arrays, sets and maps that are being received, the outermost first.
    open: Vec<Open>,
    /// The string that is being received, once its length was read.
    string: Option<(StringKind, usize)>,
    /// Everything before it holds no end of the line at the front.
    scanned: usize,
    /// Bytes of this reply that have left the buffer.
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringKind {
    Bulk,
    Verbatim,
}

#[derive(Debug)]
enum OpenKind {
    Array,
    Set,
    Map,
}

#[derive(Debug)]
struct Open {
    kind: OpenKind,
    /// Items still to come; a pair of a map counts as two.
    missing: usize,
    items: Vec<Reply>,
}

/// What a line or a string turned out to be.
enum Part {
    Whole(Reply),
    /// The head of something that more must follow.
    Head,
}

impl ReplyParser {
    /// Takes the first complete reply off `buffer`, with its length in bytes. `None`: more bytes are needed. After an error
    /// the connection must close.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<(Reply, usize)>, ReplyError> {
        loop {
            let part = match self.string {
                Some((kind, length)) => self.string(kind, length, buffer)?,
                None => self.line(buffer)?,
            };
            match part {
                None if self.bytes + buffer.len() > MAX_REPLY_BYTES => return Err(ReplyError::TooLarge),
                None => return Ok(None),
                Some(Part::Head) => {}
                Some(Part::Whole(reply)) => {
                    if let Some(reply) = self.close(reply) {
                        return Ok(Some((reply, std::mem::take(&mut self.bytes))));
                    }
                }
            }
        }
    }

    /// Puts `reply` into the innermost open aggregate, and that one into the next if it is complete by now. Returns what is
    /// in none.
    fn close(&mut self, mut reply: Reply) -> Option<Reply> {
        while let Some(open) = self.open.last_mut() {
            open.items.push(reply);
            open.missing -= 1;
            if open.missing > 0 {
                return None;
            }
            reply = self.open.pop()?.finish();
        }
        Some(reply)
    }

    /// Reads a line. `None`: it is not complete.
    fn line(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, ReplyError> {
        let fresh = buffer.get(self.scanned..).unwrap_or_default();
        let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.scanned = buffer.len();
            return if self.scanned > MAX_LINE_BYTES {
                Err(ReplyError::Line)
            } else {
                Ok(None)
            };
        };
        let line = self.take(self.scanned + end + 1, buffer)?;
        self.scanned = 0;
        let line = line.strip_suffix(b"\r\n").ok_or(ReplyError::Line)?;
        let (kind, rest) = line.split_first().ok_or(ReplyError::Line)?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let reply = match kind {
            b'+' => Reply::Status(text().into()),
            b'-' => Reply::Error(text()),
            b':' => Reply::Integer(integer(rest).ok_or(ReplyError::Number)?),
            b'_' if rest.is_empty() => Reply::Null,
            b'$' | b'*' if rest == b"-1" => Reply::Null,
            b'$' => return self.begin_string(StringKind::Bulk, rest).map(Some),
            b'=' => return self.begin_string(StringKind::Verbatim, rest).map(Some),
            b'*' => return self.begin_aggregate(OpenKind::Array, rest).map(Some),
            b'~' => return self.begin_aggregate(OpenKind::Set, rest).map(Some),
            b'%' => return self.begin_aggregate(OpenKind::Map, rest).map(Some),
            other => return Err(ReplyError::Kind(*other)),
        };
        Ok(Some(Part::Whole(reply)))
    }

    fn begin_string(&mut self, kind: StringKind, digits: &[u8]) -> Result<Part, ReplyError> {
        let length = count(digits)
            .filter(|length| *length <= MAX_BULK_BYTES)
            .ok_or(ReplyError::BulkLength)?;
        self.string = Some((kind, length));
        Ok(Part::Head)
    }

    fn begin_aggregate(&mut self, kind: OpenKind, digits: &[u8]) -> Result<Part, ReplyError> {
        let count = count(digits)
            .filter(|count| *count <= MAX_ARGUMENTS)
            .ok_or(ReplyError::Count)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(ReplyError::TooDeep);
        }
        let open = Open {
            missing: match kind {
                OpenKind::Map => count * 2,
                OpenKind::Array | OpenKind::Set => count,
            },
            kind,
            items: Vec::new(),
        };
        if open.missing == 0 {
            return Ok(Part::Whole(open.finish()));
        }
        self.open.push(open);
        Ok(Part::Head)
    }

    /// Reads a string of `length` bytes and the CRLF after it. `None`: it is not complete.
    fn string(&mut self, kind: StringKind, length: usize, buffer: &mut BytesMut) -> Result<Option<Part>, ReplyError> {
        if buffer.len() < length + 2 {
            return Ok(None);
        }
        let bytes = self.take(length, buffer)?;
        if !buffer.starts_with(b"\r\n") {
            return Err(ReplyError::BulkEnd);
        }
        buffer.advance(2);
        self.bytes += 2;
        self.string = None;
        let reply = match kind {
            StringKind::Bulk => Reply::Bulk(bytes),
            StringKind::Verbatim => {
                let text = bytes.strip_prefix(b"txt:").ok_or(ReplyError::Text)?;
                Reply::Verbatim(String::from_utf8(text.to_vec()).map_err(|_| ReplyError::Text)?)
            }
        };
        Ok(Some(Part::Whole(reply)))
    }

    fn take(&mut self, length: usize, buffer: &mut BytesMut) -> Result<Bytes, ReplyError> {
        self.bytes += length;
        if self.bytes > MAX_REPLY_BYTES {
            return Err(ReplyError::TooLarge);
        }
        Ok(buffer.split_to(length).freeze())
    }
}

impl Open {
    fn finish(self) -> Reply {
        match self.kind {
            OpenKind::Array => Reply::Array(self.items),
            OpenKind::Set => Reply::Set(self.items),
            OpenKind::Map => {
                let mut items = self.items.into_iter();
                let pairs = std::iter::from_fn(|| items.next().zip(items.next()));
                Reply::Map(pairs.collect())
            }
        }
    }
}

fn count(digits: &[u8]) -> Option<usize> {
    integer(digits).and_then(|count| usize::try_from(count).ok())
}

#[cfg(test)]
mod tests;
