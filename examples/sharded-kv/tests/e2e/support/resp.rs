//! A small RESP client: one connection, blocking, written from the protocol's specification.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No reply takes longer unless something is broken.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Verbatim(String),
    /// `$-1` or `*-1`.
    Null2,
    /// `_`.
    Null3,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
}

impl Value {
    pub(crate) fn bulk(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    pub(crate) fn ok() -> Self {
        Self::Status("OK".into())
    }

    /// Whether it is an error that begins so.
    pub(crate) fn is_error(&self, beginning: &str) -> bool {
        matches!(self, Self::Error(error) if error.starts_with(beginning))
    }

    /// The text of a string of any kind.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Status(text) | Self::Verbatim(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }
}

/// Bytes, both ways.
pub(crate) trait Bytes: Read + Write + Send {}

impl<T: Read + Write + Send> Bytes for T {}

/// One connection.
pub(crate) struct Connection {
    reader: BufReader<Box<dyn Bytes>>,
}

impl Connection {
    pub(crate) fn open(address: &str) -> io::Result<Self> {
        Ok(Self::over(Box::new(Self::socket(address)?)))
    }

    pub(crate) fn socket(address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) fn over(bytes: Box<dyn Bytes>) -> Self {
        Self {
            reader: BufReader::new(bytes),
        }
    }

    /// Sends a command and returns its reply.
    pub(crate) fn command(&mut self, words: &[&str]) -> io::Result<Value> {
        self.send(&encode(words))?;
        self.receive()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Waits for a reply.
    pub(crate) fn receive(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end of a connection may come anywhere.
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        Ok(match kind {
            "+" => Value::Status(rest.into()),
            "-" => Value::Error(rest.into()),
            ":" => Value::Integer(number()),
            "_" => Value::Null3,
            "$" if number() < 0 => Value::Null2,
            "*" if number() < 0 => Value::Null2,
            "$" => Value::Bulk(self.bulk(number())?),
            "=" => {
                let bytes = self.bulk(number())?;
                let text = String::from_utf8(bytes).unwrap();
                Value::Verbatim(text.strip_prefix("txt:").unwrap().into())
            }
            "*" => Value::Array(self.items(number())?),
            "~" => Value::Set(self.items(number())?),
            "%" => {
                let pairs = (0..number()).map(|_| Ok((self.receive()?, self.receive()?)));
                Value::Map(pairs.collect::<io::Result<_>>()?)
            }
            _ => panic!("not RESP: {line:?}"),
        })
    }

    /// What is received until the server closes the connection.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn items(&mut self, count: i64) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.receive()).collect()
    }

    fn bulk(&mut self, length: i64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).unwrap();
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes)?;
        assert_eq!(&bytes[length..], b"\r\n");
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A command as an array of bulk strings.
pub(crate) fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}
