//! Every command in the README and in the manual is run here, as a reader would: block after block in one shell.
//!
//! A fenced block of commands is marked in its first line:
//!
//! ````text
//! ```sh run              its commands are run; each must succeed
//! ```sh run exit=7       its last command must end with 7
//! ```sh norun: REASON    it is not run, for a reason that a reader may see
//! ```text output         these lines stand, in this order, in what the block before printed; [..] is anything
//! ````
//!
//! Two things differ from a reader's shell. `127.0.0.1` is replaced by another loopback address, so that neither
//! parallel tests nor a server of this machine are in the way. And a reader looks before typing on: between two blocks
//! the shell waits until servers that were started serve, and until no state is one that only passes.
#![allow(missing_docs)]

mod support;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::server::{BINARY, run_cli};

/// Stands between the outputs of two blocks.
const BORDER: &str = "@@@@ block";

/// A fenced block of a document.
struct Block {
    line: usize,
    info: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The README, and all chapters of the manual.
fn documents() -> Vec<PathBuf> {
    let chapters = std::fs::read_dir(root().join("docs/src")).unwrap();
    let mut all: Vec<PathBuf> = chapters.map(|entry| entry.unwrap().path()).collect();
    // Beside them are pictures and figures.
    all.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    all.sort();
    all.insert(0, root().join("README.md"));
    all
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) => {
                inside = true;
                let info = info.trim().to_owned();
                found.push(Block { line: index + 1, info, text: String::new() });
            }
            None if inside => {
                writeln!(found.last_mut().expect("a block is open").text, "{line}").unwrap();
            }
            None => {}
        }
    }
    assert!(!inside, "a block is never closed");
    found
}

/// What is done with a block of commands.
enum Mark {
    Run { exit: u8 },
    Not,
    Output,
    Other,
}

fn mark(block: &Block, at: &str) -> Mark {
    let info = block.info.as_str();
    if let Some(rest) = info.strip_prefix("sh run") {
        let exit =
            rest.trim().strip_prefix("exit=").map(|code| code.parse().expect("an exit code"));
        assert!(rest.is_empty() || exit.is_some(), "{at}: what does `{info}` mean?");
        return Mark::Run { exit: exit.unwrap_or(0) };
    }
    if let Some(reason) = info.strip_prefix("sh norun:") {
        assert!(reason.trim().len() > 10, "{at}: say why it is not run");
        return Mark::Not;
    }
    if info == "text output" {
        return Mark::Output;
    }
    let known = ["js", "json", "ini", "toml", "rust", "python"].contains(&info);
    assert!(known, "{at}: mark it `sh run`, or `sh norun:` with a reason; it is `{info}`");
    Mark::Other
}

/// A command outside a marked block would never be run.
fn all_commands_are_in_marked_blocks(text: &str, name: &str) {
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        inside ^= line.starts_with("```");
        let indented = line.strip_prefix("    ").map(str::trim_start).unwrap_or_default();
        let command = ["counterpart ", "cargo ", "curl ", "./test", "$ "];
        let command = command.iter().any(|start| indented.starts_with(start));
        assert!(inside || !command, "{name}:{}: commands belong into a marked block", index + 1);
    }
}

/// What the shell does before the first block and between two.
const PRELUDE: &str = r#"
set -euo pipefail
trap 'code=$?; set +e; kill -9 $(jobs -p) 2>"$RUN/kill"; wait; exit $code' EXIT
settled() {
  local pid url words alive=0 list=()
  for pid in $(jobs -pr); do
    alive=$((alive + 1))
    [ -e "$RUN/ready.$pid" ] || return 1
    list+=("$(sed 's/.*"client_url":"\([^"]*\)".*/\1/' "$RUN/ready.$pid")")
  done
  for url in "${list[@]}"; do
    if ! words="$("$BINARY" status --server "$url" 2>&1)"; then
      # It serves, and the reader has yet to log in.
      case "$words" in *NOT_SIGNED_IN*|*CERTIFICATE_UNTRUSTED*) continue ;; *) return 1 ;; esac
    fi
    words="${words%%$'\n'*}"
    case "$words" in
      *synchronizing*|*failing\ over*|*doubt*|*saving*|*rejoining*) return 1 ;;
      *disconnected*) [ "$alive" = 1 ] || return 1 ;;
      *,\ synchronized) [ "$alive" -gt 1 ] || return 1 ;;
    esac
  done
}
settle() {
  local i
  for i in $(seq 600); do
    if settled; then return; fi
    sleep 0.05
  done
  echo "the servers do not settle" >&2
  exit 99
}
"#;

/// `counterpart` on the path: a server says when it is ready, and its log does not get between the outputs.
const WRAPPER: &str = r#"#!/usr/bin/env bash
if [ "$1" = serve ]; then
  shift
  exec "$BINARY" serve --ready-file "$RUN/ready.$$" "$@" 2>>"$RUN/log"
fi
exec "$BINARY" "$@"
"#;

fn script(runs: &[(&Block, u8)], own: &str) -> String {
    let mut script = PRELUDE.to_owned();
    for (number, (block, exit)) in runs.iter().enumerate() {
        let commands = block.text.replace("127.0.0.1", own);
        // What was printed last need not end with a line's end.
        writeln!(script, "printf '\\n%s\\n' '{BORDER} {number}'").unwrap();
        if *exit == 0 {
            script += &commands;
        } else {
            write!(script, "set +e\n{commands}code=$?\nset -e\n").unwrap();
            writeln!(script, "[ $code = {exit} ] || {{ echo \"ended with $code\" >&2; exit 98; }}")
                .unwrap();
        }
        script += "settle\n";
    }
    script
}

/// Runs a document's blocks; what each of them printed.
fn run(name: &str, runs: &[(&Block, u8)], own: &str) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let at = |part: &str| dir.path().join(part);
    for part in ["bin", "run", "work"] {
        std::fs::create_dir(at(part)).unwrap();
    }
    let wrapper = at("bin").join("counterpart");
    std::fs::write(&wrapper, WRAPPER).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script_file = at("run").join("script");
    std::fs::write(&script_file, script(runs, own)).unwrap();
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120", "bash"])
        .arg(&script_file)
        .current_dir(at("work"))
        .env("PATH", path)
        .env("BINARY", BINARY)
        .env("RUN", at("run"))
        .env("XDG_CONFIG_HOME", at("run"))
        .env("COUNTERPART_SERVER", format!("http://{own}:6480"))
        .env("COUNTERPART_LISTEN", format!("{own}:6480"))
        .env("COUNTERPART_PARTNER_LISTEN", format!("{own}:6481"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut printed: Vec<String> = Vec::new();
    for line in out.lines() {
        match printed.last_mut() {
            _ if line.starts_with(BORDER) => printed.push(String::new()),
            Some(last) => writeln!(last, "{line}").unwrap(),
            None if line.is_empty() => {}
            None => panic!("{name}: the shell printed {line:?} before its first block"),
        }
    }
    if !output.status.success() {
        let block = &runs[printed.len().saturating_sub(1)].0;
        let log = std::fs::read_to_string(at("run").join("log")).unwrap_or_default();
        panic!("{name}:{}: {}\n{out}\n{err}\n---- servers\n{log}", block.line, output.status);
    }
    printed.iter().map(|text| text.replace(own, "127.0.0.1")).collect()
}

/// Whether `line` is `pattern`, in which `[..]` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut open = false;
    for part in parts {
        open = true;
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || (open && pattern.ends_with("[..]"))
}

fn stands_in(name: &str, expected: &Block, printed: &str) {
    let mut lines = printed.lines();
    for pattern in expected.text.lines() {
        let pattern = pattern.trim_end();
        assert!(
            lines.any(|line| fits(pattern, line.trim_end())),
            "{name}:{}: {pattern:?} does not stand, in this place, in\n{printed}",
            expected.line
        );
    }
}

/// Runs one document from its first block to its last.
fn try_document(path: &Path, own: &str) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = read(path);
    all_commands_are_in_marked_blocks(&text, &name);
    let blocks = blocks(&text);
    let (mut runs, mut outputs) = (Vec::new(), Vec::new());
    for block in &blocks {
        match mark(block, &format!("{name}:{}", block.line)) {
            Mark::Run { exit } => runs.push((block, exit)),
            Mark::Output => outputs.push((runs.len().checked_sub(1), block)),
            Mark::Not | Mark::Other => {}
        }
    }
    if runs.is_empty() {
        return;
    }
    let printed = run(&name, &runs, own);
    for (number, expected) in outputs {
        let number = number.unwrap_or_else(|| panic!("{name}: an output before any command"));
        stands_in(&name, expected, &printed[number]);
    }
}

#[test]
fn every_command_in_the_readme_and_the_manual_does_what_it_says() {
    let [a, b] = (std::process::id() as u16).to_be_bytes();
    for (number, path) in documents().iter().enumerate() {
        // The last number is one that the servers of other tests do not use.
        let own = format!("127.{}.{b}.{}", a.max(1), if number % 2 == 0 { 253 } else { 254 });
        try_document(path, &own);
    }
}

#[test]
fn every_chapter_is_in_the_summary() {
    let summary = read(&root().join("docs/src/SUMMARY.md"));
    for path in &documents()[1..] {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("({name})")), "{name}");
    }
}

/// The text of all Rust files below a directory.
fn sources(dir: &Path, into: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            *into += &read(&path);
        }
    }
}

#[test]
fn every_test_that_the_chapter_on_attackers_names_is_there() {
    let mut all = String::new();
    sources(&root().join("crates"), &mut all);
    let text = read(&root().join("docs/src/security.md"));
    // What is quoted and has the form of a test's name.
    let named = text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 3);
    let named: BTreeSet<&str> = named.collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(all.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

#[test]
fn every_command_has_a_section() {
    const GROUPS: [&str; 6] = ["alarms", "db", "mirror", "orphans", "token", "user"];
    let text = read(&root().join("docs/src/commands.md"));
    for group in [""].into_iter().chain(GROUPS) {
        let help: Vec<&str> = group.split_whitespace().chain(["--help"]).collect();
        let help_text = run_cli(None, &help).expect_ok(&help);
        let commands = help_text.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = commands.take_while(|line| !line.is_empty()).filter_map(|line| {
            // A line that goes on is indented further.
            let line = line.strip_prefix("  ")?;
            line.split_whitespace().next().filter(|_| !line.starts_with(' '))
        });
        for name in names.filter(|name| *name != "help" && !GROUPS.contains(name)) {
            let heading = format!("\n## {}\n", format!("{group} {name}").trim());
            assert!(text.contains(&heading), "commands.md has a section {heading:?}");
        }
    }
}

#[test]
fn every_setting_and_its_default_is_in_the_table() {
    let text = read(&root().join("docs/src/settings.md"));
    let args = ["config", "--json"];
    let told: Value = serde_json::from_str(&run_cli(None, &args).expect_ok(&args)).unwrap();
    let settings = told.as_object().expect("settings by name");
    assert!(settings.len() > 15, "{told}");
    for (name, setting) in settings {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("settings.md has a row for {name}"));
        let follows = ["advertise", "partner-advertise"].contains(&name.as_str());
        if let (Some(default), false) = (setting["value"].as_str(), follows) {
            assert!(row.contains(&format!("| `{default}` |")), "{default} in {row}");
        }
    }
}

#[test]
fn every_path_of_the_api_is_in_its_table() {
    let text = read(&root().join("docs/src/api.md"));
    let server = support::server::Server::start();
    let document =
        support::client::get_json(&format!("{}/api/v1/openapi.json", server.url())).unwrap();
    for (path, methods) in document["paths"].as_object().expect("the document has paths") {
        for method in methods.as_object().expect("a path has methods").keys() {
            let entry = format!("| `{} {path}` |", method.to_uppercase());
            assert!(text.contains(&entry), "api.md has {entry}");
        }
    }
}

/// The fields of `value` are those that `schema` names, and so on within each of them.
fn assert_fields(value: &Value, schema: &Value, place: &str) {
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().for_each(|value| assert_fields(value, items, place));
    }
    let Some((named, told)) = schema["properties"].as_object().zip(value.as_object()) else {
        return;
    };
    let fields = |object: &serde_json::Map<String, Value>| {
        object.keys().cloned().collect::<BTreeSet<String>>()
    };
    assert_eq!(fields(told), fields(named), "{place}");
    for (field, schema) in named {
        assert_fields(&told[field], schema, &format!("{place}.{field}"));
    }
}

#[test]
fn the_status_of_either_server_has_the_fields_that_the_api_document_names() {
    let pair = support::pair::Pair::start();
    let url = format!("{}/api/v1/openapi.json", pair.principal.url());
    let document = support::client::get_json(&url).unwrap();
    let schema = &document["components"]["schemas"]["Status"];
    assert!(schema["properties"]["mirroring"]["properties"]["partners"]["items"].is_object());
    for server in [&pair.principal, &pair.mirror] {
        let status = server.status();
        assert_eq!(status["mirroring"]["partners"].as_array().unwrap().len(), 1);
        assert_fields(&status, schema, "status");
    }
}

/// The README's first command, without building it all again.
#[test]
fn cargo_run_has_one_program_to_choose() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let default = list(&metadata["workspace_default_members"]);
    let packages = list(&metadata["packages"]).into_iter();
    let run = packages.filter(|package| default.contains(&package["id"]));
    let targets = run.flat_map(|package| list(&package["targets"]));
    let programs = targets.filter(|target| list(&target["kind"]).contains(&"bin".into()));
    let names: Vec<_> = programs.map(|target| target["name"].clone()).collect();
    assert_eq!(names, ["counterpart"]);
}
