//! Connections whose handshake is over. Handshakes run beside each other and beside accepting: one that is slow, or never
//! ends, holds up nobody.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use counterpart_tls::{Shown, server_config};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A handshake may take this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many may be under way. With one more, the oldest is given up: who is slow makes room, not who is new.
const MOST: usize = 256;

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// See the module's head.
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    under_way: JoinSet<Option<Connection>>,
    /// Those under way, the oldest first, and some that have ended.
    order: VecDeque<AbortHandle>,
}

impl TlsListener {
    /// Shows whoever connects what `shown` holds then.
    pub fn new(tcp: TcpListener, shown: &Arc<Shown>) -> TlsListener {
        let acceptor = TlsAcceptor::from(server_config(shown));
        TlsListener { tcp, acceptor, under_way: JoinSet::new(), order: VecDeque::new() }
    }

    fn begin(&mut self, stream: TcpStream, from: SocketAddr) {
        self.order.retain(|handshake| !handshake.is_finished());
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
        {
            tracing::debug!("too many TLS handshakes are under way; the oldest is given up");
            oldest.abort();
        }
        let handshake = shake_hands(self.acceptor.clone(), stream, from);
        self.order.push_back(self.under_way.spawn(handshake));
    }
}

/// A failure is the client's affair, and can be had by anybody any number of times: it must not fill the log.
async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    from: SocketAddr,
) -> Option<Connection> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client's connection may be slower than it could be");
    }
    match timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some((stream, from)),
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%from, "a TLS handshake took too long");
            None
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        loop {
            tokio::select! {
                // Waits a moment by itself when the system has no descriptors left.
                (stream, from) = Listener::accept(&mut self.tcp) => self.begin(stream, from),
                Some(ended) = self.under_way.join_next() => {
                    // One that was given up has nothing to hand over.
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use counterpart_tls::{Own, Trust, client_config, rustls::pki_types::ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::clock;

    #[tokio::test]
    async fn whoever_does_not_finish_a_handshake_keeps_nobody_from_finishing_one() {
        let data = tempfile::tempdir().unwrap();
        let (identity, _) = Own::new(data.path(), []).keep(clock::unix()).unwrap();
        let key = identity.key_fingerprint();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut listener = TlsListener::new(tcp, &Arc::new(Shown::new(identity)));
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await;
            stream.write_all(b"served").await.unwrap();
            stream.shutdown().await.unwrap();
            // Whoever never spoke is given up once there are more than may be.
            listener.accept().await
        });
        let mut silent = Vec::new();
        for _ in 0..MOST + 10 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let connector = TlsConnector::from(client_config(Trust::key(key)));
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let mut read = String::new();
        stream.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "served");
        // The oldest were closed, nobody else.
        assert_eq!(silent[0].read(&mut [0]).await.unwrap(), 0);
        assert!(silent.last_mut().unwrap().try_read(&mut [0]).is_err());
        serving.abort();
    }
}
