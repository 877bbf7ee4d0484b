//! Asking who answers at a partner address, before mirroring is set up.

use std::sync::Arc;

use counterpart_core::{
    epoch::EpochHistory,
    frame::{self, FrameDecoder, FrameType, Opening},
    message::{About, DataState, Envelope, Hello, Intent, Message, PROTOCOL_MAX, PROTOCOL_MIN},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{operations::PeerIdentity, refusal::Refusal, shared::Shared};

/// Dials and asks who is there.
pub(crate) async fn probe(shared: &Arc<Shared>, address: &str) -> Result<PeerIdentity, Refusal> {
    let about = about(shared, address).await?;
    Ok(PeerIdentity {
        server: about.server,
        version: about.build,
        role: about.role.to_string(),
        client_url: about.client_url,
    })
}

/// Dials and asks for the epochs of its journal, if they have one in common with this server's.
pub(crate) async fn shared_history(
    shared: &Arc<Shared>,
    address: &str,
) -> Result<Option<EpochHistory>, Refusal> {
    let about = about(shared, address).await?;
    let common = about.history.shares_an_epoch(&shared.control.read().session.history);
    Ok(common.then_some(about.history))
}

async fn about(shared: &Arc<Shared>, address: &str) -> Result<About, Refusal> {
    let limit = shared.settings.partner_timeout;
    let asked = timeout(limit, ask(shared, address)).await;
    let message = asked.unwrap_or_else(|_| {
        Err(unreachable(address, &format!("no answer within {} s", limit.as_secs_f32())))
    })?;
    let own = shared.control.read().session.server;
    match message {
        Message::Answer(about) if about.server == own => Err(is_self(address)),
        Message::Answer(about) => Ok(*about),
        Message::Refused(refused) => Err(Refusal::new(
            refused.refusal.code.as_str(),
            refused.refusal.what.trim_end_matches('.'),
            refused.refusal.remedy.trim_end_matches('.'),
        )),
        other => Err(unreachable(address, &format!("it answers with {}", other.name()))),
    }
}

fn unreachable(address: &str, why: &str) -> Refusal {
    Refusal::new(
        "PARTNER_UNREACHABLE",
        format!("the partner address {address} can't be used: {why}"),
        "check that the server runs there, its --partner-listen address, and firewalls between the two",
    )
}

fn is_self(address: &str) -> Refusal {
    Refusal::new(
        "PARTNER_IS_SELF",
        format!("{address} is this very server"),
        "name two different servers",
    )
}

async fn ask(shared: &Shared, address: &str) -> Result<Message, Refusal> {
    let broken = |error: std::io::Error| unreachable(address, &error.to_string());
    let mut stream = TcpStream::connect(address).await.map_err(broken)?;
    let envelope = hello(shared);
    let mut bytes = frame::opening().to_vec();
    bytes.extend(frame::message_frame(&envelope));
    stream.write_all(&bytes).await.map_err(broken)?;
    let mut decoder = FrameDecoder::new();
    loop {
        if decoder.open().map_err(|e| unreachable(address, &e.to_string()))? == Opening::Complete
            && let Some(frame) =
                decoder.next_frame().map_err(|e| unreachable(address, &e.to_string()))?
            && frame.kind == FrameType::Message
        {
            let envelope = Envelope::decode(&frame.payload)
                .map_err(|e| unreachable(address, &e.to_string()))?;
            return Ok(envelope.message);
        }
        if stream.read_buf(decoder.buffer()).await.map_err(broken)? == 0 {
            return Err(unreachable(address, "it closes the connection"));
        }
    }
}

/// A greeting that asks and claims nothing.
fn hello(shared: &Shared) -> Envelope {
    let control = shared.control.read();
    let session = &control.session;
    let about = About {
        server: session.server,
        session: session.session,
        role: session.role,
        epoch: session.epoch,
        history: EpochHistory::default(),
        end: shared.journal.last(),
        hardened: shared.journal.hardened(),
        applied: shared.applied(),
        base: control.redo_after,
        data: DataState::Consistent,
        deposed: false,
        orphans_saved: false,
        has_spool: false,
        partner_address: shared.settings.partner_address.clone(),
        client_url: shared.settings.client_url.clone(),
        build: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let hello = Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        intent: Intent::Probe,
        about,
    };
    Envelope { epoch: session.epoch, message: Message::Hello(Box::new(hello)) }
}
