//! AUTH: the mechanisms PLAIN, LOGIN and CRAM-MD5 (RFC 4954, RFC 4616, RFC 2195).

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// `PLAIN`: user and password in one response.
    Plain,
    /// `LOGIN`: user and password one after the other.
    Login,
    /// `CRAM-MD5`: a digest of the password and a challenge.
    CramMd5,
}

/// A client's attempt to log in, to be judged by a hook.
///
/// Its `Debug` shows who it is, and not the password, nor what it could be guessed from.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    mechanism: Mechanism,
    user: String,
    acting_as: Option<String>,
    proof: Proof,
}

#[derive(Clone, PartialEq, Eq)]
enum Proof {
    Password(String),
    Digest { challenge: String, digest: String },
}

impl Mechanism {
    pub(crate) const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5];

    /// Its name in AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
        }
    }

    /// Whether the password itself goes over the wire.
    pub(crate) fn is_plaintext(self) -> bool {
        self != Mechanism::CramMd5
    }

    pub(crate) fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

impl Login {
    /// The mechanism the client chose.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Who the client says it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whom it wants to act for, when it named someone (the authorization identity; PLAIN only).
    pub fn acting_as(&self) -> Option<&str> {
        self.acting_as.as_deref()
    }

    /// The password, where the mechanism sends it: not with CRAM-MD5.
    pub fn password(&self) -> Option<&str> {
        match &self.proof {
            Proof::Password(password) => Some(password),
            Proof::Digest { .. } => None,
        }
    }

    /// Whether the client knows `password`; works for every mechanism.
    pub fn proves(&self, password: &str) -> bool {
        match &self.proof {
            Proof::Password(sent) => sent == password,
            Proof::Digest { challenge, digest } => {
                let expected = hmac_md5(password.as_bytes(), challenge.as_bytes());
                HEXLOWER.encode(&expected) == digest.to_ascii_lowercase()
            }
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .field("acting_as", &self.acting_as)
            .finish_non_exhaustive()
    }
}

/// An exchange that waits for the client's next response.
#[derive(Debug)]
pub(crate) enum Exchange {
    Plain,
    LoginUser,
    LoginPassword { user: String },
    CramMd5 { challenge: String },
}

/// What a response leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The client is to answer this, already in base64.
    Challenge(String),
    Done(Login),
    Cancelled,
    /// Not base64, or not what the mechanism says.
    Malformed,
}

impl Exchange {
    /// Begins an exchange; `challenge` is unique to it. Without an initial response in AUTH the first
    /// challenge follows at once.
    pub(crate) fn begin(
        mechanism: Mechanism,
        initial: Option<&str>,
        challenge: impl FnOnce() -> String,
    ) -> (Exchange, Step) {
        let (mut exchange, first) = match mechanism {
            Mechanism::Plain => (Exchange::Plain, String::new()),
            Mechanism::Login => (Exchange::LoginUser, BASE64.encode(b"Username:")),
            Mechanism::CramMd5 => {
                let challenge = challenge();
                let first = BASE64.encode(challenge.as_bytes());
                // The server speaks first here, so an initial response is an error (RFC 4954 section 4).
                let step = match initial {
                    Some(_) => Step::Malformed,
                    None => Step::Challenge(first),
                };
                return (Exchange::CramMd5 { challenge }, step);
            }
        };
        let step = match initial {
            // "=" stands for a response of no octets, for an empty word would be none at all.
            Some("=") => exchange.respond(""),
            Some(response) => exchange.respond(response),
            None => Step::Challenge(first),
        };
        (exchange, step)
    }

    /// Takes the client's response, a line without its CRLF.
    pub(crate) fn respond(&mut self, response: &str) -> Step {
        if response == "*" {
            return Step::Cancelled;
        }
        let decoded = BASE64.decode(response.as_bytes()).ok();
        let Some(text) = decoded.and_then(|octets| String::from_utf8(octets).ok()) else {
            return Step::Malformed;
        };
        match self {
            Exchange::Plain => plain(&text).map_or(Step::Malformed, Step::Done),
            Exchange::LoginUser => {
                *self = Exchange::LoginPassword { user: text };
                Step::Challenge(BASE64.encode(b"Password:"))
            }
            Exchange::LoginPassword { user } => Step::Done(Login {
                mechanism: Mechanism::Login,
                user: std::mem::take(user),
                acting_as: None,
                proof: Proof::Password(text),
            }),
            Exchange::CramMd5 { challenge } => {
                cram_md5(&text, challenge).map_or(Step::Malformed, Step::Done)
            }
        }
    }
}

/// `[acting as] NUL user NUL password` (RFC 4616 section 2).
fn plain(text: &str) -> Option<Login> {
    let mut parts = text.split('\0');
    let (acting_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let valid = parts.next().is_none() && !user.is_empty();
    valid.then(|| Login {
        mechanism: Mechanism::Plain,
        user: user.to_owned(),
        acting_as: (!acting_as.is_empty()).then(|| acting_as.to_owned()),
        proof: Proof::Password(password.to_owned()),
    })
}

/// `user SP digest` (RFC 2195 section 2); the user may hold spaces, the digest not.
fn cram_md5(text: &str, challenge: &str) -> Option<Login> {
    let (user, digest) = text.rsplit_once(' ')?;
    Some(Login {
        mechanism: Mechanism::CramMd5,
        user: user.to_owned(),
        acting_as: None,
        proof: Proof::Digest {
            challenge: challenge.to_owned(),
            digest: digest.to_owned(),
        },
    })
}

/// RFC 2104 with MD5: a hash of the outer key and a hash of the inner key and the text.
fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..16].copy_from_slice(&*md5::compute(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let hash = |pad: u8, text: &[u8]| {
        let mut context = md5::Context::new();
        context.consume(block.map(|byte| byte ^ pad));
        context.consume(text);
        context.finalize()
    };
    let inner = hash(0x36, text);
    hash(0x5c, &*inner).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn begin(mechanism: Mechanism, initial: Option<&str>) -> (Exchange, Step) {
        Exchange::begin(mechanism, initial, || {
            "<1896.697170952@postoffice.reston.mci.net>".into()
        })
    }

    /// The vectors of RFC 2202 section 2.
    #[test]
    fn hmac_md5_vectors() {
        let vectors: [(Vec<u8>, Vec<u8>, &str); 7] = [
            (
                vec![0x0b; 16],
                b"Hi There".into(),
                "9294727a3638bb1c13f48ef8158bfc9d",
            ),
            (
                b"Jefe".into(),
                b"what do ya want for nothing?".into(),
                "750c783e6ab0b503eaa86e310a5db738",
            ),
            (
                vec![0xaa; 16],
                vec![0xdd; 50],
                "56be34521d144c88dbb8c733f0e8b3f6",
            ),
            (
                (1..=25).collect(),
                vec![0xcd; 50],
                "697eaf0aca3a3aea3a75164746ffaa79",
            ),
            (
                vec![0x0c; 16],
                b"Test With Truncation".into(),
                "56461ef2342edc00f9bab995690efd4c",
            ),
            (
                vec![0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First".into(),
                "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
            ),
            (
                vec![0xaa; 80],
                b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data".into(),
                "6f630fad67cda0ee1fb1f562db3aa53e",
            ),
        ];
        for (key, text, expected) in vectors {
            assert_eq!(HEXLOWER.encode(&hmac_md5(&key, &text)), expected);
        }
    }

    #[test]
    fn plain_at_once_and_after_the_challenge() {
        let response = BASE64.encode(b"boss\0bob\0secret");
        let (_, step) = begin(Mechanism::Plain, Some(&response));
        let Step::Done(login) = step else {
            panic!("{step:?}")
        };
        assert_eq!(
            (login.user(), login.acting_as(), login.password()),
            ("bob", Some("boss"), Some("secret"))
        );
        assert!(login.proves("secret") && !login.proves("wrong"));
        let (mut exchange, step) = begin(Mechanism::Plain, None);
        assert_eq!(step, Step::Challenge(String::new()));
        assert_eq!(exchange.respond(&response), Step::Done(login));
    }

    #[test]
    fn login_at_once_and_after_the_challenge() {
        let (mut exchange, step) = begin(Mechanism::Login, Some("Ym9i"));
        assert_eq!(step, Step::Challenge("UGFzc3dvcmQ6".into()));
        let Step::Done(login) = exchange.respond("c2VjcmV0") else {
            panic!()
        };
        assert_eq!((login.user(), login.password()), ("bob", Some("secret")));
        let (mut exchange, step) = begin(Mechanism::Login, None);
        assert_eq!(step, Step::Challenge("VXNlcm5hbWU6".into()));
        exchange.respond("Ym9i");
        assert_eq!(exchange.respond("c2VjcmV0"), Step::Done(login));
    }

    /// The example of RFC 2195 section 2.
    #[test]
    fn cram_md5_proves_a_password_it_does_not_send() {
        let (mut exchange, step) = begin(Mechanism::CramMd5, None);
        assert_eq!(
            step,
            Step::Challenge("PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+".into())
        );
        let Step::Done(login) =
            exchange.respond("dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw")
        else {
            panic!()
        };
        assert_eq!((login.user(), login.password()), ("tim", None));
        assert!(login.proves("tanstaaftanstaaf") && !login.proves("wrong"));
        assert_eq!(begin(Mechanism::CramMd5, Some("dGlt")).1, Step::Malformed);
    }

    #[test]
    fn what_is_malformed() {
        for response in [
            "=",
            "*x",
            "Ym9",
            "Ym9i",
            &BASE64.encode(b"\0\0"),
            &BASE64.encode(b"a\0b\0c\0d"),
            "/w==",
        ] {
            assert_eq!(
                begin(Mechanism::Plain, Some(response)).1,
                Step::Malformed,
                "{response}"
            );
        }
        let (mut exchange, _) = begin(Mechanism::Plain, None);
        assert_eq!(exchange.respond("*"), Step::Cancelled);
        let (mut exchange, _) = begin(Mechanism::CramMd5, None);
        assert_eq!(exchange.respond(&BASE64.encode(b"bob")), Step::Malformed);
    }

    proptest! {
        #[test]
        fn any_response_leads_somewhere(octets in any::<Vec<u8>>(), text in any::<String>()) {
            for response in [BASE64.encode(&octets), text] {
                for mechanism in Mechanism::ALL {
                    let (mut exchange, _) = begin(mechanism, None);
                    let _ = (exchange.respond(&response), begin(mechanism, Some(&response)));
                }
            }
        }
    }
}
