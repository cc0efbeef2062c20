//! Lends a closure to another thread and waits until it has run, so that it may borrow from the caller's stack
//! and the other thread frees nothing. `unsafe`, because Rust cannot see that the caller waits.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Says that a piece of work is over. Kept and used again by the lender, so that the borrower never holds the last
/// reference and frees nothing.
#[derive(Debug, Default)]
pub(crate) struct Done {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Done {
    fn say(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            over = self.changed.wait(over).unwrap_or_else(PoisonError::into_inner);
        }
        *over = false;
    }
}

/// A closure over an `E` on its way to the thread that has the `E`.
#[derive(Debug)]
pub(crate) struct Work<E> {
    slot: NonNull<()>,
    run: unsafe fn(NonNull<()>, &mut E),
    done: Arc<Done>,
}

// SAFETY: the slot holds a closure and a place for its result, both `Send` (see `lend`), and its owner does not
// touch it before this is dropped.
unsafe impl<E> Send for Work<E> {}

impl<E> Work<E> {
    pub(crate) fn perform(self, engine: &mut E) {
        // SAFETY: `run` was made for this slot's types, and the slot's owner is still waiting, because `self` is
        // not dropped yet; it is consumed, so it runs once.
        unsafe { (self.run)(self.slot, engine) };
    }
}

impl<E> Drop for Work<E> {
    /// Performed or not, from here on nobody touches the slot.
    fn drop(&mut self) {
        self.done.say();
    }
}

struct Slot<F, R> {
    work: Option<F>,
    result: Option<std::thread::Result<R>>,
}

/// Waits when `lend` goes on and when it unwinds: the slot must not go before the borrower is done with it.
struct Wait<'a>(&'a Done);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// Gives `f` to `send`, which passes it to the thread that performs it, and waits for the answer. `None` if it
/// was dropped without having run. A panic of `f` goes on here. `done` is not in use elsewhere.
pub(crate) fn lend<E, R, F>(f: F, done: &Arc<Done>, send: impl FnOnce(Work<E>)) -> Option<R>
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
    let work = Work { slot: NonNull::from(&mut slot).cast(), run: run::<E, R, F>, done: done.clone() };
    let wait = Wait(done);
    send(work);
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
        let (tx, rx) = crossbeam_channel::bounded::<Work<u32>>(1);
        let done = Arc::default();
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
            &done,
            send,
        );
        assert_eq!((got, text.as_str()), (Some(42), "xy"));
        let panicked = catch_unwind(AssertUnwindSafe(|| lend(|_: &mut u32| panic!("no"), &done, send)));
        assert!(panicked.is_err());
        other.join().unwrap();
        // Nobody is there: the work is dropped, not waited for.
        assert_eq!(lend(|engine: &mut u32| *engine, &done, |work| drop(tx.send(work))), None);
    }
}
