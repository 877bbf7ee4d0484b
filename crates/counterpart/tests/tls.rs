//! TLS where clients and operators connect: a server's own certificate, an operator's, their replacement; who is taken
//! for the server and who is not; real clients; and two servers that pass requests on to each other.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use counterpart_core::Fingerprint;
use counterpart_tls::{
    Files, Own, Trust, certificate_fingerprint, key_fingerprint,
    rustls::pki_types::{CertificateDer, UnixTime},
};
use serde_json::{Value, json};
use support::{
    clock::now,
    pair::{partner_states, wait_role, wait_state},
    secure::Secure,
    server::{BINARY, CliOutcome, Server, refused_with},
    wait_for,
};
use tempfile::TempDir;

const ON: &[&str] = &["--tls=on"];

/// An operator, with a place of their own for what is remembered.
struct Operator(TempDir);

impl Operator {
    fn new() -> Operator {
        Operator(tempfile::tempdir().unwrap())
    }

    fn command(&self, url: &str, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).stdin(Stdio::null()).env("COUNTERPART_SERVER", url);
        command.env("XDG_CONFIG_HOME", self.0.path());
        for name in ["COUNTERPART_TOKEN", "COUNTERPART_TOKEN_FILE", "COUNTERPART_CA_CERT"] {
            command.env_remove(name);
        }
        command
    }

    fn cli(&self, server: &Server, args: &[&str]) -> CliOutcome {
        CliOutcome::of(&mut self.command(&server.url(), args))
    }

    fn cli_ok(&self, server: &Server, args: &[&str]) -> String {
        self.cli(server, args).expect_ok(args)
    }

    /// Knows these servers by the keys that they show now.
    fn knowing(servers: &[&Server]) -> Operator {
        let operator = Operator::new();
        for server in servers {
            let key = shown(server).0.to_string();
            operator.cli_ok(server, &["login", "--no-token", "--fingerprint", &key]);
        }
        operator
    }
}

/// The fingerprints of the key and of the certificate that a server shows.
fn shown(server: &Server) -> (Fingerprint, Fingerprint) {
    of(&Secure::to(server).certificate())
}

fn of(certificate: &[u8]) -> (Fingerprint, Fingerprint) {
    let certificate = CertificateDer::from(certificate);
    (key_fingerprint(&certificate).unwrap(), certificate_fingerprint(&certificate))
}

/// A certificate that somebody made elsewhere, for these names.
fn made(directory: &Path, names: &[&str]) -> Files {
    let own = Own::new(directory, names.iter().copied());
    own.keep(UnixTime::now()).unwrap();
    own.files().clone()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_server_makes_its_certificate_once_and_tells_the_fingerprint_of_what_it_shows() {
    let mut server = Server::start_with(ON);
    let (key, certificate) = shown(&server);
    let log = server.log();
    assert!(log.contains(&key.to_string()) && log.contains(&certificate.to_string()), "{log}");
    assert!(!log.contains("PRIVATE") && !log.contains("WARN"), "{log}");
    let status = server.status();
    let told = json!({
        "fingerprint": key.to_string(),
        "certificate_fingerprint": certificate.to_string(),
        "self_signed": true,
    });
    assert_eq!(status["tls"], told);
    assert_eq!(status["client_url"], server.url());
    let operator = Operator::knowing(&[&server]);
    assert!(operator.cli_ok(&server, &["status"]).contains(&key.to_string()));
    let mode = |name: &str| {
        let file = server.data().join("tls").join(name);
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("key.pem"), 0o600);
    assert!(server.terminate().success());
    server.launch();
    assert_eq!(shown(&server), (key, certificate));
    // Lost, or made anew before its end: whoever knows the key notices nothing.
    assert!(server.terminate().success());
    fs::remove_file(server.data().join("tls/cert.pem")).unwrap();
    server.launch();
    assert_eq!(shown(&server).0, key);
    assert_ne!(shown(&server).1, certificate);
    operator.cli_ok(&server, &["status"]);
    // While it serves, too.
    let certificate = shown(&server).1;
    fs::remove_file(server.data().join("tls/cert.pem")).unwrap();
    server.signal("HUP");
    let renewed = wait_for("another certificate", || {
        let certificate_now = of(&Secure::try_to(&server).ok()?.certificate());
        (certificate_now.1 != certificate).then_some(certificate_now)
    });
    assert_eq!(renewed.0, key);
    assert_eq!(server.status()["tls"]["certificate_fingerprint"], renewed.1.to_string());
}

#[test]
fn a_loopback_address_is_served_plainly_unless_somebody_says_otherwise() {
    let server = Server::start();
    assert_eq!(server.status()["tls"], Value::Null);
    assert!(!server.data().join("tls").exists());
}

#[test]
fn a_given_certificate_is_replaced_while_connections_go_on_and_a_bad_one_never_is_shown() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let [first, second] = ["1", "2"].map(|name| made(&path(name), &["db.example"]));
    let put = |from: &Path, to: &Path| {
        let new = to.with_extension("new");
        fs::copy(from, &new).unwrap();
        // As a tool that renews certificates does; the system's `mv` renames.
        assert!(Command::new("mv").arg(&new).arg(to).status().unwrap().success());
    };
    let files = Files { certificate: path("cert.pem"), key: path("key.pem") };
    put(&first.certificate, &files.certificate);
    put(&first.key, &files.key);
    let (certificate, key) = (text(&files.certificate), text(&files.key));
    let mut server = Server::start_with(&["--tls-cert", certificate, "--tls-key", key]);
    let connect = |files: &Files| {
        Secure::connect(&server, "db.example", Trust::file(&files.certificate).unwrap())
    };
    let mut early = connect(&first).unwrap();
    let status = |connection: &mut Secure| {
        connection.request("GET", "/api/v1/status", &Value::Null).unwrap().1
    };
    assert_eq!(status(&mut early)["tls"]["self_signed"], false);
    assert!(!server.data().join("tls").exists());

    put(&second.certificate, &files.certificate);
    wait_for("the pair that does not fit to be refused", || {
        server.log().contains("TLS_KEY_MISMATCH").then_some(())
    });
    connect(&first).unwrap();
    status(&mut early);

    put(&second.key, &files.key);
    server.signal("HUP");
    let mut late = wait_for("the new certificate", || connect(&second).ok());
    let (key, certificate) = of(&late.certificate());
    for connection in [&mut early, &mut late] {
        let told = status(connection)["tls"].clone();
        assert_eq!(told["fingerprint"], key.to_string());
        assert_eq!(told["certificate_fingerprint"], certificate.to_string());
    }
    assert!(connect(&first).is_err());

    fs::write(&files.key, "no key").unwrap();
    wait_for("what is no key to be refused", || {
        server.log().contains("TLS_FILE_NOT_PEM").then_some(())
    });
    let mut after = connect(&second).unwrap();
    status(&mut after);
    assert!(!server.log().contains("no key\n"), "what is in the file is told to nobody");
    assert!(server.terminate().success());
    for mut connection in [early, late, after] {
        assert!(connection.is_closed_in_order());
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start_with_its_file() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let [one, other] = ["1", "2"].map(|name| made(&path(name), &[]));
    let nothing = path("nothing");
    for (certificate, key, code, named) in [
        (&nothing, &one.key, "TLS_FILE_NOT_FOUND", &nothing),
        (&one.certificate, &nothing, "TLS_FILE_NOT_FOUND", &nothing),
        (&one.key, &one.key, "TLS_FILE_NOT_PEM", &one.key),
        (&one.certificate, &one.certificate, "TLS_FILE_NOT_PEM", &one.certificate),
        (&one.certificate, &other.key, "TLS_KEY_MISMATCH", &other.key),
    ] {
        let mut server =
            Server::prepare(&["--tls-cert", text(certificate), "--tls-key", text(key)]);
        let status = server.launch_or_end().unwrap_err();
        let log = server.log();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(code) && log.contains(text(named)), "{code}: {log}");
    }
    let mut server = Server::prepare(&["--tls-cert", text(&one.certificate)]);
    assert_eq!(server.launch_or_end().unwrap_err().code(), Some(2));
    assert!(server.log().contains("--tls-key"), "{}", server.log());
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    let place = tempfile::tempdir().unwrap();
    let files = made(place.path(), &[]);
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let server = Server::start_with(&[
        "--tls-cert",
        text(&files.certificate),
        "--tls-key",
        text(&files.key),
    ]);
    let log = server.log();
    assert!(log.contains("WARN") && log.contains(text(&files.key)), "{log}");
}

#[test]
fn whoever_does_not_speak_tls_gets_nothing_and_disturbs_nobody() {
    let server = Server::start_with(ON);
    for bytes in
        [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"\0\0\0\0", b""]
    {
        let mut socket = TcpStream::connect((server.address, server.port)).unwrap();
        socket.write_all(bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut read = Vec::new();
        // Closed or reset, and not a word of HTTP before.
        if socket.read_to_end(&mut read).is_ok() {
            assert!(!read.windows(4).any(|part| part == b"HTTP"), "{read:?}");
        }
    }
    assert!(!server.log().contains("WARN"), "{}", server.log());
    server.status();
    let plain = server.url().replace("https", "http");
    let outcome = CliOutcome::of(&mut Operator::new().command(&plain, &["status", "--json"]));
    refused_with(outcome, "NOT_A_SERVER");
    let without = Server::start();
    let secure = without.url().replace("http", "https");
    let outcome = CliOutcome::of(&mut Operator::new().command(&secure, &["status", "--json"]));
    refused_with(outcome, "NOT_A_SERVER");
}

#[test]
fn tls_1_3_and_1_2_are_spoken_and_1_1_is_not() {
    let server = Server::start_with(ON);
    let at = format!("{}:{}", server.address, server.port);
    let speaks = |version: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-brief",
            "-connect",
            &at,
            version,
            "-cipher",
            "ALL:@SECLEVEL=0",
        ]);
        openssl.stdin(Stdio::null()).output().ok().map(|output| output.status.success())
    };
    if speaks("-tls1_3").is_none() {
        eprintln!("not tested: there is no openssl here");
        return;
    }
    assert_eq!(
        ["-tls1_3", "-tls1_2", "-tls1_1", "-tls1"].map(speaks),
        [Some(true), Some(true), Some(false), Some(false)]
    );
}

#[test]
fn login_remembers_the_key_that_was_compared_and_a_change_is_refused() {
    let mut server = Server::start_with(&["--tls=on", "--require-token"]);
    let key = shown(&server).0.to_string();
    let token = server.data().join("admin.token");
    let copied = tempfile::tempdir().unwrap();
    let elsewhere = copied.path().join("token");
    fs::copy(&token, &elsewhere).unwrap();
    let login = ["login", "--json", "--token-file", text(&elsewhere)];
    let operator = Operator::new();
    // Nobody to ask: the fingerprint has to be given.
    let refusal = refused_with(operator.cli(&server, &login), "CERTIFICATE_UNTRUSTED").to_string();
    assert!(refusal.contains(&key) && refusal.contains("--fingerprint"), "{refusal}");
    refused_with(operator.cli(&server, &["status", "--json"]), "CERTIFICATE_UNTRUSTED");
    let with = |fingerprint: &str| {
        let args: Vec<&str> = login.iter().copied().chain(["--fingerprint", fingerprint]).collect();
        operator.cli(&server, &args)
    };
    refused_with(with("12:34"), "FINGERPRINT_INVALID");
    refused_with(with(&"0".repeat(64)), "CERTIFICATE_CHANGED");
    with(&key.to_uppercase()).expect_ok(&login);
    operator.cli_ok(&server, &["status"]);
    let kept = operator.0.path().join("counterpart/servers.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // Another key: the same server set up anew, or somebody between.
    assert!(server.terminate().success());
    fs::remove_dir_all(server.data().join("tls")).unwrap();
    server.launch();
    let other = shown(&server).0.to_string();
    for args in [&["status", "--json"][..], &login] {
        let refusal = refused_with(operator.cli(&server, args), "CERTIFICATE_CHANGED").to_string();
        assert!(refusal.contains(&key) && refusal.contains(&other), "{refusal}");
    }
    let args: Vec<&str> = login.iter().copied().chain(["--fingerprint", &other]).collect();
    operator.cli_ok(&server, &args);
    operator.cli_ok(&server, &["status"]);
    assert!(operator.cli_ok(&server, &["logout"]).contains("key"));
    refused_with(operator.cli(&server, &["status", "--json"]), "CERTIFICATE_UNTRUSTED");

    // On the server's machine, what lies beside its token is enough.
    let local = Operator::new();
    local.cli_ok(&server, &["login", "--token-file", text(&token)]);
    local.cli_ok(&server, &["status"]);
    let mut command = Operator::new();
    let outcome = CliOutcome::of(
        command.command(&server.url(), &["status"]).env("COUNTERPART_TOKEN_FILE", &token),
    );
    outcome.expect_ok(&["status"]);
    command = Operator::new();
    let certificate = server.data().join("tls/cert.pem");
    let outcome = command.cli(&server, &["status", "--json", "--ca-cert", text(&certificate)]);
    refused_with(outcome, "NOT_SIGNED_IN");
    let stranger = made(copied.path(), &[]).certificate;
    let outcome = command.cli(&server, &["status", "--json", "--ca-cert", text(&stranger)]);
    refused_with(outcome, "CERTIFICATE_UNTRUSTED");
    let outcome = command.cli(&server, &["status", "--json", "--ca-cert", text(&token)]);
    refused_with(outcome, "TLS_FILE_NOT_PEM");
}

/// The repository's folder of real clients, installed.
fn client_folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let output = Command::new(folder.join("install.sh")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

#[test]
fn real_clients_work_with_the_certificate_as_their_authority() {
    let server = Server::start_with(ON);
    let folder = client_folder();
    let certificate = server.data().join("tls/cert.pem");
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}: {out}\n{err}");
        out.into_owned()
    };
    let mut node = Command::new("node");
    node.arg(folder.join("node/tls.mjs")).arg(server.url());
    assert_eq!(run(node.env("NODE_EXTRA_CA_CERTS", &certificate)), "https: 1\nwss: 2\n");
    let mut python = Command::new(folder.join(".venv/bin/python"));
    python.arg(folder.join("python/tls.py")).arg(server.url()).arg(&certificate);
    assert_eq!(run(&mut python), "https: 3\n");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--cacert"]).arg(&certificate);
    assert!(run(curl.arg(format!("{}/health", server.url()))).contains("healthy"));
    // Without it, none of them connects.
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", &format!("{}/health", server.url())]);
    assert!(!curl.stderr(Stdio::null()).status().unwrap().success());
}

#[test]
fn two_servers_with_tls_mirror_fail_over_and_pass_on_what_was_under_way() {
    let (mut principal, mut mirror) = (Server::start_with(ON), Server::start_with(ON));
    let operator = Operator::knowing(&[&principal, &mirror]);
    let (p, m) = (principal.url(), mirror.url());
    operator.cli_ok(&principal, &["mirror", "start", "--principal", &p, "--mirror", &m, "--yes"]);
    Secure::to(&principal).execute("create table t(client integer, n integer)").unwrap();
    let mut written = 0;
    for round in 0..6 {
        wait_state(&principal, "SYNCHRONIZED");
        let go_on = AtomicBool::new(true);
        let begun = AtomicU64::new(0);
        let write = |client: usize| {
            let (mut failed, mut confirmed) = (Vec::new(), 0_u64);
            let mut connection = Secure::to(&principal);
            while go_on.load(Ordering::Relaxed) {
                let at = now();
                begun.fetch_add(1, Ordering::Relaxed);
                let sql = format!("insert into t values({client}, {round})");
                match connection.execute(&sql) {
                    Ok(_) => confirmed += 1,
                    Err(why) => failed.push((at, why)),
                }
            }
            (confirmed, failed)
        };
        let write = &write;
        let (confirmed, failed) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..6).map(|client| scope.spawn(move || write(client))).collect();
            wait_for("the writers to be at work", || {
                (begun.load(Ordering::Relaxed) > 60).then_some(())
            });
            let commanded = now();
            operator.cli_ok(&principal, &["failover"]);
            go_on.store(false, Ordering::Relaxed);
            let all: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            let failed: Vec<_> = all.iter().flat_map(|(_, failed)| failed.clone()).collect();
            let under_way = failed.into_iter().filter(|(at, _)| *at < commanded);
            (all.iter().map(|(confirmed, _)| confirmed).sum::<u64>(), under_way.collect::<Vec<_>>())
        });
        assert!(
            failed.is_empty(),
            "{} writes failed that were under way: {:?}",
            failed.len(),
            failed[0]
        );
        written += confirmed;
        std::mem::swap(&mut principal, &mut mirror);
        wait_role(&principal, "principal");
        wait_role(&mirror, "mirror");
    }
    let counted = Secure::to(&principal).execute("select count(*) from t").unwrap();
    let counted: u64 = counted["rows"][0][0]["value"].as_str().unwrap().parse().unwrap();
    assert!(counted >= written, "{counted} of {written} confirmed rows are there");
    assert_eq!(partner_states(&principal.status()), ["SYNCHRONIZED"]);
    operator.cli_ok(&principal, &["verify"]);
    // A forwarded request that could not be verified would have been refused with the address.
    for server in [&principal, &mirror] {
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}
