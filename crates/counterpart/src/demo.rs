//! `counterpart demo`. A place holder: the demonstration is wired in by its own module.

use crate::{args::DemoArgs, exit::Failure};

/// Runs a principal and a mirror on loopback.
pub fn run(demo: DemoArgs) -> Result<(), Failure> {
    let DemoArgs { seconds: _, json: _ } = demo;
    Err(Failure::not_built("demo"))
}
