//! Signs of life of WebSocket clients.

mod common;

use common::http::TestServer;
use common::until;
use common::ws::{execute, with_stream};
use counterpart_hrana::Limits;
use tokio_tungstenite::tungstenite::{Bytes, Message};

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

#[tokio::test]
async fn pings_are_answered() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.send_raw(Message::Ping(Bytes::from_static(b"?"))).await;
    assert_eq!(client.receive_raw().await, Some(Message::Pong(Bytes::from_static(b"?"))));
}

// Time is paused in these. Whenever all wait, it jumps to the next ping, whether or not what has been sent is read
// yet; so it is stopped where a client is to answer.

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_no_sign_of_life_loses_its_streams() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.start(execute(1, "HANG")).await;
    until(|| server.fake.noted().last().is_some_and(|what| what == "HANG")).await;
    // The client's library answers pings only while it is asked for messages, and here it is not.
    tokio::time::sleep(Limits::default().ws_ping * 5).await;
    until(|| server.fake.open_streams() == 0).await;
    assert_eq!(server.fake.noted().last().unwrap(), "dropped");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_is_left_alone() {
    let still = StillTime::begin();
    let server = server().await;
    let mut client = with_stream(&server).await;
    for _ in 0..20 {
        tokio::time::advance(Limits::default().ws_ping).await;
        assert_eq!(client.receive_raw().await, Some(Message::Ping(Bytes::new())));
    }
    assert_eq!(server.fake.open_streams(), 1);
    still.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_is_pinged_only_after_a_silence() {
    let still = StillTime::begin();
    let server = server().await;
    let mut client = with_stream(&server).await;
    tokio::time::advance(Limits::default().ws_ping / 2).await;
    client.send_raw(Message::Ping(Bytes::from_static(b"?"))).await;
    assert_eq!(client.receive_raw().await, Some(Message::Pong(Bytes::from_static(b"?"))));
    tokio::time::advance(Limits::default().ws_ping / 2).await;
    assert_eq!(client.receive_raw().await, Some(Message::Ping(Bytes::new())));
    still.end().await;
}

/// Keeps time from jumping: it does not while a thread is at work.
struct StillTime {
    done: std::sync::mpsc::Sender<()>,
    at_work: tokio::task::JoinHandle<()>,
}

impl StillTime {
    fn begin() -> Self {
        let (done, waited_for) = std::sync::mpsc::channel();
        let at_work = tokio::task::spawn_blocking(move || assert!(waited_for.recv().is_err()));
        Self { done, at_work }
    }

    async fn end(self) {
        drop(self.done);
        self.at_work.await.unwrap();
    }
}
