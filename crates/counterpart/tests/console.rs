//! The console as operators see it: a real browser at a real pair, which is failed over, killed, promoted and looked after
//! by clicking alone. Every page is held against what makes pages usable for everybody, at three widths, by day and by
//! night; what the browser refuses to load or run fails the test.
//!
//! What drives the browser lives in `tests/console` at the root of the repository; what is done with it stands here.

mod support;

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use support::{
    client::{get_bytes, get_status},
    pair::{Pair, wait_role, wait_state},
    server::Server,
};

/// Where pictures are kept, if somebody wants to look at them.
const PICTURES: &str = "COUNTERPART_TEST_PICTURES";

/// The folder of what drives the browser, which is installed first if it is missing or outdated.
fn folder() -> PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/console");
            let output = Command::new(folder.join("install.sh")).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the browser's driver can't be installed:\n{said}");
            folder
        })
        .clone()
}

/// A browser that does what it is told, a step at a time.
struct Browser {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    fn start() -> Browser {
        let mut command = Command::new("node");
        command.arg(folder().join("browser.mjs")).args(std::env::var_os(PICTURES));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        Browser { child, stdin, answers }
    }

    #[track_caller]
    fn step(&mut self, step: &Value) -> Value {
        writeln!(self.stdin, "{step}").unwrap();
        let answer = self.answers.next().expect("the browser answers").unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["ok"] == true, "{step}: {}", answer["error"].as_str().unwrap_or("?"));
        answer
    }

    #[track_caller]
    fn open(&mut self, server: &Server, path: &str) {
        self.step(&json!({ "step": "open", "url": format!("{}{path}", server.url()) }));
    }

    /// Waits until a text is to be seen.
    #[track_caller]
    fn see(&mut self, text: &str) {
        self.step(&json!({ "step": "see", "text": text }));
    }

    /// Waits until a server's card says this of a term.
    #[track_caller]
    fn value(&mut self, region: &str, term: &str, value: &str) {
        self.step(&json!({ "step": "value", "region": region, "term": term, "value": value }));
    }

    #[track_caller]
    fn click(&mut self, role: &str, name: &str) {
        self.step(&json!({ "step": "click", "role": role, "name": name }));
    }

    #[track_caller]
    fn link(&mut self, name: &str) {
        self.click("link", name);
    }

    #[track_caller]
    fn button(&mut self, name: &str) {
        self.click("button", name);
    }

    /// A button is there, and can't be used.
    #[track_caller]
    fn disabled(&mut self, name: &str) {
        self.step(&json!({ "step": "disabled", "name": name }));
    }

    #[track_caller]
    fn fill(&mut self, label: &str, text: &str) {
        self.step(&json!({ "step": "fill", "label": label, "text": text }));
    }

    /// Whether everybody can use the page that is shown.
    #[track_caller]
    fn audit(&mut self, name: &str) {
        self.step(&json!({ "step": "audit", "name": name }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        self.child.wait().expect("our own child can be waited for");
    }
}

/// The LSN of the last event, as the console writes numbers below a thousand.
fn last_lsn(server: &Server) -> u64 {
    let last = server.status()["journal"]["last"].as_u64().unwrap();
    assert!(last < 1_000, "{last}");
    last
}

#[test]
fn an_operator_watches_a_pair_fails_it_over_and_promotes_its_mirror_by_clicking() {
    let mut pair = Pair::start();
    pair.principal.cli_ok(&["db", "create", "shop"]);
    pair.principal.client().run("create table t(word text)");
    for word in 0..100 {
        pair.principal.client().run(&format!("insert into t values ('{word}')"));
    }
    let mut browser = Browser::start();
    watches(&mut browser, &pair);
    steers(&mut browser, &pair);
    pair = pair.swapped();
    pair.wait_synchronized();
    loses_the_principal(&mut browser, &mut pair);
    loses_the_connection(&mut browser, &mut pair.mirror);
}

/// A commit is seen as it arrives, here and on the partner.
fn watches(browser: &mut Browser, pair: &Pair) {
    browser.open(&pair.principal, "/");
    browser.see("Principal, synchronized");
    browser.see("Fail over now: 0 lost");
    browser.see("Nothing needs attention.");
    browser.audit("overview");
    // The focus stays where it is.
    browser.step(&json!({ "step": "focus", "role": "link", "name": "Mirroring" }));
    pair.principal.client().run("insert into t values ('seen')");
    let last = last_lsn(&pair.principal).to_string();
    browser.value("This server", "Last LSN", &last);
    let partner = format!("Partner {}", pair.mirror.url());
    browser.value(&partner, "Applied LSN", &last);
    browser.step(&json!({ "step": "focused", "name": "Mirroring" }));
}

fn steers(browser: &mut Browser, pair: &Pair) {
    browser.link("Mirroring");
    browser.disabled("Promote");
    browser.see("This server is the principal already.");
    browser.disabled("Resume");
    browser.audit("mirroring");
    browser.link("Suspend…");
    browser.see("What will happen");
    browser.button("Suspend");
    browser.see("Mirroring is suspended.");
    browser.disabled("Fail over");
    browser.audit("suspended");
    browser.link("Resume…");
    browser.button("Resume");
    wait_state(&pair.principal, "SYNCHRONIZED");
    browser.link("Fail over…");
    browser.see("Writes wait meanwhile; none fails, and nothing is lost.");
    browser.audit("failover");
    browser.button("Fail over");
    browser.see("The roles are swapped; nothing was lost.");
    browser.see("Mirror, synchronized");
    wait_role(&pair.mirror, "principal");
}

/// The principal is killed, and the mirror promoted.
fn loses_the_principal(browser: &mut Browser, pair: &mut Pair) {
    pair.principal.kill();
    browser.see("Mirror, disconnected");
    browser.link("Overview");
    browser.see("There is no connection.");
    browser.see("Promote now: 0 lost");
    browser.audit("disconnected");
    // Whoever was not there all the time can't know what it has missed, so that the word for it is asked for.
    pair.mirror.kill();
    browser.see("Not connected");
    pair.mirror.launch();
    browser.step(&json!({ "step": "gone", "text": "Not connected" }));
    browser.link("Mirroring");
    browser.link("Promote…");
    browser.see("What may be lost:");
    browser.audit("promote");
    browser.fill("Type promote to confirm", "Promote");
    browser.button("Promote");
    browser.see("what you typed is not what was asked for, so nothing was done.");
    browser.link("Back to Mirroring");
    browser.link("Promote…");
    browser.fill("Type promote to confirm", "promote");
    browser.button("Promote");
    browser.see("This server is now the principal.");
    wait_role(&pair.mirror, "principal");
    pair.mirror.client().run("insert into t values ('and on it goes')");
    browser.see("Principal, disconnected, exposed");
    browser.audit("exposed");
}

/// What nobody can see any more is said to be old.
fn loses_the_connection(browser: &mut Browser, server: &mut Server) {
    browser.link("Overview");
    browser.see("Principal, disconnected, exposed");
    server.kill();
    browser.see("Not connected: what you see is from");
    browser.audit("offline");
    server.launch();
    browser.step(&json!({ "step": "gone", "text": "Not connected" }));
    browser.see("Principal, disconnected, exposed");
    // A page that follows the server does not keep it from ending.
    assert!(server.terminate().success());
    assert!(!server.log().contains("were cut off"), "{}", server.log());
}

#[test]
fn nobody_sees_anything_without_a_token_and_an_admin_looks_after_databases_and_tokens() {
    let server = Server::start_with(&["--require-token"]);
    let token = std::fs::read_to_string(server.data().join("admin.token")).unwrap();
    let mut browser = Browser::start();
    for path in
        ["/", "/console/mirroring", "/console/databases/main/content", "/console/live/overview"]
    {
        let page = String::from_utf8(get_bytes(&format!("{}{path}", server.url()))).unwrap();
        assert!(page.contains("<h1>Sign in</h1>"), "{path}: {page}");
        assert!(!page.contains("tandalone"), "{path}: {page}");
    }
    signs_in(&mut browser, &server, token.trim());
    looks_after_databases(&mut browser);
    looks_at_backups_and_orphans(&mut browser);
    makes_and_revokes_a_token(&mut browser);
    browser.button("Sign out");
    browser.see("Sign in");
    browser.open(&server, "/console/tokens");
    browser.see("The server's own is in");
}

fn signs_in(browser: &mut Browser, server: &Server, token: &str) {
    browser.open(server, "/");
    browser.audit("sign-in");
    browser.fill("Token", "cpt_wrong");
    browser.button("Sign in");
    browser.see("the token is not known here, or was revoked.");
    browser.audit("sign-in-refused");
    browser.fill("Token", token);
    browser.button("Sign in");
    browser.see("Standalone");
    browser.audit("standalone");
    let answer = browser.step(&json!({ "step": "cookies" }));
    let cookie = &answer["cookies"][0];
    assert_eq!(
        (&cookie["httpOnly"], &cookie["sameSite"]),
        (&json!(true), &json!("Strict")),
        "{answer}"
    );
    // The cookie opens the console, and nothing else.
    assert_eq!(get_status(&format!("{}/api/v1/status", server.url())), 401);
}

fn looks_after_databases(browser: &mut Browser) {
    browser.link("Databases");
    browser.fill("Name", "shop");
    browser.button("Make it, empty");
    browser.see("The database is there.");
    let exported = browser.step(&json!({ "step": "download", "name": "Export shop" }));
    assert_eq!(
        (&exported["file"], &exported["begins"]),
        (&json!("shop.sqlite"), &json!("SQLite format 3"))
    );
    browser.fill("Import as", "copy");
    browser.step(&json!({ "step": "choose", "label": "SQLite file" }));
    browser.button("Import");
    browser.see("The database is there, with all its content.");
    browser.audit("databases");
    browser.link("Drop copy");
    browser.fill("Type copy to confirm", "shop");
    browser.button("Drop it");
    browser.see("what you typed is not what was asked for, so nothing was done.");
    browser.audit("refused");
    browser.link("Back to Databases");
    browser.link("Drop copy");
    browser.audit("drop");
    browser.fill("Type copy to confirm", "copy");
    browser.button("Drop it");
    browser.see("The database is gone.");
}

fn looks_at_backups_and_orphans(browser: &mut Browser) {
    browser.link("Backups");
    browser.audit("backups");
    let backup = browser.step(&json!({ "step": "download", "name": "Download a backup" }));
    assert_eq!(backup["file"], "backup.counterpart");
    browser.link("Orphans");
    browser.see("There are none");
    browser.audit("orphans");
}

fn makes_and_revokes_a_token(browser: &mut Browser) {
    browser.link("Tokens");
    browser.fill("Name", "till-7");
    browser.fill("Databases", "shop");
    browser.button("Make it");
    browser.see("Copy it now: it is shown this once, and kept nowhere.");
    browser.see("cpt_");
    browser.audit("new-token");
    browser.link("Done");
    browser.see("till-7");
    browser.audit("tokens");
    browser.button("Revoke till-7");
    browser.see("The token is revoked");
}
