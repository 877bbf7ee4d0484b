//! Bytes on a socket, as no well-behaved client would send them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Connects, with time limits that fail a test rather than hang it.
pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("connect {address}: {e}"));
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends bytes and no more, and returns what comes back until the other side closes. A server that closes while
/// bytes are still on their way resets the connection: what came before that counts.
pub fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let mut answer = Vec::new();
    if stream.write_all(bytes).is_err() {
        return answer;
    }
    // The other side may have closed already.
    let _closed = stream.shutdown(std::net::Shutdown::Write);
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(e) => panic!("{address} neither answers nor closes: {e}"),
        }
    }
}

/// The head of an HTTP request with a body of `length` bytes.
pub fn http_head(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

/// One HTTP request with any body; status (0: closed without an answer) and body of the answer.
pub fn http(address: &str, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let mut request = http_head(method, path, body.len()).into_bytes();
    request.extend_from_slice(body);
    let mut stream = connect(address);
    // It may answer and close before it has read all.
    let _early = stream.write_all(&request);
    let mut answer = Vec::new();
    // The same: a reset after the answer loses nothing that counts.
    let _reset = stream.read_to_end(&mut answer);
    parse(&answer)
}

fn parse(answer: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}
