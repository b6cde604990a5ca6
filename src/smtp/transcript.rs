//! What was said on the last connections, for the message of a wait that ran out.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections whose words are kept.
const MAX_SESSIONS: usize = 16;
/// Octets kept of one connection, its latest; up to twice as many while it lasts.
const MAX_KEPT: usize = 8 * 1024;

/// The transcripts of a server's last connections.
#[derive(Debug, Default)]
pub(crate) struct Transcripts {
    sessions: Mutex<VecDeque<Arc<Transcript>>>,
}

/// What was said on one connection.
#[derive(Debug)]
pub(crate) struct Transcript {
    peer: String,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// Earlier lines were dropped.
    cut: bool,
    older: String,
    recent: String,
}

impl Transcripts {
    /// Begins the transcript of a connection, and drops the oldest one's if there are too many.
    pub(crate) fn begin(&self, peer: String) -> Arc<Transcript> {
        let transcript = Arc::new(Transcript {
            peer,
            said: Mutex::default(),
        });
        let mut sessions = lock(&self.sessions);
        if sessions.len() == MAX_SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back(Arc::clone(&transcript));
        transcript
    }

    /// Each connection's transcript, the oldest first.
    pub(crate) fn all(&self) -> Vec<String> {
        let sessions: Vec<_> = lock(&self.sessions).iter().cloned().collect();
        sessions.iter().map(|session| session.text()).collect()
    }
}

impl Transcript {
    /// Adds whole lines, which are kept up to a limit.
    pub(crate) fn add(&self, lines: &str) {
        let mut said = lock(&self.said);
        if said.recent.len() + lines.len() > MAX_KEPT {
            said.cut |= !said.older.is_empty();
            said.older = std::mem::take(&mut said.recent);
        }
        said.recent.push_str(lines);
        if said.recent.len() > MAX_KEPT {
            let from = said.recent.len() - MAX_KEPT;
            let line = said.recent.as_bytes()[from..]
                .iter()
                .position(|&byte| byte == b'\n');
            let from = line.map_or(said.recent.len(), |line| from + line + 1);
            said.recent.drain(..from);
            said.cut = true;
        }
    }

    fn text(&self) -> String {
        let said = lock(&self.said);
        let mut text = String::new();
        let _ = writeln!(text, "{}:", self.peer);
        if said.cut {
            text.push_str("(earlier lines dropped)\n");
        }
        text.push_str(&said.older);
        text.push_str(&said.recent);
        text
    }
}

/// A panic elsewhere leaves whole lines behind, so there is nothing to protect from it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_are_kept() {
        let transcripts = Transcripts::default();
        let transcript = transcripts.begin("client".into());
        transcript.add("C: first\n");
        assert_eq!(transcripts.all(), ["client:\nC: first\n"]);
        for number in 0..10_000 {
            transcript.add(&format!("C: {number}\n"));
        }
        let text = &transcripts.all()[0];
        assert!(text.len() <= 2 * MAX_KEPT + 100, "{}", text.len());
        assert!(text.starts_with("client:\n(earlier lines dropped)\nC: "));
        assert!(text.ends_with("\nC: 9999\n"));
    }

    #[test]
    fn many_lines_at_once_are_cut_at_a_line() {
        let transcripts = Transcripts::default();
        let transcript = transcripts.begin("client".into());
        transcript.add(&"C: é\n".repeat(10_000));
        let text = &transcripts.all()[0];
        assert!(text.len() <= MAX_KEPT + 100 && text.contains(")\nC: é\n"));
        transcript.add(&"x".repeat(3 * MAX_KEPT));
        assert!(transcripts.all()[0].len() <= 2 * MAX_KEPT + 100);
    }

    #[test]
    fn the_latest_connections_are_kept() {
        let transcripts = Transcripts::default();
        for number in 0..100 {
            transcripts.begin(format!("client {number}"));
        }
        let all = transcripts.all();
        assert_eq!((all.len(), all[0].as_str()), (MAX_SESSIONS, "client 84:\n"));
    }
}
