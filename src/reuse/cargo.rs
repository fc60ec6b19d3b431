//! What cargo says in the output of a step.

use crate::evidence::log::LoggedStep;

/// Whether a line of output is one of cargo's that tells what was compiled.
pub(super) fn is_report(text: &str) -> bool {
    let text = text.trim_start();
    ["Compiling ", "Finished ", "Fresh ", "Dirty "].iter().any(|word| text.starts_with(word))
}

/// What one step compiled.
#[derive(Debug, Default)]
pub(super) struct Compiled<'l> {
    /// Packages from a folder of the image, not from a registry: name, and the line of the log.
    pub(super) own: Vec<(&'l str, u64)>,
    /// The line that says `Finished`, the last of them.
    pub(super) finished: Option<u64>,
}

impl<'l> Compiled<'l> {
    pub(super) fn of(step: &'l LoggedStep) -> Self {
        let mut out = Self::default();
        for (line, text) in &step.kept {
            let text = text.trim_start();
            if let Some(rest) = text.strip_prefix("Compiling ") {
                // `svc v0.1.0 (/app)`; what comes from a registry has no path.
                let mut words = rest.split_whitespace();
                let (name, version) = (words.next(), words.next());
                let path = words.next().is_some_and(|w| w.starts_with("(/") || w.contains(":\\"));
                if let (Some(name), Some(version)) = (name, version)
                    && version.starts_with('v')
                    && path
                {
                    out.own.push((name, *line));
                }
            } else if text.starts_with("Finished ") && text.contains("target(s)") {
                out.finished = Some(*line);
            }
        }
        out
    }

    pub(super) fn has(&self, package: &str) -> bool {
        self.own.iter().any(|(name, _)| *name == package)
    }
}
