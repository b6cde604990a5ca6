//! JSON in and out.

use std::collections::BTreeMap;

use loopback::{Response, TestHttpServer};
use serde_json::{Value, json};

use super::{Client, start};
use crate::support::LONG;

fn post(body: &str) -> String {
    let fields = format!("Content-Length: {}\r\n\r\n", body.len());
    start("POST /stock?a") + &fields + body
}

#[test]
fn a_value_comes_and_another_goes() {
    let mut server = TestHttpServer::builder()
        .without_date()
        .start("127.0.0.1:0", |request| {
            let order: BTreeMap<String, u32> = request.json()?;
            loopback::ok(Response::json(
                &json!({ "sum": order.values().sum::<u32>() }),
            ))
        })
        .unwrap();
    let mut client = Client::new(server.local_addr());
    let reply = client.ask(post(r#"{"green": 3, "black": 5}"#));
    assert_eq!(
        (reply.text(), reply.field("content-type")),
        (r#"{"sum":8}"#, Some("application/json"))
    );
    let request = server.take_request(LONG).unwrap();
    // What is borrowed of the body lives as long as the request.
    assert_eq!(request.json::<BTreeMap<&str, u32>>().unwrap()["black"], 5);
    assert_eq!(
        request.json::<Value>().unwrap(),
        json!({"green": 3, "black": 5})
    );
    server.stop(LONG).unwrap();
}

#[test]
fn what_is_not_the_wanted_json_is_shown() {
    let server = TestHttpServer::builder()
        .keep_body(10)
        .sink("127.0.0.1:0")
        .unwrap();
    let mut client = Client::new(server.local_addr());
    for (body, why) in [
        ("tea", "expected ident at line 1 column 2; it is \"tea\""),
        (
            "",
            "EOF while parsing a value at line 1 column 0; it is \"\"",
        ),
        (
            "[true]",
            "invalid type: boolean `true`, expected u32 at line 1 column 5; it is \"[true]\"",
        ),
        (
            "[1, 2, 3, 4]",
            "EOF while parsing a value at line 1 column 10; it is \"[1, 2, 3, \", \
             2 more bytes were not kept (builder().keep_body)",
        ),
    ] {
        client.ask(post(body));
        let request = server.take_request(LONG).unwrap();
        let error = request.json::<Vec<u32>>().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let expected = format!("the body of POST /stock?a is not the JSON that is wanted: {why}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_value_that_json_has_not_is_a_failure() {
    let response = Response::json(&BTreeMap::from([((1, 2), 3)]));
    let error = TestHttpServer::fixed("127.0.0.1:0", response).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the response cannot be sent: the value cannot be written as JSON: key must be a string"
    );
}
