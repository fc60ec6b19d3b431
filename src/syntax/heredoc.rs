//! Heredocs: finding them on a line, using their bodies.

use super::Heredoc;

pub(super) fn content(heredoc: &Heredoc) -> String {
    let text = String::from_utf8_lossy(&heredoc.body).into_owned();
    if !heredoc.chomp {
        return text;
    }
    text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
