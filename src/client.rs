//! The client: a small actor system around sound streams, with no user interface in its core.
//!
//! `control` holds the connection and knows the room; `voice` moves sound between devices and the
//! network; `app` turns keys, lines and events into what is asked and shown; `console` is the only
//! part that knows a terminal.

pub mod app;
pub mod asking;
pub mod asleep;
pub mod cli;
pub mod command;
pub mod config;
pub mod console;
pub mod control;
pub mod diagnosis;
pub mod doctor;
pub mod editor;
pub mod event;
pub mod first;
pub mod interface;
pub mod listen;
pub mod options;
pub mod ptt;
pub mod remote;
pub mod run;
pub mod state;
pub mod talk_key;
pub mod texts;
pub mod trust;
pub mod visits;
pub mod voice;
pub mod volumes;
