//! Functions of the serial line: 7, 8 with its subfunctions and listen-only mode, 11, 12 and 17 (AP 6.7 to 6.13).

use crate::table;
use crate::talk::Talk;

table! {
    SERIAL the_query_data_comes_back;
    SERIAL query_data_of_any_length_comes_back;
    SERIAL a_subfunction_that_nobody_knows;
    SERIAL a_subfunction_with_data_that_it_does_not_take;
    SERIAL a_diagnostic_request_that_is_too_short;
    SERIAL all_counters_can_be_read_and_cleared;
    SERIAL errors_of_the_check_are_counted;
    SERIAL requests_and_exceptions_are_counted;
    SERIAL messages_to_whomever_are_counted;
    SERIAL what_is_not_answered_is_counted;
    SERIAL frames_without_an_end_are_counted;
    SERIAL a_restart_is_confirmed;
    SERIAL a_restart_with_wrong_data_is_refused;
    SERIAL listen_only_is_not_confirmed_and_answers_nothing;
    SERIAL listen_only_obeys_nothing;
    SERIAL listen_only_obeys_no_broadcast;
    SERIAL listen_only_ends_with_a_restart_that_is_not_confirmed;
    SERIAL listen_only_of_one_unit_leaves_the_line_alive;
    SERIAL the_exception_status;
    SERIAL the_event_counter;
    SERIAL the_event_log;
    SERIAL the_server_id;
    TCP functions_of_the_serial_line_over_tcp_end_nothing;
}

fn counter(t: &mut Talk<'_>, sub: u8) -> u16 {
    t.ask(1, &[8, 0, sub, 0, 0]);
    let answer = t.answer();
    assert!(answer.len() == 5 && answer[..3] == [8, 0, sub], "{answer:02x?}");
    u16::from_be_bytes([answer[3], answer[4]])
}

fn the_query_data_comes_back(t: &mut Talk<'_>) {
    t.ask(1, &[8, 0, 0, 0xa5, 0x37]).answers(1, &[8, 0, 0, 0xa5, 0x37]);
}

fn query_data_of_any_length_comes_back(t: &mut Talk<'_>) {
    for words in [2, 3, 10, 125] {
        let pdu = [&[8, 0, 0][..], &vec![0x5a; 2 * words]].concat();
        t.ask(1, &pdu).answers(1, &pdu);
    }
}

fn a_subfunction_that_nobody_knows(t: &mut Talk<'_>) {
    for sub in [5u16, 9, 19, 22, 0x00ff, 0xffff] {
        let [high, low] = sub.to_be_bytes();
        t.ask(1, &[8, high, low, 0, 0]).refuses(1, 8, 1);
    }
}

fn a_subfunction_with_data_that_it_does_not_take(t: &mut Talk<'_>) {
    for sub in [2, 10, 11, 18] {
        t.ask(1, &[8, 0, sub, 0, 1]).refuses(1, 8, 3);
    }
}

fn a_diagnostic_request_that_is_too_short(t: &mut Talk<'_>) {
    t.ask(1, &[8]).refuses(1, 8, 3).ask(1, &[8, 0]).refuses(1, 8, 3);
}

fn all_counters_can_be_read_and_cleared(t: &mut Talk<'_>) {
    for sub in 11..=18 {
        counter(t, sub);
    }
    t.ask(1, &[8, 0, 10, 0, 0]).answers(1, &[8, 0, 10, 0, 0]);
    for sub in [12, 13, 15, 16, 17, 18] {
        assert_eq!(counter(t, sub), 0, "subfunction {sub}");
    }
}

fn errors_of_the_check_are_counted(t: &mut Talk<'_>) {
    let before = counter(t, 12);
    for _ in 0..3 {
        let mut broken = t.frame(1, &[3, 0, 0, 0, 1]);
        let at = broken.len() - 3;
        broken[at] ^= 1;
        t.send(&broken).silent();
    }
    assert_eq!(counter(t, 12), before + 3);
}

fn requests_and_exceptions_are_counted(t: &mut Talk<'_>) {
    let (asked, refused) = (counter(t, 14), counter(t, 13));
    t.ask(1, &[3, 0, 0, 0, 0]).refuses(1, 3, 3);
    t.ask(1, &[3, 0, 0, 0, 1]).answers(1, &[3, 2, 0x03, 0xe8]);
    assert_eq!(counter(t, 13), refused + 1);
    // Whether a request counts itself is not said; that each counts is.
    assert!(counter(t, 14) >= asked + 4);
}

fn messages_to_whomever_are_counted(t: &mut Talk<'_>) {
    let before = counter(t, 11);
    t.ask(2, &[3, 0, 0, 0, 1]).ask(2, &[3, 2, 0, 7]).ask(3, &[4, 0, 0, 0, 1]).answers(3, &[4, 2, 0, 7]);
    t.ask(0, &[6, 0, 5, 0, 1]).silent();
    // Those four, and the one that asks.
    assert_eq!(counter(t, 11), before + 5);
}

fn what_is_not_answered_is_counted(t: &mut Talk<'_>) {
    let before = counter(t, 15);
    t.ask(0, &[6, 0, 5, 0, 1]).ask(0, &[3, 0, 0, 0, 1]).ask(2, &[3, 0, 0, 0, 1]).silent();
    assert_eq!(counter(t, 15), before + 2);
}

fn frames_without_an_end_are_counted(t: &mut Talk<'_>) {
    let before = counter(t, 18);
    let frame = t.frame(1, &[0x42; 400]);
    t.send(&frame).silent();
    assert_eq!(counter(t, 18), before + 1);
}

fn a_restart_is_confirmed(t: &mut Talk<'_>) {
    t.ask(1, &[8, 0, 1, 0, 0]).answers(1, &[8, 0, 1, 0, 0]).alive();
    t.ask(1, &[8, 0, 1, 0xff, 0]).answers(1, &[8, 0, 1, 0xff, 0]).alive();
}

fn a_restart_with_wrong_data_is_refused(t: &mut Talk<'_>) {
    t.ask(1, &[8, 0, 1, 0x12, 0x34]).refuses(1, 8, 3);
}

const LISTEN: &[u8] = &[8, 0, 4, 0, 0];
const RESTART: &[u8] = &[8, 0, 1, 0, 0];

fn listen_only_is_not_confirmed_and_answers_nothing(t: &mut Talk<'_>) {
    t.ask(1, LISTEN).silent();
    for _ in 0..5 {
        t.ask(1, &[3, 0, 0, 0, 1]).silent();
    }
    t.ask(1, &[0x42]).silent().ask(1, &[8, 0, 0, 1, 2]).silent();
    t.ask(1, RESTART).silent();
}

fn listen_only_obeys_nothing(t: &mut Talk<'_>) {
    t.ask(1, LISTEN).ask(1, &[6, 0, 0, 0, 42]).ask(1, RESTART).silent().holds(1, 0, 1000);
}

fn listen_only_obeys_no_broadcast(t: &mut Talk<'_>) {
    t.ask(1, LISTEN).ask(0, &[6, 0, 0, 0, 42]).ask(1, RESTART).silent();
    t.holds(1, 0, 1000).holds(3, 0, 42);
}

fn listen_only_ends_with_a_restart_that_is_not_confirmed(t: &mut Talk<'_>) {
    for _ in 0..3 {
        t.ask(1, LISTEN).silent().ask(1, RESTART).silent().alive();
    }
}

fn listen_only_of_one_unit_leaves_the_line_alive(t: &mut Talk<'_>) {
    t.ask(1, LISTEN).silent();
    // Whether the port or the unit listens only is not said where a port has several; both end with the restart.
    t.ask(3, &[3, 0, 0, 0, 1]).whatever();
    t.ask(1, RESTART).silent();
    t.ask(3, RESTART).whatever();
    t.alive().ask(3, &[3, 0, 0, 0, 1]).answers(3, &[3, 2, 0x0b, 0xb8]);
}

/// The answer, or exception 1 of a device that does not do this.
fn served(t: &mut Talk<'_>, function: u8, fits: fn(&[u8]) -> bool) {
    t.ask(1, &[function]);
    let answer = t.answer();
    assert!(answer == [function | 0x80, 1] || (answer[0] == function && fits(&answer)), "{answer:02x?}");
    t.ask(1, &[function, 0]).whatever();
}

fn the_exception_status(t: &mut Talk<'_>) {
    served(t, 7, |answer| answer.len() == 2);
}

fn the_event_counter(t: &mut Talk<'_>) {
    served(t, 11, |answer| answer.len() == 5);
}

fn the_event_log(t: &mut Talk<'_>) {
    for _ in 0..80 {
        t.alive();
    }
    served(t, 12, |answer| {
        answer.len() >= 8 && usize::from(answer[1]) == answer.len() - 2 && answer.len() <= 72
    });
}

fn the_server_id(t: &mut Talk<'_>) {
    served(t, 17, |answer| answer.len() >= 3 && usize::from(answer[1]) == answer.len() - 2);
}

fn functions_of_the_serial_line_over_tcp_end_nothing(t: &mut Talk<'_>) {
    for pdu in [&[7][..], &[8, 0, 0, 1, 2], &[8, 0, 1, 0, 0], &[11], &[12], &[17]] {
        t.ask(1, pdu).whatever();
        t.alive();
    }
}
