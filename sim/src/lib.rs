//! Whole worlds of Counterpart servers in one thread: the real session core and the real journal over simulated disks,
//! networks and clocks, with everything that can go wrong, judged from outside. See `DESIGN.md` beside it.

pub mod agenda;
pub mod clock;
pub mod dice;
pub mod net;
pub mod plan;
pub mod process;
pub mod trace;
pub mod truth;
pub mod world;

use plan::Plan;
use world::{Verdict, World};

/// Runs one schedule. A panic of anything in it counts as a violation.
#[must_use]
pub fn run(plan: &Plan, loud: bool) -> Verdict {
    let world = std::panic::AssertUnwindSafe(|| World::new(plan.clone(), loud).run());
    std::panic::catch_unwind(world).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words");
        Verdict {
            violation: Some(format!("panic: {text}")),
            digest: 0,
            tally: truth::Tally::default(),
            wrongs: world::Wrongs::default(),
            parked: 0,
            seconds: 0,
        }
    })
}
