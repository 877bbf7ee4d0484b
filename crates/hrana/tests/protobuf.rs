//! The messages in protobuf: they say the same as in JSON, other implementations understand them, and no bytes make a
//! reader panic or take much more memory than they are long.

mod common;

use common::messages::{
    batch, client_message, entry, server_message, stream_request, stream_result,
};
use counterpart_hrana::proto::protobuf::{Invalid, Protobuf, decode, encode};
use counterpart_hrana::proto::{
    ClientMessage, CursorEntry, CursorRequest, CursorResponse, PipelineRequest, PipelineResponse,
    ServerMessage, StreamRequest, StreamResponse, StreamResult,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

/// One of each message with all of its fields, written by Google's implementation from the schema in the specification's
/// appendix: a type, the bytes in hexadecimal digits, and what they say in JSON.
const FOREIGN: &str = include_str!("data/protobuf.txt");

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn same<T: Protobuf + DeserializeOwned + Clone + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    json: &str,
) {
    let message: T = decode(bytes).unwrap_or_else(|error| panic!("{error} in {json}"));
    assert_eq!(message, serde_json::from_str(json).unwrap());
    let written = encode(message.clone());
    assert_eq!(decode(&written), Ok(message));
    // Of the entries of maps, zeros may be left out or not.
    if !json.contains("step_results") {
        assert_eq!(written, bytes, "{json}");
    }
}

#[test]
fn messages_of_another_implementation_are_read_and_written_alike() {
    let mut types = std::collections::BTreeSet::new();
    for line in FOREIGN.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (bytes, json) = rest.split_once(' ').unwrap();
        let bytes = bytes_of(bytes);
        types.insert(kind);
        match kind {
            "PipelineRequest" => same::<PipelineRequest>(&bytes, json),
            "PipelineResponse" => same::<PipelineResponse>(&bytes, json),
            "CursorRequest" => same::<CursorRequest>(&bytes, json),
            "CursorResponse" => same::<CursorResponse>(&bytes, json),
            "CursorEntry" => same::<CursorEntry>(&bytes, json),
            "ClientMessage" => same::<ClientMessage>(&bytes, json),
            "ServerMessage" => same::<ServerMessage>(&bytes, json),
            _ => panic!("an example of {kind}"),
        }
    }
    assert_eq!(types.len(), 7);
}

#[test]
fn fields_that_the_schema_does_not_know_are_skipped() {
    // Field 99, a string, after the request to close.
    let bytes = [0x12, 0x02, 0x0a, 0x00, 0x9a, 0x06, 0x01, b'x'];
    let request = PipelineRequest { baton: None, requests: vec![StreamRequest::Close] };
    assert_eq!(decode(&bytes), Ok(request));
}

#[test]
fn what_a_message_cannot_do_without_is_named() {
    let refused = |bytes: &[u8]| decode::<PipelineRequest>(bytes).unwrap_err().to_string();
    assert_eq!(refused(&[0x12, 0x00]), "a request of no known type");
    assert_eq!(refused(&[0x12, 0x02, 0x12, 0x00]), "missing field `stmt`");
    assert_eq!(refused(&[0x12, 0x02, 0x1a, 0x00]), "missing field `batch`");
    let empty_argument = [0x12, 0x06, 0x12, 0x04, 0x0a, 0x02, 0x1a, 0x00];
    assert_eq!(refused(&empty_argument), "a value of no known type");
    let nameless = [0x12, 0x06, 0x12, 0x04, 0x0a, 0x02, 0x22, 0x00];
    assert_eq!(refused(&nameless), "missing field `value`");
    assert!(matches!(decode::<ClientMessage>(b"\xff"), Err(Invalid::Encoding(_))));
    assert_eq!(decode::<ClientMessage>(b""), Err(Invalid::Unknown("message")));
    assert_eq!(decode::<CursorRequest>(b""), Err(Invalid::Missing("batch")));
}

#[test]
fn a_short_message_cannot_ask_for_much_memory() {
    // A request of four bytes, a million times; and values of four bytes, a million times in one statement.
    let closes = [0x12, 0x02, 0x0a, 0x00].repeat(1_000_000);
    let most = closes.len() / 16;
    assert_eq!(decode::<PipelineRequest>(&closes), Err(Invalid::TooMany(most)));
    let few = &closes[..4 * 500];
    let requests = decode::<PipelineRequest>(few).unwrap().requests;
    assert_eq!(requests, vec![StreamRequest::Close; 500]);

    let wrapped = |number: u8, inner: Vec<u8>| {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend(inner);
        bytes
    };
    let nulls = [0x1a, 0x02, 0x0a, 0x00].repeat(1_000_000);
    let body = wrapped(2, wrapped(2, wrapped(1, nulls)));
    assert!(matches!(decode::<PipelineRequest>(&body), Err(Invalid::TooMany(_))));
    // As many steps of a batch's result as are not there.
    let far = wrapped(3, wrapped(1, wrapped(3, wrapped(1, wrapped(1, vec![8, 255, 255, 255, 7])))));
    assert!(matches!(decode::<PipelineResponse>(&far), Err(Invalid::Step(_))), "{far:?}");
    // Conditions inside each other, as deep as it goes.
    let mut deep = vec![0x08, 0x00];
    for _ in 0..100_000 {
        deep = wrapped(3, deep);
        if deep.len() > 20_000 {
            break;
        }
    }
    let body = wrapped(2, wrapped(1, wrapped(1, deep)));
    assert!(decode::<CursorRequest>(&body).is_err());
}

/// Whoever reads comes to the steps first and to what is wrong last.
#[test]
fn a_short_message_that_is_wrong_at_its_end_cannot_ask_for_much_memory_either() {
    let mut body = vec![0x12];
    let steps = [0x0a, 0x00].repeat(1_000_000);
    prost::encoding::encode_varint(steps.len() as u64, &mut body);
    body.extend(steps);
    assert!(matches!(decode::<CursorRequest>(&body), Err(Invalid::TooMany(_))));
    body.push(0xff);
    assert!(matches!(decode::<CursorRequest>(&body), Err(Invalid::TooMany(_))));
}

/// The steps that a batch skipped at its end leave no trace in protobuf.
fn trimmed(mut result: StreamResult) -> StreamResult {
    if let StreamResult::Ok { response: StreamResponse::Batch { result } } = &mut result {
        let results = result.step_results.iter().rposition(Option::is_some);
        let errors = result.step_errors.iter().rposition(Option::is_some);
        let count = results.max(errors).map_or(0, |last| last + 1);
        result.step_results.resize(count, None);
        result.step_errors.resize(count, None);
    }
    result
}

proptest! {
    #[test]
    fn bodies_come_back_as_they_were_sent(
        baton: Option<String>,
        requests in vec(stream_request(), 0..4),
        results in vec(stream_result().prop_map(trimmed), 0..4),
        batch in batch(),
        entry in entry(),
    ) {
        let request = PipelineRequest { baton: baton.clone(), requests };
        prop_assert_eq!(decode(&encode(request.clone())), Ok(request));
        let response = PipelineResponse { baton: baton.clone(), base_url: None, results };
        prop_assert_eq!(decode(&encode(response.clone())), Ok(response));
        let request = CursorRequest { baton, batch };
        prop_assert_eq!(decode(&encode(request.clone())), Ok(request));
        prop_assert_eq!(decode(&encode(entry.clone())), Ok(entry));
    }

    #[test]
    fn websocket_messages_come_back_as_they_were_sent(
        client in client_message(), server in server_message(),
    ) {
        prop_assert_eq!(decode(&encode(client.clone())), Ok(client));
        let written = encode(server);
        let server: ServerMessage = decode(&written).unwrap();
        prop_assert_eq!(encode(server), written);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        read_or_refuse(&bytes);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused_but_never_panics(
        message in client_message(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut bytes = encode(message);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_or_refuse(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_or_refuse(&bytes);
    }
}

fn read_or_refuse(bytes: &[u8]) {
    fn again<T: Protobuf>(bytes: &[u8]) {
        if let Ok(message) = decode::<T>(bytes) {
            let written = encode(message);
            let second: T = decode(&written).expect("what was written can be read");
            assert_eq!(encode(second), written);
        }
    }
    again::<PipelineRequest>(bytes);
    again::<CursorRequest>(bytes);
    again::<ClientMessage>(bytes);
    again::<ServerMessage>(bytes);
    again::<PipelineResponse>(bytes);
    again::<CursorEntry>(bytes);
}
