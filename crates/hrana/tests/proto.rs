//! The messages as JSON: nothing panics, and everything comes back as it was sent.

mod common;

use common::messages::{
    batch, client_message, entry, server_message, stream_request, stream_result,
};
use counterpart_hrana::proto::{
    BatchCond, ClientMessage, CursorRequest, PipelineRequest, PipelineResponse, ServerMessage,
    Value,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What comes back after a round trip through JSON.
fn round_trip<T: Serialize + DeserializeOwned>(message: &T) -> T {
    let json = serde_json::to_string(message).expect("a message is JSON");
    assert!(!json.contains('\n'), "a line of a cursor must not contain a newline");
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error} in {json}"))
}

/// Whatever is read at all is read without loss.
fn read_or_refuse<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(message) = serde_json::from_str::<T>(text) {
        assert_eq!(round_trip(&message), message);
    }
}

/// Text that is nearly a message: its words in any order.
fn nearly_json() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "true",
            "1",
            "-1e999",
            "1.5",
            "\"\"",
            "\"type\":",
            "\"request\":",
            "\"requests\":[",
            "\"stmt\":{",
            "\"batch\":{",
            "\"steps\":[",
            "\"condition\":{",
            "\"cond\":{",
            "\"conds\":[",
            "\"args\":[",
            "\"value\":",
            "\"base64\":",
            "\"sql\":",
            "\"sql_id\":",
            "\"execute\"",
            "\"batch\"",
            "\"blob\"",
            "\"integer\"",
            "\"float\"",
            "\"text\"",
            "\"not\"",
            "\"and\"",
            "\"hello\"",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn pipelines_come_back_as_they_were_sent(
        baton: Option<String>,
        requests in vec(stream_request(), 0..4),
        results in vec(stream_result(), 0..4),
    ) {
        let request = PipelineRequest { baton: baton.clone(), requests };
        prop_assert_eq!(&round_trip(&request), &request);
        let response = PipelineResponse { baton, base_url: None, results };
        prop_assert_eq!(&round_trip(&response), &response);
    }

    #[test]
    fn cursor_messages_come_back_as_they_were_sent(
        baton: Option<String>, batch in batch(), entry in entry(),
    ) {
        let request = CursorRequest { baton, batch };
        prop_assert_eq!(&round_trip(&request), &request);
        prop_assert_eq!(&round_trip(&entry), &entry);
    }

    #[test]
    fn websocket_messages_come_back_as_they_were_sent(
        client in client_message(), server in server_message(),
    ) {
        prop_assert_eq!(&round_trip(&client), &client);
        prop_assert_eq!(&round_trip(&server), &server);
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in nearly_json()) {
        read_or_refuse::<PipelineRequest>(&text);
        read_or_refuse::<CursorRequest>(&text);
        read_or_refuse::<ClientMessage>(&text);
        read_or_refuse::<ServerMessage>(&text);
        read_or_refuse::<PipelineResponse>(&text);
        read_or_refuse::<Value>(&text);
        read_or_refuse::<BatchCond>(&text);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused_but_never_panics(
        message in client_message(), at: prop::sample::Index, byte: u8,
    ) {
        let mut json = serde_json::to_vec(&message).expect("a message is JSON");
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(message) = serde_json::from_slice::<ClientMessage>(&json) {
            prop_assert_eq!(&round_trip(&message), &message);
        }
    }
}
