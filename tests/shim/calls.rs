//! A C program that makes every call a serial program makes.

use std::io::Write;
use std::process::Stdio;

use hilrig_port::Lines;
use hilrig_tests::{need, wait_for};

use crate::setup::Pair;

#[test]
fn every_call_is_answered_as_on_a_null_modem() {
    if !need("gcc") {
        return;
    }
    let said = Pair::new().run("calls");
    let expected = "\
alone: DTR RTS
both open, a: DTR RTS CTS DSR CD
both open, b: DTR RTS CTS DSR CD
a drops DTR, b: DTR RTS CTS
a has DTR alone, b: DTR RTS DSR CD
a raises RTS, b: DTR RTS CTS DSR CD
a itself: DTR RTS CTS DSR CD
still waiting for CTS: 1
CTS fell: woken
counted: CTS 1 DSR 1 CD 1 RI 0
signal while waiting: Interrupted system call
even: 8E1
odd, 7 bits: 7O1
5 bits: 5N2
mark: 8M1 PARMRK
even: 8E1
odd, 7 bits: 7O1
5 bits: 5N2
mark: 8M1 PARMRK
break as NUL: 62 65 66 6f 72 65 00 61 66 74 65 72
break and ff with PARMRK: ff 00 00 ff ff 21
break ignored: 78
breaks counted: 3
serial: type 4 fifo 16
low latency: 1
rs485: 3 3
no such request: Bad address
a at speed 0, b: DTR RTS
a at speed again, b: DTR RTS CTS DSR CD
a closed, b: DTR RTS
a open again, b: DTR RTS CTS DSR CD
a as new: 8N1
a with -hupcl: 8N1 -hupcl
a closed with -hupcl, b: DTR RTS CTS DSR CD
a as new: 8N1
closed while waiting: Input/output error
a closed, b: DTR RTS
";
    assert_eq!(said, expected);
}

#[test]
fn lines_and_breaks_cross_a_network() {
    if !need("gcc") {
        return;
    }
    let said = Pair::over_a_network().run("far");
    let expected = "\
both open, a: DTR RTS CTS DSR CD
both open, b: DTR RTS CTS DSR CD
a drops DTR, b: DTR RTS CTS
b drops RTS, a: DTR RTS DSR CD
break to a: 62 65 66 6f 72 65 00
bytes to b: 62 65 66 6f 72 65
break to b: 00
";
    assert_eq!(said, expected);
}

#[test]
fn writes_take_the_time_of_the_line() {
    if !need("gcc") {
        return;
    }
    let said = Pair::new().run("paced");
    let expected = "\
960 at 9600: queued some, write before drain 1, drain at least 0.99 s 1
queued after drain: 0
nonblocking: took 4096, then Resource temporarily unavailable
poll: 0 select: 0
poll after flush: 1
8000 at 115200: 8000, blocked at least 0.3 s 1
signal while blocked: Interrupted system call
";
    assert_eq!(said, expected);
}

#[test]
fn a_stalled_line_still_hears_its_programs() {
    if !need("gcc") {
        return;
    }
    let said = Pair::new().run("stalled");
    let expected = "\
stalled after at most 64 kB 1, queued some
a drops DTR, b: DTR RTS CTS
a has DTR alone, b: DTR RTS DSR CD
all came 1
queued after drain: 0
";
    assert_eq!(said, expected);
}

#[test]
fn threads_lose_no_change() {
    if !need("gcc") {
        return;
    }
    let pair = Pair::new();
    let said = pair.run("threads");
    let expected = "\
a at the end: DTR RTS CTS DSR CD
b at the end: DTR RTS CTS DSR CD
counted as changed: CTS 1000 DSR 1000
";
    assert_eq!(said, expected);
}

#[test]
fn fork_and_exec_keep_the_line() {
    if !need("gcc") {
        return;
    }
    let said = Pair::new().run("forks");
    let expected = "\
child: 7E1
child has dropped RTS and gone, b: DTR RTS DSR CD
inherited: 7E1
after exec, b: DTR RTS CTS DSR CD
";
    assert_eq!(said, expected);
}

#[test]
fn a_killed_program_leaves_no_line_up() {
    if !need("gcc") {
        return;
    }
    let pair = Pair::new();
    let mut watch = pair.start("watch", &pair.b);
    watch.until("senses: DTR RTS");
    let mut hold = pair.start("hold", &pair.a);
    hold.until("holding");
    watch.until("senses: DTR RTS CTS DSR CD");
    let [a, b] = pair.links[0].ports();
    assert_eq!(a.snapshot().format.to_string(), "8E1");
    assert_eq!(a.snapshot().breaks, 1);
    assert_eq!(b.snapshot().lines, Lines::DTR | Lines::RTS | Lines::CTS | Lines::DSR | Lines::DCD);
    // SIGKILL: it can clean up nothing.
    drop(hold);
    watch.until("senses: DTR RTS");
    wait_for("the port is closed", || (!a.peer_open()).then_some(()));
    assert_eq!(a.snapshot().lines & (Lines::DTR | Lines::RTS), Lines::NONE);
    // And the next user finds the line as new.
    let mut hold = pair.start("hold", &pair.a);
    hold.until("holding");
    watch.until("senses: DTR RTS CTS DSR CD");
    // Nor does a program wait for ever for a bridge that ends.
    let Pair { shard, .. } = pair;
    drop(shard);
    watch.until("ended: Input/output error");
    watch.until("waiting: Input/output error");
}

#[test]
fn programs_without_ports_of_ours_run_unchanged() {
    let pair = Pair::new();
    let script =
        "stty -a </dev/null 2>&1 | head -c 40; seq 1 100000 | sort -rn | tail -1; exec 5>&1; echo five >&5";
    let run = |command: &mut std::process::Command| {
        let mut child =
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status, String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let plain = run(&mut std::process::Command::new("bash"));
    assert_eq!(run(&mut pair.command("bash")), plain);
    assert!(plain.1.ends_with("1\nfive\n"), "{}", plain.1);
    // A terminal that is not ours keeps the kernel's answers, with and without.
    if !need("python3") {
        return;
    }
    let script = "
import os, pty, termios, fcntl, select, subprocess, threading
m, s = pty.openpty()
t = termios.tcgetattr(s); t[2] |= termios.PARENB; t[4] = t[5] = termios.B19200
termios.tcsetattr(s, termios.TCSANOW, t)
print(termios.tcgetattr(s)[2] & termios.PARENB, termios.tcgetattr(s)[4] == termios.B19200)
try: print(fcntl.ioctl(s, termios.TIOCMGET, b'0000'))
except OSError as e: print(e)
os.write(s, b'data\\n'); print(os.read(m, 100), select.select([], [s], [], 1)[1] == [s])
termios.tcdrain(s); termios.tcsendbreak(s, 0); termios.tcflush(s, termios.TCIOFLUSH); os.close(s)
print(subprocess.run(['cat'], input=b'through', stdout=subprocess.PIPE).stdout)
";
    let run = |command: &mut std::process::Command| {
        let out = command.args(["-c", script]).output().unwrap();
        format!(
            "{}{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        )
    };
    let plain = run(&mut std::process::Command::new("python3"));
    assert_eq!(run(&mut pair.command("python3")), plain);
    assert!(plain.contains("Inappropriate ioctl") && plain.contains("through"), "{plain}");
}
