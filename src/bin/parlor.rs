//! The console client: reads its arguments, sets up the log, runs.

use clap::CommandFactory;
use parlor::client::config::layers::LayerError;
use parlor::client::config::{Config, show};
use parlor::client::first::{self, End};
use parlor::client::options::{Options, Work};
use parlor::client::remote::{self, Order};
use parlor::client::run::{self, EXIT_FAILED, EXIT_USAGE};
use parlor::client::{cli, doctor, texts, voice};
use parlor::net::process;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(order) = remote::arguments(&arguments) {
        return match order {
            Ok((order, state)) => give(&order, state),
            Err(error) => error.exit(),
        };
    }
    if let Some(answer) = cli::answer(&arguments) {
        return match answer {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => refuse(&error.to_string(), EXIT_FAILED),
            Err(error) => misused(&error),
        };
    }
    if let Some(answer) = show::answer(&arguments) {
        return answer.map_or_else(|error| misused(&error), ExitCode::from);
    }
    let (work, mut options) = match Options::read(arguments.clone()) {
        Ok(parsed) => parsed,
        Err(LayerError::Arguments(error)) => return misused(&error),
        Err(LayerError::Config(error)) => return refuse(&error.to_string(), EXIT_USAGE),
    };
    if work == Work::ShowConfig {
        return ExitCode::from(show::show(&options));
    }
    if options.list_devices {
        return list_devices();
    }
    if let Err(why) = start_log(&options) {
        return refuse(&why, EXIT_USAGE);
    }
    process::keep_memory_private();
    let system = actix_rt::System::new();
    if work == Work::Talk && first::is_due(&options) {
        let with = |more: &[OsString]| {
            let all = arguments.iter().chain(more).cloned();
            Options::read(all).map(|(_, options)| options).map_err(|error| said(&error))
        };
        let good = |server: &str| with(&["--".into(), server.into()]).map(drop);
        options = match system.block_on(first::ask(&options, &good)) {
            End::Left(code) => return ExitCode::from(code),
            End::Answers(answers) => match with(&answers) {
                Ok(options) => options,
                Err(why) => return refuse(&why, EXIT_USAGE),
            },
        };
    }
    let code = match work {
        Work::Talk | Work::Record | Work::ShowConfig => system.block_on(run::run(options)),
        Work::DoctorPtt => doctor::ptt::run(&options),
        Work::Doctor => system.block_on(doctor::run(options)),
    };
    ExitCode::from(code)
}

/// What is wrong, in one line.
fn said(error: &LayerError) -> String {
    match error {
        LayerError::Arguments(error) => one_line(error),
        LayerError::Config(error) => error.to_string(),
    }
}

/// The first paragraph; those behind it say how it is used.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

/// Help was asked for, or the words make no sense: one line says what is wrong, --help says the rest.
fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    refuse(&format!("{} (try --help)", one_line(error)), EXIT_USAGE)
}

fn refuse(why: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "parlor: {why}");
    ExitCode::from(code)
}

/// Tells the client that runs; without another word it keeps its state where the file of settings says.
fn give(order: &Order, state: Option<PathBuf>) -> ExitCode {
    let state = match state {
        Some(state) => Some(state),
        None => match Config::load(None, &Options::command()) {
            Ok(config) => config.state_directory(),
            Err(error) => return refuse(&error.to_string(), EXIT_USAGE),
        },
    };
    match remote::socket::give(order, state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => refuse(&why, EXIT_FAILED),
    }
}

fn list_devices() -> ExitCode {
    match voice::list_devices() {
        Ok((inputs, outputs)) => {
            texts::device_list(&inputs, &outputs).iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error.to_string(), EXIT_FAILED),
    }
}

/// Logs only when asked to, never to stdout, and on a full terminal only to a file: anything else
/// would tear the screen.
fn start_log(options: &Options) -> Result<(), String> {
    let Some(filter) = options.log.clone() else { return Ok(()) };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    match &options.log_file {
        Some(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|error| {
                texts::arguments::log_file(&path.display().to_string(), &error.to_string())
            })?;
            log.with_writer(std::sync::Mutex::new(file)).init();
        }
        // From the environment it may be meant for the server.
        None if options.on_terminal() && std::env::var_os("PARLOR_LOG").is_some() => {}
        None if options.on_terminal() => {
            return Err(texts::arguments::LOG_FILE_NEEDED.to_owned());
        }
        None => log.with_writer(std::io::stderr).init(),
    }
    Ok(())
}
