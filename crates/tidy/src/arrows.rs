//! The crates' arrows point one way, and the core depends on nothing that reaches outside.
//!
//! Cargo refuses a cycle, but not an arrow that the design does not have; here each allowed one is listed. Tests
//! count too: a crate whose tests need a forbidden crate is cut in the wrong place.

use std::collections::BTreeMap;

use crate::Finding;

/// Which of our crates each crate may import. A crate that is not listed may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("counterpart-core", &[]),
    ("counterpart-journal", &["counterpart-core"]),
    ("counterpart-engine", &["counterpart-core"]),
    ("counterpart-hrana", &[]),
    ("counterpart-access", &["counterpart-core"]),
    ("counterpart-tls", &["counterpart-core", "counterpart-journal"]),
    (
        "counterpart-node",
        &["counterpart-core", "counterpart-access", "counterpart-journal", "counterpart-engine"],
    ),
    ("counterpart-admin", &["counterpart-core", "counterpart-access", "counterpart-node"]),
    (
        "counterpart",
        &[
            "counterpart-core",
            "counterpart-access",
            "counterpart-journal",
            "counterpart-engine",
            "counterpart-hrana",
            "counterpart-tls",
            "counterpart-node",
            "counterpart-admin",
        ],
    ),
    ("counterpart-tidy", &[]),
    // What bench/run measures with: clients, and the parts of a commit without them.
    ("counterpart-bench", &["counterpart-core", "counterpart-engine", "counterpart-journal"]),
    // Its own workspace, around the same parts.
    ("counterpart-micro", &["counterpart-core", "counterpart-engine", "counterpart-hrana"]),
    // Its own workspace, around whatever parses bytes from outside.
    ("counterpart-fuzz", &["counterpart-core", "counterpart-hrana", "counterpart-journal"]),
    // Its own workspace, around the real core and node.
    ("counterpart-sim", &["counterpart-core", "counterpart-journal", "counterpart-node"]),
];

/// What the core must not depend on outside its tests: runtimes, sockets, disks, clocks, chance, SQLite.
const IMPURE: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "libc",
    "memmap2",
    "mio",
    "nix",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "ureq",
    "uuid",
];

/// One package of ours with the names it depends on directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// What it imports, also when only its tests or its build do.
    pub any: Vec<String>,
    /// What the crate itself imports.
    pub normal: Vec<String>,
}

/// The packages in the answer of `cargo metadata --no-deps`.
pub fn packages(metadata: &serde_json::Value) -> Vec<Package> {
    let list = metadata["packages"].as_array().expect("cargo metadata lists its packages");
    let package = |value: &serde_json::Value| {
        let dependencies = value["dependencies"].as_array().expect("a package has dependencies");
        let name = |d: &serde_json::Value| d["name"].as_str().unwrap_or_default().to_owned();
        let normal = dependencies.iter().filter(|d| d["kind"].is_null()).map(name).collect();
        let any = dependencies.iter().map(name).collect();
        Package { name: name(value), any, normal }
    };
    list.iter().map(package).collect()
}

/// Every arrow that the design does not have. The subject is the importing package.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    // By name, because a workspace of its own does not list the crates that it imports.
    let ours = |name: &str| name == "counterpart" || name.starts_with("counterpart-");
    let mut found = Vec::new();
    for package in packages {
        let Some(may) = allowed.get(package.name.as_str()) else {
            let message = "is a crate without an entry in tidy's arrows; say what it may import";
            found.push(Finding::new(&package.name, message));
            continue;
        };
        for import in package.any.iter().filter(|import| ours(import)) {
            // A crate's tests may import it once more, with features that only tests want.
            if import != &package.name && !may.contains(&import.as_str()) {
                found.push(Finding::new(&package.name, format!("must not import `{import}`")));
            }
        }
        if package.name == "counterpart-core" {
            for import in package.normal.iter().filter(|import| IMPURE.contains(&import.as_str())) {
                let message = format!("must stay pure, and `{import}` reaches outside");
                found.push(Finding::new(&package.name, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(json: &str) -> Vec<String> {
        let metadata = serde_json::from_str(json).expect("the sample is JSON");
        check(&packages(&metadata)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn an_arrow_upwards_is_found_even_when_only_tests_use_it() {
        let json = r#"{"packages": [
            {"name": "counterpart-core", "dependencies": [{"name": "counterpart-node", "kind": "dev"}]},
            {"name": "counterpart-node", "dependencies": [{"name": "counterpart-core", "kind": null}]}]}"#;
        assert_eq!(messages(json), ["counterpart-core: must not import `counterpart-node`"]);
    }

    #[test]
    fn the_core_may_use_impure_crates_in_its_tests_alone() {
        let json = r#"{"packages": [{"name": "counterpart-core", "dependencies": [
            {"name": "tempfile", "kind": "dev"}, {"name": "tokio", "kind": null}]}]}"#;
        assert_eq!(
            messages(json),
            ["counterpart-core: must stay pure, and `tokio` reaches outside"]
        );
    }

    #[test]
    fn a_crate_of_another_workspace_is_judged_by_the_same_list() {
        let json = r#"{"packages": [{"name": "counterpart-sim", "dependencies": [
            {"name": "counterpart-node", "kind": null}, {"name": "counterpart-hrana", "kind": null}]}]}"#;
        assert_eq!(messages(json), ["counterpart-sim: must not import `counterpart-hrana`"]);
    }

    #[test]
    fn a_crate_nobody_listed_is_found() {
        let found = messages(r#"{"packages": [{"name": "counterpart-misc", "dependencies": []}]}"#);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
