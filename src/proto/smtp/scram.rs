//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as a server speaks it, without channel binding.

use data_encoding::BASE64;
use hmac_sha256::{HMAC, Hash};

/// How often the password is hashed: the least that RFC 7677 section 4 asks for.
const ITERATIONS: u32 = 4096;
const SALT: usize = 16;

/// Longer than any client's. The answer, which repeats it, must fit a line of AUTH (RFC 4954 section 4).
const LONGEST_NONCE: usize = 4096;

/// What the client has begun with, and what it was answered.
pub(super) struct Opening {
    pub(super) user: String,
    pub(super) acting_as: Option<String>,
    /// `gs2-header`, which the client repeats in its second message.
    header: String,
    /// `client-first-message-bare`.
    bare: String,
    nonce: String,
    salt: [u8; SALT],
    /// `server-first-message`.
    answer: String,
}

/// What a client has proved, to whoever knows the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proof {
    salt: [u8; SALT],
    auth_message: String,
    proof: [u8; 32],
}

impl Opening {
    /// Reads `client-first-message`; `challenge` is unique to the exchange and becomes part of the nonce. `None`
    /// is a message that is none, or asks for channel binding or an extension that must be known.
    pub(super) fn read(message: &[u8], challenge: &str) -> Option<Opening> {
        let message = std::str::from_utf8(message).ok()?;
        let (flag, rest) = message.split_once(',')?;
        // "y": the client could bind to a channel, and has seen that this server does not offer it.
        if !matches!(flag, "n" | "y") {
            return None;
        }
        let (authzid, bare) = rest.split_once(',')?;
        let acting_as = match authzid {
            "" => None,
            named => Some(name(named.strip_prefix("a=")?)?),
        };
        let mut attributes = bare.split(',');
        let user = name(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if nonce.is_empty() || nonce.len() > LONGEST_NONCE || !nonce.chars().all(is_printable) {
            return None;
        }
        let own = challenge.chars().filter(|&c| is_printable(c));
        let nonce: String = nonce.chars().chain(own).collect();
        let salt = salt(&user);
        let answer = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(&salt));
        Some(Opening {
            user,
            acting_as,
            header: format!("{flag},{authzid},"),
            bare: bare.to_owned(),
            nonce,
            salt,
            answer,
        })
    }

    /// `server-first-message`.
    pub(super) fn answer(&self) -> &str {
        &self.answer
    }

    /// Reads `client-final-message`. `None` is one that is none, or of another exchange.
    pub(super) fn read_proof(&self, message: &[u8]) -> Option<Proof> {
        let message = std::str::from_utf8(message).ok()?;
        let (signed, proof) = message.rsplit_once(",p=")?;
        let mut attributes = signed.split(',');
        let binding = BASE64.decode(attributes.next()?.strip_prefix("c=")?.as_bytes());
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let same = binding.ok()? == self.header.as_bytes() && nonce == self.nonce;
        let proof = BASE64.decode(proof.as_bytes()).ok()?.try_into().ok()?;
        same.then(|| Proof {
            salt: self.salt,
            auth_message: format!("{},{},{signed}", self.bare, self.answer),
            proof,
        })
    }
}

impl Proof {
    /// Whether the client knows this password. It is hashed as it is, not prepared (RFC 4013).
    pub(super) fn proves(&self, password: &[u8]) -> bool {
        self.answer(hi(password, &self.salt)).is_some()
    }

    /// `server-final-message`, by which the server proves that it knows the password too, of which this is the
    /// `SaltedPassword`; `None` if the client does not know it.
    pub(super) fn answer(&self, salted: Salted) -> Option<String> {
        let key = HMAC::mac(b"Client Key", salted);
        let signature = HMAC::mac(&self.auth_message, Hash::hash(&key));
        if xor(key, signature) != self.proof {
            return None;
        }
        let key = HMAC::mac(b"Server Key", salted);
        let signature = HMAC::mac(&self.auth_message, key);
        Some(format!("v={}", BASE64.encode(&signature)))
    }
}

/// `SaltedPassword`, which takes thousands of hashes to find: a server keeps it.
pub(super) type Salted = [u8; 32];

pub(super) fn salted(user: &str, password: &[u8]) -> Salted {
    hi(password, &salt(user))
}

/// The same at each login, as it would be if it were kept with the password.
fn salt(user: &str) -> [u8; SALT] {
    let hash = Hash::hash(user.as_bytes());
    std::array::from_fn(|at| hash[at])
}

/// `Hi` of RFC 5802 section 2.2, which is one block of PBKDF2.
fn hi(password: &[u8], salt: &[u8]) -> Salted {
    let keyed = HMAC::new(password);
    let mac = |text: &[u8]| {
        let mut mac = keyed.clone();
        mac.update(text);
        mac.finalize()
    };
    let mut last = mac(&[salt, &1u32.to_be_bytes()].concat());
    let mut all = last;
    for _ in 1..ITERATIONS {
        last = mac(&last);
        all = xor(all, last);
    }
    all
}

fn xor(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| one[at] ^ other[at])
}

/// A `saslname`, in which `=2C` is a comma and `=3D` an equals sign, and no others stand.
fn name(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match part.strip_prefix("2C") {
            Some(rest) => (',', rest),
            None => ('=', part.strip_prefix("3D")?),
        };
        name.push(sign);
        name.push_str(rest);
    }
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

/// `printable` of RFC 5802 section 7: no comma.
fn is_printable(c: char) -> bool {
    c.is_ascii_graphic() && c != ','
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a client who knows the password sends second.
    pub(crate) fn second_message(opening: &str, answer: &str, password: &str) -> String {
        let mut attributes = answer.split(',');
        let signed = format!("c=biws,{}", attributes.next().unwrap());
        let salt = attributes.next().unwrap().strip_prefix("s=").unwrap();
        let salt = BASE64.decode(salt.as_bytes()).unwrap();
        let bare = opening.strip_prefix("n,,").unwrap();
        let key = HMAC::mac(b"Client Key", hi(password.as_bytes(), &salt));
        let auth_message = format!("{bare},{answer},{signed}");
        let proof = xor(key, HMAC::mac(auth_message, Hash::hash(&key)));
        format!("{signed},p={}", BASE64.encode(&proof))
    }

    /// The example of RFC 7677 section 3.
    fn example() -> Opening {
        let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let answer = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        Opening {
            salt: salt.try_into().unwrap(),
            nonce: nonce.to_owned(),
            answer,
            ..Opening::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "x").unwrap()
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        let proof = example().read_proof(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        let proof = proof.unwrap();
        let answer = |password: &[u8]| proof.answer(hi(password, &example().salt));
        assert_eq!(
            answer(b"pencil").as_deref(),
            Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
        assert_eq!(answer(b"Pencil"), None);
        assert!(proof.proves(b"pencil") && !proof.proves(b"Pencil"));
    }

    #[test]
    fn the_nonce_goes_on_with_what_is_the_servers() {
        let opening =
            Opening::read(b"y,a=boss,n=b=2Co=3Db,r=abc,x=1", "<1,2 3@ho\u{e4}st>").unwrap();
        assert_eq!(opening.user, "b,o=b");
        assert_eq!(opening.acting_as.as_deref(), Some("boss"));
        assert!(opening.answer().starts_with("r=abc<123@host>,s="));
        assert!(opening.answer().ends_with("==,i=4096"));
    }

    #[test]
    fn what_is_no_first_message() {
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=bob",
            "n,,n=,r=abc",
            "n,,n=bob,r=",
            "n,,n=bob,r=a b",
            "n,,n=b=2cob,r=abc",
            "n,,n=b=,r=abc",
            "n,,m=x,n=bob,r=abc",
            "n,boss,n=bob,r=abc",
            "p=tls-unique,,n=bob,r=abc",
            "x,,n=bob,r=abc",
        ] {
            assert!(
                Opening::read(message.as_bytes(), "x").is_none(),
                "{message}"
            );
        }
        assert!(Opening::read(b"n,,n=b\xf6b,r=abc", "x").is_none());
        let long = |length| format!("n,,n=bob,r={}", "x".repeat(length));
        assert!(Opening::read(long(LONGEST_NONCE).as_bytes(), "x").is_some());
        assert!(Opening::read(long(LONGEST_NONCE + 1).as_bytes(), "x").is_none());
    }

    #[test]
    fn what_is_no_second_message_or_of_another_exchange() {
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        for message in [
            String::new(),
            format!("c=biws,r={nonce}"),
            format!("c=biws,r={nonce},p="),
            format!("c=biws,r={nonce},p=AAAA"),
            format!("c=eSws,r={nonce},p={proof}"),
            format!("c=biws,r={nonce}x,p={proof}"),
            format!("r={nonce},c=biws,p={proof}"),
        ] {
            assert!(
                example().read_proof(message.as_bytes()).is_none(),
                "{message}"
            );
        }
    }
}
