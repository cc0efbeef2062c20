//! Clients of ours at a `rfc2217-listen:` port: gensio, clients that die, and one too many.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use hilrig_tests::{Sandbox, finish, need, repository, wait_for};

use crate::{connect, free, missing};

/// The Python that has gensio, if there is one: the system's, where packages put it.
fn python_with_gensio() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let mut ask = Command::new(python);
        ask.args(["-c", "import gensio"]);
        finish(ask).code == Some(0)
    })
}

#[test]
fn gensio_has_every_setting_answered() {
    if !need("python3") {
        return;
    }
    let Some(python) = python_with_gensio() else {
        return missing("python3-gensio", "");
    };
    let sandbox = Sandbox::new();
    let at = free();
    let _links = sandbox.links(&["link", &format!("rfc2217-listen:{at}"), "loop:"], 1);
    let mut client = Command::new("timeout");
    client.args(["60", python]).arg(repository().join("tests/rfc2217/gensio_client.py"));
    client.arg(at.port().to_string());
    let done = finish(client);
    let mut answered = 0;
    for line in done.stdout.lines().filter(|l| !l.starts_with("modemstates")) {
        let (setting, answer) = line.rsplit_once(' ').unwrap();
        let (name, asked) = setting.split_once(' ').unwrap();
        // 0 asks how it is.
        let expected = if asked == "0" { "250000" } else { asked };
        assert_eq!(answer, expected, "{name}: {done:?}");
        answered += 1;
    }
    assert_eq!(answered, 25, "{done:?}");
    // With DTR and RTS on the loopback shows DSR, DCD and CTS.
    let states = done.stdout.lines().find_map(|l| l.strip_prefix("modemstates ")).unwrap();
    let last: u8 = states.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(last & 0xf0, 0xb0, "{done:?}");
}

/// Whether what is said comes back within the patience of a test.
#[track_caller]
fn echoes(mut client: &TcpStream, word: &[u8]) {
    client.write_all(word).unwrap();
    // Negotiation comes first.
    let mut seen = Vec::new();
    while !seen.windows(word.len()).any(|part| part == word) {
        let mut some = [0; 256];
        let n = client.read(&mut some).expect("an answer");
        assert!(n > 0, "hung up on");
        seen.extend_from_slice(&some[..n]);
    }
}

/// Waits for the other side to hang up.
#[track_caller]
fn is_hung_up_on(mut client: &TcpStream) {
    let mut some = [0; 256];
    while !matches!(client.read(&mut some), Ok(0) | Err(_)) {}
}

fn server(sandbox: &Sandbox, policy: &str) -> (hilrig_tests::Links, SocketAddr) {
    let at = free();
    (sandbox.links(&["link", &format!("rfc2217-listen:{at}?policy={policy}"), "loop:"], 1), at)
}

#[test]
fn a_second_client_is_turned_away_and_the_first_never_notices() {
    let sandbox = Sandbox::new();
    let (_links, at) = server(&sandbox, "refuse");
    let first = connect(at);
    echoes(&first, b"first");
    for _ in 0..3 {
        is_hung_up_on(&connect(at));
        echoes(&first, b"still first");
    }
    // Free at once when the first has gone.
    drop(first);
    wait_for("the next client's turn", || {
        let mut next = connect(at);
        next.write_all(b"x").ok()?;
        (next.read(&mut [0; 64]).ok()? > 0).then_some(())
    });
}

#[test]
fn a_second_client_takes_the_place_of_the_first() {
    let sandbox = Sandbox::new();
    let (_links, at) = server(&sandbox, "kick");
    let mut client = connect(at);
    for _ in 0..5 {
        echoes(&client, b"mine");
        let next = connect(at);
        is_hung_up_on(&client);
        client = next;
    }
    echoes(&client, b"mine");
}

#[test]
fn a_client_that_is_killed_leaves_the_port_to_the_next() {
    if !need("socat") {
        return;
    }
    let sandbox = Sandbox::new();
    let (_links, at) = server(&sandbox, "refuse");
    for _ in 0..5 {
        let mut client = Command::new("socat");
        client.args(["-", &format!("TCP:{at}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = client.spawn().unwrap();
        // It breaks off in the middle of a command, with a break on the line.
        let said = b"\xff\xfb\x2c\xff\xfa\x2c\x05\x05\xff\xf0\xff\xfa\x2c";
        client.stdin.as_ref().unwrap().write_all(said).unwrap();
        let (mut heard, from) = (Vec::new(), client.stdout.as_mut().unwrap());
        while !heard.windows(7).any(|w| w == b"\xff\xfa\x2c\x69\x05\xff\xf0") {
            let mut byte = [0];
            from.read_exact(&mut byte).expect("the break is answered");
            heard.push(byte[0]);
        }
        client.kill().unwrap();
        client.wait().unwrap();
        wait_for("the port to be free", || {
            let mut next = connect(at);
            next.write_all(b"x").ok()?;
            let mut seen = Vec::new();
            while !seen.ends_with(b"x") {
                let mut some = [0; 64];
                match next.read(&mut some) {
                    Ok(n) if n > 0 => seen.extend_from_slice(&some[..n]),
                    _ => return None,
                }
            }
            Some(())
        });
    }
}
