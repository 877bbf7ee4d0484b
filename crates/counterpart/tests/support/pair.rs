//! A principal and its mirror, and the states one waits for.

use serde_json::Value;

use super::{
    server::{Server, run_cli},
    wait_for,
};

/// Two servers of one session.
pub struct Pair {
    pub principal: Server,
    pub mirror: Server,
}

impl Pair {
    /// Two fresh servers, synchronized.
    pub fn start() -> Pair {
        Pair::start_with(&[], &[])
    }

    /// Two fresh servers with further arguments for `serve` and for `mirror start`, synchronized.
    pub fn start_with(serve: &[&str], mirror_start: &[&str]) -> Pair {
        let pair = Pair { principal: Server::start_with(serve), mirror: Server::start_with(serve) };
        start_mirroring(&pair.principal, &pair.mirror, mirror_start);
        pair.wait_synchronized();
        pair
    }

    pub fn wait_synchronized(&self) {
        wait_synchronized(&self.principal);
        wait_state(&self.mirror, "SYNCHRONIZED");
    }

    /// The servers with their roles swapped.
    pub fn swapped(self) -> Pair {
        Pair { principal: self.mirror, mirror: self.principal }
    }

    /// Waits until the mirror has applied all that the principal has confirmed, then compares every database page by
    /// page, page 1's counters aside. Nothing may be writing.
    pub fn assert_equal(&self) {
        assert_equal(&self.principal, &self.mirror);
    }
}

/// `counterpart mirror start`, which must succeed.
pub fn start_mirroring(principal: &Server, mirror: &Server, extra: &[&str]) {
    let (p, m) = (principal.url(), mirror.url());
    let mut args = vec!["mirror", "start", "--principal", &p, "--mirror", &m, "--yes"];
    args.extend(extra);
    run_cli(None, &args).expect_ok(&args);
}

/// The states of a server's partners, as its status gives them.
pub fn partner_states(status: &Value) -> Vec<String> {
    let partners = status["mirroring"]["partners"].as_array().cloned().unwrap_or_default();
    partners.iter().filter_map(|p| p["state"].as_str().map(str::to_owned)).collect()
}

/// Waits until all mirrors of a principal are synchronized.
pub fn wait_synchronized(principal: &Server) {
    wait_state(principal, "SYNCHRONIZED");
}

/// Waits until every partner of `server` is in `state` from its point of view.
pub fn wait_state(server: &Server, state: &str) {
    wait_for(&format!("{} to be {state}", server.url()), || {
        let states = partner_states(&server.try_status().ok()?);
        (!states.is_empty() && states.iter().all(|s| s == state)).then_some(())
    });
}

/// Waits until a server has the role.
pub fn wait_role(server: &Server, role: &str) {
    wait_for(&format!("{} to be {role}", server.url()), || {
        (server.try_status().ok()?["role"] == role).then_some(())
    });
}

fn number(status: &Value, path: &str) -> u64 {
    status
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("status has {path}: {status}"))
}

/// Waits until the mirror has applied what the principal has committed.
pub fn wait_applied(principal: &Server, mirror: &Server) {
    wait_for("the mirror to apply all", || {
        let last = number(&principal.status(), "/journal/last");
        (number(&mirror.status(), "/applied") >= last
            && number(&principal.status(), "/journal/last") == last)
            .then_some(())
    });
}

/// The names of a server's databases.
pub fn databases(server: &Server) -> Vec<String> {
    let list = super::client::get_json(&format!("{}/api/v1/databases", server.url())).unwrap();
    let list = list["databases"].as_array().expect("a list of databases");
    list.iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

/// Both copies are equal, database by database, page by page, page 1's counters aside.
pub fn assert_equal(principal: &Server, mirror: &Server) {
    wait_applied(principal, mirror);
    let names = databases(principal);
    assert_eq!(names, databases(mirror), "both servers have the same databases");
    for name in names {
        let (ours, theirs) = (principal.export(&name), mirror.export(&name));
        assert_eq!(ours.len(), theirs.len(), "{name} has the same size on both");
        let page = 512;
        for (i, (a, b)) in ours.chunks(page).zip(theirs.chunks(page)).enumerate() {
            assert_eq!(a, b, "{name} differs in bytes {}..{}", i * page, (i + 1) * page);
        }
    }
}

/// `other`, which may be down, as `server` sees it in its status.
///
/// # Panics
/// If it does not know it.
#[track_caller]
pub fn partner(server: &Server, other: &Server) -> Value {
    let (status, url) = (server.status(), other.url());
    let partners = status["mirroring"]["partners"].as_array().cloned().unwrap_or_default();
    let found = partners.into_iter().find(|partner| partner["client_url"] == url);
    found.unwrap_or_else(|| panic!("{} has no partner {url}: {status}", server.url()))
}
