use super::*;
use crate::serial_options::{Flow, Format, Parity, StopBits};
use proptest::prelude::*;

fn err(input: &str) -> UrlError {
    input.parse::<PortUrl>().expect_err(input)
}

fn baud(baud: u32) -> SerialOptions {
    SerialOptions { baud, ..SerialOptions::default() }
}

#[test]
fn every_kind_of_port_parses() {
    let serial: PortUrl =
        "serial:/dev/serial/by-id/usb-x?baud=19200&format=8E1&flow=rtscts&dtr=off".parse().unwrap();
    let PortUrl::Serial { path, options } = &serial else { panic!("{serial:?}") };
    assert_eq!(path, Path::new("/dev/serial/by-id/usb-x"));
    assert_eq!(
        (options.baud, options.flow, options.dtr, options.rts),
        (19200, Flow::RtsCts, Some(false), None)
    );
    assert_eq!(options.format, Format { data_bits: 8, parity: Parity::Even, stop_bits: StopBits::One });
    assert!(options.exclusive && !options.low_latency && !options.rs485);

    for (text, want) in [
        ("/dev/ttyUSB0", PortUrl::Serial { path: "/dev/ttyUSB0".into(), options: SerialOptions::default() }),
        ("/dev/ttyUSB?", PortUrl::Serial { path: "/dev/ttyUSB?".into(), options: SerialOptions::default() }),
        (
            "serial:/dev/tty[AU]?*?baud=300",
            PortUrl::Serial { path: "/dev/tty[AU]?*".into(), options: baud(300) },
        ),
        (
            "usb:0403:6001",
            PortUrl::Usb { vendor: 0x403, product: 0x6001, serial: None, options: SerialOptions::default() },
        ),
        (
            "usb:1a86:55d4:A:B?baud=300",
            PortUrl::Usb { vendor: 0x1a86, product: 0x55d4, serial: Some("A:B".into()), options: baud(300) },
        ),
        ("pty:plc.a", PortUrl::pty("plc.a")),
        ("pty:/run/x/plc", PortUrl::pty("/run/x/plc")),
        (
            "pty:a?format=8E1&shim=on",
            PortUrl::Pty { name: "a".into(), format: Some("8E1".parse().unwrap()), shim: true },
        ),
        ("loop:", PortUrl::Loop { name: String::new() }),
        ("tcp:plc.local:502", PortUrl::Tcp { host: "plc.local".into(), port: 502, tls: None }),
        (
            "tcp:h:1?tls=on&ca=/ca.pem&cert=c.pem&key=k.pem&name=plc.local",
            PortUrl::Tcp {
                host: "h".into(),
                port: 1,
                tls: Some(TlsClient {
                    ca: Some("/ca.pem".into()),
                    identity: Some(Identity { cert: "c.pem".into(), key: "k.pem".into() }),
                    name: Some("plc.local".into()),
                }),
            },
        ),
        (
            "tcp-listen:[::1]:0",
            PortUrl::TcpListen { host: "::1".into(), port: 0, policy: Policy::Refuse, tls: None },
        ),
        (
            "tcp-listen:h:1?policy=kick&tls=on&cert=c&key=k&client_ca=ca",
            PortUrl::TcpListen {
                host: "h".into(),
                port: 1,
                policy: Policy::Kick,
                tls: Some(TlsServer {
                    identity: Identity { cert: "c".into(), key: "k".into() },
                    client_ca: Some("ca".into()),
                }),
            },
        ),
        ("rfc2217:h:1?baud=300", PortUrl::Rfc2217 { host: "h".into(), port: 1, options: baud(300) }),
        (
            "rfc2217-listen:h:1?policy=kick",
            PortUrl::Rfc2217Listen { host: "h".into(), port: 1, policy: Policy::Kick },
        ),
        ("unix:/run/a b:c", PortUrl::Unix { path: "/run/a b:c".into() }),
        ("unix-listen:rel.sock", PortUrl::UnixListen { path: "rel.sock".into() }),
        ("ble:Dev?service=nus", PortUrl::Later { scheme: "ble".into(), text: "Dev?service=nus".into() }),
        ("hci:sim:radio", PortUrl::Later { scheme: "hci".into(), text: "sim:radio".into() }),
    ] {
        assert_eq!(text.parse::<PortUrl>().unwrap(), want);
        assert_eq!(want.to_string(), text);
    }
}

#[test]
fn errors_point_at_the_character() {
    for (input, at, says) in [
        ("", 0, "missing"),
        ("serail:/dev/x", 0, "not a kind of port"),
        ("ttyUSB0", 0, "neither a path"),
        ("serial:ttyUSB0", 7, "did you mean /dev/ttyUSB0"),
        ("COM3", 0, "port of Windows"),
        ("serial:com12?baud=1", 7, "port of Windows"),
        (
            "/dev/x?bauds=9600",
            7,
            "known options are baud, format, flow, exclusive, low_latency, echo, rs485, rs485_rts, rs485_before, rs485_after, dtr, rts, hupcl",
        ),
        ("/dev/x?baud=96oo", 12, "not a baud rate"),
        ("/dev/x?baud=+5", 12, "not a baud rate"),
        ("/dev/x?baud=9600&format=9N1", 24, "form is 8N1"),
        ("/dev/x?baud=1&baud=2", 14, "given twice"),
        ("/dev/x?baud", 7, "name=value"),
        ("/dev/x?=", 7, "not an option"),
        ("usb:", 4, "vendor number is missing"),
        ("usb:0403", 8, "product number is missing"),
        ("usb:0403:x", 9, "hexadecimal"),
        ("usb:+403:1", 4, "hexadecimal"),
        ("usb:0403:6001:", 14, "serial number is expected"),
        ("usb:0403:6001?bad=1", 14, "not an option"),
        ("/dev/x?rs485=maybe", 13, "neither on nor off"),
        ("/dev/x?rs485=on&rs485_rts=up", 26, "neither high nor low"),
        ("/dev/x?rs485=on&rs485_before=101", 29, "at most 100"),
        ("/dev/x?rs485_after=1", 20, "need rs485=on"),
        ("pty:", 4, "needs a name"),
        ("pty:a/b", 5, "no `/`"),
        ("pty:..", 4, "dot"),
        ("pty:a?x=1", 6, "known options are format, shim"),
        ("pty:a?format=8E1&format=8E1", 17, "given twice"),
        ("pty:a?shim=perhaps", 11, "neither on nor off"),
        ("loop:a?x", 6, "no options"),
        ("pty:a.lock", 5, ".lock"),
        ("tcp:host", 8, "port number is missing"),
        ("tcp::502", 4, "host is missing"),
        ("tcp:h:99999", 6, "0 to 65535"),
        ("tcp:h:5x", 7, "only digits"),
        ("tcp:::1:502", 4, "brackets"),
        ("tcp:[::1]502", 9, "`:` and a port number"),
        ("tcp:[::1", 4, "matching"),
        ("tcp:h:1?tls", 8, "name=value"),
        ("tcp:h:1?ca=x", 8, "add tls=on"),
        ("tcp:h:1?tls=on&ca=", 18, "PEM file"),
        ("tcp:h:1?tls=on&name=a b", 20, "not a host name"),
        ("tcp:h:1?tls=on&cert=x", 21, "`cert` needs `key`"),
        ("tcp:h:1?policy=kick", 8, "known options are tls"),
        ("tcp-listen:h:1?policy=none", 22, "refuse, kick or share"),
        ("tcp-listen:h:1?tls=on", 21, "certificate and key"),
        ("rfc2217:h:1?exclusive=on", 12, "remote port"),
        ("rfc2217:h:1?baud=x", 17, "not a baud rate"),
        ("rfc2217-listen:h:1?policy=share", 26, "one client"),
        ("tcp-listen:h:1?policy=share&tls=on&cert=c&key=k", 22, "one client"),
        ("rfc2217-listen:h:1?tls=on", 19, "known options are policy"),
        ("tcp-listen:ä b:1", 13, "cannot contain ` `"),
        ("unix:", 5, "path of a socket"),
        ("ble:", 4, "name or the address"),
        ("hci:usb", 4, "needs a controller"),
        ("/dev/\u{1}x", 5, "control character"),
    ] {
        let e = err(input);
        assert_eq!(e.at, at, "{input}: {e}");
        assert!(e.message.contains(says), "{input}: {e}");
    }
    assert_eq!(err("tcp-listen:ä b:1").to_string().lines().last().unwrap(), format!("  {:12}^", ""));
}

#[test]
fn only_simulated_lines_count_as_virtual() {
    for (text, want) in [
        ("pty:x", true),
        ("unix:/run/x", true),
        ("tcp:127.0.0.1:1", true),
        ("tcp:localhost:1", true),
        ("tcp-listen:[::1]:1", true),
        ("loop:", true),
        ("rfc2217:127.0.0.1:1", true),
        ("rfc2217-listen:0.0.0.0:1", false),
        ("usb:0403:6001", false),
        ("tcp:10.0.0.1:1", false),
        ("tcp-listen:0.0.0.0:1", false),
        ("/dev/pts/99999", true),
        ("/dev/pts/../ttyS77", false),
        ("/dev/ttyS77", false),
        ("/dev/null", false),
        ("hci:sim:x", true),
        ("ble:x", false),
    ] {
        assert_eq!(text.parse::<PortUrl>().unwrap().is_virtual(), want, "{text}");
    }
}

fn options() -> impl Strategy<Value = SerialOptions> {
    let format = (
        5u8..=8,
        prop_oneof![
            Just(Parity::None),
            Just(Parity::Even),
            Just(Parity::Odd),
            Just(Parity::Mark),
            Just(Parity::Space)
        ],
        prop_oneof![Just(StopBits::One), Just(StopBits::OneAndHalf), Just(StopBits::Two)],
    )
        .prop_map(|(data_bits, parity, stop_bits)| Format { data_bits, parity, stop_bits });
    let flow = prop_oneof![Just(Flow::None), Just(Flow::RtsCts), Just(Flow::XonXoff)];
    let rs485 =
        (any::<bool>(), 0u32..=100, 0u32..=100).prop_map(|(rts, before, after)| (true, rts, before, after));
    let rs485 = prop_oneof![Just((false, true, 0, 0)), rs485];
    (1u32..=20_000_000, format, flow, rs485, any::<[bool; 4]>(), any::<[Option<bool>; 2]>()).prop_map(
        |(baud, format, flow, rs485, [exclusive, low_latency, echo, hupcl], [dtr, rts])| SerialOptions {
            baud,
            format,
            flow,
            exclusive,
            low_latency,
            echo,
            rs485: rs485.0,
            rs485_rts: rs485.1,
            rs485_before: rs485.2,
            rs485_after: rs485.3,
            dtr,
            rts,
            hupcl,
        },
    )
}

fn urls() -> impl Strategy<Value = PortUrl> {
    let host = prop_oneof![
        "[a-z0-9.-]{1,12}",
        any::<std::net::Ipv4Addr>().prop_map(|a| a.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|a| a.to_string()),
    ];
    let pattern = "/[^?=\\p{C}]{1,9}[^=\\p{C}]{0,9}[^?=\\p{C}]";
    let remote = options().prop_map(|SerialOptions { baud, format, flow, dtr, rts, .. }| SerialOptions {
        baud,
        format,
        flow,
        dtr,
        rts,
        ..SerialOptions::default()
    });
    let file = "[^&=\\p{C}]{1,9}";
    let identity = (file, file).prop_map(|(c, k)| Identity { cert: c.into(), key: k.into() });
    let one = prop_oneof![Just(Policy::Refuse), Just(Policy::Kick)];
    use proptest::option::of as some;
    let client = (some(file), some(identity.clone()), some("[a-z]{1,9}"))
        .prop_map(|(ca, identity, name)| TlsClient { ca: ca.map(PathBuf::from), identity, name });
    let server = (identity, some(file))
        .prop_map(|(identity, ca)| TlsServer { identity, client_ca: ca.map(PathBuf::from) });
    let pty = "[a-zA-Z0-9_-][a-zA-Z0-9._ -]{0,9}[a-z]x";
    prop_oneof![
        (pattern, options()).prop_map(|(p, options)| PortUrl::Serial { path: p.into(), options }),
        (any::<[u16; 2]>(), some("[^?\\p{C}]{1,9}"), options()).prop_map(
            |([vendor, product], serial, options)| { PortUrl::Usb { vendor, product, serial, options } }
        ),
        (pty, some(options().prop_map(|o| o.format)), any::<bool>())
            .prop_map(|(name, format, shim)| { PortUrl::Pty { name, format, shim } }),
        "[^?\\p{C}]{0,9}".prop_map(|name| PortUrl::Loop { name }),
        (host.clone(), any::<u16>(), some(client)).prop_map(|(host, port, tls)| PortUrl::Tcp {
            host,
            port,
            tls
        }),
        (host.clone(), any::<u16>(), one.clone(), some(server))
            .prop_map(|(host, port, policy, tls)| PortUrl::TcpListen { host, port, policy, tls }),
        (host.clone(), any::<u16>()).prop_map(|(host, port)| PortUrl::TcpListen {
            host,
            port,
            policy: Policy::Share,
            tls: None
        }),
        (host.clone(), any::<u16>(), remote).prop_map(|(host, port, options)| PortUrl::Rfc2217 {
            host,
            port,
            options
        }),
        (host.clone(), any::<u16>(), one).prop_map(|(host, port, policy)| PortUrl::Rfc2217Listen {
            host,
            port,
            policy
        }),
        "[^?\\p{C}]{1,20}".prop_map(|p| PortUrl::Unix { path: p.into() }),
        "[^?\\p{C}]{1,20}".prop_map(|p| PortUrl::UnixListen { path: p.into() }),
        "[^?\\p{C}]{1,20}".prop_map(|text| PortUrl::Later { scheme: "ble".into(), text }),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(url in urls()) {
        prop_assert_eq!(url.to_string().parse::<PortUrl>().unwrap(), url);
    }

    #[test]
    fn no_string_panics_and_errors_point_into_the_input(text in ".{0,40}") {
        if let Err(e) = text.parse::<PortUrl>() {
            prop_assert!(text.is_char_boundary(e.at), "{}", e);
            let _ = e.to_string();
        }
    }

    #[test]
    fn mutated_urls_do_not_panic(url in urls(), cut in any::<prop::sample::Index>(), c in any::<char>()) {
        let text = url.to_string();
        let mut chars: Vec<char> = text.chars().collect();
        let n = cut.index(chars.len());
        chars[n] = c;
        let text: String = chars.into_iter().collect();
        if let Err(e) = text.parse::<PortUrl>() {
            prop_assert!(text.is_char_boundary(e.at), "{}", e);
        }
    }
}
