//! The console over HTTP: who gets in, what each role is shown, and that nothing is done by a page of another site.

use std::io::{Read, Write};

use counterpart_access::{Grant, Role};
use counterpart_node::{Refusal, audit::Act};
use serde_json::{Value, json};

use crate::wire::{Api, Reply};

/// A server that lets in who shows one of these tokens, which are names, too.
fn guarded() -> Api {
    let api = Api::start();
    let grant = |role, limits: Option<&[&str]>| Grant::new(role, limits).unwrap();
    *api.fake.guarded.lock().unwrap() = Some(vec![
        ("ann".to_owned(), grant(Role::Admin, None)),
        ("olaf".to_owned(), grant(Role::Operator, None)),
        ("rita".to_owned(), grant(Role::Reader, Some(&["main"]))),
    ]);
    api
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

/// What the first field of forms carries on a page.
fn csrf(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("there is a form");
    rest.split('"').next().unwrap().to_owned()
}

/// A browser that is signed in: its cookie, as a header, and what its forms carry.
struct Browser<'a> {
    api: &'a Api,
    cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    fn sign_in(api: &'a Api, token: &str) -> Browser<'a> {
        let form = format!("csrf={}&token={token}", csrf(&text(&api.call("GET", SIGN_IN, ""))));
        let reply = api.call("POST", SIGN_IN, form);
        assert_eq!(reply.status, 303, "{}", reply.head);
        let (_, cookie) = reply.head.split_once("set-cookie: ").expect("a cookie");
        for flag in ["path=/", "max-age=43200", "httponly", "samesite=strict"] {
            assert!(cookie.contains(flag), "{flag}: {cookie}");
        }
        let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
        let browser = Browser { api, cookie, csrf: String::new() };
        let csrf = csrf(&text(&browser.get("/")));
        Browser { csrf, ..browser }
    }

    fn get(&self, path: &str) -> Reply {
        self.api.call_with("GET", path, &self.cookie, "")
    }

    fn post(&self, path: &str, fields: &str) -> Reply {
        let body = format!("csrf={}&{fields}", self.csrf);
        self.api.call_with("POST", path, &self.cookie, body)
    }
}

const SIGN_IN: &str = "/console/sign-in";

/// Every page, with the first letters of those who may see it: Ann, Olaf, Rita.
const PAGES: [(&str, &str); 8] = [
    ("/", "aor"),
    ("/console/mirroring", "aor"),
    ("/console/databases", "ao"),
    ("/console/databases/main/drop", "a"),
    ("/console/backups", "ao"),
    ("/console/orphans", "ao"),
    ("/console/orphans/1.2-5-6", "ao"),
    ("/console/tokens", "a"),
];

/// Everything that changes something: the path, a form, who may, and what is asked of the server.
const CHANGES: [(&str, &str, &str, &str); 11] = [
    ("/console/mirroring/failover", "", "ao", "failover"),
    ("/console/mirroring/promote", "typed=promote", "ao", "promote false"),
    ("/console/mirroring/suspend", "partner=00000000000000bb", "ao", "suspend Some"),
    ("/console/mirroring/resume", "", "ao", "resume None"),
    ("/console/mirroring/rejoin", "", "ao", "rejoin"),
    ("/console/mirroring/stop", "", "ao", "stop None"),
    ("/console/databases", "name=shop", "a", "create shop"),
    ("/console/databases/shop/drop", "typed=shop", "a", "drop shop"),
    (
        "/console/tokens",
        "name=t&role=writer&databases=a,b&days=2",
        "a",
        "create-token t writer Some(172800)",
    ),
    ("/console/tokens/t/revoke", "", "a", "revoke-token t"),
    ("/console/orphans/1.2-5-6/drop", "typed=1.2-5-6", "ao", "drop-orphans 1.2-5-6"),
];

/// The last call that would change something.
fn last_change(api: &Api) -> Option<String> {
    let looks = ["orphan-set", "assess", "database ", "orphans", "tokens", "orphan-rows"];
    api.fake.calls().into_iter().rfind(|call| !looks.iter().any(|look| call.starts_with(look)))
}

#[test]
fn whoever_is_not_signed_in_sees_the_sign_in_page_and_nothing_else() {
    let api = guarded();
    let reads = PAGES.map(|(path, _)| path).into_iter().chain([
        "/console/live/overview",
        "/console/backups/content",
        "/console/databases/main/content",
        "/console/nowhere",
    ]);
    for path in reads {
        let forged = format!("cookie: counterpart-session-{}=ann\r\n", api.address.port());
        for headers in ["", "authorization: Bearer ann\r\n", &forged] {
            let reply = api.call_with("GET", path, headers, "");
            assert_eq!(reply.status, 303, "{path}: {}", reply.head);
            assert!(reply.head.contains("location: /console/sign-in"), "{path}: {}", reply.head);
            assert_eq!(text(&reply), "", "{path}");
        }
    }
    for (path, form, ..) in CHANGES {
        assert_eq!(api.call("POST", path, form).status, 303, "{path}");
    }
    assert_eq!(api.fake.calls(), Vec::<String>::new());
    let page = api.call("GET", SIGN_IN, "");
    assert_eq!(page.status, 200);
    assert!(!text(&page).contains("principal"), "{}", text(&page));
    for file in ["console.css", "console.js", "icon.svg"] {
        assert_eq!(api.call("GET", &format!("/console/{file}"), "").status, 200, "{file}");
    }
}

#[test]
fn a_token_signs_in_and_the_session_ends_with_it() {
    let api = guarded();
    let page = text(&api.call("GET", SIGN_IN, ""));
    let wrong = api.call("POST", SIGN_IN, format!("csrf={}&token=nobody", csrf(&page)));
    assert_eq!(wrong.status, 401);
    assert!(!wrong.head.contains("set-cookie"), "{}", wrong.head);
    let foreign = api.call("POST", SIGN_IN, "csrf=1&token=ann");
    assert_eq!(foreign.status, 403);

    let (ann, olaf) = (Browser::sign_in(&api, "ann"), Browser::sign_in(&api, "olaf"));
    assert_ne!((&ann.cookie, &ann.csrf), (&olaf.cookie, &olaf.csrf));
    assert!(!ann.cookie.contains("ann"), "{}", ann.cookie);
    assert!(text(&ann.get("/")).contains("ann · admin"));
    assert_eq!(ann.get(SIGN_IN).status, 303);
    // The operator API does not know cookies.
    assert_eq!(ann.get("/api/v1/status").status, 401);
    assert_eq!(olaf.post("/console/sign-out", "").status, 303);
    assert_eq!(olaf.get("/").status, 303);
    // Revoked.
    api.fake.guarded.lock().unwrap().as_mut().unwrap().retain(|(token, _)| token != "ann");
    assert_eq!(ann.get("/").status, 303);
}

#[test]
fn each_role_is_shown_and_does_what_it_may() {
    let api = guarded();
    *api.fake.status.lock().unwrap() = everything_allowed();
    for token in ["ann", "olaf", "rita"] {
        let browser = Browser::sign_in(&api, token);
        let may = |who: &str| who.contains(&token[..1]);
        for (path, who) in PAGES {
            let reply = browser.get(path);
            assert_eq!(reply.status, if may(who) { 200 } else { 403 }, "{path} as {token}");
            assert!(may(who) || text(&reply).contains("may not"), "{path} as {token}");
        }
        for (path, form, who, call) in CHANGES {
            api.fake.calls.lock().unwrap().clear();
            let reply = browser.post(path, form);
            let done = matches!(reply.status, 200 | 303);
            assert_eq!(done, may(who), "{path} as {token}: {}", text(&reply));
            let called = last_change(&api).is_some_and(|last| last.starts_with(call));
            assert_eq!(called, may(who), "{path} as {token}: {:?}", api.fake.calls());
        }
    }
}

fn everything_allowed() -> Value {
    let names = ["failover", "promote", "suspend", "resume", "mirror rejoin", "mirror stop"];
    let commands = names.map(|name| json!({ "command": name, "allowed": true, "reason": null }));
    json!({ "role": "principal", "words": "Principal, synchronized", "mirroring": { "commands": commands } })
}

#[test]
fn a_form_of_another_page_changes_nothing() {
    let api = guarded();
    let (ann, olaf) = (Browser::sign_in(&api, "ann"), Browser::sign_in(&api, "olaf"));
    for (path, form, ..) in CHANGES {
        for csrf in ["", &olaf.csrf, &ann.csrf[1..]] {
            let body = format!("csrf={csrf}&{form}");
            let reply = api.call_with("POST", path, &ann.cookie, body);
            assert_eq!(reply.status, 403, "{path}");
            assert!(text(&reply).contains("CROSS_ORIGIN"), "{path}: {}", text(&reply));
        }
        let foreign = format!("{}origin: http://evil.example\r\n", ann.cookie);
        let reply = api.call_with("POST", path, &foreign, format!("csrf={}&{form}", ann.csrf));
        assert_eq!(reply.status, 403, "{path}");
    }
    let upload = |headers: &str| {
        let path = "/console/databases/shop/content";
        api.call_with("PUT", path, &format!("{}{headers}", ann.cookie), "SQLite").status
    };
    assert_eq!(upload(""), 403);
    assert_eq!(upload(&format!("x-csrf: {}\r\n", olaf.csrf)), 403);
    assert_eq!(last_change(&api), None);
    assert_eq!(upload(&format!("x-csrf: {}\r\n", ann.csrf)), 201);
    assert_eq!(last_change(&api).as_deref(), Some("import shop 6"));
    // Nor where nobody signs in.
    let open = Api::start();
    let reply = open.call("POST", "/console/databases", "name=shop");
    assert_eq!((reply.status, open.fake.calls()), (403, Vec::new()));
    let page = text(&open.call("GET", "/console/databases", ""));
    let reply = open.call("POST", "/console/databases", format!("csrf={}&name=shop", csrf(&page)));
    assert_eq!((reply.status, last_change(&open).as_deref()), (303, Some("create shop")));
}

#[test]
fn what_is_dangerous_is_done_only_with_the_word_for_it() {
    let api = Api::start();
    let csrf = csrf(&text(&api.call("GET", "/console/databases", "")));
    for (path, typed) in [
        ("/console/mirroring/promote", ""),
        ("/console/mirroring/promote", "yes"),
        ("/console/mirroring/promote", "promote by force"),
        ("/console/databases/shop/drop", "main"),
        ("/console/orphans/1.2-5-6/drop", ""),
    ] {
        let reply = api.call("POST", path, format!("csrf={csrf}&typed={typed}"));
        assert_eq!(reply.status, 409, "{path} {typed}");
        assert!(text(&reply).contains("NOT_CONFIRMED_BY_YOU"), "{path}: {}", text(&reply));
    }
    assert_eq!(last_change(&api), None);
}

#[test]
fn a_refusal_is_a_page_with_its_status_and_what_to_do() {
    let api = Api::start();
    let csrf = csrf(&text(&api.call("GET", "/console/databases", "")));
    api.fake.refuse(Refusal::new("DISK_FULL", "the <disk> is full", "free `space`"));
    let reply = api.call("POST", "/console/databases", format!("csrf={csrf}&name=shop"));
    assert_eq!(reply.status, 507);
    let page = text(&reply);
    for part in
        ["the &lt;disk&gt; is full.", "free <code>space</code>.", "DISK_FULL", "Back to Databases"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let reply = api.call("GET", "/console/nowhere", "");
    assert_eq!(reply.status, 404);
    assert!(text(&reply).contains("there is no such page."), "{}", text(&reply));
}

#[test]
fn every_answer_forbids_what_is_not_from_here() {
    let api = Api::start();
    let files = ["/console/console.css", "/console/console.js", "/console/icon.svg"];
    let paths = PAGES.map(|(path, _)| path).into_iter().chain(files).chain(["/console/nowhere"]);
    for path in paths {
        let reply = api.call("GET", path, "");
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
            if files.contains(&path) {
                "cache-control: no-cache"
            } else {
                "cache-control: no-store"
            },
        ] {
            assert!(reply.head.contains(header), "{path}: {header}: {}", reply.head);
        }
        let page = text(&reply);
        assert!(!page.contains(" style=") && !page.contains("<style"), "{path}");
        assert!(
            !page.contains("http://") || path.ends_with(".svg") || !page.contains("src=\"http"),
            "{path}"
        );
    }
}

#[test]
fn at_the_root_a_socket_is_a_socket() {
    let api = Api::start();
    let reply = api.call_with("GET", "/", "upgrade: websocket\r\n", "");
    assert_eq!(text(&reply), "a socket");
    assert!(text(&api.call("GET", "/", "")).contains("<!DOCTYPE html>"));
    assert_eq!(api.call("POST", "/", "").status, 405);
    assert_eq!(api.call("GET", "/console", "").status, 303);
}

/// Reads from a stream until `wanted` has come.
fn read_until(stream: &mut std::net::TcpStream, wanted: &str) -> String {
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while !seen.contains(wanted) {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the stream ended without {wanted:?}: {seen}");
        seen += &String::from_utf8_lossy(&buffer[..read]);
    }
    seen
}

#[test]
fn a_page_follows_the_status_until_its_session_ends() {
    let mut api = guarded();
    let cookie = Browser::sign_in(&api, "rita").cookie;
    let follow = |api: &Api| {
        let mut stream = api.connect();
        let head = format!(
            "GET /console/live/overview HTTP/1.1\r\nhost: {}\r\n{cookie}connection: close\r\n\r\n",
            api.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut stream = follow(&api);
    let seen = read_until(&mut stream, "Configuration");
    for part in ["content-type: text/event-stream", "event: fragment\ndata: <"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    api.fake.set_status(json!({ "role": "mirror", "words": "Mirror, in a new state" }));
    read_until(&mut stream, "Mirror, in a new state");
    read_until(&mut stream, "event: alive");
    // The server ends.
    let mut other = follow(&api);
    read_until(&mut other, "event: fragment");
    drop(api.ending.take());
    for stream in [&mut stream, &mut other] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
    // Nobody follows with a token that is revoked.
    let api = guarded();
    let cookie = Browser::sign_in(&api, "rita").cookie;
    let mut stream = api.connect();
    let head = format!(
        "GET /console/live/mirroring HTTP/1.1\r\nhost: {}\r\n{cookie}connection: close\r\n\r\n",
        api.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    read_until(&mut stream, "event: fragment");
    *api.fake.guarded.lock().unwrap() = Some(Vec::new());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn what_is_done_in_the_console_is_noted_as_the_same_by_the_operator_api() {
    let api = guarded();
    let take = || -> Vec<String> {
        let acts = std::mem::take(&mut *api.fake.noted.lock().unwrap());
        let who = |act: &Act| act.who.as_ref().map_or("nobody".to_owned(), ToString::to_string);
        acts.iter().map(|a| format!("{} {} [{}] {:?}", who(a), a.what, a.about, a.ending)).collect()
    };
    let page = text(&api.call("GET", SIGN_IN, ""));
    api.call("POST", SIGN_IN, format!("csrf={}&token=stolen", csrf(&page)));
    assert_eq!(take(), ["nobody SignIn [SignIn] Refused(\"NOT_SIGNED_IN\")"]);
    let (ann, olaf) = (Browser::sign_in(&api, "ann"), Browser::sign_in(&api, "olaf"));
    assert_eq!(take(), ["token ann SignIn [console] Done", "token olaf SignIn [console] Done"]);
    ann.get("/console/databases");
    assert!(take().is_empty(), "who looks changes nothing");
    ann.post("/console/databases", "name=sales");
    olaf.post("/console/databases", "name=sales");
    olaf.post("/console/tokens", "name=mine&role=admin");
    olaf.get("/console/backups/content");
    ann.post("/console/databases/main/drop", "typed=other");
    assert_eq!(
        take(),
        [
            "token ann CreateDatabase [sales] Done",
            "token olaf CreateDatabase [sales] Refused(\"FORBIDDEN\")",
            "token olaf CreateToken [] Refused(\"FORBIDDEN\")",
            "token olaf Backup [] Done",
            "token ann DropDatabase [main] Refused(\"NOT_CONFIRMED_BY_YOU\")",
        ]
    );
    *api.fake.status.lock().unwrap() = everything_allowed();
    olaf.post("/console/mirroring/failover", "");
    assert_eq!(take(), ["token olaf Failover [] Asked", "token olaf Failover [] Done"]);
}
