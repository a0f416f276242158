//! Connections as they come in, plain or behind TLS.
//!
//! Promises that a caller who connects and says nothing keeps nobody else waiting: handshakes go on
//! side by side, each for a bounded time, and connections that fail are dropped without a word.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::Connected;

use super::tls::{Inside, Tls};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes that go on at once; who comes then waits for the first to end.
const HANDSHAKES_MAX: usize = 1024;
/// How long to wait when the system has no more connections to give (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come in.
pub(crate) struct Listening {
    listener: TcpListener,
    tls: Option<(Arc<Tls>, Inside)>,
    handshakes: JoinSet<Option<TlsStream<TcpStream>>>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// A connection.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Listening {
    pub(crate) async fn bind(address: SocketAddr, tls: Option<(Arc<Tls>, Inside)>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tls, handshakes: JoinSet::new(), pause: None })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn poll_connection(&mut self, context: &mut Context<'_>) -> Poll<Connection> {
        loop {
            while let Poll::Ready(Some(ended)) = self.handshakes.poll_join_next(context) {
                if let Ok(Some(stream)) = ended {
                    return Poll::Ready(Connection::Tls(Box::new(stream)));
                }
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if self.handshakes.len() >= HANDSHAKES_MAX {
                return Poll::Pending;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, _)) => {
                    // Without it the last piece of a large answer waits for the caller's word that the
                    // first arrived.
                    let _ = stream.set_nodelay(true);
                    let Some((tls, inside)) = &self.tls else { return Poll::Ready(Connection::Plain(stream)) };
                    let handshake = timeout(HANDSHAKE, tls.acceptor(*inside).accept(stream));
                    self.handshakes.spawn(async { handshake.await.ok()?.ok() });
                }
                Err(error) if is_of_one_caller(&error) => {}
                Err(_) => self.pause = Some(Box::pin(sleep(PAUSE))),
            }
        }
    }
}

/// Whether the next caller may have more luck at once.
fn is_of_one_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl axum::serve::Listener for Listening {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        (std::future::poll_fn(|context| self.poll_connection(context)).await, ())
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Listening {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_connection(context).map(|connection| Some(Ok(connection)))
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// The stream that a connection is.
macro_rules! stream {
    ($connection:expr, $stream:ident => $asked:expr) => {
        match $connection.get_mut() {
            Connection::Plain(stream) => {
                let $stream = Pin::new(stream);
                $asked
            }
            Connection::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $asked
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => stream.poll_read(context, into))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        stream!(self, stream => stream.poll_write(context, from))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        stream!(self, stream => stream.poll_write_vectored(context, from))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests;
