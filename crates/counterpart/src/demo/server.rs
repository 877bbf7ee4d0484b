//! One of the demonstration's two servers: a real `counterpart serve` in a process of its own, so that one can kill it
//! and see what happens. It must never outlive the demonstration, and never inherit settings from its environment.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::guard::Home;
use crate::{
    clock,
    exit::{Exit, Failure},
};

/// How long a server may take to serve.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end when it is asked to. It gives requests 5 s itself.
const END: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(10);

/// One server, across restarts.
pub struct Server {
    /// `a` or `b`: what it is called whatever its role.
    pub name: &'static str,
    /// Where clients and operators connect.
    pub url: String,
    /// Where its partner connects.
    pub partner_address: String,
    /// How it ended and when, as long as it is not running.
    pub ended: Option<(String, Duration)>,
    /// The number of its present or last process.
    pub pid: u32,
    directory: PathBuf,
    listen: String,
    child: Option<Child>,
}

impl Server {
    /// Starts a server on ports that the system chooses.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(name: &'static str, home: &mut Home) -> Result<Server, Failure> {
        let any = || "127.0.0.1:0".to_owned();
        let mut server = Server {
            name,
            url: String::new(),
            partner_address: any(),
            ended: None,
            pid: 0,
            directory: home.path().to_owned(),
            listen: any(),
            child: None,
        };
        server.launch(home)?;
        Ok(server)
    }

    /// Starts the process, on the addresses of its last start if there was one.
    ///
    /// # Errors
    /// It ends before it serves, or takes too long; with the end of its log.
    pub fn launch(&mut self, home: &mut Home) -> Result<(), Failure> {
        assert!(self.child.is_none(), "a server is started only when it does not run");
        let ready = self.file("ready");
        if ready.exists() {
            std::fs::remove_file(&ready)
                .map_err(|error| Failure::local_file("remove", &ready, &error))?;
        }
        let child =
            self.command(&ready)?.spawn().map_err(|error| self.failed(&error.to_string()))?;
        self.pid = child.id();
        self.child = Some(child);
        self.ended = None;
        home.entrust(self.pid)?;
        self.wait_ready(&ready)
    }

    fn command(&self, ready: &Path) -> Result<Command, Failure> {
        let binary = std::env::current_exe().map_err(|error| self.failed(&error.to_string()))?;
        let log = self.file("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|error| Failure::local_file("write", &log, &error))?;
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COUNTERPART_") {
                command.env_remove(name);
            }
        }
        command
            .arg("serve")
            .arg("--data")
            .arg(self.directory.join(self.name))
            .args(["--listen", &self.listen, "--partner-listen", &self.partner_address])
            .arg("--ready-file")
            .arg(ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demonstration, which then ends its servers in order.
            .process_group(0);
        Ok(command)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.name))
    }

    fn wait_ready(&mut self, ready: &Path) -> Result<(), Failure> {
        let since = clock::uptime();
        loop {
            // The file appears whole or not at all.
            if let Ok(text) = std::fs::read_to_string(ready) {
                let told: Value = serde_json::from_str(&text).unwrap_or_default();
                let part = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
                self.listen = part("listen");
                self.url = part("client_url");
                self.partner_address = part("partner_listen");
                return Ok(());
            }
            if let Some(how) = self.look()? {
                return Err(self.failed(&format!("it ended: {how}")));
            }
            if clock::uptime() - since > START {
                return Err(self.failed("it does not serve after a minute"));
            }
            clock::pause(POLL);
        }
    }

    fn failed(&self, why: &str) -> Failure {
        let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        let last: String = last.iter().rev().map(|line| format!("\n    {line}")).collect();
        Failure::new(
            Exit::Server,
            "START_FAILED",
            format!("server {} did not start: {why}{last}", self.name),
            "see the log lines above",
        )
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn look(&mut self) -> Result<Option<String>, Failure> {
        let Some(child) = self.child.as_mut() else {
            return Ok(self.ended.as_ref().map(|(how, _)| how.clone()));
        };
        let status = child.try_wait().map_err(|error| self.failed(&error.to_string()))?;
        let Some(status) = status else { return Ok(None) };
        self.child = None;
        let how = in_words(status);
        self.ended = Some((how.clone(), clock::uptime()));
        Ok(Some(how))
    }

    /// Asks the process to end, if it runs; does not wait.
    pub fn ask_to_end(&self) {
        if let Some(child) = &self.child {
            // Not waited for yet, so the number is still its own; if it has ended already, all is well.
            let _ended = kill_process(Pid::from_child(child), Signal::TERM);
        }
    }

    /// Waits for the end of a process that was asked to end; one that takes too long is killed.
    fn wait_end(&mut self) {
        let since = clock::uptime();
        while let Ok(None) = self.look() {
            let Some(child) = self.child.as_mut() else { return };
            if clock::uptime() - since > END {
                // It ends now, or has ended just before.
                let _ended = child.kill();
            }
            clock::pause(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_end();
        self.wait_end();
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "killed with kill -9".to_owned(),
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
