//! Nothing: what is measured is in the other crates, and how is in `benches/parts`.
