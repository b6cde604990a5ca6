//! SMTP from clients that are not ours.

use std::time::Duration;

use libtest_mimic::Trial;
use loopback::smtp::{Extension, Mechanism, Message, Reply, Stage};
use loopback::{Builder, Smtp, TestSmtpServer};

use crate::{needs, python, run, run_with_input, succeeded};

const LONG: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    let python = |name, test| needs("python3", "python3", name, test);
    vec![
        python("smtp::python_smtplib_logins", smtplib_logins),
        python(
            "smtp::python_smtplib_wrong_password",
            smtplib_wrong_password,
        ),
        python("smtp::python_smtplib_utf8", smtplib_utf8),
        python("smtp::python_smtplib_attachment", smtplib_attachment),
        python("smtp::python_smtplib_dots", smtplib_dots),
        python("smtp::python_smtplib_refusals", smtplib_refusals),
        python("smtp::python_smtp_handler", smtp_handler),
        needs("swaks", "swaks", "smtp::swaks", swaks),
        needs(
            "swaks",
            "swaks",
            "smtp::swaks_pipelined_and_logged_in",
            swaks_pipelined,
        ),
        needs("curl", "curl", "smtp::curl_upload", curl),
        needs("curl", "curl", "smtp::curl_logs_in", curl_logs_in),
        needs(
            "smtp-source",
            "postfix",
            "smtp::smtp_source_many",
            smtp_source,
        ),
        needs("swaks", "swaks", "smtp::lmtp_swaks", lmtp_swaks),
        python("smtp::lmtp_python_smtplib", lmtp_smtplib),
        needs(
            "smtp-source",
            "postfix",
            "smtp::lmtp_smtp_source",
            lmtp_smtp_source,
        ),
        needs("msmtp", "msmtp", "smtp::lmtp_msmtp", lmtp_msmtp),
        needs("msmtp", "msmtp", "smtp::scram_msmtp", scram_msmtp),
    ]
}

fn sink(options: impl FnOnce(Builder<Smtp>) -> Builder<Smtp>) -> TestSmtpServer {
    let builder = options(TestSmtpServer::builder());
    builder.start("127.0.0.1:0", |_: &Message| {}).unwrap()
}

/// Runs a Python program that finds the port in `sys.argv[1]` and the client as `s`.
fn smtplib(server: &TestSmtpServer, script: &str) -> String {
    let script = format!(
        "import smtplib, sys\nfrom email.message import EmailMessage\n\
         s = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), timeout=20)\n{script}\ns.quit()"
    );
    python(&script, &[&server.port().to_string()])
}

fn smtplib_logins() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let server = sink(|builder| {
        builder.on_auth(move |login| {
            tell.lock().unwrap().send(login.mechanism()).unwrap();
            login.user() == "bob" && login.proves("secret")
        })
    });
    for (mechanism, method) in [
        (Mechanism::Plain, "auth_plain"),
        (Mechanism::Login, "auth_login"),
        (Mechanism::CramMd5, "auth_cram_md5"),
    ] {
        for at_once in ["True", "False"] {
            let name = mechanism.name();
            let script = format!(
                "s.ehlo(); s.user, s.password = 'bob', 'secret'\n\
                 code, text = s.auth('{name}', s.{method}, initial_response_ok={at_once})\n\
                 assert code == 235, (code, text)\n\
                 s.sendmail('a@b', ['c@d'], 'Subject: {name}\\r\\n\\r\\nx')"
            );
            smtplib(&server, &script);
            assert_eq!(told.recv_timeout(LONG).unwrap(), mechanism);
            let message = server.take_message(LONG).unwrap();
            assert_eq!(message.auth_user(), Some("bob"));
            assert_eq!(message.subject(), Some(name));
        }
    }
}

fn smtplib_wrong_password() {
    let server = sink(|builder| builder.credentials("bob", "secret"));
    // `login` tries CRAM-MD5, PLAIN and LOGIN in turn.
    smtplib(
        &server,
        "try: s.login('bob', 'wrong')\n\
         except smtplib.SMTPAuthenticationError as error: assert error.smtp_code == 535, error\n\
         else: assert False\n\
         s.login('bob', 'secret')",
    );
    let said = server.transcripts().concat();
    assert_eq!(said.matches("S: 535 5.7.8 ").count(), 3, "{said}");
    assert_eq!(said.matches("S: 235 2.7.0 ").count(), 1, "{said}");
}

fn smtplib_utf8() {
    let server = sink(|builder| builder);
    let script = "m = EmailMessage(); m['Subject'] = 'Grüße'; m['From'] = 'jürgen@example.com'; m['To'] = 'žofie@example.com'\n\
                  m.set_content('Schöne Grüße\\n'); s.send_message(m)";
    smtplib(&server, script);
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.from(), "jürgen@example.com");
    assert_eq!(message.to(), ["žofie@example.com"]);
    assert!(message.sender().smtp_utf8());
    assert_eq!(message.subject(), Some("Grüße"));
    assert_eq!(message.text().map(str::trim_end), Some("Schöne Grüße"));

    // Without the extension smtplib knows that it cannot send this.
    let server = sink(|builder| builder.without(Extension::SmtpUtf8));
    let script = format!(
        "try:\n    {}\nexcept smtplib.SMTPNotSupportedError: pass\nelse: assert False",
        script
            .replace('\n', "\n    ")
            .replace("                  ", "")
    );
    smtplib(&server, &script);
}

fn smtplib_attachment() {
    let server = sink(|builder| builder);
    smtplib(
        &server,
        "m = EmailMessage(); m['Subject'] = 'files'; m['From'] = 'a@b'; m['To'] = 'c@d'; m['Cc'] = 'e@f'\n\
         m.set_content('see there'); m.add_alternative('<p>see there</p>', subtype='html')\n\
         m.add_attachment(bytes(range(256)) * 400, maintype='application', subtype='octet-stream', filename='all.bin')\n\
         s.send_message(m)",
    );
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.to(), ["c@d", "e@f"]);
    assert_eq!(message.text().map(str::trim_end), Some("see there"));
    assert_eq!(message.html().map(str::trim_end), Some("<p>see there</p>"));
    let [file] = message.attachments() else {
        panic!("{:?}", message.attachments())
    };
    assert_eq!(file.file_name(), Some("all.bin"));
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(file.content(), bytes.repeat(400));
}

fn smtplib_dots() {
    let server = sink(|builder| builder);
    smtplib(&server, "s.sendmail('a@b', 'c@d', '.\\n..\\n.x\\n')");
    assert_eq!(
        server.take_message(LONG).unwrap().raw(),
        b".\r\n..\r\n.x\r\n"
    );
}

fn smtplib_refusals() {
    let server = sink(|builder| {
        builder
            .reply_once(Stage::Rcpt, 2, Reply::new(451, "4.2.1 try again"))
            .reply_once(Stage::Message, 2, Reply::new(554, "5.6.0 spam"))
    });
    smtplib(
        &server,
        "refused = s.sendmail('a@b', ['c@d', 'e@f'], 'x')\n\
         assert refused == {'e@f': (451, b'4.2.1 try again')}, refused\n\
         try: s.sendmail('a@b', ['c@d'], 'x')\n\
         except smtplib.SMTPDataError as error: assert error.args == (554, b'5.6.0 spam'), error\n\
         else: assert False",
    );
    assert_eq!(server.take_message(LONG).unwrap().to(), ["c@d"]);
}

/// As `SMTPHandlerTest` of CPython's test_logging.
fn smtp_handler() {
    let server = sink(|builder| builder.credentials("bob", "secret"));
    python(
        "import logging, logging.handlers, sys\n\
         handler = logging.handlers.SMTPHandler(('127.0.0.1', int(sys.argv[1])), 'me@x', 'you@x', 'Log', ('bob', 'secret'), timeout=20)\n\
         log = logging.getLogger('log'); log.addHandler(handler); log.error('Hello \\u2713'); handler.close()",
        &[&server.port().to_string()],
    );
    let message = server.take_message(LONG).unwrap();
    assert_eq!((message.from(), message.to()), ("me@x", vec!["you@x"]));
    assert_eq!(message.subject(), Some("Log"));
    assert_eq!(message.text().map(str::trim_end), Some("Hello ✓"));
    assert_eq!(message.auth_user(), Some("bob"));
}

fn swaks_with(server: &TestSmtpServer, more: &[&str]) -> String {
    let address = format!("127.0.0.1:{}", server.port());
    let mut arguments = vec!["--server", &address, "--helo", "client.example"];
    arguments.extend([
        "--from",
        "alice@example.com",
        "--to",
        "bob@example.com,eve@example.com",
    ]);
    arguments.extend(more);
    succeeded("swaks", run("swaks", arguments))
}

fn swaks() {
    let server = sink(|builder| builder);
    swaks_with(
        &server,
        &[
            "--header",
            "Subject: swaks",
            "--body",
            "one\n.two\n",
            "--attach",
            "file content",
        ],
    );
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.helo(), "client.example");
    assert_eq!(message.from(), "alice@example.com");
    assert_eq!(message.to(), ["bob@example.com", "eve@example.com"]);
    assert_eq!(message.subject(), Some("swaks"));
    assert!(message.text().is_some_and(|text| text.contains("\n.two")));
    assert_eq!(message.attachments().len(), 1);
}

fn swaks_pipelined() {
    let server = sink(|builder| builder.credentials("bob", "secret").require_auth());
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        let login = [
            "--auth",
            mechanism,
            "--auth-user",
            "bob",
            "--auth-password",
            "secret",
        ];
        swaks_with(&server, &[&["--pipeline"][..], &login].concat());
        let message = server.take_message(LONG).unwrap();
        assert_eq!(message.auth_user(), Some("bob"), "{mechanism}");
    }
}

fn curl_with(server: &TestSmtpServer, more: &[&str], letter: &str) {
    let url = format!("smtp://127.0.0.1:{}/client.example", server.port());
    let mut arguments = vec![
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--url",
        &url,
    ];
    arguments.extend([
        "--mail-from",
        "alice@example.com",
        "--mail-rcpt",
        "bob@example.com",
    ]);
    arguments.extend(["--upload-file", "-"]);
    arguments.extend(more);
    succeeded("curl", run_with_input("curl", arguments, letter.as_bytes()));
}

fn curl() {
    let server = sink(|builder| builder);
    let body: String = (0..20_000).map(|number| format!(".{number}\r\n")).collect();
    let letter = format!("Subject: curl\r\n\r\n{body}");
    curl_with(&server, &[], &letter);
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.helo(), "client.example");
    assert_eq!(message.from(), "alice@example.com");
    assert_eq!(message.raw(), letter.as_bytes());
}

fn curl_logs_in() {
    let server = sink(|builder| builder.credentials("bob", "secret").require_auth());
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        let options = format!("AUTH={mechanism}");
        let more = ["--user", "bob:secret", "--login-options", &options];
        curl_with(&server, &more, "Subject: x\r\n\r\nx\r\n");
        let message = server.take_message(LONG).unwrap();
        assert_eq!(message.auth_user(), Some("bob"), "{mechanism}");
    }
}

fn smtp_source() {
    let server = sink(|builder| builder);
    let address = format!("127.0.0.1:{}", server.port());
    for (kept, sessions, size) in [(true, "10", "1024"), (false, "10", "102400")] {
        let mut arguments = vec![
            "-4",
            "-M",
            "client.example",
            "-s",
            sessions,
            "-m",
            "200",
            "-l",
            size,
        ];
        arguments.extend(kept.then_some("-d"));
        arguments.push(&address);
        succeeded("smtp-source", run("smtp-source", arguments));
        let messages = server.take_messages(200, LONG).unwrap();
        let least: usize = size.parse().unwrap();
        assert!(messages.iter().all(|message| message.raw().len() >= least));
    }
}

/// One whose second mailbox is full.
fn lmtp() -> TestSmtpServer {
    sink(|builder| {
        builder
            .lmtp()
            .on_delivery(|_, recipient| match recipient.address() {
                "full@example.com" => Some(Reply::new(452, "4.2.2 mailbox full")),
                _ => None,
            })
    })
}

/// What was replied for each recipient of the next message.
fn codes(server: &TestSmtpServer) -> Vec<u16> {
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.replies().len(), message.to().len());
    message.replies().iter().map(Reply::code).collect()
}

fn lmtp_swaks() {
    let server = lmtp();
    swaks_with(&server, &["--protocol", "LMTP"]);
    assert_eq!(codes(&server), [250, 250]);
}

fn lmtp_smtplib() {
    let server = lmtp();
    let script = "import smtplib, sys\n\
        s = smtplib.LMTP('127.0.0.1', int(sys.argv[1]))\n\
        s.sendmail('a@example.com', ['b@example.com'], 'x')\n\
        try: s.sendmail('a@example.com', ['full@example.com'], 'x')\n\
        except smtplib.SMTPDataError as error: assert error.smtp_code == 452, error\n\
        else: assert False\n\
        s.quit()";
    python(script, &[&server.port().to_string()]);
    assert_eq!(codes(&server), [250]);
    assert_eq!(codes(&server), [452]);
}

fn lmtp_smtp_source() {
    let server = lmtp();
    let address = format!("127.0.0.1:{}", server.port());
    let arguments = ["-4", "-L", "-r", "3", "-m", "20", "-s", "2", "-d", &address];
    succeeded("smtp-source", run("smtp-source", arguments));
    for _ in 0..20 {
        assert_eq!(codes(&server), [250, 250, 250]);
    }
}

fn scram_msmtp() {
    let server = sink(|builder| builder.credentials("b,b=", "päss").require_auth());
    let port = format!("--port={}", server.port());
    let send = |password: &str| {
        let password = format!("--passwordeval=echo {password}");
        let mut arguments = vec!["--file=/dev/null", "--host=127.0.0.1", &port, "--user=b,b="];
        arguments.extend(["--auth=scram-sha-256", &password, "--from=a@example.com"]);
        arguments.push("b@example.com");
        run_with_input("msmtp", arguments, b"Subject: x\n\nx\n")
    };
    succeeded("msmtp", send("päss"));
    let message = server.take_message(LONG).unwrap();
    let login = message.login().unwrap();
    assert_eq!((login.user(), login.password()), ("b,b=", None));
    assert_eq!(login.mechanism(), Mechanism::ScramSha256);
    let output = send("wrong");
    assert!(!output.status.success(), "{output:?}");
    let said = server.transcripts().concat();
    assert!(said.contains("S: 535 5.7.8 "), "{said}");
}

fn lmtp_msmtp() {
    let server = lmtp();
    let port = format!("--port={}", server.port());
    let deliver = |to: &[&str]| {
        let mut arguments = vec!["--file=/dev/null", "--host=127.0.0.1", &port];
        arguments.extend(["--protocol=lmtp", "--from=a@example.com"]);
        arguments.extend(to);
        run_with_input("msmtp", arguments, b"Subject: x\n\nx\n")
    };
    succeeded("msmtp", deliver(&["b@example.com", "c@example.com"]));
    assert_eq!(codes(&server), [250, 250]);
    let output = deliver(&["b@example.com", "full@example.com"]);
    assert!(!output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("mailbox full"), "{told}");
    assert_eq!(codes(&server), [250, 452]);
}
