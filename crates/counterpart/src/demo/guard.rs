//! The guard: a second process that ends the servers and removes the directory, however the demonstration ends.
//!
//! A demonstration that is killed with `kill -9` can remove nothing any more. So it starts this same binary once more
//! and tells it through a pipe which servers it has started. When the pipe closes, for whatever reason, the guard
//! cleans up. It is the only one who removes the directory, so each orderly end tries the way that a violent one takes.
//!
//! ```text
//! +1234   the process 1234 is a server of the demonstration
//! -1234   it has ended; the number may belong to somebody else from now on
//! ```

use std::{
    fs::DirBuilder,
    io::{self, BufRead, Write},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    clock,
    exit::{Exit, Failure},
};

/// How long the directory may stay busy after the servers in it were killed.
const BUSY: Duration = Duration::from_secs(5);

/// The directory of a demonstration, and the guard that removes it. Gone with this value.
pub struct Home {
    path: PathBuf,
    guard: Child,
    pipe: Option<ChildStdin>,
}

impl Home {
    /// Starts the guard, then makes the directory.
    ///
    /// # Errors
    /// The guard cannot be started, or the temporary directory cannot be written to.
    pub fn make() -> Result<Home, Failure> {
        let path = std::env::temp_dir().join(format!("counterpart-demo-{}", std::process::id()));
        let binary = std::env::current_exe().map_err(|error| broken(&error))?;
        let mut guard = Command::new(binary)
            .args(["demo", "--guard"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C reaches the whole group of the terminal; the guard has to outlive the demonstration.
            .process_group(0)
            .spawn()
            .map_err(|error| broken(&error))?;
        let pipe = guard.stdin.take();
        let home = Home { path, guard, pipe };
        let made = DirBuilder::new().mode(0o700).create(&home.path);
        made.map_err(|error| Failure::local_file("make", &home.path, &error))?;
        Ok(home)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Entrusts a server's process to the guard.
    ///
    /// # Errors
    /// The guard has gone.
    pub fn entrust(&mut self, pid: u32) -> Result<(), Failure> {
        self.tell(format!("+{pid}\n"))
    }

    /// A server's process has ended.
    ///
    /// # Errors
    /// The guard has gone.
    pub fn release(&mut self, pid: u32) -> Result<(), Failure> {
        self.tell(format!("-{pid}\n"))
    }

    fn tell(&mut self, line: String) -> Result<(), Failure> {
        let pipe = self.pipe.as_mut().expect("the pipe is open until the end");
        pipe.write_all(line.as_bytes()).map_err(|error| broken(&error))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.guard.wait() {
            eprintln!("{} may still be there: {error}", self.path.display());
        }
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(
        Exit::Fault,
        "GUARD_FAILED",
        format!("the process that cleans up after the demonstration cannot be used: {error}"),
        "run the command again",
    )
}

/// What the guard does: it waits for the end of the pipe, then cleans up.
///
/// # Errors
/// The directory cannot be removed.
pub fn stand(directory: &Path) -> Result<(), Failure> {
    let mut servers: Vec<i32> = Vec::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_at_checked(1).map(|(sign, pid)| (sign, pid.parse())) {
            Some(("+", Ok(pid))) => servers.push(pid),
            Some(("-", Ok(pid))) => servers.retain(|known| *known != pid),
            _ => {}
        }
    }
    for pid in servers.into_iter().filter_map(Pid::from_raw) {
        // One that has just ended by itself is as good.
        let _gone = kill_process(pid, Signal::KILL);
    }
    remove(directory)
}

/// A process that was killed may still make a file or two before it is gone.
fn remove(directory: &Path) -> Result<(), Failure> {
    let since = clock::uptime();
    loop {
        match std::fs::remove_dir_all(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if clock::uptime() - since > BUSY => {
                return Err(Failure::local_file("remove", directory, &error));
            }
            Err(_busy) => clock::pause(Duration::from_millis(20)),
        }
    }
}
