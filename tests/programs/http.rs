//! HTTP from programs that are not ours.

use std::time::Duration;

use libtest_mimic::Trial;
use loopback::{Request, Response, TestHttpServer, Version};

use crate::{needs, python, run, run_with_input, succeeded};

const LONG: Duration = Duration::from_secs(20);
/// curl sends the body unasked when 100 does not come within a second, unless told.
const PATIENT: [&str; 2] = ["--expect100-timeout", "20"];

pub(crate) fn trials() -> Vec<Trial> {
    let curl = |name, test| needs("curl", "curl", name, test);
    let python = |name, test| needs("python3", "python3", name, test);
    let node = |name, test| needs("node", "nodejs", name, test);
    vec![
        curl("http::curl_get_and_head", get_and_head),
        curl("http::curl_keeps_the_connection", keeps_the_connection),
        curl("http::curl_chunked_post", chunked_post),
        curl("http::curl_expect", expect),
        curl("http::curl_large_upload_and_download", large_both_ways),
        curl("http::curl_trailers", trailers),
        curl("http::curl_http_1_0", http_1_0),
        curl("http::curl_proxy_absolute_form", proxy),
        curl("http::curl_proxy_connect", connect),
        curl("http::curl_upgrade", upgrade),
        curl("http::curl_sees_faults", faults),
        curl("http::curl_unchunked_coding", unchunked_coding),
        curl("http::curl_http_2_prior_knowledge", http_2),
        curl("http::curl_refused_connect", refused_connect),
        curl("http::curl_bad_target", bad_target),
        python("http::python_http_client", http_client),
        python("http::python_unchunked_coding", python_unchunked_coding),
        python("http::python_urllib", urllib),
        python("http::python_logging_http_handler", logging_handler),
        python("http::python_cookies", python_cookies),
        node("http::node_agent_and_a_kept_connection", agent),
        node("http::node_unchunked_coding", node_unchunked_coding),
        needs("wrk", "wrk", "http::wrk_load", load),
    ]
}

/// Runs curl, which must succeed, and gives its output.
fn curl(arguments: &[&str]) -> String {
    curl_with_input(arguments, b"")
}

/// Runs a module in Node with the server's port, and gives its output.
fn node(script: &str, server: &TestHttpServer) -> String {
    let port = server.port().to_string();
    let arguments = ["--input-type=module", "-e", script, &port];
    succeeded("node", run("node", arguments))
}

fn curl_with_input(arguments: &[&str], input: &[u8]) -> String {
    let always = ["-sS", "--max-time", "30", "--noproxy", "no.such.host"];
    let arguments = always.iter().chain(arguments);
    succeeded("curl", run_with_input("curl", arguments, input))
}

fn paths() -> TestHttpServer {
    TestHttpServer::start("127.0.0.1:0", |request| {
        Response::text(format!("you asked for {}", request.path()))
    })
    .unwrap()
}

fn get_and_head() {
    let mut server = paths();
    assert_eq!(curl(&[&server.url("/tea?milk=1")]), "you asked for /tea");
    let request = server.take_request(LONG).unwrap();
    assert_eq!((request.method(), request.query()), ("GET", Some("milk=1")));
    assert!(request.header("user-agent").unwrap().starts_with("curl/"));
    let head = curl(&["--head", &server.url("/tea")]);
    assert!(head.contains("Content-Length: 18\r\n"), "{head}");
    assert_eq!(server.take_request(LONG).unwrap().method(), "HEAD");
    let options = curl(&["-X", "OPTIONS", "--request-target", "*", &server.url("/")]);
    assert_eq!(options, "you asked for *");
    server.stop(LONG).unwrap();
}

fn keeps_the_connection() {
    let mut server = paths();
    let format = "[%{num_connects}]";
    let (a, b) = (server.url("/a"), server.url("/b"));
    let out = curl(&["-w", format, &a, "--next", "-sS", "-w", format, &b]);
    assert_eq!(out, "you asked for /a[1]you asked for /b[0]");
    let places: Vec<_> = server
        .requests()
        .iter()
        .map(|request| (request.connection(), request.exchange()))
        .collect();
    assert_eq!(places, [(0, 0), (0, 1)]);
    server.stop(LONG).unwrap();
}

fn chunked_post() {
    let mut server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let arguments = [
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        "@-",
        &server.url("/"),
    ];
    let body = "body ".repeat(100_000);
    assert!(curl_with_input(&arguments, body.as_bytes()) == body);
    let request = server.take_request(LONG).unwrap();
    assert!(request.is_chunked() && request.body_size() == 500_000);
    assert_eq!(request.header("content-length"), None);
    server.stop(LONG).unwrap();
}

fn expect() {
    let mut server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let body = vec![b'x'; 3_000_000];
    let arguments = [
        "-v",
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        "@-",
        &server.url("/"),
    ];
    let arguments = ["-sS", "--max-time", "30"]
        .iter()
        .chain(&PATIENT)
        .chain(&arguments);
    let output = run_with_input("curl", arguments, &body);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("< HTTP/1.1 100 Continue"), "{said}");
    assert!(output.stdout == body);
    assert_eq!(
        server.take_request(LONG).unwrap().header("expect"),
        Some("100-continue")
    );
    server.stop(LONG).unwrap();
    // Refused before it is sent.
    let mut server = TestHttpServer::builder()
        .max_body(1000)
        .start("127.0.0.1:0", |_| ())
        .unwrap();
    let format = "%{http_code} %{size_upload}";
    let arguments = [
        "-w",
        format,
        "-o",
        "/dev/null",
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        "@-",
        &server.url("/"),
    ];
    let arguments: Vec<_> = PATIENT.iter().copied().chain(arguments).collect();
    assert_eq!(curl_with_input(&arguments, &body), "413 0");
    server.stop(LONG).unwrap();
}

fn large_both_ways() {
    let mut server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let body: Vec<u8> = (0..20_000_000u32).map(|at| (at % 251) as u8).collect();
    let arguments = [
        "-sS",
        "--max-time",
        "30",
        "-H",
        "Expect:",
        "--data-binary",
        "@-",
        &server.url("/"),
    ];
    let output = run_with_input("curl", arguments, &body);
    assert!(output.status.success() && output.stdout == body);
    server.stop(LONG).unwrap();
}

fn trailers() {
    let answer = Response::bytes("hello")
        .chunk_size(3)
        .trailer("X-Sum", "5d41");
    let mut server = TestHttpServer::fixed("127.0.0.1:0", answer).unwrap();
    let raw = curl(&["--raw", &server.url("/")]);
    assert_eq!(raw, "3\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 5d41\r\n\r\n");
    let both = curl(&["-i", &server.url("/")]);
    assert!(
        both.contains("hello") && both.contains("X-Sum: 5d41"),
        "{both}"
    );
    server.stop(LONG).unwrap();
}

fn http_1_0() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |_| {
        Response::reader(std::io::Cursor::new("streamed"))
    })
    .unwrap();
    let out = curl(&["--http1.0", "-i", &server.url("/")]);
    assert!(out.ends_with("Connection: close\r\n\r\nstreamed"), "{out}");
    assert_eq!(
        server.take_request(LONG).unwrap().version(),
        Version::Http10
    );
    server.stop(LONG).unwrap();
}

fn proxy() {
    let mut server = paths();
    let proxy = server.url("");
    let out = curl(&["-x", &proxy, "http://example.test:81/page?q"]);
    assert_eq!(out, "you asked for /page");
    let request = server.take_request(LONG).unwrap();
    assert_eq!(request.target(), "http://example.test:81/page?q");
    assert_eq!(request.authority(), Some("example.test:81"));
    server.stop(LONG).unwrap();
}

/// The proxy's handler is the origin too: it speaks HTTP on the connection that it was handed.
fn connect() {
    let mut server =
        TestHttpServer::start("127.0.0.1:0", |request: Request| match request.method() {
            "CONNECT" => Response::tunnel(|mut conn| {
                while conn.read_line()? != "\r\n" {}
                std::io::Write::write_all(
                    &mut conn,
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ninside",
                )
            }),
            _ => Response::new(405),
        })
        .unwrap();
    let out = curl(&["-p", "-x", &server.url(""), "http://example.test/"]);
    assert_eq!(out, "inside");
    assert_eq!(
        server.take_request(LONG).unwrap().target(),
        "example.test:80"
    );
    server.stop(LONG).unwrap();
}

fn upgrade() {
    let mut server =
        TestHttpServer::start("127.0.0.1:0", |request: Request| match request.upgrade() {
            Some("h2c") | None => Response::text("not that one"),
            Some(_) => Response::upgrade("raw", |mut conn| {
                std::io::Write::write_all(&mut conn, b"raw bytes")
            }),
        })
        .unwrap();
    let out = curl(&[
        "-i",
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: raw",
        &server.url("/"),
    ]);
    assert!(
        out.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && out.ends_with("raw bytes"),
        "{out}"
    );
    assert_eq!(curl(&["--http2", &server.url("/")]), "not that one");
    server.stop(LONG).unwrap();
}

fn faults() {
    use loopback::{At, Fault};
    let text = || Response::text("hello, world");
    // curl's exit codes: 52 nothing came, 56 reading failed, 18 a part came, 28 too slow. Only who has to be too
    // slow has little time.
    for (response, seconds, code) in [
        (Response::close(), "20", 52),
        (Response::reset(), "20", 56),
        (text().fault(Fault::Close(At::Body(5))), "20", 18),
        (text().chunked().fault(Fault::Close(At::Body(5))), "20", 18),
        (text().delay(Duration::from_secs(600)), "0.5", 28),
    ] {
        let shown = format!("{response:?}");
        let mut server = TestHttpServer::fixed("127.0.0.1:0", response).unwrap();
        let output = run("curl", ["-sS", "--max-time", seconds, &server.url("/")]);
        assert_eq!(output.status.code(), Some(code), "{shown}: {output:?}");
        server.stop(LONG).unwrap();
    }
}

/// A body under a coding that does not tell where it ends, and one after it.
fn identity() -> TestHttpServer {
    let response = Response::text("hello").header("Transfer-Encoding", "identity");
    TestHttpServer::sequence("127.0.0.1:0", [response, Response::text("next")]).unwrap()
}

fn unchunked_coding() {
    let mut server = identity();
    let (a, b) = (server.url("/a"), server.url("/b"));
    let format = "[%{num_connects}]";
    let out = curl(&["-w", format, &a, "--next", "-sS", "-w", format, &b]);
    assert_eq!(out, "hello[1]next[1]");
    server.stop(LONG).unwrap();
}

fn python_unchunked_coding() {
    let mut server = identity();
    let out = python(
        "import http.client, sys\n\
         c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=20)\n\
         for path in '/a', '/b':\n\
         \x20   c.request('GET', path); print(c.getresponse().read().decode())",
        &[&server.port().to_string()],
    );
    assert_eq!(out, "hello\nnext\n");
    server.stop(LONG).unwrap();
}

fn node_unchunked_coding() {
    let mut server = identity();
    let out = node(
        "const url = `http://127.0.0.1:${process.argv[1]}/`;
         for (let i = 0; i < 2; i++) console.log(await (await fetch(url)).text());",
        &server,
    );
    assert_eq!(out, "hello\nnext\n");
    server.stop(LONG).unwrap();
}

/// Node's agent keeps a connection that is not said to close, and its POST on one that has closed is lost.
fn agent() {
    let mut server = TestHttpServer::builder()
        .max_requests(2)
        .start("127.0.0.1:0", |_| {
            Response::text("taken").header("Connection", "keep-alive")
        })
        .unwrap();
    let out = node(
        "import http from 'node:http';
         const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
         const options = { port: process.argv[1], method: 'POST', agent, timeout: 20000 };
         const post = () => new Promise((resolve, reject) => {
             const request = http.request(options, response => response.resume().on('end', resolve));
             request.on('error', reject).end('body');
         });
         let taken = 0, lost = 0;
         for (let i = 0; i < 200; i++) await post().then(() => taken++, () => lost++);
         console.log(`${taken} taken, ${lost} lost`);
         agent.destroy();",
        &server,
    );
    assert_eq!(out, "200 taken, 0 lost\n");
    server.stop(LONG).unwrap();
    assert_eq!(server.requests().last().unwrap().connection(), 99);
}

fn http_2() {
    let mut server = paths();
    let arguments = [
        "-sSv",
        "--max-time",
        "30",
        "--http2-prior-knowledge",
        &server.url("/"),
    ];
    let output = run("curl", arguments);
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("GOAWAY, error=13"), "{said}");
    let refusal = server.take_refusal(LONG).unwrap();
    let error = refusal.error().unwrap();
    assert!(
        error.starts_with("the client speaks HTTP/2 from its first byte"),
        "{error}"
    );
    server.stop(LONG).unwrap();
}

/// curl answers 407 with a second CONNECT, for which it needs another connection.
fn refused_connect() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |request: Request| {
        match request.header("Proxy-Authorization") {
            Some(_) => Response::tunnel(|mut conn| {
                while conn.read_line()? != "\r\n" {}
                std::io::Write::write_all(
                    &mut conn,
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ninside",
                )
            }),
            None => Response::text("who are you?")
                .status(407)
                .header("Proxy-Authenticate", "Basic realm=\"tea\""),
        }
    })
    .unwrap();
    let proxy = server.url("");
    let arguments = [
        "-p",
        "-x",
        &proxy,
        "--proxy-anyauth",
        "-U",
        "a:b",
        "http://example.test/",
    ];
    assert_eq!(curl(&arguments), "inside");
    let places: Vec<_> = server.requests().iter().map(Request::connection).collect();
    assert_eq!(places, [0, 1]);
    server.stop(LONG).unwrap();
}

/// curl sends a target as it is given.
fn bad_target() {
    let mut server = paths();
    let out = curl(&["-g", "--request-target", "/a{b}", &server.url("/")]);
    assert_eq!(
        out,
        "the character '{' in the target, where it has to be written as %7B\n"
    );
    server.stop(LONG).unwrap();
}

fn http_client() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |request: Request| {
        Response::reader(std::io::Cursor::new(request.body().to_vec())).trailer("X-Sum", "1")
    })
    .unwrap();
    let out = python(
        "import http.client, sys\n\
         c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=20)\n\
         for body in (b'one', iter([b'two', b'three']), b''):\n\
         \x20   c.request('POST', '/p', body, encode_chunked=not isinstance(body, bytes),\n\
         \x20             headers={} if isinstance(body, bytes) else {'Transfer-Encoding': 'chunked'})\n\
         \x20   r = c.getresponse()\n\
         \x20   print(r.status, r.version, r.read().decode())\n\
         c.request('HEAD', '/'); r = c.getresponse(); print(r.status, repr(r.read()))\n\
         c.close()",
        &[&server.port().to_string()],
    );
    assert_eq!(out, "200 11 one\n200 11 twothree\n200 11 \n200 b''\n");
    let requests = server.requests();
    assert!(
        requests.iter().all(|request| request.connection() == 0),
        "{requests:?}"
    );
    assert_eq!(requests[1].chunk_sizes(), [3, 5]);
    server.stop(LONG).unwrap();
}

fn urllib() {
    let mut server =
        TestHttpServer::start("127.0.0.1:0", |request: Request| match request.path() {
            "/old" => Response::new(302).header("Location", "/new"),
            "/new" => Response::text("moved"),
            _ => Response::new(404),
        })
        .unwrap();
    let out = python(
        "import urllib.request, urllib.error, sys\n\
         base = 'http://127.0.0.1:' + sys.argv[1]\n\
         print(urllib.request.urlopen(base + '/old', timeout=20).read().decode())\n\
         try: urllib.request.urlopen(base + '/none', timeout=20)\n\
         except urllib.error.HTTPError as e: print(e.code, e.reason)",
        &[&server.port().to_string()],
    );
    assert_eq!(out, "moved\n404 Not Found\n");
    server.stop(LONG).unwrap();
}

/// `HTTPHandlerTest` of CPython's test_logging: a record as a form, by GET and by POST.
fn logging_handler() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |_| ()).unwrap();
    python(
        "import logging, logging.handlers, sys\n\
         log = logging.getLogger('http'); log.propagate = False\n\
         for method in ('GET', 'POST'):\n\
         \x20   handler = logging.handlers.HTTPHandler('127.0.0.1:' + sys.argv[1], '/frob', method=method)\n\
         \x20   log.addHandler(handler); log.error('spam & eggs'); log.removeHandler(handler); handler.close()",
        &[&server.port().to_string()],
    );
    let get = server.take_request(LONG).unwrap();
    assert_eq!((get.method(), get.path()), ("GET", "/frob"));
    assert_eq!(get.query_pairs().get("msg"), Some("spam & eggs"));
    let post = server.take_request(LONG).unwrap();
    assert_eq!((post.method(), post.query()), ("POST", None));
    assert_eq!(post.form_pairs().get("msg"), Some("spam & eggs"));
    server.stop(LONG).unwrap();
}

/// A cookie that Python's jar keeps and sends again, and a host in brackets.
fn python_cookies() {
    let mut server = TestHttpServer::start("[::1]:0", |request: Request| {
        match request.cookie("session") {
            Some(session) => Response::text(format!("welcome back, {session}")),
            None => Response::text("who are you?").set_cookie("session", "42", &["Path=/"]),
        }
    })
    .unwrap();
    let out = python(
        "import urllib.request, http.cookiejar, sys\n\
         jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())\n\
         opener = urllib.request.build_opener(jar)\n\
         for i in range(2): print(opener.open(sys.argv[1], timeout=20).read().decode())",
        &[&server.url("/")],
    );
    assert_eq!(out, "who are you?\nwelcome back, 42\n");
    server.stop(LONG).unwrap();
}

fn load() {
    let mut server = paths();
    let arguments = [
        "-t2",
        "-c32",
        "-d1s",
        "--timeout",
        "20s",
        &server.url("/load"),
    ];
    let out = succeeded("wrk", run("wrk", arguments));
    assert!(
        !out.contains("Socket errors") && !out.contains("Non-2xx"),
        "{out}"
    );
    // How many it manages is the machine's affair; that the record has what wrk counted is ours.
    let counted: usize = out
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())
        .unwrap_or_else(|| panic!("no count of requests in {out}"));
    let listed = server.requests().len();
    assert!(
        listed > 0 && listed >= counted.min(10_000),
        "{listed} requests are recorded\n{out}"
    );
    server.stop(LONG).unwrap();
}
