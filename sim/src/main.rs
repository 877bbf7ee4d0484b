//! Runs schedules: one to look at, or as many as there is time for.

use std::{
    process::ExitCode,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use clap::Parser;
use counterpart_sim::{
    clock::Stopwatch,
    plan::Plan,
    run,
    truth::Tally,
    world::{Verdict, Wrongs},
};

/// Runs simulated schedules of the session core and the journal.
#[derive(Parser, Debug)]
struct Arguments {
    /// Run this schedule only.
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// How many schedules.
    #[arg(long, default_value_t = 1_000)]
    schedules: u64,
    /// How many of them at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// No more than this many faults and commands, to make a failing schedule smaller.
    #[arg(long)]
    most: Option<u64>,
    /// Seconds for which things go wrong, instead of what the seed says.
    #[arg(long)]
    rough: Option<u64>,
    /// No crashes.
    #[arg(long)]
    no_crashes: bool,
    /// No failing disks.
    #[arg(long)]
    no_disks: bool,
    /// No cut networks.
    #[arg(long)]
    no_cuts: bool,
    /// No commands.
    #[arg(long)]
    no_commands: bool,
    /// Go on after a failure and list all of them.
    #[arg(long)]
    keep_going: bool,
    /// Find the fewest faults and commands with which the seed still fails.
    #[arg(long)]
    shrink: bool,
}

impl Arguments {
    fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::draw(seed);
        plan.most = self.most.unwrap_or(plan.most);
        plan.rough =
            self.rough.map_or(plan.rough, |seconds| seconds * counterpart_sim::plan::SECOND);
        plan.crashes &= !self.no_crashes;
        plan.disks &= !self.no_disks;
        plan.cuts &= !self.no_cuts;
        if self.no_commands {
            plan.commands = 0;
        }
        plan
    }

    /// The words that run this again.
    fn again(&self, seed: u64) -> String {
        let mut line =
            format!("cargo run --release --manifest-path sim/Cargo.toml -- --seed {seed}");
        for (flag, value) in [("most", self.most), ("rough", self.rough)] {
            if let Some(value) = value {
                line.push_str(&format!(" --{flag} {value}"));
            }
        }
        let flags = [
            ("no-crashes", self.no_crashes),
            ("no-disks", self.no_disks),
            ("no-cuts", self.no_cuts),
            ("no-commands", self.no_commands),
        ];
        for (flag, _) in flags.iter().filter(|(_, given)| *given) {
            line.push_str(&format!(" --{flag}"));
        }
        line
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.trace {
        // A panic is a verdict like another; its words come with the seed.
        std::panic::set_hook(Box::new(|_| {}));
    }
    match arguments.seed {
        Some(seed) if arguments.shrink => shrink(&arguments, seed),
        Some(seed) => one(&arguments, seed),
        None => many(&arguments),
    }
}

fn one(arguments: &Arguments, seed: u64) -> ExitCode {
    let verdict = run(&arguments.plan(seed), arguments.trace);
    println!(
        "seed {seed}: {} s simulated, {:?}, {:?}, {} parked, trace {:016x}",
        verdict.seconds, verdict.tally, verdict.wrongs, verdict.parked, verdict.digest
    );
    match verdict.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("FAILED: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn shrink(arguments: &Arguments, seed: u64) -> ExitCode {
    let fails = |most: u64| {
        let mut plan = arguments.plan(seed);
        plan.most = most;
        run(&plan, false).violation
    };
    let found = (0..=400).find_map(|most| fails(most).map(|violation| (most, violation)));
    match found {
        Some((most, violation)) => {
            println!("{} --most {most}\nFAILED: {violation}", arguments.again(seed));
            ExitCode::FAILURE
        }
        None => {
            println!("seed {seed} does not fail with up to 400 faults and commands");
            ExitCode::SUCCESS
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let (watch, mut tally, mut wrongs) = (Stopwatch::start(), Tally::default(), Wrongs::default());
    let (mut done, mut parked, mut seconds, mut failed) = (0, 0, 0, 0);
    let mut told = 0.0;
    let next = AtomicU64::new(0);
    let (sender, verdicts) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || work(arguments, next, &sender));
        }
        drop(sender);
        for (seed, verdict) in verdicts {
            done += 1;
            if let Some(violation) = verdict.violation {
                println!("FAILED: {violation}\n  {}", arguments.again(seed));
                failed += 1;
                if !arguments.keep_going {
                    next.store(arguments.schedules, Ordering::Relaxed);
                }
            }
            tally = tally.with(verdict.tally);
            wrongs = wrongs.with(verdict.wrongs);
            parked += verdict.parked;
            seconds += verdict.seconds;
            if watch.seconds() - told > 10.0 {
                told = watch.seconds();
                eprintln!("{done} of {} schedules, {told:.0} s", arguments.schedules);
            }
        }
    });
    println!(
        "{done} schedules, {failed} failed, {seconds} s simulated in {:.1} s\n{tally:?}\n{wrongs:?}\n{parked} servers parked",
        watch.seconds()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes one seed after the other. A schedule is one thread's; which thread's makes no difference to it.
fn work(arguments: &Arguments, next: &AtomicU64, sender: &mpsc::Sender<(u64, Verdict)>) {
    loop {
        let taken = next.fetch_add(1, Ordering::Relaxed);
        if taken >= arguments.schedules {
            return;
        }
        let seed = arguments.from + taken;
        if sender.send((seed, run(&arguments.plan(seed), false))).is_err() {
            return;
        }
    }
}
