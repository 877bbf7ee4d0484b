//! What the parts of one commit and one request cost by themselves:
//! `cargo bench --manifest-path bench/micro/Cargo.toml [NAME]`.

mod clock;
mod engine;
mod json;
mod record;

fn main() {
    let mut criterion = criterion::Criterion::default().configure_from_args();
    record::all(&mut criterion);
    engine::all(&mut criterion);
    json::all(&mut criterion);
    criterion.final_summary();
}
