//! TLS under the client of the operator API: the one that verifies with what a [`Voucher`](super::voucher::Voucher) says.

use std::{
    fmt,
    io::{Read, Write},
    sync::Arc,
};

use counterpart_tls::rustls::{
    self, ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName,
};
use ureq::{
    Error,
    unversioned::transport::{
        Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
        TransportAdapter,
    },
};

/// Wraps each connection in TLS.
pub struct Secure(pub Arc<ClientConfig>);

/// A handshake came to no good end.
#[derive(Debug, thiserror::Error)]
#[error("the TLS handshake failed: {0}")]
pub struct HandshakeFailed(pub rustls::Error);

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secure")
    }
}

impl<In: Transport> Connector<In> for Secure {
    type Out = Secured;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Secured>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        let host = details.uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Error::BadUri(format!("{bare:?} is no name of a server")))?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name)
            .map_err(|error| Error::Other(Box::new(HandshakeFailed(error))))?;
        let below = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        let mut stream = StreamOwned { conn: connection, sock: below };
        stream.sock.set_timeout(details.timeout);
        // The handshake now, so that its failure is told as what it is.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
                match cause.cloned() {
                    Some(failed) => Error::Other(Box::new(HandshakeFailed(failed))),
                    None => Error::from(error),
                }
            })?;
        }
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Secured { buffers, stream }))
    }
}

/// A connection with TLS.
pub struct Secured {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secured")
    }
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
