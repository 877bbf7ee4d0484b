//! Reads the source tree: Rust files, tracked texts, and what cargo says about the packages.
//!
//! The one module here that touches the disk and starts programs. Whatever cannot be read is a panic with a
//! sentence: a check of half a tree would pass for the wrong reason.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::source::Source;

/// A file that is text, by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// From the root of the checkout, with `/`.
    pub path: String,
    /// The whole text.
    pub content: String,
}

/// Folders with workspaces. Only the first has to exist.
const WORKSPACES: [&str; 4] = [".", "sim", "bench/micro", "fuzz"];

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate is two folders below the root").to_owned()
}

/// Every Rust file of the workspaces, also those that git does not know yet.
pub fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for folder in ["crates", "sim", "bench", "fuzz"] {
        walk(&root, folder, &mut paths);
    }
    paths.sort();
    let parse = |path: &String| {
        let text = fs::read_to_string(root.join(path))
            .unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
        Source::parse(path, text).unwrap_or_else(|error| panic!("{error}"))
    };
    paths.iter().map(parse).collect()
}

fn walk(root: &Path, folder: &str, paths: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("cannot list {folder}: {error}"));
        let name = entry.file_name().into_string().expect("names in the tree are UTF-8");
        let path = format!("{folder}/{name}");
        let kind = entry.file_type().unwrap_or_else(|error| panic!("cannot see {path}: {error}"));
        let built = ["target", "node_modules"].contains(&name.as_str()) || name.starts_with('.');
        if kind.is_dir() && !built {
            walk(root, &path, paths);
        } else if kind.is_file() && name.ends_with(".rs") {
            paths.push(path);
        }
    }
}

/// Every file that git tracks or would track and that is on the disk, by its path.
pub fn files() -> Vec<String> {
    let root = root();
    let listed = run(Command::new("git").current_dir(&root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    // A deleted file stays listed until its deletion is committed.
    let there = |path: &&str| !path.is_empty() && root.join(path).is_file();
    let files: Vec<String> = listed.split('\0').filter(there).map(str::to_owned).collect();
    assert!(!files.is_empty(), "git lists no file of this checkout");
    files
}

/// Every text among the files, as it is on the disk; a binary file is not a text.
pub fn texts() -> Vec<Text> {
    let root = root();
    let text = |path: String| {
        let content = String::from_utf8(fs::read(root.join(&path)).ok()?).ok()?;
        Some(Text { path, content })
    };
    files().into_iter().filter_map(text).collect()
}

/// These paths, and those of all folders that they are in.
pub fn paths_with_folders(files: &[String]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for file in files {
        let mut path = Some(file.as_str());
        while let Some(inner) = path {
            paths.insert(inner.to_owned());
            path = inner.rsplit_once('/').map(|(folder, _)| folder);
        }
    }
    paths
}

/// What cargo says of each workspace's own packages.
pub fn workspaces() -> Vec<serde_json::Value> {
    let root = root();
    let there = WORKSPACES.iter().filter(|folder| root.join(folder).join("Cargo.toml").exists());
    let own = |folder: &&str| {
        metadata(folder, &["--no-deps", "--offline"])
            .unwrap_or_else(|error| panic!("cargo metadata in {folder}: {error}"))
    };
    there.map(own).collect()
}

/// The root files of every target in the answers of cargo.
pub fn crate_roots(workspaces: &[serde_json::Value]) -> BTreeSet<String> {
    let prefix = format!("{}/", root().display());
    let mut roots = BTreeSet::new();
    for metadata in workspaces {
        for package in metadata["packages"].as_array().expect("packages are listed") {
            for target in package["targets"].as_array().expect("targets are listed") {
                let path = target["src_path"].as_str().expect("a target has a root file");
                roots.insert(path.strip_prefix(&prefix).unwrap_or(path).to_owned());
            }
        }
    }
    roots
}

/// The main workspace's packages and all that they pull in on this platform.
pub fn full_metadata() -> serde_json::Value {
    let version = run(Command::new("rustc").arg("-vV"));
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.expect("rustc names its host").to_owned();
    let arguments = ["--filter-platform", &host, "--offline"];
    // Whoever builds has the packages already; a machine that has not yet may fetch them.
    metadata(".", &arguments)
        .or_else(|_| metadata(".", &arguments[..2]))
        .unwrap_or_else(|error| panic!("cargo metadata: {error}"))
}

fn metadata(folder: &str, arguments: &[&str]) -> Result<serde_json::Value, String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root().join(folder)).args(["metadata", "--format-version", "1"]);
    let output = command.args(arguments).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}");
    String::from_utf8(output.stdout).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
