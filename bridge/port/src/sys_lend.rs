//! Lends a closure to another thread and waits until it has run, so that it may borrow from the caller's stack
//! and the other thread frees nothing. `unsafe`, because Rust cannot see that the caller waits.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;

use crossbeam_channel::{Receiver, Sender, bounded};

/// A closure over an `E` on its way to the thread that has the `E`.
#[derive(Debug)]
pub(crate) struct Work<E> {
    slot: NonNull<()>,
    run: unsafe fn(NonNull<()>, &mut E),
    /// Sent on, or dropped, when nobody will touch the slot any more.
    done: Sender<()>,
}

// SAFETY: the slot holds a closure and a place for its result, both `Send` (see `lend`), and its owner does not
// touch it before `done` is sent or dropped.
unsafe impl<E> Send for Work<E> {}

impl<E> Work<E> {
    pub(crate) fn perform(self, engine: &mut E) {
        // SAFETY: `run` was made for this slot's types, and the slot's owner is still waiting, because `done` is
        // neither sent nor dropped; `self` is consumed, so it runs once.
        unsafe { (self.run)(self.slot, engine) };
        let _ = self.done.send(());
    }
}

struct Slot<F, R> {
    work: Option<F>,
    result: Option<std::thread::Result<R>>,
}

/// Runs when `lend` returns and when it unwinds: the slot must not go before the borrower is done with it.
struct Wait(Receiver<()>);

impl Drop for Wait {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

/// Gives `f` to `send`, which passes it to the thread that performs it, and waits for the answer. `None` if it
/// was dropped without having run. A panic of `f` goes on here.
pub(crate) fn lend<E, R, F>(f: F, send: impl FnOnce(Work<E>)) -> Option<R>
where
    F: FnOnce(&mut E) -> R + Send,
    R: Send,
{
    unsafe fn run<E, R, F: FnOnce(&mut E) -> R>(slot: NonNull<()>, engine: &mut E) {
        // SAFETY: the slot was made by `lend` with these types, outlives this call and is ours until `done`.
        let slot = unsafe { slot.cast::<Slot<F, R>>().as_mut() };
        if let Some(f) = slot.work.take() {
            slot.result = Some(catch_unwind(AssertUnwindSafe(|| f(engine))));
        }
    }
    let mut slot = Slot { work: Some(f), result: None };
    let (done, finished) = bounded(1);
    let wait = Wait(finished);
    send(Work { slot: NonNull::from(&mut slot).cast(), run: run::<E, R, F>, done });
    drop(wait);
    match slot.result? {
        Ok(result) => Some(result),
        Err(panic) => resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_borrows_from_its_caller_and_answers() {
        let (tx, rx) = bounded::<Work<u32>>(1);
        let other = std::thread::spawn(move || {
            let mut engine = 40;
            for work in rx.iter().take(2) {
                work.perform(&mut engine);
            }
        });
        let mut text = String::from("x");
        let send = |work| tx.send(work).unwrap();
        let got = lend(
            |engine: &mut u32| {
                *engine += 2;
                text.push('y');
                *engine
            },
            send,
        );
        assert_eq!((got, text.as_str()), (Some(42), "xy"));
        let panicked = catch_unwind(AssertUnwindSafe(|| lend(|_: &mut u32| panic!("no"), send)));
        assert!(panicked.is_err());
        other.join().unwrap();
        // Nobody is there: the work is dropped, not waited for.
        assert_eq!(lend(|engine: &mut u32| *engine, |work| drop(tx.send(work))), None);
    }
}
