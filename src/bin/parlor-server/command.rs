//! Carries a sub-command out: asks the running server and shows its answer.

use crate::args::Command;
use crate::texts;
use crate::{NO_HOME, password_in, say, warn};
use parlor::actors::control_socket::ask;
use parlor::actors::identity::default_state_directory;
use parlor::net::moderation::AdminReply;
use parlor::net::secret::Password;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code for a sub-command that was understood and not done.
const EXIT_NOT_DONE: u8 = 1;
/// Exit code for a sub-command that cannot be done as it is written.
const EXIT_USAGE: u8 = 2;

/// Carries a sub-command out; `json` for programs.
pub(crate) async fn run(command: Command, state_dir: Option<PathBuf>, json: bool) -> ExitCode {
    let Some(directory) = state_dir.or_else(default_state_directory) else {
        return failed(json, "usage", NO_HOME, EXIT_USAGE);
    };
    if let Command::Doctor(doctor) = command {
        return crate::doctor::run(doctor, &directory, json).await;
    }
    let password = match room_password(&command) {
        Ok(password) => password,
        Err(error) => return failed(json, "usage", &format!("{error:#}"), EXIT_USAGE),
    };
    let reply = match ask(&directory, &command.request(password)).await {
        Ok(reply) => reply,
        Err(error) => return failed(json, "unreachable", &error.to_string(), EXIT_NOT_DONE),
    };
    show(&reply, json)
}

fn show(reply: &AdminReply, json: bool) -> ExitCode {
    let refused = match reply {
        AdminReply::Error { code, args } => Some(texts::error(*code, args)),
        _ => texts::lines(reply).is_none().then(|| texts::NOT_UNDERSTOOD.to_owned()),
    };
    if json && let Ok(text) = serde_json::to_string(reply) {
        say(&text);
    } else if let Some(text) = &refused {
        warn(text);
    } else {
        texts::lines(reply).unwrap_or_default().iter().for_each(|line| say(line));
    }
    if refused.is_some() { ExitCode::from(EXIT_NOT_DONE) } else { ExitCode::SUCCESS }
}

fn failed(json: bool, code: &str, text: &str, exit: u8) -> ExitCode {
    if json {
        say(&json!({ "type": "error", "code": code, "text": text }).to_string());
    } else {
        warn(text);
    }
    ExitCode::from(exit)
}

/// The new password of a room, where the sub-command sets one.
fn room_password(command: &Command) -> anyhow::Result<Option<Password>> {
    match command {
        Command::RoomPassword { remove: false, password_file, room } => {
            let password = match password_file {
                Some(path) => password_in(Path::new(path))?,
                None => asked_password(room)?,
            };
            Ok(Some(password))
        }
        _ => Ok(None),
    }
}

/// Asks for a password twice at the terminal, without an echo.
fn asked_password(room: &str) -> anyhow::Result<Password> {
    use anyhow::Context;
    let ask = |prompt: String| {
        let text = rpassword::prompt_password(prompt)
            .context("no terminal to ask for the password at; use --password-file FILE")?;
        Password::new(text).map_err(anyhow::Error::from)
    };
    let password = ask(format!("New password of the room '{room}': "))?;
    let again = ask("Once more: ".to_owned())?;
    anyhow::ensure!(password == again, "these are two different passwords; nothing was changed");
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Args as Line;
    use clap::Parser;
    use parlor::actors::control_socket::{CONTROL_SOCKET_FILE, ControlSocket, refused};
    use parlor::net::message::ErrorCode;
    use parlor::net::moderation::{AdminRequest, Moderation, Report};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Runs a line against a server that answers everything with `reply`; what it was asked, and
    /// how the sub-command ended.
    async fn against(reply: AdminReply, line: &[&str]) -> (Vec<AdminRequest>, ExitCode) {
        let directory = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(&directory.path().join(CONTROL_SOCKET_FILE)).unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&asked);
        let serving = actix::spawn(socket.serve(move |request| {
            heard.borrow_mut().push(request);
            std::future::ready(reply.clone())
        }));
        let line = Line::try_parse_from(["parlor-server"].iter().chain(line)).unwrap();
        let state = Some(directory.path().to_owned());
        let code = run(line.command.unwrap(), state, line.json).await;
        serving.abort();
        (asked.take(), code)
    }

    #[actix::test]
    async fn what_is_done_ends_with_0_and_has_asked_for_just_that() {
        let done = AdminReply::Report { report: Report::Done };
        let (asked, code) = against(done, &["kick", "eve", "--reason", "loud"]).await;
        let (name, reason) = ("eve".to_owned(), Some("loud".to_owned()));
        let order = Moderation::Kick { name, reason };
        assert_eq!(asked, [AdminRequest::Moderate { order }]);
        assert_eq!(code, ExitCode::SUCCESS);
    }

    #[actix::test]
    async fn what_the_server_refuses_ends_with_1() {
        for json in [&["lift", "4"][..], &["lift", "4", "--json"]] {
            let (_, code) = against(refused(ErrorCode::NoSuchEntry), json).await;
            assert_eq!(code, ExitCode::from(EXIT_NOT_DONE));
        }
        let (_, code) = against(AdminReply::Unknown, &["lift", "4"]).await;
        assert_eq!(code, ExitCode::from(EXIT_NOT_DONE), "an answer of another version");
    }

    #[actix::test]
    async fn a_room_s_password_comes_from_a_file_or_goes() {
        let done = || AdminReply::Report { report: Report::Done };
        let password = |asked: Vec<AdminRequest>| match asked.into_iter().next() {
            Some(AdminRequest::Moderate { order: Moderation::RoomPassword { password, .. } }) => {
                password.map(|password| password.expose().to_owned())
            }
            other => panic!("{other:?}"),
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sesame\nsecond line\n").unwrap();
        let path = file.path().to_str().unwrap();
        let line = ["room-password", "den", "--password-file", path];
        assert_eq!(password(against(done(), &line).await.0), Some("sesame".to_owned()));
        let line = ["room-password", "den", "--remove"];
        assert_eq!(password(against(done(), &line).await.0), None);
        let line = ["room-password", "den", "--password-file", "/nowhere/at/all"];
        let (asked, code) = against(done(), &line).await;
        assert!(asked.is_empty());
        assert_eq!(code, ExitCode::from(EXIT_USAGE));
    }
}
