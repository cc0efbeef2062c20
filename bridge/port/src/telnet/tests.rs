use super::codes::*;
use super::*;
use crate::{CharError, Flow, Format, LineSettings, Lines, Purge, SerialOptions};
use proptest::prelude::*;

/// A command of COM port control as it goes over the wire.
fn sb(command: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![IAC, SB, COM_PORT, command];
    for &b in value {
        bytes.extend(std::iter::repeat_n(b, if b == IAC { 2 } else { 1 }));
    }
    bytes.extend([IAC, SE]);
    bytes
}

fn settings(baud: u32, format: &str, flow: Flow) -> LineSettings {
    LineSettings { baud, format: format.parse().unwrap(), flow }
}

/// Either end, for tests that do not mind which.
trait End {
    fn event(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Event;
    fn take(&mut self) -> Vec<u8>;
}

impl End for Server {
    fn event(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Event {
        self.next(buffer, raw)
    }
    fn take(&mut self) -> Vec<u8> {
        let bytes = self.outgoing().to_vec();
        self.sent(bytes.len());
        bytes
    }
}

impl End for Client {
    fn event(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Event {
        self.next(buffer, raw)
    }
    fn take(&mut self) -> Vec<u8> {
        let bytes = self.outgoing().to_vec();
        self.sent(bytes.len());
        bytes
    }
}

/// Feeds bytes in one piece; answers payload and signals.
fn feed(end: &mut impl End, bytes: &[u8]) -> (Vec<u8>, Vec<Signal>) {
    let mut buffer = [&[0xee], bytes].concat();
    let (mut raw, mut payload, mut signals) = (1..buffer.len(), vec![], vec![]);
    loop {
        match end.event(&mut buffer, &mut raw) {
            Event::Bytes(range) => {
                assert!(!range.is_empty() && range.end <= raw.start);
                payload.extend_from_slice(&buffer[range]);
            }
            Event::Signal(signal) => signals.push(signal),
            Event::End => {
                assert!(raw.is_empty());
                return (payload, signals);
            }
        }
    }
}

/// The signal that one command brings, before the next call.
fn first(end: &mut impl End, bytes: &[u8]) -> Signal {
    let (mut buffer, mut raw) = (bytes.to_vec(), 0..bytes.len());
    match end.event(&mut buffer, &mut raw) {
        Event::Signal(signal) if raw.is_empty() => signal,
        other => panic!("{other:?}"),
    }
}

/// A server whose client has agreed to COM port control.
fn server() -> Server {
    let mut server = Server::new();
    server.connected();
    feed(&mut server, &[IAC, WILL, COM_PORT]);
    server.take();
    server
}

fn connected() -> (Client, Server) {
    let (mut client, mut server) = (Client::new(&SerialOptions::default()), Server::new());
    server.connected();
    talk(&mut client, &mut server);
    (client, server)
}

/// Lets both talk until they have nothing more to say; answers the signals at the server and at the client.
fn talk(client: &mut Client, server: &mut Server) -> (Vec<Signal>, Vec<Signal>) {
    let (mut up, mut down) = (vec![], vec![]);
    for _ in 0..10 {
        let (to_server, to_client) = (client.take(), server.take());
        if to_server.is_empty() && to_client.is_empty() {
            return (up, down);
        }
        up.extend(feed(server, &to_server).1);
        down.extend(feed(client, &to_client).1);
    }
    panic!("they talk for ever");
}

#[test]
fn both_ends_agree_and_the_port_is_set_as_asked() {
    let options = SerialOptions {
        baud: 12345,
        format: "7E2".parse().unwrap(),
        flow: Flow::RtsCts,
        dtr: Some(true),
        rts: Some(false),
        ..SerialOptions::default()
    };
    let (mut client, mut server) = (Client::new(&options), Server::new());
    server.connected();
    assert!(client.held() && client.payload(b"too soon") == 0);
    let (up, down) = talk(&mut client, &mut server);
    let wanted = settings(12345, "7E2", Flow::RtsCts);
    assert_eq!(up.iter().rev().find(|s| matches!(s, Signal::Settings(_))), Some(&Signal::Settings(wanted)));
    assert_eq!(up.last(), Some(&Signal::Lines(Lines::DTR)));
    assert_eq!(down, [Signal::Lines(Lines::DTR); 2], "told at once, and after the mask");
    assert!(client.confirmed_all() && client.agreed() && !client.held());
    assert_eq!((client.settings(), client.driven()), (wanted, Some(Lines::DTR)));
    assert_eq!((client.lost(), server.lost()), (0, 0));
}

#[test]
fn lines_are_left_alone_and_asked_for() {
    let (mut client, mut server) = (Client::new(&SerialOptions::default()), Server::new());
    server.connected();
    server.answer(&Signal::Lines(Lines::DTR | Lines::RTS));
    let (up, _) = talk(&mut client, &mut server);
    assert!(!up.iter().any(|s| matches!(s, Signal::Lines(_))), "{up:?}");
    assert_eq!(client.driven(), Some(Lines::DTR | Lines::RTS));
    // Only what changes is said.
    client.apply(&Signal::Lines(Lines::RTS));
    assert_eq!(client.take(), sb(SET_CONTROL, &[DTR_OFF]));
}

#[test]
fn every_set_is_answered_with_the_resulting_value() {
    for (command, value, answer) in [
        (SIGNATURE, &[][..], OUR_NAME),
        (SET_BAUDRATE, &[0, 0, 0, 0], &[0, 0, 0x25, 0x80]),
        (SET_BAUDRATE, &[0, 0, 0xff, 0xff], &[0, 0, 0xff, 0xff]),
        (SET_DATASIZE, &[0], &[8]),
        (SET_DATASIZE, &[5], &[5]),
        (SET_DATASIZE, &[9], &[8]),
        (SET_PARITY, &[0], &[1]),
        (SET_PARITY, &[4], &[4]),
        (SET_PARITY, &[6], &[1]),
        (SET_STOPSIZE, &[0], &[1]),
        (SET_STOPSIZE, &[3], &[3]),
        (SET_CONTROL, &[0], &[1]),
        (SET_CONTROL, &[1], &[1]),
        (SET_CONTROL, &[2], &[2]),
        (SET_CONTROL, &[3], &[3]),
        (SET_CONTROL, &[4], &[6]),
        (SET_CONTROL, &[5], &[5]),
        (SET_CONTROL, &[6], &[6]),
        (SET_CONTROL, &[7], &[9]),
        (SET_CONTROL, &[8], &[8]),
        (SET_CONTROL, &[9], &[9]),
        (SET_CONTROL, &[10], &[12]),
        (SET_CONTROL, &[11], &[11]),
        (SET_CONTROL, &[12], &[12]),
        (SET_CONTROL, &[13], &[14]),
        (SET_CONTROL, &[14], &[14]),
        (SET_CONTROL, &[15], &[15]),
        (SET_CONTROL, &[16], &[16]),
        (SET_CONTROL, &[17], &[1]),
        (SET_CONTROL, &[18], &[14]),
        (SET_CONTROL, &[19], &[1]),
        (SET_CONTROL, &[77], &[77]),
        (NOTIFY_LINESTATE, &[], &[0]),
        (NOTIFY_MODEMSTATE, &[], &[0]),
        (SET_LINESTATE_MASK, &[255], &[255]),
        (PURGE_DATA, &[1], &[1]),
        (PURGE_DATA, &[9], &[9]),
    ] {
        let mut server = server();
        feed(&mut server, &sb(command, value));
        assert!(server.unsent());
        assert_eq!(server.take(), sb(command + ANSWER, answer), "{command} {value:?}");
    }
}

#[test]
fn what_the_device_makes_of_it_is_answered() {
    let mut server = server();
    let asked = first(&mut server, &sb(SET_BAUDRATE, &1_000_000u32.to_be_bytes()));
    assert_eq!(asked, Signal::Settings(settings(1_000_000, "8N1", Flow::None)));
    server.answer(&Signal::Settings(settings(921_600, "8N1", Flow::None)));
    assert_eq!(server.take(), sb(SET_BAUDRATE + ANSWER, &921_600u32.to_be_bytes()));
    first(&mut server, &sb(SET_CONTROL, &[DTR_ON]));
    server.answer(&Signal::Lines(Lines::NONE));
    assert_eq!(server.take(), sb(SET_CONTROL + ANSWER, &[DTR_OFF]));
    // A refusal shows at the client as settings.
    let (mut client, mut server) = connected();
    client.apply(&Signal::Settings(settings(7, "8N1", Flow::None)));
    first(&mut server, &client.take());
    server.answer(&Signal::Settings(settings(50, "8N1", Flow::None)));
    let (_, down) = talk(&mut client, &mut server);
    assert_eq!(down, [Signal::Settings(settings(50, "8N1", Flow::None))]);
}

#[test]
fn both_lines_go_in_one_step() {
    let (mut client, mut server) = connected();
    client.apply(&Signal::Lines(Lines::DTR | Lines::RTS));
    let bytes = client.take();
    assert_eq!(bytes, [sb(SET_CONTROL, &[DTR_ON]), sb(SET_CONTROL, &[RTS_ON])].concat());
    assert_eq!(feed(&mut server, &bytes).1, [Signal::Lines(Lines::DTR | Lines::RTS)]);
    let answers = [sb(SET_CONTROL + ANSWER, &[DTR_ON]), sb(SET_CONTROL + ANSWER, &[RTS_ON])].concat();
    assert_eq!(server.take(), answers);
    // A pulse of one line stays a pulse.
    let pulse = [sb(SET_CONTROL, &[DTR_OFF]), sb(SET_CONTROL, &[DTR_ON])].concat();
    let (rts, both) = (Signal::Lines(Lines::RTS), Signal::Lines(Lines::DTR | Lines::RTS));
    assert_eq!(feed(&mut server, &pulse).1, [rts, both]);
}

#[test]
fn modem_states_come_with_what_changed_and_as_masked() {
    let mut server = Server::new();
    server.show(&Signal::Lines(Lines::CTS | Lines::RI));
    server.connected();
    server.take();
    feed(&mut server, &[IAC, WILL, COM_PORT]);
    assert_eq!(server.take(), sb(NOTIFY_MODEMSTATE + ANSWER, &[0x51]), "once, right after connect");
    feed(&mut server, &[IAC, WILL, BINARY, IAC, DO, COM_PORT]);
    assert_eq!(server.take(), [IAC, WILL, COM_PORT], "and only once");
    server.show(&Signal::Lines(Lines::CTS | Lines::DSR));
    assert_eq!(server.take(), sb(NOTIFY_MODEMSTATE + ANSWER, &[0x36]), "RI has ended, DSR is new");
    server.show(&Signal::Lines(Lines::CTS | Lines::DSR));
    assert_eq!(server.take(), []);
    feed(&mut server, &sb(SET_MODEMSTATE_MASK, &[0x20]));
    let told = [sb(SET_MODEMSTATE_MASK + ANSWER, &[0x20]), sb(NOTIFY_MODEMSTATE + ANSWER, &[0x20])].concat();
    assert_eq!(server.take(), told);
    server.show(&Signal::Lines(Lines::DSR | Lines::DCD));
    assert_eq!(server.take(), [], "not asked for");
    server.show(&Signal::Lines(Lines::NONE));
    assert_eq!(server.take(), sb(NOTIFY_MODEMSTATE + ANSWER, &[0]));
}

#[test]
fn line_states_become_breaks_and_errors() {
    let (mut client, mut server) = connected();
    for signal in [
        Signal::Break(true),
        Signal::Break(false),
        Signal::Error(CharError::Parity),
        Signal::Error(CharError::Framing),
        Signal::Error(CharError::Overrun),
    ] {
        server.show(&signal);
        assert_eq!(talk(&mut client, &mut server).1, [signal]);
    }
    let (_, signals) = feed(&mut client, &sb(NOTIFY_LINESTATE + ANSWER, &[0xff]));
    let errors = [CharError::Overrun, CharError::Framing, CharError::Parity].map(Signal::Error);
    assert_eq!((signals[0], &signals[1..]), (Signal::Break(true), &errors[..]));
    assert_eq!((client.end_break(), client.end_break()), (Some(Signal::Break(false)), None));
    // Nothing is told that was not asked for.
    let mut server = self::server();
    server.show(&Signal::Break(true));
    assert_eq!(server.take(), []);
}

#[test]
fn what_the_client_does_to_the_port_arrives() {
    let (mut client, mut server) = connected();
    for signal in [
        Signal::Break(true),
        Signal::Break(false),
        Signal::Purge(Purge::Input),
        Signal::Purge(Purge::Output),
        Signal::Purge(Purge::Both),
        Signal::Settings(settings(300, "8N1", Flow::None)),
        Signal::Lines(Lines::DTR),
    ] {
        assert_eq!(client.apply(&signal), Some(signal));
        assert_eq!(talk(&mut client, &mut server).0, [signal]);
    }
}

#[test]
fn a_pause_stops_payload_and_nothing_else() {
    let mut server = server();
    feed(&mut server, &sb(FLOWCONTROL_SUSPEND, &[]));
    assert!(server.held() && server.payload(b"x") == 0);
    feed(&mut server, &sb(SET_DATASIZE, &[7]));
    assert_eq!(server.take(), sb(SET_DATASIZE + ANSWER, &[7]));
    feed(&mut server, &sb(FLOWCONTROL_RESUME, &[]));
    assert_eq!((server.held(), server.payload(b"x")), (false, 1));
    let (mut client, _) = connected();
    feed(&mut client, &sb(FLOWCONTROL_SUSPEND + ANSWER, &[]));
    assert!(client.held());
}

#[test]
fn foreign_options_are_refused_and_long_messages_bounded() {
    let mut server = server();
    let (payload, _) =
        feed(&mut server, &[IAC, DO, 1, IAC, WILL, 24, IAC, WONT, 24, IAC, DONT, 1, IAC, 241, b'x']);
    assert_eq!(payload, b"x");
    assert_eq!(server.take(), [IAC, WONT, 1, IAC, DONT, 24]);
    let mut long = sb(SET_BAUDRATE, &[7; 5000]);
    long.extend(b"y");
    let (payload, signals) = feed(&mut server, &long);
    assert_eq!((payload, signals), (b"y".to_vec(), vec![]), "too long to be understood");
    assert_eq!(server.take(), []);
    // One that is broken off does not swallow what follows.
    let mut cut = vec![IAC, SB, COM_PORT, SET_PARITY, 2, IAC, WILL, 24];
    cut.extend(b"z");
    assert_eq!(feed(&mut server, &cut), (b"z".to_vec(), vec![]));
    assert_eq!(server.take(), [IAC, DONT, 24]);
}

#[test]
fn a_client_that_does_not_listen_costs_no_answer() {
    let mut server = server();
    let asks = sb(SIGNATURE, &[]).repeat(4096 / 6);
    while !server.full() {
        feed(&mut server, &asks);
        server.show(&Signal::Lines(Lines::CTS));
    }
    server.show(&Signal::Lines(Lines::DSR));
    assert_eq!(server.lost(), 0);
    assert!(server.take().ends_with(&sb(SIGNATURE + ANSWER, OUR_NAME)));
    assert_eq!(server.take(), sb(NOTIFY_MODEMSTATE + ANSWER, &[0x22]), "told when there is room");
}

/// Pieces of a stream as clients send it, and some that none should.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let commands = (0u8..=13, proptest::collection::vec(any::<u8>(), 0..5));
    let piece = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..20)
            .prop_map(|b| b.into_iter().flat_map(|b| vec![b; if b == IAC { 2 } else { 1 }]).collect()),
        4 => commands.prop_map(|(command, value)| sb(command, &value)),
        2 => (8u8..=12).prop_map(|code| sb(SET_CONTROL, &[code])),
        2 => (WILL..=DONT, prop_oneof![Just(0), Just(3), Just(44), any::<u8>()]).prop_map(|(v, o)| vec![IAC, v, o]),
        1 => proptest::collection::vec(prop_oneof![Just(IAC), Just(SB), Just(SE), any::<u8>()], 0..9),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// What a stream comes to: payload, signals, what is sent. Lines set in one step or in two come to the same.
fn outcome(end: &mut impl End, chunks: &[&[u8]]) -> (Vec<u8>, Vec<Signal>, Vec<u8>) {
    let (mut payload, mut signals, mut sent) = (vec![], Vec::<Signal>::new(), vec![]);
    for chunk in chunks {
        let (bytes, new) = feed(end, chunk);
        payload.extend(bytes);
        for signal in new {
            if let (Signal::Lines(_), Some(Signal::Lines(_))) = (&signal, signals.last()) {
                signals.pop();
            }
            signals.push(signal);
        }
        sent.extend(end.take());
    }
    (payload, signals, sent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_stream_may_be_cut_anywhere(stream in pieces(), at in any::<prop::sample::Index>()) {
        let cut = at.index(stream.len() + 1);
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        for chunks in [&[&stream[..cut], &stream[cut..]][..], &bytewise] {
            prop_assert_eq!(outcome(&mut server(), chunks), outcome(&mut server(), &[&stream]));
            let client = || connected().0;
            prop_assert_eq!(outcome(&mut client(), chunks), outcome(&mut client(), &[&stream]));
        }
    }

    #[test]
    fn payload_arrives_as_it_was(
        bytes in proptest::collection::vec(any::<u8>(), 0..9000),
        chunk in 1usize..5000,
    ) {
        let bytes: Vec<u8> = bytes.into_iter().map(|b| if b < 100 { IAC } else { b }).collect();
        let (mut client, mut server) = connected();
        for to_server in [true, false] {
            let (mut rest, mut arrived) = (&bytes[..], vec![]);
            while !rest.is_empty() {
                let took = if to_server { client.payload(rest) } else { server.payload(rest) };
                prop_assert!(took > 0);
                rest = &rest[took..];
                let sent = if to_server { client.take() } else { server.take() };
                for part in sent.chunks(chunk) {
                    arrived.extend(if to_server { feed(&mut server, part).0 } else { feed(&mut client, part).0 });
                }
            }
            prop_assert!(arrived == bytes);
        }
    }

    #[test]
    fn no_stream_makes_either_end_talk_for_ever(stream in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut client, mut server) = connected();
        feed(&mut client, &stream);
        feed(&mut server, &stream);
        talk(&mut client, &mut server);
    }
}

#[test]
fn formats_have_a_number_each() {
    for text in ["5N1", "6O2", "7E1.5", "8M1", "8S2"] {
        let format: Format = text.parse().unwrap();
        assert_eq!(parity(parity_code(format.parity)), Some(format.parity));
        assert_eq!(stop_bits(stop_bits_code(format.stop_bits)), Some(format.stop_bits));
    }
}
