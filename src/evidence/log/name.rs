//! The names of steps, taken apart (`prefixCommand` of BuildKit's frontend, `addPrefix` of buildx for several targets).

/// A name such as `[web linux/amd64 builder 2/5] RUN make`, in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StepName {
    /// What stands before the stage and is no platform: the target of a bake or compose file.
    pub before: Vec<String>,
    /// The platform, as it is written.
    pub platform: Option<String>,
    /// The stage; with one stage there is none. May be the target, if that is the only word.
    pub stage: Option<String>,
    /// Which step of the stage, and of how many.
    pub index: Option<(u32, u32)>,
    /// BuildKit's own work: loading files, metadata, inline documents.
    pub internal: bool,
    /// A trigger of the base.
    pub onbuild: bool,
    /// The merge that lays the files of a `COPY --link` over what is below.
    pub link: bool,
    /// What is done.
    pub text: String,
}

impl StepName {
    /// Takes a name apart. Anything is a name.
    pub fn parse(name: &str) -> Self {
        let mut out = Self { text: name.to_owned(), ..Self::default() };
        let Some((head, text)) = name.strip_prefix('[').and_then(|n| n.split_once(']')) else { return out };
        let Some(text) = text.strip_prefix(' ') else { return out };
        let mut words: Vec<&str> = head.split_whitespace().collect();
        if words.len() > 8 {
            return out;
        }
        match words.last().copied() {
            Some(last) if index(last).is_some() => out.index = index(last),
            Some("internal" | "auth") => out.internal = true,
            _ if words.contains(&"context") => out.internal = true,
            _ => return out,
        }
        words.pop();
        if let Some(at) = words.iter().rposition(|w| is_platform(w)) {
            out.platform = Some(words.remove(at).to_owned());
        }
        if out.index.is_some() {
            out.stage = words.pop().map(str::to_owned);
        }
        out.before = words.into_iter().map(str::to_owned).collect();
        let mut text = text;
        if let Some(rest) = text.strip_prefix("ONBUILD ").filter(|_| out.index.is_some()) {
            out.onbuild = true;
            text = rest;
        }
        if let Some(rest) = text.strip_prefix("LINK ").filter(|_| out.index.is_some()) {
            out.link = true;
            text = rest;
        }
        text.clone_into(&mut out.text);
        out
    }

    /// A step of the Dockerfile.
    pub fn is_instruction(&self) -> bool {
        self.index.is_some()
    }

    /// The instruction: `RUN`, `COPY`, `FROM`; empty for other steps.
    pub fn keyword(&self) -> &str {
        if self.index.is_none() {
            return "";
        }
        self.text.split_whitespace().next().unwrap_or_default()
    }

    /// The platform it is for: `linux/arm64` of `linux/amd64->arm64` and of `linux/arm64`.
    pub fn target_platform(&self) -> Option<String> {
        let written = self.platform.as_deref()?;
        let Some((from, to)) = written.split_once("->") else { return Some(written.to_owned()) };
        if to.contains('/') && !to.starts_with('v') {
            let os = from.split('/').next().unwrap_or_default();
            // `arm/v7` lacks the system, `windows/amd64` does not.
            return Some(match to.split('/').nth(1) {
                Some(part) if part.starts_with('v') && to.matches('/').count() == 1 => format!("{os}/{to}"),
                _ => to.to_owned(),
            });
        }
        let os = from.split('/').next().unwrap_or_default();
        Some(format!("{os}/{to}"))
    }
}

/// `2/5`, also with blanks that are stripped already.
fn index(word: &str) -> Option<(u32, u32)> {
    let (at, of) = word.split_once('/')?;
    let number = |s: &str| s.parse::<u32>().ok().filter(|_| s.bytes().all(|b| b.is_ascii_digit()));
    Some((number(at)?, number(of)?))
}

/// `linux/amd64`, `linux/arm/v7`, `windows(10.0.17763)/amd64`, `linux/amd64->arm64`.
fn is_platform(word: &str) -> bool {
    let (os, rest) = match word.split_once('/') {
        Some(parts) => parts,
        None => return false,
    };
    let os = os.split('(').next().unwrap_or_default();
    let known = ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "wasip1", "js", "solaris"];
    known.contains(&os) && !rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> String {
        let n = StepName::parse(name);
        let index = n.index.map(|(a, b)| format!("{a}/{b}"));
        format!(
            "{}|{}|{}|{}|{}{}{}{}",
            n.before.join(" "),
            n.platform.as_deref().unwrap_or("-"),
            n.stage.as_deref().unwrap_or("-"),
            index.as_deref().unwrap_or("-"),
            if n.internal { "internal " } else { "" },
            if n.onbuild { "onbuild " } else { "" },
            if n.link { "link " } else { "" },
            n.text
        )
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(shown("[2/5] WORKDIR /app"), "|-|-|2/5|WORKDIR /app");
        assert_eq!(shown("[builder  2/12] COPY . ."), "|-|builder|2/12|COPY . .");
        assert_eq!(shown("[linux/arm64 builder 2/5] RUN x"), "|linux/arm64|builder|2/5|RUN x");
        assert_eq!(shown("[web linux/amd64->arm64 b 1/2] RUN x"), "web|linux/amd64->arm64|b|1/2|RUN x");
        assert_eq!(shown("[app 1/3] ONBUILD RUN x"), "|-|app|1/3|onbuild RUN x");
        assert_eq!(shown("[3/3] LINK COPY --link a /"), "|-|-|3/3|link COPY --link a /");
        assert_eq!(shown("[web internal] load .dockerignore"), "web|-|-|-|internal load .dockerignore");
        assert_eq!(shown("[context shared] load from client"), "context|-|-|-|internal load from client");
        assert_eq!(shown("exporting to image"), "|-|-|-|exporting to image");
        assert_eq!(shown("[x] y"), "|-|-|-|[x] y");
        assert_eq!(shown("["), "|-|-|-|[");
    }

    #[test]
    fn the_platform_behind_an_arrow_is_the_target() {
        let target = |p: &str| StepName::parse(&format!("[{p} a 1/2] RUN x")).target_platform().unwrap();
        assert_eq!(target("linux/arm64"), "linux/arm64");
        assert_eq!(target("linux/amd64->arm64"), "linux/arm64");
        assert_eq!(target("linux/amd64->arm/v7"), "linux/arm/v7");
        assert_eq!(target("linux/amd64->windows/amd64"), "windows/amd64");
    }
}
