//! TLS on TCP ports, with socat (OpenSSL) at the other side: both roles, with client certificates, and refusals that
//! say why.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use hilrig_tests::{PATIENCE, Sandbox, finish, need, pattern, wait_for};

use crate::{Peer, free};

/// Makes an authority, and certificates for a server and a client that it has signed.
fn certificates(dir: &Path) {
    let script = r#"
        new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        $new -x509 -keyout ca.key -out ca.pem -subj /CN=ca -days 2
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >names
        for who in server client; do
            $new -keyout $who.key -out $who.csr -subj /CN=$who
            openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $who.pem -days 2 -extfile names
        done"#;
    let mut make = Command::new("sh");
    make.args(["-ec", script]).current_dir(dir);
    let done = finish(make);
    assert_eq!(done.code, Some(0), "{done:?}");
}

fn programs() -> bool {
    need("openssl") && need("socat")
}

/// Sends through a program's standard input and output and compares what comes back.
#[track_caller]
fn comes_back(client: &mut Command) {
    let bytes: Vec<u8> = (0..300_000).map(|at| pattern(5, at)).collect();
    let mut child =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| to.write_all(&bytes));
        let mut seen = vec![0; bytes.len()];
        let done = from.read_exact(&mut seen);
        let _ = child.kill();
        child.wait().unwrap();
        done.expect("all of it comes back");
        assert!(seen == bytes, "the bytes differ");
    });
}

fn socat(to: SocketAddr, options: &str) -> Command {
    let mut socat = Command::new("timeout");
    socat.args(["60", "socat", "-", &format!("OPENSSL-CONNECT:{to},{options}")]);
    socat
}

#[test]
fn a_listener_serves_openssl_and_asks_for_certificates() {
    if !programs() {
        return;
    }
    let (sandbox, at) = (Sandbox::new(), free());
    let dir = sandbox.scratch();
    certificates(dir);
    let port = format!("tcp-listen:{at}?tls=on&cert=server.pem&key=server.key&client_ca=ca.pem");
    let _links = sandbox.links(&["link", &port, "loop:"], 1);
    let known = "cafile=ca.pem,cert=client.pem,key=client.key";
    comes_back(socat(at, known).current_dir(dir));
    // Neither a client without a certificate nor one without TLS gets a word through, or keeps the port.
    let mut stranger = socat(at, "cafile=ca.pem");
    let stranger = stranger.current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut stranger = stranger.stderr(Stdio::null()).spawn().unwrap();
    let _ = stranger.stdin.as_ref().unwrap().write_all(b"let me in");
    let mut heard = Vec::new();
    stranger.stdout.take().unwrap().read_to_end(&mut heard).unwrap();
    stranger.wait().unwrap();
    assert!(heard.is_empty(), "{heard:?}");
    let mut plain = wait_for("the listener", || TcpStream::connect(at).ok());
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(said.len() < 20 && !said.starts_with(b"GET"), "{said:?}");
    comes_back(socat(at, known).current_dir(dir));
}

#[test]
fn a_connection_reaches_openssl_and_says_what_it_does_not_trust() {
    if !programs() {
        return;
    }
    let (sandbox, at, near) = (Sandbox::new(), free(), free());
    let dir = sandbox.scratch();
    certificates(dir);
    let listen = format!("OPENSSL-LISTEN:{},bind=127.0.0.1,reuseaddr,fork,", at.port());
    let listen = listen + "cert=server.pem,key=server.key,cafile=ca.pem,verify=1";
    let _server = Peer::start(Command::new("socat").args([&listen, "EXEC:cat"]).current_dir(dir));
    wait_for("the server", || TcpStream::connect(at).ok());
    let refused = |options: &str, says: &[&str]| {
        let mut link = sandbox.command(["link", "loop:", &format!("tcp:{at}?tls=on{options}")]);
        let mut link = link.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(link.stderr.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.find(|line| says.iter().all(|word| line.contains(word)));
        let _ = link.kill();
        link.wait().unwrap();
        assert!(said.is_some(), "{options}: nothing says {says:?}");
    };
    refused("", &["UnknownIssuer", "ca=FILE"]);
    refused("&ca=ca.pem&name=other", &["not valid for name", "name="]);
    refused("&ca=nowhere.pem", &["cannot read nowhere.pem"]);
    refused("&ca=ca.key", &["ca.key holds no certificate"]);
    refused("&ca=ca.pem&cert=client.pem&key=names", &["names holds no private key"]);
    refused("&ca=ca.pem&cert=client.pem&key=server.key", &["server.key does not go with", "client.pem"]);
    refused("&ca=ca.pem", &["CertificateRequired", "cert=FILE&key=FILE"]);
    let far = format!("tcp:{at}?tls=on&ca=ca.pem&cert=client.pem&key=client.key");
    let _links = sandbox.links(&["link", &format!("tcp-listen:{near}"), &far], 1);
    comes_back(Command::new("timeout").args(["60", "socat", "-", &format!("TCP:{near}")]));
}
