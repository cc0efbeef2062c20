//! A line with more units than ours: their requests, their replies, and what is missing of both.

use std::time::Duration;

use crate::table;
use crate::talk::{T35, Talk, encode};

table! {
    SERIAL a_unit_that_is_not_there;
    SERIAL ten_requests_to_a_unit_that_is_not_there;
    SERIAL ours_right_behind_a_request_to_an_absent_unit;
    SERIAL ours_a_short_silence_behind_a_request_to_an_absent_unit;
    SERIAL request_and_reply_of_another_unit;
    SERIAL request_and_reply_of_another_unit_and_ours_in_one_piece;
    SERIAL a_long_reply_of_another_unit;
    SERIAL another_units_reply_that_contains_a_request_for_us;
    SERIAL another_units_reply_with_a_request_for_us_whose_own_request_was_not_heard;
    SERIAL another_units_request_that_contains_a_request_for_us;
    SERIAL another_units_reply_in_pieces;
    SERIAL another_units_reply_with_a_broken_check;
    SERIAL another_units_reply_that_breaks_off;
    SERIAL another_units_exception;
    SERIAL another_units_reply_of_the_form_of_a_request;
    SERIAL another_units_write_of_many;
    SERIAL another_units_user_function;
    SERIAL another_units_reply_that_comes_late;
    SERIAL another_units_file_and_fifo_traffic;
    SERIAL a_reply_without_a_request;
    SERIAL a_reply_that_seems_to_come_from_us;
    SERIAL unit_ids_that_are_reserved;
    SERIAL a_write_to_a_reserved_unit_id_is_no_broadcast;
    SERIAL another_units_request_as_long_as_the_reply_that_is_awaited;
    SERIAL a_request_for_us_while_another_units_reply_is_awaited;
    SERIAL every_other_unit_id;
    ALL the_second_unit_of_the_port;
}

const READ: &[u8] = &[3, 0, 0, 0, 1];
const REPLY: &[u8] = &[3, 2, 0x03, 0xe8];

fn ours(t: &mut Talk<'_>) {
    t.ask(1, READ).answers(1, REPLY);
}

fn a_unit_that_is_not_there(t: &mut Talk<'_>) {
    t.ask(2, READ).silent();
}

fn ten_requests_to_a_unit_that_is_not_there(t: &mut Talk<'_>) {
    for _ in 0..10 {
        t.ask(2, READ).silent();
    }
    ours(t);
}

fn ours_right_behind_a_request_to_an_absent_unit(t: &mut Talk<'_>) {
    for other in [READ, &[16, 0, 0, 0, 1, 2, 9, 9], &[6, 0, 0, 0, 1]] {
        let frames = [t.frame(2, other), t.frame(1, READ)].concat();
        t.send(&frames).answers(1, REPLY);
    }
}

fn ours_a_short_silence_behind_a_request_to_an_absent_unit(t: &mut Talk<'_>) {
    let other = t.frame(2, READ);
    t.bytes(&other).wait(T35 * 2);
    ours(t);
}

fn request_and_reply_of_another_unit(t: &mut Talk<'_>) {
    for _ in 0..3 {
        t.ask(2, &[3, 0, 0, 0, 2]).ask(2, &[3, 4, 1, 2, 3, 4]).silent();
        ours(t);
    }
}

fn request_and_reply_of_another_unit_and_ours_in_one_piece(t: &mut Talk<'_>) {
    let frames = [t.frame(2, &[3, 0, 0, 0, 2]), t.frame(2, &[3, 4, 1, 2, 3, 4]), t.frame(1, READ)];
    t.send(&frames.concat()).answers(1, REPLY);
}

fn a_long_reply_of_another_unit(t: &mut Talk<'_>) {
    for registers in [9u8, 10, 50, 125] {
        let reply = [vec![3, registers * 2], vec![1; usize::from(registers) * 2]].concat();
        t.ask(2, &[3, 0, 0, 0, registers]).ask(2, &reply).silent();
        ours(t);
    }
}

/// Ten registers of which some are a whole request to unit 1.
fn reply_with_a_request(t: &Talk<'_>) -> Vec<u8> {
    let mut pdu = vec![3, 20, 0, 0];
    pdu.extend(encode(t.framing, 0, 1, READ));
    pdu.resize(22, 0);
    pdu
}

fn another_units_reply_that_contains_a_request_for_us(t: &mut Talk<'_>) {
    let reply = reply_with_a_request(t);
    t.ask(2, &[3, 0, 0, 0, 10]).ask(2, &reply).silent();
    let frames = [t.frame(2, &[3, 0, 0, 0, 10]), t.frame(2, &reply)].concat();
    t.send(&frames).silent();
    ours(t);
}

fn another_units_reply_with_a_request_for_us_whose_own_request_was_not_heard(t: &mut Talk<'_>) {
    let reply = reply_with_a_request(t);
    t.ask(2, &reply).silent();
    ours(t);
}

fn another_units_request_that_contains_a_request_for_us(t: &mut Talk<'_>) {
    let mut pdu = vec![16, 0, 0, 0, 10, 20];
    pdu.extend(&reply_with_a_request(t)[2..]);
    t.ask(2, &pdu).silent().ask(2, &[16, 0, 0, 0, 10]).silent();
    ours(t);
}

fn another_units_reply_in_pieces(t: &mut Talk<'_>) {
    let reply = reply_with_a_request(t);
    let frame = t.frame(2, &reply);
    t.ask(2, &[3, 0, 0, 0, 10]);
    t.bytes(&frame[..4]).bytes(&frame[4..9]).send(&frame[9..]).silent();
    ours(t);
}

fn another_units_reply_with_a_broken_check(t: &mut Talk<'_>) {
    let mut reply = t.frame(2, &[3, 4, 1, 2, 3, 4]);
    let at = reply.len() - 3;
    reply[at] ^= 1;
    t.ask(2, &[3, 0, 0, 0, 2]).send(&reply).silent();
    ours(t);
}

fn another_units_reply_that_breaks_off(t: &mut Talk<'_>) {
    let reply = t.frame(2, &[3, 4, 1, 2, 3, 4]);
    for cut in 1..reply.len() {
        t.ask(2, &[3, 0, 0, 0, 2]).send(&reply[..cut]).silent();
        ours(t);
    }
}

fn another_units_exception(t: &mut Talk<'_>) {
    t.ask(2, READ).ask(2, &[0x83, 2]).silent();
    let frames = [t.frame(2, READ), t.frame(2, &[0x83, 2]), t.frame(1, READ)].concat();
    t.send(&frames).answers(1, REPLY);
}

fn another_units_reply_of_the_form_of_a_request(t: &mut Talk<'_>) {
    for pdu in [&[6, 0, 1, 0, 1][..], &[5, 0, 1, 0xff, 0], &[22, 0, 1, 0, 1, 0, 2], &[8, 0, 0, 1, 2]] {
        t.ask(2, pdu).ask(2, pdu).silent();
        let frames = [t.frame(2, pdu), t.frame(2, pdu), t.frame(1, READ)].concat();
        t.send(&frames).answers(1, REPLY);
    }
}

fn another_units_write_of_many(t: &mut Talk<'_>) {
    t.ask(2, &[16, 0, 0, 0, 2, 4, 1, 2, 3, 4]).ask(2, &[16, 0, 0, 0, 2]).silent();
    t.ask(2, &[15, 0, 0, 0, 9, 2, 1, 1]).ask(2, &[15, 0, 0, 0, 9]).silent();
    t.ask(2, &[23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 5, 5]).ask(2, &[23, 2, 7, 7]).silent();
    ours(t);
}

fn another_units_user_function(t: &mut Talk<'_>) {
    for function in [0x41, 0x42, 0x64, 0x6e] {
        t.ask(2, &[function, 1, 2, 3]).ask(2, &[function, 9, 9, 9, 9, 9, 9, 9, 9]).silent();
        ours(t);
    }
}

fn another_units_reply_that_comes_late(t: &mut Talk<'_>) {
    for time in [Duration::from_millis(300), Duration::from_millis(1500)] {
        t.ask(2, &[3, 0, 0, 0, 2]).wait(time).ask(2, &[3, 4, 1, 2, 3, 4]).silent();
        ours(t);
    }
}

fn another_units_file_and_fifo_traffic(t: &mut Talk<'_>) {
    t.ask(2, &[20, 7, 6, 0, 4, 0, 1, 0, 2]).ask(2, &[20, 6, 5, 6, 1, 2, 3, 4]).silent();
    t.ask(2, &[24, 0, 4]).ask(2, &[24, 0, 6, 0, 2, 1, 2, 3, 4]).silent();
    t.ask(2, &[43, 14, 1, 0]).ask(2, &[43, 14, 1, 1, 0, 0, 1, 0, 2, b'a', b'b']).silent();
    ours(t);
}

fn a_reply_without_a_request(t: &mut Talk<'_>) {
    t.ask(2, &[3, 4, 1, 2, 3, 4]).silent();
    t.ask(2, &[0x83, 2]).silent();
    ours(t);
}

fn a_reply_that_seems_to_come_from_us(t: &mut Talk<'_>) {
    // Only a slave can have sent it, so nobody asks for anything.
    t.ask(1, &[0x83, 2]).silent();
    t.ask(3, &[0x90, 1]).silent();
}

fn unit_ids_that_are_reserved(t: &mut Talk<'_>) {
    for unit in 248..=255 {
        t.ask(unit, READ).silent();
    }
    ours(t);
}

fn a_write_to_a_reserved_unit_id_is_no_broadcast(t: &mut Talk<'_>) {
    for unit in 248..=255 {
        t.ask(unit, &[6, 0, 5, 0x12, 0x34]).ask(unit, &[16, 0, 6, 0, 1, 2, 1, 2]).silent();
    }
    t.holds(1, 5, 1005).holds(3, 5, 3005).holds(1, 6, 1006);
}

/// Where unit 2 does not answer, its next request may look like the reply: of address 0x03.. it has three bytes of data.
fn another_units_request_as_long_as_the_reply_that_is_awaited(t: &mut Talk<'_>) {
    for address in 0..=8 {
        t.ask(2, &[3, 0, 0, 0, 1]).ask(2, &[3, address, 0, 0, 1]).silent();
        ours(t);
        let frames = [t.frame(2, &[3, 0, 0, 0, 1]), t.frame(2, &[3, address, 0, 0, 1]), t.frame(1, READ)];
        t.send(&frames.concat()).answers(1, REPLY);
        // And its reply comes after all.
        t.ask(2, &[3, 2, 1, 2]).silent();
        ours(t);
    }
}

fn a_request_for_us_while_another_units_reply_is_awaited(t: &mut Talk<'_>) {
    t.ask(2, &[3, 0, 0, 0, 10]);
    ours(t);
    t.ask(2, &[3, 0, 0, 0, 10]);
    // One with the function that is awaited of the other.
    t.ask(3, READ).answers(3, &[3, 2, 0x0b, 0xb8]);
}

fn every_other_unit_id(t: &mut Talk<'_>) {
    for unit in (2..=247).filter(|id| *id != 3) {
        let frame = t.frame(unit, READ);
        t.bytes(&frame).wait(T35 * 3);
    }
    t.wait(crate::talk::PAUSE).silent();
    ours(t);
}

fn the_second_unit_of_the_port(t: &mut Talk<'_>) {
    t.ask(3, READ).answers(3, &[3, 2, 0x0b, 0xb8]).ask(1, READ).answers(1, REPLY);
}
