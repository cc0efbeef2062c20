//! Silences to the nanosecond, which only virtual time can hold (SL 2.5.1.1).

use std::time::Duration;

use crate::table;
use crate::talk::{CHARACTER, PAUSE, T35, Talk};

table! {
    LINE a_frame_split_below_t15;
    LINE a_frame_split_below_t35;
    LINE a_frame_split_above_t35;
    LINE two_frames_just_t35_apart;
    LINE a_reply_does_not_leave_before_t35;
    LINE a_reply_waits_for_the_line_to_fall_silent;
    SERIAL noise_between_a_request_and_its_reply;
    LINE a_request_before_the_last_was_answered;
    LINE a_frame_a_character_behind_noise_is_lost_and_no_more;
    ASCII an_ascii_frame_with_half_a_second_between_its_characters;
    ASCII an_ascii_frame_with_more_than_a_second_inside;
}

const READ: &[u8] = &[3, 0, 0, 0, 1];
const REPLY: &[u8] = &[3, 2, 0x03, 0xe8];
const NANOSECOND: Duration = Duration::from_nanos(1);

/// Cuts a request at each place, with a pause there. Byte by byte the pause counts from the last byte, and the first
/// of the rest takes its own time.
fn split(t: &mut Talk<'_>, pause: Duration, answered: bool) {
    let frame = t.frame(1, READ);
    for cut in 1..frame.len() {
        t.bytes(&frame[..cut]).wait(pause).send(&frame[cut..]);
        if answered {
            t.answers(1, REPLY);
        } else {
            t.silent();
        }
    }
}

fn a_frame_split_below_t15(t: &mut Talk<'_>) {
    split(t, T35 * 15 / 35 - CHARACTER - NANOSECOND, true);
}

fn a_frame_split_below_t35(t: &mut Talk<'_>) {
    split(t, T35 - CHARACTER - NANOSECOND, true);
}

fn a_frame_split_above_t35(t: &mut Talk<'_>) {
    split(t, T35 + NANOSECOND, false);
}

fn two_frames_just_t35_apart(t: &mut Talk<'_>) {
    let other = t.frame(2, &[0x42, 1, 2]);
    t.bytes(&other).wait(T35 + NANOSECOND).ask(1, READ).answers(1, REPLY);
}

fn a_reply_does_not_leave_before_t35(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    t.bytes(&frame).wait(T35 - NANOSECOND);
    // Asks without letting time pass.
    t.said_nothing_yet().wait(NANOSECOND).answers(1, REPLY);
}

fn a_reply_waits_for_the_line_to_fall_silent(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    t.bytes(&frame);
    for _ in 0..5 {
        t.wait(T35 / 4).bytes(&[0xff]).said_nothing_yet();
    }
    t.wait(T35).answers(1, REPLY).wait(PAUSE);
}

fn noise_between_a_request_and_its_reply(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    t.bytes(&frame).wait(T35 / 4).bytes(&[0xff]).wait(PAUSE);
    // In ASCII the answer may have left before.
    t.answers(1, REPLY);
}

fn a_request_before_the_last_was_answered(t: &mut Talk<'_>) {
    let first = t.frame(3, READ);
    t.bytes(&first).wait(T35 / 4).ask(1, READ).answers(1, REPLY);
    t.bytes(&first).wait(T35 / 4).ask(2, READ).silent();
}

fn a_frame_a_character_behind_noise_is_lost_and_no_more(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    t.bytes(&[0x55]).wait(CHARACTER).send(&frame).silent().send(&frame).answers(1, REPLY);
}

fn an_ascii_frame_with_half_a_second_between_its_characters(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    for byte in frame {
        t.bytes(&[byte]).wait(Duration::from_millis(500));
    }
    t.answers(1, REPLY);
}

fn an_ascii_frame_with_more_than_a_second_inside(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    for cut in [1, 2, 7, frame.len() - 2] {
        t.bytes(&frame[..cut]).wait(Duration::from_millis(1100)).send(&frame[cut..]).silent();
    }
}
