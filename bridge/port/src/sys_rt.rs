//! The scheduling call that rustix does not offer, and nothing else.
#![allow(unsafe_code)]

use rustix::io::Errno;

/// Puts the calling thread under SCHED_FIFO. Threads it starts do not inherit that.
pub(crate) fn fifo(priority: u8) -> Result<(), Errno> {
    // SAFETY: all bytes zero are a valid sched_param; musl has more fields than the one that counts.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = priority.into();
    // SAFETY: the pointer is to a sched_param that outlives the call; 0 is the calling thread.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &param) };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::PERM))
    }
}
