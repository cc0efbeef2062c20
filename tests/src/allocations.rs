//! A counting allocator for tests that nothing is allocated. It only counts and passes on.
#![allow(unsafe_code)] // cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Put `#[global_allocator] static ALLOCATOR: Counting = Counting;` into the test.
#[derive(Debug)]
pub struct Counting;

/// How often this thread has called the allocator so far, to get memory or to give it back.
pub fn allocator_calls() -> u64 {
    CALLS.get()
}

fn count() {
    // A thread that is going away has no cell any more and is none of ours.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is the system allocator's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
}
