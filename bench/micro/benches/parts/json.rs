//! Requests of clients into the protocol's types, and results out of them.

use std::hint::black_box;

use counterpart_hrana::proto::{Col, PipelineRequest, StmtResult, Value};
use criterion::{Criterion, Throughput};

const UPDATE: &str = r#"{"baton":null,"requests":[{"type":"execute","stmt":{"sql":"update acc set bal=bal+? where id=?","args":[{"type":"integer","value":"1"},{"type":"integer","value":"4711"}]}},{"type":"close"}]}"#;

/// A result of so many rows of the figures' table.
fn rows(count: i64) -> StmtResult {
    let col = |name: &str, kind: &str| Col {
        name: Some(name.to_owned()),
        decltype: Some(kind.to_owned()),
    };
    let text = "0123456789ABCDEF".repeat(5);
    let row = |id| vec![Value::Integer(id), Value::Integer(0), Value::Text(text.clone())];
    StmtResult {
        cols: vec![col("id", "INTEGER"), col("bal", "INT"), col("filler", "TEXT")],
        rows: (0..count).map(row).collect(),
        ..StmtResult::default()
    }
}

/// Measures them.
pub fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("JSON");
    group.bench_function("in, one update", |b| {
        b.iter(|| serde_json::from_str::<PipelineRequest>(black_box(UPDATE)).expect("it is JSON"));
    });
    for count in [1, 1000] {
        let result = rows(count);
        group.throughput(Throughput::Elements(count.cast_unsigned()));
        group.bench_function(format!("out, {count} rows"), |b| {
            b.iter(|| serde_json::to_vec(black_box(&result)).expect("it becomes JSON"));
        });
    }
    group.finish();
}
