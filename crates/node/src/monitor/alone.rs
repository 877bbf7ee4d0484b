//! Whether a mirror has to tell what its principal would tell: it has, once that one answers nobody.
//!
//! Both see it when the link between them breaks, and an operator wants to hear of it once. The principal tells; so the mirror first asks
//! whether there is one, where clients and operators reach it. An answer of any kind will do: a principal that refuses writes still tells.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A principal that takes longer to answer tells nobody in time either.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether somebody answers HTTP at this URL. One that can't be asked like this counts as silent: better told twice than never.
pub(super) async fn answers(client_url: &str) -> bool {
    let Some(authority) = client_url.strip_prefix("http://") else { return false };
    let authority = authority.trim_end_matches('/');
    let asking = async {
        let mut stream = TcpStream::connect(authority).await?;
        let request =
            format!("GET /health HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; 8];
        stream.read_exact(&mut start).await?;
        Ok::<bool, std::io::Error>(start.starts_with(b"HTTP/1."))
    };
    matches!(timeout(PATIENCE, asking).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_answers_is_alive_and_who_does_not_or_is_no_server_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            for answer in ["HTTP/1.1 503 x\r\n\r\n", "SSH-2.0-x\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 512];
                assert!(stream.read(&mut asked).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert!(answers(&url).await);
        assert!(!answers(&url).await);
        serving.await.unwrap();
        assert!(!answers(&url).await, "nobody listens any more");
        assert!(!answers("https://db:6480").await && !answers("").await);
    }
}
