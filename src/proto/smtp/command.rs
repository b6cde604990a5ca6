//! Command lines (RFC 5321 section 4.1.1).

use super::{Config, Extension};

/// The longest line of an AUTH exchange, its CRLF counted (RFC 4954 section 4).
pub(crate) const MAX_AUTH_LINE: usize = 12288 + 2;

/// A command's verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Ehlo,
    Helo,
    /// LMTP's EHLO (RFC 2033 section 4.1).
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    Auth,
    StartTls,
    /// Known from an RFC, but nothing that this server does.
    NotImplemented,
    Unknown,
}

const VERBS: [(&str, Verb); 21] = [
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("LHLO", Verb::Lhlo),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("VRFY", Verb::Vrfy),
    ("HELP", Verb::Help),
    ("QUIT", Verb::Quit),
    ("AUTH", Verb::Auth),
    ("STARTTLS", Verb::StartTls),
    ("EXPN", Verb::NotImplemented),
    ("ETRN", Verb::NotImplemented),
    ("ATRN", Verb::NotImplemented),
    ("TURN", Verb::NotImplemented),
    ("SEND", Verb::NotImplemented),
    ("SOML", Verb::NotImplemented),
    ("SAML", Verb::NotImplemented),
];

/// The commands that HELP names.
pub(crate) const HELP: &str =
    "commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT AUTH";

/// Splits a line without its CRLF into verb and argument. White space at the end does not count
/// (RFC 5321 section 4.1.1). `None` when the line holds what no command can: a CR, LF or NUL, or
/// octets that are not UTF-8.
pub(crate) fn split(line: &[u8]) -> Option<(Verb, &str)> {
    let text = std::str::from_utf8(line).ok()?;
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return None;
    }
    let text = text.trim_end_matches([' ', '\t']);
    let (word, argument) = text.split_once(' ').unwrap_or((text, ""));
    let verb = VERBS
        .iter()
        .find_map(|(name, verb)| name.eq_ignore_ascii_case(word).then_some(*verb));
    Some((verb.unwrap_or(Verb::Unknown), argument))
}

/// The longest line of `verb`, its CRLF counted. What each extension adds is in its RFC: 1870 section
/// 3, 6152 section 2, 6531 section 3.1, 4954 section 3, 3461 section 4.
pub(crate) fn max_line(verb: Verb, config: &Config) -> usize {
    let add = |extension, more| {
        if config.extensions.has(extension) {
            more
        } else {
            0
        }
    };
    let more = match verb {
        Verb::Mail => {
            add(Extension::Size, 26)
                + add(Extension::EightBitMime, 17)
                + add(Extension::SmtpUtf8, 10)
                + add(Extension::Auth, 500)
                + add(Extension::Dsn, 107)
        }
        Verb::Rcpt => add(Extension::Dsn, 500),
        Verb::Vrfy => add(Extension::SmtpUtf8, 10),
        Verb::Auth => add(Extension::Auth, MAX_AUTH_LINE),
        _ => 0,
    };
    config.max_command + more
}

/// The argument of `MAIL FROM:` or `RCPT TO:` after the colon; `word` is with it.
pub(crate) fn after_word<'a>(argument: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = argument.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

/// What a BDAT says of its chunk (RFC 3030 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// So many octets, and whether they are the last.
    Good { size: u64, last: bool },
    /// Not as it has to be written, but so many octets are meant.
    Countable { size: u64, last: bool },
    /// Nobody can tell where the chunk ends.
    Uncountable,
}

/// A chunk larger than this would never end: RFC 1870 has sizes of up to 20 digits.
const MOST_DIGITS: usize = 18;

/// Whether `line` is a BDAT, however its argument is written: octets follow it that are no commands.
pub(crate) fn is_chunk_command(line: &[u8]) -> bool {
    let Some((verb, rest)) = line.split_at_checked(4) else {
        return false;
    };
    let ends = rest
        .first()
        .is_none_or(|byte| !byte.is_ascii_alphanumeric());
    ends && verb.eq_ignore_ascii_case(b"BDAT")
}

/// Whether `line` may hold what AUTH brings, however it is written.
pub(crate) fn is_auth(line: &[u8]) -> bool {
    line.get(..4)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"))
}

/// Where an AUTH ends that stands elsewhere than at the beginning, in a line that is no command: behind a space, say, or
/// behind the line end of a client that mixes them. What follows it may be what AUTH brings.
pub(crate) fn hidden_auth(line: &[u8], verb: Verb) -> Option<usize> {
    if verb != Verb::Unknown && !line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return None;
    }
    let mut words = line.windows(4);
    let at = words.position(|word| word.eq_ignore_ascii_case(b"AUTH"))?;
    Some(at + 4)
}

/// Reads what follows the verb BDAT in `line`.
pub(crate) fn chunk(line: &[u8]) -> Chunk {
    let text = line.get(4..).unwrap_or_default();
    let mut words = text
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let Some(size) = words.next().and_then(decimal) else {
        return Chunk::Uncountable;
    };
    if text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        // A part of the chunk may be in this line already.
        return Chunk::Uncountable;
    }
    let word = words.next();
    let last = word.is_some_and(|word| word.eq_ignore_ascii_case(b"LAST"));
    let as_written = text.trim_ascii_end();
    let single_spaces = as_written.starts_with(b" ")
        && !as_written.windows(2).any(|pair| pair == b"  ")
        && !as_written.contains(&b'\t');
    if single_spaces && words.next().is_none() && (last || word.is_none()) {
        Chunk::Good { size, last }
    } else {
        Chunk::Countable { size, last }
    }
}

fn decimal(word: &[u8]) -> Option<u64> {
    if !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = word.iter().take_while(|&&digit| digit == b'0').count();
    let digits = &word[zeros..];
    let value = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
    (digits.len() <= MOST_DIGITS).then(|| digits.iter().fold(0, value))
}

/// What EHLO and HELO bring: a word of printable characters (a domain or an address literal; a test
/// client's own name is seldom a proper domain, so nothing more is asked). Leniently it may be several
/// words, or none.
pub(crate) fn is_host(argument: &str, lenient: bool) -> bool {
    let has_space = argument.chars().any(char::is_whitespace);
    let is_word = !argument.is_empty() && !has_space;
    (lenient || is_word) && !argument.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_in_any_case_and_their_arguments() {
        assert_eq!(split(b"mAiL FROM:<>"), Some((Verb::Mail, "FROM:<>")));
        assert_eq!(split(b"DATA \t "), Some((Verb::Data, "")));
        assert_eq!(split(b"noop  x "), Some((Verb::Noop, " x")));
        assert_eq!(split(b"expn list"), Some((Verb::NotImplemented, "list")));
        assert_eq!(
            split(b"GET / HTTP/1.1"),
            Some((Verb::Unknown, "/ HTTP/1.1"))
        );
        assert_eq!(split(b""), Some((Verb::Unknown, "")));
        assert_eq!(split(b"DATAx"), Some((Verb::Unknown, "")));
    }

    #[test]
    fn what_no_command_can_hold() {
        for line in [&b"NOOP\n"[..], b"NOOP\rx", b"NOOP \0", b"NOOP \xff"] {
            assert_eq!(split(line), None);
        }
    }

    #[test]
    fn extensions_make_lines_longer() {
        let mut config = Config::default();
        assert_eq!(max_line(Verb::Noop, &config), 512);
        assert_eq!(max_line(Verb::Mail, &config), 512 + 26 + 17 + 10 + 107);
        assert_eq!(max_line(Verb::Rcpt, &config), 512 + 500);
        config.extensions = super::super::Extensions::none();
        assert_eq!(max_line(Verb::Mail, &config), 512);
        assert_eq!(max_line(Verb::Auth, &config), 512);
    }

    #[test]
    fn chunks() {
        let good = |size, last| Chunk::Good { size, last };
        assert_eq!(chunk(b"BDAT 12"), good(12, false));
        assert_eq!(chunk(b"bdat 0 last"), good(0, true));
        assert_eq!(chunk(b"BDAT 00000000000000000007 "), good(7, false));
        for (line, last) in [
            ("BDAT  7", false),
            ("BDAT\t7", false),
            ("BDAT 7 FIRST", false),
            ("BDAT 7  LAST", true),
            ("BDAT 7 LAST LAST", true),
            ("BDAT 7 FIRST LAST", false),
        ] {
            let expected = Chunk::Countable { size: 7, last };
            assert_eq!(chunk(line.as_bytes()), expected, "{line}");
        }
        for line in [
            "BDAT",
            "BDAT ",
            "BDAT +7",
            "BDAT -7",
            "BDAT 7LAST",
            "BDAT x",
            "BDAT LAST 7",
            "BDAT 7\nRSET",
            "BDAT 10000000000000000000",
            "BDAT 99999999999999999999",
        ] {
            assert_eq!(chunk(line.as_bytes()), Chunk::Uncountable, "{line}");
        }
    }

    #[test]
    fn chunk_commands_are_known_however_they_go_on() {
        for line in ["BDAT", "bDaT 7", "BDAT\t7", "BDAT +7"] {
            assert!(is_chunk_command(line.as_bytes()), "{line}");
        }
        for line in ["BDA", "BDAT7", "BDATA 7", "DATA", " BDAT 7"] {
            assert!(!is_chunk_command(line.as_bytes()), "{line}");
        }
    }
}
