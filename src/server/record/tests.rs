use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// A record of so many things, whose numbers tell them apart.
fn record(items: usize) -> Record<i32> {
    let limit = Limit { items, bytes: 100 };
    Record::new(limit, "a thing", |value| format!("no. {value}"))
}

#[test]
fn bytes_are_limited_too_and_taking_makes_room() {
    let record = record(10);
    for (value, bytes) in [(1, 60), (2, 41), (3, 40), (4, 1)] {
        drop(record.list(value, bytes));
    }
    assert_eq!(record.all(), [1, 3]);
    record.take(Duration::ZERO).unwrap();
    drop(record.list(5, 60));
    drop(record.list(6, 0));
    assert_eq!(record.all(), [3, 5, 6]);
    assert_eq!(record.total(), 6);
}

#[test]
fn items_come_out_in_order_and_once() {
    let record = record(10);
    drop(record.list(1, 0));
    drop(record.list(2, 0));
    assert_eq!(record.all(), [1, 2]);
    assert_eq!(record.take(Duration::ZERO).unwrap(), 1);
    assert_eq!(record.all(), [2]);
    assert_eq!(record.take(Duration::ZERO).unwrap(), 2);
    assert_eq!(record.total(), 2);
}

#[test]
fn an_item_is_listed_at_once_and_taken_when_answered() {
    let record = record(10);
    let slow = record.list(1, 0);
    let quick = record.list(2, 0);
    assert_eq!(record.all(), [1, 2]);
    assert_eq!(
        record.take(Duration::ZERO).unwrap_err().to_string(),
        "timed out after 0ns waiting for a thing; none came so far, \
         2 came and were not answered yet (no. 1, no. 2)"
    );
    drop(quick);
    assert_eq!(record.take(Duration::ZERO).unwrap(), 2);
    drop(slow);
    assert_eq!(record.take(Duration::ZERO).unwrap(), 1);
}

#[test]
fn a_take_that_finds_nothing_says_what_came() {
    let record = record(1);
    let message = |record: &Record<i32>| record.take(Duration::ZERO).unwrap_err().to_string();
    assert_eq!(
        message(&record),
        "timed out after 0ns waiting for a thing; none came so far"
    );
    drop(record.list(1, 0));
    drop(record.list(2, 0));
    record.take(Duration::ZERO).unwrap();
    assert_eq!(
        message(&record),
        "timed out after 0ns waiting for a thing; 1 came before and was taken, \
         1 more was not kept because the record was full (builder().record_limit and record_bytes)"
    );
    record.set_stopped(true);
    assert!(
        message(&record)
            .starts_with("the server has stopped: a thing cannot come any more; 1 came before")
    );
}

#[test]
fn what_was_not_kept_has_come() {
    let record = record(0);
    drop(record.list(1, 0));
    assert_eq!(
        record.take(Duration::ZERO).unwrap_err().to_string(),
        "timed out after 0ns waiting for a thing; 1 came and was not kept because the record was full \
         (builder().record_limit and record_bytes)"
    );
}

#[test]
fn a_predicate_that_asks_its_own_record_is_told() {
    let (one, other) = (record(10), record(10));
    drop(one.list(1, 0));
    drop(other.list(2, 0));
    // Another record may be asked, and chosen from.
    let chosen = one.take_where(
        |_| other.take_where(|_| true, Duration::ZERO).is_ok() && other.all().is_empty(),
        Duration::ZERO,
    );
    assert_eq!(chosen.unwrap(), 1);
    drop(one.list(3, 0));
    let asked = catch_unwind(AssertUnwindSafe(|| {
        one.take_where(|_| one.total() > 0, Duration::ZERO)
    }));
    assert_eq!(
        asked.unwrap_err().downcast_ref::<&str>(),
        Some(
            &"a predicate that chooses what to take cannot ask its own server for anything: it would wait for itself"
        )
    );
    assert_eq!(one.all(), [3]);
}

#[test]
fn many_are_taken_together_or_not_at_all() {
    let record = record(10);
    let quick = [record.list(1, 10), record.list(3, 10)];
    let slow = record.list(2, 10);
    drop(quick);
    let message = |count| {
        let error = record.take_many(count, Duration::ZERO).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        message(3),
        "timed out after 0ns waiting for a thing; 2 came and can be taken (no. 1, no. 3), \
         1 came and was not answered yet (no. 2); 3 were wanted at once"
    );
    assert_eq!(record.all(), [1, 3, 2]);
    assert_eq!(record.take_many(2, Duration::ZERO).unwrap(), [1, 3]);
    drop(slow);
    drop(record.list(4, 10));
    assert_eq!(
        message(3),
        "timed out after 0ns waiting for a thing; 2 came before and were taken, \
         2 came and can be taken (no. 2, no. 4); 3 were wanted at once"
    );
    record.set_stopped(true);
    assert!(message(3).starts_with("the server has stopped: a thing cannot come any more; 2 "));
    assert!(record.take_many(0, Duration::ZERO).unwrap().is_empty());
    assert_eq!(record.take_many(2, Duration::ZERO).unwrap(), [2, 4]);
    // What was taken has made room.
    drop(record.list(5, 100));
    assert_eq!(record.all(), [5]);
}

#[test]
fn the_one_that_is_wanted_is_taken_and_the_others_stay() {
    let record = record(10);
    for value in 1..=4 {
        drop(record.list(value, 0));
    }
    let unanswered = record.list(6, 0);
    let even = |value: &i32| value % 2 == 0;
    assert_eq!(record.take_where(even, Duration::ZERO).unwrap(), 2);
    assert_eq!(record.take_where(even, Duration::ZERO).unwrap(), 4);
    let error = record.take_where(even, Duration::ZERO).unwrap_err();
    assert_eq!(
        error.to_string(),
        "timed out after 0ns waiting for a thing; 2 came before and were taken, 2 came and can be taken \
         (no. 1, no. 3), 1 came and was not answered yet (no. 6); none of those is the one that is wanted"
    );
    assert_eq!(record.all(), [1, 3, 6]);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| record.take_where(even, Duration::from_secs(60)));
        drop(unanswered);
        assert_eq!(waiter.join().unwrap().unwrap(), 6);
    });
}

#[test]
fn what_was_refused_is_taken_and_counted_apart() {
    let record = record(4);
    drop(record.list(1, 0));
    drop(record.list_refused(2, 0));
    drop(record.list(3, 0));
    let unanswered = record.list_refused(4, 0);
    assert_eq!(
        (record.all(), record.all_refused()),
        (vec![1, 3], vec![2, 4])
    );
    // There is one limit for both, and each is counted.
    drop(record.list(5, 0));
    drop(record.list_refused(6, 0));
    assert_eq!((record.total(), record.total_refused()), (3, 3));
    assert_eq!(record.take_many(2, Duration::ZERO).unwrap(), [1, 3]);
    assert_eq!(
        record.take(Duration::ZERO).unwrap_err().to_string(),
        "timed out after 0ns waiting for a thing; 2 came before and were taken, \
         1 more was not kept because the record was full (builder().record_limit and record_bytes), \
         3 were refused, see take_refusal (no. 2, no. 4)"
    );
    assert_eq!(record.take_refused(Duration::ZERO).unwrap(), 2);
    assert_eq!(
        record.take_refused(Duration::ZERO).unwrap_err().to_string(),
        "timed out after 0ns waiting for a refusal; 1 came before and was taken, \
         1 came and was not answered yet (no. 4), \
         1 more was not kept because the record was full (builder().record_limit and record_bytes), \
         3 were not refused"
    );
    drop(unanswered);
    assert_eq!(record.take_refused(Duration::ZERO).unwrap(), 4);
}

#[test]
fn many_items_are_told_by_the_first_of_them_and_a_long_one_is_cut() {
    let limit = Limit {
        items: 10,
        bytes: 100,
    };
    let record = Record::new(limit, "a thing", |value: &i32| "ä".repeat(*value as usize));
    for value in [1, 200, 120, 1, 1, 1, 1] {
        drop(record.list(value, 0));
    }
    let error = record.take_many(8, Duration::ZERO).unwrap_err().to_string();
    let long = "ä".repeat(120);
    let expected = format!(
        "; 7 came and can be taken (ä, {long}…, {long}, ä, ä, and 2 more); 8 were wanted at once"
    );
    assert!(error.ends_with(&expected), "{error}");
}

#[test]
fn that_a_list_lacks_some_is_said_once() {
    let record = record(1);
    drop(record.list(1, 0));
    assert_eq!(record.first_missing(), None);
    drop(record.list(2, 0));
    drop(record.list_refused(3, 0));
    assert_eq!(record.first_missing(), Some(2));
    drop(record.list(4, 0));
    assert_eq!(record.first_missing(), None);
}

#[test]
fn who_waits_for_many_gets_those_that_come_later() {
    let record = record(10);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| record.take_many(3, Duration::from_secs(60)));
        for value in 1..=3 {
            drop(record.list(value, 0));
        }
        assert_eq!(waiter.join().unwrap().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn answering_and_stopping_wake_who_waits() {
    let record = record(1);
    let wait = || record.take(Duration::from_secs(60));
    std::thread::scope(|scope| {
        let item = record.list(7, 0);
        let waiter = scope.spawn(wait);
        drop(item);
        assert_eq!(waiter.join().unwrap().unwrap(), 7);
        let waiter = scope.spawn(wait);
        record.set_stopped(true);
        assert!(waiter.join().unwrap().is_err());
    });
}
