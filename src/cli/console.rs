//! Standard output and standard error, and whether they have colour.

use super::{CliError, Exit};
use crate::report::{Human, Sources};
use anstream::{AutoStream, ColorChoice};
use std::io::{BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, mpsc};

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(super) struct ConsoleArgs {
    /// When to use colour: auto, always or never; NO_COLOR and CLICOLOR_FORCE count too
    #[arg(
        long,
        value_name = "WHEN",
        global = true,
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        display_order = 1000
    )]
    color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    /// On a terminal
    Auto,
    /// Also in a pipe or file
    Always,
    /// Nowhere
    Never,
}

/// Where results and remarks go. Results belong in [`Console::out`], warnings and progress in [`Console::err`]; both
/// drop colour where it is not wanted, so that writers need not ask.
pub struct Console {
    /// Results.
    pub out: BufWriter<AutoStream<std::io::Stdout>>,
    /// Warnings, summaries, progress.
    pub err: AutoStream<std::io::Stderr>,
    /// Whether results are coloured.
    pub color: bool,
    /// Whether a person sees the results at once.
    pub terminal: bool,
}

impl Console {
    pub(super) fn new(args: &ConsoleArgs) -> Self {
        let choose = |auto: ColorChoice| match args.color {
            Color::Auto => auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let out_choice = choose(AutoStream::choice(&stdout));
        let err_choice = choose(AutoStream::choice(&stderr));
        let terminal = stdout.is_terminal();
        Self {
            out: BufWriter::new(AutoStream::new(stdout, out_choice)),
            err: AutoStream::new(stderr, err_choice),
            color: out_choice != ColorChoice::Never,
            terminal,
        }
    }

    /// Shows what went wrong, if something did, and says how the program ends.
    pub(super) fn finish(&mut self, result: Result<Exit, CliError>) -> Exit {
        let flushed = self.out.flush().map_err(CliError::from);
        match result.and_then(|exit| flushed.map(|()| exit)) {
            Ok(exit) => exit,
            Err(CliError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Clean,
            Err(error) => self.show(&error),
        }
    }

    /// What cannot be written to standard error is lost: there is nowhere to say so.
    fn show(&mut self, error: &CliError) -> Exit {
        let color = self.err.current_choice() != ColorChoice::Never;
        if let CliError::Problems { problems, files } = error {
            let human = Human::new(color, false);
            let sources = Sources::new(files.iter().cloned());
            let mut exit = Exit::Clean;
            for problem in problems {
                let _ = human.problem(&mut self.err, problem, &sources);
                exit = exit.and(problem.kind.into());
            }
            return exit;
        }
        let _ = writeln!(self.err, "\x1b[31;1merror\x1b[0m: {error}");
        if let CliError::Failed { help: Some(help), .. } = error {
            let _ = writeln!(self.err, "\x1b[36;1mhelp\x1b[0m: {help}");
        }
        Exit::Failed
    }
}

/// Says on a terminal that work goes on, if it takes longer than a person likes to wait without a word. Dropping it
/// takes the line away.
pub(super) struct Busy {
    done: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    what: Arc<Mutex<String>>,
}

impl Busy {
    /// Starts the clock. In a pipe nothing is ever shown.
    pub(super) fn with(what: &str) -> Self {
        let what = Arc::new(Mutex::new(what.to_owned()));
        if !std::io::stderr().is_terminal() {
            return Self { done: None, thread: None, what };
        }
        let (done, over) = mpsc::channel::<()>();
        let now = Arc::clone(&what);
        let thread = std::thread::spawn(move || {
            let started = std::time::Instant::now();
            let mut wait = std::time::Duration::from_millis(500);
            let mut err = std::io::stderr();
            while over.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
                let what = now.lock().map(|w| w.clone()).unwrap_or_default();
                let _ = write!(err, "\r\x1b[K{what} … {:.0} s", started.elapsed().as_secs_f32());
                let _ = err.flush();
                wait = std::time::Duration::from_secs(1);
            }
            if started.elapsed() >= std::time::Duration::from_millis(500) {
                let _ = write!(err, "\r\x1b[K");
                let _ = err.flush();
            }
        });
        Self { done: Some(done), thread: Some(thread), what }
    }

    /// Says from now on that something else is done.
    pub(super) fn now(&self, what: String) {
        if let Ok(mut slot) = self.what.lock() {
            *slot = what;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
