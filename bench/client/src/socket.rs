//! WebSockets of libSQL clients: one with many requests under way, and thousands that are idle.

use std::{
    io::{BufRead as _, ErrorKind, stdin},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self, Error, Message, Utf8Bytes, WebSocket, client::IntoClientRequest as _, http::HeaderValue,
};

use crate::{
    Failure, clock,
    dice::Dice,
    http::address,
    latencies::Latencies,
    work::{ROWS, update},
};

type Socket = WebSocket<TcpStream>;

/// What `pipelined` takes.
#[derive(Args)]
pub struct PipelinedArgs {
    /// The server, http://HOST:PORT
    #[arg(long)]
    url: String,
    /// Requests under way
    #[arg(long, default_value_t = 64)]
    window: u64,
    /// Streams that they are spread over; as many as requests without
    #[arg(long)]
    streams: Option<u64>,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// What `idle` takes.
#[derive(Args)]
pub struct IdleArgs {
    /// The server, http://HOST:PORT
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 10_000)]
    count: usize,
}

fn connect(url: &str) -> Result<Socket, Failure> {
    let address = address(url);
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let failed = |error: tungstenite::Error| Failure::Socket(error.to_string());
    let mut request = format!("ws://{address}/").into_client_request().map_err(failed)?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("hrana2"));
    let (mut socket, _) =
        tungstenite::client(request, stream).map_err(|error| Failure::Socket(error.to_string()))?;
    socket.send(Message::text(r#"{"type":"hello","jwt":null}"#)).map_err(failed)?;
    let hello = read_text(&mut socket).map_err(failed)?;
    if !hello.contains("hello_ok") {
        return Err(Failure::Socket(format!("the server did not say hello: {hello}")));
    }
    Ok(socket)
}

/// The next message that says something; pings are answered in passing.
fn read_text(socket: &mut Socket) -> Result<Utf8Bytes, Error> {
    loop {
        if let Message::Text(text) = socket.read()? {
            return Ok(text);
        }
    }
}

/// One connection, a window of updates under way, the next one in the place of each that is answered.
struct Pipeline {
    socket: Socket,
    dice: Dice,
    streams: usize,
    /// When the request in each place was sent.
    sent: Vec<Instant>,
    latencies: Latencies,
    failed: u64,
    failure: Option<String>,
}

impl Pipeline {
    fn write(&mut self, place: usize) -> Result<(), Error> {
        let statement = update(self.dice.below(ROWS) + 1);
        self.sent[place] = clock::now();
        let stream = place % self.streams;
        // The request's number is its place: there is never another one in it.
        self.socket.write(Message::text(format!(
            r#"{{"type":"request","request_id":{place},"request":{{"type":"execute","stream_id":{stream},"stmt":{statement}}}}}"#
        )))
    }

    /// Takes one answer; its place.
    fn read(&mut self) -> Result<usize, Error> {
        let text = read_text(&mut self.socket)?;
        let id = text.split("\"request_id\":").nth(1).and_then(|rest| {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..digits].parse::<usize>().ok()
        });
        let place = id
            .filter(|place| *place < self.sent.len())
            .unwrap_or_else(|| panic!("an answer names no request of this connection: {text}"));
        if text.contains("\"response_ok\"") {
            self.latencies.push(self.sent[place].elapsed());
        } else {
            self.failed += 1;
            self.failure.get_or_insert(text.to_string());
        }
        Ok(place)
    }

    fn run(&mut self, window: usize, end: Instant) -> Result<(), Error> {
        (0..window).try_for_each(|place| self.write(place))?;
        self.socket.flush()?;
        let mut under_way = window;
        let mut free = Vec::new();
        while under_way > 0 {
            free.push(self.read()?);
            under_way -= 1;
            // Several leave in one system call, as they do from a client that has many things to do at once.
            if free.len() >= window.div_ceil(4) && clock::now() < end {
                under_way += free.len();
                std::mem::take(&mut free).into_iter().try_for_each(|place| self.write(place))?;
                self.socket.flush()?;
            }
        }
        Ok(())
    }
}

/// Measures statements per second over one connection.
///
/// # Errors
/// What ended the connection.
pub fn pipelined(args: &PipelinedArgs) -> Result<Value, Failure> {
    let mut socket = connect(&args.url)?;
    let failed = |error: Error| Failure::Socket(error.to_string());
    let streams = args.streams.unwrap_or(args.window);
    for stream in 0..streams {
        let open = format!(
            r#"{{"type":"request","request_id":{stream},"request":{{"type":"open_stream","stream_id":{stream}}}}}"#
        );
        socket.send(Message::text(open)).map_err(failed)?;
        let answer = read_text(&mut socket).map_err(failed)?;
        if !answer.contains("response_ok") {
            return Err(Failure::Socket(format!("a stream was not opened: {answer}")));
        }
    }
    let window = usize::try_from(args.window).expect("a window is small");
    let begun = clock::now();
    let mut pipeline = Pipeline {
        socket,
        dice: Dice::new(args.window),
        streams: usize::try_from(streams).expect("streams are few"),
        sent: vec![begun; window],
        latencies: Latencies::default(),
        failed: 0,
        failure: None,
    };
    pipeline.run(window, begun + Duration::from_secs_f64(args.seconds)).map_err(failed)?;
    let rate = pipeline.latencies.count() as f64 / begun.elapsed().as_secs_f64();
    let (failed, failure) = (pipeline.failed, pipeline.failure);
    Ok(
        json!({ "rate": rate, "failed": failed, "failure": failure, "ms": pipeline.latencies.show() }),
    )
}

/// Answers the pings that have come: a server takes a client that never does for dead.
fn answer_pings(sockets: &mut [Socket]) -> Result<(), Failure> {
    for socket in sockets {
        match socket.read() {
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) => socket.flush().map_err(|error| Failure::Socket(error.to_string()))?,
            Err(error) => return Err(Failure::Socket(error.to_string())),
        }
    }
    Ok(())
}

/// Holds idle connections until its input ends, and answers the server's pings meanwhile.
///
/// # Errors
/// A connection that can't be made, or that the server ended.
pub fn idle(args: &IdleArgs) -> Result<Value, Failure> {
    let mut sockets = Vec::with_capacity(args.count);
    while sockets.len() < args.count {
        let socket = connect(&args.url)?;
        socket.get_ref().set_nonblocking(true)?;
        sockets.push(socket);
        // The first ones must not wait for the last where connecting is slow.
        if sockets.len().is_multiple_of(500) {
            answer_pings(&mut sockets)?;
        }
    }
    println_now(&json!({ "open": sockets.len() }));
    let input = thread::spawn(|| stdin().lock().lines().count());
    while !input.is_finished() {
        answer_pings(&mut sockets)?;
        clock::pause(Duration::from_millis(250));
    }
    Ok(json!({ "held": sockets.len() }))
}

/// A line that a reader has at once.
#[allow(clippy::print_stdout, reason = "what it prints is what it is run for")]
fn println_now(value: &Value) {
    println!("{value}");
}
