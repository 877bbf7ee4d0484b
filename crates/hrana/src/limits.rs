//! The bounds of what one client may make this crate hold or wait for.

use std::time::Duration;

/// Bounds, each with a default that suits a small server. Zero is allowed nowhere.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one HTTP request body or one WebSocket message. Default 16 MiB.
    pub request_bytes: usize,
    /// How long the body of an HTTP request may stop coming before it is given up. Default 30 s.
    pub request_idle: Duration,
    /// Bytes of results after which a pipeline executes no further request, after which a
    /// `fetch_cursor` response is sent although more was asked for, and as long as which wait for a
    /// WebSocket client to read them its streams execute nothing. Each exceeds it by at most one
    /// result (of each stream). Default 32 MiB.
    pub response_bytes: usize,
    /// How long an HTTP stream may lie idle between two requests before it is closed and rolled
    /// back; also how long a request waits for the previous one on its stream. Default 5 s.
    pub stream_idle: Duration,
    /// HTTP streams that wait for their next request, all clients together. Default 10,000.
    pub http_streams: usize,
    /// Streams of one WebSocket connection. Default 128.
    pub ws_streams: usize,
    /// Requests of one WebSocket connection that are not answered yet; with this many the server
    /// stops reading from the connection. Default 64.
    pub ws_requests: usize,
    /// How often an idle WebSocket connection is asked for a sign of life. One that is silent for
    /// three times as long is taken for dead, and its streams are rolled back. Default 20 s.
    pub ws_ping: Duration,
    /// SQL texts stored with `store_sql`, per HTTP stream or WebSocket connection. Default 256.
    pub stored_sqls: usize,
    /// Bytes of those SQL texts together. Default 1 MiB.
    pub stored_sql_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 16 << 20,
            request_idle: Duration::from_secs(30),
            response_bytes: 32 << 20,
            stream_idle: Duration::from_secs(5),
            http_streams: 10_000,
            ws_streams: 128,
            ws_requests: 64,
            ws_ping: Duration::from_secs(20),
            stored_sqls: 256,
            stored_sql_bytes: 1 << 20,
        }
    }
}
