//! Writes to something that may wait (a FIFO, a socket, standard output) on a thread of its own, so that nobody else
//! waits. What it may hold is bounded; who gives it more is told so.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most bytes that wait to be written.
pub(crate) const ROOM: usize = 4 * 1024 * 1024;
/// How long a reader that takes nothing is waited for at the end.
const PARTING: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Being written.
    taken: usize,
    closed: bool,
    done: bool,
    error: Option<io::Error>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Pump(Arc<Shared>);

impl Pump {
    /// `open` runs on the thread of the pump: opening a FIFO waits for its reader.
    pub(crate) fn start<W: Write>(open: impl FnOnce() -> io::Result<W> + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        std::thread::Builder::new().name("capture-stream".to_owned()).spawn(move || {
            let error = open().and_then(|to| run(&own, to)).err();
            let mut state = own.state();
            (state.error, state.done) = (error, true);
            own.changed.notify_all();
        })?;
        Ok(Self(shared))
    }

    /// How many bytes it takes now.
    pub(crate) fn room(&self) -> usize {
        let state = self.0.state();
        ROOM.saturating_sub(state.waiting.len() + state.taken)
    }

    /// Takes all, even if there is no room: whoever calls has asked.
    pub(crate) fn push(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.state();
        if let Some(e) = state.error.take() {
            return Err(sentence(&e));
        }
        state.waiting.extend_from_slice(bytes);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Waits a moment for the reader to take what is left.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.closed = true;
        self.0.changed.notify_all();
        let waited = self.0.changed.wait_timeout_while(state, PARTING, |state| !state.done);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.error.take() {
            Some(e) => Err(sentence(&e)),
            None if state.done => Ok(()),
            None => {
                let left = state.waiting.len() + state.taken;
                let message = format!("the reader of the capture did not take its last {left} bytes");
                Err(io::Error::new(io::ErrorKind::TimedOut, message))
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_all();
    }
}

fn run(shared: &Shared, mut to: impl Write) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        let mut state = shared.state();
        state.taken = 0;
        while state.waiting.is_empty() {
            if state.closed {
                return Ok(());
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        batch.clear();
        std::mem::swap(&mut batch, &mut state.waiting);
        state.taken = batch.len();
        drop(state);
        to.write_all(&batch)?;
        to.flush()?;
    }
}

fn sentence(e: &io::Error) -> io::Error {
    let message = match e.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            "the reader of the capture has gone".to_owned()
        }
        _ => format!("the capture cannot be written: {e}"),
    };
    io::Error::new(e.kind(), message)
}
