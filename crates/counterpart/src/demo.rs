//! `counterpart demo`: a principal and a mirror on this machine, with a gentle workload, for somebody who wants to see
//! them work and to break one of them.
//!
//! Both servers are processes of their own, so that `kill -9` means what it says. It must leave nothing behind: no
//! process and no file, however it ends.

mod guard;
mod hrana;
mod server;
mod show;
mod watch;
mod workload;

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::DemoArgs,
    cli::{
        client::Client,
        mirror::{self, MirrorCommand, StartArgs},
        screen::Screen,
        voucher::CaCert,
    },
    clock,
    exit::{Exit, Failure},
};
use guard::Home;
use server::Server;
use watch::Watcher;
use workload::Workload;

/// Between two looks, on a terminal and without one.
const REPAINT: Duration = Duration::from_millis(500);
const REPORT: Duration = Duration::from_secs(1);
/// A server that ended is started again this long after its partner serves alone.
const AGAIN: Duration = Duration::from_secs(10);

/// Runs a principal and a mirror on loopback, until Ctrl-C or for the given time.
///
/// # Errors
/// Something could not be started, or both servers have ended.
pub fn run(args: &DemoArgs, screen: &mut Screen) -> Result<(), Failure> {
    if let Some(directory) = &args.guard {
        return guard::stand(directory);
    }
    let (send, stopped) = channel();
    listen_for_signals(send)?;
    let mut demo = Demo::start(screen)?;
    let outcome = demo.watch(args.seconds.map(Duration::from_secs), &stopped);
    demo.end(outcome)
}

/// A thread of its own: everything else here waits for servers, and Ctrl-C must be heard meanwhile.
fn listen_for_signals(send: Sender<()>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let what = format!("signals can't be handled: {error}");
        Failure::new(Exit::Fault, "START_FAILED", what, "run the command again")
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let inside = runtime.enter();
    let listen = |kind| signal(kind).map_err(failed);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    drop(inside);
    std::thread::spawn(move || {
        let mut next = || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
        };
        next();
        // Nobody listens any more: the demonstration is ending already.
        let _ending = send.send(());
        next();
        // Asked twice: do not wait for anything. The guard cleans up.
        std::process::exit(130);
    });
    Ok(())
}

/// A running demonstration. Dropped in this order: first the servers end, then the directory goes.
struct Demo<'a> {
    servers: [Server; 2],
    workload: Option<Workload>,
    watcher: Watcher,
    home: Home,
    screen: &'a mut Screen,
    /// What happened, newest last.
    news: Vec<String>,
}

impl<'a> Demo<'a> {
    fn start(screen: &'a mut Screen) -> Result<Demo<'a>, Failure> {
        screen.line("Starting two servers on this machine, and mirroring between them:\n")?;
        let mut home = Home::make()?;
        let mut servers = [Server::start("a", &mut home)?, Server::start("b", &mut home)?];
        let [principal, mirror] = &mut servers;
        Client::new(&principal.url, &CaCert::default())?
            .post("/api/v1/databases", &json!({ "name": workload::DATABASE }))?;
        start_mirroring(principal, mirror, screen)?;
        workload::prepare(&principal.url).map_err(|why| {
            let what = format!("the workload's table cannot be made: {why}");
            Failure::new(Exit::Refused, "WORKLOAD_FAILED", what, "run the command again")
        })?;
        let urls = [principal.url.clone(), mirror.url.clone()];
        let watcher = Watcher::of(&urls);
        let workload = Some(Workload::start(urls));
        Ok(Demo { servers, workload, watcher, home, screen, news: Vec::new() })
    }

    /// Shows how it goes, until it is told to stop.
    fn watch(&mut self, limit: Option<Duration>, stopped: &Receiver<()>) -> Result<(), Failure> {
        let since = clock::uptime();
        let every = if self.screen.repaints && !self.screen.json { REPAINT } else { REPORT };
        self.introduce()?;
        loop {
            self.look_after()?;
            self.show()?;
            let left = limit.map(|limit| (since + limit).saturating_sub(clock::uptime()));
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
            match stopped.recv_timeout(left.map_or(every, |left| left.min(every))) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn introduce(&mut self) -> Result<(), Failure> {
        if self.screen.json {
            let started = show::started(&self.servers, self.home.path());
            return self.screen.value_line(&started);
        }
        if self.screen.repaints {
            return self.screen.clear();
        }
        let view = self.look();
        let text = show::introduction(&self.servers, &view, self.home.path());
        self.screen.line(text)
    }

    fn look(&self) -> watch::View {
        let workload = self.workload.as_ref().expect("the workload runs until the end");
        self.watcher.look(workload.progress())
    }

    fn show(&mut self) -> Result<(), Failure> {
        let view = self.look();
        if self.screen.json {
            return self.screen.value_line(&show::status_value(&self.servers, &view));
        }
        if self.screen.repaints {
            let page = show::page(&self.servers, &view, &self.news, self.home.path(), self.screen);
            // Over what was there before, line by line, so that nothing flickers.
            let page = page.replace('\n', "\x1b[K\n");
            return self.screen.raw(&format!("\x1b[H{page}\x1b[J"));
        }
        self.screen.line(show::status_line(&self.servers, &view))
    }

    /// Notices servers that ended, and starts them again once their partner serves alone, as an init system would.
    fn look_after(&mut self) -> Result<(), Failure> {
        for index in 0..2 {
            let known = self.servers[index].ended.is_some();
            let Some(how) = self.servers[index].look()? else { continue };
            if !known {
                self.home.release(self.servers[index].pid)?;
                let advice = show::advice(&self.servers, index, &how, &self.look());
                self.tell(advice)?;
            }
        }
        if self.servers.iter().all(|server| server.ended.is_some()) {
            return Err(Failure::new(
                Exit::Server,
                "BOTH_SERVERS_ENDED",
                "both servers have ended, so there is nothing left to show",
                "run the command again; what was confirmed would be there after a restart of either",
            ));
        }
        for index in 0..2 {
            self.start_again(index)?;
        }
        Ok(())
    }

    fn start_again(&mut self, index: usize) -> Result<(), Failure> {
        let server = &mut self.servers[index];
        let Some((_, since)) = server.ended else { return Ok(()) };
        if clock::uptime() - since < AGAIN || !self.watcher.is_principal(1 - index) {
            return Ok(());
        }
        let launched = server.launch(&mut self.home);
        let (name, pid) = (server.name, server.pid);
        match launched {
            Ok(()) => self.tell(format!(
                "Server {name} was started again, as an init system would (pid {pid})."
            )),
            // Somebody took its port meanwhile, perhaps for a moment only.
            Err(failure) if server.ended.is_some() => {
                self.home.release(pid)?;
                self.tell(format!("{}. It is tried again in 10 s.", failure.what))
            }
            Err(failure) => Err(failure),
        }
    }

    fn tell(&mut self, news: String) -> Result<(), Failure> {
        if self.screen.json {
            self.screen.value_line(&json!({ "event": "news", "words": news }))?;
        } else if !self.screen.repaints {
            self.screen.line(format!("\n{news}\n"))?;
        }
        self.news.push(news);
        Ok(())
    }

    /// Ends everything in order; says what the figures were at the end.
    fn end(mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let mut workload = self.workload.take().expect("the workload runs until here");
        if outcome.is_ok() {
            workload.stop();
        }
        let view = self.watcher.settled(workload.progress());
        for server in &self.servers {
            server.ask_to_end();
        }
        workload.stop();
        let directory = self.home.path().to_owned();
        let Demo { servers, home, screen, .. } = self;
        drop(servers);
        drop(home);
        outcome?;
        screen.line(show::farewell(&view, &directory))?;
        if screen.json { screen.value_line(&show::ended(&view)) } else { Ok(()) }
    }
}

/// Exactly what `counterpart mirror start` does.
fn start_mirroring(
    principal: &Server,
    mirror: &Server,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let args = StartArgs {
        principal: principal.url.clone(),
        mirror: mirror.url.clone(),
        safety: None,
        from_backup: Vec::new(),
        replace: false,
        yes: false,
        no_wait: false,
        trusted: CaCert::default(),
        json: false,
    };
    let command = MirrorCommand::Start(args);
    if screen.json {
        // Its steps are no part of this command's stream of values.
        return mirror::run(command, &mut Screen::nowhere());
    }
    mirror::run(command, screen)
}
