use std::ffi::OsStr;
use std::fs;

use super::*;
use crate::tunnel::core::ports::Ports;
use crate::tunnel::route::Route;

fn setup(listen: &str) -> Setup {
    let route = Route {
        listen: listen.parse().unwrap(),
        service: "[::1]:9000".parse().unwrap(),
        client: [127, 0, 0, 2].into(),
        outgoing: "::1".parse().unwrap(),
    };
    Setup::new(route, Ports::default())
}

fn words(program: &Program) -> Vec<&OsStr> {
    let command = &program.command;
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect()
}

/// The words of a template's only command.
fn filled(command: &str) -> Vec<String> {
    let mut setup = setup("127.0.0.1:1080");
    let login = Login {
        user: Some(b"me"),
        password: Some(b"a b"),
    };
    let programs = Template::new(command).programs(&mut setup, &login).unwrap();
    let words = words(&programs[0]).into_iter();
    words
        .map(|word| word.to_str().unwrap().to_owned())
        .collect()
}

fn error(template: impl Into<Template>) -> String {
    let mut setup = setup("127.0.0.1:1080");
    let programs = template.into().programs(&mut setup, &Login::default());
    programs.unwrap_err().to_string()
}

#[test]
fn words_are_split_as_in_a_shell_without_expansion() {
    let cases: [(&str, &[&str]); 12] = [
        ("", &[]),
        (" \t\n ", &[]),
        ("a  b\tc\nd", &["a", "b", "c", "d"]),
        ("a 'b  c' d", &["a", "b  c", "d"]),
        (r#"a "b 'c'" '"d"'"#, &["a", "b 'c'", "\"d\""]),
        (r#"pre'mid'"post""#, &["premidpost"]),
        ("'' \"\"", &["", ""]),
        (r"a\ b \\ \' \n", &["a b", "\\", "'", "n"]),
        (r#""\"\\\$\`\n" '\n'"#, &["\"\\$`\\n", "\\n"]),
        ("a \\\n  b \"c\\\nd\"", &["a", "b", "cd"]),
        (
            "$HOME *.rs a|b; >c #d",
            &["$HOME", "*.rs", "a|b;", ">c", "#d"],
        ),
        ("ä 'ö ü'", &["ä", "ö ü"]),
    ];
    for (text, words) in cases {
        assert_eq!(split(text).unwrap(), words, "{text:?}");
    }
    for (text, message) in [
        ("a 'b", "a ' is not closed"),
        ("a \"b", "a \" is not closed"),
        ("a \"b\\", "a \" is not closed"),
        ("a \\", "nothing follows the last \\"),
    ] {
        assert_eq!(split(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn every_placeholder_is_filled_in_and_a_value_stays_one_word() {
    assert_eq!(
        filled(
            "{listen} {listen_ip} {listen_host} {listen_port} {family} {client_ip} {client_host}"
        ),
        [
            "127.0.0.1:1080",
            "127.0.0.1",
            "127.0.0.1",
            "1080",
            "4",
            "127.0.0.2",
            "127.0.0.2"
        ]
    );
    assert_eq!(
        filled(
            "{service} {service_ip} {service_host} {service_port} {service_family} {outgoing_ip} {outgoing_host}"
        ),
        ["[::1]:9000", "::1", "[::1]", "9000", "6", "::1", "[::1]"]
    );
    assert_eq!(
        filled("p --login={user}:{password}"),
        ["p", "--login=me:a b"]
    );
    assert_eq!(filled("p '{{{user}}}' {{}}"), ["p", "{me}", "{}"]);
}

#[test]
fn words_that_are_split_already_stay_as_they_are() {
    let mut setup = setup("127.0.0.1:1080");
    let template = Template::from_words(["p q", "it's {family}", ""]);
    let programs = template.programs(&mut setup, &Login::default());
    assert_eq!(words(&programs.unwrap()[0]), ["p q", "it's 4", ""]);
    assert_eq!(
        error(Template::from_words(["p", "{x}"]).then("q"))
            .split(": ")
            .next(),
        Some("in the command `p {x}`")
    );
    assert_eq!(error(Template::from_words([""; 0])), "the command is empty");
}

#[test]
fn a_value_is_not_filled_in_again() {
    let mut setup = setup("127.0.0.1:1080");
    let login = Login {
        user: Some(b"{password} {"),
        password: None,
    };
    let programs = Template::new("p {user}").programs(&mut setup, &login);
    assert_eq!(words(&programs.unwrap()[0]), ["p", "{password} {"]);
}

#[test]
fn further_ports_are_the_same_wherever_they_stand() {
    let mut setup = setup("127.0.0.1:1080");
    let template = Template::new("a {port_2} {listen_2} {port_3}").then("b {port_2}");
    let programs = template.programs(&mut setup, &Login::default()).unwrap();
    let (first, second) = (words(&programs[0]), words(&programs[1]));
    assert_eq!(first[1], second[1]);
    assert_eq!(
        first[2].to_str(),
        Some(&*setup.further(2).unwrap().to_string())
    );
    assert_ne!(first[1], first[3]);
}

#[test]
fn files_are_templates_too_and_are_in_the_folder() {
    let mut setup = setup("[::1]:1080");
    let template = Template::new("p -f {tmp}/p.conf").file(
        "p.conf",
        "log {tmp}/log\nserver {{\n listen {listen};\n}}\n",
    );
    let programs = template.programs(&mut setup, &Login::default()).unwrap();
    let tmp = setup.tmp().unwrap().to_str().unwrap().to_owned();
    let path = format!("{tmp}/p.conf");
    assert_eq!(words(&programs[0]), ["p", "-f", &path]);
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        format!("log {tmp}/log\nserver {{\n listen [::1]:1080;\n}}\n")
    );
}

#[test]
fn where_a_program_listens_is_filled_in() {
    let mut setup = setup("[::1]:1080");
    let template = Template::new("a").listens_on("{listen_2}").then("b");
    let programs = template.programs(&mut setup, &Login::default()).unwrap();
    assert_eq!(programs[0].listens_on, Some(setup.further(2).unwrap()));
    assert_eq!(programs[1].listens_on, None);
}

#[test]
fn errors_say_where_and_what() {
    assert_eq!(
        error("p {lisen_ip}"),
        "in the command `p {lisen_ip}`: {lisen_ip} is no placeholder: there are {listen}, {service}, \
         each with _ip, _port and _host, {outgoing_ip}, {outgoing_host}, {client_ip}, {client_host}, \
         {family}, {service_family}, {listen_2} to {listen_9}, {port_2} to {port_9}, {user}, {password}, \
         {tmp}; a brace itself is written {{ or }}"
    );
    for unknown in ["{port_1}", "{port_10}", "{listen_0}", "{port_}", "{x_2}"] {
        assert!(error(unknown).contains("is no placeholder"), "{unknown}");
    }
    assert_eq!(
        error("p {user}"),
        "in the command `p {user}`: {user} is asked for, but the tunnel has no user"
    );
    assert_eq!(error("p '"), "in the command `p '`: a ' is not closed");
    assert_eq!(error(" "), "the command is empty");
    for (single, brace) in [
        ("p {", '{'),
        ("p {}", '{'),
        ("p { a }", '{'),
        ("p }", '}'),
        ("p {a b}", '{'),
    ] {
        assert_eq!(
            error(single),
            format!(
                "in the command `{single}`: a single {brace} in line 1: write {brace}{brace} for it"
            )
        );
    }
    assert_eq!(
        error(Template::new("p").file("p.conf", "a\nserver {\n}")),
        "in the file p.conf: a single { in line 2: write {{ for it"
    );
    for name in ["", ".", "..", "../x", "/x", "a/b", "a/"] {
        let due = format!("{name:?} is not the plain name of a file");
        assert_eq!(error(Template::new("p").file(name, "")), due);
    }
    assert_eq!(
        error(Template::new("p").listens_on("here")),
        "in the command `p`: \"here\", where it listens, is not an address and a port"
    );
}
