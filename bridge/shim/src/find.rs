//! Which descriptors are virtual ports of hilrig, and where their pages are. Asks the kernel what a descriptor is
//! each time instead of following open, dup, fork and exec; takes no lock and no memory.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::page::{FOLDER, MAGIC, Page, SIZE, VARIABLE};
use crate::sys;

const PATH: usize = 4096;
/// The kernel's number for /dev/pts/N.
const PTS_MAJOR: u32 = 136;

/// Directories to look for pages in, as in the environment when the program began; separated by `:`.
static DIRS: [AtomicU64; PATH / 8] = [const { AtomicU64::new(0) }; PATH / 8];
static DIRS_LEN: AtomicUsize = AtomicUsize::new(0);

/// Whether speeds in a termios may be plain numbers, as from glibc 2.42 on.
pub static NUMBERS: AtomicBool = AtomicBool::new(false);

/// Reads the environment. Called by the loader before the program begins.
pub extern "C" fn begin() {
    // SAFETY: a C string of the library's own, such as 2.36.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_bytes();
    let minor = version.strip_prefix(b"2.").and_then(|v| std::str::from_utf8(v).ok()?.parse::<u32>().ok());
    NUMBERS.store(minor.is_none_or(|n| n >= 42), Ordering::Relaxed);
    let mut name = [0u8; 32];
    name[..VARIABLE.len()].copy_from_slice(VARIABLE.as_bytes());
    // SAFETY: the name ends in a zero; nothing else runs yet that could change the environment.
    let value = unsafe { libc::getenv(name.as_ptr().cast()) };
    if value.is_null() {
        return;
    }
    // SAFETY: an entry of the environment is a C string.
    let len = unsafe { libc::strlen(value) };
    if len < PATH {
        // SAFETY: both are that long and no other thread is there; what is written are plain bytes.
        unsafe { std::ptr::copy_nonoverlapping(value.cast::<u8>(), DIRS.as_ptr() as *mut u8, len) };
        DIRS_LEN.store(len, Ordering::Release);
    }
}

fn dirs() -> &'static [u8] {
    let len = DIRS_LEN.load(Ordering::Acquire);
    // SAFETY: written once, before `DIRS_LEN` became that.
    unsafe { std::slice::from_raw_parts(DIRS.as_ptr().cast::<u8>(), len) }
}

/// A page that is mapped, and the terminal it belongs to. Never unmapped: a thread may be using it.
struct Slot {
    number: AtomicU64,
    /// When the terminal was made: a number is used again.
    made: AtomicU64,
    page: AtomicPtr<Page>,
}

static SLOTS: [Slot; 256] = [const {
    Slot { number: AtomicU64::new(0), made: AtomicU64::new(0), page: AtomicPtr::new(std::ptr::null_mut()) }
}; 256];

/// The page of a descriptor that is one of our ports. Leaves errno alone.
pub fn find(fd: c_int) -> Option<&'static Page> {
    if DIRS_LEN.load(Ordering::Relaxed) == 0 {
        return None;
    }
    sys::quietly(|| {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: fstat writes one stat, and it is only read if that was done.
        let stat = unsafe {
            if libc::fstat(fd, stat.as_mut_ptr()) != 0 {
                return None;
            }
            stat.assume_init()
        };
        if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || libc::major(stat.st_rdev) != PTS_MAJOR {
            return None;
        }
        let number = u64::from(libc::minor(stat.st_rdev));
        let made = (stat.st_ctime as u64).wrapping_mul(1_000_000_000).wrapping_add(stat.st_ctime_nsec as u64);
        let page = known(number, made).or_else(|| {
            let slot = SLOTS.iter().find(|slot| slot.is_free())?;
            let page = map(number)?;
            slot.keep(number, made, page);
            Some(page)
        })?;
        (page.closed.load(Ordering::Relaxed) == 0).then_some(page)
    })
}

fn known(number: u64, made: u64) -> Option<&'static Page> {
    for slot in &SLOTS {
        let page = slot.page.load(Ordering::Acquire);
        if page.is_null() {
            return None;
        }
        if slot.number.load(Ordering::Acquire) == number && slot.made.load(Ordering::Relaxed) == made {
            // SAFETY: what is in a slot is mapped and stays so.
            return Some(unsafe { &*page });
        }
    }
    None
}

impl Slot {
    fn is_free(&self) -> bool {
        let page = self.page.load(Ordering::Acquire);
        // SAFETY: what is in a slot is mapped and stays so.
        page.is_null() || unsafe { &*page }.closed.load(Ordering::Relaxed) != 0
    }

    /// Two threads may come at once; the one that is late maps its page again next time.
    fn keep(&self, number: u64, made: u64, page: &'static Page) {
        let before = self.page.load(Ordering::Acquire);
        let page = std::ptr::from_ref(page).cast_mut();
        if self.is_free()
            && self.page.compare_exchange(before, page, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.made.store(made, Ordering::Relaxed);
            self.number.store(number, Ordering::Release);
        }
    }
}

/// Maps the page of `/dev/pts/number` if a live hilrig has one.
fn map(number: u64) -> Option<&'static Page> {
    dirs().split(|&b| b == b':').filter(|dir| !dir.is_empty()).find_map(|dir| {
        let mut path = [0u8; PATH + 64];
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            path[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        put(dir);
        put(b"/");
        put(FOLDER.as_bytes());
        put(b"/");
        let mut digits = [0u8; 20];
        let (mut at, mut rest) = (digits.len(), number);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        put(&digits[at..]);
        map_file(path.as_ptr().cast())
    })
}

fn map_file(path: *const c_char) -> Option<&'static Page> {
    // SAFETY: a C string on the caller's stack. Past the C library, which may have another library's `open` before it.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path,
            libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW,
            0,
        )
    } as c_int;
    if fd < 0 {
        return None;
    }
    // SAFETY: a descriptor of our own; the mapping outlives it. A page is never made shorter, so that it can be read
    // as long as it is mapped, and any bytes make a valid `Page`.
    unsafe {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // A lock that can be had was left by a hilrig that was killed, and the terminal is someone else's now.
        let live = libc::syscall(libc::SYS_flock, fd, libc::LOCK_SH | libc::LOCK_NB) != 0
            && sys::errno() == libc::EWOULDBLOCK;
        let whole =
            libc::fstat(fd, stat.as_mut_ptr()) == 0 && stat.assume_init_ref().st_size >= SIZE as libc::off_t;
        let map = if live && whole {
            libc::mmap(
                std::ptr::null_mut::<c_void>(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        } else {
            libc::MAP_FAILED
        };
        libc::syscall(libc::SYS_close, fd);
        if map == libc::MAP_FAILED {
            return None;
        }
        let page = &*map.cast::<Page>();
        (page.magic.load(Ordering::Acquire) == MAGIC).then_some(page)
    }
}

/// Descriptors below this can be paced, and their close noticed.
const FDS: usize = 4096;
/// Those that were found to be ours at some call for terminals, which every serial program makes; a hint only.
static OURS: [AtomicU64; FDS / 64] = [const { AtomicU64::new(0) }; FDS / 64];
static ANY: AtomicBool = AtomicBool::new(false);
/// The process that marked: a forked child has inherited the marks and the descriptors without having used them.
static MARKER: AtomicI32 = AtomicI32::new(0);

pub fn mark(fd: c_int) {
    if let Some((word, bit)) = place(fd) {
        // SAFETY: asks for a number.
        let me = unsafe { libc::getpid() };
        if MARKER.swap(me, Ordering::Relaxed) != me {
            OURS.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        ANY.store(true, Ordering::Relaxed);
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

pub fn unmark(fd: c_int) {
    if let Some((word, bit)) = place(fd) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

pub fn is_own() -> bool {
    // SAFETY: asks for a number.
    MARKER.load(Ordering::Relaxed) == unsafe { libc::getpid() }
}

fn place(fd: c_int) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((OURS.get(fd / 64)?, 1 << (fd % 64)))
}

/// Whether any descriptor of this process was ever ours.
#[inline]
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// The page of a descriptor that was marked and is still ours. Next to nothing for all others.
#[inline]
pub fn marked(fd: c_int) -> Option<&'static Page> {
    if !any() {
        return None;
    }
    let (word, bit) = place(fd)?;
    if word.load(Ordering::Relaxed) & bit == 0 {
        return None;
    }
    find(fd).or_else(|| {
        unmark(fd);
        None
    })
}

/// Whether another marked descriptor of this process has the same page.
pub fn elsewhere(fd: c_int, page: &Page) -> bool {
    OURS.iter().enumerate().any(|(n, word)| {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != 0 {
            let other = (n * 64) as c_int + bits.trailing_zeros() as c_int;
            bits &= bits - 1;
            if other != fd && find(other).is_some_and(|p| std::ptr::eq(p, page)) {
                return true;
            }
        }
        false
    })
}
