//! Commands typed by hand (`SET greeting "hello world"`), as telnet and health checks send them.

use bytes::{Bytes, BytesMut};

/// Splits `line` at blanks into `arguments`. Words may be quoted as in Redis: `"…"` knows the escapes `\n \r \t \b \a
/// \xHH`, `'…'` only `\'`. `None` if a quote is left open or is not followed by a blank.
pub(super) fn split(line: &[u8], arguments: &mut Vec<Bytes>) -> Option<()> {
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = BytesMut::new();
        rest = take_word(rest, &mut word)?.trim_ascii_start();
        arguments.push(word.freeze());
    }
    Some(())
}

/// Moves the word at the front of `rest` to `word` and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut BytesMut) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [byte, ..] if byte.is_ascii_whitespace() => return Some(rest),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                let tail = take_quoted(*quote, tail, word)?;
                return match tail.first() {
                    None => Some(tail),
                    Some(byte) if byte.is_ascii_whitespace() => Some(tail),
                    Some(_) => None,
                };
            }
            [byte, tail @ ..] => {
                word.extend_from_slice(&[*byte]);
                rest = tail;
            }
        }
    }
}

/// Moves what stands before the closing `quote` to `word` and returns what follows the quote.
fn take_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut BytesMut) -> Option<&'a [u8]> {
    loop {
        let byte;
        (byte, rest) = match rest {
            [] => return None,
            [closing, tail @ ..] if *closing == quote => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), tail)
            }
            [b'\\', escaped, tail @ ..] if quote == b'"' => (unescape(*escaped), tail),
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => (b'\'', tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.extend_from_slice(&[byte]);
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}
