use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

fn shim() -> (tempfile::TempDir, Runtime, Shim) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::at(dir.path().to_owned()).unwrap();
    let shim = Shim::open(&runtime, Path::new("/dev/pts/7")).unwrap();
    (dir, runtime, shim)
}

fn all_news(shim: &mut Shim) -> Vec<News> {
    std::iter::from_fn(|| shim.news()).collect()
}

#[test]
fn a_page_is_private_and_goes_with_its_port() {
    let (_dir, runtime, shim) = shim();
    let path = runtime.dir().join(FOLDER).join("7");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.permissions().mode() & 0o777, meta.len()), (0o600, page::SIZE as u64));
    let client = SharedPage::map(&File::options().read(true).write(true).open(&path).unwrap()).unwrap();
    assert_eq!(client.magic.load(Ordering::Relaxed), page::MAGIC);
    // One that a dead process left has no lock.
    let dead = runtime.dir().join(FOLDER).join("8");
    fs::write(&dead, [0; page::SIZE]).unwrap();
    runtime.sweep();
    assert!(path.exists() && !dead.exists());
    drop(shim);
    assert!(!path.exists());
    assert_eq!(client.closed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_ring_is_answered_when_all_is_told() {
    let (_dir, _runtime, mut shim) = shim();
    assert_eq!(all_news(&mut shim), [], "nobody is there");
    shim.arrived();
    let both = Lines::DTR | Lines::RTS;
    assert_eq!(all_news(&mut shim), [News::Lines(both)], "they rise at open");
    let page = &shim.page;
    page.outputs.store(tiocm::RTS | tiocm::OUT1, Ordering::Relaxed);
    page.settings.store(1, Ordering::Relaxed);
    page.breaks.store(1, Ordering::Relaxed);
    page.asked.store(5, Ordering::Relaxed);
    assert!(shim.rung());
    assert_eq!(shim.news(), Some(News::Settings));
    assert!(shim.rung(), "not all is told");
    assert_eq!(all_news(&mut shim), [News::Lines(Lines::RTS), News::Break(true)]);
    assert!(!shim.rung());
    // Breaks that were not seen in time: how it ends up, and one of them.
    shim.page.breaks.store(1 + 200, Ordering::Relaxed);
    assert_eq!(all_news(&mut shim), [News::Break(false), News::Break(true)]);
    // Who is killed in a break ends it, and drops its lines; the next one finds all as new.
    shim.reset(false);
    assert_eq!(all_news(&mut shim), [News::Break(false)]);
    shim.arrived();
    assert_eq!(all_news(&mut shim), [News::Lines(both)]);
}

#[test]
fn a_program_that_changes_its_lines_without_end_holds_nobody_up() {
    let (_dir, _runtime, mut shim) = shim();
    shim.arrived();
    shim.page.asked.store(1, Ordering::Relaxed);
    let mut told = 0;
    while shim.news().is_some() {
        shim.page.outputs.fetch_xor(tiocm::DTR, Ordering::Relaxed);
        told += 1;
    }
    assert_eq!(told, usize::from(ROUND));
    assert!(!shim.rung());
}

#[test]
fn input_lines_are_counted_as_a_uart_counts() {
    let (_dir, _runtime, shim) = shim();
    for lines in [Lines::CTS | Lines::RI, Lines::CTS, Lines::CTS, Lines::NONE] {
        shim.show(lines);
    }
    let counts = [count::CTS, count::DSR, count::RNG, count::DCD];
    assert_eq!(counts.map(|n| shim.page.counts[n].load(Ordering::Relaxed)), [2, 0, 1, 0]);
    assert_eq!(shim.page.changes.load(Ordering::Relaxed), 3);
}

#[test]
fn a_line_is_as_the_application_set_it() {
    let (_dir, _runtime, mut shim) = shim();
    shim.arrived();
    assert_eq!(shim.format(ControlModes::empty(), StopBits::One), None);
    shim.page.settings.store(1, Ordering::Relaxed);
    all_news(&mut shim);
    let format = |held: u32, modes, stop| {
        shim.page.held.store(held, Ordering::Relaxed);
        shim.format(modes, stop).unwrap().to_string()
    };
    let (odd, stick) = (ControlModes::PARODD, ControlModes::CMSPAR);
    assert_eq!(format(0o60 | held::PARENB, ControlModes::empty(), StopBits::One), "8E1");
    assert_eq!(format(0o40 | held::PARENB, odd, StopBits::Two), "7O2");
    assert_eq!(format(0o60 | held::PARENB, odd | stick, StopBits::One), "8M1");
    assert_eq!(format(0o60 | held::PARENB, stick, StopBits::One), "8S1");
    assert_eq!(format(0, odd | stick, StopBits::Two), "5N1.5");
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
}

fn read_all(pipe: &OwnedFd, into: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(n) = rustix::io::read(pipe, &mut buffer) {
        into.extend_from_slice(&buffer[..n]);
    }
}

#[test]
fn errors_look_as_the_terminal_is_set() {
    let (_dir, _runtime, mut shim) = shim();
    let (out, into) = pipe();
    shim.arrived();
    let check = InputModes::INPCK;
    let said = |shim: &mut Shim, modes| {
        shim.on_error(CharError::Parity, modes);
        assert_eq!(shim.write(&into, b"xy").unwrap(), 2);
        shim.on_break(modes);
        shim.flush(&into).unwrap();
        let mut bytes = Vec::new();
        read_all(&out, &mut bytes);
        bytes
    };
    assert_eq!(said(&mut shim, InputModes::empty()), b"xy\0");
    assert_eq!(said(&mut shim, check), b"\0y\0");
    assert_eq!(said(&mut shim, check | InputModes::IGNPAR | InputModes::IGNBRK), b"y");
    shim.page.held.fetch_or(held::PARMRK, Ordering::Relaxed);
    assert_eq!(said(&mut shim, check), b"\xff\0xy\xff\0\0");
    assert_eq!(shim.page.counts[count::PARITY].load(Ordering::Relaxed), 4);
    assert!(shim.on_break(InputModes::BRKINT));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// With marks each 0xff is doubled once, wherever the terminal takes no more.
    #[test]
    fn nothing_is_lost_or_doubled_at_the_edge_of_a_full_terminal(
        bytes in prop::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 1..300),
        fill in 0usize..300,
    ) {
        let (_dir, _runtime, mut shim) = shim();
        shim.arrived();
        shim.page.held.fetch_or(held::PARMRK, Ordering::Relaxed);
        let (out, into) = pipe();
        rustix::pipe::fcntl_setpipe_size(&into, 4096).unwrap();
        let padding = vec![b'p'; 4096 - fill];
        rustix::io::write(&into, &padding).unwrap();
        let (mut got, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() || shim.unsent() {
            let n = shim.write(&into, rest).unwrap();
            rest = &rest[n..];
            read_all(&out, &mut got);
        }
        read_all(&out, &mut got);
        let wanted: Vec<u8> =
            bytes.iter().flat_map(|&b| std::iter::repeat_n(b, if b == 0xff { 2 } else { 1 })).collect();
        prop_assert_eq!(&got[padding.len()..], &wanted[..]);
    }
}
