//! AUTH: the mechanisms PLAIN, LOGIN, CRAM-MD5 (RFC 4954, RFC 4616, RFC 2195) and SCRAM-SHA-256, of which only
//! the messages stand elsewhere.

use std::fmt;
use std::sync::{Arc, OnceLock};

use data_encoding::{BASE64, HEXLOWER};

use super::scram;

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
    /// `SCRAM-SHA-256` (RFC 5802, RFC 7677): client and server each prove that they know the password. The
    /// server can for those of [`credentials`](crate::Builder::credentials) only, and offers it where they are all
    /// that may log in.
    ScramSha256,
}

/// Who may log in by which password.
#[derive(Clone, Default)]
pub(crate) struct Users(Vec<User>);

#[derive(Clone)]
struct User {
    name: String,
    password: String,
    /// Found out at the first login that needs it, by whichever clone.
    salted: Arc<OnceLock<scram::Salted>>,
}

impl User {
    fn salted(&self) -> scram::Salted {
        let find = || scram::salted(&self.name, self.password.as_bytes());
        *self.salted.get_or_init(find)
    }
}

impl Users {
    pub(crate) fn add(&mut self, name: String, password: String) {
        self.0.push(User {
            name,
            password,
            salted: Arc::default(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of this name: it may have several passwords.
    fn named(&self, name: &[u8]) -> impl Iterator<Item = &User> {
        self.0
            .iter()
            .filter(move |user| user.name.as_bytes() == name)
    }

    pub(crate) fn accept(&self, login: &Login) -> bool {
        let mut known = self.named(login.user_bytes());
        match &login.proof {
            Proof::Scram(proof) => known.any(|user| proof.answer(user.salted()).is_some()),
            _ => known.any(|user| login.proves(&user.password)),
        }
    }
}

/// Without the passwords: a log may be read by more people than the test is.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|user| &user.name))
            .finish()
    }
}

/// A client's attempt to log in, to be judged by a hook.
///
/// Its `Debug` shows who it is, and not the password, nor what it could be guessed from; the transcript
/// and the logs show neither. A test that wants to see them asks for them here: in
/// [`on_auth`](crate::Builder::on_auth), or by [`Message::login`](crate::smtp::Message::login).
///
/// User and password are UTF-8 (RFC 4616 section 2), but old clients send them in ISO-8859-1. Octets that
/// are not UTF-8 are given as the text that they are in ISO-8859-1, and as they came by
/// [`user_bytes`](Login::user_bytes) and [`password_bytes`](Login::password_bytes).
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    mechanism: Mechanism,
    user: Octets,
    acting_as: Option<Octets>,
    proof: Proof,
}

#[derive(Clone, PartialEq, Eq)]
enum Proof {
    Password(Octets),
    Digest { challenge: String, digest: String },
    Scram(scram::Proof),
}

/// What a client sent, and how it reads.
#[derive(Clone, PartialEq, Eq)]
struct Octets {
    bytes: Vec<u8>,
    text: String,
}

impl Octets {
    fn new(bytes: Vec<u8>) -> Octets {
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            // The code points of ISO-8859-1 are those of Unicode.
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        };
        Octets { bytes, text }
    }
}

impl Mechanism {
    pub(crate) const ALL: [Mechanism; 4] = [
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::CramMd5,
        Mechanism::ScramSha256,
    ];

    /// Its name in AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// Whether the password itself goes over the wire.
    pub(crate) fn is_plaintext(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login)
    }

    pub(crate) fn from_octets(name: &[u8]) -> Option<Mechanism> {
        Mechanism::from_name(std::str::from_utf8(name).ok()?)
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
        &self.user.text
    }

    /// Who the client says it is, in the octets that it sent.
    pub fn user_bytes(&self) -> &[u8] {
        &self.user.bytes
    }

    /// Whom it wants to act for, when it named someone (the authorization identity; PLAIN and SCRAM-SHA-256
    /// only).
    pub fn acting_as(&self) -> Option<&str> {
        self.acting_as.as_ref().map(|name| &*name.text)
    }

    /// The password, where the mechanism sends it: with PLAIN and LOGIN.
    pub fn password(&self) -> Option<&str> {
        match &self.proof {
            Proof::Password(password) => Some(&password.text),
            Proof::Digest { .. } | Proof::Scram(_) => None,
        }
    }

    /// The password in the octets that the client sent, where the mechanism sends it.
    pub fn password_bytes(&self) -> Option<&[u8]> {
        match &self.proof {
            Proof::Password(password) => Some(&password.bytes),
            Proof::Digest { .. } | Proof::Scram(_) => None,
        }
    }

    /// Whether the client knows `password`, octet by octet; works for every mechanism.
    pub fn proves(&self, password: impl AsRef<[u8]>) -> bool {
        let password = password.as_ref();
        match &self.proof {
            Proof::Password(sent) => sent.bytes == password,
            Proof::Digest { challenge, digest } => {
                let expected = hmac_md5(password, challenge.as_bytes());
                HEXLOWER.encode(&expected) == digest.to_ascii_lowercase()
            }
            Proof::Scram(proof) => proof.proves(password),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user())
            .field("acting_as", &self.acting_as())
            .finish_non_exhaustive()
    }
}

/// An exchange that waits for the client's next response.
pub(crate) enum Exchange {
    Plain,
    LoginUser,
    /// After the user.
    LoginPassword(Vec<u8>),
    CramMd5 {
        challenge: String,
    },
    /// Before the client's first message.
    Scram {
        challenge: String,
    },
    ScramProof(Box<scram::Opening>),
    /// The server has proved that it knows the password too, which the client acknowledges.
    ScramEnd(Login),
}

/// Without what the client has sent.
impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exchange::Plain => "Plain",
            Exchange::LoginUser => "LoginUser",
            Exchange::LoginPassword(_) => "LoginPassword",
            Exchange::CramMd5 { .. } => "CramMd5",
            Exchange::Scram { .. } => "Scram",
            Exchange::ScramProof(_) => "ScramProof",
            Exchange::ScramEnd(_) => "ScramEnd",
        })
    }
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
        users: &Users,
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
            Mechanism::ScramSha256 => {
                let challenge = challenge();
                (Exchange::Scram { challenge }, String::new())
            }
        };
        let step = match initial {
            // "=" stands for a response of no octets, for an empty word would be none at all.
            Some("=") => exchange.respond("", users),
            Some(response) => exchange.respond(response, users),
            None => Step::Challenge(first),
        };
        (exchange, step)
    }

    /// Takes the client's response, a line without its CRLF.
    pub(crate) fn respond(&mut self, response: &str, users: &Users) -> Step {
        if response == "*" {
            return Step::Cancelled;
        }
        let Ok(octets) = BASE64.decode(response.as_bytes()) else {
            return Step::Malformed;
        };
        match self {
            Exchange::Plain => plain(&octets).map_or(Step::Malformed, Step::Done),
            Exchange::LoginUser => {
                *self = Exchange::LoginPassword(octets);
                Step::Challenge(BASE64.encode(b"Password:"))
            }
            Exchange::LoginPassword(user) => Step::Done(Login {
                mechanism: Mechanism::Login,
                user: Octets::new(std::mem::take(user)),
                acting_as: None,
                proof: Proof::Password(Octets::new(octets)),
            }),
            Exchange::CramMd5 { challenge } => {
                cram_md5(octets, challenge).map_or(Step::Malformed, Step::Done)
            }
            Exchange::Scram { challenge } => match scram::Opening::read(&octets, challenge) {
                Some(opening) => {
                    let answer = BASE64.encode(opening.answer().as_bytes());
                    *self = Exchange::ScramProof(Box::new(opening));
                    Step::Challenge(answer)
                }
                None => Step::Malformed,
            },
            Exchange::ScramProof(opening) => match opening.read_proof(&octets) {
                Some(proof) => match scram_login(opening, proof, users) {
                    (login, Some(answer)) => {
                        *self = Exchange::ScramEnd(login);
                        Step::Challenge(BASE64.encode(answer.as_bytes()))
                    }
                    // Without an answer it is refused as any login is.
                    (login, None) => Step::Done(login),
                },
                None => Step::Malformed,
            },
            Exchange::ScramEnd(login) if octets.is_empty() => Step::Done(login.clone()),
            Exchange::ScramEnd(_) => Step::Malformed,
        }
    }
}

/// What a proof comes to, and its answer if it is that of one of `users`.
fn scram_login(
    opening: &scram::Opening,
    proof: scram::Proof,
    users: &Users,
) -> (Login, Option<String>) {
    let octets = |text: &str| Octets::new(text.as_bytes().to_vec());
    let mut known = users.named(opening.user.as_bytes());
    let answer = known.find_map(|user| proof.answer(user.salted()));
    let login = Login {
        mechanism: Mechanism::ScramSha256,
        user: octets(&opening.user),
        acting_as: opening.acting_as.as_deref().map(octets),
        proof: Proof::Scram(proof),
    };
    (login, answer)
}

/// `[acting as] NUL user NUL password` (RFC 4616 section 2).
fn plain(octets: &[u8]) -> Option<Login> {
    let mut parts = octets.split(|&octet| octet == 0);
    let (acting_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let valid = parts.next().is_none() && !user.is_empty();
    valid.then(|| Login {
        mechanism: Mechanism::Plain,
        user: Octets::new(user.to_vec()),
        acting_as: (!acting_as.is_empty()).then(|| Octets::new(acting_as.to_vec())),
        proof: Proof::Password(Octets::new(password.to_vec())),
    })
}

/// `user SP digest` (RFC 2195 section 2); the user may hold spaces, the digest not.
fn cram_md5(mut user: Vec<u8>, challenge: &str) -> Option<Login> {
    let space = user.iter().rposition(|&octet| octet == b' ')?;
    let digest = String::from_utf8(user.split_off(space + 1)).ok()?;
    user.pop();
    Some(Login {
        mechanism: Mechanism::CramMd5,
        user: Octets::new(user),
        acting_as: None,
        proof: Proof::Digest {
            challenge: challenge.to_owned(),
            digest,
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
    use super::scram::tests::second_message;
    use super::*;
    use proptest::prelude::*;

    fn begin(mechanism: Mechanism, initial: Option<&str>) -> (Exchange, Step) {
        Exchange::begin(mechanism, initial, &users(), || {
            "<1896.697170952@postoffice.reston.mci.net>".into()
        })
    }

    fn users() -> Users {
        let mut users = Users::default();
        users.add("bob".to_owned(), "secret".to_owned());
        users
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
        assert_eq!(exchange.respond(&response, &users()), Step::Done(login));
    }

    #[test]
    fn login_at_once_and_after_the_challenge() {
        let (mut exchange, step) = begin(Mechanism::Login, Some("Ym9i"));
        assert_eq!(step, Step::Challenge("UGFzc3dvcmQ6".into()));
        let Step::Done(login) = exchange.respond("c2VjcmV0", &users()) else {
            panic!()
        };
        assert_eq!((login.user(), login.password()), ("bob", Some("secret")));
        let (mut exchange, step) = begin(Mechanism::Login, None);
        assert_eq!(step, Step::Challenge("VXNlcm5hbWU6".into()));
        exchange.respond("Ym9i", &users());
        assert_eq!(exchange.respond("c2VjcmV0", &users()), Step::Done(login));
    }

    #[test]
    fn octets_that_are_not_utf8_read_as_latin1_and_are_kept() {
        let done = |step| match step {
            Step::Done(login) => login,
            step => panic!("{step:?}"),
        };
        let response = BASE64.encode(b"\0j\xf6rg\0p\xe4ss");
        let plain = done(begin(Mechanism::Plain, Some(&response)).1);
        let (mut exchange, _) = begin(Mechanism::Login, Some(&BASE64.encode(b"j\xf6rg")));
        let login = done(exchange.respond(&BASE64.encode(b"p\xe4ss"), &users()));
        for login in [plain, login] {
            assert_eq!((login.user(), login.password()), ("jörg", Some("päss")));
            assert_eq!(login.user_bytes(), b"j\xf6rg");
            assert_eq!(login.password_bytes(), Some(&b"p\xe4ss"[..]));
            assert!(login.proves(b"p\xe4ss") && !login.proves("päss"));
        }
        let (mut exchange, _) = begin(Mechanism::CramMd5, None);
        let login = done(exchange.respond(&BASE64.encode(b"j\xf6rg x"), &users()));
        assert_eq!(
            (login.user(), login.user_bytes()),
            ("jörg", &b"j\xf6rg"[..])
        );
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
            exchange.respond("dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw", &users())
        else {
            panic!()
        };
        assert_eq!((login.user(), login.password()), ("tim", None));
        assert!(login.proves("tanstaaftanstaaf") && !login.proves("wrong"));
        assert_eq!(begin(Mechanism::CramMd5, Some("dGlt")).1, Step::Malformed);
    }

    #[test]
    fn scram_proves_the_password_to_both() {
        let opening = "n,,n=bob,r=abc";
        let end = |password: &str| {
            let (mut exchange, step) = begin(Mechanism::ScramSha256, None);
            assert_eq!(step, Step::Challenge(String::new()));
            let step = exchange.respond(&BASE64.encode(opening.as_bytes()), &users());
            let Step::Challenge(answer) = step else {
                panic!("{step:?}")
            };
            let answer = String::from_utf8(BASE64.decode(answer.as_bytes()).unwrap()).unwrap();
            let second = second_message(opening, &answer, password);
            let step = exchange.respond(&BASE64.encode(second.as_bytes()), &users());
            (exchange, step)
        };
        let (mut exchange, step) = end("secret");
        let Step::Challenge(answer) = step else {
            panic!("{step:?}")
        };
        assert!(BASE64.decode(answer.as_bytes()).unwrap().starts_with(b"v="));
        // The client has only to acknowledge.
        let Step::Done(login) = exchange.respond("", &users()) else {
            panic!()
        };
        assert_eq!((login.user(), login.password()), ("bob", None));
        assert!(login.proves("secret") && !login.proves("wrong") && users().accept(&login));
        assert_eq!(end("secret").0.respond("Ym9i", &users()), Step::Malformed);
        let (_, step) = end("wrong");
        let Step::Done(login) = step else {
            panic!("{step:?}")
        };
        assert!(!users().accept(&login));
        let at_once = BASE64.encode(opening.as_bytes());
        let (_, step) = begin(Mechanism::ScramSha256, Some(&at_once));
        assert!(matches!(step, Step::Challenge(_)), "{step:?}");
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
        ] {
            assert_eq!(
                begin(Mechanism::Plain, Some(response)).1,
                Step::Malformed,
                "{response}"
            );
        }
        let (mut exchange, _) = begin(Mechanism::Plain, None);
        assert_eq!(exchange.respond("*", &users()), Step::Cancelled);
        let (mut exchange, _) = begin(Mechanism::CramMd5, None);
        assert_eq!(
            exchange.respond(&BASE64.encode(b"bob"), &users()),
            Step::Malformed
        );
    }

    proptest! {
        #[test]
        fn any_response_leads_somewhere(octets in any::<Vec<u8>>(), text in any::<String>()) {
            for response in [BASE64.encode(&octets), text] {
                for mechanism in Mechanism::ALL {
                    let (mut exchange, _) = begin(mechanism, None);
                    let _ = (exchange.respond(&response, &users()), begin(mechanism, Some(&response)));
                }
            }
        }
    }
}
