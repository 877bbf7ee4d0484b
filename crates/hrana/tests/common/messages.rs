//! Messages of every kind, as strategies of proptest.

use counterpart_hrana::proto::{
    Batch, BatchCond, BatchResult, BatchStep, ClientMessage, Col, CursorEntry, DescribeCol,
    DescribeParam, DescribeResult, Error, NamedArg, Request, Response, ServerMessage, Stmt,
    StmtResult, StreamRequest, StreamResponse, StreamResult, Value,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn value() -> impl Strategy<Value = Value> {
    let not_nan = any::<f64>().prop_filter("a NaN is not written as itself", |f| !f.is_nan());
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        not_nan.prop_map(Value::Float),
        Just(Value::Float(f64::INFINITY)),
        Just(Value::Float(f64::NEG_INFINITY)),
        any::<String>().prop_map(Value::Text),
        vec(any::<u8>(), 0..50).prop_map(Value::Blob),
    ]
}

pub fn stmt() -> impl Strategy<Value = Stmt> {
    let named = (any::<String>(), value()).prop_map(|(name, value)| NamedArg { name, value });
    (
        option::of(any::<String>()),
        option::of(any::<i32>()),
        vec(value(), 0..4),
        vec(named, 0..4),
        option::of(any::<bool>()),
    )
        .prop_map(|(sql, sql_id, args, named_args, want_rows)| Stmt {
            sql,
            sql_id,
            args,
            named_args,
            want_rows,
        })
}

pub fn cond() -> impl Strategy<Value = BatchCond> {
    let leaf = prop_oneof![
        any::<u32>().prop_map(|step| BatchCond::Ok { step }),
        any::<u32>().prop_map(|step| BatchCond::Error { step }),
        Just(BatchCond::IsAutocommit),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|cond| BatchCond::Not { cond: Box::new(cond) }),
            vec(inner.clone(), 0..3).prop_map(|conds| BatchCond::And { conds }),
            vec(inner, 0..3).prop_map(|conds| BatchCond::Or { conds }),
        ]
    })
}

pub fn batch() -> impl Strategy<Value = Batch> {
    let step =
        (option::of(cond()), stmt()).prop_map(|(condition, stmt)| BatchStep { condition, stmt });
    vec(step, 0..4).prop_map(|steps| Batch { steps })
}

pub fn sql() -> impl Strategy<Value = (Option<String>, Option<i32>)> {
    (option::of(any::<String>()), option::of(any::<i32>()))
}

pub fn stream_request() -> impl Strategy<Value = StreamRequest> {
    prop_oneof![
        Just(StreamRequest::Close),
        stmt().prop_map(|stmt| StreamRequest::Execute { stmt }),
        batch().prop_map(|batch| StreamRequest::Batch { batch }),
        sql().prop_map(|(sql, sql_id)| StreamRequest::Sequence { sql, sql_id }),
        sql().prop_map(|(sql, sql_id)| StreamRequest::Describe { sql, sql_id }),
        any::<(i32, String)>().prop_map(|(sql_id, sql)| StreamRequest::StoreSql { sql_id, sql }),
        any::<i32>().prop_map(|sql_id| StreamRequest::CloseSql { sql_id }),
        Just(StreamRequest::GetAutocommit),
    ]
}

pub fn error() -> impl Strategy<Value = Error> {
    any::<(String, Option<String>)>().prop_map(|(message, code)| Error { message, code })
}

pub fn cols() -> impl Strategy<Value = Vec<Col>> {
    let col = any::<(Option<String>, Option<String>)>();
    vec(col.prop_map(|(name, decltype)| Col { name, decltype }), 0..3)
}

pub fn stmt_result() -> impl Strategy<Value = StmtResult> {
    (cols(), vec(vec(value(), 0..3), 0..3), any::<u64>(), any::<Option<i64>>()).prop_map(
        |(cols, rows, affected_row_count, last_insert_rowid)| StmtResult {
            cols,
            rows,
            affected_row_count,
            last_insert_rowid,
        },
    )
}

pub fn batch_result() -> impl Strategy<Value = BatchResult> {
    (vec(option::of(stmt_result()), 0..3), vec(option::of(error()), 0..3))
        .prop_map(|(step_results, step_errors)| BatchResult { step_results, step_errors })
}

pub fn describe_result() -> impl Strategy<Value = DescribeResult> {
    let col = any::<(String, Option<String>)>()
        .prop_map(|(name, decltype)| DescribeCol { name, decltype });
    let param = any::<Option<String>>().prop_map(|name| DescribeParam { name });
    (vec(param, 0..3), vec(col, 0..3), any::<(bool, bool)>()).prop_map(
        |(params, cols, (is_explain, is_readonly))| DescribeResult {
            params,
            cols,
            is_explain,
            is_readonly,
        },
    )
}

pub fn stream_result() -> impl Strategy<Value = StreamResult> {
    let response = prop_oneof![
        Just(StreamResponse::Close),
        stmt_result().prop_map(|result| StreamResponse::Execute { result }),
        batch_result().prop_map(|result| StreamResponse::Batch { result }),
        Just(StreamResponse::Sequence),
        describe_result().prop_map(|result| StreamResponse::Describe { result }),
        Just(StreamResponse::StoreSql),
        Just(StreamResponse::CloseSql),
        any::<bool>().prop_map(|is_autocommit| StreamResponse::GetAutocommit { is_autocommit }),
    ];
    prop_oneof![
        response.prop_map(|response| StreamResult::Ok { response }),
        error().prop_map(|error| StreamResult::Error { error }),
    ]
}

pub fn entry() -> impl Strategy<Value = CursorEntry> {
    prop_oneof![
        (any::<u32>(), cols()).prop_map(|(step, cols)| CursorEntry::StepBegin { step, cols }),
        vec(value(), 0..4).prop_map(|row| CursorEntry::Row { row }),
        any::<(u64, Option<i64>)>().prop_map(|(affected_row_count, last_insert_rowid)| {
            CursorEntry::StepEnd { affected_row_count, last_insert_rowid }
        }),
        (any::<u32>(), error()).prop_map(|(step, error)| CursorEntry::StepError { step, error }),
        error().prop_map(|error| CursorEntry::Error { error }),
    ]
}

pub fn request() -> impl Strategy<Value = Request> {
    let id = any::<i32>;
    prop_oneof![
        id().prop_map(|stream_id| Request::OpenStream { stream_id }),
        id().prop_map(|stream_id| Request::CloseStream { stream_id }),
        (id(), stmt()).prop_map(|(stream_id, stmt)| Request::Execute { stream_id, stmt }),
        (id(), batch()).prop_map(|(stream_id, batch)| Request::Batch { stream_id, batch }),
        (id(), id(), batch()).prop_map(|(stream_id, cursor_id, batch)| {
            Request::OpenCursor { stream_id, cursor_id, batch }
        }),
        id().prop_map(|cursor_id| Request::CloseCursor { cursor_id }),
        (id(), any::<u32>())
            .prop_map(|(cursor_id, max_count)| Request::FetchCursor { cursor_id, max_count }),
        (id(), sql()).prop_map(|(stream_id, (sql, sql_id))| {
            Request::Sequence { stream_id, sql, sql_id }
        }),
        (id(), sql()).prop_map(|(stream_id, (sql, sql_id))| {
            Request::Describe { stream_id, sql, sql_id }
        }),
        (id(), any::<String>()).prop_map(|(sql_id, sql)| Request::StoreSql { sql_id, sql }),
        id().prop_map(|sql_id| Request::CloseSql { sql_id }),
        id().prop_map(|stream_id| Request::GetAutocommit { stream_id }),
    ]
}

pub fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        Just(Response::OpenStream),
        Just(Response::CloseStream),
        stmt_result().prop_map(|result| Response::Execute { result }),
        batch_result().prop_map(|result| Response::Batch { result }),
        Just(Response::OpenCursor),
        Just(Response::CloseCursor),
        (vec(entry(), 0..3), any::<bool>())
            .prop_map(|(entries, done)| Response::FetchCursor { entries, done }),
        Just(Response::Sequence),
        describe_result().prop_map(|result| Response::Describe { result }),
        Just(Response::StoreSql),
        Just(Response::CloseSql),
        any::<bool>().prop_map(|is_autocommit| Response::GetAutocommit { is_autocommit }),
    ]
}

pub fn client_message() -> impl Strategy<Value = ClientMessage> {
    prop_oneof![
        any::<Option<String>>().prop_map(|jwt| ClientMessage::Hello { jwt }),
        (any::<i32>(), request())
            .prop_map(|(request_id, request)| ClientMessage::Request { request_id, request }),
    ]
}

pub fn server_message() -> impl Strategy<Value = ServerMessage> {
    prop_oneof![
        Just(ServerMessage::HelloOk),
        error().prop_map(|error| ServerMessage::HelloError { error }),
        (any::<i32>(), response())
            .prop_map(|(request_id, response)| ServerMessage::ResponseOk { request_id, response }),
        (any::<i32>(), error())
            .prop_map(|(request_id, error)| ServerMessage::ResponseError { request_id, error }),
    ]
}
