//! What only a connection has: a header that says how long a frame is, transactions, and callers that go.

use crate::table;
use crate::talk::{Talk, noise};

table! {
    TCP the_transaction_comes_back;
    TCP ten_requests_at_once_are_answered_in_order;
    TCP a_header_in_pieces;
    TCP a_length_of_nothing;
    TCP a_length_of_a_unit_id_alone;
    TCP a_length_beyond_all_frames;
    TCP another_protocol_in_the_header;
    TCP noise_on_a_connection;
    TCP a_web_browser_calls;
    TCP somebody_who_wants_tls_calls;
    TCP an_rtu_frame_on_a_tcp_port;
    TCP a_caller_who_goes_within_a_frame;
    TCP a_caller_who_goes_before_the_answer;
    TCP a_unit_that_is_not_there_over_tcp;
    TCP functions_from_128_on_over_tcp;
    TCP the_unit_of_a_device_without_units;
    TCP requests_of_one_transaction_id_are_all_answered;
    TCP a_good_frame_in_front_of_nonsense;
}

const READ: &[u8] = &[3, 0, 0, 0, 1];
const REPLY: &[u8] = &[3, 2, 0x03, 0xe8];

fn the_transaction_comes_back(t: &mut Talk<'_>) {
    for last in [0xffff, 0, 0x00ff, 0x7fff, 0xfffe] {
        t.set_transaction(last);
        t.ask(1, READ).answers(1, REPLY);
    }
}

fn ten_requests_at_once_are_answered_in_order(t: &mut Talk<'_>) {
    let mut all = Vec::new();
    let first = t.transaction() + 1;
    for i in 0..10u8 {
        all.extend(t.frame(1, &[3, 0, i, 0, 1]));
    }
    t.send(&all);
    for i in 0..10u8 {
        let [high, low] = (1000 + u16::from(i)).to_be_bytes();
        t.answers_to(first + u16::from(i), 1, &[3, 2, high, low]);
    }
}

fn a_header_in_pieces(t: &mut Talk<'_>) {
    for cut in 1..12 {
        let frame = t.frame(1, READ);
        t.send(&frame[..cut]).silent().send(&frame[cut..]).answers(1, REPLY);
    }
}

/// Whoever sends this is no master any more; the next who calls is served.
fn nonsense(t: &mut Talk<'_>, bytes: &[u8]) {
    t.send(bytes).whatever();
    t.reconnect().alive();
}

fn a_length_of_nothing(t: &mut Talk<'_>) {
    nonsense(t, &[0, 1, 0, 0, 0, 0, 1, 3, 0, 0, 0, 1]);
}

fn a_length_of_a_unit_id_alone(t: &mut Talk<'_>) {
    nonsense(t, &[0, 1, 0, 0, 0, 1, 1]);
}

fn a_length_beyond_all_frames(t: &mut Talk<'_>) {
    for length in [255u16, 256, 300, 0x7fff, 0xffff] {
        let [high, low] = length.to_be_bytes();
        nonsense(t, &[&[0, 1, 0, 0, high, low, 1, 3][..], &[0; 400]].concat());
    }
}

fn another_protocol_in_the_header(t: &mut Talk<'_>) {
    nonsense(t, &[0, 1, 0, 1, 0, 6, 1, 3, 0, 0, 0, 1]);
    nonsense(t, &[0, 1, 0xff, 0xff, 0, 6, 1, 3, 0, 0, 0, 1]);
}

fn noise_on_a_connection(t: &mut Talk<'_>) {
    for len in [1, 6, 7, 8, 100, 1000, 10_000] {
        nonsense(t, &noise(len));
    }
}

fn a_web_browser_calls(t: &mut Talk<'_>) {
    nonsense(t, b"GET / HTTP/1.1\r\nHost: plc\r\nAccept: */*\r\n\r\n");
}

fn somebody_who_wants_tls_calls(t: &mut Talk<'_>) {
    nonsense(t, &[&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(508)].concat());
}

fn an_rtu_frame_on_a_tcp_port(t: &mut Talk<'_>) {
    nonsense(t, &hilrig_tests::with_crc(&[1, 3, 0, 0, 0, 1]));
}

fn a_caller_who_goes_within_a_frame(t: &mut Talk<'_>) {
    for cut in 1..12 {
        let frame = t.frame(1, READ);
        t.bytes(&frame[..cut]).reconnect().alive();
    }
}

fn a_caller_who_goes_before_the_answer(t: &mut Talk<'_>) {
    for _ in 0..10 {
        let frame = t.frame(1, READ);
        t.bytes(&frame).reconnect();
    }
    t.alive();
}

fn a_unit_that_is_not_there_over_tcp(t: &mut Talk<'_>) {
    for unit in [2, 100, 247, 248, 254] {
        // As a gateway that does not reach its target (AP 7).
        t.ask(unit, READ).refuses(unit, 3, 11).alive();
    }
}

fn functions_from_128_on_over_tcp(t: &mut Talk<'_>) {
    for function in 128..=255 {
        t.ask(1, &[function, 1]);
    }
    t.whatever();
}

fn the_unit_of_a_device_without_units(t: &mut Talk<'_>) {
    // What libmodbus and others ask over TCP unless they are told otherwise.
    t.ask(255, READ).answers(255, REPLY);
    t.ask(255, &[6, 0, 5, 0, 9]).answers(255, &[6, 0, 5, 0, 9]).holds(1, 5, 9).holds(3, 5, 3005);
}

/// Some masters do not count.
fn requests_of_one_transaction_id_are_all_answered(t: &mut Talk<'_>) {
    for address in 0..10u8 {
        t.set_transaction(6);
        let [high, low] = (1000 + u16::from(address)).to_be_bytes();
        t.ask(1, &[3, 0, address, 0, 1]).answers(1, &[3, 2, high, low]);
    }
}

fn a_good_frame_in_front_of_nonsense(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    t.send(&[&frame[..], b"GET / HTTP/1.1\r\n\r\n"].concat()).answers(1, REPLY);
    t.whatever();
    t.reconnect().alive();
}
