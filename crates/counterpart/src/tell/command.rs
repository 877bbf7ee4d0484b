//! A command is run: the notice is its standard input, and its main parts are in its environment.

use std::{
    io::{ErrorKind, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use counterpart_node::notices::Notice;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::clock;

/// A command gets so much time.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the command line, and waits for its end.
pub fn run(line: &str, notice: &Notice) -> Result<(), String> {
    run_within(line, notice, LIMIT)
}

fn run_within(line: &str, notice: &Notice, limit: Duration) -> Result<(), String> {
    let part = |pointer: &str| {
        let value = notice.body.pointer(pointer);
        value.and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .env("COUNTERPART_ALARM_STEP", part("/step"))
        .env("COUNTERPART_ALARM_SERVER", part("/server"))
        .env("COUNTERPART_ALARM_CAUSE", part("/alarm/cause"))
        .env("COUNTERPART_ALARM_SEVERITY", part("/alarm/severity"))
        .env("COUNTERPART_ALARM_TEXT", part("/alarm/text"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // What it starts ends with it.
        .process_group(0);
    let mut child = command.spawn().map_err(|error| format!("it can't be run: {error}"))?;
    let written = {
        let mut input = child.stdin.take().expect("it was asked for");
        // A notice is smaller than what a pipe takes, so this does not wait for a command that reads nothing.
        input.write_all(notice.body.to_string().as_bytes())
    };
    let ended = wait(&mut child, limit);
    match written {
        // It need not read what it is given.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("it can't be told: {error}"))
        }
        _ => ended,
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<(), String> {
    let began = clock::uptime();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) if clock::uptime().saturating_sub(began) < limit => clock::pause(LOOK),
            Ok(None) => {
                end(child);
                return Err(format!("it was ended after {} s", limit.as_secs_f32()));
            }
            Err(error) => return Err(format!("nothing is known of it: {error}")),
        }
    }
}

/// Ends a command and all that it has started.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let killed = group.map(|group| kill_process_group(group, Signal::KILL));
    if let Some(Err(error)) = killed {
        tracing::warn!(%error, "a command for alarms can't be ended");
    }
    // It is dead, or nobody can kill it: either way nobody waits for what it would say.
    drop(child.wait());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notice() -> Notice {
        let alarm = json!({ "cause": "Exposed", "severity": "critical", "text": "it's \"so\"" });
        Notice { number: 3, body: json!({ "step": "raised", "server": "aa", "alarm": alarm }) }
    }

    #[test]
    fn a_command_reads_the_notice_and_finds_its_parts_in_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let line = format!(
            "cat > '{0}'; echo \"|$COUNTERPART_ALARM_STEP|$COUNTERPART_ALARM_CAUSE|$COUNTERPART_ALARM_TEXT\" >> '{0}'",
            out.display()
        );
        run(&line, &notice()).unwrap();
        let told = std::fs::read_to_string(out).unwrap();
        let (body, parts) = told.split_once("}|").unwrap();
        let body: serde_json::Value = serde_json::from_str(&format!("{body}}}")).unwrap();
        assert_eq!(body, notice().body);
        assert_eq!(parts, "raised|Exposed|it's \"so\"\n");
    }

    #[test]
    fn a_command_that_fails_reads_nothing_or_does_not_end_is_told_apart() {
        assert_eq!(run("true", &notice()), Ok(()));
        assert!(run("exit 3", &notice()).unwrap_err().contains("exit status: 3"));
        let why = run_within("sleep 100 & sleep 100", &notice(), Duration::from_millis(50));
        assert!(why.unwrap_err().contains("ended after"));
    }
}
