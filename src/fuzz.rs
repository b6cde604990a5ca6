//! The door for `fuzz/`: there only where cargo-fuzz builds the crate, so users never see it.
//!
//! Each function takes any bytes and panics at a finding. The first byte says where the rest is cut:
//! whatever the network does with a message, it must mean the same as in one piece.

use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

use crate::proto::decode::Decoded;
use crate::proto::http1::{BodyDecoder, Framing, HeadParser, Limits, Parsed, RequestHead};
use crate::proto::smtp::{
    Config, Decision, Ending, Event, Extensions, Question, Reply, Session, Users,
};
use crate::proto::{connect, proxy_protocol, socks4, socks5};
use crate::smtp::Mail;

const LIMITS: Limits = Limits {
    line: 200,
    head: 1000,
    body: 2000,
    lenient_targets: false,
};

/// The bytes behind the first one, which says where they are cut in two.
fn cut(data: &[u8]) -> (&[u8], usize) {
    match data.split_first() {
        Some((at, input)) => (input, usize::from(*at) % (input.len() + 1)),
        None => (&[], 0),
    }
}

/// Runs the input whole, in two pieces, and byte by byte: all must say the same.
fn differs_nowhere<T: Debug + PartialEq>(data: &[u8], run: impl Fn(&[&[u8]]) -> T) {
    let (input, at) = cut(data);
    let whole = run(&[input]);
    let (first, second) = input.split_at(at);
    assert_eq!(run(&[first, second]), whole, "cut at {at}");
    let mut bytes: Vec<&[u8]> = input.chunks(1).collect();
    if bytes.is_empty() {
        bytes.push(input);
    }
    assert_eq!(run(&bytes), whole, "byte by byte");
}

/// A decoder of one message: it never wants a byte of what follows, and never changes its mind.
fn decodes<T: Debug + PartialEq, E: Debug + PartialEq>(
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) {
    let (input, at) = cut(data);
    match (decode(&input[..at]), decode(input)) {
        (Ok(Decoded::Partial { missing }), Ok(Decoded::Complete { used, .. })) => {
            assert!(missing > 0 && at + missing <= used && used <= input.len());
        }
        (Ok(Decoded::Partial { missing }), Ok(Decoded::Partial { missing: left })) => {
            assert!(missing > 0 && left > 0 && at + missing <= input.len() + left);
        }
        (Ok(Decoded::Partial { missing }), Err(_)) => assert!(missing > 0),
        (part, whole) => assert_eq!(part, whole),
    }
}

/// The head of a request.
pub fn http_head(data: &[u8]) {
    differs_nowhere(data, |pieces| {
        let (mut buffer, mut parser) = (Vec::new(), HeadParser::default());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            match parser.parse(&buffer, &LIMITS) {
                Parsed::Partial => {}
                Parsed::Head(head, used) => return format!("{} {used}", told(&head)),
                Parsed::Rejected(head, why) => return format!("{} {why:?}", told(&head)),
            }
        }
        "partial".to_owned()
    });
}

fn told(head: &RequestHead) -> String {
    format!("{} {} {head:?}", head.method(), head.target())
}

/// A body: the second byte says whether it is chunked, or how long it is.
pub fn http_body(data: &[u8]) {
    let [at, length, rest @ ..] = data else {
        return;
    };
    let framing = match length {
        0..128 => Framing::Chunked,
        _ => Framing::Length(u64::from(*length - 128)),
    };
    differs_nowhere(&[&[*at], rest].concat(), |pieces| {
        let mut decoder = BodyDecoder::new(framing, &LIMITS, LIMITS.body);
        let mut used = 0;
        for piece in pieces {
            match decoder.decode(piece) {
                Ok(count) => used += count,
                Err(why) => return format!("{why:?}"),
            }
        }
        let is_done = decoder.is_done();
        format!("{used} {is_done} {:?}", decoder.into_body())
    });
}

/// Requests on one connection, with their bodies.
pub fn http_requests(data: &[u8]) {
    differs_nowhere(data, |pieces| {
        let (mut buffer, mut said) = (Vec::new(), Vec::new());
        let mut parser = HeadParser::default();
        let mut body: Option<BodyDecoder> = None;
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                if let Some(decoder) = &mut body {
                    match decoder.decode(&buffer) {
                        Ok(used) => drop(buffer.drain(..used)),
                        Err(why) => {
                            said.push(format!("{why:?}"));
                            return said;
                        }
                    }
                    let Some(decoder) = body.take_if(|body| body.is_done()) else {
                        break;
                    };
                    said.push(format!("{:?}", decoder.into_body()));
                }
                match parser.parse(&buffer, &LIMITS) {
                    Parsed::Partial => break,
                    Parsed::Head(head, used) => {
                        said.push(told(&head));
                        buffer.drain(..used);
                        parser = HeadParser::default();
                        body = Some(BodyDecoder::new(head.framing(), &LIMITS, LIMITS.body));
                    }
                    Parsed::Rejected(head, why) => {
                        said.push(format!("{} {why:?}", told(&head)));
                        return said;
                    }
                }
            }
        }
        said
    });
}

/// Hashed once: SCRAM's hashing takes long.
static USERS: LazyLock<Users> = LazyLock::new(|| {
    let mut users = Users::default();
    users.add("bob".to_owned(), "secret".to_owned());
    users
});

/// An SMTP server's session. Bit by bit the second byte says what is configured and decided.
pub fn smtp(data: &[u8]) {
    let [at, choices, rest @ ..] = data else {
        return;
    };
    let is_chosen = |bit: u8| choices >> bit & 1 == 1;
    let config = Arc::new(Config {
        extensions: Extensions::all(),
        max_message: 3000,
        max_recipients: 3,
        lenient: is_chosen(0),
        require_auth: is_chosen(1),
        plaintext_auth: is_chosen(2),
        lmtp: is_chosen(6),
        refuse_irregular: is_chosen(7),
        users: USERS.clone(),
        offers_scram: true,
        ..Config::default()
    });
    differs_nowhere(&[&[*at], rest].concat(), |pieces| {
        let mut session = Session::new(Arc::clone(&config), "unique".to_owned());
        let (mut said, mut messages) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            loop {
                let (used, event) = session.advance(input);
                input = &input[used..];
                said.append(session.output());
                match event {
                    Event::More => {
                        assert!(input.is_empty(), "it is all used up");
                        break;
                    }
                    Event::Flush => {}
                    Event::Ask => {
                        let refuses = match session.question() {
                            Some(Question::Rcpt(_)) => is_chosen(3),
                            Some(Question::Auth(login)) => is_chosen(4) && !USERS.accept(login),
                            Some(Question::Data) => is_chosen(5),
                            Some(_) => false,
                            None => panic!("it asks, and there is no question"),
                        };
                        session.decide(match refuses {
                            true => Decision::Refuse,
                            false => Decision::Accept,
                        });
                    }
                    Event::Message(message) => {
                        let recipients = message.recipients.iter().map(ToString::to_string);
                        let recipients: Vec<String> = recipients.collect();
                        messages.push((message.sender.to_string(), recipients, message.body));
                        session.answer(&Reply::new(250, "2.0.0 taken"));
                    }
                    Event::Close(ending) => {
                        let is_reset = matches!(ending, Ending::Reset);
                        return (said, messages, Some(is_reset));
                    }
                }
            }
        }
        (said, messages, None)
    });
}

/// The reply of SOCKS4.
pub fn socks4(data: &[u8]) {
    decodes(data, socks4::reply);
}

/// The replies of SOCKS5, each alone and in a client's handshake.
pub fn socks5(data: &[u8]) {
    decodes(data, socks5::method_reply);
    decodes(data, socks5::credentials_reply);
    decodes(data, socks5::reply);
    for credentials in [None, Some((&b"user"[..], &b"password"[..]))] {
        differs_nowhere(data, |pieces| {
            let host = socks5::Host::Name(b"name.test".to_vec());
            let began = socks5::Client::new(1, credentials, &host, 80);
            let (mut client, mut sent) = began.expect("the name is short");
            for piece in pieces {
                let mut rest = *piece;
                while !rest.is_empty() && client.missing() > 0 {
                    let (now, later) = rest.split_at(rest.len().min(client.missing()));
                    rest = later;
                    match client.feed(now) {
                        Ok(socks5::Step::Read) => {}
                        Ok(socks5::Step::Send(bytes)) => sent.extend(bytes),
                        Ok(socks5::Step::Done(bound)) => return (sent, format!("{bound:?}")),
                        Err(error) => return (sent, format!("{error:?}")),
                    }
                }
            }
            (sent, client.waiting_for().to_owned())
        });
    }
}

/// The header of a datagram of SOCKS5: what was decoded is encoded as it came.
pub fn socks5_udp(data: &[u8]) {
    if let Ok(datagram) = socks5::udp::decode(data) {
        let (fragment, peer, payload) = (datagram.fragment, datagram.peer, datagram.data);
        // It can come, and cannot be asked for.
        if peer.host == socks5::Host::Name(Vec::new()) {
            return;
        }
        let again = socks5::udp::encode(fragment, &peer.host, peer.port, payload);
        assert_eq!(again.as_deref(), Ok(data));
    }
}

/// The response to CONNECT.
pub fn connect(data: &[u8]) {
    decodes(data, connect::response);
}

/// A header of the PROXY protocol, of either version.
pub fn proxy_protocol(data: &[u8]) {
    decodes(data, proxy_protocol::v1);
    decodes(data, proxy_protocol::v2);
}

/// A mail's content.
pub fn mail(data: &[u8]) {
    let mail = Mail::parse(data);
    assert_eq!(Mail::parse(data), mail);
}

/// A script's framings.
pub fn frames(data: &[u8]) {
    let (input, seen) = cut(data);
    crate::script::fuzz_frames(input, seen);
}
