//! A server on a real loopback socket, and a client that sends exactly the bytes it is given: what a well-behaved
//! client library would not send is what these tests are about.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use axum::routing::get;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use super::fake::Fake;

/// The operator API and the console over a [`Fake`], for as long as this lives.
pub struct Api {
    pub address: SocketAddr,
    pub fake: Arc<Fake>,
    /// Dropped when the console's streams shall end.
    pub ending: Option<watch::Sender<()>>,
    /// Dropped with this; the server ends then.
    _stop: oneshot::Sender<()>,
}

impl Api {
    pub fn start() -> Api {
        let fake = Arc::new(Fake::new());
        let (ending, ended) = watch::channel(());
        let sockets = get(|| async { "a socket" });
        let router = counterpart_admin::router(fake.clone());
        let router = router.merge(counterpart_admin::console(fake.clone(), ended, sockets));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, service) => served.unwrap(),
                    _dropped = stopped => {}
                }
            });
        });
        Api { address, fake, ending: Some(ending), _stop: stop }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a request with a body and reads the answer to its end.
    pub fn call(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.call_with(method, path, "", body)
    }

    /// [`call`](Self::call) with further header lines, each ended by CRLF.
    pub fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: impl AsRef<[u8]>,
    ) -> Reply {
        let body = body.as_ref();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // A server that has refused already may have closed; its answer is what counts.
        let _refused_early = stream.write_all(body);
        Reply::read(stream)
    }
}

/// An answer. The status is 0 when the server cut the connection before its head was out.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads until the server closes.
    pub fn read(mut stream: TcpStream) -> Reply {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                // Cut off after what was read: the tests judge that.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("no answer: {error}"),
            }
        }
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Reply { status: 0, head: String::new(), body: Vec::new() };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = head[9..12].parse().unwrap();
        Reply { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The code of a refusal, whose shape is checked.
    pub fn code(&self) -> String {
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("an error: {body}"));
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "remedy", "what"], "{body}");
        for part in error.values() {
            assert!(part.as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
        error["code"].as_str().unwrap().to_owned()
    }
}

/// Ends the sending side: the client has gone away in the middle.
pub fn hang_up(stream: &TcpStream) {
    stream.shutdown(Shutdown::Both).unwrap();
}
