//! Git as a program: how it is called, and its object store as a source of contents.
//!
//! Only commands that read are called, with arguments and never through a shell. They run no hook, take no lock,
//! start no pager and fetch nothing.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use super::digest::BUFFER;

/// Variables by which another repository or another way to read paths is imposed. A hook of git's sets some of them,
/// for its own repository; here the directory decides.
const IMPOSED: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
];

/// A header of a batch is an id, a type and a size.
const LONGEST_HEADER: u64 = 4096;

/// A call of git's in a directory.
pub(super) fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    for name in IMPOSED {
        command.env_remove(name);
    }
    // Objects that a partial clone left out would be fetched: newer versions of git have a switch against it, all
    // refuse a protocol that is not allowed.
    command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "none").env("GIT_TERMINAL_PROMPT", "0");
    // Messages are compared, so they have to be the untranslated ones.
    command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C").env("LANGUAGE", "C");
    command.args(["--no-pager", "--literal-pathspecs"]);
    command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    command.arg("-C").arg(directory);
    command
}

/// Runs a command to its end with this standard input.
pub(super) fn run(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if input.is_empty() {
        return command.stdin(Stdio::null()).output();
    }
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // Answers come before all questions are asked, and a full pipe would stop both.
        scope.spawn(move || {
            // A reader that stopped early says why in its exit code.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        });
        child.wait_with_output()
    })
}

/// Why an object cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObjectError {
    #[error("git has no object {0} here (was it left out of a partial clone?)")]
    Missing(String),
    #[error("git's object {0} is no file")]
    NoBlob(String),
    #[error("git stopped while object {0} was read")]
    Stopped(String),
}

impl From<ObjectError> for io::Error {
    fn from(error: ObjectError) -> Self {
        let kind = match error {
            ObjectError::Missing(_) => io::ErrorKind::NotFound,
            ObjectError::NoBlob(_) => io::ErrorKind::InvalidData,
            ObjectError::Stopped(_) => io::ErrorKind::UnexpectedEof,
        };
        Self::new(kind, error)
    }
}

/// The object store of the repository that a directory is in.
///
/// Objects are read by processes that each answer one question after the other. There are as many as are needed at
/// a time, so that threads do not wait for each other.
#[derive(Debug)]
pub(crate) struct Objects {
    directory: PathBuf,
    idle: Mutex<Vec<Process>>,
}

/// A `git cat-file --batch` that waits for a question.
#[derive(Debug)]
struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It only reads, so nothing is lost; left alone it could wait for somebody to take its answer.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(directory: &Path) -> io::Result<Self> {
        let mut command = git(directory);
        command.args(["cat-file", "--batch"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(questions), Some(answers)) => {
                let answers = BufReader::with_capacity(BUFFER, answers);
                Ok(Self { child, questions, answers })
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn read(&mut self, id: &str, buffer: &mut Vec<u8>, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let stopped = || io::Error::from(ObjectError::Stopped(id.to_owned()));
        self.questions.write_all(format!("{id}\n").as_bytes()).map_err(|_| stopped())?;
        self.questions.flush().map_err(|_| stopped())?;
        let mut header = Vec::new();
        (&mut self.answers).take(LONGEST_HEADER).read_until(b'\n', &mut header)?;
        let header = String::from_utf8_lossy(&header);
        let mut left = match header.split_whitespace().collect::<Vec<_>>()[..] {
            [_, "missing"] => return Err(ObjectError::Missing(id.to_owned()).into()),
            [_, "blob", size] => size.parse::<u64>().map_err(|_| stopped())?,
            [_, _, _] => return Err(ObjectError::NoBlob(id.to_owned()).into()),
            _ => return Err(stopped()),
        };
        buffer.resize(BUFFER, 0);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match self.answers.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(0) => return Err(stopped()),
                Ok(n) => {
                    sink(buffer.get(..n).unwrap_or_default());
                    left = left.saturating_sub(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // A line feed ends the answer.
        self.answers.read_exact(buffer.get_mut(..1).unwrap_or_default())
    }
}

impl Objects {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), idle: Mutex::default() }
    }

    /// Gives a blob's content to `sink`, piece by piece. `id` is in hexadecimal digits.
    pub(super) fn read(&self, id: &str, buffer: &mut Vec<u8>, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut process = match idle {
            Some(process) => process,
            None => Process::start(&self.directory)?,
        };
        let result = process.read(id, buffer, sink);
        let answered = match &result {
            Ok(()) => true,
            // The answer was a single line.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // What stopped within an answer is of no more use.
        if answered {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        }
        result
    }

    /// A blob's content as a whole.
    pub(super) fn content(&self, id: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.read(id, &mut Vec::new(), &mut |some| content.extend_from_slice(some))?;
        Ok(content)
    }
}
