//! What the command line prints and how it ends, as transcripts under `tests/cmd`. None of them starts a server.
//!
//! `TRYCMD=overwrite cargo test -p counterpart --test cli` writes them anew; read the difference before committing it.
#![allow(missing_docs)]

#[test]
fn the_command_line_prints_and_ends_as_its_transcripts_say() {
    let binary = trycmd::schema::Bin::Path(env!("CARGO_BIN_EXE_counterpart").into());
    trycmd::TestCases::new()
        .register_bin("counterpart", binary)
        // The width that help texts are wrapped at must not depend on who runs the tests.
        .env("COLUMNS", "100")
        .env("COUNTERPART_SERVER", "http://127.0.0.1:1")
        .case("tests/cmd/*.md");
}
