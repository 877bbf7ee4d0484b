//! One HTTP connection that is kept, on a thread that waits: a client has one request under way, and a thread of its own
//! gets its answer without another thread's help.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Nothing that is measured takes as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A connection to one server.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    request: Vec<u8>,
}

/// A server's address: `http://` and a path are taken off.
pub fn address(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    rest.split('/').next().unwrap_or(rest)
}

impl Connection {
    /// Connects to `http://HOST:PORT`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(url: &str) -> io::Result<Connection> {
        let host = address(url).to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream = BufReader::with_capacity(64 << 10, stream);
        Ok(Connection { stream, host, request: Vec::new() })
    }

    /// Posts `body` and reads the answer's body into `answer`; the status.
    ///
    /// # Errors
    /// What the system says, or an answer that is not HTTP.
    pub fn post(&mut self, path: &str, body: &[u8], answer: &mut Vec<u8>) -> io::Result<u16> {
        self.request.clear();
        write!(
            self.request,
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        )?;
        self.request.extend_from_slice(body);
        self.stream.get_mut().write_all(&self.request)?;
        read_answer(&mut self.stream, answer)
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read_line(stream: &mut impl BufRead, line: &mut String) -> io::Result<()> {
    line.clear();
    match stream.read_line(line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn read_answer(stream: &mut impl BufRead, answer: &mut Vec<u8>) -> io::Result<u16> {
    answer.clear();
    let mut line = String::new();
    read_line(stream, &mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| bad("the answer has no status"))?;
    let (mut length, mut chunked) = (0, false);
    loop {
        read_line(stream, &mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        match line.split_once(':') {
            Some(("content-length", value)) => {
                length = value.trim().parse().map_err(|_| bad("the length is no number"))?;
            }
            Some(("transfer-encoding", value)) => chunked = value.contains("chunked"),
            _ => {}
        }
    }
    if !chunked {
        stream.take(length).read_to_end(answer)?;
        return Ok(status);
    }
    loop {
        read_line(stream, &mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16);
        let size = size.map_err(|_| bad("a chunk's length is no number"))?;
        stream.by_ref().take(size).read_to_end(answer)?;
        read_line(stream, &mut line)?;
        if size == 0 {
            return Ok(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (u16, String, String) {
        let (mut stream, mut answer) = (text.as_bytes(), Vec::new());
        let status = read_answer(&mut stream, &mut answer).expect("it is an answer");
        let rest = String::from_utf8(stream.to_vec()).expect("the rest is text");
        (status, String::from_utf8(answer).expect("the answer is text"), rest)
    }

    #[test]
    fn an_answer_ends_with_its_length_and_the_next_one_is_left() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1";
        assert_eq!(read(text), (200, "abc".to_owned(), "HTTP/1.1".to_owned()));
    }

    #[test]
    fn chunks_are_put_together() {
        let text = "HTTP/1.1 400 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nA\r\n0123456789\r\n0\r\n\r\nx";
        assert_eq!(read(text), (400, "ab0123456789".to_owned(), "x".to_owned()));
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        let mut answer = Vec::new();
        assert!(read_answer(&mut "HTTP/1.1 200 OK\r\n".as_bytes(), &mut answer).is_err());
    }
}
