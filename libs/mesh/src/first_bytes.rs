//! A socket whose peer must begin to speak within a time.
//!
//! Whoever connects and says nothing holds a descriptor and a task, and neither HTTP/1's limit for a head
//! nor HTTP/2's pings run before a server knows which of the two it has before it. So here it is bounded how
//! long a peer takes to say that: until its first bytes are HTTP/2's whole preface, or are not it.
//!
//! Source: RFC 9113, section 3.4, the connection preface.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pin_project! {
    /// See the module.
    pub struct FirstBytes<T> {
        #[pin]
        io: T,
        // `None` once the peer has begun.
        waited_for: Option<Beginning>,
    }
}

struct Beginning {
    /// Bytes of the preface that have come.
    seen: usize,
    end: Pin<Box<Sleep>>,
}

impl<T> FirstBytes<T> {
    /// Gives the peer of `io` this time to begin. Must run inside a tokio runtime.
    pub fn within(limit: Duration, io: T) -> Self {
        Self {
            io,
            waited_for: Some(Beginning {
                seen: 0,
                end: Box::pin(sleep(limit)),
            }),
        }
    }
}

impl Beginning {
    /// Takes in what came; returns whether it is clear what the peer speaks.
    fn is_over(&mut self, came: &[u8]) -> bool {
        let wanted = &PREFACE[self.seen..];
        let length = came.len().min(wanted.len());
        self.seen += length;
        came[..length] != wanted[..length] || self.seen == PREFACE.len()
    }
}

impl<T: AsyncRead> AsyncRead for FirstBytes<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let read = this.io.poll_read(cx, buf);
        let Some(beginning) = this.waited_for else {
            return read;
        };
        if beginning.is_over(&buf.filled()[before..]) {
            *this.waited_for = None;
        } else if beginning.end.as_mut().poll(cx).is_ready() && read.is_pending() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<T: AsyncWrite> AsyncWrite for FirstBytes<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}

impl<T: Connected> Connected for FirstBytes<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Reads what a peer says, a part each time, and pauses after each.
    async fn read(parts: &[&[u8]], pause: Duration) -> io::Result<usize> {
        let (mut peer, here) = duplex(1024);
        let mut here = FirstBytes::within(LIMIT, here);
        let speak = async {
            for part in parts {
                peer.write_all(part).await.unwrap();
                tokio::time::sleep(pause).await;
            }
            std::future::pending::<()>().await;
        };
        let mut count = 0;
        let listen = async {
            let mut buf = [0; 64];
            loop {
                count += here.read(&mut buf).await?;
            }
        };
        let over = tokio::time::timeout(LIMIT * 100, listen);
        tokio::select! {
            () = speak => unreachable!("it never ends"),
            ended = over => match ended {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => unreachable!("it never ends well"),
                Err(_) => Ok(count),
            },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_only_a_part_of_the_preface_is_given_up() {
        let bytes: Vec<&[u8]> = PREFACE.chunks(1).collect();
        let slowly = LIMIT / 10;
        for parts in [vec![], vec![&PREFACE[..6]], bytes] {
            let error = read(&parts, slowly).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_begun_may_pause_for_as_long_as_the_protocol_lets_it() {
        let bytes: Vec<&[u8]> = PREFACE.chunks(1).collect();
        let whole = vec![PREFACE];
        let more = vec![PREFACE, b"x"];
        for parts in [vec![&b"G"[..]], vec![b"PR", b"OPFIND"], whole, more, bytes] {
            let sent: usize = parts.iter().map(|part| part.len()).sum();
            assert_eq!(read(&parts, LIMIT / 50).await.unwrap(), sent);
        }
    }
}
