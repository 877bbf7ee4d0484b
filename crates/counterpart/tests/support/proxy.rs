//! A TCP proxy on loopback whose wires can be cut: each direction by itself, silently or by closing.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What happens to bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Wires {
    /// Bytes from the dialling side are held back.
    pub forth_cut: bool,
    /// Bytes to the dialling side are held back.
    pub back_cut: bool,
    /// New connections are closed at once, old ones are closed.
    pub refused: bool,
    /// Added to each piece of data in each direction.
    pub delay: Duration,
}

#[derive(Default)]
struct State {
    wires: Mutex<Wires>,
    changed: Condvar,
    connections: AtomicU64,
}

/// A proxy before one address. Ends with the process; its threads hold nothing else.
pub struct Proxy {
    state: Arc<State>,
    address: SocketAddr,
}

impl Proxy {
    /// Listens on a port chosen by the kernel and passes everything on to `target`.
    pub fn before(target: &str) -> Proxy {
        let target: SocketAddr = target.parse().unwrap();
        let listener = TcpListener::bind((target.ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for inbound in listener.incoming() {
                let inbound = inbound.unwrap();
                shared.connections.fetch_add(1, Ordering::Relaxed);
                if shared.wires.lock().unwrap().refused {
                    continue;
                }
                let Ok(outbound) = TcpStream::connect(target) else { continue };
                carry(&shared, &inbound, &outbound, true);
                carry(&shared, &outbound, &inbound, false);
            }
        });
        Proxy { state, address }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn set(&self, wires: Wires) {
        *self.state.wires.lock().unwrap() = wires;
        self.state.changed.notify_all();
    }

    /// How often somebody has dialled.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

fn carry(state: &Arc<State>, from: &TcpStream, to: &TcpStream, forth: bool) {
    let (state, mut from, mut to) =
        (Arc::clone(state), from.try_clone().unwrap(), to.try_clone().unwrap());
    from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer);
            let wires = hold_while_cut(&state, forth);
            if wires.refused {
                break;
            }
            match read {
                Ok(0) => break,
                Ok(n) => {
                    if !wires.delay.is_zero() {
                        std::thread::park_timeout(wires.delay);
                    }
                    if to.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => break,
            }
        }
        // The other end may have closed already.
        let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

fn hold_while_cut(state: &State, forth: bool) -> Wires {
    let cut = |w: &mut Wires| !w.refused && if forth { w.forth_cut } else { w.back_cut };
    *state.changed.wait_while(state.wires.lock().unwrap(), cut).unwrap()
}
