//! What a schedule consists of: drawn from its seed before anything happens, so that it can be told, and made smaller.

use counterpart_core::message::Safety;

use crate::{agenda::Micros, dice::Dice};

/// One second.
pub const SECOND: Micros = 1_000_000;

/// A schedule's make-up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many servers there are, 2 to 4.
    pub servers: usize,
    /// How many clients.
    pub clients: usize,
    /// When confirming is done, at first.
    pub safety: Safety,
    /// Whether writes are refused without a mirror, at first.
    pub require_mirror: bool,
    /// A silent partner is lost after this many milliseconds.
    pub partner_timeout: u64,
    /// How long things go wrong.
    pub rough: Micros,
    /// The mean span between two faults; 0 for none.
    pub faults: Micros,
    /// The mean span between two of the operator's commands; 0 for none.
    pub commands: Micros,
    /// The mean span between two things that a client does.
    pub think: Micros,
    /// The mean time of one sync.
    pub sync: Micros,
    /// The mean time on the way from one machine to another.
    pub way: Micros,
    /// Journal bytes kept on the disk.
    pub retention: u64,
    /// Journal bytes between two checkpoints.
    pub checkpoint: u64,
    /// Whether deposed principals save their orphans and rejoin by themselves.
    pub rejoin: bool,
    /// Whether the power may fail, and processes be killed.
    pub crashes: bool,
    /// Whether disks may fail, fill up and be slow.
    pub disks: bool,
    /// Whether ways between machines may be cut.
    pub cuts: bool,
    /// Whether disks may be replaced by older images of themselves.
    pub images: bool,
    /// Whether connections may be late: made after the dialling side gave up, heard of much later than the other side hears of
    /// them, or lost without a word while a newer one is made.
    pub late: bool,
    /// Whether pages are journaled as deltas where they may be.
    pub deltas: bool,
    /// No fault and no command comes after this many of them.
    pub most: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed.rotate_left(17) ^ 0x9_1a2);
        Plan {
            seed,
            servers: dice.pick(&[2, 2, 2, 3, 3, 4]),
            clients: 1 + dice.index(5),
            safety: if dice.one_in(5) { Safety::Off } else { Safety::Full },
            require_mirror: dice.one_in(6),
            partner_timeout: dice.pick(&[1_000, 2_000, 5_000, 10_000]),
            rough: dice.between(5, 60) * SECOND,
            faults: dice.pick(&[300, 1_000, 1_000, 3_000, 8_000]) * 1_000,
            commands: dice.pick(&[1_000, 3_000, 10_000]) * 1_000,
            think: dice.pick(&[10, 50, 200, 1_000]) * 1_000,
            sync: dice.pick(&[50, 500, 5_000, 20_000]),
            way: dice.pick(&[50, 300, 2_000, 20_000]),
            retention: dice.pick(&[128, 256, 1_024]) << 10,
            checkpoint: dice.pick(&[16, 64, 256]) << 10,
            rejoin: !dice.one_in(3),
            crashes: true,
            disks: true,
            cuts: true,
            images: dice.one_in(8),
            late: dice.one_in(3),
            deltas: !dice.one_in(4),
            most: u64::MAX,
        }
    }
}
