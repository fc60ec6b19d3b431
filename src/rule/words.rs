//! Short forms of instructions and commands for messages.

use crate::source::Span;
use crate::syntax::Instruction;
use crate::syntax::shell::ShellCommand;

/// Longest instruction that a message shows whole, in characters.
const LONGEST: usize = 60;

/// An instruction on one line, cut where it gets long.
pub(super) fn of_instruction(instruction: &Instruction) -> String {
    shortened(&joined(&instruction.text.to_str()), LONGEST)
}

/// A command as written, on one line.
pub(super) fn of_command(command: &ShellCommand) -> String {
    let words: Vec<&str> = command.words.iter().map(|w| w.raw.as_str()).collect();
    joined(&words.join(" "))
}

/// The words of a command that stand in a part of it, also where they are strings of an exec form.
pub(super) fn within(command: &ShellCommand, span: Span) -> String {
    let inside = command.words.iter().filter(|w| span.start <= w.span.start && w.span.end <= span.end);
    joined(&inside.map(|w| w.raw.as_str()).collect::<Vec<_>>().join(" "))
}

/// Every run of blanks, line ends and joined lines is one blank.
pub(super) fn joined(text: &str) -> String {
    let words = text.split_whitespace().filter(|w| !matches!(*w, "\\" | "`"));
    words.collect::<Vec<_>>().join(" ")
}

/// The text, or its beginning and `…`.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let cut: String = text.chars().take(longest).collect();
    // Not in the middle of a word, if there is another place.
    let cut = cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head);
    format!("{cut} …")
}

/// `a`, `a and b`, `a, b and c`, `a, b and 7 more`; each in backticks.
pub(super) fn list<S: AsRef<str>>(items: &[S], most: usize) -> String {
    let mut parts: Vec<String> = items.iter().take(most).map(|i| format!("`{}`", i.as_ref())).collect();
    if items.len() > most {
        parts.push(format!("{} more", items.len() - most));
    }
    match parts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => parts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(list(&["a"], 3), "`a`");
        assert_eq!(list(&["a", "b"], 3), "`a` and `b`");
        assert_eq!(list(&["a", "b", "c", "d"], 2), "`a`, `b` and 2 more");
    }

    #[test]
    fn long_texts_are_cut_between_words() {
        assert_eq!(shortened("apt-get install curl", 17), "apt-get install …");
        assert_eq!(joined("a \\\n    b"), "a b");
    }
}
