//! System calls of a running server that fail, or at which it is killed: the n-th of a kind, from outside (strace).
//!
//! Fsync goes past the C library here, so a preloaded library would not see it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::wait_for;

/// A fault that waits for its moment. Dropped, it leaves the server alone again.
pub struct Fault {
    strace: Child,
    dir: TempDir,
}

/// Whether faults can be had; a reason is printed if not.
pub fn is_possible() -> bool {
    // It must be allowed to trace, not only be there; and processes that it did not start, too.
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let anybody = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
        || ["", "0"].contains(&scope.trim());
    let possible = anybody && tried.is_ok_and(|status| status.success());
    if !possible {
        eprintln!("skipped: faults of system calls need strace, and the right to trace");
    }
    possible
}

impl Fault {
    /// Lets the `nth` call of `call` (from now on, of any one thread) end with the error, such as `EIO`, undone.
    pub fn error(pid: u32, call: &str, error: &str, nth: u64) -> Fault {
        Fault::attach(pid, call, &format!("error={error}"), nth)
    }

    /// Kills the server as with `kill -9` when it makes the call.
    pub fn kill(pid: u32, call: &str, nth: u64) -> Fault {
        Fault::attach(pid, call, "signal=KILL", nth)
    }

    fn attach(pid: u32, call: &str, what: &str, nth: u64) -> Fault {
        let dir = tempfile::tempdir().unwrap();
        let (calls, told) = (dir.path().join("calls"), dir.path().join("told"));
        let strace = Command::new("strace")
            .args(["-f", "-o"])
            .arg(&calls)
            .args([
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={call}:{what}:when={nth}"),
            ])
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&told).unwrap())
            .spawn()
            .unwrap();
        let fault = Fault { strace, dir };
        wait_for("strace to attach", || {
            fs::read_to_string(&told).unwrap().contains("attached").then_some(())
        });
        fault
    }

    fn calls(&self) -> PathBuf {
        self.dir.path().join("calls")
    }

    /// Whether the fault has been.
    pub fn has_been(&self) -> bool {
        let calls = fs::read_to_string(self.calls()).unwrap_or_default();
        calls.contains("(INJECTED)") || calls.contains("killed by SIGKILL")
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // It lets go of the server when it is asked to end, and may have ended with it already.
        let pid = self.strace.id().to_string();
        let _asked = Command::new("kill").args(["-INT", &pid]).stderr(Stdio::null()).status();
        wait_for("strace to let go", || self.strace.try_wait().unwrap());
    }
}
