//! Who may use the proxy.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Mutex;

use crate::mutation::Mutation;
use crate::options::Options;

/// What wrong proxies remember of earlier logins; a right one remembers nothing.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    good: Mutex<HashSet<IpAddr>>,
    bad: Mutex<HashSet<IpAddr>>,
}

impl Logins {
    /// Whether this user may go on. Without a login set, everybody may.
    pub(crate) fn check(
        &self,
        options: &Options,
        from: IpAddr,
        user: &[u8],
        password: &[u8],
    ) -> bool {
        let Some((right_user, right_password)) = &options.login else {
            return true;
        };
        let users_match = user == right_user || options.has(Mutation::AcceptsAnyUser);
        let right = users_match && passwords_match(options, password, right_password);
        let lock = "no thread panics with it";
        let (mut good, mut bad) = (self.good.lock().expect(lock), self.bad.lock().expect(lock));
        match right {
            true => good.insert(from),
            false => bad.insert(from),
        };
        let cached_good = options.has(Mutation::AcceptsAfterGoodLogin) && good.contains(&from);
        let cached_bad = options.has(Mutation::CachesBadLogin) && bad.contains(&from);
        (right || cached_good) && !cached_bad
    }
}

fn passwords_match(options: &Options, given: &[u8], right: &[u8]) -> bool {
    let up_to = |bytes: &[u8], end: u8| {
        let length = bytes.iter().position(|byte| *byte == end);
        bytes[..length.unwrap_or(bytes.len())].to_vec()
    };
    given == right
        || options.has(Mutation::AcceptsAnyPassword)
        || options.has(Mutation::AcceptsPrefix) && !given.is_empty() && right.starts_with(given)
        || options.has(Mutation::CutsAtNul) && up_to(given, 0) == right
        || options.has(Mutation::CutsAtColon) && up_to(given, b':') == up_to(right, b':')
}
