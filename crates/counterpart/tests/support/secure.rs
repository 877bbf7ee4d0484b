//! HTTP/1.1 over TLS as a client of the tests speaks it: one connection, kept for as long as the test wants, to a server
//! that is known by its key or by a certificate.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use counterpart_tls::{
    Trust, client_config,
    rustls::{ClientConnection, StreamOwned, pki_types::ServerName},
};
use serde_json::{Value, json};

use super::server::Server;

/// A connection whose handshake is over.
pub struct Secure(StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// Connects to where `server` listens, by this name.
    pub fn connect(server: &Server, name: &str, trust: Trust) -> Result<Secure, String> {
        let socket =
            TcpStream::connect((server.address, server.port)).map_err(|e| e.to_string())?;
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(client_config(trust), name).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|e| e.to_string())?;
        }
        Ok(Secure(stream))
    }

    /// Connects to a server that made its certificate itself, by its address.
    pub fn to(server: &Server) -> Secure {
        Secure::try_to(server).unwrap()
    }

    /// [`to`](Self::to) a server that may not run.
    pub fn try_to(server: &Server) -> Result<Secure, String> {
        let trust = Trust::file(&server.data().join("tls/cert.pem")).map_err(|e| e.to_string())?;
        Secure::connect(server, &server.address.to_string(), trust)
    }

    /// Reads until the server ends the connection; whether it did so in order, with a `close_notify`.
    pub fn is_closed_in_order(&mut self) -> bool {
        self.more(&mut Vec::new()).is_err_and(|why| why == "the server closed the connection")
    }

    /// The certificate that was shown, in DER.
    pub fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// One request and its answer: the status, and the body as JSON. Fails when the connection does.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value), String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: server\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let failed = |e: std::io::Error| e.to_string();
        self.0.write_all(request.as_bytes()).map_err(failed)?;
        let mut read = Vec::new();
        let head = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break String::from_utf8(read.drain(..end + 4).collect()).unwrap().to_lowercase();
            }
            self.more(&mut read)?;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or_else(|| panic!("no length: {head}")).parse().unwrap();
        while read.len() < length {
            self.more(&mut read)?;
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let text = String::from_utf8(read).unwrap();
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// One statement on `main`; the error's code and sentence if it failed.
    pub fn execute(&mut self, sql: &str) -> Result<Value, String> {
        let body = json!({ "requests": [
            { "type": "execute", "stmt": { "sql": sql } },
            { "type": "close" },
        ]});
        let (status, answer) = self.request("POST", "/v2/pipeline", &body)?;
        let result = &answer["results"][0];
        match result["type"].as_str() {
            Some("ok") if status == 200 => Ok(result["response"]["result"].clone()),
            _ => Err(answer.to_string()),
        }
    }

    fn more(&mut self, read: &mut Vec<u8>) -> Result<(), String> {
        let mut chunk = [0; 16 << 10];
        match self.0.read(&mut chunk) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(n) => {
                read.extend(&chunk[..n]);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
