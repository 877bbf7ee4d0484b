//! Where passwords are hashed: beside the thread of all sockets, two at a time.
//!
//! Each takes 19 MiB and tens of milliseconds of a processor. Without a bound, whoever sends passwords would have both.

use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{ops::create::failed, refusal::Refusal};

/// At a time.
const AT_ONCE: usize = 2;

/// Those and as many as may wait for them.
const IN_ALL: usize = 64;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Hashing {
    at_once: Semaphore,
    in_all: Semaphore,
}

impl Default for Hashing {
    fn default() -> Hashing {
        Hashing { at_once: Semaphore::new(AT_ONCE), in_all: Semaphore::new(IN_ALL) }
    }
}

impl Hashing {
    /// Does something slow in its turn.
    ///
    /// # Errors
    /// `TOO_MANY_ATTEMPTS` if too many wait already.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let Ok(_place) = self.in_all.try_acquire() else { return Err(too_many(1)) };
        let _turn = self.at_once.acquire().await.expect("the semaphore is never closed");
        spawn_blocking(work).await.map_err(|panicked| failed("hashing a password", panicked))
    }
}

/// Somebody is to wait for so many seconds.
pub(super) fn too_many(seconds: u64) -> Refusal {
    let what = "there were too many attempts to log in, from this address or with this name";
    let remedy = format!("try again in {seconds} s; who has a token can go on meanwhile");
    Refusal::new("TOO_MANY_ATTEMPTS", what, remedy).after(seconds)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let hashing = Arc::new(Hashing::default());
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let mut running = Vec::new();
        for _ in 0..IN_ALL {
            let (hashing, gate) = (Arc::clone(&hashing), Arc::clone(&gate));
            running.push(tokio::spawn(async move {
                hashing.run(move || gate.lock().unwrap().recv().is_err()).await
            }));
        }
        while hashing.in_all.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refusal = hashing.run(|| ()).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.retry_after()), ("TOO_MANY_ATTEMPTS", Some(1)));
        // Whoever waits for the gate learns that it will not be opened any more.
        drop(release);
        for one in running {
            assert_eq!(one.await.unwrap(), Ok(true));
        }
        assert_eq!(hashing.run(|| 7).await, Ok(7));
    }
}
