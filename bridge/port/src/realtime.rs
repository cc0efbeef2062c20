//! What a shard may ask of the kernel to keep time better: priority, a core of its own, locked memory, a processor
//! that does not sleep. Each is best effort, and each answer is a sentence for an operator.

use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::sys_rt;

/// What is asked. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RealTime {
    /// SCHED_FIFO at this priority (1 to 99).
    pub fifo: Option<u8>,
    /// How long before a deadline the shard stops sleeping and spins; zero for never.
    pub spin: Duration,
    /// Run on this core only.
    pub cpu: Option<usize>,
    /// Keep the process in memory (mlockall).
    pub lock_memory: bool,
    /// Hold /dev/cpu_dma_latency at 0 while the shard runs.
    pub dma_latency: bool,
}

/// What came of it, one row a wish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Granted {
    pub rows: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub what: &'static str,
    pub granted: bool,
    /// What was asked, and if it was refused, why and what to do.
    pub detail: String,
}

impl Granted {
    fn row(&mut self, what: &'static str, asked: String, done: Result<(), String>) {
        let granted = done.is_ok();
        let detail = match done {
            Ok(()) => asked,
            Err(why) => format!("{asked}: {why}"),
        };
        self.rows.push(Grant { what, granted, detail });
    }
}

fn words(e: Errno) -> String {
    let text = std::io::Error::from(e).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// On the thread of the shard itself: what is a thread's own.
pub(crate) fn of_thread(ask: &RealTime) -> Granted {
    let mut granted = Granted::default();
    let slack = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    granted.row("timer slack", "1 ns".into(), slack.map_err(words));
    if let Some(priority) = ask.fifo {
        let done = sys_rt::fifo(priority).map_err(|e| match e {
            Errno::PERM => format!(
                "{}; allow it with a line `@dialout - rtprio {priority}` in /etc/security/limits.conf, \
                 `LimitRTPRIO={priority}` in the service, or CAP_SYS_NICE; until then only the timer slack helps",
                words(e)
            ),
            Errno::INVAL => format!("{}; priorities are 1 to 99", words(e)),
            e => words(e),
        });
        granted.row("SCHED_FIFO", format!("priority {priority}"), done);
    }
    if !ask.spin.is_zero() {
        granted.row("spin", format!("the last {} us before a deadline", ask.spin.as_micros()), Ok(()));
    }
    if let Some(cpu) = ask.cpu {
        let done = if cpu < CpuSet::MAX_CPU {
            let mut set = CpuSet::new();
            set.set(cpu);
            sched_setaffinity(None, &set).map_err(|e| match e {
                Errno::INVAL => format!("{}; there is no such core, or it is not for this process", words(e)),
                e => words(e),
            })
        } else {
            Err(format!("cores are numbered 0 to {}", CpuSet::MAX_CPU - 1))
        };
        granted.row("core", format!("core {cpu}"), done);
    }
    granted
}

/// What is the whole process's. The descriptor is kept as long as the wish holds.
pub(crate) fn of_process(ask: &RealTime, granted: &mut Granted) -> Option<OwnedFd> {
    if ask.lock_memory {
        static LOCKED: OnceLock<Result<(), String>> = OnceLock::new();
        granted.row("memory", "locked".into(), LOCKED.get_or_init(lock_memory).clone());
    }
    if !ask.dma_latency {
        return None;
    }
    let held = hold_latency();
    let (fd, done) = match held {
        Ok(fd) => (Some(fd), Ok(())),
        Err(e) => {
            let hint = match e {
                Errno::ACCESS | Errno::PERM => {
                    "; give your group the right to write /dev/cpu_dma_latency (a udev rule)"
                }
                Errno::NOENT => "; this kernel has no /dev/cpu_dma_latency",
                _ => "",
            };
            (None, Err(format!("{}{hint}", words(e))))
        }
    };
    granted.row("processor sleep", "/dev/cpu_dma_latency at 0".into(), done);
    fd
}

fn hold_latency() -> Result<OwnedFd, Errno> {
    let fd = rustix::fs::open("/dev/cpu_dma_latency", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, &0i32.to_ne_bytes())?;
    Ok(fd)
}

/// With a limit on locked memory later allocations would fail, so that a limit is a refusal.
fn lock_memory() -> Result<(), String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    if limit.current.is_some() && !may_lock() {
        return Err("locked memory is limited; raise it with a line `@dialout - memlock unlimited` in \
                    /etc/security/limits.conf or `LimitMEMLOCK=infinity` in the service"
            .into());
    }
    // Pages are locked as they are first used: else each thread's whole stack would be taken at once.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(words)
}

/// CAP_IPC_LOCK lifts the limit.
fn may_lock() -> bool {
    const IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps >> IPC_LOCK & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wish_gets_an_answer_and_a_refusal_says_why() {
        let ask = RealTime {
            fifo: Some(100),
            spin: Duration::from_micros(60),
            cpu: Some(CpuSet::MAX_CPU),
            ..RealTime::default()
        };
        let granted = std::thread::spawn(move || of_thread(&ask)).join().unwrap();
        let row = |what| granted.rows.iter().find(|r| r.what == what).unwrap();
        assert!(row("timer slack").granted && row("spin").granted);
        assert!(!row("SCHED_FIFO").granted && row("SCHED_FIFO").detail.contains("priorities are 1 to 99"));
        assert!(!row("core").granted && row("core").detail.contains("cores are numbered"));
        assert_eq!(std::thread::spawn(|| of_thread(&RealTime::default())).join().unwrap().rows.len(), 1);
    }
}
