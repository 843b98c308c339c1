use super::layers::{LayerError, Origin, SECRETS};
use super::*;
use crate::client::options::{Options, Work, Written};
use crate::client::ptt::Mode;
use crate::net::codec::Codec;
use clap::CommandFactory;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/parlor.toml"), text, &Options::command())
}

fn refused(text: &str) -> String {
    let ConfigError(why) = parse(text).unwrap_err();
    assert!(why.starts_with("/etc/parlor.toml, line "), "{why}");
    assert!(!why.contains('\n'), "{why}");
    why
}

/// A command line above a file, with these secrets in the environment.
fn read_with(line: &str, text: &str, secrets: &[&str]) -> Result<(Work, Options), LayerError> {
    let words = std::iter::once("parlor").chain(line.split_whitespace()).map(OsString::from);
    Options::read_above(words, &|_| parse(text), &|name| secrets.contains(&name))
}

fn read(line: &str, text: &str) -> Options {
    read_with(line, text, &[]).unwrap().1
}

/// A file with a WAV in it, for what must be there to be good.
fn sample(key: &str, arg: &Arg, file: &str) -> String {
    match (kind(arg), key) {
        (Kind::Switch, _) => "true".to_owned(),
        (Kind::Number, "frame-ms") => "20".to_owned(),
        (Kind::Number, _) => "99".to_owned(),
        (Kind::Text, "input") => format!("\"wav:{file}\""),
        (Kind::Text, "fingerprint") => format!("\"SHA256:{}\"", "A".repeat(43)),
        (Kind::Text, "codec") => "\"pcm\"".to_owned(),
        (Kind::Text, "talk") => "\"voice\"".to_owned(),
        (Kind::Text, "theme") => "\"light\"".to_owned(),
        (Kind::Text, "ptt-key") => "\"f8\"".to_owned(),
        (Kind::Text, _) => match arg.get_default_values().first() {
            Some(value) => format!("{value:?}"),
            None => "\"debug\"".to_owned(),
        },
    }
}

#[test]
fn every_flag_can_be_set_in_the_file() {
    let command = Options::command();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut seen = 0;
    for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
        let key = arg.get_long().expect("every flag has a long name");
        let text = format!("{key} = {}\n", sample(key, arg, &file.path().display().to_string()));
        if NO_SETTINGS.contains(&key) {
            assert!(refused(&text).contains("no setting"), "{key}");
            continue;
        }
        let options = read_with("", &text, &[]).unwrap_or_else(|error| panic!("{text}: {error}")).1;
        // What the environment of the test holds itself goes before.
        if !matches!(options.settled.origins.get(key), Some(Origin::Environment { .. })) {
            assert_eq!(
                options.settled.origins.get(key),
                Some(&Origin::Config { line: 1 }),
                "{key}"
            );
            assert!(options.settled.values.contains_key(key), "{key}");
        }
        let row = show::rows(&options).into_iter().find(|row| row.key == key);
        assert!(row.is_some(), "{key} is shown");
        seen += 1;
    }
    assert!(seen > 35, "{seen}");
}

#[test]
fn flags_go_before_the_environment_that_before_the_file_and_that_before_defaults() {
    let text = "bitrate = 32\ncodec = \"pcm\"\nbell = true\npassword-file = \"name\"\n";
    let options = read("--bitrate 96", text);
    assert_eq!((options.bitrate, options.codec, options.bell), (96, Codec::Pcm, true));
    assert_eq!(options.frame_ms, None);
    let origin = |key: &str| options.settled.origins.get(key);
    assert_eq!(origin("bitrate"), Some(&Origin::Flag));
    assert_eq!(origin("codec"), Some(&Origin::Config { line: 2 }));
    assert_eq!((origin("vbr"), options.vbr), (None, false));
    assert_eq!(options.password_file, Some("/etc/name".into()));
    let options = read_with("", text, &["PARLOR_PASSWORD"]).unwrap().1;
    assert_eq!(options.password_file, None, "the environment's own password");
    let options = read_with("--password-file x", text, &["PARLOR_PASSWORD"]).unwrap().1;
    assert_eq!(options.password_file, Some("x".into()));
}

#[test]
fn a_switch_of_the_file_can_be_taken_back() {
    let options = read("--bell=false --no-sounds", "bell = true\nno-gain = true\n");
    assert_eq!((options.bell, options.no_sounds, options.no_gain), (false, true, true));
    assert!(!read("", "bell = false").bell);
    assert!(matches!(read_with("--bell=maybe", "", &[]), Err(LayerError::Arguments(_))));
}

#[test]
fn what_is_set_higher_hides_what_it_excludes() {
    let options = read("--unmute", "talk = \"voice\"\ninline = true\n");
    assert_eq!((options.mode(), options.inline), (Mode::Open, true));
    let options = read("--plain", "inline = true\n");
    assert_eq!((options.plain, options.inline), (true, false));
    let options = read("--plain=false", "inline = true\n");
    assert!(options.inline);
    let fingerprint = format!("fingerprint = \"SHA256:{}\"\n", "A".repeat(43));
    assert!(read("--insecure", &fingerprint).fingerprint.is_none());
    let why = refused("plain = true\ninline = true\n");
    assert!(why.contains("'plain'") && why.contains("'inline'"), "{why}");
    parse("plain = false\ninline = true\n").unwrap();
}

#[test]
fn what_belongs_to_one_server_is_shown_to_no_other() {
    let text = "server = \"home:1\"\ntcp-port = 5\npassword-file = \"p\"\ninsecure = true\nname = \"Ada\"\n";
    let home = read("", text);
    assert_eq!(home.target(), ("home".to_owned(), 1));
    assert!(home.insecure && home.password_file.is_some());
    for line in ["other.example", "--server other.example", "--server other"] {
        let other = read(line, text);
        assert_eq!(other.target().1, 8888, "{line}");
        assert!(other.target().0.starts_with("other") && !other.insecure, "{line}");
        assert_eq!(other.password_file, None, "{line}");
        assert_eq!(other.user_name().unwrap().as_str(), "Ada");
    }
    let invited = read_with("", text, &["PARLOR_INVITE"]).unwrap().1;
    assert!(invited.server.is_none() && invited.password_file.is_none());
}

const BOOK: &str = "name = \"Ada\"\nroom = \"den\"\nbell = true\ninline = true\nserver = \"home\"\n
[servers.work]\naddress = \"voice.example.org:9000\"\nname = \"Ada Lovelace\"\nudp-port = 9001
password-file = \"work.pw\"\nplain = true\n[servers.home]\naddress = \"::1\"\n";

#[test]
fn an_entry_of_the_address_book_is_a_server_with_its_own_settings() {
    let work = read("work", BOOK);
    assert_eq!(work.target(), ("voice.example.org".to_owned(), 9000));
    assert_eq!((work.udp_port, work.user_name().unwrap().as_str()), (Some(9001), "Ada Lovelace"));
    assert_eq!(work.password_file.clone(), Some("/etc/work.pw".into()));
    assert!(work.plain && !work.inline && work.bell, "{work:?}");
    assert!(work.room.is_none(), "the room above is home's");
    assert_eq!(work.settled.entry.as_deref(), Some("work"));
    let line = 10;
    let origin = Origin::Server { entry: "work".to_owned(), line };
    assert_eq!(work.settled.origins.get("udp-port"), Some(&origin));
    let work = read("work --udp-port 7 --inline", BOOK);
    assert_eq!((work.udp_port, work.plain, work.inline), (Some(7), false, true));
    assert_eq!(read("home", BOOK).target(), ("::1".to_owned(), 8888));
    // Who names an entry does not mean the invite that lies around.
    let work = read_with("work", BOOK, &["PARLOR_INVITE"]).unwrap().1;
    assert_eq!(work.target().0, "voice.example.org");
    assert!(!work.settled.origins.contains_key("invite-file"));
    let (what, doctor) = read_with("doctor work", BOOK, &[]).unwrap();
    assert_eq!((what, doctor.target().1), (Work::Doctor, 9000));
}

#[test]
fn an_entry_that_is_none_is_refused_with_those_there_are() {
    let Err(LayerError::Config(ConfigError(why))) = read_with("wrok", BOOK, &[]) else {
        panic!("taken");
    };
    assert!(why.contains("'wrok'") && why.contains("home, work"), "{why}");
    assert!(why.contains("--server wrok") && !why.contains('\n'), "{why}");
    assert_eq!(read("--server wrok", BOOK).target().0, "wrok");
    for host in ["localhost", "wrok.example.org", "10.0.0.1", "wrok:8888"] {
        assert!(matches!(read(host, BOOK).address, Some(Written::Server(_))), "{host}");
    }
    // Without an address book a word is a host, as ever.
    assert_eq!(read("wrok", "name = \"Ada\"").target().0, "wrok");
}

#[test]
fn what_is_wrong_with_the_file_names_line_key_and_what_to_do() {
    for (text, parts) in [
        ("name = \"Ada\"\nbitrat = 5", &["line 2", "'bitrat'", "'bitrate'"][..]),
        ("no_gain = true", &["'no_gain'", "'no-gain'"]),
        ("zzzzzz = 5", &["'zzzzzz'", "config show"]),
        ("bitrate = \"64\"", &["'bitrate'", "a number, without quotation marks"]),
        ("bitrate = 5", &["'bitrate'", "5 is not in 6..=256", "correct or remove"]),
        ("bitrate = -3", &["'bitrate'", "-3"]),
        ("bell = 1", &["'bell'", "true or false"]),
        ("bell = \"true\"", &["'bell'", "true or false"]),
        ("name = 5", &["'name'", "a text, in quotation marks"]),
        ("name = [\"a\"]", &["'name'", "a text"]),
        ("name = \"\"", &["'name'"]),
        ("codec = \"mp3\"", &["'codec'", "opus and pcm"]),
        ("frame-ms = 15", &["'frame-ms'", "10 or 20"]),
        ("server = \"a:b\"", &["'server'", "'b' is no port"]),
        ("input = \"wav:/nowhere/x.wav\"", &["'input'", "/nowhere/x.wav"]),
        ("password-file = \"\"", &["'password-file'", "empty"]),
        ("log = \"a=b=c\"", &["'log'"]),
        ("version = true", &["'version'", "no setting"]),
        ("name = \"Ada", &["line 1", "parlor config example"]),
        ("x =\n\ny = 3\n", &["line 1"]),
        ("name = \"a\"\nname = \"b\"", &["line 2"]),
        ("servers = 5", &["[servers.NAME]"]),
        ("[servers]\nwork = \"a\"", &["line 2", "[servers.NAME]"]),
        ("[servers.\"a b\"]\naddress = \"a\"", &["'a b'", "letters"]),
        ("[servers.doctor]\naddress = \"a\"", &["'doctor'", "otherwise"]),
        ("[servers.work]\nname = \"a\"", &["'work'", "no address"]),
        ("[servers.work]\naddress = \"a\"\nbitrat = 3", &["line 3", "'servers.work.bitrat'"]),
        ("[servers.work]\naddress = 3", &["line 2", "'servers.work.address'", "a text"]),
        ("[servers.work]\naddress = \"a b\"", &["line 2", "'servers.work.address'"]),
        ("[servers.work]\naddress = \"a\"\nserver = \"b\"", &["line 3", "'address'"]),
        ("[servers.work]\naddress = \"a\"\nbell = 3", &["'servers.work.bell'", "true or false"]),
        ("[work]\naddress = \"a\"", &["'work'"]),
    ] {
        let why = refused(text);
        for part in parts {
            assert!(why.contains(part), "no {part} in: {why}");
        }
    }
}

#[test]
fn paths_begin_at_home_or_beside_the_file() {
    let options = read("", "log-file = \"~/x.log\"\nrecord = \"calls\"\nstate-dir = \"/var/x\"\n");
    let home = directories::BaseDirs::new().unwrap().home_dir().join("x.log");
    assert_eq!((options.log_file, options.record), (Some(home), Some("/etc/calls".into())));
    assert_eq!(parse("state-dir = \"/var/x\"").unwrap().state_directory(), Some("/var/x".into()));
}

#[test]
fn a_recorder_has_no_use_for_what_is_set_for_talking() {
    let text =
        "input = \"tone:440\"\noutput = \"wav:x\"\nunmute = true\ndeafen = true\nrecord = \"r\"\n";
    let (work, options) = read_with("record", text, &[]).unwrap();
    let (input, output) = options.sound().unwrap();
    use crate::client::voice::{InputChoice, OutputChoice};
    assert_eq!(work, Work::Record);
    assert_eq!((input, output), (InputChoice::Silence, OutputChoice::Null));
    assert!(!options.unmute && !options.deafen && options.record == Some("/etc/r".into()));
}

#[test]
fn what_is_set_is_shown_with_what_set_it_and_no_secret_is() {
    let show = |line: &str, secrets: &[&str]| {
        let (work, options) = read_with(&format!("config show {line}"), BOOK, secrets).unwrap();
        assert_eq!(work, Work::ShowConfig);
        show::lines(&options)
    };
    let lines = show("--bitrate 96", &[SECRETS[1].1]);
    let line = |lines: &[String], key: &str| {
        let found = lines.iter().find(|line| line.split_whitespace().next() == Some(key));
        found.unwrap_or_else(|| panic!("no {key} in {lines:#?}")).clone()
    };
    for (key, value, origin) in [
        ("bitrate", " 96 ", "command line"),
        ("name", " Ada ", "file, line 1"),
        ("server", " home ", "file, line 5"),
        ("codec", " opus ", "default"),
        ("password-file", "not shown", "environment, PARLOR_PASSWORD"),
        ("vbr", " false ", "default"),
    ] {
        let line = line(&lines, key);
        assert!(line.contains(value) && line.ends_with(origin), "{line}");
    }
    assert!(lines.iter().any(|line| line.contains("parlor work goes to voice.example.org:9000")));
    let lines = show("work", &[]);
    assert!(line(&lines, "name").ends_with("server work, line 9"), "{lines:#?}");
    let token = "A".repeat(43);
    let lines = show(&format!("parlor://example.org:7/attic#{token}.{token}"), &[]);
    assert!(line(&lines, "server").contains("an invite to example.org:7"));
    assert!(!lines.concat().contains(&token));
}

#[test]
fn the_example_has_every_setting_and_is_right() {
    let text = show::example();
    let parlor = |text: &str| Config::parse(Path::new("/x"), text, &Options::command());
    assert_eq!(parlor(&text).unwrap().settings, []);
    let command = Options::command();
    for (key, _) in flags(&command) {
        let begin = format!("# {key} = ");
        let line = text.lines().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("no {key}")).trim_start_matches("# ");
        parlor(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let (_, book) = text.split_once("# [servers").unwrap();
    let book = format!("[servers{}", book.replace("\n# ", "\n"));
    assert_eq!(parlor(&book).unwrap().servers.len(), 1, "{book}");
}

#[test]
fn a_file_that_is_named_must_be_there_and_a_foreign_hand_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    let load = || Config::load(Some(path.clone()), &Options::command());
    assert!(load().unwrap_err().0.contains("is not there"));
    std::fs::write(&path, "name = \"Ada\"\r\n").unwrap();
    assert_eq!(load().unwrap().get("name").unwrap().values, ["Ada"]);
    std::fs::write(&path, b"name = \"\xff\"\n").unwrap();
    assert!(load().unwrap_err().0.contains("no text file"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(load().unwrap_err().0.contains("chmod 600"));
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_file_or_one_line_says_why_not(text in "(?s).{0,80}") {
        if let Err(ConfigError(why)) = parse(&text) {
            proptest::prop_assert!(!why.contains('\n'), "{}", why);
        }
    }
}
