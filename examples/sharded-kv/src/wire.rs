//! The bytes of one client connection, both ways.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room made for each read, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// While replies wait to be taken, requests are read until so many bytes of them wait. A client that sends a long
/// pipeline before it reads the first reply is served that way instead of both sides waiting for each other.
const READ_AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a client whose connection is closed has to take the last replies.
const LINGER: Duration = Duration::from_millis(500);

/// A buffer that grew beyond it is given back once it is empty.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// A socket and its two buffers.
pub(crate) struct Wire {
    socket: TcpStream,
    /// Received and not yet understood.
    pub(crate) input: BytesMut,
    /// To be sent with the next flush.
    pub(crate) output: BytesMut,
    /// Input came while output was sent: there may be whole commands in it.
    read_ahead: bool,
    /// The client sends nothing more.
    ended: bool,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            output: BytesMut::new(),
            read_ahead: false,
            ended: false,
        }
    }

    /// Waits for more input than the last call left. `false`: there will be none. Loses nothing if it is dropped.
    pub(crate) async fn receive(&mut self) -> io::Result<bool> {
        if std::mem::take(&mut self.read_ahead) {
            return Ok(true);
        }
        if !self.ended {
            make_room(&mut self.input);
            self.ended = self.socket.read_buf(&mut self.input).await? == 0;
        }
        Ok(!self.ended)
    }

    /// Sends the output, and receives while the client does not take it.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let (mut reader, mut writer) = self.socket.split();
        while !self.output.is_empty() {
            let may_read = !self.ended && self.input.len() < READ_AHEAD_BYTES_MAX;
            if may_read {
                make_room(&mut self.input);
            }
            tokio::select! {
                biased;
                sent = writer.write_buf(&mut self.output) => {
                    if sent? == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                }
                received = reader.read_buf(&mut self.input), if may_read => {
                    self.ended = received? == 0;
                    self.read_ahead |= !self.ended;
                }
            }
        }
        if self.output.capacity() > KEPT_BYTES_MAX {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// Ends the connection in an orderly way.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.socket.shutdown().await
    }

    /// Ends a connection on which more input may come. To close a socket with unread input resets it, and the
    /// client may lose what was sent before: so the input is taken and dropped until the client is gone.
    pub(crate) async fn close_early(mut self) -> io::Result<()> {
        self.flush().await?;
        self.socket.shutdown().await?;
        let discard = async {
            while !self.ended {
                self.input.clear();
                self.receive().await?;
            }
            Ok(())
        };
        tokio::time::timeout(LINGER, discard).await.unwrap_or(Ok(()))
    }
}

fn make_room(input: &mut BytesMut) {
    if input.is_empty() && input.capacity() > KEPT_BYTES_MAX {
        *input = BytesMut::new();
    }
    input.reserve(READ_BYTES);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Far more than the sockets' buffers take.
    const LENGTH: usize = 2 * 1024 * 1024;

    /// A connection whose both ends have small buffers.
    async fn pair() -> (Wire, TcpStream) {
        let small = || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(32 * 1024).unwrap();
            socket.set_send_buffer_size(32 * 1024).unwrap();
            socket
        };
        let server = small();
        server.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener: TcpListener = server.listen(1).unwrap();
        let client = small().connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (Wire::new(accepted.unwrap().0), client.unwrap())
    }

    #[tokio::test]
    async fn a_client_that_sends_before_it_reads_does_not_block() {
        let (mut wire, mut client) = pair().await;
        wire.output.resize(LENGTH, b'r');
        let talk = async {
            client.write_all(&vec![b'c'; LENGTH]).await.unwrap();
            let mut replies = vec![0; LENGTH];
            client.read_exact(&mut replies).await.unwrap();
            replies
        };
        let both = async { tokio::join!(wire.flush(), talk) };
        let (flushed, replies) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        flushed.unwrap();
        assert!(replies.iter().all(|byte| *byte == b'r'));
        while wire.input.len() < LENGTH {
            assert!(wire.receive().await.unwrap());
        }
        assert!(wire.input.iter().all(|byte| *byte == b'c'));
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_received_next() {
        let (mut wire, mut client) = pair().await;
        wire.output.resize(LENGTH, b'r');
        let talk = async {
            client.write_all(b"PING\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            client.read_exact(&mut vec![0; LENGTH]).await.unwrap();
        };
        let (flushed, ()) = tokio::join!(wire.flush(), talk);
        flushed.unwrap();
        assert!(wire.receive().await.unwrap());
        assert_eq!(wire.input.as_ref(), b"PING\r\n");
        assert!(!wire.receive().await.unwrap());
    }

    #[tokio::test]
    async fn a_client_that_half_closes_still_gets_its_replies() {
        let (mut wire, mut client) = pair().await;
        client.write_all(b"PING\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        assert!(wire.receive().await.unwrap());
        assert!(!wire.receive().await.unwrap());
        wire.output.extend_from_slice(b"+PONG\r\n");
        wire.close().await.unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply, b"+PONG\r\n");
    }

    #[tokio::test]
    async fn a_client_that_still_sends_gets_the_last_reply() {
        let (mut wire, mut client) = pair().await;
        wire.output.extend_from_slice(b"-ERR\r\n");
        let talk = async {
            client.write_all(&vec![b'c'; LENGTH]).await.unwrap();
            let mut reply = [0; 6];
            client.read_exact(&mut reply).await.unwrap();
            drop(client);
            reply
        };
        let (closed, reply) = tokio::join!(wire.close_early(), talk);
        closed.unwrap();
        assert_eq!(&reply, b"-ERR\r\n");
    }

    #[tokio::test]
    async fn a_buffer_that_grew_is_given_back() {
        let (mut wire, mut client) = pair().await;
        wire.output.resize(LENGTH, b'r');
        let mut replies = vec![0; LENGTH];
        let (flushed, read) = tokio::join!(wire.flush(), client.read_exact(&mut replies));
        flushed.unwrap();
        read.unwrap();
        assert_eq!(wire.output.capacity(), 0);
    }
}
