//! A disk in memory that forgets and tears what was not synced, for tests and the simulator.
