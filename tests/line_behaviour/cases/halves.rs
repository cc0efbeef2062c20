//! Frames in pieces, in a row, too long, and as long as they may be.

use hilrig_tests::with_crc;

use crate::table;
use crate::talk::{Framing, Talk};

table! {
    ALL half_a_frame_and_silence;
    SERIAL the_other_half_comes_too_late;
    ALL a_frame_byte_by_byte;
    RTU a_header_that_announces_much_makes_nobody_deaf;
    ALL two_frames_in_one_piece;
    ALL a_frame_and_the_half_of_another_in_one_piece;
    RTU a_frame_of_more_bytes_than_a_frame_may_have;
    ASCII an_ascii_frame_of_more_characters_than_a_frame_may_have;
    ALL the_longest_write_of_registers;
    ALL the_longest_write_of_coils;
    ALL the_longest_read_of_registers;
    ALL the_longest_read_of_coils;
    ALL the_longest_read_and_write;
    ALL the_longest_query_data;
    SERIAL less_than_a_frame;
    ALL the_same_request_twice;
}

const READ: &[u8] = &[3, 0, 0, 0, 1];
const REPLY: &[u8] = &[3, 2, 0x03, 0xe8];

fn half_a_frame_and_silence(t: &mut Talk<'_>) {
    let len = t.frame(1, READ).len();
    for cut in 1..len {
        let frame = t.frame(1, READ);
        // In ASCII it ends a second after its last character.
        t.send(&frame[..cut]).silent();
        // A half that is not followed by anything; over TCP the connection is of no use any more.
        t.reconnect().alive();
    }
}

fn the_other_half_comes_too_late(t: &mut Talk<'_>) {
    let len = t.frame(1, READ).len();
    // At the end of an ASCII frame its line feed may come when it likes.
    for cut in 1..len - 1 {
        let frame = t.frame(1, READ);
        t.bytes(&frame[..cut]).wait(std::time::Duration::from_millis(1200)).send(&frame[cut..]).silent();
    }
}

fn a_frame_byte_by_byte(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    for byte in frame {
        t.bytes(&[byte]);
    }
    t.wait(crate::talk::PAUSE).answers(1, REPLY);
}

fn a_header_that_announces_much_makes_nobody_deaf(t: &mut Talk<'_>) {
    t.send(&[1, 16, 0, 0, 0, 123, 246]);
    for _ in 0..30 {
        t.alive();
    }
}

fn two_frames_in_one_piece(t: &mut Talk<'_>) {
    let first = t.frame(3, READ);
    let transaction = t.transaction();
    let second = t.frame(1, READ);
    t.send(&[first, second].concat());
    match t.framing {
        Framing::Tcp | Framing::RtuOverTcp => {
            t.answers_to(transaction, 3, &[3, 2, 0x0b, 0xb8]).answers(1, REPLY)
        }
        // The master has gone on, and an answer to the first would be taken for one to the second.
        Framing::Rtu => t.answers(1, REPLY),
        // No silence parts frames, so an answer may have left before the second frame has begun.
        Framing::Ascii => t.answers_last(1, REPLY),
    };
}

fn a_frame_and_the_half_of_another_in_one_piece(t: &mut Talk<'_>) {
    let first = t.frame(1, READ);
    let transaction = t.transaction();
    let second = t.frame(1, READ);
    let half = second.len() / 2;
    t.send(&[&first[..], &second[..half]].concat());
    t.answers_to(transaction, 1, REPLY);
    if t.framing == Framing::Tcp {
        t.send(&second[half..]).answers(1, REPLY);
    }
}

fn a_frame_of_more_bytes_than_a_frame_may_have(t: &mut Talk<'_>) {
    for len in [255, 256, 300, 600] {
        let long = with_crc(&[&[1, 16, 0, 0, 0, 123, 246][..], &vec![0; len]].concat());
        t.send(&long).silent().alive();
        // Also if its checksum is right and its code has no length.
        let long = with_crc(&[&[1, 0x42][..], &vec![0; len]].concat());
        t.send(&long).silent().alive();
    }
}

fn an_ascii_frame_of_more_characters_than_a_frame_may_have(t: &mut Talk<'_>) {
    for len in [254, 300, 1000] {
        let frame = t.frame(1, &vec![0x42; len]);
        t.send(&frame).silent().alive();
        t.send(&frame[..frame.len() - 2]).silent().alive();
    }
}

fn the_longest_write_of_registers(t: &mut Talk<'_>) {
    let values: Vec<u8> = (0..123u16).flat_map(|v| (v + 500).to_be_bytes()).collect();
    t.ask(1, &[&[16, 0, 0, 0, 123, 246][..], &values].concat()).answers(1, &[16, 0, 0, 0, 123]);
    t.holds(1, 122, 622);
}

fn the_longest_write_of_coils(t: &mut Talk<'_>) {
    t.ask(1, &[&[15, 0, 0, 0x07, 0xb0, 246][..], &[0xff; 246]].concat()).answers(1, &[15, 0, 0, 0x07, 0xb0]);
    t.ask(1, &[1, 0x07, 0xa8, 0, 8]).answers(1, &[1, 1, 0xff]);
}

fn the_longest_read_of_registers(t: &mut Talk<'_>) {
    let values: Vec<u8> = (0..125u16).flat_map(|v| (v + 1000).to_be_bytes()).collect();
    t.ask(1, &[3, 0, 0, 0, 125]).answers(1, &[&[3, 250][..], &values].concat());
}

fn the_longest_read_of_coils(t: &mut Talk<'_>) {
    t.ask(1, &[1, 0, 0, 0x07, 0xd0]).answers(1, &[&[1, 250][..], &[0xaa; 250]].concat());
}

fn the_longest_read_and_write(t: &mut Talk<'_>) {
    let values: Vec<u8> = (0..121u16).flat_map(|v| (v + 500).to_be_bytes()).collect();
    let read: Vec<u8> =
        (0..125u16).flat_map(|v| if v < 4 { 1000 + v } else { 496 + v }.to_be_bytes()).collect();
    t.ask(1, &[&[23, 0, 0, 0, 125, 0, 4, 0, 121, 242][..], &values].concat())
        .answers(1, &[&[23, 250][..], &read].concat());
}

fn the_longest_query_data(t: &mut Talk<'_>) {
    if t.framing != Framing::Tcp {
        let pdu = [&[8, 0, 0][..], &[0x5a; 250]].concat();
        t.ask(1, &pdu).answers(1, &pdu);
    }
}

fn less_than_a_frame(t: &mut Talk<'_>) {
    // A unit id and its checksum, without a function code.
    let empty = t.frame(1, &[]);
    t.send(&empty).silent();
    let empty = t.frame(0, &[]);
    t.send(&empty).silent();
}

fn the_same_request_twice(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    t.send(&frame).answers(1, REPLY).send(&frame).answers(1, REPLY);
}
