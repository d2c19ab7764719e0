//! Finds the commands in what a connection has received.
//!
//! The parser never copies an argument: a complete command is split off the read buffer and its arguments are
//! slices of it. What it learnt of an incomplete command (offsets, never bytes) is kept between calls, so
//! that a command that arrives in many small pieces costs each byte one look.
//!
//! Memory is bound by what was received, never by what a length field claims: nothing is reserved for
//! a declared count or length, and both are refused above their limit as soon as they are read.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::inline;

/// Longest argument, in bytes. Redis takes 512 MiB; here a write is one log entry that is fsynced and sent to every
/// replica in one piece, beside the entries of all other groups of the node, so values stay small.
pub(crate) const MAX_BULK_BYTES: usize = 8 * 1024 * 1024;

/// Longest command, in bytes with its framing: what one connection can make the node hold for it.
const MAX_COMMAND_BYTES: usize = 16 * 1024 * 1024;

/// Most arguments of a command. Redis takes 1,048,576.
pub(super) const MAX_ARGUMENTS: usize = 64 * 1024;

/// Longest inline command, in bytes (as in Redis).
const MAX_INLINE_BYTES: usize = 64 * 1024;

/// Longest line that holds a count or a length, in bytes. The longest that can be valid has 8.
const MAX_HEADER_BYTES: usize = 32;

/// What a client that has not said the password yet may send: longest argument, and most arguments (as in Redis).
const STRANGERS_BULK_BYTES: usize = 16 * 1024;
const STRANGERS_ARGUMENTS: usize = 10;

/// What a client sent that is not RESP. The text is Redis's, sent after `ERR Protocol error: `; the connection
/// can't be resynchronised and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("invalid multibulk length")]
    ArgumentCount,
    #[error("too big mbulk count string")]
    ArgumentCountLine,
    #[error("invalid bulk length")]
    BulkLength,
    #[error("too big bulk count string")]
    BulkLengthLine,
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    NotABulk(u8),
    #[error("expected CRLF after a bulk string")]
    BulkEnd,
    #[error("command larger than {MAX_COMMAND_BYTES} bytes")]
    CommandTooLarge,
    #[error("too big inline request")]
    InlineTooLarge,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("unauthenticated multibulk length")]
    StrangersArgumentCount,
    #[error("unauthenticated bulk length")]
    StrangersBulkLength,
}

/// What is known of the command at the front of the buffer. All offsets count from the buffer's first byte.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// Arguments still to come, once the `*` line was read.
    missing: Option<usize>,
    /// Length of the argument that is being received, once its `$` line was read.
    bulk: Option<usize>,
    /// The arguments that were received whole.
    arguments: Vec<Range<usize>>,
    /// Everything before it is understood.
    cursor: usize,
    /// Everything before it holds no end of the line that starts at `cursor`.
    scanned: usize,
    /// The client has not said the password yet: it may send little.
    is_strangers: bool,
}

impl Parser {
    /// Says whether the client whose commands come next has still to say the password.
    pub(crate) fn set_strangers(&mut self, is_strangers: bool) {
        self.is_strangers = is_strangers;
    }

    /// Takes the first complete command off `buffer` and leaves its arguments in `arguments` (at least one; what
    /// was in there is gone). `false`: more bytes are needed. Empty commands (`\r\n`, `*0\r\n`) are skipped, as
    /// Redis does. After an error the connection must close.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut, arguments: &mut Vec<Bytes>) -> Result<bool, ProtocolError> {
        arguments.clear();
        loop {
            if self.missing.is_none() {
                match buffer.first() {
                    None => return Ok(false),
                    Some(b'*') => {
                        if !self.argument_count(buffer)? {
                            return Ok(false);
                        }
                    }
                    Some(_) => {
                        if !self.inline(buffer, arguments)? {
                            return Ok(false);
                        }
                        if !arguments.is_empty() {
                            return Ok(true);
                        }
                    }
                }
                continue;
            }
            if !self.bulks(buffer)? {
                return Ok(false);
            }
            let command = buffer.split_to(self.cursor).freeze();
            arguments.extend(self.arguments.drain(..).map(|range| command.slice(range)));
            self.reset();
            return Ok(true);
        }
    }

    /// Reads the `*` line. `false`: it is not complete.
    fn argument_count(&mut self, buffer: &mut BytesMut) -> Result<bool, ProtocolError> {
        let Some(line) = self.header(buffer, ProtocolError::ArgumentCountLine)? else {
            return Ok(false);
        };
        let count = line.get(1..).and_then(integer).ok_or(ProtocolError::ArgumentCount)?;
        let end = self.cursor + line.len() + 2;
        if count <= 0 {
            buffer.advance(end);
            self.reset();
            return Ok(true);
        }
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= MAX_ARGUMENTS)
            .ok_or(ProtocolError::ArgumentCount)?;
        if self.is_strangers && count > STRANGERS_ARGUMENTS {
            return Err(ProtocolError::StrangersArgumentCount);
        }
        self.missing = Some(count);
        self.move_to(end);
        Ok(true)
    }

    /// Reads arguments until none is missing. `false`: more bytes are needed.
    fn bulks(&mut self, buffer: &BytesMut) -> Result<bool, ProtocolError> {
        while let Some(missing) = self.missing.filter(|missing| *missing > 0) {
            let length = match self.bulk {
                Some(length) => length,
                None => match self.bulk_length(buffer)? {
                    Some(length) => length,
                    None => return Ok(false),
                },
            };
            let end = self.cursor + length;
            let Some(terminator) = buffer.get(end..end + 2) else {
                return Ok(false);
            };
            if terminator != b"\r\n" {
                return Err(ProtocolError::BulkEnd);
            }
            self.arguments.push(self.cursor..end);
            self.missing = Some(missing - 1);
            self.bulk = None;
            self.move_to(end + 2);
        }
        Ok(true)
    }

    /// Reads a `$` line. `None`: it is not complete.
    fn bulk_length(&mut self, buffer: &BytesMut) -> Result<Option<usize>, ProtocolError> {
        match buffer.get(self.cursor) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::NotABulk(*other)),
        }
        let Some(line) = self.header(buffer, ProtocolError::BulkLengthLine)? else {
            return Ok(None);
        };
        let length = line
            .get(1..)
            .and_then(integer)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= MAX_BULK_BYTES)
            .ok_or(ProtocolError::BulkLength)?;
        if self.is_strangers && length > STRANGERS_BULK_BYTES {
            return Err(ProtocolError::StrangersBulkLength);
        }
        let start = self.cursor + line.len() + 2;
        if start + length + 2 > MAX_COMMAND_BYTES {
            return Err(ProtocolError::CommandTooLarge);
        }
        self.bulk = Some(length);
        self.move_to(start);
        Ok(Some(length))
    }

    /// The line at the cursor without its CRLF, or `None` if its end has not arrived.
    fn header<'a>(&mut self, buffer: &'a BytesMut, too_long: ProtocolError) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = buffer.get(self.cursor..).unwrap_or_default();
        let window = rest.get(..MAX_HEADER_BYTES).unwrap_or(rest);
        match window.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) => Ok(window.get(..end)),
            None if rest.len() >= MAX_HEADER_BYTES => Err(too_long),
            None => Ok(None),
        }
    }

    /// Reads a line typed by hand: words parted by blanks. `false`: it is not complete.
    fn inline(&mut self, buffer: &mut BytesMut, arguments: &mut Vec<Bytes>) -> Result<bool, ProtocolError> {
        let fresh = buffer.get(self.scanned..).unwrap_or_default();
        let end = fresh.iter().position(|byte| *byte == b'\n');
        let length = self.scanned + end.unwrap_or(fresh.len());
        let longest = if self.is_strangers {
            STRANGERS_BULK_BYTES
        } else {
            MAX_INLINE_BYTES
        };
        if length > longest {
            return Err(ProtocolError::InlineTooLarge);
        }
        if end.is_none() {
            self.scanned = length;
            return Ok(false);
        }
        let line = buffer.split_to(length + 1);
        self.reset();
        let line = line.get(..length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        inline::split(line, arguments).ok_or(ProtocolError::UnbalancedQuotes)?;
        if self.is_strangers && arguments.len() > STRANGERS_ARGUMENTS {
            return Err(ProtocolError::StrangersArgumentCount);
        }
        Ok(true)
    }

    fn move_to(&mut self, cursor: usize) {
        self.cursor = cursor;
        self.scanned = cursor;
    }

    fn reset(&mut self) {
        self.missing = None;
        self.bulk = None;
        self.arguments.clear();
        self.move_to(0);
    }
}

/// A decimal number as RESP writes it: digits, with at most a minus sign before them.
pub(super) fn integer(digits: &[u8]) -> Option<i64> {
    if digits.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
