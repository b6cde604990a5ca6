//! What the ready-made kinds of tunnel have in common.

pub(crate) mod attached;
pub(crate) mod custom;
pub(crate) mod forward;
pub(crate) mod http_connect;
pub(crate) mod proxy_protocol;
pub(crate) mod socks4;
pub(crate) mod socks5;

use std::fmt;
use std::io;
use std::process::Command;

use crate::deadline::prose;
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::programs::template::{Login, Template};
use crate::tunnel::route::Route;

/// How a kind's programs are started, and what is known of them whatever they speak.
pub(crate) struct Base {
    start: Start,
    pub(crate) slug: String,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) binds_outgoing: bool,
}

/// Where the programs come from.
pub(crate) enum Start {
    /// Nowhere: for [`Attached`](crate::tunnel::Attached).
    Nothing,
    Closure(Box<dyn Fn(&Route) -> Command + Send + Sync>),
    Template(Template),
}

impl Base {
    pub(crate) fn new(start: Start, slug: &str) -> Base {
        Base {
            start,
            slug: slug.to_owned(),
            user: None,
            password: None,
            binds_outgoing: false,
        }
    }

    pub(crate) fn command(&self, route: &Route) -> io::Result<Command> {
        match &self.start {
            Start::Closure(command) => Ok(command(route)),
            Start::Template(_) => Err(unsupported("a template is made by `programs`")),
            Start::Nothing => Err(unsupported(
                "it has no command: `spawn` and `template` give it one, and `Attached` says where one runs",
            )),
        }
    }

    pub(crate) fn programs(&self, setup: &mut Setup) -> io::Result<Vec<Program>> {
        let login = Login {
            user: self.user.as_deref(),
            password: self.password.as_deref(),
        };
        match &self.start {
            Start::Template(template) => template.programs(setup, &login),
            _ => Ok(vec![self.command(setup.route())?.into()]),
        }
    }

    /// User and password, if both are set.
    pub(crate) fn credentials(&self) -> Option<(&[u8], &[u8])> {
        self.user.as_deref().zip(self.password.as_deref())
    }

    pub(crate) fn log_in(&mut self, user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) {
        self.user = Some(user.into());
        self.password = Some(password.into());
    }
}

// A password has no place in a log.
impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref();
        f.debug_struct("Base")
            .field("start", &self.start)
            .field("slug", &self.slug)
            .field("user", &user.map(|user| user.escape_ascii().to_string()))
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("binds_outgoing", &self.binds_outgoing)
            .finish()
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Nothing => f.write_str("Nothing"),
            Start::Closure(_) => f.write_str("Closure"),
            Start::Template(template) => template.fmt(f),
        }
    }
}

fn unsupported(text: &str) -> io::Error {
    prose(io::ErrorKind::Unsupported, text.to_owned())
}

/// The constructors and options of a kind that has a [`Base`] in its field `base`, and a function
/// `from_base`.
macro_rules! kind {
    ($kind:ident, $slug:literal) => {
        impl $kind {
            #[doc = concat!(
                "One without a program of its own: for [`Attached`](crate::tunnel::Attached), which tells \
                 where one runs. Its name is `", $slug, "` unless [set](Self::named)."
            )]
            pub fn new() -> $kind {
                $kind::from_base(Base::new(Start::Nothing, $slug))
            }

            /// One that is started by the command that `command` makes for a route, in the
            /// foreground.
            pub fn spawn(command: impl Fn(&Route) -> Command + Send + Sync + 'static) -> $kind {
                let start = Start::Closure(Box::new(command));
                $kind::from_base(Base::new(start, $slug))
            }

            /// One that is started by a command line with placeholders, or by several, with
            /// configuration files.
            pub fn template(template: impl Into<Template>) -> $kind {
                let start = Start::Template(template.into());
                $kind::from_base(Base::new(start, $slug))
            }

            #[doc = concat!("The name in reports; `", $slug, "` unless set.")]
            #[must_use]
            pub fn named(mut self, name: impl Into<String>) -> $kind {
                self.base.slug = name.into();
                self
            }

            /// Whether the program is told to connect from [`Route::outgoing`]; then the source of
            /// its connections is checked, otherwise only noted. `false` unless set.
            #[must_use]
            pub fn binds_outgoing(mut self, binds: bool) -> $kind {
                self.base.binds_outgoing = binds;
                self
            }
        }

        impl Default for $kind {
            fn default() -> $kind {
                $kind::new()
            }
        }
    };
}

/// The methods of [`Tunnel`](crate::tunnel::Tunnel) that a kind's [`Base`] answers.
macro_rules! by_base {
    () => {
        fn slug(&self) -> String {
            self.base.slug.clone()
        }

        fn command(&self, route: &Route) -> io::Result<Command> {
            self.base.command(route)
        }

        fn programs(&self, setup: &mut Setup) -> io::Result<Vec<Program>> {
            self.base.programs(setup)
        }

        fn binds_outgoing(&self) -> bool {
            self.base.binds_outgoing
        }

        fn credentials(&self) -> Option<(&[u8], &[u8])> {
            self.base.credentials()
        }
    };
}

pub(crate) use {by_base, kind};
