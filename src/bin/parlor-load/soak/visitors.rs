//! Visitors: connections that come and go quickly, honest and others. They make the server forget again and again.

use super::crowd::{Crowd, Event};
use super::member::Stage;
use crate::connect::Connector;
use crate::members::read_message;
use parlor::net::frame;
use parlor::net::message::{ClientMessage, Envelope, ErrorCode, Hello, ServerMessage};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::codec::FramedRead;

/// How long a visit may take while the server sleeps.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a visitor comes for.
#[derive(Debug, Clone)]
pub enum Errand {
    /// Joins a room, says something, goes: politely or not.
    Pass { name: String, room: String, polite: bool },
    /// Wants the name of a member who is there.
    Namesake { member: usize, epoch: u32, name: String },
    /// Wants a name that is kept for somebody.
    Usurper { member: usize, registration: u32, name: String },
    /// Says what is no message.
    Nonsense,
    /// Begins a handshake and goes.
    HalfHandshake,
}

/// What came of a visit.
#[derive(Debug)]
pub struct Visit {
    errand: Errand,
    /// The answer to his `Hello`, if one came.
    answer: Option<ServerMessage>,
}

impl Crowd {
    /// Sends a visitor.
    pub fn send_visitor(&mut self, errand: Errand) {
        self.visitors_open += 1;
        let (connector, told) = (self.connector.clone(), self.told.clone());
        tokio::spawn(async move {
            let visit = tokio::time::timeout(PATIENCE, pay(&connector, &errand)).await;
            let answer = visit.ok().and_then(Result::ok).flatten();
            let _ = told.send(Event::Visit(Visit { errand, answer }));
        });
    }

    /// Takes what came of a visit.
    pub fn on_visit(&mut self, Visit { errand, answer }: Visit) {
        self.tally.count("visits");
        let welcome = matches!(answer, Some(ServerMessage::Welcome(_)));
        if welcome {
            self.tally.count("sessions");
        }
        let code = match &answer {
            Some(ServerMessage::Error { code, .. }) => Some(*code),
            _ => None,
        };
        match errand {
            Errand::Namesake { member, epoch, name } => {
                let there = self
                    .members
                    .get(member)
                    .is_some_and(|m| m.epoch == epoch && m.stage == Stage::Here && m.name == name);
                if welcome && there {
                    let found =
                        format!("a stranger bears the name of member {member}, who is here");
                    self.tally.fault(found);
                }
            }
            Errand::Usurper { member, registration, name } => {
                let kept = self
                    .members
                    .get(member)
                    .is_some_and(|m| m.keeps_name() == Some(registration) && m.name == name);
                let refused = matches!(
                    code,
                    None | Some(
                        ErrorCode::NameTaken | ErrorCode::NameRegistered | ErrorCode::Banned
                    )
                );
                if kept && (welcome || !refused) {
                    self.tally.fault(format!("a stranger bears '{name}', which is kept: {code:?}"));
                }
            }
            Errand::Pass { .. } if code.is_some() => {
                self.tally.fault(format!("a visitor is not let in: {code:?}"));
            }
            Errand::Pass { .. } | Errand::Nonsense | Errand::HalfHandshake => {}
        }
    }
}

async fn pay(connector: &Connector, errand: &Errand) -> anyhow::Result<Option<ServerMessage>> {
    if let Errand::HalfHandshake = errand {
        let mut stream = TcpStream::connect(connector.server).await?;
        // The beginning of a record that carries a handshake.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await?;
        return Ok(None);
    }
    let stream = connector.connect().await?;
    let (read, mut write) = tokio::io::split(stream);
    let mut frames = FramedRead::with_capacity(read, frame::codec(), 1024);
    let name = match errand {
        Errand::Pass { name, .. }
        | Errand::Namesake { name, .. }
        | Errand::Usurper { name, .. } => name,
        Errand::Nonsense | Errand::HalfHandshake => {
            write.write_all(b"\0\0\0\x05hello").await?;
            write.flush().await?;
            while let Some(Ok(_)) = frame::next(&mut frames).await {}
            return Ok(None);
        }
    };
    let message = |body| frame::encode(&Envelope::event(body));
    write.write_all(&message(ClientMessage::Hello(Box::new(Hello::new(name))))?).await?;
    write.flush().await?;
    let answer = read_message(&mut frames).await?;
    if let (Errand::Pass { room, polite, .. }, ServerMessage::Welcome(_)) = (errand, &answer) {
        write.write_all(&message(ClientMessage::join(room))?).await?;
        write.write_all(&message(ClientMessage::Chat { text: "hello".to_owned() })?).await?;
        write.write_all(&message(ClientMessage::ListRooms)?).await?;
        write.flush().await?;
        while !matches!(read_message(&mut frames).await?, ServerMessage::Rooms { .. }) {}
        if *polite {
            write.write_all(&message(ClientMessage::Bye)?).await?;
            write.flush().await?;
            while let Some(Ok(_)) = frame::next(&mut frames).await {}
        }
    }
    Ok(Some(answer))
}
