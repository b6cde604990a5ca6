//! Whether the table breaks each check: one that no mutation breaks may be blind, and nobody would notice.

use std::collections::BTreeMap;

use loopback::tunnel::{Outcome, Report, Suite};

/// The checks that no row breaks, for the reason that stands there.
const UNBROKEN: &[&str] = &[
    // An ordinary connection, which is tried before: what breaks it does not get as far as here.
    "connect/rfc7617/2/right",
    "connect/rfc9110/9.3.6/connect",
    "connect/rfc9110/9.3.6/ipv4",
    "socks4a/connect",
    "socks5/rfc1928/3/no-auth",
    "socks5/rfc1928/4/connect",
    "socks5/rfc1928/5/ipv4",
    "socks5/rfc1929/2/right",
    // A daemon that nobody finds breaks it, in a test that ends the daemon: see `leaves-hidden-daemon` in `life`.
    "connectivity/*/port-closed",
];

/// The checks that were made, and whether one of them was broken in any row.
#[derive(Debug, Default)]
pub(super) struct Coverage(BTreeMap<String, bool>);

impl Coverage {
    /// Adds what a row has seen. `names` tells whether a check of this id is what the row is about: others break
    /// where nothing gets through at all, and that says little of them.
    pub(super) fn add(&mut self, reports: &[Report], names: impl Fn(&str) -> bool) {
        let checks = reports.iter().flat_map(Report::checks);
        let judged = checks.filter(|check| {
            check.outcome() != Outcome::Skipped
                && check.suite() != Suite::Behaviour.name()
                && !check.id().ends_with("/cut")
                // It is told where it fails only.
                && !check.id().ends_with("/ordinary")
        });
        for check in judged {
            let breaks = matches!(check.outcome(), Outcome::Failed | Outcome::Deviates);
            *self.0.entry(counted_as(check.id())).or_default() |= breaks && names(check.id());
        }
    }

    /// What is wrong with the table, or with the list of what it does not break.
    pub(super) fn gaps(&self) -> Vec<String> {
        let listed = |id: &str| UNBROKEN.contains(&id);
        let unbroken = self.0.iter().filter(|(_, broken)| !**broken);
        let missing = unbroken
            .filter(|(id, _)| !listed(id))
            .map(|(id, _)| format!("no row breaks {id}"));
        let needless = UNBROKEN.iter().filter_map(|id| match self.0.get(*id) {
            Some(false) => None,
            Some(true) => Some(format!(
                "a row breaks {id}, of which UNBROKEN says that none does"
            )),
            None => Some(format!("UNBROKEN says {id}, and no such check is made")),
        });
        missing.chain(needless).collect()
    }
}

/// The id with `*` in place of the families. The checks of SOCKS4 are made for SOCKS4a too, by the same code.
fn counted_as(id: &str) -> String {
    let parts: Vec<&str> = id.split('/').collect();
    let is_families = |part: &str| matches!(part, "44" | "46" | "64" | "66");
    match parts[..] {
        [suite, families, ref rest @ ..] if is_families(families) => {
            format!("{suite}/*/{}", rest.join("/"))
        }
        ["socks4", ref rest @ ..] => format!("socks4a/{}", rest.join("/")),
        _ => id.to_owned(),
    }
}
