//! Command lines (RFC 5321 section 4.1.1).

use super::{Config, Extension};

/// The longest line of an AUTH exchange, its CRLF counted (RFC 4954 section 4).
pub(crate) const MAX_AUTH_LINE: usize = 12288 + 2;

/// A command's verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Ehlo,
    Helo,
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

const VERBS: [(&str, Verb); 20] = [
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
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

/// The size of BDAT's chunk, and whether it is the last (RFC 3030 section 2).
pub(crate) fn chunk(argument: &str) -> Option<(u64, bool)> {
    let (size, last) = match argument.split_once(' ') {
        Some((size, word)) if word.eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return None,
        None => (argument, false),
    };
    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    Some((size.parse().ok().filter(|_| digits)?, last))
}

/// What EHLO and HELO bring: a word of printable characters (a domain or an address literal; a test
/// client's own name is seldom a proper domain, so nothing more is asked).
pub(crate) fn is_host(argument: &str) -> bool {
    !argument.is_empty()
        && argument
            .chars()
            .all(|c| !c.is_whitespace() && !c.is_control())
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
        assert_eq!(chunk("12"), Some((12, false)));
        assert_eq!(chunk("0 last"), Some((0, true)));
        for argument in [
            "",
            " 1",
            "+1",
            "-1",
            "1 FIRST",
            "1  LAST",
            "x",
            "99999999999999999999999",
        ] {
            assert_eq!(chunk(argument), None, "{argument}");
        }
    }
}
