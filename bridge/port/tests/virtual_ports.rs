//! Virtual ports over real PTYs: exact bytes, comings and goings, what applications set.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write;
use std::process::Command;

use common::{App, adds_up, open_pty, pattern, runtime, wait_until};
use hilrig_port::{Link, LinkOptions, PortState, Runtime, Shard};
use rustix::termios::{ControlModes, LocalModes};

/// Two virtual ports on a shard: `a` and `b`, and the paths of their far ends.
fn pair(runtime: &Runtime) -> (Shard, Link, [std::path::PathBuf; 2]) {
    let (a, far_a, _) = open_pty("a", runtime);
    let (b, far_b, _) = open_pty("b", runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(a, b, LinkOptions::default()).unwrap();
    (shard, link, [far_a, far_b])
}

#[test]
fn bytes_arrive_exactly_in_both_directions() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let (app_a, app_b) = (App::open(&far[0]), App::open(&far[1]));
    let (to_b, to_a) = (pattern(300_000, 1), pattern(300_000, 2));
    std::thread::scope(|s| {
        s.spawn(|| app_a.write(&to_b));
        s.spawn(|| app_b.write(&to_a));
        let got = s.spawn(|| app_b.read(to_b.len()));
        assert!(app_a.read(to_a.len()) == to_a, "A got other bytes than B sent");
        assert!(got.join().unwrap() == to_b, "B got other bytes than A sent");
    });
    // A byte can be read a moment before it is counted.
    wait_until("all is counted", || link.stats().directions.iter().all(|d| d.bytes_out == 300_000));
    for d in &link.stats().directions {
        assert_eq!((d.bytes_in, d.discarded_bytes, d.pending), (300_000, 0, 0));
        assert!(d.latency.count() > 0);
    }
}

/// Writes until the line takes no more and the shard holds some; answers how much was written.
fn fill(app: &App, bytes: &[u8], stalled: impl Fn() -> bool) -> usize {
    let mut sent = 0;
    wait_until("the line is full", || {
        let n = app.write_some(&bytes[sent..]);
        sent += n;
        n == 0 && stalled()
    });
    sent
}

#[test]
fn a_stalled_reader_stalls_the_writer_and_costs_no_byte() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let (app_a, app_b) = (App::open(&far[0]), App::open(&far[1]));
    let (to_b, to_a) = (pattern(2_000_000, 3), pattern(2_000_000, 4));
    let nothing_pending = || link.stats().directions.iter().all(|d| d.pending == 0);
    for _ in 0..3 {
        wait_until("nothing is pending", nothing_pending);
        let n = fill(&app_a, &to_b, || link.stats().directions[0].pending > 0);
        let m = fill(&app_b, &to_a, || link.stats().directions[1].pending > 0);
        assert!(n < to_b.len() && m < to_a.len(), "nothing ever stalled");
        adds_up(&link.stats());
        assert!(app_b.read(n) == to_b[..n]);
        assert!(app_a.read(m) == to_a[..m]);
        assert_eq!((app_a.read_some().len(), app_b.read_some().len()), (0, 0));
    }
    // A stalled direction does not hold up the other one.
    let n = fill(&app_a, &to_b, || link.stats().directions[0].pending > 0);
    app_b.write(&to_a[..5000]);
    assert!(app_a.read(5000) == to_a[..5000]);
    assert!(app_b.read(n) == to_b[..n]);
}

#[test]
fn a_writer_that_leaves_while_the_line_is_stalled_is_still_heard_out() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let (app_a, app_b) = (App::open(&far[0]), App::open(&far[1]));
    let bytes = pattern(2_000_000, 5);
    let n = fill(&app_a, &bytes, || link.stats().directions[0].pending > 0);
    drop(app_a);
    // What is sent to it now reaches nobody, and is counted as that.
    app_b.write(b"too late");
    wait_until("the late bytes are discarded", || link.stats().directions[1].discarded_bytes == 8);
    assert!(app_b.read(n) == bytes[..n]);
    wait_until("the writer is seen to have left", || !link.ports()[0].snapshot().peer_open);
    let app_a = App::open(&far[0]);
    app_b.write(b"again");
    assert_eq!(app_a.read(5), b"again");
    adds_up(&link.stats());
}

#[test]
fn bytes_for_nobody_are_counted_and_not_kept() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let app_a = App::open(&far[0]);
    app_a.write(&[7; 1000]);
    wait_until("the bytes are discarded", || link.stats().directions[0].discarded_bytes == 1000);
    assert_eq!(link.ports()[1].snapshot().discarded_bytes, 1000);

    let app_b = App::open(&far[1]);
    app_a.write(b"fresh");
    assert_eq!(app_b.read(5), b"fresh");

    // What an application did not read is not the next one's.
    app_a.write(b"stale");
    wait_until("the bytes are written", || link.stats().directions[0].bytes_out == 10);
    drop(app_b);
    wait_until("the port is closed", || !link.ports()[1].snapshot().peer_open);
    let app_b = App::open(&far[1]);
    app_a.write(b"new");
    assert_eq!(app_b.read(3), b"new");
    adds_up(&link.stats());
}

#[test]
fn who_has_just_opened_misses_no_byte() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let app_a = App::open(&far[0]);
    for i in 0..300u32 {
        let app_b = App::open(&far[1]);
        app_a.write(&i.to_le_bytes());
        assert_eq!(app_b.read(4), i.to_le_bytes());
        drop(app_b);
        if i % 2 == 0 {
            wait_until("the port is closed", || !link.ports()[1].snapshot().peer_open);
        }
    }
    assert_eq!(link.stats().directions[0].discarded_bytes, 0);
}

#[test]
fn a_visitor_shorter_than_a_blink_is_heard() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let app_a = App::open(&far[0]);
    for i in 0..200u32 {
        let app_b = App::open_as_is(&far[1]);
        app_b.write(&i.to_le_bytes());
        drop(app_b);
        assert_eq!(app_a.read(4), i.to_le_bytes());
    }
    wait_until("the port is closed", || !link.ports()[1].snapshot().peer_open);
}

#[test]
fn one_of_two_users_leaving_does_not_close_the_port() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let app_a = App::open(&far[0]);
    for i in 0..100u32 {
        // At once, so that the kernel makes one inotify event of the two openings.
        let (first, second) = (App::open_as_is(&far[1]), App::open_as_is(&far[1]));
        drop(first);
        app_a.write(&i.to_le_bytes());
        assert_eq!(second.read(4), i.to_le_bytes());
    }
    assert_eq!(link.stats().directions[0].discarded_bytes, 0);
}

#[test]
fn what_the_application_sets_is_seen() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let port = link.ports()[0].clone();
    let sees = |baud, stop| {
        wait_until(&format!("{baud} baud with {stop} stop bits is seen"), || {
            let s = port.snapshot();
            (s.baud, s.stop_bits) == (baud, stop)
        });
    };
    assert_eq!(port.snapshot().baud, 0);
    let app = App::open(&far[0]);
    sees(19_200, 1);
    app.set(|t| t.set_speed(12_345).unwrap());
    sees(12_345, 1);
    app.set(|t| t.control_modes |= ControlModes::CSTOPB);
    sees(12_345, 2);

    // A program that writes all its flags switches the reports off; they come on again by themselves.
    for baud in [4800, 115_200, 300] {
        app.set(|t| {
            t.local_modes = LocalModes::empty();
            t.set_speed(baud).unwrap();
        });
        sees(baud, 2);
        app.set(|t| t.set_speed(baud + 1).unwrap());
        sees(baud + 1, 2);
    }
    drop(app);
    sees(0, 1);
    let app = App::open(&far[0]);
    sees(19_200, 1);
    drop(app);
}

#[test]
fn what_a_pty_hides_of_a_format_is_taken_from_the_url() {
    let (_tmp, runtime) = runtime();
    let a = common::open("pty:a?format=7E1", &runtime);
    let (far, stats) = (a.far_end().unwrap().to_owned(), a.stats());
    let shard = Shard::start("test").unwrap();
    let _link = shard.add_link(a, open_pty("b", &runtime).0, LinkOptions::default()).unwrap();
    let app = App::open(&far);
    wait_until("the setting is seen", || stats.snapshot().format.to_string() == "7E1");
    app.set(|t| t.control_modes |= ControlModes::CSTOPB);
    wait_until("the application's stop bits count", || stats.snapshot().format.to_string() == "7E2");
    app.set(|t| t.input_modes |= rustix::termios::InputModes::IXON);
    wait_until("flow control is seen", || stats.snapshot().flow == hilrig_port::Flow::XonXoff);
}

/// Opens with even parity as C programs do: through glibc, which fails if nothing it asked for took effect.
fn open_8e1(path: &std::path::Path) -> Result<App, nix::Error> {
    use nix::sys::termios as tty;
    use std::os::fd::AsRawFd;
    let app = App::open_as_is(path);
    let fd = app.0.as_raw_fd();
    let mut termios = tty::tcgetattr(fd)?;
    tty::cfmakeraw(&mut termios);
    termios.control_flags.remove(tty::ControlFlags::CSIZE);
    termios.control_flags.insert(tty::ControlFlags::CS8 | tty::ControlFlags::PARENB);
    tty::cfsetspeed(&mut termios, tty::BaudRate::B19200)?;
    tty::tcsetattr(fd, tty::SetArg::TCSANOW, &termios)?;
    Ok(app)
}

#[test]
fn opening_with_parity_succeeds_each_time() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let port = link.ports()[0].clone();
    let mut visits = 0;
    let mut closed = || {
        visits += 1;
        wait_until("the visit is over", || port.snapshot().opens == visits && !port.snapshot().peer_open);
    };
    for _ in 0..20 {
        drop(open_8e1(&far[0]).expect("opening at 8E1"));
        closed();
    }
    for _ in 0..20 {
        drop(App::open(&far[0]));
        closed();
        drop(open_8e1(&far[0]).expect("opening at 8E1 after 8N1 at the same speed"));
        closed();
    }
}

#[test]
fn a_port_held_for_a_while_can_be_reopened_at_once() {
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    for _ in 0..10 {
        let app = open_8e1(&far[0]).expect("opening at 8E1");
        wait_until("the flags are put back", || {
            rustix::termios::tcgetattr(&app.0).unwrap().local_modes.contains(LocalModes::ECHONL)
        });
        drop(app);
    }
    drop(link);
}

#[test]
fn a_name_belongs_to_one_and_goes_with_it() {
    let (tmp, runtime) = runtime();
    let (port, far, _) = open_pty("x", &runtime);
    assert_eq!(far, tmp.path().join("x"));
    let again = hilrig_port::OpenPort::open(&"pty:x".parse().unwrap(), &runtime, &|| false).unwrap_err();
    assert!(again.to_string().contains(&format!("in use by process {}", std::process::id())), "{again}");
    drop(port);
    assert!(std::fs::symlink_metadata(&far).is_err());
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0, "something was left behind");

    std::fs::write(&far, "mine").unwrap();
    let blocked = hilrig_port::OpenPort::open(&"pty:x".parse().unwrap(), &runtime, &|| false).unwrap_err();
    assert!(blocked.to_string().contains("was not made by hilrig"), "{blocked}");
    assert_eq!(std::fs::read_to_string(&far).unwrap(), "mine");

    let (elsewhere, far, _) = open_pty(tmp.path().join("sub").to_str().unwrap(), &runtime);
    assert_eq!(far, tmp.path().join("sub"));
    // Gone while the shard runs, too.
    let shard = Shard::start("test").unwrap();
    let (other, _, _) = open_pty("y", &runtime);
    let link = shard.add_link(elsewhere, other, LinkOptions::default()).unwrap();
    assert!(far.exists());
    shard.remove_link(link);
    assert!(!far.exists());
}

/// Runs one test of this file in a process of its own, told apart by an environment variable.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("HILRIG_TEST_CHILD", "1");
    command
}

fn is_child() -> bool {
    std::env::var_os("HILRIG_TEST_CHILD").is_some()
}

#[test]
fn what_a_killed_process_left_is_taken_over() {
    if is_child() {
        let runtime = Runtime::at(std::env::var_os("HILRIG_TEST_DIR").unwrap().into()).unwrap();
        let (_shard, _link, _far) = pair(&runtime);
        println!("\nready");
        std::io::stdout().flush().unwrap();
        let _ = std::io::read_to_string(std::io::stdin());
        return;
    }
    let (tmp, runtime) = runtime();
    let mut child = child("what_a_killed_process_left_is_taken_over")
        .env("HILRIG_TEST_DIR", tmp.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    let taken = hilrig_port::OpenPort::open(&"pty:a".parse().unwrap(), &runtime, &|| false).unwrap_err();
    assert!(taken.to_string().contains(&format!("in use by process {}", child.id())), "{taken}");
    assert!(runtime.sweep().is_empty(), "a live process lost its names");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(std::fs::symlink_metadata(tmp.path().join("a")).is_ok(), "a killed process leaves its links");

    let (_a, far, _) = open_pty("a", &runtime);
    assert!(far.exists());
    assert_eq!(runtime.sweep(), [tmp.path().join("b")]);
    assert!(far.exists());
}

#[test]
fn a_dead_users_exclusiveness_does_not_lock_the_port() {
    // Root is not kept out of an exclusive port, so as root this is asked of another user.
    if rustix::process::getuid().is_root() {
        use std::os::unix::process::CommandExt;
        let ran = child("a_dead_users_exclusiveness_does_not_lock_the_port").uid(65534).gid(65534).status();
        match ran {
            Ok(status) => assert!(status.success(), "as another user: {status}"),
            Err(e) => eprintln!("skipped: this test's program cannot be run as another user: {e}"),
        }
        return;
    }
    let (_tmp, runtime) = runtime();
    let (_shard, link, far) = pair(&runtime);
    let app_b = App::open(&far[1]);
    for _ in 0..5 {
        let app = App::open(&far[0]);
        rustix::termios::ioctl_tiocexcl(&app.0).unwrap();
        app.write(b"last");
        drop(app);
        assert_eq!(app_b.read(4), b"last");
        wait_until("the port is closed", || !link.ports()[0].snapshot().peer_open);
        let app = open_8e1(&far[0]).expect("opening at 8E1 after an exclusive user");
        app_b.write(b"hello");
        assert_eq!(app.read(5), b"hello");
        drop(app);
        wait_until("the port is closed", || !link.ports()[0].snapshot().peer_open);
    }
    assert_eq!(link.ports()[0].snapshot().state, PortState::Open);
}
