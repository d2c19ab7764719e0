//! The bytes of one client connection, both ways.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::stream::Stream;

/// Room made for each read, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// While replies wait to be taken, requests are read until so many bytes of them wait. A client that sends a long
/// pipeline before it reads the first reply is served that way instead of both sides waiting for each other.
const READ_AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The same for a client that has not said the password yet.
const STRANGERS_READ_AHEAD_BYTES_MAX: usize = 16 * 1024;

/// A client that takes nothing of its replies for so long loses its connection.
const TAKE_WITHIN: Duration = Duration::from_secs(60);

/// How long a client whose connection is closed has to take the last replies, if it has not had so long already.
const LINGER: Duration = Duration::from_millis(500);

/// A buffer that grew beyond it is given back once it is empty.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// A socket and its two buffers.
pub(crate) struct Wire {
    stream: Stream,
    /// Received and not yet understood.
    pub(crate) input: BytesMut,
    /// To be sent with the next flush.
    pub(crate) output: BytesMut,
    /// Input came while output was sent: there may be whole commands in it.
    read_ahead: bool,
    /// The client sends nothing more.
    ended: bool,
    /// When the last output was sent, if any was.
    sent: Option<Instant>,
    read_ahead_bytes_max: usize,
    take_within: Duration,
    linger: Duration,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            read_ahead: false,
            ended: false,
            sent: None,
            read_ahead_bytes_max: READ_AHEAD_BYTES_MAX,
            take_within: TAKE_WITHIN,
            linger: LINGER,
        }
    }

    /// Waits for more input than the last call left. `false`: there will be none. Loses nothing if it is dropped.
    pub(crate) async fn receive(&mut self) -> io::Result<bool> {
        if std::mem::take(&mut self.read_ahead) {
            return Ok(true);
        }
        if !self.ended {
            make_room(&mut self.input);
            self.ended = self.stream.read_buf(&mut self.input).await? == 0;
        }
        Ok(!self.ended)
    }

    /// Says whether the client has still to say the password: until then little of what it sends is held.
    pub(crate) fn set_strangers(&mut self, is_strangers: bool) {
        self.read_ahead_bytes_max = if is_strangers {
            STRANGERS_READ_AHEAD_BYTES_MAX
        } else {
            READ_AHEAD_BYTES_MAX
        };
    }

    /// Sends the output, and receives while the client does not take it.
    ///
    /// # Errors
    ///
    /// The connection's; [`io::ErrorKind::TimedOut`] if the client takes nothing for too long.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let sends = !self.output.is_empty();
        self.send_all().await?;
        if sends {
            self.sent = Some(Instant::now());
        }
        Ok(())
    }

    async fn send_all(&mut self) -> io::Result<()> {
        if self.send_at_once()? {
            return Ok(());
        }
        let read_ahead = ReadAhead {
            input: &mut self.input,
            bytes_max: self.read_ahead_bytes_max,
            has_come: &mut self.read_ahead,
            ended: &mut self.ended,
        };
        match &mut self.stream {
            Stream::Plain(socket) => {
                let (reader, writer) = socket.split();
                send(reader, writer, &mut self.output, read_ahead, self.take_within).await?;
            }
            Stream::Tls(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                send(reader, writer, &mut self.output, read_ahead, self.take_within).await?;
            }
        }
        if self.output.capacity() > KEPT_BYTES_MAX {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// Sends what can be sent without waiting, where nothing is below: usually all, and then there is no time to measure.
    /// True: nothing is left.
    fn send_at_once(&mut self) -> io::Result<bool> {
        if let Stream::Plain(socket) = &self.stream
            && !self.output.is_empty()
        {
            match socket.try_write(&self.output) {
                Ok(sent) if sent == self.output.len() => self.output.clear(),
                Ok(sent) => self.output.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            return Ok(self.output.is_empty() && self.output.capacity() <= KEPT_BYTES_MAX);
        }
        Ok(false)
    }

    /// Whether there is input that came while output was sent: [`Self::receive`] does not wait then.
    pub(crate) fn has_read_ahead(&self) -> bool {
        self.read_ahead
    }

    /// Ends the connection in an orderly way; more input may come. To close a socket with unread input resets it, and the
    /// client may lose what was sent before: so the input is taken and dropped until the client is gone. One that was sent
    /// nothing lately, and sends nothing, has nothing to lose: it is not waited for.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        let may_lose = self.sent.is_some_and(|sent| sent.elapsed() < self.linger) || self.has_unread();
        self.shutdown().await?;
        if !may_lose {
            return Ok(());
        }
        let linger = self.linger;
        let discard = async {
            while !self.ended {
                self.input.clear();
                self.receive().await?;
            }
            Ok(())
        };
        timeout(linger, discard).await.unwrap_or(Ok(()))
    }

    /// Whether the socket holds input that was not taken from it. Asked of the socket itself: who waits for input may not have
    /// been told of it yet.
    fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(self.stream.socket()).peek(&mut byte);
        peeked.is_ok_and(|length| length > 0)
    }

    /// With TLS there are a few bytes more, which the client may not take.
    async fn shutdown(&mut self) -> io::Result<()> {
        timeout(self.linger, self.stream.shutdown()).await.unwrap_or(Ok(()))
    }
}

/// What is received while output waits to be taken.
struct ReadAhead<'a> {
    input: &'a mut BytesMut,
    bytes_max: usize,
    has_come: &'a mut bool,
    ended: &'a mut bool,
}

async fn send(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    output: &mut BytesMut,
    ahead: ReadAhead<'_>,
    take_within: Duration,
) -> io::Result<()> {
    let ReadAhead {
        input,
        bytes_max,
        has_come,
        ended,
    } = ahead;
    let mut take_by = Instant::now() + take_within;
    loop {
        let may_read = !*ended && input.len() < bytes_max;
        if may_read {
            make_room(input);
        }
        let step = async {
            tokio::select! {
                biased;
                done = send_some(&mut writer, output) => done.map(Some),
                received = reader.read_buf(input), if may_read => {
                    *ended = received? == 0;
                    *has_come |= !*ended;
                    Ok(None)
                }
            }
        };
        match timeout_at(take_by, step).await {
            Ok(Ok(Some(true))) => return Ok(()),
            Ok(Ok(Some(false))) => take_by = Instant::now() + take_within,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no replies")),
        }
    }
}

/// One step towards having sent all of `output`, below TLS too. True: it is done.
async fn send_some(writer: &mut (impl AsyncWrite + Unpin), output: &mut BytesMut) -> io::Result<bool> {
    if output.is_empty() {
        writer.flush().await?;
        return Ok(true);
    }
    // In one piece: to write a list of pieces costs more.
    match writer.write(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        sent => {
            output.advance(sent);
            Ok(false)
        }
    }
}

fn make_room(input: &mut BytesMut) {
    if input.is_empty() && input.capacity() > KEPT_BYTES_MAX {
        *input = BytesMut::new();
    }
    input.reserve(READ_BYTES);
}

#[cfg(test)]
mod tests;
