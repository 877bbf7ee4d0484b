//! A real `counterpart serve` as a child process, with ports chosen by the kernel on an address of its own.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{client::Client, secure::Secure, wait_for};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_counterpart");

/// An address in 127.0.0.0/8 that no other test of this machine is likely to use, so that a port freed by a killed
/// server is still free when it comes back.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let [a, b] = (std::process::id() as u16).to_be_bytes();
    Ipv4Addr::new(127, a.max(1), b, u8::try_from(n % 250 + 2).expect("below 256"))
}

/// Two ports that nobody uses. Both are held until both are known: the system may give the same one twice.
fn free_ports(address: Ipv4Addr) -> [u16; 2] {
    let listeners = [(), ()].map(|()| TcpListener::bind((address, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// One server, its directory and its ports, across restarts. The process ends with this value.
pub struct Server {
    dir: TempDir,
    pub address: Ipv4Addr,
    pub port: u16,
    pub partner_port: u16,
    /// What partners are told to dial, if not the partner port itself (a proxy, say).
    pub partner_advertise: Option<String>,
    pub extra: Vec<String>,
    /// Variables of the process's environment.
    pub environment: Vec<(String, String)>,
    /// The data directory, if it is to be on another file system.
    pub data_dir: Option<PathBuf>,
    child: Option<Child>,
    starts: u32,
}

impl Server {
    /// Starts a server on an empty directory.
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// Starts a server with further arguments.
    pub fn start_with(extra: &[&str]) -> Server {
        let mut server = Server::prepare(extra);
        server.launch();
        server
    }

    /// A server that is not started yet.
    pub fn prepare(extra: &[&str]) -> Server {
        let address = own_address();
        let [port, partner_port] = free_ports(address);
        Server {
            dir: tempfile::Builder::new().prefix("counterpart-test-").tempdir().unwrap(),
            address,
            port,
            partner_port,
            partner_advertise: None,
            extra: extra.iter().map(|&s| s.to_owned()).collect(),
            environment: Vec::new(),
            data_dir: None,
            child: None,
            starts: 0,
        }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    /// The log of all starts.
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn ready_file(&self) -> PathBuf {
        self.dir.path().join("ready.json")
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        command
            .arg("serve")
            .arg("--data")
            .arg(self.data())
            .args(["--listen", &format!("{}:{}", self.address, self.port)])
            .args(["--partner-listen", &format!("{}:{}", self.address, self.partner_port)])
            .arg("--ready-file")
            .arg(self.ready_file())
            .args(&self.extra)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env_remove("COUNTERPART_SERVER")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(advertise) = &self.partner_advertise {
            command.args(["--partner-advertise", advertise]);
        }
        command
    }

    /// Starts the process and waits until it serves.
    pub fn launch(&mut self) {
        if let Err(status) = self.launch_or_end() {
            panic!("the server ended with {status} before it was ready:\n{}", self.log());
        }
    }

    /// Starts the process and waits until it serves, or has ended without.
    pub fn launch_or_end(&mut self) -> Result<(), ExitStatus> {
        self.spawn();
        let ready = self.ready_file();
        let (url, log) = (self.url(), self.log_path());
        let what = format!("the server on {url} to be ready; its log: {}", log.display());
        wait_for(&what, || match self.ended() {
            Some(status) => Some(Err(status)),
            None => ready.exists().then_some(Ok(())),
        })
    }

    /// Starts the process and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        if self.ready_file().exists() {
            std::fs::remove_file(self.ready_file()).unwrap();
        }
        self.child = Some(self.command().spawn().unwrap());
        self.starts += 1;
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "the server had ended before: {status}\n{}",
            self.log()
        );
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let child = self.child.take().expect("the server runs");
        signal(child.id(), "TERM");
        end_of(child)
    }

    /// SIGSTOP or SIGCONT: a server that hangs, and goes on.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Waits for a server that ends by itself.
    pub fn wait_end(&mut self) -> ExitStatus {
        end_of(self.child.take().expect("the server runs"))
    }

    /// How the process ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Ends the process, unless it has ended by itself already.
    pub fn end_whatever(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn url(&self) -> String {
        let scheme = if self.makes_certificate() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.address, self.port)
    }

    /// Whether it serves with TLS and a certificate that it makes itself.
    fn makes_certificate(&self) -> bool {
        self.extra.iter().any(|argument| argument == "--tls=on")
    }

    pub fn partner_address(&self) -> String {
        format!("{}:{}", self.address, self.partner_port)
    }

    /// A client of database `main`.
    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }

    /// The status that `GET /api/v1/status` gives.
    pub fn status(&self) -> Value {
        self.try_status()
            .unwrap_or_else(|e| panic!("status of {}: {e}\n{}", self.url(), self.log()))
    }

    pub fn try_status(&self) -> Result<Value, String> {
        if self.makes_certificate() {
            let (status, body) =
                Secure::try_to(self)?.request("GET", "/api/v1/status", &Value::Null)?;
            return if status == 200 { Ok(body) } else { Err(body.to_string()) };
        }
        super::client::get_json(&format!("{}/api/v1/status", self.url()))
    }

    /// Runs a CLI verb against this server; returns exit code, standard output and standard error.
    pub fn cli(&self, args: &[&str]) -> CliOutcome {
        run_cli(Some(&self.url()), args)
    }

    /// Runs a CLI verb that must succeed.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        self.cli(args).expect_ok(args)
    }

    /// A whole database as a plain SQLite file, page 1's counters as zeros.
    pub fn export(&self, database: &str) -> Vec<u8> {
        let mut bytes = super::client::get_bytes(&format!(
            "{}/api/v1/databases/{database}/content",
            self.url()
        ));
        if bytes.len() >= 100 {
            bytes[24..28].fill(0);
            bytes[92..100].fill(0);
        }
        bytes
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let status = std::thread::panicking().then(|| self.try_status());
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
        if let Some(status) = status {
            let told =
                status.map_or_else(|why| format!("no status: {why}"), |status| status.to_string());
            eprintln!("---- {} ----\n{}\n{told}", self.url(), last_lines(&self.log(), 30));
        }
    }
}

/// The end of a log, without what clients in a loop fill it with.
fn last_lines(text: &str, n: usize) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("request failed")).collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

fn signal(pid: u32, name: &str) {
    let status =
        Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

fn end_of(mut child: Child) -> ExitStatus {
    wait_for("the server to end", || child.try_wait().unwrap())
}

/// What a CLI run gave.
pub struct CliOutcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl CliOutcome {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> CliOutcome {
        let output = command.output().unwrap();
        CliOutcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn expect_ok(self, args: &[&str]) -> String {
        assert_eq!(self.code, Some(0), "counterpart {args:?}:\n{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs the CLI, against `server` if given.
pub fn run_cli(server: Option<&str>, args: &[&str]) -> CliOutcome {
    let mut command = Command::new(BINARY);
    command.args(args).stdin(Stdio::null()).env_remove("COUNTERPART_SERVER");
    if let Some(url) = server {
        command.env("COUNTERPART_SERVER", url);
    }
    CliOutcome::of(&mut command)
}

/// Copies a directory tree, as an operator's `cp -a` would.
pub fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}

/// The failure that a refused CLI run with `--json` told: its code, and what is wrong and what to do in words.
#[track_caller]
pub fn refused_with(outcome: CliOutcome, code: &str) -> Value {
    assert_ne!(outcome.code, Some(0), "it was accepted: {}", outcome.stdout);
    let failure: Value = serde_json::from_str(&outcome.stderr)
        .unwrap_or_else(|e| panic!("{e}: standard error is {:?}", outcome.stderr));
    let error = &failure["error"];
    assert_eq!(error["code"], code, "{failure}");
    for part in ["what", "remedy"] {
        assert!(error[part].as_str().is_some_and(|s| !s.is_empty()), "no {part}: {failure}");
    }
    failure
}
