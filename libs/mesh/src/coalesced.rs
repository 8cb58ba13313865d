//! A socket to which the frames of one moment are written at once.
//!
//! The frames of a small call are queued one after the other by tasks that run on different threads, and
//! HTTP/2 writes each as soon as it sees it: five writes a call, each of which wakes the other side. Here
//! what is written is kept until a flush, and a flush lets the tasks that wait for this thread go first.
//! Nothing waits for a clock, and what is longer than the buffer is written as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tonic::transport::server::Connected;

use crate::policy::defaults;

/// Bytes that are kept at most: the largest frame and its head, which would be a packet of its own.
const CAPACITY: usize = defaults::MAX_FRAME_BYTES as usize + 64;

pin_project! {
    /// See the module.
    pub(crate) struct Coalesced<T> {
        #[pin]
        io: BufWriter<T>,
        // Whether the flush that is asked for has let others go first.
        deferred: bool,
    }
}

impl<T: AsyncWrite> Coalesced<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io: BufWriter::with_capacity(CAPACITY, io),
            deferred: false,
        }
    }
}

impl<T: AsyncRead + AsyncWrite> AsyncRead for Coalesced<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

/// Not vectored: then HTTP/2 puts small messages beside their headers, and this one knows them whole.
impl<T: AsyncWrite> AsyncWrite for Coalesced<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if !*this.deferred && !this.io.buffer().is_empty() {
            *this.deferred = true;
            // A task that wakes itself runs after those that wait.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let flushed = this.io.poll_flush(cx);
        *this.deferred = flushed.is_pending();
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}

impl<T: AsyncWrite + Connected> Connected for Coalesced<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.get_ref().connect_info()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::Notify;

    use super::*;

    /// What reached the socket, write by write.
    #[derive(Clone, Default)]
    struct Socket(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Socket {
        fn writes(&self) -> Vec<Vec<u8>> {
            self.0.lock().clone()
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.lock().push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_flush_lets_those_go_first_who_wait() {
        let socket = Socket::default();
        let mut io = Coalesced::new(socket.clone());
        let (asked, seen) = (Arc::new(Notify::new()), socket.clone());
        let notified = Arc::clone(&asked);
        let waiting = tokio::spawn(async move {
            notified.notified().await;
            seen.writes().len()
        });
        tokio::task::yield_now().await;
        for frame in [b"head", b"data", b"tail"] {
            io.write_all(frame).await.unwrap();
        }
        asked.notify_one();
        io.flush().await.unwrap();
        // it ran while nothing was written yet
        assert_eq!(waiting.await.unwrap(), 0);
        assert_eq!(socket.writes(), [b"headdatatail".to_vec()]);
        // and so does the next
        io.write_all(b"more").await.unwrap();
        io.flush().await.unwrap();
        assert_eq!(socket.writes()[1..], [b"more".to_vec()]);
    }

    #[tokio::test]
    async fn what_is_long_is_written_as_it_comes_and_in_order() {
        let socket = Socket::default();
        let mut io = Coalesced::new(socket.clone());
        let long = vec![7; CAPACITY];
        io.write_all(b"head").await.unwrap();
        io.write_all(&long).await.unwrap();
        assert_eq!(socket.writes(), [b"head".to_vec(), long]);
    }

    #[tokio::test]
    async fn nothing_is_left_behind_at_the_end_and_nothing_waits_for_nothing() {
        let socket = Socket::default();
        let mut io = Coalesced::new(socket.clone());
        let flushed = futures::FutureExt::now_or_never(io.flush());
        flushed.unwrap().unwrap();
        io.write_all(b"goaway").await.unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(socket.writes(), [b"goaway".to_vec()]);
    }
}
