//! What only ASCII has: two delimiters, and characters that are no digits (SL 2.5.2).

use crate::table;
use crate::talk::Talk;

table! {
    ASCII a_frame_begins_anew_with_every_colon;
    ASCII an_odd_number_of_digits;
    ASCII a_character_that_is_no_digit;
    ASCII a_frame_without_its_end;
    ASCII only_delimiters;
    ASCII text_as_a_console_prints_it;
    ASCII a_check_of_lowercase_digits_ends_nothing;
    ASCII characters_with_the_eighth_bit;
}

const READ: &[u8] = &[3, 0, 0, 0, 1];
const REPLY: &[u8] = &[3, 2, 0x03, 0xe8];

fn a_frame_begins_anew_with_every_colon(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    for cut in 1..frame.len() - 2 {
        t.send(&[&frame[..cut], &frame].concat()).answers(1, REPLY);
    }
    t.send(&[b":::::", &frame[..]].concat()).answers(1, REPLY);
}

fn an_odd_number_of_digits(t: &mut Talk<'_>) {
    t.send(b":0103000000010FB\r\n").silent().send(b":010300000001F\r\n").silent().send(b":0\r\n").silent();
}

fn a_character_that_is_no_digit(t: &mut Talk<'_>) {
    t.send(b":01030000000GFB\r\n").silent().send(b":01 03 00 00 00 01 FB\r\n").silent();
    t.send(b":0103\x0000001FB\r\n").silent();
}

fn a_frame_without_its_end(t: &mut Talk<'_>) {
    for end in ["", "\r", "\n", "\r\r"] {
        // A lone line feed is what some devices end with (SL: the delimiter can be changed); it is not ours.
        t.send(format!(":010300000001FB{end}").as_bytes()).silent().alive();
    }
}

fn only_delimiters(t: &mut Talk<'_>) {
    for text in ["\r\n", "\r\n\r\n\r\n", ":\r\n", "::::\r\n", "\n\r:", ":"] {
        t.send(text.as_bytes()).silent();
    }
}

fn text_as_a_console_prints_it(t: &mut Talk<'_>) {
    t.send(b"login: root\r\nPassword: \r\nLast login: never\r\n# \r\n").silent();
}

fn a_check_of_lowercase_digits_ends_nothing(t: &mut Talk<'_>) {
    // The specification has capital letters only; who takes both is no worse.
    t.send(b":010300000001fb\r\n").whatever();
}

fn characters_with_the_eighth_bit(t: &mut Talk<'_>) {
    // Seven data bits sent by somebody with parity in the eighth. Not a frame here, and nothing ends.
    let frame = t.frame(1, READ);
    let high: Vec<u8> = frame.iter().map(|b| b | 0x80).collect();
    t.send(&high).whatever();
}
